//! What is known of a stage before its code is made.

use super::product::ProductPlan;
use super::{Emitter, Lanes};
use crate::ir::graph::op::Signature;
use crate::ir::graph::{Dim, Elem};
use crate::ir::kernel::{Affine, BufferId, Inst, Stage, Val};

/// What is known of the values of a stage before its code is made.
pub(super) struct Facts {
    pub elems: Vec<Elem>,
    /// The outermost place at which a value may be computed: 0 before everything, 1 in the loop over
    /// time, `2 + axis` in the loop over an axis.
    pub levels: Vec<usize>,
    /// The value changes with some variable of a reduction loop.
    pub in_loop: Vec<bool>,
    /// The value changes with the last axis of a reduction loop.
    pub in_last_loop: Vec<bool>,
    /// The axis that runs in lanes.
    pub vector_axis: Option<usize>,
    /// For each loop that is a matrix product, its index and how its operands are found.
    pub products: Vec<Option<ProductPlan>>,
}

impl Facts {
    pub(super) fn new(emitter: &Emitter, stage: &Stage) -> Facts {
        let mut facts = Facts {
            elems: Vec::new(),
            levels: Vec::new(),
            in_loop: Vec::new(),
            in_last_loop: Vec::new(),
            vector_axis: None,
            products: stage.loops.iter().map(|_| None).collect(),
        };
        for (at, inst) in stage.insts.iter().enumerate() {
            facts.add(emitter, stage, Val(at as u32), inst);
        }
        if let Some(last) = stage.axes.len().checked_sub(1) {
            let across = (0..stage.loops.len()).any(|index| facts.runs_across(stage, index));
            facts.vector_axis = (!across).then_some(last);
        }
        facts
    }

    fn add(&mut self, emitter: &Emitter, stage: &Stage, val: Val, inst: &Inst) {
        let (own, args): (usize, Vec<Val>) = match inst {
            Inst::Axis(axis) => (2 + axis, vec![]),
            Inst::Time => (1, vec![]),
            Inst::Load(buffer, at) => (emitter.load_level(*buffer), terms(at)),
            Inst::Reduce(index) => {
                self.products[*index] = emitter.plan_product(stage, self, *index);
                let level = self.products[*index].as_ref().map_or(0, |_| 1 + stage.axes.len());
                (level, stage.loops[*index].body.clone())
            }
            Inst::Affine(at) => (0, terms(at)),
            Inst::Quotient(arg, _) | Inst::Remainder(arg, _) => (0, vec![*arg]),
            Inst::Map(_, args) => (0, args.clone()),
            _ => (0, vec![]),
        };
        let is_reduce = matches!(inst, Inst::Reduce(_));
        let any = |set: &[bool]| !is_reduce && args.iter().any(|arg| set[arg.0 as usize]);
        let is_variable = matches!(inst, Inst::LoopAxis(..) | Inst::LoopTime(_));
        let is_last = matches!(inst, Inst::LoopAxis(index, axis)
            if axis + 1 == stage.loops[*index].axes.len());
        let in_loop = is_variable || any(&self.in_loop);
        let in_last_loop = is_last || any(&self.in_last_loop);
        let elem = match inst {
            Inst::Map(op, args) => match op.row().signature {
                Signature::Numeric => self.elem(args[0]),
                Signature::Choice => self.elem(args[1]),
                _ => stage.elem(val, emitter.program),
            },
            _ => stage.elem(val, emitter.program),
        };
        self.elems.push(elem);
        self.levels.push(args.iter().map(|arg| self.level(*arg)).fold(own, usize::max));
        self.in_loop.push(in_loop);
        self.in_last_loop.push(in_last_loop);
    }

    /// The loop reads memory in order along its last axis, but not along the stage's.
    fn runs_across(&self, stage: &Stage, index: usize) -> bool {
        let reduce = &stage.loops[index];
        let innermost = 1 + stage.axes.len();
        let on_axis = reduce.body.iter().any(|val| self.level(*val) == innermost);
        if reduce.axes.is_empty() || self.products[index].is_some() || !on_axis {
            return false;
        }
        let in_order = |lanes: Lanes| {
            reduce.body.iter().all(|val| match stage.inst(*val) {
                Inst::Load(_, at) => self
                    .stride(stage, lanes, at)
                    .is_some_and(|stride| stride.is_zero() || stride.is_one()),
                _ => true,
            })
        };
        in_order(Lanes::Loop(index)) && !in_order(Lanes::Axis)
    }

    pub(super) fn level(&self, val: Val) -> usize {
        self.levels[val.0 as usize]
    }

    pub(super) fn elem(&self, val: Val) -> Elem {
        self.elems[val.0 as usize]
    }

    pub(super) fn varies(&self, stage: &Stage, lanes: Lanes, val: Val) -> bool {
        match lanes {
            Lanes::Uniform => false,
            Lanes::Axis => self.level(val) == 1 + stage.axes.len(),
            Lanes::Loop(_) => self.in_last_loop[val.0 as usize],
        }
    }

    /// By how much an index moves from lane to lane, if always by as much.
    pub(super) fn stride(&self, stage: &Stage, lanes: Lanes, at: &Affine) -> Option<Dim> {
        let mut sum = Dim::zero();
        for (val, by) in &at.terms {
            sum = &sum + &(&self.stride_of(stage, lanes, *val)? * by);
        }
        Some(sum)
    }

    pub(super) fn stride_of(&self, stage: &Stage, lanes: Lanes, val: Val) -> Option<Dim> {
        if !self.varies(stage, lanes, val) {
            return Some(Dim::zero());
        }
        match stage.inst(val) {
            Inst::Axis(_) | Inst::LoopAxis(..) => Some(Dim::one()),
            Inst::Affine(at) => self.stride(stage, lanes, at),
            _ => None,
        }
    }
}

fn terms(at: &Affine) -> Vec<Val> {
    at.terms.iter().map(|(val, _)| *val).collect()
}

impl Emitter<'_, '_> {
    /// Buffers that the kernel writes change from step to step.
    fn load_level(&self, buffer: BufferId) -> usize {
        usize::from(self.kernel.recurrence.is_some() && self.writes(buffer))
    }

    pub(super) fn writes(&self, buffer: BufferId) -> bool {
        let mut stores = self.kernel.stages.iter().flat_map(|stage| &stage.stores);
        stores.any(|store| store.buffer == buffer)
    }
}
