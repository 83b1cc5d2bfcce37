//! Calls of functions and layers: what is inlined, and under which paths.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::arguments::argument_span;
use super::scope::{Home, Scope, ScopeKind};
use super::{Call, Elaborator, Formal, Value, plain_name};
use crate::diagnostic::Diagnostic;
use crate::front::check::modules::{DefId, PRELUDE, Unresolved};
use crate::front::check::term::{AxisOf, Frame, TermId, Terms, VarId, VarSource};
use crate::front::check::{ops, report};
use crate::front::syntax::ast::{
    Argument, Body, CallArgument, DimArgument, Function, ItemKind, Layer, Name, TypeExpr,
};
use crate::source::Span;

/// A call of a function or layer takes room for as many levels of expressions.
const CALL_DEPTH: usize = 4;
/// A function or a layer.
pub(super) struct Callee<'a> {
    pub id: DefId,
    pub name: &'a Name,
    dims: &'a [DimArgument],
    pub arguments: &'a [Argument],
    body: &'a Body,
}

impl<'a> Callee<'a> {
    fn function(id: DefId, item: &'a Function) -> Callee<'a> {
        let Function { name, arguments, body } = item;
        Callee { id, name, dims: &[], arguments, body }
    }

    pub(super) fn layer(id: DefId, item: &'a Layer) -> Callee<'a> {
        let Layer { name, dims, arguments, body } = item;
        Callee { id, name, dims, arguments, body }
    }
}

/// An argument, or the default in its place.
pub(super) type Actual = Option<(Value, Span)>;

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
                    self.operation(scope, &callee.text, call, name)
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

    pub(super) fn no_callee(
        &self,
        callee: &[Name],
        span: Span,
        hint: Option<String>,
    ) -> Diagnostic {
        let name = callee.last().map_or("", |name| &name.text);
        let hint = ops::closest(name)
            .map(|likely| format!("did you mean `{likely}`?"))
            .filter(|_| hint.is_none() && callee.len() == 1)
            .or(hint);
        let path = callee.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join("::");
        let at = callee.last().map_or(span, |name| name.span);
        let problem = Diagnostic::error("E015", format!("there is no function or layer `{path}`"))
            .label(at, "not found");
        Diagnostic { hint, ..problem }
    }

    pub(super) fn report_dims(&mut self, callee: &str, span: Span) {
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
            ItemKind::Use(_) | ItemKind::Const(_) | ItemKind::Graph(_) => {
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
    pub(super) fn may_own(&mut self, scope: &mut Scope, call: &Call<'_>) -> bool {
        let may = scope.has_memory();
        if !may {
            self.arguments(scope, call.arguments);
            self.report(report::impure(call.span, "a layer"));
        }
        may
    }

    // Inlining

    /// The value of a function's or layer's body with the arguments of a call.
    pub(super) fn instantiate(
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
    pub(super) fn inline(
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
                        Value::Term(_) | Value::Tuple(_) | Value::Layer(_) | Value::Same => value,
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
}

/// Whether a path that names no item means an operation: `tanh`, `prelude::tanh`.
pub(super) fn is_operation(path: &[Name]) -> bool {
    match path {
        [name] => ops::exists(&name.text),
        [module, name] => module.text == PRELUDE && ops::exists(&name.text),
        _ => false,
    }
}
