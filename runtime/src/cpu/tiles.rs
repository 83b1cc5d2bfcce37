//! Groups of kernels that run for a few rows of the batch before the next rows.

use std::sync::{Mutex, PoisonError};

use fgi_compiler::ir::graph::{Bindings, Dim};
use fgi_compiler::ir::kernel::{BufferId, Kernel, Program};
use fgi_compiler::target::cpu::plan::batch_tiles::Group;
use fgi_compiler::target::cpu::plan::batch_tiles::checkpointing::segmented;

use super::bound_kernel::{BoundKernel, Sizes};
use super::checkpointing::{Room, Segments};
use super::memory::Memory;
use super::panels::Panels;
use super::{Buffers, CpuBackend, Threads, batch};
use crate::Error;

/// The most rows of a tile: as many as a product computes in two parts, and few enough for what is kept
/// for the backward pass to stay in the cache.
const ROWS: i64 = 8;
/// Without a backward pass: more rows find more of the weights in the nearest cache.
const INFERENCE_ROWS: i64 = 16;
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
    segments: Segments,
    /// Tiles with the most rows, and those with one row less.
    shapes: Vec<Shape>,
    /// For each sum its kernel and the number of its elements.
    sums: Vec<(usize, usize)>,
    /// The sums of each task.
    partial: Vec<Mutex<Vec<Partial>>>,
    /// The rows of the tiles that run.
    workspaces: Mutex<Vec<Workspace>>,
    /// Bytes of a row of each import and export, in a step; and steps.
    imports: Vec<Rows>,
    exports: Vec<Rows>,
}

/// The memory of a tile.
#[derive(Default)]
struct Workspace {
    locals: Vec<Memory>,
    /// Where kernels leave their part of a sum over the batch.
    sums: Vec<Memory>,
    /// What is kept of each segment of time.
    states: Vec<Memory>,
}

/// A sum over the batch, as far as a task has it.
struct Partial {
    sum: Memory,
    /// Nothing is in it yet, not even zeros.
    is_new: bool,
}

/// The kernels for a tile of so many rows, in the order of the sweeps.
struct Shape {
    rows: i64,
    kernels: Vec<Vec<BoundKernel>>,
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
type AllPacked = Vec<Vec<Vec<Option<Panels>>>>;

/// How much memory a group takes.
pub(super) struct Layout {
    tiles: i64,
    /// The most of a tile.
    rows: i64,
    tasks: i64,
    /// Tiles that run at the same time.
    workers: usize,
    /// Bytes of each local buffer, of each sum and of each state between segments.
    locals: Vec<usize>,
    sums: Vec<usize>,
    states: Vec<usize>,
    segments: Segments,
}

impl Layout {
    pub fn bytes(&self) -> usize {
        let tile = total(self.locals.iter().chain(&self.sums).chain(&self.states));
        let tiles = tile.saturating_mul(self.workers);
        let sums = total(&self.sums).saturating_mul(self.tasks as usize);
        tiles.saturating_add(sums)
    }

    pub fn segments(&self) -> usize {
        self.segments.count() as usize
    }
}

fn total<'a>(sizes: impl IntoIterator<Item = &'a usize>) -> usize {
    sizes.into_iter().copied().fold(0, usize::saturating_add)
}

impl CpuBackend {
    /// How a group fits into memory, with segments of so many steps if that is given.
    pub(super) fn layout(
        &self,
        group: &Group,
        length: Option<i64>,
        bindings: &Bindings,
    ) -> Result<Layout, Error> {
        let program: &Program = &self.program;
        let batch_dim = batch(program).unwrap_or_else(Dim::one);
        let batch = batch_dim.eval(bindings)?;
        let tasks = ((batch + LEAST_ROWS - 1) / LEAST_ROWS).min(TASKS);
        let most = if program.backward.is_empty() { INFERENCE_ROWS } else { ROWS };
        let tiles = (((batch + most - 1) / most + tasks - 1) / tasks * tasks).min(batch);
        let rows = (batch + tiles - 1) / tiles;
        let tile = of_rows(&batch_dim, rows, bindings);
        let steps = Sizes::new(program, bindings, bindings).steps()?;
        let segments = match length {
            None => Segments::none(steps),
            Some(length) => {
                let segmented = segmented(program, group, &self.windows);
                let lengths = (steps, length);
                Segments::new(program, group, &self.windows, &segmented, lengths, bindings)?
            }
        };
        let bytes = |id: &BufferId| self.bytes(*id, &tile);
        let local = |id: &BufferId| segments.bytes(*id, rows).map_or_else(|| bytes(id), Ok);
        Ok(Layout {
            tiles,
            rows,
            tasks,
            workers: self.threads.min(tasks as usize),
            locals: group.local.iter().map(local).collect::<Result<_, Error>>()?,
            sums: group.sums.iter().map(bytes).collect::<Result<_, Error>>()?,
            states: segments.state_bytes(rows).collect(),
            segments,
        })
    }

    pub(super) fn tiles(
        &self,
        group: Group,
        layout: Layout,
        bindings: &Bindings,
    ) -> Result<Tiles, Error> {
        let program: &Program = &self.program;
        let batch_dim = batch(program).unwrap_or_else(Dim::one);
        let batch = batch_dim.eval(bindings)?;
        let (rows, tiles) = (layout.rows, layout.tiles);
        let shape =
            |rows: i64| self.shape(&group, &of_rows(&batch_dim, rows, bindings), bindings, rows);
        let sizes = [rows, batch / tiles].into_iter().take(if batch % tiles == 0 { 1 } else { 2 });
        let shapes = sizes.map(shape).collect::<Result<Vec<Shape>, Error>>()?;
        let steps = Sizes::new(program, bindings, bindings).steps()?;
        let named = |ids: &[BufferId], sizes: &[usize]| -> Result<Vec<Memory>, Error> {
            let ids = ids.iter().zip(sizes);
            ids.map(|(id, bytes)| self.memory(&program.buffer(*id).name, *bytes)).collect()
        };
        let workspace = || -> Result<Workspace, Error> {
            let states = layout.states.iter().map(|bytes| self.memory("segments", *bytes));
            Ok(Workspace {
                locals: named(&group.local, &layout.locals)?,
                sums: named(&group.sums, &layout.sums)?,
                states: states.collect::<Result<_, Error>>()?,
            })
        };
        let workspaces = (0..layout.workers).map(|_| workspace()).collect::<Result<_, Error>>()?;
        let partial = |_| -> Result<Mutex<Vec<Partial>>, Error> {
            let sums = named(&group.sums, &layout.sums)?.into_iter();
            Ok(Mutex::new(sums.map(|sum| Partial { sum, is_new: true }).collect()))
        };
        let partial = (0..layout.tasks).map(partial).collect::<Result<_, Error>>()?;
        let all_rows = |ids: &[BufferId]| -> Result<Vec<Rows>, Error> {
            let rows = ids.iter().map(|id| {
                let buffer = program.buffer(*id);
                let elements = Dim::product(&buffer.dims[1..]).eval(bindings)?;
                let local = group.local.iter().position(|local| local == id).unwrap_or(0);
                let steps = if buffer.stream { steps as usize } else { 1 };
                Ok(Rows { buffer: *id, local, bytes: buffer.bytes(elements) as usize, steps })
            });
            rows.collect()
        };
        let sum_kernel = |id: &BufferId| {
            let sweeps = group.sweeps.iter().flat_map(|sweep| sweep.kernels.iter().copied());
            let kernels: Vec<_> = program.kernels().collect();
            let makes =
                |kernel: &Kernel| kernel.stores(*id) || kernel.added_to().any(|to| to == *id);
            sweeps.into_iter().find(|at| makes(kernels[*at])).unwrap_or(usize::MAX)
        };
        let sums = group.sums.iter().zip(&layout.sums);
        let has_all = |id: &BufferId| !layout.segments.has_import(*id);
        let imports: Vec<_> = group.imports.iter().copied().filter(has_all).collect();
        Ok(Tiles {
            batch,
            tiles,
            shapes,
            sums: sums.map(|(id, bytes)| (sum_kernel(id), bytes / size_of::<f32>())).collect(),
            partial,
            workspaces: Mutex::new(workspaces),
            imports: all_rows(&imports)?,
            exports: all_rows(&group.exports)?,
            segments: layout.segments,
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
        let bound = |at: &usize| {
            let bound = sizes.bind(*at, kernels[*at], &self.functions[*at]);
            bound.map_err(|error| self.not_bound(error))
        };
        let sweeps = group.sweeps.iter().map(|sweep| sweep.kernels.iter().map(bound).collect());
        Ok(Shape { rows, kernels: sweeps.collect::<Result<_, Error>>()? })
    }
}

/// The bindings for a tile of so many rows.
fn of_rows(batch: &Dim, rows: i64, bindings: &Bindings) -> Bindings {
    let mut tile = bindings.clone();
    tile.extend(batch.symbols().map(|symbol| (symbol.clone(), rows)));
    tile
}

impl Tiles {
    pub fn run(&self, buffers: &Buffers, threads: Threads) {
        let packed = self.pack(buffers);
        threads.for_each(self.partial.len(), |task| {
            let mut sums = self.partial[task].lock().unwrap_or_else(PoisonError::into_inner);
            let workspace = self.take_workspace();
            self.run_task(buffers, &packed, task as i64, &workspace, &mut sums);
            self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        });
        self.add_up(buffers, threads);
    }

    /// There is one for each thread.
    fn take_workspace(&self) -> Workspace {
        let mut free = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    /// Operands that are the same for all tiles, rearranged.
    fn pack(&self, buffers: &Buffers) -> AllPacked {
        let of_product = |product: &super::product::BoundProduct| {
            let shared = product.fixed_buffer().filter(|id| !self.group.local.contains(id));
            shared.and_then(|_| product.pack(&buffers.0))
        };
        let of_kernel = |bound: &BoundKernel| bound.products.iter().map(of_product).collect();
        let sweeps = self.shapes.iter().take(1).flat_map(|shape| &shape.kernels);
        sweeps.map(|kernels| kernels.iter().map(of_kernel).collect()).collect()
    }

    fn run_task(
        &self,
        buffers: &Buffers,
        packed: &AllPacked,
        task: i64,
        workspace: &Workspace,
        sums: &mut [Partial],
    ) {
        sums.iter_mut().for_each(|partial| partial.is_new = true);
        let mut starts = buffers.0.clone();
        let own = self.group.local.iter().zip(&workspace.locals);
        for (id, memory) in own.chain(self.group.sums.iter().zip(&workspace.sums)) {
            starts[id.0 as usize] = memory.start();
        }
        let mut room = Room::new(starts, &workspace.locals, &workspace.states);
        let first_row = |tile: i64| tile * self.batch / self.tiles;
        let tasks = self.partial.len() as i64;
        for tile in task * self.tiles / tasks..(task + 1) * self.tiles / tasks {
            let first = first_row(tile);
            let rows = first_row(tile + 1) - first;
            let Some(shape) = self.shapes.iter().find(|shape| shape.rows == rows) else { continue };
            for rows in &self.imports {
                self.copy_rows(rows, first, shape.rows, |local, offset, bytes| {
                    let from = buffers.0[rows.buffer.0 as usize].wrapping_add(offset);
                    let to = workspace.locals[rows.local].start().wrapping_add(local);
                    // SAFETY: both are as long, and different memory.
                    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
                });
            }
            room.begin(&self.segments, first, shape.rows, self.batch);
            self.run_tile((shape, packed), buffers, &mut room, &workspace.sums, sums);
            for rows in &self.exports {
                self.copy_rows(rows, first, shape.rows, |local, offset, bytes| {
                    let from = workspace.locals[rows.local].start().wrapping_add(local);
                    let to = buffers.0[rows.buffer.0 as usize].wrapping_add(offset);
                    // SAFETY: as above; no other tile has these rows.
                    unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
                });
            }
        }
        for partial in sums.iter_mut().filter(|partial| partial.is_new) {
            partial.sum.bytes_mut().fill(0);
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
        (shape, packed): (&Shape, &AllPacked),
        buffers: &Buffers,
        room: &mut Room,
        parts: &[Memory],
        sums: &mut [Partial],
    ) {
        let mut run = |room: &Room, sweep: usize, kernels: &[usize], steps: (i64, i64)| {
            for kernel in kernels {
                let bound = &shape.kernels[sweep][*kernel];
                self.run_kernel(bound, &packed[sweep][*kernel], &room.starts, parts, sums, steps);
            }
        };
        for (at, sweep) in self.group.sweeps.iter().enumerate() {
            let kernels: Vec<usize> = (0..sweep.kernels.len()).collect();
            for segment in self.segments.in_order(sweep.direction) {
                if sweep.direction.is_some() {
                    self.segments.enter(at, segment, buffers, room, &mut run);
                }
                for steps in self.segments.chunks(sweep.direction, segment) {
                    run(room, at, &kernels, steps);
                }
                self.segments.leave(at, segment, room);
            }
        }
    }

    fn run_kernel(
        &self,
        bound: &BoundKernel,
        packed: &[Option<Panels>],
        buffers: &[*mut u8],
        parts: &[Memory],
        sums: &mut [Partial],
        steps: (i64, i64),
    ) {
        let mut own = (0..sums.len()).filter(|at| self.sums[*at].0 == bound.index);
        let Some(first) = own.next() else { return bound.run_steps(buffers, packed, steps) };
        let Partial { sum, is_new } = &mut sums[first];
        let total = sum.start().cast::<f32>();
        if bound.put_product(buffers, packed, steps, total, !*is_new) {
            *is_new = false;
            return;
        }
        let own = std::iter::once(first).chain(own);
        for part in own.clone().map(|at| &parts[at]) {
            // SAFETY: it is as long, and this thread's alone.
            unsafe { std::ptr::write_bytes(part.start(), 0, part.len()) }
        }
        bound.run_steps(buffers, packed, steps);
        for at in own {
            let Partial { sum, is_new } = &mut sums[at];
            match std::mem::replace(is_new, false) {
                true => sum.floats_mut().copy_from_slice(parts[at].floats()),
                false => add(sum.floats_mut(), parts[at].floats()),
            }
        }
    }

    /// Adds up the sums of all tasks, in their order.
    fn add_up(&self, buffers: &Buffers, threads: Threads) {
        let partial: Vec<_> = self
            .partial
            .iter()
            .map(|partial| partial.lock().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let partial: Vec<&[Partial]> = partial.iter().map(|sums| sums.as_slice()).collect();
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
            let mut parts = partial.iter().map(|sums| &sums[at].sum.floats()[range.clone()]);
            match parts.next() {
                Some(first) => total.copy_from_slice(first),
                None => total.fill(0.0),
            }
            parts.for_each(|part| add(total, part));
        });
    }
}

fn add(sum: &mut [f32], part: &[f32]) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += part;
    }
}
