//! How active a network is: a graph that measures the share of its spikes that are 1.

use crate::ir::graph::{
    Builder, Clock, Dim, Elem, Facts, Graph, NodeId, Op, Pointwise, Reduction, Role, Root,
};

/// The output of [`spike_rate`].
pub const SPIKE_RATE: &str = "spike_rate";

/// A graph with one output, the mean over all steps and elements of all spikes of a graph without
/// `sg`: of each stream that is a choice between 0 and 1. `None` if there are none.
pub fn spike_rate(graph: &Graph) -> Option<Graph> {
    let mut graph = graph.compact();
    let spikes = spikes(&graph);
    let time = graph.time.clone()?;
    let mut builder = Builder::new(&mut graph);
    let (mut ones, mut elements) = (None, None);
    for spike in spikes {
        let dims = builder.ty(spike).dims.clone();
        let axes: Vec<usize> = (0..dims.len()).collect();
        let sum = builder.reduce(Reduction::Sum, spike, &axes);
        let sum = builder.push(Op::TimeReduce(Reduction::Sum), vec![sum]);
        let count = builder.push(Op::Size(&time * &Dim::product(&dims)), vec![]);
        ones = Some(ones.map_or(sum, |ones| builder.add(ones, sum)));
        elements = Some(elements.map_or(count, |elements| builder.add(elements, count)));
    }
    let rate = builder.div(ones?, elements?);
    graph.roots = vec![Root { name: SPIKE_RATE.into(), role: Role::Output, node: rate }];
    Some(graph.compact())
}

/// The streams that are a choice between 0 and 1, in each element.
fn spikes(graph: &Graph) -> Vec<NodeId> {
    let facts = Facts::of(graph);
    let is_choice = |op: &Op| matches!(op, Op::Map(Pointwise::Select | Pointwise::ToF32));
    let is_spike = |id: &NodeId| {
        let node = graph.node(*id);
        let is_stream_of_numbers = (node.ty.elem, node.ty.clock) == (Elem::F32, Clock::Stream);
        is_choice(&node.op) && is_stream_of_numbers && facts.at(*id).is_binary()
    };
    graph.ids().filter(is_spike).collect()
}
