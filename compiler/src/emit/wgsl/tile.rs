//! Which points share what they read, so that one read serves several.

use std::collections::BTreeSet;

use crate::graph::{Dim, Elem};
use crate::kernel::{Affine, BufferId, Inst, Kernel, Program, Stage, Val};

/// An index of a stage without recurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Index {
    Time,
    Axis(usize),
}

/// A matrix product: some indices belong to the one factor, the others to the other one. An
/// invocation computes a tile of it. The invocations of a workgroup differ in what is read of one
/// factor and share what is read of the other one.
#[derive(Debug)]
pub(super) struct Product {
    pub shared: Side,
    pub own: Side,
}

/// The indices of a factor, outermost first.
#[derive(Debug)]
pub(super) struct Side {
    pub indices: Vec<Index>,
    pub extents: Vec<Dim>,
    /// How many points of it an invocation computes.
    pub tile: i64,
}

/// Invocations of a workgroup that computes a product.
pub(super) const LANES: i64 = 64;

/// A product of fewer points is not worth a tile.
const FEW: i64 = 512;

impl Side {
    pub fn extent(&self) -> Dim {
        Dim::product(&self.extents)
    }

    /// How many tiles cover it, each as many points as are given, if that is fixed.
    pub fn tiles(&self, points: i64) -> Option<i64> {
        Some(self.extent().as_const()?.div_euclid(points) + i64::from(!self.is_whole(points)))
    }

    /// Tiles of as many points cover no others.
    pub fn is_whole(&self, points: i64) -> bool {
        self.extent().as_const().is_some_and(|extent| extent % points == 0)
    }
}

/// The product that a kernel is, if it is worth tiles.
pub(super) fn product(program: &Program, kernel: &Kernel) -> Option<Product> {
    let ([stage], None) = (kernel.stages.as_slice(), kernel.recurrence) else { return None };
    let [_] = stage.loops.as_slice() else { return None };
    let product = stage.contraction_of_floats(program)?;
    let [left, right] = product.map(|(_, at)| indices(stage, at));
    let (left, right) = (left?, right?);
    let time = stage.timed.then(|| program.time.clone()).flatten();
    let time = time.map(|time| (Index::Time, time));
    let axes = stage.axes.iter().enumerate().map(|(axis, dim)| (Index::Axis(axis), dim.clone()));
    let all: Vec<(Index, Dim)> =
        time.into_iter().chain(axes).filter(|(_, extent)| !extent.is_one()).collect();
    if all.iter().any(|(index, _)| left.contains(index) == right.contains(index)) {
        return None;
    }
    let side = |of: &BTreeSet<Index>| {
        let (indices, extents) =
            all.iter().filter(|(index, _)| of.contains(index)).cloned().unzip();
        Side { indices, extents, tile: 1 }
    };
    tiled(side(&left), side(&right))
}

/// Decides which factor is shared, and the sizes of tiles.
fn tiled(left: Side, right: Side) -> Option<Product> {
    if left.indices.is_empty() || right.indices.is_empty() {
        return None;
    }
    let points = &left.extent() * &right.extent();
    if points.as_const().is_some_and(|points| points < FEW) {
        return None;
    }
    let is_wide = |side: &Side| side.extent().as_const().is_some_and(|extent| extent >= LANES);
    let is_narrow = |side: &Side| side.extent().as_const().is_some_and(|extent| extent < LANES);
    let (mut shared, mut own) = match (is_wide(&right), is_narrow(&right)) {
        (true, _) => (left, right),
        (false, true) => (right, left),
        // Both sides open: how many tiles there are is no formula.
        (false, false) if left.extent().as_const().is_none() => return None,
        (false, false) => (left, right),
    };
    let divides = |side: &Side, tiles: &[i64]| tiles.iter().copied().find(|t| side.is_whole(*t));
    shared.tile = divides(&shared, &[4, 5, 3, 2]).unwrap_or(4);
    own.tile = divides(&own, &[4 * LANES, 2 * LANES]).map_or(1, |points| points / LANES);
    let tiles = [shared.tiles(shared.tile), own.tiles(own.tile * LANES)].into_iter().flatten();
    // More workgroups are a grid, of which some have no tile.
    (tiles.product::<i64>() <= 65_535).then_some(Product { shared, own })
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

/// For each value, whether it depends on the indices of each factor.
pub(super) fn differs(stage: &Stage, product: &Product) -> Vec<(bool, bool)> {
    let mut differs: Vec<(bool, bool)> = Vec::with_capacity(stage.insts.len());
    for inst in &stage.insts {
        let of = |index: Index| {
            (product.shared.indices.contains(&index), product.own.indices.contains(&index))
        };
        let operands = match inst {
            Inst::Reduce(index) => vec![stage.loops[*index].value],
            inst => inst.operands(),
        };
        let own = match inst {
            Inst::Time => of(Index::Time),
            Inst::Axis(axis) => of(Index::Axis(*axis)),
            _ => (false, false),
        };
        let operands = operands.iter().map(|val| differs[val.0 as usize]);
        differs.push(operands.fold(own, |sum, of| (sum.0 || of.0, sum.1 || of.1)));
    }
    differs
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

impl Stage {
    /// The factors of a stage's first loop, if it is a product of f32.
    fn contraction_of_floats(&self, program: &Program) -> Option<[(BufferId, &Affine); 2]> {
        let contraction = self.contraction(0)?;
        let factors = [contraction.left, contraction.right];
        factors
            .iter()
            .all(|(buffer, _)| program.buffer(*buffer).elem == Elem::F32)
            .then_some(factors)
    }
}
