//! What depends on what by the chain rule.

use super::{Declared, Elem, Graph, Node, NodeId, Op, ParamKind, Pointwise};

/// Whether a change of this operand changes the node by the chain rule.
pub(crate) fn carries_derivative(graph: &Graph, node: &Node, operand: usize) -> bool {
    let is_power = node.op == Op::Map(Pointwise::Pow);
    // A literal exponent has no derivative.
    let differentiable = node.op.describe(|op| op.has_derivative(operand))
        && !(is_power && operand == 1 && graph.as_number(node.args[1]).is_some());
    differentiable && node.ty.elem == Elem::F32 && graph.ty(node.args[operand]).elem == Elem::F32
}

/// The nodes that depend on any f32 input, or on any parameter that can have a gradient, by the chain rule.
pub(crate) fn live(graph: &Graph) -> Vec<bool> {
    let is_source = |id: &NodeId| {
        let node = graph.node(*id);
        let varies = match graph.declared(&node.op) {
            Some(Declared::Input(_)) => true,
            Some(Declared::Param(param)) => {
                !matches!(param.kind, ParamKind::State | ParamKind::Fixed)
            }
            None => false,
        };
        varies && node.ty.elem == Elem::F32
    };
    depends(graph, graph.ids().filter(is_source).collect())
}

/// The nodes that depend on the given ones by the chain rule.
pub(crate) fn depends(graph: &Graph, on: Vec<NodeId>) -> Vec<bool> {
    let mut users = vec![Vec::new(); graph.len()];
    for id in graph.ids() {
        for arg in derivative_operands(graph, id) {
            users[arg.0 as usize].push(id);
        }
    }
    reachable(graph, on, |id| users[id.0 as usize].clone())
}

/// The operands that a node's derivative depends on.
pub(crate) fn derivative_operands(graph: &Graph, id: NodeId) -> impl Iterator<Item = NodeId> {
    let node = graph.node(id);
    let operands = node.args.iter().enumerate();
    operands.filter(move |(i, _)| carries_derivative(graph, node, *i)).map(|(_, arg)| *arg)
}

pub(crate) fn reachable(
    graph: &Graph,
    mut todo: Vec<NodeId>,
    edges: impl Fn(NodeId) -> Vec<NodeId>,
) -> Vec<bool> {
    let mut reached = vec![false; graph.len()];
    while let Some(id) = todo.pop() {
        if !std::mem::replace(&mut reached[id.0 as usize], true) {
            todo.extend(edges(id));
        }
    }
    reached
}
