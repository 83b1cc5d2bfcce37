//! A matrix in panels of a few columns, as products read it: the rows of a panel follow each other, so
//! that it takes as little of the nearest cache as there is in it, whatever the rows of the matrix are
//! apart.

use super::memory::{LINE, Memory};
use super::rows::Rows;

/// All panels of a matrix.
pub(super) struct Panels {
    memory: Memory,
    /// Columns of a panel.
    width: usize,
    columns: usize,
    rows: usize,
}

/// A matrix of any form.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    pub start: *const f32,
    pub rows: usize,
    pub columns: usize,
    /// Elements from row to row and from column to column.
    pub row: isize,
    pub column: isize,
}

impl Panels {
    /// `None` if there is no memory. Zeros fill up the last panel.
    ///
    /// # Safety
    /// The matrix has elements at all indices.
    pub unsafe fn new(matrix: Matrix, width: usize) -> Option<Panels> {
        let Matrix { rows, columns, .. } = matrix;
        let room = columns / width * width + stride(columns % width);
        let mut memory = Memory::zeroed(size_of::<f32>() * rows * room)?;
        let mut rest = memory.floats_mut();
        for first in (0..columns).step_by(width) {
            let part = matrix.columns(first, width);
            let (panel, next) = rest.split_at_mut(rows * stride(part.columns));
            // SAFETY: by the contract.
            unsafe { part.copy_to(panel) };
            rest = next;
        }
        Some(Panels { memory, width, columns, rows })
    }

    /// The panel that begins with a column.
    fn at(&self, first: usize) -> Rows {
        let start = self.memory.floats()[first * self.rows..].as_ptr();
        let width = self.width.min(self.columns - first);
        Rows { start, stride: stride(width) as isize }
    }

    /// Without so many rows at the start.
    pub fn without(&self, skipped: usize) -> PanelRows<'_> {
        PanelRows { panels: self, skipped }
    }
}

/// The rows of panels from some on.
#[derive(Clone, Copy)]
pub(super) struct PanelRows<'a> {
    panels: &'a Panels,
    skipped: usize,
}

impl PanelRows<'_> {
    /// Columns of a panel.
    pub fn width(self) -> usize {
        self.panels.width
    }

    /// Of the panel that begins with a column.
    pub fn at(self, first: usize) -> Rows {
        self.panels.at(first).starting_at_row(self.skipped)
    }

    /// Without so many more.
    pub fn without(self, skipped: usize) -> Self {
        PanelRows { skipped: self.skipped + skipped, ..self }
    }
}

/// Room for one panel after the other.
#[derive(Default)]
pub(super) struct Panel(Memory);

impl Panel {
    /// A matrix as one panel, if there is memory for it. It may be one as it is.
    ///
    /// # Safety
    /// The matrix has elements at all indices.
    pub unsafe fn fill(&mut self, matrix: Matrix) -> Option<Rows> {
        let stride = stride(matrix.columns);
        // Its rows follow each other, with nothing between them that may not be read.
        if (matrix.columns, matrix.row, matrix.column) == (stride, stride as isize, 1) {
            return Some(Rows { start: matrix.start, stride: matrix.row });
        }
        let elements = matrix.rows * stride;
        let bytes = size_of::<f32>() * elements;
        if self.0.len() < bytes {
            self.0 = Memory::zeroed(bytes)?;
        }
        // SAFETY: by the contract.
        unsafe { matrix.copy_to(&mut self.0.floats_mut()[..elements]) };
        Some(Rows { start: self.0.floats().as_ptr(), stride: stride as isize })
    }
}

/// From row to row of a panel of so many columns: whole vectors of any machine, from a cache line on.
fn stride(columns: usize) -> usize {
    match columns {
        0 => 0,
        _ => columns.next_power_of_two().max(LINE),
    }
}

impl Matrix {
    /// At most `count` columns from some on.
    pub fn columns(self, first: usize, count: usize) -> Matrix {
        let start = self.start.wrapping_offset(first as isize * self.column);
        Matrix { start, columns: count.min(self.columns - first), ..self }
    }

    /// # Safety
    /// There are elements at all indices.
    unsafe fn copy_to(self, panel: &mut [f32]) {
        for (k, line) in panel.chunks_exact_mut(stride(self.columns)).enumerate() {
            let row = self.start.wrapping_offset(k as isize * self.row);
            let line = &mut line[..self.columns];
            // SAFETY: by the contract, for both.
            match self.column {
                1 => line.copy_from_slice(unsafe { std::slice::from_raw_parts(row, line.len()) }),
                column => line.iter_mut().enumerate().for_each(|(n, element)| {
                    *element = unsafe { *row.wrapping_offset(n as isize * column) };
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_have_the_rows_of_the_matrix() {
        let elements: Vec<f32> = (0..9 * 100).map(|at| at as f32).collect();
        for (columns, width) in [(100, 64), (64, 64), (10, 64), (100, 16), (33, 64)] {
            for (row, column) in [(100, 1), (1, 9)] {
                let start = elements.as_ptr();
                let matrix = Matrix { start, rows: 9, columns, row, column };
                let element = |k: usize, n: usize| elements[k * row as usize + n * column as usize];
                // SAFETY: the matrix has all these elements.
                let panels = unsafe { Panels::new(matrix, width) }.unwrap();
                for first in (0..columns).step_by(width) {
                    let part = matrix.columns(first, width);
                    // SAFETY: as above.
                    let alone = unsafe { Panel::default().fill(part) }.is_some();
                    assert!(alone);
                    let panel = panels.at(first);
                    for (k, n) in (0..9).flat_map(|k| (0..part.columns).map(move |n| (k, n))) {
                        let at = panel.start.wrapping_offset(k as isize * panel.stride);
                        // SAFETY: the panel has that row and column.
                        assert_eq!(unsafe { *at.wrapping_add(n) }, element(k, first + n));
                    }
                    let later = panels.without(2).without(3).at(first);
                    // SAFETY: there are more than five rows.
                    assert_eq!(unsafe { *later.start }, element(5, first));
                }
            }
        }
    }

    #[test]
    fn a_panel_is_not_copied() {
        let elements = [1.0; 9 * 64];
        let start = elements.as_ptr();
        // The last row of the second one has nothing after it that could be read as whole vectors.
        for (skipped, columns, is_panel) in [(0, 64, true), (31, 33, false), (0, 32, false)] {
            let start = start.wrapping_add(skipped);
            let matrix = Matrix { start, rows: 9, columns, row: 64, column: 1 };
            let mut panel = Panel::default();
            // SAFETY: the matrix has all these elements.
            let rows = unsafe { panel.fill(matrix) }.unwrap();
            assert_eq!(rows.start == start, is_panel);
        }
    }
}
