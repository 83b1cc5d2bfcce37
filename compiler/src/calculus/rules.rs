//! The laws of the calculus, in one table.
//!
//! Two terms are equal if they have the same value and the same derivative for all operands. So
//! `sg(x)` is not x, and `x - sg(x)` is not 0: it is `tangent(x)`, of value 0 and x's derivative.
//!
//! The laws say which terms are equal; they do not write code. Sums are computed in the order in
//! which the program has them, without the terms that cancel, whatever laws told that they do.

use std::fmt;

use egg::{
    Applier, Condition, ConditionalApplier, Id, Language, Pattern, PatternAst, Rewrite,
    SearchMatches, Searcher, Subst, Symbol, Var,
};

use super::analysis::{Facts, Terms};
use super::language::{Operation, Term};
use crate::graph::{Op, Pointwise};

/// Up to which derivative both sides of a law agree. The normal form uses both: it is for programs
/// that are differentiated once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    First,
    All,
}

/// How the values of both sides compare in floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numeric {
    /// To the bit, for all operands.
    Exact,
    /// To the bit, where no NaN, infinity or negative zero takes part.
    Finite,
    /// Equal but for the order of rounding.
    Reassociating,
    Approximate,
}

/// Where a law is put to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// By the e-graph, to find terms of equal value. Such laws make few new terms.
    Compare,
    /// By [`super::extract`], which carries it out once in each place; it would make an e-graph
    /// grow without bound. Proofs need these as well.
    Build,
}

pub struct Law {
    pub name: &'static str,
    pub order: Order,
    pub numeric: Numeric,
    pub used: Use,
    form: Form,
}

enum Form {
    /// Left side, right side, what must be proved of which variable.
    Pattern(&'static str, &'static str, Option<(Proof, &'static str)>),
    /// The terms that the law makes equal to the given one.
    Equal(fn(&mut Terms, &Term) -> Vec<Id>),
}

#[derive(Clone, Copy)]
enum Proof {
    Stopped,
    Zero,
}

/// The longest sum that is looked at as a whole.
const MAX_SUM: usize = 64;

#[rustfmt::skip]
pub static LAWS: &[Law] = {
    use Form::*;
    use Numeric::*;
    use Order::*;
    use Proof::*;
    use Use::*;
    const fn law(name: &'static str, order: Order, numeric: Numeric, used: Use, form: Form) -> Law {
        Law { name, order, numeric, used, form }
    }
    &[
    // The stop.
    // sg(sg x) = sg x
    law("sg-sg", All, Exact, Compare, Pattern("(sg (sg ?x))", "(sg ?x)", None)),
    // sg c = c, where c has no derivative
    law("sg-stopped", All, Exact, Compare, Pattern("(sg ?c)", "?c", Some((Stopped, "?c")))),
    // sg(op(x, …)) = op(sg x, …)
    law("sg-operation", All, Exact, Compare, Equal(stop_operands)),
    // sg(bypass(f, g)) = sg f
    law("sg-bypass", All, Exact, Compare, Pattern("(sg (bypass ?f ?g))", "(sg ?f)", None)),
    // sg(tangent g) = 0
    law("sg-tangent", All, Exact, Build, Pattern("(sg (tangent ?g))", "(tangent (sg ?g))", None)),

    // Tangents.
    // x - sg x = tangent x;  f - g = tangent f - tangent g, where sg f = sg g
    law("cancel", All, Finite, Build, Equal(cancel)),
    // f + tangent g = bypass(f, f + g);  tangent a + tangent b = tangent(a + b)
    law("sum-tangent", All, Exact, Build, Equal(sum_of_tangents)),
    // -tangent a = tangent(-a)
    law("neg-tangent", All, Exact, Build, Pattern("(neg (tangent ?g))", "(tangent (neg ?g))", None)),
    // L(tangent g) = tangent(L g), for a linear L;  c · tangent g = tangent(c · g), where c has no derivative
    law("linear-tangent", All, Finite, Build, Equal(linear_tangent)),
    // c · tangent g = tangent(sg c · g)
    law("product-tangent", First, Finite, Build, Equal(product_tangent)),
    // tangent(bypass(f, g)) = tangent g
    law("tangent-bypass", All, Exact, Build, Pattern("(tangent (bypass ?f ?g))", "(tangent ?g)", None)),
    // tangent(tangent g) = tangent g
    law("tangent-tangent", All, Exact, Build, Pattern("(tangent (tangent ?g))", "(tangent ?g)", None)),
    // bypass(0, g) = tangent g
    law("bypass-zero", All, Exact, Build, Pattern("(bypass ?z ?g)", "(tangent ?g)", Some((Zero, "?z")))),

    // Bypasses: a rectangular band.
    // bypass(x, x) = x
    law("bypass-same", All, Exact, Compare, Pattern("(bypass ?x ?x)", "?x", None)),
    // bypass(bypass(a, b), c) = bypass(a, c)
    law("bypass-left", All, Exact, Compare, Pattern("(bypass (bypass ?a ?b) ?c)", "(bypass ?a ?c)", None)),
    // bypass(a, bypass(b, c)) = bypass(a, c)
    law("bypass-right", All, Exact, Compare, Pattern("(bypass ?a (bypass ?b ?c))", "(bypass ?a ?c)", None)),
    // bypass(f, g) = bypass(sg f, g)
    law("bypass-value", All, Exact, Build, Pattern("(bypass ?f ?g)", "(bypass (sg ?f) ?g)", None)),
    // bypass(f, sg g) = sg f
    law("bypass-stopped", All, Exact, Compare, Pattern("(bypass ?f ?c)", "(sg ?f)", Some((Stopped, "?c")))),
    // bypass(tangent a, g) = tangent g
    law("bypass-of-tangent", All, Exact, Build, Pattern("(bypass (tangent ?a) ?g)", "(tangent ?g)", None)),
    // bypass(f, tangent g) = bypass(f, g)
    law("bypass-to-tangent", All, Exact, Build, Pattern("(bypass ?f (tangent ?g))", "(bypass ?f ?g)", None)),
    // bypass(f, g + sg h) = bypass(f, g)
    law("bypass-drop", All, Exact, Build, Equal(drop_stopped)),
    // L(bypass(f, g)) = bypass(L f, L g), for a linear L
    law("linear-bypass", All, Exact, Build, Equal(linear_bypass)),

    // Sums and signs.
    // -(-x) = x
    law("neg-neg", All, Exact, Compare, Pattern("(neg (neg ?x))", "?x", None)),
    // (-a) · b = -(a · b)
    law("neg-left", All, Exact, Compare, Pattern("(mul (neg ?a) ?b)", "(neg (mul ?a ?b))", None)),
    // a · (-b) = -(a · b)
    law("neg-right", All, Exact, Compare, Pattern("(mul ?a (neg ?b))", "(neg (mul ?a ?b))", None)),
    // (a + b) + c = a + b + c;  -(a + b) = -a + -b;  the sum of one term is the term
    law("sum-flat", All, Reassociating, Build, Equal(flatten)),
    // x + 0 = x
    law("sum-zero", All, Finite, Compare, Equal(drop_zeros)),
    // a + b = b + a;  a · b = b · a
    law("order", All, Exact, Compare, Equal(reorder)),
    ]
};

impl Law {
    /// The law as egg applies it; `None` if its text is no pattern, which the tests rule out.
    pub fn rewrite(&self) -> Option<Rewrite<Term, Facts>> {
        match &self.form {
            Form::Equal(equal) => Rewrite::new(self.name, EachClass, EachTerm(*equal)).ok(),
            Form::Pattern(left, right, condition) => {
                let left: Pattern<Term> = left.parse().ok()?;
                let right: Pattern<Term> = right.parse().ok()?;
                match condition {
                    None => Rewrite::new(self.name, left, right).ok(),
                    Some((proof, variable)) => {
                        let condition = Proved(*proof, variable.parse().ok()?);
                        let applier = ConditionalApplier { condition, applier: right };
                        Rewrite::new(self.name, left, applier).ok()
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

struct Proved(Proof, Var);

impl Condition<Term, Facts> for Proved {
    fn check(&self, terms: &mut Terms, _: Id, subst: &Subst) -> bool {
        let fact = &terms[subst[self.1]].data;
        match self.0 {
            Proof::Stopped => fact.stopped,
            Proof::Zero => fact.constant.is_some_and(|number| number.0 == 0.0),
        }
    }

    fn vars(&self) -> Vec<Var> {
        vec![self.1]
    }
}

/// Laws whose terms have any number of operands look at each term of each class themselves.
struct EachClass;

impl Searcher<Term, Facts> for EachClass {
    fn search_eclass_with_limit(
        &self,
        _: &Terms,
        eclass: Id,
        _: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        Some(SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }

    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

struct EachTerm(fn(&mut Terms, &Term) -> Vec<Id>);

impl Applier<Term, Facts> for EachTerm {
    fn apply_one(
        &self,
        terms: &mut Terms,
        class: Id,
        _: &Subst,
        _: Option<&PatternAst<Term>>,
        law: Symbol,
    ) -> Vec<Id> {
        let mut changed = Vec::new();
        for term in terms[class].nodes.clone() {
            for equal in (self.0)(terms, &term) {
                let term = terms.add_uncanonical(term.clone());
                if terms.union_trusted(term, equal, law) {
                    changed.push(equal);
                }
            }
        }
        changed
    }
}

/// A signed term of a sum: whether it is subtracted, and what.
fn signed(terms: &Terms, id: Id) -> (bool, Id) {
    let negated = terms[id].nodes.iter().find_map(|term| match term {
        Term::Neg([x]) => Some(terms.find(*x)),
        _ => None,
    });
    negated.map_or((false, terms.find(id)), |x| (true, x))
}

fn tangent_of(terms: &Terms, id: Id) -> Option<Id> {
    terms[id].nodes.iter().find_map(|term| match term {
        Term::Tangent([g]) => Some(*g),
        _ => None,
    })
}

fn bypass_of(terms: &Terms, id: Id) -> Option<(Id, Id)> {
    terms[id].nodes.iter().find_map(|term| match term {
        Term::Bypass([f, g]) if terms[*f].data.stopped => Some((*f, *g)),
        _ => None,
    })
}

/// The longest sum that a class is.
fn sum_of(terms: &Terms, id: Id) -> Option<&[Id]> {
    let sums = terms[id].nodes.iter().filter_map(|term| match term {
        Term::Sum(ids) if !ids.contains(&id) => Some(ids.as_slice()),
        _ => None,
    });
    sums.max_by_key(|ids| ids.len())
}

fn sum(terms: &mut Terms, mut ids: Vec<Id>) -> Id {
    match ids[..] {
        [one] => one,
        _ => {
            ids.sort_unstable();
            terms.add_uncanonical(Term::Sum(ids))
        }
    }
}

/// `sg(x)`
fn stop(terms: &mut Terms, id: Id) -> Id {
    if terms[id].data.stopped { id } else { terms.add(Term::Sg([id])) }
}

fn stop_operands(terms: &mut Terms, term: &Term) -> Vec<Id> {
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

fn cancel(terms: &mut Terms, term: &Term) -> Vec<Id> {
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

fn sum_of_tangents(terms: &mut Terms, term: &Term) -> Vec<Id> {
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
        Term::Operation(operation, ids) => operation.linear_in(ids.len()),
        Term::Neg(_) => vec![vec![0]],
        Term::Sum(ids) => vec![(0..ids.len()).collect()],
        _ => vec![],
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
    match term {
        Term::Sum(ids) => sum(terms, ids),
        term => terms.add_uncanonical(term),
    }
}

fn linear_tangent(terms: &mut Terms, term: &Term) -> Vec<Id> {
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

fn product_tangent(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Operation(Operation { op, .. }, ids) = term else { return vec![] };
    let places = match op {
        Op::Map(Pointwise::Mul) | Op::MatMul => 0..2,
        Op::Map(Pointwise::Div) => 0..1,
        _ => return vec![],
    };
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

fn linear_bypass(terms: &mut Terms, term: &Term) -> Vec<Id> {
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

fn drop_stopped(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Bypass([f, g]) = term else { return vec![] };
    let Some(ids) = sum_of(terms, *g) else { return vec![] };
    let live: Vec<Id> = ids.iter().copied().filter(|id| !terms[*id].data.stopped).collect();
    if live.is_empty() || live.len() == ids.len() {
        return vec![];
    }
    let g = sum(terms, live);
    vec![terms.add_uncanonical(Term::Bypass([*f, g]))]
}

fn flatten(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let ids = match term {
        Term::Sum(ids) if ids.len() == 1 => return vec![ids[0]],
        Term::Sum(ids) => ids.clone(),
        Term::Neg(_) => vec![terms.add(term.clone())],
        _ => return vec![],
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

fn drop_zeros(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let Term::Sum(ids) = term else { return vec![] };
    let is_zero = |id: &Id| terms[*id].data.constant.is_some_and(|number| number.0 == 0.0);
    let rest: Vec<Id> = ids.iter().copied().filter(|id| !is_zero(id)).collect();
    if rest.is_empty() || rest.len() == ids.len() { vec![] } else { vec![sum(terms, rest)] }
}

fn reorder(terms: &mut Terms, term: &Term) -> Vec<Id> {
    let commutes = match term {
        Term::Sum(_) => true,
        Term::Operation(operation, _) => operation.is_commutative(),
        _ => false,
    };
    if !commutes || term.children().is_sorted() {
        return vec![];
    }
    let mut sorted = term.clone();
    sorted.children_mut().sort_unstable();
    vec![terms.add_uncanonical(sorted)]
}
