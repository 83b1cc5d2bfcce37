//! Dimensions, and types as they are written.

use super::scope::Scope;
use super::{Elaborator, Value};
use crate::diagnostic::Diagnostic;
use crate::front::check::term::{Kind, Static, TermId, VarId, VarSource};
use crate::front::check::{report, shape};
use crate::front::syntax::ast::{Expr, ExprKind, Name, TypeExpr};
use crate::ir::graph::{Dim, Elem};
use crate::source::Span;

impl Elaborator<'_, '_> {
    pub fn bind_dim(&mut self, scope: &mut Scope, name: &Name, source: VarSource) -> VarId {
        let var = self.program.terms.add_var(&name.text, source);
        let term = self.push(scope, Kind::Dimension(var), Vec::new(), name.span);
        scope.values.insert(name.text.clone(), Value::Term(term));
        var
    }

    /// The whole number that a term is, known before types are; reports if it is none.
    pub(super) fn whole(&mut self, term: TermId, span: Span) -> Option<Dim> {
        let known = self.program.terms.known(term).cloned();
        if known == Some(Static::Broken) {
            return None;
        }
        match shape::dimension(known.as_ref(), span) {
            Ok(Some(dim)) => Some(dim),
            Ok(None) => {
                self.report(report::not_constant(span));
                None
            }
            Err(problem) => {
                self.report(*problem);
                None
            }
        }
    }

    /// The terms of a type's dimensions, where `..` has no place.
    pub(super) fn full_type(&mut self, scope: &mut Scope, ty: &TypeExpr) -> Vec<TermId> {
        self.refuse_rest(ty);
        self.declared_type(scope, ty)
    }

    pub(super) fn refuse_rest(&mut self, ty: &TypeExpr) {
        if let Some(rest) = ty.rest {
            self.report(
                Diagnostic::error("E048", "`..` stands only in the type of an argument")
                    .label(rest, "not allowed here")
                    .hint("write all dimensions: here their number must be known"),
            );
        }
    }

    /// The terms of a type's dimensions.
    pub(super) fn declared_type(&mut self, scope: &mut Scope, ty: &TypeExpr) -> Vec<TermId> {
        if let Some(time) = &ty.time {
            self.report(
                Diagnostic::error("E062", "only the inputs of a graph say that they are streams")
                    .label(time.span, "not allowed here")
                    .hint("elsewhere it is inferred: write the type of one step"),
            );
        }
        ty.dims.iter().map(|dim| self.term(scope, dim)).collect()
    }

    pub fn typed(&mut self, scope: &mut Scope, value: Value, ty: &TypeExpr, span: Span) -> Value {
        let dims = self.declared_type(scope, ty);
        let Some(term) = self.tensor(value, span) else { return Value::ERROR };
        let args = std::iter::once(term).chain(dims).collect();
        let kind = Kind::Typed { elem: elem(ty), has_rest: ty.rest.is_some() };
        Value::Term(self.push_at(scope, kind, args, vec![span], span))
    }
}

/// The elements of a type: f32 where nothing is written. Other names are an error of syntax.
pub fn elem(ty: &TypeExpr) -> Elem {
    match &ty.elem {
        Some(name) if name.text == "i32" => Elem::I32,
        _ => Elem::F32,
    }
}

/// The name that a dimension is, if it is nothing else.
pub fn plain_name(dim: &Expr) -> Option<&Name> {
    let ExprKind::Path(path) = &dim.kind else { return None };
    let [name] = path.as_slice() else { return None };
    Some(name)
}

/// The names in a dimension, each once.
pub fn names<'a>(dim: &'a Expr, found: &mut Vec<&'a Name>) {
    match &dim.kind {
        ExprKind::Path(_) => {
            if let Some(name) = plain_name(dim)
                && found.iter().all(|other| other.text != name.text)
            {
                found.push(name);
            }
        }
        ExprKind::Unary(_, inner) => names(inner, found),
        ExprKind::Binary(_, left, right) => {
            names(left, found);
            names(right, found);
        }
        ExprKind::Number { .. }
        | ExprKind::Bool(_)
        | ExprKind::If { .. }
        | ExprKind::Call { .. }
        | ExprKind::Instance { .. }
        | ExprKind::Tuple(_)
        | ExprKind::List(_)
        | ExprKind::Error => {}
    }
}
