//! How a program runs on a CPU: tiles of the batch, segments of time, ring buffers, bits.

pub mod batch_tiles;
pub mod bit_packing;
pub mod ring_buffers;
