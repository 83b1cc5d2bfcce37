//! Random bits, and normal numbers made of them in integer arithmetic alone, so that they are the same to the bit
//! wherever they are computed.

/// The multipliers of Philox's two halves, and what is added to the key after each round.
pub(crate) const PHILOX: [u32; 4] = [0xd251_1f53, 0xcd9e_8d57, 0x9e37_79b9, 0xbb67_ae85];
/// The rounds of Philox.
pub(crate) const PHILOX_ROUNDS: usize = 10;

/// The first word that Philox 4x32-10 makes of a key and two counters; the other key and counters are 0.
pub(super) fn philox(key: i32, first: i32, second: i32) -> i32 {
    let (mut key, mut word) = ([key as u32, 0], [first as u32, second as u32, 0, 0]);
    for _ in 0..PHILOX_ROUNDS {
        word = [
            high(PHILOX[1], word[2]) ^ word[1] ^ key[0],
            PHILOX[1].wrapping_mul(word[2]),
            high(PHILOX[0], word[0]) ^ word[3] ^ key[1],
            PHILOX[0].wrapping_mul(word[0]),
        ];
        key = [key[0].wrapping_add(PHILOX[2]), key[1].wrapping_add(PHILOX[3])];
    }
    word[0] as i32
}

/// log2(1 + f) = f·(c0 − f·(c1 − f·(c2 …))) for f in [0, 1), to 8e-8: the coefficients times 2^31. The first is rounded
/// down so that the logarithm stays below 1.
pub(crate) const LOG2: [u32; 9] = [
    0xb8aa_3a6e,
    0x5c54_e141,
    0x3d87_6de8,
    0x2de0_fc1a,
    0x234a_c829,
    0x1940_a44f,
    0x0e78_7cb7,
    0x0576_c610,
    0x00f8_5a66,
];

/// −Φ⁻¹(2^−L) = c0 + g·(c1 − g·(c2 − g·(c3 …))) for L = 2^k·(1 + g) with g in [0, 1), to 3e-8: for each k the
/// coefficients times 2^29.
#[rustfmt::skip]
pub(crate) const TAILS: [[u32; 9]; 5] = [
    [0x0000_0008, 0x1bcc_9fcf, 0x09a1_d6ad, 0x05b2_5cc1, 0x03df_9974, 0x0294_f67c, 0x016b_e8e0, 0x0086_5ef3, 0x0017_8d86],
    [0x1595_6b91, 0x22e6_5676, 0x0b5a_0a0a, 0x0691_6c22, 0x046a_723c, 0x02ec_b08c, 0x019a_b849, 0x0097_5945, 0x001a_7f78],
    [0x3117_8402, 0x2d16_a959, 0x0dc5_6bb8, 0x07c4_3f71, 0x0526_5ca9, 0x0362_301f, 0x01d9_07bf, 0x00ad_de84, 0x001e_6588],
    [0x551f_45dc, 0x3bc3_939c, 0x113e_448e, 0x0976_34d0, 0x062c_9680, 0x0404_8b24, 0x022e_97c1, 0x00cc_ae09, 0x0023_b809],
    [0x856d_1cb4, 0x50e2_f583, 0x1646_99ff, 0x0be8_2150, 0x07a3_f5d8, 0x04eb_62b8, 0x02a7_aae5, 0x00f8_25a8, 0x002b_36b3],
];

/// The normal number of a word: Φ⁻¹ of the probability that its lower bits are, in multiples of 2^-21 to within
/// 3e-7. The sign is the upper bit.
pub(super) fn normal(word: i32) -> f64 {
    let word = word as u32;
    // The probability is that times 2^-33.
    let odd = (word << 1 | 1).max(3);
    let zeros = odd.leading_zeros();
    let fraction = odd << zeros << 1;
    let log = high(fraction, alternating(&LOG2, fraction)) << 1;
    // The probability is 2^-L with L = 2 + zeros - log.
    let k = (zeros + 1).ilog2();
    let from_end = ((((2 << k) - 2 - zeros) << (31 - k)) << 1) + (log >> k);
    let [start, slopes @ ..] = &TAILS[k as usize];
    let size = start + high(!from_end, alternating(slopes, !from_end));
    let size = f64::from((size + 128) >> 8) / f64::from(1 << 21);
    if word >> 31 == 1 { -size } else { size }
}

/// c0 − x·(c1 − x·(c2 − …)), x in units of 2^-32.
fn alternating(coefficients: &[u32], x: u32) -> u32 {
    coefficients
        .iter()
        .rev()
        .copied()
        .reduce(|rest, coefficient| coefficient - high(x, rest))
        .unwrap_or(0)
}

/// The upper half of a product.
fn high(a: u32, b: u32) -> u32 {
    ((u64::from(a) * u64::from(b)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123's test vector for zeros, and one by its rounds.
    #[test]
    fn philox_is_that_of_its_paper() {
        assert_eq!(philox(0, 0, 0) as u32, 0x6627_e8d5);
        assert_ne!(philox(1, 0, 0), philox(0, 1, 0));
    }

    /// Φ⁻¹ as Python's `statistics.NormalDist().inv_cdf` has it.
    #[test]
    fn a_normal_number_is_the_quantile_of_its_word() {
        let quantiles = [
            (0x0000_0000, 6.166429517819749),
            (0x0000_0002, 6.0851045457830315),
            (0x0fff_ffff, 1.5341205452991358),
            (0x1000_0000, 1.53412054),
            (0x2000_0000, 1.1503493798104831),
            (0x3fff_ffff, 0.6744897505624251),
            (0x4000_0000, 0.6744897497298384),
            (0x7fff_ffff, 0.0),
        ];
        for (word, quantile) in quantiles {
            let number = normal(word);
            assert!((number - quantile).abs() < 3e-7, "{word:#x}: {number} instead of {quantile}");
            assert_eq!(normal(word | i32::MIN), -number);
        }
    }
}
