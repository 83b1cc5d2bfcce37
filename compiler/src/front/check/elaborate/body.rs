//! The equations of a body.

use super::scope::{Later, Scope, ScopeKind};
use super::{Elaborator, Value, causality};
use crate::diagnostic::Diagnostic;
use crate::front::check::report;
use crate::front::check::term::{BindingDecl, Kind, TermId, Terms};
use crate::front::syntax::ast::{Body, Let, Name, Pattern, StatementKind};
use crate::source::Span;

impl Elaborator<'_, '_> {
    /// Elaborates a body and gives its value.
    pub fn body(&mut self, scope: &mut Scope, body: &Body) -> Value {
        self.statements(scope, body);
        match &body.result {
            Some(result) => self.expr(scope, result),
            None => Value::ERROR,
        }
    }

    pub(super) fn statements(&mut self, scope: &mut Scope, body: &Body) {
        for statement in &body.statements {
            match &statement.kind {
                StatementKind::Let(item) => self.announce(scope, &item.pattern),
                StatementKind::Param(item) => {
                    let docs = statement.docs.join("\n");
                    self.param(scope, item, docs);
                }
                StatementKind::State(item) => {
                    let docs = statement.docs.join("\n");
                    self.state(scope, item, docs);
                }
                StatementKind::Next(_) | StatementKind::Error => {}
            }
        }
        for statement in &body.statements {
            if let StatementKind::Let(item) = &statement.kind {
                self.binding(scope, item);
            }
        }
        for statement in &body.statements {
            if let StatementKind::Next(item) = &statement.kind {
                self.next(scope, item);
            }
        }
        let early = std::mem::take(&mut scope.early);
        if !early.is_empty() {
            causality::problems(body, &early).into_iter().for_each(|one| self.report(one));
        }
    }

    /// Notes the names of a binding that comes later in the body.
    fn announce(&mut self, scope: &mut Scope, pattern: &Pattern) {
        match pattern {
            Pattern::Name(name) => {
                let other = scope.later.get(&name.text).map(|later| later.span);
                if other.is_some() || scope.values.contains_key(&name.text) {
                    self.report(report::bound_twice(name, other));
                } else {
                    let later = Later { span: name.span, forwards: Vec::new() };
                    scope.later.insert(name.text.clone(), later);
                }
            }
            Pattern::Tuple(parts, _) => parts.iter().for_each(|part| self.announce(scope, part)),
        }
    }

    /// Adds a name to a scope; false, with a report, if it is there already.
    pub fn declare(&mut self, scope: &mut Scope, name: &Name, value: Value) -> bool {
        let other = scope.later.get(&name.text).map(|later| later.span);
        if other.is_some() || scope.values.contains_key(&name.text) {
            self.report(report::bound_twice(name, other));
            return false;
        }
        scope.values.insert(name.text.clone(), value);
        true
    }

    fn binding(&mut self, scope: &mut Scope, item: &Let) {
        scope.current = pattern_names(&item.pattern);
        let held = match &item.pattern {
            Pattern::Name(name) => Some(name.text.as_str()),
            Pattern::Tuple(..) => None,
        };
        let mut value = self.held(scope, &item.value, held);
        if let Some(ty) = &item.ty {
            self.refuse_rest(ty);
            value = self.typed(scope, value, ty, item.value.span);
        }
        self.bind(scope, &item.pattern, value, item.value.span);
        scope.current.clear();
    }

    fn bind(&mut self, scope: &mut Scope, pattern: &Pattern, value: Value, span: Span) {
        match pattern {
            Pattern::Name(name) => {
                // A name bound twice is reported; the first binding stays.
                let Some(later) = scope.later.remove(&name.text) else { return };
                if later.span != name.span {
                    scope.later.insert(name.text.clone(), later);
                    return;
                }
                for forward in later.forwards {
                    match value {
                        Value::Term(target) => {
                            self.program.terms.get_mut(forward).args = vec![target]
                        }
                        Value::Tuple(_) | Value::List(_) | Value::Layer(_) | Value::Same => {
                            let span = self.program.terms[forward].span;
                            self.tensor(value.clone(), span);
                        }
                    }
                }
                if let Value::Term(term) = value {
                    self.name_term(scope, term, &name.text);
                    if scope.has_memory() {
                        let path = format!("{}{}", scope.home.memory, name.text);
                        self.program.bindings.push(BindingDecl { path, term, span });
                    }
                }
                let value = self.hold(value, &scope.home, &name.text);
                scope.values.insert(name.text.clone(), value);
            }
            Pattern::Tuple(parts, at) => match value {
                Value::Tuple(tuple) if tuple.parts.len() == parts.len() => {
                    for (part, value) in parts.iter().zip(&tuple.parts) {
                        self.bind(scope, part, value.clone(), span);
                    }
                }
                Value::Term(Terms::ERROR) => {
                    parts.iter().for_each(|part| self.bind(scope, part, Value::ERROR, span));
                }
                value @ (Value::Term(_)
                | Value::Tuple(_)
                | Value::List(_)
                | Value::Layer(_)
                | Value::Same) => {
                    let found = match &value {
                        Value::Tuple(tuple) => format!("a tuple of {}", tuple.parts.len()),
                        Value::List(_) => "a list".to_string(),
                        Value::Same => "a padding".to_string(),
                        Value::Term(_) => "a tensor".to_string(),
                        Value::Layer(_) => "a layer".to_string(),
                    };
                    self.report(
                        Diagnostic::error("E024", "the pattern does not fit the value")
                            .label(*at, format!("takes a tuple of {} apart", parts.len()))
                            .label(span, format!("this is {found}"))
                            .expected(format!("a tuple of {}", parts.len()))
                            .found(found),
                    );
                    parts.iter().for_each(|part| self.bind(scope, part, Value::ERROR, *at));
                }
            },
        }
    }

    /// Names a term after its first binding in a layer or graph; numbers keep their anonymity.
    fn name_term(&mut self, scope: &Scope, id: TermId, name: &str) {
        let term = self.program.terms.get_mut(id);
        let is_plain = match &term.kind {
            // The number of the step, or of all steps.
            Kind::Op(_) => term.args.is_empty(),
            Kind::Error
            | Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Dimension(_)
            | Kind::Forward => true,
            Kind::Array(_)
            | Kind::Input(_)
            | Kind::Param(_)
            | Kind::If
            | Kind::Typed { .. }
            | Kind::Alike => false,
        };
        if term.name.is_none() && !is_plain && scope.kind != ScopeKind::Function {
            term.name = Some(format!("{}{name}", scope.home.memory).into());
        }
    }
}

fn pattern_names(pattern: &Pattern) -> Vec<String> {
    match pattern {
        Pattern::Name(name) => vec![name.text.clone()],
        Pattern::Tuple(parts, _) => parts.iter().flat_map(pattern_names).collect(),
    }
}
