//! The derivatives of surrogates, as nodes of the graph of which facts can be proved.

use std::collections::{BTreeMap, BTreeSet};

use super::singular::pointwise;
use crate::ir::graph::dependence::{live, reachable};
use crate::ir::graph::{Builder, Elem, Fact, Facts, Graph, Init, NodeId, Op, Pointwise};

/// A `bypass` of a graph in normal form.
pub struct Surrogate {
    pub node: NodeId,
    /// What its gradient operand is computed from by pointwise operations: names that the value is computed from as
    /// well, or what other operations give; and the derivative for each. Empty if it is too large to say.
    pub slopes: Vec<(NodeId, NodeId)>,
}

/// A derivative that is no finite number in f32.
pub struct Witness {
    pub variable: NodeId,
    pub value: f32,
    pub slope: f32,
    /// An exponential of it is infinite.
    pub overflows: bool,
}

/// Gradient operands of more operations are not looked into.
const MAX_OPERATIONS: usize = 256;

/// All surrogates, their derivatives appended to the graph.
pub fn differentiated(graph: &mut Graph) -> Vec<Surrogate> {
    let live = live(graph);
    let bypasses: Vec<NodeId> =
        graph.ids().filter(|id| graph.node(*id).op == Op::Bypass && live[id.0 as usize]).collect();
    let mut b = Builder::new(graph);
    b.fold = true;
    let mut one = |node| Surrogate { node, slopes: slopes(&mut b, node, &live) };
    bypasses.into_iter().map(&mut one).collect()
}

/// The derivatives of a bypass for what its gradient operand is computed from.
fn slopes(b: &mut Builder, bypass: NodeId, live: &[bool]) -> Vec<(NodeId, NodeId)> {
    let [value, root] = [0, 1].map(|operand| b.graph().node(bypass).args[operand]);
    let of_value = pointwise(b.graph(), value);
    let is_inner = |graph: &Graph, id: NodeId| {
        let node = graph.node(id);
        let has_derivative = matches!(node.op, Op::Map(op) if op.row().vjp.is_some());
        has_derivative
            && live[id.0 as usize]
            && (id == root || node.name.is_none() || !of_value.contains(&id))
    };
    let (mut inner, mut todo) = (BTreeSet::new(), vec![root]);
    while let Some(id) = todo.pop() {
        if is_inner(b.graph(), id) && inner.insert(id) {
            todo.extend(&b.graph().node(id).args);
        }
    }
    if inner.len() > MAX_OPERATIONS {
        return Vec::new();
    }
    let one = b.full_like(1.0, root);
    let mut slopes = BTreeMap::from([(root, one)]);
    for &id in inner.iter().rev() {
        let Some(dy) = slopes.remove(&id) else { continue };
        let node = b.graph().node(id).clone();
        let Op::Map(op) = node.op else { continue };
        let Some(vjp) = op.row().vjp else { continue };
        for (&x, part) in node.args.iter().zip(vjp(b, &node.args, id, dy)) {
            let Some(mut part) = part.filter(|_| live[x.0 as usize]) else { continue };
            // As in reverse mode, nothing comes from a branch that is not taken.
            if dy != one && part != dy {
                let zero = b.number(0.0);
                part = b.choose(Pointwise::Eq, dy, zero, zero, part);
            }
            let sum = slopes.get(&x).map_or(part, |other| b.add(*other, part));
            slopes.insert(x, sum);
        }
    }
    slopes.into_iter().collect()
}

impl Surrogate {
    /// Whether the derivative is proved to be zero for every value that can occur.
    pub fn is_zero(&self, facts: &Facts) -> bool {
        let is_zero = |(_, slope): &(NodeId, NodeId)| {
            let fact = facts.at(*slope);
            fact.low == 0.0 && fact.high == 0.0
        };
        !self.slopes.is_empty() && self.slopes.iter().all(is_zero)
    }

    /// A value within its range where a derivative is infinite or NaN, all other operands being ordinary.
    pub fn witness(&self, graph: &Graph, facts: &Facts) -> Option<Witness> {
        self.slopes.iter().find_map(|(_, slope)| {
            let body = Body::of(graph, facts, *slope, &self.slopes);
            let variables = body.variables()?;
            variables.into_iter().find_map(|variable| {
                let values =
                    SAMPLES.into_iter().filter(|value| is_within(facts.at(variable), *value));
                let mut witnesses = values.map(|value| {
                    let (slope, overflows) = body.evaluate(variable, value);
                    Witness { variable, value, slope, overflows }
                });
                witnesses.find(|witness| !witness.slope.is_finite())
            })
        })
    }
}

/// Potentials that occur, in units of the threshold or in mV.
const SAMPLES: [f32; 11] = [0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 10.0, -10.0, 100.0, -100.0];

fn is_within(fact: &Fact, value: f32) -> bool {
    (fact.low..=fact.high).contains(&f64::from(value))
}

/// The pointwise operations that a node is computed by.
struct Body<'a> {
    graph: &'a Graph,
    facts: &'a Facts,
    operations: BTreeSet<NodeId>,
    leaves: BTreeSet<NodeId>,
}

impl<'a> Body<'a> {
    /// The operations of a root, down to these leaves at most.
    fn of(
        graph: &'a Graph,
        facts: &'a Facts,
        root: NodeId,
        until: &[(NodeId, NodeId)],
    ) -> Body<'a> {
        let (mut operations, mut leaves) = (BTreeSet::new(), BTreeSet::new());
        let mut todo = vec![root];
        while let Some(id) = todo.pop() {
            let node = graph.node(id);
            let is_end = until.iter().any(|(leaf, _)| *leaf == id);
            let taken = match matches!(node.op, Op::Map(_) | Op::Const(..)) {
                true => Some(&node.args[..]),
                false => matches!(node.op, Op::Sg | Op::Bypass | Op::Broadcast(_))
                    .then(|| &node.args[..1]),
            };
            match taken.filter(|_| !is_end) {
                Some(args) if operations.insert(id) => todo.extend(args),
                Some(_) => {}
                None => {
                    leaves.insert(id);
                }
            }
        }
        Body { graph, facts, operations, leaves }
    }

    /// The leaves that vary by themselves; `None` if one follows from another, as the maximum of a row does.
    fn variables(&self) -> Option<Vec<NodeId>> {
        let Body { graph, leaves, .. } = self;
        let is_variable = |id: &NodeId| {
            let source = &graph.node(graph.unshaped(*id)).op;
            graph.ty(*id).elem == Elem::F32 && !matches!(source, Op::Param(_) | Op::Size(_))
        };
        let variables: Vec<NodeId> = leaves.iter().copied().filter(is_variable).collect();
        let of = |id: NodeId| match graph.node(id).op.is_delay() {
            true => Vec::new(),
            false => graph.node(id).args.clone(),
        };
        let needed = variables.iter().flat_map(|id| of(*id)).collect();
        let needed = reachable(graph, needed, of);
        (!variables.iter().any(|id| needed[id.0 as usize])).then_some(variables)
    }

    /// The value of the last operation in f32, with each operation rounded, where one leaf has this value; and whether
    /// an exponential overflows.
    fn evaluate(&self, variable: NodeId, value: f32) -> (f32, bool) {
        let leaf = |id: &NodeId| if *id == variable { value } else { self.ordinary(*id) };
        let mut known: BTreeMap<NodeId, f32> =
            self.leaves.iter().map(|id| (*id, leaf(id))).collect();
        let (mut last, mut overflows) = (value, false);
        for id in &self.operations {
            let node = self.graph.node(*id);
            let arg = |operand: usize| known.get(&node.args[operand]).copied().unwrap_or(f32::NAN);
            last = if let Op::Const(number, _) = node.op {
                number.0 as f32
            } else if let Op::Map(op) = node.op {
                let args: Vec<f64> = (0..node.args.len()).map(|i| f64::from(arg(i))).collect();
                (op.row().value)(&args) as f32
            } else {
                arg(0)
            };
            use Pointwise::{Cosh, Exp, Sinh};
            overflows |= matches!(node.op, Op::Map(Exp | Cosh | Sinh)) && last.is_infinite();
            known.insert(*id, last);
        }
        (last, overflows)
    }

    /// What a leaf is when another one is looked at: the initial value of a parameter, or 1, and 0 for all else, as
    /// far as that is within its range.
    fn ordinary(&self, id: NodeId) -> f32 {
        let fact = self.facts.at(id);
        let op = &self.graph.node(self.graph.unshaped(id)).op;
        let value = if let Op::Param(index) = op {
            match self.graph.params[*index].init {
                Init::Constant(value) => value,
                Init::Normal(mean, _) if mean != 0.0 => mean,
                Init::Normal(..)
                | Init::Uniform(..)
                | Init::XavierUniform
                | Init::XavierNormal
                | Init::KaimingUniform
                | Init::KaimingNormal
                | Init::Orthogonal(_) => 1.0,
            }
        } else if let Op::Size(_) = op {
            2.0
        } else {
            0.0
        };
        value.max(fact.low).min(fact.high) as f32
    }
}
