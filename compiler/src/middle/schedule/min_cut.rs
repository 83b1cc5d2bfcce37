//! The cheapest vertices that cut all ways from some vertices to others.

use std::collections::VecDeque;

/// A directed graph whose vertices are numbered from 0.
pub struct Ways {
    /// The vertices after each one.
    pub next: Vec<Vec<usize>>,
    /// Whether a way may start at a vertex, and whether it may end there.
    pub starts: Vec<bool>,
    pub ends: Vec<bool>,
    /// What it costs to cut a vertex; `None` where that cannot be.
    pub cost: Vec<Option<u32>>,
}

/// The edges of a flow: every vertex is two, in and out, with an edge between them that holds what it
/// costs to cut it.
struct Flow {
    /// Edges in pairs, there and back: target and what more it can hold.
    edges: Vec<(usize, u32)>,
    of: Vec<Vec<usize>>,
}

const ENDLESS: u32 = u32::MAX / 2;

impl Ways {
    /// Of the cheapest cuts the one that is closest to the ends; `None` if there is none.
    pub fn min_cut(&self) -> Option<Vec<usize>> {
        let count = self.next.len();
        let (source, sink) = (2 * count, 2 * count + 1);
        let mut flow = Flow { edges: Vec::new(), of: vec![Vec::new(); 2 * count + 2] };
        for at in 0..count {
            flow.add(2 * at, 2 * at + 1, self.cost[at].unwrap_or(ENDLESS));
            self.next[at].iter().for_each(|next| flow.add(2 * at + 1, 2 * next, ENDLESS));
            if self.starts[at] {
                flow.add(source, 2 * at, ENDLESS);
            }
            if self.ends[at] {
                flow.add(2 * at + 1, sink, ENDLESS);
            }
        }
        while let Some(held) = flow.augment(source, sink) {
            if held >= ENDLESS {
                return None;
            }
        }
        let reaches = flow.reaching(sink);
        let is_cut = |at: &usize| !reaches[2 * at] && reaches[2 * at + 1];
        Some((0..count).filter(is_cut).collect())
    }
}

impl Flow {
    fn add(&mut self, from: usize, to: usize, room: u32) {
        self.of[from].push(self.edges.len());
        self.edges.push((to, room));
        self.of[to].push(self.edges.len());
        self.edges.push((from, 0));
    }

    /// Sends more along a shortest way that has room, and says how much.
    fn augment(&mut self, source: usize, sink: usize) -> Option<u32> {
        let mut by = vec![usize::MAX; self.of.len()];
        let mut open = VecDeque::from([source]);
        while let Some(at) = open.pop_front() {
            for &edge in &self.of[at] {
                let (to, room) = self.edges[edge];
                if room > 0 && by[to] == usize::MAX && to != source {
                    by[to] = edge;
                    open.push_back(to);
                }
            }
        }
        let mut way = Vec::new();
        let mut at = sink;
        while at != source {
            let edge = by[at];
            if edge == usize::MAX {
                return None;
            }
            way.push(edge);
            at = self.edges[edge ^ 1].0;
        }
        let held = way.iter().map(|edge| self.edges[*edge].1).min()?;
        for edge in way {
            self.edges[edge].1 -= held;
            self.edges[edge ^ 1].1 += held;
        }
        Some(held)
    }

    /// From where the sink can still be reached.
    fn reaching(&self, sink: usize) -> Vec<bool> {
        let mut reaches = vec![false; self.of.len()];
        reaches[sink] = true;
        let mut open = vec![sink];
        while let Some(at) = open.pop() {
            for &edge in &self.of[at] {
                // The other one of the pair leads here.
                let from = self.edges[edge].0;
                if self.edges[edge ^ 1].1 > 0 && !std::mem::replace(&mut reaches[from], true) {
                    open.push(from);
                }
            }
        }
        reaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(
        edges: &[(usize, usize)],
        starts: &[usize],
        ends: &[usize],
        fixed: &[usize],
    ) -> Option<Vec<usize>> {
        let is_in = |set: &[usize]| (0..8).map(|at| set.contains(&at)).collect();
        let next = |at| edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to).collect();
        let ways = Ways {
            next: (0..8).map(next).collect(),
            starts: is_in(starts),
            ends: is_in(ends),
            cost: (0..8).map(|at| (!fixed.contains(&at)).then_some(1)).collect(),
        };
        ways.min_cut()
    }

    #[test]
    fn a_waist_is_cut() {
        // 0, 1 → 2 → 3, 4, 5: one is less than three; 0 and 1 cannot be cut.
        let edges = [(0, 2), (1, 2), (2, 3), (2, 4), (2, 5)];
        assert_eq!(cut(&edges, &[0, 1], &[3, 4, 5], &[0, 1]), Some(vec![2]));
        // With a way around it.
        let edges = [&edges[..], &[(0, 6), (6, 5)]].concat();
        assert_eq!(cut(&edges, &[0, 1], &[3, 4, 5], &[0, 1]), Some(vec![2, 5]));
    }

    #[test]
    fn of_equal_cuts_the_last_is_taken() {
        assert_eq!(cut(&[(0, 1), (1, 2), (2, 3)], &[0], &[3], &[0]), Some(vec![3]));
        assert_eq!(cut(&[(0, 1), (1, 2), (2, 3)], &[0], &[3], &[0, 3]), Some(vec![2]));
    }

    #[test]
    fn what_cannot_be_cut_is_said() {
        assert_eq!(cut(&[(0, 1)], &[0], &[1], &[0, 1]), None);
        assert_eq!(cut(&[(0, 1)], &[0], &[2], &[]), Some(vec![]));
    }
}
