//! The CPU: what is kept how long and in which tiles ([`plan`]), and native code.

#[cfg(feature = "clif")]
mod lanes;
#[cfg(feature = "clif")]
pub mod native;
pub mod plan;
