//! NumPy's `take(x, i, axis)`.

use std::fmt;

use super::{Class, Operation, invariant};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of, clock, expect_elem};
use crate::ir::graph::interpret::{Fault, Kernel, Site, around};
use crate::ir::graph::syntax::{count, named};
use crate::ir::graph::{Builder, Dim, Elem, Graph, NodeId, Type};

pub(super) const NAME: &str = "gather";

/// The axis.
pub(super) struct Gather(pub usize);

impl Operation for Gather {
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
        dims.splice(self.0..=self.0, args[1].dims.iter().cloned());
        Ok(Type::new(args[0].elem, dims, clock(args)))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (outer, length, inner) = around(site.operand(0), self.0);
        let outside = if site.elem() == Elem::F32 { f64::NAN } else { 0.0 };
        Ok(Kernel::Gather { outer, length, inner, outside })
    }

    fn has_derivative(&self, operand: usize) -> bool {
        operand == 0
    }

    /// Each place of x sums what the positions of i that name it get. A place outside of x is named
    /// by none.
    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let places = b.ty(x[0]).dims[self.0].clone();
        vec![Some(b.scatter_add(dy, x[1], &places, self.0)), None]
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

/// What holds of elements of the first operand at places that are the second.
pub(super) fn fact(args: &[Fact], place: Place) -> Fact {
    let invariant = invariant(args);
    let fact = Fact { constant: None, invariant, ..args[0] };
    let is_inside = |count: f64| args[1].low >= -count && args[1].high < count;
    match place.elem {
        _ if place.count.is_some_and(is_inside) => fact,
        Elem::F32 => Fact { not_nan: false, ..fact },
        Elem::I32 | Elem::Bool => Fact { invariant, ..fact.or(&Fact::literal(0.0)) },
    }
}
