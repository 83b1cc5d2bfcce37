//! What one operation does at one step, with its dimensions known.

use super::super::pointwise::Row;
use super::super::{Dim, Elem, NodeId, Pointwise, Reduction};
use super::{Fault, Mode, Run, Slot, View, at};

pub(crate) enum Kernel<'a> {
    /// An input or a parameter, all steps of it.
    Given {
        whole: View<'a>,
        len: usize,
    },
    Numbers(Vec<f64>),
    TimeIndex,
    /// `len` elements of the operand from `start` on.
    Copy {
        start: usize,
        len: usize,
    },
    /// As many elements of the operand as the step has, from where its turn is.
    Step {
        len: usize,
    },
    /// Each element is one of an operand's, or a number.
    Pick(Vec<Source>),
    /// `[outer, length, inner]` at indices of the middle axis, or what there is outside of it.
    Gather {
        outer: usize,
        length: usize,
        inner: usize,
        outside: f64,
    },
    /// As `Gather`, at indices of its own for each place around: so many along the axis.
    Take {
        outer: usize,
        length: usize,
        places: usize,
        inner: usize,
        outside: f64,
    },
    /// With the type of the result.
    Map(&'static Row, Elem),
    /// The value of the first operand, the tangent of the second.
    Bypass,
    /// `a + (b - c)`
    Shift,
    /// `[rows, inner] @ [inner, columns]`, `batch` times.
    MatMul {
        batch: usize,
        rows: usize,
        inner: usize,
        columns: usize,
        elem: Elem,
    },
    /// Each result takes the next `size` elements that `order` lists.
    Reduce {
        reduction: Reduction,
        elem: Elem,
        order: Vec<usize>,
        size: usize,
        len: usize,
    },
}

pub(crate) enum Source {
    Operand(usize, usize),
    Number(f64),
}

/// A node in a run, as its operation sees it.
pub(crate) struct Site<'r, 'a> {
    pub(super) run: &'r Run<'a>,
    pub(super) id: NodeId,
}

impl<'a> Site<'_, 'a> {
    /// The dimensions of the result at one step.
    pub fn dims(&self) -> &[usize] {
        &self.run.dims[at(self.id)]
    }

    /// The number of elements of the result at one step.
    pub fn len(&self) -> usize {
        self.run.len(self.id)
    }

    /// The type of the result's elements.
    pub fn elem(&self) -> Elem {
        self.run.graph.ty(self.id).elem
    }

    /// The number of operands.
    pub fn arity(&self) -> usize {
        self.run.graph.node(self.id).args.len()
    }

    /// The dimensions of an operand at one step.
    pub fn operand(&self, position: usize) -> &[usize] {
        &self.run.dims[at(self.run.graph.node(self.id).args[position])]
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.run.steps
    }

    /// The value of a dimension that says how many there are.
    pub fn size(&self, dim: &Dim) -> Result<usize, Fault> {
        self.run.size(dim)
    }

    /// The value of any dimension.
    pub fn dim(&self, dim: &Dim) -> Result<i64, Fault> {
        Ok(dim.eval(self.run.bindings)?)
    }

    /// The values that are given for the graph's input of this index.
    pub fn input(&self, index: usize) -> Result<Kernel<'a>, Fault> {
        self.run.given(&self.run.graph.inputs[index].name, self.id)
    }

    /// The values that are given for the graph's parameter of this index.
    pub fn param(&self, index: usize) -> Result<Kernel<'a>, Fault> {
        self.run.given(&self.run.graph.params[index].path, self.id)
    }

    /// What has no derivative is held at its base value.
    pub fn is_frozen(&self) -> bool {
        matches!(self.run.mode, Mode::Frozen(_))
    }
}

impl<'a> Kernel<'a> {
    /// The elements of the first operand that are `strides` apart from `start` on.
    pub fn strided(dims: &[usize], strides: &[isize], start: isize) -> Kernel<'a> {
        let places = strided(dims, strides, start).into_iter();
        Kernel::Pick(places.map(|index| Source::Operand(0, index)).collect())
    }

    /// Appends the values of a step, and the tangents if `out` has room for them.
    pub(super) fn run(&self, x: &[View], step: usize, out: &mut Slot) {
        let Slot { value: y, tangent: dy } = out;
        let mut derive = |tangents: &mut dyn FnMut(&mut Vec<f64>)| {
            if let Some(dy) = dy {
                tangents(dy);
            }
        };
        match self {
            Kernel::Given { whole, len } => {
                let given = whole.step(step, *len);
                y.extend_from_slice(given.value);
                derive(&mut |dy| dy.extend((0..*len).map(|i| given.tangent(i))));
            }
            Kernel::Numbers(numbers) => y.extend_from_slice(numbers),
            Kernel::TimeIndex => y.push(step as f64),
            Kernel::Copy { start, len } => {
                y.extend_from_slice(&x[0].value[*start..start + len]);
                derive(&mut |dy| dy.extend((*start..start + len).map(|i| x[0].tangent(i))));
            }
            Kernel::Step { len } => {
                let part = x[0].step(step, *len);
                y.extend_from_slice(part.value);
                derive(&mut |dy| dy.extend((0..*len).map(|i| part.tangent(i))));
            }
            Kernel::Pick(sources) => {
                y.extend(sources.iter().map(|source| match source {
                    Source::Operand(operand, index) => x[*operand].value[*index],
                    Source::Number(number) => *number,
                }));
                derive(&mut |dy| {
                    dy.extend(sources.iter().map(|source| match source {
                        Source::Operand(operand, index) => x[*operand].tangent(*index),
                        Source::Number(_) => 0.0,
                    }));
                });
            }
            Kernel::Gather { outer, length, inner, outside } => {
                for row in 0..*outer {
                    for &index in x[1].value {
                        let place = place(index, *length);
                        for column in 0..*inner {
                            let from = place.map(|place| (row * length + place) * inner + column);
                            y.push(from.map_or(*outside, |from| x[0].value[from]));
                            derive(&mut |dy| dy.push(from.map_or(0.0, |from| x[0].tangent(from))));
                        }
                    }
                }
            }
            Kernel::Take { outer, length, places, inner, outside } => {
                for (at, &index) in x[1].value[..outer * places * inner].iter().enumerate() {
                    let (row, column) = (at / (places * inner), at % inner);
                    let from = place(index, *length);
                    let from = from.map(|place| (row * length + place) * inner + column);
                    y.push(from.map_or(*outside, |from| x[0].value[from]));
                    derive(&mut |dy| dy.push(from.map_or(0.0, |from| x[0].tangent(from))));
                }
            }
            Kernel::Map(row, elem) => {
                for i in 0..x[0].value.len() {
                    let (operands, value) = evaluate(row, *elem, x, i);
                    y.push(value);
                    derive(&mut |dy| dy.push(tangent(row, x, i, &operands, value)));
                }
            }
            Kernel::Bypass => {
                y.extend_from_slice(x[0].value);
                derive(&mut |dy| dy.extend((0..x[1].value.len()).map(|i| x[1].tangent(i))));
            }
            Kernel::Shift => {
                let moved = |i: usize| match (x[1].value[i], x[2].value[i]) {
                    // Infinite, but not moved.
                    (now, base) if now == base => 0.0,
                    (now, base) => now - base,
                };
                y.extend(x[0].value.iter().enumerate().map(|(i, value)| value + moved(i)));
            }
            Kernel::MatMul { batch, rows, inner, columns, elem } => {
                let sizes = [*batch, *rows, *inner, *columns];
                y.resize(batch * rows * columns, 0.0);
                let wrapping = |y: f64, a: f64, b: f64| {
                    f64::from((y as i32).wrapping_add((a as i32).wrapping_mul(b as i32)))
                };
                let is_integer = *elem == Elem::I32;
                let add_product = if is_integer { wrapping } else { |y, a, b| y + a * b };
                matmul(sizes, x[0].value, x[1].value, y, add_product);
                derive(&mut |dy| {
                    dy.resize(batch * rows * columns, 0.0);
                    if let Some(da) = x[0].tangent {
                        matmul(sizes, da, x[1].value, dy, |y, a, b| y + product(a, b));
                    }
                    if let Some(db) = x[1].tangent {
                        matmul(sizes, x[0].value, db, dy, |y, a, b| y + product(a, b));
                    }
                });
            }
            Kernel::Reduce { reduction, elem, order, size, len } => {
                for i in 0..*len {
                    let group = &order[i * size..(i + 1) * size];
                    let value = reduce(*reduction, *elem, group, x[0].value);
                    y.push(value);
                    derive(&mut |dy| dy.push(reduce_tangent(*reduction, group, x[0], value)));
                }
            }
        }
    }

    /// Adds to a digest what was decided: while it stays, the result depends smoothly on operands.
    pub(super) fn digest(&self, x: &[View], y: &[f64], digest: &mut u64) {
        use Pointwise::{Abs, Clamp, Max, Min, Relu};
        let mut see = |number: f64| {
            // Both zeros are one.
            let bits = (number + 0.0).to_bits();
            *digest = (*digest ^ bits).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
        };
        match self {
            Kernel::Map(row, _) if row.is_decision() => y.iter().for_each(|y| see(*y)),
            Kernel::Map(row, elem) if matches!(row.op, Abs | Clamp | Max | Min | Relu) => {
                for (i, &value) in y.iter().enumerate() {
                    let (operands, _) = evaluate(row, *elem, x, i);
                    (row.partials)(&operands[..row.arity], value).into_iter().for_each(&mut see);
                }
            }
            Kernel::Reduce { reduction: Reduction::ArgMax, .. } => y.iter().for_each(|y| see(*y)),
            Kernel::Reduce { reduction: Reduction::Max | Reduction::Min, order, size, .. } => {
                for (i, value) in y.iter().enumerate() {
                    let group = &order[i * size..(i + 1) * size];
                    let ties = group.iter().enumerate().filter(|(_, j)| x[0].value[**j] == *value);
                    ties.for_each(|(position, _)| see(position as f64 + 1.0));
                    see(0.0);
                }
            }
            Kernel::Given { .. }
            | Kernel::Numbers(_)
            | Kernel::TimeIndex
            | Kernel::Copy { .. }
            | Kernel::Step { .. }
            | Kernel::Pick(_)
            | Kernel::Gather { .. }
            | Kernel::Take { .. }
            | Kernel::Map(..)
            | Kernel::Bypass
            | Kernel::Shift
            | Kernel::MatMul { .. }
            | Kernel::Reduce { .. } => {}
        }
    }
}

impl View<'_> {
    fn tangent(&self, index: usize) -> f64 {
        self.tangent.map_or(0.0, |tangent| tangent[index])
    }
}

/// The place that an index of so many means, counted from the front or from the end.
fn place(index: f64, length: usize) -> Option<usize> {
    let from_front = if index < 0.0 { length as f64 } else { 0.0 } + index;
    (from_front >= 0.0 && from_front < length as f64).then_some(from_front as usize)
}

fn evaluate(row: &Row, elem: Elem, x: &[View], index: usize) -> ([f64; 3], f64) {
    let mut operands = [0.0; 3];
    for (operand, x) in operands.iter_mut().zip(x) {
        *operand = x.value[index];
    }
    (operands, row.evaluate(elem, &operands[..row.arity]))
}

fn tangent(row: &Row, x: &[View], index: usize, operands: &[f64; 3], value: f64) -> f64 {
    if x.iter().all(|x| x.tangent(index) == 0.0) {
        return 0.0;
    }
    let partials = (row.partials)(&operands[..row.arity], value);
    partials.iter().zip(x).map(|(partial, x)| product(*partial, x.tangent(index))).sum()
}

/// A partial derivative times a tangent. What does not move adds nothing, however steep, and nothing
/// comes through a branch not taken: zero is zero, even times infinity or NaN.
fn product(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

/// Adds the products to `y`.
fn matmul(
    sizes: [usize; 4],
    a: &[f64],
    b: &[f64],
    y: &mut [f64],
    add_product: fn(f64, f64, f64) -> f64,
) {
    let [batch, rows, inner, columns] = sizes;
    for row in 0..batch * rows {
        let y = &mut y[row * columns..(row + 1) * columns];
        for k in 0..inner {
            let a = a[row * inner + k];
            let start = (row / rows * inner + k) * columns;
            for (y, b) in y.iter_mut().zip(&b[start..start + columns]) {
                *y = add_product(*y, a, *b);
            }
        }
    }
}

fn reduce(reduction: Reduction, elem: Elem, group: &[usize], x: &[f64]) -> f64 {
    let numbers = group.iter().map(|index| x[*index]);
    let fold = |op: Pointwise, start: f64| {
        numbers.clone().fold(start, |y, x| op.row().evaluate(elem, &[y, x]))
    };
    match reduction {
        Reduction::Sum => fold(Pointwise::Add, 0.0),
        Reduction::Prod => fold(Pointwise::Mul, 1.0),
        Reduction::Max => fold(Pointwise::Max, f64::NEG_INFINITY),
        Reduction::Min => fold(Pointwise::Min, f64::INFINITY),
        Reduction::ArgMax => {
            let largest = fold(Pointwise::Max, f64::NEG_INFINITY);
            let is_largest = |x: f64| x == largest || x.is_nan();
            numbers.clone().position(is_largest).unwrap_or(0) as f64
        }
    }
}

fn reduce_tangent(reduction: Reduction, group: &[usize], x: View, y: f64) -> f64 {
    let tangents = group.iter().map(|index| x.tangent(*index));
    match reduction {
        Reduction::Sum => tangents.sum(),
        Reduction::Max | Reduction::Min => {
            let ties: Vec<f64> = group
                .iter()
                .filter(|index| x.value[**index] == y)
                .map(|index| x.tangent(*index))
                .collect();
            ties.iter().sum::<f64>() / ties.len().max(1) as f64
        }
        Reduction::Prod => {
            // Each tangent times all other factors: those after it by one walk from the end, those
            // before it by another from the start.
            let mut after = vec![1.0; group.len() + 1];
            for (position, index) in group.iter().enumerate().rev() {
                after[position] = after[position + 1] * x.value[*index];
            }
            let mut before = 1.0;
            let mut sum = 0.0;
            for ((index, tangent), after) in group.iter().zip(tangents).zip(&after[1..]) {
                sum += product(before * after, tangent);
                before *= x.value[*index];
            }
            sum
        }
        Reduction::ArgMax => 0.0,
    }
}

/// The number of rows before an axis, its length, the number of elements after it.
pub(crate) fn around(dims: &[usize], axis: usize) -> (usize, usize, usize) {
    (dims[..axis].iter().product(), dims[axis], dims[axis + 1..].iter().product())
}

pub(crate) fn row_major(dims: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis] as isize;
    }
    strides
}

/// The places, in row-major order of `dims`, of elements `strides` apart.
pub(crate) fn strided(dims: &[usize], strides: &[isize], start: isize) -> Vec<usize> {
    let mut places = vec![start];
    for (&dim, &stride) in dims.iter().zip(strides) {
        let line = |place: isize| (0..dim as isize).map(move |index| place + index * stride);
        places = places.into_iter().flat_map(line).collect();
    }
    places.into_iter().map(|place| place as usize).collect()
}
