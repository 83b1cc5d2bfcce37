//! What scheduling asks of operations.

use crate::ir::graph::ops::Class;
use crate::ir::graph::{Graph, NodeId, Op, Reduction};

/// The cost of evaluating one element of a node given its operands: an addition is 1.
pub fn own_cost(graph: &Graph, id: NodeId) -> u32 {
    graph.node(id).op.describe(|op| op.cost())
}

/// A sum that may become part of a sum around it.
pub fn is_sum(op: &Op) -> bool {
    op.class() == Class::Reduction(Reduction::Sum)
}

pub fn is_reduction(op: &Op) -> bool {
    matches!(op.class(), Class::Reduction(_))
}

/// The buffer is the caller's or the optimiser's.
pub fn is_resident(op: &Op) -> bool {
    op.class() == Class::Given
}

/// Costs nothing to have at hand.
pub fn is_leaf(op: &Op) -> bool {
    matches!(op.class(), Class::Given | Class::AtHand)
}

/// Rearranges elements without computing.
pub fn is_view(op: &Op) -> bool {
    matches!(op.class(), Class::View | Class::Delay)
}
