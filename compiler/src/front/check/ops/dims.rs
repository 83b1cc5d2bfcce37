//! The elements of a tensor under other dimensions, which are the other operands.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::types::list;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, NodeId, Op};

/// The same elements, in order; one of the dimensions may be -1.
#[derive(Debug)]
struct Reshape;

pub fn reshape(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    read(call, Reshape)
}

/// NumPy's broadcast.
#[derive(Debug)]
struct Broadcast;

pub fn broadcast(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    read(call, Broadcast)
}

fn read(call: &mut Arguments<'_, '_, '_>, op: impl Operation + 'static) -> Option<Value> {
    let mut args = vec![call.operand(0)];
    args.extend(call.list(1)?);
    Some(call.term(op, args).into())
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn tensors(&self) -> usize {
        1
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some((x, wanted)) = rules.args().split_first() else { return Ok(None) };
        let minus_one = Dim::constant(-1);
        let mut dims = rules.numbers(wanted)?;
        let is_open = |dim: &Option<Dim>| dim.as_ref() == Some(&minus_one);
        let open = dims.iter().filter(|dim| is_open(dim)).count();
        let total: Option<Vec<Dim>> =
            rules.dims(*x).and_then(|dims| dims.iter().cloned().collect());
        let total = total.map(|dims| Dim::product(&dims));
        let rest: Option<Vec<Dim>> = dims.iter().filter(|dim| !is_open(dim)).cloned().collect();
        let rest = rest.map(|dims| Dim::product(&dims));
        let refuse = |what: String| {
            let problem = rules.labelled(Diagnostic::error("E044", what), &[*x]);
            let wanted = format!("[{}]", list(&dims));
            Err(Box::new(
                problem.label(rules.span(), format!("reshaped to {wanted}")).found(wanted),
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

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let dims = e.ty().dims;
        match e.builder.ty(args[0]).dims == dims {
            true => Ok(args[0]),
            false => e.push(Op::Reshape(dims), args.to_vec()),
        }
    }
}

impl Operation for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast"
    }

    fn tensors(&self) -> usize {
        1
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let Some((x, wanted)) = rules.args().split_first() else { return Ok(None) };
        let wanted = rules.numbers(wanted)?;
        if let Some(from) = rules.dims(*x) {
            let fits = from.len() <= wanted.len()
                && from.iter().rev().zip(wanted.iter().rev()).all(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => a == b || a.is_one(),
                    _ => true,
                });
            if !fits {
                let problem = Diagnostic::error(
                    "E040",
                    format!("{} does not broadcast to [{}]", rules.types.show(*x), list(&wanted)),
                );
                let problem = rules.labelled(problem, &[*x]);
                return Err(Box::new(
                    problem.hint("trailing dimensions align, and only 1 stretches"),
                ));
            }
        }
        Ok(Some(wanted))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        e.broadcast(args[0], &e.ty().dims)
    }
}
