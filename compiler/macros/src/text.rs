//! Tokens of Rust → a program's text, each token where it stands in the Rust file, and back from
//! places in the text to the tokens.

use std::ops::Range;

use proc_macro2::{Delimiter, Group, Spacing, Span, TokenStream, TokenTree};
use syn::LitStr;

/// A program's text and the tokens that it was made of.
#[derive(Default)]
pub struct Text {
    pub text: String,
    tokens: Vec<(Range<usize>, Span)>,
    /// Where the next character goes, from 1.
    line: usize,
    column: usize,
    /// The last token was a punctuation mark that the next one belongs to.
    joint: bool,
}

impl Text {
    /// The text of some tokens. Comments are lost on the way here; `///` has become `#[doc = …]` and
    /// becomes `///` again.
    pub fn new(tokens: TokenStream) -> Text {
        let mut text = Text { line: 1, column: 1, ..Text::default() };
        text.stream(tokens);
        text
    }

    /// The first and the last token of a range of bytes; the nearest one where it has none.
    pub fn spans(&self, range: Range<usize>) -> (Span, Span) {
        let first = self.tokens.partition_point(|(token, _)| token.end <= range.start);
        let end = self.tokens.partition_point(|(token, _)| token.start < range.end);
        let Some(last) = self.tokens.len().checked_sub(1) else {
            return (Span::call_site(), Span::call_site());
        };
        let first = first.min(last);
        let end = end.saturating_sub(1).clamp(first, last);
        (self.tokens[first].1, self.tokens[end].1)
    }

    fn stream(&mut self, tokens: TokenStream) {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            if is_punct(&token, '#') {
                // `#[doc = …]`, or `#![doc = …]` for `//!`.
                let inner = tokens.next_if(|next| is_punct(next, '!')).is_some();
                if let Some(doc) = tokens.peek().and_then(doc) {
                    tokens.next();
                    if !inner {
                        self.doc(&doc, token.span());
                    }
                    continue;
                }
                self.put("#", token.span());
                continue;
            }
            self.token(token);
        }
    }

    fn token(&mut self, token: TokenTree) {
        let span = token.span();
        match token {
            TokenTree::Group(group) => self.group(&group),
            TokenTree::Punct(punct) => {
                self.put(&punct.as_char().to_string(), span);
                self.joint = punct.spacing() == Spacing::Joint;
            }
            token => self.put(&token.to_string(), span),
        }
    }

    fn group(&mut self, group: &Group) {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Brace => ("{", "}"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::None => return self.stream(group.stream()),
        };
        self.put(open, group.span_open());
        self.stream(group.stream());
        self.put(close, group.span_close());
    }

    /// A line of documentation. What was written as `/** … */` is no more than a comment.
    fn doc(&mut self, doc: &LitStr, span: Span) {
        let written = span.source_text();
        let doc = doc.value();
        if written.is_some_and(|text| text.starts_with("/*")) || doc.contains('\n') {
            return;
        }
        self.put(&format!("///{doc}"), span);
        self.newline();
    }

    fn put(&mut self, token: &str, span: Span) {
        self.move_to(place(span));
        let start = self.text.len();
        self.text.push_str(token);
        self.column += token.chars().count();
        self.tokens.push((start..self.text.len(), span));
        self.joint = false;
    }

    /// Goes on to a line and column of the Rust file. Tokens that come from elsewhere (out of another
    /// macro) may lie before: these follow the last one.
    fn move_to(&mut self, place: Option<(usize, usize)>) {
        match place.filter(|place| *place >= (self.line, self.column)) {
            Some((line, column)) => {
                while self.line < line {
                    self.newline();
                }
                let spaces = column.saturating_sub(self.column);
                self.text.extend(std::iter::repeat_n(' ', spaces));
                self.column += spaces;
            }
            None if self.joint => {}
            None => {
                self.text.push(' ');
                self.column += 1;
            }
        }
    }

    fn newline(&mut self) {
        self.text.push('\n');
        self.line += 1;
        self.column = 1;
    }
}

/// Line and column of a span, both from 1; the compiler alone knows them.
fn place(span: Span) -> Option<(usize, usize)> {
    proc_macro::is_available().then(|| {
        // The compiler's span, which is there if the compiler is.
        let start = span.unwrap().start();
        (start.line(), start.column())
    })
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// The text of `[doc = "…"]`.
fn doc(token: &TokenTree) -> Option<LitStr> {
    let TokenTree::Group(group) = token else { return None };
    let mut tokens = group.stream().into_iter();
    let (name, equals) = (tokens.next()?, tokens.next()?);
    let is_doc = group.delimiter() == Delimiter::Bracket
        && matches!(&name, TokenTree::Ident(name) if name == "doc")
        && is_punct(&equals, '=');
    if !is_doc {
        return None;
    }
    syn::parse2(tokens.collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(program: &str) -> String {
        Text::new(program.parse().unwrap()).text
    }

    #[test]
    fn the_text_reads_as_the_tokens_do() {
        let program =
            "/// A \"layer\".\nlayer a[N](x: [T; B, K], n: i32[B]) { x @ w || 1e-3 <= -x^2 }";
        let tree =
            |text: &str| fgi_compiler::front::syntax::tree(text, Default::default()).unwrap();
        let text = text(program);
        assert_eq!(tree(&text), tree(program), "{text}");
        assert!(text.contains("/// A \"layer\".\n"), "{text}");
    }

    #[test]
    fn comments_for_rust_are_comments() {
        assert_eq!(text("//! inner\n/** outer\n */ a").trim(), "a");
        assert_eq!(text("#[doc(hidden)] a").trim(), "# [ doc ( hidden ) ] a");
    }

    #[test]
    fn places_lead_to_tokens() {
        let text = Text::new("let a = (b + c);".parse().unwrap());
        let at = text.text.find("b").unwrap();
        let spans = text.spans(at..at + 5);
        assert_eq!(format!("{spans:?}"), format!("{:?}", (text.tokens[4].1, text.tokens[6].1)));
        let behind = text.text.len();
        // Behind the end, and in a text without tokens, there is a place all the same.
        text.spans(behind..behind + 1);
        Text::new(TokenStream::new()).spans(0..1);
    }
}
