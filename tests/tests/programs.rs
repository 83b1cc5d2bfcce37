//! The programs of `tests/programs`, written as users write them: outputs and all gradients on every engine, and the
//! gradients against finite differences.

use fgi_tests::program::Case;
use fgi_tests::{Engine, workspace};

#[test]
fn programs_mean_the_same_everywhere() {
    let entries = std::fs::read_dir(workspace().join("tests/programs")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 12, "only {paths:?}");
    let cases = paths.iter().map(|path| Case::read(path));
    let faults: Vec<_> = cases.flat_map(|case| case.faults(&[Engine::Cpu, Engine::Gpu])).collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}
