//! Prepares a graph for scheduling: products, sums and literals take the form that needs the least storage. Nothing
//! changes but how sums and products are rounded.

use super::facts::is_sum;
use super::{factor_hoisting, overlapping_products};
use crate::ir::graph::{
    Builder, Dim, Elem, Graph, Node, NodeId, Op, Pointwise, Reduction, Type, constants,
};
use crate::middle::rewrite::Rewrite;
use crate::middle::surrogate::Numeric::{Exact, Reassociating};

/// Does it wherever it can, and says whether it did.
type Apply = fn(&mut Graph) -> bool;

/// What is done, one after the other. Replaced nodes then stand before their operands.
static REWRITES: [(Rewrite, Apply); 8] = [
    (
        Rewrite {
            name: "literal-nodes",
            equation: "2 * 3 = 6;  likewise all operations, where the result is finite",
            numeric: Reassociating,
            reason: "What follows from literals alone is one, rounded once.",
        },
        |graph| each(graph, fold),
    ),
    (
        Rewrite {
            name: "step-product",
            equation: "prev(x, init) @ w = if first then init @ w else prev(x, 0) @ w;  likewise next and last",
            numeric: Exact,
            reason: "The product inside the loop always starts from zero.",
        },
        |graph| each(graph, split_step_product),
    ),
    (
        Rewrite {
            name: "summed-step-product",
            equation: "time_sum(prev(x, init)ᵀ @ y) = time_sum(prev(x, 0)ᵀ @ y) + initᵀ @ first(y);  likewise next and last",
            numeric: Reassociating,
            reason: "The sum is one product, whose operand starts from zero.",
        },
        |graph| each(graph, split_time_sum),
    ),
    (
        Rewrite {
            name: "time-sum-of-terms",
            equation: "time_sum(sum(a) - sum(b)) = time_sum(sum(a)) - time_sum(sum(b));  likewise + and neg",
            numeric: Reassociating,
            reason: "No partial sum of each step is stored.",
        },
        distribute_time_sums,
    ),
    (
        Rewrite {
            name: "factor-out",
            equation: "time_sum(aᵀ @ (g * c)) = time_sum(aᵀ @ g) * c;  (g * c) @ wᵀ = g @ (c * wᵀ);  likewise a sum in place of the product with a",
            numeric: Reassociating,
            reason: "A factor that is the same in every row leaves no stream behind.",
        },
        factor_hoisting::take_out,
    ),
    (
        Rewrite {
            name: "sum-over-weights",
            equation: "time_sum(sum(g * (a @ w))) = sum(w * time_sum(aᵀ @ g));  where time_sum(aᵀ @ g) is needed too",
            numeric: Reassociating,
            reason: "The gradient of the weights is there anyway, and the product need not be kept.",
        },
        factor_hoisting::sum_over_gradients,
    ),
    (
        Rewrite {
            name: "overlapping-product",
            equation: "sum(shear(pad(a @ y)), axis = k) = flip(a, axis = k) @ windows(pad(y));  where k is among the rows of a, which have 16 channels or more",
            numeric: Reassociating,
            reason: "The gradient of a convolution is one too, and no unfolded matrix is stored.",
        },
        |graph| each(graph, overlapping_products::sum_by_product),
    ),
    (
        Rewrite {
            name: "single-term-product",
            equation: "a @ b = a * b;  where a is [m, 1] and b [1, n]",
            numeric: Exact,
            reason: "A product of one term each is pointwise, and need not be stored.",
        },
        |graph| each(graph, multiply_single_terms),
    ),
];

/// The rows of the table, for people.
pub fn rewrites() -> impl Iterator<Item = &'static Rewrite> {
    REWRITES.iter().map(|(rewrite, _)| rewrite)
}

pub fn prepare(graph: &Graph) -> Graph {
    let mut graph = graph.compact();
    let mut changed = false;
    for (_, apply) in &REWRITES {
        changed |= apply(&mut graph);
    }
    if changed { graph.compact() } else { graph }
}

/// A rewrite of one node, on all that there are now.
fn each(graph: &mut Graph, rewrite: fn(&mut Graph, NodeId) -> bool) -> bool {
    let mut changed = false;
    for id in graph.ids() {
        changed |= rewrite(graph, id);
    }
    changed
}

/// What is distributed makes sums that may be distributed further.
fn distribute_time_sums(graph: &mut Graph) -> bool {
    let (mut changed, mut at) = (false, 0);
    while at < graph.len() {
        changed |= distribute_time_sum(graph, NodeId(at as u32));
        at += 1;
    }
    changed
}

/// A pointwise operation on literals is one.
fn fold(graph: &mut Graph, id: NodeId) -> bool {
    let node = graph.node(id).clone();
    let Op::Map(op) = node.op else { return false };
    let is_float = |arg: &NodeId| graph.ty(*arg).elem == Elem::F32;
    let numbers =
        node.args.iter().map(|arg| if is_float(arg) { graph.as_number(*arg) } else { None });
    let Some(numbers) = numbers.collect::<Option<Vec<f64>>>() else { return false };
    if node.ty.elem != Elem::F32 || node.ty.is_stream() {
        return false;
    }
    let Some(value) = constants::literal(op, Elem::F32, &numbers) else { return false };
    let literal = Builder::new(graph).number(value);
    let ty = Type { clock: graph.ty(literal).clock, ..node.ty.clone() };
    let op = Op::Broadcast(ty.dims.clone());
    *graph.node_mut(id) = Node { op, args: vec![literal], ty, ..node };
    true
}

/// `[m, 1] @ [1, n]` is a product of two broadcast values.
fn multiply_single_terms(graph: &mut Graph, id: NodeId) -> bool {
    let node = graph.node(id).clone();
    let terms = node.args.first().and_then(|left| graph.ty(*left).dims.last());
    if node.op != Op::MatMul || !terms.is_some_and(Dim::is_one) {
        return false;
    }
    let mut b = Builder::new(graph);
    b.span = node.span;
    let whole = Op::Broadcast(node.ty.dims.clone());
    let args = node.args.iter().map(|arg| b.push(whole.clone(), vec![*arg]));
    let args = args.collect();
    *graph.node_mut(id) = Node { op: Op::Map(Pointwise::Mul), args, ..node };
    true
}

/// A sum over time of terms, of which some are sums themselves, is the sum of their sums over time: each
/// becomes one reduction.
fn distribute_time_sum(graph: &mut Graph, id: NodeId) -> bool {
    let node = graph.node(id).clone();
    if node.op != Op::TimeReduce(Reduction::Sum) {
        return false;
    }
    let inner = graph.node(node.args[0]).clone();
    let Op::Map(op @ (Pointwise::Neg | Pointwise::Add | Pointwise::Sub)) = inner.op else {
        return false;
    };
    let is_stream = |arg: &NodeId| graph.ty(*arg).is_stream();
    if !inner.args.iter().all(is_stream) || !inner.args.iter().any(|arg| has_sum(graph, *arg)) {
        return false;
    }
    let mut b = Builder::new(graph);
    b.span = node.span;
    let sums = inner.args.iter().map(|arg| b.push(node.op.clone(), vec![*arg]));
    let args = sums.collect();
    *graph.node_mut(id) = Node { op: Op::Map(op), args, ..node };
    true
}

/// Among the terms that a value is the sum of, some are sums themselves. Only so many are looked at.
fn has_sum(graph: &Graph, id: NodeId) -> bool {
    let mut open = vec![id];
    for _ in 0..MOST_TERMS {
        let Some(node) = open.pop().map(|id| graph.node(id)) else { return false };
        if node.op.signs().is_some() {
            open.extend(&node.args);
        } else if is_sum(&node.op) {
            return true;
        }
    }
    false
}

const MOST_TERMS: usize = 32;

/// A delay that does not start from zero, under transpositions.
struct Delayed {
    init: NodeId,
    from_zero: NodeId,
}

fn delayed(graph: &mut Graph, id: NodeId) -> Option<Delayed> {
    let node = graph.node(id).clone();
    if let Op::Permute(_) = node.op {
        let inner = delayed(graph, node.args[0])?;
        let mut permuted = |arg: NodeId| {
            let ty = Type { clock: graph.ty(arg).clock, ..node.ty.clone() };
            graph.push(Node { args: vec![arg], ty, ..node.clone() })
        };
        return Some(Delayed { init: permuted(inner.init), from_zero: permuted(inner.from_zero) });
    }
    if !node.op.is_delay() || graph.as_number(node.args[1]) == Some(0.0) {
        return None;
    }
    let zero = Builder::new(graph).full_like(0.0, node.args[1]);
    let from_zero = graph.push(Node { args: vec![node.args[0], zero], ..node.clone() });
    Some(Delayed { init: node.args[1], from_zero })
}

/// The delay under an operand runs against time.
fn is_backward(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let is_moved = matches!(node.op, Op::Permute(_));
    if is_moved { is_backward(graph, node.args[0]) } else { node.op == Op::Next }
}

fn split_step_product(graph: &mut Graph, id: NodeId) -> bool {
    let node = graph.node(id).clone();
    if node.op != Op::MatMul || graph.ty(node.args[1]).is_stream() {
        return false;
    }
    let backward = is_backward(graph, node.args[0]);
    let Some(split) = delayed(graph, node.args[0]) else { return false };
    let edge = edge_step(graph, backward);
    let mut b = Builder::new(graph);
    b.span = node.span;
    let at_edge = b.matmul(split.init, node.args[1]);
    let elsewhere = b.matmul(split.from_zero, node.args[1]);
    let edge = b.broadcast(edge, &node.ty.dims);
    let op = Op::Map(Pointwise::Select);
    *graph.node_mut(id) = Node { op, args: vec![edge, at_edge, elsewhere], ..node };
    true
}

fn split_time_sum(graph: &mut Graph, id: NodeId) -> bool {
    let node = graph.node(id).clone();
    if node.op != Op::TimeReduce(Reduction::Sum) || graph.node(node.args[0]).op != Op::MatMul {
        return false;
    }
    let product = graph.node(node.args[0]).clone();
    let backward = is_backward(graph, product.args[0]);
    if !graph.ty(product.args[1]).is_stream() {
        return false;
    }
    let Some(split) = delayed(graph, product.args[0]) else { return false };
    let mut b = Builder::new(graph);
    b.span = node.span;
    let end = b.push(if backward { Op::Last } else { Op::First }, vec![product.args[1]]);
    let at_edge = b.matmul(split.init, end);
    let elsewhere = b.matmul(split.from_zero, product.args[1]);
    let sum = b.push(node.op.clone(), vec![elsewhere]);
    *graph.node_mut(id) = Node { op: Op::Map(Pointwise::Add), args: vec![sum, at_edge], ..node };
    true
}

/// The boolean stream that is true at the first step, or at the last.
fn edge_step(graph: &mut Graph, last: bool) -> NodeId {
    let time = graph.time.clone();
    let mut b = Builder::new(graph);
    let step = b.push(Op::TimeIndex, vec![]);
    let edge = match time {
        Some(time) if last => {
            let steps = b.push(Op::Size(time), vec![]);
            b.add_number(steps, -1.0)
        }
        _ => b.number(0.0),
    };
    let edge = b.binary(Pointwise::Eq, step, edge);
    debug_assert_eq!(b.ty(edge).elem, Elem::Bool);
    edge
}
