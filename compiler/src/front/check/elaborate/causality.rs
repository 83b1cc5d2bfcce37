//! The report of a binding that is mentioned before it has a value.

use std::collections::{BTreeMap, VecDeque};

use crate::diagnostic::Diagnostic;
use crate::front::check::ops;
use crate::front::syntax::ast::{Body, Expr, ExprKind, Name, Pattern, StatementKind};
use crate::source::Span;

/// What is wrong with each mention of a name in the binding of others that come before it: a cycle that no `prev`
/// breaks, or only the order.
pub fn problems(body: &Body, early: &[(Vec<String>, Name)]) -> Vec<Diagnostic> {
    let equations = equations(body);
    let mut steps = MAX_STEPS;
    early.iter().map(|(current, name)| problem(&equations, current, name, &mut steps)).collect()
}

/// After so many steps in all, cycles are no longer looked for.
const MAX_STEPS: usize = 1_000_000;

fn problem(
    equations: &BTreeMap<&str, Equation<'_>>,
    current: &[String],
    name: &Name,
    steps: &mut usize,
) -> Diagnostic {
    let defined = equations.get(name.text.as_str()).map(|equation| equation.span);
    let path = current.iter().find_map(|from| path(equations, &name.text, from, steps));
    let problem = match &path {
        Some(path) => {
            let cycle = path.iter().chain(path.first()).map(|name| format!("`{name}`"));
            let cycle = cycle.collect::<Vec<_>>().join(" → ");
            let hint = format!("a value of the step before is `prev({})`", name.text);
            Diagnostic::error("E021", format!("`{}` depends on itself at the same step", name.text))
                .label(name.span, format!("`{}` has no value yet", name.text))
                .note(format!("each needs the next: {cycle}"))
                .hint(hint)
        }
        None => Diagnostic::error("E021", format!("`{}` is used before its definition", name.text))
            .label(name.span, "has no value yet")
            .hint(format!(
                "define it before; the value of the step before is `prev({})`",
                name.text
            )),
    };
    match defined {
        Some(span) => problem.label(span, "defined here"),
        None => problem,
    }
}

struct Equation<'a> {
    span: Span,
    /// The names mentioned outside of `prev`.
    mentions: Vec<&'a str>,
}

fn equations(body: &Body) -> BTreeMap<&str, Equation<'_>> {
    let mut equations = BTreeMap::new();
    for statement in &body.statements {
        if let StatementKind::Let(item) = &statement.kind {
            let mut found = Vec::new();
            mentions(&item.value, &mut found);
            let mut names = Vec::new();
            bound(&item.pattern, &mut names);
            for name in names {
                let equation = Equation { span: name.span, mentions: found.clone() };
                equations.entry(name.text.as_str()).or_insert(equation);
            }
        }
    }
    equations
}

/// The shortest chain of mentions between two bindings, both included.
fn path<'a>(
    equations: &'a BTreeMap<&'a str, Equation<'a>>,
    from: &str,
    to: &str,
    steps: &mut usize,
) -> Option<Vec<&'a str>> {
    let (start, _) = equations.get_key_value(from)?;
    let mut reached_from: BTreeMap<&str, Option<&str>> = BTreeMap::from([(*start, None)]);
    let mut queue = VecDeque::from([*start]);
    while let Some(name) = queue.pop_front() {
        *steps = steps.checked_sub(1)?;
        if name == to {
            let mut chain = vec![name];
            let mut at = name;
            while let Some(Some(before)) = reached_from.get(at) {
                chain.push(before);
                at = before;
            }
            chain.reverse();
            return Some(chain);
        }
        for mention in equations.get(name).into_iter().flat_map(|equation| &equation.mentions) {
            if let Some((next, _)) = equations.get_key_value(mention)
                && !reached_from.contains_key(next)
            {
                reached_from.insert(next, Some(name));
                queue.push_back(next);
            }
        }
    }
    None
}

fn bound<'a>(pattern: &'a Pattern, names: &mut Vec<&'a Name>) {
    match pattern {
        Pattern::Name(name) => names.push(name),
        Pattern::Tuple(parts, _) => parts.iter().for_each(|part| bound(part, names)),
    }
}

/// The names that an expression needs at the same step.
fn mentions<'a>(expr: &'a Expr, found: &mut Vec<&'a str>) {
    match &expr.kind {
        ExprKind::Path(path) => {
            if let [name] = path.as_slice() {
                found.push(&name.text);
            }
        }
        ExprKind::Unary(_, inner) => mentions(inner, found),
        ExprKind::Binary(_, left, right) => {
            mentions(left, found);
            mentions(right, found);
        }
        ExprKind::If { condition, then, otherwise } => {
            [condition, then, otherwise].into_iter().for_each(|part| mentions(part, found));
        }
        ExprKind::Call { callee, arguments, .. } => {
            let is_delay = matches!(callee.as_slice(), [name] if ops::is_past(&name.text));
            for (position, argument) in arguments.iter().enumerate() {
                let is_past = is_delay
                    && match &argument.name {
                        Some(name) => name.text == "x",
                        None => position == 0,
                    };
                if !is_past {
                    mentions(&argument.value, found);
                }
            }
        }
        ExprKind::Instance { dims: parts, .. } | ExprKind::Tuple(parts) | ExprKind::List(parts) => {
            parts.iter().for_each(|part| mentions(part, found));
        }
        ExprKind::Number { .. } | ExprKind::Bool(_) | ExprKind::Error => {}
    }
}
