//! Other programs that do the same work.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use fgi::bench::median;
use serde_json::Value;

use super::filled;
use super::measure::Measured;
use crate::failure::Failure;

/// Another program, run by the shell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Peer {
    pub name: String,
    command: String,
}

impl Peer {
    /// `NAME: COMMAND`, or a command alone, which is its own name.
    pub fn parse(text: &str) -> Result<Peer, String> {
        let is_name =
            |name: &str| name.chars().all(|c| c.is_alphanumeric() || " -_.+,".contains(c));
        let (name, command) = match text.split_once(": ") {
            Some((name, command)) if is_name(name) => (name, command),
            _ => (text, text),
        };
        match command.trim() {
            "" => Err("expected a command".into()),
            command => Ok(Peer { name: name.trim().into(), command: command.into() }),
        }
    }

    /// With the values of dimensions in the command.
    pub fn with(&self, dims: &BTreeMap<String, i64>) -> Peer {
        Peer { name: self.name.clone(), command: filled(&self.command, dims) }
    }

    /// What the command prints last, with at least one time.
    pub fn run(&self) -> Result<Value, Failure> {
        let command = &self.command;
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
        let printed = serde_json::from_str::<Value>(last).ok().filter(Value::is_object);
        let printed = printed.ok_or_else(|| failed("printed no JSON object as its last line"))?;
        match COMPARED.iter().any(|name| time(&printed, name).is_some()) {
            true => Ok(printed),
            false => Err(failed("printed none of fwd_ms, bwd_ms, train_ms and infer_ms")),
        }
    }
}

/// The times that are compared.
pub(super) const COMPARED: [&str; 4] = ["fwd", "bwd", "train", "infer"];

/// A time that a peer printed, in ms.
pub(super) fn time(printed: &Value, name: &str) -> Option<f64> {
    printed.get(format!("{name}_ms"))?.as_f64()
}

/// This program and another one, measured after each other.
pub(super) struct Pair {
    pub own: Measured,
    /// What the other one printed.
    pub peer: Value,
}

impl Pair {
    /// This program's time and the peer's, in ms.
    pub fn times(&self, name: &str) -> Option<(f64, f64)> {
        let spreads = self.own.spreads();
        let (_, own) = spreads.iter().find(|(known, _)| *known == name)?;
        Some((own.median, time(&self.peer, name)?))
    }

    /// How many times longer the peer takes.
    pub fn ratio(&self, name: &str) -> Option<f64> {
        self.times(name).map(|(own, peer)| peer / own)
    }
}

/// The median of the ratios, and how many there are.
pub(super) fn median_ratio(pairs: &[Pair], name: &str) -> Option<f64> {
    let ratios: Vec<f64> = pairs.iter().filter_map(|pair| pair.ratio(name)).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}
