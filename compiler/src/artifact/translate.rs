//! Shaders in other languages than WGSL, through naga.
//!
//! Indices are not checked again, loops get no counters, and workgroup memory is not cleared: the
//! compiler knows that indices are inside, that loops end, and that memory is written before it is read.

use std::collections::BTreeMap;

use naga::back::{glsl, hlsl, msl, spv};
use naga::proc::BoundsCheckPolicies;
use naga::valid::ModuleInfo;
use naga::{Module, ResourceBinding, ShaderStage};

use super::manifest::Target;
use crate::target::gpu::{EmitError, Fault, Shader, validate};

/// A shader in another language.
pub(super) struct Translated {
    pub bytes: Vec<u8>,
    pub entry: String,
}

impl Target {
    /// All of them.
    pub const ALL: [Target; 4] = [Target::Spirv, Target::Msl, Target::Hlsl, Target::Glsl];

    /// The ending of its files.
    pub fn extension(self) -> &'static str {
        match self {
            Target::Spirv => "spv",
            Target::Msl => "metal",
            Target::Hlsl => "hlsl",
            Target::Glsl => "comp",
        }
    }
}

/// Translates a shader.
pub(super) fn translate(shader: &Shader, target: Target) -> Result<Translated, EmitError> {
    let (module, info) = validate(shader)?;
    let translated = match target {
        Target::Spirv => spirv(&module, &info, shader),
        Target::Msl => msl(&module, &info, shader),
        Target::Hlsl => hlsl(&module, &info, shader),
        Target::Glsl => glsl(&module, &info, shader),
    };
    let (kernel, target) = (shader.name.clone(), target.extension());
    translated.map_err(|message| Fault::Untranslated { kernel, target, message }.into())
}

fn spirv(module: &Module, info: &ModuleInfo, shader: &Shader) -> Result<Translated, String> {
    let options = spv::Options {
        lang_version: (1, 3),
        // Names, whatever the build: the bytes must not depend on it.
        flags: spv::WriterFlags::DEBUG,
        bounds_check_policies: BoundsCheckPolicies::default(),
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..spv::Options::default()
    };
    let words = spv::write_vec(module, info, &options, None).map_err(|error| error.to_string())?;
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Ok(Translated { bytes, entry: shader.entry.clone() })
}

fn msl(module: &Module, info: &ModuleInfo, shader: &Shader) -> Result<Translated, String> {
    let targets = bindings(shader).map(|(binding, _)| {
        let target = msl::BindTarget {
            buffer: Some(binding.binding as u8),
            mutable: true,
            ..msl::BindTarget::default()
        };
        (binding, target)
    });
    let resources = msl::EntryPointResources {
        resources: targets.collect(),
        sizes_buffer: Some(shader.bindings.len() as u8 + 1),
        ..Default::default()
    };
    let options = msl::Options {
        lang_version: (2, 0),
        per_entry_point_map: BTreeMap::from([(shader.entry.clone(), resources)]),
        fake_missing_bindings: false,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..msl::Options::default()
    };
    let written = msl::write_string(module, info, &options, &msl::PipelineOptions::default());
    let (text, translation) = written.map_err(|error| error.to_string())?;
    let entry = translation.entry_point_names.into_iter().next().ok_or("no entry point")?;
    Ok(Translated { bytes: text.into_bytes(), entry: entry.map_err(|error| error.to_string())? })
}

fn hlsl(module: &Module, info: &ModuleInfo, shader: &Shader) -> Result<Translated, String> {
    let targets = bindings(shader).map(|(binding, _)| {
        let target = hlsl::BindTarget { register: binding.binding, ..Default::default() };
        (binding, target)
    });
    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_0,
        binding_map: targets.collect(),
        fake_missing_bindings: false,
        restrict_indexing: false,
        zero_initialize_workgroup_memory: false,
        force_loop_bounding: false,
        ..hlsl::Options::default()
    };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let mut writer = hlsl::Writer::new(&mut text, &options, &pipeline);
    let reflection = writer.write(module, info, None).map_err(|error| error.to_string())?;
    let entry = reflection.entry_point_names.into_iter().next().ok_or("no entry point")?;
    let entry = entry.map_err(|error| error.to_string())?;
    Ok(Translated { bytes: text.into_bytes(), entry })
}

fn glsl(module: &Module, info: &ModuleInfo, shader: &Shader) -> Result<Translated, String> {
    let options = glsl::Options {
        version: glsl::Version::Desktop(430),
        writer_flags: glsl::WriterFlags::empty(),
        binding_map: bindings(shader).collect(),
        zero_initialize_workgroup_memory: false,
    };
    let pipeline = glsl::PipelineOptions {
        shader_stage: ShaderStage::Compute,
        entry_point: shader.entry.clone(),
        multiview: None,
    };
    let mut text = String::new();
    let policies = BoundsCheckPolicies::default();
    glsl::Writer::new(&mut text, module, info, &options, &pipeline, policies)
        .and_then(|mut writer| writer.write())
        .map_err(|error| error.to_string())?;
    Ok(Translated { bytes: text.into_bytes(), entry: "main".to_owned() })
}

/// The bindings of a shader, and their numbers as GLSL takes them.
fn bindings(shader: &Shader) -> impl Iterator<Item = (ResourceBinding, u8)> {
    let first = u32::from(shader.uniforms.is_empty());
    let numbers = first..=shader.bindings.len() as u32;
    numbers.map(|binding| (ResourceBinding { group: 0, binding }, binding as u8))
}
