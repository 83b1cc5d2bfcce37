use proptest::prelude::*;

use super::*;
use crate::ir::graph::arbitrary::{OPERANDS, samples};
use crate::ir::graph::interpret::{Tensor, Values};
use crate::ir::graph::{Bindings, Builder, Clock, Role};
use crate::ir::verify;
use crate::middle::autodiff::differentiate;
use crate::middle::surrogate;
use crate::testing::{Program, Random, assert_close, interpret};

/// How often an operation is in a graph.
fn count(graph: &Graph, op: Pointwise) -> usize {
    graph.ids().filter(|id| graph.node(*id).op == Op::Map(op)).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// Values and gradients, of random programs, are what they were.
    #[test]
    fn results_are_the_same(sample in samples(12), fast in any::<bool>()) {
        let (normal, _) = surrogate::simplify(&sample.graph);
        let wrt = OPERANDS.map(String::from);
        let before = differentiate(&normal, "loss", &wrt).unwrap();
        let (after, report) = simplify(&before, fast);
        let after = verify(after).unwrap().into_inner();
        prop_assert!(fast || report.limit.is_none(), "{}", report);
        let of = |graph: &Graph| interpret(graph, &sample.bindings, &sample.values).unwrap();
        let (expected, found) = (of(&before), of(&after));
        for ((root, expected), (_, found)) in expected.0.iter().zip(&found.0) {
            let is_finite = expected.data.iter().all(|x| x.is_finite() && x.abs() < 1e6);
            if is_finite {
                assert_close(&found.data, &expected.data, format!("{}\n{before}\n{after}", root.name));
            }
        }
    }
}

/// The gradients of the output `loss` for everything, before and after.
fn simplified(p: &Program) -> (Graph, Graph) {
    let params = p.graph.params.iter().map(|param| param.path.clone());
    let wrt: Vec<String> =
        params.chain(p.graph.inputs.iter().map(|input| input.name.clone())).collect();
    let before = differentiate(&surrogate::simplify(&p.graph).0, "loss", &wrt).unwrap();
    let (after, report) = simplify(&before, false);
    assert_eq!(report.limit, None);
    let after = verify(after).unwrap().into_inner();
    let (none, values) = (Bindings::new(), Random(3).values(&before));
    let of = |graph: &Graph| interpret(graph, &none, &values).unwrap();
    for ((root, expected), (_, found)) in of(&before).0.iter().zip(&of(&after).0) {
        assert_close(&found.data, &expected.data, &root.name);
    }
    (before, after)
}

/// One function of x, summed up.
fn function(of: impl Fn(&mut Builder, NodeId) -> NodeId) -> Program {
    let mut p = Program::default();
    let x = p.input("x", Elem::F32, &[3], Clock::Static);
    let y = of(&mut p.b(), x);
    p.loss(y);
    p
}

#[test]
fn derivatives_reuse_what_the_forward_pass_has() {
    use Pointwise::*;
    for op in [Tanh, Sigmoid, Exp, Sqrt] {
        let (_, after) = simplified(&function(|b, x| b.unary(op, x)));
        let transcendental =
            |id: &NodeId| matches!(after.node(*id).op, Op::Map(op) if op.row().cost > 6);
        let found: Vec<_> =
            after.ids().filter(transcendental).map(|id| &after.node(id).op).collect();
        assert!(found.iter().all(|found| **found == Op::Map(op)) && found.len() <= 1, "{found:?}");
    }
}

/// exp(-(x - 0)^2 / (2 · 0.5^2)): no power and no quotient, and one exp in all.
#[test]
fn a_gaussian_and_its_derivative_share_one_exp() {
    use Pointwise::*;
    let (before, after) = simplified(&function(|b, x| {
        let (zero, two, half) = (b.number(0.0), b.number(2.0), b.number(0.5));
        let x = b.sub(x, zero);
        let square = b.binary(Pow, x, two);
        let width = b.binary(Pow, half, two);
        let width = b.binary(Mul, two, width);
        let square = b.neg(square);
        let quotient = b.binary(Div, square, width);
        b.unary(Exp, quotient)
    }));
    assert_eq!((count(&before, Exp), count(&before, Pow)), (1, 2));
    let left = [Exp, Pow, Div, Sub, Neg].map(|op| count(&after, op));
    assert_eq!(left, [1, 0, 0, 0, 0], "{after}");
}

/// The guard of a branch not taken goes where the derivative is proved to be finite, and stays
/// where it is not.
#[test]
fn guards_that_are_proved_idle_go() {
    use Pointwise::*;
    for (op, stays) in [(Tanh, false), (Exp, true)] {
        let mut p = Program::default();
        let x = p.input("x", Elem::F32, &[3], Clock::Static);
        let i = p.input("i", Elem::I32, &[3], Clock::Static);
        let mut b = p.b();
        let zero = b.number(0.0);
        let y = b.unary(ToF32, i);
        let d = b.unary(op, y);
        let product = b.mul(x, d);
        let guarded = b.choose(Eq, x, zero, zero, product);
        p.output("y", guarded);
        let (after, _) = simplify(&p.graph, false);
        assert_eq!(count(&after, Select) == 1, stays, "{after}");
    }
}

#[test]
fn what_was_written_stays_where_nothing_is_gained() {
    let p = function(|b, x| {
        let y = b.unary(Pointwise::Sin, x);
        let (a, c) = (b.mul(y, x), b.mul(x, x));
        let sum = b.add(c, a);
        b.sub(sum, y)
    });
    assert_eq!(simplify(&p.graph, false).0.to_string(), p.graph.compact().to_string());
}

/// With gradients and without, the forward pass is the same.
#[test]
fn gradients_do_not_change_the_forward_pass() {
    let p = function(|b, x| {
        let y = b.unary(Pointwise::Tanh, x);
        let square = b.mul(y, y);
        let slope = b.one_minus(square);
        let scaled = b.scale(slope, 4.0);
        b.binary(Pointwise::Div, scaled, y)
    });
    let (_, mut after) = simplified(&p);
    after.roots.retain(|root| root.role == Role::Output);
    assert_eq!(after.compact().to_string(), simplify(&p.graph, false).0.to_string());
}

#[test]
fn another_order_of_rounding_is_asked_for() {
    let p = function(|b, x| {
        let third = b.number(3.0);
        let quotient = b.binary(Pointwise::Div, x, third);
        b.scale(quotient, 5.0)
    });
    let divisions = |fast| count(&simplify(&p.graph, fast).0, Pointwise::Div);
    assert_eq!((divisions(false), divisions(true)), (1, 0));
}

/// One comparison, whoever uses it and however it is spelt.
#[test]
fn a_decision_is_made_once() {
    let mut p = Program::default();
    let [x, y] = ["x", "y"].map(|name| p.input(name, Elem::F32, &[3], Clock::Static));
    let mut b = p.b();
    let (zero, one) = (b.number(0.0), b.number(1.0));
    let minus = b.unary(Pointwise::Neg, y);
    let (sum, difference) = (b.add(x, minus), b.sub(x, y));
    let spike = b.choose(Pointwise::Gt, sum, zero, one, zero);
    let other = b.choose(Pointwise::Gt, difference, zero, x, zero);
    p.output("spike", spike);
    p.output("other", other);
    let (after, _) = simplify(&p.graph, false);
    assert_eq!((count(&after, Pointwise::Gt), count(&after, Pointwise::Sub)), (1, 1), "{after}");
}

/// Regions are bounded, so the time is proportional to the size.
#[test]
fn a_graph_of_thousands_of_operations_is_simplified_in_parts() {
    let mut p = Program::default();
    let x = p.input("x", Elem::F32, &[2], Clock::Static);
    let mut b = p.b();
    let mut y = x;
    for step in 0..1500 {
        let square = b.mul(y, x);
        let minus = b.unary(Pointwise::Neg, square);
        let sum = b.add(x, minus);
        y = if step % 3 == 0 { b.unary(Pointwise::Tanh, sum) } else { sum };
    }
    p.output("y", y);
    let (after, report) = simplify(&p.graph, false);
    assert_eq!(report.limit, None);
    assert!(report.terms < 3 * MAX_REGION, "{report}");
    assert!(count(&after, Pointwise::Neg) <= 4500 / MAX_REGION, "one at most where parts meet");
    let values = Values::from([("x".into(), Tensor::new([2], [0.3, -0.7]))]);
    let of = |graph: &Graph| interpret(graph, &Bindings::new(), &values).unwrap();
    assert_close(&of(&after).0[0].1.data, &of(&p.graph).0[0].1.data, "y");
}

#[test]
fn equal_delays_are_one() {
    let mut p = Program::stream(4);
    let x = p.input("x", Elem::F32, &[2], Clock::Stream);
    let mut b = p.b();
    let (ty, zero) = (b.ty(x).clone(), b.full_like(0.0, x));
    let delays = [0, 1, 2].map(|_| b.open_delay(Op::Prev, ty.clone(), zero));
    let sum = b.add(delays[0], x);
    let product = b.mul(delays[1], delays[2]);
    let y = b.sub(sum, product);
    delays.into_iter().for_each(|delay| b.close(delay, y));
    p.loss(y);
    let graph = p.graph.compact();
    let delays = |graph: &Graph| graph.ids().filter(|id| graph.node(*id).op == Op::Prev).count();
    assert_eq!((delays(&p.graph), delays(&graph)), (3, 1));
    let values = Random(9).values(&graph);
    let of = |graph: &Graph| interpret(graph, &Bindings::new(), &values).unwrap();
    assert_close(&of(&graph).0[0].1.data, &of(&p.graph).0[0].1.data, "loss");
}
