//! Nodes as expressions of the language: what they could have been written as.
//!
//! A graph of operations is a tree only where nothing is used twice. An operand that is used again and
//! is too long to be written again gets a `let` of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Dim, Graph, Node, NodeId, Op, Pointwise, Reduction, Windows};
use crate::front::syntax::ast::{BinaryOp, CallArgument, Expr, ExprKind, Name, UnaryOp};
use crate::source::Span;

/// An expression, with bindings for what it mentions several times.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub lets: Vec<(String, Expr)>,
    pub value: Expr,
}

/// Operands of more operations than this are not written twice.
const LONGEST: usize = 4;
/// Expressions are no deeper than this.
const DEEPEST: usize = 20;

/// A node as an expression of the nodes that `name` names. The node itself is written out, whether it
/// has a name or not.
pub fn written(graph: &Graph, root: NodeId, name: &dyn Fn(NodeId) -> Option<String>) -> Written {
    let mut writer = Writer::new(graph, root, name);
    let mut lets = Vec::new();
    for id in std::mem::take(&mut writer.parts) {
        let value = writer.expression(id);
        if let Some(name) = writer.bound(id) {
            lets.push((name.clone(), value));
            writer.done.insert(id, path(&name));
        } else {
            writer.done.insert(id, value);
        }
    }
    let value = writer.done.remove(&root).unwrap_or_else(|| path("?"));
    Written { lets, value }
}

/// The operation on operands that are written already; what types say about broadcasts is left out.
pub fn operation(op: &Op, args: Vec<Expr>) -> Expr {
    op.describe(|op| op.written(args))
}

struct Writer<'a> {
    graph: &'a Graph,
    /// What is not written out.
    names: BTreeMap<NodeId, String>,
    /// What is written out, operands first.
    parts: Vec<NodeId>,
    uses: BTreeMap<NodeId, usize>,
    /// What a later node is needed for, one step on.
    delayed: BTreeMap<NodeId, String>,
    sizes: BTreeMap<NodeId, (usize, usize)>,
    done: BTreeMap<NodeId, Expr>,
    next_name: usize,
    taken: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, root: NodeId, name: &dyn Fn(NodeId) -> Option<String>) -> Writer<'a> {
        let mut writer = Writer {
            graph,
            names: BTreeMap::new(),
            parts: Vec::new(),
            uses: BTreeMap::new(),
            delayed: BTreeMap::new(),
            sizes: BTreeMap::new(),
            done: BTreeMap::new(),
            next_name: 0,
            taken: BTreeSet::new(),
        };
        let mut parts = BTreeSet::new();
        let mut delayed = Vec::new();
        let mut todo = vec![root];
        while let Some(id) = todo.pop() {
            if id != root && writer.names.contains_key(&id) || !parts.insert(id) {
                continue;
            }
            for &arg in &graph.node(id).args {
                *writer.uses.entry(arg).or_default() += 1;
                match name(arg) {
                    Some(name) => drop(writer.names.insert(arg, name)),
                    None => todo.push(arg),
                }
            }
            if let Some(operand) = delay_operand(graph, id).filter(|x| name(*x).is_none()) {
                delayed.push(operand);
            }
        }
        writer.taken = writer.names.values().cloned().collect();
        for operand in delayed {
            let fresh = writer.fresh();
            writer.delayed.entry(operand).or_insert(fresh);
        }
        writer.parts = parts.into_iter().collect();
        writer
    }

    fn fresh(&mut self) -> String {
        loop {
            self.next_name += 1;
            let name = format!("t{}", self.next_name);
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }

    /// The name of a `let`, if this node gets one.
    fn bound(&mut self, id: NodeId) -> Option<String> {
        let node = self.graph.node(id);
        let operands = node.args.iter().filter_map(|arg| self.sizes.get(arg));
        let is_free = matches!(node.op, Op::Const(..) | Op::Size(_) | Op::Broadcast(_));
        let (mut size, mut depth) = (usize::from(!is_free), 1usize);
        for (s, d) in operands {
            size = size.saturating_add(*s);
            depth = depth.max(d + 1);
        }
        let name = match self.delayed.get(&id) {
            Some(name) => Some(name.clone()),
            None => {
                let is_shared = self.uses.get(&id).is_some_and(|uses| *uses > 1);
                (is_shared && size > LONGEST || depth > DEEPEST).then(|| self.fresh())
            }
        };
        self.sizes.insert(id, if name.is_some() { (1, 1) } else { (size, depth) });
        name
    }

    fn operand(&self, id: NodeId) -> Expr {
        let name = self.names.get(&id).or(self.delayed.get(&id));
        match (name, self.done.get(&id)) {
            (Some(name), _) => path(name),
            (None, Some(expr)) => expr.clone(),
            (None, None) => path("?"),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are as their descriptors say")]
    fn expression(&self, id: NodeId) -> Expr {
        let graph = self.graph;
        let node = graph.node(id);
        if let Some(index) = self.one_hot(node) {
            return call(
                "one_hot",
                [self.operand(index), dim(&node.ty.dims[node.ty.dims.len() - 1])],
            );
        }
        if let Some(declared) = graph.declared(&node.op) {
            return path(declared.name());
        }
        match &node.op {
            Op::Map(_) | Op::Bypass => operation(&node.op, self.broadcast_operands(node)),
            Op::Prev | Op::Next if graph.as_number(node.args[1]) == Some(0.0) => {
                call(node.op.name(), [self.operand(node.args[0])])
            }
            Op::Prev | Op::Next => {
                operation(&node.op, vec![self.operand(node.args[0]), self.bare(node.args[1])])
            }
            Op::Reduce(reduction, axes)
                if axes.len() == graph.ty(node.args[0]).dims.len()
                    && *reduction != Reduction::ArgMax =>
            {
                call(reduction.name(), [self.operand(node.args[0])])
            }
            Op::Windows(windows) => self.windows(node, *windows),
            Op::Pad { axis, before, after, value } => {
                let zero = Dim::zero();
                let pairs = (0..node.ty.dims.len()).map(|i| {
                    let pair = if i == *axis { [before, after] } else { [&zero, &zero] };
                    list(pair.map(dim))
                });
                named(
                    "pad",
                    [self.operand(node.args[0]), list(pairs)],
                    [("value", literal(value.0))],
                )
            }
            op => operation(op, node.args.iter().map(|arg| self.operand(*arg)).collect()),
        }
    }

    /// Windows along axes that follow each other, as one operation; it ends with the last axis.
    fn windows(&self, node: &Node, last: Windows) -> Expr {
        let (mut x, mut chain) = (node.args[0], vec![last]);
        while let Op::Windows(windows) = self.graph.node(x).op
            && windows.axis + chain.len() == last.axis
            && !self.names.contains_key(&x)
        {
            chain.push(windows);
            x = self.graph.node(x).args[0];
        }
        chain.reverse();
        let behind = self.graph.ty(x).dims.len() - 1 - last.axis;
        let numbers = |number: fn(&Windows) -> i64| {
            let numbers = chain.iter().map(number).chain(std::iter::repeat_n(1, behind));
            list(numbers.map(|number| dim(&Dim::constant(number))))
        };
        let options = [("stride", numbers(|w| w.stride)), ("dilation", numbers(|w| w.dilation))];
        let seen = named("windows", [self.operand(x), numbers(|w| w.size)], options);
        if behind == 0 { seen } else { call("reshape", [seen, shape(&node.ty.dims)]) }
    }

    /// The operands of a pointwise operation, without the broadcasts that go without saying.
    fn broadcast_operands(&self, node: &Node) -> Vec<Expr> {
        let is_plain = |arg: &NodeId| self.unbroadcast(*arg) == *arg;
        let dims = |arg: &NodeId| &self.graph.ty(self.unbroadcast(*arg)).dims;
        let wide = node.args.iter().position(is_plain);
        let joined =
            node.args.iter().try_fold(vec![], |joined, arg| joined_dims(joined, dims(arg)));
        let says = joined.as_ref() == Some(&node.ty.dims);
        let operand =
            |(i, arg): (usize, &NodeId)| match says || wide.is_some_and(|w| w != i) || i > 0 {
                true => self.bare(*arg),
                false => self.operand(*arg),
            };
        node.args.iter().enumerate().map(operand).collect()
    }

    fn bare(&self, id: NodeId) -> Expr {
        self.operand(self.unbroadcast(id))
    }

    /// The operand of a broadcast that is not mentioned by a name.
    fn unbroadcast(&self, id: NodeId) -> NodeId {
        let node = self.graph.node(id);
        let is_named = self.names.contains_key(&id) || self.delayed.contains_key(&id);
        if matches!(node.op, Op::Broadcast(_)) && !is_named { node.args[0] } else { id }
    }

    /// The index of which a node is the `one_hot`.
    fn one_hot(&self, node: &Node) -> Option<NodeId> {
        let plain = |id: NodeId| (!self.names.contains_key(&id)).then(|| self.graph.node(id));
        let is = |node: &Node, op: Pointwise| node.op == Op::Map(op);
        let equal = is(node, Pointwise::ToF32).then(|| plain(node.args[0]))??;
        if !is(equal, Pointwise::Eq) || !matches!(plain(equal.args[1])?.op, Op::Iota { .. }) {
            return None;
        }
        let broadcast = plain(equal.args[0])?;
        let column =
            matches!(broadcast.op, Op::Broadcast(_)).then(|| plain(broadcast.args[0]))??;
        matches!(column.op, Op::Reshape(_)).then(|| column.args[0])
    }
}

/// What a delay takes from another step.
fn delay_operand(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let node = graph.node(id);
    node.op.is_delay().then(|| node.args[0])
}

/// NumPy's broadcast of two shapes; `None` if they do not fit.
fn joined_dims(a: Vec<Dim>, b: &[Dim]) -> Option<Vec<Dim>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[Dim], i: usize| {
        (i + dims.len()).checked_sub(rank).map_or(Dim::one(), |i| dims[i].clone())
    };
    (0..rank)
        .map(|i| match (at(&a, i), at(b, i)) {
            (a, b) if a == b || b.is_one() => Some(a),
            (a, b) if a.is_one() => Some(b),
            _ => None,
        })
        .collect()
}

/// The pointwise operations that are written as operators between their operands.
const OPERATORS: [(BinaryOp, Pointwise); 14] = [
    (BinaryOp::Or, Pointwise::Or),
    (BinaryOp::And, Pointwise::And),
    (BinaryOp::Lt, Pointwise::Lt),
    (BinaryOp::Le, Pointwise::Le),
    (BinaryOp::Gt, Pointwise::Gt),
    (BinaryOp::Ge, Pointwise::Ge),
    (BinaryOp::Eq, Pointwise::Eq),
    (BinaryOp::Ne, Pointwise::Ne),
    (BinaryOp::Add, Pointwise::Add),
    (BinaryOp::Sub, Pointwise::Sub),
    (BinaryOp::Mul, Pointwise::Mul),
    (BinaryOp::Div, Pointwise::Div),
    (BinaryOp::Rem, Pointwise::Rem),
    (BinaryOp::Pow, Pointwise::Pow),
];

/// The operator between two operands that an operation is written as.
pub fn operator(op: Pointwise) -> Option<BinaryOp> {
    OPERATORS.iter().find(|(_, pointwise)| *pointwise == op).map(|(operator, _)| *operator)
}

/// The pointwise operation that an operator means; `None` for `@`.
pub fn pointwise(operator: BinaryOp) -> Option<Pointwise> {
    OPERATORS.iter().find(|(other, _)| *other == operator).map(|(_, op)| *op)
}

pub fn map(op: Pointwise, args: Vec<Expr>) -> Expr {
    if let Some(operator) = operator(op) {
        let [left, right] = pair(args);
        return binary(operator, left, right);
    }
    let prefix = [(Pointwise::Neg, UnaryOp::Neg), (Pointwise::Not, UnaryOp::Not)];
    let prefix = prefix.iter().find(|(prefixed, _)| *prefixed == op);
    let mut operands = args.into_iter();
    let mut next = || Box::new(operands.next().unwrap_or_else(|| path("?")));
    match prefix {
        Some((_, prefix)) => expr(ExprKind::Unary(*prefix, next())),
        None if op == Pointwise::Select => {
            expr(ExprKind::If { condition: next(), then: next(), otherwise: next() })
        }
        None => call(op.row().name, operands.collect::<Vec<_>>()),
    }
}

/// Both operands.
pub fn pair(args: Vec<Expr>) -> [Expr; 2] {
    args.try_into().unwrap_or_else(|_| [path("?"), path("?")])
}

/// A number, as short as it reads back.
pub fn literal(value: f64) -> Expr {
    if value.is_nan() {
        return binary(BinaryOp::Sub, path("inf"), path("inf"));
    }
    if value.is_sign_negative() {
        return expr(ExprKind::Unary(UnaryOp::Neg, Box::new(literal(-value))));
    }
    if value.is_infinite() {
        return path("inf");
    }
    let integer = value.fract() == 0.0 && value < 1e15;
    expr(ExprKind::Number { value, integer })
}

pub fn count(number: usize) -> Expr {
    literal(number as f64)
}

/// A dimension as the sum of its monomials.
pub fn dim(dim: &Dim) -> Expr {
    let monomial = |(factors, value): &(Vec<super::Symbol>, i64)| {
        let number = (*value != 1 || factors.is_empty()).then(|| literal(*value as f64));
        let factors = number.into_iter().chain(factors.iter().map(|factor| path(factor)));
        factors.reduce(|a, b| binary(BinaryOp::Mul, a, b)).unwrap_or_else(|| literal(1.0))
    };
    let sum = dim.terms().iter().map(monomial).reduce(|a, b| binary(BinaryOp::Add, a, b));
    sum.unwrap_or_else(|| literal(0.0))
}

pub fn shape(dims: &[Dim]) -> Expr {
    list(dims.iter().map(dim))
}

pub fn axes(axes: &[usize]) -> Expr {
    match axes {
        [axis] => count(*axis),
        axes => list(axes.iter().map(|axis| count(*axis))),
    }
}

pub fn list(parts: impl IntoIterator<Item = Expr>) -> Expr {
    expr(ExprKind::List(parts.into_iter().collect()))
}

pub fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    expr(ExprKind::Binary(op, Box::new(left), Box::new(right)))
}

/// `f(a, b)`
pub fn call(callee: &str, args: impl IntoIterator<Item = Expr>) -> Expr {
    named(callee, args, [])
}

/// `f(a, b, name = c)`
pub fn named<'n>(
    callee: &str,
    args: impl IntoIterator<Item = Expr>,
    named: impl IntoIterator<Item = (&'n str, Expr)>,
) -> Expr {
    let args = args.into_iter().map(|value| CallArgument { name: None, value });
    let named =
        named.into_iter().map(|(name, value)| CallArgument { name: Some(self::name(name)), value });
    let arguments = args.chain(named).collect();
    expr(ExprKind::Call { callee: vec![name(callee)], dims: vec![], arguments })
}

/// A name; one with dots is a path of instances.
pub fn path(text: &str) -> Expr {
    expr(ExprKind::Path(vec![name(text)]))
}

pub fn expr(kind: ExprKind) -> Expr {
    Expr { kind, span: Span::default() }
}

fn name(text: &str) -> Name {
    Name { text: text.into(), span: Span::default() }
}

#[cfg(test)]
mod tests;
