//! The laws of a program in the kernel form. Emitters and devices rely on them: a program that breaks
//! one could read or write outside of its buffers.
//!
//! A [`Verified`] program keeps those that hold whatever the sizes:
//!
//! 1. Every number of a buffer, input, parameter, value, loop or axis names one that exists. An input's
//!    or parameter's buffer has its type.
//! 2. There are streams, recurrences and loops over time only where the program has a length of time; a
//!    kernel has one stage, and those of a recurrence run at each step and agree on the local axes.
//! 3. Every value is computed at one place, the body or one loop, and its operands before it: they
//!    have lower numbers too. What a loop computes is used by that loop alone, and each loop runs once.
//! 4. Operands, what is reduced and what is stored have the types that their use asks for.
//! 5. Elements are kept as their type has it: bits are not made yet, nor are sums of tiles.
//!
//! [`verify_sizes`] checks those that depend on open dimensions, once these are known:
//!
//! 6. No dimension of a buffer is negative, and its elements can be counted.
//! 7. Whatever the point of the index space, the step, the round of a loop and the content of buffers,
//!    an index lies inside of its buffer, a divisor is positive and what it divides is not negative.
//!
//! The seventh is proved by intervals: lowering keeps indices that depend on data, or that a condition
//! guards, within their axis by `min` and `max`.

use std::fmt;

use super::{
    Affine, BufferId, BufferSource, Inst, Kernel, Program, ReduceLoop, Stage, Storage, Val,
};
use crate::ir::graph::pointwise::Signature;
use crate::ir::graph::{Bindings, Dim, DimError, Elem, Pointwise, Reduction};
use crate::ir::{Laws, Verified};

/// A broken law: where, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The kernel and the number of its stage; `None` where the program's lists are at fault.
    pub stage: Option<(String, usize)>,
    pub(crate) law: Law,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stage {
            Some((kernel, stage)) => write!(f, "kernel `{kernel}`, stage {stage}: {}", self.law),
            None => self.law.fmt(f),
        }
    }
}

impl std::error::Error for Violation {}

/// What was found where a law says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Law {
    #[error("there is no {0} of number {1}")]
    Missing(&'static str, usize),
    #[error("the buffer `{0}` has another type than what fills it")]
    BufferType(String),
    #[error("there is time, but the program has no length of it")]
    NoTime,
    #[error("its stages are not those of a kernel of its kind")]
    Stages,
    #[error("value {0} is not computed at one place, or is used before its place or outside of it")]
    Place(u32),
    #[error("loop {0} does not run once")]
    Loop(usize),
    #[error("value {0} has operands of other types")]
    Types(u32),
    #[error("a store into `{0}` has another type, or an input is written")]
    StoreType(String),
    #[error("it is a program of tiles already")]
    Tiles,
    #[error("`{0}` has a negative dimension")]
    Negative(String),
    #[error(transparent)]
    Dim(#[from] DimError),
    #[error("an index in `{name}` is from {low} to {high}, of {elements} elements")]
    Bounds { name: String, low: i64, high: i64, elements: i64 },
    #[error("value {0} divides by what is not positive, or what may be negative")]
    Division(u32),
}

/// Of the laws for all sizes.
impl Laws for Program {
    type Violation = Violation;

    fn check(&self) -> Result<(), Violation> {
        check_lists(self).map_err(|law| Violation { stage: None, law })?;
        each_stage(self, |kernel, stage| {
            check_kernel(self, kernel)?;
            Places::check(self, stage)?;
            check_types(self, stage)
        })
    }
}

/// The first of the laws for these sizes that a program breaks.
pub fn verify_sizes(program: &Verified<Program>, bindings: &Bindings) -> Result<(), Violation> {
    let sizes = Sizes::new(program, bindings).map_err(|law| Violation { stage: None, law })?;
    each_stage(program, |_, stage| sizes.check(stage))
}

fn each_stage(
    program: &Program,
    check: impl Fn(&Kernel, &Stage) -> Result<(), Law>,
) -> Result<(), Violation> {
    for kernel in program.kernels() {
        let of_kernel = |at, law| Violation { stage: Some((kernel.name.clone(), at)), law };
        if kernel.stages.is_empty() {
            return Err(of_kernel(0, Law::Stages));
        }
        for (at, stage) in kernel.stages.iter().enumerate() {
            check(kernel, stage).map_err(|law| of_kernel(at, law))?;
        }
    }
    Ok(())
}

fn exists(what: &'static str, number: usize, count: usize) -> Result<(), Law> {
    if number < count { Ok(()) } else { Err(Law::Missing(what, number)) }
}

fn holds(condition: bool, law: Law) -> Result<(), Law> {
    if condition { Ok(()) } else { Err(law) }
}

fn check_lists(program: &Program) -> Result<(), Law> {
    let buffer = |id: BufferId| exists("buffer", id.0 as usize, program.buffers.len());
    for buffer in &program.buffers {
        let fits = match buffer.source {
            BufferSource::Input(index) => {
                exists("input", index, program.inputs.len())?;
                let ty = &program.inputs[index].ty;
                (ty.elem, &ty.dims, ty.is_stream()) == (buffer.elem, &buffer.dims, buffer.stream)
            }
            BufferSource::Param(index) => {
                exists("parameter", index, program.params.len())?;
                let param = &program.params[index];
                (param.elem, &param.dims, false) == (buffer.elem, &buffer.dims, buffer.stream)
            }
            BufferSource::Kernel => true,
        };
        holds(fits, Law::BufferType(buffer.name.clone()))?;
        holds(!buffer.stream || program.time.is_some(), Law::NoTime)?;
        holds(buffer.storage == Storage::of(buffer.elem), Law::Tiles)?;
    }
    program.results.iter().try_for_each(|(_, _, id)| buffer(*id))
}

fn check_kernel(program: &Program, kernel: &Kernel) -> Result<(), Law> {
    let is_timed = kernel.stages.iter().any(|stage| stage.timed);
    let all_timed = kernel.stages.iter().all(|stage| stage.timed);
    holds(!is_timed || program.time.is_some(), Law::NoTime)?;
    holds(kernel.stages.len() == 1 || kernel.recurrence.is_some(), Law::Stages)?;
    holds(all_timed || kernel.recurrence.is_none(), Law::Stages)?;
    let local = |stage: &Stage| stage.axes.get(..kernel.local_axes).map(<[Dim]>::to_vec);
    let first = kernel.stages.first().and_then(local);
    let agree = first.is_some() && kernel.stages.iter().all(|stage| local(stage) == first);
    holds(agree, Law::Stages)?;
    holds(kernel.stages.iter().all(|stage| stage.sums.is_empty()), Law::Tiles)
}

/// Where values of a stage are computed.
struct Places<'a> {
    program: &'a Program,
    stage: &'a Stage,
    /// Of the values computed so far: in the body, or in a loop of this number.
    of: Vec<Option<Place>>,
    has_run: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Body,
    Loop(usize),
}

impl Places<'_> {
    fn check(program: &Program, stage: &Stage) -> Result<(), Law> {
        let mut places = Places {
            program,
            stage,
            of: vec![None; stage.insts.len()],
            has_run: vec![false; stage.loops.len()],
        };
        stage.body.iter().try_for_each(|val| places.add(*val, Place::Body))?;
        if let Some(at) = places.of.iter().position(Option::is_none) {
            return Err(Law::Place(at as u32));
        }
        if let Some(index) = places.has_run.iter().position(|has_run| !has_run) {
            return Err(Law::Loop(index));
        }
        for store in &stage.stores {
            exists("buffer", store.buffer.0 as usize, program.buffers.len())?;
            places.used(store.value, Place::Body)?;
            store.at.terms.iter().try_for_each(|(val, _)| places.used(*val, Place::Body))?;
        }
        Ok(())
    }

    fn add(&mut self, val: Val, place: Place) -> Result<(), Law> {
        exists("value", val.0 as usize, self.stage.insts.len())?;
        holds(self.of[val.0 as usize].is_none(), Law::Place(val.0))?;
        let inst = self.stage.inst(val);
        match inst {
            Inst::Axis(axis) => exists("axis", *axis, self.stage.axes.len())?,
            Inst::Time => holds(self.stage.timed, Law::NoTime)?,
            Inst::LoopAxis(index, axis) => {
                holds(place == Place::Loop(*index), Law::Place(val.0))?;
                exists("axis of the loop", *axis, self.stage.loops[*index].axes.len())?;
            }
            Inst::LoopTime(index) => {
                holds(place == Place::Loop(*index), Law::Place(val.0))?;
                holds(self.stage.loops[*index].over_time, Law::NoTime)?;
            }
            Inst::Load(buffer, _) => {
                exists("buffer", buffer.0 as usize, self.program.buffers.len())?;
            }
            Inst::Reduce(index) => {
                holds(place == Place::Body, Law::Place(val.0))?;
                self.run(*index, val)?;
            }
            _ => {}
        }
        for operand in inst.operands() {
            self.used(operand, place)?;
            holds(operand < val, Law::Place(operand.0))?;
        }
        self.of[val.0 as usize] = Some(place);
        Ok(())
    }

    fn run(&mut self, index: usize, result: Val) -> Result<(), Law> {
        exists("loop", index, self.stage.loops.len())?;
        holds(!std::mem::replace(&mut self.has_run[index], true), Law::Loop(index))?;
        let stage = self.stage;
        let reduce = &stage.loops[index];
        holds(!reduce.over_time || self.program.time.is_some(), Law::NoTime)?;
        for val in &reduce.body {
            self.add(*val, Place::Loop(index))?;
            holds(*val < result, Law::Place(val.0))?;
        }
        self.used(reduce.value, Place::Loop(index))
    }

    /// The value is there for what is computed at a place.
    fn used(&self, val: Val, by: Place) -> Result<(), Law> {
        exists("value", val.0 as usize, self.stage.insts.len())?;
        let place = self.of[val.0 as usize];
        holds(place == Some(Place::Body) || place == Some(by), Law::Place(val.0))
    }
}

fn check_types(program: &Program, stage: &Stage) -> Result<(), Law> {
    let elems = elems(program, stage)?;
    let elem = |val: Val| elems[val.0 as usize];
    let are_integers = |at: &Affine| at.terms.iter().all(|(val, _)| elem(*val) == Elem::I32);
    for reduce in &stage.loops {
        let is_number = match reduce.reduction {
            Reduction::ArgMax => reduce.elem == Elem::F32,
            _ => reduce.elem != Elem::Bool,
        };
        holds(is_number && elem(reduce.value) == reduce.elem, Law::Types(reduce.value.0))?;
    }
    stage.stores.iter().try_for_each(|store| {
        let buffer = program.buffer(store.buffer);
        let is_input = matches!(buffer.source, BufferSource::Input(_));
        let fits = !is_input && elem(store.value) == buffer.elem && are_integers(&store.at);
        holds(fits, Law::StoreType(buffer.name.clone()))
    })
}

/// The type of each value that is computed, of operands before their users.
fn elems(program: &Program, stage: &Stage) -> Result<Vec<Elem>, Law> {
    let mut elems: Vec<Elem> = Vec::with_capacity(stage.insts.len());
    for (at, inst) in stage.insts.iter().enumerate() {
        let wrong = || Law::Types(at as u32);
        let args = inst.operands().into_iter().map(|arg| elems.get(arg.0 as usize).copied());
        let args: Vec<Elem> = args.collect::<Option<_>>().ok_or_else(wrong)?;
        let all = |elem: Elem| args.iter().all(|arg| *arg == elem);
        elems.push(match inst {
            Inst::F32(_) => Elem::F32,
            Inst::Bool(_) => Elem::Bool,
            Inst::Map(op, _) => result(*op, &args).ok_or_else(wrong)?,
            Inst::Load(buffer, _) => {
                exists("buffer", buffer.0 as usize, program.buffers.len())?;
                holds(all(Elem::I32), wrong())?;
                program.buffer(*buffer).elem
            }
            Inst::Reduce(index) => {
                exists("loop", *index, stage.loops.len())?;
                match stage.loops[*index].reduction {
                    Reduction::ArgMax => Elem::I32,
                    _ => stage.loops[*index].elem,
                }
            }
            _ => {
                holds(all(Elem::I32), wrong())?;
                Elem::I32
            }
        });
    }
    Ok(elems)
}

/// The type of a pointwise operation's result; `None` for operands that it does not take.
fn result(op: Pointwise, args: &[Elem]) -> Option<Elem> {
    use Elem::{Bool, F32, I32};
    let row = op.row();
    let all = |elem: Elem| args.iter().all(|arg| *arg == elem);
    let result = match (row.signature, args) {
        (Signature::Float, _) if all(F32) => F32,
        (Signature::Numeric, [F32, ..]) if all(F32) => F32,
        (Signature::Numeric, [I32, ..]) if all(I32) => I32,
        (Signature::Integer, _) if all(I32) => I32,
        (Signature::Compare, [first, ..]) if all(*first) => Bool,
        (Signature::Logic, _) if all(Bool) => Bool,
        (Signature::Choice, [Bool, yes, no]) if yes == no => *yes,
        (Signature::ToFloat, [I32 | Bool]) | (Signature::Bits, [I32]) => F32,
        (Signature::ToInteger, [F32]) => I32,
        _ => return None,
    };
    (args.len() == row.arity).then_some(result)
}

/// A program whose open dimensions are known.
struct Sizes<'a> {
    program: &'a Program,
    bindings: &'a Bindings,
    steps: i64,
    /// Of each buffer.
    elements: Vec<i64>,
}

/// The values that an i32 may have, both ends included.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Interval {
    low: i64,
    high: i64,
}

impl Interval {
    const ANY: Interval = Interval { low: i32::MIN as i64, high: i32::MAX as i64 };

    fn new(low: i64, high: i64) -> Interval {
        Interval { low, high }
    }

    /// Numbers from 0 below a count.
    fn below(count: i64) -> Interval {
        Interval::new(0, count.saturating_sub(1))
    }

    /// What does not fit an i32 comes round.
    fn wrapped(self) -> Interval {
        let fits = self.low >= Interval::ANY.low && self.high <= Interval::ANY.high;
        if fits { self } else { Interval::ANY }
    }

    fn add(self, other: Interval) -> Interval {
        Interval::new(self.low.saturating_add(other.low), self.high.saturating_add(other.high))
    }

    fn times(self, factor: i64) -> Interval {
        let (a, b) = (self.low.saturating_mul(factor), self.high.saturating_mul(factor));
        Interval::new(a.min(b), a.max(b))
    }
}

impl<'a> Sizes<'a> {
    fn new(program: &'a Program, bindings: &'a Bindings) -> Result<Sizes<'a>, Law> {
        let steps = program.time.as_ref().map_or(Ok(1), |time| time.eval(bindings))?;
        let mut elements = Vec::with_capacity(program.buffers.len());
        for (id, buffer) in program.buffer_ids().zip(&program.buffers) {
            for dim in &buffer.dims {
                holds(dim.eval(bindings)? >= 0, Law::Negative(buffer.name.clone()))?;
            }
            elements.push(program.elements(id).eval(bindings)?);
        }
        Ok(Sizes { program, bindings, steps, elements })
    }

    fn check(&self, stage: &Stage) -> Result<(), Law> {
        let extents = self.all(&stage.axes)?;
        if extents.iter().any(|extent| *extent < 1) || stage.timed && self.steps < 1 {
            return Ok(()); // It has no points.
        }
        let mut values = vec![Interval::ANY; stage.insts.len()];
        for val in &stage.body {
            values[val.0 as usize] = match stage.inst(*val) {
                Inst::Reduce(index) => {
                    self.reduce(stage, &stage.loops[*index], &extents, &mut values)?
                }
                _ => self.value(stage, *val, &extents, &[], Interval::below(1), &values)?,
            };
        }
        stage.stores.iter().try_for_each(|store| self.inside(store.buffer, &store.at, &values))
    }

    fn reduce(
        &self,
        stage: &Stage,
        reduce: &ReduceLoop,
        extents: &[i64],
        values: &mut [Interval],
    ) -> Result<Interval, Law> {
        let inner = self.all(&reduce.axes)?;
        let first = i64::from(reduce.without_first);
        let last = self.steps - 1 - i64::from(reduce.without_last);
        let time = match reduce.over_time {
            true => Interval::new(first, last),
            false => Interval::below(1),
        };
        if inner.iter().all(|extent| *extent >= 1) && time.low <= time.high {
            for val in &reduce.body {
                values[val.0 as usize] = self.value(stage, *val, extents, &inner, time, values)?;
            }
        }
        Ok(match reduce.reduction {
            Reduction::ArgMax => {
                let length = reduce.length(self.program).eval(self.bindings)?;
                Interval::below(length.max(1))
            }
            _ => Interval::ANY,
        })
    }

    /// The values of an i32; those of other types are not looked at.
    fn value(
        &self,
        stage: &Stage,
        val: Val,
        extents: &[i64],
        inner: &[i64],
        loop_time: Interval,
        values: &[Interval],
    ) -> Result<Interval, Law> {
        let of = |val: &Val| values[val.0 as usize];
        let divisor = |arg: &Val, dim: &Dim| {
            let divisor = dim.eval(self.bindings)?;
            holds(divisor >= 1 && of(arg).low >= 0, Law::Division(val.0)).map(|()| divisor)
        };
        Ok(match stage.inst(val) {
            Inst::I32(value) => Interval::new(i64::from(*value), i64::from(*value)),
            Inst::Dim(dim) => {
                let value = dim.eval(self.bindings)?;
                Interval::new(value, value).wrapped()
            }
            Inst::Axis(axis) => Interval::below(extents[*axis]),
            Inst::Time => Interval::below(self.steps),
            Inst::LoopAxis(_, axis) => Interval::below(inner[*axis]),
            Inst::LoopTime(_) => loop_time,
            Inst::Quotient(arg, dim) => {
                let divisor = divisor(arg, dim)?;
                Interval::new(of(arg).low / divisor, of(arg).high / divisor)
            }
            Inst::Remainder(arg, dim) => {
                let whole = Interval::below(divisor(arg, dim)?);
                Interval::new(0, of(arg).high.min(whole.high))
            }
            Inst::Affine(affine) => self.affine(affine, values)?.wrapped(),
            Inst::Load(buffer, at) => {
                self.inside(*buffer, at, values)?;
                Interval::ANY
            }
            Inst::Map(op, args) => {
                let args: Vec<Interval> = args.iter().map(of).collect();
                mapped(*op, &args).wrapped()
            }
            Inst::F32(_) | Inst::Bool(_) | Inst::Reduce(_) => Interval::ANY,
        })
    }

    /// An index lies inside of a buffer.
    fn inside(&self, buffer: BufferId, at: &Affine, values: &[Interval]) -> Result<(), Law> {
        let elements = self.elements[buffer.0 as usize];
        let Interval { low, high } = self.affine(at, values)?;
        if low >= 0 && high < elements {
            return Ok(());
        }
        let name = self.program.buffer(buffer).name.clone();
        Err(Law::Bounds { name, low, high, elements })
    }

    fn affine(&self, affine: &Affine, values: &[Interval]) -> Result<Interval, Law> {
        let constant = affine.constant.eval(self.bindings)?;
        affine.terms.iter().try_fold(Interval::new(constant, constant), |sum, (val, by)| {
            Ok(sum.add(values[val.0 as usize].times(by.eval(self.bindings)?)))
        })
    }

    fn all(&self, dims: &[Dim]) -> Result<Vec<i64>, Law> {
        Ok(dims.iter().map(|dim| dim.eval(self.bindings)).collect::<Result<_, _>>()?)
    }
}

/// The results of a pointwise operation on i32 operands.
fn mapped(op: Pointwise, args: &[Interval]) -> Interval {
    match (op, args) {
        (Pointwise::Add, [a, b]) => a.add(*b),
        (Pointwise::Sub, [a, b]) => a.add(b.times(-1)),
        (Pointwise::Neg, [a]) => a.times(-1),
        (Pointwise::Min, [a, b]) => Interval::new(a.low.min(b.low), a.high.min(b.high)),
        (Pointwise::Max, [a, b]) => Interval::new(a.low.max(b.low), a.high.max(b.high)),
        (Pointwise::Select, [_, a, b]) => Interval::new(a.low.min(b.low), a.high.max(b.high)),
        _ => Interval::ANY,
    }
}
