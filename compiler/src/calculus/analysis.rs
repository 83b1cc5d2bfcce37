//! What is proved of a class of terms. A condition that is not proved is false.

use egg::{Analysis, DidMerge, EGraph, Id, merge_max, merge_option};

use super::language::Term;
use crate::graph::{Elem, Number, Op, Pointwise, Reduction};

pub type Terms = EGraph<Term, Facts>;

#[derive(Clone, Debug, Default)]
pub struct Facts;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The literal that it is at every place.
    pub constant: Option<Number>,
    /// It has no derivative.
    pub stopped: bool,
}

impl Analysis<Term> for Facts {
    type Data = Fact;

    fn make(terms: &mut Terms, term: &Term, _: Id) -> Fact {
        let fact = |id: &Id| &terms[*id].data;
        let stopped = |ids: &[Id]| ids.iter().all(|id| fact(id).stopped);
        match term {
            Term::Leaf(leaf) => Fact { constant: None, stopped: leaf.stopped },
            Term::Sg([x]) => Fact { constant: fact(x).constant, stopped: true },
            Term::Bypass([f, g]) => Fact {
                constant: fact(f).constant.filter(|_| fact(g).stopped),
                stopped: fact(g).stopped,
            },
            Term::Tangent([g]) | Term::Neg([g]) => {
                Fact { constant: None, stopped: fact(g).stopped }
            }
            Term::Sum(ids) => Fact { constant: None, stopped: stopped(ids) },
            Term::Operation(operation, ids) => match &operation.op {
                Op::Const(number, Elem::F32) => Fact { constant: Some(*number), stopped: true },
                Op::Broadcast(_) | Op::Reshape(_) => fact(&ids[0]).clone(),
                op => Fact {
                    constant: None,
                    stopped: has_no_derivative(op)
                        || differentiated(op, ids).iter().all(|id| fact(id).stopped),
                },
            },
        }
    }

    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        // Two literals in one class are equal but for the sign of zero.
        merge_option(&mut a.constant, b.constant, |_, _| DidMerge(false, false))
            | merge_max(&mut a.stopped, b.stopped)
    }
}

fn has_no_derivative(op: &Op) -> bool {
    match op {
        Op::Map(pointwise) => pointwise.row().vjp.is_none(),
        Op::Reduce(Reduction::ArgMax, _) => true,
        _ => false,
    }
}

/// The operands that a derivative may come from.
fn differentiated<'a>(op: &Op, ids: &'a [Id]) -> &'a [Id] {
    match op {
        Op::Map(Pointwise::Select) => &ids[1..],
        Op::Gather { .. } => &ids[..1],
        _ => ids,
    }
}
