//! Text → syntax tree → checked graph.

pub mod check;
pub mod syntax;
