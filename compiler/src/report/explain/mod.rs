//! What the calculus makes of a binding, and the proof: for people.
//!
//! The binding is taken with what it is computed from, down to other bindings, `prev` and inputs: a
//! graph of its own, whose normal form, value and gradients are written in the language again. The
//! laws then have to prove in an e-graph that the normal form is equal to what was written.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use egg::{FlatTerm, Id, Runner, SimpleScheduler};

use crate::front::check::{Places, closest};
use crate::front::syntax::ast::{BinaryOp, Expr, ExprKind, UnaryOp};
use crate::front::syntax::{expr_to_lines, expr_to_string};
use crate::ir::graph::dependence::live;
use crate::ir::graph::syntax::{self, Written, call, written};
use crate::ir::graph::{
    Builder, Declared, Elem, Graph, Input, Node, NodeId, Op, Pointwise, Reduction, Role, Root,
};
use crate::middle::autodiff;
use crate::middle::surrogate::analysis::{Facts, Terms};
use crate::middle::surrogate::encode::encode;
use crate::middle::surrogate::language::Term;
use crate::middle::surrogate::{LAWS, Law, Numeric, Phase, extract, simplify, untimed};
use crate::source::Span;

/// A binding, explained.
pub struct Explanation {
    /// The path of instances and the name.
    pub path: String,
    /// The name as the expressions have it.
    name: String,
    /// The expression in the program.
    pub span: Span,
    /// As written, with functions inlined.
    written: Written,
    normal: Written,
    /// What the forward pass computes.
    value: Written,
    /// The name of the gradient that the binding receives.
    cotangent: String,
    /// What the backward pass sends to each name.
    gradients: Vec<(String, Written)>,
    proof: Proof,
}

enum Proof {
    /// It was in normal form as it was written.
    AsWritten,
    Steps {
        /// What the steps have short names for.
        names: Vec<(String, Expr)>,
        steps: Vec<Step>,
    },
    /// The laws would prove it, but the search ended at its limit.
    TooLong,
}

/// One use of a law.
struct Step {
    law: &'static Law,
    /// The law was used from right to left.
    reversed: bool,
    /// The part that it was used on, and what became of it.
    before: Expr,
    after: Expr,
    /// All of the expression afterwards.
    whole: Expr,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The graph has no binding of this path.
    #[error("the graph has no binding `{path}`{hint}")]
    Unknown {
        /// The path asked for.
        path: String,
        /// The closest one that there is, as the end of the message; may be empty.
        hint: String,
    },
    /// The binding is no part of what the outputs are computed from.
    #[error("no output of the graph needs `{0}`, so nothing is computed for it")]
    Unneeded(String),
}

/// The laws that make few new terms. All of them together let an e-graph grow without bound.
const FRUGAL: &[&str] = &[
    "sg-sg",
    "sg-stopped",
    "sg-operation",
    "sg-bypass",
    "bypass-same",
    "bypass-left",
    "bypass-right",
    "bypass-stopped",
    "neg-neg",
    "neg-left",
    "neg-right",
    "sum-zero",
    "sum-order",
    "order",
];
const MAX_TERMS: usize = 20_000;
const MAX_ITERATIONS: usize = 30;
/// Proofs from e-graphs of more terms than this are not made shorter.
const SHORTENED: usize = 4_000;

/// Explains the binding of this path in a checked graph.
pub fn explain(graph: &Graph, places: &Places, path: &str) -> Result<Explanation, ExplainError> {
    let binding = places.bindings.iter().find(|binding| binding.path == path);
    let Some(binding) = binding else {
        let paths = places.bindings.iter().map(|binding| binding.path.as_str());
        let hint = closest(path, paths).map(|likely| format!("; did you mean `{likely}`?"));
        return Err(ExplainError::Unknown { path: path.into(), hint: hint.unwrap_or_default() });
    };
    let node = binding.node.ok_or_else(|| ExplainError::Unneeded(path.into()))?;
    let names = Names::new(graph, places, path);
    // What other bindings hold is only looked into as far as something of it cancels here.
    let near = extract::near_surrogates(graph, &[]);
    let live = live(graph);
    let none = |_: NodeId| false;
    let without_surrogate = |id: NodeId| live[id.0 as usize] && !near[id.0 as usize];
    let any = |id: NodeId| live[id.0 as usize];
    let cuts: [&dyn Fn(NodeId) -> bool; 3] = [&any, &without_surrogate, &none];
    let parts = cuts.map(|is_cut| part(graph, node, &names, is_cut));
    let is_enough = |part: &&Part| is_faithful(graph, node, part);
    let Part { graph: local, normal, .. } = parts.iter().find(is_enough).unwrap_or(&parts[2]);
    let proof = untimed(|| prove(local, normal, &names));
    let write = |graph: &Graph| written(graph, value_of(graph), &|id| names.of(graph, id));
    let name = names.short(path);
    let cotangent = names.fresh(&format!("d{name}"));
    Ok(Explanation {
        written: write(local),
        normal: write(normal),
        value: write(&autodiff::erase(normal.clone())),
        gradients: gradients(normal.clone(), &cotangent, &names),
        path: path.into(),
        span: binding.span,
        name,
        cotangent,
        proof,
    })
}

/// The root that stands for the binding.
const VALUE: &str = "the binding";

fn value_of(graph: &Graph) -> NodeId {
    graph.root(Role::Output, VALUE).unwrap_or(NodeId(0))
}

/// Names as a binding's own body sees them.
pub(crate) struct Names {
    /// `h.` of `h.u`.
    scope: String,
    paths: BTreeSet<String>,
}

impl Names {
    pub(crate) fn new(graph: &Graph, places: &Places, path: &str) -> Names {
        let bindings = places.bindings.iter().map(|binding| binding.path.clone());
        let params = graph.params.iter().map(|param| param.path.clone());
        let inputs = graph.inputs.iter().map(|input| input.name.clone());
        let scope = path.rfind('.').map_or(String::new(), |dot| path[..=dot].into());
        Names { scope, paths: bindings.chain(params).chain(inputs).collect() }
    }

    /// The name without the instance that is explained, unless that is another's name.
    fn short(&self, path: &str) -> String {
        match path.strip_prefix(&self.scope) {
            Some(short) if !self.paths.contains(short) => short.into(),
            _ => path.into(),
        }
    }

    /// The name of a node, if it has one of the program's.
    pub(crate) fn of(&self, graph: &Graph, id: NodeId) -> Option<String> {
        let node = graph.node(id);
        if let Some(declared) = graph.declared(&node.op) {
            return Some(self.short(declared.name()));
        }
        let name = node.name.as_deref().filter(|name| self.paths.contains(*name))?;
        graph.as_number(id).is_none().then(|| self.short(name))
    }

    /// A name that nothing else has.
    fn fresh(&self, name: &str) -> String {
        let path = format!("{}{name}", self.scope);
        let is_taken = self.paths.contains(name) || self.paths.contains(&path);
        if is_taken { format!("{name}_") } else { name.into() }
    }
}

/// A node and what it is computed from, down to inputs, parameters, `prev` and the named nodes that are
/// to be cut off.
struct Part {
    /// What is cut off is an input.
    graph: Graph,
    normal: Graph,
    /// The inputs by name, and what they are in the whole graph.
    leaves: BTreeMap<String, NodeId>,
}

/// Whether the normal form of a part computes forward what that of the whole graph does.
fn is_faithful(graph: &Graph, root: NodeId, part: &Part) -> bool {
    let output = |name: &str, node| Root { name: name.into(), role: Role::Output, node };
    let mut whole = graph.clone();
    whole.roots = part.leaves.iter().map(|(name, node)| output(name, *node)).collect();
    whole.roots.push(output(VALUE, root));
    let mut whole = simplify(&whole).0;
    let mut new: Vec<NodeId> = Vec::new();
    for id in part.normal.ids() {
        let node = part.normal.node(id);
        let leaf = part.normal.declared(&node.op).and_then(|leaf| match leaf {
            Declared::Input(input) => whole.root(Role::Output, &input.name),
            Declared::Param(_) => None,
        });
        new.push(leaf.unwrap_or_else(|| {
            let args = node.args.iter().map(|arg| new[arg.0 as usize]).collect();
            whole.push(Node { args, ..node.clone() })
        }));
    }
    let again = new[value_of(&part.normal).0 as usize];
    whole.roots = vec![output("whole", value_of(&whole)), output("part", again)];
    let erased = autodiff::erase(whole);
    erased.roots[0].node == erased.roots[1].node
}

fn part(graph: &Graph, root: NodeId, names: &Names, is_cut: &dyn Fn(NodeId) -> bool) -> Part {
    let leaf = |id: NodeId| {
        let node = graph.node(id);
        let delayed = || delayed_name(graph, node, names);
        if node.op.is_delay() {
            return Some(delayed());
        }
        let is_named = graph.declared(&node.op).is_some()
            || id != root && node.ty.elem == Elem::F32 && is_cut(id);
        if is_named { names.of(graph, id) } else { None }
    };
    let mut needed = BTreeSet::new();
    let mut todo = vec![root];
    while let Some(id) = todo.pop() {
        if needed.insert(id) && leaf(id).is_none() {
            todo.extend(&graph.node(id).args);
        }
    }
    let mut part = Graph::default();
    part.time = graph.time.clone();
    let mut leaves: BTreeMap<String, NodeId> = BTreeMap::new();
    let mut new: HashMap<NodeId, NodeId> = HashMap::new();
    for id in needed {
        let node = graph.node(id);
        let made = match leaf(id) {
            Some(name) => match leaves.get(&name) {
                Some(known) => new[known],
                None => {
                    leaves.insert(name.clone(), id);
                    part.inputs.push(Input { name, ty: node.ty.clone(), docs: String::new() });
                    let op = Op::Input(part.inputs.len() - 1);
                    part.push(Node { op, args: vec![], name: None, ..node.clone() })
                }
            },
            None => {
                let args = node.args.iter().map(|arg| new[arg]).collect();
                part.push(Node { args, ..node.clone() })
            }
        };
        new.insert(id, made);
    }
    part.roots.push(Root { name: VALUE.into(), role: Role::Output, node: new[&root] });
    let normal = simplify(&part).0;
    Part { graph: part, normal, leaves }
}

/// `prev(u)`, as an input of that name.
fn delayed_name(graph: &Graph, delay: &Node, names: &Names) -> String {
    let name = |id: NodeId| match graph.as_number(id) {
        Some(_) => None,
        None => Some(names.of(graph, id).unwrap_or_else(|| format!("{id:?}"))),
    };
    let operand = |id: NodeId| match name(id) {
        Some(name) => syntax::path(&name),
        None => written(graph, id, &name).value,
    };
    let x = operand(delay.args[0]);
    expr_to_string(&match graph.as_number(delay.args[1]) == Some(0.0) {
        true => call(delay.op.name(), [x]),
        false => syntax::operation(&delay.op, vec![x, operand(delay.args[1])]),
    })
}

/// What the backward pass sends to each input, given the gradient of the value.
fn gradients(mut graph: Graph, cotangent: &str, names: &Names) -> Vec<(String, Written)> {
    let value = value_of(&graph);
    let ty = graph.ty(value).clone();
    if ty.elem != Elem::F32 {
        return Vec::new();
    }
    let wrt: Vec<String> = graph
        .inputs
        .iter()
        .filter(|input| input.ty.elem == Elem::F32)
        .map(|input| input.name.clone())
        .collect();
    graph.inputs.push(Input { name: cotangent.into(), ty: ty.clone(), docs: String::new() });
    let given = Op::Input(graph.inputs.len() - 1);
    let mut b = Builder::new(&mut graph);
    let given = b.push(given, vec![]);
    let weighted = b.mul(given, value);
    let axes: Vec<usize> = (0..ty.dims.len()).collect();
    let mut loss = b.reduce(Reduction::Sum, weighted, &axes);
    if ty.is_stream() {
        loss = b.push(Op::TimeReduce(Reduction::Sum), vec![loss]);
    }
    graph.roots = vec![Root { name: VALUE.into(), role: Role::Output, node: loss }];
    let Ok(joint) = autodiff::differentiate(&graph, VALUE, &wrt) else { return Vec::new() };
    let gradient = |name: &String| {
        let root = joint.root(Role::Gradient, name)?;
        let is_zero = joint.as_number(root) == Some(0.0);
        (!is_zero).then(|| (name.clone(), written(&joint, root, &|id| names.of(&joint, id))))
    };
    wrt.iter().filter_map(gradient).collect()
}

/// Proves by the laws that a graph has the value and the derivative of its normal form.
fn prove(graph: &Graph, normal: &Graph, names: &Names) -> Proof {
    let mut terms = Terms::new(Facts).with_explanations_enabled();
    let roots = [graph, normal].map(|graph| {
        let classes = encode(graph, &mut terms);
        // A decision is the same of stopped operands: its own `sg` says so.
        for &class in classes.iter().filter(|class| terms[**class].data.stopped).collect::<Vec<_>>()
        {
            terms.add(Term::Sg([class]));
        }
        classes[value_of(graph).0 as usize]
    });
    terms.rebuild();
    if roots[0] == roots[1] {
        return Proof::AsWritten;
    }
    // The laws that make few new terms prove most; then all of them may try.
    let used = |law: &&Law| law.phases.contains(&Phase::Surrogate);
    let comparing = |law: &&Law| used(law) && FRUGAL.contains(&law.name);
    terms = search(terms, roots, LAWS.iter().filter(comparing));
    if terms.find(roots[0]) != terms.find(roots[1]) {
        terms = search(terms, roots, LAWS.iter().filter(used));
    }
    if terms.find(roots[0]) != terms.find(roots[1]) {
        return Proof::TooLong;
    }
    if terms.total_size() > SHORTENED {
        terms = terms.without_explanation_length_optimization();
    }
    let mut explanation = terms.explain_id_equivalence(roots[0], roots[1]);
    let terms = explanation.make_flat_explanation();
    let mut writer = TermWriter { names, short: Vec::new() };
    let steps = terms.windows(2).filter_map(|pair| step(&mut writer, &pair[0], &pair[1]));
    let steps: Vec<Step> = steps.filter(|step| step.before != step.after).collect();
    Proof::Steps { names: writer.short, steps }
}

/// Applies laws until two terms are equal.
fn search(terms: Terms, roots: [Id; 2], laws: impl Iterator<Item = &'static Law>) -> Terms {
    let runner = Runner::<Term, Facts>::new(Facts)
        .with_egraph(terms)
        .with_scheduler(SimpleScheduler)
        .with_node_limit(MAX_TERMS)
        .with_iter_limit(MAX_ITERATIONS)
        .with_hook(move |runner| {
            match runner.egraph.find(roots[0]) == runner.egraph.find(roots[1]) {
                true => Err("proved".into()),
                false => Ok(()),
            }
        });
    runner.run(&laws.filter_map(Law::rewrite).collect::<Vec<_>>()).egraph
}

/// The law that leads from one term to the next, which differ in one place.
fn step(writer: &mut TermWriter<'_>, from: &FlatTerm<Term>, to: &FlatTerm<Term>) -> Option<Step> {
    let (mut before, mut after) = (from, to);
    loop {
        let rule = after.forward_rule.map(|rule| (rule, false));
        if let Some((rule, reversed)) = rule.or(after.backward_rule.map(|rule| (rule, true))) {
            let law = LAWS.iter().find(|law| law.name == rule.as_str())?;
            let (before, after) = (writer.expression(before), writer.expression(after));
            return Some(Step { law, reversed, before, after, whole: writer.expression(to) });
        }
        let changed = after
            .children
            .iter()
            .position(|c| c.has_rewrite_forward() || c.has_rewrite_backward())?;
        (before, after) = (before.children.get(changed)?, &after.children[changed]);
    }
}

/// Functions of more operations than this have a short name in a proof.
const LONG: usize = 3;

/// Writes terms in the language. `tangent(g)`, which the language has no name for, is a call; a long
/// function, which the laws do not look into, is written once and named.
struct TermWriter<'a> {
    names: &'a Names,
    short: Vec<(String, Expr)>,
}

impl TermWriter<'_> {
    fn expression(&mut self, term: &FlatTerm<Term>) -> Expr {
        if !is_opaque(term) || operations(term) <= LONG {
            let args = term.children.iter().map(|child| self.expression(child)).collect();
            return spelled(term, args);
        }
        let value = in_full(term);
        let known = self.short.iter().position(|(_, known)| *known == value);
        let place = known.unwrap_or_else(|| {
            let name = self.names.fresh(&format!("f{}", self.short.len() + 1));
            self.short.push((name, value));
            self.short.len() - 1
        });
        syntax::path(&self.short[place].0)
    }
}

fn in_full(term: &FlatTerm<Term>) -> Expr {
    spelled(term, term.children.iter().map(in_full).collect())
}

fn spelled(term: &FlatTerm<Term>, mut args: Vec<Expr>) -> Expr {
    match &term.node {
        Term::Leaf(leaf) => syntax::path(&leaf.name),
        Term::Sg(_) => call("sg", args),
        Term::Bypass(_) => call("bypass", args),
        Term::Tangent(_) => call("tangent", args),
        Term::Neg(_) => syntax::operation(&Op::Map(Pointwise::Neg), args),
        Term::Sum(_) => sum(args),
        Term::Operation(operation, _) => {
            let is_broadcast = matches!(operation.op, Op::Broadcast(_)) && args.len() == 1;
            if is_broadcast { args.remove(0) } else { syntax::operation(&operation.op, args) }
        }
    }
}

/// Whether a term is a function with no surrogate in it.
fn is_opaque(term: &FlatTerm<Term>) -> bool {
    let operation = term.node.operation().map(|(op, _)| op);
    let is_linear = operation.is_none_or(|op| !op.linear_in(term.children.len()).is_empty());
    let is_choice = operation == Some(&Op::Map(Pointwise::Select));
    (!is_linear || is_choice) && is_plain(term)
}

fn is_plain(term: &FlatTerm<Term>) -> bool {
    !matches!(term.node, Term::Sg(_) | Term::Bypass(_) | Term::Tangent(_))
        && term.children.iter().all(is_plain)
}

fn operations(term: &FlatTerm<Term>) -> usize {
    let own = usize::from(!term.children.is_empty());
    own + term.children.iter().map(operations).sum::<usize>()
}

/// A sum in which what is subtracted comes last.
fn sum(args: Vec<Expr>) -> Expr {
    let negated = |expr: &Expr| matches!(expr.kind, ExprKind::Unary(UnaryOp::Neg, _));
    let (minus, mut plus): (Vec<Expr>, Vec<Expr>) = args.into_iter().partition(negated);
    let mut minus = minus.into_iter();
    if plus.is_empty() {
        plus.extend(minus.next());
    }
    let total = plus.into_iter().reduce(|a, b| syntax::binary(BinaryOp::Add, a, b));
    minus.fold(total.unwrap_or_else(|| syntax::path("0")), |total, part| {
        let ExprKind::Unary(UnaryOp::Neg, x) = part.kind else { return total };
        syntax::binary(BinaryOp::Sub, total, *x)
    })
}

/// The columns of a line.
const WIDTH: usize = 96;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation { name, cotangent, .. } = self;
        writeln!(f, "as written, with functions inlined")?;
        write_written(f, 4, &self.written)?;
        writeln!(f, "\nnormal form")?;
        write_written(f, 4, &self.normal)?;
        writeln!(f, "\nforward")?;
        write_written(f, 4, &self.value)?;
        match &self.gradients[..] {
            [] => writeln!(f, "\nbackward: nothing receives a gradient from {name}")?,
            gradients => {
                writeln!(f, "\nbackward, where {cotangent} is the gradient that {name} receives")?;
                for (name, gradient) in gradients {
                    writeln!(f, "    to {name}")?;
                    write_written(f, 8, gradient)?;
                }
            }
        }
        write!(f, "\n{}", self.proof)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, steps) = match self {
            Proof::AsWritten => return writeln!(f, "proof: it is in normal form as it is written"),
            Proof::TooLong => {
                return writeln!(
                    f,
                    "proof: none within {MAX_TERMS} terms; the tests cover this form"
                );
            }
            Proof::Steps { names, steps } => (names, steps),
        };
        writeln!(f, "proof, in steps of one law each")?;
        for (name, value) in names {
            write_lines(f, &format!("    {name} stands for "), "        ", value, "")?;
        }
        for (number, step) in steps.iter().enumerate() {
            let reversed = if step.reversed { ", from right to left" } else { "" };
            writeln!(f, "{:4}. {}{reversed}", number + 1, step.law.name)?;
            write_lines(f, "        ", "        ", &step.before, "")?;
            write_lines(f, "      = ", "        ", &step.after, "")?;
        }
        if let Some(last) = steps.last() {
            writeln!(f, "    which makes")?;
            write_lines(f, "        ", "        ", &last.whole, "")?;
        }
        let numeric =
            [Numeric::Exact, Numeric::Finite, Numeric::Reassociating, Numeric::Approximate];
        writeln!(f, "\nlaws used")?;
        for class in numeric {
            let mut names: Vec<&str> = steps
                .iter()
                .filter(|step| step.law.numeric == class)
                .map(|step| step.law.name)
                .collect();
            names.sort_unstable();
            names.dedup();
            if !names.is_empty() {
                writeln!(f, "    {:14} {}", class.name(), names.join(", "))?;
            }
        }
        if steps.iter().any(|step| step.law.numeric == Numeric::Reassociating) {
            writeln!(f, "What is left of a sum is computed in the order in which it was written.")?;
        }
        Ok(())
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<_> = self.phases.iter().map(|phase| phase.name()).collect();
        writeln!(f, "{}", self.name)?;
        for equation in self.equation.split(";  ") {
            writeln!(f, "    {equation}")?;
        }
        writeln!(f, "\n{}\n", self.reason)?;
        writeln!(f, "order    {}", self.order.name())?;
        writeln!(f, "numeric  {}", self.numeric.meaning())?;
        writeln!(f, "used     {}", phases.join("; "))
    }
}

fn write_written(f: &mut fmt::Formatter<'_>, indent: usize, written: &Written) -> fmt::Result {
    let margin = " ".repeat(indent);
    for (name, value) in &written.lets {
        write_lines(f, &format!("{margin}let {name} = "), &format!("{margin}    "), value, ";")?;
    }
    write_lines(f, &margin, &margin, &written.value, "")
}

/// An expression on as many lines as it needs, the first one after `first`, the others after `rest`.
fn write_lines(
    f: &mut fmt::Formatter<'_>,
    first: &str,
    rest: &str,
    expr: &Expr,
    end: &str,
) -> fmt::Result {
    let text = expr_to_lines(expr, WIDTH - first.len());
    for (number, line) in text.trim_end().lines().enumerate() {
        let newline = if number == 0 { first.to_string() } else { format!("\n{rest}") };
        write!(f, "{newline}{line}")?;
    }
    writeln!(f, "{end}")
}

#[cfg(test)]
mod tests;
