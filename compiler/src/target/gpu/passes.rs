//! From kernels to shaders: the list of passes, and what runs them.

use std::fmt::{self, Display, Formatter};

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

use super::plan::{KernelPlan, is_chunked_reduction};
use super::{EmitError, Fault, Group, Limits, Shader, Shaders, storage, wgsl};
use crate::ir::Verified;
use crate::ir::kernel::{Pass, Program};
use crate::source::Sources;

/// A step from kernels to shaders.
pub struct ShaderPass {
    /// In one word: what `--emit` takes.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    run: fn(&mut Emission) -> Result<(), Fault>,
}

/// From kernels to shaders, in their order.
pub const PASSES: [ShaderPass; 4] = [
    ShaderPass {
        name: "storage",
        about: "Which buffers share a GPU buffer, so that no kernel binds more than the device allows.",
        run: |emission| emission.share_storage(),
    },
    ShaderPass {
        name: "plan",
        about: "What an invocation computes, in which workgroups, and how a long run is cut.",
        run: |emission| emission.plan(),
    },
    ShaderPass {
        name: "wgsl",
        about: "The text of each kernel's shader.",
        run: |emission| emission.write(),
    },
    ShaderPass {
        name: "validate",
        about: "Every shader is read back and checked by naga.",
        run: |emission| emission.validate(),
    },
];

/// What the passes have made so far; as text, what the last of them has.
pub struct Emission<'p> {
    program: &'p Program,
    limits: &'p Limits,
    sources: &'p Sources,
    groups: Vec<Group>,
    plans: Vec<KernelPlan<'p>>,
    shaders: Vec<Shader>,
}

/// Emits a shader for each kernel and validates it.
pub fn emit(program: &Verified<Program>, limits: &Limits) -> Result<Shaders, EmitError> {
    emit_with_sources(program, limits, &Sources::default())
}

/// [`emit`], with the source line of each kernel in a comment.
pub fn emit_with_sources(
    program: &Verified<Program>,
    limits: &Limits,
    sources: &Sources,
) -> Result<Shaders, EmitError> {
    run_passes(program, limits, sources, &mut |_, _| {})
}

/// [`emit_with_sources`]; `after` is given each of [`PASSES`] with what it has made.
pub fn run_passes(
    program: &Verified<Program>,
    limits: &Limits,
    sources: &Sources,
    after: &mut dyn FnMut(&'static str, &Emission),
) -> Result<Shaders, EmitError> {
    let (groups, plans, shaders) = Default::default();
    let mut emission = Emission { program, limits, sources, groups, plans, shaders };
    for pass in &PASSES {
        (pass.run)(&mut emission)?;
        after(pass.name, &emission);
    }
    Ok(Shaders { groups: emission.groups, shaders: emission.shaders })
}

impl Emission<'_> {
    fn share_storage(&mut self) -> Result<(), Fault> {
        let Emission { program, limits, .. } = *self;
        self.groups = storage::groups(program, |kernel| {
            limits.storage_buffers - usize::from(is_chunked_reduction(program, kernel))
        });
        Ok(())
    }

    fn plan(&mut self) -> Result<(), Fault> {
        let Emission { program, limits, .. } = *self;
        for pass in Pass::ALL {
            for kernel in program.pass(pass) {
                let plan = KernelPlan::new(program, (pass, kernel), &self.groups, limits);
                let (needed, allowed) = (plan.bindings.len(), limits.storage_buffers);
                if needed > allowed {
                    let kernel = kernel.name.clone();
                    return Err(Fault::TooManyBuffers { kernel, needed, allowed });
                }
                self.plans.push(plan);
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Fault> {
        let plans = self.plans.iter();
        let written = plans.map(|plan| wgsl::write(self.program, plan, &self.groups, self.sources));
        self.shaders = written.collect();
        Ok(())
    }

    fn validate(&mut self) -> Result<(), Fault> {
        self.shaders.iter().try_for_each(|shader| validate(shader).map(|_| ()))
    }
}

impl Display for Emission<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.shaders.is_empty() {
            let texts = self.shaders.iter().map(|shader| shader.text.as_str());
            return f.write_str(&texts.collect::<Vec<_>>().join("\n"));
        }
        if !self.plans.is_empty() {
            return self.plans.iter().try_for_each(|plan| plan.write(f, &self.groups));
        }
        for Group { name, members, size } in &self.groups {
            writeln!(f, "{name}: {size} elements")?;
            for (id, offset) in members {
                writeln!(f, "  {} from {offset} on", self.program.buffer(*id).name)?;
            }
        }
        Ok(())
    }
}

/// The shader as naga knows it, found to be valid.
pub(crate) fn validate(shader: &Shader) -> Result<(naga::Module, ModuleInfo), Fault> {
    let invalid = |message| Fault::Invalid {
        kernel: shader.name.clone(),
        message,
        text: shader.text.clone(),
    };
    let module = naga::front::wgsl::parse_str(&shader.text)
        .map_err(|error| invalid(error.emit_to_string(&shader.text)))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::default())
        .validate(&module)
        .map_err(|error| invalid(error.emit_to_string(&shader.text)))?;
    Ok((module, info))
}
