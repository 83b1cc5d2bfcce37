//! Documents that know where their lines may break, and how to fit them into a width.

/// A text with choices of layout.
#[derive(Clone, Debug)]
pub enum Doc {
    Text(String),
    Concat(Vec<Doc>),
    /// The lines that start inside are four columns further to the right.
    Indent(Box<Doc>),
    /// All lines inside break, or none does.
    Group {
        doc: Box<Doc>,
        breaks: bool,
    },
    /// A space, or a new line where the group breaks.
    Line,
    /// Nothing, or a new line where the group breaks.
    SoftLine,
    /// A new line, and the groups around it break. No kind of line leaves an empty one behind.
    HardLine,
    /// An empty line.
    BlankLine,
    /// What stands only where the group breaks.
    IfBroken(&'static str),
    /// A comment for the end of the line; the groups around it break.
    LineSuffix(String),
}

use Doc::*;

const INDENT: usize = 4;

pub fn text(text: impl Into<String>) -> Doc {
    Text(text.into())
}

pub fn concat(docs: impl Into<Vec<Doc>>) -> Doc {
    Concat(docs.into())
}

pub fn indent(doc: Doc) -> Doc {
    Indent(Box::new(doc))
}

pub fn group(doc: Doc) -> Doc {
    Group { breaks: doc.must_break(), doc: Box::new(doc) }
}

impl Doc {
    fn must_break(&self) -> bool {
        match self {
            Text(text) => text.contains('\n'),
            Concat(docs) => docs.iter().any(Doc::must_break),
            Indent(doc) => doc.must_break(),
            Group { breaks, .. } => *breaks,
            HardLine | BlankLine | LineSuffix(_) => true,
            Line | SoftLine | IfBroken(_) => false,
        }
    }

    /// The text, in lines of at most `width` columns where that is possible.
    pub fn render(&self, width: usize) -> String {
        let mut writer = Writer { width, ..Writer::default() };
        // What is left to print, the next at the end: each with its indentation and whether its lines break.
        let mut rest = vec![(0, true, self)];
        while let Some((indent, breaks, doc)) = rest.pop() {
            match doc {
                Text(text) => writer.text(text),
                Concat(docs) => rest.extend(docs.iter().rev().map(|doc| (indent, breaks, doc))),
                Indent(doc) => rest.push((indent + INDENT, breaks, doc)),
                Group { doc, breaks } => {
                    let breaks = *breaks || !writer.fits(doc, &rest);
                    rest.push((indent, breaks, doc));
                }
                Line if !breaks => writer.text(" "),
                SoftLine if !breaks => {}
                Line | SoftLine | HardLine => writer.new_line(indent),
                BlankLine => writer.blank_line(indent),
                IfBroken(text) if breaks => writer.text(text),
                IfBroken(_) => {}
                LineSuffix(comment) => writer.suffix.push(comment.clone()),
            }
        }
        writer.flush();
        writer.out
    }
}

#[derive(Default)]
struct Writer {
    width: usize,
    out: String,
    /// The columns of this line that are taken.
    column: usize,
    /// Whether the line is empty but for its indentation, which is written with its first text.
    is_fresh: bool,
    suffix: Vec<String>,
}

impl Writer {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if self.is_fresh {
            self.out.extend(std::iter::repeat_n(' ', self.column));
            self.is_fresh = false;
        }
        self.out += text;
        match text.rsplit_once('\n') {
            Some((_, last)) => self.column = last.chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    fn new_line(&mut self, indent: usize) {
        self.flush();
        if !self.is_fresh && !self.out.is_empty() {
            self.out.truncate(self.out.trim_end_matches(' ').len());
            self.out.push('\n');
        }
        (self.is_fresh, self.column) = (true, indent);
    }

    fn blank_line(&mut self, indent: usize) {
        self.new_line(indent);
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Writes the comments that wait for the end of the line.
    fn flush(&mut self) {
        for comment in std::mem::take(&mut self.suffix) {
            if !self.is_fresh && !self.out.is_empty() {
                self.text(" ");
            }
            self.text(&comment);
        }
    }

    /// Whether `doc` fits on this line without a break, together with what follows it up to the next break.
    fn fits(&self, doc: &Doc, rest: &[(usize, bool, &Doc)]) -> bool {
        let mut left = self.width.saturating_sub(self.column);
        let mut docs = vec![(false, doc)];
        let mut after = rest.iter().rev();
        loop {
            let (breaks, doc) = match docs.pop() {
                Some(next) => next,
                None => match after.next() {
                    Some(&(_, breaks, doc)) => (breaks, doc),
                    None => return true,
                },
            };
            let used = match doc {
                Text(text) => text.chars().count(),
                Concat(parts) => {
                    docs.extend(parts.iter().rev().map(|part| (breaks, part)));
                    0
                }
                Indent(inner) => {
                    docs.push((breaks, inner));
                    0
                }
                Group { doc: inner, breaks: always } => {
                    docs.push((*always, inner));
                    0
                }
                Line | SoftLine if breaks => return true,
                Line => 1,
                HardLine | BlankLine => return true,
                IfBroken(text) if breaks => text.len(),
                SoftLine | IfBroken(_) | LineSuffix(_) => 0,
            };
            match left.checked_sub(used) {
                Some(less) => left = less,
                None => return false,
            }
        }
    }
}
