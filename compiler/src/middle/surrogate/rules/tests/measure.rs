//! The numeric class of an equation, measured: both sides are evaluated in f32, each operation
//! rounded, on matrices of ordinary and special numbers.

use egg::RecExpr;

use crate::ir::graph::{Fact, Op, Reduction};
use crate::middle::surrogate::Numeric;
use crate::middle::surrogate::language::Term;
use crate::testing::Random;

const N: usize = 3;

/// An N×N matrix.
type Matrix = [f32; N * N];

const SPECIAL: &[f32] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    -f32::MIN_POSITIVE,
    1e-45,
    -1e-40,
    16_777_216.0,
    -0.1,
    88.8,
];

/// The strictest class that all samples agree with.
pub fn measure(left: &RecExpr<Term>, right: &RecExpr<Term>) -> Numeric {
    let mut random = Random(5);
    let samples = (0..4000).map(|sample| {
        let leaves: [Matrix; 4] =
            std::array::from_fn(|_| std::array::from_fn(|_| number(&mut random, sample)));
        compare(&evaluate(left, &leaves), &evaluate(right, &leaves))
    });
    samples.max().unwrap_or(Numeric::Exact)
}

/// The first samples are special numbers, then come any bits, then numbers of ordinary size.
fn number(random: &mut Random, sample: usize) -> f32 {
    let ordinary = random.number() as f32;
    let bits = random.bits();
    match sample {
        0..1500 => SPECIAL[bits as usize % SPECIAL.len()],
        1500..2000 => f32::from_bits(bits as u32),
        _ => ordinary,
    }
}

struct Evaluation {
    result: Matrix,
    /// No NaN, infinity or negative zero took part.
    is_finite: bool,
    /// The largest number that took part.
    largest: f32,
}

fn compare(left: &Evaluation, right: &Evaluation) -> Numeric {
    let pairs = || left.result.iter().zip(&right.result);
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    if pairs().all(same) {
        return Numeric::Exact;
    }
    if !left.is_finite || !right.is_finite {
        return Numeric::Finite;
    }
    let rounding = 16.0 * f32::EPSILON * left.largest.max(right.largest);
    match pairs().all(|(a, b)| (a - b).abs() <= rounding) {
        true => Numeric::Reassociating,
        false => Numeric::Approximate,
    }
}

fn evaluate(expression: &RecExpr<Term>, leaves: &[Matrix; 4]) -> Evaluation {
    let mut values: Vec<Matrix> = Vec::new();
    for term in expression {
        let args = egg::Language::children(term).iter();
        let args: Vec<&Matrix> = args.map(|id| &values[usize::from(*id)]).collect();
        let value = match term {
            Term::Leaf(leaf) => {
                let place = ["x", "y", "z"].iter().position(|name| leaf.name.ends_with(name));
                leaves[place.unwrap_or(3)].map(|x| member(&leaf.fact, x))
            }
            Term::Sg(_) | Term::Bypass(_) => *args[0],
            Term::Tangent(_) => [0.0; N * N],
            Term::Neg(_) => args[0].map(|x| -x),
            Term::Sum(_) => std::array::from_fn(|i| sum(args.iter().map(|arg| arg[i]))),
            Term::Operation(operation, _) => apply(&operation.op, &args),
        };
        values.push(value);
    }
    let all = || leaves.iter().chain(&values).flatten();
    Evaluation {
        result: values[values.len() - 1],
        is_finite: all().all(|x| x.is_finite() && x.to_bits() != (-0.0_f32).to_bits()),
        largest: all().fold(0.0, |largest, x| largest.max(x.abs())),
    }
}

/// The number, or another that is as the fact says.
fn member(fact: &Fact, x: f32) -> f32 {
    if fact.is_finite() && !x.is_finite() {
        return 1.0;
    }
    x.clamp(fact.low as f32, fact.high as f32)
}

/// From the first to the last, without a zero in front.
fn sum(terms: impl Iterator<Item = f32>) -> f32 {
    terms.reduce(|a, b| a + b).unwrap_or(0.0)
}

fn apply(op: &Op, args: &[&Matrix]) -> Matrix {
    let matrix = |element: &dyn Fn(usize, usize) -> f32| {
        std::array::from_fn(|place| element(place / N, place % N))
    };
    match op {
        Op::Const(number, _) => [number.0 as f32; N * N],
        Op::Map(pointwise) => std::array::from_fn(|place| {
            let args: Vec<f64> = args.iter().map(|arg| f64::from(arg[place])).collect();
            (pointwise.row().value)(&args) as f32
        }),
        Op::Permute(_) => matrix(&|i, j| args[0][j * N + i]),
        Op::Reduce(Reduction::Sum, _) => matrix(&|_, j| sum((0..N).map(|i| args[0][i * N + j]))),
        Op::MatMul => matrix(&|i, j| sum((0..N).map(|k| args[0][i * N + k] * args[1][k * N + j]))),
        op => panic!("{op:?} is not measured"),
    }
}
