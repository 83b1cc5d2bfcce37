use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use fgi::artifact;
use fgi_compiler::artifact::manifest::{BufferRole, Kernel, Manifest};
use fgi_compiler::ir::graph::Dim;
use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::target::gpu::{Chunking, Dispatch};

use crate::failure::Outcome;
use crate::render;

/// Prints what is in an artifact: passes, kernels, buffers, operations, memory
///
/// The artifact is checked: every file is there and is the one that was built. Sizes are formulas of
/// the open dimensions.
#[derive(clap::Args)]
pub struct Args {
    /// The directory that `fgic build` wrote
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub fn run(args: &Args) -> Outcome {
    let artifact = artifact::read(&args.directory)?;
    let text = summary(artifact.manifest());
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn summary(manifest: &Manifest) -> String {
    let mut lines = vec![
        format!("{} (format {}, {})", manifest.name, manifest.version, manifest.generator),
        dimensions(manifest),
        profile(manifest),
    ];
    if let Some(optimizer) = &manifest.optimizer {
        lines.push(format!("optimiser {}", optimizer.name));
    }
    lines.push(String::new());
    for (pass, name) in
        [(Pass::Forward, "forward"), (Pass::Backward, "backward"), (Pass::Update, "update")]
    {
        lines.extend(pass_lines(manifest, pass, name));
    }
    lines.extend(buffer_lines(manifest));
    lines.push(memory(manifest));
    if let Some(object) = &manifest.object {
        lines.push(format!(
            "native code: {} and {} for {}",
            object.file, object.header, object.target
        ));
    }
    let bytes: u64 = manifest.files.values().map(|file| file.bytes).sum();
    lines.push(format!("files: {}, {bytes} bytes", manifest.files.len()));
    lines.join("\n") + "\n"
}

fn dimensions(manifest: &Manifest) -> String {
    let open: Vec<_> = manifest.dimensions.open.iter().map(String::as_str).collect();
    let fixed = manifest.dimensions.fixed.iter().map(|(name, value)| format!("{name} = {value}"));
    let fixed: Vec<_> = fixed.collect();
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    let (open, fixed) = (or_none(open.join(", ")), or_none(fixed.join(", ")));
    format!("dimensions: open {open}; fixed {fixed}")
}

fn profile(manifest: &Manifest) -> String {
    let profile = &manifest.profile;
    format!(
        "profile {}: {} storage buffers, {} invocations and {} bytes of memory a workgroup",
        profile.name, profile.storage_buffers, profile.workgroup_size, profile.workgroup_memory
    )
}

fn pass_lines(manifest: &Manifest, pass: Pass, name: &str) -> Vec<String> {
    let kernels: Vec<_> =
        manifest.passes.of(pass).iter().map(|number| &manifest.kernels[*number]).collect();
    if kernels.is_empty() {
        return vec![format!("{name}: no kernels"), String::new()];
    }
    let sum = kernels.iter().fold(Dim::zero(), |sum, kernel| &sum + &kernel.operations);
    let mut lines = vec![format!("{name}: {} kernels, {sum} operations", kernels.len())];
    let rows = kernels.iter().map(|kernel| {
        let source = kernel.source.clone().unwrap_or_default();
        vec![kernel.name.clone(), dispatch(kernel), kernel.operations.to_string(), source]
    });
    lines.extend(render::table(rows.collect()));
    lines.push(String::new());
    lines
}

fn dispatch(kernel: &Kernel) -> String {
    let size = kernel.workgroup_size;
    let grid = match &kernel.dispatch {
        Dispatch::Invocations(count) => format!("{count} invocations / {size}"),
        Dispatch::Workgroups(count) => format!("{count} workgroups × {size}"),
    };
    match &kernel.chunking {
        Chunking::Whole => grid,
        Chunking::Steps { length, .. } => format!("{grid}, {length} steps"),
        Chunking::Loops { .. } => format!("{grid}, in parts"),
    }
}

fn buffer_lines(manifest: &Manifest) -> Vec<String> {
    let mut lines = vec![format!("buffers: {}", manifest.buffers.len())];
    let rows = manifest.buffers.iter().map(|buffer| {
        let dims: Vec<_> = buffer.dims.iter().map(Dim::to_string).collect();
        let time = manifest.time.as_ref().filter(|_| buffer.stream);
        let time = time.map(|time| format!("{time}; ")).unwrap_or_default();
        let role = match buffer.role {
            BufferRole::Input => "input",
            BufferRole::Param => "parameter",
            BufferRole::Kernel => "",
        };
        vec![
            buffer.name.clone(),
            format!("{}[{time}{}]", buffer.elem.name(), dims.join(", ")),
            role.to_owned(),
            format!("in {}", manifest.memory[buffer.memory].name),
        ]
    });
    lines.extend(render::table(rows.collect()));
    lines.push(String::new());
    lines
}

fn memory(manifest: &Manifest) -> String {
    let size = manifest.memory.iter().fold(Dim::zero(), |sum, block| &sum + &block.size);
    let bytes = &size * &Dim::constant(4);
    let blocks = manifest.memory.len();
    let scratch = manifest.kernels.iter().filter_map(|kernel| match &kernel.chunking {
        Chunking::Loops { slots, points, .. } => Some(&Dim::constant(4 * *slots as i64) * points),
        _ => None,
    });
    let scratch: BTreeSet<Dim> = scratch.collect();
    let scratch: Vec<_> = scratch.iter().map(Dim::to_string).collect();
    let mut text = format!("peak memory: {bytes} bytes in {blocks} GPU buffers");
    if !scratch.is_empty() {
        text += &format!(
            ",\nand where a long reduction is cut, the largest of {} bytes",
            scratch.join(", ")
        );
    }
    text
}
