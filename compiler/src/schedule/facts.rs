//! Facts about nodes that scheduling uses: proved, so what is not proved is false.

use std::collections::HashMap;

use crate::graph::{Graph, NodeId, Op, Pointwise};

/// Nodes whose every element is 0 or 1.
#[derive(Default)]
pub struct Binary {
    known: HashMap<NodeId, bool>,
}

impl Binary {
    pub fn holds(&mut self, graph: &Graph, id: NodeId) -> bool {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        // Around a cycle of delays the property is kept if each step keeps it, so assume it there.
        self.known.insert(id, true);
        let node = graph.node(id);
        let result = match &node.op {
            Op::Const(number, _) => number.0 == 0.0 || number.0 == 1.0,
            Op::Map(Pointwise::ToF32) => graph.ty(node.args[0]).elem == crate::graph::Elem::Bool,
            Op::Map(Pointwise::Select) => node.args[1..].iter().all(|arg| self.holds(graph, *arg)),
            Op::Map(Pointwise::Mul | Pointwise::Min | Pointwise::Max)
            | Op::Prev
            | Op::Next
            | Op::Concat { .. }
            | Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip { .. }
            | Op::First
            | Op::Last
            | Op::Sg => node.args.iter().all(|arg| self.holds(graph, *arg)),
            Op::Bypass => self.holds(graph, node.args[0]),
            Op::Pad { value, .. } => {
                (value.0 == 0.0 || value.0 == 1.0) && self.holds(graph, node.args[0])
            }
            _ => false,
        };
        if !result {
            // What was concluded from the assumption is void.
            self.known.retain(|_, holds| !*holds);
        }
        self.known.insert(id, result);
        result
    }
}

/// The cost of evaluating one element of a node given its operands: an addition is 1.
pub fn own_cost(graph: &Graph, id: NodeId) -> u32 {
    match &graph.node(id).op {
        Op::Map(op) => op.row().cost,
        Op::Prev | Op::Next | Op::Concat { .. } | Op::Pad { .. } => 1,
        Op::Gather { .. } => 3,
        _ => 0,
    }
}

/// A sum that may become part of a sum around it.
pub fn is_sum(op: &Op) -> bool {
    use crate::graph::Reduction::Sum;
    matches!(op, Op::MatMul | Op::Reduce(Sum, _) | Op::TimeReduce(Sum))
}

pub fn is_reduction(op: &Op) -> bool {
    matches!(op, Op::MatMul | Op::Reduce(..) | Op::TimeReduce(_))
}

/// The buffer is the caller's or the optimiser's.
pub fn is_resident(op: &Op) -> bool {
    matches!(op, Op::Input(_) | Op::Param(_))
}

/// Costs nothing to have at hand.
pub fn is_leaf(op: &Op) -> bool {
    is_resident(op) || matches!(op, Op::Const(..) | Op::Size(_) | Op::TimeIndex | Op::Iota { .. })
}

/// Rearranges elements without computing.
pub fn is_view(op: &Op) -> bool {
    matches!(
        op,
        Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip { .. }
            | Op::First
            | Op::Last
            | Op::Prev
            | Op::Next
            | Op::Sg
    )
}
