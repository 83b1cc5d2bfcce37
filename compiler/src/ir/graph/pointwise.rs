//! The table of the pointwise operations.
//!
//! [`TABLE`] has one row for each [`Pointwise`]: name, signature, f64 value, partial derivatives as numbers (for the
//! interpreter's dual numbers) and as graph expressions (for reverse mode), WGSL spelling, cost, range.
//!
//! To add a pointwise operation: add the variant, and its row here; the compiler then points at the
//! `match`es left, the native lowering in `target/cpu/native/pointwise.rs` and what only it can decide.

use super::build::Builder;
use super::facts::{Fact, range};
use super::op::Pointwise;
use super::{Elem, NodeId, random};

/// The element types that a pointwise operation takes and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// f32 operands, f32 result.
    Float,
    /// All f32 or all i32, result the same.
    Numeric,
    /// All i32, result the same.
    Integer,
    /// Two operands of one type, boolean result.
    Compare,
    /// Booleans.
    Logic,
    /// `(bool, e, e) -> e`
    Choice,
    /// i32 or bool to f32.
    ToFloat,
    /// The bits of an i32 to f32.
    Bits,
    /// f32 to i32, toward zero.
    ToInteger,
}

/// Cotangents for each operand, given the operands, the result and its cotangent; `None` where the
/// derivative is zero.
pub(crate) type Vjp = fn(&mut Builder, x: &[NodeId], y: NodeId, dy: NodeId) -> Vec<Option<NodeId>>;

/// What the compiler knows about one pointwise operation.
pub struct Row {
    /// The operation of the row.
    pub op: Pointwise,
    /// The spelling in the language, for those that are functions, and in the graph's text form.
    pub name: &'static str,
    /// The number of operands.
    pub arity: usize,
    /// What types it takes and gives.
    pub signature: Signature,
    /// The meaning; [`Row::evaluate`] knows that of integers. Booleans are 0 and 1.
    pub value: fn(&[f64]) -> f64,
    /// Partial derivatives at `x`, where the result is `y`.
    pub(crate) partials: fn(x: &[f64], y: f64) -> [f64; 3],
    /// Reverse mode; `None` for operations without derivative.
    pub(crate) vjp: Option<Vjp>,
    /// With `{0}`, `{1}`, `{2}` for operands that are names.
    pub wgsl: &'static str,
    /// Relative cost of one evaluation: an addition is 1.
    pub cost: u32,
    /// What follows of the result from what is proved of the operands.
    pub(crate) range: fn(&[Fact]) -> Fact,
}

impl Row {
    /// The result changes in jumps: evaluating it twice on values rounded differently is wrong.
    pub(crate) fn is_decision(&self) -> bool {
        use Pointwise::*;
        self.signature == Signature::Compare
            || matches!(self.op, Sign | Floor | Ceil | Round | ToI32)
    }

    /// The value on operands of this type. Integers wrap at 32 bits.
    pub fn evaluate(&self, elem: Elem, x: &[f64]) -> f64 {
        let integer = |place: usize| x.get(place).map_or(0, |x| *x as i32);
        let on_integers = match elem {
            Elem::I32 => on_integers(self.op, integer(0), integer(1)),
            Elem::F32 | Elem::Bool => None,
        };
        on_integers.map_or_else(|| (self.value)(x), f64::from)
    }

    /// The WGSL of it on operands of this type.
    pub fn wgsl_on(&self, elem: Elem) -> &'static str {
        use Pointwise::*;
        match (elem, self.op) {
            (Elem::I32, Min) => "min({0}, {1})",
            (Elem::I32, Max) => "max({0}, {1})",
            (Elem::I32, Clamp) => "min(max({0}, {1}), {2})",
            (Elem::I32, Div) => "fgi_quotient({0}, {1})",
            (Elem::I32, Rem) => "fgi_remainder({0}, {1})",
            _ => self.wgsl,
        }
    }

    /// The result is 0 or 1.
    pub(crate) fn is_boolean(&self) -> bool {
        matches!(self.signature, Signature::Compare | Signature::Logic)
    }
}

impl Pointwise {
    /// What the compiler knows about it.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

const D0: fn(&[f64], f64) -> [f64; 3] = |_, _| [0.0; 3];

#[allow(clippy::too_many_arguments)] // one argument a column of the table
const fn row(
    op: Pointwise,
    name: &'static str,
    arity: usize,
    signature: Signature,
    value: fn(&[f64]) -> f64,
    partials: fn(&[f64], f64) -> [f64; 3],
    vjp: Option<Vjp>,
    wgsl: &'static str,
    cost: u32,
    range: fn(&[Fact]) -> Fact,
) -> Row {
    Row { op, name, arity, signature, value, partials, vjp, wgsl, cost, range }
}

/// What is another function on i32 than on real numbers. A division by 0 gives 0, and the least i32
/// by -1 itself.
fn on_integers(op: Pointwise, a: i32, b: i32) -> Option<i32> {
    use Pointwise::*;
    Some(match op {
        Neg => a.wrapping_neg(),
        Abs => a.wrapping_abs(),
        Add => a.wrapping_add(b),
        Sub => a.wrapping_sub(b),
        Mul => a.wrapping_mul(b),
        Div | Rem if b == 0 => 0,
        Div => a.wrapping_div(b),
        Rem => a.wrapping_rem(b),
        Exp | Log | Sqrt | Rsqrt | Sign | Floor | Ceil | Round | Sin | Cos | Tan | Asin | Acos
        | Atan | Sinh | Cosh | Tanh | Sigmoid | Relu | Softplus | Erf | Not | ToF32 | ToI32
        | Philox | Unit | Normal | Pow | Atan2 | Min | Max | Lt | Le | Gt | Ge | Eq | Ne | And
        | Or | Select | Clamp => return None,
    })
}

fn truth(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

/// One row for each pointwise operation, in the order of the enum.
#[rustfmt::skip]
pub static TABLE: [Row; 48] = {
    use Pointwise::*;
    use Signature::*;
    [
    row(Neg, "neg", 1, Numeric, |x| -x[0], |_, _| [-1.0, 0.0, 0.0],
        Some(|b, _, _, dy| vec![Some(b.neg(dy))]), "-({0})", 1, range::neg),
    row(Exp, "exp", 1, Float, |x| x[0].exp(), |_, y| [y, 0.0, 0.0],
        Some(|b, _, y, dy| vec![Some(b.mul(dy, y))]), "exp({0})", 20, range::exp),
    row(Log, "log", 1, Float, |x| x[0].ln(), |x, _| [1.0 / x[0], 0.0, 0.0],
        Some(|b, x, _, dy| vec![Some(b.div(dy, x[0]))]), "log({0})", 20, range::log),
    row(Sqrt, "sqrt", 1, Float, |x| x[0].sqrt(), |_, y| [0.5 / y, 0.0, 0.0],
        Some(|b, _, y, dy| { let two_y = b.add(y, y); vec![Some(b.div(dy, two_y))] }), "sqrt({0})", 6, range::sqrt),
    row(Rsqrt, "rsqrt", 1, Float, |x| 1.0 / x[0].sqrt(), |x, y| [-0.5 * y / x[0], 0.0, 0.0],
        Some(|b, x, y, dy| {
            let slope = b.div(y, x[0]);
            let half = b.scale(slope, -0.5);
            vec![Some(b.mul(dy, half))]
        }), "inverseSqrt({0})", 10, range::rsqrt),
    row(Abs, "abs", 1, Numeric, |x| x[0].abs(), |x, _| [sign(x[0]), 0.0, 0.0],
        Some(|b, x, _, dy| { let s = b.unary(Sign, x[0]); vec![Some(b.mul(dy, s))] }), "abs({0})", 1, range::abs),
    row(Sign, "sign", 1, Float, |x| sign(x[0]), D0, None, "sign({0})", 2, range::sign),
    row(Floor, "floor", 1, Float, |x| x[0].floor(), D0, None, "floor({0})", 1, range::floor),
    row(Ceil, "ceil", 1, Float, |x| x[0].ceil(), D0, None, "ceil({0})", 1, range::ceil),
    row(Round, "round", 1, Float, |x| x[0].round_ties_even(), D0, None, "round({0})", 1, range::round),
    row(Sin, "sin", 1, Float, |x| x[0].sin(), |x, _| [x[0].cos(), 0.0, 0.0],
        Some(|b, x, _, dy| { let c = b.unary(Cos, x[0]); vec![Some(b.mul(dy, c))] }), "sin({0})", 20, range::wave),
    row(Cos, "cos", 1, Float, |x| x[0].cos(), |x, _| [-x[0].sin(), 0.0, 0.0],
        Some(|b, x, _, dy| {
            let s = b.unary(Sin, x[0]);
            let s = b.neg(s);
            vec![Some(b.mul(dy, s))]
        }), "cos({0})", 20, range::wave),
    row(Tan, "tan", 1, Float, |x| x[0].tan(), |_, y| [1.0 + y * y, 0.0, 0.0],
        Some(|b, _, y, dy| {
            let square = b.mul(y, y);
            let slope = b.add_number(square, 1.0);
            vec![Some(b.mul(dy, slope))]
        }), "tan({0})", 30, range::unknown),
    row(Asin, "asin", 1, Float, |x| x[0].asin(), |x, _| [1.0 / (1.0 - x[0] * x[0]).sqrt(), 0.0, 0.0],
        Some(|b, x, _, dy| { let s = b.one_minus_square(x[0]); let r = b.unary(Rsqrt, s); vec![Some(b.mul(dy, r))] }),
        "fgi_asin({0})", 30, range::asin),
    row(Acos, "acos", 1, Float, |x| x[0].acos(), |x, _| [-1.0 / (1.0 - x[0] * x[0]).sqrt(), 0.0, 0.0],
        Some(|b, x, _, dy| {
            let s = b.one_minus_square(x[0]);
            let r = b.unary(Rsqrt, s);
            let r = b.neg(r);
            vec![Some(b.mul(dy, r))]
        }), "fgi_acos({0})", 30, range::acos),
    row(Atan, "atan", 1, Float, |x| x[0].atan(), |x, _| [1.0 / (1.0 + x[0] * x[0]), 0.0, 0.0],
        Some(|b, x, _, dy| {
            let square = b.mul(x[0], x[0]);
            let slope = b.add_number(square, 1.0);
            vec![Some(b.div(dy, slope))]
        }), "fgi_atan({0})", 30, range::atan),
    row(Sinh, "sinh", 1, Float, |x| x[0].sinh(), |x, _| [x[0].cosh(), 0.0, 0.0],
        Some(|b, x, _, dy| { let c = b.unary(Cosh, x[0]); vec![Some(b.mul(dy, c))] }), "fgi_sinh({0})", 30, range::sinh),
    row(Cosh, "cosh", 1, Float, |x| x[0].cosh(), |x, _| [x[0].sinh(), 0.0, 0.0],
        Some(|b, x, _, dy| { let s = b.unary(Sinh, x[0]); vec![Some(b.mul(dy, s))] }), "cosh({0})", 30, range::cosh),
    row(Tanh, "tanh", 1, Float, |x| x[0].tanh(), |_, y| [1.0 - y * y, 0.0, 0.0],
        Some(|b, _, y, dy| { let slope = b.one_minus_square(y); vec![Some(b.mul(dy, slope))] }), "fgi_tanh({0})", 25, range::tanh),
    row(Sigmoid, "sigmoid", 1, Float, |x| sigmoid(x[0]), |_, y| [y * (1.0 - y), 0.0, 0.0],
        Some(|b, _, y, dy| {
            let rest = b.one_minus(y);
            let slope = b.mul(y, rest);
            vec![Some(b.mul(dy, slope))]
        }), "fgi_sigmoid({0})", 25, range::sigmoid),
    row(Relu, "relu", 1, Float, |x| if x[0] > 0.0 || x[0].is_nan() { x[0] } else { 0.0 },
        |x, _| [truth(x[0] > 0.0), 0.0, 0.0],
        Some(|b, x, _, dy| { let zero = b.number(0.0); vec![Some(b.choose(Gt, x[0], zero, dy, zero))] }),
        "fgi_relu({0})", 1, range::relu),
    row(Softplus, "softplus", 1, Float, |x| x[0].max(0.0) + (-x[0].abs()).exp().ln_1p(),
        |x, _| [sigmoid(x[0]), 0.0, 0.0],
        Some(|b, x, _, dy| { let s = b.unary(Sigmoid, x[0]); vec![Some(b.mul(dy, s))] }), "fgi_softplus({0})", 45, range::softplus),
    row(Erf, "erf", 1, Float, |x| libm_erf(x[0]), |x, _| [FRAC_2_SQRT_PI * (-x[0] * x[0]).exp(), 0.0, 0.0],
        Some(|b, x, _, dy| {
            let square = b.mul(x[0], x[0]);
            let square = b.neg(square);
            let bell = b.unary(Exp, square);
            let slope = b.scale(bell, FRAC_2_SQRT_PI);
            vec![Some(b.mul(dy, slope))]
        }), "fgi_erf({0})", 30, range::erf),
    row(Not, "not", 1, Logic, |x| truth(x[0] == 0.0), D0, None, "!({0})", 1, range::not),
    row(ToF32, "f32", 1, ToFloat, |x| x[0], |_, _| [0.0; 3], None, "f32({0})", 1, range::to_f32),
    row(ToI32, "i32", 1, ToInteger, |x| f64::from(x[0] as i32), D0, None, "i32({0})", 1, range::to_i32),
    row(Add, "add", 2, Numeric, |x| x[0] + x[1], |_, _| [1.0, 1.0, 0.0],
        Some(|_, _, _, dy| vec![Some(dy), Some(dy)]), "{0} + {1}", 1, range::add),
    row(Sub, "sub", 2, Numeric, |x| x[0] - x[1], |_, _| [1.0, -1.0, 0.0],
        Some(|b, _, _, dy| { let minus = b.neg(dy); vec![Some(dy), Some(minus)] }), "{0} - {1}", 1, range::sub),
    row(Mul, "mul", 2, Numeric, |x| x[0] * x[1], |x, _| [x[1], x[0], 0.0],
        Some(|b, x, _, dy| { let da = b.mul(dy, x[1]); let db = b.mul(dy, x[0]); vec![Some(da), Some(db)] }),
        "{0} * {1}", 1, range::mul),
    row(Div, "div", 2, Numeric, |x| x[0] / x[1], |x, y| [1.0 / x[1], -y / x[1], 0.0],
        Some(|b, x, y, dy| {
            let da = b.div(dy, x[1]);
            let db = b.mul(da, y);
            let db = b.neg(db);
            vec![Some(da), Some(db)]
        }), "{0} / {1}", 6, range::div),
    row(Rem, "rem", 2, Integer, |x| x[0] - x[1] * (x[0] / x[1]).floor(), D0, None, "{0} % {1}", 6, range::unknown),
    row(Philox, "philox", 3, Integer, |x| f64::from(random::philox(x[0] as i32, x[1] as i32, x[2] as i32)), D0, None,
        "fgi_philox({0}, {1}, {2})", 100, range::unknown),
    row(Unit, "unit", 1, Bits, |x| f64::from((x[0] as i32 as u32) >> 8) / f64::from(1 << 24), D0, None,
        "f32(u32({0}) >> 8u) * 5.9604644775390625e-8", 2, range::unit),
    row(Normal, "normal", 1, Bits, |x| random::normal(x[0] as i32), D0, None, "fgi_normal({0})", 100, range::normal),
    row(Pow, "pow", 2, Float, |x| x[0].powf(x[1]), |x, y| [
            if x[1] == 0.0 { 0.0 } else { x[1] * x[0].powf(x[1] - 1.0) },
            if x[0] == 0.0 && x[1] >= 0.0 { 0.0 } else { y * x[0].ln() },
            0.0,
        ], Some(pow_vjp), "fgi_pow({0}, {1})", 45, range::pow),
    row(Atan2, "atan2", 2, Float, |x| x[0].atan2(x[1]), |x, _| {
            let square = x[0] * x[0] + x[1] * x[1];
            [x[1] / square, -x[0] / square, 0.0]
        }, Some(|b, x, _, dy| {
            let (yy, xx) = (b.mul(x[0], x[0]), b.mul(x[1], x[1]));
            let square = b.add(yy, xx);
            let slope = b.div(dy, square);
            let da = b.mul(slope, x[1]);
            let db = b.mul(slope, x[0]);
            let db = b.neg(db);
            vec![Some(da), Some(db)]
        }), "fgi_atan2({0}, {1})", 40, range::atan2),
    row(Min, "min", 2, Numeric, |x| if x[0] < x[1] || x[0].is_nan() { x[0] } else { x[1] },
        |x, _| [share(x[1], x[0]), share(x[0], x[1]), 0.0],
        Some(|b, x, _, dy| vec![Some(b.share(x[1], x[0], dy)), Some(b.share(x[0], x[1], dy))]), "fgi_min({0}, {1})", 1, range::min),
    row(Max, "max", 2, Numeric, |x| if x[0] > x[1] || x[0].is_nan() { x[0] } else { x[1] },
        |x, _| [share(x[0], x[1]), share(x[1], x[0]), 0.0],
        Some(|b, x, _, dy| vec![Some(b.share(x[0], x[1], dy)), Some(b.share(x[1], x[0], dy))]), "fgi_max({0}, {1})", 1, range::max),
    row(Lt, "lt", 2, Compare, |x| truth(x[0] < x[1]), D0, None, "{0} < {1}", 1, range::lt),
    row(Le, "le", 2, Compare, |x| truth(x[0] <= x[1]), D0, None, "{0} <= {1}", 1, range::le),
    row(Gt, "gt", 2, Compare, |x| truth(x[0] > x[1]), D0, None, "{0} > {1}", 1, range::gt),
    row(Ge, "ge", 2, Compare, |x| truth(x[0] >= x[1]), D0, None, "{0} >= {1}", 1, range::ge),
    row(Eq, "eq", 2, Compare, |x| truth(x[0] == x[1]), D0, None, "{0} == {1}", 1, range::eq),
    row(Ne, "ne", 2, Compare, |x| truth(x[0] != x[1]), D0, None, "{0} != {1}", 1, range::ne),
    row(And, "and", 2, Logic, |x| truth(x[0] != 0.0 && x[1] != 0.0), D0, None, "{0} && {1}", 1, range::and),
    row(Or, "or", 2, Logic, |x| truth(x[0] != 0.0 || x[1] != 0.0), D0, None, "{0} || {1}", 1, range::or),
    row(Select, "select", 3, Choice, |x| if x[0] != 0.0 { x[1] } else { x[2] },
        |x, _| [0.0, truth(x[0] != 0.0), truth(x[0] == 0.0)],
        Some(|b, x, _, dy| {
            let zero = b.number(0.0);
            vec![None, Some(b.select(x[0], dy, zero)), Some(b.select(x[0], zero, dy))]
        }), "select({2}, {1}, {0})", 1, range::select),
    row(Clamp, "clamp", 3, Numeric, |x| clamp(x[0], x[1], x[2]),
        |x, _| {
            let inside = x[0] > x[1] && x[0] < x[2];
            let (low, high) = (x[0] <= x[1], x[0].max(x[1]) >= x[2]);
            [truth(inside), truth(low && !high), truth(high)]
        },
        Some(|b, x, _, dy| {
            let zero = b.number(0.0);
            let above = b.choose(Gt, x[0], x[1], dy, zero);
            let inside = b.choose(Lt, x[0], x[2], above, zero);
            let low = b.choose(Le, x[0], x[1], dy, zero);
            let raised = b.binary(Max, x[0], x[1]);
            let low = b.choose(Ge, raised, x[2], zero, low);
            vec![Some(inside), Some(low), Some(b.choose(Ge, raised, x[2], dy, zero))]
        }), "fgi_clamp({0}, {1}, {2})", 2, range::clamp),
    ]
};

const FRAC_2_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

fn sign(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() { x } else { x.signum() }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn clamp(x: f64, low: f64, high: f64) -> f64 {
    let raised = if x < low { low } else { x };
    if raised > high { high } else { raised }
}

/// The part of max's derivative that goes to `a`: half at a tie.
fn share(a: f64, b: f64) -> f64 {
    if a == b { 0.5 } else { truth(a > b) }
}

/// The error function in f64, by its Taylor series near zero and a continued fraction for erfc beyond.
fn libm_erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return x;
    }
    if a < 3.0 {
        // erf x = 2/sqrt(pi) e^(-x²) sum of 2^n x^(2n+1) / (1·3·…·(2n+1)): all terms positive.
        let (mut term, mut sum, mut n) = (a, a, 0.0);
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * a * a / (2.0 * n + 1.0);
            sum += term;
        }
        return x.signum() * FRAC_2_SQRT_PI * (-a * a).exp() * sum;
    }
    // erfc x = e^(-x²)/sqrt(pi) / (x + 1/2 / (x + 1 / (x + 3/2 / (x + …)))).
    let fraction = (1..60).rev().fold(a, |tail, n| a + 0.5 * f64::from(n) / tail);
    x.signum() * (1.0 - (-a * a).exp() * 0.5 * FRAC_2_SQRT_PI / fraction)
}

fn pow_vjp(b: &mut Builder, x: &[NodeId], y: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
    let zero = b.number(0.0);
    if let Some(exponent) = b.graph().as_number(x[1]) {
        let slope = if exponent == 0.0 {
            return vec![None, None];
        } else if exponent == 2.0 {
            b.add(x[0], x[0])
        } else {
            let lower = b.number(exponent - 1.0);
            let power = b.binary(Pointwise::Pow, x[0], lower);
            b.scale(power, exponent)
        };
        return vec![Some(b.mul(dy, slope)), None];
    }
    let lower = b.add_number(x[1], -1.0);
    let power = b.binary(Pointwise::Pow, x[0], lower);
    let slope = b.mul(x[1], power);
    let slope = b.choose(Pointwise::Eq, x[1], zero, zero, slope);
    let base = b.mul(dy, slope);
    // 0^b has no slope in b, for b >= 0; the logarithm would give NaN.
    let log = b.unary(Pointwise::Log, x[0]);
    let slope = b.mul(y, log);
    let flat = b.choose(Pointwise::Ge, x[1], zero, zero, slope);
    let slope = b.choose(Pointwise::Eq, x[0], zero, flat, slope);
    vec![Some(base), Some(b.mul(dy, slope))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (position, row) in TABLE.iter().enumerate() {
            assert_eq!(row.op as usize, position, "{}", row.name);
        }
    }

    #[test]
    fn a_unit_is_the_upper_bits() {
        let unit = Pointwise::Unit.row().value;
        assert_eq!(
            [unit(&[-1.0]), unit(&[255.0]), unit(&[256.0])],
            [1.0 - 2f64.powi(-24), 0.0, 2f64.powi(-24)]
        );
    }

    #[test]
    fn erf_is_exact_to_rounding() {
        for (x, expected) in [
            (0.1, 0.1124629160182849),
            (1.0, 0.8427007929497149),
            (2.9, 0.9999589021219005),
            (3.1, 0.9999883513426328),
            (5.0, 0.9999999999984626),
        ] {
            assert!((libm_erf(x) - expected).abs() < 1e-15, "{x}: {}", libm_erf(x));
            assert_eq!(libm_erf(-x), -libm_erf(x));
        }
        assert_eq!(libm_erf(f64::INFINITY), 1.0);
    }
}
