//! Which buffers share a GPU buffer.
//!
//! A kernel may bind only a few GPU buffers. Parameters share one and small static values another;
//! everything else has its own until a kernel would bind too many: then the smallest groups that it
//! binds become one. The assignment is the same for all kernels, and offsets are polynomials in the
//! open dimensions, so that shaders depend on neither.

use std::collections::{BTreeMap, BTreeSet};

use super::WORD;
use crate::ir::graph::{Bindings, Dim};
use crate::ir::kernel::{Buffer, BufferId, BufferSource, Inst, Kernel, Program};

/// Buffers in one GPU buffer, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// An identifier; the buffer's name where there is only one.
    pub name: String,
    /// Each buffer with its offset in elements.
    pub members: Vec<(BufferId, Dim)>,
    /// In elements.
    pub size: Dim,
}

/// In elements. Offsets of fixed buffers are multiples of a cache line.
const ALIGNMENT: i64 = 64 / WORD.bytes(1);

/// Assigns every buffer to a group so that no kernel binds more than it may.
pub(super) fn groups(program: &Program, allowed: impl Fn(&Kernel) -> usize) -> Vec<Group> {
    let mut sets = initial_sets(program);
    let kernels: Vec<_> =
        program.kernels().map(|kernel| (touched(kernel), allowed(kernel))).collect();
    loop {
        let owner: BTreeMap<BufferId, usize> = sets
            .iter()
            .enumerate()
            .flat_map(|(set, ids)| ids.iter().map(move |id| (*id, set)))
            .collect();
        let bound = |buffers: &BTreeSet<BufferId>| -> BTreeSet<usize> {
            buffers.iter().map(|id| owner[id]).collect()
        };
        let worst = kernels
            .iter()
            .map(|(buffers, allowed)| (bound(buffers), *allowed))
            .filter(|(bound, allowed)| bound.len() > *allowed)
            .max_by_key(|(bound, allowed)| bound.len() - allowed);
        let Some((bound, _)) = worst else { break };
        let is_arena = |set: &usize| is_param(program.buffer(sets[*set][0]));
        let mut mergeable: Vec<_> = bound.into_iter().filter(|set| !is_arena(set)).collect();
        mergeable.sort_by_key(|set| (estimate(program, &sets[*set]), *set));
        let [first, second, ..] = mergeable[..] else { break };
        let moved = sets.remove(first.max(second));
        sets[first.min(second)].extend(moved);
    }
    sets.iter().map(|ids| group(program, ids)).collect()
}

/// The buffers that a kernel reads or writes.
pub(super) fn touched(kernel: &Kernel) -> BTreeSet<BufferId> {
    let loads = kernel.stages.iter().flat_map(|stage| &stage.insts).filter_map(|inst| match inst {
        Inst::Load(buffer, _) => Some(*buffer),
        _ => None,
    });
    loads.chain(written(kernel)).collect()
}

/// The buffers that a kernel writes.
pub(super) fn written(kernel: &Kernel) -> BTreeSet<BufferId> {
    kernel.stages.iter().flat_map(|stage| &stage.stores).map(|store| store.buffer).collect()
}

fn initial_sets(program: &Program) -> Vec<Vec<BufferId>> {
    let ids = || program.buffer_ids();
    let is_small =
        |buffer: &Buffer| !buffer.stream && buffer.dims.iter().all(|dim| dim.as_const().is_some());
    let (small, open): (Vec<_>, Vec<_>) = ids().partition(|id| is_small(program.buffer(*id)));
    let (params, small) = small.into_iter().partition(|id| is_param(program.buffer(*id)));
    let (states, own): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|id| is_param(program.buffer(*id)));
    let mut sets = vec![params, states, small];
    sets.extend(own.into_iter().map(|id| vec![id]));
    sets.retain(|set| !set.is_empty());
    sets
}

fn is_param(buffer: &Buffer) -> bool {
    matches!(buffer.source, BufferSource::Param(_))
}

/// What a group may weigh: its size with 64 for every open dimension.
fn estimate(program: &Program, ids: &[BufferId]) -> i64 {
    let size = ids.iter().fold(Dim::zero(), |sum, id| &sum + &program.elements(*id));
    let bindings: Bindings = size.symbols().map(|symbol| (symbol.clone(), 64)).collect();
    size.eval(&bindings).unwrap_or(i64::MAX)
}

fn group(program: &Program, ids: &[BufferId]) -> Group {
    let name = match ids {
        [only] => program.buffer(*only).name.clone(),
        [first, ..] if is_param(program.buffer(*first)) => {
            let is_open = program.buffer(*first).dims.iter().any(|dim| dim.as_const().is_none());
            if is_open { "states" } else { "params" }.to_owned()
        }
        [first, ..] if program.buffer(*first).stream => format!("streams_{}", first.0),
        [first, ..] => format!("values_{}", first.0),
        [] => "empty".to_owned(),
    };
    let mut size = Dim::zero();
    let mut members = Vec::new();
    for id in ids {
        members.push((*id, size.clone()));
        size = aligned(&(&size + &program.elements(*id)));
    }
    Group { name, members, size }
}

/// A size of open dimensions stays as it is: rounding up is not a polynomial.
fn aligned(size: &Dim) -> Dim {
    size.as_const().map_or_else(
        || size.clone(),
        |n| Dim::constant((n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT),
    )
}
