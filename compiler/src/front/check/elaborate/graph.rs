//! A graph with its dimensions, inputs and outputs, and what no graph uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::scope::{Home, Scope, ScopeKind};
use super::types::{elem, names, plain_name};
use super::{Elaborator, Value};
use crate::diagnostic::Diagnostic;
use crate::front::check::modules::DefId;
use crate::front::check::report;
use crate::front::check::term::{InputDecl, Kind, Terms, VarSource};
use crate::front::syntax::ast::{Argument, DimArgument, GraphItem, ItemKind, Name};
use crate::ir::graph::Dim;
use crate::source::Span;

impl Elaborator<'_, '_> {
    /// The terms of a graph, with the given values of dimensions.
    pub fn graph(&mut self, id: DefId, given: &BTreeMap<String, i64>) {
        let (items, index) = self.modules.definition(id);
        let ItemKind::Graph(graph) = &items[index].kind else { return };
        let mut scope = Scope::new(id.module, ScopeKind::Graph, Home::default(), None);
        self.graph_dims(&mut scope, graph, given);
        if let Some(steps) = &graph.steps {
            self.program.time = self.program.dims.get(&steps.name.text).cloned();
        }
        for argument in &graph.arguments {
            self.input(&mut scope, argument);
        }
        self.statements(&mut scope, &graph.body);
        let mut seen: BTreeMap<&str, Span> = BTreeMap::new();
        for output in &graph.outputs {
            if let Some(first) = seen.insert(&output.text, output.span) {
                self.report(
                    Diagnostic::error(
                        "E022",
                        format!("the output `{}` is named twice", output.text),
                    )
                    .label(output.span, "named here again")
                    .label(first, "first named here"),
                );
                continue;
            }
            match scope.values.get(&output.text).cloned() {
                Some(value @ (Value::Term(_) | Value::List(_))) => {
                    let term = self.tensor(value, output.span).unwrap_or(Terms::ERROR);
                    self.program.outputs.push((output.clone(), term));
                }
                Some(_) => self.report(
                    Diagnostic::error("E024", format!("the output `{}` is a tuple", output.text))
                        .label(output.span, "a tuple")
                        .expected("a tensor or a stream")
                        .hint("take it apart in the body: `let (a, b) = …;`"),
                ),
                None => {
                    let names = scope.values.keys().map(String::as_str);
                    let hint = report::closest(&output.text, names)
                        .map(|likely| format!("did you mean `{likely}`?"));
                    let problem = Diagnostic::error(
                        "E022",
                        format!("the output `{}` is no binding of the body", output.text),
                    )
                    .label(output.span, "not found");
                    self.report(Diagnostic { hint, ..problem });
                }
            }
        }
    }

    /// Instantiates a function or layer that nothing calls, for the errors in it.
    pub fn uncalled(&mut self, id: DefId) {
        let (items, index) = self.modules.definition(id);
        let (kind, dims, arguments, body, name) = match &items[index].kind {
            ItemKind::Fn(item) => {
                (ScopeKind::Function, &[][..], &item.arguments, &item.body, &item.name)
            }
            ItemKind::Layer(item) => {
                (ScopeKind::Layer, &item.dims[..], &item.arguments, &item.body, &item.name)
            }
            ItemKind::Use(_) | ItemKind::Const(_) | ItemKind::Graph(_) => return,
        };
        let home = Home::default().inner(&name.text);
        let mut scope = Scope::new(id.module, kind, home, None);
        self.calls.push((id, name.span));
        for dim in dims {
            self.declare(&mut scope, &dim.name, Value::ERROR);
        }
        for argument in arguments {
            for name in argument.ty.iter().flat_map(|ty| &ty.dims).filter_map(plain_name) {
                scope.values.entry(name.text.clone()).or_insert(Value::ERROR);
            }
        }
        for argument in arguments {
            if let Some(ty) = &argument.ty {
                self.declared_type(&mut scope, ty);
            }
            if let Some(default) = &argument.default {
                self.expr(&mut scope, default);
            }
            self.declare(&mut scope, &argument.name, Value::ERROR);
        }
        self.body(&mut scope, body);
        self.calls.pop();
    }

    fn graph_dims(&mut self, scope: &mut Scope, graph: &GraphItem, given: &BTreeMap<String, i64>) {
        let dims: Vec<&DimArgument> = graph.steps.iter().chain(&graph.dims).collect();
        let mut open = Vec::new();
        for ty in graph.arguments.iter().filter_map(|argument| argument.ty.as_ref()) {
            ty.time.iter().chain(&ty.dims).for_each(|dim| names(dim, &mut open));
        }
        open.retain(|name| {
            dims.iter().all(|dim| dim.name.text != name.text)
                && self.modules.visible(scope.module, &name.text).is_none()
        });
        for name in &open {
            let dim = self.open_or_given(name, given);
            self.program.dims.insert(name.text.clone(), dim.clone());
            self.bind_dim(scope, name, VarSource::Fixed(dim));
        }
        for dim in dims {
            let value = match (&dim.default, given.get(&dim.name.text)) {
                (Some(default), None) => {
                    let value = self.term(scope, default);
                    match self.whole(value, default.span) {
                        Some(dim) => dim,
                        // Reported: go on with an open dimension.
                        None => Dim::symbol(&dim.name.text),
                    }
                }
                _ => self.open_or_given(&dim.name, given),
            };
            if scope.values.contains_key(&dim.name.text) {
                self.declare(scope, &dim.name, Value::ERROR);
                continue;
            }
            self.program.dims.insert(dim.name.text.clone(), value.clone());
            self.bind_dim(scope, &dim.name, VarSource::Fixed(value));
        }
        for name in given.keys().filter(|name| !scope.values.contains_key(*name)) {
            let is_const = self.modules.visible(scope.module, name).is_some();
            let names = scope.values.keys().map(String::as_str);
            let likely = report::closest(name, names).map(|name| format!("did you mean `{name}`?"));
            let problem = Diagnostic::error(
                "E019",
                format!("the graph `{}` has no open dimension `{name}`", graph.name.text),
            )
            .label(graph.name.span, format!("-D {name} is given for this graph"));
            let hint = match is_const {
                true => Some(format!("`{name}` is a constant of the program")),
                false => likely,
            };
            self.report(Diagnostic { hint, ..problem });
        }
    }

    fn open_or_given(&mut self, name: &Name, given: &BTreeMap<String, i64>) -> Dim {
        match given.get(&name.text) {
            Some(value) if (1..=i64::from(i32::MAX)).contains(value) => Dim::constant(*value),
            Some(value) => {
                self.report(
                    Diagnostic::error("E045", format!("{value} is no dimension"))
                        .label(name.span, format!("-D {}={value} is given for this", name.text))
                        .expected(format!("a number from 1 to {}", i32::MAX)),
                );
                Dim::symbol(&name.text)
            }
            None => Dim::symbol(&name.text),
        }
    }

    fn input(&mut self, scope: &mut Scope, argument: &Argument) {
        let name = &argument.name;
        if let Some(default) = &argument.default {
            self.report(
                Diagnostic::error("E026", "an input of a graph has no default")
                    .label(default.span, "not allowed here")
                    .hint("inputs are given when the graph runs; a number is a `const`"),
            );
        }
        let Some(ty) = &argument.ty else {
            let problem =
                Diagnostic::error("E026", format!("the input `{}` has no type", name.text))
                    .label(name.span, "expected a type after this")
                    .hint(format!("write `{}: [B, N]`, or `[T; B, N]` for a stream", name.text));
            self.report(problem);
            self.declare(scope, name, Value::ERROR);
            return;
        };
        self.refuse_rest(ty);
        let dims: Option<Vec<Dim>> = ty
            .dims
            .iter()
            .map(|dim| {
                let term = self.term(scope, dim);
                self.whole(term, dim.span)
            })
            .collect();
        if let Some(time) = &ty.time {
            let term = self.term(scope, time);
            if let Some(length) = self.whole(term, time.span) {
                match self.program.time.clone() {
                    None => self.program.time = Some(length),
                    Some(known) if known != length => self.report(
                        Diagnostic::error("E062", "the streams of a graph have one length")
                            .label(time.span, format!("the length of this is {length}"))
                            .expected(known.to_string())
                            .found(length.to_string()),
                    ),
                    Some(_) => {}
                }
            }
        }
        let (Some(dims), false) = (dims, self.is_full) else {
            self.declare(scope, name, Value::ERROR);
            return;
        };
        let term = self.push(scope, Kind::Input(self.program.inputs.len()), Vec::new(), name.span);
        self.program.inputs.push(InputDecl {
            name: name.text.clone(),
            docs: argument.docs.join("\n"),
            elem: elem(ty),
            dims,
            is_stream: ty.time.is_some(),
        });
        if self.declare(scope, name, Value::Term(term)) {
            self.program.terms.get_mut(term).name = Some(Arc::from(name.text.as_str()));
        }
    }
}
