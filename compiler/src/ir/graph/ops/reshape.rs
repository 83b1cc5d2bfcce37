//! The same elements, in order, under other dimensions.

use std::fmt;
use std::ops::Range;

use super::{Class, IndexMap, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::print::line::List;
use crate::ir::graph::syntax::{call, shape};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "reshape";

pub(super) struct Reshape<'a>(pub &'a [Dim]);

impl Operation for Reshape<'_> {
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
        if Dim::product(self.0) != args[0].len() {
            let expected = format!("as many elements as {:?}", self.0);
            return Err(TypeError::Dims { operand: 0, expected, found: args[0].dims.clone() });
        }
        Ok(Type { dims: self.0.to_vec(), ..args[0].clone() })
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Copy { start: 0, len: site.len() })
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let dims = b.ty(x[0]).dims.clone();
        vec![Some(b.reshape(dy, &dims))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn index_map(&self, from: &[Dim]) -> Option<IndexMap> {
        Some(IndexMap::Regrouped(groups(from, self.0)))
    }
}

/// Axes are grouped from the left wherever the products of extents meet; only within a group are
/// indices flattened and taken apart.
fn groups(from: &[Dim], to: &[Dim]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < from.len() || j < to.len() {
        let (start_i, start_j) = (i, j);
        let (mut left, mut right) = (take(from, &mut i), take(to, &mut j));
        while left != right && (i < from.len() || j < to.len()) {
            let left_is_smaller = right.exact_div(&left).is_some();
            if i < from.len() && (left_is_smaller || j == to.len()) {
                left = &left * &take(from, &mut i);
            } else {
                right = &right * &take(to, &mut j);
            }
        }
        groups.push((start_i..i, start_j..j));
    }
    groups
}

/// The next dimension; behind the last there is 1.
fn take(dims: &[Dim], at: &mut usize) -> Dim {
    let dim = dims.get(*at).cloned();
    *at = (*at + 1).min(dims.len());
    dim.unwrap_or_else(Dim::one)
}
