//! Damaged programs: the compiler answers with a graph or with errors, and never panics.

use fgi_compiler::front::check::{Options, check};
use fgi_compiler::source::NoFiles;
use fgi_tests::{config, programs};
use proptest::collection::vec;
use proptest::prelude::*;

/// One change of a program, as numbers that count modulo what there is to choose.
#[derive(Clone, Copy, Debug)]
struct Edit {
    kind: u8,
    at: u16,
    other: u16,
}

/// What an edit puts into a program.
const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ":",
    "=",
    "->",
    "@",
    "^",
    "-",
    "!",
    "&&",
    "==",
    "'",
    "\"",
    "\\",
    "\u{0}",
    "é",
    "∂",
    "0",
    "1e999",
    "1e-400",
    "99999999999999999999",
    ".5",
    "inf",
    "pi",
    "let",
    "param",
    "layer",
    "graph",
    "fn",
    "use",
    "const",
    "if",
    "then",
    "else",
    "in",
    "true",
    "prev",
    "sg",
    "last",
    "delay",
    "sum",
    "axis",
    "keepdims",
    "reshape",
    "[-1]",
    "concat",
    "i32",
    "B",
    "T",
    "N",
    "784 / T",
    "x",
    "/*",
    "*/",
    "//",
    "///",
    "////",
    "\n",
    "_",
    "loss::*",
    "alif[N](x)",
];

fn edit() -> impl Strategy<Value = Edit> {
    any::<(u8, u16, u16)>().prop_map(|(kind, at, other)| Edit { kind, at, other })
}

/// Words, numbers, single signs and white space.
fn pieces(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        _ if c.is_alphanumeric() || c == '_' => 0,
        _ if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut pieces = Vec::new();
    let mut start = 0;
    for ((at, a), (next, b)) in text.char_indices().zip(text.char_indices().skip(1)) {
        if class(a) != class(b) || class(a) == 2 {
            pieces.push(&text[start..next]);
            start = next;
        }
        debug_assert!(at < next);
    }
    pieces.push(&text[start..]);
    pieces
}

fn damage(program: &str, edits: &[Edit]) -> String {
    let mut pieces = pieces(program);
    for edit in edits {
        let at = usize::from(edit.at) % pieces.len();
        let other = usize::from(edit.other) % pieces.len();
        let new = PIECES[usize::from(edit.other) % PIECES.len()];
        match edit.kind % 8 {
            0 => drop(pieces.remove(at)),
            1 => pieces[at] = new,
            2 => pieces.insert(at, new),
            3 => pieces.swap(at, other),
            4 => pieces[at] = pieces[other],
            5 => drop(pieces.drain(at..(at + other % 12).min(pieces.len()))),
            6 => {
                let copy = pieces[at..(at + other % 40).min(pieces.len())].to_vec();
                pieces.splice(at..at, copy);
            }
            _ if edit.other % 8 == 0 => pieces.truncate(at),
            _ => pieces[at] = &pieces[at][..pieces[at].char_indices().last().map_or(0, |c| c.0)],
        }
        if pieces.is_empty() {
            pieces.push("");
        }
    }
    pieces.concat()
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn a_damaged_program_gives_a_graph_or_errors(
        program in 0..programs().len(),
        edits in vec(edit(), 1..5),
    ) {
        let text = damage(&programs()[program].text, &edits);
        let options = Options { dims: [("T".into(), 4)].into(), ..Options::default() };
        let run = || check("damaged.fgi", &text, &NoFiles, &options);
        let Ok(checked) = std::panic::catch_unwind(run) else {
            return Err(TestCaseError::fail(format!("a panic for\n{text}")));
        };
        let errors = checked.diagnostics.iter().any(|diagnostic| diagnostic.is_error());
        prop_assert_ne!(checked.graph.is_some(), errors, "{:?} for\n{}", checked.diagnostics, text);
        for diagnostic in &checked.diagnostics {
            for label in &diagnostic.labels {
                let source = checked.sources.get(label.span.file).map_or("", |source| &source.text);
                let range = label.span.start as usize..label.span.end as usize;
                prop_assert!(source.get(range).is_some(), "{:?} for\n{}", diagnostic, text);
            }
        }
    }
}
