//! How active a network is: a graph that measures the share of its spikes that are 1.

use std::collections::BTreeMap;

use crate::front::check::{Binding, Places};
use crate::ir::graph::dependence::reachable;
use crate::ir::graph::{
    Builder, Clock, Dim, Elem, Facts, Graph, NodeId, Op, Pointwise, Reduction, Role, Root,
};
use crate::middle::autodiff;
use crate::source::Span;

/// The output of [`spike_rate`].
pub const SPIKE_RATE: &str = "spike_rate";

/// A graph with one output, the mean over all steps and elements of all spikes of a graph without
/// `sg`: of each stream that is a choice between 0 and 1. `None` if there are none.
pub fn spike_rate(graph: &Graph) -> Option<Graph> {
    let mut graph = graph.compact();
    let spikes = spikes(&graph);
    let node = rate(&mut graph, &spikes)?;
    graph.roots = vec![Root { name: SPIKE_RATE.into(), role: Role::Output, node }];
    Some(graph.compact())
}

/// A graph that measures each binding of spikes that are computed from parameters: an output for each, by path,
/// that is the share of its spikes that are 1. `None` if there are none. `graph` is as it was checked.
pub fn spike_rates(graph: &Graph, places: &Places) -> Option<(Graph, Vec<Binding>)> {
    let mut groups: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
    let args = |id: NodeId| graph.node(id).args.clone();
    let is_param =
        |(id, is_reached): (NodeId, bool)| is_reached && matches!(graph.node(id).op, Op::Param(_));
    let is_trained = |id: NodeId| graph.ids().zip(reachable(graph, vec![id], args)).any(is_param);
    for spike in spikes(graph).into_iter().filter(|id| is_trained(*id)) {
        if let Some(binding) = binding(places, spike) {
            groups.entry(binding).or_default().push(spike);
        }
    }
    let mut measured = graph.clone();
    let mut roots = Vec::new();
    for (at, spikes) in &groups {
        let name = places.bindings[*at].path.clone();
        roots.push(Root { name, role: Role::Output, node: rate(&mut measured, spikes)? });
    }
    measured.roots = roots;
    let bindings = groups.keys().map(|at| places.bindings[*at].clone()).collect();
    (!groups.is_empty()).then(|| (autodiff::erase(measured.compact()), bindings))
}

/// The innermost binding that a node was written in. Instances of a layer are written in one place: a node belongs to
/// the first of their bindings that comes after it.
fn binding(places: &Places, id: NodeId) -> Option<usize> {
    let is_in = |inner: &Span, outer: Span| {
        inner.file == outer.file && outer.start <= inner.start && inner.end <= outer.end
    };
    let around = |span: &Span| {
        let all = places.bindings.iter().enumerate();
        let around = all.filter(|(_, binding)| is_in(span, binding.span));
        let after = around.filter_map(|(at, binding)| Some((binding.node?, at)));
        after.filter(|(node, _)| *node >= id).min().map(|(_, at)| at)
    };
    places.nodes.get(id.0 as usize)?.iter().find_map(around)
}

/// The mean over all steps and elements of these streams.
fn rate(graph: &mut Graph, spikes: &[NodeId]) -> Option<NodeId> {
    let time = graph.time.clone()?;
    let mut builder = Builder::new(graph);
    let (mut ones, mut elements) = (None, None);
    for spike in spikes {
        let dims = builder.ty(*spike).dims.clone();
        let axes: Vec<usize> = (0..dims.len()).collect();
        let sum = builder.reduce(Reduction::Sum, *spike, &axes);
        let sum = builder.push(Op::TimeReduce(Reduction::Sum), vec![sum]);
        let count = builder.push(Op::Size(&time * &Dim::product(&dims)), vec![]);
        ones = Some(ones.map_or(sum, |ones| builder.add(ones, sum)));
        elements = Some(elements.map_or(count, |elements| builder.add(elements, count)));
    }
    Some(builder.div(ones?, elements?))
}

/// The streams that are a choice between 0 and 1, in each element, made on numbers that are no places.
fn spikes(graph: &Graph) -> Vec<NodeId> {
    let facts = Facts::of(graph);
    let is_choice = |op: &Op| matches!(op, Op::Map(Pointwise::Select | Pointwise::ToF32));
    let is_spike = |id: &NodeId| {
        let node = graph.node(*id);
        let is_stream_of_numbers = (node.ty.elem, node.ty.clock) == (Elem::F32, Clock::Stream);
        // One that compares integers says where something is, as the mask of a maximum does.
        let is_place = node.args.first().is_some_and(|condition| {
            let condition = graph.node(*condition);
            condition.args.first().is_some_and(|x| graph.ty(*x).elem == Elem::I32)
        });
        is_choice(&node.op) && is_stream_of_numbers && !is_place && facts.at(*id).is_binary()
    };
    graph.ids().filter(is_spike).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::check::{self, check};
    use crate::source::NoFiles;

    #[test]
    fn the_place_of_a_maximum_is_no_spike() {
        let text = "graph g(x: [T; B, 8]) -> (y) {
            param w: [8, 6] = ones();
            let u = prev(u) + x @ w;
            let z = bypass(step(u - 1), u);
            let y = max_pool1d(z, 2) + one_hot(argmax(u), 3);
        }";
        let checked = check("test.fgi", text, &NoFiles, &check::Options::default());
        let (_, bindings) = spike_rates(&checked.graph.unwrap(), &checked.places).unwrap();
        let paths: Vec<_> = bindings.iter().map(|binding| binding.path.as_str()).collect();
        assert_eq!(paths, ["z"]);
    }

    #[test]
    fn spikes_are_named_by_their_bindings() {
        let text = "use spike::atan;
            layer lif[N](x: [B, K]) {
                param w: [K, N] = ones();
                let u = 0.9 * prev(u) + x @ w;
                let z = atan(u - 1);
                z
            }
            layer plain[N](x: [B, K]) { param w: [K, N] = ones(); inject(x @ w, step(x @ w), exp(-(x @ w)^2)) }
            graph g(x: [T; B, 2]) -> (y) {
                let a = lif[3](x);
                let b = lif[4](a);
                let c = plain[5](b);
                let mask = f32(sum(x, axis = -1) > 0);
                let y = time_mean(sum(c, axis = -1) * mask);
            }";
        let checked = check("test.fgi", text, &NoFiles, &check::Options::default());
        let graph = checked.graph.unwrap();
        let (rates, bindings) = spike_rates(&graph, &checked.places).unwrap();
        let paths: Vec<_> = bindings.iter().map(|binding| binding.path.as_str()).collect();
        assert_eq!(paths.len(), 3, "{paths:?}");
        for path in ["a.z", "b.z", "c"] {
            assert!(paths.contains(&path) && rates.root(Role::Output, path).is_some(), "{paths:?}");
        }
    }
}
