//! Costs as text for people and as JSON.

use std::io::{self, Write};

use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::report::cost::{Device, KernelCost, Prediction};
use serde_json::{Map, Value, json};

use super::Cost;
use crate::failure::{Failure, Outcome};
use crate::render;

const HEADS: [&str; 12] = [
    "kernel",
    "add",
    "mul",
    "div",
    "exp",
    "other",
    "memory B",
    "cache B",
    "steps",
    "dispatches",
    "µs",
    "bound by",
];

pub(super) fn text(cost: &Cost, device: &Device) -> Outcome {
    let dims = cost.dims.iter().map(|(name, value)| format!("{name} = {value}"));
    let dims = dims.collect::<Vec<_>>().join(", ");
    let mut lines = vec![format!("{} on {}, predicted: {dims}", cost.graph, device.about)];
    for pass in Pass::ALL {
        let kernels: Vec<_> = cost.kernels.iter().filter(|kernel| kernel.pass == pass).collect();
        if kernels.is_empty() {
            continue;
        }
        let total = cost.seconds(device, &[pass]);
        lines.extend([String::new(), format!("{}: {} ms", pass.name(), short(1e3 * total))]);
        let heads = HEADS.map(str::to_owned).to_vec();
        let rows = kernels.iter().map(|kernel| row(kernel, &device.predict(kernel)));
        lines.extend(render::table(std::iter::once(heads).chain(rows).collect()));
    }
    lines.push(String::new());
    if cost.kernels.iter().any(|kernel| kernel.pass == Pass::Backward) {
        let training = 1e3 * cost.seconds(device, &[Pass::Forward, Pass::Backward]);
        lines.push(format!("training (forward and backward): {} ms", short(training)));
    }
    let inference = 1e3 * cost.inference_seconds(device);
    lines.push(format!("inference (forward, compiled without gradients): {} ms", short(inference)));
    Ok(writeln!(io::stdout(), "{}", lines.join("\n"))?)
}

fn row(kernel: &KernelCost, prediction: &Prediction) -> Vec<String> {
    let bytes = [kernel.read_bytes + kernel.written_bytes, kernel.accessed_bytes];
    let counts = kernel.operations.all().into_iter().copied().chain(bytes);
    let counts = counts.chain([kernel.steps]).map(|count| short(count as f64));
    let mut row = vec![kernel.name.clone()];
    row.extend(counts);
    row.push(kernel.dispatches.to_string());
    row.push(short(1e6 * prediction.total()));
    row.push(prediction.bound().0.to_owned());
    row
}

/// A number in three digits, with k, M, G or T for powers of a thousand.
pub(super) fn short(number: f64) -> String {
    let scales = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let scale = scales.into_iter().find(|(scale, _)| number >= 0.9995 * scale);
    let (scale, unit) = scale.unwrap_or((1.0, ""));
    let number = number / scale;
    let digits = match number {
        _ if unit.is_empty() && number.fract() == 0.0 => 0,
        99.95.. => 0,
        9.995.. => 1,
        0.9995.. => 2,
        _ => 3,
    };
    format!("{number:.digits$}{unit}")
}

pub(super) fn json(cost: &Cost, device: &Device) -> Outcome {
    let mut line = Map::new();
    line.insert("graph".into(), json!(cost.graph));
    line.insert("dims".into(), json!(cost.dims));
    line.insert("device".into(), json!(device));
    for pass in Pass::ALL {
        let kernels = cost.kernels.iter().filter(|kernel| kernel.pass == pass);
        let kernels: Result<Vec<Value>, Failure> =
            kernels.map(|kernel| kernel_json(kernel, &device.predict(kernel))).collect();
        line.insert(pass.name().into(), Value::Array(kernels?));
        let short_name = match pass {
            Pass::Forward => "fwd",
            Pass::Backward => "bwd",
            Pass::Update => "update",
        };
        let ms = 1e3 * cost.seconds(device, &[pass]);
        line.insert(format!("{short_name}_ms_predicted"), json!(ms));
    }
    let training = 1e3 * cost.seconds(device, &[Pass::Forward, Pass::Backward]);
    line.insert("train_ms_predicted".into(), json!(training));
    line.insert("infer_ms_predicted".into(), json!(1e3 * cost.inference_seconds(device)));
    Ok(writeln!(io::stdout(), "{}", Value::Object(line))?)
}

/// The counts of a kernel, the parts of its time in seconds, and which of them counts.
fn kernel_json(kernel: &KernelCost, prediction: &Prediction) -> Result<Value, Failure> {
    let failure = |error: serde_json::Error| Failure::Run(error.to_string());
    let mut value = serde_json::to_value(kernel).map_err(failure)?;
    value["seconds"] = serde_json::to_value(prediction).map_err(failure)?;
    value["seconds_predicted"] = json!(prediction.total());
    value["bound"] = json!(prediction.bound().0);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let numbers = [0.0, 7.0, 0.1234, 12.34, 999.0, 999.7, 1234.0, 117_440_512.0];
        let texts = ["0", "7", "0.123", "12.3", "999", "1.00k", "1.23k", "117M"];
        assert_eq!(numbers.map(short), texts);
    }
}
