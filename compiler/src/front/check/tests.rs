use super::*;
use crate::front::syntax::ast::{Function, ItemKind};
use crate::front::syntax::parse;
use crate::ir::graph::interpret::{Tensor, Values};
use crate::ir::graph::{Bindings, Init, Op, Role};
use crate::ir::verify;
use crate::source::{Loader, NoFiles};
use crate::testing::{assert_close, graph, interpret, interpret_dual};

fn run(text: &str, dims: &[(&str, i64)]) -> Checked {
    let dims = dims.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    check("test.fgi", text, &NoFiles, &Options { dims, ..Options::default() })
}

/// The types of the outputs.
#[track_caller]
fn types(text: &str) -> Vec<String> {
    let graph = graph(text);
    graph.roots.iter().map(|root| graph.ty(root.node).to_string()).collect()
}

/// The type of `y` as an expression of inputs.
#[track_caller]
fn type_of(inputs: &str, expr: &str) -> String {
    types(&format!("graph g({inputs}) -> y {{ let y = {expr}; }}")).remove(0)
}

/// The value of `y` as an expression of inputs with these values.
#[track_caller]
fn value(inputs: &str, expr: &str, values: &[(&str, &[usize], &[f64])]) -> Vec<f64> {
    let graph = graph(&format!("graph g({inputs}) -> y {{ let y = {expr}; }}"));
    let values: Values = values
        .iter()
        .map(|(name, dims, data)| (name.to_string(), Tensor::new(*dims, *data)))
        .collect();
    let bindings = graph.symbols().into_iter().map(|symbol| (symbol, 1)).collect();
    interpret(&graph, &bindings, &values).unwrap().output("y").unwrap().data.clone()
}

/// The codes and messages of the errors.
fn errors(text: &str) -> Vec<String> {
    let checked = run(text, &[]);
    assert!(checked.graph.is_none(), "{text}");
    checked.diagnostics.iter().map(|one| format!("{} {}", one.code, one.message)).collect()
}

#[track_caller]
fn assert_errors(text: &str, expected: &[&str]) {
    assert_eq!(errors(text), expected, "{text}");
}

const ALIF: &str = include_str!("../../../../dsl-examples/smnist/smnist.fgi");
const PAPER: &str = include_str!("../../../../dsl-examples/fgi/fgi.fgi");

#[test]
fn smnist() {
    let checked = run(ALIF, &[]);
    assert_eq!(checked.diagnostics, []);
    let graph = verify(checked.graph.unwrap()).unwrap().into_inner();
    let params: Vec<_> =
        graph.params.iter().map(|param| format!("{} {:?}", param.path, param.dims.len())).collect();
    assert_eq!(
        params,
        [
            "h.w_in 2",
            "h.w_rec 2",
            "h.tau_m 1",
            "h.tau_adp 1",
            "readout_1.w 2",
            "readout_1.b 1",
            "readout_1.tau 1"
        ]
    );
    assert_eq!(graph.params[0].init, Init::Uniform(-30.0 / 28.0, 30.0 / 28.0));
    assert_eq!(graph.params[2].bounds, Some((1.0, f64::INFINITY)));
    assert_eq!(graph.time, Some(28.into()));
    assert_eq!(graph.inputs[0].docs, "Brightness from 0 to 1.");
    assert_eq!(graph.inputs[1].ty.to_string(), "i32[B]");
    let names: Vec<_> = graph.ids().filter_map(|id| graph.node(id).name.clone()).collect();
    for name in ["pixels", "h.alpha", "h.i", "h.u", "h.eta", "h.theta", "h.z", "logits", "loss"] {
        assert!(names.iter().any(|found| **found == *name), "{name} in {names:?}");
    }
    let smaller = run(ALIF, &[("T", 784), ("N", 4), ("B", 2)]).graph.unwrap();
    assert_eq!(smaller.inputs[0].ty.to_string(), "[T; 2, 1]");
    assert!(smaller.symbols().is_empty());
}

#[test]
fn the_paper() {
    for name in ["bypassing", "injection", "inline"] {
        let options = Options { graph: Some(name.into()), ..Options::default() };
        let checked = check("fgi.fgi", PAPER, &NoFiles, &options);
        assert_eq!(checked.diagnostics, []);
        let graph = checked.graph.unwrap();
        let x: Vec<f64> = vec![-1.5, -0.2, 0.0, 0.4, 2.0];
        let values = Values::from([("x".to_string(), Tensor::new([5], x.clone()))]);
        let ones = Values::from([("x".to_string(), Tensor::new([5], [1.0; 5]))]);
        let bindings = Bindings::from([("N".into(), 5)]);
        let (y, slope) = interpret_dual(&graph, &bindings, &values, &ones).unwrap();
        assert_close(&y.output("y").unwrap().data, &[0.0, 0.0, 0.0, 1.0, 1.0], name);
        let bell = |x: f64, sigma: f64| (-x * x / (2.0 * sigma * sigma)).exp();
        let surrogate = |x: f64| match name {
            "bypassing" => 1.0 - x.tanh().powi(2),
            _ => 1.3 * bell(x, 0.5) - 0.3 * bell(x, 1.0),
        };
        let expected: Vec<_> = x.into_iter().map(surrogate).collect();
        assert_close(&slope.output("y").unwrap().data, &expected, name);
    }
}

/// The functions of a module of the standard library, each with the number of its required arguments.
fn functions(module: &str) -> Vec<(String, usize)> {
    let path = format!("{}/std/{module}.fgi", env!("CARGO_MANIFEST_DIR"));
    let (ast, problems) = parse(&std::fs::read_to_string(path).unwrap(), Default::default());
    assert_eq!(problems, []);
    let functions = ast.items.iter().filter_map(|item| match &item.kind {
        ItemKind::Fn(Function { name, arguments, .. }) => {
            let required = arguments.iter().filter(|argument| argument.default.is_none());
            Some((name.text.clone(), required.count()))
        }
        _ => None,
    });
    functions.collect()
}

#[test]
fn the_prelude_checks() {
    for (name, arguments) in functions("prelude") {
        let given = if name == "eye" { "5".into() } else { vec!["x"; arguments].join(", ") };
        graph(&format!(
            "graph g(x: [T; B, 5]) -> n {{ let y = {name}({given}); let n = time_index(); }}"
        ));
    }
}

#[test]
fn surrogates_are_the_derivatives_of_their_integrals() {
    let names = functions("surrogate");
    let integrals = names.iter().filter_map(|(name, _)| name.strip_suffix("_integral"));
    let x: Vec<f64> = vec![-1.7, -0.6, -0.3, -0.1, 0.1, 0.2, 0.55, 1.4];
    let values = Values::from([("x".to_string(), Tensor::new([8], x.clone()))]);
    let ones = Values::from([("x".to_string(), Tensor::new([8], [1.0; 8]))]);
    let mut count = 0;
    for name in integrals {
        // What keeps the logarithm finite is no part of the derivative that SpikingJelly gives.
        let exact = if name == "s2nn" { ", eps = 0" } else { "" };
        let graph = graph(&format!(
            "graph g(x: [8]) -> (f, g) {{ let f = surrogate::{name}(x) + 0 * x; let g = surrogate::{name}_integral(x{exact}); }}"
        ));
        let (values, slopes) = interpret_dual(&graph, &Bindings::new(), &values, &ones).unwrap();
        assert_close(&slopes.output("g").unwrap().data, &values.output("f").unwrap().data, name);
        count += 1;
    }
    assert!(count >= 20, "only {count} integrals");
}

#[test]
fn instances_are_named_after_what_holds_them() {
    let graph = graph(
        "layer inner(x: [B, N]) { param w: [N] = ones(); x * w }
         layer outer(x: [B, N]) { let a = inner(x); let (b, c) = (inner(a), inner(x)); b + c + inner(x) }
         layer two(x: [B, N]) { let i = inner(x); (i, x) }
         graph g(x: [B, 3]) -> y {
             param w: [3] = zeros();
             let a = outer(inner(x));
             let (b, c) = two(a);
             let d = two(b);
             let (e, f) = d;
             let y = (inner(inner(e)) + f) * w + c;
         }",
    );
    let paths: Vec<_> = graph.params.iter().map(|param| param.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "w",
            "inner_1.w",
            "a.a.w",
            "a.inner_1.w",
            "a.inner_2.w",
            "a.inner_3.w",
            "two_1.i.w",
            "d.i.w",
            "inner_3.w",
            "inner_2.w",
        ]
    );
}

#[test]
fn types_follow_the_operands() {
    for (inputs, expr, expected) in [
        ("a: [B, 1, 4], b: [3, 1]", "a + b", "[B, 3, 4]"),
        ("a: [4], b: [4, 5]", "a @ b", "[5]"),
        ("a: [3, 4], b: [4]", "a @ b", "[3]"),
        ("a: [4], b: [4]", "a @ b", "[]"),
        ("a: [T; B, 3, 4], b: [4, 5]", "a @ b", "[T; B, 3, 5]"),
        ("a: [2, 1, 3, 4], b: [B, 4, 5]", "a @ b", "[2, B, 3, 5]"),
        ("a: [4], b: [B, 4, 5]", "a @ b", "[B, 5]"),
        ("a: [2, 3, 4]", "transpose(a)", "[2, 4, 3]"),
        ("a: [2, 3, 4]", "permute(a, [-1, 0, 1])", "[4, 2, 3]"),
        ("a: [2, B, 4]", "reshape(a, [4, -1])", "[4, 2*B]"),
        ("a: [B, 4], b: [B, 3]", "concat(a, b)", "[B, 7]"),
        ("a: [B, 4], b: [2, 4]", "concat(a, b, axis = 0)", "[B + 2, 4]"),
        ("a: [B, 5]", "slice(a, start = 1, end = -1)", "[B, 3]"),
        ("a: [B, 5]", "slice(a, axis = 0, start = 1)", "[B - 1, 5]"),
        ("a: [B, 5]", "pad(a, [[0, 0], [1, 2]])", "[B, 8]"),
        ("a: [B]", "broadcast(a, [3, B])", "[3, B]"),
        ("i: i32[B]", "one_hot(i, 7)", "[B, 7]"),
        ("a: [7, 3], i: i32[B, 2]", "gather(a, i)", "[B, 2, 3]"),
        ("a: [7, 3], i: i32[B]", "gather(a, i, axis = 1)", "[7, B]"),
        ("a: [B, 3, 4]", "sum(a, axis = [0, -1], keepdims = true)", "[1, 3, 1]"),
        ("a: [B, 3, 4]", "argmax(a)", "i32[B, 3]"),
        ("a: [B, 3]", "flip(a, -1)", "[B, 3]"),
        ("a: [T; B]", "time_mean(a)", "[B]"),
        ("a: [T; B]", "time_index() + a", "[T; B]"),
        ("a: [T;]", "delay(a, 3)", "[T;]"),
        ("a: [B]", "a > 0 && a < 1", "bool[B]"),
        ("i: i32[B]", "i32(f32(i) * 0.5) + 1", "i32[B]"),
        ("i: i32[B]", "i32(i > 2) * i", "i32[B]"),
        ("a: [B]", "max(a)", "[]"),
        ("a: [B]", "max(a, 0)", "[B]"),
        ("a: [B], b: []", "if a > b then a else 0", "[B]"),
        ("a: [B, 3]", "var(a, axis = -1)", "[B]"),
        ("a: [B, 3]", "prelude::tanh(a) ^ 2", "[B, 3]"),
    ] {
        assert_eq!(type_of(inputs, expr), expected, "{expr}");
    }
}

#[test]
fn values_of_derived_operations() {
    let x: &[(&str, &[usize], &[f64])] = &[("x", &[2, 2], &[1.0, 2.0, 5.0, 9.0])];
    for (expr, expected) in [
        ("mean(x)", vec![4.25]),
        ("mean(x, axis = 0)", vec![3.0, 5.5]),
        ("var(x, axis = 1)", vec![0.25, 4.0]),
        ("x @ x", vec![11.0, 20.0, 50.0, 91.0]),
        ("slice(x, start = 1)", vec![2.0, 9.0]),
        ("pad(x, [[1, 0], [0, 0]], value = 7)", vec![7.0, 7.0, 1.0, 2.0, 5.0, 9.0]),
        ("-x ^ 2", vec![-1.0, -4.0, -25.0, -81.0]),
        ("2 ^ -1 + 0 * x", vec![0.5; 4]),
        ("if x > 1 && !(x > 5) then x else -1", vec![-1.0, 2.0, 5.0, -1.0]),
    ] {
        assert_close(&value("x: [2, 2]", expr, x), &expected, expr);
    }
    let low = f64::NEG_INFINITY;
    let rows: &[(&str, &[usize], &[f64])] = &[("x", &[2, 2], &[low, low, 0.0, low])];
    assert_close(&value("x: [2, 2]", "logsumexp(x, axis = 1)", rows), &[low, 0.0], "logsumexp");
    let logits: &[f64] = &[0.0, 1.0, 3.0, -1.0];
    let loss = |label: f64| {
        let values: &[(&str, &[usize], &[f64])] =
            &[("x", &[1, 4], logits), ("label", &[1], &[label])];
        value("x: [1, 4], label: i32[1]", "loss::cross_entropy(x, label)", values)[0]
    };
    let expected = (1.0 + 1f64.exp() + 3f64.exp() + (-1f64).exp()).ln() - 3.0;
    assert_close(&[loss(2.0)], &[expected], "cross entropy");
    assert!(loss(4.0).is_nan() && loss(-1.0).is_nan());
}

#[test]
fn dimensions_are_numbers() {
    let text = "const H = 2 * 3;
        graph g[T = 4, K = 12 / T](x: [T; B, K]) -> (a, b, c) {
            let a = sum(last(x)) / B;
            let b = last(x * (T + time_steps() + K + H));
            let c = reshape(last(x), [-1, K, 1]);
        }";
    assert_eq!(types(text), ["[]", "[B, 3]", "[B, 3, 1]"]);
    let open = graph(text);
    assert!(
        open.ids().any(|id| matches!(&open.node(id).op, Op::Size(dim) if dim.to_string() == "B"))
    );
    assert_eq!(
        types(
            "layer f[N = 2, M = 2 * N](x: [B, K]) { param w: [K, M] = zeros(); x @ w }
        graph g(x: [B, 3]) -> (a, b) { let a = f(x); let b = f[5](x); }"
        ),
        ["[B, 4]", "[B, 10]"]
    );
}

#[test]
fn recurrences_take_the_type_of_what_enters_them() {
    for (body, expected) in [
        ("let h = tanh(concat(x, prev(h)) @ w); let y = last(h);", "[B, 5]"),
        ("let n = prev(n) + 1; let y = last(n * x);", "[B, 3]"),
        ("let a = prev(b); let b = a + prev(x); let y = last(b);", "[B, 3]"),
        ("let s = prev(s, init = first(x)) + prev(prev(s) * 2); let y = last(s);", "[B, 3]"),
        ("let (a, b) = (prev(b) + x, -prev(a)); let y = last(a + b);", "[B, 3]"),
    ] {
        let text =
            format!("graph g(x: [T; B, 3]) -> y {{ param w: [8, 5] = orthogonal(); {body} }}");
        assert_eq!(types(&text), [expected], "{body}");
    }
}

/// What is known at the end of a chain of bindings is carried back through any number of them.
#[test]
fn long_chains_of_later_bindings_have_a_type() {
    for length in [65, 300] {
        let chain = (0..length).map(|i| format!("let a{i} = prev(a{});\n", i + 1));
        let chain: String = chain.collect();
        let text = format!(
            "graph g(x: [T; B, 3]) -> y {{ {chain} let a{length} = x; let y = last(a0 @ transpose(a0)); }}"
        );
        assert_eq!(types(&text), ["[B, B]"]);
    }
    // What grows with every step has none, however long it is watched.
    let text = "graph g(x: [T; B, 3]) -> y { let a = concat(x, prev(a)); let y = last(a); }";
    assert!(errors(text).iter().all(|error| error.starts_with("E047")), "{:?}", errors(text));
}

#[test]
fn errors_name_what_is_wrong() {
    let cases: &[(&str, &[&str])] = &[
        (
            "graph g(x: [B, 4], w: [3, 2]) -> y { let h = x @ w; let y = h + 1; }",
            &["E041 `@` cannot take [B, 4] and [3, 2]: 4 is not 3"],
        ),
        (
            "graph g(x: [T; B, 4], w: [3]) -> y { let y = x + w; }",
            &["E040 `+` cannot take [T; B, 4] and [3]: 4 is not 3"],
        ),
        (
            "graph g(x: [B]) -> y { let a = u + x; let b = w + a; let y = b; }",
            &["E014 the name `u` is not known here", "E014 the name `w` is not known here"],
        ),
        (
            "graph g(x: [B]) -> y { let a = b; let b = c; let c = a + x; let y = c; }",
            &[
                "E021 `b` depends on itself at the same step",
                "E021 `c` depends on itself at the same step",
            ],
        ),
        (
            "graph g(x: [B]) -> y { let y = b; let b = x; }",
            &["E021 `b` is used before its definition"],
        ),
        (
            "graph g(x: [B]) -> y { let y = y + x; }",
            &["E021 `y` depends on itself at the same step"],
        ),
        (
            "fn f(x) = h(x); fn h(x) = f(x); graph g(x: [B]) -> y { let y = f(x); }",
            &["E017 `f` is defined by itself"],
        ),
        (
            "const A = B + 1; const B = A; graph g(x: [B2]) -> y { let y = x + A; }",
            &["E017 `A` is defined by itself"],
        ),
        (
            "graph g(x: [N]) -> y { let y = unused_layer(x); } layer other[N](x: [B, K]) { x + missing }",
            &[
                "E015 there is no function or layer `unused_layer`",
                "E014 the name `missing` is not known here",
            ],
        ),
        (
            "graph g(x: [T; N]) -> y { let y = delay(x, 1e9); }",
            &["E044 a delay by a number of steps that is not possible"],
        ),
        ("graph g(x: [1e400]) -> y { let y = x; }", &["E005 the number `1e400` is too large"]),
        ("graph g(x: [0, N]) -> y { let y = x; }", &["E045 a dimension of 0"]),
        (
            "graph g(x: [N]) -> y { let y = broadcast(x, [99999999999999, 99999999, N]); }",
            &["E045 a dimension that is too large"],
        ),
        ("graph g(x: [N]) -> y { let y = last(x); }", &["E063 `last` in a graph without streams"]),
        (
            "graph g(x: [N], i: i32[N]) -> y { let y = if x > 0 then i else 0.5; }",
            &["E052 0.5 is no i32"],
        ),
        ("graph g(x: [N]) -> y { let y = !x; }", &["E051 `!` takes booleans, not f32"]),
        ("graph g(x: [N]) -> y { let y = exp(x > 0); }", &["E051 `exp` takes f32, not booleans"]),
    ];
    for (text, expected) in cases {
        assert_errors(text, expected);
    }
}

#[test]
fn windows_have_places() {
    let inputs = "x: [B, 4, 9, 8], w: [6, 2, 3, 2], t: [4, 3, 2, 2], l: [N, 5]";
    for (expr, expected) in [
        ("windows(x, 3)", "[B, 4, 9, 6, 3]"),
        ("windows(x, [2, 3], stride = [2, 3], pad = [1, 0])", "[B, 4, 5, 2, 2, 3]"),
        ("windows(x, [2, 3], 1, [1, 0], dilation = 2)", "[B, 4, 9, 4, 2, 3]"),
        ("windows(x, [2, 3], pad = same)", "[B, 4, 9, 8, 2, 3]"),
        ("windows(l, [3, 5])", "[N - 2, 1, 3, 5]"),
        ("windows(concat(l, l, axis = 0), [2, 1], stride = [2, 1])", "[N, 5, 2, 1]"),
        ("windows(l, [N, 1])", "E046"),
        ("windows(l, [2, 1], stride = 2)", "E046"),
        ("conv2d(x, w, stride = 2, groups = 2)", "[B, 6, 4, 4]"),
        ("conv2d(x, w, pad = same, dilation = [3, 4], groups = 2)", "[B, 6, 9, 8]"),
        ("conv2d(reshape(x, [B, 1, 4, 9, 8]), w, groups = 2)", "[B, 1, 6, 7, 7]"),
        ("conv2d(slice(reshape(x, [-1, 9, 8]), axis = 0, end = 4), w, groups = 2)", "[6, 7, 7]"),
        ("conv2d_transpose(x, t, stride = [2, 1], pad = 1, dilation = [3, 1])", "[B, 3, 18, 7]"),
        ("conv2d_transpose(x, t, groups = 2)", "[B, 6, 10, 9]"),
        ("avg_pool2d(x, 2)", "[B, 4, 4, 4]"),
        ("max_pool2d(x, [3, 2], pad = [1, 0])", "[B, 4, 3, 4]"),
        ("max_pool1d(x, 3, stride = 1)", "[B, 4, 9, 6]"),
        ("adaptive_avg_pool2d(x, [4, 2])", "[B, 4, 4, 2]"),
        ("adaptive_avg_pool2d(x, 1)", "[B, 4, 1, 1]"),
        ("upsample2d(x, [2, 3])", "[B, 4, 18, 24]"),
    ] {
        match expected.starts_with('E') {
            true => {
                let found = errors(&format!("graph g({inputs}) -> y {{ let y = {expr}; }}"));
                assert!(found.len() == 1 && found[0].starts_with(expected), "{expr}: {found:?}");
            }
            false => assert_eq!(type_of(inputs, expr), expected, "{expr}"),
        }
    }
    let text = "fn blur(x, p = same) = avg_pool1d(x, 3, stride = 1, pad = p);
        graph g(x: [B, 1, 8]) -> (y, z) { let y = blur(x); let z = blur(x, p = 0); }";
    assert_eq!(types(text), ["[B, 1, 8]", "[B, 1, 6]"]);
    let text =
        "graph g(x: [B, 1, H, W], w: [2, 1, 3, 3]) -> y { let y = conv2d(x, w, stride = 2); }";
    assert_errors(text, &["E046 the number of `H` is needed here"]);
    let sized = run(text, &[("H", 9), ("W", 10)]).graph.unwrap();
    assert_eq!(sized.ty(sized.roots[0].node).to_string(), "[B, 2, 4, 4]");
}

#[test]
fn mistakes_with_windows() {
    let inputs = "x: [B, 4, 9, 8], w: [6, 2, 3, 2], v: [4, 3, 2, 2], i: i32[4, 9]";
    for (expr, expected) in [
        ("conv2d(x, w)", "E041 weights for 2 channels, and 4 channels"),
        ("conv2d(x, w, groups = 3)", "E041 weights for 6 channels in 3 groups, and 4 channels"),
        ("conv2d(concat(x, x, axis = 1), w, groups = 4)", "E044 4 groups of 6 channels"),
        ("conv2d(sum(x), w)", "E043 `conv2d` takes a tensor of at least 3 axes"),
        ("conv1d(x, w)", "E043 `conv1d` takes a tensor of 3 axes"),
        ("conv2d_transpose(x, w)", "E041 weights for 6 channels, and 4 channels"),
        ("conv2d_transpose(x, v, pad = 6)", "E044 a padding of 12 of the result"),
        ("conv2d(x, v, dilation = 10, groups = 1)", "E041 weights for 3 channels, and 4 channels"),
        ("windows(x, [3, 9])", "E044 a window of 9 on an axis of 8"),
        ("windows(x, 3, dilation = 4)", "E044 a window of 9 on an axis of 8"),
        ("windows(x, 0)", "E044 a size of 0"),
        ("windows(x, 2, stride = 0)", "E044 a stride of 0"),
        ("windows(x, 2, pad = -1)", "E044 a pad of -1"),
        ("windows(x, [2, 2], stride = [1, 2, 3])", "E044 a list of 3"),
        ("windows(x, 1.5)", "E045 a dimension is a whole number"),
        ("windows(x, sum(x))", "E034 a compile-time number is needed here"),
        ("windows(sum(x), 2)", "E043 `windows` takes a tensor of at least one axis"),
        ("windows(x, [2, 2, 2, 2, 2])", "E043 `windows` takes a tensor of at least 5 axes"),
        ("windows(windows(x, [2, 2, 2]), [2, 2])", "E045 a tensor of 9 axes"),
        ("windows(x, 3, stride = 2, pad = same)", "E044 `pad = same` is for stride 1"),
        ("max_pool2d(x, 3, pad = 2)", "E044 the padding of a pool is at most half of its window"),
        ("max_pool1d(i, 2)", "E051 `max_pool1d` takes f32, not i32"),
        ("x + same", "E025 `same` is no value"),
        ("windows(x, same)", "E025 `same` is no value"),
        ("conv2d(x, w, groups = [1, 2])", "E044 a list of 2"),
        ("adaptive_avg_pool2d(x, [0, 1])", "E044 a size of 0"),
        ("upsample2d(x, [1, 2, 3])", "E044 a list of 3"),
    ] {
        let text = format!("graph g({inputs}) -> y {{ let y = {expr}; }}");
        assert_errors(&text, &[expected]);
    }
}

#[test]
fn labels_stand_where_the_operands_are_written() {
    for (text, expected) in [
        (
            "graph g(x: [B, 4], w: [3]) -> y { let a = 2 * x; let y = 1 + a * w; }",
            [("a", "this is [B, 4]"), ("w", "this is [3]")],
        ),
        (
            "layer f(x: [B, N], y: [B, N]) { x + y } graph g(a: [B, 2], b: [B, 3]) -> y { let y = f(a, b); }",
            [("b", "this is [B, 3]"), ("f(a, b)", "in this call of `f`")],
        ),
        (
            "graph g(x: [B], i: i32[B]) -> y { let y = max(x, i); }",
            [("x", "this is [B]"), ("i", "this is i32[B]")],
        ),
    ] {
        let checked = run(text, &[]);
        let [problem] = &checked.diagnostics[..] else { panic!("one error: {text}") };
        let labels = problem.labels.iter();
        let labels: Vec<_> =
            labels.map(|label| (checked.sources.text(label.span), label.text.as_str())).collect();
        assert_eq!(labels, expected);
    }
}

#[test]
fn one_mistake_in_a_library_function_points_at_both_calls() {
    let checked = run(
        "graph g(x: [3], w: [4]) -> (y, z) { let y = inject(x, w, x); let z = bypass(w, x); }",
        &[],
    );
    let codes: Vec<_> = checked.diagnostics.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["E040", "E040"]);
    for problem in &checked.diagnostics {
        let call = problem.labels.iter().find(|label| label.text.starts_with("in this call"));
        assert!(checked.sources.text(call.unwrap().span).contains("("), "{problem:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let too_deep = "E071 calls, expressions or tuples are nested too deeply";
    // Functions in functions, and each with an expression of some depth.
    let chain = |calls: usize, depth: usize| {
        let (open, close) = ("(1 + ".repeat(depth), ")".repeat(depth));
        let function = |i: usize| format!("fn f{i}(x) = {open}f{}(x){close};\n", i - 1);
        let functions: String = (1..calls).map(function).collect();
        format!("fn f0(x) = x;\n{functions} graph g(x: []) -> y {{ let y = f{}(x); }}", calls - 1)
    };
    assert!(run(&chain(3, 100), &[]).graph.is_some());
    assert_eq!(errors(&chain(30, 100)), [too_deep]);
    assert!(run(&chain(60, 0), &[]).graph.is_some());
    assert_eq!(errors(&chain(500, 0)), [too_deep]);
    let layers: String =
        (1..500).map(|i| format!("layer f{i}(x: [B]) {{ let h = f{}(x); h }}\n", i - 1)).collect();
    let layers =
        format!("layer f0(x: [B]) {{ x }} {layers} graph g(x: [B]) -> y {{ let y = f499(x); }}");
    assert_eq!(errors(&layers), [too_deep]);
    for expr in ["x ^ ", "x - ", "if x > 0 then x else "] {
        let depth = if expr.starts_with("if") { 190 } else { 390 };
        let text = format!("graph g(x: []) -> y {{ let y = {}x; }}", expr.repeat(depth));
        assert!(run(&text, &[]).graph.is_some(), "{expr}");
    }
}

#[test]
fn hints_name_a_dimension_and_a_value_that_it_can_have() {
    let stretching = "trailing dimensions align, and only 1 stretches";
    for (dim, hint) in [
        ("B", "`B` is open; if it is 6, say so: -D B=6"),
        ("2 * B", "`2*B` is open; if it is 6, say so: -D B=3"),
        ("8 - B", "`-B + 8` is open; if it is 6, say so: -D B=2"),
        ("4 * B", stretching),
        ("B + 6", stretching),
        ("A * B", stretching),
        ("B * B", stretching),
    ] {
        for inputs in [format!("x: [{dim}], y: [6]"), format!("x: [6], y: [{dim}]")] {
            let text = format!("graph g({inputs}) -> z {{ let z = x + y; }}");
            let checked = run(&text, &[]);
            assert_eq!(checked.diagnostics[0].hint.as_deref(), Some(hint), "{text}");
        }
    }
}

#[test]
fn shapes_bind_dimensions() {
    let heads = heads("smnist.fgi", ALIF, &NoFiles);
    let [head] = &heads.graphs[..] else { panic!("one graph") };
    assert_eq!(head.dims[1].default.as_deref(), Some("784 / T"));
    assert_eq!(head.inputs[0].dims, ["T", "B", "K"]);
    assert!(head.inputs[0].is_stream && head.inputs[1].is_i32);
    let shapes = |pixels: &[i64], label: &[i64]| {
        BTreeMap::from([
            ("pixels".to_string(), pixels.to_vec()),
            ("label".to_string(), label.to_vec()),
        ])
    };
    let mut dims = BTreeMap::new();
    assert_eq!(bind_dims(head, &shapes(&[14, 8, 56], &[8]), &mut dims), Ok(()));
    assert_eq!(dims, BTreeMap::from([("T".into(), 14), ("B".into(), 8), ("K".into(), 56)]));
    let error = bind_dims(head, &shapes(&[14, 8, 56], &[9]), &mut BTreeMap::new());
    assert_eq!(
        error,
        Err("axis 0 of the input `label` is 9, expected 8: i32[B], where B = 8".into())
    );
    let mut given = BTreeMap::from([("B".to_string(), 4)]);
    assert!(bind_dims(head, &shapes(&[14, 8, 56], &[8]), &mut given).is_err());
    assert!(bind_dims(head, &shapes(&[14, 8], &[8]), &mut BTreeMap::new()).is_err());
}

#[test]
fn heads_say_what_is_written() {
    let text = "/// A net.\ngraph g(/// Pixels.\nx: [T; B, 3]) -> (loss) {\n/// The loss.\nlet loss = sum(x); }
        layer l[N, M = 2](x: [B, K], i: i32[B], c = 1) { x }";
    let heads = heads("g.fgi", text, &NoFiles);
    let graph = &heads.graphs[0];
    let (input, output) = (&graph.inputs[0], &graph.outputs[0]);
    assert_eq!([&graph.docs, &input.docs, &output.docs], ["A net.", "Pixels.", "The loss."]);
    let places = [graph.span, input.span, output.span].map(|span| heads.sources.text(span));
    assert_eq!(places, ["g", "x", "loss"]);
    let layer = &heads.layers[0];
    let dims = layer.dims.iter().map(|dim| (dim.name.as_str(), dim.default.as_deref()));
    assert_eq!(dims.collect::<Vec<_>>(), [("N", None), ("M", Some("2"))]);
    let arguments = layer.arguments.iter().map(|a| (a.name.as_str(), a.is_i32, a.has_default));
    assert_eq!(
        arguments.collect::<Vec<_>>(),
        [("x", false, false), ("i", true, false), ("c", false, true)]
    );
}

#[test]
fn files_beside_the_program_go_before_the_library() {
    struct Beside;
    impl Loader for Beside {
        fn load(&self, name: &str) -> Option<(String, String)> {
            (name == "loss").then(|| ("loss.fgi".into(), "fn cross_entropy(x) = sum(x);".into()))
        }
    }
    let text = "use loss::*; graph g(x: [B]) -> y { let y = cross_entropy(x); }";
    assert!(check("p.fgi", text, &Beside, &Options::default()).graph.is_some());
    assert!(check("p.fgi", text, &NoFiles, &Options::default()).graph.is_none());
}

/// Whatever happens to a program, there is a graph or an error, and no panic.
#[test]
fn mutants() {
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let library =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/std/layer.fgi")).unwrap();
    let texts = [
        ALIF.to_string(),
        PAPER.to_string(),
        format!("{library}\ngraph g(x: [T; B, 4]) -> y {{ let h = alif[3](x); let y = last(readout[2](h)); }}"),
        "graph g(a: [B, 3, 4], i: i32[B]) -> (x, y, z) {
            let x = concat(slice(a, axis = 1, start = 0, end = 2), pad(a, [[0, 0], [1, 0], [0, 0]]), axis = 1);
            let y = gather(reshape(a, [-1, 4]), i) @ transpose(one_hot(i, 4));
            let z = permute(a, [2, 0, 1]) * argmax_of(a) + logsumexp(a, axis = [0, 1], keepdims = true);
        }
        fn argmax_of(a) = f32(reshape(argmax(a, axis = 1), [1, -1, 1]));".to_string(),
    ];
    for case in 0..1000 {
        let mut tokens = tokens(&texts[random.below(texts.len())]);
        for _ in 0..1 + random.below(3) {
            let at = random.below(tokens.len());
            match random.below(4) {
                0 => drop(tokens.remove(at)),
                1 => tokens.insert(at, tokens[at].clone()),
                2 => tokens[at] = tokens[random.below(tokens.len())].clone(),
                _ => {
                    tokens[at] =
                        ["0", "-1", "1e9", "prev", "[", "x", "B", "inf"][random.below(8)].into()
                }
            }
        }
        let text = tokens.join(" ");
        let graph = ["smnist", "bypassing", "g"][random.below(3)];
        for graph in [None, Some(graph.to_string())] {
            let checked =
                check("mutant.fgi", &text, &NoFiles, &Options { graph, ..Options::default() });
            match checked.graph {
                Some(graph) => {
                    drop(verify(graph).unwrap_or_else(|law| panic!("{case}: {law}\n{text}")))
                }
                None => {
                    assert!(checked.diagnostics.iter().any(Diagnostic::is_error), "{case}: {text}")
                }
            }
            let bug = checked.diagnostics.iter().find(|one| one.code == "E089");
            assert_eq!(bug, None, "{case}: {text}");
        }
    }
}

/// The tokens of a program, comments left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or("");
        let mut word = String::new();
        for char in line.chars() {
            if char.is_ascii_alphanumeric() || char == '_' || char == '.' {
                word.push(char);
                continue;
            }
            tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            match (char, tokens.last_mut()) {
                (':', Some(last)) if last == ":" => last.push(':'),
                ('>', Some(last)) if last == "-" => last.push('>'),
                (' ', _) => tokens.push(String::new()),
                _ => tokens.push(char.to_string()),
            }
        }
        tokens.extend((!word.is_empty()).then_some(word));
    }
    tokens.retain(|token| !token.is_empty());
    tokens
}

struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// An `if` that is decided when compiling is the branch taken: the other is no part of the program,
/// whatever its type, but counts where calls are numbered.
#[test]
fn a_decided_choice_leaves_the_other_branch_out() {
    let text = "
        const DEEP = 2;
        layer dense[N](x: [B, K]) { param w: [K, N] = zeros(); x @ w }
        layer pick[N](x: [B, K], depth) {
            let a = if depth > 1 && K == 4 then dense[N](x) else dense[7](x);
            let b = if !(N < 3) then dense[3](a) + reshape(x, [B, 999]) else a;
            if K != 4 then dense[1](b) else b
        }
        graph g[M = 5](x: [B, 4], y: [B, 6]) -> (p, q, r) {
            let p = pick[2](x, DEEP);
            let q = if M >= 3 then argmax(y) else pick[9](y, 1);
            let r = if B > 3 then dense[2](y) else dense[2](2 * y);
        }";
    let graph = graph(text);
    let paths: Vec<_> = graph.params.iter().map(|param| param.path.as_str()).collect();
    assert_eq!(paths, ["p.dense_1.w", "dense_1.w", "dense_2.w"]);
    let q = graph.ty(graph.root(Role::Output, "q").unwrap());
    assert_eq!(format!("{q}"), "i32[B]");
}

/// `LANGUAGE.md` section 4: a stated type takes part in inference.
#[test]
fn a_stated_type_is_known_in_its_own_recurrence() {
    let text = "graph g(x: [T; B, 3], k: i32[B]) -> (n, s, c, d) {
        let n: [B] = 0.5 * prev(n) + 1;
        let s: [B, 4] = 0.5 * prev(s) + 1;
        let c: i32[B] = prev(c) + 1;
        let d: i32[B] = prev(e) + k;
        let e = d + 1;
    }";
    assert_eq!(types(text), ["[T; B]", "[T; B, 4]", "i32[T; B]", "i32[T; B]"]);
    let bindings = Bindings::from([("T".into(), 3), ("B".into(), 2)]);
    let values = Values::from([
        ("x".to_string(), Tensor::new([3, 2, 3], [0.0; 18])),
        ("k".to_string(), Tensor::new([2], [1.0, 5.0])),
    ]);
    let found = interpret(&graph(text), &bindings, &values).unwrap();
    assert_eq!(found.output("n").unwrap().data, [1.0, 1.0, 1.5, 1.5, 1.75, 1.75]);
    assert_eq!(found.output("c").unwrap().data, [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    assert_eq!(found.output("d").unwrap().data, [1.0, 5.0, 3.0, 11.0, 5.0, 17.0]);
}

#[test]
fn messages_say_what_the_elements_are() {
    assert_errors(
        "graph g(k: i32[B], x: [B]) -> y { let n: [B, 3] = k; let y = x; }",
        &["E042 the type is [B, 3], the value i32[B]"],
    );
    assert_errors(
        "graph g(x: [T; B], k: i32[B, 1]) -> y { let y: i32[B] = prev(y) + k; }",
        &["E042 the type is i32[B], the value i32[T; B, B]"],
    );
    assert_errors(
        "graph g(k: i32[B, 3], l: i32[B, 4]) -> y { let y = k + l; }",
        &["E040 `+` cannot take i32[B, 3] and i32[B, 4]: 3 is not 4"],
    );
    assert_errors(
        "graph g(k: i32[B, 3]) -> y { let y = transpose(sum(f32(k)) > 0); }",
        &["E043 `transpose` takes a tensor of at least 2 axes"],
    );
}

/// `LANGUAGE.md` section 6: the start of a `prev` is always named.
#[test]
fn the_start_of_a_prev_is_named() {
    let text = "graph g(x: [T; B]) -> y { let y = prev(x, 2); }";
    assert_errors(text, &["E032 `init` of `prev` is given by name"]);
    assert_eq!(run(text, &[]).diagnostics[0].hint.as_deref(), Some("write `init = 2`"));
}

/// What is small as written and large when instantiated is shared, or refused by a limit that is named.
#[test]
fn large_programs_are_refused_and_tuples_shared() {
    let doubling = |first: &str, kind: &str| {
        let next = |i: usize| format!("{kind} f{i}(x) {{ let a = f{0}(x); f{0}(a) }}\n", i - 1);
        format!(
            "{kind} f0(x) {{ {first} }}\n{}graph g(x: [T; 4]) -> y {{ let y = time_sum(f16(x)); }}",
            (1..=16).map(next).collect::<String>()
        )
    };
    let too_large = "E071 the program is too large: more than 100000 operations after inlining";
    for (first, kind) in [
        ("param w: [4] = ones(); let u = 0.5 * prev(u) + w * x; u", "layer"),
        ("x * 0.5", "layer"),
        ("x * 0.5", "fn"),
    ] {
        let text = doubling(first, kind);
        assert_errors(&text, &[too_large]);
        let checked = run(&text, &[]);
        assert_eq!(checked.sources.text(checked.diagnostics[0].labels[0].span), "f16(x)");
    }
    let tuples = |count: usize| {
        let next = |i: usize| format!("let a{i} = (a{0}, a{0});\n", i - 1);
        let lets: String = (1..=count).map(next).collect();
        format!(
            "graph g(x: [B]) -> y {{ let a0 = (x, x); {lets} let (b, c) = a{count}; let y = x; }}"
        )
    };
    assert_eq!(types(&tuples(40)), ["[B]"]);
    let too_deep = "E071 calls, expressions or tuples are nested too deeply";
    assert_errors(&tuples(20_000), &[too_deep]);
    let lets = |count: usize| {
        let next = |i: usize| format!("let x{i} = x{} + 1;\n", i - 1);
        let lets: String = (1..=count).map(next).collect();
        format!("graph g(x0: [B]) -> y {{ {lets} let y = x{count}; }}")
    };
    assert_eq!(types(&lets(20_000)), ["[B]"]);
    assert_errors(&lets(100_000), &[too_large]);
}

#[test]
fn graphs_of_a_file_are_checked_one_after_the_other() {
    let text = "fn f(x) = x + zz;
        fn h(x) = x + 1;
        layer unused(x) { x + qq }
        graph a(x: [B]) -> y { let y = h(x); }
        graph b(x: [B]) -> y { let y = m::k(x); }
        graph c(x: [B]) -> y { let y = h(x) + m::k(x) + yy; }";
    struct Files;
    impl Loader for Files {
        fn load(&self, name: &str) -> Option<(String, String)> {
            (name == "m").then(|| ("m.fgi".into(), "fn k(x) = x * 2; fn k(x) = x;".into()))
        }
    }
    let mut program = Program::read("test.fgi", text, &Files);
    for graph in ["a", "b", "c", "a"] {
        let options = Options { graph: Some(graph.into()), ..Options::default() };
        let said = |checked: Checked| -> BTreeMap<String, String> {
            let one = |one: Diagnostic| (one.message, one.code.to_string());
            checked.diagnostics.into_iter().map(one).collect()
        };
        let alone = said(check("test.fgi", text, &Files, &options));
        let after = said(program.check(&options));
        assert!(alone.iter().all(|(message, code)| after.get(message) == Some(code)), "{graph}");
        assert!(after.contains_key("the name `zz` is not known here"));
        assert!(after.contains_key("the name `qq` is not known here"));
        assert_eq!(after.contains_key("the name `yy` is not known here"), graph == "c");
    }
}

// Instances, layers as arguments, repetition, states

fn paths(text: &str) -> Vec<String> {
    graph(text).params.iter().map(|param| param.path.clone()).collect()
}

const DENSE: &str = "
layer dense[N](x: [.., K]) { param w: [K, N] = ones(); x @ w }
layer inner[N](x: [B, K]) {
    state seen: [] = zeros();
    let y = dense[N](x);
    next seen = sum(last(y));
    y + prev(y) + seen
}
";

#[test]
fn an_instance_has_its_parameters_once_and_its_memories_for_each_call() {
    let text = format!(
        "{DENSE} layer outer[N](x: [B, K]) {{ let f = inner[N]; f(f(x)) }}
         graph g(a: [T; B, 4], b: [T; B, 4]) -> y {{
             let f = outer[4]; let p = f(a); let y = p + f(b);
         }}"
    );
    assert_eq!(
        paths(&text),
        ["f.1.f.2.seen", "f.f.y.w", "f.1.f.1.seen", "f.2.f.2.seen", "f.2.f.1.seen"]
    );
}

#[test]
fn a_layer_that_is_an_argument_is_named_after_it() {
    let text = format!(
        "{DENSE} layer residual(x: [.., K], f: layer) {{ x + f(x) + f(2 * x) }}
         layer twice(x: [.., K], g: layer) {{ let h = residual(x, g); residual(h, g) }}
         graph g(x: [B, 4]) -> y {{
             let f = dense[4];
             let a = residual(x, dense[4]);
             let b = twice(a, f);
             let y = twice(b, dense[4]) + residual(x, f);
         }}"
    );
    assert_eq!(paths(&text), ["a.f.w", "f.w", "twice_1.g.w"]);
}

#[test]
fn a_repeated_layer_has_parameters_for_each_application() {
    let text = format!(
        "{DENSE} layer swap(a: [.., K], b: [.., K]) {{ param w: [K] = ones(); (b, a * w) }}
         graph g(x: [B, 4]) -> y {{
             let h      = repeat(2, dense[4], x);
             let f      = dense[4];
             let y      = repeat(3, f, h) + repeat(1, dense[4], x) + c;
             let (c, d) = repeat(2, swap, (x, h));
         }}"
    );
    assert_errors(&text, &["E021 `c` is used before its definition"]);
    let text = text.replace(" + c", "");
    assert_eq!(paths(&text), ["h.0.w", "h.1.w", "f.w", "dense_1.0.w", "swap_1.0.w", "swap_1.1.w"]);
}

#[test]
fn a_layer_may_come_to_itself_through_an_argument() {
    let text = format!(
        "{DENSE} layer residual(x: [.., K], f: layer) {{ x + f(x) }}
         layer block(x: [.., K]) {{ residual(x, dense[4]) }}
         graph g(x: [B, 4]) -> y {{ let y = residual(x, block); }}"
    );
    assert_eq!(paths(&text), ["y.f.residual_1.f.w"]);
    let endless = "layer a(x: [N], f: layer) { f(x, f) } graph g(x: [N]) -> y { let y = a(x, a); }";
    assert_errors(endless, &["E071 calls, expressions or tuples are nested too deeply"]);
}

#[test]
fn mistakes_with_layers() {
    let with = |line: &str| format!("{DENSE} graph g(x: [T; B, 4], w: [4]) -> y {{ {line} }}");
    for (line, expected) in [
        ("let f = dense[4]; let y = x + f;", "E016 a layer is not a value"),
        ("let f = dense[4]; let y = f[3](x);", "E033 an instance has its dimensions already"),
        (
            "let f = dense[4]; let h = f[3]; let y = x;",
            "E033 an instance has its dimensions already",
        ),
        ("let f = dense; let y = f(x);", "E033 `dense` needs the dimension `N`"),
        ("let f = dense[4]; let y = f(x, x);", "E032 too many arguments for `dense`"),
        ("let y = w[2];", "E016 there is no indexing"),
        ("let y = tanh[2];", "E033 `tanh` takes no dimensions in brackets"),
        ("let y = nothing[2];", "E015 there is no function or layer `nothing`"),
        (
            "let f = dense[4]; let a = f(x); let y = f(slice(x, end = 2));",
            "E042 the type is [2, 4], the value [4, 4]",
        ),
        (
            "let y = repeat(2, dense[3], x);",
            "E042 a repeated layer takes [T; B, 4] and gives [T; B, 3]",
        ),
        ("let y = repeat(2, x, x);", "E024 `repeat` takes a layer"),
        ("let y = repeat(B, dense[4], x);", "E046 the number of `B` is needed here"),
        ("let y = repeat(2, dense[4], (x, x));", "E032 `dense` takes 1 argument"),
        ("let y = dense[4](dense[4]);", "E016 a layer is not a value"),
        ("let y = inner[4](x = x); let z = 1 + y; next z = y;", "E014 the body has no state `z`"),
        (
            "state m: [] = zeros(); next m = sum(x); let y = x;",
            "E061 the next value of a state is static",
        ),
        (
            "state m: [4] = zeros(); next m = sum(w); let y = x;",
            "E042 the type is [4], the value []",
        ),
        (
            "state m: [] = zeros(); next m = 1; next m = 2; let y = x;",
            "E020 `m` has two next values",
        ),
        ("state n: i32[] = constant(0.5); let y = x;", "E036 `constant` gives no whole numbers"),
        (
            "let u = prev(u) + time_mean(prev(u)) + x; let y = u;",
            "E064 `time_mean` in a cycle through `prev`",
        ),
        ("let y = time_unstack(x);", "E061 `time_unstack` takes a static tensor"),
        ("let y = time_unstack(w);", "E044 4 is not the number of steps, which is T"),
    ] {
        let found = errors(&with(line));
        assert_eq!(found, [expected], "{line}");
    }
    let layer = |argument: &str, call: &str| {
        format!(
            "layer l(x: [N], {argument}) {{ x }} graph g(x: [N]) -> y {{ let y = l(x, {call}); }}"
        )
    };
    assert_errors(&layer("f: layer", "x"), &["E024 `f` takes a layer"]);
    assert_errors(&layer("f", "l"), &["E024 `f` takes no layer"]);
}

#[test]
fn rest_stands_for_any_dimensions() {
    let layer = "layer dense[N](x: [.., K]) { param w: [K, N] = ones(); x @ w } ";
    let types_of = |input: &str| {
        types(&format!("{layer} graph g(x: {input}) -> y {{ let y = dense[3](x); }}")).remove(0)
    };
    assert_eq!(types_of("[K]"), "[3]");
    assert_eq!(types_of("[T; A, B, K]"), "[T; A, B, 3]");
    let text = "fn f(x: [.., 2, K]) = x; graph g(x: [3, 4]) -> y { let y = f(x); }";
    assert_errors(text, &["E042 the type is [.., 2, 4], the value [3, 4]"]);
    let text = "fn f(x: [.., 2, K]) = x; graph g(x: [4]) -> y { let y = f(x); }";
    assert_errors(text, &["E042 the type is [.., 2, 4], the value [4]"]);
    for text in [
        "graph g(x: [.., 4]) -> y { let y = x; }",
        "graph g(x: [B, 4]) -> y { let y: [.., 4] = x; }",
        "graph g(x: [B, 4]) -> y { param w: [.., 4] = ones(); let y = x * w; }",
    ] {
        assert_errors(text, &["E048 `..` stands only in the type of an argument"]);
    }
}

#[test]
fn a_static_value_is_the_same_at_every_step() {
    let text = "graph g[T = 4;](x: [2]) -> (a, b, c, d, e, f) {
        let a = last(prev(x, init = 7)) + first(prev(x));
        let b = last(x) + first(x) + time_mean(x) + time_max(x);
        let c = time_sum(x);
        let d = time_stack(x);
        let e = time_reverse(x);
        let f = time_stack(prev(x)) + 0 * time_steps();
    }";
    let graph = graph(text);
    let values = Values::from([("x".to_string(), Tensor::new([2], [1.0, 3.0]))]);
    let results = interpret(&graph, &Bindings::new(), &values).unwrap();
    let of = |name: &str| results.output(name).unwrap().data.clone();
    assert_eq!(of("a"), [1.0, 3.0]);
    assert_eq!(of("b"), [4.0, 12.0]);
    assert_eq!(of("c"), [4.0, 12.0]);
    assert_eq!(of("d"), [1.0, 3.0].repeat(4));
    assert_eq!(of("e"), [1.0, 3.0]);
    assert_eq!(of("f"), [0.0, 0.0, 1.0, 3.0, 1.0, 3.0, 1.0, 3.0]);
}

#[test]
fn lists_orders_and_places_are_checked() {
    let y = |inputs: &str, value: &str| format!("graph g({inputs}) -> y {{ let y = {value}; }}");
    for (inputs, value, expected) in [
        ("x: [2]", "x + [[1, 2], [3]]", "E025 the parts of a list have different lengths"),
        ("x: [2]", "x + [1, [2]]", "E025 the parts of a list have different lengths"),
        ("x: [2]", "x + []", "E025 a list without numbers is no tensor"),
        ("x: [2]", "x + [1, (2, 3)]", "E024 a tuple is no tensor"),
        ("x: [2]", "x + [1, sum(x)]", "E034 a compile-time number is needed here"),
        ("x: [2]", "x + [1, true]", "E034 a compile-time number is needed here"),
        ("x: [B, 2]", "x + [1, B]", "E046 the number of `B` is needed here"),
        ("x: [B, 2]", "x + [1, 2, 3]", "E040 `+` cannot take [B, 2] and [3]: 2 is not 3"),
        ("i: i32[2]", "i + [1, 7 / 2]", "E052 3.5 is no i32"),
        ("x: [2, 3]", "gather(x, [0.5])", "E052 0.5 is no i32"),
        ("x: [2, 3], i: i32[3]", "x % i", "E050 `%` cannot mix f32 and i32"),
        ("x: [2, 3], i: i32[2]", "mean(i)", "E051 `mean` takes f32, not i32"),
        ("x: [2, 3]", "sum(x > 0)", "E051 `sum` takes f32 or i32, not booleans"),
        ("x: [2, 3]", "stack(x, sum(x))", "E040 `stack` cannot take [2, 3] and []"),
        ("x: [2, 3]", "stack(x, x, axis = 3)", "E043 there is no axis 3"),
        (
            "x: [2, 3], i: i32[3, 1]",
            "take(x, i, 1)",
            "E040 `take` cannot take [2, 3] and i32[3, 1]",
        ),
        ("x: [2, 3]", "take(x, x, 1)", "E051 `take` takes i32, not f32"),
        (
            "x: [2, 3], i: i32[3]",
            "scatter_add(x, i, 5)",
            "E040 `scatter_add` cannot take [2, 3] and i32[3]",
        ),
        ("x: [2, 3]", "topk(x, 2)", "E024 the output `y` is a tuple"),
        ("x: [2, 3]", "cumsum(x, axis = 2)", "E043 there is no axis 2"),
        ("x: [3]", "tril(x)", "E043 `tril` takes a tensor of at least 2 axes"),
        ("x: [3]", "iota(x)", "E034 a compile-time number is needed here"),
    ] {
        let found = errors(&y(inputs, value));
        assert_eq!(found.len(), 1, "{value}: {found:?}");
        assert_eq!(found[0], expected, "{value}");
    }
    assert_errors(
        "graph g(x: [2, 3]) -> y { let (y, i) = topk(x, 4); }",
        &["E044 the 4 greatest of 3"],
    );
    let text = "layer f(x: [N], i: i32[N]) { x * f32(i) * N }
        graph g(x: [B, 3]) -> (a, b, c, d) {
            let c = [1, 2];
            let a = f([1, 2, 3], [1, 2, 3]) + x;
            let b = gather(x, c, axis = 1) * c;
            let d = [4 % 3, 2];
        }";
    assert_eq!(types(text), ["[B, 3]", "[B, 2]", "[2]", "[2]"]);
}
