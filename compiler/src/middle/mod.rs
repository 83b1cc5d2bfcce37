//! From the checked graph to kernels, the same for all targets.

pub mod autodiff;
pub mod lower;
pub mod optimizer;
pub mod schedule;
pub mod simplify;
pub mod surrogate;
