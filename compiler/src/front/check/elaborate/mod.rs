//! The instantiation of a graph: functions are inlined, layers become instances with parameters and
//! memory of their own, and what remains is a list of [`Term`]s.
//!
//! Functions are pure: they hold no parameters, no memory and no layers.

mod arguments;
mod body;
mod calls;
mod causality;
mod declarations;
mod expressions;
mod graph;
mod instances;
mod operations;
mod scope;
mod types;

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::modules::{DefId, Modules};
use super::report;
use super::term::{FrameId, Kind, Program, Static, Term, TermId, Terms};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
pub use arguments::{Arguments, Call, Formal, MAX_LIST};
use instances::Instance;
use scope::Scope;
pub use types::{elem, names, plain_name};

/// More terms than this are refused.
const MAX_TERMS: usize = 100_000;
/// More levels of expressions and calls than this are refused: each takes room on the stack.
const MAX_DEPTH: usize = 400;

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

impl From<TermId> for Value {
    fn from(term: TermId) -> Value {
        Value::Term(term)
    }
}

impl Value {
    pub const ERROR: Value = Value::Term(Terms::ERROR);
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
    pub used: HashSet<DefId>,
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
            used: HashSet::new(),
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

    /// Whether it is a step of training: the program is another one then.
    pub fn ask_training(&mut self) -> bool {
        self.asks_training = true;
        self.training
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
}
