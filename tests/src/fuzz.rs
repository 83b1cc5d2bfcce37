//! Inputs from anywhere: what reads them answers with a value or an error, and never panics.
//!
//! [`TARGETS`] are entry points that take any bytes. Three things call them: the tests of the corpus
//! (`tests/fuzz/corpus/TARGET`), a loop that damages the corpus ([`search`]; two minutes of it are a
//! test, hours by `cargo run --release -p fgi-tests --example fuzz -- SECONDS`), and `cargo fuzz run
//! TARGET` in `tests`, where there is a nightly toolchain.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use fgi::checkpoint::Checkpoint;
use fgi::{data, npz};
use fgi_compiler::artifact::{Artifact, BuildOptions, MANIFEST};
use fgi_compiler::front::check::{Options, check};
use fgi_compiler::front::syntax::{format, tree};
use fgi_compiler::source::{FileId, NoFiles};

use crate::{compiled, options, programs, random, workspace};

/// Something that reads what it is given.
pub struct Target {
    pub name: &'static str,
    /// Panics where the input is not answered as it should be.
    pub run: fn(&[u8]),
    /// Damage is done to words, not to bytes.
    is_text: bool,
}

pub const TARGETS: [Target; 6] = [
    Target { name: "syntax", run: syntax, is_text: true },
    Target { name: "checker", run: checker, is_text: true },
    Target { name: "manifest", run: manifest, is_text: true },
    Target { name: "npz", run: arrays, is_text: false },
    Target { name: "safetensors", run: checkpoint, is_text: false },
    Target { name: "idx", run: images, is_text: false },
];

/// Lexer, parser and formatter: what is formatted parses, and is formatted the same again.
pub fn syntax(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if tree(&text, FileId(0)).is_err() {
        return;
    }
    if let Ok(formatted) = format(&text, FileId(0)) {
        let again = format(&formatted, FileId(0)).expect("what was formatted does not parse");
        assert_eq!(again, formatted, "what was formatted changes");
    }
}

/// The checker gives a graph or errors, and their places lie in their files.
pub fn checker(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let options = Options { dims: [("T".into(), 4)].into(), ..Options::default() };
    let checked = check("damaged.fgi", &text, &NoFiles, &options);
    let errors = checked.diagnostics.iter().any(|diagnostic| diagnostic.is_error());
    assert_ne!(checked.graph.is_some(), errors, "{:?}", checked.diagnostics);
    for label in checked.diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        let source = checked.sources.get(label.span.file).map_or("", |source| &source.text);
        let range = label.span.start as usize..label.span.end as usize;
        assert!(source.get(range).is_some(), "{:?}", checked.diagnostics);
    }
}

/// A manifest beside the files of an artifact: what is read can be made ready to run.
pub fn manifest(input: &[u8]) {
    let load = |name: &str| match name {
        MANIFEST => Ok(input.to_vec()),
        name => artifact().file(name).map(<[u8]>::to_vec).ok_or(io::ErrorKind::NotFound.into()),
    };
    if let Ok(read) = Artifact::read(&mut { load }) {
        read.shaders();
    }
}

/// An archive of arrays, and one array.
pub fn arrays(input: &[u8]) {
    let _ = npz::parse(input);
    let _ = npz::parse_npy(input);
}

/// A checkpoint.
pub fn checkpoint(input: &[u8]) {
    let _ = Checkpoint::from_bytes(input);
}

/// Images and labels as MNIST has them, zipped or not.
pub fn images(input: &[u8]) {
    let _ = data::parse_idx(input, 1);
    let _ = data::parse_idx(input, 3);
}

/// A small artifact.
fn artifact() -> &'static Artifact {
    static ARTIFACT: OnceLock<Artifact> = OnceLock::new();
    ARTIFACT.get_or_init(|| {
        let text = "graph g(x: [T; B, 2]) -> loss {
            param w: [2, 3] = kaiming_uniform();
            let h = 0.9 * prev(h) + x @ w;
            let loss = sum(last(h)^2);
        }";
        Artifact::build(&compiled(text, &options(None, &[])), &BuildOptions::default()).unwrap()
    })
}

/// Well-formed and once harmful inputs of a target: its files, and what there is of its kind elsewhere.
pub fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(workspace().join("tests/fuzz/corpus").join(target.name));
    let paths = files.into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.collect();
    paths.sort();
    let mut inputs: Vec<_> = paths.iter().map(|path| std::fs::read(path).unwrap()).collect();
    match target.name {
        "syntax" | "checker" => inputs.extend(programs().into_iter().map(|p| p.text.into_bytes())),
        "manifest" => inputs.extend(artifact().files().unwrap().remove(MANIFEST)),
        _ => {}
    }
    assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    inputs
}

/// Runs a target; a panic is an error with its message.
pub fn run(target: &Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let input = String::from_utf8_lossy(input);
        format!("{} panics: {}\nfor\n{input}", target.name, message.unwrap_or_default())
    })
}

/// Damages the corpus for so long, and gives how many inputs were tried. The seed decides which.
pub fn search(target: &Target, time: Duration, seed: u64) -> Result<u64, String> {
    let (corpus, start) = (corpus(target), Instant::now());
    let mut tried = 0;
    while start.elapsed() < time {
        let mut draw = Draw(seed.wrapping_add(tried << 8));
        let input = &corpus[draw.below(corpus.len())];
        let edits: Vec<Edit> = (0..1 + draw.below(4)).map(|_| draw.edit()).collect();
        let damaged = match target.is_text {
            true => damage(&String::from_utf8_lossy(input), &edits).into_bytes(),
            false => damage_bytes(input, &edits),
        };
        run(target, &damaged)?;
        tried += 1;
    }
    Ok(tried)
}

/// Random numbers of one input.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        random(self.0)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn edit(&mut self) -> Edit {
        Edit { kind: self.next() as u8, at: self.next() as u16, other: self.next() as u16 }
    }
}

/// One change of an input, as numbers that count modulo what there is to choose.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    pub kind: u8,
    pub at: u16,
    pub other: u16,
}

/// What an edit puts into a program or a manifest.
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
    "%",
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
    "null",
    "-1",
    "4294967296",
    "9223372036854775807*B",
    "{}",
    "[]",
    "\"",
];

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

/// A text with its words changed.
pub fn damage(program: &str, edits: &[Edit]) -> String {
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

/// Bytes with some of them changed, among them sizes and lengths.
fn damage_bytes(input: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for edit in edits {
        let at = usize::from(edit.at) % bytes.len().max(1);
        let other = usize::from(edit.other) % bytes.len().max(1);
        let number = [0, 1, 0x7f, 0x80, 0xff][usize::from(edit.other) % 5];
        let whole = bytes.len();
        let end = |length: usize| (at + length).min(whole);
        match edit.kind % 8 {
            0 => drop(bytes.drain(at..end(1))),
            1 => bytes.splice(at..end(1), [edit.other as u8]).for_each(drop),
            2 => bytes.splice(at..at, [number; 4]).for_each(drop),
            3 => bytes.splice(at..end(4), [number; 4]).for_each(drop),
            4 => bytes.splice(at..end(8), [number; 8]).for_each(drop),
            5 => drop(bytes.drain(at..end(other % 64))),
            6 => {
                let copy = bytes[at..end(other % 64)].to_vec();
                bytes.splice(at..at, copy).for_each(drop);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}
