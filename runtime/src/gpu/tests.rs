//! Programs on whatever GPU there is (Mesa's llvmpipe, where there is none), against plain Rust.

use fgi_compiler::ir::graph::interpret::{Results, Tensor, Values, interpret};
use fgi_compiler::ir::graph::pointwise::{Signature, TABLE};
use fgi_compiler::ir::graph::{
    Builder, Clock, Dim, Elem, Graph, Init, Input, NodeId, Number, Op, Param, ParamKind, Pointwise,
    Reduction, Role, Root, Type,
};
use fgi_compiler::ir::kernel::BufferSource;
use fgi_compiler::ir::verify;
use fgi_compiler::middle::autodiff::differentiate;
use fgi_compiler::middle::lower::lower;
use fgi_compiler::middle::schedule::schedule;
use fgi_compiler::target::gpu::ROWS;

use super::*;

/// A graph under construction.
struct Source(Graph);

/// The kernels of a graph.
fn kernels(graph: &Graph) -> Verified<Program> {
    verify(lower(&schedule(graph))).unwrap()
}

impl Source {
    fn new() -> Source {
        let mut graph = Graph::default();
        graph.name = "test".into();
        graph.time = Some(Dim::symbol("T"));
        Source(graph)
    }

    fn input(&mut self, name: &str, elem: Elem, clock: Clock, dims: &[Dim]) -> NodeId {
        let ty = Type::new(elem, dims.to_vec(), clock);
        self.0.inputs.push(Input { name: name.into(), ty, docs: String::new() });
        let index = self.0.inputs.len() - 1;
        self.build().push(Op::Input(index), vec![])
    }

    fn tensor(&mut self, name: &str, dims: &[Dim]) -> NodeId {
        self.input(name, Elem::F32, Clock::Static, dims)
    }

    fn stream(&mut self, name: &str, dims: &[Dim]) -> NodeId {
        self.input(name, Elem::F32, Clock::Stream, dims)
    }

    fn param(&mut self, path: &str, dims: &[Dim]) -> NodeId {
        self.0.params.push(Param {
            path: path.into(),
            dims: dims.to_vec(),
            init: Init::Constant(0.0),
            bounds: None,
            docs: String::new(),
            kind: ParamKind::Trained,
            elem: Elem::F32,
        });
        let index = self.0.params.len() - 1;
        self.build().push(Op::Param(index), vec![])
    }

    fn build(&mut self) -> Builder<'_> {
        Builder::new(&mut self.0)
    }

    fn name(&mut self, node: NodeId, name: &str) -> NodeId {
        self.0.node_mut(node).name = Some(name.into());
        node
    }

    fn output(&mut self, name: &str, node: NodeId) {
        self.0.roots.push(Root { name: name.into(), role: Role::Output, node });
    }

    fn backend(&self) -> GpuBackend {
        let program = kernels(&self.0);
        GpuBackend::new(Arc::new(program), AdapterChoice::Any).unwrap()
    }
}

impl GpuBackend {
    fn named(&self, name: &str) -> BufferId {
        let program = &self.program;
        let is_it = |source: BufferSource| match source {
            BufferSource::Input(index) => program.inputs[index].name == name,
            BufferSource::Param(index) => program.params[index].path == name,
            BufferSource::Kernel => false,
        };
        program
            .result(Role::Output, name)
            .or_else(|| program.buffer_ids().find(|id| is_it(program.buffer(*id).source)))
            .unwrap_or_else(|| panic!("no buffer {name}"))
    }

    fn bind_all(&mut self, dims: &[(&str, i64)]) {
        let bindings = dims.iter().map(|(name, value)| ((*name).into(), *value)).collect();
        self.bind(&bindings).unwrap();
    }

    fn set(&mut self, name: &str, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.write(self.named(name), &bytes).unwrap();
    }

    fn bits(&mut self, name: &str) -> Vec<u32> {
        let bytes = self.read(self.named(name)).unwrap();
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    fn get(&mut self, name: &str) -> Vec<f32> {
        self.bits(name).into_iter().map(f32::from_bits).collect()
    }

    fn forward(&mut self) {
        self.run(&[Pass::Forward]).unwrap();
    }
}

/// Numbers from -1 to 1 that look random.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_close_as("result", found, expected, tolerance);
}

#[track_caller]
fn assert_close_as(name: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let found = f64::from(*found);
        let same = found == *expected || found.is_nan() && expected.is_nan();
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(same || close, "{name} at {index}: {found} instead of {expected}");
    }
}

fn n(value: i64) -> Dim {
    Dim::constant(value)
}

fn sym(name: &str) -> Dim {
    Dim::symbol(name)
}

#[test]
fn pointwise_operations_mean_what_the_table_says() {
    let values =
        [0.0, -0.0, 0.01, -0.3, 0.5, -0.9, 1.0, -1.0, 1.7, -2.5, 3.0, -4.0, 7.25, 20.0, -90.0];
    let mut pairs = Vec::new();
    values.iter().for_each(|a| pairs.extend(values.iter().map(|b| (*a, *b))));
    let mut source = Source::new();
    let x = source.tensor("x", &[sym("N")]);
    let y = source.tensor("y", &[sym("N")]);
    let float_rows = || {
        TABLE.iter().filter(|row| {
            use Signature::{Bits, Choice, Integer, Logic, ToFloat, ToInteger};
            !matches!(row.signature, Bits | Choice | Integer | Logic | ToFloat | ToInteger)
        })
    };
    for row in float_rows() {
        let mut build = source.build();
        let args = [x, y, y];
        let mut result = build.map(row.op, &args[..row.arity]);
        if build.ty(result).elem == Elem::Bool {
            result = build.unary(Pointwise::ToF32, result);
        }
        source.output(&format!("out_{}", row.name), result);
    }
    let mut gpu = source.backend();
    assert!(gpu.shaders.shaders.iter().all(|shader| shader.bindings.len() <= 8));
    gpu.bind_all(&[("N", pairs.len() as i64), ("T", 1)]);
    gpu.set("x", &pairs.iter().map(|pair| pair.0).collect::<Vec<f32>>());
    gpu.set("y", &pairs.iter().map(|pair| pair.1).collect::<Vec<f32>>());
    gpu.forward();
    for row in float_rows() {
        let expected: Vec<f64> = pairs
            .iter()
            .map(|(a, b)| (row.value)(&[f64::from(*a), f64::from(*b), f64::from(*b)]))
            .collect();
        let found = gpu.get(&format!("out_{}", row.name));
        // Compared where f32 holds the result.
        let (found, expected): (Vec<f32>, Vec<f64>) = found
            .into_iter()
            .zip(expected)
            .filter(|(_, e)| e.abs() < 1e38 && (*e == 0.0 || e.abs() > 1e-37))
            .unzip();
        assert_close_as(row.name, &found, &expected, 2e-6 * f64::from(row.cost.max(1)));
    }
}

#[test]
fn long_reductions_run_in_parts() {
    let length = 70_001;
    let mut source = Source::new();
    let x = source.tensor("x", &[n(2), sym("N")]);
    let mut build = source.build();
    let sum = build.reduce(Reduction::Sum, x, &[1]);
    let mean = build.scale(sum, 0.5);
    let all = build.reduce(Reduction::Max, x, &[0, 1]);
    let most = build.reduce(Reduction::ArgMax, x, &[1]);
    // log(sum(exp(x - max))): a loop that needs another's result.
    let max = build.reduce(Reduction::Max, x, &[1]);
    let max = build.reshape(max, &[n(2), n(1)]);
    let max = build.broadcast(max, &[n(2), sym("N")]);
    let centred = build.sub(x, max);
    let e = build.unary(Pointwise::Exp, centred);
    let total = build.reduce(Reduction::Sum, e, &[1]);
    let log = build.unary(Pointwise::Log, total);
    let large = build.scale(x, 1e9);
    let integers = build.unary(Pointwise::ToI32, large);
    let count = build.reduce(Reduction::Sum, integers, &[1]);
    let least = build.reduce(Reduction::Min, integers, &[0, 1]);
    let outputs = [
        ("half", mean),
        ("all", all),
        ("most", most),
        ("lse", log),
        ("count", count),
        ("least", least),
    ];
    for (name, node) in outputs {
        source.output(name, node);
    }
    let mut gpu = source.backend();
    gpu.bind_all(&[("N", length), ("T", 1)]);
    let x: Vec<f32> = noise(2 * length as usize, 1).iter().map(|v| 0.25 * v).collect();
    gpu.set("x", &x);
    gpu.forward();
    let rows: Vec<Vec<f64>> =
        x.chunks(length as usize).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect();
    let maximum = |row: &Vec<f64>| row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let half: Vec<f64> = rows.iter().map(|row| 0.5 * row.iter().sum::<f64>()).collect();
    assert_close(&gpu.get("half"), &half, 1e-3);
    let max: Vec<f64> = rows.iter().map(maximum).collect();
    assert_close(&gpu.get("all"), &[max[0].max(max[1])], 0.0);
    let most: Vec<u32> = rows
        .iter()
        .zip(&max)
        .map(|(row, max)| row.iter().position(|v| v == max).unwrap() as u32)
        .collect();
    assert_eq!(gpu.bits("most"), most);
    let integer = |v: &f32| (v * 1e9) as i32;
    let integers: Vec<Vec<i32>> =
        x.chunks(length as usize).map(|row| row.iter().map(integer).collect()).collect();
    let counts = integers.iter().map(|row| row.iter().fold(0i32, |sum, v| sum.wrapping_add(*v)));
    assert_eq!(gpu.bits("count"), counts.map(i32::cast_unsigned).collect::<Vec<_>>());
    let least = integers.iter().flatten().min().unwrap();
    assert_eq!(gpu.bits("least"), [least.cast_unsigned()]);
    let lse: Vec<f64> = rows
        .iter()
        .zip(&max)
        .map(|(row, max)| row.iter().map(|v| (v - max).exp()).sum::<f64>().ln())
        .collect();
    assert_close(&gpu.get("lse"), &lse, 1e-4);
}

#[test]
fn products_of_matrices() {
    let (batch, k, width) = (37, 100, 70);
    let mut source = Source::new();
    let x = source.stream("x", &[sym("B"), n(k)]);
    let w = source.param("w", &[n(k), n(width)]);
    let y = source.build().matmul(x, w);
    source.output("y", y);
    let mut gpu = source.backend();
    gpu.bind_all(&[("B", batch), ("T", 3)]);
    let (x, w) = (noise((3 * batch * k) as usize, 2), noise((k * width) as usize, 3));
    gpu.set("x", &x);
    gpu.set("w", &w);
    gpu.forward();
    let (k, width) = (k as usize, width as usize);
    let expected: Vec<f64> = x
        .chunks(k)
        .flat_map(|row| {
            let w = &w;
            (0..width).map(move |j| {
                (0..k).map(|i| f64::from(row[i]) * f64::from(w[i * width + j])).sum::<f64>()
            })
        })
        .collect();
    assert_close(&gpu.get("y"), &expected, 1e-5);
}

/// A layer of leaky neurons that excite each other; spikes must be exact.
fn recurrent_layer(steps: i64, batch: i64, width: i64) {
    let mut source = Source::new();
    let dims = [sym("B"), n(width)];
    let x = source.stream("x", &dims);
    let w = source.param("w", &[n(width), n(width)]);
    let mut build = source.build();
    let zero = build.number(0.0);
    let zeros = build.broadcast(zero, &dims);
    let ty = Type::new(Elem::F32, dims.to_vec(), Clock::Stream);
    let last_u = build.open_delay(Op::Prev, ty.clone(), zeros);
    let last_z = build.open_delay(Op::Prev, ty, zeros);
    let leak = build.scale(last_u, 0.875);
    let drive = build.add(leak, x);
    let rec = build.matmul(last_z, w);
    let u = build.add(drive, rec);
    let one = build.number(1.0);
    let one = build.broadcast(one, &dims);
    let nought = build.broadcast(zero, &dims);
    let z = build.choose(Pointwise::Gt, u, one, one, nought);
    build.close(last_u, u);
    build.close(last_z, z);
    let (u, z) = (source.name(u, "u"), source.name(z, "z"));
    source.output("u", u);
    source.output("z", z);
    let mut gpu = source.backend();
    gpu.bind_all(&[("B", batch), ("T", steps)]);
    let (steps, batch, width) = (steps as usize, batch as usize, width as usize);
    // Multiples of 1/64 below 1/4: sums are exact whatever their order.
    let coarse = |v: &f32| (v * 16.0).round() / 64.0;
    let x: Vec<f32> = noise(steps * batch * width, 4).iter().map(|v| coarse(v) + 0.25).collect();
    let w: Vec<f32> = noise(width * width, 5).iter().map(coarse).collect();
    gpu.set("x", &x);
    gpu.set("w", &w);
    gpu.forward();
    let mut expected = Vec::new();
    let (mut u, mut z) = (vec![0.0f32; batch * width], vec![0.0f32; batch * width]);
    for t in 0..steps {
        let mut new = vec![0.0; batch * width];
        for b in 0..batch {
            for j in 0..width {
                let rec: f32 = (0..width).map(|i| z[b * width + i] * w[i * width + j]).sum();
                new[b * width + j] =
                    u[b * width + j] * 0.875 + x[(t * batch + b) * width + j] + rec;
            }
        }
        u = new;
        z = u.iter().map(|u| f32::from(u8::from(*u > 1.0))).collect();
        expected.extend(&z);
    }
    let found = gpu.get("z");
    let rate = expected.iter().sum::<f32>() / expected.len() as f32;
    assert!((0.05..0.95).contains(&rate), "the rate of spikes is {rate}");
    assert_eq!(found.iter().zip(&expected).position(|(a, b)| a != b), None, "at rate {rate}");
}

#[test]
fn a_recurrence_wider_than_a_workgroup_over_many_steps() {
    recurrent_layer(300, 2, 300);
}

#[test]
fn a_recurrence_of_rows_and_neurons_that_fill_no_tile() {
    recurrent_layer(9, 19, 70);
}

#[test]
fn a_recurrence_of_a_thousand_neurons() {
    recurrent_layer(12, 1, 1000);
}

#[test]
fn a_recurrence_without_coupling_runs_backward() {
    let mut source = Source::new();
    let dims = [sym("B")];
    let x = source.stream("x", &dims);
    let mut build = source.build();
    let zero = build.number(0.0);
    let zeros = build.broadcast(zero, &dims);
    let ty = Type::new(Elem::F32, dims.to_vec(), Clock::Stream);
    let next = build.open_delay(Op::Next, ty, zeros);
    let decayed = build.scale(next, 0.5);
    let g = build.add(x, decayed);
    build.close(next, g);
    source.output("g", g);
    let mut gpu = source.backend();
    gpu.budget.dispatch = 7;
    for (steps, batch) in [(100, 130), (1, 1), (20, 0)] {
        gpu.bind_all(&[("B", batch), ("T", steps)]);
        let (steps, batch) = (steps as usize, batch as usize);
        let x = noise(steps * batch, 6);
        gpu.set("x", &x);
        gpu.forward();
        let mut expected = vec![0.0; steps * batch];
        for t in (0..steps).rev() {
            for b in 0..batch {
                let next = if t + 1 < steps { expected[(t + 1) * batch + b] } else { 0.0 };
                expected[t * batch + b] = f64::from(x[t * batch + b]) + 0.5 * next;
            }
        }
        assert_close(&gpu.get("g"), &expected, 1e-6);
    }
}

#[test]
fn more_streams_than_a_kernel_may_bind() {
    let mut source = Source::new();
    let dims = [sym("B")];
    let inputs: Vec<NodeId> =
        (0..12).map(|index| source.stream(&format!("x{index}"), &dims)).collect();
    let label = source.input("label", Elem::I32, Clock::Static, &dims);
    let mut build = source.build();
    let mut sum = build.unary(Pointwise::ToF32, label);
    for x in &inputs {
        sum = build.add(sum, *x);
    }
    let is_large = build.number(0.0);
    let is_large = build.broadcast(is_large, &dims);
    let is_large = build.binary(Pointwise::Gt, sum, is_large);
    source.output("sum", sum);
    source.output("large", is_large);
    let mut gpu = source.backend();
    assert!(gpu.shaders.shaders.iter().all(|shader| shader.bindings.len() <= 8));
    for (steps, batch) in [(3, 5), (70, 64), (2, 4)] {
        gpu.bind_all(&[("B", batch), ("T", steps)]);
        let (steps, batch) = (steps as usize, batch as usize);
        let mut expected: Vec<f64> =
            (0..steps * batch).map(|index| (index % batch) as f64 - 2.0).collect();
        let labels: Vec<u8> = (0..batch as i32).flat_map(|b| (b - 2).to_le_bytes()).collect();
        gpu.write(gpu.named("label"), &labels).unwrap();
        for number in 0..12 {
            let x = noise(steps * batch, 10 + number);
            expected.iter_mut().zip(&x).for_each(|(sum, x)| *sum += f64::from(*x));
            gpu.set(&format!("x{number}"), &x);
        }
        gpu.forward();
        let found = gpu.get("sum");
        assert_close(&found, &expected, 1e-5);
        let large: Vec<u32> = found.iter().map(|sum| u32::from(*sum > 0.0)).collect();
        assert!(gpu.bits("large") == large);
    }
}

#[test]
fn more_workgroups_than_a_dimension_has() {
    let mut source = Source::new();
    let x = source.stream("x", &[n(64)]);
    let y = source.build().neg(x);
    source.output("y", y);
    let mut gpu = source.backend();
    gpu.bind_all(&[("T", 70_000)]);
    let x: Vec<f32> = (0..70_000 * 64).map(|index| index as f32).collect();
    gpu.set("x", &x);
    gpu.forward();
    assert!(gpu.get("y").iter().zip(&x).all(|(y, x)| *y == -x));
}

#[test]
fn literals_that_wgsl_has_not() {
    let mut source = Source::new();
    let x = source.tensor("target", &[n(4)]);
    let mut build = source.build();
    let infinity = build.push(Op::Const(Number(f64::INFINITY), Elem::F32), vec![]);
    let infinities = build.broadcast(infinity, &[n(4)]);
    let least = build.binary(Pointwise::Max, x, infinities);
    let y = build.neg(least);
    let lowest = build.push(Op::Const(Number(f64::from(i32::MIN)), Elem::I32), vec![]);
    source.output("y", y);
    source.output("lowest", lowest);
    let mut gpu = source.backend();
    gpu.bind_all(&[("T", 1)]);
    gpu.set("target", &[1.0, f32::NAN, f32::INFINITY, -1.0]);
    gpu.forward();
    let minus = f64::NEG_INFINITY;
    assert_close(&gpu.get("y"), &[minus, f64::NAN, minus, minus], 0.0);
    assert_eq!(gpu.bits("lowest"), [i32::MIN.cast_unsigned()]);
}

#[test]
fn parameters_survive_a_change_of_dimensions() {
    let mut source = Source::new();
    let x = source.stream("x", &[sym("B")]);
    let w = source.param("w", &[]);
    let mut build = source.build();
    let w = build.broadcast(w, &[sym("B")]);
    let y = build.mul(x, w);
    source.output("y", y);
    let mut gpu = source.backend();
    gpu.bind_all(&[("B", 1), ("T", 1)]);
    gpu.set("w", &[3.0]);
    gpu.bind_all(&[("B", 2), ("T", 1)]);
    gpu.set("x", &[1.0, 2.0]);
    gpu.forward();
    assert_eq!(gpu.get("y"), [3.0, 6.0]);
    let too_large = [("B".into(), 1 << 14), ("T".into(), 1 << 13)].into();
    let error = gpu.bind(&too_large).unwrap_err().to_string();
    assert!(error.contains("of 512 MiB is more than"), "{error}");
    assert!(gpu.write(BufferId(0), &[0; 3]).is_err());
    assert_eq!(gpu.get("y"), [3.0, 6.0]);
}

#[test]
fn an_unknown_gpu_is_an_error() {
    let program = Arc::new(verify(Program::default()).unwrap());
    let error = GpuBackend::new(program, AdapterChoice::Named("Voodoo".into())).err().unwrap();
    assert!(error.to_string().contains("no GPU is named `Voodoo`"), "{error}");
    assert!(!adapters().is_empty());
}

/// Two coupled layers and a loss over time and batch, with gradients for everything.
fn trained_network(width: i64) -> Graph {
    let mut source = Source::new();
    let dims = [sym("B"), n(width)];
    let x = source.stream("x", &[sym("B"), n(6)]);
    let goal = source.tensor("goal", &[sym("B"), n(width)]);
    let w_in = source.param("w_in", &[n(6), n(width)]);
    let first = source.param("first", &[n(width)]);
    let mut build = source.build();
    let mut value = build.matmul(x, w_in);
    for layer in ["a", "b"] {
        let w = source.param(&format!("{layer}.w"), &[n(width), n(width)]);
        let mut build = source.build();
        let ty = Type::new(Elem::F32, dims.to_vec(), Clock::Stream);
        let init = build.broadcast(first, &dims);
        let last = build.open_delay(Op::Prev, ty, init);
        let rec = build.matmul(last, w);
        let sum = build.add(value, rec);
        let state = build.unary(Pointwise::Tanh, sum);
        build.close(last, state);
        value = source.name(state, layer);
    }
    let mut build = source.build();
    let end = build.push(Op::Last, vec![value]);
    let error = build.sub(end, goal);
    let square = build.mul(error, error);
    let error = build.reduce(Reduction::Sum, square, &[0, 1]);
    let power = build.mul(value, value);
    let power = build.reduce(Reduction::Sum, power, &[0, 1]);
    let power = build.push(Op::TimeReduce(Reduction::Sum), vec![power]);
    let power = build.scale(power, 0.125);
    let loss = build.add(error, power);
    source.output("loss", loss);
    let wrt = ["x", "w_in", "first", "a.w", "b.w"].map(String::from);
    differentiate(&source.0, "loss", &wrt).unwrap()
}

/// Gives a [`trained_network`] inputs and parameters; what the interpreter makes of them.
fn feed(gpu: &mut GpuBackend, graph: &Graph, width: i64) -> Results {
    let (steps, batch) = (19, 3);
    gpu.bind_all(&[("B", batch), ("T", steps)]);
    let bindings = [("B".into(), batch), ("T".into(), steps)].into();
    let mut values = Values::new();
    let inputs = [
        ("x", vec![steps, batch, 6], 1.0),
        ("goal", vec![batch, width], 1.0),
        ("w_in", vec![6, width], 0.5),
        ("first", vec![width], 0.5),
        ("a.w", vec![width, width], 1.0 / (width as f32).sqrt()),
        ("b.w", vec![width, width], 1.0 / (width as f32).sqrt()),
    ];
    for (seed, (name, dims, scale)) in (1u64..).zip(inputs) {
        let count = dims.iter().product::<i64>() as usize;
        let data: Vec<f32> = noise(count, seed).iter().map(|v| v * scale).collect();
        gpu.set(name, &data);
        let dims: Vec<usize> = dims.iter().map(|dim| *dim as usize).collect();
        let data: Vec<f64> = data.into_iter().map(f64::from).collect();
        values.insert(name.into(), Tensor::new(dims, data));
    }
    interpret(&verify(graph.clone()).unwrap(), &bindings, &values).unwrap()
}

fn assert_gradients(gpu: &mut GpuBackend, expected: &Results) {
    gpu.run(&[Pass::Forward]).unwrap();
    gpu.run(&[Pass::Backward]).unwrap();
    for (root, tensor) in &expected.0 {
        let id = gpu.program.result(root.role, &root.name).unwrap();
        let bytes = gpu.read(id).unwrap();
        let found: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        assert_close_as(&root.name, &found, &tensor.data, 2e-4);
    }
}

#[test]
fn gradients_are_those_of_the_interpreter() {
    for (width, budget) in [(5, 1_000_000), (37, 200), (64, 30_000), (130, 30_000)] {
        let graph = trained_network(width);
        let program = kernels(&graph);
        let mut gpu = GpuBackend::new(Arc::new(program), AdapterChoice::Any).unwrap();
        gpu.budget.dispatch = budget;
        let expected = feed(&mut gpu, &graph, width);
        // A second run must not see anything of the first.
        for _ in 0..2 {
            assert_gradients(&mut gpu, &expected);
        }
    }
}

#[test]
fn the_fastest_variant_is_kept_for_the_next_process() {
    let width = 37;
    let graph = trained_network(width);
    let program = Arc::new(kernels(&graph));
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let caches = Some(directory.path().to_path_buf());
        GpuBackend::with_caches(program.clone(), AdapterChoice::Any, caches).unwrap()
    };
    let mut gpu = open();
    let own = gpu.shaders.clone();
    let with = |rows| emitted(&program, Limits { rows, ..gpu.info.limits() }).unwrap();
    let of_rows = ROWS.map(|rows| (rows, with(Some(rows))));
    assert!(own == with(None));
    let expected = feed(&mut gpu, &graph, width);
    let tuning = gpu.tune().unwrap();
    let rows: Vec<u32> = tuning.variants.iter().map(|(rows, _)| *rows).collect();
    assert_eq!(rows, [1, 2, 4, 8, 16]);
    let least = tuning.variants.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert_eq!(tuning.rows, least.0);
    assert_gradients(&mut gpu, &expected);
    let file = tuning.file.unwrap();
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["rows"], tuning.rows);
    for (rows, shaders) in of_rows {
        kept["rows"] = rows.into();
        std::fs::write(&file, kept.to_string()).unwrap();
        let mut gpu = open();
        assert!(gpu.shaders == shaders, "{rows} rows");
        let expected = feed(&mut gpu, &graph, width);
        assert_gradients(&mut gpu, &expected);
    }
    for wrong in ["", "{}", "{\"rows\": 3}"] {
        std::fs::write(&file, wrong).unwrap();
        assert!(open().shaders == own, "{wrong}");
    }
}

#[test]
fn pipelines_are_kept_for_the_next_process() {
    let mut source = Source::new();
    let x = source.tensor("x", &[n(3)]);
    let y = source.build().neg(x);
    source.output("y", y);
    let program = Arc::new(kernels(&source.0));
    let run_with = |caches: &Path| {
        let adapter = adapter::choose(&AdapterChoice::Any).unwrap().1;
        let caches = Some(caches.to_path_buf());
        let mut gpu = GpuBackend::with_caches(program.clone(), AdapterChoice::Any, caches).unwrap();
        gpu.bind_all(&[]);
        gpu.set("x", &[1.0, 2.0, 3.0]);
        gpu.forward();
        assert_eq!(gpu.get("y"), [-1.0, -2.0, -3.0]);
        (gpu, adapter)
    };
    let directory = tempfile::tempdir().unwrap();
    let caches = directory.path().join("missing/fgi");
    let (gpu, adapter) = run_with(&caches);
    let file = caches.join(wgpu::util::pipeline_cache_key(&adapter.get_info()).unwrap());
    let kept = std::fs::read(&file).unwrap();
    let is_warm = || gpu.pipeline_cache(&adapter, &caches).unwrap().is_warm();
    assert!(kept.len() > 32 && is_warm());
    let resealed = |place: usize| {
        let mut data = cache::unsealed(kept.clone()).unwrap();
        data[place] ^= 1;
        cache::sealed(data)
    };
    // Cut off, of another version of wgpu, of another device, of another driver.
    let damaged = [kept[..40].to_vec(), Vec::new(), resealed(8), resealed(20), resealed(40)];
    for bytes in damaged {
        std::fs::write(&file, bytes).unwrap();
        run_with(&caches);
        assert_eq!(std::fs::read(&file).unwrap(), kept);
    }
    // What is a file cannot be a directory.
    run_with(&file);
    assert!(is_warm());
}
