//! What is written to files: shaders with their manifest, object files, programs in a binary.

pub mod embedded;
#[cfg(feature = "wgsl")]
pub mod manifest;
#[cfg(feature = "object")]
pub mod object;
#[cfg(feature = "wgsl")]
mod shaders;
#[cfg(feature = "wgsl")]
mod translate;

#[cfg(feature = "wgsl")]
pub use shaders::*;
