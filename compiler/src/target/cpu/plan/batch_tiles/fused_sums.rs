//! Sums over the batch and time that a backward recurrence makes on its way.
//!
//! The gradient of a time constant is a sum over rows and steps of what the recurrence has at hand,
//! element by element. A kernel of its own would read whole streams again, from a cache further away
//! than that in which a step is computed, and the recurrence would have to keep them.

use super::*;

/// Makes every sum that can be made so a part of its recurrence. The program is split.
pub(super) fn fuse(program: &mut Program, batch: &Dim) {
    let mut at = 0;
    while at < program.backward.len() {
        match fused(program, batch, at) {
            Some((home, stage)) => {
                program.backward[home].stages = vec![stage];
                program.backward.remove(at);
            }
            None => at += 1,
        }
    }
}

/// The recurrence that can make the sum of a kernel, and its stage with it.
fn fused(program: &Program, batch: &Dim, at: usize) -> Option<(usize, Stage)> {
    let analysis = Analysis { program, batch: batch.clone() };
    let kernel = &program.backward[at];
    if analysis.kernel_use(kernel) != Use::Sum {
        return None;
    }
    let (sum, reduce) = (&kernel.stages[0], &kernel.stages[0].loops[0]);
    let store = &sum.stores[0];
    let last = Inst::Axis(sum.axes.len().checked_sub(1)?);
    // Lanes are along the last axis: each has an element of its own.
    let has_own = store.at.terms.iter().any(|(val, by)| by.is_one() && *sum.inst(*val) == last);
    let is_whole = reduce.over_time && !reduce.without_last && reduce.axes.len() == 1 && has_own;
    let takes = |home: &usize| {
        let home = &program.backward[*home];
        let [stage] = home.stages.as_slice() else { return false };
        home.recurrence == Some(Direction::Backward)
            && stage.axes.get(1..) == Some(&sum.axes)
            && analysis.kernel_use(home) == Use::Rows
            && sum.loads().any(|(buffer, _)| home.stores(buffer))
    };
    let home = (0..at).rev().find(takes).filter(|_| is_whole)?;
    let known = program.backward[home + 1..at].iter().flat_map(Kernel::written);
    let later: BTreeSet<BufferId> = known.collect();
    if sum.loads().any(|(buffer, _)| later.contains(&buffer)) {
        return None;
    }
    let stage = program.backward[home].stages[0].clone();
    let mut joined = Joined { program, sum, stage, vals: vec![None; sum.insts.len()] };
    let value = joined.take(reduce.value)?;
    let value = if reduce.without_first { joined.after_first_step(value) } else { value };
    let at = joined.index(&store.at)?;
    joined.stage.sums.push(Store { buffer: store.buffer, at, value });
    Some((home, joined.stage))
}

/// A recurrence that takes over the values of a sum: the row and the step of the sum's loop are its own.
struct Joined<'p> {
    program: &'p Program,
    sum: &'p Stage,
    stage: Stage,
    /// What has been taken over.
    vals: Vec<Option<Val>>,
}

impl Joined<'_> {
    fn take(&mut self, val: Val) -> Option<Val> {
        if let Some(known) = self.vals[val.0 as usize] {
            return Some(known);
        }
        let taken = match self.sum.inst(val) {
            Inst::Load(buffer, at) => self.load(*buffer, at)?,
            Inst::Axis(axis) => self.put(Inst::Axis(axis + 1)),
            Inst::LoopAxis(..) => self.put(Inst::Axis(0)),
            Inst::LoopTime(_) => self.put(Inst::Time),
            Inst::Quotient(arg, by) => {
                let arg = self.take(*arg)?;
                self.put(Inst::Quotient(arg, by.clone()))
            }
            Inst::Remainder(arg, by) => {
                let arg = self.take(*arg)?;
                self.put(Inst::Remainder(arg, by.clone()))
            }
            Inst::Affine(at) => {
                let at = self.index(at)?;
                self.put(Inst::Affine(at))
            }
            Inst::Map(op, args) => {
                let args = args.iter().map(|arg| self.take(*arg)).collect::<Option<_>>()?;
                self.put(Inst::Map(*op, args))
            }
            Inst::Time | Inst::Reduce(_) => return None,
            constant => self.put(constant.clone()),
        };
        self.vals[val.0 as usize] = Some(taken);
        Some(taken)
    }

    /// What the recurrence stores at this point is at hand. Of other streams of the backward pass there
    /// is this step, of those of the forward pass the one before it, too.
    fn load(&mut self, buffer: BufferId, at: &Affine) -> Option<Val> {
        if !self.program.buffer(buffer).stream {
            let at = self.index(at)?;
            return Some(self.put(Inst::Load(buffer, at)));
        }
        let step = self.program.step_size(buffer);
        let offset = self.sum.offset(at, &step)?;
        let is_forward = !self.program.backward.iter().any(|kernel| kernel.stores(buffer));
        if offset != 0 && !(offset == -1 && is_forward) {
            return None;
        }
        let mut index = self.index(at)?;
        let stored = self.stage.stores.iter().find(|store| store.buffer == buffer);
        if let Some(stored) = stored {
            return (stored.at == index).then_some(stored.value);
        }
        let before = &index.constant + &step;
        if offset == -1 && before.as_const().is_some() {
            // There is none before the first, whose term does not count.
            let time = self.put(Inst::Time);
            let moved = Affine { terms: vec![(time, Dim::one())], constant: Dim::constant(-1) };
            let (moved, zero) = (self.put(Inst::Affine(moved)), self.put(Inst::I32(0)));
            let kept = self.put(Inst::Map(Pointwise::Max, vec![moved, zero]));
            let terms = index.terms.iter_mut().filter(|(val, by)| *val == time && *by == step);
            terms.for_each(|(val, _)| *val = kept);
            index.terms.sort();
            index.constant = before;
        }
        Some(self.put(Inst::Load(buffer, index)))
    }

    fn index(&mut self, at: &Affine) -> Option<Affine> {
        let mut terms = Vec::new();
        for (val, by) in &at.terms {
            terms.push((self.take(*val)?, by.clone()));
        }
        terms.sort();
        Some(Affine { terms, constant: at.constant.clone() })
    }

    /// Zero in the first step.
    fn after_first_step(&mut self, value: Val) -> Val {
        let (time, first) = (self.put(Inst::Time), self.put(Inst::I32(0)));
        let is_first = self.put(Inst::Map(Pointwise::Eq, vec![time, first]));
        let zero = self.put(Inst::F32(0));
        self.put(Inst::Map(Pointwise::Select, vec![is_first, zero, value]))
    }

    /// A value of the recurrence's body, which may have it already.
    fn put(&mut self, inst: Inst) -> Val {
        let stage = &mut self.stage;
        if let Some(known) = stage.body.iter().find(|val| *stage.inst(**val) == inst) {
            return *known;
        }
        let val = Val(stage.insts.len() as u32);
        stage.insts.push(inst);
        stage.spans.push(None);
        stage.body.push(val);
        val
    }
}
