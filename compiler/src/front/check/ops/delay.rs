//! `prev(x)` and `delay(x, n)`: what a stream was steps ago.

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::shape::join;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape, Time};
use crate::ir::graph::{Clock, NodeId};

/// The longest `delay`.
const MAX_DELAY: i64 = 4096;

/// `prev(x)` or, with a second operand, `prev(x, init)`.
#[derive(Debug)]
struct Prev;

pub fn prev(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    call.apply(Prev, 1 + usize::from(call.is_given(1)))
}

pub fn delay(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let steps = call.integer(1)?;
    if !(1..=MAX_DELAY).contains(&steps) {
        call.report(
            Diagnostic::error("E044", "a delay by a number of steps that is not possible")
                .label(call.span(1), format!("this is {steps}"))
                .expected(format!("1 to {MAX_DELAY} steps"))
                .found(steps.to_string()),
        );
        return None;
    }
    let x = call.operand(0);
    Some((0..steps).fold(x, |x, _| call.term(Prev, vec![x])).into())
}

impl Operation for Prev {
    fn name(&self) -> &'static str {
        "prev"
    }

    fn is_delay(&self) -> bool {
        true
    }

    fn time(&self) -> Time {
        Time::Steps
    }

    fn clock(&self) -> Option<Clock> {
        Some(Clock::Stream)
    }

    /// A state may be as large as its first value only: `check` compares.
    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let (x, init) = (rules.args()[0], rules.args().get(1));
        Ok(match (rules.dims(x), init.and_then(|init| rules.dims(*init))) {
            (Some(dims), Some(init)) => join(dims, init).ok().or(Some(dims.to_vec())),
            (dims, init) => dims.or(init).map(<[_]>::to_vec),
        })
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.as_operands()
    }

    /// The first value broadcasts to the stream, and is none.
    fn check(&self, rules: &Rules<'_>) -> Result<(), Problem> {
        let [x, init] = *rules.args() else { return Ok(()) };
        if let (Some(dims), Some(start)) = (rules.dims(x), rules.dims(init)) {
            let fits = start.len() <= dims.len()
                && dims.iter().rev().zip(start.iter().rev()).all(|pair| match pair {
                    (Some(dim), Some(start)) => dim == start || start.is_one(),
                    _ => true,
                });
            if !fits {
                let problem =
                    Diagnostic::error("E040", "the first value does not broadcast to the stream");
                let problem = rules.labelled(problem, &[init, x]);
                let (x, init) = (rules.types.show(x), rules.types.show(init));
                return Err(Box::new(problem.expected(x).found(init)));
            }
        }
        if rules.types.is_stream(init) {
            let problem = Diagnostic::error("E061", "the first value of `prev` is static")
                .label(rules.place(init), "this is a stream")
                .expected("a static value")
                .found(rules.types.show(init))
                .hint("`first(x)` is the first step of a stream");
            return Err(Box::new(problem));
        }
        Ok(())
    }

    fn emit(&self, emitter: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        emitter.prev(args.first().copied())
    }
}
