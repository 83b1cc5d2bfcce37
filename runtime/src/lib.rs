//! Run and train fgi programs on the CPU and on any GPU.

mod backend;
mod error;
#[cfg(feature = "gpu")]
mod gpu;

pub use error::Error;
#[cfg(feature = "gpu")]
pub use gpu::{AdapterChoice, AdapterInfo, AdapterKind, adapters};
