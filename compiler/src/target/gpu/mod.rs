//! Kernels → WGSL compute shaders.
//!
//! One module a kernel, whose text does not depend on open dimensions: extents, ranges of time and
//! of reductions, and offsets of open size come from one uniform struct, `args`. A shader says what
//! its fields mean, what it binds, and how it is dispatched; the same facts go into the manifest.
//!
//! Five forms of kernel:
//! - without recurrence, an invocation computes one point of time and axes;
//! - a matrix product gives an invocation a tile of points, so that what is read for a row of the tile
//!   serves all its columns, and the other way round;
//! - a long reduction to a few points gives each a workgroup, whose lanes share the loop and add up
//!   their parts in a tree;
//! - a recurrence whose axes are all local gives each point an invocation that walks through time;
//! - any other recurrence gives each point of the local axes a workgroup, whose lanes stride over the
//!   remaining axes and meet at a barrier after each stage. Where there are matrix products within the
//!   recurrence, a workgroup takes several rows, and an invocation several points of each: what the
//!   products read of the rows is put into workgroup memory first, spikes as a bit a row, and a weight
//!   that is read serves all rows. Iterations in which no row has a spike are left out. Control flow
//!   around barriers depends on uniforms and the workgroup's number only, as browsers demand.
//!
//! A long loop can be cut into several dispatches. A recurrence runs over a range of steps: its state
//! is in the streams. A long reduction runs over a range of its iterations and carries partial results
//! in a scratch buffer; what follows it is stored by the last dispatch.

mod device_model;
pub mod dispatch;
mod passes;
mod plan;
mod rows;
mod storage;
#[cfg(test)]
mod tests;
mod tile;
mod wgsl;

pub(crate) use passes::validate;
pub use passes::{Emission, PASSES, ShaderPass, emit, emit_with_sources, run_passes};
pub use rows::ROWS;
pub use storage::Group;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ir::graph::Dim;
use crate::ir::kernel::{BufferId, Direction, Pass, Program, Storage};
use crate::source::Span;

/// What a device offers to a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Storage buffers that a kernel may bind.
    pub storage_buffers: usize,
    /// Invocations in a workgroup.
    pub workgroup_size: u32,
    /// Memory of a workgroup, in bytes.
    pub workgroup_memory: u32,
    /// Workgroups that the device computes at once, more or less.
    pub parallel_workgroups: u32,
    /// Rows of the batch that a workgroup computes in recurrences with matrix products, one of [`ROWS`]; as
    /// many as fit, if that is fewer. The number that a model of the costs finds best, if not given.
    pub rows: Option<u32>,
}

impl Limits {
    /// What every WebGPU device offers, on a GPU of middling size.
    pub const WEBGPU: Limits = Limits {
        storage_buffers: 8,
        workgroup_size: 256,
        workgroup_memory: 16 << 10,
        parallel_workgroups: 16,
        rows: None,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::WEBGPU
    }
}

/// How a GPU buffer keeps an element, whatever its type: buffers of all types share it.
pub const WORD: Storage = Storage::U32;

/// A program's shaders, in the order of [`Program::kernels`], and where its buffers are.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaders {
    /// The GPU buffers, each with the buffers of the program that are in it.
    pub groups: Vec<Group>,
    /// One for each kernel, in the order of the program's.
    pub shaders: Vec<Shader>,
}

/// A kernel as a WGSL module.
#[derive(Clone, Debug, PartialEq)]
pub struct Shader {
    /// The kernel's.
    pub name: String,
    /// The pass that it runs in.
    pub pass: Pass,
    /// The name of its function.
    pub entry: String,
    /// The shader, as WGSL.
    pub text: String,
    /// From which line of the text on, counted from 1, it says what was written where.
    pub lines: Vec<(u32, Span)>,
    /// Invocations in a workgroup, in one dimension.
    pub workgroup_size: u32,
    /// The fields of the uniform struct at binding 0, 4 bytes each; without fields there is none.
    pub uniforms: Vec<Field>,
    /// Storage buffers, at bindings 1, 2, …
    pub bindings: Vec<Binding>,
    /// How many invocations it takes.
    pub dispatch: Dispatch,
    /// How a long run of it is cut into several.
    pub chunking: Chunking,
}

/// An i32 of the uniform struct.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// As in the shader.
    pub name: String,
    /// What it holds.
    pub value: FieldValue,
}

/// What a field of the uniform struct holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldValue {
    /// The value of a formula.
    Dim(Dim),
    /// The first step of a dispatch of a recurrence.
    StepStart,
    /// The first step after a dispatch of a recurrence.
    StepEnd,
    /// Where the range of the reduction loop of this number begins in a dispatch.
    LoopStart(usize),
    /// Where the range of the reduction loop of this number ends in a dispatch.
    LoopEnd(usize),
    /// 1 in the dispatch that ends all loops, else 0.
    Last,
}

/// A storage buffer that a kernel binds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The GPU buffer.
    pub memory: Memory,
    /// Whether the kernel writes to it: `read_write` instead of `read`.
    pub writable: bool,
    /// The tensors in it that the kernel touches.
    pub buffers: Vec<BufferId>,
}

/// A GPU buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// One of the program's, by its number.
    Group(usize),
    /// Partial results of reductions, kept from one dispatch of a kernel to its next.
    Scratch,
}

/// How many workgroups run. Beyond 65,535 they are a grid of rows of so many: the shader counts them
/// row by row, and those beyond the last return at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dispatch {
    /// This many invocations, rounded up to whole workgroups.
    Invocations(Dim),
    /// This many workgroups.
    Workgroups(Dim),
}

/// How a kernel can be cut into several dispatches, so that none runs for seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Chunking {
    /// It is short.
    Whole,
    /// By ranges of time steps, in the order of the direction. A step costs an invocation one
    /// iteration, and for each of `stages` one for each point that falls to it with its loops.
    Steps {
        /// The number of steps.
        length: Dim,
        /// The order in which they run: `backward` starts with the last.
        direction: Direction,
        /// The invocations that share the points of a stage.
        lanes: u32,
        /// What runs in a step, one after the other.
        stages: Vec<StepWork>,
    },
    /// By ranges of its reduction loops, one loop after the other: loops before the current one have
    /// an empty range at their end, those after it one at 0. A negative length counts as 0.
    Loops {
        /// The iterations of each loop.
        lengths: Vec<Dim>,
        /// The elements of scratch memory that a point keeps from one dispatch to the next.
        slots: usize,
        /// The number of points.
        points: Dim,
        /// The invocations that share the iterations of a point.
        lanes: u32,
    },
}

/// What a stage does in a step: each of its points costs an invocation one iteration and those of its
/// loops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepWork {
    /// Points, shared by the lanes.
    pub points: Dim,
    /// The iterations of loops at each point.
    pub iterations: Dim,
}

/// Why there are no shaders; the text says what is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct EmitError(#[from] pub(super) Fault);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("a bug in the compiler: the shader of `{kernel}` is not valid: {message}\n{text}")]
    Invalid { kernel: String, message: String, text: String },
    #[error(
        "`{kernel}` needs {needed} storage buffers at once, and the device binds at most {allowed}"
    )]
    TooManyBuffers { kernel: String, needed: usize, allowed: usize },
    #[error("the shader of `{kernel}` cannot be written as {target}: {message}")]
    Untranslated { kernel: String, target: &'static str, message: String },
}

/// The length of streams.
fn time(program: &Program) -> Dim {
    program.time.clone().unwrap_or_else(Dim::one)
}
