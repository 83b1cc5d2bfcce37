//! What terms cost: prose first.
//!
//! The unit is a quarter of an addition on one element at one step ([`quarters`]).
//!
//! - A term is counted once, however often it is used ([`super::dag`]).
//! - What is the same at every step of time is computed once and not at each of T steps, so it costs
//!   next to nothing beside what is not.
//! - What the forward pass computes costs the backward pass no computation. But unless it is kept
//!   anyway, as an output, a state or the operand of a product, it has to be saved at each step, and
//!   its bytes have to be written and read: about two additions.
//! - Leaves and literals cost nothing.
//!
//! Where costs are equal, what was written wins, and of two that were written the first: programs
//! that cannot be improved come out as they are.

use super::analysis::Known;
use super::language::Term;
use crate::ir::graph::{Op, Pointwise};
use crate::middle::cost::{KEPT_BYTE, STEPS, quarters};

/// The cost of a term, given its operands; `known` is what is proved of it.
pub fn of(term: &Term, known: &Known) -> u64 {
    let weight = match (term, term.operation()) {
        (Term::Neg(_), _) => quarters(Pointwise::Neg),
        (_, Some((Op::Map(pointwise), _))) => quarters(*pointwise),
        _ => 0,
    };
    let times = if known.value.invariant { 1 } else { STEPS };
    weight * times
}

/// The cost of saving a value of the forward pass for the backward pass.
pub fn saved(known: &Known) -> u64 {
    let bytes = if known.value.is_binary() { 1 } else { 4 };
    if known.value.invariant { 0 } else { KEPT_BYTE * bytes * STEPS }
}
