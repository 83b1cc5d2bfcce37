//! Streams that are kept for two steps only.

use crate::ir::graph::{Dim, Pointwise};
use crate::ir::kernel::{
    Affine, BufferId, BufferSource, Direction, Inst, Kernel, Program, Stage, Val,
};

/// For each buffer, whether it is a stream of which only the step being computed and the one computed
/// before are used, by the one recurrence that fills it. It needs room for two steps, an even and an
/// odd one: the rest of a sequence would only go through memory.
pub(crate) fn short_streams(program: &Program) -> Vec<bool> {
    let mut is_short: Vec<bool> = program
        .buffers
        .iter()
        .map(|buffer| buffer.stream && buffer.source == BufferSource::Kernel)
        .collect();
    for (_, _, result) in &program.results {
        is_short[result.0 as usize] = false;
    }
    let mut user = vec![None; program.buffers.len()];
    for (at, kernel) in program.kernels().enumerate() {
        for (buffer, stage, index) in accesses(kernel) {
            let known = *user[buffer.0 as usize].get_or_insert(at) == at;
            is_short[buffer.0 as usize] &=
                known && is_near(kernel, stage, index, &program.step_size(buffer));
        }
    }
    is_short
}

/// Of a short stream only the step before is read, each element by the point that then writes it: one
/// step has room for both.
pub(crate) fn is_in_place(program: &Program, buffer: BufferId) -> bool {
    let step = program.step_size(buffer);
    let accesses =
        program.kernels().flat_map(accesses).filter(|(accessed, ..)| *accessed == buffer);
    let mut places = accesses.map(|(_, stage, at)| {
        let within = at.terms.iter().filter(|(val, by)| *by != step || is_axis(stage, *val));
        let within = within.map(|(val, by)| (stage.inst(*val), by)).collect::<Vec<_>>();
        (std::ptr::from_ref(stage), within)
    });
    let Some((stage, within)) = places.next() else { return false };
    within.iter().all(|(inst, _)| matches!(inst, Inst::Axis(_)))
        && places.all(|place| place == (stage, within.clone()))
}

/// For each buffer how many steps of it there is room for, all if `None`, where every kernel runs to its
/// end before the next one.
pub(crate) fn short_windows(program: &Program) -> Vec<Option<i64>> {
    short_streams(program).into_iter().map(|is_short| is_short.then_some(2)).collect()
}

/// The access is at this step or the one computed before it.
fn is_near(kernel: &Kernel, stage: &Stage, at: &Affine, step: &Dim) -> bool {
    let Some(direction) = kernel.recurrence else { return false };
    let (steps, rest): (Vec<_>, Vec<_>) =
        at.terms.iter().partition(|(val, by)| by == step && !is_axis(stage, *val));
    let near = |val: Val| *stage.inst(val) == Inst::Time || is_before(stage, direction, val);
    at.constant.is_zero()
        && matches!(steps.as_slice(), [(val, _)] if near(*val))
        && rest.iter().all(|(val, _)| is_axis(stage, *val))
}

pub(crate) fn accesses(kernel: &Kernel) -> impl Iterator<Item = (BufferId, &Stage, &Affine)> {
    kernel.stages.iter().flat_map(|stage| {
        let loads = stage.insts.iter().filter_map(|inst| match inst {
            Inst::Load(buffer, at) => Some((*buffer, at)),
            _ => None,
        });
        let stores = stage.stores.iter().map(|store| (store.buffer, &store.at));
        loads.chain(stores).map(move |(buffer, at)| (buffer, stage, at))
    })
}

fn is_axis(stage: &Stage, val: Val) -> bool {
    matches!(stage.inst(val), Inst::Axis(_) | Inst::LoopAxis(..))
}

/// The step that the recurrence has run before this one, kept inside of the sequence.
fn is_before(stage: &Stage, direction: Direction, val: Val) -> bool {
    let (bound, offset) = match direction {
        Direction::Forward => (Pointwise::Max, -1),
        Direction::Backward => (Pointwise::Min, 1),
    };
    let is_next = |val: &Val| match stage.inst(*val) {
        Inst::Affine(at) => {
            let from_time = matches!(at.terms.as_slice(), [(time, by)]
                if *stage.inst(*time) == Inst::Time && by.is_one());
            from_time && at.constant.as_const() == Some(offset)
        }
        _ => false,
    };
    matches!(stage.inst(val), Inst::Map(op, args) if *op == bound && args.iter().any(is_next))
}
