//! What random numbers depend on: a seed, and the number of the run.

use super::Emitter;
use crate::ir::graph::{Elem, NodeId, RANDOM_RUN, RANDOM_SEED, Role, Root};

/// The states of a program that draws.
#[derive(Clone, Copy)]
pub struct Random {
    seed: NodeId,
    run: NodeId,
}

impl Emitter<'_, '_> {
    /// The seed and the number of the run.
    pub fn random_state(&mut self) -> [NodeId; 2] {
        let Random { seed, run } = self.random.unwrap_or_else(|| {
            let seed = self.state(RANDOM_SEED, Elem::I32, &[]);
            let run = self.state(RANDOM_RUN, Elem::I32, &[]);
            *self.random.insert(Random { seed, run })
        });
        [seed, run]
    }

    /// The number of the next run. What is carried goes on with the numbers of one run.
    pub(super) fn next_run(&mut self) -> Option<Root> {
        let run = self.random.filter(|_| self.carry.is_none())?.run;
        let one = self.builder.full_like(1.0, run);
        let node = self.builder.add(run, one);
        Some(Root { name: RANDOM_RUN.into(), role: Role::Next, node })
    }
}
