//! What stands at the beginning: inputs, parameters, literals, sizes, counted indices.

use std::fmt;

use super::{Class, Operation};
use crate::front::syntax::ast::{Expr, ExprKind};
use crate::ir::graph::facts::{Fact, INT_MAX, MAX, Place};
use crate::ir::graph::infer::{TypeError, axis_of};
use crate::ir::graph::interpret::{Fault, Kernel, Site, around};
use crate::ir::graph::op::{Number, Op};
use crate::ir::graph::print::line::{Line, List, Listed, Parsed};
use crate::ir::graph::syntax::{call, dim, expr, list, literal, shape};
use crate::ir::graph::{Clock, Dim, Elem, Graph, Type};

pub(super) const INPUT: &str = "input";
pub(super) const PARAM: &str = "param";
pub(super) const CONST: &str = "const";
pub(super) const SIZE: &str = "size";
pub(super) const TIME_INDEX: &str = "time_index";
pub(super) const IOTA: &str = "iota";
pub(super) const ARRAY: &str = "array";

pub(super) struct Input(pub usize);

impl Operation for Input {
    fn name(&self) -> &'static str {
        INPUT
    }

    fn class(&self) -> Class {
        Class::Given
    }

    fn attributes(&self, graph: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = graph.inputs.iter().map(|input| input.name.as_str());
        write!(f, " {}", Listed(self.0, names.collect()))
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        Err(declared())
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        site.input(self.0)
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        Fact::FINITE
    }

    fn listed(&self, graph: &Graph) -> Option<Fact> {
        let ty = &graph.inputs[self.0].ty;
        // Data may hold an infinity or a NaN, for which a program may look.
        let fact = if ty.elem == Elem::F32 { Fact::UNKNOWN } else { Fact::FINITE };
        Some(Fact { invariant: !ty.is_stream(), integer: ty.elem == Elem::I32, ..fact })
    }

    fn only_overflows(&self, _: &[Fact]) -> bool {
        true
    }
}

pub(super) fn read_input(line: &mut Line, graph: &Graph) -> Parsed<Op> {
    Ok(Op::Input(line.listed(graph.inputs.iter().map(|input| input.name.as_str()))?))
}

pub(super) struct Param(pub usize);

impl Operation for Param {
    fn name(&self) -> &'static str {
        PARAM
    }

    fn class(&self) -> Class {
        Class::Given
    }

    fn attributes(&self, graph: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = graph.params.iter().map(|param| param.path.as_str());
        write!(f, " {}", Listed(self.0, names.collect()))
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        Err(declared())
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        site.param(self.0)
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        Fact::FINITE
    }

    fn listed(&self, graph: &Graph) -> Option<Fact> {
        let (low, high) = graph.params[self.0].bounds.unwrap_or((-MAX, MAX));
        Some(Fact { invariant: true, ..Fact::within(low.max(-MAX), high.min(MAX)) })
    }
}

pub(super) fn read_param(line: &mut Line, graph: &Graph) -> Parsed<Op> {
    Ok(Op::Param(line.listed(graph.params.iter().map(|param| param.path.as_str()))?))
}

fn declared() -> TypeError {
    TypeError::Attribute("its type is declared, not inferred".into())
}

pub(super) struct Const(pub Number, pub Elem);

impl Operation for Const {
    fn name(&self) -> &'static str {
        CONST
    }

    fn class(&self) -> Class {
        Class::AtHand
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {} {}", self.1.name(), self.0)
    }

    fn written(&self, _: Vec<Expr>) -> Expr {
        match self.1 {
            Elem::Bool => expr(ExprKind::Bool(self.0.0 != 0.0)),
            Elem::F32 | Elem::I32 => literal(self.0.0),
        }
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        Ok(Type::new(self.1, vec![], Clock::Static))
    }

    fn kernel<'a>(&self, _: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Numbers(vec![self.0.0]))
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        Fact::literal(self.0.0)
    }
}

pub(super) fn read_const(line: &mut Line) -> Parsed<Op> {
    let elem = line.elem()?;
    Ok(Op::Const(Number(line.number()?), elem))
}

pub(super) struct Size<'a>(pub &'a Dim);

impl Operation for Size<'_> {
    fn name(&self) -> &'static str {
        SIZE
    }

    fn class(&self) -> Class {
        Class::AtHand
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " [{}]", self.0)
    }

    fn written(&self, _: Vec<Expr>) -> Expr {
        dim(self.0)
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        Ok(Type::new(Elem::F32, vec![], Clock::Static))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Numbers(vec![site.dim(self.0)? as f64]))
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        Fact::FINITE
    }

    /// No dimension is negative.
    fn listed(&self, _: &Graph) -> Option<Fact> {
        if let Some(number) = self.0.as_const() {
            return Some(Fact::literal(number as f64));
        }
        // A product of dimensions: where one is zero, there is no element that it could be for.
        let is_product = matches!(self.0.terms(), [(_, factor)] if *factor > 0);
        let low = if is_product { 1.0 } else { 0.0 };
        Some(Fact { integer: true, invariant: true, ..Fact::within(low, MAX) })
    }
}

pub(super) fn read_size(line: &mut Line) -> Parsed<Op> {
    let [dim] = line.pair()?;
    Ok(Op::Size(dim))
}

pub(super) struct TimeIndex;

impl Operation for TimeIndex {
    fn name(&self) -> &'static str {
        TIME_INDEX
    }

    fn class(&self) -> Class {
        Class::AtHand
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        Ok(Type::new(Elem::F32, vec![], Clock::Stream))
    }

    fn kernel<'a>(&self, _: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::TimeIndex)
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        Fact { integer: true, ..Fact::within(0.0, MAX) }
    }

    fn listed(&self, graph: &Graph) -> Option<Fact> {
        let length = graph.time.as_ref().map(indices);
        Some(Fact { integer: true, ..length.unwrap_or(Fact::within(0.0, MAX)) })
    }
}

pub(super) struct Iota<'a> {
    pub axis: usize,
    pub dims: &'a [Dim],
}

impl Operation for Iota<'_> {
    fn name(&self) -> &'static str {
        IOTA
    }

    fn class(&self) -> Class {
        Class::AtHand
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " axis={} {}", self.axis, List(self.dims))
    }

    /// Counted along one axis, which is then stretched.
    fn written(&self, _: Vec<Expr>) -> Expr {
        let length = &self.dims[self.axis];
        let count = call("i32", [call(IOTA, [dim(length)])]);
        let after = self.dims.len() - self.axis - 1;
        let column = [vec![length.clone()], vec![Dim::one(); after]].concat();
        let count = if after == 0 { count } else { call("reshape", [count, shape(&column)]) };
        match self.dims == column {
            true => count,
            false => call("broadcast", [count, shape(self.dims)]),
        }
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        let ty = Type::new(Elem::I32, self.dims.to_vec(), Clock::Static);
        axis_of(self.axis, &ty)?;
        Ok(ty)
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (_, length, inner) = around(site.dims(), self.axis);
        let count = |i: usize| (i / inner % length) as f64;
        Ok(Kernel::Numbers((0..site.len()).map(count).collect()))
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        Fact { invariant: true, ..indices(&self.dims[self.axis]) }
    }
}

pub(super) fn read_iota(line: &mut Line) -> Parsed<Op> {
    Ok(Op::Iota { axis: line.axis()?, dims: line.list(Line::dim)? })
}

pub(super) struct Array<'a> {
    pub elem: Elem,
    pub dims: &'a [Dim],
    pub data: &'a [Number],
}

impl Operation for Array<'_> {
    fn name(&self) -> &'static str {
        ARRAY
    }

    fn class(&self) -> Class {
        Class::Selection
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " {} {} {}", self.elem.name(), List(self.dims), List(self.data))
    }

    fn written(&self, _: Vec<Expr>) -> Expr {
        let numbers: Vec<Expr> = self.data.iter().map(|number| literal(number.0)).collect();
        let rows = |parts: Vec<Expr>, dim: &Dim| -> Vec<Expr> {
            let length = dim.as_const().and_then(|length| usize::try_from(length).ok());
            parts.chunks(length.unwrap_or(1).max(1)).map(|row| list(row.to_vec())).collect()
        };
        let whole = self.dims.iter().rev().fold(numbers, rows).into_iter().next();
        whole.unwrap_or_else(|| list([]))
    }

    fn infer(&self, _: &[&Type]) -> Result<Type, TypeError> {
        let numbers = Dim::constant(self.data.len() as i64);
        if self.dims.iter().any(|dim| dim.as_const().is_none())
            || Dim::product(self.dims) != numbers
            || self.dims.is_empty()
        {
            let found = format!("{numbers} numbers for {:?}", self.dims);
            return Err(TypeError::Attribute(found));
        }
        Ok(Type::new(self.elem, self.dims.to_vec(), Clock::Static))
    }

    fn kernel<'a>(&self, _: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Numbers(self.data.iter().map(|number| number.0).collect()))
    }

    fn fact(&self, _: &[Fact], _: Place) -> Fact {
        let facts = self.data.iter().map(|number| Fact::literal(number.0));
        facts.reduce(|all, one| all.or(&one)).unwrap_or(Fact::UNKNOWN)
    }

    /// A choice among its numbers.
    fn cost(&self) -> u32 {
        u32::try_from(self.data.len()).unwrap_or(u32::MAX)
    }

    fn is_launched(&self) -> bool {
        false
    }
}

pub(super) fn read_array(line: &mut Line) -> Parsed<Op> {
    let (elem, dims) = (line.elem()?, line.list(Line::dim)?);
    let data = line.list(|line| line.number().map(Number))?;
    Ok(Op::Array { elem, dims, data })
}

/// The indices of an axis.
fn indices(dim: &Dim) -> Fact {
    let high = dim.as_const().map_or(INT_MAX, |dim| (dim as f64 - 1.0).max(0.0));
    Fact { integer: true, ..Fact::within(0.0, high) }
}
