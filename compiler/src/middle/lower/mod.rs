//! Schedule → [`Program`]: the scalar bodies of kernels.
//!
//! The value of a node at an index is pulled from its operands: pointwise operations at the same
//! index, rearranging ones at an index computed from it, reductions in a loop, until a stored value
//! is loaded. So everything that is not stored is fused into its users.

mod nodes;
mod reductions;
mod split_axes;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use split_axes::split_axes;

use super::rewrite::Rewrite;
use super::schedule::{Schedule, Unit, sets_param};
use super::surrogate::Numeric;
use crate::ir::graph::op::Number;
use crate::ir::graph::{
    Clock, Dim, Elem, Graph, NodeId, Op, Pointwise, Role, Root, Type, constants,
};
use crate::ir::kernel::*;
use crate::source::Span;

/// The kernels of a schedule.
pub fn lower(schedule: &Schedule) -> Program {
    let graph = &schedule.graph;
    let mut lowering = Lowering {
        schedule,
        program: Program {
            name: graph.name.clone(),
            time: graph.time.clone(),
            inputs: graph.inputs.clone(),
            params: graph.params.clone(),
            ..Program::default()
        },
        buffer_of: HashMap::new(),
        names: BTreeSet::new(),
    };
    lowering.declare_buffers();
    for unit in &schedule.units {
        let kernels = lowering.kernels(unit);
        match unit.pass {
            Pass::Forward => lowering.program.forward.extend(kernels),
            Pass::Backward => lowering.program.backward.extend(kernels),
            Pass::Update => lowering.program.update.extend(kernels),
        }
    }
    lowering.program
}

/// A kernel stores at most so many numbers of an array: what drivers take to compile one grows with the
/// square.
const MOST_NUMBERS: usize = 128;

/// Does it, if it can.
type Apply = fn(&mut BodyBuilder, Pointwise, &[Val]) -> Option<Val>;

/// What becomes of a pointwise operation as it is lowered: the first that can be done.
static REWRITES: [(Rewrite, Apply); 5] = [
    (
        Rewrite {
            name: "known-branch",
            equation: "(if true then a else b) = a;  (if c then a else a) = a",
            numeric: Numeric::Exact,
            reason: "Indices at the edges of time and of padding are often known.",
        },
        |body, op, args| body.branch(op, args),
    ),
    (
        Rewrite {
            name: "literal-values",
            equation: "2 * 3 = 6;  likewise all operations, where the result is a number of its type",
            numeric: Numeric::Reassociating,
            reason: "What follows from literals alone is one, rounded once.",
        },
        |body, op, args| body.fold(op, args),
    ),
    (
        Rewrite {
            name: "neutral",
            equation: "a * 1 = a;  a / 1 = a;  a + 0 = a;  a - 0 = a",
            numeric: Numeric::Finite,
            reason: "Derivatives and sizes of one leave such operations.",
        },
        |body, op, args| {
            let kept = constants::kept(op, |at, number| body.is_float(args[at], number));
            kept.map(|kept| args[kept])
        },
    ),
    (
        Rewrite {
            name: "exact-inverse",
            equation: "a / 4 = a * 0.25;  likewise for all powers of two",
            numeric: Numeric::Exact,
            reason: "A multiplication is faster.",
        },
        |body, op, args| body.by_inverse(op, args),
    ),
    (
        Rewrite {
            name: "whole-power",
            equation: "a^3 = a * (a * a);  likewise for whole exponents up to 16",
            numeric: Numeric::Reassociating,
            reason: "It is right for negative numbers, and faster.",
        },
        |body, op, args| body.power(op, args),
    ),
];

/// The rows of the table, for people.
pub(super) fn rewrites() -> impl Iterator<Item = &'static Rewrite> {
    REWRITES.iter().map(|(rewrite, _)| rewrite)
}

struct Lowering<'s> {
    schedule: &'s Schedule,
    program: Program,
    /// The buffers of stored nodes, inputs and parameters.
    buffer_of: HashMap<NodeId, BufferId>,
    /// Taken identifiers.
    names: BTreeSet<String>,
}

impl Lowering<'_> {
    fn declare_buffers(&mut self) {
        let graph = &self.schedule.graph;
        let inputs = graph.inputs.iter().enumerate();
        let inputs: Vec<BufferId> = inputs
            .map(|(index, input)| {
                let ty = &input.ty;
                let source = BufferSource::Input(index);
                self.declare(&input.name, ty.elem, &ty.dims, ty.is_stream(), source, false)
            })
            .collect();
        let params: Vec<BufferId> = graph
            .params
            .iter()
            .enumerate()
            .map(|(index, param)| {
                let source = BufferSource::Param(index);
                self.declare(&param.path, param.elem, &param.dims, false, source, false)
            })
            .collect();
        for id in graph.ids() {
            let node = graph.node(id);
            let buffer = if let Op::Input(index) = node.op {
                Some(inputs[index])
            } else if let Op::Param(index) = node.op {
                Some(params[index])
            } else {
                self.schedule.is_stored(id).then(|| self.declare_stored(id))
            };
            if let Some(buffer) = buffer {
                self.buffer_of.insert(id, buffer);
            }
        }
        let is_result = |root: &&Root| matches!(root.role, Role::Output | Role::Gradient);
        let roots = graph.roots.iter().filter(is_result);
        let results = roots.map(|root| (root.role, root.name.clone(), self.buffer_of[&root.node]));
        self.program.results = results.collect();
    }

    /// The buffer of a value that a kernel stores, named after it.
    fn declare_stored(&mut self, id: NodeId) -> BufferId {
        let graph = &self.schedule.graph;
        let node = graph.node(id);
        let root = graph.roots.iter().find(|root| root.node == id);
        let name = match (&node.name, root) {
            (Some(name), _) => name.to_string(),
            (None, Some(root)) if root.role == Role::Gradient => format!("grad_{}", root.name),
            (None, Some(root)) => root.name.clone(),
            (None, None) => node.op.describe(|op| op.label()).to_string(),
        };
        let (ty, binary) = (&node.ty, self.schedule.is_binary(id));
        self.declare(&name, ty.elem, &ty.dims, ty.is_stream(), BufferSource::Kernel, binary)
    }

    fn declare(
        &mut self,
        name: &str,
        elem: Elem,
        dims: &[Dim],
        stream: bool,
        source: BufferSource,
        binary: bool,
    ) -> BufferId {
        let name = self.unique(name);
        self.program.buffers.push(Buffer {
            name,
            elem,
            dims: dims.to_vec(),
            stream,
            source,
            binary,
            storage: Storage::of(elem),
        });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    /// An identifier that nothing else has.
    fn unique(&mut self, name: &str) -> String {
        let mut base: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if !base.starts_with(|c: char| c.is_ascii_alphabetic()) || base.starts_with("fgi") {
            base.insert_str(0, "v_");
        }
        let mut name = base.clone();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }

    fn kernels(&mut self, unit: &Unit) -> Vec<Kernel> {
        let graph = &self.schedule.graph;
        let id = unit.stages[0][0];
        if let Op::Array { elem, data, .. } = &graph.node(id).op
            && !unit.updates
        {
            let parts = data.chunks(MOST_NUMBERS).enumerate();
            let part = |(number, part)| self.numbers(unit, id, number * MOST_NUMBERS, *elem, part);
            return parts.map(part).collect();
        }
        vec![self.kernel(unit)]
    }

    /// Stores numbers of an array from one on, all of them at one point.
    fn numbers(
        &mut self,
        unit: &Unit,
        id: NodeId,
        start: usize,
        elem: Elem,
        numbers: &[Number],
    ) -> Kernel {
        let buffer = self.buffer_of[&id];
        let mut body = BodyBuilder::new(self, unit, &[], &[]);
        for (at, number) in (start..).zip(numbers) {
            let value = body.literal(*number, elem);
            let at = Affine { terms: vec![], constant: Dim::constant(at as i64) };
            body.stage.stores.push(Store { buffer, at, value });
        }
        let stages = vec![body.stage];
        let name = self.unique(&format!("kernel_{}", self.program.buffer(buffer).name));
        let span = self.schedule.graph.node(id).span;
        Kernel { name, recurrence: None, local_axes: 0, stages, span }
    }

    fn kernel(&mut self, unit: &Unit) -> Kernel {
        let graph = &self.schedule.graph;
        let members: Vec<NodeId> = unit.stages.iter().flatten().copied().collect();
        let mut local_axes = self.common_axes(unit);
        let mut stages = Vec::new();
        for nodes in &unit.stages {
            let mut body = BodyBuilder::new(self, unit, &members, &nodes[..1]);
            body.store_all(nodes);
            local_axes = local_axes.min(body.local_axes);
            stages.push(body.stage);
        }
        for stage in &mut stages {
            let Some((split, counts)) = split_axes(stage) else { continue };
            // Stages of a recurrence agree on the axes that are local.
            if unit.recurrence.is_none() {
                local_axes = counts[..local_axes].iter().sum();
            } else if counts[..local_axes].iter().any(|count| *count > 1) {
                continue;
            }
            *stage = split;
        }
        let first = graph.node(members[0]);
        let what = match unit.updates {
            true => "update".to_string(),
            false => self.program.buffer(self.buffer_of[&members[0]]).name.clone(),
        };
        let name = match (unit.recurrence, unit.pass) {
            (Some(_), Pass::Forward) => format!("{what}_forward"),
            (Some(_), _) => format!("{what}_backward"),
            _ => what,
        };
        Kernel {
            name: self.unique(&format!("kernel_{name}")),
            recurrence: unit.recurrence,
            local_axes,
            stages,
            span: first.span,
        }
    }

    /// The leading axes that all stages have.
    fn common_axes(&self, unit: &Unit) -> usize {
        let dims = |stage: &Vec<NodeId>| &self.schedule.graph.ty(stage[0]).dims;
        let first = dims(&unit.stages[0]);
        let common =
            |stage: &Vec<NodeId>| first.iter().zip(dims(stage)).take_while(|(a, b)| a == b).count();
        unit.stages.iter().map(common).min().unwrap_or(0)
    }
}

/// Builds the body of one stage.
struct BodyBuilder<'b, 's> {
    lowering: &'b Lowering<'s>,
    graph: &'s Graph,
    /// What the kernel stores: their buffers change while it runs.
    members: &'b [NodeId],
    is_recurrence: bool,
    /// The kernel writes new values of parameters.
    updates: bool,
    stage: Stage,
    /// Index values of the stage's axes.
    axes: Vec<Val>,
    time: Option<Val>,
    /// What the values that are being computed were written as.
    span: Option<Span>,
    known: HashMap<Inst, Val>,
    /// The loop that a value is computed in; absent: the body.
    scope: HashMap<Val, usize>,
    pulled: HashMap<Point, Val>,
    /// Values of this stage that later ones may use without loading.
    computed: BTreeMap<NodeId, Val>,
    /// Time steps that are known not to be the first, or the last: there a delay needs no choice.
    inner_steps: BTreeSet<(Val, Edge)>,
    local_axes: usize,
}

/// A node at an index and a step, under assumptions about steps.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Point {
    node: NodeId,
    index: Vec<Val>,
    time: Option<Val>,
    inner_steps: BTreeSet<(Val, Edge)>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Edge {
    First,
    Last,
}

impl<'b, 's> BodyBuilder<'b, 's> {
    fn new(
        lowering: &'b Lowering<'s>,
        unit: &Unit,
        members: &'b [NodeId],
        like: &[NodeId],
    ) -> Self {
        let graph = &lowering.schedule.graph;
        // The index space is that of the nodes; of none there is one point.
        let scalar = Type::new(Elem::F32, vec![], Clock::Static);
        let ty = like.first().map_or(&scalar, |first| graph.ty(*first));
        let mut body = BodyBuilder {
            lowering,
            graph,
            members,
            is_recurrence: unit.recurrence.is_some(),
            updates: unit.updates,
            stage: Stage { axes: ty.dims.clone(), timed: ty.is_stream(), ..Stage::default() },
            axes: Vec::new(),
            time: None,
            span: None,
            known: HashMap::new(),
            scope: HashMap::new(),
            pulled: HashMap::new(),
            computed: BTreeMap::new(),
            inner_steps: BTreeSet::new(),
            local_axes: usize::MAX,
        };
        body.axes = (0..ty.dims.len()).map(|axis| body.inst(Inst::Axis(axis))).collect();
        body.time = ty.is_stream().then(|| body.inst(Inst::Time));
        body
    }

    fn store_all(&mut self, nodes: &[NodeId]) {
        let axes = self.axes.clone();
        let mut stores = Vec::new();
        for &id in nodes {
            // The next value of a state is there already.
            let value = match self.updates {
                true => self.pull(id, &axes, self.time),
                false => self.compute(id, &axes, self.time),
            };
            for buffer in self.targets(id) {
                let dims = self.graph.ty(id).dims.clone();
                let at = self.flat_index(&dims, &axes, self.time);
                stores.push(Store { buffer, at, value });
            }
            if !self.updates {
                self.computed.insert(id, value);
            }
        }
        stores.dedup_by_key(|store| store.buffer);
        self.stage.stores = stores;
    }

    /// The buffers that a node's value goes to.
    fn targets(&self, id: NodeId) -> Vec<BufferId> {
        if !self.updates {
            return vec![self.lowering.buffer_of[&id]];
        }
        let roots = self.graph.roots.iter();
        let updated = roots.filter(|root| sets_param(root) && root.node == id);
        let params = &self.graph.params;
        updated
            .filter_map(|root| params.iter().position(|param| param.path == root.name))
            .filter_map(|index| {
                let source = BufferSource::Param(index);
                self.lowering
                    .program
                    .buffer_ids()
                    .find(|buffer| self.lowering.program.buffer(*buffer).source == source)
            })
            .collect()
    }
}
