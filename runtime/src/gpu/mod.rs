//! Programs on a GPU, through wgpu.
//!
//! Shaders become pipelines once; buffers and the uniform structs of all dispatches are made when
//! dimensions are bound, so that a run only records and submits. Errors of the device come back
//! through error scopes and the device-lost callback.

mod adapter;
mod cache;
#[cfg(test)]
mod tests;
mod tune;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::Bindings;
use fgi_compiler::ir::kernel::{BufferId, Pass, Program};
use fgi_compiler::target::gpu::dispatch::{self, Budget, Plan, UNIFORM_ALIGNMENT, plan};
use fgi_compiler::target::gpu::{Group, Limits, Memory, Shader, Shaders, WORD, emit};
use rayon::prelude::*;

use crate::backend::{Backend, Footprint, first_not_finite};
use crate::bench::Tuning;
use crate::{Error, memory};
pub use adapter::{AdapterChoice, AdapterInfo, AdapterKind, adapters};
use cache::PipelineCache;

/// A program on a GPU.
pub(crate) struct GpuBackend {
    program: Arc<Verified<Program>>,
    /// What the shaders are for; `None` if they are an artifact's.
    limits: Option<Limits>,
    shaders: Shaders,
    /// The shaders in SPIR-V, where they go to the driver as they are.
    spirv: Option<Vec<Vec<u32>>>,
    info: AdapterInfo,
    budget: Budget,
    device: wgpu::Device,
    queue: wgpu::Queue,
    /// For each shader.
    pipelines: Vec<Pipeline>,
    /// `None` until the dimensions are bound.
    bound: Option<Bound>,
    fault: Arc<Mutex<Fault>>,
    /// The most bytes that buffers may take.
    memory_limit: Option<usize>,
    /// Of files for later processes.
    caches: Option<PathBuf>,
}

struct Pipeline {
    layout: wgpu::BindGroupLayout,
    pipeline: wgpu::ComputePipeline,
}

/// What depends on the open dimensions.
struct Bound {
    bindings: Bindings,
    /// For each group of buffers.
    memory: Vec<wgpu::Buffer>,
    /// For each shader.
    bind_groups: Vec<wgpu::BindGroup>,
    plan: Plan,
}

/// What went wrong outside of any error scope.
#[derive(Default)]
struct Fault {
    message: Option<String>,
    /// The kernels submitted last.
    running: String,
}

/// A submission holds about this many iterations: systems reset a GPU that is busy for seconds.
const SUBMISSION_ITERATIONS: i64 = 4_000_000;

impl GpuBackend {
    /// Opens a device and compiles the program's kernels for it.
    pub(crate) fn new(
        program: Arc<Verified<Program>>,
        choice: AdapterChoice,
    ) -> Result<Self, Error> {
        Self::with_caches(program, choice, cache::directory())
    }

    fn with_caches(
        program: Arc<Verified<Program>>,
        choice: AdapterChoice,
        caches: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let found = adapter::choose(&choice)?;
        let limits = found.0.limits();
        let rows = caches.as_ref().and_then(|caches| cache::rows(caches, &found.0, &program));
        let shaders = emitted(&program, Limits { rows, ..limits })?;
        let backend = Self::open(program, shaders, None, found, caches)?;
        Ok(GpuBackend { limits: Some(limits), ..backend })
    }

    /// Opens a device for a program whose kernels are these shaders. SPIR-V goes to the driver
    /// unchecked: it must be a translation of the shaders.
    pub(crate) fn with_shaders(
        program: Arc<Verified<Program>>,
        shaders: Shaders,
        spirv: Option<Vec<Vec<u32>>>,
        choice: AdapterChoice,
    ) -> Result<Self, Error> {
        let found = adapter::choose(&choice)?;
        Self::open(program, shaders, spirv, found, cache::directory())
    }

    fn open(
        program: Arc<Verified<Program>>,
        shaders: Shaders,
        spirv: Option<Vec<Vec<u32>>>,
        (info, adapter): (AdapterInfo, wgpu::Adapter),
        caches: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let (device, queue) = open(&info, &adapter, &shaders, spirv.is_some())?;
        let fault = Arc::default();
        watch(&device, &fault);
        let budget = budget(&info);
        let pipelines = Vec::new();
        let mut backend = GpuBackend {
            program,
            limits: None,
            shaders,
            spirv,
            info,
            budget,
            device,
            queue,
            pipelines,
            bound: None,
            fault,
            memory_limit: None,
            caches,
        };
        let caches = backend.caches.as_deref();
        let cache = caches.and_then(|directory| backend.pipeline_cache(&adapter, directory));
        backend.pipelines = backend.pipelines(&backend.shaders, cache.as_ref())?;
        Ok(backend)
    }

    /// With a bound on the bytes of all buffers.
    pub(crate) fn with_memory_limit(self, memory_limit: Option<usize>) -> Self {
        GpuBackend { memory_limit, ..self }
    }

    /// The device only imitates a GPU.
    pub(crate) fn is_software(&self) -> bool {
        self.info.kind == AdapterKind::Software
    }

    fn pipelines(
        &self,
        shaders: &Shaders,
        cache: Option<&PipelineCache>,
    ) -> Result<Vec<Pipeline>, Error> {
        let numbered = shaders.shaders.par_iter().enumerate();
        let pipelines = numbered.map(|(number, shader)| self.pipeline(number, shader, cache));
        let pipelines = pipelines.collect::<Result<_, _>>()?;
        if let Some(cache) = cache {
            cache.save();
        }
        Ok(pipelines)
    }

    fn pipeline_cache(&self, adapter: &wgpu::Adapter, directory: &Path) -> Option<PipelineCache> {
        if !self.device.features().contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        PipelineCache::open(&adapter.get_info(), directory, |descriptor| {
            // SAFETY: the bytes are a cache that an earlier process has kept in the user's own directory,
            // whole by its hash; whoever writes there can run programs in the user's name anyway.
            let create = || unsafe { self.device.create_pipeline_cache(descriptor) };
            self.checked("opening a cache", create).ok()
        })
    }

    fn pipeline(
        &self,
        number: usize,
        shader: &Shader,
        cache: Option<&PipelineCache>,
    ) -> Result<Pipeline, Error> {
        let device = &self.device;
        let label = Some(shader.name.as_str());
        self.checked(&format!("compiling `{}`", shader.name), || {
            let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                label,
                entries: &layout_entries(shader, self.spirv.is_some()),
            });
            let module = match &self.spirv {
                None => device.create_shader_module(wgpu::ShaderModuleDescriptor {
                    label,
                    source: wgpu::ShaderSource::Wgsl(shader.text.as_str().into()),
                }),
                Some(spirv) => {
                    let entry = wgpu::PassthroughShaderEntryPoint {
                        name: shader.entry.as_str().into(),
                        workgroup_size: (shader.workgroup_size, 1, 1),
                    };
                    let descriptor = wgpu::ShaderModuleDescriptorPassthrough {
                        label,
                        entry_points: vec![entry].into(),
                        spirv: Some(spirv[number].as_slice().into()),
                        ..Default::default()
                    };
                    // SAFETY: who opens an artifact's SPIR-V vouches for it.
                    unsafe { device.create_shader_module_passthrough(descriptor) }
                }
            };
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(&shader.entry),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: cache.map(|cache| &cache.cache),
            });
            Pipeline { layout, pipeline }
        })
    }

    /// A buffer for each group; those whose size stays are kept, with their contents.
    fn memory(&self, bindings: &Bindings) -> Result<Vec<wgpu::Buffer>, Error> {
        let mut memory = Vec::new();
        for (index, group) in self.shaders.groups.iter().enumerate() {
            let size = self.group_bytes(group, bindings)?;
            let old = self.bound.as_ref().map(|bound| (&bound.memory[index], &bound.bindings));
            memory.push(match old {
                Some((buffer, _)) if buffer.size() == size => buffer.clone(),
                _ => self.buffer(&group.name, size, STORAGE),
            });
            if let Some((old, old_bindings)) = old.filter(|(buffer, _)| buffer.size() != size) {
                self.keep_fixed(group, (old, old_bindings), (&memory[index], bindings))?;
            }
        }
        Ok(memory)
    }

    /// All steps of time are kept: there is nothing to choose, but a limit is kept or refused.
    fn check_limit(&self, plan: &Plan, bindings: &Bindings) -> Result<(), Error> {
        let mut needed = plan.scratch + plan.uniforms.len() as u64;
        for group in &self.shaders.groups {
            needed = needed.saturating_add(self.group_bytes(group, bindings)?);
        }
        let Some(limit) = self.memory_limit else {
            // The memory of a GPU is not known; its driver refuses what is too much.
            return if self.is_software() { memory::check(needed.into()) } else { Ok(()) };
        };
        let needed = needed as usize;
        let advice = "a GPU keeps all steps, the CPU need not; a smaller batch needs less";
        match needed <= limit {
            true => Ok(()),
            false => Err(Error::MemoryLimit { limit, needed, advice: advice.into() }),
        }
    }

    /// Copies the buffers of fixed size from a group's old place to its new one.
    fn keep_fixed(
        &self,
        group: &Group,
        (old, old_bindings): (&wgpu::Buffer, &Bindings),
        (new, new_bindings): (&wgpu::Buffer, &Bindings),
    ) -> Result<(), Error> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        for (id, offset) in &group.members {
            let Some(size) = self.program.elements(*id).as_const().filter(|size| *size > 0) else {
                continue;
            };
            let (from, to) = (offset.eval(old_bindings)?, offset.eval(new_bindings)?);
            encoder.copy_buffer_to_buffer(
                old,
                WORD.bytes(from) as u64,
                new,
                WORD.bytes(to) as u64,
                WORD.bytes(size) as u64,
            );
        }
        self.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// The size of a group, if a kernel can bind that much.
    fn group_bytes(&self, group: &Group, bindings: &Bindings) -> Result<u64, Error> {
        // A buffer without elements has room for one.
        let bytes = WORD.bytes(group.size.eval(bindings)?.max(1)) as u64;
        let limit = self.info.max_buffer_bytes.min(WORD.bytes(i32::MAX.into()) as u64);
        if bytes <= limit {
            return Ok(bytes);
        }
        let mut sizes = Vec::new();
        for (id, _) in &group.members {
            sizes.push((WORD.bytes(self.program.elements(*id).eval(bindings)?), *id));
        }
        let (largest, id) = sizes.into_iter().max().unwrap_or((0, BufferId(0)));
        let shared = match group.members.len() {
            0 | 1 => String::new(),
            count => format!(" (in a group of {count} of {})", mebibytes(bytes)),
        };
        Err(Error::Device(format!(
            "buffer `{}` of {}{shared} is more than the {} that {} can use at once: use a smaller \
             batch or fewer time steps",
            self.program.buffer(id).name,
            mebibytes(largest as u64),
            mebibytes(limit),
            self.info.name,
        )))
    }

    fn buffer(&self, label: &str, size: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        self.device.create_buffer(&descriptor)
    }

    fn bind_group(
        &self,
        number: usize,
        memory: &[wgpu::Buffer],
        scratch: &wgpu::Buffer,
        uniforms: &wgpu::Buffer,
    ) -> wgpu::BindGroup {
        let shader = &self.shaders.shaders[number];
        let uniform = has_binding_0(shader, self.spirv.is_some()).then(|| wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: uniforms,
                offset: 0,
                size: uniform_bytes(shader),
            }),
        });
        let storage = shader.bindings.iter().zip(1..).map(|(binding, number)| {
            let buffer = match binding.memory {
                Memory::Group(group) => &memory[group],
                Memory::Scratch => scratch,
            };
            wgpu::BindGroupEntry { binding: number, resource: buffer.as_entire_binding() }
        });
        let entries: Vec<_> = uniform.into_iter().chain(storage).collect();
        self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(&shader.name),
            layout: &self.pipelines[number].layout,
            entries: &entries,
        })
    }

    /// The bytes of buffers, one after the other.
    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<u8>, Error> {
        let places = buffers.iter().map(|buffer| self.place(*buffer));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let size = places.iter().map(|(.., size)| size).sum();
        if size == 0 {
            return Ok(Vec::new());
        }
        let staging = self.checked("reading a buffer", || {
            let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let staging = self.buffer("staging", size, usage);
            let mut encoder = self.device.create_command_encoder(&Default::default());
            let mut at = 0;
            for (memory, offset, size) in places.into_iter().filter(|(.., size)| *size > 0) {
                encoder.copy_buffer_to_buffer(memory, offset, &staging, at, size);
                at += size;
            }
            self.queue.submit([encoder.finish()]);
            staging.map_async(wgpu::MapMode::Read, .., |_| {});
            staging
        })?;
        self.wait()?;
        let view = staging.get_mapped_range(..).map_err(|error| self.error(&error.to_string()))?;
        Ok(view.to_vec())
    }

    /// Where a buffer is: the GPU buffer, the offset and the size in bytes.
    fn place(&self, buffer: BufferId) -> Result<(&wgpu::Buffer, u64, u64), Error> {
        let bound = self.bound()?;
        let groups = self.shaders.groups.iter().enumerate();
        for (index, group) in groups {
            let Some((_, offset)) = group.members.iter().find(|(id, _)| *id == buffer) else {
                continue;
            };
            let offset = WORD.bytes(offset.eval(&bound.bindings)?) as u64;
            let size = WORD.bytes(self.program.elements(buffer).eval(&bound.bindings)?) as u64;
            return Ok((&bound.memory[index], offset, size));
        }
        Err(self.error("the program has no such buffer"))
    }

    /// Makes all that depends on the open dimensions.
    fn bind_again(&mut self, bindings: &Bindings) -> Result<(), Error> {
        let mut plan = plan(&self.shaders, bindings, self.budget)?;
        self.check_limit(&plan, bindings)?;
        let bound = self.checked("allocating buffers", || -> Result<Bound, Error> {
            let memory = self.memory(bindings)?;
            // The last struct is bound with its full size.
            plan.uniforms.resize(plan.uniforms.len() + UNIFORM_ALIGNMENT, 0);
            let uniforms = self.buffer("args", plan.uniforms.len() as u64, UNIFORM);
            self.queue.write_buffer(&uniforms, 0, &plan.uniforms);
            let scratch = self.buffer("scratch", plan.scratch.max(4), STORAGE);
            let bind_groups = (0..self.pipelines.len())
                .map(|number| self.bind_group(number, &memory, &scratch, &uniforms))
                .collect();
            Ok(Bound { bindings: bindings.clone(), memory, bind_groups, plan })
        })??;
        self.bound = Some(bound);
        Ok(())
    }

    fn bound(&self) -> Result<&Bound, Error> {
        self.bound.as_ref().ok_or_else(|| self.error("the dimensions are not bound"))
    }

    fn run_pass(&self, pass: Pass) -> Result<(), Error> {
        let bound = self.bound()?;
        let mut rest = bound.plan.passes[dispatch::index(pass)].as_slice();
        while !rest.is_empty() {
            let mut iterations = 0;
            let fitting = rest.iter().take_while(|dispatch| {
                iterations += dispatch.iterations;
                iterations <= SUBMISSION_ITERATIONS
            });
            let (now, later) = rest.split_at(fitting.count().max(1));
            let names = self.describe(now);
            self.fault.lock().unwrap_or_else(PoisonError::into_inner).running.clone_from(&names);
            self.checked(&format!("running {names}"), || self.submit(bound, now))?;
            rest = later;
        }
        Ok(())
    }

    /// Submits a few dispatches of a pass.
    fn submit(&self, bound: &Bound, dispatches: &[dispatch::Dispatch]) {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut current = None;
            for dispatch in dispatches {
                let number = dispatch.shader;
                if current != Some(number) {
                    pass.set_pipeline(&self.pipelines[number].pipeline);
                    current = Some(number);
                }
                let has_uniform =
                    has_binding_0(&self.shaders.shaders[number], self.spirv.is_some());
                let offset = has_uniform.then_some(dispatch.uniform);
                pass.set_bind_group(0, &bound.bind_groups[number], offset.as_slice());
                pass.dispatch_workgroups(dispatch.workgroups.0, dispatch.workgroups.1, 1);
            }
        }
        self.queue.submit([encoder.finish()]);
    }

    /// The kernels of some dispatches, for messages.
    fn describe(&self, dispatches: &[dispatch::Dispatch]) -> String {
        let name = |dispatch: &dispatch::Dispatch| &self.shaders.shaders[dispatch.shader].name;
        match dispatches {
            [] => "nothing".to_owned(),
            [first, .., last] if name(first) != name(last) => {
                format!("`{}` to `{}`", name(first), name(last))
            }
            [first, ..] => format!("`{}`", name(first)),
        }
    }

    /// Does something with the device and gives its errors.
    fn checked<T>(&self, what: &str, work: impl FnOnce() -> T) -> Result<T, Error> {
        let filters = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
        ];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let result = work();
        let errors: Vec<String> = scopes
            .into_iter()
            .rev()
            .filter_map(|scope| pollster::block_on(scope.pop()))
            .map(|error| error.to_string())
            .collect();
        match errors.first() {
            Some(error) => Err(self.error(&format!("{what}: {error}"))),
            None => self.no_fault().map(|()| result),
        }
    }

    /// An error that was reported outside of a scope.
    fn no_fault(&self) -> Result<(), Error> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        fault.message.as_ref().map_or(Ok(()), |message| Err(self.error(message)))
    }

    fn error(&self, message: &str) -> Error {
        Error::Run { device: self.device_name(), message: message.to_owned() }
    }
}

impl Backend for GpuBackend {
    fn device_name(&self) -> String {
        let kind = if self.is_software() { " (software)" } else { "" };
        format!("gpu: {}{kind}", self.info.name)
    }

    fn bind(&mut self, bindings: &Bindings) -> Result<(), Error> {
        match &self.bound {
            Some(bound) if bound.bindings == *bindings => Ok(()),
            _ => self.bind_again(bindings),
        }
    }

    fn write(&mut self, buffer: BufferId, bytes: &[u8]) -> Result<(), Error> {
        let (memory, offset, size) = self.place(buffer)?;
        if bytes.len() as u64 != size {
            let name = &self.program.buffer(buffer).name;
            let message = format!("`{name}` has {size} bytes, not {}", bytes.len());
            return Err(self.error(&message));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.checked("writing a buffer", || self.queue.write_buffer(memory, offset, bytes))
    }

    fn read(&mut self, buffer: BufferId) -> Result<Vec<u8>, Error> {
        self.read_all(&[buffer])
    }

    fn not_finite(&mut self, buffers: &[BufferId]) -> Result<Option<(BufferId, f32)>, Error> {
        let bytes = self.read_all(buffers)?;
        let mut rest = bytes.as_slice();
        for id in buffers {
            let (own, others) = rest.split_at(self.place(*id)?.2 as usize);
            if let Some(value) = first_not_finite(own) {
                return Ok(Some((*id, value)));
            }
            rest = others;
        }
        Ok(None)
    }

    fn run(&mut self, passes: &[Pass]) -> Result<(), Error> {
        passes.iter().try_for_each(|pass| self.run_pass(*pass))
    }

    fn wait(&mut self) -> Result<(), Error> {
        let wait = self.device.poll(wgpu::PollType::wait_indefinitely());
        self.no_fault()?;
        wait.map(drop).map_err(|error| self.error(&error.to_string()))
    }

    fn footprint(&self) -> Footprint {
        let bytes = |bound: &Bound| {
            let memory = bound.memory.iter().map(wgpu::Buffer::size).sum::<u64>();
            memory + bound.plan.scratch + bound.plan.uniforms.len() as u64
        };
        // It could be evaluated when the dimensions were bound.
        let saved = |bound: &Bound| self.program.saved_bytes(&bound.bindings).unwrap_or(0);
        let bound = self.bound.as_ref();
        Footprint {
            bytes: bound.map_or(0, bytes) as usize,
            segments: 1,
            saved_per_step: bound.map_or(0, saved) as usize,
        }
    }

    fn tune(&mut self) -> Result<Tuning, Error> {
        self.tune_rows()
    }
}

fn emitted(program: &Verified<Program>, limits: Limits) -> Result<Shaders, Error> {
    emit(program, &limits).map_err(|error| Error::Compile(error.to_string()))
}

const STORAGE: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

const UNIFORM: wgpu::BufferUsages = wgpu::BufferUsages::UNIFORM.union(wgpu::BufferUsages::COPY_DST);

/// Opens a device with WebGPU's default limits, but for buffers and workgroup memory as large as the
/// adapter has, and for what the shaders need beyond.
fn open(
    info: &AdapterInfo,
    adapter: &wgpu::Adapter,
    shaders: &Shaders,
    is_spirv: bool,
) -> Result<(wgpu::Device, wgpu::Queue), Error> {
    let available = adapter.limits();
    let passthrough = wgpu::Features::PASSTHROUGH_SHADERS;
    if is_spirv && !adapter.features().contains(passthrough) {
        return Err(Error::Device(format!("{} takes no SPIR-V", info.name)));
    }
    let needed = if is_spirv { passthrough } else { wgpu::Features::empty() };
    let required_features = needed | (adapter.features() & wgpu::Features::PIPELINE_CACHE);
    let bindings = shaders.shaders.iter().map(|shader| shader.bindings.len() as u32).max();
    let bindings = bindings.unwrap_or(0);
    if bindings > available.max_storage_buffers_per_shader_stage {
        let most = available.max_storage_buffers_per_shader_stage;
        let name = &info.name;
        let message = format!(
            "the shaders need {bindings} storage buffers at once, and {name} binds at most {most}"
        );
        return Err(Error::Device(message));
    }
    let limits = wgpu::Limits::default().or_worse_values_from(&available);
    let required_limits = wgpu::Limits {
        max_buffer_size: available.max_buffer_size,
        max_storage_buffer_binding_size: available.max_storage_buffer_binding_size,
        max_compute_workgroup_storage_size: available.max_compute_workgroup_storage_size,
        max_storage_buffers_per_shader_stage: limits
            .max_storage_buffers_per_shader_stage
            .max(bindings),
        ..limits
    };
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("fgi"),
        required_features,
        required_limits,
        ..Default::default()
    };
    pollster::block_on(adapter.request_device(&descriptor))
        .map_err(|error| Error::Device(format!("{}: {error}", info.name)))
}

/// Keeps what the device reports outside of error scopes.
fn watch(device: &wgpu::Device, fault: &Arc<Mutex<Fault>>) {
    let record = |fault: &Mutex<Fault>, what: &str, message: &str| {
        let mut fault = fault.lock().unwrap_or_else(PoisonError::into_inner);
        let message = format!("{what} while running {}: {message}", fault.running);
        fault.message.get_or_insert(message);
    };
    let lost = Arc::clone(fault);
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            record(&lost, "the device was lost", &message);
        }
    });
    let uncaptured = Arc::clone(fault);
    device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
        record(&uncaptured, "the device reported an error", &error.to_string());
    }));
}

/// Mesa's software driver ended loops after 65,535 iterations of an invocation, all loops together,
/// without a word; it is known to be right again in Mesa 25.
fn budget(info: &AdapterInfo) -> Budget {
    let is_llvmpipe = info.name.to_lowercase().contains("llvmpipe");
    let version = info.driver.split("Mesa ").nth(1).and_then(|rest| rest.split('.').next());
    let major: Option<u32> = version.and_then(|major| major.parse().ok());
    if is_llvmpipe && major.is_none_or(|major| major < 25) {
        Budget { dispatch: 30_000, limit: Some(65_000) }
    } else {
        Budget::default()
    }
}

/// wgpu closes the gap that a missing binding 0 leaves, which SPIR-V that goes past it does not see.
fn has_binding_0(shader: &Shader, is_spirv: bool) -> bool {
    is_spirv || !shader.uniforms.is_empty()
}

fn layout_entries(shader: &Shader, is_spirv: bool) -> Vec<wgpu::BindGroupLayoutEntry> {
    let entry = |binding, ty, has_dynamic_offset, min_binding_size| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size },
        count: None,
    };
    let uniform = has_binding_0(shader, is_spirv)
        .then(|| entry(0, wgpu::BufferBindingType::Uniform, true, uniform_bytes(shader)));
    let storage = shader.bindings.iter().zip(1..).map(|(binding, number)| {
        let ty = wgpu::BufferBindingType::Storage { read_only: !binding.writable };
        entry(number, ty, false, None)
    });
    uniform.into_iter().chain(storage).collect()
}

/// The size of a shader's uniform struct.
fn uniform_bytes(shader: &Shader) -> Option<NonZeroU64> {
    NonZeroU64::new((WORD.bytes(shader.uniforms.len().max(1) as i64) as u64).next_multiple_of(16))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}
