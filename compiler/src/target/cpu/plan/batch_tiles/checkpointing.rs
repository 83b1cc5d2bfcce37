//! Streams of which a group keeps one segment of time at once.
//!
//! Without more, a tile keeps every step of what its forward sweeps leave for its backward sweeps. In
//! segments it keeps the steps of one segment, and of the others only the states at their start: the
//! step before, of streams that look back. Before a backward sweep comes to a segment, the kernels that
//! fill these streams run again from its states. They are the same kernels on the same numbers, in the
//! same chunks of steps, so that nothing changes but when they run.

use super::*;

/// What a group needs not keep.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Segmented {
    /// Streams that are filled before the group, each of which is read step by step.
    pub imports: Vec<BufferId>,
    /// One for each forward sweep.
    pub replays: Vec<Replay>,
}

/// A forward sweep that can run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Its place in [`Group::sweeps`].
    pub sweep: usize,
    /// The streams that it fills of which there must be one segment only, and the step before.
    pub streams: Vec<BufferId>,
    /// Of these and of those with a window ([`windows`]), the ones whose last step is needed at the next.
    pub states: Vec<BufferId>,
    /// The sweeps, backward, that need the streams again.
    pub readers: Vec<usize>,
    /// The kernels that run again for them, by their place in [`Sweep::kernels`].
    pub kernels: Vec<usize>,
}

/// What needs not be there for all steps at once; `windows` are those of the program, [`windows`].
pub fn segmented(program: &Program, group: &Group, windows: &[Option<i64>]) -> Segmented {
    let analysis = Streams { program, group, windows, all: program.kernels().collect() };
    let is_open = |id: &&BufferId| analysis.is_open(**id);
    let imports = group.imports.iter().filter(is_open).filter(|id| analysis.is_read_in_turn(**id));
    let forward = |at: &usize| group.sweeps[*at].direction == Some(Direction::Forward);
    Segmented {
        imports: imports.copied().collect(),
        replays: (0..group.sweeps.len()).filter(forward).map(|at| analysis.replay(at)).collect(),
    }
}

struct Streams<'p> {
    program: &'p Program,
    group: &'p Group,
    windows: &'p [Option<i64>],
    all: Vec<&'p Kernel>,
}

impl Streams<'_> {
    /// A stream that there is room for all steps of, and that is nothing of the group's results.
    fn is_open(&self, id: BufferId) -> bool {
        let is_whole = self.windows[id.0 as usize].is_none();
        self.program.buffer(id).stream && is_whole && !self.group.exports.contains(&id)
    }

    fn sweep(&self, at: usize) -> impl Iterator<Item = &Kernel> {
        self.group.sweeps[at].kernels.iter().map(|kernel| self.all[*kernel])
    }

    /// The sweeps that read or write a stream.
    fn users(&self, id: BufferId) -> Vec<usize> {
        let uses = |at: &usize| self.sweep(*at).any(|kernel| kernel.buffers().any(|b| b == id));
        (0..self.group.sweeps.len()).filter(uses).collect()
    }

    fn is_read_in_turn(&self, id: BufferId) -> bool {
        self.users(id).into_iter().all(|at| self.is_in_turn(at, id))
    }

    /// The sweep only uses the step that it is at, and the one before in time.
    fn is_in_turn(&self, sweep: usize, id: BufferId) -> bool {
        let is_near = |reach| matches!(reach, Some((-1..=0, -1..=0)));
        self.group.sweeps[sweep].direction.is_some()
            && self.sweep(sweep).all(|kernel| {
                let reaches = kernel.reaches(self.program, id);
                reaches.is_empty() || kernel.is_cut_by_steps() && reaches.into_iter().all(is_near)
            })
    }

    /// The sweep only uses the last step.
    fn is_of_last(&self, sweep: usize, id: BufferId) -> bool {
        let Some(time) = &self.program.time else { return false };
        let step = self.program.step_size(id);
        let last = &step * &(time - &Dim::one());
        self.sweep(sweep).all(|kernel| {
            let mut stages = kernel.stages.iter();
            !kernel.stores(id) && stages.all(|stage| stage.reads_only(id, &last))
        })
    }

    fn replay(&self, sweep: usize) -> Replay {
        let written: BTreeSet<BufferId> = self.sweep(sweep).flat_map(Kernel::written).collect();
        let direction = |at: usize| self.group.sweeps[at].direction;
        let is_backward = |at: &usize| direction(*at) == Some(Direction::Backward);
        let in_turn = |id: &BufferId| {
            self.is_open(*id)
                && self.users(*id).into_iter().all(|at| match direction(at) {
                    None => at > sweep && self.is_of_last(at, *id),
                    Some(Direction::Forward) => at == sweep && self.is_in_turn(at, *id),
                    Some(Direction::Backward) => at > sweep && self.is_in_turn(at, *id),
                })
        };
        let mut streams: Vec<BufferId> = written.iter().copied().filter(in_turn).collect();
        let readers = |streams: &[BufferId]| -> BTreeSet<usize> {
            streams.iter().flat_map(|id| self.users(*id)).filter(is_backward).collect()
        };
        // The last segment is there until the first of them.
        let first = readers(&streams).first().copied().unwrap_or(usize::MAX);
        let is_early = |at: usize| direction(at).is_some() || at < first;
        streams.retain(|id| self.users(*id).into_iter().all(is_early));
        let readers = readers(&streams);
        let mut needed: BTreeSet<BufferId> = readers
            .iter()
            .flat_map(|at| self.sweep(*at).flat_map(Kernel::read))
            .filter(|id| streams.contains(id))
            .collect();
        let is_partial = |id: &BufferId| {
            written.contains(id) && (streams.contains(id) || self.windows[id.0 as usize].is_some())
        };
        let mut kernels = Vec::new();
        for (at, kernel) in self.sweep(sweep).enumerate().collect::<Vec<_>>().into_iter().rev() {
            if kernel.written().any(|id| needed.contains(&id)) {
                needed.extend(kernel.buffers().filter(is_partial));
                kernels.push(at);
            }
        }
        kernels.reverse();
        let looks_back = |id: &BufferId| {
            let sweeps = readers.iter().chain(std::iter::once(&sweep));
            let kernels = sweeps.flat_map(|at| self.sweep(*at));
            let mut reaches = kernels.flat_map(|kernel| kernel.reaches(self.program, *id));
            reaches.any(|reach| reach.is_none_or(|(from, _)| from < 0))
        };
        let states = written.iter().filter(|id| streams.contains(id) || needed.contains(id));
        let states = states.copied().filter(|id| looks_back(id)).collect();
        Replay { sweep, streams, states, kernels, readers: readers.into_iter().collect() }
    }
}

impl Kernel {
    /// For each access to a buffer, from and to how many steps from its own; `None` for anything else.
    fn reaches(&self, program: &Program, buffer: BufferId) -> Vec<Option<(i64, i64)>> {
        let step = program.step_size(buffer);
        let last = program.time.as_ref().map(|time| time - &Dim::one());
        let reaches = self.stages.iter().flat_map(|stage| {
            let stored = stage.stores.iter().map(|store| (store.buffer, &store.at));
            let accesses = stage.loads().chain(stored).filter(|(id, _)| *id == buffer);
            accesses.map(|(_, at)| stage.reach(at, &step, last.as_ref())).collect::<Vec<_>>()
        });
        reaches.collect()
    }

    /// Called with some steps, it sees no others.
    fn is_cut_by_steps(&self) -> bool {
        let over_time = |stage: &Stage| stage.loops.iter().any(|reduce| reduce.over_time);
        self.stages.iter().all(|stage| stage.timed != over_time(stage))
    }
}

impl Stage {
    /// From and to how many steps an index is from the step of the stage, or of its loop over time.
    fn reach(&self, at: &Affine, step: &Dim, last: Option<&Dim>) -> Option<(i64, i64)> {
        let is_axis = |val: Val| matches!(self.inst(val), Inst::Axis(_) | Inst::LoopAxis(..));
        let mut steps = at.terms.iter().filter(|(val, by)| by == step && !is_axis(*val));
        let (Some((val, _)), None) = (steps.next(), steps.next()) else { return None };
        let constant = |steps: i64| &at.constant - &(step * &Dim::constant(steps));
        let own = [0, -1, 1].into_iter().find(|steps| constant(*steps).as_const().is_some())?;
        let (from, to) = self.steps_from_own(*val, last)?;
        Some((from + own, to + own))
    }

    /// The same for a number of a step, which `max` and `min` may keep inside of the sequence.
    fn steps_from_own(&self, val: Val, last: Option<&Dim>) -> Option<(i64, i64)> {
        match self.inst(val) {
            Inst::Time | Inst::LoopTime(_) => Some((0, 0)),
            Inst::Affine(at) => match at.terms.as_slice() {
                [(inner, by)] if by.is_one() => {
                    let moved = at.constant.as_const()?;
                    let (from, to) = self.steps_from_own(*inner, last)?;
                    Some((from + moved, to + moved))
                }
                _ => None,
            },
            Inst::Map(op @ (Pointwise::Max | Pointwise::Min), args) => {
                let [a, b] = *args.as_slice() else { return None };
                let (inner, bound) = match self.constant(b) {
                    Some(bound) => (a, bound),
                    None => (b, self.constant(a)?),
                };
                let (from, to) = self.steps_from_own(inner, last)?;
                match op {
                    Pointwise::Max if bound.is_zero() => Some((from, to.max(0))),
                    Pointwise::Min if Some(&bound) == last => Some((from.min(0), to)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The value of an index that depends on nothing but dimensions.
    fn constant(&self, val: Val) -> Option<Dim> {
        match self.inst(val) {
            Inst::I32(number) => Some(Dim::constant(i64::from(*number))),
            Inst::Dim(dim) => Some(dim.clone()),
            Inst::Affine(at) => at.terms.iter().try_fold(at.constant.clone(), |sum, (val, by)| {
                Some(&sum + &(&self.constant(*val)? * by))
            }),
            _ => None,
        }
    }

    /// All loads of the buffer are of the step that starts at this index.
    fn reads_only(&self, buffer: BufferId, start: &Dim) -> bool {
        let is_axis = |val: Val| matches!(self.inst(val), Inst::Axis(_) | Inst::LoopAxis(..));
        self.loads().filter(|(id, _)| *id == buffer).all(|(_, at)| {
            at.terms.iter().all(|(val, _)| is_axis(*val))
                && (&at.constant - start).as_const().is_some_and(|rest| rest >= 0)
        })
    }
}
