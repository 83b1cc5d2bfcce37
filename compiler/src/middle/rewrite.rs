//! What is rewritten beside the calculus: the schedule and the lowering have tables of such rows, in the order in
//! which they are tried, each with what does it.

use super::surrogate::Numeric;

/// A rewrite, for people.
pub struct Rewrite {
    /// In one word.
    pub name: &'static str,
    /// The equation with its condition, in the language's syntax.
    pub equation: &'static str,
    /// How exactly values are kept.
    pub numeric: Numeric,
    /// Why it is done, in a sentence.
    pub reason: &'static str,
}
