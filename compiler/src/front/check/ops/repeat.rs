//! `repeat(n, layer, x)`: a layer again and again on what it gave before.

use std::rc::Rc;

use crate::diagnostic::Diagnostic;
use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::report;
use crate::front::check::term::Terms;

/// The most applications.
const MAX_REPEAT: i64 = 4096;

pub fn read(call: &mut Arguments<'_, '_, '_>) -> Option<Value> {
    let count = call.integer(0)?;
    if !(0..=MAX_REPEAT).contains(&count) {
        call.report(
            Diagnostic::error("E044", "a number of repetitions that is not possible")
                .label(call.span(0), format!("this is {count}"))
                .expected(format!("0 to {MAX_REPEAT}")),
        );
        return None;
    }
    let instance = match call.value(1)? {
        Value::Layer(instance) => Rc::clone(instance),
        Value::Term(Terms::ERROR) => return None,
        Value::Term(_) | Value::Tuple(_) | Value::List(_) | Value::Same => {
            call.report(
                Diagnostic::error("E024", "`repeat` takes a layer")
                    .label(call.span(1), "this is none")
                    .expected("a layer with its dimensions, or an instance")
                    .hint("`repeat(12, block[64], x)`"),
            );
            return None;
        }
    };
    let span = call.call.span;
    if !call.scope.has_memory() {
        call.report(report::impure(span, "a layer"));
        return None;
    }
    let first = call.value(2)?.clone();
    let place = call.span(2);
    Some(call.elaborator.repeat(call.scope, &instance, call.held, count, (first, place), span))
}
