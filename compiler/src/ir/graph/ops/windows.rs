//! Windows that slide along an axis, and their adjoint: what lies on top of each other is added up.
//!
//! The adjoint puts zeros between the places of a window and around them, so that the elements that the
//! window sees at a place can be moved to where they came from, each kind by its own distance: that is a
//! shear. Then it sums over what the window sees. All of this is made of operations that are each other's
//! adjoints, so derivatives of any order follow.

use std::fmt;

use super::{Class, Coordinate, IndexMap, Operation, Reads};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, axis_of, clock, with_axis};
use crate::ir::graph::interpret::{Fault, Kernel, Site, row_major};
use crate::ir::graph::op::{Number, Op, Windows};
use crate::ir::graph::print::line::{Line, Parsed};
use crate::ir::graph::syntax::{dim, named};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Reduction, Type};

pub(super) const NAME: &str = "windows";
pub(super) const SHEAR: &str = "shear";

impl Windows {
    /// From the first element that it sees to the last.
    fn reach(&self) -> i64 {
        self.dilation.saturating_mul(self.size - 1)
    }

    /// At how many places it fits along an axis of this length, 0 or less where it is too long; `None`
    /// where that is no polynomial of the open dimensions.
    pub fn places(&self, length: &Dim) -> Option<Dim> {
        let room = length - &Dim::constant(self.reach().saturating_add(1));
        Some(&room.floor_div(self.stride)? + &Dim::one())
    }
}

impl Operation for Windows {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Windows { axis, size, stride, dilation } = self;
        write!(f, " axis={axis} [{size}, {stride}, {dilation}]")
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        let numbers = [
            ("axis", self.axis as i64),
            ("size", self.size),
            ("stride", self.stride),
            ("dilation", self.dilation),
        ];
        named(NAME, args, numbers.map(|(name, number)| (name, dim(&Dim::constant(number)))))
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let length = axis_of(self.axis, args[0])?;
        if [self.size, self.stride, self.dilation].iter().any(|number| *number < 1) {
            return Err(TypeError::Attribute("a window without size or step".into()));
        }
        let places = self.places(&length).filter(|places| places.as_const().is_none_or(|n| n >= 0));
        let places = places.ok_or_else(|| {
            TypeError::Attribute(format!("a window of {} on an axis of {length}", self.size))
        })?;
        let mut ty = with_axis(args, self.axis, places);
        ty.dims.push(Dim::constant(self.size));
        Ok(ty)
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let mut strides = row_major(site.operand(0));
        strides.push(self.dilation as isize * strides[self.axis]);
        strides[self.axis] *= self.stride as isize;
        Ok(Kernel::strided(site.dims(), &strides, 0))
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let length = b.ty(x[0]).dims[self.axis].clone();
        vec![Some(overlap_add(b, dy, *self, &length))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn reads(&self) -> Reads {
        Reads::Longer
    }

    fn index_map(&self, from: &[Dim]) -> Option<IndexMap> {
        let mut axes = Coordinate::axes(from.len());
        let factors = [(self.axis, self.stride), (from.len(), self.dilation)];
        axes[self.axis].terms = factors.map(|(axis, by)| (axis, Dim::constant(by))).into();
        Some(IndexMap::Affine(axes))
    }

    /// It copies.
    fn is_launched(&self) -> bool {
        true
    }
}

/// The adjoint of windows over an axis of this length: `x[.., l, ..]` is the sum of all `y[.., i, .., k]`
/// with `l = stride · i + dilation · k`.
pub(crate) fn overlap_add(b: &mut Builder, y: NodeId, windows: Windows, length: &Dim) -> NodeId {
    let Windows { axis, stride, dilation, .. } = windows;
    let last = b.ty(y).dims.len() - 1;
    let mut spread = y;
    let mut long = b.ty(y).dims[axis].clone();
    if stride > 1 {
        // Zeros after each place.
        let mut dims = b.ty(y).dims.clone();
        dims.insert(axis + 1, Dim::one());
        spread = b.reshape(spread, &dims);
        spread = pad(b, spread, axis + 1, Dim::zero(), Dim::constant(stride - 1));
        dims.remove(axis + 1);
        long = &long * &Dim::constant(stride);
        dims[axis] = long.clone();
        spread = b.reshape(spread, &dims);
    }
    // Those after the last one may lie behind the end.
    let mut after = length - &long;
    if after.as_const().is_some_and(|after| after < 0) {
        spread = b.push(Op::Slice { axis, start: Dim::zero(), end: length.clone() }, vec![spread]);
        after = Dim::zero();
    }
    let spread = pad(b, spread, axis, Dim::constant(windows.reach()), after);
    let sheared = b.push(Op::Shear { axis, by: -dilation }, vec![spread]);
    b.reduce(Reduction::Sum, sheared, &[last])
}

/// Zeros on both ends of an axis.
pub(crate) fn pad(b: &mut Builder, x: NodeId, axis: usize, before: Dim, after: Dim) -> NodeId {
    match before.is_zero() && after.is_zero() {
        true => x,
        false => b.push(Op::Pad { axis, before, after, value: Number(0.0) }, vec![x]),
    }
}

pub(super) struct Shear {
    pub axis: usize,
    pub by: i64,
}

impl Shear {
    /// How much shorter the axis gets.
    fn lost(&self, from: &[Dim]) -> Dim {
        let last = from.last().cloned().unwrap_or_else(Dim::one);
        &(&last - &Dim::one()) * &Dim::constant(self.by.saturating_abs())
    }

    /// Where the first place of the first index of the last axis comes from.
    fn start(&self, from: &[Dim]) -> Dim {
        if self.by < 0 { self.lost(from) } else { Dim::zero() }
    }
}

impl Operation for Shear {
    fn name(&self) -> &'static str {
        SHEAR
    }

    fn class(&self) -> Class {
        Class::View
    }

    fn attributes(&self, _: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " axis={} [{}]", self.axis, self.by)
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        let numbers = [("axis", self.axis as i64), ("by", self.by)];
        named(SHEAR, args, numbers.map(|(name, number)| (name, dim(&Dim::constant(number)))))
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        let length = axis_of(self.axis, args[0])?;
        let dims = &args[0].dims;
        if self.axis + 1 == dims.len() {
            return Err(TypeError::Attribute("a shear of the last axis along itself".into()));
        }
        let kept = &length - &self.lost(dims);
        if kept.as_const().is_some_and(|kept| kept < 0) {
            return Err(TypeError::Attribute(format!("a shear by {} of {dims:?}", self.by)));
        }
        Ok(Type::new(args[0].elem, with_axis(args, self.axis, kept).dims, clock(args)))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let from = site.operand(0);
        let mut strides = row_major(from);
        let last = strides.len() - 1;
        let start = if self.by < 0 { self.by.saturating_neg() } else { 0 } as isize
            * from[last].saturating_sub(1) as isize
            * strides[self.axis];
        strides[last] += self.by as isize * strides[self.axis];
        Ok(Kernel::strided(site.dims(), &strides, start))
    }

    /// Zeros around it, and back.
    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let lost = self.lost(&b.ty(x[0]).dims);
        let padded = pad(b, dy, self.axis, lost.clone(), lost);
        vec![Some(b.push(Op::Shear { axis: self.axis, by: -self.by }, vec![padded]))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0]]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn index_map(&self, from: &[Dim]) -> Option<IndexMap> {
        let mut axes = Coordinate::axes(from.len());
        axes[self.axis].terms.push((from.len() - 1, Dim::constant(self.by)));
        axes[self.axis].constant = self.start(from);
        Some(IndexMap::Affine(axes))
    }

    /// It copies.
    fn is_launched(&self) -> bool {
        true
    }
}

pub(super) fn read(line: &mut Line) -> Parsed<Op> {
    let axis = line.axis()?;
    let [size, stride, dilation] = line.numbers()?;
    Ok(Op::Windows(Windows { axis, size, stride, dilation }))
}

pub(super) fn read_shear(line: &mut Line) -> Parsed<Op> {
    let axis = line.axis()?;
    let [by] = line.numbers()?;
    Ok(Op::Shear { axis, by })
}
