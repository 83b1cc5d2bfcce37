//! Pointwise operations on lanes.

use cranelift::prelude::*;

use super::Emitter;
use crate::ir::graph::{Elem, Pointwise};
use crate::target::cpu::lanes::code::{Mask, Vector, integers};
use crate::target::cpu::lanes::{Direction, IntegerOp, Operand};

/// The operation is no straight line of operations on lanes: it has a branch, or goes lane by lane. `elem` is the element type of the first operand.
pub(super) fn breaks_line(op: Pointwise, elem: Elem) -> bool {
    use Pointwise::*;
    match op {
        Sin | Cos | Tan => true,
        Div | Rem => elem == Elem::I32,
        _ => false,
    }
}

impl<'f> Emitter<'_, 'f> {
    /// A pointwise operation; `elem` is the element type of the first operand.
    pub(super) fn map(&self, op: Pointwise, args: &[Operand], elem: Elem) -> Operand {
        match elem {
            Elem::F32 => self.map_floats(op, args),
            Elem::I32 | Elem::Bool => self.map_integers(op, args, elem),
        }
    }

    /// Booleans are integers, all ones where they are true.
    fn map_integers(&self, op: Pointwise, args: &[Operand], elem: Elem) -> Operand {
        use Pointwise::*;
        let x = |at: usize| self.wrap(args[at]);
        let number = |number: i32| self.wrap(integers(number));
        let on = |op: IntegerOp| x(0).integer(op, x(1));
        let greater = |a: usize, b: usize| match elem {
            Elem::Bool => x(a).and_not(x(b)),
            _ => x(a).integer(IntegerOp::Greater, x(b)),
        };
        let result = match op {
            Neg => number(0).integer(IntegerOp::Sub, x(0)),
            Abs => x(0).integer(IntegerOp::Max, number(0).integer(IntegerOp::Sub, x(0))),
            Add => on(IntegerOp::Add),
            Sub => on(IntegerOp::Sub),
            Mul => on(IntegerOp::Mul),
            Min => on(IntegerOp::Min),
            Max => on(IntegerOp::Max),
            Clamp => on(IntegerOp::Max).integer(IntegerOp::Min, x(2)),
            Div | Rem => return self.divide_integers(op, args[0], args[1]),
            Philox => self.philox([x(0), x(1), x(2)]),
            Normal => self.normal(x(0)),
            Unit => x(0).shift(Direction::Right, 8).to_floats() * (1.0 / 16_777_216.0),
            Not => self.not(x(0)),
            And => x(0).and(x(1)),
            Or => x(0).or(x(1)),
            ToF32 if elem == Elem::Bool => x(0).and(self.floats(1.0)),
            ToF32 => x(0).to_floats(),
            Select => Mask(x(0)).choose(x(1), x(2)),
            Lt => greater(1, 0),
            Le => self.not(greater(0, 1)),
            Gt => greater(0, 1),
            Ge => self.not(greater(1, 0)),
            Eq => on(IntegerOp::Equal),
            Ne => self.not(on(IntegerOp::Equal)),
            _ => unreachable!("`{}` is not defined on integers", op.row().name),
        };
        result.operand
    }

    fn not<'m>(&self, x: Vector<'m, 'f>) -> Vector<'m, 'f> {
        Mask(x).not().0
    }

    fn map_floats(&self, op: Pointwise, args: &[Operand]) -> Operand {
        use Pointwise::*;
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
            // The nearest integer that there is, and 0 of NaN.
            ToI32 => {
                let is_below = x(0).less(self.floats(2f32.powi(31)));
                let integer = is_below.choose(x(0).to_integers(), self.wrap(integers(i32::MAX)));
                x(0).compare(FloatCC::Ordered, x(0)).choose(integer, zero())
            }
            Not | ToF32 | And | Or | Select | Rem | Philox | Unit | Normal => {
                unreachable!("`{}` is not defined on floats", op.row().name)
            }
        };
        result.operand
    }

    /// Lane by lane: there is no vector instruction for it. What the machine's would stop at is divided
    /// by 1, which gives what is wanted but for a quotient by 0.
    fn divide_integers(&self, op: Pointwise, a: Operand, b: Operand) -> Operand {
        let number = |number: i32| self.wrap(integers(number));
        let is =
            |x: Operand, value: i32| Mask(self.wrap(x).integer(IntegerOp::Equal, number(value)));
        let by_zero = || is(b, 0);
        let stops = by_zero().or(is(a, i32::MIN).and(is(b, -1)));
        let divisor = stops.choose(number(1), self.wrap(b)).operand;
        let [a, divisor, mut result] =
            [a, divisor, integers(0)].map(|x| self.code.value(x, types::I32X4));
        for lane in 0..4u8 {
            let mut code = self.code();
            let (a, b) = (code.ins().extractlane(a, lane), code.ins().extractlane(divisor, lane));
            let one = match op {
                Pointwise::Div => code.ins().sdiv(a, b),
                _ => code.ins().srem(a, b),
            };
            result = code.ins().insertlane(result, one, lane);
        }
        let result = self.wrap(self.code.made(result));
        match op {
            Pointwise::Div => by_zero().choose(number(0), result).operand,
            _ => result.operand,
        }
    }
}
