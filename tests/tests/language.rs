//! What the language says of values and of derivatives at kinks, by numbers worked out by hand, on every engine.

use fgi::Array;
use fgi::npz::Arrays;
use fgi_compiler::{Gradients, Options};
use fgi_tests::{Engine, closeness, compiled, run};
use std::f64::consts::E;

const NAN: f64 = f64::NAN;
const LN_2: f64 = std::f64::consts::LN_2;
const LN_3: f64 = 1.098_612_288_668_109_8;

/// Expressions of x = [[1, -2, 3], [0.5, 0, -1]], i = [2, 0] and the stream s = [1, 2], [3, 4], [5, 6], [7, 8], with
/// their values.
const VALUES: &[(&str, &[f64])] = &[
    // Operators
    ("-2^2 + 0 * sum(x)", &[-4.0]),
    ("2^3^2 + 0 * sum(x)", &[512.0]),
    ("2^-1 + 0 * sum(x)", &[0.5]),
    ("7 - 2 - 1 + 0 * sum(x)", &[4.0]),
    ("8 / 4 / 2 + 0 * sum(x)", &[1.0]),
    ("-x^2", &[-1.0, -4.0, -9.0, -0.25, 0.0, -1.0]),
    ("x > 0 && x < 2 || x == 3", &[1.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    ("!(x >= 0) || x != x", &[0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
    ("x @ transpose(x)", &[14.0, -2.5, -2.5, 1.25]),
    ("x @ sum(x, axis = 0)", &[11.5, -1.25]),
    ("x - mean(x, axis = -1, keepdims = true) * 3", &[-1.0, -4.0, 1.0, 1.0, 0.5, -0.5]),
    // The branch that is not taken
    ("if x > 0 then log(x) else 0", &[0.0, 0.0, LN_3, -LN_2, 0.0, 0.0]),
    ("if sum(x) > 1e6 then x @ transpose(x) / 0 else 1", &[1.0; 4]),
    ("if true then i else 0", &[2.0, 0.0]),
    ("7 - 5 % 3 * 2 + 0 * sum(x)", &[3.0]),
    ("x % 2", &[1.0, 0.0, 1.0, 0.5, 0.0, 1.0]),
    ("x % -0.75 + 0 * x", &[-0.5, -0.5, 0.0, -0.25, 0.0, -0.25]),
    // Integers
    ("(3 * i - 7) / 2", &[0.0, -3.0]),
    ("(3 * i - 7) % 2", &[-1.0, -1.0]),
    ("(i + 5) / (i - 2) - (i + 5) % (i - 2)", &[0.0, -3.0]),
    ("2147483646 + i", &[-2147483648.0, 2147483646.0]),
    ("(-2147483647 - i / 2) / (i - 1 - i)", &[-2147483648.0, 2147483647.0]),
    ("(-2147483647 - i / 2) % (i - 1 - i)", &[0.0, 0.0]),
    ("abs(-2147483647 - i / 2)", &[-2147483648.0, 2147483647.0]),
    ("65537 * 65537 * (i + 1)", &[393219.0, 131073.0]),
    ("sum(i + 2147483646)", &[-2.0]),
    ("prod(i + 3) + max(i - 9) - min(i)", &[8.0]),
    ("prod(65536 * i + 65537)", &[262145.0]),
    ("cumsum(i + 1, 0) * clamp(3 * i, 1, 4)", &[12.0, 4.0]),
    ("reshape(i, [1, 2]) @ reshape(i + 1, [2, 1])", &[6.0]),
    ("[7, -7] / i + [1, 2] * i", &[5.0, 0.0]),
    ("time_sum(i32(s)) / 3 + time_max(i32(s)) % 4 - last(prev(i32(s), init = 1))", &[3.0, 0.0]),
    ("time_mean(i32(s))", &[4.0, 5.0]),
    // Pointwise
    ("round(0.5 * x)", &[0.0, -1.0, 2.0, 0.0, 0.0, 0.0]),
    ("sign(x) + floor(0.5 * x) + ceil(0.5 * x)", &[2.0, -3.0, 4.0, 2.0, 0.0, -2.0]),
    ("clamp(x, -1, 1) + min(x, 0) + max(x, 0)", &[2.0, -3.0, 4.0, 1.0, 0.0, -2.0]),
    ("relu(x) + abs(x) + step(x)", &[3.0, 2.0, 7.0, 2.0, 0.0, 1.0]),
    ("softplus(0 * x) + sigmoid(0 * x) + erf(0 * x) + rsqrt(4 + 0 * x)", &[LN_2 + 1.0; 6]),
    ("atan2(0 * abs(x), -1 + 0 * x) + cos(0 * x)", &[std::f64::consts::PI + 1.0; 6]),
    ("f32(i32(x)) - f32(i32(1.9 * x))", &[0.0, 1.0, -2.0, 0.0, 0.0, 0.0]),
    ("max(3 * i - 1, 1) * -i", &[-10.0, 0.0]),
    ("pi + 0 * sum(x)", &[std::f64::consts::PI]),
    // Shapes
    ("permute(x, [-1, 0])", &[1.0, 0.5, -2.0, 0.0, 3.0, -1.0]),
    ("reshape(x, [3, -1])", &[1.0, -2.0, 3.0, 0.5, 0.0, -1.0]),
    ("concat(x, 2 * slice(x, start = 2), axis = 1)", &[1.0, -2.0, 3.0, 6.0, 0.5, 0.0, -1.0, -2.0]),
    (
        "concat(slice(x, axis = 0, end = 1), x, axis = 0)",
        &[1.0, -2.0, 3.0, 1.0, -2.0, 3.0, 0.5, 0.0, -1.0],
    ),
    ("slice(x, axis = 1, start = -2, end = -1)", &[-2.0, 0.0]),
    ("pad(x, [[0, 0], [1, 0]], value = 9)", &[9.0, 1.0, -2.0, 3.0, 9.0, 0.5, 0.0, -1.0]),
    ("flip(x, -1) + flip(x, 0)", &[3.5, -2.0, 0.0, 0.0, -2.0, 3.5]),
    ("broadcast(sum(x, axis = 1, keepdims = true), [2, 2])", &[2.0, 2.0, -0.5, -0.5]),
    ("one_hot(i, 3)", &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    ("gather(x, i, axis = 1)", &[3.0, 1.0, -1.0, 0.5]),
    ("gather(x, i - 2, axis = 1)", &[1.0, -2.0, 0.5, 0.0]),
    ("gather(x, i - 4, axis = 1)", &[-2.0, NAN, 0.0, NAN]),
    ("gather(x, i - 1, axis = 0)", &[0.5, 0.0, -1.0, 0.5, 0.0, -1.0]),
    ("gather(x, i, axis = 0)", &[NAN, NAN, NAN, 1.0, -2.0, 3.0]),
    ("gather(i + 5, i - 2)", &[7.0, 7.0]),
    ("gather(i + 5, 2 * i - 2)", &[0.0, 7.0]),
    ("if gather(x > 0.7, i - 1, axis = 1) then 1 else 2", &[2.0, 1.0, 2.0, 2.0]),
    ("gather(x, argmax(x) - 3, axis = 1)", &[3.0, 1.0, -1.0, 0.5]),
    ("one_hot(i - 3, 3)", &[0.0; 6]),
    // Time as an axis, and what is the same at every step
    ("time_stack(s)", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
    ("time_reverse(s)", &[7.0, 8.0, 5.0, 6.0, 3.0, 4.0, 1.0, 2.0]),
    ("time_unstack(time_stack(s > 2.5))", &[0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ("time_stack(prev(i32(s), init = 9))", &[9.0, 9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
    ("prev(i, init = 5)", &[5.0, 5.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0]),
    ("time_reverse(prev(i > 1))", &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ("time_sum(i) + last(i) + time_max(i) + first(i)", &[14.0, 0.0]),
    ("time_stack(i > 1)", &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]),
    ("time_mean(x) - last(x)", &[0.0; 6]),
    // Windows
    ("windows(x, 2)", &[1.0, -2.0, -2.0, 3.0, 0.5, 0.0, 0.0, -1.0]),
    ("windows(x, 2, stride = 2, pad = 1)", &[0.0, 1.0, -2.0, 3.0, 0.0, 0.5, 0.0, -1.0]),
    ("windows(i + 1, 1, pad = 1)", &[0.0, 3.0, 1.0, 0.0]),
    ("conv1d(x, reshape(x, [1, 2, 3]))", &[15.25]),
    ("conv1d(x, reshape(x, [1, 2, 3]), pad = same)", &[-8.0, 15.25, -8.0]),
    (
        "conv1d_transpose(x, 1 + 0 * reshape(x, [2, 1, 3]), stride = 2, pad = 1)",
        &[1.5, -0.5, -2.0, 0.0, 2.0],
    ),
    ("max_pool1d(-exp(x), 3, pad = 1)", &[-1.0 / E / E, -1.0]),
    ("avg_pool1d(x, 2, pad = 1)", &[0.5, 0.5, 0.25, -0.5]),
    ("adaptive_avg_pool2d(reshape(x, [1, 2, 3]), [1, 2])", &[-0.125, 0.0]),
    (
        "upsample2d(reshape(x, [1, 2, 3]), [1, 2])",
        &[1.0, 1.0, -2.0, -2.0, 3.0, 3.0, 0.5, 0.5, 0.0, 0.0, -1.0, -1.0],
    ),
    ("take(x, reshape(i, [2, 1]) - 3, axis = 1)", &[3.0, 0.5]),
    ("take(x, reshape(2 * i, [2, 1]), axis = 1)", &[NAN, 0.5]),
    ("take(x, argsort(x), axis = -1)", &[-2.0, 1.0, 3.0, -1.0, 0.0, 0.5]),
    ("scatter_add(x, i, 3)", &[0.5, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0, -2.0, 3.0]),
    ("scatter_add(x, [1, -1, 7], 2, axis = 1)", &[0.0, -1.0, 0.0, 0.5]),
    ("scatter_add(x, [[0, 1, 0], [1, 1, 5]], 2)", &[4.0, -1.5]),
    ("scatter_add(i + 1, i, 3)", &[1.0, 0.0, 3.0]),
    (
        "stack(x, 2 * x, axis = 1)",
        &[1.0, -2.0, 3.0, 2.0, -4.0, 6.0, 0.5, 0.0, -1.0, 1.0, 0.0, -2.0],
    ),
    ("stack(sum(x), 1)", &[1.5, 1.0]),
    ("tril(x) + triu(x, k = 1)", &[1.0, -2.0, 3.0, 0.5, 0.0, -1.0]),
    ("tril(x, k = -1)", &[0.0, 0.0, 0.0, 0.5, 0.0, 0.0]),
    ("eye(2) + iota(2) + 0 * sum(x)", &[1.0, 1.0, 0.0, 2.0]),
    // Arrays
    ("[1, 2.5, -3] * x", &[1.0, -5.0, -9.0, 0.5, 0.0, 3.0]),
    ("[[1, 2, 3], [4, 5, 6], [7, 8, 3^2]] @ transpose(x)", &[6.0, -2.5, 12.0, -4.0, 18.0, -5.5]),
    ("gather([10, 20, 30], i)", &[30.0, 10.0]),
    ("gather([0, 1, 2, 3, 4, 5, 6, 7, 8, 9.5], 4 * i + 1)", &[9.5, 1.0]),
    ("gather([1, 2, 3, 4, 5, 6, 7, 8, 9, 10] * 1, i) + i32(sum(x))", &[4.0, 2.0]),
    // Orders
    ("sort(x)", &[-2.0, 1.0, 3.0, -1.0, 0.0, 0.5]),
    ("sort(x, axis = 0)", &[0.5, -2.0, -1.0, 1.0, 0.0, 3.0]),
    ("sort(if x == 1 then sqrt(-x) else x)", &[-2.0, 3.0, NAN, -1.0, 0.0, 0.5]),
    ("argsort([3, 1, 3, 1, 2] + 0 * sum(x))", &[1.0, 3.0, 4.0, 0.0, 2.0]),
    ("argsort(0 * x)", &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0]),
    ("sort(3 - 2 * i)", &[-1.0, 3.0]),
    ("argmin(x)", &[1.0, 2.0]),
    ("argmin(0 * x, axis = 0, keepdims = true)", &[0.0, 0.0, 0.0]),
    // Reductions
    ("sum(x, axis = [0, 1])", &[1.5]),
    ("cumsum(x, axis = 1)", &[1.0, -1.0, 2.0, 0.5, 0.5, -0.5]),
    ("softmax([0, -inf, 0] + 0 * sum(x))", &[0.5, 0.0, 0.5]),
    (
        "softmax(if x > 0 then x else -inf, axis = 0)",
        &[0.622_459_331_201_854_6, 0.0, 1.0, 0.377_540_668_798_145_4, 0.0, 0.0],
    ),
    ("exp(log_softmax(x, axis = 1)) - softmax(x)", &[0.0; 6]),
    ("var(x, axis = 0)", &[0.0625, 1.0, 4.0]),
    ("prod(x, axis = 1) + min(x, axis = 1)", &[-8.0, -1.0]),
    ("argmax(x)", &[2.0, 0.0]),
    ("argmax(x, axis = 0, keepdims = true)", &[0.0, 1.0, 0.0]),
    ("logsumexp(0 * x, axis = -1) + max(x)", &[LN_3 + 3.0; 2]),
    // Time
    ("last(s) + first(s)", &[8.0, 10.0]),
    ("time_sum(s) + time_mean(s) + time_max(s)", &[27.0, 33.0]),
    ("last(prev(s)) + last(delay(s, 3)) + last(delay(s, n = 4))", &[6.0, 8.0]),
    ("time_sum(prev(s, init = sum(x)))", &[10.5, 13.5]),
    ("first(prev(prev(s, init = 2), init = 7))", &[7.0, 7.0]),
    ("time_sum(s * time_index()) + time_steps()", &[38.0, 44.0]),
    ("T + B + 0 * sum(x)", &[6.0]),
    ("last(if time_index() == 3 then s else sqrt(-s))", &[7.0, 8.0]),
];

fn inputs() -> Arrays {
    let x = Array::new([2, 3], vec![1.0f32, -2.0, 3.0, 0.5, 0.0, -1.0]);
    let s = Array::new([4, 2], (1..=8).map(|v| v as f32).collect::<Vec<_>>());
    let named = [("x", x), ("i", Array::new([2], vec![2, 0])), ("s", s)];
    named.map(|(name, array)| (name.to_owned(), array)).into()
}

const ENGINES: [Engine; 3] = [Engine::Reference, Engine::Cpu, Engine::Gpu];

#[test]
fn values_are_those_of_the_language() {
    let lines = VALUES.iter().enumerate().map(|(i, (expr, _))| format!("let y{i} = {expr};\n"));
    let names: Vec<_> = (0..VALUES.len()).map(|i| format!("y{i}")).collect();
    let text = format!(
        "graph g(x: [2, 3], i: i32[2], s: [T; B]) -> ({}) {{\n{}}}",
        names.join(", "),
        lines.collect::<String>()
    );
    let compiled = compiled(&text, &Options::default());
    for engine in ENGINES {
        let found = run(engine, &compiled, &inputs()).unwrap();
        for (i, (expr, expected)) in VALUES.iter().enumerate() {
            let found = found[&format!("y{i}")].to_f64();
            let close = found.len() == expected.len()
                && found.iter().zip(*expected).all(|(a, b)| {
                    a.is_nan() && b.is_nan() || (a - b).abs() <= 2e-6 * b.abs().max(1.0)
                });
            assert!(close, "{engine:?}: {expr} is {found:?}, not {expected:?}");
        }
    }
}

/// Losses of x, with their derivatives.
const SLOPES: &[(&str, [f64; 6])] = &[
    ("sum(relu(x))", [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    ("sum(abs(x))", [1.0, -1.0, 1.0, 1.0, 0.0, -1.0]),
    ("sum(clamp(x, -1, 0.5))", [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
    ("sum(max(x, 0))", [1.0, 0.0, 1.0, 1.0, 0.5, 0.0]),
    ("sum(min(x, 0.5))", [0.0, 1.0, 0.0, 0.5, 1.0, 1.0]),
    ("max(clamp(x, -9, 9))", [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
    ("max(min(x, 1))", [0.25, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ("sum(x * floor(x) + x * sign(x))", [2.0, -3.0, 4.0, 1.0, 0.0, -2.0]),
    ("sum(x * f32(argmax(x, axis = 1, keepdims = true)))", [2.0, 2.0, 2.0, 0.0, 0.0, 0.0]),
    (
        "sum(if x > 0 then sqrt(x) * 2 else 0)",
        [1.0, 0.0, 0.577_350_269_189_625_7, std::f64::consts::SQRT_2, 0.0, 0.0],
    ),
    (
        "sum(sum(if x > 0 then x else 0 * x, axis = 1) * sg(sum(x, axis = 1)))",
        [2.0, 0.0, 2.0, -0.5, 0.0, 0.0],
    ),
    ("sum(gather(x, i - 2, axis = 1)^2)", [2.0, -4.0, 0.0, 1.0, 0.0, 0.0]),
    ("sum(gather(x, 2 * i - 4, axis = 1))", [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    ("sum(gather(x, 2 * argmax(x) - 3, axis = 1))", [1.0, 1.0, 0.0, 1.0, 1.0, 0.0]),
    // The first of a tie.
    ("sum(max_pool1d(bypass(step(x), x), 3))", [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    (
        "sum(max_pool2d(reshape(bypass(0 * x, x), [1, 2, 3]), 2, stride = 1))",
        [1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    ),
    (
        "sum((adaptive_avg_pool2d(reshape(x, [1, 2, 3]), [1, 2]) + 1)^2)",
        [0.4375, 0.9375, 0.5, 0.4375, 0.9375, 0.5],
    ),
    ("sum(windows(x, 2, pad = 1)^2 / 2)", [2.0, -4.0, 6.0, 1.0, 0.0, -2.0]),
    ("sum(x * softmax(if x > 0 then 0 * x else -inf))", [0.5, 0.0, 0.5, 1.0, 0.0, 0.0]),
    ("sum(softmax(if x > 1 then x else -inf) * [1, 2, 3])", [0.0; 6]),
    ("sum(softmax(if x > 2 then x else x - inf))", [0.0; 6]),
    ("sum(sort(x) * [1, 2, 4])", [2.0, 1.0, 4.0, 4.0, 2.0, 1.0]),
    ("sum(cumsum(x, axis = 1) * [1, 2, 4])", [7.0, 6.0, 4.0, 7.0, 6.0, 4.0]),
    ("sum(take(x, reshape(2 * i - 4, [2, 1]), axis = 1))", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    ("sum(scatter_add(x, [1, -1, 7], 2, axis = 1) * [5, 7])", [7.0, 7.0, 0.0, 7.0, 7.0, 0.0]),
    ("sum(x % 2)", [1.0; 6]),
    ("sum(tril(x)^2)", [2.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
    ("prod(x, axis = 1) @ sum(one_hot(i, 2), axis = 1)", [0.0, 0.0, 0.0, 0.0, -0.5, 0.0]),
];

#[test]
fn kinks_have_the_derivatives_of_the_language() {
    for (loss, expected) in SLOPES {
        let text =
            format!("graph g(x: [2, 3], i: i32[2], s: [T; B]) -> (loss) {{ let loss = {loss}; }}");
        let wrt = Some(vec!["x".into()]);
        let gradients = Some(Gradients { output: "loss".into(), wrt });
        let compiled = compiled(&text, &Options { gradients, ..Options::default() });
        for engine in ENGINES {
            let found = run(engine, &compiled, &inputs()).unwrap()["grad/x"].to_f64();
            let close =
                found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0));
            assert!(close, "{engine:?}: {loss} has {found:?}, not {expected:?}");
        }
    }
}

/// More numbers than one kernel stores, read in order and out of it.
#[test]
fn a_long_list_is_a_tensor() {
    let numbers: Vec<_> = (0..300).map(|i| f64::from(i * i % 101) - 50.0).collect();
    let text = format!(
        "graph g(x: [2, 3], i: i32[2], s: [T; B]) -> (sum, some) {{
            let list = {numbers:?};
            let sum = sum(list * iota(300)) + sum(x);
            let some = gather(list, 149 * i + 1);
        }}"
    );
    let compiled = compiled(&text, &Options::default());
    let sum = numbers.iter().zip(0..).map(|(number, i)| number * f64::from(i)).sum::<f64>() + 1.5;
    for engine in ENGINES {
        let found = run(engine, &compiled, &inputs()).unwrap();
        let sum = (found["sum"].to_f64()[0] - sum).abs() / sum.abs();
        assert!(sum < 1e-5, "{engine:?}: {sum}");
        assert_eq!(found["some"].to_f64(), [numbers[299], numbers[1]], "{engine:?}");
    }
}

/// A product of one step, which is known when compiling, is large enough for tiles.
#[test]
fn one_step_is_like_any_other() {
    let text = "graph g[T = 1](x: [T; 5, 130], w: [130, 130]) -> (loss, y) {
        let y    = x @ w;
        let loss = time_sum(sum(y * y));
    }";
    let wrt = Some(vec!["x".into(), "w".into()]);
    let gradients = Some(Gradients { output: "loss".into(), wrt });
    let compiled = compiled(text, &Options { gradients, ..Options::default() });
    let array = |dims: &[usize], step: f32| {
        let numbers = (0..dims.iter().product()).map(|i: usize| (step * i as f32).sin());
        Array::new(dims.to_vec(), numbers.collect::<Vec<_>>())
    };
    let named = [("x", array(&[1, 5, 130], 0.3)), ("w", array(&[130, 130], 0.7))];
    let values = named.map(|(name, array)| (name.to_owned(), array)).into();
    let expected = run(Engine::Reference, &compiled, &values).unwrap();
    for engine in [Engine::Cpu, Engine::Gpu] {
        let found = run(engine, &compiled, &values).unwrap();
        for (name, expected) in &expected {
            closeness(&found[name], expected, 1e-5, 1e-6)
                .unwrap_or_else(|why| panic!("{engine:?}: {name}: {why}"));
        }
    }
}
