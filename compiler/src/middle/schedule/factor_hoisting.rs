//! Takes factors out of products that run through time.
//!
//! In `i = x @ w; u = … + (1 - alpha) * i` the cotangent of `i` is that of `u` times `1 - alpha`, and the
//! cotangent of `alpha` needs `i` again. Both would be streams: written, kept and read at each step. A
//! factor `c` that is the same in every row leaves a product instead, and a sum of products with a
//! product is one with the gradient that there is anyway:
//!
//! - `time_sum(aᵀ @ (g * c)) = time_sum(aᵀ @ g) * c`
//! - `(g * c) @ wᵀ = g @ (c * wᵀ)`, where `w` is static
//! - `time_sum(sum(g * (a @ w))) = sum(w * time_sum(aᵀ @ g))`, where `time_sum(aᵀ @ g)` is needed too
//!
//! and the same for a bias, with sums in place of the products with `a`.
//!
//! That is the same but for rounding.

use std::collections::HashMap;

use crate::ir::graph::{Builder, Graph, Node, NodeId, Op, Pointwise, Reduction};

/// Takes factors out of all products that they can leave; whether there were some.
pub fn take_out(graph: &mut Graph) -> bool {
    let users = users(graph);
    let mut changed = false;
    for id in graph.ids() {
        changed |= take_out_factor(graph, id, &users);
    }
    changed
}

/// Sums products of a stream by way of the gradients that there are; whether there were such sums.
pub fn sum_over_gradients(graph: &mut Graph) -> bool {
    let gradients = Gradients::of(graph);
    let mut changed = false;
    for id in graph.ids() {
        changed |= sum_over_weights(graph, id, &gradients);
    }
    changed
}

fn users(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut users = vec![Vec::new(); graph.len()];
    for id in graph.ids() {
        graph.node(id).args.iter().for_each(|arg| users[arg.0 as usize].push(id));
    }
    users
}

/// If all that a stream with a factor is used for are products that the factor can leave, it does.
fn take_out_factor(graph: &mut Graph, id: NodeId, users: &[Vec<NodeId>]) -> bool {
    let Some((stream, factor)) = column_factor(graph, id) else { return false };
    let is_root = graph.roots.iter().any(|root| root.node == id);
    let uses: Option<Vec<Use>> =
        users[id.0 as usize].iter().map(|user| Use::of(graph, *user, id, users)).collect();
    let Some(uses) = uses.filter(|uses| !uses.is_empty() && !is_root) else { return false };
    for found in uses {
        found.replace(graph, stream, factor);
    }
    true
}

/// `stream * broadcast(factor)`, where the factor has one number for each column.
fn column_factor(graph: &Graph, id: NodeId) -> Option<(NodeId, NodeId)> {
    let node = graph.node(id);
    let [a, b] = *node.args else { return None };
    if node.op != Op::Map(Pointwise::Mul) || node.ty.dims.len() != 2 || !node.ty.is_stream() {
        return None;
    }
    let factor = |id: NodeId| row(graph, id);
    factor(b).map(|factor| (a, factor)).or_else(|| factor(a).map(|factor| (b, factor)))
}

/// What every row of a static matrix is.
fn row(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    let inner = *node.args.first()?;
    let is_row = !node.ty.is_stream() && graph.ty(inner).dims == *node.ty.dims.get(1..)?;
    (matches!(node.op, Op::Broadcast(_)) && is_row).then_some(inner)
}

/// A product that a factor can leave.
enum Use {
    /// `time_sum(left @ (stream * factor))`
    Summed { sum: NodeId, left: NodeId },
    /// `time_sum(sum(stream * factor))`
    Plain { sum: NodeId },
    /// `(stream * factor) @ right`
    Rows { product: NodeId, right: NodeId },
}

impl Use {
    fn of(graph: &Graph, product: NodeId, scaled: NodeId, users: &[Vec<NodeId>]) -> Option<Use> {
        let node = graph.node(product);
        let sum = match *users[product.0 as usize] {
            [sum] if graph.node(sum).op == Op::TimeReduce(Reduction::Sum) => Some(sum),
            _ => None,
        };
        if is_sum_of_rows(node) {
            return sum.map(|sum| Use::Plain { sum });
        }
        let [left, right] = *node.args else { return None };
        if node.op != Op::MatMul || node.ty.dims.len() != 2 || left == right {
            return None;
        }
        if left == scaled {
            return (!graph.ty(right).is_stream()).then_some(Use::Rows { product, right });
        }
        sum.map(|sum| Use::Summed { sum, left })
    }

    fn replace(self, graph: &mut Graph, stream: NodeId, factor: NodeId) {
        match self {
            Use::Summed { sum, left } => {
                multiply_sum(graph, sum, factor, |b| b.matmul(left, stream));
            }
            Use::Plain { sum } => {
                multiply_sum(graph, sum, factor, |b| b.reduce(Reduction::Sum, stream, &[0]));
            }
            Use::Rows { product, right } => {
                let node = graph.node(product).clone();
                let dims = graph.ty(right).dims.clone();
                let mut b = Builder::new(graph);
                b.span = node.span;
                let column = b.reshape(factor, &[dims[0].clone(), crate::ir::graph::Dim::one()]);
                let factors = b.broadcast(column, &dims);
                let scaled = b.mul(factors, right);
                *graph.node_mut(product) = Node { args: vec![stream, scaled], ..node };
            }
        }
    }
}

/// A sum over time becomes that of something else, times a factor for each column.
fn multiply_sum(
    graph: &mut Graph,
    sum: NodeId,
    factor: NodeId,
    summed: impl FnOnce(&mut Builder) -> NodeId,
) {
    let node = graph.node(sum).clone();
    let mut b = Builder::new(graph);
    b.span = node.span;
    let summed = summed(&mut b);
    let without = b.push(node.op.clone(), vec![summed]);
    let factor = b.broadcast(factor, &node.ty.dims);
    let args = vec![without, factor];
    *graph.node_mut(sum) = Node { op: Op::Map(Pointwise::Mul), args, ..node };
}

fn is_sum_of_rows(node: &Node) -> bool {
    matches!(&node.op, Op::Reduce(Reduction::Sum, axes) if axes.as_slice() == [0])
}

/// Sums over time of `leftᵀ @ stream`, and of the rows of a stream.
struct Gradients {
    of_weights: HashMap<(NodeId, NodeId), NodeId>,
    of_bias: HashMap<NodeId, NodeId>,
}

impl Gradients {
    fn of(graph: &Graph) -> Gradients {
        let mut found = Gradients { of_weights: HashMap::new(), of_bias: HashMap::new() };
        for id in graph.ids().filter(|id| graph.node(*id).op == Op::TimeReduce(Reduction::Sum)) {
            let summed = graph.node(graph.node(id).args[0]);
            if is_sum_of_rows(summed) {
                found.of_bias.insert(summed.args[0], id);
            } else if summed.op == Op::MatMul && summed.ty.dims.len() == 2 {
                let left = graph.node(summed.args[0]);
                if matches!(&left.op, Op::Permute(axes) if axes.as_slice() == [1, 0]) {
                    found.of_weights.insert((left.args[0], summed.args[1]), id);
                }
            }
        }
        found
    }

    /// For each term of a sum of products and biases, what it is linear in and the gradient of that by
    /// a stream.
    fn terms(&self, graph: &Graph, value: NodeId, stream: NodeId) -> Option<Vec<(NodeId, NodeId)>> {
        let node = graph.node(value);
        if node.op == Op::Map(Pointwise::Add) {
            let mut terms = self.terms(graph, node.args[0], stream)?;
            terms.extend(self.terms(graph, node.args[1], stream)?);
            return Some(terms);
        }
        if node.op == Op::MatMul && !graph.ty(node.args[1]).is_stream() {
            let gradient = self.of_weights.get(&(node.args[0], stream))?;
            return Some(vec![(node.args[1], *gradient)]);
        }
        Some(vec![(row(graph, value)?, *self.of_bias.get(&stream)?)])
    }
}

/// A sum over the batch and time of a stream times products, whose gradients with it are there.
fn sum_over_weights(graph: &mut Graph, id: NodeId, gradients: &Gradients) -> bool {
    let node = graph.node(id).clone();
    let Some(inner) = node.args.first().map(|arg| graph.node(*arg)) else { return false };
    let is_sum = node.op == Op::TimeReduce(Reduction::Sum) && is_sum_of_rows(inner);
    if !is_sum || graph.node(inner.args[0]).op != Op::Map(Pointwise::Mul) {
        return false;
    }
    let [a, b] = *graph.node(inner.args[0]).args else { return false };
    let terms = gradients.terms(graph, b, a).or_else(|| gradients.terms(graph, a, b));
    let Some(terms) = terms else { return false };
    let mut builder = Builder::new(graph);
    builder.span = node.span;
    let sums = terms.into_iter().map(|(operand, gradient)| {
        let products = builder.mul(operand, gradient);
        match builder.ty(products).dims.len() {
            1 => products,
            _ => builder.reduce(Reduction::Sum, products, &[0]),
        }
    });
    let sums: Vec<NodeId> = sums.collect();
    let Some(sum) = sums.into_iter().reduce(|sum, term| builder.add(sum, term)) else {
        return false;
    };
    // The last operation takes the place of the sum.
    let Node { op, args, .. } = graph.node(sum).clone();
    *graph.node_mut(id) = Node { op, args, ..node };
    true
}
