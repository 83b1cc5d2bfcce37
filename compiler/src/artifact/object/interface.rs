//! What C sees of a program: structures and the arguments of functions. The header spells it, the code
//! follows it.

use std::collections::BTreeSet;

use super::ObjectError;
use crate::ir::Verified;
use crate::ir::graph::{Dim, ParamKind, Role, Symbol};
use crate::ir::kernel::{BufferId, BufferSource, Pass, Program, Storage};
use crate::middle::optimizer::{LEARNING_RATE, STEP};
use crate::target::cpu::plan::{IN_ORDER, Plan};

pub(super) struct Interface<'p> {
    pub program: &'p Program,
    /// How it runs: one kernel after the other.
    pub plan: Plan,
    /// The open dimensions, with their names in C.
    pub dims: Vec<(Symbol, String)>,
    /// Pointers to the inputs, by their index in the program.
    pub inputs: Vec<(usize, String)>,
    pub params: Vec<Member>,
    /// The program's states and the optimiser's memory.
    pub state: Vec<Member>,
    /// Pointers to the results.
    pub outputs: Vec<(BufferId, String)>,
    pub gradients: Vec<(BufferId, String)>,
}

/// An array in a structure.
pub(super) struct Member {
    /// Its index in the program.
    pub param: usize,
    pub name: String,
    pub dims: Vec<i64>,
    /// Where it is, in bytes.
    pub offset: i64,
}

/// An argument of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Argument {
    /// By its index in [`Interface::dims`].
    Dim(usize),
    Inputs,
    Params,
    State,
    Outputs,
    Gradients,
    LearningRate,
    Step,
    Workspace,
}

impl Member {
    pub fn elements(&self) -> i64 {
        self.dims.iter().product()
    }
}

impl<'p> Interface<'p> {
    pub fn new(program: &'p Verified<Program>) -> Result<Interface<'p>, ObjectError> {
        let types = program.inputs.iter().map(|input| &input.ty.dims);
        let types = types.chain(program.buffers.iter().map(|buffer| &buffer.dims));
        let open = types.flatten().chain(&program.time).flat_map(Dim::symbols);
        let open: BTreeSet<&Symbol> = open.collect();
        let mut names = Names::default();
        for argument in ["inputs", "params", "state", "outputs", "grads", "workspace"] {
            names.take(argument);
        }
        let dims = open.into_iter().map(|symbol| (symbol.clone(), names.take(symbol)));
        let dims = dims.collect();
        let mut names = Names::default();
        let inputs = program.inputs.iter().enumerate();
        let inputs = inputs.filter(|(_, input)| ![LEARNING_RATE, STEP].contains(&&*input.name));
        let inputs = inputs.map(|(index, input)| (index, names.take(&input.name))).collect();
        let results = |wanted: Role| {
            let mut names = Names::default();
            let results = program.results.iter().filter(|(role, ..)| *role == wanted);
            results.map(|(_, name, buffer)| (*buffer, names.take(name))).collect()
        };
        Ok(Interface {
            plan: Plan::new(program, &IN_ORDER, &mut |_, _| {}),
            program,
            dims,
            inputs,
            params: members(program, false)?,
            state: members(program, true)?,
            outputs: results(Role::Output),
            gradients: results(Role::Gradient),
        })
    }

    /// The passes that there is a function for.
    pub fn passes(&self) -> Vec<Pass> {
        let has_gradients = !self.gradients.is_empty();
        let backward = has_gradients.then_some(Pass::Backward);
        let is_updated = self.has_input(LEARNING_RATE) || self.program.state().is_some();
        let update = is_updated.then_some(Pass::Update);
        [Some(Pass::Forward), backward, update].into_iter().flatten().collect()
    }

    pub fn arguments(&self, pass: Pass) -> Vec<Argument> {
        let inputs = (!self.inputs.is_empty()).then_some(Argument::Inputs);
        let params = (!self.params.is_empty()).then_some(Argument::Params);
        let state = (!self.state.is_empty()).then_some(Argument::State);
        let read_state = state.filter(|_| self.program.state().is_some());
        let rate = self.has_input(LEARNING_RATE).then_some(Argument::LearningRate);
        let step = self.has_input(STEP).then_some(Argument::Step);
        let own = match pass {
            Pass::Forward => [inputs, params, read_state, Some(Argument::Outputs)],
            Pass::Backward => [inputs, params, read_state, Some(Argument::Gradients)],
            Pass::Update => [params, state, rate, step],
        };
        let workspace = [Some(Argument::Workspace)];
        self.dim_arguments().chain(own.into_iter().chain(workspace).flatten()).collect()
    }

    pub fn dim_arguments(&self) -> impl Iterator<Item = Argument> + use<> {
        (0..self.dims.len()).map(Argument::Dim)
    }

    /// What a pass leaves: pointers for a structure of the caller.
    pub fn results(&self, pass: Pass) -> &[(BufferId, String)] {
        match pass {
            Pass::Forward => &self.outputs,
            Pass::Backward => &self.gradients,
            Pass::Update => &[],
        }
    }

    /// The inputs that something depends on.
    pub fn is_used(&self, input: usize) -> bool {
        self.program.buffers.iter().any(|buffer| buffer.source == BufferSource::Input(input))
    }

    fn has_input(&self, name: &str) -> bool {
        self.program.inputs.iter().any(|input| input.name == name)
    }
}

impl Argument {
    pub fn is_pointer(self) -> bool {
        use Argument::*;
        matches!(self, Inputs | Params | State | Outputs | Gradients | Workspace)
    }
}

/// Those that stay from run to run without being parameters, or the others.
fn members(program: &Program, is_state: bool) -> Result<Vec<Member>, ObjectError> {
    let mut names = Names::default();
    let mut offset = 0i64;
    let mut members = Vec::new();
    for (index, param) in program.params.iter().enumerate() {
        if matches!(param.kind, ParamKind::State | ParamKind::OptimizerState) != is_state {
            continue;
        }
        let dims: Option<Vec<i64>> = param.dims.iter().map(Dim::as_const).collect();
        let dims = dims.ok_or_else(|| ObjectError::OpenDims(param.path.clone()))?;
        let element = Storage::of(param.elem).bytes(1);
        let bytes = dims.iter().try_fold(element, |bytes, dim| bytes.checked_mul(*dim));
        let end = bytes.and_then(|bytes| offset.checked_add(bytes));
        let end = end.ok_or_else(|| ObjectError::TooLarge(param.path.clone()))?;
        members.push(Member { param: index, name: names.take(&param.path), dims, offset });
        offset = end;
    }
    Ok(members)
}

/// Identifiers that stand for names of the program in one place of the header.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// The nearest identifier that is no word of C or C++ and is not taken.
    fn take(&mut self, name: &str) -> String {
        let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut name: String = name.chars().map(legal).collect();
        while WORDS.contains(&&*name) || self.0.contains(&name) {
            name.push('_');
        }
        self.0.insert(name.clone());
        name
    }
}

/// The words of C and C++ that are names in the language of programs.
const WORDS: [&str; 92] = [
    "alignas",
    "alignof",
    "and",
    "and_eq",
    "asm",
    "auto",
    "bitand",
    "bitor",
    "bool",
    "break",
    "case",
    "catch",
    "char",
    "char16_t",
    "char32_t",
    "char8_t",
    "class",
    "co_await",
    "co_return",
    "co_yield",
    "compl",
    "concept",
    "const",
    "const_cast",
    "consteval",
    "constexpr",
    "constinit",
    "continue",
    "decltype",
    "default",
    "delete",
    "do",
    "double",
    "dynamic_cast",
    "else",
    "enum",
    "explicit",
    "export",
    "extern",
    "false",
    "float",
    "for",
    "friend",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "mutable",
    "namespace",
    "new",
    "noexcept",
    "not",
    "not_eq",
    "nullptr",
    "operator",
    "or",
    "or_eq",
    "private",
    "protected",
    "public",
    "register",
    "reinterpret_cast",
    "requires",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "static_assert",
    "static_cast",
    "struct",
    "switch",
    "template",
    "this",
    "thread_local",
    "throw",
    "true",
    "try",
    "typedef",
    "typeid",
    "typename",
    "typeof",
    "union",
    "unsigned",
    "using",
    "virtual",
    "void",
    "volatile",
    "while",
    "xor",
];
