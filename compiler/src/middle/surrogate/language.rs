//! Terms of the calculus: a term stands for a value and a derivative.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use egg::{Id, define_language};

use crate::ir::graph::pointwise::TABLE;
use crate::ir::graph::{Elem, Fact, Number, Op, Pointwise, Reduction};

define_language! {
    /// A term. `bypass` has the value of its first operand and the derivative of its second;
    /// `tangent(g)` is `g - sg(g)`: the value 0, the derivative of g. Sums are flat, their operands
    /// in the order of their ids; `a - b` is the sum of a and `neg b`.
    pub enum Term {
        "sg" = Sg([Id; 1]),
        "bypass" = Bypass([Id; 2]),
        "tangent" = Tangent([Id; 1]),
        "neg" = Neg([Id; 1]),
        "+" = Sum(Vec<Id>),
        Operation(Operation, Vec<Id>),
        Leaf(Leaf),
    }
}

impl Term {
    pub fn is_literal(&self) -> bool {
        matches!(self.operation(), Some((Op::Const(..), _)))
    }

    /// An operation of the graph with its operands.
    pub fn operation(&self) -> Option<(&Op, &[Id])> {
        let Term::Operation(operation, ids) = self else { return None };
        Some((&operation.op, ids))
    }
}

/// What the calculus does not look into: an input, a parameter, the step before. Leaves of one name
/// are equal.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub name: Arc<str>,
    /// It has no derivative.
    pub stopped: bool,
    /// What is proved of its value.
    pub fact: Fact,
}

/// Names that start with `c` stand for what has no derivative, with `f` for finite numbers, with `p`
/// for numbers from 1 to 2.
impl FromStr for Leaf {
    type Err = String;

    fn from_str(name: &str) -> Result<Leaf, String> {
        let fact = match name.chars().next() {
            Some('f') => Fact::FINITE,
            Some('p') => Fact::within(1.0, 2.0),
            Some(first) if first.is_ascii_lowercase() => Fact::UNKNOWN,
            _ => return Err(format!("`{name}` is no leaf")),
        };
        Ok(Leaf { name: name.into(), stopped: name.starts_with('c'), fact })
    }
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Leaf) -> bool {
        self.name == other.name
    }
}
impl Eq for Leaf {}
impl PartialOrd for Leaf {
    fn partial_cmp(&self, other: &Leaf) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Leaf {
    fn cmp(&self, other: &Leaf) -> Ordering {
        self.name.cmp(&other.name)
    }
}
impl std::hash::Hash for Leaf {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// An operation of the graph; equal if it is spelled equally, with all attributes.
#[derive(Clone, Debug)]
pub struct Operation {
    pub op: Op,
    spelling: Arc<str>,
}

impl Operation {
    pub fn new(op: Op) -> Operation {
        let spelling = if let Op::Map(pointwise) = op {
            pointwise.row().name.into()
        } else if let Op::Const(number, Elem::F32) = op {
            format!("{number:?}").into()
        } else {
            format!("{op:?}").into()
        };
        Operation { op, spelling }
    }
}

/// `op(a, b) = op(b, a)`, to the bit.
pub fn is_commutative(op: &Op) -> bool {
    use Pointwise::*;
    matches!(op, Op::Map(Add | Mul | Min | Max | Eq | Ne | And | Or))
}

impl PartialEq for Operation {
    fn eq(&self, other: &Operation) -> bool {
        self.spelling == other.spelling
    }
}
impl Eq for Operation {}
impl PartialOrd for Operation {
    fn partial_cmp(&self, other: &Operation) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Operation {
    fn cmp(&self, other: &Operation) -> Ordering {
        self.spelling.cmp(&other.spelling)
    }
}
impl std::hash::Hash for Operation {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.spelling.hash(state);
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelling)
    }
}

/// Numbers, pointwise operations by name, `sum` over the first axis, `transpose` of a matrix and
/// `@`: what the laws and their tests are written with.
impl FromStr for Operation {
    type Err = String;

    fn from_str(name: &str) -> Result<Operation, String> {
        let op = match name {
            "sum" => Op::Reduce(Reduction::Sum, vec![0]),
            "transpose" => Op::Permute(vec![1, 0]),
            "@" => Op::MatMul,
            _ => match name.parse() {
                Ok(number) => Op::Const(Number(number), Elem::F32),
                Err(_) => match TABLE.iter().find(|row| row.name == name) {
                    Some(row) => Op::Map(row.op),
                    None => return Err(format!("there is no operation `{name}`")),
                },
            },
        };
        Ok(Operation::new(op))
    }
}
