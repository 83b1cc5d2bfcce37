//! The standard library: surrogates against the formulas of the frameworks, neurons and layers against loops by hand,
//! and every function and layer on every engine, with its gradients.

use std::collections::BTreeMap;
use std::sync::Arc;

use fgi::npz::Arrays;
use fgi::{Array, Device, Session};
use fgi_compiler::Gradients;
use fgi_compiler::front::check::{self, ArgumentHead, DimHead, FunctionHead, check};
use fgi_compiler::ir::graph::Bindings;
use fgi_compiler::ir::graph::interpret::{Tensor, Values, interpret, interpret_dual};
use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::ir::verify;
use fgi_compiler::middle::optimizer::{LEARNING_RATE, Optimizer};
use fgi_compiler::source::NoFiles;
use fgi_tests::{Engine, program::Case, workspace};

/// A bell of height 1.
fn bell(x: f64, sigma: f64) -> f64 {
    (-x * x / (2.0 * sigma * sigma)).exp()
}

fn density(x: f64, sigma: f64) -> f64 {
    bell(x, sigma) / (sigma * std::f64::consts::TAU.sqrt())
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

type Formula = fn(f64) -> f64;

/// The derivatives as the frameworks give them, with their defaults.
const FORMULAS: &[(&str, Formula)] = &[
    ("sigmoid(x)", |x| 4.0 * logistic(4.0 * x) * (1.0 - logistic(4.0 * x))),
    ("sigmoid(x, 25)", |x| 25.0 * logistic(25.0 * x) * (1.0 - logistic(25.0 * x))),
    ("atan(x)", |x| 1.0 / (1.0 + (PI * x).powi(2))),
    ("atan_spyx(x)", |x| 1.0 / (PI * (1.0 + (2.0 * PI * x).powi(2)))),
    ("fast_sigmoid(x)", |x| (1.0 + 25.0 * x.abs()).powi(-2)),
    ("superspike_sj(x)", |x| (1.0 + x.abs()).powi(-2)),
    ("soft_sign(x)", |x| (1.0 + 2.0 * x.abs()).powi(-2)),
    ("piecewise_quadratic(x)", |x| (1.0 - x.abs()).max(0.0)),
    ("triangle(x)", |x| (1.0 - 2.0 * x.abs()).max(0.0)),
    ("triangle(x, h = 0.3, k = 1)", |x| 0.3 * (1.0 - x.abs()).max(0.0)),
    ("triangular_snnt(x)", |x| if x < 0.0 { 1.0 } else { -1.0 }),
    ("piecewise_exp(x)", |x| 0.5 * (-x.abs()).exp()),
    ("exp_unnormed(x)", |x| (-x.abs()).exp()),
    ("exp_graded(x)", |x| x.min(0.0).exp()),
    ("erf(x)", |x| 2.0 / PI.sqrt() * (-4.0 * x * x).exp()),
    ("heavi_erfc(x)", |x| 2.0 / PI.sqrt() * (-x * x).exp()),
    ("heavi_erfc(x, 3)", |x| 2.0 / PI.sqrt() * (-9.0 * x * x).exp()),
    ("gaussian(x)", |x| bell(x, 1.0)),
    ("gaussian_density(x)", |x| density(x, 0.5)),
    ("multi_gaussian(x)", |x| {
        1.15 * density(x, 0.5) - 0.15 * (density(x - 0.5, 3.0) + density(x + 0.5, 3.0))
    }),
    ("dblgaussian(x)", |x| 1.3 * bell(x, 0.5) - 0.3 * bell(x, 1.0)),
    ("double_gaussian(x)", |x| 1.3 * bell(x, 0.5) - 0.6 * bell(x, 1.0)),
    ("tanh(x)", |x| 1.0 - x.tanh().powi(2)),
    ("circ(x)", |x| (1.0 + x * x).powf(-1.5)),
    ("rect(x)", |x| f64::from(u8::from(x.abs() < 0.5))),
    ("boxcar(x)", |x| if x.abs() < 1.0 { 0.5 } else { 0.0 }),
    ("window_above(x)", |x| f64::from(u8::from(x >= -1.0))),
    ("periodic_exp(x)", |x| (-2.0 * if x < 0.0 { -x } else { (x - x.round()).abs() }).exp()),
    ("piecewise_leaky_relu(x)", |x| if x.abs() < 1.0 { 0.5 } else { 0.01 }),
    ("leaky_relu(x)", |x| f64::from(u8::from(x >= 0.0))),
    ("log_tailed_relu(x)", |x| if x <= 0.0 { 0.0 } else { 1.0 / x.max(1.0) }),
    ("s2nn(x)", |x| {
        if x < 0.0 { 4.0 * logistic(4.0 * x) * (1.0 - logistic(4.0 * x)) } else { 1.0 / (x + 1.0) }
    }),
    ("q_pseudo_spike(x)", |x| (1.0 + 2.0 * x.abs()).powi(-2)),
    ("nonzero_sign_log_abs(x)", |x| 1.0 / (1.0 + x.abs())),
    ("squarewave_fourier(x)", |x| 0.5 * (PI / 4.0 * x).cos()),
    ("squarewave_fourier(x, n = 4)", |x| {
        (1..4).map(|i| 0.5 * (f64::from(2 * i - 1) * PI / 4.0 * x).cos()).sum()
    }),
    ("fake_numeric(x)", |x| (1.0 / x.abs()).min(0.3)),
    ("spike_rate_escape(x)", |x| 25.0 * (-(x - 1.0).abs()).exp()),
    ("sparse_fast_sigmoid(x)", |x| if x > 1.0 { (1.0 + 25.0 * x).powi(-2) } else { 0.0 }),
    ("ste(x)", |_| 1.0),
    ("ste_clipped(x)", |x| f64::from(u8::from(x.abs() <= 1.0))),
    ("multi_level(x)", |x| f64::from(u8::from((0.0..=4.0).contains(&x)))),
    ("round_ste(x)", f64::round_ties_even),
    ("ceil_ste(x)", f64::ceil),
    ("floor_ste(x)", f64::floor),
    ("clamp_ste(x)", |x| x.clamp(0.0, 1.0)),
    ("step_quantize(x, 0.3)", |x| (x / 0.3).round_ties_even() * 0.3),
    ("k_bit_quantize(x, 2)", |x| (3.0 * x).round_ties_even() / 3.0),
    ("affine_k_bit_quantize(x, 2, 1, 2)", |x| {
        2.0 * (3.0 * x.clamp(0.0, 1.0)).round_ties_even() / 3.0 + 1.0
    }),
    ("quantize_8b(x)", |x| ((32.0 * x).round_ties_even() / 32.0).clamp(-4.0, 255.0 / 64.0)),
];

const PI: f64 = std::f64::consts::PI;

#[test]
fn surrogates_are_those_of_the_frameworks() {
    let x: Vec<f64> = (-60..=60).map(|i| f64::from(i) * 0.0371 + 0.001).collect();
    let lines = FORMULAS.iter().enumerate();
    let lines = lines.map(|(i, (call, _))| format!("let y{i} = surrogate::{call} + 0 * x;\n"));
    let names: Vec<_> = (0..FORMULAS.len()).map(|i| format!("y{i}")).collect();
    let text =
        format!("graph g(x: [N]) -> ({}) {{ {} }}", names.join(", "), lines.collect::<String>());
    let checked = check("formulas.fgi", &text, &NoFiles, &check::Options::default());
    let graph = checked.graph.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    let graph = verify(graph).unwrap();
    let values = Values::from([("x".to_owned(), Tensor::new([x.len()], x.clone()))]);
    let bindings = Bindings::from([("N".into(), x.len() as i64)]);
    let results = interpret(&graph, &bindings, &values).unwrap();
    for (i, (call, formula)) in FORMULAS.iter().enumerate() {
        for (x, found) in x.iter().zip(&results.output(&format!("y{i}")).unwrap().data) {
            let expected = formula(*x);
            assert!(
                (found - expected).abs() <= 1e-12 * expected.abs().max(1.0),
                "{call} at {x}: {found}, not {expected}"
            );
        }
    }
}

/// The functions of one variable x in a module of the library, but for helpers that take numbers.
fn functions(module: &str) -> Vec<String> {
    let path = workspace().join(format!("compiler/std/{module}.fgi"));
    let heads = check::heads(module, &std::fs::read_to_string(path).unwrap(), &NoFiles);
    let names = heads.functions.into_iter().map(|head| head.name);
    names.filter(|name| name != "harmonic").collect()
}

#[test]
fn spikes_have_the_derivative_of_their_surrogate() {
    let surrogates = functions("surrogate");
    let x: Vec<f64> = (-60..=60).map(|i| f64::from(i) * 0.0371 + 0.001).collect();
    let mut count = 0;
    // Each draw is another: the spike's is not that of the surrogate beside it.
    let is_drawn = |name: &str| name == "noisy_leak";
    let names = functions("spike").into_iter();
    for name in names.filter(|name| surrogates.contains(name) && !is_drawn(name)) {
        // The spike's default is that of the paper, the surrogate's that of its listing.
        let sigma = if name == "gaussian" { ", sigma = 0.5" } else { "" };
        let text = format!(
            "graph g(x: [N]) -> (z, d) {{ let z = spike::{name}(x); let d = surrogate::{name}(x{sigma}) + 0 * x; }}"
        );
        let graph = check("spike.fgi", &text, &NoFiles, &check::Options::default()).graph;
        let graph = verify(graph.unwrap()).unwrap();
        let tensor = |data: Vec<f64>| Tensor::new([x.len()], data);
        let values = Values::from([("x".to_owned(), tensor(x.clone()))]);
        let ones = Values::from([("x".to_owned(), tensor(vec![1.0; x.len()]))]);
        let bindings = Bindings::from([("N".into(), x.len() as i64)]);
        let (values, slopes) = interpret_dual(&graph, &bindings, &values, &ones).unwrap();
        let (expected, found) = (values.output("d").unwrap(), slopes.output("z").unwrap());
        for ((x, expected), found) in x.iter().zip(&expected.data).zip(&found.data) {
            assert!((found - expected).abs() <= 1e-9, "{name} at {x}: {found}, not {expected}");
        }
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn a_width_that_is_a_parameter_learns_through_bypass() {
    let x = [-2.5, -0.7, -0.2, 0.3, 0.9, 2.0];
    let tensor = |data: Vec<f64>| Tensor::new([data.len()], data);
    for (name, width) in
        [("atan", "a"), ("fast_sigmoid", "k"), ("gaussian", "sigma"), ("rect", "w")]
    {
        let text = format!(
            "graph g(x: [N], w: [N]) -> (z, g) {{
                let z = bypass(step(x), surrogate::{name}_integral(x, {width} = w));
                let g = surrogate::{name}_integral(x, {width} = w);
            }}"
        );
        let graph = check("width.fgi", &text, &NoFiles, &check::Options::default()).graph;
        let graph = verify(graph.unwrap()).unwrap();
        let bindings = Bindings::from([("N".into(), x.len() as i64)]);
        let at = |w: f64| {
            let inputs = [("x", x.to_vec()), ("w", vec![w; x.len()])];
            Values::from(inputs.map(|(name, data)| (name.to_owned(), tensor(data))))
        };
        let still = [("x", 0.0), ("w", 1.0)].map(|(n, d)| (n.to_owned(), tensor(vec![d; x.len()])));
        let (_, slopes) =
            interpret_dual(&graph, &bindings, &at(1.5), &Values::from(still)).unwrap();
        let g = |w| interpret(&graph, &bindings, &at(w)).unwrap().output("g").unwrap().data.clone();
        let (above, below) = (g(1.5 + 1e-5), g(1.5 - 1e-5));
        let found = &slopes.output("z").unwrap().data;
        for ((above, below), found) in above.iter().zip(&below).zip(found) {
            let expected = (above - below) / 2e-5;
            assert!((found - expected).abs() <= 1e-6, "{name}: {found}, not {expected}");
        }
        assert!(found.iter().any(|slope| *slope != 0.0), "{name}");
    }
}

/// In f32, from 0 to a million on both sides.
#[test]
fn far_from_the_threshold_values_and_gradients_are_finite() {
    let sizes = (-6..=6).map(|e| 10f32.powi(e)).flat_map(|x| [x, -x]);
    let x: Vec<f32> = sizes.chain([0.0, 0.5, -0.5, 2.0, -2.0, 4.0]).collect();
    let values = Arrays::from([("x".to_owned(), Array::new([x.len()], x.clone()))]);
    for module in ["surrogate", "spike"] {
        for name in functions(module) {
            let text = format!(
                "graph g(x: [N]) -> (loss, y) {{ let y = {module}::{name}(x) + 0 * x; let loss = sum(y); }}"
            );
            let gradients = Some(Gradients { output: "loss".into(), wrt: Some(vec!["x".into()]) });
            let options = fgi_compiler::Options { gradients, ..Default::default() };
            let compiled = fgi_tests::compiled(&text, &options);
            let found = fgi_tests::run(Engine::Cpu, &compiled, &values).unwrap();
            for what in ["y", "grad/x"] {
                for (x, value) in x.iter().zip(found[what].to_f64()) {
                    assert!(value.is_finite(), "{what} of {module}::{name} at {x}: {value}");
                }
            }
        }
    }
}

/// A call of everything in a module, with its required arguments: `label` where they are integers, else `x`.
fn calls(module: &str) -> Vec<String> {
    let path = workspace().join(format!("compiler/std/{module}.fgi"));
    let text = std::fs::read_to_string(path).unwrap();
    let heads = check::heads(module, &text, &NoFiles);
    let of_rank_3 = ["conv1d", "heads_of", "spiking_attention"];
    let call = |head: &FunctionHead| {
        let size = |dim: &DimHead| if dim.name == "T" { "T" } else { "3" };
        let dims: Vec<_> = head.dims.iter().filter(|d| d.default.is_none()).map(size).collect();
        let dims = if dims.is_empty() { String::new() } else { format!("[{}]", dims.join(", ")) };
        let required = head.arguments.iter().filter(|argument| !argument.has_default);
        let value = |argument: &ArgumentHead| match argument.name.as_str() {
            _ if argument.is_i32 => "label",
            "x" if head.name.ends_with("2d") || head.name == "channelwise" => {
                "reshape(x, [B, 3, 1, 1]) * reshape(1 + x, [B, 1, 3, 1]) * reshape(2 + x, [B, 1, 1, 3])"
            }
            "x" if of_rank_3.contains(&head.name.as_str()) => "stack(x, 1 + x, x * x, axis = 1)",
            "label" => "label",
            "weight" => "[1, 0.5, 2]",
            "mask" => "sigmoid(mean(x, axis = -1))",
            "f" => "neuron::li",
            "others" => "0",
            "by" => "[0, 0.75, 2]",
            _ => "x",
        };
        let required = required.map(value).collect::<Vec<_>>().join(", ");
        format!("{module}::{}{dims}({required})", head.name)
    };
    // They take numbers, variances, or tensors of a shape of their own, and are in layers that are called.
    let inner = ["gate", "height", "standard", "s4d_mode", "sliding_tap", "delay_tap", "over_time"];
    let heads = heads.functions.iter().chain(&heads.layers);
    heads.filter(|head| !inner.contains(&head.name.as_str())).map(call).collect()
}

/// A binding of what a call gives, and a term of a loss that all of it takes part in.
fn equations(number: usize, call: &str) -> (String, String) {
    let part = |name: &str| format!("{name} * {name} + {name}");
    for size in 1..=4 {
        let names: Vec<_> = (0..size).map(|i| format!("y{number}_{i}")).collect();
        let pattern = if size == 1 { names[0].clone() } else { format!("({})", names.join(", ")) };
        let binding = format!("let {pattern} = {call};\n");
        let parts: Vec<_> = names.iter().map(|name| part(name)).collect();
        for (before, after) in [("time_mean(mean(", "))"), ("mean(", ")")] {
            let term = format!("{before}{}{after}", parts.join(" + "));
            let text = program(&binding, &term);
            if check("call.fgi", &text, &NoFiles, &check::Options::default()).graph.is_some() {
                return (binding, term);
            }
        }
    }
    panic!("{call} cannot be used");
}

fn program(bindings: &str, loss: &str) -> String {
    let dims = if bindings.contains("[T]") { "[T = 5]" } else { "" };
    format!(
        "graph g{dims}(x: [T; B, 3], label: i32[B]) -> (loss) {{\n{bindings}let loss = {loss};\n}}"
    )
}

#[track_caller]
fn agrees(module: &str, at_once: usize) {
    let calls = calls(module);
    let mut faults = Vec::new();
    for (part, calls) in calls.chunks(at_once).enumerate() {
        let equations = calls.iter().enumerate().map(|(i, call)| equations(i, call));
        let (bindings, terms): (Vec<_>, Vec<_>) = equations.unzip();
        let text = program(&bindings.concat(), &terms.join("\n + "));
        let sizes = [("B".to_owned(), 2), ("T".to_owned(), 5)].into();
        let (name, dims) = (format!("{module} {part}"), BTreeMap::new());
        let case = Case { name, text, graph: None, dims, sizes, labels: 3 };
        faults.extend(case.faults(&[Engine::Cpu, Engine::Gpu]));
    }
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn surrogates_agree() {
    agrees("surrogate", 12);
}

#[test]
fn spikes_losses_and_encoders_agree() {
    agrees("spike", 12);
    agrees("loss", 12);
    agrees("encode", 12);
    agrees("quant", 12);
}

#[test]
fn neurons_agree() {
    agrees("neuron", 6);
}

#[test]
fn layers_agree() {
    agrees("layer", 6);
}

/// The spikes of one neuron for a constant current, by the interpreter.
fn spikes(neuron: &str, current: f64) -> Vec<f64> {
    let text = format!("graph g(i: [T; 1, 1]) -> (z) {{ {neuron} }}");
    let compiled = fgi_tests::compiled(&text, &fgi_compiler::Options::default());
    let values = Arrays::from([("i".to_owned(), Array::new([12, 1, 1], vec![current; 12]))]);
    let found = fgi_tests::run(Engine::Reference, &compiled, &values).unwrap();
    found["z"].to_f64()
}

/// The same by a step of a state, which gives the spike.
fn by_hand(current: f64, mut step: impl FnMut(f64) -> f64) -> Vec<f64> {
    (0..12).map(|_| step(current)).collect()
}

/// Order of the steps, test and reset are the frameworks'.
#[test]
fn neurons_spike_when_those_of_the_frameworks_do() {
    let spike = |fires: bool| f64::from(u8::from(fires));
    for current in [0.3, 0.5, 1.0, 1.7, 2.5] {
        let mut v = 0.0;
        let lif = by_hand(current, |x| {
            v += (x - v) / 2.0;
            let z = spike(v >= 1.0);
            v *= 1.0 - z;
            z
        });
        assert_eq!(spikes("let z = neuron::lif_spikingjelly(i);", current), lif);
        assert_eq!(spikes("let z = neuron::plif(i);", current), lif);
        let mut v = 0.0;
        let integrate = by_hand(current, |x| {
            v += x;
            let z = spike(v >= 1.0);
            v *= 1.0 - z;
            z
        });
        assert_eq!(spikes("let z = neuron::if_spikingjelly(i);", current), integrate);
        let mut mem = 0.0f64;
        let leaky = by_hand(current, |x| {
            let reset = spike(mem > 1.0);
            mem = 0.9 * mem + x - reset;
            spike(mem > 1.0)
        });
        assert_eq!(spikes("let (z, mem) = neuron::leaky(i);", current), leaky);
        let (mut syn, mut mem) = (0.0, 0.0f64);
        let synaptic = by_hand(current, |x| {
            let reset = spike(mem > 1.0);
            syn = 0.9 * syn + x;
            mem = 0.8 * mem + syn - reset;
            spike(mem > 1.0)
        });
        assert_eq!(spikes("let (z, syn, mem) = neuron::synaptic(i);", current), synaptic);
        let (mut v, mut i) = (0.0, 0.0);
        let norse = by_hand(current, |x| {
            i += x;
            v += 0.1 * (i - v);
            i -= 0.2 * i;
            let z = spike(v > 1.0);
            v *= 1.0 - z;
            z
        });
        assert_eq!(spikes("let (z, v) = neuron::lif_norse(i);", current), norse);
        let mut v = 0.0;
        let spyx = by_hand(current, |x| {
            let z = spike(v > 1.0);
            v = 0.9 * v + x - z;
            z
        });
        assert_eq!(spikes("let z = neuron::lif_spyx(i);", current), spyx);
    }
}

/// Spikes and gradients of the frameworks themselves, in f64 (`tests/frameworks/neurons.txt`).
#[test]
fn neurons_spike_and_learn_as_those_of_the_frameworks_do() {
    let path = workspace().join("tests/frameworks/neurons.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let numbers = |line: &str| -> Vec<f64> {
        line.split(' ').filter_map(|number| number.parse().ok()).collect()
    };
    let shape = [14, 1, 4];
    let scaled = |line: &str, unit: f64| {
        let numbers = numbers(line).into_iter().map(|number| (number / unit) as f32);
        Array::new(shape, numbers.collect::<Vec<_>>())
    };
    let values = Arrays::from([
        ("x".to_owned(), scaled(lines[0], 64.0)),
        ("c".to_owned(), scaled(lines[1], 8.0)),
    ]);
    let several = [
        "leaky",
        "rleaky",
        "lapicque",
        "alpha",
        "lif_norse",
        "lif_refrac_norse",
        "adex_norse",
        "lsnn_norse",
    ];
    for neuron in lines[2..].chunks(3) {
        let name = neuron[0].split('(').next().unwrap();
        let pattern = match name {
            "synaptic" | "rsynaptic" => "(z, syn, mem)",
            _ if several.contains(&name) => "(z, v)",
            _ => "z",
        };
        let text = format!(
            "use neuron::{{ZERO, SUBTRACT, NONE}};
            graph g(x: [T; B, 4], c: [T; B, 4]) -> (loss, o) {{
                let {pattern} = neuron::{};
                let o    = z;
                let loss = time_sum(sum(c * z));
            }}",
            neuron[0]
        );
        let gradients = Some(Gradients { output: "loss".into(), wrt: Some(vec!["x".into()]) });
        let options = fgi_compiler::Options { gradients, ..Default::default() };
        let compiled = fgi_tests::compiled(&text, &options);
        let found = fgi_tests::run(Engine::Reference, &compiled, &values).unwrap();
        assert_eq!(found["o"].to_f64(), numbers(neuron[1]), "{}", neuron[0]);
        let expected = numbers(neuron[2]);
        let largest = expected.iter().fold(0.0f64, |a, b| a.max(b.abs()));
        for (found, expected) in found["grad/x"].to_f64().iter().zip(&expected) {
            // The frameworks keep some constants in f32.
            assert!(
                (found - expected).abs() <= 1e-5 * largest,
                "{}: {found}, not {expected}",
                neuron[0]
            );
        }
    }
}

/// The spikes of a neuron with given parameters for a current that changes.
fn spikes_with(neuron: &str, params: &[(&str, f64)], current: &[f64]) -> Vec<f64> {
    let text = format!(
        "use neuron::{{ZERO, SUBTRACT, NONE}};
        graph g(i: [T; 1, 1]) -> (z) {{ let n = neuron::{neuron}; let z = n; }}"
    );
    let compiled = fgi_tests::compiled(&text, &fgi_compiler::Options::default());
    let given = compiled.graphs[0].1.params.iter().map(|param| {
        let name = param.path.strip_prefix("n.").unwrap();
        let value = params.iter().find(|(given, _)| *given == name).unwrap().1;
        (param.path.clone(), Array::new(vec![1; param.ty().dims.len()], vec![value; 1]))
    });
    let i = Array::new([current.len(), 1, 1], current.to_vec());
    let values: Arrays = given.chain([("i".to_owned(), i)]).collect();
    fgi_tests::run(Engine::Reference, &compiled, &values).unwrap()["z"].to_f64()
}

/// Every neuron without a framework against its equations in a loop.
#[test]
fn neurons_follow_their_equations() {
    let spike = |v: f64| f64::from(u8::from(v > 0.0));
    let current: Vec<f64> = (0..60).map(|t| 1.3 + 1.9 * (f64::from(t) * 0.61).sin()).collect();
    let check = |neuron: &str, params: &[(&str, f64)], step: &mut dyn FnMut(f64) -> f64| {
        let expected: Vec<f64> = current.iter().map(|x| step(*x)).collect();
        assert_eq!(spikes_with(neuron, params, &current), expected, "{neuron}");
        let active = expected.iter().filter(|z| **z != 0.0).count();
        assert!((2..58).contains(&active), "{neuron}: {active} spikes");
    };
    for (reset, hard, soft) in [("SUBTRACT", 0.0, 1.0), ("ZERO", 1.0, 0.0), ("NONE", 0.0, 0.0)] {
        let alpha = (-1.0f64 / 3.0).exp();
        let (mut u, mut z) = (0.0, 0.0);
        check(&format!("lif(i, reset = {reset})"), &[("tau", 3.0)], &mut |x| {
            u = alpha * u * (1.0 - hard * z) + (1.0 - alpha) * x - soft * z;
            z = spike(u - 1.0);
            z
        });
        let (mut u, mut z) = (0.0, 0.0);
        check(&format!("lif_decay(i, beta = 0.7, theta = 2, reset = {reset})"), &[], &mut |x| {
            u = 0.7 * u * (1.0 - hard * z) + x - 2.0 * soft * z;
            z = spike(u - 2.0);
            z
        });
        let (mut u, mut z, mut i) = (0.0, 0.0, 0.0);
        let beta = (-1.0f64 / 2.0).exp();
        let params = [("tau_syn", 2.0), ("tau_mem", 3.0)];
        check(&format!("cuba_lif(i, theta = 2, reset = {reset})"), &params, &mut |x| {
            i = beta * i + x;
            u = alpha * u * (1.0 - hard * z) + (1.0 - alpha) * i - 2.0 * soft * z;
            z = spike(u - 2.0);
            z
        });
        let mut u = 0.0;
        check(&format!("lif_tau(i, tau = 4, reset = {reset})"), &[], &mut |x| {
            u += (x - u) / 4.0;
            let z = spike(u - 1.0);
            u = u * (1.0 - hard * z) - soft * z;
            z
        });
    }
    let (mut u, mut wait) = (0.0, 0.0);
    let alpha = (-1.0f64 / 3.0).exp();
    check("lif_refractory(i, steps = 3)", &[("tau", 3.0)], &mut |x| {
        if wait > 0.0 {
            wait -= 1.0;
            return 0.0;
        }
        u = alpha * u + (1.0 - alpha) * x;
        let z = spike(u - 1.0);
        if z > 0.0 {
            (u, wait) = (0.0, 3.0);
        }
        z
    });
    let (mut u, mut a) = (0.0, 0.0);
    check("alif_code(i)", &[("alpha", 1.0), ("rho", 2.0)], &mut |x| {
        let theta = 0.1 + 0.8 * a;
        u = logistic(1.0) * u + (1.0 - logistic(1.0)) * x;
        let z = spike(u - theta);
        u -= z * theta;
        a = logistic(2.0) * a + (1.0 - logistic(2.0)) * z;
        z
    });
    let (mut u, mut w, mut z) = (0.0, 0.0, 0.0);
    let params = [("alpha", 0.85), ("beta", 0.97), ("a", 0.1), ("b", 0.5)];
    check("adlif(i, theta = 0.3)", &params, &mut |x| {
        w = 0.97 * w + 0.1 * u + 0.5 * z;
        u = 0.85 * (u - z) + 0.15 * (x - w);
        z = spike(u - 0.3);
        z
    });
    let (mut u, mut w) = (0.0, 0.0);
    let params = [("tau_u", 5.0), ("tau_w", 60.0), ("a", 0.2), ("b", 0.3)];
    let (alpha, beta) = ((-1.0f64 / 5.0).exp(), (-1.0f64 / 60.0).exp());
    check("adlif_se(i, theta = 0.3)", &params, &mut |x| {
        u = alpha * u + (1.0 - alpha) * (x - w);
        let z = spike(u - 0.3);
        u *= 1.0 - z;
        w = beta * w + (1.0 - beta) * 120.0 * (0.2 * u + 0.3 * z);
        z
    });
    let at_least = |v: f64| f64::from(u8::from(v >= 0.0));
    let (mut d, mut s) = (0.0, 0.0);
    check("tc_lif(i)", &[("c1", 0.3), ("c2", -1.0)], &mut |x| {
        d = d - logistic(0.3) * s + x;
        s += logistic(-1.0) * d;
        let z = at_least(s - 1.0);
        (d, s) = (d - 0.7 * z, s - z);
        z
    });
    let (mut u, mut z) = (0.0, 0.0);
    let names = ["alpha", "beta", "gamma", "leak", "linear", "theta", "drop", "conduct"];
    let values = [0.4, -0.3, 0.2, -1.0, -3.0, 0.5, 0.1, -0.6];
    let params: Vec<_> = names.into_iter().zip(values).collect();
    check("glif(i)", &params, &mut |x| {
        let [a, b, c, leak, linear, theta, drop, conduct] = values.map(logistic);
        let fade = 1.0 - a * (1.0 - leak);
        u = fade * u * (1.0 - c * z) - (1.0 - a) * linear + x * (1.0 - b * (1.0 - conduct))
            - (1.0 - c) * drop * z;
        z = at_least(u - theta);
        z
    });
    let (mut u, mut v, mut q) = (0.0, 0.0, 0.0);
    check("brf(i, theta = 0.1)", &[("omega", 50.0), ("decay", 1.0)], &mut |x| {
        let b = ((1.0f64 - 0.25).sqrt() - 1.0) / 0.01 - 1.0 - q;
        (u, v) = (u + 0.01 * (b * u - 50.0 * v + x), v + 0.01 * (50.0 * u + b * v));
        let z = spike(u - 0.1 - q);
        q = 0.9 * q + z;
        z
    });
    let (mut u, mut v) = (0.0, 0.0);
    check("resonate_fire(i, theta = 0.1)", &[("omega", 50.0), ("decay", 1.0)], &mut |x| {
        (u, v) = (u + 0.01 * (-u - 50.0 * v + x), v + 0.01 * (50.0 * u - v));
        spike(u - 0.1)
    });
    let mut u = 0.0f64;
    check("multi_spike(i)", &[], &mut |x| {
        u = 0.9 * u + x;
        let z = u.clamp(0.0, 4.0).round_ties_even();
        u -= z;
        z
    });
    let mut u = 0.0;
    check("graded(i, theta = 2)", &[], &mut |x| {
        u = 0.9 * u + x;
        if u < 2.0 {
            return 0.0;
        }
        std::mem::take(&mut u)
    });
    let (mut s, mut sent) = (0.0f64, 0.0);
    check("sigma_delta(i, theta = 2)", &[], &mut |x| {
        s += x;
        let change = s.max(0.0) - sent;
        let z = if change.abs() >= 2.0 { change } else { 0.0 };
        sent += z;
        z
    });
    let (mut v, mut t) = (0.0, 0.0);
    check("alif_spyx(i)", &[], &mut |x| {
        let theta = 1.0 + t;
        let z = spike(v - theta);
        v = 0.5 * v + x - z * theta;
        t = 0.5 * t + 0.5 * z;
        z
    });
    let (mut v, mut i) = (0.0, 0.0);
    check("cuba_spyx(i, theta = 4)", &[], &mut |x| {
        let z = spike(v - 4.0);
        v -= 4.0 * z;
        i = 0.5 * i + x;
        v = 0.5 * v + i;
        z
    });
}

fn outputs(text: &str, values: &Arrays) -> Arrays {
    let compiled = fgi_tests::compiled(text, &fgi_compiler::Options::default());
    fgi_tests::run(Engine::Reference, &compiled, values).unwrap()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= 1e-5 * expected.abs().max(1.0),
            "{found}, not {expected}"
        );
    }
}

/// In training by the statistics of the run, which move the running ones as PyTorch's.
#[test]
fn batch_norm_keeps_statistics() {
    let text = "graph g(x: [T; B, 2]) -> (loss, y) {
        let h    = layer::batch_norm(x);
        let y    = time_stack(h);
        let loss = time_mean(mean(h^2));
    }";
    let data = [1.0f32, 10.0, 2.0, 30.0, 3.0, 20.0, 6.0, 60.0];
    let x = Array::new([2, 2, 2], data.to_vec());
    let gradients = Some(Gradients { output: "loss".into(), wrt: None });
    let optimizer = Some(Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 });
    let trained = fgi_compiler::Options { gradients, optimizer, ..Default::default() };
    let rate = Array::new([], vec![0.0f32]);
    let standard = |mean: [f64; 2], variance: [f64; 2]| {
        let at =
            |(i, x): (usize, &f32)| (f64::from(*x) - mean[i % 2]) / (variance[i % 2] + 1e-5).sqrt();
        data.iter().enumerate().map(at).collect::<Vec<_>>()
    };
    for device in [Device::cpu(), Device::cpu_in_order(), fgi_tests::gpu()] {
        let program = Arc::new(fgi_tests::compiled(text, &trained).program);
        let mut session = Session::new(program, &device).unwrap();
        session.set_inputs([("x", &x), (LEARNING_RATE, &rate)]).unwrap();
        session.run_gradients().unwrap();
        close(&session.output("y").unwrap().to_f64(), &standard([3.0, 30.0], [3.5, 350.0]));
        session.run(Pass::Update).unwrap();
        let (mean, variance) = ([0.3, 3.0], [0.9 + 1.4 / 3.0, 0.9 + 140.0 / 3.0]);
        close(&session.param("h.running_mean").unwrap().to_f64(), &mean);
        close(&session.param("h.running_var").unwrap().to_f64(), &variance);
        let plain = fgi_tests::compiled(text, &fgi_compiler::Options::default());
        let mut later = Session::new(Arc::new(plain.program), &device).unwrap();
        for path in ["h.running_mean", "h.running_var"] {
            later.set_param(path, &session.param(path).unwrap()).unwrap();
        }
        later.set_inputs([("x", &x)]).unwrap();
        later.run(Pass::Forward).unwrap();
        close(&later.output("y").unwrap().to_f64(), &standard(mean, variance));
        close(&later.param("h.running_mean").unwrap().to_f64(), &mean);
    }
}

#[test]
fn quantisers_round_to_their_grids() {
    let x = vec![-1.3, -0.4, -0.1, 0.3, 0.6, 1.7];
    let values = Arrays::from([("x".to_owned(), Array::new([6], x.clone()))]);
    let text = "graph g(x: [6]) -> (b, t, c, f, d, p, l, w, m) {
        let b = quant::binary(x);
        let t = quant::ternary(x);
        let c = quant::clipped(x, k = 2);
        let f = quant::fixed_point(x, k = 3, fraction = 1);
        let d = quant::dorefa(x, k = 2);
        let p = quant::pact(x, bound = 1.5, k = 2);
        let l = quant::lsq(x, step = 0.5, k = 2);
        let w = quant::ternary_weights(x);
        let m = quant::per_channel(reshape(x, [3, 2]), k = 3);
    }";
    let found = outputs(text, &values);
    let third = 1.0 / 3.0;
    close(&found["b"].to_f64(), &[-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]);
    close(&found["t"].to_f64(), &[-1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    close(&found["c"].to_f64(), &[-1.0, -third, -third, third, third, 1.0]);
    close(&found["f"].to_f64(), &[-1.5, -0.5, 0.0, 0.5, 0.5, 1.5]);
    close(&found["d"].to_f64(), &[0.0, 0.0, 0.0, third, 2.0 * third, 1.0]);
    close(&found["p"].to_f64(), &[0.0, 0.0, 0.0, 0.5, 0.5, 1.5]);
    close(&found["l"].to_f64(), &[-1.0, -0.5, 0.0, 0.5, 0.5, 0.5]);
    // The mean size is 4.4 / 6, 0.7 of it 0.513: the others' mean size is 1.2.
    close(&found["w"].to_f64(), &[-1.2, 0.0, 0.0, 0.0, 1.2, 1.2]);
    let (a, b) = (1.3 / 3.0, 1.7 / 3.0);
    close(&found["m"].to_f64(), &[-3.0 * a, -b, 0.0, b, a, 3.0 * b]);
}

/// As PyTorch and snnTorch define them, by hand.
#[test]
fn losses_are_those_of_the_frameworks() {
    let logits = [[1.0f64, -0.5, 0.25], [0.1, 0.9, -1.0]];
    let label = [2usize, 0];
    let z = vec![0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let values = Arrays::from([
        ("u".to_owned(), Array::new([2, 3], logits.as_flattened().to_vec())),
        ("z".to_owned(), Array::new([2, 2, 3], z)),
        ("label".to_owned(), Array::new([2], vec![2i32, 0])),
        ("length".to_owned(), Array::new([2], vec![2i32, 1])),
    ]);
    let text =
        "graph g(z: [T; 2, 3], u: [2, 3], label: i32[2], length: i32[2]) -> (s, w, m, c, f, t, r, q) {
        let s = loss::smoothed_cross_entropy(u, label, 0.1);
        let w = loss::weighted_cross_entropy(u, label, [1, 2, 3]);
        let m = loss::masked_cross_entropy(u, label, [1, 0]);
        let c = loss::mse_count(z, label);
        let f = loss::first_spike(z);
        let t = loss::mse_temporal(z, label);
        let r = loss::mean_until(z, length);
        let q = loss::spike_similar(z + 1, label);
    }";
    let found = outputs(text, &values);
    let log_p = logits.map(|row| {
        let all = row.map(f64::exp).iter().sum::<f64>().ln();
        row.map(|u| u - all)
    });
    let nll = [-log_p[0][label[0]], -log_p[1][label[1]]];
    let spread = log_p.map(|row| -row.iter().sum::<f64>() / 3.0);
    let smoothed = (0..2).map(|b| 0.9 * nll[b] + 0.1 * spread[b]).sum::<f64>() / 2.0;
    close(&found["s"].to_f64(), &[smoothed]);
    close(&found["w"].to_f64(), &[(3.0 * nll[0] + nll[1]) / 4.0]);
    close(&found["m"].to_f64(), &[nll[0]]);
    // Counts 1 2 0 and 0 0 1, targets 0 0 2 and 2 0 0, over T = 2.
    close(&found["c"].to_f64(), &[(1.0 + 4.0 + 4.0 + 4.0 + 0.0 + 1.0) / 6.0 / 2.0]);
    close(&found["f"].to_f64(), &[1.0, 0.0, 1.0, 1.0, 1.0, 0.0]);
    // Targets 1 1 0 and 0 1 1, over T = 2.
    close(&found["t"].to_f64(), &[(0.0 + 1.0 + 1.0 + 1.0 + 0.0 + 1.0) / 4.0 / 6.0]);
    close(&found["r"].to_f64(), &[0.5, 1.0, 0.0, 0.0, 0.0, 1.0]);
    // 1 2 1 and 2 2 1 of the first sample, 1 1 2 and 1 1 1 of the second: the product is 10.
    close(&found["q"].to_f64(), &[2.0 * 100.0 / (15.0 * 9.0) / 4.0]);
}

/// A population's currents stand at even distances.
#[test]
fn encoders_give_their_codes() {
    let values = Arrays::from([
        ("x".to_owned(), Array::new([2], vec![0.0, 1.0])),
        ("t".to_owned(), Array::new([5, 1], vec![0.0; 5])),
    ]);
    let text = "graph g(x: [2], t: [T; 1]) -> (p, l, n) {
        let p = encode::population(x, 3, sigma = 0.5);
        let l = time_sum(encode::latency_log(x) * (time_index() + 1));
        let n = time_sum(encode::population_spikes(x, 3, sigma = 0.5) + 0 * t);
    }";
    let found = outputs(text, &values);
    let (half, none) = ((-0.5f64).exp(), (-2.0f64).exp());
    close(&found["p"].to_f64(), &[1.0, half, none, none, half, 1.0]);
    close(&found["l"].to_f64(), &[5.0, 1.0]);
    close(&found["n"].to_f64(), &[5.0, 3.0, 0.0, 0.0, 3.0, 5.0]);
}

/// What a program gives in training, by the interpreter.
fn outputs_in_training(text: &str, values: &Arrays) -> Arrays {
    let options = check::Options { training: true, ..check::Options::default() };
    let checked = check("training.fgi", text, &NoFiles, &options);
    let graph = checked.graph.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    fgi::evaluate_reference(&verify(graph).unwrap(), values, 0).unwrap()
}

fn named<const N: usize>(arrays: [(&str, &[usize], &[f64]); N]) -> Arrays {
    let array = |(name, shape, data): (&str, &[usize], &[f64])| {
        (name.to_owned(), Array::new(shape.to_vec(), data.to_vec()))
    };
    arrays.into_iter().map(array).collect()
}

/// Sums over the steps by hand: all of them, a band of them, and the same weights at every step.
#[test]
fn parallel_neurons_weigh_the_steps() {
    let x = [0.9, 1.7, -0.4, 2.2, 0.3, 1.1];
    let w: Vec<f64> = (0..36).map(|i| f64::from(i * 7 % 11 - 4) / 6.0).collect();
    let b = [-0.1, -0.3, 0.2, -0.9, 0.1, -0.5];
    let v = [0.5, 1.5, -2.0];
    let values = named([
        ("x", &[6, 1, 1], &x),
        ("p.w", &[6, 6], &w),
        ("p.b", &[6, 1], &b),
        ("m.w", &[6, 6], &w),
        ("m.b", &[6, 1], &b),
        ("s.w", &[3], &v),
        ("s.b", &[], &[-0.6]),
    ]);
    let text = "graph g[T = 6](x: [T; 1, 1]) -> (p, m, s) {
        let p = neuron::psn[T](x);
        let m = neuron::masked_psn[T](x, k = 2, lambda = 0.75);
        let s = neuron::sliding_psn[3](x);
    }";
    let found = outputs(text, &values);
    let spikes = |h: &dyn Fn(usize) -> f64| -> Vec<f64> {
        (0..6).map(|t| f64::from(u8::from(h(t) >= 0.0))).collect()
    };
    let weighed = |t: usize, weight: &dyn Fn(usize) -> f64| -> f64 {
        b[t] + (0..6).map(|s| weight(s) * w[6 * t + s] * x[s]).sum::<f64>()
    };
    let band = |t: usize, s: usize| if s <= t && s + 2 > t { 1.0 } else { 0.25 };
    let lags = |t: usize| (0..3.min(t + 1)).map(move |j| v[j] * 0.5f64.powi(j as i32) * x[t - j]);
    let expected = [
        ("p", spikes(&|t| weighed(t, &|_| 1.0))),
        ("m", spikes(&|t| weighed(t, &|s| band(t, s)))),
        ("s", spikes(&|t| lags(t).sum::<f64>() - 0.6)),
    ];
    for (name, expected) in expected {
        assert!(expected.contains(&0.0) && expected.contains(&1.0), "{name}: {expected:?}");
        assert_eq!(found[name].to_f64(), expected, "{name}");
    }
}

#[test]
fn delays_are_in_steps() {
    let x = [1.0, 2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0];
    let values = named([
        ("x", &[5, 1, 2], &x),
        ("l.w", &[2, 1], &[0.5, -2.0]),
        ("l.at", &[2, 1], &[3.0, 1.0]),
    ]);
    let text = "graph g(x: [T; 1, 2]) -> (d, l) {
        let d = layer::delayed[4](x, [2, 0.25]);
        let l = layer::delayed_linear[4, 1](x, sigma = 0.01);
    }";
    let found = outputs(text, &values);
    let late = |t: usize, i: usize, by: usize| if by > t { 0.0 } else { x[2 * (t - by) + i] };
    let delayed = |t| [late(t, 0, 2), 0.75 * late(t, 1, 0) + 0.25 * late(t, 1, 1)];
    close(&found["d"].to_f64(), &(0..5).flat_map(delayed).collect::<Vec<_>>());
    let linear = (0..5).map(|t| 0.5 * late(t, 0, 3) - 2.0 * late(t, 1, 1));
    close(&found["l"].to_f64(), &linear.collect::<Vec<_>>());
}

#[test]
fn dropout_is_of_training_with_masks_for_each_step_or_for_all() {
    let values = named([("x", &[2, 50, 40], &[1.0; 4000])]);
    let text = "graph g(x: [T; B, 40]) -> (each, all) {
        let each = layer::dropout(x, 0.25);
        let all  = layer::dropout(x, 0.25, shared = true);
    }";
    let plain = outputs(text, &values);
    let found = outputs_in_training(text, &values);
    for name in ["each", "all"] {
        assert_eq!(plain[name].to_f64(), [1.0; 4000], "{name}");
        let found = found[name].to_f64();
        let dropped = found.iter().filter(|y| **y == 0.0).count();
        assert!((900..1100).contains(&dropped), "{name}: {dropped}");
        assert!(found.iter().all(|y| *y == 0.0 || (y - 4.0 / 3.0).abs() < 1e-12), "{name}");
        let (first, second) = found.split_at(2000);
        assert_eq!(first == second, name == "all");
    }
}

#[test]
fn what_is_drawn_has_its_probability() {
    let values = named([("x", &[40], &[0.3; 40])]);
    let text =
        "graph g[T = 100](x: [N], t: [T;]) -> (rate, regular, logistic, circ, poisson, leak) {
        let v        = x + 0 * t;
        let rate     = encode::rate(x);
        let regular  = encode::regular(x) + 0 * t;
        let logistic = spike::logistic(v, 2);
        let circ     = spike::circ_dist(v);
        let poisson  = spike::poisson(v);
        let leak     = surrogate::noisy_leak(-v, mu = 0.5, variance = 2);
    }";
    let mut values = values;
    values.insert("t".into(), Array::new([100], vec![0.0; 100]));
    let found = outputs(text, &values);
    let expected = [
        ("rate", 0.3),
        ("regular", 0.3),
        ("logistic", 0.5 + 0.5 * 0.6f64.tanh()),
        ("circ", 0.5 + 0.15 / 1.09f64.sqrt()),
        ("poisson", 0.3),
        ("leak", 1.0),
    ];
    for (name, expected) in expected {
        let found = found[name].to_f64();
        assert_eq!(found.len(), 4000, "{name}");
        let mean = found.iter().sum::<f64>() / 4000.0;
        assert!((mean - expected).abs() < 0.03, "{name}: {mean}, not {expected}");
        let steps: Vec<_> = found.chunks(40).collect();
        assert!(name == "regular" || steps.windows(2).any(|two| two[0] != two[1]), "{name}");
    }
}

#[test]
fn batch_norms_through_time_have_numbers_for_each_step() {
    let values = named([
        ("x", &[2, 2, 1], &[1.0, 3.0, 10.0, 50.0]),
        ("b.gain", &[2, 1], &[1.0, 2.0]),
        ("b.running_mean", &[2, 1], &[1.0, 10.0]),
        ("b.running_var", &[2, 1], &[4.0, 100.0]),
        ("e.p", &[2], &[1.0, 0.5]),
        ("e.y.running_mean", &[1], &[1.0]),
        ("e.y.running_var", &[1], &[1.0]),
    ]);
    let text = "graph g[T = 2](x: [T; B, 1]) -> (b, e) {
        let b = layer::bntt[T](x, eps = 0);
        let e = layer::te_batch_norm[T](x, eps = 0);
    }";
    let plain = outputs(text, &values);
    close(&plain["b"].to_f64(), &[0.0, 1.0, 0.0, 8.0]);
    close(&plain["e"].to_f64(), &[0.0, 2.0, 4.5, 24.5]);
    let found = outputs_in_training(text, &values);
    close(&found["b"].to_f64(), &[-1.0, 1.0, -2.0, 2.0]);
    // The mean is 16, the variance 1610 / 4 - 256 + 1000 / 4: of all four numbers.
    let deviation = ((1.0f64 + 9.0 + 100.0 + 2500.0) / 4.0 - 256.0).sqrt();
    let expected = [-15.0, -13.0, -3.0, 17.0].map(|x| x / deviation);
    close(&found["e"].to_f64(), &expected);
}

#[test]
fn channels_have_their_own_neurons() {
    let text = "graph g(x: [T; B, 3, 4, 5]) -> (z) { let z = layer::channelwise(x, neuron::li); }";
    let checked = check("channels.fgi", text, &NoFiles, &check::Options::default());
    let graph = checked.graph.unwrap();
    assert_eq!((graph.params.len(), graph.params[0].path.as_str()), (1, "z.f.tau"));
    let x: Vec<f64> = (0..60).map(f64::from).collect();
    let tau = [1.0, 2.0, 4.0];
    let values = named([("x", &[1, 1, 3, 4, 5], &x), ("z.f.tau", &[3], &tau)]);
    let decay = |i: usize| 1.0 - (-1.0 / tau[i / 20]).exp();
    let expected: Vec<_> = x.iter().enumerate().map(|(i, x)| decay(i) * x).collect();
    close(&outputs(text, &values)["z"].to_f64(), &expected);
}

/// Two tokens of two features by hand.
#[test]
fn spikes_attend_to_each_other() {
    type Matrix = [[f64; 2]; 2];
    let product = |a: &Matrix, b: &Matrix| -> Matrix {
        [0, 1].map(|i| [0, 1].map(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j]))
    };
    // A leaky neuron for each place: charge, fire at the threshold, reset to 0.
    let fire = |v: &mut Matrix, current: Matrix, theta: f64| -> Matrix {
        [0, 1].map(|i| {
            [0, 1].map(|j| {
                v[i][j] += (current[i][j] - v[i][j]) / 2.0;
                let z = f64::from(u8::from(v[i][j] >= theta));
                v[i][j] *= 1.0 - z;
                z
            })
        })
    };
    let weights: [Matrix; 4] = [
        [[2.0, 0.5], [0.5, 1.5]],
        [[1.5, 1.0], [1.0, 2.0]],
        [[2.5, 1.0], [0.0, 1.0]],
        [[2.0, 1.0], [1.0, 3.0]],
    ];
    let x: Vec<f64> = (0..24).map(|i| f64::from(i * 5 % 7) / 3.1).collect();
    let mut values = named([("x", &[6, 1, 2, 2], &x)]);
    for (n, w) in weights.iter().enumerate() {
        let path = |rest: &str| format!("s.attention_spikes_{}.{rest}", n + 1);
        values.insert(path("linear_1.w"), Array::new([2, 2], w.as_flattened().to_vec()));
        for (name, value) in
            [("gain", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
        {
            values.insert(path(&format!("current.{name}")), Array::new([2], vec![value; 2]));
        }
    }
    let text =
        "graph g(x: [T; B, 2, 2]) -> (s) { let s = layer::spiking_attention(x, scale = 0.4); }";
    let found = outputs(text, &values);
    let (mut potentials, mut inner) = ([[[0.0; 2]; 2]; 4], [[0.0; 2]; 2]);
    let expected: Vec<f64> = x
        .chunks(4)
        .flat_map(|x| {
            let x = [[x[0], x[1]], [x[2], x[3]]];
            let [q, k, v] =
                [0, 1, 2].map(|n| fire(&mut potentials[n], product(&x, &weights[n]), 1.0));
            let turned = [0, 1].map(|i| [k[0][i], k[1][i]]);
            let a = product(&product(&q, &turned), &v).map(|row| row.map(|a| 0.4 * a));
            let z = fire(&mut inner, a, 0.5);
            let s = fire(&mut potentials[3], product(&z, &weights[3]), 1.0);
            s.as_flattened().to_vec()
        })
        .collect();
    assert!(expected.contains(&0.0) && expected.contains(&1.0), "{expected:?}");
    assert_eq!(found["s"].to_f64(), expected);
}

#[test]
fn the_book_lists_the_library() {
    let page = std::fs::read_to_string(workspace().join("book/src/library.md")).unwrap();
    let words: Vec<_> = page.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for module in ["encode", "layer", "loss", "neuron", "optim", "quant", "spike", "surrogate"] {
        let path = workspace().join(format!("compiler/std/{module}.fgi"));
        let heads = check::heads(module, &std::fs::read_to_string(path).unwrap(), &NoFiles);
        for head in heads.functions.iter().chain(&heads.layers) {
            let name = head.name.strip_suffix("_integral").unwrap_or(&head.name);
            assert!(words.contains(&name), "{module}::{}", head.name);
        }
    }
}
