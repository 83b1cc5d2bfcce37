//! Functions in memory.

use std::sync::{Mutex, PoisonError};

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{Configurable, Flags, builder};
use cranelift_codegen::{Context, ir};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError, ModuleReloc, default_libcall_names};
use fgi_compiler::ir::kernel::Kernel;
use fgi_compiler::target::cpu::native::{
    Frame, Product, Products, Size, Target, Vectors, WideLoop, emit,
};
use fgi_compiler::target::cpu::plan::Plan;
use rayon::{ThreadPool, prelude::*};

use crate::Error;

/// The code of a kernel; see [`NativeKernel`](fgi_compiler::target::cpu::native::NativeKernel).
pub(super) type Entry = unsafe extern "C" fn(*const Frame, i64, i64, i64, i64);

/// A kernel that can be called as long as its [`Code`] lives.
pub(super) struct Function {
    pub entry: Entry,
    pub dims: Vec<Size>,
    pub products: Vec<Product>,
}

/// The memory of compiled functions.
pub(super) struct Code(Option<JITModule>);

/// Compiles all kernels of a plan, in the order of [`Program::kernels`](fgi_compiler::ir::kernel::Program::kernels), several at once in a pool
/// of threads; in wide vectors where the machine has them and `is_wide` allows it.
pub(super) fn compile(
    plan: &Plan,
    multiplied: Products,
    is_wide: bool,
    pool: Option<&ThreadPool>,
) -> Result<(Code, Vec<Function>), Error> {
    let isa = machine(false)?;
    let module = JITBuilder::with_isa(isa.clone(), default_libcall_names());
    let mut code = Code(Some(JITModule::new(module)));
    let Some(module) = &mut code.0 else { return Ok((code, Vec::new())) };
    let shared = Mutex::new(&mut *module);
    let target = Target { widest: wide_vectors().filter(|_| is_wide), ..Target::new(&*isa) };
    let kernels: Vec<&Kernel> = plan.program().kernels().collect();
    let compile = |kernel: &&Kernel| {
        let native = emit(plan, kernel, target, multiplied);
        let id = define(&shared, &*isa, &kernel.name, native.function, &native.loops)?;
        Ok((id, native.dims, native.products))
    };
    let compiled: Result<Vec<_>, Error> = match pool {
        Some(pool) => pool.install(|| kernels.par_iter().map(compile).collect()),
        None => kernels.iter().map(compile).collect(),
    };
    let compiled = compiled?;
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

/// Compiles a function with the loops that it calls. The module, which others want too, is locked only to
/// declare and define.
fn define(
    module: &Mutex<&mut JITModule>,
    isa: &dyn TargetIsa,
    name: &str,
    mut function: ir::Function,
    loops: &[WideLoop],
) -> Result<FuncId, Error> {
    let failed = |error: ModuleError| Error::Compile(format!("kernel {name}: {error:?}"));
    let lock = || module.lock().unwrap_or_else(PoisonError::into_inner);
    for (at, WideLoop { name: in_function, signature, code }) in loops.iter().enumerate() {
        let name = format!("{name}_loop_{at}");
        let mut module = lock();
        let id = module.declare_function(&name, Linkage::Local, signature).map_err(failed)?;
        module.define_function_bytes(id, 64, code, &[]).map_err(failed)?;
        function.params.reset_user_func_name(*in_function, name_of(id));
    }
    let mut context = Context::for_function(function);
    let compiled = context.compile(isa, &mut ControlPlane::default());
    let code = compiled.map_err(|error| failed(error.into()))?;
    let alignment = u64::from(code.buffer.alignment);
    let (bytes, relocations) = (code.code_buffer().to_vec(), code.buffer.relocs().to_vec());
    let function = &context.func;
    let mut module = lock();
    let id = module.declare_function(name, Linkage::Export, &function.signature).map_err(failed)?;
    let relocations = relocations.iter();
    let relocations: Vec<ModuleReloc> =
        relocations.map(|found| ModuleReloc::from_mach_reloc(found, function, id)).collect();
    module.define_function_bytes(id, alignment, &bytes, &relocations).map_err(failed)?;
    Ok(id)
}

/// By what name functions call one of the module.
fn name_of(id: FuncId) -> ir::UserExternalName {
    ir::UserExternalName::new(0, id.as_u32())
}

/// Vectors that this machine has and code can be made with.
fn wide_vectors() -> Option<Vectors> {
    #[cfg(all(target_arch = "x86_64", unix))]
    return match is_x86_feature_detected!("avx2") {
        true if is_x86_feature_detected!("avx512dq") => Some(Vectors::Avx512),
        true => Some(Vectors::Avx2),
        false => None,
    };
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    return None;
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
