//! NumPy's broadcast.

use std::fmt;

use super::{Class, IndexMap, Operation, Reads};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity};
use crate::ir::graph::interpret::{Fault, Kernel, Site, row_major};
use crate::ir::graph::print::line::List;
use crate::ir::graph::syntax::{call, shape};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Reduction, Type};

pub(super) const NAME: &str = "broadcast";

pub(super) struct Broadcast<'a>(pub &'a [Dim]);

impl Operation for Broadcast<'_> {
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
        call(NAME, args.into_iter().chain([shape(self.0)]))
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let (from, to) = (&args[0].dims, self.0);
        let mut aligned = from.iter().rev().zip(to.iter().rev());
        if from.len() > to.len() || !aligned.all(|(a, b)| a == b || a.is_one()) {
            let expected = format!("dimensions that broadcast to {to:?}");
            return Err(TypeError::Dims { operand: 0, expected, found: from.clone() });
        }
        Ok(Type { dims: to.to_vec(), ..args[0].clone() })
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (from, dims) = (site.operand(0), site.dims());
        let mut strides = vec![0; dims.len() - from.len()];
        let own = from.iter().zip(row_major(from));
        strides.extend(own.map(|(&dim, stride)| if dim == 1 { 0 } else { stride }));
        Ok(Kernel::strided(dims, &strides, 0))
    }

    /// Sums over the axes that it made or stretched.
    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let (from, dims) = (b.ty(dy).dims.clone(), b.ty(x[0]).dims.clone());
        let new = from.len() - dims.len();
        let stretched = |&axis: &usize| axis < new || from[axis] != dims[axis - new];
        let axes: Vec<usize> = (0..from.len()).filter(stretched).collect();
        let sum = b.reduce(Reduction::Sum, dy, &axes);
        vec![Some(b.reshape(sum, &dims))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn reads(&self) -> Reads {
        Reads::Longer
    }

    fn index_map(&self, from: &[Dim]) -> Option<IndexMap> {
        let lead = self.0.len() - from.len();
        let axis =
            |(axis, dim): (usize, &Dim)| (self.0[lead + axis] == *dim).then_some(lead + axis);
        Some(IndexMap::Stretched(from.iter().enumerate().map(axis).collect()))
    }
}
