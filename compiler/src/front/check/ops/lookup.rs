//! Elements at places that a tensor of i32 says.

use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::shape::{agreed, position};
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, Elem, NodeId, Op, Pointwise};

/// NumPy's `take`: the axis is replaced by the dimensions of the places.
#[derive(Debug)]
struct Gather(i64);

pub fn gather(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(2, 0)?;
    call.apply(Gather(axis), 2)
}

impl Operation for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some([dims, index]) = rules.first_two() else { return Ok(None) };
        let at = rules.axis(self.0, dims.len())?;
        let mut dims = dims.to_vec();
        dims.splice(at..=at, index.iter().cloned());
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.require(dtypes.args()[1], Elem::I32)?;
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.builder.ty(args[0]).dims.len());
        e.push(Op::Gather { axis }, args.to_vec())
    }
}

/// NumPy's `take_along_axis`: the places have the dimensions of x but for the axis.
#[derive(Debug)]
pub struct Take(pub i64);

pub fn take(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer(2)?;
    call.apply(Take(axis), 2)
}

impl Operation for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some([dims, index]) = rules.first_two() else { return Ok(None) };
        let at = rules.axis(self.0, dims.len())?;
        let mut like = dims.to_vec();
        like[at] = index.get(at).cloned().flatten();
        let expected = || format!("equal dimensions but for axis {at}");
        let taken = agreed(&like, index);
        taken.map(Some).ok_or_else(|| rules.unequal(rules.args()[0], rules.args()[1], &expected()))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.require(dtypes.args()[1], Elem::I32)?;
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.ty().dims.len());
        e.push(Op::Take { axis }, args.to_vec())
    }
}

/// x, the places of its elements, and how many places there are.
#[derive(Debug)]
struct ScatterAdd(i64);

pub fn scatter_add(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(3, 0)?;
    call.apply(ScatterAdd(axis), 3)
}

impl Operation for ScatterAdd {
    fn name(&self) -> &'static str {
        "scatter_add"
    }

    fn tensors(&self) -> usize {
        2
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let args = rules.args();
        let Some([dims, index]) = rules.first_two() else { return Ok(None) };
        // Of a scalar place there is no axis to replace, only one to put in.
        let at = rules.axis(self.0, dims.len() + usize::from(index.is_empty()))?;
        let replaced = dims.get(at..at + index.len());
        if replaced.is_none_or(|replaced| agreed(replaced, index).is_none()) {
            let expected = format!("a place for each position of the axes from {at} on");
            return Err(rules.unequal(args[0], args[1], &expected));
        }
        let (mut dims, count) = (dims.to_vec(), rules.dim(args[2])?);
        dims.splice(at..at + index.len(), [count]);
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.require(dtypes.args()[1], Elem::I32)?;
        dtypes.numbers(&dtypes.args()[..1])
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.builder.ty(args[0]).dims.len());
        Ok(e.builder.scatter_add(args[0], args[1], &e.ty().dims[axis], axis))
    }
}

/// 1 where the index along a new last axis is the given one, else 0.
#[derive(Debug)]
pub struct OneHot;

impl Operation for OneHot {
    fn name(&self) -> &'static str {
        "one_hot"
    }

    fn tensors(&self) -> usize {
        1
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let classes = rules.dim(rules.args()[1])?;
        Ok(rules.of_first().map(|mut dims| {
            dims.push(classes);
            dims
        }))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.require(dtypes.args()[0], Elem::I32)?;
        dtypes.result(Elem::F32)
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let dims = e.ty().dims;
        let axis = dims.len() - 1;
        let mut column = e.builder.ty(args[0]).dims.clone();
        column.push(Dim::one());
        let index = e.builder.reshape(args[0], &column);
        let index = e.broadcast(index, &dims)?;
        let numbers = e.push(Op::Iota { axis, dims }, vec![])?;
        let equal = e.push(Op::Map(Pointwise::Eq), vec![index, numbers])?;
        e.push(Op::Map(Pointwise::ToF32), vec![equal])
    }
}
