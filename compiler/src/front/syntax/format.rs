//! The printer of the syntax tree: behind `fgic fmt`, the tree's own dump, and expressions in messages.
//!
//! It walks the tree in the order of the text. Comments are no part of the tree: each is put out when the walk
//! passes its place, at the end of a line where it stood there, else before what follows it.

use super::ast::*;
use super::layout::{Doc, concat, group, indent, text};
use super::tokens::{Comment, Token};
use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};

/// The columns of a line.
const WIDTH: usize = 100;
/// How often the comments may move before the text is taken as it is.
const MAX_MOVES: usize = 8;

/// The canonical text of a program, with its comments.
pub fn format(source: &str, file: FileId) -> Result<String, Vec<Diagnostic>> {
    let mut text = format_once(source, file)?;
    // A comment inside an expression may move to the end of a line, and there belong to more of the expression,
    // which has to break for it. A few moves bring it to rest.
    for _ in 0..MAX_MOVES {
        match format_once(&text, file) {
            Ok(next) if next == text => break,
            Ok(next) => text = next,
            // With the parentheses that make it readable it would be nested too deeply.
            Err(_) => return Ok(source.to_string()),
        }
    }
    Ok(text)
}

fn format_once(source: &str, file: FileId) -> Result<String, Vec<Diagnostic>> {
    let parsed = super::parse_all(source, file);
    if parsed.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(parsed.diagnostics);
    }
    let numbers = parsed.tokens.iter().filter_map(|&(start, token, _)| match token {
        Token::Number(text) => Some((start, text)),
        _ => None,
    });
    let numbers: Vec<_> = numbers.collect();
    let comments: Vec<_> = parsed.placed_comments(source).collect();
    let mut printer = Printer { source, numbers: &numbers, comments: &comments, last: 0 };
    Ok(printer.module(&parsed.module).render(WIDTH))
}

/// The text of a tree, without comments other than `///`.
pub fn print_module(module: &Module) -> String {
    Printer::default().module(module).render(WIDTH)
}

/// An expression on one line.
pub fn expr_to_string(expr: &Expr) -> String {
    expr_to_lines(expr, usize::MAX)
}

/// An expression on lines of so many columns.
pub fn expr_to_lines(expr: &Expr, width: usize) -> String {
    Printer::default().expr(expr).render(width)
}

/// Where a comment stands on its line.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    /// Alone.
    Own,
    /// After code.
    End,
    /// Before code.
    Inline,
}

type Placed<'t> = (Comment<'t>, Place);

impl<'t> super::Parsed<'t> {
    fn placed_comments(&self, source: &str) -> impl Iterator<Item = Placed<'t>> {
        self.comments.iter().map(move |&comment| {
            let next = self.tokens.partition_point(|token| token.0 < comment.start);
            let before = next.checked_sub(1).map_or(0, |before| self.tokens[before].2);
            let after = self.tokens.get(next).map_or(source.len(), |after| after.0);
            let is_last = next == self.tokens.len() || source[comment.end..after].contains('\n');
            let place = match next == 0 || source[before..comment.start].contains('\n') {
                _ if !is_last => Place::Inline,
                true => Place::Own,
                false => Place::End,
            };
            (comment, place)
        })
    }
}

/// How tightly an expression holds together, as in the language's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    If,
    Or,
    And,
    Not,
    Comparison,
    Sum,
    Product,
    Negation,
    Power,
    Primary,
}

impl Level {
    fn of(expr: &Expr) -> Level {
        match &expr.kind {
            ExprKind::If { .. } => Level::If,
            ExprKind::Unary(UnaryOp::Not, _) => Level::Not,
            ExprKind::Unary(UnaryOp::Neg, _) => Level::Negation,
            ExprKind::Binary(op, ..) => Level::of_binary(*op),
            _ => Level::Primary,
        }
    }

    fn of_binary(op: BinaryOp) -> Level {
        use BinaryOp::*;
        match op {
            Or => Level::Or,
            And => Level::And,
            Lt | Le | Gt | Ge | Eq | Ne => Level::Comparison,
            Add | Sub => Level::Sum,
            Mul | Div | Rem | MatMul => Level::Product,
            Pow => Level::Power,
        }
    }

    /// What the operands of a binary operator must hold, left and right, to stand without parentheses.
    fn of_operands(self) -> (Level, Level) {
        match self {
            Level::Or => (Level::Or, Level::And),
            Level::And => (Level::And, Level::Not),
            Level::Sum => (Level::Sum, Level::Product),
            Level::Product => (Level::Product, Level::Negation),
            Level::Power => (Level::Primary, Level::Negation),
            _ => (Level::Sum, Level::Sum),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Printer<'a> {
    source: &'a str,
    /// The number literals and where they start.
    numbers: &'a [(usize, &'a str)],
    /// The comments still to be put out.
    comments: &'a [Placed<'a>],
    /// Where the last thing put out ends in the source.
    last: usize,
}

impl Printer<'_> {
    // Items

    fn module(&mut self, module: &Module) -> Doc {
        let mut docs = Vec::new();
        let mut after_block = false;
        for (index, item) in module.items.iter().enumerate() {
            let wants_blank = index > 0 && (after_block || is_block(item));
            self.start_line(start(item.span), &item.docs, wants_blank, &mut docs);
            docs.push(self.item(item));
            self.last = self.last.max(end(item.span));
            let next = module.items.get(index + 1).map_or(usize::MAX, |next| start(next.span));
            docs.push(self.ends(next));
            after_block = is_block(item);
        }
        self.comment_lines(usize::MAX, after_block, |_| true, &mut docs);
        docs.push(Doc::HardLine);
        concat(docs)
    }

    fn item(&mut self, item: &Item) -> Doc {
        let item_end = end(item.span);
        match &item.kind {
            ItemKind::Use(item) => concat([self.r#use(item), self.semicolon(item_end)]),
            ItemKind::Const(item) => {
                let value = self.value(&item.value);
                concat([
                    text(format!("const {} =", item.name.text)),
                    value,
                    self.semicolon(item_end),
                ])
            }
            ItemKind::Fn(item) => {
                let body = &item.body;
                let arguments = self.arguments(&item.arguments, start(body.span));
                let head = concat([text(format!("fn {}", item.name.text)), arguments]);
                match &body.result {
                    Some(value) if body.statements.is_empty() => {
                        let comments = self.ends(start(value.span));
                        let value = self.expr(value);
                        let value = group(indent(concat([Doc::Line, value])));
                        concat([head, text(" ="), comments, value, self.semicolon(item_end)])
                    }
                    _ => concat([head, text(" "), self.body(body)]),
                }
            }
            ItemKind::Layer(item) => {
                let body = start(item.body.span);
                let dims = self.dim_arguments(&item.dims, first_argument(&item.arguments, body));
                let arguments = self.arguments(&item.arguments, body);
                let name = text(format!("layer {}", item.name.text));
                concat([name, dims, arguments, text(" "), self.body(&item.body)])
            }
            ItemKind::Graph(item) => {
                let body = start(item.body.span);
                let outputs = item.outputs.first().map_or(body, |first| start(first.span));
                let dims = first_argument(&item.arguments, outputs);
                let dims = self.graph_dims(item.steps.as_ref(), &item.dims, dims);
                let arguments = self.arguments(&item.arguments, outputs);
                let outputs = match item.outputs.as_slice() {
                    [output] => self.name(output),
                    outputs => {
                        self.list("(", outputs, ")", body, |name| start(name.span), Self::name)
                    }
                };
                let name = text(format!("graph {}", item.name.text));
                let head = [name, dims, arguments, text(" -> "), outputs, text(" ")];
                concat([concat(head), self.body(&item.body)])
            }
        }
    }

    fn r#use(&mut self, item: &Use) -> Doc {
        let mut path = String::from("use ");
        for name in &item.path {
            path += &format!("{}::", name.text);
        }
        let names = match &item.names {
            UseNames::All => text("*"),
            UseNames::Some(names) => match names.as_slice() {
                [name] => self.use_name(name),
                names => {
                    let at = |name: &(Name, _)| start(name.0.span);
                    let last = names.last().map_or(0, |last| end(last.0.span));
                    self.list("{", names, "}", last, at, Self::use_name)
                }
            },
        };
        concat([text(path), names])
    }

    fn use_name(&mut self, (name, alias): &(Name, Option<Name>)) -> Doc {
        match alias {
            Some(alias) => concat([self.name(name), text(" as "), self.name(alias)]),
            None => self.name(name),
        }
    }

    fn arguments(&mut self, arguments: &[Argument], end: usize) -> Doc {
        self.list("(", arguments, ")", end, |argument| start(argument.name.span), Self::argument)
    }

    fn argument(&mut self, argument: &Argument) -> Doc {
        let mut docs = Vec::new();
        self.doc_lines(start(argument.name.span), &argument.docs, &mut docs);
        docs.push(text(argument.name.text.as_str()));
        if argument.is_layer {
            docs.push(text(": layer"));
        }
        if let Some(ty) = &argument.ty {
            docs.extend([text(": "), self.r#type(ty)]);
        }
        if let Some(default) = &argument.default {
            docs.extend([text(" = "), self.expr(default)]);
        }
        concat(docs)
    }

    fn dim_arguments(&mut self, dims: &[DimArgument], end: usize) -> Doc {
        if dims.is_empty() {
            return text("");
        }
        self.list("[", dims, "]", end, |dim| start(dim.name.span), Self::dim_argument)
    }

    fn graph_dims(&mut self, steps: Option<&DimArgument>, dims: &[DimArgument], end: usize) -> Doc {
        let Some(steps) = steps else { return self.dim_arguments(dims, end) };
        let gap = if dims.is_empty() { "" } else { " " };
        let open = concat([text("["), self.dim_argument(steps), text(";"), text(gap)]);
        let dims = self.list("", dims, "]", end, |dim| start(dim.name.span), Self::dim_argument);
        concat([open, dims])
    }

    fn dim_argument(&mut self, dim: &DimArgument) -> Doc {
        match &dim.default {
            Some(default) => concat([self.name(&dim.name), text(" = "), self.expr(default)]),
            None => self.name(&dim.name),
        }
    }

    // Bodies

    fn body(&mut self, body: &Body) -> Doc {
        let body_end = end(body.span).saturating_sub(1);
        let result = body.result.as_ref();
        let after = result.map_or(body_end, |result| start(result.span));
        let starts = |index: usize| body.statements.get(index).map_or(after, |one| start(one.span));
        self.last = self.last.max(start(body.span) + 1);
        let head = self.ends(starts(0));
        let mut docs = Vec::new();
        let columns = self.columns(&body.statements);
        for (index, statement) in body.statements.iter().enumerate() {
            self.start_line(start(statement.span), &statement.docs, false, &mut docs);
            docs.push(self.statement(statement, &columns[index]));
            self.last = self.last.max(end(statement.span));
            docs.push(self.ends(starts(index + 1)));
        }
        if let Some(result) = result {
            self.start_line(start(result.span), &[], false, &mut docs);
            docs.push(self.expr(result));
            self.last = self.last.max(end(result.span));
            docs.push(self.ends(body_end));
        }
        self.comment_lines(body_end, false, |_| true, &mut docs);
        if docs.is_empty() {
            return concat([text("{"), head, text("}")]);
        }
        concat([text("{"), head, indent(concat(docs)), Doc::HardLine, text("}")])
    }

    fn statement(&mut self, statement: &Statement, columns: &Columns) -> Doc {
        let doc = match &statement.kind {
            StatementKind::Let(binding) => {
                let mut head = self.pattern(&binding.pattern);
                if let Some(ty) = &binding.ty {
                    head = concat([head, text(": "), self.r#type(ty)]);
                }
                let head = concat([text("let "), head, text(columns.pad_head()), text(" =")]);
                concat([head, self.value(&binding.value)])
            }
            StatementKind::Param(param) => {
                let name = format!("param {}: {}", param.name.text, columns.pad_name());
                let ty = self.r#type(&param.ty);
                let head = concat([text(name), ty, text(columns.pad_head()), text(" =")]);
                let init = self.value(&param.init);
                let fixed = text(if param.is_fixed { " fixed" } else { "" });
                let bounds = match &param.bounds {
                    Some((low, high)) => {
                        let end = end(statement.span).saturating_sub(1);
                        let bounds = [low, high];
                        let start = |bound: &&Expr| start(bound.span);
                        let list = self.list("[", &bounds, "]", end, start, |printer, bound| {
                            printer.expr(bound)
                        });
                        concat([text(columns.pad_init()), text(" in "), list])
                    }
                    None => text(""),
                };
                concat([head, init, fixed, bounds])
            }
            StatementKind::State(state) => {
                let name = format!("state {}: {}", state.name.text, columns.pad_name());
                let ty = self.r#type(&state.ty);
                let head = concat([text(name), ty, text(columns.pad_head()), text(" =")]);
                concat([head, self.value(&state.init)])
            }
            StatementKind::Next(next) => {
                let name = format!("next {}{} =", next.name.text, columns.pad_head());
                concat([text(name), self.value(&next.value)])
            }
            StatementKind::Error => text("<error>"),
        };
        concat([doc, self.semicolon(end(statement.span))])
    }

    /// The `;` of what ends at `end`.
    fn semicolon(&mut self, end: usize) -> Doc {
        let mut docs = Vec::new();
        while let Some((comment, _)) = self.comment(end, |place| place == Place::Inline) {
            docs.push(text(format!(" {comment}")));
        }
        docs.push(text(";"));
        concat(docs)
    }

    /// What follows a `=`, on the same line unless a comment forbids it.
    fn value(&mut self, value: &Expr) -> Doc {
        let ends = self.ends(start(value.span));
        let before = indent(self.before(start(value.span)));
        concat([ends, text(" "), before, self.expr(value)])
    }

    fn pattern(&mut self, pattern: &Pattern) -> Doc {
        match pattern {
            Pattern::Name(name) => self.name(name),
            Pattern::Tuple(parts, span) => {
                let at = |pattern: &Pattern| match pattern {
                    Pattern::Name(name) => start(name.span),
                    Pattern::Tuple(_, span) => start(*span),
                };
                self.tuple(parts, end(*span), at, Self::pattern)
            }
        }
    }

    fn r#type(&mut self, ty: &TypeExpr) -> Doc {
        let elem = ty.elem.as_ref().map_or(text(""), |elem| self.name(elem));
        let open = match &ty.time {
            // A stream's length stays with its bracket.
            Some(time) => {
                let time = self.expr(time);
                let gap = if ty.dims.is_empty() { "" } else { " " };
                concat([text("["), time, text(";"), text(gap)])
            }
            None => text("["),
        };
        let rest = match (ty.rest, ty.dims.is_empty()) {
            (None, _) => "",
            (Some(_), true) => "..",
            (Some(_), false) => ".., ",
        };
        let dims = self.list("", &ty.dims, "]", end(ty.span), |dim| start(dim.span), Self::expr);
        concat([elem, open, text(rest), dims])
    }

    // Expressions

    fn expr(&mut self, expr: &Expr) -> Doc {
        let before = self.before(start(expr.span));
        concat([before, self.expr_after_comments(expr)])
    }

    fn expr_after_comments(&mut self, expr: &Expr) -> Doc {
        let expr_end = end(expr.span);
        match &expr.kind {
            ExprKind::Number { value, integer } => text(self.number(expr.span, *value, *integer)),
            ExprKind::Bool(value) => text(value.to_string()),
            ExprKind::Path(path) => self.path(path),
            ExprKind::Unary(op, operand) => {
                let sign = match op {
                    UnaryOp::Neg => "-",
                    UnaryOp::Not => "!",
                };
                let is_bare = match op {
                    UnaryOp::Neg => Level::of(operand) > Level::Negation,
                    UnaryOp::Not => matches!(Level::of(operand), Level::Not | Level::Primary),
                };
                concat([text(sign), self.operand(operand, is_bare)])
            }
            ExprKind::Binary(op, left, right) => self.binary(*op, left, right),
            ExprKind::If { .. } => self.choice(expr),
            ExprKind::Call { callee, dims, arguments } => {
                let callee = self.path(callee);
                let dims = match dims.as_slice() {
                    [] => text(""),
                    dims => {
                        let end = match arguments.first() {
                            Some(first) => start_of_argument(first),
                            None => expr_end,
                        };
                        self.list("[", dims, "]", end, |dim| start(dim.span), Self::expr)
                    }
                };
                let arguments = self.list(
                    "(",
                    arguments,
                    ")",
                    expr_end,
                    start_of_argument,
                    Self::call_argument,
                );
                concat([callee, dims, arguments])
            }
            ExprKind::Instance { callee, dims } => {
                let callee = self.path(callee);
                let dims = self.list("[", dims, "]", expr_end, |dim| start(dim.span), Self::expr);
                concat([callee, dims])
            }
            ExprKind::Tuple(parts) => {
                self.tuple(parts, expr_end, |part| start(part.span), Self::expr)
            }
            ExprKind::List(parts) => {
                self.list("[", parts, "]", expr_end, |part| start(part.span), Self::expr)
            }
            ExprKind::Error => text("<error>"),
        }
    }

    fn call_argument(&mut self, argument: &CallArgument) -> Doc {
        match &argument.name {
            Some(name) => concat([self.name(name), text(" = "), self.expr(&argument.value)]),
            None => self.expr(&argument.value),
        }
    }

    /// A chain of operators of one level breaks before each of them, or not at all.
    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) -> Doc {
        let level = Level::of_binary(op);
        let (left_level, right_level) = level.of_operands();
        let mut chain = vec![(op, right)];
        let mut first = left;
        while let ExprKind::Binary(op, left, right) = &first.kind
            && Level::of_binary(*op) == level
            && left_level == level
        {
            chain.push((*op, right));
            first = left;
        }
        // `a && b || c` needs no parentheses, but its reader does.
        let is_bare = |operand, least| {
            Level::of(operand) >= least && (level, Level::of(operand)) != (Level::Or, Level::And)
        };
        let first = self.operand(first, is_bare(first, left_level));
        let mut rest = Vec::new();
        for (op, operand) in chain.into_iter().rev() {
            rest.push(self.ends(start(operand.span)));
            if op == BinaryOp::Pow {
                rest.push(text("^"));
            } else {
                rest.extend([Doc::Line, text(format!("{} ", op.symbol()))]);
            }
            rest.push(self.operand(operand, is_bare(operand, right_level)));
        }
        group(concat([first, indent(concat(rest))]))
    }

    fn choice(&mut self, expr: &Expr) -> Doc {
        let mut head = Vec::new();
        let mut branches = Vec::new();
        let (mut expr, mut keyword) = (expr, "if ");
        while let ExprKind::If { condition, then, otherwise } = &expr.kind {
            let line = if head.is_empty() { &mut head } else { &mut branches };
            line.push(text(keyword));
            line.push(self.operand(condition, Level::of(condition) > Level::If));
            line.push(text(" then "));
            line.push(self.operand(then, Level::of(then) > Level::If));
            branches.extend([self.ends(start(otherwise.span)), Doc::Line]);
            (expr, keyword) = (otherwise, "else if ");
            if matches!(expr.kind, ExprKind::If { .. }) {
                branches.push(self.before(start(expr.span)));
            }
        }
        branches.extend([text("else "), self.expr(expr)]);
        group(concat([concat(head), indent(concat(branches))]))
    }

    /// An operand, in parentheses unless it can stand bare.
    fn operand(&mut self, expr: &Expr, is_bare: bool) -> Doc {
        if is_bare {
            return self.expr(expr);
        }
        let before = self.before(start(expr.span));
        let inner = self.expr_after_comments(expr);
        let rest = self.rest(end(expr.span));
        let inner = concat([indent(concat([Doc::SoftLine, inner, rest])), Doc::SoftLine]);
        concat([before, group(concat([text("("), inner, text(")")]))])
    }

    fn path(&mut self, path: &[Name]) -> Doc {
        let mut docs = Vec::new();
        for (index, name) in path.iter().enumerate() {
            if index > 0 {
                docs.push(text("::"));
            }
            docs.push(self.name(name));
        }
        concat(docs)
    }

    fn name(&mut self, name: &Name) -> Doc {
        concat([self.before(start(name.span)), text(name.text.as_str())])
    }

    /// A number as the source spells it, or else so that it reads back.
    fn number(&self, span: Span, value: f64, integer: bool) -> String {
        let index = self.numbers.partition_point(|number| number.0 < start(span));
        match self.numbers.get(index) {
            Some(number) => number.1.to_string(),
            None if integer => value.to_string(),
            None => format!("{value:?}"),
        }
    }

    // Lists

    /// A tuple of one has a comma.
    fn tuple<T>(
        &mut self,
        parts: &[T],
        end: usize,
        start: impl Fn(&T) -> usize,
        print: impl FnMut(&mut Self, &T) -> Doc,
    ) -> Doc {
        let close = if parts.len() == 1 { ",)" } else { ")" };
        self.list("(", parts, close, end, start, print)
    }

    /// Items between delimiters, all on one line or each on its own. `end` is where the list ends at the latest.
    fn list<T>(
        &mut self,
        open: &'static str,
        items: &[T],
        close: &'static str,
        end: usize,
        start: impl Fn(&T) -> usize,
        mut print: impl FnMut(&mut Self, &T) -> Doc,
    ) -> Doc {
        let Some(first) = items.first() else {
            let rest = self.rest(end);
            return group(concat([text(open), indent(rest), text(close)]));
        };
        let mut docs = vec![self.ends(start(first)), Doc::SoftLine];
        for (index, item) in items.iter().enumerate() {
            docs.push(print(self, item));
            match items.get(index + 1) {
                Some(next) => docs.extend([text(","), self.ends(start(next)), Doc::Line]),
                None if close.starts_with(',') => {}
                None => docs.push(Doc::IfBroken(",")),
            }
        }
        docs.push(self.rest(end));
        group(concat([text(open), indent(concat(docs)), Doc::SoftLine, text(close)]))
    }

    // Comments

    /// Takes the next comment if it stands before `limit` in a wanted place.
    fn comment(
        &mut self,
        limit: usize,
        is_wanted: impl Fn(Place) -> bool,
    ) -> Option<(String, Place)> {
        let (&(comment, place), others) = self.comments.split_first()?;
        if comment.start >= limit || !is_wanted(place) {
            return None;
        }
        self.comments = others;
        self.last = self.last.max(comment.end);
        Some((comment.text.replace("\r\n", "\n"), place))
    }

    /// The comments at the end of this line.
    fn ends(&mut self, limit: usize) -> Doc {
        let mut docs = Vec::new();
        while let Some((comment, _)) = self.comment(limit, |place| place == Place::End) {
            docs.push(Doc::LineSuffix(comment));
        }
        concat(docs)
    }

    /// The comments before something that starts at `limit`.
    fn before(&mut self, limit: usize) -> Doc {
        self.between(limit, |comment| comment + " ")
    }

    /// The comments before a closing delimiter at `limit`.
    fn rest(&mut self, limit: usize) -> Doc {
        self.between(limit, |comment| format!(" {comment}"))
    }

    fn between(&mut self, limit: usize, inline: fn(String) -> String) -> Doc {
        let ends = self.ends(limit);
        let comments: Vec<_> = std::iter::from_fn(|| self.comment(limit, |_| true)).collect();
        // The last ones can stay on the line of what follows.
        let lines = comments.iter().rposition(|comment| comment.1 != Place::Inline);
        let lines = lines.map_or(0, |last| last + 1);
        let mut docs = vec![ends];
        for (index, (comment, _)) in comments.into_iter().enumerate() {
            match index < lines {
                true => docs.extend([Doc::HardLine, text(comment), Doc::HardLine]),
                false => docs.push(text(inline(comment))),
            }
        }
        concat(docs)
    }

    /// Starts a line for what stands at `at`, after the comments and the documentation before it. One empty line
    /// is kept.
    fn start_line(&mut self, at: usize, lines: &[String], wants_blank: bool, docs: &mut Vec<Doc>) {
        let has_line = |place| place != Place::Inline;
        let had_comments = self.comment_lines(at, wants_blank, has_line, docs);
        docs.push(self.new_line(wants_blank && !had_comments, docs));
        self.doc_lines(at, lines, docs);
    }

    /// The wanted comments before `at`, each on its own line; whether there are any.
    fn comment_lines(
        &mut self,
        at: usize,
        wants_blank: bool,
        is_wanted: fn(Place) -> bool,
        docs: &mut Vec<Doc>,
    ) -> bool {
        let before = docs.len();
        loop {
            let is_first = docs.len() == before;
            let line = self.new_line(wants_blank && is_first, docs);
            let Some((comment, _)) = self.comment(at, is_wanted) else { return !is_first };
            docs.extend([line, text(comment)]);
        }
    }

    fn doc_lines(&mut self, at: usize, lines: &[String], docs: &mut Vec<Doc>) {
        for line in lines {
            docs.extend([Doc::HardLine, text(format!("/// {line}").trim_end()), Doc::HardLine]);
        }
        docs.push(self.before(at));
    }

    /// A new line after what is there already.
    fn new_line(&self, wants_blank: bool, there: &[Doc]) -> Doc {
        let gap = self.source.get(self.last..).unwrap_or_default();
        let gap = &gap[..gap.len() - gap.trim_start().len()];
        match !there.is_empty() && (wants_blank || gap.matches('\n').count() > 1) {
            true => Doc::BlankLine,
            false => Doc::HardLine,
        }
    }

    // Columns

    /// The columns in which each statement lines up with its neighbours: those of one kind without an empty line
    /// or a comment between them.
    fn columns(&self, statements: &[Statement]) -> Vec<Columns> {
        let mut columns: Vec<Columns> =
            statements.iter().map(|statement| self.own_columns(statement)).collect();
        let mut first = 0;
        for next in 1..=statements.len() {
            if next < statements.len() && self.lines_up(&statements[next - 1], &statements[next]) {
                continue;
            }
            let run = &mut columns[first..next];
            let widest = |width: fn(&Columns) -> usize| run.iter().map(width).max().unwrap_or(0);
            let (name, head, init) =
                (widest(|one| one.name.0), widest(|one| one.head.0), widest(|one| one.init.0));
            for one in run {
                (one.name.1, one.head.1, one.init.1) = (name, head, init);
            }
            first = next;
        }
        columns
    }

    fn lines_up(&self, one: &Statement, next: &Statement) -> bool {
        let same_kind = matches!(
            (&one.kind, &next.kind),
            (StatementKind::Let(_), StatementKind::Let(_))
                | (StatementKind::Param(_), StatementKind::Param(_))
                | (StatementKind::State(_), StatementKind::State(_))
                | (StatementKind::Next(_), StatementKind::Next(_))
        );
        let gap = self.source.get(end(one.span)..start(next.span)).unwrap_or_default();
        let (one_end, next_start) = (value_end(one), start(next.span));
        let first = self.comments.partition_point(|comment| comment.0.start < one_end);
        let between = self.comments[first..].iter();
        let mut between = between.take_while(|comment| comment.0.start < next_start);
        let lines = gap.split_once('\n').and_then(|(_, rest)| rest.rsplit_once('\n'));
        let has_blank =
            lines.is_some_and(|(lines, _)| lines.split('\n').any(|line| line.trim().is_empty()));
        same_kind && next.docs.is_empty() && !has_blank && !between.any(|one| one.1 != Place::End)
    }

    fn own_columns(&self, statement: &Statement) -> Columns {
        let mut plain = Printer { comments: &[], ..*self };
        let width = |doc: Doc| doc.render(usize::MAX).chars().count();
        let mut columns = Columns::default();
        match &statement.kind {
            StatementKind::Let(binding) => {
                columns.head.0 = width(plain.pattern(&binding.pattern));
                if let Some(ty) = &binding.ty {
                    columns.head.0 += 2 + width(plain.r#type(ty));
                }
            }
            StatementKind::Param(param) => {
                columns.name.0 = param.name.text.len();
                columns.head.0 = width(plain.r#type(&param.ty));
                if param.bounds.is_some() {
                    columns.init.0 = width(plain.expr(&param.init));
                }
            }
            StatementKind::State(state) => {
                columns.name.0 = state.name.text.len();
                columns.head.0 = width(plain.r#type(&state.ty));
            }
            StatementKind::Next(next) => columns.head.0 = next.name.text.len(),
            StatementKind::Error => {}
        }
        columns
    }
}

/// The widths of a statement's parts, each with the widest among the statements that it lines up with.
#[derive(Clone, Copy, Default)]
struct Columns {
    /// A parameter's name.
    name: (usize, usize),
    /// A parameter's type, or all of a `let` before the `=`.
    head: (usize, usize),
    /// The initialiser before `in`.
    init: (usize, usize),
}

impl Columns {
    fn pad_name(&self) -> String {
        " ".repeat(self.name.1 - self.name.0)
    }

    fn pad_head(&self) -> String {
        " ".repeat(self.head.1 - self.head.0)
    }

    fn pad_init(&self) -> String {
        " ".repeat(self.init.1 - self.init.0)
    }
}

fn is_block(item: &Item) -> bool {
    match &item.kind {
        ItemKind::Use(_) | ItemKind::Const(_) => false,
        ItemKind::Fn(item) => !item.body.statements.is_empty(),
        ItemKind::Layer(_) | ItemKind::Graph(_) => true,
    }
}

fn start(span: Span) -> usize {
    span.start as usize
}

fn end(span: Span) -> usize {
    span.end as usize
}

fn value_end(statement: &Statement) -> usize {
    match &statement.kind {
        StatementKind::Let(binding) => end(binding.value.span),
        StatementKind::Param(Param { bounds: Some((_, high)), .. }) => end(high.span),
        StatementKind::Param(param) => end(param.init.span),
        StatementKind::State(state) => end(state.init.span),
        StatementKind::Next(next) => end(next.value.span),
        StatementKind::Error => end(statement.span),
    }
}

fn first_argument(arguments: &[Argument], otherwise: usize) -> usize {
    arguments.first().map_or(otherwise, |first| start(first.name.span))
}

fn start_of_argument(argument: &CallArgument) -> usize {
    start(argument.name.as_ref().map_or(argument.value.span, |name| name.span))
}
