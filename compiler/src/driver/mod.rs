//! The whole way from text to kernels: the list of passes, and what runs them.

mod passes;

pub use passes::{CompilerPass, PASSES, target_passes};

use std::collections::BTreeMap;
use std::error::Error;

use crate::diagnostic::Diagnostic;
use crate::front::check::{self, Checked};
use crate::ir::graph::{Dim, Graph, Indexed, ParamKind};
use crate::ir::kernel::Program;
use crate::ir::{Laws, Verified, fingerprint, verify};
use crate::middle::optimizer::{Groups, Optimizer, OptimizerError};
use crate::middle::schedule::Schedule;
use crate::middle::{autodiff, surrogate};
use crate::source::{Loader, Sources};
use passes::Run;

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
    /// Parameters for which the optimiser is set another way, or which it leaves alone.
    pub groups: Groups,
    /// The greatest norm that the gradients may have for the optimiser, all taken together.
    pub clip: Option<f64>,
    /// Every memory starts where the run before ended, without a gradient across the border: a sequence
    /// may be run in chunks.
    pub carry: bool,
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

/// A compiled program with its forms on the way.
pub struct Compiled {
    /// The program and all that it uses: what spans refer to.
    pub sources: Sources,
    /// What the program may not have meant.
    pub warnings: Vec<Diagnostic>,
    /// The dimensions of the graph by name, open or not.
    pub dims: BTreeMap<String, Dim>,
    /// As checked, and after each of [`PASSES`], by name.
    pub graphs: Vec<(&'static str, Verified<Graph>)>,
    /// How far the calculus went, for each pass in which it searched.
    pub reports: Vec<(&'static str, surrogate::Report)>,
    /// Which values are stored, and the order of kernels.
    pub schedule: Schedule,
    /// The kernels.
    pub program: Verified<Program>,
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
    /// A bug: what a pass made breaks a law.
    #[error("compiler bug: what `{pass}` made is not valid: {violation}")]
    Bug {
        /// The pass.
        pass: &'static str,
        /// Where, and which law.
        violation: Box<dyn Error + Send + Sync>,
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
    compile_checked(&check(name, text, loader, options), options, after)
}

/// Checks the graph of a program that is to be compiled.
pub fn check(name: &str, text: &str, loader: &dyn Loader, options: &Options) -> Checked {
    let (graph, dims) = (options.graph.clone(), options.dims.clone());
    let (training, carry) = (options.optimizer.is_some(), options.carry);
    let options = check::Options { graph, dims, sized: true, training, carry };
    check::check(name, text, loader, &options)
}

/// [`compile`] from what [`check`](check()) has found.
pub fn compile_checked(
    checked: &Checked,
    options: &Options,
    after: &mut dyn FnMut(&'static str),
) -> Result<Compiled, CompileError> {
    let (sources, diagnostics) = (checked.sources.clone(), checked.diagnostics.clone());
    let Some(graph) = checked.graph.clone() else {
        return Err(CompileError::Program { sources, diagnostics });
    };
    let compiled = compile_graph(verified("check", graph)?, options, after)?;
    Ok(Compiled { sources, warnings: diagnostics, dims: checked.dims.clone(), ..compiled })
}

/// Compiles a checked graph.
pub fn compile_graph(
    graph: Verified<Graph>,
    options: &Options,
    after: &mut dyn FnMut(&'static str),
) -> Result<Compiled, CompileError> {
    let mut forms = Forms { graphs: vec![("check", graph)], ..Forms::default() };
    after("check");
    for pass in &PASSES {
        forms.run(pass, options)?;
        after(pass.name);
    }
    let Forms { graphs, reports, schedule, program } = forms;
    let (_, written) = &graphs[0];
    let program = Program {
        fast_math: options.fast_math,
        fingerprint: fingerprint::of_graph(written),
        indexed: Indexed::inputs(written),
        ..program
    };
    let program = verified("lower", program)?;
    let (sources, warnings, dims) = (Sources::default(), Vec::new(), BTreeMap::new());
    Ok(Compiled { sources, warnings, dims, graphs, reports, schedule, program })
}

/// What has been made on the way so far.
#[derive(Default)]
struct Forms {
    graphs: Vec<(&'static str, Verified<Graph>)>,
    reports: Vec<(&'static str, surrogate::Report)>,
    schedule: Schedule,
    program: Program,
}

impl Forms {
    fn run(&mut self, pass: &CompilerPass, options: &Options) -> Result<(), CompileError> {
        let (_, graph) = &self.graphs[self.graphs.len() - 1];
        match &pass.run {
            Run::Graph(run) => {
                let (made, report) = run(graph, options)?;
                self.reports.extend(report.map(|report| (pass.name, report)));
                self.graphs.push((pass.name, verified(pass.name, made)?));
            }
            Run::Schedule(run) => self.schedule = run(graph),
            Run::Kernels(run) => self.program = run(&self.schedule),
        }
        Ok(())
    }
}

/// The graph with the gradients that are asked for.
pub fn differentiate(
    graph: &Verified<Graph>,
    options: &Options,
) -> Result<Verified<Graph>, CompileError> {
    verified("autodiff", with_gradients(graph, options)?)
}

fn with_gradients(graph: &Graph, options: &Options) -> Result<Graph, CompileError> {
    let Some(Gradients { output, wrt }) = &options.gradients else { return Ok(graph.clone()) };
    let trained = graph.params.iter().filter(|param| param.kind == ParamKind::Trained);
    let trained: Vec<&str> = trained.map(|param| param.path.as_str()).collect();
    if let Some(pattern) = options.groups.unmatched(&trained) {
        let known = trained.iter().take(8).map(|path| format!("`{path}`"));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(OptimizerError::NoParameter { pattern: pattern.into(), known }.into());
    }
    let all = || trained.iter().filter(|path| !options.groups.is_frozen(path));
    let wrt = wrt.clone().unwrap_or_else(|| all().map(ToString::to_string).collect());
    Ok(autodiff::differentiate(graph, output, &wrt)?)
}

/// The errors among diagnostics, as plain text.
fn errors(sources: &Sources, diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    errors.map(|error| error.to_text(sources)).collect::<Vec<_>>().join("\n\n")
}

/// The form that a pass has made, which must keep its laws: else the pass has a bug.
pub fn verified<T: Laws>(pass: &'static str, form: T) -> Result<Verified<T>, CompileError> {
    verify(form).map_err(|violation| CompileError::Bug { pass, violation: violation.into() })
}
