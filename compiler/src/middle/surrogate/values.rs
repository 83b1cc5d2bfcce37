//! What two terms share when they have the same value: a canonical value, with every `sg` erased and
//! every `bypass` its first operand.
//!
//! A value is a polynomial: a sum of products of atoms with numbers as coefficients. Addition,
//! subtraction, negation and multiplication are those of polynomials; a division multiplies by the
//! reciprocal as an atom. A linear operation goes to each product of its operand, so that the
//! operation on one product is an atom. Everything else is an atom of the operation and of the
//! values of its operands, and so is an ordinary sum or product in which terms of opposite sign
//! meet: it may be a trick with rounding, such as `(x + 12582912) - 12582912`.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::language::is_commutative;
use crate::ir::graph::{Dim, Elem, Graph, NodeId, Number, Op, Pointwise};

/// A polynomial: products with their coefficients, none of them zero, all as f32 holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Value(Rc<Vec<(Product, Number)>>);

/// The numbers of the factors, in order; empty for a literal.
pub type Product = Vec<u32>;

impl Value {
    pub fn number(number: f64) -> Value {
        Value::new(BTreeMap::from([(vec![], number)]))
    }

    fn product(product: &Product) -> Value {
        Value::new(BTreeMap::from([(product.clone(), 1.0)]))
    }

    fn new(terms: BTreeMap<Product, f64>) -> Value {
        let terms = terms.into_iter().map(|(product, coefficient)| (product, rounded(coefficient)));
        let terms = terms.filter(|(_, coefficient)| *coefficient != 0.0);
        Value(Rc::new(terms.map(|(product, coefficient)| (product, Number(coefficient))).collect()))
    }

    pub fn terms(&self) -> impl Iterator<Item = (&Product, f64)> {
        self.0.iter().map(|(product, coefficient)| (product, coefficient.0))
    }

    /// The only product with its coefficient.
    pub fn single(&self) -> Option<(&Product, f64)> {
        self.terms().next().filter(|_| self.0.len() == 1)
    }

    pub fn as_number(&self) -> Option<f64> {
        self.single().filter(|(product, _)| product.is_empty()).map(|(_, number)| number)
    }

    /// An order that depends on nothing but the values.
    fn order(&self, other: &Value) -> Ordering {
        let key = |value: &Value| -> Vec<(Product, u64)> {
            value.terms().map(|(product, c)| (product.clone(), c.to_bits())).collect()
        };
        key(self).cmp(&key(other))
    }

    pub fn negated(&self) -> Value {
        let negated = self.0.iter().map(|(product, Number(c))| (product.clone(), Number(-c)));
        Value(Rc::new(negated.collect()))
    }

    pub fn scaled(&self, factor: f64) -> Value {
        Value::new(self.terms().map(|(product, c)| (product.clone(), c * factor)).collect())
    }

    /// Whether a product has coefficients of opposite sign here and there.
    pub fn meets(&self, other: &Value) -> bool {
        let opposes = |(product, Number(c)): &(Product, Number)| {
            let place = other.0.binary_search_by(|(found, _)| found.cmp(product));
            place.is_ok_and(|place| other.0[place].1.0.signum() != c.signum())
        };
        self.0.iter().any(opposes)
    }

    pub fn plus(&self, other: &Value) -> Value {
        let mut sum: BTreeMap<Product, f64> = BTreeMap::new();
        for (product, coefficient) in self.terms().chain(other.terms()) {
            let known = sum.entry(product.clone()).or_default();
            *known = rounded(*known + coefficient);
        }
        Value::new(sum)
    }

    /// Whether no literal was folded into an infinity.
    fn is_finite(&self) -> bool {
        self.terms().all(|(_, coefficient)| coefficient.is_finite())
    }

    /// The product, if no terms meet in it and it takes at most `limit` products of terms.
    fn times(&self, other: &Value, limit: usize) -> Option<Value> {
        if self.0.len() * other.0.len() > limit {
            return None;
        }
        let mut sum: BTreeMap<Product, f64> = BTreeMap::new();
        for (a, c) in self.terms() {
            for (b, d) in other.terms() {
                let mut product = [a.as_slice(), b.as_slice()].concat();
                product.sort_unstable();
                let known = sum.entry(product).or_insert(0.0);
                if *known * c * d < 0.0 || product_is_lost(c, d) {
                    return None;
                }
                *known = rounded(*known + rounded(c * d));
            }
        }
        Some(Value::new(sum)).filter(Value::is_finite)
    }
}

/// As f32 holds it.
pub fn rounded(number: f64) -> f64 {
    f64::from(number as f32)
}

/// Whether f32 does not hold a product of literals.
fn product_is_lost(a: f64, b: f64) -> bool {
    !((a * b) as f32).is_normal()
}

#[derive(PartialEq, Eq, Hash)]
enum Atom {
    Node(NodeId),
    /// The `prev` and `next` of this class.
    Delay(u32),
    Reciprocal(Value),
    Operation(Op, Vec<(Value, Vec<Dim>)>),
}

/// The atoms of a graph, numbered as they appear.
pub struct Atoms {
    known: HashMap<Atom, u32>,
    /// The longest polynomial that is not an atom itself.
    limit: usize,
}

impl Atoms {
    pub fn new(limit: usize) -> Atoms {
        Atoms { known: HashMap::new(), limit }
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    fn number(&mut self, atom: Atom) -> Value {
        let next = self.known.len() as u32;
        Value::product(&vec![*self.known.entry(atom).or_insert(next)])
    }

    /// A node that is not looked into.
    pub fn node(&mut self, node: NodeId) -> Value {
        self.number(Atom::Node(node))
    }

    pub fn delay(&mut self, class: u32) -> Value {
        self.number(Atom::Delay(class))
    }

    pub fn sum(&mut self, a: &Value, b: &Value) -> Value {
        let sum = a.plus(b);
        if sum.0.len() <= self.limit && sum.is_finite() {
            return sum;
        }
        let mut args: Vec<_> = [a, b].map(|x| (x.clone(), vec![])).into();
        args.sort_by(|(a, _), (b, _)| a.order(b));
        self.number(Atom::Operation(Op::Map(Pointwise::Add), args))
    }

    /// The value of an operation that is no `sg` and no `bypass`, on operands of these values. In a
    /// sum no terms of opposite sign meet.
    pub fn operation(&mut self, graph: &Graph, id: NodeId, args: &[Value]) -> Value {
        let node = graph.node(id);
        let is_float = node.ty.elem == Elem::F32;
        let value = match (&node.op, args) {
            (Op::Const(number, Elem::F32), _) if (number.0 as f32).is_finite() => {
                Some(Value::number(number.0))
            }
            (Op::Map(Pointwise::Neg), [x]) if is_float => Some(x.negated()),
            (Op::Map(Pointwise::Add), [a, b]) if is_float => Some(self.sum(a, b)),
            (Op::Map(Pointwise::Sub), [a, b]) if is_float => Some(self.sum(a, &b.negated())),
            (Op::Map(Pointwise::Mul), [a, b]) if is_float => a.times(b, self.limit),
            (Op::Map(Pointwise::Div), [a, b]) if is_float => self.quotient(a, b),
            (Op::MatMul, [a, b]) if is_float => self.bilinear(graph, id, a, b),
            (op, [x, rest @ ..]) if is_float && op.linear_in(args.len()) == [[0]] => {
                self.linear(graph, id, x, rest)
            }
            _ => None,
        };
        value.unwrap_or_else(|| self.opaque(graph, id, args))
    }

    /// An operation that is not looked into.
    pub fn opaque(&mut self, graph: &Graph, id: NodeId, args: &[Value]) -> Value {
        let node = graph.node(id);
        let dims = node.args.iter().map(|arg| graph.ty(*arg).dims.clone());
        let mut args: Vec<(Value, Vec<Dim>)> = args.iter().cloned().zip(dims).collect();
        if is_commutative(&node.op) {
            args.sort_by(|(a, _), (b, _)| a.order(b));
        }
        self.number(Atom::Operation(node.op.clone(), args))
    }

    fn quotient(&mut self, a: &Value, b: &Value) -> Option<Value> {
        let inverse = match b.as_number().map(f64::recip) {
            // Exact for powers of two alone.
            Some(inverse) if inverse.is_normal() && inverse.to_bits() << 12 == 0 => {
                Value::number(inverse)
            }
            _ => self.number(Atom::Reciprocal(b.clone())),
        };
        a.times(&inverse, self.limit)
    }

    fn linear(&mut self, graph: &Graph, id: NodeId, x: &Value, rest: &[Value]) -> Option<Value> {
        let mut sum = Value::default();
        let op = &graph.node(id).op;
        let keeps_literals = op.describe(|op| op.keeps_literals());
        for (product, coefficient) in x.terms() {
            let part = match product.is_empty() && keeps_literals {
                true => Value::number(1.0),
                false => self.opaque(graph, id, &[&[Value::product(product)], rest].concat()),
            };
            sum = sum.plus(&part.times(&Value::number(coefficient), self.limit)?);
        }
        Some(sum)
    }

    fn bilinear(&mut self, graph: &Graph, id: NodeId, a: &Value, b: &Value) -> Option<Value> {
        if a.0.len() * b.0.len() > self.limit {
            return None;
        }
        let mut sum = Value::default();
        for (left, c) in a.terms() {
            for (right, d) in b.terms() {
                let product = self.opaque(graph, id, &[left, right].map(Value::product));
                let coefficient = Value::number(c).times(&Value::number(d), 1)?;
                sum = sum.plus(&product.times(&coefficient, 1)?);
            }
        }
        Some(sum)
    }
}
