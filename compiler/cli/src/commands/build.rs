use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use fgi::artifact;
use fgi::checkpoint::Checkpoint;
use fgi_compiler::artifact::manifest;
use fgi_compiler::artifact::{Artifact, BuildError, BuildOptions, PROFILES};
use fgi_compiler::front::syntax::tree;
use fgi_compiler::middle::optimizer::Optimizer;
use fgi_compiler::report::op_counts::{HEADS, OpCounts};
use fgi_compiler::source::FileId;
use fgi_compiler::target::cpu::native;
use fgi_compiler::target::cpu::plan::batch_tiles::Order;
use fgi_compiler::target::cpu::plan::{IN_ORDER, Plan, TILED};
use fgi_compiler::target::gpu::{self, Limits};
use fgi_compiler::{
    CompileError, Compiled, Gradients, Options, PASSES, compile_checked, target_passes,
};

use crate::failure::{Failure, Outcome};
use crate::optimizer::{OptimizerArgs, OptimizerName};
use crate::program::{NumericArgs, ProgramArgs, ProgramText};
use crate::warnings::WarningArgs;

/// Writes a program's shaders and their manifest, or prints a stage of the compiler
#[derive(clap::Args)]
#[command(after_help = passes())]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    numeric: NumericArgs,
    /// The directory to write, all or nothing: a shader (WGSL) for each kernel, and manifest.json,
    /// which says how to run them
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["emit", "time_passes"])]
    output: Option<PathBuf>,
    /// Prints this form of the program (repeatable)
    #[arg(long, value_enum, value_name = "FORM")]
    emit: Vec<Form>,
    /// Includes the gradients of this output
    #[arg(long, value_name = "OUTPUT")]
    grad: Option<String>,
    /// What to compute gradients for, parameters by path and inputs by name; all parameters if not
    /// given
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', requires = "grad")]
    wrt: Option<Vec<String>>,
    /// Includes the updates of the parameters
    #[arg(long, value_enum, requires = "grad")]
    optimizer: Option<OptimizerName>,
    #[command(flatten)]
    settings: OptimizerArgs,
    /// Starts every memory where the run before ended, so that a sequence can be run in chunks, down to single
    /// steps
    #[arg(long)]
    carry: bool,
    /// Adds the shaders in other languages, or native code (comma-separated)
    #[arg(long, value_enum, value_name = "TARGET", value_delimiter = ',', requires = "output")]
    target: Vec<Target>,
    /// The device that the shaders are planned for: how many buffers a kernel binds, and how large a
    /// workgroup is
    #[arg(long, value_name = "NAME", value_parser = profile, default_value = PROFILES[0].0)]
    profile: (String, Limits),
    /// Adds the initial parameters of this seed (safetensors)
    #[arg(long, value_name = "SEED", requires = "output")]
    seed: Option<u64>,
    /// Adds the parameters of this checkpoint (safetensors)
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with = "seed")]
    checkpoint: Option<PathBuf>,
    #[command(flatten)]
    warnings: WarningArgs,
    /// Prints how long each pass took
    #[arg(long)]
    time_passes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// SPIR-V 1.3, for Vulkan
    Spirv,
    /// Metal Shading Language 2.0
    Msl,
    /// HLSL for shader model 6.0
    Hlsl,
    /// GLSL 4.30
    Glsl,
    /// An object file for this machine and a C header
    Object,
}

/// A form of the program that can be printed: the first two, and what each pass makes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    name: &'static str,
    about: &'static str,
}

const AST: &str = "ast";
const GRAPH: &str = "graph";

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    let first = [(AST, "The program as parsed"), (GRAPH, "The checked program as a graph")];
    let made = PASSES.iter().map(|pass| (pass.name, pass.about));
    let of_targets = target_passes().into_iter().flat_map(|(_, passes)| passes);
    let mut forms: Vec<Form> = Vec::new();
    for (name, about) in first.into_iter().chain(made).chain(of_targets) {
        // Targets may share a pass.
        if forms.iter().all(|form| form.name != name) {
            forms.push(Form { name, about });
        }
    }
    forms
});

impl ValueEnum for Form {
    fn value_variants<'a>() -> &'a [Form] {
        &FORMS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name).help(self.about);
        Some(match self.name {
            "lower" => value.alias("kernels"),
            "native" => value.alias("clif"),
            _ => value,
        })
    }
}

/// The passes of each target.
fn passes() -> String {
    let lines = target_passes().into_iter().map(|(target, passes)| {
        let names: Vec<_> = passes.iter().map(|(name, _)| *name).collect();
        format!("  {target:12}  {}", names.join(", "))
    });
    let lines: Vec<_> = lines.collect();
    format!("Passes after `lower`, for each target:\n{}", lines.join("\n"))
}

pub fn run(args: &Args) -> Outcome {
    let program = args.program.read()?;
    if let (None, Some(option)) = (args.optimizer, args.settings.given()) {
        return Err(Failure::Usage(format!("{option} is a setting of --optimizer")));
    }
    let options = Options {
        graph: args.program.graph().cloned(),
        dims: args.program.dims()?,
        gradients: args.grad.clone().map(|output| Gradients { output, wrt: args.wrt.clone() }),
        optimizer: args.optimizer.map(|name| args.settings.optimizer(name)),
        clip: args.optimizer.and_then(|_| args.settings.clip()),
        groups: args.settings.groups(),
        carry: args.carry,
        fast_math: args.numeric.fast_math,
    };
    if matches!(args.emit.as_slice(), [Form { name: AST, .. }]) && args.output.is_none() {
        return print_ast(&program);
    }
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut start = Instant::now();
    let checked = args.warnings.print(&program, &options)?;
    let compiled = compile_checked(&checked, &options, &mut |pass| {
        times.push((pass, start.elapsed()));
        start = Instant::now();
    })?;
    for form in &args.emit {
        print(*form, &program, &compiled, &args.profile.1)?;
    }
    if let Some(directory) = &args.output {
        start = Instant::now();
        write(directory, args, compiled, options.optimizer, &mut |pass| {
            times.push((pass, start.elapsed()));
            start = Instant::now();
        })?;
        times.push(("artifact", start.elapsed()));
    }
    if args.time_passes {
        for (pass, time) in times {
            writeln!(io::stdout(), "{pass:9}  {:9.3} ms", 1e3 * time.as_secs_f64())?;
        }
    }
    Ok(())
}

/// Writes the artifact. Its texts are named from the program's folder on, so that its bytes do not
/// depend on where that is.
fn write(
    directory: &Path,
    args: &Args,
    mut compiled: Compiled,
    optimizer: Option<Optimizer>,
    after: &mut dyn FnMut(&'static str),
) -> Outcome {
    let folder = args.program.file.parent().unwrap_or(Path::new("")).to_path_buf();
    let beside = |name: &str| match Path::new(name).strip_prefix(&folder) {
        Ok(rest) => rest.to_string_lossy().replace('\\', "/"),
        Err(_) => name.to_owned(),
    };
    compiled.sources = compiled.sources.renamed(beside);
    let targets = args.target.iter().filter_map(|target| match target {
        Target::Spirv => Some(manifest::Target::Spirv),
        Target::Msl => Some(manifest::Target::Msl),
        Target::Hlsl => Some(manifest::Target::Hlsl),
        Target::Glsl => Some(manifest::Target::Glsl),
        Target::Object => None,
    });
    let options =
        BuildOptions { profile: args.profile.clone(), targets: targets.collect(), optimizer };
    let mut artifact = Artifact::build_timed(&compiled, &options, after).map_err(refused)?;
    if let Some(seed) = args.seed {
        artifact::add_seed(&mut artifact, &compiled.program, seed)?;
    }
    if let Some(path) = &args.checkpoint {
        let trained = Checkpoint::load(path)?.params;
        artifact::add_params(&mut artifact, &compiled.program, &trained)
            .map_err(|error| Failure::Run(format!("{}: {error}", path.display())))?;
    }
    if args.target.contains(&Target::Object) {
        artifact::add_object(&mut artifact, &compiled.program)?;
    }
    Ok(artifact::write(&artifact, directory)?)
}

fn refused(error: BuildError) -> Failure {
    Failure::Program(error.to_string())
}

fn profile(name: &str) -> Result<(String, Limits), String> {
    let found = PROFILES.iter().find(|(known, _)| *known == name);
    found.map(|(name, limits)| ((*name).to_owned(), *limits)).ok_or_else(|| {
        let names: Vec<_> = PROFILES.iter().map(|(name, _)| *name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn print(form: Form, program: &ProgramText, compiled: &Compiled, limits: &Limits) -> Outcome {
    let text = match form.name {
        AST => return print_ast(program),
        GRAPH => graph(compiled, "check"),
        "calculus" => {
            let reports = compiled.reports.iter();
            let reports = reports.map(|(pass, report)| format!("// {pass}: {report}\n"));
            reports.collect::<String>() + &figures(compiled) + &graph(compiled, "calculus")
        }
        "schedule" => format!("{}\n{}", compiled.schedule, Order(&compiled.program)),
        "lower" => compiled.program.to_string(),
        pass => match of_target(compiled, pass, limits)? {
            Some(text) => text,
            None => graph(compiled, pass),
        },
    };
    Ok(writeln!(io::stdout(), "{}", text.trim_end())?)
}

fn graph(compiled: &Compiled, pass: &str) -> String {
    let found = compiled.graphs.iter().find(|(name, _)| *name == pass);
    found.map(|(_, graph)| graph.to_string()).unwrap_or_default()
}

/// What a pass of a target makes of the kernels.
fn of_target(compiled: &Compiled, pass: &str, limits: &Limits) -> Result<Option<String>, Failure> {
    let Compiled { program, sources, .. } = compiled;
    if pass == native::PASS.0 {
        return Ok(Some(native::text(program)));
    }
    let mut text = None;
    let mut keep = |name: &str, made: &dyn Display| {
        if name == pass {
            text = Some(made.to_string());
        }
    };
    let plans = [TILED.as_slice(), IN_ORDER.as_slice()];
    if let Some(passes) = plans.into_iter().find(|list| list.iter().any(|p| p.name == pass)) {
        Plan::new(program, passes, &mut |name, plan| keep(name, plan));
    } else if gpu::PASSES.iter().any(|known| known.name == pass) {
        gpu::run_passes(program, limits, sources, &mut |name, made| keep(name, made))
            .map_err(|error| Failure::Program(error.to_string()))?;
    }
    Ok(text)
}

/// The operations after each pass that adds or removes some.
fn figures(compiled: &Compiled) -> String {
    let mut lines = HEADS.lines().map(|line| format!("//           {line}\n")).collect::<String>();
    let passes = ["check", "calculus", "erase", "joint"];
    for (pass, graph) in compiled.graphs.iter().filter(|(pass, _)| passes.contains(pass)) {
        lines += &format!("// {pass:9} {}\n", OpCounts::of(graph));
    }
    lines
}

fn print_ast(program: &ProgramText) -> Outcome {
    let mut sources = fgi_compiler::source::Sources::default();
    let file: FileId = sources.add(&program.name, program.text.as_str());
    let tree = tree(&program.text, file)
        .map_err(|diagnostics| CompileError::Program { sources, diagnostics })?;
    Ok(io::stdout().write_all(tree.as_bytes())?)
}
