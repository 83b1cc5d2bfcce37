//! The processor as a device: kernels compiled when a program is loaded, run by a pool of threads.
//!
//! How a kernel is cut into tasks depends on its sizes only, not on the number of threads, so that
//! results do not either.

mod jit;
mod memory;
mod product;
mod rows;

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Arc;

use fgi_compiler::emit::clif::{Frame, short_streams};
use fgi_compiler::graph::{Bindings, Dim, DimError};
use fgi_compiler::kernel::{BufferId, Kernel, Pass, Program, Stage};
use rayon::prelude::*;

use crate::Error;
use crate::backend::Backend;
use jit::{Code, Entry, Function};
use memory::Memory;
use product::{BoundProduct, Context, Packed, multiply};

/// A program compiled for this machine, with its buffers.
pub(crate) struct CpuBackend {
    program: Arc<Program>,
    /// The streams that have room for two steps only.
    short_streams: Vec<bool>,
    functions: Vec<Function>,
    buffers: Vec<Memory>,
    /// What is to run, in the order of [`Program::kernels`]; empty until dimensions are bound.
    launches: Vec<Launch>,
    threads: usize,
    pool: Option<rayon::ThreadPool>,
    /// The functions' memory.
    _code: Code,
}

/// A kernel with its sizes.
struct Launch {
    entry: Entry,
    dims: Vec<i64>,
    products: Vec<BoundProduct>,
    tasks: Tasks,
}

// SAFETY: pointers in it go to the buffers, which are of the backend that owns it.
unsafe impl Send for Launch {}
// SAFETY: tasks only read it; the elements that they write differ (a point writes its own).
unsafe impl Sync for Launch {}

/// How a kernel is cut: tiles of axis 0 by tiles of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tasks {
    rows: i64,
    row_tile: i64,
    steps: i64,
    step_tile: i64,
}

impl CpuBackend {
    /// Compiles a program; `threads` are as many as the machine has, if not given.
    pub fn new(program: Arc<Program>, threads: Option<usize>) -> Result<CpuBackend, Error> {
        let short_streams = short_streams(&program);
        let (code, functions) = jit::compile(&program, &short_streams)?;
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or_else(available).max(1);
        let pool = match threads {
            1 => None,
            _ => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Some(pool.map_err(|error| Error::Device(format!("cpu: {error}")))?)
            }
        };
        let buffers = program.buffers.iter().map(|_| Memory::empty()).collect();
        let launches = Vec::new();
        Ok(CpuBackend {
            program,
            short_streams,
            functions,
            buffers,
            launches,
            threads,
            pool,
            _code: code,
        })
    }

    fn failed(&self, message: String) -> Error {
        Error::Run { device: self.device_name(), message }
    }

    /// Gives buffers their sizes.
    fn allocate(&mut self, bindings: &Bindings) -> Result<(), Error> {
        for id in self.program.buffer_ids() {
            let at = id.0 as usize;
            let elements = match self.short_streams[at] {
                true => &Dim::product(&self.program.buffer(id).dims) * &Dim::constant(2),
                false => self.program.elements(id),
            };
            let elements = elements.eval(bindings)?;
            let bytes = usize::try_from(elements).ok().and_then(|count| count.checked_mul(4));
            if bytes == Some(self.buffers[at].len()) {
                continue;
            }
            self.buffers[at] = bytes.and_then(Memory::zeroed).ok_or_else(|| {
                let name = &self.program.buffer(id).name;
                let mib = elements as f64 * 4.0 / f64::from(1 << 20);
                self.failed(format!("`{name}` needs {mib:.0} MiB of memory; use a smaller batch"))
            })?;
        }
        Ok(())
    }

    fn launch(
        &self,
        kernel: &Kernel,
        function: &Function,
        bindings: &Bindings,
    ) -> Result<Launch, Error> {
        let sizes = Sizes { program: &self.program, bindings };
        sizes.check(kernel).map_err(|error| match error {
            Some(error) => error.into(),
            None => self.failed(format!("a dimension of {} is not positive", kernel.name)),
        })?;
        let dims = function.dims.iter().map(|dim| dim.eval(bindings));
        let dims = dims.collect::<Result<_, DimError>>()?;
        let operand = |id: BufferId| {
            let start = self.buffers[id.0 as usize].start();
            (start.cast::<f32>().cast_const(), self.program.buffer(id).binary)
        };
        let products = function.products.iter().map(|product| {
            BoundProduct::new(product, bindings, operand(product.left), operand(product.right))
        });
        let products: Vec<BoundProduct> = products.collect::<Result<_, DimError>>()?;
        let tasks = sizes.tasks(kernel, !products.is_empty())?;
        Ok(Launch { entry: function.entry, dims, products, tasks })
    }
}

impl Backend for CpuBackend {
    fn device_name(&self) -> String {
        match self.threads {
            1 => "cpu (1 thread)".to_string(),
            threads => format!("cpu ({threads} threads)"),
        }
    }

    fn bind(&mut self, bindings: &Bindings) -> Result<(), Error> {
        if let Some((name, size)) = bindings.iter().find(|(_, size)| **size < 1) {
            return Err(Error::Shape {
                name: name.to_string(),
                expected: "a dimension of at least 1".to_string(),
                found: size.to_string(),
            });
        }
        self.launches.clear();
        self.allocate(bindings)?;
        let kernels = self.program.kernels().zip(&self.functions);
        let launches = kernels.map(|(kernel, function)| self.launch(kernel, function, bindings));
        self.launches = launches.collect::<Result<_, Error>>()?;
        Ok(())
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error> {
        let memory = &mut self.buffers[buffer.0 as usize];
        if memory.len() != bytes.len() {
            return Err(Error::Shape {
                name: self.program.buffer(buffer).name.clone(),
                expected: format!("{} bytes", memory.len()),
                found: bytes.len().to_string(),
            });
        }
        memory.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u8>, Error> {
        Ok(self.buffers[buffer.0 as usize].bytes().to_vec())
    }

    fn run(&mut self, pass: Pass) -> Result<(), Error> {
        if self.launches.len() != self.functions.len() {
            return Err(self.failed("the dimensions are not bound".to_string()));
        }
        let forward = self.program.forward.len();
        let backward = forward + self.program.backward.len();
        let launches = match pass {
            Pass::Forward => &self.launches[..forward],
            Pass::Backward => &self.launches[forward..backward],
            Pass::Update => &self.launches[backward..],
        };
        let buffers = Buffers(self.buffers.iter().map(Memory::start).collect());
        let run = || launches.iter().for_each(|launch| launch.run(&buffers, self.pool.is_some()));
        match &self.pool {
            Some(pool) => pool.install(run),
            None => run(),
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// The starts of all buffers.
struct Buffers(Vec<*mut u8>);

// SAFETY: as for `Launch`.
unsafe impl Sync for Buffers {}

impl Launch {
    fn run(&self, buffers: &Buffers, parallel: bool) {
        let packed: Vec<Option<Packed>> = self.products.iter().map(BoundProduct::pack).collect();
        let count = self.tasks.count();
        match parallel && count > 1 {
            true => (0..count as usize)
                .into_par_iter()
                .with_max_len(1)
                .for_each(|task| self.run_task(buffers, &packed, task as i64)),
            false => (0..count).for_each(|task| self.run_task(buffers, &packed, task)),
        }
    }

    fn run_task(&self, buffers: &Buffers, packed: &[Option<Packed>], task: i64) {
        thread_local! {
            static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        let ((lo, hi), (first, end)) = self.tasks.ranges(task);
        SCRATCH.with_borrow_mut(|scratch| {
            let mut total = 0;
            let starts: Vec<usize> = self
                .products
                .iter()
                .map(|product| {
                    let start = total;
                    total += product.elements(hi - lo, end - first).next_multiple_of(16);
                    start
                })
                .collect();
            if scratch.len() < total {
                scratch.resize(total, 0.0);
            }
            let scratch = scratch.as_mut_ptr();
            let scratch: Vec<*mut f32> =
                starts.iter().map(|start| scratch.wrapping_add(*start)).collect();
            let context = Context { products: &self.products, packed, scratch: &scratch };
            let frame = Frame {
                buffers: buffers.0.as_ptr(),
                dims: self.dims.as_ptr(),
                scratch: scratch.as_ptr(),
                multiply,
                context: (&raw const context).cast::<c_void>(),
            };
            // SAFETY: the frame is as the kernel's code expects it; the buffers have the sizes that
            // the kernel indexes, and tasks write different elements.
            unsafe { (self.entry)(&frame, lo, hi, first, end) }
        });
    }
}

impl Tasks {
    fn count(self) -> i64 {
        (self.rows + self.row_tile - 1) / self.row_tile
            * ((self.steps + self.step_tile - 1) / self.step_tile)
    }

    /// The points of axis 0 and the steps of a task.
    fn ranges(self, task: i64) -> ((i64, i64), (i64, i64)) {
        let tiles = (self.rows + self.row_tile - 1) / self.row_tile;
        let (lo, first) = (task % tiles * self.row_tile, task / tiles * self.step_tile);
        let hi = (lo + self.row_tile).min(self.rows);
        let end = (first + self.step_tile).min(self.steps);
        ((lo, hi), (first, end))
    }
}

/// The sizes of kernels under bindings.
struct Sizes<'a> {
    program: &'a Program,
    bindings: &'a Bindings,
}

/// About how many evaluations of a body a task should have.
const TASK_WORK: i64 = 1 << 15;
/// The fewest and the most rows of a task of a recurrence with products: products want many, threads
/// want many tasks.
const RECURRENT_ROWS: (i64, i64) = (4, 16);
/// As many tasks a recurrence should have at least.
const RECURRENT_TASKS: i64 = 8;
/// The fewest rows of a task of any other product.
const PRODUCT_ROWS: i64 = 16;
/// A product is so much faster than the evaluation of a body.
const PRODUCT_SPEED: i64 = 8;

impl Sizes<'_> {
    /// All loops run at least once, and their counters are i32; else the error, if there is one.
    fn check(&self, kernel: &Kernel) -> Result<(), Option<DimError>> {
        for stage in &kernel.stages {
            let loops = stage.loops.iter().flat_map(|reduce| &reduce.axes);
            for dim in stage.axes.iter().chain(loops) {
                let size = dim.eval(self.bindings).map_err(Some)?;
                if size < 1 {
                    return Err(None);
                }
                if size > i64::from(i32::MAX) {
                    return Err(Some(DimError::Overflow(dim.clone())));
                }
            }
        }
        Ok(())
    }

    fn steps(&self) -> Result<i64, DimError> {
        self.program.time.as_ref().map_or(Ok(1), |time| time.eval(self.bindings))
    }

    fn product(&self, dims: &[Dim]) -> Result<i64, DimError> {
        Dim::product(dims).eval(self.bindings)
    }

    /// How often a stage evaluates a body for one point of axis 0 in one step.
    fn row_work(&self, stage: &Stage) -> Result<i64, DimError> {
        let mut work = 1i64;
        for (index, reduce) in stage.loops.iter().enumerate() {
            let steps = if reduce.over_time { self.steps()? } else { 1 };
            let all = self.product(&reduce.axes)?.saturating_mul(steps);
            let speed = if stage.contraction(index).is_some() { PRODUCT_SPEED } else { 1 };
            work = work.saturating_add(all / speed);
        }
        let row = self.product(stage.axes.get(1..).unwrap_or_default())?;
        Ok(work.saturating_mul(row))
    }

    fn tasks(&self, kernel: &Kernel, has_products: bool) -> Result<Tasks, DimError> {
        let mut work = 1;
        for stage in &kernel.stages {
            work = self.row_work(stage)?.max(work);
        }
        let stage = &kernel.stages[0];
        let rows = match stage.axes.first() {
            Some(rows) if kernel.recurrence.is_none() || kernel.local_axes > 0 => {
                rows.eval(self.bindings)?
            }
            _ => 1,
        };
        let steps = if stage.timed { self.steps()? } else { 1 };
        let whole_vectors = |tile: i64| match stage.axes.len() {
            1 => (tile + 15) / 16 * 16,
            _ => tile,
        };
        if kernel.recurrence.is_some() {
            let row_tile = match has_products {
                true => (rows / RECURRENT_TASKS / 4 * 4).clamp(RECURRENT_ROWS.0, RECURRENT_ROWS.1),
                false => whole_vectors((1024 / work).max(1)),
            };
            return Ok(Tasks { rows, row_tile, steps, step_tile: steps });
        }
        let by_work = (TASK_WORK / work).max(1);
        let row_tile = if has_products { by_work.max(PRODUCT_ROWS) } else { by_work };
        let row_tile = whole_vectors(row_tile);
        let step_tile = if row_tile >= rows { (row_tile / rows.max(1)).max(1) } else { 1 };
        Ok(Tasks { rows, row_tile, steps, step_tile: step_tile.min(steps) })
    }
}

/// The native code of a program as text.
pub fn clif_text(program: &Program) -> String {
    fgi_compiler::emit::clif::text(program)
}

#[cfg(test)]
mod tests;
