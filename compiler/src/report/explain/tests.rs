use std::path::Path;

use super::*;
use crate::front::check::{Checked, Options, check, heads};
use crate::front::syntax::parse;
use crate::source::{FileId, NoFiles};

/// Every graph of the examples and the golden cases.
fn programs() -> Vec<Checked> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = ["dsl-examples/fgi/fgi.fgi", "dsl-examples/smnist/smnist.fgi"]
        .map(|file| workspace.join(file));
    let golden = std::fs::read_dir(workspace.join("tests/golden")).unwrap();
    let golden = golden.map(|case| case.unwrap().path().join("program.fgi"));
    let mut files: Vec<_> = files.into_iter().chain(golden.filter(|file| file.is_file())).collect();
    files.sort();
    let mut programs = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for graph in heads("program.fgi", &text, &NoFiles).graphs {
            let mut options = Options { graph: Some(graph.name.clone()), ..Options::default() };
            let mut checked = check("program.fgi", &text, &NoFiles, &options);
            if checked.graph.is_none() {
                // A parameter has a row for each step, or a choice is made on a size.
                let sizes =
                    [("T", 4), ("K", 3)].into_iter().filter(|(name, _)| graph.has_dim(name));
                options.dims.extend(sizes.map(|(name, size)| (name.to_string(), size)));
                checked = check("program.fgi", &text, &NoFiles, &options);
            }
            programs.push(checked);
        }
    }
    programs
}

fn program(text: &str) -> Checked {
    check("program.fgi", text, &NoFiles, &Options::default())
}

fn assert_reads(expr: &Expr) {
    // Paths of instances and nodes without a name.
    let mut letters: Vec<char> = expr_to_string(expr).chars().collect();
    for at in 1..letters.len() {
        if letters[at - 1] == '%' && letters[at].is_ascii_digit() {
            letters[at - 1] = 'n';
        }
        let word = letters[..at - 1].iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_');
        let is_path = word.last().is_some_and(|first| first.is_ascii_alphabetic());
        if letters[at - 1] == '.' && (is_path || letters[at].is_ascii_alphabetic()) {
            letters[at - 1] = '_';
        }
    }
    let text = format!("fn f() = {};", String::from_iter(letters));
    let (_, said) = parse(&text, FileId(0));
    assert!(said.is_empty(), "{text}: {said:?}");
}

#[test]
fn every_binding_is_explained_in_the_language() {
    let mut proofs = 0;
    for checked in programs() {
        let graph = checked.graph.unwrap();
        for binding in checked.places.bindings.iter().filter(|binding| binding.node.is_some()) {
            let one = explain(&graph, &checked.places, &binding.path).unwrap();
            let Explanation { written, normal, value, gradients, proof, .. } = &one;
            let parts = gradients.iter().map(|(_, part)| part).chain([written, normal, value]);
            for Written { lets, value } in parts {
                lets.iter().map(|(_, value)| value).chain([value]).for_each(assert_reads);
            }
            let shown = one.to_string();
            assert!(shown.lines().all(|line| line.len() < 120), "{}\n{shown}", one.path);
            // The forward pass has no trace of a surrogate.
            let forward: Vec<_> = value.lets.iter().map(|(_, e)| e).chain([&value.value]).collect();
            let forward: String = forward.into_iter().map(expr_to_string).collect();
            assert!(!forward.contains("sg(") && !forward.contains("bypass("), "{forward}");
            match proof {
                Proof::AsWritten => {}
                Proof::TooLong => panic!("{shown}"),
                Proof::Steps { names, steps } => {
                    proofs += 1;
                    assert!(!steps.is_empty() && steps.len() < 40, "{shown}");
                    names.iter().for_each(|(_, value)| assert_reads(value));
                    for step in steps {
                        [&step.before, &step.after, &step.whole].into_iter().for_each(assert_reads);
                    }
                }
            }
        }
    }
    assert!(proofs > 8, "{proofs}");
}

#[test]
fn a_spike() {
    let checked = program(
        "graph net(x: [T; B, N]) -> (loss) {
            param tau: [N] = normal(20, 5) in [1, inf];
            let u = exp(-1 / tau) * prev(u) + x - prev(z);
            let z = inject(u - 1, step(u - 1), exp(-(u - 1)^2));
            let loss = time_sum(sum(z));
        }",
    );
    let graph = checked.graph.unwrap();
    let shown = |path: &str| explain(&graph, &checked.places, path).unwrap().to_string();
    insta::assert_snapshot!(shown("z"));
    insta::assert_snapshot!(shown("u"));
}

/// What another binding holds is looked into where something of it cancels.
#[test]
fn terms_cancel_across_bindings() {
    let checked = program(
        "graph net(x: [N]) -> (y) {
            let g = tanh(x);
            let stopped = sg(tanh(x));
            let f = sg(step(x));
            let y = g - stopped + f;
        }",
    );
    let one = explain(&checked.graph.unwrap(), &checked.places, "y").unwrap();
    assert_eq!(expr_to_string(&one.value.value), "if x > 0 then 1 else 0");
    assert_eq!(expr_to_string(&one.normal.value), "bypass(if x > 0 then 1 else 0, g)");
    assert_eq!(one.gradients.len(), 1);
    assert!(matches!(one.proof, Proof::Steps { .. }));
}

#[test]
fn gradients_of_weights() {
    let checked = program(
        "layer dense[N](x: [B, K]) {
            param w: [K, N] = zeros();
            param b: [N] = zeros();
            let y = x @ w + b;
            y
        }
        graph net(x: [T; B, K]) -> (y) { let y = dense[4](x); }",
    );
    let graph = checked.graph.unwrap();
    let one = explain(&graph, &checked.places, "y.y").unwrap();
    let sent: Vec<_> = one
        .gradients
        .iter()
        .map(|(name, gradient)| format!("{name}: {}", expr_to_string(&gradient.value)))
        .collect();
    assert!(sent.iter().any(|text| text.starts_with("w: time_sum(")), "{sent:?}");
    assert_eq!(sent.len(), 3, "{sent:?}");
    let Err(error) = explain(&graph, &checked.places, "y.z") else { panic!() };
    assert_eq!(error.to_string(), "the graph has no binding `y.z`; did you mean `y.y`?");
}
