//! Kernels that run tile by tile.
//!
//! A tile is a few rows of the batch. Where rows never exchange data, a whole forward and backward
//! pass can be run for one tile before the next: what it saves stays in the cache, and memory is
//! needed for as many tiles as run at once. A tile is the program itself with a smaller batch, so the
//! kernels need not know: the batch dimension has another value in their index arithmetic.
//!
//! 1. [`split`] makes every sum over the batch a kernel of its own, whose result over a tile is added
//!    to that of the tiles before, or, where that is possible, a [part](Stage::sums) of the recurrence
//!    whose streams it adds up.
//! 2. [`plan`] puts the kernels of some passes in order: those that run tile by tile in groups, the
//!    others between them. Within a group, kernels that follow each other step by step are a
//!    [`Sweep`]: they take turns, [some](Direction::chunk) steps at a time, and streams that only they use need room
//!    for no more steps ([`windows`]).

pub mod checkpointing;
mod fused_sums;

use std::collections::BTreeSet;
use std::fmt;

use super::bit_packing;
use super::ring_buffers::{is_in_place, short_streams};
use crate::ir::graph::{Dim, Elem, Input, Pointwise, Reduction, Symbol};
use crate::ir::kernel::*;

impl Direction {
    /// How many steps the kernels of a sweep run before the next one. Forward they leave a step's values
    /// to the next kernel, so few should be in the cache; backward each adds to the gradients of all
    /// weights, which should be for many steps at a time.
    pub fn chunk(self) -> i64 {
        match self {
            Direction::Forward => 8,
            Direction::Backward => 32,
        }
    }
}

/// What runs, in order. Kernels by their index in [`Program::kernels`].
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A kernel alone, by its number in [`Program::kernels`].
    Kernel(usize),
    /// Kernels that run tile by tile.
    Tiles(Group),
}

/// Kernels that run for one tile before the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// In the order in which they run for a tile.
    pub sweeps: Vec<Sweep>,
    /// Batched buffers that are filled before: each tile takes its rows.
    pub imports: Vec<BufferId>,
    /// Batched buffers that are read after: each tile leaves its rows.
    pub exports: Vec<BufferId>,
    /// All batched buffers of the group, of which each tile has its own rows.
    pub local: Vec<BufferId>,
    /// Sums over the batch, to which each tile adds.
    pub sums: Vec<BufferId>,
}

/// Kernels that take turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// `None`: they run once each, over all steps if there are any.
    pub direction: Option<Direction>,
    /// Numbers in [`Program::kernels`].
    pub kernels: Vec<usize>,
}

/// The batch: the open first dimension of an input.
pub fn batch(program: &Program) -> Option<Dim> {
    let fixed: BTreeSet<&Symbol> = {
        let params = program.params.iter().flat_map(|param| &param.dims);
        params.chain(&program.time).flat_map(Dim::symbols).collect()
    };
    let is_open = |dim: &&Dim| {
        dim.symbols()
            .next()
            .is_some_and(|symbol| **dim == Dim::symbol(symbol) && !fixed.contains(symbol))
    };
    let first = |input: &&Input| input.ty.dims.first().filter(is_open).is_some();
    let streams = program.inputs.iter().filter(|input| input.ty.is_stream()).find(first);
    let input = streams.or_else(|| program.inputs.iter().find(first))?;
    input.ty.dims.first().cloned()
}

// ---- sums over the batch ----

/// The program with every sum over the batch in a kernel of its own, which stores nothing else, or in the
/// recurrence that has its terms at hand; a kernel after it computes what follows from the sums.
pub fn split(program: &Program) -> Program {
    let mut split = program.clone();
    let Some(batch) = batch(program) else { return split };
    let mut names: BTreeSet<String> = program.kernels().map(|k| k.name.clone()).collect();
    names.extend(program.buffers.iter().map(|buffer| buffer.name.clone()));
    for pass in [Pass::Forward, Pass::Backward] {
        let mut kernels = Vec::new();
        for kernel in program.pass(pass) {
            match sums_over(kernel, &batch) {
                loops if loops.is_empty() => kernels.push(kernel.clone()),
                loops => {
                    kernels.extend(split_kernel(kernel, &loops, &mut split.buffers, &mut names))
                }
            }
        }
        match pass {
            Pass::Forward => split.forward = kernels,
            _ => split.backward = kernels,
        }
    }
    fused_sums::fuse(&mut split, &batch);
    split
}

/// The loops of a kernel that sum over the batch, if it is nothing but the end of such sums.
fn sums_over(kernel: &Kernel, batch: &Dim) -> Vec<usize> {
    let [stage] = kernel.stages.as_slice() else { return Vec::new() };
    if kernel.recurrence.is_some() || stage.axes.iter().any(|axis| mentions(axis, batch)) {
        return Vec::new();
    }
    let over_batch = |reduce: &ReduceLoop| {
        (reduce.reduction, reduce.elem) == (Reduction::Sum, Elem::F32)
            && reduce.axes.contains(batch)
    };
    (0..stage.loops.len()).filter(|index| over_batch(&stage.loops[*index])).collect()
}

fn split_kernel(
    kernel: &Kernel,
    loops: &[usize],
    buffers: &mut Vec<Buffer>,
    names: &mut BTreeSet<String>,
) -> Vec<Kernel> {
    let stage = &kernel.stages[0];
    let is_sum = |val: Val| matches!(stage.inst(val), Inst::Reduce(index) if loops.contains(index));
    if let ([store], true) = (stage.stores.as_slice(), loops.len() == 1 && stage.loops.len() == 1)
        && is_sum(store.value)
    {
        return vec![kernel.clone()];
    }
    let at = &stage.stores[0].at;
    let mut kernels = Vec::new();
    let mut rest = stage.clone();
    for index in loops {
        let Some(sum) = stage.insts.iter().position(|inst| *inst == Inst::Reduce(*index)) else {
            continue;
        };
        let base = kernel.name.strip_prefix("kernel_").unwrap_or(&kernel.name);
        let name = unique(&format!("{base}_sum"), names);
        let buffer = BufferId(buffers.len() as u32);
        buffers.push(Buffer {
            name: name.clone(),
            elem: Elem::F32,
            dims: stage.axes.clone(),
            stream: stage.timed,
            source: BufferSource::Kernel,
            binary: false,
            storage: Storage::F32,
        });
        let mut part = stage.clone();
        part.stores = vec![Store { buffer, at: at.clone(), value: Val(sum as u32) }];
        part.keep_needed();
        kernels.push(Kernel {
            name: unique(&format!("kernel_{name}"), names),
            stages: vec![part],
            ..kernel.clone()
        });
        rest.insts[sum] = Inst::Load(buffer, at.clone());
    }
    rest.keep_needed();
    kernels.push(Kernel { stages: vec![rest], ..kernel.clone() });
    kernels
}

/// A name that is not taken.
fn unique(name: &str, names: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let mut free = std::iter::once(name.to_string()).chain(numbered);
    let free = free.find(|name| !names.contains(name)).unwrap_or_default();
    names.insert(free.clone());
    free
}

impl Stage {
    /// Drops what no store needs.
    fn keep_needed(&mut self) {
        let mut needed = vec![false; self.insts.len()];
        let stored = self.stores.iter();
        let mut open: Vec<Val> =
            stored.flat_map(|store| std::iter::once(store.value).chain(store.at.vals())).collect();
        while let Some(val) = open.pop() {
            if !std::mem::replace(&mut needed[val.0 as usize], true) {
                open.extend(self.operands(val));
            }
        }
        let is_needed = |val: &Val| needed[val.0 as usize];
        self.body.retain(is_needed);
        self.loops.iter_mut().for_each(|reduce| reduce.body.retain(is_needed));
        let has_result = |index: usize| {
            let result = self.insts.iter().position(|inst| *inst == Inst::Reduce(index));
            result.is_some_and(|at| needed[at])
        };
        let kept: Vec<usize> = (0..self.loops.len()).filter(|index| has_result(*index)).collect();
        self.loops = kept.iter().map(|index| self.loops[*index].clone()).collect();
        let renumbered = |index: usize| kept.iter().position(|old| *old == index).unwrap_or(0);
        for (inst, needed) in self.insts.iter_mut().zip(&needed) {
            match inst {
                _ if !needed => *inst = Inst::I32(0),
                Inst::Reduce(index) | Inst::LoopAxis(index, _) | Inst::LoopTime(index) => {
                    *index = renumbered(*index);
                }
                _ => {}
            }
        }
    }

    /// The values that a value is computed from.
    fn operands(&self, val: Val) -> Vec<Val> {
        match self.inst(val) {
            Inst::Quotient(arg, _) | Inst::Remainder(arg, _) => vec![*arg],
            Inst::Affine(at) | Inst::Load(_, at) => at.vals().collect(),
            Inst::Map(_, args) => args.clone(),
            Inst::Reduce(index) => vec![self.loops[*index].value],
            _ => Vec::new(),
        }
    }
}

impl Affine {
    fn vals(&self) -> impl Iterator<Item = Val> {
        self.terms.iter().map(|(val, _)| *val)
    }
}

// ---- what a kernel does with the batch ----

/// How a kernel uses the rows of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Not at all: it does not touch batched buffers.
    None,
    /// Each row from the same row.
    Rows,
    /// It is a sum over all rows.
    Sum,
    /// In another way.
    Whole,
}

fn mentions(dim: &Dim, batch: &Dim) -> bool {
    batch.symbols().any(|symbol| dim.symbols().any(|other| other == symbol))
}

struct Analysis<'p> {
    program: &'p Program,
    batch: Dim,
}

impl Analysis<'_> {
    fn is_batched(&self, buffer: BufferId) -> bool {
        self.program.buffer(buffer).dims.iter().any(|dim| mentions(dim, &self.batch))
    }

    /// The batch is the first axis of the buffer and of no other.
    fn has_rows(&self, buffer: BufferId) -> bool {
        let dims = &self.program.buffer(buffer).dims;
        dims.first() == Some(&self.batch) && dims[1..].iter().all(|dim| !mentions(dim, &self.batch))
    }

    fn kernel_use(&self, kernel: &Kernel) -> Use {
        let batched = |buffer: &BufferId| self.is_batched(*buffer);
        let touched: Vec<BufferId> = kernel.buffers().filter(batched).collect();
        let over_batch = |dims: &[Dim]| dims.iter().any(|dim| mentions(dim, &self.batch));
        let axes = |stage: &Stage| over_batch(&stage.axes);
        let loops = |stage: &Stage| stage.loops.iter().any(|reduce| over_batch(&reduce.axes));
        if touched.is_empty() && !kernel.stages.iter().any(|stage| axes(stage) || loops(stage)) {
            return Use::None;
        }
        if !touched.iter().all(|buffer| self.has_rows(*buffer)) {
            return Use::Whole;
        }
        if kernel.stages.iter().all(|stage| self.is_row_by_row(stage)) {
            return Use::Rows;
        }
        match kernel.stages.as_slice() {
            [stage] if kernel.recurrence.is_none() && self.is_sum_of_rows(stage) => Use::Sum,
            _ => Use::Whole,
        }
    }

    fn is_row_by_row(&self, stage: &Stage) -> bool {
        let others = stage.axes.iter().skip(1);
        let loops = stage.loops.iter().flat_map(|reduce| &reduce.axes);
        stage.axes.first() == Some(&self.batch)
            && others.chain(loops).all(|dim| !mentions(dim, &self.batch))
            && self.stays_in_row(stage, &Inst::Axis(0))
    }

    /// The only loop sums over the batch, and the result is stored as it is.
    fn is_sum_of_rows(&self, stage: &Stage) -> bool {
        let ([reduce], [store]) = (stage.loops.as_slice(), stage.stores.as_slice()) else {
            return false;
        };
        let Some(axis) = reduce.axes.iter().position(|dim| *dim == self.batch) else {
            return false;
        };
        let mut others = reduce.axes.iter().enumerate().filter(|(at, _)| *at != axis);
        *stage.inst(store.value) == Inst::Reduce(0)
            && (reduce.reduction, reduce.elem) == (Reduction::Sum, Elem::F32)
            && stage.axes.iter().all(|dim| !mentions(dim, &self.batch))
            && others.all(|(_, dim)| !mentions(dim, &self.batch))
            && self.stays_in_row(stage, &Inst::LoopAxis(0, axis))
    }

    /// Batched buffers are only read and written at the row that `row` is, which is nothing but an
    /// index of rows.
    ///
    /// An index lies inside of its buffer whatever the row. So if it moves by exactly one row with
    /// `row` and does not depend on it otherwise, it is in that row.
    fn stays_in_row(&self, stage: &Stage, row: &Inst) -> bool {
        let depends = depends_on(stage, row);
        let as_data = stage
            .insts
            .iter()
            .enumerate()
            .any(|(at, inst)| !matches!(inst, Inst::Load(..)) && inst != row && depends[at]);
        let stored = stage.stores.iter().map(|store| (store.buffer, &store.at));
        let mut accesses = stage.loads().chain(stored);
        !as_data
            && accesses.all(|(buffer, at)| {
                let size = Dim::product(self.program.buffer(buffer).dims.iter().skip(1));
                let (own, rest): (Vec<_>, Vec<_>) =
                    at.terms.iter().partition(|(val, _)| stage.inst(*val) == row);
                match self.is_batched(buffer) {
                    true => {
                        matches!(own.as_slice(), [(_, by)] if *by == size)
                            && rest.iter().all(|(val, _)| !depends[val.0 as usize])
                    }
                    false => own.is_empty() && rest.iter().all(|(val, _)| !depends[val.0 as usize]),
                }
            })
    }
}

/// For each value, whether it is an index that depends on another.
fn depends_on(stage: &Stage, index: &Inst) -> Vec<bool> {
    let mut depends = vec![false; stage.insts.len()];
    for (at, inst) in stage.insts.iter().enumerate() {
        depends[at] = inst == index
            || match inst {
                Inst::Load(..) | Inst::Reduce(_) => false,
                _ => stage.operands(Val(at as u32)).iter().any(|arg| depends[arg.0 as usize]),
            };
    }
    depends
}

impl Stage {
    fn loads(&self) -> impl Iterator<Item = (BufferId, &Affine)> {
        self.insts.iter().filter_map(|inst| match inst {
            Inst::Load(buffer, at) => Some((*buffer, at)),
            _ => None,
        })
    }
}

impl Kernel {
    /// All buffers that it reads or writes, some of them several times.
    pub fn buffers(&self) -> impl Iterator<Item = BufferId> {
        let loaded = self.stages.iter().flat_map(Stage::loads).map(|(buffer, _)| buffer);
        loaded.chain(self.written()).chain(self.added_to())
    }

    /// What it adds to, point by point.
    pub fn added_to(&self) -> impl Iterator<Item = BufferId> {
        self.stages.iter().flat_map(|stage| &stage.sums).map(|sum| sum.buffer)
    }

    fn written(&self) -> impl Iterator<Item = BufferId> {
        self.stages.iter().flat_map(|stage| &stage.stores).map(|store| store.buffer)
    }

    fn read(&self) -> impl Iterator<Item = BufferId> {
        self.stages.iter().flat_map(Stage::loads).map(|(buffer, _)| buffer)
    }
}

// ---- the plan ----

/// The order in which to run passes after each other, with all rows of a tile before the next tile
/// where that is possible. The program is [`split`].
pub fn plan(program: &Program, passes: &[Pass]) -> Vec<Step> {
    let Some(batch) = batch(program) else { return in_order(program, passes) };
    let analysis = Analysis { program, batch };
    let mut planner =
        Planner { analysis: &analysis, program, steps: Vec::new(), open: Open::default() };
    for (at, pass, kernel) in numbered(program).filter(|(_, pass, _)| passes.contains(pass)) {
        planner.add(at, pass, kernel);
    }
    planner.close();
    let mut steps = planner.steps;
    find_exports(program, &mut steps);
    steps
}

/// The kernels of some passes one after the other.
pub fn in_order(program: &Program, passes: &[Pass]) -> Vec<Step> {
    let kernels = numbered(program).filter(|(_, pass, _)| passes.contains(pass));
    kernels.map(|(at, ..)| Step::Kernel(at)).collect()
}

fn numbered(program: &Program) -> impl Iterator<Item = (usize, Pass, &Kernel)> {
    Pass::ALL
        .into_iter()
        .flat_map(|pass| program.pass(pass).iter().map(move |kernel| (pass, kernel)))
        .enumerate()
        .map(|(at, (pass, kernel))| (at, pass, kernel))
}

struct Planner<'p> {
    analysis: &'p Analysis<'p>,
    program: &'p Program,
    steps: Vec<Step>,
    open: Open,
}

/// The group that is being made.
#[derive(Default)]
struct Open {
    /// What runs before it and after it.
    before: Vec<usize>,
    after: Vec<usize>,
    sweeps: Vec<(Pass, Sweep)>,
    /// Batched buffers that its kernels fill.
    rows: BTreeSet<BufferId>,
    sums: BTreeSet<BufferId>,
    /// What is there only after it: sums, and what follows from them.
    later: BTreeSet<BufferId>,
}

impl Planner<'_> {
    fn add(&mut self, at: usize, pass: Pass, kernel: &Kernel) {
        let how = self.analysis.kernel_use(kernel);
        let needs_later = kernel.read().any(|buffer| self.open.later.contains(&buffer));
        let needs_rows = kernel.read().any(|buffer| self.open.rows.contains(&buffer));
        match how {
            Use::Rows | Use::Sum if needs_later => {
                self.close();
                self.add(at, pass, kernel);
            }
            Use::Rows => {
                self.open.rows.extend(kernel.written());
                self.open.sums.extend(kernel.added_to());
                self.open.later.extend(kernel.added_to());
                self.sweep(at, pass, kernel, kernel.is_stepwise());
            }
            Use::Sum => {
                self.open.sums.extend(kernel.written());
                self.open.later.extend(kernel.written());
                let over_time = kernel.stages[0].loops.iter().all(|reduce| reduce.over_time);
                self.sweep(at, pass, kernel, over_time);
            }
            Use::None | Use::Whole if needs_later || needs_rows => {
                self.open.later.extend(kernel.written());
                self.open.after.push(at);
            }
            Use::None | Use::Whole => self.open.before.push(at),
        }
    }

    /// Ends the group. Without a recurrence there is nothing to keep in the cache, and products do
    /// better on many rows.
    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.steps.extend(open.before.into_iter().map(Step::Kernel));
        let kernels = open.sweeps.iter().flat_map(|(_, sweep)| &sweep.kernels);
        let kernels: Vec<usize> = kernels.copied().collect();
        let all: Vec<&Kernel> = self.program.kernels().collect();
        match kernels.iter().any(|at| all[*at].recurrence.is_some()) {
            true => {
                let touched: BTreeSet<BufferId> =
                    kernels.iter().flat_map(|at| all[*at].buffers()).collect();
                let local = touched.iter().filter(|buffer| self.analysis.is_batched(**buffer));
                let local: Vec<BufferId> = local.copied().collect();
                let imports = local.iter().filter(|buffer| !open.rows.contains(buffer));
                self.steps.push(Step::Tiles(Group {
                    imports: imports.copied().collect(),
                    exports: Vec::new(),
                    local,
                    sums: open.sums.into_iter().collect(),
                    sweeps: open.sweeps.into_iter().map(|(_, sweep)| sweep).collect(),
                }));
            }
            false => {
                let mut kernels = kernels;
                kernels.sort_unstable();
                self.steps.extend(kernels.into_iter().map(Step::Kernel));
            }
        }
        self.steps.extend(open.after.into_iter().map(Step::Kernel));
    }

    /// Puts a kernel of the group in its place.
    fn sweep(&mut self, at: usize, pass: Pass, kernel: &Kernel, takes_turns: bool) {
        let own = takes_turns.then(|| kernel.recurrence.unwrap_or(direction_of(pass)));
        let all: Vec<&Kernel> = self.program.kernels().collect();
        // It may run with or before the last sweep whose results it needs.
        let sweeps = &mut self.open.sweeps;
        let written = |sweep: &Sweep| -> BTreeSet<BufferId> {
            sweep.kernels.iter().flat_map(|at| all[*at].written()).collect()
        };
        let needed = sweeps.iter().rposition(|(_, sweep)| {
            let written = written(sweep);
            kernel.read().any(|buffer| written.contains(&buffer))
        });
        let joins = |(sweep_pass, sweep): &(Pass, Sweep)| {
            let written = written(sweep);
            *sweep_pass == pass
                && sweep.direction == own
                && own.is_some_and(|direction| {
                    written.iter().all(|buffer| kernel.is_in_turn(self.program, *buffer, direction))
                })
        };
        let first = needed.unwrap_or(0);
        let joined = (first..sweeps.len()).find(|at| joins(&sweeps[*at]));
        match joined {
            Some(found) => sweeps[found].1.kernels.push(at),
            None => {
                let place = needed.map_or(0, |needed| needed + 1);
                // After those that are there already, to keep the order of the source.
                let place = match own {
                    Some(_) => sweeps.len(),
                    None => place,
                };
                sweeps.insert(place, (pass, Sweep { direction: own, kernels: vec![at] }));
            }
        }
    }
}

/// The direction in which kernels that follow no recurrence of their own take turns.
fn direction_of(pass: Pass) -> Direction {
    match pass {
        Pass::Backward => Direction::Backward,
        _ => Direction::Forward,
    }
}

impl Kernel {
    /// Each step is computed by itself, or after others: it can run for some steps at a time.
    fn is_stepwise(&self) -> bool {
        let mut stages = self.stages.iter();
        stages.all(|stage| stage.timed && !stage.loops.iter().any(|reduce| reduce.over_time))
    }

    /// Of a buffer it only reads the step that it is at, or the one before that in the direction.
    fn is_in_turn(&self, program: &Program, buffer: BufferId, direction: Direction) -> bool {
        let offsets = self.offsets(program, buffer);
        offsets.iter().all(|offset| matches!(offset, Some(0)) || *offset == Some(before(direction)))
    }

    /// How many steps from its own the kernel reads or writes a buffer; `None` for anything else.
    fn offsets(&self, program: &Program, buffer: BufferId) -> Vec<Option<i64>> {
        let step = program.step_size(buffer);
        let stages = self.stages.iter();
        stages
            .flat_map(|stage| {
                let stored = stage.stores.iter().map(|store| (store.buffer, &store.at));
                let accesses = stage.loads().chain(stored).filter(|(id, _)| *id == buffer);
                accesses.map(|(_, at)| stage.offset(at, &step)).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// The step that comes before, in a direction.
fn before(direction: Direction) -> i64 {
    match direction {
        Direction::Forward => -1,
        Direction::Backward => 1,
    }
}

impl Stage {
    /// How many steps an index is from the step of the stage, or of its loop over time, at the edges
    /// of the sequence perhaps fewer.
    fn offset(&self, at: &Affine, step: &Dim) -> Option<i64> {
        let is_axis = |val: Val| matches!(self.inst(val), Inst::Axis(_) | Inst::LoopAxis(..));
        let mut steps = at.terms.iter().filter(|(val, by)| by == step && !is_axis(*val));
        let (Some((val, _)), None) = (steps.next(), steps.next()) else { return None };
        let constant = |steps: i64| &at.constant - &(step * &Dim::constant(steps));
        let own = [0, -1, 1].into_iter().find(|steps| constant(*steps).as_const().is_some())?;
        let is_time = |val: Val| matches!(self.inst(val), Inst::Time | Inst::LoopTime(_));
        let moved = |val: &Val| match self.inst(*val) {
            Inst::Affine(at) => match at.terms.as_slice() {
                [(time, by)] if is_time(*time) && by.is_one() => at.constant.as_const(),
                _ => None,
            },
            _ => None,
        };
        match self.inst(*val) {
            _ if is_time(*val) => Some(own),
            Inst::Map(Pointwise::Max | Pointwise::Min, args) if own == 0 => {
                args.iter().find_map(moved).filter(|offset| offset.abs() == 1)
            }
            _ => None,
        }
    }
}

/// Of the buffers that a group fills, those that anything else reads.
fn find_exports(program: &Program, steps: &mut [Step]) {
    let all: Vec<&Kernel> = program.kernels().collect();
    for step in steps {
        let Step::Tiles(group) = step else { continue };
        let inside: BTreeSet<usize> =
            group.sweeps.iter().flat_map(|sweep| &sweep.kernels).copied().collect();
        let outside = (0..all.len()).filter(|at| !inside.contains(at));
        let read: BTreeSet<BufferId> = outside.flat_map(|at| all[at].read()).collect();
        let is_result = |id: &BufferId| program.results.iter().any(|(_, _, result)| result == id);
        let local = group.local.iter().filter(|id| !group.imports.contains(id));
        group.exports = local.filter(|id| read.contains(id) || is_result(id)).copied().collect();
    }
}

// ---- windows ----

/// For each buffer, how many steps of it there must be room for at a time, a power of two; `None` for
/// all. Step `t` is then found at the place of `t` modulo that number.
pub fn windows(program: &Program) -> Vec<Option<i64>> {
    let is_short = short_streams(program);
    let plans = [&[Pass::Forward][..], &[Pass::Backward], &[Pass::Forward, Pass::Backward]];
    let plans = plans.map(|passes| plan(program, passes));
    let all: Vec<&Kernel> = program.kernels().collect();
    let windows = program.buffer_ids().map(|id| {
        let buffer = program.buffer(id);
        if is_short[id.0 as usize] {
            return Some(if is_in_place(program, id) { 1 } else { 2 });
        }
        let is_result = program.results.iter().any(|(_, _, result)| *result == id);
        if !buffer.stream || buffer.source != BufferSource::Kernel || is_result {
            return None;
        }
        let users = (0..all.len()).filter(|at| all[*at].buffers().any(|used| used == id));
        let users: Vec<usize> = users.collect();
        let is_inside = |sweep: &&Sweep| users.iter().all(|at| sweep.kernels.contains(at));
        let of_plan = |plan: &Vec<Step>| sweeps(plan).find(is_inside)?.direction;
        // It is used in one pass, so in two of the plans.
        let sweeps: Vec<Direction> = plans.iter().filter_map(of_plan).collect();
        let [direction, _, ..] = *sweeps else { return None };
        let chunk = direction.chunk();
        let offsets = |at: &usize| all[*at].offsets(program, id);
        if users.iter().flat_map(offsets).any(|offset| offset.is_none()) {
            return None;
        }
        // What fills it may look back, to where it has not yet written; others take turns with it.
        let others: Vec<usize> = users.into_iter().filter(|at| !all[*at].stores(id)).collect();
        if others.iter().flat_map(offsets).all(|offset| offset == Some(0)) {
            return Some(chunk);
        }
        let multiplies = others.iter().any(|at| all[*at].multiplies(id));
        (!multiplies).then_some(2 * chunk)
    });
    windows.collect()
}

fn sweeps(steps: &[Step]) -> impl Iterator<Item = &Sweep> {
    steps.iter().flat_map(|step| match step {
        Step::Kernel(_) => [].as_slice(),
        Step::Tiles(group) => group.sweeps.as_slice(),
    })
}

impl Kernel {
    /// The buffer is an operand of a matrix product of several steps.
    fn multiplies(&self, buffer: BufferId) -> bool {
        self.recurrence.is_none()
            && self.stages.iter().any(|stage| {
                let products = (0..stage.loops.len()).filter_map(|index| stage.contraction(index));
                products
                    .into_iter()
                    .any(|product| [product.left.0, product.right.0].contains(&buffer))
            })
    }
}

// ---- text ----

/// The order of a program's kernels on the CPU, for `--emit schedule`.
pub struct Order<'p>(pub &'p Program);

impl fmt::Display for Order<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = bit_packing::pack(&split(self.0));
        let all: Vec<&Kernel> = program.kernels().collect();
        let windows = windows(&program);
        writeln!(f, "on the CPU:")?;
        for step in plan(&program, &[Pass::Forward, Pass::Backward]) {
            let group = match step {
                Step::Kernel(at) => {
                    writeln!(f, "{}", all[at].name)?;
                    continue;
                }
                Step::Tiles(group) => group,
            };
            writeln!(f, "for each tile of the batch")?;
            for sweep in &group.sweeps {
                match sweep.direction {
                    None => writeln!(f, "  once")?,
                    Some(direction) => {
                        writeln!(f, "  for each {} steps, {direction:?}", direction.chunk())?
                    }
                }
                for at in &sweep.kernels {
                    writeln!(f, "    {}", all[*at].name)?;
                }
            }
            for id in &group.local {
                let buffer = program.buffer(*id);
                let kept = if group.exports.contains(id) { ", kept" } else { "" };
                let kept = if buffer.is_packed() { format!(" of bits{kept}") } else { kept.into() };
                if let Some(window) = windows[id.0 as usize] {
                    let steps = if window == 1 { "step" } else { "steps" };
                    writeln!(f, "  {}: {window} {steps}{kept}", buffer.name)?;
                } else if buffer.stream {
                    writeln!(f, "  {}: all steps{kept}", buffer.name)?;
                }
            }
        }
        Ok(())
    }
}
