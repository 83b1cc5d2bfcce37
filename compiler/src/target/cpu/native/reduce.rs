//! Reduction loops.

use cranelift::prelude::*;

use super::math::{Mask, Vector, select_lanes, vconst};
use super::{Emitter, Lanes, Scope};
use crate::ir::graph::{Dim, Elem, Pointwise, Reduction};
use crate::ir::kernel::ReduceLoop;

impl Emitter<'_, '_> {
    pub(super) fn reduce(&self, scope: &Scope, index: usize) -> Value {
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
            let neutral = self.neutral(reduce);
            let first = Mask(self.wrap(self.ints([-1, 0, 0, 0])));
            value = first.choose(self.wrap(value), self.wrap(neutral)).value;
        }
        let value = self.wrap(value);
        match reduction {
            Reduction::Sum if reduce.elem == Elem::F32 => {
                let halves = [value.widen_low(), value.widen_high()];
                let sums = state.iter().zip(halves);
                sums.map(|(sum, half)| (self.wrap(*sum) + half).value).collect()
            }
            Reduction::ArgMax => {
                let position = self.loop_position(scope, reduce, index);
                self.better(&state, &[value.value, position], false)
            }
            _ => vec![self.combine(reduce, state[0], value.value)],
        }
    }

    /// The number of an iteration, counted over all axes of the loop.
    fn loop_position(&self, scope: &Scope, reduce: &ReduceLoop, index: usize) -> Value {
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
                let lanes = self.ints([0, 1, 2, 3]);
                self.code().ins().iadd(position, lanes)
            }
        }
    }

    /// What a reduction starts from: sums of f32 are kept in two pairs of f64.
    fn reduction_start(&self, reduce: &ReduceLoop) -> Vec<Value> {
        let start = self.neutral(reduce);
        match reduce.reduction {
            Reduction::Sum if reduce.elem == Elem::F32 => {
                vec![vconst(&self.code, types::F64X2, &[0; 16]); 2]
            }
            Reduction::ArgMax => vec![start, self.ints([0; 4])],
            _ => vec![start],
        }
    }

    /// The result in all lanes.
    fn reduction_result(&self, reduce: &ReduceLoop, state: &[Value], in_lanes: bool) -> Value {
        let rotate = |value, lanes| select_lanes(&self.code, value, lanes);
        match (reduce.reduction, reduce.elem) {
            (Reduction::Sum, Elem::F32) if in_lanes => {
                let pair = (self.wrap(state[0]) + self.wrap(state[1])).value;
                let mut code = self.code();
                let (a, b) = (code.ins().extractlane(pair, 0), code.ins().extractlane(pair, 1));
                let sum = code.ins().fadd(a, b);
                let sum = code.ins().fdemote(types::F32, sum);
                code.ins().splat(types::F32X4, sum)
            }
            (Reduction::Sum, Elem::F32) => {
                Vector::narrow(self.wrap(state[0]), self.wrap(state[1])).value
            }
            (Reduction::ArgMax, _) => {
                let rounds: &[[u8; 4]] = if in_lanes { &FOLDS } else { &[] };
                let folded = rounds.iter().fold(state.to_vec(), |state, lanes| {
                    let other: Vec<Value> = state.iter().map(|v| rotate(*v, *lanes)).collect();
                    self.better(&state, &other, true)
                });
                folded[1]
            }
            _ if in_lanes => FOLDS.iter().fold(state[0], |value, lanes| {
                let other = rotate(value, *lanes);
                self.combine(reduce, value, other)
            }),
            _ => state[0],
        }
    }

    fn combine(&self, reduce: &ReduceLoop, a: Value, b: Value) -> Value {
        let op = match reduce.reduction {
            Reduction::Sum => Pointwise::Add,
            Reduction::Prod => Pointwise::Mul,
            Reduction::Min => Pointwise::Min,
            Reduction::Max | Reduction::ArgMax => Pointwise::Max,
        };
        self.map(op, &[a, b], reduce.elem)
    }

    /// What changes nothing in a reduction.
    fn neutral(&self, reduce: &ReduceLoop) -> Value {
        match (reduce.elem, reduce.reduction) {
            (Elem::I32, Reduction::Sum) => self.ints([0; 4]),
            (Elem::I32, Reduction::Prod) => self.ints([1; 4]),
            (Elem::I32, Reduction::Max | Reduction::ArgMax) => self.ints([i32::MIN; 4]),
            (Elem::I32, Reduction::Min) => self.ints([i32::MAX; 4]),
            (_, Reduction::Sum) => self.floats(0.0).value,
            (_, Reduction::Prod) => self.floats(1.0).value,
            (_, Reduction::Max | Reduction::ArgMax) => self.floats(f32::NEG_INFINITY).value,
            (_, Reduction::Min) => self.floats(f32::INFINITY).value,
        }
    }

    /// The greater of two values with its position, NaN being the greatest; of equals the first in
    /// position, if asked for, else that of `state`.
    fn better(&self, state: &[Value], other: &[Value], break_ties: bool) -> Vec<Value> {
        let (best, value) = (self.wrap(state[0]), self.wrap(other[0]));
        let mut wins = best.less(value).or(value.is_nan().and(best.is_nan().not()));
        if break_ties {
            let earlier = self.code().ins().icmp(IntCC::SignedLessThan, other[1], state[1]);
            let equal = best.equals(value).or(value.is_nan().and(best.is_nan()));
            wins = wins.or(equal.and(Mask(self.wrap(earlier))));
        }
        let position = wins.choose(self.wrap(other[1]), self.wrap(state[1]));
        vec![wins.choose(value, best).value, position.value]
    }
}

/// Lanes from two lanes on, then from the next lane.
const FOLDS: [[u8; 4]; 2] = [[2, 3, 0, 1], [1, 0, 3, 2]];
