//! Streams of which a tile has one segment of time at once, so that all fit into a bound of memory.
//!
//! Step `t` of such a stream is found where it would be found if all steps were there: what moves is
//! the start of the buffer, by as many steps as come before the segment. Kernels need not know.

use fgi_compiler::ir::graph::{Bindings, Dim, DimError};
use fgi_compiler::ir::kernel::{BufferId, Direction, Program};
use fgi_compiler::target::cpu::plan::batch_tiles::Group;
use fgi_compiler::target::cpu::plan::batch_tiles::checkpointing::{Replay, Segmented};

use super::Buffers;
use super::memory::Memory;

/// The segments of a group, with their sizes.
pub(super) struct Segments {
    /// All steps.
    steps: i64,
    /// Those of a segment, whole chunks; the last one may have fewer.
    pub length: i64,
    imports: Vec<Stream>,
    replays: Vec<BoundReplay>,
}

/// See [`Replay`].
struct BoundReplay {
    sweep: usize,
    readers: Vec<usize>,
    kernels: Vec<usize>,
    streams: Vec<Stream>,
    /// Each with its window.
    states: Vec<(Stream, Option<i64>)>,
}

#[derive(Clone, Copy)]
struct Stream {
    buffer: BufferId,
    /// Its place among the local buffers.
    local: usize,
    /// Bytes of a row in a step.
    row: usize,
}

/// The memory of a tile, and what is in it.
pub(super) struct Room<'a> {
    /// The starts of all buffers, as the kernels see them.
    pub starts: Vec<*mut u8>,
    pub locals: &'a [Memory],
    /// For each state of each replay, the last steps of all segments.
    pub states: &'a [Memory],
    /// The rows of the batch that it has.
    pub first: i64,
    pub rows: i64,
    pub batch: i64,
    /// The segment that is there: of imports, and of each replay.
    imports: Option<i64>,
    replays: Vec<Option<i64>>,
}

impl<'a> Room<'a> {
    pub fn new(starts: Vec<*mut u8>, locals: &'a [Memory], states: &'a [Memory]) -> Room<'a> {
        let replays = Vec::new();
        Room { starts, locals, states, first: 0, rows: 0, batch: 0, imports: None, replays }
    }

    /// Makes room for other rows.
    pub fn begin(&mut self, segments: &Segments, first: i64, rows: i64, batch: i64) {
        (self.first, self.rows, self.batch) = (first, rows, batch);
        self.imports = None;
        self.replays = vec![None; segments.replays.len()];
    }
}

impl Segments {
    /// Nothing in segments.
    pub fn none(steps: i64) -> Segments {
        Segments { steps, length: steps, imports: Vec::new(), replays: Vec::new() }
    }

    /// Segments of so many steps.
    pub fn new(
        program: &Program,
        group: &Group,
        windows: &[Option<i64>],
        segmented: &Segmented,
        (steps, length): (i64, i64),
        bindings: &Bindings,
    ) -> Result<Segments, DimError> {
        let stream = |id: &BufferId| -> Result<Stream, DimError> {
            let buffer = program.buffer(*id);
            let elements = Dim::product(&buffer.dims[1..]).eval(bindings)?;
            let local = group.local.iter().position(|local| local == id).unwrap_or(0);
            Ok(Stream { buffer: *id, local, row: buffer.bytes(elements) as usize })
        };
        let replay = |replay: &Replay| -> Result<BoundReplay, DimError> {
            let states = replay.states.iter();
            let states = states.map(|id| Ok((stream(id)?, windows[id.0 as usize])));
            Ok(BoundReplay {
                sweep: replay.sweep,
                readers: replay.readers.clone(),
                kernels: replay.kernels.clone(),
                streams: replay.streams.iter().map(stream).collect::<Result<_, _>>()?,
                states: states.collect::<Result<_, DimError>>()?,
            })
        };
        Ok(Segments {
            steps,
            length,
            imports: segmented.imports.iter().map(stream).collect::<Result<_, _>>()?,
            replays: segmented.replays.iter().map(replay).collect::<Result<_, _>>()?,
        })
    }

    pub fn count(&self) -> i64 {
        (self.steps + self.length - 1) / self.length
    }

    /// The bytes that a local buffer needs for so many rows, if there is one segment of it only.
    pub fn bytes(&self, id: BufferId, rows: i64) -> Option<usize> {
        let filled = self.replays.iter().flat_map(|replay| &replay.streams);
        let stream = self.imports.iter().chain(filled).find(|stream| stream.buffer == id);
        let steps = 1 + self.length as usize;
        stream.map(|stream| stream.row.saturating_mul(rows as usize).saturating_mul(steps))
    }

    /// The bytes of each state for so many rows.
    pub fn state_bytes(&self, rows: i64) -> impl Iterator<Item = usize> {
        let states = self.replays.iter().flat_map(|replay| &replay.states);
        let segments = self.count() as usize;
        states.map(move |(stream, _)| stream.row * rows as usize * segments)
    }

    /// Whether a tile takes its rows of an import segment by segment.
    pub fn has_import(&self, id: BufferId) -> bool {
        self.imports.iter().any(|stream| stream.buffer == id)
    }

    /// The segments in the order of a sweep.
    pub fn in_order(&self, direction: Option<Direction>) -> Box<dyn Iterator<Item = i64>> {
        match direction {
            None => Box::new(std::iter::once(0)),
            Some(Direction::Forward) => Box::new(0..self.count()),
            Some(Direction::Backward) => Box::new((0..self.count()).rev()),
        }
    }

    /// The chunks of a segment in the order of a sweep; all steps at once without a direction.
    pub fn chunks(
        &self,
        direction: Option<Direction>,
        segment: i64,
    ) -> Box<dyn Iterator<Item = (i64, i64)>> {
        let Some(direction) = direction else { return Box::new(std::iter::once((0, self.steps))) };
        let ((first, end), size) = (self.range(segment), direction.chunk());
        let chunks = 0..(end - first + size - 1) / size;
        let chunks = chunks.map(move |at| (first + at * size, (first + (at + 1) * size).min(end)));
        match direction {
            Direction::Forward => Box::new(chunks),
            Direction::Backward => Box::new(chunks.rev()),
        }
    }

    fn range(&self, segment: i64) -> (i64, i64) {
        (segment * self.length, ((segment + 1) * self.length).min(self.steps))
    }

    /// Puts in place what a sweep needs of a segment. `run` runs kernels of a sweep at some steps.
    pub fn enter(
        &self,
        sweep: usize,
        segment: i64,
        buffers: &Buffers,
        room: &mut Room,
        mut run: impl FnMut(&Room, usize, &[usize], (i64, i64)),
    ) {
        if room.imports != Some(segment) {
            self.imports.iter().for_each(|stream| self.import(*stream, segment, buffers, room));
            room.imports = Some(segment);
        }
        for (at, replay) in self.replays.iter().enumerate() {
            if replay.sweep == sweep {
                self.restore(at, segment, room);
            } else if replay.readers.contains(&sweep) && room.replays[at] != Some(segment) {
                self.restore(at, segment, room);
                for steps in self.chunks(Some(Direction::Forward), segment) {
                    run(room, replay.sweep, &replay.kernels, steps);
                }
            }
        }
    }

    /// Keeps the states at the end of a segment, if the sweep fills it.
    pub fn leave(&self, sweep: usize, segment: i64, room: &Room) {
        let (_, end) = self.range(segment);
        let at = self.replays.iter().position(|replay| replay.sweep == sweep);
        let Some(at) = at.filter(|_| end < self.steps) else { return };
        for (step, saved, bytes) in self.states(at, segment + 1, room) {
            // SAFETY: both are as long, and different memory.
            unsafe { std::ptr::copy_nonoverlapping(step, saved, bytes) }
        }
    }

    /// Makes room for a segment of a replay, with the states at its start.
    fn restore(&self, at: usize, segment: i64, room: &mut Room) {
        for stream in &self.replays[at].streams {
            self.place(*stream, segment, room);
        }
        room.replays[at] = Some(segment);
        if segment == 0 {
            return;
        }
        for (step, saved, bytes) in self.states(at, segment, room) {
            // SAFETY: as above.
            unsafe { std::ptr::copy_nonoverlapping(saved, step, bytes) }
        }
    }

    /// For each state at the start of a segment other than the first: where its step is, where it is
    /// kept, and how many bytes it has.
    fn states(
        &self,
        at: usize,
        segment: i64,
        room: &Room,
    ) -> impl Iterator<Item = (*mut u8, *mut u8, usize)> {
        let before = self.range(segment).0 - 1;
        let earlier: usize = self.replays[..at].iter().map(|replay| replay.states.len()).sum();
        let states = self.replays[at].states.iter().zip(&room.states[earlier..]);
        states.map(move |((stream, window), memory)| {
            let bytes = stream.row * room.rows as usize;
            let step = window.map_or(before, |window| before & (window - 1));
            let start = room.starts[stream.buffer.0 as usize];
            let step = start.wrapping_offset(step as isize * bytes as isize);
            (step, memory.start().wrapping_add(segment as usize * bytes), bytes)
        })
    }

    /// Lets a stream start so that the step before the segment is at the start of its memory.
    fn place(&self, stream: Stream, segment: i64, room: &mut Room) {
        let before = self.range(segment).0 - 1;
        let bytes = before as isize * stream.row as isize * room.rows as isize;
        let start = room.locals[stream.local].start();
        room.starts[stream.buffer.0 as usize] = start.wrapping_offset(-bytes);
    }

    /// Takes the rows of a segment, and of the step before it.
    fn import(&self, stream: Stream, segment: i64, buffers: &Buffers, room: &mut Room) {
        self.place(stream, segment, room);
        let (first, end) = self.range(segment);
        let bytes = stream.row * room.rows as usize;
        for step in (first - 1).max(0) as usize..end as usize {
            let whole = (step * room.batch as usize + room.first as usize) * stream.row;
            let from = buffers.0[stream.buffer.0 as usize].wrapping_add(whole);
            let to = room.starts[stream.buffer.0 as usize].wrapping_add(step * bytes);
            // SAFETY: both are as long, and different memory.
            unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) }
        }
    }
}

#[cfg(test)]
mod tests;
