//! Every row of the table of pointwise operations: partial derivatives against central differences,
//! the reverse-mode expression against partial derivatives.

use proptest::prelude::*;

use super::super::pointwise::{Row, Signature, TABLE};
use super::super::{Builder, Clock, Input, Pointwise};
use super::*;
use crate::testing::interpret;

/// Where a row is smooth, given numbers of -1 to 1.
fn domain(row: &Row, x: [f64; 3]) -> [f64; 3] {
    use Pointwise::*;
    let positive = |x: f64| 1.6 + 1.5 * x;
    match row.op {
        Log | Sqrt | Rsqrt => x.map(positive),
        Asin | Acos => x.map(|x| 0.9 * x),
        Tan => x.map(|x| 1.2 * x),
        Div => [3.0 * x[0], positive(x[1]) * x[2].signum(), 0.0],
        Pow => [positive(x[0]), 2.0 * x[1], 0.0],
        Select => [f64::from(x[0] > 0.0), x[1], x[2]],
        Clamp => [3.0 * x[0], -1.0 + x[1] / 2.0, 1.0 + x[2] / 2.0],
        _ => x.map(|x| 3.0 * x),
    }
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b
        || (a.is_nan() && b.is_nan())
        || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(1.0)
}

/// Rows that take and give floats; a choice's condition apart.
fn float_rows() -> impl Iterator<Item = &'static Row> {
    let takes_floats = |row: &&Row| {
        matches!(row.signature, Signature::Float | Signature::Numeric | Signature::Choice)
    };
    TABLE.iter().filter(takes_floats)
}

#[test]
fn only_float_rows_have_derivatives() {
    for row in &TABLE {
        let partials = (row.partials)(&[0.5, 0.25, 0.75][..row.arity], 0.5);
        match row.vjp {
            Some(_) => assert!(float_rows().any(|other| other.op == row.op), "{}", row.name),
            None => assert_eq!(partials, [0.0; 3], "{}", row.name),
        }
    }
}

#[test]
fn derivatives_at_kinks() {
    use Pointwise::*;
    let partials = |op: Pointwise, x: &[f64]| (op.row().partials)(x, (op.row().value)(x));
    assert_eq!(partials(Relu, &[0.0]), [0.0; 3]);
    assert_eq!(partials(Abs, &[0.0]), [0.0; 3]);
    assert_eq!(partials(Max, &[2.0, 2.0]), [0.5, 0.5, 0.0]);
    assert_eq!(partials(Min, &[2.0, 2.0]), [0.5, 0.5, 0.0]);
    assert_eq!(partials(Clamp, &[-1.0, -1.0, 1.0])[0], 0.0);
    assert_eq!(partials(Clamp, &[1.0, -1.0, 1.0])[0], 0.0);
    assert_eq!(partials(Clamp, &[0.5, -1.0, 1.0]), [1.0, 0.0, 0.0]);
    // The upper bound wins where the bounds cross.
    assert_eq!(partials(Clamp, &[-2.0, 1.0, -1.0]), [0.0, 0.0, 1.0]);
    assert_eq!((Round.row().value)(&[2.5]), 2.0);
    assert_eq!((Round.row().value)(&[-3.5]), -4.0);
}

/// `vjp` of a row as a graph, at a point.
fn vjp_at(row: &Row, x: &[f64], dy: f64) -> Vec<f64> {
    let mut graph = Graph::default();
    let names = ["a", "b", "c", "dy"];
    for (position, name) in names.into_iter().enumerate() {
        let is_condition = row.signature == Signature::Choice && position == 0;
        let elem = if is_condition { Elem::Bool } else { Elem::F32 };
        let ty = Type::new(elem, vec![], Clock::Static);
        graph.inputs.push(Input { name: name.into(), ty, docs: String::new() });
    }
    let mut b = Builder::new(&mut graph);
    let inputs = [0, 1, 2, 3].map(|index| b.push(Op::Input(index), vec![]));
    let y = b.push(Op::Map(row.op), inputs[..row.arity].to_vec());
    let Some(vjp) = row.vjp else { return vec![0.0; row.arity] };
    let parts = vjp(&mut b, &inputs[..row.arity], y, inputs[3]);
    let values = names.iter().zip(x.iter().chain(&[0.0; 3][x.len()..]).chain([&dy]));
    let values = values.map(|(name, x)| (name.to_string(), Tensor::scalar(*x))).collect();
    let part = |part: Option<NodeId>| {
        let mut graph = graph.clone();
        let Some(node) = part else { return 0.0 };
        graph.roots.push(Root { name: "part".into(), role: Role::Output, node });
        interpret(&graph, &Bindings::new(), &values).unwrap().output("part").unwrap().data[0]
    };
    parts.into_iter().map(part).collect()
}

#[track_caller]
fn vjp_is_partials(row: &Row, x: &[f64]) {
    let y = (row.value)(x);
    let partials = (row.partials)(x, y);
    for (partial, part) in partials.iter().zip(vjp_at(row, x, 1.5)) {
        assert!(close(1.5 * partial, part, 1e-12), "{} at {x:?}: {partial}, {part}", row.name);
    }
}

#[test]
fn reverse_mode_has_the_partial_derivatives_at_odd_points() {
    let points = [-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 2.0];
    for row in float_rows() {
        let of = |operand: usize| if operand < row.arity { &points[..] } else { &points[..1] };
        for a in of(0) {
            for b in of(1) {
                for c in of(2) {
                    let is_condition = row.op == Pointwise::Select;
                    let a = if is_condition { f64::from(*a > 0.0) } else { *a };
                    vjp_is_partials(row, &[a, *b, *c][..row.arity]);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn partials_are_slopes(x in prop::array::uniform3(-1.0f64..1.0)) {
        for row in float_rows() {
            let x = domain(row, x);
            let value = |operand: usize, step: f64| {
                let mut x = x;
                x[operand] += step;
                (row.value)(&x[..row.arity])
            };
            let partials = (row.partials)(&x[..row.arity], value(0, 0.0));
            let first = usize::from(row.signature == Signature::Choice);
            for (operand, partial) in partials.into_iter().enumerate().take(row.arity).skip(first) {
                let slope = |step| (value(operand, step) - value(operand, -step)) / (2.0 * step);
                let (coarse, fine) = (slope(2e-4), slope(1e-4));
                // A kink lies between.
                if !close(coarse, fine, 1e-3) {
                    continue;
                }
                let slope = (4.0 * fine - coarse) / 3.0;
                prop_assert!(
                    close(slope, partial, 1e-7),
                    "{} at {x:?}, operand {operand}: {slope}, {partial}", row.name
                );
            }
            vjp_is_partials(row, &x[..row.arity]);
        }
    }
}
