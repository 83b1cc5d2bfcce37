//! The element types of terms, by unification: a number literal takes the type it meets.

use super::infer::elem_name;
use super::shape::{Shapes, spelling};
use super::term::{InputDecl, Kind, Reduce, TermId, Terms};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::op::Signature;
use crate::ir::graph::{Elem, Reduction};

type Problem = Box<Diagnostic>;

/// What is known of a class of terms with the same elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Nothing,
    /// f32 or i32; f32 if nothing else comes.
    Number,
    Is(Elem),
}

/// A forest of terms with the same elements.
pub struct Elements {
    parent: Vec<u32>,
    known: Vec<Known>,
}

impl Elements {
    /// What the terms say by themselves; [`Elements::check`] relates them.
    pub fn new(terms: &Terms, inputs: &[InputDecl]) -> Elements {
        let known = terms.ids().map(|id| match &terms[id].kind {
            Kind::Literal { .. } | Kind::Dimension(_) => Known::Number,
            Kind::Bool(_) => Known::Is(Elem::Bool),
            Kind::Input(index) => {
                inputs.get(*index).map_or(Known::Nothing, |input| Known::Is(input.elem))
            }
            Kind::Param(_) | Kind::TimeIndex | Kind::TimeSteps => Known::Is(Elem::F32),
            Kind::Typed(elem) => Known::Is(*elem),
            _ => Known::Nothing,
        });
        let known = known.collect();
        let mut elements = Elements { parent: terms.ids().map(|id| id.0).collect(), known };
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

    fn compress(&mut self, id: TermId, root: usize) {
        let mut at = id.0 as usize;
        while at != root {
            at = std::mem::replace(&mut self.parent[at], root as u32) as usize;
        }
    }

    fn unify(&mut self, a: TermId, b: TermId) -> Result<(), ()> {
        let (left, right) = (self.root(a), self.root(b));
        let known = meet(self.known[left], self.known[right]).ok_or(())?;
        self.compress(a, left);
        self.compress(b, right);
        self.parent[right] = left as u32;
        self.known[left] = known;
        Ok(())
    }

    fn restrict(&mut self, id: TermId, known: Known) -> Result<(), ()> {
        let root = self.root(id);
        self.known[root] = meet(self.known[root], known).ok_or(())?;
        Ok(())
    }

    /// Relates the elements of a term and its operands.
    pub fn check(&mut self, terms: &Terms, shapes: &Shapes, id: TermId) -> Result<(), Problem> {
        let term = &terms[id];
        let args = &term.args;
        let here = Here { terms, shapes, id };
        match &term.kind {
            Kind::Map(op) => self.check_map(here, op.row().signature, args),
            Kind::If => match terms.taken(id) {
                Some(branch) => self.same(here, &[branch], Some(id)),
                None => self.check_map(here, Signature::Choice, args),
            },
            Kind::Sg | Kind::Prev | Kind::Concat(_) => self.same(here, args, Some(id)),
            Kind::Transpose
            | Kind::Permute(_)
            | Kind::Reshape
            | Kind::Broadcast
            | Kind::Slice { .. }
            | Kind::Flip(_) => self.same(here, &args[..1], Some(id)),
            Kind::OverTime(super::term::OverTime::First | super::term::OverTime::Last) => {
                self.same(here, &args[..1], Some(id))
            }
            Kind::Pad(_) => {
                self.expect(here, args[0], Elem::F32)?;
                self.result(here, Elem::F32)
            }
            Kind::Typed(elem) => self.expect(here, args[0], *elem),
            Kind::OverTime(_) => {
                self.expect(here, args[0], Elem::F32)?;
                self.result(here, Elem::F32)
            }
            Kind::MatMul => {
                self.expect(here, args[0], Elem::F32)?;
                self.expect(here, args[1], Elem::F32)?;
                self.result(here, Elem::F32)
            }
            Kind::Reduce { op, .. } => {
                self.expect(here, args[0], Elem::F32)?;
                let is_index = *op == Reduce::Plain(Reduction::ArgMax);
                self.result(here, if is_index { Elem::I32 } else { Elem::F32 })
            }
            Kind::Gather(_) => {
                self.expect(here, args[1], Elem::I32)?;
                self.same(here, &args[..1], Some(id))
            }
            Kind::OneHot => {
                self.expect(here, args[0], Elem::I32)?;
                self.result(here, Elem::F32)
            }
            _ => Ok(()),
        }
    }

    fn check_map(
        &mut self,
        here: Here<'_>,
        signature: Signature,
        args: &[TermId],
    ) -> Result<(), Problem> {
        match signature {
            Signature::Float => {
                args.iter().try_for_each(|arg| self.expect(here, *arg, Elem::F32))?;
                self.result(here, Elem::F32)
            }
            Signature::Numeric => {
                for arg in args {
                    if self.restrict(*arg, Known::Number).is_err() {
                        return Err(self.refuse(here, *arg, "f32 or i32"));
                    }
                }
                self.same(here, args, Some(here.id))
            }
            Signature::Compare => {
                self.same(here, args, None)?;
                self.result(here, Elem::Bool)
            }
            Signature::Logic => {
                args.iter().try_for_each(|arg| self.expect(here, *arg, Elem::Bool))?;
                self.result(here, Elem::Bool)
            }
            Signature::Choice => {
                self.expect(here, args[0], Elem::Bool)?;
                self.same(here, &args[1..], Some(here.id))
            }
            Signature::ToFloat => self.result(here, Elem::F32),
            Signature::ToInteger => self.result(here, Elem::I32),
        }
    }

    /// Operands, and perhaps the result, of one element type.
    fn same(
        &mut self,
        here: Here<'_>,
        args: &[TermId],
        result: Option<TermId>,
    ) -> Result<(), Problem> {
        for pair in args.windows(2) {
            if self.unify(pair[0], pair[1]).is_err() {
                return Err(self.mixed(here, pair[0], pair[1]));
            }
        }
        match (result, args.first()) {
            (Some(result), Some(first)) if self.unify(result, *first).is_err() => {
                Err(self.mixed(here, *first, result))
            }
            _ => Ok(()),
        }
    }

    fn expect(&mut self, here: Here<'_>, arg: TermId, elem: Elem) -> Result<(), Problem> {
        self.restrict(arg, Known::Is(elem)).map_err(|()| self.refuse(here, arg, elem_name(elem)))
    }

    fn result(&mut self, here: Here<'_>, elem: Elem) -> Result<(), Problem> {
        self.restrict(here.id, Known::Is(elem)).map_err(|()| {
            // Used before its definition with another type.
            self.refuse(here, here.id, elem_name(elem))
        })
    }

    fn show(&self, here: Here<'_>, id: TermId) -> String {
        format!("{}{}", prefix(self.of(id)), here.shapes.show(id))
    }

    fn refuse(&self, here: Here<'_>, arg: TermId, expected: &str) -> Problem {
        let name = match here.terms[here.id].kind {
            Kind::Typed(_) => "the declared type".to_string(),
            ref kind => spelling(kind),
        };
        let found = elem_name(self.of(arg));
        let problem = Diagnostic::error("E051", format!("{name} takes {expected}, not {found}"))
            .label(here.terms.place(here.id, arg), format!("this is {}", self.show(here, arg)))
            .expected(expected)
            .found(self.show(here, arg));
        Box::new(match (expected, self.of(arg)) {
            ("booleans", _) => problem.hint("compare it with a number: `x > 0`"),
            ("f32", _) => problem.hint("`f32(x)` converts"),
            ("i32", Elem::F32) => problem.hint("`i32(x)` converts, towards zero"),
            ("i32", _) => problem.hint("`i32(f32(x))` converts"),
            _ => problem.hint("`f32(x)` turns booleans into 0 and 1"),
        })
    }

    fn mixed(&self, here: Here<'_>, a: TermId, b: TermId) -> Problem {
        let name = spelling(&here.terms[here.id].kind);
        let (left, right) = (elem_name(self.of(a)), elem_name(self.of(b)));
        let problem = Diagnostic::error("E050", format!("{name} cannot mix {left} and {right}"))
            .label(here.terms.place(here.id, a), format!("this is {}", self.show(here, a)))
            .label(here.terms.place(here.id, b), format!("this is {}", self.show(here, b)))
            .expected(format!("{left} on both sides"))
            .found(right);
        Box::new(problem.hint("`f32(x)` converts integers and booleans"))
    }

    /// A number with a fraction among integers.
    pub fn check_literal(&self, terms: &Terms, id: TermId) -> Result<(), Problem> {
        let Kind::Literal { value, .. } = terms[id].kind else { return Ok(()) };
        let fits = value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX);
        if self.of(id) != Elem::I32 || fits {
            return Ok(());
        }
        Err(Box::new(
            Diagnostic::error("E052", format!("{value} is no i32"))
                .label(terms[id].span, "next to integers, this is an integer")
                .expected("a whole number")
                .found(value.to_string())
                .hint("`f32(x)` converts the integers"),
        ))
    }
}

#[derive(Clone, Copy)]
struct Here<'a> {
    terms: &'a Terms,
    shapes: &'a Shapes,
    id: TermId,
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

fn prefix(elem: Elem) -> &'static str {
    match elem {
        Elem::F32 => "",
        Elem::I32 => "i32",
        Elem::Bool => "bool",
    }
}
