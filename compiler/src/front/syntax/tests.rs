use super::ast::*;
use super::{expr_to_string, format, parse, print_module, tokens};
use crate::source::{FileId, Sources};
use proptest::prelude::*;

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
        "fn f(x) {\n let a = ;\n let b = g(;\n a\nfn g(x) = ;",
        "fn layer(x) = 1;\nfn graph\nlayer l(x) { x }",
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
        "layer l(x) {\n param w: [4];\n param v: i32[4, N] in [0, 1];\n let y: [4];\n y\n}",
        "layer l(x) {\n param w: [4] zeros();\n w\n}",
    ];
    let report: String = TEXTS.iter().map(|text| format!("{text}\n{}\n", report(text))).collect();
    insta::assert_snapshot!(report);
}

#[test]
fn too_deep_is_an_error_and_no_overflow() {
    let repeat = |text: &str, times: usize| text.repeat(times);
    for expr in [
        repeat("(", 10_000) + "a" + &repeat(")", 10_000),
        repeat("[", 10_000) + "a" + &repeat("]", 10_000),
        repeat("f(", 100_000),
        repeat("-", 10_000) + "a",
        "!".repeat(10_000) + "a",
        repeat("a + ", 10_000) + "a",
        repeat("a ^ ", 10_000) + "a",
        repeat("if a then b else ", 10_000) + "a",
        repeat("if ", 10_000) + "a",
    ] {
        let report = report(&format!("const A = {expr};"));
        assert!(report.contains("E004"), "{report}");
    }
}

#[test]
fn deep_enough() {
    let repeat = |text: &str, times: usize| text.repeat(times);
    for expr in [
        repeat("(b + ", 199) + "a" + &repeat(")", 199),
        repeat("[", 200) + "a" + &repeat("]", 200),
        repeat("f(", 200) + "a" + &repeat(")", 200),
        repeat("-", 500) + "a",
        repeat("a + ", 500) + "a",
        repeat("a ^ ", 500) + "a",
        repeat("if a then b else ", 200) + "a",
        repeat("if a then ", 200) + "a" + &repeat(" else b", 200),
        // Commas start anew.
        repeat("[a + b, ", 20) + &repeat("a + b, ", 10_000) + &repeat("]", 20),
    ] {
        let text = format!("const A = {expr};");
        let module = read(&text);
        assert_eq!(format(&text, FileId(0)).map(|text| shape(&read(&text))), Ok(shape(&module)));
    }
}

#[test]
fn canonical_form() {
    for (text, expected) in [
        ("const A=((1+2))*3 ;", "const A = (1 + 2) * 3;\n"),
        ("const A = (a*b) + (c/d) - (e - f);", "const A = a * b + c / d - (e - f);\n"),
        (
            "const A = -(x^2) + (-x)^2 + -(-x) - 2^(-1);",
            "const A = -x^2 + (-x)^2 + -(-x) - 2^-1;\n",
        ),
        ("const A = a && b || !(c < d);", "const A = (a && b) || !(c < d);\n"),
        ("const A = (a, (b), [1e-3, 1.50,],);", "const A = (a, b, [1e-3, 1.50]);\n"),
        (
            "use a::{b};use a::*;\n\n\nuse c::{d as e,f,};",
            "use a::b;\nuse a::*;\n\nuse c::{d as e, f};\n",
        ),
        ("fn f(a){a}\nfn g(a){let b=a;b}", "fn f(a) = a;\n\nfn g(a) {\n    let b = a;\n    b\n}\n"),
        (
            "graph g[](x:f32[],y:i32,t:[T;],u:[T;B])->(a){}",
            "graph g(x: f32[], y: i32[], t: [T;], u: [T; B]) -> a {}\n",
        ),
        ("", ""),
        (
            "use layer::dense; fn f(x)=layer::dense[2](x);",
            "use layer::dense;\nfn f(x) = layer::dense[2](x);\n",
        ),
        ("// only\n\n\n// comments  ", "// only\n\n// comments\n"),
    ] {
        assert_eq!(format(text, FileId(0)).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn comments_stay_where_they_are() {
    const TEXT: &str = "\
// header

/* block
   lines */
use a::b; // trailing
use a::{c, /* d */ d as e};


const A = // the const
   1;
/// docs
fn f(/// first
  x, // the x
  y: [B, /* k */ K] = 1e-3 /* why */, z) // after
  = x + // plus
   y * ( // open
    z + 1 // inner
   );
fn g(x) { // open
   // own
   x // end
   // last
}
layer alif[N](x: [B, K], b0 = 0.1) { // start

   /// A weight.
   param w_in: [K, N] = xavier_uniform(); // w
   param b: [N] = zeros() in [0, // zero
       1];


   let (a, b) = f(x, // one
      // own
      y, axis = [0, // zero
       1]) ;
   let abc: [N] = 1 /* i */ + /* j */ 2; /* inline */ let d =
     // here
     if a > 0 && b > 0 || c < 0 // cond
     then 1 else if !(a < b) then /* t */ 2 else 3;
   // before result

   let loss = mean(p * u) + sum(q * c) / 4 + mean(r^2) + logsumexp(t) + max(a) * s - min(b) + mean((d - mean(d))^2);
   let long = some_function_name(argument_number_one, argument_number_two = 12345, argument_number_three = [1,2,3]);

   z // result
   // end

}
graph g(x: [T;B]) -> (a) {
  // nothing
}
// eof
";
    insta::assert_snapshot!(format(TEXT, FileId(0)).unwrap());
}

#[test]
fn expressions_on_one_line() {
    let module = read("const A = if a<b then f[N](x,axis=[0,1e-7]) else (u, -v^2.0) ;");
    let ItemKind::Const(item) = &module.items[0].kind else { panic!("not a const") };
    let text = "if a < b then f[N](x, axis = [0, 1e-7]) else (u, -v^2.0)";
    assert_eq!(expr_to_string(&item.value), text);
}

/// The tree without its spans.
fn shape(module: &Module) -> String {
    let text = format!("{module:?}");
    let mut shape = String::new();
    for (index, part) in text.split("0:").enumerate() {
        let is_span = |part: &&str| part.starts_with(|first: char| first.is_ascii_digit());
        let rest = Some(part).filter(|part| index == 0 || !is_span(part));
        shape += rest
            .unwrap_or_else(|| part.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.'));
    }
    shape
}

fn has_error(module: &Module) -> bool {
    format!("{module:?}").contains(": Error")
}

/// What holds for every text.
fn check(text: &str) {
    let (module, diagnostics) = parse(text, FileId(0));
    for label in diagnostics.iter().flat_map(|one| &one.labels) {
        let range = label.span.start as usize..label.span.end as usize;
        assert!(text.get(range).is_some(), "{text}\n{label:?}");
    }
    assert!(!has_error(&module) || !diagnostics.is_empty(), "{text}\n{module:#?}");
    print_module(&module);
    if diagnostics.is_empty() {
        check_format(text);
    }
}

/// What holds for every text without errors.
fn check_format(text: &str) {
    let formatted = format(text, FileId(0)).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"));
    assert!(shape(&read(&formatted)) == shape(&read(text)), "{text}\n{formatted}");
    let again = format(&formatted, FileId(0)).unwrap_or_default();
    assert!(again == formatted, "once:\n{formatted}\ntwice:\n{again}\nof:\n{text}");
}

#[test]
fn programs_format() {
    for program in PROGRAMS {
        check_format(program);
    }
}

const SOUP: [&str; 67] = [
    "use",
    "const",
    "fn",
    "layer",
    "graph",
    "let",
    "param",
    "if",
    "then",
    "else",
    "true",
    "false",
    "in",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    "::",
    "->",
    "=",
    "||",
    "&&",
    "!",
    "<",
    "<=",
    ">",
    ">=",
    "==",
    "!=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "@",
    "^",
    "a",
    "b",
    "f(",
    "x)",
    "1",
    "0.5",
    "1.",
    "1e999",
    "**",
    "&",
    "|",
    "#",
    ".",
    "σ",
    "€",
    "\"",
    "// c\n",
    "/// d\n",
    "/* c */",
    "/*",
    "\n",
    "as",
    "let a = 1;",
    "fn f(x) =",
    "layer l(x) {",
    "graph g(x) -> y {",
];

fn soup() -> impl Strategy<Value = String> {
    let word = (prop::sample::select(&SOUP[..]), prop::sample::select(vec!["", " ", "\n"]));
    prop::collection::vec(word, 0..60)
        .prop_map(|words| words.into_iter().flat_map(|(word, gap)| [word, gap]).collect())
}

/// A program with some of its tokens left out, doubled, or replaced.
fn mutant() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..3, prop::sample::select(&SOUP[..]));
    (prop::sample::select(&PROGRAMS[..]), prop::collection::vec(change, 1..4)).prop_map(
        |(program, changes)| {
            let mut text = program.to_string();
            for (index, kind, word) in changes {
                let tokens = tokens::lex(&text, FileId(0)).tokens;
                let (start, _, end) = tokens[index.index(tokens.len())];
                let new = match kind {
                    0 => String::new(),
                    1 => text[start..end].repeat(2),
                    _ => word.to_string(),
                };
                text.replace_range(start..end, &new);
            }
            text
        },
    )
}

/// A program with comments and line breaks between any two tokens.
fn commented() -> impl Strategy<Value = (String, usize)> {
    let gap = prop::sample::select(vec![
        " ",
        " ",
        " ",
        "\n",
        "\n\n",
        "/*c*/",
        " /*c*/ ",
        "\n/*c*/\n",
        "//c\n",
        "\n//c\n",
        "\n\n//c\n\n",
        "/*c*//*c*/\n",
        "//c\n//c\n",
        "\n/*c\n\n  c*/\n",
        "/*c\nc*/",
    ]);
    let gaps = prop::collection::vec((gap, any::<prop::sample::Index>()), 1..30);
    (prop::sample::select(&PROGRAMS[..]), gaps).prop_map(|(program, gaps)| {
        let mut text = program.to_string();
        let mut count = 0;
        for (gap, index) in gaps {
            let tokens = tokens::lex(&text, FileId(0)).tokens;
            let (start, token, _) = tokens[index.index(tokens.len())];
            if token.starts_item() || token.starts_binding() {
                text.insert_str(start, "/// doc\n");
            }
            for (part, piece) in gap.split('c').enumerate().collect::<Vec<_>>().into_iter().rev() {
                text.insert_str(start, piece);
                if part > 0 {
                    text.insert_str(start, &format!("<{count}>"));
                    count += 1;
                }
            }
        }
        (text, count)
    })
}

fn name() -> impl Strategy<Value = Name> {
    prop::sample::select(vec![
        "a",
        "b_1",
        "_",
        "x",
        "as",
        "long_name_that_fills_the_line",
        "pi",
        "f32",
        "state",
        "next",
        "fixed",
    ])
    .prop_map(|text| Name { text: text.to_string(), span: Default::default() })
}

fn docs() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec("[a-z /`]{0,8}[a-z]|", 1..3)]
}

fn expr() -> impl Strategy<Value = Expr> {
    use ExprKind::*;
    let number = prop_oneof![
        (0..1000u32).prop_map(|value| Number { value: value.into(), integer: true }),
        prop::num::f64::POSITIVE.prop_map(|value| Number { value, integer: false }),
    ];
    let path = prop::collection::vec(name(), 1..3).prop_map(Path);
    let leaf = prop_oneof![number, path, any::<bool>().prop_map(Bool)].prop_map(at_zero);
    leaf.prop_recursive(6, 60, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let binary = prop::sample::select(vec![
            BinaryOp::Or, BinaryOp::And, BinaryOp::Lt, BinaryOp::Eq, BinaryOp::Add, BinaryOp::Sub,
            BinaryOp::Mul, BinaryOp::Div, BinaryOp::Rem, BinaryOp::MatMul, BinaryOp::Pow,
        ]);
        let unary = prop::sample::select(vec![UnaryOp::Neg, UnaryOp::Not]);
        let argument = (prop::option::of(name()), inner.clone())
            .prop_map(|(name, value)| CallArgument { name, value });
        let some = |from| prop::collection::vec(inner.clone(), from..4);
        prop_oneof![
            4 => (binary, boxed.clone(), boxed.clone()).prop_map(|(op, a, b)| Binary(op, a, b)),
            1 => (unary, boxed.clone()).prop_map(|(op, a)| Unary(op, a)),
            1 => (boxed.clone(), boxed.clone(), boxed.clone()).prop_map(
                |(condition, then, otherwise)| If { condition, then, otherwise }
            ),
            1 => (prop::collection::vec(name(), 1..3), some(0), prop::collection::vec(argument, 0..4))
                .prop_map(|(callee, dims, arguments)| Call { callee, dims, arguments }),
            1 => (prop::collection::vec(name(), 1..3), some(0))
                .prop_map(|(callee, dims)| Instance { callee, dims }),
            1 => some(1).prop_map(Tuple),
            1 => some(0).prop_map(List),
        ]
        .prop_map(at_zero)
    })
}

fn at_zero(kind: ExprKind) -> Expr {
    Expr { kind, span: Default::default() }
}

fn type_expr() -> impl Strategy<Value = TypeExpr> {
    let elem = prop::option::of(prop::sample::select(vec!["f32", "i32"]));
    let elem = elem.prop_map(|elem| {
        elem.map(|text| Name { text: text.to_string(), span: Default::default() })
    });
    let rest = prop::option::of(Just(Default::default()));
    (elem, prop::option::of(expr()), rest, prop::collection::vec(expr(), 0..3)).prop_map(
        |(elem, time, rest, dims)| TypeExpr { elem, time, rest, dims, span: Default::default() },
    )
}

fn pattern() -> impl Strategy<Value = Pattern> {
    name().prop_map(Pattern::Name).prop_recursive(2, 6, 3, |inner| {
        prop::collection::vec(inner, 1..4)
            .prop_map(|parts| Pattern::Tuple(parts, Default::default()))
    })
}

fn body(has_result: bool) -> impl Strategy<Value = Body> {
    let binding = (pattern(), prop::option::of(type_expr()), expr())
        .prop_map(|(pattern, ty, value)| StatementKind::Let(Let { pattern, ty, value }));
    let bounds = prop::option::of((expr(), expr()));
    let param = (name(), type_expr(), expr(), any::<bool>(), bounds).prop_map(
        |(name, ty, init, is_fixed, bounds)| {
            StatementKind::Param(Param { name, ty, init, is_fixed, bounds })
        },
    );
    let state = (name(), type_expr(), expr())
        .prop_map(|(name, ty, init)| StatementKind::State(State { name, ty, init }));
    let next = (name(), expr()).prop_map(|(name, value)| StatementKind::Next(Next { name, value }));
    let statement = (docs(), prop_oneof![binding, param, state, next])
        .prop_map(|(docs, kind)| Statement { docs, kind, span: Default::default() });
    (prop::collection::vec(statement, 0..4), expr()).prop_map(move |(statements, result)| Body {
        statements,
        result: has_result.then_some(result),
        span: Default::default(),
    })
}

fn item() -> impl Strategy<Value = Item> {
    let names = prop_oneof![
        Just(UseNames::All),
        prop::collection::vec((name(), prop::option::of(name())), 0..3).prop_map(UseNames::Some),
    ];
    let argument = || {
        let typed = (prop::option::of(type_expr()), prop::option::of(expr()));
        let kind = prop_oneof![4 => typed.prop_map(Some), 1 => Just(None)];
        (docs(), name(), kind).prop_map(|(docs, name, kind)| {
            let is_layer = kind.is_none();
            let (ty, default) = kind.unwrap_or_default();
            Argument { docs, name, ty, is_layer, default }
        })
    };
    let arguments = || prop::collection::vec(argument(), 0..3);
    let dim = (name(), prop::option::of(expr()))
        .prop_map(|(name, default)| DimArgument { name, default })
        .boxed();
    let steps = prop::option::of(dim.clone());
    let dims = prop::collection::vec(dim, 0..3).boxed();
    let outputs = prop::collection::vec(name(), 1..4);
    let kind = prop_oneof![
        (prop::collection::vec(name(), 1..3), names)
            .prop_map(|(path, names)| ItemKind::Use(Use { path, names })),
        (name(), expr()).prop_map(|(name, value)| ItemKind::Const(Const { name, value })),
        (name(), arguments(), body(true))
            .prop_map(|(name, arguments, body)| ItemKind::Fn(Function { name, arguments, body })),
        (name(), dims.clone(), arguments(), body(true)).prop_map(
            |(name, dims, arguments, body)| {
                ItemKind::Layer(Layer { name, dims, arguments, body })
            }
        ),
        (name(), steps, dims, arguments(), outputs, body(false)).prop_map(
            |(name, steps, dims, arguments, outputs, body)| {
                ItemKind::Graph(GraphItem { name, steps, dims, arguments, outputs, body })
            }
        ),
    ];
    (docs(), kind).prop_map(|(docs, kind)| Item { docs, kind, span: Default::default() })
}

proptest! {
    #[test]
    fn a_printed_tree_reads_back(items in prop::collection::vec(item(), 0..3)) {
        let module = Module { items };
        let text = print_module(&module);
        assert_eq!(shape(&read(&text)), shape(&module), "{text}");
        check_format(&text);
    }

    #[test]
    fn soup_is_no_bug(text in soup()) {
        check(&text);
    }

    #[test]
    fn noise_is_no_bug(text in ".{0,40}") {
        check(&text);
    }

    #[test]
    fn a_mutant_is_no_bug(text in mutant()) {
        check(&text);
    }

    #[test]
    fn comments_are_kept((text, count) in commented()) {
        check_format(&text);
        let formatted = format(&text, FileId(0)).unwrap_or_default();
        for number in 0..count {
            assert!(formatted.contains(&format!("<{number}>")), "<{number}> is lost\n{text}\n{formatted}");
        }
    }
}

#[test]
fn the_library_and_the_examples_are_canonical() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = |folder: &std::path::Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let examples = files(&root.join("../dsl-examples"));
    let folders = examples.into_iter().chain([root.join("std")]);
    let programs = folders.flat_map(|folder| files(&folder));
    let programs = programs.filter(|file| file.extension().is_some_and(|end| end == "fgi"));
    for path in programs {
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(format(&text, FileId::default()).unwrap(), text, "{}", path.display());
    }
}
