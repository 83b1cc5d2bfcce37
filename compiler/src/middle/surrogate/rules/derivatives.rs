//! Laws of derivatives: what is stopped, tangents and bypasses through what is linear.

use egg::{Id, Language};

use super::stop;
use super::sums::{signed, sum, sum_of};
use crate::ir::graph::{Op, Pointwise};
use crate::middle::surrogate::analysis::Terms;
use crate::middle::surrogate::language::{Operation, Term};

fn tangent_of(terms: &Terms, id: Id) -> Option<Id> {
    terms[id].nodes.iter().find_map(|term| {
        let Term::Tangent([g]) = term else { return None };
        Some(*g)
    })
}

fn bypass_of(terms: &Terms, id: Id) -> Option<(Id, Id)> {
    terms[id].nodes.iter().find_map(|term| {
        let Term::Bypass([f, g]) = term else { return None };
        terms[*f].data.stopped.then_some((*f, *g))
    })
}

pub fn stop_operands(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Sg([x]) = term else { return vec![] };
    let operations = terms[*x].nodes.iter().filter(|term| {
        matches!(term, Term::Sum(_) | Term::Neg(_) | Term::Operation(..)) && !term.is_leaf()
    });
    let operations: Vec<Term> = operations.cloned().collect();
    let mut stopped = Vec::new();
    for operation in operations {
        let operation = operation.map_children(|id| stop(terms, id));
        stopped.push(terms.add_uncanonical(operation));
    }
    stopped
}

pub fn sum_of_tangents(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Sum(ids) = term else { return vec![] };
    let (mut rest, mut tangents, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    for &id in ids {
        match tangent_of(terms, id) {
            Some(g) if terms[g].data.stopped => zeros.push(g),
            Some(g) => tangents.push(g),
            None => rest.push(id),
        }
    }
    if tangents.is_empty() && zeros.is_empty() {
        return vec![];
    }
    if tangents.is_empty() && !rest.is_empty() {
        return vec![sum(terms, rest)];
    }
    if rest.is_empty() {
        let g = sum(terms, if tangents.is_empty() { zeros } else { tangents });
        return vec![terms.add_uncanonical(Term::Tangent([g]))];
    }
    let all = rest.iter().copied().chain(tangents).collect();
    let (f, g) = (sum(terms, rest), sum(terms, all));
    vec![terms.add_uncanonical(Term::Bypass([f, g]))]
}

/// The operands by number in which a term is linear together, where the others are stopped.
fn linear_groups(terms: &Terms, term: &Term) -> Vec<Vec<usize>> {
    let groups = match term {
        Term::Operation(operation, ids) => operation.op.linear_in(ids.len()),
        Term::Neg(_) => vec![vec![0]],
        Term::Sum(ids) => vec![(0..ids.len()).collect()],
        Term::Sg(_) | Term::Bypass(_) | Term::Tangent(_) | Term::Leaf(_) => vec![],
    };
    let ids = term.children();
    let stopped = |group: &Vec<usize>| {
        (0..ids.len()).all(|i| group.contains(&i) || terms[ids[i]].data.stopped)
    };
    groups.into_iter().filter(stopped).collect()
}

/// The term with other operands at the places of the group.
fn with_operands(terms: &mut Terms, term: &Term, group: &[usize], ids: &[Id]) -> Id {
    let mut term = term.clone();
    for (&place, &id) in group.iter().zip(ids) {
        term.children_mut()[place] = id;
    }
    if let Term::Sum(ids) = term {
        return sum(terms, ids);
    }
    terms.add_uncanonical(term)
}

pub fn distribute(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Operation(operation, ids) = term else { return vec![] };
    let mut equal = Vec::new();
    for group in operation.op.linear_in(ids.len()) {
        let [place] = group[..] else { continue };
        let (negative, x) = signed(terms, ids[place]);
        let parts = match sum_of(terms, ids[place]) {
            Some(parts) => parts.to_vec(),
            None if negative => vec![x],
            None => continue,
        };
        let apply = |part: &Id| with_operands(terms, term, &[place], &[*part]);
        let parts: Vec<Id> = parts.iter().map(apply).collect();
        let whole = sum(terms, parts);
        equal.push(if negative { terms.add(Term::Neg([whole])) } else { whole });
    }
    equal
}

pub fn linear_tangent(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Operation(_, ids) = term else { return vec![] };
    let mut equal = Vec::new();
    for group in linear_groups(terms, term) {
        let operands: Option<Vec<Id>> = group.iter().map(|&i| tangent_of(terms, ids[i])).collect();
        if let Some(operands) = operands {
            let g = with_operands(terms, term, &group, &operands);
            equal.push(terms.add_uncanonical(Term::Tangent([g])));
        }
    }
    equal
}

pub fn product_tangent(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Operation(Operation { op, .. }, ids) = term else { return vec![] };
    let is_product = matches!(op, Op::Map(Pointwise::Mul) | Op::MatMul);
    if !is_product && *op != Op::Map(Pointwise::Div) {
        return vec![];
    }
    let places = if is_product { 0..2 } else { 0..1 };
    let mut equal = Vec::new();
    for place in places {
        let other = ids[1 - place];
        if let Some(g) = tangent_of(terms, ids[place]).filter(|_| !terms[other].data.stopped) {
            let factor = terms.add(Term::Sg([other]));
            let g = with_operands(terms, term, &[place, 1 - place], &[g, factor]);
            equal.push(terms.add_uncanonical(Term::Tangent([g])));
        }
    }
    equal
}

pub fn linear_bypass(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let ids = term.children();
    let mut equal = Vec::new();
    for group in linear_groups(terms, term) {
        let bypasses: Vec<_> = group.iter().map(|&i| bypass_of(terms, ids[i])).collect();
        if bypasses.iter().all(Option::is_none) {
            continue;
        }
        let pairs = group.iter().zip(bypasses).map(|(&i, pair)| pair.unwrap_or((ids[i], ids[i])));
        let (values, derivatives): (Vec<Id>, Vec<Id>) = pairs.unzip();
        let f = with_operands(terms, term, &group, &values);
        let g = with_operands(terms, term, &group, &derivatives);
        equal.push(terms.add_uncanonical(Term::Bypass([f, g])));
    }
    equal
}

pub fn drop_stopped(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Bypass([f, g]) = term else { return vec![] };
    let Some(ids) = sum_of(terms, *g) else { return vec![] };
    let live: Vec<Id> = ids.iter().copied().filter(|id| !terms[*id].data.stopped).collect();
    if live.is_empty() || live.len() == ids.len() {
        return vec![];
    }
    let g = sum(terms, live);
    vec![terms.add_uncanonical(Term::Bypass([*f, g]))]
}
