//! More elements on both ends of an axis.

use std::fmt;

use super::{Class, Operation, Reads};
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of, with_axis};
use crate::ir::graph::interpret::{Fault, Kernel, Site, Source, around};
use crate::ir::graph::op::{Number, Op};
use crate::ir::graph::print::line::{Line, Parsed};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "pad";

pub(super) struct Pad<'a> {
    pub axis: usize,
    pub before: &'a Dim,
    pub after: &'a Dim,
    pub value: Number,
}

impl Operation for Pad<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::Selection
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " axis={} [{}, {}] {}", self.axis, self.before, self.after, self.value)
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let dim = axis_of(self.axis, args[0])?;
        if [self.before, self.after].iter().any(|pad| pad.as_const().is_some_and(|n| n < 0)) {
            return Err(TypeError::Attribute("a padding is negative".into()));
        }
        Ok(with_axis(args, self.axis, &(&dim + self.before) + self.after))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let (outer, length, inner) = around(site.operand(0), self.axis);
        let row = length * inner;
        let numbers = |count: usize| (0..count * inner).map(|_| Source::Number(self.value.0));
        let (before, after) = (site.size(self.before)?, site.size(self.after)?);
        let mut sources = Vec::with_capacity(site.len());
        for start in (0..outer).map(|number| number * row) {
            sources.extend(numbers(before));
            sources.extend((start..start + row).map(|index| Source::Operand(0, index)));
            sources.extend(numbers(after));
        }
        Ok(Kernel::Pick(sources))
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let end = self.before + &b.ty(x[0]).dims[self.axis];
        let slice = Op::Slice { axis: self.axis, start: self.before.clone(), end };
        vec![Some(b.push(slice, vec![dy]))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        if self.value.0 == 0.0 { vec![vec![0]] } else { vec![] }
    }

    fn keeps_literals(&self) -> bool {
        false
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0].or(&Fact::literal(self.value.0))
    }

    fn reads(&self) -> Reads {
        Reads::Once
    }

    fn label(&self) -> &'static str {
        "value"
    }

    fn cost(&self) -> u32 {
        1
    }
}

pub(super) fn read(line: &mut Line) -> Parsed<Op> {
    let axis = line.axis()?;
    let [before, after] = line.pair()?;
    Ok(Op::Pad { axis, before, after, value: Number(line.number()?) })
}
