//! Sums for a tile of rows and columns: a variable for each column, with a component for each row, so
//! that what is read for a column serves all rows, and what is read for a row all columns.
//!
//! Drivers keep variables in registers, but not an array that is read at computed places. So a
//! column is copied by its number before its rows are.

use super::Writer;

/// The names of such sums.
pub(super) struct Sums {
    /// A variable for each column.
    columns: Vec<String>,
    /// The components of each.
    rows: i64,
}

/// The most rows and columns of a tile.
pub(super) const MOST: i64 = 16;

impl Writer<'_> {
    /// Declares sums, all 0.
    pub(super) fn declare_sums(&mut self, rows: i64, columns: usize) -> Sums {
        let columns: Vec<String> = (0..columns).map(|_| self.names.take("sum")).collect();
        for column in &columns {
            self.line(&format!("var {column} = {}();", vector(rows)));
        }
        Sums { columns, rows }
    }

    /// Adds the product of what was read for a column with what was read for all rows.
    pub(super) fn add_product(&mut self, sums: &Sums, column: usize, own: &str, shared: &str) {
        self.line(&format!("{} += {own} * {shared};", sums.columns[column]));
    }

    /// A variable for the sums of a column.
    pub(super) fn declare_column(&mut self, sums: &Sums) -> String {
        let column = self.names.take("column");
        self.line(&format!("var {column} = {}();", vector(sums.rows)));
        column
    }

    /// Copies the column of a number into such a variable.
    pub(super) fn get_column(&mut self, sums: &Sums, number: &str, column: &str) {
        self.each_column(sums, number, |sum| format!("{column} = {sum};"));
    }

    /// Copies such a variable into the column of a number.
    pub(super) fn set_column(&mut self, sums: &Sums, number: &str, column: &str) {
        self.each_column(sums, number, |sum| format!("{sum} = {column};"));
    }

    fn each_column(&mut self, sums: &Sums, number: &str, statement: impl Fn(&str) -> String) {
        let Some((last, others)) = sums.columns.split_last() else { return };
        if others.is_empty() {
            return self.line(&statement(last));
        }
        self.open(&format!("switch ({number})"));
        for (number, sum) in others.iter().enumerate() {
            self.line(&format!("case {number}: {{ {} }}", statement(sum)));
        }
        self.line(&format!("default: {{ {} }}", statement(last)));
        self.close();
    }
}

impl Sums {
    /// The sum of a row, by an expression of its number, in a copy of its column.
    pub fn at(&self, column: &str, row: &str) -> String {
        component(column, self.rows, row)
    }
}

/// The least number of components that a vector can have, at least as many as are given.
pub(super) fn padded(rows: usize) -> i64 {
    [1, 2, 4, 8].into_iter().find(|padded| rows as i64 <= *padded).unwrap_or(MOST)
}

/// A type with a component for each row.
pub(super) fn vector(rows: i64) -> &'static str {
    match rows {
        1 => "f32",
        2 => "vec2<f32>",
        4 => "vec4<f32>",
        8 => "mat2x4<f32>",
        _ => "mat4x4<f32>",
    }
}

/// A component of such a vector.
pub(super) fn component(vector: &str, rows: i64, row: &str) -> String {
    match rows {
        1 => vector.to_owned(),
        2 | 4 => format!("{vector}[{row}]"),
        _ => format!("{vector}[{row} / 4][{row} % 4]"),
    }
}
