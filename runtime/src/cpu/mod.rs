//! The processor as a device: kernels compiled when a program is loaded, run by a pool of threads.
//!
//! How a kernel is cut into tasks depends on its sizes only, not on the number of threads, so that
//! results do not either. With [`Products::Inlined`] they do not depend on how it is cut: every kernel
//! runs whole, and numbers too small for full precision stay as they are.

mod bound_kernel;
mod checkpointing;
mod denormals;
mod elements;
mod gather;
mod jit;
mod memory;
mod memory_plan;
mod panels;
mod product;
mod row_indices;
mod rows;
mod tiles;

use std::sync::Arc;

use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::{Bindings, Dim};
use fgi_compiler::ir::kernel::{BufferId, BufferSource, Pass, Program};
use fgi_compiler::target::cpu::native::Products;
use fgi_compiler::target::cpu::plan::batch_tiles::{Step, batch};
use fgi_compiler::target::cpu::plan::{IN_ORDER, Plan, PlanPass, TILED};
use rayon::prelude::*;

use crate::Error;
use crate::backend::{Backend, Footprint, first_not_finite};
use bound_kernel::{BoundKernel, Sizes};
use denormals::FlushDenormals;
#[cfg(feature = "object")]
pub(crate) use jit::machine;
use jit::{Code, Function};
use memory::Memory;
use memory_plan::MemoryPlan;
use tiles::Tiles;

/// A program compiled for this machine, with its buffers.
pub(crate) struct CpuBackend {
    /// The program, [`split`] and with bits ([`pack`]) if it runs tile by tile.
    program: Arc<Program>,
    multiplied: Products,
    /// See [`batch_tiles::windows`].
    windows: Vec<Option<i64>>,
    functions: Vec<Function>,
    /// Those that kernels fill are empty until a pass needs them whole.
    buffers: Vec<Memory>,
    bindings: Option<Bindings>,
    /// What was run since the dimensions were bound.
    orders: Vec<Order>,
    threads: usize,
    pool: Option<rayon::ThreadPool>,
    /// The most bytes that buffers may take.
    memory_limit: Option<usize>,
    /// The order that ran last.
    last: Footprint,
    /// The functions' memory.
    _code: Code,
}

/// Passes that run after each other, ready to run.
struct Order {
    passes: Vec<Pass>,
    steps: Vec<BoundStep>,
    segments: usize,
    /// What its tiles take.
    bytes: usize,
}

enum BoundStep {
    Kernel(BoundKernel),
    Tiles(Box<Tiles>),
}

impl CpuBackend {
    /// Compiles a program; `threads` are as many as the machine has, if not given.
    pub fn new(
        program: Arc<Verified<Program>>,
        threads: Option<usize>,
        multiplied: Products,
    ) -> Result<CpuBackend, Error> {
        let passes: &[PlanPass] = match multiplied {
            Products::Called => &TILED,
            Products::Inlined => &IN_ORDER,
        };
        let plan = Plan::new(&program, passes, &mut |_, _| {});
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = threads.unwrap_or_else(available);
        let pool = match threads {
            1 => None,
            _ => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Some(pool.map_err(|error| Error::Device(format!("cpu: {error}")))?)
            }
        };
        let is_wide = multiplied == Products::Called;
        let (code, functions) = jit::compile(&plan, multiplied, is_wide, pool.as_ref())?;
        let (program, windows) = plan.into_parts();
        let buffers = program.buffers.iter().map(|_| Memory::empty()).collect();
        Ok(CpuBackend {
            program: Arc::new(program),
            multiplied,
            windows,
            functions,
            buffers,
            bindings: None,
            orders: Vec::new(),
            threads,
            pool,
            memory_limit: None,
            last: Footprint::default(),
            _code: code,
        })
    }

    /// With a bound on the bytes of all buffers.
    pub fn with_memory_limit(self, memory_limit: Option<usize>) -> CpuBackend {
        CpuBackend { memory_limit, ..self }
    }

    fn failed(&self, message: String) -> Error {
        Error::Run { device: self.device_name(), message }
    }

    /// The bytes of a buffer, all of it.
    fn bytes(&self, id: BufferId, bindings: &Bindings) -> Result<usize, Error> {
        let mut elements = self.program.elements(id).eval(bindings)?;
        if let Some(window) = self.windows[id.0 as usize] {
            let step = Dim::product(&self.program.buffer(id).dims).eval(bindings)?;
            elements = elements.min(step.saturating_mul(window));
        }
        let buffer = self.program.buffer(id);
        let bytes = Some(buffer.bytes(elements)).filter(|bytes| *bytes < i64::MAX);
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let about = || elements as f64 * buffer.storage.width() as f64 / 8.0;
        bytes.ok_or_else(|| self.too_large(&buffer.name, about()))
    }

    fn too_large(&self, name: &str, bytes: f64) -> Error {
        let mib = bytes / f64::from(1 << 20);
        self.failed(format!("`{name}` needs {mib:.0} MiB of memory; use a smaller batch"))
    }

    fn memory(&self, name: &str, bytes: usize) -> Result<Memory, Error> {
        Memory::zeroed(bytes).ok_or_else(|| self.too_large(name, bytes as f64))
    }

    /// Gives a buffer its size.
    fn allocate(&mut self, id: BufferId, bindings: &Bindings) -> Result<(), Error> {
        let bytes = self.bytes(id, bindings)?;
        if bytes != self.buffers[id.0 as usize].len() {
            let memory = self.memory(&self.program.buffer(id).name, bytes)?;
            self.buffers[id.0 as usize] = memory;
        }
        Ok(())
    }

    /// Makes passes ready to run, and gives what they need its memory.
    fn prepare(&mut self, passes: &[Pass]) -> Result<usize, Error> {
        if let Some(known) = self.orders.iter().position(|order| order.passes == passes) {
            return Ok(known);
        }
        let Some(bindings) = self.bindings.clone() else {
            return Err(self.failed("the dimensions are not bound".to_string()));
        };
        let program = self.program.clone();
        let kernels: Vec<_> = program.kernels().collect();
        let mut steps = Vec::new();
        let order = self.order(passes);
        let MemoryPlan { layouts, segments, bytes } = self.plan_memory(&order, &bindings)?;
        let mut layouts = layouts.into_iter();
        for step in order {
            for id in self.whole_buffers(&step) {
                self.allocate(id, &bindings)?;
            }
            steps.push(match step {
                Step::Kernel(at) => {
                    let sizes = Sizes::new(&program, &bindings, &bindings);
                    let bound = sizes.bind(at, kernels[at], &self.functions[at]);
                    BoundStep::Kernel(bound.map_err(|error| self.not_bound(error))?)
                }
                Step::Tiles(group) => {
                    let Some(layout) = layouts.next() else { continue };
                    BoundStep::Tiles(Box::new(self.tiles(group, layout, &bindings)?))
                }
            });
        }
        self.orders.push(Order { passes: passes.to_vec(), steps, segments, bytes });
        Ok(self.orders.len() - 1)
    }

    fn not_bound(&self, error: bound_kernel::Refused) -> Error {
        match error {
            bound_kernel::Refused::Dim(error) => error.into(),
            bound_kernel::Refused::Empty(kernel) => {
                self.failed(format!("a dimension of {kernel} is not positive"))
            }
        }
    }
}

impl Backend for CpuBackend {
    fn device_name(&self) -> String {
        let name = match self.multiplied {
            Products::Called => "cpu",
            Products::Inlined => "cpu-in-order",
        };
        match self.threads {
            1 => format!("{name} (1 thread)"),
            threads => format!("{name} ({threads} threads)"),
        }
    }

    fn bind(&mut self, bindings: &Bindings) -> Result<(), Error> {
        if let Some((name, size)) = bindings.iter().find(|(_, size)| **size < 1) {
            return Err(Error::Shape {
                name: name.to_string(),
                expected: "a dimension of at least 1".to_string(),
                found: size.to_string(),
            });
        }
        let fixed = self.program.buffer_ids().filter(|id| {
            let is_result = self.program.results.iter().any(|(.., result)| result == id);
            is_result || self.program.buffer(*id).source != BufferSource::Kernel
        });
        let bytes = fixed.map(|id| self.bytes(id, bindings)).collect::<Result<Vec<usize>, _>>()?;
        let bytes = bytes.into_iter().fold(0, usize::saturating_add);
        if self.memory_limit.is_none() {
            crate::memory::check(bytes as u128)?;
        }
        self.orders.clear();
        self.bindings = None;
        for id in self.program.buffer_ids() {
            match self.program.buffer(id).source {
                BufferSource::Kernel => self.buffers[id.0 as usize] = Memory::empty(),
                _ => self.allocate(id, bindings)?,
            }
        }
        let results: Vec<BufferId> = self.program.results.iter().map(|(.., id)| *id).collect();
        for id in results {
            self.allocate(id, bindings)?;
        }
        self.bindings = Some(bindings.clone());
        Ok(())
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error> {
        let memory = &mut self.buffers[buffer.0 as usize];
        if memory.len() != bytes.len() {
            return Err(Error::Shape {
                name: self.program.buffer(buffer).name.clone(),
                expected: format!("{} bytes", memory.len()),
                found: bytes.len().to_string(),
            });
        }
        memory.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u8>, Error> {
        Ok(self.buffers[buffer.0 as usize].bytes().to_vec())
    }

    fn not_finite(&mut self, buffers: &[BufferId]) -> Result<Option<(BufferId, f32)>, Error> {
        let bad =
            |id: &BufferId| Some((*id, first_not_finite(self.buffers[id.0 as usize].bytes())?));
        Ok(buffers.iter().find_map(bad))
    }

    fn run(&mut self, passes: &[Pass]) -> Result<(), Error> {
        let order = self.prepare(passes)?;
        let tiles = self.orders.iter().map(|order| order.bytes);
        let saved = self.bindings.as_ref().map(|bindings| self.program.saved_bytes(bindings));
        self.last = Footprint {
            bytes: self.buffers.iter().map(Memory::len).chain(tiles).sum(),
            segments: self.orders[order].segments,
            saved_per_step: saved.transpose()?.unwrap_or(0) as usize,
        };
        let buffers = Buffers(self.buffers.iter().map(Memory::start).collect());
        let steps = &self.orders[order].steps;
        let threads = Threads {
            are_several: self.pool.is_some(),
            flush_denormals: self.multiplied == Products::Called,
        };
        let run = || {
            steps.iter().for_each(|step| match step {
                BoundStep::Kernel(bound) => bound.run(&buffers, threads),
                BoundStep::Tiles(tiles) => tiles.run(&buffers, threads),
            });
        };
        match &self.pool {
            Some(pool) => pool.install(run),
            None => run(),
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn footprint(&self) -> Footprint {
        self.last
    }
}

/// The starts of all buffers.
struct Buffers(Vec<*mut u8>);

// SAFETY: tasks write different elements of them.
unsafe impl Sync for Buffers {}

/// How tasks run.
#[derive(Clone, Copy)]
struct Threads {
    /// At the same time.
    are_several: bool,
    flush_denormals: bool,
}

impl Threads {
    fn for_each(self, tasks: usize, run: impl Fn(usize) + Send + Sync) {
        let run = |task: usize| {
            let _flush = self.flush_denormals.then(FlushDenormals::start);
            run(task);
        };
        match self.are_several && tasks > 1 {
            true => (0..tasks).into_par_iter().with_max_len(1).for_each(run),
            false => (0..tasks).for_each(run),
        }
    }
}

/// The native code of a program as text.
pub fn clif_text(program: &Verified<Program>) -> String {
    fgi_compiler::target::cpu::native::text(program)
}

#[cfg(test)]
mod tests;
