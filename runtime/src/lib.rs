//! Run and train fgi programs on the CPU and on any GPU.

mod array;
#[cfg(feature = "gpu")]
pub mod artifact;
mod backend;
pub mod bench;
pub mod checkpoint;
#[cfg(feature = "cpu")]
mod cpu;
pub mod data;
mod device;
mod error;
mod evaluate;
mod file;
#[cfg(feature = "gpu")]
mod gpu;
pub mod init;
pub mod npz;
mod session;
mod shapes;
mod trainer;

pub use array::{Array, Data};
#[cfg(feature = "cpu")]
pub use cpu::clif_text;
pub use device::Device;
pub use error::Error;
pub use evaluate::{evaluate, evaluate_reference, random_inputs, reference_values};
pub use file::{WriteSeek, write_whole};
#[cfg(feature = "gpu")]
pub use gpu::{AdapterChoice, AdapterInfo, AdapterKind, adapters};
pub use session::Session;
pub use trainer::{BatchReport, EpochReport, Schedule, Step, TrainOptions, Trainer};
