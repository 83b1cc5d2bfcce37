//! What is known of the types of terms: dimensions, whether they are streams, elements.

use super::term::{InputDecl, Kind, ParamDecl, Program, TermId, Terms};
use crate::ir::graph::{Dim, Elem};

/// Dimensions, each known or not; `None` if not even their number is known.
pub type Shape = Option<Vec<Option<Dim>>>;

/// What is known of the terms while types are inferred.
pub struct Types {
    /// How many steps a stream has.
    pub steps: Option<Dim>,
    pub shapes: Vec<Shape>,
    pub streams: Vec<bool>,
    pub elements: Elements,
}

impl Types {
    /// What the terms say by themselves.
    pub fn new(program: &Program) -> Types {
        let Program { terms, inputs, params, time, .. } = program;
        let steps = time.clone();
        let (shapes, streams) = (vec![None; terms.len()], vec![false; terms.len()]);
        Types { steps, shapes, streams, elements: Elements::new(terms, inputs, params) }
    }

    pub fn of(&self, id: TermId) -> &Shape {
        &self.shapes[id.0 as usize]
    }

    pub fn is_stream(&self, id: TermId) -> bool {
        self.streams[id.0 as usize]
    }

    /// As the language writes a type, with `?` for what is not known.
    pub fn show(&self, id: TermId) -> String {
        let time = if self.is_stream(id) { "T; " } else { "" };
        let elem = prefix(self.elements.of(id));
        match self.of(id) {
            None if self.is_stream(id) => "a stream of unknown dimensions".to_string(),
            None => "a tensor of unknown dimensions".to_string(),
            Some(dims) if dims.is_empty() => format!("{elem}[{}]", time.trim_end()),
            Some(dims) => format!("{elem}[{time}{}]", list(dims)),
        }
    }
}

pub fn list(dims: &[Option<Dim>]) -> String {
    let dims = dims.iter().map(|dim| dim.as_ref().map_or("?".to_string(), Dim::to_string));
    dims.collect::<Vec<_>>().join(", ")
}

/// What is known of a class of terms with the same elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// f32 or i32; f32 if nothing else comes.
    Number,
    Is(Elem),
}

/// A forest of terms with the same elements.
pub struct Elements {
    parent: Vec<u32>,
    /// Of the trees: the smaller one is hung into the larger, so that none is high.
    sizes: Vec<u32>,
    known: Vec<Known>,
}

impl Elements {
    /// What the terms say by themselves; `dtypes` relates them.
    pub fn new(terms: &Terms, inputs: &[InputDecl], params: &[ParamDecl]) -> Elements {
        let known = terms.ids().map(|id| match &terms[id].kind {
            Kind::Literal { .. } | Kind::Dimension(_) | Kind::Array(_) => Known::Number,
            Kind::Bool(_) => Known::Is(Elem::Bool),
            Kind::Input(index) => {
                inputs.get(*index).map_or(Known::Nothing, |input| Known::Is(input.elem))
            }
            Kind::Param(index) => {
                params.get(*index).map_or(Known::Nothing, |param| Known::Is(param.elem))
            }
            Kind::Typed { elem, .. } => Known::Is(*elem),
            Kind::Error | Kind::Op(_) | Kind::If | Kind::Forward | Kind::Alike => Known::Nothing,
        });
        let known = known.collect();
        let parent = terms.ids().map(|id| id.0).collect();
        let mut elements = Elements { parent, sizes: vec![1; terms.len()], known };
        // A binding mentioned early is known from its definition on.
        for id in terms.ids() {
            if let (Kind::Forward, Some(target)) = (&terms[id].kind, terms[id].args.first()) {
                let _ = elements.unify(id, *target);
            }
        }
        elements
    }

    pub fn of(&self, id: TermId) -> Elem {
        match self.known[self.root(id)] {
            Known::Is(elem) => elem,
            Known::Nothing | Known::Number => Elem::F32,
        }
    }

    fn root(&self, id: TermId) -> usize {
        let mut at = id.0 as usize;
        while self.parent[at] as usize != at {
            at = self.parent[at] as usize;
        }
        at
    }

    pub fn unify(&mut self, a: TermId, b: TermId) -> Result<(), ()> {
        let (left, right) = (self.root(a), self.root(b));
        let known = meet(self.known[left], self.known[right]).ok_or(())?;
        if left != right {
            let is_larger = self.sizes[left] >= self.sizes[right];
            let (root, other) = if is_larger { (left, right) } else { (right, left) };
            self.parent[other] = root as u32;
            self.sizes[root] += self.sizes[other];
            self.known[root] = known;
        }
        Ok(())
    }

    pub fn restrict(&mut self, id: TermId, known: Known) -> Result<(), ()> {
        let root = self.root(id);
        self.known[root] = meet(self.known[root], known).ok_or(())?;
        Ok(())
    }
}

fn meet(a: Known, b: Known) -> Option<Known> {
    match (a, b) {
        (Known::Nothing, other) | (other, Known::Nothing) => Some(other),
        (Known::Number, Known::Number) => Some(Known::Number),
        (Known::Number, Known::Is(elem)) | (Known::Is(elem), Known::Number) => {
            (elem != Elem::Bool).then_some(Known::Is(elem))
        }
        (Known::Is(one), Known::Is(other)) => (one == other).then_some(a),
    }
}

/// In front of the dimensions of a type.
pub fn prefix(elem: Elem) -> &'static str {
    match elem {
        Elem::F32 => "",
        Elem::I32 => "i32",
        Elem::Bool => "bool",
    }
}

/// The element type of an input or of a declared type.
pub fn elem_name(elem: Elem) -> &'static str {
    match elem {
        Elem::F32 => "f32",
        Elem::I32 => "i32",
        Elem::Bool => "booleans",
    }
}
