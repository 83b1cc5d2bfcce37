//! `iota(n)`: the numbers from 0 to n - 1.

use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Elem, NodeId, Op, Pointwise};

#[derive(Debug)]
pub struct Iota;

impl Operation for Iota {
    fn name(&self) -> &'static str {
        "iota"
    }

    fn tensors(&self) -> usize {
        0
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(Some(vec![rules.dim(rules.args()[0])?]))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.result(Elem::F32)
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, _: &[NodeId]) -> Result<NodeId, Problem> {
        let count = e.push(Op::Iota { axis: 0, dims: e.ty().dims }, vec![])?;
        e.push(Op::Map(Pointwise::ToF32), vec![count])
    }
}
