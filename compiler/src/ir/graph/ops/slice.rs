//! A part of an axis.

use std::fmt;

use super::{Class, Coordinate, IndexMap, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of, with_axis};
use crate::ir::graph::interpret::{Fault, Kernel, Site, row_major};
use crate::ir::graph::op::{Number, Op};
use crate::ir::graph::print::line::{Line, Parsed};
use crate::ir::graph::syntax::{count, dim, named};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "slice";

pub(super) struct Slice<'a> {
    pub axis: usize,
    pub start: &'a Dim,
    pub end: &'a Dim,
}

impl Operation for Slice<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " axis={} [{}, {}]", self.axis, self.start, self.end)
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        let ends = [("start", dim(self.start)), ("end", dim(self.end))];
        named(NAME, args, [("axis", count(self.axis))].into_iter().chain(ends))
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let Slice { axis, start, end } = *self;
        let dim = axis_of(axis, args[0])?;
        let inside = |bound: &Dim| match (bound.as_const(), dim.as_const()) {
            (Some(bound), Some(dim)) => (0..=dim).contains(&bound),
            (Some(bound), None) => bound >= 0,
            _ => true,
        };
        let length = end - start;
        if !inside(start) || !inside(end) || length.as_const().is_some_and(|n| n < 0) {
            return Err(TypeError::Attribute(format!("{start}..{end} of an axis of {dim}")));
        }
        Ok(with_axis(args, axis, length))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (start, end) = (site.size(self.start)?, site.size(self.end)?);
        let length = site.operand(0)[self.axis];
        if start > end || end > length {
            return Err(Fault::Slice { start, end, length });
        }
        let strides = row_major(site.operand(0));
        Ok(Kernel::strided(site.dims(), &strides, start as isize * strides[self.axis]))
    }

    /// Zeros around it.
    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let after = &b.ty(x[0]).dims[self.axis] - self.end;
        let (axis, before) = (self.axis, self.start.clone());
        vec![Some(b.push(Op::Pad { axis, before, after, value: Number(0.0) }, vec![dy]))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn index_map(&self, from: &[Dim]) -> Option<IndexMap> {
        let mut axes = Coordinate::axes(from.len());
        axes[self.axis].constant = self.start.clone();
        Some(IndexMap::Affine(axes))
    }
}

pub(super) fn read(line: &mut Line) -> Parsed<Op> {
    let axis = line.axis()?;
    let [start, end] = line.pair()?;
    Ok(Op::Slice { axis, start, end })
}
