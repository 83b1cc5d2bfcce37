//! The normal form of a graph: rebuilt without what cancels.
//!
//! Each node that a surrogate takes part in has three readings: its *value*, free of `sg` and
//! `bypass`; its *derivative*, a node of the same derivative whose own value is of no interest; and
//! the node that stands for both. A value or derivative of `None` is zero.
//!
//! A sum keeps its value as the tree that was written, so that leaving out two terms that cancel
//! changes nothing in the order of the others.

mod sums;

use std::rc::Rc;

use super::values::{Atoms, Value};
use super::{Limits, Report};
use crate::ir::graph::dependence::{carries_derivative, live};
use crate::ir::graph::{Builder, Elem, Graph, Node, NodeId, Op, Pointwise, Reduction};
use sums::{Term, Tree, combine};

/// The graph in normal form, and what each `prev` and `next` was found to be, given what they were
/// taken for.
pub fn normal_form(
    mut graph: Graph,
    delays: &[Delay],
    limits: Limits,
    report: &mut Report,
) -> (Graph, Vec<Found>) {
    let surrogate = near_surrogates(&graph, delays);
    let source: Vec<NodeId> = graph.ids().collect();
    let live = live(&graph);
    let mut normal = Normal {
        delays,
        limits,
        report,
        atoms: Atoms::new(limits.sum),
        readings: Vec::new(),
        live,
        b: Builder::new(&mut graph),
    };
    for &id in &source {
        let reading = match surrogate[id.0 as usize] {
            true => normal.read(id),
            false => normal.plain(id),
        };
        normal.readings.push(reading);
    }
    let Normal { readings, mut b, atoms, report, .. } = normal;
    report.terms = report.terms.max(atoms.len());
    let reading = |id: NodeId| &readings[id.0 as usize];
    let found = delays.iter().map(|delay| {
        let [x, init] = [0, 1].map(|operand| b.graph().node(delay.node).args[operand]);
        Found { x: reading(x).canonical.clone(), init: reading(init).canonical.clone() }
    });
    let found = found.collect();
    for &id in &source {
        let node = b.graph().node(id);
        if node.op.is_delay() {
            let (x, init) = (reading(node.args[0]).dual, reading(node.args[1]).dual);
            let x = b.as_stream(x);
            b.graph_mut().node_mut(id).args = vec![x, init];
        }
    }
    for root in 0..b.graph().roots.len() {
        let was = b.graph().roots[root].node;
        let is_stream = b.ty(was).is_stream();
        let dual = reading(was).dual;
        let node = if is_stream { b.as_stream(dual) } else { dual };
        b.graph_mut().roots[root].node = node;
    }
    (graph.compact(), found)
}

/// A `prev` or `next`, and what its value is taken for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    pub node: NodeId,
    /// Delays of one class have the same value.
    pub class: u32,
    pub is_zero: bool,
}

/// The values of the operands of a delay.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Found {
    pub x: Value,
    pub init: Value,
}

/// The nodes that an `sg` or `bypass` takes part in, `prev` and `next` cut unless they are taken for
/// zero.
pub fn near_surrogates(graph: &Graph, delays: &[Delay]) -> Vec<bool> {
    let mut near = vec![false; graph.len()];
    for delay in delays.iter().filter(|delay| delay.is_zero) {
        near[delay.node.0 as usize] = true;
    }
    for id in graph.ids() {
        let node = graph.node(id);
        let is_near = |arg: &NodeId| near[arg.0 as usize];
        near[id.0 as usize] |= matches!(node.op, Op::Sg | Op::Bypass)
            || !node.op.is_delay() && node.args.iter().any(is_near);
    }
    near
}

/// Whether a node is a sum of real numbers, of one or two terms.
pub fn is_sum(graph: &Graph, id: NodeId) -> bool {
    let Node { op, ty, .. } = graph.node(id);
    ty.elem == Elem::F32 && op.signs().is_some()
}

#[derive(Clone)]
struct Reading {
    value: Option<NodeId>,
    derivative: Option<NodeId>,
    dual: NodeId,
    /// Equal for equal values.
    canonical: Value,
    /// The value as a sum; `None` if it is zero.
    tree: Option<Rc<Tree>>,
}

struct Normal<'a> {
    delays: &'a [Delay],
    limits: Limits,
    report: &'a mut Report,
    atoms: Atoms,
    readings: Vec<Reading>,
    live: Vec<bool>,
    b: Builder<'a>,
}

impl Normal<'_> {
    fn reading(&self, id: NodeId) -> &Reading {
        &self.readings[id.0 as usize]
    }

    /// A node that is as it was.
    fn plain(&mut self, id: NodeId) -> Reading {
        let node = self.b.graph().node(id);
        let (op, args) = (node.op.clone(), node.args.clone());
        let canonical = self.canonical(id);
        let mut tree = None;
        if is_sum(self.b.graph(), id) && !self.meets(&op, &args) {
            let trees = self.trees(&args);
            tree = combine(&op, trees);
        }
        let has_derivative = self.live[id.0 as usize];
        let tree = tree.or_else(|| {
            Some(Tree::node(
                id,
                id,
                Term {
                    value: canonical.clone(),
                    has_derivative,
                    stop: None,
                    is_cut: false,
                    surrogate: None,
                    opens: self.opens(id),
                    is_shortened: false,
                },
            ))
        });
        Reading {
            value: Some(id),
            derivative: has_derivative.then_some(id),
            dual: id,
            canonical,
            tree,
        }
    }

    /// Whether terms of opposite sign meet in a sum of these operands.
    fn meets(&self, op: &Op, args: &[NodeId]) -> bool {
        let value = |place: usize| &self.reading(args[place]).canonical;
        let Some([false, is_subtracted]) = op.signs() else { return false };
        match is_subtracted {
            false => value(0).meets(value(1)),
            true => value(0).meets(&value(1).negated()),
        }
    }

    /// The value of a node that is as it was.
    fn canonical(&mut self, id: NodeId) -> Value {
        let graph = self.b.graph();
        let node = graph.node(id);
        if node.op.is_delay() {
            let delay = self.delays.iter().find(|delay| delay.node == id);
            return match delay {
                Some(delay) => self.atoms.delay(delay.class),
                None => self.atoms.node(id),
            };
        }
        let args: Vec<Value> =
            node.args.iter().map(|arg| self.reading(*arg).canonical.clone()).collect();
        if is_sum(graph, id) && self.meets(&node.op, &node.args) {
            return self.atoms.opaque(graph, id, &args);
        }
        self.atoms.operation(graph, id, &args)
    }

    /// The operands of a sum as trees. Of a sum too long to look through, the first half is one term.
    fn trees(&mut self, args: &[NodeId]) -> Vec<Option<Rc<Tree>>> {
        let mut trees: Vec<_> = args.iter().map(|arg| self.reading(*arg).tree.clone()).collect();
        let terms: usize = trees.iter().flatten().map(|tree| tree.terms.len()).sum();
        let half = self.limits.half_sum();
        if terms > self.limits.sum {
            for tree in trees.iter_mut().flatten().filter(|tree| tree.terms.len() > half) {
                *tree = self.shorten(tree, args[0]);
            }
        }
        trees
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are operations to the calculus")]
    fn read(&mut self, id: NodeId) -> Reading {
        let node = self.b.graph().node(id).clone();
        self.b.span = node.span;
        let mut reading = match node.op {
            Op::Sg => {
                let x = self.reading(node.args[0]).clone();
                // A literal has nothing to stop, so it stays a part of an ordinary sum.
                if x.derivative.is_none() && x.canonical.as_number().is_some() {
                    return x;
                }
                let tree = x.tree.map(|tree| tree.stopped(id));
                self.finish(id, x.value, None, x.canonical, tree)
            }
            Op::Bypass => {
                let (f, g) = (self.reading(node.args[0]).clone(), self.reading(node.args[1]));
                let (derivative, tree) = (g.derivative, f.tree.map(|tree| tree.stopped(id)));
                self.finish(id, f.value, derivative, f.canonical, tree)
            }
            // It is taken for zero.
            Op::Prev | Op::Next => {
                let derivative = self.live[id.0 as usize].then_some(id);
                self.finish(id, None, derivative, Value::default(), None)
            }
            _ if is_sum(self.b.graph(), id) => self.read_sum(id, &node),
            _ => self.read_operation(id, &node),
        };
        if reading.dual.0 as usize >= self.readings.len() {
            let dual = self.b.graph_mut().node_mut(reading.dual);
            dual.name = dual.name.take().or(node.name);
        }
        // A surrogate that is a term of a sum by itself.
        if reading.tree.is_none()
            && let Some(value) = reading.value
        {
            let has_derivative = reading.derivative.is_some();
            let term = Term {
                value: reading.canonical.clone(),
                has_derivative,
                stop: (!has_derivative).then_some(id),
                is_cut: !has_derivative && self.is_live(value),
                surrogate: has_derivative.then_some(reading.dual),
                opens: self.opens(id),
                is_shortened: false,
            };
            reading.tree = Some(Tree::node(value, id, term));
        }
        reading
    }

    /// The reading of a node whose value and derivative are known, as a bypass if both are needed.
    fn finish(
        &mut self,
        id: NodeId,
        value: Option<NodeId>,
        derivative: Option<NodeId>,
        canonical: Value,
        tree: Option<Rc<Tree>>,
    ) -> Reading {
        let value = value.filter(|value| self.b.graph().as_number(*value) != Some(0.0));
        let shown = value.unwrap_or_else(|| self.b.full_like(0.0, id));
        let dual = match derivative {
            Some(derivative) if derivative == shown => shown,
            Some(derivative) => self.b.push(Op::Bypass, vec![shown, derivative]),
            None if self.is_live(shown) => self.b.push(Op::Sg, vec![shown]),
            None => shown,
        };
        let canonical = if value.is_none() { Value::default() } else { canonical };
        Reading { value, derivative, dual, canonical, tree: tree.filter(|_| value.is_some()) }
    }

    fn read_sum(&mut self, id: NodeId, node: &Node) -> Reading {
        let args: Vec<Reading> = node.args.iter().map(|arg| self.reading(*arg).clone()).collect();
        let derivatives = args.iter().map(|arg| arg.derivative).collect();
        let trees = self.trees(&node.args);
        if trees.iter().flatten().any(|tree| tree.terms.iter().any(|term| term.is_shortened)) {
            self.report.limit.get_or_insert_with(|| format!("{} terms of a sum", self.limits.sum));
        }
        let (tree, is_shorter, is_ordinary) = match &trees[..] {
            [Some(a), Some(b)] => {
                let rest = self.cancel(&node.op, a.clone(), b.clone());
                (rest.tree, rest.is_shorter, rest.is_ordinary)
            }
            _ => (combine(&node.op, trees), false, false),
        };
        let as_written = !is_shorter && args.iter().all(|arg| arg.value.is_some());
        let derivative = match as_written {
            true => self.sum(&node.op, derivatives),
            false => self.shortest_sum(&node.op, derivatives),
        };
        let value = match as_written {
            true => self.sum(&node.op, args.iter().map(|arg| arg.value).collect()),
            false => tree.as_ref().and_then(|tree| self.value(tree)),
        };
        let canonical = match (value, &tree) {
            (Some(value), _) if is_ordinary => self.atoms.node(value),
            (Some(_), Some(tree)) => {
                let terms = tree.terms.iter().map(|term| term.value.clone());
                terms.fold(Value::default(), |sum, term| self.atoms.sum(&sum, &term))
            }
            _ => Value::default(),
        };
        let mut reading =
            self.finish(id, value, derivative, canonical, tree.filter(|_| !is_ordinary));
        if as_written && value.is_some() && derivative.is_some() {
            let duals = args.iter().map(|arg| arg.dual).collect();
            reading.dual = self.b.push(node.op.clone(), duals);
        }
        reading
    }

    /// A sum of what is not zero.
    fn sum(&mut self, op: &Op, args: Vec<Option<NodeId>>) -> Option<NodeId> {
        match (op, &args[..]) {
            (Op::Map(Pointwise::Sub), [Some(a), Some(b)]) if a == b => None,
            (Op::Map(Pointwise::Sub), [None, Some(b)]) => Some(self.b.neg(*b)),
            (_, [None, b]) => *b,
            (_, [a, None]) => *a,
            _ => {
                let args = args.into_iter().collect::<Option<Vec<_>>>()?;
                Some(self.b.push(op.clone(), args))
            }
        }
    }

    /// A sum of derivatives, in which a node that is added and subtracted is left out.
    fn shortest_sum(&mut self, op: &Op, args: Vec<Option<NodeId>>) -> Option<NodeId> {
        let mut terms = Vec::new();
        for (place, arg) in args.iter().enumerate() {
            let negative =
                *op == Op::Map(Pointwise::Neg) || (place == 1 && *op == Op::Map(Pointwise::Sub));
            arg.iter().for_each(|arg| self.flatten(*arg, negative, &mut terms));
        }
        let opposite = |&(negative, node): &(bool, NodeId)| terms.contains(&(!negative, node));
        if !terms.iter().any(opposite) || terms.len() > self.limits.sum {
            return self.sum(op, args);
        }
        let mut left: Vec<(bool, NodeId)> = Vec::new();
        for term in terms {
            match left.iter().position(|other| *other == (!term.0, term.1)) {
                Some(place) => drop(left.remove(place)),
                None => left.push(term),
            }
        }
        left.into_iter().fold(None, |sum, (negative, node)| {
            let op = if negative { Pointwise::Sub } else { Pointwise::Add };
            self.sum(&Op::Map(op), vec![sum, Some(node)])
        })
    }

    fn flatten(&self, id: NodeId, negative: bool, terms: &mut Vec<(bool, NodeId)>) {
        let node = self.b.graph().node(id);
        let is_open = node.op == Op::Map(Pointwise::Neg) || is_sum(self.b.graph(), id);
        let signs = node.op.signs().filter(|_| is_open && terms.len() <= self.limits.sum);
        let Some(signs) = signs else { return terms.push((negative, id)) };
        for (arg, is_subtracted) in node.args.iter().zip(signs) {
            self.flatten(*arg, negative != *is_subtracted, terms);
        }
    }

    fn read_operation(&mut self, id: NodeId, node: &Node) -> Reading {
        let args: Vec<Reading> = node.args.iter().map(|arg| self.reading(*arg).clone()).collect();
        let graph = self.b.graph();
        let carries: Vec<bool> = (0..args.len())
            .map(|place| args[place].derivative.is_some() && carries_derivative(graph, node, place))
            .collect();
        let groups = node.op.linear_in(args.len());
        // A group of zeros makes zero, whatever the others are.
        let is_zero = |group: &Vec<usize>| group.iter().all(|i| args[*i].value.is_none());
        let zero = groups.iter().find(|group| is_zero(group));
        let is_linear =
            |group: &&Vec<usize>| (0..args.len()).all(|i| group.contains(&i) || !carries[i]);
        let linear = groups.iter().find(is_linear);
        let value = match zero {
            Some(_) => None,
            None => Some(self.operation(node, args.iter().map(|arg| arg.value).collect())),
        };
        let canonical = self.canonical(id);
        if !carries.contains(&true) {
            return self.finish(id, value, None, canonical, None);
        }
        let dual = self.operation(node, args.iter().map(|arg| Some(arg.dual)).collect());
        // Of a product of two zeros the derivative is zero as well.
        let derivative = match zero.or(linear) {
            Some(group) if groups.iter().any(|other| other != group && is_zero(other)) => None,
            Some(group) => self.linear_derivative(node, &args, group),
            None => Some(dual),
        };
        if value.is_none() || derivative.is_none() {
            return self.finish(id, value, derivative, canonical, None);
        }
        Reading { value, derivative, dual, canonical, tree: None }
    }

    /// The operation on the derivatives of the group, the other operands stopped.
    fn linear_derivative(
        &mut self,
        node: &Node,
        args: &[Reading],
        group: &[usize],
    ) -> Option<NodeId> {
        if group.iter().all(|place| args[*place].derivative.is_none()) {
            return None;
        }
        let mut operands = Vec::new();
        for (place, arg) in args.iter().enumerate() {
            operands.push(match arg.value {
                _ if group.contains(&place) => arg.derivative,
                Some(value) if self.is_live(value) => Some(self.b.push(Op::Sg, vec![value])),
                value => value,
            });
        }
        Some(self.operation(node, operands))
    }

    /// The node's operation on other operands. What was a stream may have become static.
    fn operation(&mut self, node: &Node, args: Vec<Option<NodeId>>) -> NodeId {
        let mut args: Vec<NodeId> = args
            .into_iter()
            .zip(&node.args)
            .map(|(arg, was)| arg.unwrap_or_else(|| self.b.full_like(0.0, *was)))
            .collect();
        let takes_stream =
            matches!(node.op, Op::First | Op::Last | Op::TimeReduce(_) | Op::TimeStack(_));
        if takes_stream && !self.b.ty(args[0]).is_stream() {
            let is_itself = !matches!(node.op, Op::TimeReduce(Reduction::Sum) | Op::TimeStack(_));
            if is_itself {
                return args[0];
            }
            args[0] = self.b.as_stream(args[0]);
        }
        self.b.push(node.op.clone(), args)
    }

    fn is_live(&mut self, id: NodeId) -> bool {
        for next in self.live.len()..self.b.graph().len() {
            let graph = self.b.graph();
            let node = graph.node(NodeId(next as u32));
            let is_live = node.args.iter().enumerate().any(|(operand, arg)| {
                self.live[arg.0 as usize] && carries_derivative(graph, node, operand)
            });
            self.live.push(is_live);
        }
        self.live[id.0 as usize]
    }
}
