//! The instantiated program before types: every function inlined, every layer an instance, each
//! operation a [`Term`] with operands that are terms.
//!
//! Operands come before their users, except through [`Kind::Forward`], which stands for a binding
//! mentioned inside `prev` before its definition.

use std::collections::BTreeMap;
use std::ops::{Index, Range};
use std::rc::Rc;
use std::sync::Arc;

use super::Operation;
use crate::front::syntax::ast::Name;
use crate::ir::graph::{Dim, Elem, ParamKind, Symbol};
use crate::source::Span;

/// An index into [`Terms`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TermId(pub u32);

/// A call of a function or layer in which terms were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId(u32);

/// A dimension's name in one instance: an index into the variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarId(u32);

/// One operation on operands, not typed yet.
#[derive(Clone, Debug)]
pub struct Term {
    pub kind: Kind,
    pub args: Vec<TermId>,
    pub span: Span,
    /// Where the operands are written, for the first of them.
    pub places: Vec<Span>,
    pub frame: Option<FrameId>,
    /// The path of the binding whose value it is.
    pub name: Option<Arc<str>>,
}

/// What a term is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Something wrong that is reported already.
    Error,
    Literal {
        value: f64,
        integer: bool,
    },
    Bool(bool),
    /// A list where a tensor is needed, of these dimensions; the operands are its numbers.
    Array(Vec<usize>),
    Dimension(VarId),
    Input(usize),
    Param(usize),
    /// An operation of the language on the operands.
    Op(Rc<dyn Operation>),
    /// A choice. One that is decided when compiling is the branch taken: see [`Terms::taken`].
    If,
    /// The binding that is its operand, or [`Kind::Error`] as long as it has none.
    Forward,
    /// The first operand, declared to have these elements and the other operands as dimensions; with
    /// `has_rest`, as its last ones.
    Typed {
        elem: Elem,
        has_rest: bool,
    },
    /// The first operand, which has the type of the second.
    Alike,
}

impl Kind {
    pub fn op(op: impl Operation + 'static) -> Kind {
        Kind::Op(Rc::new(op))
    }

    /// How many of so many operands are tensors. Those behind are numbers that the program gives when compiling.
    pub fn tensors(&self, operands: usize) -> usize {
        match self {
            Kind::Op(op) => op.tensors().min(operands),
            Kind::Array(_) => 0,
            Kind::Typed { .. } => 1,
            Kind::Error
            | Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Dimension(_)
            | Kind::Input(_)
            | Kind::Param(_)
            | Kind::If
            | Kind::Forward
            | Kind::Alike => operands,
        }
    }

    /// As a message names it.
    pub fn spelling(&self) -> String {
        let name = match self {
            Kind::Op(op) => op.name(),
            Kind::If => "if",
            Kind::Error
            | Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Array(_)
            | Kind::Dimension(_)
            | Kind::Input(_)
            | Kind::Param(_)
            | Kind::Forward
            | Kind::Typed { .. }
            | Kind::Alike => "this",
        };
        format!("`{name}`")
    }
}

/// The instantiated program.
pub struct Program {
    pub terms: Terms,
    pub params: Vec<ParamDecl>,
    pub inputs: Vec<InputDecl>,
    /// The length of streams.
    pub time: Option<Dim>,
    /// The graph's dimensions by name, open or not.
    pub dims: BTreeMap<String, Dim>,
    pub outputs: Vec<(Name, TermId)>,
    /// For states, by their numbers among the parameters, the value after the run.
    pub nexts: Vec<(usize, TermId)>,
    pub bindings: Vec<BindingDecl>,
    pub choices: Vec<Choice>,
}

/// The terms that the branches of a [`Kind::If`] are made of.
pub struct Choice {
    pub term: TermId,
    pub branches: [Range<u32>; 2],
}

impl Program {
    pub fn new() -> Program {
        Program {
            terms: Terms::new(),
            params: Vec::new(),
            inputs: Vec::new(),
            time: None,
            dims: BTreeMap::new(),
            outputs: Vec::new(),
            nexts: Vec::new(),
            bindings: Vec::new(),
            choices: Vec::new(),
        }
    }

    /// Takes the parameters and bindings of the branches that are decided against out of the program;
    /// which terms are theirs.
    pub fn leave_out(&mut self) -> Vec<bool> {
        let mut left_out = vec![false; self.terms.len()];
        for Choice { term, branches } in &self.choices {
            let Some(taken) = self.terms.taken(*term) else { continue };
            let [.., otherwise] = self.terms[*term].args[..] else { continue };
            let [then, other] = branches.clone();
            let others = if taken == otherwise { then } else { other };
            others.for_each(|id| left_out[id as usize] = true);
        }
        let mut is_kept = vec![false; self.params.len()];
        for id in self.terms.ids().filter(|id| !left_out[id.0 as usize]) {
            if let Kind::Param(index) = self.terms[id].kind {
                is_kept[index] = true;
            }
        }
        let places: Vec<usize> = is_kept
            .iter()
            .scan(0, |count, kept| Some(std::mem::replace(count, *count + usize::from(*kept))))
            .collect();
        for id in self.terms.ids() {
            if let Kind::Param(index) = &mut self.terms.get_mut(id).kind {
                *index = places[*index];
            }
        }
        let mut kept = is_kept.iter();
        self.params.retain(|_| kept.next().is_some_and(|kept| *kept));
        self.nexts.retain(|(_, term)| !left_out[term.0 as usize]);
        self.nexts.iter_mut().for_each(|(index, _)| *index = places[*index]);
        self.bindings.retain(|binding| !left_out[binding.term.0 as usize]);
        left_out
    }

    /// A place, and the calls around it from the inside out.
    pub fn place(&self, span: Span, mut frame: Option<FrameId>) -> Vec<Span> {
        let mut spans = vec![span];
        while let Some(Frame { span, parent, .. }) = frame.map(|frame| self.terms.frame(frame)) {
            spans.push(*span);
            frame = *parent;
        }
        spans
    }
}

/// A binding of a layer's instance or of the graph, with the place of its value.
pub struct BindingDecl {
    pub path: String,
    pub term: TermId,
    pub span: Span,
}

/// A parameter of an instance. Dimensions, initialiser and bounds are numbers once types are known.
pub struct ParamDecl {
    pub path: String,
    pub docs: String,
    pub span: Span,
    pub frame: Option<FrameId>,
    pub dims: Vec<TermId>,
    pub init: String,
    pub init_args: Vec<TermId>,
    pub elem: Elem,
    pub kind: ParamKind,
    pub bounds: Option<(TermId, TermId)>,
}

/// An input of the graph.
pub struct InputDecl {
    pub name: String,
    pub docs: String,
    pub elem: Elem,
    pub dims: Vec<Dim>,
    pub is_stream: bool,
}

/// What is known of a term as a number at compile time.
#[derive(Clone, Debug, PartialEq)]
pub enum Static {
    Dim(Dim),
    Real(f64),
    Bool(bool),
    /// It has no value without the number of this open dimension.
    Needs(Symbol),
    /// It is a tensor like any other.
    Never,
    /// Something is wrong with it, which is reported.
    Broken,
}

impl Static {
    pub fn number(&self) -> Option<f64> {
        match self {
            Static::Dim(dim) => dim.as_const().map(|value| value as f64),
            Static::Real(value) => Some(*value),
            Static::Bool(_) | Static::Needs(_) | Static::Never | Static::Broken => None,
        }
    }
}

/// A call that was inlined.
#[derive(Clone, Debug)]
pub struct Frame {
    pub callee: String,
    pub span: Span,
    pub parent: Option<FrameId>,
}

/// The name of a dimension in one instance.
#[derive(Clone, Debug)]
pub struct Var {
    pub name: String,
    pub source: VarSource,
}

/// Where a dimension's value comes from.
#[derive(Clone, Debug)]
pub enum VarSource {
    Fixed(Dim),
    /// Given in brackets at the call, or a default.
    Given(TermId),
    /// The first that is known of the dimensions at these places.
    Arguments(Vec<AxisOf>),
}

/// An axis of a term that is declared.
#[derive(Clone, Debug)]
pub struct AxisOf {
    pub term: TermId,
    /// From the front, if there are no more axes than declared.
    pub axis: usize,
    /// From the end: 1 is the last.
    pub from_end: usize,
    /// There may be others in front.
    pub has_rest: bool,
}

impl AxisOf {
    /// The dimension, among those of the term.
    pub fn of<'d>(&self, dims: &'d [Option<Dim>]) -> Option<&'d Dim> {
        let is_fit = self.has_rest || dims.len() == self.axis + self.from_end;
        let place = dims.len().checked_sub(self.from_end).filter(|_| is_fit)?;
        dims[place].as_ref()
    }
}

/// The arena of terms. The first one is [`Kind::Error`].
pub struct Terms {
    terms: Vec<Term>,
    statics: Vec<Option<Static>>,
    vars: Vec<Var>,
    frames: Vec<Frame>,
}

impl Terms {
    pub const ERROR: TermId = TermId(0);

    pub fn new() -> Terms {
        let mut terms =
            Terms { terms: Vec::new(), statics: Vec::new(), vars: Vec::new(), frames: Vec::new() };
        terms.push(Term {
            kind: Kind::Error,
            args: Vec::new(),
            span: Span::default(),
            places: Vec::new(),
            frame: None,
            name: None,
        });
        terms
    }

    pub fn push(&mut self, term: Term) -> TermId {
        let id = TermId(self.terms.len() as u32);
        self.terms.push(term);
        self.statics.push(None);
        self.statics[id.0 as usize] = self.evaluate(id, |_| None);
        id
    }

    pub fn len(&self) -> usize {
        self.terms.len()
    }

    pub fn ids(&self) -> impl DoubleEndedIterator<Item = TermId> + use<> {
        (0..self.terms.len() as u32).map(TermId)
    }

    /// Where an operand of a term is written; where its value comes from, if that is all there is.
    pub fn place(&self, id: TermId, operand: TermId) -> Span {
        let term = &self[id];
        let position = term.args.iter().position(|arg| *arg == operand);
        let place = position.and_then(|position| term.places.get(position));
        place.copied().unwrap_or(self[operand].span)
    }

    pub fn get_mut(&mut self, id: TermId) -> &mut Term {
        &mut self.terms[id.0 as usize]
    }

    pub fn add_var(&mut self, name: &str, source: VarSource) -> VarId {
        self.vars.push(Var { name: name.to_string(), source });
        VarId(self.vars.len() as u32 - 1)
    }

    pub fn var(&self, id: VarId) -> &Var {
        &self.vars[id.0 as usize]
    }

    pub fn var_mut(&mut self, id: VarId) -> &mut Var {
        &mut self.vars[id.0 as usize]
    }

    pub fn add_frame(&mut self, frame: Frame) -> FrameId {
        self.frames.push(frame);
        FrameId(self.frames.len() as u32 - 1)
    }

    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id.0 as usize]
    }

    /// The number that a term is, as far as it is known.
    pub fn known(&self, id: TermId) -> Option<&Static> {
        self.statics[id.0 as usize].as_ref()
    }

    /// The branch of an `if` whose condition is known.
    pub fn taken(&self, id: TermId) -> Option<TermId> {
        let Term { kind: Kind::If, args, .. } = &self[id] else { return None };
        match self.known(args[0]) {
            Some(Static::Bool(condition)) => Some(args[if *condition { 1 } else { 2 }]),
            _ => None,
        }
    }

    pub fn learn(&mut self, id: TermId, value: Static) {
        self.statics[id.0 as usize] = Some(value);
    }

    /// The number that a term is, from what is known of its operands; `axis_dim` gives the dimensions of
    /// tensors that are known. `None` is: not known yet.
    pub fn evaluate(
        &self,
        id: TermId,
        axis_dim: impl Fn(&AxisOf) -> Option<Dim>,
    ) -> Option<Static> {
        let term = &self[id];
        match &term.kind {
            Kind::Literal { value, integer } => Some(number(*value, *integer)),
            Kind::Bool(value) => Some(Static::Bool(*value)),
            Kind::Error => Some(Static::Broken),
            Kind::Dimension(var) => match &self.var(*var).source {
                VarSource::Fixed(dim) => Some(Static::Dim(dim.clone())),
                VarSource::Given(value) => self.known(*value).cloned(),
                VarSource::Arguments(places) => places.iter().find_map(axis_dim).map(Static::Dim),
            },
            Kind::Op(op) => {
                let args: Vec<_> = term.args.iter().map(|arg| self.known(*arg)).collect();
                op.number(&args)
            }
            Kind::If => match self.taken(id) {
                Some(branch) => self.known(branch).cloned(),
                None => self.known(term.args[0]).cloned(),
            },
            Kind::Alike => self.known(term.args[0]).cloned(),
            Kind::Typed { .. } if term.args.len() == 1 => self.known(term.args[0]).cloned(),
            // Their dimensions may be of interest, their values are a tensor's.
            Kind::Array(_)
            | Kind::Input(_)
            | Kind::Param(_)
            | Kind::Forward
            | Kind::Typed { .. } => Some(Static::Never),
        }
    }
}

impl Index<TermId> for Terms {
    type Output = Term;
    fn index(&self, id: TermId) -> &Term {
        &self.terms[id.0 as usize]
    }
}

/// Integers above this are no dimensions: arithmetic on smaller ones does not overflow.
pub const LARGEST: i64 = 1 << 40;

fn number(value: f64, integer: bool) -> Static {
    match integer && value <= LARGEST as f64 {
        true => Static::Dim(Dim::constant(value as i64)),
        false => Static::Real(value),
    }
}
