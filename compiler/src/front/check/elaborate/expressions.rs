//! The values of expressions.

use super::scope::{Home, Scope, ScopeKind};
use super::{Call, Elaborator, MAX_DEPTH, Value};
use crate::diagnostic::Diagnostic;
use crate::front::check::modules::{DefId, Unresolved};
use crate::front::check::ops::{self, Map, MatMul};
use crate::front::check::report;
use crate::front::check::term::{Choice, Kind, Static, TermId, Terms};
use crate::front::syntax::ast::{BinaryOp, Expr, ExprKind, ItemKind, Name, UnaryOp};
use crate::ir::graph::{Pointwise, syntax};
use crate::source::Span;

impl Elaborator<'_, '_> {
    pub fn term(&mut self, scope: &mut Scope, expr: &Expr) -> TermId {
        let value = self.expr(scope, expr);
        self.tensor(value, expr.span).unwrap_or(Terms::ERROR)
    }

    pub fn expr(&mut self, scope: &mut Scope, expr: &Expr) -> Value {
        self.held(scope, expr, None)
    }

    /// The value of an expression; `name` is that of the binding that holds the expression as a whole.
    pub(super) fn held(&mut self, scope: &mut Scope, expr: &Expr, name: Option<&str>) -> Value {
        if self.is_full {
            return Value::ERROR;
        }
        if self.depth >= MAX_DEPTH {
            self.report_depth(expr.span);
            return Value::ERROR;
        }
        self.depth += 1;
        let value = match &expr.kind {
            ExprKind::Number { value, integer } => {
                let kind = Kind::Literal { value: *value, integer: *integer };
                Value::Term(self.push(scope, kind, Vec::new(), expr.span))
            }
            ExprKind::Bool(value) => {
                Value::Term(self.push(scope, Kind::Bool(*value), Vec::new(), expr.span))
            }
            ExprKind::Path(path) => self.path(scope, path, expr.span),
            ExprKind::Unary(op, inner) => self.unary(scope, *op, inner, expr.span),
            ExprKind::Binary(..) => self.binary(scope, expr),
            ExprKind::If { condition, then, otherwise } => {
                Value::Term(self.choice(scope, [condition, then, otherwise], expr.span))
            }
            ExprKind::Call { callee, dims, arguments } => {
                self.call(scope, &Call { callee, dims, arguments, span: expr.span }, name)
            }
            ExprKind::Instance { callee, dims } => self.layer_value(scope, callee, dims, expr.span),
            ExprKind::Tuple(parts) => {
                let parts = parts.iter().map(|part| self.expr(scope, part)).collect();
                self.tuple(parts, expr.span)
            }
            ExprKind::List(parts) => {
                Value::List(parts.iter().map(|part| self.expr(scope, part)).collect())
            }
            ExprKind::Error => Value::ERROR,
        };
        self.depth -= 1;
        value
    }

    /// Both branches, for the errors in them and the calls that are numbered.
    fn choice(&mut self, scope: &mut Scope, parts: [&Expr; 3], span: Span) -> TermId {
        let mut ends = [0; 3];
        let mut args = Vec::new();
        for (part, end) in parts.into_iter().zip(&mut ends) {
            args.push(self.term(scope, part));
            *end = self.program.terms.len() as u32;
        }
        let places = parts.iter().map(|part| part.span).collect();
        let term = self.push_at(scope, Kind::If, args, places, span);
        if !self.is_full {
            let branches = [ends[0]..ends[1], ends[1]..ends[2]];
            self.program.choices.push(Choice { term, branches });
        }
        term
    }

    fn unary(&mut self, scope: &mut Scope, op: UnaryOp, inner: &Expr, span: Span) -> Value {
        if let (UnaryOp::Neg, ExprKind::Number { value, integer: false }) = (op, &inner.kind) {
            let kind = Kind::Literal { value: -value, integer: false };
            return Value::Term(self.push(scope, kind, Vec::new(), span));
        }
        let operand = self.term(scope, inner);
        let op = match op {
            UnaryOp::Neg => Pointwise::Neg,
            UnaryOp::Not => Pointwise::Not,
        };
        Value::Term(self.push_at(scope, Kind::op(Map(op)), vec![operand], vec![inner.span], span))
    }

    /// A chain of operators that associate to the left is walked in a loop: it can be long.
    fn binary(&mut self, scope: &mut Scope, expr: &Expr) -> Value {
        let mut chain = Vec::new();
        let mut first = expr;
        while let ExprKind::Binary(op, left, right) = &first.kind {
            chain.push((*op, right, first.span));
            first = left;
        }
        let mut value = self.term(scope, first);
        let mut left = first.span;
        for (op, right, span) in chain.into_iter().rev() {
            let args = vec![value, self.term(scope, right)];
            value = self.push_at(scope, operation(op), args, vec![left, right.span], span);
            left = span;
        }
        Value::Term(value)
    }

    fn path(&mut self, scope: &mut Scope, path: &[Name], span: Span) -> Value {
        if let [name] = path {
            if let Some(value) = scope.values.get(&name.text) {
                let value = value.clone();
                return self.fresh(scope, value, span);
            }
            if scope.comes_later(&name.text) {
                return self.later(scope, name);
            }
            let number = match name.text.as_str() {
                "inf" => Some(f64::INFINITY),
                "pi" => Some(std::f64::consts::PI),
                _ => None,
            };
            let is_free = self.modules.visible(scope.module, &name.text).is_none();
            if name.text == "same" && is_free {
                return Value::Same;
            }
            if let (Some(value), true) = (number, is_free) {
                let kind = Kind::Literal { value, integer: false };
                return Value::Term(self.push(scope, kind, Vec::new(), span));
            }
        }
        match self.modules.resolve(scope.module, path) {
            Ok(id) => self.item_value(scope, id, span),
            Err(Unresolved::Reported) => Value::ERROR,
            Err(Unresolved::Unknown(hint)) => {
                let name = path.last().map_or("", |name| &name.text);
                let near = scope.values.keys().chain(scope.later.keys()).map(String::as_str);
                let hint = report::closest(name, near)
                    .map(|likely| format!("did you mean `{likely}`?"))
                    .or(hint);
                let problem = match ops::exists(name) {
                    true => Diagnostic::error("E016", format!("`{name}` is an operation"))
                        .label(span, "not a value")
                        .hint(format!("call it: `{name}(…)`")),
                    false => Diagnostic { hint, ..report::unknown(name, span) },
                };
                self.fail(problem)
            }
        }
    }

    /// A number is made anew at each use: there it takes the type it meets.
    fn fresh(&mut self, scope: &Scope, value: Value, span: Span) -> Value {
        let Value::Term(id) = value else { return value };
        let kind = &self.program.terms[id].kind;
        if !matches!(kind, Kind::Literal { .. } | Kind::Dimension(_)) {
            return value;
        }
        let kind = kind.clone();
        Value::Term(self.push(scope, kind, Vec::new(), span))
    }

    /// A binding of this body that has no value yet.
    fn later(&mut self, scope: &mut Scope, name: &Name) -> Value {
        if scope.prevs == 0 {
            return self.too_early(scope, name);
        }
        let forward = self.push(scope, Kind::Forward, Vec::new(), name.span);
        if let Some(later) = scope.later.get_mut(&name.text) {
            later.forwards.push(forward);
        }
        Value::Term(forward)
    }

    /// Notes a binding that is mentioned before it has a value.
    pub fn too_early(&mut self, scope: &mut Scope, name: &Name) -> Value {
        scope.early.push((scope.current.clone(), name.clone()));
        Value::ERROR
    }

    /// The value of an item's name: constants and layers have one.
    fn item_value(&mut self, scope: &Scope, id: DefId, span: Span) -> Value {
        let (items, index) = self.modules.definition(id);
        let (what, hint) = match &items[index].kind {
            ItemKind::Const(_) => {
                return match self.constant(id, span) {
                    Some(Static::Bool(value)) => {
                        Value::Term(self.push(scope, Kind::Bool(value), Vec::new(), span))
                    }
                    Some(value) => {
                        let integer = matches!(value, Static::Dim(_));
                        let value = value.number().unwrap_or(f64::NAN);
                        let kind = Kind::Literal { value, integer };
                        Value::Term(self.push(scope, kind, Vec::new(), span))
                    }
                    None => Value::ERROR,
                };
            }
            ItemKind::Fn(item) => ("a function", format!("call it: `{}(…)`", item.name.text)),
            ItemKind::Layer(_) => return self.instance_of(id, Vec::new()),
            ItemKind::Use(_) | ItemKind::Graph(_) => {
                ("a graph", "graphs are entry points; share code in a layer".to_string())
            }
        };
        let name = self.modules.name(id);
        let problem = Diagnostic::error("E016", format!("`{name}` is {what}, not a value"))
            .label(span, "expected a value")
            .label(self.modules.span(id), "defined here")
            .hint(hint);
        self.fail(problem)
    }

    /// The number that a `const` is; `None` if that is an error, reported where it is defined.
    fn constant(&mut self, id: DefId, span: Span) -> Option<Static> {
        if let Some(known) = self.constants.get(&id) {
            return known.clone();
        }
        if let Some(start) = self.calls.iter().position(|(call, _)| *call == id) {
            let problem = self.recursion(id, start, span);
            self.report(problem);
            return None;
        }
        let (items, index) = self.modules.definition(id);
        let ItemKind::Const(item) = &items[index].kind else { return None };
        self.calls.push((id, span));
        let mut scope = Scope::new(id.module, ScopeKind::Constant, Home::default(), None);
        let term = self.term(&mut scope, &item.value);
        self.calls.pop();
        let known = self.program.terms.known(term).cloned();
        let is_number = known
            .as_ref()
            .is_some_and(|known| known.number().is_some() || matches!(known, Static::Bool(_)));
        if !is_number && known != Some(Static::Broken) {
            self.report(report::not_constant(item.value.span));
        }
        let value = known.filter(|_| is_number);
        self.constants.insert(id, value.clone());
        value
    }

    /// Checks the constants that nothing uses.
    pub fn check_constant(&mut self, id: DefId) {
        let span = self.modules.span(id);
        self.constant(id, span);
    }
}

fn operation(op: BinaryOp) -> Kind {
    syntax::pointwise(op).map_or_else(|| Kind::op(MatMul), |op| Kind::op(Map(op)))
}
