//! Recurrences: strongly connected components over the edges of `prev` and `next`.

use crate::graph::{Graph, NodeId, Op};
use crate::kernel::Direction;

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

    /// Tarjan's algorithm, without recursion: chains of operations can be long.
    pub fn find(graph: &Graph) -> Recurrences {
        let count = graph.len();
        let mut found = Recurrences { component: vec![None; count], directions: Vec::new() };
        let (mut order, mut low) = (vec![usize::MAX; count], vec![0; count]);
        let (mut open, mut on_stack, mut visited) = (Vec::new(), vec![false; count], 0);
        for start in 0..count {
            if order[start] != usize::MAX {
                continue;
            }
            let mut walk = vec![(start, 0)];
            while let Some((node, edge)) = walk.pop() {
                if edge == 0 {
                    order[node] = visited;
                    low[node] = visited;
                    visited += 1;
                    open.push(node);
                    on_stack[node] = true;
                }
                let args = &graph.node(NodeId(node as u32)).args;
                if let Some(arg) = args.get(edge) {
                    let target = arg.0 as usize;
                    walk.push((node, edge + 1));
                    if order[target] == usize::MAX {
                        walk.push((target, 0));
                    } else if on_stack[target] {
                        low[node] = low[node].min(order[target]);
                    }
                    continue;
                }
                if let Some((parent, _)) = walk.last() {
                    low[*parent] = low[*parent].min(low[node]);
                }
                if low[node] == order[node] {
                    let first = open.iter().rposition(|n| *n == node).unwrap_or(0);
                    let members = open.split_off(first);
                    members.iter().for_each(|member| on_stack[*member] = false);
                    found.add(graph, &members);
                }
            }
        }
        found
    }

    fn add(&mut self, graph: &Graph, members: &[usize]) {
        let op = |node: &usize| &graph.node(NodeId(*node as u32)).op;
        let direction = if members.iter().any(|node| *op(node) == Op::Prev) {
            Direction::Forward
        } else if members.iter().any(|node| *op(node) == Op::Next) {
            Direction::Backward
        } else {
            return; // without a delay there is no cycle
        };
        let cyclic = members.len() > 1
            || graph.node(NodeId(members[0] as u32)).args[0].0 as usize == members[0];
        if cyclic {
            members.iter().for_each(|node| self.component[*node] = Some(self.directions.len()));
            self.directions.push(direction);
        }
    }
}
