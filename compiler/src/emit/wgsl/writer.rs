//! The text of one shader.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::names::Names;
use super::rows::rows;
use super::storage::{touched, written};
use super::tile::{self, Index, LANES, Product, RowProduct, Side};
use super::*;
use crate::graph::{Elem, Pointwise, Reduction};
use crate::kernel::{Affine, Inst, ReduceLoop, Store, Val};

/// Writes a kernel as a WGSL module.
pub(super) fn write(
    program: &Program,
    (pass, kernel): (Pass, &Kernel),
    groups: &[Group],
    limits: &Limits,
    sources: &Sources,
) -> Shader {
    let mut writer = Writer::new(program, kernel, groups, limits);
    let (dispatch, chunking) = match writer.form {
        Form::Points => writer.points(),
        Form::Teams => writer.teams(),
        Form::Product => writer.product(),
        Form::Elements => writer.elements(),
        Form::Rows => writer.rows(),
    };
    writer.finish(pass, dispatch, chunking, sources)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// No recurrence: an invocation a point.
    Points,
    /// A long reduction to a few points: a workgroup a point.
    Teams,
    /// A matrix product: an invocation for a tile of points.
    Product,
    /// A recurrence, an invocation a point.
    Elements,
    /// A recurrence, a workgroup for a few points of the local axes.
    Rows,
}

struct Writer<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    groups: &'a [Group],
    form: Form,
    /// Rows of a recurrence that a workgroup computes.
    rows: i64,
    /// Workgroup memory: name, type, elements.
    workgroup: Vec<(String, &'static str, i64)>,
    /// The length of streams.
    time: Dim,
    workgroup_size: u32,
    is_chunked_reduction: bool,
    names: Names,
    entry: String,
    /// By group.
    bound: BTreeMap<usize, Bound>,
    field_names: Names,
    fields: Vec<Field>,
    /// Offsets of fixed size.
    constants: BTreeMap<String, i64>,
    constant_of: BTreeMap<BufferId, String>,
    helpers: BTreeSet<String>,
    words: Words,
    text: String,
    depth: usize,
    /// What the next lines stand for, and the lines of `text` at which that changes, from 0.
    span: Option<Span>,
    marks: Vec<(usize, Span)>,
}

/// A group that the kernel binds.
struct Bound {
    name: String,
    /// `None` where the kernel reads values of different types out of it.
    elem: Option<Elem>,
    writable: bool,
    buffers: Vec<BufferId>,
}

/// The fixed names of a shader.
struct Words {
    args: String,
    scratch: String,
    partials: String,
    group: String,
    groups: String,
    lane: String,
    point: String,
    step: String,
    axes: Vec<String>,
}

/// A point of a side of a tile.
struct TilePoint {
    flat: String,
    /// Those of the side.
    indices: Vec<String>,
    guard: Option<String>,
}

/// What the values of a stage are called at a point.
#[derive(Clone)]
struct Values {
    names: Vec<Option<String>>,
    axes: Vec<String>,
    loops: Vec<LoopNames>,
    /// Its number among all points.
    point: String,
    step: String,
    /// Whether there is such a point; always, if not given.
    guard: Option<String>,
}

/// The points that an invocation computes together.
struct Copies {
    /// Row by row, in a grid of so many columns.
    points: Vec<Values>,
    columns: usize,
    /// For each value, whether it differs between rows and between columns.
    differs: Vec<(bool, bool)>,
}

impl Copies {
    fn one(stage: &Stage, values: Values) -> Copies {
        Copies {
            points: vec![values],
            columns: 1,
            differs: vec![(false, false); stage.insts.len()],
        }
    }

    /// The copy that has the value of a copy first.
    fn owner(&self, val: Val, copy: usize) -> usize {
        let (rows, columns) = self.differs[val.0 as usize];
        let row = if rows { copy / self.columns } else { 0 };
        let column = if columns { copy % self.columns } else { 0 };
        row * self.columns + column
    }

    /// The copies that have a value first.
    fn owners(&self, val: Val) -> Vec<usize> {
        (0..self.points.len()).filter(|copy| self.owner(val, *copy) == *copy).collect()
    }

    /// Names a value of all copies after those that have it first.
    fn share(&mut self, val: Val) {
        for copy in 0..self.points.len() {
            let name = self.points[self.owner(val, copy)].names[val.0 as usize].clone();
            self.points[copy].names[val.0 as usize] = name;
        }
    }
}

/// The indices of a reduction loop, and its accumulators, of which the last is the result.
#[derive(Clone, Default)]
struct LoopNames {
    time: String,
    axes: Vec<String>,
    accumulators: Vec<String>,
}

impl<'a> Writer<'a> {
    fn new(program: &'a Program, kernel: &'a Kernel, groups: &'a [Group], limits: &Limits) -> Self {
        let mut names = Names::new();
        let bound = bind(program, kernel, groups, &mut names);
        let entry = names.take(&kernel.name);
        let rank = kernel.stages.iter().map(|stage| stage.axes.len()).max().unwrap_or(0);
        let words = Words {
            args: names.take("args"),
            scratch: names.take("scratch"),
            partials: names.take("partials"),
            group: names.take("group"),
            groups: names.take("groups"),
            lane: names.take("lane"),
            point: names.take(if kernel.recurrence.is_some() { "row" } else { "point" }),
            step: names.take("t"),
            axes: (0..rank).map(|axis| names.take(&format!("i{axis}"))).collect(),
        };
        let is_chunked_reduction = is_chunked_reduction(program, kernel);
        let form = form(program, kernel, is_chunked_reduction);
        let rows = if form == Form::Rows { rows(program, kernel, limits) } else { 1 };
        Writer {
            program,
            kernel,
            groups,
            form,
            rows,
            workgroup: Vec::new(),
            time: time(program),
            workgroup_size: workgroup_size(kernel, form, rows).min(limits.workgroup_size),
            is_chunked_reduction,
            names,
            entry,
            bound,
            field_names: Names::new(),
            fields: Vec::new(),
            constants: BTreeMap::new(),
            constant_of: BTreeMap::new(),
            helpers: BTreeSet::new(),
            words,
            text: String::new(),
            depth: 1,
            span: None,
            marks: Vec::new(),
        }
    }

    // ---- forms ----

    fn points(&mut self) -> (Dispatch, Chunking) {
        let kernel = self.kernel;
        let stage = &kernel.stages[0];
        let mut extents = stage.axes.clone();
        if stage.timed {
            extents.insert(0, self.time.clone());
        }
        let count = Dim::product(&extents);
        self.point_of_invocation(&count);
        let mut indices = self.words.axes[..stage.axes.len()].to_vec();
        if stage.timed {
            indices.insert(0, self.words.step.clone());
        }
        let point = self.words.point.clone();
        let indices = self.split(&point, &extents, &indices, "let");
        if stage.timed {
            self.words.step = indices[0].clone();
        }
        let axes = indices[usize::from(stage.timed)..].to_vec();
        self.stage(stage, Copies::one(stage, self.values(stage, axes)));
        let chunking = match self.is_chunked_reduction {
            true => self.ranges(stage, &count, 1),
            false => Chunking::Whole,
        };
        (Dispatch::Invocations(count), chunking)
    }

    fn teams(&mut self) -> (Dispatch, Chunking) {
        let kernel = self.kernel;
        let stage = &kernel.stages[0];
        let count = Dim::product(&stage.axes);
        let Words { group, groups, point, .. } = &self.words;
        let (point, indices) = (point.clone(), self.words.axes.clone());
        let line = format!("let {point} = i32({group}.y * {groups}.x + {group}.x);");
        self.line(&line);
        let axes = self.split(&point, &stage.axes, &indices, "let");
        self.stage(stage, Copies::one(stage, self.values(stage, axes)));
        let chunking = self.ranges(stage, &count, self.workgroup_size);
        (Dispatch::Workgroups(count), chunking)
    }

    fn ranges(&self, stage: &Stage, points: &Dim, lanes: u32) -> Chunking {
        let lengths = stage.loops.iter().map(|reduce| reduce.length(self.program)).collect();
        Chunking::Loops { lengths, slots: slots(stage), points: points.clone(), lanes }
    }

    fn elements(&mut self) -> (Dispatch, Chunking) {
        let kernel = self.kernel;
        let extents = &kernel.stages[0].axes;
        let count = Dim::product(extents);
        self.point_of_invocation(&count);
        let (point, indices) = (self.words.point.clone(), self.words.axes.clone());
        let axes = self.split(&point, extents, &indices, "let");
        self.open_steps();
        for stage in &kernel.stages {
            self.stage(stage, Copies::one(stage, self.values(stage, axes.clone())));
        }
        self.close();
        let work = kernel
            .stages
            .iter()
            .map(|stage| StepWork { points: Dim::one(), iterations: self.iterations(stage) });
        (Dispatch::Invocations(count), self.steps(1, work.collect()))
    }

    fn rows(&mut self) -> (Dispatch, Chunking) {
        let kernel = self.kernel;
        let outer = &kernel.stages[0].axes[..kernel.local_axes];
        let count = Dim::product(outer);
        let first = match self.rows {
            1 => self.words.point.clone(),
            _ => self.names.take("first_row"),
        };
        let Words { group, groups, .. } = &self.words;
        let number = format!("i32({group}.y * {groups}.x + {group}.x)");
        let times = if self.rows == 1 { String::new() } else { format!(" * {}", self.rows) };
        self.line(&format!("let {first} = {number}{times};"));
        let end = self.dim(&count);
        self.open(&format!("if ({first} < {end})"));
        let names = self.words.axes[..outer.len()].to_vec();
        let single = match self.rows {
            1 => self.split(&first, outer, &names, "let"),
            _ => Vec::new(),
        };
        self.open_steps();
        let mut work = Vec::new();
        for stage in &kernel.stages {
            match self.rows {
                1 => work.push(self.stage_of_row(stage, &single)),
                _ => work.extend(self.stage_of_rows(stage, &first, &end)),
            }
        }
        self.close();
        self.close();
        let dispatch = match self.rows {
            1 => Dispatch::Workgroups(count),
            // Each row's share of a workgroup, so that workgroups are rounded up.
            rows => {
                let share = Dim::constant(i64::from(self.workgroup_size) / rows);
                Dispatch::Invocations(&count * &share)
            }
        };
        (dispatch, self.steps(self.workgroup_size, work))
    }

    /// A stage of the row that a workgroup owns.
    fn stage_of_row(&mut self, stage: &Stage, outer: &[String]) -> StepWork {
        let inner = self.open_lanes(stage);
        let axes = outer.iter().cloned().chain(inner).collect();
        self.stage(stage, Copies::one(stage, self.values(stage, axes)));
        self.close();
        self.line("storageBarrier();");
        StepWork { points: self.width(stage), iterations: self.iterations(stage) }
    }

    /// The points of a row.
    fn width(&self, stage: &Stage) -> Dim {
        Dim::product(&stage.axes[self.kernel.local_axes..])
    }

    /// Opens the loop in which lanes share the points of a row; gives their indices.
    fn open_lanes(&mut self, stage: &Stage) -> Vec<String> {
        let local = self.kernel.local_axes;
        let inner = &stage.axes[local..];
        let flat = self.words.axes.get(local).cloned();
        let flat = flat.filter(|_| inner.len() == 1).unwrap_or_else(|| self.names.take("i"));
        let count = self.dim(&Dim::product(inner));
        let (lane, lanes) = (self.words.lane.clone(), self.workgroup_size);
        self.open(&format!("for (var {flat} = i32({lane}); {flat} < {count}; {flat} += {lanes})"));
        let names = self.words.axes[local..stage.axes.len()].to_vec();
        self.split(&flat, inner, &names, "let")
    }

    /// A stage of the rows that a workgroup owns. What products read of the rows is put into workgroup
    /// memory first, so that a weight that is read serves all rows.
    fn stage_of_rows(&mut self, stage: &Stage, first: &str, end: &str) -> Vec<StepWork> {
        let products = tile::row_products(self.program, self.kernel, stage);
        let tiles: Vec<String> =
            products.iter().map(|product| self.tile_of_rows(stage, product, first, end)).collect();
        if !products.is_empty() {
            self.line("workgroupBarrier();");
        }
        let depth = self.depth;
        let columns = if products.is_empty() { 1 } else { self.columns(stage) };
        let mut inner = if columns == 1 { self.open_lanes(stage) } else { Vec::new() };
        let places = match columns {
            1 => vec![inner.clone()],
            _ => (0..columns).map(|column| self.column(stage, &column.to_string())).collect(),
        };
        let sums: Vec<String> = products
            .iter()
            .zip(&tiles)
            .map(|(product, tile)| self.sums_of_rows(stage, product, tile, &places))
            .collect();
        let mut column = String::new();
        if columns > 1 {
            let c = self.names.take("c");
            self.open(&format!("for (var {c} = 0; {c} < {columns}; {c} += 1)"));
            inner = self.column(stage, &c);
            column = format!("[{c}]");
        }
        let (r, row) = (self.names.take("r"), self.names.take("row"));
        self.open(&format!("for (var {r} = 0; {r} < {}; {r} += 1)", self.rows));
        self.line(&format!("let {row} = {first} + {r};"));
        self.open(&format!("if ({row} < {end})"));
        let outer = self.outer_axes(stage, &row);
        let axes = outer.into_iter().chain(inner).collect();
        let mut copies = Copies::one(stage, self.values(stage, axes));
        for val in &stage.body {
            let product = match stage.inst(*val) {
                Inst::Reduce(index) => products.iter().position(|p| p.number == *index),
                _ => None,
            };
            match product {
                Some(product) => {
                    let name = self.names.take("sum");
                    let sum = self.component(&format!("{}{column}", sums[product]), &r);
                    self.line(&format!("let {name} = {sum};"));
                    copies.points[0].names[val.0 as usize] = Some(name);
                }
                None => self.value(stage, &mut copies, *val),
            }
        }
        self.results(stage, &copies.points[0]);
        while self.depth > depth {
            self.close();
        }
        self.line("storageBarrier();");
        if !products.is_empty() {
            self.line("workgroupBarrier();");
        }
        self.work_of_rows(stage, &products)
    }

    /// What [`Writer::stage_of_rows`] costs an invocation: filling workgroup memory, then the points.
    fn work_of_rows(&self, stage: &Stage, products: &[RowProduct]) -> Vec<StepWork> {
        let rows = Dim::constant(self.rows);
        let tiles = products.iter().map(|product| StepWork {
            points: Dim::constant(product.length),
            iterations: rows.clone(),
        });
        let (mut shared, mut in_row) = (Dim::zero(), Dim::one());
        for (index, reduce) in stage.loops.iter().enumerate() {
            let is_shared = products.iter().any(|product| product.number == index);
            let sum = if is_shared { &mut shared } else { &mut in_row };
            *sum = &*sum + &self.written_iterations(reduce);
        }
        let iterations = &shared + &(&rows * &in_row);
        tiles.chain([StepWork { points: self.width(stage), iterations }]).collect()
    }

    /// How many points of each row an invocation computes together.
    fn columns(&self, stage: &Stage) -> i64 {
        let lanes = i64::from(self.workgroup_size);
        let width = self.width(stage).as_const().filter(|width| width % lanes == 0);
        width.map(|width| width / lanes).filter(|columns| *columns <= 4).unwrap_or(1).max(1)
    }

    /// The indices within a row of an invocation's point of this number.
    fn column(&mut self, stage: &Stage, number: &str) -> Vec<String> {
        let local = self.kernel.local_axes;
        let inner = &stage.axes[local..];
        let wanted = if inner.len() == 1 { format!("i{local}") } else { "i".to_owned() };
        let flat = self.names.take(&wanted);
        let (lane, lanes) = (&self.words.lane, self.workgroup_size);
        let first = if number == "0" { String::new() } else { format!(" + {number} * {lanes}") };
        self.line(&format!("let {flat} = i32({lane}){first};"));
        let axes = local..stage.axes.len();
        let names: Vec<String> = axes.map(|axis| self.names.take(&format!("i{axis}"))).collect();
        self.split(&flat, inner, &names, "let")
    }

    /// The indices of a row.
    fn outer_axes(&mut self, stage: &Stage, row: &str) -> Vec<String> {
        let outer = &stage.axes[..self.kernel.local_axes];
        let names: Vec<String> =
            (0..outer.len()).map(|axis| self.names.take(&format!("i{axis}"))).collect();
        self.split(row, outer, &names, "let")
    }

    /// Puts the factor that lanes share into workgroup memory: for each iteration a vector of rows.
    fn tile_of_rows(
        &mut self,
        stage: &Stage,
        product: &RowProduct,
        first: &str,
        end: &str,
    ) -> String {
        let name = format!("{}_of_rows", self.wanted_name(stage, product.shared));
        let tile = self.names.take(&name);
        let elem = if product.is_binary { "u32" } else { self.vector() };
        self.workgroup.push((tile.clone(), elem, product.length));
        let (k, r, row) = (self.names.take("k"), self.names.take("r"), self.names.take("row"));
        let (lane, lanes, length) = (self.words.lane.clone(), self.workgroup_size, product.length);
        self.open(&format!("for (var {k} = i32({lane}); {k} < {length}; {k} += {lanes})"));
        let bits = self.names.take("bits");
        if product.is_binary {
            self.line(&format!("var {bits} = 0u;"));
        }
        self.open(&format!("for (var {r} = 0; {r} < {}; {r} += 1)", self.rows));
        // Rows beyond the last are copies of it, which nobody stores.
        self.line(&format!("let {row} = min({first} + {r}, {end} - 1);"));
        let outer = self.outer_axes(stage, &row);
        let mut copies = self.row_copies(stage, outer, product, &k);
        let value = self.computed(stage, &mut copies, product.shared);
        match product.is_binary {
            true => self.line(&format!("{bits} |= select(0u, 1u, {value} != 0.0) << u32({r});")),
            false => {
                let place = self.component(&format!("{tile}[{k}]"), &r);
                self.line(&format!("{place} = {value};"));
            }
        }
        self.close();
        if product.is_binary {
            self.line(&format!("{tile}[{k}] = {bits};"));
        }
        self.close();
        tile
    }

    /// Adds up a product for all rows, at each of these places within a row.
    fn sums_of_rows(
        &mut self,
        stage: &Stage,
        product: &RowProduct,
        tile: &str,
        places: &[Vec<String>],
    ) -> String {
        let (sums, k, length) = (self.names.take("sums"), self.names.take("k"), product.length);
        let unrolled = self.unrolled(&stage.loops[product.number]);
        let vector = self.vector();
        match places.len() {
            1 => self.line(&format!("var {sums} = {vector}();")),
            columns => self.line(&format!("var {sums} = array<{vector}, {columns}>();")),
        }
        self.open(&format!("for (var {k} = 0; {k} < {length}; {k} += {unrolled})"));
        for copy in 0..unrolled {
            let k = match copy {
                0 => k.clone(),
                _ => self.shifted(&k, std::slice::from_ref(&k), copy).remove(0),
            };
            let shared = self.names.take(&self.wanted_name(stage, product.shared));
            let factor;
            if product.is_binary {
                let bits = self.names.take("bits");
                self.line(&format!("let {bits} = {tile}[{k}];"));
                self.open(&format!("if ({bits} != 0u)"));
                factor = format!("fgi_rows_{}({bits})", self.rows);
                self.helpers.insert(format!("fgi_rows_{}", self.rows));
            } else {
                factor = format!("{tile}[{k}]");
            }
            self.line(&format!("let {shared} = {factor};"));
            for (column, place) in places.iter().enumerate() {
                let outer = vec![String::new(); self.kernel.local_axes];
                let axes = outer.into_iter().chain(place.iter().cloned()).collect();
                let mut copies = self.row_copies(stage, axes, product, &k);
                let weight = self.computed(stage, &mut copies, product.own);
                let sum = if places.len() > 1 { format!("{sums}[{column}]") } else { sums.clone() };
                self.line(&format!("{sum} += {weight} * {shared};"));
            }
            if product.is_binary {
                self.close();
            }
        }
        self.close();
        sums
    }

    fn row_copies(
        &self,
        stage: &Stage,
        mut axes: Vec<String>,
        product: &RowProduct,
        k: &str,
    ) -> Copies {
        axes.resize(stage.axes.len(), String::new());
        let mut values = self.values(stage, axes);
        let extents = &stage.loops[product.number].axes;
        let counter = |extent: &Dim| if extent.is_one() { "0".to_owned() } else { k.to_owned() };
        values.loops[product.number].axes = extents.iter().map(counter).collect();
        Copies::one(stage, values)
    }

    /// A value with all that it is computed from.
    fn computed(&mut self, stage: &Stage, copies: &mut Copies, val: Val) -> String {
        for val in tile::closure(stage, [val]) {
            self.value(stage, copies, val);
        }
        self.operand(stage, &copies.points[0], val)
    }

    /// A vector with a component for each row.
    fn vector(&self) -> &'static str {
        match self.rows {
            2 => "vec2<f32>",
            4 => "vec4<f32>",
            8 => "mat2x4<f32>",
            _ => "mat4x4<f32>",
        }
    }

    fn component(&self, vector: &str, row: &str) -> String {
        match self.rows {
            2 | 4 => format!("{vector}[{row}]"),
            _ => format!("{vector}[{row} / 4][{row} % 4]"),
        }
    }

    // ---- products ----

    fn product(&mut self) -> (Dispatch, Chunking) {
        let stage = &self.kernel.stages[0];
        let Some(product) = tile::product(self.program, self.kernel) else { return self.points() };
        let Product { shared, own } = &product;
        let span = own.tile * LANES;
        let Words { group, groups, .. } = &self.words;
        let number = format!("i32({group}.y * {groups}.x + {group}.x)");
        let tile = self.names.take("tile");
        self.line(&format!("let {tile} = {number};"));
        let (shared_tile, own_tile, dispatch) = match (own.tiles(span), shared.tiles(shared.tile)) {
            (Some(1), _) => (tile, "0".to_owned(), workgroups(shared, shared.tile, 1)),
            (Some(n), _) => (
                format!("({tile} / {n})"),
                format!("({tile} % {n})"),
                workgroups(shared, shared.tile, n),
            ),
            (None, Some(1)) => ("0".to_owned(), tile, workgroups(own, span, 1)),
            (None, n) => {
                let n = n.unwrap_or(1);
                (format!("({tile} % {n})"), format!("({tile} / {n})"), workgroups(own, span, n))
            }
        };
        let lane = self.words.lane.clone();
        let rows = self.tile_side(shared, shared.tile, &shared_tile, |copy| copy.to_string());
        let columns = self.tile_side(own, span, &own_tile, |copy| match copy {
            0 => format!("i32({lane})"),
            _ => format!("i32({lane}) + {}", copy * LANES),
        });
        let own_extent = own.extent();
        let mut points = Vec::new();
        for row in &rows {
            for column in &columns {
                let mut values = self.values(stage, vec!["0".to_owned(); stage.axes.len()]);
                let indices = shared.indices.iter().zip(&row.indices);
                for (index, name) in indices.chain(own.indices.iter().zip(&column.indices)) {
                    match index {
                        Index::Time => values.step.clone_from(name),
                        Index::Axis(axis) => values.axes[*axis].clone_from(name),
                    }
                }
                let guards: Vec<&str> =
                    [&row.guard, &column.guard].into_iter().flatten().map(String::as_str).collect();
                values.guard = (!guards.is_empty()).then(|| guards.join(" && "));
                let extent = self.dim(&own_extent);
                values.point = format!("{} * {extent} + {}", row.flat, column.flat);
                points.push(values);
            }
        }
        let copies =
            Copies { points, columns: columns.len(), differs: tile::differs(stage, &product) };
        self.stage(stage, copies);
        let chunking = match self.is_chunked_reduction {
            true => self.ranges(stage, &(&shared.extent() * &own_extent), 1),
            false => Chunking::Whole,
        };
        (dispatch, chunking)
    }

    /// The points of a side that an invocation computes: of the tile of this number, of so many points.
    fn tile_side(
        &mut self,
        side: &Side,
        span: i64,
        number: &str,
        within: impl Fn(i64) -> String,
    ) -> Vec<TilePoint> {
        let end = self.dim(&side.extent());
        let mut points = Vec::new();
        for copy in 0..side.tile {
            let at = match (number, within(copy).as_str()) {
                ("0", within) => within.to_owned(),
                (_, "0") => format!("{number} * {span}"),
                (_, within) => format!("{number} * {span} + {within}"),
            };
            let wanted = match side.indices[..] {
                [Index::Axis(axis)] => self.words.axes[axis].clone(),
                [Index::Time] => self.words.step.clone(),
                _ => "point".to_owned(),
            };
            let mut flat = self.names.take(&wanted);
            self.line(&format!("let {flat} = {at};"));
            let guard = (!side.is_whole(span)).then(|| format!("{flat} < {end}"));
            let own_flat = flat.clone();
            if guard.is_some() {
                let name = self.names.take(&format!("{wanted}_inside"));
                self.line(&format!("let {name} = min({flat}, {end} - 1);"));
                flat = name;
            }
            let names: Vec<String> = side
                .indices
                .iter()
                .map(|index| match index {
                    Index::Axis(axis) => self.names.take(&format!("i{axis}")),
                    Index::Time => self.names.take("t"),
                })
                .collect();
            let indices = self.split(&flat, &side.extents, &names, "let");
            points.push(TilePoint { flat: own_flat, indices, guard });
        }
        points
    }

    fn steps(&self, lanes: u32, stages: Vec<StepWork>) -> Chunking {
        let direction = self.kernel.recurrence.unwrap_or(Direction::Forward);
        Chunking::Steps { length: self.time.clone(), direction, lanes, stages }
    }

    /// The number of the invocation, from which the surplus ones return.
    fn point_of_invocation(&mut self, count: &Dim) {
        let count = match count.as_const() {
            Some(count) => format!("{}u", count.max(0)),
            None => format!("u32({})", self.dim(count)),
        };
        let Words { group, groups, lane, point, .. } = &self.words;
        let (size, point) = (self.workgroup_size, point.clone());
        let number = format!("({group}.y * {groups}.x + {group}.x) * {size}u + {lane}");
        let flat = self.names.take("invocation");
        self.line(&format!("let {flat} = {number};"));
        self.open(&format!("if ({flat} >= {count})"));
        self.line("return;");
        self.close();
        self.line(&format!("let {point} = i32({flat});"));
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

    /// Takes a flat index apart; gives the names of the indices.
    fn split(
        &mut self,
        flat: &str,
        extents: &[Dim],
        names: &[String],
        keyword: &str,
    ) -> Vec<String> {
        let varying: Vec<usize> = (0..extents.len())
            .filter(|axis| keyword == "var" || !extents[*axis].is_one())
            .collect();
        let mut result = vec!["0".to_owned(); extents.len()];
        if let (&[only], "let") = (&varying[..], keyword) {
            result[only] = flat.to_owned();
            return result;
        }
        for (position, &axis) in varying.iter().enumerate() {
            let mut value = flat.to_owned();
            let inner = Dim::product(&extents[axis + 1..]);
            if !inner.is_one() {
                let _ = write!(value, " / {}", self.divisor(&inner));
            }
            if position > 0 {
                let _ = write!(value, " % {}", self.divisor(&extents[axis]));
            }
            self.line(&format!("{keyword} {} = {value};", names[axis]));
            result[axis].clone_from(&names[axis]);
        }
        result
    }

    /// An extent to divide by: an empty axis has no points, but its shader must be valid.
    fn divisor(&mut self, extent: &Dim) -> String {
        if extent.is_zero() { "1".to_owned() } else { self.dim(extent) }
    }

    // ---- bodies ----

    /// Names for the values of a point with these indices.
    fn values(&self, stage: &Stage, axes: Vec<String>) -> Values {
        Values {
            names: vec![None; stage.insts.len()],
            axes,
            loops: vec![LoopNames::default(); stage.loops.len()],
            point: self.words.point.clone(),
            step: self.words.step.clone(),
            guard: None,
        }
    }

    fn stage(&mut self, stage: &Stage, mut copies: Copies) {
        for val in &stage.body {
            self.value(stage, &mut copies, *val);
        }
        for values in &copies.points {
            self.results(stage, values);
        }
    }

    /// Stores what a point computes, if there is such a point.
    fn results(&mut self, stage: &Stage, values: &Values) {
        let depth = self.depth;
        if let Some(guard) = &values.guard {
            self.open(&format!("if ({guard})"));
        }
        if self.is_chunked_reduction {
            let last = self.field("last", FieldValue::Last);
            if self.form == Form::Teams {
                self.open(&format!("if ({} == 0u)", self.words.lane));
            }
            self.open(&format!("if ({last} == 1)"));
            stage.stores.iter().for_each(|store| self.store(stage, values, store));
            self.depth -= 1;
            self.open("} else");
            self.save_partials(stage, values);
        } else {
            stage.stores.iter().for_each(|store| self.store(stage, values, store));
        }
        while self.depth > depth {
            self.close();
        }
    }

    /// Defines a value of all copies, unless it is written out where it is used.
    fn value(&mut self, stage: &Stage, copies: &mut Copies, val: Val) {
        self.span = stage.spans.get(val.0 as usize).copied().flatten().or(self.span);
        if let Inst::Reduce(index) = stage.inst(val) {
            return self.reduce(stage, copies, val, *index);
        }
        for copy in copies.owners(val) {
            self.define(stage, &mut copies.points[copy], val);
        }
        copies.share(val);
    }

    fn define(&mut self, stage: &Stage, values: &mut Values, val: Val) {
        let Some(text) = self.expression(stage, values, val) else { return };
        let name = self.names.take(&self.wanted_name(stage, val));
        self.line(&format!("let {name} = {text};"));
        values.names[val.0 as usize] = Some(name);
    }

    fn wanted_name(&self, stage: &Stage, val: Val) -> String {
        let stored = stage.stores.iter().find(|store| store.value == val);
        match (stored, stage.inst(val)) {
            (Some(store), _) => format!("new_{}", self.program.buffer(store.buffer).name),
            (None, Inst::Load(buffer, _)) => self.program.buffer(*buffer).name.clone(),
            _ => format!("v{}", val.0),
        }
    }

    /// The expression of a value that gets a name.
    fn expression(&mut self, stage: &Stage, values: &Values, val: Val) -> Option<String> {
        Some(match stage.inst(val) {
            Inst::Quotient(arg, dim) => {
                format!("{} / {}", self.operand(stage, values, *arg), self.divisor(dim))
            }
            Inst::Remainder(arg, dim) => {
                format!("{} % {}", self.operand(stage, values, *arg), self.divisor(dim))
            }
            Inst::Affine(affine) => self.affine(stage, values, affine),
            Inst::Load(buffer, at) => {
                let place = self.place(stage, values, *buffer, at);
                match (self.program.buffer(*buffer).elem, self.element(*buffer)) {
                    (Elem::Bool, _) => format!("{place} != 0u"),
                    (elem, None) => format!("bitcast<{}>({place})", elem.name()),
                    _ => place,
                }
            }
            Inst::Map(op, args) => self.map(stage, values, *op, args),
            _ => return None,
        })
    }

    fn map(&mut self, stage: &Stage, values: &Values, op: Pointwise, args: &[Val]) -> String {
        let mut operands: Vec<String> =
            args.iter().map(|arg| self.operand(stage, values, *arg)).collect();
        // An operation on literals alone would be a constant expression, whose overflow is an error.
        if args.iter().all(|arg| is_literal(stage.inst(*arg))) {
            let name = self.names.take(&format!("c{}", args[0].0));
            self.line(&format!("let {name} = {};", operands[0]));
            operands[0] = name;
        }
        let mut spelling = op.row().wgsl;
        let is_integer = args.last().is_some_and(|arg| stage.elem(*arg, self.program) == Elem::I32);
        if let Some(builtin) = spelling.strip_prefix("fgi_") {
            if is_integer {
                spelling = builtin;
            } else {
                self.helpers.extend(spelling.split('(').next().map(str::to_owned));
            }
        }
        operands.iter().enumerate().fold(spelling.to_owned(), |text, (position, operand)| {
            text.replace(&format!("{{{position}}}"), operand)
        })
    }

    /// A value as an operand: its name, or itself where it is atomic.
    fn operand(&mut self, stage: &Stage, values: &Values, val: Val) -> String {
        match stage.inst(val) {
            Inst::F32(bits) => self.float(*bits),
            Inst::I32(value) if *value < 0 => format!("({value})"),
            Inst::I32(value) => value.to_string(),
            Inst::Bool(value) => value.to_string(),
            Inst::Dim(dim) => self.dim(dim),
            Inst::Axis(axis) => values.axes[*axis].clone(),
            Inst::Time => values.step.clone(),
            Inst::LoopAxis(index, axis) => values.loops[*index].axes[*axis].clone(),
            Inst::LoopTime(index) => values.loops[*index].time.clone(),
            // A missing name is found by the validator, with the text.
            _ => values.names[val.0 as usize].clone().unwrap_or_else(|| format!("v{}", val.0)),
        }
    }

    fn affine(&mut self, stage: &Stage, values: &Values, affine: &Affine) -> String {
        let mut text = String::new();
        for (val, factor) in &affine.terms {
            let operand = self.operand(stage, values, *val);
            let (sign, factor) = match factor.as_const() {
                Some(n) if n < 0 => (" - ", Dim::constant(-n)),
                _ => (" + ", factor.clone()),
            };
            match (text.is_empty(), sign) {
                (true, " + ") => {}
                (true, _) => text.push('-'),
                (false, _) => text.push_str(sign),
            }
            text.push_str(&operand);
            if !factor.is_one() {
                let _ = write!(text, " * {}", self.dim(&factor));
            }
        }
        match affine.constant.as_const() {
            Some(0) if !text.is_empty() => {}
            Some(n) if !text.is_empty() && n < 0 => {
                let _ = write!(text, " - {}", n.unsigned_abs());
            }
            _ if text.is_empty() => text = self.dim(&affine.constant),
            _ => {
                let _ = write!(text, " + {}", self.dim(&affine.constant));
            }
        }
        text
    }

    fn store(&mut self, stage: &Stage, values: &Values, store: &Store) {
        let place = self.place(stage, values, store.buffer, &store.at);
        let value = self.operand(stage, values, store.value);
        let value = match (self.program.buffer(store.buffer).elem, self.element(store.buffer)) {
            (Elem::Bool, _) => format!("select(0u, 1u, {value})"),
            (_, None) => format!("bitcast<u32>({value})"),
            _ => value,
        };
        self.line(&format!("{place} = {value};"));
    }

    /// An element of a buffer.
    fn place(&mut self, stage: &Stage, values: &Values, buffer: BufferId, at: &Affine) -> String {
        let index = self.affine(stage, values, at);
        let group = self.group_of(buffer);
        let bound = &self.bound[&group];
        let name = bound.name.clone();
        let base = match self.groups[group].members.as_slice() {
            [_] => return format!("{name}[{index}]"),
            members => members.iter().find(|(id, _)| *id == buffer).map(|(_, offset)| offset),
        };
        let base = base.map_or_else(|| "0".to_owned(), |offset| self.offset(buffer, offset));
        if index == "0" { format!("{name}[{base}]") } else { format!("{name}[{base} + {index}]") }
    }

    fn offset(&mut self, buffer: BufferId, offset: &Dim) -> String {
        if let Some(name) = self.constant_of.get(&buffer) {
            return name.clone();
        }
        let wanted = format!("{}_at", self.program.buffer(buffer).name);
        let name = match offset.as_const() {
            Some(value) => {
                let name = self.names.take(&wanted);
                self.constants.insert(name.clone(), value);
                name
            }
            None => self.field(&wanted, FieldValue::Dim(offset.clone())),
        };
        self.constant_of.insert(buffer, name.clone());
        name
    }

    fn group_of(&self, buffer: BufferId) -> usize {
        let holds = |(_, bound): &(&usize, &Bound)| bound.buffers.contains(&buffer);
        self.bound.iter().find(holds).map_or(0, |(group, _)| *group)
    }

    fn element(&self, buffer: BufferId) -> Option<Elem> {
        self.bound[&self.group_of(buffer)].elem
    }

    // ---- reductions ----

    fn reduce(&mut self, stage: &Stage, copies: &mut Copies, val: Val, index: usize) {
        let reduce = &stage.loops[index];
        let extents = reduce.extents(self.program);
        let unrolled = self.unrolled(reduce);
        let k = self.names.take("k");
        let owners = copies.owners(val);
        for copy in &owners {
            let accumulators = self.accumulators(reduce.reduction);
            copies.points[*copy].names[val.0 as usize] = accumulators.last().cloned();
            copies.points[*copy].loops[index].accumulators = accumulators;
        }
        let (start, end) = if self.is_chunked_reduction {
            let start = self.field("k_start", FieldValue::LoopStart(index));
            let end = self.field("k_end", FieldValue::LoopEnd(index));
            let points = owners.iter().map(|copy| &copies.points[*copy]);
            self.load_partials(stage, index, points, &start);
            (start, end)
        } else {
            let length = reduce.length(self.program);
            ("0".to_owned(), self.dim(&length))
        };
        let is_team = self.form == Form::Teams;
        let counters = if is_team {
            let (lane, lanes) = (self.words.lane.clone(), self.workgroup_size);
            let head =
                format!("for (var {k} = {start} + i32({lane}); {k} < {end}; {k} += {lanes})");
            self.open(&head);
            let names: Vec<String> =
                (0..extents.len()).map(|axis| self.names.take(&format!("{k}_{axis}"))).collect();
            self.split(&k, &extents, &names, "let")
        } else {
            let counters = self.counters(&k, &extents, &start);
            self.open(&format!("for (var {k} = {start}; {k} < {end}; {k} += {unrolled})"));
            counters
        };
        for copy in 0..unrolled {
            let counters =
                if copy == 0 { counters.clone() } else { self.shifted(&k, &counters, copy) };
            let k = if copy == 0 { k.clone() } else { format!("{k} + {copy}") };
            for values in &mut copies.points {
                set_counters(&mut values.loops[index], reduce, &counters);
            }
            self.iteration(stage, copies, (val, index), &k);
        }
        if !is_team {
            self.count(&k, &counters, &extents);
        }
        self.close();
        if is_team {
            let accumulators = copies.points[0].loops[index].accumulators.clone();
            self.combine_lanes(reduce.reduction, &accumulators);
        }
        copies.share(val);
    }

    /// Computes what a loop reduces, and reduces it.
    fn iteration(
        &mut self,
        stage: &Stage,
        copies: &mut Copies,
        (result, index): (Val, usize),
        k: &str,
    ) {
        let reduce = &stage.loops[index];
        let gather = self.gather(stage, index);
        let (spike, weight) = gather.unzip();
        for val in &reduce.body {
            let is_factor = weight == Some(*val) || spike.is_some() && reduce.value == *val;
            if !is_factor {
                self.value(stage, copies, *val);
            }
        }
        if let (Some(spike), Some(weight)) = (spike, weight) {
            let spike = self.operand(stage, &copies.points[0], spike);
            self.open(&format!("if ({spike} != 0.0)"));
            self.value(stage, copies, weight);
        }
        for copy in copies.owners(result) {
            let values = &copies.points[copy];
            let value = self.operand(stage, values, weight.unwrap_or(reduce.value));
            self.accumulate(reduce.reduction, &values.loops[index].accumulators, &value, k);
        }
        if weight.is_some() {
            self.close();
        }
    }

    /// The factors of a sum of products one of which is 0 or 1, the same for all lanes: the other,
    /// a weight of the lane's own, is loaded only where it counts.
    fn gather(&self, stage: &Stage, index: usize) -> Option<(Val, Val)> {
        let contraction = stage.contraction(index).filter(|_| self.form == Form::Rows)?;
        let Inst::Map(_, args) = stage.inst(stage.loops[index].value) else { return None };
        let is_spike = |(buffer, at): (BufferId, &Affine)| {
            let mut terms = at.terms.iter();
            self.program.buffer(buffer).binary && !terms.any(|(val, _)| self.differs(stage, *val))
        };
        let body = &stage.loops[index].body;
        let is_own = |val: Val| {
            body.contains(&val)
                && body.iter().all(|user| {
                    *user == stage.loops[index].value
                        || !stage.inst(*user).operands().contains(&val)
                })
        };
        match args[..] {
            [spike, weight] if is_spike(contraction.left) && is_own(weight) => {
                Some((spike, weight))
            }
            [weight, spike] if is_spike(contraction.right) && is_own(weight) => {
                Some((spike, weight))
            }
            _ => None,
        }
    }

    /// An index is not the same for all lanes of a workgroup.
    fn differs(&self, stage: &Stage, val: Val) -> bool {
        let mut open = vec![val];
        let mut seen = BTreeSet::new();
        while let Some(val) = open.pop() {
            match stage.inst(val) {
                Inst::Axis(axis) if *axis >= self.kernel.local_axes => return true,
                Inst::Load(..) | Inst::Reduce(_) => return true,
                inst => open.extend(inst.operands().into_iter().filter(|val| seen.insert(*val))),
            }
        }
        false
    }

    /// How many iterations of a loop are written out. Drivers overlap them; and the one that ends
    /// long loops counts them once.
    fn unrolled(&self, reduce: &ReduceLoop) -> i64 {
        let length = reduce.length(self.program).as_const();
        let varying = reduce.axes.iter().filter(|dim| !dim.is_one()).count();
        let is_simple = self.form == Form::Rows && varying <= 1 && !reduce.over_time;
        let fits = length.is_some_and(|length| length >= 16 && length % 4 == 0);
        if is_simple && fits { 4 } else { 1 }
    }

    /// The indices of a written-out iteration of a loop with one varying index.
    fn shifted(&mut self, k: &str, counters: &[String], offset: i64) -> Vec<String> {
        let name = self.names.take("k");
        self.line(&format!("let {name} = {k} + {offset};"));
        counters.iter().map(|c| if c == k { name.clone() } else { c.clone() }).collect()
    }

    /// The iterations of a stage's loops in a step.
    fn iterations(&self, stage: &Stage) -> Dim {
        let loops = stage.loops.iter();
        loops.fold(Dim::zero(), |sum, reduce| &sum + &self.written_iterations(reduce))
    }

    /// The iterations of a loop as it is written.
    fn written_iterations(&self, reduce: &ReduceLoop) -> Dim {
        let length = reduce.length(self.program);
        let unrolled = Dim::constant(self.unrolled(reduce));
        length.exact_div(&unrolled).unwrap_or(length)
    }

    /// Declares the variables of a reduction; the last is the result.
    fn accumulators(&mut self, reduction: Reduction) -> Vec<String> {
        let (name, identity) = match reduction {
            Reduction::Sum => ("sum", "0.0".to_owned()),
            Reduction::Prod => ("prod", "1.0".to_owned()),
            Reduction::Max => ("most", self.float(f32::NEG_INFINITY.to_bits())),
            Reduction::Min => ("least", self.float(f32::INFINITY.to_bits())),
            Reduction::ArgMax => ("most", self.float(f32::NEG_INFINITY.to_bits())),
        };
        let name = self.names.take(name);
        self.line(&format!("var {name} = {identity};"));
        if reduction != Reduction::ArgMax {
            return vec![name];
        }
        let place = self.names.take("argmax");
        self.line(&format!("var {place} = 0;"));
        vec![name, place]
    }

    fn accumulate(&mut self, reduction: Reduction, names: &[String], value: &str, k: &str) {
        let name = &names[0];
        match reduction {
            Reduction::Sum => self.line(&format!("{name} += {value};")),
            Reduction::Prod => self.line(&format!("{name} *= {value};")),
            Reduction::Max | Reduction::Min => {
                let helper = if reduction == Reduction::Max { "fgi_max" } else { "fgi_min" };
                self.helpers.insert(helper.to_owned());
                self.line(&format!("{name} = {helper}({name}, {value});"));
            }
            Reduction::ArgMax => {
                self.open(&format!("if ({value} > {name})"));
                self.line(&format!("{name} = {value};"));
                self.line(&format!("{} = {k};", names[1]));
                self.close();
            }
        }
    }

    /// Reduces the lanes' results in a tree, whose order is fixed; all lanes get the result.
    fn combine_lanes(&mut self, reduction: Reduction, accumulators: &[String]) {
        let (lane, partials) = (self.words.lane.clone(), self.words.partials.clone());
        let (name, half) = (&accumulators[0], self.workgroup_size / 2);
        let width = self.names.take("width");
        if !self.workgroup.iter().any(|(name, ..)| *name == partials) {
            self.workgroup.push((partials.clone(), "f32", i64::from(self.workgroup_size)));
        }
        self.line(&format!("{partials}[{lane}] = {name};"));
        self.line("workgroupBarrier();");
        self.open(&format!("for (var {width} = {half}u; {width} > 0u; {width} /= 2u)"));
        self.open(&format!("if ({lane} < {width})"));
        let other = format!("{partials}[{lane} + {width}]");
        self.accumulate(reduction, accumulators, &other, "0");
        self.line(&format!("{partials}[{lane}] = {name};"));
        self.close();
        self.line("workgroupBarrier();");
        self.close();
        self.line(&format!("{name} = {partials}[0];"));
        self.line("workgroupBarrier();");
    }

    /// The indices of a loop: itself, or counters beside it, which spares a division an iteration.
    fn counters(&mut self, k: &str, extents: &[Dim], start: &str) -> Vec<String> {
        let varying: Vec<usize> =
            (0..extents.len()).filter(|axis| !extents[*axis].is_one()).collect();
        let mut result = vec!["0".to_owned(); extents.len()];
        match varying[..] {
            [] => {}
            [only] => k.clone_into(&mut result[only]),
            _ => {
                for axis in &varying {
                    result[*axis] = self.names.take(&format!("{k}_{axis}"));
                }
                let extents: Vec<Dim> = varying.iter().map(|axis| extents[*axis].clone()).collect();
                let names: Vec<String> = varying.iter().map(|axis| result[*axis].clone()).collect();
                if start == "0" {
                    names.iter().for_each(|name| self.line(&format!("var {name} = 0;")));
                } else {
                    self.split(start, &extents, &names, "var");
                }
            }
        }
        result
    }

    /// Moves the counters on, the innermost first.
    fn count(&mut self, k: &str, counters: &[String], extents: &[Dim]) {
        let moving: Vec<usize> = (0..counters.len())
            .filter(|axis| counters[*axis] != "0" && counters[*axis] != k)
            .collect();
        let depth = self.depth;
        for (position, &axis) in moving.iter().enumerate().rev() {
            let counter = &counters[axis];
            self.line(&format!("{counter} += 1;"));
            if position > 0 {
                let extent = self.dim(&extents[axis]);
                self.open(&format!("if ({counter} == {extent})"));
                self.line(&format!("{counter} = 0;"));
            }
        }
        while self.depth > depth {
            self.close();
        }
    }

    /// Goes on from what an earlier dispatch has reduced.
    fn load_partials<'v>(
        &mut self,
        stage: &Stage,
        index: usize,
        points: impl Iterator<Item = &'v Values>,
        start: &str,
    ) {
        let first_lane = match self.form {
            Form::Teams => format!(" && {} == 0u", self.words.lane),
            _ => String::new(),
        };
        self.open(&format!("if ({start} > 0{first_lane})"));
        for values in points {
            for (number, name) in values.loops[index].accumulators.iter().enumerate() {
                let place = self.scratch(stage, values, index, number);
                let elem = if number == 0 { "f32" } else { "i32" };
                self.line(&format!("{name} = bitcast<{elem}>({place});"));
            }
        }
        self.close();
    }

    fn save_partials(&mut self, stage: &Stage, values: &Values) {
        for (index, names) in values.loops.iter().enumerate() {
            for (number, name) in names.accumulators.iter().enumerate() {
                let place = self.scratch(stage, values, index, number);
                self.line(&format!("{place} = bitcast<u32>({name});"));
            }
        }
    }

    /// The place of an accumulator of a loop.
    fn scratch(&self, stage: &Stage, values: &Values, index: usize, number: usize) -> String {
        let before = stage.loops[..index].iter();
        let slot = number + before.map(|l| accumulator_count(l.reduction)).sum::<usize>();
        let (scratch, point) = (&self.words.scratch, &values.point);
        match (slots(stage), slot) {
            (1, _) => format!("{scratch}[{point}]"),
            (slots, 0) => format!("{scratch}[{point} * {slots}]"),
            (slots, _) => format!("{scratch}[{point} * {slots} + {slot}]"),
        }
    }

    // ---- atoms ----

    fn float(&mut self, bits: u32) -> String {
        let value = f32::from_bits(bits);
        let name = match value {
            _ if value.is_nan() => "nan",
            f32::INFINITY => "infinity",
            f32::NEG_INFINITY => "minus_infinity",
            // The shortest number that means the greatest is greater than it, which browsers refuse.
            f32::MIN => return format!("({:?})", f64::from(value)),
            f32::MAX => return format!("{:?}", f64::from(value)),
            _ if value.is_sign_negative() => return format!("({value:?})"),
            _ => return format!("{value:?}"),
        };
        // WGSL has no such literals, and refuses constant expressions that give them.
        let bits = Dim::constant(i64::from(bits.cast_signed()));
        let field = self.field(name, FieldValue::Dim(bits));
        format!("bitcast<f32>({field})")
    }

    fn dim(&mut self, dim: &Dim) -> String {
        match dim.as_const() {
            Some(value) if value < 0 => format!("({value})"),
            Some(value) => value.to_string(),
            None => self.field(&dim_name(dim), FieldValue::Dim(dim.clone())),
        }
    }

    /// A field of the uniform struct.
    fn field(&mut self, wanted: &str, value: FieldValue) -> String {
        let known = self.fields.iter().find(|field| field.value == value);
        let name = match known {
            Some(field) => field.name.clone(),
            None => {
                let name = self.field_names.take(wanted);
                self.fields.push(Field { name: name.clone(), value });
                name
            }
        };
        format!("{}.{name}", self.words.args)
    }

    fn line(&mut self, text: &str) {
        if let Some(span) = self.span.filter(|span| self.marks.last().is_none_or(|m| m.1 != *span))
        {
            self.marks.push((self.text.matches('\n').count(), span));
        }
        let _ = writeln!(self.text, "{:width$}{text}", "", width = 4 * self.depth);
    }

    fn open(&mut self, head: &str) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.line("}");
    }

    // ---- the module ----

    fn finish(
        self,
        pass: Pass,
        dispatch: Dispatch,
        chunking: Chunking,
        sources: &Sources,
    ) -> Shader {
        let mut text = self.comment(sources);
        if !self.fields.is_empty() {
            let name = &self.words.args;
            text.push_str("\nstruct Args {\n");
            for field in &self.fields {
                let _ = writeln!(text, "    {}: i32,", field.name);
            }
            let _ = write!(text, "}}\n\n@group(0) @binding(0) var<uniform> {name}: Args;\n");
        } else {
            text.push('\n');
        }
        for (position, bound) in self.bound.values().enumerate() {
            let access = if bound.writable { "read_write" } else { "read" };
            let elem = match bound.elem {
                Some(Elem::F32) => "f32",
                Some(Elem::I32) => "i32",
                _ => "u32",
            };
            let binding = position + 1;
            let name = &bound.name;
            let _ = writeln!(
                text,
                "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{elem}>;"
            );
        }
        if self.is_chunked_reduction {
            let (binding, name) = (self.bound.len() + 1, &self.words.scratch);
            let _ = writeln!(
                text,
                "@group(0) @binding({binding}) var<storage, read_write> {name}: array<u32>;"
            );
        }
        for (name, elem, size) in &self.workgroup {
            let _ = writeln!(text, "\nvar<workgroup> {name}: array<{elem}, {size}>;");
        }
        if !self.constants.is_empty() {
            text.push_str("\n// Where the parts of shared buffers begin.\n");
        }
        for (name, value) in &self.constants {
            let _ = writeln!(text, "const {name} = {value};");
        }
        let mut helpers: Vec<&str> = Vec::new();
        for helper in self.helpers.iter().flat_map(|name| math::with_callees(name)) {
            if !helpers.contains(&helper) {
                let _ = write!(text, "\n{helper}");
                helpers.push(helper);
            }
        }
        let Words { group, groups, lane, .. } = &self.words;
        let _ = write!(
            text,
            "\n@compute @workgroup_size({size})\nfn {entry}(\n    \
             @builtin(workgroup_id) {group}: vec3<u32>,\n    \
             @builtin(num_workgroups) {groups}: vec3<u32>,\n    \
             @builtin(local_invocation_index) {lane}: u32,\n) {{\n",
            size = self.workgroup_size,
            entry = self.entry,
        );
        let first = text.matches('\n').count() + 1;
        let lines = self.marks.iter().map(|(line, span)| ((first + line) as u32, *span)).collect();
        text.push_str(&self.text);
        text.push_str("}\n");
        let groups = self.bound.into_iter().map(|(group, bound)| Binding {
            memory: Memory::Group(group),
            writable: bound.writable,
            buffers: bound.buffers,
        });
        let scratch = Binding { memory: Memory::Scratch, writable: true, buffers: Vec::new() };
        let scratch = self.is_chunked_reduction.then_some(scratch);
        Shader {
            name: self.kernel.name.clone(),
            pass,
            entry: self.entry,
            text,
            lines,
            workgroup_size: self.workgroup_size,
            uniforms: self.fields,
            bindings: groups.chain(scratch).collect(),
            dispatch,
            chunking,
        }
    }

    /// What the kernel is and where it was written.
    fn comment(&self, sources: &Sources) -> String {
        let mut text = format!("// {}\n", self.kernel.name);
        let Some(span) = self.kernel.span else { return text };
        if let Some(source) = sources.get(span.file) {
            let (line, _) = sources.line_column(span);
            let written = source.text.lines().nth(line - 1).unwrap_or("").trim();
            // WGSL ends a comment at more characters than a line feed.
            let written: String = written
                .chars()
                .map(|c| if c.is_control() || "\u{2028}\u{2029}".contains(c) { ' ' } else { c })
                .collect();
            let _ = writeln!(text, "// {}:{line}: {written}", source.name);
        }
        text
    }
}

/// A long reduction to at most so many points gets a workgroup for each.
const FEW_POINTS: i64 = 64;

fn form(program: &Program, kernel: &Kernel, is_chunked_reduction: bool) -> Form {
    let is_local = |stage: &Stage| stage.axes.len() == kernel.local_axes;
    let is_narrow = |stage: &Stage| {
        let points = Dim::product(&stage.axes).as_const();
        let is_simple = |reduce: &ReduceLoop| reduce.reduction != Reduction::ArgMax;
        !stage.timed
            && points.is_some_and(|points| points <= FEW_POINTS)
            && stage.loops.iter().all(is_simple)
    };
    match kernel.recurrence {
        None if is_chunked_reduction && is_narrow(&kernel.stages[0]) => Form::Teams,
        None if tile::product(program, kernel).is_some() => Form::Product,
        None => Form::Points,
        Some(_) if kernel.stages.iter().all(is_local) => Form::Elements,
        Some(_) => Form::Rows,
    }
}

/// Workgroups for all tiles of a side, so many times.
fn workgroups(side: &Side, span: i64, times: i64) -> Dispatch {
    match side.tiles(span) {
        Some(tiles) => Dispatch::Workgroups(Dim::constant(tiles * times)),
        // Each point's share of a workgroup, or more, so that tiles are rounded up.
        None => {
            let rest = if times > 1 { Dim::constant(span - 1) } else { Dim::zero() };
            let share = Dim::constant(times * LANES / span.min(LANES));
            Dispatch::Invocations(&(&side.extent() + &rest) * &share)
        }
    }
}

/// A workgroup that owns a row has about as many lanes as the row has points; one that owns several,
/// a quarter of them.
fn workgroup_size(kernel: &Kernel, form: Form, rows: i64) -> u32 {
    let widths = kernel.stages.iter().map(|stage| Dim::product(&stage.axes[kernel.local_axes..]));
    let width = widths.filter_map(|width| width.as_const()).max().unwrap_or(0);
    let lanes = if rows > 1 { width / 4 } else { width };
    match (form, lanes) {
        (Form::Rows, 65..=128) => 128,
        (Form::Rows, 129..) | (Form::Teams, _) => 256,
        _ => 64,
    }
}

/// The groups that a kernel binds.
fn bind(
    program: &Program,
    kernel: &Kernel,
    groups: &[Group],
    names: &mut Names,
) -> BTreeMap<usize, Bound> {
    let (touched, written) = (touched(kernel), written(kernel));
    let mut bound = BTreeMap::new();
    for (index, group) in groups.iter().enumerate() {
        let ids = group.members.iter().map(|(id, _)| *id);
        let buffers: Vec<BufferId> = ids.filter(|id| touched.contains(id)).collect();
        let Some(first) = buffers.first() else { continue };
        let elem = program.buffer(*first).elem;
        let is_uniform = buffers.iter().all(|id| program.buffer(*id).elem == elem);
        let name = names.take(&group.name);
        let writable = buffers.iter().any(|id| written.contains(id));
        bound.insert(index, Bound { name, elem: is_uniform.then_some(elem), writable, buffers });
    }
    bound
}

fn set_counters(names: &mut LoopNames, reduce: &ReduceLoop, counters: &[String]) {
    names.axes = counters[usize::from(reduce.over_time)..].to_vec();
    names.time = match reduce.without_first {
        true => format!("({} + 1)", counters[0]),
        false => counters.first().cloned().unwrap_or_default(),
    };
}

fn accumulator_count(reduction: Reduction) -> usize {
    if reduction == Reduction::ArgMax { 2 } else { 1 }
}

/// The accumulators of a stage.
fn slots(stage: &Stage) -> usize {
    stage.loops.iter().map(|reduce| accumulator_count(reduce.reduction)).sum()
}

fn is_literal(inst: &Inst) -> bool {
    match inst {
        Inst::F32(bits) => f32::from_bits(*bits).is_finite(),
        Inst::I32(_) | Inst::Bool(_) => true,
        Inst::Dim(dim) => dim.as_const().is_some(),
        _ => false,
    }
}

/// `B`, `B_256`, `T_minus_1`.
fn dim_name(dim: &Dim) -> String {
    let mut text = String::new();
    // The constant term sorts first and reads better last.
    let (constant, open): (Vec<_>, Vec<_>) =
        dim.terms().iter().partition(|(factors, _)| factors.is_empty());
    for (factors, value) in open.into_iter().chain(constant) {
        match (text.is_empty(), *value < 0) {
            (true, true) => text.push_str("minus_"),
            (true, false) => {}
            (false, true) => text.push_str("_minus_"),
            (false, false) => text.push_str("_plus_"),
        }
        let mut parts: Vec<String> = factors.iter().map(|factor| factor.to_string()).collect();
        if value.unsigned_abs() != 1 || parts.is_empty() {
            parts.push(value.unsigned_abs().to_string());
        }
        text.push_str(&parts.join("_"));
    }
    text
}
