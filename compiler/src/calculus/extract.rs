//! The normal form of a graph: rebuilt without what cancels.
//!
//! Each node that a surrogate takes part in has three readings: its *value*, free of `sg` and
//! `bypass`; its *derivative*, a node of the same derivative whose own value is of no interest; and
//! the node that stands for both. A value or derivative of `None` is zero.
//!
//! A sum keeps its value as the tree that was written, so that leaving out two terms that cancel
//! changes nothing in the order of the others.

use std::collections::HashMap;
use std::rc::Rc;

use super::Report;
use super::language::Operation;
use super::values::{Value, Values, is_sum};
use crate::autodiff::{as_stream, carries_derivative, live};
use crate::graph::{Builder, Graph, Node, NodeId, Op, Pointwise, Reduction};

/// The longest sum in which terms are looked for that cancel.
const MAX_SUM: usize = 64;

/// The nodes that an `sg` or `bypass` takes part in, `prev` and `next` cut.
pub fn near_surrogates(graph: &Graph) -> Vec<bool> {
    let mut near = vec![false; graph.len()];
    for id in graph.ids() {
        let node = graph.node(id);
        let is_near = |arg: &NodeId| near[arg.0 as usize];
        near[id.0 as usize] = match node.op {
            Op::Sg | Op::Bypass => true,
            Op::Prev | Op::Next => false,
            _ => node.args.iter().any(is_near),
        };
    }
    near
}

pub fn normal_form(
    mut graph: Graph,
    surrogate: &[bool],
    values: &Values,
    report: &mut Report,
) -> Graph {
    let source: Vec<NodeId> = graph.ids().collect();
    let live = live(&graph);
    let mut normal =
        Normal { values, report, readings: Vec::new(), live, b: Builder::new(&mut graph) };
    for &id in &source {
        let reading = match surrogate[id.0 as usize] {
            true => normal.read(id),
            false => normal.plain(id),
        };
        normal.readings.push(reading);
    }
    let Normal { readings, mut b, .. } = normal;
    let dual = |id: NodeId| readings[id.0 as usize].dual;
    for &id in &source {
        let node = b.graph().node(id);
        if matches!(node.op, Op::Prev | Op::Next) {
            let (x, init) = (dual(node.args[0]), dual(node.args[1]));
            let x = as_stream(&mut b, x);
            b.graph_mut().node_mut(id).args = vec![x, init];
        }
    }
    for root in 0..b.graph().roots.len() {
        let was = b.graph().roots[root].node;
        let is_stream = b.ty(was).is_stream();
        let node = if is_stream { as_stream(&mut b, dual(was)) } else { dual(was) };
        b.graph_mut().roots[root].node = node;
    }
    graph.compact()
}

#[derive(Clone)]
struct Reading {
    value: Option<NodeId>,
    derivative: Option<NodeId>,
    dual: NodeId,
    /// The value as a sum.
    tree: Option<Rc<Tree>>,
}

/// The value of a sum, as it was written.
struct Tree {
    kind: Kind,
    leaves: usize,
    /// One of the leaves is a sum that is not looked into.
    is_shortened: bool,
}

enum Kind {
    Leaf(Leaf),
    Neg(Rc<Tree>),
    Add(Rc<Tree>, Rc<Tree>),
    Sub(Rc<Tree>, Rc<Tree>),
}

#[derive(Clone, Copy)]
struct Leaf {
    node: NodeId,
    value: Option<Value>,
    /// It comes from under an `sg` or is the value of a `bypass`, so it may cancel.
    stopped: bool,
}

struct Normal<'a> {
    values: &'a Values,
    report: &'a mut Report,
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
        let tree = is_sum(self.b.graph(), id).then(|| self.trees(&args));
        let tree = tree.and_then(|trees| combine(&op, trees));
        let tree = tree.unwrap_or_else(|| self.leaf(id, id, false));
        let derivative = self.live[id.0 as usize].then_some(id);
        Reading { value: Some(id), derivative, dual: id, tree: Some(tree) }
    }

    /// The operands of a sum as trees. Of a sum too long to look through, the first half is one term.
    fn trees(&mut self, args: &[NodeId]) -> Vec<Option<Rc<Tree>>> {
        let mut trees: Vec<_> = args.iter().map(|arg| self.reading(*arg).tree.clone()).collect();
        let leaves: usize = trees.iter().flatten().map(|tree| tree.leaves).sum();
        if leaves > MAX_SUM {
            for tree in trees.iter_mut().flatten().filter(|tree| tree.leaves > MAX_SUM / 2) {
                *tree = self.shorten(tree, args[0]);
            }
        }
        trees
    }

    fn shorten(&mut self, tree: &Rc<Tree>, like: NodeId) -> Rc<Tree> {
        let (op, mut parts) = match &tree.kind {
            Kind::Leaf(_) => return tree.clone(),
            Kind::Neg(x) => (Pointwise::Neg, vec![Some(x.clone())]),
            Kind::Add(a, b) => (Pointwise::Add, vec![Some(a.clone()), Some(b.clone())]),
            Kind::Sub(a, b) => (Pointwise::Sub, vec![Some(a.clone()), Some(b.clone())]),
        };
        if tree.leaves <= MAX_SUM / 2 {
            let value = self.value(tree);
            let node = value.unwrap_or_else(|| self.b.full_like(0.0, like));
            let kind = Kind::Leaf(Leaf { node, value: None, stopped: false });
            return Rc::new(Tree { kind, leaves: 1, is_shortened: true });
        }
        let longest = parts.iter_mut().flatten().rev().max_by_key(|part| part.leaves);
        if let Some(part) = longest {
            *part = self.shorten(part, like);
        }
        combine(&Op::Map(op), parts).unwrap_or_else(|| tree.clone())
    }

    fn leaf(&self, id: NodeId, node: NodeId, stopped: bool) -> Rc<Tree> {
        let leaf = Leaf { node, value: self.values.of(id), stopped };
        Rc::new(Tree { kind: Kind::Leaf(leaf), leaves: 1, is_shortened: false })
    }

    fn read(&mut self, id: NodeId) -> Reading {
        let node = self.b.graph().node(id).clone();
        self.b.span = node.span;
        let mut reading = match node.op {
            Op::Sg => {
                let x = self.reading(node.args[0]).clone();
                self.finish(id, x.value, None, x.tree.map(|tree| stopped(self.b.graph(), &tree)))
            }
            Op::Bypass => {
                let (f, g) = (self.reading(node.args[0]).clone(), self.reading(node.args[1]));
                let (derivative, graph) = (g.derivative, self.b.graph());
                let tree = f.tree.map(|tree| stopped(graph, &tree));
                self.finish(id, f.value, derivative, tree)
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
            reading.tree = Some(self.leaf(id, value, reading.derivative.is_none()));
        }
        reading
    }

    /// The reading of a node whose value and derivative are known, as a bypass if both are needed.
    fn finish(
        &mut self,
        id: NodeId,
        value: Option<NodeId>,
        derivative: Option<NodeId>,
        tree: Option<Rc<Tree>>,
    ) -> Reading {
        let shown = value.unwrap_or_else(|| self.b.full_like(0.0, id));
        let dual = match derivative {
            Some(derivative) if derivative == shown => shown,
            Some(derivative) => self.b.push(Op::Bypass, vec![shown, derivative]),
            None if self.is_live(shown) => self.b.push(Op::Sg, vec![shown]),
            None => shown,
        };
        Reading { value, derivative, dual, tree }
    }

    fn read_sum(&mut self, id: NodeId, node: &Node) -> Reading {
        let args: Vec<Reading> = node.args.iter().map(|arg| self.reading(*arg).clone()).collect();
        let derivative = self.sum(&node.op, args.iter().map(|arg| arg.derivative).collect());
        let trees = self.trees(&node.args);
        if trees.iter().flatten().any(|tree| tree.is_shortened) {
            self.report.limit.get_or_insert_with(|| format!("{MAX_SUM} terms of a sum"));
        }
        let gone = match &trees[..] {
            [Some(a), Some(b)] => cancelling(a, b, node.op == Op::Map(Pointwise::Sub)),
            _ => [vec![], vec![]],
        };
        let as_written = gone[0].is_empty() && args.iter().all(|arg| arg.value.is_some());
        if as_written {
            let value = self.sum(&node.op, args.iter().map(|arg| arg.value).collect());
            let tree = combine(&node.op, trees);
            let mut reading = self.finish(id, value, derivative, tree);
            if value.is_none() {
                reading.tree = None;
            } else if derivative.is_some() {
                let duals = args.iter().map(|arg| arg.dual).collect();
                reading.dual = self.b.push(node.op.clone(), duals);
            }
            return reading;
        }
        let trees = trees.into_iter().zip(&gone).map(|(tree, gone)| prune(&tree?, &mut 0, gone));
        let tree = combine(&node.op, trees.collect());
        let value = tree.as_ref().and_then(|tree| self.value(tree));
        self.finish(id, value, derivative, tree.filter(|_| value.is_some()))
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

    fn value(&mut self, tree: &Tree) -> Option<NodeId> {
        let (op, parts) = match &tree.kind {
            Kind::Leaf(leaf) => return Some(leaf.node),
            Kind::Neg(x) => (Pointwise::Neg, vec![x]),
            Kind::Add(a, b) => (Pointwise::Add, vec![a, b]),
            Kind::Sub(a, b) => (Pointwise::Sub, vec![a, b]),
        };
        let parts = parts.into_iter().map(|part| self.value(part)).collect();
        self.sum(&Op::Map(op), parts)
    }

    fn read_operation(&mut self, id: NodeId, node: &Node) -> Reading {
        let args: Vec<Reading> = node.args.iter().map(|arg| self.reading(*arg).clone()).collect();
        let graph = self.b.graph();
        let carries: Vec<bool> = (0..args.len())
            .map(|place| args[place].derivative.is_some() && carries_derivative(graph, node, place))
            .collect();
        let groups = Operation::new(node.op.clone()).linear_in(args.len());
        // A group of zeros makes zero, whatever the others are.
        let zero = groups.iter().find(|group| group.iter().all(|i| args[*i].value.is_none()));
        let is_linear =
            |group: &&Vec<usize>| (0..args.len()).all(|i| group.contains(&i) || !carries[i]);
        let linear = groups.iter().find(is_linear);
        let value = match zero {
            Some(_) => None,
            None => Some(self.operation(node, args.iter().map(|arg| arg.value).collect())),
        };
        if !carries.contains(&true) {
            return self.finish(id, value, None, None);
        }
        let dual = self.operation(node, args.iter().map(|arg| Some(arg.dual)).collect());
        let derivative = match zero.or(linear) {
            Some(group) => self.linear_derivative(node, &args, group),
            None => Some(dual),
        };
        if value.is_none() || derivative.is_none() {
            return self.finish(id, value, derivative, None);
        }
        Reading { value, derivative, dual, tree: None }
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
        let takes_stream = matches!(node.op, Op::First | Op::Last | Op::TimeReduce(_));
        if takes_stream && !self.b.ty(args[0]).is_stream() {
            if node.op != Op::TimeReduce(Reduction::Sum) {
                return args[0];
            }
            args[0] = as_stream(&mut self.b, args[0]);
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

/// The sum of what is left.
fn combine(op: &Op, parts: Vec<Option<Rc<Tree>>>) -> Option<Rc<Tree>> {
    let leaves = parts.iter().flatten().map(|tree| tree.leaves).sum();
    let is_sub = *op == Op::Map(Pointwise::Sub);
    let kind = match &parts[..] {
        [Some(a), Some(b)] if is_sub => Kind::Sub(a.clone(), b.clone()),
        [Some(a), Some(b)] => Kind::Add(a.clone(), b.clone()),
        [Some(x)] => Kind::Neg(x.clone()),
        [None, Some(x)] if is_sub => match &x.kind {
            Kind::Neg(x) => return Some(x.clone()),
            _ => Kind::Neg(x.clone()),
        },
        [Some(x), None] | [None, Some(x)] => return Some(x.clone()),
        _ => return None,
    };
    let is_shortened = parts.iter().flatten().any(|tree| tree.is_shortened);
    Some(Rc::new(Tree { kind, leaves, is_shortened }))
}

/// The tree under an `sg`. Literals have no derivative to stop.
fn stopped(graph: &Graph, tree: &Rc<Tree>) -> Rc<Tree> {
    let kind = match &tree.kind {
        Kind::Leaf(leaf) => {
            let stopped = leaf.stopped || graph.as_number(leaf.node).is_none();
            Kind::Leaf(Leaf { stopped, ..*leaf })
        }
        Kind::Neg(x) => Kind::Neg(stopped(graph, x)),
        Kind::Add(a, b) => Kind::Add(stopped(graph, a), stopped(graph, b)),
        Kind::Sub(a, b) => Kind::Sub(stopped(graph, a), stopped(graph, b)),
    };
    Rc::new(Tree { kind, ..**tree })
}

/// The leaves in order, each with its sign.
fn leaves(tree: &Tree, negative: bool, found: &mut Vec<(bool, Leaf)>) {
    match &tree.kind {
        Kind::Leaf(leaf) => found.push((negative, *leaf)),
        Kind::Neg(x) => leaves(x, !negative, found),
        Kind::Add(a, b) => {
            leaves(a, negative, found);
            leaves(b, negative, found);
        }
        Kind::Sub(a, b) => {
            leaves(a, negative, found);
            leaves(b, !negative, found);
        }
    }
}

/// The positions of the leaves of `a` and of `b` that cancel in `a + b` or `a - b`: equal values of
/// opposite sign, one of them stopped. Within each they have been looked for before.
fn cancelling(a: &Tree, b: &Tree, subtract: bool) -> [Vec<usize>; 2] {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    leaves(a, false, &mut left);
    leaves(b, subtract, &mut right);
    let mut places: HashMap<Value, Vec<usize>> = HashMap::new();
    for (place, (negative, leaf)) in left.iter().enumerate() {
        if let Some((class, negated)) = leaf.value {
            places.entry((class, negated != *negative)).or_default().push(place);
        }
    }
    let mut gone = [vec![], vec![]];
    for (place, (negative, leaf)) in right.iter().enumerate() {
        let Some((class, negated)) = leaf.value else { continue };
        let Some(candidates) = places.get_mut(&(class, negated == *negative)) else { continue };
        let fits = |other: &usize| leaf.stopped || left[*other].1.stopped;
        if let Some(found) = candidates.iter().position(fits) {
            gone[0].push(candidates.remove(found));
            gone[1].push(place);
        }
    }
    gone
}

/// The tree without the leaves at these positions.
fn prune(tree: &Rc<Tree>, place: &mut usize, gone: &[usize]) -> Option<Rc<Tree>> {
    let here = *place..*place + tree.leaves;
    if !gone.iter().any(|gone| here.contains(gone)) {
        *place += tree.leaves;
        return Some(tree.clone());
    }
    let (op, parts) = match &tree.kind {
        Kind::Leaf(_) => {
            *place += 1;
            return None;
        }
        Kind::Neg(x) => (Pointwise::Neg, vec![x]),
        Kind::Add(a, b) => (Pointwise::Add, vec![a, b]),
        Kind::Sub(a, b) => (Pointwise::Sub, vec![a, b]),
    };
    let parts = parts.into_iter().map(|part| prune(part, place, gone)).collect();
    combine(&Op::Map(op), parts)
}
