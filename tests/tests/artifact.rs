//! What `fgic build` writes runs elsewhere as it runs here.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fgi::{Array, Data, Device, Session, artifact};
use fgi_compiler::artifact::manifest::Target;
use fgi_compiler::artifact::{Artifact, BuildOptions};
use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::middle::optimizer::{LEARNING_RATE, Optimizer, STEP};
use fgi_compiler::{Compiled, Gradients, Options};
use fgi_tests::{compiled, digits, graphs, options, values, workspace};

fn smnist() -> Compiled {
    smnist_with(Optimizer::ADAM)
}

fn smnist_with(optimizer: Optimizer) -> Compiled {
    let text = std::fs::read_to_string(workspace().join("dsl-examples/smnist/smnist.fgi")).unwrap();
    let options = options(None, &[("T", 8), ("K", 8), ("N", 32)]);
    compiled(&text, &Options { optimizer: Some(optimizer), ..options })
}

fn built(compiled: &Compiled) -> Artifact {
    built_with(compiled, Optimizer::ADAM)
}

fn built_with(compiled: &Compiled, optimizer: Optimizer) -> Artifact {
    let (optimizer, targets) = (Some(optimizer), [Target::Spirv].into());
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
        let counts = session.program().inputs.iter().any(|input| input.name == STEP);
        let number = counts.then_some((STEP, &number));
        session.set_inputs(batch.chain([(LEARNING_RATE, &rate)]).chain(number)).unwrap();
        for pass in Pass::ALL {
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

/// An optimiser without memory, and one that does not count steps, are in the manifest as they are.
#[test]
fn every_optimiser_trains_from_an_artifact() {
    let (beta1, beta2, eps, weight_decay) = (0.9, 0.999, 1e-8, 0.01);
    let names = [
        (Optimizer::Sgd { momentum: 0.0, weight_decay }, "sgd", 0, false),
        (Optimizer::Sgd { momentum: 0.9, weight_decay }, "momentum", 1, false),
        (Optimizer::AdamW { beta1, beta2, eps, weight_decay }, "adamw", 2, true),
        (Optimizer::AmsGrad { beta1, beta2, eps, weight_decay }, "amsgrad", 3, true),
    ];
    for (optimizer, name, memories, counts) in names {
        let compiled = smnist_with(optimizer);
        let artifact = built_with(&compiled, optimizer);
        let manifest = artifact.manifest();
        let entry = manifest.optimizer.as_ref().unwrap();
        assert_eq!((entry.name.as_str(), entry.step.is_some()), (name, counts));
        let (state, params): (Vec<_>, Vec<_>) =
            manifest.params.iter().partition(|param| param.optimizer_state);
        assert_eq!(state.len(), memories * params.len(), "{name}");
        let from_artifact = losses(&mut Session::open(&artifact, &Device::gpu()).unwrap());
        let program = Arc::new(compiled.program.clone());
        let in_memory = losses(&mut Session::new(program, &Device::gpu()).unwrap());
        assert_eq!(from_artifact, in_memory, "{name}");
    }
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

/// A program in C that links the object gets the bits that the JIT gets, in training steps of several sizes.
#[test]
fn a_program_in_c_trains_as_the_jit_does() {
    let folder = workspace().join("tests/object");
    let text = std::fs::read_to_string(folder.join("net.fgi")).unwrap();
    let wrt = ["double", "h.w_in", "h.w_rec", "h.tau", "readout_1.w", "readout_1.b", "pixels"];
    let gradients = Gradients { output: "loss".into(), wrt: Some(wrt.map(str::to_owned).to_vec()) };
    let compiled = compiled(
        &text,
        &Options {
            gradients: Some(gradients),
            optimizer: Some(Optimizer::ADAM),
            clip: Some(1.0),
            ..Options::default()
        },
    );
    let program = Arc::new(compiled.program.clone());
    let mut artifact = built(&compiled);
    artifact::add_seed(&mut artifact, &program, 3).unwrap();
    artifact::add_object(&mut artifact, &program).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join("net").join(name);
    artifact::write(&artifact, &path("")).unwrap();
    assert_eq!(artifact::read(&path("")).unwrap(), artifact);

    let mut session = Session::new(program.clone(), &Device::cpu_in_order()).unwrap();
    session.initialise(3).unwrap();
    let (mut batches, mut expected) = (Vec::new(), Vec::new());
    for (number, (batch, steps)) in [(5, 12), (9, 7), (1, 1), (4, 70)].into_iter().enumerate() {
        let sizes = [("B", batch), ("T", steps)].map(|(name, size)| (name.into(), size)).into();
        let inputs = values(&program, &sizes, number as u64, 1.0, 10);
        batches.extend([batch, steps].iter().flat_map(|size: &i64| size.to_le_bytes()));
        batches.extend(bytes(&inputs["pixels"]));
        batches.extend(bytes(&inputs["label"]));
        let rate = Array::new([], vec![0.01f32]);
        let step = Array::new([], vec![number as f32 + 1.0]);
        let given = ["pixels", "label"].map(|name| (name, &inputs[name]));
        let given = given.into_iter().chain([(LEARNING_RATE, &rate), (STEP, &step)]);
        session.set_inputs(given).unwrap();
        session.run(Pass::Forward).unwrap();
        session.run(Pass::Backward).unwrap();
        session.run(Pass::Update).unwrap();
        for name in ["loss", "logits", "class"] {
            expected.extend(bytes(&session.output(name).unwrap()));
        }
        for path in wrt {
            expected.extend(bytes(&session.gradient(path).unwrap()));
        }
    }
    for optimizer_state in [false, true] {
        for param in
            program.params.iter().filter(|param| param.is_optimizer_state() == optimizer_state)
        {
            expected.extend(bytes(&session.param(&param.path).unwrap()));
        }
    }

    std::fs::write(path("batches"), batches).unwrap();
    let flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"];
    cc(Command::new(compiler()).args(flags).arg(path("")).arg(folder.join("main.c")).args([
        path("net.o").as_os_str(),
        "-lm".as_ref(),
        "-o".as_ref(),
        path("main").as_os_str(),
    ]));
    cc(Command::new(path("main")).args([path("batches"), path("results")]));
    let found = std::fs::read(path("results")).unwrap();
    let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!((differs, found.len()), (None, expected.len()));
}

/// A program in C runs a sequence step by step, its memories carried, with the bits of the whole.
#[test]
fn a_program_in_c_runs_step_by_step() {
    let folder = workspace().join("tests/object");
    let text = std::fs::read_to_string(folder.join("steps.fgi")).unwrap();
    let carried = compiled(&text, &Options { carry: true, ..Options::default() });
    let mut artifact = built(&carried);
    artifact::add_seed(&mut artifact, &carried.program, 0).unwrap();
    artifact::add_object(&mut artifact, &carried.program).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join("steps").join(name);
    artifact::write(&artifact, &path("")).unwrap();
    let flags = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"];
    cc(Command::new(compiler()).args(flags).arg(path("")).arg(folder.join("steps.c")).args([
        path("steps.o").as_os_str(),
        "-lm".as_ref(),
        "-o".as_ref(),
        path("main").as_os_str(),
    ]));
    cc(Command::new(path("main")).arg(path("results")));
    let whole = compiled(&text, &Options::default());
    let mut session = Session::new(whole.program, &Device::cpu_in_order()).unwrap();
    let x: Vec<f32> = (0..36).map(|at| (at * 7 % 11) as f32 / 4.0 - 1.0).collect();
    session.set_inputs([("x", &Array::new([6, 2, 3], x))]).unwrap();
    session.run(Pass::Forward).unwrap();
    let y = bytes(&session.output("y").unwrap());
    let steps = y.chunks(32).zip(-1i32..);
    let expected = steps.flat_map(|(y, runs)| [y, &runs.to_le_bytes()].concat());
    assert_eq!(std::fs::read(path("results")).unwrap(), expected.collect::<Vec<u8>>());
}

/// Whatever the program, the header is C; and the same program gives the same bytes.
#[test]
fn every_header_is_c() {
    let directory = tempfile::tempdir().unwrap();
    let mut check = Command::new(compiler());
    check.args([
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-fsyntax-only",
        "-x",
        "c",
    ]);
    for (number, compiled) in graphs().iter().enumerate() {
        let mut artifact = Artifact::build(compiled, &BuildOptions::default()).unwrap();
        artifact::add_object(&mut artifact, &compiled.program).unwrap();
        let mut again = Artifact::build(compiled, &BuildOptions::default()).unwrap();
        artifact::add_object(&mut again, &compiled.program).unwrap();
        assert_eq!(artifact, again);
        let object = artifact.manifest().object.clone().unwrap();
        let path = directory.path().join(format!("{number}.h"));
        std::fs::write(&path, artifact.file(&object.header).unwrap()).unwrap();
        check.arg(path);
    }
    cc(&mut check);
}

fn bytes(array: &Array) -> Vec<u8> {
    match &array.data {
        Data::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Data::I32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        other => panic!("{other:?}"),
    }
}

/// The C compiler; Rust links with one.
fn compiler() -> std::ffi::OsString {
    std::env::var_os("CC").unwrap_or_else(|| "cc".into())
}

fn cc(command: &mut Command) {
    let name = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!("{}: {error}; install a C compiler, or name one in CC", name.display())
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
