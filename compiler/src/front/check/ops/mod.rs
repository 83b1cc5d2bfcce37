//! The operations of the language: a row for each in [`TABLE`], and a file for each or its family.
//!
//! A row has the arguments of the calls and reads them: it puts terms into the program, each an
//! [`Operation`](super::Operation) with attributes as they are written. Axes are, negative ones from the end.
//!
//! To add an operation, write its file and its row. Pointwise ones come from the graph's own table.

mod axes;
mod delay;
mod dims;
mod iota;
mod join;
mod lookup;
mod matmul;
mod pairs;
mod pointwise;
mod random;
mod reduce;
mod repeat;
mod slice;
mod sliding;
mod surrogate;
mod time;
mod time_axis;
mod training;

use super::elaborate::{Arguments, Call, Formal, Value};
use super::{initialisers, report};
use crate::ir::graph::Reduction::{ArgMax, Max, Min, Prod, Sum};
pub use matmul::MatMul;
pub use pointwise::Map;
use random::Distribution;
use reduce::How;
use sliding::Sliding;
use time::OverTime;
pub use training::PROGRESS;

/// The calls of an operation.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    /// The optional arguments are given by name only.
    is_named: bool,
    /// It takes any number of tensors by their places.
    pub is_variadic: bool,
    /// Its first argument, from the steps before, may mention bindings that come later.
    pub is_past: bool,
    pub read: Read,
}

/// The value of a call whose arguments are in order; `None` after a report.
pub type Read = fn(&mut Arguments<'_, '_, '_>) -> Option<Value>;

#[rustfmt::skip]
static TABLE: &[Row] = &[
    row("sg",           &["x"],      &[],                       |call| call.apply(surrogate::Sg, 1)),
    row("prev",         &["x"],      &["init"],                 delay::prev).past().by_name(),
    row("delay",        &["x", "n"], &[],                       delay::delay).past(),
    row("first",        &["x"],      &[],                       |call| call.apply(OverTime::First, 1)),
    row("last",         &["x"],      &[],                       |call| call.apply(OverTime::Last, 1)),
    row("time_sum",     &["x"],      &[],                       |call| call.apply(OverTime::Sum, 1)),
    row("time_mean",    &["x"],      &[],                       |call| call.apply(OverTime::Mean, 1)),
    row("time_max",     &["x"],      &[],                       |call| call.apply(OverTime::Max, 1)),
    row("uniform",      &["like"],   &[],                       |call| random::read(call, Distribution::Uniform)),
    row("normal",       &["like"],   &[],                       |call| random::read(call, Distribution::Normal)),
    row("bernoulli",    &["p"],      &[],                       |call| random::read(call, Distribution::Bernoulli)),
    row("time_stack",   &["x"],      &[],                       |call| call.apply(time_axis::Stack, 1)),
    row("time_unstack", &["a"],      &[],                       |call| call.apply(time_axis::Unstack, 1)),
    row("time_reverse", &["x"],      &[],                       |call| call.apply(time_axis::Reverse, 1)),
    row("time_index",   &[],         &[],                       |call| call.apply(time::Index, 0)),
    row("training",     &[],         &[],                       training::training),
    row("progress",     &[],         &[],                       training::progress),
    row("time_steps",   &[],         &[],                       |call| call.apply(time::Count, 0)),
    row("sum",          &["x"],      REDUCE,                    |call| reduce::read(call, How::Plain(Sum))).by_name(),
    row("mean",         &["x"],      REDUCE,                    |call| reduce::read(call, How::Mean)).by_name(),
    row("max",          &["x"],      REDUCE,                    |call| reduce::read(call, How::Plain(Max))).by_name(),
    row("min",          &["x"],      REDUCE,                    |call| reduce::read(call, How::Plain(Min))).by_name(),
    row("prod",         &["x"],      REDUCE,                    |call| reduce::read(call, How::Plain(Prod))).by_name(),
    row("var",          &["x"],      REDUCE,                    |call| reduce::read(call, How::Var)).by_name(),
    row("argmax",       &["x"],      REDUCE,                    |call| reduce::read(call, How::Plain(ArgMax))).by_name(),
    row("argmin",       &["x"],      REDUCE,                    |call| reduce::read(call, How::ArgMin)).by_name(),
    row("logsumexp",    &["x"],      REDUCE,                    |call| reduce::read(call, How::LogSumExp)).by_name(),
    row("transpose",    &["x"],      &[],                       |call| call.apply(axes::Transpose, 1)),
    row("reshape",      &["x", "shape"], &[],                   dims::reshape),
    row("permute",      &["x", "order"], &[],                   axes::permute),
    row("broadcast",    &["x", "shape"], &[],                   dims::broadcast),
    row("concat",       &[],         &["axis"],                 join::concat).variadic(),
    row("stack",        &[],         &["axis"],                 join::stack).variadic(),
    row("slice",        &["x"],      &["axis", "start", "end"], slice::slice),
    row("pad",          &["x", "widths"], &["value"],           slice::pad),
    row("flip",         &["x", "axis"], &[],                    axes::flip),
    row("gather",       &["x", "i"], &["axis"],                 lookup::gather),
    row("take",         &["x", "i", "axis"], &[],               lookup::take),
    row("scatter_add",  &["x", "i", "n"], &["axis"],            lookup::scatter_add),
    row("one_hot",      &["i", "n"], &[],                       |call| call.apply(lookup::OneHot, 2)),
    row("windows",      &["x", "size"], SLIDE,                  |call| sliding::read(call, Sliding::Windows, None)),
    row("conv1d",       &["x", "w"], CONV,                      |call| sliding::read(call, Sliding::Conv, Some(1))),
    row("conv2d",       &["x", "w"], CONV,                      |call| sliding::read(call, Sliding::Conv, Some(2))),
    row("conv3d",       &["x", "w"], CONV,                      |call| sliding::read(call, Sliding::Conv, Some(3))),
    row("conv1d_transpose", &["x", "w"], CONV,                  |call| sliding::read(call, Sliding::Transposed, Some(1))),
    row("conv2d_transpose", &["x", "w"], CONV,                  |call| sliding::read(call, Sliding::Transposed, Some(2))),
    row("conv3d_transpose", &["x", "w"], CONV,                  |call| sliding::read(call, Sliding::Transposed, Some(3))),
    row("avg_pool1d",   &["x", "k"], POOL,                      |call| sliding::read(call, Sliding::Average, Some(1))),
    row("avg_pool2d",   &["x", "k"], POOL,                      |call| sliding::read(call, Sliding::Average, Some(2))),
    row("max_pool1d",   &["x", "k"], POOL,                      |call| sliding::read(call, Sliding::Maximum, Some(1))),
    row("max_pool2d",   &["x", "k"], POOL,                      |call| sliding::read(call, Sliding::Maximum, Some(2))),
    row("adaptive_avg_pool2d", &["x", "size"], &[],             |call| sliding::read(call, Sliding::Adaptive, Some(2))),
    row("upsample2d",   &["x", "k"], &[],                       |call| sliding::read(call, Sliding::Upsample, Some(2))),
    row("iota",         &["n"],      &[],                       |call| call.apply(iota::Iota, 1)),
    row("tril",         &["x"],      &["k"],                    |call| pairs::triangle(call, false)),
    row("triu",         &["x"],      &["k"],                    |call| pairs::triangle(call, true)),
    row("cumsum",       &["x", "axis"], &[],                    pairs::cumsum),
    row("argsort",      &["x"],      &["axis"],                 pairs::argsort),
    row("topk",         &["x", "k"], &["axis"],                 pairs::topk),
    row("repeat",       &["n", "f", "x"], &[],                  repeat::read),
];

/// What reductions, windows, convolutions and pools may be told.
const REDUCE: &[&str] = &["axis", "keepdims"];
const SLIDE: &[&str] = &["stride", "pad", "dilation"];
const CONV: &[&str] = &["stride", "pad", "dilation", "groups"];
const POOL: &[&str] = &["stride", "pad"];

const fn row(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    read: Read,
) -> Row {
    let (is_named, is_variadic, is_past) = (false, false, false);
    Row { name, required, optional, is_named, is_variadic, is_past, read }
}

impl Row {
    const fn by_name(self) -> Row {
        Row { is_named: true, ..self }
    }

    const fn variadic(self) -> Row {
        Row { is_variadic: true, ..self }
    }

    const fn past(self) -> Row {
        Row { is_past: true, ..self }
    }

    pub fn formals(&self) -> impl Iterator<Item = Formal<'static>> {
        let is_named = self.is_named;
        let formal = |is_optional| {
            move |name: &&'static str| Formal {
                name,
                is_optional,
                is_named: is_named && is_optional,
            }
        };
        self.required.iter().map(formal(false)).chain(self.optional.iter().map(formal(true)))
    }
}

/// The operation that a call by this name is of.
pub fn find(name: &str, call: &Call<'_>) -> Option<Row> {
    match pointwise::function(name) {
        Some(op) if !pointwise::is_reduction(op, call) => {
            Some(row(op.row().name, pointwise::formals(op), &[], pointwise::read))
        }
        _ => TABLE.iter().find(|row| row.name == name).copied(),
    }
}

/// Whether it stands for the value of steps before.
pub fn is_past(name: &str) -> bool {
    TABLE.iter().any(|row| row.is_past && row.name == name)
}

/// Whether an operation has this name, or an initialiser, which stands in for no operation.
pub fn exists(name: &str) -> bool {
    names().any(|known| known == name) || initialisers::exists(name)
}

/// The operation that a misspelt name most likely means.
pub fn closest(name: &str) -> Option<&'static str> {
    report::closest(name, names())
}

fn names() -> impl Iterator<Item = &'static str> {
    pointwise::names().chain(TABLE.iter().map(|row| row.name))
}
