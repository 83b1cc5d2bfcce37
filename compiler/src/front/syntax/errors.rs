//! What the parser's errors say to the programmer.

use super::actions::{Error, unexpected};
use super::recover::Chunk;
use super::tokens::{Spanned, Token};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use lalrpop_util::ParseError;
use std::collections::BTreeSet;
use std::ops::Range;

/// The diagnostic of an error in an item; `None` if its cause has been reported.
pub fn diagnostic(error: &Error<'_>, chunk: &Chunk<'_>, file: FileId) -> Option<Diagnostic> {
    let (found, expected) = match error {
        ParseError::UnrecognizedToken { token, expected } => (Some(*token), expected.as_slice()),
        ParseError::UnrecognizedEof { expected, .. } => (None, expected.as_slice()),
        // The lexer is not asked, and the grammar's actions do not fail.
        _ => return None,
    };
    let place = Place::new(found, chunk, expected);
    let (start, token, end) = match place.found {
        Some((_, Token::Error, _)) => return None,
        Some(found) => found,
        None => {
            let end = chunk.range().end;
            let problem = Diagnostic::error("E002", "this item is not complete")
                .found("the end of the item")
                .label(Span::new(file, end, end), format!("expected {}", friendly(expected)))
                .expected(friendly(expected));
            return Some(Diagnostic { hint: place.hint(), ..problem });
        }
    };
    let mut problem = unexpected(token.to_string());
    let mut label = "not expected here".to_string();
    if !expected.is_empty() {
        label = format!("expected {}", friendly(expected));
        problem = problem.expected(friendly(expected));
    }
    Some(Diagnostic { hint: place.hint(), ..problem.label(Span::new(file, start, end), label) })
}

/// Whether the parser had the item complete already.
pub fn is_past_the_end(error: &Error<'_>) -> bool {
    match error {
        ParseError::UnrecognizedToken { expected, .. } => expected.is_empty(),
        error => matches!(error, ParseError::ExtraToken { .. }),
    }
}

/// An error for each `;` that was put in and that the parser took.
pub fn missing_semicolons(
    chunk: &Chunk<'_>,
    errors: &[Error<'_>],
    file: FileId,
) -> Vec<Diagnostic> {
    let starts: BTreeSet<usize> = errors.iter().filter_map(start).collect();
    let has_error = |range: Range<usize>| starts.range(range).next().is_some();
    let mut statement = chunk.range().start;
    let mut last = (statement, statement);
    let mut missing = Vec::new();
    for &(start, token, end) in &chunk.tokens {
        if token.starts_binding() {
            statement = start;
        }
        if start < end {
            last = (start, end);
        } else if token == Token::Semicolon && !has_error(statement..end + 1) {
            missing.push(last);
        }
    }
    missing
        .into_iter()
        .map(|(start, end)| {
            Diagnostic::error("E002", "a `;` is missing")
                .label(Span::new(file, start, end), "expected `;` after this")
                .expected("`;`")
                .hint("every statement and every item without a body ends with `;`")
        })
        .collect()
}

fn start(error: &Error<'_>) -> Option<usize> {
    match error {
        ParseError::UnrecognizedToken { token, .. } => Some(token.0),
        _ => None,
    }
}

/// The terminals of the grammar as a reader calls them, the most telling first.
fn friendly(expected: &[String]) -> String {
    const OPERATORS: [&str; 15] =
        ["||", "&&", "<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/", "%", "@", "^"];
    let has = |name: &str| expected.iter().any(|one| one.trim_matches('"') == name);
    let is_expression = has("NUMBER");
    let operators = OPERATORS.iter().filter(|operator| has(operator)).count();
    let is_operator = !is_expression && operators > 1;
    let mut names: Vec<String> = Vec::new();
    if is_expression {
        names.push("an expression".to_string());
    } else if has("NAME") {
        names.push("a name".to_string());
    }
    for one in expected {
        let one = one.trim_matches('"');
        let starts_expression = ["NUMBER", "(", "[", "-", "!", "if", "true", "false"];
        let is_covered = matches!(one, "NAME" | "ERROR")
            || is_expression && starts_expression.contains(&one)
            || is_operator && (OPERATORS.contains(&one) || matches!(one, "(" | "[" | "::"));
        if !is_covered {
            names.push(format!("`{one}`"));
        }
    }
    if is_operator {
        names.push("an operator".to_string());
    }
    names.truncate(6);
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "something else".to_string(),
    }
}

/// An error with the tokens around it.
struct Place<'c, 't> {
    /// What the parser could not take; `None` at the end of the item.
    found: Option<Spanned<'t>>,
    before: &'c [Spanned<'t>],
    expected: &'c [String],
}

impl<'c, 't> Place<'c, 't> {
    fn new(found: Option<Spanned<'t>>, chunk: &'c Chunk<'t>, expected: &'c [String]) -> Self {
        let tokens = &chunk.tokens;
        let index = found.and_then(|found| {
            let first = tokens.partition_point(|token| token.0 < found.0);
            Some(first + tokens[first..].iter().position(|&token| token == found)?)
        });
        let before = &tokens[..index.unwrap_or(tokens.len())];
        // A token that was put in is none to the reader: the next one is.
        let found =
            index.and_then(|index| tokens[index..].iter().find(|token| token.0 < token.2).copied());
        Place { found, before, expected }
    }

    fn expects(&self, name: &str) -> bool {
        self.expected.iter().any(|one| one.trim_matches('"') == name)
    }

    /// The token `back` places before the error, 1 for the last.
    fn previous(&self, back: usize) -> Option<Token<'t>> {
        let index = self.before.len().checked_sub(back)?;
        self.before.get(index).map(|token| token.1)
    }

    fn is_in_param(&self) -> bool {
        let start = self.before.iter().rfind(|token| token.1.starts_binding());
        start.is_some_and(|token| token.1 == Token::Param)
    }

    /// The likely fix.
    fn hint(&self) -> Option<String> {
        let found = self.found.map(|found| found.1);
        let previous = self.previous(1);
        let is_statement_start = |back| {
            matches!(
                self.previous(back),
                Some(Token::Semicolon | Token::OpenBrace | Token::CloseBrace)
            )
        };
        let hint = match (previous, found?) {
            (_, Token::Semicolon | Token::In) if self.expects("=") && self.is_in_param() => {
                "every parameter has an initialiser: `param w: [K, N] = xavier_uniform();`"
            }
            (_, Token::Name("and")) if self.expects("&&") => "the conjunction is written `a && b`",
            (_, Token::Name("or")) if self.expects("||") => "the disjunction is written `a || b`",
            (Some(Token::Name("not")), _) => "the negation is written `!(a < b)`",
            (Some(Token::Name("lambda")), _) => {
                "there are no anonymous functions: write a `fn` and call it"
            }
            (Some(Token::Name("return")), _) => {
                "the last line of a body is its value: leave `return` and the `;` out"
            }
            (Some(Token::Name("def" | "class")), _) | (_, Token::Name("def" | "class")) => {
                "a function is `fn name(a) = expr;`, at the top of the file"
            }
            (Some(Token::Name("for" | "while" | "loop")), _) => {
                "there are no loops: an equation holds at every step, and `prev(x)` is the step before"
            }
            (Some(Token::Name("mut" | "var")), _) | (Some(Token::Let), Token::Name("mut")) => {
                "a binding is `let name = expr;` and never changes"
            }
            (_, Token::Name("elif")) => "write `else if`",
            (_, Token::OpenBrace | Token::Colon) if self.expects("then") => {
                "a choice is written `if c then a else b`"
            }
            (_, _) if self.expects("else") => "every `if` has its `else`: `if c then a else b`",
            (_, Token::Assign) if is_statement_start(2) => "a binding starts with `let`",
            (_, Token::Assign) if self.expects("==") || self.expects("&&") => {
                "equality is written `==`"
            }
            (Some(Token::Colon), Token::Assign) => "a binding is written with `=`, without `:`",
            (_, token) if token.is_comparison() && self.expects("&&") => {
                "comparisons do not chain: write `a < b && b < c`"
            }
            (_, Token::If) if self.expects("NUMBER") => {
                "put the `if` in parentheses: it binds looser than every operator"
            }
            (_, Token::Not) if self.expects("NUMBER") => {
                "put the negation in parentheses: `!` binds looser than comparisons and arithmetic"
            }
            (Some(Token::CloseBracket), _) if self.expects("(") => {
                "there is no indexing: see `slice` and `gather`; a layer's call is `layer[N](x)`"
            }
            (Some(Token::Comma), Token::Comma) => "remove one of the commas",
            (_, token) if token.starts_item() && self.expects("let") => {
                "items stand at the top of the file, not inside one another"
            }
            (Some(Token::Use), _) | (Some(Token::Name(_)), Token::Semicolon)
                if self.expects("::") =>
            {
                "names are imported by `use path::name;` or `use path::*;`"
            }
            (_, token) if token.is_keyword() && !token.starts_binding() && self.expects("NAME") => {
                return Some(format!("{token} is a keyword; choose another name"));
            }
            (_, _) if self.expects(";") && !self.expects("::") => "is a `;` missing before this?",
            (_, Token::Name(_) | Token::Number(_)) if self.expects(";") => {
                "is a `;` or an operator missing before this?"
            }
            (_, Token::Name(_) | Token::Number(_) | Token::OpenParen) if self.expects(",") => {
                "is a `,` or an operator missing before this?"
            }
            _ => return None,
        };
        Some(hint.to_string())
    }
}
