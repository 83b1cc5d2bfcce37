//! The surrogate-gradient compiler: fgi programs in, compute kernels out.

pub mod autodiff;
pub mod calculus;
pub mod check;
pub mod codes;
pub mod diagnostic;
pub mod emit;
pub mod gradcheck;
pub mod graph;
pub mod kernel;
pub mod schedule;
pub mod source;
pub mod syntax;

#[cfg(test)]
mod testing;
