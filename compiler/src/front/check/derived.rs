//! Operations that are written out in primitive ones, where that takes more than a line.
//!
//! Sums and orders along an axis compare or add each pair of its elements: n² operations for an axis of
//! n, but in no order, so that every device gives the same.

use crate::ir::graph::op::{Number, Op, Pointwise, Reduction};
use crate::ir::graph::{Builder, Dim, Elem, NodeId};

/// The sum of each element of an axis and of those before it.
pub fn cumsum(b: &mut Builder, x: NodeId, axis: usize) -> NodeId {
    let dims = with_axis(b, x, axis, None);
    let (place, other) = places(b, &dims, axis);
    let x = spread(b, x, &dims, axis);
    let zero = zero(b, b.ty(x).elem);
    let part = b.choose(Pointwise::Le, other, place, x, zero);
    b.reduce(Reduction::Sum, part, &[axis + 1])
}

/// The places of the first `count` elements of an axis in their order, as i32. Of equal ones the first
/// comes first; NaN is greater than any number.
pub fn argsort(
    b: &mut Builder,
    x: NodeId,
    axis: usize,
    count: Option<Dim>,
    is_descending: bool,
) -> NodeId {
    let rank = rank(b, x, axis, is_descending);
    let dims = with_axis(b, x, axis, count);
    let (place, other) = places(b, &dims, axis);
    let rank = spread(b, rank, &dims, axis);
    let zero = zero(b, Elem::I32);
    let found = b.choose(Pointwise::Eq, rank, place, other, zero);
    b.reduce(Reduction::Sum, found, &[axis + 1])
}

/// How many elements of an axis come before each.
fn rank(b: &mut Builder, x: NodeId, axis: usize, is_descending: bool) -> NodeId {
    use Pointwise::{And, Eq, Gt, Lt, Ne, Not, Or};
    let dims = with_axis(b, x, axis, None);
    let (place, other_place) = places(b, &dims, axis);
    let (own, other) = (spread(b, x, &dims, axis + 1), spread(b, x, &dims, axis));
    let is_earlier = b.binary(Lt, other_place, place);
    let beats = b.binary(if is_descending { Gt } else { Lt }, other, own);
    let ties = b.binary(Eq, other, own);
    let ties = b.binary(And, ties, is_earlier);
    let mut is_before = b.binary(Or, beats, ties);
    if b.ty(x).elem == Elem::F32 {
        let (is_nan, other_is_nan) = (b.binary(Ne, own, own), b.binary(Ne, other, other));
        let other_is_number = b.unary(Not, other_is_nan);
        let (before_number, before_nan) = match is_descending {
            true => {
                (b.binary(Or, other_is_nan, is_before), b.binary(And, other_is_nan, is_earlier))
            }
            false => {
                let before_number = b.binary(And, other_is_number, is_before);
                (before_number, b.binary(Or, other_is_number, is_earlier))
            }
        };
        is_before = b.select(is_nan, before_nan, before_number);
    }
    let one = b.push(Op::Const(Number(1.0), Elem::I32), vec![]);
    let zero = zero(b, Elem::I32);
    let is_before = b.select(is_before, one, zero);
    b.reduce(Reduction::Sum, is_before, &[axis + 1])
}

/// x with zeros above, or below, the diagonal `k` of the last two axes.
pub fn triangle(b: &mut Builder, x: NodeId, k: i64, is_upper: bool) -> NodeId {
    // No axis is so long that the other places count.
    let k = k.clamp(-(1 << 30), 1 << 30);
    let dims = b.ty(x).dims.clone();
    let (row, column) = places(b, &dims, dims.len() - 2);
    let diagonal = b.push(Op::Const(Number(k as f64), Elem::I32), vec![]);
    let diagonal = b.add(row, diagonal);
    let kept = if is_upper { Pointwise::Ge } else { Pointwise::Le };
    let zero = zero(b, b.ty(x).elem);
    b.choose(kept, column, diagonal, x, zero)
}

/// The dimensions of x with `length` instead of an axis, and behind it the axis; without a length the
/// axis twice.
fn with_axis(b: &Builder, x: NodeId, axis: usize, length: Option<Dim>) -> Vec<Dim> {
    let mut dims = b.ty(x).dims.clone();
    let length = length.unwrap_or_else(|| dims[axis].clone());
    dims.insert(axis, length);
    dims
}

/// The indices along an axis and the next one.
fn places(b: &mut Builder, dims: &[Dim], axis: usize) -> (NodeId, NodeId) {
    (b.count_along(axis, dims), b.count_along(axis + 1, dims))
}

/// x the same at all places of one more axis.
fn spread(b: &mut Builder, x: NodeId, dims: &[Dim], axis: usize) -> NodeId {
    let mut column = dims.to_vec();
    column[axis] = Dim::one();
    let x = b.reshape(x, &column);
    b.broadcast(x, dims)
}

fn zero(b: &mut Builder, elem: Elem) -> NodeId {
    b.push(Op::Const(Number(0.0), elem), vec![])
}
