//! Random bits and the normal numbers of them on lanes: see [`crate::ir::graph::random`].

use cranelift::prelude::*;

use super::Emitter;
use super::math::Mask;
use crate::ir::graph::random::{LOG2, PHILOX, PHILOX_ROUNDS, TAILS};

impl Emitter<'_, '_> {
    /// Ten rounds on two counters.
    pub(super) fn philox(&self, [key, first, second]: [Value; 3]) -> Value {
        let (add, xor) = (|a, b| self.code().ins().iadd(a, b), |a, b| self.code().ins().bxor(a, b));
        let (mut key, mut other) = (key, self.words(0));
        let mut word = [first, second, self.words(0), self.words(0)];
        for _ in 0..PHILOX_ROUNDS {
            let product = |word: Value, factor: u32| {
                let factor = self.words(factor);
                [self.high(word, factor), self.code().ins().imul(word, factor)]
            };
            let ([high_a, low_a], [high_b, low_b]) =
                (product(word[0], PHILOX[0]), product(word[2], PHILOX[1]));
            let (one, two) = (xor(high_b, word[1]), xor(high_a, word[3]));
            word = [xor(one, key), low_b, xor(two, other), low_a];
            (key, other) = (add(key, self.words(PHILOX[2])), add(other, self.words(PHILOX[3])));
        }
        word[0]
    }

    /// The normal number of a word.
    pub(super) fn normal(&self, word: Value) -> Value {
        let add = |a, b| self.code().ins().iadd(a, b);
        let shl = |a, bits: u8| self.code().ins().ishl_imm_u(a, i64::from(bits));
        let shr = |a, bits: u8| self.code().ins().ushr_imm_u(a, i64::from(bits));
        let (one, three) = (self.words(1), self.words(3));
        let doubled = shl(word, 1);
        let odd = self.code().ins().bor(doubled, one);
        let odd = self.code().ins().umax(odd, three);
        let zeros = self.leading_zeros(odd);
        // There are no shifts by lanes, so it is multiplied by the power of two.
        let power = shl(add(zeros, self.words(127)), 23);
        let power = self.wrap(power).cast(types::F32X4).value;
        let power = self.code().ins().fcvt_to_sint_sat(types::I32X4, power);
        let normalised = self.code().ins().imul(odd, power);
        let fraction = shl(normalised, 1);
        let log =
            shl(self.high(fraction, self.alternating(LOG2.map(|c| self.words(c)), fraction)), 1);

        let by_tail = |cases: [Value; 5]| {
            let [nearest, others @ ..] = cases;
            others.into_iter().zip([1, 3, 7, 15]).fold(nearest, |chosen, (case, least)| {
                let least = self.words(least);
                let is_case = self.code().ins().icmp(IntCC::SignedGreaterThanOrEqual, zeros, least);
                Mask(self.wrap(is_case)).choose(self.wrap(case), self.wrap(chosen)).value
            })
        };
        let from_end = by_tail([0, 1, 2, 3, 4].map(|k: u8| {
            let most = self.words((2 << k) - 2);
            let whole = self.code().ins().isub(most, zeros);
            // The first tail has no whole part.
            if k == 0 { log } else { add(shl(whole, 32 - k), shr(log, k)) }
        }));
        let from_start = self.code().ins().bnot(from_end);
        let coefficient = |at: usize| by_tail(TAILS.map(|tail| self.words(tail[at])));
        let slopes = [1, 2, 3, 4, 5, 6, 7, 8].map(coefficient);
        let size = self.high(from_start, self.alternating(slopes, from_start));
        let size = shr(add(add(coefficient(0), size), self.words(128)), 8);
        let size = self.code().ins().fcvt_from_sint(types::F32X4, size);
        let size = self.wrap(size) * self.floats(1.0 / 2_097_152.0);
        let zero = self.words(0);
        let is_negative = self.code().ins().icmp(IntCC::SignedLessThan, word, zero);
        Mask(self.wrap(is_negative)).choose(-size, size).value
    }

    /// Of words that are at least 2: by the exponent of a float. The bit after the first is taken out, so that it is
    /// not rounded up.
    fn leading_zeros(&self, word: Value) -> Value {
        let half = self.code().ins().ushr_imm_u(word, 1);
        let quarter = self.code().ins().ushr_imm_u(word, 2);
        let number = self.code().ins().band_not(half, quarter);
        let number = self.code().ins().fcvt_from_sint(types::F32X4, number);
        let bits = self.wrap(number).bits_of_lanes();
        let exponent = self.code().ins().ushr_imm_u(bits, 23);
        let greatest = self.words(127 + 30);
        self.code().ins().isub(greatest, exponent)
    }

    /// c0 − x·(c1 − x·(c2 − …)), x in units of 2^-32.
    fn alternating<const N: usize>(&self, coefficients: [Value; N], x: Value) -> Value {
        let rest = |rest, coefficient| {
            let product = self.high(x, rest);
            self.code().ins().isub(coefficient, product)
        };
        coefficients.into_iter().rev().reduce(rest).unwrap_or(x)
    }

    /// The upper half of a product without sign, by halves of 16 bits.
    fn high(&self, a: Value, b: Value) -> Value {
        let mul = |a, b| self.code().ins().imul(a, b);
        let add = |a, b| self.code().ins().iadd(a, b);
        let upper = |a| self.code().ins().ushr_imm_u(a, 16);
        let mask = self.words(0xffff);
        let lower = |a| self.code().ins().band(a, mask);
        let ([a_low, a_high], [b_low, b_high]) = ([lower(a), upper(a)], [lower(b), upper(b)]);
        let (low_high, high_low) = (mul(a_low, b_high), mul(a_high, b_low));
        let middle = add(add(upper(mul(a_low, b_low)), lower(low_high)), lower(high_low));
        add(add(mul(a_high, b_high), upper(low_high)), add(upper(high_low), upper(middle)))
    }

    fn words(&self, number: u32) -> Value {
        self.ints([number as i32; 4])
    }
}
