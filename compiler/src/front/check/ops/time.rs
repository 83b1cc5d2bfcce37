//! The number of the step and of all steps, and what takes all steps of a stream to one value.

use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape, Time};
use crate::ir::graph::{Clock, Elem, NodeId, Op, Reduction};

/// `time_index()`, from 0.
#[derive(Debug)]
pub struct Index;

impl Operation for Index {
    fn name(&self) -> &'static str {
        "time_index"
    }

    fn time(&self) -> Time {
        Time::Steps
    }

    fn clock(&self) -> Option<Clock> {
        Some(Clock::Stream)
    }

    fn shape(&self, _: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(Some(Vec::new()))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.result(Elem::F32)
    }

    fn emit(&self, emitter: &mut Emitter<'_, '_>, _: &[NodeId]) -> Result<NodeId, Problem> {
        emitter.step()
    }
}

/// `time_steps()`: how many there are.
#[derive(Debug)]
pub struct Count;

impl Operation for Count {
    fn name(&self) -> &'static str {
        "time_steps"
    }

    fn time(&self) -> Time {
        Time::Steps
    }

    fn shape(&self, _: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(Some(Vec::new()))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.result(Elem::F32)
    }

    fn emit(&self, emitter: &mut Emitter<'_, '_>, _: &[NodeId]) -> Result<NodeId, Problem> {
        let steps = emitter.steps();
        Ok(emitter.builder.size(steps, Elem::F32))
    }
}

/// What takes all steps to one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverTime {
    First,
    Last,
    Sum,
    Mean,
    Max,
}

impl Operation for OverTime {
    fn name(&self) -> &'static str {
        match self {
            OverTime::First => "first",
            OverTime::Last => "last",
            OverTime::Sum => "time_sum",
            OverTime::Mean => "time_mean",
            OverTime::Max => "time_max",
        }
    }

    fn time(&self) -> Time {
        Time::AllSteps
    }

    fn clock(&self) -> Option<Clock> {
        Some(Clock::Static)
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(rules.of_first())
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        match self {
            OverTime::First | OverTime::Last => dtypes.as_first(),
            OverTime::Sum | OverTime::Mean | OverTime::Max => dtypes.numbers(dtypes.args()),
        }
    }

    /// What is static is the same at every step.
    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let x = args[0];
        let is_static = !e.builder.ty(x).is_stream();
        match self {
            OverTime::Sum if is_static => {
                let (steps, elem) = (e.steps(), e.builder.ty(x).elem);
                let steps = e.builder.size(steps, elem);
                let dims = e.builder.ty(x).dims.clone();
                let steps = e.builder.broadcast(steps, &dims);
                Ok(e.builder.mul(x, steps))
            }
            _ if is_static => Ok(x),
            OverTime::First => e.push(Op::First, vec![x]),
            OverTime::Last => e.push(Op::Last, vec![x]),
            OverTime::Max => e.push(Op::TimeReduce(Reduction::Max), vec![x]),
            OverTime::Sum => e.push(Op::TimeReduce(Reduction::Sum), vec![x]),
            OverTime::Mean => {
                let sum = e.push(Op::TimeReduce(Reduction::Sum), vec![x])?;
                let (steps, elem) = (e.steps(), e.builder.ty(sum).elem);
                let steps = e.builder.size(steps, elem);
                Ok(e.builder.div(sum, steps))
            }
        }
    }
}
