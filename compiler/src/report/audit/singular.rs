//! Operations whose derivative is infinite or NaN at a value that their operand is known to take.

use std::collections::BTreeSet;

use super::{MAX, Subject};
use crate::ir::graph::dependence::reachable;
use crate::ir::graph::{Fact, Graph, NodeId, Op, Pointwise, Role};

/// Such operations that a gradient comes through, each with the operand and what is wrong with it.
///
/// Only what is known counts: a bound that was not proved is no reason, a value that is positive but may be rounded to
/// zero, such as an exponential, is not zero, and an `if` whose condition looks at the operand is a guard.
pub fn singular(subject: &Subject) -> Vec<(NodeId, NodeId, &'static str)> {
    let flow = &subject.normal;
    let found = flow.ids().filter(|id| flow.matters(*id)).filter_map(|id| {
        let (operand, why) = pole(subject, id)?;
        let x = flow.graph.node(id).args[operand];
        let is_wrong =
            flow.is_wanted(x) && !subject.is_part(flow, id) && !is_guarded(subject, id, x);
        is_wrong.then_some((id, x, why))
    });
    found.collect()
}

/// The operand with which a derivative is no number.
fn pole(subject: &Subject, id: NodeId) -> Option<(usize, &'static str)> {
    use Pointwise::*;
    let node = subject.normal.graph.node(id);
    let Op::Map(op) = node.op else { return None };
    let fact = |operand: usize| subject.facts.at(node.args[operand]);
    let starts_low = |operand: usize| {
        let Fact { low, .. } = *fact(operand);
        low > -MAX && low <= 0.0 && (low < 0.0 || vanishes(subject, node.args[operand]))
    };
    match op {
        Log if starts_low(0) => Some((0, "`log` has no derivative at 0 and below")),
        Sqrt if starts_low(0) => {
            Some((0, "the derivative of `sqrt` is infinite at 0 and NaN below"))
        }
        Rsqrt if starts_low(0) => Some((0, "`rsqrt` has no derivative at 0 and below")),
        Pow => {
            let power = subject.normal.graph.as_number(node.args[1])?;
            let is_root = power < 1.0 && power != 0.0;
            (is_root && starts_low(0)).then_some((0, "this power has no derivative at 0"))
        }
        Div => {
            let Fact { low, high, .. } = *fact(1);
            let is_known = low <= 0.0 && high >= 0.0 && (low > -MAX || high < MAX);
            let why = "a quotient has no derivative where what it divides by is 0";
            (is_known && vanishes(subject, node.args[1])).then_some((1, why))
        }
        Asin | Acos => {
            let Fact { low, high, .. } = *fact(0);
            let is_known = low > -MAX && low <= -1.0 || (1.0..MAX).contains(&high);
            is_known.then_some((0, "its derivative is infinite at -1 and 1"))
        }
        _ => None,
    }
}

/// Whether zero is within the range of a node, and more than the limit of positive numbers.
fn vanishes(subject: &Subject, id: NodeId) -> bool {
    fn look(subject: &Subject, id: NodeId, seen: &mut BTreeSet<NodeId>) -> bool {
        use Pointwise::*;
        let fact = subject.facts.at(id);
        if fact.low > 0.0 || fact.high < 0.0 {
            return false;
        }
        if !seen.insert(id) || seen.len() > MAX_DEPTH {
            return true;
        }
        let node = subject.normal.graph.node(id);
        let mut args = node.args.iter().map(|arg| look(subject, *arg, seen));
        match &node.op {
            Op::Map(Exp | Sigmoid | Softplus | Cosh) => false,
            Op::Map(Add) => args.all(|vanishes| vanishes),
            Op::Map(Mul | Min | Max | Clamp | Select) => args.any(|vanishes| vanishes),
            Op::Map(Neg | Abs | Relu | Sqrt | Pow | Div)
            | Op::Sg
            | Op::Bypass
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip { .. }
            | Op::Gather { .. }
            | Op::Reduce(..)
            | Op::First
            | Op::Last
            | Op::TimeReduce(_) => args.next().unwrap_or(true),
            _ => true,
        }
    }
    look(subject, id, &mut BTreeSet::new())
}

const MAX_DEPTH: usize = 100;

/// Whether a node comes to the objectives only through branches of choices that are made on its operand `x`.
fn is_guarded(subject: &Subject, id: NodeId, x: NodeId) -> bool {
    let flow = &subject.normal;
    let about = pointwise(&flow.graph, x);
    let is_guard = |user: &NodeId| {
        let node = flow.graph.node(*user);
        node.op == Op::Map(Pointwise::Select)
            && !pointwise(&flow.graph, node.args[0]).is_disjoint(&about)
    };
    let users = |id: NodeId| flow.users[id.0 as usize].iter().copied();
    let reached =
        reachable(&flow.graph, vec![id], |id| users(id).filter(|user| !is_guard(user)).collect());
    let objectives = subject.objectives.iter();
    let mut objectives = objectives.filter_map(|name| flow.graph.root(Role::Output, name));
    !objectives.any(|root| reached[root.0 as usize])
}

/// A node, and what it is computed from by pointwise operations, numbers left out.
pub fn pointwise(graph: &Graph, id: NodeId) -> BTreeSet<NodeId> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![id]);
    while let Some(id) = todo.pop() {
        let node = graph.node(id);
        if graph.as_number(id).is_none() && found.insert(id) && matches!(node.op, Op::Map(_)) {
            todo.extend(&node.args);
        }
    }
    found
}
