//! Reductions over axes and over time.

use std::fmt;

use super::{Class, Operation, expand, invariant};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, INT_MAX, Place, range};
use crate::ir::graph::infer::{
    TypeError, arity, axis_of, clock, expect_elem, expect_number, expect_stream,
};
use crate::ir::graph::interpret::{Fault, Kernel, Site, row_major, strided};
use crate::ir::graph::op::{Op, Pointwise, Reduction};
use crate::ir::graph::print::line::List;
use crate::ir::graph::syntax::{axes, call, named};
use crate::ir::graph::{Builder, Clock, Dim, Elem, Graph, NodeId, Type};

pub(super) const NAME: &str = "reduce";
pub(super) const OVER_TIME: &str = "time_reduce";

pub(super) struct Reduce<'a>(pub Reduction, pub &'a [usize]);

impl Operation for Reduce<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::Reduction(self.0)
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {} {}", self.0.name(), List(self.1))
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        named(self.0.name(), args, [("axis", axes(self.1))])
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let Reduce(reduction, axes) = *self;
        if !axes.is_sorted_by(|a, b| a < b) {
            return Err(TypeError::Attribute(format!("axes {axes:?} are not ascending")));
        }
        axes.iter().try_for_each(|&axis| axis_of(axis, args[0]).map(drop))?;
        expect_number(0, args[0])?;
        let is_index = reduction == Reduction::ArgMax;
        if is_index {
            expect_elem(0, args[0], Elem::F32)?;
        }
        if is_index && axes.len() != 1 {
            return Err(TypeError::Attribute("argmax takes one axis".into()));
        }
        let kept = args[0].dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        let elem = if is_index { Elem::I32 } else { args[0].elem };
        Ok(Type::new(elem, kept.map(|(_, dim)| dim.clone()).collect(), clock(args)))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let from = site.operand(0);
        let strides = row_major(from);
        let is_kept = |axis: &usize| !self.1.contains(axis);
        let axes: Vec<usize> =
            (0..from.len()).filter(is_kept).chain(self.1.iter().copied()).collect();
        let sizes: Vec<usize> = axes.iter().map(|&axis| from[axis]).collect();
        let strides: Vec<isize> = axes.iter().map(|&axis| strides[axis]).collect();
        let size = sizes[site.dims().len()..].iter().product();
        let order = strided(&sizes, &strides, 0);
        Ok(Kernel::Reduce { reduction: self.0, elem: site.elem(), order, size, len: site.len() })
    }

    fn has_derivative(&self, _: usize) -> bool {
        self.0 != Reduction::ArgMax
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], y: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let (x, axes) = (x[0], self.1);
        vec![match self.0 {
            Reduction::Sum => Some(expand(b, dy, x, axes)),
            Reduction::Max | Reduction::Min => {
                let y = expand(b, y, x, axes);
                let hit = b.binary(Pointwise::Eq, x, y);
                let hits = b.unary(Pointwise::ToF32, hit);
                let hits = b.reduce(Reduction::Sum, hits, axes);
                let share = b.div(dy, hits);
                let (share, zero) = (expand(b, share, x, axes), b.number(0.0));
                Some(b.select(hit, share, zero))
            }
            Reduction::Prod => Some(product(b, x, axes, dy)),
            Reduction::ArgMax => None,
        }]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        linear_in(self.0)
    }

    fn keeps_literals(&self) -> bool {
        false
    }

    fn fact(&self, args: &[Fact], place: Place) -> Fact {
        Fact { invariant: invariant(args), ..fact(self.0, &args[0], place) }
    }

    fn count(&self, graph: &Graph, args: &[NodeId]) -> Option<Dim> {
        let dims = &graph.ty(args[0]).dims;
        Some(Dim::product(self.1.iter().map(|axis| &dims[*axis])))
    }

    fn only_overflows(&self, _: &[Fact]) -> bool {
        matches!(self.0, Reduction::Sum | Reduction::Prod)
    }
}

pub(super) struct TimeReduce(pub Reduction);

impl Operation for TimeReduce {
    fn name(&self) -> &'static str {
        OVER_TIME
    }

    fn class(&self) -> Class {
        Class::Reduction(self.0)
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {}", self.0.name())
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        call(&format!("time_{}", self.0.name()), args)
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        expect_stream(0, args[0])?;
        expect_number(0, args[0])?;
        if !matches!(self.0, Reduction::Sum | Reduction::Max) {
            return Err(TypeError::Attribute("only sum and max reduce over time".into()));
        }
        Ok(Type { clock: Clock::Static, ..args[0].clone() })
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (len, size) = (site.len(), site.steps());
        let order = strided(&[len, size], &[1, len as isize], 0);
        Ok(Kernel::Reduce { reduction: self.0, elem: site.elem(), order, size, len })
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], y: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        if self.0 != Reduction::Max {
            return vec![Some(dy)];
        }
        let hit = b.binary(Pointwise::Eq, x[0], y);
        let hits = b.unary(Pointwise::ToF32, hit);
        let hits = b.push(Op::TimeReduce(Reduction::Sum), vec![hits]);
        let (share, zero) = (b.div(dy, hits), b.number(0.0));
        vec![Some(b.select(hit, share, zero))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        linear_in(self.0)
    }

    fn keeps_literals(&self) -> bool {
        false
    }

    fn fact(&self, args: &[Fact], place: Place) -> Fact {
        Fact { invariant: true, ..fact(self.0, &args[0], place) }
    }

    fn count(&self, graph: &Graph, _: &[NodeId]) -> Option<Dim> {
        graph.time.clone()
    }

    fn only_overflows(&self, _: &[Fact]) -> bool {
        self.0 == Reduction::Sum
    }
}

fn linear_in(reduction: Reduction) -> Vec<Vec<usize>> {
    if reduction == Reduction::Sum { vec![vec![0]] } else { vec![] }
}

fn fact(reduction: Reduction, x: &Fact, place: Place) -> Fact {
    let is_empty = !place.count.is_some_and(|count| count >= 1.0);
    match reduction {
        Reduction::Sum => range::sum(x, place.count),
        Reduction::Prod => range::product(x),
        Reduction::Max => {
            let low = if is_empty { f64::NEG_INFINITY } else { x.low };
            Fact { low, constant: None, ..*x }
        }
        Reduction::Min => {
            let high = if is_empty { f64::INFINITY } else { x.high };
            Fact { high, constant: None, ..*x }
        }
        Reduction::ArgMax => {
            let high = place.count.map_or(INT_MAX, |count| (count - 1.0).max(0.0));
            Fact { integer: true, ..Fact::within(0.0, high) }
        }
    }
}

/// The adjoint of a product over axes: for each factor the product of the others, which is zero
/// where two are zero, and where one is, zero for all but that one. Its own derivative is right where
/// none is zero.
fn product(b: &mut Builder, x: NodeId, axes: &[usize], dy: NodeId) -> NodeId {
    let (zero, one) = (b.number(0.0), b.number(1.0));
    let is_zero = b.binary(Pointwise::Eq, x, zero);
    let zeros = b.unary(Pointwise::ToF32, is_zero);
    let zeros = b.reduce(Reduction::Sum, zeros, axes);
    let factors = b.select(is_zero, one, x);
    let product = b.reduce(Reduction::Prod, factors, axes);
    let dy = b.mul(dy, product);
    let without_zero = b.choose(Pointwise::Eq, zeros, zero, dy, zero);
    let without_zero = expand(b, without_zero, x, axes);
    let only_zero = b.choose(Pointwise::Eq, zeros, one, dy, zero);
    let only_zero = expand(b, only_zero, x, axes);
    let others = b.div(without_zero, factors);
    b.select(is_zero, only_zero, others)
}
