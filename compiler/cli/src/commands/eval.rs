use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use fgi::Device;
use fgi::npz::{self, Arrays};
use fgi_compiler::front::check::{self, GraphHead, Heads};
use fgi_compiler::ir::graph::{Elem, Graph};
use fgi_compiler::{Compiled, Gradients, Options};

use crate::failure::{Failure, Outcome};
use crate::program::{LimitArgs, NumericArgs, ProgramArgs, ProgramText};
use crate::render;

/// Runs a program once, on arrays from an .npz file
///
/// The file holds inputs by name and parameters by path (h.w_in). A parameter that it does not hold
/// takes its initial value. Open dimensions follow from the shapes of inputs.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    numeric: NumericArgs,
    /// The arrays of inputs and parameters; may be left out if the graph has no inputs
    #[arg(long, value_name = "IN.npz")]
    inputs: Option<PathBuf>,
    /// Where the outputs go, and gradients as grad/PATH
    #[arg(long, value_name = "OUT.npz")]
    output: PathBuf,
    /// Computes the gradients of this output as well
    #[arg(long, value_name = "OUTPUT")]
    grad: Option<String>,
    /// What to compute gradients for, parameters by path and inputs by name; all parameters if not
    /// given
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', requires = "grad")]
    wrt: Option<Vec<String>>,
    /// Where it runs: `reference` is an interpreter in f64; others are `cpu`, `cpu-in-order`, `gpu`,
    /// `gpu:NAME`, `auto`
    #[arg(long, default_value = "cpu")]
    device: EvalDevice,
    #[command(flatten)]
    limits: LimitArgs,
    /// Decides the initial values of parameters
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// A device, or the interpreter.
#[derive(Clone)]
pub enum EvalDevice {
    Reference,
    Device(Device),
}

impl EvalDevice {
    /// With these limits, which the interpreter has not.
    pub fn with(&self, limits: &LimitArgs) -> Result<EvalDevice, Failure> {
        match self {
            EvalDevice::Reference if limits.memory_limit.is_some() => Err(Failure::Usage(
                "the interpreter keeps all steps, whatever --memory-limit".into(),
            )),
            EvalDevice::Reference => Ok(EvalDevice::Reference),
            EvalDevice::Device(device) => Ok(EvalDevice::Device(limits.on(device))),
        }
    }

    /// Runs a checked graph once.
    pub fn evaluate(
        &self,
        graph: Graph,
        options: &Options,
        arrays: &Arrays,
        seed: u64,
    ) -> Result<Arrays, Failure> {
        let graph = fgi_compiler::verified("check", graph)?;
        if let EvalDevice::Reference = self {
            let joint = fgi_compiler::differentiate(&graph, options)?;
            return Ok(fgi::evaluate_reference(&joint, arrays, seed)?);
        }
        let compiled = fgi_compiler::compile_graph(graph, options, &mut |_| {})?;
        self.evaluate_compiled(compiled, arrays, seed)
    }

    /// Runs a compiled program once; the interpreter, the graph that it was lowered from.
    pub fn evaluate_compiled(
        &self,
        compiled: Compiled,
        arrays: &Arrays,
        seed: u64,
    ) -> Result<Arrays, Failure> {
        let EvalDevice::Device(device) = self else {
            let (_, joint) = compiled.graphs.last().ok_or(Failure::Reported)?;
            return Ok(fgi::evaluate_reference(joint, arrays, seed)?);
        };
        let (results, session) = fgi::evaluate(Arc::new(compiled.program), device, arrays, seed)?;
        if session.is_software_gpu() {
            render::note(&format!("{} runs on the processor", session.device_name()));
        }
        Ok(results)
    }
}

impl std::str::FromStr for EvalDevice {
    type Err = String;

    fn from_str(text: &str) -> Result<EvalDevice, String> {
        match text {
            "reference" => Ok(EvalDevice::Reference),
            _ => text
                .parse()
                .map(EvalDevice::Device)
                .map_err(|error: String| error.replace("expected", "expected `reference`,")),
        }
    }
}

pub fn run(args: &Args) -> Outcome {
    let device = args.device.with(&args.limits)?;
    let program = args.program.read()?;
    let arrays = match &args.inputs {
        Some(path) => npz::read(path)?,
        None => Arrays::new(),
    };
    let asked = check::Options {
        graph: args.program.graph().cloned(),
        dims: bound_dims(&program, &args.program, &arrays)?,
        sized: true,
        ..Default::default()
    };
    let asked = with_open_batch(&program, asked);
    let options = Options {
        graph: asked.graph.clone(),
        dims: asked.dims.clone(),
        gradients: args
            .grad
            .as_ref()
            .map(|output| Gradients { output: output.clone(), wrt: args.wrt.clone() }),
        fast_math: args.numeric.fast_math,
        ..Options::default()
    };
    let checked = check::check(&program.name, &program.text, &program, &asked);
    render::to_stderr(&checked.sources, &checked.diagnostics);
    let graph = checked.graph.ok_or(Failure::Reported)?;
    let conversions = conversions(&graph, &arrays);
    let results = device.evaluate(graph, &options, &arrays, args.seed)?;
    if let EvalDevice::Device(_) = device {
        render::conversions(&conversions);
    }
    Ok(npz::write(&args.output, &results)?)
}

/// Which arrays become elements of another type on a device.
fn conversions(graph: &Graph, arrays: &Arrays) -> Vec<String> {
    let inputs = graph.inputs.iter().map(|input| (&input.name, input.ty.elem));
    let params = graph.params.iter().map(|param| (&param.path, Elem::F32));
    let said = inputs.chain(params).filter_map(|(name, elem)| {
        Some(format!("{name}: {}", arrays.get(name)?.conversion(elem)?))
    });
    said.collect()
}

/// Without the size of the batch, if the program does not need to know it: rows of an open batch run tile
/// by tile, and within a memory limit.
fn with_open_batch(program: &ProgramText, mut asked: check::Options) -> check::Options {
    let heads = check::heads(&program.name, &program.text, program);
    let inputs = chosen_graph(&heads, asked.graph.as_ref()).map_or(&[][..], |graph| &graph.inputs);
    for name in inputs.iter().filter_map(|input| input.dims.get(usize::from(input.is_stream))) {
        let Some(size) = asked.dims.remove(name) else { continue };
        if check::check(&program.name, &program.text, program, &asked).graph.is_none() {
            asked.dims.insert(name.clone(), size);
        }
    }
    asked
}

fn chosen_graph<'h>(heads: &'h Heads, name: Option<&String>) -> Option<&'h GraphHead> {
    match (name, heads.graphs.as_slice()) {
        (None, [only]) => Some(only),
        (name, all) => all.iter().find(|graph| Some(&graph.name) == name),
    }
}

/// The dimensions of the command line, with those that the shapes of inputs decide.
pub fn bound_dims(
    program: &ProgramText,
    args: &ProgramArgs,
    arrays: &Arrays,
) -> Result<BTreeMap<String, i64>, Failure> {
    let mut dims = args.dims()?;
    let heads = check::heads(&program.name, &program.text, program);
    // If there is no such graph, the checker says so.
    if let Some(graph) = chosen_graph(&heads, args.graph()) {
        let shape = |shape: &[usize]| shape.iter().map(|axis| *axis as i64).collect();
        let shapes = arrays.iter().map(|(name, array)| (name.clone(), shape(&array.shape)));
        check::bind_dims(graph, &shapes.collect(), &mut dims).map_err(Failure::Run)?;
    }
    Ok(dims)
}
