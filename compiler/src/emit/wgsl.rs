//! Kernels → WGSL compute shaders.
//!
//! One module a kernel, whose text does not depend on open dimensions: extents, ranges of time and
//! of reductions, and offsets of open size come from one uniform struct, `args`. A shader says what
//! its fields mean, what it binds, and how it is dispatched; the same facts go into the manifest.
//!
//! Four forms of kernel:
//! - without recurrence, an invocation computes one point of time and axes;
//! - a long reduction to a few points gives each a workgroup, whose lanes share the loop and add up
//!   their parts in a tree;
//! - a recurrence whose axes are all local gives each point an invocation that walks through time;
//! - any other recurrence gives each point of the local axes a workgroup, whose lanes stride over the
//!   remaining axes and meet at a barrier after each stage. Control flow around barriers depends on
//!   uniforms and the workgroup's number only, as browsers demand.
//!
//! A long loop can be cut into several dispatches. A recurrence runs over a range of steps: its state
//! is in the streams. A long reduction runs over a range of its iterations and carries partial results
//! in a scratch buffer; what follows it is stored by the last dispatch.

mod math;
mod names;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

pub use storage::Group;

use crate::graph::Dim;
use crate::kernel::{BufferId, Direction, Kernel, Program, ReduceLoop, Stage};
use crate::source::Sources;

/// What a device offers to a shader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Storage buffers that a kernel may bind.
    pub storage_buffers: usize,
    /// Invocations in a workgroup.
    pub workgroup_size: u32,
}

impl Default for Limits {
    /// What every WebGPU device offers.
    fn default() -> Limits {
        Limits { storage_buffers: 8, workgroup_size: 256 }
    }
}

/// A program's shaders, in the order of [`Program::kernels`], and where its buffers are.
#[derive(Clone, Debug, PartialEq)]
pub struct Shaders {
    pub groups: Vec<Group>,
    pub shaders: Vec<Shader>,
}

/// A kernel as a WGSL module.
#[derive(Clone, Debug, PartialEq)]
pub struct Shader {
    /// The kernel's.
    pub name: String,
    pub entry: String,
    pub text: String,
    /// Invocations in a workgroup, in one dimension.
    pub workgroup_size: u32,
    /// The fields of the uniform struct at binding 0, 4 bytes each; without fields there is none.
    pub uniforms: Vec<Field>,
    /// Storage buffers, at bindings 1, 2, …
    pub bindings: Vec<Binding>,
    pub dispatch: Dispatch,
    pub chunking: Chunking,
}

/// An i32 of the uniform struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: FieldValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    Dim(Dim),
    /// The first step of a dispatch of a recurrence, and the first after it.
    StepStart,
    StepEnd,
    /// The range of a reduction loop in a dispatch.
    LoopStart(usize),
    LoopEnd(usize),
    /// 1 in the dispatch that ends all loops, else 0.
    Last,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub memory: Memory,
    pub writable: bool,
    /// The buffers of the group that the kernel touches.
    pub buffers: Vec<BufferId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// An index into [`Shaders::groups`].
    Group(usize),
    /// Partial results of reductions, kept from one dispatch of a kernel to its next.
    Scratch,
}

/// How many workgroups run. Beyond 65,535 they are a grid: the shader counts them row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// This many invocations, rounded up to whole workgroups.
    Invocations(Dim),
    Workgroups(Dim),
}

/// How a kernel can be cut into several dispatches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunking {
    /// It is short.
    Whole,
    /// By ranges of time steps, in the order of the direction. A step costs an invocation one
    /// iteration, and for each of `stages` one for each point that falls to it with its loops.
    Steps { length: Dim, direction: Direction, lanes: u32, stages: Vec<StepWork> },
    /// By ranges of its reduction loops, one loop after the other; a negative length counts as 0.
    /// A point keeps `slots` elements of scratch; `lanes` invocations share its iterations.
    Loops { lengths: Vec<Dim>, slots: usize, points: Dim, lanes: u32 },
}

/// What a stage does in a step: points shared by the lanes, iterations of loops for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepWork {
    pub points: Dim,
    pub iterations: Dim,
}

/// Why there are no shaders.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmitError {
    #[error("a bug in the compiler: the shader of `{kernel}` is not valid: {message}\n{text}")]
    Invalid { kernel: String, message: String, text: String },
    #[error(
        "`{kernel}` needs {needed} storage buffers at once, and the device binds at most {allowed}"
    )]
    TooManyBuffers { kernel: String, needed: usize, allowed: usize },
}

/// Emits a shader for each kernel and validates it.
pub fn emit(program: &Program, limits: &Limits) -> Result<Shaders, EmitError> {
    emit_with_sources(program, limits, &Sources::default())
}

/// [`emit`], with the source line of each kernel in a comment.
pub fn emit_with_sources(
    program: &Program,
    limits: &Limits,
    sources: &Sources,
) -> Result<Shaders, EmitError> {
    let groups = storage::groups(program, |kernel| {
        limits.storage_buffers - usize::from(is_chunked_reduction(program, kernel))
    });
    let mut shaders = Vec::new();
    for kernel in program.kernels() {
        let shader = writer::write(program, kernel, &groups, limits, sources);
        let needed = shader.bindings.len();
        if needed > limits.storage_buffers {
            let (kernel, allowed) = (kernel.name.clone(), limits.storage_buffers);
            return Err(EmitError::TooManyBuffers { kernel, needed, allowed });
        }
        validate(&shader)?;
        shaders.push(shader);
    }
    Ok(Shaders { groups, shaders })
}

/// The iterations of a reduction below which a kernel is never cut.
const SHORT: i64 = 8192;

/// The kernel's reductions are long, or of open length.
fn is_chunked_reduction(program: &Program, kernel: &Kernel) -> bool {
    let time = time(program);
    let mut loops = kernel.stages.iter().flat_map(|stage| &stage.loops);
    let known = |sum, reduce| Some(sum + loop_length(reduce, &time).as_const()?);
    kernel.recurrence.is_none() && loops.try_fold(0, known).is_none_or(|length| length > SHORT)
}

/// The length of streams.
fn time(program: &Program) -> Dim {
    program.time.clone().unwrap_or_else(Dim::one)
}

fn validate(shader: &Shader) -> Result<(), EmitError> {
    let invalid = |message| EmitError::Invalid {
        kernel: shader.name.clone(),
        message,
        text: shader.text.clone(),
    };
    let module = naga::front::wgsl::parse_str(&shader.text)
        .map_err(|error| invalid(error.emit_to_string(&shader.text)))?;
    let flags = naga::valid::ValidationFlags::all();
    naga::valid::Validator::new(flags, naga::valid::Capabilities::default())
        .validate(&module)
        .map_err(|error| invalid(error.emit_to_string(&shader.text)))?;
    Ok(())
}

/// The number of iterations of a reduction loop.
fn loop_length(reduce: &ReduceLoop, time: &Dim) -> Dim {
    Dim::product(&loop_extents(reduce, time))
}

/// The extents of a reduction loop, time first.
fn loop_extents(reduce: &ReduceLoop, time: &Dim) -> Vec<Dim> {
    let left_out = i64::from(reduce.without_first) + i64::from(reduce.without_last);
    let steps = reduce.over_time.then(|| time - &Dim::constant(left_out));
    steps.into_iter().chain(reduce.axes.iter().cloned()).collect()
}
