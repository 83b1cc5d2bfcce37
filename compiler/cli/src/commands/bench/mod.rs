mod measure;
mod paper;
mod peer;
mod report;
mod trade;

use std::collections::BTreeMap;

use clap::ArgGroup;
use fgi::Device;
use fgi::bench::{Runs, Tuning};

use crate::failure::{Failure, Outcome};
use crate::figure::FigureFile;
use crate::numbers;
use crate::paper::NO_FILE;
use crate::program::{LimitArgs, NumericArgs, ProgramArgs};
use crate::render;

use measure::Subject;
use peer::{Pair, Peer};

/// Measures how long a program takes, and its memory
///
/// Times are medians over many runs in this process, after one that is not counted. Training is a
/// forward and a backward pass together; inference is the forward pass of the program compiled
/// without gradients. With --memory-limit training is measured with the limit and without, by turns;
/// the forward and the backward pass are not measured alone then, nor where more than 1 GiB would have
/// to be kept between them. Absolute times depend on the machine and on what else it does: compare
/// ratios from one run, as --against prints them.
#[derive(clap::Args)]
#[command(group(ArgGroup::new("turns").args(["against", "memory_limit"]).multiple(true)))]
#[command(mut_arg("file", |file| {
    file.required(false).required_unless_present("paper").default_value_if("paper", "true", NO_FILE)
}))]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    numeric: NumericArgs,
    /// The arrays of inputs and parameters; random ones from the seed if not given. {T} in the name
    /// stands for the value of dimension T, so for any dimension of -D and --sweep
    #[arg(long, value_name = "IN.npz")]
    inputs: Option<String>,
    /// The size of dimensions that neither the program nor -D gives, where inputs are random
    #[arg(long, default_value_t = 128, value_parser = numbers::count::<i64>, allow_negative_numbers = true)]
    batch: i64,
    /// Measures once for each of these values of a dimension
    #[arg(long, value_name = "NAME=V1,V2,…", value_parser = numbers::sweep)]
    sweep: Option<(String, Vec<i64>)>,
    /// The output whose gradients are trained with; `loss` if there is one
    #[arg(long, value_name = "OUTPUT")]
    grad: Option<String>,
    /// Where it runs: `cpu`, `cpu-in-order`, `gpu`, `gpu:NAME`, `auto`
    #[arg(long, default_value = "cpu")]
    device: Device,
    #[command(flatten)]
    limits: LimitArgs,
    /// Measures the variants of the shaders on the GPU first, and keeps the fastest in the user's cache
    /// directory for later runs
    #[arg(long)]
    tune: bool,
    /// How often each time is taken; as often as fits into a second if not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    runs: Option<u32>,
    /// Decides random inputs and initial parameters
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// A shell command to compare with, which may have a name before it. It prints a JSON object whose
    /// train_ms, infer_ms, fwd_ms or bwd_ms are milliseconds as its last line; {T} stands for the value
    /// of dimension T. Repeatable with --paper
    #[arg(long, value_name = "[NAME: ]COMMAND", value_parser = Peer::parse)]
    against: Vec<Peer>,
    /// How many times this program and the other one, or the limit and none, are measured by turns
    #[arg(long, value_name = "N", default_value_t = 3, requires = "turns", value_parser = numbers::count::<usize>)]
    pairs: usize,
    /// Runs the benchmark of the paper (Otte 2024, section 3; T = 28 to 784, N = 128) and prints its
    /// tables, with the commands of --against beside this program and the published figures below. The
    /// program is dsl-examples/smnist/smnist.fgi if none is given
    #[arg(long, conflicts_with = "sweep")]
    paper: bool,
    /// Draws figure 2 of the paper: .svg or .png
    #[arg(short, long, value_name = "FIGURE", requires = "paper", value_parser = FigureFile::parse)]
    output: Option<FigureFile>,
    /// Prints one JSON object a line
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    let given = args.program.dims()?;
    if args.tune {
        can_tune(&args.device)?;
    }
    if args.inputs.is_none() {
        render::note(&format!("inputs are random, from seed {}", args.seed));
    }
    if args.paper {
        return paper::run(args, &given);
    }
    let peer = match args.against.as_slice() {
        [] => None,
        [peer] => Some(peer),
        _ => return Err(Failure::Usage("several --against need --paper".into())),
    };
    let sweep = match &args.sweep {
        None => vec![given],
        Some((name, _)) if given.contains_key(name) => {
            return Err(Failure::Usage(format!("{name} is given by -D and by --sweep")));
        }
        Some((name, values)) => {
            let with = |value: &i64| {
                let mut dims = given.clone();
                dims.insert(name.clone(), *value);
                dims
            };
            values.iter().map(with).collect()
        }
    };
    sweep.into_iter().try_for_each(|dims| bench(args, peer, dims))
}

fn bench(args: &Args, peer: Option<&Peer>, dims: BTreeMap<String, i64>) -> Outcome {
    let peer = peer.map(|peer| peer.with(&dims));
    let (mut subject, first) = Subject::new(args, dims)?;
    if !args.json {
        report::text(&subject.facts, &first)?;
    }
    let trade = subject.trade(args)?;
    let mut pairs = Vec::new();
    if let Some(peer) = &peer {
        for round in 0..args.pairs {
            let own = if round == 0 { first.clone() } else { subject.measure(args)? };
            pairs.push(Pair { own, peer: peer.run()? });
        }
    }
    match args.json {
        true => report::json(&subject.facts, &first, &pairs, trade.as_ref()),
        false => {
            trade.map_or(Ok(()), |trade| trade.text())?;
            report::pairs(&pairs)
        }
    }
}

impl Args {
    fn device(&self) -> Device {
        self.limits.on(&self.device)
    }

    fn runs(&self) -> Runs {
        self.runs.map_or(Runs::ENOUGH, |count| Runs::exactly(count as usize))
    }
}

const MIB: f64 = (1 << 20) as f64;

/// An error where --tune has nothing to choose from.
pub(super) fn can_tune(device: &Device) -> Outcome {
    if device.is_gpu() {
        return Ok(());
    }
    let message =
        format!("--tune measures shaders: `--device {device}` must be `gpu` or `gpu:NAME`");
    Err(Failure::Usage(message))
}

/// What tuning found, on stderr.
pub(super) fn note_tuning(graph: &str, tuning: &Tuning) {
    let variant = |(rows, ms): &(u32, f64)| format!("{rows}: {ms:.1} ms");
    let variants: Vec<String> = tuning.variants.iter().map(variant).collect();
    let kept = match &tuning.file {
        Some(file) => format!("kept in {}", file.display()),
        None => "not kept, for there is no directory for it".to_owned(),
    };
    let (variants, rows) = (variants.join(", "), tuning.rows);
    render::note(&format!("{graph} by rows in a workgroup: {variants}; {rows} {kept}"));
}

/// A text with the values of dimensions in place of their names in braces.
fn filled(text: &str, dims: &BTreeMap<String, i64>) -> String {
    let fill = |text: String, (name, value): (&String, &i64)| {
        text.replace(&format!("{{{name}}}"), &value.to_string())
    };
    dims.iter().fold(text.to_string(), fill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_fill_braces() {
        let dims = [("T".to_string(), 28), ("N".to_string(), 256)].into();
        assert_eq!(filled("x --T {T} in_{T}_{N}.npz {X}", &dims), "x --T 28 in_28_256.npz {X}");
    }
}
