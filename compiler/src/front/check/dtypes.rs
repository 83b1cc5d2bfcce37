//! The element types of terms, by unification: a number literal takes the type it meets.

use super::report::Problem;
use super::term::{Kind, Static, TermId, Terms};
use super::types::{Known, Types, elem_name};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::Elem;
use crate::ir::graph::pointwise::Signature;

/// The rules for the elements of one term.
pub struct Dtypes<'a> {
    pub terms: &'a Terms,
    pub types: &'a mut Types,
    pub id: TermId,
}

impl<'a> Dtypes<'a> {
    /// Relates the elements of the term and its operands.
    pub fn check(&mut self) -> Result<(), Problem> {
        let (terms, id) = (self.terms, self.id);
        let args = self.args();
        match &terms[id].kind {
            Kind::Op(op) => op.dtype(self),
            Kind::If => match terms.taken(id) {
                Some(branch) => self.same(&[branch], Some(id)),
                None => self.map(Signature::Choice),
            },
            Kind::Typed { elem, .. } => self.require(args[0], *elem),
            Kind::Alike => self.as_operands(),
            Kind::Error
            | Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Array(_)
            | Kind::Dimension(_)
            | Kind::Input(_)
            | Kind::Param(_)
            | Kind::Forward => Ok(()),
        }
    }

    pub fn args(&self) -> &'a [TermId] {
        &self.terms[self.id].args
    }

    /// The result has the type of all operands.
    pub fn as_operands(&mut self) -> Result<(), Problem> {
        self.same(self.args(), Some(self.id))
    }

    /// The result has the type of the first operand.
    pub fn as_first(&mut self) -> Result<(), Problem> {
        self.same(&self.args()[..1], Some(self.id))
    }

    /// As the signature of a pointwise operation says.
    pub fn map(&mut self, signature: Signature) -> Result<(), Problem> {
        let args = self.args();
        match signature {
            Signature::Float => {
                args.iter().try_for_each(|arg| self.require(*arg, Elem::F32))?;
                self.result(Elem::F32)
            }
            // The remainder of f32 is written out: see `emit`.
            Signature::Numeric | Signature::Integer => self.numbers(args),
            Signature::Compare => {
                self.same(args, None)?;
                self.result(Elem::Bool)
            }
            Signature::Logic => {
                args.iter().try_for_each(|arg| self.require(*arg, Elem::Bool))?;
                self.result(Elem::Bool)
            }
            Signature::Choice => {
                self.require(args[0], Elem::Bool)?;
                self.same(&args[1..], Some(self.id))
            }
            Signature::ToFloat | Signature::Bits => self.result(Elem::F32),
            Signature::ToInteger => self.result(Elem::I32),
        }
    }

    /// Operands and result of one element type, f32 or i32.
    pub fn numbers(&mut self, args: &[TermId]) -> Result<(), Problem> {
        args.iter().try_for_each(|arg| self.number(*arg))?;
        self.same(args, Some(self.id))
    }

    pub fn number(&mut self, arg: TermId) -> Result<(), Problem> {
        let restricted = self.types.elements.restrict(arg, Known::Number);
        restricted.map_err(|()| self.refuse(arg, "f32 or i32"))
    }

    /// Operands, and perhaps the result, of one element type.
    fn same(&mut self, args: &[TermId], result: Option<TermId>) -> Result<(), Problem> {
        for pair in args.windows(2) {
            if self.types.elements.unify(pair[0], pair[1]).is_err() {
                return Err(self.mixed(pair[0], pair[1]));
            }
        }
        match (result, args.first()) {
            (Some(result), Some(first)) if self.types.elements.unify(result, *first).is_err() => {
                Err(self.mixed(*first, result))
            }
            _ => Ok(()),
        }
    }

    pub fn require(&mut self, arg: TermId, elem: Elem) -> Result<(), Problem> {
        self.types
            .elements
            .restrict(arg, Known::Is(elem))
            .map_err(|()| self.refuse(arg, elem_name(elem)))
    }

    pub fn result(&mut self, elem: Elem) -> Result<(), Problem> {
        self.types.elements.restrict(self.id, Known::Is(elem)).map_err(|()| {
            // Used before its definition with another type.
            self.refuse(self.id, elem_name(elem))
        })
    }

    fn refuse(&self, arg: TermId, expected: &str) -> Problem {
        let kind = &self.terms[self.id].kind;
        let is_declared = matches!(kind, Kind::Typed { .. });
        let name = if is_declared { "the declared type".into() } else { kind.spelling() };
        let found = elem_name(self.types.elements.of(arg));
        let problem = Diagnostic::error("E051", format!("{name} takes {expected}, not {found}"))
            .label(self.terms.place(self.id, arg), format!("this is {}", self.types.show(arg)))
            .expected(expected)
            .found(self.types.show(arg));
        Box::new(match (expected, self.types.elements.of(arg)) {
            ("booleans", _) => problem.hint("compare it with a number: `x > 0`"),
            ("f32", _) => problem.hint("`f32(x)` converts"),
            ("i32", Elem::F32) => problem.hint("`i32(x)` converts, towards zero"),
            ("i32", _) => problem.hint("`i32(f32(x))` converts"),
            _ => problem.hint("`f32(x)` turns booleans into 0 and 1"),
        })
    }

    fn mixed(&self, a: TermId, b: TermId) -> Problem {
        let name = self.terms[self.id].kind.spelling();
        let (left, right) =
            (elem_name(self.types.elements.of(a)), elem_name(self.types.elements.of(b)));
        let problem = Diagnostic::error("E050", format!("{name} cannot mix {left} and {right}"))
            .label(self.terms.place(self.id, a), format!("this is {}", self.types.show(a)))
            .label(self.terms.place(self.id, b), format!("this is {}", self.types.show(b)))
            .expected(format!("{left} on both sides"))
            .found(right);
        Box::new(problem.hint("`f32(x)` converts integers and booleans"))
    }

    /// A number with a fraction among integers.
    pub fn check_literal(&self) -> Result<(), Problem> {
        let (terms, id) = (self.terms, self.id);
        if self.types.elements.of(id) != Elem::I32 {
            return Ok(());
        }
        let numbers = match &terms[id].kind {
            Kind::Literal { value, .. } => vec![(id, Some(*value))],
            Kind::Array(_) => {
                let number = |arg: &TermId| terms.known(*arg).and_then(Static::number);
                terms[id].args.iter().map(|arg| (*arg, number(arg))).collect()
            }
            Kind::Error
            | Kind::Bool(_)
            | Kind::Dimension(_)
            | Kind::Input(_)
            | Kind::Param(_)
            | Kind::Op(_)
            | Kind::If
            | Kind::Forward
            | Kind::Typed { .. }
            | Kind::Alike => return Ok(()),
        };
        let fits = |value: f64| value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX);
        let wrong = numbers.into_iter().find_map(|(at, value)| {
            let value = value.filter(|value| !fits(*value))?;
            Some((terms[at].span, value))
        });
        match wrong {
            None => Ok(()),
            Some((span, value)) => Err(Box::new(
                Diagnostic::error("E052", format!("{value} is no i32"))
                    .label(span, "next to integers, this is an integer")
                    .expected("a whole number")
                    .found(value.to_string())
                    .hint("`f32(x)` converts the integers"),
            )),
        }
    }
}
