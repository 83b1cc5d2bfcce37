use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use fgi::checkpoint::Checkpoint;
use fgi::data::{DataSource, Dataset, Scale};
use fgi::{
    Array, BatchReport, Data, Device, EpochReport, Schedule, Step, TrainOptions, Trainer, Whose,
};
use fgi_compiler::front::check::{self, Binding, Checked, GraphHead};
use fgi_compiler::middle::optimizer::Groups;
use fgi_compiler::report::activity::spike_rates;
use fgi_compiler::{Gradients, Options};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::bench::{can_tune, note_tuning};
use crate::failure::{Failure, Outcome};
use crate::numbers;
use crate::optimizer::{OptimizerArgs, OptimizerName};
use crate::program::{LimitArgs, NumericArgs, ProgramArgs};
use crate::render;
use crate::warnings::WarningArgs;

/// Trains a program on data
///
/// The program has an output `loss`, the mean over the batch; its other outputs are free. With an
/// output `logits` of type `[B, C]` and one input of type `i32[B]` the accuracy is measured. Ctrl-C
/// saves a checkpoint, to a new file if --checkpoint names none, and ends; a second one ends at once.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    numeric: NumericArgs,
    /// `digits` (8×8 pixels, comes with fgic), `mnist:DIR` (its four files) or `FILE.npz` (arrays
    /// whose first axis counts samples; x_train and x_test, or one in five is held out for testing)
    #[arg(long, value_name = "SOURCE")]
    data: DataSource,
    /// Fills an input from a field of the data, where names and sizes do not say it (repeatable)
    #[arg(long, value_name = "INPUT=FIELD", value_parser = bind)]
    bind: Vec<(String, String)>,
    /// Multiplies the numbers of a field, as in pixels=1/255 or x=0.5 (repeatable). Those of digits and
    /// mnist become brightness between 0 and 1; in a FILE.npz every number is what it is
    #[arg(long, value_name = "FIELD=FACTOR", value_parser = scale)]
    scale: Vec<(String, Scale)>,
    /// Lets a sample be cut across its axes, or read as if they were in another order
    #[arg(long)]
    reshape: bool,
    /// How many times the samples are gone through, with those before --resume
    #[arg(long, default_value_t = 20)]
    epochs: u64,
    /// Samples in a batch
    #[arg(long, default_value_t = 32, value_parser = numbers::count::<usize>, allow_negative_numbers = true)]
    batch: usize,
    /// The learning rate, at its greatest
    #[arg(long, default_value_t = 0.01, value_parser = numbers::learning_rate, allow_negative_numbers = true)]
    lr: f32,
    /// How the learning rate goes on after the warm-up
    #[arg(long, value_enum, default_value_t = ScheduleName::Inverse)]
    schedule: ScheduleName,
    /// Over so many steps at the start the learning rate rises in a line
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    warmup: u64,
    /// Cuts every sequence into chunks of so many steps: memories go on from one to the next, gradients end there, and
    /// each has an update of its own (truncated backpropagation through time)
    #[arg(long, value_name = "STEPS", value_parser = numbers::count::<i64>, allow_negative_numbers = true)]
    chunk: Option<i64>,
    #[arg(long, value_enum, default_value_t = OptimizerName::Adam)]
    optimizer: OptimizerName,
    #[command(flatten)]
    settings: OptimizerArgs,
    /// Decides the initial parameters and the order of samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Where it runs: `cpu`, `cpu-in-order`, `gpu`, `gpu:NAME`, `auto`
    #[arg(long, default_value = "cpu")]
    device: Device,
    #[command(flatten)]
    limits: LimitArgs,
    /// Measures the variants of the shaders on the GPU first, and keeps the fastest in the user's cache
    /// directory for later runs
    #[arg(long)]
    tune: bool,
    /// Where to save the parameters and all that --resume needs, after each epoch (safetensors)
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Goes on where a checkpoint of the same program was saved, to the bit
    #[arg(long, value_name = "FILE")]
    resume: Option<PathBuf>,
    /// Resumes a checkpoint of another program, too, if the parameters fit
    #[arg(long, requires = "resume")]
    force: bool,
    #[command(flatten)]
    warnings: WarningArgs,
    /// Prints one JSON object a line for each epoch
    #[arg(long)]
    json: bool,
    /// Prints the last epoch only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScheduleName {
    /// Divided by 1 + n / 1000 after n steps, whatever the number of epochs
    Inverse,
    /// Down to 0 at the end of the last epoch, along half a cosine
    Cosine,
    /// The same at every step
    Constant,
}

pub fn run(args: &Args) -> Outcome {
    if args.tune {
        can_tune(&args.device)?;
    }
    let program = args.program.read()?;
    let mut data = Dataset::load(&args.data)?;
    for (field, scale) in &args.scale {
        data.scale(field, *scale)?;
    }
    if args.reshape {
        data.reshape();
    }
    let heads = check::heads(&program.name, &program.text, &program);
    let head = heads.graphs.iter().find(|g| args.program.graph().is_none_or(|n| *n == g.name));
    let mut dims = args.program.dims()?;
    head.into_iter().for_each(|head| bind_dims(head, &data, &args.bind, &mut dims));
    let options = Options {
        graph: args.program.graph().cloned(),
        dims,
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        optimizer: Some(args.settings.optimizer(args.optimizer)),
        clip: args.settings.clip(),
        groups: args.settings.groups(),
        carry: false,
        fast_math: args.numeric.fast_math,
    };
    let advice = || head.and_then(|head| fitting_dims(head, &data, &args.bind, &options.dims));
    let checked = args.warnings.print(&program, &options);
    let checked = checked.map_err(|error| advise(error, advice()))?;
    let compile = |options: &Options| {
        let compiled =
            fgi_compiler::compile(&program.name, &program.text, &program, options, &mut |_| {});
        compiled.map_err(|error| advise(error.into(), advice()))
    };
    let test_options = {
        let (options, groups) = (options.clone(), Groups::default());
        Options { gradients: None, optimizer: None, clip: None, groups, ..options }
    };
    let (whole, chunks, tested) = match args.chunk {
        Some(steps) => {
            let chunks = compile(&in_chunks(head, &checked, &options, steps)?)?;
            (compile(&test_options)?, Some(chunks), None)
        }
        None => {
            let whole = fgi_compiler::compile_checked(&checked, &options, &mut |_| {});
            let whole = whole.map_err(|error| advise(error.into(), advice()))?;
            let tested = checked.asks_training.then(|| compile(&test_options));
            (whole, None, tested.transpose()?)
        }
    };
    let device = args.limits.on(&args.device);
    let advice = advice();
    let graph = whole.program.name.clone();
    let trainer =
        Trainer::new(Arc::new(whole.program), &device, data, args.train_options(&options));
    let mut trainer = trainer.map_err(|error| match error {
        fgi::Error::Layout { transposed: Some(_), .. } => error.into(),
        _ => advise(error.into(), advice),
    })?;
    if let Some(chunks) = chunks {
        trainer.train_in_chunks(chunks.program, &device)?;
    }
    if let Some(tested) = tested {
        trainer.test_with(tested.program, &device)?;
    }
    render::conversions(&trainer.conversions());
    if trainer.session().is_software_gpu() {
        render::note(&format!("{} runs on the processor", trainer.session().device_name()));
    }
    if args.tune {
        let tuning = trainer.tune()?;
        note_tuning(&graph, &tuning);
    }
    if let Some(path) = &args.resume {
        let checkpoint = Checkpoint::load(path)?;
        let whose = if args.force { Whose::Any } else { Whose::Own };
        trainer
            .resume(&checkpoint, whose)
            .map_err(|error| Failure::Run(format!("{}: {error}", path.display())))?;
        if checkpoint.progress.program.is_none() {
            let path = path.display();
            render::note(&format!(
                "{path} does not say of which program it is: only its parameters were compared"
            ));
        }
    }
    let lines = watch(&mut trainer, &checked, &device)?;
    train(&mut trainer, args, &graph, &lines)
}

/// The program for so many steps at once: all other dimensions are those of the whole sequence.
fn in_chunks(
    head: Option<&GraphHead>,
    checked: &Checked,
    options: &Options,
    steps: i64,
) -> Result<Options, Failure> {
    let stream = head.and_then(|head| {
        let input = head.inputs.iter().find(|input| input.is_stream)?;
        input.dims.first().filter(|time| head.has_dim(time))
    });
    let time = stream.ok_or_else(|| {
        let message = "--chunk needs an input whose steps have a name: `x: [T; B, K]`";
        Failure::Run(message.into())
    })?;
    let known = checked.dims.iter().filter_map(|(name, dim)| Some((name.clone(), dim.as_const()?)));
    let mut dims: BTreeMap<String, i64> = known.collect();
    dims.extend(options.dims.clone());
    dims.insert(time.clone(), steps);
    Ok(Options { dims, carry: true, ..options.clone() })
}

/// Has the rate of spikes measured. The place of each layer in the program, `net.fgi:5`, by its path.
fn watch(
    trainer: &mut Trainer,
    checked: &Checked,
    device: &Device,
) -> Result<BTreeMap<String, String>, Failure> {
    let rates = checked.graph.as_ref().and_then(|graph| spike_rates(graph, &checked.places));
    let Some((graph, bindings)) = rates else { return Ok(BTreeMap::new()) };
    let graph = fgi_compiler::verified("activity", graph)?;
    let compiled = fgi_compiler::compile_graph(graph, &Options::default(), &mut |_| {})?;
    trainer.watch(compiled.program, device)?;
    let place = |binding: Binding| {
        let (line, _) = checked.sources.line_column(binding.span);
        let file = checked.sources.get(binding.span.file).map_or("", |file| &file.name);
        (binding.path, format!("{file}:{line}"))
    };
    Ok(bindings.into_iter().map(place).collect())
}

fn train(
    trainer: &mut Trainer,
    args: &Args,
    graph: &str,
    lines: &BTreeMap<String, String>,
) -> Outcome {
    let interrupted = watch_interrupts()?;
    let bar = progress_bar(args);
    let mut last = None;
    loop {
        if interrupted.load(Ordering::Relaxed) {
            bar.finish_and_clear();
            let path = args.checkpoint.clone().unwrap_or_else(|| unused_name(graph));
            trainer.save(&path)?;
            let path = path.display();
            render::note(&format!("interrupted; `--resume {path}` goes on from here"));
            return Err(Failure::Interrupted);
        }
        match trainer.step()? {
            Step::Batch(report) => show(&bar, &report),
            Step::Epoch(report) => {
                if let Some(path) = &args.checkpoint {
                    trainer.save(path)?;
                }
                bar.reset();
                for path in &report.stuck {
                    let how = match report.spike_rates[path] {
                        0.0 => "is dead: no training sample makes it spike",
                        _ => "is saturated: it spikes at every step of every training sample",
                    };
                    let text =
                        format!("`{path}` at {} {how} after epoch {}", lines[path], report.epoch);
                    bar.suspend(|| render::warning(&text));
                }
                if !args.quiet {
                    bar.suspend(|| print(&report, args))?;
                }
                last = Some(report);
            }
            Step::Done => break,
        }
    }
    bar.finish_and_clear();
    match last {
        Some(report) if args.quiet => print(&report, args),
        None => {
            render::note("all epochs are over already");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `GRAPH.safetensors`, or with a number where there is such a file: what was not named is not overwritten.
fn unused_name(graph: &str) -> PathBuf {
    let name = |number: u32| match number {
        1 => PathBuf::from(format!("{graph}.safetensors")),
        _ => PathBuf::from(format!("{graph}-{number}.safetensors")),
    };
    let mut number = 1;
    while name(number).symlink_metadata().is_ok() {
        number += 1;
    }
    name(number)
}

fn print(report: &EpochReport, args: &Args) -> Outcome {
    if args.json {
        let line =
            serde_json::to_string(report).map_err(|error| Failure::Run(error.to_string()))?;
        return Ok(writeln!(io::stdout(), "{line}")?);
    }
    let percent = |accuracy: Option<f64>| {
        accuracy.map(|accuracy| format!("  {:6.2} %", 100.0 * accuracy)).unwrap_or_default()
    };
    let spikes = report.spike_rates.iter();
    let spikes = spikes.map(|(path, rate)| format!(" {path} {:.1} %", 100.0 * rate));
    let spikes: String = spikes.collect();
    let spikes = if spikes.is_empty() { spikes } else { format!("  spikes{spikes}") };
    Ok(writeln!(
        io::stdout(),
        "epoch {:>width$}/{}  train {:.4}{}  test {:.4}{}{spikes}  {:.0} samples/s  {:.1} s",
        report.epoch,
        args.epochs,
        report.train_loss,
        percent(report.train_accuracy),
        report.test_loss,
        percent(report.test_accuracy),
        report.samples_per_s,
        report.seconds,
        width = args.epochs.to_string().len(),
    )?)
}

fn progress_bar(args: &Args) -> ProgressBar {
    let hidden = args.json || args.quiet || !io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, report: &BatchReport) {
    if bar.is_hidden() {
        return;
    }
    let (done, all) = report.samples;
    bar.set_prefix(format!("epoch {}", report.epoch));
    bar.set_length(all as u64);
    bar.set_position(done as u64);
    let accuracy = report.train_accuracy.map(|accuracy| format!("  {:.1} %", 100.0 * accuracy));
    let accuracy = accuracy.unwrap_or_default();
    let (loss, speed) = (report.train_loss, report.samples_per_s);
    bar.set_message(format!("loss {loss:.4}{accuracy}  {speed:.0} samples/s"));
}

/// Set by the first Ctrl-C; the second ends the process.
fn watch_interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let seen = interrupted.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::Run(format!("Ctrl-C cannot be watched: {error}")))?;
    Ok(interrupted)
}

impl Args {
    fn train_options(&self, options: &Options) -> TrainOptions {
        TrainOptions {
            epochs: self.epochs,
            batch: self.batch,
            learning_rate: self.lr,
            schedule: match self.schedule {
                ScheduleName::Inverse => Schedule::Inverse,
                ScheduleName::Cosine => Schedule::Cosine,
                ScheduleName::Constant => Schedule::Constant,
            },
            warmup: self.warmup,
            seed: self.seed,
            optimizer: options.optimizer.map_or("none", |optimizer| optimizer.name()).into(),
            binds: self.bind.clone(),
        }
    }
}

fn advise(failure: Failure, advice: Option<String>) -> Failure {
    match (failure, advice) {
        (Failure::Run(message), Some(advice)) => Failure::Run(format!("{message}\n{advice}")),
        (Failure::Reported, Some(advice)) => {
            render::note(&advice);
            Failure::Reported
        }
        (failure, _) => failure,
    }
}

/// The `-D` under which a sample fills a stream `[T; B, K]`, where those given do not.
fn fitting_dims(
    head: &GraphHead,
    data: &Dataset,
    binds: &[(String, String)],
    given: &BTreeMap<String, i64>,
) -> Option<String> {
    let bound = |input: &str| binds.iter().find(|(name, _)| name == input).map(|(_, field)| field);
    for input in head.inputs.iter().filter(|input| input.is_stream) {
        let [time, _batch, features] = input.dims.as_slice() else { continue };
        let fields = data.train.fields();
        let named = fields.get(bound(&input.name).unwrap_or(&input.name));
        let largest =
            || fields.values().max_by_key(|field| field.shape[1..].iter().product::<usize>());
        let sample = &named.or_else(largest)?.shape[1..];
        let size: usize = sample.iter().product();
        let steps = match sample {
            [steps, _, ..] => *steps,
            _ => (1..=size)
                .take_while(|n| n * n <= size)
                .filter(|n| size.is_multiple_of(*n))
                .last()?,
        };
        let wanted = [(time, steps), (features, size / steps.max(1))];
        let is_dim = |name: &str| head.dims.iter().any(|dim| dim.name == name);
        if wanted.iter().all(|(name, size)| given.get(*name) == Some(&(*size as i64)))
            || !wanted.iter().all(|(name, _)| is_dim(name))
        {
            continue;
        }
        let [(time, steps), (features, per_step)] = wanted;
        return Some(format!(
            "a sample of {size} numbers fits with -D {time}={steps} -D {features}={per_step}"
        ));
    }
    None
}

/// Adds to `dims` what the samples say of the dimensions that the types of inputs name: those of fields with as
/// many axes as their input, where all that is given agrees. How long streams are is left open where the program
/// leaves it open.
fn bind_dims(
    head: &GraphHead,
    data: &Dataset,
    binds: &[(String, String)],
    dims: &mut BTreeMap<String, i64>,
) {
    let fields = data.train.fields();
    for input in &head.inputs {
        let mut names: Vec<&str> = input.dims.iter().map(String::as_str).collect();
        let batch = usize::from(input.is_stream);
        if batch >= names.len() {
            continue;
        }
        names.remove(batch);
        let bound = binds.iter().find(|(name, _)| *name == input.name).map(|(_, field)| field);
        let is_fit = |array: &&Array| {
            let is_float = matches!(array.data, Data::F32(_) | Data::F64(_));
            array.shape.len() == names.len() + 1 && !(input.is_i32 && is_float)
        };
        let mut fitting = fields.values().filter(is_fit);
        let field = match fields.get(bound.unwrap_or(&input.name)) {
            Some(field) => Some(field).filter(is_fit),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        let Some(field) = field else { continue };
        let sizes = || names.iter().zip(field.shape[1..].iter().map(|size| *size as i64));
        if sizes().any(|(name, size)| dims.get(*name).is_some_and(|given| *given != size)) {
            continue;
        }
        for (at, (name, size)) in sizes().enumerate() {
            let is_open_time =
                input.is_stream && at == 0 && head.dims.iter().all(|dim| dim.name != *name);
            if head.has_dim(name) && !is_open_time {
                dims.insert((*name).into(), size);
            }
        }
    }
}

fn scale(text: &str) -> Result<(String, Scale), String> {
    let (field, factor) = text.split_once('=').ok_or("expected FIELD=FACTOR")?;
    Ok((field.into(), factor.parse()?))
}

fn bind(text: &str) -> Result<(String, String), String> {
    let (input, field) = text.split_once('=').ok_or("expected INPUT=FIELD")?;
    Ok((input.into(), field.into()))
}
