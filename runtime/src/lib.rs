//! Run and train fgi programs on the CPU and on any GPU.

#[allow(dead_code)] // Session calls it
mod backend;
mod error;
#[cfg(feature = "gpu")]
#[allow(dead_code)] // Session makes the back end
mod gpu;

pub use error::Error;
#[cfg(feature = "gpu")]
pub use gpu::{AdapterChoice, AdapterInfo, AdapterKind, adapters};
