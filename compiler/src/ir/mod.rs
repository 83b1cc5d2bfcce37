//! The two forms of a program: the graph, and the kernels that it becomes.

pub mod fingerprint;
pub mod graph;
pub mod kernel;
mod verified;

pub use verified::{Laws, Verified, verify};
