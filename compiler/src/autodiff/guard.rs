//! Where the derivative of a branch not taken could be heard.
//!
//! The cotangent of the other branch of an `if` is zero, but zero times an infinite derivative is
//! NaN: `if x > 0 then sqrt(x) else 0` at x = 0. Where an operation before a `select` may have such
//! a derivative, its zero cotangents give zero. Inputs are taken to be finite, and sums and products
//! (of matrices too, which have no guard) not to overflow, so that the usual recurrence with a reset
//! needs none.

use super::{derivative_operands, reachable};
use crate::graph::{Elem, Graph, Node, NodeId, Op, Pointwise};

/// The pointwise nodes whose zero cotangents are to be kept zero.
pub(super) fn guarded(graph: &Graph, active: &[bool]) -> Vec<bool> {
    let is_active = |id: &NodeId| active[id.0 as usize];
    let is_choice = |id: &NodeId| graph.node(*id).op == Op::Map(Pointwise::Select);
    let choices = graph.ids().filter(|id| is_active(id) && is_choice(id));
    let branches: Vec<_> = choices.flat_map(|id| derivative_operands(graph, id)).collect();
    if branches.is_empty() {
        return vec![false; graph.len()];
    }
    let before_choice =
        reachable(graph, branches, |id| derivative_operands(graph, id).filter(is_active).collect());
    let wild = wild(graph);
    graph
        .ids()
        .map(|id| {
            let node = graph.node(id);
            let Op::Map(pointwise) = node.op else { return false };
            let derivative = node.args.iter().any(|arg| wild[arg.0 as usize]);
            before_choice[id.0 as usize]
                && !has_constant_derivative(pointwise)
                && (derivative || explodes(graph, node))
        })
        .collect()
}

/// The cotangents of these are picked or negated, never multiplied.
fn has_constant_derivative(pointwise: Pointwise) -> bool {
    use Pointwise::*;
    matches!(pointwise, Neg | Add | Sub | Relu | Min | Max | Clamp | Select)
}

/// Nodes whose value may be infinite or NaN.
fn wild(graph: &Graph) -> Vec<bool> {
    let mut wild = vec![false; graph.len()];
    // Again for what a back edge brings.
    loop {
        let mut changed = false;
        for id in graph.ids().filter(|id| graph.ty(*id).elem == Elem::F32) {
            let node = graph.node(id);
            let values = if node.op == Op::Bypass { &node.args[..1] } else { &node.args[..] };
            let is_wild = values.iter().any(|arg| wild[arg.0 as usize]) || explodes(graph, node);
            changed |= is_wild && !wild[id.0 as usize];
            wild[id.0 as usize] |= is_wild;
        }
        if !changed {
            return wild;
        }
    }
}

/// Whether finite operands may give a value or a derivative that is not.
fn explodes(graph: &Graph, node: &Node) -> bool {
    use Pointwise::*;
    let number = |operand: usize| graph.as_number(node.args[operand]);
    match node.op {
        Op::Const(number, _) => !number.0.is_finite(),
        Op::Gather { .. } => true,
        Op::Map(Log | Sqrt | Rsqrt | Tan | Asin | Acos | Sinh | Cosh | Atan2) => true,
        Op::Map(Exp) => !sign(graph, node.args[0], 8).is_some_and(|sign| sign.negative),
        Op::Map(Div) => !sign(graph, node.args[1], 8).is_some_and(|sign| sign.strict),
        Op::Map(Pow) => !number(1).is_some_and(|power| power >= 0.0 && power.fract() == 0.0),
        _ => false,
    }
}

/// What is seen of a value within so many operations.
#[derive(Clone, Copy, PartialEq)]
struct Side {
    negative: bool,
    /// It is not zero.
    strict: bool,
}

fn sign(graph: &Graph, id: NodeId, depth: u32) -> Option<Side> {
    use Pointwise::*;
    let depth = depth.checked_sub(1)?;
    let node = graph.node(id);
    let of = |operand: usize| sign(graph, node.args[operand], depth);
    let strict = |operand: usize| of(operand).is_some_and(|sign| sign.strict);
    let plus = |strict: bool| Some(Side { negative: false, strict });
    let is_even = |power: NodeId| graph.as_number(power).is_some_and(|power| power % 2.0 == 0.0);
    match node.op {
        Op::Const(number, _) if number.0.is_nan() => None,
        Op::Const(number, _) => Some(Side { negative: number.0 < 0.0, strict: number.0 != 0.0 }),
        Op::Param(index) => match graph.params[index].bounds {
            Some((low, _)) if low >= 0.0 => plus(low > 0.0),
            _ => None,
        },
        Op::Size(_) => plus(true),
        Op::Sg | Op::Bypass | Op::Broadcast(_) | Op::Reshape(_) => of(0),
        Op::Map(Neg) => of(0).map(|sign| Side { negative: !sign.negative, ..sign }),
        // These may round to zero.
        Op::Map(Exp | Relu | Sigmoid | Softplus) => plus(false),
        Op::Map(Abs | Sqrt) => plus(strict(0)),
        Op::Map(Mul) if node.args[0] == node.args[1] => plus(strict(0)),
        Op::Map(Pow) if is_even(node.args[1]) => plus(strict(0)),
        Op::Map(Pow) => of(0).filter(|sign| !sign.negative),
        Op::Map(Mul | Div) => {
            let (a, b) = (of(0)?, of(1)?);
            Some(Side { negative: a.negative != b.negative, strict: a.strict && b.strict })
        }
        Op::Map(Add) => {
            let (a, b) = (of(0)?, of(1)?);
            let strict = a.strict || b.strict;
            (a.negative == b.negative).then_some(Side { negative: a.negative, strict })
        }
        _ => None,
    }
}
