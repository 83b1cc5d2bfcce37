//! The meaning of a graph: its values in f64, and their derivatives by dual numbers.
//!
//! The graph is run as it is written, with every `sg` and `bypass` in it, and no code is shared with
//! any lowering: this is what everything else is compared with, so it is plain rather than fast.
//! Strongly connected components are evaluated one after the other, operands first: each over all
//! steps of time, against the order of time if it runs through `next`. It relies on the laws, so the graph is
//! a verified one.

mod kernel;
#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    Bindings, Dim, DimError, Elem, Graph, Node, NodeId, Op, Role, Root, Type, Violation, components,
};
use crate::ir::Verified;
pub(crate) use kernel::{Kernel, Site, Source, around, row_major, strided};

/// Numbers with dimensions, the last one fastest; a stream has time in front. Integers and booleans
/// (0 and 1) are numbers too.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// For a stream, the number of steps first.
    pub dims: Vec<usize>,
    /// As many as the product of the dimensions.
    pub data: Vec<f64>,
}

impl Tensor {
    /// `data` has as many elements as `dims` say.
    pub fn new(dims: impl Into<Vec<usize>>, data: impl Into<Vec<f64>>) -> Tensor {
        Tensor { dims: dims.into(), data: data.into() }
    }

    /// A tensor of one element and no dimensions.
    pub fn scalar(value: f64) -> Tensor {
        Tensor::new([], [value])
    }

    /// A tensor of one value everywhere.
    pub fn full(dims: impl Into<Vec<usize>>, value: f64) -> Tensor {
        let dims = dims.into();
        let data = vec![value; dims.iter().product()];
        Tensor { dims, data }
    }
}

/// Inputs by name and parameters by path.
pub type Values = BTreeMap<String, Tensor>;

/// A tensor for each root of a graph, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Results(pub Vec<(Root, Tensor)>);

impl Results {
    /// The result of this role and name.
    pub fn get(&self, role: Role, name: &str) -> Option<&Tensor> {
        let mut found = self.0.iter().filter(|(root, _)| root.role == role && root.name == name);
        found.next().map(|(_, tensor)| tensor)
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> Option<&Tensor> {
        self.get(Role::Output, name)
    }

    /// The gradient for the parameter or input of this path.
    pub fn gradient(&self, path: &str) -> Option<&Tensor> {
        self.get(Role::Gradient, path)
    }
}

/// Why a graph has no value; the text says what is at fault.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct InterpretError(#[from] pub(crate) Fault);

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the graph is not valid: {0}")]
    Invalid(#[from] Violation),
    #[error(transparent)]
    Dim(#[from] DimError),
    #[error("the dimension {dim} is {value}")]
    NegativeDim { dim: Dim, value: i64 },
    #[error("a stream has no steps")]
    NoSteps,
    #[error("a value of type {ty} takes {bytes} bytes, which is more than the interpreter can run")]
    TooLarge { ty: Type, bytes: u128 },
    #[error("no value is given for `{0}`")]
    Missing(String),
    #[error("`{name}` has dimensions {found:?}, expected {expected:?}")]
    Shape { name: String, expected: Vec<usize>, found: Vec<usize> },
    #[error("`{name}` of dimensions {dims:?} has {found} elements")]
    Length { name: String, dims: Vec<usize>, found: usize },
    #[error("there is no input or parameter `{0}`")]
    Unknown(String),
    #[error("{start}..{end} lies outside of an axis of {length}")]
    Slice { start: usize, end: usize, length: usize },
    #[error("the base values belong to another graph or to other dimensions")]
    OtherBase,
}

/// The bytes that interpreting takes at its most, all values given and found included.
pub fn footprint(graph: &Verified<Graph>, bindings: &Bindings) -> Result<u128, InterpretError> {
    let none = Values::new();
    Ok(Run::new(graph, bindings, &none, Mode::Values)?.footprint()?)
}

/// The value of every root.
pub fn interpret(
    graph: &Verified<Graph>,
    bindings: &Bindings,
    values: &Values,
) -> Result<Results, InterpretError> {
    let run = Run::new(graph, bindings, values, Mode::Values)?.finish()?;
    Ok(run.values())
}

/// As [`interpret`], with every element that is an f32 rounded to one: what a device may compute at best.
pub fn interpret_rounded(
    graph: &Verified<Graph>,
    bindings: &Bindings,
    values: &Values,
) -> Result<Results, InterpretError> {
    let run = Run::new(graph, bindings, values, Mode::Rounded)?.finish()?;
    Ok(run.values())
}

/// The value of every root, and its derivative along `tangents`, which are zero where none is given.
pub fn interpret_dual(
    graph: &Verified<Graph>,
    bindings: &Bindings,
    values: &Values,
    tangents: &Values,
) -> Result<(Results, Results), InterpretError> {
    let run = Run::new(graph, bindings, values, Mode::Dual(tangents))?.finish()?;
    Ok((run.values(), run.tangents()))
}

/// What `sg`, `bypass` and every decision had for values at one point.
#[derive(Clone, Debug)]
pub(crate) struct Frozen {
    base: HashMap<NodeId, Vec<f64>>,
    decisions: Vec<u64>,
}

/// As [`interpret`], keeping what [`interpret_frozen`] needs to move away from this point.
pub(crate) fn interpret_freezing(
    graph: &Verified<Graph>,
    bindings: &Bindings,
    values: &Values,
) -> Result<(Results, Frozen), InterpretError> {
    let run = Run::new(graph, bindings, values, Mode::Freezing)?.finish()?;
    Ok((run.values(), Frozen { base: run.base, decisions: run.decisions }))
}

/// The value of every root with every `sg` held at its base value and `bypass(f, g)` taken as
/// `f₀ + (g - g₀)`: the function whose derivative at the base is the derivative of the program.
/// Also the nodes that take part in it and decided otherwise than at the base, so that a jump or a
/// kink lies between.
pub(crate) fn interpret_frozen(
    graph: &Verified<Graph>,
    bindings: &Bindings,
    values: &Values,
    frozen: &Frozen,
) -> Result<(Results, Vec<NodeId>), InterpretError> {
    let run = Run::new(graph, bindings, values, Mode::Frozen(frozen))?.finish()?;
    let decisions = run.decisions.iter().zip(&frozen.decisions);
    let differs = graph
        .ids()
        .zip(decisions)
        .filter(|(id, (now, base))| run.is_needed[at(*id)] && now != base);
    Ok((run.values(), differs.map(|(id, _)| id).collect()))
}

#[derive(Clone, Copy)]
enum Mode<'a> {
    Values,
    Rounded,
    Dual(&'a Values),
    Freezing,
    Frozen(&'a Frozen),
}

/// The nodes of which a node takes the values where functions without a derivative of their own are frozen.
fn based_on(id: NodeId, node: &Node) -> Option<[NodeId; 2]> {
    match node.op == Op::Sg {
        true => Some([id, id]),
        false => (node.op == Op::Bypass).then(|| [id, node.args[1]]),
    }
}

/// Value and tangent of a node, over all steps for a stream. No tangent is a tangent of zero.
#[derive(Clone, Default)]
struct Slot {
    value: Vec<f64>,
    tangent: Option<Vec<f64>>,
}

impl Slot {
    fn zeros(len: usize, has_tangent: bool) -> Slot {
        Slot { value: vec![0.0; len], tangent: has_tangent.then(|| vec![0.0; len]) }
    }

    fn view(&self) -> View<'_> {
        View { value: &self.value, tangent: self.tangent.as_deref() }
    }

    /// Leaves room for the next step's numbers.
    fn clear(&mut self, has_tangent: bool) {
        self.value.clear();
        self.tangent = has_tangent.then(|| std::mem::take(&mut self.tangent).unwrap_or_default());
        if let Some(tangent) = &mut self.tangent {
            tangent.clear();
        }
    }

    fn store(&mut self, step: usize, from: &Slot) {
        let range = step * from.value.len()..(step + 1) * from.value.len();
        self.value[range.clone()].copy_from_slice(&from.value);
        if let (Some(to), Some(from)) = (&mut self.tangent, &from.tangent) {
            to[range].copy_from_slice(from);
        }
    }
}

/// An operand as an operation sees it: at one step, or whole.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    value: &'a [f64],
    tangent: Option<&'a [f64]>,
}

impl<'a> View<'a> {
    fn step(self, step: usize, len: usize) -> View<'a> {
        let range = step * len..(step + 1) * len;
        let tangent = self.tangent.map(|tangent| &tangent[range.clone()]);
        View { value: &self.value[range], tangent }
    }
}

struct Run<'a> {
    graph: &'a Graph,
    bindings: &'a Bindings,
    values: &'a Values,
    mode: Mode<'a>,
    steps: usize,
    is_needed: Vec<bool>,
    /// Dimensions at one step, once a node's turn has come.
    dims: Vec<Vec<usize>>,
    slots: Vec<Slot>,
    /// How many operands and roots still ask for a node; its numbers are dropped when none does.
    uses: Vec<usize>,
    base: HashMap<NodeId, Vec<f64>>,
    /// A digest of what a node decided at all steps.
    decisions: Vec<u64>,
}

impl<'a> Run<'a> {
    fn new(
        graph: &'a Graph,
        bindings: &'a Bindings,
        values: &'a Values,
        mode: Mode<'a>,
    ) -> Result<Run<'a>, Fault> {
        let mut run = Run {
            graph,
            bindings,
            values,
            mode,
            steps: 0,
            is_needed: vec![false; graph.len()],
            dims: vec![Vec::new(); graph.len()],
            slots: vec![Slot::default(); graph.len()],
            uses: vec![0; graph.len()],
            base: HashMap::new(),
            decisions: vec![0; graph.len()],
        };
        if let Some(time) = &graph.time {
            run.steps = run.size(time)?;
            if run.steps == 0 {
                return Err(Fault::NoSteps);
            }
        }
        if let Mode::Dual(tangents) = mode {
            run.check_names(tangents)?;
        }
        Ok(run)
    }

    /// Evaluates what the roots need.
    fn finish(mut self) -> Result<Run<'a>, Fault> {
        for component in &self.order() {
            self.evaluate(component)?;
            self.keep_base(component);
            self.release(component);
        }
        Ok(self)
    }

    /// As [`Run::finish`], but what it takes is only counted.
    fn footprint(mut self) -> Result<u128, Fault> {
        let (mut held, mut most) = (0, 0);
        for component in &self.order() {
            // A kernel may look every element of a step up in a table.
            let mut tables = 0;
            for &id in component {
                self.dims[at(id)] = self.dims(self.graph.ty(id))?;
                held += self.bytes(id);
                tables += (self.len(id) * size_of::<kernel::Source>()) as u128;
            }
            most = most.max(held + tables);
            for &id in component {
                for operand in self.operands(id) {
                    self.uses[at(*operand)] -= 1;
                    if self.uses[at(*operand)] == 0 {
                        held -= self.bytes(*operand);
                    }
                }
            }
        }
        Ok(most)
    }

    /// What the roots need, operands first, with the uses of each counted.
    fn order(&mut self) -> Vec<Vec<NodeId>> {
        let roots = self.graph.roots.iter().map(|root| root.node);
        let order = components(self.graph.len(), roots.clone(), |id| self.operands(id));
        for id in roots {
            self.uses[at(id)] += 1;
        }
        for &id in order.iter().flatten() {
            self.is_needed[at(id)] = true;
            for operand in self.operands(id) {
                self.uses[at(*operand)] += 1;
            }
        }
        order
    }

    fn values(&self) -> Results {
        self.results(|slot| slot.value.clone())
    }

    fn tangents(&self) -> Results {
        self.results(|slot| slot.tangent.clone().unwrap_or_else(|| vec![0.0; slot.value.len()]))
    }

    fn results(&self, data: impl Fn(&Slot) -> Vec<f64>) -> Results {
        let roots = self.graph.roots.iter().map(|root| {
            let tensor = Tensor::new(self.full_dims(root.node), data(&self.slots[at(root.node)]));
            (root.clone(), tensor)
        });
        Results(roots.collect())
    }

    /// Tangents for what does not exist would pass for zeros.
    fn check_names(&self, tangents: &Values) -> Result<(), Fault> {
        let inputs = self.graph.inputs.iter().map(|input| &input.name);
        let names: HashSet<_> =
            inputs.chain(self.graph.params.iter().map(|param| &param.path)).collect();
        match tangents.keys().find(|name| !names.contains(name)) {
            Some(name) => Err(Fault::Unknown(name.clone())),
            None => Ok(()),
        }
    }

    /// Evaluates nodes that depend on each other, or a single node.
    fn evaluate(&mut self, component: &[NodeId]) -> Result<(), Fault> {
        for &id in component {
            self.dims[at(id)] = self.dims(self.graph.ty(id))?;
        }
        let kernels = component.iter().map(|id| self.kernel(*id)).collect::<Result<Vec<_>, _>>()?;
        let first = component[0];
        let is_cyclic = component.len() > 1 || self.operands(first).contains(&first);
        for &id in component {
            let len = self.full_dims(id).iter().product();
            self.slots[at(id)] = Slot::zeros(len, self.has_tangent(id, is_cyclic));
            self.check_base(id)?;
        }
        let steps = if self.is_stream(first) { self.steps } else { 1 };
        let is_backward = component.iter().any(|id| self.graph.node(*id).op == Op::Next);
        let sees_decisions = matches!(self.mode, Mode::Freezing | Mode::Frozen(_));
        let (mut scratch, mut digests) = (Slot::default(), vec![0; component.len()]);
        for count in 0..steps {
            let step = if is_backward { steps - 1 - count } else { count };
            for ((&id, kernel), digest) in component.iter().zip(&kernels).zip(&mut digests) {
                scratch.clear(self.slots[at(id)].tangent.is_some());
                let operands = self.views(id, step);
                kernel.run(&operands, step, &mut scratch);
                if matches!(self.mode, Mode::Rounded) && self.graph.ty(id).elem == Elem::F32 {
                    scratch.value.iter_mut().for_each(|value| *value = f64::from(*value as f32));
                }
                if sees_decisions {
                    kernel.digest(&operands, &scratch.value, digest);
                }
                self.slots[at(id)].store(step, &scratch);
            }
        }
        for (id, digest) in component.iter().zip(digests) {
            self.decisions[at(*id)] = digest;
        }
        Ok(())
    }

    fn kernel(&self, id: NodeId) -> Result<Kernel<'a>, Fault> {
        self.graph.node(id).op.describe(|op| op.kernel(&Site { run: self, id }))
    }

    fn keep_base(&mut self, component: &[NodeId]) {
        if !matches!(self.mode, Mode::Freezing) {
            return;
        }
        for &id in component {
            let node = self.graph.node(id);
            let Some(kept) = based_on(id, node) else { continue };
            for id in kept {
                self.base.insert(id, self.slots[at(id)].value.clone());
            }
        }
    }

    /// Drops the numbers that nothing asks for any more.
    fn release(&mut self, component: &[NodeId]) {
        for &id in component {
            for operand in self.operands(id) {
                self.uses[at(*operand)] -= 1;
                if self.uses[at(*operand)] == 0 {
                    self.slots[at(*operand)] = Slot::default();
                }
            }
        }
    }

    fn given(&self, name: &str, id: NodeId) -> Result<Kernel<'a>, Fault> {
        let value = self.values.get(name).ok_or_else(|| Fault::Missing(name.into()))?;
        let expected = self.full_dims(id);
        let tangent = match self.mode {
            Mode::Dual(tangents) => tangents.get(name),
            Mode::Values | Mode::Rounded | Mode::Freezing | Mode::Frozen(_) => None,
        };
        for tensor in [Some(value), tangent].into_iter().flatten() {
            let (dims, found) = (tensor.dims.clone(), tensor.data.len());
            if dims != expected {
                return Err(Fault::Shape { name: name.into(), expected, found: dims });
            }
            if found != expected.iter().product::<usize>() {
                return Err(Fault::Length { name: name.into(), dims, found });
            }
        }
        let tangent = tangent.map(|tangent| tangent.data.as_slice());
        Ok(Kernel::Given { whole: View { value: &value.data, tangent }, len: self.len(id) })
    }

    /// The base values that a node takes are there.
    fn check_base(&self, id: NodeId) -> Result<(), Fault> {
        let Mode::Frozen(frozen) = self.mode else { return Ok(()) };
        let node = self.graph.node(id);
        let Some(taken) = based_on(id, node) else { return Ok(()) };
        let fits = |id: NodeId| {
            let len = self.full_dims(id).iter().product::<usize>();
            frozen.base.get(&id).is_some_and(|value| value.len() == len)
        };
        if taken.into_iter().all(fits) { Ok(()) } else { Err(Fault::OtherBase) }
    }

    /// Within a cycle every float has one, so that it is there at the next step.
    fn has_tangent(&self, id: NodeId, is_cyclic: bool) -> bool {
        let Mode::Dual(tangents) = self.mode else { return false };
        let node = self.graph.node(id);
        if node.ty.elem != Elem::F32 {
            return false;
        }
        if let Some(declared) = self.graph.declared(&node.op) {
            return tangents.contains_key(declared.name());
        }
        // The derivative of a bypass is that of the second operand alone.
        let args = if node.op == Op::Bypass { &node.args[1..] } else { &node.args };
        let has_tangent = |arg: &NodeId| self.slots[at(*arg)].tangent.is_some();
        node.op != Op::Sg && (is_cyclic || args.iter().any(has_tangent))
    }

    /// The operands of a node at a step.
    fn views(&self, id: NodeId, step: usize) -> Vec<View<'_>> {
        let args = &self.graph.node(id).args;
        match (&self.graph.node(id).op, self.mode) {
            (Op::Prev, _) => vec![match step.checked_sub(1) {
                Some(before) => self.slots[at(args[0])].view().step(before, self.len(id)),
                None => self.slots[at(args[1])].view(),
            }],
            (Op::Next, _) => vec![match step + 1 {
                after if after < self.steps => {
                    self.slots[at(args[0])].view().step(after, self.len(id))
                }
                _ => self.slots[at(args[1])].view(),
            }],
            (Op::Sg, Mode::Frozen(frozen)) => vec![self.base(frozen, id, id, step)],
            (Op::Bypass, Mode::Frozen(frozen)) => vec![
                self.base(frozen, id, id, step),
                self.operand(self.slots[at(args[1])].view(), args[1], id, step),
                self.base(frozen, args[1], id, step),
            ],
            _ => {
                let view = |arg: &NodeId| self.operand(self.slots[at(*arg)].view(), *arg, id, step);
                args.iter().map(view).collect()
            }
        }
    }

    fn base<'v>(&self, frozen: &'v Frozen, id: NodeId, user: NodeId, step: usize) -> View<'v> {
        self.operand(View { value: &frozen.base[&id], tangent: None }, id, user, step)
    }

    /// A stream's step for a stream, all of it for a static node; a static operand is the same at
    /// every step.
    fn operand<'v>(&self, whole: View<'v>, id: NodeId, user: NodeId, step: usize) -> View<'v> {
        let at_step = self.is_stream(id) && self.is_stream(user);
        if at_step { whole.step(step, self.len(id)) } else { whole }
    }

    /// What a node is computed from: with frozen values, nothing that only they depend on.
    fn operands(&self, id: NodeId) -> &'a [NodeId] {
        let node = self.graph.node(id);
        match (self.mode, &node.op) {
            (Mode::Frozen(_), Op::Sg) => &[],
            (Mode::Frozen(_), Op::Bypass) => &node.args[1..],
            _ => &node.args,
        }
    }

    fn size(&self, dim: &Dim) -> Result<usize, Fault> {
        let value = dim.eval(self.bindings)?;
        usize::try_from(value).map_err(|_| Fault::NegativeDim { dim: dim.clone(), value })
    }

    fn dims(&self, ty: &Type) -> Result<Vec<usize>, Fault> {
        let dims = ty.dims.iter().map(|dim| self.size(dim)).collect::<Result<Vec<_>, _>>()?;
        let steps = if ty.is_stream() { self.steps } else { 1 };
        let bytes =
            dims.iter().fold(8 * steps as u128, |bytes, dim| bytes.saturating_mul(*dim as u128));
        match bytes <= MAX_BYTES {
            true => Ok(dims),
            false => Err(Fault::TooLarge { ty: ty.clone(), bytes }),
        }
    }

    fn is_stream(&self, id: NodeId) -> bool {
        self.graph.ty(id).is_stream()
    }

    /// The number of elements at one step.
    fn len(&self, id: NodeId) -> usize {
        self.dims[at(id)].iter().product()
    }

    /// The bytes of a node's value, all steps together.
    fn bytes(&self, id: NodeId) -> u128 {
        8 * self.full_dims(id).iter().map(|size| *size as u128).product::<u128>()
    }

    /// Dimensions with time in front.
    fn full_dims(&self, id: NodeId) -> Vec<usize> {
        let time = self.is_stream(id).then_some(self.steps);
        time.into_iter().chain(self.dims[at(id)].iter().copied()).collect()
    }
}

/// More than memory holds: a mistake in the dimensions.
const MAX_BYTES: u128 = 8 << 28;

fn at(id: NodeId) -> usize {
    id.0 as usize
}
