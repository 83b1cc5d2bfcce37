//! The second phase: values and gradients simplified together, when gradients have been appended and
//! no `sg` is left.
//!
//! The pointwise operations of a graph fall into *regions*: those of equal dimensions that feed each
//! other, within one step of time. What a region takes from elsewhere, a product of matrices, a sum, the step
//! before, is a leaf of which only facts are known. For each region an e-graph is saturated with the
//! laws of [`Phase::Joint`](super::surrogate::Phase), and the cheapest terms are chosen (`dag`, `cost`):
//! first for what the forward pass needs, so that it is the same with gradients and without; then
//! for the rest, to which all that the forward pass computes is given.
//!
//! A decision, such as a comparison, has one class and is computed by one term, whoever uses it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use egg::{BackoffScheduler, Id, Language, Rewrite, Runner, StopReason};

use super::surrogate::analysis::{Facts as Classes, Terms};
use super::surrogate::dag::{self, Choice, Chosen, Class};
use super::surrogate::language::{Leaf, Operation, Term, is_commutative};
use super::surrogate::rules::{LAWS, Numeric, Phase};
use super::surrogate::{Report, cost, untimed};
use crate::ir::graph::{Elem, Facts, Graph, Node, NodeId, Number, Op, Pointwise, Role, Type};
use crate::source::Span;

/// The longest region; what is longer is cut in the order of its operations.
const MAX_REGION: usize = 300;
const MAX_TERMS: usize = 6_000;
const MAX_ITERATIONS: usize = 40;
/// A law that matches more often than this in an iteration rests for a few: the limit of terms is looked
/// at between laws only.
const MAX_MATCHES: usize = 1_000;

/// The graph with the same results, at less cost. Laws that change the order of rounding are used
/// only if `fast`.
pub fn simplify(graph: &Graph, fast: bool) -> (Graph, Report) {
    let mut graph = graph.compact();
    let mut report = Report::default();
    let strictest = if fast { Numeric::Reassociating } else { Numeric::Finite };
    let laws = LAWS.iter().filter(|law| law.phases.contains(&Phase::Joint));
    let laws: Vec<_> =
        laws.filter(|law| law.numeric <= strictest).flat_map(|law| law.rewrites()).collect();
    let facts = Facts::of(&graph);
    let used = Used::by(&graph);
    let mut meant: Vec<NodeId> = graph.ids().collect();
    for region in regions(&graph) {
        let search = || Region::new(&graph, &facts, region).saturated(&laws, &mut report);
        let region = untimed(search);
        let chosen = region.choose(&graph, &used);
        Rebuild::new(&mut graph, &region, chosen).roots(&used, &mut meant);
    }
    let meaning = |mut id: NodeId| {
        while let Some(&next) = meant.get(id.0 as usize).filter(|next| **next != id) {
            id = next;
        }
        id
    };
    for id in graph.ids() {
        for arg in &mut graph.node_mut(id).args {
            *arg = meaning(*arg);
        }
    }
    for root in &mut graph.roots {
        root.node = meaning(root.node);
    }
    (graph.compact(), report)
}

/// What nodes are used for.
struct Used {
    /// A result, or an operand of what is in no region.
    outside: Vec<bool>,
    /// How often operations of regions use it.
    inside: Vec<usize>,
    /// The forward pass needs it.
    forward: Vec<bool>,
    /// It is kept in memory whether or not the backward pass uses it.
    kept: Vec<bool>,
}

impl Used {
    fn by(graph: &Graph) -> Used {
        let none = vec![false; graph.len()];
        let inside = vec![0; graph.len()];
        let mut used = Used { outside: none.clone(), inside, forward: none.clone(), kept: none };
        let mut open = Vec::new();
        for root in &graph.roots {
            used.outside[index(root.node)] = true;
            if root.role == Role::Output {
                used.kept[index(root.node)] = true;
                open.push(root.node);
            }
        }
        while let Some(id) = open.pop() {
            if !std::mem::replace(&mut used.forward[index(id)], true) {
                open.extend(&graph.node(id).args);
            }
        }
        for id in graph.ids() {
            let node = graph.node(id);
            let keeps = matches!(node.op, Op::Prev | Op::Next | Op::MatMul);
            for arg in &node.args {
                match is_pointwise(graph, id) {
                    true => used.inside[index(*arg)] += 1,
                    false => used.outside[index(*arg)] = true,
                }
                used.kept[index(*arg)] |= keeps && used.forward[index(id)];
            }
        }
        used
    }
}

fn index(id: NodeId) -> usize {
    id.0 as usize
}

/// A pointwise operation on real numbers and booleans.
fn is_pointwise(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let is_real = |id: NodeId| graph.ty(id).elem != Elem::I32;
    matches!(node.op, Op::Map(_)) && is_real(id) && node.args.iter().all(|arg| is_real(*arg))
}

/// The pointwise operations in regions, each in order.
fn regions(graph: &Graph) -> Vec<Vec<NodeId>> {
    fn leader(leaders: &mut [usize], mut of: usize) -> usize {
        while leaders[of] != of {
            leaders[of] = leaders[leaders[of]];
            of = leaders[of];
        }
        of
    }
    let mut leaders: Vec<usize> = (0..graph.len()).collect();
    let pointwise: Vec<NodeId> = graph.ids().filter(|id| is_pointwise(graph, *id)).collect();
    for &id in &pointwise {
        for arg in graph.node(id).args.iter().filter(|arg| is_pointwise(graph, **arg)) {
            let (a, b) = (leader(&mut leaders, index(id)), leader(&mut leaders, index(*arg)));
            leaders[a.max(b)] = a.min(b);
        }
    }
    let mut regions: BTreeMap<usize, Vec<NodeId>> = BTreeMap::new();
    for id in pointwise {
        regions.entry(leader(&mut leaders, index(id))).or_default().push(id);
    }
    regions.values().flat_map(|region| region.chunks(MAX_REGION)).map(<[_]>::to_vec).collect()
}

/// One region as terms.
struct Region {
    nodes: Vec<NodeId>,
    terms: Terms,
    /// Of the nodes, and of what they take from elsewhere.
    class_of: HashMap<NodeId, Id>,
    leaves: HashMap<Arc<str>, NodeId>,
    /// How often the region uses its nodes.
    uses: HashMap<NodeId, usize>,
}

impl Region {
    fn new(graph: &Graph, facts: &Facts, nodes: Vec<NodeId>) -> Region {
        let (class_of, leaves, uses) = (HashMap::new(), HashMap::new(), HashMap::new());
        let mut region = Region { nodes, terms: Terms::new(Classes), class_of, leaves, uses };
        for place in 0..region.nodes.len() {
            let id = region.nodes[place];
            let node = graph.node(id);
            let ids = node.args.iter().map(|arg| region.operand(graph, facts, *arg)).collect();
            let class = region.terms.add(sorted(term(&node.op, ids)));
            region.class_of.insert(id, class);
            node.args.iter().for_each(|arg| *region.uses.entry(*arg).or_default() += 1);
        }
        region.terms.rebuild();
        region
    }

    /// The class of an operand: an operation of the region, a literal or a leaf.
    fn operand(&mut self, graph: &Graph, facts: &Facts, id: NodeId) -> Id {
        if let Some(class) = self.class_of.get(&id) {
            return *class;
        }
        let term = match graph.as_number(id) {
            Some(number) => {
                let literal = Op::Const(Number(number), graph.ty(id).elem);
                Term::Operation(Operation::new(literal), vec![])
            }
            None => {
                let name: Arc<str> = format!("{id:?}").into();
                self.leaves.insert(name.clone(), id);
                Term::Leaf(Leaf { name, stopped: false, fact: *facts.at(id) })
            }
        };
        let class = self.terms.add(term);
        self.class_of.insert(id, class);
        class
    }

    fn saturated(mut self, laws: &[Rewrite<Term, Classes>], report: &mut Report) -> Region {
        let runner = Runner::<Term, Classes>::new(Classes)
            .with_egraph(self.terms)
            .with_scheduler(BackoffScheduler::default().with_initial_match_limit(MAX_MATCHES))
            .with_node_limit(MAX_TERMS)
            .with_iter_limit(MAX_ITERATIONS)
            .with_hook(|runner| {
                prune_literals(&mut runner.egraph);
                Ok(())
            })
            .run(laws);
        report.terms = report.terms.max(runner.egraph.total_size());
        report.iterations = report.iterations.max(runner.iterations.len());
        let limit = match &runner.stop_reason {
            Some(StopReason::IterationLimit(limit)) => Some(format!("{limit} iterations")),
            Some(StopReason::NodeLimit(limit)) => Some(format!("{limit} terms")),
            _ => None,
        };
        report.limit = report.limit.take().or(limit);
        self.terms = runner.egraph;
        self
    }

    fn class(&self, id: NodeId) -> Id {
        self.terms.find(self.class_of[&id])
    }

    /// A term in terms of canonical classes, so that equal terms are equal values.
    fn canonical(&self, term: &Term) -> Term {
        sorted(term.clone().map_children(|id| self.terms.find(id)))
    }

    /// How a node of the region was written.
    fn written(&self, graph: &Graph, id: NodeId) -> Term {
        let node = graph.node(id);
        term(&node.op, node.args.iter().map(|arg| self.class(*arg)).collect())
    }

    /// A term for each class that is needed.
    fn choose(&self, graph: &Graph, used: &Used) -> BTreeMap<Id, Term> {
        let mut first_written: HashMap<Term, NodeId> = HashMap::new();
        let mut first_in: HashMap<Id, NodeId> = HashMap::new();
        for &id in &self.nodes {
            first_written.entry(sorted(self.written(graph, id))).or_insert(id);
            first_in.entry(self.class(id)).or_insert(id);
        }
        let mut ids: Vec<Id> = self.terms.classes().map(|class| class.id).collect();
        ids.sort_unstable();
        let number: HashMap<Id, usize> = ids.iter().enumerate().map(|(n, id)| (*id, n)).collect();
        let mut terms: Vec<Vec<Term>> = Vec::new();
        let mut classes: Vec<Class> = Vec::new();
        for id in &ids {
            let known = &self.terms[*id].data;
            let place = |term: &Term| first_written.get(term).copied();
            let mut known_terms = HashSet::new();
            let mut of_class: Vec<Term> =
                self.terms[*id].nodes.iter().map(|term| self.canonical(term)).collect();
            of_class.retain(|term| known_terms.insert(term.clone()));
            of_class.sort_by_key(|term| (!term.is_leaf(), place(term).is_none(), place(term)));
            let choice = |term: &Term| Choice {
                cost: cost::of(term, known),
                operands: term.children().iter().map(|child| number[child]).collect(),
                rank: u32::from(!term.is_leaf() && place(term).is_none()),
                level: self.level(graph, term),
            };
            let first = first_in.get(id).copied();
            let written = of_class.iter().position(|term| match first {
                Some(_) => place(term) == first,
                None => term.is_leaf(),
            });
            let choices = of_class.iter().map(choice).collect();
            classes.push(Class { choices, before: first.map(|first| first.0 + 1), written });
            terms.push(of_class);
        }
        let roots = |forward: bool| -> Vec<usize> {
            let roots = self.roots(used).filter(|id| used.forward[index(*id)] == forward);
            roots.map(|id| number[&self.class(id)]).collect()
        };
        let forward = dag::extract(&classes, &roots(true));
        // The backward pass is given what the forward pass computes.
        let levels = dag::levels(&classes, &forward);
        let mut kept = vec![false; ids.len()];
        for &id in &self.nodes {
            kept[number[&self.class(id)]] |= used.kept[index(id)];
        }
        for (&class, level) in &levels {
            let is_kept = kept[class] || terms[class].iter().any(Term::is_leaf);
            let cost = if is_kept { 0 } else { cost::saved(&self.terms[ids[class]].data) };
            let given = Choice { cost, operands: vec![], rank: 0, level: *level };
            classes[class] = Class { choices: vec![given], ..classes[class].clone() };
            classes[class].written = Some(0);
        }
        let mut chosen: Chosen = dag::extract(&classes, &roots(false));
        chosen.extend(forward);
        let term = |(class, choice): (usize, usize)| (ids[class], terms[class][choice].clone());
        chosen.into_iter().map(term).collect()
    }

    /// Nodes that are used elsewhere, or in another part of a region that was cut.
    fn roots(&self, used: &Used) -> impl Iterator<Item = NodeId> {
        let own = |id: &NodeId| self.uses.get(id).copied().unwrap_or(0);
        let is_root =
            move |id: &NodeId| used.outside[index(*id)] || used.inside[index(*id)] > own(id);
        self.nodes.iter().copied().filter(is_root)
    }

    /// When a leaf is known: after what stands before it. What a delay gives is always known.
    fn level(&self, graph: &Graph, term: &Term) -> u32 {
        let Term::Leaf(leaf) = term else { return 0 };
        let id = self.leaves[&leaf.name];
        if graph.node(id).op.is_delay() { 0 } else { id.0 + 1 }
    }
}

/// What is a literal needs no other term. Zero would else be a product with everything.
fn prune_literals(terms: &mut Terms) {
    for class in terms.classes_mut().filter(|class| class.data.value.constant.is_some()) {
        if class.nodes.iter().any(Term::is_leaf) {
            class.nodes.retain(Term::is_leaf);
        }
    }
}

fn term(op: &Op, ids: Vec<Id>) -> Term {
    match (op, &ids[..]) {
        (Op::Map(Pointwise::Neg), [x]) => Term::Neg([*x]),
        _ => Term::Operation(Operation::new(op.clone()), ids),
    }
}

/// The operands of commutative operations in the order of their classes.
fn sorted(mut term: Term) -> Term {
    if let Term::Operation(operation, ids) = &mut term
        && is_commutative(&operation.op)
    {
        ids.sort_unstable();
    }
    term
}

/// Puts the chosen terms into the graph.
struct Rebuild<'a> {
    graph: &'a mut Graph,
    region: &'a Region,
    chosen: BTreeMap<Id, Term>,
    /// The first node that was written as a term.
    written: HashMap<Term, NodeId>,
    /// Where a class comes from in the source, and what it is called there.
    sources: HashMap<Id, (Option<Span>, Option<Arc<str>>)>,
    made: HashMap<Id, NodeId>,
}

impl<'a> Rebuild<'a> {
    fn new(graph: &'a mut Graph, region: &'a Region, chosen: BTreeMap<Id, Term>) -> Rebuild<'a> {
        let (mut written, mut sources) = (HashMap::new(), HashMap::new());
        for &id in &region.nodes {
            written.entry(sorted(region.written(graph, id))).or_insert(id);
            let Node { span, name, .. } = graph.node(id);
            let (_, known) = sources.entry(region.class(id)).or_insert((*span, None));
            *known = known.take().or(name.clone());
        }
        Rebuild { graph, region, chosen, written, sources, made: HashMap::new() }
    }

    /// Tells what each root of the region now is.
    fn roots(mut self, used: &Used, meant: &mut [NodeId]) {
        for id in self.region.roots(used) {
            let made = self.class(self.region.class(id));
            // What was a stream and is no longer stays: its users count on it.
            if self.graph.ty(made) == self.graph.ty(id) {
                meant[index(id)] = made;
            }
        }
    }

    fn class(&mut self, class: Id) -> NodeId {
        if let Some(made) = self.made.get(&class) {
            return *made;
        }
        let term = self.chosen[&class].clone();
        let made = match (&term, term.operation()) {
            (Term::Leaf(leaf), _) => self.region.leaves[&leaf.name],
            (_, Some((op @ Op::Const(..), _))) => self.literal(op),
            _ => self.operation(&term),
        };
        if let Some((span, name)) = self.sources.get(&class)
            && !term.is_literal()
        {
            let node = self.graph.node_mut(made);
            node.span = node.span.or(*span);
            node.name = node.name.take().or(name.clone());
        }
        self.made.insert(class, made);
        made
    }

    fn literal(&mut self, op: &Op) -> NodeId {
        let dims = self.graph.ty(self.region.nodes[0]).dims.clone();
        let number = self.push(op.clone(), vec![]);
        if dims.is_empty() { number } else { self.push(Op::Broadcast(dims), vec![number]) }
    }

    /// The operation as it was written, if it was and its operands are as they were.
    fn operation(&mut self, term: &Term) -> NodeId {
        let was = self.written.get(term).copied();
        let (op, classes) = match (was, term) {
            (Some(was), _) => {
                let node = self.graph.node(was);
                let classes = node.args.iter().map(|arg| self.region.class(*arg)).collect();
                (node.op.clone(), classes)
            }
            (None, Term::Operation(operation, ids)) => (operation.op.clone(), ids.clone()),
            (None, term) => (Op::Map(Pointwise::Neg), term.children().to_vec()),
        };
        let args: Vec<NodeId> = classes.into_iter().map(|class| self.class(class)).collect();
        match was {
            Some(was) if self.is_same(&self.graph.node(was).args, &args) => was,
            _ => self.push(op, args),
        }
    }

    /// Equal, or literals of equal value.
    fn is_same(&self, was: &[NodeId], args: &[NodeId]) -> bool {
        let number = |id: NodeId| self.graph.as_number(id).map(Number);
        let same =
            |(a, b): (&NodeId, &NodeId)| a == b || number(*a).is_some() && number(*a) == number(*b);
        was.iter().zip(args).all(same)
    }

    /// The laws keep types, and the operands come from a graph that was verified: what does not fit
    /// together is a bug of a law.
    #[track_caller]
    fn push(&mut self, op: Op, args: Vec<NodeId>) -> NodeId {
        let types: Vec<&Type> = args.iter().map(|arg| self.graph.ty(*arg)).collect();
        let ty = op.infer(&types).unwrap_or_else(|error| panic!("{op:?} {error}"));
        self.graph.push(Node { op, args, ty, span: None, name: None })
    }
}
