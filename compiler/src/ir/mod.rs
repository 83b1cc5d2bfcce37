//! The two forms of a program: the graph, and the kernels that it becomes.

pub mod graph;
pub mod kernel;
