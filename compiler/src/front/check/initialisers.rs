//! The initialisers of parameters and states.

use super::report;
use crate::diagnostic::Diagnostic;
use crate::ir::graph::Init;
use crate::source::Span;

/// Initialisers with their arguments; the gain of `orthogonal` is 1 if left out.
const INITIALISERS: &[(&str, &[&str])] = &[
    ("zeros", &[]),
    ("ones", &[]),
    ("constant", &["v"]),
    ("uniform", &["a", "b"]),
    ("normal", &["mu", "sigma"]),
    ("xavier_uniform", &[]),
    ("xavier_normal", &[]),
    ("kaiming_uniform", &[]),
    ("kaiming_normal", &[]),
    ("orthogonal", &["gain"]),
];

/// Whether an initialiser has this name.
pub fn exists(name: &str) -> bool {
    formals(name).is_some()
}

/// The arguments of the initialiser of this name.
pub fn formals(name: &str) -> Option<&'static [&'static str]> {
    INITIALISERS.iter().find(|(known, _)| *known == name).map(|(_, formals)| *formals)
}

/// The initialiser of this name with the numbers given.
pub fn initialiser(name: &str, args: &[f64]) -> Option<Init> {
    Some(match (name, args) {
        ("zeros", []) => Init::Constant(0.0),
        ("ones", []) => Init::Constant(1.0),
        ("constant", [value]) => Init::Constant(*value),
        ("uniform", [low, high]) => Init::Uniform(*low, *high),
        ("normal", [mean, deviation]) => Init::Normal(*mean, *deviation),
        ("xavier_uniform", []) => Init::XavierUniform,
        ("xavier_normal", []) => Init::XavierNormal,
        ("kaiming_uniform", []) => Init::KaimingUniform,
        ("kaiming_normal", []) => Init::KaimingNormal,
        ("orthogonal", []) => Init::Orthogonal(1.0),
        ("orthogonal", [gain]) => Init::Orthogonal(*gain),
        _ => return None,
    })
}

/// What stands where an initialiser is expected, by the name that it has, if it has one.
pub fn not_an_initialiser(name: Option<&str>, span: Span) -> Diagnostic {
    let names = INITIALISERS.iter().map(|(name, _)| *name);
    let likely = name.and_then(|name| report::closest(name, names));
    let hint = likely.map(|likely| format!("did you mean `{likely}`?"));
    let what = name.map_or("this".to_string(), |name| format!("`{name}`"));
    let names: Vec<_> = INITIALISERS.iter().map(|(name, _)| format!("`{name}`")).collect();
    Diagnostic::error("E035", format!("{what} is no initialiser"))
        .label(span, "expected an initialiser")
        .note(format!("the initialisers are {}", names.join(", ")))
        .hint(hint.unwrap_or_else(|| "a number is `constant(v)`".to_string()))
}
