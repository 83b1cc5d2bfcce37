//! Layers that are given no arguments yet: values that a name holds, and calls apply.

use std::cell::Cell;
use std::rc::Rc;

use super::calls::{Actual, Callee, is_operation};
use super::scope::{Home, Scope, ScopeKind};
use super::{Call, Elaborator, Value};
use crate::diagnostic::Diagnostic;
use crate::front::check::modules::{DefId, Unresolved};
use crate::front::check::report;
use crate::front::check::term::{Kind, TermId, Terms};
use crate::front::syntax::ast::{Expr, ItemKind, Name};
use crate::source::Span;

/// A layer that is given no arguments yet: one set of parameters for all its calls.
#[derive(Debug)]
pub struct Instance {
    layer: DefId,
    dims: Vec<TermId>,
    /// How many definitions are being instantiated where it is written.
    depth: usize,
    /// Where its parameters and memories are; nothing holds it yet without.
    home: Option<Home>,
    calls: Cell<usize>,
}

impl Instance {
    /// Whether a binding or an argument names it.
    pub fn is_held(&self) -> bool {
        self.home.is_some()
    }

    /// Where the next call has its parameters and memories.
    fn next_home(&self) -> Option<Home> {
        let calls = self.calls.get() + 1;
        self.calls.set(calls);
        let home = self.home.as_ref()?;
        let (params, memory) = (home.params.clone(), format!("{}{calls}.", home.memory));
        Some(Home { params, memory, is_shared: true })
    }
}

impl Elaborator<'_, '_> {
    /// A layer with its dimensions, without arguments.
    pub(super) fn layer_value(
        &mut self,
        scope: &mut Scope,
        callee: &[Name],
        dims: &[Expr],
        span: Span,
    ) -> Value {
        let dims = dims.iter().map(|dim| self.term(scope, dim)).collect();
        let found = match callee {
            [name] => scope.value(&name.text).cloned(),
            _ => None,
        };
        match found {
            Some(Value::Layer(_)) => {
                let problem = Diagnostic::error("E033", "an instance has its dimensions already")
                    .label(span, "given again")
                    .hint("leave the brackets out");
                return self.fail(problem);
            }
            Some(Value::Term(Terms::ERROR)) => return Value::ERROR,
            Some(_) => {
                let problem = Diagnostic::error("E016", "there is no indexing")
                    .label(span, "only a layer takes dimensions in brackets")
                    .hint("see `slice` and `gather`");
                return self.fail(problem);
            }
            None => {}
        }
        let id = match self.modules.resolve(scope.module, callee) {
            Ok(id) => id,
            Err(Unresolved::Reported) => return Value::ERROR,
            Err(Unresolved::Unknown(_)) if is_operation(callee) => {
                let name = callee.last().map_or("", |name| &name.text).to_string();
                self.report_dims(&name, span);
                return Value::ERROR;
            }
            Err(Unresolved::Unknown(hint)) => {
                let problem = self.no_callee(callee, span, hint);
                return self.fail(problem);
            }
        };
        let (items, index) = self.modules.definition(id);
        match &items[index].kind {
            ItemKind::Layer(_) => self.instance_of(id, dims),
            ItemKind::Use(_) | ItemKind::Const(_) | ItemKind::Fn(_) | ItemKind::Graph(_) => {
                let name = self.modules.name(id).to_string();
                let problem = Diagnostic::error("E016", format!("`{name}` is no layer"))
                    .label(span, "expected a layer before the brackets")
                    .label(self.modules.span(id), "defined here");
                self.fail(problem)
            }
        }
    }

    pub(super) fn instance_of(&self, layer: DefId, dims: Vec<TermId>) -> Value {
        let depth = self.calls.len();
        Value::Layer(Rc::new(Instance { layer, dims, depth, home: None, calls: Cell::new(0) }))
    }

    /// Lets a name hold a layer that none holds yet. One that is held stays where it is.
    pub(super) fn hold(&self, value: Value, home: &Home, name: &str) -> Value {
        let Value::Layer(instance) = &value else { return value };
        if instance.is_held() {
            return value;
        }
        let (layer, depth) = (instance.layer, instance.depth);
        let (dims, home) = (instance.dims.clone(), Some(home.inner(name)));
        Value::Layer(Rc::new(Instance { layer, dims, depth, home, calls: Cell::new(0) }))
    }

    pub(super) fn call_instance(
        &mut self,
        scope: &mut Scope,
        instance: &Instance,
        call: &Call<'_>,
    ) -> Value {
        if let Some(dim) = call.dims.first() {
            let problem = Diagnostic::error("E033", "an instance has its dimensions already")
                .label(dim.span, "given again")
                .hint("leave the brackets out");
            self.report(problem);
        }
        if !self.may_own(scope, call) {
            return Value::ERROR;
        }
        let Some(home) = instance.next_home() else { return Value::ERROR };
        self.with_layer(instance, |this, callee| {
            let inner = Scope::new(callee.id.module, ScopeKind::Layer, home, None);
            this.instantiate(scope, inner, callee, instance.dims.clone(), call)
        })
    }

    /// The value of `count` applications of a layer, the first to this value, which stands at its place.
    pub fn repeat(
        &mut self,
        scope: &mut Scope,
        instance: &Instance,
        name: Option<&str>,
        count: i64,
        (mut value, place): (Value, Span),
        span: Span,
    ) -> Value {
        let home = (!instance.is_held()).then(|| match name {
            Some(name) => scope.home.inner(name),
            None => {
                let name = scope.unnamed(self.modules.name(instance.layer));
                scope.home.inner(&name)
            }
        });
        for number in 0..count {
            let home = match &home {
                Some(home) => Some(home.inner(&number.to_string())),
                None => instance.next_home(),
            };
            let Some(home) = home else { return Value::ERROR };
            let next = self.application(scope, instance, home, (value.clone(), place), span);
            value = self.alike(scope, next, &value, span);
        }
        value
    }

    /// One application of a repeated layer: the parts of a tuple are its arguments in order.
    fn application(
        &mut self,
        scope: &mut Scope,
        instance: &Instance,
        home: Home,
        (value, place): (Value, Span),
        span: Span,
    ) -> Value {
        let parts = match value {
            Value::Tuple(tuple) => tuple.parts.clone(),
            value @ (Value::Term(_) | Value::List(_) | Value::Layer(_) | Value::Same) => {
                vec![value]
            }
        };
        self.with_layer(instance, |this, callee| {
            let required = callee.arguments.iter().filter(|one| one.default.is_none()).count();
            if !(required..=callee.arguments.len()).contains(&parts.len()) {
                let problem = Diagnostic::error(
                    "E032",
                    format!(
                        "`{}` takes {}",
                        callee.name.text,
                        report::count(callee.arguments.len(), "argument")
                    ),
                )
                .label(place, format!("{} handed on", report::count(parts.len(), "value")))
                .label(callee.name.span, "defined here");
                return this.fail(problem);
            }
            let mut actual: Vec<Actual> =
                parts.into_iter().map(|part| Some((part, place))).collect();
            actual.resize_with(callee.arguments.len(), || None);
            let inner = Scope::new(callee.id.module, ScopeKind::Layer, home, None);
            this.inline(scope, inner, callee, &instance.dims, actual, span)
        })
    }

    /// What a repeated layer hands on has one type: that of the first.
    fn alike(&mut self, scope: &Scope, value: Value, like: &Value, span: Span) -> Value {
        match (value, like) {
            (Value::Term(term), Value::Term(like)) => {
                let args = vec![term, *like];
                Value::Term(self.push_at(scope, Kind::Alike, args, vec![span, span], span))
            }
            (Value::Tuple(tuple), Value::Tuple(like)) if tuple.parts.len() == like.parts.len() => {
                let parts = tuple.parts.iter().zip(&like.parts);
                let parts = parts.map(|(part, like)| self.alike(scope, part.clone(), like, span));
                let parts = parts.collect();
                self.tuple(parts, span)
            }
            (Value::Term(Terms::ERROR), _) | (_, Value::Term(Terms::ERROR)) => Value::ERROR,
            _ => {
                let problem = Diagnostic::error("E024", "what is repeated gives what it takes")
                    .label(span, "the value of one application cannot go into the next")
                    .expected("a value, or a tuple of as many as the layer's arguments");
                self.fail(problem)
            }
        }
    }

    /// The layer of an instance, in the middle of the definitions that surround its text: through an argument
    /// a layer may come to itself without being defined by itself.
    fn with_layer(
        &mut self,
        instance: &Instance,
        go_on: impl FnOnce(&mut Self, &Callee<'_>) -> Value,
    ) -> Value {
        let (items, index) = self.modules.definition(instance.layer);
        let ItemKind::Layer(item) = &items[index].kind else { return Value::ERROR };
        let around = self.calls.split_off(instance.depth.min(self.calls.len()));
        let value = go_on(self, &Callee::layer(instance.layer, item));
        self.calls.extend(around);
        value
    }
}
