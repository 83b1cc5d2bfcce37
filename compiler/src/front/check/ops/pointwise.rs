//! Pointwise operations, from the graph's own table.

use crate::front::check::elaborate::{Arguments, Call, Value};
use crate::front::check::term::{LARGEST, Static};
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::pointwise::{Signature, TABLE};
use crate::ir::graph::syntax::operator;
use crate::ir::graph::{Dim, NodeId, Pointwise};

/// What the language has a form of its own for, besides operators between two operands.
const FORMS: [(Pointwise, &str); 3] =
    [(Pointwise::Neg, "-"), (Pointwise::Not, "!"), (Pointwise::Select, "if")];

/// The names of the arguments of functions of several.
const FORMALS: [(Pointwise, &[&str]); 4] = [
    (Pointwise::Clamp, &["x", "lo", "hi"]),
    (Pointwise::Atan2, &["y", "x"]),
    (Pointwise::Min, &["a", "b"]),
    (Pointwise::Max, &["a", "b"]),
];

type OnDims = fn(&Dim, &Dim) -> Option<Dim>;

/// What is exact on dimensions, where it has a value.
const EXACT: [(Pointwise, OnDims); 4] = [
    (Pointwise::Add, |a, b| Some(a + b)),
    (Pointwise::Sub, |a, b| Some(a - b)),
    (Pointwise::Mul, |a, b| Some(a * b)),
    (Pointwise::Div, |a, b| a.exact_div(b)),
];

/// The names of those that are written as functions.
pub fn names() -> impl Iterator<Item = &'static str> {
    functions().map(|op| op.row().name)
}

/// That which is written as a function of this name.
pub fn function(name: &str) -> Option<Pointwise> {
    functions().find(|op| op.row().name == name)
}

fn functions() -> impl Iterator<Item = Pointwise> {
    // On integers alone there are operators, and what random numbers are made of.
    let is_own = |signature| matches!(signature, Signature::Integer | Signature::Bits);
    let rows = TABLE.iter().filter(move |row| !is_own(row.signature));
    rows.map(|row| row.op).filter(|op| form(*op).is_none())
}

pub fn formals(op: Pointwise) -> &'static [&'static str] {
    found(&FORMALS, op).unwrap_or(&["x"])
}

fn form(op: Pointwise) -> Option<&'static str> {
    operator(op).map(|operator| operator.symbol()).or_else(|| found(&FORMS, op))
}

fn found<T: Copy>(table: &[(Pointwise, T)], op: Pointwise) -> Option<T> {
    table.iter().find(|(other, _)| *other == op).map(|(_, found)| *found)
}

/// `max(a, b)` is pointwise, `max(x, axis = 0)` reduces.
pub fn is_reduction(op: Pointwise, call: &Call<'_>) -> bool {
    let positional = call.arguments.iter().filter(|argument| argument.name.is_none()).count();
    let mut names = call.arguments.iter().filter_map(|argument| argument.name.as_ref());
    matches!(op, Pointwise::Min | Pointwise::Max)
        && positional < 2
        && names.all(|name| !matches!(name.text.as_str(), "a" | "b"))
}

pub fn read(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let op = function(call.name)?;
    call.apply(Map(op), formals(op).len())
}

#[derive(Debug)]
pub struct Map(pub Pointwise);

impl Operation for Map {
    fn name(&self) -> &'static str {
        form(self.0).unwrap_or(self.0.row().name)
    }

    fn number(&self, args: &[Option<&Static>]) -> Option<Static> {
        if args.contains(&Some(&Static::Broken)) {
            return Some(Static::Broken);
        }
        let is_logic = self.0.row().signature == Signature::Logic;
        let is_tensor = |arg: &Option<&Static>| match arg {
            Some(Static::Bool(_)) => !is_logic,
            arg => matches!(arg, Some(Static::Never)),
        };
        if args.iter().any(is_tensor) {
            return Some(Static::Never);
        }
        let args: Option<Vec<&Static>> = args.iter().copied().collect();
        Some(arithmetic(self.0, &args?))
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        rules.broadcast_operands()
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.map(self.0.row().signature)
    }

    fn emit(&self, emitter: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        emitter.map(self.0, args)
    }
}

/// An operation on numbers: exact on dimensions where it can be.
fn arithmetic(op: Pointwise, args: &[&Static]) -> Static {
    if let [Static::Dim(a), Static::Dim(b)] = args {
        match found(&EXACT, op).and_then(|exact| exact(a, b)) {
            Some(dim) if is_small(&dim) => return Static::Dim(dim),
            Some(_) => return Static::Real(f64::INFINITY),
            None => {}
        }
    }
    if let [Static::Dim(a)] = args
        && op == Pointwise::Neg
    {
        return Static::Dim(&Dim::zero() - a);
    }
    let mut numbers = Vec::new();
    for arg in args {
        match arg {
            Static::Dim(dim) if dim.as_const().is_none() => {
                let symbol = dim.symbols().next().cloned();
                return symbol.map_or(Static::Never, Static::Needs);
            }
            Static::Needs(symbol) => return Static::Needs(symbol.clone()),
            Static::Bool(value) => numbers.push(f64::from(u8::from(*value))),
            Static::Dim(_) | Static::Real(_) | Static::Never | Static::Broken => match arg.number()
            {
                Some(value) => numbers.push(value),
                None => return Static::Never,
            },
        }
    }
    let row = op.row();
    if numbers.len() != row.arity {
        return Static::Never;
    }
    let value = (row.value)(&numbers);
    if row.is_boolean() {
        return Static::Bool(value != 0.0);
    }
    number_of(value, args.iter().all(|arg| matches!(arg, Static::Dim(_))))
}

/// A power or a minimum of integers is one again.
fn number_of(value: f64, from_integers: bool) -> Static {
    let is_integer = value.fract() == 0.0 && value.abs() <= LARGEST as f64;
    match from_integers && is_integer {
        true => Static::Dim(Dim::constant(value as i64)),
        false => Static::Real(value),
    }
}

/// Whether later arithmetic with the dimension stays exact and short.
fn is_small(dim: &Dim) -> bool {
    let terms = dim.terms();
    terms.len() <= 16
        && terms.iter().all(|(factors, value)| factors.len() <= 16 && value.abs() <= LARGEST)
}
