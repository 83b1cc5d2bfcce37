use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use fgi_compiler::emit::clif;
use fgi_compiler::emit::manifest::manifest;
use fgi_compiler::emit::wgsl::{self, Limits, Shaders};
use fgi_compiler::optimizer::Optimizer;
use fgi_compiler::source::FileId;
use fgi_compiler::syntax::{parse, print_module};
use fgi_compiler::{CompileError, Compiled, Gradients, Options, PASSES};

use crate::failure::{Failure, Outcome};
use crate::program::{ProgramArgs, ProgramText};
use crate::render;

/// Writes a program's shaders and their manifest, or prints a stage of the compiler
#[derive(clap::Args)]
#[command(after_help = passes())]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    /// The directory to write, all or nothing: shaders (WGSL) and manifest.json
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["emit", "time_passes"])]
    output: Option<PathBuf>,
    /// Prints this form of the program (repeatable)
    #[arg(long, value_enum, value_name = "STAGE")]
    emit: Vec<Stage>,
    /// Includes the gradients of this output
    #[arg(long, value_name = "OUTPUT")]
    grad: Option<String>,
    /// What to compute gradients for, parameters by path and inputs by name; all parameters if not
    /// given
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', requires = "grad")]
    wrt: Option<Vec<String>>,
    /// Includes Adam's updates of the parameters
    #[arg(long, requires = "grad")]
    adam: bool,
    /// Prints how long each pass took
    #[arg(long)]
    time_passes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The program as parsed
    Ast,
    /// The checked program as a graph
    Graph,
    /// With every surrogate as one bypass node
    Calculus,
    /// With gradients and updates, as it is scheduled
    Joint,
    /// Which values are stored, and the order of kernels
    Schedule,
    /// The kernels' loops and bodies
    Kernels,
    /// The compute shaders
    Wgsl,
    /// The native code before register allocation
    Clif,
}

fn passes() -> String {
    let lines = PASSES.iter().map(|pass| format!("  {:9}  {}", pass.name, pass.about));
    let lines: Vec<_> = lines.collect();
    format!("Passes from graph to graph:\n{}", lines.join("\n"))
}

pub fn run(args: &Args) -> Outcome {
    let program = args.program.read()?;
    let options = Options {
        graph: args.program.graph.clone(),
        dims: args.program.dims()?,
        gradients: args.grad.clone().map(|output| Gradients { output, wrt: args.wrt.clone() }),
        optimizer: args.adam.then_some(Optimizer::ADAM),
        clip: None,
    };
    if args.emit == [Stage::Ast] && args.output.is_none() {
        return print_ast(&program);
    }
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut start = Instant::now();
    let compiled =
        fgi_compiler::compile(&program.name, &program.text, &program, &options, &mut |pass| {
            times.push((pass, start.elapsed()));
            start = Instant::now();
        })?;
    render::to_stderr(&compiled.sources, &compiled.warnings);
    for stage in &args.emit {
        print(*stage, &program, &compiled)?;
    }
    if let Some(directory) = &args.output {
        let shaders = shaders(&compiled)?;
        times.push(("wgsl", start.elapsed()));
        write(directory, &compiled, &shaders)
            .map_err(|error| Failure::Run(format!("{}: {error}", directory.display())))?;
    }
    if args.time_passes {
        for (pass, time) in times {
            writeln!(io::stdout(), "{pass:9}  {:9.3} ms", 1e3 * time.as_secs_f64())?;
        }
    }
    Ok(())
}

fn print(stage: Stage, program: &ProgramText, compiled: &Compiled) -> Outcome {
    let graph = |name: &str| {
        let found = compiled.graphs.iter().find(|(pass, _)| *pass == name);
        found.map(|(_, graph)| graph.to_string()).unwrap_or_default()
    };
    let text = match stage {
        Stage::Ast => return print_ast(program),
        Stage::Graph => graph("check"),
        Stage::Calculus => {
            let reports = compiled.reports.iter();
            let reports = reports.map(|(pass, report)| format!("// {pass}: {report}\n"));
            reports.collect::<String>() + &graph("calculus")
        }
        Stage::Joint => graph("optimizer"),
        Stage::Schedule => compiled.schedule.to_string(),
        Stage::Kernels => compiled.program.to_string(),
        Stage::Wgsl => {
            let shaders = shaders(compiled)?.shaders;
            shaders.into_iter().map(|shader| shader.text).collect::<Vec<_>>().join("\n")
        }
        Stage::Clif => clif::text(&compiled.program),
    };
    Ok(writeln!(io::stdout(), "{}", text.trim_end())?)
}

fn print_ast(program: &ProgramText) -> Outcome {
    let mut sources = fgi_compiler::source::Sources::default();
    let file: FileId = sources.add(&program.name, program.text.as_str());
    let (module, diagnostics) = parse(&program.text, file);
    if diagnostics.iter().any(|diagnostic| diagnostic.is_error()) {
        return Err(CompileError::Program { sources, diagnostics }.into());
    }
    Ok(io::stdout().write_all(print_module(&module).as_bytes())?)
}

fn shaders(compiled: &Compiled) -> Result<Shaders, Failure> {
    wgsl::emit_with_sources(&compiled.program, &Limits::default(), &compiled.sources)
        .map_err(|error| Failure::Program(error.to_string()))
}

/// Writes the artifact beside its place and moves it there when it is complete. An older artifact of
/// this name is replaced; anything else is not.
fn write(directory: &Path, compiled: &Compiled, shaders: &Shaders) -> io::Result<()> {
    let is_taken = directory.exists() && !directory.join(MANIFEST).is_file();
    if is_taken && directory.read_dir()?.next().is_some() {
        return Err(io::Error::other("is there and is no artifact: it is not replaced"));
    }
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new().prefix(".fgic-").tempdir_in(parent)?;
    let new = temporary.path().join("new");
    std::fs::create_dir(&new)?;
    let manifest = manifest(&compiled.program, shaders);
    std::fs::write(new.join(MANIFEST), manifest.to_json()?)?;
    for (shader, kernel) in shaders.shaders.iter().zip(&manifest.kernels) {
        std::fs::write(new.join(&kernel.file), &shader.text)?;
    }
    let old = temporary.path().join("old");
    if directory.exists() {
        std::fs::rename(directory, &old)?;
    }
    std::fs::rename(&new, directory).inspect_err(|_| {
        // The old one, if there was one, goes back to its place.
        let _ = std::fs::rename(&old, directory);
    })
}

const MANIFEST: &str = "manifest.json";
