//! The examples: a few steps of training with the losses that they had, on both devices; gradients against finite
//! differences; and what their READMEs say.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use fgi::data::{Dataset, Samples};
use fgi::npz::Arrays;
use fgi::{Array, Device, Schedule, Step, TrainOptions, Trainer};
use fgi_compiler::front::check::{self, check};
use fgi_compiler::ir::graph::{Bindings, Elem, Input};
use fgi_compiler::ir::kernel::Program;
use fgi_compiler::middle::optimizer::Optimizer;
use fgi_compiler::source::NoFiles;
use fgi_compiler::{Gradients, Options};
use fgi_tests::program::Case;
use fgi_tests::{Engine, compiled, entries, random, run, workspace};

/// Values of dimensions by name.
type Dims = &'static [(&'static str, i64)];

/// A graph of an example, so small that its gradients can be checked.
struct Example {
    folder: &'static str,
    graph: &'static str,
    dims: Dims,
    /// The program and graph that make the data, with dimensions; random data if there is none.
    data: Option<(&'static str, &'static str, Dims)>,
}

const fn example(folder: &'static str, graph: &'static str, dims: Dims) -> Example {
    Example { folder, graph, dims, data: None }
}

const EXAMPLES: &[Example] = &[
    example("autoencoder", "autoencoder", &[("T", 4), ("K", 12), ("N", 6), ("M", 5)]),
    example("brf", "brf", &[("T", 6), ("K", 5), ("N", 6)]),
    example("conv", "conv_snn", &[("T", 3), ("S", 8), ("C", 2)]),
    example("delays", "delays", &[("T", 6), ("K", 4), ("N", 5), ("D", 3)]),
    example("events", "saccades", &[("T", 6), ("H", 6), ("S", 8), ("C", 2)]),
    example("events", "frames", &[("T", 3), ("S", 8), ("C", 2)]),
    example("experts", "mixture", &[("K", 8), ("N", 4), ("E", 3)]),
    example("gru", "rows", &[("T", 5), ("K", 4), ("N", 5)]),
    example("lif", "feed_forward", &[("T", 5), ("K", 8), ("N", 6)]),
    example("mlp", "mlp", &[("K", 8), ("N", 6)]),
    example("ottt", "ottt", &[("T", 5), ("K", 4), ("N", 5)]),
    Example {
        data: Some(("pole/pole.fgi", "starts", &[("S", 8)])),
        ..example("pole", "balance", &[("T", 8), ("N", 5)])
    },
    example("psmnist", "permuted", &[("T", 4), ("K", 16), ("N", 6)]),
    example("psn", "parallel", &[("T", 5), ("K", 4), ("N", 6)]),
    example("psn", "sliding", &[("T", 9), ("K", 4), ("N", 6)]),
    Example {
        data: Some(("shd/data.fgi", "cochlea", &[("S", 8), ("T", 4), ("K", 5)])),
        ..example("shd", "shd", &[("T", 4), ("K", 5), ("N", 4), ("D", 1)])
    },
    example("smnist", "smnist", &[("T", 4), ("K", 4), ("N", 6)]),
    example(
        "spikformer",
        "spikformer",
        &[("T", 2), ("S", 4), ("P", 2), ("N", 4), ("H", 2), ("D", 1)],
    ),
    example("ternary", "ternary_snn", &[("T", 4), ("K", 8), ("N", 6)]),
    example("vqvae", "vqvae", &[("K", 8), ("N", 6), ("L", 2), ("D", 2), ("M", 3)]),
    example("widths", "learned", &[("T", 5), ("K", 4), ("N", 5)]),
];

fn read(file: &str) -> String {
    std::fs::read_to_string(workspace().join("dsl-examples").join(file)).unwrap()
}

fn map(dims: &[(&str, i64)]) -> BTreeMap<String, i64> {
    dims.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
}

impl Example {
    fn text(&self) -> String {
        read(&format!("{0}/{0}.fgi", self.folder))
    }

    fn name(&self) -> String {
        format!("{}::{}", self.folder, self.graph)
    }

    fn case(&self) -> Case {
        let sizes = [("B".to_owned(), 2), ("T".to_owned(), 4)].into();
        let (graph, dims) = (Some(self.graph.into()), map(self.dims));
        Case { name: self.name(), text: self.text(), graph, dims, sizes, labels: 10 }
    }

    fn trainer(&self, device: &Device) -> Trainer {
        let options = Options {
            graph: Some(self.graph.into()),
            dims: map(self.dims),
            gradients: Some(Gradients { output: "loss".into(), wrt: None }),
            optimizer: Some(Optimizer::ADAM),
            ..Options::default()
        };
        let program = compiled(&self.text(), &options).program;
        let samples = Samples::new(self.samples(&program)).unwrap();
        let data = Dataset { train: samples.clone(), test: samples };
        let train = TrainOptions {
            epochs: 6,
            batch: 8,
            learning_rate: 0.01,
            schedule: Schedule::Constant,
            warmup: 0,
            seed: 1,
            optimizer: "adam".into(),
            binds: Vec::new(),
        };
        Trainer::new(Arc::new(program), device, data, train).unwrap()
    }

    /// Eight samples for every input.
    fn samples(&self, program: &Program) -> Arrays {
        if let Some((file, graph, dims)) = self.data {
            let options =
                Options { graph: Some(graph.into()), dims: map(dims), ..Options::default() };
            return run(Engine::Cpu, &compiled(&read(file), &options), &Arrays::new()).unwrap();
        }
        let inputs = program.inputs.iter().filter(|input| !input.ty.dims.is_empty());
        let array = |(place, input): (usize, &Input)| {
            let sizes = Bindings::from([("B".into(), 8), ("T".into(), 4)]);
            let time = program.time.iter().filter(|_| input.ty.is_stream());
            let (batch, rest) = input.ty.dims.split_first().unwrap();
            let dims = [batch].into_iter().chain(time).chain(rest);
            let shape: Vec<_> = dims.map(|dim| dim.eval(&sizes).unwrap() as usize).collect();
            let count = shape.iter().product::<usize>() as u64;
            let bits = (0..count).map(|at| random(at + ((place as u64) << 32)));
            let array = match input.ty.elem {
                Elem::I32 => Array::new(shape, bits.map(|b| (b % 10) as i32).collect::<Vec<_>>()),
                _ => {
                    let unit = |bits: u64| (bits as f64 / u64::MAX as f64) as f32;
                    Array::new(shape, bits.map(unit).collect::<Vec<_>>())
                }
            };
            (input.name.clone(), array)
        };
        inputs.enumerate().map(array).collect()
    }
}

/// The losses of the steps of training.
fn losses(mut trainer: Trainer) -> Vec<f32> {
    let mut losses = Vec::new();
    loop {
        match trainer.step().unwrap() {
            Step::Batch(report) => losses.push(report.loss),
            Step::Epoch(_) => {}
            Step::Done => return losses,
        }
    }
}

#[test]
fn examples_learn_as_they_did_on_both_devices() {
    let mut found = String::new();
    for example in EXAMPLES {
        let name = example.name();
        let cpu = losses(example.trainer(&Device::cpu()));
        let gpu = losses(example.trainer(&fgi_tests::gpu()));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * a.abs().max(1.0);
        assert!(cpu.iter().zip(&gpu).all(close), "{name}: {cpu:?} {gpu:?}");
        assert!(cpu[5] < cpu[0], "{name}: {cpu:?}");
        let numbers: Vec<_> = cpu.iter().map(|loss| format!("{loss:.3e}")).collect();
        writeln!(found, "{name:24} {}", numbers.join(" ")).unwrap();
    }
    insta::with_settings!(
        { snapshot_path => "../snapshots", prepend_module_to_snapshot => false },
        { insta::assert_snapshot!("examples", found) }
    );
}

#[test]
fn gradients_of_examples_are_their_differences() {
    let faults =
        EXAMPLES.iter().flat_map(|example| example.case().faults_in_training(&[Engine::Cpu]));
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

/// Every folder is in the table, and has a README whose commands name its programs, their graphs and dimensions.
#[test]
fn readmes_have_commands_for_the_programs() {
    for folder in entries("dsl-examples") {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(name == "fgi" || EXAMPLES.iter().any(|example| example.folder == name), "{name}");
        let page = read(&format!("{name}/README.md"));
        let commands: Vec<_> =
            page.lines().filter_map(|line| line.strip_prefix("    fgic ")).collect();
        assert!(
            page.starts_with("# ") && page.contains("Expected: ") && !commands.is_empty(),
            "{name}"
        );
        for command in commands {
            let words: Vec<_> = command.split_whitespace().collect();
            let file = words.iter().find(|word| word.contains(".fgi")).unwrap();
            let file = file.strip_prefix(&format!("dsl-examples/{name}/")).unwrap();
            let (file, graph) = file.split_once("::").unwrap_or((file, ""));
            let after = |option: &str| {
                let pairs = words.windows(2).filter(|pair| pair[0] == option);
                pairs.map(|pair| pair[1].to_owned()).collect::<Vec<_>>()
            };
            let dims = after("-D").into_iter().map(|dim| {
                let (name, size) = dim.split_once('=').unwrap();
                (name.to_owned(), size.parse().unwrap())
            });
            let graph = after("--graph").pop().or((!graph.is_empty()).then(|| graph.into()));
            let options = check::Options { graph, dims: dims.collect(), ..Default::default() };
            let checked = check(file, &read(&format!("{name}/{file}")), &NoFiles, &options);
            assert_eq!(checked.diagnostics, [], "{name}: {command}");
        }
    }
}
