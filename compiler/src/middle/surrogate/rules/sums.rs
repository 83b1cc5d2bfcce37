//! Laws of sums: terms that cancel, terms that are collected, and their order.

use egg::{Id, Language};

use super::MAX_SUM;
use super::literals::number_like;
use super::stop;
use crate::ir::graph::{Op, Pointwise};
use crate::middle::surrogate::analysis::Terms;
use crate::middle::surrogate::language::{Operation, Term, is_commutative};

/// A signed term of a sum: whether it is subtracted, and what.
pub fn signed(terms: &Terms, id: Id) -> (bool, Id) {
    let negated = terms[id].nodes.iter().find_map(|term| {
        let Term::Neg([x]) = term else { return None };
        Some(terms.find(*x))
    });
    negated.map_or((false, terms.find(id)), |x| (true, x))
}

/// The longest sum that a class is.
pub fn sum_of(terms: &Terms, id: Id) -> Option<&[Id]> {
    let sums = terms[id].nodes.iter().filter_map(|term| {
        let Term::Sum(ids) = term else { return None };
        (!ids.contains(&id)).then_some(ids.as_slice())
    });
    sums.max_by_key(|ids| ids.len())
}

pub fn sum(terms: &mut Terms, mut ids: Vec<Id>) -> Id {
    match ids[..] {
        [one] => one,
        _ => {
            ids.sort_unstable();
            terms.add_uncanonical(Term::Sum(ids))
        }
    }
}

pub fn cancel(terms: &mut Terms, term: &Term) -> Vec<Id> {
    if term.len() == 2 { cancelled(terms, term) } else { vec![] }
}

pub fn cancel_among(terms: &mut Terms, term: &Term) -> Vec<Id> {
    if term.len() > 2 { cancelled(terms, term) } else { vec![] }
}

fn cancelled(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Sum(ids) = term else { return vec![] };
    let parts: Vec<(bool, Id)> = ids.iter().map(|id| signed(terms, *id)).collect();
    let values: Vec<Id> = parts.iter().map(|(_, x)| stop(terms, *x)).collect();
    let mut gone = vec![false; ids.len()];
    let mut tangents = Vec::new();
    for i in 0..ids.len() {
        let partner = (i + 1..ids.len()).find(|&j| {
            // x - x with x's derivative is ordinary arithmetic.
            let differ = parts[i].1 != parts[j].1 || terms[parts[i].1].data.stopped;
            let opposite = parts[i].0 != parts[j].0 && values[i] == values[j];
            !gone[i] && !gone[j] && opposite && differ
        });
        if let Some(j) = partner {
            (gone[i], gone[j]) = (true, true);
            tangents.extend([ids[i], ids[j]]);
        }
    }
    if tangents.is_empty() {
        return vec![];
    }
    let live = |id: &Id| !terms[*id].data.stopped;
    let kept: Vec<Id> = tangents.iter().copied().filter(live).collect();
    let tangents = if kept.is_empty() { tangents[..1].to_vec() } else { kept };
    let tangents: Vec<Id> = tangents.into_iter().map(|id| terms.add(Term::Tangent([id]))).collect();
    let rest = ids.iter().zip(gone).filter(|(_, gone)| !gone).map(|(id, _)| *id);
    let all = rest.chain(tangents).collect();
    vec![sum(terms, all)]
}

/// A term of a sum as a factor and a number that it is multiplied with.
struct Multiple {
    number: f64,
    factor: Id,
    /// The number as a term.
    literal: Option<Id>,
}

fn multiple(terms: &Terms, id: Id) -> Multiple {
    use Pointwise::{Div, Mul};
    let (negative, x) = signed(terms, id);
    let sign = if negative { -1.0 } else { 1.0 };
    let number = |id: Id| terms[id].data.value.constant.map(|number| number.0);
    let found = terms[x].nodes.iter().find_map(|term| {
        let Term::Operation(operation, ids) = term else { return None };
        match (&operation.op, &ids[..]) {
            (Op::Map(Mul), &[a, b]) => {
                number(a).map(|n| (n, b, Some(a))).or(number(b).map(|n| (n, a, Some(b))))
            }
            (Op::Map(Div), &[a, b]) => number(b).map(|n| (1.0 / n, a, None)),
            _ => None,
        }
    });
    let (number, factor, literal) = found.unwrap_or((1.0, x, None));
    Multiple { number: sign * number, factor: terms.find(factor), literal }
}

pub fn collect(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Sum(ids) = term else { return vec![] };
    let multiples: Vec<Multiple> = ids.iter().map(|id| multiple(terms, *id)).collect();
    let values: Vec<Id> = multiples.iter().map(|multiple| stop(terms, multiple.factor)).collect();
    for first in 0..ids.len() {
        let (group, rest): (Vec<usize>, Vec<usize>) =
            (0..ids.len()).partition(|place| values[*place] == values[first]);
        let members = || group.iter().map(|place| &multiples[*place]);
        let opposes = |other: &Multiple| other.number * multiples[first].number < 0.0;
        let differs = |other: &Multiple| other.factor != multiples[first].factor;
        if !members().any(opposes) || !members().any(differs) {
            continue;
        }
        let total: f64 = members().map(|multiple| multiple.number).sum();
        let literal = members().find_map(|multiple| multiple.literal);
        let derivative = sum(terms, group.iter().map(|place| ids[*place]).collect());
        let collected = match (total, literal) {
            (0.0, _) => Term::Tangent([derivative]),
            (1.0, _) => Term::Bypass([values[first], derivative]),
            (-1.0, _) => Term::Bypass([terms.add(Term::Neg([values[first]])), derivative]),
            (_, Some(literal)) => {
                let number = number_like(terms, literal, total.abs());
                let mul = Operation::new(Op::Map(Pointwise::Mul));
                let scaled = terms.add(Term::Operation(mul, vec![number, values[first]]));
                let value = if total < 0.0 { terms.add(Term::Neg([scaled])) } else { scaled };
                Term::Bypass([value, derivative])
            }
            _ => continue,
        };
        let collected = terms.add_uncanonical(collected);
        let all = rest.iter().map(|place| ids[*place]).chain([collected]).collect();
        return vec![sum(terms, all)];
    }
    vec![]
}

pub fn flatten(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let ids = match term {
        Term::Sum(ids) if ids.len() == 1 => return vec![ids[0]],
        Term::Sum(ids) => ids.clone(),
        Term::Neg(_) => vec![terms.add(term.clone())],
        Term::Sg(_) | Term::Bypass(_) | Term::Tangent(_) | Term::Operation(..) | Term::Leaf(_) => {
            return vec![];
        }
    };
    let mut flat = Vec::new();
    for &id in &ids {
        let (negative, x) = signed(terms, id);
        match (sum_of(terms, id), sum_of(terms, x)) {
            (Some(parts), _) => flat.extend_from_slice(parts),
            (None, Some(parts)) if negative => {
                let parts = parts.to_vec();
                for part in parts {
                    let negated = match signed(terms, part) {
                        (true, x) => x,
                        (false, x) => terms.add(Term::Neg([x])),
                    };
                    flat.push(negated);
                }
            }
            _ => flat.push(id),
        }
    }
    if flat == ids || flat.len() > MAX_SUM { vec![] } else { vec![sum(terms, flat)] }
}

pub fn drop_zeros(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Sum(ids) = term else { return vec![] };
    let is_zero = |id: &Id| terms[*id].data.value.is_number(0.0);
    let rest: Vec<Id> = ids.iter().copied().filter(|id| !is_zero(id)).collect();
    if rest.is_empty() || rest.len() == ids.len() { vec![] } else { vec![sum(terms, rest)] }
}

pub fn reorder(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let commutes = term.operation().is_some_and(|(op, _)| is_commutative(op));
    if commutes { sorted(terms, term) } else { vec![] }
}

pub fn reorder_sum(terms: &mut Terms, term: &Term) -> Vec<Id> {
    if matches!(term, Term::Sum(_)) { sorted(terms, term) } else { vec![] }
}

fn sorted(terms: &mut Terms, term: &Term) -> Vec<Id> {
    if term.children().is_sorted() {
        return vec![];
    }
    let mut sorted = term.clone();
    sorted.children_mut().sort_unstable();
    vec![terms.add_uncanonical(sorted)]
}
