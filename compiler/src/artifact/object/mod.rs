//! Programs for C: an object file that links with nothing but the C library, and its header.
//!
//! The object holds the kernels of [`native`](crate::target::cpu::native), products in them, and for each pass a
//! function that lays the buffers out in a workspace of the caller and runs the kernels of the pass,
//! each over the whole batch, one after the other. Nothing is allocated and there is no global state.

mod header;
mod interface;
mod passes;

use std::collections::BTreeMap;

use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift::module::{DataDescription, Linkage, Module, ModuleError, default_libcall_names};
use cranelift::object::{ObjectBuilder, ObjectModule};

use crate::ir::Verified;
use crate::ir::graph::{Elem, Param};
use crate::ir::kernel::Program;
use crate::target::cpu::native::{NativeKernel, Products, Size, Target, emit as emit_kernel};
use crate::target::cpu::plan::Plan;
use interface::{Interface, Member};

/// A program as native code.
#[derive(Clone, Debug)]
pub struct Object {
    /// The object file.
    pub bytes: Vec<u8>,
    /// The text of its C header.
    pub header: String,
    /// The machine and system that it is for: `x86_64-unknown-linux-gnu`.
    pub target: String,
}

/// Why there is no object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A parameter has open dimensions.
    #[error("the parameter `{0}` has open dimensions, and C arrays have none: give them values")]
    OpenDims(String),
    /// A parameter has more bytes than an address can count.
    #[error("the parameter `{0}` is too large")]
    TooLarge(String),
    /// The value given for a parameter is missing or of another size.
    #[error("no initial value of the parameter `{0}` is of its size")]
    Initial(String),
    /// A bug, or a machine that Cranelift does not know.
    #[error("there is no native code: {0}")]
    Code(String),
}

impl From<ModuleError> for ObjectError {
    fn from(error: ModuleError) -> ObjectError {
        ObjectError::Code(format!("{error:?}"))
    }
}

/// The object of a program for a machine. `initial` are values of all its parameters by path, if the
/// object is to hold some.
pub fn emit(
    program: &Verified<Program>,
    isa: OwnedTargetIsa,
    initial: Option<&BTreeMap<String, Vec<f32>>>,
) -> Result<Object, ObjectError> {
    let interface = Interface::new(program)?;
    let target = isa.triple().to_string();
    let builder = ObjectBuilder::new(isa, program.name.as_str(), default_libcall_names())?;
    let mut module = ObjectModule::new(builder);
    let kernels = kernels(&mut module, &interface.plan)?;
    passes::define(&mut module, &interface, &kernels)?;
    if let Some(initial) = initial {
        let name = |what: &str| format!("{}_initial_{what}", program.name);
        data(&mut module, &name("params"), &bytes(&interface, &interface.params, initial)?)?;
        data(&mut module, &name("state"), &bytes(&interface, &interface.state, initial)?)?;
    }
    let written = module.finish().emit();
    Ok(Object {
        bytes: written.map_err(|error| ObjectError::Code(error.to_string()))?,
        header: header::text(&interface, &target, initial.is_some()),
        target,
    })
}

/// A kernel in the object.
struct Entry {
    id: cranelift::module::FuncId,
    /// The dimensions whose values it takes.
    dims: Vec<Size>,
}

/// Defines all kernels, in the order of [`Program::kernels`].
fn kernels(module: &mut ObjectModule, plan: &Plan) -> Result<Vec<Entry>, ObjectError> {
    let target = Target::new(module.isa());
    let kernels = plan.program().kernels().map(|kernel| {
        let NativeKernel { function, dims, .. } =
            emit_kernel(plan, kernel, target, Products::Inlined);
        let id = module.declare_function(&kernel.name, Linkage::Local, &function.signature)?;
        let mut context = cranelift::codegen::Context::for_function(function);
        module.define_function(id, &mut context)?;
        Ok(Entry { id, dims })
    });
    kernels.collect()
}

/// A structure of arrays as it is in memory.
fn bytes(
    interface: &Interface,
    members: &[Member],
    initial: &BTreeMap<String, Vec<f32>>,
) -> Result<Vec<u8>, ObjectError> {
    let mut bytes = Vec::new();
    for member in members {
        let Param { path, elem, .. } = &interface.program.params[member.param];
        let values = initial.get(path).filter(|values| values.len() as i64 == member.elements());
        let values = values.ok_or_else(|| ObjectError::Initial(path.clone()))?;
        bytes.extend(values.iter().flat_map(|value| match elem {
            Elem::I32 => (*value as i32).to_le_bytes(),
            Elem::F32 | Elem::Bool => value.to_le_bytes(),
        }));
    }
    Ok(bytes)
}

/// Defines constant data; none if there is nothing in it.
fn data(module: &mut ObjectModule, name: &str, bytes: &[u8]) -> Result<(), ObjectError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let id = module.declare_data(name, Linkage::Export, false, false)?;
    let mut description = DataDescription::new();
    description.define(bytes.into());
    description.set_align(64);
    Ok(module.define_data(id, &description)?)
}
