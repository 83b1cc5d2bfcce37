//! What the next step of a recurrence is the first to read or write, so that it can be fetched while
//! this one runs.
//!
//! A stream of all steps is far away when the backward pass comes to it, and goes by in an order that
//! machines do not foresee: each step's rows forwards, the steps themselves backwards.

use std::collections::BTreeMap;

use cranelift::prelude::*;

use super::values::Place;
use super::{Emitter, Scope};
use crate::ir::graph::Pointwise;
use crate::ir::kernel::{Affine, BufferId, Direction, Inst, Stage, Val};
use crate::target::cpu::lanes::Op;

impl Emitter<'_, '_> {
    /// Fetches it, in a loop that is recorded. At the ends of time there may be nothing.
    pub(super) fn look_ahead(&self, scope: &mut Scope) {
        let Some(direction) = self.kernel.recurrence else { return };
        if !self.code.is_recording() {
            return;
        }
        for (buffer, (_, at)) in self.frontiers(scope.stage, direction) {
            let Place::Contiguous(flat) = self.place(scope, buffer, at) else { continue };
            let mut step = self.dim(&self.program.step_size(buffer));
            if direction == Direction::Backward {
                step = self.code().ins().ineg(step);
            }
            let next = self.code().ins().iadd(flat, step);
            let pointer = self.pointer_at(scope, buffer, at, next);
            self.code.push(Op::Fetch(pointer), &[]);
        }
    }

    /// Of each stream that has all steps, the step that a stage reaches first, counted from its own,
    /// and the index.
    fn frontiers<'s>(
        &self,
        stage: &'s Stage,
        direction: Direction,
    ) -> BTreeMap<BufferId, (i64, &'s Affine)> {
        let loads = stage.body.iter().filter_map(|val| match stage.inst(*val) {
            Inst::Load(buffer, at) => Some((*buffer, at)),
            _ => None,
        });
        let stores = stage.stores.iter().map(|store| (store.buffer, &store.at));
        let mut frontiers = BTreeMap::new();
        for (id, at) in loads.chain(stores) {
            let buffer = self.program.buffer(id);
            let has_all_steps = buffer.stream && self.windows[id.0 as usize].is_none();
            let size = self.program.step_size(id);
            let step = at.terms.iter().find(|(_, by)| *by == size);
            let step = step.and_then(|(val, _)| steps_on(stage, *val));
            let Some(step) = step.filter(|_| has_all_steps && !buffer.is_packed()) else {
                continue;
            };
            let frontier = frontiers.entry(id).or_insert((step, at));
            let is_further = match direction {
                Direction::Forward => step > frontier.0,
                Direction::Backward => step < frontier.0,
            };
            if is_further {
                *frontier = (step, at);
            }
        }
        frontiers
    }
}

/// How many steps on from that of the loop a step is, but at the ends of time.
fn steps_on(stage: &Stage, val: Val) -> Option<i64> {
    match stage.inst(val) {
        Inst::Time => Some(0),
        Inst::Affine(Affine { constant, terms }) => match terms.as_slice() {
            [(val, by)] if by.is_one() => Some(constant.as_const()? + steps_on(stage, *val)?),
            _ => None,
        },
        Inst::Map(Pointwise::Min | Pointwise::Max, args) => {
            args.iter().find_map(|arg| steps_on(stage, *arg))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cranelift::codegen::ir::Function;
    use cranelift::codegen::isa::CallConv;

    use super::*;
    use crate::ir::graph::{Dim, Elem};
    use crate::ir::kernel::{Buffer, BufferSource, Kernel, Program, Storage, Store};
    use crate::target::cpu::native::{Products, Target, signature};

    /// `y[t] = x[t] + x[max(t - 1, 0)]`, row by row.
    fn program() -> Program {
        let row = Dim::constant(16);
        let buffer = |name: &str| Buffer {
            name: name.into(),
            elem: Elem::F32,
            dims: vec![Dim::symbol("B"), row.clone()],
            stream: true,
            source: BufferSource::Kernel,
            binary: false,
            storage: Storage::F32,
        };
        let mut program = Program { buffers: vec![buffer("x"), buffer("y")], ..Program::default() };
        let step = program.step_size(BufferId(0));
        let at = |time: u32| Affine {
            terms: vec![(Val(0), row.clone()), (Val(1), Dim::one()), (Val(time), step.clone())],
            constant: Dim::zero(),
        };
        let before = Affine { terms: vec![(Val(2), Dim::one())], constant: Dim::constant(-1) };
        let stage = Stage {
            axes: vec![Dim::symbol("B"), row.clone()],
            timed: true,
            insts: vec![
                Inst::Axis(0),
                Inst::Axis(1),
                Inst::Time,
                Inst::Affine(before),
                Inst::I32(0),
                Inst::Map(Pointwise::Max, vec![Val(3), Val(4)]),
                Inst::Load(BufferId(0), at(2)),
                Inst::Load(BufferId(0), at(5)),
                Inst::Map(Pointwise::Add, vec![Val(6), Val(7)]),
            ],
            body: (0..9).map(Val).collect(),
            stores: vec![Store { buffer: BufferId(1), at: at(2), value: Val(8) }],
            ..Stage::default()
        };
        program.forward = vec![Kernel {
            name: "kernel".into(),
            recurrence: None,
            local_axes: 1,
            stages: vec![stage],
            span: None,
        }];
        program
    }

    fn steps_of_frontiers(windows: &[Option<i64>], direction: Direction) -> Vec<(u32, i64)> {
        let program = program();
        let mut function = Function::new();
        function.signature = signature(CallConv::SystemV, 5);
        let mut context = FunctionBuilderContext::new();
        let builder = FunctionBuilder::new(&mut function, &mut context);
        let target = Target { call_conv: CallConv::SystemV, has_fma: false, widest: None };
        let kernel = &program.forward[0];
        let emitter = Emitter::new(&program, kernel, windows, builder, target, Products::Called);
        let frontiers = emitter.frontiers(&kernel.stages[0], direction);
        frontiers.into_iter().map(|(buffer, (step, _))| (buffer.0, step)).collect()
    }

    #[test]
    fn the_furthest_step_of_each_whole_stream_is_found() {
        let whole = [None, None];
        assert_eq!(steps_of_frontiers(&whole, Direction::Forward), [(0, 0), (1, 0)]);
        assert_eq!(steps_of_frontiers(&whole, Direction::Backward), [(0, -1), (1, 0)]);
        assert_eq!(steps_of_frontiers(&[None, Some(8)], Direction::Backward), [(0, -1)]);
    }
}
