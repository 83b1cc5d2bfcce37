//! `sg(x)`: the value of x without its derivative.

use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{NodeId, Op};

#[derive(Debug)]
pub struct Sg;

impl Operation for Sg {
    fn name(&self) -> &'static str {
        "sg"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(rules.of_first())
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_operands()
    }

    fn emit(&self, emitter: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        emitter.push(Op::Sg, args.to_vec())
    }
}
