//! Where the derivative of a branch not taken could be heard.
//!
//! The cotangent of the other branch of an `if` is zero, but zero times an infinite derivative is
//! NaN: `if x > 0 then sqrt(x) else 0` at x = 0. Where an operation before a `select` may have such
//! a derivative, its zero cotangents give zero. Inputs are taken to be finite, and sums and products
//! (of matrices too, which have no guard) not to overflow, so that the usual recurrence with a reset
//! needs none.

use super::{derivative_operands, reachable};
use crate::ir::graph::facts::Sums;
use crate::ir::graph::{Elem, Facts, Graph, Node, NodeId, Op, Pointwise};

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
    let facts = Facts::taking(graph, Sums::StayFinite);
    let is_wild = |id: NodeId| graph.ty(id).elem == Elem::F32 && !facts.at(id).is_finite();
    graph
        .ids()
        .map(|id| {
            let node = graph.node(id);
            let Op::Map(pointwise) = node.op else { return false };
            let explodes = node.args.iter().any(|arg| is_wild(*arg))
                || is_wild(id)
                || is_steep(graph, &facts, node);
            before_choice[id.0 as usize] && !has_constant_derivative(pointwise) && explodes
        })
        .collect()
}

/// The cotangents of these are picked or negated, never multiplied.
fn has_constant_derivative(pointwise: Pointwise) -> bool {
    use Pointwise::*;
    matches!(pointwise, Neg | Add | Sub | Relu | Min | Max | Clamp | Select)
}

/// Whether finite operands may give a derivative that is infinite or NaN.
fn is_steep(graph: &Graph, facts: &Facts, node: &Node) -> bool {
    use Pointwise::*;
    let fact = |operand: usize| facts.at(node.args[operand]);
    let within = |bound: f64| fact(0).low > -bound && fact(0).high < bound;
    let Op::Map(op) = node.op else { return false };
    match op {
        Log => !fact(0).is_non_zero(),
        Sqrt | Rsqrt => !(fact(0).is_non_zero() && fact(0).is_non_negative()),
        Asin | Acos => !within(1.0),
        Sinh | Cosh => !within(88.0),
        Tan => true,
        Div => !fact(1).is_non_zero(),
        Atan2 => !fact(0).is_non_zero() && !fact(1).is_non_zero(),
        Pow => {
            let power = graph.as_number(node.args[1]);
            !power.is_some_and(|power| power >= 0.0 && power.fract() == 0.0)
        }
        Neg | Exp | Abs | Sign | Floor | Ceil | Round | Sin | Cos | Atan | Tanh | Sigmoid
        | Relu | Softplus | Erf | Not | ToF32 | ToI32 | Add | Sub | Mul | Rem | Philox | Unit
        | Normal | Min | Max | Lt | Le | Gt | Ge | Eq | Ne | And | Or | Select | Clamp => false,
    }
}
