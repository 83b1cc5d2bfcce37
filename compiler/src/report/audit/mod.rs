//! The gradient audit of a checked program: where gradients are cut, injected, bypassed and reset, who
//! gets one, and what is likely a mistake.
//!
//! It reads the graph in the normal form of the calculus, in which each surrogate is one `bypass`,
//! and what is proved of ranges. `WARNINGS` is the table of what it warns of; a comment
//! `// fgic: allow(W002)` on the line of a warning or on the line before silences it.

mod allow;
mod decisions;
mod likely;
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
use crate::ir::graph::{Clock, Elem, Facts, Graph, Node, NodeId, Op, Param, ParamKind, Role};
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

/// All warnings about what a program computes; W005 is about comments.
pub(crate) const WARNINGS: [Warning; 6] = [
    Warning { code: "W001", find: parameters_without_gradient },
    Warning { code: "W002", find: decisions::decisions_without_surrogate },
    Warning { code: "W003", find: surrogates_of_zero },
    Warning { code: "W004", find: derivatives_without_bound },
    Warning { code: "W006", find: likely::stretched_both },
    Warning { code: "W007", find: likely::smooth_in_place_of_spikes },
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
    /// For each node of `written`, the one of the checked graph.
    numbers: Vec<NodeId>,
    /// For each file, whether it is one of the standard library.
    is_library: Vec<bool>,
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
        let number = |id| NodeId(compact.node(id).span.map_or(0, |span: Span| span.start));
        let numbers: Vec<NodeId> = compact.ids().map(number).collect();
        let spans = |id: &NodeId| places.nodes.get(id.0 as usize).map_or(&[][..], |spans| spans);
        let spans = numbers.iter().map(spans).collect();
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
            numbers,
            is_library: sources.iter().map(is_standard).collect(),
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

    /// Where the operands of a pointwise operation are written, as far as it was written as one.
    fn operands(&self, node: &Node) -> &[Span] {
        let number = node.span.and_then(|number| self.numbers.get(number.start as usize));
        number.and_then(|number| self.places.operands.get(number)).map_or(&[], Vec::as_slice)
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
        self.is_library.get(span.file.0 as usize).is_some_and(|is_library| *is_library)
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
    /// The nodes of each parameter.
    params: Vec<Vec<NodeId>>,
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
        let params = vec![Vec::new(); graph.params.len()];
        let mut flow =
            Flow { graph, len, zero, params, users, live: none(), wanted: none(), matters: none() };
        for id in flow.ids() {
            if let Op::Param(index) = flow.graph.node(id).op {
                flow.params[index].push(id);
            }
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
        let own = &subject.normal.params[index];
        let is_used = !subject.written.params[index].is_empty();
        let has_gradient = own.iter().any(|id| subject.normal.matters(*id));
        let is_trained = param.kind == ParamKind::Trained;
        let is_state = param.kind == ParamKind::State;
        if has_gradient || is_state || is_used && !(is_trained && subject.has_loss) {
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
        let cuts = cuts(subject, own.clone());
        let places: BTreeSet<Span> = cuts.iter().map(|(place, _)| *place).collect();
        let warning = places
            .into_iter()
            .take(MAX_CUTS)
            .fold(warning, |warning, cut| warning.label(cut, "the gradient is cut here"));
        let missing = format!("use it in what {from} is computed from");
        let hint =
            cuts.iter().map(|(_, cut)| *cut).min().map_or(missing.as_str(), |cut| cut.hint());
        found.push(warning.hint(format!("{hint}; what is not to be trained is `fixed`")));
    }
    found
}

/// The most places that are shown where a gradient is cut.
const MAX_CUTS: usize = 3;

/// How a gradient is cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cut {
    /// In the derivative of an injection, or the value of a bypass.
    Surrogate,
    /// By a surrogate that is zero everywhere.
    Zero,
    Stop,
    Decision,
}

impl Cut {
    /// What lets a gradient through.
    fn hint(self) -> &'static str {
        match self {
            Cut::Surrogate => {
                "of a surrogate only x in `inject(x, f, d)` and g in `bypass(f, g)` have a gradient: f and d are values"
            }
            Cut::Zero => "move or widen the surrogate, so that it covers the values that occur",
            Cut::Stop => "let the gradient through, without the `sg`",
            Cut::Decision => "let a gradient through, by a surrogate (`bypass`, `inject`)",
        }
    }
}

/// Where and how a gradient on its way back to these nodes is cut.
fn cuts(subject: &Subject, to: Vec<NodeId>) -> BTreeSet<(Span, Cut)> {
    let flow = &subject.normal;
    let affected = flow.affected(to);
    let is_cut = |id: &NodeId| {
        let mut args = flow.graph.node(*id).args.iter();
        !affected[id.0 as usize] && args.any(|arg| affected[arg.0 as usize])
    };
    // Among them the derivatives that injections multiply with.
    let operands = subject.surrogates.iter().map(|one| flow.graph.node(one.node).args[1]);
    let of_surrogates: BTreeSet<NodeId> =
        operands.flat_map(|gradient| singular::pointwise(&flow.graph, gradient)).collect();
    let cut = |id: NodeId| {
        let node = flow.graph.node(id);
        let is_stop = node.op == Op::Sg;
        let how = if flow.zero.contains(&id) {
            Cut::Zero
        } else if node.op == Op::Bypass || is_stop && of_surrogates.contains(&id) {
            Cut::Surrogate
        } else if is_stop {
            Cut::Stop
        } else {
            Cut::Decision
        };
        (subject.place(node), how)
    };
    flow.ids().filter(is_cut).map(cut).collect()
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
        let why = match witness.overflows {
            true => "`exp` overflows above 88, and a quotient of infinities is NaN",
            false => {
                "quotients, roots, logarithms and powers have no derivative where their operand is 0: keep it from 0, as \
                 in `max(…, 1e-3)`, or choose another value there by an `if`"
            }
        };
        Some(warning.hint(format!("{why}; the functions of `surrogate` are finite everywhere")))
    });
    let surrogates: Vec<_> = surrogates.collect();
    let others = singular::singular(subject).into_iter();
    let others = others.filter(|pole| !of_surrogates.contains(&pole.node)).map(|pole| {
        let text = subject.text_of(graph.node(pole.operand));
        Diagnostic::warning("W004", "a derivative can be infinite or NaN")
            .label(
                subject.place(graph.node(pole.node)),
                format!("{}, and `{text}` can be that", pole.why),
            )
            .hint(pole.remedy.hint(&text))
    });
    surrogates.into_iter().chain(others).collect()
}
