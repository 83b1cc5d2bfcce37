//! The laws of a graph. A pass may rely on them and has to keep them:
//!
//! 1. Operands and roots are nodes of the graph.
//! 2. Operands come before their users, but for the first operand of `prev` and `next`.
//! 3. An input or parameter node names one of the graph's lists and has the type declared there;
//!    any other node has the type that its descriptor gives. Leaves have no operands.
//! 4. A cycle holds streams only, and `prev` only or `next` only: it can be computed step by step,
//!    in one direction of time.
//! 5. There are streams only where the graph has a length of time. An axis that stands for time has
//!    this length.
//! 6. Inputs and parameters have names of their own, roots one per role; a gradient has the type of
//!    the input or parameter that it is named after, an update that of the parameter, a next value that of the state.
//! 7. No dimension is a negative number; an i32 literal is one, a boolean literal 0 or 1; the bounds
//!    of a parameter are in order.
//!
//! A pass gives a graph, and takes a [`Verified`](crate::ir::Verified) one.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

use super::{Dim, Elem, Graph, Node, NodeId, Op, Param, Role, Root, Type, TypeError, components};
use crate::ir::Laws;

/// A broken law: where, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The node and the name of its operation; `None` where the graph's lists are at fault.
    pub node: Option<(NodeId, &'static str)>,
    pub(crate) law: Law,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Some((id, op)) => write!(f, "{id:?} ({op}): {}", self.law),
            None => self.law.fmt(f),
        }
    }
}

impl std::error::Error for Violation {}

/// What was found where a law says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Law {
    #[error("the operand {0:?} does not exist")]
    MissingOperand(NodeId),
    #[error("the operand {0:?} does not come before it")]
    Order(NodeId),
    #[error("{0}")]
    IllTyped(TypeError),
    #[error("its type is {found}, but it should be {expected}")]
    WrongType { expected: Type, found: Type },
    #[error("the graph has no such input or parameter")]
    NotListed,
    #[error("a static value depends on itself")]
    StaticCycle,
    #[error("a cycle runs through both prev and next")]
    MixedCycle,
    #[error("it is a stream, but the graph has no length of time")]
    NoTime,
    #[error("an axis of {0} stands for time")]
    TimeAxis(Dim),
    #[error("two inputs or parameters are named `{0}`")]
    DuplicateName(String),
    #[error("two roots of one role are named `{0}`")]
    DuplicateRoot(String),
    #[error("the root `{0}` is no node")]
    MissingRoot(String),
    #[error("the root `{0}` is named after no input or parameter")]
    StrayRoot(String),
    #[error("the dimension {0} is negative")]
    NegativeDim(Dim),
    #[error("the literal is not of its type")]
    Literal,
    #[error("the bounds of `{0}` are not in order")]
    Bounds(String),
}

impl Laws for Graph {
    type Violation = Violation;

    fn check(&self) -> Result<(), Violation> {
        let nowhere = |law| Violation { node: None, law };
        check_lists(self).map_err(nowhere)?;
        for id in self.ids() {
            let node = self.node(id);
            check_node(self, id, node)
                .map_err(|law| Violation { node: Some((id, node.op.name())), law })?;
        }
        check_cycles(self)?;
        self.roots.iter().try_for_each(|root| check_root(self, root)).map_err(nowhere)?;
        let mut names = HashSet::new();
        match self.roots.iter().find(|root| !names.insert((root.role, &root.name))) {
            Some(root) => Err(nowhere(Law::DuplicateRoot(root.name.clone()))),
            None => Ok(()),
        }
    }
}

fn check_lists(graph: &Graph) -> Result<(), Law> {
    let inputs = graph.inputs.iter().map(|input| &input.name);
    let params = graph.params.iter().map(|param| &param.path);
    let mut names = HashSet::new();
    if let Some(name) = inputs.chain(params).find(|name| !names.insert(*name)) {
        return Err(Law::DuplicateName(name.clone()));
    }
    for input in &graph.inputs {
        check_type(graph, &input.ty)?;
    }
    for param in &graph.params {
        check_dims(&param.dims)?;
        let in_order = param.bounds.is_none_or(|(low, high)| low <= high);
        if !in_order {
            return Err(Law::Bounds(param.path.clone()));
        }
    }
    check_dims(graph.time.as_slice())
}

fn check_node(graph: &Graph, id: NodeId, node: &Node) -> Result<(), Law> {
    let is_delay = node.op.is_delay();
    for (position, &operand) in node.args.iter().enumerate() {
        if operand.0 as usize >= graph.len() {
            return Err(Law::MissingOperand(operand));
        }
        if operand >= id && !(is_delay && position == 0) {
            return Err(Law::Order(operand));
        }
    }
    let time_axis = if let Op::TimeStack(steps) = &node.op {
        Some(steps)
    } else {
        let x = node.args.first().filter(|_| node.op == Op::TimeUnstack);
        x.and_then(|x| graph.ty(*x).dims.first())
    };
    if let Some(axis) = time_axis.filter(|axis| graph.time.as_ref() != Some(axis)) {
        return Err(Law::TimeAxis(axis.clone()));
    }
    let expected = expected_type(graph, node)?;
    if node.ty != expected {
        return Err(Law::WrongType { expected, found: node.ty.clone() });
    }
    if let Op::Const(number, elem) = &node.op {
        check_literal(number.0, *elem)?;
    }
    if let Op::Array { elem, data, .. } = &node.op {
        data.iter().try_for_each(|number| check_literal(number.0, *elem))?;
    }
    check_type(graph, &node.ty)
}

fn expected_type(graph: &Graph, node: &Node) -> Result<Type, Law> {
    if node.op.is_leaf() && !node.args.is_empty() {
        return Err(Law::IllTyped(TypeError::Arity { expected: 0, found: node.args.len() }));
    }
    if let Op::Input(index) = node.op {
        let input = graph.inputs.get(index);
        return input.map(|input| input.ty.clone()).ok_or(Law::NotListed);
    }
    if let Op::Param(index) = node.op {
        return graph.params.get(index).map(Param::ty).ok_or(Law::NotListed);
    }
    let types: Vec<&Type> = node.args.iter().map(|arg| graph.ty(*arg)).collect();
    node.op.infer(&types).map_err(Law::IllTyped)
}

fn check_literal(number: f64, elem: Elem) -> Result<(), Law> {
    let fits = match elem {
        Elem::F32 => true,
        Elem::I32 => f64::from(number as i32) == number,
        Elem::Bool => number == 0.0 || number == 1.0,
    };
    if fits { Ok(()) } else { Err(Law::Literal) }
}

fn check_type(graph: &Graph, ty: &Type) -> Result<(), Law> {
    if ty.is_stream() && graph.time.is_none() {
        return Err(Law::NoTime);
    }
    check_dims(&ty.dims)
}

fn check_dims(dims: &[Dim]) -> Result<(), Law> {
    match dims.iter().find(|dim| dim.as_const().is_some_and(|value| value < 0)) {
        Some(dim) => Err(Law::NegativeDim(dim.clone())),
        None => Ok(()),
    }
}

fn check_cycles(graph: &Graph) -> Result<(), Violation> {
    let found = components(graph.len(), graph.ids(), |id| &graph.node(id).args);
    for component in found.iter().filter(|component| component.len() > 1) {
        let find = |wanted: &dyn Fn(&Node) -> bool| {
            component.iter().copied().find(|id| wanted(graph.node(*id)))
        };
        let blame = |id: NodeId, law| Violation { node: Some((id, graph.node(id).op.name())), law };
        if let Some(id) = find(&|node| !node.ty.is_stream()) {
            return Err(blame(id, Law::StaticCycle));
        }
        let prev = find(&|node| node.op == Op::Prev);
        if let (Some(_), Some(next)) = (prev, find(&|node| node.op == Op::Next)) {
            return Err(blame(next, Law::MixedCycle));
        }
    }
    Ok(())
}

fn check_root(graph: &Graph, root: &Root) -> Result<(), Law> {
    if root.node.0 as usize >= graph.len() {
        return Err(Law::MissingRoot(root.name.clone()));
    }
    let input = graph.inputs.iter().find(|input| input.name == root.name);
    let input = input.map(|input| input.ty.clone());
    let param = graph.params.iter().find(|param| param.path == root.name);
    let param = param.map(Param::ty);
    let expected = match root.role {
        Role::Output => return Ok(()),
        Role::Gradient => param.or(input),
        Role::Update | Role::Next => param,
    };
    let expected = expected.ok_or_else(|| Law::StrayRoot(root.name.clone()))?;
    let found = graph.ty(root.node).clone();
    if found == expected { Ok(()) } else { Err(Law::WrongType { expected, found }) }
}
