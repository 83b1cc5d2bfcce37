//! The standard library: surrogates against the formulas of the frameworks, neurons and layers against loops by hand,
//! and every function and layer on every engine, with its gradients.

use fgi::Array;
use fgi::npz::Arrays;
use fgi_compiler::Gradients;
use fgi_compiler::front::check::{self, ArgumentHead, FunctionHead, check};
use fgi_compiler::ir::graph::Bindings;
use fgi_compiler::ir::graph::interpret::{Tensor, Values, interpret, interpret_dual};
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
    for name in functions("spike").iter().filter(|name| surrogates.contains(name)) {
        // The spike's default is that of the paper, the surrogate's that of its listing.
        let sigma = if name == "gaussian" { ", sigma = 0.5" } else { "" };
        let text = format!(
            "graph g(x: [N]) -> (z, d) {{ let z = spike::{name}(x); let d = surrogate::{name}(x{sigma}) + 0 * x; }}"
        );
        let graph = check("spike.fgi", &text, &NoFiles, &check::Options::default()).graph.unwrap();
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
        let graph = check("width.fgi", &text, &NoFiles, &check::Options::default()).graph.unwrap();
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
    let call = |head: &FunctionHead| {
        let dims: Vec<_> = head.dims.iter().filter(|d| d.default.is_none()).map(|_| "3").collect();
        let dims = if dims.is_empty() { String::new() } else { format!("[{}]", dims.join(", ")) };
        let required = head.arguments.iter().filter(|argument| !argument.has_default);
        let takes_integers = |a: &ArgumentHead| a.is_i32 || a.name == "label";
        let required = required.map(|a| if takes_integers(a) { "label" } else { "x" });
        let required = required.collect::<Vec<_>>().join(", ");
        format!("{module}::{}{dims}({required})", head.name)
    };
    // `gate` takes numbers, and is in every gated layer.
    let functions = heads.functions.iter().filter(|head| head.name != "gate");
    let calls = functions.chain(&heads.layers).map(call);
    calls.collect()
}

/// A binding of what a call gives, and a term of a loss that all of it takes part in.
fn equations(number: usize, call: &str) -> (String, String) {
    let part = |name: &str| format!("{name} * {name} + {name}");
    for size in 1..=3 {
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
    format!("graph g(x: [T; B, 3], label: i32[B]) -> (loss) {{\n{bindings}let loss = {loss};\n}}")
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
        let case = Case { name: format!("{module} {part}"), text, sizes, labels: 3 };
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
