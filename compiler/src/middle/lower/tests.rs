//! Lowering, checked on networks built by hand: shape of the kernels, and values point by point.

use super::lower;
use super::*;
use crate::ir::graph::interpret::{Tensor, Values};
use crate::ir::graph::op::Number;
use crate::ir::graph::{
    Bindings, Builder, Clock, Graph, Init, Input, Op, Param, ParamKind, Pointwise, Reduction, Root,
    Type,
};
use crate::ir::kernel::evaluate::evaluate;
use crate::middle::autodiff::differentiate;
use crate::middle::schedule::schedule;
use crate::testing::interpret;

/// A recurrent layer of leaky integrate-and-fire neurons, summed over the last step:
/// `u = alpha * prev(u) + x @ w + prev(z) @ r - prev(z)`, `z = bypass(step(u - 1), tanh(u - 1))`.
fn recurrent_lif() -> Graph {
    let (b, k, n) = (Dim::symbol("B"), Dim::constant(3), Dim::constant(4));
    let stream = |dims: &[&Dim]| {
        Type::new(Elem::F32, dims.iter().map(|d| (*d).clone()).collect(), Clock::Stream)
    };
    let param = |path: &str, dims: &[&Dim]| Param {
        path: path.into(),
        dims: dims.iter().map(|d| (*d).clone()).collect(),
        init: Init::Constant(0.0),
        bounds: None,
        docs: String::new(),
        kind: ParamKind::Trained,
        elem: Elem::F32,
    };
    let mut graph = Graph::default();
    graph.name = "lif".into();
    graph.time = Some(Dim::symbol("T"));
    graph.inputs = vec![Input { name: "x".into(), ty: stream(&[&b, &k]), docs: String::new() }];
    graph.params = vec![param("w", &[&k, &n]), param("r", &[&n, &n]), param("tau", &[&n])];
    let mut g = Builder::new(&mut graph);
    let x = g.push(Op::Input(0), vec![]);
    let [w, r, tau] = [0, 1, 2].map(|index| g.push(Op::Param(index), vec![]));
    let state = stream(&[&b, &n]);
    let zero = g.push(Op::Const(Number(0.0), Elem::F32), vec![]);
    let zero = g.broadcast(zero, &state.dims);
    let u_before = g.open_delay(Op::Prev, state.clone(), zero);
    let z_before = g.open_delay(Op::Prev, state.clone(), zero);
    let minus_one = g.number(-1.0);
    let decay = g.div(minus_one, tau);
    let alpha = g.unary(Pointwise::Exp, decay);
    let alpha = g.broadcast(alpha, &state.dims);
    let decayed = g.mul(alpha, u_before);
    let current = g.matmul(x, w);
    let recurrent = g.matmul(z_before, r);
    let current = g.add(current, recurrent);
    let u = g.add(decayed, current);
    let u = g.sub(u, z_before);
    let v = g.add_number(u, -1.0);
    let (one, nought) = (g.number(1.0), g.number(0.0));
    let spike = g.choose(Pointwise::Gt, v, nought, one, nought);
    let surrogate = g.unary(Pointwise::Tanh, v);
    let z = g.push(Op::Bypass, vec![spike, surrogate]);
    g.close(u_before, u);
    g.close(z_before, z);
    let last = g.push(Op::Last, vec![z]);
    let square = g.mul(last, last);
    let loss = g.reduce(Reduction::Sum, square, &[0, 1]);
    for (id, name) in [(u, "u"), (z, "z")] {
        graph.node_mut(id).name = Some(name.into());
    }
    graph.roots = vec![
        Root { name: "loss".into(), role: Role::Output, node: loss },
        Root { name: "z".into(), role: Role::Output, node: z },
    ];
    graph
}

fn joint() -> Graph {
    let wrt = ["w", "r", "tau", "x"].map(String::from);
    differentiate(&recurrent_lif(), "loss", &wrt).expect("differentiable")
}

#[test]
fn one_recurrence_forward_and_one_backward() {
    let program = lower(&schedule(&joint()));
    let recurrences: Vec<_> = program.kernels().filter_map(|kernel| kernel.recurrence).collect();
    assert_eq!(recurrences, [Direction::Forward, Direction::Backward], "{program}");
    let stored: Vec<_> = program.buffers.iter().filter(|buffer| buffer.stream).collect();
    assert_eq!(stored.len(), 6, "x, x @ w, u, z, the cotangent of u, and of x:\n{program}");
    for kernel in program.kernels().filter(|kernel| kernel.recurrence.is_some()) {
        assert_eq!(kernel.local_axes, 1, "rows are independent:\n{program}");
        assert_eq!(kernel.stages.len(), 1, "one barrier a step:\n{program}");
    }
    let z = program.result(Role::Output, "z").expect("an output");
    assert!(program.buffer(z).binary, "spikes are known to be 0 or 1");
}

/// Numbers between -1 and 1 without pattern, the same for the same name.
fn arbitrary(name: &str, count: usize) -> Vec<f64> {
    let mut state = name.bytes().fold(7u64, |hash, byte| hash * 31 + u64::from(byte));
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((state >> 33) as f32) / (1u64 << 30) as f32) - 1.0
    };
    (0..count).map(|_| if name == "tau" { next().abs() + 1.5 } else { 2.0 * next() }).collect()
}

/// The kernels of a graph compute what the interpreter says that the graph means.
fn check_against_interpreter(graph: &Graph, bindings: &Bindings) {
    let program = lower(&schedule(graph));
    let tensor = |name: &str| {
        let input = graph.inputs.iter().find(|input| input.name == name);
        let param = graph.params.iter().find(|param| param.path == name);
        let (dims, stream) = match (input, param) {
            (Some(input), _) => (&input.ty.dims, input.ty.is_stream()),
            (_, Some(param)) => (&param.dims, false),
            _ => panic!("{name}"),
        };
        let time = stream.then(|| graph.time.clone().expect("a stream has a length"));
        let dims = time.iter().chain(dims);
        let dims: Vec<usize> = dims.map(|dim| dim.eval(bindings).unwrap() as usize).collect();
        let count = dims.iter().product();
        Tensor::new(dims, arbitrary(name, count))
    };
    let names = graph.inputs.iter().map(|input| &input.name);
    let names = names.chain(graph.params.iter().map(|param| &param.path));
    let values: Values = names.map(|name| (name.clone(), tensor(name))).collect();
    let expected = interpret(graph, bindings, &values).expect("interpretable");
    let buffers = evaluate(&program, bindings, |name| values[name].data.clone()).unwrap();
    for (root, expected) in &expected.0 {
        let buffer = program.result(root.role, &root.name).expect("a result");
        let found = &buffers[buffer.0 as usize];
        assert_eq!(found.len(), expected.data.len(), "{}", root.name);
        for (a, b) in found.iter().zip(&expected.data) {
            let close = (a - b).abs() <= 1e-9 * (1.0 + b.abs()) || (a.is_nan() && b.is_nan());
            assert!(close, "{:?} {}: {a} instead of {b}\n{program}", root.role, root.name);
        }
    }
}

#[test]
fn kernels_compute_what_the_graph_means() {
    let bindings = Bindings::from([("B".into(), 2), ("T".into(), 6)]);
    check_against_interpreter(&recurrent_lif(), &bindings);
    check_against_interpreter(&joint(), &bindings);
    let one_step = Bindings::from([("B".into(), 3), ("T".into(), 1)]);
    check_against_interpreter(&joint(), &one_step);
}
