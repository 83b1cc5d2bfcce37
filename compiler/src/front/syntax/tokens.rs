//! Text → tokens, comments and what is wrong with either. The lexer never stops: what is no token is reported
//! and becomes the token that was most likely meant, or [`Token::Error`].

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use logos::Logos;
use std::fmt;

/// A token between its first byte and the byte after its last. One without width was put in by
/// [`super::recover`].
pub type Spanned<'t> = (usize, Token<'t>, usize);

/// A `//` or `/* */` comment, with its slashes.
#[derive(Clone, Copy, Debug)]
pub struct Comment<'t> {
    pub start: usize,
    pub end: usize,
    pub text: &'t str,
}

/// A `///` line, without its slashes.
#[derive(Clone, Debug)]
pub struct Doc {
    pub start: usize,
    pub end: usize,
    pub text: String,
    /// Where the token after it starts; the length of the text if there is none.
    pub before: usize,
}

/// What [`lex`] finds in a text.
#[derive(Debug, Default)]
pub struct Lexed<'t> {
    pub tokens: Vec<Spanned<'t>>,
    pub comments: Vec<Comment<'t>>,
    pub docs: Vec<Doc>,
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq)]
#[logos(skip r"[ \t\r\n\x0c\u{feff}]+")]
pub enum Token<'t> {
    #[token("use")]
    Use,
    #[token("const")]
    Const,
    #[token("fn")]
    Fn,
    #[token("layer")]
    Layer,
    #[token("graph")]
    Graph,
    #[token("let")]
    Let,
    #[token("param")]
    Param,
    #[token("if")]
    If,
    #[token("then")]
    Then,
    #[token("else")]
    Else,
    #[token("true")]
    True,
    #[token("false")]
    False,
    #[token("in")]
    In,
    /// `state` where a statement starts; elsewhere it is a name. So is `next`.
    State,
    Next,
    /// `fixed` behind an initialiser; elsewhere it is a name.
    Fixed,
    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(":")]
    Colon,
    #[token("::")]
    ColonColon,
    #[token("..")]
    DotDot,
    #[token("->")]
    Arrow,
    #[token("=")]
    Assign,
    #[token("||")]
    Or,
    #[token("&&")]
    And,
    #[token("!")]
    Not,
    #[token("<")]
    Lt,
    #[token("<=")]
    Le,
    #[token(">")]
    Gt,
    #[token(">=")]
    Ge,
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("@")]
    At,
    #[token("^")]
    Caret,
    #[regex("[A-Za-z_][A-Za-z0-9_]*", |lexer| lexer.slice(), priority = 3)]
    Name(&'t str),
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", |lexer| lexer.slice(), priority = 6)]
    Number(&'t str),

    // The rest never reaches the parser.
    #[regex(r"//[^\n]*", |lexer| lexer.slice(), allow_greedy = true)]
    LineComment(&'t str),
    #[token("/*", block_comment)]
    BlockComment(Closed),
    #[regex(r"\.?[0-9]([eE][+-]|[0-9A-Za-z_.])*", priority = 3)]
    BadNumber,
    #[regex(r"[0-9A-Za-z_]*[\u{80}-\u{fefe}\u{ff00}-\u{10ffff}][0-9A-Za-z_\u{80}-\u{fefe}\u{ff00}-\u{10ffff}]*", priority = 1)]
    BadWord,
    #[regex(r#""[^"\n]*"?"#)]
    Quoted,
    #[token("**")]
    StarStar,
    #[token("&")]
    Ampersand,
    #[token("|")]
    Bar,
    #[regex(r"#[^\n]*", allow_greedy = true)]
    Hash,

    /// What the lexer could not read and has reported.
    Error,
}

/// Whether a block comment has its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(bool);

/// Splits a text into tokens. Its length must fit a [`Span`].
pub fn lex(text: &str, file: FileId) -> Lexed<'_> {
    let mut lexed = Lexed::default();
    // `use a::state as b` is no statement.
    let mut in_use = false;
    for (token, range) in Token::lexer(text).spanned() {
        let token = token.unwrap_or(Token::Error);
        let (start, end) = (range.start, range.end);
        let slice = &text[range];
        match token {
            Token::LineComment(_) if slice.starts_with("///") && !slice.starts_with("////") => {
                let line = slice[3..].trim_end();
                let line = line.strip_prefix(' ').unwrap_or(line).to_string();
                lexed.docs.push(Doc { start, end, text: line, before: text.len() });
            }
            Token::LineComment(_) | Token::BlockComment(Closed(true)) => {
                lexed.comments.push(Comment { start, end, text: slice.trim_end() });
            }
            _ => {
                let (token, problem) = meant(token, slice);
                if let Some(problem) = problem {
                    let label = if token.is_some() { "here" } else { "left out" };
                    let place = Span::new(file, start, start + shown_length(slice));
                    lexed.diagnostics.push(problem.label(place, label));
                }
                let Some(token) = token else { continue };
                for doc in lexed.docs.iter_mut().rev().take_while(|doc| doc.before == text.len()) {
                    doc.before = start;
                }
                if token.starts_item() {
                    in_use = token == Token::Use;
                }
                let is_name = matches!(token, Token::Name(_));
                let may_start = !in_use
                    && match lexed.tokens.as_slice() {
                        [.., (_, before, _), _] => before.ends_statement(),
                        _ => true,
                    };
                if matches!(token, Token::Semicolon | Token::In)
                    && let [.., (_, before, _), (_, last @ Token::Name("fixed"), _)] =
                        lexed.tokens.as_mut_slice()
                    && !in_use
                    && before.ends_expression()
                {
                    *last = Token::Fixed;
                }
                match lexed.tokens.last_mut() {
                    // The module `layer` of the standard library.
                    Some((_, last @ Token::Layer, _)) if token == Token::ColonColon => {
                        *last = Token::Name("layer");
                        lexed.tokens.push((start, token, end));
                    }
                    // Two names in a row begin a statement: `state m`, `next m`.
                    Some((_, last @ Token::Name("state" | "next"), _)) if is_name && may_start => {
                        *last =
                            if *last == Token::Name("state") { Token::State } else { Token::Next };
                        lexed.tokens.push((start, token, end));
                    }
                    // A run of characters that are no tokens is one error.
                    Some((_, Token::Error, last)) if token == Token::Error && *last == start => {
                        *last = end;
                        lexed.diagnostics.pop();
                    }
                    _ => lexed.tokens.push((start, token, end)),
                }
            }
        }
    }
    lexed
}

/// Goes on in place of a number that is none: a dimension can be 1, so that nothing more is said of it.
const STANDIN: Token<'static> = Token::Number("1");

/// The token to go on with, if any, and what is to be said about the text that stands there.
fn meant<'t>(token: Token<'t>, slice: &'t str) -> (Option<Token<'t>>, Option<Diagnostic>) {
    let problem = |code, message: String| Diagnostic::error(code, message).found(quoted(slice));
    match token {
        Token::Number(text) if text.parse::<f64>().is_ok_and(f64::is_infinite) => {
            let problem = problem("E005", format!("the number `{}` is too large", shorten(text)));
            (Some(STANDIN), Some(problem.hint("for infinity write `inf`")))
        }
        Token::BadNumber => {
            let problem = problem("E005", format!("`{}` is not a number", shorten(slice)))
                .expected("a number such as `1`, `0.5` or `1e-3`");
            let hint = match slice.strip_suffix('.') {
                Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                    Some(format!("write `{digits}.0` or `{digits}`"))
                }
                _ if slice.starts_with('.') => Some(format!("write `0{slice}`")),
                _ if slice.contains('_') => Some("digits are written without `_`".to_string()),
                _ => None,
            };
            (Some(STANDIN), Some(Diagnostic { hint, ..problem }))
        }
        Token::BadWord => {
            let strange = slice.chars().find(|char| !char.is_ascii()).unwrap_or_default();
            let problem = Diagnostic::error("E001", format!("unexpected character `{strange}`"))
                .found(format!("U+{:04X}", strange as u32));
            let is_word = slice.chars().all(|char| char.is_alphanumeric() || char == '_');
            match is_word {
                true => {
                    (
                        Some(Token::Name(slice)),
                        Some(problem.hint(
                            "a name has the characters `A-Z a-z 0-9 _`: spell the letter out",
                        )),
                    )
                }
                false => (Some(Token::Error), Some(problem)),
            }
        }
        Token::Quoted => {
            let problem = problem("E005", "the language has no strings".to_string());
            (Some(Token::Error), Some(problem))
        }
        Token::StarStar => {
            let problem = problem("E001", "`**` is not an operator".to_string());
            (Some(Token::Caret), Some(problem.hint("a power is written `a ^ b`")))
        }
        Token::Ampersand => {
            let problem = problem("E001", "`&` is not an operator".to_string());
            (Some(Token::And), Some(problem.hint("the conjunction is written `a && b`")))
        }
        Token::Bar => {
            let problem = problem("E001", "`|` is not an operator".to_string());
            (Some(Token::Or), Some(problem.hint("the disjunction is written `a || b`")))
        }
        Token::Hash => {
            let problem = Diagnostic::error("E001", "unexpected character `#`").found("`#`");
            (None, Some(problem.hint("a comment starts with `//`")))
        }
        Token::BlockComment(_) => {
            let problem = Diagnostic::error("E003", "this comment has no end")
                .expected("`*/`")
                .found("the end of the file");
            (
                Some(Token::Error),
                Some(problem.hint("block comments nest: each `/*` inside needs its own `*/`")),
            )
        }
        Token::Error => {
            let problem = problem("E001", format!("unexpected character `{}`", shorten(slice)));
            let hint = match slice {
                "." => {
                    Some("there are no methods or fields: a call is `f(x)`, a module's name `a::b`")
                }
                "?" => Some("a choice is written `if c then a else b`"),
                _ => None,
            };
            (Some(Token::Error), Some(Diagnostic { hint: hint.map(str::to_string), ..problem }))
        }
        token => (Some(token), None),
    }
}

/// How much of a wrong token is worth underlining: its first line.
fn shown_length(slice: &str) -> usize {
    match slice {
        _ if slice.starts_with('#') => 1,
        _ if slice.starts_with("/*") => 2,
        _ => slice.len(),
    }
}

fn quoted(slice: &str) -> String {
    format!("`{}`", shorten(slice))
}

/// A text as a message can show it.
fn shorten(text: &str) -> String {
    let mut short = String::new();
    for char in text.chars().take(24) {
        match char.is_control() {
            true => short.extend(char.escape_default()),
            false => short.push(char),
        }
    }
    match text.chars().nth(24) {
        Some(_) => short + "…",
        None => short,
    }
}

/// Reads a block comment to its end; comments nest.
fn block_comment<'t>(lexer: &mut logos::Lexer<'t, Token<'t>>) -> Closed {
    let rest = lexer.remainder().as_bytes();
    let (mut depth, mut at) = (1, 0);
    while depth > 0 && at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    lexer.bump(at);
    Closed(depth == 0)
}

impl Token<'_> {
    pub fn starts_item(self) -> bool {
        matches!(self, Token::Use | Token::Const | Token::Fn | Token::Layer | Token::Graph)
    }

    pub fn starts_binding(self) -> bool {
        matches!(self, Token::Let | Token::Param | Token::State | Token::Next)
    }

    fn ends_expression(self) -> bool {
        matches!(
            self,
            Token::Name(_)
                | Token::Number(_)
                | Token::True
                | Token::False
                | Token::CloseParen
                | Token::CloseBracket
        )
    }

    /// Whether a statement can follow, at least where a `;` is missing.
    fn ends_statement(self) -> bool {
        matches!(self, Token::Semicolon | Token::OpenBrace) || self.ends_expression()
    }

    pub fn is_keyword(self) -> bool {
        self.starts_item()
            || self.starts_binding()
            || matches!(
                self,
                Token::If | Token::Then | Token::Else | Token::True | Token::False | Token::In
            )
    }

    pub fn is_comparison(self) -> bool {
        matches!(self, Token::Lt | Token::Le | Token::Gt | Token::Ge | Token::Eq | Token::Ne)
    }

    /// Whether it makes an expression one level deeper without a bracket.
    pub fn is_operator(self) -> bool {
        self.is_comparison()
            || matches!(
                self,
                Token::Or
                    | Token::And
                    | Token::Not
                    | Token::Plus
                    | Token::Minus
                    | Token::Star
                    | Token::Slash
                    | Token::Percent
                    | Token::At
                    | Token::Caret
            )
    }

    /// The delimiter that closes this one.
    pub fn closer(self) -> Option<Token<'static>> {
        match self {
            Token::OpenParen => Some(Token::CloseParen),
            Token::OpenBracket => Some(Token::CloseBracket),
            Token::OpenBrace => Some(Token::CloseBrace),
            _ => None,
        }
    }
}

/// As an error message names it.
impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Token::Name(text) | Token::Number(text) => return write!(f, "`{}`", shorten(text)),
            Token::Use => "use",
            Token::Const => "const",
            Token::Fn => "fn",
            Token::Layer => "layer",
            Token::Graph => "graph",
            Token::Let => "let",
            Token::Param => "param",
            Token::If => "if",
            Token::Then => "then",
            Token::Else => "else",
            Token::True => "true",
            Token::False => "false",
            Token::In => "in",
            Token::State => "state",
            Token::Next => "next",
            Token::Fixed => "fixed",
            Token::OpenParen => "(",
            Token::CloseParen => ")",
            Token::OpenBracket => "[",
            Token::CloseBracket => "]",
            Token::OpenBrace => "{",
            Token::CloseBrace => "}",
            Token::Comma => ",",
            Token::Semicolon => ";",
            Token::Colon => ":",
            Token::ColonColon => "::",
            Token::DotDot => "..",
            Token::Arrow => "->",
            Token::Assign => "=",
            Token::Or => "||",
            Token::And => "&&",
            Token::Not => "!",
            Token::Lt => "<",
            Token::Le => "<=",
            Token::Gt => ">",
            Token::Ge => ">=",
            Token::Eq => "==",
            Token::Ne => "!=",
            Token::Plus => "+",
            Token::Minus => "-",
            Token::Star => "*",
            Token::Slash => "/",
            Token::Percent => "%",
            Token::At => "@",
            Token::Caret => "^",
            _ => return f.write_str("what is no token"),
        };
        write!(f, "`{text}`")
    }
}
