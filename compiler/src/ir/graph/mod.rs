//! The one intermediate representation: a graph of operations over tensors and streams of tensors.
//!
//! A [`Node`] is an operation, its operands, a type and the place in the source that it came from.
//! Operands come before their users in the arena, except the first operand of `prev` and `next`,
//! which may come later: these are the only back edges.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

#[cfg(test)]
pub(crate) mod arbitrary;
mod build;
mod components;
pub(crate) mod constants;
pub(crate) mod dependence;
mod dim;
pub(crate) mod facts;
mod indices;
mod infer;
pub mod interpret;
pub(crate) mod op;
mod operations;
pub(crate) mod ops;
pub mod pointwise;
pub(in crate::ir) mod print;
pub(crate) mod random;
pub(crate) mod syntax;
mod verify;

pub use build::Builder;
pub(crate) use components::components;
pub use dim::{Bindings, Dim, DimError, Symbol};
pub(crate) use facts::{Fact, Facts};
pub use indices::Indexed;
pub(crate) use infer::TypeError;
pub use op::{Number, Op, Pointwise, Reduction, Windows};
pub use operations::Operations;
pub use print::{ParseError, parse_graph};
pub use verify::Violation;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source::Span;

/// The number of a node in its [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The type of an element.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Elem {
    /// 32-bit floating point.
    F32,
    /// 32-bit signed integer.
    I32,
    /// True or false; four bytes in memory.
    Bool,
}

impl Elem {
    /// As the language writes it.
    pub fn name(self) -> &'static str {
        match self {
            Elem::F32 => "f32",
            Elem::I32 => "i32",
            Elem::Bool => "bool",
        }
    }
}

/// When a value exists: once, or at each step of time. Whether a stream is computed in the order of
/// time or against it follows from the `prev` and `next` that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Clock {
    /// Once; the same at every step.
    Static,
    /// At each step.
    Stream,
}

/// Element, dimensions at one step, clock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Type {
    /// The type of its elements.
    pub elem: Elem,
    /// Its dimensions at one step, the last one fastest.
    pub dims: Vec<Dim>,
    /// When it exists.
    pub clock: Clock,
}

impl Type {
    /// The type of these parts.
    pub fn new(elem: Elem, dims: Vec<Dim>, clock: Clock) -> Type {
        Type { elem, dims, clock }
    }

    /// Whether there is a value for each step.
    pub fn is_stream(&self) -> bool {
        self.clock == Clock::Stream
    }

    /// The number of elements at one step.
    pub fn len(&self) -> Dim {
        Dim::product(&self.dims)
    }

    /// Whether it has one element at a step, without dimensions.
    pub fn is_scalar(&self) -> bool {
        self.dims.is_empty()
    }
}

/// As the language writes it, with `T` for the length of a stream: `[T; B, 10]`, `i32[B]`, `[]`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.elem != Elem::F32 {
            f.write_str(self.elem.name())?;
        }
        f.write_str("[")?;
        if self.is_stream() {
            f.write_str(if self.dims.is_empty() { "T;" } else { "T; " })?;
        }
        for (position, dim) in self.dims.iter().enumerate() {
            write!(f, "{}{dim}", if position > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

/// An operation with its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// The operands, as many as the operation takes.
    pub args: Vec<NodeId>,
    /// The type of the result.
    pub ty: Type,
    /// What it was written as; `None` for nodes that no text stands for.
    pub span: Option<Span>,
    /// The path of the binding that it is the value of: `h.u`.
    pub name: Option<Arc<str>>,
}

/// A value that the caller gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Unique among inputs and parameters.
    pub name: String,
    /// The declared type.
    pub ty: Type,
    /// The `///` lines of the declaration.
    pub docs: String,
}

/// An input or a parameter, as a graph declares it.
pub(crate) enum Declared<'g> {
    Input(&'g Input),
    Param(&'g Param),
}

impl<'g> Declared<'g> {
    pub fn name(&self) -> &'g str {
        match self {
            Declared::Input(input) => &input.name,
            Declared::Param(param) => &param.path,
        }
    }

    pub fn ty(&self) -> Type {
        match self {
            Declared::Input(input) => input.ty.clone(),
            Declared::Param(param) => param.ty(),
        }
    }
}

/// What a parameter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ParamKind {
    /// It is trained.
    Trained,
    /// It keeps its value, and has no gradient.
    Fixed,
    /// A tensor that a session keeps from run to run, given its next value by the program. Its
    /// dimensions may be open.
    State,
    /// Memory of the optimiser (a moment, say), kept and saved like a parameter but not trained.
    OptimizerState,
}

impl ParamKind {
    /// The word behind a parameter in the text form.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            ParamKind::Trained => None,
            ParamKind::Fixed => Some("fixed"),
            ParamKind::State => Some("state"),
            ParamKind::OptimizerState => Some("optimizer_state"),
        }
    }
}

/// A value that stays from run to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// The path of instances and the name: `h.w_in`.
    pub path: String,
    /// Its elements: f32, but for states.
    pub elem: Elem,
    /// Its dimensions.
    pub dims: Vec<Dim>,
    /// How it starts.
    pub init: Init,
    /// Kept by projection after every update.
    pub bounds: Option<(f64, f64)>,
    /// The `///` lines of the declaration.
    pub docs: String,
    /// What it is for.
    pub kind: ParamKind,
}

impl Param {
    /// Its type.
    pub fn ty(&self) -> Type {
        Type::new(self.elem, self.dims.clone(), Clock::Static)
    }

    /// Whether it is memory of the optimiser.
    pub fn is_optimizer_state(&self) -> bool {
        self.kind == ParamKind::OptimizerState
    }
}

/// The state of a program with random numbers that holds the seed, an i32 scalar.
pub const RANDOM_SEED: &str = "random.seed";
/// The state of a program with random numbers that counts its runs, an i32 scalar.
pub const RANDOM_RUN: &str = "random.run";

/// How a parameter starts. Fans are those of PyTorch: for `[K, N]`, K in and N out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// This value everywhere.
    Constant(f64),
    /// Uniform between two ends.
    Uniform(f64, f64),
    /// Normal: mean and standard deviation.
    Normal(f64, f64),
    /// Uniform, with variance 2 / (in + out).
    XavierUniform,
    /// Normal, with variance 2 / (in + out).
    XavierNormal,
    /// Uniform, with variance 2 / in.
    KaimingUniform,
    /// Normal, with variance 2 / in.
    KaimingNormal,
    /// Orthonormal rows or columns, whichever are fewer, times a gain.
    Orthogonal(f64),
}

/// What a result of the graph is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Role {
    /// An output of the program.
    Output,
    /// The gradient of the chosen output for the parameter or input of this path.
    Gradient,
    /// The new value of the parameter of this path, computed by the optimiser.
    Update,
    /// The value of the state of this path after the run.
    Next,
}

/// A result: its name (a gradient's is the path of what it is the gradient for), role and node.
#[derive(Clone, Debug, PartialEq)]
pub struct Root {
    /// Unique among the results of its role.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// The value.
    pub node: NodeId,
}

/// A program, or a program with its gradients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The name of the program's graph.
    pub name: String,
    /// The length of streams; `None` if there are none.
    pub time: Option<Dim>,
    /// In the order of [`Op::Input`]'s numbers.
    pub inputs: Vec<Input>,
    /// In the order of [`Op::Param`]'s numbers.
    pub params: Vec<Param>,
    /// The results.
    pub roots: Vec<Root>,
    nodes: Vec<Node>,
}

impl Graph {
    /// The node of this number, which must be of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// The same, to be changed.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0 as usize]
    }

    /// The type of a node's result.
    pub fn ty(&self, id: NodeId) -> &Type {
        &self.node(id).ty
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// All nodes in their order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// Appends a node whose type the caller vouches for.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    /// The literal that a node is, or is a broadcast of.
    pub(crate) fn as_number(&self, id: NodeId) -> Option<f64> {
        let node = self.node(id);
        if let Op::Const(number, _) = node.op {
            return Some(number.0);
        }
        node.op.is_shaping().then(|| self.as_number(node.args[0]))?
    }

    /// What a node is a broadcast or a reshape of.
    pub(crate) fn unshaped(&self, id: NodeId) -> NodeId {
        let node = self.node(id);
        if node.op.is_shaping() { self.unshaped(node.args[0]) } else { id }
    }

    /// The input or the parameter that an operation stands for.
    pub(crate) fn declared(&self, op: &Op) -> Option<Declared<'_>> {
        if let Op::Input(index) = op {
            Some(Declared::Input(&self.inputs[*index]))
        } else if let Op::Param(index) = op {
            Some(Declared::Param(&self.params[*index]))
        } else {
            None
        }
    }

    /// The result of this role and name.
    pub fn root(&self, role: Role, name: &str) -> Option<NodeId> {
        self.roots.iter().find(|root| root.role == role && root.name == name).map(|root| root.node)
    }

    /// Open dimensions, in the order of their names.
    pub fn symbols(&self) -> Vec<Symbol> {
        let types = self.nodes.iter().flat_map(|node| &node.ty.dims);
        let params = self.params.iter().flat_map(|param| &param.dims);
        let inputs = self.inputs.iter().flat_map(|input| &input.ty.dims);
        let dims = types.chain(params).chain(inputs).chain(&self.time);
        let mut symbols: Vec<_> = dims.flat_map(Dim::symbols).cloned().collect();
        symbols.sort();
        symbols.dedup();
        symbols
    }

    /// A graph of only what the roots need, in an order in which operands come before users
    /// (back edges aside); inputs and parameters are all kept. Equal nodes become one.
    pub(crate) fn compact(&self) -> Graph {
        let mut graph = Compaction::new(self).run();
        while graph.merge_delays() {
            graph = Compaction::new(&graph).run();
        }
        graph
    }

    /// Lets the first of equal delays stand for all. They may make others equal.
    fn merge_delays(&mut self) -> bool {
        let mut first: HashMap<(Op, Vec<NodeId>), NodeId> = HashMap::new();
        let mut meant: HashMap<NodeId, NodeId> = HashMap::new();
        for id in self.ids() {
            let node = self.node(id);
            if node.op.is_delay() {
                let known = *first.entry((node.op.clone(), node.args.clone())).or_insert(id);
                if known != id {
                    meant.insert(id, known);
                }
            }
        }
        let meaning = |id: &mut NodeId| *id = meant.get(id).copied().unwrap_or(*id);
        self.nodes.iter_mut().flat_map(|node| &mut node.args).for_each(meaning);
        self.roots.iter_mut().map(|root| &mut root.node).for_each(meaning);
        !meant.is_empty()
    }
}

/// An operand that is not known yet.
const OPEN: NodeId = NodeId(u32::MAX);

/// Renumbers what is reachable from the roots, in the order of a depth-first walk; back edges are
/// walked after everything else and patched.
struct Compaction<'a> {
    from: &'a Graph,
    to: Graph,
    /// For each node of `from`; [`OPEN`] until it is copied.
    new_id: Vec<NodeId>,
    known: HashMap<(&'a Op, Vec<NodeId>, &'a Type), NodeId>,
    back_edges: Vec<(NodeId, NodeId)>,
}

impl<'a> Compaction<'a> {
    fn new(from: &'a Graph) -> Self {
        let to = Graph {
            name: from.name.clone(),
            time: from.time.clone(),
            inputs: from.inputs.clone(),
            params: from.params.clone(),
            roots: from.roots.clone(),
            nodes: Vec::new(),
        };
        Compaction {
            from,
            to,
            new_id: vec![OPEN; from.len()],
            known: HashMap::new(),
            back_edges: Vec::new(),
        }
    }

    fn run(mut self) -> Graph {
        for root in &self.from.roots {
            self.copy(root.node);
        }
        let mut done = 0;
        while done < self.back_edges.len() {
            let (user, target) = self.back_edges[done];
            self.copy(target);
            self.to.node_mut(user).args[0] = self.new_id[target.0 as usize];
            done += 1;
        }
        for root in &mut self.to.roots {
            root.node = self.new_id[root.node.0 as usize];
        }
        self.to
    }

    /// Copies a node and what it needs, without recursion: chains of operations can be long.
    fn copy(&mut self, start: NodeId) {
        let mut stack = vec![(start, false)];
        while let Some((id, operands_done)) = stack.pop() {
            if self.new_id[id.0 as usize] != OPEN {
                continue;
            }
            let node = self.from.node(id);
            let is_delay = node.op.is_delay();
            let forward = if is_delay { &node.args[1..] } else { &node.args[..] };
            if !operands_done {
                stack.push((id, true));
                stack.extend(forward.iter().rev().map(|arg| (*arg, false)));
                continue;
            }
            let copied = forward.iter().map(|arg| self.new_id[arg.0 as usize]);
            let args: Vec<NodeId> = is_delay.then_some(OPEN).into_iter().chain(copied).collect();
            let mut push = |args: Vec<NodeId>| {
                let (op, ty, name) = (node.op.clone(), node.ty.clone(), node.name.clone());
                self.to.push(Node { op, args, ty, span: node.span, name })
            };
            self.new_id[id.0 as usize] = if is_delay {
                let new = push(args);
                self.back_edges.push((new, node.args[0]));
                new
            } else {
                let known = self.known.entry((&node.op, args.clone(), &node.ty));
                *known.or_insert_with(|| push(args))
            };
        }
    }
}
