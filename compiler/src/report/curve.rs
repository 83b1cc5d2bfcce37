//! Functions of one variable as graphs: the value, and the gradient that the variable receives.
//!
//! The graph has one input, the points, and two outputs: [`VALUE`] at each point and [`TOTAL`], their
//! sum. The gradient of the total for the points is what the backward pass gives at each of them where
//! the value's own gradient is 1, because no point takes part in another's value; that is verified.

use std::collections::BTreeMap;

use crate::CompileError;
use crate::diagnostic::{Diagnostic, Label};
use crate::front::check::{self, FunctionHead, closest};
use crate::ir::graph::{Builder, Clock, Dim, Elem, Graph, NodeId, Op, Reduction, Role, Root};
use crate::source::Loader;

/// The output that holds the function's values.
pub const VALUE: &str = "value";
/// The output whose gradient for the input is the one that the variable receives.
pub const TOTAL: &str = "total";

/// A function of one variable.
pub struct Curve {
    /// The name of the function or graph.
    pub name: String,
    /// The name of the argument that varies.
    pub variable: String,
    /// The arguments that were given values.
    pub set: Vec<(String, f64)>,
    /// Its only input is the variable, of one open dimension or more.
    pub graph: Graph,
}

/// What to take of a program.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Values of arguments by name. Each function takes those that it has.
    pub set: BTreeMap<String, f64>,
    /// Takes the spike that has a function as its surrogate: `inject(x, step(x), f(x))`; for an
    /// antiderivative, which is called `f_integral`, `bypass(step(x), f_integral(x))`.
    pub spike: bool,
}

/// Why there is no curve.
#[derive(Debug, thiserror::Error)]
pub enum CurveError {
    /// The program does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The program is fine, but has no such function of one variable.
    #[error("{0}")]
    Unfit(String),
}

/// The names of a program's functions that have one variable once `set` is given, and of its graphs
/// that have one tensor as input, in the order of the text.
pub fn names(
    name: &str,
    text: &str,
    loader: &dyn Loader,
    request: &Request,
) -> Result<Vec<String>, CompileError> {
    let heads = check::heads(name, text, loader);
    if heads.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(CompileError::Program {
            sources: heads.sources,
            diagnostics: heads.diagnostics,
        });
    }
    let is_function = |name: &String| {
        heads.functions.iter().any(|f| f.name == *name && variable(f, &request.set).is_ok())
    };
    let is_graph = |name: &String| {
        let graph = heads.graphs.iter().find(|graph| graph.name == *name);
        graph.is_some_and(|g| matches!(&g.inputs[..], [x] if !x.is_i32 && !x.is_stream))
    };
    let is_one = |name: &String| is_function(name) || !request.spike && is_graph(name);
    Ok(heads.names.iter().filter(|name| is_one(name)).cloned().collect())
}

/// A function or graph of a program as a curve; a graph's output may stand after its name: `net.y`.
pub fn curve(
    name: &str,
    text: &str,
    loader: &dyn Loader,
    item: &str,
    request: &Request,
) -> Result<Curve, CurveError> {
    let heads = check::heads(name, text, loader);
    if heads.diagnostics.iter().any(Diagnostic::is_error) {
        let (sources, diagnostics) = (heads.sources, heads.diagnostics);
        return Err(CompileError::Program { sources, diagnostics }.into());
    }
    if let Some(function) = heads.functions.iter().find(|function| function.name == item) {
        return of_function(name, text, loader, function, request);
    }
    let (graph, output) = match item.split_once('.') {
        Some((graph, output)) => (graph, Some(output)),
        None => (item, None),
    };
    if heads.graphs.iter().any(|head| head.name == graph) {
        return of_graph(name, text, loader, graph, output);
    }
    if heads.names.iter().any(|name| name == item) {
        return Err(unfit(format!("`{item}` is neither a function nor a graph")));
    }
    let functions = heads.functions.iter().map(|function| &function.name);
    let known = functions.chain(heads.graphs.iter().map(|graph| &graph.name)).map(String::as_str);
    let hint = match closest(item, known) {
        Some(likely) => format!("; did you mean `{likely}`?"),
        None => String::new(),
    };
    Err(unfit(format!("{name} has no function or graph `{item}`{hint}")))
}

fn unfit(message: impl Into<String>) -> CurveError {
    CurveError::Unfit(message.into())
}

/// The argument that varies: the only one without a value, or the first if all have one by default.
fn variable<'f>(
    function: &'f FunctionHead,
    set: &BTreeMap<String, f64>,
) -> Result<&'f str, CurveError> {
    let name = &function.name;
    let open = || function.arguments.iter().filter(|argument| !set.contains_key(&argument.name));
    let names = |names: Vec<&str>| {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let needed = open().filter(|argument| !argument.has_default);
    let needed: Vec<&str> = needed.map(|argument| argument.name.as_str()).collect();
    match (&needed[..], open().next()) {
        ([only], _) => Ok(only),
        ([], Some(first)) => Ok(&first.name),
        ([], None) => Err(unfit(format!("`{name}` has no argument left to vary"))),
        _ => Err(unfit(format!(
            "`{name}` is a function of {} variables, {}: give all but one of them values with --set NAME=VALUE",
            needed.len(),
            names(needed)
        ))),
    }
}

/// The name by which the program that calls the function knows its file.
const MODULE: &str = "program";

/// The files of the calling program.
struct Beside<'a> {
    name: &'a str,
    text: &'a str,
    loader: &'a dyn Loader,
}

impl Loader for Beside<'_> {
    fn load(&self, name: &str) -> Option<(String, String)> {
        match name {
            MODULE => Some((self.name.into(), self.text.into())),
            _ => self.loader.load(name),
        }
    }
}

fn of_function(
    name: &str,
    text: &str,
    loader: &dyn Loader,
    function: &FunctionHead,
    request: &Request,
) -> Result<Curve, CurveError> {
    let variable = variable(function, &request.set)?;
    let has = |name: &str| function.arguments.iter().any(|argument| argument.name == name);
    let given = request.set.iter().filter(|(name, _)| has(name));
    let set: Vec<(String, f64)> = given.map(|(name, value)| (name.clone(), *value)).collect();
    let mut arguments = vec![format!("{variable} = x")];
    arguments.extend(set.iter().map(|(name, value)| format!("{name} = {value:?}")));
    let call = format!("{MODULE}::{}({})", function.name, arguments.join(", "));
    let value = match request.spike {
        true if function.name.ends_with("_integral") => {
            format!("prelude::bypass(prelude::step(x), {call})")
        }
        true => format!("prelude::inject(x, prelude::step(x), {call})"),
        false => call,
    };
    let program = format!(
        "graph {0}(x: [N]) -> ({VALUE}) {{ let {VALUE} = broadcast({value}, [N]); }}",
        function.name
    );
    let beside = Beside { name, text, loader };
    let caller = "the call that draws it";
    let checked = check::check(caller, &program, &beside, &check::Options::default());
    let Some(graph) = checked.graph else {
        let (sources, diagnostics) = (checked.sources, checked.diagnostics);
        let in_call =
            |label: &Label| sources.get(label.span.file).is_some_and(|file| file.name == caller);
        // What is wrong with the call is no fault of the file.
        let call = diagnostics.iter().find(|problem| problem.labels.iter().any(in_call));
        return Err(match call {
            Some(problem) => unfit(format!(
                "`{}` is no function of numbers to numbers in `{variable}`: {}",
                function.name, problem.message
            )),
            None => CompileError::Program { sources, diagnostics }.into(),
        });
    };
    let output = graph.root(Role::Output, VALUE);
    Ok(Curve { set, ..finish(&function.name, variable, graph, output)? })
}

fn of_graph(
    name: &str,
    text: &str,
    loader: &dyn Loader,
    graph_name: &str,
    output: Option<&str>,
) -> Result<Curve, CurveError> {
    let options = check::Options { graph: Some(graph_name.into()), ..Default::default() };
    let checked = check::check(name, text, loader, &options);
    let (sources, diagnostics) = (checked.sources, checked.diagnostics);
    let graph = checked.graph.ok_or(CompileError::Program { sources, diagnostics })?;
    let [input] = &graph.inputs[..] else {
        return Err(unfit(format!("`{graph_name}` has {} inputs, not one", graph.inputs.len())));
    };
    let is_open = |dim: &Dim| matches!(dim.terms(), [(factors, 1)] if factors.len() == 1);
    let is_tensor = input.ty.elem == Elem::F32
        && input.ty.clock == Clock::Static
        && !input.ty.dims.is_empty()
        && input.ty.dims.iter().all(is_open);
    if !is_tensor {
        return Err(unfit(format!(
            "the input `{}` of `{graph_name}` is {}: an f32 tensor of open dimensions can be drawn, such as [N]",
            input.name, input.ty
        )));
    }
    let fits = |root: &&Root| *graph.ty(root.node) == input.ty;
    let fitting: Vec<&Root> = graph.roots.iter().filter(fits).collect();
    let variable = input.name.clone();
    let chosen = match output {
        Some(output) => fitting.iter().find(|root| root.name == output).map(|root| root.node),
        None => match fitting[..] {
            [only] => Some(only.node),
            _ => None,
        },
    };
    if chosen.is_none() {
        let names: Vec<_> =
            fitting.iter().map(|root| format!("`{graph_name}.{}`", root.name)).collect();
        return Err(unfit(match (output, &names[..]) {
            (_, []) => format!("`{graph_name}` has no output of its input's type {}", input.ty),
            (Some(output), _) => format!(
                "`{graph_name}` has no output `{output}` of its input's type {}; take {}",
                input.ty,
                names.join(" or ")
            ),
            (None, _) => {
                format!("`{graph_name}` has several outputs: say which, {}", names.join(" or "))
            }
        }));
    }
    finish(graph_name, &variable, graph, chosen)
}

/// The curve of a graph whose output is the function's value at each point of the input.
fn finish(
    name: &str,
    variable: &str,
    mut graph: Graph,
    output: Option<NodeId>,
) -> Result<Curve, CurveError> {
    let output = output.ok_or_else(|| unfit(format!("`{name}` has no value")))?;
    if graph.ty(output).elem != Elem::F32 {
        let elem = graph.ty(output).elem.name();
        return Err(unfit(format!("the value of `{name}` is {elem}, not f32")));
    }
    let root = |name: &str, node| Root { name: name.into(), role: Role::Output, node };
    graph.roots = vec![root(VALUE, output)];
    let mut graph = graph.compact();
    if let Some(op) = mixes_points(&graph) {
        return Err(unfit(format!(
            "`{name}` is not computed point by point: it has a `{}` over `{variable}`",
            op.name()
        )));
    }
    let value = graph.roots[0].node;
    let axes: Vec<usize> = (0..graph.ty(value).dims.len()).collect();
    let total = Builder::new(&mut graph).reduce(Reduction::Sum, value, &axes);
    graph.roots.push(root(TOTAL, total));
    Ok(Curve { name: name.into(), variable: variable.into(), set: Vec::new(), graph })
}

/// An operation in which a point of the input meets another.
fn mixes_points(graph: &Graph) -> Option<&Op> {
    let mut depends = vec![false; graph.len()];
    for id in graph.ids() {
        let node = graph.node(id);
        let on_input = node.args.iter().any(|arg| depends[arg.0 as usize]);
        depends[id.0 as usize] = on_input || matches!(node.op, Op::Input(_));
        if on_input && !matches!(node.op, Op::Map(_) | Op::Sg | Op::Bypass) {
            return Some(&node.op);
        }
    }
    None
}
