//! NumPy's `take_along_axis(x, i, axis)`.

use std::fmt;

use super::gather::fact;
use super::{Class, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of, clock, expect_elem};
use crate::ir::graph::interpret::{Fault, Kernel, Site, around};
use crate::ir::graph::op::{Pointwise, Reduction};
use crate::ir::graph::syntax::{count, named};
use crate::ir::graph::{Builder, Dim, Elem, Graph, NodeId, Type};

pub(super) const NAME: &str = "take";

/// The axis.
pub(super) struct Take(pub usize);

impl Operation for Take {
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
        arity(args, 2)?;
        axis_of(self.0, args[0])?;
        expect_elem(1, args[1], Elem::I32)?;
        let mut dims = args[0].dims.clone();
        dims[self.0] = axis_of(self.0, args[1])?;
        if dims != args[1].dims {
            let (expected, found) = (format!("{dims:?}"), args[1].dims.clone());
            return Err(TypeError::Dims { operand: 1, expected, found });
        }
        Ok(Type::new(args[0].elem, dims, clock(args)))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (outer, length, inner) = around(site.operand(0), self.0);
        let (_, places, _) = around(site.operand(1), self.0);
        let outside = if site.elem() == Elem::F32 { f64::NAN } else { 0.0 };
        Ok(Kernel::Take { outer, length, places, inner, outside })
    }

    fn has_derivative(&self, operand: usize) -> bool {
        operand == 0
    }

    /// Each place of x sums what the positions of i beside it that name it get.
    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let axis = self.0;
        let (length, mut dims) = (b.ty(x[0]).dims[axis].clone(), b.ty(x[1]).dims.clone());
        let index = b.counted_from_front(x[1], &length);
        dims.insert(axis, length);
        let place = b.count_along(axis, &dims);
        let mut row = dims.clone();
        row[axis] = Dim::one();
        let mut spread = |x: NodeId| {
            let x = b.reshape(x, &row);
            b.broadcast(x, &dims)
        };
        let (index, dy) = (spread(index), spread(dy));
        let zero = b.number(0.0);
        let part = b.choose(Pointwise::Eq, place, index, dy, zero);
        vec![Some(b.reduce(Reduction::Sum, part, &[axis + 1])), None]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], place: Place) -> Fact {
        fact(args, place)
    }

    fn count(&self, graph: &Graph, args: &[NodeId]) -> Option<Dim> {
        Some(graph.ty(args[0]).dims[self.0].clone())
    }

    fn looks_up(&self, operand: usize) -> bool {
        operand == 0
    }

    fn cost(&self) -> u32 {
        3
    }
}
