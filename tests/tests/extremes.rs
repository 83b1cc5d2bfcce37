//! What NaN, infinities, zeros and denormals do, by the table of the book, and that nothing else differs from the
//! reference on the processor.

use std::sync::Arc;

use fgi::npz::Arrays;
use fgi::{Array, Device, evaluate, evaluate_reference};
use fgi_compiler::{Compiled, Gradients, Options, differentiate};
use fgi_tests::{Engine, compiled, run, workspace};

/// Expressions of x and y.
const EXPRESSIONS: &[&str] = &[
    // Of x
    "-x",
    "exp(x)",
    "log(x)",
    "sqrt(x)",
    "rsqrt(x)",
    "abs(x)",
    "sign(x)",
    "floor(x)",
    "ceil(x)",
    "round(x)",
    "sin(x)",
    "cos(x)",
    "tan(x)",
    "asin(x)",
    "acos(x)",
    "atan(x)",
    "sinh(x)",
    "cosh(x)",
    "tanh(x)",
    "sigmoid(x)",
    "relu(x)",
    "softplus(x)",
    "erf(x)",
    "f32(i32(x))",
    "clamp(x, -1, 1)",
    "x^2",
    "x^3",
    "x^0.5",
    "x^-1",
    "x^0",
    "step(x)",
    "inject(x, step(x), exp(-x^2))",
    "x * 0",
    "x - x",
    "x / x",
    "0 - x",
    "if x > 0 then x else 0 * x",
    "if x == x then x else 7",
    "f32(x != x)",
    // Of x and y
    "x + y",
    "x - y",
    "x * y",
    "x / y",
    "x ^ y",
    "atan2(x, y)",
    "min(x, y)",
    "max(x, y)",
    "f32(x < y)",
    "f32(x <= y)",
    "f32(x > y)",
    "f32(x >= y)",
    "f32(x == y)",
    "f32(x != y)",
    "clamp(0.3 * y, x, 1)",
    "clamp(0.3, x, y)",
    "if x < y then x else y",
    "if !(x < y) then x else y",
    // Over [x, y, 0.25]
    "sum(Z, axis = 1)",
    "mean(Z, axis = 1)",
    "max(Z, axis = 1)",
    "min(Z, axis = 1)",
    "prod(Z, axis = 1)",
    "var(Z, axis = 1)",
    "logsumexp(Z, axis = 1)",
    "f32(argmax(Z, axis = 1))",
    "f32(argmax(-Z, axis = 1))",
    "f32(argmin(Z, axis = 1))",
    "f32(argsort(Z, axis = 1))",
    "sort(Z, axis = 1)",
    "cumsum(Z, axis = 1)",
    "sum(Z @ transpose(Z), axis = 1)",
];
const STACK: &str = "concat(reshape(x, [-1, 1]), reshape(y, [-1, 1]), broadcast(0.25, [B, 1]))";
const NUMBERS: [f32; 11] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 40.0, -40.0, 0.5, -0.5, 2.0, -3.0];

/// A program with the value of an expression, `v`, and its gradients.
fn program(expression: &str) -> (Compiled, Options) {
    let value = expression.replace('Z', STACK);
    let text = format!(
        "graph g(x: [B], y: [B]) -> (v, loss) {{ let v = f32({value}); let loss = sum(v); }}"
    );
    let wrt = Some(vec!["x".into(), "y".into()]);
    let gradients = Some(Gradients { output: "loss".into(), wrt });
    let options = Options { gradients, ..Options::default() };
    (compiled(&text, &options), options)
}

/// As the program is written.
fn reference(program: &Compiled, options: &Options, values: &Arrays) -> Arrays {
    let graph = differentiate(&program.graphs[0].1, options).unwrap();
    evaluate_reference(&graph, values, 0).unwrap()
}

fn inputs(x: Vec<f32>, y: Vec<f32>) -> Arrays {
    [("x", x), ("y", y)].map(|(name, it)| (name.to_string(), Array::new([it.len()], it))).into()
}

/// Equal up to rounding; what is zero may have either sign.
fn is_same(a: f64, b: f64) -> bool {
    let (a, b) = (a as f32, b as f32);
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 2e-5 * a.abs()
}

/// The rows of the table: expression, x, what it is on the reference, on `cpu` and on `cpu-in-order`.
fn table() -> Vec<[String; 5]> {
    let page = std::fs::read_to_string(workspace().join("book/src/language.md")).unwrap();
    let (_, section) = page.split_once("## What NaN and infinity do").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', ""));
        cells.collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{row}"))
    };
    rows.map(cells).collect()
}

#[test]
fn the_table_of_the_book_is_right() {
    let rows = table();
    assert!(rows.len() > 20, "{rows:?}");
    let mut faults = Vec::new();
    for [expression, x, on_reference, on_cpu, in_order] in rows {
        let (program, options) = program(&expression);
        let values = inputs(vec![x.parse().unwrap()], vec![0.0]);
        let mut compare = |what: &str, found: &Arrays, expected: &str| {
            let (found, expected) = (found["v"].to_f64()[0], expected.parse::<f64>().unwrap());
            if !is_same(expected, found) {
                faults.push(format!("{what}: {expression} of {x} is {found}, not {expected}"));
            }
        };
        compare("reference", &reference(&program, &options, &values), &on_reference);
        for (device, expected) in [(Device::cpu(), &on_cpu), (Device::cpu_in_order(), &in_order)] {
            let kernels = Arc::new(program.program.clone());
            let found = evaluate(kernels, &device, &values, 0).unwrap().0;
            compare(&format!("{device:?}"), &found, expected);
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Values and gradients on the processor are those of the reference, but for the rows that say otherwise.
#[test]
fn nothing_else_differs() {
    let allowed: Vec<_> = table().into_iter().filter(|[_, _, a, b, _]| a != b).collect();
    let (x, y) = NUMBERS.iter().flat_map(|x| NUMBERS.map(|y| (*x, y))).unzip();
    let values = inputs(x, y);
    let mut faults = Vec::new();
    for expression in EXPRESSIONS {
        let (program, options) = program(expression);
        let expected = reference(&program, &options, &values);
        let found = run(Engine::Cpu, &program, &values).unwrap();
        for what in ["v", "grad/x", "grad/y"] {
            let pairs = expected[what].to_f64().into_iter().zip(found[what].to_f64());
            for (at, (a, b)) in pairs.enumerate().filter(|(_, (a, b))| !is_same(*a, *b)) {
                let (x, y) = (NUMBERS[at / NUMBERS.len()], NUMBERS[at % NUMBERS.len()]);
                let is_listed = |row: &[String; 5]| {
                    row[0] == *expression && is_same(row[1].parse().unwrap(), x.into())
                };
                if what != "v" || !allowed.iter().any(is_listed) {
                    faults.push(format!("{what} of {expression} at ({x}, {y}): {a}, but {b}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
