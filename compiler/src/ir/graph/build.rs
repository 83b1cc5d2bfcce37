//! Building graphs node by node: derivatives and the checker's derived operations are written with it.

use std::collections::HashMap;

use super::op::{Number, Op, Pointwise, Reduction};
use super::{Dim, Elem, Graph, Node, NodeId, OPEN, Type, TypeError, constants};
use crate::source::Span;

/// Appends nodes to a graph; a node that is there already is found again.
///
/// They are for code that builds well-typed terms by construction: a type
/// error in them is a bug of the compiler and panics with the operation's name.
pub struct Builder<'g> {
    graph: &'g mut Graph,
    known: HashMap<(Op, Vec<NodeId>), NodeId>,
    /// Given to the nodes made from here on.
    pub span: Option<Span>,
    /// Leaves out what does nothing: literals beside another operand, such as 1 in `x * 1`, and `-(-x)`.
    pub fold: bool,
}

impl<'g> Builder<'g> {
    /// Finds again what the graph has already.
    pub fn new(graph: &'g mut Graph) -> Builder<'g> {
        let mut known = HashMap::new();
        for id in graph.ids() {
            let node = graph.node(id);
            if !node.op.is_delay() {
                known.entry((node.op.clone(), node.args.clone())).or_insert(id);
            }
        }
        Builder { graph, known, span: None, fold: false }
    }

    pub(crate) fn graph(&self) -> &Graph {
        self.graph
    }

    pub(crate) fn graph_mut(&mut self) -> &mut Graph {
        self.graph
    }

    /// The type of a node's result.
    pub fn ty(&self, id: NodeId) -> &Type {
        self.graph.ty(id)
    }

    /// The node of an operation on operands, or why its types do not fit.
    pub(crate) fn try_push(&mut self, op: Op, args: Vec<NodeId>) -> Result<NodeId, TypeError> {
        let key = (op, args);
        if let Some(&id) = self.known.get(&key) {
            return Ok(id);
        }
        let types: Vec<&Type> = key.1.iter().map(|arg| self.graph.ty(*arg)).collect();
        let declared = self.graph.declared(&key.0).map(|declared| declared.ty());
        let ty = declared.map_or_else(|| key.0.infer(&types), Ok)?;
        let (op, args) = key.clone();
        let id = self.graph.push(Node { op, args, ty, span: self.span, name: None });
        if !key.0.is_delay() {
            self.known.insert(key, id);
        }
        Ok(id)
    }

    /// A static value as a stream that has it at each step.
    pub(crate) fn as_stream(&mut self, x: NodeId) -> NodeId {
        if self.ty(x).is_stream() {
            return x;
        }
        let (step, first) = (self.push(Op::TimeIndex, vec![]), self.number(0.0));
        let zero = self.full_like(0.0, x);
        self.choose(Pointwise::Ge, step, first, x, zero)
    }

    /// The node of an operation on operands that the caller knows to fit; what a user writes goes
    /// through `try_push`.
    ///
    /// # Panics
    /// If the operands do not fit.
    #[track_caller]
    pub fn push(&mut self, op: Op, args: Vec<NodeId>) -> NodeId {
        let named = op.clone();
        self.try_push(op, args).unwrap_or_else(|error| panic!("{named:?} {error}"))
    }

    /// A `prev` or `next` whose first operand is set later by [`Builder::close`].
    pub fn open_delay(&mut self, op: Op, ty: Type, init: NodeId) -> NodeId {
        let args = vec![OPEN, init];
        self.graph.push(Node { op, args, ty, span: self.span, name: None })
    }

    /// Sets the first operand of a `prev` or `next`.
    pub fn close(&mut self, delay: NodeId, operand: NodeId) {
        self.graph.node_mut(delay).args[0] = operand;
    }

    /// An f32 literal, a scalar.
    pub fn number(&mut self, value: f64) -> NodeId {
        self.push(Op::Const(Number(value), Elem::F32), vec![])
    }

    /// A literal with the elements and dimensions of another node.
    pub fn full_like(&mut self, value: f64, like: NodeId) -> NodeId {
        let Type { elem, dims, .. } = self.ty(like).clone();
        let number = self.push(Op::Const(Number(value), elem), vec![]);
        self.broadcast(number, &dims)
    }

    /// A dimension as a scalar.
    pub fn size(&mut self, dim: Dim, elem: Elem) -> NodeId {
        if let Some(value) = dim.as_const() {
            return self.push(Op::Const(Number(value as f64), elem), vec![]);
        }
        let size = self.push(Op::Size(dim), vec![]);
        if elem == Elem::I32 { self.unary(Pointwise::ToI32, size) } else { size }
    }

    /// `op(x)`.
    pub fn unary(&mut self, op: Pointwise, x: NodeId) -> NodeId {
        self.push(Op::Map(op), vec![x])
    }

    /// A pointwise operation; scalar operands take the dimensions of the others.
    #[track_caller]
    pub fn map(&mut self, op: Pointwise, args: &[NodeId]) -> NodeId {
        let shaped = args.iter().find(|arg| !self.ty(**arg).is_scalar());
        let dims = shaped.map(|arg| self.ty(*arg).dims.clone()).unwrap_or_default();
        let args = args
            .iter()
            .map(|&arg| if self.ty(arg).is_scalar() { self.broadcast(arg, &dims) } else { arg })
            .collect();
        self.push(Op::Map(op), args)
    }

    /// `op(a, b)`; a scalar operand takes the dimensions of the other.
    #[track_caller]
    pub fn binary(&mut self, op: Pointwise, a: NodeId, b: NodeId) -> NodeId {
        self.map(op, &[a, b])
    }

    /// `a + b`; a scalar operand takes the dimensions of the other, here and below.
    #[track_caller]
    pub fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.arithmetic(Pointwise::Add, a, b)
    }

    /// `a - b`.
    #[track_caller]
    pub fn sub(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.arithmetic(Pointwise::Sub, a, b)
    }

    /// `a * b`.
    #[track_caller]
    pub fn mul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.arithmetic(Pointwise::Mul, a, b)
    }

    /// `a / b`.
    #[track_caller]
    pub fn div(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.arithmetic(Pointwise::Div, a, b)
    }

    #[track_caller]
    fn arithmetic(&mut self, op: Pointwise, a: NodeId, b: NodeId) -> NodeId {
        let args = [a, b];
        let is = |at: usize, number| self.fold && self.graph.as_number(args[at]) == Some(number);
        match constants::kept(op, is) {
            Some(kept) => self.broadcast_like(args[kept], args[1 - kept]),
            None => self.binary(op, a, b),
        }
    }

    /// `-x`.
    pub fn neg(&mut self, x: NodeId) -> NodeId {
        let node = self.graph.node(x);
        if self.fold && node.op == Op::Map(Pointwise::Neg) {
            return node.args[0];
        }
        self.unary(Pointwise::Neg, x)
    }

    /// A scalar with the dimensions of another node; anything else as it is.
    fn broadcast_like(&mut self, x: NodeId, like: NodeId) -> NodeId {
        if !self.ty(x).is_scalar() {
            return x;
        }
        let dims = self.ty(like).dims.clone();
        self.broadcast(x, &dims)
    }

    /// `x * factor`.
    pub fn scale(&mut self, x: NodeId, factor: f64) -> NodeId {
        let factor = self.number(factor);
        self.mul(x, factor)
    }

    /// `x + number`.
    pub fn add_number(&mut self, x: NodeId, number: f64) -> NodeId {
        let number = self.number(number);
        self.add(x, number)
    }

    pub(crate) fn one_minus(&mut self, x: NodeId) -> NodeId {
        let one = self.number(1.0);
        self.sub(one, x)
    }

    pub(crate) fn one_minus_square(&mut self, x: NodeId) -> NodeId {
        let square = self.mul(x, x);
        self.one_minus(square)
    }

    pub(crate) fn select(&mut self, condition: NodeId, then: NodeId, otherwise: NodeId) -> NodeId {
        self.map(Pointwise::Select, &[condition, then, otherwise])
    }

    /// `if a op b then x else y`
    pub fn choose(&mut self, op: Pointwise, a: NodeId, b: NodeId, x: NodeId, y: NodeId) -> NodeId {
        let condition = self.binary(op, a, b);
        self.select(condition, x, y)
    }

    /// The part of `dy` that max(a, b) passes to `a`: all if it is greater, half at a tie.
    pub(crate) fn share(&mut self, a: NodeId, b: NodeId, dy: NodeId) -> NodeId {
        let zero = self.number(0.0);
        let half = self.scale(dy, 0.5);
        let tie = self.choose(Pointwise::Eq, a, b, half, zero);
        self.choose(Pointwise::Gt, a, b, dy, tie)
    }

    /// x with these dimensions, by NumPy's rule; x itself if it has them.
    #[track_caller]
    pub fn broadcast(&mut self, x: NodeId, dims: &[Dim]) -> NodeId {
        if self.ty(x).dims == dims {
            return x;
        }
        self.push(Op::Broadcast(dims.to_vec()), vec![x])
    }

    /// x's elements under these dimensions; x itself if it has them.
    #[track_caller]
    pub fn reshape(&mut self, x: NodeId, dims: &[Dim]) -> NodeId {
        if self.ty(x).dims == dims {
            return x;
        }
        self.push(Op::Reshape(dims.to_vec()), vec![x])
    }

    /// Exchanges the last two axes.
    #[track_caller]
    pub fn transpose(&mut self, x: NodeId) -> NodeId {
        let rank = self.ty(x).dims.len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.push(Op::Permute(order), vec![x])
    }

    /// `a @ b`, with equal leading dimensions.
    #[track_caller]
    pub fn matmul(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.push(Op::MatMul, vec![a, b])
    }

    /// A reduction over some axes, which are removed; x itself if there are none.
    #[track_caller]
    pub fn reduce(&mut self, reduction: Reduction, x: NodeId, axes: &[usize]) -> NodeId {
        if axes.is_empty() {
            return x;
        }
        self.push(Op::Reduce(reduction, axes.to_vec()), vec![x])
    }

    /// The i32 index along an axis of a tensor of these dimensions.
    pub(crate) fn count_along(&mut self, axis: usize, dims: &[Dim]) -> NodeId {
        let count = Op::Iota { axis: 0, dims: vec![dims[axis].clone()] };
        let count = self.push(count, vec![]);
        let mut column = dims[axis..].to_vec();
        column[1..].fill(Dim::one());
        let count = self.reshape(count, &column);
        self.broadcast(count, dims)
    }

    /// An index of so many places, counted from the front.
    pub(crate) fn counted_from_front(&mut self, index: NodeId, places: &Dim) -> NodeId {
        let zero = self.full_like(0.0, index);
        let length = self.size(places.clone(), Elem::I32);
        let from_end = self.add(index, length);
        self.choose(Pointwise::Lt, index, zero, from_end, index)
    }

    /// Instead of as many axes of x from `axis` on as the index has, one of so many places, each with the
    /// sum of what the positions of the index that name it have in x. A place outside is no place.
    pub(crate) fn scatter_add(
        &mut self,
        x: NodeId,
        index: NodeId,
        places: &Dim,
        axis: usize,
    ) -> NodeId {
        let Type { elem, dims, .. } = self.ty(x).clone();
        let index_dims = self.ty(index).dims.clone();
        let (before, after) = (&dims[..axis], &dims[axis + index_dims.len()..]);
        let (one, ones) = ([Dim::one()], vec![Dim::one(); after.len()]);
        let all = [before, std::slice::from_ref(places), &index_dims, after].concat();
        let place = self.count_along(axis, &all);
        let index = self.counted_from_front(index, places);
        let index = self.reshape(index, &[&one, &index_dims[..], &ones].concat());
        let index = self.broadcast(index, &all);
        let x = self.reshape(x, &[before, &one, &index_dims, after].concat());
        let x = self.broadcast(x, &all);
        let zero = self.push(Op::Const(Number(0.0), elem), vec![]);
        let part = self.choose(Pointwise::Eq, place, index, x, zero);
        let positions: Vec<usize> = (axis + 1..=axis + index_dims.len()).collect();
        self.reduce(Reduction::Sum, part, &positions)
    }

    /// The dimensions of x with the axes kept as 1.
    pub(crate) fn kept_dims(&self, x: NodeId, axes: &[usize]) -> Vec<Dim> {
        let dims = self.ty(x).dims.iter().enumerate();
        dims.map(|(axis, dim)| if axes.contains(&axis) { Dim::one() } else { dim.clone() })
            .collect()
    }
}
