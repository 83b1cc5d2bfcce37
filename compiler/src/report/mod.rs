//! Readers of the compiler's forms: what they say of a program, and how it is checked.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

pub mod activity;
pub mod audit;
#[cfg(feature = "wgsl")]
pub mod cost;
pub mod curve;
pub mod explain;
pub mod gradcheck;
pub mod op_counts;
pub mod reference;
pub mod trace;
