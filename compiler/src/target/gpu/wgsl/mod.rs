//! The text of one shader: a printer of planned kernels, which decides nothing but names.

mod math;
mod names;
mod product;
mod recurrence;
mod sums;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

use super::plan::{Form, Gather, KernelPlan, StagePlan, accumulator_count, slots};
use super::tile::{self, LANES};
use super::*;
use crate::ir::graph::{Elem, Pointwise, Reduction};
use crate::ir::kernel::{Affine, Inst, Kernel, ReduceLoop, Stage, Store, Val};
use crate::source::Sources;
use names::Names;

/// Writes a kernel as a WGSL module.
pub(super) fn write(
    program: &Program,
    plan: &KernelPlan,
    groups: &[Group],
    sources: &Sources,
) -> Shader {
    let mut writer = Writer::new(program, plan, groups);
    match &plan.form {
        Form::Points => writer.points(),
        Form::Teams => writer.teams(),
        Form::Product(product) => writer.product(product),
        Form::Elements => writer.elements(),
        Form::Rows(rows) => writer.rows(*rows),
    }
    let written = writer.finish(sources);
    Shader {
        name: plan.kernel.name.clone(),
        pass: plan.pass,
        entry: written.entry,
        text: written.text,
        lines: written.lines,
        workgroup_size: plan.workgroup_size,
        uniforms: written.fields,
        bindings: plan.bindings.clone(),
        dispatch: plan.dispatch.clone(),
        chunking: plan.chunking.clone(),
    }
}

/// What comes of writing.
struct Written {
    entry: String,
    text: String,
    lines: Vec<(u32, Span)>,
    fields: Vec<Field>,
}

struct Writer<'a> {
    program: &'a Program,
    plan: &'a KernelPlan<'a>,
    kernel: &'a Kernel,
    groups: &'a [Group],
    /// Workgroup memory: name, type, elements.
    workgroup: Vec<(String, &'static str, i64)>,
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
    /// [`WORD`] where the kernel reads values of different types out of it.
    storage: Storage,
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

/// What the values of a stage are called at a point.
#[derive(Clone)]
struct Values {
    names: Vec<Option<String>>,
    axes: Vec<String>,
    loops: Vec<LoopNames>,
    /// Its number among all points.
    point: String,
    step: String,
}

impl Values {
    /// Names the result of a reduction loop.
    fn set_sum(&mut self, stage: &Stage, index: usize, name: String) {
        for (result, inst) in self.names.iter_mut().zip(&stage.insts) {
            if *inst == Inst::Reduce(index) {
                *result = Some(name.clone());
            }
        }
        self.loops[index].accumulators = vec![name];
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
    fn new(program: &'a Program, plan: &'a KernelPlan<'a>, groups: &'a [Group]) -> Self {
        let kernel = plan.kernel;
        let mut names = Names::new();
        let bound = bind(program, plan, groups, &mut names);
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
        Writer {
            program,
            plan,
            kernel,
            groups,
            workgroup: Vec::new(),
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

    fn points(&mut self) {
        let plan = self.plan;
        let stage = &plan.stages[0];
        let mut extents = stage.axes.clone();
        if stage.timed {
            extents.insert(0, time(self.program));
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
        self.stage(stage, self.values(stage, axes));
    }

    fn teams(&mut self) {
        let plan = self.plan;
        let stage = &plan.stages[0];
        let Words { group, groups, point, .. } = &self.words;
        let (point, indices) = (point.clone(), self.words.axes.clone());
        let line = format!("let {point} = i32({group}.y * {groups}.x + {group}.x);");
        self.line(&line);
        let axes = self.split(&point, &stage.axes, &indices, "let");
        self.stage(stage, self.values(stage, axes));
    }

    /// The number of the invocation, from which the surplus ones return.
    fn point_of_invocation(&mut self, count: &Dim) {
        let count = match count.as_const() {
            Some(count) => format!("{}u", count.max(0)),
            None => format!("u32({})", self.dim(count)),
        };
        let Words { group, groups, lane, point, .. } = &self.words;
        let (size, point) = (self.plan.workgroup_size, point.clone());
        let number = format!("({group}.y * {groups}.x + {group}.x) * {size}u + {lane}");
        let flat = self.names.take("invocation");
        self.line(&format!("let {flat} = {number};"));
        self.open(&format!("if ({flat} >= {count})"));
        self.line("return;");
        self.close();
        self.line(&format!("let {point} = i32({flat});"));
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
        }
    }

    /// What is computed at a point.
    fn stage(&mut self, stage: &StagePlan, mut values: Values) {
        for val in &stage.body {
            self.value(stage, &mut values, *val);
        }
        self.results(stage, &values);
    }

    /// Stores what a point computes.
    fn results(&mut self, stage: &Stage, values: &Values) {
        let depth = self.depth;
        if self.plan.is_chunked_reduction() {
            let last = self.field("last", FieldValue::Last);
            if matches!(self.plan.form, Form::Teams) {
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
        self.close_to(depth);
    }

    /// Defines a value, unless it has a name or is written out where it is used.
    fn value(&mut self, stage: &StagePlan, values: &mut Values, val: Val) {
        if values.names[val.0 as usize].is_some() {
            return;
        }
        self.span = stage.spans.get(val.0 as usize).copied().flatten().or(self.span);
        if let Inst::Reduce(index) = stage.inst(val) {
            return self.reduce(stage, values, val, *index);
        }
        let Some(text) = self.expression(stage, values, val) else { return };
        let name = self.names.take(&self.wanted_name(stage, val));
        self.line(&format!("let {name} = {text};"));
        values.names[val.0 as usize] = Some(name);
    }

    /// A value with all that it is computed from.
    fn computed(&mut self, stage: &StagePlan, values: &mut Values, val: Val) -> String {
        for val in tile::closure(stage, [val]) {
            self.value(stage, values, val);
        }
        self.operand(stage, values, val)
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
                match self.program.buffer(*buffer).elem {
                    Elem::Bool => format!("{place} != 0u"),
                    elem if self.is_among_others(*buffer) => {
                        format!("bitcast<{}>({place})", elem.name())
                    }
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
        let elem = args.last().map_or(Elem::F32, |arg| stage.elem(*arg, self.program));
        // Drivers take x != x for false.
        let is_same = matches!(args, [a, b] if a == b) && elem == Elem::F32;
        if let (true, Pointwise::Eq | Pointwise::Ne) = (is_same, op) {
            self.helpers.insert("fgi_is_nan".to_owned());
            let not = if op == Pointwise::Eq { "!" } else { "" };
            return format!("{not}fgi_is_nan({})", operands[0]);
        }
        self.spelled(op, elem, &operands)
    }

    /// An operation on operands of a type, by its helper if it has one.
    fn spelled(&mut self, op: Pointwise, elem: Elem, operands: &[String]) -> String {
        let spelling = op.row().wgsl_on(elem);
        if spelling.starts_with("fgi_") {
            self.helpers.extend(spelling.split('(').next().map(str::to_owned));
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
        let value = match self.program.buffer(store.buffer).elem {
            Elem::Bool => format!("select(0u, 1u, {value})"),
            _ if self.is_among_others(store.buffer) => format!("bitcast<u32>({value})"),
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
        let found = self.plan.bindings.iter().find(|binding| binding.buffers.contains(&buffer));
        match found.map(|binding| binding.memory) {
            Some(Memory::Group(group)) => group,
            _ => 0,
        }
    }

    /// The kernel reads it as words, for there are other types in its group.
    fn is_among_others(&self, buffer: BufferId) -> bool {
        self.program.buffer(buffer).storage != self.bound[&self.group_of(buffer)].storage
    }

    // ---- reductions ----

    fn reduce(&mut self, stage: &StagePlan, values: &mut Values, val: Val, index: usize) {
        let reduce = &stage.loops[index];
        let unrolled = stage.loop_plans[index].unrolled;
        let accumulators = self.accumulators(reduce);
        values.names[val.0 as usize] = accumulators.last().cloned();
        values.loops[index].accumulators.clone_from(&accumulators);
        if self.plan.is_chunked_reduction() {
            let start = self.field("k_start", FieldValue::LoopStart(index));
            let first_lane = match self.plan.form {
                Form::Teams => format!(" && {} == 0u", self.words.lane),
                _ => String::new(),
            };
            self.open(&format!("if ({start} > 0{first_lane})"));
            self.load_partials(stage, values, index);
            self.close();
        }
        let (k, counters) = self.open_loop(stage, index, unrolled);
        for copy in 0..unrolled {
            let counters =
                if copy == 0 { counters.clone() } else { self.shifted(&k, &counters, copy) };
            let k = if copy == 0 { k.clone() } else { format!("{k} + {copy}") };
            set_counters(&mut values.loops[index], reduce, &counters);
            self.iteration(stage, values, index, &k);
        }
        if matches!(self.plan.form, Form::Teams) {
            self.close();
            self.combine_lanes(reduce, &accumulators);
        } else {
            self.count(&k, &counters, &reduce.extents(self.program));
            self.close();
        }
    }

    /// Opens a loop that takes so many iterations at once; gives its counter, and its indices.
    fn open_loop(&mut self, stage: &Stage, index: usize, unrolled: i64) -> (String, Vec<String>) {
        let reduce = &stage.loops[index];
        let extents = reduce.extents(self.program);
        let k = self.names.take("k");
        let (start, end) = if self.plan.is_chunked_reduction() {
            (
                self.field("k_start", FieldValue::LoopStart(index)),
                self.field("k_end", FieldValue::LoopEnd(index)),
            )
        } else {
            ("0".to_owned(), self.dim(&reduce.length(self.program)))
        };
        if !matches!(self.plan.form, Form::Teams) {
            let counters = self.counters(&k, &extents, &start);
            self.open(&format!("for (var {k} = {start}; {k} < {end}; {k} += {unrolled})"));
            return (k, counters);
        }
        let (lane, lanes) = (self.words.lane.clone(), self.plan.workgroup_size);
        let head = format!("for (var {k} = {start} + i32({lane}); {k} < {end}; {k} += {lanes})");
        self.open(&head);
        let names: Vec<String> =
            (0..extents.len()).map(|axis| self.names.take(&format!("{k}_{axis}"))).collect();
        let counters = self.split(&k, &extents, &names, "let");
        (k, counters)
    }

    /// Computes what a loop reduces, and reduces it.
    fn iteration(&mut self, stage: &StagePlan, values: &mut Values, index: usize, k: &str) {
        let reduce = &stage.loops[index];
        let gather = stage.loop_plans[index].gather;
        // What an iteration before this one has defined is not this one's.
        reduce.body.iter().for_each(|val| values.names[val.0 as usize] = None);
        for val in &reduce.body {
            let is_factor =
                gather.is_some_and(|gather| gather.weight == *val || reduce.value == *val);
            if !is_factor {
                self.value(stage, values, *val);
            }
        }
        let depth = self.depth;
        let value = match gather {
            Some(Gather { spike, weight }) => {
                let spike = self.operand(stage, values, spike);
                self.open(&format!("if ({spike} != 0.0)"));
                self.value(stage, values, weight);
                weight
            }
            None => reduce.value,
        };
        let value = self.operand(stage, values, value);
        self.accumulate(reduce, &values.loops[index].accumulators, &value, k);
        self.close_to(depth);
    }

    /// The indices of a written-out iteration of a loop with one varying index.
    fn shifted(&mut self, k: &str, counters: &[String], offset: i64) -> Vec<String> {
        let name = self.names.take("k");
        self.line(&format!("let {name} = {k} + {offset};"));
        counters.iter().map(|c| if c == k { name.clone() } else { c.clone() }).collect()
    }

    /// Declares the variables of a reduction; the last is the result.
    fn accumulators(&mut self, reduce: &ReduceLoop) -> Vec<String> {
        let name = match reduce.reduction {
            Reduction::Sum => "sum",
            Reduction::Prod => "prod",
            Reduction::Max | Reduction::ArgMax => "most",
            Reduction::Min => "least",
        };
        let identity = match (reduce.elem, reduce.reduction) {
            (Elem::I32, Reduction::Sum) => "0".to_owned(),
            (Elem::I32, Reduction::Prod) => "1".to_owned(),
            (Elem::I32, Reduction::Max | Reduction::ArgMax) => format!("i32({})", i32::MIN),
            (Elem::I32, Reduction::Min) => i32::MAX.to_string(),
            (_, Reduction::Sum) => "0.0".to_owned(),
            (_, Reduction::Prod) => "1.0".to_owned(),
            (_, Reduction::Max | Reduction::ArgMax) => self.float(f32::NEG_INFINITY.to_bits()),
            (_, Reduction::Min) => self.float(f32::INFINITY.to_bits()),
        };
        let name = self.names.take(name);
        self.line(&format!("var {name} = {identity};"));
        if reduce.reduction != Reduction::ArgMax {
            return vec![name];
        }
        let place = self.names.take("argmax");
        self.line(&format!("var {place} = 0;"));
        vec![name, place]
    }

    fn accumulate(&mut self, reduce: &ReduceLoop, names: &[String], value: &str, k: &str) {
        let name = &names[0];
        match reduce.reduction {
            Reduction::Sum => self.line(&format!("{name} += {value};")),
            Reduction::Prod => self.line(&format!("{name} *= {value};")),
            Reduction::Max | Reduction::Min => {
                let is_max = reduce.reduction == Reduction::Max;
                let op = if is_max { Pointwise::Max } else { Pointwise::Min };
                let value = self.spelled(op, reduce.elem, &[name.clone(), value.to_owned()]);
                self.line(&format!("{name} = {value};"));
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
    fn combine_lanes(&mut self, reduce: &ReduceLoop, accumulators: &[String]) {
        let (lane, partials) = (self.words.lane.clone(), self.words.partials.clone());
        let (name, half) = (&accumulators[0], self.plan.workgroup_size / 2);
        let width = self.names.take("width");
        if !self.workgroup.iter().any(|(name, ..)| *name == partials) {
            self.workgroup.push((partials.clone(), "f32", i64::from(self.plan.workgroup_size)));
        }
        self.line(&format!("{partials}[{lane}] = {name};"));
        self.line("workgroupBarrier();");
        self.open(&format!("for (var {width} = {half}u; {width} > 0u; {width} /= 2u)"));
        self.open(&format!("if ({lane} < {width})"));
        let other = format!("{partials}[{lane} + {width}]");
        self.accumulate(reduce, accumulators, &other, "0");
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
        self.close_to(depth);
    }

    /// Goes on from what an earlier dispatch has reduced.
    fn load_partials(&mut self, stage: &Stage, values: &Values, index: usize) {
        for (number, name) in values.loops[index].accumulators.iter().enumerate() {
            let place = self.scratch(stage, values, index, number);
            let elem = if number == 0 { stage.loops[index].elem } else { Elem::I32 };
            let elem = elem.name();
            self.line(&format!("{name} = bitcast<{elem}>({place});"));
        }
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

    fn close_to(&mut self, depth: usize) {
        while self.depth > depth {
            self.close();
        }
    }

    // ---- the module ----

    fn finish(self, sources: &Sources) -> Written {
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
        for (number, binding) in (1..).zip(&self.plan.bindings) {
            let access = if binding.writable { "read_write" } else { "read" };
            let (name, storage) = match binding.memory {
                Memory::Group(group) => (&self.bound[&group].name, self.bound[&group].storage),
                Memory::Scratch => (&self.words.scratch, WORD),
            };
            let elem = match storage {
                Storage::F32 => "f32",
                Storage::I32 => "i32",
                // A GPU has no bits.
                Storage::U32 | Storage::Bit => "u32",
            };
            let _ = writeln!(
                text,
                "@group(0) @binding({number}) var<storage, {access}> {name}: array<{elem}>;"
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
            size = self.plan.workgroup_size,
            entry = self.entry,
        );
        let first = text.matches('\n').count() + 1;
        let lines = self.marks.iter().map(|(line, span)| ((first + line) as u32, *span)).collect();
        text.push_str(&self.text);
        text.push_str("}\n");
        Written { entry: self.entry, text, lines, fields: self.fields }
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

/// The groups that a kernel binds.
fn bind(
    program: &Program,
    plan: &KernelPlan,
    groups: &[Group],
    names: &mut Names,
) -> BTreeMap<usize, Bound> {
    let bound = plan.bindings.iter().filter_map(|binding| {
        let Memory::Group(number) = binding.memory else { return None };
        let mut storages = binding.buffers.iter().map(|id| program.buffer(*id).storage);
        let first = storages.next();
        let storage = first.filter(|first| storages.all(|storage| storage == *first));
        let name = names.take(&groups[number].name);
        Some((number, Bound { name, storage: storage.unwrap_or(WORD) }))
    });
    bound.collect()
}

fn set_counters(names: &mut LoopNames, reduce: &ReduceLoop, counters: &[String]) {
    names.axes = counters[usize::from(reduce.over_time)..].to_vec();
    names.time = match reduce.without_first {
        true => format!("({} + 1)", counters[0]),
        false => counters.first().cloned().unwrap_or_default(),
    };
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
