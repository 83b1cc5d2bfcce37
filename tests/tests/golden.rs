//! Programs whose values and gradients PyTorch has computed, on every engine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fgi::npz;
use fgi_compiler::{Gradients, Options};
use fgi_tests::{Engine, closeness, compiled, run, workspace};

/// A folder of `tests/golden`, described in its README.
struct Case {
    program: String,
    dims: BTreeMap<String, i64>,
    wrt: Vec<String>,
    rtol: f64,
    atol: f64,
    folder: PathBuf,
}

impl Case {
    fn read(folder: &Path) -> Case {
        let text = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        let case: serde_json::Value = serde_json::from_str(&text("case.json")).unwrap();
        let dims = case["dims"].as_object().unwrap().iter();
        let wrt = case["wrt"].as_array().unwrap().iter();
        Case {
            program: text("program.fgi"),
            dims: dims.map(|(name, size)| (name.clone(), size.as_i64().unwrap())).collect(),
            wrt: wrt.map(|path| path.as_str().unwrap().to_owned()).collect(),
            rtol: case["rtol"].as_f64().unwrap(),
            atol: case["atol"].as_f64().unwrap(),
            folder: folder.to_owned(),
        }
    }

    /// What is wrong on an engine.
    fn faults(&self, engine: Engine) -> Vec<String> {
        let name = self.folder.file_name().unwrap().display();
        let inputs = npz::read(&self.folder.join("inputs.npz")).unwrap();
        let expected = npz::read(&self.folder.join("expected.npz")).unwrap();
        let gradients = Gradients { output: "loss".into(), wrt: Some(self.wrt.clone()) };
        let (dims, gradients) = (self.dims.clone(), Some(gradients));
        let program = compiled(&self.program, &Options { dims, gradients, ..Options::default() });
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

/// The cases in the source, and all of them where the folder `../shared/golden` or `FGI_GOLDEN` is there.
fn cases() -> Vec<Case> {
    let more = std::env::var_os("FGI_GOLDEN").map(PathBuf::from);
    let more = more.unwrap_or_else(|| workspace().join("../shared/golden"));
    let folders = [workspace().join("tests/golden"), more];
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let folders = entries.map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| folder.join("case.json").exists())
        .map(|folder| Case::read(&folder))
        .collect()
}

#[track_caller]
fn all_agree(engine: Engine) {
    let cases = cases();
    assert!(cases.len() >= 6, "only {} cases were found", cases.len());
    let faults: Vec<_> = cases.iter().flat_map(|case| case.faults(engine)).collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_reference_agrees_with_pytorch() {
    all_agree(Engine::Reference);
}

#[test]
fn the_cpu_agrees_with_pytorch() {
    all_agree(Engine::Cpu);
}

#[test]
fn the_gpu_agrees_with_pytorch() {
    all_agree(Engine::Gpu);
}
