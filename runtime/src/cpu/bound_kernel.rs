//! Kernels with their sizes, ready to run.

use std::cell::RefCell;
use std::ffi::c_void;

use fgi_compiler::ir::graph::{Bindings, Dim, DimError};
use fgi_compiler::ir::kernel::{Kernel, Program, Stage};
use fgi_compiler::target::cpu::native::Frame;

use super::jit::{Entry, Function};
use super::memory::LINE;
use super::panels::Panels;
use super::product::{BoundProduct, Context, Ranges, multiply};
use super::{Buffers, Threads};

/// A kernel with its sizes.
pub(super) struct BoundKernel {
    /// In [`Program::kernels`].
    pub index: usize,
    entry: Entry,
    dims: Vec<i64>,
    pub products: Vec<BoundProduct>,
    tasks: Tasks,
    /// Whatever the range of a task says: see [`Kernel::exchanges_rows`].
    runs_all_rows: bool,
}

/// How a kernel is cut: tiles of axis 0 by tiles of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tasks {
    rows: i64,
    row_tile: i64,
    steps: i64,
    step_tile: i64,
}

impl BoundKernel {
    pub fn run(&self, buffers: &Buffers, threads: Threads) {
        let packed: Vec<Option<Panels>> =
            self.products.iter().map(|product| product.pack(&buffers.0)).collect();
        threads.for_each(self.tasks.count(), |task| {
            self.run_ranges(&buffers.0, &packed, self.tasks.ranges(task as i64));
        });
    }

    /// All points, at these steps.
    pub fn run_steps(&self, buffers: &[*mut u8], packed: &[Option<Panels>], steps: (i64, i64)) {
        self.run_ranges(buffers, packed, Ranges { rows: (0, self.tasks.rows), steps });
    }

    /// If the kernel is nothing but a product: puts its part over these steps in `sum`, or adds it to
    /// what is there, and says so.
    pub fn put_product(
        &self,
        buffers: &[*mut u8],
        packed: &[Option<Panels>],
        steps: (i64, i64),
        sum: *mut f32,
        accumulate: bool,
    ) -> bool {
        let Some(whole) = self.products.first().and_then(|product| product.whole_kernel) else {
            return false;
        };
        let ranges = Ranges { rows: (0, self.tasks.rows), steps };
        let context = Context { products: &self.products, packed, buffers, scratch: &[] };
        // SAFETY: indices lie inside of the buffers, and `sum` is as large as what the kernel stores.
        unsafe { context.multiply(0, whole.starts, ranges, sum, accumulate) };
        true
    }

    fn run_ranges(&self, buffers: &[*mut u8], packed: &[Option<Panels>], ranges: Ranges) {
        thread_local! {
            static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        if let [product] = self.products.as_slice()
            && let Some((whole, out)) = product.whole_kernel.zip(product.place(buffers, ranges))
        {
            let context = Context { products: &self.products, packed, buffers, scratch: &[] };
            // SAFETY: as below; the result is as large as what the kernel stores.
            return unsafe { context.multiply(0, whole.starts, ranges, out, false) };
        }
        let Ranges { rows: (lo, hi), steps: (first, end) } = ranges;
        SCRATCH.with_borrow_mut(|scratch| {
            let mut total = 0;
            let sizes = self.products.iter().map(|product| {
                let start = total;
                let rows = if self.runs_all_rows { product.rows() } else { hi - lo };
                total += product.elements(rows, end - first).next_multiple_of(LINE);
                start
            });
            let offsets: Vec<usize> = sizes.collect();
            // From a cache line on, as all memory that vectors are loaded from.
            if scratch.len() < total + LINE {
                scratch.resize(total + LINE, 0.0);
            }
            let unaligned = scratch.as_ptr().align_offset(4 * LINE).min(LINE);
            let scratch = scratch.as_mut_ptr().wrapping_add(unaligned);
            let scratch: Vec<*mut f32> =
                offsets.iter().map(|offset| scratch.wrapping_add(*offset)).collect();
            let context = Context { products: &self.products, packed, buffers, scratch: &scratch };
            let frame = Frame {
                buffers: buffers.as_ptr(),
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
    fn count(self) -> usize {
        self.number() as usize
    }

    fn number(self) -> i64 {
        (self.rows + self.row_tile - 1) / self.row_tile
            * ((self.steps + self.step_tile - 1) / self.step_tile)
    }

    /// The points of axis 0 and the steps of a task.
    fn ranges(self, task: i64) -> Ranges {
        let tiles = (self.rows + self.row_tile - 1) / self.row_tile;
        let (lo, first) = (task % tiles * self.row_tile, task / tiles * self.step_tile);
        let hi = (lo + self.row_tile).min(self.rows);
        let end = (first + self.step_tile).min(self.steps);
        Ranges { rows: (lo, hi), steps: (first, end) }
    }
}

/// Why a kernel cannot run.
pub(super) enum Refused {
    Dim(DimError),
    /// A dimension of the kernel of this name is not positive.
    Empty(String),
}

impl From<DimError> for Refused {
    fn from(error: DimError) -> Refused {
        Refused::Dim(error)
    }
}

/// The sizes of kernels under bindings.
pub(super) struct Sizes<'a> {
    program: &'a Program,
    bindings: &'a Bindings,
    /// Those of the whole batch.
    whole: &'a Bindings,
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

impl<'a> Sizes<'a> {
    pub fn new(program: &'a Program, bindings: &'a Bindings, whole: &'a Bindings) -> Sizes<'a> {
        Sizes { program, bindings, whole }
    }

    pub fn bind(
        &self,
        index: usize,
        kernel: &Kernel,
        function: &Function,
    ) -> Result<BoundKernel, Refused> {
        self.check(kernel)?;
        let dims = function.dims.iter().map(|size| match size.is_data {
            true => size.dim.eval(self.whole),
            false => size.dim.eval(self.bindings),
        });
        let dims = dims.collect::<Result<_, DimError>>()?;
        let products = function.products.iter();
        let products =
            products.map(|product| BoundProduct::new(product, self.program, self.bindings));
        let products = products.collect::<Result<Vec<BoundProduct>, DimError>>()?;
        let tasks = self.tasks(kernel, !products.is_empty())?;
        let runs_all_rows = kernel.exchanges_rows();
        Ok(BoundKernel { index, entry: function.entry, dims, products, tasks, runs_all_rows })
    }

    /// All loops run at least once, and their counters are i32.
    fn check(&self, kernel: &Kernel) -> Result<(), Refused> {
        for stage in &kernel.stages {
            let loops = stage.loops.iter().flat_map(|reduce| &reduce.axes);
            for dim in stage.axes.iter().chain(loops) {
                let size = dim.eval(self.bindings)?;
                if size < 1 {
                    return Err(Refused::Empty(kernel.name.clone()));
                }
                if size > i64::from(i32::MAX) {
                    return Err(DimError::Overflow(dim.clone()).into());
                }
            }
        }
        Ok(())
    }

    pub fn steps(&self) -> Result<i64, DimError> {
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
            Some(rows) if !kernel.exchanges_rows() => rows.eval(self.bindings)?,
            _ => 1,
        };
        let steps = self.steps()?;
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
        let step_tile = |tile: i64| if stage.timed { tile.min(steps) } else { steps };
        let by_work = (TASK_WORK / work).max(1);
        let row_tile = if has_products { by_work.max(PRODUCT_ROWS) } else { by_work };
        let row_tile = whole_vectors(row_tile);
        let steps_at_once = if row_tile >= rows { (row_tile / rows.max(1)).max(1) } else { 1 };
        Ok(Tasks { rows, row_tile, steps, step_tile: step_tile(steps_at_once) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_everything_once() {
        let tasks = Tasks { rows: 37, row_tile: 16, steps: 5, step_tile: 2 };
        let mut seen = [[0; 37]; 5];
        for task in 0..tasks.count() {
            let Ranges { rows: (lo, hi), steps: (first, end) } = tasks.ranges(task as i64);
            for step in first..end {
                (lo..hi).for_each(|row| seen[step as usize][row as usize] += 1);
            }
        }
        assert_eq!(seen, [[1; 37]; 5]);
    }
}
