//! Programs whose right values and gradients are known, by PyTorch, JAX or by hand, on every engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fgi::npz;
use fgi_compiler::front::check::{bind_dims, heads};
use fgi_compiler::source::NoFiles;
use fgi_compiler::{Gradients, Options};
use fgi_tests::{Engine, closeness, compiled, run, workspace};
use serde_json::Value;

/// A folder of `tests/golden` or `tests/cases`, described in its README.
struct Case {
    program: String,
    options: Options,
    rtol: f64,
    atol: f64,
    folder: PathBuf,
}

impl Case {
    fn read(folder: &Path) -> Case {
        let text = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        let case: Value = serde_json::from_str(&text("case.json")).unwrap();
        let mut options = Options::default();
        if let Some(dims) = case["dims"].as_object() {
            let dims = dims.iter().map(|(name, size)| (name.clone(), size.as_i64().unwrap()));
            options.dims = dims.collect();
            let wrt = Some(texts(&case["wrt"]));
            options.gradients = Some(Gradients { output: "loss".into(), wrt });
        }
        let mut args = case["args"].as_array().map(|_| texts(&case["args"])).unwrap_or_default();
        for pair in args.chunks_exact_mut(2) {
            let value = std::mem::take(&mut pair[1]);
            match (pair[0].as_str(), &mut options.gradients) {
                ("--graph", _) => options.graph = Some(value),
                ("--grad", gradients) => *gradients = Some(Gradients { output: value, wrt: None }),
                ("--wrt", Some(gradients)) => {
                    gradients.wrt = Some(value.split(',').map(str::to_owned).collect());
                }
                (other, _) => panic!("{}: what is {other}?", folder.display()),
            }
        }
        let number = |name: &str| case[name].as_f64();
        Case {
            program: text("program.fgi"),
            options,
            rtol: number("rtol").unwrap(),
            atol: number("atol").unwrap_or(0.0),
            folder: folder.to_owned(),
        }
    }

    /// With all sizes compiled in, and with those of the batch and of time open where the case allows it.
    fn sizes(&self) -> (Options, Options) {
        let mut options = self.options.clone();
        let shapes = npz::read(&self.folder.join("inputs.npz")).unwrap().into_iter();
        let shape = |shape: &[usize]| shape.iter().map(|size| *size as i64).collect::<Vec<_>>();
        let shapes: BTreeMap<_, _> =
            shapes.map(|(name, array)| (name, shape(&array.shape))).collect();
        let graphs = heads("program.fgi", &self.program, &NoFiles).graphs;
        let chosen = |name: &str| options.graph.as_deref().is_none_or(|graph| graph == name);
        let graph = graphs.iter().find(|graph| chosen(&graph.name)).unwrap();
        bind_dims(graph, &shapes, &mut options.dims).unwrap();
        let mut open = options.clone();
        let is_given = |name: &str| self.options.dims.contains_key(name);
        open.dims.retain(|name, _| is_given(name) || !["B", "T"].contains(&name.as_str()));
        (options, open)
    }

    /// What is wrong on an engine.
    fn faults(&self, engine: Engine, options: &Options) -> Vec<String> {
        let name = self.folder.file_name().unwrap().display();
        let inputs = npz::read(&self.folder.join("inputs.npz")).unwrap();
        let expected = npz::read(&self.folder.join("expected.npz")).unwrap();
        let program = compiled(&self.program, options);
        let found = run(engine, &program, &inputs);
        let found = match found {
            Ok(found) => found,
            Err(error) => return vec![format!("{name}: {error}")],
        };
        let faults = expected.iter().filter_map(|(array, expected)| {
            let Some(found) = found.get(array) else { return Some(format!("{array} is missing")) };
            closeness(found, expected, self.rtol, self.atol)
                .err()
                .map(|why| format!("{array}: {why}"))
        });
        faults.map(|fault| format!("{name}: {fault}")).collect()
    }
}

fn texts(array: &Value) -> Vec<String> {
    let texts = array.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// The cases in the source, and those where the folders `../shared/golden` and `../shared/cases`, or
/// `FGI_GOLDEN`, are there.
fn cases() -> Vec<Case> {
    let (source, shared) = (workspace().join("tests"), workspace().join("../shared"));
    let more = std::env::var_os("FGI_GOLDEN").map(PathBuf::from);
    let folders =
        ["golden", "cases"].into_iter().flat_map(|name| [source.join(name), shared.join(name)]);
    let entries = folders.chain(more).filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let folders = entries.map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| folder.join("case.json").exists())
        .map(|folder| Case::read(&folder))
        .collect()
}

#[track_caller]
fn all_agree(engine: Engine) {
    let cases = cases();
    assert!(cases.len() >= 17, "only {} cases were found", cases.len());
    let faults = cases.iter().flat_map(|case| {
        let (sized, open) = case.sizes();
        [case.faults(engine, &sized), case.faults(engine, &open)].into_iter().flatten()
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_reference_agrees() {
    all_agree(Engine::Reference);
}

#[test]
fn the_cpu_agrees() {
    all_agree(Engine::Cpu);
}

#[test]
fn the_cpu_in_order_agrees() {
    all_agree(Engine::CpuInOrder);
}

#[test]
fn the_gpu_agrees() {
    all_agree(Engine::Gpu);
}
