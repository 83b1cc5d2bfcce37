//! What follows of a pointwise operation's result from the ranges of its operands: the `range`
//! column of the table of operations. That a result is a literal if all operands are, and the same at
//! every step if they are, need not be said here.

use super::{Fact, MAX, down, up};

/// Where the rounding of f32 no longer keeps integers integers.
const EXACT: f64 = (1 << 24) as f64;
/// One unit in the last place, relative.
const ULP: f64 = 1.0 / (1 << 23) as f64;
/// More than what a device's division, tangent or logarithm is off.
const ROUGH: f64 = 1.0 / (1 << 18) as f64;
/// More than what WGSL lets a sine be off, absolutely.
const SINE: f64 = 1.0 / (1 << 10) as f64;

/// Not NaN where no operand is.
fn interval(x: &[Fact], low: f64, high: f64) -> Fact {
    if low.is_nan() || high.is_nan() {
        return Fact::UNKNOWN;
    }
    let not_nan = x.iter().all(|x| x.not_nan);
    Fact { low: down(low), high: up(high), not_nan, ..Fact::UNKNOWN }
}

/// As [`interval`], but with the function off by as much.
fn rough(x: &[Fact], low: f64, high: f64, relative: f64, absolute: f64) -> Fact {
    let slack = |bound: f64| match bound.is_finite() {
        true => bound.abs() * relative + absolute,
        false => 0.0,
    };
    interval(x, low - slack(low), high + slack(high))
}

fn at_least(low: f64, fact: Fact) -> Fact {
    Fact { low: fact.low.max(low), ..fact }
}

fn of_integers(integer: bool, fact: Fact) -> Fact {
    let integer = integer && fact.low >= -EXACT && fact.high <= EXACT;
    Fact { integer, ..fact }
}

fn may_be_zero(x: &Fact) -> bool {
    !x.is_non_zero()
}

fn may_be_infinite(x: &Fact) -> bool {
    x.low == f64::NEG_INFINITY || x.high == f64::INFINITY
}

pub fn neg(x: &[Fact]) -> Fact {
    Fact { integer: x[0].integer, ..interval(x, -x[0].high, -x[0].low) }
}

pub fn exp(x: &[Fact]) -> Fact {
    let steepest = x[0].low.abs().max(x[0].high.abs()).min(128.0);
    let (low, high) = (x[0].low.exp(), x[0].high.exp());
    at_least(0.0, rough(x, low, high, (4.0 + 2.0 * steepest) * ULP, 0.0))
}

pub fn log(x: &[Fact]) -> Fact {
    let not_nan = x[0].not_nan && x[0].low >= 0.0;
    let (low, high) = (x[0].low.max(0.0).ln(), x[0].high.max(0.0).ln());
    Fact { not_nan, ..rough(x, low, high, ROUGH, ROUGH) }
}

pub fn sqrt(x: &[Fact]) -> Fact {
    let not_nan = x[0].not_nan && x[0].low >= 0.0;
    let (low, high) = (x[0].low.max(0.0).sqrt(), x[0].high.max(0.0).sqrt());
    Fact { not_nan, ..at_least(0.0, rough(x, low, high, ROUGH, 0.0)) }
}

pub fn rsqrt(x: &[Fact]) -> Fact {
    let not_nan = x[0].not_nan && x[0].low >= 0.0;
    if !x[0].is_non_zero() {
        // Of negative zero it is negative infinity.
        return Fact { not_nan, ..Fact::UNKNOWN };
    }
    let (low, high) = (1.0 / x[0].high.max(0.0).sqrt(), 1.0 / x[0].low.max(0.0).sqrt());
    Fact { not_nan, ..at_least(0.0, rough(x, low, high, ROUGH, 0.0)) }
}

pub fn abs(x: &[Fact]) -> Fact {
    let low = x[0].low.max(-x[0].high).max(0.0);
    Fact { integer: x[0].integer, ..interval(x, low, x[0].high.max(-x[0].low)) }
}

pub fn sign(x: &[Fact]) -> Fact {
    let of = |bound: f64| if bound == 0.0 { 0.0 } else { bound.signum() };
    let low = if x[0].is_non_zero() { of(x[0].low) } else { of(x[0].low).min(0.0) };
    let high = if x[0].is_non_zero() { of(x[0].high) } else { of(x[0].high).max(0.0) };
    Fact { integer: true, ..interval(x, low, high) }
}

fn rounding(x: &[Fact], round: fn(f64) -> f64) -> Fact {
    Fact { integer: true, ..interval(x, round(x[0].low), round(x[0].high)) }
}

pub fn floor(x: &[Fact]) -> Fact {
    rounding(x, f64::floor)
}

pub fn ceil(x: &[Fact]) -> Fact {
    rounding(x, f64::ceil)
}

pub fn round(x: &[Fact]) -> Fact {
    rounding(x, f64::round_ties_even)
}

/// Of NaN it is 0.
pub fn to_i32(x: &[Fact]) -> Fact {
    let of = |bound: f64| f64::from(bound as i32);
    let (low, high) = (of(x[0].low), of(x[0].high));
    let (low, high) = if x[0].not_nan { (low, high) } else { (low.min(0.0), high.max(0.0)) };
    Fact { integer: true, ..Fact::within(low, high) }
}

/// Sine and cosine.
pub fn wave(x: &[Fact]) -> Fact {
    Fact { not_nan: x[0].is_finite(), ..Fact::within(-1.0 - SINE, 1.0 + SINE) }
}

pub fn unit(_: &[Fact]) -> Fact {
    Fact::within(0.0, 1.0 - f64::from(f32::EPSILON) / 2.0)
}

pub fn normal(_: &[Fact]) -> Fact {
    Fact::within(-6.5, 6.5)
}

pub fn unknown(_: &[Fact]) -> Fact {
    Fact::UNKNOWN
}

fn on_unit(x: &[Fact], low: f64, high: f64) -> Fact {
    let not_nan = x[0].not_nan && x[0].low >= -1.0 && x[0].high <= 1.0;
    Fact { not_nan, ..Fact::within(low - SINE, high + SINE) }
}

pub fn asin(x: &[Fact]) -> Fact {
    on_unit(x, -std::f64::consts::FRAC_PI_2, std::f64::consts::FRAC_PI_2)
}

pub fn acos(x: &[Fact]) -> Fact {
    on_unit(x, 0.0, std::f64::consts::PI)
}

/// A function that grows between two bounds, off by no more than [`ROUGH`].
fn sigmoidal(x: &[Fact], function: fn(f64) -> f64) -> Fact {
    rough(x, function(x[0].low), function(x[0].high), ROUGH, ROUGH)
}

pub fn atan(x: &[Fact]) -> Fact {
    sigmoidal(x, f64::atan)
}

pub fn tanh(x: &[Fact]) -> Fact {
    sigmoidal(x, f64::tanh)
}

pub fn sigmoid(x: &[Fact]) -> Fact {
    at_least(0.0, sigmoidal(x, |x| 1.0 / (1.0 + (-x).exp())))
}

pub fn erf(x: &[Fact]) -> Fact {
    sigmoidal(x, |x| (super::super::op::Pointwise::Erf.row().value)(&[x]))
}

pub fn sinh(x: &[Fact]) -> Fact {
    rough(x, x[0].low.sinh(), x[0].high.sinh(), SINE, ROUGH)
}

pub fn cosh(x: &[Fact]) -> Fact {
    let size = abs(x);
    at_least(0.5, rough(x, size.low.cosh(), size.high.cosh(), SINE, 0.0))
}

pub fn relu(x: &[Fact]) -> Fact {
    Fact { integer: x[0].integer, ..interval(x, x[0].low.max(0.0), x[0].high.max(0.0)) }
}

pub fn softplus(x: &[Fact]) -> Fact {
    let of = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    at_least(0.0, rough(x, of(x[0].low), of(x[0].high), ROUGH, ROUGH))
}

pub fn to_f32(x: &[Fact]) -> Fact {
    Fact { integer: x[0].integer, ..interval(x, x[0].low, x[0].high) }
}

pub fn add(x: &[Fact]) -> Fact {
    let meets = |a: f64, b: f64| a.is_infinite() && a == -b;
    if meets(x[0].low, x[1].high) || meets(x[0].high, x[1].low) {
        return Fact::UNKNOWN;
    }
    let sum = interval(x, x[0].low + x[1].low, x[0].high + x[1].high);
    of_integers(x[0].integer && x[1].integer, sum)
}

pub fn sub(x: &[Fact]) -> Fact {
    add(&[x[0], neg(&x[1..])])
}

pub fn mul(x: &[Fact]) -> Fact {
    let corner = |a: f64, b: f64| if a == 0.0 || b == 0.0 { 0.0 } else { a * b };
    let (a, b) = (&x[0], &x[1]);
    let corners = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)];
    let corners = corners.map(|(a, b)| corner(a, b));
    let low = corners.into_iter().fold(f64::INFINITY, f64::min);
    let high = corners.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let product = interval(x, low, high);
    let has_no_value = may_be_zero(a) && may_be_infinite(b) || may_be_zero(b) && may_be_infinite(a);
    let not_nan = product.not_nan && !has_no_value;
    of_integers(a.integer && b.integer, Fact { not_nan, ..product })
}

/// `x · x`
pub fn square(x: &Fact) -> Fact {
    let size = abs(&[*x]);
    let square = interval(&[*x], size.low * size.low, size.high * size.high);
    of_integers(x.integer, square)
}

pub fn div(x: &[Fact]) -> Fact {
    let (a, b) = (&x[0], &x[1]);
    if may_be_zero(b) || may_be_infinite(a) && may_be_infinite(b) {
        return Fact::UNKNOWN;
    }
    let corners = [a.low / b.low, a.low / b.high, a.high / b.low, a.high / b.high];
    if corners.iter().any(|corner| corner.is_nan()) {
        return Fact::UNKNOWN;
    }
    let low = corners.into_iter().fold(f64::INFINITY, f64::min);
    let high = corners.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let quotient = rough(x, low, high, ROUGH, 0.0);
    // Roughness is relative: the sign stays.
    let quotient = if low >= 0.0 { at_least(0.0, quotient) } else { quotient };
    if high <= 0.0 { Fact { high: quotient.high.min(0.0), ..quotient } } else { quotient }
}

/// Of integers, to zero; 0 where the divisor is.
pub fn quotient(x: &[Fact]) -> Fact {
    let (a, b) = (&x[0], &x[1]);
    match a.low >= 0.0 && b.low >= 0.0 {
        true => Fact::within(0.0, a.high),
        false => {
            let size = a.low.abs().max(a.high.abs());
            Fact::within(-size, size)
        }
    }
}

/// Of integers, with the sign of the first; 0 where the divisor is.
pub fn remainder(x: &[Fact]) -> Fact {
    let (a, b) = (&x[0], &x[1]);
    let most = (b.low.abs().max(b.high.abs()) - 1.0).max(0.0);
    Fact::within(a.low.clamp(-most, 0.0), a.high.clamp(0.0, most))
}

pub fn pow(x: &[Fact]) -> Fact {
    let (a, b) = (&x[0], &x[1]);
    let power = b.constant.map(|power| power.0);
    let is_even = power.is_some_and(|power| power % 2.0 == 0.0);
    let low = if a.low >= 0.0 && a.is_non_zero() || is_even { 0.0 } else { f64::NEG_INFINITY };
    let Some(power) = power.filter(|power| *power >= 0.0 && a.not_nan) else {
        return Fact { low, ..Fact::UNKNOWN };
    };
    if a.low < 0.0 && power.fract() != 0.0 {
        return Fact::UNKNOWN;
    }
    let (size, slack) = (abs(x), SINE * (1.0 + power));
    let largest = size.high.powf(power) * (1.0 + slack);
    let smallest = size.low.powf(power) * (1.0 - slack).max(0.0);
    let low = if a.low >= 0.0 || is_even { smallest } else { -largest };
    Fact { not_nan: true, ..interval(x, low, largest) }
}

pub fn atan2(x: &[Fact]) -> Fact {
    interval(x, -std::f64::consts::PI - SINE, std::f64::consts::PI + SINE)
}

pub fn min(x: &[Fact]) -> Fact {
    let integer = x[0].integer && x[1].integer;
    Fact { integer, ..interval(x, x[0].low.min(x[1].low), x[0].high.min(x[1].high)) }
}

pub fn max(x: &[Fact]) -> Fact {
    let integer = x[0].integer && x[1].integer;
    Fact { integer, ..interval(x, x[0].low.max(x[1].low), x[0].high.max(x[1].high)) }
}

/// A boolean that is true, or false, or unknown.
fn boolean(is_true: bool, is_false: bool) -> Fact {
    let low = if is_true { 1.0 } else { 0.0 };
    let high = if is_false { 0.0 } else { 1.0 };
    Fact { integer: true, ..Fact::within(low, high) }
}

fn comparable(x: &[Fact]) -> bool {
    x[0].not_nan && x[1].not_nan
}

pub fn lt(x: &[Fact]) -> Fact {
    boolean(comparable(x) && x[0].high < x[1].low, x[0].low >= x[1].high)
}

pub fn le(x: &[Fact]) -> Fact {
    boolean(comparable(x) && x[0].high <= x[1].low, x[0].low > x[1].high)
}

pub fn gt(x: &[Fact]) -> Fact {
    lt(&[x[1], x[0]])
}

pub fn ge(x: &[Fact]) -> Fact {
    le(&[x[1], x[0]])
}

fn is_apart(x: &[Fact]) -> bool {
    x[0].high < x[1].low || x[0].low > x[1].high
}

pub fn eq(x: &[Fact]) -> Fact {
    boolean(false, is_apart(x))
}

pub fn ne(x: &[Fact]) -> Fact {
    boolean(is_apart(x), false)
}

pub fn not(x: &[Fact]) -> Fact {
    boolean(x[0].high == 0.0, x[0].low == 1.0)
}

pub fn and(x: &[Fact]) -> Fact {
    boolean(x[0].low == 1.0 && x[1].low == 1.0, x[0].high == 0.0 || x[1].high == 0.0)
}

pub fn or(x: &[Fact]) -> Fact {
    boolean(x[0].low == 1.0 || x[1].low == 1.0, x[0].high == 0.0 && x[1].high == 0.0)
}

pub fn select(x: &[Fact]) -> Fact {
    match (x[0].low == 1.0, x[0].high == 0.0) {
        (true, _) => x[1],
        (_, true) => x[2],
        // The same at every step only if the condition is.
        _ => Fact { invariant: false, ..x[1].or(&x[2]) },
    }
}

/// A NaN is not moved; bounds that are NaN move nothing.
pub fn clamp(x: &[Fact]) -> Fact {
    if !x[1].not_nan || !x[2].not_nan {
        let any = x[0].or(&x[1]).or(&x[2]);
        return Fact { not_nan: x[0].not_nan, invariant: false, ..any };
    }
    let clamped = min(&[max(&[x[0], x[1]]), x[2]]);
    Fact { not_nan: x[0].not_nan, ..clamped }
}

/// The sum of so many numbers, in any order.
pub fn sum(x: &Fact, count: Option<f64>) -> Fact {
    let Some(count) = count else {
        // Infinite sums of parts may be of either sign where the numbers are.
        let low = if x.low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        let high = if x.high <= 0.0 { 0.0 } else { f64::INFINITY };
        let not_nan = x.not_nan && (low == 0.0 || high == 0.0);
        return Fact { low, high, not_nan, ..Fact::UNKNOWN };
    };
    if count == 0.0 {
        return Fact::literal(0.0);
    }
    let times = |bound: f64| bound * count;
    let size = times(x.low.abs().max(x.high.abs()));
    let slack = if x.integer && size <= EXACT { 0.0 } else { size * count * ULP };
    let slack = if slack.is_finite() { slack } else { MAX };
    let (low, high) = (times(x.low) - slack, times(x.high) + slack);
    let low = if x.low >= 0.0 { low.max(0.0) } else { low };
    let high = if x.high <= 0.0 { high.min(0.0) } else { high };
    let sum = interval(&[*x], low, high);
    let is_finite = sum.low > f64::NEG_INFINITY && sum.high < f64::INFINITY;
    let not_nan = x.not_nan && (is_finite || x.low >= 0.0 || x.high <= 0.0);
    of_integers(x.integer, Fact { not_nan, ..sum })
}

/// The product of any number of numbers.
pub fn product(x: &Fact) -> Fact {
    let is_small = x.low >= -1.0 && x.high <= 1.0;
    let high = if is_small { 1.0 } else { f64::INFINITY };
    let low = if x.low >= 0.0 { 0.0 } else { -high };
    Fact {
        low,
        high,
        not_nan: x.not_nan && is_small,
        integer: x.integer && is_small,
        ..Fact::UNKNOWN
    }
}
