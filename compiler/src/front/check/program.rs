//! A program that was read, and its graphs one after the other.

use std::collections::{BTreeMap, HashSet};

use super::elaborate::Elaborator;
use super::modules::{DefId, ModuleId, Modules};
use super::{Checked, Options, Places, emit, infer, ops, report};
use crate::diagnostic::{Diagnostic, Severity};
use crate::front::syntax::ast::ItemKind;
use crate::ir::graph::{Dim, Graph};
use crate::source::Loader;

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
        let mut modules = Modules::new(loader, ops::exists);
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
            ItemKind::Use(_) | ItemKind::Fn(_) | ItemKind::Layer(_) | ItemKind::Graph(_) => {}
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
