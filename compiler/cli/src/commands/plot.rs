use std::io::{self, Write};
use std::path::Path;

use fgi::Array;
use fgi_compiler::front::check::standard_module;
use fgi_compiler::report::curve::{self, Curve, CurveError, Request, TOTAL, VALUE};
use fgi_compiler::{Gradients, Options};
use serde_json::json;

use crate::commands::eval::EvalDevice;
use crate::failure::{Failure, Outcome};
use crate::figure::FigureFile;
use crate::figure::curves::{Curves, Panel};
use crate::numbers;
use crate::program::{ProgramText, unknown_module};

/// Draws functions of one variable: the value, and the gradient that the variable receives
///
/// The gradient is what the compiled backward pass gives where the function's own gradient is 1: for a
/// spike, its surrogate. Other arguments have their defaults, or the values of --set.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// FILE.fgi::NAME for a function, or a graph of one tensor (GRAPH.OUTPUT where it has several);
    /// FILE.fgi for all that the file has; std:MODULE or std:MODULE::NAME for the standard library
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<String>,
    /// The figure: .svg or .png
    #[arg(short, long, value_name = "FIGURE", required_unless_present = "json", value_parser = FigureFile::parse)]
    output: Option<FigureFile>,
    /// Prints the points as well, one JSON object a line for each function
    #[arg(long)]
    json: bool,
    /// Gives an argument a value, in every function that has it (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = numbers::setting)]
    set: Vec<(String, f64)>,
    /// Draws the spike that has each function f as its surrogate: inject(x, step(x), f(x)); for an
    /// antiderivative, which is called f_integral, bypass(step(x), f_integral(x))
    #[arg(long)]
    spike: bool,
    /// The first and the last point
    #[arg(long, value_name = "LOW,HIGH", default_value = "-3,3", value_parser = numbers::range, allow_hyphen_values = true)]
    range: (f32, f32),
    /// How many points, at equal distances
    #[arg(long, default_value_t = 1001, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    points: u32,
    /// Where it runs: `reference` is an interpreter in f64; others are `cpu`, `cpu-in-order`, `gpu`,
    /// `gpu:NAME`, `auto`
    #[arg(long, default_value = "cpu")]
    device: EvalDevice,
}

const EXAMPLES: &str = "Examples:
  fgic plot dsl-examples/fgi/fgi.fgi::bypassing dsl-examples/fgi/fgi.fgi::injection -o figure1.svg
  fgic plot std:surrogate --spike -o gallery.png
  fgic plot std:spike::atan --set a=4 --range -1,1 --json";

pub fn run(args: &Args) -> Outcome {
    let request = Request { set: args.set.iter().cloned().collect(), spike: args.spike };
    let mut all = Vec::new();
    for target in &args.targets {
        all.extend(curves(target, &request)?);
    }
    let is_unused = |name: &&String| !all.iter().any(|one| one.set.iter().any(|(n, _)| n == *name));
    if let Some(name) = request.set.keys().find(is_unused) {
        return Err(Failure::Usage(format!("--set {name}: no function has an argument `{name}`")));
    }
    let points = Points { range: args.range, count: args.points, device: args.device.clone() };
    let panels =
        all.into_iter().map(|curve| panel(curve, &points)).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        for panel in &panels {
            let line = json!({
                "name": panel.name,
                "variable": panel.variable,
                "x": panel.x,
                "value": panel.value,
                "gradient": panel.gradient,
            });
            writeln!(io::stdout(), "{line}")?;
        }
    }
    match &args.output {
        Some(file) => file.write(&Curves(panels)),
        None => Ok(()),
    }
}

/// The functions that a target of the command line names.
pub fn curves(target: &str, request: &Request) -> Result<Vec<Curve>, Failure> {
    let (file, item) = match target.rsplit_once("::") {
        Some((file, item)) => (file, Some(item)),
        None => (target, None),
    };
    let program = match file.strip_prefix("std:") {
        Some(module) => standard(module)?,
        None => ProgramText::read(Path::new(file))?,
    };
    let (name, text) = (program.name.as_str(), program.text.as_str());
    let names = match item {
        Some(item) => vec![item.to_string()],
        None => curve::names(name, text, &program, request)?,
    };
    if names.is_empty() {
        return Err(Failure::Program(format!("{name} has no function of one variable")));
    }
    // Of a whole file, what is no function of numbers to numbers is left out.
    let fits = |curve: &Result<Curve, CurveError>| {
        item.is_some() || !matches!(curve, Err(CurveError::Unfit(_)))
    };
    let curves = names.iter().map(|item| curve::curve(name, text, &program, item, request));
    curves.filter(fits).map(|curve| Ok(curve?)).collect()
}

fn standard(module: &str) -> Result<ProgramText, Failure> {
    let text = standard_module(module).ok_or_else(|| unknown_module(module))?;
    Ok(ProgramText::alone(&format!("std/{module}.fgi"), text))
}

/// Where a function is evaluated.
pub struct Points {
    /// The first and the last one.
    pub range: (f32, f32),
    pub count: u32,
    pub device: EvalDevice,
}

/// The value and the gradient at each point.
pub fn panel(curve: Curve, points: &Points) -> Result<Panel, Failure> {
    let Curve { mut name, variable, set, graph } = curve;
    if !set.is_empty() {
        let set: Vec<_> = set.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        name = format!("{name} ({})", set.join(", "));
    }
    let (low, high) = (f64::from(points.range.0), f64::from(points.range.1));
    let at = |i: u32| low + (high - low) * f64::from(i) / f64::from(points.count - 1);
    let x: Vec<f32> = (0..points.count).map(|i| at(i) as f32).collect();
    let input = graph.inputs[0].name.clone();
    let mut shape = vec![1; graph.inputs[0].ty.dims.len()];
    shape[graph.inputs[0].ty.dims.len() - 1] = x.len();
    let arrays = [(input.clone(), Array::new(shape, x.clone()))].into();
    let gradients = Gradients { output: TOTAL.into(), wrt: Some(vec![input.clone()]) };
    let options = Options { gradients: Some(gradients), ..Options::default() };
    let results = points.device.evaluate(graph, &options, &arrays, 0)?;
    let result = |name: &str| {
        let array = results.get(name).map(Array::to_f64);
        array.ok_or_else(|| Failure::Run(format!("there is no result `{name}`")))
    };
    let (value, gradient) = (result(VALUE)?, result(&format!("grad/{input}"))?);
    let x = x.into_iter().map(f64::from).collect();
    Ok(Panel { name, variable, x, value, gradient })
}

impl From<CurveError> for Failure {
    fn from(error: CurveError) -> Failure {
        match error {
            CurveError::Compile(error) => error.into(),
            CurveError::Unfit(message) => Failure::Program(message),
        }
    }
}
