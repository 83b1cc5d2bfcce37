//! Axes of matrix products that an operand has as several: a sum over 72 terms of what is `[8, 3, 3]` there becomes one
//! over 8, 3 and 3. Then operands are found by an affine index, as products need them. So a convolution reads what its
//! windows see where it is, and no unfolded matrix is stored.

use std::collections::BTreeMap;

use crate::ir::graph::Dim;
use crate::ir::kernel::{Affine, Inst, Stage, Store, Val};

/// An axis of a stage, or of one of its loops.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Axis {
    Stage(usize),
    Loop(usize, usize),
}

/// Whole numbers of so many steps of an axis.
type Part = (Axis, i64);

/// The stage with such axes taken apart, and into how many each of its axes went; `None` where there is nothing to do.
pub(super) fn split_axes(stage: &Stage) -> Option<(Stage, Vec<usize>)> {
    let is_product = (0..stage.loops.len()).any(|index| stage.contraction(index).is_some());
    let parts = parts(stage);
    let weights = if is_product { weights(stage, &parts) } else { BTreeMap::new() };
    if weights.is_empty() {
        return None;
    }
    let counts = (0..stage.axes.len())
        .map(|axis| weights.get(&Axis::Stage(axis)).map_or(1, |weights| weights.len()));
    let counts = counts.collect();
    Some((Rebuild::new(stage, parts, weights).finish(), counts))
}

/// For each value the whole number of steps that it is.
fn parts(stage: &Stage) -> Vec<Option<Part>> {
    let mut parts: Vec<Option<Part>> = Vec::new();
    for inst in &stage.insts {
        let part = if let Inst::Axis(axis) = inst {
            Some((Axis::Stage(*axis), 1))
        } else if let Inst::LoopAxis(index, axis) = inst {
            Some((Axis::Loop(*index, *axis), 1))
        } else if let Inst::Quotient(arg, by) = inst {
            step(&parts, *arg, by)
        } else {
            None
        };
        parts.push(part);
    }
    parts
}

/// A part that is divided.
fn step(parts: &[Option<Part>], arg: Val, by: &Dim) -> Option<Part> {
    let (axis, weight) = parts[arg.0 as usize]?;
    Some((axis, weight.checked_mul(by.as_const()?)?))
}

/// How many steps of each axis its new axes take at once, the outermost first: for those that are divided evenly.
fn weights(stage: &Stage, parts: &[Option<Part>]) -> BTreeMap<Axis, Vec<i64>> {
    let mut weights: BTreeMap<Axis, Vec<i64>> = BTreeMap::new();
    for inst in &stage.insts {
        if let Inst::Quotient(arg, by) | Inst::Remainder(arg, by) = inst
            && let Some((axis, weight)) = step(parts, *arg, by)
        {
            weights.entry(axis).or_insert_with(|| vec![1]).push(weight);
        }
    }
    weights.retain(|axis, weights| {
        weights.sort_unstable_by(|a, b| b.cmp(a));
        weights.dedup();
        let is_even = weights.windows(2).all(|pair| pair[0] % pair[1] == 0);
        is_even
            && weights.len() > 1
            && extent(stage, *axis).exact_div(&Dim::constant(weights[0])).is_some()
    });
    weights
}

fn extent(stage: &Stage, axis: Axis) -> &Dim {
    match axis {
        Axis::Stage(axis) => &stage.axes[axis],
        Axis::Loop(index, axis) => &stage.loops[index].axes[axis],
    }
}

/// The stage in the making.
struct Rebuild<'s> {
    old: &'s Stage,
    parts: Vec<Option<Part>>,
    weights: BTreeMap<Axis, Vec<i64>>,
    /// The loop in which a value of the old stage is computed, or the body.
    scopes: Vec<Option<usize>>,
    stage: Stage,
    /// Old values in new ones.
    forms: Vec<Affine>,
    /// The new axes of those that are taken apart.
    digits: BTreeMap<Axis, Vec<Val>>,
}

impl<'s> Rebuild<'s> {
    fn new(
        old: &'s Stage,
        parts: Vec<Option<Part>>,
        weights: BTreeMap<Axis, Vec<i64>>,
    ) -> Rebuild<'s> {
        let mut scopes = vec![None; old.insts.len()];
        for (index, reduce) in old.loops.iter().enumerate() {
            reduce.body.iter().for_each(|val| scopes[val.0 as usize] = Some(index));
        }
        let mut stage = Stage { timed: old.timed, loops: old.loops.clone(), ..Stage::default() };
        stage.loops.iter_mut().for_each(|reduce| {
            reduce.body.clear();
            reduce.axes.clear();
        });
        let (forms, digits) = Default::default();
        Rebuild { old, parts, weights, scopes, stage, forms, digits }
    }

    fn finish(mut self) -> Stage {
        for axis in 0..self.old.axes.len() {
            let extents = self.extents(Axis::Stage(axis));
            self.stage.axes.extend(extents);
        }
        for index in 0..self.old.loops.len() {
            for axis in 0..self.old.loops[index].axes.len() {
                let extents = self.extents(Axis::Loop(index, axis));
                self.stage.loops[index].axes.extend(extents);
            }
        }
        for at in 0..self.old.insts.len() {
            let form = self.form(at);
            self.forms.push(form);
        }
        let old = self.old;
        for (reduce, own) in old.loops.iter().enumerate() {
            self.stage.loops[reduce].value = self.val(own.value, Some(reduce));
        }
        self.stage.stores = self.stores(&old.stores);
        self.stage.sums = self.stores(&old.sums);
        self.stage
    }

    /// The extents of the axes that an axis becomes.
    fn extents(&self, axis: Axis) -> Vec<Dim> {
        let whole = extent(self.old, axis);
        let Some(weights) = self.weights.get(&axis) else { return vec![whole.clone()] };
        let outermost = whole.exact_div(&Dim::constant(weights[0])).unwrap_or_else(Dim::one);
        let inner = weights.windows(2).map(|pair| Dim::constant(pair[0] / pair[1]));
        std::iter::once(outermost).chain(inner).collect()
    }

    /// An old value in new ones; what computes it is added to the new stage where it is no index.
    fn form(&mut self, at: usize) -> Affine {
        let (old, scope) = (self.old, self.scopes[at]);
        let inst = match &old.insts[at] {
            Inst::Axis(axis) => return self.whole(Axis::Stage(*axis), at),
            Inst::LoopAxis(index, axis) => return self.whole(Axis::Loop(*index, *axis), at),
            Inst::Affine(affine) => return self.compose(affine),
            Inst::Quotient(arg, by) => match self.part(*arg, by, true) {
                Some(form) => return form,
                None => Inst::Quotient(self.val(*arg, scope), by.clone()),
            },
            Inst::Remainder(arg, by) => match self.part(*arg, by, false) {
                Some(form) => return form,
                None => Inst::Remainder(self.val(*arg, scope), by.clone()),
            },
            Inst::Load(buffer, place) => Inst::Load(*buffer, self.compose(place)),
            Inst::Map(op, args) => {
                Inst::Map(*op, args.iter().map(|arg| self.val(*arg, scope)).collect())
            }
            Inst::F32(_)
            | Inst::I32(_)
            | Inst::Bool(_)
            | Inst::Dim(_)
            | Inst::Time
            | Inst::LoopTime(_)
            | Inst::Reduce(_) => old.insts[at].clone(),
        };
        one(self.push(inst, scope, at))
    }

    /// The index on an axis, in those that it becomes.
    fn whole(&mut self, axis: Axis, at: usize) -> Affine {
        let scope = self.scopes[at];
        let before: usize = match axis {
            Axis::Stage(axis) => (0..axis).map(|axis| self.count(Axis::Stage(axis))).sum(),
            Axis::Loop(index, axis) => {
                (0..axis).map(|axis| self.count(Axis::Loop(index, axis))).sum()
            }
        };
        let digits = (before..before + self.count(axis)).map(|digit| match axis {
            Axis::Stage(_) => Inst::Axis(digit),
            Axis::Loop(index, _) => Inst::LoopAxis(index, digit),
        });
        let digits: Vec<Inst> = digits.collect();
        let digits = digits.into_iter().map(|digit| self.push(digit, scope, at)).collect();
        self.digits.insert(axis, digits);
        self.between((axis, 1), i64::MAX)
    }

    fn count(&self, axis: Axis) -> usize {
        self.weights.get(&axis).map_or(1, Vec::len)
    }

    /// What is left of an axis by a division of a part of it.
    fn part(&self, arg: Val, by: &Dim, is_quotient: bool) -> Option<Affine> {
        let (axis, weight) = self.parts[arg.0 as usize]?;
        let (_, divided) = step(&self.parts, arg, by)?;
        self.weights.get(&axis)?;
        Some(match is_quotient {
            true => self.between((axis, divided), i64::MAX),
            false => self.between((axis, weight), divided),
        })
    }

    /// The new axes that take at least so many steps of their old one at once, and fewer than `end`.
    fn between(&self, (axis, weight): Part, end: i64) -> Affine {
        let (one, digits) = ([1], &self.digits[&axis]);
        let weights = self.weights.get(&axis).map_or(&one[..], Vec::as_slice);
        let digits = digits.iter().zip(weights).filter(|(_, own)| (weight..end).contains(*own));
        let terms = digits.map(|(digit, own)| (*digit, Dim::constant(own / weight)));
        Affine { terms: terms.collect(), constant: Dim::zero() }
    }

    /// An affine expression of old values.
    fn compose(&self, Affine { terms, constant }: &Affine) -> Affine {
        let (mut sum, mut constant) = (BTreeMap::<Val, Dim>::new(), constant.clone());
        for (val, by) in terms {
            let form = &self.forms[val.0 as usize];
            constant = &constant + &(&form.constant * by);
            for (val, inner) in &form.terms {
                let factor = sum.entry(*val).or_insert_with(Dim::zero);
                *factor = &*factor + &(inner * by);
            }
        }
        sum.retain(|_, factor| !factor.is_zero());
        Affine { terms: sum.into_iter().collect(), constant }
    }

    /// The new value for an old one, computed where it is asked for if it is an index that nothing has yet.
    fn val(&mut self, old: Val, scope: Option<usize>) -> Val {
        let at = old.0 as usize;
        match self.forms[at].terms.as_slice() {
            [(val, by)] if by.is_one() && self.forms[at].constant.is_zero() => *val,
            _ => {
                let val =
                    self.push(Inst::Affine(self.forms[at].clone()), self.scopes[at].or(scope), at);
                if self.scopes[at] == scope {
                    self.forms[at] = one(val);
                }
                val
            }
        }
    }

    fn stores(&mut self, stores: &[Store]) -> Vec<Store> {
        let store = |store: &Store| {
            let (buffer, at) = (store.buffer, self.compose(&store.at));
            Store { buffer, at, value: self.val(store.value, None) }
        };
        stores.iter().map(store).collect()
    }

    /// Computes a value in the body or in a loop, written where an old one was.
    fn push(&mut self, inst: Inst, scope: Option<usize>, at: usize) -> Val {
        let val = Val(self.stage.insts.len() as u32);
        self.stage.insts.push(inst);
        self.stage.spans.push(self.old.spans.get(at).copied().flatten());
        match scope {
            Some(index) => self.stage.loops[index].body.push(val),
            None => self.stage.body.push(val),
        }
        val
    }
}

fn one(val: Val) -> Affine {
    Affine { terms: vec![(val, Dim::one())], constant: Dim::zero() }
}
