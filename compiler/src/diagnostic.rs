//! What the compiler says about a program: a code, labelled places, what was expected and found, a hint.
//! Front ends render it; `codes.rs` has the page of each code.

use std::fmt::Write;

use crate::source::{Sources, Span};

/// How bad it is: an error stops the compilation after the stage, a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// There is no compiled program.
    Error,
    /// The program compiles, but may not do what was meant.
    Warning,
}

/// A place that takes part in an error. The first label of a diagnostic is its primary one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Label {
    /// The place.
    pub span: Span,
    /// What it has to do with the problem.
    pub text: String,
}

/// One error or warning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// An error or a warning.
    pub severity: Severity,
    /// `E0xx` for errors, `W0xx` for warnings; each has a page in the error index.
    pub code: &'static str,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The places that take part, the primary one first.
    pub labels: Vec<Label>,
    /// What was expected, where that can be said.
    pub expected: Option<String>,
    /// What was found instead.
    pub found: Option<String>,
    /// Further facts, each a sentence.
    pub notes: Vec<String>,
    /// The likely fix.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error without places yet; `code` has a page in the index.
    pub fn error(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            expected: None,
            found: None,
            notes: Vec::new(),
            hint: None,
        }
    }

    /// A warning without places yet; `code` has a page in the index.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message) }
    }

    /// Adds a place; the first one is the primary one.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Diagnostic {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what was expected.
    pub fn expected(mut self, expected: impl Into<String>) -> Diagnostic {
        self.expected = Some(expected.into());
        self
    }

    /// Says what was found instead.
    pub fn found(mut self, found: impl Into<String>) -> Diagnostic {
        self.found = Some(found.into());
        self
    }

    /// Adds a fact.
    pub fn note(mut self, note: impl Into<String>) -> Diagnostic {
        self.notes.push(note.into());
        self
    }

    /// Says what the likely fix is.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// Whether it keeps the program from being compiled.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// All that it says as plain text: the message and its code, then a line for each place and
    /// remark.
    pub fn to_text(&self, sources: &Sources) -> String {
        let mut text = format!("{} [{}]", self.message, self.code);
        for Label { span, text: label } in &self.labels {
            let (line, column) = sources.line_column(*span);
            let file = sources.get(span.file).map_or("", |source| &source.name);
            // Writing to a string cannot fail.
            let _ = write!(text, "\n{file}:{line}:{column}: {label}");
        }
        let remarks = [("expected", &self.expected), ("found", &self.found)].into_iter();
        let remarks = remarks.filter_map(|(what, said)| Some((what, said.as_ref()?)));
        let notes = self.notes.iter().map(|note| ("note:", note));
        let hint = self.hint.iter().map(|hint| ("help:", hint));
        for (what, said) in remarks.chain(notes).chain(hint) {
            let _ = write!(text, "\n{what} {said}");
        }
        text
    }
}
