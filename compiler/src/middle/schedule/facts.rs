//! What scheduling asks of operations.

use crate::ir::graph::ops::Class;
use crate::ir::graph::{Op, Reduction};

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
