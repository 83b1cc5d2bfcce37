//! The arguments of a call: which formal one each is, and what operations read from them.

use super::scope::Scope;
use super::{Elaborator, Value};
use crate::diagnostic::Diagnostic;
use crate::front::check::shape::MAX_RANK;
use crate::front::check::term::{Kind, Static, TermId, Terms};
use crate::front::check::{Operation, report};
use crate::front::syntax::ast::{CallArgument, Expr, Name};
use crate::source::Span;

/// The longest list of a shape, of axes or of paddings.
pub const MAX_LIST: usize = MAX_RANK;

/// A call as written.
pub struct Call<'a> {
    pub callee: &'a [Name],
    pub dims: &'a [Expr],
    pub arguments: &'a [CallArgument],
    pub span: Span,
}

/// A formal argument of a function, a layer or an operation.
pub struct Formal<'a> {
    pub name: &'a str,
    pub is_optional: bool,
    /// It can be given by name only.
    pub is_named: bool,
}

/// The arguments of an operation's call, each by the number of its formal one.
pub struct Arguments<'a, 'm, 'l> {
    pub elaborator: &'a mut Elaborator<'m, 'l>,
    pub scope: &'a mut Scope,
    pub name: &'static str,
    pub call: &'a Call<'a>,
    /// The binding that holds the value of the call.
    pub held: Option<&'a str>,
    pub values: Vec<Value>,
    /// For each formal argument, which value it is.
    pub order: Vec<Option<usize>>,
}

impl Arguments<'_, '_, '_> {
    /// An operation on the first formal arguments, so many of them.
    pub fn apply(&mut self, op: impl Operation + 'static, count: usize) -> Option<Value> {
        let args = (0..count).map(|formal| self.operand(formal)).collect();
        Some(self.term(op, args).into())
    }

    /// An operation whose first operands are the first formal arguments, as far as they are tensors.
    pub fn term(&mut self, op: impl Operation + 'static, args: Vec<TermId>) -> TermId {
        let tensors = self.order.iter().take(op.tensors().min(args.len())).flatten();
        let places = tensors.map(|place| argument_span(self.call, *place)).collect();
        self.elaborator.push_at(self.scope, Kind::op(op), args, places, self.call.span)
    }

    /// A term without operands.
    pub fn make(&mut self, kind: Kind) -> TermId {
        self.elaborator.push(self.scope, kind, Vec::new(), self.call.span)
    }

    pub fn literal(&mut self, value: i64) -> TermId {
        self.make(Kind::Literal { value: value as f64, integer: true })
    }

    pub fn report(&mut self, problem: Diagnostic) {
        self.elaborator.report(problem);
    }

    pub fn is_given(&self, formal: usize) -> bool {
        self.order.get(formal).is_some_and(Option::is_some)
    }

    /// Where it is written.
    pub fn span(&self, formal: usize) -> Span {
        let place = self.order.get(formal).copied().flatten();
        place.map_or(self.call.span, |place| argument_span(self.call, place))
    }

    pub fn value(&self, formal: usize) -> Option<&Value> {
        let place = self.order.get(formal).copied().flatten()?;
        self.values.get(place)
    }

    pub fn operand(&mut self, formal: usize) -> TermId {
        let (value, span) = (self.value(formal).cloned(), self.span(formal));
        let term = value.and_then(|value| self.elaborator.tensor(value, span));
        term.unwrap_or(Terms::ERROR)
    }

    /// A number that the program must give at compile time; reports if it does not.
    pub fn number(&mut self, formal: usize) -> Option<f64> {
        let span = self.span(formal);
        match self.value(formal)? {
            Value::Term(term) => self.elaborator.known_number(*term, span),
            Value::Tuple(_) | Value::List(_) | Value::Layer(_) | Value::Same => {
                self.report(report::not_constant(span));
                None
            }
        }
    }

    pub fn integer(&mut self, formal: usize) -> Option<i64> {
        let number = self.number(formal)?;
        self.elaborator.whole_number(number, self.span(formal))
    }

    /// A whole number that may be left out.
    pub fn integer_or(&mut self, formal: usize, default: i64) -> Option<i64> {
        if self.is_given(formal) { self.integer(formal) } else { Some(default) }
    }

    pub fn flag(&mut self, formal: usize) -> Option<bool> {
        if let Some(Value::Term(term)) = self.value(formal) {
            match self.elaborator.program.terms.known(*term) {
                Some(Static::Bool(flag)) => return Some(*flag),
                Some(Static::Broken) => return None,
                _ => {}
            }
        }
        self.report(
            Diagnostic::error("E034", "`true` or `false` is needed here")
                .label(self.span(formal), "not one of them"),
        );
        None
    }

    /// A list of dimensions; a single one counts as a list.
    pub fn list(&mut self, formal: usize) -> Option<Vec<TermId>> {
        let (value, span) = (self.value(formal)?.clone(), self.span(formal));
        let problem = match value {
            Value::Term(term) => return Some(vec![term]),
            Value::List(parts) if parts.len() <= MAX_LIST => {
                let parts = parts.iter();
                return parts.map(|part| self.elaborator.tensor(part.clone(), span)).collect();
            }
            Value::List(parts) => Diagnostic::error("E044", "the list is too long")
                .label(span, format!("{} entries", parts.len()))
                .expected(format!("at most {MAX_LIST}")),
            Value::Same => report::only_a_padding(span),
            Value::Tuple(_) | Value::Layer(_) => Diagnostic::error("E025", "a list is needed here")
                .label(span, "this is none")
                .hint("lists are written in brackets: `[a, b]`"),
        };
        self.report(problem);
        None
    }

    /// A number or a list of numbers.
    pub fn integers(&mut self, formal: usize) -> Option<Vec<i64>> {
        let (terms, span) = (self.list(formal)?, self.span(formal));
        let integer = |term| {
            let number = self.elaborator.known_number(term, span)?;
            self.elaborator.whole_number(number, span)
        };
        terms.into_iter().map(integer).collect()
    }
}

impl Elaborator<'_, '_> {
    fn known_number(&mut self, term: TermId, span: Span) -> Option<f64> {
        let known = self.program.terms.known(term);
        let problem = match known {
            Some(Static::Broken) => return None,
            Some(Static::Dim(dim)) if dim.as_const().is_none() => {
                report::needs(dim.symbols().next().map_or("", |symbol| symbol), span)
            }
            Some(Static::Needs(symbol)) => report::needs(symbol, span),
            known => match known.and_then(Static::number) {
                Some(number) => return Some(number),
                None => report::not_constant(span),
            },
        };
        self.report(problem);
        None
    }

    fn whole_number(&mut self, number: f64, span: Span) -> Option<i64> {
        if number.fract() == 0.0 && number.abs() < 1e12 {
            return Some(number as i64);
        }
        self.report(
            Diagnostic::error("E034", "a whole number is needed here")
                .label(span, format!("this is {number}"))
                .expected("a whole number")
                .found(number.to_string()),
        );
        None
    }

    /// The arguments' values in the order of the text. The one called `past` may mention later bindings.
    pub(super) fn values(
        &mut self,
        scope: &mut Scope,
        call: &Call<'_>,
        past: Option<&str>,
    ) -> Vec<Value> {
        let mut values = Vec::new();
        for (place, argument) in call.arguments.iter().enumerate() {
            let is_past = match &argument.name {
                Some(name) => Some(name.text.as_str()) == past,
                None => past.is_some() && place == 0,
            };
            if is_past {
                scope.enter_prev();
            }
            values.push(self.expr(scope, &argument.value));
            if is_past {
                scope.leave_prev();
            }
        }
        values
    }

    /// Any number of tensors by their places, and an axis, which comes first; `None`, with a report, if they
    /// do not fit.
    pub(super) fn arrange_any(
        &mut self,
        callee: &str,
        call: &Call<'_>,
    ) -> Option<Vec<Option<usize>>> {
        let mut order = vec![None];
        for (place, argument) in call.arguments.iter().enumerate() {
            match &argument.name {
                None => order.push(Some(place)),
                Some(name) if name.text == "axis" => order[0] = Some(place),
                Some(name) => {
                    self.report(
                        Diagnostic::error(
                            "E030",
                            format!("`{callee}` has no argument `{}`", name.text),
                        )
                        .label(name.span, "not found")
                        .note(format!("`{callee}` takes tensors and `axis`")),
                    );
                    return None;
                }
            }
        }
        if order.len() == 1 {
            self.report(
                Diagnostic::error("E031", format!("`{callee}` needs at least one tensor"))
                    .label(call.span, "none given"),
            );
            return None;
        }
        Some(order)
    }

    /// For each formal argument, the position of the actual one; `None`, with a report, if they do not fit.
    pub(super) fn arrange(
        &mut self,
        callee: &str,
        definition: Option<Span>,
        formals: &[Formal<'_>],
        call: &Call<'_>,
    ) -> Option<Vec<Option<usize>>> {
        let mut order = vec![None; formals.len()];
        let mut problems = Vec::new();
        let takes = || {
            let names: Vec<_> = formals.iter().map(|formal| format!("`{}`", formal.name)).collect();
            format!(
                "`{callee}` takes {}",
                if names.is_empty() { "no arguments".into() } else { names.join(", ") }
            )
        };
        let mut next = 0;
        for (position, argument) in call.arguments.iter().enumerate() {
            let (formal, span) = match &argument.name {
                Some(name) => (formals.iter().position(|f| f.name == name.text), name.span),
                None => {
                    next += 1;
                    (Some(next - 1), argument.value.span)
                }
            };
            let formal = formal.filter(|f| *f < formals.len());
            match (formal, &argument.name) {
                (Some(formal), None) if formals[formal].is_named => {
                    let name = formals[formal].name;
                    let value = self.modules.sources.text(span);
                    let is_short = value.len() <= 40 && !value.contains('\n');
                    let value = if is_short { value } else { "…" };
                    problems.push(
                        Diagnostic::error(
                            "E032",
                            format!("`{name}` of `{callee}` is given by name"),
                        )
                        .label(span, "not expected here")
                        .hint(format!("write `{name} = {value}`")),
                    );
                }
                (Some(formal), _) => {
                    if order[formal].is_some() {
                        let name = formals[formal].name;
                        problems.push(
                            Diagnostic::error(
                                "E032",
                                format!("the argument `{name}` is given twice"),
                            )
                            .label(span, "given here again"),
                        );
                    }
                    order[formal] = Some(position);
                }
                (None, Some(name)) => {
                    let names = formals.iter().map(|formal| formal.name);
                    let hint = report::closest(&name.text, names)
                        .map(|likely| format!("did you mean `{likely}`?"));
                    let problem = Diagnostic::error(
                        "E030",
                        format!("`{callee}` has no argument `{}`", name.text),
                    )
                    .label(span, "not found")
                    .note(takes());
                    problems.push(Diagnostic { hint, ..problem });
                }
                (None, None) => {
                    problems.push(
                        Diagnostic::error("E032", format!("too many arguments for `{callee}`"))
                            .label(span, "not expected")
                            .expected(report::count(formals.len(), "argument"))
                            .note(takes()),
                    );
                }
            }
        }
        let missing = formals
            .iter()
            .zip(&order)
            .filter(|(formal, place)| place.is_none() && !formal.is_optional);
        let missing: Vec<_> = missing.map(|(formal, _)| format!("`{}`", formal.name)).collect();
        if !missing.is_empty() && problems.is_empty() {
            problems.push(
                Diagnostic::error("E031", format!("`{callee}` needs {}", missing.join(", ")))
                    .label(call.span, "not given in this call")
                    .note(takes()),
            );
        }
        let is_fine = problems.is_empty();
        for problem in problems {
            let problem = match definition {
                Some(span) => problem.label(span, "defined here"),
                None => problem,
            };
            self.report(problem);
        }
        is_fine.then_some(order)
    }
}

pub fn argument_span(call: &Call<'_>, place: usize) -> Span {
    call.arguments.get(place).map_or(call.span, |argument| argument.value.span)
}
