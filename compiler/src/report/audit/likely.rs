//! What is likely to be meant otherwise: W006, both operands of an operation are stretched, and W007, a smooth function
//! in the place of a spike.

use std::collections::BTreeSet;

use super::Subject;
use crate::diagnostic::Diagnostic;
use crate::front::check::standard_item;
use crate::ir::graph::dependence::reachable;
use crate::ir::graph::{Dim, Graph, NodeId, Op, ParamKind, Pointwise};

/// Operations that stretch both operands though one of them has fewer axes: `[B, 1]` and `[B]` make `[B, B]`.
pub fn stretched_both(subject: &Subject) -> Vec<Diagnostic> {
    let graph = &subject.written.graph;
    let inputs = graph.ids().filter(|id| matches!(graph.node(*id).op, Op::Input(_))).collect();
    let of_inputs = reachable(graph, inputs, users(graph));
    let found = subject.written.ids().filter_map(|id| {
        let node = graph.node(id);
        let Op::Map(_) = node.op else { return None };
        // What the operation itself has stretched.
        let stretched = node.args.iter().enumerate().filter_map(|(place, arg)| {
            let broadcast = graph.node(*arg);
            let is_own = subject.spans(broadcast) == subject.spans(node);
            let is_stretched = matches!(broadcast.op, Op::Broadcast(_)) && is_own;
            is_stretched.then(|| (place, broadcast.args[0]))
        });
        let stretched: Vec<(usize, NodeId)> = stretched.collect();
        let pairs =
            stretched.iter().flat_map(|long| stretched.iter().map(move |short| (long, short)));
        let mut pairs = pairs.filter(|((_, long), (_, short))| {
            let [long_dims, short_dims] = [long, short].map(|id| &graph.ty(*id).dims[..]);
            match crossing(long_dims, short_dims) {
                Some(is_square) => {
                    of_inputs[short.0 as usize] && (is_square || !is_explicit(graph, *long))
                }
                None => false,
            }
        });
        let (long, short) = pairs.next()?;
        Some(both_are_stretched(subject, id, long, short))
    });
    found.collect()
}

/// Whether the longer shape has a 1 where the shorter one has more, and more where that has no axis; and if so, whether
/// the two dimensions are equal.
fn crossing(long: &[Dim], short: &[Dim]) -> Option<bool> {
    let (new, shared) = long.split_at_checked(long.len().checked_sub(short.len())?)?;
    let made: Vec<&Dim> = new.iter().filter(|dim| !dim.is_one()).collect();
    let stretches = |(one, dim): &(&Dim, &Dim)| one.is_one() && !dim.is_one();
    let stretched: Vec<&Dim> =
        shared.iter().zip(short).filter(stretches).map(|(_, dim)| dim).collect();
    let is_crossing = !made.is_empty() && !stretched.is_empty();
    is_crossing.then(|| made.iter().any(|dim| stretched.contains(dim)))
}

/// Whether the 1 in a shape was written there.
fn is_explicit(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Reshape(_) | Op::Broadcast(_))
}

fn both_are_stretched(
    subject: &Subject,
    id: NodeId,
    long: &(usize, NodeId),
    short: &(usize, NodeId),
) -> Diagnostic {
    let graph = &subject.written.graph;
    let spans = subject.spans(graph.node(id));
    let mut own = spans.iter().filter(|span| !subject.is_library(**span));
    let place = own.next().or(spans.first()).copied().unwrap_or_default();
    let ty = |id: NodeId| graph.ty(id).to_string();
    let is_library = spans.first().is_some_and(|span| subject.is_library(*span));
    let operand = |(operand, value): &(usize, NodeId)| {
        let written = subject.operands(graph.node(id)).get(*operand).copied();
        written.filter(|_| !is_library).unwrap_or_else(|| subject.place(graph.node(*value)))
    };
    let [long_place, short_place] = [long, short].map(operand);
    let warning = Diagnostic::warning("W006", "both operands are stretched to fit the other")
        .label(place, format!("this is {}", ty(id)))
        .label(long_place, format!("this is {}", ty(long.1)))
        .label(short_place, format!("this is {}", ty(short.1)));
    let warning = own.take(2).fold(warning, |warning, call| warning.label(*call, "in this call"));
    let text = |place| {
        let text = subject.text(place);
        if text.len() <= 40 { text } else { "…".to_string() }
    };
    let dims =
        |id: NodeId| graph.ty(id).dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ");
    let ones = "1, ".repeat(graph.ty(long.1).dims.len() - graph.ty(short.1).dims.len());
    warning.hint(format!(
        "to take them one by one, give both the same axes, by `reshape` or without `keepdims = true`; if all pairs are \
         meant, say so: `reshape({}, [{ones}{}])`",
        text(short_place),
        dims(short.1),
    ))
}

/// Smooth functions with the name of a spike that take the difference of a memory and something, where nothing spikes.
pub fn smooth_in_place_of_spikes(subject: &Subject) -> Vec<Diagnostic> {
    let graph = &subject.written.graph;
    let delays = graph.ids().filter(|id| graph.node(*id).op == Op::Prev).collect();
    let of_pointwise = |id: NodeId| -> Vec<NodeId> {
        users(graph)(id).into_iter().filter(|user| is_elementwise(&graph.node(*user).op)).collect()
    };
    // What is made of a memory element by element.
    let remembers = reachable(graph, delays, of_pointwise);
    let remembers = |id: &NodeId| remembers[id.0 as usize];
    let decides = |id: NodeId| {
        let node = graph.node(id);
        matches!(node.op, Op::Map(op) if op.row().is_decision()) && node.args.iter().any(remembers)
    };
    if subject.written.ids().any(decides) {
        return Vec::new();
    }
    let found = subject.written.ids().filter_map(|id| {
        let node = graph.node(id);
        let Op::Map(op) = node.op else { return None };
        let name = op.row().name;
        let span = *subject.spans(node).first()?;
        let is_meant = subject.is_library(span) || subject.text(span).starts_with("prelude");
        let is_likely = !is_meant
            && standard_item("spike", name)
            && is_above_threshold(graph, node.args[0], &remembers);
        is_likely.then(|| {
            Diagnostic::warning("W007", format!("`{name}` is the smooth function here, and nothing spikes"))
                .label(span, "takes a memory minus a threshold, as a spike does")
                .hint(format!(
                    "`use spike::{name};` at the top makes it a spike with this surrogate; if the smooth function is \
                     meant, write `prelude::{name}(…)`"
                ))
        })
    });
    found.collect()
}

/// Whether a node is the difference of a memory and something, perhaps scaled.
fn is_above_threshold(graph: &Graph, id: NodeId, remembers: &dyn Fn(&NodeId) -> bool) -> bool {
    use Pointwise::{Div, Mul, Sub};
    let (mut todo, mut seen) = (vec![id], BTreeSet::new());
    while let Some(id) = todo.pop().filter(|id| seen.insert(*id)) {
        let node = graph.node(id);
        if node.op == Op::Map(Sub) && remembers(&node.args[0]) && !is_state(graph, node.args[1]) {
            return true;
        }
        if node.op == Op::Map(Mul) {
            todo.extend(node.args.iter().filter(|arg| remembers(arg)));
        }
        if matches!(node.op, Op::Map(Div) | Op::Broadcast(_)) {
            todo.extend(&node.args[..1]);
        }
    }
    false
}

/// Whether a node is a state, a mean that is kept, say.
fn is_state(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    if let Op::Param(index) = node.op {
        return graph.params[index].kind == ParamKind::State;
    }
    matches!(node.op, Op::Sg | Op::Broadcast(_)) && is_state(graph, node.args[0])
}

fn is_elementwise(op: &Op) -> bool {
    matches!(op, Op::Map(_) | Op::Broadcast(_) | Op::Reshape(_) | Op::Sg)
}

/// What each node is an operand of.
fn users(graph: &Graph) -> impl Fn(NodeId) -> Vec<NodeId> {
    let mut users = vec![Vec::new(); graph.len()];
    for id in graph.ids() {
        graph.node(id).args.iter().for_each(|arg| users[arg.0 as usize].push(id));
    }
    move |id: NodeId| users[id.0 as usize].clone()
}
