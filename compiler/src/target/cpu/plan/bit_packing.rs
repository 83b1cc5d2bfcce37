//! Streams of 0 and 1 that are kept as bits.

use super::ring_buffers::accesses;
use crate::ir::graph::{Dim, Elem};
use crate::ir::kernel::*;

/// Elements of a byte, the first in its lowest bit.
const BYTE: i64 = 8;

/// The program with [`Storage::Bit`] wherever that is possible: rows are whole bytes, and every kernel
/// walks along them from their start. Results stay as they are, for the caller to read.
pub fn pack(program: &Program) -> Program {
    let mut packed = program.clone();
    for (id, buffer) in program.buffer_ids().zip(&mut packed.buffers) {
        if buffer.binary && is_packable(program, id) {
            buffer.storage = Storage::Bit;
        }
    }
    packed
}

fn is_packable(program: &Program, id: BufferId) -> bool {
    let buffer = program.buffer(id);
    let [_, .., row] = buffer.dims.as_slice() else { return false };
    let is_result = program.results.iter().any(|(_, _, result)| *result == id);
    let is_walked = program
        .kernels()
        .flat_map(accesses)
        .all(|(accessed, stage, at)| accessed != id || walks_in_bytes(stage, at));
    let is_written_in_order = program.kernels().flat_map(|kernel| &kernel.stages).all(|stage| {
        let mut stores = stage.stores.iter().filter(|store| store.buffer == id);
        stores.all(|store| stage.axes.last() == Some(row) && ends_in_last_axis(stage, &store.at))
    });
    buffer.source == BufferSource::Kernel
        && buffer.stream
        && buffer.elem == Elem::F32
        && is_whole_bytes(row)
        && !is_result
        && is_walked
        && is_written_in_order
}

fn is_whole_bytes(dim: &Dim) -> bool {
    dim.exact_div(&Dim::constant(BYTE)).is_some()
}

/// An index that moves by whole bytes, but along one axis at most, element by element.
fn walks_in_bytes(stage: &Stage, at: &Affine) -> bool {
    let mut single = at.terms.iter().filter(|(_, by)| !is_whole_bytes(by));
    let is_along_axis = single.next().is_none_or(|(val, by)| {
        by.is_one() && matches!(stage.inst(*val), Inst::Axis(_) | Inst::LoopAxis(..))
    });
    is_whole_bytes(&at.constant) && is_along_axis && single.next().is_none()
}

fn ends_in_last_axis(stage: &Stage, at: &Affine) -> bool {
    let last = Inst::Axis(stage.axes.len() - 1);
    at.terms.iter().any(|(val, by)| by.is_one() && *stage.inst(*val) == last)
}
