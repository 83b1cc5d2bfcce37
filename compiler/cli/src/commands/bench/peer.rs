//! Other programs that do the same work.

use std::process::{Command, Stdio};

use fgi::bench::median;
use serde_json::Value;

use super::measure::Measured;
use crate::failure::Failure;

/// This program and another one, measured after each other.
pub(super) struct Pair {
    own: Measured,
    /// What the other one printed.
    pub peer: Value,
}

/// The times that are compared: by how much the peer takes longer.
pub(super) const COMPARED: [&str; 4] = ["fwd", "bwd", "train", "infer"];

impl Pair {
    /// Runs the peer's command.
    pub fn measure(own: Measured, command: &str) -> Result<Pair, Failure> {
        let failed = |what: &str| Failure::Run(format!("--against: `{command}` {what}"));
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let output = Command::new(shell)
            .args([flag, command])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| failed(&format!("cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(failed(&format!("failed: {}", output.status)));
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        let last = printed.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("");
        let peer = serde_json::from_str::<Value>(last).ok().filter(Value::is_object);
        let peer = peer.ok_or_else(|| failed("printed no JSON object as its last line"))?;
        let pair = Pair { own, peer };
        if COMPARED.iter().all(|name| pair.times(name).is_none()) {
            return Err(failed("printed none of fwd_ms, bwd_ms, train_ms and infer_ms"));
        }
        Ok(pair)
    }

    /// This program's time and the peer's, in ms.
    pub fn times(&self, name: &str) -> Option<(f64, f64)> {
        let spreads = self.own.spreads();
        let (_, own) = spreads.iter().find(|(known, _)| *known == name)?;
        let peer = self.peer.get(format!("{name}_ms"))?.as_f64()?;
        Some((own.median, peer))
    }

    pub fn ratio(&self, name: &str) -> Option<f64> {
        self.times(name).map(|(own, peer)| peer / own)
    }
}

/// The median of the ratios, and how many there are.
pub(super) fn median_ratio(pairs: &[Pair], name: &str) -> Option<f64> {
    let ratios: Vec<f64> = pairs.iter().filter_map(|pair| pair.ratio(name)).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}
