//! Matrix products: an invocation computes a tile of points.

use super::sums::{Sums, padded, vector};
use super::*;
use crate::target::gpu::tile::{Index, Product, Side};

/// The points of a side that an invocation computes: of a number, and so many further.
struct Points<'p> {
    side: &'p Side,
    first: String,
    stride: String,
    /// For each of them, its indices.
    indices: Vec<Vec<String>>,
}

impl Writer<'_> {
    pub(super) fn product(&mut self, product: &Product) {
        let (rows, columns) = self.tile(product);
        let sums = self.declare_sums(padded(rows.indices.len()), columns.indices.len());
        if self.plan.is_chunked_reduction() {
            self.load_sums(&rows, &columns, &sums);
        }
        self.add_products(product.factors, &rows, &columns, &sums);
        self.each_point(&rows, &columns, &sums);
    }

    /// The tile of the invocation, if it has one. Invocations next to each other have columns next to
    /// each other.
    fn tile<'p>(&mut self, product: &'p Product) -> (Points<'p>, Points<'p>) {
        let Product { shared, own, .. } = product;
        let Words { group, groups, lane, .. } = &self.words;
        let number = format!("i32(({group}.y * {groups}.x + {group}.x) * {LANES}u + {lane})");
        let tile = self.names.take("tile");
        self.line(&format!("let {tile} = {number};"));
        let own_tiles = self.tiles(own);
        let (row, column) = match own_tiles.as_str() {
            "1" => (tile, "0".to_owned()),
            _ => (format!("{tile} / {own_tiles}"), format!("{tile} % {own_tiles}")),
        };
        let (first_row, first_column) = (self.names.take("row"), self.names.take("column"));
        self.line(&format!("let {first_row} = {row} * {};", shared.tile));
        self.line(&format!("let {first_column} = {column};"));
        let end = self.dim(&shared.extent());
        self.open(&format!("if ({first_row} >= {end})"));
        self.line("return;");
        self.close();
        (self.side(shared, first_row, "1"), self.side(own, first_column, &own_tiles))
    }

    /// How many tiles cover a side, at least one.
    fn tiles(&mut self, side: &Side) -> String {
        match side.tiles() {
            Some(tiles) => tiles.max(1).to_string(),
            None => {
                let extent = self.dim(&side.extent());
                format!("(({extent} + {}) / {})", side.tile - 1, side.tile)
            }
        }
    }

    fn side<'p>(&mut self, side: &'p Side, first: String, stride: &str) -> Points<'p> {
        let end = self.dim(&side.extent());
        let wanted = match side.indices[..] {
            [Index::Axis(axis)] => self.words.axes[axis].clone(),
            [Index::Time] => self.words.step.clone(),
            _ => "point".to_owned(),
        };
        let mut points = Points { side, first, stride: stride.to_owned(), indices: Vec::new() };
        for copy in 0..side.tile {
            let at = points.at(&copy.to_string());
            // Points beyond the last are copies of it, which nobody stores.
            let at = if side.is_whole() { at } else { format!("min({at}, {end} - 1)") };
            let flat = self.names.take(&wanted);
            self.line(&format!("let {flat} = {at};"));
            let indices = self.indices(side, &flat);
            points.indices.push(indices);
        }
        points
    }

    /// Takes the number of a point of a side apart.
    fn indices(&mut self, side: &Side, flat: &str) -> Vec<String> {
        let mut take = |index: &Index| match index {
            Index::Axis(axis) => self.names.take(&format!("i{axis}")),
            Index::Time => self.names.take("t"),
        };
        let names: Vec<String> = side.indices.iter().map(&mut take).collect();
        self.split(flat, &side.extents, &names, "let")
    }

    /// The loop of the product.
    fn add_products(
        &mut self,
        [shared, own]: [Val; 2],
        rows: &Points,
        columns: &Points,
        sums: &Sums,
    ) {
        let plan = self.plan;
        let stage = &plan.stages[0];
        let (k, counters) = self.open_loop(stage, 0, 1);
        let mut values = self.values_of_tile(stage);
        set_counters(&mut values.loops[0], &stage.loops[0], &counters);
        let of_rows = self.factors(stage, rows, shared, &values);
        let all = self.names.take("of_rows");
        let padding = std::iter::repeat(&of_rows[of_rows.len() - 1]);
        let count = padded(of_rows.len());
        let components: Vec<&str> =
            of_rows.iter().chain(padding).take(count as usize).map(String::as_str).collect();
        self.line(&format!("let {all} = {}({});", vector(count), components.join(", ")));
        let of_columns = self.factors(stage, columns, own, &values);
        for (column, factor) in of_columns.iter().enumerate() {
            self.add_product(sums, column, factor, &all);
        }
        self.count(&k, &counters, &stage.loops[0].extents(self.program));
        self.close();
    }

    /// A factor at each point of its side.
    fn factors(
        &mut self,
        stage: &StagePlan,
        points: &Points,
        factor: Val,
        values: &Values,
    ) -> Vec<String> {
        let mut names = Vec::new();
        for indices in &points.indices {
            let mut values = values.clone();
            values.set_indices(points.side, indices);
            names.push(self.computed(stage, &mut values, factor));
        }
        names
    }

    /// Goes on from what an earlier dispatch has added up.
    fn load_sums(&mut self, rows: &Points, columns: &Points, sums: &Sums) {
        let plan = self.plan;
        let stage = &plan.stages[0];
        let start = self.field("k_start", FieldValue::LoopStart(0));
        let depth = self.depth;
        self.open(&format!("if ({start} > 0)"));
        let mut values = self.values_of_tile(stage);
        let (c, of_column) = self.open_points(columns, "c", &mut values);
        let column = self.declare_column(sums);
        let in_column = self.depth;
        let (r, of_row) = self.open_points(rows, "r", &mut values);
        values.point = self.point(columns, &of_row, &of_column);
        values.loops[0].accumulators = vec![sums.at(&column, &r)];
        self.load_partials(stage, &values, 0);
        self.close_to(in_column);
        self.set_column(sums, &c, &column);
        self.close_to(depth);
    }

    /// What is computed at each point that there is, from its sum.
    fn each_point(&mut self, rows: &Points, columns: &Points, sums: &Sums) {
        let plan = self.plan;
        let stage = &plan.stages[0];
        let depth = self.depth;
        let mut values = self.values_of_tile(stage);
        let (c, of_column) = self.open_points(columns, "c", &mut values);
        let column = self.declare_column(sums);
        self.get_column(sums, &c, &column);
        let (r, of_row) = self.open_points(rows, "r", &mut values);
        values.point = self.point(columns, &of_row, &of_column);
        let sum = self.names.take("sum");
        self.line(&format!("let {sum} = {};", sums.at(&column, &r)));
        values.set_sum(stage, 0, sum);
        self.stage(stage, values);
        self.close_to(depth);
    }

    /// The number of a point among all.
    fn point(&mut self, columns: &Points, row: &str, column: &str) -> String {
        let width = self.dim(&columns.side.extent());
        format!("{row} * {width} + {column}")
    }

    /// What has one place, be it time, is no index of a side.
    fn values_of_tile(&self, stage: &Stage) -> Values {
        let values = self.values(stage, vec!["0".to_owned(); stage.axes.len()]);
        Values { step: "0".to_owned(), ..values }
    }

    /// Goes through the points of a side; gives the number within the tile and that among all.
    fn open_points(
        &mut self,
        points: &Points,
        counter: &str,
        values: &mut Values,
    ) -> (String, String) {
        let side = points.side;
        let counter = self.names.take(counter);
        self.open(&format!("for (var {counter} = 0; {counter} < {}; {counter} += 1)", side.tile));
        let flat = self.names.take("point");
        self.line(&format!("let {flat} = {};", points.at(&counter)));
        if !side.is_whole() {
            let end = self.dim(&side.extent());
            self.open(&format!("if ({flat} < {end})"));
        }
        let indices = self.indices(side, &flat);
        values.set_indices(side, &indices);
        (counter, flat)
    }
}

impl Points<'_> {
    /// The number of one of them among all.
    fn at(&self, copy: &str) -> String {
        let Points { first, stride, .. } = self;
        match (copy, stride.as_str()) {
            ("0", _) => first.clone(),
            (_, "1") => format!("{first} + {copy}"),
            _ => format!("{first} + {copy} * {stride}"),
        }
    }
}

impl Values {
    fn set_indices(&mut self, side: &Side, names: &[String]) {
        for (index, name) in side.indices.iter().zip(names) {
            match index {
                Index::Time => self.step.clone_from(name),
                Index::Axis(axis) => self.axes[*axis].clone_from(name),
            }
        }
    }
}
