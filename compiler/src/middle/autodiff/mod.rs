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
    Builder, Clock, Dim, Elem, Graph, Node, NodeId, Op, ParamKind, Pointwise, Reduction, Role,
    Root, Type,
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
    /// The parameter is not to be trained.
    #[error("the parameter `{0}` is `fixed`: it has no gradient")]
    Fixed(String),
    /// The gradient ends where a run begins.
    #[error("`{0}` is a state: it has no gradient")]
    State(String),
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
        match graph.params[index].kind {
            ParamKind::Fixed => return Err(DifferentiateError::Fixed(name.into())),
            ParamKind::State => return Err(DifferentiateError::State(name.into())),
            ParamKind::Trained | ParamKind::OptimizerState => {}
        }
        return Ok(Operand { op: Op::Param(index), ty: graph.params[index].ty() });
    }
    let Some(index) = graph.inputs.iter().position(|input| input.name == name) else {
        return Err(DifferentiateError::UnknownOperand(name.into()));
    };
    let ty = graph.inputs[index].ty.clone();
    match ty.elem {
        Elem::F32 => Ok(Operand { op: Op::Input(index), ty }),
        found @ (Elem::I32 | Elem::Bool) => {
            Err(DifferentiateError::NotFloat { name: name.into(), found })
        }
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
        let Some(opposite) = node.op.describe(|op| op.opposite()) else { return };
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
        let parts = node.op.describe(|op| op.vjp(&mut self.b, &node.args, id, dy));
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
            // A first value is taken once, and what was unstacked has a place for each step.
            let is_once = node.op.is_delay() || node.op == Op::TimeUnstack;
            let whole = self.b.ty(x).is_stream() || !each_step || is_once;
            let cotangent = &mut self.cotangents[x.0 as usize];
            if whole { &mut cotangent.whole } else { &mut cotangent.per_step }.push(part);
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
