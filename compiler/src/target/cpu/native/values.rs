//! The values of a body: loads, indices, and what they are made of.

use std::mem::offset_of;

use cranelift::prelude::*;

use super::{Emitter, Frame, Lanes, Scope};
use crate::ir::graph::{Dim, Elem, Pointwise};
use crate::ir::kernel::{Affine, BufferId, Inst, Stage, Val};
use crate::target::cpu::lanes::clif::{element, load, memory};
use crate::target::cpu::lanes::code::{Mask, integers};
use crate::target::cpu::lanes::{IntegerOp, Op, Operand, Pointer};

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
    pub(super) fn vector(&self, scope: &mut Scope, val: Val) -> Operand {
        if let Some(known) = scope.vectors[val.0 as usize] {
            return known;
        }
        let stage = scope.stage;
        let vector = match stage.inst(val) {
            Inst::F32(bits) => integers(*bits as i32),
            Inst::I32(number) => integers(*number),
            Inst::Bool(truth) => integers(-i32::from(*truth)),
            Inst::Load(buffer, at) => self.load(scope, *buffer, at, scope.facts.elem(val)),
            Inst::Map(op, args) => {
                let elem = args.first().map_or(Elem::F32, |arg| scope.facts.elem(*arg));
                let args: Vec<Operand> = args.iter().map(|arg| self.vector(scope, *arg)).collect();
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
    fn index_vector(&self, scope: &mut Scope, val: Val, inst: &Inst) -> Operand {
        if let Some(stride) = scope.facts.stride_of(scope.stage, scope.lanes, val) {
            let first = self.scalar(scope, val);
            let first = self.splat_int(first);
            return match stride.is_zero() {
                true => first,
                false => {
                    let stride = self.dim(&stride);
                    let stride = self.splat_int(stride);
                    let moved = self.integer(IntegerOp::Mul, self.lane_numbers(), stride);
                    self.integer(IntegerOp::Add, first, moved)
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
                    let part = self.integer(IntegerOp::Mul, value, by);
                    sum = self.integer(IntegerOp::Add, sum, part);
                }
                sum
            }
            Inst::Quotient(arg, dim) => self.divide(scope, *arg, dim, true),
            Inst::Remainder(arg, dim) => self.divide(scope, *arg, dim, false),
            _ => integers(0),
        }
    }

    fn integer(&self, op: IntegerOp, a: Operand, b: Operand) -> Operand {
        self.wrap(a).integer(op, self.wrap(b)).operand
    }

    /// Division lane by lane: there is no vector instruction for it.
    fn divide(&self, scope: &mut Scope, arg: Val, dim: &Dim, quotient: bool) -> Operand {
        let value = self.vector(scope, arg);
        let value = self.code.value(value, types::I32X4);
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
        self.code.made(result)
    }

    pub(super) fn splat_int(&self, scalar: Value) -> Operand {
        let mut code = self.code();
        let narrow = code.ins().ireduce(types::I32, scalar);
        self.code.made(code.ins().splat(types::I32X4, narrow))
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

    fn lane_index(&self, vector: Operand, lane: u8) -> Value {
        let vector = self.code.value(vector, types::I32X4);
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
                    let uniform = !facts.varies(lanes, *val);
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
        element(&mut self.code(), start, flat)
    }

    /// The pointer to the elements of an access in the loop that is recorded.
    pub(super) fn pointer(&self, scope: &mut Scope, buffer: BufferId, at: &Affine) -> usize {
        let known = scope.pointers.iter().find(|(id, index, _)| *id == buffer && index == at);
        if let Some((.., pointer)) = known {
            return *pointer;
        }
        let flat = self.flat(scope, buffer, at);
        let pointer = self.pointer_at(scope, buffer, at, flat);
        scope.pointers.push((buffer, at.clone(), pointer));
        pointer
    }

    /// The pointer to a flat index that moves along the axes as another one does.
    pub(super) fn pointer_at(
        &self,
        scope: &Scope,
        buffer: BufferId,
        at: &Affine,
        flat: Value,
    ) -> usize {
        let address = match self.program.buffer(buffer).is_packed() {
            true => {
                let start = self.buffer_start(buffer);
                let bytes = self.code().ins().ushr_imm_u(flat, 3);
                self.code().ins().iadd(start, bytes)
            }
            false => self.address(buffer, flat),
        };
        let row = scope.stage.axes.len().checked_sub(2);
        let stride = row.and_then(|axis| scope.facts.stride(scope.stage, Lanes::Axis(axis), at));
        let stride = stride.and_then(|stride| stride.as_const());
        let bytes = stride.and_then(|stride| match self.program.buffer(buffer).is_packed() {
            true => (stride % 8 == 0).then_some(stride / 8),
            false => stride.checked_mul(4),
        });
        let stride = bytes.and_then(|bytes| i32::try_from(bytes).ok());
        self.code.pointer(Pointer { address, stride })
    }

    pub(super) fn load(
        &self,
        scope: &mut Scope,
        buffer: BufferId,
        at: &Affine,
        elem: Elem,
    ) -> Operand {
        let is_bits = self.program.buffer(buffer).is_packed();
        let value = if self.code.is_recording() {
            let pointer = self.pointer(scope, buffer, at);
            let load = if is_bits { Op::LoadBits(pointer) } else { Op::Load(pointer) };
            self.code.push(load, &[])
        } else if is_bits {
            let place = self.place(scope, buffer, at);
            self.load_bits(buffer, place)
        } else {
            let place = self.place(scope, buffer, at);
            self.load_elements(buffer, place, elem)
        };
        match elem {
            Elem::Bool => {
                let is_false = self.integer(IntegerOp::Equal, value, integers(0));
                Mask(self.wrap(is_false)).not().0.operand
            }
            // Bits are 0 and 1.
            _ if is_bits => self.wrap(value).and(self.floats(1.0)).operand,
            _ => value,
        }
    }

    fn load_elements(&self, buffer: BufferId, place: Place, elem: Elem) -> Operand {
        let ty = if elem == Elem::F32 { types::F32X4 } else { types::I32X4 };
        let (flat, is_full) = match place {
            Place::Contiguous(flat) => (flat, true),
            Place::One(flat) => (flat, false),
            Place::Each(flats) => {
                let lanes = flats.map(|flat| {
                    let address = self.address(buffer, flat);
                    self.code().ins().load(ty.lane_type(), memory(), address, 0)
                });
                return self.gathered(ty, lanes);
            }
        };
        let address = self.address(buffer, flat);
        self.code.made(load(&mut self.code(), ty, address, is_full))
    }

    /// A vector of single elements.
    pub(super) fn gathered(&self, ty: Type, lanes: [Value; 4]) -> Operand {
        let mut code = self.code();
        let mut vector = code.ins().splat(ty, lanes[0]);
        for (lane, value) in lanes.into_iter().enumerate().skip(1) {
            vector = code.ins().insertlane(vector, value, lane as u8);
        }
        self.code.made(vector)
    }
}
