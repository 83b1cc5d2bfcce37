//! Products whose columns or terms are found along several axes that do not follow each other in memory, as those of
//! convolutions: panels of the right operand are gathered, and multiplied before they leave the cache.

use std::cell::RefCell;

use super::elements::Elements;
use super::product::{Axes, Axis, for_each, merge};
use super::rows::{Left, Rows, Sizes, Target, columns_of_panels, multiply_panel};

/// `out[.., m, n] (+)= Σ_k left[.., m, k] · right[.., k, n]`, where k and n are places on several axes.
pub(super) struct Gathered {
    rows: Axis,
    /// Columns that follow each other in the result: where they are in the right operand.
    columns: Places,
    /// Where terms are in the right operand, and how far the next one is in the left operand.
    terms: Places,
    left_term: isize,
    outer: Axes,
    outer_terms: Axes,
}

/// Places in memory.
struct Places {
    places: Vec<isize>,
    /// So many follow each other: all such runs are as long.
    run: usize,
}

/// Terms that are multiplied at once: with a panel's columns they stay in the nearest caches.
const TERMS: usize = 512;
/// A table of more places would take as much memory as an operand; further axes are gone through one by one.
const MOST_PLACES: isize = 1 << 20;
/// Runs of so many elements are copied at once.
const LONG: usize = 8;

thread_local! {
    /// A panel, and bits of the left operand as numbers.
    static ROOM: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

impl Gathered {
    /// If there are rows and columns, and a gathering of terms or columns saves steps. The result is row-major over
    /// `axes`.
    pub fn new(axes: &Axes, loops: &Axes) -> Option<Gathered> {
        let (mut outer, mut outer_terms) = (merge(axes.clone()), merge(loops.clone()));
        let is_column = |axis: &Axis| axis.left == 0 && axis.right != 0;
        let columns = split_suffix(&mut outer, |axis, inner: Option<&Axis>| {
            is_column(axis)
                && inner.map_or(axis.out == 1, |inner| axis.out == inner.out * inner.extent)
        });
        let terms = split_suffix(&mut outer_terms, |axis, inner: Option<&Axis>| {
            axis.right != 0 && inner.is_none_or(|inner| axis.left == inner.left * inner.extent)
        });
        if columns.len() < 2 && terms.len() < 2 {
            return None;
        }
        let is_row = |(_, axis): &(usize, &Axis)| axis.right == 0 && axis.left != 0;
        let rows = outer.iter().enumerate().filter(is_row).max_by_key(|(_, axis)| axis.extent);
        let rows = outer.remove(rows?.0);
        let left_term = terms.last()?.left;
        let (columns, terms) = (Places::new(&columns)?, Places::new(&terms)?);
        Some(Gathered { rows, columns, terms, left_term, outer, outer_terms })
    }

    /// # Safety
    /// The operands and the result have elements at all indices.
    pub unsafe fn run(&self, out: *mut f32, left: Elements, right: Elements, accumulate: bool) {
        ROOM.with_borrow_mut(|room| {
            for_each(&self.outer, |l, r, o| {
                let mut accumulate = accumulate;
                for_each(&self.outer_terms, |dl, dr, _| {
                    let sides = (left.offset(l + dl), right.offset(r + dr));
                    // SAFETY: by the contract.
                    unsafe { self.multiply(out.wrapping_offset(o), sides, accumulate, room) }
                    accumulate = true;
                });
            });
        });
    }

    /// # Safety
    /// As for [`Gathered::run`].
    unsafe fn multiply(
        &self,
        out: *mut f32,
        (left, right): (Elements, Elements),
        accumulate: bool,
        [panel, unpacked]: &mut [Vec<f32>; 2],
    ) {
        let (rows, terms) = (self.rows, self.terms.len());
        // SAFETY: by the contract, for all.
        unsafe {
            let lines = ((rows.extent, rows.left), (terms as isize, self.left_term));
            let (start, [row, column]) = left.floats(lines.0, lines.1, unpacked);
            let width = columns_of_panels();
            panel.resize(TERMS.min(terms) * width, 0.0);
            for first_term in (0..terms).step_by(TERMS) {
                let depth = TERMS.min(terms - first_term);
                let left = Left {
                    start: start.wrapping_offset(first_term as isize * column),
                    row,
                    column,
                };
                let accumulate = accumulate || first_term > 0;
                for first in (0..self.columns.len()).step_by(width) {
                    let columns = width.min(self.columns.len() - first);
                    let terms = &self.terms.places[first_term..first_term + depth];
                    for (term, line) in terms.iter().zip(panel.chunks_exact_mut(width)) {
                        let term = right.offset(*term);
                        self.columns.gather(term, first, &mut line[..columns]);
                    }
                    let out =
                        Target { start: out.wrapping_add(first), stride: rows.out, accumulate };
                    let right = Rows { start: panel.as_ptr(), stride: width as isize };
                    let sizes = Sizes { rows: rows.extent as usize, columns, depth };
                    multiply_panel(out, left, right, sizes);
                }
            }
        }
    }
}

/// The innermost axes, each of which fits before the one inside of it, with at most so many places where they are several.
fn split_suffix(axes: &mut Axes, fits: impl Fn(&Axis, Option<&Axis>) -> bool) -> Axes {
    let (mut first, mut places) = (axes.len(), 1);
    while first > 0 && fits(&axes[first - 1], axes.get(first)) {
        places *= axes[first - 1].extent;
        if first < axes.len() && places > MOST_PLACES {
            break;
        }
        first -= 1;
    }
    axes.drain(first..).collect()
}

impl Places {
    /// In the right operand; `None` of no axis.
    fn new(axes: &Axes) -> Option<Places> {
        let last = axes.last()?;
        let mut places = Vec::new();
        for_each(axes, |_, right, _| places.push(right));
        Some(Places { places, run: if last.right == 1 { last.extent as usize } else { 1 } })
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    /// Copies elements from the place of this number on.
    ///
    /// # Safety
    /// They are there.
    unsafe fn gather(&self, from: Elements, first: usize, to: &mut [f32]) {
        let places = &self.places[first..first + to.len()];
        // SAFETY: by the contract, for all.
        unsafe {
            match from {
                Elements::Floats(start) if self.run >= LONG => {
                    let mut done = 0;
                    while done < to.len() {
                        let count = self.run - (first + done) % self.run;
                        let run = &mut to[done..];
                        let run = &mut run[..count.min(places.len() - done)];
                        let start = start.wrapping_offset(places[done]);
                        run.copy_from_slice(std::slice::from_raw_parts(start, run.len()));
                        done += run.len();
                    }
                }
                Elements::Floats(start) => {
                    for (element, place) in to.iter_mut().zip(places) {
                        *element = *start.wrapping_offset(*place);
                    }
                }
                bits => to.iter_mut().zip(places).for_each(|(element, place)| {
                    *element = bits.at(*place);
                }),
            }
        }
    }
}
