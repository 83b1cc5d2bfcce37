//! Windows, convolutions and pools: how many places there are, and how each is written out in operations
//! of the graph.
//!
//! A convolution is a product: what the windows see becomes the columns of a matrix, `[C·K, places]` for
//! each sample, and the weights multiply it from the left, so that the result lies as it is wanted. Its
//! transpose is the product with the transposed weights, whose columns are added up where they overlap.

use super::report;
use super::shape::Rules;
use super::term::{Sliding, TermId};
use super::types::Shape;
use crate::diagnostic::Diagnostic;
use crate::ir::graph::op::Number;
use crate::ir::graph::ops::windows::overlap_add;
use crate::ir::graph::{Builder, Dim, Elem, NodeId, Op, Pointwise, Reduction, Windows};

type Problem = Box<Diagnostic>;

/// What an operation is told of the axes along which it slides.
pub struct Geometry {
    pub axes: Vec<Axis>,
    pub groups: i64,
}

/// What it is told of one of them.
#[derive(Clone, Copy)]
pub struct Axis {
    size: i64,
    stride: i64,
    dilation: i64,
    before: i64,
    after: i64,
}

impl Axis {
    /// The windows along an axis of a tensor.
    fn windows(&self, axis: usize) -> Windows {
        Windows { axis, size: self.size, stride: self.stride, dilation: self.dilation }
    }

    fn padding(&self) -> Dim {
        Dim::constant(self.before + self.after)
    }

    /// From the first element of a window to behind the last.
    fn extent(&self) -> Dim {
        Dim::constant((self.size - 1).saturating_mul(self.dilation).saturating_add(1))
    }

    /// How long the axis is that windows at so many places cover, without the padding.
    fn covered(&self, places: &Dim) -> Dim {
        let steps = &(places - &Dim::one()) * &Dim::constant(self.stride);
        &(&steps + &self.extent()) - &self.padding()
    }
}

/// A number that an operation is given for each axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Attribute {
    Size,
    Stride,
    Pad,
    Dilation,
    /// One for all axes.
    Groups,
}

impl Attribute {
    fn name(self) -> &'static str {
        match self {
            Attribute::Size => "size",
            Attribute::Stride => "stride",
            Attribute::Pad => "pad",
            Attribute::Dilation => "dilation",
            Attribute::Groups => "number of groups",
        }
    }

    /// The least that is possible, and what it is if it is not given.
    pub fn least(self) -> i64 {
        i64::from(self != Attribute::Pad)
    }
}

impl Sliding {
    /// How many operands are tensors; the numbers follow them.
    pub fn tensors(self) -> usize {
        if matches!(self, Sliding::Conv | Sliding::Transposed) { 2 } else { 1 }
    }

    pub fn is_pool(self) -> bool {
        matches!(self, Sliding::Average | Sliding::Maximum)
    }

    /// The numbers that it is given, in their order. A convolution sees the sizes from its weights.
    pub fn attributes(self) -> &'static [Attribute] {
        use Attribute::*;
        match self {
            Sliding::Windows => &[Size, Stride, Pad, Dilation],
            Sliding::Conv | Sliding::Transposed => &[Stride, Pad, Dilation, Groups],
            Sliding::Average | Sliding::Maximum => &[Size, Stride, Pad],
            Sliding::Adaptive | Sliding::Upsample => &[Size],
        }
    }
}

impl Rules<'_> {
    /// The dimensions of windows, a convolution or a pool along the last `count` axes.
    pub fn sliding(
        &self,
        id: TermId,
        op: Sliding,
        count: usize,
        same: bool,
    ) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let weights = match op.tensors() {
            2 => self.weights(id, args[1], count)?,
            _ => None,
        };
        let Some(geometry) = self.geometry(id, op, count, same)? else { return Ok(None) };
        let Some(x) = self.dims(args[0]) else { return Ok(None) };
        let channels = usize::from(op.tensors() == 2);
        let Some(first) = x.len().checked_sub(count + channels) else {
            let expected = match count + channels {
                1 => "at least one axis".to_string(),
                axes => format!("at least {axes} axes"),
            };
            return Err(self.rank(id, args[0], &expected));
        };
        let mut dims = x[..first].to_vec();
        if let Some(weights) = weights {
            dims.push(self.channels(id, op, &x[first], weights, geometry.groups)?);
        }
        for (axis, length) in geometry.axes.iter().zip(&x[first + channels..]) {
            dims.push(match length {
                Some(length) => Some(self.places(id, op, axis, length)?),
                None => None,
            });
        }
        if op == Sliding::Windows {
            dims.extend(geometry.axes.iter().map(|axis| Some(Dim::constant(axis.size))));
        }
        Ok(Some(dims))
    }

    /// The numbers that an operation is given; `None` as long as they are not known.
    pub fn geometry(
        &self,
        id: TermId,
        op: Sliding,
        count: usize,
        same: bool,
    ) -> Result<Option<Geometry>, Problem> {
        let args = &self.terms[id].args;
        let unit = Axis { size: 1, stride: 1, dilation: 1, before: 0, after: 0 };
        let mut geometry = Geometry { axes: vec![unit; count], groups: 1 };
        if op.tensors() == 2 {
            let Some([_, _, sizes @ ..]) = self.weights(id, args[1], count)? else {
                return Ok(None);
            };
            for (axis, size) in geometry.axes.iter_mut().zip(sizes) {
                let Some(size) = size else { return Ok(None) };
                axis.size = self.fixed(args[1], size)?;
            }
        }
        let mut terms = args[op.tensors()..].iter();
        for attribute in op.attributes() {
            if *attribute == Attribute::Groups {
                let Some(groups) = self.attribute(terms.next(), *attribute)? else {
                    return Ok(None);
                };
                geometry.groups = groups;
                continue;
            }
            for axis in &mut geometry.axes {
                let Some(number) = self.attribute(terms.next(), *attribute)? else {
                    return Ok(None);
                };
                match attribute {
                    Attribute::Size => axis.size = number,
                    Attribute::Stride => axis.stride = number,
                    Attribute::Dilation => axis.dilation = number,
                    _ => (axis.before, axis.after) = (number, number),
                }
            }
        }
        if same {
            self.pad_to_same(id, &mut geometry)?;
        }
        self.check_pads(id, op, &geometry)?;
        Ok(Some(geometry))
    }

    /// As many places as there were elements: what is left over of the padding stands behind.
    fn pad_to_same(&self, id: TermId, geometry: &mut Geometry) -> Result<(), Problem> {
        for axis in &mut geometry.axes {
            if axis.stride != 1 {
                let problem = Diagnostic::error("E044", "`pad = same` is for stride 1")
                    .label(self.terms[id].span, format!("the stride is {}", axis.stride))
                    .hint("give the padding as a number");
                return Err(Box::new(problem));
            }
            let all = (axis.size - 1).saturating_mul(axis.dilation);
            (axis.before, axis.after) = (all / 2, all - all / 2);
        }
        Ok(())
    }

    /// No window of a pool sees padding alone: it has no maximum.
    fn check_pads(&self, id: TermId, op: Sliding, geometry: &Geometry) -> Result<(), Problem> {
        match geometry.axes.iter().find(|axis| op.is_pool() && axis.before > axis.size / 2) {
            Some(Axis { size, before, .. }) => Err(Box::new(
                Diagnostic::error("E044", "the padding of a pool is at most half of its window")
                    .label(self.terms[id].span, format!("a window of {size}, a pad of {before}"))
                    .expected(format!("at most {}", size / 2))
                    .found(before.to_string()),
            )),
            None => Ok(()),
        }
    }

    fn attribute(
        &self,
        term: Option<&TermId>,
        attribute: Attribute,
    ) -> Result<Option<i64>, Problem> {
        let Some(term) = term else { return Ok(None) };
        let Some(dim) = self.dim(*term)? else { return Ok(None) };
        let number = self.fixed(*term, &dim)?;
        if number < attribute.least() {
            let problem = Diagnostic::error("E044", format!("a {} of {number}", attribute.name()))
                .label(self.terms[*term].span, format!("this is {number}"))
                .expected(format!("at least {}", attribute.least()))
                .found(number.to_string());
            return Err(Box::new(problem));
        }
        Ok(Some(number))
    }

    /// The number that a dimension must be.
    fn fixed(&self, term: TermId, dim: &Dim) -> Result<i64, Problem> {
        let span = self.terms[term].span;
        dim.as_const().ok_or_else(|| {
            Box::new(report::needs(dim.symbols().next().map_or("", |symbol| symbol), span))
        })
    }

    /// The dimensions of the weights of a convolution.
    fn weights(
        &self,
        id: TermId,
        w: TermId,
        count: usize,
    ) -> Result<Option<&[Option<Dim>]>, Problem> {
        match self.dims(w) {
            Some(dims) if dims.len() != count + 2 => {
                let axes = "two axes for channels and one for each that it slides along";
                let problem = self.rank(id, w, &format!("{} axes", count + 2));
                Err(Box::new(problem.note(axes)))
            }
            dims => Ok(dims),
        }
    }

    /// The channels of the result.
    fn channels(
        &self,
        id: TermId,
        op: Sliding,
        found: &Option<Dim>,
        weights: &[Option<Dim>],
        groups: i64,
    ) -> Result<Option<Dim>, Problem> {
        let groups = Dim::constant(groups);
        let all = |dim: &Option<Dim>| dim.as_ref().map(|dim| dim * &groups);
        let is_conv = op == Sliding::Conv;
        // Those that are divided among the groups, those that the input has, those of the result.
        let (divided, expected, result) = match is_conv {
            true => (&weights[0], all(&weights[1]), weights[0].clone()),
            false => (&weights[0], weights[0].clone(), all(&weights[1])),
        };
        let [x, w] = [self.terms[id].args[0], self.terms[id].args[1]];
        if let (Some(found), Some(expected)) = (found, &expected)
            && found != expected
        {
            let what = match groups.is_one() {
                true => String::new(),
                false => format!(" in {groups} groups"),
            };
            let problem = Diagnostic::error(
                "E041",
                format!("weights for {expected} channels{what}, and {found} channels"),
            );
            let problem = self.labelled(id, problem, &[x, w]);
            let (first, second) =
                if is_conv { ("out", "in / groups") } else { ("in", "out / groups") };
            return Err(Box::new(
                problem
                    .expected(format!(
                        "{expected} channels: the axis before those that it slides along"
                    ))
                    .found(found.to_string())
                    .hint(format!("the weights are [{first}, {second}, …]")),
            ));
        }
        if let Some(divided) = divided
            && divided.exact_div(&groups).is_none()
        {
            let problem =
                Diagnostic::error("E044", format!("{groups} groups of {divided} channels"));
            let problem = self.labelled(id, problem, &[w]);
            return Err(Box::new(problem.expected(format!("a multiple of {groups}"))));
        }
        Ok(result)
    }

    /// How long the axis of the result is.
    fn places(&self, id: TermId, op: Sliding, axis: &Axis, length: &Dim) -> Result<Dim, Problem> {
        let size = Dim::constant(axis.size);
        let padded = length + &axis.padding();
        let places = match op {
            Sliding::Adaptive => return Ok(size),
            Sliding::Upsample => return Ok(length * &size),
            Sliding::Transposed => axis.covered(length),
            _ => match axis.windows(0).places(&padded) {
                Some(places) => places,
                None => {
                    let symbol = length.symbols().next().map_or("", |symbol| symbol);
                    let problem = report::needs(symbol, self.terms[id].span);
                    return Err(Box::new(problem.note(format!(
                        "how often a window with stride {} fits into {length}",
                        axis.stride
                    ))));
                }
            },
        };
        if places.as_const().is_some_and(|places| places < 1) {
            let what = match op {
                Sliding::Transposed => format!("a padding of {} of the result", axis.padding()),
                _ => format!("a window of {} on an axis of {padded}", axis.extent()),
            };
            let problem = Diagnostic::error("E044", what);
            let problem = self.labelled(id, problem, &self.terms[id].args[..op.tensors()]);
            return Err(Box::new(problem.expected("room for one window at least")));
        }
        Ok(places)
    }
}

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
