//! Matrix products: sums of products over strided axes, as calls of `gemm`, or, where one side is
//! known to be 0 or 1, as sums of rows.

use std::cell::RefCell;
use std::ffi::c_void;

use fgi_compiler::emit::clif::{Product, ProductAxis, WholeKernel};
use fgi_compiler::graph::{Bindings, DimError};
use fgi_compiler::kernel::{BufferId, Program};
use smallvec::SmallVec;

use super::rows::{
    Chosen, Left, PANEL, Rows, SLACK, Sizes, Target, add_products, list_nonzero, multiply_panel,
    multiply_row_by_row, sum_chosen,
};

/// A [`Product`] with numbers for its dimensions.
pub(super) struct BoundProduct {
    left: Operand,
    right: Operand,
    over_steps: bool,
    /// The steps of the loop over time, and whether only those that are asked for count.
    time_loop: Option<(isize, isize, bool)>,
    axes: Axes,
    loops: Axes,
    /// See [`Product::fixed_right`].
    fixed_right: Option<isize>,
    /// See [`Product::whole_kernel`].
    pub whole_kernel: Option<Whole>,
}

/// See [`fgi_compiler::emit::clif::WholeKernel`].
#[derive(Clone, Copy)]
pub(super) struct Whole {
    pub starts: (i64, i64),
    /// The buffer, and a mask for the number of a step.
    stored: Option<(BufferId, i64)>,
}

/// A right operand, rearranged into panels of [`PANEL`] columns, each with its rows after each other.
pub(super) struct Packed(Vec<f32>);

#[derive(Clone, Copy)]
struct Operand {
    buffer: BufferId,
    /// All elements are 0 or 1.
    binary: bool,
    /// Steps are found at their number under this mask.
    steps: isize,
}

/// An operand in memory.
#[derive(Clone, Copy)]
struct Side {
    start: *const f32,
    binary: bool,
}

/// How many steps an axis has, and how far one goes in the operands and in the result.
#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: isize,
    left: isize,
    right: isize,
    out: isize,
}

/// There are rarely more, and products are many.
type Axes = SmallVec<[Axis; 4]>;

/// As many terms of a product as are added up row by row.
const FEW_TERMS: isize = 4;

impl Axis {
    /// One step: no axis at all.
    const NONE: Axis = Axis { extent: 1, left: 0, right: 0, out: 0 };
}

/// What a task gives to the code of a kernel for its products.
pub(super) struct Context<'a> {
    pub products: &'a [BoundProduct],
    pub packed: &'a [Option<Packed>],
    pub buffers: &'a [*mut u8],
    /// For each product, where its result goes.
    pub scratch: &'a [*mut f32],
}

/// Points of axis 0 and steps.
#[derive(Clone, Copy)]
pub(super) struct Ranges {
    pub rows: (i64, i64),
    pub steps: (i64, i64),
}

/// See [`fgi_compiler::emit::clif::Multiply`].
pub(super) extern "C" fn multiply(
    context: *const c_void,
    product: i64,
    left: i64,
    right: i64,
    lo: i64,
    hi: i64,
    first: i64,
    end: i64,
) {
    // SAFETY: the task put a `Context` there, which outlives the call of the kernel.
    let context = unsafe { &*context.cast::<Context>() };
    let at = product as usize;
    let ranges = Ranges { rows: (lo, hi), steps: (first, end) };
    // SAFETY: the form of kernels promises that indices lie inside of the buffers, and the task
    // gave as much scratch memory as the ranges need.
    unsafe { context.multiply(at, (left, right), ranges, context.scratch[at], false) }
}

impl Context<'_> {
    /// # Safety
    /// The operands have elements at all indices, `out` has room for [`BoundProduct::elements`].
    pub unsafe fn multiply(
        &self,
        at: usize,
        (left, right): (i64, i64),
        ranges: Ranges,
        out: *mut f32,
        accumulate: bool,
    ) {
        let product = &self.products[at];
        let starts = (left as isize, right as isize);
        // SAFETY: by the contract.
        unsafe { product.run(self, self.packed[at].as_ref(), starts, ranges, out, accumulate) }
    }

    fn start(&self, operand: Operand, at: isize) -> Side {
        let start = self.buffers[operand.buffer.0 as usize].cast::<f32>().cast_const();
        Side { start: start.wrapping_offset(at), binary: operand.binary }
    }
}

impl BoundProduct {
    pub fn new(
        product: &Product,
        program: &Program,
        bindings: &Bindings,
    ) -> Result<BoundProduct, DimError> {
        let bind = |axes: &[ProductAxis]| -> Result<Axes, DimError> {
            let bound = axes.iter().map(|axis| {
                let [extent, left, right] = [&axis.extent, &axis.left, &axis.right]
                    .map(|dim| dim.eval(bindings).map(|value| value as isize));
                Ok(Axis { extent: extent?, left: left?, right: right?, out: 0 })
            });
            bound.collect()
        };
        let operand = |buffer: BufferId, window: Option<i64>| Operand {
            buffer,
            binary: program.buffer(buffer).binary,
            steps: window.map_or(-1, |window| window as isize - 1),
        };
        let whole = |kernel: &WholeKernel| -> Result<Whole, DimError> {
            let (left, right) = &kernel.starts;
            let mask = |window: Option<i64>| window.map_or(-1, |window| window - 1);
            Ok(Whole {
                starts: (left.eval(bindings)?, right.eval(bindings)?),
                stored: kernel.stored.map(|(buffer, window)| (buffer, mask(window))),
            })
        };
        let fixed_right = product.fixed_right.as_ref().map(|start| start.eval(bindings));
        Ok(BoundProduct {
            left: operand(product.left, product.windows.0),
            right: operand(product.right, product.windows.1),
            over_steps: product.over_steps,
            time_loop: match &product.time_loop {
                Some(time) => {
                    let (first, end) = (time.first.eval(bindings)?, time.end.eval(bindings)?);
                    Some((first as isize, end as isize, time.in_parts))
                }
                None => None,
            },
            axes: bind(&product.axes)?,
            loops: bind(&product.loops)?,
            fixed_right: fixed_right.transpose()?.map(|start| start as isize),
            whole_kernel: product.whole_kernel.as_ref().map(whole).transpose()?,
        })
    }

    /// The right operand, if it stays the same while the kernel runs.
    pub fn fixed_buffer(&self) -> Option<BufferId> {
        self.fixed_right.map(|_| self.right.buffer)
    }

    /// The right operand rearranged, where that pays: it stays the same through many calls, and has
    /// rows and columns. Zeros fill up the last panel.
    pub fn pack(&self, buffers: &[*mut u8]) -> Option<Packed> {
        let start = buffers[self.right.buffer.0 as usize].cast::<f32>();
        let start = start.wrapping_offset(self.fixed_right?);
        let (column, depth) = self.packed_axes()?;
        let (columns, depths) = (column.extent as usize, depth.extent as usize);
        let mut packed = vec![0.0; columns.next_multiple_of(PANEL) * depths];
        for (panel, elements) in packed.chunks_exact_mut(PANEL * depths).enumerate() {
            let first = panel * PANEL;
            for (k, row) in elements.chunks_exact_mut(PANEL).enumerate() {
                for (n, element) in row.iter_mut().enumerate().take(columns - first) {
                    let at = k as isize * depth.right + (first + n) as isize * column.right;
                    // SAFETY: the operand has elements at all indices.
                    *element = unsafe { *start.wrapping_offset(at) };
                }
            }
        }
        Some(Packed(packed))
    }

    /// The axes of the columns and of the sum, if there is one of each and packing pays: not where the
    /// left side selects rows, which must stay in one piece, or where there are few rows.
    fn packed_axes(&self) -> Option<(Axis, Axis)> {
        let mut columns = self.axes.iter().filter(|axis| axis.right != 0);
        let (Some(column), None) = (columns.next(), columns.next()) else { return None };
        let [depth] = self.loops.as_slice() else { return None };
        let selects = self.left.binary && column.right == 1;
        let is_thin = depth.extent <= FEW_TERMS && column.right == 1;
        let pays = !selects && !is_thin;
        (column.left == 0 && depth.right != 0 && pays).then_some((*column, *depth))
    }

    /// The number of elements of the result for so many points of axis 0 and steps.
    pub fn elements(&self, rows: i64, steps: i64) -> usize {
        let ranged = 1 + usize::from(self.over_steps);
        let rest: isize = self.axes.iter().skip(ranged).map(|axis| axis.extent).product();
        let steps = if self.over_steps { steps } else { 1 };
        rest as usize * rows as usize * steps as usize
    }

    /// Where the kernel stores the result, if that is all that it does and the result can be put there
    /// as it is.
    pub fn place(&self, buffers: &[*mut u8], ranges: Ranges) -> Option<*mut f32> {
        let (buffer, mask) = self.whole_kernel?.stored?;
        let Ranges { rows: (lo, hi), steps: (first, end) } = ranges;
        let rows = self.axes.get(usize::from(self.over_steps)).map_or(1, |axis| axis.extent as i64);
        let before = match self.over_steps {
            false => lo,
            // The steps must follow each other there, too.
            true if (lo, hi) == (0, rows)
                && (end - 1) & mask == (first & mask) + end - 1 - first =>
            {
                (first & mask) * rows
            }
            true => return None,
        };
        let start = buffers[buffer.0 as usize].cast::<f32>();
        Some(start.wrapping_add(before as usize * self.elements(1, 1)))
    }

    /// # Safety
    /// The operands have elements at all indices, `out` has room for [`BoundProduct::elements`].
    unsafe fn run(
        &self,
        context: &Context,
        packed: Option<&Packed>,
        mut starts: (isize, isize),
        ranges: Ranges,
        out: *mut f32,
        accumulate: bool,
    ) {
        let (mut axes, mut loops) = (self.axes.clone(), self.loops.clone());
        let (first, end) = (ranges.steps.0 as isize, ranges.steps.1 as isize);
        let mut restrict = |axis: &mut Axis, from: isize, to: isize, is_time: bool| {
            axis.extent = to - from;
            let step = |mask: isize| if is_time { from & mask } else { from };
            starts.0 += axis.left * step(self.left.steps);
            starts.1 += axis.right * step(self.right.steps);
        };
        if let Some((mut from, mut to, in_parts)) = self.time_loop {
            if in_parts {
                (from, to) = (from.max(first), to.min(end));
            }
            restrict(&mut loops[0], from, to.max(from), true);
        }
        let (time, rows) = axes.split_at_mut(usize::from(self.over_steps));
        time.iter_mut().for_each(|axis| restrict(axis, first, end, true));
        if let Some(axis) = rows.first_mut() {
            restrict(axis, ranges.rows.0 as isize, ranges.rows.1 as isize, false);
        }
        let mut stride = 1;
        for axis in axes.iter_mut().rev() {
            axis.out = stride;
            stride *= axis.extent;
        }
        if loops.iter().any(|axis| axis.extent <= 0) {
            if !accumulate {
                // SAFETY: `out` has as many elements.
                unsafe { std::slice::from_raw_parts_mut(out, stride as usize) }.fill(0.0);
            }
            return;
        }
        let left = context.start(self.left, starts.0);
        // SAFETY: by the contract, for both.
        unsafe {
            match packed {
                Some(packed) => run_packed(axes, loops[0], out, left, packed, accumulate),
                None => {
                    let right = context.start(self.right, starts.1);
                    Plan::new(axes, loops).run(out, left, right, accumulate);
                }
            }
        }
    }
}

/// A product with a rearranged right operand.
///
/// # Safety
/// As for [`BoundProduct::run`].
unsafe fn run_packed(
    axes: Axes,
    depth: Axis,
    out: *mut f32,
    left: Side,
    packed: &Packed,
    accumulate: bool,
) {
    let (columns, mut outer): (Axes, Axes) = axes.into_iter().partition(|axis| axis.right != 0);
    let Some(column) = columns.first().copied() else { return };
    outer = merge(outer);
    let rows = take_longest(&mut outer, |_| true);
    let size = PANEL * depth.extent as usize;
    for_each(&outer, |l, _, o| {
        for (panel, elements) in packed.0.chunks_exact(size).enumerate() {
            let first = panel * PANEL;
            let out = Target {
                start: out.wrapping_offset(o + first as isize * column.out),
                stride: rows.out,
                accumulate,
            };
            let left =
                Left { start: left.start.wrapping_offset(l), row: rows.left, column: depth.left };
            let sizes = Sizes {
                rows: rows.extent as usize,
                columns: (column.extent as usize - first).min(PANEL),
                depth: depth.extent as usize,
            };
            let right = Rows { start: elements.as_ptr(), stride: PANEL as isize };
            // SAFETY: by the contract; columns of the result are contiguous, being its last axis.
            unsafe { multiply_panel(out, left, right, sizes) }
        }
    });
}

/// One product as products of matrices, or of rows element by element.
struct Plan {
    rows: Axis,
    columns: Axis,
    /// Contiguous in both operands and in the result.
    elements: Option<Axis>,
    depth: Axis,
    /// Further axes of the result.
    outer: Axes,
    /// Further axes of the sum.
    outer_depth: Axes,
}

impl Plan {
    fn new(axes: Axes, loops: Axes) -> Plan {
        let (mut outer, mut outer_depth) = (merge(axes), merge(loops));
        let elements = match outer.last() {
            Some(Axis { left: 1, right: 1, out: 1, .. }) => outer.pop(),
            _ => None,
        };
        let mut take = |admits: fn(&Axis) -> bool| match elements {
            Some(_) => Axis::NONE,
            None => take_longest(&mut outer, admits),
        };
        let columns = take(|axis| axis.left == 0 && axis.right != 0);
        let rows = take(|axis| axis.right == 0);
        let depth = take_longest(&mut outer_depth, |_| true);
        Plan { rows, columns, elements, depth, outer, outer_depth }
    }

    /// # Safety
    /// As for [`BoundProduct::run`].
    unsafe fn run(&self, out: *mut f32, left: Side, right: Side, accumulate: bool) {
        for_each(&self.outer, |l, r, o| {
            let mut accumulate = accumulate;
            for_each(&self.outer_depth, |dl, dr, _| {
                let matrices = Matrices {
                    out: out.wrapping_offset(o),
                    left: left.start.wrapping_offset(l + dl),
                    right: right.start.wrapping_offset(r + dr),
                    rows: self.rows,
                    columns: self.columns,
                    depth: self.depth,
                    accumulate,
                };
                // SAFETY: by the contract.
                unsafe {
                    match self.elements {
                        Some(elements) => matrices.multiply_elements(elements.extent as usize),
                        None => matrices.multiply(left.binary, right.binary),
                    }
                }
                accumulate = true;
            });
        });
    }
}

/// Axes that are steps of one longer axis become it; axes of one step vanish.
fn merge(axes: Axes) -> Axes {
    let mut merged = Axes::new();
    for axis in axes.into_iter().filter(|axis| axis.extent != 1) {
        match merged.last_mut() {
            Some(outer)
                if outer.left == axis.left * axis.extent
                    && outer.right == axis.right * axis.extent
                    && outer.out == axis.out * axis.extent =>
            {
                *outer = Axis { extent: outer.extent * axis.extent, ..axis };
            }
            _ => merged.push(axis),
        }
    }
    merged
}

fn take_longest(axes: &mut Axes, admits: impl Fn(&Axis) -> bool) -> Axis {
    let admitted = axes.iter().enumerate().filter(|(_, axis)| admits(axis));
    match admitted.max_by_key(|(_, axis)| axis.extent).map(|(at, _)| at) {
        Some(at) => axes.remove(at),
        None => Axis::NONE,
    }
}

/// All combinations of positions on the axes, as offsets in the operands and the result.
fn for_each(axes: &[Axis], mut visit: impl FnMut(isize, isize, isize)) {
    let mut positions = SmallVec::<[isize; 4]>::from_elem(0, axes.len());
    loop {
        let offset = |stride: fn(&Axis) -> isize| -> isize {
            positions.iter().zip(axes).map(|(at, axis)| at * stride(axis)).sum()
        };
        visit(offset(|axis| axis.left), offset(|axis| axis.right), offset(|axis| axis.out));
        let Some(moved) = (0..axes.len()).rfind(|at| positions[*at] + 1 < axes[*at].extent) else {
            return;
        };
        positions[moved] += 1;
        positions[moved + 1..].fill(0);
    }
}

/// `out[m, n] (+)= Σ_k left[m, k] · right[k, n]`
struct Matrices {
    out: *mut f32,
    left: *const f32,
    right: *const f32,
    rows: Axis,
    columns: Axis,
    depth: Axis,
    accumulate: bool,
}

impl Matrices {
    /// # Safety
    /// The operands and the result have elements at all indices.
    unsafe fn multiply(&self, left_binary: bool, right_binary: bool) {
        let transposed = self.transposed();
        // SAFETY: by the contract, for all.
        unsafe {
            if left_binary && self.has_row_sums() {
                self.sum_rows();
            } else if right_binary && transposed.has_row_sums() {
                transposed.sum_rows();
            } else if self.is_thin() {
                let left = Left { start: self.left, row: self.rows.left, column: self.depth.left };
                let right = Rows { start: self.right, stride: self.depth.right };
                multiply_row_by_row(self.target(), left, right, self.sizes());
            } else if self.has_panels() {
                self.panels();
            } else {
                self.dense();
            }
        }
    }

    /// `out[n] (+)= Σ_k left[k, n] · right[k, n]` for so many contiguous elements, in place of rows and
    /// columns.
    ///
    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn multiply_elements(&self, count: usize) {
        // SAFETY: by the contract, for both.
        unsafe {
            let sum = std::slice::from_raw_parts_mut(self.out, count);
            if !self.accumulate {
                sum.fill(0.0);
            }
            let left = Rows { start: self.left, stride: self.depth.left };
            let right = Rows { start: self.right, stride: self.depth.right };
            add_products(sum, left, right, self.depth.extent as usize);
        }
    }

    /// Rows are contiguous.
    fn has_row_sums(&self) -> bool {
        let Axis { right, out, .. } = self.columns;
        right == 1 && out == 1 && self.depth.extent <= u32::MAX as isize
    }

    /// Rows are contiguous, and a row is done before what it is made of leaves the nearest cache.
    fn is_thin(&self) -> bool {
        let Axis { right, out, .. } = self.columns;
        right == 1 && out == 1 && (self.rows.extent <= 2 || self.depth.extent <= FEW_TERMS)
    }

    fn target(&self) -> Target {
        Target { start: self.out, stride: self.rows.out, accumulate: self.accumulate }
    }

    /// Rows are contiguous, and there are too few of anything for `gemm` to make up for rearranging
    /// the operands.
    fn has_panels(&self) -> bool {
        let Axis { extent, right, out, .. } = self.columns;
        let is_small = self.rows.extent <= 12 || self.depth.extent <= 12;
        right == 1 && out == 1 && extent % PANEL as isize == 0 && is_small
    }

    fn transposed(&self) -> Matrices {
        let swap = |axis: Axis| Axis { left: axis.right, right: axis.left, ..axis };
        Matrices {
            out: self.out,
            left: self.right,
            right: self.left,
            rows: swap(self.columns),
            columns: swap(self.rows),
            depth: swap(self.depth),
            accumulate: self.accumulate,
        }
    }

    fn sizes(&self) -> Sizes {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth];
        let size = |axis: Axis| axis.extent as usize;
        Sizes { rows: size(rows), columns: size(columns), depth: size(depth) }
    }

    /// # Safety
    /// As for [`Matrices::multiply`]; there are whole panels of contiguous columns.
    unsafe fn panels(&self) {
        let left = Left { start: self.left, row: self.rows.left, column: self.depth.left };
        let right = Rows { start: self.right, stride: self.depth.right };
        let sizes = Sizes { columns: PANEL, ..self.sizes() };
        for first in (0..self.columns.extent as usize).step_by(PANEL) {
            let out = Target {
                start: self.out.wrapping_add(first),
                stride: self.rows.out,
                accumulate: self.accumulate,
            };
            // SAFETY: by the contract.
            unsafe { multiply_panel(out, left, right.starting_at(first), sizes) }
        }
    }

    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn dense(&self) {
        let (rows, columns, depth) = (self.rows, self.columns, self.depth);
        // SAFETY: by the contract.
        unsafe {
            gemm::gemm(
                rows.extent as usize,
                columns.extent as usize,
                depth.extent as usize,
                self.out,
                columns.out,
                rows.out,
                self.accumulate,
                self.left,
                depth.left,
                rows.left,
                self.right,
                columns.right,
                depth.right,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    /// The left side is 0 or 1, and the rows of the right side and of the result are contiguous: adds
    /// the rows that it selects, in ascending order. Where it selects most of them, a dense product
    /// is faster.
    ///
    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn sum_rows(&self) {
        thread_local! {
            static CHOICES: RefCell<Choices> = RefCell::new(Choices::default());
        }
        // So that the lists of a part stay in the cache.
        let (rows, depth) = if self.has_contiguous_columns() { (1024, 256) } else { (64, 1024) };
        CHOICES.with_borrow_mut(|choices| {
            for first_row in (0..self.rows.extent).step_by(rows) {
                for first in (0..self.depth.extent).step_by(depth) {
                    let part = self.part((first_row, rows), (first, depth));
                    // SAFETY: by the contract.
                    unsafe { part.sum_rows_of_part(choices) }
                }
            }
        });
    }

    /// # Safety
    /// As for [`Matrices::sum_rows`].
    unsafe fn sum_rows_of_part(&self, choices: &mut Choices) {
        let sizes = self.sizes();
        // SAFETY: by the contract, for all.
        unsafe {
            choices.collect(self);
            if choices.counts.iter().sum::<usize>() > sizes.rows * sizes.depth / 2 {
                return self.dense();
            }
            let right = Rows { start: self.right, stride: self.depth.right };
            sum_chosen(self.target(), right, choices.chosen(), sizes.columns);
        }
    }

    /// So many rows and terms of the sum from some on, or those that there are.
    fn part(&self, rows: (isize, usize), depth: (isize, usize)) -> Matrices {
        let cut = |axis: Axis, (first, count): (isize, usize)| Axis {
            extent: (axis.extent - first).min(count as isize),
            ..axis
        };
        let (row, k) = (rows.0, depth.0);
        Matrices {
            out: self.out.wrapping_offset(row * self.rows.out),
            left: self.left.wrapping_offset(row * self.rows.left + k * self.depth.left),
            right: self.right.wrapping_offset(k * self.depth.right),
            rows: cut(self.rows, rows),
            columns: self.columns,
            depth: cut(self.depth, depth),
            accumulate: self.accumulate || k > 0,
        }
    }

    /// Columns of the left side, not rows.
    fn has_contiguous_columns(&self) -> bool {
        self.rows.left == 1 && self.depth.left != 1
    }
}

/// For each row of a matrix of 0 and 1, where it is 1.
#[derive(Default)]
struct Choices {
    /// See [`Chosen`].
    lists: Vec<u32>,
    room: usize,
    counts: Vec<usize>,
    /// A row that is not contiguous, and where a column is 1.
    row: Vec<f32>,
    column: Vec<u32>,
}

impl Choices {
    fn chosen(&self) -> Chosen<'_> {
        Chosen { lists: &self.lists, room: self.room, counts: &self.counts }
    }

    /// # Safety
    /// The left side has elements at all indices.
    unsafe fn collect(&mut self, matrices: &Matrices) {
        let Sizes { rows, depth, .. } = matrices.sizes();
        // An odd number of cache lines, lest all lists begin in the same few places of the cache.
        self.room = (depth + SLACK).next_multiple_of(32) + 16;
        if self.lists.len() < rows * self.room {
            self.lists.resize(rows * self.room, 0);
        }
        self.counts.clear();
        self.counts.resize(rows, 0);
        // SAFETY: by the contract, for both.
        unsafe {
            match matrices.has_contiguous_columns() {
                true => self.collect_columns(matrices, depth),
                false => self.collect_rows(matrices, depth),
            }
        }
    }

    /// # Safety
    /// As for [`Choices::collect`], which has made room.
    unsafe fn collect_rows(&mut self, matrices: &Matrices, depth: usize) {
        let stride = matrices.depth.left;
        for (m, count) in self.counts.iter_mut().enumerate() {
            let mut start = matrices.left.wrapping_offset(m as isize * matrices.rows.left);
            // SAFETY: by the contract, for all.
            unsafe {
                if stride != 1 {
                    self.row.clear();
                    let element = |k: usize| *start.wrapping_offset(k as isize * stride);
                    self.row.extend((0..depth).map(element));
                    start = self.row.as_ptr();
                }
                let elements = std::slice::from_raw_parts(start, depth);
                *count = list_nonzero(elements, self.lists[m * self.room..].as_mut_ptr());
            }
        }
    }

    /// # Safety
    /// As for [`Choices::collect_rows`].
    unsafe fn collect_columns(&mut self, matrices: &Matrices, depth: usize) {
        let rows = self.counts.len();
        self.column.resize(rows + SLACK, 0);
        for k in 0..depth {
            let start = matrices.left.wrapping_offset(k as isize * matrices.depth.left);
            // SAFETY: by the contract, for both.
            let found = unsafe {
                let elements = std::slice::from_raw_parts(start, rows);
                list_nonzero(elements, self.column.as_mut_ptr())
            };
            for m in &self.column[..found] {
                let count = &mut self.counts[*m as usize];
                self.lists[*m as usize * self.room + *count] = k as u32;
                *count += 1;
            }
        }
    }
}
