//! Kernels as Cranelift functions.
//!
//! The innermost axis of a stage runs in vectors of four lanes, its rest in vectors of which only the
//! first lane counts. A value that does not depend on the innermost axis is computed at the outermost
//! loop it depends on, and has the same content in all lanes. An index is a 64-bit scalar wherever it
//! is linear in the lane. Reductions that do not depend on the innermost axis run in lanes themselves.
//!
//! Matrix products are left to the caller: a [`Product`] says what to multiply, the function calls
//! [`Frame::multiply`] for it and reads the result from scratch memory. The text of a function depends
//! on no open dimension and not on the number of time steps.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::offset_of;

use cranelift::codegen::ir::{BlockArg, Function, UserFuncName};
use cranelift::codegen::isa::CallConv;
use cranelift::prelude::*;

use super::clif_math::{Code, Mask, Vector, select_lanes, vconst};
use crate::graph::op::Signature as OpSignature;
use crate::graph::{Dim, Elem, Pointwise, Reduction};
use crate::kernel::{Affine, BufferId, Direction, Inst, Kernel, Program, ReduceLoop, Stage, Val};

/// A kernel's function and what it must be called with.
///
/// The function is `extern "C" fn(frame: *const Frame, lo: i64, hi: i64, first: i64, end: i64)`. It
/// runs the points `lo..hi` of axis 0 (unless [`Kernel::local_axes`] of a recurrence is 0: then all)
/// at the steps `first..end` (without time: ignored).
pub struct NativeKernel {
    pub function: Function,
    /// The dimensions whose values [`Frame::dims`] holds.
    pub dims: Vec<Dim>,
    /// The matrix products that it asks for.
    pub products: Vec<Product>,
}

/// What the function finds its data by.
#[repr(C)]
pub struct Frame {
    /// The program's buffers, by [`BufferId`].
    pub buffers: *const *mut u8,
    pub dims: *const i64,
    /// For each product, where the result is put: row-major over [`Product::axes`], in the ranges
    /// asked for.
    pub scratch: *const *mut f32,
    /// Multiplies.
    pub multiply: Multiply,
    /// Passed on to `multiply`.
    pub context: *const c_void,
}

/// Computes a product by its index for the points `lo..hi` of axis 0 and the steps `first..end`.
/// `left` and `right` are the flat indices at which the operands start.
pub type Multiply = extern "C" fn(
    context: *const c_void,
    product: i64,
    left: i64,
    right: i64,
    lo: i64,
    hi: i64,
    first: i64,
    end: i64,
);

/// A sum of products of two buffers' elements.
#[derive(Clone, Debug)]
pub struct Product {
    pub left: BufferId,
    pub right: BufferId,
    /// The first of `axes` is time: the steps `first..end`.
    pub over_steps: bool,
    /// The axes of the result: the steps, if they are among them, and the axes of the stage.
    pub axes: Vec<ProductAxis>,
    /// The axes that are summed over.
    pub loops: Vec<ProductAxis>,
}

/// An axis and by how much a step along it moves in each operand.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductAxis {
    pub extent: Dim,
    pub left: Dim,
    pub right: Dim,
}

/// The function of a kernel.
pub fn emit(program: &Program, kernel: &Kernel, call_conv: CallConv) -> NativeKernel {
    let mut function = Function::with_name_signature(
        UserFuncName::testcase(kernel.name.as_bytes()),
        signature(call_conv, 5),
    );
    let mut context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut context);
    let emitter = Emitter::new(program, kernel, builder, call_conv);
    emitter.kernel();
    let (dims, products) = emitter.finish();
    NativeKernel { function, dims, products }
}

/// All functions of a program as text.
pub fn text(program: &Program) -> String {
    let functions = program.kernels().map(|kernel| {
        let native = emit(program, kernel, CallConv::SystemV);
        let dims = native.dims.iter().enumerate();
        let dims: String = dims.map(|(at, dim)| format!("; dims[{at}] = {dim}\n")).collect();
        format!("; {}\n{dims}{}", kernel.name, native.function.display())
    });
    functions.collect::<Vec<_>>().join("\n")
}

fn signature(call_conv: CallConv, params: usize) -> Signature {
    let mut signature = Signature::new(call_conv);
    signature.params.resize(params, AbiParam::new(types::I64));
    signature
}

struct Emitter<'a, 'f> {
    program: &'a Program,
    kernel: &'a Kernel,
    code: Code<'f>,
    frame: Value,
    /// The ranges of axis 0 and of the steps.
    rows: (Value, Value),
    steps: (Value, Value),
    call_conv: CallConv,
    dims: RefCell<Vec<Dim>>,
    products: RefCell<Vec<Product>>,
}

/// Which variable differs from lane to lane.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lanes {
    /// None: all lanes are equal.
    Uniform,
    /// The innermost axis of the stage.
    Axis,
    /// The last axis of a reduction loop.
    Loop(usize),
}

/// What is known at the current place in the code of a stage. Copied when a loop is entered, so that
/// what is computed inside is forgotten outside.
#[derive(Clone)]
struct Scope<'a> {
    stage: &'a Stage,
    facts: &'a Facts,
    lanes: Lanes,
    /// All four lanes count; else only the first.
    full: bool,
    time: Option<Value>,
    axes: Vec<Value>,
    loop_time: Option<Value>,
    loop_axes: Vec<Value>,
    vectors: Vec<Option<Value>>,
    scalars: Vec<Option<Value>>,
}

/// What is known of the values of a stage before its code is made.
struct Facts {
    elems: Vec<Elem>,
    /// The outermost place at which a value may be computed: 0 before everything, 1 in the loop over
    /// time, `2 + axis` in the loop over an axis.
    levels: Vec<usize>,
    /// The value changes with some variable of a reduction loop.
    in_loop: Vec<bool>,
    /// The value changes with the last axis of a reduction loop.
    in_last_loop: Vec<bool>,
    /// The axis that runs in lanes.
    vector_axis: Option<usize>,
    /// For each loop that is a matrix product, its index and how its operands are found.
    products: Vec<Option<ProductPlan>>,
}

struct ProductPlan {
    index: usize,
    /// Called at each step of time.
    each_step: bool,
    left: Form,
    right: Form,
}

/// An index that is linear in the variables of loops.
struct Form {
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

/// Where the lanes of an access are.
enum Place {
    /// Lane 0 alone counts, or all are here.
    One(Value),
    Contiguous(Value),
    Each([Value; 4]),
}

// ---- what is known beforehand ----

impl Facts {
    fn new(emitter: &Emitter, stage: &Stage) -> Facts {
        let mut facts = Facts {
            elems: Vec::new(),
            levels: Vec::new(),
            in_loop: Vec::new(),
            in_last_loop: Vec::new(),
            vector_axis: None,
            products: stage.loops.iter().map(|_| None).collect(),
        };
        for (at, inst) in stage.insts.iter().enumerate() {
            facts.add(emitter, stage, Val(at as u32), inst);
        }
        if let Some(last) = stage.axes.len().checked_sub(1) {
            let across = (0..stage.loops.len()).any(|index| facts.runs_across(stage, index));
            facts.vector_axis = (!across).then_some(last);
        }
        facts
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
                OpSignature::Numeric => self.elem(args[0]),
                OpSignature::Choice => self.elem(args[1]),
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
        in_order(Lanes::Loop(index)) && !in_order(Lanes::Axis)
    }

    fn level(&self, val: Val) -> usize {
        self.levels[val.0 as usize]
    }

    fn elem(&self, val: Val) -> Elem {
        self.elems[val.0 as usize]
    }

    fn varies(&self, stage: &Stage, lanes: Lanes, val: Val) -> bool {
        match lanes {
            Lanes::Uniform => false,
            Lanes::Axis => self.level(val) == 1 + stage.axes.len(),
            Lanes::Loop(_) => self.in_last_loop[val.0 as usize],
        }
    }

    /// By how much an index moves from lane to lane, if always by as much.
    fn stride(&self, stage: &Stage, lanes: Lanes, at: &Affine) -> Option<Dim> {
        let mut sum = Dim::zero();
        for (val, by) in &at.terms {
            sum = &sum + &(&self.stride_of(stage, lanes, *val)? * by);
        }
        Some(sum)
    }

    fn stride_of(&self, stage: &Stage, lanes: Lanes, val: Val) -> Option<Dim> {
        if !self.varies(stage, lanes, val) {
            return Some(Dim::zero());
        }
        match stage.inst(val) {
            Inst::Axis(_) | Inst::LoopAxis(..) => Some(Dim::one()),
            Inst::Affine(at) => self.stride(stage, lanes, at),
            _ => None,
        }
    }
}

fn terms(at: &Affine) -> Vec<Val> {
    at.terms.iter().map(|(val, _)| *val).collect()
}

impl Form {
    /// The linear form of an index outside of which only time changes.
    fn new(stage: &Stage, facts: &Facts, at: &Affine) -> Option<Form> {
        let constant = at.constant.clone();
        let mut form = Form { variables: BTreeMap::new(), rest: Vec::new(), constant };
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

impl<'a, 'f> Emitter<'a, 'f> {
    /// A reduction as a matrix product, where it has rows and columns.
    fn plan_product(&self, stage: &Stage, facts: &Facts, index: usize) -> Option<ProductPlan> {
        let reduce = &stage.loops[index];
        let contraction = stage.contraction(index)?;
        let left = Form::new(stage, facts, contraction.left.1)?;
        let right = Form::new(stage, facts, contraction.right.1)?;
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
        let left_out = i64::from(reduce.without_first) + i64::from(reduce.without_last);
        let looped_time = &time - &Dim::constant(left_out);
        let steps = reduce.over_time.then(|| axis(&looped_time, Variable::LoopTime));
        let summed = reduce.axes.iter().enumerate();
        let summed = summed.map(|(at, dim)| axis(dim, Variable::LoopAxis(at)));
        let loops: Vec<ProductAxis> = steps.into_iter().chain(summed).collect();
        let has_rows = axes.iter().any(|axis| !axis.left.is_zero() && axis.right.is_zero());
        let has_columns = axes.iter().any(|axis| axis.left.is_zero() && !axis.right.is_zero());
        if !has_rows || !has_columns || loops.is_empty() || stage.axes.is_empty() {
            return None;
        }
        let mut products = self.products.borrow_mut();
        products.push(Product {
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
        let mut stores = self.kernel.stages.iter().flat_map(|stage| &stage.stores);
        let changes = self.kernel.recurrence.is_some();
        usize::from(changes && stores.any(|store| store.buffer == buffer))
    }

    // ---- loops ----

    fn new(
        program: &'a Program,
        kernel: &'a Kernel,
        mut builder: FunctionBuilder<'f>,
        call_conv: CallConv,
    ) -> Emitter<'a, 'f> {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let params = builder.block_params(entry).to_vec();
        Emitter {
            program,
            kernel,
            code: RefCell::new(builder),
            frame: params[0],
            rows: (params[1], params[2]),
            steps: (params[3], params[4]),
            call_conv,
            dims: RefCell::default(),
            products: RefCell::default(),
        }
    }

    fn finish(self) -> (Vec<Dim>, Vec<Product>) {
        let mut builder = self.code.into_inner();
        builder.ins().return_(&[]);
        (self.dims.into_inner(), self.products.into_inner())
    }

    fn kernel(&self) {
        let facts: Vec<Facts> =
            self.kernel.stages.iter().map(|stage| Facts::new(self, stage)).collect();
        let mut scopes: Vec<Scope> = self
            .kernel
            .stages
            .iter()
            .zip(&facts)
            .map(|(stage, facts)| Scope::new(stage, facts))
            .collect();
        for scope in &mut scopes {
            self.level(scope, 0);
            self.call_products(scope, false);
        }
        if !self.kernel.stages.iter().any(|stage| stage.timed) {
            return scopes.iter().for_each(|scope| self.stage(scope, None));
        }
        let (first, end) = self.steps;
        self.each(first, end, 1, |count| {
            let step = match self.kernel.recurrence {
                Some(Direction::Backward) => {
                    let last = self.code().ins().iadd_imm_s(end, -1);
                    let from_last = self.code().ins().isub(last, count);
                    self.code().ins().iadd(first, from_last)
                }
                _ => count,
            };
            scopes.iter().for_each(|scope| self.stage(scope, Some(step)));
        });
    }

    fn stage(&self, scope: &Scope, step: Option<Value>) {
        let mut scope = scope.clone();
        scope.time = step;
        self.level(&mut scope, 1);
        self.call_products(&mut scope, true);
        self.nest(&mut scope);
    }

    /// The loops over the axes from the next one on.
    fn nest(&self, scope: &mut Scope) {
        let axis = scope.axes.len();
        if axis == scope.stage.axes.len() {
            return self.stores(scope);
        }
        let (lo, hi) = self.range(scope.stage, axis);
        let run = |lanes: Lanes, full: bool, index: Value| {
            let mut inner = scope.clone();
            (inner.lanes, inner.full) = (lanes, full);
            inner.axes.push(index);
            self.level(&mut inner, 2 + axis);
            self.nest(&mut inner);
        };
        if scope.facts.vector_axis != Some(axis) {
            return self.each(lo, hi, 1, |index| run(Lanes::Uniform, true, index));
        }
        let rest = self.whole_vectors(lo, hi);
        self.each(lo, rest, 4, |index| run(Lanes::Axis, true, index));
        let is_whole = scope.stage.axes[axis].as_const().is_some_and(|extent| extent % 4 == 0);
        if axis > 0 && is_whole {
            return;
        }
        self.each(rest, hi, 1, |index| run(Lanes::Axis, false, index));
    }

    fn range(&self, stage: &Stage, axis: usize) -> (Value, Value) {
        let whole = self.kernel.recurrence.is_some() && self.kernel.local_axes == 0;
        match axis == 0 && !whole {
            true => self.rows,
            false => (self.int(0), self.dim(&stage.axes[axis])),
        }
    }

    /// Where the last whole vector ends.
    fn whole_vectors(&self, lo: Value, hi: Value) -> Value {
        let count = self.code().ins().isub(hi, lo);
        let whole = self.code().ins().band_imm_s(count, -4);
        self.code().ins().iadd(lo, whole)
    }

    fn each(&self, lo: Value, hi: Value, step: i64, body: impl FnOnce(Value)) {
        self.fold(lo, hi, step, Vec::new(), |index, state| {
            body(index);
            state
        });
    }

    /// A loop that hands values on.
    fn fold(
        &self,
        lo: Value,
        hi: Value,
        step: i64,
        state: Vec<Value>,
        body: impl FnOnce(Value, Vec<Value>) -> Vec<Value>,
    ) -> Vec<Value> {
        let (inside, after) = {
            let mut code = self.code.borrow_mut();
            let (inside, after) = (code.create_block(), code.create_block());
            code.append_block_param(inside, types::I64);
            for value in &state {
                let ty = code.func.dfg.value_type(*value);
                code.append_block_param(inside, ty);
                code.append_block_param(after, ty);
            }
            (inside, after)
        };
        self.branch(lo, hi, &state, inside, after);
        let (index, carried) = {
            let mut code = self.code.borrow_mut();
            code.switch_to_block(inside);
            let params = code.block_params(inside);
            (params[0], params[1..].to_vec())
        };
        let carried = body(index, carried);
        let next = self.code().ins().iadd_imm_s(index, step);
        self.branch(next, hi, &carried, inside, after);
        let mut code = self.code.borrow_mut();
        code.seal_block(inside);
        code.switch_to_block(after);
        code.seal_block(after);
        code.block_params(after).to_vec()
    }

    /// On to `inside` if the index is in range.
    fn branch(&self, index: Value, hi: Value, state: &[Value], inside: Block, after: Block) {
        let state: Vec<BlockArg> = state.iter().map(|value| (*value).into()).collect();
        let with_index: Vec<BlockArg> = [index.into()].into_iter().chain(state.clone()).collect();
        let mut code = self.code.borrow_mut();
        let more = code.ins().icmp(IntCC::SignedLessThan, index, hi);
        code.ins().brif(more, inside, &with_index, after, &state);
    }

    /// Computes the values of the body that belong to a level.
    fn level(&self, scope: &mut Scope, level: usize) {
        let stage = scope.stage;
        for val in &stage.body {
            if scope.facts.level(*val) == level {
                self.compute(scope, *val);
            }
        }
    }

    fn stores(&self, scope: &mut Scope) {
        let stage = scope.stage;
        for store in &stage.stores {
            let value = self.vector(scope, store.value);
            let value = match scope.facts.elem(store.value) {
                Elem::Bool => {
                    let one = self.ints([1; 4]);
                    self.code().ins().band(value, one)
                }
                _ => value,
            };
            let first = |lane| self.code().ins().extractlane(value, lane);
            match self.place(scope, store.buffer, &store.at) {
                Place::One(address) => {
                    let lane = first(0);
                    self.code().ins().store(memory(), lane, address, 0);
                }
                Place::Contiguous(address) => {
                    self.code().ins().store(memory(), value, address, 0);
                }
                Place::Each(addresses) => {
                    for (lane, address) in addresses.into_iter().enumerate() {
                        let lane = first(lane as u8);
                        self.code().ins().store(memory(), lane, address, 0);
                    }
                }
            }
        }
    }

    // ---- values ----

    fn code(&self) -> RefMut<'_, FunctionBuilder<'f>> {
        self.code.borrow_mut()
    }

    fn int(&self, number: i64) -> Value {
        self.code().ins().iconst(types::I64, number)
    }

    fn ints(&self, lanes: [i32; 4]) -> Value {
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        vconst(&self.code, types::I32X4, &bytes)
    }

    fn floats(&self, number: f32) -> Vector<'_, 'f> {
        self.wrap(vconst(&self.code, types::F32X4, &number.to_le_bytes().repeat(4)))
    }

    fn wrap(&self, value: Value) -> Vector<'_, 'f> {
        Vector { code: &self.code, value }
    }

    /// A field of the frame, or an entry of a table in it.
    fn constant_pointer(&self, from: Value, offset: usize) -> Value {
        // It never changes, so it may be loaded anywhere.
        let flags = memory().with_readonly().with_can_move();
        self.code().ins().load(types::I64, flags, from, offset as i32)
    }

    fn dim(&self, dim: &Dim) -> Value {
        if let Some(number) = dim.as_const() {
            return self.int(number);
        }
        let mut dims = self.dims.borrow_mut();
        let at = dims.iter().position(|known| known == dim).unwrap_or_else(|| {
            dims.push(dim.clone());
            dims.len() - 1
        });
        let table = self.constant_pointer(self.frame, offset_of!(Frame, dims));
        self.constant_pointer(table, 8 * at)
    }

    fn compute(&self, scope: &mut Scope, val: Val) {
        if matches!(scope.stage.inst(val), Inst::Load(..) | Inst::Map(..) | Inst::Reduce(_)) {
            self.vector(scope, val);
        }
    }

    /// A value in lanes: f32, i32, or for booleans all ones or zero.
    fn vector(&self, scope: &mut Scope, val: Val) -> Value {
        if let Some(known) = scope.vectors[val.0 as usize] {
            return known;
        }
        let stage = scope.stage;
        let vector = match stage.inst(val) {
            Inst::F32(bits) => vconst(&self.code, types::F32X4, &bits.to_le_bytes().repeat(4)),
            Inst::I32(number) => self.ints([*number; 4]),
            Inst::Bool(truth) => self.ints([-i32::from(*truth); 4]),
            Inst::Load(buffer, at) => self.load(scope, *buffer, at, scope.facts.elem(val)),
            Inst::Map(op, args) => {
                let elem = args.first().map_or(Elem::F32, |arg| scope.facts.elem(*arg));
                let args: Vec<Value> = args.iter().map(|arg| self.vector(scope, *arg)).collect();
                self.map(*op, &args, elem)
            }
            Inst::Reduce(index) => match &scope.facts.products[*index] {
                Some(plan) => self.product_result(scope, plan),
                None => self.reduce(scope, *index),
            },
            inst => self.index_vector(scope, val, inst),
        };
        scope.vectors[val.0 as usize] = Some(vector);
        vector
    }

    /// An index in lanes.
    fn index_vector(&self, scope: &mut Scope, val: Val, inst: &Inst) -> Value {
        if let Some(stride) = scope.facts.stride_of(scope.stage, scope.lanes, val) {
            let first = self.scalar(scope, val);
            let first = self.splat_int(first);
            return match stride.is_zero() {
                true => first,
                false => {
                    let lanes = self.ints([0, 1, 2, 3]);
                    let stride = self.dim(&stride);
                    let stride = self.splat_int(stride);
                    let moved = self.code().ins().imul(lanes, stride);
                    self.code().ins().iadd(first, moved)
                }
            };
        }
        match inst {
            Inst::Affine(at) => {
                let constant = self.dim(&at.constant);
                let mut sum = self.splat_int(constant);
                for (val, by) in &at.terms {
                    let value = self.vector(scope, *val);
                    let by = self.dim(by);
                    let by = self.splat_int(by);
                    let part = self.code().ins().imul(value, by);
                    sum = self.code().ins().iadd(sum, part);
                }
                sum
            }
            Inst::Quotient(arg, dim) => self.divide(scope, *arg, dim, true),
            Inst::Remainder(arg, dim) => self.divide(scope, *arg, dim, false),
            _ => self.ints([0; 4]),
        }
    }

    /// Division lane by lane: there is no vector instruction for it.
    fn divide(&self, scope: &mut Scope, arg: Val, dim: &Dim, quotient: bool) -> Value {
        let value = self.vector(scope, arg);
        let divisor = self.dim(dim);
        let divisor = self.code().ins().ireduce(types::I32, divisor);
        let mut result = value;
        for lane in 0..if scope.full { 4u8 } else { 1 } {
            let mut code = self.code();
            let one = code.ins().extractlane(value, lane);
            let one = match quotient {
                true => code.ins().udiv(one, divisor),
                false => code.ins().urem(one, divisor),
            };
            result = code.ins().insertlane(result, one, lane);
        }
        result
    }

    fn splat_int(&self, scalar: Value) -> Value {
        let mut code = self.code();
        let narrow = code.ins().ireduce(types::I32, scalar);
        code.ins().splat(types::I32X4, narrow)
    }

    /// An i32 value of lane 0, as an i64.
    fn scalar(&self, scope: &mut Scope, val: Val) -> Value {
        if let Some(known) = scope.scalars[val.0 as usize] {
            return known;
        }
        let stage = scope.stage;
        let scalar = match stage.inst(val) {
            Inst::I32(number) => self.int(i64::from(*number)),
            Inst::Dim(dim) => self.dim(dim),
            Inst::Axis(axis) => scope.axes[*axis],
            Inst::Time => scope.time.unwrap_or_else(|| self.int(0)),
            Inst::LoopAxis(_, axis) => scope.loop_axes[*axis],
            Inst::LoopTime(_) => scope.loop_time.unwrap_or_else(|| self.int(0)),
            Inst::Affine(at) => self.affine(scope, at),
            Inst::Quotient(arg, dim) => {
                let (value, divisor) = (self.scalar(scope, *arg), self.dim(dim));
                self.code().ins().udiv(value, divisor)
            }
            Inst::Remainder(arg, dim) => {
                let (value, divisor) = (self.scalar(scope, *arg), self.dim(dim));
                self.code().ins().urem(value, divisor)
            }
            Inst::Map(op @ (Pointwise::Min | Pointwise::Max), args) => {
                let (a, b) = (self.scalar(scope, args[0]), self.scalar(scope, args[1]));
                match op {
                    Pointwise::Min => self.code().ins().smin(a, b),
                    _ => self.code().ins().smax(a, b),
                }
            }
            _ => {
                let vector = self.vector(scope, val);
                self.lane_index(vector, 0)
            }
        };
        scope.scalars[val.0 as usize] = Some(scalar);
        scalar
    }

    fn lane_index(&self, vector: Value, lane: u8) -> Value {
        let mut code = self.code();
        let lane = code.ins().extractlane(vector, lane);
        code.ins().sextend(types::I64, lane)
    }

    /// An affine expression at lane 0. Terms of outer loops are added first, so that their sum is
    /// the same in the inner ones.
    fn affine(&self, scope: &mut Scope, at: &Affine) -> Value {
        let facts = scope.facts;
        let mut terms: Vec<&(Val, Dim)> = at.terms.iter().collect();
        terms.sort_by_key(|(val, _)| {
            let val_at = val.0 as usize;
            (facts.in_last_loop[val_at], facts.in_loop[val_at], facts.level(*val))
        });
        let mut sum = self.dim(&at.constant);
        for (val, by) in terms {
            let value = self.scalar(scope, *val);
            sum = self.add_scaled(sum, value, by);
        }
        sum
    }

    fn add_scaled(&self, sum: Value, value: Value, by: &Dim) -> Value {
        let part = match by.is_one() {
            true => value,
            false => {
                let by = self.dim(by);
                self.code().ins().imul(value, by)
            }
        };
        self.code().ins().iadd(sum, part)
    }

    fn place(&self, scope: &mut Scope, buffer: BufferId, at: &Affine) -> Place {
        let (stage, facts, lanes) = (scope.stage, scope.facts, scope.lanes);
        let table = self.constant_pointer(self.frame, offset_of!(Frame, buffers));
        let buffer = self.constant_pointer(table, 8 * buffer.0 as usize);
        let address = |flat: Value| {
            let mut code = self.code();
            let bytes = code.ins().ishl_imm_u(flat, 2);
            code.ins().iadd(buffer, bytes)
        };
        match facts.stride(stage, lanes, at) {
            Some(stride) if stride.is_zero() || !scope.full => {
                Place::One(address(self.affine(scope, at)))
            }
            Some(stride) if stride.is_one() => Place::Contiguous(address(self.affine(scope, at))),
            Some(stride) => {
                let mut flat = self.affine(scope, at);
                let stride = self.dim(&stride);
                Place::Each([0; 4].map(|_| {
                    let here = address(flat);
                    flat = self.code().ins().iadd(flat, stride);
                    here
                }))
            }
            None if !scope.full => Place::One(address(self.affine(scope, at))),
            None => {
                let constant = self.dim(&at.constant);
                let mut flat = [constant; 4];
                for (val, by) in &at.terms {
                    let uniform = !facts.varies(stage, lanes, *val);
                    let scalar = uniform.then(|| self.scalar(scope, *val));
                    let vector = (!uniform).then(|| self.vector(scope, *val));
                    for (lane, flat) in flat.iter_mut().enumerate() {
                        let value = match (scalar, vector) {
                            (Some(scalar), _) => scalar,
                            (_, Some(vector)) => self.lane_index(vector, lane as u8),
                            _ => constant,
                        };
                        *flat = self.add_scaled(*flat, value, by);
                    }
                }
                Place::Each(flat.map(address))
            }
        }
    }

    fn load(&self, scope: &mut Scope, buffer: BufferId, at: &Affine, elem: Elem) -> Value {
        let (lane, vector) = match elem {
            Elem::F32 => (types::F32, types::F32X4),
            Elem::I32 | Elem::Bool => (types::I32, types::I32X4),
        };
        let place = self.place(scope, buffer, at);
        let mut code = self.code();
        let value = match place {
            Place::Contiguous(address) => code.ins().load(vector, memory(), address, 0),
            Place::One(address) => {
                let one = code.ins().load(lane, memory(), address, 0);
                code.ins().splat(vector, one)
            }
            Place::Each([first, rest @ ..]) => {
                let one = code.ins().load(lane, memory(), first, 0);
                let mut value = code.ins().splat(vector, one);
                for (at, address) in rest.into_iter().enumerate() {
                    let one = code.ins().load(lane, memory(), address, 0);
                    value = code.ins().insertlane(value, one, at as u8 + 1);
                }
                value
            }
        };
        drop(code);
        match elem {
            Elem::Bool => {
                let zero = self.ints([0; 4]);
                self.code().ins().icmp(IntCC::NotEqual, value, zero)
            }
            _ => value,
        }
    }

    /// A pointwise operation; `elem` is the element type of the first operand.
    fn map(&self, op: Pointwise, args: &[Value], elem: Elem) -> Value {
        use Pointwise::*;
        let int =
            |value: fn(&mut FunctionBuilder, &[Value]) -> Value| value(&mut self.code(), args);
        match (op, elem) {
            (Neg, Elem::I32) => return int(|code, x| code.ins().ineg(x[0])),
            (Add, Elem::I32) => return int(|code, x| code.ins().iadd(x[0], x[1])),
            (Sub, Elem::I32) => return int(|code, x| code.ins().isub(x[0], x[1])),
            (Mul, Elem::I32) => return int(|code, x| code.ins().imul(x[0], x[1])),
            (Min, Elem::I32) => return int(|code, x| code.ins().smin(x[0], x[1])),
            (Max, Elem::I32) => return int(|code, x| code.ins().smax(x[0], x[1])),
            (Not, _) => return int(|code, x| code.ins().bnot(x[0])),
            (And, _) => return int(|code, x| code.ins().band(x[0], x[1])),
            (Or, _) => return int(|code, x| code.ins().bor(x[0], x[1])),
            (ToF32, Elem::Bool) => {
                let one = self.floats(1.0).bits_of_lanes();
                let masked = self.code().ins().band(args[0], one);
                return self.wrap(masked).cast(types::F32X4).value;
            }
            (ToF32, _) => return int(|code, x| code.ins().fcvt_from_sint(types::F32X4, x[0])),
            (ToI32, _) => return int(|code, x| code.ins().fcvt_to_sint_sat(types::I32X4, x[0])),
            (Select, _) => {
                let mask = Mask(self.wrap(args[0]));
                return mask.choose(self.wrap(args[1]), self.wrap(args[2])).value;
            }
            (Lt | Le | Gt | Ge | Eq | Ne, Elem::I32 | Elem::Bool) => {
                // A true boolean is all ones: the greatest number without sign.
                let signed = elem == Elem::I32;
                let condition = match op {
                    Lt if signed => IntCC::SignedLessThan,
                    Le if signed => IntCC::SignedLessThanOrEqual,
                    Gt if signed => IntCC::SignedGreaterThan,
                    Ge if signed => IntCC::SignedGreaterThanOrEqual,
                    Lt => IntCC::UnsignedLessThan,
                    Le => IntCC::UnsignedLessThanOrEqual,
                    Gt => IntCC::UnsignedGreaterThan,
                    Ge => IntCC::UnsignedGreaterThanOrEqual,
                    Eq => IntCC::Equal,
                    _ => IntCC::NotEqual,
                };
                return self.code().ins().icmp(condition, args[0], args[1]);
            }
            _ => {}
        }
        let x = |at: usize| self.wrap(args[at]);
        let compare = |condition| x(0).compare(condition, x(1)).0;
        let zero = || self.floats(0.0);
        let result = match op {
            Neg => -x(0),
            Exp => x(0).exp(),
            Log => x(0).log(),
            Sqrt => x(0).sqrt(),
            Rsqrt => x(0).rsqrt(),
            Abs => x(0).abs(),
            Sign => {
                let negative = x(0).less(zero()).choose(self.floats(-1.0), x(0));
                zero().less(x(0)).choose(self.floats(1.0), negative)
            }
            Floor => x(0).floor(),
            Ceil => x(0).ceil(),
            Round => x(0).nearest(),
            Sin => x(0).sin(),
            Cos => x(0).cos(),
            Tan => x(0).tan(),
            Asin => x(0).asin(),
            Acos => x(0).acos(),
            Atan => x(0).atan(),
            Sinh => x(0).sinh(),
            Cosh => x(0).cosh(),
            Tanh => x(0).tanh(),
            Sigmoid => x(0).sigmoid(),
            Relu => x(0).compare(FloatCC::LessThanOrEqual, zero()).choose(zero(), x(0)),
            Softplus => x(0).softplus(),
            Erf => x(0).erf(),
            Add => x(0) + x(1),
            Sub => x(0) - x(1),
            Mul => x(0) * x(1),
            Div => x(0) / x(1),
            Pow => x(0).pow(x(1)),
            Atan2 => x(0).atan2(x(1)),
            Min => x(0).is_nan().choose(x(0), x(0).less(x(1)).choose(x(0), x(1))),
            Max => x(0).is_nan().choose(x(0), x(1).less(x(0)).choose(x(0), x(1))),
            Clamp => {
                let raised = x(0).less(x(1)).choose(x(1), x(0));
                x(2).less(raised).choose(x(2), raised)
            }
            Lt => compare(FloatCC::LessThan),
            Le => compare(FloatCC::LessThanOrEqual),
            Gt => compare(FloatCC::GreaterThan),
            Ge => compare(FloatCC::GreaterThanOrEqual),
            Eq => compare(FloatCC::Equal),
            Ne => compare(FloatCC::NotEqual),
            // Done above.
            Not | ToF32 | ToI32 | And | Or | Select => x(0),
        };
        result.value
    }

    // ---- reductions ----

    fn reduce(&self, scope: &Scope, index: usize) -> Value {
        let mut scope = scope.clone();
        let reduce = &scope.stage.loops[index];
        for val in &reduce.body {
            if !scope.facts.in_loop[val.0 as usize] {
                self.compute(&mut scope, *val);
            }
        }
        let in_lanes = scope.lanes == Lanes::Uniform && !reduce.axes.is_empty();
        let start = self.reduction_start(reduce.reduction);
        let state = self.reduce_over_time(&scope, index, in_lanes, start);
        self.reduction_result(reduce.reduction, &state, in_lanes)
    }

    fn reduce_over_time(
        &self,
        scope: &Scope,
        index: usize,
        in_lanes: bool,
        state: Vec<Value>,
    ) -> Vec<Value> {
        let reduce = &scope.stage.loops[index];
        if !reduce.over_time {
            return self.reduce_over_axes(scope, index, in_lanes, state);
        }
        let time = self.program.time.clone().unwrap_or_else(Dim::one);
        let first = self.int(i64::from(reduce.without_first));
        let end = self.dim(&(&time - &Dim::constant(i64::from(reduce.without_last))));
        self.fold(first, end, 1, state, |step, state| {
            let mut inner = scope.clone();
            inner.loop_time = Some(step);
            self.reduce_over_axes(&inner, index, in_lanes, state)
        })
    }

    /// The loops over the axes from the next one on.
    fn reduce_over_axes(
        &self,
        scope: &Scope,
        index: usize,
        in_lanes: bool,
        state: Vec<Value>,
    ) -> Vec<Value> {
        let reduce = &scope.stage.loops[index];
        let axis = scope.loop_axes.len();
        let Some(extent) = reduce.axes.get(axis) else {
            return self.reduce_point(&mut scope.clone(), index, state);
        };
        let (lo, hi) = (self.int(0), self.dim(extent));
        let run = |lanes: Lanes, full: bool, position: Value, state: Vec<Value>| {
            let mut inner = scope.clone();
            (inner.lanes, inner.full) = (lanes, full);
            inner.loop_axes.push(position);
            self.reduce_over_axes(&inner, index, in_lanes, state)
        };
        if !in_lanes || axis + 1 < reduce.axes.len() {
            return self.fold(lo, hi, 1, state, |position, state| {
                run(scope.lanes, scope.full, position, state)
            });
        }
        let rest = self.whole_vectors(lo, hi);
        let lanes = Lanes::Loop(index);
        let state = self.fold(lo, rest, 4, state, |at, state| run(lanes, true, at, state));
        self.fold(rest, hi, 1, state, |at, state| run(lanes, false, at, state))
    }

    /// Takes one value (in each lane) into the state of a reduction.
    fn reduce_point(&self, scope: &mut Scope, index: usize, state: Vec<Value>) -> Vec<Value> {
        let reduce = &scope.stage.loops[index];
        for val in &reduce.body {
            self.compute(scope, *val);
        }
        let mut value = self.vector(scope, reduce.value);
        let reduction = reduce.reduction;
        if scope.lanes == Lanes::Loop(index) && !scope.full {
            // The other lanes have had their values.
            let neutral = self.floats(neutral(reduction));
            let first = Mask(self.wrap(self.ints([-1, 0, 0, 0])));
            value = first.choose(self.wrap(value), neutral).value;
        }
        let value = self.wrap(value);
        match reduction {
            Reduction::Sum => {
                let halves = [value.widen_low(), value.widen_high()];
                let sums = state.iter().zip(halves);
                sums.map(|(sum, half)| (self.wrap(*sum) + half).value).collect()
            }
            Reduction::ArgMax => {
                let position = self.loop_position(scope, reduce, index);
                self.better(&state, &[value.value, position], false)
            }
            _ => vec![self.combine(reduction, state[0], value.value)],
        }
    }

    /// The number of an iteration, counted over all axes of the loop.
    fn loop_position(&self, scope: &Scope, reduce: &ReduceLoop, index: usize) -> Value {
        let mut position = self.int(0);
        for (at, extent) in scope.loop_axes.iter().zip(&reduce.axes) {
            let extent = self.dim(extent);
            let mut code = self.code();
            let before = code.ins().imul(position, extent);
            position = code.ins().iadd(before, *at);
        }
        let position = self.splat_int(position);
        match scope.lanes == Lanes::Loop(index) {
            false => position,
            true => {
                let lanes = self.ints([0, 1, 2, 3]);
                self.code().ins().iadd(position, lanes)
            }
        }
    }

    /// What a reduction starts from: sums are kept in two pairs of f64.
    fn reduction_start(&self, reduction: Reduction) -> Vec<Value> {
        let start = self.floats(neutral(reduction)).value;
        match reduction {
            Reduction::Sum => vec![vconst(&self.code, types::F64X2, &[0; 16]); 2],
            Reduction::ArgMax => vec![start, self.ints([0; 4])],
            _ => vec![start],
        }
    }

    /// The result in all lanes.
    fn reduction_result(&self, reduction: Reduction, state: &[Value], in_lanes: bool) -> Value {
        let rotate = |value, lanes| select_lanes(&self.code, value, lanes);
        match reduction {
            Reduction::Sum if in_lanes => {
                let pair = (self.wrap(state[0]) + self.wrap(state[1])).value;
                let mut code = self.code();
                let (a, b) = (code.ins().extractlane(pair, 0), code.ins().extractlane(pair, 1));
                let sum = code.ins().fadd(a, b);
                let sum = code.ins().fdemote(types::F32, sum);
                code.ins().splat(types::F32X4, sum)
            }
            Reduction::Sum => Vector::narrow(self.wrap(state[0]), self.wrap(state[1])).value,
            Reduction::ArgMax => {
                let rounds: &[[u8; 4]] = if in_lanes { &FOLDS } else { &[] };
                let folded = rounds.iter().fold(state.to_vec(), |state, lanes| {
                    let other: Vec<Value> = state.iter().map(|v| rotate(*v, *lanes)).collect();
                    self.better(&state, &other, true)
                });
                folded[1]
            }
            _ if in_lanes => FOLDS.iter().fold(state[0], |value, lanes| {
                let other = rotate(value, *lanes);
                self.combine(reduction, value, other)
            }),
            _ => state[0],
        }
    }

    fn combine(&self, reduction: Reduction, a: Value, b: Value) -> Value {
        let op = match reduction {
            Reduction::Sum => Pointwise::Add,
            Reduction::Prod => Pointwise::Mul,
            Reduction::Min => Pointwise::Min,
            Reduction::Max | Reduction::ArgMax => Pointwise::Max,
        };
        self.map(op, &[a, b], Elem::F32)
    }

    /// The greater of two values with its position; of equals the first in position, if asked for.
    fn better(&self, state: &[Value], other: &[Value], break_ties: bool) -> Vec<Value> {
        let (best, value) = (self.wrap(state[0]), self.wrap(other[0]));
        let mut wins = best.less(value);
        if break_ties {
            let earlier = self.code().ins().icmp(IntCC::SignedLessThan, other[1], state[1]);
            wins = wins.or(best.equals(value).and(Mask(self.wrap(earlier))));
        }
        let position = wins.choose(self.wrap(other[1]), self.wrap(state[1]));
        vec![wins.choose(value, best).value, position.value]
    }

    // ---- matrix products ----

    /// Asks for the products of a stage: those of all steps at once, or those of each step.
    fn call_products(&self, scope: &mut Scope, each_step: bool) {
        let facts = scope.facts;
        for (index, plan) in facts.products.iter().enumerate() {
            match plan {
                Some(plan) if plan.each_step == each_step => {
                    self.call_product(scope, &scope.stage.loops[index], plan);
                }
                _ => {}
            }
        }
    }

    fn call_product(&self, scope: &mut Scope, reduce: &ReduceLoop, plan: &ProductPlan) {
        let left = self.product_start(scope, reduce, plan, &plan.left);
        let right = self.product_start(scope, reduce, plan, &plan.right);
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
    fn product_start(
        &self,
        scope: &mut Scope,
        reduce: &ReduceLoop,
        plan: &ProductPlan,
        form: &Form,
    ) -> Value {
        let mut constant = form.constant.clone();
        if reduce.without_first {
            constant = &constant + &form.factor(Variable::LoopTime);
        }
        let mut start = self.dim(&constant);
        for (val, by) in &form.rest {
            let value = self.scalar(scope, *val);
            start = self.add_scaled(start, value, by);
        }
        match (scope.time, plan.each_step) {
            (Some(time), true) => self.add_scaled(start, time, &form.factor(Variable::Time)),
            _ => start,
        }
    }

    fn product_result(&self, scope: &Scope, plan: &ProductPlan) -> Value {
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

impl<'a> Scope<'a> {
    fn new(stage: &'a Stage, facts: &'a Facts) -> Scope<'a> {
        Scope {
            stage,
            facts,
            lanes: Lanes::Uniform,
            full: true,
            time: None,
            axes: Vec::new(),
            loop_time: None,
            loop_axes: Vec::new(),
            vectors: vec![None; stage.insts.len()],
            scalars: vec![None; stage.insts.len()],
        }
    }
}

/// Lanes from two lanes on, then from the next lane.
const FOLDS: [[u8; 4]; 2] = [[2, 3, 0, 1], [1, 0, 3, 2]];

/// What changes nothing in a reduction.
fn neutral(reduction: Reduction) -> f32 {
    match reduction {
        Reduction::Sum => 0.0,
        Reduction::Prod => 1.0,
        Reduction::Max | Reduction::ArgMax => f32::NEG_INFINITY,
        Reduction::Min => f32::INFINITY,
    }
}

/// Accesses are inside of their buffers.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
