//! Laws of literals: what is known is computed, and stands where one place is enough.

use egg::{Id, Language};

use crate::ir::graph::pointwise::Signature;
use crate::ir::graph::{Elem, Fact, Number, Op, Pointwise, facts};
use crate::middle::surrogate::analysis::Terms;
use crate::middle::surrogate::language::{Operation, Term};

/// A literal with the dimensions of another.
pub fn number_like(terms: &mut Terms, literal: Id, number: f64) -> Id {
    let broadcast = terms[literal].nodes.iter().find_map(|term| {
        let (op @ Op::Broadcast(_), ids) = term.operation()? else { return None };
        Some((op.clone(), ids[0]))
    });
    match broadcast {
        Some((op, inner)) => {
            let inner = number_like(terms, inner, number);
            terms.add(Term::Operation(Operation::new(op), vec![inner]))
        }
        None => {
            let op = Op::Const(Number(number), Elem::F32);
            terms.add(Term::Operation(Operation::new(op), vec![]))
        }
    }
}

pub fn literal(terms: &mut Terms, number: f64, elem: Elem) -> Id {
    let literal = Op::Const(Number(number), elem);
    terms.add(Term::Operation(Operation::new(literal), vec![]))
}

pub fn literals(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let pointwise = match (term, term.operation()) {
        (_, Some((Op::Map(pointwise), _))) => *pointwise,
        (Term::Neg(_), _) => Pointwise::Neg,
        _ => return vec![],
    };
    let args: Vec<Fact> = term.children().iter().map(|id| terms[*id].data.value).collect();
    let place = facts::Place::pointwise(false);
    let Some(number) = facts::transfer(&Op::Map(pointwise), &args, place).constant else {
        return vec![];
    };
    let elem = match pointwise.row().signature {
        Signature::Compare | Signature::Logic => Some(Elem::Bool),
        Signature::Choice => elem_of_literal(terms, term.children()[1]),
        Signature::Float
        | Signature::Numeric
        | Signature::Integer
        | Signature::ToFloat
        | Signature::Bits
        | Signature::ToInteger => Some(Elem::F32),
    };
    elem.map(|elem| literal(terms, number.0, elem)).into_iter().collect()
}

/// A class of terms is of one type; a literal among them knows which.
fn elem_of_literal(terms: &Terms, id: Id) -> Option<Elem> {
    terms[id].nodes.iter().find_map(|term| {
        let (Op::Const(_, elem), _) = term.operation()? else { return None };
        Some(*elem)
    })
}

/// The operands of a binary operation.
fn binary(term: &Term, wanted: Pointwise) -> Option<(Id, Id)> {
    let (op, ids) = term.operation()?;
    (*op == Op::Map(wanted)).then(|| (ids[0], ids[1]))
}

fn map(terms: &mut Terms, op: Pointwise, a: Id, b: Id) -> Id {
    terms.add_uncanonical(Term::Operation(Operation::new(Op::Map(op)), vec![a, b]))
}

/// The literal that a class is.
pub fn number(terms: &Terms, id: Id) -> Option<f64> {
    terms[id].data.value.constant.map(|number| number.0)
}

/// The first of the operands that is no literal, with the literal that the other is.
fn with_literal(terms: &Terms, (a, b): (Id, Id)) -> Option<(Id, f64)> {
    match (number(terms, a), number(terms, b)) {
        (None, Some(number)) => Some((a, number)),
        (Some(number), None) => Some((b, number)),
        _ => None,
    }
}

pub fn negate_literal(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Neg([x]) = term else { return vec![] };
    let mut equal = Vec::new();
    for term in terms[*x].nodes.clone() {
        let product = binary(&term, Pointwise::Mul).and_then(|pair| with_literal(terms, pair));
        let quotient =
            binary(&term, Pointwise::Div).and_then(|(a, b)| Some((a, number(terms, b)?)));
        if let Some((a, factor)) = product {
            let negated = literal(terms, -factor, Elem::F32);
            equal.push(map(terms, Pointwise::Mul, a, negated));
        } else if let Some((a, divisor)) = quotient {
            let negated = literal(terms, -divisor, Elem::F32);
            equal.push(map(terms, Pointwise::Div, a, negated));
        }
    }
    equal
}

pub fn divide_by_power(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let is_power = |divisor: f64| {
        let (divisor, reciprocal) = (divisor as f32, 1.0 / divisor as f32);
        divisor.to_bits() << 9 == 0 && divisor.is_normal() && reciprocal.is_normal()
    };
    divide_by(terms, term, is_power)
}

pub fn divide_by_literal(terms: &mut Terms, term: &Term) -> Vec<Id> {
    divide_by(terms, term, |divisor| (1.0 / divisor as f32).is_normal())
}

fn divide_by(terms: &mut Terms, term: &Term, is_divisor: impl Fn(f64) -> bool) -> Vec<Id> {
    let Some((a, b)) = binary(term, Pointwise::Div) else { return vec![] };
    let Some(divisor) = number(terms, b).filter(|divisor| is_divisor(*divisor)) else {
        return vec![];
    };
    let reciprocal = literal(terms, 1.0 / divisor, Elem::F32);
    vec![map(terms, Pointwise::Mul, a, reciprocal)]
}

pub fn multiply_literals(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let outer = binary(term, Pointwise::Mul).and_then(|pair| with_literal(terms, pair));
    let Some((product, factor)) = outer else { return vec![] };
    let mut equal = Vec::new();
    for term in terms[product].nodes.clone() {
        let inner = binary(&term, Pointwise::Mul).and_then(|pair| with_literal(terms, pair));
        if let Some((a, other)) = inner
            && (factor * other).abs() <= f64::from(f32::MAX)
        {
            let both = literal(terms, factor * other, Elem::F32);
            equal.push(map(terms, Pointwise::Mul, a, both));
        }
    }
    equal
}
