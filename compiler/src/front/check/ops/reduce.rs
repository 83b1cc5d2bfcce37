//! Reductions over axes, those of the graph and what is made with them.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, Elem, NodeId, Op, Pointwise, Reduction};

/// How elements are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Plain(Reduction),
    ArgMin,
    Mean,
    Var,
    LogSumExp,
}

impl How {
    /// The result is an index, over one axis.
    fn is_index(self) -> bool {
        matches!(self, How::Plain(Reduction::ArgMax) | How::ArgMin)
    }
}

#[derive(Debug)]
struct Reduce {
    how: How,
    /// As written; all of them if nothing is.
    axes: Option<Vec<i64>>,
    keepdims: bool,
}

pub fn read(call: &mut Arguments<'_, '_, '_>, how: How) -> Option<Value> {
    let axes = if call.is_given(1) { Some(call.integers(1)?) } else { None };
    let keepdims = call.is_given(2) && call.flag(2)?;
    call.apply(Reduce { how, axes, keepdims }, 1)
}

impl Operation for Reduce {
    fn name(&self) -> &'static str {
        match self.how {
            How::Plain(reduction) => reduction.name(),
            How::ArgMin => "argmin",
            How::Mean => "mean",
            How::Var => "var",
            How::LogSumExp => "logsumexp",
        }
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some(dims) = rules.dims(rules.args()[0]) else { return Ok(None) };
        let axes = self.axes(rules, dims.len())?;
        let kept = dims.iter().enumerate().filter_map(|(axis, dim)| match axes.contains(&axis) {
            false => Some(dim.clone()),
            true if self.keepdims => Some(Some(Dim::one())),
            true => None,
        });
        Ok(Some(kept.collect()))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        if matches!(self.how, How::Plain(_)) && !self.how.is_index() {
            return dtypes.numbers(dtypes.args());
        }
        dtypes.require(dtypes.args()[0], Elem::F32)?;
        dtypes.result(if self.how.is_index() { Elem::I32 } else { Elem::F32 })
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axes = self.axes(&e.rules(), e.builder.ty(args[0]).dims.len())?;
        let reduced = self.reduced(e, args[0], &axes)?;
        Ok(e.builder.reshape(reduced, &e.ty().dims))
    }
}

impl Reduce {
    /// The axes, ascending.
    fn axes(&self, rules: &Rules<'_>, rank: usize) -> Result<Vec<usize>, Problem> {
        let last = [-1];
        let Some(axes) = self.axes.as_deref().or(self.how.is_index().then_some(&last[..])) else {
            return Ok((0..rank).collect());
        };
        let mut found =
            axes.iter().map(|axis| rules.axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?;
        found.sort_unstable();
        if found.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Box::new(
                Diagnostic::error("E043", "an axis is named twice")
                    .label(rules.span(), format!("{axes:?}")),
            ));
        }
        if self.how.is_index() && found.len() != 1 {
            return Err(Box::new(
                Diagnostic::error("E043", format!("`{}` takes one axis", self.name()))
                    .label(rules.span(), format!("{} axes", found.len())),
            ));
        }
        Ok(found)
    }

    /// Without `keepdims`.
    fn reduced(
        &self,
        e: &mut Emitter<'_, '_>,
        x: NodeId,
        axes: &[usize],
    ) -> Result<NodeId, Problem> {
        if axes.is_empty() && self.how != How::Var {
            return Ok(x);
        }
        match self.how {
            How::Plain(reduction) => e.push(Op::Reduce(reduction, axes.to_vec()), vec![x]),
            How::ArgMin => {
                let x = e.builder.neg(x);
                e.push(Op::Reduce(Reduction::ArgMax, axes.to_vec()), vec![x])
            }
            How::Mean => Ok(mean(e, x, axes)),
            How::Var => {
                let mean_of_x = mean(e, x, axes);
                let mean_of_x = spread(e, mean_of_x, x, axes);
                let difference = e.builder.sub(x, mean_of_x);
                let square = e.builder.mul(difference, difference);
                Ok(mean(e, square, axes))
            }
            How::LogSumExp => logsumexp(e, x, axes),
        }
    }
}

fn mean(e: &mut Emitter<'_, '_>, x: NodeId, axes: &[usize]) -> NodeId {
    let dims = &e.builder.ty(x).dims;
    let count = Dim::product(axes.iter().filter_map(|axis| dims.get(*axis)));
    let sum = e.builder.reduce(Reduction::Sum, x, axes);
    let count = e.builder.size(count, Elem::F32);
    e.builder.div(sum, count)
}

/// What was reduced, with the dimensions that it had before.
fn spread(e: &mut Emitter<'_, '_>, reduced: NodeId, like: NodeId, axes: &[usize]) -> NodeId {
    let kept = e.builder.kept_dims(like, axes);
    let dims = e.builder.ty(like).dims.clone();
    let reduced = e.builder.reshape(reduced, &kept);
    e.builder.broadcast(reduced, &dims)
}

/// `m + log(sum(exp(x - m)))`, where m is the maximum without a derivative; 0 where that is infinite,
/// so that a row of -inf gives -inf.
fn logsumexp(e: &mut Emitter<'_, '_>, x: NodeId, axes: &[usize]) -> Result<NodeId, Problem> {
    let maximum = e.builder.reduce(Reduction::Max, x, axes);
    let maximum = e.push(Op::Sg, vec![maximum])?;
    let size = e.builder.unary(Pointwise::Abs, maximum);
    let largest = e.builder.number(f64::from(f32::MAX));
    let zero = e.builder.number(0.0);
    let shift = e.builder.choose(Pointwise::Le, size, largest, maximum, zero);
    let spread = spread(e, shift, x, axes);
    let difference = e.builder.sub(x, spread);
    let exp = e.builder.unary(Pointwise::Exp, difference);
    let sum = e.builder.reduce(Reduction::Sum, exp, axes);
    let log = e.builder.unary(Pointwise::Log, sum);
    Ok(e.builder.add(shift, log))
}
