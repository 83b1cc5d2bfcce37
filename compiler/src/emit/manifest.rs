//! The manifest of an artifact: everything about a program that its shaders do not say.
//!
//! Sizes, offsets and counts are polynomials in the open dimensions, written as text: terms joined by
//! ` + ` and ` - `, a term being a number, names joined by `*`, or a number, `*` and names
//! (`256*B*T + 1`).

use serde::{Deserialize, Serialize};

use super::wgsl::{self, Chunking, Dispatch, FieldValue, Memory, Shader, Shaders};
use crate::graph::{Dim, Init, Role};
use crate::kernel::{BufferId, BufferSource, Direction, Pass, Program};

/// The version of the format that this compiler writes.
pub const VERSION: u32 = 1;

/// A program as an artifact describes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the format.
    pub version: u32,
    pub name: String,
    /// The length of streams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The dimensions to be given at run time, by name; the rest is fixed.
    pub dimensions: Vec<String>,
    /// GPU buffers, each shared by some of `buffers`.
    pub memory: Vec<MemoryBlock>,
    pub buffers: Vec<Buffer>,
    /// Outputs and gradients, and the buffers that hold them after the passes.
    pub results: Vec<ResultEntry>,
    pub kernels: Vec<Kernel>,
    pub passes: Passes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryBlock {
    pub name: String,
    /// In elements of 4 bytes. The GPU buffer has at least one.
    pub size: String,
}

/// A tensor, row-major, 4 bytes an element, little-endian; booleans are u32 0 or 1. Zero at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    pub name: String,
    pub source: Source,
    /// `f32`, `i32` or `bool`.
    #[serde(rename = "type")]
    pub elem: String,
    /// At one step.
    pub dims: Vec<String>,
    /// Time is a further, leading dimension.
    pub stream: bool,
    /// Every element is 0 or 1.
    pub binary: bool,
    /// An index into `memory`, and where in it the buffer begins, in elements.
    pub memory: usize,
    pub offset: String,
}

/// Where a buffer's content comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The caller, under this name.
    Input {
        name: String,
    },
    Param {
        path: String,
        init: Init,
        /// Kept by projection; an absent end is infinite.
        #[serde(skip_serializing_if = "Option::is_none")]
        bounds: Option<(Option<f64>, Option<f64>)>,
        /// Memory of the optimiser: saved, but not trained.
        optimizer_state: bool,
    },
    Kernel,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResultEntry {
    /// `output` or `gradient`.
    pub role: String,
    pub name: String,
    /// An index into `buffers`.
    pub buffer: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    pub name: String,
    pub file: String,
    pub entry: String,
    /// Invocations in a workgroup, in one dimension.
    pub workgroup_size: u32,
    /// The i32 fields of the uniform struct at binding 0; without fields there is none.
    pub uniforms: Vec<Uniform>,
    /// Storage buffers at bindings 1, 2, …
    pub bindings: Vec<Binding>,
    pub dispatch: Count,
    pub chunking: Chunks,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Uniform {
    pub name: String,
    pub value: UniformValue,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniformValue {
    Dim(String),
    /// The first step of a dispatch, and the first after it.
    StepStart,
    StepEnd,
    /// The range of the reduction loop of this number in a dispatch.
    LoopStart(usize),
    LoopEnd(usize),
    /// 1 in the dispatch that ends all loops, else 0.
    Last,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// An index into `memory`; absent for scratch memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<usize>,
    /// `read` or `read_write`.
    pub access: String,
    /// The buffers that the kernel touches: indices into `buffers`.
    pub buffers: Vec<usize>,
}

/// How many workgroups run: beyond 65,535, rows of so many in a second dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// Rounded up to whole workgroups.
    Invocations(String),
    Workgroups(String),
}

/// How a long kernel is cut into several dispatches, so that none runs for seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chunks {
    Whole,
    /// By ranges of time steps. A step costs an invocation 1 iteration and, for each stage,
    /// `ceil(points / lanes) * (1 + iterations)`.
    Steps {
        length: String,
        backward: bool,
        lanes: u32,
        stages: Vec<StageWork>,
    },
    /// By ranges of the reduction loops, one loop after the other: loops before the current one have
    /// the empty range at their end, those after it at 0. `slots * points` elements of scratch keep
    /// partial results; `lanes` invocations share an iteration count.
    Loops {
        lengths: Vec<String>,
        slots: usize,
        points: String,
        lanes: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageWork {
    pub points: String,
    pub iterations: String,
}

/// Indices into `kernels`, in the order in which they run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Passes {
    pub forward: Vec<usize>,
    pub backward: Vec<usize>,
    pub update: Vec<usize>,
}

impl Manifest {
    /// The text of `manifest.json`.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

/// The file of a kernel's shader in an artifact.
pub fn file_name(shader: &Shader) -> String {
    format!("{}.wgsl", shader.name)
}

/// Describes a program and its shaders.
pub fn manifest(program: &Program, shaders: &Shaders) -> Manifest {
    let memory = shaders
        .groups
        .iter()
        .map(|group| MemoryBlock { name: group.name.clone(), size: group.size.to_string() });
    let results = program.results.iter().map(|(role, name, buffer)| ResultEntry {
        role: role_name(*role).to_owned(),
        name: name.clone(),
        buffer: index(*buffer),
    });
    let mut next = 0;
    let mut pass = |pass| {
        let start = next;
        next += program.pass(pass).len();
        (start..next).collect()
    };
    Manifest {
        version: VERSION,
        name: program.name.clone(),
        time: program.time.as_ref().map(Dim::to_string),
        dimensions: open_dimensions(program),
        memory: memory.collect(),
        buffers: program.buffer_ids().map(|id| buffer(program, shaders, id)).collect(),
        results: results.collect(),
        kernels: shaders.shaders.iter().map(kernel).collect(),
        passes: Passes {
            forward: pass(Pass::Forward),
            backward: pass(Pass::Backward),
            update: pass(Pass::Update),
        },
    }
}

fn open_dimensions(program: &Program) -> Vec<String> {
    let dims = program.buffers.iter().flat_map(|buffer| &buffer.dims).chain(&program.time);
    let mut names: Vec<String> =
        dims.flat_map(Dim::symbols).map(|symbol| symbol.to_string()).collect();
    names.sort();
    names.dedup();
    names
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Output => "output",
        Role::Gradient => "gradient",
        Role::Update => "update",
    }
}

fn index(buffer: BufferId) -> usize {
    buffer.0 as usize
}

fn buffer(program: &Program, shaders: &Shaders, id: BufferId) -> Buffer {
    let buffer = program.buffer(id);
    let groups = shaders.groups.iter().enumerate();
    let mut places = groups.flat_map(|(number, group)| {
        group.members.iter().map(move |(member, offset)| (*member, number, offset))
    });
    let place = places.find(|(member, ..)| *member == id);
    Buffer {
        name: buffer.name.clone(),
        source: source(program, buffer.source),
        elem: buffer.elem.name().to_owned(),
        dims: texts(&buffer.dims),
        stream: buffer.stream,
        binary: buffer.binary,
        memory: place.map_or(0, |(_, number, _)| number),
        offset: place.map_or_else(|| "0".to_owned(), |(.., offset)| offset.to_string()),
    }
}

fn source(program: &Program, source: BufferSource) -> Source {
    let finite = |value: f64| value.is_finite().then_some(value);
    match source {
        BufferSource::Input(input) => Source::Input { name: program.inputs[input].name.clone() },
        BufferSource::Param(param) => {
            let param = &program.params[param];
            Source::Param {
                path: param.path.clone(),
                init: param.init,
                bounds: param.bounds.map(|(low, high)| (finite(low), finite(high))),
                optimizer_state: param.optimizer_state,
            }
        }
        BufferSource::Kernel => Source::Kernel,
    }
}

fn texts(dims: &[Dim]) -> Vec<String> {
    dims.iter().map(Dim::to_string).collect()
}

fn kernel(shader: &Shader) -> Kernel {
    let uniforms = shader
        .uniforms
        .iter()
        .map(|field| Uniform { name: field.name.clone(), value: uniform_value(&field.value) });
    Kernel {
        name: shader.name.clone(),
        file: file_name(shader),
        entry: shader.entry.clone(),
        workgroup_size: shader.workgroup_size,
        uniforms: uniforms.collect(),
        bindings: shader.bindings.iter().map(binding).collect(),
        dispatch: match &shader.dispatch {
            Dispatch::Invocations(count) => Count::Invocations(count.to_string()),
            Dispatch::Workgroups(count) => Count::Workgroups(count.to_string()),
        },
        chunking: chunks(&shader.chunking),
    }
}

fn uniform_value(value: &FieldValue) -> UniformValue {
    match value {
        FieldValue::Dim(dim) => UniformValue::Dim(dim.to_string()),
        FieldValue::StepStart => UniformValue::StepStart,
        FieldValue::StepEnd => UniformValue::StepEnd,
        FieldValue::LoopStart(index) => UniformValue::LoopStart(*index),
        FieldValue::LoopEnd(index) => UniformValue::LoopEnd(*index),
        FieldValue::Last => UniformValue::Last,
    }
}

fn binding(binding: &wgsl::Binding) -> Binding {
    Binding {
        memory: match binding.memory {
            Memory::Group(group) => Some(group),
            Memory::Scratch => None,
        },
        access: if binding.writable { "read_write" } else { "read" }.to_owned(),
        buffers: binding.buffers.iter().map(|id| index(*id)).collect(),
    }
}

fn chunks(chunking: &Chunking) -> Chunks {
    match chunking {
        Chunking::Whole => Chunks::Whole,
        Chunking::Steps { length, direction, lanes, stages } => Chunks::Steps {
            length: length.to_string(),
            backward: *direction == Direction::Backward,
            lanes: *lanes,
            stages: stages
                .iter()
                .map(|stage| StageWork {
                    points: stage.points.to_string(),
                    iterations: stage.iterations.to_string(),
                })
                .collect(),
        },
        Chunking::Loops { lengths, slots, points, lanes } => Chunks::Loops {
            lengths: texts(lengths),
            slots: *slots,
            points: points.to_string(),
            lanes: *lanes,
        },
    }
}
