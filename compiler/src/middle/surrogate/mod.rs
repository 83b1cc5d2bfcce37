//! The surrogate calculus: from a graph with `sg` anywhere to one whose surrogates are `bypass` nodes.
//!
//! The normal form: no `g - sg(g)` in any spelling, no `bypass` directly in another; what is under
//! an `sg` or the value of a `bypass` is free of both; the second operand of a `bypass` only serves
//! the derivative. So when the graph has been differentiated, the pass `erase` leaves no
//! trace of surrogates in the values, and the reverse pass needs no rule for `sg`.
//!
//! What is equal is decided, not searched for. A term is a pair of a value and a derivative. Each
//! value has a canonical form, a polynomial over atoms (`values`), and so each sum shows which of
//! its terms cancel (`extract`). This is complete for terms built from `+`, `-`, `*`, `sg`, `bypass`,
//! linear operations, and any other functions of such terms: polynomials are equal exactly if the
//! laws of commutative rings make them so, linear operations go to each product, other functions are
//! equal if their operands are, and `sg` and `bypass` do nothing but choose a component of the pair.
//! Terms that the laws make equal then have the same value, but for the order of sums, and the same
//! derivative as a linear form. Atoms on purpose are ordinary sums in which terms of opposite sign meet,
//! for they may be tricks with rounding, and what exceeds the limits on sums and rounds.
//!
//! The laws themselves are one table ([`LAWS`]), with which an e-graph proves what was decided.
//!
//! That is the first phase. The second, `joint`, simplifies values and gradients together.

pub(crate) mod analysis;
pub(super) mod cost;
pub(super) mod dag;
pub(crate) mod encode;
pub(crate) mod extract;
pub(crate) mod language;
pub(super) mod rules;
#[cfg(test)]
mod tests;
mod values;

pub use rules::{LAWS, Law, Numeric, Order, Phase};

use std::collections::HashMap;
use std::fmt;

use crate::ir::graph::{Graph, Op};
use extract::{Delay, Found};
use values::Value;

/// Runs what searches with egg while its clock stands still: read for the first time it would be
/// calibrated, which takes up to 200 ms, and a limit in seconds would make the result depend on the
/// load of the machine.
pub(crate) fn untimed<T>(search: impl FnOnce() -> T) -> T {
    let (clock, _) = quanta::Clock::mock();
    quanta::with_clock(&clock, search)
}

/// How far the simplification went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of different terms that were compared; 0 if none had to be.
    pub terms: usize,
    /// How often the whole was gone through.
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

/// How much is looked at. The result is right whatever they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Terms of a sum.
    pub sum: usize,
    /// Guesses at what the memories of a program have in common.
    pub rounds: usize,
}

impl Limits {
    fn half_sum(self) -> usize {
        (self.sum / 2).max(2)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { sum: 64, rounds: 16 }
    }
}

/// The graph in normal form: the same values and the same derivatives. A graph without `sg` and
/// `bypass` comes back as it is.
pub fn simplify(graph: &Graph) -> (Graph, Report) {
    simplify_within(graph, Limits::default())
}

/// As [`simplify`], with other limits.
pub(crate) fn simplify_within(graph: &Graph, limits: Limits) -> (Graph, Report) {
    let mut graph = graph.compact();
    let mut report = Report::default();
    if !graph.ids().any(|id| matches!(graph.node(id).op, Op::Sg | Op::Bypass)) {
        return (graph, report);
    }
    // What has become the value of a bypass is stopped, and may cancel with what it could not before.
    loop {
        let normal = rebuilt(graph.clone(), limits, &mut report);
        if report.limit.is_some() || is_same(&normal, &graph) {
            return (normal, report);
        }
        if report.iterations >= limits.rounds {
            report.limit = Some(format!("{} rounds", limits.rounds));
            return (normal, report);
        }
        graph = normal;
    }
}

/// The graph without what cancels in it.
fn rebuilt(graph: Graph, limits: Limits, report: &mut Report) -> Graph {
    // Memories are taken for zero, and for equal, until that is contradicted: what is left holds by
    // induction over time.
    let mut delays = delays(&graph);
    loop {
        report.iterations += 1;
        let (normal, found) = extract::normal_form(graph.clone(), &delays, limits, report);
        let refined = refined(&delays, &found);
        if refined == delays {
            return normal;
        }
        delays = refined;
        if report.iterations >= limits.rounds {
            report.limit.get_or_insert_with(|| format!("{} rounds", limits.rounds));
            return extract::normal_form(graph, &[], limits, report).0;
        }
    }
}

fn is_same(a: &Graph, b: &Graph) -> bool {
    let node = |graph: &Graph, id| (graph.node(id).op.clone(), graph.node(id).args.clone());
    a.len() == b.len() && a.ids().all(|id| node(a, id) == node(b, id))
}

/// Every `prev` and `next`: zero if it starts from zero and a surrogate is in what it remembers, and
/// as equal as the types allow.
fn delays(graph: &Graph) -> Vec<Delay> {
    let near = extract::near_surrogates(graph, &[]);
    let ids = graph.ids().filter(|id| graph.node(*id).op.is_delay());
    let mut kinds = HashMap::new();
    ids.map(|id| {
        let node = graph.node(id);
        let next = kinds.len() as u32;
        let class = *kinds.entry((node.op.clone(), node.ty.clone())).or_insert(next);
        let is_zero = near[node.args[0].0 as usize] && graph.as_number(node.args[1]) == Some(0.0);
        Delay { node: id, class, is_zero }
    })
    .collect()
}

/// What the delays can be taken for, when their operands were found to have these values.
fn refined(delays: &[Delay], found: &[Found]) -> Vec<Delay> {
    let mut classes = HashMap::new();
    let refine = |(delay, found): (&Delay, &Found)| {
        let next = classes.len() as u32;
        let is_zero = delay.is_zero && found.x == Value::default();
        let class = *classes.entry((delay.class, is_zero, found.clone())).or_insert(next);
        Delay { class, is_zero, ..*delay }
    };
    delays.iter().zip(found).map(refine).collect()
}
