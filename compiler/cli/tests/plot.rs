//! `fgic plot`: the points against what they should be, the files that it writes, what it refuses.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// The value and the gradient at each point, for each function.
type Curves = BTreeMap<String, Vec<[f64; 3]>>;

fn fgic(arguments: &[&str]) -> Output {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fgic"));
    command.arg("plot").args(arguments).current_dir(workspace).output().unwrap()
}

fn curves(arguments: &[&str]) -> Curves {
    let output = fgic(&[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let curve = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            let list = object[name].as_array().unwrap();
            list.iter().map(|number| number.as_f64().unwrap_or(f64::NAN)).collect()
        };
        let (x, value, gradient) = (numbers("x"), numbers("value"), numbers("gradient"));
        assert!(x.len() == value.len() && x.len() == gradient.len());
        let points = (0..x.len()).map(|i| [x[i], value[i], gradient[i]]).collect();
        (object["name"].as_str().unwrap().to_string(), points)
    };
    lines.lines().map(curve).collect()
}

/// Figure 1 of Otte 2024: a step with the derivative of tanh, and with a double Gaussian.
#[test]
fn the_figure_of_the_paper() {
    let gaussian = |x: f64, sigma: f64| (-x * x / (2.0 * sigma * sigma)).exp();
    let panels: [(&str, &dyn Fn(f64) -> f64); 2] = [
        ("bypassing", &|x| 1.0 - x.tanh().powi(2)),
        ("injection", &|x| 1.3 * gaussian(x, 0.5) - 0.3 * gaussian(x, 1.0)),
    ];
    let targets = ["dsl-examples/fgi/fgi.fgi::bypassing", "dsl-examples/fgi/fgi.fgi::injection"];
    for device in ["reference", "cpu", "gpu"] {
        let curves = curves(&[targets[0], targets[1], "--device", device]);
        for (name, gradient) in panels {
            let points = &curves[name];
            assert_eq!((points.len(), points[0][0], points[1000][0]), (1001, -3.0, 3.0));
            for &[x, y, dx] in points {
                assert_eq!(y, f64::from(u8::from(x > 0.0)), "{name} at {x} on {device}");
                let expected = gradient(x);
                assert!(
                    (dx - expected).abs() < 1e-6,
                    "{name} at {x} on {device}: {dx}, {expected}"
                );
            }
        }
    }
}

/// A surrogate is the gradient of its spike, everywhere.
#[test]
fn every_surrogate_is_the_gradient_of_its_spike() {
    let points = ["--points", "61", "--range", "-1.9,2.1", "--device", "reference"];
    let shapes = curves(&[&["std:surrogate"], &points[..]].concat());
    let spikes = curves(&[&["std:surrogate", "--spike"], &points[..]].concat());
    assert!(shapes.len() > 20 && shapes.len() == spikes.len());
    for (name, spike) in &spikes {
        for (spike, shape) in spike.iter().zip(&shapes[name]) {
            assert_eq!(spike[1], f64::from(u8::from(spike[0] > 0.0)), "{name} at {}", spike[0]);
            let expected = if name.ends_with("_integral") { shape[2] } else { shape[1] };
            assert!((spike[2] - expected).abs() < 1e-12, "{name} at {}", spike[0]);
        }
    }
}

#[test]
fn figures_are_written_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).display().to_string();
    let targets = ["std:spike::atan", "--set", "a=4", "std:spike::gaussian"];
    let (svg, png) = (file("figure.svg"), file("figure.PNG"));
    for path in [&svg, &png] {
        let output = fgic(&[&targets[..], &["-o", path]].concat());
        assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty());
    }
    let text = std::fs::read_to_string(&svg).unwrap();
    for word in ["<svg", "atan (a = 4)", "gaussian", "value", "gradient received", "−3"] {
        assert!(text.contains(word), "{word}");
    }
    let png = std::fs::read(&png).unwrap();
    let mut reader = png::Decoder::new(std::io::Cursor::new(&png)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let size = reader.next_frame(&mut pixels).unwrap();
    assert_eq!((size.width, size.height), (1600, 628));
    // Text, both lines and white.
    let is_dark = |pixel: &&[u8]| pixel[0] < 100 && pixel[1] < 100;
    let is_red = |pixel: &&[u8]| pixel[0] > 150 && pixel[1] < 80;
    let dark = pixels.chunks(3).filter(is_dark).count();
    let red = pixels.chunks(3).filter(is_red).count();
    assert!(dark > 5_000 && red > 2_000 && dark + red < 40_000, "{dark} {red}");

    let failed = fgic(&["std:spike::atan", "std:spike::nothing", "-o", &svg]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&svg).unwrap(), text);
    let nowhere = fgic(&["std:spike::atan", "-o", &file("no/figure.svg")]);
    assert_eq!(nowhere.status.code(), Some(3));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn what_is_no_function_of_one_variable_is_refused() {
    let program = "
const C = 1;
fn two(x, y) = x * y;
fn mixed(x) = x - mean(x);
fn pair(x) = (x, x);
fn odd(x) = x > 0;
fn all(x = 1, y = 2) = x * y;
layer neuron(x: [B, N]) { let u = 0.9 * prev(u) + x; u }
graph several(x: [N]) -> (a, b) { let a = x; let b = 2 * x; }
graph fixed(x: [4]) -> (a) { let a = x; }
graph whole(x: [N]) -> (a) { let a = sum(x); }";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("p.fgi");
    std::fs::write(&file, program).unwrap();
    let cases: &[(&str, &[&str], &str)] = &[
        ("al", &[], "did you mean `all`?"),
        ("two", &[], "a function of 2 variables, `x`, `y`"),
        ("two", &["--set", "y=1", "--set", "x=1"], "no argument left to vary"),
        ("two", &["--set", "y=1", "--set", "z=1"], "no function has an argument `z`"),
        ("mixed", &[], "not computed point by point: it has a `reduce`"),
        ("pair", &[], "no function of numbers to numbers in `x`"),
        ("odd", &[], "the value of `odd` is bool, not f32"),
        ("C", &[], "neither a function nor a graph"),
        ("neuron", &[], "neither a function nor a graph"),
        ("several", &[], "say which, `several.a` or `several.b`"),
        ("several.c", &[], "no output `c` of its input's type"),
        ("fixed", &[], "an f32 tensor of open dimensions can be drawn"),
        ("whole", &[], "no output of its input's type"),
        ("all", &["--range", "3,-3"], "expected LOW below HIGH"),
        ("all", &["-o", "figure.pdf"], "ends in .svg or .png"),
    ];
    for (item, options, expected) in cases {
        let target = format!("{}::{item}", file.display());
        let output = fgic(&[&[target.as_str(), "--json"], *options].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(expected), "{item}: {message}");
        assert!(output.stdout.is_empty(), "{item}");
    }
    std::fs::write(directory.path().join("wrong.fgi"), "fn wrong(x) = x + y;").unwrap();
    let output =
        fgic(&[&format!("{}::wrong", file.with_file_name("wrong.fgi").display()), "--json"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("wrong.fgi:1:19"));
    let target = |item: &str| format!("{}::{item}", file.display());
    let fine = curves(&[&target("several.b"), &target("all"), "--points", "3"]);
    assert_eq!(fine["several"], [[-3.0, -6.0, 2.0], [0.0, 0.0, 2.0], [3.0, 6.0, 2.0]]);
    assert_eq!(fine["all"], fine["several"]);
}
