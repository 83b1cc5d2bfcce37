//! How a program runs on a CPU: tiles of the batch, segments of time, ring buffers, bits.

pub mod batch_tiles;
pub mod bit_packing;
pub(crate) mod ring_buffers;

use std::fmt;

use crate::ir::Verified;
use crate::ir::kernel::Program;

/// A program as a CPU runs it: what follows from a verified one.
#[derive(Clone, Debug)]
pub struct Plan {
    program: Program,
    windows: Vec<Option<i64>>,
}

/// A step of planning.
pub struct PlanPass {
    /// In one word: what `--emit` takes.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    run: fn(Plan) -> Plan,
}

/// From kernels to what the device `cpu` compiles: kernels that run tile by tile.
pub const TILED: [PlanPass; 3] = [
    PlanPass {
        name: "split",
        about: "Sums over the batch are kernels of their own, or parts of the recurrence that they sum up.",
        run: |plan| Plan { program: batch_tiles::split(&plan.program), ..plan },
    },
    PlanPass {
        name: "bits",
        about: "Streams of spikes that only kernels read are kept as bits.",
        run: |plan| Plan { program: bit_packing::pack(&plan.program), ..plan },
    },
    PlanPass {
        name: "windows",
        about: "Streams that kernels pass on step by step have room for a few steps, in a ring.",
        run: |plan| Plan { windows: batch_tiles::windows(&plan.program), ..plan },
    },
];

/// From kernels to what runs one after the other, each for the whole batch: the device `cpu-in-order` and
/// object files.
pub const IN_ORDER: [PlanPass; 1] = [PlanPass {
    name: "ring-buffers",
    about: "Streams of which a recurrence reads only the step before have room for two steps.",
    run: |plan| Plan { windows: ring_buffers::short_windows(&plan.program), ..plan },
}];

impl Plan {
    /// The plan that these passes make; `after` is given each pass with its result.
    pub fn new(
        program: &Verified<Program>,
        passes: &[PlanPass],
        after: &mut dyn FnMut(&'static str, &Plan),
    ) -> Plan {
        let whole = vec![None; program.buffers.len()];
        let mut plan = Plan { program: program.clone().into_inner(), windows: whole };
        for pass in passes {
            plan = (pass.run)(plan);
            plan.windows.resize(plan.program.buffers.len(), None);
            after(pass.name, &plan);
        }
        plan
    }

    /// The kernels.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// For each buffer how many steps of it there is room for, all if `None`.
    pub fn windows(&self) -> &[Option<i64>] {
        &self.windows
    }

    /// [`Plan::program`] and [`Plan::windows`].
    pub fn into_parts(self) -> (Program, Vec<Option<i64>>) {
        (self.program, self.windows)
    }
}

/// The kernels, and the buffers that have no room for all steps.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        for (buffer, window) in self.program.buffers.iter().zip(&self.windows) {
            if let Some(steps) = window {
                writeln!(f, "window {}: {steps}", buffer.name)?;
            }
        }
        Ok(())
    }
}
