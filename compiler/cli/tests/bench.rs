//! `fgic bench` measures what it says, alone and against another program; `fgic cost` predicts it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn bench(arguments: &[&str]) -> (String, String, Option<i32>) {
    measure(&[&[NETWORK, "-D", "K=4"], arguments].concat())
}

fn measure(arguments: &[&str]) -> (String, String, Option<i32>) {
    fgic(&[&["bench", "-D", "N=8", "--batch", "4", "--runs", "2"], arguments].concat())
}

fn fgic(arguments: &[&str]) -> (String, String, Option<i32>) {
    fgic_with(arguments, &[])
}

fn fgic_with(arguments: &[&str], environment: &[(&str, &Path)]) -> (String, String, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_fgic"))
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code())
}

fn lines(arguments: &[&str]) -> Vec<Value> {
    let (printed, errors, code) = bench(arguments);
    assert_eq!(code, Some(0), "{errors}");
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("{name} in {line}"))
}

#[test]
fn every_time_is_measured() {
    let lines = lines(&["--json", "--sweep", "T=3,5"]);
    assert_eq!(
        lines.iter().map(|line| line["steps"].as_i64()).collect::<Vec<_>>(),
        [Some(3), Some(5)]
    );
    for line in &lines {
        for time in ["fwd", "bwd", "train", "update", "infer"] {
            let [min, median, max] =
                ["_min_ms", "_ms", "_max_ms"].map(|kind| number(line, &format!("{time}{kind}")));
            assert!(0.0 < min && min <= median && median <= max, "{line}");
        }
        let compile = number(line, "compile_ms");
        let stages = line["compile_stages_ms"].as_object().unwrap();
        let sum: f64 = stages.values().map(|ms| ms.as_f64().unwrap()).sum();
        assert!((compile - sum).abs() < 1e-6 && stages.contains_key("native"), "{line}");
        assert!(number(line, "first_step_ms") > compile, "{line}");
        assert!((0.0..=1.0).contains(&number(line, "spike_rate")), "{line}");
        assert_eq!(line["dims"]["B"], 4, "{line}");
        // At least the potential and the spike, a bit, of each of 4 · 8 neurons.
        assert!(number(line, "saved_bytes_per_step") >= 132.0, "{line}");
        if cfg!(target_os = "linux") {
            assert!(number(line, "peak_rss_mib") >= number(line, "rss_before_mib"), "{line}");
        }
    }
}

#[test]
fn a_memory_limit_is_traded_for_time() {
    let trade = |limit: &str| {
        let lines = lines(&["--json", "-D", "T=100", "--pairs", "2", "--memory-limit", limit]);
        assert!(lines[0].get("bwd_ms").is_none() && number(&lines[0], "train_ms") > 0.0);
        lines[0]["memory_limit"].clone()
    };
    let enough = trade("1GiB");
    assert_eq!(enough["limit_mib"], 1024.0);
    assert_eq!(enough["with"]["segments"], 1);
    let all = number(&enough["without"], "buffers_mib");
    assert_eq!(number(&enough["with"], "buffers_mib"), all);
    let less = trade(&format!("{}B", (all * f64::from(1 << 20)) as u64 - 1));
    assert_eq!(less["with"]["segments"], 2);
    assert_eq!(less["without"]["segments"], 1);
    assert!(number(&less["with"], "buffers_mib") < all);
    assert_eq!(less["with"]["train_ms"].as_array().unwrap().len(), 2);
    assert!(number(&less, "train_ratio") > 0.0);
    let (_, errors, code) = bench(&["-D", "T=100", "--memory-limit", "9KB"]);
    assert!(errors.contains("too small: the program needs at least"), "{errors}");
    assert_eq!(code, Some(3));
    let (_, errors, code) = bench(&["-D", "T=100", "--memory-limit", "much"]);
    assert!(errors.contains("--memory-limit"), "{errors}");
    assert_eq!(code, Some(2));
}

#[cfg(unix)]
#[test]
fn a_gpu_is_tuned() {
    let caches = tempfile::tempdir().unwrap();
    let network = ["-D", "K=4", "-D", "N=16", "-D", "T=3", "--batch", "4", "--runs", "1"];
    let arguments = [&["bench", NETWORK, "--device", "gpu", "--tune"], &network[..]].concat();
    let (_, errors, code) = fgic_with(&arguments, &[("XDG_CACHE_HOME", caches.path())]);
    assert_eq!(code, Some(0), "{errors}");
    let notes = errors.lines().filter(|line| line.contains("by rows in a workgroup: 1: "));
    // With and without gradients.
    assert_eq!(notes.count(), 2, "{errors}");
    let files = std::fs::read_dir(caches.path().join("fgi")).unwrap();
    let is_tuning = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("tuned_");
    assert_eq!(files.filter(|file| is_tuning(&file.as_ref().unwrap().file_name())).count(), 2);
    let (printed, errors, code) = bench(&["-D", "T=3", "--tune"]);
    assert_eq!((printed.as_str(), code), ("", Some(2)));
    assert!(errors.contains("`--device cpu` must be `gpu` or `gpu:NAME`"), "{errors}");
}

#[cfg(unix)]
#[test]
fn a_peer_is_run_by_turns() {
    let peer = "echo started; echo '{\"train_ms\": 1e6, \"steps\": {T}}'";
    let lines = lines(&["--json", "--sweep", "T=3", "--pairs", "2", "--against", peer]);
    let ratios = lines[0]["train_ratios"].as_array().unwrap();
    assert_eq!(ratios.len(), 2);
    assert!(ratios.iter().all(|ratio| ratio.as_f64().unwrap() > 1.0));
    assert_eq!(lines[0]["peers"][0]["steps"], 3);
    assert!(lines[0].get("infer_ratio").is_none());
    let (printed, ..) =
        bench(&["-D", "T=3", "--pairs", "1", "--against", "echo '{\"infer_ms\": 7}'"]);
    assert!(printed.contains("peer / own, inference: ×"), "{printed}");
}

#[cfg(unix)]
#[test]
fn a_peer_that_fails_is_an_error() {
    for (command, message) in [
        ("exit 3", "failed: exit status: 3"),
        ("echo 1", "printed no JSON object as its last line"),
        ("echo '{\"time\": 1}'", "printed none of fwd_ms"),
    ] {
        let (_, errors, code) = bench(&["-D", "T=2", "--pairs", "1", "--against", command]);
        assert!(errors.contains(message), "{errors}");
        assert_eq!(code, Some(3));
    }
}

#[test]
fn a_dimension_is_given_once() {
    let (_, errors, code) = bench(&["-D", "T=2", "--sweep", "T=3"]);
    assert!(errors.contains("T is given by -D and by --sweep"), "{errors}");
    assert_eq!(code, Some(2));
}

#[test]
fn random_inputs_are_announced() {
    let (printed, notes, _) = bench(&["-D", "T=2"]);
    assert!(notes.contains("inputs are random, from seed 0"), "{notes}");
    for shown in ["forward", "backward", "training", "update", "inference", "spike rate"] {
        assert!(printed.contains(shown), "{printed}");
    }
}

#[cfg(unix)]
#[test]
fn the_benchmark_of_the_paper() {
    let folder = tempfile::tempdir().unwrap();
    let figure = folder.path().join("figure2.svg");
    let path = figure.to_str().unwrap();
    let peer =
        "a peer: echo '{\"train_ms\": 1e4, \"fwd_ms\": 4e3, \"bwd_ms\": 6e3, \"warmup_s\": {T}}'";
    let arguments = ["--paper", "--pairs", "1", "-o", path, "--against", peer];
    let (printed, errors, code) =
        measure(&[&arguments[..], &["--against", "gone: exit 4"]].concat());
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("failed: exit status: 4"), "{errors}");
    let row = |table: &str, name: &str| -> Vec<String> {
        let table = printed.split("Table ").find(|text| text.starts_with(table)).unwrap();
        let line = table.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
        line.split_whitespace().map(String::from).collect()
    };
    assert_eq!(row("1", "steps"), ["28", "49", "98", "196", "392", "784"]);
    assert_eq!(row("1", "a peer "), ["10000"; 6]);
    assert_eq!(row("1", "gone"), ["n.a."; 6]);
    assert_eq!(row("1", "torch.compile, backward()")[3..], ["6.7", "n.a.", "n.a."]);
    assert_eq!(
        row("3", "a peer "),
        row("3", "steps").iter().map(|it| three_digits(it)).collect::<Vec<_>>()
    );
    let number = |text: &String| text.trim_start_matches('×').parse::<f64>().unwrap();
    let own: Vec<f64> = row("1", "fgic").iter().map(number).collect();
    for (ratio, own) in row("1", "a peer / fgic").iter().map(number).zip(own) {
        assert!((ratio * own / 1e4 - 1.0).abs() < 0.02, "{printed}");
    }
    let figure = std::fs::read_to_string(figure).unwrap();
    assert!(["784 steps", "a peer", "n.a.", "fgic"].iter().all(|text| figure.contains(text)));
}

fn three_digits(number: &str) -> String {
    let number: f64 = number.parse().unwrap();
    if number < 100.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[test]
fn what_belongs_to_the_paper() {
    for (arguments, message) in [
        (&["-o", "x.svg"][..], "--paper"),
        (&["--against", "true", "--against", "true"], "several --against need --paper"),
        (&["--paper", "--sweep", "T=3"], "cannot be used with"),
    ] {
        let (_, errors, code) = bench(arguments);
        assert!(errors.contains(message), "{errors}");
        assert_eq!(code, Some(2));
    }
    let (_, errors, code) = measure(&[]);
    assert!(errors.contains("PROGRAM.fgi"), "{errors}");
    assert_eq!(code, Some(2));
}

const NETWORK: &str = "dsl-examples/smnist/smnist.fgi";

fn cost(arguments: &[&str]) -> Value {
    let (printed, errors, code) = fgic(&[&["cost", NETWORK, "--json"], arguments].concat());
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&printed).unwrap()
}

#[test]
fn costs_are_those_of_the_dimensions() {
    let small = ["-D", "T=20", "-D", "K=8", "-D", "N=16"];
    let cost = |batch: &'static str| cost(&[&small[..], &["--batch", batch]].concat());
    let (once, twice) = (cost("32"), cost("64"));
    assert_eq!(once["dims"], serde_json::json!({ "B": 32, "K": 8, "N": 16, "T": 20 }));
    assert_eq!(once["device"]["name"], "rtx-4090");
    let kernel = |cost: &Value, pass: &str, name: &str| {
        let kernels = cost[pass].as_array().unwrap();
        kernels.iter().find(|kernel| kernel["name"] == name).unwrap().clone()
    };
    let [one, two] = [&once, &twice].map(|cost| kernel(cost, "forward", "kernel_product"));
    assert_eq!(one["operations"]["multiplies"], 20 * 32 * 8 * 16);
    assert_eq!(two["operations"]["multiplies"], 20 * 64 * 8 * 16);
    assert_eq!(one["read_bytes"], 4 * (20 * 32 * 8 + 8 * 16));
    assert_eq!(kernel(&once, "forward", "kernel_h_u_forward")["steps"], 20);
    assert!(!once["backward"].as_array().unwrap().is_empty());
    let parts = number(&once, "fwd_ms_predicted") + number(&once, "bwd_ms_predicted");
    assert!((number(&once, "train_ms_predicted") - parts).abs() < 1e-9);
}

#[test]
fn the_benchmark_of_the_paper_is_predicted() {
    let (printed, errors, code) = fgic(&["cost", "--paper"]);
    assert_eq!(code, Some(0), "{errors}");
    for shown in [
        "Predicted is no measurement",
        "NVIDIA GeForce RTX 4090",
        "training, speedup, predicted: fgi",
        "training, speedup, measured: torch.compile FGI          6.0x   7.0x",
        "inference, speedup, measured: torch.compile backward()  12.1x",
    ] {
        assert!(printed.contains(shown), "{shown}: {printed}");
    }
    let (_, errors, code) = fgic(&["cost", "--paper", "-D", "T=28"]);
    assert!(errors.contains("--paper decides T itself"), "{errors}");
    assert_eq!(code, Some(2));
}

#[test]
fn devices_are_named_or_described() {
    let small = ["-D", "T=2", "-D", "K=2", "-D", "N=4"];
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("device.json");
    let file = file.to_str().unwrap();
    let on =
        |device: &str| fgic(&[&["cost", NETWORK, "--device-model", device], &small[..]].concat());
    let mut device = cost(&small)["device"].clone();
    device["about"] = "My device".into();
    std::fs::write(file, device.to_string()).unwrap();
    let (printed, errors, _) = on(file);
    assert!(printed.starts_with("smnist on My device, predicted: B = 128"), "{printed}{errors}");
    device["flops"] = 0.into();
    std::fs::write(file, device.to_string()).unwrap();
    for (device, message, expected) in [
        ("rtx", "it is one of cpu, rtx-4090,", 2),
        ("missing.json", "missing.json: ", 3),
        (file, "`flops` is 0: it must be positive", 3),
        ("dsl-examples/smnist/smnist.fgi", "no description of a device", 3),
    ] {
        let (_, errors, code) = on(device);
        assert!(errors.contains(message), "{errors}");
        assert_eq!(code, Some(expected), "{errors}");
    }
}
