//! What a program costs on a device that is described by a few figures: operations, bytes and
//! dispatches of each kernel, counted exactly, and the time that a roofline predicts from them
//! (Williams, Waterman & Patterson 2009).

mod device;
#[cfg(test)]
mod tests;

pub use device::{Device, DeviceError, Prediction};

use serde::Serialize;

use crate::ir::graph::{Bindings, Dim, Operations};
use crate::ir::kernel::{Pass, Program};
use crate::target::gpu::Shaders;
use crate::target::gpu::dispatch::{Budget, PlanError, index, plan};

/// What one run of a kernel does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelCost {
    /// The kernel's name.
    pub name: String,
    /// The pass that it runs in.
    #[serde(skip)]
    pub pass: Pass,
    /// What it computes.
    pub operations: Operations<i64>,
    /// From memory, each element once.
    pub read_bytes: i64,
    /// To memory.
    pub written_bytes: i64,
    /// Of all loads and stores: what caches and workgroup memory serve.
    pub accessed_bytes: i64,
    /// How often it is started.
    pub dispatches: i64,
    /// Steps of time that wait for each other.
    pub steps: i64,
}

/// The costs of all kernels, in the order in which they run.
pub fn costs(
    program: &Program,
    shaders: &Shaders,
    bindings: &Bindings,
) -> Result<Vec<KernelCost>, PlanError> {
    let plan = plan(shaders, bindings, Budget::default())?;
    let kernels = program.kernels().zip(&shaders.shaders).enumerate();
    let costs = kernels.map(|(number, (kernel, shader))| {
        let count = kernel.count(program);
        let dispatches = plan.passes[index(shader.pass)].iter();
        let steps = kernel.recurrence.and(program.time.as_ref());
        Ok(KernelCost {
            name: kernel.name.clone(),
            pass: shader.pass,
            operations: count.operations.eval(bindings)?,
            read_bytes: count.read_bytes(program, bindings)?,
            written_bytes: count.written_bytes(program, bindings)?,
            accessed_bytes: (&count.accesses * &Dim::constant(4)).eval(bindings)?,
            dispatches: dispatches.filter(|dispatch| dispatch.shader == number).count() as i64,
            steps: steps.map_or(Ok(0), |steps| steps.eval(bindings))?,
        })
    });
    costs.collect()
}
