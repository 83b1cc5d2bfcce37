//! Recurrences: strongly connected components over the edges of `prev` and `next`.

use crate::ir::graph::{Graph, NodeId, Op, components};
use crate::ir::kernel::Direction;

/// The components of a graph that must run step by step.
pub struct Recurrences {
    /// The component of each node; only components with a cycle have a number.
    component: Vec<Option<usize>>,
    directions: Vec<Direction>,
}

impl Recurrences {
    /// The number of the recurrence that a node belongs to.
    pub fn of(&self, id: NodeId) -> Option<usize> {
        self.component[id.0 as usize]
    }

    pub fn direction(&self, component: usize) -> Direction {
        self.directions[component]
    }

    pub fn find(graph: &Graph) -> Recurrences {
        let component = vec![None; graph.len()];
        let mut found = Recurrences { component, directions: Vec::new() };
        for members in components(graph.len(), graph.ids(), |id| &graph.node(id).args) {
            let is_cycle = members.len() > 1 || graph.node(members[0]).args.contains(&members[0]);
            if is_cycle {
                let has = |op: Op| members.iter().any(|id| graph.node(*id).op == op);
                let direction =
                    if has(Op::Next) { Direction::Backward } else { Direction::Forward };
                members.iter().for_each(|id| {
                    found.component[id.0 as usize] = Some(found.directions.len());
                });
                found.directions.push(direction);
            }
        }
        found
    }
}
