//! Matrix products: sums of products over strided axes, as calls of `gemm`, or, where one side is
//! known to be 0 or 1, as sums of rows.

use std::cell::RefCell;
use std::ffi::c_void;

use fgi_compiler::emit::clif::{Product, ProductAxis};
use fgi_compiler::graph::{Bindings, DimError};
use fgi_compiler::kernel::{BufferId, Program};

use super::rows::{
    Chosen, Left, PANEL, Rows, Sizes, Target, add_products, find_nonzero, for_each_bit,
    list_nonzero, multiply_panel, sum_chosen,
};

/// A [`Product`] with numbers for its dimensions.
pub(super) struct BoundProduct {
    left: Operand,
    right: Operand,
    over_steps: bool,
    /// The steps of the loop over time, and whether only those that are asked for count.
    time_loop: Option<(isize, isize, bool)>,
    axes: Vec<Axis>,
    loops: Vec<Axis>,
    /// See [`Product::fixed_right`].
    fixed_right: Option<isize>,
    /// See [`Product::whole_kernel`].
    pub whole_kernel: Option<(i64, i64)>,
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
        let bind = |axes: &[ProductAxis]| -> Result<Vec<Axis>, DimError> {
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
        let pair = |(a, b): &(_, _)| -> Result<(i64, i64), DimError> {
            let eval = |dim: &fgi_compiler::graph::Dim| dim.eval(bindings);
            Ok((eval(a)?, eval(b)?))
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
            whole_kernel: product.whole_kernel.as_ref().map(pair).transpose()?,
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
    /// left side selects rows, which must stay in one piece.
    fn packed_axes(&self) -> Option<(Axis, Axis)> {
        let mut columns = self.axes.iter().filter(|axis| axis.right != 0);
        let (Some(column), None) = (columns.next(), columns.next()) else { return None };
        let [depth] = self.loops.as_slice() else { return None };
        let selects = self.left.binary && column.right == 1;
        (column.left == 0 && depth.right != 0 && !selects).then_some((*column, *depth))
    }

    /// The number of elements of the result for so many points of axis 0 and steps.
    pub fn elements(&self, rows: i64, steps: i64) -> usize {
        let ranged = 1 + usize::from(self.over_steps);
        let rest: isize = self.axes.iter().skip(ranged).map(|axis| axis.extent).product();
        let steps = if self.over_steps { steps } else { 1 };
        rest as usize * rows as usize * steps as usize
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
    axes: Vec<Axis>,
    depth: Axis,
    out: *mut f32,
    left: Side,
    packed: &Packed,
    accumulate: bool,
) {
    let (columns, mut outer): (Vec<Axis>, Vec<Axis>) =
        axes.into_iter().partition(|axis| axis.right != 0);
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
    outer: Vec<Axis>,
    /// Further axes of the sum.
    outer_depth: Vec<Axis>,
}

impl Plan {
    fn new(axes: Vec<Axis>, loops: Vec<Axis>) -> Plan {
        let (mut outer, mut outer_depth) = (merge(axes), merge(loops));
        let elements = outer.pop_if(|axis| (axis.left, axis.right, axis.out) == (1, 1, 1));
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
fn merge(axes: Vec<Axis>) -> Vec<Axis> {
    let mut merged: Vec<Axis> = Vec::with_capacity(axes.len());
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

fn take_longest(axes: &mut Vec<Axis>, admits: impl Fn(&Axis) -> bool) -> Axis {
    let admitted = axes.iter().enumerate().filter(|(_, axis)| admits(axis));
    match admitted.max_by_key(|(_, axis)| axis.extent).map(|(at, _)| at) {
        Some(at) => axes.remove(at),
        None => Axis::NONE,
    }
}

/// All combinations of positions on the axes, as offsets in the operands and the result.
fn for_each(axes: &[Axis], mut visit: impl FnMut(isize, isize, isize)) {
    let mut positions = vec![0; axes.len()];
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
        CHOICES.with_borrow_mut(|choices| {
            // SAFETY: by the contract, for all.
            unsafe {
                choices.collect(self);
                if choices.indices.len() > self.sizes().rows * self.sizes().depth / 2 {
                    return self.dense();
                }
                let out =
                    Target { start: self.out, stride: self.rows.out, accumulate: self.accumulate };
                let right = Rows { start: self.right, stride: self.depth.right };
                sum_chosen(out, right, choices.chosen(), self.sizes().columns);
            }
        });
    }
}

/// For each row of a matrix of 0 and 1, where it is 1.
#[derive(Default)]
struct Choices {
    /// See [`Chosen`].
    indices: Vec<u32>,
    starts: Vec<usize>,
    /// The elements that are 1 in lines of the matrix, 64 a word.
    bits: Vec<u64>,
    line: Vec<f32>,
}

impl Choices {
    fn chosen(&self) -> Chosen<'_> {
        Chosen { indices: &self.indices, starts: &self.starts }
    }

    /// # Safety
    /// The left side has elements at all indices.
    unsafe fn collect(&mut self, matrices: &Matrices) {
        let Sizes { rows, depth, .. } = matrices.sizes();
        let (row, k) = (matrices.rows.left, matrices.depth.left);
        self.indices.clear();
        self.starts.clear();
        self.starts.push(0);
        if row != 1 || k == 1 {
            for m in 0..rows {
                let start = matrices.left.wrapping_offset(m as isize * row);
                // SAFETY: by the contract.
                unsafe { self.list(start, k, depth) };
                self.starts.push(self.indices.len());
            }
            return;
        }
        // Columns are contiguous: count, then fill.
        let words = rows.div_ceil(64);
        let mut all = std::mem::take(&mut self.bits);
        all.clear();
        all.resize(words * depth, 0);
        self.starts.resize(rows + 2, 0);
        for (at, bits) in all.chunks_exact_mut(words).enumerate() {
            let start = matrices.left.wrapping_offset(at as isize * k);
            // SAFETY: by the contract.
            unsafe { find_nonzero(std::slice::from_raw_parts(start, rows), bits) };
            for_each_set(bits, |m| self.starts[m + 2] += 1);
        }
        for m in 2..rows + 2 {
            self.starts[m] += self.starts[m - 1];
        }
        self.indices.resize(self.starts[rows + 1], 0);
        for (at, bits) in all.chunks_exact(words).enumerate() {
            for_each_set(bits, |m| {
                self.indices[self.starts[m + 1]] = at as u32;
                self.starts[m + 1] += 1;
            });
        }
        self.starts.truncate(rows + 1);
        self.bits = all;
    }

    /// Appends the positions in one line.
    ///
    /// # Safety
    /// There are as many elements, so far from each other.
    unsafe fn list(&mut self, start: *const f32, stride: isize, count: usize) {
        if stride == 1 {
            // SAFETY: by the contract.
            return unsafe {
                list_nonzero(std::slice::from_raw_parts(start, count), &mut self.indices)
            };
        }
        self.line.clear();
        // SAFETY: by the contract.
        let element = |at: usize| unsafe { *start.wrapping_offset(at as isize * stride) };
        self.line.extend((0..count).map(element));
        // SAFETY: it needs nothing.
        unsafe { list_nonzero(&self.line, &mut self.indices) };
    }
}

/// The numbers of the bits that are set, ascending.
fn for_each_set(words: &[u64], mut visit: impl FnMut(usize)) {
    for (word, bits) in words.iter().enumerate() {
        for_each_bit(*bits, |bit| visit(64 * word + bit));
    }
}
