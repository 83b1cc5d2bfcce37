//! Training in a process: the same on both devices, and the same whether it was stopped or not.

use std::sync::Arc;

use fgi::data::{DataSource, Dataset, Feed};
use fgi::{Array, Device, Schedule, Session, Step, TrainOptions, Trainer, Whose};
use fgi_compiler::ir::graph::Dim;
use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::ir::verify;
use fgi_compiler::middle::optimizer::{LEARNING_RATE, Optimizer, STEP};
use fgi_compiler::report::activity::spike_rates;
use fgi_compiler::source::NoFiles;
use fgi_compiler::{Gradients, Options, compile_graph};
use fgi_tests::{compiled, workspace};

/// The benchmark's example with few neurons, on the digits.
fn trainer(device: &Device) -> Trainer {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist/smnist.fgi")).unwrap();
    trainer_of(&text, &trained(&[("T", 8), ("K", 8), ("N", 32)]), device)
}

fn trained(dims: &[(&str, i64)]) -> Options {
    Options {
        dims: dims.iter().map(|(name, size)| (name.to_string(), *size)).collect(),
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        optimizer: Some(Optimizer::ADAM),
        clip: Some(1.0),
        ..Options::default()
    }
}

fn trainer_of(text: &str, options: &Options, device: &Device) -> Trainer {
    let program = Arc::new(compiled(text, options).program);
    let data = Dataset::load(&DataSource::Digits).unwrap();
    Trainer::new(program, device, data, train_options()).unwrap()
}

fn train_options() -> TrainOptions {
    TrainOptions {
        epochs: 1,
        batch: 200,
        learning_rate: 0.01,
        schedule: Schedule::Cosine,
        warmup: 2,
        seed: 3,
        optimizer: "adam".into(),
        binds: Vec::new(),
    }
}

/// The losses of so many batches.
fn losses(trainer: &mut Trainer, batches: usize) -> Vec<f32> {
    let mut loss = || match trainer.step().unwrap() {
        Step::Batch(report) => report.loss,
        other => panic!("{other:?}"),
    };
    (0..batches).map(|_| loss()).collect()
}

#[test]
fn both_devices_have_the_same_losses() {
    let cpu = losses(&mut trainer(&Device::cpu()), 6);
    let gpu = losses(&mut trainer(&Device::gpu()), 6);
    assert!(cpu.iter().zip(&gpu).all(|(a, b)| (a - b).abs() < 1e-4), "{cpu:?} {gpu:?}");
    assert!(cpu[5] < cpu[0], "{cpu:?}");
}

/// In the middle of an epoch, with the rate on its way down.
#[test]
fn a_trainer_that_resumes_goes_on_to_the_bit() {
    let mut whole = trainer(&Device::cpu());
    let expected = losses(&mut whole, 7);
    let mut stopped = trainer(&Device::cpu());
    losses(&mut stopped, 4);
    let checkpoint = stopped.checkpoint().unwrap();
    let mut resumed = trainer(&Device::cpu());
    resumed.resume(&checkpoint, Whose::Own).unwrap();
    assert_eq!(losses(&mut resumed, 3), expected[4..]);
    assert_eq!(resumed.checkpoint().unwrap(), whole.checkpoint().unwrap());
    while !matches!(whole.step().unwrap(), Step::Epoch(_)) {}
    assert_eq!(whole.step().unwrap(), Step::Done);
}

/// Memory that is carried, a state, random numbers, a schedule, spikes that are measured, and a parameter that only
/// the tests have.
const STATEFUL: &str = "
graph g[T = 8; K = 64 / T](pixels: [T; B, K], label: i32[B]) -> (loss, logits) {
    param v: [K, 32]    = kaiming_uniform();
    param w: [32, 10]   = kaiming_uniform();
    param scale: [10]   = ones();
    state seen: [B, 32] = zeros();
    state runs: i32[]   = zeros();
    let keep   = if training() == 1 then bernoulli(0.9 + 0 * pixels) else 1;
    let u      = 0.8 * prev(u, init = 0.1 * seen) + (keep * pixels) @ v - prev(z);
    let z      = bypass(step(u - 0.5 - 0.1 * progress()), sigmoid(4 * (u - 0.5)));
    let logits = time_sum(z) @ w * (if training() == 1 then 1 else scale);
    let loss   = cross_entropy(logits, label);
    next seen = last(u);
    next runs = runs + 1;
}";

#[test]
fn states_and_schedules_are_trained_tested_and_resumed() {
    let text = format!("use loss::cross_entropy;{}", STATEFUL);
    let options = trained(&[]);
    for device in [Device::cpu(), Device::gpu()] {
        let made = || {
            let mut trainer = trainer_of(&text, &options, &device);
            let tested = compiled(&text, &Options::default()).program;
            trainer.test_with(tested, &device).unwrap();
            let checked = fgi_compiler::check("program.fgi", &text, &NoFiles, &options);
            let (graph, _) = spike_rates(&checked.graph.unwrap(), &checked.places).unwrap();
            let graph = verify(graph).unwrap();
            let rates = compile_graph(graph, &Options::default(), &mut |_| {}).unwrap().program;
            trainer.watch(rates, &device).unwrap();
            trainer
        };
        let mut whole = made();
        let mut steps = Vec::new();
        loop {
            match whole.step().unwrap() {
                Step::Batch(report) => steps.push(report.loss),
                Step::Epoch(report) => {
                    assert!(report.test_loss.is_finite());
                    assert!(report.spike_rates["z"] > 0.0, "{report:?}");
                }
                Step::Done => break,
            }
        }
        let all = whole.checkpoint().unwrap();
        assert_eq!(all.params["runs"].to_f64(), [steps.len() as f64]);
        assert_eq!(all.params["random.run"].to_f64(), [steps.len() as f64]);
        let mut stopped = made();
        losses(&mut stopped, 3);
        let checkpoint = stopped.checkpoint().unwrap();
        let mut resumed = made();
        resumed.resume(&checkpoint, Whose::Own).unwrap();
        assert_eq!(losses(&mut resumed, steps.len() - 3), steps[3..]);
        assert_eq!(resumed.checkpoint().unwrap().params, all.params);
    }
}

/// One chunk is the whole; several are runs and updates one after the other, and then a sequence starts.
#[test]
fn sequences_are_trained_in_chunks() {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist/smnist.fgi")).unwrap();
    let sizes = |steps| trained(&[("T", steps), ("K", 8), ("N", 16)]);
    let whole = Options { gradients: None, optimizer: None, clip: None, ..sizes(8) };
    let whole = Arc::new(compiled(&text, &whole).program);
    let in_chunks = |steps| compiled(&text, &Options { carry: true, ..sizes(steps) }).program;
    // An epoch is a batch.
    let data = Dataset::load(&DataSource::Digits).unwrap();
    let options = TrainOptions {
        epochs: 3,
        batch: data.train.len(),
        schedule: Schedule::Constant,
        warmup: 0,
        ..train_options()
    };
    for device in [Device::cpu(), Device::gpu()] {
        let losses = |steps| {
            let program = whole.clone();
            let mut trainer =
                Trainer::new(program, &device, data.clone(), options.clone()).unwrap();
            trainer.train_in_chunks(in_chunks(steps), &device).unwrap();
            let (mut losses, mut tests) = (Vec::new(), Vec::new());
            loop {
                match trainer.step().unwrap() {
                    Step::Batch(report) => losses.push(report.loss),
                    Step::Epoch(report) => tests.push(report.test_loss),
                    Step::Done => break,
                }
            }
            assert!(tests[2] < tests[0], "{tests:?}");
            losses
        };
        let by_hand = |steps: usize| {
            let program = Arc::new(in_chunks(steps as i64));
            let fed = program.inputs.iter().filter(|input| !input.name.contains('.'));
            let fed: Vec<_> = fed.cloned().collect();
            let feed = Feed::new(&fed, Some(&Dim::constant(8)), &data.train, &[]).unwrap();
            let samples: Vec<usize> = (0..data.train.len()).collect();
            let batch = feed.batch(&data.train, &samples).unwrap();
            let mut session = Session::new(program, &device).unwrap();
            session.initialise(options.seed).unwrap();
            let (mut step, mut losses) = (0.0, Vec::new());
            for _ in 0..options.epochs {
                let mut loss = 0.0;
                for start in (0..8).step_by(steps) {
                    step += 1.0;
                    let own = [(LEARNING_RATE, 0.01), (STEP, step)];
                    let own = own.map(|(name, value)| (name, Array::new([], vec![value as f32])));
                    let cut = batch.iter().map(|(name, array)| match name.as_str() {
                        "pixels" => ("pixels", array.rows(start..start + steps)),
                        name => (name, array.clone()),
                    });
                    let all: Vec<_> = cut.chain(own).collect();
                    let all = all.iter().map(|(name, array)| (*name, array));
                    session.set_inputs(all).unwrap();
                    session.run_gradients().unwrap();
                    loss += session.output("loss").unwrap().scalar().unwrap();
                    session.run(Pass::Update).unwrap();
                }
                losses.push(loss / (8 / steps) as f32);
                session.start_sequence().unwrap();
            }
            losses
        };
        let ordinary = {
            let program = Arc::new(compiled(&text, &sizes(8)).program);
            let mut trainer =
                Trainer::new(program, &device, data.clone(), options.clone()).unwrap();
            let mut losses = Vec::new();
            while losses.len() < 3 {
                if let Step::Batch(report) = trainer.step().unwrap() {
                    losses.push(report.loss);
                }
            }
            losses
        };
        for (found, expected) in [(losses(8), ordinary), (losses(2), by_hand(2))] {
            let close = found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4);
            assert!(close && found.len() == 3, "{found:?} instead of {expected:?} on {device}");
        }
    }
}
