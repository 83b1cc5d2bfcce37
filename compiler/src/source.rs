//! Source files and places in them.

use std::fmt;
use std::sync::Arc;

/// A file of the program being compiled: an index into [`Sources`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// A range of bytes in a source file.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file that it is in.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

impl Span {
    /// The bytes `start..end` of a file.
    pub fn new(file: FileId, start: usize, end: usize) -> Span {
        Span { file, start: start as u32, end: end as u32 }
    }

    /// The smallest range that holds both; `other` lies in the same file.
    pub fn to(self, other: Span) -> Span {
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}..{}", self.file.0, self.start, self.end)
    }
}

/// One source text with the name under which it is shown.
#[derive(Clone, Debug)]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// All of it.
    pub text: Arc<str>,
    /// Where each line starts.
    lines: Arc<[u32]>,
}

/// All texts of a compilation: the program, the files it uses, the standard library.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// Adds a text; its number is what spans of it carry.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<Arc<str>>) -> FileId {
        let text: Arc<str> = text.into();
        let starts = text.match_indices('\n').map(|(at, _)| at as u32 + 1);
        let lines = std::iter::once(0).chain(starts).collect();
        self.files.push(Source { name: name.into(), text, lines });
        FileId(self.files.len() as u32 - 1)
    }

    /// All texts, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    /// The same texts under other names.
    pub fn renamed(&self, rename: impl Fn(&str) -> String) -> Sources {
        let rename = |source: &Source| Source { name: rename(&source.name), ..source.clone() };
        Sources { files: self.files.iter().map(rename).collect() }
    }

    /// The text of this number, if there is one.
    pub fn get(&self, file: FileId) -> Option<&Source> {
        self.files.get(file.0 as usize)
    }

    /// The text of a span, empty where the span lies outside of its file.
    pub fn text(&self, span: Span) -> &str {
        self.get(span.file)
            .and_then(|source| source.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// Line and column, both from 1, columns in characters.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let Some(source) = self.get(span.file) else { return (1, 1) };
        let mut at = (span.start as usize).min(source.text.len());
        while !source.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = source.lines.partition_point(|start| *start as usize <= at);
        let start = source.lines[line - 1] as usize;
        (line, source.text[start..at].chars().count() + 1)
    }
}

/// Finds the text of a module that a `use` names. The compiler itself reads no files.
pub trait Loader {
    /// The shown name and the text of `name.fgi` beside the program; `None` if there is no such file.
    fn load(&self, name: &str) -> Option<(String, String)>;
}

/// A loader without files: a program that uses the standard library only.
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _name: &str) -> Option<(String, String)> {
        None
    }
}
