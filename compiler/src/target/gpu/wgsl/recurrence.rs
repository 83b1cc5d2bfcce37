//! Recurrences: an invocation walks through time with a point, or a workgroup with a few rows.

use super::sums::{Sums, component, vector};
use super::*;
use crate::target::gpu::tile::RowProduct;

/// What a product reads of the rows that a workgroup owns, in workgroup memory.
struct RowTile<'p> {
    product: &'p RowProduct,
    /// For each iteration a number for each row, or a bit.
    values: String,
    /// Where there are bits, a bit for each iteration: whether a row has one.
    any: String,
}

/// The rows of a workgroup: so many from one on, below an end.
#[derive(Clone, Copy)]
struct Rows<'r> {
    count: i64,
    first: &'r str,
    end: &'r str,
}

impl Writer<'_> {
    pub(super) fn elements(&mut self) {
        let plan = self.plan;
        let extents = &plan.stages[0].axes;
        let count = Dim::product(extents);
        self.point_of_invocation(&count);
        let (point, indices) = (self.words.point.clone(), self.words.axes.clone());
        let axes = self.split(&point, extents, &indices, "let");
        self.open_steps();
        for stage in &plan.stages {
            self.stage(stage, self.values(stage, axes.clone()));
        }
        self.close();
    }

    /// A workgroup for so many rows.
    pub(super) fn rows(&mut self, rows: i64) {
        let plan = self.plan;
        let outer = &plan.stages[0].axes[..self.kernel.local_axes];
        let count = Dim::product(outer);
        let first = match rows {
            1 => self.words.point.clone(),
            _ => self.names.take("first_row"),
        };
        let Words { group, groups, .. } = &self.words;
        let number = format!("i32({group}.y * {groups}.x + {group}.x)");
        let times = if rows == 1 { String::new() } else { format!(" * {rows}") };
        self.line(&format!("let {first} = {number}{times};"));
        let end = self.dim(&count);
        self.open(&format!("if ({first} < {end})"));
        let names = self.words.axes[..outer.len()].to_vec();
        let single = match rows {
            1 => self.split(&first, outer, &names, "let"),
            _ => Vec::new(),
        };
        self.open_steps();
        for stage in &plan.stages {
            match rows {
                1 => self.stage_of_row(stage, &single),
                count => self.stage_of_rows(stage, Rows { count, first: &first, end: &end }),
            }
        }
        self.close();
        self.close();
    }

    fn open_steps(&mut self) {
        let t = self.words.step.clone();
        let start = self.field("t_start", FieldValue::StepStart);
        let end = self.field("t_end", FieldValue::StepEnd);
        self.open(&match self.kernel.recurrence {
            Some(Direction::Backward) => {
                format!("for (var {t} = {end} - 1; {t} >= {start}; {t} -= 1)")
            }
            _ => format!("for (var {t} = {start}; {t} < {end}; {t} += 1)"),
        });
    }

    /// A stage of the row that a workgroup owns.
    fn stage_of_row(&mut self, stage: &StagePlan, outer: &[String]) {
        let (_, inner) = self.open_lanes(stage);
        let axes = outer.iter().cloned().chain(inner).collect();
        self.stage(stage, self.values(stage, axes));
        self.close();
        self.line("storageBarrier();");
    }

    /// The points of a row.
    fn width(&self, stage: &Stage) -> Dim {
        Dim::product(&stage.axes[self.kernel.local_axes..])
    }

    /// Opens the loop in which lanes share the points of a row; gives the number of a point, and its
    /// indices.
    fn open_lanes(&mut self, stage: &Stage) -> (String, Vec<String>) {
        let flat = self.names.take(&self.wanted_column(stage));
        let count = self.dim(&self.width(stage));
        self.open_shared(&flat, &count);
        let inner = self.inner_axes(stage, &flat);
        (flat, inner)
    }

    /// Opens a loop whose iterations the lanes share.
    fn open_shared(&mut self, counter: &str, count: &str) {
        let (lane, lanes) = (&self.words.lane, self.plan.workgroup_size);
        let head =
            format!("for (var {counter} = i32({lane}); {counter} < {count}; {counter} += {lanes})");
        self.open(&head);
    }

    fn wanted_column(&self, stage: &Stage) -> String {
        let local = self.kernel.local_axes;
        if stage.axes.len() == local + 1 { format!("i{local}") } else { "i".to_owned() }
    }

    /// The indices of a point of this number within a row.
    fn inner_axes(&mut self, stage: &Stage, flat: &str) -> Vec<String> {
        let axes = self.kernel.local_axes..stage.axes.len();
        self.split_axes(stage, axes, flat)
    }

    /// The indices of a row.
    fn outer_axes(&mut self, stage: &Stage, row: &str) -> Vec<String> {
        self.split_axes(stage, 0..self.kernel.local_axes, row)
    }

    fn split_axes(&mut self, stage: &Stage, axes: Range<usize>, flat: &str) -> Vec<String> {
        let names: Vec<String> =
            axes.clone().map(|axis| self.names.take(&format!("i{axis}"))).collect();
        self.split(flat, &stage.axes[axes], &names, "let")
    }

    // ---- several rows ----

    /// A stage of the rows that a workgroup owns. What products read of the rows is put into workgroup
    /// memory first, so that a weight that is read serves all rows.
    fn stage_of_rows(&mut self, stage: &StagePlan, rows: Rows) {
        let tiles = self.fill_tiles(stage, rows);
        let depth = self.depth;
        let columns = stage.columns;
        let (mut flat, mut inner) = Default::default();
        let mut places = Vec::new();
        if columns == 1 {
            (flat, inner) = self.open_lanes(stage);
            places.push(inner.clone());
        } else {
            places.extend((0..columns).map(|column| self.column(stage, column)));
        }
        let sums: Vec<(usize, Sums)> = tiles
            .iter()
            .map(|tile| (tile.product.number, self.sums_of_rows(stage, tile, rows, &places)))
            .collect();
        if columns > 1 {
            (flat, inner) = self.open_lanes(stage);
        }
        let outer = vec![String::new(); self.kernel.local_axes];
        let mut values = self.values(stage, outer.into_iter().chain(inner).collect());
        // What is the same for all rows stands before the loop over them.
        stage.common.iter().for_each(|val| self.value(stage, &mut values, *val));
        let column = format!("{flat} / {}", self.plan.workgroup_size);
        let sums: Vec<(usize, Sums, String)> = sums
            .into_iter()
            .map(|(number, sums)| {
                let copy = self.declare_column(&sums);
                self.get_column(&sums, &column, &copy);
                (number, sums, copy)
            })
            .collect();
        let (r, row) = (self.names.take("r"), self.names.take("row"));
        self.open(&format!("for (var {r} = 0; {r} < {}; {r} += 1)", rows.count));
        self.line(&format!("let {row} = {} + {r};", rows.first));
        self.open(&format!("if ({row} < {})", rows.end));
        let outer = self.outer_axes(stage, &row);
        values.axes[..outer.len()].clone_from_slice(&outer);
        for (number, sums, column) in sums {
            let sum = self.names.take("sum");
            self.line(&format!("let {sum} = {};", sums.at(&column, &r)));
            values.set_sum(stage, number, sum);
        }
        self.stage(stage, values);
        self.close_to(depth);
        self.line("storageBarrier();");
        if !stage.products.is_empty() {
            self.line("workgroupBarrier();");
        }
    }

    /// The indices within a row of an invocation's point of this number.
    fn column(&mut self, stage: &Stage, number: usize) -> Vec<String> {
        let flat = self.names.take(&self.wanted_column(stage));
        let (lane, lanes) = (&self.words.lane, self.plan.workgroup_size as usize);
        let at = match number {
            0 => format!("i32({lane})"),
            _ => format!("i32({lane}) + {}", number * lanes),
        };
        let width = self.width(stage);
        let reaches_beyond = width.as_const().is_none_or(|w| w < ((number + 1) * lanes) as i64);
        // Points beyond the last are copies of it, which nobody stores.
        let at = match reaches_beyond {
            true => format!("min({at}, {} - 1)", self.dim(&width)),
            false => at,
        };
        self.line(&format!("let {flat} = {at};"));
        self.inner_axes(stage, &flat)
    }

    /// Puts the factors that lanes share into workgroup memory.
    fn fill_tiles<'p>(&mut self, stage: &'p StagePlan, rows: Rows) -> Vec<RowTile<'p>> {
        let products = &stage.products;
        let tiles: Vec<RowTile> =
            products.iter().map(|product| self.declare_tile(stage, product, rows)).collect();
        if products.iter().any(|product| product.is_binary) {
            self.line("workgroupBarrier();");
        }
        for tile in &tiles {
            self.fill_tile(stage, tile, rows);
        }
        if !tiles.is_empty() {
            self.line("workgroupBarrier();");
        }
        tiles
    }

    /// Declares the workgroup memory of a product, and clears what bits are added to.
    fn declare_tile<'p>(
        &mut self,
        stage: &Stage,
        product: &'p RowProduct,
        rows: Rows,
    ) -> RowTile<'p> {
        let wanted = self.wanted_name(stage, product.shared);
        let values = self.names.take(&format!("{wanted}_of_rows"));
        if !product.is_binary {
            self.workgroup.push((values.clone(), vector(rows.count), product.length));
            return RowTile { product, values, any: String::new() };
        }
        let any = self.names.take(&format!("{wanted}_any"));
        self.workgroup.push((values.clone(), "u32", product.length));
        self.workgroup.push((any.clone(), "atomic<u32>", product.words()));
        let word = self.names.take("word");
        self.open_shared(&word, &product.words().to_string());
        self.line(&format!("atomicStore(&{any}[{word}], 0u);"));
        self.close();
        RowTile { product, values, any }
    }

    fn fill_tile(&mut self, stage: &StagePlan, tile: &RowTile, rows: Rows) {
        let product = tile.product;
        let (k, r, row) = (self.names.take("k"), self.names.take("r"), self.names.take("row"));
        self.open_shared(&k, &product.length.to_string());
        let bits = self.names.take("bits");
        if product.is_binary {
            self.line(&format!("var {bits} = 0u;"));
        }
        self.open(&format!("for (var {r} = 0; {r} < {}; {r} += 1)", rows.count));
        // Rows beyond the last are copies of it, which nobody stores.
        self.line(&format!("let {row} = min({} + {r}, {} - 1);", rows.first, rows.end));
        let outer = self.outer_axes(stage, &row);
        let mut values = self.values_of_product(stage, outer, product, &k);
        let value = self.computed(stage, &mut values, product.shared);
        if product.is_binary {
            self.line(&format!("{bits} |= select(0u, 1u, {value} != 0.0) << u32({r});"));
        } else {
            let place = component(&format!("{}[{k}]", tile.values), rows.count, &r);
            self.line(&format!("{place} = {value};"));
        }
        self.close();
        if product.is_binary {
            self.line(&format!("{}[{k}] = {bits};", tile.values));
            self.open(&format!("if ({bits} != 0u)"));
            self.line(&format!("atomicOr(&{}[{k} / 32], 1u << u32({k} % 32));", tile.any));
            self.close();
        }
        self.close();
    }

    /// Adds up a product for all rows, at each of these places within a row.
    fn sums_of_rows(
        &mut self,
        stage: &StagePlan,
        tile: &RowTile,
        rows: Rows,
        places: &[Vec<String>],
    ) -> Sums {
        let product = tile.product;
        let sums = self.declare_sums(rows.count, places.len());
        let depth = self.depth;
        let k = self.open_iterations(tile);
        let shared = self.names.take(&self.wanted_name(stage, product.shared));
        let read = format!("{}[{k}]", tile.values);
        let factor = match product.is_binary {
            true => {
                let helper = format!("fgi_rows_{}", rows.count);
                let numbers = format!("{helper}({read})");
                self.helpers.insert(helper);
                numbers
            }
            false => read,
        };
        self.line(&format!("let {shared} = {factor};"));
        for (column, place) in places.iter().enumerate() {
            let outer = vec![String::new(); self.kernel.local_axes];
            let axes = outer.into_iter().chain(place.iter().cloned()).collect();
            let mut values = self.values_of_product(stage, axes, product, &k);
            let weight = self.computed(stage, &mut values, product.own);
            self.add_product(&sums, column, &weight, &shared);
        }
        self.close_to(depth);
        sums
    }

    /// Opens a loop over the iterations of a product, in their order; of bits, over those that a row has.
    fn open_iterations(&mut self, tile: &RowTile) -> String {
        let product = tile.product;
        let k = self.names.take("k");
        if !product.is_binary {
            self.open(&format!("for (var {k} = 0; {k} < {}; {k} += 1)", product.length));
            return k;
        }
        let (word, rest) = (self.names.take("word"), self.names.take("rest"));
        self.open(&format!("for (var {word} = 0; {word} < {}; {word} += 1)", product.words()));
        self.line(&format!("var {rest} = atomicLoad(&{}[{word}]);", tile.any));
        self.open(&format!("while ({rest} != 0u)"));
        self.line(&format!("let {k} = {word} * 32 + i32(firstTrailingBit({rest}));"));
        self.line(&format!("{rest} &= {rest} - 1u;"));
        k
    }

    fn values_of_product(
        &self,
        stage: &Stage,
        mut axes: Vec<String>,
        product: &RowProduct,
        k: &str,
    ) -> Values {
        axes.resize(stage.axes.len(), String::new());
        let mut values = self.values(stage, axes);
        let extents = &stage.loops[product.number].axes;
        let counter = |extent: &Dim| if extent.is_one() { "0".to_owned() } else { k.to_owned() };
        values.loops[product.number].axes = extents.iter().map(counter).collect();
        values
    }
}
