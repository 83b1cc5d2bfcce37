//! A program made ready for measuring, and what was measured.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use fgi::bench::{self, Parts, Runs, Spread};
use fgi::npz::{self, Arrays};
use fgi::{Array, Device, Session};
use fgi_compiler::front::check::PROGRESS;
use fgi_compiler::front::check::{self, GraphHead, InputHead};
use fgi_compiler::ir::graph::{Bindings, Dim, Graph};
use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::middle::lower::lower;
use fgi_compiler::middle::optimizer::{LEARNING_RATE, STEP};
use fgi_compiler::middle::schedule::schedule;
use fgi_compiler::report::activity::{SPIKE_RATE, spike_rate};
use fgi_compiler::target::cpu::native;
use fgi_compiler::{Compiled, Options, compile};

use super::trade::Trade;
use super::{Args, filled, note_tuning};
use crate::failure::Failure;
use crate::program::{self, ProgramText};
use crate::render;

/// A program on a device, for training and for inference.
pub(super) struct Subject {
    runs: Runs,
    training: Option<Session>,
    inference: Session,
    arrays: Arrays,
    pub facts: Facts,
}

/// What is measured once.
pub(super) struct Facts {
    pub graph: String,
    pub device: String,
    /// The values of dimensions that do not follow from the text.
    pub dims: BTreeMap<String, i64>,
    pub steps: Option<i64>,
    /// The stages of compilation in order, in ms.
    pub stages: Vec<(&'static str, f64)>,
    /// From the text to the end of the first step, in ms.
    pub first_step_ms: f64,
    /// To the end of the third, in ms.
    pub third_step_ms: f64,
    /// Bytes that the forward pass saves for the backward pass at each step.
    pub saved_bytes_per_step: usize,
    /// Memory of the process, in MiB: before there were buffers, and the most while it trained (or,
    /// without gradients, ran). `None` where the system does not tell.
    pub memory: Option<(f64, f64)>,
    /// The share of spikes that are 1; `None` without spikes.
    pub spike_rate: Option<f64>,
}

impl Facts {
    /// What the forward pass leaves for the backward pass if it runs alone, for the whole batch.
    fn saved_bytes(&self) -> usize {
        let steps = self.steps.map_or(1, |steps| usize::try_from(steps).unwrap_or(0));
        self.saved_bytes_per_step.saturating_mul(steps)
    }
}

/// The times of one round.
#[derive(Clone)]
pub(super) struct Measured {
    /// A whole step, and its parts.
    training: Option<(Spread, Option<Parts>)>,
    inference: Spread,
}

impl Measured {
    /// By the names that peers use too.
    pub fn spreads(&self) -> Vec<(&'static str, Spread)> {
        let mut spreads = Vec::new();
        if let Some((training, parts)) = &self.training {
            let forward_backward =
                |parts: &Parts| [("fwd", parts.forward), ("bwd", parts.backward)];
            spreads.extend(parts.iter().flat_map(forward_backward));
            spreads.push(("train", *training));
            spreads.extend(parts.and_then(|parts| Some(("update", parts.update?))));
        }
        spreads.push(("infer", self.inference));
        spreads
    }
}

impl Subject {
    /// Compiles the program, runs its first step, and measures it once.
    pub fn new(args: &Args, dims: BTreeMap<String, i64>) -> Result<(Subject, Measured), Failure> {
        let text = args.program.read()?;
        let given = args.inputs.as_ref().map(|file| npz::read(Path::new(&filled(file, &dims))));
        let given = given.transpose()?;
        let options = options(args, &text, dims, given.as_ref())?;
        let mut stages = Vec::new();
        let start = Instant::now();
        let compiled = compiled(&text, &options, &mut stages)?;
        let compile_ms = ms(start);
        render::to_stderr(&compiled.sources, &compiled.warnings);
        let arrays = arrays(args, &compiled, given)?;
        bench::forget_peak();
        let idle = bench::memory();
        let start = Instant::now();
        let program = Arc::new(compiled.program);
        let (mut session, compiling) = bench::compiled(program.clone(), &args.device())?;
        stages.push((native::PASS.0, 1e3 * compiling.as_secs_f64()));
        give(&mut session, &arrays, args.seed)?;
        let mut step = || -> Result<f64, Failure> {
            session.run_gradients()?;
            session.wait()?;
            Ok(compile_ms + ms(start))
        };
        let [first_step_ms, _, third_step_ms] = [step()?, step()?, step()?];
        tune(args, &mut session)?;
        if session.is_software_gpu() {
            render::note(&format!("{} runs on the processor", session.device_name()));
        }
        let bindings = session.bindings().cloned().unwrap_or_default();
        let facts = Facts {
            graph: program.name.clone(),
            device: session.device_name(),
            dims: options.dims.clone().into_iter().chain(named(&bindings)).collect(),
            steps: program.time.as_ref().map(|time| size(time, &bindings)).transpose()?,
            stages,
            first_step_ms,
            third_step_ms,
            saved_bytes_per_step: session.footprint().saved_per_step,
            memory: None,
            spike_rate: None,
        };
        let mut subject =
            Subject { runs: args.runs(), training: None, inference: session, arrays, facts };
        let mut times = None;
        let mut graph = compiled.graphs.into_iter().last();
        if options.gradients.is_some() {
            let training = bench::training(&mut subject.inference, subject.runs)?;
            // The parts one after the other take more.
            subject.facts.memory = memory_since(idle);
            let saved = subject.facts.saved_bytes();
            if saved > MOST_SAVED && args.limits.memory_limit.is_none() {
                render::note(&format!(
                    "forward and backward are not measured one after the other: {:.1} GiB would have \
                     to be kept between them",
                    saved as f64 / (1 << 30) as f64
                ));
            }
            times = Some((training, parts(args, &mut subject.inference, &subject.facts)?));
            let options = Options { gradients: None, optimizer: None, ..options };
            let compiled = self::compiled(&text, &options, &mut Vec::new())?;
            graph = compiled.graphs.into_iter().last();
            let mut session = Session::new(Arc::new(compiled.program), &args.device())?;
            give(&mut session, &subject.arrays, args.seed)?;
            tune(args, &mut session)?;
            subject.training = Some(std::mem::replace(&mut subject.inference, session));
        }
        let inference = bench::inference(&mut subject.inference, subject.runs)?;
        subject.facts.memory = subject.facts.memory.or_else(|| memory_since(idle));
        if let Some((_, graph)) = graph {
            subject.facts.spike_rate = rate(&graph, args, &subject.arrays)?;
        }
        Ok((subject, Measured { training: times, inference }))
    }

    /// All times once more.
    pub fn measure(&mut self, args: &Args) -> Result<Measured, Failure> {
        let training = match &mut self.training {
            Some(session) => {
                let training = bench::training(session, self.runs)?;
                Some((training, parts(args, session, &self.facts)?))
            }
            None => None,
        };
        let inference = bench::inference(&mut self.inference, self.runs)?;
        Ok(Measured { training, inference })
    }

    /// The training step with the memory limit that is asked for and without.
    pub fn trade(&self, args: &Args) -> Result<Option<Trade>, Failure> {
        let Some(limit) = args.limits.memory() else { return Ok(None) };
        let trained = self.training.as_ref().unwrap_or(&self.inference);
        let program = Arc::new(trained.program().clone());
        let open = |device: &Device| {
            let mut session = Session::new(program.clone(), device)?;
            give(&mut session, &self.arrays, args.seed)?;
            Ok(session)
        };
        Trade::measure(args, limit, open).map(Some)
    }
}

/// The most bytes that a forward pass alone may leave for the whole batch.
const MOST_SAVED: usize = 1 << 30;

/// The parts of a training step, unless they cannot be told apart: with a memory limit the backward pass
/// runs the forward pass again. Nor where they need far more memory than a training step does.
fn parts(args: &Args, session: &mut Session, facts: &Facts) -> Result<Option<Parts>, Failure> {
    let are_apart = args.limits.memory_limit.is_none() && facts.saved_bytes() <= MOST_SAVED;
    Ok(are_apart.then(|| bench::parts(session, args.runs())).transpose()?)
}

/// What to compile: with gradients and updates, if there is something to train for.
fn options(
    args: &Args,
    text: &ProgramText,
    dims: BTreeMap<String, i64>,
    given: Option<&Arrays>,
) -> Result<Options, Failure> {
    let mut options = Options {
        graph: args.program.graph().cloned(),
        dims,
        fast_math: args.numeric.fast_math,
        ..Options::default()
    };
    // If there is no such graph, the checker says so.
    let head = text.head(args.program.graph().map(String::as_str));
    let Some(head) = &head else { return Ok(options) };
    if let Some(given) = given {
        let shape = |shape: &[usize]| shape.iter().map(|axis| *axis as i64).collect();
        let shapes = given.iter().map(|(name, array)| (name.clone(), shape(&array.shape)));
        let mut bound = options.dims.clone();
        check::bind_dims(head, &shapes.collect(), &mut bound).map_err(Failure::Run)?;
        bound.retain(|name, _| options.dims.contains_key(name) || !may_stay_open(head, name));
        options.dims = bound;
    }
    program::train(head, args.grad.as_ref(), &mut options);
    Ok(options)
}

/// The dimension is only ever the number of steps or the first axis of an input: it may be different
/// from run to run, as it is in training.
fn may_stay_open(head: &GraphHead, name: &str) -> bool {
    let is_leading = |input: &InputHead| {
        let leading = 1 + usize::from(input.is_stream);
        input.dims.iter().skip(leading).all(|dim| !dim.contains(name))
    };
    head.dims.iter().all(|dim| dim.name != name) && head.inputs.iter().all(is_leading)
}

fn compiled(
    text: &ProgramText,
    options: &Options,
    stages: &mut Vec<(&'static str, f64)>,
) -> Result<Compiled, Failure> {
    let mut start = Instant::now();
    let compiled = compile(&text.name, &text.text, text, options, &mut |stage| {
        stages.push((stage, ms(start)));
        start = Instant::now();
    });
    Ok(compiled?)
}

/// The inputs and parameters that are given, or random inputs; and the optimiser's.
fn arrays(args: &Args, compiled: &Compiled, given: Option<Arrays>) -> Result<Arrays, Failure> {
    let mut arrays = match (given, compiled.graphs.first()) {
        (None, Some((_, graph))) => fgi::random_inputs(graph, args.batch, args.batch, args.seed)?,
        (given, _) => given.unwrap_or_default(),
    };
    // A rate of 0, so that updates change no parameter: other spikes would take another time.
    for (name, value) in [(LEARNING_RATE, 0.0), (STEP, 1.0), (PROGRESS, 1.0)] {
        arrays.insert(name.into(), Array::new([], vec![value]));
    }
    Ok(arrays)
}

/// Sets inputs and parameters; what a program does not have is left out.
fn give(session: &mut Session, arrays: &Arrays, seed: u64) -> Result<(), Failure> {
    session.initialise(seed)?;
    let program = session.program();
    let inputs: Vec<String> = program.inputs.iter().map(|input| input.name.clone()).collect();
    let params: Vec<String> = program.params.iter().map(|param| param.path.clone()).collect();
    let of = |names: &[String]| -> Vec<_> {
        arrays.iter().filter(|(name, _)| names.contains(name)).collect()
    };
    for (path, array) in of(&params) {
        session.set_param(path, array)?;
    }
    let inputs = of(&inputs);
    Ok(session.set_inputs(inputs.into_iter().map(|(name, array)| (name.as_str(), array)))?)
}

fn tune(args: &Args, session: &mut Session) -> Result<(), Failure> {
    if args.tune {
        let tuning = session.tune()?;
        note_tuning(&session.program().name, &tuning);
    }
    Ok(())
}

/// The share of a graph's spikes that are 1.
fn rate(graph: &Graph, args: &Args, arrays: &Arrays) -> Result<Option<f64>, Failure> {
    let Some(graph) = spike_rate(graph) else { return Ok(None) };
    let kernels = fgi_compiler::verified("lower", lower(&schedule(&graph)))?;
    let mut session = Session::new(kernels, &args.device())?;
    give(&mut session, arrays, args.seed)?;
    session.run(Pass::Forward)?;
    Ok(session.output(SPIKE_RATE)?.to_f64().first().copied())
}

fn size(dim: &Dim, bindings: &Bindings) -> Result<i64, Failure> {
    Ok(dim.eval(bindings).map_err(fgi::Error::from)?)
}

fn named(bindings: &Bindings) -> impl Iterator<Item = (String, i64)> {
    bindings.iter().map(|(name, size)| (name.to_string(), *size))
}

/// The memory at the time of `idle`, and the most since then.
fn memory_since(idle: Option<(f64, f64)>) -> Option<(f64, f64)> {
    // Linux counts pages a thread at a time and adds them up later.
    let idle = idle?.0;
    Some((idle, bench::memory()?.1.max(idle)))
}

fn ms(start: Instant) -> f64 {
    1e3 * start.elapsed().as_secs_f64()
}
