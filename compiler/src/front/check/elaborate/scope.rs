//! The names of one body, and where what it owns has its paths.

use std::collections::BTreeMap;

use super::Value;
use crate::front::check::modules::ModuleId;
use crate::front::check::term::{FrameId, TermId};
use crate::front::syntax::ast::Name;
use crate::source::Span;

/// The names of one body.
pub struct Scope {
    pub module: ModuleId,
    pub(super) kind: ScopeKind,
    /// Of the names of bindings, parameters and instances.
    pub home: Home,
    pub frame: Option<FrameId>,
    pub(super) values: BTreeMap<String, Value>,
    pub(super) states: BTreeMap<String, StateOf>,
    /// Bindings not reached yet.
    pub(super) later: BTreeMap<String, Later>,
    /// Instances that no single name holds, for each layer.
    unnamed: BTreeMap<String, usize>,
    /// The binding that is being elaborated, and how many `prev` are around the expression.
    pub(super) current: Vec<String>,
    pub(super) prevs: usize,
    pub(super) early: Vec<(Vec<String>, Name)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ScopeKind {
    Constant,
    Function,
    Layer,
    Graph,
}

/// Where what a body owns has its names.
#[derive(Clone, Debug, Default)]
pub struct Home {
    /// Before the names of parameters: `h.`.
    pub params: String,
    /// Before the names of bindings and memories: `h.`, or `f.2.` in the second call of an instance.
    pub memory: String,
    /// It is within an instance: another call of it may have made the parameters.
    pub is_shared: bool,
}

impl Home {
    /// That of an instance in the body.
    pub fn inner(&self, name: &str) -> Home {
        let [params, memory] = [&self.params, &self.memory].map(|path| format!("{path}{name}."));
        Home { params, memory, is_shared: self.is_shared }
    }
}

/// A state of a body.
pub(super) struct StateOf {
    /// Among the parameters.
    pub index: usize,
    pub dims: Vec<TermId>,
    /// Where its next value is given.
    pub next: Option<Span>,
}

pub(super) struct Later {
    pub span: Span,
    /// The terms that stand for it.
    pub forwards: Vec<TermId>,
}

impl Scope {
    pub fn new(module: ModuleId, kind: ScopeKind, home: Home, frame: Option<FrameId>) -> Scope {
        Scope {
            module,
            kind,
            home,
            frame,
            values: BTreeMap::new(),
            states: BTreeMap::new(),
            later: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            current: Vec::new(),
            prevs: 0,
            early: Vec::new(),
        }
    }

    /// Whether `prev` may stand here.
    pub fn has_memory(&self) -> bool {
        matches!(self.kind, ScopeKind::Layer | ScopeKind::Graph)
    }

    /// What a name stands for, if it has a value by now.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    pub fn comes_later(&self, name: &str) -> bool {
        self.later.contains_key(name)
    }

    /// The name of an instance that no single name holds.
    pub fn unnamed(&mut self, layer: &str) -> String {
        let count = self.unnamed.entry(layer.to_string()).or_default();
        *count += 1;
        format!("{layer}_{count}")
    }

    /// Around what stands inside a `prev`.
    pub fn enter_prev(&mut self) {
        self.prevs += 1;
    }

    pub fn leave_prev(&mut self) {
        self.prevs -= 1;
    }
}
