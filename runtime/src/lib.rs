//! Spiking networks with surrogate gradients, written as equations, compiled to native code and to
//! compute shaders, and trained from Rust.
//!
//! A program stands among the Rust code, and is compiled with it: `rustc` reports its errors where they
//! are. It becomes a module with typed inputs, outputs and parameters.
//!
//! ```
//! fgi::program! {
//!     #![dim(T = 20, K = 4)]
//!
//!     /// Neurons that fire at 1, with a Gaussian as the derivative of the step.
//!     layer spiking[N](x: [B, K]) {
//!         param w: [K, N] = kaiming_uniform();
//!         let u = 0.9 * prev(u) + x @ w - prev(z);
//!         let v = u - 1;
//!         let z = inject(v, step(v), exp(-v^2));
//!         z
//!     }
//!
//!     /// Learns how often each of two neurons should fire.
//!     graph net(x: [T; B, K], target: [B, 2]) -> (loss, rate) {
//!         let h    = spiking[2](x);
//!         let rate = time_mean(h);
//!         let loss = mean((rate - target)^2);
//!     }
//! }
//!
//! # fn main() -> Result<(), fgi::Error> {
//! let mut model = net::Model::new(&fgi::Device::cpu())?;
//! let optimizer = net::Optimizer::new(0.02);
//!
//! // 20 steps of a batch of 3 with 4 values each: the batch size follows from the lengths.
//! let x: Vec<f32> = (0..20 * 3 * 4).map(|i| (i % 7) as f32 / 7.0).collect();
//! let inputs = net::Inputs { x: &x, target: &[0.2, 0.4, 0.2, 0.4, 0.2, 0.4] };
//!
//! let before = model.forward(&inputs)?.loss;
//! for _ in 0..100 {
//!     model.step(&optimizer, &inputs)?;
//! }
//! assert!(model.forward(&inputs)?.loss < 0.5 * before);
//!
//! let gradients = model.backward()?;
//! assert_eq!(gradients.h.w.len(), net::params::H::W.iter().product::<usize>());
//! # Ok(())
//! # }
//! ```
//!
//! [`include_program!`] takes a file instead. [`compile`] and [`Session`] do the same at run time, with
//! values by name, and [`Trainer`] goes through a dataset in batches. What the language is and what the
//! compiler makes of it is in the [book](https://github.com/fgi-lang/fgic/tree/main/book/src).

#![warn(missing_docs)]

/// The book's page on this crate: its code is tested with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../book/src/embedding.md")]
struct Book;

mod array;
#[cfg(feature = "gpu")]
pub mod artifact;
mod backend;
pub mod bench;
pub mod checkpoint;
mod compile;
#[cfg(feature = "cpu")]
mod cpu;
pub mod data;
mod device;
#[doc(hidden)]
pub mod embed;
mod error;
mod evaluate;
mod file;
#[cfg(feature = "gpu")]
mod gpu;
pub mod init;
mod memory;
pub mod npz;
mod session;
mod shapes;
mod trainer;

pub use array::{Array, Data};
pub use backend::Footprint;
pub use compile::compile;
#[cfg(feature = "cpu")]
pub use cpu::clif_text;
pub use device::{Device, check_threads};
pub use error::Error;
pub use evaluate::{evaluate, evaluate_reference, random_inputs, reference_values};
pub use fgi_compiler::ir::Verified;
pub use fgi_compiler::ir::kernel::{Pass, Program};
pub use fgi_compiler::middle::optimizer::Optimizer;
pub use fgi_compiler::{Gradients, Options};
/// Compiles the program of a file at Rust's compile time: `include_program!("model.fgi", dim(T = 8))`.
///
/// The file is looked for beside the Rust file, as by [`include_str!`], and failing that in the package's
/// folder. It may `use` files beside it. What follows the name is what attributes are for [`program!`].
/// Errors name file, line and column.
#[doc(inline)]
pub use fgi_macros::include_program;
/// Compiles the program between its braces at Rust's compile time, into a module named as the graph.
///
/// ```
/// fgi::program! {
///     #![dim(N = 3)]
///
///     /// Three numbers and their squares.
///     graph square[N](x: [B, N]) -> (y) {
///         let y = x^2;
///     }
/// }
///
/// # fn main() -> Result<(), fgi::Error> {
/// let mut model = square::Model::new(&fgi::Device::cpu())?;
/// let outputs = model.forward(&square::Inputs { x: &[1.0, 2.0, 3.0] })?;
/// assert_eq!(outputs.y, [1.0, 4.0, 9.0]);
/// assert!(model.forward(&square::Inputs { x: &[1.0, 2.0] }).is_err());
/// # Ok(())
/// # }
/// ```
///
/// The module has `Inputs`, `Outputs`, `Params` and `Model`, with gradients `Grads` and with updates
/// `Optimizer`. Attributes in front of the program:
///
/// | attribute | meaning | if left out |
/// |---|---|---|
/// | `#![dim(T = 28, K = 28)]` | values of dimensions | the program's defaults |
/// | `#![graph(name)]` | the graph to take | the only one |
/// | `#![grad(loss)]`, `#![grad(loss, wrt(h.w, x))]`, `#![grad(none)]` | the output whose gradients to compute, and for what | `loss`, if there is one, for all parameters |
/// | `#![optimizer(sgd, momentum = 0.9)]`, `#![optimizer(none)]` | `adam`, `adamw`, `amsgrad` or `sgd`; `clip = 1` limits the norm of the gradients | Adam, if there are gradients |
///
/// A size that is fixed is a part of the type; another one does not compile:
///
/// ```compile_fail
/// fgi::program! {
///     graph sum(x: [4]) -> (y) { let y = sum(x); }
/// }
///
/// # fn main() -> Result<(), fgi::Error> {
/// let mut model = sum::Model::new(&fgi::Device::cpu())?;
/// model.forward(&sum::Inputs { x: &[1.0, 2.0, 3.0] })?;
/// # Ok(())
/// # }
/// ```
///
/// So does an error in the program, which is shown at the token where it is:
///
/// ```compile_fail
/// fgi::program! {
///     graph sum(x: [4], y: [3]) -> (z) { let z = x + y; }
/// }
/// ```
#[doc(inline)]
pub use fgi_macros::program;
pub use file::{WriteSeek, write_whole};
#[cfg(feature = "gpu")]
pub use gpu::{AdapterChoice, AdapterInfo, AdapterKind, adapters};
pub use memory::machine_memory;
pub use session::Session;
pub use trainer::{BatchReport, EpochReport, Schedule, Step, TrainOptions, Trainer, Whose};
