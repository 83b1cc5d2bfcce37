//! The graphs and functions of a program as they are written: what a front end needs to bind open
//! dimensions, and to know what can be called.

use std::collections::BTreeMap;

use super::elaborate::{elem, names, plain_name};
use super::modules::{Modules, item_name};
use super::ops;
use crate::diagnostic::Diagnostic;
use crate::front::syntax::ast::{
    Argument, BinaryOp, Body, DimArgument, Expr, ExprKind, Function, GraphItem, Item, ItemKind,
    Layer, Name, Pattern, Statement, StatementKind, UnaryOp,
};
use crate::front::syntax::expr_to_string;
use crate::ir::graph::Elem;
use crate::source::{Loader, Sources, Span};

/// The graphs and functions of a program, with what was found wrong on the way to them.
pub struct Heads {
    /// The program and all that it uses.
    pub sources: Sources,
    /// What was found wrong, in the order of the sources.
    pub diagnostics: Vec<Diagnostic>,
    /// In the order of the text, as are the others.
    pub graphs: Vec<GraphHead>,
    /// `fn` items.
    pub functions: Vec<FunctionHead>,
    /// `layer` items.
    pub layers: Vec<FunctionHead>,
    /// The names of everything that the program defines, in the order of the text.
    pub names: Vec<String>,
}

/// What a function or layer says before its body.
#[derive(Clone, Debug)]
pub struct FunctionHead {
    /// The name after `fn` or `layer`.
    pub name: String,
    /// `[N, …]` of a layer.
    pub dims: Vec<DimHead>,
    /// In their order.
    pub arguments: Vec<ArgumentHead>,
}

/// A formal argument of a function or layer.
#[derive(Clone, Debug)]
pub struct ArgumentHead {
    /// The name in the body.
    pub name: String,
    /// A call may leave it out.
    pub has_default: bool,
    /// Declared as a tensor of integers.
    pub is_i32: bool,
}

/// What a graph says before its body.
#[derive(Clone, Debug)]
pub struct GraphHead {
    /// The name after `graph`.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// Its `///` lines.
    pub docs: String,
    /// The list `[T = 28, …]` after the name.
    pub dims: Vec<DimHead>,
    /// In their order.
    pub inputs: Vec<InputHead>,
    /// As `-> (…)` lists them.
    pub outputs: Vec<OutputHead>,
    /// The constants of the program that are whole numbers: no dimension of their names is open.
    constants: BTreeMap<String, i64>,
}

/// `K = 784 / T` in a list of dimensions.
#[derive(Clone, Debug)]
pub struct DimHead {
    /// The name that `-D` gives a value.
    pub name: String,
    /// As written.
    pub default: Option<String>,
}

/// An input as it is declared.
#[derive(Clone, Debug)]
pub struct InputHead {
    /// The name in the body.
    pub name: String,
    /// Where the name stands.
    pub span: Span,
    /// Its `///` lines.
    pub docs: String,
    /// Declared as a tensor of integers.
    pub is_i32: bool,
    /// Declared with a number of steps, `[T; …]`.
    pub is_stream: bool,
    /// As written: for a stream, the number of steps first.
    pub dims: Vec<String>,
    exprs: Vec<Expr>,
}

/// An output as a graph lists it.
#[derive(Clone, Debug)]
pub struct OutputHead {
    /// The name of the binding.
    pub name: String,
    /// Where the list names it.
    pub span: Span,
    /// The `///` lines of the binding that it is.
    pub docs: String,
}

impl GraphHead {
    /// Whether `-D` may give this dimension.
    pub fn has_dim(&self, name: &str) -> bool {
        let mut mentioned = Vec::new();
        self.inputs
            .iter()
            .flat_map(|input| &input.exprs)
            .for_each(|dim| names(dim, &mut mentioned));
        self.dims.iter().any(|dim| dim.name == name)
            || mentioned.iter().any(|dim| dim.text == name) && !self.constants.contains_key(name)
    }
}

/// The graphs and functions of a program, in the order of the text.
pub fn heads(name: &str, text: &str, loader: &dyn Loader) -> Heads {
    let mut modules = Modules::new(loader, ops::exists);
    let program = modules.add(name, text);
    let items = modules.items(program);
    let constants = items
        .iter()
        .filter_map(|item| {
            let ItemKind::Const(item) = &item.kind else { return None };
            Some((item.name.text.clone(), evaluate(&item.value, &BTreeMap::new())?))
        })
        .collect();
    let graphs = items
        .iter()
        .filter_map(|item| {
            let ItemKind::Graph(graph) = &item.kind else { return None };
            Some(head(item, graph, &constants))
        })
        .collect();
    let functions = items.iter().filter_map(|item| {
        let ItemKind::Fn(Function { name, arguments, .. }) = &item.kind else { return None };
        Some(function_head(name, &[], arguments))
    });
    let layers = items.iter().filter_map(|item| {
        let ItemKind::Layer(Layer { name, dims, arguments, .. }) = &item.kind else { return None };
        Some(function_head(name, dims, arguments))
    });
    let names = items.iter().filter_map(item_name).map(|name| name.text.clone());
    Heads {
        functions: functions.collect(),
        layers: layers.collect(),
        names: names.collect(),
        graphs,
        sources: modules.sources,
        diagnostics: modules.diagnostics,
    }
}

fn function_head(name: &Name, dims: &[DimArgument], arguments: &[Argument]) -> FunctionHead {
    let arguments = arguments.iter().map(|argument| ArgumentHead {
        name: argument.name.text.clone(),
        has_default: argument.default.is_some(),
        is_i32: argument.ty.as_ref().is_some_and(|ty| elem(ty) == Elem::I32),
    });
    let (name, dims) = (name.text.clone(), dims.iter().map(dim_head).collect());
    FunctionHead { name, dims, arguments: arguments.collect() }
}

fn dim_head(dim: &DimArgument) -> DimHead {
    DimHead { name: dim.name.text.clone(), default: dim.default.as_ref().map(expr_to_string) }
}

fn head(item: &Item, graph: &GraphItem, constants: &BTreeMap<String, i64>) -> GraphHead {
    let inputs = graph.arguments.iter().filter_map(|argument| {
        let ty = argument.ty.as_ref()?;
        let exprs: Vec<Expr> = ty.time.iter().chain(&ty.dims).cloned().collect();
        Some(InputHead {
            name: argument.name.text.clone(),
            span: argument.name.span,
            docs: argument.docs.join("\n"),
            is_i32: elem(ty) == Elem::I32,
            is_stream: ty.time.is_some(),
            dims: exprs.iter().map(expr_to_string).collect(),
            exprs,
        })
    });
    let outputs = graph.outputs.iter().map(|output| OutputHead {
        name: output.text.clone(),
        span: output.span,
        docs: binding_docs(&graph.body, &output.text),
    });
    GraphHead {
        name: graph.name.text.clone(),
        span: graph.name.span,
        docs: item.docs.join("\n"),
        dims: graph.steps.iter().chain(&graph.dims).map(dim_head).collect(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        constants: constants.clone(),
    }
}

/// The `///` lines of the binding of a name.
fn binding_docs(body: &Body, name: &str) -> String {
    let is_it = |statement: &&Statement| {
        matches!(&statement.kind, StatementKind::Let(binding)
            if matches!(&binding.pattern, Pattern::Name(bound) if bound.text == name))
    };
    let statement = body.statements.iter().find(is_it);
    statement.map(|statement| statement.docs.join("\n")).unwrap_or_default()
}

/// Adds to `dims` what the shapes of inputs say about the dimensions that their types name. A stream's
/// shape has the number of steps first. What `dims` holds already, or the program says, is only compared.
pub fn bind_dims(
    graph: &GraphHead,
    shapes: &BTreeMap<String, Vec<i64>>,
    dims: &mut BTreeMap<String, i64>,
) -> Result<(), String> {
    let given = |input: &InputHead| shapes.get(&input.name).cloned();
    let inputs: Vec<_> =
        graph.inputs.iter().filter_map(|input| Some((input, given(input)?))).collect();
    for (input, shape) in &inputs {
        if shape.len() != input.exprs.len() {
            return Err(format!(
                "the input `{}` has {} axes, expected {}: {}",
                input.name,
                shape.len(),
                input.exprs.len(),
                declared(input)
            ));
        }
        for (dim, found) in input.exprs.iter().zip(shape) {
            if let Some(name) = plain_name(dim)
                && !graph.constants.contains_key(&name.text)
            {
                dims.entry(name.text.clone()).or_insert(*found);
            }
        }
    }
    let mut known = dims.clone();
    known.extend(graph.constants.clone());
    for (input, shape) in &inputs {
        for (axis, (dim, found)) in input.exprs.iter().zip(shape).enumerate() {
            // A name that is not known yet has a default: the checker compares.
            let Some(expected) = evaluate(dim, &known) else { continue };
            if expected != *found {
                let mut mentioned = Vec::new();
                names(dim, &mut mentioned);
                let values = mentioned
                    .iter()
                    .filter_map(|name| Some(format!("{} = {}", name.text, known.get(&name.text)?)));
                let values: Vec<_> = values.collect();
                let because = match values.is_empty() {
                    true => String::new(),
                    false => format!(", where {}", values.join(", ")),
                };
                return Err(format!(
                    "axis {axis} of the input `{}` is {found}, expected {expected}: {}{because}",
                    input.name,
                    declared(input)
                ));
            }
        }
    }
    Ok(())
}

/// The type of an input as written.
fn declared(input: &InputHead) -> String {
    let elem = if input.is_i32 { "i32" } else { "" };
    match (input.is_stream, input.dims.split_first()) {
        (true, Some((time, []))) => format!("{elem}[{time};]"),
        (true, Some((time, rest))) => format!("{elem}[{time}; {}]", rest.join(", ")),
        _ => format!("{elem}[{}]", input.dims.join(", ")),
    }
}

/// The whole number that a dimension is, if all its names are known.
fn evaluate(dim: &Expr, known: &BTreeMap<String, i64>) -> Option<i64> {
    match &dim.kind {
        ExprKind::Number { value, integer: true } if *value < 1e15 => Some(*value as i64),
        ExprKind::Path(_) => known.get(&plain_name(dim)?.text).copied(),
        ExprKind::Unary(UnaryOp::Neg, inner) => evaluate(inner, known)?.checked_neg(),
        ExprKind::Binary(op, left, right) => {
            let (left, right) = (evaluate(left, known)?, evaluate(right, known)?);
            match op {
                BinaryOp::Add => left.checked_add(right),
                BinaryOp::Sub => left.checked_sub(right),
                BinaryOp::Mul => left.checked_mul(right),
                BinaryOp::Div if right != 0 && left % right == 0 => Some(left / right),
                BinaryOp::Rem if right != 0 => Some(left - left.div_euclid(right) * right),
                BinaryOp::Pow => left.checked_pow(u32::try_from(right).ok()?),
                BinaryOp::Or
                | BinaryOp::And
                | BinaryOp::Lt
                | BinaryOp::Le
                | BinaryOp::Gt
                | BinaryOp::Ge
                | BinaryOp::Eq
                | BinaryOp::Ne
                | BinaryOp::Div
                | BinaryOp::Rem
                | BinaryOp::MatMul => None,
            }
        }
        ExprKind::Number { .. }
        | ExprKind::Bool(_)
        | ExprKind::Unary(..)
        | ExprKind::If { .. }
        | ExprKind::Call { .. }
        | ExprKind::Instance { .. }
        | ExprKind::Tuple(_)
        | ExprKind::List(_)
        | ExprKind::Error => None,
    }
}
