//! What runs for passes, and how it fits into memory.

use std::collections::BTreeSet;

use fgi_compiler::ir::graph::Bindings;
use fgi_compiler::ir::kernel::{BufferId, Direction, Kernel, Pass, Program};
use fgi_compiler::target::cpu::native::Products;
use fgi_compiler::target::cpu::plan::batch_tiles::{Group, Step, in_order, plan};

use super::CpuBackend;
use super::bound_kernel::Sizes;
use super::tiles::Layout;
use crate::{Error, machine_memory};

/// How the groups of an order fit into memory.
pub(super) struct MemoryPlan {
    pub layouts: Vec<Layout>,
    pub segments: usize,
    /// What all tiles take.
    pub bytes: usize,
}

impl CpuBackend {
    /// What runs for passes. With a memory limit the forward pass of tiles leaves its results only, so
    /// that the backward pass by itself runs it again.
    pub(super) fn order(&self, passes: &[Pass]) -> Vec<Step> {
        if self.multiplied == Products::Inlined {
            return in_order(&self.program, passes);
        }
        let gradients = plan(&self.program, &[Pass::Forward, Pass::Backward]);
        let is_limited = self.memory_limit.is_some() && groups(&gradients).next().is_some();
        match passes {
            [Pass::Forward] if is_limited => {
                let (backward, update) = Default::default();
                let alone = Program { backward, update, ..Program::clone(&self.program) };
                plan(&alone, passes)
            }
            [Pass::Backward] if is_limited => gradients,
            _ => plan(&self.program, passes),
        }
    }

    /// The sizes of tiles with as few segments of time as the memory limit allows: all but one of them
    /// run forward twice. Other orders for which there is then no room are forgotten.
    pub(super) fn plan_memory(
        &mut self,
        order: &[Step],
        bindings: &Bindings,
    ) -> Result<MemoryPlan, Error> {
        let whole = self.whole_bytes(order, bindings)?;
        let machine = || usize::try_from(machine_memory()).unwrap_or(usize::MAX);
        let limit = self.memory_limit.unwrap_or_else(machine);
        let mut least: Option<(usize, usize)> = None;
        for length in self.lengths(order, bindings)? {
            let layouts = groups(order).map(|group| self.layout(group, length, bindings));
            let layouts = layouts.collect::<Result<Vec<Layout>, Error>>()?;
            let bytes = layouts.iter().map(Layout::bytes).fold(0, usize::saturating_add);
            let segments = layouts.iter().map(Layout::segments).max().unwrap_or(1);
            let total = whole.saturating_add(bytes);
            if total <= limit {
                let others = self.orders.iter().map(|order| order.bytes);
                if others.fold(total, usize::saturating_add) > limit {
                    self.orders.clear();
                }
                return Ok(MemoryPlan { layouts, segments, bytes });
            }
            least = least.into_iter().chain([(total, segments)]).min();
        }
        let (needed, segments) = least.unwrap_or_default();
        if self.memory_limit.is_none() {
            return Err(Error::Memory { needed: needed as u128, available: machine_memory() });
        }
        let advice = self.advice(groups(order).next().is_some(), segments);
        Err(Error::MemoryLimit { limit, needed, advice })
    }

    /// What to say where nothing fits.
    fn advice(&self, has_tiles: bool, segments: usize) -> String {
        if self.multiplied == Products::Inlined {
            return "`cpu-in-order` keeps all steps, `cpu` need not".into();
        }
        match (has_tiles, segments) {
            (false, _) => "its rows do not run tile by tile, so that all steps are kept".into(),
            (true, 1) => "a smaller batch or fewer threads need less".into(),
            (true, _) => format!(
                "with time in {segments} segments; a smaller batch or fewer threads need less"
            ),
        }
    }

    /// The lengths of segments to choose from, the longest first; `None` for all steps at once.
    fn lengths(&self, order: &[Step], bindings: &Bindings) -> Result<Vec<Option<i64>>, Error> {
        let steps = Sizes::new(&self.program, bindings, bindings).steps()?;
        // Whole chunks of both directions, one of which is a multiple of the other.
        let chunk = Direction::Forward.chunk().max(Direction::Backward.chunk());
        let chunks = (steps + chunk - 1) / chunk;
        let may_be_cut = self.memory_limit.is_some() && groups(order).next().is_some();
        let most = if may_be_cut { chunks } else { 1 };
        let lengths = (2..=most).map(|segments| Some((chunks + segments - 1) / segments * chunk));
        let mut lengths: Vec<_> = std::iter::once(None).chain(lengths).collect();
        lengths.dedup();
        Ok(lengths)
    }

    /// The bytes of all buffers outside of tiles.
    fn whole_bytes(&self, order: &[Step], bindings: &Bindings) -> Result<usize, Error> {
        let needed = order.iter().flat_map(|step| self.whole_buffers(step));
        let needed: BTreeSet<BufferId> = needed.collect();
        self.program.buffer_ids().try_fold(0, |total: usize, id| {
            let bytes = match needed.contains(&id) {
                true => self.bytes(id, bindings)?,
                false => self.buffers[id.0 as usize].len(),
            };
            Ok(total.saturating_add(bytes))
        })
    }

    /// The buffers of which a step needs all.
    pub(super) fn whole_buffers(&self, step: &Step) -> Vec<BufferId> {
        let kernels: Vec<_> = self.program.kernels().collect();
        let group = match step {
            Step::Kernel(at) => return kernels[*at].buffers().collect(),
            Step::Tiles(group) => group,
        };
        let inside = group.sweeps.iter().flat_map(|sweep| &sweep.kernels);
        let shared = inside.flat_map(|at| Kernel::buffers(kernels[*at]));
        let shared = shared.filter(|id| !group.local.contains(id));
        shared.chain(group.imports.iter().chain(&group.exports).copied()).collect()
    }
}

fn groups(order: &[Step]) -> impl Iterator<Item = &Group> {
    order.iter().filter_map(|step| match step {
        Step::Kernel(_) => None,
        Step::Tiles(group) => Some(group),
    })
}
