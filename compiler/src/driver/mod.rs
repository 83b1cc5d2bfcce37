//! The whole way from text to kernels: the list of passes, and what runs them.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::front::check;
use crate::ir::graph::{Dim, Graph, Indexed, Violation, verify};
use crate::ir::{fingerprint, kernel};
use crate::middle::optimizer::{self, Optimizer, OptimizerError};
use crate::middle::schedule::{Schedule, schedule};
use crate::middle::{autodiff, lower, simplify, surrogate};
use crate::source::{Loader, Sources};

/// What to compile of a program, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The graph to take; may be left out if there is only one.
    pub graph: Option<String>,
    /// Dimensions with fixed values.
    pub dims: BTreeMap<String, i64>,
    /// The gradients to compute, if any.
    pub gradients: Option<Gradients>,
    /// The optimiser whose updates to compute of all parameters that have a gradient.
    pub optimizer: Option<Optimizer>,
    /// The greatest norm that the gradients may have for the optimiser, all taken together.
    pub clip: Option<f64>,
    /// Lets sums and products be rounded in another order than written, where that is cheaper.
    pub fast_math: bool,
}

/// The gradients of an output.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// The output that they are of: a scalar.
    pub output: String,
    /// Parameters by path and inputs by name; all parameters if not given.
    pub wrt: Option<Vec<String>>,
}

/// A step from graph to graph. The graph is verified after each.
pub struct CompilerPass {
    /// In one word: what `--emit` takes.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub about: &'static str,
    run: fn(&Graph, &Options) -> Result<Passed, CompileError>,
}

/// What a pass makes, and what the calculus says of its search.
type Passed = (Graph, Option<surrogate::Report>);

/// The steps between the checked program and the schedule, in their order.
pub const PASSES: [CompilerPass; 5] = [
    CompilerPass {
        name: "calculus",
        about: "Every surrogate, however spelt, becomes one bypass node.",
        run: |graph, _| {
            let (graph, report) = surrogate::simplify(graph);
            Ok((graph, Some(report)))
        },
    },
    CompilerPass {
        name: "autodiff",
        about: "The gradients are appended, with the backward pass through time.",
        run: |graph, options| Ok((differentiate(graph, options.gradients.as_ref())?, None)),
    },
    CompilerPass {
        name: "erase",
        about: "What only served derivatives is gone; sg(x) is x.",
        run: |graph, _| Ok((autodiff::erase(graph.clone()), None)),
    },
    CompilerPass {
        name: "joint",
        about: "Values and gradients are simplified together and share what they can.",
        run: |graph, options| {
            let (graph, report) = simplify::simplify(graph, options.fast_math);
            Ok((graph, Some(report)))
        },
    },
    CompilerPass {
        name: "optimizer",
        about: "The updates of parameters are appended.",
        run: |graph, options| match &options.optimizer {
            Some(optimizer) => Ok((optimizer::attach(graph, optimizer, options.clip)?, None)),
            None => Ok((graph.compact(), None)),
        },
    },
];

/// A compiled program with its forms on the way.
pub struct Compiled {
    /// The program and all that it uses: what spans refer to.
    pub sources: Sources,
    /// What the program may not have meant.
    pub warnings: Vec<Diagnostic>,
    /// The dimensions of the graph by name, open or not.
    pub dims: BTreeMap<String, Dim>,
    /// As checked, and after each of [`PASSES`], by name.
    pub graphs: Vec<(&'static str, Graph)>,
    /// How far the calculus went, for each pass in which it searched.
    pub reports: Vec<(&'static str, surrogate::Report)>,
    /// Which values are stored, and the order of kernels.
    pub schedule: Schedule,
    /// The kernels.
    pub program: kernel::Program,
}

/// Why there is no compiled program.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The program has errors.
    #[error("{}", errors(sources, diagnostics))]
    Program {
        /// What the spans of the diagnostics refer to.
        sources: Sources,
        /// The errors, and warnings among them.
        diagnostics: Vec<Diagnostic>,
    },
    /// There is no such gradient.
    #[error(transparent)]
    Differentiate(#[from] autodiff::DifferentiateError),
    /// The parameters cannot be updated.
    #[error(transparent)]
    Optimizer(#[from] OptimizerError),
    /// A bug: the graph after a pass breaks a law.
    #[error("compiler bug: the graph after `{pass}` is not valid: {violation}")]
    Bug {
        /// The pass that made the graph.
        pass: &'static str,
        /// Where, and which law.
        violation: Violation,
    },
}

/// Compiles a graph of a program, called `name` in messages. `after` is told the name of each step
/// that is done.
pub fn compile(
    name: &str,
    text: &str,
    loader: &dyn Loader,
    options: &Options,
    after: &mut dyn FnMut(&'static str),
) -> Result<Compiled, CompileError> {
    let (graph, dims) = (options.graph.clone(), options.dims.clone());
    let asked = check::Options { graph, dims, sized: true };
    let checked = check::check(name, text, loader, &asked);
    let (sources, diagnostics, dims) = (checked.sources, checked.diagnostics, checked.dims);
    let Some(graph) = checked.graph else {
        return Err(CompileError::Program { sources, diagnostics });
    };
    let compiled = compile_graph(graph, options, after)?;
    Ok(Compiled { sources, warnings: diagnostics, dims, ..compiled })
}

/// Compiles a checked graph.
pub fn compile_graph(
    graph: Graph,
    options: &Options,
    after: &mut dyn FnMut(&'static str),
) -> Result<Compiled, CompileError> {
    let mut graphs = vec![("check", verified("check", graph)?)];
    after("check");
    let mut reports = Vec::new();
    for pass in &PASSES {
        let (_, graph) = &graphs[graphs.len() - 1];
        let (made, report) = (pass.run)(graph, options)?;
        reports.extend(report.map(|report| (pass.name, report)));
        graphs.push((pass.name, verified(pass.name, made)?));
        after(pass.name);
    }
    let (_, graph) = &graphs[graphs.len() - 1];
    let schedule = schedule(graph);
    after("schedule");
    let mut program = lower::lower(&schedule);
    program.fast_math = options.fast_math;
    let (_, written) = &graphs[0];
    program.fingerprint = fingerprint::of_graph(written);
    program.indexed = Indexed::inputs(written);
    after("lower");
    let (sources, warnings, dims) = (Sources::default(), Vec::new(), BTreeMap::new());
    Ok(Compiled { sources, warnings, dims, graphs, reports, schedule, program })
}

/// The graph with the gradients that are asked for.
pub fn differentiate(graph: &Graph, gradients: Option<&Gradients>) -> Result<Graph, CompileError> {
    let Some(Gradients { output, wrt }) = gradients else { return Ok(graph.clone()) };
    let all = || graph.params.iter().map(|param| param.path.clone()).collect();
    let wrt = wrt.clone().unwrap_or_else(all);
    Ok(autodiff::differentiate(graph, output, &wrt)?)
}

/// The errors among diagnostics, as plain text.
fn errors(sources: &Sources, diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    errors.map(|error| error.to_text(sources)).collect::<Vec<_>>().join("\n\n")
}

fn verified(pass: &'static str, graph: Graph) -> Result<Graph, CompileError> {
    let verified = verify(graph).map_err(|violation| CompileError::Bug { pass, violation })?;
    Ok(verified.into_inner())
}
