//! Reverse mode: a graph, and a scalar result of it, become a graph with the gradients as well.
//!
//! The forward nodes stay as they are. Cotangents are appended in reverse order; the cotangent of a
//! `prev` runs backward in time through a `next`, which is opened first and closed when the
//! cotangent is known, for a recurrence is a cycle. Only nodes between what is asked for and the
//! result take part.
//!
//! A static operand of a stream has one cotangent for each step, and their sum over time is its
//! own. The sum is taken as late as it is free to be, after the sum over stretched axes: a weight's
//! gradient is `time_sum(aᵀ @ dy)` and a bias's `time_sum(sum(dy))`, products and sums that leave
//! the loop.

mod guard;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::ir::graph::dependence::{depends, derivative_operands, reachable};
use crate::ir::graph::{
    Builder, Clock, Dim, Elem, Graph, Node, NodeId, Number, Op, Pointwise, Reduction, Role, Root,
    Type,
};

/// Why there is no gradient.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DifferentiateError {
    /// The graph has no output of this name.
    #[error("there is no output `{0}`")]
    UnknownOutput(String),
    /// The output has more than one element, or is none of floats.
    #[error("`{output}` is {found}; only a scalar f32 that is no stream can be differentiated")]
    NotScalar {
        /// The output asked for.
        output: String,
        /// Its type, which is no scalar's.
        found: Type,
    },
    /// The graph has no parameter or input of this name.
    #[error("there is no parameter or input `{0}`")]
    UnknownOperand(String),
    /// The input has no derivative: its elements are not f32.
    #[error("`{name}` is {found}; only f32 has a gradient", found = .found.name())]
    NotFloat {
        /// The input asked for.
        name: String,
        /// The type of its elements, which have no derivative.
        found: Elem,
    },
}

/// The graph together with the gradients of `output` for parameters (by path) and inputs (by name),
/// each a root with [`Role::Gradient`]; no `sg` and no `bypass` is left.
pub fn differentiate(
    graph: &Graph,
    output: &str,
    wrt: &[String],
) -> Result<Graph, DifferentiateError> {
    Ok(erase(joint(graph, output, wrt)?))
}

/// As [`differentiate`], but with `sg` and `bypass` still in place: it can be differentiated again.
pub(crate) fn joint(
    graph: &Graph,
    output: &str,
    wrt: &[String],
) -> Result<Graph, DifferentiateError> {
    let root = graph
        .root(Role::Output, output)
        .ok_or_else(|| DifferentiateError::UnknownOutput(output.into()))?;
    let ty = graph.ty(root);
    if *ty != Type::new(Elem::F32, vec![], Clock::Static) {
        return Err(DifferentiateError::NotScalar { output: output.into(), found: ty.clone() });
    }
    let operands =
        wrt.iter().map(|name| find_operand(graph, name)).collect::<Result<Vec<_>, _>>()?;
    let mut joint = graph.clone();
    let mut reverse = Reverse::new(&mut joint, root, &operands);
    reverse.run(root);
    let gradients: Vec<_> = operands.iter().map(|operand| reverse.gradient(operand)).collect();
    for (name, node) in wrt.iter().zip(gradients) {
        if joint.root(Role::Gradient, name).is_none() {
            joint.roots.push(Root { name: name.clone(), role: Role::Gradient, node });
        }
    }
    Ok(joint.compact())
}

/// The graph as it is computed: `sg(x)` is x and `bypass(f, g)` is f; what only served derivatives
/// is gone.
pub(crate) fn erase(mut graph: Graph) -> Graph {
    let mut meant: Vec<NodeId> = graph.ids().collect();
    for id in graph.ids() {
        let node = graph.node(id).clone();
        if matches!(node.op, Op::Sg | Op::Bypass) {
            let mut value = meant[node.args[0].0 as usize];
            if node.ty.is_stream() && !graph.ty(value).is_stream() {
                value = Builder::new(&mut graph).as_stream(value);
            }
            let kept = graph.node_mut(value);
            kept.name = kept.name.take().or(node.name);
            meant[id.0 as usize] = value;
        }
    }
    // Nodes made here have operands that are meant already.
    let meaning = |id: NodeId| meant.get(id.0 as usize).copied().unwrap_or(id);
    for id in graph.ids() {
        for arg in &mut graph.node_mut(id).args {
            *arg = meaning(*arg);
        }
    }
    for root in &mut graph.roots {
        root.node = meaning(root.node);
    }
    graph.compact()
}

/// The operation of a parameter or input, and its type.
struct Operand {
    op: Op,
    ty: Type,
}

fn find_operand(graph: &Graph, name: &str) -> Result<Operand, DifferentiateError> {
    if let Some(index) = graph.params.iter().position(|param| param.path == name) {
        let ty = Type::new(Elem::F32, graph.params[index].dims.clone(), Clock::Static);
        return Ok(Operand { op: Op::Param(index), ty });
    }
    let Some(index) = graph.inputs.iter().position(|input| input.name == name) else {
        return Err(DifferentiateError::UnknownOperand(name.into()));
    };
    let ty = graph.inputs[index].ty.clone();
    match ty.elem {
        Elem::F32 => Ok(Operand { op: Op::Input(index), ty }),
        found => Err(DifferentiateError::NotFloat { name: name.into(), found }),
    }
}

/// What is known of the cotangent of one node.
#[derive(Clone, Default)]
struct Cotangent {
    whole: Vec<NodeId>,
    /// To be summed over time: what a static node gets from the streams that it is an operand of.
    per_step: Vec<NodeId>,
}

struct Reverse<'g> {
    b: Builder<'g>,
    active: Vec<bool>,
    /// Where a cotangent of zero may meet a derivative that is no number.
    guarded: Vec<bool>,
    cotangents: Vec<Cotangent>,
    /// The open `next` of each `prev`, and the other way round.
    delays: HashMap<NodeId, NodeId>,
}

impl<'g> Reverse<'g> {
    fn new(graph: &'g mut Graph, root: NodeId, operands: &[Operand]) -> Reverse<'g> {
        let active = active(graph, root, operands);
        let guarded = guard::guarded(graph, &active);
        let cotangents = vec![Cotangent::default(); graph.len()];
        let mut b = Builder::new(graph);
        b.fold = true;
        Reverse { b, active, guarded, cotangents, delays: HashMap::new() }
    }

    fn run(&mut self, root: NodeId) {
        let forward: Vec<NodeId> = self.b.graph().ids().collect();
        for &id in &forward {
            self.open_delay(id);
        }
        let one = self.b.number(1.0);
        self.cotangents[root.0 as usize].whole.push(one);
        for &id in forward.iter().rev() {
            if self.active[id.0 as usize] {
                self.pull_back(id);
            }
        }
    }

    fn gradient(&mut self, operand: &Operand) -> NodeId {
        let graph = self.b.graph();
        let nodes: Vec<NodeId> =
            graph.ids().filter(|id| graph.node(*id).op == operand.op).collect();
        let parts: Vec<NodeId> = nodes.into_iter().filter_map(|id| self.cotangent(id)).collect();
        let gradient = match self.sum(&parts) {
            Some(gradient) => gradient,
            None => {
                let zero = self.b.number(0.0);
                self.b.broadcast(zero, &operand.ty.dims)
            }
        };
        if operand.ty.is_stream() { self.b.as_stream(gradient) } else { gradient }
    }

    /// For an active `prev(x, _)`, a `next` whose operand is not known yet, as a part of x's cotangent.
    fn open_delay(&mut self, id: NodeId) {
        let node = self.b.graph().node(id);
        let opposite = match node.op {
            Op::Prev => Op::Next,
            Op::Next => Op::Prev,
            _ => return,
        };
        let (x, ty) = (node.args[0], node.ty.clone());
        if self.active[id.0 as usize] && self.active[x.0 as usize] {
            self.b.span = node.span;
            let zero = self.b.full_like(0.0, id);
            let delay = self.b.open_delay(opposite, ty, zero);
            self.cotangents[x.0 as usize].whole.push(delay);
            self.delays.insert(id, delay);
        }
    }

    /// Gives a node's cotangent to its operands.
    fn pull_back(&mut self, id: NodeId) {
        let node = self.b.graph().node(id).clone();
        self.b.span = node.span;
        if self.passes_steps(id, &node) {
            let Cotangent { whole, per_step } = self.cotangents[id.0 as usize].clone();
            for (parts, each_step) in [(whole, false), (per_step, true)] {
                if let Some(dy) = self.sum(&parts) {
                    self.distribute(id, &node, dy, each_step);
                }
            }
            return;
        }
        let dy = self.cotangent(id);
        if let (Some(dy), Some(name)) = (dy, &node.name) {
            let cotangent = self.b.graph_mut().node_mut(dy);
            cotangent.name.get_or_insert_with(|| format!("grad_{name}").into());
        }
        if let Some(&delay) = self.delays.get(&id) {
            let dy = dy.unwrap_or_else(|| self.b.full_like(0.0, id));
            let dy = self.b.as_stream(dy);
            self.b.close(delay, dy);
        }
        if let Some(dy) = dy {
            self.distribute(id, &node, dy, node.ty.is_stream());
        }
    }

    /// Whether a static node hands the cotangents of the steps on before they are summed: where
    /// that costs nothing and leaves no product behind a sum.
    fn passes_steps(&self, id: NodeId, node: &Node) -> bool {
        use Pointwise::{Add, Neg, Sub};
        let is_linear = matches!(node.op, Op::Broadcast(_) | Op::Map(Neg | Add | Sub));
        let is_product = |part: &NodeId| self.b.graph().node(*part).op == Op::MatMul;
        let per_step = &self.cotangents[id.0 as usize].per_step;
        !node.ty.is_stream() && is_linear && !per_step.iter().any(is_product)
    }

    fn distribute(&mut self, id: NodeId, node: &Node, dy: NodeId, each_step: bool) {
        let parts = self.operand_cotangents(id, node, dy);
        for (&x, part) in node.args.iter().zip(parts) {
            let Some(mut part) = part else { continue };
            if !self.active[x.0 as usize] {
                continue;
            }
            debug_assert_eq!(self.b.ty(part).dims, self.b.ty(x).dims, "cotangent of {:?}", node.op);
            if self.guarded[id.0 as usize] {
                let zero = self.b.number(0.0);
                part = self.b.choose(Pointwise::Eq, dy, zero, zero, part);
            }
            let is_init = matches!(node.op, Op::Prev | Op::Next);
            let whole = self.b.ty(x).is_stream() || !each_step || is_init;
            let cotangent = &mut self.cotangents[x.0 as usize];
            if whole { &mut cotangent.whole } else { &mut cotangent.per_step }.push(part);
        }
    }

    /// The part of each operand's cotangent that comes from this node; `None` where there is none.
    fn operand_cotangents(&mut self, id: NodeId, node: &Node, dy: NodeId) -> Vec<Option<NodeId>> {
        let b = &mut self.b;
        let args = &node.args;
        let dims = |b: &Builder, operand: usize| b.ty(args[operand]).dims.clone();
        match &node.op {
            Op::Input(_)
            | Op::Param(_)
            | Op::Const(..)
            | Op::Size(_)
            | Op::TimeIndex
            | Op::Iota { .. } => vec![],
            Op::Sg => vec![None],
            Op::Bypass => vec![None, Some(dy)],
            Op::Map(pointwise) => match pointwise.row().vjp {
                Some(vjp) => vjp(b, args, id, dy),
                None => vec![None; args.len()],
            },
            Op::Broadcast(_) => {
                let dims = dims(b, 0);
                vec![Some(sum_to(b, dy, &dims))]
            }
            Op::Reshape(_) => {
                let dims = dims(b, 0);
                vec![Some(b.reshape(dy, &dims))]
            }
            Op::Permute(order) => {
                let mut inverse = vec![0; order.len()];
                order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
                vec![Some(b.push(Op::Permute(inverse), vec![dy]))]
            }
            Op::Slice { axis, start, end } => {
                let after = &dims(b, 0)[*axis] - end;
                let pad = Op::Pad { axis: *axis, before: start.clone(), after, value: Number(0.0) };
                vec![Some(b.push(pad, vec![dy]))]
            }
            Op::Concat { axis } => {
                let mut start = Dim::zero();
                let slices = (0..args.len()).map(|operand| {
                    let end = &start + &dims(b, operand)[*axis];
                    let start = std::mem::replace(&mut start, end.clone());
                    Some(b.push(Op::Slice { axis: *axis, start, end }, vec![dy]))
                });
                slices.collect()
            }
            Op::Pad { axis, before, .. } => {
                let end = before + &dims(b, 0)[*axis];
                let slice = Op::Slice { axis: *axis, start: before.clone(), end };
                vec![Some(b.push(slice, vec![dy]))]
            }
            Op::Flip { .. } => vec![Some(b.push(node.op.clone(), vec![dy]))],
            Op::Gather { axis } => vec![Some(gather(b, args, *axis, dy)), None],
            Op::MatMul => {
                let (a_t, b_t) = (b.transpose(args[0]), b.transpose(args[1]));
                vec![Some(b.matmul(dy, b_t)), Some(b.matmul(a_t, dy))]
            }
            Op::Reduce(reduction, axes) => vec![match reduction {
                Reduction::Sum => Some(expand(b, dy, args[0], axes)),
                Reduction::Max | Reduction::Min => {
                    let y = expand(b, id, args[0], axes);
                    let hit = b.binary(Pointwise::Eq, args[0], y);
                    let hits = b.unary(Pointwise::ToF32, hit);
                    let hits = b.reduce(Reduction::Sum, hits, axes);
                    let share = b.div(dy, hits);
                    let (share, zero) = (expand(b, share, args[0], axes), b.number(0.0));
                    Some(b.select(hit, share, zero))
                }
                Reduction::Prod => Some(product(b, args[0], axes, dy)),
                Reduction::ArgMax => None,
            }],
            Op::Prev | Op::Next => {
                let end = if node.op == Op::Prev { Op::First } else { Op::Last };
                vec![None, Some(if b.ty(dy).is_stream() { b.push(end, vec![dy]) } else { dy })]
            }
            Op::First => vec![Some(at_step(b, Dim::zero(), dy))],
            Op::Last => {
                let steps = b.graph().time.clone().unwrap_or_else(Dim::one);
                vec![Some(at_step(b, &steps - &Dim::one(), dy))]
            }
            Op::TimeReduce(Reduction::Max) => {
                let hit = b.binary(Pointwise::Eq, args[0], id);
                let hits = b.unary(Pointwise::ToF32, hit);
                let hits = b.push(Op::TimeReduce(Reduction::Sum), vec![hits]);
                let (share, zero) = (b.div(dy, hits), b.number(0.0));
                vec![Some(b.select(hit, share, zero))]
            }
            Op::TimeReduce(_) => vec![Some(dy)],
        }
    }

    /// The whole cotangent of a node; `None` if nothing reached it.
    fn cotangent(&mut self, id: NodeId) -> Option<NodeId> {
        let Cotangent { mut whole, per_step } = self.cotangents[id.0 as usize].clone();
        let is_product = |part: &NodeId| self.b.graph().node(*part).op == Op::MatMul;
        let (products, others): (Vec<_>, Vec<_>) = per_step.into_iter().partition(is_product);
        whole.extend(products.into_iter().map(|product| self.sum_over_time(product)));
        if let Some(steps) = self.sum(&others) {
            whole.push(self.sum_over_time(steps));
        }
        self.sum(&whole)
    }

    fn sum(&mut self, parts: &[NodeId]) -> Option<NodeId> {
        parts.iter().copied().reduce(|a, part| {
            // sum(a) + sum(b) = sum(a + b)
            let graph = self.b.graph();
            let (left, right) = (graph.node(a), graph.node(part));
            if let Op::Reduce(Reduction::Sum, axes) = &left.op
                && left.op == right.op
                && graph.ty(left.args[0]).dims == graph.ty(right.args[0]).dims
            {
                let (x, y, axes) = (left.args[0], right.args[0], axes.clone());
                let inner = self.b.add(x, y);
                return self.b.reduce(Reduction::Sum, inner, &axes);
            }
            self.b.add(a, part)
        })
    }

    fn sum_over_time(&mut self, x: NodeId) -> NodeId {
        if self.b.ty(x).is_stream() {
            return self.b.push(Op::TimeReduce(Reduction::Sum), vec![x]);
        }
        let steps = self.b.graph().time.clone().unwrap_or_else(Dim::one);
        let steps = self.b.push(Op::Size(steps), vec![]);
        self.b.mul(x, steps)
    }
}

/// The nodes that depend on the operands and that the root depends on, by the chain rule.
fn active(graph: &Graph, root: NodeId, operands: &[Operand]) -> Vec<bool> {
    let sources = graph.ids().filter(|&id| operands.iter().any(|o| o.op == graph.node(id).op));
    let varies = depends(graph, sources.collect());
    let matters = reachable(graph, vec![root], |id| derivative_operands(graph, id).collect());
    varies.into_iter().zip(matters).map(|(varies, matters)| varies && matters).collect()
}

/// The adjoint of a broadcast: sums over the axes that it made or stretched.
fn sum_to(b: &mut Builder, x: NodeId, dims: &[Dim]) -> NodeId {
    let from = b.ty(x).dims.clone();
    let new = from.len() - dims.len();
    let stretched = |&axis: &usize| axis < new || from[axis] != dims[axis - new];
    let axes: Vec<usize> = (0..from.len()).filter(stretched).collect();
    let sum = b.reduce(Reduction::Sum, x, &axes);
    b.reshape(sum, dims)
}

/// A reduced value at each place of x that it was reduced from.
fn expand(b: &mut Builder, reduced: NodeId, x: NodeId, axes: &[usize]) -> NodeId {
    let (kept, dims) = (b.kept_dims(x, axes), b.ty(x).dims.clone());
    if let Some(number) = b.graph().as_number(reduced) {
        let number = b.number(number);
        return b.broadcast(number, &dims);
    }
    let kept = b.reshape(reduced, &kept);
    b.broadcast(kept, &dims)
}

/// A stream of zeros but for one step.
fn at_step(b: &mut Builder, step: Dim, dy: NodeId) -> NodeId {
    let (now, step) = (b.push(Op::TimeIndex, vec![]), b.push(Op::Size(step), vec![]));
    let zero = b.number(0.0);
    b.choose(Pointwise::Eq, now, step, dy, zero)
}

/// The adjoint of `gather(x, i)`: each place of x sums what the positions of i that name it get. A
/// place outside of x is named by none.
fn gather(b: &mut Builder, args: &[NodeId], axis: usize, dy: NodeId) -> NodeId {
    let (dims, index_dims) = (b.ty(args[0]).dims.clone(), b.ty(args[1]).dims.clone());
    let (before, after) = (&dims[..axis], &dims[axis + 1..]);
    let (one, ones) = ([Dim::one()], vec![Dim::one(); after.len()]);
    let all = [before, &dims[axis..=axis], &index_dims, after].concat();
    let place = b.push(Op::Iota { axis, dims: all.clone() }, vec![]);
    let zero = b.full_like(0.0, args[1]);
    let length = b.size(dims[axis].clone(), Elem::I32);
    let from_end = b.add(args[1], length);
    let index = b.choose(Pointwise::Lt, args[1], zero, from_end, args[1]);
    let index = b.reshape(index, &[&one, &index_dims[..], &ones].concat());
    let index = b.broadcast(index, &all);
    let dy = b.reshape(dy, &[before, &one, &index_dims, after].concat());
    let (dy, zero) = (b.broadcast(dy, &all), b.number(0.0));
    let part = b.choose(Pointwise::Eq, place, index, dy, zero);
    let positions: Vec<usize> = (axis + 1..=axis + index_dims.len()).collect();
    b.reduce(Reduction::Sum, part, &positions)
}

/// The adjoint of a product over axes: for each factor the product of the others, which is zero
/// where two are zero, and where one is, zero for all but that one. Its own derivative is right where
/// none is zero.
fn product(b: &mut Builder, x: NodeId, axes: &[usize], dy: NodeId) -> NodeId {
    let (zero, one) = (b.number(0.0), b.number(1.0));
    let is_zero = b.binary(Pointwise::Eq, x, zero);
    let zeros = b.unary(Pointwise::ToF32, is_zero);
    let zeros = b.reduce(Reduction::Sum, zeros, axes);
    let factors = b.select(is_zero, one, x);
    let product = b.reduce(Reduction::Prod, factors, axes);
    let dy = b.mul(dy, product);
    let without_zero = b.choose(Pointwise::Eq, zeros, zero, dy, zero);
    let without_zero = expand(b, without_zero, x, axes);
    let only_zero = b.choose(Pointwise::Eq, zeros, one, dy, zero);
    let only_zero = expand(b, only_zero, x, axes);
    let others = b.div(without_zero, factors);
    b.select(is_zero, only_zero, others)
}
