//! What was measured, for people and for machines.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::measure::{Facts, Measured};
use super::peer::{COMPARED, Pair, median_ratio};
use super::trade::Trade;
use crate::failure::Outcome;

pub(super) fn text(facts: &Facts, measured: &Measured) -> Outcome {
    let mut out = io::stdout();
    let dims: Vec<_> = facts.dims.iter().map(|(name, size)| format!("{name} = {size}")).collect();
    let steps = facts.steps.map(|steps| format!("{steps} steps")).into_iter();
    let sizes: Vec<_> = steps.chain(dims).collect();
    writeln!(out, "{} on {}; {}", facts.graph, facts.device, sizes.join(", "))?;
    writeln!(out, "  {:10} {:>11} {:>11} {:>11}", "ms", "median", "min", "max")?;
    for (name, spread) in measured.spreads() {
        let (median, min, max) = (spread.median, spread.min, spread.max);
        writeln!(out, "  {:10} {median:>11.3} {min:>11.3} {max:>11.3}", title(name))?;
    }
    let stages = facts.stages.iter().map(|(name, ms)| format!("{name} {ms:.1}"));
    let stages: Vec<_> = stages.collect();
    writeln!(out, "  compiled in {:.1} ms: {}", compile_ms(facts), stages.join(", "))?;
    writeln!(out, "  first step done {:.1} ms after the text was read", facts.first_step_ms)?;
    if let Some((idle, peak)) = facts.memory {
        writeln!(out, "  memory {:.1} MiB at its peak, {idle:.1} MiB before", peak)?;
    }
    writeln!(out, "  saved for the backward pass: {} bytes a step", facts.saved_bytes_per_step)?;
    if let Some(rate) = facts.spike_rate {
        writeln!(out, "  spike rate {:.2} %", 100.0 * rate)?;
    }
    Ok(())
}

/// How much longer the peer takes, pair by pair.
pub(super) fn pairs(pairs: &[Pair]) -> Outcome {
    let mut out = io::stdout();
    for (number, pair) in pairs.iter().enumerate() {
        for name in COMPARED {
            let (Some((own, peer)), Some(ratio)) = (pair.times(name), pair.ratio(name)) else {
                continue;
            };
            let (pair, name) = (number + 1, title(name));
            writeln!(out, "  pair {pair}  {name:10} {own:>11.3} {peer:>11.3}  ×{ratio:.2}")?;
        }
    }
    for name in COMPARED {
        if let Some(ratio) = median_ratio(pairs, name) {
            writeln!(out, "  peer / own, {}: ×{ratio:.2} (median)", title(name))?;
        }
    }
    Ok(())
}

pub(super) fn json(
    facts: &Facts,
    measured: &Measured,
    pairs: &[Pair],
    trade: Option<&Trade>,
) -> Outcome {
    let mut line = Map::new();
    let mut put = |name: String, value: Value| line.insert(name, value);
    put("graph".into(), json!(facts.graph));
    put("device".into(), json!(facts.device));
    put("dims".into(), json!(facts.dims));
    put("steps".into(), json!(facts.steps));
    for (name, spread) in measured.spreads() {
        put(format!("{name}_ms"), json!(spread.median));
        put(format!("{name}_min_ms"), json!(spread.min));
        put(format!("{name}_max_ms"), json!(spread.max));
    }
    put("compile_ms".into(), json!(compile_ms(facts)));
    let stages: Map<String, Value> =
        facts.stages.iter().map(|(name, ms)| ((*name).into(), json!(ms))).collect();
    put("compile_stages_ms".into(), json!(stages));
    put("first_step_ms".into(), json!(facts.first_step_ms));
    put("rss_before_mib".into(), json!(facts.memory.map(|(idle, _)| idle)));
    put("peak_rss_mib".into(), json!(facts.memory.map(|(_, peak)| peak)));
    put("rss_growth_mib".into(), json!(facts.memory.map(|(idle, peak)| peak - idle)));
    put("saved_bytes_per_step".into(), json!(facts.saved_bytes_per_step));
    put("spike_rate".into(), json!(facts.spike_rate));
    if let Some(trade) = trade {
        put("memory_limit".into(), trade.json());
    }
    if !pairs.is_empty() {
        put("peers".into(), pairs.iter().map(|pair| pair.peer.clone()).collect());
        for name in COMPARED {
            let ratios: Vec<f64> = pairs.iter().filter_map(|pair| pair.ratio(name)).collect();
            if let Some(median) = median_ratio(pairs, name) {
                put(format!("{name}_ratio"), json!(median));
                put(format!("{name}_ratios"), json!(ratios));
            }
        }
    }
    Ok(writeln!(io::stdout(), "{}", Value::Object(line))?)
}

fn compile_ms(facts: &Facts) -> f64 {
    facts.stages.iter().map(|(_, ms)| ms).sum()
}

fn title(name: &str) -> &'static str {
    match name {
        "fwd" => "forward",
        "bwd" => "backward",
        "train" => "training",
        "infer" => "inference",
        _ => "update",
    }
}
