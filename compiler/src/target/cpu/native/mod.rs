//! Kernels as Cranelift functions.
//!
//! What a kernel computes is written as operations on lanes. Along the innermost axis of a stage they are
//! recorded as a straight line, and run in the widest vectors of the machine. Where a reduction, a branch
//! or an access element by element is among them, they run in vectors of four lanes, the rest of the axis
//! in vectors of which only the first lane counts. A value that does not depend on the innermost axis is
//! computed at the outermost loop it depends on, and has the same content in all lanes. An index is a
//! 64-bit scalar wherever it is linear in the lane. Reductions that do not depend on the innermost axis run
//! in lanes themselves.
//!
//! Matrix products are left to the caller, unless it has none of its own ([`Products`]): a [`Product`]
//! says what to multiply, the function calls [`Frame::multiply`] for it and reads the result from
//! scratch memory. The text of a function depends on no open dimension and not on the number of time
//! steps.

mod bits;
mod facts;
mod fetch;
mod line;
mod math;
mod pointwise;
mod product;
mod random;
mod reduce;
mod values;

use std::cell::{RefCell, RefMut};
use std::ffi::c_void;
use std::mem::offset_of;

use cranelift::codegen::ir::{BlockArg, Function, UserFuncName};
use cranelift::codegen::isa::{CallConv, TargetIsa};
use cranelift::prelude::*;

use crate::ir::Verified;
use crate::ir::graph::{Dim, Elem};
use crate::ir::kernel::{Affine, BufferId, Direction, Kernel, Program, Stage};
pub use crate::target::cpu::lanes::Vectors;
use crate::target::cpu::lanes::clif::{constant, memory, store};
use crate::target::cpu::lanes::code::{Code, Vector, integers};
use crate::target::cpu::lanes::{Op, Operand, Width};
use crate::target::cpu::plan::{Plan, TILED};
use facts::Facts;
pub use line::WideLoop;
use values::Place;

/// The last pass for a CPU, by name and what it does. Kernels are compiled one by one, by who has threads.
pub const PASS: (&str, &str) =
    ("native", "Native code for each kernel, in vectors as wide as the machine's.");

/// A kernel's function and what it must be called with.
///
/// The function is `extern "C" fn(frame: *const Frame, lo: i64, hi: i64, first: i64, end: i64)`. It
/// runs the points `lo..hi` of axis 0 (all, if [`Kernel::exchanges_rows`]) at the steps `first..end`.
/// Without time these are the steps that loops over time run, where they are not left out: the
/// function then computes that part of the sums.
pub struct NativeKernel {
    /// The code, whose only argument is a [`Frame`].
    pub function: Function,
    /// The dimensions whose values [`Frame::dims`] holds.
    pub dims: Vec<Size>,
    /// The matrix products that it asks for.
    pub products: Vec<Product>,
    /// The loops that it calls; none if the machine has no vectors that are wide.
    pub loops: Vec<WideLoop>,
}

/// A dimension of which a function needs the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Size {
    /// The dimension, evaluated before the call.
    pub dim: Dim,
    /// The value is a number of the program, like the divisor of a mean, and no matter of where things
    /// are: where the function runs for a part of the batch, it is that of the whole.
    pub is_data: bool,
}

/// Who computes the matrix products of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// [`Frame::multiply`].
    Called,
    /// The kernel, as any other sum: in f64, its terms in the order of the program. It then needs
    /// nothing but its buffers and dimensions, and how it is cut changes no bit of its results.
    Inlined,
}

/// The machine that code is for.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// How functions are called.
    pub call_conv: CallConv,
    /// It multiplies and adds in one instruction, with one rounding. Elementary functions use it; what
    /// a program multiplies and adds is rounded as written.
    pub has_fma: bool,
    /// The widest vectors that it has, if Cranelift's are not to be all; whatever has AVX-512 has AVX2.
    pub widest: Option<Vectors>,
}

impl Target {
    /// The machine of an instruction set, in Cranelift's vectors.
    pub fn new(isa: &dyn TargetIsa) -> Target {
        let has = |name: &str| {
            isa.isa_flags().iter().any(|flag| flag.name == name && flag.as_bool() == Some(true))
        };
        let has_fma = isa.name() == "aarch64" || has("has_avx") && has("has_fma");
        Target { call_conv: isa.default_call_conv(), has_fma, widest: None }
    }
}

/// What the function finds its data by.
#[repr(C)]
pub struct Frame {
    /// The program's buffers, by [`BufferId`]; see also [`Plan::windows`].
    pub buffers: *const *mut u8,
    /// The values of [`NativeKernel::dims`].
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
    /// The left operand.
    pub left: BufferId,
    /// The right operand.
    pub right: BufferId,
    /// The first of `axes` is time: the steps `first..end`.
    pub over_steps: bool,
    /// The first of `loops` is time.
    pub time_loop: Option<TimeLoop>,
    /// How many steps of each operand there is room for; see [`Plan::windows`].
    pub windows: (Option<i64>, Option<i64>),
    /// The result is what the kernel stores, and all that it does.
    pub whole_kernel: Option<WholeKernel>,
    /// The axes of the result: the steps, if they are among them, and the axes of the stage.
    pub axes: Vec<ProductAxis>,
    /// The axes that are summed over.
    pub loops: Vec<ProductAxis>,
    /// The flat index at which the right operand starts, if that is all the same while the kernel
    /// runs, and so are its elements: it may be rearranged beforehand.
    pub fixed_right: Option<Dim>,
}

/// A product that is all that a kernel does.
#[derive(Clone, Debug)]
pub struct WholeKernel {
    /// The flat indices at which the operands start.
    pub starts: (Dim, Dim),
    /// Where the result belongs, if it has the same order of elements there, and how many steps there
    /// is room for; see [`Plan::windows`].
    pub stored: Option<(BufferId, Option<i64>)>,
}

/// The steps that are summed over.
#[derive(Clone, Debug)]
pub struct TimeLoop {
    /// The first step.
    pub first: Dim,
    /// The step behind the last.
    pub end: Dim,
    /// Of these the steps `first..end` that the function is called with; else all.
    pub in_parts: bool,
}

/// An axis and by how much a step along it moves in each operand.
#[derive(Clone, Debug, PartialEq)]
pub struct ProductAxis {
    /// Its length.
    pub extent: Dim,
    /// In elements of the left operand.
    pub left: Dim,
    /// In elements of the right operand.
    pub right: Dim,
}

/// The function of a kernel of the plan.
pub fn emit(plan: &Plan, kernel: &Kernel, target: Target, multiplied: Products) -> NativeKernel {
    emit_kernel(plan.program(), kernel, plan.windows(), target, multiplied)
}

fn emit_kernel(
    program: &Program,
    kernel: &Kernel,
    windows: &[Option<i64>],
    target: Target,
    multiplied: Products,
) -> NativeKernel {
    let mut function = Function::with_name_signature(
        UserFuncName::testcase(kernel.name.as_bytes()),
        signature(target.call_conv, 5),
    );
    let mut context = FunctionBuilderContext::new();
    let builder = FunctionBuilder::new(&mut function, &mut context);
    let emitter = Emitter::new(program, kernel, windows, builder, target, multiplied);
    emitter.kernel();
    let (dims, products, loops) = emitter.finish();
    NativeKernel { function, dims, products, loops }
}

/// All functions of a program as text, for a machine that multiplies and adds in two instructions.
pub fn text(program: &Verified<Program>) -> String {
    let plan = Plan::new(program, &TILED, &mut |_, _| {});
    let target = Target { call_conv: CallConv::SystemV, has_fma: false, widest: None };
    let functions = plan.program().kernels().map(|kernel| {
        let native = emit(&plan, kernel, target, Products::Called);
        let dims = native.dims.iter().enumerate();
        let dims: String = dims.map(|(at, dim)| format!("; dims[{at}] = {}\n", dim.dim)).collect();
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
    target: Target,
    multiplied: Products,
    /// See [`Plan::windows`].
    windows: &'a [Option<i64>],
    dims: RefCell<Vec<Size>>,
    products: RefCell<Vec<Product>>,
    loops: RefCell<Vec<WideLoop>>,
}

/// Which variable differs from lane to lane.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lanes {
    /// None: all lanes are equal.
    Uniform,
    /// An axis of the stage: the innermost one.
    Axis(usize),
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
    vectors: Vec<Option<Operand>>,
    scalars: Vec<Option<Value>>,
    /// Those of the loop that is recorded, by the accesses that they are for.
    pointers: Vec<(BufferId, Affine, usize)>,
}

impl<'a, 'f> Emitter<'a, 'f> {
    fn new(
        program: &'a Program,
        kernel: &'a Kernel,
        windows: &'a [Option<i64>],
        mut builder: FunctionBuilder<'f>,
        target: Target,
        multiplied: Products,
    ) -> Emitter<'a, 'f> {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        builder.seal_block(entry);
        let params = builder.block_params(entry).to_vec();
        Emitter {
            program,
            kernel,
            code: Code::new(builder, target.has_fma),
            frame: params[0],
            rows: (params[1], params[2]),
            steps: (params[3], params[4]),
            target,
            multiplied,
            windows,
            dims: RefCell::default(),
            products: RefCell::default(),
            loops: RefCell::default(),
        }
    }

    fn finish(self) -> (Vec<Size>, Vec<Product>, Vec<WideLoop>) {
        let mut builder = self.code.into_inner();
        builder.ins().return_(&[]);
        (self.dims.into_inner(), self.products.into_inner(), self.loops.into_inner())
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
        let is_innermost = scope.facts.vector_axis == Some(axis);
        if is_innermost && scope.facts.is_straight {
            return self.straight_loop(scope);
        }
        if self.rows_loop(scope) {
            return;
        }
        let (lo, hi) = self.range(scope.stage, axis);
        let run = |lanes: Lanes, full: bool, index: Value| {
            let mut inner = scope.clone();
            (inner.lanes, inner.full) = (lanes, full);
            inner.axes.push(index);
            self.level(&mut inner, 2 + axis);
            self.nest(&mut inner);
        };
        if !is_innermost {
            return self.each(lo, hi, 1, |index| run(Lanes::Uniform, true, index));
        }
        let rest = self.whole_vectors(lo, hi);
        let lanes = Lanes::Axis(axis);
        self.each(lo, rest, 4, |index| run(lanes, true, index));
        if self.extent(scope.stage, axis).is_none_or(|extent| extent % 4 != 0) {
            self.each(rest, hi, 1, |index| run(lanes, false, index));
        }
    }

    fn range(&self, stage: &Stage, axis: usize) -> (Value, Value) {
        match axis == 0 && !self.kernel.exchanges_rows() {
            true => self.rows,
            false => (self.int(0), self.dim(&stage.axes[axis])),
        }
    }

    /// How many indices there are in a range, if that is known.
    fn extent(&self, stage: &Stage, axis: usize) -> Option<i64> {
        let is_part = axis == 0 && !self.kernel.exchanges_rows();
        stage.axes[axis].as_const().filter(|_| !is_part)
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
        let stores = stage.stores.iter().map(|store| (store, false));
        let sums = stage.sums.iter().map(|sum| (sum, true));
        for (store, is_sum) in stores.chain(sums) {
            let value = self.vector(scope, store.value);
            let value = match scope.facts.elem(store.value) {
                Elem::Bool => self.wrap(value).and(self.wrap(integers(1))).operand,
                elem if is_sum => {
                    let before = self.load(scope, store.buffer, &store.at, elem);
                    (self.wrap(before) + self.wrap(value)).operand
                }
                _ => value,
            };
            let is_bits = self.program.buffer(store.buffer).is_packed();
            let value = if is_bits { self.bits_of(scope, store.value) } else { value };
            if self.code.is_recording() {
                let pointer = self.pointer(scope, store.buffer, &store.at);
                let put = if is_bits { Op::StoreBits(pointer) } else { Op::Store(pointer) };
                self.code.push(put, &[value]);
                continue;
            }
            let place = self.place(scope, store.buffer, &store.at);
            match is_bits {
                true => self.store_bits(store.buffer, place, value),
                false => self.store_elements(store.buffer, place, value),
            }
        }
        self.look_ahead(scope);
    }

    fn store_elements(&self, buffer: BufferId, place: Place, value: Operand) {
        let value = self.code.value(value, types::F32X4);
        let put = |flat: Value, value: Value, is_full: bool| {
            let address = self.address(buffer, flat);
            store(&mut self.code(), value, address, is_full);
        };
        match place {
            Place::Contiguous(flat) => put(flat, value, true),
            Place::One(flat) => put(flat, value, false),
            Place::Each(flats) => {
                for (lane, flat) in flats.into_iter().enumerate() {
                    let lane = self.code().ins().extractlane(value, lane as u8);
                    put(flat, lane, true);
                }
            }
        }
    }

    // ---- small instructions ----

    fn code(&self) -> RefMut<'_, FunctionBuilder<'f>> {
        self.code.borrow_mut()
    }

    fn int(&self, number: i64) -> Value {
        self.code().ins().iconst(types::I64, number)
    }

    /// The number of each lane.
    fn lane_numbers(&self) -> Operand {
        let bytes = [0i32, 1, 2, 3].map(i32::to_le_bytes).concat();
        self.code.made(constant(&mut self.code(), types::I32X4, &bytes))
    }

    fn floats(&self, number: f32) -> Vector<'_, 'f> {
        self.wrap(integers(number.to_bits() as i32))
    }

    fn wrap(&self, operand: Operand) -> Vector<'_, 'f> {
        self.code.vector(operand, Width::W32)
    }

    /// A field of the frame, or an entry of a table in it.
    fn constant_pointer(&self, from: Value, offset: usize) -> Value {
        // It never changes, so it may be loaded anywhere.
        let flags = memory().with_readonly().with_can_move();
        self.code().ins().load(types::I64, flags, from, offset as i32)
    }

    fn dim(&self, dim: &Dim) -> Value {
        self.size(dim, false)
    }

    /// The value of a dimension; see [`Size`].
    fn size(&self, dim: &Dim, is_data: bool) -> Value {
        if let Some(number) = dim.as_const() {
            return self.int(number);
        }
        let size = Size { dim: dim.clone(), is_data };
        let mut dims = self.dims.borrow_mut();
        let at = dims.iter().position(|known| *known == size).unwrap_or_else(|| {
            dims.push(size);
            dims.len() - 1
        });
        let table = self.constant_pointer(self.frame, offset_of!(Frame, dims));
        self.constant_pointer(table, 8 * at)
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
            pointers: Vec::new(),
        }
    }
}
