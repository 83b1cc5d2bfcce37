//! An axis the other way round.

use std::fmt;

use super::{Class, Coordinate, IndexMap, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of};
use crate::ir::graph::interpret::{Fault, Kernel, Site, row_major};
use crate::ir::graph::op::Op;
use crate::ir::graph::syntax::{call, count};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "flip";

/// The axis.
pub(super) struct Flip(pub usize);

impl Operation for Flip {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " axis={}", self.0)
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        call(NAME, args.into_iter().chain([count(self.0)]))
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        axis_of(self.0, args[0])?;
        Ok(args[0].clone())
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let dims = site.dims();
        let mut strides = row_major(dims);
        let last = dims[self.0].saturating_sub(1) as isize * strides[self.0];
        strides[self.0] = -strides[self.0];
        Ok(Kernel::strided(dims, &strides, last))
    }

    fn vjp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        vec![Some(b.push(Op::Flip { axis: self.0 }, vec![dy]))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn index_map(&self, from: &[Dim]) -> Option<IndexMap> {
        let mut axes = Coordinate::axes(from.len());
        let last = &from[self.0] - &Dim::one();
        axes[self.0] = Coordinate { terms: vec![(self.0, Dim::constant(-1))], constant: last };
        Some(IndexMap::Affine(axes))
    }

    /// It copies.
    fn is_launched(&self) -> bool {
        true
    }
}
