//! The gradient audit of a checked program: where gradients are cut, injected, bypassed and reset, who
//! gets one, and what is likely a mistake.
//!
//! It reads the graph in the normal form of the calculus, in which each surrogate is one `bypass`,
//! and what is proved of ranges. [`WARNINGS`] is the table of what it warns of; a comment
//! `// fgic: allow(W002)` on the line of a warning or on the line before silences it.

mod allow;
mod listing;
mod singular;
mod surrogate;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::front::check::{Checked, Places, is_standard, sort};
use crate::ir::graph::dependence::{carries_derivative, reachable};
use crate::ir::graph::facts::Sums;
use crate::ir::graph::{Clock, Elem, Facts, Graph, Node, NodeId, Op, Param, Pointwise, Role};
use crate::middle::surrogate::simplify;
use crate::source::{FileId, Sources, Span};
pub use allow::warning_code;
pub use listing::Entry;
use surrogate::Surrogate;

/// What is found in a program.
#[derive(Debug, Default)]
pub struct Audit {
    /// What there is to know of gradients, in the order of the text.
    pub entries: Vec<Entry>,
    /// In the order of the text, without those that comments silence.
    pub warnings: Vec<Diagnostic>,
}

/// What the audit warns of.
pub struct Warning {
    /// Its page and title are in the index ([`crate::codes`]).
    pub code: &'static str,
    find: fn(&Subject) -> Vec<Diagnostic>,
}

/// All warnings about gradients.
pub const WARNINGS: [Warning; 4] = [
    Warning { code: "W001", find: parameters_without_gradient },
    Warning { code: "W002", find: decisions_without_surrogate },
    Warning { code: "W003", find: surrogates_of_zero },
    Warning { code: "W004", find: derivatives_without_bound },
];

/// Audits a checked program; one with errors has nothing to audit.
pub fn audit(checked: &Checked) -> Audit {
    let Some(graph) = &checked.graph else { return Audit::default() };
    let subject = Subject::new(graph, &checked.places, &checked.sources);
    let allowed = allow::read(&checked.sources);
    let mut warnings: Vec<_> = WARNINGS.iter().flat_map(|w| (w.find)(&subject)).collect();
    warnings.retain(|warning| !allowed.silences(&checked.sources, warning));
    warnings.extend(allowed.unknown);
    sort(&mut warnings);
    Audit { entries: listing::entries(&subject), warnings }
}

/// A graph as the audit sees it.
struct Subject<'a> {
    sources: &'a Sources,
    places: &'a Places,
    params: &'a [Param],
    /// For each node of `written`, what it was written as, and the calls around it from the inside out.
    spans: Vec<&'a [Span]>,
    written: Flow,
    /// In normal form, with the derivatives of the surrogates appended.
    normal: Flow,
    /// Of the normal form.
    facts: Facts,
    surrogates: Vec<Surrogate>,
    /// The outputs whose gradients are asked about.
    objectives: Vec<String>,
    /// There is a scalar among the outputs.
    has_loss: bool,
}

impl<'a> Subject<'a> {
    fn new(graph: &'a Graph, places: &'a Places, sources: &'a Sources) -> Subject<'a> {
        let (objectives, has_loss) = objectives(graph);
        let compact = numbered(graph).compact();
        let number = |id| compact.node(id).span.map_or(0, |span: Span| span.start as usize);
        let spans = |id| places.nodes.get(number(id)).map_or(&[][..], |spans| spans);
        let spans = compact.ids().map(spans).collect();
        let written = numbered(&compact);
        let mut normal = simplify(&written).0;
        let ends = [written.len(), normal.len()];
        let surrogates = surrogate::differentiated(&mut normal);
        let facts = Facts::taking(&normal, Sums::StayFinite);
        let zero = surrogates.iter().filter(|one| one.is_zero(&facts)).map(|one| one.node);
        let normal = Flow::new(normal, ends[1], zero.collect(), &objectives);
        let written = Flow::new(written, ends[0], BTreeSet::new(), &objectives);
        let params = &graph.params;
        Subject {
            sources,
            places,
            params,
            spans,
            written,
            normal,
            facts,
            surrogates,
            objectives,
            has_loss,
        }
    }

    /// What a node was written as, and the calls around it from the inside out.
    fn spans(&self, node: &Node) -> &[Span] {
        let number = node.span.map(|span| span.start as usize);
        number.and_then(|number| self.spans.get(number)).map_or(&[], |spans| spans)
    }

    /// Where a node is written in the program itself: in the library, it is the call of it.
    fn place(&self, node: &Node) -> Span {
        self.in_program(self.spans(node))
    }

    fn in_program(&self, spans: &[Span]) -> Span {
        let own = spans.iter().find(|span| !self.is_library(**span));
        own.or(spans.first()).copied().unwrap_or_default()
    }

    fn is_library(&self, span: Span) -> bool {
        self.sources.get(span.file).is_some_and(is_standard)
    }

    /// A text of the program, on one line.
    fn text(&self, span: Span) -> String {
        self.sources.text(span).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The text of a node as it is written, where it is written.
    fn text_of(&self, node: &Node) -> String {
        self.spans(node).first().map_or_else(String::new, |span| self.text(*span))
    }

    /// A part of an operation that is written as one, such as the logarithm of `logsumexp`.
    fn is_part(&self, flow: &Flow, id: NodeId) -> bool {
        let spans = self.spans(flow.graph.node(id));
        let is_same = |node: &Node| node.args.contains(&id) && self.spans(node) == spans;
        spans.is_empty() || flow.ids().any(|user| is_same(flow.graph.node(user)))
    }
}

/// How gradients flow through a graph. The span of a node is the number of what it was written as.
struct Flow {
    graph: Graph,
    /// The number of nodes without what is appended.
    len: usize,
    /// Surrogates that are zero everywhere.
    zero: BTreeSet<NodeId>,
    /// What depends on each node by the chain rule, directly.
    users: Vec<Vec<NodeId>>,
    /// Depends on an f32 parameter or input by the chain rule.
    live: Vec<bool>,
    /// Depends on a parameter so, or on an input where there is no parameter.
    wanted: Vec<bool>,
    /// An objective depends on it by the chain rule.
    matters: Vec<bool>,
}

impl Flow {
    fn new(graph: Graph, len: usize, zero: BTreeSet<NodeId>, objectives: &[String]) -> Flow {
        let none = Vec::new;
        let users = vec![Vec::new(); graph.len()];
        let mut flow =
            Flow { graph, len, zero, users, live: none(), wanted: none(), matters: none() };
        for id in flow.ids() {
            let operands: Vec<NodeId> = flow.carried(id).collect();
            operands.into_iter().for_each(|x| flow.users[x.0 as usize].push(id));
        }
        let of = |keep: fn(&Op) -> bool| -> Vec<NodeId> {
            flow.ids().filter(|id| keep(&flow.graph.node(*id).op)).collect()
        };
        let (params, inputs) =
            (of(|op| matches!(op, Op::Param(_))), of(|op| matches!(op, Op::Input(_))));
        let is_trained = !flow.graph.params.is_empty();
        let live = flow.affected([&params[..], &inputs].concat());
        flow.wanted = flow.affected(if is_trained { params } else { inputs });
        flow.live = live;
        let objectives = objectives.iter().filter_map(|name| flow.graph.root(Role::Output, name));
        flow.matters = flow.reached(objectives.collect());
        flow
    }

    fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.len as u32).map(NodeId)
    }

    fn param(&self, index: usize) -> Vec<NodeId> {
        self.ids().filter(|id| self.graph.node(*id).op == Op::Param(index)).collect()
    }

    fn is_live(&self, id: NodeId) -> bool {
        self.live[id.0 as usize]
    }

    fn is_wanted(&self, id: NodeId) -> bool {
        self.wanted[id.0 as usize]
    }

    fn matters(&self, id: NodeId) -> bool {
        self.matters[id.0 as usize]
    }

    /// As the chain rule says, but that a surrogate of zero carries nothing.
    fn carries(&self, id: NodeId, operand: usize) -> bool {
        carries_derivative(&self.graph, self.graph.node(id), operand) && !self.zero.contains(&id)
    }

    fn carried(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let operands = self.graph.node(id).args.iter().enumerate();
        operands.filter(move |(operand, _)| self.carries(id, *operand)).map(|(_, arg)| *arg)
    }

    /// What these nodes depend on by the chain rule.
    fn reached(&self, from: Vec<NodeId>) -> Vec<bool> {
        reachable(&self.graph, from, |id| self.carried(id).collect())
    }

    /// What depends on these nodes by the chain rule.
    fn affected(&self, by: Vec<NodeId>) -> Vec<bool> {
        reachable(&self.graph, by, |id| self.users[id.0 as usize].clone())
    }
}

/// The graph with the number of each node as its span.
fn numbered(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for id in graph.ids() {
        let number = id.0 as usize;
        graph.node_mut(id).span = Some(Span::new(FileId::default(), number, number));
    }
    graph
}

/// The names of the outputs that are to be differentiated, and whether they can be: `loss` or else all
/// scalars, or else everything.
fn objectives(graph: &Graph) -> (Vec<String>, bool) {
    let names = |keep: &dyn Fn(&Node) -> bool| -> Vec<String> {
        let outputs = graph.roots.iter().filter(|root| keep(graph.node(root.node)));
        outputs.map(|root| root.name.clone()).collect()
    };
    let is_scalar = |node: &Node| {
        node.ty.elem == Elem::F32 && node.ty.is_scalar() && node.ty.clock == Clock::Static
    };
    let mut scalars = names(&is_scalar);
    if scalars.iter().any(|name| name == "loss") {
        scalars = vec!["loss".into()];
    }
    match scalars.is_empty() {
        true => (names(&|node| node.ty.elem == Elem::F32), false),
        false => (scalars, true),
    }
}

/// `loss` or `loss, rate`, in backquotes.
fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn parameters_without_gradient(subject: &Subject) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, (param, spans)) in subject.params.iter().zip(&subject.places.params).enumerate() {
        let own = subject.normal.param(index);
        let is_used = !subject.written.param(index).is_empty();
        let has_gradient = own.iter().any(|id| subject.normal.matters(*id));
        if has_gradient || is_used && !subject.has_loss {
            continue;
        }
        let place = subject.in_program(spans);
        let warning =
            Diagnostic::warning("W001", format!("the parameter `{}` gets no gradient", param.path));
        if !is_used {
            let warning = warning.label(place, "no output needs it");
            found.push(warning.hint("remove it, or use it in what an output is computed from"));
            continue;
        }
        let from = list(&subject.objectives);
        let warning = warning.label(place, format!("no gradient of {from} arrives here"));
        let cuts = cuts(subject, own).into_iter();
        let warning =
            cuts.fold(warning, |warning, cut| warning.label(cut, "the gradient is cut here"));
        found.push(warning.hint(
            "let a gradient through, by a surrogate (`bypass`, `inject`) or without the `sg`; make what is not \
             to be trained an input or a number",
        ));
    }
    found
}

/// The most places that are shown where a gradient is cut.
const MAX_CUTS: usize = 3;

/// Where a gradient on its way back to these nodes is cut.
fn cuts(subject: &Subject, to: Vec<NodeId>) -> Vec<Span> {
    let flow = &subject.normal;
    let affected = flow.affected(to);
    let is_cut = |id: &NodeId| {
        let mut args = flow.graph.node(*id).args.iter();
        !affected[id.0 as usize] && args.any(|arg| affected[arg.0 as usize])
    };
    let place = |id| subject.place(flow.graph.node(id));
    let cuts: BTreeSet<Span> = flow.ids().filter(is_cut).map(place).collect();
    cuts.into_iter().take(MAX_CUTS).collect()
}

fn decisions_without_surrogate(subject: &Subject) -> Vec<Diagnostic> {
    let flow = &subject.written;
    let is_lost = |id: &NodeId| {
        let mut operands = decided(flow, *id).into_iter();
        flow.matters(*id) && operands.any(|x| !is_joined(flow, *id, x))
    };
    let found = flow.ids().filter(|id| subject.has_loss && is_lost(id)).map(|id| {
        let place = subject.place(flow.graph.node(id));
        let text = subject.text(place);
        Diagnostic::warning("W002", "a decision cuts the gradient of what is trained")
            .label(place, "changes in jumps: its derivative is zero")
            .hint(format!(
                "give it a surrogate: `bypass({text}, …)` or `inject(x, {text}, …)`; if no gradient is meant, say \
                 so: `sg({text})`"
            ))
    });
    found.collect()
}

/// What a decision without a derivative is made on that wants a gradient: a rounding, a sign, a number for a
/// comparison, a choice between what has no gradient itself.
fn decided(flow: &Flow, id: NodeId) -> Vec<NodeId> {
    let node = flow.graph.node(id);
    let mut todo = match node.op {
        Op::Map(Pointwise::ToF32) => node.args.clone(),
        Op::Map(Pointwise::Select) if !node.args[1..].iter().any(|x| flow.is_wanted(*x)) => {
            vec![node.args[0]]
        }
        Op::Map(op) if op.row().is_decision() => node.args.clone(),
        _ => return Vec::new(),
    };
    // Through booleans and integers to the real numbers that they are made of.
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    while let Some(id) = todo.pop().filter(|_| node.ty.elem == Elem::F32) {
        if seen.insert(id) {
            match flow.graph.ty(id).elem {
                Elem::F32 if flow.is_wanted(id) => found.push(id),
                Elem::F32 => {}
                _ => todo.extend(&flow.graph.node(id).args),
            }
        }
    }
    found
}

/// Whether a decision only goes where its operand `x` goes as well and takes the gradient: as in `x * f32(x > 0)` or
/// `x - floor(x)`.
fn is_joined(flow: &Flow, decision: NodeId, x: NodeId) -> bool {
    use Pointwise::{Add, Ceil, Div, Floor, Mul, Round, Sub};
    let graph = &flow.graph;
    let is_delay = |id: NodeId| graph.node(id).op.is_delay();
    let users = |id: NodeId| flow.users[id.0 as usize].iter().copied();
    let beside = reachable(graph, vec![x], |id| users(id).filter(|id| !is_delay(*id)).collect());
    let rounds = matches!(graph.node(decision).op, Op::Map(Floor | Ceil | Round));
    let (mut todo, mut seen) = (vec![decision], BTreeSet::new());
    while let Some(id) = todo.pop() {
        // What reaches an objective by itself is joined by nothing.
        if graph.roots.iter().any(|root| root.node == id) {
            return false;
        }
        for user in users(id).filter(|user| flow.matters(*user)) {
            let node = graph.node(user);
            let joins = match node.op {
                Op::Map(Mul | Div) => true,
                Op::Map(Add | Sub) => rounds,
                _ => false,
            };
            let mut others = node.args.iter().filter(|arg| **arg != id);
            let is_alone = !others.clone().any(|arg| flow.is_wanted(*arg));
            if joins && others.any(|arg| beside[arg.0 as usize]) {
                continue;
            }
            if !is_alone || is_delay(user) || matches!(node.op, Op::Reduce(..) | Op::TimeReduce(_))
            {
                return false;
            }
            if seen.insert(user) {
                todo.push(user);
            }
        }
    }
    true
}

fn surrogates_of_zero(subject: &Subject) -> Vec<Diagnostic> {
    let graph = &subject.normal.graph;
    let range = |x: NodeId| {
        let fact = subject.facts.at(x);
        let text = subject.text_of(graph.node(x));
        match (fact.low > -MAX, fact.high < MAX) {
            (true, true) => Some(format!("`{text}` is between {} and {}", fact.low, fact.high)),
            (true, false) => Some(format!("`{text}` is at least {}", fact.low)),
            (false, true) => Some(format!("`{text}` is at most {}", fact.high)),
            (false, false) => None,
        }
    };
    let zero = subject.surrogates.iter().filter(|one| subject.normal.zero.contains(&one.node));
    let found = zero.map(|one| {
        let warning = Diagnostic::warning("W003", "a surrogate gradient is zero everywhere")
            .label(subject.place(graph.node(one.node)), "nothing before this gets a gradient")
            .hint("move or widen the surrogate, so that it covers the values that occur");
        one.slopes.iter().filter_map(|(x, _)| range(*x)).fold(warning, Diagnostic::note)
    });
    found.collect()
}

const MAX: f64 = f32::MAX as f64;

fn derivatives_without_bound(subject: &Subject) -> Vec<Diagnostic> {
    let graph = &subject.normal.graph;
    let mut of_surrogates = BTreeSet::new();
    let surrogates = subject.surrogates.iter().filter_map(|one| {
        let witness = one.witness(graph, &subject.facts)?;
        of_surrogates.extend(singular::pointwise(graph, graph.node(one.node).args[1]));
        let is = if witness.slope.is_nan() { "NaN" } else { "infinite" };
        let variable = graph.node(witness.variable);
        let name = variable.name.as_deref().and_then(|name| name.rsplit('.').next());
        let name = name.map_or_else(|| subject.text_of(variable), str::to_string);
        let label = format!("it is {is} where `{name}` is {}", witness.value);
        let warning =
            Diagnostic::warning("W004", format!("the derivative of a surrogate can be {is} in f32"))
                .label(subject.place(graph.node(one.node)), label);
        Some(warning.hint(
            "`exp` overflows above 88, and a quotient of infinities is NaN; the functions of `surrogate` are finite \
             everywhere",
        ))
    });
    let surrogates: Vec<_> = surrogates.collect();
    let others = singular::singular(subject).into_iter();
    let others = others.filter(|(id, ..)| !of_surrogates.contains(id)).map(|(id, x, why)| {
        let text = subject.text_of(graph.node(x));
        Diagnostic::warning("W004", "a derivative can be infinite or NaN")
            .label(subject.place(graph.node(id)), format!("{why}, and `{text}` can be that"))
            .hint(
                "add a small number, or keep the operand where the derivative is finite, by `max`, `clamp` or an \
                 `if`",
            )
    });
    surrogates.into_iter().chain(others).collect()
}
