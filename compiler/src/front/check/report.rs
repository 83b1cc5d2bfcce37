//! What the checker says at several places in the same words.

use crate::diagnostic::Diagnostic;
use crate::front::syntax::ast::Name;
use crate::source::Span;

/// What is wrong with a term.
pub type Problem = Box<Diagnostic>;

/// The candidate that a misspelt name most likely means.
pub fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, candidate)| *likeness > 0.8 && *candidate != name)
        .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(a.1)))
        .map(|(_, candidate)| candidate)
}

pub fn clash(name: &Name, first: Span) -> Diagnostic {
    Diagnostic::error("E013", format!("the name `{}` is defined twice", name.text))
        .label(name.span, "defined here again")
        .label(first, "first defined here")
        .hint("rename one of them, or import it under another name: `use m::a as b;`")
}

pub fn not_in_module(name: &Name, module: &str, hint: Option<String>) -> Diagnostic {
    let problem =
        Diagnostic::error("E012", format!("the module `{module}` has no `{}`", name.text))
            .label(name.span, "not found");
    Diagnostic { hint, ..problem }
}

/// `1 argument`, `2 arguments`
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

pub fn unknown(name: &str, span: Span) -> Diagnostic {
    Diagnostic::error("E014", format!("the name `{name}` is not known here"))
        .label(span, "not found")
}

pub fn bound_twice(name: &Name, first: Option<Span>) -> Diagnostic {
    let problem =
        Diagnostic::error("E020", format!("the name `{}` is bound twice in a body", name.text))
            .label(name.span, "bound here again")
            .hint("a body is a set of equations: each name has one");
    match first {
        Some(first) => problem.label(first, "first bound here"),
        None => problem.note("the first is a dimension, an argument or a parameter of the body"),
    }
}

pub fn not_constant(span: Span) -> Diagnostic {
    Diagnostic::error("E034", "a compile-time number is needed here")
        .label(span, "depends on tensors, or on dimensions that are known too late")
        .expected("a number, a constant or a dimension")
}

/// Parts of a list with other dimensions than the first.
pub fn ragged(first: (&[usize], Span), other: (&[usize], Span)) -> Diagnostic {
    let shown = |dims: &[usize]| match dims {
        [] => "a number".to_string(),
        dims => format!("a list of {dims:?}"),
    };
    Diagnostic::error("E025", "the parts of a list have different lengths")
        .label(first.1, format!("this is {}", shown(first.0)))
        .label(other.1, format!("this is {}", shown(other.0)))
        .expected(shown(first.0))
        .found(shown(other.0))
}

pub fn not_a_tensor(span: Span) -> Diagnostic {
    Diagnostic::error("E024", "a tuple is no tensor")
        .label(span, "this is a tuple")
        .expected("a tensor or a stream")
        .hint("take it apart: `let (a, b) = …;`")
}

pub fn only_a_padding(span: Span) -> Diagnostic {
    Diagnostic::error("E025", "`same` is no value")
        .label(span, "not expected here")
        .hint("it is a padding: `conv2d(x, w, pad = same)`")
}

pub fn impure(span: Span, what: &str) -> Diagnostic {
    Diagnostic::error("E023", format!("{what} in a function"))
        .label(span, "not allowed here")
        .note("functions are pure: no parameters, no memory, no layers")
        .hint("make it a `layer`")
}

pub fn needs(symbol: &str, span: Span) -> Diagnostic {
    Diagnostic::error("E046", format!("the number of `{symbol}` is needed here"))
        .label(span, format!("has no value while `{symbol}` is open"))
        .hint(format!("give it: `-D {symbol}=…`"))
}
