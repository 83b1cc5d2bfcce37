//! Kernels as native code and as text for devices.

#[cfg(feature = "wgsl")]
pub mod artifact;
#[cfg(feature = "clif")]
pub mod clif;
pub mod embedded;
#[cfg(feature = "wgsl")]
pub mod manifest;
#[cfg(feature = "object")]
pub mod object;
#[cfg(feature = "wgsl")]
mod targets;
#[cfg(feature = "wgsl")]
pub mod wgsl;
