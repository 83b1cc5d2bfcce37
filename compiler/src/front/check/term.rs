//! The instantiated program before types: every function inlined, every layer an instance, each
//! operation a [`Term`] with operands that are terms.
//!
//! Operands come before their users, except through [`Kind::Forward`], which stands for a binding
//! mentioned inside `prev` before its definition.

use std::collections::BTreeMap;
use std::ops::{Index, Range};
use std::sync::Arc;

use crate::front::syntax::ast::Name;
use crate::ir::graph::op::Signature;
use crate::ir::graph::{Dim, Elem, ParamKind, Pointwise, Reduction, Symbol};
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

/// What a term does with its operands. Axes are as written, negative ones from the end.
#[derive(Clone, Debug, PartialEq)]
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
    TimeIndex,
    TimeSteps,
    Map(Pointwise),
    /// A choice. One that is decided when compiling is the branch taken: see [`Terms::taken`].
    If,
    Sg,
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
    /// `prev(x)` or, with a second operand, `prev(x, init)`.
    Prev,
    OverTime(OverTime),
    /// Random numbers of the operand's dimensions, the draw of this number in the program.
    Random(Draw, i32),
    /// The steps of a stream along a new first axis.
    TimeStack,
    /// The first axis as the steps of a stream.
    TimeUnstack,
    TimeReverse,
    MatMul,
    Reduce {
        op: Reduce,
        axes: Option<Vec<i64>>,
        keepdims: bool,
    },
    Transpose,
    Permute(Vec<i64>),
    /// To the dimensions that are the other operands; one may be -1.
    Reshape,
    Broadcast,
    Concat(i64),
    /// Along a new axis.
    Stack(i64),
    /// The other operands are the bounds that are given.
    Slice {
        axis: i64,
        start: bool,
        end: bool,
    },
    /// The other operands are two paddings for each axis.
    Pad(f64),
    Flip(i64),
    Gather(i64),
    Take(i64),
    /// x, the places of its elements, and how many there are.
    ScatterAdd(i64),
    OneHot,
    /// Windows along so many of the last axes, and what is made with them. The other operands are the
    /// numbers that it is given: see [`Sliding::attributes`].
    Sliding {
        name: &'static str,
        op: Sliding,
        axes: usize,
        /// As much padding as keeps the axes as long as they are.
        same: bool,
    },
    /// The operand is how far it counts.
    Iota,
    Triangle {
        k: i64,
        is_upper: bool,
    },
    Cumsum(i64),
    /// The places of an axis in ascending order.
    ArgSort(i64),
    /// The places of the greatest on an axis: so many as the second operand says.
    TopK(i64),
}

/// What slides along axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sliding {
    Windows,
    Conv,
    Transposed,
    Average,
    Maximum,
    Adaptive,
    Upsample,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverTime {
    First,
    Last,
    Sum,
    Mean,
    Max,
}

/// How random numbers are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// In [0, 1).
    Uniform,
    /// With mean 0 and deviation 1.
    Normal,
    /// 1 with the probability that the operand is, else 0.
    Bernoulli,
}

/// The reductions of the language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduce {
    Plain(Reduction),
    ArgMin,
    Mean,
    Var,
    LogSumExp,
}

impl Reduce {
    /// The result is an index, over one axis.
    pub fn is_index(self) -> bool {
        matches!(self, Reduce::Plain(Reduction::ArgMax) | Reduce::ArgMin)
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
            _ => None,
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
            Kind::Map(op) => {
                let args: Vec<_> = term.args.iter().map(|arg| self.known(*arg)).collect();
                if args.contains(&Some(&Static::Broken)) {
                    return Some(Static::Broken);
                }
                let is_logic = op.row().signature == Signature::Logic;
                let is_tensor = |arg: &Option<&Static>| match arg {
                    Some(Static::Bool(_)) => !is_logic,
                    arg => matches!(arg, Some(Static::Never)),
                };
                if args.iter().any(is_tensor) {
                    return Some(Static::Never);
                }
                let args: Option<Vec<&Static>> = args.into_iter().collect();
                Some(arithmetic(*op, &args?))
            }
            Kind::If => match self.taken(id) {
                Some(branch) => self.known(branch).cloned(),
                None => self.known(term.args[0]).cloned(),
            },
            Kind::Alike => self.known(term.args[0]).cloned(),
            Kind::Typed { .. } if term.args.len() == 1 => self.known(term.args[0]).cloned(),
            // Its dimensions may be of interest, its value is a tensor's.
            _ => Some(Static::Never),
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
const LARGEST: i64 = 1 << 40;

fn number(value: f64, integer: bool) -> Static {
    match integer && value <= LARGEST as f64 {
        true => Static::Dim(Dim::constant(value as i64)),
        false => Static::Real(value),
    }
}

/// An operation on numbers: exact on dimensions where it can be.
fn arithmetic(op: Pointwise, args: &[&Static]) -> Static {
    if let [Static::Dim(a), Static::Dim(b)] = args {
        let result = match op {
            Pointwise::Add => Some(a + b),
            Pointwise::Sub => Some(a - b),
            Pointwise::Mul => Some(a * b),
            Pointwise::Div => a.exact_div(b),
            _ => None,
        };
        match result {
            Some(dim) if is_small(&dim) => return Static::Dim(dim),
            Some(_) => return Static::Real(f64::INFINITY),
            None => {}
        }
    }
    if let [Static::Dim(a)] = args
        && op == Pointwise::Neg
    {
        return Static::Dim(&Dim::zero() - a);
    }
    let mut numbers = Vec::new();
    for arg in args {
        match arg {
            Static::Dim(dim) if dim.as_const().is_none() => {
                let symbol = dim.symbols().next().cloned();
                return symbol.map_or(Static::Never, Static::Needs);
            }
            Static::Needs(symbol) => return Static::Needs(symbol.clone()),
            Static::Bool(value) => numbers.push(f64::from(u8::from(*value))),
            arg => match arg.number() {
                Some(value) => numbers.push(value),
                None => return Static::Never,
            },
        }
    }
    let row = op.row();
    if numbers.len() != row.arity {
        return Static::Never;
    }
    let value = (row.value)(&numbers);
    if row.is_boolean() {
        return Static::Bool(value != 0.0);
    }
    number_of(value, args.iter().all(|arg| matches!(arg, Static::Dim(_))))
}

/// A power or a minimum of integers is one again.
fn number_of(value: f64, from_integers: bool) -> Static {
    let is_integer = value.fract() == 0.0 && value.abs() <= LARGEST as f64;
    match from_integers && is_integer {
        true => Static::Dim(Dim::constant(value as i64)),
        false => Static::Real(value),
    }
}

/// Whether later arithmetic with the dimension stays exact and short.
fn is_small(dim: &Dim) -> bool {
    let terms = dim.terms();
    terms.len() <= 16
        && terms.iter().all(|(factors, value)| factors.len() <= 16 && value.abs() <= LARGEST)
}
