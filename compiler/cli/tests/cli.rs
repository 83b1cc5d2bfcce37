//! The command line as its users meet it: what it prints, where, its exit codes and the files it leaves.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fgi::checkpoint::Checkpoint;
use fgi::npz::{self, Arrays};
use fgi::{Array, Data};
use tempfile::TempDir;

/// A directory with `net.fgi` and `data.npz`: 24 samples of two steps of three numbers, and their labels.
fn place() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write(&directory, "net.fgi", NET);
    let x: Vec<f32> = (0..24 * 6).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
    let label: Vec<i64> = (0..24).map(|i| i % 3).collect();
    let data = [("x", Array::new([24, 6], x)), ("label", Array::new([24], label))];
    npz::write(&directory.path().join("data.npz"), &arrays(data)).unwrap();
    directory
}

const NET: &str = "\
layer spiking[N](x: [B, K]) {
    param w: [K, N] = kaiming_uniform();
    let u = 0.9 * prev(u) + x @ w - prev(z);
    let z = bypass(step(u - 0.5), sigmoid(4 * (u - 0.5)));
    z
}

graph net[T = 2, K = 3](x: [T; B, K], label: i32[B]) -> (loss, logits) {
    let h      = spiking[3](x);
    let logits = time_mean(h);
    let loss   = loss::cross_entropy(logits, label);
}
";

fn arrays<const N: usize>(named: [(&str, Array); N]) -> Arrays {
    named.map(|(name, array)| (name.to_owned(), array)).into()
}

fn write(directory: &TempDir, name: &str, text: &str) {
    std::fs::write(directory.path().join(name), text).unwrap();
}

fn fgic(directory: &TempDir, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fgic"));
    command.args(arguments.split_whitespace()).current_dir(directory).env_remove("NO_COLOR");
    command
}

/// The exit code, standard output and standard error.
fn run(directory: &TempDir, arguments: &str) -> (i32, String, String) {
    finished(fgic(directory, arguments).output().unwrap())
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// What a command prints that succeeds.
#[track_caller]
fn done(directory: &TempDir, arguments: &str) -> String {
    let (code, out, err) = run(directory, arguments);
    assert_eq!(code, 0, "{arguments}: {out}{err}");
    out
}

/// The message of a command that fails with this code; nothing is on its standard output.
#[track_caller]
fn fails(directory: &TempDir, arguments: &str, expected: i32) -> String {
    let (code, out, err) = run(directory, arguments);
    assert_eq!((code, out.as_str()), (expected, ""), "{arguments}: {err}");
    err
}

fn piped(mut command: Command, input: &str) -> (i32, String, String) {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    finished(child.wait_with_output().unwrap())
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

// Help

#[test]
fn help_of_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let commands = [
        "",
        "bench",
        "cost",
        "plot",
        "doc",
        "check",
        "fmt",
        "explain",
        "eval",
        "train",
        "gradcheck",
        "build",
        "devices",
        "completions",
    ];
    for command in commands {
        let mut help = fgic(&directory, command);
        // The width of the terminal is no part of the help.
        let help = finished(help.arg("--help").env("COLUMNS", "100").output().unwrap());
        assert_eq!((help.0, help.2.as_str()), (0, ""));
        insta::assert_snapshot!(
            format!("help_{}", if command.is_empty() { "fgic" } else { command }),
            help.1
        );
    }
}

// Programs

#[test]
fn check_reports_every_error_of_every_graph() {
    let directory = place();
    let text = "graph a(x: [B, 2]) -> y { let y = x + one; }\ngraph b(x: [N, 3]) -> y { let y = x + two; }";
    write(&directory, "wrong.fgi", text);
    let errors = fails(&directory, "check wrong.fgi", 1);
    assert!(errors.contains("`one`") && errors.contains("`two`"), "{errors}");
    // One that is chosen says for which graph a dimension is meant.
    let errors = fails(&directory, "check wrong.fgi --graph a", 1);
    assert!(errors.contains("`one`") && errors.contains("`two`"), "{errors}");
    let errors = fails(&directory, "check wrong.fgi --graph a -D N=2", 1);
    assert!(errors.contains("E019"), "{errors}");
    let errors = fails(&directory, "check wrong.fgi -D N=2", 1);
    assert!(!errors.contains("E019"), "{errors}");
    assert!(fails(&directory, "check wrong.fgi -D M=2", 1).contains("E019"));
    assert!(fails(&directory, "check wrong.fgi --graph c", 1).contains("E018"));
}

#[test]
fn check_takes_several_programs() {
    let directory = place();
    write(&directory, "a.fgi", "graph a(x: [B, 2]) -> y { let y = x + one; }");
    write(&directory, "b.fgi", "graph b(x: [B, 2]) -> y { let y = x + two; }");
    assert_eq!(done(&directory, "check net.fgi net.fgi"), "");
    let err = fails(&directory, "check a.fgi net.fgi b.fgi", 1);
    assert_eq!(err.matches("error[E014]").count(), 2, "{err}");
    assert!(err.contains("a.fgi:1:39") && err.contains("b.fgi:1:39"), "{err}");
    // A file that cannot be read keeps no other from being checked.
    let err = fails(&directory, "check none.fgi b.fgi", 3);
    assert!(err.contains("b.fgi:1:39") && err.contains("error: none.fgi: "), "{err}");
    let err = fails(&directory, "check a.fgi b.fgi -D B=1 -D B=2", 2);
    assert_eq!(err.matches("given twice").count(), 1, "{err}");
}

#[test]
fn check_prints_json_lines() {
    let directory = place();
    write(&directory, "wrong.fgi", "graph g(x: [B, 2]) -> y { let y = x + z; let w = u; }");
    let (code, out, err) = run(&directory, "check wrong.fgi --json");
    assert_eq!((code, err.as_str()), (1, ""));
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert_eq!(lines[0]["code"], "E014");
    assert_eq!(lines[0]["labels"][0]["line"], 1);
    assert_eq!(done(&directory, "check net.fgi --json"), "");
}

/// A spike without a surrogate.
const DEAD: &str = "\
graph net(x: [N], y: [N]) -> (loss) {
    param w: [N] = ones();
    let z    = step(w * x);
    let loss = mean((z - y)^2);
}
";

#[test]
fn check_warns_and_warnings_are_silenced_or_denied() {
    let directory = place();
    write(&directory, "dead.fgi", DEAD);
    let (code, out, err) = run(&directory, "check dead.fgi");
    assert_eq!((code, out.as_str()), (0, ""));
    let parts = ["warning[W001]", "warning[W002]", "dead.fgi:3:", "help:"];
    assert!(parts.iter().all(|part| err.contains(part)), "{err}");
    let (code, out, err) = run(&directory, "check dead.fgi --json");
    assert_eq!((code, err.as_str()), (0, ""));
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!((&first["severity"], &first["code"]), (&"warning".into(), &"W001".into()));
    let err = fails(&directory, "check dead.fgi --deny warnings", 1);
    assert!(err.contains("error[W002]"), "{err}");
    let err = fails(&directory, "check dead.fgi --deny warnings --allow W001", 1);
    assert!(err.contains("error[W002]") && !err.contains("W001"), "{err}");
    let silent = run(&directory, "check dead.fgi --deny warnings --allow W001 --allow w002");
    assert_eq!(silent, (0, String::new(), String::new()));
    let err = fails(&directory, "check dead.fgi --allow W02", 2);
    assert!(err.contains("there is no warning `W02`; did you mean W002?"), "{err}");
    let err = fails(&directory, "check dead.fgi --allow E040", 2);
    assert!(err.contains("E040 is an error"), "{err}");
    write(
        &directory,
        "quiet.fgi",
        &DEAD.replace("step(w * x);", "step(w * x); // fgic: allow(W002)"),
    );
    let err = run(&directory, "check quiet.fgi").2;
    assert!(err.contains("[W001]") && !err.contains("[W002]"), "{err}");
    write(&directory, "quiet.fgi", &DEAD.replace("ones();", "ones(); // fgic: allow(W009)"));
    assert!(run(&directory, "check quiet.fgi").2.contains("there is no warning `W009`"));
}

#[test]
fn explain_lists_what_happens_to_gradients() {
    let directory = place();
    let shown = done(&directory, "explain net.fgi");
    let lines = [
        "graph net",
        "     2  param   h.w receives a gradient from loss, logits",
        "     3  reset   `prev(z)` is subtracted: it carries the gradient",
        "     4  bypass  h.z has the gradient of `sigmoid(4 * (u - 0.5))`",
    ];
    assert_eq!(shown.lines().collect::<Vec<_>>(), lines);
    write(&directory, "dead.fgi", DEAD);
    let shown = done(&directory, "explain dead.fgi");
    assert!(shown.contains("w receives a gradient from no output"), "{shown}");
    assert!(shown.contains("warning[W002]"), "{shown}");
    assert_eq!(piped(fgic(&directory, "explain -"), DEAD).1, shown.replace("dead.fgi", "<stdin>"));
    assert!(done(&directory, "explain w002").contains("# W002"));
    assert!(fails(&directory, "explain none.fgi", 3).contains("none.fgi"));
    assert!(fails(&directory, "explain net.fgi --graph nat", 1).contains("E018"));
}

#[test]
fn programs_come_from_standard_input_too() {
    let directory = place();
    assert_eq!(piped(fgic(&directory, "check -"), NET), (0, String::new(), String::new()));
    let (code, _, err) = piped(fgic(&directory, "check -"), "graph g(x: [B]) -> y { let y = z; }");
    assert_eq!(code, 1);
    assert!(err.contains("<stdin>:1"), "{err}");
    let messy = NET.replace("let u =", "let   u=");
    assert_eq!(piped(fgic(&directory, "fmt -"), &messy).1, formatted());
    assert_eq!(piped(fgic(&directory, "fmt --check -"), &messy).0, 1);
    assert_eq!(piped(fgic(&directory, "build - --emit ast"), &messy).1, formatted());
}

/// The canonical text of [`NET`].
fn formatted() -> String {
    let directory = place();
    done(&directory, "fmt net.fgi");
    std::fs::read_to_string(directory.path().join("net.fgi")).unwrap()
}

#[test]
fn fmt_changes_what_is_not_canonical_and_nothing_else() {
    let directory = place();
    write(&directory, "net.fgi", &formatted());
    assert_eq!(done(&directory, "fmt --check net.fgi"), "");
    write(&directory, "messy.fgi", &NET.replace("let u =", "let   u="));
    let (code, out, _) = run(&directory, "fmt --check net.fgi messy.fgi");
    assert_eq!((code, out.as_str()), (1, "messy.fgi\n"));
    done(&directory, "fmt net.fgi messy.fgi");
    assert_eq!(std::fs::read_to_string(directory.path().join("messy.fgi")).unwrap(), formatted());
    write(&directory, "wrong.fgi", "graph g(");
    assert!(fails(&directory, "fmt wrong.fgi", 1).contains("E00"));
    assert_eq!(std::fs::read_to_string(directory.path().join("wrong.fgi")).unwrap(), "graph g(");
}

#[test]
fn explain_shows_a_page_once() {
    let directory = place();
    let page = done(&directory, "explain e040");
    assert_eq!(page.matches("dimensions that do not broadcast").count(), 1, "{page}");
    assert!(done(&directory, "explain").lines().count() > 40);
    assert!(fails(&directory, "explain E999", 2).contains("E999"));
}

#[test]
fn explain_shows_items_of_the_library() {
    let directory = tempfile::tempdir().unwrap();
    let shown = done(&directory, "explain std:neuron::leaky");
    assert!(shown.starts_with("layer leaky(current: [.., N], beta = 0.9"), "{shown}");
    assert!(shown.contains("snnTorch Leaky"), "{shown}");
    assert!(done(&directory, "explain std:neuron").contains("lif_refractory"));
    let likely = fails(&directory, "explain std:neuron::leeky", 2);
    assert!(likely.contains("did you mean `std:neuron::leaky`?"), "{likely}");
    let likely = fails(&directory, "explain std:neurons", 2);
    assert!(likely.contains("did you mean `std:neuron`?"), "{likely}");
}

#[test]
fn explain_shows_bindings_and_laws() {
    let directory = place();
    let shown = done(&directory, "explain net.fgi::h.z");
    let parts =
        ["h.z at net.fgi:", "\nnormal form\n    bypass(", "\nbackward, where dz is", "\nproof"];
    assert!(parts.iter().all(|part| shown.contains(part)), "{shown}");
    let likely = fails(&directory, "explain net.fgi::h.zz", 1);
    assert!(likely.contains("did you mean `h.z`?"), "{likely}");
    assert!(done(&directory, "explain rule:").lines().count() > 20);
    assert!(done(&directory, "explain rule:bypass-left").contains("bypass(bypass(a, b), c)"));
    let likely = fails(&directory, "explain rule:bypass-lift", 2);
    assert!(likely.contains("did you mean `rule:bypass-left`?"), "{likely}");
    assert!(fails(&directory, "explain none.fgi::z", 3).contains("none.fgi"));
}

#[test]
fn colours_are_for_terminals() {
    let directory = place();
    write(&directory, "wrong.fgi", "graph g(x: [B]) -> y { let y = z; }");
    assert!(!fails(&directory, "check wrong.fgi", 1).contains('\x1b'));
    let coloured = fgic(&directory, "check wrong.fgi").env("NO_COLOR", "1").output().unwrap();
    assert!(!finished(coloured).2.contains('\x1b'));
}

#[test]
fn exit_codes_tell_the_reason() {
    let directory = place();
    fails(&directory, "frobnicate", 2);
    fails(&directory, "check net.fgi -D T", 2);
    fails(&directory, "check net.fgi -D T=1 -D T=2", 2);
    assert!(fails(&directory, "check missing.fgi", 3).contains("missing.fgi"));
    assert!(fails(&directory, "train net.fgi --data missing.npz", 3).contains("missing.npz"));
    assert!(fails(&directory, "train net.fgi --data csv", 2).contains("mnist:DIR"));
    assert!(fails(&directory, "train net.fgi --data data.npz --clip 0", 2).contains("above 0"));
    fails(&directory, "train net.fgi --data data.npz --device toaster", 2);
    assert!(done(&directory, "devices").contains("cpu"));
}

/// What a pass makes has a text, whatever its name.
#[test]
fn every_form_is_printed() {
    let directory = place();
    let help = done(&directory, "build --help");
    let (_, forms) = help.split_once("Possible values:").unwrap();
    let rows = forms.lines().skip(1).map_while(|line| line.trim().strip_prefix("- "));
    let names: Vec<&str> = rows.filter_map(|row| Some(row.split_once(':')?.0)).collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let text = done(&directory, &format!("build net.fgi --grad loss --emit {name}"));
        assert!(!text.trim().is_empty(), "{name}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let directory = place();
    let mut command = fgic(&directory, "build net.fgi --emit clif --grad loss");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

// Evaluation

/// Inputs of [`NET`] for a batch of two.
fn inputs() -> Arrays {
    arrays([
        ("x", Array::new([2, 2, 3], (0..12).map(|i| i as f32 / 12.0).collect::<Vec<_>>())),
        ("label", Array::new([2], vec![0, 2])),
    ])
}

/// Runs `fgic eval` on arrays; the results, or the message.
fn eval(directory: &TempDir, inputs: &Arrays, options: &str) -> Result<Arrays, String> {
    npz::write(&directory.path().join("in.npz"), inputs).unwrap();
    let out = directory.path().join("out.npz");
    let _ = std::fs::remove_file(&out);
    let (code, _, err) =
        run(directory, &format!("eval net.fgi --inputs in.npz --output out.npz {options}"));
    match code {
        0 => Ok(npz::read(&out).unwrap()),
        _ => {
            assert!(!out.exists(), "{err}");
            Err(err)
        }
    }
}

#[test]
fn eval_writes_outputs_and_the_gradients_that_are_asked_for() {
    let directory = place();
    let keys = |arrays: Arrays| arrays.into_keys().collect::<Vec<_>>();
    let plain = eval(&directory, &inputs(), "").unwrap();
    assert_eq!(keys(plain.clone()), ["logits", "loss"]);
    let all = eval(&directory, &inputs(), "--grad loss").unwrap();
    assert_eq!(keys(all.clone()), ["grad/h.w", "logits", "loss"]);
    assert_eq!(all["loss"], plain["loss"]);
    let some = eval(&directory, &inputs(), "--grad loss --wrt x").unwrap();
    assert_eq!(keys(some.clone()), ["grad/x", "logits", "loss"]);
    assert_eq!(some["grad/x"].shape, [2, 2, 3]);
    // A parameter that is given replaces its initial value; a seed decides the others.
    let mut given = inputs();
    given.insert("h.w".into(), Array::new([3, 3], vec![0.0f32; 9]));
    let still = eval(&directory, &given, "--device reference").unwrap();
    assert!(still["logits"].to_f64().iter().all(|rate| *rate == 0.0));
    let other = eval(&directory, &inputs(), "--grad loss --seed 5").unwrap();
    assert_ne!(other["grad/h.w"], all["grad/h.w"]);
}

#[test]
fn eval_keeps_a_memory_limit() {
    let directory = place();
    for batch in [1, 8] {
        let pixels: Vec<_> = (0..450 * batch).map(|i| (i % 7) as f32 / 7.0).collect();
        let labels = Array::new([batch], vec![1; batch]);
        let inputs = arrays([("x", Array::new([150, batch, 3], pixels)), ("label", labels)]);
        let whole = eval(&directory, &inputs, "--grad loss").unwrap();
        let why = eval(&directory, &inputs, "--grad loss --memory-limit 1KiB").unwrap_err();
        assert!(why.contains("with time in 5 segments"), "{why}");
        let (_, needed) = why.split_once("at least ").unwrap();
        let least: f64 = needed.split(' ').next().unwrap().parse().unwrap();
        let limit = format!("--grad loss --memory-limit {:.1}KiB", least + 0.1);
        assert_eq!(eval(&directory, &inputs, &limit).unwrap(), whole);
    }
}

#[test]
fn eval_names_what_is_wrong_with_the_arrays() {
    let directory = place();
    let message = |change: &dyn Fn(&mut Arrays), options: &str| {
        let mut arrays = inputs();
        change(&mut arrays);
        let message = eval(&directory, &arrays, options).unwrap_err();
        assert_eq!(message.lines().count(), 1, "{message}");
        message
    };
    let numbers = |shape: &[usize]| Array::new(shape, vec![0.0f32; shape.iter().product()]);
    for options in ["", "--device reference"] {
        let missing = message(&|arrays| drop(arrays.remove("label")), options);
        assert!(missing.contains("input `label` is missing"), "{missing}");
        let unknown = message(&|arrays| drop(arrays.insert("h.v".into(), numbers(&[1]))), options);
        assert!(unknown.contains("`h.v`") && unknown.contains("did you mean `h.w`"), "{unknown}");
        let shape = message(&|arrays| drop(arrays.insert("h.w".into(), numbers(&[3, 4]))), options);
        assert!(shape.contains("`h.w`") && shape.contains("[3, 3]"), "{shape}");
        let axes = message(&|arrays| drop(arrays.insert("x".into(), numbers(&[2, 6]))), options);
        assert!(axes.contains("`x`"), "{axes}");
        let batch = message(
            &|arrays| drop(arrays.insert("label".into(), Array::new([3], vec![0; 3]))),
            options,
        );
        assert!(batch.contains("`label`"), "{batch}");
        let elements =
            message(&|arrays| drop(arrays.insert("label".into(), numbers(&[2]))), options);
        assert!(elements.contains("`label`"), "{elements}");
    }
    let output = message(&|_| {}, "--grad lose");
    assert!(output.contains("lose"), "{output}");
    let wrt = message(&|_| {}, "--grad loss --wrt h.v");
    assert!(wrt.contains("h.v"), "{wrt}");
}

#[test]
fn gradcheck_prints_a_row_for_each_parameter() {
    let directory = place();
    let error = |arguments: &str| {
        let out = done(&directory, arguments);
        let row = out.lines().find(|line| line.starts_with("  h.w")).unwrap();
        assert!(row.ends_with("  agrees"), "{out}");
        row.split_whitespace().nth(2).unwrap().parse::<f64>().unwrap()
    };
    for device in ["", "--device cpu-in-order", "--device gpu"] {
        let error = error(&format!("gradcheck net.fgi {device}"));
        assert!(error > 1e-9 && error < 1e-4, "{device}: {error}");
    }
    let error = error("gradcheck net.fgi --device reference");
    assert!(error > 0.0 && error < 1e-6, "{error}");
    write(
        &directory,
        "open.fgi",
        "graph g(x: [B, K]) -> loss { param w: [K] = ones(); let loss = sum(x * w); }",
    );
    let open = fails(&directory, "gradcheck open.fgi", 1);
    assert!(open.contains("E046") && open.contains("-D K="), "{open}");
}

#[test]
fn gradcheck_agrees_only_with_what_it_has_tested() {
    let directory = place();
    let untested = |text: &str, why: &str| {
        write(&directory, "kink.fgi", text);
        for device in ["cpu", "reference"] {
            let arguments = format!("gradcheck kink.fgi --device {device}");
            let (code, out, err) = run(&directory, &arguments);
            assert_eq!(code, 1, "{out}{err}");
            assert!(out.contains(why), "{out}{err}");
            assert!(done(&directory, &format!("{arguments} --allow-untested")).contains(why));
        }
    };
    let at_kink = "layer hidden() {\n    param w: [3] = zeros();\n    let y = relu(w);\n    y\n}\n\
        graph g() -> loss { let h = hidden(); let loss = sum(h); }";
    untested(at_kink, "not tested: 3 at a jump or kink of h.y (kink.fgi:3)");
    let flat = "graph g() -> loss { param w: [3] = constant(0.5); let loss = 1 + sum(floor(w)); }";
    untested(flat, "not tested: every derivative is zero, and every difference");
    write(&directory, "none.fgi", "graph g(x: [3]) -> loss { let loss = sum(x); }");
    assert!(run(&directory, "gradcheck none.fgi").2.contains("nothing was tested"));
    let fails = |text: &str, why: &str| {
        write(&directory, "nan.fgi", text);
        let (code, out, err) = run(&directory, "gradcheck nan.fgi --allow-untested");
        assert_eq!(code, 1, "{out}{err}");
        assert!((out + &err).contains(why));
    };
    fails("graph g() -> loss { param w: [3] = zeros(); let loss = sum(w / w); }", "is NaN");
    fails(
        "graph g() -> loss { param w: [3] = zeros(); let loss = sum(sqrt(w)); }",
        "NOT FINITE: 3",
    );
}

#[test]
fn numbers_without_a_meaning_are_errors_at_their_flag() {
    let directory = place();
    for (flags, why) in [
        ("--lr nan", "--lr"),
        ("--lr=-0.01", "--lr"),
        ("--lr -0.01", "--lr"),
        ("--lr 1e400", "--lr"),
        ("--momentum nan", "--momentum"),
        ("--momentum 1", "--momentum"),
        ("--weight-decay -1", "--weight-decay"),
        ("--clip 0", "--clip"),
        ("--batch 0", "--batch"),
        ("-D N=0", "-D <NAME=VALUE>"),
        ("--threads 0", "--threads"),
        ("--threads 5000", "--threads"),
    ] {
        let error = fails(&directory, &format!("{TRAIN} {flags}"), 2);
        assert!(error.contains(why), "{flags}: {error}");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let error = fails(&directory, &format!("{TRAIN} --threads 5000"), 2);
    assert!(error.contains(&format!("expected 1 to {} threads", 16 * cores)), "{error}");
    fails(&directory, "plot std:spike::atan --json --set a=1e400", 2);
    fails(&directory, "bench net.fgi --batch 0", 2);
    fails(&directory, "cost net.fgi --batch -3", 2);
}

#[test]
fn sizes_that_do_not_fit_are_errors_with_their_bytes() {
    let directory = place();
    let text = "graph big[N = 2](x: [T; B, N]) -> loss {\n    param w: [N, N] = kaiming_uniform();\n    \
        let h = 0.5 * prev(h) + x @ w;\n    let loss = sum(last(h) ^ 2);\n}";
    write(&directory, "big.fgi", text);
    let x = Array::new([4, 2, 2], vec![0.5f32; 16]);
    npz::write(&directory.path().join("x.npz"), &arrays([("x", x)])).unwrap();
    let runs = [
        "gradcheck big.fgi",
        "bench big.fgi --batch 2 --runs 1",
        "build big.fgi -o out --grad loss --seed 0",
        "gradcheck big.fgi --device reference",
    ];
    let reads = [
        "check big.fgi",
        "explain big.fgi",
        "explain big.fgi::h",
        "eval big.fgi --inputs x.npz --output y.npz",
        "eval big.fgi --inputs x.npz --output y.npz --device reference",
        "train big.fgi --data x.npz",
        "cost big.fgi",
        "build big.fgi --emit wgsl --grad loss",
    ];
    // More than any machine can address; then more than this one has.
    for arguments in runs.iter().chain(&reads) {
        let (code, out, err) = run(&directory, &format!("{arguments} -D N=1000000000"));
        assert!((1..=3).contains(&code), "{arguments}: {code} {out}{err}");
        let is_sized = err.contains("[E045]") && err.contains("4000000000000000000 bytes");
        assert!(is_sized || err.contains("axis 2 of the input"), "{arguments}: {err}");
    }
    for arguments in runs {
        let (code, out, err) = run(&directory, &format!("{arguments} -D N=1000000"));
        assert!((1..=3).contains(&code), "{arguments}: {code} {out}{err}");
        // A shader counts elements.
        let is_sized = err.contains("bytes") || err.contains("elements: 1000000000000");
        assert!(is_sized, "{arguments}: {err}");
    }
    // Many steps, and many samples.
    for batch in ["1000000000", "1000000000000000000"] {
        let (code, out, err) = run(&directory, &format!("bench big.fgi --batch {batch} --runs 1"));
        assert!(code == 3 && err.contains("bytes of memory are needed"), "{code} {out}{err}");
    }
    assert_eq!(names(&directory), ["big.fgi", "data.npz", "net.fgi", "x.npz"]);
}

#[test]
fn names_of_any_length_are_printed() {
    let directory = place();
    let name = "w".repeat(70_000);
    let text = format!(
        "graph g(x: [2]) -> loss {{ param {name}: [2] = ones(); let loss = sum(x * {name} * {name}); }}"
    );
    write(&directory, "long.fgi", &text);
    for arguments in ["gradcheck long.fgi", "cost long.fgi"] {
        assert!(!done(&directory, arguments).contains(&name), "{arguments}");
    }
    // A file cannot be named like that.
    let name = &name[..200];
    write(&directory, "long.fgi", &text.replace(&"w".repeat(70_000), name));
    done(&directory, "build long.fgi -o out --grad loss");
    assert!(done(&directory, "inspect out").contains('…'));
}

// Building

#[test]
fn build_replaces_artifacts_and_nothing_else() {
    let directory = place();
    done(&directory, "build net.fgi -o out --grad loss");
    let first = std::fs::read(directory.path().join("out/manifest.json")).unwrap();
    done(&directory, "build net.fgi -o out --grad loss");
    assert_eq!(std::fs::read(directory.path().join("out/manifest.json")).unwrap(), first);
    std::fs::create_dir(directory.path().join("mine")).unwrap();
    std::fs::write(directory.path().join("mine/letter"), "dear").unwrap();
    fails(&directory, "build net.fgi -o mine", 3);
    assert_eq!(std::fs::read_to_string(directory.path().join("mine/letter")).unwrap(), "dear");
    assert_eq!(names(&directory), ["data.npz", "mine", "net.fgi", "out"]);
}

// Training

const TRAIN: &str = "train net.fgi --data data.npz --batch 5 --lr 0.01";

#[test]
fn train_prints_one_json_line_for_each_epoch() {
    let directory = place();
    let out = done(&directory, &format!("{TRAIN} --epochs 3 --json"));
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    for (epoch, line) in lines.iter().enumerate() {
        let fields = line.as_object().unwrap();
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        let mut expected = [
            "epoch",
            "train_loss",
            "train_accuracy",
            "test_loss",
            "test_accuracy",
            "samples_per_s",
            "seconds",
            "spike_rates",
        ];
        expected.sort_unstable();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        assert_eq!(line["epoch"], epoch + 1);
        let rate = line["spike_rates"]["h.z"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&rate), "{line}");
        let numbers = fields.iter().filter(|(name, _)| *name != "spike_rates");
        assert!(numbers.into_iter().all(|(_, value)| value.is_number()), "{line}");
    }
    // The same seed gives the same losses.
    let again = done(&directory, &format!("{TRAIN} --epochs 3 --json"));
    let losses = |out: &str| {
        let line = |line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["train_loss"].to_string()
        };
        out.lines().map(line).collect::<Vec<_>>()
    };
    assert_eq!(losses(&again), losses(&out));
    assert_eq!(done(&directory, &format!("{TRAIN} --epochs 3 --quiet")).lines().count(), 1);
}

/// Everything a checkpoint holds, bit by bit.
fn bits(path: &Path) -> (Vec<(String, Vec<u32>)>, fgi::checkpoint::Progress) {
    let Checkpoint { params, progress } = Checkpoint::load(path).unwrap();
    let bits = params.into_iter().map(|(name, array)| match array.data {
        Data::F32(values) => (name, values.into_iter().map(f32::to_bits).collect()),
        _ => panic!("{name} is not f32"),
    });
    (bits.collect(), progress)
}

#[test]
fn a_run_that_is_resumed_ends_where_the_whole_one_does() {
    let directory = place();
    let file = |name: &str| directory.path().join(name);
    for optimizer in ["adam", "sgd --momentum 0.9 --clip 0.1"] {
        let train = format!("{TRAIN} --optimizer {optimizer}");
        done(&directory, &format!("{train} --epochs 4 --checkpoint whole.st"));
        done(&directory, &format!("{train} --epochs 2 --checkpoint half.st"));
        done(&directory, &format!("{train} --epochs 4 --resume half.st --checkpoint rest.st"));
        assert_eq!(bits(&file("rest.st")), bits(&file("whole.st")), "{optimizer}");
        assert_ne!(bits(&file("half.st")), bits(&file("whole.st")), "{optimizer}");
    }
    let over = run(
        &directory,
        &format!("{TRAIN} --optimizer sgd --momentum 0.9 --epochs 2 --resume rest.st"),
    );
    assert!(over.0 == 0 && over.2.contains("all epochs are over"), "{over:?}");
}

#[test]
fn a_run_that_is_killed_goes_on_to_the_bit() {
    let directory = place();
    let file = |name: &str| directory.path().join(name);
    let mut training =
        fgic(&directory, &format!("{TRAIN} --epochs 1000000 --checkpoint killed.st --json"));
    let mut training = training.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(training.stdout.take().unwrap()).lines();
    assert_eq!(lines.take(5).filter(Result::is_ok).count(), 5);
    // The hardest signal, wherever the next epochs are.
    training.kill().unwrap();
    training.wait().unwrap();
    let epoch = Checkpoint::load(&file("killed.st")).unwrap().progress.epoch;
    assert!(epoch >= 5, "{epoch}");
    let epochs = epoch + 3;
    done(&directory, &format!("{TRAIN} --epochs {epochs} --resume killed.st --checkpoint rest.st"));
    done(&directory, &format!("{TRAIN} --epochs {epochs} --checkpoint whole.st"));
    assert_eq!(bits(&file("rest.st")), bits(&file("whole.st")));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let directory = place();
    let trained = |threads: usize| {
        done(
            &directory,
            &format!("{TRAIN} --epochs 3 --threads {threads} --checkpoint trained.st"),
        );
        bits(&directory.path().join("trained.st"))
    };
    let one = trained(1);
    for threads in [2, 3, 16] {
        assert_eq!(trained(threads), one, "{threads} threads");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let directory = place();
    done(&directory, &format!("{TRAIN} --epochs 1 --checkpoint a.st"));
    let bytes = std::fs::read(directory.path().join("a.st")).unwrap();
    std::fs::write(directory.path().join("cut.st"), &bytes[..bytes.len() / 2]).unwrap();
    for (options, expected) in [
        ("--resume a.st --seed 1", "the seed 0, not 1"),
        ("--resume a.st --optimizer sgd", "the optimiser adam, not sgd"),
        ("--resume a.st --batch 6", "batches of 5, not 6"),
        ("--resume cut.st", "not a complete safetensors file"),
        ("--resume none.st", "none.st"),
    ] {
        // The last of two options counts.
        let train = format!(
            "train net.fgi --data data.npz --lr 0.01 {}",
            if options.contains("--batch") { "" } else { "--batch 5" }
        );
        let message = fails(&directory, &format!("{train} {options}"), 3);
        assert!(message.contains(expected), "{message}");
    }
    // A parameter more.
    write(&directory, "net.fgi", &NET.replace("let u =", "param b: [N] = zeros(); let u = b +"));
    let message = fails(&directory, &format!("{TRAIN} --resume a.st"), 3);
    assert!(message.contains("a.st: the checkpoint is of another program"), "{message}");
    let message = fails(&directory, &format!("{TRAIN} --resume a.st --force"), 3);
    assert!(message.contains("`h.b` is missing"), "{message}");
    // The same parameters, but another threshold.
    write(&directory, "net.fgi", &NET.replace("0.5", "0.25"));
    let message = fails(&directory, &format!("{TRAIN} --resume a.st --epochs 2"), 3);
    assert!(message.contains("of another program") && message.contains("--force"), "{message}");
    let resume = format!("{TRAIN} --resume a.st --force --epochs 2 --checkpoint b.st");
    done(&directory, &resume);
    // It is a checkpoint of that program now.
    done(&directory, &format!("{TRAIN} --resume b.st --epochs 3"));
    fails(&directory, "train net.fgi --data data.npz --force", 2);
    // The same program in another layout, from a checkpoint that says nothing of it.
    write(&directory, "net.fgi", &NET.replace("let h      =", "/* neurons */ let h ="));
    done(&directory, &format!("{TRAIN} --resume a.st --epochs 2"));
    let mut old = Checkpoint::load(&directory.path().join("a.st")).unwrap();
    old.progress.program = None;
    old.save(&directory.path().join("old.st")).unwrap();
    let (code, _, err) = run(&directory, &format!("{TRAIN} --resume old.st --epochs 2"));
    assert!(code == 0 && err.contains("old.st does not say of which program it is"), "{err}");
}

#[test]
fn a_checkpoint_that_cannot_be_written_leaves_the_old_one() {
    let directory = place();
    std::fs::create_dir(directory.path().join("full")).unwrap();
    let message =
        fails(&directory, &format!("{TRAIN} --epochs 1 --checkpoint nowhere/a.st --quiet"), 3);
    assert!(message.contains("nowhere/a.st"), "{message}");
    done(&directory, &format!("{TRAIN} --epochs 1 --checkpoint a.st"));
    assert_eq!(names(&directory), ["a.st", "data.npz", "full", "net.fgi"], "no partial file stays");
}

#[cfg(unix)]
#[test]
fn an_interrupt_saves_a_checkpoint_that_goes_on() {
    let directory = place();
    let train = format!("{TRAIN} --json");
    let mut command = fgic(&directory, &format!("{train} --epochs 1000000 --checkpoint stop.st"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..2 {
        out.read_line(&mut line).unwrap();
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    let (code, _, err) = finished(child.wait_with_output().unwrap());
    assert_eq!(code, 130, "{err}");
    assert!(err.contains("--resume stop.st"), "{err}");
    let (stopped, progress) = bits(&directory.path().join("stop.st"));
    // It may have stopped with only the test of its epoch left.
    let epochs = progress.epoch + 2;
    done(&directory, &format!("{train} --epochs {epochs} --resume stop.st --checkpoint rest.st"));
    done(&directory, &format!("{train} --epochs {epochs} --checkpoint whole.st"));
    assert_eq!(bits(&directory.path().join("rest.st")), bits(&directory.path().join("whole.st")));
    assert_ne!(stopped, bits(&directory.path().join("rest.st")).0);
}

#[cfg(unix)]
#[test]
fn an_interrupt_overwrites_nothing() {
    let directory = place();
    write(&directory, "net.safetensors", "mine");
    let mut command = fgic(&directory, &format!("{TRAIN} --json --epochs 1000000"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    std::io::copy(&mut out, &mut std::io::sink()).unwrap();
    let (code, _, err) = finished(child.wait_with_output().unwrap());
    assert!(code == 130 && err.contains("--resume net-2.safetensors"), "{err}");
    let files = ["data.npz", "net-2.safetensors", "net.fgi", "net.safetensors"];
    assert_eq!(names(&directory), files);
    assert_eq!(std::fs::read_to_string(directory.path().join("net.safetensors")).unwrap(), "mine");
}

/// The loss stays finite where w is below 0, but its derivative is that of a square root.
const ROOT: &str = "\
graph root(x: [B, 6]) -> (loss) {
    param w: [] = constant(1);
    let loss = mean(sum(x, axis = -1)) * 0 + w + bypass(0 * w, sqrt(w));
}
";

#[test]
fn a_gradient_without_value_stops_at_its_step() {
    let directory = place();
    write(&directory, "root.fgi", ROOT);
    let train = "train root.fgi --data data.npz --bind x=x --batch 5 --optimizer sgd --lr 0.1 \
                 --schedule constant --json --checkpoint a.st --allow W004";
    let (code, out, err) = run(&directory, train);
    assert_eq!((code, out.lines().count()), (3, 2), "{out}{err}");
    assert!(err.contains("the gradient of `w` is NaN at step 11 (epoch 3); `fgic check`"), "{err}");
    let last = Checkpoint::load(&directory.path().join("a.st")).unwrap();
    assert_eq!(last.progress.epoch, 2);
    assert!(last.params["w"].scalar().is_some_and(f32::is_finite), "{:?}", last.params);
    // Adam's memory takes an infinite square, which stops the parameter without a sound.
    let steep = ROOT.replace("bypass(0 * w, sqrt(w))", "1e30 * w");
    write(&directory, "root.fgi", &steep);
    let train = "train root.fgi --data data.npz --bind x=x --clip inf";
    let message = fails(&directory, train, 3);
    assert!(message.contains("the parameter `adam.v/w` is inf at step 1"), "{message}");
}

#[test]
fn layers_that_never_or_always_spike_are_named() {
    let directory = place();
    let train = "train net.fgi --data data.npz --epochs 3";
    let (_, out, err) = run(&directory, train);
    assert!(out.lines().all(|line| line.contains("  spikes h.z ")), "{out}");
    assert!(!err.contains("warning"), "{err}");
    for (threshold, rate, expected) in [
        (
            "1000",
            " 0.0 %",
            "`h.z` at net.fgi:4 is dead: no training sample makes it spike after epoch 1",
        ),
        ("-1000", " 100.0 %", "`h.z` at net.fgi:4 is saturated: it spikes at every step"),
    ] {
        let net = NET.replace("step(u - 0.5)", &format!("step(u - ({threshold}))"));
        write(&directory, "net.fgi", &net);
        let (code, out, err) = run(&directory, train);
        assert_eq!((code, err.matches("warning: ").count()), (0, 1), "{err}");
        assert!(err.contains(expected) && out.contains(&format!("spikes h.z{rate}")), "{out}{err}");
    }
}

#[test]
fn train_and_build_warn_as_check_does() {
    let directory = place();
    write(
        &directory,
        "dead.fgi",
        &DEAD.replace("[N]", "[B, 6]").replace("param w: [B, 6]", "param w: [6]"),
    );
    npz::write(
        &directory.path().join("data.npz"),
        &arrays(["x", "y"].map(|name| (name, Array::new([24, 6], vec![0.5f32; 144])))),
    )
    .unwrap();
    for command in
        ["train dead.fgi --data data.npz --epochs 0", "build dead.fgi -o out --grad loss"]
    {
        let checked = run(&directory, "check dead.fgi").2;
        let (code, _, err) = run(&directory, command);
        assert!(code == 0 && err.contains("warning[W002]"), "{err}");
        assert!(err.contains(&checked), "{err}");
        let (code, _, err) = run(&directory, &format!("{command} --allow W001 --allow W002"));
        assert!(code == 0 && !err.contains("warning"), "{err}");
        let err = fails(&directory, &format!("{command} --deny warnings"), 1);
        assert!(err.contains("error[W002]"), "{err}");
    }
}

#[test]
fn fields_are_bound_by_name_by_fit_or_as_told() {
    let directory = place();
    let file = directory.path().join("other.npz");
    let x: Vec<f32> = (0..20 * 6).map(|i| i as f32 / 120.0).collect();
    let image = || Array::new([20, 2, 3], x.clone());
    let digit = || Array::new([20], (0..20).map(|i| (i % 3) as u8).collect::<Vec<_>>());
    // Only one field fits each input.
    npz::write(&file, &arrays([("image", image()), ("digit", digit())])).unwrap();
    done(&directory, "train net.fgi --data other.npz --epochs 1");
    // Two fit: which one is said.
    npz::write(&file, &arrays([("image", image()), ("noise", image()), ("digit", digit())]))
        .unwrap();
    let message = fails(&directory, "train net.fgi --data other.npz --epochs 1", 3);
    assert!(message.contains("--bind x=FIELD") && message.contains("`noise`"), "{message}");
    done(&directory, "train net.fgi --data other.npz --epochs 1 --bind x=image");
    for (bind, expected) in
        [("y=image", "no input named `y`"), ("x=imago", "did you mean `image`"), ("x=digit", "`x`")]
    {
        let message =
            fails(&directory, &format!("train net.fgi --data other.npz --bind {bind}"), 3);
        assert!(message.contains(expected), "{message}");
    }
    fails(&directory, "train net.fgi --data other.npz --bind x", 2);
    // Samples of another size, and the sizes that would do.
    npz::write(&file, &arrays([("x", Array::new([20, 8], vec![0.5f32; 160])), ("label", digit())]))
        .unwrap();
    let message = fails(&directory, "train net.fgi --data other.npz", 3);
    assert!(message.contains("-D T=2 -D K=4"), "{message}");
    done(&directory, "train net.fgi --data other.npz -D K=4 --epochs 1");
}

/// [`place`] with other arrays.
fn place_with(x: Array, label: impl Into<Data>) -> TempDir {
    let directory = place();
    let label = Array::new([x.shape[0]], label);
    npz::write(&directory.path().join("data.npz"), &arrays([("x", x), ("label", label)])).unwrap();
    directory
}

#[test]
fn every_conversion_of_data_is_said() {
    let events: Vec<u8> = (0..24 * 6).map(|i| u8::from(i % 5 == 0)).collect();
    let labels: Vec<i64> = (0..24).map(|i| i % 3).collect();
    let train = "train net.fgi --data data.npz --epochs 2 --json";
    let loss = |directory: &TempDir, options: &str, said: &str| {
        let (code, out, err) = run(directory, &format!("{train} {options}"));
        assert_eq!(
            (code, err.lines().next()),
            (0, Some(format!("note: {said}").as_str())),
            "{err}"
        );
        let line: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        line["train_loss"].to_string()
    };
    let of = |x: Data| place_with(Array::new([24, 2, 3], x), labels.clone());
    // Whatever their type, the numbers are the same.
    let bytes = of(events.clone().into());
    let expected = loss(&bytes, "", "x: u8 as f32; label: i64 as i32");
    let floats: Vec<f32> = events.iter().map(|event| f32::from(*event)).collect();
    assert_eq!(loss(&of(floats.into()), "", "label: i64 as i32"), expected);
    let doubles: Vec<f64> = events.iter().map(|event| f64::from(*event)).collect();
    assert_eq!(loss(&of(doubles.into()), "", "x: f64 as f32; label: i64 as i32"), expected);
    let integers: Vec<i64> = events.iter().map(|event| i64::from(*event)).collect();
    assert_eq!(loss(&of(integers.into()), "", "x: i64 as f32; label: i64 as i32"), expected);
    let booleans: Vec<bool> = events.iter().map(|event| *event == 1).collect();
    assert_eq!(loss(&of(booleans.into()), "", "x: bool as f32; label: i64 as i32"), expected);
    // Those that are to be scaled are.
    let scaled = loss(&bytes, "--scale x=1/255", "x: u8 / 255; label: i64 as i32");
    assert_ne!(scaled, expected);
    let pixels: Vec<f32> = events.iter().map(|event| f32::from(*event) / 255.0).collect();
    assert_eq!(loss(&of(pixels.into()), "", "label: i64 as i32"), scaled);
    let digits = "train net.fgi --data digits -D T=8 -D K=8 --epochs 0";
    write(&bytes, "net.fgi", &NET.replace("spiking[3]", "spiking[10]"));
    assert!(run(&bytes, digits).2.contains("note: pixels: u8 / 16\n"));
    // Floats become no classes by themselves.
    let directory = place_with(Array::new([24, 6], vec![0.5f32; 144]), vec![1.0f32; 24]);
    let message = fails(&directory, train, 3);
    assert!(message.contains("`label.astype(\"int32\")`"), "{message}");
    for (option, code, expected) in [
        ("--scale y=2", 3, "no data field named `y`"),
        ("--scale x=1/0", 2, "`0` is no factor"),
        ("--scale x=nan", 2, "`nan` is no factor"),
        ("--scale x", 2, "FIELD=FACTOR"),
        ("--scale label=2", 3, "elements of type i32"),
    ] {
        let message = fails(&of(events.clone().into()), &format!("{train} {option}"), code);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn data_are_looked_at_before_training() {
    let x = |last: f32| {
        let mut x = vec![0.5f32; 144];
        x[143] = last;
        Array::new([24, 2, 3], x)
    };
    let labels =
        |last: i64| (0..24).map(|i| if i == 23 { last } else { i % 3 }).collect::<Vec<_>>();
    let train = "train net.fgi --data data.npz --epochs 1 --checkpoint a.st";
    for (x, label, expected) in [
        (x(f32::NAN), labels(0), "sample 23 of `x` is NaN at [1, 2]"),
        (x(f32::INFINITY), labels(0), "sample 23 of `x` is inf at [1, 2]"),
        (x(0.5), labels(3), "sample 23 of `label` is 3; expected 0 … 2"),
        (x(0.5), labels(-1), "sample 23 of `label` is -1; expected 0 … 2"),
        (x(0.5), labels(1 << 40), "sample 23 of `label` is 1099511627776"),
    ] {
        let directory = place_with(x, label);
        let message = fails(&directory, train, 3);
        assert!(message.contains(expected) && !message.contains("--lr"), "{message}");
        assert_eq!(names(&directory), ["data.npz", "net.fgi"]);
    }
}

#[test]
fn samples_keep_their_axes_unless_told() {
    let data = |shape: [usize; 3]| {
        let x: Vec<f32> = (0..shape.iter().product()).map(|i| (i % 7) as f32 / 7.0).collect();
        place_with(Array::new(shape, x), (0..24).map(|i| i % 3).collect::<Vec<i64>>())
    };
    let train = "train net.fgi --data data.npz --epochs 1 --quiet";
    // The data say what T and K are, whatever the defaults of the program.
    done(&data([24, 5, 4]), train);
    done(&data([24, 5, 4]), &format!("{train} -D T=5"));
    let transposed = data([24, 4, 5]);
    let message = fails(&transposed, &format!("{train} -D T=5 -D K=4"), 3);
    let parts = ["is [4, 5]", "[5, 4] (5 steps)", "`x.transpose(0, 2, 1)`", "--reshape"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    assert!(!message.contains("-D "), "{message}");
    done(&transposed, &format!("{train} -D T=5 -D K=4 --reshape"));
    let message = fails(&data([24, 5, 4]), &format!("{train} -D T=10 -D K=2"), 3);
    assert!(message.contains("-D T=5 -D K=4") && !message.contains("transpose"), "{message}");
    done(&data([24, 5, 4]), &format!("{train} -D T=10 -D K=2 --reshape"));
}

#[test]
fn programs_that_cannot_be_trained_say_why() {
    let directory = place();
    write(
        &directory,
        "mute.fgi",
        "graph g(x: [B, 6]) -> y { param w: [6] = zeros(); let y = sum(x * w); }",
    );
    assert!(fails(&directory, "train mute.fgi --data data.npz", 1).contains("`loss`"));
    write(
        &directory,
        "nan.fgi",
        "graph g(x: [B, 6]) -> loss { param w: [6] = zeros(); let loss = log(sum(w) - 1); }",
    );
    let message = fails(&directory, "train nan.fgi --data data.npz", 3);
    assert!(message.contains("NaN at step 1"), "{message}");
}
