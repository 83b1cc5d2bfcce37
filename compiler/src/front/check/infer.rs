//! Types and clocks: what is known is carried from operands to users until nothing changes, then
//! everything is checked and what stays unknown is an error.

use std::collections::BTreeSet;

use super::dtypes::Dtypes;
use super::report::{self, Problem};
use super::shape::Rules;
use super::term::{FrameId, InputDecl, Kind, ParamDecl, Program, Static, TermId, Terms, VarSource};
use super::types::{Elements, Shape, Types};
use super::{Time, initialisers};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::{Clock, Dim, Elem, Init, NodeId, ParamKind, Symbol, Type, components};
use crate::source::Span;

/// A type that has changed this often never settles: from unknown to known there are fewer steps.
const MAX_CHANGES: u8 = 64;
/// More unknown types than this are not reported.
const MAX_UNKNOWN: usize = 8;

/// The types of all terms, and the parameters' numbers. Complete if nothing was reported.
pub struct Typed {
    types: Types,
    pub params: Vec<Option<ParamType>>,
}

/// What the graph says of a parameter.
pub struct ParamType {
    pub dims: Vec<Dim>,
    pub init: Init,
    pub bounds: Option<(f64, f64)>,
}

impl Typed {
    /// The type of a term; unknown dimensions, which are reported, are left out.
    pub fn ty(&self, id: TermId) -> Type {
        let dims = self.types.of(id).iter().flatten().flatten().cloned().collect();
        let clock = if self.types.is_stream(id) { Clock::Stream } else { Clock::Static };
        Type::new(self.types.elements.of(id), dims, clock)
    }

    pub fn types(&self) -> &Types {
        &self.types
    }
}

/// Infers and checks all terms of a graph. Of the dimensions that stay open, a parameter's may be none
/// that counts steps or samples, and if `sized`, none at all.
pub fn infer(graph: &mut Program, sized: bool) -> (Typed, Vec<Diagnostic>) {
    let inputs: Vec<Vec<Dim>> = graph.inputs.iter().map(|input| input.dims.clone()).collect();
    let mut types = Types::new(graph);
    let users = users(graph);
    settle(graph, &users, &inputs, &mut types);
    let left_out = graph.leave_out();
    types.elements = Elements::new(&graph.terms, &graph.inputs, &graph.params);
    let mut checker = Checker {
        terms: &graph.terms,
        inputs: &inputs,
        decls: &graph.params,
        types,
        counters: counters(graph),
        sized,
        has_time: graph.time.is_some(),
        tainted: vec![false; graph.terms.len()],
        fresh: Vec::new(),
        users: &users,
        in_cycle: in_cycle(&graph.terms),
        left_out,
        timeless: false,
        problems: Vec::new(),
    };
    checker.run();
    let params = graph.params.iter().map(|param| checker.param(param)).collect();
    for (name, term) in &graph.outputs {
        checker.output(name.span, *term);
    }
    for (_, term) in &graph.nexts {
        checker.next(*term);
    }
    let Checker { types, problems, .. } = checker;
    (Typed { types, params }, problems)
}

/// Carries what is known from operands to users, in the order of the terms, round by round until
/// nothing changes. A recurrence that grows with every step has no type: its terms stay unknown.
fn settle(graph: &mut Program, users: &[Vec<TermId>], inputs: &[Vec<Dim>], types: &mut Types) {
    let mut changes = vec![0; graph.terms.len()];
    let mut due: BTreeSet<TermId> = graph.terms.ids().collect();
    let mut next = BTreeSet::new();
    while !due.is_empty() {
        while let Some(id) = due.pop_first() {
            let count: &mut u8 = &mut changes[id.0 as usize];
            if *count == MAX_CHANGES || !update(graph, inputs, types, id) {
                continue;
            }
            *count += 1;
            if *count == MAX_CHANGES {
                types.shapes[id.0 as usize] = None;
            }
            // What stands before is a `prev` of a later binding: it waits for the next round.
            for user in &users[id.0 as usize] {
                if *user > id {
                    due.insert(*user)
                } else {
                    next.insert(*user)
                };
            }
        }
        std::mem::swap(&mut due, &mut next);
    }
}

/// The terms whose types depend on a term, for each.
fn users(graph: &Program) -> Vec<Vec<TermId>> {
    let terms = &graph.terms;
    let mut users = vec![Vec::new(); terms.len()];
    for id in terms.ids() {
        let mut note = |on: TermId| users[on.0 as usize].push(id);
        terms[id].args.iter().copied().for_each(&mut note);
        match &terms[id].kind {
            Kind::Dimension(var) => match &terms.var(*var).source {
                VarSource::Fixed(_) => {}
                VarSource::Given(term) => note(*term),
                VarSource::Arguments(places) => places.iter().for_each(|axis| note(axis.term)),
            },
            Kind::Param(index) => {
                let dims = graph.params.get(*index).map_or(&[][..], |param| &param.dims);
                dims.iter().copied().for_each(&mut note);
            }
            Kind::Error
            | Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Array(_)
            | Kind::Input(_)
            | Kind::Op(_)
            | Kind::If
            | Kind::Forward
            | Kind::Typed { .. }
            | Kind::Alike => {}
        }
    }
    users
}

/// What is known of a term from what is known of its operands; true if that is news.
fn update(graph: &mut Program, inputs: &[Vec<Dim>], types: &mut Types, id: TermId) -> bool {
    let mut changed = false;
    if graph.terms.known(id).is_none() {
        let known =
            graph.terms.evaluate(id, |axis| axis.of(types.of(axis.term).as_ref()?).cloned());
        if let Some(known) = known {
            graph.terms.learn(id, known);
            changed = true;
        }
    }
    let index = id.0 as usize;
    let stream = is_stream(&graph.terms, &graph.inputs, types, id);
    let shape = shape(&graph.terms, &graph.params, inputs, types, id);
    // A stated type is known whatever the value seems to be so far.
    let shape = shape.unwrap_or_else(|_| Rules { terms: &graph.terms, types, id }.stated());
    if stream != types.streams[index] || shape != types.shapes[index] {
        types.streams[index] = stream;
        types.shapes[index] = shape;
        changed = true;
    }
    changed
}

/// The terms that depend on themselves, through `prev` or not.
fn in_cycle(terms: &Terms) -> Vec<bool> {
    let operands = terms.ids().map(|id| match terms.taken(id) {
        Some(branch) => vec![NodeId(branch.0)],
        None => terms[id].args.iter().map(|arg| NodeId(arg.0)).collect(),
    });
    let operands: Vec<Vec<NodeId>> = operands.collect();
    let all = terms.ids().map(|id| NodeId(id.0));
    let found = components(terms.len(), all, |id| &operands[id.0 as usize]);
    let mut in_cycle = vec![false; terms.len()];
    for id in found.iter().filter(|component| component.len() > 1).flatten() {
        in_cycle[id.0 as usize] = true;
    }
    in_cycle
}

/// The open dimensions of time, and those that come first in the inputs of several dimensions.
fn counters(graph: &Program) -> BTreeSet<Symbol> {
    let several = graph.inputs.iter().filter(|input| input.is_stream || input.dims.len() > 1);
    let first = several.filter_map(|input| input.dims.first());
    graph.time.iter().chain(first).flat_map(Dim::symbols).cloned().collect()
}

fn shape(
    terms: &Terms,
    params: &[ParamDecl],
    inputs: &[Vec<Dim>],
    types: &Types,
    id: TermId,
) -> Result<Shape, Problem> {
    let rules = Rules { terms, types, id };
    let Kind::Param(index) = terms[id].kind else { return rules.shape(inputs) };
    let Some(param) = params.get(index) else { return Ok(None) };
    let dims =
        param.dims.iter().map(|dim| super::shape::dimension(terms.known(*dim), terms[*dim].span));
    rules.size(Some(dims.collect::<Result<_, _>>()?))
}

fn is_stream(terms: &Terms, inputs: &[InputDecl], types: &Types, id: TermId) -> bool {
    let args = &terms[id].args;
    let of_operands = || args.iter().any(|arg| types.is_stream(*arg));
    match &terms[id].kind {
        Kind::Input(index) => inputs.get(*index).is_some_and(|input| input.is_stream),
        Kind::Op(op) => op.clock().map_or_else(of_operands, |clock| clock == Clock::Stream),
        // The dimensions are static.
        Kind::Typed { .. } | Kind::Alike => args.first().is_some_and(|x| types.is_stream(*x)),
        Kind::If => match terms.taken(id) {
            Some(branch) => types.is_stream(branch),
            None => of_operands(),
        },
        Kind::Error
        | Kind::Literal { .. }
        | Kind::Bool(_)
        | Kind::Array(_)
        | Kind::Dimension(_)
        | Kind::Param(_)
        | Kind::Forward => of_operands(),
    }
}

struct Checker<'a> {
    terms: &'a Terms,
    inputs: &'a [Vec<Dim>],
    decls: &'a [ParamDecl],
    types: Types,
    /// Open dimensions that count steps or samples.
    counters: BTreeSet<Symbol>,
    sized: bool,
    has_time: bool,
    /// Terms with an error in what they depend on, which is reported.
    tainted: Vec<bool>,
    /// Those of them whose users are not tainted yet.
    fresh: Vec<TermId>,
    users: &'a [Vec<TermId>],
    /// Terms that depend on themselves, at another step.
    in_cycle: Vec<bool>,
    /// Terms of branches that are decided against.
    left_out: Vec<bool>,
    /// Whether it is reported that the graph has no streams.
    timeless: bool,
    problems: Vec<Diagnostic>,
}

impl Checker<'_> {
    fn run(&mut self) {
        for id in self.terms.ids() {
            if self.depends_on_taint(id) {
                self.taint(id);
            } else if self.left_out[id.0 as usize] {
                continue;
            } else if let Err(problem) = self.check(id) {
                self.report(*problem, self.terms[id].frame);
                self.taint(id);
            }
        }
        for id in self.terms.ids() {
            if !self.is_tainted(id)
                && !self.left_out[id.0 as usize]
                && let Err(problem) =
                    (Dtypes { terms: self.terms, types: &mut self.types, id }).check_literal()
            {
                self.report(*problem, self.terms[id].frame);
                self.taint(id);
            }
        }
        self.spread();
        for param in self.decls {
            self.check_param_dims(param);
        }
        for _ in 0..MAX_UNKNOWN {
            let Some(id) = self.unknown() else { break };
            self.report_unknown(id);
            self.taint(id);
            self.spread();
        }
    }

    fn taint(&mut self, id: TermId) {
        if !std::mem::replace(&mut self.tainted[id.0 as usize], true) {
            self.fresh.push(id);
        }
    }

    fn is_tainted(&self, id: TermId) -> bool {
        self.tainted[id.0 as usize]
    }

    fn depends_on_taint(&self, id: TermId) -> bool {
        let term = &self.terms[id];
        match &term.kind {
            Kind::Error => true,
            Kind::Forward if term.args.is_empty() => true,
            Kind::Dimension(var) => match &self.terms.var(*var).source {
                VarSource::Fixed(_) => false,
                VarSource::Given(term) => self.is_tainted(*term),
                VarSource::Arguments(places) => {
                    places.first().is_some_and(|axis| self.is_tainted(axis.term))
                }
            },
            Kind::Param(index) => self
                .decls
                .get(*index)
                .is_some_and(|param| param.dims.iter().any(|dim| self.is_tainted(*dim))),
            Kind::If => match self.terms.taken(id) {
                Some(branch) => self.is_tainted(branch),
                None => term.args.iter().any(|arg| self.is_tainted(*arg)),
            },
            Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Array(_)
            | Kind::Input(_)
            | Kind::Op(_)
            | Kind::Forward
            | Kind::Typed { .. }
            | Kind::Alike => term.args.iter().any(|arg| self.is_tainted(*arg)),
        }
    }

    /// Taints all that depends on what is tainted, also through time.
    fn spread(&mut self) {
        while let Some(id) = self.fresh.pop() {
            for user in self.users[id.0 as usize].iter().copied() {
                if !self.is_tainted(user) && self.depends_on_taint(user) {
                    self.taint(user);
                }
            }
        }
    }

    fn report(&mut self, problem: Diagnostic, frame: Option<FrameId>) {
        self.problems.push(in_calls(self.terms, problem, frame));
    }

    fn check(&mut self, id: TermId) -> Result<(), Problem> {
        shape(self.terms, self.decls, self.inputs, &self.types, id)?;
        self.check_numbers(id)?;
        Dtypes { terms: self.terms, types: &mut self.types, id }.check()?;
        self.check_operation(id)
    }

    /// Checks that the dimensions a term is given are numbers at compile time.
    fn check_numbers(&self, id: TermId) -> Result<(), Problem> {
        let term = &self.terms[id];
        let numbers = &term.args[term.kind.tensors(term.args.len())..];
        let is_array = matches!(term.kind, Kind::Array(_));
        numbers.iter().try_for_each(|number| match is_array {
            true => self.check_element(*number),
            false => self.check_number(*number),
        })
    }

    /// Checks that an element of an array is a number at compile time.
    fn check_element(&self, id: TermId) -> Result<(), Problem> {
        let span = self.terms[id].span;
        let needs = |symbol: &Symbol| Err(Box::new(report::needs(symbol, span)));
        match self.terms.known(id) {
            Some(Static::Needs(symbol)) => needs(symbol),
            Some(Static::Dim(dim)) => dim.symbols().next().map_or(Ok(()), needs),
            Some(Static::Real(_) | Static::Broken) => Ok(()),
            Some(Static::Never | Static::Bool(_)) | None => {
                let problem = report::not_constant(span);
                Err(Box::new(problem.hint("`stack(a, b)` puts tensors together")))
            }
        }
    }

    fn check_number(&self, dim: TermId) -> Result<(), Problem> {
        match self.terms.known(dim) {
            Some(Static::Never | Static::Bool(_)) => {
                Err(Box::new(report::not_constant(self.terms[dim].span)))
            }
            None => Err(Box::new(
                Diagnostic::error("E047", "this dimension is not known")
                    .label(self.terms[dim].span, "nothing says what it is")
                    .hint("give it in brackets at the call of the layer, or state the type of the argument that has it"),
            )),
            Some(_) => Ok(()),
        }
    }

    fn check_operation(&mut self, id: TermId) -> Result<(), Problem> {
        let term = &self.terms[id];
        let Kind::Op(op) = &term.kind else { return Ok(()) };
        if op.time() != Time::Nothing && !self.has_time {
            if std::mem::replace(&mut self.timeless, true) {
                return Ok(());
            }
            let name = op.name();
            return Err(Box::new(
                Diagnostic::error("E063", format!("`{name}` in a graph without streams"))
                    .label(term.span, "needs time")
                    .hint(
                        "the inputs say what is a stream, `x: [T; B, K]`, or the graph how many steps it has, \
                         `graph g[T = 60; N]`",
                    ),
            ));
        }
        op.check(&Rules { terms: self.terms, types: &self.types, id })?;
        if op.time() == Time::AllSteps && self.in_cycle[id.0 as usize] {
            let name = op.name();
            return Err(Box::new(
                Diagnostic::error("E064", format!("`{name}` in a cycle through `prev`"))
                    .label(term.span, "needs all steps of what depends on it")
                    .hint(
                        "inside a recurrence there are only this step and those before: `prev(x)`",
                    ),
            ));
        }
        Ok(())
    }

    fn check_param_dims(&mut self, param: &ParamDecl) {
        for dim in &param.dims {
            if self.is_tainted(*dim) {
                continue;
            }
            if let Err(problem) = self.check_number(*dim) {
                self.report(*problem, param.frame);
                self.taint(*dim);
                self.spread();
            }
        }
    }

    /// The first term with a type that nothing determines.
    fn unknown(&self) -> Option<TermId> {
        let is_unknown = |id: &TermId| {
            let shape = self.types.of(*id);
            let is_known = shape.as_ref().is_some_and(|dims| dims.iter().all(Option::is_some));
            !is_known && !self.is_tainted(*id) && !self.left_out[id.0 as usize]
        };
        let is_forward = |id: &TermId| matches!(self.terms[*id].kind, Kind::Forward);
        let first = self.terms.ids().find(|id| is_unknown(id) && !is_forward(id));
        first.or(self.terms.ids().find(is_unknown))
    }

    fn report_unknown(&mut self, id: TermId) {
        let term = &self.terms[id];
        let name = self.terms.ids().skip(id.0 as usize).find_map(|user| {
            let user = &self.terms[user];
            (user.frame == term.frame).then(|| user.name.clone()).flatten()
        });
        let name = name.as_ref().and_then(|path| path.rsplit('.').next()).unwrap_or("x");
        let problem = Diagnostic::error("E047", "the type of this is not known")
            .label(term.span, format!("this is {}", self.types.show(id)))
            .note("a recurrence that nothing of known type enters has no type of its own")
            .hint(format!("state it: `let {name}: [B, N] = …;`"));
        self.report(problem, term.frame);
    }

    fn output(&mut self, span: Span, id: TermId) {
        let is_known = self.types.of(id).is_some();
        if !is_known && !self.is_tainted(id) && self.problems.is_empty() {
            self.report(
                Diagnostic::error("E047", "the type of this output is not known")
                    .label(span, "here"),
                None,
            );
        }
    }

    /// The value of a state after the run is one value.
    fn next(&mut self, id: TermId) {
        if self.types.is_stream(id) && !self.is_tainted(id) {
            let term = &self.terms[id];
            let problem = Diagnostic::error("E061", "the next value of a state is static")
                .label(term.span, "this is a stream")
                .expected("a static value")
                .found(self.types.show(id))
                .hint("`last(x)` is the last step of a stream");
            self.report(problem, term.frame);
        }
    }

    // Parameters

    fn param(&mut self, param: &ParamDecl) -> Option<ParamType> {
        if let Some(problem) = self.open_param(param) {
            self.report(problem, param.frame);
            return None;
        }
        let dims: Option<Vec<Dim>> = param
            .dims
            .iter()
            .map(|dim| match self.terms.known(*dim) {
                Some(Static::Dim(dim)) => Some(dim.clone()),
                _ => None,
            })
            .collect();
        let args: Option<Vec<f64>> =
            param.init_args.iter().map(|arg| self.number(*arg, param.frame)).collect();
        let bounds = match param.bounds {
            Some((low, high)) => {
                let low_high = (self.number(low, param.frame), self.number(high, param.frame));
                let (Some(low_value), Some(high_value)) = low_high else { return None };
                if low_value > high_value || low_value.is_nan() || high_value.is_nan() {
                    let problem = Diagnostic::error("E036", "the bounds are the wrong way round")
                        .label(self.terms[low].span, format!("this is {low_value}"))
                        .label(self.terms[high].span, format!("this is {high_value}"))
                        .expected("`in [low, high]`");
                    self.report(problem, param.frame);
                    return None;
                }
                Some((low_value, high_value))
            }
            None => None,
        };
        if param.init.is_empty() {
            return None;
        }
        let (dims, init) = (dims?, initialisers::initialiser(&param.init, &args?)?);
        if let Some(problem) = wrong_init(&init, &dims, param) {
            self.report(problem, param.frame);
            return None;
        }
        Some(ParamType { dims, init, bounds })
    }

    /// What is wrong with a parameter whose size is not known before the inputs are.
    fn open_param(&self, param: &ParamDecl) -> Option<Diagnostic> {
        let is_state = param.kind == ParamKind::State;
        param.dims.iter().filter(|dim| !is_state && !self.is_tainted(**dim)).find_map(|dim| {
            let Some(Static::Dim(size)) = self.terms.known(*dim) else { return None };
            let symbol = size.symbols().find(|s| self.sized || self.counters.contains(*s))?;
            let problem = report::needs(symbol, self.terms[*dim].span);
            Some(problem.note(format!("it decides the size of the parameter `{}`", param.path)))
        })
    }

    fn number(&mut self, id: TermId, frame: Option<FrameId>) -> Option<f64> {
        if self.is_tainted(id) {
            return None;
        }
        let span = self.terms[id].span;
        let problem = match self.terms.known(id) {
            Some(Static::Broken) => return None,
            Some(Static::Needs(symbol)) => report::needs(symbol, span),
            Some(Static::Dim(dim)) if dim.as_const().is_none() => {
                let symbol = dim.symbols().next().cloned();
                report::needs(&symbol.unwrap_or_default(), span)
            }
            known => match known.and_then(Static::number) {
                Some(number) => return Some(number),
                None => report::not_constant(span),
            },
        };
        self.report(problem, frame);
        None
    }
}

fn wrong_init(init: &Init, dims: &[Dim], param: &ParamDecl) -> Option<Diagnostic> {
    let refuse = |what: String| {
        Some(Diagnostic::error("E036", what).label(param.span, "for this parameter"))
    };
    let name = &param.init;
    if param.elem == Elem::I32 && !matches!(init, Init::Constant(value) if value.fract() == 0.0) {
        return refuse(format!("`{name}` gives no whole numbers"));
    }
    match init {
        Init::Uniform(low, high) if low > high || !(high - low).is_finite() => {
            refuse(format!("`uniform` from {low} to {high}"))
        }
        Init::Normal(mean, deviation)
            if !mean.is_finite() || !(0.0..f64::INFINITY).contains(deviation) =>
        {
            refuse(format!("`normal` with mean {mean} and deviation {deviation}"))
        }
        Init::Constant(value) | Init::Orthogonal(value) if !value.is_finite() => {
            refuse(format!("`{name}` with {value}"))
        }
        Init::XavierUniform
        | Init::XavierNormal
        | Init::KaimingUniform
        | Init::KaimingNormal
        | Init::Orthogonal(_)
            if dims.len() < 2 =>
        {
            refuse(format!("`{name}` needs at least 2 dimensions")).map(|problem| {
                problem
                    .note("it scales with the numbers of inputs and outputs of a matrix")
                    .hint("use `zeros`, `constant`, `uniform` or `normal`")
            })
        }
        Init::Constant(_)
        | Init::Uniform(..)
        | Init::Normal(..)
        | Init::XavierUniform
        | Init::XavierNormal
        | Init::KaimingUniform
        | Init::KaimingNormal
        | Init::Orthogonal(_) => None,
    }
}

/// A report with the calls that led to its place, the innermost first.
fn in_calls(terms: &Terms, problem: Diagnostic, frame: Option<FrameId>) -> Diagnostic {
    let mut problem = problem;
    let mut next = frame;
    for _ in 0..3 {
        let Some(frame) = next.map(|id| terms.frame(id)) else { break };
        problem = problem.label(frame.span, format!("in this call of `{}`", frame.callee));
        next = frame.parent;
    }
    problem
}
