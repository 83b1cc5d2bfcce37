use std::io::{self, Write};
use std::path::PathBuf;

use fgi::npz::{self, Arrays};
use fgi_compiler::ir::graph::interpret::{Values, interpret};
use fgi_compiler::ir::graph::{Graph, Role};
use fgi_compiler::report::gradcheck::{Row, Verdict, gradcheck};
use fgi_compiler::{Gradients, Options};

use crate::commands::eval::bound_dims;
use crate::failure::{Failure, Outcome};
use crate::program::{NumericArgs, ProgramArgs};
use crate::render;

/// Compares the gradients with finite differences, every stop-gradient held at its value
///
/// For programs with surrogates that is the exact definition, so that networks of steps are checked too.
/// The error that is shown is relative to the largest derivative of the parameter, the uncertainty of the
/// finite difference included; the verdict allows for that. Where a value stands exactly at a kink, such
/// as a quantised one at the bound of a `clamp`, no finite difference tells its derivative: the verdict
/// says how many there are.
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
    /// Decides random inputs and the initial values of parameters
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: &Args) -> Outcome {
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
    let compiled =
        fgi_compiler::compile(&program.name, &program.text, &program, &options, &mut |_| {})?;
    render::to_stderr(&compiled.sources, &compiled.warnings);
    // The gradients are those of the compiled program; the differences those of the program as written.
    let (Some((_, written)), Some((_, joint))) = (compiled.graphs.first(), compiled.graphs.last())
    else {
        return Err(Failure::Reported);
    };
    let arrays = match arrays {
        Some(arrays) => arrays,
        None => fgi::random_inputs(written, 3, 6, args.seed)?,
    };
    let rows = check(written, joint, &arrays, args)?;
    print(&rows)?;
    match rows.iter().any(|row| row.verdict == Verdict::Differs) {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

fn check(
    written: &Graph,
    joint: &Graph,
    arrays: &Arrays,
    args: &Args,
) -> Result<Vec<Row>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::Run(error.to_string());
    let (bindings, values) = fgi::reference_values(written, arrays, args.seed)?;
    let results = interpret(joint, &bindings, &values).map_err(|error| failed(&error))?;
    let gradients: Values = results
        .0
        .into_iter()
        .filter(|(root, _)| root.role == Role::Gradient)
        .map(|(root, tensor)| (root.name, tensor))
        .collect();
    gradcheck(written, &bindings, &values, &args.grad, &gradients).map_err(|error| failed(&error))
}

fn print(rows: &[Row]) -> Outcome {
    let mut out = io::stdout();
    let width = rows.iter().map(|row| row.path.chars().count()).max().unwrap_or(0).max(9);
    writeln!(out, "{:width$}  {:>11}  worst relative error  verdict", "parameter", "checked")?;
    for row in rows {
        let checked = format!("{}/{}", row.checked, row.elements);
        writeln!(
            out,
            "{:width$}  {checked:>11}  {:>20.1e}  {}",
            row.path,
            row.worst_relative,
            verdict(&row.verdict)
        )?;
    }
    Ok(())
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Agrees => "agrees".into(),
        Verdict::Differs => "DIFFERS".into(),
        Verdict::AtKink { count, nodes } => {
            format!("agrees, but for {count} at a jump or kink of {}", nodes.join(", "))
        }
        Verdict::Unclear { count } => {
            format!("agrees, but for {count} whose differences are too uncertain")
        }
    }
}
