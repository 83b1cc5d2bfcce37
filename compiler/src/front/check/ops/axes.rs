//! The axes of a tensor in another order, or the other way round.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::shape::position;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{NodeId, Op};

#[derive(Debug)]
pub struct Transpose;

impl Operation for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some(mut dims) = rules.of_first() else { return Ok(None) };
        let Some(row) = dims.len().checked_sub(2) else {
            return Err(rules.rank(rules.args()[0], "at least 2 axes"));
        };
        dims.swap(row, row + 1);
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        Ok(e.builder.transpose(args[0]))
    }
}

/// Its axes in this order, as written.
#[derive(Debug)]
struct Permute(Vec<i64>);

pub fn permute(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let order = call.integers(1)?;
    call.apply(Permute(order), 1)
}

impl Operation for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some(dims) = rules.dims(rules.args()[0]) else { return Ok(None) };
        let order = self.order(rules, dims.len())?;
        Ok(Some(order.into_iter().map(|axis| dims[axis].clone()).collect()))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let order = self.order(&e.rules(), e.builder.ty(args[0]).dims.len())?;
        e.push(Op::Permute(order), args.to_vec())
    }
}

impl Permute {
    /// The order of the axes, counted from the front.
    fn order(&self, rules: &Rules<'_>, rank: usize) -> Result<Vec<usize>, Problem> {
        let order = &self.0;
        let found =
            order.iter().map(|axis| rules.axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = found.clone();
        sorted.sort_unstable();
        if sorted.into_iter().eq(0..rank) {
            return Ok(found);
        }
        let problem = Diagnostic::error("E043", format!("{order:?} is no order of {rank} axes"));
        let problem = rules.labelled(problem, &rules.args()[..1]);
        Err(Box::new(problem.expected("each axis once").found(format!("{order:?}"))))
    }
}

/// The other way round along this axis.
#[derive(Debug)]
struct Flip(i64);

pub fn flip(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer(1)?;
    call.apply(Flip(axis), 1)
}

impl Operation for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        rules.along(self.0)
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.ty().dims.len());
        e.push(Op::Flip { axis }, args.to_vec())
    }
}
