//! What a device must do to run a program; `cpu` and `gpu` implement it, `Session` uses it.

use fgi_compiler::ir::graph::Bindings;
use fgi_compiler::ir::kernel::{BufferId, Pass};

use crate::Error;
use crate::bench::Tuning;

/// A compiled program on a device, with its buffers.
pub(crate) trait Backend: Send {
    /// What people call the device: `cpu (2 threads)`, `gpu: llvmpipe (software)`.
    fn device_name(&self) -> String;

    /// Gives every buffer its size for these open dimensions. Contents of buffers whose size changes
    /// are lost; parameters keep theirs (their sizes are fixed).
    fn bind(&mut self, bindings: &Bindings) -> Result<(), Error>;

    /// Fills a buffer. `bytes` has exactly its size: 4 bytes an element, little-endian.
    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error>;

    /// Copies a buffer out.
    fn read(&mut self, buffer: BufferId) -> Result<Vec<u8>, Error>;

    /// The first of these buffers of f32 with an element that is infinite or NaN, and that element.
    fn not_finite(&mut self, buffers: &[BufferId]) -> Result<Option<(BufferId, f32)>, Error>;

    /// Runs passes after each other. What only these passes use need not be there afterwards. The
    /// device may still be at work when this returns.
    fn run(&mut self, passes: &[Pass]) -> Result<(), Error>;

    /// Waits until everything is done.
    fn wait(&mut self) -> Result<(), Error>;

    /// The memory that it has for what ran last.
    fn footprint(&self) -> Footprint;

    /// Measures the variants of the program that the device has, with the inputs as they are, and goes
    /// on with the fastest.
    fn tune(&mut self) -> Result<Tuning, Error> {
        let name = self.device_name();
        Err(Error::Device(format!("{name} has no variants of a program to measure: use a GPU")))
    }
}

/// The first element that is infinite or NaN, of f32 as a device stores them.
pub(crate) fn first_not_finite(bytes: &[u8]) -> Option<f32> {
    let element = |word: &[u8; 4]| f32::from_le_bytes(*word);
    // Without a way out in a block, it is done in vectors.
    let is_bad =
        |block: &&[[u8; 4]]| block.iter().fold(false, |bad, word| bad | !element(word).is_finite());
    let block = bytes.as_chunks::<4>().0.chunks(1024).find(is_bad)?;
    block.iter().map(element).find(|element| !element.is_finite())
}

/// The memory of a program on a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The bytes of all buffers: inputs, parameters, results, and what is kept between kernels.
    pub bytes: usize,
    /// Time ran in so many segments, of which all but the last one ran forward twice.
    pub segments: usize,
    /// The bytes that the forward pass leaves for the backward pass at each step, for all rows.
    pub saved_per_step: usize,
}
