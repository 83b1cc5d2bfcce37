//! Groups of kernels that run for a few rows of the batch before the next rows.

use std::sync::{Mutex, PoisonError};

use fgi_compiler::graph::{Bindings, Dim};
use fgi_compiler::kernel::tile::Group;
use fgi_compiler::kernel::{BufferId, Direction, Program};

use super::launch::{Launch, Sizes};
use super::memory::Memory;
use super::product::Packed;
use super::{Buffers, CpuBackend, Threads, batch};
use crate::Error;

/// The most rows of a tile: as many as a product computes at once, and few enough to stay in the cache.
const ROWS: i64 = 6;
/// The fewest rows of a task, where there is more than one.
const LEAST_ROWS: i64 = 4;
/// Tiles are run by so many tasks. Each has its own sums over the batch, so that results do not depend
/// on the number of threads.
const TASKS: i64 = 8;
/// Elements of the sums of all tasks that are added up by one of them.
const ADDED_AT_ONCE: usize = 1 << 14;

/// A [`Group`] with its sizes.
pub(super) struct Tiles {
    group: Group,
    /// Rows of the batch.
    batch: i64,
    tiles: i64,
    steps: i64,
    /// Tiles with the most rows, and those with one row less.
    shapes: Vec<Shape>,
    /// For each sum its kernel and the number of its elements.
    sums: Vec<(usize, usize)>,
    /// The sums of each task.
    partial: Vec<Mutex<Vec<Memory>>>,
    /// The rows of the tiles that run.
    workspaces: Mutex<Vec<Vec<Memory>>>,
    /// Bytes of a row of each import and export, in a step; and steps.
    imports: Vec<Rows>,
    exports: Vec<Rows>,
}

/// The kernels for a tile of so many rows, in the order of the sweeps.
struct Shape {
    rows: i64,
    launches: Vec<Vec<Launch>>,
}

/// Where the rows of a buffer are.
struct Rows {
    buffer: BufferId,
    /// Its place among the local buffers.
    local: usize,
    bytes: usize,
    steps: usize,
}

/// The rearranged operands of each kernel, in the order of the sweeps.
type AllPacked = Vec<Vec<Vec<Option<Packed>>>>;

impl CpuBackend {
    pub(super) fn tiles(&self, group: Group, bindings: &Bindings) -> Result<Tiles, Error> {
        let program: &Program = &self.program;
        let batch_dim = batch(program).unwrap_or_else(Dim::one);
        let batch = batch_dim.eval(bindings)?;
        let tasks = ((batch + LEAST_ROWS - 1) / LEAST_ROWS).min(TASKS);
        let tiles = (((batch + ROWS - 1) / ROWS + tasks - 1) / tasks * tasks).min(batch);
        let rows = (batch + tiles - 1) / tiles;
        let shape = |rows: i64| {
            let mut tile = bindings.clone();
            tile.extend(batch_dim.symbols().map(|symbol| (symbol.clone(), rows)));
            self.shape(&group, &tile, bindings, rows)
        };
        let sizes = [rows, batch / tiles].into_iter().take(if batch % tiles == 0 { 1 } else { 2 });
        let shapes = sizes.map(shape).collect::<Result<Vec<Shape>, Error>>()?;
        let steps = Sizes::new(program, bindings, bindings).steps()?;
        let mut tile = bindings.clone();
        tile.extend(batch_dim.symbols().map(|symbol| (symbol.clone(), rows)));
        let name = |id: &BufferId| program.buffer(*id).name.clone();
        let mut workspaces = Vec::new();
        for _ in 0..self.threads.min(tasks as usize) {
            let locals = group.local.iter();
            let locals = locals.map(|id| self.memory(&name(id), self.bytes(*id, &tile)?));
            let sums = group.sums.iter();
            let sums = sums.map(|id| self.memory(&name(id), self.bytes(*id, &tile)?));
            workspaces.push(locals.chain(sums).collect::<Result<Vec<_>, Error>>()?);
        }
        let mut partial = Vec::new();
        for _ in 0..tasks {
            let sums = group.sums.iter();
            let sums = sums.map(|id| self.memory(&name(id), self.bytes(*id, &tile)?));
            partial.push(Mutex::new(sums.collect::<Result<Vec<_>, Error>>()?));
        }
        let all_rows = |ids: &[BufferId]| -> Result<Vec<Rows>, Error> {
            let rows = ids.iter().map(|id| {
                let buffer = program.buffer(*id);
                let elements = Dim::product(&buffer.dims[1..]).eval(bindings)?;
                let local = group.local.iter().position(|local| local == id).unwrap_or(0);
                let steps = if buffer.stream { steps as usize } else { 1 };
                Ok(Rows { buffer: *id, local, bytes: 4 * elements as usize, steps })
            });
            rows.collect()
        };
        let sum_kernel = |id: &BufferId| {
            let sweeps = group.sweeps.iter().flat_map(|sweep| sweep.kernels.iter().copied());
            let kernels: Vec<_> = program.kernels().collect();
            sweeps.into_iter().find(|at| kernels[*at].stores(*id)).unwrap_or(usize::MAX)
        };
        let sums = group.sums.iter();
        let sums = sums.map(|id| Ok((sum_kernel(id), self.bytes(*id, &tile)? / 4)));
        Ok(Tiles {
            batch,
            tiles,
            steps,
            shapes,
            sums: sums.collect::<Result<_, Error>>()?,
            partial,
            workspaces: Mutex::new(workspaces),
            imports: all_rows(&group.imports)?,
            exports: all_rows(&group.exports)?,
            group,
        })
    }

    fn shape(
        &self,
        group: &Group,
        tile: &Bindings,
        whole: &Bindings,
        rows: i64,
    ) -> Result<Shape, Error> {
        let kernels: Vec<_> = self.program.kernels().collect();
        let sizes = Sizes::new(&self.program, tile, whole);
        let launch = |at: &usize| {
            let launch = sizes.launch(*at, kernels[*at], &self.functions[*at]);
            launch.map_err(|error| self.no_launch(error))
        };
        let sweeps = group.sweeps.iter().map(|sweep| sweep.kernels.iter().map(launch).collect());
        Ok(Shape { rows, launches: sweeps.collect::<Result<_, Error>>()? })
    }
}

impl Tiles {
    pub fn run(&self, buffers: &Buffers, threads: Threads) {
        let packed = self.pack(buffers);
        threads.for_each(self.partial.len(), |task| {
            let mut sums = self.partial[task].lock().unwrap_or_else(PoisonError::into_inner);
            let mut workspace = self.take_workspace();
            self.run_task(buffers, &packed, task as i64, &mut workspace, &mut sums);
            self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        });
        self.add_up(buffers, threads);
    }

    /// There is one for each thread.
    fn take_workspace(&self) -> Vec<Memory> {
        let mut free = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    /// Operands that are the same for all tiles, rearranged.
    fn pack(&self, buffers: &Buffers) -> AllPacked {
        let of_product = |product: &super::product::BoundProduct| {
            let shared = product.fixed_buffer().filter(|id| !self.group.local.contains(id));
            shared.and_then(|_| product.pack(&buffers.0))
        };
        let of_launch = |launch: &Launch| launch.products.iter().map(of_product).collect();
        let sweeps = self.shapes.iter().take(1).flat_map(|shape| &shape.launches);
        sweeps.map(|launches| launches.iter().map(of_launch).collect()).collect()
    }

    fn run_task(
        &self,
        buffers: &Buffers,
        packed: &AllPacked,
        task: i64,
        workspace: &mut [Memory],
        sums: &mut [Memory],
    ) {
        sums.iter_mut().for_each(|sum| sum.bytes_mut().fill(0));
        let mut starts = buffers.0.clone();
        let own = self.group.local.iter().chain(&self.group.sums);
        for (id, memory) in own.zip(workspace.iter()) {
            starts[id.0 as usize] = memory.start();
        }
        let first_row = |tile: i64| tile * self.batch / self.tiles;
        let tasks = self.partial.len() as i64;
        for tile in task * self.tiles / tasks..(task + 1) * self.tiles / tasks {
            let first = first_row(tile);
            let rows = first_row(tile + 1) - first;
            let Some(shape) = self.shapes.iter().find(|shape| shape.rows == rows) else { continue };
            for rows in &self.imports {
                self.copy_rows(rows, first, shape.rows, |local, offset, bytes| {
                    let from = buffers.0[rows.buffer.0 as usize].wrapping_add(offset);
                    let to = workspace[rows.local].start().wrapping_add(local);
                    // SAFETY: both are as long, and different memory.
                    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
                });
            }
            self.run_tile(shape, packed, &starts, workspace, sums);
            for rows in &self.exports {
                self.copy_rows(rows, first, shape.rows, |local, offset, bytes| {
                    let from = workspace[rows.local].start().wrapping_add(local);
                    let to = buffers.0[rows.buffer.0 as usize].wrapping_add(offset);
                    // SAFETY: as above; no other tile has these rows.
                    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
                });
            }
        }
    }

    /// Visits the rows of a tile in each step: where they are in the tile and in the whole, and how
    /// many bytes.
    fn copy_rows(&self, rows: &Rows, first: i64, count: i64, copy: impl Fn(usize, usize, usize)) {
        let bytes = count as usize * rows.bytes;
        for step in 0..rows.steps {
            let whole = (step * self.batch as usize + first as usize) * rows.bytes;
            copy(step * bytes, whole, bytes);
        }
    }

    fn run_tile(
        &self,
        shape: &Shape,
        packed: &AllPacked,
        buffers: &[*mut u8],
        workspace: &[Memory],
        sums: &mut [Memory],
    ) {
        let sweeps = self.group.sweeps.iter().zip(&shape.launches).zip(packed);
        for ((sweep, launches), packed) in sweeps {
            for steps in self.chunks(sweep.direction) {
                for (launch, packed) in launches.iter().zip(packed) {
                    self.run_kernel(launch, packed, buffers, workspace, sums, steps);
                }
            }
        }
    }

    /// The steps of a sweep, some at a time.
    fn chunks(&self, direction: Option<Direction>) -> Box<dyn Iterator<Item = (i64, i64)>> {
        let steps = self.steps;
        let Some(direction) = direction else { return Box::new(std::iter::once((0, steps))) };
        let size = direction.chunk();
        let chunks = 0..(steps + size - 1) / size;
        let chunks = chunks.map(move |at| (at * size, ((at + 1) * size).min(steps)));
        match direction {
            Direction::Forward => Box::new(chunks),
            Direction::Backward => Box::new(chunks.rev()),
        }
    }

    fn run_kernel(
        &self,
        launch: &Launch,
        packed: &[Option<Packed>],
        buffers: &[*mut u8],
        workspace: &[Memory],
        sums: &mut [Memory],
        steps: (i64, i64),
    ) {
        let sum = self.sums.iter().position(|(kernel, _)| *kernel == launch.index);
        let Some(at) = sum else { return launch.run_steps(buffers, packed, steps) };
        let total = sums[at].start().cast::<f32>();
        if launch.add_product(buffers, packed, steps, total) {
            return;
        }
        launch.run_steps(buffers, packed, steps);
        let part = &workspace[self.group.local.len() + at];
        add(sums[at].floats_mut(), part.floats());
    }

    /// Adds up the sums of all tasks, in their order.
    fn add_up(&self, buffers: &Buffers, threads: Threads) {
        let partial: Vec<_> = self
            .partial
            .iter()
            .map(|partial| partial.lock().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let partial: Vec<&[Memory]> = partial.iter().map(|sums| sums.as_slice()).collect();
        let sums = self.group.sums.iter().zip(&self.sums).enumerate();
        let parts = sums.flat_map(|(at, (id, (_, elements)))| {
            let parts = (0..*elements).step_by(ADDED_AT_ONCE);
            parts.map(move |first| (at, *id, first..(first + ADDED_AT_ONCE).min(*elements)))
        });
        let parts: Vec<_> = parts.collect();
        threads.for_each(parts.len(), |part| {
            let (at, id, range) = parts[part].clone();
            let start = buffers.0[id.0 as usize].cast::<f32>().wrapping_add(range.start);
            // SAFETY: the buffer has as many elements, and nothing else uses these now.
            let total = unsafe { std::slice::from_raw_parts_mut(start, range.len()) };
            total.fill(0.0);
            for sums in &partial {
                add(total, &sums[at].floats()[range.clone()]);
            }
        });
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}
