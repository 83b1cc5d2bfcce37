//! The manifest of an artifact: everything about a program that its shaders do not say.
//!
//! Whoever reads it needs nothing else to run the program; the book's chapter on artifacts says how.
//! [`schema`] describes the format, and the comments here are its reference.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use crate::Compiled;
use crate::ir::graph::{Dim, Elem, Init, ParamKind, Role};
use crate::ir::kernel::{self, BufferId, BufferSource, Pass, Program};
use crate::middle::optimizer::{LEARNING_RATE, Optimizer, STEP};
use crate::source::{Sources, Span};
use crate::target::gpu::{Binding, Chunking, Dispatch, Field, Limits, Shader, Shaders};

/// What `format` says in every manifest.
pub const FORMAT: &str = "fgi-artifact";

/// The version of the format that this compiler reads and writes.
pub const VERSION: u32 = 1;

/// A program with its shaders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "The manifest of an fgi artifact")]
pub struct Manifest {
    /// Always `fgi-artifact`.
    pub format: String,
    /// The version of the format. A reader that does not know it must not go on.
    pub version: u32,
    /// The compiler that wrote it.
    pub generator: String,
    /// The graph's name in the program.
    pub name: String,
    /// The device that the shaders are planned for.
    pub profile: Profile,
    /// The graph's dimensions.
    pub dimensions: Dimensions,
    /// The number of time steps; absent if the program has no streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Dim>,
    /// What the caller gives before a run.
    pub inputs: Vec<Input>,
    /// What is kept from run to run: parameters, and the memory that the optimiser keeps of each.
    pub params: Vec<Param>,
    /// What can be read after the passes.
    pub results: Vec<ResultEntry>,
    /// The optimiser behind the update pass, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<OptimizerEntry>,
    /// The GPU buffers, each shared by some of `buffers`. All are zero at first.
    pub memory: Vec<MemoryBlock>,
    /// The tensors.
    pub buffers: Vec<Buffer>,
    /// The shaders.
    pub kernels: Vec<Kernel>,
    /// Which kernels run.
    pub passes: Passes,
    /// Sums and products may be rounded in another order than the program has them.
    pub fast_math: bool,
    /// A file with initial values of all parameters, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Initial>,
    /// The program as native code, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectEntry>,
    /// The SHA-256 of each text that was compiled, by its name, those of the standard library too.
    pub sources: BTreeMap<String, String>,
    /// Every other file of the artifact by its name.
    pub files: BTreeMap<String, FileEntry>,
}

/// What a device must offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// As it was asked for.
    pub name: String,
    /// The most storage buffers that a kernel binds (WebGPU: `maxStorageBuffersPerShaderStage`).
    pub storage_buffers: usize,
    /// The most invocations of a workgroup (WebGPU: `maxComputeInvocationsPerWorkgroup`).
    pub workgroup_size: u32,
    /// The most bytes of a workgroup's memory (WebGPU: `maxComputeWorkgroupStorageSize`).
    pub workgroup_memory: u32,
}

/// The graph's dimensions by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dimensions {
    /// Those to be given at run time: formulas use them. None is negative.
    pub open: BTreeSet<String>,
    /// Those that were fixed when the program was compiled.
    pub fixed: BTreeMap<String, i64>,
}

/// An array that the caller gives, row-major, 4 bytes an element, little-endian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// As in the program.
    pub name: String,
    /// Of its elements; booleans are u32 0 or 1.
    #[serde(rename = "type")]
    pub elem: Elem,
    /// Its axes at one step.
    pub dims: Vec<Dim>,
    /// There is a value for each step: time is a further axis, before `dims`.
    pub stream: bool,
    /// What the program's comments say about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// The number of its buffer; absent if nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<usize>,
}

/// A parameter, a state, or a memory of the optimiser. Only a state may have open dimensions, or be i32.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// The instance of the layer and the name: `h.w_in`.
    pub path: String,
    /// Of its elements.
    #[serde(rename = "type", default = "float", skip_serializing_if = "is_float")]
    pub elem: Elem,
    /// Its axes.
    pub dims: Vec<Dim>,
    /// How it starts, then put between its bounds. Fans are those of PyTorch: for `[K, N]`, K in and
    /// N out.
    pub init: Init,
    /// The ends between which the update keeps it; `null` is an end that is infinite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<(Option<f64>, Option<f64>)>,
    /// Memory of the optimiser: saved like a parameter, but not trained.
    pub optimizer_state: bool,
    /// The program's own memory from run to run: the update pass sets its next value.
    #[serde(default, skip_serializing_if = "is_false")]
    pub state: bool,
    /// What the program's comments say about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs: String,
    /// The number of its buffer.
    pub buffer: usize,
}

/// An output or a gradient.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultEntry {
    /// Which of both.
    pub role: ResultRole,
    /// The output's name; for a gradient, the path of the parameter or the name of the input.
    pub name: String,
    /// The number of the buffer that holds it.
    pub buffer: usize,
}

/// What a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResultRole {
    /// An output of the graph, there after the forward pass.
    Output,
    /// A gradient, there after the backward pass.
    Gradient,
}

/// What the update pass does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerEntry {
    /// Its name in the standard library: `adam`.
    pub name: String,
    /// The scalar f32 input that holds the learning rate.
    pub learning_rate: String,
    /// The scalar f32 input that holds the number of the update, from 1; absent if it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

/// A GPU buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryBlock {
    /// For people.
    pub name: String,
    /// In elements of 4 bytes; there is at least one.
    pub size: Dim,
}

/// A tensor, row-major, 4 bytes an element, little-endian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// As in the shaders.
    pub name: String,
    /// What fills it.
    pub role: BufferRole,
    /// Of its elements; booleans are u32 0 or 1.
    #[serde(rename = "type")]
    pub elem: Elem,
    /// Its axes at one step.
    pub dims: Vec<Dim>,
    /// There is a value for each step: time is a further axis, before `dims`.
    pub stream: bool,
    /// Every element is 0 or 1.
    pub binary: bool,
    /// The number of the GPU buffer that it lies in.
    pub memory: usize,
    /// Where in it, in elements of 4 bytes.
    pub offset: Dim,
}

/// What fills a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BufferRole {
    /// The caller.
    Input,
    /// An initialiser or a checkpoint, then the update pass.
    Param,
    /// A kernel.
    Kernel,
}

/// A compute shader with one entry point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// After what it computes.
    pub name: String,
    /// The file with the WGSL text.
    pub file: String,
    /// The name of its entry point.
    pub entry: String,
    /// Invocations in a workgroup, in one dimension.
    pub workgroup_size: u32,
    /// The fields of the uniform struct at binding 0, each an i32 of 4 bytes; without fields there is
    /// no such binding. Its size is rounded up to a multiple of 16 bytes.
    pub uniforms: Vec<Field>,
    /// The storage buffers at bindings 1, 2, … of group 0, each bound whole.
    pub bindings: Vec<Binding>,
    /// How many workgroups run; none if the formula is 0 or less.
    pub dispatch: Dispatch,
    /// How it can be cut into several dispatches.
    pub chunking: Chunking,
    /// Arithmetic operations of one run, comparisons and choices included, indices not.
    pub operations: Dim,
    /// The file and line that it was written as; absent for what no text stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// For lines of the WGSL text, counted from 1, the file and line that they were written as. A line
    /// that is not here belongs to the last one before it.
    pub lines: BTreeMap<u32, String>,
    /// The shader in other languages, by target.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<Target, Translation>,
}

/// A language that shaders can be translated to.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// SPIR-V 1.3 for Vulkan 1.1: descriptor set 0, the bindings of the WGSL text.
    Spirv,
    /// Metal Shading Language 2.0: the bindings are buffer indices; an argument for sizes at the index
    /// after them is not used.
    Msl,
    /// HLSL for shader model 6.0: `b0`, then `t` registers for what is read and `u` registers for what
    /// is written, numbered as the bindings.
    Hlsl,
    /// GLSL 4.30: the uniform block and the storage blocks have the bindings of the WGSL text.
    Glsl,
}

/// A shader in another language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Translation {
    /// The file.
    pub file: String,
    /// The name of its entry point.
    pub entry: String,
}

/// Which kernels a pass runs: their numbers, in order, each seeing what those before it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passes {
    /// Computes the outputs.
    pub forward: Vec<usize>,
    /// Computes the gradients; runs after `forward`.
    pub backward: Vec<usize>,
    /// Writes new parameters in place; runs after `backward`.
    pub update: Vec<usize>,
}

/// Initial values of the parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// A safetensors file with one F32 tensor for each of `params`, by path.
    pub file: String,
    /// The seed that they follow from; absent if they were trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// Native code for programs in C.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectEntry {
    /// The object file.
    pub file: String,
    /// The C header, which says how to call it.
    pub header: String,
    /// The machine and system that it is for: `x86_64-unknown-linux-gnu`.
    pub target: String,
}

/// What a file must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The text of `manifest.json`.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }
}

impl Passes {
    /// The kernels of a pass.
    pub fn of(&self, pass: Pass) -> &[usize] {
        match pass {
            Pass::Forward => &self.forward,
            Pass::Backward => &self.backward,
            Pass::Update => &self.update,
        }
    }
}

/// The JSON schema of manifests.
pub fn schema() -> Schema {
    let mut schema =
        SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Manifest>();
    let properties = schema.get_mut("properties");
    if let Some(properties) = properties.and_then(|properties| properties.as_object_mut()) {
        properties.insert("format".into(), constant(FORMAT.into(), "Always `fgi-artifact`."));
        let about = "The version of the format. A reader that does not know it must not go on.";
        properties.insert("version".into(), constant(VERSION.into(), about));
    }
    schema
}

fn constant(value: serde_json::Value, about: &str) -> serde_json::Value {
    serde_json::json!({ "description": about, "const": value })
}

/// The file of a kernel's shader in an artifact.
pub(super) fn file_name(kernel: &str) -> String {
    format!("{kernel}.wgsl")
}

/// Describes a program and its shaders, without files.
pub(super) fn manifest(
    compiled: &Compiled,
    optimizer: Option<&Optimizer>,
    shaders: &Shaders,
    (profile, limits): (&str, &Limits),
) -> Manifest {
    let program = &compiled.program;
    let has_input = |name: &str| program.inputs.iter().any(|input| input.name == name);
    let memory = shaders
        .groups
        .iter()
        .map(|group| MemoryBlock { name: group.name.clone(), size: group.size.clone() });
    let kernels = shaders.shaders.iter().zip(program.kernels());
    Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        generator: concat!("fgic ", env!("CARGO_PKG_VERSION")).to_owned(),
        name: program.name.clone(),
        profile: Profile {
            name: profile.to_owned(),
            storage_buffers: limits.storage_buffers,
            workgroup_size: limits.workgroup_size,
            workgroup_memory: limits.workgroup_memory,
        },
        dimensions: dimensions(compiled),
        time: program.time.clone(),
        inputs: inputs(program),
        params: params(program),
        results: results(program),
        optimizer: optimizer.map(|optimizer| OptimizerEntry {
            name: optimizer.name().to_owned(),
            learning_rate: LEARNING_RATE.to_owned(),
            step: has_input(STEP).then(|| STEP.to_owned()),
        }),
        memory: memory.collect(),
        buffers: program.buffer_ids().map(|id| buffer(program, shaders, id)).collect(),
        kernels: kernels
            .map(|(shader, kernel)| entry(program, shader, kernel, &compiled.sources))
            .collect(),
        passes: passes(shaders),
        initial: None,
        object: None,
        sources: BTreeMap::new(),
        files: BTreeMap::new(),
        fast_math: program.fast_math,
    }
}

fn dimensions(compiled: &Compiled) -> Dimensions {
    let program = &compiled.program;
    let types = program.inputs.iter().map(|input| &input.ty.dims);
    let types = types.chain(program.buffers.iter().map(|buffer| &buffer.dims));
    let dims = types.flatten().chain(&program.time);
    let open = dims.flat_map(Dim::symbols).map(|symbol| symbol.to_string()).collect();
    let named = compiled.dims.iter();
    let fixed = named.filter_map(|(name, dim)| Some((name.clone(), dim.as_const()?))).collect();
    Dimensions { open, fixed }
}

fn inputs(program: &Program) -> Vec<Input> {
    let inputs = program.inputs.iter().enumerate();
    let inputs = inputs.map(|(index, input)| Input {
        name: input.name.clone(),
        elem: input.ty.elem,
        dims: input.ty.dims.clone(),
        stream: input.ty.is_stream(),
        docs: input.docs.clone(),
        buffer: position(program, BufferSource::Input(index)),
    });
    inputs.collect()
}

fn float() -> Elem {
    Elem::F32
}

fn is_float(elem: &Elem) -> bool {
    *elem == Elem::F32
}

fn is_false(value: &bool) -> bool {
    !value
}

fn params(program: &Program) -> Vec<Param> {
    let finite = |value: f64| value.is_finite().then_some(value);
    let params = program.params.iter().enumerate();
    let params = params.filter_map(|(index, param)| {
        Some(Param {
            path: param.path.clone(),
            dims: param.dims.clone(),
            init: param.init,
            bounds: param.bounds.map(|(low, high)| (finite(low), finite(high))),
            elem: param.elem,
            optimizer_state: param.is_optimizer_state(),
            state: param.kind == ParamKind::State,
            docs: param.docs.clone(),
            buffer: position(program, BufferSource::Param(index))?,
        })
    });
    params.collect()
}

fn position(program: &Program, source: BufferSource) -> Option<usize> {
    program.buffers.iter().position(|buffer| buffer.source == source)
}

fn results(program: &Program) -> Vec<ResultEntry> {
    let results = program.results.iter().filter_map(|(role, name, buffer)| {
        let role = match role {
            Role::Output => ResultRole::Output,
            Role::Gradient => ResultRole::Gradient,
            Role::Update | Role::Next => return None,
        };
        Some(ResultEntry { role, name: name.clone(), buffer: buffer.0 as usize })
    });
    results.collect()
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
        role: match buffer.source {
            BufferSource::Input(_) => BufferRole::Input,
            BufferSource::Param(_) => BufferRole::Param,
            BufferSource::Kernel => BufferRole::Kernel,
        },
        elem: buffer.elem,
        dims: buffer.dims.clone(),
        stream: buffer.stream,
        binary: buffer.binary,
        memory: place.map_or(0, |(_, number, _)| number),
        offset: place.map_or_else(Dim::zero, |(.., offset)| offset.clone()),
    }
}

fn entry(program: &Program, shader: &Shader, kernel: &kernel::Kernel, sources: &Sources) -> Kernel {
    let lines =
        shader.lines.iter().filter_map(|(line, span)| Some((*line, place(*span, sources)?)));
    let mut lines: Vec<(u32, String)> = lines.collect();
    lines.dedup_by(|later, earlier| later.1 == earlier.1);
    Kernel {
        name: shader.name.clone(),
        file: file_name(&shader.name),
        entry: shader.entry.clone(),
        workgroup_size: shader.workgroup_size,
        uniforms: shader.uniforms.clone(),
        bindings: shader.bindings.clone(),
        dispatch: shader.dispatch.clone(),
        chunking: shader.chunking.clone(),
        operations: kernel.operations(program),
        source: kernel.span.and_then(|span| place(span, sources)),
        lines: lines.into_iter().collect(),
        targets: BTreeMap::new(),
    }
}

/// `smnist.fgi:12`
fn place(span: Span, sources: &Sources) -> Option<String> {
    let source = sources.get(span.file)?;
    Some(format!("{}:{}", source.name, sources.line_column(span).0))
}

fn passes(shaders: &Shaders) -> Passes {
    let pass = |pass| {
        let numbered = shaders.shaders.iter().enumerate();
        numbered.filter(|(_, shader)| shader.pass == pass).map(|(number, _)| number).collect()
    };
    Passes {
        forward: pass(Pass::Forward),
        backward: pass(Pass::Backward),
        update: pass(Pass::Update),
    }
}
