//! The table of operations that are more than pointwise: one descriptor for each, in a file of its
//! own or of its family.
//!
//! A descriptor is the attributes of an [`Op`] and what the compiler knows about it, an
//! [`Operation`]: name, attributes as text, type rule, f64 value, derivative, linearity, range, index
//! map, cost, spelling in the language. [`Op::describe`] finds it; what is asked of an operation
//! elsewhere is asked of its descriptor.
//!
//! To add an operation: write its descriptor, add the variant to [`Op`], the row to
//! [`Op::describe`] and, so that its text form reads back, to [`read`].

mod broadcast;
mod concat;
mod delay;
mod end;
mod flip;
mod gather;
mod matmul;
mod pad;
mod permute;
mod pointwise;
mod reduce;
mod reshape;
mod slice;
mod source;
mod surrogate;
mod take;
mod time_axis;
pub(crate) mod windows;

use std::fmt;
use std::ops::Range;

use super::facts::Place;
use super::infer::TypeError;
use super::interpret::{Fault, Kernel, Site};
use super::op::{Op, Pointwise, Reduction};
use super::pointwise::TABLE;
use super::print::line::{Line, Parsed};
use super::syntax::call;
use super::{Builder, Dim, Fact, Graph, NodeId, Type};
use crate::front::syntax::ast::Expr;

/// What the compiler knows about an operation.
pub(crate) trait Operation {
    /// The spelling in the graph's text form.
    fn name(&self) -> &'static str;

    /// How the value of an element comes about.
    fn class(&self) -> Class;

    /// The attributes as the text form has them, each after a space.
    fn attributes(&self, _: &Graph, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }

    /// The operation on operands that are written already, as the language has it.
    fn written(&self, args: Vec<Expr>) -> Expr {
        call(self.name(), args)
    }

    /// The type of the result. Inputs and parameters have theirs from the graph's lists.
    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError>;

    /// What the interpreter does at a step: the f64 value and the derivative along a tangent.
    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault>;

    /// Whether a change of this operand changes the result by the chain rule, if both are f32.
    fn has_derivative(&self, _operand: usize) -> bool {
        true
    }

    /// Cotangents of the operands `x`, given that of the result `y`; `None` where the derivative is
    /// zero.
    fn vjp(&self, _: &mut Builder, x: &[NodeId], _y: NodeId, _dy: NodeId) -> Vec<Option<NodeId>> {
        vec![None; x.len()]
    }

    /// Groups of operands in which it is linear together, while the others have no derivative.
    fn linear_in(&self, _arity: usize) -> Vec<Vec<usize>> {
        vec![]
    }

    /// Of the same number everywhere it gives that number everywhere.
    fn keeps_literals(&self) -> bool {
        true
    }

    /// What follows of the result from what is proved of the operands. An integer that is too large
    /// is not looked at here.
    fn fact(&self, args: &[Fact], place: Place) -> Fact;

    /// What the graph says of it, where that is more.
    fn listed(&self, _: &Graph) -> Option<Fact> {
        None
    }

    /// For a delay: that in the other direction of time.
    fn opposite(&self) -> Option<Op> {
        None
    }

    /// How many numbers each element is made of, or how long the axis is that it looks up.
    fn count(&self, _: &Graph, _args: &[NodeId]) -> Option<Dim> {
        None
    }

    /// A sum, a product or what is like them: of finite numbers infinite only by overflow. Data, which
    /// is finite in programs that work.
    fn only_overflows(&self, _args: &[Fact]) -> bool {
        false
    }

    /// What it costs to compute one element from its operands: an addition is 1.
    fn cost(&self) -> u32 {
        0
    }

    /// How it reads the elements of its operands.
    fn reads(&self) -> Reads {
        match self.class() {
            Class::Given | Class::AtHand | Class::Pointwise | Class::View => Reads::Once,
            Class::Delay => Reads::AnotherStep,
            Class::Selection => Reads::Often,
            Class::Reduction(_) => Reads::Reduced,
        }
    }

    /// It reads each element of this operand many times, at places of its own choice.
    fn looks_up(&self, _operand: usize) -> bool {
        false
    }

    /// For a view of the operand's elements at one step: where they are.
    fn index_map(&self, _from: &[Dim]) -> Option<IndexMap> {
        None
    }

    /// What its result is called where nothing else names it.
    fn label(&self) -> &'static str {
        match self.class() {
            Class::Pointwise | Class::Delay | Class::Selection => self.name(),
            Class::Reduction(reduction) => reduction.name(),
            Class::Given | Class::AtHand | Class::View => "value",
        }
    }

    /// A framework that runs operation by operation computes and copies here.
    fn is_launched(&self) -> bool {
        matches!(self.class(), Class::Pointwise | Class::Selection | Class::Reduction(_))
    }
}

/// How the value of an element comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// In a buffer of the caller's or of the optimiser's.
    Given,
    /// Known without memory: a literal, a size, an index.
    AtHand,
    /// From the elements of the operands at the same place and step.
    Pointwise,
    /// It is an element of the first operand, at a place that follows from its own.
    View,
    /// It is an element of the first operand at another step, or of the second beyond the edge.
    Delay,
    /// It is an element of one of the operands or a number, as its place or an index decides.
    Selection,
    /// It puts several elements together.
    Reduction(Reduction),
}

/// How an operation reads the elements of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Each at most once.
    Once,
    /// Each as often as the result is longer.
    Longer,
    /// Each perhaps several times.
    Often,
    /// Each once, for another step.
    AnotherStep,
    /// Each once, in a loop of its own.
    Reduced,
}

/// Where the elements of a view are in its operand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IndexMap {
    /// For each axis of the operand the result's; none where it has one element.
    Stretched(Vec<Option<usize>>),
    /// For each axis of the operand the index, from the result's indices.
    Affine(Vec<Coordinate>),
    /// Axes of the operand and of the result that hold the same elements in the same order.
    Regrouped(Vec<(Range<usize>, Range<usize>)>),
    /// The same place at the first step.
    First,
    /// The same place at the last step.
    Last,
    /// The result's first index is the step.
    TimeFirst,
    /// The step is the operand's first index.
    FirstIsTime,
}

/// An index: the sum of some of the result's, by axis, each times a factor, and of a constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Coordinate {
    pub terms: Vec<(usize, Dim)>,
    pub constant: Dim,
}

impl Coordinate {
    /// The result's index of this axis.
    fn axis(axis: usize) -> Coordinate {
        Coordinate { terms: vec![(axis, Dim::one())], constant: Dim::zero() }
    }

    /// The indices of a result of so many axes as they are.
    fn axes(rank: usize) -> Vec<Coordinate> {
        (0..rank).map(Coordinate::axis).collect()
    }
}

impl Op {
    /// Hands the operation's descriptor on: the table of operations.
    #[rustfmt::skip]
    pub(crate) fn describe<R>(&self, ask: impl FnOnce(&dyn Operation) -> R) -> R {
        match self {
            Op::Input(index)         => ask(&source::Input(*index)),
            Op::Param(index)         => ask(&source::Param(*index)),
            Op::Const(number, elem)  => ask(&source::Const(*number, *elem)),
            Op::Size(dim)            => ask(&source::Size(dim)),
            Op::TimeIndex            => ask(&source::TimeIndex),
            Op::Iota { axis, dims }  => ask(&source::Iota { axis: *axis, dims }),
            Op::Array { elem, dims, data } => ask(&source::Array { elem: *elem, dims, data }),
            Op::Map(pointwise)       => ask(&pointwise::Map(*pointwise)),
            Op::Sg                   => ask(&surrogate::Sg),
            Op::Bypass               => ask(&surrogate::Bypass),
            Op::Broadcast(dims)      => ask(&broadcast::Broadcast(dims)),
            Op::Reshape(dims)        => ask(&reshape::Reshape(dims)),
            Op::Permute(order)       => ask(&permute::Permute(order)),
            Op::Slice { axis, start, end } => ask(&slice::Slice { axis: *axis, start, end }),
            Op::Pad { axis, before, after, value } =>
                ask(&pad::Pad { axis: *axis, before, after, value: *value }),
            Op::Concat { axis }      => ask(&concat::Concat(*axis)),
            Op::Flip { axis }        => ask(&flip::Flip(*axis)),
            Op::Windows(windows)     => ask(windows),
            Op::Shear { axis, by }   => ask(&windows::Shear { axis: *axis, by: *by }),
            Op::Gather { axis }      => ask(&gather::Gather(*axis)),
            Op::Take { axis }        => ask(&take::Take(*axis)),
            Op::MatMul               => ask(&matmul::MatMul),
            Op::Reduce(reduction, axes) => ask(&reduce::Reduce(*reduction, axes)),
            Op::TimeReduce(reduction) => ask(&reduce::TimeReduce(*reduction)),
            Op::Prev                 => ask(&delay::Delay::Prev),
            Op::Next                 => ask(&delay::Delay::Next),
            Op::First                => ask(&end::End::First),
            Op::Last                 => ask(&end::End::Last),
            Op::TimeStack(steps)     => ask(&time_axis::Stack(steps)),
            Op::TimeUnstack          => ask(&time_axis::Unstack),
        }
    }

    /// The spelling in the graph's text form.
    pub fn name(&self) -> &'static str {
        self.describe(|op| op.name())
    }

    /// The type of the result. `Input` and `Param` take theirs from the graph's lists and are refused here.
    pub(crate) fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        self.describe(|op| op.infer(args))
    }

    /// How the value of an element comes about.
    pub(crate) fn class(&self) -> Class {
        self.describe(|op| op.class())
    }

    /// It takes its first operand from another step: the edges that go back.
    pub(crate) fn is_delay(&self) -> bool {
        self.class() == Class::Delay
    }

    /// It has no operands.
    pub(crate) fn is_leaf(&self) -> bool {
        matches!(self.class(), Class::Given | Class::AtHand) || matches!(self, Op::Array { .. })
    }

    /// Its elements are the operand's in their order, some of them several times.
    pub(crate) fn is_shaping(&self) -> bool {
        matches!(self, Op::Broadcast(_) | Op::Reshape(_))
    }

    /// For a sum of its operands: whether each is subtracted.
    pub(crate) fn signs(&self) -> Option<&'static [bool]> {
        let Op::Map(op) = self else { return None };
        let sums: [(Pointwise, &[bool]); 3] = [
            (Pointwise::Add, &[false, false]),
            (Pointwise::Sub, &[false, true]),
            (Pointwise::Neg, &[true]),
        ];
        sums.iter().find(|(sum, _)| sum == op).map(|(_, signs)| *signs)
    }

    /// Groups of operands in which it is linear together, while the others have no derivative.
    pub(crate) fn linear_in(&self, arity: usize) -> Vec<Vec<usize>> {
        self.describe(|op| op.linear_in(arity))
    }
}

/// The operation of this name, with the attributes that follow in the text form.
#[rustfmt::skip]
pub(super) fn read(name: &str, line: &mut Line, graph: &Graph) -> Parsed<Op> {
    Ok(match name {
        source::INPUT        => source::read_input(line, graph)?,
        source::PARAM        => source::read_param(line, graph)?,
        source::CONST        => source::read_const(line)?,
        source::SIZE         => source::read_size(line)?,
        source::TIME_INDEX   => Op::TimeIndex,
        source::IOTA         => source::read_iota(line)?,
        source::ARRAY        => source::read_array(line)?,
        surrogate::SG        => Op::Sg,
        surrogate::BYPASS    => Op::Bypass,
        broadcast::NAME      => Op::Broadcast(line.list(Line::dim)?),
        reshape::NAME        => Op::Reshape(line.list(Line::dim)?),
        permute::NAME        => Op::Permute(line.list(Line::integer)?),
        slice::NAME          => slice::read(line)?,
        pad::NAME            => pad::read(line)?,
        concat::NAME         => Op::Concat { axis: line.axis()? },
        flip::NAME           => Op::Flip { axis: line.axis()? },
        windows::NAME        => windows::read(line)?,
        windows::SHEAR       => windows::read_shear(line)?,
        gather::NAME         => Op::Gather { axis: line.axis()? },
        take::NAME           => Op::Take { axis: line.axis()? },
        matmul::NAME         => Op::MatMul,
        reduce::NAME         => Op::Reduce(line.reduction()?, line.list(Line::integer)?),
        reduce::OVER_TIME    => Op::TimeReduce(line.reduction()?),
        delay::PREV          => Op::Prev,
        delay::NEXT          => Op::Next,
        end::FIRST           => Op::First,
        end::LAST            => Op::Last,
        time_axis::STACK     => time_axis::read(line)?,
        time_axis::UNSTACK   => Op::TimeUnstack,
        name => match TABLE.iter().find(|row| row.name == name) {
            Some(row) => Op::Map(row.op),
            None => return Err(format!("unknown operation `{name}`")),
        },
    })
}

/// All of them are the same at every step.
fn invariant(args: &[Fact]) -> bool {
    args.iter().all(|arg| arg.invariant)
}

/// A reduced value at each place of x that it was reduced from.
fn expand(b: &mut Builder, reduced: NodeId, x: NodeId, axes: &[usize]) -> NodeId {
    let (kept, dims) = (b.kept_dims(x, axes), b.ty(x).dims.clone());
    if let Some(number) = b.graph().as_number(reduced) {
        let number = b.number(number);
        return b.broadcast(number, &dims);
    }
    let kept = b.reshape(reduced, &kept);
    b.broadcast(kept, &dims)
}
