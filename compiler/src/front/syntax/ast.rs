//! The syntax tree: what the parser returns and the checker takes. Every node has its span.

use crate::source::Span;

/// A name where it stands in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

/// One file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Module {
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The `///` lines before the item, without the slashes.
    pub docs: Vec<String>,
    pub kind: ItemKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    Use(Use),
    Const(Const),
    Fn(Function),
    Layer(Layer),
    Graph(GraphItem),
}

/// `use path::{a, b as c};` or `use path::*;`
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The module's path, without the imported names: `loss` in `use loss::cross_entropy;`.
    pub path: Vec<Name>,
    pub names: UseNames,
}

#[derive(Clone, Debug, PartialEq)]
pub enum UseNames {
    All,
    /// Each with its `as` name.
    Some(Vec<(Name, Option<Name>)>),
}

/// `const NAME = expr;`
#[derive(Clone, Debug, PartialEq)]
pub struct Const {
    pub name: Name,
    pub value: Expr,
}

/// `fn name(a, b = 1.0) = expr;` (a body without bindings) or `fn name(a) { let …; expr }`
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: Name,
    pub arguments: Vec<Argument>,
    pub body: Body,
}

/// `layer name[N, …](x: [B, K], …) { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    pub name: Name,
    pub dims: Vec<DimArgument>,
    pub arguments: Vec<Argument>,
    pub body: Body,
}

/// `graph name[T = 28](inputs) -> (outputs) { … }`, `graph name[T = 60; N = 4](inputs) -> …`
#[derive(Clone, Debug, PartialEq)]
pub struct GraphItem {
    pub name: Name,
    /// `T = 60;` before the other dimensions: the number of steps where no input is a stream.
    pub steps: Option<DimArgument>,
    pub dims: Vec<DimArgument>,
    pub arguments: Vec<Argument>,
    pub outputs: Vec<Name>,
    /// `result` is `None` for a graph: its outputs are named bindings.
    pub body: Body,
}

/// A formal argument: `x`, `x: [B, K]`, `b0 = 0.1`, `f: layer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    pub docs: Vec<String>,
    pub name: Name,
    pub ty: Option<TypeExpr>,
    /// It takes a layer: no type and no default.
    pub is_layer: bool,
    pub default: Option<Expr>,
}

/// A formal dimension: `N`, `K = 784 / T`.
#[derive(Clone, Debug, PartialEq)]
pub struct DimArgument {
    pub name: Name,
    pub default: Option<Expr>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Body {
    pub statements: Vec<Statement>,
    pub result: Option<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    pub docs: Vec<String>,
    pub kind: StatementKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StatementKind {
    Let(Let),
    Param(Param),
    State(State),
    Next(Next),
    /// What stood here did not parse; the error is reported already.
    Error,
}

/// `let y: [B, N] = expr;` or `let (a, b) = expr;`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    pub pattern: Pattern,
    pub ty: Option<TypeExpr>,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    Name(Name),
    Tuple(Vec<Pattern>, Span),
}

/// `param w: [K, N] = normal(0, 1) in [lo, hi];` or `param b: [N] = normal(0, 1) fixed;`
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    pub name: Name,
    pub ty: TypeExpr,
    /// An initialiser's call or name (`zeros`, `normal(20, 5)`).
    pub init: Expr,
    /// It has no gradient.
    pub is_fixed: bool,
    pub bounds: Option<(Expr, Expr)>,
}

/// `state m: [N] = zeros();`
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub name: Name,
    pub ty: TypeExpr,
    /// As a parameter's.
    pub init: Expr,
}

/// `next m = expr;`
#[derive(Clone, Debug, PartialEq)]
pub struct Next {
    pub name: Name,
    pub value: Expr,
}

/// `[B, N]`, `i32[B]`, `[T; B, K]`, `f32[]`, `[.., N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeExpr {
    /// `f32` or `i32` before the bracket, if written.
    pub elem: Option<Name>,
    /// The length of a stream.
    pub time: Option<Expr>,
    /// `..` in front of the dimensions: any number of others.
    pub rest: Option<Span>,
    pub dims: Vec<Expr>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// `1`, `0.5`, `1e-3`: the value, and whether the text is an integer.
    Number {
        value: f64,
        integer: bool,
    },
    /// `true`, `false`
    Bool(bool),
    /// `x`, `surrogate::gaussian`, `inf`, `pi`
    Path(Vec<Name>),
    /// `-a`, `!a`
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    If {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// `f(a, b, name = c)`, `layer[N](a)`
    Call {
        callee: Vec<Name>,
        dims: Vec<Expr>,
        arguments: Vec<CallArgument>,
    },
    /// `layer[N]` without arguments: an instance. Without brackets it is a path.
    Instance {
        callee: Vec<Name>,
        dims: Vec<Expr>,
    },
    /// `(a, b)`
    Tuple(Vec<Expr>),
    /// `[1, -1]`, `[[0, 1], [2, 3]]`: shapes, axes and paddings of the operations that take them.
    List(Vec<Expr>),
    /// What stood here did not parse; the error is reported already.
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CallArgument {
    pub name: Option<Name>,
    pub value: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Neg,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Lt,
    Le,
    Gt,
    Ge,
    Eq,
    Ne,
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    MatMul,
    Pow,
}

impl BinaryOp {
    /// As it is written.
    pub fn symbol(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Or => "||",
            And => "&&",
            Lt => "<",
            Le => "<=",
            Gt => ">",
            Ge => ">=",
            Eq => "==",
            Ne => "!=",
            Add => "+",
            Sub => "-",
            Mul => "*",
            Div => "/",
            Rem => "%",
            MatMul => "@",
            Pow => "^",
        }
    }
}
