//! Functions that WGSL lacks, or that drivers compute wrongly at the edges of their range or too
//! roughly (a driver's `atan` may be 4096 units in the last place off).

/// The text of a helper function and of those that it calls, in an order in which they may stand.
pub(super) fn with_callees(name: &str) -> Vec<&'static str> {
    let Some((_, text, callees)) = HELPERS.iter().find(|(known, ..)| *known == name) else {
        return Vec::new();
    };
    callees.iter().flat_map(|callee| with_callees(callee)).chain([*text]).collect()
}

/// Name, text, and what it calls.
const HELPERS: &[(&str, &str, &[&str])] = &[
    (
        "fgi_rows_2",
        "// A bit for each row as a number.
fn fgi_rows_2(bits: u32) -> vec2<f32> {
    return vec2<f32>((vec2<u32>(bits) >> vec2<u32>(0u, 1u)) & vec2<u32>(1u));
}
",
        &[],
    ),
    (
        "fgi_rows_4",
        "// A bit for each row as a number.
fn fgi_rows_4(bits: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u));
}
",
        &[],
    ),
    (
        "fgi_rows_8",
        "fn fgi_rows_8(bits: u32) -> mat2x4<f32> {
    return mat2x4<f32>(fgi_rows_4(bits), fgi_rows_4(bits >> 4u));
}
",
        &["fgi_rows_4"],
    ),
    (
        "fgi_rows_16",
        "fn fgi_rows_16(bits: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        fgi_rows_4(bits),
        fgi_rows_4(bits >> 4u),
        fgi_rows_4(bits >> 8u),
        fgi_rows_4(bits >> 12u),
    );
}
",
        &["fgi_rows_4"],
    ),
    (
        "fgi_is_nan",
        "// By its bits: drivers take x != x for false.
fn fgi_is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
",
        &[],
    ),
    (
        "fgi_divisor",
        "// 1 instead of a divisor by which there is no quotient.
fn fgi_divisor(a: i32, b: i32) -> i32 {
    return select(b, 1, b == 0 || (b == -1 && a == i32(-2147483648)));
}
",
        &[],
    ),
    (
        "fgi_high",
        "// The upper 32 bits of a product.
fn fgi_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let cross = (a >> 16u) * (b & 0xffffu);
    let other = (a & 0xffffu) * (b >> 16u);
    let middle = (low >> 16u) + (cross & 0xffffu) + (other & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (cross >> 16u) + (other >> 16u) + (middle >> 16u);
}
",
        &[],
    ),
    (
        "fgi_philox",
        "// A word of Philox 4x32-10.
fn fgi_philox(key: i32, first: i32, second: i32) -> i32 {
    var k = vec2<u32>(u32(key), 0u);
    var w = vec4<u32>(u32(first), u32(second), 0u, 0u);
    for (var round = 0; round < 10; round += 1) {
        let a = 0xd2511f53u * w.x;
        let b = 0xcd9e8d57u * w.z;
        let high_a = fgi_high(0xd2511f53u, w.x);
        let high_b = fgi_high(0xcd9e8d57u, w.z);
        w = vec4<u32>(high_b ^ w.y ^ k.x, b, high_a ^ w.w ^ k.y, a);
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
    }
    return i32(w.x);
}
",
        &["fgi_high"],
    ),
    (
        "fgi_tail",
        "// The coefficient for the tail in which a probability is, by its leading zeros.
fn fgi_tail(zeros: u32, a: u32, b: u32, c: u32, d: u32, e: u32) -> u32 {
    return select(select(select(select(a, b, zeros >= 1u), c, zeros >= 3u), d, zeros >= 7u), e, zeros >= 15u);
}
",
        &[],
    ),
    (
        "fgi_normal",
        "// The normal number of a word, in integers so that it is the same everywhere: the quantile of a
// probability that is odd times 2^-33, by its logarithm; the sign is the upper bit.
fn fgi_normal(word: i32) -> f32 {
    let odd = max((u32(word) << 1u) | 1u, 3u);
    let zeros = countLeadingZeros(odd);
    let f = (odd << zeros) << 1u;
    var p = 0x00f85a66u;
    p = 0x0576c610u - fgi_high(f, p);
    p = 0x0e787cb7u - fgi_high(f, p);
    p = 0x1940a44fu - fgi_high(f, p);
    p = 0x234ac829u - fgi_high(f, p);
    p = 0x2de0fc1au - fgi_high(f, p);
    p = 0x3d876de8u - fgi_high(f, p);
    p = 0x5c54e141u - fgi_high(f, p);
    p = 0xb8aa3a6eu - fgi_high(f, p);
    let log = fgi_high(f, p) << 1u;
    let k = firstLeadingBit(zeros + 1u);
    let g = ~(((((2u << k) - 2u - zeros) << (31u - k)) << 1u) + (log >> k));
    p = fgi_tail(zeros, 0x00178d86u, 0x001a7f78u, 0x001e6588u, 0x0023b809u, 0x002b36b3u);
    p = fgi_tail(zeros, 0x00865ef3u, 0x00975945u, 0x00adde84u, 0x00ccae09u, 0x00f825a8u) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x016be8e0u, 0x019ab849u, 0x01d907bfu, 0x022e97c1u, 0x02a7aae5u) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x0294f67cu, 0x02ecb08cu, 0x0362301fu, 0x04048b24u, 0x04eb62b8u) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x03df9974u, 0x046a723cu, 0x05265ca9u, 0x062c9680u, 0x07a3f5d8u) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x05b25cc1u, 0x06916c22u, 0x07c43f71u, 0x097634d0u, 0x0be82150u) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x09a1d6adu, 0x0b5a0a0au, 0x0dc56bb8u, 0x113e448eu, 0x164699ffu) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x1bcc9fcfu, 0x22e65676u, 0x2d16a959u, 0x3bc3939cu, 0x50e2f583u) - fgi_high(g, p);
    p = fgi_tail(zeros, 0x00000008u, 0x15956b91u, 0x31178402u, 0x551f45dcu, 0x856d1cb4u) + fgi_high(g, p);
    let size = f32((p + 128u) >> 8u) * 4.76837158203125e-7;
    return select(size, -size, word < 0);
}
",
        &["fgi_high", "fgi_tail"],
    ),
    (
        "fgi_quotient",
        "// By 0 it is 0, of the least number by -1 itself.
fn fgi_quotient(a: i32, b: i32) -> i32 {
    return select(a / fgi_divisor(a, b), 0, b == 0);
}
",
        &["fgi_divisor"],
    ),
    (
        "fgi_remainder",
        "// By 0 it is 0.
fn fgi_remainder(a: i32, b: i32) -> i32 {
    return a % fgi_divisor(a, b);
}
",
        &["fgi_divisor"],
    ),
    (
        "fgi_min",
        "// A NaN in either operand is the result.
fn fgi_min(a: f32, b: f32) -> f32 {
    return select(select(b, a, a < b), a, fgi_is_nan(a));
}
",
        &["fgi_is_nan"],
    ),
    (
        "fgi_max",
        "// A NaN in either operand is the result.
fn fgi_max(a: f32, b: f32) -> f32 {
    return select(select(b, a, a > b), a, fgi_is_nan(a));
}
",
        &["fgi_is_nan"],
    ),
    (
        "fgi_relu",
        "fn fgi_relu(x: f32) -> f32 {
    return select(x, 0.0, x <= 0.0);
}
",
        &[],
    ),
    (
        "fgi_clamp",
        "fn fgi_clamp(x: f32, low: f32, high: f32) -> f32 {
    let raised = select(x, low, x < low);
    return select(raised, high, raised > high);
}
",
        &[],
    ),
    (
        "fgi_sigmoid",
        "// The exponent is never positive, so nothing overflows.
fn fgi_sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(e, 1.0, x >= 0.0) / (1.0 + e);
}
",
        &[],
    ),
    (
        "fgi_tanh",
        "// Nothing overflows; a series where the difference would cancel.
fn fgi_tanh(x: f32) -> f32 {
    let e = exp(-2.0 * abs(x));
    let far = sign(x) * (1.0 - e) / (1.0 + e);
    let s = x * x;
    let p = 0.13333334 + s * (-0.053968254 + s * (0.021869488 + s * -0.008863236));
    let near = x + x * (s * (-0.33333334 + s * p));
    return select(far, near, s < 0.0625);
}
",
        &[],
    ),
    (
        "fgi_sinh",
        "// A series where the difference would cancel.
fn fgi_sinh(x: f32) -> f32 {
    let s = x * x;
    let near = x + x * s * (0.16666667 + s * (0.008333334 + s * 0.0001984127));
    return select(sinh(x), near, s < 0.25);
}
",
        &[],
    ),
    (
        "fgi_softplus",
        "// max(x, 0) + log(1 + e), with log(1 + e) = 2 artanh(e / (2 + e)).
fn fgi_softplus(x: f32) -> f32 {
    let e = exp(-abs(x));
    let r = e / (2.0 + e);
    let s = r * r;
    let p = 0.2 + s * (0.14285715 + s * (0.11111111 + s * (0.09090909 + s * 0.07692308)));
    return select(0.0, x, x > 0.0) + 2.0 * (r + r * s * (0.33333334 + s * p));
}
",
        &[],
    ),
    (
        "fgi_erf",
        "// Polynomials for erf(x) / x below 1 and for -log(1 - erf(x)) from 1 to 4.
fn fgi_erf(x: f32) -> f32 {
    let s = x * x;
    let q = 0.112835944 + s * (-0.026854211 + s * (0.005189087 + s * (-0.00080168643 + s * 0.00007875875)));
    let near = x * (1.1283791 + s * (-0.37612626 + s * q));
    let a = min(abs(x), 4.0);
    let r = 0.10328112 + a * (-0.022604773 + a * (0.0034323514 + a * (-0.00031693702 + a * 0.000013272362)));
    let p = 0.0007657978 + a * (1.1258936 + a * (0.63914126 + a * r));
    let far = sign(x) * (1.0 - exp(-p));
    return select(select(far, near, a < 1.0), x, fgi_is_nan(x));
}
",
        &["fgi_is_nan"],
    ),
    (
        "fgi_pow",
        "// WGSL's pow is for positive bases.
fn fgi_pow(base: f32, exponent: f32) -> f32 {
    let magnitude = select(pow(abs(base), exponent), 1.0, exponent == 0.0);
    let half = exponent * 0.5;
    let odd = select(magnitude, -magnitude, floor(half) != half);
    let nan = bitcast<f32>(bitcast<u32>(base) | 0x7fc00000u);
    let negative = select(nan, odd, floor(exponent) == exponent);
    return select(magnitude, negative, base < 0.0);
}
",
        &[],
    ),
    (
        "fgi_atan_unit",
        "// atan from -1 to 1.
fn fgi_atan_unit(x: f32) -> f32 {
    let s = x * x;
    let r = 0.10618371 + s * (-0.07456855 + s * (0.042137623 + s * (-0.015731249 + s * 0.0027662833)));
    let q = -0.33333036 + s * (0.19991872 + s * (-0.14197798 + s * r));
    return x + x * s * q;
}
",
        &[],
    ),
    (
        "fgi_atan",
        "fn fgi_atan(x: f32) -> f32 {
    let is_far = abs(x) > 1.0;
    let near = fgi_atan_unit(select(x, 1.0 / x, is_far));
    return select(near, sign(x) * 1.5707964 - near, is_far);
}
",
        &["fgi_atan_unit"],
    ),
    (
        "fgi_atan2",
        "// Signs by their bits, for zeros have them too.
fn fgi_atan2(y: f32, x: f32) -> f32 {
    let large = max(abs(x), abs(y));
    let small = min(abs(x), abs(y));
    let acute = fgi_atan_unit(small / select(large, 1.0, large == 0.0));
    let upper = select(acute, 1.5707964 - acute, abs(y) > abs(x));
    let half = select(upper, 3.1415927 - upper, bitcast<i32>(x) < 0);
    return select(half, -half, bitcast<i32>(y) < 0);
}
",
        &["fgi_atan_unit"],
    ),
    (
        "fgi_asin_half",
        "// asin from -1/2 to 1/2.
fn fgi_asin_half(x: f32) -> f32 {
    let s = x * x;
    let q = 0.07494697 + s * (0.045520637 + s * (0.023993999 + s * 0.042417374));
    return x + x * s * (0.16666782 + s * q);
}
",
        &[],
    ),
    (
        "fgi_asin",
        "fn fgi_asin(x: f32) -> f32 {
    let a = abs(x);
    let far = 1.5707964 - 2.0 * fgi_asin_half(sqrt(0.5 - 0.5 * a));
    return select(fgi_asin_half(x), sign(x) * far, a > 0.5);
}
",
        &["fgi_asin_half"],
    ),
    (
        "fgi_acos",
        "fn fgi_acos(x: f32) -> f32 {
    let a = abs(x);
    let acute = 2.0 * fgi_asin_half(sqrt(0.5 - 0.5 * a));
    let far = select(acute, 3.1415927 - acute, x < 0.0);
    return select(1.5707964 - fgi_asin_half(x), far, a > 0.5);
}
",
        &["fgi_asin_half"],
    ),
];
