//! Calls of operations, whose rows say how they are read.

use super::scope::Scope;
use super::{Arguments, Call, Elaborator, Formal, Value};
use crate::diagnostic::Diagnostic;
use crate::front::check::{ops, report};

impl Elaborator<'_, '_> {
    /// The value of an operation; `held` is the name of the binding that holds it.
    pub(super) fn operation(
        &mut self,
        scope: &mut Scope,
        name: &str,
        call: &Call<'_>,
        held: Option<&str>,
    ) -> Value {
        let Some(row) = ops::find(name, call) else { return self.no_operation(scope, name, call) };
        if row.is_past && !scope.has_memory() {
            self.report(report::impure(call.span, &format!("`{name}`")));
        }
        let values = self.values(scope, call, row.is_past.then_some("x"));
        let order = match row.is_variadic {
            true => self.arrange_any(name, call),
            false => self.arrange(name, None, &row.formals().collect::<Vec<Formal<'_>>>(), call),
        };
        let Some(order) = order else { return Value::ERROR };
        let name = row.name;
        let mut arguments = Arguments { elaborator: self, scope, name, call, held, values, order };
        (row.read)(&mut arguments).unwrap_or(Value::ERROR)
    }

    fn no_operation(&mut self, scope: &mut Scope, name: &str, call: &Call<'_>) -> Value {
        self.arguments(scope, call.arguments);
        let problem = Diagnostic::error("E035", format!("`{name}` is an initialiser"))
            .label(call.span, "not allowed here")
            .hint("initialisers stand only after a `param`");
        self.fail(problem)
    }
}
