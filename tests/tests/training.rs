//! Training in a process: the same on both devices, and the same whether it was stopped or not.

use std::sync::Arc;

use fgi::data::{DataSource, Dataset};
use fgi::{Device, Schedule, Step, TrainOptions, Trainer, Whose};
use fgi_compiler::middle::optimizer::Optimizer;
use fgi_compiler::{Gradients, Options};
use fgi_tests::{compiled, workspace};

/// The benchmark's example with few neurons, on the digits.
fn trainer(device: &Device) -> Trainer {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist.fgi")).unwrap();
    let options = Options {
        dims: [("T", 8), ("K", 8), ("N", 32)].map(|(name, size)| (name.into(), size)).into(),
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        optimizer: Some(Optimizer::ADAM),
        clip: Some(1.0),
        ..Options::default()
    };
    let train = TrainOptions {
        epochs: 1,
        batch: 200,
        learning_rate: 0.01,
        schedule: Schedule::Cosine,
        warmup: 2,
        seed: 3,
        optimizer: "adam".into(),
        binds: Vec::new(),
    };
    let program = Arc::new(compiled(&text, &options).program);
    let data = Dataset::load(&DataSource::Digits).unwrap();
    Trainer::new(program, device, data, train).unwrap()
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
