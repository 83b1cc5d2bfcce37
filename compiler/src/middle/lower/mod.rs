//! Schedule → [`Program`]: the scalar bodies of kernels.
//!
//! The value of a node at an index is pulled from its operands: pointwise operations at the same
//! index, rearranging ones at an index computed from it, reductions in a loop, until a stored value
//! is loaded. So everything that is not stored is fused into its users.

mod split_axes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use split_axes::split_axes;

use super::rewrite::Rewrite;
use super::schedule::{Schedule, Unit, sets_param};
use super::surrogate::Numeric;
use crate::ir::graph::op::Number;
use crate::ir::graph::ops::{Class, Coordinate, IndexMap};
use crate::ir::graph::{
    Clock, Dim, Elem, Graph, NodeId, Op, Pointwise, Reduction, Role, Root, Type, constants,
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

    // ---- values ----

    fn inst(&mut self, inst: Inst) -> Val {
        if let Some(&known) = self.known.get(&inst) {
            return known;
        }
        let scope = match &inst {
            Inst::LoopAxis(index, _) | Inst::LoopTime(index) => Some(*index),
            Inst::Quotient(arg, _) | Inst::Remainder(arg, _) => self.scope.get(arg).copied(),
            Inst::Affine(at) | Inst::Load(_, at) => {
                at.terms.iter().find_map(|(val, _)| self.scope.get(val).copied())
            }
            Inst::Map(_, args) => args.iter().find_map(|arg| self.scope.get(arg).copied()),
            Inst::F32(_)
            | Inst::I32(_)
            | Inst::Bool(_)
            | Inst::Dim(_)
            | Inst::Axis(_)
            | Inst::Time
            | Inst::Reduce(_) => None,
        };
        let val = self.push(inst.clone());
        match scope {
            Some(index) => {
                self.scope.insert(val, index);
                self.stage.loops[index].body.push(val);
            }
            None => self.stage.body.push(val),
        }
        self.known.insert(inst, val);
        val
    }

    fn push(&mut self, inst: Inst) -> Val {
        self.stage.insts.push(inst);
        self.stage.spans.push(self.span);
        Val(self.stage.insts.len() as u32 - 1)
    }

    fn int(&mut self, value: i32) -> Val {
        self.inst(Inst::I32(value))
    }

    fn dim(&mut self, dim: &Dim) -> Val {
        match dim.as_const().and_then(|value| i32::try_from(value).ok()) {
            Some(value) => self.int(value),
            None => self.inst(Inst::Dim(dim.clone())),
        }
    }

    fn float(&mut self, value: f64) -> Val {
        self.inst(Inst::F32((value as f32).to_bits()))
    }

    fn literal(&mut self, Number(value): Number, elem: Elem) -> Val {
        match elem {
            Elem::F32 => self.float(value),
            Elem::I32 => self.int(value as i32),
            Elem::Bool => self.inst(Inst::Bool(value != 0.0)),
        }
    }

    /// An i32 value as an affine expression.
    fn affine_of(&self, val: Val) -> Affine {
        let inst = self.stage.inst(val);
        if let Inst::Affine(affine) = inst {
            affine.clone()
        } else if let Inst::I32(value) = inst {
            Affine { terms: vec![], constant: Dim::constant(i64::from(*value)) }
        } else if let Inst::Dim(dim) = inst {
            Affine { terms: vec![], constant: dim.clone() }
        } else {
            Affine { terms: vec![(val, Dim::one())], constant: Dim::zero() }
        }
    }

    /// The sum of values with coefficients, and a constant.
    fn affine(&self, parts: &[(Val, Dim)], constant: Dim) -> Affine {
        let mut terms: BTreeMap<Val, Dim> = BTreeMap::new();
        let mut sum = constant;
        for (val, factor) in parts {
            let part = self.affine_of(*val);
            sum = &sum + &(&part.constant * factor);
            for (val, coefficient) in part.terms {
                let term = terms.entry(val).or_insert_with(Dim::zero);
                *term = &*term + &(&coefficient * factor);
            }
        }
        terms.retain(|_, coefficient| !coefficient.is_zero());
        match self.put_together(&terms) {
            Some(parts) => self.affine(&parts, sum),
            None => Affine { terms: terms.into_iter().collect(), constant: sum },
        }
    }

    /// The terms with `(x / n) · n + x mod n` as x, if that is among them: an index that was taken apart
    /// for axes that follow each other in memory.
    fn put_together(&self, terms: &BTreeMap<Val, Dim>) -> Option<Vec<(Val, Dim)>> {
        let (quotient, remainder, whole) = terms.iter().find_map(|(val, by)| {
            let Inst::Remainder(whole, n) = self.stage.inst(*val) else { return None };
            let quotient = self.known.get(&Inst::Quotient(*whole, n.clone()))?;
            (terms.get(quotient)? == &(by * n)).then_some((*quotient, *val, *whole))
        })?;
        let others = terms.iter().filter(|(val, _)| ![quotient, remainder].contains(val));
        let whole = (whole, terms[&remainder].clone());
        Some(others.map(|(val, by)| (*val, by.clone())).chain([whole]).collect())
    }

    fn affine_val(&mut self, parts: &[(Val, Dim)], constant: Dim) -> Val {
        let affine = self.affine(parts, constant);
        match affine.terms.as_slice() {
            [] => self.dim(&affine.constant),
            [(val, coefficient)] if coefficient.is_one() && affine.constant.is_zero() => *val,
            _ => self.inst(Inst::Affine(affine)),
        }
    }

    fn flat_index(&self, dims: &[Dim], index: &[Val], time: Option<Val>) -> Affine {
        let mut parts = Vec::new();
        let mut stride = Dim::one();
        for (dim, val) in dims.iter().zip(index).rev() {
            parts.push((*val, stride.clone()));
            stride = &stride * dim;
        }
        parts.extend(time.map(|time| (time, stride)));
        self.affine(&parts, Dim::zero())
    }

    /// A pointwise operation on values, after all that can be rewritten is.
    fn map(&mut self, op: Pointwise, args: Vec<Val>) -> Val {
        let mut rewrites = REWRITES.iter();
        let found = rewrites.find_map(|(_, apply)| apply(self, op, &args));
        found.unwrap_or_else(|| self.inst(Inst::Map(op, args)))
    }

    fn is_float(&self, val: Val, number: f64) -> bool {
        self.float_of(val).is_some_and(|value| f64::from(value) == number)
    }

    fn float_of(&self, val: Val) -> Option<f32> {
        let Inst::F32(bits) = self.stage.inst(val) else { return None };
        Some(f32::from_bits(*bits))
    }

    /// The result as a literal, if the operands are literals and the result is a number.
    fn fold(&mut self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let literal = |val: &Val| match self.stage.inst(*val) {
            Inst::F32(bits) => Some(f64::from(f32::from_bits(*bits))),
            Inst::I32(value) => Some(f64::from(*value)),
            Inst::Bool(value) => Some(f64::from(u8::from(*value))),
            Inst::Dim(_)
            | Inst::Axis(_)
            | Inst::Time
            | Inst::LoopAxis(..)
            | Inst::LoopTime(_)
            | Inst::Quotient(..)
            | Inst::Remainder(..)
            | Inst::Affine(_)
            | Inst::Load(..)
            | Inst::Map(..)
            | Inst::Reduce(_) => None,
        };
        let numbers: Vec<f64> = args.iter().map(literal).collect::<Option<_>>()?;
        // The result's type: make the instruction to ask, without keeping it.
        self.stage.insts.push(Inst::Map(op, args.to_vec()));
        let elem = self.stage.elem(Val(self.stage.insts.len() as u32 - 1), &self.lowering.program);
        self.stage.insts.pop();
        let value = constants::literal(op, elem, &numbers)?;
        Some(self.literal(Number(value), elem))
    }

    /// The branch of a choice that is known.
    fn branch(&self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let [condition, then, otherwise] = *args else { return None };
        if op != Pointwise::Select {
            return None;
        }
        if let Inst::Bool(condition) = self.stage.inst(condition) {
            return Some(if *condition { then } else { otherwise });
        }
        (then == otherwise).then_some(then)
    }

    fn by_inverse(&mut self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let [dividend, divisor] = *args else { return None };
        let inverse = (op == Pointwise::Div).then(|| self.exact_inverse(divisor))??;
        Some(self.map(Pointwise::Mul, vec![dividend, inverse]))
    }

    fn power(&mut self, op: Pointwise, args: &[Val]) -> Option<Val> {
        let [base, exponent] = *args else { return None };
        let exponent = (op == Pointwise::Pow).then(|| self.float_of(exponent))??;
        let is_short = exponent.fract() == 0.0 && exponent.abs() <= 16.0;
        is_short.then(|| self.integer_power(base, exponent as i32))
    }

    /// The inverse of a literal that is a power of two: multiplying with it is the same, but faster.
    fn exact_inverse(&mut self, val: Val) -> Option<Val> {
        let number = self.float_of(val)?;
        let inverse = 1.0 / number;
        let is_power = number.to_bits() & 0x007f_ffff == 0 && number.is_normal();
        (is_power && inverse.is_normal()).then(|| self.float(f64::from(inverse)))
    }

    /// x^n by squaring: exact powers of negative numbers, and faster.
    fn integer_power(&mut self, base: Val, exponent: i32) -> Val {
        let one = self.float(1.0);
        if exponent == 0 {
            return one;
        }
        let mut result = None;
        let (mut square, mut rest) = (base, exponent.unsigned_abs());
        loop {
            if rest & 1 == 1 {
                result = Some(match result {
                    None => square,
                    Some(result) => self.map(Pointwise::Mul, vec![result, square]),
                });
            }
            rest >>= 1;
            if rest == 0 {
                break;
            }
            square = self.map(Pointwise::Mul, vec![square, square]);
        }
        let power = result.unwrap_or(one);
        if exponent < 0 { self.map(Pointwise::Div, vec![one, power]) } else { power }
    }

    // ---- nodes ----

    /// The value of a node at an index and, for a stream, at a step. Pointwise operations come in long
    /// chains, so their operands are pulled from a list, not by recursion.
    fn pull(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let mut open = vec![id];
        while let Some(&next) = open.last() {
            match self.open_operand(next, index, time) {
                Some(operand) => open.push(operand),
                None => {
                    self.pull_one(next, index, time);
                    open.pop();
                }
            }
        }
        self.pull_one(id, index, time)
    }

    /// An operand to pull before a pointwise operation: one itself, and not known yet.
    fn open_operand(&self, id: NodeId, index: &[Val], time: Option<Val>) -> Option<NodeId> {
        let is_open = |id: NodeId| {
            let is_at_hand = self.lowering.buffer_of.contains_key(&id)
                || (self.computed.contains_key(&id) && self.is_here(id, index, time))
                || self.pulled.contains_key(&self.point(id, index, time));
            matches!(self.graph.node(id).op, Op::Map(_)) && !is_at_hand
        };
        let args = if is_open(id) { &self.graph.node(id).args[..] } else { &[] };
        args.iter().copied().find(|arg| is_open(*arg))
    }

    fn pull_one(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let point = self.point(id, index, time);
        let time = point.time;
        if let Some(known) = self.pulled.get(&point) {
            return *known;
        }
        let value = match self.computed.get(&id) {
            Some(value) if self.is_here(id, index, time) => *value,
            _ => match self.lowering.buffer_of.get(&id) {
                Some(buffer) => self.load(id, *buffer, index, time),
                None => self.compute(id, index, time),
            },
        };
        self.pulled.insert(point, value);
        value
    }

    fn point(&self, id: NodeId, index: &[Val], time: Option<Val>) -> Point {
        let time = time.filter(|_| self.graph.ty(id).is_stream());
        Point { node: id, index: index.to_vec(), time, inner_steps: self.inner_steps.clone() }
    }

    /// Whether this is the point of the index space that the body is for.
    fn is_here(&self, id: NodeId, index: &[Val], time: Option<Val>) -> bool {
        index == self.axes && time.filter(|_| self.graph.ty(id).is_stream()) == self.time
    }

    fn load(&mut self, id: NodeId, buffer: BufferId, index: &[Val], time: Option<Val>) -> Val {
        if self.is_recurrence && self.members.contains(&id) {
            let same = index.iter().zip(&self.axes).take_while(|(a, b)| a == b).count();
            self.local_axes = self.local_axes.min(same);
        }
        let dims = self.graph.ty(id).dims.clone();
        let at = self.flat_index(&dims, index, time);
        self.inst(Inst::Load(buffer, at))
    }

    fn compute(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let span = self.graph.node(id).span;
        let around = self.span;
        self.span = span.or(around);
        let value = self.compute_inside(id, index, time);
        self.span = around;
        value
    }

    fn compute_inside(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        match &node.op {
            Op::Input(_) | Op::Param(_) => {
                let buffer = self.lowering.buffer_of[&id];
                self.load(id, buffer, index, time)
            }
            Op::Const(number, elem) => self.literal(*number, *elem),
            Op::Array { elem, data, .. } => self.number_of(*elem, data, &node.ty.dims, index),
            Op::Size(dim) => {
                let dim = self.dim(dim);
                self.map(Pointwise::ToF32, vec![dim])
            }
            Op::TimeIndex => {
                let step = self.step(time);
                self.map(Pointwise::ToF32, vec![step])
            }
            Op::Iota { axis, .. } => index[*axis],
            Op::Map(op) => {
                let args = node.args.iter().map(|arg| self.pull(*arg, index, time)).collect();
                self.map(*op, args)
            }
            Op::Sg | Op::Bypass => self.pull(node.args[0], index, time),
            Op::Prev | Op::Next => self.delay(id, index, time),
            Op::MatMul | Op::Reduce(..) | Op::TimeReduce(_) => self.reduction(id, index, time),
            Op::Concat { axis } => self.concat(id, *axis, index, time),
            Op::Pad { axis, before, value, .. } => {
                let arg = node.args[0];
                let length = graph.ty(arg).dims[*axis].clone();
                let (inner, inside) = self.inside(index[*axis], before, &length);
                let mut arg_index = index.to_vec();
                arg_index[*axis] = inner;
                let loaded = self.pull(arg, &arg_index, time);
                let outside = self.literal(*value, node.ty.elem);
                self.map(Pointwise::Select, vec![inside, loaded, outside])
            }
            Op::Gather { axis } => {
                let replaced = *axis..axis + graph.ty(node.args[1]).dims.len();
                self.look_up(id, replaced.clone(), &index[replaced], index, time)
            }
            Op::Take { axis } => self.look_up(id, *axis..axis + 1, index, index, time),
            Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip { .. }
            | Op::Windows(_)
            | Op::Shear { .. }
            | Op::First
            | Op::Last
            | Op::TimeStack(_)
            | Op::TimeUnstack => self.view(id, index, time),
        }
    }

    fn step(&mut self, time: Option<Val>) -> Val {
        time.unwrap_or_else(|| self.int(0))
    }

    fn last_step(&mut self) -> Val {
        let time = self.graph.time.clone().unwrap_or_else(Dim::one);
        let steps = self.dim(&time);
        self.affine_val(&[(steps, Dim::one())], Dim::constant(-1))
    }

    /// The element of the operand that an element of a view is.
    fn view(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        let from = &graph.ty(node.args[0]).dims;
        let map = node.op.describe(|op| op.index_map(from));
        let (index, time) = match map {
            Some(IndexMap::Stretched(axes)) => {
                let zero = self.int(0);
                (axes.into_iter().map(|axis| axis.map_or(zero, |axis| index[axis])).collect(), time)
            }
            Some(IndexMap::Affine(axes)) => {
                (axes.iter().map(|axis| self.coordinate(axis, index)).collect(), time)
            }
            Some(IndexMap::Regrouped(groups)) => {
                (self.regrouped(from, &node.ty.dims, groups, index), time)
            }
            Some(IndexMap::First) => (index.to_vec(), Some(self.int(0))),
            Some(IndexMap::Last) => (index.to_vec(), Some(self.last_step())),
            Some(IndexMap::TimeFirst) => (index[1..].to_vec(), Some(index[0])),
            Some(IndexMap::FirstIsTime) => {
                (std::iter::once(self.step(time)).chain(index.iter().copied()).collect(), None)
            }
            None => (index.to_vec(), time),
        };
        self.pull(node.args[0], &index, time)
    }

    fn coordinate(&mut self, Coordinate { terms, constant }: &Coordinate, index: &[Val]) -> Val {
        let terms = terms.iter().map(|(axis, factor)| (index[*axis], factor.clone()));
        self.affine_val(&terms.collect::<Vec<_>>(), constant.clone())
    }

    /// Within a group of axes indices are flattened and taken apart.
    fn regrouped(
        &mut self,
        from: &[Dim],
        to: &[Dim],
        groups: Vec<(Range<usize>, Range<usize>)>,
        index: &[Val],
    ) -> Vec<Val> {
        let mut result = Vec::new();
        for (operand, own) in groups {
            let flat = self.flat_index(&to[own.clone()], &index[own], None);
            let mut rest = self.affine_val(&flat.terms, flat.constant);
            let mut group = Vec::new();
            for axis in operand.clone().rev() {
                group.push(match &from[axis] {
                    dim if dim.is_one() => self.int(0),
                    _ if from[operand.start..axis].iter().all(Dim::is_one) => rest,
                    dim => {
                        let inner = self.inst(Inst::Remainder(rest, dim.clone()));
                        rest = self.inst(Inst::Quotient(rest, dim.clone()));
                        inner
                    }
                });
            }
            group.reverse();
            result.extend(group);
        }
        result
    }

    /// `index - before` kept within `0..length`, and whether it was there.
    fn inside(&mut self, index: Val, before: &Dim, length: &Dim) -> (Val, Val) {
        let shifted = self.affine_val(&[(index, Dim::one())], &Dim::zero() - before);
        let zero = self.int(0);
        let last = self.dim(&(length - &Dim::one()));
        let low = self.map(Pointwise::Max, vec![shifted, zero]);
        let kept = self.map(Pointwise::Min, vec![low, last]);
        let inside = self.map(Pointwise::Eq, vec![kept, shifted]);
        (kept, inside)
    }

    fn concat(&mut self, id: NodeId, axis: usize, index: &[Val], time: Option<Val>) -> Val {
        let graph = self.graph;
        let args = &graph.node(id).args;
        let mut start = Dim::zero();
        let mut result = None;
        for arg in args {
            let length = graph.ty(*arg).dims[axis].clone();
            let (inner, _) = self.inside(index[axis], &start, &length);
            let mut arg_index = index.to_vec();
            arg_index[axis] = inner;
            let value = self.pull(*arg, &arg_index, time);
            // Operands from here on start at `start`.
            result = Some(match result {
                None => value,
                Some(before) => {
                    let start = self.dim(&start);
                    let here = self.map(Pointwise::Ge, vec![index[axis], start]);
                    self.map(Pointwise::Select, vec![here, value, before])
                }
            });
            start = &start + &length;
        }
        match result {
            Some(value) => value,
            None => self.float(0.0),
        }
    }

    /// The number of an array at an index: a choice among them, so they are few.
    fn number_of(&mut self, elem: Elem, data: &[Number], dims: &[Dim], index: &[Val]) -> Val {
        let place = self.flat_index(dims, index, None);
        let place = self.affine_val(&place.terms, place.constant);
        let (last, others) = match data.split_last() {
            Some((last, others)) => (*last, others),
            None => (Number(0.0), data),
        };
        let last = self.literal(last, elem);
        others.iter().enumerate().fold(last, |chosen, (at, number)| {
            let (at, number) = (self.int(at as i32), self.literal(*number, elem));
            let is_here = self.map(Pointwise::Eq, vec![place, at]);
            self.map(Pointwise::Select, vec![is_here, number, chosen])
        })
    }

    /// An element of the first operand, where the second, at an index of its own, has its index along the
    /// axis that stands for the `replaced` ones.
    fn look_up(
        &mut self,
        id: NodeId,
        replaced: Range<usize>,
        own_index: &[Val],
        index: &[Val],
        time: Option<Val>,
    ) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        let position = self.pull(node.args[1], own_index, time);
        let length = graph.ty(node.args[0]).dims[replaced.start].clone();
        let zero = self.int(0);
        let from_end = self.affine_val(&[(position, Dim::one())], length.clone());
        let is_from_end = self.map(Pointwise::Lt, vec![position, zero]);
        let position = self.map(Pointwise::Select, vec![is_from_end, from_end, position]);
        let (kept, inside) = self.inside(position, &Dim::zero(), &length);
        let mut arg_index = index.to_vec();
        arg_index.splice(replaced, [kept]);
        let value = self.pull(node.args[0], &arg_index, time);
        let outside = if node.ty.elem == Elem::F32 { f64::NAN } else { 0.0 };
        let outside = self.literal(Number(outside), node.ty.elem);
        self.map(Pointwise::Select, vec![inside, value, outside])
    }

    /// `prev` or `next`: the operand one step off, the initial value at the edge.
    fn delay(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let node = self.graph.node(id);
        let step = self.step(time);
        let is_next = node.op == Op::Next;
        let (edge, offset) = if is_next { (Edge::Last, 1) } else { (Edge::First, -1) };
        let other = self.affine_val(&[(step, Dim::one())], Dim::constant(offset));
        if self.inner_steps.contains(&(step, edge)) {
            // A loop's time never is at the edge; a kernel's may be, and is corrected after the loop.
            let is_inner = matches!(self.stage.inst(step), Inst::LoopTime(_));
            let other = if is_inner { other } else { self.clamp_step(other, edge) };
            return self.pull(node.args[0], index, Some(other));
        }
        let clamped = self.clamp_step(other, edge);
        let value = self.pull(node.args[0], index, Some(clamped));
        let init = self.pull(node.args[1], index, None);
        let at_edge = self.at_edge(step, edge);
        self.map(Pointwise::Select, vec![at_edge, init, value])
    }

    fn clamp_step(&mut self, step: Val, edge: Edge) -> Val {
        match edge {
            Edge::First => {
                let zero = self.int(0);
                self.map(Pointwise::Max, vec![step, zero])
            }
            Edge::Last => {
                let last = self.last_step();
                self.map(Pointwise::Min, vec![step, last])
            }
        }
    }

    fn at_edge(&mut self, step: Val, edge: Edge) -> Val {
        let end = match edge {
            Edge::First => self.int(0),
            Edge::Last => self.last_step(),
        };
        self.map(Pointwise::Eq, vec![step, end])
    }

    // ---- reductions ----

    fn reduction(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let Class::Reduction(reduction) = self.graph.node(id).op.class() else {
            return self.pull(id, index, time);
        };
        let number = self.stage.loops.len();
        let elem = self.graph.ty(self.graph.node(id).args[0]).elem;
        self.stage.loops.push(ReduceLoop {
            reduction,
            elem,
            axes: Vec::new(),
            over_time: false,
            without_first: false,
            without_last: false,
            body: Vec::new(),
            value: Val(0),
        });
        let outside = self.inner_steps.clone();
        let mut step_edge = None;
        let value = self.summand(number, id, index, time, &mut step_edge);
        self.inner_steps = outside;
        let value = self.in_loop(number, value);
        self.stage.loops[number].value = value;
        let result = self.inst(Inst::Reduce(number));
        match step_edge {
            None => result,
            Some((step, edge)) => {
                let at_edge = self.at_edge(step, edge);
                let zero = if elem == Elem::I32 { self.int(0) } else { self.float(0.0) };
                self.map(Pointwise::Select, vec![at_edge, zero, result])
            }
        }
    }

    /// A value as one of the loop's own: a loop reduces what it computes.
    fn in_loop(&mut self, number: usize, value: Val) -> Val {
        if self.scope.get(&value) == Some(&number) {
            return value;
        }
        // The same at each iteration; a choice that depends on nothing keeps it inside.
        let val = self.push(Inst::Map(Pointwise::Max, vec![value, value]));
        self.scope.insert(val, number);
        self.stage.loops[number].body.push(val);
        val
    }

    /// What loop `number` reduces for a node: sums inside a sum become further axes of it.
    fn summand(
        &mut self,
        number: usize,
        id: NodeId,
        index: &[Val],
        time: Option<Val>,
        step_edge: &mut Option<(Val, Edge)>,
    ) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        let sum = self.stage.loops[number].reduction == Reduction::Sum;
        if let Op::TimeReduce(_) = node.op {
            let arg = node.args[0];
            let step = self.inst(Inst::LoopTime(number));
            self.stage.loops[number].over_time = true;
            if sum && self.vanishes(arg, Edge::First) {
                self.stage.loops[number].without_first = true;
                self.inner_steps.insert((step, Edge::First));
            }
            if sum && self.vanishes(arg, Edge::Last) {
                self.stage.loops[number].without_last = true;
                self.inner_steps.insert((step, Edge::Last));
            }
            return self.summand_or_value(number, arg, index, Some(step), step_edge);
        }
        if let Op::Reduce(_, axes) = &node.op {
            let arg = node.args[0];
            let dims = &graph.ty(arg).dims;
            let mut kept = index.iter();
            let mut arg_index = Vec::new();
            for (axis, dim) in dims.iter().enumerate() {
                arg_index.push(match axes.contains(&axis) {
                    true => self.loop_axis(number, dim),
                    false => kept.next().copied().unwrap_or(Val(0)),
                });
            }
            return self.summand_or_value(number, arg, &arg_index, time, step_edge);
        }
        let (a, b) = (node.args[0], node.args[1]);
        let rank = index.len();
        let length = graph.ty(a).dims[rank - 1].clone();
        let k = self.loop_axis(number, &length);
        let step = self.step(time);
        for edge in [Edge::First, Edge::Last] {
            let known = self.inner_steps.contains(&(step, edge));
            if time.is_some() && !known && self.vanishes(id, edge) {
                self.inner_steps.insert((step, edge));
                *step_edge = Some((step, edge));
            }
        }
        let mut left = index.to_vec();
        left[rank - 1] = k;
        let mut right = index.to_vec();
        right[rank - 2] = k;
        let left = self.pull(a, &left, time);
        let right = self.pull(b, &right, time);
        // Not folded: a loop reduces a product even where a factor is a literal.
        self.inst(Inst::Map(Pointwise::Mul, vec![left, right]))
    }

    fn summand_or_value(
        &mut self,
        number: usize,
        id: NodeId,
        index: &[Val],
        time: Option<Val>,
        step_edge: &mut Option<(Val, Edge)>,
    ) -> Val {
        let merges = self.stage.loops[number].reduction == Reduction::Sum
            && crate::middle::schedule::is_sum(&self.graph.node(id).op)
            && !self.lowering.buffer_of.contains_key(&id);
        match merges {
            true => self.summand(number, id, index, time, step_edge),
            false => self.pull(id, index, time),
        }
    }

    fn loop_axis(&mut self, number: usize, length: &Dim) -> Val {
        let axes = &mut self.stage.loops[number].axes;
        axes.push(length.clone());
        let axis = axes.len() - 1;
        self.inst(Inst::LoopAxis(number, axis))
    }

    /// The value is zero at the first (last) step: a factor is a delay from zero.
    fn vanishes(&self, id: NodeId, edge: Edge) -> bool {
        if self.lowering.buffer_of.contains_key(&id) {
            return false;
        }
        let node = self.graph.node(id);
        match (&node.op, edge) {
            (Op::Prev, Edge::First) | (Op::Next, Edge::Last) => {
                self.graph.as_number(node.args[1]) == Some(0.0)
            }
            (Op::MatMul | Op::Map(Pointwise::Mul), _) => {
                node.args.iter().any(|arg| self.vanishes(*arg, edge))
            }
            (
                Op::Reduce(Reduction::Sum, _)
                | Op::Map(Pointwise::Neg)
                | Op::Permute(_)
                | Op::Reshape(_)
                | Op::Broadcast(_)
                | Op::Slice { .. },
                _,
            ) => self.vanishes(node.args[0], edge),
            _ => false,
        }
    }
}
