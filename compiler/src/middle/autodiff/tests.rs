use super::*;
use crate::ir::graph::interpret::{Tensor, Values};
use crate::ir::graph::op::Number;
use crate::ir::graph::pointwise::{Signature, TABLE};
use crate::ir::graph::{Bindings, Windows};
use crate::testing::{Program, Random, assert_close, dims, interpret, interpret_dual};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// A leaky layer with weights and a bias: `u = 0.9 * prev(u) + x @ w + b`.
fn leaky() -> Program {
    let mut p = Program::stream(5);
    let x = p.input("x", Elem::F32, &[2, 3], Clock::Stream);
    let (w, bias) = (p.param("w", &[3, 4]), p.param("b", &[4]));
    let mut b = p.b();
    let dims = dims(&[2, 4]);
    let zero = b.number(0.0);
    let zeros = b.broadcast(zero, &dims);
    let ty = Type::new(Elem::F32, dims.clone(), Clock::Stream);
    let prev = b.open_delay(Op::Prev, ty, zeros);
    let decayed = b.scale(prev, 0.9);
    let current = b.matmul(x, w);
    let bias = b.broadcast(bias, &dims);
    let current = b.add(current, bias);
    let u = b.add(decayed, current);
    b.close(prev, u);
    p.loss(u);
    p
}

#[test]
fn weights_and_biases_sum_over_time_last() {
    let graph = differentiate(&leaky().graph, "loss", &names(&["w", "b"])).unwrap();
    let op = |id: NodeId| graph.node(id).op.clone();
    let operand = |id: NodeId| graph.node(id).args[0];
    let w = graph.root(Role::Gradient, "w").unwrap();
    assert_eq!(op(w), Op::TimeReduce(Reduction::Sum));
    assert_eq!(op(operand(w)), Op::MatMul);
    assert_eq!(op(operand(operand(w))), Op::Permute(vec![1, 0]));
    let b = graph.root(Role::Gradient, "b").unwrap();
    assert_eq!(op(b), Op::TimeReduce(Reduction::Sum));
    assert_eq!(op(operand(b)), Op::Reduce(Reduction::Sum, vec![0]));
    assert_eq!(graph.ids().filter(|id| op(*id) == Op::Next).count(), 1);
    assert_eq!(graph.ids().filter(|id| op(*id) == Op::MatMul).count(), 2);
}

#[test]
fn mistakes_are_values() {
    let mut p = leaky();
    let label = p.input("label", Elem::I32, &[2], Clock::Static);
    p.output("label", label);
    let fails = |output: &str, wrt: &str| {
        differentiate(&p.graph, output, &names(&[wrt])).unwrap_err().to_string()
    };
    assert_eq!(fails("cost", "w"), "there is no output `cost`");
    assert_eq!(fails("loss", "v"), "there is no parameter or input `v`");
    assert_eq!(fails("loss", "label"), "`label` is i32; only f32 has a gradient");
    assert_eq!(
        fails("label", "w"),
        "`label` is i32[2]; only a scalar f32 that is no stream can be differentiated"
    );
}

#[test]
fn what_does_not_matter_has_gradient_zero_of_its_type() {
    let mut p = leaky();
    p.param("unused", &[7]);
    p.input("ignored", Elem::F32, &[3], Clock::Stream);
    let graph = differentiate(&p.graph, "loss", &names(&["unused", "ignored", "x"])).unwrap();
    for (name, expected) in [("unused", "[7]"), ("ignored", "[T; 3]"), ("x", "[T; 2, 3]")] {
        let gradient = graph.root(Role::Gradient, name).unwrap();
        assert_eq!(graph.ty(gradient).to_string(), expected);
    }
}

#[test]
fn erasing_leaves_the_value() {
    let mut p = Program::stream(3);
    let x = p.input("x", Elem::F32, &[2], Clock::Stream);
    let mut b = p.b();
    let stopped = b.push(Op::Sg, vec![x]);
    let one = b.full_like(1.0, x);
    let tanh = b.unary(Pointwise::Tanh, x);
    let static_value = b.push(Op::Bypass, vec![one, tanh]);
    let bypass = b.push(Op::Bypass, vec![stopped, tanh]);
    p.output("static", static_value);
    p.output("y", bypass);
    let graph = erase(p.graph);
    assert_eq!(graph.node(graph.root(Role::Output, "y").unwrap()).op, Op::Input(0));
    assert!(graph.ty(graph.root(Role::Output, "static").unwrap()).is_stream());
    assert!(!graph.ids().any(|id| graph.node(id).op == Op::Map(Pointwise::Tanh)));
}

/// The gradient of `loss` along a random direction is its derivative by dual numbers.
fn check(graph: &Graph, values: &Values, random: &mut Random) {
    let none = Bindings::new();
    let mut directions = random.values(graph);
    let wrt: Vec<String> = directions.keys().cloned().collect();
    let (_, tangents) = interpret_dual(graph, &none, values, &directions).unwrap();
    let expected = tangents.output("loss").unwrap();
    let joint = differentiate(graph, "loss", &wrt).unwrap();
    let results = interpret(&joint, &none, values).unwrap();
    let mut actual = 0.0;
    for (name, direction) in &mut directions {
        let gradient = results.gradient(name).unwrap();
        assert_eq!(gradient.dims, direction.dims, "{name}");
        actual += gradient.data.iter().zip(&direction.data).map(|(g, d)| g * d).sum::<f64>();
    }
    assert_close(&[actual], &expected.data, "the directional derivative");
    let value = interpret(graph, &none, values).unwrap();
    assert_close(
        &results.output("loss").unwrap().data,
        &value.output("loss").unwrap().data,
        "loss",
    );
}

/// A weighted sum of a node, so that each element has a cotangent of its own.
fn weigh(p: &mut Program, node: NodeId) {
    let ty = p.graph.ty(node).clone();
    let sizes: Vec<i64> = ty.dims.iter().map(|dim| dim.as_const().unwrap()).collect();
    let weights = p.input("weights", Elem::F32, &sizes, ty.clock);
    let weighted = p.b().mul(node, weights);
    p.loss(weighted);
}

/// Checks a graph made from a `[2, 3]` and a `[3, 2]` stream or static operand.
fn check_op(what: &str, make: impl Fn(&mut Builder, NodeId, NodeId) -> NodeId) {
    for (a, b) in [
        (Clock::Static, Clock::Static),
        (Clock::Stream, Clock::Static),
        (Clock::Static, Clock::Stream),
        (Clock::Stream, Clock::Stream),
    ] {
        let mut p = Program::stream(4);
        let x = p.input("x", Elem::F32, &[2, 3], a);
        let y = p.input("y", Elem::F32, &[3, 2], b);
        let node = make(&mut p.b(), x, y);
        weigh(&mut p, node);
        println!("{what} {a:?} {b:?}");
        let mut random = Random(7);
        for _ in 0..3 {
            let mut values = random.values(&p.graph);
            // Ties and zeros.
            let x = values.get_mut("x").unwrap();
            (x.data[0], x.data[1]) = (0.0, 0.0);
            x.data[4] = x.data[5];
            check(&p.graph, &values, &mut random);
        }
    }
}

#[test]
fn every_pointwise_operation() {
    for row in &TABLE {
        let float =
            |signature: Signature| matches!(signature, Signature::Float | Signature::Numeric);
        if !float(row.signature) {
            continue;
        }
        check_op(row.name, |b, x, y| {
            let y = b.transpose(y);
            // Into the domain of logarithms and roots.
            let (x, y) = (b.unary(Pointwise::Sigmoid, x), b.unary(Pointwise::Sigmoid, y));
            let z = b.sub(x, y);
            b.push(Op::Map(row.op), [x, y, z][..row.arity].to_vec())
        });
    }
}

#[test]
fn every_structural_operation() {
    let d = dims;
    check_op("broadcast", |b, x, y| {
        let y = b.reduce(Reduction::Sum, y, &[1]);
        let y = b.broadcast(y, &d(&[2, 3]));
        let x = b.mul(x, y);
        let x = b.reshape(x, &d(&[2, 1, 3]));
        b.broadcast(x, &d(&[2, 4, 3]))
    });
    check_op("permute", |b, x, y| {
        let x = b.transpose(x);
        let z = b.mul(x, y);
        let z = b.reshape(z, &d(&[3, 2, 1]));
        b.push(Op::Permute(vec![2, 0, 1]), vec![z])
    });
    check_op("slice", |b, x, _| {
        let (start, end) = (Dim::constant(1), Dim::constant(3));
        b.push(Op::Slice { axis: 1, start, end }, vec![x])
    });
    check_op("concat", |b, x, y| {
        let y = b.transpose(y);
        b.push(Op::Concat { axis: 1 }, vec![x, y, x])
    });
    check_op("pad", |b, x, _| {
        let (before, after) = (Dim::constant(1), Dim::constant(2));
        b.push(Op::Pad { axis: 1, before, after, value: Number(3.0) }, vec![x])
    });
    check_op("flip", |b, x, _| b.push(Op::Flip { axis: 1 }, vec![x]));
    for (size, stride, dilation) in
        [(2, 1, 1), (1, 2, 1), (2, 1, 2), (2, 2, 1), (3, 1, 1), (1, 3, 2)]
    {
        check_op("windows", |b, x, y| {
            let windows = Op::Windows(Windows { axis: 1, size, stride, dilation });
            let seen = b.push(windows, vec![x]);
            // Each element that is seen counts differently.
            let sin = b.unary(Pointwise::Sin, seen);
            let product = b.mul(sin, seen);
            let y = b.reduce(Reduction::Sum, y, &[0, 1]);
            b.mul(product, y)
        });
    }
    for by in [-1, 0, 1] {
        check_op("shear", |b, x, _| {
            let x = b.transpose(x);
            let sheared = b.push(Op::Shear { axis: 0, by }, vec![x]);
            b.mul(sheared, sheared)
        });
    }
    check_op("matmul", |b, x, y| b.matmul(x, y));
    check_op("gather", |b, x, y| {
        let zero = b.number(0.0);
        let index = b.binary(Pointwise::Gt, y, zero);
        let index = b.unary(Pointwise::ToF32, index);
        let index = b.unary(Pointwise::ToI32, index);
        b.push(Op::Gather { axis: 1 }, vec![x, index])
    });
    for reduction in Reduction::ALL.into_iter().filter(|r| *r != Reduction::ArgMax) {
        for axes in [vec![0], vec![1], vec![0, 1]] {
            check_op(reduction.name(), |b, x, _| b.reduce(reduction, x, &axes));
        }
    }
    check_op("sg and bypass", |b, x, y| {
        let y = b.transpose(y);
        let (sin, stopped) = (b.unary(Pointwise::Sin, x), b.push(Op::Sg, vec![y]));
        let bypass = b.push(Op::Bypass, vec![sin, y]);
        let product = b.mul(bypass, x);
        b.mul(product, stopped)
    });
}

#[test]
fn every_operation_in_time() {
    for op in [Op::Prev, Op::Next] {
        check_op("delay", |b, x, y| {
            let y = b.transpose(y);
            let (init, x) = if b.ty(y).is_stream() { (x, y) } else { (y, x) };
            if b.ty(init).is_stream() || !b.ty(x).is_stream() {
                return x;
            }
            let delayed = b.push(op.clone(), vec![x, init]);
            b.mul(delayed, x)
        });
    }
    for op in [Op::First, Op::Last, Op::TimeReduce(Reduction::Sum), Op::TimeReduce(Reduction::Max)]
    {
        check_op("to static", |b, x, y| {
            let y = b.transpose(y);
            let z = b.add(x, y);
            if !b.ty(z).is_stream() {
                return z;
            }
            let end = b.push(op.clone(), vec![z]);
            b.mul(end, y)
        });
    }
}

#[test]
fn recurrences() {
    let mut random = Random(3);
    let p = leaky();
    let values = random.values(&p.graph);
    check(&p.graph, &values, &mut random);
    // Two states that mix through a matrix, with a reset, read at the end.
    let mut p = Program::stream(6);
    let x = p.input("x", Elem::F32, &[2, 3], Clock::Stream);
    let (w, alpha, init) =
        (p.param("w", &[3, 3]), p.param("alpha", &[3]), p.param("init", &[2, 3]));
    let mut b = p.b();
    let ty = Type::new(Elem::F32, dims(&[2, 3]), Clock::Stream);
    let (prev_u, prev_v) =
        (b.open_delay(Op::Prev, ty.clone(), init), b.open_delay(Op::Prev, ty, init));
    let alpha = b.unary(Pointwise::Sigmoid, alpha);
    let (keep, take) = (b.broadcast(alpha, &dims(&[2, 3])), b.one_minus(alpha));
    let take = b.broadcast(take, &dims(&[2, 3]));
    let mixed = b.matmul(prev_v, w);
    let current = b.add(x, mixed);
    let (kept, taken) = (b.mul(keep, prev_u), b.mul(take, current));
    let u = b.add(kept, taken);
    let v = b.unary(Pointwise::Tanh, u);
    let zero = b.number(0.0);
    let reset = b.choose(Pointwise::Gt, prev_v, zero, v, u);
    b.close(prev_u, reset);
    b.close(prev_v, v);
    let last = b.push(Op::Last, vec![reset]);
    weigh(&mut p, last);
    for _ in 0..5 {
        let values = random.values(&p.graph);
        check(&p.graph, &values, &mut random);
    }
}

#[test]
fn nothing_comes_from_a_branch_not_taken() {
    let mut p = Program::default();
    let x = p.input("x", Elem::F32, &[5], Clock::Static);
    let mut b = p.b();
    let zero = b.number(0.0);
    let root = b.unary(Pointwise::Sqrt, x);
    let tanh = b.unary(Pointwise::Tanh, root);
    let log = b.unary(Pointwise::Log, x);
    let product = b.mul(tanh, log);
    let quotient = b.div(product, x);
    let chosen = b.choose(Pointwise::Gt, x, zero, quotient, zero);
    p.loss(chosen);
    let values = Values::from([("x".into(), Tensor::new([5], [-1.0, 0.0, -0.0, 0.5, 2.0]))]);
    check(&p.graph, &values, &mut Random(1));
}

#[test]
fn a_guard_stands_only_where_a_derivative_may_explode() {
    let guards = |make: fn(&mut Builder, NodeId, NodeId) -> NodeId| {
        let mut p = Program::default();
        let x = p.input("x", Elem::F32, &[5], Clock::Static);
        let tau = p.param("tau", &[5]);
        p.graph.params[0].bounds = Some((1.0, f64::INFINITY));
        let mut b = p.b();
        let branch = make(&mut b, x, tau);
        let zero = b.number(0.0);
        let chosen = b.choose(Pointwise::Gt, x, zero, branch, zero);
        p.loss(chosen);
        let joint = differentiate(&p.graph, "loss", &names(&["x", "tau"])).unwrap();
        joint.ids().filter(|id| joint.node(*id).op == Op::Map(Pointwise::Eq)).count()
    };
    // A bell times x, a decay, a fast sigmoid's slope.
    let bell = guards(|b, x, _| {
        let square = b.mul(x, x);
        let square = b.neg(square);
        let bell = b.unary(Pointwise::Exp, square);
        b.mul(bell, x)
    });
    let decay = guards(|b, x, tau| {
        let minus_one = b.number(-1.0);
        let rate = b.div(minus_one, tau);
        let alpha = b.unary(Pointwise::Exp, rate);
        b.mul(alpha, x)
    });
    let slope = guards(|b, x, _| {
        let size = b.unary(Pointwise::Abs, x);
        let size = b.add_number(size, 1.0);
        let square = b.mul(size, size);
        b.div(x, square)
    });
    assert_eq!([bell, decay, slope], [0, 0, 0]);
    let quotient = guards(|b, x, _| b.div(x, x));
    let root = guards(|b, x, _| b.unary(Pointwise::Sqrt, x));
    assert_eq!([quotient, root], [1, 1]);
}

#[test]
fn a_gradient_has_a_gradient() {
    // The derivative of the gradient along a direction, once by the graph and once by dual numbers.
    let p = leaky();
    let mut p2 = Program { graph: p.graph.clone() };
    let u = p2.graph.ids().find(|id| p2.graph.node(*id).op == Op::Prev).unwrap();
    let tanh = p2.b().unary(Pointwise::Tanh, u);
    p2.graph.roots.clear();
    p2.loss(tanh);
    let first = joint(&p2.graph, "loss", &names(&["w"])).unwrap();
    let gradient = first.root(Role::Gradient, "w").unwrap();
    let mut second = Program { graph: first };
    second.graph.roots.clear();
    weigh(&mut second, gradient);
    let mut random = Random(5);
    let values = random.values(&second.graph);
    check(&second.graph, &values, &mut random);
}
