//! Graph → [`Schedule`]: which values get a buffer, and the order of the kernels that fill them.
//!
//! 1. Recurrences are the strongly connected components over `prev` and `next`; each is one kernel
//!    whose loop over time is inside. Everything else is parallel over time as well, so what does not
//!    depend on a recurrence runs before it, over all steps at once, and what follows from it after.
//! 2. `storage` decides which values are stored. What is not stored is computed where it is used.
//! 3. The stored values are ordered; those of a recurrence are grouped into stages.

mod factor_hoisting;
mod facts;
mod min_cut;
mod overlapping_products;
mod recurrence;
mod rewrite;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub(crate) use facts::is_sum;
pub(super) use rewrite::rewrites;

use crate::ir::graph::ops::Class;
use crate::ir::graph::{Dim, Elem, Facts, Graph, NodeId, Role, Root};
use crate::ir::kernel::{Direction, Pass};
use recurrence::Recurrences;

/// What runs, in order, and where values are kept.
#[derive(Default)]
pub struct Schedule {
    /// The graph that the schedule is for: the given one, prepared (see `rewrite.rs`).
    pub(crate) graph: Graph,
    /// For each node, whether it has a buffer filled by a kernel.
    stored: Vec<bool>,
    binary: Vec<bool>,
    pub(crate) units: Vec<Unit>,
}

/// One kernel: the nodes that it stores.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub pass: Pass,
    pub recurrence: Option<Direction>,
    /// The nodes are new values of parameters, written to the parameters' buffers.
    pub updates: bool,
    /// Stored nodes of one index space each, in the order of a step.
    pub stages: Vec<Vec<NodeId>>,
}

impl Schedule {
    pub(crate) fn is_stored(&self, id: NodeId) -> bool {
        self.stored[id.0 as usize]
    }

    /// Every element is proved to be 0 or 1.
    pub(crate) fn is_binary(&self, id: NodeId) -> bool {
        self.binary[id.0 as usize]
    }
}

/// Schedules a graph without `sg` and `bypass`: its outputs in the forward pass, its gradients in the
/// backward pass, its updates in the update pass. The next values of states are computed in the
/// forward pass too, from what there is then, and set in the update pass.
pub fn schedule(graph: &Graph) -> Schedule {
    let graph = rewrite::prepare(graph);
    let passes = passes(&graph);
    let recurrences = Recurrences::find(&graph);
    let stored = storage::choose(&graph, &passes, &recurrences);
    let facts = Facts::of(&graph);
    let is_bit = |id: NodeId| graph.ty(id).elem == Elem::F32 && facts.at(id).is_binary();
    let binary = graph.ids().map(|id| stored[id.0 as usize] && is_bit(id)).collect();
    let units =
        Ordering { graph: &graph, passes: &passes, recurrences: &recurrences, stored: &stored }
            .units();
    Schedule { graph, stored, binary, units }
}

/// The first pass that needs each node; `None` for nodes that nothing needs.
fn passes(graph: &Graph) -> Vec<Option<Pass>> {
    let mut passes = vec![None; graph.len()];
    let roles = [
        (Role::Output, Pass::Forward),
        (Role::Next, Pass::Forward),
        (Role::Gradient, Pass::Backward),
        (Role::Update, Pass::Update),
    ];
    for (role, pass) in roles {
        let roots = graph.roots.iter().filter(|root| root.role == role);
        let mut open: Vec<NodeId> = roots.map(|root| root.node).collect();
        while let Some(id) = open.pop() {
            let slot = &mut passes[id.0 as usize];
            if slot.is_none() {
                *slot = Some(pass);
                open.extend(&graph.node(id).args);
            }
        }
    }
    passes
}

/// Whether a result is written over a parameter or a state, after everything that reads it.
pub(crate) fn sets_param(root: &Root) -> bool {
    matches!(root.role, Role::Update | Role::Next)
}

/// How a stored value uses another of the same step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    /// Of an earlier or later step only.
    OtherStep,
    /// At the same index.
    SamePoint,
    /// At any index: a barrier lies between.
    AnyPoint,
}

struct Ordering<'a> {
    graph: &'a Graph,
    passes: &'a [Option<Pass>],
    recurrences: &'a Recurrences,
    stored: &'a [bool],
}

impl Ordering<'_> {
    fn units(&self) -> Vec<Unit> {
        let mut members: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
        let mut unit_of: BTreeMap<NodeId, usize> = BTreeMap::new();
        // A recurrence's unit is named by its first node, any other by its only one.
        let mut first_of: BTreeMap<usize, usize> = BTreeMap::new();
        for id in self.graph.ids().filter(|id| self.stored[id.0 as usize]) {
            let own = id.0 as usize;
            let unit = match self.recurrences.of(id) {
                Some(recurrence) => *first_of.entry(recurrence).or_insert(own),
                None => own,
            };
            unit_of.insert(id, unit);
            members.entry(unit).or_default().push(id);
        }
        let mut needs: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        let mut uses: BTreeMap<NodeId, BTreeMap<NodeId, Use>> = BTreeMap::new();
        for (&id, &unit) in &unit_of {
            let used = self.uses(id);
            let others = used.keys().map(|other| unit_of[other]).filter(|other| *other != unit);
            needs.entry(unit).or_default().extend(others);
            uses.insert(id, used);
        }
        let mut done = BTreeSet::new();
        let mut units: Vec<Unit> = Vec::new();
        while done.len() < members.len() {
            // The first unit, in the order of the source, that needs nothing more, forward ones first.
            let ready = members
                .keys()
                .filter(|unit| !done.contains(*unit) && needs[*unit].is_subset(&done))
                .min_by_key(|unit| (self.pass(members[*unit][0]) as u8, **unit));
            let Some(&ready) = ready else { break };
            units.push(self.unit(&members[&ready], &uses));
            done.insert(ready);
        }
        debug_assert_eq!(done.len(), members.len(), "the graph has a cycle without a delay");
        units.extend(self.updates());
        units
    }

    fn pass(&self, id: NodeId) -> Pass {
        self.passes[id.0 as usize].unwrap_or(Pass::Forward)
    }

    fn unit(&self, members: &[NodeId], uses: &BTreeMap<NodeId, BTreeMap<NodeId, Use>>) -> Unit {
        let recurrence = self.recurrences.of(members[0]).map(|c| self.recurrences.direction(c));
        let mut stages: Vec<Vec<NodeId>> = Vec::new();
        let mut stage_of: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut open: Vec<NodeId> = members.to_vec();
        while !open.is_empty() {
            let same_step = |id: &NodeId| {
                uses[id]
                    .iter()
                    .filter(|(other, u)| **u != Use::OtherStep && members.contains(other))
            };
            let ready =
                open.iter().position(|id| same_step(id).all(|(o, _)| stage_of.contains_key(o)));
            let Some(ready) = ready else { break };
            let id = open.remove(ready);
            let earliest = same_step(&id)
                .map(|(other, how)| stage_of[other] + usize::from(*how == Use::AnyPoint))
                .max()
                .unwrap_or(0);
            let fits = |stage: &Vec<NodeId>| self.graph.ty(stage[0]).dims == self.graph.ty(id).dims;
            let found = (earliest..stages.len()).find(|stage| fits(&stages[*stage]));
            let stage = found.unwrap_or_else(|| {
                stages.push(Vec::new());
                stages.len() - 1
            });
            stages[stage].push(id);
            stage_of.insert(id, stage);
        }
        debug_assert!(open.is_empty(), "the step of a recurrence has a cycle");
        Unit { pass: self.pass(members[0]), recurrence, updates: false, stages }
    }

    /// The stored nodes that a stored node's computation reads, and how.
    fn uses(&self, id: NodeId) -> BTreeMap<NodeId, Use> {
        let mut uses = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut open = self.operands(id, Use::SamePoint);
        while let Some((arg, how)) = open.pop() {
            if !seen.insert((arg, how)) {
                continue;
            }
            if self.stored[arg.0 as usize] {
                let known = uses.entry(arg).or_insert(how);
                *known = how.max(*known);
            } else {
                open.extend(self.operands(arg, how));
            }
        }
        uses
    }

    fn operands(&self, id: NodeId, how: Use) -> Vec<(NodeId, Use)> {
        let node = self.graph.node(id);
        let class = node.op.class();
        if class == Class::Delay {
            return vec![(node.args[0], Use::OtherStep), (node.args[1], how)];
        }
        let keeps = class == Class::Pointwise || how == Use::OtherStep;
        let point = if keeps { how } else { Use::AnyPoint };
        node.args.iter().map(|arg| (*arg, point)).collect()
    }

    /// The optimiser's kernels: new values of one index space are written together, after all of
    /// them are computed, so that each is computed from old ones.
    fn updates(&self) -> Vec<Unit> {
        let mut by_space: BTreeMap<Vec<Dim>, Vec<NodeId>> = BTreeMap::new();
        for root in self.graph.roots.iter().filter(|root| sets_param(root)) {
            by_space.entry(self.graph.ty(root.node).dims.clone()).or_default().push(root.node);
        }
        let unit = |nodes| {
            let pass = Pass::Update;
            Unit { pass, recurrence: None, updates: true, stages: vec![nodes] }
        };
        by_space.into_values().map(unit).collect()
    }
}

/// The order of kernels and what each stores, for `--emit schedule`.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for unit in &self.units {
            let shape = match unit.recurrence {
                Some(Direction::Forward) => "recurrence forward",
                Some(Direction::Backward) => "recurrence backward",
                None => "parallel",
            };
            writeln!(f, "{:?} {shape}", unit.pass)?;
            for (number, stage) in unit.stages.iter().enumerate() {
                for id in stage {
                    let node = self.graph.node(*id);
                    let name = node.name.as_deref().unwrap_or("");
                    let bits = if self.is_binary(*id) { " in {0, 1}" } else { "" };
                    writeln!(f, "  stage {number}: {id:?} {name} : {}{bits}", node.ty)?;
                }
            }
        }
        Ok(())
    }
}
