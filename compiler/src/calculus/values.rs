//! Which nodes of a graph have the same value, by the laws.

use std::sync::Arc;
use std::time::Duration;

use egg::{Id, Runner, SimpleScheduler, StopReason};

use super::Report;
use super::analysis::{Facts, Terms};
use super::language::{Leaf, Operation, Term};
use super::rules::{LAWS, Law};
use crate::autodiff::live;
use crate::graph::{self, Elem, Graph, Node, NodeId, Op, Pointwise};

/// The longest sum that is one term, so that sums in other order or with other parentheses are equal.
const MAX_SUM: usize = 8;
const MAX_TERMS: usize = 20_000;
const MAX_ITERATIONS: usize = 24;
/// The laws that find terms of equal value and make few new terms. The others would make the e-graph
/// grow without bound.
const COMPARING: &[&str] = &[
    "sg-sg",
    "sg-stopped",
    "sg-operation",
    "sg-bypass",
    "bypass-same",
    "bypass-left",
    "bypass-right",
    "bypass-stopped",
    "neg-neg",
    "neg-left",
    "neg-right",
    "sum-zero",
    "sum-order",
    "order",
];

/// The value of a node: a class of terms, and whether it is the negative of it.
pub type Value = (Id, bool);

/// A saturated e-graph of all nodes.
pub struct Values {
    terms: Terms,
    classes: Vec<Id>,
}

impl Values {
    /// `surrogate` marks the nodes that an `sg` or `bypass` takes part in.
    pub fn new(graph: &Graph, surrogate: &[bool], report: &mut Report) -> Values {
        let mut terms = Terms::new(Facts);
        let classes = encode(graph, &mut terms);
        for id in compared(graph, surrogate) {
            terms.add(Term::Sg([classes[id.0 as usize]]));
        }
        let laws = LAWS.iter().filter(|law| COMPARING.contains(&law.name));
        let runner = Runner::<Term, Facts>::new(Facts)
            .with_egraph(terms)
            .with_scheduler(SimpleScheduler)
            .with_node_limit(MAX_TERMS)
            .with_iter_limit(MAX_ITERATIONS)
            // A limit in seconds would make the result depend on the load of the machine.
            .with_time_limit(Duration::from_secs(u64::from(u32::MAX)))
            .run(&laws.filter_map(Law::rewrite).collect::<Vec<_>>());
        report.terms = report.terms.max(runner.egraph.total_size());
        report.iterations += runner.iterations.len();
        match &runner.stop_reason {
            Some(StopReason::IterationLimit(limit)) => {
                report.limit = Some(format!("{limit} iterations"))
            }
            Some(StopReason::NodeLimit(limit)) => report.limit = Some(format!("{limit} terms")),
            _ => {}
        }
        Values { terms: runner.egraph, classes }
    }

    /// The value of a node, if it is one that is compared.
    pub fn of(&self, id: NodeId) -> Option<Value> {
        let class = self.stopped(self.classes[id.0 as usize])?;
        let negated = self.terms[class].nodes.iter().find_map(|term| match term {
            Term::Neg([x]) => Some(self.terms.find(*x)),
            _ => None,
        });
        let negated = negated.or_else(|| self.terms.lookup(Term::Neg([class])));
        Some(match negated {
            Some(other) if other < class => (other, true),
            _ => (class, false),
        })
    }

    fn stopped(&self, class: Id) -> Option<Id> {
        if self.terms[class].data.stopped {
            return Some(self.terms.find(class));
        }
        self.terms.lookup(Term::Sg([class]))
    }
}

/// The nodes whose values may cancel: terms of sums that a surrogate takes part in.
fn compared(graph: &Graph, surrogate: &[bool]) -> Vec<NodeId> {
    let mut wanted = vec![false; graph.len()];
    for id in graph.ids().rev() {
        let node = graph.node(id);
        let passes = is_sum(graph, id) || matches!(node.op, Op::Sg | Op::Bypass);
        if passes && (wanted[id.0 as usize] || surrogate[id.0 as usize]) {
            node.args.iter().for_each(|arg| wanted[arg.0 as usize] = true);
        }
    }
    let is_term = |id: &NodeId| wanted[id.0 as usize] && !is_sum(graph, *id);
    graph.ids().filter(is_term).collect()
}

/// Whether a node is a sum of real numbers, of one or two terms.
pub fn is_sum(graph: &Graph, id: NodeId) -> bool {
    let Node { op, ty, .. } = graph.node(id);
    ty.elem == Elem::F32 && matches!(op, Op::Map(Pointwise::Add | Pointwise::Sub | Pointwise::Neg))
}

/// The graph as terms, `prev` and `next` cut: the class of each node.
pub(super) fn encode(graph: &Graph, terms: &mut Terms) -> Vec<Id> {
    let live = live(graph);
    let facts = graph::Facts::of(graph);
    let mut classes: Vec<Id> = Vec::with_capacity(graph.len());
    // The signed terms of each sum.
    let mut sums: Vec<Vec<(bool, Id)>> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let class = |operand: usize| classes[node.args[operand].0 as usize];
        let parts = |operand: usize, negate: bool| {
            let parts = sums[node.args[operand].0 as usize].iter();
            parts.map(move |(negative, x)| (*negative != negate, *x))
        };
        let sum: Vec<(bool, Id)> = match node.op {
            _ if !is_sum(graph, id) => vec![],
            Op::Map(Pointwise::Add) => parts(0, false).chain(parts(1, false)).collect(),
            Op::Map(Pointwise::Sub) => parts(0, false).chain(parts(1, true)).collect(),
            Op::Map(Pointwise::Neg) => parts(0, true).collect(),
            _ => vec![],
        };
        let term = match &node.op {
            Op::Sg => Term::Sg([class(0)]),
            Op::Bypass => Term::Bypass([class(0), class(1)]),
            Op::Input(_) | Op::Param(_) | Op::TimeIndex | Op::Prev | Op::Next => {
                let (stopped, fact) = (!live[id.0 as usize], *facts.at(id));
                Term::Leaf(Leaf { name: name(graph, id), stopped, fact })
            }
            _ if is_sum(graph, id) => {
                let signed = |(negative, x): (bool, Id)| {
                    if negative { terms.add(Term::Neg([x])) } else { x }
                };
                let mut ids: Vec<Id> = sum.iter().copied().map(signed).collect();
                ids.sort_unstable();
                Term::Sum(ids)
            }
            op => {
                let operation = Operation::new(op.clone());
                let mut ids: Vec<Id> = (0..node.args.len()).map(class).collect();
                if operation.is_commutative() {
                    ids.sort_unstable();
                }
                Term::Operation(operation, ids)
            }
        };
        let class = terms.add(term);
        let is_term = sum.is_empty() || sum.len() > MAX_SUM;
        sums.push(if is_term { vec![(false, class)] } else { sum });
        classes.push(class);
    }
    terms.rebuild();
    classes
}

fn name(graph: &Graph, leaf: NodeId) -> Arc<str> {
    match graph.node(leaf).op {
        Op::Input(index) => graph.inputs[index].name.as_str().into(),
        Op::Param(index) => graph.params[index].path.as_str().into(),
        _ => format!("{leaf:?}").into(),
    }
}
