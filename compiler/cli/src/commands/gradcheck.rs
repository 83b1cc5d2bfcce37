use std::io::{self, Write};
use std::path::PathBuf;

use fgi::npz::{self, Arrays};
use fgi::{Array, Data};
use fgi_compiler::front::check;
use fgi_compiler::ir::graph::interpret::{Tensor, Values};
use fgi_compiler::report::gradcheck::{Place, Precision, Row, Untested, Verdict, gradcheck};
use fgi_compiler::source::Sources;
use fgi_compiler::{Compiled, Gradients, Options};

use crate::commands::eval::{EvalDevice, bound_dims};
use crate::failure::{Failure, Outcome};
use crate::program::{LimitArgs, NumericArgs, ProgramArgs};
use crate::render;

/// Compares the gradients of a device with finite differences, every stop-gradient held at its value
///
/// For programs with surrogates that is the exact definition, so that networks of steps are checked too.
/// The differences are the interpreter's, in f64. The gradients of `reference` may differ from them by
/// 1e-5 of each derivative; those of other devices, in f32, by 1e-3 of the largest of the parameter. The error
/// that is shown is relative to that largest one, the uncertainty of the finite difference included; the
/// verdict allows for that.
///
/// Where a value stands exactly at a kink, such as a quantised one at the bound of a `clamp`, no finite
/// difference tells its derivative: the verdict says how many there are. A parameter with no derivative
/// that could be tested, or with zeros only, is "not tested", which fails without --allow-untested.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    numeric: NumericArgs,
    /// Inputs and parameters; random ones if not given
    #[arg(long, value_name = "IN.npz")]
    inputs: Option<PathBuf>,
    /// The scalar output whose gradients are checked
    #[arg(long, value_name = "OUTPUT", default_value = "loss")]
    grad: String,
    /// What to check the gradients for; all parameters if not given
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    wrt: Option<Vec<String>>,
    /// Whose gradients are checked: `reference` is an interpreter in f64; others are `cpu`,
    /// `cpu-in-order`, `gpu`, `gpu:NAME`, `auto`
    #[arg(long, default_value = "cpu")]
    device: EvalDevice,
    #[command(flatten)]
    limits: LimitArgs,
    /// Checks the program of a step of training, in which `training()` is 1
    #[arg(long)]
    training: bool,
    /// Succeeds where nothing could be tested, too
    #[arg(long)]
    allow_untested: bool,
    /// Decides random inputs and the initial values of parameters
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: &Args) -> Outcome {
    let device = args.device.with(&args.limits)?;
    let program = args.program.read()?;
    let arrays = args.inputs.as_ref().map(|path| npz::read(path)).transpose()?;
    let given = arrays.clone().unwrap_or_default();
    let gradients = Gradients { output: args.grad.clone(), wrt: args.wrt.clone() };
    let options = Options {
        graph: args.program.graph().cloned(),
        dims: bound_dims(&program, &args.program, &given)?,
        gradients: Some(gradients),
        fast_math: args.numeric.fast_math,
        ..Options::default()
    };
    let asked = check::Options {
        graph: options.graph.clone(),
        dims: options.dims.clone(),
        sized: true,
        training: args.training,
        ..check::Options::default()
    };
    let checked = check::check(&program.name, &program.text, &program, &asked);
    let compiled = fgi_compiler::compile_checked(&checked, &options, &mut |_| {})?;
    render::to_stderr(&compiled.sources, &compiled.warnings);
    // The differences are those of the program as written.
    let Some((_, written)) = compiled.graphs.first() else { return Err(Failure::Reported) };
    let mut arrays = match arrays {
        Some(arrays) => arrays,
        None => fgi::random_inputs(written, 3, 6, args.seed)?,
    };
    let precision = match device {
        EvalDevice::Reference => Precision::F64,
        EvalDevice::Device(_) => {
            arrays.values_mut().for_each(round_to_f32);
            Precision::F32
        }
    };
    let (bindings, values) = fgi::reference_values(written, &arrays, args.seed)?;
    let sources = compiled.sources.clone();
    let written = written.clone();
    let gradients = device_gradients(&device, compiled, &arrays, args.seed)?;
    let rows = gradcheck(&written, &bindings, &values, &args.grad, &gradients, precision)
        .map_err(|error| Failure::Program(error.to_string()))?;
    print(&rows, &sources)?;
    if precision == Precision::F32 && rows.iter().any(|row| row.verdict == Verdict::Differs) {
        render::note(
            "a spike that rounding to f32 decides otherwise makes a difference, too: try another --seed",
        );
    }
    judge(&rows, args.allow_untested)
}

/// The gradients by path, of the compiled program on the device.
fn device_gradients(
    device: &EvalDevice,
    compiled: Compiled,
    arrays: &Arrays,
    seed: u64,
) -> Result<Values, Failure> {
    let results = device.evaluate_compiled(compiled, arrays, seed)?;
    let gradient = |(name, array): (&String, &Array)| {
        let path = name.strip_prefix("grad/")?;
        Some((path.to_owned(), Tensor::new(array.shape.clone(), array.to_f64())))
    };
    Ok(results.iter().filter_map(gradient).collect())
}

/// The numbers that the device computes with are those of the differences.
fn round_to_f32(array: &mut Array) {
    if let Data::F64(numbers) = &array.data {
        array.data = numbers.iter().map(|number| *number as f32).collect::<Vec<_>>().into();
    }
}

fn judge(rows: &[Row], allow_untested: bool) -> Outcome {
    let fails = |row: &Row| match row.verdict {
        Verdict::Agrees(_) => false,
        Verdict::NotTested(_) => !allow_untested,
        Verdict::Differs | Verdict::NotFinite(_) => true,
    };
    if rows.is_empty() && !allow_untested {
        let message = "there are no parameters, so that nothing was tested: --wrt names inputs";
        return Err(Failure::Program(message.into()));
    }
    match rows.iter().any(fails) {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

fn print(rows: &[Row], sources: &Sources) -> Outcome {
    let heads = ["parameter", "checked", "worst relative error", "verdict"];
    let row = |row: &Row| {
        let checked = format!("{}/{}", row.checked, row.elements);
        let worst = format!("{:.1e}", row.worst_relative);
        vec![row.path.clone(), checked, worst, verdict(&row.verdict, sources)]
    };
    let heads = heads.map(str::to_owned).to_vec();
    let lines = render::table(std::iter::once(heads).chain(rows.iter().map(row)).collect());
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

fn verdict(verdict: &Verdict, sources: &Sources) -> String {
    let reasons = |untested: &[Untested]| {
        let reasons = untested.iter().map(|reason| reason_text(reason, sources));
        reasons.collect::<Vec<_>>().join(", ")
    };
    match verdict {
        Verdict::Agrees(untested) if untested.is_empty() => "agrees".into(),
        Verdict::Agrees(untested) => format!("agrees, but for {}", reasons(untested)),
        Verdict::Differs => "DIFFERS".into(),
        Verdict::NotFinite(count) => format!("NOT FINITE: {count} of its derivatives"),
        Verdict::NotTested(untested) => format!("not tested: {}", reasons(untested)),
    }
}

fn reason_text(reason: &Untested, sources: &Sources) -> String {
    match reason {
        Untested::AtKink { count, places } => {
            let mut places: Vec<_> =
                places.iter().map(|place| place_text(place, sources)).collect();
            places.dedup();
            format!("{count} at a jump or kink of {}", places.join(", "))
        }
        Untested::Unclear(count) => format!("{count} whose differences are too uncertain"),
        Untested::AllZero => "every derivative is zero, and every difference".into(),
    }
}

/// `h.z (net.fgi:4)`; what has no name is called by its operation.
fn place_text(place: &Place, sources: &Sources) -> String {
    let name = place.name.as_deref().unwrap_or(place.op);
    let source = place.span.and_then(|span| Some((span, sources.get(span.file)?)));
    match source {
        Some((span, source)) => {
            format!("{name} ({}:{})", source.name, sources.line_column(span).0)
        }
        None => name.to_owned(),
    }
}
