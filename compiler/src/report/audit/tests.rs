use std::path::{Path, PathBuf};

use super::*;
use crate::front::check::{Options, check, heads};
use crate::source::NoFiles;

fn audited(text: &str) -> (Checked, Audit) {
    let checked = check("program.fgi", text, &NoFiles, &Options::default());
    assert!(checked.graph.is_some(), "{:#?}", checked.diagnostics);
    let found = audit(&checked);
    (checked, found)
}

/// Each warning with the text that it points at.
fn warnings(text: &str) -> Vec<String> {
    let (checked, audit) = audited(text);
    let one = |warning: &Diagnostic| {
        format!("{} {}", warning.code, checked.sources.text(warning.labels[0].span))
    };
    audit.warnings.iter().map(one).collect()
}

/// The warnings of a spiking layer with this body and a loss on its spikes.
fn layer(body: &str) -> Vec<String> {
    warnings(&format!(
        "fn softmax_of(x) = exp(x - logsumexp(x));
        layer cells[N](x: [B, K], theta = 1.0) {{
            param w: [K, N] = kaiming_uniform();
            {body}
            z
        }}
        graph net(x: [T; B, K], target: [B, 3]) -> (loss, rate) {{
            let h    = cells[3](x);
            let rate = time_mean(h);
            let loss = mean((rate - target)^2);
        }}"
    ))
}

/// The warnings of `loss = mean(…)` of this expression in a parameter w.
fn loss(y: &str) -> Vec<String> {
    warnings(&format!(
        "graph net(x: [N]) -> (loss) {{ param w: [N] = ones(); let loss = mean({y}); }}"
    ))
}

const NONE: [&str; 0] = [];

#[test]
fn parameters_that_get_no_gradient() {
    let net = |uses: &str, outputs: &str| {
        warnings(&format!(
            "graph net(x: [N]) -> ({outputs}) {{
                param a: [N] = ones();
                param b: [N] = ones();
                {uses}
            }}"
        ))
    };
    let both = "let y = a * x + b; let loss = sum(y);";
    assert_eq!(net(both, "loss, y"), NONE);
    assert_eq!(net("let y = a * x; let loss = sum(y);", "loss, y"), ["W001 b"]);
    assert_eq!(net("let y = a * x + sg(b); let loss = sum(y);", "loss, y"), ["W001 b"]);
    assert_eq!(net("let y = b * x; let loss = sum(a * x);", "loss, y"), ["W001 b"]);
    assert_eq!(net("let y = a * x * (b * 0); let loss = sum(y);", "loss"), NONE);
    // Without a scalar there is no gradient, but what is not used is not used.
    assert_eq!(net("let y = step(a * x + b);", "y"), NONE);
    assert_eq!(net("let y = step(a * x);", "y"), ["W001 b"]);
    // What only the gradient needs is trained as well.
    assert_eq!(
        net("let y = bypass(step(a * x), tanh(b * a * x)); let loss = sum(y);", "loss"),
        NONE
    );
}

#[test]
fn a_parameter_of_the_library_is_shown_at_its_call() {
    let text = "graph net(x: [T; B, 3]) -> (loss, h) {
        let h = neuron::lif(x);
        let loss = time_mean(mean(sg(h)));
    }";
    assert_eq!(warnings(text), ["W001 neuron::lif(x)"]);
}

#[test]
fn the_places_that_cut_are_labelled() {
    let (checked, audit) = audited(
        "graph net(x: [N]) -> (loss) {
            param a: [N] = ones(); // fgic: allow(W002)
            let loss = sum(round(a * x)) + sum(sg(a) * x);
        }",
    );
    let warning = audit.warnings.iter().find(|warning| warning.code == "W001").unwrap();
    let texts: Vec<_> = warning.labels.iter().map(|l| checked.sources.text(l.span)).collect();
    assert_eq!(texts, ["a", "round(a * x)", "sg(a)"]);
}

#[test]
fn decisions_without_a_surrogate() {
    let lif = "let u = 0.9 * prev(u) + x @ w - theta * prev(z);";
    let with = |z: &str| layer(&format!("{lif} let z = {z};"));
    for z in
        ["step(u - theta)", "if u > theta then 1 else 0", "f32(u > theta)", "round(u)", "sign(u)"]
    {
        assert_eq!(with(z), ["W001 w".to_string(), format!("W002 {z}")], "{z}");
    }
    for z in [
        "bypass(step(u - theta), sigmoid(u - theta))",
        "inject(u - theta, step(u - theta), exp(-(u - theta)^2))",
        "surrogate::round_ste(u)",
        "sg(step(u - theta)) + u",
        "relu(u) - theta",
        "if u > theta then u else 0",
        "u * f32(u > 0)",
        "u - floor(u)",
        "sign(u) * log(abs(u) + 1)",
        "if time_index() > 3 then u else 0",
        "u + f32(time_index() > 3)",
        // Straight through, with a value that is under no `sg`.
        "step(u - theta) - sg(u) + u",
        "u + step(u - theta) - sg(u)",
        "(u - sg(u)) + step(u - theta)",
        "u - (sg(u) - step(u - theta))",
        "step(u - theta) + sg(-u) + u",
        "f32(u > theta) + tanh(u) - sg(tanh(u))",
        "tanh(2 * u) + (if u > theta then 1 else 0) - sg(tanh(u * 2))",
        "step(u - theta) + (u - theta) * sg(exp(-u^2)) - sg((u - theta) * exp(-u^2))",
        "step(u - theta) + sg(exp(-u^2)) * (u - sg(u))",
        "0.5 * sign(u) + 0.5 - sg(0.5 * u) + u / 2",
        "sign(u) + clamp(u, -1, 1) - sg(clamp(u, -1, 1))",
        "one_hot(argmax(u), 3) - sg(u) + u",
        "one_hot(argmax(u), 3) + softmax_of(u) - sg(softmax_of(u))",
        "round(4 * u) / 4 - sg(u) + u",
        "prev(step(u) - sg(u) + u) * 0.5",
    ] {
        assert_eq!(with(z), NONE, "{z}");
    }
    // The gradient of the spike goes on, but not that of the reset.
    let reset = "let u = 0.9 * prev(u) + x @ w - prev(step(u - theta));
        let z = inject(u - theta, step(u - theta), exp(-(u - theta)^2));";
    assert_eq!(layer(reset), ["W002 step(u - theta)"]);
    // The gradient that the sum has is that of something else, or is none.
    for z in [
        "step(u - theta) - sg(u)",
        "step(u - theta) - u + u",
        "step(u - theta) + sg(u) - sg(u)",
        "prev(step(u - theta)) + u",
        "step(u - theta) * (x @ w) - sg(u) * 2 + u",
        "step(u - theta) + (x * x) @ w - sg((x * x) @ w)",
    ] {
        assert!(with(z).contains(&"W002 step(u - theta)".to_string()), "{z}: {:?}", with(z));
    }
    // Encoders of inputs, and what no loss depends on.
    let encoded = "graph net(x: [T; B, K], label: i32[B]) -> (loss, right) {
        param w: [K, 3] = xavier_uniform();
        let y     = time_mean(encode::rate(x)) @ w;
        let right = mean(f32(argmax(y) == label));
        let loss  = loss::cross_entropy(y, label);
    }";
    assert_eq!(warnings(encoded), NONE);
}

#[test]
fn surrogates_that_are_zero() {
    let with = |v: &str, d: &str| loss(&format!("inject({v}, step({v}), {d})"));
    // A literal zero is meant.
    assert_eq!(with("w * x", "0"), ["W001 w"]);
    let low = "sigmoid(w * x) - 3";
    assert_eq!(with(low, &format!("surrogate::triangle({low})")).len(), 2);
    assert_eq!(with(low, &format!("surrogate::rect({low})")).len(), 2);
    assert_eq!(with(low, &format!("surrogate::triangle({low}, k = 0.1)")), NONE);
    assert_eq!(with("w * x", "surrogate::triangle(w * x)"), NONE);
    let clipped = loss("bypass(step(w), clamp(abs(w) + 2, -1, 1))");
    assert_eq!(clipped, ["W001 w", "W003 bypass(step(w), clamp(abs(w) + 2, -1, 1))"]);
}

#[test]
fn surrogates_that_overflow() {
    let with = |z: &str| {
        warnings(&format!(
            "graph net(x: [N]) -> (loss) {{
                param w: [N] = ones();
                let u    = w * x;
                let z    = {z};
                let loss = mean(z);
            }}"
        ))
    };
    let injected = |d: &str| format!("inject(u, step(u), {d})");
    for d in ["exp(u^2)", "exp(-u) / (1 + exp(-u))^2", "1 / u", "u^-2"] {
        assert_eq!(with(&injected(d)), [format!("W004 {}", injected(d))], "{d}");
    }
    let harmless =
        ["exp(-u^2)", "1 / (1 + exp(-u))", "min(1 / abs(u), 1)", "if u > 1 then 1 / u else 1"];
    for d in harmless {
        assert_eq!(with(&injected(d)), NONE, "{d}");
    }
    let root = "bypass(step(u), sqrt(abs(u)))";
    assert_eq!(with(root), [format!("W004 {root}")]);
    assert_eq!(with("bypass(step(u), if u > 1 then log(u) else 0)"), NONE);
    // One operand follows from the other.
    assert_eq!(with("bypass(step(u), exp(u - logsumexp(u)))"), NONE);
}

#[test]
fn derivatives_that_are_infinite_where_that_is_known() {
    for y in [
        "sqrt(sum((w * x)^2))",
        "x / abs(w)",
        "log(relu(w))",
        "rsqrt(w^2)",
        "acos(clamp(w, -1, 1))",
        "sqrt(1 - tanh(w)^2)",
        "(w^2)^0.5",
    ] {
        assert_eq!(loss(y), [format!("W004 {y}")], "{y}");
    }
    for y in [
        "sqrt(sum((w * x)^2) + 1e-6)",
        "x / (abs(w) + 1)",
        "x / w",
        "sqrt(w)",
        "exp(w) / sum(exp(w))",
        "log(sigmoid(w))",
        "logsumexp(w)",
        "w / abs(x)",
        "if w > 0 then log(relu(w)) else 0",
        "acos(clamp(w, -0.9, 0.9))",
        "sqrt(relu(w) + 1)",
        "sqrt(relu(x)) * w",
    ] {
        assert_eq!(loss(y), NONE, "{y}");
    }
}

#[test]
fn comments_silence_one_by_one() {
    let text = |before: &str, on: &str| {
        warnings(&format!(
            "graph net(x: [N]) -> (loss) {{
                param w: [N] = ones(); // fgic: allow(W001)
                {before}
                let loss = mean(round(w * x)); {on}
            }}"
        ))
    };
    assert_eq!(text("", ""), ["W002 round(w * x)"]);
    assert_eq!(text("", "// fgic: allow(W002)"), NONE);
    assert_eq!(text("// fgic: allow(W001, W002)", ""), NONE);
    assert_eq!(text("/* fgic: allow(w002) */", ""), NONE);
    assert_eq!(text("// fgic: allow(W003)", ""), ["W002 round(w * x)"]);
    assert_eq!(text("// fgic: allow(W002)\n", ""), ["W002 round(w * x)"]);
    for comment in
        ["// fgic: allow(W999)", "// fgic: allow(E040)", "// fgic: quiet", "// fgic: allow()"]
    {
        assert_eq!(text("", comment), ["W002 round(w * x)".to_string(), format!("W005 {comment}")]);
    }
    assert!(warning_code("W01").unwrap_err().contains("did you mean W001?"));
    assert!(warning_code("e040").unwrap_err().contains("E040 is an error"));
}

/// The help of the first warning of this code.
fn help(text: &str, code: &str) -> String {
    let (_, audit) = audited(text);
    let warning = audit.warnings.into_iter().find(|warning| warning.code == code);
    warning.and_then(|warning| warning.hint).expect(text)
}

#[test]
fn the_help_fits_what_cuts() {
    for (y, expected) in [
        ("inject(x, step(x), exp(-w * x^2))", "f and d are values"),
        ("bypass(w * step(x), tanh(x))", "f and d are values"),
        ("inject(x, step(x), sg(w))", "f and d are values"),
        ("sg(w) * x", "without the `sg`"),
        ("step(w)", "by a surrogate"),
        ("bypass(step(w), clamp(abs(w) + 2, -1, 1))", "move or widen"),
    ] {
        let text = format!(
            "graph net(x: [N]) -> (loss) {{ param w: [N] = ones(); let y = {y}; let loss = mean(y); }}"
        );
        let help = help(&text, "W001");
        assert!(help.contains(expected), "{y}: {help}");
        assert!(expected == "by a surrogate" || !help.contains("by a surrogate"), "{y}: {help}");
    }
    let elsewhere = "graph net(x: [N]) -> (loss, y) {
        param w: [N] = ones();
        let y = w * x;
        let loss = mean(x);
    }";
    assert!(help(elsewhere, "W001").contains("use it in what `loss` is computed from"));
}

#[test]
fn the_help_fits_the_derivative() {
    for (y, expected) in [
        ("sqrt(sum((w * x)^2))", "add a small number: `sum((w * x)^2) + 1e-12`"),
        ("x / abs(w)", "add a small number: `abs(w) + 1e-12`"),
        ("x / tanh(w)", "choose another value there: `if abs(tanh(w)) < 1e-6"),
        ("log(tanh(w))", "keep it above 0: `max(tanh(w), 1e-6)`"),
        ("acos(clamp(w, -1, 1))", "keep it between them: `clamp(clamp(w, -1, 1), -0.999, 0.999)`"),
        ("inject(u, step(u), exp(u^2))", "overflows"),
        ("inject(u, step(u), 1 / u)", "keep it from 0"),
        ("bypass(step(u), sqrt(abs(u)))", "keep it from 0"),
    ] {
        let text = format!(
            "graph net(x: [N]) -> (loss) {{
                param w: [N] = normal(0, 1);
                let u = w * x;
                let loss = mean({y});
            }}"
        );
        let help = help(&text, "W004");
        assert!(help.contains(expected), "{y}: {help}");
    }
}

#[test]
fn both_operands_stretched() {
    let of = |inputs: &str, y: &str| {
        warnings(&format!(
            "graph net({inputs}) -> (y, q) {{
                param p: [4] = ones(); // fgic: allow(W001)
                let y = {y};
                let q = sum(p);
            }}"
        ))
    };
    let columns = "a: [B, 1], b: [B], c: [N], x: [B, K]";
    for y in ["a - b", "b * a", "a + c", "a < b", "if a > 0 then b else 0"] {
        assert!(of(columns, y).iter().any(|one| one.starts_with("W006")), "{y}");
    }
    assert_eq!(of(columns, "loss::mse(a, b)"), ["W006 loss::mse(a, b)"]);
    assert_eq!(of(columns, "mean(x, axis = 1, keepdims = true) - b").len(), 1);
    assert_eq!(of("a: [T; B, 1], b: [T; B]", "time_sum(a - b)").len(), 1);
    for y in [
        "a - reshape(b, [B, 1])",
        "a * p",
        "a * exp(-1 / p)",
        "reshape(b, [B, 1]) * c",
        "reshape(b, [B, 1]) * reshape(b, [1, B])",
        "mean(x, axis = 1, keepdims = true) * c",
        "a + 1",
        "x - a",
        "x - mean(x, axis = 0)",
    ] {
        assert_eq!(of(columns, y), NONE, "{y}");
    }
    let (checked, audit) = audited(
        "graph net(a: [B, 1], b: [B]) -> (y) {
            let c = a;
            let y = c - b;
        }",
    );
    let texts: Vec<_> = audit.warnings[0]
        .labels
        .iter()
        .map(|label| (checked.sources.text(label.span), label.text.as_str()))
        .collect();
    assert_eq!(texts, [("c - b", "this is [B, B]"), ("c", "this is [B, 1]"), ("b", "this is [B]")]);
    assert!(audit.warnings[0].hint.as_ref().unwrap().contains("`reshape(b, [1, B])`"));
}

#[test]
fn smooth_functions_in_the_place_of_spikes() {
    let with = |head: &str, z: &str| {
        warnings(&format!(
            "{head}
            layer cells[N](x: [B, K], theta = 1.0) {{
                param w: [K, N] = kaiming_uniform();
                let u = 0.9 * prev(u) + x @ w;
                let v = u - theta;
                let z = {z};
                z
            }}
            graph net(x: [T; B, K], target: [B, 3]) -> (loss) {{
                let loss = mean((time_mean(cells[3](x)) - target)^2);
            }}"
        ))
    };
    for z in ["atan(u - 1)", "sigmoid(v)", "tanh(4 * v)", "erf(v / 0.5)", "atan(u - prev(u))"] {
        assert_eq!(with("", z), [format!("W007 {z}")]);
        let name = &z[..z.find('(').unwrap()];
        assert_eq!(with(&format!("use spike::{name};"), z), NONE);
        assert_eq!(with("", &format!("prelude::{z}")), NONE);
        assert_eq!(with("", &format!("{z} // fgic: allow(W007)\n")), NONE);
    }
    for z in [
        "tanh(u)",
        "tanh(x @ w - 1)",
        "sigmoid(u + 1)",
        "relu(v)",
        "inject(v, step(v), atan(v))",
        "bypass(step(v), atan(v))",
        "surrogate::atan_integral(v)",
        "exp(v)",
    ] {
        assert_eq!(with("", z), NONE, "{z}");
    }
}

#[test]
fn every_warning_is_listed() {
    for Warning { code, .. } in &WARNINGS {
        assert!(crate::codes::find(code).is_some(), "{code}");
    }
}

/// Programs that are known to be good, and one for each item of the standard library.
#[test]
fn good_programs_have_no_warnings() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let folders = ["dsl-examples", "tests/golden"].map(|folder| read(&workspace.join(folder)));
    let folders = folders.concat().into_iter().chain([workspace.join("runtime/web/demo")]);
    let files = folders.filter(|folder| folder.is_dir()).flat_map(|folder| read(&folder));
    let is_program = |file: &PathBuf| file.extension().is_some_and(|e| e == "fgi");
    let mut count = 0;
    for file in files.filter(is_program) {
        let text = std::fs::read_to_string(&file).unwrap();
        for graph in heads("program.fgi", &text, &NoFiles).graphs {
            let options = Options { graph: Some(graph.name), ..Options::default() };
            let checked = check("program.fgi", &text, &NoFiles, &options);
            assert_eq!(audit(&checked).warnings, [], "{}", file.display());
            count += 1;
        }
    }
    assert!(count > 8, "{count}");
}

#[test]
fn the_library_has_no_warnings() {
    let module = |name: &str| crate::front::check::standard_module(name).unwrap();
    let neurons = items(module("neuron"), "layer ");
    let surrogates = items(module("surrogate"), "fn ");
    let spikes = items(module("spike"), "fn ");
    assert!(neurons.len() > 50 && surrogates.len() > 50 && spikes.len() > 35);
    for name in neurons.iter().filter(|name| *name != "sliding_tap") {
        let dims = if matches!(name.as_str(), "psn" | "masked_psn") { "[T]" } else { "" };
        let given = match name.as_str() {
            "leaky" | "rleaky" | "alpha" | "lapicque" | "adex" | "izhikevich" => "(z, u)",
            "lif_norse" | "lif_refrac_norse" | "adex_norse" | "lsnn_norse" => "(z, u)",
            "synaptic" | "rsynaptic" => "(z, i, u)",
            _ => "z",
        };
        let text = format!(
            "graph net[T = 5](x: [T; B, 3]) -> (loss) {{
                param w: [3, 4] = kaiming_uniform();
                let {given} = neuron::{name}{dims}(x @ w);
                let loss = time_mean(mean(z));
            }}"
        );
        assert_eq!(warnings(&text), NONE, "{name}");
    }
    let one = |y: &str| {
        warnings(&format!("graph net(x: [N]) -> (loss) {{ let y = {y}; let loss = sum(y); }}"))
    };
    for name in spikes.iter().filter(|name| *name != "at_least") {
        assert_eq!(one(&format!("spike::{name}(x)")), NONE, "{name}");
    }
    for name in &surrogates {
        let used = match name.strip_suffix("_integral") {
            Some(_) => format!("bypass(step(x), surrogate::{name}(x))"),
            None if name == "harmonic" => continue,
            None if is_quantiser(name) => format!("surrogate::{name}(x)"),
            None => format!("inject(x, step(x), surrogate::{name}(x))"),
        };
        assert_eq!(one(&used), NONE, "{name}");
    }
}

fn is_quantiser(name: &str) -> bool {
    name.ends_with("_ste") || name.contains("quantize")
}

/// The names of a module's items of a kind.
fn items(text: &str, kind: &str) -> Vec<String> {
    let name = |line: &str| {
        let rest = line.strip_prefix(kind)?;
        Some(rest[..rest.find(|c: char| !c.is_alphanumeric() && c != '_')?].to_string())
    };
    text.lines().filter_map(name).collect()
}

#[test]
fn a_program_is_listed_in_its_order() {
    let (checked, audit) = audited(
        "layer cells[N](x: [B, K]) {
            param w: [K, N] = kaiming_uniform();
            param v: [N, N] = zeros();
            let u = 0.9 * prev(u) + x @ w + sg(prev(z)) @ v - prev(z);
            let z = inject(u - 1, step(u - 1), exp(-(u - 1)^2));
            z
        }
        layer hard[N](x: [B, K]) {
            param w: [K, N] = kaiming_uniform();
            let u = 0.9 * prev(u) * (1 - sg(prev(z))) + x @ w;
            let z = bypass(step(u - 1), tanh(u - 1));
            z
        }
        graph net(x: [T; B, K], target: [B, 3]) -> (loss, rate) {
            let h    = cells[3](x);
            let g    = hard[3](h);
            let rate = time_mean(g);
            let loss = mean((rate - target)^2);
        }",
    );
    let line = |entry: &Entry| {
        let (line, _) = checked.sources.line_column(entry.place);
        format!("{line} {} {}", entry.kind, entry.text)
    };
    let lines: Vec<_> = audit.entries.iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(audit.warnings, []);
}
