//! Training: epochs of shuffled batches, and a test after each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fgi_compiler::front::check::PROGRESS;
use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::{Clock, Dim, Elem, Indexed, Role};
use fgi_compiler::ir::kernel::{Pass, Program};
use fgi_compiler::middle::optimizer::{LEARNING_RATE, STEP};

use crate::bench::Tuning;
use crate::checkpoint::{Checkpoint, Progress, Sums};
use crate::data::{Dataset, Feed, Samples};
use crate::error::LOST_GRADIENT;
use crate::{Array, Data, Device, Error, Session, init};

/// How to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// How many epochs in all, those before a resumed checkpoint included.
    pub epochs: u64,
    /// Samples in a batch; the last one of an epoch may have fewer.
    pub batch: usize,
    /// The greatest learning rate.
    pub learning_rate: f32,
    /// How the learning rate goes on after the warm-up.
    pub schedule: Schedule,
    /// Over so many steps at the start the learning rate rises in a line.
    pub warmup: u64,
    /// Decides the initial parameters and the order of samples.
    pub seed: u64,
    /// The optimiser's name, for checkpoints.
    pub optimizer: String,
    /// Which data field fills which input (input, field), where names do not say it.
    pub binds: Vec<(String, String)>,
}

/// How the learning rate goes on after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Divided by 1 + n / 1000 after n steps (Robbins and Monro 1951). It does not depend on how many
    /// epochs are planned, so training can be resumed for more of them.
    Inverse,
    /// Down to 0 at the end of the last epoch, along half a cosine (Loshchilov and Hutter 2017).
    Cosine,
    /// It stays.
    Constant,
}

/// After so many steps an inverse schedule has halved the learning rate.
const HALVED_AFTER: f64 = 1000.0;

impl TrainOptions {
    /// The learning rate of a step, from 1, where an epoch has so many.
    fn rate(&self, step: u64, steps_of_epoch: u64) -> f32 {
        let done = step.saturating_sub(1);
        if step <= self.warmup {
            return self.learning_rate * (step as f64 / (self.warmup + 1) as f64) as f32;
        }
        let (done, all) =
            (done - self.warmup, (self.epochs * steps_of_epoch).max(step) - self.warmup);
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Inverse => self.learning_rate / (1.0 + done as f64 / HALVED_AFTER) as f32,
            Schedule::Cosine => {
                let part = done as f64 / all as f64;
                self.learning_rate * (0.5 + 0.5 * (std::f64::consts::PI * part).cos()) as f32
            }
        }
    }
}

/// Trains a program that has an output `loss`, the mean over the batch. If it also has an output
/// `logits` of type `[B, C]` and one input of type `i32[B]`, the accuracy is measured.
///
/// Two runs with the same program, data, options and device have the same bits, also where one was
/// stopped and resumed.
pub struct Trainer {
    session: Session,
    data: Dataset,
    feed: Feed,
    options: TrainOptions,
    /// The input that holds the classes.
    label: Option<String>,
    /// Runs the tests, where the program is another while it is trained.
    tester: Option<Session>,
    /// Measures the rate of spikes.
    activity: Option<Activity>,
    /// So many steps are trained at once, where that is not the whole sequence.
    chunk: Option<Chunks>,
    progress: Progress,
    /// The order of the current epoch's samples.
    order: Vec<usize>,
    clock: Clockwork,
}

/// Which checkpoints [`Trainer::resume`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of the same program.
    Own,
    /// Those whose parameters have the same names and shapes.
    Any,
}

/// What [`Trainer::step`] has done.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Trained with a batch.
    Batch(BatchReport),
    /// Tested after the last batch of an epoch.
    Epoch(EpochReport),
    /// All epochs are over.
    Done,
}

/// The current epoch after a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchReport {
    /// From 1.
    pub epoch: u64,
    /// Samples of the epoch so far, and in all.
    pub samples: (usize, usize),
    /// The batch's loss.
    pub loss: f32,
    /// The epoch's means so far.
    pub train_loss: f64,
    /// The part of the samples classified right, where the program has classes.
    pub train_accuracy: Option<f64>,
    /// Training samples a second.
    pub samples_per_s: f64,
}

/// An epoch. Losses and accuracies are means over its samples.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct EpochReport {
    /// From 1.
    pub epoch: u64,
    /// Over the batches, each before its update.
    pub train_loss: f64,
    /// The part of the training samples classified right, where the program has classes.
    pub train_accuracy: Option<f64>,
    /// After the epoch.
    pub test_loss: f64,
    /// The part of the test samples classified right, where the program has classes.
    pub test_accuracy: Option<f64>,
    /// Training samples a second.
    pub samples_per_s: f64,
    /// The epoch with its test.
    pub seconds: f64,
    /// The share of spikes among the steps of neurons for each layer that [`Trainer::watch`] measures, over the
    /// first batch of the training samples after the epoch.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub spike_rates: BTreeMap<String, f64>,
    /// Layers without a spike, or with nothing else, for any training sample; each is told once.
    #[serde(skip)]
    pub stuck: Vec<String>,
}

/// How sequences are cut for training.
#[derive(Clone, Debug)]
struct Chunks {
    /// Steps of a chunk.
    steps: usize,
    /// Chunks of a sequence.
    count: usize,
    /// The inputs that are cut.
    streams: BTreeSet<String>,
}

impl Chunks {
    /// The inputs of a chunk.
    fn chunk(&self, batch: &[(String, Array)], number: usize) -> Vec<(String, Array)> {
        let cut = batch.iter().map(|(name, array)| {
            let array = match self.streams.contains(name) {
                true => array.rows(number * self.steps..(number + 1) * self.steps),
                false => array.clone(),
            };
            (name.clone(), array)
        });
        cut.collect()
    }
}

/// A program whose outputs are rates of spikes by layer, with the inputs and parameters of the trained one.
struct Activity {
    session: Session,
    /// Layers that were told to be stuck.
    told: BTreeSet<String>,
}

impl Activity {
    fn rates(
        &mut self,
        batch: &[(String, Array)],
        own: &[(&'static str, Array)],
    ) -> Result<BTreeMap<String, f64>, Error> {
        let program = self.session.program().clone();
        set_inputs(&mut self.session, batch, own)?;
        self.session.run(Pass::Forward)?;
        let mut rates = BTreeMap::new();
        for (_, name, _) in &program.results {
            let rate = self.session.output(name)?.scalar();
            rates.insert(name.clone(), rate.map_or(f64::NAN, f64::from));
        }
        Ok(rates)
    }
}

/// Time and samples since the epoch's start, or since it was resumed.
struct Clockwork {
    started: Instant,
    training: Duration,
    samples: usize,
}

impl Trainer {
    /// `program` has gradients and updates; see [`fgi_compiler::Options`].
    pub fn new(
        program: Arc<Verified<Program>>,
        device: &Device,
        data: Dataset,
        options: TrainOptions,
    ) -> Result<Trainer, Error> {
        if options.batch == 0 {
            return Err(Error::Data("a batch must have at least one sample".into()));
        }
        if program.result(Role::Output, LOSS).is_none() {
            return Err(Error::Missing { what: "output", name: LOSS.into() });
        }
        let own = [LEARNING_RATE, STEP, PROGRESS];
        let fed = program.inputs.iter().filter(|input| !own.contains(&&*input.name));
        let fed: Vec<_> = fed.cloned().collect();
        let feed = Feed::new(&fed, program.time.as_ref(), &data.train, &options.binds)?;
        let ranges = Indexed::ranges(&program.indexed, &feed.bindings);
        feed.check(&data.train, &ranges)?;
        feed.check(&data.test, &ranges)?;
        let progress = Progress {
            graph: program.name.clone(),
            program: Some(program.fingerprint),
            optimizer: options.optimizer.clone(),
            seed: options.seed,
            batch: options.batch,
            ..Progress::default()
        };
        let label = label(&program);
        let mut session = Session::without_values(program, device)?;
        session.initialise(options.seed)?;
        let clock = Clockwork::start();
        let order = Vec::new();
        let (tester, activity, chunk) = (None, None, None);
        Ok(Trainer {
            session,
            data,
            feed,
            options,
            label,
            tester,
            activity,
            chunk,
            progress,
            order,
            clock,
        })
    }

    /// Goes on where a checkpoint was saved. It must be of the same optimiser, seed and batch size, and
    /// of the same program unless `whose` says otherwise. One that does not say of which program it is
    /// must have the same parameters.
    pub fn resume(&mut self, checkpoint: &Checkpoint, whose: Whose) -> Result<(), Error> {
        let (own, saved) = (&self.progress, &checkpoint.progress);
        let same = |what: &str, own: &dyn ToString, saved: &dyn ToString| {
            let (own, saved) = (own.to_string(), saved.to_string());
            match own == saved {
                true => Ok(()),
                false => Err(Error::Data(format!(
                    "the checkpoint was trained with {what} {saved}, not {own}"
                ))),
            }
        };
        if whose == Whose::Own {
            same("the graph", &own.graph, &saved.graph)?;
            if saved.program.is_some() && saved.program != own.program {
                return Err(Error::Data(
                    "the checkpoint is of another program: the graph is not the same; --force goes on \
                     nevertheless, if the parameters fit"
                        .into(),
                ));
            }
        }
        same("the optimiser", &own.optimizer, &saved.optimizer)?;
        same("the seed", &own.seed, &saved.seed)?;
        same("batches of", &own.batch, &saved.batch)?;
        if saved.batches > self.data.train.len().div_ceil(saved.batch) {
            return Err(Error::Data("the checkpoint was trained with more samples".into()));
        }
        self.session.set_params(&checkpoint.params)?;
        let (graph, program) = (own.graph.clone(), own.program);
        self.progress = Progress { graph, program, ..saved.clone() };
        self.order.clear();
        self.clock = Clockwork::start();
        Ok(())
    }

    /// Trains with one batch, or tests after the last batch of an epoch.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.progress.epoch >= self.options.epochs {
            return Ok(Step::Done);
        }
        let start = self.progress.batches * self.options.batch;
        if start >= self.data.train.len() {
            return Ok(Step::Epoch(self.finish_epoch()?));
        }
        let began = Instant::now();
        if self.order.is_empty() {
            let purpose = format!("order of epoch {}", self.progress.epoch);
            let mut random = init::stream(self.options.seed, &purpose);
            self.order = init::permutation(self.data.train.len(), &mut random);
        }
        let end = (start + self.options.batch).min(self.order.len());
        let (loss, correct) = self.train(start, end)?;
        self.progress.sums.add(end - start, loss, correct);
        self.progress.batches += 1;
        self.clock.training += began.elapsed();
        self.clock.samples += end - start;
        Ok(Step::Batch(BatchReport {
            epoch: self.progress.epoch + 1,
            samples: (end, self.order.len()),
            loss,
            train_loss: self.progress.sums.mean_loss(),
            train_accuracy: self.accuracy_of(&self.progress.sums),
            samples_per_s: self.clock.samples_per_s(),
        }))
    }

    /// Tests with another program than is trained: the one that the same text is where `training()` is 0.
    pub fn test_with(&mut self, program: Verified<Program>, device: &Device) -> Result<(), Error> {
        let mut tester = Session::without_values(Arc::new(program), device)?;
        // What training does not use stays as it is at first.
        tester.initialise(self.options.seed)?;
        self.tester = Some(tester);
        Ok(())
    }

    /// Trains by backpropagation through time that is truncated (Williams and Peng 1990): `program`, compiled with
    /// `carry` for as many steps as a chunk has, is run and updated chunk by chunk; memories go on, gradients end at
    /// the border. The program that the trainer was made with runs the tests.
    pub fn train_in_chunks(
        &mut self,
        program: Verified<Program>,
        device: &Device,
    ) -> Result<(), Error> {
        let whole = self.session.program();
        let steps = |time: Option<&Dim>| {
            let steps = time.and_then(|time| time.eval(&self.feed.bindings).ok());
            steps.filter(|steps| *steps > 0).map(|steps| steps as usize)
        };
        let (Some(all), Some(steps)) = (steps(whole.time.as_ref()), steps(program.time.as_ref()))
        else {
            return Err(Error::Data("only sequences are trained in chunks".into()));
        };
        if all % steps != 0 {
            return Err(Error::Data(format!(
                "a sequence of {all} steps cannot be cut into chunks of {steps}"
            )));
        }
        let inputs = program.inputs.iter().filter(|input| input.ty.is_stream());
        let streams = inputs.map(|input| input.name.clone()).collect();
        self.chunk = Some(Chunks { steps, count: all / steps, streams });
        self.progress.program = Some(program.fingerprint);
        let mut session = Session::without_values(Arc::new(program), device)?;
        session.initialise(self.options.seed)?;
        let whole = std::mem::replace(&mut self.session, session);
        self.tester.get_or_insert(whole);
        Ok(())
    }

    /// Measures the rate of spikes after each epoch with a program whose outputs are that, by layer.
    pub fn watch(&mut self, rates: Verified<Program>, device: &Device) -> Result<(), Error> {
        let mut session = Session::without_values(Arc::new(rates), device)?;
        session.initialise(self.options.seed)?;
        self.activity = Some(Activity { session, told: BTreeSet::new() });
        Ok(())
    }

    /// The rates for the first batch, and which layers are stuck for all samples.
    fn spikes(&mut self) -> Result<(BTreeMap<String, f64>, Vec<String>), Error> {
        let own = self.own_inputs();
        let Some(activity) = &mut self.activity else { return Ok(Default::default()) };
        copy_params(&mut self.session, &mut activity.session)?;
        let all: Vec<usize> = (0..self.data.train.len()).collect();
        let mut batches = all.chunks(self.options.batch);
        let mut next = |activity: &mut Activity| match batches.next() {
            Some(chosen) => {
                activity.rates(&self.feed.batch(&self.data.train, chosen)?, &own).map(Some)
            }
            None => Ok(None),
        };
        let rates = next(activity)?.unwrap_or_default();
        let is_new = |(path, rate): &(&String, &f64)| {
            (**rate == 0.0 || **rate == 1.0) && !activity.told.contains(*path)
        };
        let mut stuck: Vec<String> =
            rates.iter().filter(is_new).map(|(path, _)| path.clone()).collect();
        // Only another sample can show that they are not.
        while !stuck.is_empty() {
            let Some(more) = next(activity)? else { break };
            stuck.retain(|path| more[path] == rates[path]);
        }
        activity.told.extend(stuck.iter().cloned());
        Ok((rates, stuck))
    }

    /// [`Session::tune`] with the first samples, as many as a batch has.
    pub fn tune(&mut self) -> Result<Tuning, Error> {
        let samples: Vec<usize> = (0..self.options.batch.min(self.data.train.len())).collect();
        let mut batch = self.feed.batch(&self.data.train, &samples)?;
        if let Some(chunks) = &self.chunk {
            batch = chunks.chunk(&batch, 0);
        }
        let own = self.own_inputs();
        set_inputs(&mut self.session, &batch, &own)?;
        self.session.tune()
    }

    /// Parameters, the optimiser's memory and how far training has come.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, Error> {
        Ok(Checkpoint { params: self.session.params()?, progress: self.progress.clone() })
    }

    /// Writes a checkpoint, all or nothing.
    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        self.checkpoint()?.save(path)
    }

    /// The program on its device.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What it trains with.
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// How the data's numbers become elements of the inputs, where they are not already:
    /// `pixels: u8 / 255`.
    pub fn conversions(&self) -> Vec<String> {
        self.feed.conversions(&self.data.train)
    }

    /// How far it has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Mean loss and accuracy over the test samples.
    pub fn test(&mut self) -> Result<(f64, Option<f64>), Error> {
        let mut sums = Sums::default();
        let samples: Vec<usize> = (0..self.data.test.len()).collect();
        let own = self.own_inputs();
        if let Some(tester) = &mut self.tester {
            copy_params(&mut self.session, tester)?;
        }
        let session = self.tester.as_mut().unwrap_or(&mut self.session);
        for chosen in samples.chunks(self.options.batch) {
            let batch = self.feed.batch(&self.data.test, chosen)?;
            set_inputs(session, &batch, &own)?;
            session.run(Pass::Forward)?;
            let (loss, correct) = outcome(session, &batch, self.label.as_ref())?;
            sums.add(chosen.len(), loss, correct);
        }
        Ok((sums.mean_loss(), self.accuracy_of(&sums)))
    }

    fn train(&mut self, start: usize, end: usize) -> Result<(f32, usize), Error> {
        let samples: &Samples = &self.data.train;
        let batch = self.feed.batch(samples, &self.order[start..end])?;
        let Some(chunks) = self.chunk.clone() else { return self.update(&batch) };
        let (mut sum, mut correct) = (0.0, 0);
        for number in 0..chunks.count {
            let (loss, right) = self.update(&chunks.chunk(&batch, number))?;
            // The classes are read off at the end.
            (sum, correct) = (sum + loss, right);
        }
        self.session.start_sequence()?;
        Ok((sum / chunks.count as f32, correct))
    }

    /// A step of the optimiser, with the loss before it.
    fn update(&mut self, batch: &[(String, Array)]) -> Result<(f32, usize), Error> {
        self.progress.step += 1;
        let own = self.own_inputs();
        set_inputs(&mut self.session, batch, &own)?;
        self.session.run_gradients()?;
        let (loss, correct) = outcome(&mut self.session, batch, self.label.as_ref())?;
        if !loss.is_finite() {
            let advice = match self.progress.step {
                1 => "the data are finite, so the program makes it of its initial parameters",
                _ => "try a smaller --lr",
            };
            return Err(self.not_finite("the loss".into(), loss, advice));
        }
        if let Some((path, value)) = self.session.lost_gradient()? {
            let what = format!("the gradient of `{path}`");
            return Err(self.not_finite(what, value, LOST_GRADIENT));
        }
        self.session.run(Pass::Update)?;
        if let Some((path, value)) = self.session.lost_param()? {
            let what = format!("the parameter `{path}`");
            return Err(self.not_finite(what, value, "try a smaller --lr"));
        }
        Ok((loss, correct))
    }

    fn not_finite(&self, what: String, value: f32, advice: &'static str) -> Error {
        let (step, epoch) = (self.progress.step, self.progress.epoch + 1);
        Error::Diverged { what, value, step, epoch, advice }
    }

    /// The inputs that training has by itself, for the next update.
    fn own_inputs(&self) -> [(&'static str, Array); 3] {
        let chunks = self.chunk.as_ref().map_or(1, |chunks| chunks.count);
        let steps = (self.data.train.len().div_ceil(self.options.batch) * chunks) as u64;
        let (step, all) = (self.progress.step, self.options.epochs * steps);
        let done = step.saturating_sub(1) as f32 / all.saturating_sub(1).max(1) as f32;
        let rate = self.options.rate(step, steps);
        [(LEARNING_RATE, rate), (STEP, step as f32), (PROGRESS, done.min(1.0))]
            .map(|(name, value)| (name, Array::new([], vec![value])))
    }

    fn finish_epoch(&mut self) -> Result<EpochReport, Error> {
        let (test_loss, test_accuracy) = self.test()?;
        let (spike_rates, stuck) = self.spikes()?;
        let sums = std::mem::take(&mut self.progress.sums);
        self.progress.epoch += 1;
        self.progress.batches = 0;
        self.order.clear();
        let clock = std::mem::replace(&mut self.clock, Clockwork::start());
        Ok(EpochReport {
            epoch: self.progress.epoch,
            train_loss: sums.mean_loss(),
            train_accuracy: self.accuracy_of(&sums),
            test_loss,
            test_accuracy,
            samples_per_s: clock.samples_per_s(),
            seconds: clock.started.elapsed().as_secs_f64(),
            spike_rates,
            stuck,
        })
    }

    fn accuracy_of(&self, sums: &Sums) -> Option<f64> {
        self.label.as_ref().map(|_| sums.accuracy())
    }
}

/// Parameters and states as another session has them, but for states of a batch: they start again.
fn copy_params(from: &mut Session, to: &mut Session) -> Result<(), Error> {
    let known: BTreeSet<String> =
        from.program().params.iter().map(|param| param.path.clone()).collect();
    let params = to.program().params.clone().into_iter();
    for param in params.filter(|param| known.contains(&param.path) && !init::is_open(param)) {
        to.set_param(&param.path, &from.param(&param.path)?)?;
    }
    Ok(())
}

/// Sets the inputs of a batch and those of training's own that the program has.
fn set_inputs(
    session: &mut Session,
    batch: &[(String, Array)],
    own: &[(&'static str, Array)],
) -> Result<(), Error> {
    let inputs = &session.program().inputs;
    let names: BTreeSet<String> = inputs.iter().map(|input| input.name.clone()).collect();
    let batch = batch.iter().map(|(name, array)| (name.as_str(), array));
    let all = batch.chain(own.iter().map(|(name, array)| (*name, array)));
    session.set_inputs(all.filter(|(name, _)| names.contains(*name)))
}

/// The loss of a batch and how many of its samples were classified right.
fn outcome(
    session: &mut Session,
    batch: &[(String, Array)],
    label: Option<&String>,
) -> Result<(f32, usize), Error> {
    let loss = session.output(LOSS)?;
    let loss = loss.scalar().ok_or_else(|| Error::Shape {
        name: LOSS.into(),
        expected: "a scalar f32".into(),
        found: loss.type_name(),
    })?;
    let label = batch.iter().find(|(name, _)| Some(name) == label);
    let Some((_, Array { data: Data::I32(labels), .. })) = label else {
        return Ok((loss, 0));
    };
    let logits = session.output(LOGITS)?;
    let Data::F32(values) = &logits.data else { return Ok((loss, 0)) };
    let classes = logits.shape.last().copied().unwrap_or(1).max(1);
    let rows = values.chunks(classes).zip(labels);
    Ok((loss, rows.filter(|(row, label)| argmax(row) as i64 == i64::from(**label)).count()))
}

const LOSS: &str = "loss";
const LOGITS: &str = "logits";

/// The input that holds the classes which `logits` predicts, if there is no doubt.
fn label(program: &Program) -> Option<String> {
    let logits = program.buffer(program.result(Role::Output, LOGITS)?);
    if logits.stream || logits.elem != Elem::F32 || logits.dims.len() != 2 {
        return None;
    }
    let labels = program.inputs.iter().filter(|input| {
        let ty = &input.ty;
        (ty.elem, ty.clock, ty.dims.as_slice()) == (Elem::I32, Clock::Static, &logits.dims[..1])
    });
    let labels: Vec<_> = labels.collect();
    match labels.as_slice() {
        [label] => Some(label.name.clone()),
        _ => None,
    }
}

/// The first of the greatest.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = at;
        }
    }
    best
}

impl Clockwork {
    fn start() -> Clockwork {
        Clockwork { started: Instant::now(), training: Duration::ZERO, samples: 0 }
    }

    fn samples_per_s(&self) -> f64 {
        self.samples as f64 / self.training.as_secs_f64().max(1e-9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        let options = |schedule| TrainOptions {
            epochs: 5,
            batch: 1,
            learning_rate: 1.0,
            schedule,
            warmup: 4,
            seed: 0,
            optimizer: String::new(),
            binds: Vec::new(),
        };
        let rates =
            |schedule| (1..=20).map(|step| options(schedule).rate(step, 4)).collect::<Vec<_>>();
        let constant = rates(Schedule::Constant);
        assert_eq!(constant[..5], [0.2, 0.4, 0.6, 0.8, 1.0]);
        assert!(constant[4..].iter().all(|rate| *rate == 1.0));
        let inverse = rates(Schedule::Inverse);
        assert_eq!(inverse[..5], constant[..5]);
        assert!((inverse[19] - 1.0 / 1.015).abs() < 1e-6, "{inverse:?}");
        let cosine = rates(Schedule::Cosine);
        assert_eq!(cosine[..5], constant[..5]);
        assert!(cosine[4..].windows(2).all(|pair| pair[0] > pair[1]), "{cosine:?}");
        assert!(
            (cosine[12] - 0.5).abs() < 1e-6 && cosine[19] > 0.0 && cosine[19] < 0.02,
            "{cosine:?}"
        );
    }
}
