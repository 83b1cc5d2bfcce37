use super::ast::*;
use super::parse;
use crate::source::{FileId, Sources};

/// Programs without errors that use most of the language.
const PROGRAMS: [&str; 5] = [
    r#"use loss::cross_entropy;
use surrogate::gaussian;

/// A recurrent layer of adaptive leaky integrate-and-fire neurons (Otte 2024, eqs. 13-16).
layer alif[N](x: [B, K], b0 = 0.1, beta = 1.8, sigma = 0.5) {
    param w_in:    [K, N] = xavier_uniform();
    param w_rec:   [N, N] = orthogonal();
    param tau_m:   [N]    = normal(20, 5)   in [1, inf];
    param tau_adp: [N]    = normal(150, 50) in [1, inf];

    let alpha = exp(-1 / tau_m);
    let gamma = exp(-1 / tau_adp);

    let i     = x @ w_in + prev(z) @ w_rec;
    let u     = alpha * prev(u) + (1 - alpha) * i - prev(theta) * prev(z);
    let eta   = gamma * prev(eta) + (1 - gamma) * prev(z);
    let theta = b0 + beta * eta;
    let z     = inject(u - theta, step(u - theta), gaussian(u - theta, sigma = sigma));
    z
}

/// Leaky integrators without spikes, one per class.
layer readout[N](x: [B, K]) {
    param w:   [K, N] = xavier_uniform();
    param b:   [N]    = zeros();
    param tau: [N]    = normal(20, 5) in [1, inf];
    let kappa = exp(-1 / tau);
    let y = kappa * prev(y) + (1 - kappa) * (x @ w + b);
    y
}

/// Sequential MNIST: T steps of K pixels, classified at the last step.
graph smnist[T = 28, K = 784 / T, N = 256](pixels: [T; B, K], label: i32[B]) -> (loss, logits) {
    let h      = alif[N](pixels);
    let logits = last(readout[10](h));
    let loss   = cross_entropy(logits, label);
}
"#,
    r#"// The paper's recurrent ALIF layer (eqs. 13-16) and leaky readout, as in the language's first example.
use loss::cross_entropy;

fn gaussian(x, mu = 0.0, sigma = 1.0) = exp(-(x - mu)^2 / (2 * sigma^2));

/// A recurrent layer of adaptive leaky integrate-and-fire neurons (Otte 2024, eqs. 13-16).
layer alif[N](x: [B, K], b0 = 0.1, beta = 1.8, sigma = 0.5) {
    param w_in:    [K, N] = xavier_uniform();
    param w_rec:   [N, N] = orthogonal();
    param tau_m:   [N]    = normal(20, 5)   in [1, inf];
    param tau_adp: [N]    = normal(150, 50) in [1, inf];

    let alpha = exp(-1 / tau_m);
    let gamma = exp(-1 / tau_adp);

    let i     = x @ w_in + prev(z) @ w_rec;
    let u     = alpha * prev(u) + (1 - alpha) * i - prev(theta) * prev(z);
    let eta   = gamma * prev(eta) + (1 - gamma) * prev(z);
    let theta = b0 + beta * eta;
    let z     = inject(u - theta, step(u - theta), gaussian(u - theta, sigma = sigma));
    z
}

/// Leaky integrators without spikes, one per class.
layer readout[N](x: [B, K]) {
    param w:   [K, N] = xavier_uniform();
    param b:   [N]    = zeros();
    param tau: [N]    = normal(20, 5) in [1, inf];
    let kappa = exp(-1 / tau);
    let y = kappa * prev(y) + (1 - kappa) * (x @ w + b);
    y
}

/// Sequential MNIST: T steps of K pixels, classified at the last step.
graph smnist(pixels: [T; B, K], label: i32[B]) -> (loss, logits, h) {
    let h      = alif[16](pixels);
    let logits = last(readout[5](h));
    let loss   = cross_entropy(logits, label);
}
"#,
    r#"// A gated recurrent cell of nested layers, read at the last step and averaged over time.
layer gate[N](x: [B, K], h: [B, N]) {
    param w: [K, N] = xavier_uniform();
    param r: [N, N] = orthogonal();
    param b: [N]    = zeros();
    x @ w + h @ r + b
}

layer lstm[N](x: [B, K]) {
    let input     = gate[N](x, prev(h));
    let forget    = gate[N](x, prev(h));
    let output    = gate[N](x, prev(h));
    let candidate = gate[N](x, prev(h));
    let c = sigmoid(forget) * prev(c) + sigmoid(input) * tanh(candidate);
    let h = sigmoid(output) * tanh(c);
    (h, c)
}

layer dense[N](x: [B, K]) {
    param w: [K, N] = xavier_uniform();
    x @ w
}

layer memory[N](x: [B, K]) {
    let cell   = lstm[N](x);
    let (h, c) = cell;
    let y      = dense[N](h);
    y + 0.1 * c
}

graph regress(x: [T; B, K], target: [B, N]) -> (loss, end, average) {
    let m       = memory[N](x);
    let end     = last(m);
    let average = time_mean(m);
    let loss    = mean((end - target)^2) + mean(average^2);
}
"#,
    r#"// Reductions over every axis, with and without keepdims; broadcasting in all directions.
graph reductions(a: [B, M, N], b: [M, 1], c: [N], s: []) -> (loss, p, q, r, t, u, v) {
    let d    = a * b + c * s;
    let p    = logsumexp(d, axis = -1);
    let q    = max(d, axis = 1) - s * mean(d, axis = 1);
    let r    = sum(d, axis = 1, keepdims = true) * mean(d, axis = 0);
    let t    = reshape(c, [N, 1]) * c;
    let u    = prod(1 + 0.3 * a, axis = 2);
    let v    = d - logsumexp(d, axis = 2, keepdims = true);
    let m    = min(a, axis = 0, keepdims = true) @ reshape(c, [N, 1]);
    let loss = mean(p * u) + sum(q * c) / 4 + mean(r^2) + logsumexp(t) + max(a) * s - min(b)
             + mean((d - mean(d))^2) + sum(exp(v) * v * c) / B + mean((b - m) * d);
}
"#,
    r#"// Choices, and the subgradients of relu, abs and clamp at ties: 0 for all three, as PyTorch 2.15 has it (clamp: 1 before).
graph select_chain(x: [N], y: [N], w: [N]) -> (loss, a, b, c, d) {
    let a    = if x > 1 then x^2 else if x > -1 then sin(x) * y else -x * y;
    let b    = relu(x) + 2 * abs(x) + 3 * clamp(x, -1, 1) - 0.5 * clamp(y, 0, 0.75);
    let c    = max(x, y) - 2 * min(x * y, y^3) + max(0.25, y);
    let d    = if (x > 0 && y > 0) || !(x < y) then x * y else y / (1 + x^2);
    let loss = sum(w * (a + b * y + c + d));
}
"#,
];

/// Reads a text that has no errors.
fn read(text: &str) -> Module {
    let (module, diagnostics) = parse(text, FileId(0));
    assert!(diagnostics.is_empty(), "{text}\n{diagnostics:#?}");
    module
}

/// The diagnostics of a text, one a line: code, line:column, message; then expected and found, and the hint.
fn report(text: &str) -> String {
    let mut sources = Sources::default();
    let file = sources.add("test.fgi", text);
    let mut report = String::new();
    for one in parse(text, file).1 {
        let (line, column) = sources.line_column(one.labels[0].span);
        report += &format!("{} {line}:{column} {}\n", one.code, one.message);
        report += &format!("    {:?}: {}", sources.text(one.labels[0].span), one.labels[0].text);
        for label in &one.labels[1..] {
            report += &format!("; {:?}: {}", sources.text(label.span), label.text);
        }
        if let Some(hint) = one.hint {
            report += &format!("\n    {hint}");
        }
        report += "\n";
    }
    report
}

#[test]
fn programs_have_no_errors() {
    for program in PROGRAMS {
        assert!(!read(program).items.is_empty());
    }
}

/// Fully parenthesised, to see the precedence.
fn tree(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Number { value, .. } => value.to_string(),
        ExprKind::Path(path) => path[0].text.clone(),
        ExprKind::Unary(op, a) => format!("({op:?} {})", tree(a)),
        ExprKind::Binary(op, a, b) => format!("({op:?} {} {})", tree(a), tree(b)),
        ExprKind::If { condition, then, otherwise } => {
            format!("(If {} {} {})", tree(condition), tree(then), tree(otherwise))
        }
        kind => format!("{kind:?}"),
    }
}

#[test]
fn precedence() {
    for (text, expected) in [
        ("a || b && c", "(Or a (And b c))"),
        ("a || b || c", "(Or (Or a b) c)"),
        ("!a && !(b < c)", "(And (Not a) (Not (Lt b c)))"),
        ("a + 1 < b * 2 && c", "(And (Lt (Add a 1) (Mul b 2)) c)"),
        ("a - b - c", "(Sub (Sub a b) c)"),
        ("a / b @ c", "(MatMul (Div a b) c)"),
        ("a - b * -c", "(Sub a (Mul b (Neg c)))"),
        ("-x^2", "(Neg (Pow x 2))"),
        ("-a * b", "(Mul (Neg a) b)"),
        ("a^b^c", "(Pow a (Pow b c))"),
        ("2^-1", "(Pow 2 (Neg 1))"),
        ("2^-x^2", "(Pow 2 (Neg (Pow x 2)))"),
        ("if a then b else if c then d else e + 1", "(If a b (If c d (Add e 1)))"),
        ("if if a then b else c then if d then e else f else g", "(If (If a b c) (If d e f) g)"),
        ("(if a then b else c) + 1", "(Add (If a b c) 1)"),
    ] {
        let module = read(&format!("const A = {text};"));
        let ItemKind::Const(item) = &module.items[0].kind else { panic!("not a const") };
        assert_eq!(tree(&item.value), expected, "{text}");
    }
}

#[test]
fn errors() {
    const TEXTS: &[&str] = &[
        "const A = 1\nfn f(x) = x;",
        "fn f(x) = x ** 2;",
        "def f(x): return x\nfn g(x) = x;",
        "fn f(x) { let a = x\n let b = a; b }",
        "fn f(x) { let a = x; a; }",
        "fn f(x) { a = x; a }",
        "fn f(x) { let a = g(x; a }",
        "fn f(x) { let a = [x; let b = a; b }\nfn g(x) = 1;",
        "fn f(x) {\n let a = x;\n a\nfn g(x) = 1;\nlayer l(x) { x }",
        "fn f(x) = a < b < c;",
        "fn f(x) = a and b or not c;",
        "fn f(x) = if x == 1: 2;",
        "fn f(x) = if x = 1 then 2 else 3;",
        "fn f(x) = 1 + if x then 2 else 3;",
        "fn f(x) = x[0];",
        "fn f(x) = x % y + $$$ 2;",
        "fn f(x) = f(a b, c, , d = );",
        "fn f(x) = lambda x: 1;",
        "fn f(x) = 1. + .5 + 1e + 1_000 + 1e999 + 0x1;",
        "# comment\nfn f(x) = σ + 'a';",
        "layer f[N](x: f64[B]) { let a = 1; }",
        "graph f(x) { let a = 1; a }",
        "use a; use a::b as c; use a::b is c; use a::{b, c as d,};",
        "fn f(x) { fn g(x) = 1; g(x) }\nfn h(x) = 1;",
        "fn f(x) = x; ;\n}\nfn g(x) = 1;",
        "fn f(x) = g(x]; fn h(x) = g(x]); fn k(x) = [x);",
        "fn f(x) { /// doc\n let a = 1; /// doc\n a }\n/// end",
        "fn f(x) { let layer = 1; let a = 1 + let b = 2; b }",
        "fn f(x) = /* a /* b */;",
        "fn f(layer, x: [, y) = x;",
        "fn f(x) { let a = 1 +; let b = * 2; return a; }",
        "fn f(x)",
        "let x = 1;",
        "fn f(x) { let a = x\n a }",
        "fn f(x) { for i in x { } }",
    ];
    let report: String = TEXTS.iter().map(|text| format!("{text}\n{}\n", report(text))).collect();
    insta::assert_snapshot!(report);
}
