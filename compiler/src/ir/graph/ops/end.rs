//! The first and the last step of a stream.

use super::{Class, IndexMap, Operation};
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, expect_stream};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::op::{Op, Pointwise};
use crate::ir::graph::{Builder, Clock, Dim, NodeId, Type};

pub(super) const FIRST: &str = "first";
pub(super) const LAST: &str = "last";

pub(super) enum End {
    First,
    Last,
}

impl Operation for End {
    fn name(&self) -> &'static str {
        match self {
            End::First => FIRST,
            End::Last => LAST,
        }
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        expect_stream(0, args[0])?;
        Ok(Type { clock: Clock::Static, ..args[0].clone() })
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (len, steps) = (site.len(), site.steps());
        Ok(match self {
            End::First => Kernel::Copy { start: 0, len },
            End::Last => Kernel::Copy { start: (steps - 1) * len, len },
        })
    }

    /// A stream of zeros but for one step.
    fn vjp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let steps = b.graph().time.clone().unwrap_or_else(Dim::one);
        let step = match self {
            End::First => Dim::zero(),
            End::Last => &steps - &Dim::one(),
        };
        let (now, step) = (b.push(Op::TimeIndex, vec![]), b.push(Op::Size(step), vec![]));
        let zero = b.number(0.0);
        vec![Some(b.choose(Pointwise::Eq, now, step, dy, zero))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        Fact { invariant: true, ..args[0] }
    }

    fn index_map(&self, _: &[Dim]) -> Option<IndexMap> {
        Some(match self {
            End::First => IndexMap::First,
            End::Last => IndexMap::Last,
        })
    }
}
