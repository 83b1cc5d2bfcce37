//! How a kernel runs on a GPU, as data: whoever writes its shader, in whatever language, decides nothing more.

use std::fmt::{self, Display, Formatter};
use std::ops::Deref;

use super::rows::{columns, rows};
use super::storage::{touched, written};
use super::tile::{self, LANES, Product, RowProduct, is_same_for_rows, row_products};
use super::{Binding, Chunking, Dispatch, Group, Limits, Memory, StepWork, time};
use crate::ir::graph::{Dim, Elem, Reduction};
use crate::ir::kernel::{Affine, BufferId, Inst, Kernel, Pass, Program, ReduceLoop, Stage, Val};

/// A kernel, and all that is decided about its shader.
pub(super) struct KernelPlan<'p> {
    pub kernel: &'p Kernel,
    pub pass: Pass,
    pub form: Form,
    pub workgroup_size: u32,
    pub stages: Vec<StagePlan<'p>>,
    pub bindings: Vec<Binding>,
    pub dispatch: Dispatch,
    pub chunking: Chunking,
}

/// What an invocation computes.
#[derive(Clone, Debug)]
pub(super) enum Form {
    /// No recurrence: a point.
    Points,
    /// A long reduction to a few points: with the others of its workgroup, a point.
    Teams,
    /// A matrix product: a tile of points.
    Product(Product),
    /// A recurrence: a point, at each step.
    Elements,
    /// A recurrence: with the others of its workgroup, so many rows, which are points of the local axes.
    Rows(i64),
}

/// A stage, and how it runs.
pub(super) struct StagePlan<'p> {
    stage: &'p Stage,
    /// One for each of its loops.
    pub loop_plans: Vec<LoopPlan>,
    /// Where a workgroup has several rows: the products whose factor of the rows is put into workgroup memory
    /// first.
    pub products: Vec<RowProduct>,
    /// How many points of each row an invocation computes together.
    pub columns: usize,
    /// What is computed once for all rows.
    pub common: Vec<Val>,
}

impl Deref for StagePlan<'_> {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        self.stage
    }
}

/// How a reduction loop runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoopPlan {
    /// How many iterations are written out. Drivers overlap them; and the one that ends long loops counts them
    /// once.
    pub unrolled: i64,
    /// A sum of products one of which is 0 or 1: the other is loaded only where it counts.
    pub gather: Option<Gather>,
}

/// The factors of such a sum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gather {
    /// It is the same for all lanes.
    pub spike: Val,
    /// It is each lane's own.
    pub weight: Val,
}

/// The iterations of a reduction below which a kernel is never cut.
const SHORT: i64 = 8192;

/// A long reduction to at most so many points gets a workgroup for each.
const FEW_POINTS: i64 = 64;

/// The kernel's reductions are long, or of open length.
pub(super) fn is_chunked_reduction(program: &Program, kernel: &Kernel) -> bool {
    let mut loops = kernel.stages.iter().flat_map(|stage| &stage.loops);
    let known = |sum: i64, reduce: &ReduceLoop| Some(sum + reduce.length(program).as_const()?);
    kernel.recurrence.is_none() && loops.try_fold(0, known).is_none_or(|length| length > SHORT)
}

/// How many accumulators a reduction has.
pub(super) fn accumulator_count(reduction: Reduction) -> usize {
    if reduction == Reduction::ArgMax { 2 } else { 1 }
}

/// The accumulators of a stage.
pub(super) fn slots(stage: &Stage) -> usize {
    stage.loops.iter().map(|reduce| accumulator_count(reduce.reduction)).sum()
}

impl<'p> KernelPlan<'p> {
    pub fn new(
        program: &Program,
        (pass, kernel): (Pass, &'p Kernel),
        groups: &[Group],
        limits: &Limits,
    ) -> KernelPlan<'p> {
        let is_chunked = is_chunked_reduction(program, kernel);
        let form = form(program, kernel, is_chunked, limits);
        let most_columns = columns(form.rows(), limits);
        let size = workgroup_size(kernel, &form, most_columns).min(limits.workgroup_size);
        let planner = Planner { program, kernel, form: &form, is_chunked, size, most_columns };
        let stages: Vec<StagePlan> =
            kernel.stages.iter().map(|stage| planner.stage(stage)).collect();
        let dispatch = planner.dispatch();
        let chunking = planner.chunking(&stages);
        let bindings = bindings(kernel, groups, is_chunked);
        KernelPlan {
            kernel,
            pass,
            workgroup_size: size,
            stages,
            bindings,
            dispatch,
            chunking,
            form,
        }
    }

    /// As text, with the names of groups.
    pub fn write(&self, f: &mut Formatter<'_>, groups: &[Group]) -> fmt::Result {
        let KernelPlan { kernel, form, workgroup_size, .. } = self;
        writeln!(f, "{}: {form}, in workgroups of {workgroup_size}", kernel.name)?;
        for binding in &self.bindings {
            let access = if binding.writable { "read_write" } else { "read" };
            let name = match binding.memory {
                Memory::Group(group) => groups[group].name.as_str(),
                Memory::Scratch => "scratch",
            };
            writeln!(f, "  binds {name}: {access}")?;
        }
        match &self.dispatch {
            Dispatch::Invocations(count) => writeln!(f, "  runs {count} invocations")?,
            Dispatch::Workgroups(count) => writeln!(f, "  runs {count} workgroups")?,
        }
        match &self.chunking {
            Chunking::Whole => Ok(()),
            Chunking::Steps { length, .. } => writeln!(f, "  can be cut at each of {length} steps"),
            Chunking::Loops { slots, .. } => {
                writeln!(f, "  can be cut within its loops, with {slots} partial results a point")
            }
        }
    }

    /// It carries partial results from one dispatch to the next.
    pub fn is_chunked_reduction(&self) -> bool {
        matches!(self.chunking, Chunking::Loops { .. })
    }
}

impl Form {
    /// Rows of a recurrence that a workgroup computes.
    pub fn rows(&self) -> i64 {
        match self {
            Form::Rows(rows) => *rows,
            _ => 1,
        }
    }
}

impl Display for Form {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Form::Points => f.write_str("a point an invocation"),
            Form::Teams => f.write_str("a point a workgroup"),
            Form::Product(Product { shared, own, .. }) => {
                write!(f, "{} x {} points of a product an invocation", shared.tile, own.tile)
            }
            Form::Elements => f.write_str("a point at each step an invocation"),
            Form::Rows(1) => f.write_str("a row at each step a workgroup"),
            Form::Rows(rows) => write!(f, "{rows} rows at each step a workgroup"),
        }
    }
}

fn form(program: &Program, kernel: &Kernel, is_chunked: bool, limits: &Limits) -> Form {
    let is_local = |stage: &Stage| stage.axes.len() == kernel.local_axes;
    let is_narrow = |stage: &Stage| {
        let points = Dim::product(&stage.axes).as_const();
        let is_simple =
            |reduce: &ReduceLoop| reduce.reduction != Reduction::ArgMax && reduce.elem == Elem::F32;
        !stage.timed
            && points.is_some_and(|points| points <= FEW_POINTS)
            && stage.loops.iter().all(is_simple)
    };
    match kernel.recurrence {
        None if is_chunked && is_narrow(&kernel.stages[0]) => Form::Teams,
        None => match tile::product(program, kernel, limits) {
            Some(product) => Form::Product(product),
            None => Form::Points,
        },
        Some(_) if kernel.stages.iter().all(is_local) => Form::Elements,
        Some(_) => Form::Rows(rows(program, kernel, limits)),
    }
}

/// Where a workgroup owns rows, an invocation has about so many points of each.
fn workgroup_size(kernel: &Kernel, form: &Form, columns: i64) -> u32 {
    let widths = kernel.stages.iter().map(|stage| Dim::product(&stage.axes[kernel.local_axes..]));
    let width = widths.filter_map(|width| width.as_const()).max().unwrap_or(0);
    match (form, (width + columns - 1) / columns) {
        // The lanes of a processor are few. They are a multiple of the rows.
        (Form::Rows(_), lanes @ ..=256) if columns > 4 => {
            (lanes.max(1) as u32).next_multiple_of(16)
        }
        (Form::Rows(_), 65..=128) => 128,
        (Form::Rows(_), 129..) | (Form::Teams, _) => 256,
        _ => LANES as u32,
    }
}

/// The groups that a kernel binds, and scratch memory last.
fn bindings(kernel: &Kernel, groups: &[Group], has_scratch: bool) -> Vec<Binding> {
    let (touched, written) = (touched(kernel), written(kernel));
    let of_group = |(number, group): (usize, &Group)| {
        let ids = group.members.iter().map(|(id, _)| *id);
        let buffers: Vec<BufferId> = ids.filter(|id| touched.contains(id)).collect();
        let writable = buffers.iter().any(|id| written.contains(id));
        let memory = Memory::Group(number);
        (!buffers.is_empty()).then_some(Binding { memory, writable, buffers })
    };
    let scratch = Binding { memory: Memory::Scratch, writable: true, buffers: Vec::new() };
    let scratch = has_scratch.then_some(scratch);
    groups.iter().enumerate().filter_map(of_group).chain(scratch).collect()
}

/// Decides how the stages of a kernel run.
struct Planner<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    form: &'a Form,
    is_chunked: bool,
    /// Of a workgroup.
    size: u32,
    most_columns: i64,
}

impl Planner<'_> {
    fn stage<'p>(&self, stage: &'p Stage) -> StagePlan<'p> {
        let loops = (0..stage.loops.len()).map(|index| LoopPlan {
            unrolled: self.unrolled(&stage.loops[index]),
            gather: self.gather(stage, index),
        });
        let has_several_rows = self.form.rows() > 1;
        let products = match has_several_rows {
            true => row_products(self.program, self.kernel, stage),
            false => Vec::new(),
        };
        let is_common =
            |val: &Val| has_several_rows && is_same_for_rows(stage, *val, self.kernel.local_axes);
        StagePlan {
            stage,
            loop_plans: loops.collect(),
            columns: if products.is_empty() { 1 } else { self.columns(stage) },
            products,
            common: stage.body.iter().copied().filter(is_common).collect(),
        }
    }

    /// The points of a row.
    fn width(&self, stage: &Stage) -> Dim {
        Dim::product(&stage.axes[self.kernel.local_axes..])
    }

    fn columns(&self, stage: &Stage) -> usize {
        let lanes = i64::from(self.size);
        let width = self.width(stage).as_const();
        let columns = width.map(|width| (width + lanes - 1) / lanes);
        columns.filter(|count| *count <= self.most_columns).map_or(1, |count| count as usize)
    }

    fn unrolled(&self, reduce: &ReduceLoop) -> i64 {
        let length = reduce.length(self.program).as_const();
        let varying = reduce.axes.iter().filter(|dim| !dim.is_one()).count();
        let is_simple = matches!(self.form, Form::Rows(_)) && varying <= 1 && !reduce.over_time;
        let fits = length.is_some_and(|length| length >= 16 && length % 4 == 0);
        if is_simple && fits { 4 } else { 1 }
    }

    fn gather(&self, stage: &Stage, index: usize) -> Option<Gather> {
        let contraction =
            stage.contraction(index).filter(|_| matches!(self.form, Form::Rows(_)))?;
        let Inst::Map(_, args) = stage.inst(stage.loops[index].value) else { return None };
        let is_spike = |(buffer, at): (BufferId, &Affine)| {
            let mut terms = at.terms.iter();
            let local_axes = self.kernel.local_axes;
            self.program.buffer(buffer).binary
                && !terms.any(|(val, _)| differs(stage, *val, local_axes))
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
                Some(Gather { spike, weight })
            }
            [weight, spike] if is_spike(contraction.right) && is_own(weight) => {
                Some(Gather { spike, weight })
            }
            _ => None,
        }
    }

    fn dispatch(&self) -> Dispatch {
        let stage = &self.kernel.stages[0];
        let rows = || Dim::product(&stage.axes[..self.kernel.local_axes]);
        match self.form {
            Form::Points => Dispatch::Invocations(self.points(stage)),
            Form::Teams => Dispatch::Workgroups(self.points(stage)),
            Form::Product(product) => Dispatch::Invocations(invocations(product)),
            Form::Elements => Dispatch::Invocations(self.points(stage)),
            Form::Rows(1) => Dispatch::Workgroups(rows()),
            // Each row's share of a workgroup, so that workgroups are rounded up.
            Form::Rows(count) => {
                let share = Dim::constant(i64::from(self.size) / count);
                Dispatch::Invocations(&rows() * &share)
            }
        }
    }

    /// The points that are computed without order: of a recurrence those of a step.
    fn points(&self, stage: &Stage) -> Dim {
        let time = time(self.program);
        let steps = (stage.timed && self.kernel.recurrence.is_none()).then_some(&time);
        Dim::product(steps.into_iter().chain(&stage.axes))
    }

    fn chunking(&self, stages: &[StagePlan]) -> Chunking {
        let kernel = self.kernel;
        let lanes = match self.form {
            Form::Teams | Form::Rows(_) => self.size,
            _ => 1,
        };
        if let Some(direction) = kernel.recurrence {
            let work = stages.iter().flat_map(|stage| self.work(stage));
            let (length, stages) = (time(self.program), work.collect());
            return Chunking::Steps { length, direction, lanes, stages };
        }
        if !self.is_chunked {
            return Chunking::Whole;
        }
        let stage = &kernel.stages[0];
        let points = match self.form {
            Form::Product(product) => &product.shared.extent() * &product.own.extent(),
            _ => self.points(stage),
        };
        let lengths = stage.loops.iter().map(|reduce| reduce.length(self.program)).collect();
        Chunking::Loops { lengths, slots: slots(stage), points, lanes }
    }

    /// What a stage of a recurrence costs an invocation in a step.
    fn work(&self, stage: &StagePlan) -> Vec<StepWork> {
        match self.form.rows() {
            1 => {
                let points = match self.form {
                    Form::Rows(_) => self.width(stage),
                    _ => Dim::one(),
                };
                let loops = stage.loops.iter().zip(&stage.loop_plans);
                let iterations = loops
                    .map(|(reduce, plan)| self.written_iterations(reduce, plan))
                    .fold(Dim::zero(), |sum, length| &sum + &length);
                vec![StepWork { points, iterations }]
            }
            rows => self.work_of_rows(stage, rows),
        }
    }

    /// The same where a workgroup has several rows: filling workgroup memory, the products, the points.
    fn work_of_rows(&self, stage: &StagePlan, rows: i64) -> Vec<StepWork> {
        let products = &stage.products;
        let rows = Dim::constant(rows);
        let lengths = products.iter().map(|product| Dim::constant(product.length));
        let tiles = lengths.clone().map(|points| StepWork { points, iterations: rows.clone() });
        let width = self.width(stage);
        // A round of lanes has all columns.
        let points = if stage.columns == 1 { width.clone() } else { Dim::one() };
        let words = products.iter().map(|product| Dim::constant(product.words()));
        let shared = lengths.clone().chain(words).fold(Dim::zero(), |sum, length| &sum + &length);
        let is_own = |index: usize| products.iter().all(|product| product.number != index);
        let loops = stage.loops.iter().zip(&stage.loop_plans).enumerate();
        let loops = loops.filter(|(index, _)| is_own(*index));
        let in_row = loops
            .map(|(_, (reduce, plan))| self.written_iterations(reduce, plan))
            .fold(Dim::one(), |sum, length| &sum + &length);
        let products = StepWork { points, iterations: shared };
        let points = StepWork { points: width, iterations: &rows * &in_row };
        tiles.chain([products, points]).collect()
    }

    /// The iterations of a loop as it is written.
    fn written_iterations(&self, reduce: &ReduceLoop, plan: &LoopPlan) -> Dim {
        let length = reduce.length(self.program);
        length.exact_div(&Dim::constant(plan.unrolled)).unwrap_or(length)
    }
}

/// An index is not the same for all lanes of a workgroup that owns rows.
fn differs(stage: &Stage, val: Val, local_axes: usize) -> bool {
    tile::closure(stage, [val]).into_iter().any(|val| match stage.inst(val) {
        Inst::Axis(axis) => *axis >= local_axes,
        Inst::Load(..) | Inst::Reduce(_) => true,
        _ => false,
    })
}

/// One for each tile of a product. Where a side is open, at least as many.
fn invocations(product: &Product) -> Dim {
    let [open, fixed] = match product.shared.tiles() {
        None => [&product.shared, &product.own],
        Some(_) => [&product.own, &product.shared],
    };
    let fixed = fixed.tiles().unwrap_or(1);
    match open.tiles() {
        Some(tiles) => Dim::constant(tiles * fixed),
        None => {
            // Rounding down is no formula.
            let rounded_up = &open.extent() + &Dim::constant(open.tile - 1);
            &rounded_up * &Dim::constant((fixed + open.tile - 1) / open.tile)
        }
    }
}
