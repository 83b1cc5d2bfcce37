//! What scheduling asks of operations.

use crate::ir::graph::{Graph, NodeId, Op};

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
    use crate::ir::graph::Reduction::Sum;
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
