//! Which points share what they read, so that one read serves several.

use std::collections::BTreeSet;

use super::device_model::{READ, sums};
use super::{Limits, WORD};
use crate::ir::graph::{Dim, Elem};
use crate::ir::kernel::{Affine, BufferId, Inst, Kernel, Program, Stage, Val};

/// An index of a stage without recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Index {
    Time,
    Axis(usize),
}

/// A matrix product: some indices belong to the one factor, the others to the other one. An
/// invocation computes a tile of it.
#[derive(Clone, Debug)]
pub(super) struct Product {
    /// Invocations next to each other mostly have the same points of this side.
    pub shared: Side,
    /// And points next to each other of this one.
    pub own: Side,
    /// What is multiplied: of the shared side and of the own one.
    pub factors: [Val; 2],
}

/// The indices of a factor, outermost first.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub indices: Vec<Index>,
    pub extents: Vec<Dim>,
    /// How many points of it an invocation computes.
    pub tile: i64,
}

/// Invocations of a workgroup that computes a product.
pub(super) const LANES: i64 = 64;

/// The points of a tile on each side, the most first: the larger it is, the less is read for a product.
const TILES: [i64; 3] = [16, 8, 4];

/// A product of fewer points is not worth a tile.
const FEW: i64 = 512;

/// Where a kernel is told how many steps and rows there are only when it runs, they are taken to be so
/// many.
const OPEN: i64 = 4096;

impl Side {
    pub fn extent(&self) -> Dim {
        Dim::product(&self.extents)
    }

    /// How many tiles cover it, if that is fixed.
    pub fn tiles(&self) -> Option<i64> {
        Some(ceil_div(self.extent().as_const()?, self.tile))
    }

    /// Its tiles cover no other points.
    pub fn is_whole(&self) -> bool {
        self.extent().as_const().is_some_and(|extent| extent % self.tile == 0)
    }

    /// Takes tiles of at most so many points, all of about the same size.
    fn set_tile(&mut self, most: i64) {
        let extent = self.extent().as_const().map(|extent| extent.max(1));
        self.tile = extent.map_or(most, |extent| ceil_div(extent, ceil_div(extent, most)));
    }
}

fn ceil_div(count: i64, size: i64) -> i64 {
    (count + size - 1) / size
}

/// The product that a kernel is, if it is worth tiles.
pub(super) fn product(program: &Program, kernel: &Kernel, limits: &Limits) -> Option<Product> {
    let ([stage], None) = (kernel.stages.as_slice(), kernel.recurrence) else { return None };
    let [_] = stage.loops.as_slice() else { return None };
    let [(left, left_at), (right, right_at)] = stage.contraction_of_floats(program)?;
    let (left_indices, right_indices) = (indices(stage, left_at)?, indices(stage, right_at)?);
    let time = stage.timed.then(|| program.time.clone()).flatten();
    let time = time.map(|time| (Index::Time, time));
    let axes = stage.axes.iter().enumerate().map(|(axis, dim)| (Index::Axis(axis), dim.clone()));
    let all: Vec<(Index, Dim)> =
        time.into_iter().chain(axes).filter(|(_, extent)| !extent.is_one()).collect();
    if all.iter().any(|(index, _)| left_indices.contains(index) == right_indices.contains(index)) {
        return None;
    }
    let side = |of: &BTreeSet<Index>| {
        let (indices, extents) =
            all.iter().filter(|(index, _)| of.contains(index)).cloned().unzip();
        Side { indices, extents, tile: 1 }
    };
    let (left_side, right_side) = (side(&left_indices), side(&right_indices));
    let is_fixed = |side: &Side| side.extent().as_const().is_some();
    match (is_fixed(&left_side), is_fixed(&right_side)) {
        (_, true) => tiled([left_side, right_side], [left, right], limits),
        (true, false) => tiled([right_side, left_side], [right, left], limits),
        // How many tiles there are is no formula.
        (false, false) => None,
    }
}

/// Decides the sizes of tiles: large ones read little, small ones leave no part of the device without
/// work.
fn tiled([shared, own]: [Side; 2], factors: [Val; 2], limits: &Limits) -> Option<Product> {
    let points = &shared.extent() * &own.extent();
    let is_small = points.as_const().is_some_and(|points| points < FEW);
    if shared.indices.is_empty() || own.indices.is_empty() || is_small {
        return None;
    }
    let product = Product { shared, own, factors };
    let fitting = TILES.into_iter().filter(|most| most * most <= sums(limits));
    fitting.map(|most| product.with_tiles(most)).min_by_key(|product| product.time(limits))
}

impl Product {
    fn with_tiles(&self, most: i64) -> Product {
        let mut product = self.clone();
        product.shared.set_tile(most);
        product.own.set_tile(most);
        product
    }

    /// How long an iteration takes, in multiplications, where as many workgroups run at once as the
    /// device can.
    fn time(&self, limits: &Limits) -> i64 {
        let [rows, columns] = [self.shared.tile, self.own.tile];
        let tiles = |side: &Side| side.tiles().unwrap_or(OPEN / side.tile);
        let workgroups = ceil_div(tiles(&self.shared) * tiles(&self.own), LANES);
        let rounds = ceil_div(workgroups, i64::from(limits.parallel_workgroups.max(1)));
        rounds * (READ * (rows + columns) + rows * columns)
    }
}

/// The indices that a place depends on; `None` if it depends on computed values.
fn indices(stage: &Stage, at: &Affine) -> Option<BTreeSet<Index>> {
    let mut indices = BTreeSet::new();
    for val in closure(stage, at.terms.iter().map(|(val, _)| *val)) {
        match stage.inst(val) {
            Inst::Time => drop(indices.insert(Index::Time)),
            Inst::Axis(axis) => drop(indices.insert(Index::Axis(*axis))),
            Inst::Reduce(_) | Inst::Load(..) => return None,
            _ => {}
        }
    }
    Some(indices)
}

/// A product within a recurrence: one factor is the same for all lanes of a workgroup, the other one
/// for all rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowProduct {
    /// The number of its loop.
    pub number: usize,
    pub shared: Val,
    pub own: Val,
    /// The shared factor is 0 or 1.
    pub is_binary: bool,
    /// The iterations.
    pub length: i64,
}

/// The products of a stage of a recurrence that several rows can share.
pub(super) fn row_products(program: &Program, kernel: &Kernel, stage: &Stage) -> Vec<RowProduct> {
    let numbers = 0..stage.loops.len();
    numbers.filter_map(|number| row_product(program, kernel, stage, number)).collect()
}

fn row_product(
    program: &Program,
    kernel: &Kernel,
    stage: &Stage,
    number: usize,
) -> Option<RowProduct> {
    let reduce = &stage.loops[number];
    let contraction = stage.contraction(number)?;
    let length = reduce.length(program).as_const()?;
    let varying = reduce.axes.iter().filter(|axis| !axis.is_one()).count();
    if reduce.over_time || varying != 1 || length < 16 {
        return None;
    }
    let Inst::Map(_, args) = stage.inst(reduce.value) else { return None };
    let is_row = |axis: usize| axis < kernel.local_axes;
    let depends = |val: Val, on: &dyn Fn(usize) -> bool| {
        closure(stage, [val]).into_iter().any(|val| match stage.inst(val) {
            Inst::Axis(axis) => on(*axis),
            Inst::Reduce(_) => true,
            _ => false,
        })
    };
    let is_binary = |buffer: BufferId| program.buffer(buffer).binary;
    let found = |shared: Val, own: Val, buffer| {
        let fits = !depends(shared, &|axis| !is_row(axis)) && !depends(own, &is_row);
        let is_binary = is_binary(buffer);
        fits.then_some(RowProduct { number, shared, own, is_binary, length })
    };
    let [left, right] = args[..] else { return None };
    found(left, right, contraction.left.0).or_else(|| found(right, left, contraction.right.0))
}

/// Values and all that they are computed from, operands first.
pub(super) fn closure(stage: &Stage, vals: impl IntoIterator<Item = Val>) -> BTreeSet<Val> {
    let mut open: Vec<Val> = vals.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(val) = open.pop() {
        if seen.insert(val) {
            open.extend(stage.inst(val).operands());
        }
    }
    seen
}

/// A value is the same for all rows of a stage of a recurrence: the first so many axes tell rows apart.
pub(super) fn is_same_for_rows(stage: &Stage, val: Val, local_axes: usize) -> bool {
    closure(stage, [val]).into_iter().all(|val| match stage.inst(val) {
        Inst::Axis(axis) => *axis >= local_axes,
        Inst::Reduce(_) => false,
        _ => true,
    })
}

impl Stage {
    /// The factors of a stage's first loop, if it is a product of f32, with the places they are read from.
    fn contraction_of_floats(&self, program: &Program) -> Option<[(Val, &Affine); 2]> {
        let contraction = self.contraction(0)?;
        let Inst::Map(_, args) = self.inst(self.loops[0].value) else { return None };
        let is_float = |(buffer, _): (BufferId, &Affine)| program.buffer(buffer).elem == Elem::F32;
        let (left, right) = (contraction.left, contraction.right);
        (is_float(left) && is_float(right)).then_some([(args[0], left.1), (args[1], right.1)])
    }
}

impl RowProduct {
    /// The workgroup memory that it takes: a number for each row; or a bit, and one for all rows.
    pub fn bytes(&self, rows: i64) -> i64 {
        WORD.bytes(match self.is_binary {
            true => self.length + self.words(),
            false => self.length * rows,
        })
    }

    /// The words that hold a bit for each iteration.
    pub fn words(&self) -> i64 {
        (self.length + WORD.width() - 1) / WORD.width()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_larger_device_gets_smaller_tiles() {
        let side = |extent| {
            let (indices, extents) = (vec![Index::Axis(0)], vec![Dim::constant(extent)]);
            Side { indices, extents, tile: 1 }
        };
        let tiles = |rows, columns, parallel_workgroups| {
            let limits = Limits { parallel_workgroups, ..Limits::WEBGPU };
            let product = tiled([side(rows), side(columns)], [Val(0), Val(1)], &limits);
            product.map(|product| (product.shared.tile, product.own.tile))
        };
        assert_eq!(tiles(256, 256, 2), Some((16, 16)));
        assert_eq!(tiles(256, 256, 16), Some((8, 8)));
        assert_eq!(tiles(256, 256, 64), Some((4, 4)));
        // Of about the same size each.
        assert_eq!(tiles(4096, 28, 2), Some((16, 14)));
        assert_eq!(tiles(4096, 10, 16), Some((8, 5)));
        assert_eq!(tiles(10, 10, 2), None);
    }
}
