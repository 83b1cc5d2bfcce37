//! What stays from run to run: states, and with `carry` every memory.

use std::sync::Arc;

use fgi::{Array, Device, Session};
use fgi_compiler::ir::kernel::Pass;
use fgi_compiler::middle::optimizer::{LEARNING_RATE, Optimizer};
use fgi_compiler::{Gradients, Options};
use fgi_tests::{compiled, gpu};

/// One of them has room for a part of the steps only.
fn devices() -> [Device; 4] {
    [Device::cpu(), Device::cpu().memory_limit(10_000), Device::cpu_in_order(), gpu()]
}

fn session(text: &str, options: &Options, device: &Device) -> Session {
    Session::new(Arc::new(compiled(text, options).program), device).unwrap()
}

fn array(shape: &[usize], scale: f32) -> Array {
    let count = shape.iter().product::<usize>();
    let values = (0..count).map(|at| scale * ((at * 37 % 19) as f32 / 19.0 - 0.3));
    Array::new(shape, values.collect::<Vec<f32>>())
}

/// The steps `range` of a stream.
fn numbers(session: &mut Session, name: &str) -> Vec<f64> {
    session.output(name).unwrap().to_f64()
}

const RECURRENT: &str = "
layer lif[N](x: [B, K]) {
    param w: [K, N]  = xavier_uniform();
    param r: [N, N]  = orthogonal(0.5);
    param u0: [N]    = uniform(0, 1);
    let fired = prev(z > 0) || prev(prev(z > 0));
    let rest  = if fired then 0.5 else 1;
    let u     = 0.9 * prev(u, init = u0) + rest * (x @ w) + prev(z) @ r - prev(z);
    let z     = bypass(step(u - 1), sigmoid(4 * (u - 1)));
    let n     = prev(n, init = 7) + i32(z);
    (z, u, n)
}

graph g(x: [T; B, 3]) -> (z, u, n, late, loss) {
    let (z, u, n) = lif[5](x);
    let late      = exp(-0.1 * time_index()) * delay(u, 2);
    let loss      = time_mean(mean(u^2 + late));
}
";

#[test]
fn a_sequence_in_chunks_has_the_bits_of_the_whole() {
    let whole = Options::default();
    let carry = Options { carry: true, ..Options::default() };
    let x = array(&[12, 4, 3], 3.0);
    for device in devices() {
        let mut session_of_all = session(RECURRENT, &whole, &device);
        session_of_all.set_inputs([("x", &x)]).unwrap();
        session_of_all.run(Pass::Forward).unwrap();
        for sizes in [vec![1; 12], vec![5, 4, 3], vec![12]] {
            let mut chunked = session(RECURRENT, &carry, &device);
            let mut start = 0;
            let names = ["z", "u", "n", "late"];
            let mut found = vec![Vec::new(); names.len()];
            for size in sizes {
                chunked.set_inputs([("x", &x.rows(start..start + size))]).unwrap();
                chunked.run(Pass::Forward).unwrap();
                for (found, name) in found.iter_mut().zip(names) {
                    found.extend(numbers(&mut chunked, name));
                }
                chunked.run(Pass::Update).unwrap();
                start += size;
            }
            for (found, name) in found.iter().zip(names) {
                assert_eq!(*found, numbers(&mut session_of_all, name), "{name} on {device}");
            }
        }
    }
}

#[test]
fn another_batch_starts_again() {
    let carry = Options { carry: true, ..Options::default() };
    for device in devices() {
        let mut session = session(RECURRENT, &carry, &device);
        let mut run = |batch: usize| {
            session.set_inputs([("x", &array(&[3, batch, 3], 3.0))]).unwrap();
            session.run(Pass::Forward).unwrap();
            let u = numbers(&mut session, "u");
            session.run(Pass::Update).unwrap();
            u
        };
        let (first, second) = (run(2), run(2));
        assert_ne!(first, second, "{device}");
        run(4);
        assert_eq!(run(2), first, "{device}");
    }
}

#[test]
fn no_gradient_crosses_from_run_to_run() {
    let text = "graph g(x: [T; B], start: [B]) -> (loss) {
        param a: [] = constant(0.7);
        let u    = a * prev(u, init = start) + x;
        let loss = sum(last(u)^2);
    }";
    let wrt = Some(vec!["a".to_string(), "start".to_string()]);
    let gradients = Some(Gradients { output: "loss".into(), wrt });
    let (x, start) = (array(&[3, 2], 1.0), array(&[2], 2.0));
    for device in devices() {
        let options = Options { gradients: gradients.clone(), carry: true, ..Options::default() };
        let mut carried = session(text, &options, &device);
        let mut plain = session(text, &Options { carry: false, ..options }, &device);
        carried.set_inputs([("x", &x), ("start", &start)]).unwrap();
        carried.run_gradients().unwrap();
        assert!(carried.gradient("start").unwrap().to_f64().iter().all(|g| *g != 0.0));
        carried.run(Pass::Update).unwrap();
        // The second run starts where the first ended, as from a constant.
        let u = carried.param("carry.u").unwrap();
        carried.run_gradients().unwrap();
        plain.set_inputs([("x", &x), ("start", &u)]).unwrap();
        plain.run_gradients().unwrap();
        assert_eq!(carried.gradient("a").unwrap(), plain.gradient("a").unwrap(), "{device}");
        assert_eq!(carried.gradient("start").unwrap().to_f64(), [0.0, 0.0], "{device}");
    }
}

#[test]
fn a_state_has_its_next_value_after_the_run() {
    let text = "graph g(x: [B, 3], target: [B, 2]) -> (loss, seen, runs, left, right) {
        param w: [3, 2] = xavier_uniform();
        state seen: [2]   = ones();
        state runs: i32[] = constant(3);
        state left: []  = constant(1);
        state right: [] = constant(2);
        let y    = x @ w;
        let loss = mean((y - target)^2) + 0 * sum(seen);
        next seen  = 0.5 * seen + mean(y, axis = 0);
        next runs  = runs + 1;
        next left  = right;
        next right = left;
    }";
    let gradients = Some(Gradients { output: "loss".into(), wrt: None });
    let optimizer = Some(Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 });
    let options = Options { gradients, optimizer, ..Options::default() };
    let (x, target) = (array(&[4, 3], 1.0), array(&[4, 2], 2.0));
    let rate = Array::new([], vec![0.5]);
    for device in devices() {
        let mut session = session(text, &options, &device);
        session.set_inputs([("x", &x), ("target", &target), (LEARNING_RATE, &rate)]).unwrap();
        let w = session.param("w").unwrap().to_f64();
        session.run_gradients().unwrap();
        assert_eq!(numbers(&mut session, "runs"), [3.0]);
        session.run(Pass::Update).unwrap();
        // From the parameters before the update, which the update has changed.
        assert_ne!(session.param("w").unwrap().to_f64(), w);
        let x = x.to_f64();
        let mean = |column: usize| {
            let product =
                |row: usize| (0..3).map(|k| x[3 * row + k] * w[2 * k + column]).sum::<f64>();
            (0..4).map(product).sum::<f64>() / 4.0
        };
        let seen = session.param("seen").unwrap().to_f64();
        for (column, seen) in seen.into_iter().enumerate() {
            assert!((seen - 0.5 - mean(column)).abs() < 1e-6, "{device}");
        }
        assert_eq!(session.param("runs").unwrap().to_f64(), [4.0], "{device}");
        assert_eq!(session.param("left").unwrap().to_f64(), [2.0], "{device}");
        assert_eq!(session.param("right").unwrap().to_f64(), [1.0], "{device}");
    }
}

#[test]
fn a_program_may_ask_whether_it_is_trained() {
    let text = "graph g(x: [B]) -> (loss, y) {
        param w: [] = ones();
        let y    = w * x * (if training() == 1 then 2 else 1) + progress();
        let loss = mean(y);
    }";
    let gradients = Some(Gradients { output: "loss".into(), wrt: None });
    let optimizer = Some(Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 });
    let trained = Options { gradients, optimizer, ..Options::default() };
    let scalar = |value: f32| Array::new([], vec![value]);
    let x = Array::new([2], vec![1.0f32, 3.0]);
    for device in devices() {
        let mut plain = session(text, &Options::default(), &device);
        plain.set_inputs([("x", &x)]).unwrap();
        plain.run(Pass::Forward).unwrap();
        assert_eq!(numbers(&mut plain, "y"), [2.0, 4.0]);
        let mut training = session(text, &trained, &device);
        let (rate, progress) = (scalar(0.1), scalar(0.25));
        let own = [(LEARNING_RATE, &rate), (fgi_compiler::front::check::PROGRESS, &progress)];
        training.set_inputs([("x", &x)].into_iter().chain(own)).unwrap();
        training.run(Pass::Forward).unwrap();
        assert_eq!(numbers(&mut training, "y"), [2.25, 6.25]);
    }
}

const RANDOM: &str = "
graph g(x: [T; B, 3], w: [4, 50]) -> (u, s, b, n, m, y) {
    let u = uniform(x);
    let s = uniform(w);
    let b = bernoulli(0.25 + 0 * x);
    let n = normal(x);
    let m = uniform(x) - u;
    let y = 0.5 * prev(y) + b * x;
}
";

/// To the bit, on every device, for any threads, memory and chunks.
#[test]
fn random_numbers_are_the_same_everywhere() {
    let compiled_once = compiled(RANDOM, &Options::default());
    let (x, w) = (array(&[6, 4, 3], 1.0), array(&[4, 50], 1.0));
    let given = [("x".to_string(), x.clone()), ("w".to_string(), w.clone())].into();
    let (_, graph) = &compiled_once.graphs[0];
    let reference = |seed| fgi::evaluate_reference(graph, &given, seed).unwrap();
    let expected = reference(7);
    assert_ne!(expected["u"], reference(8)["u"]);
    let limited = Device::cpu().memory_limit(10_000);
    for device in [Device::cpu(), Device::cpu().threads(2), limited, Device::cpu_in_order(), gpu()]
    {
        let mut whole = session(RANDOM, &Options::default(), &device);
        whole.initialise(7).unwrap();
        whole.set_inputs([("x", &x), ("w", &w)]).unwrap();
        whole.run(Pass::Forward).unwrap();
        for name in ["u", "s", "b", "n"] {
            assert_eq!(numbers(&mut whole, name), expected[name].to_f64(), "{name} on {device}");
        }
        // The next run has other numbers, the same again from the start.
        let first = numbers(&mut whole, "u");
        whole.run(Pass::Update).unwrap();
        whole.run(Pass::Forward).unwrap();
        assert_ne!(numbers(&mut whole, "u"), first);
        whole.initialise(7).unwrap();
        whole.run(Pass::Forward).unwrap();
        assert_eq!(numbers(&mut whole, "u"), first);
        // A sequence in chunks.
        let mut chunked = session(RANDOM, &Options { carry: true, ..Options::default() }, &device);
        chunked.initialise(7).unwrap();
        let (mut u, mut y) = (Vec::new(), Vec::new());
        for range in [0..1, 1..4, 4..6] {
            chunked.set_inputs([("x", &x.rows(range)), ("w", &w)]).unwrap();
            chunked.run(Pass::Forward).unwrap();
            u.extend(numbers(&mut chunked, "u"));
            y.extend(numbers(&mut chunked, "y"));
            chunked.run(Pass::Update).unwrap();
        }
        assert_eq!((u, y), (first, numbers(&mut whole, "y")), "{device}");
    }
}

/// As many as reach every part of the distribution.
#[test]
fn the_tails_are_the_same_everywhere() {
    let text = "graph g() -> (n) { let n = normal(0 * iota(200000)); }";
    let compiled_once = compiled(text, &Options::default());
    let (_, graph) = &compiled_once.graphs[0];
    let expected = fgi::evaluate_reference(graph, &[].into(), 3).unwrap()["n"].to_f64();
    assert!(expected.iter().any(|n| *n > 4.2) && expected.iter().any(|n| *n < -4.2));
    for device in [Device::cpu(), gpu()] {
        let mut session = session(text, &Options::default(), &device);
        session.initialise(3).unwrap();
        session.run(Pass::Forward).unwrap();
        assert!(numbers(&mut session, "n") == expected, "{device}");
    }
}

/// A branch that is left out, and another output, change no numbers.
#[test]
fn a_draw_has_a_place_in_the_text() {
    let text = |condition: &str, outputs: &str| {
        format!(
            "graph g(x: [4]) -> ({outputs}) {{
                let a = if {condition} then uniform(x) else x;
                let c = uniform(x);
                let b = uniform(x) + 0 * c;
            }}"
        )
    };
    let b = |text: &str| {
        let mut session = session(text, &Options::default(), &Device::cpu());
        session.set_inputs([("x", &array(&[4], 1.0))]).unwrap();
        session.run(Pass::Forward).unwrap();
        numbers(&mut session, "b")
    };
    let expected = b(&text("1 > 0", "a, c, b"));
    assert_eq!(b(&text("1 > 2", "a, c, b")), expected);
    assert_eq!(b(&text("1 > 2", "b")), expected);
}

#[test]
fn random_numbers_are_distributed_as_they_should_be() {
    let text = "graph g(x: [T; N]) -> (u, v, b, n) {
        let u = uniform(x); let v = uniform(x); let b = bernoulli(x); let n = normal(x);
    }";
    let mut session = session(text, &Options::default(), &Device::cpu());
    let x = Array::new([200, 1000], vec![0.3f32; 200_000]);
    session.set_inputs([("x", &x)]).unwrap();
    session.run(Pass::Forward).unwrap();
    let [u, v, b, n] = ["u", "v", "b", "n"].map(|name| numbers(&mut session, name));
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / 200_000.0;
    let moment =
        |values: &[f64], power| mean(&mut values.iter().map(|value| f64::powi(*value, power)));
    let near = |found: f64, expected: f64, deviation: f64| {
        let error = (found - expected).abs() / (deviation / 200_000f64.sqrt());
        assert!(error < 4.5, "{found} instead of {expected}: {error} deviations");
    };
    assert!(u.iter().all(|u| (0.0..1.0).contains(u)));
    near(moment(&u, 1), 0.5, (1.0f64 / 12.0).sqrt());
    near(moment(&u, 2), 1.0 / 3.0, (4.0f64 / 45.0).sqrt());
    near(moment(&b, 1), 0.3, (0.3f64 * 0.7).sqrt());
    near(moment(&n, 1), 0.0, 1.0);
    near(moment(&n, 2), 1.0, 2f64.sqrt());
    near(moment(&n, 3), 0.0, 15f64.sqrt());
    near(moment(&n, 4), 3.0, 96f64.sqrt());
    // Independent of another place, of the next step and of the next element.
    let twelfth = 1.0 / 12.0;
    for (a, b) in [(&u[..], &v[..]), (&u[1000..], &u[..199_000]), (&u[1..], &u[..199_999])] {
        let covariance = a.iter().zip(b).map(|(a, b)| (a - 0.5) * (b - 0.5));
        near(mean(&mut covariance.into_iter()), 0.0, twelfth);
    }
}
