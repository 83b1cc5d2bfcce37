//! The step before and the step after: the edges that go back.

use super::{Class, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, expect_elem, expect_stream, same_dims};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::op::Op;
use crate::ir::graph::syntax::{named, pair};
use crate::ir::graph::{Builder, NodeId, Type};

pub(super) const PREV: &str = "prev";
pub(super) const NEXT: &str = "next";

pub(super) enum Delay {
    Prev,
    Next,
}

impl Operation for Delay {
    fn name(&self) -> &'static str {
        match self {
            Delay::Prev => PREV,
            Delay::Next => NEXT,
        }
    }

    fn class(&self) -> Class {
        Class::Delay
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        let [x, init] = pair(args);
        named(self.name(), [x], [("init", init)])
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 2)?;
        expect_stream(0, args[0])?;
        if args[1].is_stream() {
            return Err(TypeError::NotStatic { operand: 1 });
        }
        expect_elem(1, args[1], args[0].elem)?;
        same_dims(args)?;
        Ok(args[0].clone())
    }

    /// The interpreter hands over the step that is asked for.
    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Copy { start: 0, len: site.len() })
    }

    /// That of the initial value; x gets its own from the opposite delay.
    fn vjp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let end = match self {
            Delay::Prev => Op::First,
            Delay::Next => Op::Last,
        };
        vec![None, Some(if b.ty(dy).is_stream() { b.push(end, vec![dy]) } else { dy })]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        Fact { invariant: false, ..args[0].or(&args[1]) }
    }

    fn opposite(&self) -> Option<Op> {
        Some(match self {
            Delay::Prev => Op::Next,
            Delay::Next => Op::Prev,
        })
    }

    fn cost(&self) -> u32 {
        1
    }

    fn is_launched(&self) -> bool {
        false
    }
}
