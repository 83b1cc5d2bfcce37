//! How windows, convolutions and pools are written out in operations of the graph.
//!
//! A convolution is a product: what the windows see becomes the columns of a matrix, `[C·K, places]` for
//! each sample, and the weights multiply it from the left, so that the result lies as it is wanted. Its
//! transpose is the product with the transposed weights, whose columns are added up where they overlap.

use super::Sliding;
use super::geometry::{Axis, Geometry};
use crate::ir::graph::ops::windows::overlap_add;
use crate::ir::graph::{Builder, Dim, Elem, NodeId, Number, Op, Pointwise, Reduction};

/// Writes windows, a convolution or a pool out in operations of the graph.
pub struct Writer<'b, 'g> {
    pub b: &'b mut Builder<'g>,
    pub geometry: Geometry,
    /// The dimensions of the result.
    pub result: Vec<Dim>,
}

impl Writer<'_, '_> {
    /// The result of an operation of checked operands.
    pub fn write(&mut self, op: Sliding, args: &[NodeId]) -> NodeId {
        let x = args[0];
        match op {
            Sliding::Windows => self.windows(x, 0.0),
            Sliding::Conv => self.conv(x, args[1]),
            Sliding::Transposed => self.transposed(x, args[1]),
            Sliding::Average => self.average(x),
            Sliding::Maximum => self.maximum(x),
            Sliding::Adaptive => self.adaptive(x),
            Sliding::Upsample => self.upsample(x),
        }
    }

    fn dims(&self, x: NodeId) -> Vec<Dim> {
        self.b.ty(x).dims.clone()
    }

    /// The number of axes along which it slides.
    fn count(&self) -> usize {
        self.geometry.axes.len()
    }

    /// What the windows see, `[.., places, sizes]`, with this around it.
    fn windows(&mut self, x: NodeId, around: f64) -> NodeId {
        let first = self.dims(x).len() - self.count();
        let mut seen = x;
        for (at, axis) in (first..).zip(&self.geometry.axes) {
            let [before, after] = [axis.before, axis.after].map(Dim::constant);
            if !before.is_zero() || !after.is_zero() {
                let op = Op::Pad { axis: at, before, after, value: Number(around) };
                seen = self.b.push(op, vec![seen]);
            }
        }
        if self.geometry.axes.iter().all(|axis| axis.size == 1 && axis.stride == 1) {
            let mut dims = self.dims(seen);
            dims.resize(dims.len() + self.count(), Dim::one());
            return self.b.reshape(seen, &dims);
        }
        for (at, axis) in (first..).zip(&self.geometry.axes) {
            seen = self.b.push(Op::Windows(axis.windows(at)), vec![seen]);
        }
        seen
    }

    /// Exchanges the last axes, as many as it slides along, with as many before them.
    fn exchanged(&mut self, x: NodeId) -> NodeId {
        let (rank, count) = (self.dims(x).len(), self.count());
        let [start, middle] = [rank - 2 * count, rank - count];
        let order = (0..start).chain(middle..rank).chain(start..middle);
        self.b.push(Op::Permute(order.collect()), vec![x])
    }

    /// Weights `[groups · M, N, ..]` as matrices, one for each group, for every sample.
    fn matrices(&mut self, w: NodeId, samples: &[Dim]) -> NodeId {
        let dims = self.dims(w);
        let groups = Dim::constant(self.geometry.groups);
        let rows = dims[0].exact_div(&groups).unwrap_or_else(Dim::one);
        let one = [groups, rows, Dim::product(&dims[1..])];
        let w = self.b.reshape(w, &one[usize::from(self.geometry.groups == 1)..]);
        let all = [samples, self.b.ty(w).dims.as_slice()].concat();
        self.b.broadcast(w, &all)
    }

    /// `[.., groups, rows / groups, columns]`, the groups only where there are several.
    fn grouped(&mut self, x: NodeId, samples: &[Dim], rows: &Dim, columns: Dim) -> NodeId {
        let groups = Dim::constant(self.geometry.groups);
        let rows = rows.exact_div(&groups).unwrap_or_else(Dim::one);
        let last = [groups, rows, columns];
        let last = &last[usize::from(self.geometry.groups == 1)..];
        self.b.reshape(x, &[samples, last].concat())
    }

    fn conv(&mut self, x: NodeId, w: NodeId) -> NodeId {
        let seen = self.windows(x, 0.0);
        let columns = self.exchanged(seen);
        // [.., C, sizes, places]
        let dims = self.dims(columns);
        let channels = dims.len() - 2 * self.count() - 1;
        let (samples, places) = (&dims[..channels], channels + 1 + self.count());
        let rows = Dim::product(&dims[channels..places]);
        let columns = self.grouped(columns, samples, &rows, Dim::product(&dims[places..]));
        let w = self.matrices(w, samples);
        let product = self.b.matmul(w, columns);
        self.b.reshape(product, &self.result)
    }

    fn transposed(&mut self, x: NodeId, w: NodeId) -> NodeId {
        let dims = self.dims(x);
        let channels = dims.len() - self.count() - 1;
        let samples = &dims[..channels];
        let columns = Dim::product(&dims[channels + 1..]);
        let x = self.grouped(x, samples, &dims[channels], columns);
        let w = self.matrices(w, samples);
        let w = self.b.transpose(w);
        let product = self.b.matmul(w, x);
        let sizes: Vec<Dim> =
            self.geometry.axes.iter().map(|axis| Dim::constant(axis.size)).collect();
        // [.., C, sizes, places]
        let seen = [&self.result[..=channels], &sizes, &dims[channels + 1..]].concat();
        let seen = self.b.reshape(product, &seen);
        let mut sum = self.exchanged(seen);
        for (at, axis) in self.geometry.axes.iter().enumerate().rev() {
            let at = channels + 1 + at;
            let kept = axis.covered(&self.b.ty(sum).dims[at]);
            let length = &kept + &axis.padding();
            sum = overlap_add(self.b, sum, axis.windows(at), &length);
            if axis.before + axis.after > 0 {
                let start = Dim::constant(axis.before);
                let end = &start + &kept;
                sum = self.b.push(Op::Slice { axis: at, start, end }, vec![sum]);
            }
        }
        sum
    }

    /// The axes of what windows see that are the windows' own.
    fn seen_axes(&self, seen: NodeId) -> Vec<usize> {
        let rank = self.dims(seen).len();
        (rank - self.count()..rank).collect()
    }

    fn average(&mut self, x: NodeId) -> NodeId {
        let seen = self.windows(x, 0.0);
        let axes = self.seen_axes(seen);
        let sum = self.b.reduce(Reduction::Sum, seen, &axes);
        let count = self.geometry.axes.iter().map(|axis| axis.size as f64).product();
        let count = self.b.number(count);
        self.b.div(sum, count)
    }

    /// The first of the greatest has the gradient alone.
    fn maximum(&mut self, x: NodeId) -> NodeId {
        let seen = self.windows(x, f64::NEG_INFINITY);
        let axes = self.seen_axes(seen);
        let maximum = self.b.reduce(Reduction::Max, seen, &axes);
        let last = self.dims(maximum).len();
        let dims = self.dims(seen);
        let line = [&dims[..last], &[Dim::product(&dims[last..])]].concat();
        let seen = self.b.reshape(seen, &line);
        let first = self.b.push(Op::Reduce(Reduction::ArgMax, vec![last]), vec![seen]);
        let is_first = self.one_hot(first, &line);
        let zero = self.b.number(0.0);
        let chosen = self.b.choose(Pointwise::Gt, is_first, zero, seen, zero);
        let chosen = self.b.reduce(Reduction::Sum, chosen, &[last]);
        // bypass(maximum, chosen)
        let [maximum, stopped] = [maximum, chosen].map(|x| self.b.push(Op::Sg, vec![x]));
        let gradient = self.b.sub(chosen, stopped);
        self.b.add(gradient, maximum)
    }

    /// 1 where the index along the last axis is the given one, else 0.
    fn one_hot(&mut self, index: NodeId, dims: &[Dim]) -> NodeId {
        let axis = dims.len() - 1;
        let column = [&dims[..axis], &[Dim::one()]].concat();
        let index = self.b.reshape(index, &column);
        let index = self.b.broadcast(index, dims);
        let place = self.b.push(Op::Iota { axis, dims: dims.to_vec() }, vec![]);
        let is_there = self.b.binary(Pointwise::Eq, index, place);
        self.b.unary(Pointwise::ToF32, is_there)
    }

    /// Where the windows are all alike an average, elsewhere a product for each axis.
    fn adaptive(&mut self, x: NodeId) -> NodeId {
        let first = self.dims(x).len() - self.count();
        let lengths = self.dims(x).split_off(first);
        let alike = self.geometry.axes.iter().zip(&lengths).map(|(axis, length)| {
            let size = length.exact_div(&Dim::constant(axis.size))?.as_const()?;
            Some(Axis { size, stride: size, ..*axis })
        });
        if let Some(axes) = alike.collect() {
            self.geometry.axes = axes;
            return self.average(x);
        }
        let mut mean = x;
        for (at, length) in (first..).zip(&lengths) {
            let places = self.result[at].clone();
            let mut order: Vec<usize> = (0..first + self.count()).collect();
            order.swap(at, first + self.count() - 1);
            mean = self.b.push(Op::Permute(order.clone()), vec![mean]);
            let shares = self.shares(length, &places);
            let mut all = self.dims(mean);
            let last = all.len() - 1;
            all.splice(last - 1.., [length.clone(), places]);
            let shares = self.b.broadcast(shares, &all);
            mean = self.b.matmul(mean, shares);
            mean = self.b.push(Op::Permute(order), vec![mean]);
        }
        mean
    }

    /// `[length, places]`: the part that each element has in the mean at each place. Place i covers the
    /// elements j with ⌊i L / n⌋ <= j < ⌈(i + 1) L / n⌉, which is i L < (j + 1) n and j n < (i + 1) L.
    fn shares(&mut self, length: &Dim, places: &Dim) -> NodeId {
        let dims = vec![length.clone(), places.clone()];
        let [j, i] = [0, 1].map(|axis| {
            let index = self.b.push(Op::Iota { axis, dims: dims.clone() }, vec![]);
            self.b.unary(Pointwise::ToF32, index)
        });
        let [place, element] = [(i, length), (j, places)].map(|(index, by)| {
            let by = self.b.size(by.clone(), Elem::F32);
            let next = self.b.add_number(index, 1.0);
            [index, next].map(|index| self.b.mul(index, by))
        });
        let starts = self.b.binary(Pointwise::Lt, place[0], element[1]);
        let ends = self.b.binary(Pointwise::Lt, element[0], place[1]);
        let is_covered = self.b.binary(Pointwise::And, starts, ends);
        let is_covered = self.b.unary(Pointwise::ToF32, is_covered);
        let count = self.b.reduce(Reduction::Sum, is_covered, &[0]);
        let count = self.b.broadcast(count, &dims);
        self.b.div(is_covered, count)
    }

    /// Each element as often as its axis gets longer.
    fn upsample(&mut self, x: NodeId) -> NodeId {
        let first = self.dims(x).len() - self.count();
        let (mut column, mut repeated) = (self.dims(x), self.dims(x));
        column.truncate(first);
        repeated.truncate(first);
        for (axis, length) in self.geometry.axes.iter().zip(&self.b.ty(x).dims[first..]) {
            column.extend([length.clone(), Dim::one()]);
            repeated.extend([length.clone(), Dim::constant(axis.size)]);
        }
        let column = self.b.reshape(x, &column);
        let repeated = self.b.broadcast(column, &repeated);
        self.b.reshape(repeated, &self.result)
    }
}
