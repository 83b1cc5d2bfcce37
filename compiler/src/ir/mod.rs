//! The two forms of a program: the graph, and the kernels that it becomes.

pub mod fingerprint;
pub mod graph;
pub mod kernel;
