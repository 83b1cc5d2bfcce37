//! Elementary functions as inlined vector code, within 2 units in the last place of the f64 value
//! over all of f32, infinities, NaN, denormals and signed zeros included.
//!
//! Four f32 are widened to two pairs of f64. There the reductions are short, nothing over- or
//! underflows that does not do so in f32, and the polynomials (near-minimax, fitted at Chebyshev
//! nodes) need no compensation. The exponential function, which surrogates are made of, stays in f32:
//! that takes half as long.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, LN_2, LOG2_E, PI, SQRT_2};

use cranelift::codegen::ir::BlockArg;
use cranelift::prelude::*;

use crate::target::cpu::lanes::code::{Mask, Vector};
use crate::target::cpu::lanes::{Direction, IntegerOp};

/// `e^x - 1` and `2^n`, with `e^x = 2^n (1 + p)`: (p, 2^n).
fn exp_parts<'m, 'f>(x: Vector<'m, 'f>) -> (Vector<'m, 'f>, Vector<'m, 'f>) {
    // Beyond, every use has over- or underflowed in f32.
    let x = x.clamp(-200.0, 200.0);
    // Adding 1.5·2^52 rounds to an integer, which then stands in the low bits.
    let shifted = x.times_plus(x.constant(LOG2_E), x.constant(MAGIC + 1023.0));
    let n = shifted - (MAGIC + 1023.0);
    let r = n.times_plus(x.constant(-LN_2), x);
    let scale = shifted.shift(Direction::Left, 52);
    (r * r.polynomial(&EXPM1), scale)
}

fn exp<'m, 'f>(x: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let (p, scale) = exp_parts(x);
    scale.times_plus(p, scale)
}

fn expm1<'m, 'f>(x: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let (p, scale) = exp_parts(x);
    scale.times_plus(p, scale - 1.0)
}

/// The logarithm; the f64 argument is never denormal, as it comes from an f32.
fn log<'m, 'f>(x: Vector<'m, 'f>) -> Vector<'m, 'f> {
    // x = 2^e m with m from sqrt(1/2) to sqrt(2).
    let root_half = (0.5 * SQRT_2).to_bits();
    let moved = x.integer(IntegerOp::Add, x.bits(1f64.to_bits() - root_half));
    let e = moved.shift(Direction::Right, 52).or(x.constant(TWO_52));
    let m = moved.and(x.bits((1 << 52) - 1)).integer(IntegerOp::Add, x.bits(root_half));
    let e = e - (TWO_52 + 1023.0);
    let s = (m - 1.0) / (m + 1.0);
    let log = e * LN_2 + s * (s * s).polynomial(&ATANH_NEAR);
    let (zero, infinity) = (x.constant(0.0), x.constant(f64::INFINITY));
    // Infinity and NaN stay themselves.
    let log = x.less(infinity).choose(log, x);
    let log = x.equals(zero).choose(-infinity, log);
    x.less(zero).choose(x.constant(f64::NAN), log)
}

/// `log(1 + z)` for z from 0 to 1.
fn log1p<'m, 'f>(z: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let s = z / (z + 2.0);
    s * (s * s).polynomial(&ATANH_FAR)
}

/// The remainder of f64 lanes by π/2, within ±π/4, and an f64 whose low bits hold the quotient.
fn quarter_turns<'m, 'f>(x: Vector<'m, 'f>) -> [Vector<'m, 'f>; 2] {
    let shifted = x * FRAC_2_PI + MAGIC;
    let n = shifted - MAGIC;
    // The first two parts of π/2 have 32 bits, so these products are exact.
    let r = ((x - n * PI_2[0]) - n * PI_2[1]) - n * PI_2[2];
    [r, shifted]
}

/// The same for arguments of any size: x·2/π modulo 4, piece by piece of 2/π. A piece has 29 bits,
/// an f32 has 24, so products and their remainders are exact.
fn quarter_turns_of_large<'m, 'f>(x: Vector<'m, 'f>) -> [Vector<'m, 'f>; 2] {
    let (mut sum, mut error) = (x.constant(0.0), x.constant(0.0));
    for (piece, digits) in TWO_OVER_PI.iter().enumerate() {
        let product = x * (*digits * 0.5f64.powi(29 * (piece as i32 + 1)));
        let term = product - (product * 0.25).floor() * 4.0;
        let next = sum + term;
        let kept = next - sum;
        error = error + ((sum - (next - kept)) + (term - kept));
        sum = next;
    }
    let shifted = sum + MAGIC;
    let n = shifted - MAGIC;
    [((sum - n) + error) * FRAC_PI_2, shifted]
}

/// Arguments up to here are reduced in one step.
const SMALL_ANGLE: f64 = 1e5;

/// A function of the remainder by π/2 and the quotient, for four f32. Large arguments are rare, so
/// they are handled out of line.
fn trigonometric<'m, 'f>(
    x: Vector<'m, 'f>,
    function: impl Fn([Vector<'m, 'f>; 2]) -> Vector<'m, 'f>,
) -> Vector<'m, 'f> {
    let code = x.code;
    let wide = [x.widen_low(), x.widen_high()];
    let fast = wide.map(quarter_turns);
    let large = x.constant(SMALL_ANGLE).less(x.abs());
    let large = code.value(large.0.operand, types::I32X4);
    let fast_args = block_args(&fast);
    let join = {
        let mut code = code.borrow_mut();
        let (slow_block, join) = (code.create_block(), code.create_block());
        code.set_cold_block(slow_block);
        for _ in 0..4 {
            code.append_block_param(join, types::F64X2);
        }
        let any = code.ins().vany_true(large);
        code.ins().brif(any, slow_block, &[], join, &fast_args);
        code.switch_to_block(slow_block);
        code.seal_block(slow_block);
        join
    };
    let limit = wide[0].constant(SMALL_ANGLE);
    let slow = [0, 1].map(|half| {
        let is_large = limit.less(wide[half].abs());
        let slow = quarter_turns_of_large(wide[half]);
        [0, 1].map(|part| is_large.choose(slow[part], fast[half][part]))
    });
    let slow = block_args(&slow);
    let joined: Vec<Value> = {
        let mut code = code.borrow_mut();
        code.ins().jump(join, &slow);
        code.switch_to_block(join);
        code.seal_block(join);
        code.block_params(join).to_vec()
    };
    let joined = |at: usize| wide[0].with(code.made(joined[at]));
    let [low, high] = [0, 2].map(|at| function([joined(at), joined(at + 1)]));
    Vector::narrow(low, high)
}

fn block_args(pairs: &[[Vector; 2]; 2]) -> Vec<BlockArg> {
    let pairs = pairs.iter().flatten();
    pairs.map(|half| BlockArg::Value(half.code.value(half.operand, types::F64X2))).collect()
}

/// The sine and the cosine of the remainder.
fn sin_cos<'m, 'f>(r: Vector<'m, 'f>) -> [Vector<'m, 'f>; 2] {
    let square = r * r;
    [r * square.polynomial(&SIN), square.polynomial(&COS)]
}

/// Whether the bit `bit` of the quotient is set.
fn quotient_bit<'m, 'f>(quotient: Vector<'m, 'f>, bit: u64) -> Mask<'m, 'f> {
    let bit = quotient.bits(bit);
    Mask(quotient.and(bit).integer(IntegerOp::Equal, bit))
}

fn sine_at<'m, 'f>(r: Vector<'m, 'f>, quotient: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let [sine, cosine] = sin_cos(r);
    let value = quotient_bit(quotient, 1).choose(cosine, sine);
    quotient_bit(quotient, 2).choose(-value, value)
}

/// atan2 of f64 lanes.
fn atan2_wide<'m, 'f>(y: Vector<'m, 'f>, x: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let (zero, one) = (x.constant(0.0), x.constant(1.0));
    let (a, b) = (y.abs(), x.abs());
    let steep = b.less(a);
    let (small, large) = (steep.choose(b, a), steep.choose(a, b));
    let ratio = small / large;
    // 0/0 is 0 and inf/inf is 1 here.
    let ratio = large.equals(zero).choose(zero, ratio);
    let ratio = small.equals(x.constant(f64::INFINITY)).choose(one, ratio);
    let angle = ratio * (ratio * ratio).polynomial(&ATAN);
    let angle = steep.choose(x.constant(FRAC_PI_2) - angle, angle);
    let leftward = one.copysign(x).less(zero);
    let angle = leftward.choose(x.constant(PI) - angle, angle).copysign(y);
    y.compare(FloatCC::Unordered, x).choose(y + x, angle)
}

/// `sqrt(1 - x²)`
fn other_leg<'m, 'f>(x: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let one = x.constant(1.0);
    ((one - x) * (one + x)).sqrt()
}

fn pow_wide<'m, 'f>(x: Vector<'m, 'f>, y: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let (zero, one, infinity) = (x.constant(0.0), x.constant(1.0), x.constant(f64::INFINITY));
    let a = x.abs();
    let magnitude = exp(y * log(a));
    let is_integer = y.floor().equals(y);
    let half = y * 0.5;
    let is_odd = is_integer.and(half.floor().equals(half).not());
    let negative = one.copysign(x).less(zero);
    let value = negative.and(is_odd).choose(-magnitude, magnitude);
    // A finite negative base has a real power only for integers.
    let undefined = x.less(zero).and(a.less(infinity)).and(is_integer.not());
    let value = undefined.choose(x.constant(f64::NAN), value);
    // 1 to any power, -1 to an infinite one, and anything to the power 0.
    let minus_one = a.equals(one).and(y.abs().equals(infinity));
    x.equals(one).or(minus_one).or(y.equals(zero)).choose(one, value)
}

fn erf_wide<'m, 'f>(x: Vector<'m, 'f>) -> Vector<'m, 'f> {
    let a = x.abs();
    let near = x * (x * x).polynomial(&ERF);
    // erf has reached 1 in f32 well before 5.
    let b = a.clamp(0.0, 5.0);
    let u = (b - 2.0) / (b + 2.0);
    let tail = exp(-(b * b)) * u.polynomial(&ERFCX);
    let far = (x.constant(1.0) - tail).copysign(x);
    a.less(x.constant(1.0)).choose(near, far)
}

/// The functions on four f32.
impl<'m, 'f> Vector<'m, 'f> {
    /// Within 1.1 units in the last place.
    pub fn exp(self) -> Self {
        // Beyond, it over- or underflows.
        let x = self.clamp(-104.0, 89.0);
        // In the low bits n stands on twice the bias of an exponent.
        let magic = MAGIC_F32 + 2.0 * 127.0;
        let shifted = x.times_plus(x.constant(LOG2_E), x.constant(magic));
        let n = shifted - magic;
        // The first product is exact.
        let [high, low] = LN_2_F32.map(|part| x.constant(-part));
        let r = n.times_plus(low, n.times_plus(high, x));
        let power = (r * r).times_plus(r.polynomial(&EXP_F32), r);
        // Two factors, as 2^n may be no f32 where the result is one.
        let half = shifted.shift(Direction::Right, 1);
        let rest = shifted.integer(IntegerOp::Sub, half);
        let [first, second] = [half, rest].map(|exponent| exponent.shift(Direction::Left, 23));
        power.times_plus(first, first) * second
    }

    pub fn log(self) -> Self {
        Self::widened([self], |[x]| log(x))
    }

    pub fn rsqrt(self) -> Self {
        self.constant(1.0) / self.sqrt()
    }

    pub fn sin(self) -> Self {
        trigonometric(self, |[r, quotient]| sine_at(r, quotient))
    }

    pub fn cos(self) -> Self {
        // A quarter turn on.
        trigonometric(self, |[r, quotient]| sine_at(r, quotient + 1.0))
    }

    pub fn tan(self) -> Self {
        trigonometric(self, |[r, quotient]| {
            let [sine, cosine] = sin_cos(r);
            let odd = quotient_bit(quotient, 1);
            odd.choose(-cosine, sine) / odd.choose(sine, cosine)
        })
    }

    pub fn asin(self) -> Self {
        Self::widened([self], |[x]| atan2_wide(x, other_leg(x)))
    }

    pub fn acos(self) -> Self {
        Self::widened([self], |[x]| atan2_wide(other_leg(x), x))
    }

    pub fn atan(self) -> Self {
        Self::widened([self], |[x]| atan2_wide(x, x.constant(1.0)))
    }

    pub fn atan2(self, x: Self) -> Self {
        Self::widened([self, x], |[y, x]| atan2_wide(y, x))
    }

    pub fn sinh(self) -> Self {
        Self::widened([self], |[x]| {
            let e = expm1(x.abs());
            ((e + e / (e + 1.0)) * 0.5).copysign(x)
        })
    }

    pub fn cosh(self) -> Self {
        Self::widened([self], |[x]| {
            let e = exp(x.abs());
            (e + x.constant(1.0) / e) * 0.5
        })
    }

    pub fn tanh(self) -> Self {
        Self::widened([self], |[x]| {
            let e = expm1(x.abs() * -2.0);
            (-e / (e + 2.0)).copysign(x)
        })
    }

    pub fn sigmoid(self) -> Self {
        Self::widened([self], |[x]| x.constant(1.0) / (exp(-x) + 1.0))
    }

    pub fn softplus(self) -> Self {
        Self::widened([self], |[x]| {
            let zero = x.constant(0.0);
            zero.less(x).choose(x, zero) + log1p(exp(-x.abs()))
        })
    }

    pub fn erf(self) -> Self {
        Self::widened([self], |[x]| erf_wide(x))
    }

    pub fn pow(self, exponent: Self) -> Self {
        Self::widened([self, exponent], |[x, y]| pow_wide(x, y))
    }
}

const TWO_52: f64 = (1u64 << 52) as f64;
const MAGIC: f64 = 1.5 * TWO_52;

/// 1.5·2^23: adding it to a small f32 rounds to an integer, which then stands in the low bits.
const MAGIC_F32: f64 = 12582912.0;

/// log(2) in two parts, the first of 9 bits.
const LN_2_F32: [f64; 2] = [0.693359375, -2.12194440e-4];

/// `(e^r - 1 - r) / r²` within ±log(2)/2, relative error of `e^r` 1e-8.
const EXP_F32: [f64; 5] = [
    0.4999998856210998,
    0.16666518166227337,
    0.04166953856269737,
    0.008368951693760167,
    0.0013751285567593903,
];

/// π/2 in three parts, the first two of 32 bits.
const PI_2: [f64; 3] = [1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21];

/// The binary digits of 2/π, 29 a piece.
const TWO_OVER_PI: [f64; 7] =
    [341782637.0, 423170132.0, 352195499.0, 488592205.0, 461485765.0, 90590992.0, 478285810.0];

/// `(e^r - 1) / r` within ±log(2)/2, relative error 5e-12.
const EXPM1: [f64; 8] = [
    0.9999999999954933,
    0.4999999999994895,
    0.16666666786624548,
    0.04166666679157075,
    0.008333283451056633,
    0.0013888838026946283,
    0.00019907627667196915,
    2.4868480840091607e-05,
];

/// `2 atanh(s) / s` in s², s up to 0.172, relative error 3e-14.
const ATANH_NEAR: [f64; 6] = [
    1.9999999999999472,
    0.6666666667960768,
    0.39999994882809425,
    0.28572167127643644,
    0.22174207000684065,
    0.196087438130527,
];

/// The same, s up to 1/3, relative error 1e-10.
const ATANH_FAR: [f64; 6] = [
    1.9999999998089095,
    0.666666790316878,
    0.3999871080290645,
    0.2862022025183194,
    0.21398411369766085,
    0.2439450630365576,
];

/// `sin(r) / r` in r², within ±π/4, relative error 5e-12.
const SIN: [f64; 5] = [
    0.9999999999956503,
    -0.16666666631443516,
    0.00833332876810866,
    -0.00019839197872778764,
    2.7173055117828634e-06,
];

/// `cos(r)` in r², within ±π/4, relative error 7e-11.
const COS: [f64; 5] = [
    0.9999999999522393,
    -0.49999999613237095,
    0.04166661653504029,
    -0.0013886613237296677,
    2.437939038966826e-05,
];

/// `atan(t) / t` in t², t up to 1, relative error 7e-11.
const ATAN: [f64; 12] = [
    0.9999999999293037,
    -0.3333333129088999,
    0.19999901102171555,
    -0.14283813255743194,
    0.11091922963683298,
    -0.08974171958363868,
    0.07228278345377219,
    -0.05395668057137115,
    0.033826218952786244,
    -0.015828322749148978,
    0.004732484193421748,
    -0.0006633954571104488,
];

/// `erf(x) / x` in x², x up to 1, relative error 4e-11.
const ERF: [f64; 8] = [
    1.1283791670615435,
    -0.3761263846802871,
    0.11283782495236845,
    -0.026865430727670243,
    0.005221031807858023,
    -0.0008484080405535104,
    0.00011265959025606593,
    -9.667044571486952e-06,
];

/// `e^(x²) erfc(x)` in (x - 2) / (x + 2), x from 1 to 4, relative error 3e-12.
const ERFCX: [f64; 10] = [
    0.255395676311294,
    -0.427185847414856,
    0.24165819388732174,
    -0.07897858061175764,
    0.00373291813668481,
    0.006997432631833627,
    -0.0008478007728975063,
    -0.0009812423525690584,
    5.052889658700171e-05,
    0.0001667783485684072,
];

#[cfg(test)]
mod tests;
