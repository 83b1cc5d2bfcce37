//! Functions in memory.

use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{Configurable, Flags, builder};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module, default_libcall_names};
use fgi_compiler::emit::clif::{Frame, NativeKernel, Product, Products, Size, Target, emit, widen};
use fgi_compiler::kernel::Program;

use crate::Error;

/// The code of a kernel; see [`NativeKernel`].
pub(super) type Entry = unsafe extern "C" fn(*const Frame, i64, i64, i64, i64);

/// A kernel that can be called as long as its [`Code`] lives.
pub(super) struct Function {
    pub entry: Entry,
    pub dims: Vec<Size>,
    pub products: Vec<Product>,
}

/// The memory of compiled functions.
pub(super) struct Code(Option<JITModule>);

/// Compiles all kernels of a program, in the order of [`Program::kernels`]; in wide vectors where the
/// machine has them and `is_wide` allows it.
pub(super) fn compile(
    program: &Program,
    windows: &[Option<i64>],
    multiplied: Products,
    is_wide: bool,
) -> Result<(Code, Vec<Function>), Error> {
    let module = JITBuilder::with_isa(machine(false)?, default_libcall_names());
    let mut code = Code(Some(JITModule::new(module)));
    let Some(module) = &mut code.0 else { return Ok((code, Vec::new())) };
    let target = Target::new(module.isa());
    let mut compiled = Vec::new();
    for kernel in program.kernels() {
        let NativeKernel { mut function, dims, products } =
            emit(program, kernel, windows, target, multiplied);
        let failed = |error| Error::Compile(format!("kernel {}: {error:?}", kernel.name));
        if is_wide && has_wide_vectors() {
            let mut loops = 0..;
            widen(&mut function, |function, signature, code| {
                let name = format!("{}_loop_{}", kernel.name, loops.next().unwrap_or(0));
                let id =
                    module.declare_function(&name, Linkage::Local, signature).map_err(failed)?;
                module.define_function_bytes(id, 32, code, &[]).map_err(failed)?;
                Ok::<_, Error>(module.declare_func_in_func(id, function))
            })?;
        }
        let id = module
            .declare_function(&kernel.name, Linkage::Export, &function.signature)
            .map_err(failed)?;
        let mut context = cranelift_codegen::Context::for_function(function);
        module.define_function(id, &mut context).map_err(failed)?;
        compiled.push((id, dims, products));
    }
    module.finalize_definitions().map_err(|error| Error::Compile(error.to_string()))?;
    let functions = compiled.into_iter().map(|(id, dims, products)| {
        let address = module.get_finalized_function(id);
        // SAFETY: the function was compiled with this signature.
        let entry = unsafe { std::mem::transmute::<*const u8, Entry>(address) };
        Function { entry, dims, products }
    });
    let functions = functions.collect();
    Ok((code, functions))
}

/// What [`widen`] makes code for.
fn has_wide_vectors() -> bool {
    #[cfg(all(target_arch = "x86_64", unix))]
    return is_x86_feature_detected!("avx2");
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    return false;
}

/// What code for this machine is made with; `is_pic` if it is to be linked.
pub(crate) fn machine(is_pic: bool) -> Result<OwnedTargetIsa, Error> {
    let unsupported = |message: String| {
        Error::Device(format!("native code cannot be made for this machine: {message}"))
    };
    let mut flags = builder();
    let settings = [
        ("opt_level", "speed"),
        ("is_pic", if is_pic { "true" } else { "false" }),
        ("use_colocated_libcalls", "false"),
        // A frame beyond a page touches each of them, so that no guard page is jumped over.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
    ];
    for (name, value) in settings {
        flags.set(name, value).map_err(|error| unsupported(error.to_string()))?;
    }
    cranelift_native::builder()
        .map_err(|message| unsupported(message.to_string()))?
        .finish(Flags::new(flags))
        .map_err(|error| unsupported(error.to_string()))
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.0.take() {
            // SAFETY: functions are called only by the owner of this value, which is gone.
            unsafe { module.free_memory() }
        }
    }
}
