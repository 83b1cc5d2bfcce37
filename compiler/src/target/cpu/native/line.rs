//! Loops along the innermost axis that are straight lines of operations on lanes.
//!
//! What such a loop does is recorded once, as a [`Body`], with the axis at 0. It runs in the widest
//! vectors that the machine has, in a function of its own ([`WideLoop`]); what is left, or all where
//! there are no such vectors, in four lanes, and the last elements one by one.

use cranelift::codegen::ir::{ExtFuncData, ExternalName, UserExternalName, UserExternalNameRef};
use cranelift::prelude::*;

use super::{Emitter, Lanes, Scope, signature};
use crate::target::cpu::lanes::clif::{iteration, memory};
use crate::target::cpu::lanes::x86::{self, assemble};
use crate::target::cpu::lanes::{Body, Recorded, Vectors};

/// A loop in vectors that are wider than Cranelift's, for the kernel's function to call.
pub struct WideLoop {
    /// What the function calls it by: to be set (`reset_user_func_name`) to the name that it has where it
    /// is put.
    pub name: UserExternalNameRef,
    /// How it is called.
    pub signature: Signature,
    /// Machine code, to be aligned to 64 bytes.
    pub code: Vec<u8>,
}

/// A range of indices.
type Range = (Value, Value);

impl Emitter<'_, '_> {
    /// The loop over the innermost axis.
    pub(super) fn straight_loop(&self, scope: &Scope) {
        let axis = scope.axes.len();
        let (lo, hi) = self.range(scope.stage, axis);
        let extent = self.extent(scope.stage, axis);
        let is_whole = |lanes: i64| extent.is_some_and(|extent| extent % lanes == 0);
        let recorded = self.record(scope);
        let body = Body::new(&recorded);
        let rest = self.whole_vectors(lo, hi);
        // One vector is not worth a call.
        let is_worth =
            |vectors: &Vectors| extent.is_none_or(|extent| extent >= 2 * vectors.lanes());
        let vectors = self.wide_vectors(extent).filter(is_worth);
        let start = match vectors {
            Some(vectors) => self.wide_loop(vectors, &recorded, &body, (lo, rest), None),
            None => lo,
        };
        let run = |index: Value, is_full: bool| iteration(&mut self.code(), &body, index, is_full);
        if !vectors.is_some_and(|vectors| is_whole(vectors.lanes())) {
            self.each(start, rest, 4, |index| run(index, true));
        }
        if !is_whole(4) {
            self.each(rest, hi, 1, |index| run(index, false));
        }
    }

    /// The loop over an axis and the innermost one in it, if one call can run both.
    pub(super) fn rows_loop(&self, scope: &Scope) -> bool {
        let axis = scope.axes.len();
        if !scope.facts.is_row_axis(scope.stage, axis) {
            return false;
        }
        let Some(extent) = self.extent(scope.stage, axis + 1) else { return false };
        let vectors = self.wide_vectors(Some(extent));
        let Some(vectors) = vectors.filter(|vectors| extent % vectors.lanes() == 0) else {
            return false;
        };
        let rows = self.range(scope.stage, axis);
        let mut first = scope.clone();
        first.axes.push(rows.0);
        let recorded = self.record(&first);
        let body = Body::new(&recorded);
        if body.pointers.iter().any(|pointer| pointer.stride.is_none()) {
            return false;
        }
        let columns = (self.int(0), self.int(extent));
        self.wide_loop(vectors, &recorded, &body, columns, Some(rows));
        true
    }

    /// What an iteration over the innermost axis does.
    fn record(&self, scope: &Scope) -> Recorded {
        let mut inner = scope.clone();
        let axis = inner.axes.len();
        (inner.lanes, inner.full) = (Lanes::Axis(axis), true);
        inner.axes.push(self.int(0));
        self.code.record(|| {
            self.level(&mut inner, 2 + axis);
            self.stores(&mut inner);
        })
    }

    /// The widest vectors, unless narrower ones leave nothing.
    fn wide_vectors(&self, extent: Option<i64>) -> Option<Vectors> {
        let widest = self.target.widest?;
        let is_whole =
            |vectors: Vectors| extent.is_some_and(|extent| extent % vectors.lanes() == 0);
        match !is_whole(widest) && is_whole(Vectors::Avx2) {
            true => Some(Vectors::Avx2),
            false => Some(widest),
        }
    }

    /// Runs as many whole vectors as there are, of each of the rows if there are several; the index that
    /// is next. Where the loop selects by whether this is the first or the last step, it is there twice:
    /// for all other steps without the selections.
    fn wide_loop(
        &self,
        vectors: Vectors,
        recorded: &Recorded,
        body: &Body,
        range: Range,
        rows: Option<Range>,
    ) -> Value {
        let [run, after] = [(); 2].map(|()| self.code().create_block());
        self.code().append_block_param(after, types::I64);
        let (first, end) = rows.unwrap_or(range);
        let is_any = self.code().ins().icmp(IntCC::SignedLessThan, first, end);
        self.code().ins().brif(is_any, run, &[], after, &[range.0.into()]);
        self.enter(run);
        let call = |body: &Body| {
            let rest = self.call(vectors, body, range, rows);
            self.code().ins().jump(after, &[rest.into()]);
        };
        let conditions = recorded.conditions().into_iter();
        let holds = conditions.reduce(|a, b| self.code().ins().bor(a, b));
        match holds {
            None => call(body),
            Some(holds) => {
                let [some, none] = [(); 2].map(|()| self.code().create_block());
                let holds = self.code().ins().vany_true(holds);
                self.code().ins().brif(holds, some, &[], none, &[]);
                self.enter(some);
                call(body);
                self.enter(none);
                call(&Body::without_conditions(recorded));
            }
        }
        self.enter(after);
        self.code().block_params(after)[0]
    }

    /// Goes on in a block that all branches to it are known of.
    fn enter(&self, block: Block) {
        let mut code = self.code();
        code.switch_to_block(block);
        code.seal_block(block);
    }

    fn call(
        &self,
        vectors: Vectors,
        body: &Body,
        (index, end): Range,
        rows: Option<Range>,
    ) -> Value {
        let strides = body.pointers.iter().map(|pointer| pointer.stride);
        let strides = rows.and_then(|_| strides.collect::<Option<Vec<i32>>>());
        let x86::Code { bytes, frame } = assemble(body, vectors, strides.as_deref());
        let mut code = self.code();
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, frame.size, 6);
        let slot = code.create_sized_stack_slot(slot);
        let start = code.ins().stack_addr(types::I64, slot, 0);
        for (at, pointer) in body.pointers.iter().enumerate() {
            code.ins().store(memory(), pointer.address, start, x86::Frame::pointer(at));
        }
        for (at, vector) in body.uniforms.iter().enumerate() {
            code.ins().store(memory(), *vector, start, frame.uniform(at));
        }
        if let Some((first, end)) = rows {
            let rows = code.ins().isub(end, first);
            code.ins().store(memory(), rows, start, frame.rows());
            code.ins().store(memory(), index, start, frame.first());
        }
        let mut signature = signature(self.target.call_conv, 3);
        signature.returns.push(AbiParam::new(types::I64));
        let mut loops = self.loops.borrow_mut();
        let name = UserExternalName::new(LOOPS, loops.len() as u32);
        let name = code.func.declare_imported_user_function(name);
        let callee = ExtFuncData {
            name: ExternalName::user(name),
            signature: code.import_signature(signature.clone()),
            colocated: true,
            patchable: false,
        };
        let callee = code.import_function(callee);
        loops.push(WideLoop { name, signature, code: bytes });
        let call = code.ins().call(callee, &[start, index, end]);
        code.inst_results(call)[0]
    }
}

/// The namespace of loops that have not been put anywhere.
const LOOPS: u32 = u32::MAX;
