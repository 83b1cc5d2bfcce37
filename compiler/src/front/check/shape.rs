//! The dimensions of a term from those of its operands, as far as they are known.

use super::report;
use super::term::{Draw, Kind, Reduce, Static, TermId, Terms};
use super::types::{Shape, Types, list, prefix};
use crate::diagnostic::Diagnostic;
use crate::ir::graph::{Dim, Pointwise, Symbol};
use crate::source::Span;

/// More axes than this are refused.
pub const MAX_RANK: usize = 8;
/// More elements in a tensor than this are refused.
const MAX_ELEMENTS: u128 = 1 << 40;

type Problem = Box<Diagnostic>;

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

/// The rule of every kind of term.
pub struct Rules<'a> {
    pub terms: &'a Terms,
    pub types: &'a Types,
}

impl Rules<'_> {
    /// The dimensions of a term, or what is wrong with its operands. Unknown operands of pointwise
    /// operations count as scalars, so that a recurrence is as large as what goes into it.
    pub fn shape(&self, id: TermId, declared: &[Vec<Dim>]) -> Result<Shape, Problem> {
        let term = &self.terms[id];
        let args = &term.args;
        let shape = match &term.kind {
            Kind::Error => None,
            Kind::Literal { .. }
            | Kind::Bool(_)
            | Kind::Dimension(_)
            | Kind::TimeIndex
            | Kind::TimeSteps => Some(Vec::new()),
            Kind::Array(dims) => {
                Some(dims.iter().map(|dim| Some(Dim::constant(*dim as i64))).collect())
            }
            Kind::Iota => Some(vec![self.dim(args[0])?]),
            Kind::Input(index) => {
                declared.get(*index).map(|dims| dims.iter().cloned().map(Some).collect())
            }
            // Their dimensions are terms that only the instance knows: see `infer`.
            Kind::Param(_) => None,
            Kind::Map(_) => self.broadcast_operands(id)?,
            Kind::If => match (self.terms.taken(id), self.terms.known(args[0])) {
                (Some(branch), _) => self.types.of(branch).clone(),
                (None, None) => None,
                (None, Some(_)) => self.broadcast_operands(id)?,
            },
            Kind::Sg | Kind::Random(..) | Kind::OverTime(_) | Kind::TimeReverse => {
                self.types.of(args[0]).clone()
            }
            Kind::TimeStack => self.types.of(args[0]).clone().map(|mut dims| {
                dims.insert(0, self.types.steps.clone());
                dims
            }),
            Kind::TimeUnstack => self.unstack(id)?,
            Kind::Forward => args.first().and_then(|target| self.types.of(*target).clone()),
            // A state may be as large as its first value only. `check_init` compares.
            Kind::Prev => match (self.dims(args[0]), args.get(1).and_then(|init| self.dims(*init)))
            {
                (Some(dims), Some(init)) => join(dims, init).ok().or(Some(dims.to_vec())),
                (dims, init) => dims.or(init).map(<[_]>::to_vec),
            },
            Kind::Typed { has_rest, .. } => self.typed(id, *has_rest)?,
            Kind::Alike => self.alike(id)?,
            Kind::MatMul => self.matmul(id)?,
            Kind::Reduce { op, axes, keepdims } => {
                self.reduce(id, *op, axes.as_deref(), *keepdims)?
            }
            Kind::Triangle { .. } if self.dims(args[0]).is_some_and(|dims| dims.len() < 2) => {
                return Err(self.rank(id, args[0], "at least 2 axes"));
            }
            Kind::Triangle { .. } => self.types.of(args[0]).clone(),
            Kind::Transpose => match self.types.of(args[0]) {
                Some(dims) if dims.len() < 2 => {
                    return Err(self.rank(id, args[0], "at least 2 axes"));
                }
                Some(dims) => {
                    let mut dims = dims.clone();
                    let rank = dims.len();
                    dims.swap(rank - 2, rank - 1);
                    Some(dims)
                }
                None => None,
            },
            Kind::Permute(order) => self.permute(id, order)?,
            Kind::Reshape => self.reshape(id)?,
            Kind::Broadcast => self.broadcast(id)?,
            Kind::Concat(axis) => self.concat(id, *axis)?,
            Kind::Stack(axis) => self.stack(id, *axis)?,
            Kind::Slice { axis, start, end } => self.slice(id, *axis, *start, *end)?,
            Kind::Pad(_) => self.pad(id)?,
            Kind::Flip(axis) | Kind::Cumsum(axis) | Kind::ArgSort(axis) => {
                if let Some(dims) = self.types.of(args[0]) {
                    self.axis(id, *axis, dims.len())?;
                }
                self.types.of(args[0]).clone()
            }
            Kind::TopK(axis) => self.top(id, *axis)?,
            Kind::Gather(axis) => self.gather(id, *axis)?,
            Kind::Take(axis) => self.take(id, *axis)?,
            Kind::ScatterAdd(axis) => self.scatter(id, *axis)?,
            Kind::OneHot => {
                let classes = self.dim(args[1])?;
                self.types.of(args[0]).clone().map(|mut dims| {
                    dims.push(classes);
                    dims
                })
            }
            Kind::Sliding { op, axes, same, .. } => self.sliding(id, *op, *axes, *same)?,
        };
        self.size(id, shape)
    }

    /// Refuses tensors without elements, and those that are too large.
    pub fn size(&self, id: TermId, shape: Shape) -> Result<Shape, Problem> {
        let Some(dims) = &shape else { return Ok(shape) };
        let refuse = |what: String| {
            Err(Box::new(
                Diagnostic::error("E045", what)
                    .label(
                        self.terms[id].span,
                        format!("the dimensions of this are [{}]", list(dims)),
                    )
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

    pub(super) fn dims(&self, id: TermId) -> Option<&[Option<Dim>]> {
        self.types.of(id).as_deref()
    }

    pub(super) fn dim(&self, id: TermId) -> Result<Option<Dim>, Problem> {
        dimension(self.terms.known(id), self.terms[id].span)
    }

    pub(super) fn labelled(
        &self,
        id: TermId,
        problem: Diagnostic,
        operands: &[TermId],
    ) -> Diagnostic {
        let label = |problem: Diagnostic, operand: &TermId| {
            let place = self.terms.place(id, *operand);
            problem.label(place, format!("this is {}", self.types.show(*operand)))
        };
        operands.iter().fold(problem, label)
    }

    pub(super) fn rank(&self, id: TermId, operand: TermId, expected: &str) -> Problem {
        let name = spelling(&self.terms[id].kind);
        let problem = Diagnostic::error("E043", format!("{name} takes a tensor of {expected}"));
        let problem = self.labelled(id, problem, &[operand]);
        Box::new(problem.expected(expected).found(self.types.show(operand)))
    }

    /// The position of an axis; negative ones count from the end.
    fn axis(&self, id: TermId, axis: i64, rank: usize) -> Result<usize, Problem> {
        let found = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        if (0..rank as i64).contains(&found) {
            return Ok(found as usize);
        }
        let operand = self.terms[id].args[0];
        let problem = Diagnostic::error("E043", format!("there is no axis {axis}"));
        let problem = self.labelled(id, problem, &[operand]);
        let expected = match rank {
            0 => "no axis: a scalar has none".to_string(),
            rank => format!("an axis from -{rank} to {}", rank - 1),
        };
        Err(Box::new(problem.expected(expected).found(axis.to_string())))
    }

    fn broadcast_operands(&self, id: TermId) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let mut joined: Option<(Vec<Option<Dim>>, TermId)> = None;
        for arg in args {
            let Some(dims) = self.dims(*arg) else { continue };
            joined = Some(match joined {
                None => (dims.to_vec(), *arg),
                Some((before, from)) => match join(&before, dims) {
                    Ok(dims) => {
                        (dims, if before.len() > dims_len(self.dims(*arg)) { from } else { *arg })
                    }
                    Err(axis) => return Err(self.mismatch(id, from, *arg, axis)),
                },
            });
        }
        Ok(joined.map(|(dims, _)| dims))
    }

    fn mismatch(&self, id: TermId, a: TermId, b: TermId, (left, right): (Dim, Dim)) -> Problem {
        let name = spelling(&self.terms[id].kind);
        let (shown_a, shown_b) = (self.types.show(a), self.types.show(b));
        // The operand that the dimension comes from may be another one: then the types tell no more.
        let problem = Diagnostic::error(
            "E040",
            format!("{name} cannot take {shown_a} and {shown_b}: {left} is not {right}"),
        );
        let problem = self.labelled(id, problem, &[a, b]);
        let solved = [(&left, &right), (&right, &left)].into_iter().find_map(|(open, number)| {
            let (name, value) = solution(open, number.as_const()?)?;
            Some(format!("`{open}` is open; if it is {number}, say so: -D {name}={value}"))
        });
        let stretching = || "trailing dimensions align, and only 1 stretches".to_string();
        let hint = solved.unwrap_or_else(stretching);
        Box::new(problem.expected(left.to_string()).found(right.to_string()).hint(hint))
    }

    /// Checks that the first value of a `prev` broadcasts to the stream.
    pub fn check_init(&self, id: TermId, x: TermId, init: TermId) -> Result<(), Problem> {
        let (Some(dims), Some(start)) = (self.dims(x), self.dims(init)) else { return Ok(()) };
        let fits = start.len() <= dims.len()
            && dims.iter().rev().zip(start.iter().rev()).all(|(dim, start)| match (dim, start) {
                (Some(dim), Some(start)) => dim == start || start.is_one(),
                _ => true,
            });
        if fits {
            return Ok(());
        }
        let problem = Diagnostic::error("E040", "the first value does not broadcast to the stream");
        let problem = self.labelled(id, problem, &[init, x]);
        Err(Box::new(problem.expected(self.types.show(x)).found(self.types.show(init))))
    }

    /// The dimensions that a declared type gives, as far as they are known; of other terms nothing.
    pub fn stated(&self, id: TermId) -> Shape {
        match (&self.terms[id].kind, self.terms[id].args.split_first()) {
            (Kind::Typed { has_rest: false, .. }, Some((_, declared))) => {
                self.declared(declared).ok()
            }
            _ => None,
        }
    }

    fn declared(&self, dims: &[TermId]) -> Result<Vec<Option<Dim>>, Problem> {
        dims.iter().map(|dim| self.dim(*dim)).collect()
    }

    fn typed(&self, id: TermId, has_rest: bool) -> Result<Shape, Problem> {
        let Some((&x, declared)) = self.terms[id].args.split_first() else { return Ok(None) };
        let declared = self.declared(declared)?;
        let Some(dims) = self.dims(x) else { return Ok((!has_rest).then_some(declared)) };
        let rest = if has_rest { dims.len().saturating_sub(declared.len()) } else { 0 };
        let (rest, found) = dims.split_at(rest);
        let agree = |(found, declared): (&Option<Dim>, &Option<Dim>)| match (found, declared) {
            (Some(found), Some(declared)) => found == declared,
            _ => true,
        };
        if found.len() != declared.len() || !found.iter().zip(&declared).all(agree) {
            let (expected, written) = self.written(id, &declared);
            let problem = Diagnostic::error(
                "E042",
                format!("the type is {expected}, the value {}", self.types.show(x)),
            );
            let problem = self.labelled(id, problem, &[x]);
            let problem = match written == expected {
                true => problem,
                false => problem.note(format!("the type is written {written}")),
            };
            return Err(Box::new(problem.expected(expected).found(self.types.show(x))));
        }
        let own = declared.into_iter().zip(found).map(|(a, b)| a.or(b.clone()));
        Ok(Some(rest.iter().cloned().chain(own).collect()))
    }

    fn unstack(&self, id: TermId) -> Result<Shape, Problem> {
        let x = self.terms[id].args[0];
        let Some(dims) = self.dims(x) else { return Ok(None) };
        let Some((first, rest)) = dims.split_first() else {
            return Err(self.rank(id, x, "at least one axis"));
        };
        match (first, &self.types.steps) {
            (Some(first), Some(steps)) if first != steps && !self.types.is_stream(x) => {
                let problem = Diagnostic::error(
                    "E044",
                    format!("{first} is not the number of steps, which is {steps}"),
                );
                let problem = self.labelled(id, problem, &[x]);
                Err(Box::new(problem.expected(format!("a first axis of {steps}"))))
            }
            _ => Ok(Some(rest.to_vec())),
        }
    }

    /// What a repeated layer gives is what it takes.
    fn alike(&self, id: TermId) -> Result<Shape, Problem> {
        let [x, like] = self.terms[id].args[..] else { return Ok(None) };
        let (Some(found), Some(wanted)) = (self.dims(x), self.dims(like)) else {
            return Ok(self.types.of(like).clone());
        };
        let agree = |(a, b): (&Option<Dim>, &Option<Dim>)| a.is_none() || b.is_none() || a == b;
        if found.len() != wanted.len() || !found.iter().zip(wanted).all(agree) {
            let (found, wanted) = (self.types.show(x), self.types.show(like));
            return Err(Box::new(
                Diagnostic::error(
                    "E042",
                    format!("a repeated layer takes {wanted} and gives {found}"),
                )
                .label(self.terms[id].span, "the value of one application goes into the next")
                .expected(wanted)
                .found(found),
            ));
        }
        Ok(Some(found.iter().zip(wanted).map(|(a, b)| a.clone().or(b.clone())).collect()))
    }

    /// A declared type with what is known of its dimensions, and with their names.
    fn written(&self, id: TermId, known: &[Option<Dim>]) -> (String, String) {
        let terms = &self.terms[id].args[1..];
        let name = |term: &TermId| match self.terms[*term].kind {
            Kind::Dimension(var) => Some(self.terms.var(var).name.clone()),
            _ => None,
        };
        let shown = |known: &Option<Dim>| known.as_ref().map(Dim::to_string);
        let unknown = || "?".to_string();
        let values = known.iter().zip(terms);
        let values =
            values.map(|(known, term)| shown(known).or(name(term)).unwrap_or_else(unknown));
        let names = known.iter().zip(terms);
        let names = names.map(|(known, term)| name(term).or(shown(known)).unwrap_or_else(unknown));
        let elem = prefix(self.types.elements.of(id));
        let rest = match self.terms[id].kind {
            Kind::Typed { has_rest: true, .. } => "..",
            _ => "",
        };
        let gap = if rest.is_empty() || terms.is_empty() { "" } else { ", " };
        let join = |parts: Vec<String>| format!("{elem}[{rest}{gap}{}]", parts.join(", "));
        (join(values.collect()), join(names.collect()))
    }

    fn matmul(&self, id: TermId) -> Result<Shape, Problem> {
        let (a, b) = (self.terms[id].args[0], self.terms[id].args[1]);
        let (Some(left), Some(right)) = (self.dims(a), self.dims(b)) else {
            return Ok(None);
        };
        let scalar = [(a, left), (b, right)].into_iter().find(|(_, dims)| dims.is_empty());
        if let Some((scalar, _)) = scalar {
            let problem = self.rank(id, scalar, "at least one axis");
            return Err(Box::new(problem.hint("the product with a number is `*`")));
        }
        let inner = &left[left.len() - 1];
        let outer = &right[right.len().saturating_sub(2)];
        if let (Some(inner), Some(outer)) = (inner, outer)
            && inner != outer
        {
            let problem = Diagnostic::error(
                "E041",
                format!(
                    "`@` cannot take {} and {}: {inner} is not {outer}",
                    self.types.show(a),
                    self.types.show(b)
                ),
            );
            let problem = self.labelled(id, problem, &[a, b]);
            return Err(Box::new(
                problem
                    .expected(format!(
                        "{inner} as the {} dimension of the right operand",
                        place(right)
                    ))
                    .found(outer.to_string())
                    .hint("the last dimension of `a` and the next-to-last of `b` are summed over"),
            ));
        }
        let rows = &left[..left.len() - 1];
        let mut dims = match (rows.split_last(), right.len()) {
            // One row, or a matrix on the right for all rows.
            (None, 1) | (Some(_), 1 | 2) => rows.to_vec(),
            (None, rank) => right[..rank - 2].to_vec(),
            (Some((row, leading)), rank) => match join(leading, &right[..rank - 2]) {
                Ok(mut dims) => {
                    dims.push(row.clone());
                    dims
                }
                Err(axis) => return Err(self.mismatch(id, a, b, axis)),
            },
        };
        if right.len() > 1 {
            dims.extend(right.last().cloned());
        }
        Ok(Some(dims))
    }

    fn reduce(
        &self,
        id: TermId,
        op: Reduce,
        axes: Option<&[i64]>,
        keepdims: bool,
    ) -> Result<Shape, Problem> {
        let Some(dims) = self.dims(self.terms[id].args[0]) else {
            return Ok(None);
        };
        let axes = self.axes(id, op, axes, dims.len())?;
        let kept = dims.iter().enumerate().filter_map(|(axis, dim)| match axes.contains(&axis) {
            false => Some(dim.clone()),
            true if keepdims => Some(Some(Dim::one())),
            true => None,
        });
        Ok(Some(kept.collect()))
    }

    /// The axes of a reduction, ascending.
    pub fn axes(
        &self,
        id: TermId,
        op: Reduce,
        axes: Option<&[i64]>,
        rank: usize,
    ) -> Result<Vec<usize>, Problem> {
        let last = [-1];
        let Some(axes) = axes.or(op.is_index().then_some(&last[..])) else {
            return Ok((0..rank).collect());
        };
        let mut found =
            axes.iter().map(|axis| self.axis(id, *axis, rank)).collect::<Result<Vec<_>, _>>()?;
        found.sort_unstable();
        let span = self.terms[id].span;
        if found.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Box::new(
                Diagnostic::error("E043", "an axis is named twice")
                    .label(span, format!("{axes:?}")),
            ));
        }
        if op.is_index() && found.len() != 1 {
            let name = spelling(&self.terms[id].kind);
            return Err(Box::new(
                Diagnostic::error("E043", format!("{name} takes one axis"))
                    .label(span, format!("{} axes", found.len())),
            ));
        }
        Ok(found)
    }

    /// The order of the axes, counted from the front.
    pub fn order(&self, id: TermId, order: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
        let found =
            order.iter().map(|axis| self.axis(id, *axis, rank)).collect::<Result<Vec<_>, _>>()?;
        let mut sorted = found.clone();
        sorted.sort_unstable();
        if sorted.into_iter().eq(0..rank) {
            return Ok(found);
        }
        let problem = Diagnostic::error("E043", format!("{order:?} is no order of {rank} axes"));
        let problem = self.labelled(id, problem, &self.terms[id].args[..1]);
        Err(Box::new(problem.expected("each axis once").found(format!("{order:?}"))))
    }

    fn permute(&self, id: TermId, order: &[i64]) -> Result<Shape, Problem> {
        let Some(dims) = self.dims(self.terms[id].args[0]) else {
            return Ok(None);
        };
        let order = self.order(id, order, dims.len())?;
        Ok(Some(order.into_iter().map(|axis| dims[axis].clone()).collect()))
    }

    fn reshape(&self, id: TermId) -> Result<Shape, Problem> {
        let Some((x, wanted)) = self.terms[id].args.split_first() else { return Ok(None) };
        let minus_one = Dim::constant(-1);
        let mut dims = wanted.iter().map(|dim| self.dim(*dim)).collect::<Result<Vec<_>, _>>()?;
        let is_open = |dim: &Option<Dim>| dim.as_ref() == Some(&minus_one);
        let open = dims.iter().filter(|dim| is_open(dim)).count();
        let total: Option<Vec<Dim>> = self.dims(*x).and_then(|dims| dims.iter().cloned().collect());
        let total = total.map(|dims| Dim::product(&dims));
        let rest: Option<Vec<Dim>> = dims.iter().filter(|dim| !is_open(dim)).cloned().collect();
        let rest = rest.map(|dims| Dim::product(&dims));
        let refuse = |what: String| {
            let problem = Diagnostic::error("E044", what);
            let problem = self.labelled(id, problem, &[*x]);
            let wanted = format!("[{}]", list(&dims));
            Err(Box::new(
                problem.label(self.terms[id].span, format!("reshaped to {wanted}")).found(wanted),
            ))
        };
        if open > 1 {
            return refuse("only one dimension of a reshape may be -1".to_string());
        }
        let (Some(total), Some(rest)) = (total, rest) else {
            if open == 1 {
                dims.iter_mut().filter(|dim| is_open(dim)).for_each(|dim| *dim = None);
            }
            return Ok(Some(dims));
        };
        if open == 0 {
            return match total == rest {
                true => Ok(Some(dims)),
                false => refuse(format!("a reshape of {total} elements to {rest}")),
            };
        }
        match total.exact_div(&rest) {
            Some(quotient) => Ok(Some(
                dims.iter()
                    .map(|dim| if is_open(dim) { Some(quotient.clone()) } else { dim.clone() })
                    .collect(),
            )),
            None => refuse(format!("a reshape of {total} elements to a multiple of {rest}")),
        }
    }

    fn broadcast(&self, id: TermId) -> Result<Shape, Problem> {
        let Some((x, wanted)) = self.terms[id].args.split_first() else { return Ok(None) };
        let wanted = wanted.iter().map(|dim| self.dim(*dim)).collect::<Result<Vec<_>, _>>()?;
        if let Some(from) = self.dims(*x) {
            let fits = from.len() <= wanted.len()
                && from.iter().rev().zip(wanted.iter().rev()).all(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => a == b || a.is_one(),
                    _ => true,
                });
            if !fits {
                let problem = Diagnostic::error(
                    "E040",
                    format!("{} does not broadcast to [{}]", self.types.show(*x), list(&wanted)),
                );
                let problem = self.labelled(id, problem, &[*x]);
                return Err(Box::new(
                    problem.hint("trailing dimensions align, and only 1 stretches"),
                ));
            }
        }
        Ok(Some(wanted))
    }

    fn concat(&self, id: TermId, axis: i64) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let Some((first, mut dims)) =
            args.iter().find_map(|arg| Some((*arg, self.dims(*arg)?.to_vec())))
        else {
            return Ok(None);
        };
        let at = self.axis(id, axis, dims.len()).map_err(|problem| {
            match problem.labels.is_empty() || self.dims(args[0]).is_some() {
                true => problem,
                false => self.rank(id, first, "more axes"),
            }
        })?;
        let mut total = Some(Dim::zero());
        for arg in args {
            let Some(other) = self.dims(*arg) else {
                total = None;
                continue;
            };
            let fits = other.len() == dims.len()
                && dims
                    .iter()
                    .zip(other)
                    .enumerate()
                    .all(|(axis, (a, b))| axis == at || a.is_none() || b.is_none() || a == b);
            if !fits {
                let problem = Diagnostic::error(
                    "E040",
                    format!(
                        "`concat` cannot take {} and {}",
                        self.types.show(first),
                        self.types.show(*arg)
                    ),
                );
                let problem = self.labelled(id, problem, &[first, *arg]);
                return Err(Box::new(
                    problem.expected(format!("equal dimensions but for axis {at}")),
                ));
            }
            for (axis, dim) in other.iter().enumerate() {
                if axis != at && dims[axis].is_none() {
                    dims[axis] = dim.clone();
                }
            }
            total = match (total, &other[at]) {
                (Some(total), Some(dim)) => Some(&total + dim),
                _ => None,
            };
        }
        dims[at] = total;
        Ok(Some(dims))
    }

    /// The bounds of a slice of an axis of this length, as in Python: negative ones count from the end.
    pub fn bounds(
        &self,
        id: TermId,
        length: &Dim,
        start: bool,
        end: bool,
    ) -> Result<Option<(Dim, Dim)>, Problem> {
        let args = &self.terms[id].args;
        let bound = |given: Option<&TermId>, default: Dim| -> Result<Option<Dim>, Problem> {
            match given {
                None => Ok(Some(default)),
                Some(given) => Ok(self.dim(*given)?.map(|bound| match bound.as_const() {
                    Some(value) if value < 0 => length + &bound,
                    _ => bound,
                })),
            }
        };
        let from = bound(args.get(1).filter(|_| start), Dim::zero())?;
        let to = bound(args.get(1 + usize::from(start)).filter(|_| end), length.clone())?;
        let (Some(from), Some(to)) = (from, to) else { return Ok(None) };
        let is_inside = |bound: &Dim| match (bound.as_const(), length.as_const()) {
            (Some(bound), Some(length)) => (0..=length).contains(&bound),
            (Some(bound), None) => bound >= 0,
            _ => true,
        };
        let is_empty = (&to - &from).as_const().is_some_and(|length| length < 1);
        if is_inside(&from) && is_inside(&to) && !is_empty {
            return Ok(Some((from, to)));
        }
        let problem =
            Diagnostic::error("E044", format!("a slice {from} to {to} of an axis of {length}"));
        let problem = self.labelled(id, problem, &args[..1]);
        Err(Box::new(
            problem.expected(format!("bounds within 0 and {length}, the end after the start")),
        ))
    }

    fn slice(&self, id: TermId, axis: i64, start: bool, end: bool) -> Result<Shape, Problem> {
        let Some(dims) = self.dims(self.terms[id].args[0]) else {
            return Ok(None);
        };
        let at = self.axis(id, axis, dims.len())?;
        let mut dims = dims.to_vec();
        dims[at] = match &dims[at] {
            Some(length) => self.bounds(id, length, start, end)?.map(|(from, to)| &to - &from),
            None => None,
        };
        Ok(Some(dims))
    }

    fn pad(&self, id: TermId) -> Result<Shape, Problem> {
        let Some((x, widths)) = self.terms[id].args.split_first() else { return Ok(None) };
        let Some(dims) = self.dims(*x) else { return Ok(None) };
        if widths.len() != 2 * dims.len() {
            let problem = Diagnostic::error("E044", "one pair of paddings is needed for each axis");
            let problem = self.labelled(id, problem, &[*x]);
            return Err(Box::new(
                problem.expected(dims.len().to_string()).found((widths.len() / 2).to_string()),
            ));
        }
        let mut padded = Vec::new();
        for (dim, pair) in dims.iter().zip(widths.chunks(2)) {
            let mut total = dim.clone();
            for width in pair {
                let width = self.dim(*width)?;
                if let Some(number) = width.as_ref().and_then(Dim::as_const).filter(|n| *n < 0) {
                    let problem = Diagnostic::error("E044", "a padding is not negative");
                    return Err(Box::new(
                        problem
                            .label(self.terms[id].span, format!("{number} here"))
                            .hint("`slice` makes an axis shorter"),
                    ));
                }
                total = match (total, width) {
                    (Some(total), Some(width)) => Some(&total + &width),
                    _ => None,
                };
            }
            padded.push(total);
        }
        Ok(Some(padded))
    }

    fn gather(&self, id: TermId, axis: i64) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let (Some(dims), Some(index)) = (self.dims(args[0]), self.dims(args[1])) else {
            return Ok(None);
        };
        let at = self.axis(id, axis, dims.len())?;
        let mut dims = dims.to_vec();
        dims.splice(at..=at, index.iter().cloned());
        Ok(Some(dims))
    }

    fn stack(&self, id: TermId, axis: i64) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let known = args.iter().filter_map(|arg| Some((*arg, self.dims(*arg)?)));
        let mut stacked: Option<(TermId, Vec<Option<Dim>>)> = None;
        for (arg, dims) in known {
            stacked = Some(match stacked {
                None => (arg, dims.to_vec()),
                Some((first, before)) => match self.agreed(&before, dims) {
                    Some(dims) => (first, dims),
                    None => return Err(self.unequal(id, first, arg, "equal dimensions")),
                },
            });
        }
        let Some((_, mut dims)) = stacked else { return Ok(None) };
        let at = self.axis(id, axis, dims.len() + 1)?;
        dims.insert(at, Some(Dim::constant(args.len() as i64)));
        Ok(Some(dims))
    }

    /// What is known of equal dimensions; `None` if they are not.
    fn agreed(&self, a: &[Option<Dim>], b: &[Option<Dim>]) -> Option<Vec<Option<Dim>>> {
        let is_equal = |(a, b): (&Option<Dim>, &Option<Dim>)| a.is_none() || b.is_none() || a == b;
        let dims = || a.iter().zip(b).map(|(a, b)| a.clone().or(b.clone())).collect();
        (a.len() == b.len() && a.iter().zip(b).all(is_equal)).then(dims)
    }

    fn unequal(&self, id: TermId, a: TermId, b: TermId, expected: &str) -> Problem {
        let name = spelling(&self.terms[id].kind);
        let (shown_a, shown_b) = (self.types.show(a), self.types.show(b));
        let problem =
            Diagnostic::error("E040", format!("{name} cannot take {shown_a} and {shown_b}"));
        Box::new(self.labelled(id, problem, &[a, b]).expected(expected).found(shown_b))
    }

    fn top(&self, id: TermId, axis: i64) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let Some(dims) = self.dims(args[0]) else { return Ok(None) };
        let at = self.axis(id, axis, dims.len())?;
        let (mut dims, count) = (dims.to_vec(), self.dim(args[1])?);
        let numbers = |dim: &Option<Dim>| dim.as_ref().and_then(Dim::as_const);
        if let (Some(count), Some(length)) = (numbers(&count), numbers(&dims[at]))
            && count > length
        {
            let problem = Diagnostic::error("E044", format!("the {count} greatest of {length}"));
            let problem = self.labelled(id, problem, &args[..1]);
            return Err(Box::new(problem.expected(format!("at most {length}"))));
        }
        dims[at] = count;
        Ok(Some(dims))
    }

    fn take(&self, id: TermId, axis: i64) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let (Some(dims), Some(index)) = (self.dims(args[0]), self.dims(args[1])) else {
            return Ok(None);
        };
        let at = self.axis(id, axis, dims.len())?;
        let mut like = dims.to_vec();
        like[at] = index.get(at).cloned().flatten();
        let expected = || format!("equal dimensions but for axis {at}");
        let taken = self.agreed(&like, index);
        taken.map(Some).ok_or_else(|| self.unequal(id, args[0], args[1], &expected()))
    }

    fn scatter(&self, id: TermId, axis: i64) -> Result<Shape, Problem> {
        let args = &self.terms[id].args;
        let (Some(dims), Some(index)) = (self.dims(args[0]), self.dims(args[1])) else {
            return Ok(None);
        };
        // Of a scalar place there is no axis to replace, only one to put in.
        let at = self.axis(id, axis, dims.len() + usize::from(index.is_empty()))?;
        let replaced = dims.get(at..at + index.len());
        if replaced.is_none_or(|replaced| self.agreed(replaced, index).is_none()) {
            let expected = format!("a place for each position of the axes from {at} on");
            return Err(self.unequal(id, args[0], args[1], &expected));
        }
        let (mut dims, count) = (dims.to_vec(), self.dim(args[2])?);
        dims.splice(at..at + index.len(), [count]);
        Ok(Some(dims))
    }
}

fn dims_len(dims: Option<&[Option<Dim>]>) -> usize {
    dims.map_or(0, <[_]>::len)
}

fn place(dims: &[Option<Dim>]) -> &'static str {
    if dims.len() == 1 { "only" } else { "next-to-last" }
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

/// An operation as a message names it.
pub fn spelling(kind: &Kind) -> String {
    let name = match kind {
        Kind::Map(op) => match op {
            Pointwise::Neg | Pointwise::Sub => "-",
            Pointwise::Add => "+",
            Pointwise::Mul => "*",
            Pointwise::Div => "/",
            Pointwise::Rem => "%",
            Pointwise::Pow => "^",
            Pointwise::Lt => "<",
            Pointwise::Le => "<=",
            Pointwise::Gt => ">",
            Pointwise::Ge => ">=",
            Pointwise::Eq => "==",
            Pointwise::Ne => "!=",
            Pointwise::And => "&&",
            Pointwise::Or => "||",
            Pointwise::Not => "!",
            Pointwise::Select => "if",
            op => op.row().name,
        },
        Kind::If => "if",
        Kind::MatMul => "@",
        Kind::Sg => "sg",
        Kind::Prev => "prev",
        Kind::Transpose => "transpose",
        Kind::Permute(_) => "permute",
        Kind::Reshape => "reshape",
        Kind::Broadcast => "broadcast",
        Kind::Concat(_) => "concat",
        Kind::Slice { .. } => "slice",
        Kind::Pad(_) => "pad",
        Kind::Flip(_) => "flip",
        Kind::Gather(_) => "gather",
        Kind::OneHot => "one_hot",
        Kind::Sliding { name, .. } => name,
        Kind::Stack(_) => "stack",
        Kind::Take(_) => "take",
        Kind::ScatterAdd(_) => "scatter_add",
        Kind::Iota => "iota",
        Kind::Triangle { is_upper: true, .. } => "triu",
        Kind::Triangle { .. } => "tril",
        Kind::Cumsum(_) => "cumsum",
        Kind::ArgSort(_) => "argsort",
        Kind::TopK(_) => "topk",
        Kind::Reduce { op, .. } => match op {
            Reduce::Plain(op) => op.name(),
            Reduce::ArgMin => "argmin",
            Reduce::Mean => "mean",
            Reduce::Var => "var",
            Reduce::LogSumExp => "logsumexp",
        },
        Kind::OverTime(over) => match over {
            super::term::OverTime::First => "first",
            super::term::OverTime::Last => "last",
            super::term::OverTime::Sum => "time_sum",
            super::term::OverTime::Mean => "time_mean",
            super::term::OverTime::Max => "time_max",
        },
        Kind::Random(Draw::Uniform, _) => "uniform",
        Kind::Random(Draw::Normal, _) => "normal",
        Kind::Random(Draw::Bernoulli, _) => "bernoulli",
        Kind::TimeStack => "time_stack",
        Kind::TimeUnstack => "time_unstack",
        Kind::TimeReverse => "time_reverse",
        Kind::TimeIndex => "time_index",
        Kind::TimeSteps => "time_steps",
        _ => "this",
    };
    format!("`{name}`")
}
