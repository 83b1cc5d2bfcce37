//! The axes in another order.

use std::fmt;

use super::{Class, Coordinate, IndexMap, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity};
use crate::ir::graph::interpret::{Fault, Kernel, Site, row_major};
use crate::ir::graph::op::Op;
use crate::ir::graph::print::line::List;
use crate::ir::graph::syntax::{call, count, list};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "permute";

pub(super) struct Permute<'a>(pub &'a [usize]);

impl Permute<'_> {
    /// The axis of the result that an axis of the operand becomes.
    fn inverse(&self) -> Vec<usize> {
        let mut inverse = vec![0; self.0.len()];
        self.0.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
        inverse
    }

    fn is_transpose(&self) -> bool {
        let n = self.0.len();
        n >= 2
            && self.0[n - 2..] == [n - 1, n - 2]
            && self.0[..n - 2].iter().enumerate().all(|(i, axis)| i == *axis)
    }
}

impl Operation for Permute<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}", List(self.0))
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        if self.is_transpose() {
            return call("transpose", args);
        }
        let order = list(self.0.iter().map(|axis| count(*axis)));
        call(NAME, args.into_iter().chain([order]))
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let (order, rank) = (self.0, args[0].dims.len());
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(TypeError::Attribute(format!("{order:?} is no order of {rank} axes")));
        }
        let dims = order.iter().map(|&axis| args[0].dims[axis].clone()).collect();
        Ok(Type { dims, ..args[0].clone() })
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let strides = row_major(site.operand(0));
        let strides: Vec<isize> = self.0.iter().map(|&axis| strides[axis]).collect();
        Ok(Kernel::strided(site.dims(), &strides, 0))
    }

    fn vjp(&self, b: &mut Builder, _: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        vec![Some(b.push(Op::Permute(self.inverse()), vec![dy]))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn index_map(&self, _: &[Dim]) -> Option<IndexMap> {
        Some(IndexMap::Affine(self.inverse().into_iter().map(Coordinate::axis).collect()))
    }
}
