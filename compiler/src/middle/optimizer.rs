//! The optimiser's update, appended to a graph with gradients.
//!
//! The update functions are written in the language, in `std/optim.fgi`. A small program that calls one
//! for each trained parameter is checked, and its nodes are taken over: the parameters, their gradients
//! and the optimiser's memory in place of the program's inputs.

use std::collections::HashMap;

use crate::front::check;
use crate::ir::graph::{
    Builder, Clock, Dim, Elem, Graph, Init, Input, NodeId, Op, Param, ParamKind, Pointwise,
    Reduction, Role, Root, Type,
};
use crate::source::NoFiles;

/// The input of a program with updates that holds the learning rate, a scalar.
pub const LEARNING_RATE: &str = "optim.lr";
/// The input that holds the number of the update, from 1, a scalar f32. Not every optimiser has it.
pub const STEP: &str = "optim.step";

/// Which optimiser, and its settings. The learning rate is given at run time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// How much of the last direction is kept; 0 for none.
        momentum: f64,
        /// Times the parameter, added to its gradient.
        weight_decay: f64,
    },
    /// Kingma and Ba 2015.
    Adam {
        /// The decay of the mean of gradients.
        beta1: f64,
        /// The decay of the mean of their squares.
        beta2: f64,
        /// Added to the root of that mean.
        eps: f64,
        /// Times the parameter, added to its gradient.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW {
        /// The decay of the mean of gradients.
        beta1: f64,
        /// The decay of the mean of their squares.
        beta2: f64,
        /// Added to the root of that mean.
        eps: f64,
        /// Times learning rate and parameter, taken off the parameter.
        weight_decay: f64,
    },
    /// Adam with the greatest mean of squares so far (Reddi et al. 2018).
    AmsGrad {
        /// The decay of the mean of gradients.
        beta1: f64,
        /// The decay of the mean of their squares.
        beta2: f64,
        /// Added to the root of the greatest such mean.
        eps: f64,
        /// Times the parameter, added to its gradient.
        weight_decay: f64,
    },
}

/// What is another way for some parameters. In a pattern over their paths `*` stands for any text: `h.tau*`. Where
/// several match, the last one counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    /// Times the learning rate.
    pub rates: Vec<(String, f64)>,
    /// The weight decay.
    pub decays: Vec<(String, f64)>,
    /// Those that are not trained.
    pub frozen: Vec<String>,
}

impl Groups {
    /// Whether a parameter is not trained.
    pub(crate) fn is_frozen(&self, path: &str) -> bool {
        self.frozen.iter().any(|pattern| matches(pattern, path))
    }

    /// The first pattern that none of these parameters has.
    pub(crate) fn unmatched(&self, paths: &[&str]) -> Option<&str> {
        let numbered = self.rates.iter().chain(&self.decays).map(|(pattern, _)| pattern);
        let mut patterns = numbered.chain(&self.frozen).map(String::as_str);
        patterns.find(|pattern| !paths.iter().any(|path| matches(pattern, path)))
    }

    fn last(numbers: &[(String, f64)], path: &str) -> Option<f64> {
        let mut numbers = numbers.iter().rev();
        numbers.find(|(pattern, _)| matches(pattern, path)).map(|(_, number)| *number)
    }
}

/// Whether a text is of a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| matches(rest, &text[at..]))
        }),
    }
}

/// Why there is no update.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptimizerError {
    /// It has no fixed size, which the optimiser's memory needs.
    #[error("parameter `{0}` has open dimensions; give them values to train it")]
    OpenDims(String),
    /// A pattern over parameters is of none.
    #[error("no trained parameter is called `{pattern}`; there are {known}")]
    NoParameter {
        /// With `*` for any text.
        pattern: String,
        /// Some of the parameters' paths.
        known: String,
    },
    /// A bug: the library's own function does not compile.
    #[error("the update function of std/optim.fgi is not well-formed: {0}")]
    Function(String),
}

impl Optimizer {
    /// Adam with its usual settings.
    pub const ADAM: Optimizer =
        Optimizer::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };

    /// What the function in `std/optim.fgi` is called.
    pub fn name(&self) -> &'static str {
        match self {
            Optimizer::Sgd { momentum: 0.0, .. } => "sgd",
            Optimizer::Sgd { .. } => "momentum",
            Optimizer::Adam { .. } => "adam",
            Optimizer::AdamW { .. } => "adamw",
            Optimizer::AmsGrad { .. } => "amsgrad",
        }
    }

    /// The memory that it keeps of each parameter.
    fn memory(&self) -> &'static [&'static str] {
        match self {
            Optimizer::Sgd { momentum: 0.0, .. } => &[],
            Optimizer::Sgd { .. } => &["m"],
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => &["m", "v"],
            Optimizer::AmsGrad { .. } => &["m", "v", "s"],
        }
    }

    fn counts_steps(&self) -> bool {
        !matches!(self, Optimizer::Sgd { .. })
    }

    /// With another weight decay.
    fn with_decay(mut self, decay: f64) -> Optimizer {
        match &mut self {
            Optimizer::Sgd { weight_decay, .. }
            | Optimizer::Adam { weight_decay, .. }
            | Optimizer::AdamW { weight_decay, .. }
            | Optimizer::AmsGrad { weight_decay, .. } => *weight_decay = decay,
        }
        self
    }

    fn settings(&self) -> String {
        match self {
            Optimizer::Sgd { momentum: 0.0, weight_decay } => {
                format!("weight_decay = {weight_decay}")
            }
            Optimizer::Sgd { momentum, weight_decay } => {
                format!("momentum = {momentum}, weight_decay = {weight_decay}")
            }
            Optimizer::Adam { beta1, beta2, eps, weight_decay }
            | Optimizer::AdamW { beta1, beta2, eps, weight_decay }
            | Optimizer::AmsGrad { beta1, beta2, eps, weight_decay } => format!(
                "beta1 = {beta1}, beta2 = {beta2}, eps = {eps}, weight_decay = {weight_decay}"
            ),
        }
    }

    /// A program whose graph updates these tensors: inputs p0, g0, the memory, p1, …, lr and t; outputs
    /// the same with `_new`.
    fn program(&self, tensors: &[Updated]) -> String {
        let name = self.name();
        let scalars: &[&str] = if self.counts_steps() { &["t", "lr"] } else { &["lr"] };
        let mut inputs: Vec<String> = scalars.iter().map(|name| format!("{name}: []")).collect();
        let (mut outputs, mut body) = (Vec::new(), String::new());
        for (at, Updated { dims, rate, decay }) in tensors.iter().enumerate() {
            let settings = decay.map_or(*self, |decay| self.with_decay(decay)).settings();
            let tensor = |name: &&str| format!("{name}{at}");
            let tensors = ["p", "g"].iter().chain(self.memory()).map(tensor);
            inputs.extend(tensors.clone().map(|name| format!("{name}: {dims:?}")));
            let scaled = |name: &&str| match rate {
                Some(rate) if *name == "lr" => format!("{rate} * lr"),
                _ => name.to_string(),
            };
            let args = tensors.chain(scalars.iter().map(scaled));
            let args = args.collect::<Vec<_>>().join(", ");
            let new = ["p"].iter().chain(self.memory()).map(|name| format!("{name}{at}_new"));
            let new = new.collect::<Vec<_>>().join(", ");
            let pattern = if self.memory().is_empty() { new.clone() } else { format!("({new})") };
            body += &format!("    let {pattern} = {name}({args}, {settings});\n");
            outputs.push(new);
        }
        let (inputs, outputs) = (inputs.join(", "), outputs.join(", "));
        format!("use optim::{name};\ngraph update({inputs}) -> ({outputs}) {{\n{body}}}\n")
    }
}

/// A tensor that is updated, with what is another way for it.
struct Updated {
    dims: Vec<i64>,
    /// Times the learning rate.
    rate: Option<f64>,
    /// The weight decay.
    decay: Option<f64>,
}

/// The graph with the updates of every parameter that has a gradient, and of the optimiser's memory,
/// as roots of [`Role::Update`]. A parameter that the loss does not depend on has none: it is left
/// alone, without decay and without memory. A parameter with bounds is put back between them. With `clip` the
/// gradients are made shorter where their common norm is longer than that. `groups` are other rates and decays.
pub fn attach(
    graph: &Graph,
    optimizer: &Optimizer,
    clip: Option<f64>,
    groups: &Groups,
) -> Result<Graph, OptimizerError> {
    let mut graph = graph.clone();
    let trained: Vec<(usize, NodeId)> = (0..graph.params.len())
        .filter_map(|at| Some((at, graph.root(Role::Gradient, &graph.params[at].path)?)))
        .filter(|(_, gradient)| graph.as_number(*gradient) != Some(0.0))
        .collect();
    let mut builder = Builder::new(&mut graph);
    let factor = clip.and_then(|limit| clip_factor(&mut builder, &trained, limit));
    let mut given = HashMap::from([("lr".to_string(), scalar_input(&mut builder, LEARNING_RATE))]);
    if optimizer.counts_steps() {
        given.insert("t".into(), scalar_input(&mut builder, STEP));
    }
    if trained.is_empty() {
        return Ok(graph.compact());
    }
    let mut tensors = Vec::new();
    let mut updated = Vec::new();
    for (at, (index, gradient)) in trained.into_iter().enumerate() {
        let param = builder.graph().params[index].clone();
        let dims: Option<Vec<i64>> = param.dims.iter().map(Dim::as_const).collect();
        let dims = dims.ok_or_else(|| OptimizerError::OpenDims(param.path.clone()))?;
        let of = |numbers| Groups::last(numbers, &param.path);
        tensors.push(Updated { dims, rate: of(&groups.rates), decay: of(&groups.decays) });
        let gradient = factor.map_or(gradient, |factor| builder.mul(gradient, factor));
        given.insert(format!("g{at}"), gradient);
        given.insert(format!("p{at}"), builder.push(Op::Param(index), vec![]));
        updated.push((format!("p{at}_new"), param.path.clone(), param.bounds));
        for name in optimizer.memory() {
            let path = format!("{}.{name}/{}", optimizer.name(), param.path);
            given.insert(format!("{name}{at}"), memory_param(&mut builder, &path, &param.dims));
            updated.push((format!("{name}{at}_new"), path, None));
        }
    }
    let update = check_update(optimizer, &tensors)?;
    let new = splice(&mut builder, &update, &given);
    for (name, path, bounds) in updated {
        let node = *new
            .get(name.as_str())
            .ok_or_else(|| OptimizerError::Function(format!("it does not return `{name}`")))?;
        let node = project(&mut builder, node, bounds);
        builder.graph_mut().roots.push(Root { name: path, role: Role::Update, node });
    }
    Ok(graph.compact())
}

/// What all gradients are multiplied by so that their norm, taken together, is at most `limit`:
/// limit / max(norm, limit). `None` if no parameter has a gradient.
fn clip_factor(builder: &mut Builder, trained: &[(usize, NodeId)], limit: f64) -> Option<NodeId> {
    let squares = trained.iter().map(|(_, gradient)| {
        let axes: Vec<usize> = (0..builder.ty(*gradient).dims.len()).collect();
        let square = builder.mul(*gradient, *gradient);
        builder.reduce(Reduction::Sum, square, &axes)
    });
    let squares: Vec<NodeId> = squares.collect();
    let total = squares.into_iter().reduce(|sum, square| builder.add(sum, square))?;
    let norm = builder.unary(Pointwise::Sqrt, total);
    let limit = builder.number(limit);
    let longer = builder.binary(Pointwise::Max, norm, limit);
    Some(builder.div(limit, longer))
}

fn scalar_input(builder: &mut Builder, name: &str) -> NodeId {
    let inputs = &mut builder.graph_mut().inputs;
    inputs.push(Input {
        name: name.into(),
        ty: Type::new(Elem::F32, vec![], Clock::Static),
        docs: String::new(),
    });
    let index = inputs.len() - 1;
    builder.push(Op::Input(index), vec![])
}

fn memory_param(builder: &mut Builder, path: &str, dims: &[Dim]) -> NodeId {
    let params = &mut builder.graph_mut().params;
    params.push(Param {
        path: path.into(),
        dims: dims.to_vec(),
        init: Init::Constant(0.0),
        bounds: None,
        docs: String::new(),
        kind: ParamKind::OptimizerState,
        elem: Elem::F32,
    });
    let index = params.len() - 1;
    builder.push(Op::Param(index), vec![])
}

fn check_update(optimizer: &Optimizer, tensors: &[Updated]) -> Result<Graph, OptimizerError> {
    let program = optimizer.program(tensors);
    let checked = check::check("update.fgi", &program, &NoFiles, &check::Options::default());
    let problem = checked.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
    checked.graph.ok_or_else(|| {
        let message = problem.map_or("no graph", |problem| &problem.message);
        OptimizerError::Function(message.into())
    })
}

/// Copies the nodes of `update` with `given` nodes for its inputs; what its outputs have become.
fn splice<'u>(
    builder: &mut Builder,
    update: &'u Graph,
    given: &HashMap<String, NodeId>,
) -> HashMap<&'u str, NodeId> {
    let mut copies: Vec<NodeId> = Vec::with_capacity(update.len());
    for id in update.ids() {
        let node = update.node(id);
        let copy = if let Op::Input(index) = node.op {
            given[&update.inputs[index].name]
        } else {
            let args = node.args.iter().map(|arg| copies[arg.0 as usize]).collect();
            builder.push(node.op.clone(), args)
        };
        copies.push(copy);
    }
    let outputs = update.roots.iter();
    outputs.map(|root| (root.name.as_str(), copies[root.node.0 as usize])).collect()
}

fn project(builder: &mut Builder, value: NodeId, bounds: Option<(f64, f64)>) -> NodeId {
    let Some((low, high)) = bounds else { return value };
    let mut bounded = value;
    for (op, bound) in [(Pointwise::Max, low), (Pointwise::Min, high)] {
        if bound.is_finite() {
            let bound = builder.number(bound);
            bounded = builder.binary(op, bounded, bound);
        }
    }
    bounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::graph::Bindings;
    use crate::ir::graph::interpret::{Tensor, Values, interpret};
    use crate::{Gradients, Options, compile};

    const PROGRAM: &str = "graph g(x: [2]) -> (loss) {
        param p: [2] = constant(0.5) in [-inf, 0.55];
        param q: []  = constant(0.5);
        let loss = sum(p * x) + q * sum(x);
    }";

    /// p and q after each of three updates with gradients x and sum(x).
    fn train(optimizer: Optimizer, clip: Option<f64>) -> Vec<[f64; 3]> {
        let gradients = Some(Gradients { output: "loss".into(), wrt: None });
        let options = Options { gradients, optimizer: Some(optimizer), clip, ..Options::default() };
        let compiled = compile("test.fgi", PROGRAM, &NoFiles, &options, &mut |_| {});
        let compiled = compiled.unwrap_or_else(|error| panic!("{error}"));
        let (_, graph) = compiled.graphs.last().unwrap();
        let graph = graph.clone();
        let mut values = Values::new();
        for param in &graph.params {
            let dims: Vec<usize> =
                param.dims.iter().map(|dim| dim.as_const().unwrap() as usize).collect();
            let start = if param.is_optimizer_state() { 0.0 } else { 0.5 };
            values.insert(param.path.clone(), Tensor::full(dims, start));
        }
        values.insert(LEARNING_RATE.into(), Tensor::scalar(0.1));
        let mut trace = Vec::new();
        for (step, x) in GRADIENTS.iter().enumerate() {
            values.insert("x".into(), Tensor::new([2], *x));
            if optimizer.counts_steps() {
                values.insert(STEP.into(), Tensor::scalar(step as f64 + 1.0));
            }
            let results = interpret(&graph, &Bindings::new(), &values).unwrap();
            let updates = results.0.into_iter().filter(|(root, _)| root.role == Role::Update);
            values.extend(updates.map(|(root, value)| (root.name, value)));
            trace.push([values["p"].data[0], values["p"].data[1], values["q"].data[0]]);
        }
        trace
    }

    const GRADIENTS: [[f64; 2]; 3] = [[1.0, -2.0], [-3.0, -0.5], [0.25, 1.0]];

    /// The same by hand: `rule` has p, g, the step and two numbers of memory.
    fn by_hand(rule: impl Fn(f64, f64, i32, &mut [f64; 3]) -> f64) -> Vec<[f64; 3]> {
        let mut p = [0.5; 3];
        let mut memory = [[0.0; 3]; 3];
        let mut trace = Vec::new();
        for (step, [a, b]) in GRADIENTS.iter().enumerate() {
            for (i, g) in [*a, *b, a + b].into_iter().enumerate() {
                p[i] = rule(p[i], g, step as i32 + 1, &mut memory[i]);
                if i < 2 {
                    p[i] = p[i].min(0.55);
                }
            }
            trace.push(p);
        }
        trace
    }

    #[track_caller]
    fn same(optimizer: Optimizer, rule: impl Fn(f64, f64, i32, &mut [f64; 3]) -> f64) {
        for (found, expected) in train(optimizer, None).iter().zip(by_hand(rule)) {
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-6, "{optimizer:?}: {found:?} {expected:?}");
            }
        }
    }

    fn adam(p: f64, g: f64, t: i32, memory: &mut [f64; 3], greatest: bool) -> f64 {
        let [m, v, s] = memory;
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        *s = s.max(*v);
        let v = if greatest { *s } else { *v };
        let m = *m / (1.0 - 0.9f64.powi(t));
        let v = v / (1.0 - 0.999f64.powi(t));
        p - 0.1 * m / (v.sqrt() + 1e-8)
    }

    /// As PyTorch's groups: another rate and decay where the path is of a pattern, the last one first.
    #[test]
    fn groups_have_rates_and_decays_of_their_own() {
        let gradients = Some(Gradients { output: "loss".into(), wrt: None });
        let optimizer = Some(Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 });
        let groups = |rates: &[(&str, f64)], decays: &[(&str, f64)], frozen: &[&str]| {
            let numbers = |all: &[(&str, f64)]| {
                all.iter().map(|(pattern, number)| (pattern.to_string(), *number)).collect()
            };
            let frozen = frozen.iter().map(ToString::to_string).collect();
            Groups { rates: numbers(rates), decays: numbers(decays), frozen }
        };
        let compiled = |groups| {
            let (gradients, optimizer) = (gradients.clone(), optimizer);
            let options = Options { gradients, optimizer, groups, ..Options::default() };
            compile("test.fgi", PROGRAM, &NoFiles, &options, &mut |_| {})
        };
        let q = |groups| {
            let compiled = compiled(groups).unwrap();
            let (_, graph) = &compiled.graphs[compiled.graphs.len() - 1];
            let values = Values::from([
                ("x".to_string(), Tensor::new([2], [1.0, 1.0])),
                ("p".to_string(), Tensor::new([2], [0.5, 0.5])),
                ("q".to_string(), Tensor::scalar(0.5)),
                (LEARNING_RATE.to_string(), Tensor::scalar(0.1)),
            ]);
            let results = interpret(graph, &Bindings::new(), &values).unwrap();
            results.get(Role::Update, "q").map(|q| q.data[0])
        };
        assert_eq!(q(groups(&[], &[], &[])), Some(0.5 - 0.1 * 2.0));
        assert_eq!(q(groups(&[("q", 3.0), ("*", 0.5)], &[], &[])), Some(0.5 - 0.05 * 2.0));
        assert_eq!(q(groups(&[], &[("q*", 0.5)], &[])), Some(0.5 - 0.1 * (2.0 + 0.25)));
        assert_eq!(q(groups(&[], &[], &["*q"])), None);
        let error = compiled(groups(&[("h.*", 1.0)], &[], &[])).err().unwrap().to_string();
        assert_eq!(error, "no trained parameter is called `h.*`; there are `p`, `q`");
        assert!(matches("a*b*c", "a.b.b.c") && matches("*", "") && !matches("a*b", "abc"));
    }

    #[test]
    fn updates_are_those_of_the_papers() {
        let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
        same(Optimizer::Sgd { momentum: 0.0, weight_decay: 0.01 }, |p, g, _, _| {
            p - 0.1 * (g + 0.01 * p)
        });
        same(Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 }, |p, g, _, memory| {
            memory[0] = 0.9 * memory[0] + g;
            p - 0.1 * memory[0]
        });
        same(Optimizer::ADAM, |p, g, t, memory| adam(p, g, t, memory, false));
        same(Optimizer::AdamW { beta1, beta2, eps, weight_decay: 0.1 }, |p, g, t, memory| {
            adam(p - 0.1 * 0.1 * p, g, t, memory, false)
        });
        same(Optimizer::AmsGrad { beta1, beta2, eps, weight_decay: 0.1 }, |p, g, t, memory| {
            adam(p, g + 0.1 * p, t, memory, true)
        });
    }

    /// Gradients that are longer than the limit are made as long, those of all parameters together.
    #[test]
    fn clipping_shortens_all_gradients_alike() {
        let sgd = Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0 };
        for limit in [0.5, 100.0] {
            let found = train(sgd, Some(limit));
            let (mut p, mut trace) = ([0.5f64; 3], Vec::new());
            for [a, b] in GRADIENTS {
                let gradient = [a, b, a + b];
                let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
                for (p, g) in p.iter_mut().zip(gradient) {
                    *p -= 0.1 * g * (limit / norm).min(1.0);
                }
                p[..2].iter_mut().for_each(|p| *p = p.min(0.55));
                trace.push(p);
            }
            for (a, b) in found.iter().flatten().zip(trace.iter().flatten()) {
                assert!((a - b).abs() < 1e-6, "{limit}: {found:?} {trace:?}");
            }
        }
    }

    /// What the loss does not reach, or only through a stop, has no gradient: no decay, no memory.
    #[test]
    fn what_the_loss_does_not_reach_is_left_alone() {
        let text = "graph g(x: [2]) -> (loss, other) {
            param p: [2] = constant(0.5);
            param q: []  = constant(0.5);
            param r: [2] = constant(0.5);
            let other = sum(r * x);
            let loss  = sum(p * x) * sg(q) + sum(step(q + x));
        }";
        let (beta1, beta2, eps, weight_decay) = (0.9, 0.999, 1e-8, 0.1);
        for optimizer in [
            Optimizer::Sgd { momentum: 0.9, weight_decay },
            Optimizer::AdamW { beta1, beta2, eps, weight_decay },
            Optimizer::AmsGrad { beta1, beta2, eps, weight_decay },
        ] {
            let gradients = Some(Gradients { output: "loss".into(), wrt: None });
            let options = Options { gradients, optimizer: Some(optimizer), ..Options::default() };
            let compiled = compile("test.fgi", text, &NoFiles, &options, &mut |_| {}).ok().unwrap();
            let (_, graph) = compiled.graphs.last().unwrap();
            let updated: Vec<_> =
                graph.roots.iter().filter(|root| root.role == Role::Update).collect();
            assert!(updated.iter().all(|root| root.name.ends_with('p')), "{updated:?}");
            assert_eq!(updated.len(), 1 + optimizer.memory().len());
        }
    }

    #[test]
    fn memory_is_named_after_optimiser_and_parameter() {
        let gradients = Some(Gradients { output: "loss".into(), wrt: Some(vec!["q".into()]) });
        let options = Options { gradients, optimizer: Some(Optimizer::ADAM), ..Options::default() };
        let compiled = compile("test.fgi", PROGRAM, &NoFiles, &options, &mut |_| {}).ok().unwrap();
        let (_, graph) = compiled.graphs.last().unwrap();
        let memory = graph.params.iter().filter(|param| param.is_optimizer_state());
        let memory: Vec<_> = memory.map(|param| param.path.as_str()).collect();
        assert_eq!(memory, ["adam.m/q", "adam.v/q"]);
    }
}
