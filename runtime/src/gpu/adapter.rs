//! Finding a GPU.

use std::thread::available_parallelism;

use fgi_compiler::target::gpu::Limits;

use crate::Error;

/// Which GPU to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best hardware GPU.
    #[default]
    Hardware,
    /// The best GPU, a software one if there is nothing else.
    Any,
    /// The best whose name contains this text, in upper or lower case.
    Named(String),
}

/// A GPU of this machine, or a driver that imitates one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// As the driver calls it.
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// Whether it is hardware.
    pub kind: AdapterKind,
    /// The name and version of the driver, as far as it tells.
    pub driver: String,
    /// The largest buffer that a kernel can use, in bytes.
    pub max_buffer_bytes: u64,
    /// How many buffers a kernel can use.
    pub max_storage_buffers: u32,
    /// The memory of a workgroup, in bytes.
    pub max_workgroup_memory: u32,
}

impl AdapterInfo {
    /// What shaders are emitted for. No driver says how many workgroups run at once: it is a guess.
    pub(super) fn limits(&self) -> Limits {
        let storage_buffers = self.max_storage_buffers as usize;
        Limits {
            storage_buffers: Limits::WEBGPU.storage_buffers.min(storage_buffers),
            workgroup_memory: self.max_workgroup_memory,
            parallel_workgroups: match self.kind {
                AdapterKind::Discrete => 64,
                AdapterKind::Software => available_parallelism().map_or(1, |n| n.get() as u32),
                _ => Limits::WEBGPU.parallel_workgroups,
            },
            ..Limits::WEBGPU
        }
    }
}

/// Best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdapterKind {
    /// A card of its own.
    Discrete,
    /// A part of the processor.
    Integrated,
    /// Of a virtual machine.
    Virtual,
    /// The driver does not say.
    Other,
    /// A driver that computes on the processor.
    Software,
}

impl AdapterKind {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            AdapterKind::Discrete => "discrete",
            AdapterKind::Integrated => "integrated",
            AdapterKind::Virtual => "virtual",
            AdapterKind::Other => "unknown kind",
            AdapterKind::Software => "software",
        }
    }
}

/// All GPUs, the best first.
pub fn adapters() -> Vec<AdapterInfo> {
    found().into_iter().map(|(info, _)| info).collect()
}

pub(super) fn choose(choice: &AdapterChoice) -> Result<(AdapterInfo, wgpu::Adapter), Error> {
    let all = found();
    let names: Vec<String> = all.iter().map(|(info, _)| format!("`{}`", info.name)).collect();
    let fits = |info: &AdapterInfo| match choice {
        AdapterChoice::Hardware => info.kind != AdapterKind::Software,
        AdapterChoice::Any => true,
        AdapterChoice::Named(name) => info.name.to_lowercase().contains(&name.to_lowercase()),
    };
    all.into_iter().find(|(info, _)| fits(info)).ok_or_else(|| {
        Error::Device(match (choice, names.as_slice()) {
            (_, []) => "no GPU was found: install the driver of your GPU, or a software one \
                        (on Debian: apt install mesa-vulkan-drivers)"
                .to_owned(),
            (AdapterChoice::Named(name), _) => {
                format!("no GPU is named `{name}`; there is {}", names.join(", "))
            }
            _ => format!("there is only a software GPU, {}: ask for it by name", names.join(", ")),
        })
    })
}

fn found() -> Vec<(AdapterInfo, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::all()));
    let mut found: Vec<_> = adapters.into_iter().map(|a| (describe(&a), a)).collect();
    found.sort_by_key(|(info, _)| info.kind);
    found
}

fn describe(adapter: &wgpu::Adapter) -> AdapterInfo {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    AdapterInfo {
        name: info.name,
        backend: info.backend.to_str().to_owned(),
        kind: match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Other => AdapterKind::Other,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
        },
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        max_buffer_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        max_storage_buffers: limits.max_storage_buffers_per_shader_stage,
        max_workgroup_memory: limits.max_compute_workgroup_storage_size,
    }
}
