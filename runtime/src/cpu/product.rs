//! Matrix products: sums of products over strided axes, as calls of `gemm`, or, where one side is
//! known to be 0 or 1, as sums of rows.

use std::cell::RefCell;
use std::ffi::c_void;

use fgi_compiler::emit::clif::{Product, ProductAxis};
use fgi_compiler::graph::{Bindings, DimError};

use super::rows::{Rows, Sizes, add_rows, add_to_rows};

/// A [`Product`] with numbers for its dimensions.
pub(super) struct BoundProduct {
    left: Side,
    right: Side,
    over_steps: bool,
    axes: Vec<Axis>,
    loops: Vec<Axis>,
    /// See [`Product::fixed_right`].
    fixed_right: Option<isize>,
}

/// A right operand, rearranged so that its rows are contiguous: read in place, columns would have to be
/// gathered anew in every call.
pub(super) struct Packed(Vec<f32>);

/// An operand.
#[derive(Clone, Copy)]
struct Side {
    start: *const f32,
    /// All elements are 0 or 1.
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

/// What a task gives to the code of a kernel for its products.
pub(super) struct Context<'a> {
    pub products: &'a [BoundProduct],
    pub packed: &'a [Option<Packed>],
    /// For each product, where its result goes.
    pub scratch: &'a [*mut f32],
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
    let (product, packed) = (&context.products[at], context.packed[at].as_ref());
    let (out, starts) = (context.scratch[at], (left as isize, right as isize));
    // SAFETY: the form of kernels promises that indices lie inside of the buffers, and the task
    // gave as much scratch memory as the ranges need.
    unsafe { product.run(out, starts, packed, (lo, hi), (first, end)) }
}

impl BoundProduct {
    /// Operands are given as the starts of their buffers, and whether they are 0 or 1.
    pub fn new(
        product: &Product,
        bindings: &Bindings,
        left: (*const f32, bool),
        right: (*const f32, bool),
    ) -> Result<BoundProduct, DimError> {
        let bind = |axes: &[ProductAxis]| -> Result<Vec<Axis>, DimError> {
            let bound = axes.iter().map(|axis| {
                let [extent, left, right] = [&axis.extent, &axis.left, &axis.right]
                    .map(|dim| dim.eval(bindings).map(|value| value as isize));
                Ok(Axis { extent: extent?, left: left?, right: right?, out: 0 })
            });
            bound.collect()
        };
        let side = |(start, binary): (*const f32, bool)| Side { start, binary };
        Ok(BoundProduct {
            left: side(left),
            right: side(right),
            over_steps: product.over_steps,
            axes: bind(&product.axes)?,
            loops: bind(&product.loops)?,
            fixed_right: match &product.fixed_right {
                Some(start) => Some(start.eval(bindings)? as isize),
                None => None,
            },
        })
    }

    /// The right operand rearranged, where that pays: it stays the same through many calls, and has
    /// rows and columns, of which the columns are contiguous.
    pub fn pack(&self) -> Option<Packed> {
        let start = self.right.start.wrapping_offset(self.fixed_right?);
        let (column, depth) = self.packed_axes()?;
        let (columns, depths) = (column.extent as usize, depth.extent as usize);
        let mut packed = vec![0.0; columns * depths];
        // In blocks, so that lines of the cache are used whole.
        for first in (0..columns).step_by(16) {
            for (k, row) in packed.chunks_exact_mut(columns).enumerate() {
                for (n, element) in row.iter_mut().enumerate().skip(first).take(16) {
                    let at = k as isize * depth.right + n as isize * column.right;
                    // SAFETY: the operand has elements at all indices.
                    *element = unsafe { *start.wrapping_offset(at) };
                }
            }
        }
        Some(Packed(packed))
    }

    /// The axes of the columns and of the sum, if there is one of each and packing pays.
    fn packed_axes(&self) -> Option<(Axis, Axis)> {
        let mut columns = self.axes.iter().filter(|axis| axis.right != 0);
        let (Some(column), None) = (columns.next(), columns.next()) else { return None };
        let [depth] = self.loops.as_slice() else { return None };
        let pays = depth.right == 1 && column.right != 1 && column.left == 0;
        pays.then_some((*column, *depth))
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
        out: *mut f32,
        mut starts: (isize, isize),
        packed: Option<&Packed>,
        rows: (i64, i64),
        steps: (i64, i64),
    ) {
        let (mut axes, mut loops) = (self.axes.clone(), self.loops.clone());
        let mut right = self.right;
        if let (Some(Packed(elements)), Some((column, _))) = (packed, self.packed_axes()) {
            (right.start, starts.1) = (elements.as_ptr(), 0);
            axes.iter_mut().filter(|axis| axis.right != 0).for_each(|axis| axis.right = 1);
            loops.iter_mut().for_each(|axis| axis.right = column.extent);
        }
        let mut ranges = vec![rows];
        if self.over_steps {
            ranges.insert(0, steps);
        }
        for (axis, (from, to)) in axes.iter_mut().zip(ranges) {
            axis.extent = (to - from) as isize;
            starts.0 += axis.left * from as isize;
            starts.1 += axis.right * from as isize;
        }
        let mut stride = 1;
        for axis in axes.iter_mut().rev() {
            axis.out = stride;
            stride *= axis.extent;
        }
        if loops.iter().any(|axis| axis.extent <= 0) {
            // SAFETY: `out` has as many elements.
            unsafe { std::slice::from_raw_parts_mut(out, stride as usize) }.fill(0.0);
            return;
        }
        let start = |side: Side, at: isize| Side { start: side.start.wrapping_offset(at), ..side };
        let (left, right) = (start(self.left, starts.0), start(right, starts.1));
        let plan = Plan::new(axes, loops);
        // SAFETY: by the contract.
        unsafe { plan.run(out, left, right) }
    }
}

/// One product as products of matrices.
struct Plan {
    rows: Axis,
    columns: Axis,
    depth: Axis,
    /// Further axes of the result.
    outer: Vec<Axis>,
    /// Further axes of the sum.
    outer_depth: Vec<Axis>,
}

impl Plan {
    fn new(axes: Vec<Axis>, loops: Vec<Axis>) -> Plan {
        let (mut outer, mut outer_depth) = (merge(axes), merge(loops));
        let columns = take_longest(&mut outer, |axis| axis.left == 0 && axis.right != 0);
        let rows = take_longest(&mut outer, |axis| axis.right == 0);
        let depth = take_longest(&mut outer_depth, |_| true);
        Plan { rows, columns, depth, outer, outer_depth }
    }

    /// # Safety
    /// As for [`BoundProduct::run`].
    unsafe fn run(&self, out: *mut f32, left: Side, right: Side) {
        for_each(&self.outer, |l, r, o| {
            let mut accumulate = false;
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
                unsafe { matrices.multiply(left.binary, right.binary) }
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
        None => Axis { extent: 1, left: 0, right: 0, out: 0 },
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
        // SAFETY: by the contract, for all three.
        if left_binary && self.can_sum_rows() {
            unsafe { self.sum_rows() }
        } else if right_binary && transposed.can_sum_rows() {
            unsafe { transposed.sum_rows() }
        } else {
            unsafe { self.dense() }
        }
    }

    /// Rows are contiguous, and long enough to be worth it.
    fn can_sum_rows(&self) -> bool {
        let Axis { extent, right, out, .. } = self.columns;
        right == 1 && out == 1 && extent >= 32 && self.depth.extent <= u32::MAX as isize
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
    /// the rows that it selects, in ascending order.
    ///
    /// # Safety
    /// As for [`Matrices::multiply`].
    unsafe fn sum_rows(&self) {
        if !self.accumulate {
            for row in 0..self.rows.extent {
                // SAFETY: by the contract.
                unsafe { self.result_row(row) }.fill(0.0);
            }
        }
        let right = Rows { start: self.right, stride: self.depth.right };
        if self.rows.left == 1 && self.depth.left != 1 {
            let choices = Rows { start: self.left, stride: self.depth.left };
            let sizes = Sizes {
                rows: self.rows.extent as usize,
                columns: self.columns.extent as usize,
                depth: self.depth.extent as usize,
            };
            // SAFETY: by the contract.
            return unsafe { add_to_rows(self.out, self.rows.out, sizes, choices, right) };
        }
        thread_local! {
            static INDICES: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
        }
        INDICES.with_borrow_mut(|indices| {
            for row in 0..self.rows.extent {
                let left = self.left.wrapping_offset(row * self.rows.left);
                let is_one = |k: &u32| {
                    // SAFETY: by the contract.
                    unsafe { *left.wrapping_offset(*k as isize * self.depth.left) != 0.0 }
                };
                indices.clear();
                indices.extend((0..self.depth.extent as u32).filter(is_one));
                // SAFETY: by the contract.
                unsafe { add_rows(self.result_row(row), right, indices) }
            }
        });
    }

    /// # Safety
    /// As for [`Matrices::multiply`]; the result's columns are contiguous, and the row is not in use.
    unsafe fn result_row<'a>(&self, row: isize) -> &'a mut [f32] {
        let start = self.out.wrapping_offset(row * self.rows.out);
        // SAFETY: by the contract.
        unsafe { std::slice::from_raw_parts_mut(start, self.columns.extent as usize) }
    }
}
