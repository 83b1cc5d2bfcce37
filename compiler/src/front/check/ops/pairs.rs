//! What compares or adds each pair of elements of an axis: n² operations for an axis of n, but in no order,
//! so that every device gives the same.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::ops::lookup::Take;
use crate::front::check::shape::position;
use crate::front::check::term::Kind;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Builder, Dim, Elem, NodeId, Number, Op, Pointwise, Reduction};

/// The sums of an axis up to each element.
#[derive(Debug)]
struct CumSum(i64);

pub fn cumsum(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer(1)?;
    call.apply(CumSum(axis), 1)
}

impl Operation for CumSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        rules.along(self.0)
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.numbers(dtypes.args())
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.ty().dims.len());
        Ok(write_cumsum(&mut e.builder, args[0], axis))
    }
}

/// The places of an axis in ascending order.
#[derive(Debug)]
struct ArgSort(i64);

pub fn argsort(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(1, -1)?;
    call.apply(ArgSort(axis), 1)
}

impl Operation for ArgSort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        rules.along(self.0)
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.number(dtypes.args()[0])?;
        dtypes.result(Elem::I32)
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.ty().dims.len());
        Ok(write_argsort(&mut e.builder, args[0], axis, None, false))
    }
}

/// The places of the greatest on an axis: so many as the second operand says.
#[derive(Debug)]
struct TopK(i64);

/// The elements at the places that are found, and the places.
pub fn topk(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(2, -1)?;
    let (x, count, span) = (call.operand(0), call.operand(1), call.call.span);
    let places = call.term(TopK(axis), vec![x, count]);
    let found = Kind::op(Take(axis));
    let values = call.elaborator.push(call.scope, found, vec![x, places], span);
    Some(call.elaborator.tuple(vec![values.into(), places.into()], span))
}

impl Operation for TopK {
    fn name(&self) -> &'static str {
        "topk"
    }

    fn tensors(&self) -> usize {
        1
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let args = rules.args();
        let Some(mut dims) = rules.of_first() else { return Ok(None) };
        let at = rules.axis(self.0, dims.len())?;
        let count = rules.dim(args[1])?;
        let number = |dim: &Option<Dim>| dim.as_ref().and_then(Dim::as_const);
        if let (Some(count), Some(length)) = (number(&count), number(&dims[at]))
            && count > length
        {
            let problem = Diagnostic::error("E044", format!("the {count} greatest of {length}"));
            let problem = rules.labelled(problem, &args[..1]);
            return Err(Box::new(problem.expected(format!("at most {length}"))));
        }
        dims[at] = count;
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.number(dtypes.args()[0])?;
        dtypes.result(Elem::I32)
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let dims = e.ty().dims;
        let axis = position(self.0, dims.len());
        Ok(write_argsort(&mut e.builder, args[0], axis, Some(dims[axis].clone()), true))
    }
}

/// x with zeros on one side of the diagonal `k` of the last two axes.
#[derive(Debug)]
struct Triangle {
    k: i64,
    is_upper: bool,
}

pub fn triangle(call: &mut Arguments<'_, '_, '_>, is_upper: bool) -> Option<Value> {
    let k = call.integer_or(1, 0)?;
    call.apply(Triangle { k, is_upper }, 1)
}

impl Operation for Triangle {
    fn name(&self) -> &'static str {
        if self.is_upper { "triu" } else { "tril" }
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        match rules.of_first() {
            Some(dims) if dims.len() < 2 => Err(rules.rank(rules.args()[0], "at least 2 axes")),
            dims => Ok(dims),
        }
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        Ok(write_triangle(&mut e.builder, args[0], self.k, self.is_upper))
    }
}

/// The sum of each element of an axis and of those before it.
fn write_cumsum(b: &mut Builder, x: NodeId, axis: usize) -> NodeId {
    let dims = with_axis(b, x, axis, None);
    let (place, other) = places(b, &dims, axis);
    let x = spread(b, x, &dims, axis);
    let zero = zero(b, b.ty(x).elem);
    let part = b.choose(Pointwise::Le, other, place, x, zero);
    b.reduce(Reduction::Sum, part, &[axis + 1])
}

/// The places of the first `count` elements of an axis in their order, as i32. Of equal ones the first
/// comes first; NaN is greater than any number.
fn write_argsort(
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
fn write_triangle(b: &mut Builder, x: NodeId, k: i64, is_upper: bool) -> NodeId {
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
