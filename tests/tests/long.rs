//! What is long: sequences, layers, expressions.

use fgi::npz::Arrays;
use fgi_compiler::front::check::check;
use fgi_compiler::source::NoFiles;
use fgi_compiler::{Compiled, Gradients, Options};
use fgi_tests::{Engine, closeness, compiled, options, run, values};

/// A densely coupled layer whose gradient neither vanishes nor explodes over hundreds of steps.
const DENSE: &str = "
layer dense[N](x: [B, K]) {
    param w_in:  [K, N] = xavier_uniform();
    param w_rec: [N, N] = normal(0, 1);
    let h = 0.7 * prev(h) + 0.3 * tanh(x @ w_in + prev(h) @ w_rec);
    h
}
graph long(x: [T; B, K]) -> (loss, end) {
    let h    = dense[N](x);
    let end  = last(h);
    let loss = time_mean(mean(h^2)) + sum(end) / N;
}";

struct Network {
    compiled: Compiled,
    values: Arrays,
}

fn network(steps: i64, batch: i64, neurons: i64) -> Network {
    let text = DENSE.replace("graph long(", &format!("graph long[N = {neurons}]("));
    let compiled = compiled(&text, &options(None, &[("K", 3)]));
    let bindings = [("T".into(), steps), ("B".into(), batch)].into();
    let mut values = values(&compiled.program, &bindings, 7, 1.0, 1);
    // Uniform numbers from -a to a have the spectral radius a sqrt(N/3).
    let weights = values.get_mut("h.w_rec").unwrap();
    let scale = (3.0 / neurons as f32).sqrt();
    let scaled: Vec<_> = weights.to_f64().iter().map(|w| *w as f32 * scale).collect();
    *weights = fgi::Array::new(weights.shape.clone(), scaled);
    Network { compiled, values }
}

#[track_caller]
fn agree(network: &Network, engines: &[Engine], rtol: f64) {
    let Network { compiled, values } = network;
    let results: Vec<_> =
        engines.iter().map(|engine| run(*engine, compiled, values).unwrap()).collect();
    for (engine, result) in engines.iter().zip(&results).skip(1) {
        for (name, expected) in &results[0] {
            closeness(&result[name], expected, rtol, 1e-6)
                .unwrap_or_else(|why| panic!("{name} on {engine:?} and {:?}: {why}", engines[0]));
        }
    }
}

/// 300 steps of 256 neurons are more iterations of the innermost loop than some drivers allow in
/// one dispatch (65,535).
#[test]
fn a_sequence_of_300_steps() {
    agree(&network(300, 2, 256), &[Engine::Reference, Engine::Cpu, Engine::Gpu], 1e-3);
}

#[test]
fn a_layer_wider_than_a_workgroup() {
    agree(&network(3, 2, 1000), &[Engine::Reference, Engine::Cpu, Engine::Gpu], 1e-3);
}

/// An expression nests as deep as it has terms: beyond a limit it is refused, in words.
#[test]
fn a_sum_of_5000_terms() {
    let terms: Vec<_> = (0..5000).map(|i| format!("x * 0.{i:04}")).collect();
    let terms = terms.join(" + ");
    let text = format!("graph sum_up(x: [B]) -> (y) {{ let y = {terms}; }}");
    let checked = check("sum.fgi", &text, &NoFiles, &Default::default());
    assert!(checked.graph.is_some() || !checked.diagnostics.is_empty());
}

/// No stage recurses once for each binding.
#[test]
fn a_chain_of_3000_bindings() {
    let mut text = String::from("graph chain(x: [B]) -> (loss, y) { let v0 = x;");
    for i in 1..3000 {
        text += &format!("let v{i} = 0.9 * v{} + sg(v{}) - 0.01 * x;", i - 1, i / 2);
    }
    text += "let y = tanh(v2999); let loss = sum(y); }";
    let gradients = Gradients { output: "loss".into(), wrt: Some(vec!["x".into()]) };
    let options = Options { gradients: Some(gradients), ..Options::default() };
    let compiled = compiled(&text, &options);
    let values = values(&compiled.program, &[("B".into(), 3)].into(), 1, 1.0, 1);
    agree(&Network { compiled, values }, &[Engine::Reference, Engine::Cpu], 1e-3);
}
