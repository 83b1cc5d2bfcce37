//! Artifacts: a manifest and its files, written whole and read with suspicion.
//!
//! An [`Artifact`] is in memory. Who writes it to a directory or sends it elsewhere takes
//! [`Artifact::files`]; who has it elsewhere gives [`Artifact::read`] a way to load a file by its name.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::manifest::{
    self, BufferRole, FORMAT, FileEntry, Initial, Manifest, ObjectEntry, Param, ResultRole, Target,
    Translation, VERSION,
};
use super::translate::translate;
use crate::Compiled;
use crate::ir::graph::{self, Clock, Dim, ParamKind, Role, Type};
use crate::ir::kernel::{self, BufferId, BufferSource, Pass, Program, Storage};
use crate::ir::{Verified, verify};
use crate::middle::optimizer::Optimizer;
use crate::target::gpu::{
    Chunking, Dispatch, Emission, EmitError, FieldValue, Limits, Memory, run_passes,
};
use crate::target::gpu::{Group, Shader, Shaders};

/// The name of the file that describes the others.
pub const MANIFEST: &str = "manifest.json";

/// A device that shaders are planned for without having it: its name, and what it offers.
pub const PROFILES: [(&str, Limits); 3] = [
    ("webgpu-default", Limits::WEBGPU),
    ("webgpu-compatibility", Limits { storage_buffers: 4, workgroup_size: 128, ..Limits::WEBGPU }),
    ("desktop", DESKTOP),
];

const DESKTOP: Limits = Limits {
    storage_buffers: 24,
    workgroup_memory: 32 << 10,
    parallel_workgroups: 64,
    ..Limits::WEBGPU
};

/// How to build an artifact.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// One of [`PROFILES`], or any other name and limits.
    pub profile: (String, Limits),
    /// Languages to add.
    pub targets: BTreeSet<Target>,
    /// The optimiser that the program was compiled with.
    pub optimizer: Option<Optimizer>,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        let (name, limits) = PROFILES[0];
        BuildOptions {
            profile: (name.to_owned(), limits),
            targets: BTreeSet::new(),
            optimizer: None,
        }
    }
}

/// A manifest and the files that it describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    manifest: Manifest,
    /// What the manifest says of it.
    program: Verified<Program>,
    files: BTreeMap<String, Vec<u8>>,
}

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There are no shaders.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// What would be written could not be read: a number is infinite, or a size too large.
    #[error("{0}")]
    Unreadable(String),
}

/// Why an artifact was refused; the text says what is at fault.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ReadError(#[from] Fault);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("`{name}` cannot be read: {error}")]
    File { name: String, error: io::Error },
    #[error("`manifest.json` is no JSON: {0}")]
    Json(serde_json::Error),
    #[error("`manifest.json` is not an fgi artifact's: it has no `\"format\": \"fgi-artifact\"`")]
    Format,
    #[error("the artifact has version {found} of the format, and this reader knows {VERSION} only")]
    Version { found: u64 },
    #[error("`manifest.json` does not follow the format: {0}")]
    Schema(serde_json::Error),
    #[error("`{name}` has {found} bytes, and the manifest says {expected}: it is not complete")]
    Length { name: String, expected: u64, found: u64 },
    #[error("`{name}` is not the file that the manifest describes: its SHA-256 differs")]
    Hash { name: String },
    #[error("`{name}` is no plain file name")]
    Name { name: String },
    #[error("the size of `{what}` is more than 2^31 - 1 elements: {size}")]
    Overflow { what: String, size: Dim },
    /// The manifest contradicts itself.
    #[error("the manifest is wrong: {0}")]
    Wrong(String),
}

impl Artifact {
    /// Emits a compiled program's shaders and describes them.
    pub fn build(compiled: &Compiled, options: &BuildOptions) -> Result<Artifact, BuildError> {
        Artifact::build_timed(compiled, options, &mut |_| {})
    }

    /// [`Artifact::build`]; `after` is told the name of each pass of the GPU that is done.
    pub fn build_timed(
        compiled: &Compiled,
        options: &BuildOptions,
        after: &mut dyn FnMut(&'static str),
    ) -> Result<Artifact, BuildError> {
        let (profile, limits) = &options.profile;
        let after = &mut |pass, _: &Emission| after(pass);
        let shaders = run_passes(&compiled.program, limits, &compiled.sources, after)?;
        let optimizer = options.optimizer.as_ref();
        let manifest = manifest::manifest(compiled, optimizer, &shaders, (profile, limits));
        let program = verify(program(&manifest));
        let program = program.map_err(|law| BuildError::Unreadable(law.to_string()))?;
        let mut artifact = Artifact { manifest, program, files: BTreeMap::new() };
        for source in compiled.sources.iter() {
            let sha256 = sha256(source.text.as_bytes());
            artifact.manifest.sources.insert(source.name.clone(), sha256);
        }
        for (number, shader) in shaders.shaders.iter().enumerate() {
            let file = artifact.manifest.kernels[number].file.clone();
            artifact.add(file, shader.text.clone().into_bytes());
            for target in &options.targets {
                let translated = translate(shader, *target)?;
                let file = format!("{}.{}", shader.name, target.extension());
                artifact.add(file.clone(), translated.bytes);
                let entry = Translation { file, entry: translated.entry };
                artifact.manifest.kernels[number].targets.insert(*target, entry);
            }
        }
        artifact.readable()?;
        Ok(artifact)
    }

    /// Adds initial values of all parameters: a safetensors file, and the seed if it follows from one.
    pub fn add_initial(&mut self, seed: Option<u64>, bytes: Vec<u8>) {
        let file = "initial.safetensors".to_owned();
        self.add(file.clone(), bytes);
        self.manifest.initial = Some(Initial { file, seed });
    }

    /// Adds the program as native code: the bytes of the object file, the text of its C header, and the
    /// machine and system that it is for.
    pub fn add_object(&mut self, object: Vec<u8>, header: String, target: String) {
        let name = self.manifest.name.clone();
        let entry = ObjectEntry { file: format!("{name}.o"), header: format!("{name}.h"), target };
        self.add(entry.file.clone(), object);
        self.add(entry.header.clone(), header.into_bytes());
        self.manifest.object = Some(entry);
    }

    /// Reads an artifact and checks that it is whole and means something; `load` gives the bytes of a
    /// file by its name.
    pub fn read(load: &mut dyn FnMut(&str) -> io::Result<Vec<u8>>) -> Result<Artifact, ReadError> {
        let failed = |name: &str| {
            let name = name.to_owned();
            move |error| Fault::File { name, error }
        };
        let manifest = parse(&load(MANIFEST).map_err(failed(MANIFEST))?)?;
        let mut files = BTreeMap::new();
        for (name, entry) in &manifest.files {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
                return Err(Fault::Name { name: name.clone() }.into());
            }
            let bytes = load(name).map_err(failed(name))?;
            let found = bytes.len() as u64;
            if found != entry.bytes {
                let (name, expected) = (name.clone(), entry.bytes);
                return Err(Fault::Length { name, expected, found }.into());
            }
            if sha256(&bytes) != entry.sha256 {
                return Err(Fault::Hash { name: name.clone() }.into());
            }
            files.insert(name.clone(), bytes);
        }
        check(&manifest, &files)?;
        let program = verify(program(&manifest));
        let program = program.map_err(|law| Fault::Wrong(law.to_string()))?;
        Ok(Artifact { manifest, program, files })
    }

    /// What is in it, and how to run it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of a file that the manifest describes.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(Vec::as_slice)
    }

    /// All files by name, the manifest too.
    pub fn files(&self) -> Result<BTreeMap<String, Vec<u8>>, BuildError> {
        let json = self.manifest.to_json();
        let json = json.map_err(|error| BuildError::Unreadable(error.to_string()))?;
        let mut files = self.files.clone();
        files.insert(MANIFEST.to_owned(), json.into_bytes());
        Ok(files)
    }

    /// What the program takes, keeps and gives. It has no kernels: those are the shaders.
    pub fn program(&self) -> &Verified<Program> {
        &self.program
    }

    /// The shaders, in the order in which the passes run them.
    pub fn shaders(&self) -> Shaders {
        let manifest = &self.manifest;
        let groups = manifest.memory.iter().enumerate().map(|(number, block)| {
            let buffers = (0..).zip(&manifest.buffers);
            let members = buffers.filter(|(_, buffer)| buffer.memory == number);
            let members = members.map(|(id, buffer)| (BufferId(id), buffer.offset.clone()));
            Group { name: block.name.clone(), members: members.collect(), size: block.size.clone() }
        });
        let passes = Pass::ALL;
        let kernels = passes.map(|pass| manifest.passes.of(pass).iter().map(move |k| (pass, *k)));
        let shaders = kernels.into_iter().flatten().map(|(pass, number)| {
            let kernel = &manifest.kernels[number];
            let text = self.file(&kernel.file).unwrap_or_default();
            Shader {
                name: kernel.name.clone(),
                pass,
                entry: kernel.entry.clone(),
                text: String::from_utf8_lossy(text).into_owned(),
                lines: Vec::new(),
                workgroup_size: kernel.workgroup_size,
                uniforms: kernel.uniforms.clone(),
                bindings: kernel.bindings.clone(),
                dispatch: kernel.dispatch.clone(),
                chunking: kernel.chunking.clone(),
            }
        });
        Shaders { groups: groups.collect(), shaders: shaders.collect() }
    }

    /// The SPIR-V of [`Artifact::shaders`], if the artifact has it.
    pub fn spirv(&self) -> Option<Vec<Vec<u32>>> {
        let passes = &self.manifest.passes;
        let run = passes.forward.iter().chain(&passes.backward).chain(&passes.update);
        let words = |number: &usize| {
            let translation = self.manifest.kernels[*number].targets.get(&Target::Spirv)?;
            let (words, _) = self.file(&translation.file)?.as_chunks::<4>();
            Some(words.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
        };
        run.map(words).collect()
    }

    fn add(&mut self, name: String, bytes: Vec<u8>) {
        let entry = FileEntry { bytes: bytes.len() as u64, sha256: sha256(&bytes) };
        self.manifest.files.insert(name.clone(), entry);
        self.files.insert(name, bytes);
    }

    /// What is written can be read.
    fn readable(&self) -> Result<(), BuildError> {
        let files = self.files()?;
        let mut load =
            |name: &str| files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
        match Artifact::read(&mut load) {
            Ok(_) => Ok(()),
            Err(error) => Err(BuildError::Unreadable(error.to_string())),
        }
    }
}

/// The program that a manifest describes, without kernels.
fn program(manifest: &Manifest) -> Program {
    let source = |id: usize, role: BufferRole| {
        let input = manifest.inputs.iter().position(|input| input.buffer == Some(id));
        let param = manifest.params.iter().position(|param| param.buffer == id);
        match role {
            BufferRole::Input => input.map(BufferSource::Input),
            BufferRole::Param => param.map(BufferSource::Param),
            BufferRole::Kernel => None,
        }
    };
    let inputs = manifest.inputs.iter().map(|input| {
        let clock = if input.stream { Clock::Stream } else { Clock::Static };
        let ty = Type::new(input.elem, input.dims.clone(), clock);
        graph::Input { name: input.name.clone(), ty, docs: input.docs.clone() }
    });
    let buffers = manifest.buffers.iter().enumerate().map(|(id, buffer)| kernel::Buffer {
        name: buffer.name.clone(),
        elem: buffer.elem,
        dims: buffer.dims.clone(),
        stream: buffer.stream,
        source: source(id, buffer.role).unwrap_or(BufferSource::Kernel),
        binary: buffer.binary,
        storage: Storage::of(buffer.elem),
    });
    let results = manifest.results.iter().map(|result| {
        let role = match result.role {
            ResultRole::Output => Role::Output,
            ResultRole::Gradient => Role::Gradient,
        };
        (role, result.name.clone(), BufferId(result.buffer as u32))
    });
    Program {
        name: manifest.name.clone(),
        time: manifest.time.clone(),
        inputs: inputs.collect(),
        params: manifest.params.iter().map(param).collect(),
        buffers: buffers.collect(),
        results: results.collect(),
        ..Program::default()
    }
}

fn param(param: &Param) -> graph::Param {
    let bounds = param
        .bounds
        .map(|(low, high)| (low.unwrap_or(f64::NEG_INFINITY), high.unwrap_or(f64::INFINITY)));
    graph::Param {
        path: param.path.clone(),
        dims: param.dims.clone(),
        init: param.init,
        bounds,
        docs: param.docs.clone(),
        elem: param.elem,
        kind: match (param.optimizer_state, param.state) {
            (true, _) => ParamKind::OptimizerState,
            (false, true) => ParamKind::State,
            (false, false) => ParamKind::Trained,
        },
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Version first: what a later one says is not for this reader to judge.
fn parse(json: &[u8]) -> Result<Manifest, Fault> {
    let value: serde_json::Value = serde_json::from_slice(json).map_err(Fault::Json)?;
    if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
        return Err(Fault::Format);
    }
    match value.get("version").and_then(|version| version.as_u64()) {
        Some(found) if found != u64::from(VERSION) => Err(Fault::Version { found }),
        _ => Manifest::deserialize(value).map_err(Fault::Schema),
    }
}

/// Every number refers to something, every formula has its dimensions, every fixed size fits.
fn check(manifest: &Manifest, files: &BTreeMap<String, Vec<u8>>) -> Result<(), Fault> {
    let wrong = |what: String| Err(Fault::Wrong(what));
    check_formulas(manifest)?;
    for block in &manifest.memory {
        check_size(&block.name, &block.size)?;
    }
    for buffer in &manifest.buffers {
        let size = elements(manifest, &buffer.dims, buffer.stream);
        check_size(&buffer.name, &size)?;
        let Some(block) = manifest.memory.get(buffer.memory) else {
            return wrong(format!("`{}` is in memory {}", buffer.name, buffer.memory));
        };
        let left = &(&block.size - &buffer.offset) - &size;
        let is_outside = left.terms().iter().any(|(_, value)| *value < 0);
        if is_outside || buffer.offset.terms().iter().any(|(_, value)| *value < 0) {
            return wrong(format!("`{}` is not inside of `{}`", buffer.name, block.name));
        }
    }
    let inputs = manifest.inputs.iter().map(|input| (&input.name, input.buffer));
    let params = manifest.params.iter().map(|param| (&param.path, Some(param.buffer)));
    let results = manifest.results.iter().map(|result| (&result.name, Some(result.buffer)));
    for (name, buffer) in inputs.chain(params).chain(results) {
        if buffer.is_some_and(|buffer| buffer >= manifest.buffers.len()) {
            return wrong(format!("`{name}` is in a buffer that does not exist"));
        }
    }
    for kernel in &manifest.kernels {
        check_kernel(manifest, kernel)?;
        let targets = kernel.targets.values().map(|target| &target.file);
        for file in targets.chain([&kernel.file]) {
            if !files.contains_key(file) {
                return wrong(format!("`{}` needs `{file}`, which it does not list", kernel.name));
            }
        }
    }
    let passes = &manifest.passes;
    let mut run = passes.forward.iter().chain(&passes.backward).chain(&passes.update);
    if let Some(number) = run.find(|number| **number >= manifest.kernels.len()) {
        return wrong(format!("a pass runs kernel {number}"));
    }
    let initial = manifest.initial.iter().map(|initial| &initial.file);
    let object = manifest.object.iter().flat_map(|object| [&object.file, &object.header]);
    match initial.chain(object).find(|file| !files.contains_key(*file)) {
        Some(file) => wrong(format!("`{file}` is not listed")),
        None => Ok(()),
    }
}

fn check_kernel(manifest: &Manifest, kernel: &manifest::Kernel) -> Result<(), Fault> {
    let wrong = |what: &str| Err(Fault::Wrong(format!("`{}` {what}", kernel.name)));
    let lanes = match &kernel.chunking {
        Chunking::Whole => 1,
        Chunking::Steps { lanes, .. } | Chunking::Loops { lanes, .. } => *lanes,
    };
    let loops = match &kernel.chunking {
        Chunking::Loops { lengths, .. } => lengths.len(),
        _ => 0,
    };
    if kernel.workgroup_size == 0 || lanes == 0 {
        return wrong("has no invocations");
    }
    for field in &kernel.uniforms {
        if let FieldValue::LoopStart(number) | FieldValue::LoopEnd(number) = field.value
            && number >= loops
        {
            return wrong("asks for a loop that it does not have");
        }
    }
    for binding in &kernel.bindings {
        let is_known = match binding.memory {
            Memory::Group(number) => number < manifest.memory.len(),
            Memory::Scratch => true,
        };
        if !is_known {
            return wrong("binds memory that does not exist");
        }
    }
    Ok(())
}

/// Formulas are in open dimensions.
fn check_formulas(manifest: &Manifest) -> Result<(), Fault> {
    let mut formulas: Vec<&Dim> = manifest.time.iter().collect();
    formulas.extend(manifest.inputs.iter().flat_map(|input| &input.dims));
    formulas.extend(manifest.params.iter().flat_map(|param| &param.dims));
    formulas.extend(manifest.memory.iter().map(|block| &block.size));
    formulas.extend(manifest.buffers.iter().flat_map(|buffer| &buffer.dims));
    formulas.extend(manifest.buffers.iter().map(|buffer| &buffer.offset));
    for kernel in &manifest.kernels {
        formulas.push(match &kernel.dispatch {
            Dispatch::Invocations(count) | Dispatch::Workgroups(count) => count,
        });
        formulas.extend(kernel.uniforms.iter().filter_map(|field| match &field.value {
            FieldValue::Dim(dim) => Some(dim),
            _ => None,
        }));
        match &kernel.chunking {
            Chunking::Whole => {}
            Chunking::Steps { length, stages, .. } => {
                formulas.push(length);
                let works = stages.iter().flat_map(|stage| [&stage.points, &stage.iterations]);
                formulas.extend(works);
            }
            Chunking::Loops { lengths, points, .. } => {
                formulas.extend(lengths);
                formulas.push(points);
            }
        }
    }
    let open = &manifest.dimensions.open;
    let symbols = formulas.iter().flat_map(|formula| formula.symbols());
    match symbols.into_iter().find(|symbol| !open.contains(symbol.as_ref())) {
        Some(symbol) => Err(Fault::Wrong(format!("`{symbol}` is no open dimension"))),
        None => Ok(()),
    }
}

fn elements(manifest: &Manifest, dims: &[Dim], stream: bool) -> Dim {
    let step = Dim::product(dims);
    match &manifest.time {
        Some(time) if stream => time * &step,
        _ => step,
    }
}

/// A fixed size can be indexed by an i32; an open one is checked when its dimensions are bound.
fn check_size(what: &str, size: &Dim) -> Result<(), Fault> {
    let fits = |value: i64| (0..=i64::from(i32::MAX)).contains(&value);
    let is_too_large = match size.as_const() {
        Some(size) => !fits(size),
        None => size.terms().iter().any(|(_, value)| !fits(value.abs())),
    };
    match is_too_large {
        true => Err(Fault::Overflow { what: what.to_owned(), size: size.clone() }),
        false => Ok(()),
    }
}
