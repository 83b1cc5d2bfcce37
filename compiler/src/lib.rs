//! The surrogate-gradient compiler: fgi programs in, compute kernels out.
//!
//! [`compile`] is the whole way. It reads no files but through the [`Loader`](source::Loader) that it is
//! given, and knows no device. The stages stand in the order of the flow, and import only what comes
//! before them:
//!
//! | folder | from | to |
//! |---|---|---|
//! | [`front`] | text | checked graph |
//! | [`ir`] | | the two forms, graph and kernels, with what verifies, prints, reads and interprets them |
//! | [`middle`] | checked graph | kernels, the same for all targets |
//! | `driver` | | the list of passes |
//! | [`target`] | kernels | plans and code for a CPU, plans and shaders for a GPU |
//! | `artifact` | | what is written to files |
//! | [`report`] | | readers of the forms above |

#![warn(missing_docs)]

pub mod artifact;
pub mod codes;
pub mod diagnostic;
mod driver;
pub mod front;
pub mod ir;
pub mod middle;
pub mod report;
pub mod source;
pub mod target;
#[cfg(test)]
mod testing;

pub use driver::{
    CompileError, Compiled, CompilerPass, Gradients, Options, PASSES, check, compile,
    compile_checked, compile_graph, differentiate, target_passes, verified,
};
