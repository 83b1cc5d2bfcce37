//! Random bits and the normal numbers of them on lanes: see [`crate::ir::graph::random`].

use super::Emitter;
use crate::ir::graph::random::{LOG2, PHILOX, PHILOX_ROUNDS, TAILS};
use crate::target::cpu::lanes::code::{Mask, Vector, integers};
use crate::target::cpu::lanes::{Direction, IntegerOp};

impl<'f> Emitter<'_, 'f> {
    /// Ten rounds on two counters.
    pub(super) fn philox<'m>(
        &'m self,
        [key, first, second]: [Vector<'m, 'f>; 3],
    ) -> Vector<'m, 'f> {
        let (mut key, mut other) = (key, self.words(0));
        let mut word = [first, second, self.words(0), self.words(0)];
        for _ in 0..PHILOX_ROUNDS {
            let product = |word: Vector<'m, 'f>, factor: u32| {
                let factor = self.words(factor);
                [self.high(word, factor), word.integer(IntegerOp::Mul, factor)]
            };
            let ([high_a, low_a], [high_b, low_b]) =
                (product(word[0], PHILOX[0]), product(word[2], PHILOX[1]));
            let (one, two) = (high_b.xor(word[1]), high_a.xor(word[3]));
            word = [one.xor(key), low_b, two.xor(other), low_a];
            key = add(key, self.words(PHILOX[2]));
            other = add(other, self.words(PHILOX[3]));
        }
        word[0]
    }

    /// The normal number of a word.
    pub(super) fn normal<'m>(&'m self, word: Vector<'m, 'f>) -> Vector<'m, 'f> {
        let (one, two) = (self.words(1), self.words(2));
        let odd = shl(word, 1).or(one);
        // At least 3.
        let odd = odd.or(odd.integer(IntegerOp::Equal, one).and(two));
        let zeros = self.leading_zeros(odd);
        // There are no shifts by lanes, so it is multiplied by the power of two.
        let power = shl(add(zeros, self.words(127)), 23).to_integers();
        let normalised = odd.integer(IntegerOp::Mul, power);
        let fraction = shl(normalised, 1);
        let log =
            shl(self.high(fraction, self.alternating(LOG2.map(|c| self.words(c)), fraction)), 1);

        let by_tail = |cases: [Vector<'m, 'f>; 5]| {
            let [nearest, others @ ..] = cases;
            others.into_iter().zip([0, 2, 6, 14]).fold(nearest, |chosen, (case, before)| {
                let is_case = Mask(zeros.integer(IntegerOp::Greater, self.words(before)));
                is_case.choose(case, chosen)
            })
        };
        let from_end = by_tail([0, 1, 2, 3, 4].map(|k: u8| {
            let whole = sub(self.words((2 << k) - 2), zeros);
            // The first tail has no whole part.
            if k == 0 { log } else { add(shl(whole, 32 - k), shr(log, k)) }
        }));
        let from_start = Mask(from_end).not().0;
        let coefficient = |at: usize| by_tail(TAILS.map(|tail| self.words(tail[at])));
        let slopes = [1, 2, 3, 4, 5, 6, 7, 8].map(coefficient);
        let size = self.high(from_start, self.alternating(slopes, from_start));
        let size = shr(add(add(coefficient(0), size), self.words(128)), 8);
        let size = size.to_floats() * (1.0 / 2_097_152.0);
        let is_negative = Mask(self.words(0).integer(IntegerOp::Greater, word));
        is_negative.choose(-size, size)
    }

    /// Of words that are at least 2: by the exponent of a float. The bit after the first is taken out, so that it is
    /// not rounded up.
    fn leading_zeros<'m>(&'m self, word: Vector<'m, 'f>) -> Vector<'m, 'f> {
        let number = shr(word, 1).and_not(shr(word, 2)).to_floats();
        sub(self.words(127 + 30), shr(number, 23))
    }

    /// c0 − x·(c1 − x·(c2 − …)), x in units of 2^-32.
    fn alternating<'m, const N: usize>(
        &'m self,
        coefficients: [Vector<'m, 'f>; N],
        x: Vector<'m, 'f>,
    ) -> Vector<'m, 'f> {
        let rest = |rest, coefficient| sub(coefficient, self.high(x, rest));
        coefficients.into_iter().rev().reduce(rest).unwrap_or(x)
    }

    /// The upper half of a product without sign, by halves of 16 bits.
    fn high<'m>(&'m self, a: Vector<'m, 'f>, b: Vector<'m, 'f>) -> Vector<'m, 'f> {
        let mul = |a: Vector<'m, 'f>, b| a.integer(IntegerOp::Mul, b);
        let upper = |a| shr(a, 16);
        let lower = |a: Vector<'m, 'f>| a.and(self.words(0xffff));
        let ([a_low, a_high], [b_low, b_high]) = ([lower(a), upper(a)], [lower(b), upper(b)]);
        let (low_high, high_low) = (mul(a_low, b_high), mul(a_high, b_low));
        let middle = add(add(upper(mul(a_low, b_low)), lower(low_high)), lower(high_low));
        add(add(mul(a_high, b_high), upper(low_high)), add(upper(high_low), upper(middle)))
    }

    fn words(&self, number: u32) -> Vector<'_, 'f> {
        self.wrap(integers(number as i32))
    }
}

fn add<'m, 'f>(a: Vector<'m, 'f>, b: Vector<'m, 'f>) -> Vector<'m, 'f> {
    a.integer(IntegerOp::Add, b)
}

fn sub<'m, 'f>(a: Vector<'m, 'f>, b: Vector<'m, 'f>) -> Vector<'m, 'f> {
    a.integer(IntegerOp::Sub, b)
}

fn shl<'m, 'f>(a: Vector<'m, 'f>, bits: u8) -> Vector<'m, 'f> {
    a.shift(Direction::Left, bits)
}

fn shr<'m, 'f>(a: Vector<'m, 'f>, bits: u8) -> Vector<'m, 'f> {
    a.shift(Direction::Right, bits)
}
