//! Kernels as text for devices.

#[cfg(feature = "wgsl")]
pub mod wgsl;
