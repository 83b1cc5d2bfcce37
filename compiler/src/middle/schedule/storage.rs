//! Which values get a buffer: results, states of recurrences, operands of products, and what would
//! cost more to compute again than to keep.
//!
//! Everything else is computed where it is used. A value of the forward pass that the backward pass
//! needs is stored if it is costly, or if it is a decision (a comparison, a rounding): computed again
//! from values rounded differently, a decision could turn out differently.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::facts::{is_leaf, is_reduction, is_resident, is_sum, is_view};
use super::min_cut::Ways;
use super::recurrence::Recurrences;
use crate::ir::graph::ops::{IndexMap, Reads};
use crate::ir::graph::{Graph, NodeId, Op, Pointwise};
use crate::ir::kernel::Pass;
use crate::middle::cost::{self, COSTLY, COSTLY_TO_REPEAT};

/// An array of more numbers than this is kept in memory, others are choices among their numbers.
const MOST_CHOICES: usize = 8;
/// Reductions longer than this are kernels of their own, which can be split.
const LONGEST_FUSED_REDUCTION: i64 = 8192;

/// For each node, whether a kernel stores it.
pub fn choose(graph: &Graph, passes: &[Option<Pass>], recurrences: &Recurrences) -> Vec<bool> {
    let mut choice = Choice {
        graph,
        passes,
        recurrences,
        users: users(graph, passes),
        stored: vec![false; graph.len()],
    };
    choice.results();
    choice.operands();
    choice.states();
    choice.saved();
    choice.shared();
    choice.stored
}

fn users(graph: &Graph, passes: &[Option<Pass>]) -> Vec<Vec<NodeId>> {
    let mut users = vec![Vec::new(); graph.len()];
    for id in graph.ids().filter(|id| passes[id.0 as usize].is_some()) {
        for arg in &graph.node(id).args {
            users[arg.0 as usize].push(id);
        }
    }
    users
}

struct Choice<'a> {
    graph: &'a Graph,
    passes: &'a [Option<Pass>],
    recurrences: &'a Recurrences,
    users: Vec<Vec<NodeId>>,
    stored: Vec<bool>,
}

/// Where a value that is not stored ends up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sink {
    Nowhere,
    /// In stored values that one stage computes at the same point: (unit, its first node's dims).
    One(usize),
    Several,
}

impl Choice<'_> {
    fn store(&mut self, id: NodeId) {
        if !is_resident(&self.graph.node(id).op) {
            self.stored[id.0 as usize] = true;
        }
    }

    fn is_stored(&self, id: NodeId) -> bool {
        self.stored[id.0 as usize]
    }

    /// A buffer holds the value, a kernel's or the caller's.
    fn has_buffer(&self, id: NodeId) -> bool {
        self.is_stored(id) || is_leaf(&self.graph.node(id).op)
    }

    fn needed(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        let needed: Vec<NodeId> =
            self.graph.ids().filter(|id| self.passes[id.0 as usize].is_some()).collect();
        needed.into_iter()
    }

    fn results(&mut self) {
        for root in &self.graph.roots {
            if root.role != crate::ir::graph::Role::Update {
                self.store(root.node);
            }
        }
    }

    /// A product reads each element of its operands many times: what they are views of is stored, and
    /// what windows see is, row by row. So is what an argmax, a maximum or a gather looks up, and an
    /// array of many numbers.
    fn operands(&mut self) {
        for id in self.needed() {
            let node = self.graph.node(id);
            for operand in 0..node.args.len() {
                if node.op.describe(|op| op.looks_up(operand)) {
                    self.store_base(node.args[operand]);
                    if node.op == Op::MatMul {
                        self.store_regrouped_windows(node.args[operand]);
                    }
                }
            }
            if matches!(node.op, Op::Map(Pointwise::Eq | Pointwise::Ne)) {
                self.store_compared(id);
            }
            if matches!(&node.op, Op::Array { data, .. } if data.len() > MOST_CHOICES) {
                self.store(id);
            }
        }
    }

    fn store_base(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        match is_view(&node.op) {
            true => self.store_base(node.args[0]),
            false if is_leaf(&node.op) => {}
            false => self.store(id),
        }
    }

    /// Where axes of windows become rows and columns of a matrix, there is no step from one of its
    /// elements to the next in what they slide along: the matrix is stored, unless rows and columns can be taken
    /// apart again (see [`split_axes`](crate::middle::lower)).
    fn store_regrouped_windows(&mut self, id: NodeId) {
        let mut regrouped = None;
        let mut at = id;
        while is_view(&self.graph.node(at).op) {
            let node = self.graph.node(at);
            if let Op::Reshape(_) = node.op
                && !self.is_known_apart(at)
            {
                regrouped = Some(node.args[0]);
            }
            if let Op::Windows(_) = node.op {
                return regrouped.into_iter().for_each(|id| self.store(id));
            }
            at = node.args[0];
        }
    }

    /// Each axis of the reshaped is one of its operand, or several of known lengths.
    fn is_known_apart(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let from = &self.graph.ty(node.args[0]).dims;
        let is_known = |(operand, own): &(Range<usize>, Range<usize>)| {
            operand.len() == 1
                || own.len() == 1
                    && from[operand.clone()].iter().skip(1).all(|dim| dim.as_const().is_some())
        };
        match node.op.describe(|op| op.index_map(from)) {
            Some(IndexMap::Regrouped(groups)) => groups.iter().all(is_known),
            _ => false,
        }
    }

    /// The backward pass asks which element was the maximum: that takes the very value compared.
    fn store_compared(&mut self, id: NodeId) {
        if self.passes[id.0 as usize] != Some(Pass::Backward) {
            return;
        }
        let args = &self.graph.node(id).args;
        if args.iter().all(|arg| self.graph.as_number(*arg).is_none()) {
            for arg in args.clone() {
                if self.passes[arg.0 as usize] == Some(Pass::Forward) {
                    self.store_base(arg);
                }
            }
        }
    }

    /// Every cycle of a recurrence is cut by a stored value: the operand of a delay, unless it
    /// follows from others of the same step. If only the delay uses it, it is then computed one
    /// step off; otherwise it would be computed twice, so it must be cheap.
    fn states(&mut self) {
        self.cut_states();
        for id in self.needed() {
            if let Some(state) = self.state_of(id)
                && self.recurrences.of(id).is_some()
                && self.recurrences.of(id) == self.recurrences.of(state)
                && self.reaches_delay(state)
            {
                self.store(state);
            }
        }
        for id in self.needed() {
            if let Some(state) = self.state_of(id)
                && !self.has_buffer(state)
                && self.users[state.0 as usize].len() > 1
                && (self.cost(state) > COSTLY || self.decides(state))
            {
                self.store(state);
            }
        }
    }

    /// What is delayed often follows from a few other values: `next(a * x)` and `next(b * x)` need `x` of
    /// the step before. So the fewest values are stored that cut all ways within a step from a delay,
    /// or from a value that is costly to compute again, to what is delayed.
    fn cut_states(&mut self) {
        let ids: Vec<NodeId> =
            self.needed().filter(|id| self.recurrences.of(*id).is_some()).collect();
        let place: HashMap<NodeId, usize> = ids.iter().copied().zip(0..).collect();
        let is_delay = |id: NodeId| self.graph.node(id).op.is_delay();
        let same = |a: NodeId, b: NodeId| self.recurrences.of(a) == self.recurrences.of(b);
        let users = |id: NodeId| &self.users[id.0 as usize];
        // Whether a value serves delays alone, be it through others; users come after operands.
        let mut only_delayed = vec![false; self.graph.len()];
        for &id in ids.iter().rev() {
            let serves = |user: &NodeId| is_delay(*user) || only_delayed[user.0 as usize];
            only_delayed[id.0 as usize] = !is_delay(id) && users(id).iter().all(serves);
        }
        let cost = |id: &NodeId| match users(*id).iter().all(|user| same(*user, *id)) {
            _ if is_delay(*id) => None,
            false => Some(cost::STATE_IN_USE),
            true if is_reduction(&self.graph.node(*id).op) => Some(cost::STATE_OF_SUM),
            true => Some(cost::STATE),
        };
        let mut ways = Ways {
            next: vec![Vec::new(); ids.len()],
            starts: vec![false; ids.len()],
            ends: vec![false; ids.len()],
            cost: ids.iter().map(cost).collect(),
        };
        for (at, &id) in ids.iter().enumerate() {
            let node = self.graph.node(id);
            let is_decision = matches!(node.op, Op::Map(op) if op.row().is_decision());
            let is_costly = cost::of(&node.op) > COSTLY || is_reduction(&node.op);
            // Computed one step off, and not twice.
            let is_free = only_delayed[id.0 as usize] && !is_decision;
            ways.starts[at] = is_delay(id) || ((is_costly || is_decision) && !is_free);
            for arg in node.args.iter().filter(|arg| same(**arg, id)) {
                let Some(&from) = place.get(arg) else { continue };
                match is_delay(id) {
                    true => ways.ends[from] = true,
                    // A stored value is cut already.
                    false if self.has_buffer(*arg) => {}
                    false => ways.next[from].push(at),
                }
            }
        }
        let stored = |at: usize| self.has_buffer(ids[at]);
        let starts = (0..ids.len()).map(|at| ways.starts[at] && !stored(at)).collect();
        let ends = (0..ids.len()).map(|at| ways.ends[at] && !stored(at)).collect();
        (ways.starts, ways.ends) = (starts, ends);
        for at in ways.min_cut().unwrap_or_default() {
            self.store(ids[at]);
        }
    }

    /// What a delay delays.
    fn state_of(&self, id: NodeId) -> Option<NodeId> {
        let node = self.graph.node(id);
        node.op.is_delay().then(|| node.args[0])
    }

    /// Going back through values of the same step that are not stored, there is a delay of the same
    /// recurrence.
    fn reaches_delay(&self, start: NodeId) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        while let Some(id) = open.pop() {
            let node = self.graph.node(id);
            if node.op.is_delay() {
                if self.recurrences.of(id) == self.recurrences.of(start) {
                    return true;
                }
                continue;
            }
            for arg in &node.args {
                // Another state is looked at on its own: it is stored if it must be.
                let is_state = self.users[arg.0 as usize].iter().any(|user| {
                    self.state_of(*user) == Some(*arg)
                        && self.recurrences.of(*user).is_some()
                        && self.recurrences.of(*user) == self.recurrences.of(*arg)
                });
                if !is_state && !self.has_buffer(*arg) && seen.insert(*arg) {
                    open.push(*arg);
                }
            }
        }
        false
    }

    /// What the backward pass needs of the forward pass and would be costly or wrong to compute again.
    fn saved(&mut self) {
        for id in self.needed() {
            let pass = |id: NodeId| self.passes[id.0 as usize];
            if pass(id) != Some(Pass::Forward) || self.has_buffer(id) {
                continue;
            }
            let later =
                self.users[id.0 as usize].iter().any(|user| pass(*user) != Some(Pass::Forward));
            if later && (self.cost(id) > COSTLY_TO_REPEAT || self.decides(id)) {
                self.store_base(id);
            }
        }
    }

    /// Values that would be computed several times: in several stages, for each element of a
    /// broadcast, for each step although they are static; and reductions that cannot be fused.
    fn shared(&mut self) {
        let mut sinks = vec![Sink::Nowhere; self.graph.len()];
        for id in self.users_first() {
            let index = id.0 as usize;
            if !self.has_buffer(id) {
                let users = self.users[index].clone();
                let sink = users.iter().fold(Sink::Nowhere, |sink, user| {
                    self.join(sink, self.sink_through(id, *user, &sinks))
                });
                let is_reduction = is_reduction(&self.graph.node(id).op);
                let store = match is_reduction {
                    true => !self.is_fused(id, sink),
                    false => sink == Sink::Several && self.cost(id) > COSTLY,
                };
                sinks[index] = sink;
                if store {
                    self.store_narrow(id);
                }
            }
            if self.is_stored(id) {
                sinks[index] = Sink::One(self.stage_key(id));
            }
        }
    }

    /// Stores the value, or what it repeats.
    fn store_narrow(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let repeats =
            matches!(node.op, Op::Broadcast(_)) && !is_leaf(&self.graph.node(node.args[0]).op);
        if repeats {
            self.store_narrow(node.args[0]);
        } else {
            self.store(id);
        }
    }

    /// The needed nodes, each after its users; stored values cut the cycles.
    fn users_first(&self) -> Vec<NodeId> {
        let mut order = Vec::new();
        let mut seen = BTreeSet::new();
        for start in self.needed() {
            let mut open = vec![(start, false)];
            while let Some((id, users_done)) = open.pop() {
                if users_done {
                    order.push(id);
                } else if seen.insert(id) {
                    open.push((id, true));
                    if !self.is_stored(id) {
                        open.extend(self.users[id.0 as usize].iter().map(|user| (*user, false)));
                    }
                }
            }
        }
        order
    }

    /// A number for the stage that will compute a stored value: values of one recurrence and of equal
    /// dimensions share it.
    fn stage_key(&self, id: NodeId) -> usize {
        let Some(recurrence) = self.recurrences.of(id) else { return id.0 as usize };
        let same = |other: &NodeId| {
            self.recurrences.of(*other) == Some(recurrence)
                && self.graph.ty(*other).dims == self.graph.ty(id).dims
        };
        self.graph.ids().find(same).map_or(id.0 as usize, |first| first.0 as usize)
    }

    fn join(&self, a: Sink, b: Sink) -> Sink {
        match (a, b) {
            (Sink::Nowhere, other) | (other, Sink::Nowhere) => other,
            (Sink::One(a), Sink::One(b)) if a == b => Sink::One(a),
            _ => Sink::Several,
        }
    }

    /// Where `id` ends up through one user.
    fn sink_through(&self, id: NodeId, user: NodeId, sinks: &[Sink]) -> Sink {
        let node = self.graph.node(user);
        let hoistable = self.graph.ty(id).is_stream() != node.ty.is_stream();
        let spread = match node.op.describe(|op| op.reads()) {
            Reads::Once => hoistable,
            Reads::Longer => node.ty.len() != self.graph.ty(id).len(),
            Reads::Often => true,
            // Computed one step off, once, if nothing else uses it.
            Reads::AnotherStep => self.users[id.0 as usize].len() > 1 || node.args[0] != id,
            Reads::Reduced => {
                // A sum inside a sum becomes part of it.
                let own = &self.graph.node(id).op;
                let joins = is_sum(&node.op) && is_sum(own) || !is_reduction(own);
                return if joins { Sink::One(user.0 as usize) } else { Sink::Several };
            }
        };
        if spread { Sink::Several } else { sinks[user.0 as usize] }
    }

    /// A reduction is computed inside the stage that uses it: by one user at the same point, or as
    /// part of a sum around it.
    fn is_fused(&self, id: NodeId, sink: Sink) -> bool {
        let Sink::One(stage) = sink else { return false };
        let users = &self.users[id.0 as usize];
        if self.passes[id.0 as usize] == Some(Pass::Update) {
            return false;
        }
        if users.iter().any(|user| is_reduction(&self.graph.node(*user).op)) {
            return users.len() == 1;
        }
        let node = self.graph.node(id);
        let length = node.op.describe(|op| op.count(self.graph, &node.args));
        let is_short = length
            .and_then(|length| length.as_const())
            .is_some_and(|length| length <= LONGEST_FUSED_REDUCTION);
        let short = node.op == Op::MatMul || matches!(node.op, Op::Reduce(..)) && is_short;
        // What a recurrence does not change is computed for all steps at once, before it.
        let same_loop = self.recurrences.of(id) == self.recurrences.of(NodeId(stage as u32));
        let same_pass =
            users.iter().all(|u| self.passes[u.0 as usize] == self.passes[id.0 as usize]);
        short && self.is_pointwise_to_stage(id) && same_loop && same_pass
    }

    /// All ways from here to a stored value are pointwise, be it one step off.
    fn is_pointwise_to_stage(&self, id: NodeId) -> bool {
        let mut open = vec![id];
        let mut seen = BTreeSet::new();
        while let Some(id) = open.pop() {
            for user in &self.users[id.0 as usize] {
                let is_delay = self.state_of(*user) == Some(id);
                if !is_delay && !matches!(self.graph.node(*user).op, Op::Map(_)) {
                    return false;
                }
                if !self.is_stored(*user) && seen.insert(*user) {
                    open.push(*user);
                }
            }
        }
        true
    }

    /// The cost of computing one element from stored values, shared parts counted as often as used.
    fn cost(&self, id: NodeId) -> u32 {
        let mut costs = HashMap::new();
        let mut open = vec![(id, false)];
        while let Some((id, ready)) = open.pop() {
            if costs.contains_key(&id) {
                continue;
            }
            let node = self.graph.node(id);
            // A delay is a load of a stored value, or as cheap.
            let args = if node.op.is_delay() { &[] } else { node.args.as_slice() };
            // What is static is computed before a loop over time.
            let in_loop = |arg: &&NodeId| node.ty.clock == self.graph.ty(**arg).clock;
            let args = args.iter().filter(|arg| !self.has_buffer(**arg)).filter(in_loop);
            if ready {
                let sum = args.fold(cost::of(&node.op), |sum, arg| {
                    sum.saturating_add(costs.get(arg).copied().unwrap_or(0))
                });
                let reduction = if is_reduction(&node.op) { cost::REDUCTION } else { 0 };
                costs.insert(id, sum.saturating_add(reduction));
            } else {
                open.push((id, true));
                open.extend(args.map(|arg| (*arg, false)));
            }
        }
        costs[&id]
    }

    /// Computing the value again from stored ones involves a decision on values that are themselves
    /// computed again.
    fn decides(&self, id: NodeId) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let node = self.graph.node(id);
            if let Op::Map(op) = node.op
                && op.row().is_decision()
                && !node.args.iter().all(|arg| self.is_exact(*arg))
            {
                return true;
            }
            let args = if node.op.is_delay() { &[] } else { node.args.as_slice() };
            open.extend(args.iter().filter(|arg| !self.has_buffer(**arg) && seen.insert(**arg)));
        }
        false
    }

    /// The value is read, not computed.
    fn is_exact(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        self.has_buffer(id) || (is_view(&node.op) && self.is_exact(node.args[0]))
    }
}
