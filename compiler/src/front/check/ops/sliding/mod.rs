//! Windows, convolutions and pools.

mod geometry;
mod writer;

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::report;
use crate::front::check::term::TermId;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Elem, NodeId};
use writer::Writer;

/// What slides along axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sliding {
    Windows,
    Conv,
    Transposed,
    Average,
    Maximum,
    Adaptive,
    Upsample,
}

impl Sliding {
    /// How many operands are tensors; the numbers follow them.
    pub fn tensors(self) -> usize {
        if matches!(self, Sliding::Conv | Sliding::Transposed) { 2 } else { 1 }
    }

    pub fn is_pool(self) -> bool {
        matches!(self, Sliding::Average | Sliding::Maximum)
    }

    /// The numbers that it is given, in their order. A convolution sees the sizes from its weights.
    pub fn attributes(self) -> &'static [Attribute] {
        use Attribute::*;
        match self {
            Sliding::Windows => &[Size, Stride, Pad, Dilation],
            Sliding::Conv | Sliding::Transposed => &[Stride, Pad, Dilation, Groups],
            Sliding::Average | Sliding::Maximum => &[Size, Stride, Pad],
            Sliding::Adaptive | Sliding::Upsample => &[Size],
        }
    }
}

/// A number that an operation is given for each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute {
    Size,
    Stride,
    Pad,
    Dilation,
    /// One for all axes.
    Groups,
}

impl Attribute {
    fn name(self) -> &'static str {
        match self {
            Attribute::Size => "size",
            Attribute::Stride => "stride",
            Attribute::Pad => "pad",
            Attribute::Dilation => "dilation",
            Attribute::Groups => "number of groups",
        }
    }

    /// The least that is possible, and what it is if it is not given.
    pub fn least(self) -> i64 {
        i64::from(self != Attribute::Pad)
    }
}

/// Windows along so many of the last axes, and what is made with them. The operands behind the tensors are the
/// numbers that it is given: see [`Sliding::attributes`].
#[derive(Debug)]
struct Slide {
    name: &'static str,
    op: Sliding,
    axes: usize,
    /// As much padding as keeps the axes as long as they are.
    same: bool,
}

/// Numbers count for all axes, lists have one for each. `axes` is their number, where the name says it.
pub fn read(
    call: &mut Arguments<'_, '_, '_>,
    op: Sliding,
    mut axes: Option<usize>,
) -> Option<Value> {
    let mut args: Vec<TermId> = (0..op.tensors()).map(|formal| call.operand(formal)).collect();
    let (mut same, mut before) = (false, Vec::new());
    for (formal, attribute) in (op.tensors()..).zip(op.attributes()) {
        let mut list = match call.value(formal) {
            Some(Value::Same) if *attribute == Attribute::Pad => {
                same = true;
                vec![call.literal(0)]
            }
            Some(_) => call.list(formal)?,
            // The windows of a pool stand side by side.
            None if op.is_pool() && *attribute == Attribute::Stride => before.clone(),
            None => vec![call.literal(attribute.least())],
        };
        let expected = match attribute {
            Attribute::Groups => 1,
            Attribute::Size | Attribute::Stride | Attribute::Pad | Attribute::Dilation => {
                *axes.get_or_insert(list.len())
            }
        };
        if list.len() == 1 {
            list = vec![list[0]; expected];
        }
        if list.len() != expected {
            let numbers = report::count(expected, "number");
            call.report(
                Diagnostic::error("E044", format!("a list of {}", list.len()))
                    .label(call.span(formal), format!("{} here", list.len()))
                    .expected(format!("a number, or {numbers} for {}", call.name)),
            );
            return None;
        }
        args.extend(&list);
        before = list;
    }
    let slide = Slide { name: call.name, op, axes: axes.unwrap_or(1), same };
    Some(call.term(slide, args).into())
}

impl Operation for Slide {
    fn name(&self) -> &'static str {
        self.name
    }

    fn tensors(&self) -> usize {
        self.op.tensors()
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        self.result(rules)
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        if matches!(self.op, Sliding::Windows | Sliding::Upsample) {
            return dtypes.as_first();
        }
        let tensors = &dtypes.args()[..self.op.tensors()];
        tensors.iter().try_for_each(|arg| dtypes.require(*arg, Elem::F32))?;
        dtypes.result(Elem::F32)
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let geometry = self.geometry(&e.rules())?;
        let geometry = geometry.ok_or_else(|| e.bug("windows without numbers"))?;
        let result = e.ty().dims;
        Ok(Writer { b: &mut e.builder, geometry, result }.write(self.op, args))
    }
}
