//! The instantiation of a graph: functions are inlined, layers become instances with parameters and
//! memory of their own, and what remains is a list of [`Term`]s.
//!
//! Functions are pure: they hold no parameters, no memory and no layers.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use super::calls::{Call, Home, Instance};
use super::modules::{DefId, ModuleId, Modules, Unresolved};
use super::term::{
    BindingDecl, Choice, FrameId, InputDecl, Kind, ParamDecl, Program, Static, Term, TermId, Terms,
    VarId, VarSource,
};
use super::{builtins, report};
use crate::diagnostic::Diagnostic;
use crate::front::syntax::ast::{
    Argument, BinaryOp, Body, DimArgument, Expr, ExprKind, GraphItem, ItemKind, Let, Name, Next,
    Param, Pattern, State, StatementKind, TypeExpr, UnaryOp,
};
use crate::ir::graph::{Dim, Elem, ParamKind, Pointwise};
use crate::source::Span;

/// More terms than this are refused.
const MAX_TERMS: usize = 100_000;
/// More levels of expressions and calls than this are refused: each takes room on the stack.
const MAX_DEPTH: usize = 400;

/// The input of a program in training that says how far it has come, a scalar from 0 to 1.
pub const PROGRESS: &str = "train.progress";

/// What an expression stands for.
#[derive(Clone, Debug)]
pub enum Value {
    Term(TermId),
    Tuple(Rc<Tuple>),
    List(Rc<[Value]>),
    Layer(Rc<Instance>),
    /// The padding that keeps axes as long as they are.
    Same,
}

/// The parts of a tuple. They are shared: `let b = (a, a); let c = (b, b); …` doubles with each line.
#[derive(Debug)]
pub struct Tuple {
    pub parts: Vec<Value>,
    depth: usize,
}

impl Value {
    pub const ERROR: Value = Value::Term(Terms::ERROR);
}

/// The names of one body.
pub struct Scope {
    pub module: ModuleId,
    kind: ScopeKind,
    /// Of the names of bindings, parameters and instances.
    pub home: Home,
    pub frame: Option<FrameId>,
    values: BTreeMap<String, Value>,
    states: BTreeMap<String, StateOf>,
    /// Bindings not reached yet.
    later: BTreeMap<String, Later>,
    /// Instances that no single name holds, for each layer.
    unnamed: BTreeMap<String, usize>,
    /// The binding that is being elaborated, and how many `prev` are around the expression.
    current: Vec<String>,
    prevs: usize,
    early: Vec<(Vec<String>, Name)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    Constant,
    Function,
    Layer,
    Graph,
}

/// A parameter or state.
struct Known {
    span: Span,
    /// Among the parameters.
    index: usize,
    /// The path of the memories of the call that made it.
    made_in: String,
}

impl Known {
    fn new(span: Span, index: usize, scope: &Scope) -> Known {
        Known { span, index, made_in: scope.home.memory.clone() }
    }
}

/// A state of a body.
struct StateOf {
    /// Among the parameters.
    index: usize,
    dims: Vec<TermId>,
    /// Where its next value is given.
    next: Option<Span>,
}

struct Later {
    span: Span,
    /// The terms that stand for it.
    forwards: Vec<TermId>,
}

/// Builds the terms of one graph.
pub struct Elaborator<'m, 'l> {
    pub modules: &'m mut Modules<'l>,
    pub program: Program,
    /// The definitions that are being instantiated, with the places of the calls.
    pub calls: Vec<(DefId, Span)>,
    constants: HashMap<DefId, Option<Static>>,
    /// The parameters and states by path.
    params: HashMap<String, Known>,
    /// Functions and layers that were instantiated.
    pub used: std::collections::HashSet<DefId>,
    pub depth: usize,
    is_full: bool,
    /// How many draws of random numbers there are so far, also in branches that are left out.
    pub draws: i32,
    /// It is a step of training.
    training: bool,
    /// Whether the program asks that.
    pub asks_training: bool,
}

impl<'m, 'l> Elaborator<'m, 'l> {
    pub fn new(modules: &'m mut Modules<'l>, training: bool) -> Elaborator<'m, 'l> {
        Elaborator {
            modules,
            program: Program::new(),
            calls: Vec::new(),
            constants: HashMap::new(),
            params: HashMap::new(),
            used: Default::default(),
            depth: 0,
            is_full: false,
            draws: 0,
            training,
            asks_training: false,
        }
    }

    /// Whether a limit was exceeded, so that what there is of the program is of no use.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    pub fn report(&mut self, problem: Diagnostic) {
        self.modules.diagnostics.push(problem);
    }

    /// Reports, and gives the value that causes no further reports.
    pub fn fail(&mut self, problem: Diagnostic) -> Value {
        self.report(problem);
        Value::ERROR
    }

    pub fn push(&mut self, scope: &Scope, kind: Kind, args: Vec<TermId>, span: Span) -> TermId {
        self.push_at(scope, kind, args, Vec::new(), span)
    }

    /// As [`Elaborator::push`], with the places of the operands.
    pub fn push_at(
        &mut self,
        scope: &Scope,
        kind: Kind,
        args: Vec<TermId>,
        places: Vec<Span>,
        span: Span,
    ) -> TermId {
        self.push_in(scope.frame, kind, args, places, span)
    }

    fn push_in(
        &mut self,
        frame: Option<FrameId>,
        kind: Kind,
        args: Vec<TermId>,
        places: Vec<Span>,
        span: Span,
    ) -> TermId {
        if self.program.terms.len() >= MAX_TERMS {
            self.report_size(span);
            return Terms::ERROR;
        }
        self.program.terms.push(Term { kind, args, span, places, frame, name: None })
    }

    /// `training()`: 1 or 0.
    pub fn training(&mut self, scope: &Scope, span: Span) -> TermId {
        self.asks_training = true;
        let value = f64::from(u8::from(self.training));
        self.push(scope, Kind::Literal { value, integer: true }, Vec::new(), span)
    }

    /// `progress()`: while training it is an input of its own, elsewhere 1.
    pub fn progress(&mut self, scope: &Scope, span: Span) -> TermId {
        self.asks_training = true;
        if !self.training {
            return self.push(
                scope,
                Kind::Literal { value: 1.0, integer: false },
                Vec::new(),
                span,
            );
        }
        let inputs = &mut self.program.inputs;
        let known = inputs.iter().position(|input| input.name == PROGRESS);
        let index = known.unwrap_or_else(|| {
            inputs.push(InputDecl {
                name: PROGRESS.into(),
                docs: "How far training has come, from 0 to 1.".into(),
                elem: Elem::F32,
                dims: Vec::new(),
                is_stream: false,
            });
            inputs.len() - 1
        });
        self.push(scope, Kind::Input(index), Vec::new(), span)
    }

    fn report_size(&mut self, span: Span) {
        if !std::mem::replace(&mut self.is_full, true) {
            let problem = Diagnostic::error(
                "E071",
                format!(
                    "the program is too large: more than {MAX_TERMS} operations after inlining"
                ),
            );
            let problem = match self.calls.first() {
                Some((_, call)) => problem.label(*call, "reached in this call"),
                None => problem.label(span, "reached here"),
            };
            self.report(
                problem
                    .expected(format!("at most {MAX_TERMS}"))
                    .hint("a value that is used twice is computed once if it has a name: `let`"),
            );
        }
    }

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
            _ => return,
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

    // Dimensions and inputs of a graph

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

    pub fn bind_dim(&mut self, scope: &mut Scope, name: &Name, source: VarSource) -> VarId {
        let var = self.program.terms.add_var(&name.text, source);
        let term = self.push(scope, Kind::Dimension(var), Vec::new(), name.span);
        scope.values.insert(name.text.clone(), Value::Term(term));
        var
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

    /// The whole number that a term is, known before types are; reports if it is none.
    fn whole(&mut self, term: TermId, span: Span) -> Option<Dim> {
        let known = self.program.terms.known(term).cloned();
        if known == Some(Static::Broken) {
            return None;
        }
        match super::shape::dimension(known.as_ref(), span) {
            Ok(Some(dim)) => Some(dim),
            Ok(None) => {
                self.report(report::not_constant(span));
                None
            }
            Err(problem) => {
                self.report(*problem);
                None
            }
        }
    }

    // Bodies

    /// Elaborates a body and gives its value.
    pub fn body(&mut self, scope: &mut Scope, body: &Body) -> Value {
        self.statements(scope, body);
        match &body.result {
            Some(result) => self.expr(scope, result),
            None => Value::ERROR,
        }
    }

    fn statements(&mut self, scope: &mut Scope, body: &Body) {
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
            super::causality::problems(body, &early).into_iter().for_each(|one| self.report(one));
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
                        _ => {
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
                value => {
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
        let is_plain = matches!(
            term.kind,
            Kind::Error
                | Kind::Literal { .. }
                | Kind::Bool(_)
                | Kind::Dimension(_)
                | Kind::TimeSteps
                | Kind::TimeIndex
                | Kind::Forward
        );
        if term.name.is_none() && !is_plain && scope.kind != ScopeKind::Function {
            term.name = Some(format!("{}{name}", scope.home.memory).into());
        }
    }

    fn param(&mut self, scope: &mut Scope, item: &Param, docs: String) {
        if scope.kind == ScopeKind::Function {
            self.report(report::impure(item.name.span, "a parameter"));
            self.declare(scope, &item.name, Value::ERROR);
            return;
        }
        if elem(&item.ty) != Elem::F32 {
            self.report(
                Diagnostic::error("E051", "parameters are f32")
                    .label(item.ty.span, "not an f32 tensor")
                    .hint("integers cannot be trained: make it an input of the graph"),
            );
        }
        let dims = self.full_type(scope, &item.ty);
        let init = self.initialiser(scope, &item.init);
        let bounds =
            item.bounds.as_ref().map(|(low, high)| (self.term(scope, low), self.term(scope, high)));
        let path = format!("{}{}", scope.home.params, item.name.text);
        let index = self.program.params.len();
        if let Some(known) = self.params.get(&path) {
            let (other, index) = (known.span, known.index);
            if scope.home.is_shared && known.made_in != scope.home.memory {
                return self.shared_param(scope, item, index, dims);
            }
            let problem = Diagnostic::error("E020", format!("two parameters are called `{path}`"))
                .label(item.name.span, "this one")
                .label(other, "and this one")
                .hint("an instance that no name holds is called `layer_1`: rename the binding that has such a name");
            self.report(problem);
        }
        self.params.insert(path.clone(), Known::new(item.name.span, index, scope));
        let term = self.push(scope, Kind::Param(index), Vec::new(), item.name.span);
        if self.is_full {
            return;
        }
        let (init, init_args) = init.unwrap_or_default();
        self.program.params.push(ParamDecl {
            path: path.clone(),
            docs,
            span: item.name.span,
            frame: scope.frame,
            dims,
            init,
            init_args,
            elem: Elem::F32,
            kind: if item.is_fixed { ParamKind::Fixed } else { ParamKind::Trained },
            bounds,
        });
        if self.declare(scope, &item.name, Value::Term(term)) {
            self.program.terms.get_mut(term).name = Some(path.into());
        }
    }

    /// A tensor that stays from run to run: its value before the run, which nothing is differentiated for.
    fn state(&mut self, scope: &mut Scope, item: &State, docs: String) {
        let (name, span) = (&item.name, item.name.span);
        if scope.kind == ScopeKind::Function {
            self.report(report::impure(span, "a state"));
            self.declare(scope, name, Value::ERROR);
            return;
        }
        let dims = self.full_type(scope, &item.ty);
        let (init, init_args) = self.initialiser(scope, &item.init).unwrap_or_default();
        let (path, index) =
            (format!("{}{}", scope.home.memory, name.text), self.program.params.len());
        let known = Known::new(span, index, scope);
        if let Some(Known { span: other, .. }) = self.params.insert(path.clone(), known) {
            let problem = Diagnostic::error("E020", format!("two tensors are called `{path}`"))
                .label(span, "this one")
                .label(other, "and this one");
            self.report(problem);
        }
        let term = self.push(scope, Kind::Param(index), Vec::new(), span);
        if self.is_full {
            return;
        }
        let declared = dims.clone();
        self.program.params.push(ParamDecl {
            path: path.clone(),
            docs,
            span,
            frame: scope.frame,
            dims,
            init,
            init_args,
            elem: elem(&item.ty),
            kind: ParamKind::State,
            bounds: None,
        });
        if self.declare(scope, name, Value::Term(term)) {
            self.program.terms.get_mut(term).name = Some(path.into());
            scope.states.insert(name.text.clone(), StateOf { index, dims: declared, next: None });
        }
    }

    /// The value of a state after the run, of the state's type.
    fn next(&mut self, scope: &mut Scope, item: &Next) {
        let value = self.expr(scope, &item.value);
        let (name, span) = (&item.name, item.name.span);
        let Some(state) = scope.states.get_mut(&name.text) else {
            let names = scope.states.keys().map(String::as_str);
            let hint = report::closest(&name.text, names)
                .map(|likely| format!("did you mean `{likely}`?"))
                .or(Some("a state is declared before: `state m: [N] = zeros();`".into()));
            let message = format!("the body has no state `{}`", name.text);
            let problem = Diagnostic::error("E014", message).label(span, "not found");
            return self.report(Diagnostic { hint, ..problem });
        };
        if let Some(first) = state.next.replace(span) {
            let problem = Diagnostic::error("E020", format!("`{}` has two next values", name.text))
                .label(span, "given here again")
                .label(first, "first given here");
            return self.report(problem);
        }
        let (index, dims) = (state.index, state.dims.clone());
        let Some(term) = self.tensor(value, item.value.span) else { return };
        let args = std::iter::once(term).chain(dims).collect();
        let kind = Kind::Typed { elem: self.program.params[index].elem, has_rest: false };
        let span = item.value.span;
        let term = self.push_at(scope, kind, args, vec![span], span);
        self.program.nexts.push((index, term));
    }

    /// A parameter that an earlier call of the instance made: of the same dimensions.
    fn shared_param(&mut self, scope: &mut Scope, item: &Param, index: usize, dims: Vec<TermId>) {
        let span = item.name.span;
        let param = self.push(scope, Kind::Param(index), Vec::new(), span);
        let args = std::iter::once(param).chain(dims).collect();
        let kind = Kind::Typed { elem: Elem::F32, has_rest: false };
        let term = self.push_at(scope, kind, args, vec![span], span);
        self.declare(scope, &item.name, Value::Term(term));
    }

    /// The terms of a type's dimensions, where `..` has no place.
    fn full_type(&mut self, scope: &mut Scope, ty: &TypeExpr) -> Vec<TermId> {
        self.refuse_rest(ty);
        self.declared_type(scope, ty)
    }

    fn refuse_rest(&mut self, ty: &TypeExpr) {
        if let Some(rest) = ty.rest {
            self.report(
                Diagnostic::error("E048", "`..` stands only in the type of an argument")
                    .label(rest, "not allowed here")
                    .hint("write all dimensions: here their number must be known"),
            );
        }
    }

    /// The terms of a type's dimensions.
    fn declared_type(&mut self, scope: &mut Scope, ty: &TypeExpr) -> Vec<TermId> {
        if let Some(time) = &ty.time {
            self.report(
                Diagnostic::error("E062", "only the inputs of a graph say that they are streams")
                    .label(time.span, "not allowed here")
                    .hint("elsewhere it is inferred: write the type of one step"),
            );
        }
        ty.dims.iter().map(|dim| self.term(scope, dim)).collect()
    }

    pub fn typed(&mut self, scope: &mut Scope, value: Value, ty: &TypeExpr, span: Span) -> Value {
        let dims = self.declared_type(scope, ty);
        let Some(term) = self.tensor(value, span) else { return Value::ERROR };
        let args = std::iter::once(term).chain(dims).collect();
        let kind = Kind::Typed { elem: elem(ty), has_rest: ty.rest.is_some() };
        Value::Term(self.push_at(scope, kind, args, vec![span], span))
    }

    // Expressions

    /// The tensor that a value is; reports a tuple or a list.
    pub fn tensor(&mut self, value: Value, span: Span) -> Option<TermId> {
        match value {
            Value::Term(term) => Some(term),
            Value::Tuple(_) => {
                self.report(report::not_a_tensor(span));
                None
            }
            Value::Same => {
                self.report(report::only_a_padding(span));
                None
            }
            Value::List(parts) => self.array(&parts, span),
            Value::Layer(_) => {
                self.report(
                    Diagnostic::error("E016", "a layer is not a value")
                        .label(span, "expected a tensor")
                        .hint("call it with its arguments: `layer[N](x)`"),
                );
                None
            }
        }
    }

    /// A list of numbers, or of such lists, as a tensor.
    fn array(&mut self, parts: &[Value], span: Span) -> Option<TermId> {
        let mut args = Vec::new();
        let dims = self.elements(parts, span, &mut args)?;
        let frame = args.first().and_then(|first| self.program.terms[*first].frame);
        Some(self.push_in(frame, Kind::Array(dims), args, Vec::new(), span))
    }

    /// The dimensions of a list, whose numbers are appended to others.
    fn elements(
        &mut self,
        parts: &[Value],
        span: Span,
        numbers: &mut Vec<TermId>,
    ) -> Option<Vec<usize>> {
        let mut first: Option<(Vec<usize>, Span)> = None;
        for part in parts {
            let start = numbers.len();
            let dims = match part {
                Value::Term(Terms::ERROR) => return None,
                Value::Term(term) => {
                    numbers.push(*term);
                    Vec::new()
                }
                Value::List(parts) => self.elements(parts, span, numbers)?,
                Value::Tuple(_) | Value::Layer(_) | Value::Same => {
                    self.tensor(part.clone(), span);
                    return None;
                }
            };
            let place = |id: &TermId| self.program.terms[*id].span;
            let place = numbers[start..].iter().map(place).reduce(Span::to).unwrap_or(span);
            match &first {
                Some((expected, before)) if *expected != dims => {
                    let problem = report::ragged((expected, *before), (&dims, place));
                    self.report(problem);
                    return None;
                }
                Some(_) => {}
                None => first = Some((dims, place)),
            }
        }
        let Some((inner, _)) = first else {
            let problem = Diagnostic::error("E025", "a list without numbers is no tensor")
                .label(span, "this is empty")
                .expected("at least one number");
            self.report(problem);
            return None;
        };
        Some([vec![parts.len()], inner].concat())
    }

    pub fn term(&mut self, scope: &mut Scope, expr: &Expr) -> TermId {
        let value = self.expr(scope, expr);
        self.tensor(value, expr.span).unwrap_or(Terms::ERROR)
    }

    pub fn expr(&mut self, scope: &mut Scope, expr: &Expr) -> Value {
        self.held(scope, expr, None)
    }

    /// The value of an expression; `name` is that of the binding that holds the expression as a whole.
    fn held(&mut self, scope: &mut Scope, expr: &Expr, name: Option<&str>) -> Value {
        if self.is_full {
            return Value::ERROR;
        }
        if self.depth >= MAX_DEPTH {
            self.report_depth(expr.span);
            return Value::ERROR;
        }
        self.depth += 1;
        let value = match &expr.kind {
            ExprKind::Number { value, integer } => {
                let kind = Kind::Literal { value: *value, integer: *integer };
                Value::Term(self.push(scope, kind, Vec::new(), expr.span))
            }
            ExprKind::Bool(value) => {
                Value::Term(self.push(scope, Kind::Bool(*value), Vec::new(), expr.span))
            }
            ExprKind::Path(path) => self.path(scope, path, expr.span),
            ExprKind::Unary(op, inner) => self.unary(scope, *op, inner, expr.span),
            ExprKind::Binary(..) => self.binary(scope, expr),
            ExprKind::If { condition, then, otherwise } => {
                Value::Term(self.choice(scope, [condition, then, otherwise], expr.span))
            }
            ExprKind::Call { callee, dims, arguments } => {
                self.call(scope, &Call { callee, dims, arguments, span: expr.span }, name)
            }
            ExprKind::Instance { callee, dims } => self.layer_value(scope, callee, dims, expr.span),
            ExprKind::Tuple(parts) => {
                let parts = parts.iter().map(|part| self.expr(scope, part)).collect();
                self.tuple(parts, expr.span)
            }
            ExprKind::List(parts) => {
                Value::List(parts.iter().map(|part| self.expr(scope, part)).collect())
            }
            ExprKind::Error => Value::ERROR,
        };
        self.depth -= 1;
        value
    }

    /// Both branches, for the errors in them and the calls that are numbered.
    fn choice(&mut self, scope: &mut Scope, parts: [&Expr; 3], span: Span) -> TermId {
        let mut ends = [0; 3];
        let mut args = Vec::new();
        for (part, end) in parts.into_iter().zip(&mut ends) {
            args.push(self.term(scope, part));
            *end = self.program.terms.len() as u32;
        }
        let places = parts.iter().map(|part| part.span).collect();
        let term = self.push_at(scope, Kind::If, args, places, span);
        if !self.is_full {
            let branches = [ends[0]..ends[1], ends[1]..ends[2]];
            self.program.choices.push(Choice { term, branches });
        }
        term
    }

    pub fn tuple(&mut self, parts: Vec<Value>, span: Span) -> Value {
        let depth = |part: &Value| if let Value::Tuple(tuple) = part { tuple.depth } else { 0 };
        let depth = 1 + parts.iter().map(depth).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            self.report_depth(span);
            return Value::ERROR;
        }
        Value::Tuple(Rc::new(Tuple { parts, depth }))
    }

    fn report_depth(&mut self, span: Span) {
        // What follows would be of no use, and there can be much of it.
        self.is_full = true;
        self.report(
            Diagnostic::error("E071", "calls, expressions or tuples are nested too deeply")
                .label(span, "reached here")
                .expected(format!("at most {MAX_DEPTH} levels")),
        );
    }

    fn unary(&mut self, scope: &mut Scope, op: UnaryOp, inner: &Expr, span: Span) -> Value {
        if let (UnaryOp::Neg, ExprKind::Number { value, integer: false }) = (op, &inner.kind) {
            let kind = Kind::Literal { value: -value, integer: false };
            return Value::Term(self.push(scope, kind, Vec::new(), span));
        }
        let operand = self.term(scope, inner);
        let op = match op {
            UnaryOp::Neg => Pointwise::Neg,
            UnaryOp::Not => Pointwise::Not,
        };
        Value::Term(self.push_at(scope, Kind::Map(op), vec![operand], vec![inner.span], span))
    }

    /// A chain of operators that associate to the left is walked in a loop: it can be long.
    fn binary(&mut self, scope: &mut Scope, expr: &Expr) -> Value {
        let mut chain = Vec::new();
        let mut first = expr;
        while let ExprKind::Binary(op, left, right) = &first.kind {
            chain.push((*op, right, first.span));
            first = left;
        }
        let mut value = self.term(scope, first);
        let mut left = first.span;
        for (op, right, span) in chain.into_iter().rev() {
            let args = vec![value, self.term(scope, right)];
            value = self.push_at(scope, operation(op), args, vec![left, right.span], span);
            left = span;
        }
        Value::Term(value)
    }

    fn path(&mut self, scope: &mut Scope, path: &[Name], span: Span) -> Value {
        if let [name] = path {
            if let Some(value) = scope.values.get(&name.text) {
                let value = value.clone();
                return self.fresh(scope, value, span);
            }
            if scope.comes_later(&name.text) {
                return self.later(scope, name);
            }
            let number = match name.text.as_str() {
                "inf" => Some(f64::INFINITY),
                "pi" => Some(std::f64::consts::PI),
                _ => None,
            };
            let is_free = self.modules.visible(scope.module, &name.text).is_none();
            if name.text == "same" && is_free {
                return Value::Same;
            }
            if let (Some(value), true) = (number, is_free) {
                let kind = Kind::Literal { value, integer: false };
                return Value::Term(self.push(scope, kind, Vec::new(), span));
            }
        }
        match self.modules.resolve(scope.module, path) {
            Ok(id) => self.item_value(scope, id, span),
            Err(Unresolved::Reported) => Value::ERROR,
            Err(Unresolved::Unknown(hint)) => {
                let name = path.last().map_or("", |name| &name.text);
                let near = scope.values.keys().chain(scope.later.keys()).map(String::as_str);
                let hint = report::closest(name, near)
                    .map(|likely| format!("did you mean `{likely}`?"))
                    .or(hint);
                let problem = match builtins::exists(name) {
                    true => Diagnostic::error("E016", format!("`{name}` is an operation"))
                        .label(span, "not a value")
                        .hint(format!("call it: `{name}(…)`")),
                    false => Diagnostic { hint, ..report::unknown(name, span) },
                };
                self.fail(problem)
            }
        }
    }

    /// A number is made anew at each use: there it takes the type it meets.
    fn fresh(&mut self, scope: &Scope, value: Value, span: Span) -> Value {
        let Value::Term(id) = value else { return value };
        match self.program.terms[id].kind {
            Kind::Literal { .. } | Kind::Dimension(_) => {
                let kind = self.program.terms[id].kind.clone();
                Value::Term(self.push(scope, kind, Vec::new(), span))
            }
            _ => value,
        }
    }

    /// A binding of this body that has no value yet.
    fn later(&mut self, scope: &mut Scope, name: &Name) -> Value {
        if scope.prevs == 0 {
            return self.too_early(scope, name);
        }
        let forward = self.push(scope, Kind::Forward, Vec::new(), name.span);
        if let Some(later) = scope.later.get_mut(&name.text) {
            later.forwards.push(forward);
        }
        Value::Term(forward)
    }

    /// Notes a binding that is mentioned before it has a value.
    pub fn too_early(&mut self, scope: &mut Scope, name: &Name) -> Value {
        scope.early.push((scope.current.clone(), name.clone()));
        Value::ERROR
    }

    /// The value of an item's name: constants and layers have one.
    fn item_value(&mut self, scope: &Scope, id: DefId, span: Span) -> Value {
        let (items, index) = self.modules.definition(id);
        let (what, hint) = match &items[index].kind {
            ItemKind::Const(_) => {
                return match self.constant(id, span) {
                    Some(Static::Bool(value)) => {
                        Value::Term(self.push(scope, Kind::Bool(value), Vec::new(), span))
                    }
                    Some(value) => {
                        let integer = matches!(value, Static::Dim(_));
                        let value = value.number().unwrap_or(f64::NAN);
                        let kind = Kind::Literal { value, integer };
                        Value::Term(self.push(scope, kind, Vec::new(), span))
                    }
                    None => Value::ERROR,
                };
            }
            ItemKind::Fn(item) => ("a function", format!("call it: `{}(…)`", item.name.text)),
            ItemKind::Layer(_) => return self.instance_of(id, Vec::new()),
            _ => ("a graph", "graphs are entry points; share code in a layer".to_string()),
        };
        let name = self.modules.name(id);
        let problem = Diagnostic::error("E016", format!("`{name}` is {what}, not a value"))
            .label(span, "expected a value")
            .label(self.modules.span(id), "defined here")
            .hint(hint);
        self.fail(problem)
    }

    /// The number that a `const` is; `None` if that is an error, reported where it is defined.
    fn constant(&mut self, id: DefId, span: Span) -> Option<Static> {
        if let Some(known) = self.constants.get(&id) {
            return known.clone();
        }
        if let Some(start) = self.calls.iter().position(|(call, _)| *call == id) {
            let problem = self.recursion(id, start, span);
            self.report(problem);
            return None;
        }
        let (items, index) = self.modules.definition(id);
        let ItemKind::Const(item) = &items[index].kind else { return None };
        self.calls.push((id, span));
        let mut scope = Scope::new(id.module, ScopeKind::Constant, Home::default(), None);
        let term = self.term(&mut scope, &item.value);
        self.calls.pop();
        let known = self.program.terms.known(term).cloned();
        let is_number = known
            .as_ref()
            .is_some_and(|known| known.number().is_some() || matches!(known, Static::Bool(_)));
        if !is_number && known != Some(Static::Broken) {
            self.report(report::not_constant(item.value.span));
        }
        let value = known.filter(|_| is_number);
        self.constants.insert(id, value.clone());
        value
    }

    /// Checks the constants that nothing uses.
    pub fn check_constant(&mut self, id: DefId) {
        let span = self.modules.span(id);
        self.constant(id, span);
    }
}

impl Scope {
    pub fn new(module: ModuleId, kind: ScopeKind, home: Home, frame: Option<FrameId>) -> Scope {
        Scope {
            module,
            kind,
            home,
            frame,
            values: BTreeMap::new(),
            states: BTreeMap::new(),
            later: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            current: Vec::new(),
            prevs: 0,
            early: Vec::new(),
        }
    }

    /// Whether `prev` may stand here.
    pub fn has_memory(&self) -> bool {
        matches!(self.kind, ScopeKind::Layer | ScopeKind::Graph)
    }

    /// What a name stands for, if it has a value by now.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    pub fn comes_later(&self, name: &str) -> bool {
        self.later.contains_key(name)
    }

    /// The name of an instance that no single name holds.
    pub fn unnamed(&mut self, layer: &str) -> String {
        let count = self.unnamed.entry(layer.to_string()).or_default();
        *count += 1;
        format!("{layer}_{count}")
    }

    /// Around what stands inside a `prev`.
    pub fn enter_prev(&mut self) {
        self.prevs += 1;
    }

    pub fn leave_prev(&mut self) {
        self.prevs -= 1;
    }
}

fn operation(op: BinaryOp) -> Kind {
    Kind::Map(match op {
        BinaryOp::Or => Pointwise::Or,
        BinaryOp::And => Pointwise::And,
        BinaryOp::Lt => Pointwise::Lt,
        BinaryOp::Le => Pointwise::Le,
        BinaryOp::Gt => Pointwise::Gt,
        BinaryOp::Ge => Pointwise::Ge,
        BinaryOp::Eq => Pointwise::Eq,
        BinaryOp::Ne => Pointwise::Ne,
        BinaryOp::Add => Pointwise::Add,
        BinaryOp::Sub => Pointwise::Sub,
        BinaryOp::Mul => Pointwise::Mul,
        BinaryOp::Div => Pointwise::Div,
        BinaryOp::Rem => Pointwise::Rem,
        BinaryOp::Pow => Pointwise::Pow,
        BinaryOp::MatMul => return Kind::MatMul,
    })
}

/// The elements of a type: f32 where nothing is written. Other names are an error of syntax.
pub fn elem(ty: &TypeExpr) -> Elem {
    match &ty.elem {
        Some(name) if name.text == "i32" => Elem::I32,
        _ => Elem::F32,
    }
}

/// The name that a dimension is, if it is nothing else.
pub fn plain_name(dim: &Expr) -> Option<&Name> {
    match &dim.kind {
        ExprKind::Path(path) => match path.as_slice() {
            [name] => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// The names in a dimension, each once.
pub fn names<'a>(dim: &'a Expr, found: &mut Vec<&'a Name>) {
    match &dim.kind {
        ExprKind::Path(_) => {
            if let Some(name) = plain_name(dim)
                && found.iter().all(|other| other.text != name.text)
            {
                found.push(name);
            }
        }
        ExprKind::Unary(_, inner) => names(inner, found),
        ExprKind::Binary(_, left, right) => {
            names(left, found);
            names(right, found);
        }
        _ => {}
    }
}

fn pattern_names(pattern: &Pattern) -> Vec<String> {
    match pattern {
        Pattern::Name(name) => vec![name.text.clone()],
        Pattern::Tuple(parts, _) => parts.iter().flat_map(pattern_names).collect(),
    }
}
