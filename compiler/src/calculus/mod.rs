//! The surrogate calculus: from a graph with `sg` anywhere to one whose surrogates are `bypass` nodes.
//!
//! The normal form: no `g - sg(g)` in any spelling, no `bypass` directly in another; what is under
//! an `sg` or the value of a `bypass` is free of both; the second operand of a `bypass` only serves
//! the derivative. So when the graph has been differentiated, [`crate::autodiff::erase`] leaves no
//! trace of surrogates in the values, and the reverse pass needs no rule for `sg`.
//!
//! An e-graph, saturated with the laws of [`rules`], says which terms have the same value
//! ([`values`]); with that the graph is rebuilt without what cancels ([`extract`]).

pub mod analysis;
mod extract;
pub mod language;
pub mod rules;
#[cfg(test)]
mod tests;
mod values;

pub use rules::{LAWS, Law, Numeric, Order, Phase};

use std::fmt;

use crate::graph::{Graph, Op};

/// How far a search by the laws went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of terms that were compared, of the largest search; 0 if none was needed.
    pub terms: usize,
    pub iterations: usize,
    /// Why the search ended before all laws were exhausted. The result is right all the same, but
    /// more could have been simplified.
    pub limit: Option<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} terms, {} iterations, ", self.terms, self.iterations)?;
        match &self.limit {
            None => f.write_str("all laws exhausted"),
            Some(limit) => write!(f, "stopped at {limit}"),
        }
    }
}

/// How often what has become equal may let more cancel, in functions of functions.
const MAX_ROUNDS: usize = 8;

/// The graph in normal form: the same values and the same derivatives. A graph without `sg` and
/// `bypass` comes back as it is.
pub fn simplify(graph: &Graph) -> (Graph, Report) {
    let mut graph = graph.compact();
    let mut report = Report::default();
    if !graph.ids().any(|id| matches!(graph.node(id).op, Op::Sg | Op::Bypass)) {
        return (graph, report);
    }
    for _ in 0..MAX_ROUNDS {
        let surrogate = extract::near_surrogates(&graph);
        let values = values::Values::new(&graph, &surrogate, &mut report);
        let normal = extract::normal_form(graph.clone(), &surrogate, &values, &mut report);
        if is_same(&graph, &normal) {
            return (normal, report);
        }
        graph = normal;
    }
    report.limit.get_or_insert_with(|| format!("{MAX_ROUNDS} rounds"));
    (graph, report)
}

fn is_same(a: &Graph, b: &Graph) -> bool {
    let node = |graph: &Graph, id| (graph.node(id).op.clone(), graph.node(id).args.clone());
    a.len() == b.len() && a.ids().all(|id| node(a, id) == node(b, id))
}
