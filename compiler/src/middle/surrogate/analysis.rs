//! What is proved of a class of terms. A condition that is not proved is false.

use egg::{Analysis, DidMerge, EGraph, Id, Language, merge_max};

use super::language::Term;
use crate::ir::graph::facts::{self, Place};
use crate::ir::graph::{Fact, Op, Pointwise};

pub type Terms = EGraph<Term, Facts>;

#[derive(Clone, Debug, Default)]
pub struct Facts;

#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// What is proved of the value.
    pub value: Fact,
    /// It has no derivative.
    pub stopped: bool,
}

impl Analysis<Term> for Facts {
    type Data = Known;

    fn make(terms: &mut Terms, term: &Term, _: Id) -> Known {
        let known = |id: &Id| &terms[*id].data;
        let args: Vec<Fact> = term.children().iter().map(|id| known(id).value).collect();
        let all_stopped = |ids: &[Id]| ids.iter().all(|id| known(id).stopped);
        let map = |op: Pointwise, args: &[Fact]| {
            facts::transfer(&Op::Map(op), args, Place::pointwise(false))
        };
        let (value, stopped) = match term {
            Term::Leaf(leaf) => (leaf.fact, leaf.stopped),
            Term::Sg(_) => (args[0], true),
            Term::Bypass([_, g]) => (args[0], known(g).stopped),
            Term::Tangent([g]) => (tangent(&args[0]), known(g).stopped),
            Term::Neg([x]) => (map(Pointwise::Neg, &args), known(x).stopped),
            Term::Sum(ids) => {
                let sum = args.iter().copied().reduce(|a, b| map(Pointwise::Add, &[a, b]));
                (sum.unwrap_or(Fact::literal(0.0)), all_stopped(ids))
            }
            Term::Operation(operation, ids) => {
                let op = &operation.op;
                let same = matches!(ids[..], [a, b] if a == b);
                let stops = |operand: usize| {
                    known(&ids[operand]).stopped || !op.describe(|op| op.has_derivative(operand))
                };
                let stopped = (0..ids.len()).all(stops);
                (facts::transfer(op, &args, Place::pointwise(same)), stopped)
            }
        };
        Known { value, stopped }
    }

    fn merge(&mut self, a: &mut Known, b: Known) -> DidMerge {
        let value = a.value.and(&b.value);
        let did = DidMerge(value != a.value, value != b.value);
        a.value = value;
        did | merge_max(&mut a.stopped, b.stopped)
    }
}

/// `g - sg(g)`
fn tangent(g: &Fact) -> Fact {
    let zero = Fact::literal(0.0);
    if g.is_finite() { zero } else { Fact { not_nan: false, constant: None, ..zero } }
}
