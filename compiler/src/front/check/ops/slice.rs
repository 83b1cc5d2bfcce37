//! A part of an axis, and more elements at its ends.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, MAX_LIST, Value};
use crate::front::check::shape::position;
use crate::front::check::term::{Static, TermId, Terms};
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, Elem, NodeId, Number, Op};

/// The other operands are the bounds that are given.
#[derive(Debug)]
struct Slice {
    axis: i64,
    start: bool,
    end: bool,
}

pub fn slice(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(1, -1)?;
    let (start, end) = (call.is_given(2), call.is_given(3));
    let bounds = [(2, start), (3, end)].into_iter().filter(|(_, is_given)| *is_given);
    let args = [0].into_iter().chain(bounds.map(|(formal, _)| formal));
    let args = args.map(|formal| call.operand(formal)).collect();
    Some(call.term(Slice { axis, start, end }, args).into())
}

impl Operation for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn tensors(&self) -> usize {
        1
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some(mut dims) = rules.of_first() else { return Ok(None) };
        let at = rules.axis(self.axis, dims.len())?;
        dims[at] = match &dims[at] {
            Some(length) => self.bounds(rules, length)?.map(|(from, to)| &to - &from),
            None => None,
        };
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.axis, e.ty().dims.len());
        let length = e.builder.ty(args[0]).dims.get(axis).cloned();
        let length = length.ok_or_else(|| e.bug("no such axis"))?;
        let bounds = self.bounds(&e.rules(), &length)?;
        let (start, end) = bounds.ok_or_else(|| e.bug("bounds without value"))?;
        e.push(Op::Slice { axis, start, end }, args.to_vec())
    }
}

impl Slice {
    /// The bounds on an axis of this length, as in Python: negative ones count from the end.
    fn bounds(&self, rules: &Rules<'_>, length: &Dim) -> Result<Option<(Dim, Dim)>, Problem> {
        let args = rules.args();
        let bound = |given: Option<&TermId>, default: Dim| -> Result<Option<Dim>, Problem> {
            match given {
                None => Ok(Some(default)),
                Some(given) => Ok(rules.dim(*given)?.map(|bound| match bound.as_const() {
                    Some(value) if value < 0 => length + &bound,
                    _ => bound,
                })),
            }
        };
        let from = bound(args.get(1).filter(|_| self.start), Dim::zero())?;
        let end = args.get(1 + usize::from(self.start)).filter(|_| self.end);
        let to = bound(end, length.clone())?;
        let (Some(from), Some(to)) = (from, to) else { return Ok(None) };
        let is_inside = |bound: &Dim| match (bound.as_const(), length.as_const()) {
            (Some(bound), Some(length)) => (0..=length).contains(&bound),
            (Some(bound), None) => bound >= 0,
            _ => true,
        };
        let is_empty = (&to - &from).as_const().is_some_and(|length| length < 1);
        if is_inside(&from) && is_inside(&to) && !is_empty {
            return Ok(Some((from, to)));
        }
        let problem =
            Diagnostic::error("E044", format!("a slice {from} to {to} of an axis of {length}"));
        let problem = rules.labelled(problem, &args[..1]);
        Err(Box::new(
            problem.expected(format!("bounds within 0 and {length}, the end after the start")),
        ))
    }
}

/// This number around it; the other operands are two paddings for each axis.
#[derive(Debug)]
struct Pad(f64);

pub fn pad(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let value = if call.is_given(2) { call.number(2)? } else { 0.0 };
    let mut args = vec![call.operand(0)];
    args.extend(widths(call)?);
    Some(call.term(Pad(value), args).into())
}

/// `[[before, after], …]` as a flat list.
fn widths(call: &mut Arguments<'_, '_, '_>) -> Option<Vec<TermId>> {
    let span = call.span(1);
    let value = call.value(1)?;
    if matches!(value, Value::Term(Terms::ERROR)) {
        return None;
    }
    let Some(widths) = pairs(value) else {
        call.report(
            Diagnostic::error("E025", "the paddings are not understood")
                .label(span, "expected a list of pairs")
                .hint("one pair for each axis: `pad(x, [[0, 0], [before, after]])`"),
        );
        return None;
    };
    widths.into_iter().map(|width| call.elaborator.tensor(width, span)).collect()
}

/// What a list of pairs has, if it is one.
fn pairs(value: &Value) -> Option<Vec<Value>> {
    let Value::List(pairs) = value else { return None };
    let mut flat = Vec::new();
    for pair in pairs.iter() {
        let Value::List(pair) = pair else { return None };
        flat.extend_from_slice(<&[Value; 2]>::try_from(&pair[..]).ok()?);
    }
    (1..=MAX_LIST).contains(&pairs.len()).then_some(flat)
}

impl Operation for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn tensors(&self) -> usize {
        1
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some((x, widths)) = rules.args().split_first() else { return Ok(None) };
        let Some(dims) = rules.dims(*x) else { return Ok(None) };
        if widths.len() != 2 * dims.len() {
            let problem = Diagnostic::error("E044", "one pair of paddings is needed for each axis");
            let problem = rules.labelled(problem, &[*x]);
            return Err(Box::new(
                problem.expected(dims.len().to_string()).found((widths.len() / 2).to_string()),
            ));
        }
        let mut padded = Vec::new();
        for (dim, pair) in dims.iter().zip(widths.chunks(2)) {
            let mut total = dim.clone();
            for width in pair {
                let width = rules.dim(*width)?;
                if let Some(number) = width.as_ref().and_then(Dim::as_const).filter(|n| *n < 0) {
                    let problem = Diagnostic::error("E044", "a padding is not negative");
                    return Err(Box::new(
                        problem
                            .label(rules.span(), format!("{number} here"))
                            .hint("`slice` makes an axis shorter"),
                    ));
                }
                total = match (total, width) {
                    (Some(total), Some(width)) => Some(&total + &width),
                    _ => None,
                };
            }
            padded.push(total);
        }
        Ok(Some(padded))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.require(dtypes.args()[0], Elem::F32)?;
        dtypes.result(Elem::F32)
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let mut node = args[0];
        let widths = &e.rules().args()[1..];
        for (axis, pair) in widths.chunks(2).enumerate() {
            let (before, after) = (width(e, pair.first())?, width(e, pair.get(1))?);
            if !before.is_zero() || !after.is_zero() {
                let op = Op::Pad { axis, before, after, value: Number(self.0) };
                node = e.push(op, vec![node])?;
            }
        }
        Ok(node)
    }
}

fn width(e: &Emitter<'_, '_>, term: Option<&TermId>) -> Result<Dim, Problem> {
    match term.and_then(|term| e.program.terms.known(*term)) {
        Some(Static::Dim(dim)) => Ok(dim.clone()),
        Some(Static::Real(value)) => Ok(Dim::constant(*value as i64)),
        _ => Err(e.bug("a padding without value")),
    }
}
