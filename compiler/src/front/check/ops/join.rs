//! Several tensors one after the other along an axis, or along a new one.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::shape::{agreed, position};
use crate::front::check::term::TermId;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, NodeId, Op};

#[derive(Debug)]
struct Concat(i64);

pub fn concat(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(0, -1)?;
    read(call, Concat(axis))
}

/// Along a new axis.
#[derive(Debug)]
struct Stack(i64);

pub fn stack(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let axis = call.integer_or(0, 0)?;
    read(call, Stack(axis))
}

/// The axis is the first of the arguments, all others are operands.
fn read(call: &mut Arguments<'_, '_, '_>, op: impl Operation + 'static) -> Option<Value> {
    call.order.remove(0);
    call.apply(op, call.order.len())
}

impl Operation for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let args = rules.args();
        let Some((first, mut dims)) =
            args.iter().find_map(|arg| Some((*arg, rules.dims(*arg)?.to_vec())))
        else {
            return Ok(None);
        };
        let at = rules.axis(self.0, dims.len()).map_err(|problem| {
            match problem.labels.is_empty() || rules.dims(args[0]).is_some() {
                true => problem,
                false => rules.rank(first, "more axes"),
            }
        })?;
        let mut total = Some(Dim::zero());
        for arg in args {
            let Some(other) = rules.dims(*arg) else {
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
                let (shown, other) = (rules.types.show(first), rules.types.show(*arg));
                let problem =
                    Diagnostic::error("E040", format!("`concat` cannot take {shown} and {other}"));
                let problem = rules.labelled(problem, &[first, *arg]);
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

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_operands()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let axis = position(self.0, e.ty().dims.len());
        e.push(Op::Concat { axis }, args.to_vec())
    }
}

impl Operation for Stack {
    fn name(&self) -> &'static str {
        "stack"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let args = rules.args();
        let known = args.iter().filter_map(|arg| Some((*arg, rules.dims(*arg)?)));
        let mut stacked: Option<(TermId, Vec<Option<Dim>>)> = None;
        for (arg, dims) in known {
            stacked = Some(match stacked {
                None => (arg, dims.to_vec()),
                Some((first, before)) => match agreed(&before, dims) {
                    Some(dims) => (first, dims),
                    None => return Err(rules.unequal(first, arg, "equal dimensions")),
                },
            });
        }
        let Some((_, mut dims)) = stacked else { return Ok(None) };
        let at = rules.axis(self.0, dims.len() + 1)?;
        dims.insert(at, Some(Dim::constant(args.len() as i64)));
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_operands()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let mut one = e.ty().dims;
        let axis = position(self.0, one.len());
        one[axis] = Dim::one();
        let args = args.iter().map(|arg| e.builder.reshape(*arg, &one)).collect();
        e.push(Op::Concat { axis }, args)
    }
}
