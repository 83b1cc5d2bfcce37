//! Makes a token sequence easy to parse: it is split into items, every delimiter is closed, and a missing `;`
//! before a `let` is put in, so that one error hides no other.

use super::tokens::{Spanned, Token};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use std::ops::Range;

/// How deep brackets and `if` may nest.
const MAX_NESTING: usize = 200;
/// How many operators may follow one another without a comma, summed over the brackets around them: the tree of
/// `a + b + …` is as deep as it has operators, and every stage recurses over it.
const MAX_OPERATORS: usize = 500;

/// The tokens of one item, or some that belong to none.
#[derive(Default)]
pub struct Chunk<'t> {
    pub tokens: Vec<Spanned<'t>>,
    /// Where errors follow from an unclosed delimiter: from there to the place where it was closed.
    broken: Vec<Range<usize>>,
}

impl Chunk<'_> {
    /// All of the text from the first token to the last.
    pub fn range(&self) -> Range<usize> {
        let start = self.tokens.first().map_or(0, |token| token.0);
        start..self.tokens.last().map_or(start, |token| token.2)
    }

    pub fn is_broken_at(&self, at: usize) -> bool {
        self.broken.iter().any(|range| range.start <= at && at <= range.end)
    }
}

/// Splits the tokens of a file into items.
pub fn split<'t>(
    text: &'t str,
    file: FileId,
    tokens: &[Spanned<'t>],
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Chunk<'t>> {
    let mut splitter = Splitter {
        text,
        file,
        diagnostics,
        done: Vec::new(),
        chunk: Chunk::default(),
        chunk_column: 0,
        has_value: false,
        open: Vec::new(),
    };
    let (mut line, mut end) = (0, 0);
    for (index, &token) in tokens.iter().enumerate() {
        if let Some(newline) = text[end..token.0].rfind('\n') {
            line = end + newline + 1;
        }
        end = token.2;
        splitter.take(token, tokens.get(index + 1).map(|next| next.1), line);
    }
    splitter.close_from(0, text.len());
    splitter.finish_chunk();
    splitter.done
}

/// The error of a chunk that does not begin as an item does.
pub fn not_an_item(chunk: &Chunk<'_>, file: FileId) -> Option<Diagnostic> {
    let &(start, token, end) = chunk.tokens.first()?;
    if token.starts_item() {
        return None;
    }
    let hint = match token {
        Token::Name("def" | "func" | "function" | "fun") => "a function is `fn name(a) = expr;`",
        Token::Name("class" | "struct" | "impl" | "type" | "module" | "mod") => {
            "equations with parameters and memory of their own are a `layer`"
        }
        Token::Name("import" | "from" | "include") => "names are imported by `use path::name;`",
        Token::Name("pub") => "every item is visible from outside: leave `pub` out",
        Token::Let | Token::Name("static" | "var") => {
            "outside of bodies, a number is `const NAME = expr;`"
        }
        Token::Param => "a parameter stands in the body of a `layer` or `graph`",
        Token::Semicolon => "one `;` is enough, and none follows a `}`",
        _ => return Some(expected_item(token, Span::new(file, start, end))),
    };
    Some(expected_item(token, Span::new(file, start, end)).hint(hint))
}

fn expected_item(token: Token<'_>, span: Span) -> Diagnostic {
    Diagnostic::error("E002", format!("unexpected {token}"))
        .label(span, "expected an item")
        .expected("`use`, `const`, `fn`, `layer` or `graph`")
        .found(token.to_string())
}

/// The error of a chunk whose tree would be too deep.
pub fn too_deep(chunk: &Chunk<'_>, file: FileId) -> Option<Diagnostic> {
    let mut around: Vec<(usize, usize)> = Vec::new();
    // Of the innermost bracket so far, then with those around it.
    let (mut ifs, mut operators) = (0, 0);
    let (mut all_ifs, mut all_operators) = (0, 0);
    for &(start, token, end) in &chunk.tokens {
        match token {
            Token::OpenParen | Token::OpenBracket | Token::OpenBrace => {
                around.push((ifs, operators));
                (ifs, operators) = (0, 0);
            }
            Token::CloseParen | Token::CloseBracket | Token::CloseBrace => {
                (all_ifs, all_operators) = (all_ifs - ifs, all_operators - operators);
                (ifs, operators) = around.pop().unwrap_or_default();
            }
            Token::Comma | Token::Semicolon => {
                (all_ifs, all_operators) = (all_ifs - ifs, all_operators - operators);
                (ifs, operators) = (0, 0);
            }
            Token::If => (ifs, all_ifs) = (ifs + 1, all_ifs + 1),
            _ if token.is_operator() => {
                (operators, all_operators) = (operators + 1, all_operators + 1);
            }
            _ => {}
        }
        let place = Span::new(file, start, end);
        if around.len() + all_ifs > MAX_NESTING {
            let problem = Diagnostic::error("E004", "this is nested too deeply")
                .label(place, format!("level {}", MAX_NESTING + 1))
                .expected(format!("at most {MAX_NESTING} levels of brackets and `if`"));
            return Some(problem.hint("give the inner expressions names with `let`"));
        }
        if all_operators > MAX_OPERATORS {
            let problem = Diagnostic::error("E004", "this expression is too long")
                .label(place, format!("operator {}", MAX_OPERATORS + 1))
                .expected(format!("at most {MAX_OPERATORS} operators in one expression"));
            return Some(problem.hint("give parts of it names with `let`"));
        }
    }
    None
}

/// What the tokens since the last `;` of a `{…}` are.
#[derive(Clone, Copy, PartialEq)]
enum Progress {
    Nothing,
    Binding,
    Other,
}

/// A delimiter that waits for its partner.
struct Open {
    token: Token<'static>,
    start: usize,
    progress: Progress,
}

struct Splitter<'t, 'd> {
    text: &'t str,
    file: FileId,
    diagnostics: &'d mut Vec<Diagnostic>,
    done: Vec<Chunk<'t>>,
    chunk: Chunk<'t>,
    /// How far the item is indented.
    chunk_column: usize,
    /// Whether the item is of the form `… = expr;`.
    has_value: bool,
    open: Vec<Open>,
}

impl<'t> Splitter<'t, '_> {
    /// Takes the next token, on a line that starts at `line`.
    fn take(&mut self, token: Spanned<'t>, next: Option<Token<'t>>, line: usize) {
        let (start, kind, _) = token;
        let column = start - line;
        match kind {
            _ if kind.starts_item() => {
                // An item further to the right than the one around it is a nested one, an error for the parser.
                let is_new = column <= self.chunk_column && line > self.chunk.range().start;
                if is_new {
                    self.close_from(0, start);
                }
                // Where a name must stand, and is followed as one, it is an item's name, for the parser to refuse.
                let is_name = matches!(self.chunk.tokens.as_slice(), [(_, first, _)] if first.starts_item())
                    && matches!(next, Some(Token::OpenParen | Token::OpenBracket | Token::Assign));
                if self.open.is_empty() && !is_name {
                    self.finish_chunk();
                    self.chunk_column = column;
                }
                self.push(token);
            }
            Token::OpenParen | Token::OpenBracket => self.push_open(token),
            Token::OpenBrace => {
                self.close_to_brace(start);
                self.push_open(token);
            }
            Token::CloseParen | Token::CloseBracket | Token::CloseBrace => self.close(token, next),
            Token::Semicolon => {
                while self.top() == Some(Token::OpenParen) {
                    self.close_from(self.open.len() - 1, start);
                }
                self.push(token);
            }
            _ if kind.starts_binding() => {
                if self.is_open(Token::OpenBrace) {
                    self.close_to_brace(start);
                }
                if self.open.last().is_some_and(|open| {
                    open.token == Token::OpenBrace && open.progress != Progress::Nothing
                }) {
                    self.insert(Token::Semicolon);
                }
                self.push(token);
            }
            _ => self.push(token),
        }
        let is_item = self.chunk.tokens.first().is_some_and(|first| first.1.starts_item());
        let is_last = match self.chunk.tokens.last() {
            Some((_, Token::Semicolon, _)) => true,
            Some((_, Token::CloseBrace, _)) => !self.is_use() && !self.has_value,
            _ => false,
        };
        if is_item && is_last && self.open.is_empty() {
            self.finish_chunk();
        }
    }

    fn push(&mut self, token: Spanned<'t>) {
        match self.open.last_mut() {
            None if token.1 == Token::Assign => self.has_value = true,
            Some(open) if token.1 == Token::Semicolon => open.progress = Progress::Nothing,
            Some(open) if token.1.starts_binding() => open.progress = Progress::Binding,
            Some(open) if open.progress == Progress::Nothing => open.progress = Progress::Other,
            _ => {}
        }
        self.chunk.tokens.push(token);
    }

    fn push_open(&mut self, token: Spanned<'t>) {
        self.push(token);
        let kind = match token.1 {
            Token::OpenParen => Token::OpenParen,
            Token::OpenBracket => Token::OpenBracket,
            _ => Token::OpenBrace,
        };
        self.open.push(Open { token: kind, start: token.0, progress: Progress::Nothing });
    }

    fn close(&mut self, token: Spanned<'t>, next: Option<Token<'t>>) {
        let (start, kind, end) = token;
        let partner = |open: &Open| open.token.closer() == Some(kind);
        if let Some(index) = self.nearest(partner) {
            self.close_from(index + 1, start);
            if self.open.pop().is_some_and(|open| {
                open.token == Token::OpenBrace && open.progress == Progress::Binding
            }) {
                self.insert(Token::Semicolon);
            }
            self.chunk.tokens.push(token);
            return;
        }
        // No partner: it stands in place of the right one, or is one too many.
        let place = Span::new(self.file, start, end);
        if let Some(open) = self.open.last()
            && let Some(expected) = open.token.closer()
            && ![expected, kind].contains(&Token::CloseBrace)
            && next != Some(expected)
        {
            let opened = Span::new(self.file, open.start, open.start + 1);
            let problem =
                Diagnostic::error("E003", format!("{kind} does not close {}", open.token))
                    .label(place, format!("expected {expected}"))
                    .label(opened, "opened here")
                    .expected(expected.to_string())
                    .found(kind.to_string());
            self.diagnostics.push(problem);
            self.open.pop();
            self.chunk.tokens.push((start, expected, end));
        } else {
            let problem = Diagnostic::error("E003", format!("{kind} closes nothing"))
                .label(place, "nothing is open here that it could close")
                .found(kind.to_string())
                .hint("remove it, or add the delimiter that it should close");
            self.diagnostics.push(problem);
        }
    }

    /// Closes the parentheses and brackets that stand between here and the innermost `{`.
    fn close_to_brace(&mut self, at: usize) {
        let brace = self.open.iter().rposition(|open| open.token == Token::OpenBrace);
        self.close_from(brace.map_or(0, |brace| brace + 1), at);
    }

    /// Closes what is open from the `first` delimiter on, before the token at `at`, and reports it as one error.
    fn close_from(&mut self, first: usize, at: usize) {
        if first >= self.open.len() {
            return;
        }
        let place = match self.text[at..].chars().next() {
            Some(char) => Span::new(self.file, at, at + char.len_utf8()),
            None => Span::new(self.file, at, at),
        };
        let unclosed = self.open.split_off(first);
        let Some(innermost) = unclosed.last() else { return };
        let closer = innermost.token.closer().unwrap_or(Token::Error);
        let opened = |open: &Open| Span::new(self.file, open.start, open.start + 1);
        let mut problem = Diagnostic::error("E003", format!("{} is never closed", innermost.token))
            .label(opened(innermost), "opened here")
            .label(place, format!("expected {closer} before this"))
            .expected(closer.to_string());
        for open in unclosed.iter().rev().skip(1).take(3) {
            problem = problem.label(opened(open), "and this is open as well");
        }
        self.diagnostics.push(problem);
        // A body without its `}` is otherwise as good as any; what stands in an open parenthesis is not.
        let inner = unclosed.iter().find(|open| open.token != Token::OpenBrace);
        let last = self.chunk.range().end.saturating_sub(1);
        self.chunk.broken.push(inner.map_or(last, |open| open.start)..at);
        for open in unclosed.iter().rev() {
            if open.progress == Progress::Binding {
                self.insert(Token::Semicolon);
            }
            self.insert(open.token.closer().unwrap_or(Token::Error));
        }
    }

    /// Puts a token without width after the last one.
    fn insert(&mut self, token: Token<'static>) {
        let at = self.chunk.range().end;
        self.chunk.tokens.push((at, token, at));
        if token == Token::Semicolon
            && let Some(open) = self.open.last_mut()
        {
            open.progress = Progress::Nothing;
        }
    }

    fn finish_chunk(&mut self) {
        let ends = self.chunk.tokens.last().is_none_or(|last| last.1 == Token::Semicolon);
        if !ends && (self.is_use() || self.has_value) {
            self.insert(Token::Semicolon);
        }
        self.has_value = false;
        let chunk = std::mem::take(&mut self.chunk);
        if !chunk.tokens.is_empty() {
            self.done.push(chunk);
        }
    }

    fn is_use(&self) -> bool {
        self.chunk.tokens.first().is_some_and(|first| first.1 == Token::Use)
    }

    fn top(&self) -> Option<Token<'static>> {
        self.open.last().map(|open| open.token)
    }

    fn is_open(&self, token: Token<'static>) -> bool {
        self.nearest(|open| open.token == token).is_some()
    }

    /// The innermost open delimiter of a kind. Deeper ones do not matter: the item is refused for its depth.
    fn nearest(&self, is_wanted: impl Fn(&Open) -> bool) -> Option<usize> {
        let (depth, reach) = (self.open.len(), MAX_NESTING + 1);
        self.open.iter().rev().take(reach).position(is_wanted).map(|up| depth - 1 - up)
    }
}
