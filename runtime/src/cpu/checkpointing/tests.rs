//! Results within every limit of memory against those without.

use std::sync::Arc;

use fgi_compiler::source::NoFiles;
use fgi_compiler::{Gradients, Options};

use crate::npz::Arrays;
use crate::{Device, Error, Footprint, Pass, Program, Session, Verified, evaluate, random_inputs};

const STEPS: i64 = 150;
const BATCH: i64 = 13;

/// A program with its gradients, and inputs for it.
fn program(source: &str, dims: &[(&str, i64)]) -> (Arc<Verified<Program>>, Arrays) {
    let options = Options {
        dims: dims.iter().map(|(name, size)| (name.to_string(), *size)).collect(),
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        ..Options::default()
    };
    let compiled = fgi_compiler::compile("program", source, &NoFiles, &options, &mut |_| {});
    let compiled = compiled.unwrap_or_else(|error| panic!("{error}"));
    let inputs = random_inputs(&compiled.graphs[0].1, BATCH, STEPS, 5).unwrap();
    (Arc::new(compiled.program), inputs)
}

fn run(
    program: &Arc<Verified<Program>>,
    inputs: &Arrays,
    device: &Device,
) -> Result<(Arrays, Footprint), Error> {
    let (results, session) = evaluate(program.clone(), device, inputs, 3)?;
    Ok((results, session.footprint()))
}

/// Runs with ever smaller limits, until one is refused; the numbers of segments, and the least limit.
fn within_limits(source: &str, dims: &[(&str, i64)]) -> (Vec<usize>, usize) {
    let (program, inputs) = program(source, dims);
    let device = Device::cpu().threads(2);
    let (expected, mut footprint) = run(&program, &inputs, &device).unwrap();
    let mut segments = vec![footprint.segments];
    loop {
        let limit = footprint.bytes - 1;
        match run(&program, &inputs, &device.clone().memory_limit(limit)) {
            Ok((found, smaller)) => {
                assert!(smaller.bytes <= limit, "{} of {limit} bytes", smaller.bytes);
                assert_same(&expected, &found, smaller.segments);
                segments.push(smaller.segments);
                footprint = smaller;
            }
            Err(Error::MemoryLimit { needed, .. }) => {
                assert_eq!(needed, footprint.bytes);
                return (segments, footprint.bytes);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// The same bits: no comparison of floats.
fn assert_same(expected: &Arrays, found: &Arrays, segments: usize) {
    assert_eq!(expected.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    let differs = |name: &&String| expected[*name].to_device() != found[*name].to_device();
    let different: Vec<_> = expected.keys().filter(differs).collect();
    assert!(different.is_empty(), "{segments} segments: {different:?}");
}

/// Within the limit the passes give the same one by one.
fn assert_apart(
    program: &Arc<Verified<Program>>,
    inputs: &Arrays,
    device: &Device,
    expected: &Arrays,
) {
    let mut session = Session::new(program.clone(), device).unwrap();
    session.initialise(3).unwrap();
    let inputs = inputs.iter().map(|(name, array)| (name.as_str(), array));
    session.set_inputs(inputs).unwrap();
    session.run(Pass::Forward).unwrap();
    let mut results = Arrays::new();
    for name in expected.keys().filter(|name| !name.starts_with("grad/")) {
        results.insert(name.clone(), session.output(name).unwrap());
    }
    session.run(Pass::Backward).unwrap();
    for name in expected.keys() {
        if let Some(path) = name.strip_prefix("grad/") {
            results.insert(name.clone(), session.gradient(path).unwrap());
        }
    }
    assert_same(expected, &results, session.footprint().segments);
}

macro_rules! programs {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../../../../tests/programs/", $name, ".fgi")))),*]
    };
}

#[test]
fn the_benchmark_network() {
    let source = include_str!("../../../../dsl-examples/smnist/smnist.fgi");
    // Spikes as numbers and as bits.
    for (neurons, tenths) in [(19, 20), (24, 15)] {
        let dims = [("T", STEPS), ("K", 2), ("N", neurons)];
        let (segments, least) = within_limits(source, &dims);
        // 150 steps are 5 chunks, so 2 segments are of 3 and 2.
        assert_eq!(segments, [1, 2, 3, 5]);
        let (program, inputs) = program(source, &dims);
        let (expected, Footprint { bytes, .. }) =
            run(&program, &inputs, &Device::cpu().threads(2)).unwrap();
        assert!(tenths * least < 10 * bytes, "{least} of {bytes}");
        assert_apart(&program, &inputs, &Device::cpu().threads(2).memory_limit(least), &expected);
    }
}

#[test]
fn programs_of_all_kinds() {
    let programs = programs![
        "delays",
        "dendrites",
        "detached_reset",
        "hard_reset",
        "long",
        "skips",
        "traces",
        "winners"
    ];
    for (name, source) in programs {
        assert_eq!(within_limits(source, &[]).0, [1, 2, 3, 5], "{name}");
    }
}

#[test]
fn what_has_no_segments_is_refused() {
    let [(_, source)] = programs!["lstm_peephole"];
    let (program, inputs) = program(source, &[]);
    for (device, why) in
        [(Device::cpu(), "tile by tile"), (Device::cpu_in_order(), "`cpu` need not")]
    {
        let (expected, footprint) = run(&program, &inputs, &device).unwrap();
        let enough = run(&program, &inputs, &device.clone().memory_limit(footprint.bytes)).unwrap();
        assert_same(&expected, &enough.0, 1);
        let device = device.memory_limit(footprint.bytes - 1);
        let error = run(&program, &inputs, &device).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
