//! The benchmark of the paper, predicted and as measured there.

use std::collections::BTreeMap;
use std::io::{self, Write};

use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::report::cost::Device;

use super::report::short;
use super::{Args, Cost};
use crate::failure::{Failure, Outcome};
use crate::paper::{INFERENCE, LENGTHS, NEURONS, Published, TRAINING};
use crate::render;

const BATCH: i64 = 128;

/// What a launch costs plain PyTorch, in seconds: assumed. Its kernels are too short to count here.
const EAGER_LAUNCH: f64 = 5e-6;

pub(super) fn run(args: &Args, device: &Device, mut dims: BTreeMap<String, i64>) -> Outcome {
    if let Some(name) = ["T", "N", "B"].into_iter().find(|name| dims.contains_key(*name)) {
        return Err(Failure::Usage(format!("--paper decides {name} itself")));
    }
    dims.insert("N".into(), NEURONS);
    let costs = LENGTHS.map(|length| {
        let mut dims = dims.clone();
        dims.insert("T".into(), length);
        Cost::of(args, dims, BATCH)
    });
    let costs: Vec<Cost> = costs.into_iter().collect::<Result<_, _>>()?;
    let training = |cost: &Cost| cost.seconds(device, &[Pass::Forward, Pass::Backward]);
    let inference = |cost: &Cost| cost.inference_seconds(device);
    let eager_training = |cost: &Cost| EAGER_LAUNCH * (cost.eager.0 + cost.eager.1) as f64;
    let eager_inference = |cost: &Cost| EAGER_LAUNCH * cost.eager.0 as f64;
    let lengths = LENGTHS.map(|length| length.to_string());
    let mut rows = vec![labelled("sequence length", lengths)];
    let own = [&training as &dyn Fn(&Cost) -> f64, &inference];
    let eager = [&eager_training as &dyn Fn(&Cost) -> f64, &eager_inference];
    let titles = [("training", TRAINING), ("inference", INFERENCE)];
    for ((own, eager), (title, measured)) in own.into_iter().zip(eager).zip(titles) {
        let ms = |seconds: f64| short(1e3 * seconds);
        let own_ms = costs.iter().map(|cost| ms(own(cost)));
        let eager_ms = costs.iter().map(|cost| ms(eager(cost)));
        let factors = costs.iter().map(|cost| format!("{}x", short(eager(cost) / own(cost))));
        rows.push(labelled(&format!("{title}, ms, predicted: plain PyTorch"), eager_ms));
        rows.push(labelled(&format!("{title}, ms, predicted: fgi"), own_ms));
        rows.push(labelled(&format!("{title}, speedup, predicted: fgi"), factors));
        rows.extend(measured.iter().map(|published| measured_row(title, published)));
    }
    let launch = short(1e6 * EAGER_LAUNCH);
    let mut lines = vec![
        format!("The benchmark of Otte 2024 ({NEURONS} neurons, batch {BATCH}) on {}.", device.about),
        "Predicted is no measurement: fgi is a roofline over the counts of its kernels, plain PyTorch".into(),
        format!("a launch of {launch} µs (assumed) for each operation and step. Measured are the paper's"),
        "speedups over plain PyTorch with the same gradient, on an RTX 4090.".into(),
        String::new(),
    ];
    lines.extend(render::table(rows));
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

fn measured_row(title: &str, (optimization, gradient, factors): &Published) -> Vec<String> {
    let factor =
        |factor: &Option<f64>| factor.map_or("n.a.".into(), |factor| format!("{factor:.1}x"));
    let label = format!("{title}, speedup, measured: {optimization} {gradient}");
    labelled(&label, factors.iter().map(factor))
}

fn labelled(label: &str, cells: impl IntoIterator<Item = String>) -> Vec<String> {
    std::iter::once(label.to_owned()).chain(cells).collect()
}
