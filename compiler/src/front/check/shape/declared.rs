//! Terms whose type is stated: what is declared, and what a repeated layer hands on.

use super::Rules;
use crate::diagnostic::Diagnostic;
use crate::front::check::report::Problem;
use crate::front::check::term::{Kind, TermId};
use crate::front::check::types::{Shape, prefix};
use crate::ir::graph::Dim;

impl Rules<'_> {
    /// The dimensions that a declared type gives, as far as they are known; of other terms nothing.
    pub fn stated(&self) -> Shape {
        match (&self.term().kind, self.args().split_first()) {
            (Kind::Typed { has_rest: false, .. }, Some((_, declared))) => {
                self.numbers(declared).ok()
            }
            _ => None,
        }
    }

    pub(super) fn typed(&self, has_rest: bool) -> Result<Shape, Problem> {
        let Some((&x, declared)) = self.args().split_first() else { return Ok(None) };
        let declared = self.numbers(declared)?;
        let Some(dims) = self.dims(x) else { return Ok((!has_rest).then_some(declared)) };
        let rest = if has_rest { dims.len().saturating_sub(declared.len()) } else { 0 };
        let (rest, found) = dims.split_at(rest);
        let agree = |(found, declared): (&Option<Dim>, &Option<Dim>)| match (found, declared) {
            (Some(found), Some(declared)) => found == declared,
            _ => true,
        };
        if found.len() != declared.len() || !found.iter().zip(&declared).all(agree) {
            let (expected, written) = self.written(&declared);
            let problem = Diagnostic::error(
                "E042",
                format!("the type is {expected}, the value {}", self.types.show(x)),
            );
            let problem = self.labelled(problem, &[x]);
            let problem = match written == expected {
                true => problem,
                false => problem.note(format!("the type is written {written}")),
            };
            return Err(Box::new(problem.expected(expected).found(self.types.show(x))));
        }
        let own = declared.into_iter().zip(found).map(|(a, b)| a.or(b.clone()));
        Ok(Some(rest.iter().cloned().chain(own).collect()))
    }

    /// What a repeated layer gives is what it takes.
    pub(super) fn alike(&self) -> Result<Shape, Problem> {
        let [x, like] = self.args()[..] else { return Ok(None) };
        let (Some(found), Some(wanted)) = (self.dims(x), self.dims(like)) else {
            return Ok(self.types.of(like).clone());
        };
        let agree = |(a, b): (&Option<Dim>, &Option<Dim>)| a.is_none() || b.is_none() || a == b;
        if found.len() != wanted.len() || !found.iter().zip(wanted).all(agree) {
            let (found, wanted) = (self.types.show(x), self.types.show(like));
            return Err(Box::new(
                Diagnostic::error(
                    "E042",
                    format!("a repeated layer takes {wanted} and gives {found}"),
                )
                .label(self.span(), "the value of one application goes into the next")
                .expected(wanted)
                .found(found),
            ));
        }
        Ok(Some(found.iter().zip(wanted).map(|(a, b)| a.clone().or(b.clone())).collect()))
    }

    /// A declared type with what is known of its dimensions, and with their names.
    fn written(&self, known: &[Option<Dim>]) -> (String, String) {
        let terms = &self.args()[1..];
        let name = |term: &TermId| {
            let Kind::Dimension(var) = self.terms[*term].kind else { return None };
            Some(self.terms.var(var).name.clone())
        };
        let shown = |known: &Option<Dim>| known.as_ref().map(Dim::to_string);
        let unknown = || "?".to_string();
        let values = known.iter().zip(terms);
        let values =
            values.map(|(known, term)| shown(known).or(name(term)).unwrap_or_else(unknown));
        let names = known.iter().zip(terms);
        let names = names.map(|(known, term)| name(term).or(shown(known)).unwrap_or_else(unknown));
        let elem = prefix(self.types.elements.of(self.id));
        let has_rest = matches!(self.term().kind, Kind::Typed { has_rest: true, .. });
        let rest = if has_rest { ".." } else { "" };
        let gap = if rest.is_empty() || terms.is_empty() { "" } else { ", " };
        let join = |parts: Vec<String>| format!("{elem}[{rest}{gap}{}]", parts.join(", "));
        (join(values.collect()), join(names.collect()))
    }
}
