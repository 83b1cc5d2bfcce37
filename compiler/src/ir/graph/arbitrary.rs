//! Random small programs for property tests: every operation, recurrences, surrogates, one scalar
//! output `loss`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::interpret::{Tensor, Values};
use super::{
    Bindings, Builder, Clock, Dim, Elem, Graph, Init, Input, NodeId, Number, Op, Param, ParamKind,
    Pointwise, Reduction, Role, Root, Type, Windows,
};

const STEPS: usize = 3;
const ROWS: usize = 2;
const COLUMNS: usize = 3;

/// A program and a point to evaluate it at.
#[derive(Clone)]
pub struct Sample {
    pub graph: Graph,
    pub bindings: Bindings,
    pub values: Values,
    /// A direction for every float input and parameter.
    pub tangents: Values,
}

impl std::fmt::Debug for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{:?}\n{:?}", self.graph, self.values, self.tangents)
    }
}

/// What can be differentiated: the parameters and the float input.
pub const OPERANDS: [&str; 4] = ["w", "s", "init", "x"];

/// Programs of up to so many operations in the recurrence, and as many after it.
pub fn samples(size: usize) -> impl Strategy<Value = Sample> {
    let choices = move || vec(any::<[u16; 4]>(), 1..=size);
    let numbers = || vec((-1.5f64..1.5).prop_map(|x| (x * 1e4).round() / 1e4 + 1e-5), 60);
    let indices = vec(0..COLUMNS, COLUMNS);
    (choices(), choices(), numbers(), numbers(), indices).prop_map(
        |(inside, after, x, dx, indices)| {
            let mut values = floats(&x);
            let indices: Vec<f64> = indices.into_iter().map(|index| index as f64).collect();
            values.insert("i".into(), Tensor::new([COLUMNS], indices));
            let bindings = [("B", ROWS), ("T", STEPS)];
            Sample {
                graph: program(&inside, &after),
                bindings: bindings.map(|(name, size)| (name.into(), size as i64)).into(),
                values,
                tangents: floats(&dx),
            }
        },
    )
}

fn floats(numbers: &[f64]) -> Values {
    let mut rest = numbers;
    let shapes = [
        ("x", vec![STEPS, ROWS, COLUMNS]),
        ("s", vec![ROWS, COLUMNS]),
        ("w", vec![COLUMNS, COLUMNS]),
        ("init", vec![ROWS, COLUMNS]),
    ];
    let tensors = shapes.into_iter().map(|(name, dims)| {
        let (data, others) = rest.split_at(dims.iter().product());
        rest = others;
        (name.to_string(), Tensor::new(dims, data))
    });
    tensors.collect()
}

/// Each list of choices makes one operation a row: two of the numbers pick operands.
fn program(inside: &[[u16; 4]], after: &[[u16; 4]]) -> Graph {
    let mut graph = Graph { name: "random".into(), ..Graph::default() };
    graph.time = Some(Dim::symbol("T"));
    let dims = vec![Dim::symbol("B"), Dim::constant(COLUMNS as i64)];
    let input = |name: &str, ty| Input { name: name.into(), ty, docs: "An \"input\".\n".into() };
    graph.inputs = vec![
        input("x", Type::new(Elem::F32, dims.clone(), Clock::Stream)),
        input("i", Type::new(Elem::I32, dims[1..].to_vec(), Clock::Static)),
    ];
    let param = |path: &str, dims: Vec<Dim>, bounds| Param {
        path: path.into(),
        dims,
        init: Init::Normal(0.1, 1.0),
        bounds,
        docs: String::new(),
        kind: ParamKind::Trained,
        elem: Elem::F32,
    };
    let square = vec![dims[1].clone(), dims[1].clone()];
    graph.params = vec![
        param("w", square, None),
        param("s", dims.clone(), Some((-2.5, f64::INFINITY))),
        param("init", dims.clone(), None),
    ];
    let mut b = Builder::new(&mut graph);
    let [x, i] = [0, 1].map(|index| b.push(Op::Input(index), vec![]));
    let [w, s, init] = [0, 1, 2].map(|index| b.push(Op::Param(index), vec![]));
    let ty = b.ty(x).clone();
    let delays = [b.open_delay(Op::Prev, ty.clone(), init), b.open_delay(Op::Prev, ty, init)];
    let mut made = Made { b, w, i, pool: vec![x, s, delays[0], delays[1]] };
    inside.iter().for_each(|choice| made.operation(choice, false));
    let streams: Vec<NodeId> =
        made.pool.iter().copied().filter(|id| made.b.ty(*id).is_stream()).collect();
    made.b.close(delays[0], streams[streams.len() - 1]);
    made.b.close(delays[1], streams[streams.len() / 2]);
    after.iter().for_each(|choice| made.operation(choice, true));
    let last = made.pool.iter().rev().take(3).copied().collect::<Vec<_>>();
    let Made { mut b, .. } = made;
    let mut loss = b.number(0.0);
    for part in last {
        let sum = b.reduce(Reduction::Sum, part, &[0, 1]);
        let is_stream = b.ty(sum).is_stream();
        let sum = if is_stream { b.push(Op::TimeReduce(Reduction::Sum), vec![sum]) } else { sum };
        loss = b.add(loss, sum);
    }
    graph.roots = vec![Root { name: "loss".into(), role: Role::Output, node: loss }];
    graph
}

/// A graph under construction; everything in the pool is `[B, COLUMNS]`, a stream or not.
struct Made<'g> {
    b: Builder<'g>,
    w: NodeId,
    i: NodeId,
    pool: Vec<NodeId>,
}

impl Made<'_> {
    fn operation(&mut self, [kind, first, second, third]: &[u16; 4], crosses_time: bool) {
        use Pointwise::*;
        let pick =
            |choice: &u16| self.pool[self.pool.len() - 1 - *choice as usize % self.pool.len()];
        let (x, y, z) = (pick(first), pick(second), pick(third));
        let (dims, w, i) = (self.b.ty(x).dims.clone(), self.w, self.i);
        let b = &mut self.b;
        let zero = b.number(0.0);
        let smooth = [Tanh, Sin, Cos, Sigmoid, Softplus, Erf, Atan, Neg];
        let kinked = [Relu, Abs, Sign, Floor, Ceil, Round];
        let many = Dim::constant(2 * COLUMNS as i64);
        let (start, end) = (Dim::constant(i64::from(second % 4)), Dim::one());
        let made = match kind % if crosses_time { 34 } else { 29 } {
            0..3 => b.unary(smooth[*third as usize % smooth.len()], x),
            3 => b.unary(kinked[*third as usize % kinked.len()], x),
            4 | 5 => b.add(x, y),
            6 => b.sub(x, y),
            7 => {
                let product = b.mul(x, y);
                b.unary(Tanh, product)
            }
            8 => {
                let square = b.mul(y, y);
                let below = b.add_number(square, 1.0);
                b.div(x, below)
            }
            9 | 10 => b.matmul(x, w),
            11 => {
                let turned = b.transpose(y);
                let square = b.matmul(x, turned);
                let square = b.scale(square, 0.25);
                b.matmul(square, z)
            }
            12 => b.push(Op::Sg, vec![x]),
            13 => b.push(Op::Bypass, vec![x, y]),
            14 => {
                let one = b.number(1.0);
                let spike = b.choose(Gt, x, zero, one, zero);
                let slope = b.unary(Sigmoid, x);
                b.push(Op::Bypass, vec![spike, slope])
            }
            15 => b.choose(Lt, x, y, z, x),
            16 => b.binary(Max, x, y),
            17 => b.map(Clamp, &[x, y, z]),
            18 => {
                let reduction = Reduction::ALL[*second as usize % 4];
                let reduced = b.reduce(reduction, x, &[1]);
                let reduced = b.reshape(reduced, &[dims[0].clone(), Dim::one()]);
                b.broadcast(reduced, &dims)
            }
            19 => {
                let both = b.push(Op::Concat { axis: 1 }, vec![x, y]);
                let end = &start + &dims[1];
                b.push(Op::Slice { axis: 1, start, end }, vec![both])
            }
            20 => {
                let after = &(&many - &dims[1]) - &end;
                let value = Number(0.5);
                let pad = Op::Pad { axis: 1, before: end, after, value };
                let padded = b.push(pad, vec![x]);
                let end = &start + &dims[1];
                b.push(Op::Slice { axis: 1, start, end }, vec![padded])
            }
            21 => b.push(Op::Flip { axis: usize::from(second % 2) }, vec![x]),
            22 => b.push(Op::Gather { axis: 1 }, vec![x, i]),
            23 => {
                let place = b.push(Op::Iota { axis: 1, dims }, vec![]);
                let place = b.unary(ToF32, place);
                let step = b.push(Op::TimeIndex, vec![]);
                let place = b.add(place, step);
                let slow = b.scale(place, 0.1);
                b.mul(x, slow)
            }
            24 => {
                let [size, stride, dilation] = [second % 2, second / 2 % 2, third % 2];
                let [size, stride, dilation] = [size, stride, dilation].map(|n| i64::from(n) + 1);
                let covered = 2 * stride + dilation * (size - 1) + 1;
                let after = Dim::constant(
                    covered - COLUMNS as i64 + i64::from(third / 2 % 2) * (stride - 1),
                );
                let pad = Op::Pad { axis: 1, before: Dim::zero(), after, value: Number(0.0) };
                let padded = b.push(pad, vec![x]);
                let windows = Windows { axis: 1, size, stride, dilation };
                let mut seen = b.push(Op::Windows(windows), vec![padded]);
                if third / 4 % 2 == 0 {
                    let by = i64::from(third / 8 % 3) - 1;
                    let wide = b.push(Op::Concat { axis: 1 }, vec![seen, seen]);
                    let sheared = b.push(Op::Shear { axis: 1, by }, vec![wide]);
                    seen = b.push(
                        Op::Slice { axis: 1, start: Dim::zero(), end: dims[1].clone() },
                        vec![sheared],
                    );
                }
                let reduction = Reduction::ALL[usize::from(third / 32) % 4];
                b.reduce(reduction, seen, &[2])
            }
            25 => {
                let data = [0.5, -1.0, 2.0].map(Number).to_vec();
                let array = Op::Array { elem: Elem::F32, dims: dims[1..].to_vec(), data };
                let array = b.push(array, vec![]);
                let array = b.broadcast(array, &dims);
                b.mul(x, array)
            }
            26 => {
                let (place, three) = (b.unary(ToI32, y), Op::Const(Number(3.0), Elem::I32));
                let three = b.push(three, vec![]);
                let place = b.binary(Rem, place, three);
                b.push(Op::Take { axis: 1 }, vec![x, place])
            }
            27 => {
                let places = dims[1].clone();
                b.scatter_add(x, i, &places, 1)
            }
            28 => {
                let (p, q) = (b.unary(ToI32, x), b.unary(ToI32, y));
                let op = [Add, Sub, Mul, Div, Rem, Min, Max][*third as usize % 7];
                let number = b.binary(op, p, q);
                let number = b.unary(ToF32, number);
                b.unary(Tanh, number)
            }
            _ if !b.ty(x).is_stream() => b.unary(Exp, x),
            29 => b.push(Op::TimeReduce(Reduction::Sum), vec![x]),
            30 => b.push(Op::TimeReduce(Reduction::Max), vec![x]),
            31 => b.push(if second % 2 == 0 { Op::First } else { Op::Last }, vec![x]),
            32 => {
                let time = b.graph().time.clone().unwrap_or_else(Dim::one);
                let stacked = b.push(Op::TimeStack(time), vec![x]);
                let flipped = b.push(Op::Flip { axis: 0 }, vec![stacked]);
                b.push(Op::TimeUnstack, vec![flipped])
            }
            _ => {
                let init = b.full_like(0.5, x);
                b.push(if second % 2 == 0 { Op::Prev } else { Op::Next }, vec![x, init])
            }
        };
        self.pool.push(made);
    }
}
