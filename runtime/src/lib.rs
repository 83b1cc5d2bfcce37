//! Run and train fgi programs on the CPU and on any GPU.

mod backend;
mod error;

pub use error::Error;
