//! The optimiser's update, appended to a graph with gradients.
//!
//! The update functions are written in the language, in `std/optim.fgi`. For each trained parameter a
//! small program that calls one with the parameter's dimensions is checked, and its nodes are taken
//! over: the parameter, its gradient and the optimiser's memory in place of the program's inputs.

use std::collections::HashMap;

use crate::check;
use crate::graph::{
    Builder, Clock, Dim, Elem, Graph, Init, Input, NodeId, Op, Param, Pointwise, Reduction, Role,
    Root, Type,
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

/// Why there is no update.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptimizerError {
    /// It has no fixed size, which the optimiser's memory needs.
    #[error("parameter `{0}` has open dimensions; give them values to train it")]
    OpenDims(String),
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

    /// A program whose graph updates a tensor of these dimensions: inputs p, g, the memory, lr and t;
    /// outputs the same with `_new`.
    fn program(&self, dims: &[i64]) -> String {
        let name = self.name();
        let memory = self.memory();
        let ty = format!("{dims:?}");
        let steps: &[&str] = if self.counts_steps() { &["t"] } else { &[] };
        let tensors = ["p", "g"].iter().chain(memory);
        let inputs: Vec<String> = tensors.clone().map(|name| format!("{name}: {ty}")).collect();
        let scalars = steps.iter().chain(&["lr"]);
        let inputs = inputs.into_iter().chain(scalars.clone().map(|name| format!("{name}: []")));
        let inputs = inputs.collect::<Vec<_>>().join(", ");
        let args = tensors.chain(scalars).copied().collect::<Vec<_>>().join(", ");
        let new = ["p"].iter().chain(memory).map(|name| format!("{name}_new"));
        let new = new.collect::<Vec<_>>().join(", ");
        let settings = self.settings();
        format!(
            "use optim::{name};\n\
             graph update({inputs}) -> ({new}) {{\n    \
             let {pattern} = {name}({args}, {settings});\n}}\n",
            pattern = if memory.is_empty() { new.clone() } else { format!("({new})") },
        )
    }
}

/// The graph with the updates of every parameter that has a gradient, and of the optimiser's memory,
/// as roots of [`Role::Update`]. A parameter with bounds is put back between them. With `clip` the
/// gradients are made shorter where their common norm is longer than that.
pub fn attach(
    graph: &Graph,
    optimizer: &Optimizer,
    clip: Option<f64>,
) -> Result<Graph, OptimizerError> {
    let mut graph = graph.clone();
    let factor = clip.and_then(|limit| clip_factor(&mut graph, limit));
    let rate = scalar_input(&mut graph, LEARNING_RATE);
    let step = optimizer.counts_steps().then(|| scalar_input(&mut graph, STEP));
    let mut updates: HashMap<Vec<i64>, Graph> = HashMap::new();
    for index in 0..graph.params.len() {
        let param = graph.params[index].clone();
        let Some(gradient) = graph.root(Role::Gradient, &param.path) else { continue };
        let gradient = match factor {
            Some(factor) => Builder::new(&mut graph).mul(gradient, factor),
            None => gradient,
        };
        let dims: Option<Vec<i64>> = param.dims.iter().map(Dim::as_const).collect();
        let dims = dims.ok_or_else(|| OptimizerError::OpenDims(param.path.clone()))?;
        let mut given = HashMap::from([("g", gradient), ("lr", rate)]);
        given.extend(step.map(|step| ("t", step)));
        let mut updated = vec![("p", param.path.clone())];
        for name in optimizer.memory() {
            let path = format!("{}.{name}/{}", optimizer.name(), param.path);
            given.insert(name, memory_param(&mut graph, path.clone(), &param.dims));
            updated.push((name, path));
        }
        given.insert("p", Builder::new(&mut graph).push(Op::Param(index), vec![]));
        let update = match updates.get(&dims) {
            Some(update) => update,
            None => updates.entry(dims.clone()).or_insert(check_update(optimizer, &dims)?),
        };
        let mut new = splice(&mut graph, update, &given);
        if let Some(node) = new.get_mut("p_new") {
            *node = project(&mut graph, *node, param.bounds);
        }
        for (name, path) in updated {
            let node = *new
                .get(&*format!("{name}_new"))
                .ok_or_else(|| OptimizerError::Function(format!("no new value of `{name}`")))?;
            graph.roots.push(Root { name: path, role: Role::Update, node });
        }
    }
    Ok(graph.compact())
}

/// What all gradients are multiplied by so that their norm, taken together, is at most `limit`:
/// limit / max(norm, limit). `None` if no parameter has a gradient.
fn clip_factor(graph: &mut Graph, limit: f64) -> Option<NodeId> {
    let of_params: Vec<NodeId> =
        graph.params.iter().filter_map(|param| graph.root(Role::Gradient, &param.path)).collect();
    let mut builder = Builder::new(graph);
    let squares = of_params.into_iter().map(|gradient| {
        let axes: Vec<usize> = (0..builder.ty(gradient).dims.len()).collect();
        let square = builder.mul(gradient, gradient);
        builder.reduce(Reduction::Sum, square, &axes)
    });
    let squares: Vec<NodeId> = squares.collect();
    let total = squares.into_iter().reduce(|sum, square| builder.add(sum, square))?;
    let norm = builder.unary(Pointwise::Sqrt, total);
    let limit = builder.number(limit);
    let longer = builder.binary(Pointwise::Max, norm, limit);
    Some(builder.div(limit, longer))
}

fn scalar_input(graph: &mut Graph, name: &str) -> NodeId {
    graph.inputs.push(Input {
        name: name.into(),
        ty: Type::new(Elem::F32, vec![], Clock::Static),
        docs: String::new(),
    });
    let index = graph.inputs.len() - 1;
    Builder::new(graph).push(Op::Input(index), vec![])
}

fn memory_param(graph: &mut Graph, path: String, dims: &[Dim]) -> NodeId {
    graph.params.push(Param {
        path,
        dims: dims.to_vec(),
        init: Init::Constant(0.0),
        bounds: None,
        docs: String::new(),
        optimizer_state: true,
    });
    let index = graph.params.len() - 1;
    Builder::new(graph).push(Op::Param(index), vec![])
}

fn check_update(optimizer: &Optimizer, dims: &[i64]) -> Result<Graph, OptimizerError> {
    let program = optimizer.program(dims);
    let checked = check::check("update.fgi", &program, &NoFiles, &check::Options::default());
    let problem = checked.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
    checked.graph.ok_or_else(|| {
        let message = problem.map_or("no graph", |problem| &problem.message);
        OptimizerError::Function(message.into())
    })
}

/// Copies the nodes of `update` with `given` nodes for its inputs; what its outputs have become.
fn splice<'u>(
    graph: &mut Graph,
    update: &'u Graph,
    given: &HashMap<&str, NodeId>,
) -> HashMap<&'u str, NodeId> {
    let mut builder = Builder::new(graph);
    let mut copies: Vec<NodeId> = Vec::with_capacity(update.len());
    for id in update.ids() {
        let node = update.node(id);
        copies.push(match node.op {
            Op::Input(index) => given[update.inputs[index].name.as_str()],
            _ => {
                let args = node.args.iter().map(|arg| copies[arg.0 as usize]).collect();
                builder.push(node.op.clone(), args)
            }
        });
    }
    let outputs = update.roots.iter();
    outputs.map(|root| (root.name.as_str(), copies[root.node.0 as usize])).collect()
}

fn project(graph: &mut Graph, value: NodeId, bounds: Option<(f64, f64)>) -> NodeId {
    let Some((low, high)) = bounds else { return value };
    let mut builder = Builder::new(graph);
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
    use crate::graph::interpret::{Tensor, Values, interpret};
    use crate::graph::{Bindings, verify};
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
        let graph = verify(graph.clone()).unwrap().into_inner();
        let mut values = Values::new();
        for param in &graph.params {
            let dims: Vec<usize> =
                param.dims.iter().map(|dim| dim.as_const().unwrap() as usize).collect();
            let start = if param.optimizer_state { 0.0 } else { 0.5 };
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

    #[test]
    fn memory_is_named_after_optimiser_and_parameter() {
        let gradients = Some(Gradients { output: "loss".into(), wrt: Some(vec!["q".into()]) });
        let options = Options { gradients, optimizer: Some(Optimizer::ADAM), ..Options::default() };
        let compiled = compile("test.fgi", PROGRAM, &NoFiles, &options, &mut |_| {}).ok().unwrap();
        let (_, graph) = compiled.graphs.last().unwrap();
        let memory = graph.params.iter().filter(|param| param.optimizer_state);
        let memory: Vec<_> = memory.map(|param| param.path.as_str()).collect();
        assert_eq!(memory, ["adam.m/q", "adam.v/q"]);
    }
}
