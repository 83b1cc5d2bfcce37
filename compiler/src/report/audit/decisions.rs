//! W002: decisions that cut the gradient of what is trained.

use std::collections::{BTreeSet, HashMap};

use super::{Flow, Subject};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::{Elem, Graph, NodeId, Op, Pointwise};

/// Sums of more terms, and paths of more sums, are not looked into.
const MAX_TERMS: usize = 64;
const MAX_SUMS: usize = 16;
/// What two values have in common is looked for among so many nodes of each.
const MAX_RELATED: usize = 1000;

pub fn decisions_without_surrogate(subject: &Subject) -> Vec<Diagnostic> {
    let flow = &subject.written;
    if !subject.has_loss {
        return Vec::new();
    }
    let sums = Sums { flow, values: values(&flow.graph) };
    let is_lost = |id: &NodeId| {
        flow.matters(*id) && decided(flow, *id).into_iter().any(|x| !sums.is_joined(*id, x))
    };
    let found = flow.ids().filter(is_lost).map(|id| {
        let place = subject.place(flow.graph.node(id));
        let text = subject.text(place);
        Diagnostic::warning("W002", "a decision cuts the gradient of what is trained")
            .label(place, "changes in jumps: its derivative is zero")
            .hint(format!(
                "give it a surrogate: `bypass({text}, …)` or `inject(x, {text}, …)`; if no gradient is meant, say \
                 so: `sg({text})`"
            ))
    });
    found.collect()
}

/// What a decision without a derivative is made on that wants a gradient: a rounding, a sign, a number for a
/// comparison, a choice between what has no gradient itself.
fn decided(flow: &Flow, id: NodeId) -> Vec<NodeId> {
    let node = flow.graph.node(id);
    let Op::Map(op) = node.op else { return Vec::new() };
    let is_choice = op == Pointwise::Select && !node.args[1..].iter().any(|x| flow.is_wanted(*x));
    let mut todo = if is_choice {
        vec![node.args[0]]
    } else if op == Pointwise::ToF32 || op.row().is_decision() {
        node.args.clone()
    } else {
        return Vec::new();
    };
    // Through booleans and integers to the real numbers that they are made of.
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(id) = todo.pop().filter(|_| node.ty.elem == Elem::F32) {
        if seen.insert(id) {
            match flow.graph.ty(id).elem {
                Elem::F32 if flow.is_wanted(id) => found.push(id),
                Elem::F32 => {}
                Elem::I32 | Elem::Bool => todo.extend(&flow.graph.node(id).args),
            }
        }
    }
    found
}

/// A number for each node, the same for those of the same value: `sg(x)` has that of x.
fn values(graph: &Graph) -> Vec<u32> {
    use Pointwise::{Add, Max, Min, Mul};
    let mut known: HashMap<(&Op, Vec<u32>), u32> = HashMap::new();
    let mut values: Vec<u32> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = graph.node(id);
        // Its operand may come later.
        if node.op.is_delay() {
            values.push(id.0);
            continue;
        }
        let mut args: Vec<u32> = node.args.iter().map(|arg| values[arg.0 as usize]).collect();
        if matches!(node.op, Op::Map(Add | Mul | Min | Max)) {
            args.sort_unstable();
        }
        values.push(match node.op == Op::Sg {
            true => args[0],
            false => *known.entry((&node.op, args)).or_insert(id.0),
        });
    }
    values
}

/// A term of a sum.
struct Term {
    node: NodeId,
    factor: f64,
    /// Under `sg`.
    is_stopped: bool,
}

/// The sums of a graph, and what gradient goes through them.
struct Sums<'a> {
    flow: &'a Flow,
    values: Vec<u32>,
}

impl Sums<'_> {
    /// Whether a decision only goes where its operand `x` takes the gradient: into a product or a sum with it, as in
    /// `x * f32(x > 0)` or `x - floor(x)`, or into a sum that has the gradient of something, as in `g - sg(g) + step(x)`.
    fn is_joined(&self, decision: NodeId, x: NodeId) -> bool {
        use Pointwise::{Add, Ceil, Div, Floor, Mul, Round, Sub};
        let flow = self.flow;
        let graph = &flow.graph;
        let rounds = matches!(graph.node(decision).op, Op::Map(Floor | Ceil | Round));
        // Elements that are added up, or come a step later, no longer belong to those of x.
        let (mut todo, mut seen) = (vec![(decision, true)], BTreeSet::new());
        while let Some((id, is_near)) = todo.pop() {
            // What reaches an objective by itself is joined by nothing.
            if graph.roots.iter().any(|root| root.node == id) {
                return false;
            }
            for user in self.users(id) {
                let node = graph.node(user);
                let joins = is_near
                    && (matches!(node.op, Op::Map(Mul | Div))
                        || rounds && matches!(node.op, Op::Map(Add | Sub)));
                let mut others = node.args.iter().filter(|arg| **arg != id);
                let is_alone = !others.clone().any(|arg| flow.is_wanted(*arg));
                if joins && others.any(|arg| self.depends(*arg, x)) || self.passes(user, x, 0) {
                    continue;
                }
                if !is_alone {
                    return false;
                }
                let is_near = is_near && !node.op.is_delay() && !is_reduction(&node.op);
                if seen.insert((user, is_near)) {
                    todo.push((user, is_near));
                }
            }
        }
        true
    }

    /// What depends on a node by the chain rule, and matters.
    fn users(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let users = self.flow.users[id.0 as usize].iter().copied();
        users.filter(|user| self.flow.matters(*user))
    }

    /// Whether a node depends on `x` by the chain rule within a step; operands come first.
    fn depends(&self, id: NodeId, x: NodeId) -> bool {
        let (mut todo, mut seen) = (vec![id], BTreeSet::new());
        while let Some(id) = todo.pop() {
            if id == x {
                return true;
            }
            if id > x && seen.insert(id) && !self.flow.graph.node(id).op.is_delay() {
                todo.extend(self.flow.carried(id));
            }
        }
        false
    }

    /// Whether a sum, or all sums that it is a term of, have the gradient of something in place of that of a decision
    /// on `x`.
    fn passes(&self, sum: NodeId, x: NodeId, depth: usize) -> bool {
        use Pointwise::{Add, Neg, Sub};
        let graph = &self.flow.graph;
        let is_sum = matches!(graph.node(sum).op, Op::Map(Add | Sub | Neg) | Op::Broadcast(_));
        if !is_sum || depth > MAX_SUMS {
            return false;
        }
        if self.tangents(sum).into_iter().any(|tangent| self.are_related(tangent, x)) {
            return true;
        }
        let is_root = graph.roots.iter().any(|root| root.node == sum);
        let mut users = self.users(sum).peekable();
        !is_root && users.peek().is_some() && users.all(|user| self.passes(user, x, depth + 1))
    }

    /// The terms of a sum, without those that its factors come with.
    fn terms(&self, sum: NodeId) -> Vec<Term> {
        use Pointwise::{Div, Mul};
        let graph = &self.flow.graph;
        let mut terms = Vec::new();
        let mut todo = vec![Term { node: sum, factor: 1.0, is_stopped: false }];
        while let Some(Term { node: id, factor, is_stopped }) = todo.pop() {
            let node = graph.node(id);
            let number = |operand: usize| graph.as_number(node.args[operand]);
            let parts: Vec<(usize, f64)> = if let Some(signs) = node.op.signs() {
                let sign = |is_subtracted: &bool| if *is_subtracted { -1.0 } else { 1.0 };
                signs.iter().map(sign).enumerate().collect()
            } else if matches!(node.op, Op::Sg | Op::Broadcast(_)) {
                vec![(0, 1.0)]
            } else if node.op == Op::Map(Mul) {
                match (number(0), number(1)) {
                    (Some(number), None) => vec![(1, number)],
                    (None, Some(number)) => vec![(0, number)],
                    _ => vec![],
                }
            } else if node.op == Op::Map(Div) {
                number(1).map(|number| (0, 1.0 / number)).into_iter().collect()
            } else {
                vec![]
            };
            let is_stopped = is_stopped || node.op == Op::Sg;
            if parts.is_empty() || terms.len() + todo.len() >= MAX_TERMS {
                terms.push(Term { node: id, factor, is_stopped });
            } else {
                let part = |(operand, by): (usize, f64)| Term {
                    node: node.args[operand],
                    factor: factor * by,
                    is_stopped,
                };
                todo.extend(parts.into_iter().map(part));
            }
        }
        terms
    }

    /// What a sum has the gradient of without having the value: g in `g - sg(g)`, and what has such a factor.
    fn tangents(&self, sum: NodeId) -> Vec<NodeId> {
        let terms = self.terms(sum);
        let value = |term: &Term| self.values[term.node.0 as usize];
        let is_live = |term: &Term| !term.is_stopped && self.flow.is_wanted(term.node);
        let is_tangent = |term: &&Term| {
            let mut same = terms.iter().filter(|other| value(other) == value(term));
            let is_opposite = |other: &Term| !is_live(other) && other.factor == -term.factor;
            is_live(term) && (same.any(is_opposite) || self.has_tangent(term.node))
        };
        terms.iter().filter(is_tangent).map(|term| term.node).collect()
    }

    /// Whether a product has a factor whose terms add up to zero.
    fn has_tangent(&self, product: NodeId) -> bool {
        let node = self.flow.graph.node(product);
        let Op::Map(op @ (Pointwise::Mul | Pointwise::Div)) = node.op else { return false };
        let factors = if op == Pointwise::Mul { &node.args[..] } else { &node.args[..1] };
        factors.iter().any(|factor| {
            let mut sums: HashMap<u32, f64> = HashMap::new();
            for term in self.terms(*factor) {
                *sums.entry(self.values[term.node.0 as usize]).or_default() += term.factor;
            }
            self.flow.is_wanted(*factor) && sums.values().all(|sum| *sum == 0.0)
        })
    }

    /// Whether two values are made of a common one that wants a gradient, products and earlier steps left out.
    fn are_related(&self, a: NodeId, b: NodeId) -> bool {
        let of = |id: NodeId| {
            let (mut found, mut todo) = (BTreeSet::new(), vec![id]);
            while let Some(id) = todo.pop().filter(|_| found.len() < MAX_RELATED) {
                let node = self.flow.graph.node(id);
                let is_new = self.flow.is_wanted(id) && found.insert(self.values[id.0 as usize]);
                if is_new && !node.op.is_delay() && node.op != Op::MatMul {
                    todo.extend(&node.args);
                }
            }
            found
        };
        !of(a).is_disjoint(&of(b))
    }
}

fn is_reduction(op: &Op) -> bool {
    matches!(op, Op::Reduce(..) | Op::TimeReduce(_))
}
