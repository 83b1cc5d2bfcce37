//! Memories from run to run: with `carry` every `prev` starts from a state that holds what it would have had next.

use super::Emitter;
use crate::front::check::term::{Kind, TermId};
use crate::ir::graph::{
    Dim, Elem, Init, NodeId, Op, Param, ParamKind, Pointwise, Role, Root, Type,
};

/// How the paths of the states begin that hold memories from run to run.
pub const CARRIED: &str = "carry.";

/// The states that a program has got so far.
#[derive(Default)]
pub struct Carry {
    /// Those of memories, and the terms whose last steps they take.
    memories: Vec<(String, TermId)>,
    /// For each shape, the state that is 0 until a run has ended, and its value after one.
    flags: Vec<(Vec<Dim>, NodeId)>,
    /// The next values of states that are known at once.
    nexts: Vec<(String, NodeId)>,
    /// The number of steps before this run.
    steps: Option<NodeId>,
}

impl Emitter<'_, '_> {
    /// Where a memory starts: as written in the first run, then with what `x` had at the end of the run before.
    pub fn carried_init(&mut self, x: TermId, ty: &Type, init: NodeId) -> NodeId {
        let path = self.state_path(self.written_name(x));
        // Booleans are kept as numbers.
        let elem = if ty.elem == Elem::Bool { Elem::F32 } else { ty.elem };
        let mut state = self.state(&path, elem, &ty.dims);
        if ty.elem == Elem::Bool {
            let zero = self.builder.full_like(0.0, state);
            state = self.builder.binary(Pointwise::Ne, state, zero);
        }
        let flag = self.has_run(&ty.dims);
        let flag = self.builder.broadcast(flag, &ty.dims);
        if let Some(carry) = &mut self.carry {
            carry.memories.push((path, x));
        }
        self.builder.select(flag, state, init)
    }

    /// The number of a step, counted from the first run on.
    pub fn carried_step(&mut self, step: NodeId) -> NodeId {
        let known = self.carry.as_ref().and_then(|carry| carry.steps);
        let before = known.unwrap_or_else(|| {
            let path = self.state_path("steps".into());
            let before = self.state(&path, Elem::I32, &[]);
            let steps = self.builder.graph().time.clone().unwrap_or_else(Dim::one);
            let steps = self.builder.size(steps, Elem::I32);
            let next = self.builder.add(before, steps);
            if let Some(carry) = &mut self.carry {
                carry.nexts.push((path, next));
                carry.steps = Some(before);
            }
            before
        });
        let before = self.builder.unary(Pointwise::ToF32, before);
        self.builder.add(step, before)
    }

    /// The next values of all states that were made.
    pub fn carried(&mut self) -> Vec<Root> {
        let Some(carry) = self.carry.take() else { return Vec::new() };
        let root = |(name, node)| Root { name, role: Role::Next, node };
        let mut roots: Vec<Root> = carry.nexts.into_iter().map(root).collect();
        for (path, x) in carry.memories {
            let Some(x) = self.nodes[x.0 as usize] else { continue };
            let x = self.builder.as_stream(x);
            let last = self.builder.push(Op::Last, vec![x]);
            let last = match self.builder.ty(last).elem {
                Elem::Bool => self.builder.unary(Pointwise::ToF32, last),
                Elem::F32 | Elem::I32 => last,
            };
            roots.push(root((path, last)));
        }
        roots
    }

    /// Whether a run has ended before, for each index of the open dimensions: where their sizes change, states
    /// start again.
    fn has_run(&mut self, dims: &[Dim]) -> NodeId {
        let open = |dim: &Dim| if dim.as_const().is_none() { dim.clone() } else { Dim::one() };
        let dims: Vec<Dim> = match dims.iter().all(|dim| dim.as_const().is_some()) {
            true => Vec::new(),
            false => dims.iter().map(open).collect(),
        };
        let carry = self.carry.get_or_insert_default();
        if let Some((_, flag)) = carry.flags.iter().find(|(known, _)| *known == dims) {
            return *flag;
        }
        let path = self.state_path("has_run".into());
        let state = self.state(&path, Elem::I32, &dims);
        let (zero, one) = (self.builder.full_like(0.0, state), self.builder.full_like(1.0, state));
        let flag = self.builder.binary(Pointwise::Ne, state, zero);
        let carry = self.carry.get_or_insert_default();
        carry.flags.push((dims, flag));
        carry.nexts.push((path, one));
        flag
    }

    /// A state that starts from zeros.
    pub fn state(&mut self, path: &str, elem: Elem, dims: &[Dim]) -> NodeId {
        let params = &mut self.builder.graph_mut().params;
        params.push(Param {
            path: path.into(),
            elem,
            dims: dims.to_vec(),
            init: Init::Constant(0.0),
            bounds: None,
            docs: String::new(),
            kind: ParamKind::State,
        });
        let index = params.len() - 1;
        self.builder.push(Op::Param(index), vec![])
    }

    /// A path that no parameter has.
    fn state_path(&self, name: String) -> String {
        let params = &self.builder.graph().params;
        let taken = |path: &String| params.iter().any(|param| param.path == *path);
        let first = format!("{CARRIED}{name}");
        let others = (2..).map(|number| format!("{CARRIED}{name}_{number}"));
        std::iter::once(first.clone()).chain(others).find(|path| !taken(path)).unwrap_or(first)
    }

    /// The path of the binding that a term is.
    fn written_name(&self, term: TermId) -> String {
        let term = &self.program.terms[term];
        let target = match (&term.kind, term.args.first()) {
            (Kind::Forward, Some(target)) => &self.program.terms[*target],
            _ => term,
        };
        target.name.as_deref().unwrap_or("memory").to_string()
    }
}
