//! How much a graph computes: operations of the forward and the backward pass, at each step and
//! once, and what is saved for the backward pass. For comparing the compiler's passes.

use std::fmt;

use crate::ir::graph::{Dim, Graph, NodeId, Op, Operations, Role};
use crate::middle::schedule::schedule;

impl fmt::Display for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operations { adds, multiplies, divisions, transcendentals, others } = self;
        write!(f, "{adds:4} {multiplies:4} {divisions:4} {transcendentals:4} {others:5}")
    }
}

/// What one pass over a program computes: pointwise operations, each on all elements of its dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What each step of time computes.
    pub each_step: Operations,
    /// What is the same at every step.
    pub once: Operations,
}

/// What a graph costs, counted on its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpCounts {
    /// What outputs need.
    pub forward: Body,
    /// What only gradients need.
    pub backward: Body,
    /// What the forward pass saves for the backward pass at each step, in bytes.
    pub saved: Dim,
}

impl OpCounts {
    /// The counts of a graph. A graph with `sg` or `bypass` has no backward pass yet and saves
    /// nothing.
    pub fn of(graph: &Graph) -> OpCounts {
        let forward = forward(graph);
        let (none, saved) = (Body::default(), saved(graph));
        let mut counts = OpCounts { forward: none, backward: none, saved };
        for id in graph.ids() {
            let node = graph.node(id);
            let Op::Map(op) = node.op else { continue };
            let is_forward = forward[id.0 as usize];
            let body = if is_forward { &mut counts.forward } else { &mut counts.backward };
            let is_stream = node.ty.is_stream();
            let operations = if is_stream { &mut body.each_step } else { &mut body.once };
            *operations.of(op) += 1;
        }
        counts
    }
}

/// How many kernels a framework launches that runs a graph operation by operation and step by step:
/// for the outputs, and for everything else.
pub fn eager_launches(graph: &Graph) -> (Dim, Dim) {
    let forward = forward(graph);
    let (mut outputs, mut rest) = (Dim::zero(), Dim::zero());
    let is_launched = |id: &NodeId| graph.node(*id).op.describe(|op| op.is_launched());
    for id in graph.ids().filter(is_launched) {
        let steps = graph.time.as_ref().filter(|_| graph.ty(id).is_stream());
        let launches = if forward[id.0 as usize] { &mut outputs } else { &mut rest };
        *launches = &*launches + steps.unwrap_or(&Dim::one());
    }
    (outputs, rest)
}

/// What the outputs need.
fn forward(graph: &Graph) -> Vec<bool> {
    let outputs = graph.roots.iter().filter(|root| root.role == Role::Output);
    let mut open: Vec<NodeId> = outputs.map(|root| root.node).collect();
    let mut forward = vec![false; graph.len()];
    while let Some(id) = open.pop() {
        if !std::mem::replace(&mut forward[id.0 as usize], true) {
            open.extend(&graph.node(id).args);
        }
    }
    forward
}

/// The bytes at each step of the stored streams of the forward pass that the backward pass reads.
fn saved(graph: &Graph) -> Dim {
    let has_surrogates = graph.ids().any(|id| matches!(graph.node(id).op, Op::Sg | Op::Bypass));
    if has_surrogates {
        return Dim::zero();
    }
    let schedule = schedule(graph);
    let graph = &schedule.graph;
    let forward = forward(graph);
    let mut seen = vec![false; graph.len()];
    let mut open: Vec<NodeId> = graph.ids().filter(|id| !forward[id.0 as usize]).collect();
    let mut bytes = Dim::zero();
    while let Some(id) = open.pop() {
        for &arg in &graph.node(id).args {
            if !forward[arg.0 as usize] || std::mem::replace(&mut seen[arg.0 as usize], true) {
                continue;
            }
            if !schedule.is_stored(arg) {
                open.push(arg);
            } else if graph.ty(arg).is_stream() {
                bytes = &bytes + &(&graph.ty(arg).len() * &Dim::constant(4));
            }
        }
    }
    bytes
}

/// The heads of the columns that counts print.
pub const HEADS: &str = "  \
     forward: each step         | once                       | backward: each step        | once                       |
   add  mul  div  exp other |   add  mul  div  exp other |   add  mul  div  exp other |   add  mul  div  exp other | saved a step";

impl fmt::Display for OpCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OpCounts { forward, backward, saved } = self;
        let bodies = [forward.each_step, forward.once, backward.each_step, backward.once];
        for operations in bodies {
            write!(f, "  {operations} |")?;
        }
        write!(f, " {saved} B")
    }
}
