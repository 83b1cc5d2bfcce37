//! The same program with a memory limit and without: what the limit saves, and what it costs.

use std::io::{self, Write};

use bytesize::ByteSize;
use fgi::bench::{self, median};
use fgi::{Device, Footprint, Session};
use serde_json::{Value, json};

use super::{Args, MIB};
use crate::failure::{Failure, Outcome};
use crate::program::LimitArgs;

/// What was measured by turns.
pub(super) struct Trade {
    /// In bytes.
    limit: usize,
    with: Side,
    without: Side,
}

struct Side {
    footprint: Footprint,
    /// By how much the memory of the process grew at most, in MiB.
    growth: Option<f64>,
    /// Of a training step in each round, in ms.
    times: Vec<f64>,
}

impl Side {
    /// Opens a session and runs its first step.
    fn open(open: impl FnOnce() -> Result<Session, Failure>) -> Result<(Session, Side), Failure> {
        bench::forget_peak();
        let before = bench::memory();
        let mut session = open()?;
        session.run_gradients()?;
        let growth = before.zip(bench::memory()).map(|((before, _), (_, peak))| peak - before);
        let footprint = session.footprint();
        Ok((session, Side { footprint, growth, times: Vec::new() }))
    }

    fn buffers(&self) -> f64 {
        self.footprint.bytes as f64 / MIB
    }

    fn json(&self) -> Value {
        json!({
            "segments": self.footprint.segments,
            "buffers_mib": self.buffers(),
            "rss_growth_mib": self.growth,
            "train_ms": self.times,
        })
    }
}

impl Trade {
    /// `limit` is in bytes; `open` opens the program on a device.
    pub fn measure(
        args: &Args,
        limit: usize,
        open: impl Fn(&Device) -> Result<Session, Failure>,
    ) -> Result<Trade, Failure> {
        let unlimited = LimitArgs { memory_limit: None, ..args.limits }.on(&args.device);
        let (mut own, mut with) = Side::open(|| open(&args.device()))?;
        let (mut other, mut without) = Side::open(|| open(&unlimited))?;
        for _ in 0..args.pairs {
            with.times.push(bench::training(&mut own, args.runs())?.median);
            without.times.push(bench::training(&mut other, args.runs())?.median);
        }
        Ok(Trade { limit, with, without })
    }

    fn ratios(&self) -> Vec<f64> {
        self.with
            .times
            .iter()
            .zip(&self.without.times)
            .map(|(with, without)| with / without)
            .collect()
    }

    pub fn text(&self) -> Outcome {
        let mut out = io::stdout();
        let limit = format!("memory limit of {}", ByteSize::b(self.limit as u64));
        let (with, without) = (&self.with, &self.without);
        writeln!(out, "  {limit:26} {:>11} {:>11}", "with", "without")?;
        let (own, other) = (with.footprint.segments, without.footprint.segments);
        writeln!(out, "  {:26} {own:>11} {other:>11}", "segments of time")?;
        let (own, other) = (with.buffers(), without.buffers());
        writeln!(out, "  {:26} {own:>11.2} {other:>11.2}", "buffers, MiB")?;
        if let (Some(own), Some(other)) = (with.growth, without.growth) {
            writeln!(out, "  {:26} {own:>11.1} {other:>11.1}", "memory grew by, MiB")?;
        }
        let times = with.times.iter().zip(&without.times).zip(self.ratios());
        for (round, ((own, other), ratio)) in times.enumerate() {
            let title = format!("training, ms, round {}", round + 1);
            writeln!(out, "  {title:26} {own:>11.3} {other:>11.3}  ×{ratio:.2}")?;
        }
        Ok(writeln!(out, "  with / without, training: ×{:.2} (median)", median(&self.ratios()))?)
    }

    pub fn json(&self) -> Value {
        json!({
            "limit_mib": self.limit as f64 / MIB,
            "with": self.with.json(),
            "without": self.without.json(),
            "train_ratio": median(&self.ratios()),
        })
    }
}
