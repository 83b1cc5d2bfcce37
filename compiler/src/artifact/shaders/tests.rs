//! Artifacts are the same each time, read back, and are refused when they are damaged.

use serde_json::{Value, json};

use super::*;
use crate::source::NoFiles;
use crate::target::gpu::emit_with_sources;
use crate::{Gradients, Options, compile};

const NET: &str = "/// Spikes.
layer lif[N](x: [B, K]) {
    param w:     [K, N] = kaiming_uniform();
    param w_rec: [N, N] = orthogonal();
    param tau:   [N]    = normal(20, 5) in [1, inf];
    let u = exp(-1 / tau) * prev(u) + x @ w + prev(z) @ w_rec;
    let z = bypass(step(u - 1), sigmoid(4 * (u - 1)));
    z
}
graph net[K = 3](/// What is seen.
    x: [T; B, K], target: [B, 10]) -> (loss) {
    let h    = lif[10](x);
    let loss = mean((time_mean(h) - target)^2);
}";

fn built() -> Artifact {
    let optimizer = Some(Optimizer::ADAM);
    let gradients = Some(Gradients { output: "loss".into(), wrt: None });
    let options = Options { gradients, optimizer, ..Options::default() };
    let compiled = compile("net.fgi", NET, &NoFiles, &options, &mut |_| {}).ok().unwrap();
    let targets = Target::ALL.into();
    Artifact::build(&compiled, &BuildOptions { targets, optimizer, ..BuildOptions::default() })
        .unwrap()
}

type Files = BTreeMap<String, Vec<u8>>;

fn read(files: &Files) -> Result<Artifact, ReadError> {
    Artifact::read(&mut |name| files.get(name).cloned().ok_or(io::ErrorKind::NotFound.into()))
}

#[test]
fn the_same_program_gives_the_same_bytes() {
    assert_eq!(built().files().unwrap(), built().files().unwrap());
}

#[test]
fn what_is_written_reads_back() {
    let artifact = built();
    assert_eq!(read(&artifact.files().unwrap()).unwrap(), artifact);
    let optimizer = Some(Optimizer::ADAM);
    let gradients = Some(Gradients { output: "loss".into(), wrt: None });
    let options = Options { gradients, optimizer, ..Options::default() };
    let compiled = compile("net.fgi", NET, &NoFiles, &options, &mut |_| {}).ok().unwrap();
    let mut shaders =
        emit_with_sources(&compiled.program, &Limits::default(), &compiled.sources).unwrap();
    shaders.shaders.iter_mut().for_each(|shader| shader.lines.clear());
    assert_eq!(artifact.shaders(), shaders);
    let (found, program) = (artifact.program(), compiled.program.into_inner());
    assert_eq!(found.inputs, program.inputs);
    assert_eq!(found.params, program.params);
    assert_eq!(found.buffers, program.buffers);
    let results = program.results.into_iter().filter(|(role, ..)| *role != Role::Update);
    assert_eq!(found.results, results.collect::<Vec<_>>());
}

#[test]
fn a_manifest() {
    let json = built().manifest().to_json().unwrap();
    let mut value: Value = serde_json::from_str(&json).unwrap();
    // Their hashes change with every shader.
    value["files"] = json!(value["files"].as_object().unwrap().keys().collect::<Vec<_>>());
    value["sources"] = json!(value["sources"].as_object().unwrap().keys().collect::<Vec<_>>());
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap());
}

/// The lines of the shaders say where they were written.
#[test]
fn lines_lead_to_the_source() {
    let artifact = built();
    let kernels = &artifact.manifest().kernels;
    let spike = kernels.iter().find(|kernel| kernel.name.ends_with("_forward")).unwrap();
    let text = String::from_utf8(artifact.file(&spike.file).unwrap().to_vec()).unwrap();
    let written = |part: &str| {
        let line = text.lines().position(|line| line.contains(part)).unwrap() as u32 + 1;
        spike.lines.range(..=line).next_back().unwrap().1.clone()
    };
    assert_eq!(written("let new_h_u ="), "net.fgi:6", "{text}");
    assert_eq!(written("new_h_u - 1.0"), "net.fgi:7", "{text}");
    assert_eq!(written("let new_h_z ="), "std/prelude.fgi:13", "{text}");
}

/// Replaces a value of the manifest, which is then as it should not be.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let mut files = built().files().unwrap();
    let mut manifest: Value = serde_json::from_slice(&files[MANIFEST]).unwrap();
    change(&mut manifest);
    files.insert(MANIFEST.into(), serde_json::to_vec(&manifest).unwrap());
    read(&files).unwrap_err().to_string()
}

#[test]
fn what_is_not_understood_is_refused() {
    assert_eq!(
        refused(|manifest| manifest["version"] = json!(2)),
        "the artifact has version 2 of the format, and this reader knows 1 only"
    );
    assert_eq!(
        refused(|manifest| manifest["format"] = json!("other")),
        "`manifest.json` is not an fgi artifact's: it has no `\"format\": \"fgi-artifact\"`"
    );
    let message = refused(|manifest| manifest["colour"] = json!("red"));
    assert!(
        message.starts_with("`manifest.json` does not follow the format: unknown field `colour`")
    );
    let message = refused(|manifest| manifest["time"] = json!("T +"));
    assert!(message.starts_with("`manifest.json` does not follow the format"), "{message}");
    let message = refused(|manifest| manifest["time"] = json!("S"));
    assert_eq!(message, "the manifest is wrong: `S` is no open dimension");
}

#[test]
fn files_that_are_damaged_are_refused() {
    let files = built().files().unwrap();
    let name = files.keys().find(|name| name.ends_with(".wgsl")).unwrap().clone();
    let message = |change: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        change(&mut files);
        read(&files).unwrap_err().to_string()
    };
    assert_eq!(
        message(&|files| assert!(files.remove(&name).is_some())),
        format!("`{name}` cannot be read: entity not found")
    );
    let text = message(&|files| files.get_mut(&name).unwrap().truncate(9));
    assert!(text.ends_with("it is not complete"), "{text}");
    assert_eq!(
        message(&|files| files.get_mut(&name).unwrap()[0] ^= 1),
        format!("`{name}` is not the file that the manifest describes: its SHA-256 differs")
    );
    assert_eq!(
        message(&|files| assert!(files.remove(MANIFEST).is_some())),
        "`manifest.json` cannot be read: entity not found"
    );
    let text = message(&|files| files.get_mut(MANIFEST).unwrap().truncate(100));
    assert!(text.starts_with("`manifest.json` is no JSON"), "{text}");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let message = refused(|manifest| manifest["memory"][0]["size"] = json!("2147483648"));
    assert!(message.ends_with("is more than 2^31 - 1 elements: 2147483648"), "{message}");
    let message = refused(|manifest| manifest["memory"][0]["size"] = json!("99999999999*B"));
    assert!(message.contains("is more than 2^31 - 1 elements"), "{message}");
    let message = refused(|manifest| manifest["memory"][0]["size"] = json!("1"));
    assert!(message.contains("is not inside of"), "{message}");
}

#[test]
fn numbers_that_refer_to_nothing_are_refused() {
    let message = refused(|manifest| manifest["buffers"][0]["memory"] = json!(99));
    assert!(message.ends_with("is in memory 99"), "{message}");
    let message = refused(|manifest| manifest["results"][0]["buffer"] = json!(99));
    assert!(message.ends_with("is in a buffer that does not exist"), "{message}");
    let message = refused(|manifest| manifest["passes"]["forward"] = json!([99]));
    assert!(message.ends_with("a pass runs kernel 99"), "{message}");
    let message = refused(|manifest| manifest["kernels"][0]["workgroup_size"] = json!(0));
    assert!(message.ends_with("has no invocations"), "{message}");
    let message = refused(|manifest| manifest["kernels"][0]["file"] = json!("other.wgsl"));
    assert!(message.contains("needs `other.wgsl`, which it does not list"), "{message}");
    let message = refused(|manifest| {
        manifest["kernels"][0]["bindings"][0]["memory"] = json!({ "group": 99 });
    });
    assert!(message.ends_with("binds memory that does not exist"), "{message}");
    let entry = json!({ "bytes": 0, "sha256": "" });
    let message = refused(|manifest| manifest["files"]["../x"] = entry);
    assert_eq!(message, "`../x` is no plain file name");
}

/// No change of a byte of the manifest is a panic.
#[test]
fn damaged_manifests_are_read_without_panic() {
    let mut files = built().files().unwrap();
    let manifest = files[MANIFEST].clone();
    for at in (0..manifest.len()).step_by(37) {
        for byte in [b'9', b'-', b'"', b'}'] {
            let mut damaged = manifest.clone();
            damaged[at] = byte;
            let Ok(value) = parse(&damaged) else { continue };
            files.insert(MANIFEST.into(), damaged);
            let _ = check(&value, &files);
        }
    }
}

#[test]
fn every_profile_has_shaders_that_keep_to_it() {
    let options = Options {
        gradients: Some(Gradients { output: "loss".into(), wrt: None }),
        optimizer: Some(Optimizer::ADAM),
        ..Options::default()
    };
    let compiled = compile("net.fgi", NET, &NoFiles, &options, &mut |_| {}).ok().unwrap();
    for (name, limits) in PROFILES {
        let profile = (name.to_owned(), limits);
        let options = BuildOptions { profile, ..BuildOptions::default() };
        let artifact = Artifact::build(&compiled, &options).unwrap();
        for kernel in &artifact.manifest().kernels {
            assert!(kernel.bindings.len() <= limits.storage_buffers, "{name}: {}", kernel.name);
            assert!(kernel.workgroup_size <= limits.workgroup_size, "{name}: {}", kernel.name);
        }
    }
}
