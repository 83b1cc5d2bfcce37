//! Matrix products: sums of products over strided axes, as calls of `gemm`, or, where one side is
//! known to be 0 or 1, as sums of rows.

use std::cell::RefCell;
use std::ffi::c_void;

use fgi_compiler::ir::graph::{Bindings, DimError};
use fgi_compiler::ir::kernel::{BufferId, Program};
use fgi_compiler::target::cpu::native::{Product, ProductAxis, WholeKernel};
use smallvec::SmallVec;

use super::elements::Elements;
use super::gather::Gathered;
use super::memory::LINE;
use super::panels::{Matrix, Panel, PanelRows, Panels};
use super::row_indices::{self, RowIndices};
use super::rows::{
    BLOCK, Left, Rows, Sizes, Target, add_chosen, add_products, columns_of_panels, columns_of_sums,
    multiply_panel, multiply_row_by_row, sum_chosen,
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
    /// How to multiply all rows, if that is the same at all steps.
    all_rows: Option<Plan>,
    /// See [`Product::fixed_right`].
    fixed_right: Option<isize>,
    /// See [`Product::whole_kernel`].
    pub whole_kernel: Option<Whole>,
}

/// See [`fgi_compiler::target::cpu::native::WholeKernel`].
#[derive(Clone, Copy)]
pub(super) struct Whole {
    pub starts: (i64, i64),
    /// The buffer, and a mask for the number of a step.
    stored: Option<(BufferId, i64)>,
}

#[derive(Clone, Copy)]
struct Operand {
    buffer: BufferId,
    /// All elements are 0 or 1.
    binary: bool,
    /// They are kept as bits.
    bits: bool,
    /// Steps are found at their number under this mask.
    steps: isize,
}

/// An operand in memory.
#[derive(Clone, Copy)]
struct Side {
    elements: Elements,
    /// All are 0 or 1.
    binary: bool,
}

/// How many steps an axis has, and how far one goes in the operands and in the result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub extent: isize,
    pub left: isize,
    pub right: isize,
    pub out: isize,
}

/// There are rarely more, and products are many.
pub(super) type Axes = SmallVec<[Axis; 4]>;

/// Rows that are added up more often than this are copied to a panel first.
const SELECTED: usize = 2;
/// Elements of a panel that rows are added up from, if it has more than [`BLOCK`] columns: as many as
/// are about half found in the nearest cache.
const NEAR: usize = 1 << 14;
/// As many terms of a product as are added up row by row.
const FEW_TERMS: isize = 4;

impl Axis {
    /// One step: no axis at all.
    const NONE: Axis = Axis { extent: 1, left: 0, right: 0, out: 0 };
}

/// What a task gives to the code of a kernel for its products.
pub(super) struct Context<'a> {
    pub products: &'a [BoundProduct],
    pub packed: &'a [Option<Panels>],
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

/// See [`fgi_compiler::target::cpu::native::Multiply`].
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
        let start = self.buffers[operand.buffer.0 as usize].cast_const();
        let elements = match operand.bits {
            true => Elements::Bits(start, 0),
            false => Elements::Floats(start.cast::<f32>()),
        };
        Side { elements: elements.offset(at), binary: operand.binary }
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
            bits: program.buffer(buffer).is_packed(),
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
        let (axes, loops) = (bind(&product.axes)?, bind(&product.loops)?);
        let is_same = !product.over_steps && product.time_loop.is_none();
        let all_rows = is_same.then(|| Plan::new(axes.clone(), loops.clone()));
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
            axes,
            loops,
            all_rows,
            fixed_right: fixed_right.transpose()?.map(|start| start as isize),
            whole_kernel: product.whole_kernel.as_ref().map(whole).transpose()?,
        })
    }

    /// The right operand, if it stays the same while the kernel runs.
    pub fn fixed_buffer(&self) -> Option<BufferId> {
        self.fixed_right.map(|_| self.right.buffer)
    }

    /// The right operand rearranged, where that pays: it stays the same through many calls, and has
    /// rows and columns, and there is memory for it. Of the steps of a loop over time those that it
    /// sums: there may be no others.
    pub fn pack(&self, buffers: &[*mut u8]) -> Option<Panels> {
        let start = buffers[self.right.buffer.0 as usize].cast::<f32>();
        let (column, depth) = self.packed_axes().filter(|_| !self.right.bits)?;
        let first = self.time_loop.map_or(0, |(first, ..)| first);
        let matrix = Matrix {
            start: start.wrapping_offset(self.fixed_right? + first * depth.right),
            rows: depth.extent as usize,
            columns: column.extent as usize,
            row: depth.right,
            column: column.right,
        };
        // SAFETY: the operand has elements at all indices.
        unsafe {
            let width = match self.selects(column) {
                true if columns_of_sums() * matrix.rows > NEAR => BLOCK,
                true => columns_of_sums(),
                false => columns_of_panels(),
            };
            Panels::new(matrix, width)
        }
    }

    /// The last axis and that of the sum, if the operand has these alone and packing pays: not where
    /// there are few rows.
    fn packed_axes(&self) -> Option<(Axis, Axis)> {
        let (column, rows) = self.axes.split_last()?;
        if column.right == 0 || rows.iter().any(|axis| axis.right != 0) {
            return None;
        }
        let [mut depth] = *self.loops.as_slice() else { return None };
        if let Some((first, end, _)) = self.time_loop {
            depth.extent = (end - first).max(0);
        }
        let is_thin = depth.extent <= FEW_TERMS && column.right == 1;
        (column.left == 0 && depth.right != 0 && !is_thin).then_some((*column, depth))
    }

    /// The left side selects rows of the right side.
    fn selects(&self, column: Axis) -> bool {
        self.left.binary && column.right == 1
    }

    /// The points of axis 0.
    pub fn rows(&self) -> i64 {
        self.axes.get(usize::from(self.over_steps)).map_or(1, |axis| axis.extent as i64)
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
        let rows = self.rows();
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
        packed: Option<&Panels>,
        starts: (isize, isize),
        ranges: Ranges,
        out: *mut f32,
        accumulate: bool,
    ) {
        let of_ranges;
        let (plan, moved) = match &self.all_rows {
            Some(plan) if self.has_all_rows(ranges) => (plan, (0, 0)),
            _ => {
                of_ranges = self.plan(ranges);
                (&of_ranges.0, of_ranges.1)
            }
        };
        let packed = packed.and_then(|panels| self.packed_rows(panels, ranges));
        let left = context.start(self.left, starts.0 + moved.0);
        let right = context.start(self.right, starts.1 + moved.1);
        // SAFETY: by the contract, for all.
        unsafe {
            match packed {
                _ if plan.is_empty() => plan.clear(out, accumulate),
                Some(packed) if !self.selects(plan.columns) => {
                    plan.run_packed(out, left, packed, accumulate);
                }
                _ => plan.run(out, (left, right), packed, accumulate),
            }
        }
    }

    /// The rows of the rearranged right operand that ranges need, if it is in panels that begin where
    /// their columns do.
    fn packed_rows<'p>(&self, panels: &'p Panels, ranges: Ranges) -> Option<PanelRows<'p>> {
        let are_rows_columns = self.axes.len() <= 1 + usize::from(self.over_steps);
        let has_all = !are_rows_columns || ranges.rows == (0, self.rows());
        let of_all = self.time_loop.map_or(0, |(first, ..)| first);
        let skipped = self.summed_steps(ranges).map_or(0, |(from, _)| from - of_all);
        has_all.then(|| panels.without(skipped as usize))
    }

    /// The steps that the loop over time sums.
    fn summed_steps(&self, ranges: Ranges) -> Option<(isize, isize)> {
        let (mut from, mut to, in_parts) = self.time_loop?;
        if in_parts {
            (from, to) = (from.max(ranges.steps.0 as isize), to.min(ranges.steps.1 as isize));
        }
        Some((from, to.max(from)))
    }

    fn has_all_rows(&self, ranges: Ranges) -> bool {
        ranges.rows == (0, self.axes.first().map_or(1, |axis| axis.extent as i64))
    }

    /// How to multiply in these ranges, and how much later the operands start.
    fn plan(&self, ranges: Ranges) -> (Plan, (isize, isize)) {
        let (mut axes, mut loops, mut moved) = (self.axes.clone(), self.loops.clone(), (0, 0));
        let (first, end) = (ranges.steps.0 as isize, ranges.steps.1 as isize);
        let mut restrict = |axis: &mut Axis, from: isize, to: isize, is_time: bool| {
            axis.extent = to - from;
            let step = |mask: isize| if is_time { from & mask } else { from };
            moved.0 += axis.left * step(self.left.steps);
            moved.1 += axis.right * step(self.right.steps);
        };
        if let Some((from, to)) = self.summed_steps(ranges) {
            restrict(&mut loops[0], from, to, true);
        }
        let (time, rows) = axes.split_at_mut(usize::from(self.over_steps));
        time.iter_mut().for_each(|axis| restrict(axis, first, end, true));
        if let Some(axis) = rows.first_mut() {
            restrict(axis, ranges.rows.0 as isize, ranges.rows.1 as isize, false);
        }
        (Plan::new(axes, loops), moved)
    }
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
    /// In place of all of these, where the right operand is gathered.
    gathered: Option<Gathered>,
    /// Elements of the result.
    size: usize,
    /// Elements that are summed for each.
    terms: usize,
}

impl Plan {
    /// The result is row-major over `axes`.
    fn new(mut axes: Axes, loops: Axes) -> Plan {
        let mut size = 1;
        for axis in axes.iter_mut().rev() {
            axis.out = size;
            size *= axis.extent;
        }
        let terms: isize = loops.iter().map(|axis| axis.extent).product();
        let gathered = if size > 0 && terms > 0 { Gathered::new(&axes, &loops) } else { None };
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
        let (size, terms) = (size as usize, terms as usize);
        Plan { rows, columns, elements, depth, outer, outer_depth, gathered, size, terms }
    }

    /// Nothing is summed.
    fn is_empty(&self) -> bool {
        self.terms == 0
    }

    /// # Safety
    /// As for [`BoundProduct::run`].
    unsafe fn clear(&self, out: *mut f32, accumulate: bool) {
        if !accumulate {
            // SAFETY: `out` has as many elements.
            unsafe { std::slice::from_raw_parts_mut(out, self.size) }.fill(0.0);
        }
    }

    /// With a rearranged right operand.
    ///
    /// # Safety
    /// As for [`BoundProduct::run`].
    unsafe fn run_packed(&self, out: *mut f32, left: Side, packed: PanelRows, accumulate: bool) {
        let Plan { rows, columns, depth, .. } = *self;
        let mut unpacked = Vec::new();
        for_each(&self.outer, |l, _, o| {
            let lines = ((rows.extent, rows.left), (depth.extent, depth.left));
            // SAFETY: by the contract.
            let (start, [row, column]) =
                unsafe { left.elements.offset(l).floats(lines.0, lines.1, &mut unpacked) };
            let left = Left { start, row, column };
            let out = Target { start: out.wrapping_offset(o), stride: rows.out, accumulate };
            let sizes = Sizes {
                rows: rows.extent as usize,
                columns: columns.extent as usize,
                depth: depth.extent as usize,
            };
            // SAFETY: by the contract.
            unsafe { multiply_panels(out, left, |first| packed.at(first), sizes) }
        });
    }

    /// # Safety
    /// As for [`BoundProduct::run`]; `packed` is what `right` is.
    unsafe fn run(
        &self,
        out: *mut f32,
        (left, right): (Side, Side),
        packed: Option<PanelRows>,
        accumulate: bool,
    ) {
        if let Some(gathered) = self.gathered.as_ref().filter(|_| !left.binary) {
            // SAFETY: by the contract.
            return unsafe { gathered.run(out, left.elements, right.elements, accumulate) };
        }
        for_each(&self.outer, |l, r, o| {
            let mut accumulate = accumulate;
            for_each(&self.outer_depth, |dl, dr, _| {
                let matrices = Matrices {
                    out: out.wrapping_offset(o),
                    left: left.elements.offset(l + dl),
                    right: right.elements.offset(r + dr),
                    rows: self.rows,
                    columns: self.columns,
                    depth: self.depth,
                    accumulate,
                };
                // SAFETY: by the contract.
                unsafe {
                    match self.elements {
                        Some(elements) => matrices.multiply_elements(elements.extent as usize),
                        None => matrices.multiply(left.binary, right.binary, packed),
                    }
                }
                accumulate = true;
            });
        });
    }
}

/// Axes that are steps of one longer axis become it; axes of one step vanish.
pub(super) fn merge(axes: Axes) -> Axes {
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
pub(super) fn for_each(axes: &[Axis], mut visit: impl FnMut(isize, isize, isize)) {
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
#[derive(Clone, Copy)]
struct Matrices<E = Elements> {
    out: *mut f32,
    left: E,
    right: E,
    rows: Axis,
    columns: Axis,
    depth: Axis,
    accumulate: bool,
}

impl<E: Copy> Matrices<E> {
    /// Rows are contiguous.
    fn has_row_sums(&self) -> bool {
        let Axis { right, out, .. } = self.columns;
        right == 1 && out == 1 && self.depth.extent <= u32::MAX as isize
    }

    fn target(&self) -> Target {
        Target { start: self.out, stride: self.rows.out, accumulate: self.accumulate }
    }

    fn sizes(&self) -> Sizes {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth];
        let size = |axis: Axis| axis.extent as usize;
        Sizes { rows: size(rows), columns: size(columns), depth: size(depth) }
    }

    fn transposed(&self) -> Matrices<E> {
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
}

thread_local! {
    /// What rows are added up, and room for them.
    static SELECTION: RefCell<(RowIndices, Panel)> = RefCell::default();
    /// Bits as numbers, for products that do not add up rows.
    static UNPACKED: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

impl Matrices {
    /// # Safety
    /// The operands and the result have elements at all indices; `packed` is what the right side is.
    unsafe fn multiply(&self, left_binary: bool, right_binary: bool, packed: Option<PanelRows>) {
        let transposed = self.transposed();
        // SAFETY: by the contract, for all.
        unsafe {
            match (self.right, self.left) {
                (Elements::Floats(right), _) if left_binary && self.has_row_sums() => {
                    self.sum_rows(right, packed);
                }
                (_, Elements::Floats(left)) if right_binary && transposed.has_row_sums() => {
                    transposed.sum_rows(left, None);
                }
                _ => self.with_floats(|matrices| matrices.multiply()),
            }
        }
    }

    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn with_floats(&self, run: impl FnOnce(Matrices<*const f32>)) {
        let Matrices { rows, columns, depth, .. } = *self;
        UNPACKED.with_borrow_mut(|[left, right]| {
            let (across, down) = ((rows.extent, rows.left), (depth.extent, depth.left));
            // SAFETY: by the contract, for both.
            let (left, [row, of_left]) = unsafe { self.left.floats(across, down, left) };
            let (across, down) = ((depth.extent, depth.right), (columns.extent, columns.right));
            let (right, [of_right, column]) = unsafe { self.right.floats(across, down, right) };
            run(Matrices {
                out: self.out,
                left,
                right,
                rows: Axis { left: row, ..rows },
                columns: Axis { right: column, ..columns },
                depth: Axis { left: of_left, right: of_right, ..depth },
                accumulate: self.accumulate,
            });
        });
    }

    /// `out[n] (+)= Σ_k left[k, n] · right[k, n]` for so many contiguous elements, in place of rows and
    /// columns.
    ///
    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn multiply_elements(&self, count: usize) {
        let Axis { extent, left, right, .. } = self.depth;
        // SAFETY: by the contract.
        let sum = unsafe { std::slice::from_raw_parts_mut(self.out, count) };
        if !self.accumulate {
            sum.fill(0.0);
        }
        let rows = |start: *const f32, stride: isize| Rows { start, stride };
        let terms = extent as usize;
        // SAFETY: by the contract, for all.
        unsafe {
            let (a, b) = (self.left, self.right);
            match (a, b, a.bit_rows(left), b.bit_rows(right)) {
                (Elements::Floats(a), _, _, Some(b)) => add_chosen(sum, rows(a, left), b, terms),
                (_, Elements::Floats(b), Some(a), _) => add_chosen(sum, rows(b, right), a, terms),
                _ => UNPACKED.with_borrow_mut(|unpacked| {
                    let count = (count as isize, 1);
                    let (a, [left, _]) = a.floats((extent, left), count, &mut unpacked[0]);
                    let (b, [right, _]) = b.floats((extent, right), count, &mut unpacked[1]);
                    add_products(sum, rows(a, left), rows(b, right), terms);
                }),
            }
        }
    }

    /// The left side is 0 or 1, and the rows of the right side and of the result are contiguous: adds
    /// the rows that it selects, in ascending order. Where it selects most of them, a dense product
    /// is faster.
    ///
    /// # Safety
    /// As for [`Matrices::multiply`]; `right` and `packed` are what `self.right` is.
    unsafe fn sum_rows(&self, right: *const f32, packed: Option<PanelRows>) {
        // So that the lists of a part stay in the cache.
        let is_column_wise = self.rows.left == 1 && self.depth.left != 1;
        let (rows, depth) = if is_column_wise { (1024, 256) } else { (row_indices::ROWS, 1024) };
        SELECTION.with_borrow_mut(|(indices, panel)| {
            for first_row in (0..self.rows.extent).step_by(rows) {
                for first in (0..self.depth.extent).step_by(depth) {
                    let part = self.part((first_row, rows), (first, depth));
                    let right = right.wrapping_offset(first * self.depth.right);
                    let packed = packed.map(|rows| rows.without(first as usize));
                    // SAFETY: by the contract.
                    unsafe { part.sum_rows_of_part(right, packed, indices, panel) }
                }
            }
        });
    }

    /// # Safety
    /// As for [`Matrices::sum_rows`]; `packed` is what `right` is.
    unsafe fn sum_rows_of_part(
        &self,
        right: *const f32,
        packed: Option<PanelRows>,
        indices: &mut RowIndices,
        panel: &mut Panel,
    ) {
        let Sizes { rows, columns, depth } = self.sizes();
        let line = |axis: Axis| (axis.extent, axis.left);
        // SAFETY: by the contract.
        let chosen = unsafe { indices.of(self.left, line(self.rows), line(self.depth)) };
        let count: usize = chosen.iter().map(|row| row.count).sum();
        if count > rows * depth / 2 {
            // SAFETY: by the contract.
            return unsafe { self.with_floats(|matrices| matrices.dense()) };
        }
        let row = self.depth.right;
        let right = Matrix { start: right, rows: depth, columns, row, column: 1 };
        // SAFETY: nothing is asked for.
        let width = packed.map_or_else(|| unsafe { columns_of_sums() }, PanelRows::width);
        for first in (0..columns).step_by(width) {
            let block = right.columns(first, width);
            let plain = Rows { start: block.start, stride: row };
            let rows = match packed {
                Some(packed) => Some(packed.at(first)),
                // SAFETY: by the contract.
                None if count > depth * SELECTED => unsafe { panel.fill(block) },
                None => None,
            };
            let readable = rows.map_or(block.columns, |rows| rows.stride as usize);
            let start = self.out.wrapping_add(first);
            let out = Target { start, ..self.target() };
            let rows = rows.unwrap_or(plain);
            // SAFETY: by the contract.
            unsafe { sum_chosen(out, rows, chosen, block.columns, readable) }
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
            left: self.left.offset(row * self.rows.left + k * self.depth.left),
            right: self.right.offset(k * self.depth.right),
            rows: cut(self.rows, rows),
            columns: self.columns,
            depth: cut(self.depth, depth),
            accumulate: self.accumulate || k > 0,
        }
    }
}

/// `out[m, n] (+)= Σ_k left[m, k] · right[k, n]`, where `right` says for a column from where on it, and
/// those that are multiplied with it, can be read.
///
/// # Safety
/// The operands and the result have elements at all indices, the right side in whole vectors.
unsafe fn multiply_panels(out: Target, left: Left, right: impl Fn(usize) -> Rows, sizes: Sizes) {
    // SAFETY: nothing is asked for.
    let width = unsafe { columns_of_panels() };
    for first in (0..sizes.columns).step_by(width) {
        let out = Target { start: out.start.wrapping_add(first), ..out };
        let sizes = Sizes { columns: width.min(sizes.columns - first), ..sizes };
        // SAFETY: by the contract.
        unsafe { multiply_panel(out, left, right(first), sizes) }
    }
}

impl Matrices<*const f32> {
    /// # Safety
    /// As for all: the operands and the result have elements at all indices.
    unsafe fn multiply(self) {
        let left = Left { start: self.left, row: self.rows.left, column: self.depth.left };
        let right = Rows { start: self.right, stride: self.depth.right };
        // SAFETY: by the contract, for all.
        unsafe {
            if self.is_thin() {
                multiply_row_by_row(self.target(), left, right, self.sizes());
            } else if self.has_panels() {
                multiply_panels(
                    self.target(),
                    left,
                    |first| right.starting_at(first),
                    self.sizes(),
                );
            } else {
                self.dense();
            }
        }
    }

    /// Rows are contiguous, and a row is done before what it is made of leaves the nearest cache.
    fn is_thin(&self) -> bool {
        let Axis { right, out, .. } = self.columns;
        right == 1 && out == 1 && (self.rows.extent <= 2 || self.depth.extent <= FEW_TERMS)
    }

    /// Rows are contiguous and whole vectors, and there are too few of anything for `gemm` to make up
    /// for rearranging the operands.
    fn has_panels(&self) -> bool {
        let Axis { extent, right, out, .. } = self.columns;
        let is_small = self.rows.extent <= 12 || self.depth.extent <= 12;
        right == 1 && out == 1 && extent % LINE as isize == 0 && is_small
    }

    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn dense(self) {
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
}
