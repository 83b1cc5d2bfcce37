//! The benchmark of the paper (Otte 2024, section 3): sequential MNIST by one recurrent layer, at six
//! lengths of the sequence. Its tables with this program and other ones beside the published figures.

use std::collections::BTreeMap;
use std::io::{self, Write};

use fgi::bench::median;
use serde_json::{Value, json};

use super::Args;
use super::measure::{Measured, Subject};
use super::peer::{self, Peer};
use crate::failure::{Failure, Outcome};
use crate::figure::bars::{Bar, Bars, Panel, figure};
use crate::paper::{INFERENCE, LENGTHS, NEURONS, Published, TRAINING, WARM_UP};
use crate::render;

/// The times of one program at one length by the names that all use, in ms; `warmup_s` in seconds.
type Times = BTreeMap<&'static str, f64>;

/// A program and its times at each length; none where it failed.
struct Row {
    name: String,
    times: Vec<Times>,
}

impl Row {
    fn new(name: &str) -> Row {
        Row { name: name.into(), times: Vec::new() }
    }

    fn get(&self, place: usize, time: &str) -> Option<f64> {
        self.times[place].get(time).copied()
    }
}

pub(super) fn run(args: &Args, given: &BTreeMap<String, i64>) -> Outcome {
    let mut own = Row::new("fgic");
    let mut peers: Vec<Row> = args.against.iter().map(|peer| Row::new(&peer.name)).collect();
    for steps in LENGTHS {
        let mut dims = given.clone();
        dims.insert("T".into(), steps);
        dims.entry("N".into()).or_insert(NEURONS);
        measure(args, dims, &mut own, &mut peers)?;
        if args.json {
            let place = own.times.len() - 1;
            for row in peers.iter().chain([&own]) {
                writeln!(io::stdout(), "{}", line(row, place))?;
            }
        }
    }
    // The peers first: the first of them is what others are compared with.
    peers.push(own);
    if !args.json {
        tables(&peers)?;
    }
    args.output.as_ref().map_or(Ok(()), |file| file.write(&chart(&peers)))
}

/// All programs at one length, by turns.
fn measure(args: &Args, dims: BTreeMap<String, i64>, own: &mut Row, peers: &mut [Row]) -> Outcome {
    let commands: Vec<Peer> = args.against.iter().map(|peer| peer.with(&dims)).collect();
    let (mut subject, first) = Subject::new(args, dims)?;
    let mut rounds: Vec<Vec<Times>> = vec![Vec::new(); peers.len()];
    let mut own_rounds = vec![of_own(&first)];
    for round in 0..args.pairs {
        if round > 0 {
            own_rounds.push(of_own(&subject.measure(args)?));
        }
        for (peer, rounds) in commands.iter().zip(&mut rounds) {
            match peer.run() {
                Ok(times) => rounds.push(of_peer(&times)),
                Err(Failure::Run(why)) => render::note(&why),
                Err(other) => return Err(other),
            }
        }
    }
    let mut times = medians(&own_rounds);
    times.insert("warmup_s", subject.facts.third_step_ms / 1e3);
    own.times.push(times);
    peers.iter_mut().zip(&rounds).for_each(|(row, rounds)| row.times.push(medians(rounds)));
    let (steps, rate) = (subject.facts.steps.unwrap_or(0), subject.facts.spike_rate);
    let rate =
        rate.map_or("no spikes".to_string(), |rate| format!("spike rate {:.2} %", 100.0 * rate));
    render::note(&format!("{steps} steps are measured; {rate}"));
    Ok(())
}

fn of_own(measured: &Measured) -> Times {
    measured.spreads().into_iter().map(|(name, spread)| (name, spread.median)).collect()
}

fn of_peer(printed: &Value) -> Times {
    let time = |name: &'static str| Some((name, peer::time(printed, name)?));
    let warm_up = printed.get("warmup_s").and_then(Value::as_f64);
    let times = peer::COMPARED.into_iter().filter_map(time);
    times.chain(warm_up.map(|seconds| ("warmup_s", seconds))).collect()
}

/// Of each time the median; but of the warm-up the first, as caches make later ones shorter.
fn medians(rounds: &[Times]) -> Times {
    let Some(first) = rounds.first() else { return Times::new() };
    let of = |name: &'static str| {
        let times: Vec<f64> = rounds.iter().filter_map(|round| round.get(name).copied()).collect();
        (name, if name == "warmup_s" { times[0] } else { median(&times) })
    };
    first.keys().map(|name| of(name)).collect()
}

fn line(row: &Row, place: usize) -> Value {
    let mut line = json!({ "name": row.name, "T": LENGTHS[place] });
    for (name, time) in &row.times[place] {
        let name = if *name == "warmup_s" { name.to_string() } else { format!("{name}_ms") };
        line[name] = json!(time);
    }
    line
}

fn tables(rows: &[Row]) -> Outcome {
    let faster = "how many times faster than plain PyTorch";
    table("Table 1. Training, ms a batch", rows, "train", faster, &TRAINING)?;
    table("Table 2. Inference, ms a batch", rows, "infer", faster, &INFERENCE)?;
    let title = "Table 3. Warm-up: seconds until three training iterations are done";
    table(title, rows, "warmup_s", "seconds", &WARM_UP)
}

fn table(title: &str, rows: &[Row], time: &str, unit: &str, published: &[Published]) -> Outcome {
    let mut out = io::stdout();
    let put = |name: &str, cells: [String; 6]| {
        let cells: String = cells.iter().map(|cell| format!("{cell:>9}")).collect();
        writeln!(io::stdout(), "  {name:<28}{cells}")
    };
    let at = |row: &Row| -> [_; 6] { std::array::from_fn(|place| row.get(place, time)) };
    writeln!(out, "{title}")?;
    put("steps", LENGTHS.map(|steps| steps.to_string()))?;
    for row in rows {
        put(&row.name, at(row).map(|time| cell(time, figure)))?;
    }
    if let [base, others @ ..] = rows {
        for row in others {
            let ratio = |place: usize| Some(base.get(place, time)? / row.get(place, time)?);
            let ratio = |place| cell(ratio(place), |ratio| format!("×{}", figure(ratio)));
            put(&format!("{} / {}", base.name, row.name), std::array::from_fn(ratio))?;
        }
    }
    writeln!(out, "published (Otte 2024, RTX 4090): {unit}")?;
    for (by, gradient, figures) in published {
        put(&format!("{by}, {gradient}"), figures.map(|figure| cell(figure, |it| it.to_string())))?;
    }
    Ok(writeln!(out)?)
}

fn cell(number: Option<f64>, text: impl Fn(f64) -> String) -> String {
    number.map_or("n.a.".into(), text)
}

/// Figure 2 of the paper: training at each length, in the proportion that forward and backward alone
/// have. Together they may take less, where the backward pass finds in the cache what it needs.
fn chart(rows: &[Row]) -> Bars {
    let parts = |row: &Row, place| {
        let [fwd, bwd, train] = ["fwd", "bwd", "train"].map(|time| row.get(place, time));
        let scale = train? / (fwd? + bwd?);
        Some([scale * fwd?, scale * bwd?])
    };
    let bar = |row: &Row, place| Bar { name: row.name.clone(), parts: parts(row, place) };
    let panel = |(place, steps): (usize, i64)| Panel {
        title: format!("{steps} steps"),
        bars: rows.iter().map(|row| bar(row, place)).collect(),
    };
    let panels = LENGTHS.into_iter().enumerate().map(panel).collect();
    Bars { parts: ["forward", "backward"], unit: "ms a batch", panels }
}
