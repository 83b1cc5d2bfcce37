//! Elements that are kept as bits, eight to a byte, the first in the lowest bit.

use cranelift::prelude::*;

use super::values::Place;
use super::{Emitter, Scope};
use crate::ir::graph::Pointwise;
use crate::ir::kernel::{BufferId, Inst, Val};
use crate::target::cpu::lanes::Operand;
use crate::target::cpu::lanes::clif::{is_set, load_bits, shifted_bits, store_bits};

impl Emitter<'_, '_> {
    /// All ones in the lanes whose bit is set.
    pub(super) fn load_bits(&self, buffer: BufferId, place: Place) -> Operand {
        let start = self.buffer_start(buffer);
        let mask = match place {
            Place::Contiguous(flat) => load_bits(&mut self.code(), start, flat, true),
            Place::One(flat) => load_bits(&mut self.code(), start, flat, false),
            Place::Each(flats) => {
                let bits = flats.map(|flat| shifted_bits(&mut self.code(), start, flat, 7));
                let bits = self.gathered(types::I32X4, bits);
                let bits = self.code.value(bits, types::I32X4);
                is_set(&mut self.code(), bits, [1; 4])
            }
        };
        self.code.made(mask)
    }

    /// All ones in the lanes where a value of 0 or 1 is 1.
    pub(super) fn bits_of(&self, scope: &mut Scope, val: Val) -> Operand {
        let stage = scope.stage;
        let is = |val: Val, number: f32| *stage.inst(val) == Inst::F32(number.to_bits());
        match stage.inst(val) {
            Inst::Map(Pointwise::Select, args) if is(args[1], 1.0) && is(args[2], 0.0) => {
                self.vector(scope, args[0])
            }
            _ => {
                let value = self.vector(scope, val);
                self.wrap(value).compare(FloatCC::NotEqual, self.floats(0.0)).0.operand
            }
        }
    }

    /// A bit for each lane of a mask.
    pub(super) fn store_bits(&self, buffer: BufferId, place: Place, mask: Operand) {
        let start = self.buffer_start(buffer);
        let mask = self.code.value(mask, types::I32X4);
        let mut code = self.code();
        let bits = code.ins().vhigh_bits(types::I32, mask);
        match place {
            Place::Contiguous(flat) => store_bits(&mut code, start, flat, bits, true),
            Place::One(flat) => store_bits(&mut code, start, flat, bits, false),
            Place::Each(flats) => {
                for (lane, flat) in flats.into_iter().enumerate() {
                    let bit = code.ins().ushr_imm_u(bits, lane as i64);
                    store_bits(&mut code, start, flat, bit, false);
                }
            }
        }
    }
}
