//! Where programs run.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use fgi_compiler::ir::Verified;
use fgi_compiler::ir::kernel::Program;
#[cfg(feature = "gpu")]
use fgi_compiler::target::gpu::Shaders;

use crate::Error;
use crate::backend::Backend;
#[cfg(feature = "gpu")]
use crate::gpu::{AdapterChoice, GpuBackend};

/// A choice of device. It is looked for when a [`Session`](crate::Session) opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    kind: Kind,
    threads: Option<usize>,
    memory_limit: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Auto,
    Cpu,
    CpuInOrder,
    Gpu(Option<String>),
}

impl Device {
    /// The processor.
    pub fn cpu() -> Device {
        Device::of(Kind::Cpu)
    }

    /// The processor as the object files of `fgic build --target object` use it, with the same bits: all
    /// sums in the order of the program, whatever the sizes, and numbers too small for full precision
    /// kept. Large products take ten times as long or more.
    pub fn cpu_in_order() -> Device {
        Device::of(Kind::CpuInOrder)
    }

    /// The best GPU; one that is imitated in software if there is nothing else.
    pub fn gpu() -> Device {
        Device::of(Kind::Gpu(None))
    }

    /// The best GPU whose name contains this text.
    pub fn gpu_named(name: impl Into<String>) -> Device {
        Device::of(Kind::Gpu(Some(name.into())))
    }

    /// A hardware GPU if there is one, else the processor.
    pub fn auto() -> Device {
        Device::of(Kind::Auto)
    }

    fn of(kind: Kind) -> Device {
        Device { kind, threads: None, memory_limit: None }
    }

    /// With so many threads on the processor; results do not depend on it. What [`check_threads`]
    /// refuses is an error when a session opens it.
    pub fn threads(self, threads: usize) -> Device {
        Device { threads: Some(threads), ..self }
    }

    /// With a bound on the memory that all buffers of a program take together, in bytes.
    ///
    /// Where all steps of time do not fit, the processor runs time in segments: it keeps the steps of one
    /// segment, and computes them again, from what it kept of the start, when the backward pass comes to
    /// it. Results are the same to the bit. What cannot fit is an error when it runs: with too small a
    /// limit, and where there are no segments (`cpu_in_order`, a GPU, a program without a batch).
    pub fn memory_limit(self, bytes: usize) -> Device {
        Device { memory_limit: Some(bytes), ..self }
    }

    /// Whether it is a GPU whatever the machine has.
    pub fn is_gpu(&self) -> bool {
        matches!(self.kind, Kind::Gpu(_))
    }

    pub(crate) fn open(&self, program: Arc<Verified<Program>>) -> Result<Opened, Error> {
        match &self.kind {
            Kind::Cpu => self.open_cpu(program, false),
            Kind::CpuInOrder => self.open_cpu(program, true),
            Kind::Gpu(name) => self.open_gpu(program, name.as_deref(), true),
            Kind::Auto => {
                let on_gpu = self.open_gpu(program.clone(), None, false);
                on_gpu.or_else(|_| self.open_cpu(program, false))
            }
        }
    }

    /// Opens a program whose kernels are these shaders, given in SPIR-V too if that is to be run.
    #[cfg(feature = "gpu")]
    pub(crate) fn open_shaders(
        &self,
        program: Arc<Verified<Program>>,
        shaders: Shaders,
        spirv: Option<Vec<Vec<u32>>>,
    ) -> Result<Opened, Error> {
        let name = match &self.kind {
            Kind::Cpu | Kind::CpuInOrder => {
                let message = "an artifact's kernels are shaders, which the CPU does not run; use a \
                               GPU (`gpu`), be it one that is imitated";
                return Err(Error::Device(message.into()));
            }
            Kind::Gpu(name) => name.as_deref(),
            Kind::Auto => None,
        };
        self.opened(GpuBackend::with_shaders(program, shaders, spirv, adapter_choice(name, true))?)
    }

    #[cfg(feature = "cpu")]
    fn open_cpu(&self, program: Arc<Verified<Program>>, in_order: bool) -> Result<Opened, Error> {
        self.threads.map_or(Ok(()), check_threads)?;
        use fgi_compiler::target::cpu::native::Products;
        let multiplied = if in_order { Products::Inlined } else { Products::Called };
        let backend = crate::cpu::CpuBackend::new(program, self.threads, multiplied)?;
        let backend = Box::new(backend.with_memory_limit(self.memory_limit));
        Ok(Opened { backend, is_software_gpu: false })
    }

    #[cfg(not(feature = "cpu"))]
    fn open_cpu(&self, _program: Arc<Verified<Program>>, _in_order: bool) -> Result<Opened, Error> {
        Err(Error::Device("this build of fgi has no CPU back end (feature `cpu`)".into()))
    }

    #[cfg(feature = "gpu")]
    fn open_gpu(
        &self,
        program: Arc<Verified<Program>>,
        name: Option<&str>,
        software: bool,
    ) -> Result<Opened, Error> {
        self.opened(GpuBackend::new(program, adapter_choice(name, software))?)
    }

    #[cfg(feature = "gpu")]
    fn opened(&self, backend: GpuBackend) -> Result<Opened, Error> {
        let is_software_gpu = backend.is_software();
        let backend = Box::new(backend.with_memory_limit(self.memory_limit));
        Ok(Opened { backend, is_software_gpu })
    }

    #[cfg(not(feature = "gpu"))]
    fn open_gpu(
        &self,
        _program: Arc<Verified<Program>>,
        _name: Option<&str>,
        _software: bool,
    ) -> Result<Opened, Error> {
        Err(Error::Device("this build of fgi has no GPU back end (feature `gpu`)".into()))
    }
}

/// More threads for each core are a mistake: starting them takes longer than most programs.
const THREADS_PER_CORE: usize = 16;

/// An error for no threads, or for more than 16 for each core of this machine.
pub fn check_threads(threads: usize) -> Result<(), Error> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = THREADS_PER_CORE * cores;
    if (1..=most).contains(&threads) {
        return Ok(());
    }
    let cores = if cores == 1 { "1 core".into() } else { format!("{cores} cores") };
    Err(Error::Device(format!("expected 1 to {most} threads, for this machine has {cores}")))
}

/// `cpu`, `cpu-in-order`, `gpu`, `gpu:NAME` or `auto`.
impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Device, String> {
        match text.split_once(':') {
            None if text == "cpu" => Ok(Device::cpu()),
            None if text == "cpu-in-order" => Ok(Device::cpu_in_order()),
            None if text == "gpu" => Ok(Device::gpu()),
            None if text == "auto" => Ok(Device::auto()),
            Some(("gpu", name)) if !name.is_empty() => Ok(Device::gpu_named(name)),
            _ => Err("expected `cpu`, `cpu-in-order`, `gpu`, `gpu:NAME` or `auto`".into()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Auto => f.write_str("auto"),
            Kind::Cpu => f.write_str("cpu"),
            Kind::CpuInOrder => f.write_str("cpu-in-order"),
            Kind::Gpu(None) => f.write_str("gpu"),
            Kind::Gpu(Some(name)) => write!(f, "gpu:{name}"),
        }
    }
}

/// A program on a device.
pub(crate) struct Opened {
    pub backend: Box<dyn Backend>,
    /// The device only imitates a GPU.
    pub is_software_gpu: bool,
}

#[cfg(feature = "gpu")]
fn adapter_choice(name: Option<&str>, software: bool) -> AdapterChoice {
    match name {
        Some(name) => AdapterChoice::Named(name.into()),
        None if software => AdapterChoice::Any,
        None => AdapterChoice::Hardware,
    }
}
