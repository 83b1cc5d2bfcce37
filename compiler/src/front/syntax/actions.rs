//! What the grammar's rules do besides building the tree.

use super::ast::{BinaryOp, Body, Expr, ExprKind, Name, StatementKind};
use super::tokens::{Doc, Token};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use lalrpop_util::{ErrorRecovery, ParseError};
use std::collections::BTreeMap;
use std::ops::Range;

pub type Error<'t> = ParseError<usize, Token<'t>, ()>;

/// The state of the parser that is not the tree.
pub struct Context<'t> {
    file: FileId,
    /// The `///` lines not taken yet, by the start of the token after them.
    docs: BTreeMap<usize, Vec<Doc>>,
    /// The errors after which the parser went on.
    pub errors: Vec<Error<'t>>,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'t> Context<'t> {
    pub fn new(file: FileId, lines: Vec<Doc>) -> Context<'t> {
        let mut docs: BTreeMap<usize, Vec<Doc>> = BTreeMap::new();
        for line in lines {
            docs.entry(line.before).or_default().push(line);
        }
        Context { file, docs, errors: Vec::new(), diagnostics: Vec::new() }
    }

    pub fn span(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, start, end.max(start))
    }

    /// Takes the documentation of what starts at `start`.
    pub fn docs_before(&mut self, start: usize) -> Vec<String> {
        let lines = self.docs.remove(&start).unwrap_or_default();
        lines.into_iter().map(|line| line.text).collect()
    }

    /// Drops the documentation in a part of the text that did not parse.
    pub fn forget_docs(&mut self, range: Range<usize>) {
        self.docs.retain(|before, _| !range.contains(before));
    }

    pub fn report_misplaced_docs(&mut self) {
        for lines in std::mem::take(&mut self.docs).into_values() {
            let (Some(first), Some(last)) = (lines.first(), lines.last()) else { continue };
            let problem = Diagnostic::error("E006", "this doc comment documents nothing")
                .label(self.span(first.start, last.end), "here")
                .expected("an item, a formal argument, a `let`, a `param` or a `state` after it")
                .hint("an ordinary comment starts with `//`");
            self.diagnostics.push(problem);
        }
    }

    /// Notes an error that the parser got over; the part in error has no tree.
    pub fn recovered<T>(&mut self, error: ErrorRecovery<usize, Token<'t>, ()>) -> Option<T> {
        self.errors.push(error.error);
        None
    }

    pub fn error_expr(
        &mut self,
        error: ErrorRecovery<usize, Token<'t>, ()>,
        start: usize,
        end: usize,
    ) -> Expr {
        self.errors.push(error.error);
        Expr { kind: ExprKind::Error, span: self.span(start, end) }
    }

    pub fn binary(&self, op: BinaryOp, a: Expr, b: Expr, start: usize, end: usize) -> Expr {
        let kind = ExprKind::Binary(op, Box::new(a), Box::new(b));
        Expr { kind, span: self.span(start, end) }
    }

    pub fn number(&self, text: &str) -> ExprKind {
        // The lexer lets only decimal numbers through.
        let value = text.parse().unwrap_or(f64::NAN);
        ExprKind::Number { value, integer: text.bytes().all(|byte| byte.is_ascii_digit()) }
    }

    pub fn check_as(&mut self, name: &Name) {
        if name.text != "as" {
            let problem = unexpected(format!("`{}`", name.text))
                .label(name.span, "expected `,`, `;` or `as`")
                .expected("`,`, `;` or `as`");
            self.diagnostics.push(problem);
        }
    }

    pub fn check_elem(&mut self, name: Name) -> Name {
        if !matches!(name.text.as_str(), "f32" | "i32") {
            let problem = unexpected(format!("`{}`", name.text))
                .label(name.span, "not an element type")
                .expected("`f32`, `i32` or `[`")
                .hint("elements are `f32` or `i32`; without a name before the `[` they are `f32`");
            self.diagnostics.push(problem);
        }
        name
    }

    /// An expression where a statement should stand.
    pub fn expression_statement(&mut self, value: &Expr) -> StatementKind {
        if value.kind != ExprKind::Error {
            let problem = Diagnostic::error("E002", "an expression is not a statement")
                .label(value.span, "this value is not used")
                .expected("`let`, `param`, `state` or `next`")
                .hint(
                    "give it a name with `let name = …;`; a body's value comes last and has no `;`",
                );
            self.diagnostics.push(problem);
        }
        StatementKind::Error
    }

    pub fn no_outputs(&mut self, at: usize) -> Vec<Name> {
        let problem = Diagnostic::error("E002", "this graph has no outputs")
            .label(self.span(at, at), "expected `->` and the outputs")
            .expected("`->`")
            .hint("name the bindings that the graph returns: `-> (loss, logits)`");
        self.diagnostics.push(problem);
        Vec::new()
    }

    /// The body of a graph, whose value is its outputs.
    pub fn without_result(&mut self, mut body: Body) -> Body {
        match body.result.take() {
            Some(result) if result.kind != ExprKind::Error => {
                let problem = Diagnostic::error("E002", "a graph's body has no value of its own")
                    .label(result.span, "expected a statement")
                    .expected("`let`, `param`, `state`, `next` or `}`")
                    .hint("bind it with `let`, and name the binding among the outputs after `->`");
                self.diagnostics.push(problem);
            }
            _ => {}
        }
        body
    }

    /// The body of a function or a layer, which needs a value.
    pub fn with_result(&mut self, body: Body) -> Body {
        let is_whole = body.statements.iter().all(|one| one.kind != StatementKind::Error);
        if body.result.is_none() && is_whole && self.errors.is_empty() {
            let end = body.span.end as usize;
            let problem = Diagnostic::error("E002", "this body has no value")
                .label(self.span(end.saturating_sub(1), end), "expected an expression before this")
                .expected("an expression")
                .found("`}`")
                .hint("the last line of a body is its value, without `;`");
            self.diagnostics.push(problem);
        }
        body
    }
}

/// The error of the parser proper.
pub fn unexpected(found: impl Into<String>) -> Diagnostic {
    let found = found.into();
    Diagnostic::error("E002", format!("unexpected {found}")).found(found)
}
