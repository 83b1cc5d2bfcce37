//! Kernels: what the emitters turn into WGSL and native code.
//!
//! A [`Program`] is a list of buffers and, for each pass, a list of [`Kernel`]s. A kernel is one or
//! more [`Stage`]s. A stage is a loop nest over index axes whose body is a scalar DAG: loads, pointwise
//! operations, reduction loops, stores. The four shapes of kernels differ only in this:
//!
//! | shape | time | stages |
//! |---|---|---|
//! | map | an axis like any other | one, without reductions |
//! | reduce | an axis, or reduced over | one, with reductions |
//! | contract | an axis, or reduced over | one, whose reduction is a sum of products of two loads |
//! | recur | a loop inside the kernel, each step running all stages in order | one or more |
//!
//! Within a stage the points of the index space are independent. Stages of a recurrence meet at a
//! barrier; points that differ in one of the first [`Kernel::local_axes`] axes never exchange data, so
//! rows run without waiting for each other.

mod count;
pub mod evaluate;
mod print;
mod storage;
mod syntax;
mod verify;

pub use count::Count;
pub use storage::Storage;
pub use syntax::parse_program;
pub use verify::{Violation, verify_sizes};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ir::graph::pointwise::Signature;
use crate::ir::graph::{
    Bindings, Clock, Dim, DimError, Elem, Indexed, Input, Param, ParamKind, Pointwise, Reduction,
    Role, Type,
};
use crate::source::Span;

/// The number of a buffer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct BufferId(pub u32);

/// A tensor in memory, row-major. A stream has time as its leading dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// Named as in the source where a binding stands for it; unique in the program, an identifier
    /// in WGSL and C.
    pub name: String,
    /// The type of its elements.
    pub elem: Elem,
    /// Dimensions at one step.
    pub dims: Vec<Dim>,
    /// Whether it has the steps of time in front.
    pub stream: bool,
    /// Who fills it.
    pub source: BufferSource,
    /// Every element is 0 or 1: proved, so a product with it may add rows instead.
    pub binary: bool,
    /// How its elements are kept.
    pub storage: Storage,
}

impl Buffer {
    /// Whether its elements are kept as bits.
    pub fn is_packed(&self) -> bool {
        self.storage == Storage::Bit
    }

    /// The type of what it holds.
    pub fn ty(&self) -> Type {
        let clock = if self.stream { Clock::Stream } else { Clock::Static };
        Type::new(self.elem, self.dims.clone(), clock)
    }

    /// The bytes of so many elements, of whole rows.
    pub fn bytes(&self, elements: i64) -> i64 {
        self.storage.bytes(elements)
    }
}

/// Where a buffer's content comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BufferSource {
    /// The caller; an index into [`Program::inputs`].
    Input(usize),
    /// The optimiser; an index into [`Program::params`].
    Param(usize),
    /// A kernel.
    Kernel,
}

/// The compiled form of a graph. Open dimensions (the batch) and the number of time steps are given
/// when it runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// The name of the program's graph.
    pub name: String,
    /// The length of streams.
    pub time: Option<Dim>,
    /// What the caller gives, in the order of [`BufferSource::Input`]'s numbers.
    pub inputs: Vec<Input>,
    /// What is trained, and the optimiser's memory, in the order of [`BufferSource::Param`]'s numbers.
    pub params: Vec<Param>,
    /// All tensors in memory, in the order of [`BufferId`]'s numbers.
    pub buffers: Vec<Buffer>,
    /// Outputs and gradients by name, and where they are found after the passes.
    pub results: Vec<(Role, String, BufferId)>,
    /// The kernels of the forward pass, in the order in which they run.
    pub forward: Vec<Kernel>,
    /// After `forward`.
    pub backward: Vec<Kernel>,
    /// After `backward`: writes new values into the buffers of parameters, in place.
    pub update: Vec<Kernel>,
    /// Sums and products may be rounded in another order than the program has them.
    pub fast_math: bool,
    /// Of the graph as it was checked ([`crate::ir::fingerprint`]); 0 where that is not known.
    pub fingerprint: u64,
    /// The inputs that index an axis.
    pub indexed: Vec<Indexed>,
}

/// The passes of a program, in the order in which a training step runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    /// Outputs from inputs and parameters.
    Forward,
    /// Gradients, from what the forward pass left.
    Backward,
    /// New parameters from gradients.
    Update,
}

impl Pass {
    /// All of them, in their order.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::Backward, Pass::Update];

    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
            Pass::Update => "update",
        }
    }
}

/// One dispatch, or one call of native code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// Unique in the program, an identifier in WGSL and C.
    pub name: String,
    /// `Some` if time is a loop inside the kernel.
    pub recurrence: Option<Direction>,
    /// How many leading axes of all stages are independent of each other: a point never reads what
    /// the kernel wrote at other indices of these axes. All stages agree on these axes.
    pub local_axes: usize,
    /// At least one; exactly one if there is no recurrence.
    pub stages: Vec<Stage>,
    /// What the kernel was written as, for the comment in the shader.
    #[serde(skip)]
    pub span: Option<Span>,
}

/// The order in which a recurrence visits the steps of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The first step first.
    Forward,
    /// The last step first.
    Backward,
}

impl Direction {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// A loop nest with a scalar body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The extents of the index axes, outermost first.
    pub axes: Vec<Dim>,
    /// Whether the body runs for each time step. In a recurrence always; elsewhere time is then a
    /// further axis, outside of `axes`.
    pub timed: bool,
    /// All values; a value's operands come before it.
    pub insts: Vec<Inst>,
    /// For each value, what it was written as.
    #[serde(skip)]
    pub spans: Vec<Option<Span>>,
    /// The reductions of the body.
    pub loops: Vec<ReduceLoop>,
    /// The values of the body outside of reduction loops, in order; an [`Inst::Reduce`] among them
    /// is where its loop runs.
    pub body: Vec<Val>,
    /// What is written at each point.
    pub stores: Vec<Store>,
    /// What is added at each point to an element that others add to, too: one after the other, in a
    /// tile of [`split`](crate::target::cpu::plan::batch_tiles::split).
    #[serde(skip)]
    pub sums: Vec<Store>,
}

/// An index into [`Stage::insts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Val(pub u32);

/// A reduction: a loop nest inside the body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReduceLoop {
    /// How terms are put together.
    pub reduction: Reduction,
    /// The type of what is reduced: f32 or i32.
    pub elem: Elem,
    /// Extents, outermost first. May be empty only if `over_time`.
    pub axes: Vec<Dim>,
    /// The loop runs over the time steps too, outside of `axes`.
    pub over_time: bool,
    /// With `over_time`: the loop leaves out the first step, whose terms are zero.
    pub without_first: bool,
    /// With `over_time`: the loop leaves out the last step, whose terms are zero.
    pub without_last: bool,
    /// The values computed in the loop, in order. They may use values of the body before the loop;
    /// loops do not nest.
    pub body: Vec<Val>,
    /// What is reduced.
    pub value: Val,
}

/// A scalar value: an f32, an i32 or a boolean.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Inst {
    /// An f32, by its bits.
    F32(u32),
    /// A literal.
    I32(i32),
    /// A literal.
    Bool(bool),
    /// The i32 value of a dimension.
    Dim(Dim),
    /// The i32 index on an axis of the stage.
    Axis(usize),
    /// The i32 number of the current time step.
    Time,
    /// The i32 index on an axis of a reduction loop (loop, axis).
    LoopAxis(usize, usize),
    /// The i32 time step of a reduction loop over time.
    LoopTime(usize),
    /// i32 division, the operands not negative.
    Quotient(Val, Dim),
    /// i32 remainder, the operands not negative.
    Remainder(Val, Dim),
    /// An affine i32 expression.
    Affine(Affine),
    /// The element of a buffer at a flat index, which lies inside the buffer.
    Load(BufferId, Affine),
    /// A pointwise operation on f32, i32 or boolean values.
    Map(Pointwise, Vec<Val>),
    /// The result of a reduction loop: of the type of what is reduced, or an i32 for argmax.
    Reduce(usize),
}

/// `constant + sum of value · coefficient`, i32. Values are distinct and sorted, coefficients not zero.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Affine {
    /// Values with their coefficients.
    pub terms: Vec<(Val, Dim)>,
    /// What is added to them.
    pub constant: Dim,
}

/// Writes a value to a buffer at the flat index `at`. Each element is written by one point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Store {
    /// Where to.
    pub buffer: BufferId,
    /// The flat index.
    pub at: Affine,
    /// What is written, of the buffer's element type.
    pub value: Val,
}

/// A reduction that is a matrix product: a sum of products of two loads of f32.
#[derive(Clone, Debug)]
pub struct Contraction<'s> {
    /// One factor: a buffer and the flat index in it.
    pub left: (BufferId, &'s Affine),
    /// The other factor.
    pub right: (BufferId, &'s Affine),
}

impl Program {
    /// The first tensor that stays from run to run without being trained, if there is one.
    pub fn state(&self) -> Option<&Param> {
        self.params.iter().find(|param| param.kind == ParamKind::State)
    }

    /// The buffer of this number, which must be of this program.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The numbers of all buffers.
    pub fn buffer_ids(&self) -> impl Iterator<Item = BufferId> + use<> {
        (0..self.buffers.len() as u32).map(BufferId)
    }

    /// The number of elements of a buffer from step to step.
    pub fn step_size(&self, id: BufferId) -> Dim {
        Dim::product(&self.buffer(id).dims)
    }

    /// The number of elements of a buffer, all steps together.
    pub fn elements(&self, id: BufferId) -> Dim {
        let step = self.step_size(id);
        match &self.time {
            Some(time) if self.buffer(id).stream => time * &step,
            _ => step,
        }
    }

    /// The streams that the forward pass leaves for the backward pass, and how many elements of each
    /// belong to a step.
    pub fn saved(&self) -> impl Iterator<Item = (BufferId, Dim)> {
        let written = |id: BufferId| self.forward.iter().any(|kernel| kernel.stores(id));
        let read = |id: BufferId| self.backward.iter().any(|kernel| kernel.loads(id));
        let saved = self
            .buffer_ids()
            .filter(move |id| self.buffer(*id).stream && written(*id) && read(*id));
        saved.map(|id| (id, Dim::product(&self.buffer(id).dims)))
    }

    /// The bytes of these streams that belong to a step.
    pub fn saved_bytes(&self, bindings: &Bindings) -> Result<i64, DimError> {
        let bytes = |(id, elements): (_, Dim)| Ok(self.buffer(id).bytes(elements.eval(bindings)?));
        self.saved().map(bytes).sum()
    }

    /// Where an output or gradient is found.
    pub fn result(&self, role: Role, name: &str) -> Option<BufferId> {
        self.results.iter().find(|(r, n, _)| *r == role && n == name).map(|(_, _, buffer)| *buffer)
    }

    /// The kernels of a pass, in the order in which they run.
    pub fn pass(&self, pass: Pass) -> &[Kernel] {
        match pass {
            Pass::Forward => &self.forward,
            Pass::Backward => &self.backward,
            Pass::Update => &self.update,
        }
    }

    /// The kernels of all passes, in their order.
    pub fn kernels(&self) -> impl Iterator<Item = &Kernel> {
        self.forward.iter().chain(&self.backward).chain(&self.update)
    }
}

impl ReduceLoop {
    /// The extents, time first.
    pub fn extents(&self, program: &Program) -> Vec<Dim> {
        let left_out = i64::from(self.without_first) + i64::from(self.without_last);
        let time = program.time.clone().unwrap_or_else(Dim::one);
        let steps = self.over_time.then(|| &time - &Dim::constant(left_out));
        steps.into_iter().chain(self.axes.iter().cloned()).collect()
    }

    /// The number of iterations.
    pub fn length(&self, program: &Program) -> Dim {
        Dim::product(&self.extents(program))
    }
}

impl Kernel {
    /// Whether points of axis 0 exchange data in each step, as in a batch norm: one task runs them all.
    pub fn exchanges_rows(&self) -> bool {
        self.recurrence.is_some() && self.local_axes == 0
    }

    /// Whether it writes to a buffer.
    pub fn stores(&self, buffer: BufferId) -> bool {
        self.stages.iter().flat_map(|stage| &stage.stores).any(|store| store.buffer == buffer)
    }

    /// Whether it reads from a buffer.
    pub fn loads(&self, buffer: BufferId) -> bool {
        let mut insts = self.stages.iter().flat_map(|stage| &stage.insts);
        insts.any(|inst| matches!(inst, Inst::Load(from, _) if *from == buffer))
    }
}

impl Inst {
    /// The values that it uses itself; those of a reduction are its loop's.
    pub fn operands(&self) -> Vec<Val> {
        match self {
            Inst::Quotient(arg, _) | Inst::Remainder(arg, _) => vec![*arg],
            Inst::Affine(at) | Inst::Load(_, at) => at.terms.iter().map(|(val, _)| *val).collect(),
            Inst::Map(_, args) => args.clone(),
            _ => Vec::new(),
        }
    }
}

impl Stage {
    /// What computes a value of this stage.
    pub fn inst(&self, val: Val) -> &Inst {
        &self.insts[val.0 as usize]
    }

    /// The element type of a value.
    pub fn elem(&self, val: Val, program: &Program) -> Elem {
        match self.inst(val) {
            Inst::F32(_) => Elem::F32,
            Inst::Bool(_) => Elem::Bool,
            Inst::Load(buffer, _) => program.buffer(*buffer).elem,
            Inst::Map(op, args) => match op.row().signature {
                Signature::Float | Signature::ToFloat | Signature::Bits => Elem::F32,
                Signature::Integer | Signature::ToInteger => Elem::I32,
                Signature::Compare | Signature::Logic => Elem::Bool,
                Signature::Numeric => self.elem(args[0], program),
                Signature::Choice => self.elem(args[1], program),
            },
            Inst::Reduce(index) => match self.loops[*index].reduction {
                Reduction::ArgMax => Elem::I32,
                _ => self.loops[*index].elem,
            },
            _ => Elem::I32,
        }
    }

    /// A reduction loop as a matrix product, if it is one.
    pub fn contraction(&self, index: usize) -> Option<Contraction<'_>> {
        let reduce = &self.loops[index];
        let Inst::Map(Pointwise::Mul, args) = self.inst(reduce.value) else { return None };
        match (reduce.reduction, reduce.elem, self.inst(args[0]), self.inst(args[1])) {
            (Reduction::Sum, Elem::F32, Inst::Load(a, at), Inst::Load(b, bt)) => {
                Some(Contraction { left: (*a, at), right: (*b, bt) })
            }
            _ => None,
        }
    }
}
