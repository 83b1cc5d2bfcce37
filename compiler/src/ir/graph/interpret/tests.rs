use proptest::prelude::*;

use super::super::arbitrary::{OPERANDS, Sample, samples};
use super::super::{Builder, Clock, Init, Number, Param, ParamKind, Pointwise, Reduction, Windows};
use super::*;
use crate::testing::{dims, interpret, interpret_dual, verified};

/// A graph under construction whose output is `y`.
#[derive(Default)]
struct Program(crate::testing::Program);

impl Program {
    fn with_time(steps: i64) -> Program {
        Program(crate::testing::Program::stream(steps))
    }

    fn input(&mut self, name: &str, elem: Elem, dims: &[i64], clock: Clock) -> NodeId {
        self.0.input(name, elem, dims, clock)
    }

    fn x(&mut self, dims: &[i64]) -> NodeId {
        self.input("x", Elem::F32, dims, Clock::Static)
    }

    fn stream(&mut self, name: &str, dims: &[i64]) -> NodeId {
        self.input(name, Elem::F32, dims, Clock::Stream)
    }

    fn b(&mut self) -> Builder<'_> {
        self.0.b()
    }

    fn push(&mut self, op: Op, args: &[NodeId]) -> NodeId {
        self.b().push(op, args.to_vec())
    }

    /// `prev(x, init)` or `next(x, init)` of the node that `body` makes of it.
    fn recur(
        &mut self,
        op: Op,
        init: NodeId,
        body: impl Fn(&mut Builder, NodeId) -> NodeId,
    ) -> NodeId {
        let mut b = self.b();
        let ty = Type { clock: Clock::Stream, ..b.ty(init).clone() };
        let delay = b.open_delay(op, ty, init);
        let value = body(&mut b, delay);
        b.close(delay, value);
        value
    }

    fn output(&mut self, node: NodeId) -> &mut Program {
        self.0.output("y", node);
        self
    }

    fn run(&self, values: &[(&str, Tensor)]) -> Tensor {
        let results = interpret(&self.0.graph, &Bindings::new(), &named(values)).unwrap();
        results.output("y").unwrap().clone()
    }

    /// Value and tangent.
    fn dual(&self, values: &[(&str, Tensor)], tangents: &[(&str, Tensor)]) -> (Tensor, Tensor) {
        let (values, tangents) = (named(values), named(tangents));
        let results = interpret_dual(&self.0.graph, &Bindings::new(), &values, &tangents).unwrap();
        (results.0.output("y").unwrap().clone(), results.1.output("y").unwrap().clone())
    }
}

fn dim(value: i64) -> Dim {
    Dim::constant(value)
}

fn named(values: &[(&str, Tensor)]) -> Values {
    values.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
}

fn tensor<const N: usize>(dims: &[usize], data: [f64; N]) -> Tensor {
    Tensor::new(dims, data)
}

/// One operation on `x` of 2 × 3 numbers 1..=6, with tangents ten times that.
#[track_caller]
fn check<const N: usize>(op: Op, dims: &[usize], value: [f64; N], tangent: [f64; N]) {
    let mut p = Program::default();
    let x = p.x(&[2, 3]);
    let y = p.push(op, &[x]);
    let x = tensor(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let dx = tensor(&[2, 3], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
    let found = p.output(y).dual(&[("x", x)], &[("x", dx)]);
    assert_eq!(found, (tensor(dims, value), tensor(dims, tangent)));
}

#[test]
fn elements_move() {
    let tens = |x: [f64; 6]| x.map(|x| x * 10.0);
    let turned = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    check(Op::Permute(vec![1, 0]), &[3, 2], turned, tens(turned));
    let same = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    check(Op::Reshape(dims(&[3, 1, 2])), &[3, 1, 2], same, tens(same));
    let flipped = [4.0, 5.0, 6.0, 1.0, 2.0, 3.0];
    check(Op::Flip { axis: 0 }, &[2, 3], flipped, tens(flipped));
    let flipped = [3.0, 2.0, 1.0, 6.0, 5.0, 4.0];
    check(Op::Flip { axis: 1 }, &[2, 3], flipped, tens(flipped));
    let slice = Op::Slice { axis: 1, start: dim(1), end: dim(3) };
    check(slice, &[2, 2], [2.0, 3.0, 5.0, 6.0], [20.0, 30.0, 50.0, 60.0]);
    let pad = Op::Pad { axis: 1, before: dim(1), after: dim(0), value: Number(9.0) };
    let padded = [9.0, 1.0, 2.0, 3.0, 9.0, 4.0, 5.0, 6.0];
    check(pad, &[2, 4], padded, [0.0, 10.0, 20.0, 30.0, 0.0, 40.0, 50.0, 60.0]);
    let windows = Op::Windows(Windows { axis: 1, size: 2, stride: 1, dilation: 1 });
    let seen = [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0];
    check(windows, &[2, 2, 2], seen, seen.map(|x| x * 10.0));
    // What does not fit is left out.
    let windows = Op::Windows(Windows { axis: 1, size: 1, stride: 3, dilation: 1 });
    check(windows, &[2, 1, 1], [1.0, 4.0], [10.0, 40.0]);
    let windows = Op::Windows(Windows { axis: 1, size: 2, stride: 1, dilation: 2 });
    check(windows, &[2, 1, 2], [1.0, 3.0, 4.0, 6.0], [10.0, 30.0, 40.0, 60.0]);
    let windows = Op::Windows(Windows { axis: 0, size: 2, stride: 1, dilation: 1 });
    let seen = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
    check(windows, &[1, 3, 2], seen, tens(seen));
    let twice = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    check(Op::Broadcast(dims(&[2, 2, 3])), &[2, 2, 3], twice, twice.map(|x| x * 10.0));
}

#[test]
fn shears_move_what_stands_behind() {
    for (by, expected) in
        [(1, [1.0, 4.0, 3.0, 6.0]), (0, [1.0, 2.0, 3.0, 4.0]), (-1, [3.0, 2.0, 5.0, 4.0])]
    {
        let mut p = Program::default();
        let x = p.x(&[3, 2]);
        let y = p.push(Op::Shear { axis: 0, by }, &[x]);
        let rows = if by == 0 { 3 } else { 2 };
        let x = tensor(&[3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let found = p.output(y).run(&[("x", x)]);
        assert_eq!(found.dims, [rows, 2]);
        assert_eq!(found.data[..4], expected, "{by}");
    }
}

#[test]
fn broadcast_stretches_ones() {
    let mut p = Program::default();
    let x = p.x(&[2, 1]);
    let y = p.push(Op::Broadcast(dims(&[2, 2, 3])), &[x]);
    let row = [1.0, 1.0, 1.0, 2.0, 2.0, 2.0];
    let expected = Tensor::new([2, 2, 3], [row, row].concat());
    assert_eq!(p.output(y).run(&[("x", tensor(&[2, 1], [1.0, 2.0]))]), expected);
}

#[test]
fn reductions() {
    let all = |reduction| Op::Reduce(reduction, vec![0, 1]);
    let over = |reduction, axis| Op::Reduce(reduction, vec![axis]);
    check(all(Reduction::Sum), &[], [21.0], [210.0]);
    check(over(Reduction::Sum, 0), &[3], [5.0, 7.0, 9.0], [50.0, 70.0, 90.0]);
    check(over(Reduction::Max, 1), &[2], [3.0, 6.0], [30.0, 60.0]);
    check(over(Reduction::Min, 0), &[3], [1.0, 2.0, 3.0], [10.0, 20.0, 30.0]);
    // Each factor's relative change is 10.
    check(over(Reduction::Prod, 1), &[2], [6.0, 120.0], [180.0, 3600.0]);
    check(over(Reduction::ArgMax, 1), &[2], [2.0, 2.0], [0.0, 0.0]);
    check(all(Reduction::Prod), &[], [720.0], [43200.0]);
}

fn reduce_dual<const N: usize>(reduction: Reduction, x: [f64; N], dx: [f64; N]) -> (f64, f64) {
    let mut p = Program::default();
    let input = p.x(&[N as i64]);
    let y = p.push(Op::Reduce(reduction, vec![0]), &[input]);
    let (y, dy) = p.output(y).dual(&[("x", tensor(&[N], x))], &[("x", tensor(&[N], dx))]);
    (y.data[0], dy.data[0])
}

#[test]
fn ties_share_and_products_survive_zeros() {
    use Reduction::*;
    assert_eq!(reduce_dual(Max, [2.0, 1.0, 2.0], [1.0, 7.0, 3.0]), (2.0, 2.0));
    assert_eq!(reduce_dual(Min, [2.0, 2.0, 3.0], [1.0, 0.0, 3.0]), (2.0, 0.5));
    assert_eq!(reduce_dual(Prod, [2.0, 0.0, 3.0], [1.0, 1.0, 1.0]), (0.0, 6.0));
    assert_eq!(reduce_dual(Prod, [0.0, 0.0, 3.0], [1.0, 1.0, 1.0]), (0.0, 0.0));
    assert_eq!(reduce_dual(ArgMax, [1.0, 4.0, 4.0], [1.0, 1.0, 1.0]), (1.0, 0.0));
    assert!(reduce_dual(Max, [1.0, f64::NAN, 4.0], [0.0; 3]).0.is_nan());
    assert_eq!(reduce_dual(Sum, [], []).0, 0.0);
    assert_eq!(reduce_dual(Prod, [], []).0, 1.0);
    assert_eq!(reduce_dual(Max, [], []).0, f64::NEG_INFINITY);
}

#[test]
fn products_of_matrices() {
    let mut p = Program::default();
    let a = p.input("a", Elem::F32, &[2, 1, 2], Clock::Static);
    let b = p.input("b", Elem::F32, &[2, 2, 2], Clock::Static);
    let y = p.push(Op::MatMul, &[a, b]);
    p.output(y);
    let a = tensor(&[2, 1, 2], [1.0, 2.0, 3.0, 4.0]);
    let b = tensor(&[2, 2, 2], [1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0, 4.0]);
    let values = [("a", a), ("b", b)];
    assert_eq!(p.run(&values), tensor(&[2, 1, 2], [1.0, 2.0, 15.0, 22.0]));
    let da = Tensor::full([2, 1, 2], 1.0);
    let db = tensor(&[2, 2, 2], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let (_, dy) = p.dual(&values, &[("a", da), ("b", db)]);
    assert_eq!(dy, tensor(&[2, 1, 2], [1.0 + 1.0, 1.0, 4.0, 6.0 + 4.0]));
}

#[test]
fn gather_concat_iota_size() {
    let mut p = Program::default();
    let x = p.x(&[2, 3]);
    let i = p.input("i", Elem::I32, &[2], Clock::Static);
    let taken = p.push(Op::Gather { axis: 1 }, &[x, i]);
    let count = p.push(Op::Iota { axis: 1, dims: dims(&[2, 2]) }, &[]);
    let count = p.push(Op::Map(Pointwise::ToF32), &[count]);
    let size = p.push(Op::Size(dim(5)), &[]);
    let size = p.push(Op::Broadcast(dims(&[2, 1])), &[size]);
    let y = p.push(Op::Concat { axis: 1 }, &[taken, count, size]);
    p.output(y);
    let x = tensor(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = p.run(&[("x", x.clone()), ("i", tensor(&[2], [2.0, 0.0]))]);
    assert_eq!(y, tensor(&[2, 5], [3.0, 1.0, 0.0, 1.0, 5.0, 6.0, 4.0, 0.0, 1.0, 5.0]));
    let dx = tensor(&[2, 3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let at =
        |i: [f64; 2]| p.dual(&[("x", x.clone()), ("i", tensor(&[2], i))], &[("x", dx.clone())]);
    let (y, dy) = at([-1.0, -3.0]);
    assert_eq!(y, tensor(&[2, 5], [3.0, 1.0, 0.0, 1.0, 5.0, 6.0, 4.0, 0.0, 1.0, 5.0]));
    assert_eq!(dy, tensor(&[2, 5], [3.0, 1.0, 0.0, 0.0, 0.0, 6.0, 4.0, 0.0, 0.0, 0.0]));
    let (y, dy) = at([3.0, -4.0]);
    assert!([0, 1, 5, 6].iter().all(|place| y.data[*place].is_nan()), "{y:?}");
    assert_eq!(dy, Tensor::full([2, 5], 0.0));
}

#[test]
fn memory_runs_forward_and_backward() {
    let mut p = Program::with_time(3);
    let x = p.stream("x", &[2]);
    let init = p.input("init", Elem::F32, &[2], Clock::Static);
    let u = p.recur(Op::Prev, init, |b, u| {
        let decayed = b.scale(u, 0.5);
        b.add(decayed, x)
    });
    let back = p.recur(Op::Next, init, |b, v| {
        let v = b.scale(v, 10.0);
        b.add(v, u)
    });
    p.output(back);
    let x = tensor(&[3, 2], [1.0, 0.0, 2.0, 0.0, 3.0, 0.0]);
    let init = tensor(&[2], [4.0, 8.0]);
    // u: 3, 3.5, 4.75 and 4, 2, 1.
    let expected = [453.5 * 10.0 - 22.0, 8.0 * 1000.0 + 100.0 + 20.0 + 4.0];
    let y = p.run(&[("x", x.clone()), ("init", init.clone())]);
    assert_eq!(y.dims, [3, 2]);
    assert_eq!(y.data[4..], [44.75, 81.0]);
    assert_eq!(y.data[2..4], [451.0, 812.0]);
    assert_eq!(y.data[..2], [4513.0, 8124.0]);
    assert_eq!(y.data[..2], expected);
    let (_, dy) = p.dual(&[("x", x), ("init", init)], &[("init", tensor(&[2], [1.0, 0.0]))]);
    assert_eq!(dy.data, [1000.0 + 12.5 + 2.5 + 0.5, 0.0, 100.0 + 1.25 + 0.25, 0.0, 10.125, 0.0]);
}

#[test]
fn delays_without_a_cycle() {
    for (op, expected) in [(Op::Prev, [7.0, 1.0, 2.0]), (Op::Next, [2.0, 3.0, 7.0])] {
        let mut p = Program::with_time(3);
        let x = p.stream("x", &[]);
        let seven = p.b().number(7.0);
        let y = p.push(op, &[x, seven]);
        let y = p.output(y).run(&[("x", tensor(&[3], [1.0, 2.0, 3.0]))]);
        assert_eq!(y, tensor(&[3], expected));
    }
}

#[test]
fn streams_become_static() {
    let x = tensor(&[3, 2], [1.0, 9.0, 5.0, 2.0, 5.0, 4.0]);
    let dx = tensor(&[3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    for (op, value, tangent) in [
        (Op::First, [1.0, 9.0], [1.0, 2.0]),
        (Op::Last, [5.0, 4.0], [5.0, 6.0]),
        (Op::TimeReduce(Reduction::Sum), [11.0, 15.0], [9.0, 12.0]),
        (Op::TimeReduce(Reduction::Max), [5.0, 9.0], [4.0, 2.0]),
    ] {
        let mut p = Program::with_time(3);
        let input = p.stream("x", &[2]);
        let y = p.push(op, &[input]);
        let found = p.output(y).dual(&[("x", x.clone())], &[("x", dx.clone())]);
        assert_eq!(found, (tensor(&[2], value), tensor(&[2], tangent)));
    }
}

#[test]
fn a_static_operand_is_the_same_at_every_step() {
    let mut p = Program::with_time(3);
    let (step, a) = (p.push(Op::TimeIndex, &[]), p.x(&[]));
    let y = p.b().add(step, a);
    let y = p.output(y).run(&[("x", Tensor::scalar(10.0))]);
    assert_eq!(y, tensor(&[3], [10.0, 11.0, 12.0]));
}

#[test]
fn sg_and_bypass() {
    let mut p = Program::default();
    let x = p.x(&[]);
    let stopped = p.push(Op::Sg, &[x]);
    let product = p.b().mul(x, stopped);
    let square = p.b().mul(x, x);
    let y = p.push(Op::Bypass, &[product, square]);
    let y = p.b().add(y, product);
    p.output(y);
    let (values, bindings) = (named(&[("x", Tensor::scalar(3.0))]), Bindings::new());
    let found = p.dual(&[("x", Tensor::scalar(3.0))], &[("x", Tensor::scalar(1.0))]);
    assert_eq!(found, (Tensor::scalar(18.0), Tensor::scalar(9.0)));
    let (_, frozen) = interpret_freezing(&verified(&p.0.graph), &bindings, &values).unwrap();
    let moved = named(&[("x", Tensor::scalar(4.0))]);
    let (y, otherwise) =
        interpret_frozen(&verified(&p.0.graph), &bindings, &moved, &frozen).unwrap();
    // 9 + (16 - 9) + 4 · 3
    assert_eq!(y.output("y"), Some(&Tensor::scalar(28.0)));
    assert!(otherwise.is_empty());
}

#[test]
fn only_decisions_that_take_part_are_seen() {
    let mut p = Program::default();
    let x = p.x(&[]);
    let mut b = p.b();
    let (zero, one) = (b.number(0.0), b.number(1.0));
    let spike = b.choose(Pointwise::Gt, x, zero, one, zero);
    let stopped = b.push(Op::Sg, vec![spike]);
    let other = b.unary(Pointwise::Relu, x);
    let y = b.add(stopped, x);
    p.output(y);
    p.0.output("other", other);
    let bindings = Bindings::new();
    let at = |x: f64| named(&[("x", Tensor::scalar(x))]);
    let (_, frozen) = interpret_freezing(&verified(&p.0.graph), &bindings, &at(0.1)).unwrap();
    let (y, otherwise) =
        interpret_frozen(&verified(&p.0.graph), &bindings, &at(-0.1), &frozen).unwrap();
    assert_eq!(y.output("y"), Some(&Tensor::scalar(0.9)));
    assert_eq!(otherwise, [other]);
    assert!(
        interpret_frozen(&verified(&p.0.graph), &bindings, &at(0.3), &frozen).unwrap().1.is_empty()
    );
}

#[test]
fn nothing_comes_through_the_branch_not_taken() {
    let mut p = Program::default();
    let x = p.x(&[]);
    let mut b = p.b();
    let zero = b.number(0.0);
    let root = b.unary(Pointwise::Sqrt, x);
    let y = b.choose(Pointwise::Gt, x, zero, root, zero);
    p.output(y);
    for x in [0.0, -1.0] {
        let found = p.dual(&[("x", Tensor::scalar(x))], &[("x", Tensor::scalar(1.0))]);
        assert_eq!(found, (Tensor::scalar(0.0), Tensor::scalar(0.0)));
    }
}

#[test]
fn what_does_not_move_adds_nothing_however_steep() {
    let mut p = Program::default();
    let x = p.x(&[]);
    let steep = p.input("steep", Elem::F32, &[], Clock::Static);
    let root = p.b().unary(Pointwise::Sqrt, steep);
    let y = p.b().add(root, x);
    let values = [("x", Tensor::scalar(1.0)), ("steep", Tensor::scalar(0.0))];
    let found =
        p.output(y).dual(&values, &[("x", Tensor::scalar(1.0)), ("steep", Tensor::scalar(0.0))]);
    assert_eq!(found.1, Tensor::scalar(1.0));
}

#[test]
fn mistakes_are_values() {
    let mut p = Program::default();
    let x = p.input("x", Elem::F32, &[2], Clock::Static);
    let bias = Param {
        path: "bias".into(),
        dims: vec![Dim::symbol("N")],
        init: Init::Constant(0.0),
        bounds: None,
        docs: String::new(),
        kind: ParamKind::Trained,
        elem: Elem::F32,
    };
    p.0.graph.params.push(bias);
    let bias = p.push(Op::Param(0), &[]);
    let (y, z) = (p.b().neg(x), p.b().neg(bias));
    p.output(y);
    p.0.output("z", z);
    let run = |n: &[(&str, i64)], values: &[(&str, Tensor)], tangents: &[(&str, Tensor)]| {
        let bindings = n.iter().map(|(name, value)| ((*name).into(), *value)).collect();
        let result = interpret_dual(&p.0.graph, &bindings, &named(values), &named(tangents));
        result.unwrap_err().to_string()
    };
    let x = ("x", tensor(&[2], [1.0, 2.0]));
    let only_x = [x.clone()];
    assert_eq!(run(&[], &only_x, &[]), "the dimension N is not given");
    assert_eq!(run(&[("N", -1)], &only_x, &[]), "the dimension N is -1");
    assert_eq!(run(&[("N", 1)], &only_x, &[]), "no value is given for `bias`");
    let bias = ("bias", tensor(&[1], [1.0]));
    assert_eq!(
        run(&[("N", 2)], &[x.clone(), bias.clone()], &[]),
        "`bias` has dimensions [1], expected [2]"
    );
    let short = ("x", tensor(&[2], [1.0]));
    assert_eq!(
        run(&[("N", 1)], &[short, bias.clone()], &[]),
        "`x` of dimensions [2] has 1 elements"
    );
    assert_eq!(
        run(&[("N", 1)], &[x, bias], &[("u", Tensor::scalar(0.0))]),
        "there is no input or parameter `u`"
    );
}

#[test]
fn dimensions_that_only_the_bindings_tell_are_checked() {
    let text = "time T
        input x : [B]
        %0 = input x : [B]
        %1 = slice axis=0 [N, 3] %0 : [-N + 3]
        %2 = sg %1 : [-N + 3]
        output y = %2";
    let graph = super::super::parse_graph(text).unwrap();
    let bind = |t: i64, b: i64, n: i64| {
        let sizes = [("T", t), ("B", b), ("N", n)];
        Bindings::from(sizes.map(|(name, size)| (name.into(), size)))
    };
    let values = named(&[("x", tensor(&[2], [1.0, 2.0]))]);
    let fails = |t: i64, b: i64, n: i64| {
        interpret(&graph, &bind(t, b, n), &values).unwrap_err().to_string()
    };
    assert_eq!(fails(0, 2, 1), "a stream has no steps");
    assert_eq!(fails(1, 2, 1), "1..3 lies outside of an axis of 2");
    assert_eq!(fails(1, 2, 4), "the dimension -N + 3 is -1");
    assert_eq!(
        fails(1, 1 << 40, 1),
        "a value of type [B] takes 8796093022208 bytes, which is more than the interpreter can run"
    );
    let values = |n: usize| named(&[("x", Tensor::full([n], 1.0))]);
    let (_, frozen) = interpret_freezing(&verified(&graph), &bind(1, 3, 1), &values(3)).unwrap();
    let other = interpret_frozen(&verified(&graph), &bind(1, 3, 2), &values(3), &frozen);
    assert_eq!(other.unwrap_err(), Fault::OtherBase.into());
}

#[test]
fn a_long_chain_is_no_deep_recursion() {
    let mut p = Program::default();
    let mut x = p.x(&[]);
    for _ in 0..20_000 {
        x = {
            let ty = p.0.graph.ty(x).clone();
            let op = Op::Map(Pointwise::Neg);
            p.0.graph.push(super::super::Node { op, args: vec![x], ty, span: None, name: None })
        };
    }
    assert_eq!(p.output(x).run(&[("x", Tensor::scalar(1.0))]), Tensor::scalar(1.0));
}

/// Whether numbers are small enough that rounding does not drown them.
fn is_tame(results: &Results) -> bool {
    results.0.iter().all(|(_, tensor)| tensor.data.iter().all(|x| x.abs() < 1e4))
}

fn moved(sample: &Sample, step: f64) -> Values {
    let mut values = sample.values.clone();
    for (name, tangent) in &sample.tangents {
        let value = values.get_mut(name).unwrap();
        value.data.iter_mut().zip(&tangent.data).for_each(|(x, dx)| *x += step * dx);
    }
    values
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn dual_numbers_are_slopes_of_the_frozen_program(sample in samples(12)) {
        let Sample { graph, bindings, values, tangents } = &sample;
        let (results, slopes) = interpret_dual(graph, bindings, values, tangents).unwrap();
        let (same, frozen) = interpret_freezing(&verified(graph), bindings, values).unwrap();
        prop_assert_eq!(&results, &same);
        prop_assume!(is_tame(&results) && is_tame(&slopes));
        let (base, flipped) = interpret_frozen(&verified(graph), bindings, values, &frozen).unwrap();
        prop_assert!(flipped.is_empty());
        let (expected, found) = (&results.output("loss").unwrap().data[0], base.output("loss").unwrap().data[0]);
        prop_assert!((expected - found).abs() <= 1e-12 * expected.abs().max(1.0));
        let mut flips = false;
        let mut slope = |step: f64| {
            let mut at = |step: f64| {
                let values = moved(&sample, step);
                let (results, flipped) = interpret_frozen(&verified(graph), bindings, &values, &frozen).unwrap();
                flips |= !flipped.is_empty();
                results.output("loss").unwrap().data[0]
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        let (coarse, fine) = (slope(2e-5), slope(1e-5));
        prop_assume!(!flips);
        let (slope, found) = ((4.0 * fine - coarse) / 3.0, slopes.output("loss").unwrap().data[0]);
        let error = 10.0 * (slope - fine).abs() + 1e-8 * expected.abs().max(1.0);
        prop_assert!((slope - found).abs() <= error + 1e-6 * slope.abs(), "{} {}", slope, found);
    }

    #[test]
    fn reverse_mode_agrees_with_dual_numbers(sample in samples(12)) {
        let Sample { graph, bindings, values, tangents } = &sample;
        let (results, slopes) = interpret_dual(graph, bindings, values, tangents).unwrap();
        prop_assume!(is_tame(&results) && is_tame(&slopes));
        let operands = OPERANDS.map(String::from);
        let joint = crate::middle::autodiff::differentiate(graph, "loss", &operands).unwrap();
        let results_of_joint = interpret(&joint, bindings, values).unwrap();
        prop_assert_eq!(results_of_joint.output("loss"), results.output("loss"));
        let mut sum = 0.0;
        let mut size = 1.0f64;
        for name in OPERANDS {
            let gradient = results_of_joint.gradient(name).unwrap();
            prop_assert_eq!(&gradient.dims, &tangents[name].dims);
            for (g, dx) in gradient.data.iter().zip(&tangents[name].data) {
                sum += g * dx;
                size = size.max(g.abs());
            }
        }
        let slope = slopes.output("loss").unwrap().data[0];
        prop_assert!((slope - sum).abs() <= 1e-10 * size, "{} {}", slope, sum);
    }
}
