//! What computing, keeping and reading cost, whatever the device: the one model that the calculus and the
//! schedule choose by.
//!
//! The scale is the `cost` column of the table of operations, in additions on one element: a transcendental function
//! costs many times a division or a root, a division several multiplications. The calculus chooses among terms
//! that differ in a few cheap operations, and looks closer, in quarters of an addition ([`quarters`]). The
//! schedule asks only what is cheap enough to be computed again.

use crate::ir::graph::{Op, Pointwise};

/// An element of an operation's result given its operands, in additions.
pub fn of(op: &Op) -> u32 {
    op.describe(|op| op.cost())
}

/// The same in quarters of an addition: a multiplication is more than an addition, an addition more than a choice,
/// a choice more than a sign.
pub fn quarters(op: Pointwise) -> u64 {
    let finer = [(Pointwise::Neg, 2), (Pointwise::Select, 3), (Pointwise::Mul, 5)];
    let finer = finer.iter().find(|(other, _)| *other == op).map(|(_, cost)| *cost);
    finer.unwrap_or(4 * u64::from(op.row().cost))
}

/// In how many steps of time a term that changes from step to step is computed, beside one that does not.
pub const STEPS: u64 = 64;

/// A value of the forward pass that is written, kept and read back at each step, in quarters of an addition a byte.
pub const KEPT_BYTE: u64 = 2;

/// Above this a value that several kernels use, or that is used more often than it has elements, is
/// stored: about a division.
pub const COSTLY: u32 = 6;

/// Above this a forward value is saved for the backward pass: about an exponential.
pub const COSTLY_TO_REPEAT: u32 = 12;

/// A reduction, beside any operation.
pub const REDUCTION: u32 = 1000;

/// A state that a recurrence keeps from step to step.
pub const STATE: u32 = 4;

/// The same for a sum, which is stored as it is while it waits for the rest of the step.
pub const STATE_OF_SUM: u32 = 2;

/// The same for what is used elsewhere too, and most likely stored in any case.
pub const STATE_IN_USE: u32 = 1;
