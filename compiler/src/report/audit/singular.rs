//! Operations whose derivative is infinite or NaN at a value that their operand is known to take.

use std::collections::BTreeSet;

use super::{MAX, Subject};
use crate::ir::graph::dependence::reachable;
use crate::ir::graph::ops::Class;
use crate::ir::graph::{Elem, Fact, Graph, NodeId, Op, Pointwise, Role};

/// An operation with an operand at which its derivative is no number.
pub struct Pole {
    pub node: NodeId,
    pub operand: NodeId,
    pub why: &'static str,
    pub remedy: Remedy,
}

/// What keeps an operand where the derivative is finite.
#[derive(Clone, Copy)]
pub enum Remedy {
    /// It is never less than 0.
    Add,
    /// It can be less than 0.
    Above,
    /// It can be on both sides of 0, and has to be.
    Choose,
    /// It is to be between -1 and 1.
    Between,
}

impl Remedy {
    pub fn hint(self, operand: &str) -> String {
        let x = match operand.len() <= 40 {
            true => operand,
            false => "…",
        };
        match self {
            Remedy::Add => format!("add a small number: `{x} + 1e-12`"),
            Remedy::Above => format!("keep it above 0: `max({x}, 1e-6)`"),
            Remedy::Choose => {
                format!("choose another value there: `if abs({x}) < 1e-6 then … else …`")
            }
            Remedy::Between => format!("keep it between them: `clamp({x}, -0.999, 0.999)`"),
        }
    }
}

/// Such operations that a gradient comes through.
///
/// Only what is known counts: a bound that was not proved is no reason, a value that is positive but may be rounded to
/// zero, such as an exponential, is not zero, and an `if` whose condition looks at the operand is a guard.
pub fn singular(subject: &Subject) -> Vec<Pole> {
    let flow = &subject.normal;
    let found = flow.ids().filter(|id| flow.matters(*id)).filter_map(|id| {
        let (place, why, remedy) = pole(subject, id)?;
        let operand = flow.graph.node(id).args[place];
        let is_wrong = flow.is_wanted(operand)
            && !subject.is_part(flow, id)
            && !is_guarded(subject, id, operand);
        is_wrong.then_some(Pole { node: id, operand, why, remedy })
    });
    found.collect()
}

/// The operand with which a derivative is no number.
fn pole(subject: &Subject, id: NodeId) -> Option<(usize, &'static str, Remedy)> {
    use Pointwise::*;
    let node = subject.normal.graph.node(id);
    let Op::Map(op) = node.op else { return None };
    if node.ty.elem != Elem::F32 {
        return None;
    }
    let fact = |operand: usize| subject.facts.at(node.args[operand]);
    let starts_low = |operand: usize| {
        let Fact { low, .. } = *fact(operand);
        low > -MAX && low <= 0.0 && (low < 0.0 || vanishes(subject, node.args[operand]))
    };
    let upwards = || if fact(0).low < 0.0 { Remedy::Above } else { Remedy::Add };
    match op {
        Log if starts_low(0) => Some((0, "`log` has no derivative at 0 and below", upwards())),
        Sqrt if starts_low(0) => {
            Some((0, "the derivative of `sqrt` is infinite at 0 and NaN below", upwards()))
        }
        Rsqrt if starts_low(0) => Some((0, "`rsqrt` has no derivative at 0 and below", upwards())),
        Pow => {
            let power = subject.normal.graph.as_number(node.args[1])?;
            let is_root = power < 1.0 && power != 0.0;
            let why = "this power has no derivative at 0";
            (is_root && starts_low(0)).then(|| (0, why, upwards()))
        }
        Div => {
            let Fact { low, high, .. } = *fact(1);
            let is_known = low <= 0.0 && high >= 0.0 && (low > -MAX || high < MAX);
            let why = "a quotient has no derivative where what it divides by is 0";
            let remedy = if low < 0.0 { Remedy::Choose } else { Remedy::Add };
            (is_known && vanishes(subject, node.args[1])).then_some((1, why, remedy))
        }
        Asin | Acos => {
            let Fact { low, high, .. } = *fact(0);
            let is_known = low > -MAX && low <= -1.0 || (1.0..MAX).contains(&high);
            is_known.then_some((0, "its derivative is infinite at -1 and 1", Remedy::Between))
        }
        Neg | Exp | Log | Sqrt | Rsqrt | Abs | Sign | Floor | Ceil | Round | Sin | Cos | Tan
        | Atan | Sinh | Cosh | Tanh | Sigmoid | Relu | Softplus | Erf | Not | ToF32 | ToI32
        | Add | Sub | Mul | Rem | Philox | Unit | Normal | Atan2 | Min | Max | Lt | Le | Gt
        | Ge | Eq | Ne | And | Or | Select | Clamp => None,
    }
}

/// Whether zero is within the range of a node, and more than the limit of positive numbers.
fn vanishes(subject: &Subject, id: NodeId) -> bool {
    fn look(subject: &Subject, id: NodeId, seen: &mut BTreeSet<NodeId>) -> bool {
        use Pointwise::*;
        let fact = subject.facts.at(id);
        if fact.low > 0.0 || fact.high < 0.0 {
            return false;
        }
        if !seen.insert(id) || seen.len() > MAX_DEPTH {
            return true;
        }
        let node = subject.normal.graph.node(id);
        let mut args = node.args.iter().map(|arg| look(subject, *arg, seen));
        let Op::Map(op) = node.op else {
            let mut first = || args.next().unwrap_or(true);
            return match node.op.class() {
                Class::View | Class::Pointwise => first(),
                Class::Reduction(_) => node.op == Op::MatMul || first(),
                Class::Selection => !node.op.describe(|op| op.looks_up(0)) || first(),
                Class::Given | Class::AtHand | Class::Delay => true,
            };
        };
        match op {
            Exp | Sigmoid | Softplus | Cosh => false,
            Add => args.all(|vanishes| vanishes),
            Mul | Min | Max | Clamp | Select => args.any(|vanishes| vanishes),
            Neg | Abs | Relu | Sqrt | Pow | Div => args.next().unwrap_or(true),
            Log | Rsqrt | Sign | Floor | Ceil | Round | Sin | Cos | Tan | Asin | Acos | Atan
            | Sinh | Tanh | Erf | Not | ToF32 | ToI32 | Sub | Rem | Philox | Unit | Normal
            | Atan2 | Lt | Le | Gt | Ge | Eq | Ne | And | Or => true,
        }
    }
    look(subject, id, &mut BTreeSet::new())
}

const MAX_DEPTH: usize = 100;

/// Whether a node comes to the objectives only through branches of choices that are made on its operand `x`.
fn is_guarded(subject: &Subject, id: NodeId, x: NodeId) -> bool {
    let flow = &subject.normal;
    let about = pointwise(&flow.graph, x);
    let is_guard = |user: &NodeId| {
        let node = flow.graph.node(*user);
        node.op == Op::Map(Pointwise::Select)
            && !pointwise(&flow.graph, node.args[0]).is_disjoint(&about)
    };
    let users = |id: NodeId| flow.users[id.0 as usize].iter().copied();
    let reached =
        reachable(&flow.graph, vec![id], |id| users(id).filter(|user| !is_guard(user)).collect());
    let objectives = subject.objectives.iter();
    let mut objectives = objectives.filter_map(|name| flow.graph.root(Role::Output, name));
    !objectives.any(|root| reached[root.0 as usize])
}

/// A node, and what it is computed from by pointwise operations, numbers left out.
pub fn pointwise(graph: &Graph, id: NodeId) -> BTreeSet<NodeId> {
    let (mut found, mut todo) = (BTreeSet::new(), vec![id]);
    while let Some(id) = todo.pop() {
        let node = graph.node(id);
        if graph.as_number(id).is_none() && found.insert(id) && matches!(node.op, Op::Map(_)) {
            todo.extend(&node.args);
        }
    }
    found
}
