//! What the tests of whole programs share.

pub mod browser;
pub mod fuzz;
pub mod program;
pub mod program_generator;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fgi::data::{DataSource, Dataset, Feed};
use fgi::npz::Arrays;
use fgi::{Array, Device, evaluate, evaluate_reference};
use fgi_compiler::ir::graph::interpret::{Tensor, Values};
use fgi_compiler::ir::graph::{Bindings, Dim, Elem};
use fgi_compiler::ir::kernel::Program;
use fgi_compiler::source::NoFiles;
use fgi_compiler::{CompileError, Compiled, Gradients, Options, compile};
use proptest::test_runner::{Config, RngSeed};

/// What runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// The f64 interpreter.
    Reference,
    Cpu,
    CpuInOrder,
    Gpu,
}

/// A program of the source tree.
pub struct Source {
    pub name: String,
    pub text: String,
}

/// The folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What is in a folder of the workspace, in the order of names.
pub fn entries(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(workspace().join(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The paper's programs and the golden ones, by name: their sizes are free.
pub fn programs() -> Vec<Source> {
    let paper = ["fgi/fgi.fgi", "smnist/smnist.fgi"];
    let paper = paper.map(|file| workspace().join("dsl-examples").join(file));
    let golden = entries("tests/golden").into_iter().map(|folder| folder.join("program.fgi"));
    let sources = paper.into_iter().chain(golden).filter_map(|file| {
        let text = std::fs::read_to_string(&file).ok()?;
        Some(Source { name: file.display().to_string(), text })
    });
    sources.collect()
}

/// Every graph of these programs, compiled with its gradients.
pub fn graphs() -> Vec<Compiled> {
    let mut graphs = Vec::new();
    for source in programs() {
        for head in source.text.lines().filter_map(|line| line.strip_prefix("graph ")) {
            let name = head.split(['[', '(']).next();
            let words: Vec<&str> = head.split(|c: char| !c.is_alphanumeric()).collect();
            let mut dims = vec![("T", 4), ("B", 3), ("K", 5), ("N", 6), ("M", 4)];
            dims.retain(|(dim, _)| words.contains(dim));
            graphs.push(compiled(&source.text, &options(name, &dims)));
        }
    }
    assert!(graphs.len() >= 10, "only {} graphs", graphs.len());
    graphs
}

/// Batches of the digits as a program takes them.
pub fn digits(program: &Program, size: usize) -> Vec<Vec<(String, Array)>> {
    let data = Dataset::load(&DataSource::Digits).unwrap().train;
    let inputs = program.inputs.iter().filter(|input| !input.name.starts_with("optim."));
    let inputs: Vec<_> = inputs.cloned().collect();
    let feed = Feed::new(&inputs, program.time.as_ref(), &data, &[]).unwrap();
    let samples: Vec<usize> = (0..data.len()).collect();
    samples.chunks_exact(size).map(|chosen| feed.batch(&data, chosen).unwrap()).collect()
}

/// What to compile: a graph with the gradients of `loss` for all parameters.
pub fn options(graph: Option<&str>, dims: &[(&str, i64)]) -> Options {
    Options {
        graph: graph.map(str::to_owned),
        dims: dims.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect(),
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        ..Options::default()
    }
}

/// A program without errors.
#[track_caller]
pub fn compiled(text: &str, options: &Options) -> Compiled {
    match compile("program.fgi", text, &NoFiles, options, &mut |_| {}) {
        Ok(compiled) => compiled,
        Err(CompileError::Program { diagnostics, .. }) => panic!("{diagnostics:#?}\nfor\n{text}"),
        Err(error) => panic!("{error}\nfor\n{text}"),
    }
}

/// The outputs of a program by name and its gradients as `grad/PATH`.
pub fn run(engine: Engine, compiled: &Compiled, values: &Arrays) -> Result<Arrays, fgi::Error> {
    let program = || Arc::new(compiled.program.clone());
    match engine {
        Engine::Reference => {
            evaluate_reference(&compiled.graphs[compiled.graphs.len() - 1].1, values, 0)
        }
        Engine::Cpu => Ok(evaluate(program(), &Device::cpu(), values, 0)?.0),
        Engine::CpuInOrder => Ok(evaluate(program(), &Device::cpu_in_order(), values, 0)?.0),
        Engine::Gpu => Ok(evaluate(program(), &gpu(), values, 0)?.0),
    }
}

/// The GPU, or Mesa's imitation of one; without any, the test fails.
pub fn gpu() -> Device {
    assert!(!fgi::adapters().is_empty(), "no Vulkan driver was found; tests/run.sh installs one");
    Device::gpu()
}

/// Whether |a - b| <= atol + rtol · max|b| everywhere, and if not, where it is worst.
pub fn closeness(found: &Array, expected: &Array, rtol: f64, atol: f64) -> Result<(), String> {
    if found.shape != expected.shape {
        return Err(format!("shape {:?} instead of {:?}", found.shape, expected.shape));
    }
    let (found, expected) = (found.to_f64(), expected.to_f64());
    let tolerance = atol + rtol * largest(&expected);
    for (index, (a, b)) in found.iter().zip(&expected).enumerate() {
        let same = a == b || a.is_nan() && b.is_nan();
        let close = (a - b).abs() <= tolerance;
        if !same && !close {
            return Err(format!("{a} instead of {b} at {index}; the tolerance is {tolerance:e}"));
        }
    }
    Ok(())
}

/// The largest magnitude.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// As the interpreter takes it.
pub fn tensor(array: &Array) -> Tensor {
    Tensor::new(array.shape.clone(), array.to_f64())
}

/// As the interpreter takes them.
pub fn tensors(values: &Arrays) -> Values {
    values.iter().map(|(name, array)| (name.clone(), tensor(array))).collect()
}

/// Values for every input and parameter, from -1 to 1 times `scale`; labels are less than `labels`.
pub fn values(
    program: &Program,
    bindings: &Bindings,
    seed: u64,
    scale: f64,
    labels: u64,
) -> Arrays {
    let time = program.time.iter();
    let size = |dim: &Dim| dim.eval(bindings).unwrap() as usize;
    let inputs = program.inputs.iter().map(|input| {
        let time = time.clone().filter(|_| input.ty.is_stream());
        let shape: Vec<_> = time.chain(&input.ty.dims).map(size).collect();
        (&input.name, input.ty.elem == Elem::I32, shape)
    });
    let params = program.params.iter().map(|param| {
        let shape: Vec<_> = param.dims.iter().map(size).collect();
        (&param.path, param.elem == Elem::I32, shape)
    });
    let mut arrays = Arrays::new();
    for (name, is_label, shape) in inputs.chain(params) {
        let start = seed.wrapping_add((arrays.len() as u64) << 32);
        let bits = (0..shape.iter().product::<usize>() as u64).map(|index| random(start + index));
        let array = if is_label {
            Array::new(shape, bits.map(|bits| (bits % labels) as i32).collect::<Vec<_>>())
        } else {
            let value = |bits| scale * (bits as f64 / u64::MAX as f64 * 2.0 - 1.0);
            Array::new(shape, bits.map(|bits| value(bits) as f32).collect::<Vec<_>>())
        };
        arrays.insert(name.clone(), array);
    }
    arrays
}

/// SplitMix64: numbers that look random.
pub fn random(index: u64) -> u64 {
    let mut z = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The same cases in every run; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` ask for others.
pub fn config(cases: u32) -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config.max_global_rejects = config.max_global_rejects.max(config.cases);
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}
