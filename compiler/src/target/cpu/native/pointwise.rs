//! Pointwise operations on lanes.

use cranelift::prelude::*;

use super::Emitter;
use super::math::Mask;
use crate::ir::graph::{Elem, Pointwise};

impl Emitter<'_, '_> {
    /// A pointwise operation; `elem` is the element type of the first operand.
    pub(super) fn map(&self, op: Pointwise, args: &[Value], elem: Elem) -> Value {
        use Pointwise::*;
        let int =
            |value: fn(&mut FunctionBuilder, &[Value]) -> Value| value(&mut self.code(), args);
        match (op, elem) {
            (Neg, Elem::I32) => return int(|code, x| code.ins().ineg(x[0])),
            (Add, Elem::I32) => return int(|code, x| code.ins().iadd(x[0], x[1])),
            (Sub, Elem::I32) => return int(|code, x| code.ins().isub(x[0], x[1])),
            (Mul, Elem::I32) => return int(|code, x| code.ins().imul(x[0], x[1])),
            (Min, Elem::I32) => return int(|code, x| code.ins().smin(x[0], x[1])),
            (Max, Elem::I32) => return int(|code, x| code.ins().smax(x[0], x[1])),
            (Abs, Elem::I32) => return int(|code, x| code.ins().iabs(x[0])),
            (Clamp, Elem::I32) => {
                return int(|code, x| {
                    let raised = code.ins().smax(x[0], x[1]);
                    code.ins().smin(raised, x[2])
                });
            }
            (Philox, _) => return self.philox([args[0], args[1], args[2]]),
            (Normal, _) => return self.normal(args[0]),
            (Unit, _) => {
                let upper = self.code().ins().ushr_imm_u(args[0], 8);
                let number = self.code().ins().fcvt_from_sint(types::F32X4, upper);
                return (self.wrap(number) * self.floats(1.0 / 16_777_216.0)).value;
            }
            (Div | Rem, Elem::I32) => return self.divide_integers(op, args[0], args[1]),
            (Not, _) => return int(|code, x| code.ins().bnot(x[0])),
            (And, _) => return int(|code, x| code.ins().band(x[0], x[1])),
            (Or, _) => return int(|code, x| code.ins().bor(x[0], x[1])),
            (ToF32, Elem::Bool) => {
                let one = self.floats(1.0).bits_of_lanes();
                let masked = self.code().ins().band(args[0], one);
                return self.wrap(masked).cast(types::F32X4).value;
            }
            (ToF32, _) => return int(|code, x| code.ins().fcvt_from_sint(types::F32X4, x[0])),
            (ToI32, _) => return int(|code, x| code.ins().fcvt_to_sint_sat(types::I32X4, x[0])),
            (Select, _) => {
                let mask = Mask(self.wrap(args[0]));
                return mask.choose(self.wrap(args[1]), self.wrap(args[2])).value;
            }
            (Lt | Le | Gt | Ge | Eq | Ne, Elem::I32 | Elem::Bool) => {
                // A true boolean is all ones: the greatest number without sign.
                let signed = elem == Elem::I32;
                let condition = match op {
                    Lt if signed => IntCC::SignedLessThan,
                    Le if signed => IntCC::SignedLessThanOrEqual,
                    Gt if signed => IntCC::SignedGreaterThan,
                    Ge if signed => IntCC::SignedGreaterThanOrEqual,
                    Lt => IntCC::UnsignedLessThan,
                    Le => IntCC::UnsignedLessThanOrEqual,
                    Gt => IntCC::UnsignedGreaterThan,
                    Ge => IntCC::UnsignedGreaterThanOrEqual,
                    Eq => IntCC::Equal,
                    _ => IntCC::NotEqual,
                };
                return self.code().ins().icmp(condition, args[0], args[1]);
            }
            _ => {}
        }
        let x = |at: usize| self.wrap(args[at]);
        let compare = |condition| x(0).compare(condition, x(1)).0;
        let zero = || self.floats(0.0);
        let result = match op {
            Neg => -x(0),
            Exp => x(0).exp(),
            Log => x(0).log(),
            Sqrt => x(0).sqrt(),
            Rsqrt => x(0).rsqrt(),
            Abs => x(0).abs(),
            Sign => {
                let negative = x(0).less(zero()).choose(self.floats(-1.0), x(0));
                zero().less(x(0)).choose(self.floats(1.0), negative)
            }
            Floor => x(0).floor(),
            Ceil => x(0).ceil(),
            Round => x(0).nearest(),
            Sin => x(0).sin(),
            Cos => x(0).cos(),
            Tan => x(0).tan(),
            Asin => x(0).asin(),
            Acos => x(0).acos(),
            Atan => x(0).atan(),
            Sinh => x(0).sinh(),
            Cosh => x(0).cosh(),
            Tanh => x(0).tanh(),
            Sigmoid => x(0).sigmoid(),
            Relu => x(0).compare(FloatCC::LessThanOrEqual, zero()).choose(zero(), x(0)),
            Softplus => x(0).softplus(),
            Erf => x(0).erf(),
            Add => x(0) + x(1),
            Sub => x(0) - x(1),
            Mul => x(0) * x(1),
            Div => x(0) / x(1),
            Pow => x(0).pow(x(1)),
            Atan2 => x(0).atan2(x(1)),
            Min => x(0).is_nan().choose(x(0), x(0).less(x(1)).choose(x(0), x(1))),
            Max => x(0).is_nan().choose(x(0), x(1).less(x(0)).choose(x(0), x(1))),
            Clamp => {
                let raised = x(0).less(x(1)).choose(x(1), x(0));
                x(2).less(raised).choose(x(2), raised)
            }
            Lt => compare(FloatCC::LessThan),
            Le => compare(FloatCC::LessThanOrEqual),
            Gt => compare(FloatCC::GreaterThan),
            Ge => compare(FloatCC::GreaterThanOrEqual),
            Eq => compare(FloatCC::Equal),
            Ne => compare(FloatCC::NotEqual),
            // Done above.
            Not | ToF32 | ToI32 | And | Or | Select | Rem | Philox | Unit | Normal => x(0),
        };
        result.value
    }

    /// Lane by lane: there is no vector instruction for it. What the machine's would stop at is divided
    /// by 1, which gives what is wanted but for a quotient by 0.
    fn divide_integers(&self, op: Pointwise, a: Value, b: Value) -> Value {
        let (zero, one) = (self.ints([0; 4]), self.ints([1; 4]));
        let is = |x: Value, number: i32| {
            let number = self.ints([number; 4]);
            Mask(self.wrap(self.code().ins().icmp(IntCC::Equal, x, number)))
        };
        let by_zero = || is(b, 0);
        let stops = by_zero().or(is(a, i32::MIN).and(is(b, -1)));
        let divisor = stops.choose(self.wrap(one), self.wrap(b)).value;
        let mut result = zero;
        for lane in 0..4u8 {
            let mut code = self.code();
            let (a, b) = (code.ins().extractlane(a, lane), code.ins().extractlane(divisor, lane));
            let one = match op {
                Pointwise::Div => code.ins().sdiv(a, b),
                _ => code.ins().srem(a, b),
            };
            result = code.ins().insertlane(result, one, lane);
        }
        match op {
            Pointwise::Div => by_zero().choose(self.wrap(zero), self.wrap(result)).value,
            _ => result,
        }
    }
}
