//! Time as an axis: a stream as one tensor, and back. Each is the other's adjoint.

use std::fmt;

use super::{Class, IndexMap, Operation};
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of, expect_stream};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::op::Op;
use crate::ir::graph::print::line::{Line, Parsed};
use crate::ir::graph::{Builder, Clock, Dim, Graph, NodeId, Type};

pub(super) const STACK: &str = "time_stack";
pub(super) const UNSTACK: &str = "time_unstack";

/// The steps of a stream along a new first axis, as many as there are.
pub(super) struct Stack<'a>(pub &'a Dim);

impl Operation for Stack<'_> {
    fn name(&self) -> &'static str {
        STACK
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " [{}]", self.0)
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        expect_stream(0, args[0])?;
        let dims = [std::slice::from_ref(self.0), &args[0].dims[..]].concat();
        Ok(Type::new(args[0].elem, dims, Clock::Static))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Copy { start: 0, len: site.len() })
    }

    fn vjp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        vec![Some(b.push(Op::TimeUnstack, vec![dy]))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        Fact { invariant: true, ..args[0] }
    }

    fn index_map(&self, _: &[Dim]) -> Option<IndexMap> {
        Some(IndexMap::TimeFirst)
    }
}

pub(super) fn read(line: &mut Line) -> Parsed<Op> {
    match line.list(Line::dim)?.as_slice() {
        [steps] => Ok(Op::TimeStack(steps.clone())),
        _ => Err("the steps are one dimension".into()),
    }
}

/// A tensor's first axis as the steps of a stream.
pub(super) struct Unstack;

impl Operation for Unstack {
    fn name(&self) -> &'static str {
        UNSTACK
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        axis_of(0, args[0])?;
        match args[0].is_stream() {
            true => Err(TypeError::NotStatic { operand: 0 }),
            false => Ok(Type::new(args[0].elem, args[0].dims[1..].to_vec(), Clock::Stream)),
        }
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Step { len: site.len() })
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let dims = b.ty(x[0]).dims.clone();
        // What is the same at every step is it in every row.
        vec![Some(match b.ty(dy).is_stream() {
            true => b.push(Op::TimeStack(dims[0].clone()), vec![dy]),
            false => b.broadcast(dy, &dims),
        })]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        Fact { invariant: args[0].constant.is_some(), ..args[0] }
    }

    fn index_map(&self, _: &[Dim]) -> Option<IndexMap> {
        Some(IndexMap::FirstIsTime)
    }
}
