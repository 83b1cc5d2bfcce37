//! Matrix products: which reductions are one, and the calls for them.

use std::collections::BTreeMap;
use std::mem::offset_of;

use cranelift::prelude::*;

use super::facts::Facts;
use super::{
    Emitter, Frame, Lanes, Product, ProductAxis, Products, Scope, TimeLoop, WholeKernel, memory,
    signature,
};
use crate::ir::graph::Dim;
use crate::ir::kernel::{Affine, BufferId, Inst, Stage, Val};

/// How the operands of a product are found.
pub(super) struct ProductPlan {
    index: usize,
    /// Called at each step of time.
    pub each_step: bool,
    left: Form,
    right: Form,
}

/// An index that is linear in the variables of loops.
struct Form {
    buffer: BufferId,
    variables: BTreeMap<Variable, Dim>,
    /// The rest, which may change with time only.
    rest: Vec<(Val, Dim)>,
    constant: Dim,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Variable {
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

    fn factor(&self, variable: Variable) -> Dim {
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
    pub(super) fn plan_product(
        &self,
        stage: &Stage,
        facts: &Facts,
        index: usize,
    ) -> Option<ProductPlan> {
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
                stored: (is_row_major(stage, &store.at) && !self.program.buffer(store.buffer).bits)
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

    /// Asks for the products of a stage: those of all steps at once, or those of each step.
    pub(super) fn call_products(&self, scope: &mut Scope, each_step: bool) {
        let facts = scope.facts;
        for plan in &facts.products {
            match plan {
                Some(plan) if plan.each_step == each_step => {
                    self.call_product(scope, plan);
                }
                _ => {}
            }
        }
    }

    fn call_product(&self, scope: &mut Scope, plan: &ProductPlan) {
        let left = self.product_start(scope, plan, &plan.left);
        let right = self.product_start(scope, plan, &plan.right);
        let (lo, hi) = self.range(scope.stage, 0);
        let multiply = self.constant_pointer(self.frame, offset_of!(Frame, multiply));
        let context = self.constant_pointer(self.frame, offset_of!(Frame, context));
        let index = self.int(plan.index as i64);
        let (first, end) = self.steps;
        let mut code = self.code();
        let signature = code.import_signature(signature(self.call_conv, 8));
        let args = [context, index, left, right, lo, hi, first, end];
        code.ins().call_indirect(signature, multiply, &args);
    }

    /// The flat index of an operand where all of the product's axes are at 0.
    fn product_start(&self, scope: &mut Scope, plan: &ProductPlan, form: &Form) -> Value {
        let mut start = self.dim(&form.constant);
        for (val, by) in &form.rest {
            let value = self.scalar(scope, *val);
            let value = self.step_in(form.buffer, value, by);
            start = self.add_scaled(start, value, by);
        }
        match (scope.time, plan.each_step) {
            (Some(time), true) => {
                let by = form.factor(Variable::Time);
                let time = self.step_in(form.buffer, time, &by);
                self.add_scaled(start, time, &by)
            }
            _ => start,
        }
    }

    pub(super) fn product_result(&self, scope: &Scope, plan: &ProductPlan) -> Value {
        let table = self.constant_pointer(self.frame, offset_of!(Frame, scratch));
        let scratch = self.constant_pointer(table, 8 * plan.index);
        let (lo, hi) = self.range(scope.stage, 0);
        let mut flat = match (scope.time, plan.each_step) {
            (Some(time), false) => {
                let mut code = self.code();
                let step = code.ins().isub(time, self.steps.0);
                let rows = code.ins().isub(hi, lo);
                code.ins().imul(step, rows)
            }
            _ => self.int(0),
        };
        for (axis, position) in scope.axes.iter().enumerate() {
            if axis == 0 {
                let mut code = self.code();
                let row = code.ins().isub(*position, lo);
                flat = code.ins().iadd(flat, row);
                continue;
            }
            let extent = self.dim(&scope.stage.axes[axis]);
            let mut code = self.code();
            flat = code.ins().imul(flat, extent);
            flat = code.ins().iadd(flat, *position);
        }
        let mut code = self.code();
        let bytes = code.ins().ishl_imm_u(flat, 2);
        let address = code.ins().iadd(scratch, bytes);
        match scope.lanes == Lanes::Axis && scope.full {
            true => code.ins().load(types::F32X4, memory(), address, 0),
            false => {
                let one = code.ins().load(types::F32, memory(), address, 0);
                code.ins().splat(types::F32X4, one)
            }
        }
    }
}
