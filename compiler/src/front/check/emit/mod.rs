//! Typed terms → [`Graph`]: broadcasts made explicit, derived operations written out in primitive ones.

mod carry;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::infer::Typed;
use super::report::Problem;
use super::shape::Rules;
use super::term::{Kind, Program, Static, TermId, Terms};
use super::types::elem_name;
use super::{Binding, Places};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::op::Number;
use crate::ir::graph::pointwise::Signature;
use crate::ir::graph::{
    Builder, Clock, Dim, Elem, Graph, Input, NodeId, Op, Param, Pointwise, Role, Root, Type,
};
use crate::source::Span;
pub use carry::CARRIED;
use carry::Carry;
use random::Random;

/// The graph of terms that have been checked, and where it is written.
/// With `carry` every memory starts where the run before ended.
pub fn emit(name: &str, program: &Program, typed: &Typed, carry: bool) -> Result<(Graph, Places)> {
    let mut graph = Graph::default();
    graph.name = name.to_string();
    graph.time = program.time.clone();
    graph.inputs = program
        .inputs
        .iter()
        .map(|input| Input {
            name: input.name.clone(),
            ty: Type::new(
                input.elem,
                input.dims.clone(),
                if input.is_stream { Clock::Stream } else { Clock::Static },
            ),
            docs: input.docs.clone(),
        })
        .collect();
    graph.params = program
        .params
        .iter()
        .zip(&typed.params)
        .filter_map(|(decl, ty)| {
            let ty = ty.as_ref()?;
            Some(Param {
                path: decl.path.clone(),
                dims: ty.dims.clone(),
                init: ty.init,
                bounds: ty.bounds,
                docs: decl.docs.clone(),
                elem: decl.elem,
                kind: decl.kind,
            })
        })
        .collect();
    let mut emitter = Emitter {
        program,
        typed,
        builder: Builder::new(&mut graph),
        at: Terms::ERROR,
        nodes: vec![None; program.terms.len()],
        delays: Vec::new(),
        carry: carry.then(Carry::default),
        random: None,
        places: Vec::new(),
        operands: BTreeMap::new(),
    };
    let mut roots = Vec::new();
    for (name, term) in &program.outputs {
        let node = emitter.node(*term)?;
        roots.push(Root { name: name.text.clone(), role: Role::Output, node });
    }
    for (index, term) in &program.nexts {
        let node = emitter.node(*term)?;
        roots.push(Root { name: program.params[*index].path.clone(), role: Role::Next, node });
    }
    emitter.close()?;
    roots.extend(emitter.next_run());
    roots.extend(emitter.carried());
    let bindings = program.bindings.iter().map(|binding| Binding {
        path: binding.path.clone(),
        node: emitter.nodes[binding.term.0 as usize],
        span: binding.span,
    });
    let params = program.params.iter().map(|param| program.place(param.span, param.frame));
    let mut params: Vec<_> = params.collect();
    params.resize(emitter.builder.graph().params.len(), Vec::new());
    let places = Places {
        bindings: bindings.collect(),
        params,
        nodes: emitter.places,
        operands: emitter.operands,
    };
    graph.roots = roots;
    Ok((graph, places))
}

/// Writes one term after the other.
pub struct Emitter<'a, 'g> {
    pub program: &'a Program,
    typed: &'a Typed,
    pub builder: Builder<'g>,
    /// The term that is being written.
    at: TermId,
    nodes: Vec<Option<NodeId>>,
    /// The `prev` nodes whose operands are emitted at the end.
    delays: Vec<(NodeId, TermId)>,
    carry: Option<Carry>,
    random: Option<Random>,
    /// Of each node.
    places: Vec<Vec<Span>>,
    /// Of the nodes that stretch several operands.
    operands: BTreeMap<NodeId, Vec<Span>>,
}

type Result<T> = std::result::Result<T, Problem>;

impl<'a> Emitter<'a, '_> {
    /// The node of a term, after those that it needs. Without recursion: chains of terms can be long.
    fn node(&mut self, id: TermId) -> Result<NodeId> {
        let mut stack = vec![(id, false)];
        while let Some((id, operands_done)) = stack.pop() {
            if self.nodes[id.0 as usize].is_some() {
                continue;
            }
            let operands = self.operands(id);
            if !operands_done {
                stack.push((id, true));
                stack.extend(operands.iter().rev().map(|arg| (*arg, false)));
                continue;
            }
            let args = operands.iter().map(|arg| self.done(*arg)).collect::<Result<Vec<_>>>()?;
            let term = &self.program.terms[id];
            self.builder.span = Some(term.span);
            self.at = id;
            let node = self.emit(&args)?;
            self.name(node, &term.name);
            let place = self.program.place(term.span, term.frame);
            self.places.resize(self.builder.graph().len(), place);
            self.nodes[id.0 as usize] = Some(node);
        }
        self.done(id)
    }

    fn done(&self, id: TermId) -> Result<NodeId> {
        self.nodes[id.0 as usize].ok_or_else(|| self.bug("an operand is missing"))
    }

    /// The operands that are tensors and come before the term.
    fn operands(&self, id: TermId) -> &'a [TermId] {
        let terms = &self.program.terms;
        let args = &terms[id].args;
        let kind = &terms[id].kind;
        if let Some(branch) = terms.taken(id) {
            return if branch == args[1] { &args[1..2] } else { &args[2..] };
        }
        // A delayed operand comes later, and of what another is like only the type counts.
        let is_delay = matches!(kind, Kind::Op(op) if op.is_delay());
        let last = if let Kind::Alike = kind { 1 } else { kind.tensors(args.len()) };
        &args[usize::from(is_delay)..last]
    }

    /// Emits what is only needed one step later, and closes the loops.
    fn close(&mut self) -> Result<()> {
        let mut done = 0;
        while let Some((delay, term)) = self.delays.get(done).copied() {
            let operand = self.node(term)?;
            let operand = self.builder.as_stream(operand);
            self.builder.close(delay, operand);
            done += 1;
        }
        Ok(())
    }

    /// The first binding of a node names it; inputs and parameters have their names from the start.
    fn name(&mut self, node: NodeId, name: &Option<Arc<str>>) {
        let node = self.builder.graph_mut().node_mut(node);
        if node.name.is_none() && !matches!(node.op, Op::Const(..) | Op::Size(_)) {
            node.name = name.clone();
        }
    }

    pub fn bug(&self, what: &str) -> Problem {
        let problem = Diagnostic::error("E089", format!("a bug of the compiler: {what}"));
        Box::new(problem.label(self.program.terms[self.at].span, "while translating this"))
    }

    /// The type of the term that is being written.
    pub fn ty(&self) -> Type {
        self.typed.ty(self.at)
    }

    /// What the rules of its dimensions ask.
    pub fn rules(&self) -> Rules<'a> {
        Rules { terms: &self.program.terms, types: self.typed.types(), id: self.at }
    }

    /// The length of time.
    pub fn steps(&self) -> Dim {
        self.program.time.clone().unwrap_or_else(Dim::one)
    }

    pub fn push(&mut self, op: Op, args: Vec<NodeId>) -> Result<NodeId> {
        self.builder.try_push(op, args).map_err(|error| self.bug(&error.to_string()))
    }

    pub fn broadcast(&mut self, node: NodeId, dims: &[Dim]) -> Result<NodeId> {
        match self.builder.ty(node).dims == dims {
            true => Ok(node),
            false => self.push(Op::Broadcast(dims.to_vec()), vec![node]),
        }
    }

    fn emit(&mut self, args: &[NodeId]) -> Result<NodeId> {
        let elem = self.ty().elem;
        match &self.program.terms[self.at].kind {
            Kind::Error => Err(self.bug("an error that was not reported")),
            Kind::Literal { value, .. } => self.constant(*value, elem),
            Kind::Bool(value) => self.constant(f64::from(u8::from(*value)), Elem::Bool),
            Kind::Array(_) => self.array(),
            Kind::Dimension(_) => match self.program.terms.known(self.at) {
                Some(Static::Dim(dim)) => Ok(self.builder.size(dim.clone(), elem)),
                Some(Static::Real(value)) => self.constant(*value, elem),
                _ => Err(self.bug("a dimension without value")),
            },
            Kind::Input(index) => self.push(Op::Input(*index), vec![]),
            Kind::Param(index) => self.push(Op::Param(*index), vec![]),
            Kind::Op(op) => op.emit(self, args),
            Kind::If => match args {
                [taken] => Ok(*taken),
                _ => self.map(Pointwise::Select, args),
            },
            Kind::Forward | Kind::Typed { .. } | Kind::Alike => Ok(args[0]),
        }
    }

    fn constant(&mut self, value: f64, elem: Elem) -> Result<NodeId> {
        self.push(Op::Const(Number(value), elem), vec![])
    }

    fn array(&mut self) -> Result<NodeId> {
        let (ty, terms) = (self.ty(), &self.program.terms);
        let numbers =
            terms[self.at].args.iter().map(|arg| terms.known(*arg).and_then(Static::number));
        let data: Option<Vec<Number>> = numbers.map(|number| number.map(Number)).collect();
        let data = data.ok_or_else(|| self.bug("an element without value"))?;
        self.push(Op::Array { elem: ty.elem, dims: ty.dims, data }, vec![])
    }

    /// A pointwise operation on operands that are stretched to the dimensions of the term.
    pub fn map(&mut self, op: Pointwise, args: &[NodeId]) -> Result<NodeId> {
        let dims = self.ty().dims;
        if let Some(done) = self.convert(op, args)? {
            return Ok(done);
        }
        // A negative number is a literal.
        if let (Pointwise::Neg, Op::Const(value, elem)) =
            (op, &self.builder.graph().node(args[0]).op)
        {
            let (value, elem) = (-value.0, *elem);
            return self.constant(value, elem);
        }
        let stretched =
            args.iter().map(|arg| self.broadcast(*arg, &dims)).collect::<Result<Vec<_>>>()?;
        let count = args.iter().zip(&stretched).filter(|(arg, stretched)| arg != stretched).count();
        let node = match (op, &stretched[..]) {
            (Pointwise::Rem, &[a, b]) if self.builder.ty(a).elem == Elem::F32 => {
                self.remainder(a, b)
            }
            _ => self.push(Op::Map(op), stretched)?,
        };
        if count > 1 {
            self.operands.insert(node, self.program.terms[self.at].places.clone());
        }
        Ok(node)
    }

    /// The i32 that a number was converted from.
    fn was_integer(&self, number: NodeId) -> Option<NodeId> {
        let node = self.builder.graph().node(number);
        let is_converted = node.op == Op::Map(Pointwise::ToF32);
        node.args
            .first()
            .copied()
            .filter(|arg| is_converted && self.builder.ty(*arg).elem == Elem::I32)
    }

    /// `a - b * floor(a / b)`
    fn remainder(&mut self, a: NodeId, b: NodeId) -> NodeId {
        let quotient = self.builder.div(a, b);
        let whole = self.builder.unary(Pointwise::Floor, quotient);
        let taken = self.builder.mul(b, whole);
        self.builder.sub(a, taken)
    }

    /// `f32` and `i32` of anything; `None` if the operation is none of them.
    fn convert(&mut self, op: Pointwise, args: &[NodeId]) -> Result<Option<NodeId>> {
        let wanted = match op.row().signature {
            Signature::ToFloat => Elem::F32,
            Signature::ToInteger => Elem::I32,
            Signature::Float
            | Signature::Numeric
            | Signature::Integer
            | Signature::Compare
            | Signature::Logic
            | Signature::Choice
            | Signature::Bits => return Ok(None),
        };
        let found = self.builder.ty(args[0]).elem;
        Ok(Some(match (found, wanted) {
            _ if found == wanted => args[0],
            (Elem::F32, Elem::I32) if let Some(integer) = self.was_integer(args[0]) => integer,
            (Elem::Bool, Elem::I32) => {
                let number = self.push(Op::Map(Pointwise::ToF32), args.to_vec())?;
                self.push(Op::Map(Pointwise::ToI32), vec![number])?
            }
            _ => self.push(Op::Map(op), args.to_vec())?,
        }))
    }

    /// The first operand one step before; the first value is 0 if none is given.
    pub fn prev(&mut self, init: Option<NodeId>) -> Result<NodeId> {
        let ty = self.ty();
        let init = match init {
            Some(init) => init,
            None => self.constant(0.0, ty.elem)?,
        };
        let init = self.broadcast(init, &ty.dims)?;
        let found = self.builder.ty(init).elem;
        if found != ty.elem {
            return Err(self.bug(&format!("a first value of {}", elem_name(found))));
        }
        let x = self.program.terms[self.at].args[0];
        let init = if self.carry.is_some() { self.carried_init(x, &ty, init) } else { init };
        let delay = self.builder.open_delay(Op::Prev, ty, init);
        self.delays.push((delay, x));
        Ok(delay)
    }

    /// The number of the step.
    pub fn step(&mut self) -> Result<NodeId> {
        let step = self.push(Op::TimeIndex, vec![])?;
        Ok(match self.carry {
            Some(_) => self.carried_step(step),
            None => step,
        })
    }
}
