//! Syntax tree → [`Graph`]: names and modules, instances of layers, dimensions, types and clocks.
//!
//! 1. `modules` reads the files that a program uses and says what a name means in each.
//! 2. `elaborate` inlines functions and instantiates layers, into a list of untyped terms (`term`).
//! 3. `infer` carries dimensions and clocks from operands to users until nothing changes (`shape`), unifies
//!    element types (`dtypes`), and checks everything.
//! 4. `emit` writes the graph.
//!
//! `ops` has what each of them asks of an operation of the language, an `Operation`: its calls, its types and the
//! graph that it is written as.
//!
//! An error leaves a term behind that is silent, so that one mistake is one report.

#![cfg_attr(not(test), deny(clippy::wildcard_enum_match_arm))]

mod dtypes;
mod elaborate;
mod emit;
mod infer;
mod initialisers;
mod modules;
mod ops;
mod program;
mod report;
mod shape;
mod signatures;
mod term;
mod types;

use std::collections::BTreeMap;
use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::ir::graph::{Clock, Dim, Graph, NodeId};
use crate::source::{Sources, Span};
use dtypes::Dtypes;
pub use emit::CARRIED;
use emit::Emitter;
pub(crate) use modules::{is_standard, standard_item};
pub use modules::{standard_module, standard_modules};
pub use ops::PROGRESS;
pub(crate) use program::sort;
pub use program::{Program, check};
use report::Problem;
pub use report::closest;
use shape::Rules;
pub use signatures::{
    ArgumentHead, DimHead, FunctionHead, GraphHead, Heads, InputHead, OutputHead, bind_dims, heads,
};
use term::Static;
use types::Shape;

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

/// An operation of the language with the attributes of a call: what the stages ask of it.
trait Operation: fmt::Debug {
    /// As a message names it.
    fn name(&self) -> &'static str;

    /// How many of its operands are tensors. Those behind are numbers that the program gives when compiling.
    fn tensors(&self) -> usize {
        usize::MAX
    }

    /// It takes its first operand from the step before.
    fn is_delay(&self) -> bool {
        false
    }

    /// What it needs of time.
    fn time(&self) -> Time {
        Time::Nothing
    }

    /// When its result exists, where that does not follow from the operands.
    fn clock(&self) -> Option<Clock> {
        None
    }

    /// The number that it is at compile time, by those that its operands are; `None` is: not known yet.
    fn number(&self, _: &[Option<&Static>]) -> Option<Static> {
        Some(Static::Never)
    }

    /// The dimensions of the result, as far as they follow from what is known, or what is wrong with the
    /// operands.
    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem>;

    /// Relates the elements of the operands and of the result.
    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem>;

    /// What else is wrong with its operands, once their dimensions and clocks are known.
    fn check(&self, _: &Rules<'_>) -> Result<(), Problem> {
        Ok(())
    }

    /// Writes it in operations of the graph. `args` are the operands that are tensors, that of another step
    /// left out.
    fn emit(&self, emitter: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem>;
}

/// What an operation needs of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    Nothing,
    /// That there are steps.
    Steps,
    /// All steps of its operand.
    AllSteps,
}

#[cfg(test)]
mod tests;
