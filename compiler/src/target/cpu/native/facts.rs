//! What is known of a stage before its code is made: where each value may be computed, in which axis lanes
//! run, and which reductions are matrix products.

use std::collections::BTreeMap;

use super::pointwise::breaks_line;
use super::{Emitter, Lanes, Product, ProductAxis, Products, TimeLoop, WholeKernel};
use crate::ir::graph::pointwise::Signature;
use crate::ir::graph::{Dim, Elem};
use crate::ir::kernel::{Affine, BufferId, Inst, Stage, Val};

/// What is known of the values of a stage before its code is made.
pub(super) struct Facts {
    pub elems: Vec<Elem>,
    /// The outermost place at which a value may be computed: 0 before everything, 1 in the loop over
    /// time, `2 + axis` in the loop over an axis.
    pub levels: Vec<usize>,
    /// The value changes with some variable of a reduction loop.
    pub in_loop: Vec<bool>,
    /// The value changes with the last axis of a reduction loop.
    pub in_last_loop: Vec<bool>,
    /// The axis that runs in lanes.
    pub vector_axis: Option<usize>,
    /// What is done along it is a straight line of operations on lanes, each access moving by an element.
    pub is_straight: bool,
    /// For each loop that is a matrix product, its index and how its operands are found.
    pub products: Vec<Option<ProductPlan>>,
}

impl Facts {
    pub(super) fn new(emitter: &Emitter, stage: &Stage) -> Facts {
        let mut facts = Facts {
            elems: Vec::new(),
            levels: Vec::new(),
            in_loop: Vec::new(),
            in_last_loop: Vec::new(),
            vector_axis: None,
            is_straight: false,
            products: stage.loops.iter().map(|_| None).collect(),
        };
        for (at, inst) in stage.insts.iter().enumerate() {
            facts.add(emitter, stage, Val(at as u32), inst);
        }
        if let Some(last) = stage.axes.len().checked_sub(1) {
            let across = (0..stage.loops.len()).any(|index| facts.runs_across(stage, index));
            facts.vector_axis = (!across).then_some(last);
            facts.is_straight = !across && facts.is_straight_along(stage, last);
        }
        facts
    }

    fn is_straight_along(&self, stage: &Stage, last: usize) -> bool {
        let is_inside = |val: Val| self.level(val) == 2 + last;
        let walks = |at: &Affine| {
            self.stride(stage, Lanes::Axis(last), at).is_some_and(|stride| stride.is_one())
        };
        let is_number = |val: Val| is_inside(val) && is_index(stage, val);
        let body = stage.body.iter().filter(|val| is_inside(**val));
        let mut stores = stage.stores.iter().chain(&stage.sums);
        let is_line = body.into_iter().all(|val| match stage.inst(*val) {
            Inst::Load(_, at) => walks(at),
            Inst::Map(op, args) => {
                let elem = args.first().map_or(Elem::F32, |arg| self.elem(*arg));
                !breaks_line(*op, elem) && !args.iter().any(|arg| is_number(*arg))
            }
            Inst::Reduce(index) => self.products[*index].is_some(),
            _ => true,
        });
        is_line && stores.all(|store| walks(&store.at) && !is_number(store.value))
    }

    /// An axis does nothing but to move the pointers of a straight line along the next one.
    pub(super) fn is_row_axis(&self, stage: &Stage, axis: usize) -> bool {
        let is_own = |val: Val| self.level(val) == 2 + axis;
        let computes = |val: Val| match stage.inst(val) {
            Inst::Map(_, args) => is_own(val) || args.iter().any(|arg| is_own(*arg)),
            _ => is_own(val) && !is_index(stage, val),
        };
        let mut stores = stage.stores.iter().chain(&stage.sums);
        self.is_straight
            && self.vector_axis == Some(axis + 1)
            && !stage.body.iter().any(|val| computes(*val))
            && !stores.any(|store| is_own(store.value))
    }

    fn add(&mut self, emitter: &Emitter, stage: &Stage, val: Val, inst: &Inst) {
        let (own, args): (usize, Vec<Val>) = match inst {
            Inst::Axis(axis) => (2 + axis, vec![]),
            Inst::Time => (1, vec![]),
            Inst::Load(buffer, at) => (emitter.load_level(*buffer), terms(at)),
            Inst::Reduce(index) => {
                self.products[*index] = emitter.plan_product(stage, self, *index);
                let level = self.products[*index].as_ref().map_or(0, |_| 1 + stage.axes.len());
                (level, stage.loops[*index].body.clone())
            }
            Inst::Affine(at) => (0, terms(at)),
            Inst::Quotient(arg, _) | Inst::Remainder(arg, _) => (0, vec![*arg]),
            Inst::Map(_, args) => (0, args.clone()),
            _ => (0, vec![]),
        };
        let is_reduce = matches!(inst, Inst::Reduce(_));
        let any = |set: &[bool]| !is_reduce && args.iter().any(|arg| set[arg.0 as usize]);
        let is_variable = matches!(inst, Inst::LoopAxis(..) | Inst::LoopTime(_));
        let is_last = matches!(inst, Inst::LoopAxis(index, axis)
            if axis + 1 == stage.loops[*index].axes.len());
        let in_loop = is_variable || any(&self.in_loop);
        let in_last_loop = is_last || any(&self.in_last_loop);
        let elem = match inst {
            Inst::Map(op, args) => match op.row().signature {
                Signature::Numeric => self.elem(args[0]),
                Signature::Choice => self.elem(args[1]),
                _ => stage.elem(val, emitter.program),
            },
            _ => stage.elem(val, emitter.program),
        };
        self.elems.push(elem);
        self.levels.push(args.iter().map(|arg| self.level(*arg)).fold(own, usize::max));
        self.in_loop.push(in_loop);
        self.in_last_loop.push(in_last_loop);
    }

    /// The loop reads memory in order along its last axis, but not along the stage's.
    fn runs_across(&self, stage: &Stage, index: usize) -> bool {
        let reduce = &stage.loops[index];
        let innermost = 1 + stage.axes.len();
        let on_axis = reduce.body.iter().any(|val| self.level(*val) == innermost);
        if reduce.axes.is_empty() || self.products[index].is_some() || !on_axis {
            return false;
        }
        let in_order = |lanes: Lanes| {
            reduce.body.iter().all(|val| match stage.inst(*val) {
                Inst::Load(_, at) => self
                    .stride(stage, lanes, at)
                    .is_some_and(|stride| stride.is_zero() || stride.is_one()),
                _ => true,
            })
        };
        in_order(Lanes::Loop(index)) && !in_order(Lanes::Axis(stage.axes.len() - 1))
    }

    pub(super) fn level(&self, val: Val) -> usize {
        self.levels[val.0 as usize]
    }

    pub(super) fn elem(&self, val: Val) -> Elem {
        self.elems[val.0 as usize]
    }

    /// It may differ along what lanes follow.
    pub(super) fn varies(&self, lanes: Lanes, val: Val) -> bool {
        match lanes {
            Lanes::Uniform => false,
            Lanes::Axis(axis) => self.level(val) >= 2 + axis,
            Lanes::Loop(_) => self.in_last_loop[val.0 as usize],
        }
    }

    /// By how much an index moves from lane to lane, if always by as much.
    pub(super) fn stride(&self, stage: &Stage, lanes: Lanes, at: &Affine) -> Option<Dim> {
        let mut sum = Dim::zero();
        for (val, by) in &at.terms {
            sum = &sum + &(&self.stride_of(stage, lanes, *val)? * by);
        }
        Some(sum)
    }

    pub(super) fn stride_of(&self, stage: &Stage, lanes: Lanes, val: Val) -> Option<Dim> {
        if !self.varies(lanes, val) {
            return Some(Dim::zero());
        }
        match stage.inst(val) {
            Inst::Axis(axis) if lanes != Lanes::Axis(*axis) => Some(Dim::zero()),
            Inst::Axis(_) | Inst::LoopAxis(..) => Some(Dim::one()),
            Inst::Affine(at) => self.stride(stage, lanes, at),
            _ => None,
        }
    }
}

/// It is computed where it is used, as a part of an address or a number.
fn is_index(stage: &Stage, val: Val) -> bool {
    !matches!(stage.inst(val), Inst::Load(..) | Inst::Map(..) | Inst::Reduce(_))
}

fn terms(at: &Affine) -> Vec<Val> {
    at.terms.iter().map(|(val, _)| *val).collect()
}

/// How the operands of a product are found.
pub(super) struct ProductPlan {
    pub index: usize,
    /// Called at each step of time.
    pub each_step: bool,
    pub left: Form,
    pub right: Form,
}

/// An index that is linear in the variables of loops.
pub(super) struct Form {
    pub buffer: BufferId,
    variables: BTreeMap<Variable, Dim>,
    /// The rest, which may change with time only.
    pub rest: Vec<(Val, Dim)>,
    pub constant: Dim,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variable {
    Time,
    Axis(usize),
    LoopTime,
    LoopAxis(usize),
}

impl Form {
    /// The linear form of an index outside of which only time changes.
    fn new(stage: &Stage, facts: &Facts, load: (BufferId, &Affine)) -> Option<Form> {
        let (buffer, at) = load;
        let constant = at.constant.clone();
        let mut form = Form { buffer, variables: BTreeMap::new(), rest: Vec::new(), constant };
        for (val, by) in &at.terms {
            form.add(stage, facts, *val, by)?;
        }
        Some(form)
    }

    fn add(&mut self, stage: &Stage, facts: &Facts, val: Val, by: &Dim) -> Option<()> {
        let variable = match stage.inst(val) {
            Inst::Time => Variable::Time,
            Inst::Axis(axis) => Variable::Axis(*axis),
            Inst::LoopTime(_) => Variable::LoopTime,
            Inst::LoopAxis(_, axis) => Variable::LoopAxis(*axis),
            Inst::Affine(at) => {
                self.constant = &self.constant + &(&at.constant * by);
                for (val, inner) in &at.terms {
                    self.add(stage, facts, *val, &(inner * by))?;
                }
                return Some(());
            }
            _ if facts.level(val) <= 1 && !facts.in_loop[val.0 as usize] => {
                self.rest.push((val, by.clone()));
                return Some(());
            }
            _ => return None,
        };
        let factor = self.variables.entry(variable).or_insert_with(Dim::zero);
        *factor = &*factor + by;
        Some(())
    }

    pub(super) fn factor(&self, variable: Variable) -> Dim {
        self.variables.get(&variable).cloned().unwrap_or_else(Dim::zero)
    }
}

/// The index is that of an element of the steps, if there are any, and the stage's axes in order.
fn is_row_major(stage: &Stage, at: &Affine) -> bool {
    let stride = |inner: &[Dim]| Dim::product(inner);
    let is_in_place = |(val, by): &(Val, Dim)| match stage.inst(*val) {
        Inst::Axis(axis) => *by == stride(&stage.axes[axis + 1..]),
        Inst::Time => stage.timed && *by == stride(&stage.axes),
        _ => false,
    };
    let has = |inst: Inst| at.terms.iter().any(|(val, _)| *stage.inst(*val) == inst);
    let mut axes = stage.axes.iter().enumerate();
    at.constant.is_zero()
        && at.terms.iter().all(is_in_place)
        && axes.all(|(axis, extent)| extent.is_one() || has(Inst::Axis(axis)))
        && (!stage.timed || has(Inst::Time))
}

impl Emitter<'_, '_> {
    /// A reduction as a product for the caller: of matrices, where it has rows and columns, or of rows,
    /// element by element.
    fn plan_product(&self, stage: &Stage, facts: &Facts, index: usize) -> Option<ProductPlan> {
        if self.multiplied == Products::Inlined {
            return None;
        }
        let reduce = &stage.loops[index];
        let contraction = stage.contraction(index)?;
        let left = Form::new(stage, facts, contraction.left)?;
        let right = Form::new(stage, facts, contraction.right)?;
        let changes = |form: &Form| form.rest.iter().any(|(val, _)| facts.level(*val) == 1);
        let each_step = self.kernel.recurrence.is_some() || changes(&left) || changes(&right);
        let axis = |extent: &Dim, variable| ProductAxis {
            extent: extent.clone(),
            left: left.factor(variable),
            right: right.factor(variable),
        };
        let time = self.program.time.clone().unwrap_or_else(Dim::one);
        let over_steps = stage.timed && !each_step;
        let own = stage.axes.iter().enumerate().map(|(at, dim)| axis(dim, Variable::Axis(at)));
        let steps = over_steps.then(|| axis(&time, Variable::Time));
        let axes: Vec<ProductAxis> = steps.into_iter().chain(own).collect();
        let steps = reduce.over_time.then(|| axis(&time, Variable::LoopTime));
        let time_loop = reduce.over_time.then(|| TimeLoop {
            first: Dim::constant(i64::from(reduce.without_first)),
            end: &time - &Dim::constant(i64::from(reduce.without_last)),
            in_parts: !stage.timed,
        });
        let summed = reduce.axes.iter().enumerate();
        let summed = summed.map(|(at, dim)| axis(dim, Variable::LoopAxis(at)));
        let loops: Vec<ProductAxis> = steps.into_iter().chain(summed).collect();
        let has_rows = axes.iter().any(|axis| !axis.left.is_zero() && axis.right.is_zero());
        let has_columns = axes.iter().any(|axis| axis.left.is_zero() && !axis.right.is_zero());
        let is_fixed = |form: &Form| form.rest.is_empty() && form.factor(Variable::Time).is_zero();
        let fixed_right = is_fixed(&right) && !self.writes(right.buffer);
        let is_single = stage.loops.len() == 1 && self.kernel.stages.len() == 1 && !each_step;
        let store = match stage.stores.as_slice() {
            [store] if is_single && *stage.inst(store.value) == Inst::Reduce(index) => Some(store),
            _ => None,
        };
        let is_whole = store.is_some() && left.rest.is_empty() && right.rest.is_empty();
        // Element by element, over rows of both sides.
        let is_by_element = is_whole
            && !stage.timed
            && axes.last().is_some_and(|axis| axis.left.is_one() && axis.right.is_one());
        if loops.is_empty() || !(has_rows && has_columns || is_by_element) {
            return None;
        }
        let window = |form: &Form| self.windows[form.buffer.0 as usize];
        let mut products = self.products.borrow_mut();
        products.push(Product {
            fixed_right: fixed_right.then(|| right.constant.clone()),
            whole_kernel: store.filter(|_| is_whole).map(|store| WholeKernel {
                starts: (left.constant.clone(), right.constant.clone()),
                stored: (is_row_major(stage, &store.at)
                    && !self.program.buffer(store.buffer).is_packed())
                .then(|| (store.buffer, self.windows[store.buffer.0 as usize])),
            }),
            windows: (window(&left), window(&right)),
            time_loop,
            left: contraction.left.0,
            right: contraction.right.0,
            over_steps,
            axes,
            loops,
        });
        Some(ProductPlan { index: products.len() - 1, each_step, left, right })
    }

    /// Buffers that the kernel writes change from step to step.
    fn load_level(&self, buffer: BufferId) -> usize {
        usize::from(self.kernel.recurrence.is_some() && self.writes(buffer))
    }

    pub(super) fn writes(&self, buffer: BufferId) -> bool {
        let mut stores = self.kernel.stages.iter().flat_map(|stage| &stage.stores);
        stores.any(|store| store.buffer == buffer)
    }
}
