mod paper;
mod report;

use std::collections::BTreeMap;
use std::path::Path;

use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::{Bindings, Dim};
use fgi_compiler::ir::kernel::{Pass, Program};
use fgi_compiler::report::cost::{Device, KernelCost, costs};
use fgi_compiler::report::op_counts::eager_launches;
use fgi_compiler::target::gpu::{Limits, emit};
use fgi_compiler::{Compiled, Options, compile};

use crate::failure::{Failure, Outcome};
use crate::numbers;
use crate::paper::NO_FILE;
use crate::program::{self, NumericArgs, ProgramArgs};
use crate::render;

/// Predicts how long a program takes on a device that is described by a few figures
///
/// Operations, bytes and dispatches of each kernel are counted from the program, as the GPU runs it.
/// The time of a kernel is that of a roofline: the longest of its operations, its bytes from and to
/// memory, its bytes from and to caches, each at the device's peak, and of its steps that wait for
/// each other; and what its dispatches cost. No kernel is faster than that; most are slower.
#[derive(clap::Args)]
#[command(after_help = devices(), mut_arg("file", |file| {
    file.required(false).required_unless_present("paper").default_value_if("paper", "true", NO_FILE)
}))]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    numeric: NumericArgs,
    /// The size of dimensions that neither the program nor -D gives
    #[arg(long, default_value_t = 128, value_parser = numbers::count::<i64>, allow_negative_numbers = true)]
    batch: i64,
    /// The output whose gradients are trained with; `loss` if there is one
    #[arg(long, value_name = "OUTPUT")]
    grad: Option<String>,
    /// The device: one of those below, or a JSON file that describes one
    #[arg(long, value_name = "NAME|FILE", default_value = "rtx-4090")]
    device_model: String,
    /// Predicts the benchmark of the paper (Otte 2024, section 3; T = 28 to 784, N = 128, B = 128) and
    /// prints it beside what was measured there. The program is dsl-examples/smnist/smnist.fgi if none is given
    #[arg(long, conflicts_with_all = ["json", "grad", "batch"])]
    paper: bool,
    /// Prints a JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    let device = device(&args.device_model)?;
    let dims = args.program.dims()?;
    if args.paper {
        return paper::run(args, &device, dims);
    }
    let cost = Cost::of(args, dims, args.batch)?;
    match args.json {
        true => report::json(&cost, &device),
        false => report::text(&cost, &device),
    }
}

/// What a program costs, for training and for inference.
struct Cost {
    graph: String,
    /// The graph's dimensions.
    dims: BTreeMap<String, i64>,
    kernels: Vec<KernelCost>,
    /// Of the program compiled without gradients.
    inference: Vec<KernelCost>,
    /// What a framework launches that runs operation by operation, forward and backward.
    eager: (i64, i64),
}

impl Cost {
    fn of(args: &Args, dims: BTreeMap<String, i64>, batch: i64) -> Result<Cost, Failure> {
        let text = args.program.read()?;
        let mut options = Options {
            graph: args.program.graph().cloned(),
            dims,
            fast_math: args.numeric.fast_math,
            ..Options::default()
        };
        let compiled =
            |options: &Options| compile(&text.name, &text.text, &text, options, &mut |_| {});
        let inference = compiled(&options)?;
        render::to_stderr(&inference.sources, &inference.warnings);
        if let Some(head) = text.head(args.program.graph().map(String::as_str)) {
            program::train(&head, args.grad.as_ref(), &mut options);
        }
        let training = compiled(&options)?;
        let bindings = open(&training, batch);
        let sized = |(name, dim): (&String, &Dim)| Some((name.clone(), dim.eval(&bindings).ok()?));
        let kernels = |program: &Verified<Program>| -> Result<_, Failure> {
            let shaders = emit(program, &Limits::default()).map_err(run_failure)?;
            costs(program, &shaders, &bindings).map_err(run_failure)
        };
        Ok(Cost {
            graph: training.program.name.clone(),
            dims: training.dims.iter().filter_map(sized).collect(),
            kernels: kernels(&training.program)?,
            inference: kernels(&inference.program)?,
            eager: eager(&training, &bindings)?,
        })
    }

    /// Seconds that passes take one after the other.
    fn seconds(&self, device: &Device, passes: &[Pass]) -> f64 {
        let kernels = self.kernels.iter().filter(|kernel| passes.contains(&kernel.pass));
        kernels.map(|kernel| device.predict(kernel).total()).sum()
    }

    fn inference_seconds(&self, device: &Device) -> f64 {
        self.inference.iter().map(|kernel| device.predict(kernel).total()).sum()
    }
}

/// Launches of the outputs as the program has them, and of the gradients.
fn eager(compiled: &Compiled, bindings: &Bindings) -> Result<(i64, i64), Failure> {
    let launches = |pass: &str| {
        let graph = compiled.graphs.iter().find(|(name, _)| *name == pass);
        graph.map_or((Dim::zero(), Dim::zero()), |(_, graph)| eager_launches(graph))
    };
    let forward = launches("check").0.eval(bindings).map_err(run_failure)?;
    let backward = launches("autodiff").1.eval(bindings).map_err(run_failure)?;
    Ok((forward, backward))
}

/// The open dimensions of a program.
fn open(compiled: &Compiled, size: i64) -> Bindings {
    let symbols = compiled.graphs.last().map(|(_, graph)| graph.symbols());
    symbols.into_iter().flatten().map(|symbol| (symbol.clone(), size)).collect()
}

fn run_failure(error: impl std::fmt::Display) -> Failure {
    Failure::Run(error.to_string())
}

/// A device of the table, or of a file.
fn device(name: &str) -> Result<Device, Failure> {
    let devices = Device::all().map_err(run_failure)?;
    if let Some(device) = devices.iter().find(|device| device.name == name) {
        return Ok(device.clone());
    }
    if !name.contains(['.', '/', '\\']) && !Path::new(name).exists() {
        let names: Vec<_> = devices.iter().map(|device| device.name.as_str()).collect();
        return Err(Failure::Usage(format!(
            "there is no device model `{name}`: it is one of {}, or a JSON file",
            names.join(", ")
        )));
    }
    let text =
        std::fs::read_to_string(name).map_err(|error| Failure::Run(format!("{name}: {error}")))?;
    Device::parse(&text).map_err(|error| Failure::Run(format!("{name}: {error}")))
}

fn devices() -> String {
    let devices = Device::all().unwrap_or_default();
    let line = |device: &Device| format!("  {:14} {}", device.name, device.about);
    let lines: Vec<_> = devices.iter().map(line).collect();
    format!("Devices (--json prints the figures, with their sources):\n{}", lines.join("\n"))
}
