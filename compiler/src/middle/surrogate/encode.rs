//! Graphs as terms of an e-graph, in which the laws prove equalities.

use std::sync::Arc;

use egg::Id;

use super::analysis::Terms;
use super::extract::is_sum;
use super::language::{Leaf, Operation, Term, is_commutative};
use crate::ir::graph::dependence::live;
use crate::ir::graph::{Facts, Graph, NodeId, Op};

/// The longest sum that is one term, so that sums in other order or with other parentheses are equal.
const MAX_SUM: usize = 8;

/// The graph as terms, `prev` and `next` cut: the class of each node.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are operations to the calculus")]
pub fn encode(graph: &Graph, terms: &mut Terms) -> Vec<Id> {
    let live = live(graph);
    let facts = Facts::of(graph);
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
        let signs = node.op.signs().filter(|_| is_sum(graph, id)).unwrap_or_default();
        let signs = signs.iter().enumerate();
        let sum: Vec<(bool, Id)> =
            signs.flat_map(|(operand, negate)| parts(operand, *negate)).collect();
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
                if is_commutative(op) {
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
    let op = &graph.node(leaf).op;
    match graph.declared(op) {
        Some(declared) => declared.name().into(),
        None if *op == Op::TimeIndex => "%time_index".into(),
        None => format!("{leaf:?}").into(),
    }
}
