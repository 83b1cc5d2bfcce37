//! The places of a program at which gradients are made, cut or lost.

use std::collections::BTreeSet;

use super::Subject;
use super::singular::pointwise;
use crate::front::syntax::expr_to_string;
use crate::ir::graph::syntax::{Written, written};
use crate::ir::graph::{Elem, Graph, Node, NodeId, Op, Pointwise, Role, components};
use crate::report::explain::Names;
use crate::source::Span;

/// What happens to gradients at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is written.
    pub place: Span,
    /// `param`, `inject`, `bypass`, `cut` or `reset`.
    pub kind: &'static str,
    /// What it says, on one line.
    pub text: String,
}

/// All such places of a graph, in the order of the text.
pub fn entries(subject: &Subject) -> Vec<Entry> {
    let mut entries =
        [params(subject), surrogates(subject), cuts(subject), resets(subject)].concat();
    entries.sort_by_key(|entry| (entry.place.file, entry.place.start));
    let mut seen = BTreeSet::new();
    entries.retain(|entry| seen.insert((entry.place, entry.kind, entry.text.clone())));
    entries
}

/// Parameters, with the outputs of which they receive a gradient.
fn params(subject: &Subject) -> Vec<Entry> {
    let graph = &subject.normal.graph;
    let outputs = graph
        .roots
        .iter()
        .filter(|root| root.role == Role::Output && graph.ty(root.node).elem == Elem::F32);
    let reached: Vec<_> =
        outputs.map(|root| (&root.name, subject.normal.reached(vec![root.node]))).collect();
    let params = subject.params.iter().zip(&subject.places.params).enumerate();
    params
        .map(|(index, (param, spans))| {
            let own = &subject.normal.params[index];
            let arrives = |reached: &[bool]| own.iter().any(|id| reached[id.0 as usize]);
            let from = reached.iter().filter(|(_, reached)| arrives(reached));
            let from: Vec<String> = from.map(|(name, _)| name.to_string()).collect();
            let from = if from.is_empty() { "no output".into() } else { from.join(", ") };
            let text = format!("{} receives a gradient from {from}", param.path);
            Entry { place: subject.in_program(spans), kind: "param", text }
        })
        .collect()
}

/// Every `bypass` of the normal form: what is differentiated in place of what.
fn surrogates(subject: &Subject) -> Vec<Entry> {
    let graph = &subject.normal.graph;
    let entry = |id: NodeId| {
        let node = graph.node(id);
        let path = node.name.as_deref().unwrap_or("");
        let names = Names::new(graph, subject.places, path);
        let name = |id: NodeId| {
            names
                .of(graph, id)
                .or_else(|| names.of(&subject.written.graph, unchanged(subject, id)?))
        };
        let text = |id: NodeId| match name(id) {
            Some(name) => format!("`{name}`"),
            None => in_words(&written(graph, id, &name)),
        };
        let gradient = node.args[1];
        let (kind, shape) = match injected(subject, gradient) {
            Some((x, shape)) => ("inject", format!("{} for {}", text(shape), text(x))),
            None => ("bypass", format!("of {}", text(gradient))),
        };
        let name = if path.is_empty() { text(node.args[0]) } else { path.into() };
        let text = format!("{name} has the gradient {shape}");
        // A function of the program may have made it.
        let binding = subject.places.bindings.iter().find(|binding| binding.path == path);
        let place = binding.map(|binding| binding.span).filter(|span| !subject.is_library(*span));
        Entry { place: place.unwrap_or_else(|| subject.place(node)), kind, text }
    };
    subject.surrogates.iter().map(|one| entry(one.node)).collect()
}

/// What a node was written as, if nothing of it has changed but what its operands stand for.
fn unchanged(subject: &Subject, id: NodeId) -> Option<NodeId> {
    let (normal, graph) = (&subject.normal.graph, &subject.written.graph);
    let number = |id: NodeId| normal.node(id).span.map(|span| NodeId(span.start));
    let was = number(id)?;
    let args = normal.node(id).args.iter().map(|arg| number(*arg));
    let is_same = normal.node(id).op == graph.node(was).op
        && args.eq(graph.node(was).args.iter().map(|arg| Some(*arg)));
    is_same.then_some(was)
}

/// `x` and `d` of a gradient operand `x * sg(d)`.
fn injected(subject: &Subject, gradient: NodeId) -> Option<(NodeId, NodeId)> {
    let graph = &subject.normal.graph;
    let node = graph.node(gradient);
    let [a, b] = node.args[..] else { return None };
    let stopped =
        |id: NodeId| if graph.node(id).op == Op::Sg { graph.node(id).args[0] } else { id };
    let is_live = [a, b].map(|id| subject.normal.is_live(id));
    match (&node.op, is_live) {
        (Op::Map(Pointwise::Mul), [true, false]) => Some((a, stopped(b))),
        (Op::Map(Pointwise::Mul), [false, true]) => Some((b, stopped(a))),
        _ => None,
    }
}

fn in_words(written: &Written) -> String {
    let lets = written
        .lets
        .iter()
        .map(|(name, value)| format!(" where {name} = {}", expr_to_string(value)));
    format!("`{}`{}", expr_to_string(&written.value), lets.collect::<String>())
}

/// Every `sg` that stops something and is no part of a surrogate or of an operation.
fn cuts(subject: &Subject) -> Vec<Entry> {
    let flow = &subject.written;
    let mut of_surrogates = BTreeSet::new();
    let nodes = subject.surrogates.iter().map(|one| subject.normal.graph.node(one.node));
    let mut todo: Vec<NodeId> = nodes.filter_map(|node| Some(NodeId(node.span?.start))).collect();
    while let Some(id) = todo.pop() {
        use Pointwise::{Add, Mul, Neg, Sub};
        let node = flow.graph.node(id);
        let goes_on = matches!(node.op, Op::Map(Add | Mul | Neg | Sub) | Op::Broadcast(_));
        if of_surrogates.insert(id) && goes_on {
            todo.extend(&node.args);
        }
    }
    let is_cut = |id: &NodeId| {
        let node = flow.graph.node(*id);
        let stops = node.op == Op::Sg && flow.is_live(node.args[0]);
        stops && !of_surrogates.contains(id) && !subject.is_part(flow, *id)
    };
    let entry = |id| {
        let node = flow.graph.node(id);
        let text = format!("`{}` stops the gradient", subject.text_of(node));
        Entry { place: subject.place(node), kind: "cut", text }
    };
    flow.ids().filter(is_cut).map(entry).collect()
}

/// Where a state is changed by its own spikes: what is subtracted for a spike, a factor, a choice.
fn resets(subject: &Subject) -> Vec<Entry> {
    let flow = &subject.written;
    let graph = &flow.graph;
    let spikes = spikes(subject);
    let mut loops = vec![None; graph.len()];
    let found = components(graph.len(), flow.ids(), |id| &graph.node(id).args);
    for (number, component) in found.iter().enumerate().filter(|(_, ids)| ids.len() > 1) {
        component.iter().for_each(|id| loops[id.0 as usize] = Some(number));
    }
    let mut of_resets = BTreeSet::new();
    let mut entries = Vec::new();
    for id in flow.ids().rev().filter(|id| loops[id.0 as usize].is_some()) {
        let node = graph.node(id);
        let is_state = |x: NodeId| loops[x.0 as usize] == loops[id.0 as usize];
        let is_spike = |x: NodeId| is_spike(graph, &spikes, x);
        let Some((spike, how)) = reset(node, &is_state, &is_spike) else { continue };
        if of_resets.contains(&id) {
            continue;
        }
        of_resets.extend(pointwise(graph, spike));
        let effect = if flow.is_live(spike) { "carries" } else { "cuts" };
        let what = subject.text_of(graph.node(spike));
        let text = format!("`{what}` {how}: it {effect} the gradient");
        entries.push(Entry { place: subject.place(node), kind: "reset", text });
    }
    entries
}

/// The spike with which an operation resets a state, and how.
fn reset(
    node: &Node,
    is_state: &dyn Fn(NodeId) -> bool,
    is_spike: &dyn Fn(NodeId) -> bool,
) -> Option<(NodeId, &'static str)> {
    use Pointwise::{Mul, Select, Sub};
    let is_reset = |state: NodeId, spike: NodeId| is_state(state) && is_spike(spike);
    match (&node.op, &node.args[..]) {
        (Op::Map(Sub), &[a, b]) if is_reset(a, b) => Some((b, "is subtracted")),
        (Op::Map(Mul), &[a, b]) if is_reset(a, b) => Some((b, "is a factor")),
        (Op::Map(Mul), &[a, b]) if is_reset(b, a) => Some((a, "is a factor")),
        (Op::Map(Select), &[c, a, b]) if is_state(c) && (is_state(a) || is_state(b)) => {
            Some((c, "decides"))
        }
        _ => None,
    }
}

/// What was written of 0 or 1 in each element: surrogates and their complements, decisions and delays of
/// them.
fn spikes(subject: &Subject) -> BTreeSet<NodeId> {
    let graph = &subject.normal.graph;
    let is_spike = |id: &NodeId| {
        let fact = subject.facts.at(*id);
        graph.ty(*id).elem == Elem::F32 && fact.is_binary() && fact.constant.is_none()
    };
    let spikes = subject.normal.ids().filter(is_spike);
    spikes.filter_map(|id| Some(NodeId(graph.node(id).span?.start))).collect()
}

/// A spike, or a product of one.
fn is_spike(graph: &Graph, spikes: &BTreeSet<NodeId>, id: NodeId) -> bool {
    let node = graph.node(id);
    let mut args = node.args.iter();
    spikes.contains(&id)
        || matches!(node.op, Op::Map(Pointwise::Neg | Pointwise::Mul) | Op::Broadcast(_) | Op::Sg)
            && args.any(|x| is_spike(graph, spikes, *x))
}
