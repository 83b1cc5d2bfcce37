//! Typed terms → [`Graph`]: broadcasts made explicit, derived operations written out in primitive ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::carry::Carry;
use super::derived;
use super::infer::Typed;
use super::random::Random;
use super::shape::Rules;
use super::term::{Kind, OverTime, Program, Reduce, Static, TermId};
use super::types::elem_name;
use super::windows::Writer;
use super::{Binding, Places};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::op::{Number, Signature};
use crate::ir::graph::{
    Builder, Clock, Dim, Elem, Graph, Input, NodeId, Op, Param, Pointwise, Reduction, Role, Root,
    Type,
};
use crate::source::Span;

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

pub(super) struct Emitter<'a, 'g> {
    pub program: &'a Program,
    typed: &'a Typed,
    pub builder: Builder<'g>,
    pub nodes: Vec<Option<NodeId>>,
    /// The `prev` nodes whose operands are emitted at the end.
    delays: Vec<(NodeId, TermId)>,
    pub carry: Option<Carry>,
    pub random: Option<Random>,
    /// Of each node.
    places: Vec<Vec<Span>>,
    /// Of the nodes that stretch several operands.
    operands: BTreeMap<NodeId, Vec<Span>>,
}

type Result<T> = std::result::Result<T, Box<Diagnostic>>;

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
            let node = self.emit(id, &args)?;
            self.name(node, &term.name);
            let place = self.program.place(term.span, term.frame);
            self.places.resize(self.builder.graph().len(), place);
            self.nodes[id.0 as usize] = Some(node);
        }
        self.done(id)
    }

    fn done(&self, id: TermId) -> Result<NodeId> {
        self.nodes[id.0 as usize].ok_or_else(|| self.bug(id, "an operand is missing"))
    }

    /// The operands that are tensors and come before the term.
    fn operands(&self, id: TermId) -> &'a [TermId] {
        let term = &self.program.terms[id];
        match term.kind {
            Kind::Prev => &term.args[1..],
            Kind::Typed { .. }
            | Kind::Alike
            | Kind::Reshape
            | Kind::Broadcast
            | Kind::Slice { .. }
            | Kind::Pad(_)
            | Kind::OneHot
            | Kind::TopK(_) => &term.args[..1],
            Kind::ScatterAdd(_) => &term.args[..2],
            Kind::Array(_) | Kind::Iota => &[],
            Kind::If => match self.program.terms.taken(id) {
                Some(branch) if branch == term.args[1] => &term.args[1..2],
                Some(_) => &term.args[2..],
                None => &term.args,
            },
            _ => &term.args,
        }
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

    fn bug(&self, id: TermId, what: &str) -> Box<Diagnostic> {
        let problem = Diagnostic::error("E089", format!("a bug of the compiler: {what}"));
        Box::new(problem.label(self.program.terms[id].span, "while translating this"))
    }

    fn push(&mut self, id: TermId, op: Op, args: Vec<NodeId>) -> Result<NodeId> {
        self.builder.try_push(op, args).map_err(|error| self.bug(id, &error.to_string()))
    }

    fn broadcast(&mut self, id: TermId, node: NodeId, dims: &[Dim]) -> Result<NodeId> {
        match self.builder.ty(node).dims == dims {
            true => Ok(node),
            false => self.push(id, Op::Broadcast(dims.to_vec()), vec![node]),
        }
    }

    fn emit(&mut self, id: TermId, args: &[NodeId]) -> Result<NodeId> {
        let term = &self.program.terms[id];
        let ty = self.typed.ty(id);
        let rules = Rules { terms: &self.program.terms, types: self.typed.types() };
        let rank = |args: &[NodeId], builder: &Builder<'_>| {
            args.first().map_or(0, |arg| builder.ty(*arg).dims.len())
        };
        match &term.kind {
            Kind::Error => Err(self.bug(id, "an error that was not reported")),
            Kind::Literal { value, .. } => self.constant(id, *value, ty.elem),
            Kind::Bool(value) => self.constant(id, f64::from(u8::from(*value)), Elem::Bool),
            Kind::Array(_) => self.array(id, ty),
            Kind::Dimension(_) => match self.program.terms.known(id) {
                Some(Static::Dim(dim)) => Ok(self.builder.size(dim.clone(), ty.elem)),
                Some(Static::Real(value)) => self.constant(id, *value, ty.elem),
                _ => Err(self.bug(id, "a dimension without value")),
            },
            Kind::TimeSteps => {
                let steps = self.steps();
                Ok(self.builder.size(steps, Elem::F32))
            }
            Kind::Input(index) => self.push(id, Op::Input(*index), vec![]),
            Kind::Param(index) => self.push(id, Op::Param(*index), vec![]),
            Kind::TimeIndex => {
                let step = self.push(id, Op::TimeIndex, vec![])?;
                Ok(match self.carry {
                    Some(_) => self.carried_step(step),
                    None => step,
                })
            }
            Kind::Map(op) => self.map(id, *op, args, &ty.dims),
            Kind::If => match args {
                [taken] => Ok(*taken),
                _ => self.map(id, Pointwise::Select, args, &ty.dims),
            },
            Kind::Random(draw, number) => Ok(self.random(*draw, *number, args[0])),
            Kind::Sg => self.push(id, Op::Sg, args.to_vec()),
            Kind::Forward | Kind::Typed { .. } | Kind::Alike => Ok(args[0]),
            Kind::Prev => self.prev(id, args, ty),
            Kind::OverTime(over) => self.over_time(id, *over, args[0]),
            Kind::TimeStack => {
                let x = self.builder.as_stream(args[0]);
                self.push(id, Op::TimeStack(self.steps()), vec![x])
            }
            Kind::TimeUnstack => self.push(id, Op::TimeUnstack, args.to_vec()),
            Kind::TimeReverse if !self.builder.ty(args[0]).is_stream() => Ok(args[0]),
            Kind::TimeReverse => {
                let stacked = self.push(id, Op::TimeStack(self.steps()), args.to_vec())?;
                let flipped = self.push(id, Op::Flip { axis: 0 }, vec![stacked])?;
                self.push(id, Op::TimeUnstack, vec![flipped])
            }
            Kind::MatMul => self.matmul(id, args[0], args[1], &ty.dims),
            Kind::Reduce { op, axes, .. } => {
                let axes = rules.axes(id, *op, axes.as_deref(), rank(args, &self.builder))?;
                let reduced = self.reduce(id, *op, args[0], &axes)?;
                Ok(self.builder.reshape(reduced, &ty.dims))
            }
            Kind::Transpose => Ok(self.builder.transpose(args[0])),
            Kind::Permute(order) => {
                let order = rules.order(id, order, rank(args, &self.builder))?;
                self.push(id, Op::Permute(order), args.to_vec())
            }
            Kind::Reshape => match self.builder.ty(args[0]).dims == ty.dims {
                true => Ok(args[0]),
                false => self.push(id, Op::Reshape(ty.dims), args.to_vec()),
            },
            Kind::Broadcast => self.broadcast(id, args[0], &ty.dims),
            Kind::Concat(axis) => {
                let axis = position(*axis, ty.dims.len());
                self.push(id, Op::Concat { axis }, args.to_vec())
            }
            Kind::Stack(axis) => {
                let axis = position(*axis, ty.dims.len());
                let mut one = ty.dims;
                one[axis] = Dim::one();
                let args = args.iter().map(|arg| self.builder.reshape(*arg, &one)).collect();
                self.push(id, Op::Concat { axis }, args)
            }
            Kind::Slice { axis, start, end } => {
                let axis = position(*axis, ty.dims.len());
                let length = self.builder.ty(args[0]).dims.get(axis).cloned();
                let length = length.ok_or_else(|| self.bug(id, "no such axis"))?;
                let bounds = rules.bounds(id, &length, *start, *end)?;
                let (start, end) = bounds.ok_or_else(|| self.bug(id, "bounds without value"))?;
                self.push(id, Op::Slice { axis, start, end }, args.to_vec())
            }
            Kind::Pad(value) => {
                let mut node = args[0];
                for (axis, pair) in term.args[1..].chunks(2).enumerate() {
                    let [before, after] = self.pair(id, pair)?;
                    if !before.is_zero() || !after.is_zero() {
                        let op = Op::Pad { axis, before, after, value: Number(*value) };
                        node = self.push(id, op, vec![node])?;
                    }
                }
                Ok(node)
            }
            Kind::Flip(axis) => {
                let axis = position(*axis, ty.dims.len());
                self.push(id, Op::Flip { axis }, args.to_vec())
            }
            Kind::Gather(axis) => {
                let axis = position(*axis, rank(args, &self.builder));
                self.push(id, Op::Gather { axis }, args.to_vec())
            }
            Kind::Take(axis) => {
                let axis = position(*axis, ty.dims.len());
                self.push(id, Op::Take { axis }, args.to_vec())
            }
            Kind::ScatterAdd(axis) => {
                let axis = position(*axis, rank(args, &self.builder));
                Ok(self.builder.scatter_add(args[0], args[1], &ty.dims[axis], axis))
            }
            Kind::OneHot => self.one_hot(id, args[0], ty.dims),
            Kind::Sliding { op, axes, same, .. } => {
                let geometry = rules.geometry(id, *op, *axes, *same)?;
                let geometry = geometry.ok_or_else(|| self.bug(id, "windows without numbers"))?;
                let b = &mut self.builder;
                Ok(Writer { b, geometry, result: ty.dims }.write(*op, args))
            }
            Kind::Iota => {
                let count = self.push(id, Op::Iota { axis: 0, dims: ty.dims }, vec![])?;
                self.push(id, Op::Map(Pointwise::ToF32), vec![count])
            }
            Kind::Triangle { k, is_upper } => {
                Ok(derived::triangle(&mut self.builder, args[0], *k, *is_upper))
            }
            Kind::Cumsum(axis) => {
                let axis = position(*axis, ty.dims.len());
                Ok(derived::cumsum(&mut self.builder, args[0], axis))
            }
            Kind::ArgSort(axis) => {
                let axis = position(*axis, ty.dims.len());
                Ok(derived::argsort(&mut self.builder, args[0], axis, None, false))
            }
            Kind::TopK(axis) => {
                let axis = position(*axis, ty.dims.len());
                let count = Some(ty.dims[axis].clone());
                Ok(derived::argsort(&mut self.builder, args[0], axis, count, true))
            }
        }
    }

    fn constant(&mut self, id: TermId, value: f64, elem: Elem) -> Result<NodeId> {
        self.push(id, Op::Const(Number(value), elem), vec![])
    }

    fn array(&mut self, id: TermId, ty: Type) -> Result<NodeId> {
        let terms = &self.program.terms;
        let numbers = terms[id].args.iter().map(|arg| terms.known(*arg).and_then(Static::number));
        let data: Option<Vec<Number>> = numbers.map(|number| number.map(Number)).collect();
        let data = data.ok_or_else(|| self.bug(id, "an element without value"))?;
        self.push(id, Op::Array { elem: ty.elem, dims: ty.dims, data }, vec![])
    }

    fn pair(&self, id: TermId, pair: &[TermId]) -> Result<[Dim; 2]> {
        let dim =
            |term: Option<&TermId>| match term.and_then(|term| self.program.terms.known(*term)) {
                Some(Static::Dim(dim)) => Ok(dim.clone()),
                Some(Static::Real(value)) => Ok(Dim::constant(*value as i64)),
                _ => Err(self.bug(id, "a padding without value")),
            };
        Ok([dim(pair.first())?, dim(pair.get(1))?])
    }

    fn map(&mut self, id: TermId, op: Pointwise, args: &[NodeId], dims: &[Dim]) -> Result<NodeId> {
        if let Some(done) = self.convert(id, op, args)? {
            return Ok(done);
        }
        // A negative number is a literal.
        if let (Pointwise::Neg, Op::Const(value, elem)) =
            (op, &self.builder.graph().node(args[0]).op)
        {
            let (value, elem) = (-value.0, *elem);
            return self.constant(id, value, elem);
        }
        let stretched =
            args.iter().map(|arg| self.broadcast(id, *arg, dims)).collect::<Result<Vec<_>>>()?;
        let count = args.iter().zip(&stretched).filter(|(arg, stretched)| arg != stretched).count();
        let node = match (op, &stretched[..]) {
            (Pointwise::Rem, &[a, b]) if self.builder.ty(a).elem == Elem::F32 => {
                self.remainder(a, b)
            }
            _ => self.push(id, Op::Map(op), stretched)?,
        };
        if count > 1 {
            self.operands.insert(node, self.program.terms[id].places.clone());
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
    fn convert(&mut self, id: TermId, op: Pointwise, args: &[NodeId]) -> Result<Option<NodeId>> {
        let wanted = match op.row().signature {
            Signature::ToFloat => Elem::F32,
            Signature::ToInteger => Elem::I32,
            _ => return Ok(None),
        };
        let found = self.builder.ty(args[0]).elem;
        Ok(Some(match (found, wanted) {
            _ if found == wanted => args[0],
            (Elem::F32, Elem::I32) if let Some(integer) = self.was_integer(args[0]) => integer,
            (Elem::Bool, Elem::I32) => {
                let number = self.push(id, Op::Map(Pointwise::ToF32), args.to_vec())?;
                self.push(id, Op::Map(Pointwise::ToI32), vec![number])?
            }
            _ => self.push(id, Op::Map(op), args.to_vec())?,
        }))
    }

    fn prev(&mut self, id: TermId, args: &[NodeId], ty: Type) -> Result<NodeId> {
        let init = match args.first() {
            Some(init) => *init,
            None => self.constant(id, 0.0, ty.elem)?,
        };
        let init = self.broadcast(id, init, &ty.dims)?;
        let found = self.builder.ty(init).elem;
        if found != ty.elem {
            return Err(self.bug(id, &format!("a first value of {}", elem_name(found))));
        }
        let x = self.program.terms[id].args[0];
        let init = if self.carry.is_some() { self.carried_init(x, &ty, init) } else { init };
        let delay = self.builder.open_delay(Op::Prev, ty, init);
        self.delays.push((delay, x));
        Ok(delay)
    }

    /// The length of time.
    fn steps(&self) -> Dim {
        self.program.time.clone().unwrap_or_else(Dim::one)
    }

    /// What is static is the same at every step.
    fn over_time(&mut self, id: TermId, over: OverTime, x: NodeId) -> Result<NodeId> {
        let is_static = !self.builder.ty(x).is_stream();
        match over {
            OverTime::Sum if is_static => {
                let steps = self.steps();
                let steps = self.builder.size(steps, self.builder.ty(x).elem);
                let dims = self.builder.ty(x).dims.clone();
                let steps = self.builder.broadcast(steps, &dims);
                Ok(self.builder.mul(x, steps))
            }
            _ if is_static => Ok(x),
            OverTime::First => self.push(id, Op::First, vec![x]),
            OverTime::Last => self.push(id, Op::Last, vec![x]),
            OverTime::Max => self.push(id, Op::TimeReduce(Reduction::Max), vec![x]),
            OverTime::Sum => self.push(id, Op::TimeReduce(Reduction::Sum), vec![x]),
            OverTime::Mean => {
                let sum = self.push(id, Op::TimeReduce(Reduction::Sum), vec![x])?;
                let elem = self.builder.ty(sum).elem;
                let steps = self.steps();
                let steps = self.builder.size(steps, elem);
                Ok(self.builder.div(sum, steps))
            }
        }
    }

    /// `@` on operands of any number of axes, by the product of matrices.
    fn matmul(&mut self, id: TermId, a: NodeId, b: NodeId, result: &[Dim]) -> Result<NodeId> {
        let (left, right) = (self.builder.ty(a).dims.clone(), self.builder.ty(b).dims.clone());
        let missing = || self.bug(id, "a product of scalars");
        let inner = left.last().cloned().ok_or_else(missing)?;
        // One axis is one row on the left and one column on the right.
        let right = match right.as_slice() {
            [] => return Err(missing()),
            [_] => vec![inner.clone(), Dim::one()],
            _ => right,
        };
        let b = self.builder.reshape(b, &right);
        let columns = right[right.len() - 1].clone();
        let product = if right.len() == 2 {
            // All rows at once.
            let rows = Dim::product(&left[..left.len() - 1]);
            let a = self.builder.reshape(a, &[rows, inner]);
            self.push(id, Op::MatMul, vec![a, b])?
        } else {
            let left = match left.as_slice() {
                [_] => vec![Dim::one(), inner],
                _ => left,
            };
            let a = self.builder.reshape(a, &left);
            let (rows, columns) = (left[left.len() - 2].clone(), columns);
            let leading =
                self.leading(&left, &right).ok_or_else(|| self.bug(id, "leading axes"))?;
            let shape =
                |two: [&Dim; 2]| -> Vec<Dim> { leading.iter().chain(two).cloned().collect() };
            let inner = &left[left.len() - 1];
            let (left, right) = (shape([&rows, inner]), shape([inner, &columns]));
            let a = self.broadcast(id, a, &left)?;
            let b = self.broadcast(id, b, &right)?;
            self.push(id, Op::MatMul, vec![a, b])?
        };
        Ok(self.builder.reshape(product, result))
    }

    /// The broadcast of all but the last two axes.
    fn leading(&self, a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
        let some =
            |dims: &[Dim]| dims[..dims.len() - 2].iter().cloned().map(Some).collect::<Vec<_>>();
        super::shape::join(&some(a), &some(b)).ok()?.into_iter().collect()
    }

    /// A reduction without `keepdims`.
    fn reduce(&mut self, id: TermId, op: Reduce, x: NodeId, axes: &[usize]) -> Result<NodeId> {
        if axes.is_empty() && op != Reduce::Var {
            return Ok(x);
        }
        match op {
            Reduce::Plain(reduction) => {
                self.push(id, Op::Reduce(reduction, axes.to_vec()), vec![x])
            }
            Reduce::ArgMin => {
                let x = self.builder.neg(x);
                self.push(id, Op::Reduce(Reduction::ArgMax, axes.to_vec()), vec![x])
            }
            Reduce::Mean => Ok(self.mean(x, axes)),
            Reduce::Var => {
                let mean = self.mean(x, axes);
                let mean = self.spread(mean, x, axes);
                let difference = self.builder.sub(x, mean);
                let square = self.builder.mul(difference, difference);
                Ok(self.mean(square, axes))
            }
            Reduce::LogSumExp => self.logsumexp(id, x, axes),
        }
    }

    fn mean(&mut self, x: NodeId, axes: &[usize]) -> NodeId {
        let dims = &self.builder.ty(x).dims;
        let count = Dim::product(axes.iter().filter_map(|axis| dims.get(*axis)));
        let sum = self.builder.reduce(Reduction::Sum, x, axes);
        let count = self.builder.size(count, Elem::F32);
        self.builder.div(sum, count)
    }

    /// What was reduced, with the dimensions that it had before.
    fn spread(&mut self, reduced: NodeId, like: NodeId, axes: &[usize]) -> NodeId {
        let kept = self.builder.kept_dims(like, axes);
        let dims = self.builder.ty(like).dims.clone();
        let reduced = self.builder.reshape(reduced, &kept);
        self.builder.broadcast(reduced, &dims)
    }

    /// `m + log(sum(exp(x - m)))`, where m is the maximum without a derivative; 0 where that is infinite,
    /// so that a row of -inf gives -inf.
    fn logsumexp(&mut self, id: TermId, x: NodeId, axes: &[usize]) -> Result<NodeId> {
        let maximum = self.builder.reduce(Reduction::Max, x, axes);
        let maximum = self.push(id, Op::Sg, vec![maximum])?;
        let size = self.builder.unary(Pointwise::Abs, maximum);
        let largest = self.builder.number(f64::from(f32::MAX));
        let zero = self.builder.number(0.0);
        let shift = self.builder.choose(Pointwise::Le, size, largest, maximum, zero);
        let spread = self.spread(shift, x, axes);
        let difference = self.builder.sub(x, spread);
        let exp = self.builder.unary(Pointwise::Exp, difference);
        let sum = self.builder.reduce(Reduction::Sum, exp, axes);
        let log = self.builder.unary(Pointwise::Log, sum);
        Ok(self.builder.add(shift, log))
    }

    fn one_hot(&mut self, id: TermId, index: NodeId, dims: Vec<Dim>) -> Result<NodeId> {
        let axis = dims.len() - 1;
        let mut column = self.builder.ty(index).dims.clone();
        column.push(Dim::one());
        let index = self.builder.reshape(index, &column);
        let index = self.broadcast(id, index, &dims)?;
        let numbers = self.push(id, Op::Iota { axis, dims }, vec![])?;
        let equal = self.push(id, Op::Map(Pointwise::Eq), vec![index, numbers])?;
        self.push(id, Op::Map(Pointwise::ToF32), vec![equal])
    }
}

/// An axis that is checked, counted from the front.
fn position(axis: i64, rank: usize) -> usize {
    let axis = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(axis).unwrap_or(0)
}
