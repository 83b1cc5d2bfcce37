//! Time as an axis: the steps of a stream as a tensor, back, and the other way round.

use crate::diagnostic::Diagnostic;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape, Time};
use crate::ir::graph::{Clock, NodeId, Op};

/// The steps of a stream along a new first axis.
#[derive(Debug)]
pub struct Stack;

impl Operation for Stack {
    fn name(&self) -> &'static str {
        "time_stack"
    }

    fn time(&self) -> Time {
        Time::AllSteps
    }

    fn clock(&self) -> Option<Clock> {
        Some(Clock::Static)
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(rules.of_first().map(|mut dims| {
            dims.insert(0, rules.types.steps.clone());
            dims
        }))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let x = e.builder.as_stream(args[0]);
        e.push(Op::TimeStack(e.steps()), vec![x])
    }
}

/// The first axis as the steps of a stream.
#[derive(Debug)]
pub struct Unstack;

impl Operation for Unstack {
    fn name(&self) -> &'static str {
        "time_unstack"
    }

    fn time(&self) -> Time {
        Time::AllSteps
    }

    fn clock(&self) -> Option<Clock> {
        Some(Clock::Stream)
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let x = rules.args()[0];
        let Some(dims) = rules.dims(x) else { return Ok(None) };
        let Some((first, rest)) = dims.split_first() else {
            return Err(rules.rank(x, "at least one axis"));
        };
        match (first, &rules.types.steps) {
            (Some(first), Some(steps)) if first != steps && !rules.types.is_stream(x) => {
                let problem = Diagnostic::error(
                    "E044",
                    format!("{first} is not the number of steps, which is {steps}"),
                );
                let problem = rules.labelled(problem, &[x]);
                Err(Box::new(problem.expected(format!("a first axis of {steps}"))))
            }
            _ => Ok(Some(rest.to_vec())),
        }
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn check(&self, rules: &Rules<'_>) -> Result<(), Problem> {
        let x = rules.args()[0];
        if !rules.types.is_stream(x) {
            return Ok(());
        }
        Err(Box::new(
            Diagnostic::error("E061", "`time_unstack` takes a static tensor")
                .label(rules.place(x), "this is a stream already")
                .expected("a static tensor whose first axis is time")
                .found(rules.types.show(x)),
        ))
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        e.push(Op::TimeUnstack, args.to_vec())
    }
}

/// The steps of a stream from the last to the first.
#[derive(Debug)]
pub struct Reverse;

impl Operation for Reverse {
    fn name(&self) -> &'static str {
        "time_reverse"
    }

    fn time(&self) -> Time {
        Time::AllSteps
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(rules.of_first())
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_first()
    }

    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        if !e.builder.ty(args[0]).is_stream() {
            return Ok(args[0]);
        }
        let stacked = e.push(Op::TimeStack(e.steps()), args.to_vec())?;
        let flipped = e.push(Op::Flip { axis: 0 }, vec![stacked])?;
        e.push(Op::TimeUnstack, vec![flipped])
    }
}
