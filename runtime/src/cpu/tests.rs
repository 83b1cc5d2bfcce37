//! Kernels against the slow evaluation of their form.

use fgi_compiler::ir::graph::pointwise::Signature;
use fgi_compiler::ir::graph::{
    Builder, Clock, Elem, Graph, Init, Input, NodeId, Number, Op, Param, ParamKind, Pointwise,
    Reduction, Role, Root, Type,
};
use fgi_compiler::ir::kernel::evaluate::evaluate;
use fgi_compiler::ir::kernel::{Buffer, BufferSource, Direction, Kernel};
use fgi_compiler::ir::verify;
use fgi_compiler::middle::autodiff::differentiate;
use fgi_compiler::middle::lower::lower;
use fgi_compiler::middle::schedule::schedule;
use fgi_compiler::target::cpu::plan::batch_tiles::{self, split};
use fgi_compiler::target::cpu::plan::bit_packing::pack;

use super::*;

/// The kernels of a graph.
fn kernels(graph: &Graph) -> Verified<Program> {
    verify(lower(&schedule(graph))).unwrap()
}

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f64 / f64::from(1 << 24)
    }

    fn for_buffer(&mut self, buffer: &Buffer, count: usize) -> Vec<f64> {
        let mut value = || match buffer.elem {
            _ if buffer.binary => (self.next() < 0.3).into(),
            Elem::F32 => f64::from((self.next() * 2.0 - 1.0) as f32),
            Elem::I32 => (self.next() * 5.0).floor(),
            Elem::Bool => (self.next() < 0.5).into(),
        };
        (0..count).map(|_| value()).collect()
    }
}

fn to_bytes(elem: Elem, values: &[f64]) -> Vec<u8> {
    let bytes = values.iter().flat_map(|value| match elem {
        Elem::F32 => (*value as f32).to_le_bytes(),
        Elem::I32 | Elem::Bool => (*value as i32).to_le_bytes(),
    });
    bytes.collect()
}

fn from_bytes(elem: Elem, bytes: &[u8]) -> Vec<f64> {
    let words = bytes.as_chunks::<4>().0.iter();
    let values = words.map(|word| match elem {
        Elem::F32 => f64::from(f32::from_le_bytes(*word)),
        Elem::I32 | Elem::Bool => f64::from(i32::from_le_bytes(*word)),
    });
    values.collect()
}

fn sizes(sizes: &[(&str, i64)]) -> Bindings {
    sizes.iter().map(|(name, size)| ((*name).into(), *size)).collect()
}

/// Runs a program with random inputs on some threads, pass by pass and forward and backward together,
/// and in order, and compares all buffers that it keeps with the oracle.
fn check(program: &Verified<Program>, bindings: &Bindings, threads: usize) -> Vec<Vec<u8>> {
    let apart = [&[Pass::Forward][..], &[Pass::Backward], &[Pass::Update]];
    let together = [&[Pass::Forward, Pass::Backward][..], &[Pass::Update]];
    let run = |multiplied, order| check_order(program, bindings, threads, multiplied, order);
    let orders = [run(Products::Called, &apart[..]), run(Products::Called, &together[..])];
    orders.into_iter().chain([run(Products::Inlined, &apart[..])]).flatten().collect()
}

fn check_order(
    program: &Verified<Program>,
    bindings: &Bindings,
    threads: usize,
    multiplied: Products,
    order: &[&[Pass]],
) -> Vec<Vec<u8>> {
    let program = Arc::new(program.clone());
    let mut numbers = Numbers(7);
    let mut backend = CpuBackend::new(program.clone(), Some(threads), multiplied).unwrap();
    backend.bind(bindings).unwrap();
    let mut given = std::collections::BTreeMap::new();
    for id in program.buffer_ids() {
        let buffer = program.buffer(id);
        if buffer.source != BufferSource::Kernel {
            let count = program.elements(id).eval(bindings).unwrap() as usize;
            let mut values = numbers.for_buffer(buffer, count);
            if let BufferSource::Param(index) = buffer.source
                && let Some((low, _)) = program.params[index].bounds
            {
                values.iter_mut().for_each(|value| *value = low + 5.0 * (*value + 1.0));
            }
            backend.write(id, &to_bytes(buffer.elem, &values)).unwrap();
            let name = match buffer.source {
                BufferSource::Param(index) => program.params[index].path.clone(),
                BufferSource::Input(index) => program.inputs[index].name.clone(),
                BufferSource::Kernel => unreachable!(),
            };
            given.insert(name, values);
        }
    }
    for passes in order {
        backend.run(passes).unwrap();
    }
    let expected = evaluate(&program, bindings, |name| given[name].clone()).unwrap();
    let mut contents = Vec::new();
    for id in program.buffer_ids() {
        let buffer = program.buffer(id);
        let bytes = backend.read(id).unwrap();
        let expected = &expected[id.0 as usize];
        if bytes.len() != 4 * expected.len() {
            let is_result = program.results.iter().any(|(_, _, result)| *result == id);
            assert!(!is_result, "{} is not kept", buffer.name);
            continue;
        }
        let found = from_bytes(buffer.elem, &bytes);
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let close = (found - expected).abs() <= 1e-4 * (1.0 + expected.abs());
            let same = close || found.is_nan() && expected.is_nan();
            assert!(same, "{}[{at}]: {found} for {expected}\n{program}", buffer.name);
        }
        contents.push(bytes);
    }
    contents
}

/// A graph with the inputs and parameters that a test needs.
fn graph_of(
    inputs: &[(&str, Type)],
    build: impl FnOnce(&mut Builder, &[NodeId]) -> Vec<(&'static str, NodeId)>,
) -> Graph {
    let mut graph = Graph::default();
    graph.name = "test".into();
    if inputs.iter().any(|(_, ty)| ty.is_stream()) {
        graph.time = Some(Dim::symbol("T"));
    }
    for (name, ty) in inputs {
        graph.inputs.push(Input { name: (*name).into(), ty: ty.clone(), docs: String::new() });
    }
    let mut builder = Builder::new(&mut graph);
    let nodes: Vec<NodeId> =
        (0..inputs.len()).map(|at| builder.push(Op::Input(at), vec![])).collect();
    let outputs = build(&mut builder, &nodes);
    let root = |(name, node): (&str, NodeId)| Root { name: name.into(), role: Role::Output, node };
    graph.roots = outputs.into_iter().map(root).collect();
    graph
}

fn tensor(sizes: &[Dim]) -> Type {
    Type::new(Elem::F32, sizes.to_vec(), Clock::Static)
}

fn stream(sizes: &[Dim]) -> Type {
    Type::new(Elem::F32, sizes.to_vec(), Clock::Stream)
}

fn param(path: &str, sizes: &[Dim]) -> Param {
    Param {
        path: path.into(),
        dims: sizes.to_vec(),
        init: Init::Constant(0.0),
        bounds: None,
        docs: String::new(),
        kind: ParamKind::Trained,
        elem: Elem::F32,
    }
}

/// A recurrent layer of leaky integrate-and-fire neurons with a loss on the last step.
fn recurrent_lif(k: i64, n: i64) -> Graph {
    let (b, k, n) = (Dim::symbol("B"), Dim::constant(k), Dim::constant(n));
    let mut graph = Graph::default();
    graph.name = "lif".into();
    graph.time = Some(Dim::symbol("T"));
    let x = [b.clone(), k.clone()];
    graph.inputs = vec![Input { name: "x".into(), ty: stream(&x), docs: String::new() }];
    graph.params = vec![
        param("w", &[k, n.clone()]),
        param("r", &[n.clone(), n.clone()]),
        param("tau", std::slice::from_ref(&n)),
    ];
    let mut g = Builder::new(&mut graph);
    let x = g.push(Op::Input(0), vec![]);
    let [w, r, tau] = [0, 1, 2].map(|index| g.push(Op::Param(index), vec![]));
    let state = stream(&[b, n]);
    let zero = g.number(0.0);
    let zero = g.broadcast(zero, &state.dims);
    let u_before = g.open_delay(Op::Prev, state.clone(), zero);
    let z_before = g.open_delay(Op::Prev, state.clone(), zero);
    let decay = g.unary(Pointwise::Tanh, tau);
    let alpha = g.unary(Pointwise::Sigmoid, decay);
    let alpha = g.broadcast(alpha, &state.dims);
    let decayed = g.mul(alpha, u_before);
    let current = g.matmul(x, w);
    let recurrent = g.matmul(z_before, r);
    let current = g.add(current, recurrent);
    let u = g.add(decayed, current);
    let u = g.sub(u, z_before);
    let v = g.add_number(u, -0.4);
    let (one, nought) = (g.number(1.0), g.number(0.0));
    let spike = g.choose(Pointwise::Gt, v, nought, one, nought);
    let surrogate = g.unary(Pointwise::Tanh, v);
    let z = g.push(Op::Bypass, vec![spike, surrogate]);
    g.close(u_before, u);
    g.close(z_before, z);
    let last = g.push(Op::Last, vec![u]);
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

#[test]
fn recurrence_with_gradients() {
    let wrt = ["w", "r", "tau", "x"].map(String::from);
    for (k, n) in [(3, 4), (5, 7), (8, 33)] {
        let graph = differentiate(&recurrent_lif(k, n), "loss", &wrt).unwrap();
        let program = kernels(&graph);
        for (t, b) in [(1, 1), (5, 3), (4, 35)] {
            let bindings = sizes(&[("T", t), ("B", b)]);
            assert_eq!(check(&program, &bindings, 1), check(&program, &bindings, 2));
        }
    }
}

/// All pointwise operations on f32, and what booleans and integers have.
#[test]
fn pointwise_operations() {
    let b = Dim::symbol("B");
    let x = stream(&[b.clone(), Dim::constant(6)]);
    for row in &fgi_compiler::ir::graph::pointwise::TABLE {
        let inputs: Vec<_> =
            ["x", "y", "z"][..row.arity].iter().map(|name| (*name, x.clone())).collect();
        let graph = graph_of(&inputs, |g, nodes| {
            let zero = g.full_like(0.0, nodes[0]);
            let flags: Vec<NodeId> =
                nodes.iter().map(|x| g.binary(Pointwise::Gt, *x, zero)).collect();
            let mut args = nodes.to_vec();
            match row.signature {
                Signature::Logic => args = flags,
                Signature::Choice => args[0] = flags[0],
                Signature::ToFloat => args[0] = flags[0],
                Signature::Integer | Signature::Bits => {
                    args.iter_mut().for_each(|x| *x = g.unary(Pointwise::ToI32, *x));
                }
                _ => {}
            }
            if row.op == Pointwise::Pow {
                args[0] = g.unary(Pointwise::Abs, args[0]);
            }
            vec![("y", g.map(row.op, &args))]
        });
        let program = kernels(&graph);
        check(&program, &sizes(&[("T", 3), ("B", 5)]), 2);
    }
}

#[test]
fn reductions() {
    let b = Dim::symbol("B");
    let n = Dim::constant(11);
    let all = [Reduction::Sum, Reduction::Max, Reduction::Min, Reduction::Prod, Reduction::ArgMax];
    for reduction in all {
        for axes in [vec![0], vec![1], vec![2], vec![0, 2], vec![1, 2], vec![0, 1, 2]] {
            if reduction == Reduction::ArgMax && axes.len() > 1 {
                continue;
            }
            for ty in [tensor, stream] {
                let x = ty(&[b.clone(), Dim::constant(3), n.clone()]);
                for integers in [false, true] {
                    if integers && reduction == Reduction::ArgMax {
                        continue;
                    }
                    let graph = graph_of(&[("x", x.clone())], |g, x| {
                        let numbers = g.scale(x[0], 9.0);
                        let x = if integers { g.unary(Pointwise::ToI32, numbers) } else { x[0] };
                        vec![("y", g.reduce(reduction, x, &axes))]
                    });
                    let program = kernels(&graph);
                    check(&program, &sizes(&[("T", 3), ("B", 6)]), 2);
                }
            }
        }
    }
}

#[test]
fn reductions_over_time() {
    let x = stream(&[Dim::symbol("B"), Dim::constant(9)]);
    for op in [Op::TimeReduce(Reduction::Sum), Op::TimeReduce(Reduction::Max), Op::First, Op::Last]
    {
        let graph = graph_of(&[("x", x.clone())], |g, x| {
            let y = g.push(op.clone(), vec![x[0]]);
            vec![("y", y), ("total", g.reduce(Reduction::Sum, y, &[0, 1]))]
        });
        let program = kernels(&graph);
        check(&program, &sizes(&[("T", 5), ("B", 3)]), 2);
    }
}

#[test]
fn rearranging_operations() {
    let b = Dim::symbol("B");
    let x = stream(&[b.clone(), Dim::constant(4), Dim::constant(6)]);
    let graph = graph_of(&[("x", x)], |g, x| {
        let x = x[0];
        let permuted = g.push(Op::Permute(vec![2, 0, 1]), vec![x]);
        let slice = Op::Slice { axis: 2, start: Dim::constant(1), end: Dim::constant(5) };
        let sliced = g.push(slice, vec![x]);
        let flat = g.reshape(x, &[b.clone(), Dim::constant(24)]);
        let reshaped = g.reshape(x, &[b.clone(), Dim::constant(3), Dim::constant(8)]);
        let flipped = g.push(Op::Flip { axis: 2 }, vec![x]);
        let joined = g.push(Op::Concat { axis: 2 }, vec![x, sliced]);
        let (one, two) = (Dim::one(), Dim::constant(2));
        let pad = Op::Pad { axis: 1, before: one, after: two, value: Number(0.5) };
        let padded = g.push(pad, vec![x]);
        vec![
            ("permuted", permuted),
            ("sliced", sliced),
            ("flat", flat),
            ("reshaped", reshaped),
            ("flipped", flipped),
            ("joined", joined),
            ("padded", padded),
        ]
    });
    let program = kernels(&graph);
    check(&program, &sizes(&[("T", 2), ("B", 3)]), 2);
}

#[test]
fn gathers() {
    let indices = Type::new(Elem::I32, vec![Dim::symbol("B")], Clock::Static);
    let x = tensor(&[Dim::constant(5), Dim::constant(7)]);
    let graph = graph_of(&[("x", x), ("i", indices)], |g, nodes| {
        let rows = g.push(Op::Gather { axis: 0 }, vec![nodes[0], nodes[1]]);
        let columns = g.push(Op::Gather { axis: 1 }, vec![nodes[0], nodes[1]]);
        vec![("rows", rows), ("columns", columns)]
    });
    check(&kernels(&graph), &sizes(&[("B", 6)]), 2);
}

#[test]
fn products() {
    let b = Dim::symbol("B");
    let n = |n| Dim::constant(n);
    let cases: Vec<(Type, Type)> = vec![
        (tensor(&[n(5), n(3)]), tensor(&[n(3), n(7)])),
        (tensor(&[b.clone(), n(40)]), tensor(&[n(40), n(50)])),
        (tensor(&[b.clone(), n(4), n(3)]), tensor(&[b.clone(), n(3), n(6)])),
        (stream(&[b.clone(), n(12)]), tensor(&[n(12), n(9)])),
        (stream(&[b.clone(), n(12)]), stream(&[n(12), b.clone()])),
        (stream(&[b.clone(), n(2), n(12)]), stream(&[b.clone(), n(12), n(8)])),
        (tensor(&[n(1), n(12)]), tensor(&[n(12), n(8)])),
        (tensor(&[n(7), n(12)]), tensor(&[n(12), n(1)])),
    ];
    for (left, right) in cases {
        for (flip_left, flip_right) in [(false, false), (true, false), (false, true), (true, true)]
        {
            let turn = |ty: &Type, flip: bool| {
                let mut ty = ty.clone();
                let rank = ty.dims.len();
                if flip {
                    ty.dims.swap(rank - 2, rank - 1);
                }
                ty
            };
            let inputs = [("a", turn(&left, flip_left)), ("b", turn(&right, flip_right))];
            let graph = graph_of(&inputs, |g, x| {
                let a = if flip_left { g.transpose(x[0]) } else { x[0] };
                let b = if flip_right { g.transpose(x[1]) } else { x[1] };
                let y = g.matmul(a, b);
                vec![("y", g.unary(Pointwise::Tanh, y))]
            });
            check(&kernels(&graph), &sizes(&[("T", 3), ("B", 37)]), 2);
        }
    }
}

/// Element by element, over steps and rows, as the gradients of what is multiplied into a stream.
#[test]
fn sums_of_products() {
    for n in [9, 70, 128] {
        let ty = [Dim::symbol("B"), Dim::constant(2), Dim::constant(n)];
        for inputs in
            [[stream(&ty), stream(&ty)], [stream(&ty), tensor(&ty)], [tensor(&ty), tensor(&ty)]]
        {
            let inputs = [("a", inputs[0].clone()), ("b", inputs[1].clone())];
            let graph = graph_of(&inputs, |g, x| {
                let product = g.binary(Pointwise::Mul, x[0], x[1]);
                let sums = [vec![0], vec![0, 1]].map(|axes| {
                    let sum = g.reduce(Reduction::Sum, product, &axes);
                    match g.ty(sum).is_stream() {
                        true => g.push(Op::TimeReduce(Reduction::Sum), vec![sum]),
                        false => sum,
                    }
                });
                vec![("rows", sums[0]), ("all", sums[1])]
            });
            check(&kernels(&graph), &sizes(&[("T", 3), ("B", 300)]), 2);
        }
    }
}

/// Spikes from a forward pass, as operands of products of all orientations.
#[test]
fn products_of_spikes() {
    let (b, k, n) = (Dim::symbol("B"), Dim::constant(19), Dim::constant(70));
    let inputs = [("x", stream(&[b.clone(), k.clone()])), ("w", tensor(&[k, n.clone()]))];
    let inputs = [&inputs[..], &[("y", stream(&[b, n]))]].concat();
    let graph = graph_of(&inputs, |g, nodes| {
        let (x, w, y) = (nodes[0], nodes[1], nodes[2]);
        let (one, zero) = (g.full_like(1.0, x), g.full_like(0.0, x));
        let spikes = g.choose(Pointwise::Gt, x, zero, one, zero);
        let out = g.matmul(spikes, w);
        let turned = g.transpose(spikes);
        let gradient = g.matmul(turned, y);
        let gradient = g.push(Op::TimeReduce(Reduction::Sum), vec![gradient]);
        let y_turned = g.transpose(y);
        let mirrored = g.matmul(y_turned, spikes);
        let kept = g.unary(Pointwise::Abs, spikes);
        vec![("s", kept), ("z", spikes), ("out", out), ("dw", gradient), ("dw_t", mirrored)]
    });
    let program = kernels(&graph);
    let z = program.result(Role::Output, "z").unwrap();
    assert!(program.buffer(z).binary);
    let bindings = sizes(&[("T", 3), ("B", 45)]);
    assert_eq!(check(&program, &bindings, 1), check(&program, &bindings, 2));
}

#[test]
fn the_first_nan_is_the_greatest() {
    let x = tensor(&[Dim::constant(13)]);
    let graph = graph_of(&[("x", x)], |g, x| vec![("y", g.reduce(Reduction::ArgMax, x[0], &[0]))]);
    let program = Arc::new(kernels(&graph));
    let y = program.result(Role::Output, "y").unwrap();
    let mut backend = CpuBackend::new(program, None, Products::Called).unwrap();
    backend.bind(&Bindings::new()).unwrap();
    let nan = f64::NAN;
    for (at, expected) in [(vec![], 3.0), (vec![7], 7.0), (vec![12], 12.0), (vec![11, 2, 6], 2.0)] {
        let mut values = [0.0, -1.0, 2.0, 5.0, 1.0, 5.0, 5.0, 1.0, 0.0, 3.0, 4.0, 5.0, 5.0];
        at.iter().for_each(|at: &usize| values[*at] = nan);
        backend.write(BufferId(0), &to_bytes(Elem::F32, &values)).unwrap();
        backend.run(&[Pass::Forward]).unwrap();
        assert_eq!(from_bytes(Elem::I32, &backend.read(y).unwrap()), [expected], "{values:?}");
    }
}

#[test]
fn impossible_sizes_are_errors() {
    let graph = graph_of(&[("x", tensor(&[Dim::symbol("B"), Dim::constant(3)]))], |g, x| {
        vec![("y", g.unary(Pointwise::Exp, x[0]))]
    });
    let program = Arc::new(kernels(&graph));
    let mut backend = CpuBackend::new(program, Some(1), Products::Called).unwrap();
    assert!(backend.run(&[Pass::Forward]).is_err());
    assert!(backend.bind(&Bindings::new()).is_err());
    for size in [0, -1, 1 << 45, 1 << 62] {
        assert!(backend.bind(&sizes(&[("B", size)])).is_err());
        assert!(backend.run(&[Pass::Forward]).is_err());
    }
    backend.bind(&sizes(&[("B", 2)])).unwrap();
    assert!(backend.write(BufferId(0), &[0; 5]).is_err());
    backend.run(&[Pass::Forward]).unwrap();
}

/// The network of the benchmark, without and with its gradients.
fn smnist(dims: &[(&str, i64)]) -> [Verified<Program>; 2] {
    let text = include_str!("../../../dsl-examples/smnist/smnist.fgi");
    let dims = dims.iter().map(|(name, size)| (name.to_string(), *size)).collect();
    let options = fgi_compiler::front::check::Options { dims, ..Default::default() };
    let loader = fgi_compiler::source::NoFiles;
    let checked = fgi_compiler::front::check::check("smnist", text, &loader, &options);
    let graph = checked.graph.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
    let (graph, _) = fgi_compiler::middle::surrogate::simplify(&graph);
    let wrt: Vec<String> = graph.params.iter().map(|param| param.path.clone()).collect();
    let joint = differentiate(&graph, "loss", &wrt).unwrap();
    [graph, joint].map(|graph| kernels(&graph))
}

#[test]
fn the_benchmark_network() {
    for (steps, neurons, batch) in [(7, 19, 21), (49, 5, 9), (7, 24, 11), (49, 8, 3)] {
        let [inference, program] = smnist(&[("T", steps), ("N", neurons)]);
        let windows = batch_tiles::windows(&split(&inference));
        assert!(windows.contains(&Some(1)), "more than the last state is kept:\n{inference}");
        let windows = batch_tiles::windows(&split(&program));
        let chunk = Direction::Backward.chunk();
        assert!(windows.contains(&Some(chunk)), "{}", batch_tiles::Order(&program));
        // The gradients of three time constants, one of them in two parts, and of a bias.
        assert_eq!(sums_on_the_way(&program), 5, "{}", batch_tiles::Order(&program));
        let has_bits = pack(&program).buffers.iter().any(|buffer| buffer.is_packed());
        assert_eq!(has_bits, neurons % 8 == 0, "{program}");
        let bindings = sizes(&[("B", batch)]);
        assert_eq!(check(&program, &bindings, 1), check(&program, &bindings, 2));
    }
}

/// How many sums the recurrences make.
fn sums_on_the_way(program: &Program) -> usize {
    split(program).kernels().flat_map(Kernel::added_to).count()
}

/// Sums over rows and steps whose terms a recurrence has at hand, at its own step or the one before, and
/// others.
#[test]
fn sums_that_a_recurrence_makes() {
    let layer = |shape: &str, update: &str| {
        format!(
            "layer leak(x: [B, 2, 6]) {{
                param a: {shape} = uniform(0.1, 0.9);
                param b: {shape} = uniform(0.1, 0.9);
                let u = {update};
                u
            }}
            graph g(x: [T; B, 2, 6]) -> (loss) {{ let loss = time_sum(sum(leak(x)^2)); }}"
        )
    };
    for (shape, update, sums) in [
        ("[2, 6]", "a * prev(u) + b * x", 2),
        ("[2, 6]", "a * tanh(prev(u)) + x - b", 2),
        ("[6]", "a * prev(u) + b * x", 0),
        ("[]", "a * prev(u) + b * x", 0),
    ] {
        let gradients = Some(crate::Gradients { output: "loss".into(), wrt: None });
        let options = crate::Options { gradients, ..Default::default() };
        let program = crate::compile(&layer(shape, update), &options).unwrap();
        assert_eq!(sums_on_the_way(&program), sums, "{update}: {}", batch_tiles::Order(&program));
        for (steps, batch) in [(1, 3), (40, 1), (70, 21)] {
            let bindings = sizes(&[("T", steps), ("B", batch)]);
            assert_eq!(check(&program, &bindings, 1), check(&program, &bindings, 2));
        }
    }
}

/// Spikes that nothing but kernels read, at rates that make products sparse and dense, along and across
/// their rows.
#[test]
fn spikes_as_bits() {
    for threshold in ["0.2", "-0.8"] {
        let source = "
            layer spiking(x: [B, 16]) { let z = step(x - THRESHOLD); z }
            graph g(x: [T; B, 16], y: [T; B, 24], w: [16, 24], v: [24, 16])
                -> (out, dense, turned, mirrored, squared, weighted, across, slid, part)
            {
                let z        = spiking(x);
                let out      = z @ w;
                let dense    = v @ transpose(z);
                let turned   = time_sum(transpose(z) @ y);
                let mirrored = time_sum(transpose(y) @ z);
                let squared  = time_sum(transpose(z) @ z);
                let weighted = time_sum(sum(z * x, axis = 0));
                let across   = transpose(z) * transpose(x) + 1;
                let slid     = prev(z) + z;
                let part     = slice(z, start = 8, end = 14) + 2;
            }";
        let program =
            crate::compile(&source.replace("THRESHOLD", threshold), &Default::default()).unwrap();
        assert!(
            pack(&split(&program)).buffers.iter().any(|buffer| buffer.is_packed()),
            "{program}"
        );
        for batch in [1, 21] {
            let bindings = sizes(&[("T", 11), ("B", batch)]);
            assert_eq!(check(&program, &bindings, 1), check(&program, &bindings, 2));
        }
    }
}

#[test]
fn lanes_that_gather_stay_in_a_window() {
    let source = "
        layer leak(x: [B, 3]) { let u = 0.5 * prev(u) + x; u }
        graph g(x: [T; B, 3], w: [6, 2]) -> (loss) {
            let u    = leak(x);
            let loss = time_sum(sum((concat(u, prev(u), axis = -1) @ w)^2));
        }";
    let program = crate::compile(source, &Default::default()).unwrap();
    let windows = batch_tiles::windows(&split(&program));
    assert!(
        windows.contains(&Some(2 * Direction::Forward.chunk())),
        "{}",
        batch_tiles::Order(&program)
    );
    let bindings = sizes(&[("T", 10 * Direction::Forward.chunk()), ("B", 9)]);
    assert_eq!(check(&program, &bindings, 1), check(&program, &bindings, 2));
}
