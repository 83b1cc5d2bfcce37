//! Several operands one after the other along an axis.

use std::fmt;

use super::{Class, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, axis_of, expect_elem, with_axis};
use crate::ir::graph::interpret::{Fault, Kernel, Site, Source, around};
use crate::ir::graph::op::Op;
use crate::ir::graph::syntax::{count, named};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "concat";

/// The axis.
pub(super) struct Concat(pub usize);

impl Operation for Concat {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::Selection
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " axis={}", self.0)
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        named(NAME, args, [("axis", count(self.0))])
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        let Some(first) = args.first() else {
            return Err(TypeError::Arity { expected: 1, found: 0 });
        };
        let mut total = Dim::zero();
        for (operand, ty) in args.iter().enumerate() {
            total = &total + &axis_of(self.0, ty)?;
            expect_elem(operand, ty, first.elem)?;
            let others = |ty: &Type| {
                let mut dims = ty.dims.clone();
                dims.remove(self.0);
                dims
            };
            if others(ty) != others(first) {
                let expected = format!("{:?} but for axis {}", first.dims, self.0);
                return Err(TypeError::Dims { operand, expected, found: ty.dims.clone() });
            }
        }
        Ok(with_axis(args, self.0, total))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (outer, _, _) = around(site.dims(), self.0);
        let mut sources = Vec::with_capacity(site.len());
        for row in 0..outer {
            for position in 0..site.arity() {
                let size: usize = site.operand(position)[self.0..].iter().product();
                let elements = row * size..(row + 1) * size;
                sources.extend(elements.map(|index| Source::Operand(position, index)));
            }
        }
        Ok(Kernel::Pick(sources))
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let mut start = Dim::zero();
        let slices = x.iter().map(|x| {
            let end = &start + &b.ty(*x).dims[self.0];
            let start = std::mem::replace(&mut start, end.clone());
            Some(b.push(Op::Slice { axis: self.0, start, end }, vec![dy]))
        });
        slices.collect()
    }

    fn linear_in(&self, arity: usize) -> Vec<Vec<usize>> {
        vec![(0..arity).collect()]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[1..].iter().fold(args[0], |fact, arg| fact.or(arg))
    }

    fn cost(&self) -> u32 {
        1
    }
}
