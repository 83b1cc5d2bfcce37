//! The dimensions of a term from those of its operands, as far as they are known.

mod declared;

use super::report::{self, Problem};
use super::term::{Kind, Static, Term, TermId, Terms};
use super::types::{Shape, Types, list};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::{Dim, Symbol};
use crate::source::Span;

/// More axes than this are refused.
pub const MAX_RANK: usize = 8;
/// More elements in a tensor than this are refused.
const MAX_ELEMENTS: u128 = 1 << 40;

/// The dimension that a compile-time number is; `Ok(None)` if it is not known or no number.
pub fn dimension(known: Option<&Static>, span: Span) -> Result<Option<Dim>, Problem> {
    match known {
        None | Some(Static::Never | Static::Broken) => Ok(None),
        Some(Static::Dim(dim)) => Ok(Some(dim.clone())),
        Some(Static::Real(value)) if value.fract() == 0.0 && value.abs() < MAX_ELEMENTS as f64 => {
            Ok(Some(Dim::constant(*value as i64)))
        }
        Some(Static::Real(value)) => {
            let problem = match value.fract() == 0.0 || value.is_infinite() {
                true => Diagnostic::error("E045", "a dimension that is too large"),
                false => Diagnostic::error("E045", "a dimension is a whole number")
                    .expected("a whole number")
                    .hint("a division of dimensions must leave no remainder"),
            };
            Err(Box::new(problem.label(span, format!("this is {value}")).found(value.to_string())))
        }
        Some(Static::Bool(_)) => Err(Box::new(
            Diagnostic::error("E045", "a dimension is a whole number").label(span, "a boolean"),
        )),
        Some(Static::Needs(symbol)) => Err(Box::new(report::needs(symbol, span))),
    }
}

/// The value of the only open dimension of `dim` with which it is `number`, if that is a dimension.
fn solution(dim: &Dim, number: i64) -> Option<(&Symbol, i64)> {
    let (constant, open): (Vec<_>, Vec<_>) =
        dim.terms().iter().partition(|(factors, _)| factors.is_empty());
    let [(factors, coefficient)] = open[..] else { return None };
    let [name] = &factors[..] else { return None };
    let rest = number.checked_sub(constant.first().map_or(0, |(_, value)| *value))?;
    let value = rest.checked_div(*coefficient)?;
    (value >= 1 && rest % coefficient == 0).then_some((name, value))
}

/// What the rules for the dimensions of a term ask.
pub struct Rules<'a> {
    pub terms: &'a Terms,
    pub types: &'a Types,
    pub id: TermId,
}

impl<'a> Rules<'a> {
    /// The dimensions of a term, or what is wrong with its operands. Unknown operands of pointwise
    /// operations count as scalars, so that a recurrence is as large as what goes into it.
    pub fn shape(&self, inputs: &[Vec<Dim>]) -> Result<Shape, Problem> {
        let args = self.args();
        let shape = match &self.term().kind {
            Kind::Error => None,
            Kind::Literal { .. } | Kind::Bool(_) | Kind::Dimension(_) => Some(Vec::new()),
            Kind::Array(dims) => {
                Some(dims.iter().map(|dim| Some(Dim::constant(*dim as i64))).collect())
            }
            Kind::Input(index) => {
                inputs.get(*index).map(|dims| dims.iter().cloned().map(Some).collect())
            }
            // Their dimensions are terms that only the instance knows: see `infer`.
            Kind::Param(_) => None,
            Kind::Op(op) => op.shape(self)?,
            Kind::If => match (self.terms.taken(self.id), self.terms.known(args[0])) {
                (Some(branch), _) => self.types.of(branch).clone(),
                (None, None) => None,
                (None, Some(_)) => self.broadcast_operands()?,
            },
            Kind::Forward => args.first().and_then(|target| self.types.of(*target).clone()),
            Kind::Typed { has_rest, .. } => self.typed(*has_rest)?,
            Kind::Alike => self.alike()?,
        };
        self.size(shape)
    }

    fn term(&self) -> &'a Term {
        &self.terms[self.id]
    }

    pub fn args(&self) -> &'a [TermId] {
        &self.term().args
    }

    pub fn span(&self) -> Span {
        self.term().span
    }

    /// Where an operand is written.
    pub fn place(&self, operand: TermId) -> Span {
        self.terms.place(self.id, operand)
    }

    /// The dimensions of the first operand.
    pub fn of_first(&self) -> Shape {
        self.args().first().and_then(|first| self.types.of(*first).clone())
    }

    /// The dimensions of the first two operands, once both are known.
    pub fn first_two(&self) -> Option<[&'a [Option<Dim>]; 2]> {
        Some([self.dims(self.args()[0])?, self.dims(self.args()[1])?])
    }

    /// Those of the first operand, which has this axis.
    pub fn along(&self, axis: i64) -> Result<Shape, Problem> {
        let dims = self.of_first();
        if let Some(dims) = &dims {
            self.axis(axis, dims.len())?;
        }
        Ok(dims)
    }

    /// Refuses tensors without elements, and those that are too large.
    pub fn size(&self, shape: Shape) -> Result<Shape, Problem> {
        let Some(dims) = &shape else { return Ok(shape) };
        let refuse = |what: String| {
            Err(Box::new(
                Diagnostic::error("E045", what)
                    .label(self.span(), format!("the dimensions of this are [{}]", list(dims)))
                    .expected(format!(
                        "at most {MAX_RANK} axes, no dimension less than 1, at most 2^40 elements"
                    )),
            ))
        };
        if dims.len() > MAX_RANK {
            return refuse(format!("a tensor of {} axes", dims.len()));
        }
        let mut elements = 1u128;
        for dim in dims.iter().flatten() {
            match dim.as_const() {
                Some(size) if size < 1 => return refuse(format!("a dimension of {size}")),
                Some(size) => elements = elements.saturating_mul(size as u128),
                None => {
                    let largest = dim.terms().iter().map(|(_, value)| value.unsigned_abs()).max();
                    elements = elements.saturating_mul(largest.unwrap_or(1).max(1).into());
                }
            }
        }
        match elements > MAX_ELEMENTS {
            true => refuse(format!("a tensor of {} bytes", elements.saturating_mul(4))),
            false => Ok(shape),
        }
    }

    pub fn dims(&self, id: TermId) -> Option<&'a [Option<Dim>]> {
        self.types.of(id).as_deref()
    }

    pub fn dim(&self, id: TermId) -> Result<Option<Dim>, Problem> {
        dimension(self.terms.known(id), self.terms[id].span)
    }

    pub fn labelled(&self, problem: Diagnostic, operands: &[TermId]) -> Diagnostic {
        let label = |problem: Diagnostic, operand: &TermId| {
            let place = self.place(*operand);
            problem.label(place, format!("this is {}", self.types.show(*operand)))
        };
        operands.iter().fold(problem, label)
    }

    pub fn rank(&self, operand: TermId, expected: &str) -> Problem {
        let name = self.term().kind.spelling();
        let problem = Diagnostic::error("E043", format!("{name} takes a tensor of {expected}"));
        let problem = self.labelled(problem, &[operand]);
        Box::new(problem.expected(expected).found(self.types.show(operand)))
    }

    /// The position of an axis; negative ones count from the end.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Problem> {
        let found = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        if (0..rank as i64).contains(&found) {
            return Ok(found as usize);
        }
        let operand = self.args()[0];
        let problem = Diagnostic::error("E043", format!("there is no axis {axis}"));
        let problem = self.labelled(problem, &[operand]);
        let expected = match rank {
            0 => "no axis: a scalar has none".to_string(),
            rank => format!("an axis from -{rank} to {}", rank - 1),
        };
        Err(Box::new(problem.expected(expected).found(axis.to_string())))
    }

    /// The dimensions that operands are.
    pub fn numbers(&self, dims: &[TermId]) -> Result<Vec<Option<Dim>>, Problem> {
        dims.iter().map(|dim| self.dim(*dim)).collect()
    }

    pub fn broadcast_operands(&self) -> Result<Shape, Problem> {
        let args = self.args();
        let mut joined: Option<(Vec<Option<Dim>>, TermId)> = None;
        for arg in args {
            let Some(dims) = self.dims(*arg) else { continue };
            joined = Some(match joined {
                None => (dims.to_vec(), *arg),
                Some((before, from)) => match join(&before, dims) {
                    Ok(dims) => {
                        (dims, if before.len() > dims_len(self.dims(*arg)) { from } else { *arg })
                    }
                    Err(axis) => return Err(self.mismatch(from, *arg, axis)),
                },
            });
        }
        Ok(joined.map(|(dims, _)| dims))
    }

    pub fn mismatch(&self, a: TermId, b: TermId, (left, right): (Dim, Dim)) -> Problem {
        let name = self.term().kind.spelling();
        let (shown_a, shown_b) = (self.types.show(a), self.types.show(b));
        // The operand that the dimension comes from may be another one: then the types tell no more.
        let problem = Diagnostic::error(
            "E040",
            format!("{name} cannot take {shown_a} and {shown_b}: {left} is not {right}"),
        );
        let problem = self.labelled(problem, &[a, b]);
        let solved = [(&left, &right), (&right, &left)].into_iter().find_map(|(open, number)| {
            let (name, value) = solution(open, number.as_const()?)?;
            Some(format!("`{open}` is open; if it is {number}, say so: -D {name}={value}"))
        });
        let stretching = || "trailing dimensions align, and only 1 stretches".to_string();
        let hint = solved.unwrap_or_else(stretching);
        Box::new(problem.expected(left.to_string()).found(right.to_string()).hint(hint))
    }

    pub fn unequal(&self, a: TermId, b: TermId, expected: &str) -> Problem {
        let name = self.term().kind.spelling();
        let (shown_a, shown_b) = (self.types.show(a), self.types.show(b));
        let problem =
            Diagnostic::error("E040", format!("{name} cannot take {shown_a} and {shown_b}"));
        Box::new(self.labelled(problem, &[a, b]).expected(expected).found(shown_b))
    }
}

/// An axis that is checked, counted from the front.
pub fn position(axis: i64, rank: usize) -> usize {
    let axis = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(axis).unwrap_or(0)
}

/// What is known of equal dimensions; `None` if they are not.
pub fn agreed(a: &[Option<Dim>], b: &[Option<Dim>]) -> Option<Vec<Option<Dim>>> {
    let is_equal = |(a, b): (&Option<Dim>, &Option<Dim>)| a.is_none() || b.is_none() || a == b;
    let dims = || a.iter().zip(b).map(|(a, b)| a.clone().or(b.clone())).collect();
    (a.len() == b.len() && a.iter().zip(b).all(is_equal)).then(dims)
}

fn dims_len(dims: Option<&[Option<Dim>]>) -> usize {
    dims.map_or(0, <[_]>::len)
}

/// NumPy's broadcast of two types, or the two dimensions that do not fit.
pub fn join(a: &[Option<Dim>], b: &[Option<Dim>]) -> Result<Vec<Option<Dim>>, (Dim, Dim)> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut joined = long.to_vec();
    let offset = long.len() - short.len();
    for (dim, other) in joined[offset..].iter_mut().zip(short) {
        match (&*dim, other) {
            (_, None) => {}
            (None, Some(other)) => *dim = Some(other.clone()),
            (Some(one), Some(other)) if one == other || other.is_one() => {}
            (Some(one), Some(other)) if one.is_one() => *dim = Some(other.clone()),
            (Some(one), Some(other)) => {
                return Err(match a.len() >= b.len() {
                    true => (one.clone(), other.clone()),
                    false => (other.clone(), one.clone()),
                });
            }
        }
    }
    Ok(joined)
}
