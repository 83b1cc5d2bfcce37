//! Calls of functions, layers and instances: what is inlined, and under which paths.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::builtins::argument_span;
use super::elaborate::{Elaborator, Scope, ScopeKind, Value, plain_name};
use super::modules::{DefId, PRELUDE, Unresolved};
use super::term::{AxisOf, Frame, Kind, TermId, Terms, VarId, VarSource};
use super::{builtins, report};
use crate::diagnostic::Diagnostic;
use crate::front::syntax::ast::{
    Argument, Body, CallArgument, DimArgument, Expr, Function, ItemKind, Layer, Name, TypeExpr,
};
use crate::source::Span;

/// A call of a function or layer takes room for as many levels of expressions.
const CALL_DEPTH: usize = 4;
/// The most applications of one `repeat`.
const MAX_REPEAT: i64 = 4096;

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

/// A function or a layer.
pub(super) struct Callee<'a> {
    id: DefId,
    name: &'a Name,
    dims: &'a [DimArgument],
    arguments: &'a [Argument],
    body: &'a Body,
}

impl<'a> Callee<'a> {
    fn function(id: DefId, item: &'a Function) -> Callee<'a> {
        let Function { name, arguments, body } = item;
        Callee { id, name, dims: &[], arguments, body }
    }

    fn layer(id: DefId, item: &'a Layer) -> Callee<'a> {
        let Layer { name, dims, arguments, body } = item;
        Callee { id, name, dims, arguments, body }
    }
}

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

/// Where what a body owns has its names.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// Before the names of parameters: `h.`.
    pub params: String,
    /// Before the names of bindings and memories: `h.`, or `f.2.` in the second call of an instance.
    pub memory: String,
    /// It is within an instance: another call of it may have made the parameters.
    pub is_shared: bool,
}

impl Home {
    /// That of an instance in the body.
    pub fn inner(&self, name: &str) -> Home {
        let [params, memory] = [&self.params, &self.memory].map(|path| format!("{path}{name}."));
        Home { params, memory, is_shared: self.is_shared }
    }
}

/// An argument, or the default in its place.
type Actual = Option<(Value, Span)>;

impl Elaborator<'_, '_> {
    pub(super) fn call(&mut self, scope: &mut Scope, call: &Call<'_>, name: Option<&str>) -> Value {
        if let [callee] = call.callee {
            match scope.value(&callee.text) {
                Some(Value::Layer(instance)) => {
                    let instance = Rc::clone(instance);
                    return self.call_instance(scope, &instance, call);
                }
                Some(Value::Term(Terms::ERROR)) => {
                    self.arguments(scope, call.arguments);
                    return Value::ERROR;
                }
                _ => {}
            }
        }
        match self.modules.resolve(scope.module, call.callee) {
            Ok(id) => self.call_item(scope, id, call, name),
            Err(Unresolved::Reported) => {
                self.arguments(scope, call.arguments);
                Value::ERROR
            }
            Err(Unresolved::Unknown(hint)) => match call.callee {
                [.., callee] if is_operation(call.callee) => {
                    if let Some(dim) = call.dims.first() {
                        self.report_dims(&callee.text, dim.span);
                    }
                    self.builtin(scope, &callee.text, call, name)
                }
                [callee] if scope.comes_later(&callee.text) => {
                    self.arguments(scope, call.arguments);
                    self.too_early(scope, callee)
                }
                _ => {
                    self.arguments(scope, call.arguments);
                    let problem = self.no_callee(call.callee, call.span, hint);
                    self.fail(problem)
                }
            },
        }
    }

    fn no_callee(&self, callee: &[Name], span: Span, hint: Option<String>) -> Diagnostic {
        let name = callee.last().map_or("", |name| &name.text);
        let hint = builtins::closest(name)
            .map(|likely| format!("did you mean `{likely}`?"))
            .filter(|_| hint.is_none() && callee.len() == 1)
            .or(hint);
        let path = callee.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join("::");
        let at = callee.last().map_or(span, |name| name.span);
        let problem = Diagnostic::error("E015", format!("there is no function or layer `{path}`"))
            .label(at, "not found");
        Diagnostic { hint, ..problem }
    }

    fn report_dims(&mut self, callee: &str, span: Span) {
        self.report(
            Diagnostic::error("E033", format!("`{callee}` takes no dimensions in brackets"))
                .label(span, "not expected here")
                .hint("only layers do: `layer[N](x)`"),
        );
    }

    /// Arguments of a call that is not understood: for the errors in them.
    pub(super) fn arguments(
        &mut self,
        scope: &mut Scope,
        arguments: &[CallArgument],
    ) -> Vec<Value> {
        arguments.iter().map(|argument| self.expr(scope, &argument.value)).collect()
    }

    fn call_item(
        &mut self,
        scope: &mut Scope,
        id: DefId,
        call: &Call<'_>,
        name: Option<&str>,
    ) -> Value {
        let (items, index) = self.modules.definition(id);
        match &items[index].kind {
            ItemKind::Fn(item) => {
                if let Some(dim) = call.dims.first() {
                    self.report_dims(&item.name.text, dim.span);
                }
                let inner = Scope::new(id.module, ScopeKind::Function, Home::default(), None);
                let callee = Callee::function(id, item);
                self.instantiate(scope, inner, &callee, Vec::new(), call)
            }
            ItemKind::Layer(item) => {
                let home = match name {
                    Some(name) => scope.home.inner(name),
                    None => {
                        let name = scope.unnamed(&item.name.text);
                        scope.home.inner(&name)
                    }
                };
                if !self.may_own(scope, call) {
                    return Value::ERROR;
                }
                let dims = call.dims.iter().map(|dim| self.term(scope, dim)).collect();
                let inner = Scope::new(id.module, ScopeKind::Layer, home, None);
                self.instantiate(scope, inner, &Callee::layer(id, item), dims, call)
            }
            _ => {
                self.arguments(scope, call.arguments);
                let callee = self.modules.name(id).to_string();
                let problem = Diagnostic::error("E016", format!("`{callee}` cannot be called"))
                    .label(call.span, "expected a function or a layer")
                    .label(self.modules.span(id), "defined here");
                self.fail(problem)
            }
        }
    }

    /// Whether layers may be called here; reports if not.
    fn may_own(&mut self, scope: &mut Scope, call: &Call<'_>) -> bool {
        let may = scope.has_memory();
        if !may {
            self.arguments(scope, call.arguments);
            self.report(report::impure(call.span, "a layer"));
        }
        may
    }

    // Instances

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
            _ => {
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
        match value {
            Value::Layer(instance) if !instance.is_held() => {
                let (layer, depth) = (instance.layer, instance.depth);
                let (dims, home) = (instance.dims.clone(), Some(home.inner(name)));
                let calls = Cell::new(0);
                Value::Layer(Rc::new(Instance { layer, dims, depth, home, calls }))
            }
            value => value,
        }
    }

    fn call_instance(&mut self, scope: &mut Scope, instance: &Instance, call: &Call<'_>) -> Value {
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

    /// `repeat(n, layer, x)`
    pub(super) fn repeat(
        &mut self,
        scope: &mut Scope,
        call: &Call<'_>,
        name: Option<&str>,
    ) -> Value {
        let formals =
            ["n", "f", "x"].map(|name| Formal { name, is_optional: false, is_named: false });
        let values = self.arguments(scope, call.arguments);
        let Some(order) = self.arrange("repeat", None, &formals, call) else {
            return Value::ERROR;
        };
        let [Some(n), Some(f), Some(x)] = order[..] else { return Value::ERROR };
        let Some(count) = self.integer(&values, n, call) else { return Value::ERROR };
        if !(0..=MAX_REPEAT).contains(&count) {
            let problem = Diagnostic::error("E044", "a number of repetitions that is not possible")
                .label(call.arguments[n].value.span, format!("this is {count}"))
                .expected(format!("0 to {MAX_REPEAT}"));
            return self.fail(problem);
        }
        let instance = match &values[f] {
            Value::Layer(instance) => Rc::clone(instance),
            Value::Term(Terms::ERROR) => return Value::ERROR,
            _ => {
                let problem = Diagnostic::error("E024", "`repeat` takes a layer")
                    .label(call.arguments[f].value.span, "this is none")
                    .expected("a layer with its dimensions, or an instance")
                    .hint("`repeat(12, block[64], x)`");
                return self.fail(problem);
            }
        };
        if !scope.has_memory() {
            self.report(report::impure(call.span, "a layer"));
            return Value::ERROR;
        }
        let home = (!instance.is_held()).then(|| match name {
            Some(name) => scope.home.inner(name),
            None => {
                let name = scope.unnamed(self.modules.name(instance.layer));
                scope.home.inner(&name)
            }
        });
        let span = call.arguments[x].value.span;
        let mut value = values[x].clone();
        for number in 0..count {
            let home = match &home {
                Some(home) => Some(home.inner(&number.to_string())),
                None => instance.next_home(),
            };
            let Some(home) = home else { return Value::ERROR };
            let next = self.application(scope, &instance, home, value.clone(), span, call);
            value = self.alike(scope, next, &value, call.span);
        }
        value
    }

    /// One application of a repeated layer: the parts of a tuple are its arguments in order.
    fn application(
        &mut self,
        scope: &mut Scope,
        instance: &Instance,
        home: Home,
        value: Value,
        span: Span,
        call: &Call<'_>,
    ) -> Value {
        let parts = match value {
            Value::Tuple(tuple) => tuple.parts.clone(),
            value => vec![value],
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
                .label(span, format!("{} handed on", report::count(parts.len(), "value")))
                .label(callee.name.span, "defined here");
                return this.fail(problem);
            }
            let mut actual: Vec<Actual> =
                parts.into_iter().map(|part| Some((part, span))).collect();
            actual.resize_with(callee.arguments.len(), || None);
            let inner = Scope::new(callee.id.module, ScopeKind::Layer, home, None);
            this.inline(scope, inner, callee, &instance.dims, actual, call.span)
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

    // Inlining

    /// The value of a function's or layer's body with the arguments of a call.
    fn instantiate(
        &mut self,
        scope: &mut Scope,
        inner: Scope,
        callee: &Callee<'_>,
        dims: Vec<TermId>,
        call: &Call<'_>,
    ) -> Value {
        let values = self.arguments(scope, call.arguments);
        let formals = callee.arguments.iter().map(|argument| Formal {
            name: &argument.name.text,
            is_optional: argument.default.is_some(),
            is_named: false,
        });
        let formals: Vec<Formal<'_>> = formals.collect();
        let name = &callee.name.text;
        let Some(order) = self.arrange(name, Some(callee.name.span), &formals, call) else {
            self.used.insert(callee.id);
            return Value::ERROR;
        };
        let given = |place: Option<usize>| {
            let place = place?;
            Some((values.get(place)?.clone(), argument_span(call, place)))
        };
        let actual = order.into_iter().map(given).collect();
        self.inline(scope, inner, callee, &dims, actual, call.span)
    }

    /// As [`Elaborator::instantiate`], with the arguments in the order of the formal ones.
    fn inline(
        &mut self,
        scope: &Scope,
        mut inner: Scope,
        callee: &Callee<'_>,
        dims: &[TermId],
        actual: Vec<Actual>,
        span: Span,
    ) -> Value {
        self.used.insert(callee.id);
        if let Some(start) = self.calls.iter().position(|(id, _)| *id == callee.id) {
            let problem = self.recursion(callee.id, start, span);
            return self.fail(problem);
        }
        let (parent, callee_name) = (scope.frame, callee.name.text.clone());
        let frame = Frame { callee: callee_name, span, parent };
        inner.frame = Some(self.program.terms.add_frame(frame));
        self.calls.push((callee.id, span));
        self.depth += CALL_DEPTH;
        let vars = self.dimensions(&mut inner, callee, dims, span);
        self.bind_arguments(&mut inner, callee, &vars, actual, span);
        self.check_dimensions(callee, &vars, span);
        let value = self.body(&mut inner, callee.body);
        self.depth -= CALL_DEPTH;
        self.calls.pop();
        value
    }

    /// The dimensions of a call: those in brackets, then the names in the types of the arguments.
    fn dimensions<'a>(
        &mut self,
        inner: &mut Scope,
        callee: &Callee<'a>,
        given: &[TermId],
        span: Span,
    ) -> BTreeMap<&'a str, VarId> {
        if given.len() > callee.dims.len() {
            let name = &callee.name.text;
            self.report(
                Diagnostic::error(
                    "E033",
                    format!("`{name}` takes {}", report::count(callee.dims.len(), "dimension")),
                )
                .label(span, format!("{} given in brackets", given.len()))
                .label(callee.name.span, "defined here"),
            );
        }
        let mut vars: BTreeMap<&str, VarId> = BTreeMap::new();
        for (position, dim) in callee.dims.iter().enumerate() {
            if inner.value(&dim.name.text).is_some() {
                self.report(report::bound_twice(&dim.name, None));
                continue;
            }
            let source = match (given.get(position), &dim.default) {
                (Some(term), _) => VarSource::Given(*term),
                (None, Some(default)) => VarSource::Given(self.term(inner, default)),
                (None, None) => VarSource::Arguments(Vec::new()),
            };
            let var = self.bind_dim(inner, &dim.name, source);
            vars.insert(&dim.name.text, var);
        }
        for argument in callee.arguments {
            for dim in argument.ty.iter().flat_map(|ty| &ty.dims).filter_map(plain_name) {
                let is_known = inner.value(&dim.text).is_some()
                    || self.modules.visible(inner.module, &dim.text).is_some();
                if !is_known {
                    let source = VarSource::Arguments(Vec::new());
                    let var = self.bind_dim(inner, dim, source);
                    vars.insert(&dim.text, var);
                }
            }
        }
        vars
    }

    fn bind_arguments(
        &mut self,
        inner: &mut Scope,
        callee: &Callee<'_>,
        vars: &BTreeMap<&str, VarId>,
        actual: Vec<Actual>,
        span: Span,
    ) {
        for (argument, actual) in callee.arguments.iter().zip(actual) {
            let (value, span) = match (actual, &argument.default) {
                (Some(given), _) => given,
                (None, Some(default)) => (self.expr(inner, default), default.span),
                (None, None) => (Value::ERROR, span),
            };
            let value = match &argument.ty {
                Some(ty) => {
                    let value = match value {
                        Value::List(_) => {
                            self.tensor(value, span).map_or(Value::ERROR, Value::Term)
                        }
                        value => value,
                    };
                    self.measure(vars, ty, &value);
                    self.typed(inner, value, ty, span)
                }
                None => self.layer_argument(inner, argument, value, span),
            };
            self.declare(inner, &argument.name, value);
        }
    }

    /// The value of an argument without a type. A layer goes where one is asked for, and only there.
    fn layer_argument(
        &mut self,
        inner: &Scope,
        argument: &Argument,
        value: Value,
        span: Span,
    ) -> Value {
        let name = &argument.name;
        let is_layer = matches!(value, Value::Layer(_));
        if is_layer == argument.is_layer || matches!(value, Value::Term(Terms::ERROR)) {
            return self.hold(value, &inner.home, &name.text);
        }
        let problem = match is_layer {
            true => Diagnostic::error("E024", format!("`{}` takes no layer", name.text))
                .label(span, "this is a layer")
                .label(name.span, "the argument")
                .hint(format!(
                    "an argument that is a layer is declared so: `{}: layer`",
                    name.text
                )),
            false => Diagnostic::error("E024", format!("`{}` takes a layer", name.text))
                .label(span, "this is none")
                .label(name.span, "the argument")
                .hint("a layer with its dimensions, without arguments: `dense[64]`"),
        };
        self.fail(problem)
    }

    /// Reports the dimensions of a call that nothing gives.
    fn check_dimensions(&mut self, callee: &Callee<'_>, vars: &BTreeMap<&str, VarId>, span: Span) {
        for dim in callee.dims {
            let Some(var) = vars.get(dim.name.text.as_str()) else { continue };
            if let VarSource::Arguments(places) = &self.program.terms.var(*var).source
                && places.is_empty()
            {
                let name = &callee.name.text;
                self.report(
                    Diagnostic::error(
                        "E033",
                        format!("`{name}` needs the dimension `{}`", dim.name.text),
                    )
                    .label(span, "not given in this call")
                    .label(dim.name.span, "it has no default")
                    .hint(format!("write `{name}[…](…)`")),
                );
                self.program.terms.var_mut(*var).source = VarSource::Given(Terms::ERROR);
            }
        }
    }

    /// Notes where the dimensions that a type names can be read off an argument.
    fn measure(&mut self, vars: &BTreeMap<&str, VarId>, ty: &TypeExpr, value: &Value) {
        // What is no tensor is reported.
        let term = if let Value::Term(term) = value { *term } else { Terms::ERROR };
        for (axis, dim) in ty.dims.iter().enumerate() {
            let var = plain_name(dim).and_then(|name| vars.get(name.text.as_str()));
            let Some(var) = var else { continue };
            if let VarSource::Arguments(places) = &mut self.program.terms.var_mut(*var).source {
                let (from_end, has_rest) = (ty.dims.len() - axis, ty.rest.is_some());
                places.push(AxisOf { term, axis, from_end, has_rest });
            }
        }
    }

    pub(super) fn recursion(&self, id: DefId, start: usize, span: Span) -> Diagnostic {
        let chain = &self.calls[start..];
        let names = chain.iter().map(|(id, _)| format!("`{}`", self.modules.name(*id)));
        let name = self.modules.name(id);
        let path = names.collect::<Vec<_>>().join(" → ");
        let problem = Diagnostic::error("E017", format!("`{name}` is defined by itself"))
            .label(span, "used here again")
            .label(self.modules.span(id), "defined here")
            .note(format!("{path} → `{name}`"))
            .hint("recursion in time is `prev(x)`");
        chain.iter().skip(1).fold(problem, |problem, (id, span)| {
            problem.label(*span, format!("through `{}`", self.modules.name(*id)))
        })
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

/// Whether a path that names no item means an operation: `tanh`, `prelude::tanh`.
fn is_operation(path: &[Name]) -> bool {
    match path {
        [name] => builtins::exists(&name.text),
        [module, name] => module.text == PRELUDE && builtins::exists(&name.text),
        _ => false,
    }
}
