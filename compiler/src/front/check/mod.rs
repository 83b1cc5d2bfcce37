//! Syntax tree → [`Graph`]: names and modules, instances of layers, dimensions, types and clocks.
//!
//! 1. `modules` reads the files that a program uses and says what a name means in each.
//! 2. `elaborate` (with `calls`, `builtins` and `causality`) inlines functions and instantiates layers, into a
//!    list of untyped operations, the terms of `term`.
//! 3. `infer` carries dimensions and clocks from operands to users until nothing changes (`shape` has
//!    the rule of each operation), `dtypes` unifies element types; then everything is checked.
//! 4. `emit` writes the graph.
//!
//! An error leaves a term behind that is silent, so that one mistake is one report.

mod builtins;
mod calls;
mod carry;
mod causality;
mod derived;
mod dtypes;
mod elaborate;
mod emit;
mod infer;
mod modules;
mod random;
mod report;
mod shape;
mod signatures;
mod term;
mod types;
mod windows;

use std::collections::{BTreeMap, HashSet};

use crate::diagnostic::{Diagnostic, Severity};
use crate::front::syntax::ast::ItemKind;
use crate::ir::graph::{Dim, Graph, NodeId};
use crate::source::{Loader, Sources, Span};
pub use carry::CARRIED;
use elaborate::Elaborator;
pub use elaborate::PROGRESS;
use modules::{DefId, ModuleId, Modules};
pub use modules::{is_standard, standard_item, standard_module, standard_modules};
pub use report::closest;
pub use signatures::{
    ArgumentHead, DimHead, FunctionHead, GraphHead, Heads, InputHead, OutputHead, bind_dims, heads,
};

/// What a command says about the program besides its text.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The graph to take; may be left out if there is only one.
    pub graph: Option<String>,
    /// `-D NAME=VALUE`
    pub dims: BTreeMap<String, i64>,
    /// The program is to run: no parameter may have open dimensions.
    pub sized: bool,
    /// It is a step of training: `training()` is 1.
    pub training: bool,
    /// Every memory starts where the run before ended, in a state of its own.
    pub carry: bool,
}

/// A program that was checked.
pub struct Checked {
    /// The program and all that it uses: what the spans of the diagnostics refer to.
    pub sources: Sources,
    /// In the order of the sources.
    pub diagnostics: Vec<Diagnostic>,
    /// There if, and only if, there is no error.
    pub graph: Option<Graph>,
    /// The dimensions of the graph by name, open or not.
    pub dims: BTreeMap<String, Dim>,
    /// Where the graph is written; empty if there is none.
    pub places: Places,
    /// It asks whether it is trained: with [`Options::training`] it is another program.
    pub asks_training: bool,
}

/// Where the graph is written.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Those of the graph's body and of its layers' instances.
    pub bindings: Vec<Binding>,
    /// The name of each parameter where it is declared, and the calls around it from the inside out.
    pub params: Vec<Vec<Span>>,
    /// For each node, what it was written as, and the calls around it from the inside out.
    pub nodes: Vec<Vec<Span>>,
    /// For operations that stretch several operands, where these are written.
    pub operands: BTreeMap<NodeId, Vec<Span>>,
}

/// A name for a value.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The path of instances and the name: `h.u`.
    pub path: String,
    /// `None` where no output needs it.
    pub node: Option<NodeId>,
    /// The expression that it is bound to.
    pub span: Span,
}

/// Checks a program, called `name` in messages, and translates one of its graphs.
pub fn check(name: &str, text: &str, loader: &dyn Loader, options: &Options) -> Checked {
    Program::read(name, text, loader).check(options)
}

/// A program that was read, to check one graph after the other.
pub struct Program<'l> {
    modules: Modules<'l>,
    id: ModuleId,
    /// What there is to say of the items that the first graph does not use.
    rest: Option<Vec<Diagnostic>>,
}

impl<'l> Program<'l> {
    /// Reads a program, called `name` in messages, and what it uses.
    pub fn read(name: &str, text: &str, loader: &'l dyn Loader) -> Program<'l> {
        let mut modules = Modules::new(loader);
        let id = modules.add(name, text);
        Program { modules, id, rest: None }
    }

    /// As [`check`].
    pub fn check(&mut self, options: &Options) -> Checked {
        self.modules.start_again();
        let name = options.graph.as_deref();
        let Translated { graph, dims, asks_training } =
            match choose(&mut self.modules, self.id, name) {
                Some(id) => self.translate(id, options),
                None => {
                    let mut elaborator = Elaborator::new(&mut self.modules, false);
                    check_rest(&mut elaborator, self.id, &mut self.rest);
                    Translated::default()
                }
            };
        let mut diagnostics = std::mem::take(&mut self.modules.diagnostics);
        sort(&mut diagnostics);
        let is_fine = diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error);
        let (graph, places) = graph.filter(|_| is_fine).unzip();
        let (sources, places) = (self.modules.sources.clone(), places.unwrap_or_default());
        Checked { sources, diagnostics, graph, dims, places, asks_training }
    }

    fn translate(&mut self, id: DefId, options: &Options) -> Translated {
        let modules = &mut self.modules;
        let name = modules.name(id).to_string();
        let mut elaborator = Elaborator::new(modules, options.training);
        elaborator.graph(id, &options.dims);
        if elaborator.is_full() {
            return Translated::default();
        }
        let (typed, problems) = infer::infer(&mut elaborator.program, options.sized);
        elaborator.modules.diagnostics.extend(problems);
        let is_fine =
            elaborator.modules.diagnostics.iter().all(|diagnostic| !diagnostic.is_error());
        let graph = is_fine.then(|| emit::emit(&name, &elaborator.program, &typed, options.carry));
        check_rest(&mut elaborator, self.id, &mut self.rest);
        let dims = std::mem::take(&mut elaborator.program.dims);
        let asks_training = elaborator.asks_training;
        let graph = graph.and_then(|graph| graph.map_err(|e| modules.diagnostics.push(*e)).ok());
        Translated { graph, dims, asks_training }
    }
}

/// What has come of one graph of a program.
#[derive(Default)]
struct Translated {
    graph: Option<(Graph, Places)>,
    dims: BTreeMap<String, Dim>,
    asks_training: bool,
}

/// Looks for errors in the functions, layers and constants that the graph does not use. For the next graph they are
/// known: it may use other ones, but this one used those then.
fn check_rest(
    elaborator: &mut Elaborator<'_, '_>,
    program: ModuleId,
    known: &mut Option<Vec<Diagnostic>>,
) {
    if let Some(known) = known {
        return elaborator.modules.diagnostics.extend_from_slice(known);
    }
    let before = elaborator.modules.diagnostics.len();
    for id in elaborator.modules.definitions(program) {
        let (items, index) = elaborator.modules.definition(id);
        match &items[index].kind {
            ItemKind::Const(_) => elaborator.check_constant(id),
            ItemKind::Fn(_) | ItemKind::Layer(_) if !elaborator.used.contains(&id) => {
                elaborator.uncalled(id);
            }
            _ => {}
        }
    }
    *known = Some(elaborator.modules.diagnostics[before..].to_vec());
}

/// The graph that is asked for, or the only one; reports if there is none.
fn choose(modules: &mut Modules<'_>, program: ModuleId, name: Option<&str>) -> Option<DefId> {
    let items = modules.items(program);
    let own = name.and_then(|name| modules.own(program, name));
    if own.is_some_and(|id| matches!(items[id.item()].kind, ItemKind::Graph(_))) {
        return own;
    }
    let graphs: Vec<(DefId, String)> = modules
        .definitions(program)
        .zip(items.iter())
        .filter(|(_, item)| matches!(item.kind, ItemKind::Graph(_)))
        .map(|(id, _)| (id, modules.name(id).to_string()))
        .collect();
    let names: Vec<_> = graphs.iter().map(|(_, name)| format!("`{name}`")).collect();
    let names = names.join(", ");
    let problem = match (name, graphs.as_slice()) {
        (None, [(id, _)]) => return Some(*id),
        (None, []) => {
            // A file that did not parse may well have one.
            if modules.diagnostics.iter().any(Diagnostic::is_error) {
                return None;
            }
            Diagnostic::error("E018", "the program has no graph")
                .hint("an entry point is `graph name(inputs) -> (outputs) { … }`")
        }
        (None, _) => Diagnostic::error("E018", "the program has several graphs")
            .expected("the name of one of them")
            .note(format!("its graphs are {names}")),
        (Some(name), graphs) => {
            if let Some((id, _)) = graphs.iter().find(|(_, graph)| graph == name) {
                return Some(*id);
            }
            if modules.diagnostics.iter().any(Diagnostic::is_error) && graphs.is_empty() {
                return None;
            }
            let likely = report::closest(name, graphs.iter().map(|(_, graph)| graph.as_str()));
            let problem = Diagnostic::error("E018", format!("the program has no graph `{name}`"));
            match likely {
                Some(likely) => problem.hint(format!("did you mean `{likely}`?")),
                None => problem.note(format!("its graphs are {names}")),
            }
        }
    };
    let problem =
        graphs.iter().fold(problem, |problem, (id, _)| problem.label(modules.span(*id), "a graph"));
    modules.diagnostics.push(problem);
    None
}

/// Orders diagnostics by their places, and drops what is said twice of the same places.
pub(crate) fn sort(diagnostics: &mut Vec<Diagnostic>) {
    let place = |diagnostic: &Diagnostic| {
        diagnostic.labels.first().map(|label| (label.span.file, label.span.start))
    };
    diagnostics.sort_by_key(place);
    let mut seen = HashSet::new();
    diagnostics.retain(|diagnostic| {
        let spans: Vec<_> = diagnostic.labels.iter().map(|label| label.span).collect();
        seen.insert((diagnostic.code, spans, diagnostic.message.clone()))
    });
}

#[cfg(test)]
mod tests;
