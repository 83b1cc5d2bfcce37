//! Parameters and states.

use super::arguments::argument_span;
use super::scope::{Scope, ScopeKind, StateOf};
use super::{Call, Elaborator, Formal, Known, Value, elem};
use crate::diagnostic::Diagnostic;
use crate::front::check::term::{Kind, ParamDecl, TermId, Terms};
use crate::front::check::{initialisers, report};
use crate::front::syntax::ast::{Expr, ExprKind, Next, Param, State};
use crate::ir::graph::{Elem, ParamKind};

impl Elaborator<'_, '_> {
    pub(super) fn param(&mut self, scope: &mut Scope, item: &Param, docs: String) {
        if scope.kind == ScopeKind::Function {
            self.report(report::impure(item.name.span, "a parameter"));
            self.declare(scope, &item.name, Value::ERROR);
            return;
        }
        if elem(&item.ty) != Elem::F32 {
            self.report(
                Diagnostic::error("E051", "parameters are f32")
                    .label(item.ty.span, "not an f32 tensor")
                    .hint("integers cannot be trained: make it an input of the graph"),
            );
        }
        let dims = self.full_type(scope, &item.ty);
        let init = self.initialiser(scope, &item.init);
        let bounds =
            item.bounds.as_ref().map(|(low, high)| (self.term(scope, low), self.term(scope, high)));
        let path = format!("{}{}", scope.home.params, item.name.text);
        let index = self.program.params.len();
        if let Some(known) = self.params.get(&path) {
            let (other, index) = (known.span, known.index);
            if scope.home.is_shared && known.made_in != scope.home.memory {
                return self.shared_param(scope, item, index, dims);
            }
            let problem = Diagnostic::error("E020", format!("two parameters are called `{path}`"))
                .label(item.name.span, "this one")
                .label(other, "and this one")
                .hint("an instance that no name holds is called `layer_1`: rename the binding that has such a name");
            self.report(problem);
        }
        self.params.insert(path.clone(), Known::new(item.name.span, index, scope));
        let term = self.push(scope, Kind::Param(index), Vec::new(), item.name.span);
        if self.is_full {
            return;
        }
        let (init, init_args) = init.unwrap_or_default();
        self.program.params.push(ParamDecl {
            path: path.clone(),
            docs,
            span: item.name.span,
            frame: scope.frame,
            dims,
            init,
            init_args,
            elem: Elem::F32,
            kind: if item.is_fixed { ParamKind::Fixed } else { ParamKind::Trained },
            bounds,
        });
        if self.declare(scope, &item.name, Value::Term(term)) {
            self.program.terms.get_mut(term).name = Some(path.into());
        }
    }

    /// A tensor that stays from run to run: its value before the run, which nothing is differentiated for.
    pub(super) fn state(&mut self, scope: &mut Scope, item: &State, docs: String) {
        let (name, span) = (&item.name, item.name.span);
        if scope.kind == ScopeKind::Function {
            self.report(report::impure(span, "a state"));
            self.declare(scope, name, Value::ERROR);
            return;
        }
        let dims = self.full_type(scope, &item.ty);
        let (init, init_args) = self.initialiser(scope, &item.init).unwrap_or_default();
        let (path, index) =
            (format!("{}{}", scope.home.memory, name.text), self.program.params.len());
        let known = Known::new(span, index, scope);
        if let Some(Known { span: other, .. }) = self.params.insert(path.clone(), known) {
            let problem = Diagnostic::error("E020", format!("two tensors are called `{path}`"))
                .label(span, "this one")
                .label(other, "and this one");
            self.report(problem);
        }
        let term = self.push(scope, Kind::Param(index), Vec::new(), span);
        if self.is_full {
            return;
        }
        let declared = dims.clone();
        self.program.params.push(ParamDecl {
            path: path.clone(),
            docs,
            span,
            frame: scope.frame,
            dims,
            init,
            init_args,
            elem: elem(&item.ty),
            kind: ParamKind::State,
            bounds: None,
        });
        if self.declare(scope, name, Value::Term(term)) {
            self.program.terms.get_mut(term).name = Some(path.into());
            scope.states.insert(name.text.clone(), StateOf { index, dims: declared, next: None });
        }
    }

    /// The value of a state after the run, of the state's type.
    pub(super) fn next(&mut self, scope: &mut Scope, item: &Next) {
        let value = self.expr(scope, &item.value);
        let (name, span) = (&item.name, item.name.span);
        let Some(state) = scope.states.get_mut(&name.text) else {
            let names = scope.states.keys().map(String::as_str);
            let hint = report::closest(&name.text, names)
                .map(|likely| format!("did you mean `{likely}`?"))
                .or(Some("a state is declared before: `state m: [N] = zeros();`".into()));
            let message = format!("the body has no state `{}`", name.text);
            let problem = Diagnostic::error("E014", message).label(span, "not found");
            return self.report(Diagnostic { hint, ..problem });
        };
        if let Some(first) = state.next.replace(span) {
            let problem = Diagnostic::error("E020", format!("`{}` has two next values", name.text))
                .label(span, "given here again")
                .label(first, "first given here");
            return self.report(problem);
        }
        let (index, dims) = (state.index, state.dims.clone());
        let Some(term) = self.tensor(value, item.value.span) else { return };
        let args = std::iter::once(term).chain(dims).collect();
        let kind = Kind::Typed { elem: self.program.params[index].elem, has_rest: false };
        let span = item.value.span;
        let term = self.push_at(scope, kind, args, vec![span], span);
        self.program.nexts.push((index, term));
    }

    /// A parameter that an earlier call of the instance made: of the same dimensions.
    fn shared_param(&mut self, scope: &mut Scope, item: &Param, index: usize, dims: Vec<TermId>) {
        let span = item.name.span;
        let param = self.push(scope, Kind::Param(index), Vec::new(), span);
        let args = std::iter::once(param).chain(dims).collect();
        let kind = Kind::Typed { elem: Elem::F32, has_rest: false };
        let term = self.push_at(scope, kind, args, vec![span], span);
        self.declare(scope, &item.name, Value::Term(term));
    }

    /// The name and the arguments of a parameter's initialiser.
    fn initialiser(&mut self, scope: &mut Scope, init: &Expr) -> Option<(String, Vec<TermId>)> {
        let (path, arguments) = match &init.kind {
            ExprKind::Call { callee, arguments, .. } => (callee, arguments.as_slice()),
            ExprKind::Path(path) => (path, &[][..]),
            ExprKind::Error => return None,
            ExprKind::Number { .. }
            | ExprKind::Bool(_)
            | ExprKind::Unary(..)
            | ExprKind::Binary(..)
            | ExprKind::If { .. }
            | ExprKind::Instance { .. }
            | ExprKind::Tuple(_)
            | ExprKind::List(_) => {
                self.report(initialisers::not_an_initialiser(None, init.span));
                return None;
            }
        };
        let name = path.last().map_or("", |name| &name.text);
        let Some(formals) = initialisers::formals(name).filter(|_| path.len() == 1) else {
            self.report(initialisers::not_an_initialiser(Some(name), init.span));
            return None;
        };
        let call = Call { callee: path, dims: &[], arguments, span: init.span };
        let values = self.values(scope, &call, None);
        let formals: Vec<_> = formals
            .iter()
            .map(|formal| Formal { name: formal, is_optional: *formal == "gain", is_named: false })
            .collect();
        let order = self.arrange(name, None, &formals, &call)?;
        let mut args = Vec::new();
        for place in order.into_iter().flatten() {
            let value = values.get(place).cloned().unwrap_or(Value::ERROR);
            let term = self.tensor(value, argument_span(&call, place));
            args.push(term.unwrap_or(Terms::ERROR));
        }
        Some((name.to_string(), args))
    }
}
