//! Files and the names in them: what `use` loads, and which item a name means in a module.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::report;
use crate::diagnostic::Diagnostic;
use crate::front::syntax::ast::{Item, ItemKind, Name, Use, UseNames};
use crate::front::syntax::parse;
use crate::source::{Loader, Source, Sources, Span};

/// The modules of the standard library. Every module sees the prelude's names without `use`.
const STD: &[(&str, &str)] = &[
    (PRELUDE, include_str!("../../../std/prelude.fgi")),
    ("encode", include_str!("../../../std/encode.fgi")),
    ("layer", include_str!("../../../std/layer.fgi")),
    ("loss", include_str!("../../../std/loss.fgi")),
    ("neuron", include_str!("../../../std/neuron.fgi")),
    ("optim", include_str!("../../../std/optim.fgi")),
    ("quant", include_str!("../../../std/quant.fgi")),
    ("spike", include_str!("../../../std/spike.fgi")),
    ("surrogate", include_str!("../../../std/surrogate.fgi")),
];

/// The text of a module of the standard library.
pub fn standard_module(name: &str) -> Option<&'static str> {
    STD.iter().find(|(module, _)| *module == name).map(|(_, text)| *text)
}

/// The names of the modules of the standard library.
pub fn standard_modules() -> impl Iterator<Item = &'static str> {
    STD.iter().map(|(name, _)| *name)
}

/// Whether a text is a module of the standard library.
pub fn is_standard(source: &Source) -> bool {
    let module = source.name.strip_prefix("std/").and_then(|name| name.strip_suffix(".fgi"));
    module.and_then(standard_module).is_some_and(|text| *text == *source.text)
}

/// Whether a module of the standard library has an item of this name.
pub fn standard_item(module: &str, name: &str) -> bool {
    standard_module(module).is_some_and(|text| defines(text, name))
}

/// The module that every other one sees, which also has all operations: `prelude::tanh(x)`.
pub const PRELUDE: &str = "prelude";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleId(usize);

/// An item of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DefId {
    pub module: ModuleId,
    item: usize,
}

impl DefId {
    /// Its index among the items of its module.
    pub fn item(self) -> usize {
        self.item
    }
}

/// Why a path means no item.
pub enum Unresolved {
    /// No item of this name; with a likely one.
    Unknown(Option<String>),
    /// The module is missing, which is reported.
    Reported,
}

/// All modules of a compilation.
pub struct Modules<'l> {
    loader: &'l dyn Loader,
    is_operation: fn(&str) -> bool,
    pub sources: Sources,
    pub diagnostics: Vec<Diagnostic>,
    /// Those that reading the files gave.
    of_files: Vec<Diagnostic>,
    list: Vec<Module>,
    by_name: HashMap<String, State>,
    /// The modules whose `use` are being read, with the place of the `use` that named them.
    loading: Vec<(String, Span)>,
}

struct Module {
    items: Rc<[Item]>,
    /// The items of this file.
    own: BTreeMap<String, DefId>,
    /// The names that explicit `use` brought in.
    used: BTreeMap<String, DefId>,
    /// The names that `use m::*` brought in: everything else goes before.
    globbed: BTreeMap<String, DefId>,
    /// The names that could not be brought in, or not defined, which is reported.
    broken: Broken,
}

#[derive(Default)]
struct Broken {
    names: BTreeSet<String>,
    /// A whole module is missing: any name may be one of its.
    any: bool,
}

enum State {
    Loading,
    Loaded(ModuleId),
    Missing,
}

impl<'l> Modules<'l> {
    /// The modules of a program; the first is the prelude. What the language itself has a name for is no
    /// item of theirs.
    pub fn new(loader: &'l dyn Loader, is_operation: fn(&str) -> bool) -> Modules<'l> {
        let mut modules = Modules {
            loader,
            is_operation,
            sources: Sources::default(),
            diagnostics: Vec::new(),
            of_files: Vec::new(),
            list: Vec::new(),
            by_name: HashMap::new(),
            loading: Vec::new(),
        };
        modules.load_std(PRELUDE);
        modules
    }

    /// Reads a file and all that it uses.
    pub fn add(&mut self, name: &str, text: &str) -> ModuleId {
        let before = self.diagnostics.len();
        let file = self.sources.add(name, text);
        let (ast, diagnostics) = parse(text, file);
        let id = ModuleId(self.list.len());
        let mut own = BTreeMap::new();
        let mut spans: BTreeMap<&str, Span> = BTreeMap::new();
        for (item, definition) in ast.items.iter().enumerate() {
            let Some(name) = item_name(definition) else { continue };
            match spans.get(name.text.as_str()) {
                Some(first) => self.diagnostics.push(report::clash(name, *first)),
                None => {
                    spans.insert(&name.text, name.span);
                    own.insert(name.text.clone(), DefId { module: id, item });
                }
            }
        }
        let has_errors = !diagnostics.is_empty();
        let lost = if has_errors { lost_names(text, &own) } else { BTreeSet::new() };
        let items: Rc<[Item]> = ast.items.into();
        let module = Module {
            items: items.clone(),
            own,
            used: BTreeMap::new(),
            globbed: BTreeMap::new(),
            broken: Broken { names: lost, any: false },
        };
        self.list.push(module);
        self.diagnostics.extend(diagnostics);
        for item in items.iter() {
            if let ItemKind::Use(item) = &item.kind {
                self.import(id, item);
            }
        }
        self.of_files.extend_from_slice(&self.diagnostics[before..]);
        id
    }

    /// Forgets what was said of a graph.
    pub fn start_again(&mut self) {
        self.diagnostics.clone_from(&self.of_files);
    }

    /// The item of this name that is defined in a module itself.
    pub fn own(&self, module: ModuleId, name: &str) -> Option<DefId> {
        self.list[module.0].own.get(name).copied()
    }

    pub fn items(&self, module: ModuleId) -> Rc<[Item]> {
        self.list[module.0].items.clone()
    }

    /// The items of a definition's module and its index among them.
    pub fn definition(&self, id: DefId) -> (Rc<[Item]>, usize) {
        (self.items(id.module), id.item)
    }

    /// The items of a module in their order.
    pub fn definitions(&self, module: ModuleId) -> impl Iterator<Item = DefId> + use<> {
        (0..self.list[module.0].items.len()).map(move |item| DefId { module, item })
    }

    pub fn name(&self, id: DefId) -> &str {
        item_name(&self.list[id.module.0].items[id.item]).map_or("", |name| &name.text)
    }

    pub fn span(&self, id: DefId) -> Span {
        let item = &self.list[id.module.0].items[id.item];
        item_name(item).map_or(item.span, |name| name.span)
    }

    /// The item that a path means in a module: the prelude's names are the last to be looked at.
    pub fn resolve(&mut self, module: ModuleId, path: &[Name]) -> Result<DefId, Unresolved> {
        match path {
            [name] => self.visible(module, &name.text).ok_or_else(|| {
                match self.is_broken(module, &name.text) {
                    true => Unresolved::Reported,
                    false => Unresolved::Unknown(self.likely(module, &name.text)),
                }
            }),
            [of @ .., name] => {
                let Some(target) = self.load(module, of) else { return Err(Unresolved::Reported) };
                let target_module = &self.list[target.0];
                match target_module.own.get(&name.text) {
                    Some(id) => Ok(*id),
                    None if target_module.broken.names.contains(&name.text) => {
                        Err(Unresolved::Reported)
                    }
                    None => Err(Unresolved::Unknown(self.likely_own(target, &name.text))),
                }
            }
            [] => Err(Unresolved::Reported),
        }
    }

    /// The item that a name means in a module. What `use m::*` brings in hides no operation.
    pub fn visible(&self, module: ModuleId, name: &str) -> Option<DefId> {
        let here = &self.list[module.0];
        let globbed = (!(self.is_operation)(name)).then_some(&here.globbed);
        let prelude = self.list.first().map(|prelude| &prelude.own);
        [Some(&here.own), Some(&here.used), globbed, prelude]
            .into_iter()
            .flatten()
            .find_map(|names| names.get(name))
            .copied()
    }

    /// Whether the name would be known but for an error that is reported. Operations are always known.
    fn is_broken(&self, module: ModuleId, name: &str) -> bool {
        let broken = &self.list[module.0].broken;
        broken.names.contains(name) || (broken.any && !(self.is_operation)(name))
    }

    /// A visible name like this one; else a standard module that has the very name.
    fn likely(&self, module: ModuleId, name: &str) -> Option<String> {
        let here = &self.list[module.0];
        let names = here.own.keys().chain(here.used.keys()).chain(here.globbed.keys());
        let prelude = self.list.first().into_iter().flat_map(|prelude| prelude.own.keys());
        report::closest(name, names.chain(prelude).map(String::as_str))
            .map(|likely| format!("did you mean `{likely}`?"))
            .or_else(|| {
                let (std, _) = STD.iter().find(|(_, text)| defines(text, name))?;
                Some(format!("write `use {std}::{name};` at the top of the file"))
            })
    }

    fn likely_own(&self, module: ModuleId, name: &str) -> Option<String> {
        report::closest(name, self.list[module.0].own.keys().map(String::as_str))
            .map(|likely| format!("did you mean `{likely}`?"))
    }

    fn import(&mut self, into: ModuleId, item: &Use) {
        let Some(from) = self.load(into, &item.path) else {
            let broken = &mut self.list[into.0].broken;
            match &item.names {
                UseNames::All => broken.any = true,
                UseNames::Some(names) => {
                    let names = names.iter().map(|(name, alias)| alias.as_ref().unwrap_or(name));
                    broken.names.extend(names.map(|name| name.text.clone()));
                }
            }
            return;
        };
        match &item.names {
            UseNames::All => {
                let names: Vec<_> =
                    self.list[from.0].own.iter().map(|(name, id)| (name.clone(), *id)).collect();
                for (name, id) in names {
                    let known = self.list[into.0].globbed.insert(name.clone(), id);
                    if let Some(other) = known.filter(|other| *other != id) {
                        let at = item.path.last().map_or(Span::default(), |name| name.span);
                        let clash = Name { text: name, span: at };
                        let problem = report::clash(&clash, self.span(other));
                        self.diagnostics.push(problem);
                    }
                }
            }
            UseNames::Some(names) => {
                for (name, alias) in names {
                    let alias = alias.as_ref().unwrap_or(name);
                    let Some(id) = self.list[from.0].own.get(&name.text).copied() else {
                        let module = item.path.last().map_or("", |name| &name.text);
                        let hint = self.likely_own(from, &name.text);
                        let is_reported = self.list[from.0].broken.names.contains(&name.text);
                        if !is_reported {
                            self.diagnostics.push(report::not_in_module(name, module, hint));
                        }
                        self.list[into.0].broken.names.insert(alias.text.clone());
                        continue;
                    };
                    let here = &self.list[into.0];
                    let other = here.own.get(&alias.text).or(here.used.get(&alias.text)).copied();
                    match other {
                        Some(other) if other != id => {
                            let problem = report::clash(alias, self.span(other));
                            self.diagnostics.push(problem);
                        }
                        _ => {
                            self.list[into.0].used.insert(alias.text.clone(), id);
                        }
                    }
                }
            }
        }
    }

    /// The module of a path: a file beside the program, else one of the standard library.
    fn load(&mut self, user: ModuleId, path: &[Name]) -> Option<ModuleId> {
        let (first, last) = (path.first()?, path.last()?);
        let span = first.span.to(last.span);
        let name = path.iter().map(|name| name.text.as_str()).collect::<Vec<_>>().join("/");
        match self.by_name.get(&name) {
            Some(State::Loaded(id)) => return Some(*id),
            Some(State::Missing) => {
                self.report_missing(&name, span);
                return None;
            }
            Some(State::Loading) => {
                self.report_cycle(&name, span);
                return None;
            }
            None => {}
        }
        // The standard library uses only itself, whatever files are beside the program.
        let file = match self.is_std(user) {
            true => None,
            false => self.loader.load(&name),
        };
        match file {
            Some((shown, text)) => {
                self.by_name.insert(name.clone(), State::Loading);
                self.loading.push((name.clone(), span));
                let id = self.add(&shown, &text);
                self.loading.pop();
                self.by_name.insert(name, State::Loaded(id));
                Some(id)
            }
            None => {
                let id = self.load_std(&name);
                if id.is_none() {
                    self.report_missing(&name, span);
                    self.by_name.insert(name, State::Missing);
                }
                id
            }
        }
    }

    fn load_std(&mut self, name: &str) -> Option<ModuleId> {
        let key = format!("std/{name}");
        if let Some(State::Loaded(id)) = self.by_name.get(&key) {
            return Some(*id);
        }
        let text = standard_module(name)?;
        let id = self.add(&format!("{key}.fgi"), text);
        self.by_name.insert(key, State::Loaded(id));
        Some(id)
    }

    fn is_std(&self, module: ModuleId) -> bool {
        let file = self.list[module.0].items.first().map(|item| item.span.file);
        file.and_then(|file| self.sources.get(file))
            .is_some_and(|source| source.name.starts_with("std/"))
    }

    fn report_missing(&mut self, name: &str, span: Span) {
        let path = name.replace('/', "::");
        let likely = report::closest(name, standard_modules());
        let problem = Diagnostic::error("E010", format!("there is no module `{path}`"))
            .label(span, "not found")
            .expected(format!("a file `{name}.fgi` beside the program, or a standard module"));
        let problem = match likely {
            Some(likely) => problem.hint(format!("did you mean `{likely}`?")),
            None => {
                let names: Vec<_> = standard_modules().map(|name| format!("`{name}`")).collect();
                problem.note(format!("the standard modules are {}", names.join(", ")))
            }
        };
        self.diagnostics.push(problem);
    }

    fn report_cycle(&mut self, name: &str, span: Span) {
        let start = self.loading.iter().position(|(module, _)| module == name).unwrap_or(0);
        let chain = &self.loading[start..];
        let names: Vec<_> = chain.iter().map(|(module, _)| format!("`{module}`")).collect();
        let problem =
            Diagnostic::error("E011", format!("the module `{name}` uses itself through others"))
                .label(span, "used here again")
                .note(format!("{} → `{name}`", names.join(" → ")));
        let problem = chain.iter().fold(problem, |problem, (module, span)| {
            problem.label(*span, format!("`{module}` is used here"))
        });
        self.diagnostics.push(problem);
    }
}

pub fn item_name(item: &Item) -> Option<&Name> {
    match &item.kind {
        ItemKind::Use(_) => None,
        ItemKind::Const(item) => Some(&item.name),
        ItemKind::Fn(item) => Some(&item.name),
        ItemKind::Layer(item) => Some(&item.name),
        ItemKind::Graph(item) => Some(&item.name),
    }
}

/// Whether a text has an item of this name, as far as one can see without parsing it.
fn defines(text: &str, name: &str) -> bool {
    defined(text).any(|defined| defined == name)
}

/// The names of items of a text with errors that the parser could not read.
fn lost_names(text: &str, found: &BTreeMap<String, DefId>) -> BTreeSet<String> {
    defined(text).filter(|name| !found.contains_key(*name)).map(str::to_string).collect()
}

fn defined(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = ["fn ", "layer ", "const "].iter().find_map(|word| line.strip_prefix(word))?;
        rest.split(|char: char| !char.is_ascii_alphanumeric() && char != '_').next()
    })
}
