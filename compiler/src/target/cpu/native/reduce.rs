//! Reduction loops.

use cranelift::prelude::*;

use super::{Emitter, Lanes, Scope};
use crate::ir::graph::{Dim, Elem, Pointwise, Reduction};
use crate::ir::kernel::ReduceLoop;
use crate::target::cpu::lanes::code::{Mask, Vector, integers};
use crate::target::cpu::lanes::{IntegerOp, Operand, Width, clif};

impl Emitter<'_, '_> {
    pub(super) fn reduce(&self, scope: &Scope, index: usize) -> Operand {
        let mut scope = scope.clone();
        let reduce = &scope.stage.loops[index];
        for val in &reduce.body {
            if !scope.facts.in_loop[val.0 as usize] {
                self.compute(&mut scope, *val);
            }
        }
        let in_lanes = scope.lanes == Lanes::Uniform && !reduce.axes.is_empty();
        let start = self.reduction_start(reduce);
        let state = self.reduce_over_time(&scope, index, in_lanes, start);
        self.reduction_result(reduce, &state, in_lanes)
    }

    fn reduce_over_time(
        &self,
        scope: &Scope,
        index: usize,
        in_lanes: bool,
        state: Vec<Value>,
    ) -> Vec<Value> {
        let reduce = &scope.stage.loops[index];
        if !reduce.over_time {
            return self.reduce_over_axes(scope, index, in_lanes, state);
        }
        let time = self.program.time.clone().unwrap_or_else(Dim::one);
        let mut first = self.int(i64::from(reduce.without_first));
        let mut end = self.dim(&(&time - &Dim::constant(i64::from(reduce.without_last))));
        if !scope.stage.timed {
            first = self.code().ins().smax(first, self.steps.0);
            end = self.code().ins().smin(end, self.steps.1);
        }
        self.fold(first, end, 1, state, |step, state| {
            let mut inner = scope.clone();
            inner.loop_time = Some(step);
            self.reduce_over_axes(&inner, index, in_lanes, state)
        })
    }

    /// The loops over the axes from the next one on.
    fn reduce_over_axes(
        &self,
        scope: &Scope,
        index: usize,
        in_lanes: bool,
        state: Vec<Value>,
    ) -> Vec<Value> {
        let reduce = &scope.stage.loops[index];
        let axis = scope.loop_axes.len();
        let Some(extent) = reduce.axes.get(axis) else {
            return self.reduce_point(&mut scope.clone(), index, state);
        };
        let (lo, hi) = (self.int(0), self.dim(extent));
        let run = |lanes: Lanes, full: bool, position: Value, state: Vec<Value>| {
            let mut inner = scope.clone();
            (inner.lanes, inner.full) = (lanes, full);
            inner.loop_axes.push(position);
            self.reduce_over_axes(&inner, index, in_lanes, state)
        };
        if !in_lanes || axis + 1 < reduce.axes.len() {
            return self.fold(lo, hi, 1, state, |position, state| {
                run(scope.lanes, scope.full, position, state)
            });
        }
        let rest = self.whole_vectors(lo, hi);
        let lanes = Lanes::Loop(index);
        let state = self.fold(lo, rest, 4, state, |at, state| run(lanes, true, at, state));
        self.fold(rest, hi, 1, state, |at, state| run(lanes, false, at, state))
    }

    /// Takes one value (in each lane) into the state of a reduction.
    fn reduce_point(&self, scope: &mut Scope, index: usize, state: Vec<Value>) -> Vec<Value> {
        let reduce = &scope.stage.loops[index];
        for val in &reduce.body {
            self.compute(scope, *val);
        }
        let mut value = self.vector(scope, reduce.value);
        let reduction = reduce.reduction;
        if scope.lanes == Lanes::Loop(index) && !scope.full {
            // The other lanes have had their values.
            let [all, none] = [u32::MAX, 0].map(u32::to_le_bytes);
            let first = [all, none, none, none].concat();
            let first = clif::constant(&mut self.code(), types::I32X4, &first);
            let first = Mask(self.wrap(self.code.made(first)));
            value = first.choose(self.wrap(value), self.wrap(neutral(reduce))).operand;
        }
        let before: Vec<Operand> = state.iter().map(|value| self.code.made(*value)).collect();
        let after = match reduction {
            Reduction::Sum if reduce.elem == Elem::F32 => {
                let value = self.wrap(value);
                let halves = [value.widen_low(), value.widen_high()].into_iter();
                halves.zip(before).map(|(half, sum)| (half.with(sum) + half).operand).collect()
            }
            Reduction::ArgMax => {
                let position = self.loop_position(scope, reduce, index);
                self.better(&before, &[value, position], false)
            }
            _ => vec![self.combine(reduce, before[0], value)],
        };
        let types = state.iter().map(|value| self.code().func.dfg.value_type(*value));
        let types: Vec<Type> = types.collect();
        after.into_iter().zip(types).map(|(value, ty)| self.code.value(value, ty)).collect()
    }

    /// The number of an iteration, counted over all axes of the loop.
    fn loop_position(&self, scope: &Scope, reduce: &ReduceLoop, index: usize) -> Operand {
        let mut position = self.int(0);
        for (at, extent) in scope.loop_axes.iter().zip(&reduce.axes) {
            let extent = self.dim(extent);
            let mut code = self.code();
            let before = code.ins().imul(position, extent);
            position = code.ins().iadd(before, *at);
        }
        let position = self.splat_int(position);
        match scope.lanes == Lanes::Loop(index) {
            false => position,
            true => {
                let lanes = self.wrap(self.lane_numbers());
                self.wrap(position).integer(IntegerOp::Add, lanes).operand
            }
        }
    }

    /// What a reduction starts from: sums of f32 are kept in two pairs of f64.
    fn reduction_start(&self, reduce: &ReduceLoop) -> Vec<Value> {
        let ty = if reduce.elem == Elem::F32 { types::F32X4 } else { types::I32X4 };
        let start = |ty| self.code.value(neutral(reduce), ty);
        match reduce.reduction {
            Reduction::Sum if reduce.elem == Elem::F32 => vec![start(types::F64X2); 2],
            Reduction::ArgMax => vec![start(ty), self.code.value(integers(0), types::I32X4)],
            _ => vec![start(ty)],
        }
    }

    /// The result in all lanes.
    fn reduction_result(&self, reduce: &ReduceLoop, state: &[Value], in_lanes: bool) -> Operand {
        let made = |value: &Value| self.code.made(*value);
        match (reduce.reduction, reduce.elem) {
            (Reduction::Sum, Elem::F32) => {
                let [low, high] = [0, 1].map(|at| self.code.vector(made(&state[at]), Width::W64));
                if !in_lanes {
                    return Vector::narrow(low, high).operand;
                }
                let pair = self.code.value((low + high).operand, types::F64X2);
                let mut code = self.code();
                let (a, b) = (code.ins().extractlane(pair, 0), code.ins().extractlane(pair, 1));
                let sum = code.ins().fadd(a, b);
                let sum = code.ins().fdemote(types::F32, sum);
                self.code.made(code.ins().splat(types::F32X4, sum))
            }
            (Reduction::ArgMax, _) => {
                let rounds: &[[u8; 4]] = if in_lanes { &FOLDS } else { &[] };
                let state: Vec<Operand> = state.iter().map(made).collect();
                let folded = rounds.iter().fold(state, |state, lanes| {
                    let other = state.iter().map(|value| self.rotated(*value, *lanes));
                    self.better(&state, &other.collect::<Vec<Operand>>(), true)
                });
                folded[1]
            }
            _ if in_lanes => FOLDS.iter().fold(made(&state[0]), |value, lanes| {
                self.combine(reduce, value, self.rotated(value, *lanes))
            }),
            _ => made(&state[0]),
        }
    }

    /// With the lanes in another order.
    fn rotated(&self, value: Operand, lanes: [u8; 4]) -> Operand {
        let value = self.code.value(value, types::F32X4);
        self.code.made(clif::shuffle(&mut self.code(), value, value, lanes))
    }

    fn combine(&self, reduce: &ReduceLoop, a: Operand, b: Operand) -> Operand {
        let op = match reduce.reduction {
            Reduction::Sum => Pointwise::Add,
            Reduction::Prod => Pointwise::Mul,
            Reduction::Min => Pointwise::Min,
            Reduction::Max | Reduction::ArgMax => Pointwise::Max,
        };
        self.map(op, &[a, b], reduce.elem)
    }

    /// The greater of two values with its position, NaN being the greatest; of equals the first in
    /// position, if asked for, else that of `state`.
    fn better(&self, state: &[Operand], other: &[Operand], break_ties: bool) -> Vec<Operand> {
        let (best, value) = (self.wrap(state[0]), self.wrap(other[0]));
        let (before, position) = (self.wrap(state[1]), self.wrap(other[1]));
        let mut wins = best.less(value).or(value.is_nan().and(best.is_nan().not()));
        if break_ties {
            let earlier = Mask(before.integer(IntegerOp::Greater, position));
            let equal = best.equals(value).or(value.is_nan().and(best.is_nan()));
            wins = wins.or(equal.and(earlier));
        }
        vec![wins.choose(value, best).operand, wins.choose(position, before).operand]
    }
}

/// What changes nothing in a reduction.
fn neutral(reduce: &ReduceLoop) -> Operand {
    let float = |number: f32| integers(number.to_bits() as i32);
    match (reduce.elem, reduce.reduction) {
        (Elem::I32, Reduction::Sum) => integers(0),
        (Elem::I32, Reduction::Prod) => integers(1),
        (Elem::I32, Reduction::Max | Reduction::ArgMax) => integers(i32::MIN),
        (Elem::I32, Reduction::Min) => integers(i32::MAX),
        (_, Reduction::Sum) => float(0.0),
        (_, Reduction::Prod) => float(1.0),
        (_, Reduction::Max | Reduction::ArgMax) => float(f32::NEG_INFINITY),
        (_, Reduction::Min) => float(f32::INFINITY),
    }
}

/// Lanes from two lanes on, then from the next lane.
const FOLDS: [[u8; 4]; 2] = [[2, 3, 0, 1], [1, 0, 3, 2]];
