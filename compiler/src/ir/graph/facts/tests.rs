use proptest::prelude::*;

use super::super::arbitrary::{Sample, samples};
use super::super::pointwise::{Signature, TABLE};
use super::super::{Builder, Dim, Reduction, Role, Root};
use super::*;
use crate::testing::Program;
use crate::testing::interpret;

/// Whether a value is as the fact says.
fn holds(fact: &Fact, value: f64) -> bool {
    let in_bounds = value.is_nan() || fact.low <= value && value <= fact.high;
    let is_whole = !fact.integer || !value.is_finite() || value.fract() == 0.0;
    let is_literal = fact.constant.is_none_or(|n| n.0 == value || n.0.is_nan() && value.is_nan());
    in_bounds && is_whole && is_literal && !(fact.not_nan && value.is_nan())
}

/// Every node's value in the interpreter is as its fact says.
fn check(sample: &Sample, sums: Sums) {
    let mut graph = sample.graph.clone();
    graph.roots = graph
        .ids()
        .map(|node| Root { name: format!("{node:?}"), role: Role::Output, node })
        .collect();
    let facts = Facts::taking(&graph, sums);
    let results = interpret(&graph, &sample.bindings, &sample.values).unwrap();
    for (root, tensor) in results.0 {
        let (fact, ty) = (facts.at(root.node), graph.ty(root.node));
        for value in &tensor.data {
            assert!(holds(fact, *value), "{value} at {} is not as {fact:?}\n{graph}", root.name);
        }
        if fact.invariant && ty.is_stream() {
            let steps = tensor.dims[0];
            for step in tensor.data.chunks(tensor.data.len() / steps) {
                assert_eq!(step, &tensor.data[..step.len()], "{}\n{graph}", root.name);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_are_as_the_facts_say(sample in samples(14)) {
        check(&sample, Sums::MayOverflow);
        check(&sample, Sums::StayFinite);
    }
}

/// Numbers at the edges of f32, and their neighbourhoods.
const NUMBERS: [f64; 19] = [
    f64::NEG_INFINITY,
    -MAX,
    -1e20,
    -88.5,
    -2.0,
    -1.0,
    -0.3,
    -1e-42,
    -0.0,
    0.0,
    1e-42,
    2e-38,
    0.7,
    1.0,
    2.0,
    3.5,
    100.0,
    MAX,
    f64::INFINITY,
];

/// Ranges of operands: all pairs of bounds, NaN or not.
fn ranges() -> Vec<Fact> {
    let mut ranges = vec![Fact::UNKNOWN];
    for (at, &low) in NUMBERS.iter().enumerate() {
        ranges.extend(NUMBERS[at..].iter().map(|high| Fact::within(low, *high)));
    }
    ranges
}

fn members(fact: &Fact) -> impl Iterator<Item = f64> {
    let fact = *fact;
    NUMBERS.into_iter().chain([f64::NAN]).filter(move |x| holds(&fact, *x))
}

/// Each row of the table on operands of all ranges, in f64 and rounded to f32.
#[test]
fn ranges_hold_in_f64_and_in_f32() {
    let all = ranges();
    for row in &TABLE {
        let booleans = [Fact::literal(0.0), Fact::literal(1.0), range::eq(&[Fact::FINITE; 2])];
        let of = |place: usize| match (row.signature, place) {
            (Signature::Logic, _) | (Signature::Choice, 0) => booleans.to_vec(),
            _ if row.arity == 3 => all.iter().step_by(13).copied().collect(),
            _ if row.arity == 2 => all.iter().step_by(5).copied().collect(),
            _ => all.clone(),
        };
        let places: Vec<Vec<Fact>> = (0..row.arity).map(of).collect();
        each(&places, &mut |args: &[Fact]| {
            let fact = pointwise(row.op, args);
            let values: Vec<Vec<f64>> = args.iter().map(|arg| members(arg).collect()).collect();
            each(&values, &mut |x: &[f64]| {
                let wide = (row.value)(x);
                let narrow: Vec<f64> = x.iter().map(|x| f64::from(*x as f32)).collect();
                let narrow = f64::from((row.value)(&narrow) as f32);
                let literal = Fact { constant: None, ..fact };
                assert!(holds(&fact, wide), "{}{x:?} = {wide}: {fact:?} of {args:?}", row.name);
                assert!(holds(&literal, narrow), "{}{x:?} = {narrow}: {fact:?}", row.name);
            });
        });
    }
}

/// Calls with each choice of one from every list.
fn each<T: Copy>(lists: &[Vec<T>], call: &mut dyn FnMut(&[T])) {
    fn go<T: Copy>(lists: &[Vec<T>], chosen: &mut Vec<T>, call: &mut dyn FnMut(&[T])) {
        let Some((first, rest)) = lists.split_first() else { return call(chosen) };
        for item in first {
            chosen.push(*item);
            go(rest, chosen, call);
            chosen.pop();
        }
    }
    go(lists, &mut Vec::new(), call);
}

#[test]
fn a_spike_and_its_delay_are_bits() {
    let mut p = Program::stream(5);
    let x = p.input("x", Elem::F32, &[2], Clock::Stream);
    let (mut b, ty) = (p.b(), Dim::constant(2));
    let zero = b.full_like(0.0, x);
    let before =
        b.open_delay(Op::Prev, super::super::Type::new(Elem::F32, vec![ty], Clock::Stream), zero);
    let u = b.sub(x, before);
    let one = b.number(1.0);
    let spike = b.choose(Pointwise::Gt, u, zero, one, zero);
    b.close(before, spike);
    let count = b.push(Op::TimeReduce(Reduction::Sum), vec![spike]);
    let facts = Facts::of(&p.graph);
    assert!(facts.at(spike).is_binary() && facts.at(before).is_binary());
    assert!(!facts.at(u).invariant && facts.at(zero).invariant);
    let expected = Fact { integer: true, invariant: true, ..Fact::within(0.0, 5.0) };
    assert_eq!(*facts.at(count), expected);
}

#[test]
fn bounds_of_parameters_are_known() {
    let mut p = Program::stream(5);
    let tau = p.param("tau", &[2]);
    p.graph.params[0].bounds = Some((1.0, f64::INFINITY));
    let mut b = p.b();
    let minus = b.number(-1.0);
    let slope = b.binary(Pointwise::Div, minus, tau);
    let decay = b.unary(Pointwise::Exp, slope);
    let facts = Facts::of(&p.graph);
    assert!(facts.at(tau).is_non_zero() && facts.at(tau).is_finite());
    assert!(facts.at(slope).high <= 0.0);
    let decay = facts.at(decay);
    assert!(decay.low > 0.36 && decay.high < 1.001 && decay.is_finite() && decay.is_non_zero());
}

/// A state that grows has no bounds, unless sums are taken not to overflow.
#[test]
fn an_accumulator_may_overflow() {
    let mut p = Program::stream(5);
    let x = p.input("x", Elem::F32, &[], Clock::Stream);
    let mut b = Builder::new(&mut p.graph);
    let (zero, ty) = (b.number(0.0), b.ty(x).clone());
    let before = b.open_delay(Op::Prev, ty, zero);
    let sum = b.add(before, x);
    b.close(before, sum);
    assert!(!Facts::of(&p.graph).at(sum).is_finite());
    assert!(Facts::taking(&p.graph, Sums::StayFinite).at(sum).is_finite());
}
