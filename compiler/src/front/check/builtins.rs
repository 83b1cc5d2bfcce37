//! The operations of the language: [`OPERATIONS`] has the arguments of each, `builtin` the terms.
//! Pointwise operations come from the graph's own table.

use std::rc::Rc;

use super::calls::{Call, Formal};
use super::elaborate::{Elaborator, Scope, Value};
use super::report;
use super::term::{Draw, Kind, OverTime, Reduce, Sliding, Static, TermId, Terms};
use super::windows::Attribute;
use crate::diagnostic::Diagnostic;
use crate::front::syntax::ast::{Expr, ExprKind};
use crate::ir::graph::op::{Signature, TABLE};
use crate::ir::graph::{Init, Pointwise, Reduction};
use crate::source::Span;

/// The longest `delay`.
const MAX_DELAY: i64 = 4096;
/// The longest list of a shape, of axes or of paddings.
const MAX_LIST: usize = super::shape::MAX_RANK;

/// An operation that is not pointwise.
struct Operation {
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    /// The optional arguments are given by name only.
    is_named: bool,
    meaning: Meaning,
}

#[derive(Clone)]
enum Meaning {
    Sg,
    Prev,
    Delay,
    OverTime(OverTime),
    Random(Draw),
    TimeAxis(Kind),
    TimeIndex,
    TimeSteps,
    Training,
    Progress,
    Reduce(Reduce),
    Transpose,
    Reshape,
    Permute,
    Broadcast,
    Slice,
    Pad,
    Flip,
    Gather,
    Take,
    ScatterAdd,
    OneHot,
    /// With the number of axes, where the name says it.
    Sliding(Sliding, Option<usize>),
    Iota,
    Triangle {
        is_upper: bool,
    },
    Cumsum,
    ArgSort,
    TopK,
}

impl Meaning {
    /// Whether the second argument is a tensor too.
    fn takes_two(&self) -> bool {
        match self {
            Meaning::Sliding(op, _) => op.tensors() == 2,
            _ => matches!(
                self,
                Meaning::Prev
                    | Meaning::Gather
                    | Meaning::Take
                    | Meaning::ScatterAdd
                    | Meaning::OneHot
                    | Meaning::TopK
            ),
        }
    }
}

/// One row for each operation with a fixed number of operands; those of [`VARIADIC`] take any number.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = {
    use Meaning::*;
    use Reduction::{ArgMax, Max, Min, Prod, Sum};
    &[
        row("sg",         &["x"],          &[],                       false, Sg),
        row("prev",       &["x"],          &["init"],                 true,  Prev),
        row("delay",      &["x", "n"],     &[],                       false, Delay),
        row("first",      &["x"],          &[],                       false, OverTime(self::OverTime::First)),
        row("last",       &["x"],          &[],                       false, OverTime(self::OverTime::Last)),
        row("time_sum",   &["x"],          &[],                       false, OverTime(self::OverTime::Sum)),
        row("time_mean",  &["x"],          &[],                       false, OverTime(self::OverTime::Mean)),
        row("time_max",   &["x"],          &[],                       false, OverTime(self::OverTime::Max)),
        row("uniform",    &["like"],       &[],                       false, Random(Draw::Uniform)),
        row("normal",     &["like"],       &[],                       false, Random(Draw::Normal)),
        row("bernoulli",  &["p"],          &[],                       false, Random(Draw::Bernoulli)),
        row("time_stack",   &["x"],        &[],                       false, TimeAxis(Kind::TimeStack)),
        row("time_unstack", &["a"],        &[],                       false, TimeAxis(Kind::TimeUnstack)),
        row("time_reverse", &["x"],        &[],                       false, TimeAxis(Kind::TimeReverse)),
        row("time_index", &[],             &[],                       false, TimeIndex),
        row("training",   &[],             &[],                       false, Training),
        row("progress",   &[],             &[],                       false, Progress),
        row("time_steps", &[],             &[],                       false, TimeSteps),
        row("sum",        &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Plain(Sum))),
        row("mean",       &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Mean)),
        row("max",        &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Plain(Max))),
        row("min",        &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Plain(Min))),
        row("prod",       &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Plain(Prod))),
        row("var",        &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Var)),
        row("argmax",     &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::Plain(ArgMax))),
        row("argmin",     &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::ArgMin)),
        row("logsumexp",  &["x"],          &["axis", "keepdims"],     true,  Reduce(self::Reduce::LogSumExp)),
        row("transpose",  &["x"],          &[],                       false, Transpose),
        row("reshape",    &["x", "shape"], &[],                       false, Reshape),
        row("permute",    &["x", "order"], &[],                       false, Permute),
        row("broadcast",  &["x", "shape"], &[],                       false, Broadcast),
        row("slice",      &["x"],          &["axis", "start", "end"], false, Slice),
        row("pad",        &["x", "widths"], &["value"],               false, Pad),
        row("flip",       &["x", "axis"],  &[],                       false, Flip),
        row("gather",     &["x", "i"],     &["axis"],                 false, Gather),
        row("take",       &["x", "i", "axis"], &[],                   false, Take),
        row("scatter_add", &["x", "i", "n"], &["axis"],               false, ScatterAdd),
        row("one_hot",    &["i", "n"],     &[],                       false, OneHot),
        row("windows",    &["x", "size"],  SLIDE,                     false, Sliding(self::Sliding::Windows, None)),
        row("conv1d",     &["x", "w"],     CONV,                      false, Sliding(self::Sliding::Conv, Some(1))),
        row("conv2d",     &["x", "w"],     CONV,                      false, Sliding(self::Sliding::Conv, Some(2))),
        row("conv3d",     &["x", "w"],     CONV,                      false, Sliding(self::Sliding::Conv, Some(3))),
        row("conv1d_transpose", &["x", "w"], CONV,                    false, Sliding(self::Sliding::Transposed, Some(1))),
        row("conv2d_transpose", &["x", "w"], CONV,                    false, Sliding(self::Sliding::Transposed, Some(2))),
        row("conv3d_transpose", &["x", "w"], CONV,                    false, Sliding(self::Sliding::Transposed, Some(3))),
        row("avg_pool1d", &["x", "k"],     POOL,                      false, Sliding(self::Sliding::Average, Some(1))),
        row("avg_pool2d", &["x", "k"],     POOL,                      false, Sliding(self::Sliding::Average, Some(2))),
        row("max_pool1d", &["x", "k"],     POOL,                      false, Sliding(self::Sliding::Maximum, Some(1))),
        row("max_pool2d", &["x", "k"],     POOL,                      false, Sliding(self::Sliding::Maximum, Some(2))),
        row("adaptive_avg_pool2d", &["x", "size"], &[],              false, Sliding(self::Sliding::Adaptive, Some(2))),
        row("upsample2d", &["x", "k"],     &[],                       false, Sliding(self::Sliding::Upsample, Some(2))),
        row("iota",       &["n"],          &[],                       false, Iota),
        row("tril",       &["x"],          &["k"],                    false, Triangle { is_upper: false }),
        row("triu",       &["x"],          &["k"],                    false, Triangle { is_upper: true }),
        row("cumsum",     &["x", "axis"],  &[],                       false, Cumsum),
        row("argsort",    &["x"],          &["axis"],                 false, ArgSort),
        row("topk",       &["x", "k"],     &["axis"],                 false, TopK),
    ]
};

/// What windows, convolutions and pools may be told.
const SLIDE: &[&str] = &["stride", "pad", "dilation"];
const CONV: &[&str] = &["stride", "pad", "dilation", "groups"];
const POOL: &[&str] = &["stride", "pad"];

const fn row(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
    is_named: bool,
    meaning: Meaning,
) -> Operation {
    Operation { name, required, optional, is_named, meaning }
}

/// The operations on any number of operands, and the axis that is meant where none is given.
const VARIADIC: [(&str, i64); 2] = [("concat", -1), ("stack", 0)];
/// Operations that take any number of operands, or a layer.
const OTHERS: [&str; 3] = ["concat", "stack", "repeat"];

/// Initialisers with their arguments; the gain of `orthogonal` is 1 if left out.
const INITIALISERS: &[(&str, &[&str])] = &[
    ("zeros", &[]),
    ("ones", &[]),
    ("constant", &["v"]),
    ("uniform", &["a", "b"]),
    ("normal", &["mu", "sigma"]),
    ("xavier_uniform", &[]),
    ("xavier_normal", &[]),
    ("kaiming_uniform", &[]),
    ("kaiming_normal", &[]),
    ("orthogonal", &["gain"]),
];

/// The pointwise operations that are written as functions: neither operators nor parts of random numbers.
fn pointwise(name: &str) -> Option<Pointwise> {
    use Pointwise::*;
    let row = TABLE.iter().find(|row| row.name == name)?;
    let is_other = matches!(row.signature, Signature::Compare | Signature::Logic | Signature::Bits)
        || matches!(row.op, Neg | Add | Sub | Mul | Div | Rem | Pow | Select | Philox);
    (!is_other).then_some(row.op)
}

fn formals(op: Pointwise) -> &'static [&'static str] {
    match op {
        Pointwise::Clamp => &["x", "lo", "hi"],
        Pointwise::Atan2 => &["y", "x"],
        Pointwise::Min | Pointwise::Max => &["a", "b"],
        _ => &["x"],
    }
}

/// Whether an operation has this name, or an initialiser, which stands in for no operation.
pub fn exists(name: &str) -> bool {
    pointwise(name).is_some()
        || OTHERS.contains(&name)
        || OPERATIONS.iter().any(|operation| operation.name == name)
        || INITIALISERS.iter().any(|(initialiser, _)| *initialiser == name)
}

/// The operation that a misspelt name most likely means.
pub fn closest(name: &str) -> Option<&'static str> {
    let pointwise = TABLE.iter().map(|row| row.name).filter(|name| pointwise(name).is_some());
    let others = OPERATIONS.iter().map(|operation| operation.name);
    report::closest(name, pointwise.chain(others).chain(OTHERS.iter().copied()))
}

impl Elaborator<'_, '_> {
    /// The value of an operation; `held` is the name of the binding that holds it.
    pub(super) fn builtin(
        &mut self,
        scope: &mut Scope,
        name: &str,
        call: &Call<'_>,
        held: Option<&str>,
    ) -> Value {
        let positional = call.arguments.iter().filter(|argument| argument.name.is_none()).count();
        let is_pointwise = match pointwise(name) {
            // `max(a, b)` is pointwise, `max(x, axis = 0)` reduces.
            Some(Pointwise::Min | Pointwise::Max) => {
                positional > 1
                    || call.arguments.iter().any(|argument| {
                        argument
                            .name
                            .as_ref()
                            .is_some_and(|name| matches!(name.text.as_str(), "a" | "b"))
                    })
            }
            found => found.is_some(),
        };
        if let (true, Some(op)) = (is_pointwise, pointwise(name)) {
            return self.pointwise(scope, name, op, call);
        }
        if let Some((name, axis)) = VARIADIC.iter().find(|(variadic, _)| *variadic == name) {
            return self.variadic(scope, name, *axis, call);
        }
        if name == "repeat" {
            return self.repeat(scope, call, held);
        }
        match OPERATIONS.iter().find(|operation| operation.name == name) {
            Some(operation) => self.operation(scope, operation, call),
            None => self.no_operation(scope, name, call),
        }
    }

    fn no_operation(&mut self, scope: &mut Scope, name: &str, call: &Call<'_>) -> Value {
        for argument in call.arguments {
            self.expr(scope, &argument.value);
        }
        let problem = Diagnostic::error("E035", format!("`{name}` is an initialiser"))
            .label(call.span, "not allowed here")
            .hint("initialisers stand only after a `param`");
        self.fail(problem)
    }

    fn pointwise(
        &mut self,
        scope: &mut Scope,
        name: &str,
        op: Pointwise,
        call: &Call<'_>,
    ) -> Value {
        let formals: Vec<_> = formals(op).iter().map(|name| required(name)).collect();
        let values = self.values(scope, call, None);
        let Some(order) = self.arrange(name, None, &formals, call) else { return Value::ERROR };
        let args = order.iter().map(|place| self.operand(&values, *place, call)).collect();
        let places = order.iter().flatten().map(|place| argument_span(call, *place)).collect();
        Value::Term(self.push_at(scope, Kind::Map(op), args, places, call.span))
    }

    fn variadic(
        &mut self,
        scope: &mut Scope,
        operation: &str,
        mut axis: i64,
        call: &Call<'_>,
    ) -> Value {
        let values = self.values(scope, call, None);
        let (mut args, mut places) = (Vec::new(), Vec::new());
        for (place, argument) in call.arguments.iter().enumerate() {
            match &argument.name {
                None => {
                    args.push(self.operand(&values, Some(place), call));
                    places.push(argument.value.span);
                }
                Some(name) if name.text == "axis" => {
                    let Some(value) = self.integer(&values, place, call) else {
                        return Value::ERROR;
                    };
                    axis = value;
                }
                Some(name) => {
                    let problem = Diagnostic::error(
                        "E030",
                        format!("`{operation}` has no argument `{}`", name.text),
                    )
                    .label(name.span, "not found")
                    .note(format!("`{operation}` takes tensors and `axis`"));
                    return self.fail(problem);
                }
            }
        }
        if args.is_empty() {
            let problem =
                Diagnostic::error("E031", format!("`{operation}` needs at least one tensor"))
                    .label(call.span, "none given");
            return self.fail(problem);
        }
        let kind = if operation == "concat" { Kind::Concat(axis) } else { Kind::Stack(axis) };
        Value::Term(self.push_at(scope, kind, args, places, call.span))
    }

    fn operation(&mut self, scope: &mut Scope, operation: &Operation, call: &Call<'_>) -> Value {
        let name = operation.name;
        let is_delay = matches!(operation.meaning, Meaning::Prev | Meaning::Delay);
        if is_delay && !scope.has_memory() {
            self.report(report::impure(call.span, &format!("`{name}`")));
        }
        let values = self.values(scope, call, is_delay.then_some("x"));
        let formals: Vec<_> = operation
            .required
            .iter()
            .map(|name| required(name))
            .chain(operation.optional.iter().map(|name| Formal {
                name,
                is_optional: true,
                is_named: operation.is_named,
            }))
            .collect();
        let Some(order) = self.arrange(name, None, &formals, call) else { return Value::ERROR };
        let given = Given { values: &values, order: &order, call };
        let term = self.meaning(scope, operation, &given);
        if let Some(term) = term {
            let tensors = if operation.meaning.takes_two() { 2 } else { 1 };
            let places = order.iter().take(tensors).flatten();
            let places = places.map(|place| argument_span(call, *place)).collect();
            self.program.terms.get_mut(term).places = places;
        }
        match (&operation.meaning, term) {
            (_, None) => Value::ERROR,
            (Meaning::TopK, Some(places)) => self.with_places(scope, places, call.span),
            (_, Some(term)) => Value::Term(term),
        }
    }

    /// The elements at the places that were found, and the places.
    fn with_places(&mut self, scope: &Scope, places: TermId, span: Span) -> Value {
        let term = &self.program.terms[places];
        let (Kind::TopK(axis), [x, ..]) = (&term.kind, &term.args[..]) else { return Value::ERROR };
        let (kind, args) = (Kind::Take(*axis), vec![*x, places]);
        let values = self.push(scope, kind, args, span);
        self.tuple(vec![Value::Term(values), Value::Term(places)], span)
    }

    /// The term of an operation; `None` after a report.
    fn meaning(
        &mut self,
        scope: &mut Scope,
        operation: &Operation,
        given: &Given<'_>,
    ) -> Option<TermId> {
        let span = given.call.span;
        let x = |this: &mut Self| this.operand(given.values, given.order[0], given.call);
        let kind = match operation.meaning {
            Meaning::TimeIndex => return Some(self.push(scope, Kind::TimeIndex, vec![], span)),
            Meaning::TimeSteps => return Some(self.push(scope, Kind::TimeSteps, vec![], span)),
            Meaning::Training => return Some(self.training(scope, span)),
            Meaning::Progress => return Some(self.progress(scope, span)),
            Meaning::Sg => Kind::Sg,
            Meaning::OverTime(over) => Kind::OverTime(over),
            Meaning::Random(draw) => {
                self.draws += 1;
                Kind::Random(draw, self.draws)
            }
            Meaning::TimeAxis(ref kind) => kind.clone(),
            Meaning::Transpose => Kind::Transpose,
            Meaning::Prev => {
                let mut args = vec![x(self)];
                if given.order[1].is_some() {
                    args.push(self.operand(given.values, given.order[1], given.call));
                }
                return Some(self.push(scope, Kind::Prev, args, span));
            }
            Meaning::Delay => {
                let steps = self.integer(given.values, given.order[1]?, given.call)?;
                if !(1..=MAX_DELAY).contains(&steps) {
                    let at = given.span(1);
                    self.report(
                        Diagnostic::error(
                            "E044",
                            "a delay by a number of steps that is not possible",
                        )
                        .label(at, format!("this is {steps}"))
                        .expected(format!("1 to {MAX_DELAY} steps"))
                        .found(steps.to_string()),
                    );
                    return None;
                }
                let x = x(self);
                return Some(
                    (0..steps).fold(x, |x, _| self.push(scope, Kind::Prev, vec![x], span)),
                );
            }
            Meaning::Reduce(op) => {
                let axes = match given.order[1] {
                    Some(place) => Some(self.axes(given.values, place, given.call)?),
                    None => None,
                };
                let keepdims = match given.order[2] {
                    Some(place) => self.flag(given.values, place, given.call)?,
                    None => false,
                };
                Kind::Reduce { op, axes, keepdims }
            }
            Meaning::Permute => {
                Kind::Permute(self.axes(given.values, given.order[1]?, given.call)?)
            }
            Meaning::Flip => Kind::Flip(self.integer(given.values, given.order[1]?, given.call)?),
            Meaning::Reshape | Meaning::Broadcast => {
                let mut args = vec![x(self)];
                args.extend(self.shape(given.values, given.order[1]?, given.call)?);
                let kind = match operation.meaning {
                    Meaning::Reshape => Kind::Reshape,
                    _ => Kind::Broadcast,
                };
                return Some(self.push(scope, kind, args, span));
            }
            Meaning::Slice => {
                let axis = self.optional(given, 1, -1)?;
                let mut args = vec![x(self)];
                for place in [given.order[2], given.order[3]].into_iter().flatten() {
                    args.push(self.operand(given.values, Some(place), given.call));
                }
                let (start, end) = (given.order[2].is_some(), given.order[3].is_some());
                return Some(self.push(scope, Kind::Slice { axis, start, end }, args, span));
            }
            Meaning::Pad => {
                let value = match given.order[2] {
                    Some(place) => self.number(given.values, place, given.call)?,
                    None => 0.0,
                };
                let mut args = vec![x(self)];
                args.extend(self.widths(given.values, given.order[1]?, given.call)?);
                return Some(self.push(scope, Kind::Pad(value), args, span));
            }
            Meaning::Gather => Kind::Gather(self.optional(given, 2, 0)?),
            Meaning::Take => Kind::Take(self.integer(given.values, given.order[2]?, given.call)?),
            Meaning::ScatterAdd => Kind::ScatterAdd(self.optional(given, 3, 0)?),
            Meaning::OneHot => Kind::OneHot,
            Meaning::Iota => Kind::Iota,
            Meaning::Triangle { is_upper } => {
                Kind::Triangle { k: self.optional(given, 1, 0)?, is_upper }
            }
            Meaning::Cumsum => {
                Kind::Cumsum(self.integer(given.values, given.order[1]?, given.call)?)
            }
            Meaning::Sliding(op, axes) => {
                return self.sliding(scope, operation.name, (op, axes), given);
            }
            Meaning::ArgSort => Kind::ArgSort(self.optional(given, 1, -1)?),
            Meaning::TopK => Kind::TopK(self.optional(given, 2, -1)?),
        };
        let mut args = vec![x(self)];
        if operation.meaning.takes_two() {
            args.push(self.operand(given.values, given.order[1], given.call));
        }
        if matches!(operation.meaning, Meaning::ScatterAdd) {
            args.push(self.operand(given.values, given.order[2], given.call));
        }
        Some(self.push(scope, kind, args, span))
    }

    /// A whole number that may be left out.
    fn optional(&mut self, given: &Given<'_>, formal: usize, default: i64) -> Option<i64> {
        match given.order[formal] {
            Some(place) => self.integer(given.values, place, given.call),
            None => Some(default),
        }
    }

    /// Windows and what is made with them: numbers count for all axes, lists have one for each.
    fn sliding(
        &mut self,
        scope: &mut Scope,
        name: &'static str,
        (op, axes): (Sliding, Option<usize>),
        given: &Given<'_>,
    ) -> Option<TermId> {
        let span = given.call.span;
        let (tensors, numbers) = given.order.split_at(op.tensors());
        let mut args: Vec<TermId> =
            tensors.iter().map(|place| self.operand(given.values, *place, given.call)).collect();
        let (mut axes, mut same, mut before) = (axes, false, Vec::new());
        for (at, (attribute, place)) in op.attributes().iter().zip(numbers).enumerate() {
            let value = place.and_then(|place| given.values.get(place));
            let mut list = match value {
                Some(Value::Same) if *attribute == Attribute::Pad => {
                    same = true;
                    vec![self.whole_literal(scope, 0, span)]
                }
                Some(value) => self.list(value, given.span(op.tensors() + at))?,
                // The windows of a pool stand side by side.
                None if op.is_pool() && *attribute == Attribute::Stride => before.clone(),
                None => vec![self.whole_literal(scope, attribute.least(), span)],
            };
            let expected = match attribute {
                Attribute::Groups => 1,
                _ => *axes.get_or_insert(list.len()),
            };
            if list.len() == 1 {
                list = vec![list[0]; expected];
            }
            if list.len() != expected {
                let what = format!("a number, or {} for {name}", report::count(expected, "number"));
                let problem = Diagnostic::error("E044", format!("a list of {}", list.len()))
                    .label(given.span(op.tensors() + at), format!("{} here", list.len()))
                    .expected(what);
                self.report(problem);
                return None;
            }
            args.extend(&list);
            before = list;
        }
        let kind = Kind::Sliding { name, op, axes: axes.unwrap_or(1), same };
        Some(self.push(scope, kind, args, span))
    }

    fn whole_literal(&mut self, scope: &Scope, value: i64, span: Span) -> TermId {
        let kind = Kind::Literal { value: value as f64, integer: true };
        self.push(scope, kind, Vec::new(), span)
    }

    /// The arguments' values in the order of the text. The one called `past` may mention later bindings.
    fn values(&mut self, scope: &mut Scope, call: &Call<'_>, past: Option<&str>) -> Vec<Value> {
        let mut values = Vec::new();
        for (place, argument) in call.arguments.iter().enumerate() {
            let is_past = match &argument.name {
                Some(name) => Some(name.text.as_str()) == past,
                None => past.is_some() && place == 0,
            };
            if is_past {
                scope.enter_prev();
            }
            values.push(self.expr(scope, &argument.value));
            if is_past {
                scope.leave_prev();
            }
        }
        values
    }

    fn operand(&mut self, values: &[Value], place: Option<usize>, call: &Call<'_>) -> TermId {
        let Some(place) = place else { return Terms::ERROR };
        let value = values.get(place).cloned().unwrap_or(Value::ERROR);
        self.tensor(value, argument_span(call, place)).unwrap_or(Terms::ERROR)
    }

    /// A number that the program must give at compile time; reports if it does not.
    fn number(&mut self, values: &[Value], place: usize, call: &Call<'_>) -> Option<f64> {
        let span = argument_span(call, place);
        let term = match values.get(place)? {
            Value::Term(term) => *term,
            _ => {
                self.report(report::not_constant(span));
                return None;
            }
        };
        self.known_number(term, span)
    }

    fn known_number(&mut self, term: TermId, span: Span) -> Option<f64> {
        let known = self.program.terms.known(term).cloned();
        match known {
            Some(Static::Broken) => None,
            Some(Static::Dim(dim)) if dim.as_const().is_none() => {
                let symbol = dim.symbols().next().cloned();
                self.report(report::needs(&symbol.unwrap_or_default(), span));
                None
            }
            Some(Static::Needs(symbol)) => {
                self.report(report::needs(&symbol, span));
                None
            }
            known => {
                let number = known.and_then(|known| known.number());
                if number.is_none() {
                    self.report(report::not_constant(span));
                }
                number
            }
        }
    }

    pub(super) fn integer(
        &mut self,
        values: &[Value],
        place: usize,
        call: &Call<'_>,
    ) -> Option<i64> {
        let number = self.number(values, place, call)?;
        self.whole_number(number, argument_span(call, place))
    }

    fn whole_number(&mut self, number: f64, span: Span) -> Option<i64> {
        if number.fract() == 0.0 && number.abs() < 1e12 {
            return Some(number as i64);
        }
        self.report(
            Diagnostic::error("E034", "a whole number is needed here")
                .label(span, format!("this is {number}"))
                .expected("a whole number")
                .found(number.to_string()),
        );
        None
    }

    fn flag(&mut self, values: &[Value], place: usize, call: &Call<'_>) -> Option<bool> {
        if let Some(Value::Term(term)) = values.get(place) {
            match self.program.terms.known(*term) {
                Some(Static::Bool(flag)) => return Some(*flag),
                Some(Static::Broken) => return None,
                _ => {}
            }
        }
        self.report(
            Diagnostic::error("E034", "`true` or `false` is needed here")
                .label(argument_span(call, place), "not one of them"),
        );
        None
    }

    /// A number or a list of numbers.
    fn axes(&mut self, values: &[Value], place: usize, call: &Call<'_>) -> Option<Vec<i64>> {
        let span = argument_span(call, place);
        let terms = self.list(values.get(place)?, span)?;
        terms
            .into_iter()
            .map(|term| {
                let number = self.known_number(term, span)?;
                self.whole_number(number, span)
            })
            .collect()
    }

    /// A list of dimensions; a single one counts as a list.
    fn shape(&mut self, values: &[Value], place: usize, call: &Call<'_>) -> Option<Vec<TermId>> {
        self.list(values.get(place)?, argument_span(call, place))
    }

    fn list(&mut self, value: &Value, span: Span) -> Option<Vec<TermId>> {
        let parts = match value {
            Value::Term(term) => return Some(vec![*term]),
            Value::List(parts) if parts.len() <= MAX_LIST => parts,
            Value::List(parts) => {
                self.report(
                    Diagnostic::error("E044", "the list is too long")
                        .label(span, format!("{} entries", parts.len()))
                        .expected(format!("at most {MAX_LIST}")),
                );
                return None;
            }
            Value::Same => {
                self.report(report::only_a_padding(span));
                return None;
            }
            Value::Tuple(_) | Value::Layer(_) => {
                self.report(
                    Diagnostic::error("E025", "a list is needed here")
                        .label(span, "this is none")
                        .hint("lists are written in brackets: `[a, b]`"),
                );
                return None;
            }
        };
        parts.iter().map(|part| self.tensor(part.clone(), span)).collect()
    }

    /// `[[before, after], …]` as a flat list.
    fn widths(&mut self, values: &[Value], place: usize, call: &Call<'_>) -> Option<Vec<TermId>> {
        let span = argument_span(call, place);
        let pairs = match values.get(place)? {
            Value::List(pairs) if pairs.len() <= MAX_LIST => pairs.clone(),
            Value::Term(Terms::ERROR) => return None,
            _ => Rc::from([]),
        };
        let mut widths = Vec::new();
        for pair in pairs.iter() {
            match pair {
                Value::List(pair) if pair.len() == 2 => {
                    for width in pair.iter() {
                        widths.push(self.tensor(width.clone(), span)?);
                    }
                }
                _ => {
                    widths.clear();
                    break;
                }
            }
        }
        if widths.is_empty() {
            self.report(
                Diagnostic::error("E025", "the paddings are not understood")
                    .label(span, "expected a list of pairs")
                    .hint("one pair for each axis: `pad(x, [[0, 0], [before, after]])`"),
            );
            return None;
        }
        Some(widths)
    }

    // Initialisers

    /// The name and the arguments of a parameter's initialiser.
    pub(super) fn initialiser(
        &mut self,
        scope: &mut Scope,
        init: &Expr,
    ) -> Option<(String, Vec<TermId>)> {
        let (path, arguments) = match &init.kind {
            ExprKind::Call { callee, arguments, .. } => (callee, arguments.as_slice()),
            ExprKind::Path(path) => (path, &[][..]),
            ExprKind::Error => return None,
            _ => {
                self.report(not_an_initialiser("this", init.span));
                return None;
            }
        };
        let name = path.last().map_or("", |name| &name.text);
        let Some((_, formals)) =
            INITIALISERS.iter().find(|(known, _)| path.len() == 1 && *known == name)
        else {
            let names = INITIALISERS.iter().map(|(name, _)| *name);
            let likely = report::closest(name, names).map(|name| format!("did you mean `{name}`?"));
            let problem = not_an_initialiser(&format!("`{name}`"), init.span);
            let hint = likely.or(problem.hint.clone());
            self.report(Diagnostic { hint, ..problem });
            return None;
        };
        let call = Call { callee: path, dims: &[], arguments, span: init.span };
        let values = self.values(scope, &call, None);
        let formals: Vec<_> = formals
            .iter()
            .map(|formal| Formal { name: formal, is_optional: *formal == "gain", is_named: false })
            .collect();
        let order = self.arrange(name, None, &formals, &call)?;
        let args = order.iter().flatten().map(|place| self.operand(&values, Some(*place), &call));
        Some((name.to_string(), args.collect()))
    }
}

/// The initialiser of this name with the numbers given.
pub fn initialiser(name: &str, args: &[f64]) -> Option<Init> {
    Some(match (name, args) {
        ("zeros", []) => Init::Constant(0.0),
        ("ones", []) => Init::Constant(1.0),
        ("constant", [value]) => Init::Constant(*value),
        ("uniform", [low, high]) => Init::Uniform(*low, *high),
        ("normal", [mean, deviation]) => Init::Normal(*mean, *deviation),
        ("xavier_uniform", []) => Init::XavierUniform,
        ("xavier_normal", []) => Init::XavierNormal,
        ("kaiming_uniform", []) => Init::KaimingUniform,
        ("kaiming_normal", []) => Init::KaimingNormal,
        ("orthogonal", []) => Init::Orthogonal(1.0),
        ("orthogonal", [gain]) => Init::Orthogonal(*gain),
        _ => return None,
    })
}

fn not_an_initialiser(what: &str, span: Span) -> Diagnostic {
    let names: Vec<_> = INITIALISERS.iter().map(|(name, _)| format!("`{name}`")).collect();
    Diagnostic::error("E035", format!("{what} is no initialiser"))
        .label(span, "expected an initialiser")
        .note(format!("the initialisers are {}", names.join(", ")))
        .hint("a number is `constant(v)`")
}

/// The arguments of a call in the order of the formal ones.
struct Given<'a> {
    values: &'a [Value],
    order: &'a [Option<usize>],
    call: &'a Call<'a>,
}

impl Given<'_> {
    fn span(&self, formal: usize) -> Span {
        self.order[formal].map_or(self.call.span, |place| argument_span(self.call, place))
    }
}

fn required<'a>(name: &'a str) -> Formal<'a> {
    Formal { name, is_optional: false, is_named: false }
}

pub fn argument_span(call: &Call<'_>, place: usize) -> Span {
    call.arguments.get(place).map_or(call.span, |argument| argument.value.span)
}
