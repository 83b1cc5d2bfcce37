//! What `fgic build` writes runs elsewhere as it runs here.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fgi::{Array, Device, Session, artifact};
use fgi_compiler::emit::artifact::{Artifact, BuildOptions};
use fgi_compiler::emit::manifest::Target;
use fgi_compiler::kernel::Pass;
use fgi_compiler::optimizer::{LEARNING_RATE, Optimizer, STEP};
use fgi_compiler::{Compiled, Options};
use fgi_tests::{compiled, digits, graphs, options, workspace};

fn smnist() -> Compiled {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist.fgi")).unwrap();
    let options = options(None, &[("T", 8), ("K", 8), ("N", 32)]);
    compiled(&text, &Options { optimizer: Some(Optimizer::ADAM), ..options })
}

fn built(compiled: &Compiled) -> Artifact {
    let (optimizer, targets) = (Some(Optimizer::ADAM), [Target::Spirv].into());
    let options = BuildOptions { optimizer, targets, ..BuildOptions::default() };
    Artifact::build(compiled, &options).unwrap()
}

/// The losses of ten training steps.
fn losses(session: &mut Session) -> Vec<f32> {
    let batches = digits(session.program(), 32).into_iter().take(10);
    let step = |(number, batch): (usize, Vec<(String, Array)>)| {
        let rate = Array::new([], vec![0.002f32]);
        let number = Array::new([], vec![number as f32 + 1.0]);
        let batch = batch.iter().map(|(name, array)| (name.as_str(), array));
        session.set_inputs(batch.chain([(LEARNING_RATE, &rate), (STEP, &number)])).unwrap();
        for pass in [Pass::Forward, Pass::Backward, Pass::Update] {
            session.run(pass).unwrap();
        }
        session.output("loss").unwrap().scalar().unwrap()
    };
    batches.enumerate().map(step).collect()
}

#[test]
fn an_artifact_trains_as_the_program_in_memory() {
    let compiled = smnist();
    let program = Arc::new(compiled.program.clone());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("smnist");
    let mut written = built(&compiled);
    artifact::add_seed(&mut written, &program, 0).unwrap();
    artifact::write(&written, &path).unwrap();
    let read = artifact::read(&path).unwrap();
    assert_eq!(read, written);
    let from_disk = losses(&mut Session::open(&read, &Device::gpu()).unwrap());
    let in_memory = losses(&mut Session::new(program.clone(), &Device::gpu()).unwrap());
    assert_eq!(from_disk, in_memory);
    // SAFETY: it was translated here.
    let as_spirv = unsafe { Session::open_spirv(&read, &Device::gpu()) };
    assert_eq!(losses(&mut as_spirv.unwrap()), from_disk);
    let on_cpu = losses(&mut Session::new(program, &Device::cpu()).unwrap());
    for (gpu, cpu) in from_disk.iter().zip(&on_cpu) {
        assert!((gpu - cpu).abs() < 1e-4, "{from_disk:?}\n{on_cpu:?}");
    }
    assert!(on_cpu[9] < on_cpu[0], "{on_cpu:?}");
}

#[test]
fn the_cpu_runs_no_shaders() {
    let error = Session::open(&built(&smnist()), &Device::cpu()).err().unwrap();
    assert!(error.to_string().contains("use a GPU"), "{error}");
}

#[test]
fn an_artifact_replaces_an_older_one_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a");
    let artifact = built(&smnist());
    artifact::write(&artifact, &path).unwrap();
    std::fs::write(path.join("kernel_old.wgsl"), "").unwrap();
    artifact::write(&artifact, &path).unwrap();
    assert!(!path.join("kernel_old.wgsl").exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let other = directory.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "mine").unwrap();
    let error = artifact::write(&artifact, &other).unwrap_err().to_string();
    assert!(error.ends_with("is there and is no artifact: it is not replaced"), "{error}");
    assert_eq!(std::fs::read(other.join("notes.txt")).unwrap(), b"mine");
}

/// Every shader of the examples and goldens, as the tools of each language see it.
#[test]
fn translations_pass_the_validators() {
    let directory = tempfile::tempdir().unwrap();
    let mut count = 0;
    for compiled in graphs() {
        let targets = Target::ALL.into();
        let options = BuildOptions { targets, ..BuildOptions::default() };
        let artifact = Artifact::build(&compiled, &options).unwrap();
        for kernel in &artifact.manifest().kernels {
            for (target, translation) in &kernel.targets {
                let path = directory.path().join(&translation.file);
                std::fs::write(&path, artifact.file(&translation.file).unwrap()).unwrap();
                validate(*target, &translation.entry, &path);
                count += 1;
            }
        }
    }
    assert!(count > 400, "only {count} translations");
}

fn validate(target: Target, entry: &str, path: &Path) {
    let (tool, arguments): (&str, &[&str]) = match target {
        Target::Spirv => ("spirv-val", &["--target-env", "vulkan1.1"]),
        Target::Glsl => ("glslangValidator", &["-S", "comp"]),
        Target::Hlsl => ("glslangValidator", &["-D", "-V", "-S", "comp", "-e", entry]),
        // Apple's compiler is the only one.
        Target::Msl => {
            let text = std::fs::read_to_string(path).unwrap();
            return assert!(text.contains(&format!("kernel void {entry}(")), "{text}");
        }
    };
    let output = Command::new(tool)
        .args(arguments)
        .arg(path)
        .current_dir(path.parent().unwrap())
        .output()
        .unwrap_or_else(|error| panic!("{tool}: {error}; tests/run.sh installs it"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    assert!(output.status.success(), "{tool} {arguments:?}: {printed}\n{text}");
}
