//! Matrix products: the calls for them.

use std::mem::offset_of;

use cranelift::prelude::*;

use super::facts::{Form, ProductPlan, Variable};
use super::{Emitter, Frame, Lanes, Scope, signature};
use crate::ir::graph::Dim;
use crate::target::cpu::lanes::clif::{element, load};
use crate::target::cpu::lanes::{Op, Operand, Pointer};

impl Emitter<'_, '_> {
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
        let signature = code.import_signature(signature(self.target.call_conv, 8));
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

    pub(super) fn product_result(&self, scope: &Scope, plan: &ProductPlan) -> Operand {
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
        let address = element(&mut self.code(), scratch, flat);
        if self.code.is_recording() {
            let row = scope.stage.axes.last().and_then(Dim::as_const);
            let stride = row.and_then(|row| i32::try_from(4 * row).ok());
            let pointer = self.code.pointer(Pointer { address, stride });
            return self.code.push(Op::Load(pointer), &[]);
        }
        let is_full = matches!(scope.lanes, Lanes::Axis(_)) && scope.full;
        self.code.made(load(&mut self.code(), types::F32X4, address, is_full))
    }
}
