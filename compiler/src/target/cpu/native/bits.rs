//! Elements that are kept as bits, eight to a byte, the first in the lowest bit.
//!
//! The four lanes of a vector are half a byte. [`super::simd`] knows these instructions: more lanes are
//! whole ones.

use cranelift::prelude::*;

use super::values::Place;
use super::{Emitter, Scope, memory};
use crate::ir::graph::Pointwise;
use crate::ir::kernel::{BufferId, Inst, Val};

/// The bit of each lane.
const LANES: [i32; 4] = [1, 2, 4, 8];

impl Emitter<'_, '_> {
    /// 0 or 1, in lanes.
    pub(super) fn load_bits(&self, buffer: BufferId, place: Place) -> Value {
        let shifted = |flat: Value, within: i64| {
            let (address, shift) = self.place_of_bit(buffer, flat, within);
            let mut code = self.code();
            let byte = code.ins().uload8(types::I32, memory(), address, 0);
            code.ins().ushr(byte, shift)
        };
        let (bits, lanes) = match place {
            Place::Contiguous(flat) => {
                let byte = shifted(flat, 4);
                (self.code().ins().splat(types::I32X4, byte), LANES)
            }
            place => (self.gather(types::I32X4, place, |flat| shifted(flat, 7)), [1; 4]),
        };
        let lanes = self.ints(lanes);
        let one = self.floats(1.0).bits_of_lanes();
        let mut code = self.code();
        let chosen = code.ins().band(bits, lanes);
        let mask = code.ins().icmp(IntCC::Equal, chosen, lanes);
        let value = code.ins().band(mask, one);
        drop(code);
        self.wrap(value).cast(types::F32X4).value
    }

    /// All ones in the lanes where a value of 0 or 1 is 1.
    pub(super) fn bits_of(&self, scope: &mut Scope, val: Val) -> Value {
        let stage = scope.stage;
        let is = |val: Val, number: f32| *stage.inst(val) == Inst::F32(number.to_bits());
        match stage.inst(val) {
            Inst::Map(Pointwise::Select, args) if is(args[1], 1.0) && is(args[2], 0.0) => {
                self.vector(scope, args[0])
            }
            _ => {
                let value = self.vector(scope, val);
                self.wrap(value).compare(FloatCC::NotEqual, self.floats(0.0)).0.value
            }
        }
    }

    /// A bit for each lane of a mask.
    pub(super) fn store_bits(&self, buffer: BufferId, place: Place, mask: Value) {
        let bits = self.code().ins().vhigh_bits(types::I32, mask);
        match place {
            Place::Contiguous(flat) => self.put_bits(buffer, flat, bits, 4),
            Place::One(flat) => self.put_bits(buffer, flat, bits, 1),
            Place::Each(flats) => {
                for (lane, flat) in flats.into_iter().enumerate() {
                    let bit = self.code().ins().ushr_imm_u(bits, lane as i64);
                    self.put_bits(buffer, flat, bit, 1);
                }
            }
        }
    }

    /// Puts the lowest bits of a number, 1 or 4, in the place of others.
    fn put_bits(&self, buffer: BufferId, flat: Value, bits: Value, count: i64) {
        let (address, shift) = self.place_of_bit(buffer, flat, 8 - count);
        let mut code = self.code();
        let all = code.ins().iconst(types::I32, (1 << count) - 1);
        let bits = code.ins().band(bits, all);
        let (bits, all) = (code.ins().ishl(bits, shift), code.ins().ishl(all, shift));
        let before = code.ins().uload8(types::I32, memory(), address, 0);
        let kept = code.ins().band_not(before, all);
        let byte = code.ins().bor(kept, bits);
        code.ins().istore8(memory(), byte, address, 0);
    }

    /// The address of an element's byte, and its place in it, of which the bits in `within` count.
    fn place_of_bit(&self, buffer: BufferId, flat: Value, within: i64) -> (Value, Value) {
        let start = self.buffer_start(buffer);
        let mut code = self.code();
        let bytes = code.ins().ushr_imm_u(flat, 3);
        let address = code.ins().iadd(start, bytes);
        let shift = code.ins().ireduce(types::I32, flat);
        (address, code.ins().band_imm_u(shift, within))
    }
}
