//! What a neuron of the standard library does with a step of current: its potential, its threshold and its spikes.

use crate::front::check::{self, Checked, check, standard_module};
use crate::front::syntax::ast::{Argument, ItemKind, Layer};
use crate::front::syntax::{expr_to_string, parse};
use crate::ir::graph::interpret::{Tensor, Values, interpret};
use crate::ir::graph::{Bindings, Clock, Elem, Graph, Init, Param, Role, Root};
use crate::ir::{Verified, verify};
use crate::source::{FileId, NoFiles};

/// A neuron over [`STEPS`] steps, its parameters at the means of their initialisers.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The current from step 5 to step 45; it is 0 before and after.
    pub current: f64,
    /// At each step; after the reset where that is in the step of the spike.
    pub potential: Vec<f64>,
    /// At each step; empty for a neuron without one.
    pub threshold: Vec<f64>,
    /// What it sends at each step; empty for a neuron that sends its potential.
    pub spikes: Vec<f64>,
}

/// How many steps a trace has.
pub const STEPS: usize = 60;
/// The steps with a current.
const DRIVEN: std::ops::Range<usize> = 5..45;
/// With a current that is large enough there are so many spikes.
const ENOUGH: usize = 4;
/// Names that neurons give to their potentials, the likeliest first.
const POTENTIALS: [&str; 7] = ["u", "mem", "v", "s", "sent", "h", "z"];
const THRESHOLDS: [&str; 2] = ["theta", "peak"];

/// The trace of a neuron that takes a current and nothing else; `None` for everything else in the module.
pub fn trace(neuron: &str) -> Option<Trace> {
    let (ast, _) = parse(standard_module("neuron")?, FileId::default());
    let layer = ast.items.into_iter().find_map(|item| {
        let ItemKind::Layer(layer) = item.kind else { return None };
        (layer.name.text == neuron).then_some(layer)
    })?;
    let required = layer.arguments.iter().filter(|argument| argument.default.is_none());
    let names: Vec<_> = required.map(|argument| argument.name.text.as_str()).collect();
    if names != ["current"] || layer.dims.iter().any(|dim| dim.default.is_none()) {
        return None;
    }
    let graph = observed(program(neuron)?)?;
    let has_spikes = graph.roots.iter().any(|root| root.name == "spikes");
    let mut found = None;
    for current in (-3..20).map(|power| 2f64.powi(power)) {
        let trace = run(&graph, &layer, if has_spikes { current } else { 1.0 })?;
        let spikes = trace.spikes.iter().filter(|z| **z != 0.0).count();
        let is_enough = !has_spikes || spikes >= ENOUGH;
        found = Some(trace);
        if is_enough {
            break;
        }
    }
    found
}

/// A program of the neuron, whatever number of values it gives.
fn program(neuron: &str) -> Option<Checked> {
    let patterns = ["", "let (a, b) = n;", "let (a, b, c) = n;"];
    let programs = patterns.into_iter().map(|pattern| {
        let output = if pattern.is_empty() { "n" } else { "a" };
        let text = format!(
            "graph trace(current: [T; 1]) -> ({output}) {{ let n = neuron::{neuron}(current); {pattern} }}"
        );
        check("trace.fgi", &text, &NoFiles, &check::Options::default())
    });
    programs.into_iter().find(|checked| checked.graph.is_some())
}

/// The graph with the neuron's inner values as outputs.
fn observed(checked: Checked) -> Option<Verified<Graph>> {
    let mut graph = checked.graph?;
    let node = |name: &str| {
        let path = format!("n.{name}");
        let binding = checked.places.bindings.iter().find(|binding| binding.path == path)?;
        let node = binding.node?;
        let ty = graph.ty(node);
        ((ty.elem, ty.clock) == (Elem::F32, Clock::Stream)).then_some(node)
    };
    let potential = POTENTIALS.into_iter().find_map(node)?;
    let roots =
        [("potential", Some(potential)), ("threshold", node("theta")), ("spikes", node("z"))];
    let roots = roots.into_iter().filter_map(|(name, node)| {
        Some(Root { name: name.into(), role: Role::Output, node: node? })
    });
    graph.roots = roots.collect();
    verify(graph).ok()
}

fn run(graph: &Verified<Graph>, layer: &Layer, current: f64) -> Option<Trace> {
    let at = |step: usize| if DRIVEN.contains(&step) { current } else { 0.0 };
    let stream = Tensor::new([STEPS, 1], (0..STEPS).map(at).collect::<Vec<_>>());
    let params = graph.params.iter().map(|param| (param.path.clone(), mean(param)));
    let values: Values = params.chain([("current".to_owned(), stream)]).collect();
    let bindings = Bindings::from([("T".into(), STEPS as i64)]);
    let results = interpret(graph, &bindings, &values).ok()?;
    let stream = |name: &str| results.output(name).map(|tensor| tensor.data.clone());
    let spikes = stream("spikes").unwrap_or_default();
    let given = || default(&layer.arguments).map(|theta| vec![theta; STEPS]);
    let threshold = stream("threshold").or_else(given).unwrap_or_default();
    Some(Trace { current, potential: stream("potential")?, threshold, spikes })
}

/// The number that the threshold is if it is not given.
fn default(arguments: &[Argument]) -> Option<f64> {
    let named = arguments.iter().filter(|argument| THRESHOLDS.contains(&&*argument.name.text));
    named.filter_map(|argument| expr_to_string(argument.default.as_ref()?).parse().ok()).next_back()
}

/// The mean of a parameter's initialiser, everywhere.
fn mean(param: &Param) -> Tensor {
    let mean = if let Init::Constant(value) | Init::Normal(value, _) = param.init {
        value
    } else if let Init::Uniform(low, high) = param.init {
        0.5 * (low + high)
    } else {
        0.0
    };
    Tensor::new(vec![1; param.dims.len()], [mean])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neurons_integrate_and_fire() {
        let leaky = trace("leaky").unwrap();
        assert_eq!((leaky.potential.len(), leaky.threshold[0]), (STEPS, 1.0));
        assert!(leaky.spikes.iter().sum::<f64>() >= ENOUGH as f64, "{leaky:?}");
        assert!(leaky.spikes[..5].iter().all(|z| *z == 0.0));
        assert_eq!(leaky.potential[5], leaky.current);
        let adaptive = trace("alif").unwrap();
        assert!(adaptive.threshold[44] > adaptive.threshold[0], "{adaptive:?}");
        assert!(trace("li").unwrap().spikes.is_empty());
        assert!(trace("psn").is_none() && trace("fire").is_none());
    }
}
