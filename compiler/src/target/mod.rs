//! Plans and code for devices: each target plans for itself.

pub mod cpu;
#[cfg(feature = "wgsl")]
pub mod gpu;
