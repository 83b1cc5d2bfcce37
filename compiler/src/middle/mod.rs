//! From the checked graph to kernels, the same for all targets.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod autodiff;
mod cost;
pub mod lower;
pub mod optimizer;
pub mod rewrite;
pub mod schedule;
pub(crate) mod simplify;
pub mod surrogate;

use rewrite::Rewrite;

/// What is rewritten beside the calculus: by the schedule, then by the lowering.
pub fn rewrites() -> impl Iterator<Item = &'static Rewrite> {
    schedule::rewrites().chain(lower::rewrites())
}
