//! Strongly connected components: which nodes are computed together, and in what order.

use super::NodeId;

const UNSEEN: u32 = u32::MAX;

/// The strongly connected components of all that `starts` need, operands first; each in the order
/// of its ids. `operands` says what a node needs; there are `len` nodes.
///
/// Tarjan's algorithm with its stack on the heap: chains of operations can be long.
pub fn components<'a>(
    len: usize,
    starts: impl IntoIterator<Item = NodeId>,
    operands: impl Fn(NodeId) -> &'a [NodeId],
) -> Vec<Vec<NodeId>> {
    let mut search = Search {
        number: vec![UNSEEN; len],
        low: vec![UNSEEN; len],
        is_placed: vec![false; len],
        pending: Vec::new(),
        found: Vec::new(),
        count: 0,
    };
    for start in starts {
        search.visit(start, &operands);
    }
    search.found
}

struct Search {
    /// The order in which nodes were met.
    number: Vec<u32>,
    /// The earliest node, by number, that is reached and not placed yet.
    low: Vec<u32>,
    is_placed: Vec<bool>,
    pending: Vec<NodeId>,
    found: Vec<Vec<NodeId>>,
    count: u32,
}

impl Search {
    fn visit<'a>(&mut self, start: NodeId, operands: &impl Fn(NodeId) -> &'a [NodeId]) {
        if self.number[index(start)] != UNSEEN {
            return;
        }
        let mut path = vec![(self.meet(start), operands(start).iter())];
        while let Some((id, rest)) = path.last_mut() {
            let id = *id;
            match rest.next() {
                Some(&operand) if self.number[index(operand)] == UNSEEN => {
                    path.push((self.meet(operand), operands(operand).iter()));
                }
                Some(&operand) => self.reach(id, operand),
                None => {
                    path.pop();
                    if self.low[index(id)] == self.number[index(id)] {
                        self.place(id);
                    }
                    if let Some((user, _)) = path.last() {
                        self.reach(*user, id);
                    }
                }
            }
        }
    }

    fn meet(&mut self, id: NodeId) -> NodeId {
        self.number[index(id)] = self.count;
        self.low[index(id)] = self.count;
        self.count += 1;
        self.pending.push(id);
        id
    }

    fn reach(&mut self, user: NodeId, operand: NodeId) {
        if !self.is_placed[index(operand)] {
            self.low[index(user)] = self.low[index(user)].min(self.low[index(operand)]);
        }
    }

    fn place(&mut self, first: NodeId) {
        let mut component = Vec::new();
        while let Some(id) = self.pending.pop() {
            self.is_placed[index(id)] = true;
            component.push(id);
            if id == first {
                break;
            }
        }
        component.sort_unstable();
        self.found.push(component);
    }
}

fn index(id: NodeId) -> usize {
    id.0 as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(operands: &[&[u32]]) -> Vec<Vec<u32>> {
        let operands: Vec<Vec<NodeId>> =
            operands.iter().map(|ids| ids.iter().map(|id| NodeId(*id)).collect()).collect();
        let last = NodeId(operands.len() as u32 - 1);
        let found = components(operands.len(), [last], |id| &operands[index(id)]);
        found.into_iter().map(|ids| ids.into_iter().map(|id| id.0).collect()).collect()
    }

    #[test]
    fn operands_come_first_and_cycles_are_together() {
        assert_eq!(of(&[&[], &[0], &[1]]), [vec![0], vec![1], vec![2]]);
        assert_eq!(of(&[&[2], &[0], &[1], &[], &[3, 2]]), [vec![3], vec![0, 1, 2], vec![4]]);
        assert_eq!(of(&[&[0], &[3, 0], &[], &[1]]), [vec![0], vec![1, 3]]);
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let operands: Vec<Vec<NodeId>> =
            (0..200_000u32).map(|id| id.checked_sub(1).map(NodeId).into_iter().collect()).collect();
        let found = components(operands.len(), [NodeId(199_999)], |id| &operands[index(id)]);
        assert_eq!(found.len(), operands.len());
    }
}
