//! The values of a body: loads, indices, and what they are made of.

use std::mem::offset_of;

use cranelift::prelude::*;

use super::math::vconst;
use super::{Emitter, Frame, Scope, memory};
use crate::ir::graph::{Dim, Elem, Pointwise};
use crate::ir::kernel::{Affine, BufferId, Inst, Stage, Val};

/// Where the lanes of an access are, as flat indices.
pub(super) enum Place {
    /// Lane 0 alone counts, or all are here.
    One(Value),
    Contiguous(Value),
    Each([Value; 4]),
}

impl<'f> Emitter<'_, 'f> {
    pub(super) fn compute(&self, scope: &mut Scope, val: Val) {
        if matches!(scope.stage.inst(val), Inst::Load(..) | Inst::Map(..) | Inst::Reduce(_)) {
            self.vector(scope, val);
        }
    }

    /// A value in lanes: f32, i32, or for booleans all ones or zero.
    pub(super) fn vector(&self, scope: &mut Scope, val: Val) -> Value {
        if let Some(known) = scope.vectors[val.0 as usize] {
            return known;
        }
        let stage = scope.stage;
        let vector = match stage.inst(val) {
            Inst::F32(bits) => vconst(&self.code, types::F32X4, &bits.to_le_bytes().repeat(4)),
            Inst::I32(number) => self.ints([*number; 4]),
            Inst::Bool(truth) => self.ints([-i32::from(*truth); 4]),
            Inst::Load(buffer, at) => self.load(scope, *buffer, at, scope.facts.elem(val)),
            Inst::Map(op, args) => {
                let elem = args.first().map_or(Elem::F32, |arg| scope.facts.elem(*arg));
                let args: Vec<Value> = args.iter().map(|arg| self.vector(scope, *arg)).collect();
                self.map(*op, &args, elem)
            }
            Inst::Reduce(index) => match &scope.facts.products[*index] {
                Some(plan) => self.product_result(scope, plan),
                None => self.reduce(scope, *index),
            },
            inst => self.index_vector(scope, val, inst),
        };
        scope.vectors[val.0 as usize] = Some(vector);
        vector
    }

    /// An index in lanes.
    fn index_vector(&self, scope: &mut Scope, val: Val, inst: &Inst) -> Value {
        if let Some(stride) = scope.facts.stride_of(scope.stage, scope.lanes, val) {
            let first = self.scalar(scope, val);
            let first = self.splat_int(first);
            return match stride.is_zero() {
                true => first,
                false => {
                    let lanes = self.ints([0, 1, 2, 3]);
                    let stride = self.dim(&stride);
                    let stride = self.splat_int(stride);
                    let moved = self.code().ins().imul(lanes, stride);
                    self.code().ins().iadd(first, moved)
                }
            };
        }
        match inst {
            Inst::Affine(at) => {
                let constant = self.dim(&at.constant);
                let mut sum = self.splat_int(constant);
                for (val, by) in &at.terms {
                    let value = self.vector(scope, *val);
                    let by = self.dim(by);
                    let by = self.splat_int(by);
                    let part = self.code().ins().imul(value, by);
                    sum = self.code().ins().iadd(sum, part);
                }
                sum
            }
            Inst::Quotient(arg, dim) => self.divide(scope, *arg, dim, true),
            Inst::Remainder(arg, dim) => self.divide(scope, *arg, dim, false),
            _ => self.ints([0; 4]),
        }
    }

    /// Division lane by lane: there is no vector instruction for it.
    fn divide(&self, scope: &mut Scope, arg: Val, dim: &Dim, quotient: bool) -> Value {
        let value = self.vector(scope, arg);
        let divisor = self.dim(dim);
        let divisor = self.code().ins().ireduce(types::I32, divisor);
        let mut result = value;
        for lane in 0..if scope.full { 4u8 } else { 1 } {
            let mut code = self.code();
            let one = code.ins().extractlane(value, lane);
            let one = match quotient {
                true => code.ins().udiv(one, divisor),
                false => code.ins().urem(one, divisor),
            };
            result = code.ins().insertlane(result, one, lane);
        }
        result
    }

    pub(super) fn splat_int(&self, scalar: Value) -> Value {
        let mut code = self.code();
        let narrow = code.ins().ireduce(types::I32, scalar);
        code.ins().splat(types::I32X4, narrow)
    }

    /// An i32 value of lane 0, as an i64.
    pub(super) fn scalar(&self, scope: &mut Scope, val: Val) -> Value {
        if let Some(known) = scope.scalars[val.0 as usize] {
            return known;
        }
        let stage = scope.stage;
        let scalar = match stage.inst(val) {
            Inst::I32(number) => self.int(i64::from(*number)),
            Inst::Dim(dim) => self.size(dim, true),
            Inst::Axis(axis) => scope.axes[*axis],
            Inst::Time => scope.time.unwrap_or_else(|| self.int(0)),
            Inst::LoopAxis(_, axis) => scope.loop_axes[*axis],
            Inst::LoopTime(_) => scope.loop_time.unwrap_or_else(|| self.int(0)),
            Inst::Affine(at) => self.affine(scope, at),
            Inst::Quotient(arg, dim) => {
                let (value, divisor) = (self.scalar(scope, *arg), self.dim(dim));
                self.code().ins().udiv(value, divisor)
            }
            Inst::Remainder(arg, dim) => {
                let (value, divisor) = (self.scalar(scope, *arg), self.dim(dim));
                self.code().ins().urem(value, divisor)
            }
            Inst::Map(op @ (Pointwise::Min | Pointwise::Max), args) => {
                let (a, b) = (self.scalar(scope, args[0]), self.scalar(scope, args[1]));
                match op {
                    Pointwise::Min => self.code().ins().smin(a, b),
                    _ => self.code().ins().smax(a, b),
                }
            }
            _ => {
                let vector = self.vector(scope, val);
                self.lane_index(vector, 0)
            }
        };
        scope.scalars[val.0 as usize] = Some(scalar);
        scalar
    }

    fn lane_index(&self, vector: Value, lane: u8) -> Value {
        let mut code = self.code();
        let lane = code.ins().extractlane(vector, lane);
        code.ins().sextend(types::I64, lane)
    }

    /// An affine expression at lane 0.
    fn affine(&self, scope: &mut Scope, at: &Affine) -> Value {
        self.sum(scope, at, |_, value, _| value)
    }

    /// The flat index of lane 0 in a buffer.
    fn flat(&self, scope: &mut Scope, buffer: BufferId, at: &Affine) -> Value {
        let stage = scope.stage;
        self.sum(scope, at, |val, value, by| self.position(stage, buffer, val, value, by))
    }

    /// What a term of an index counts: elements along an axis, or steps where the buffer has them.
    fn position(&self, stage: &Stage, buffer: BufferId, val: Val, value: Value, by: &Dim) -> Value {
        match stage.inst(val) {
            Inst::Axis(_) | Inst::LoopAxis(..) => value,
            _ => self.step_in(buffer, value, by),
        }
    }

    /// Terms of outer loops are added first, so that their sum is the same in the inner ones. `change`
    /// may give a term's value another form.
    fn sum(
        &self,
        scope: &mut Scope,
        at: &Affine,
        change: impl Fn(Val, Value, &Dim) -> Value,
    ) -> Value {
        let facts = scope.facts;
        let mut terms: Vec<&(Val, Dim)> = at.terms.iter().collect();
        terms.sort_by_key(|(val, _)| {
            let val_at = val.0 as usize;
            (facts.in_last_loop[val_at], facts.in_loop[val_at], facts.level(*val))
        });
        let mut sum = self.dim(&at.constant);
        for (val, by) in terms {
            let value = self.scalar(scope, *val);
            sum = self.add_scaled(sum, change(*val, value, by), by);
        }
        sum
    }

    /// Where a buffer has a step: in a window, by turns.
    pub(super) fn step_in(&self, buffer: BufferId, step: Value, by: &Dim) -> Value {
        match self.windows[buffer.0 as usize] {
            Some(window) if *by == self.program.step_size(buffer) => {
                self.code().ins().band_imm_u(step, window - 1)
            }
            _ => step,
        }
    }

    pub(super) fn add_scaled(&self, sum: Value, value: Value, by: &Dim) -> Value {
        let part = match by.is_one() {
            true => value,
            false => {
                let by = self.dim(by);
                self.code().ins().imul(value, by)
            }
        };
        self.code().ins().iadd(sum, part)
    }

    pub(super) fn place(&self, scope: &mut Scope, buffer: BufferId, at: &Affine) -> Place {
        let (stage, facts, lanes) = (scope.stage, scope.facts, scope.lanes);
        match facts.stride(stage, lanes, at) {
            Some(stride) if stride.is_zero() || !scope.full => {
                Place::One(self.flat(scope, buffer, at))
            }
            Some(stride) if stride.is_one() => Place::Contiguous(self.flat(scope, buffer, at)),
            Some(stride) => {
                let mut flat = self.flat(scope, buffer, at);
                let stride = self.dim(&stride);
                Place::Each([0; 4].map(|_| {
                    let here = flat;
                    flat = self.code().ins().iadd(flat, stride);
                    here
                }))
            }
            None if !scope.full => Place::One(self.flat(scope, buffer, at)),
            None => {
                let constant = self.dim(&at.constant);
                let mut flat = [constant; 4];
                for (val, by) in &at.terms {
                    let uniform = !facts.varies(stage, lanes, *val);
                    let scalar = uniform.then(|| {
                        let value = self.scalar(scope, *val);
                        self.position(stage, buffer, *val, value, by)
                    });
                    let vector = (!uniform).then(|| self.vector(scope, *val));
                    for (lane, flat) in flat.iter_mut().enumerate() {
                        let value = match (scalar, vector) {
                            (Some(scalar), _) => scalar,
                            (_, Some(vector)) => self.lane_index(vector, lane as u8),
                            _ => constant,
                        };
                        *flat = self.add_scaled(*flat, value, by);
                    }
                }
                Place::Each(flat)
            }
        }
    }

    pub(super) fn buffer_start(&self, buffer: BufferId) -> Value {
        let table = self.constant_pointer(self.frame, offset_of!(Frame, buffers));
        self.constant_pointer(table, 8 * buffer.0 as usize)
    }

    /// Where an element is.
    pub(super) fn address(&self, buffer: BufferId, flat: Value) -> Value {
        let start = self.buffer_start(buffer);
        let mut code = self.code();
        let bytes = code.ins().ishl_imm_u(flat, 2);
        code.ins().iadd(start, bytes)
    }

    pub(super) fn load(
        &self,
        scope: &mut Scope,
        buffer: BufferId,
        at: &Affine,
        elem: Elem,
    ) -> Value {
        let (lane, vector) = match elem {
            Elem::F32 => (types::F32, types::F32X4),
            Elem::I32 | Elem::Bool => (types::I32, types::I32X4),
        };
        let place = self.place(scope, buffer, at);
        if self.program.buffer(buffer).is_packed() {
            return self.load_bits(buffer, place);
        }
        let value = match place {
            Place::Contiguous(flat) => {
                let address = self.address(buffer, flat);
                self.code().ins().load(vector, memory(), address, 0)
            }
            place => self.gather(vector, place, |flat| {
                let address = self.address(buffer, flat);
                self.code().ins().load(lane, memory(), address, 0)
            }),
        };
        match elem {
            Elem::Bool => {
                let zero = self.ints([0; 4]);
                self.code().ins().icmp(IntCC::NotEqual, value, zero)
            }
            _ => value,
        }
    }

    /// A vector of single elements, or of one in all lanes.
    pub(super) fn gather(&self, ty: Type, place: Place, load: impl Fn(Value) -> Value) -> Value {
        let (first, rest) = match place {
            Place::One(flat) | Place::Contiguous(flat) => (flat, Vec::new()),
            Place::Each([first, rest @ ..]) => (first, rest.to_vec()),
        };
        let one = load(first);
        let mut value = self.code().ins().splat(ty, one);
        for (at, flat) in rest.into_iter().enumerate() {
            let one = load(flat);
            value = self.code().ins().insertlane(value, one, at as u8 + 1);
        }
        value
    }
}
