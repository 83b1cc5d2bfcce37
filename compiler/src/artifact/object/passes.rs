//! The functions that C calls: they find the buffers and run kernels.

use std::collections::BTreeSet;
use std::mem::offset_of;

use cranelift::codegen::ir::{Function, StackSlot, UserFuncName};
use cranelift::module::{FuncId, Linkage, Module};
use cranelift::object::ObjectModule;
use cranelift::prelude::*;

use super::interface::{Argument, Interface};
use super::{Entry, ObjectError};
use crate::ir::graph::Dim;
use crate::ir::kernel::{BufferId, BufferSource, Kernel, Pass};
use crate::middle::optimizer::LEARNING_RATE;
use crate::target::cpu::native::Frame;

/// What functions return; the header has these numbers.
const OK: i64 = 0;
const BAD_SIZE: i64 = 1;
const NO_POINTER: i64 = 2;

/// The most elements of an array: its bytes are counted without overflow, and memory ends long before.
const MOST_ELEMENTS: f64 = (1u64 << 48) as f64;

/// Buffers start at lines of the cache.
const ALIGNMENT: i64 = 64;

/// Defines the functions of all passes.
pub(super) fn define(
    module: &mut ObjectModule,
    interface: &Interface,
    kernels: &[Entry],
) -> Result<(), ObjectError> {
    let name = |what: &str| format!("{}_{what}", interface.program.name);
    let dims: Vec<Argument> = interface.dim_arguments().collect();
    let lay_out = Writer::new(module, interface, &dims, &[types::I64], types::I64).lay_out();
    let lay_out = lay_out.define(module, &name("lay_out"), Linkage::Local)?;
    let bytes = Writer::new(module, interface, &dims, &[], types::I64).workspace_bytes(lay_out);
    bytes.define(module, &name("workspace_bytes"), Linkage::Export)?;
    let mut first = 0;
    for pass in Pass::ALL {
        let run = interface.program.pass(pass);
        let entries = &kernels[first..first + run.len()];
        first += run.len();
        if interface.passes().contains(&pass) {
            let arguments = interface.arguments(pass);
            let function = Writer::new(module, interface, &arguments, &[], types::I32);
            let function = function.pass(lay_out, pass, entries);
            let called = match pass {
                Pass::Forward => "forward",
                Pass::Backward => "backward",
                Pass::Update => "update",
            };
            function.define(module, &name(called), Linkage::Export)?;
        }
    }
    Ok(())
}

/// A function that is finished.
struct Finished(Box<Function>);

impl Finished {
    fn define(
        self,
        module: &mut ObjectModule,
        name: &str,
        linkage: Linkage,
    ) -> Result<FuncId, ObjectError> {
        let id = module.declare_function(name, linkage, &self.0.signature)?;
        let mut context = cranelift::codegen::Context::for_function(*self.0);
        module.define_function(id, &mut context)?;
        Ok(id)
    }
}

/// Makes one function.
struct Writer<'a, 'p> {
    interface: &'a Interface<'p>,
    module: &'a mut ObjectModule,
    function: Box<Function>,
    arguments: &'a [Argument],
}

/// The function's code and what it was called with.
struct Body<'a, 'p, 'f> {
    interface: &'a Interface<'p>,
    module: &'a mut ObjectModule,
    code: FunctionBuilder<'f>,
    arguments: &'a [Argument],
    values: Vec<Value>,
}

impl<'a, 'p> Writer<'a, 'p> {
    /// A function of these arguments, and then of `more`.
    fn new(
        module: &'a mut ObjectModule,
        interface: &'a Interface<'p>,
        arguments: &'a [Argument],
        more: &[Type],
        returns: Type,
    ) -> Writer<'a, 'p> {
        let mut signature = Signature::new(module.isa().default_call_conv());
        let ty = |argument: &Argument| match argument {
            Argument::LearningRate => types::F32,
            _ => types::I64,
        };
        let types = arguments.iter().map(ty).chain(more.iter().copied());
        signature.params.extend(types.map(AbiParam::new));
        signature.returns.push(AbiParam::new(returns));
        let function = Function::with_name_signature(UserFuncName::default(), signature);
        Writer { interface, module, function: Box::new(function), arguments }
    }

    fn write(mut self, body: impl FnOnce(&mut Body) -> Value) -> Finished {
        let mut context = FunctionBuilderContext::new();
        let mut code = FunctionBuilder::new(&mut self.function, &mut context);
        let entry = code.create_block();
        code.append_block_params_for_function_params(entry);
        code.switch_to_block(entry);
        code.seal_block(entry);
        let values = code.block_params(entry).to_vec();
        let (interface, module, arguments) = (self.interface, self.module, self.arguments);
        let mut writer = Body { interface, module, code, arguments, values };
        let result = body(&mut writer);
        writer.code.ins().return_(&[result]);
        writer.code.finalize(writer.module.target_config());
        Finished(self.function)
    }

    /// Writes where each buffer that kernels fill starts in the workspace to a table by their numbers,
    /// and gives the size of the workspace in bytes, or 0 if the dimensions cannot be.
    fn lay_out(self) -> Finished {
        self.write(|body| {
            let table = body.values[body.values.len() - 1];
            let is_fine = body.sizes_are_fine();
            let (program, windows) = (body.interface.program, body.interface.plan.windows());
            let mut offset = body.int(0);
            for id in program.buffer_ids() {
                if program.buffer(id).source != BufferSource::Kernel {
                    continue;
                }
                body.store(table, 8 * id.0 as i32, offset);
                let mut elements = body.dim(&program.elements(id));
                if let Some(window) = windows[id.0 as usize] {
                    let step = Dim::product(&program.buffer(id).dims);
                    let kept = body.dim(&(&step * &Dim::constant(window)));
                    elements = body.code.ins().smin(elements, kept);
                }
                let element = program.buffer(id).bytes(1).ilog2();
                let bytes = body.code.ins().ishl_imm_u(elements, i64::from(element));
                let end = body.code.ins().iadd(offset, bytes);
                let up = body.code.ins().iadd_imm_s(end, ALIGNMENT - 1);
                offset = body.code.ins().band_imm_s(up, -ALIGNMENT);
            }
            let least = body.int(ALIGNMENT);
            let size = body.code.ins().smax(offset, least);
            let none = body.int(0);
            body.code.ins().select(is_fine, size, none)
        })
    }

    fn workspace_bytes(self, lay_out: FuncId) -> Finished {
        self.write(|body| {
            let table = body.table(body.interface.program.buffers.len());
            body.call_lay_out(lay_out, table)
        })
    }

    fn pass(self, lay_out: FuncId, pass: Pass, kernels: &[Entry]) -> Finished {
        self.write(|body| {
            body.check_pointers();
            let program = body.interface.program;
            let table = body.table(program.buffers.len());
            let size = body.call_lay_out(lay_out, table);
            body.return_if_zero(size, BAD_SIZE);
            let run = program.pass(pass);
            let results = body.interface.results(pass);
            let touched = run.iter().flat_map(Kernel::buffers);
            let touched = touched.chain(results.iter().map(|(buffer, _)| *buffer));
            for buffer in touched.collect::<BTreeSet<BufferId>>() {
                body.find(buffer, table);
            }
            for (kernel, entry) in run.iter().zip(kernels) {
                body.run(kernel, entry, table);
            }
            let target = match pass {
                Pass::Forward => Argument::Outputs,
                _ => Argument::Gradients,
            };
            for (at, (buffer, _)) in results.iter().enumerate() {
                let start = body.load(table, 8 * buffer.0 as i32);
                let target = body.argument(target);
                body.store(target, 8 * at as i32, start);
            }
            body.code.ins().iconst(types::I32, OK)
        })
    }
}

impl Body<'_, '_, '_> {
    /// Whether every dimension that a loop runs over and every array has a size that can be.
    fn sizes_are_fine(&mut self) -> Value {
        let program = self.interface.program;
        let mut is_fine = self.code.ins().iconst(types::I8, 1);
        let stages = program.kernels().flat_map(|kernel| &kernel.stages);
        let loops = stages.flat_map(|stage| {
            stage.axes.iter().chain(stage.loops.iter().flat_map(|reduce| &reduce.axes))
        });
        let counted: BTreeSet<Dim> = loops.chain(&program.time).cloned().collect();
        let arrays = program.buffer_ids().map(|id| program.elements(id));
        let arrays: BTreeSet<Dim> = arrays.collect();
        let counted = counted.iter().map(|dim| (dim, f64::from(i32::MAX)));
        let limits = counted.chain(arrays.iter().map(|dim| (dim, MOST_ELEMENTS)));
        let symbols = self.interface.dims.iter().map(|(symbol, _)| Dim::symbol(symbol));
        let symbols: Vec<Dim> = symbols.collect();
        let limits = limits.chain(symbols.iter().map(|dim| (dim, f64::from(i32::MAX))));
        for (dim, most) in limits {
            let size = self.float_dim(dim);
            let (least, most) = (self.code.ins().f64const(1.0), self.code.ins().f64const(most));
            for (condition, limit) in
                [(FloatCC::GreaterThanOrEqual, least), (FloatCC::LessThanOrEqual, most)]
            {
                let is_inside = self.code.ins().fcmp(condition, size, limit);
                is_fine = self.code.ins().band(is_fine, is_inside);
            }
        }
        is_fine
    }

    /// Returns if a pointer is missing: an argument, or an input in its structure.
    fn check_pointers(&mut self) {
        let pointers: Vec<Value> = self
            .arguments
            .iter()
            .zip(&self.values)
            .filter(|(argument, _)| argument.is_pointer())
            .map(|(_, value)| *value)
            .collect();
        for pointer in pointers {
            self.return_if_zero(pointer, NO_POINTER);
        }
        if !self.arguments.contains(&Argument::Inputs) {
            return;
        }
        for (at, (input, _)) in self.interface.inputs.iter().enumerate() {
            if self.interface.is_used(*input) {
                let inputs = self.argument(Argument::Inputs);
                let pointer = self.load(inputs, 8 * at as i32);
                self.return_if_zero(pointer, NO_POINTER);
            }
        }
    }

    /// Puts the address of a buffer into the table.
    fn find(&mut self, buffer: BufferId, table: Value) {
        let program = self.interface.program;
        let place = 8 * buffer.0 as i32;
        let address = match program.buffer(buffer).source {
            BufferSource::Kernel => {
                let workspace = self.argument(Argument::Workspace);
                let offset = self.load(table, place);
                self.code.ins().iadd(workspace, offset)
            }
            BufferSource::Input(input) => self.input(input),
            BufferSource::Param(param) => {
                let of = |argument, members: &[super::Member]| {
                    let found = members.iter().find(|member| member.param == param);
                    found.map(|member| (argument, member.offset))
                };
                let params = of(Argument::Params, &self.interface.params);
                let found = params.or_else(|| of(Argument::State, &self.interface.state));
                let Some((argument, offset)) = found else { return };
                let start = self.argument(argument);
                self.code.ins().iadd_imm_s(start, offset)
            }
        };
        self.store(table, place, address);
    }

    fn input(&mut self, input: usize) -> Value {
        let mut inputs = self.interface.inputs.iter();
        if let Some(at) = inputs.position(|(index, _)| *index == input) {
            let inputs = self.argument(Argument::Inputs);
            return self.load(inputs, 8 * at as i32);
        }
        let value = match &*self.interface.program.inputs[input].name {
            LEARNING_RATE => self.argument(Argument::LearningRate),
            _ => {
                let step = self.argument(Argument::Step);
                self.code.ins().fcvt_from_sint(types::F32, step)
            }
        };
        let place = self.table(1);
        self.store(place, 0, value);
        place
    }

    /// Calls a kernel for all points and steps.
    fn run(&mut self, kernel: &Kernel, entry: &Entry, table: Value) {
        let dims = self.table(entry.dims.len());
        for (at, size) in entry.dims.iter().enumerate() {
            let value = self.dim(&size.dim);
            self.store(dims, 8 * at as i32, value);
        }
        let frame = self.table(size_of::<Frame>() / 8);
        let zero = self.int(0);
        for (field, value) in [
            (offset_of!(Frame, buffers), table),
            (offset_of!(Frame, dims), dims),
            (offset_of!(Frame, scratch), zero),
            (offset_of!(Frame, multiply), zero),
            (offset_of!(Frame, context), zero),
        ] {
            self.store(frame, field as i32, value);
        }
        let rows = kernel.stages[0].axes.first().cloned().unwrap_or_else(Dim::one);
        let rows = self.dim(&rows);
        let steps = self.dim(&self.interface.program.time.clone().unwrap_or_else(Dim::one));
        let kernel = self.module.declare_func_in_func(entry.id, self.code.func);
        self.code.ins().call(kernel, &[frame, zero, rows, zero, steps]);
    }

    // ---- small instructions ----

    /// The value of an argument, which the function has.
    fn argument(&mut self, wanted: Argument) -> Value {
        let place = self.arguments.iter().position(|argument| *argument == wanted);
        match place {
            Some(place) => self.values[place],
            None => self.int(0),
        }
    }

    fn call_lay_out(&mut self, lay_out: FuncId, table: Value) -> Value {
        let dims = self.interface.dims.len();
        let arguments: Vec<Value> = self.values[..dims].iter().copied().chain([table]).collect();
        let function = self.module.declare_func_in_func(lay_out, self.code.func);
        let call = self.code.ins().call(function, &arguments);
        self.code.inst_results(call)[0]
    }

    fn return_if_zero(&mut self, value: Value, status: i64) {
        let (stop, go_on) = (self.code.create_block(), self.code.create_block());
        self.code.ins().brif(value, go_on, &[], stop, &[]);
        self.code.switch_to_block(stop);
        self.code.seal_block(stop);
        let status = self.code.ins().iconst(types::I32, status);
        self.code.ins().return_(&[status]);
        self.code.switch_to_block(go_on);
        self.code.seal_block(go_on);
    }

    /// The value of a dimension, of which it is known that it can be.
    fn dim(&mut self, dim: &Dim) -> Value {
        let mut sum = self.int(0);
        for (factors, value) in dim.terms() {
            let mut product = self.int(*value);
            for factor in factors {
                let factor = self.symbol(factor);
                product = self.code.ins().imul(product, factor);
            }
            sum = self.code.ins().iadd(sum, product);
        }
        sum
    }

    /// The same where it may be too large for an integer.
    fn float_dim(&mut self, dim: &Dim) -> Value {
        let mut sum = self.code.ins().f64const(0.0);
        for (factors, value) in dim.terms() {
            let mut product = self.code.ins().f64const(*value as f64);
            for factor in factors {
                let factor = self.symbol(factor);
                let factor = self.code.ins().fcvt_from_sint(types::F64, factor);
                product = self.code.ins().fmul(product, factor);
            }
            sum = self.code.ins().fadd(sum, product);
        }
        sum
    }

    fn symbol(&mut self, symbol: &str) -> Value {
        let place = self.interface.dims.iter().position(|(known, _)| **known == *symbol);
        match place {
            Some(place) => self.values[place],
            None => self.int(1),
        }
    }

    /// The address of so many words on the stack, at least one.
    fn table(&mut self, words: usize) -> Value {
        let size = 8 * words.max(1) as u32;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, size, 3);
        let slot: StackSlot = self.code.create_sized_stack_slot(slot);
        self.code.ins().stack_addr(types::I64, slot, 0)
    }

    fn int(&mut self, number: i64) -> Value {
        self.code.ins().iconst(types::I64, number)
    }

    fn load(&mut self, from: Value, offset: i32) -> Value {
        self.code.ins().load(types::I64, memory(), from, offset)
    }

    fn store(&mut self, to: Value, offset: i32, value: Value) {
        self.code.ins().store(memory(), value, to, offset);
    }
}

/// Checked before.
fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}
