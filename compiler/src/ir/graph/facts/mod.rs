//! What is proved of every element of a value, at every step of time: one lattice of facts, with one
//! transfer function for each operation. What is not proved is false.
//!
//! A fact holds for what devices compute in f32, with sums and products rounded once or not at all,
//! elementary functions as rough as the WGSL specification lets them be, subnormal numbers flushed
//! or kept; and for what the interpreter computes in f64. Inputs and parameters are taken to be
//! finite, and parameters to lie in their bounds: the trainer keeps them there.
//!
//! [`transfer`] serves the walk over a graph, [`Facts::of`], and the analysis of the e-graph. What it
//! says stands in the tables of operations.

pub(super) mod range;
#[cfg(test)]
mod tests;

use super::{Clock, Elem, Graph, NodeId, Number, Op, Pointwise, constants};

/// What is proved of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fact {
    /// No element is less; NaN is not looked at.
    pub low: f64,
    /// No element is greater; NaN is not looked at.
    pub high: f64,
    /// No element is NaN.
    pub not_nan: bool,
    /// Every finite element is an integer.
    pub integer: bool,
    /// It is the same at every step of time.
    pub invariant: bool,
    /// The literal that every element is, but for the sign of zero.
    pub constant: Option<Number>,
}

pub(super) const MAX: f64 = f32::MAX as f64;
const LEAST_NORMAL: f64 = f32::MIN_POSITIVE as f64;

impl Fact {
    pub const UNKNOWN: Fact = Fact {
        low: f64::NEG_INFINITY,
        high: f64::INFINITY,
        not_nan: false,
        integer: false,
        invariant: false,
        constant: None,
    };

    /// Any number, but neither infinite nor NaN.
    pub const FINITE: Fact = Fact { low: -MAX, high: MAX, not_nan: true, ..Fact::UNKNOWN };

    /// Numbers between two others.
    pub fn within(low: f64, high: f64) -> Fact {
        Fact { low: down(low), high: up(high), not_nan: true, ..Fact::UNKNOWN }
    }

    pub fn literal(number: f64) -> Fact {
        let constant = Some(Number(number));
        if number.is_nan() {
            return Fact { invariant: true, constant, ..Fact::UNKNOWN };
        }
        let integer = number.fract() == 0.0;
        Fact { integer, invariant: true, constant, ..Fact::within(number, number) }
    }

    /// No element is infinite or NaN.
    pub fn is_finite(&self) -> bool {
        self.not_nan && self.low > f64::NEG_INFINITY && self.high < f64::INFINITY
    }

    /// No element is zero, or so small that a device may take it for zero.
    pub fn is_non_zero(&self) -> bool {
        self.low >= LEAST_NORMAL || self.high <= -LEAST_NORMAL
    }

    /// No element is less than zero. Negative zero and NaN are not.
    pub fn is_non_negative(&self) -> bool {
        self.low >= 0.0
    }

    /// Every element is 0 or 1.
    pub fn is_binary(&self) -> bool {
        self.not_nan && self.integer && self.low >= 0.0 && self.high <= 1.0
    }

    /// Every element is this number, be it zero of either sign.
    pub fn is_number(&self, number: f64) -> bool {
        self.constant.is_some_and(|constant| constant.0 == number)
    }

    /// What holds of a value that is one or the other.
    pub fn or(&self, other: &Fact) -> Fact {
        Fact {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            not_nan: self.not_nan && other.not_nan,
            integer: self.integer && other.integer,
            invariant: self.invariant && other.invariant,
            constant: self.constant.filter(|number| other.constant == Some(*number)),
        }
    }

    /// What holds of a value of which both are proved. A bound that is not much better than the one
    /// known is let go, so that bounds around a cycle of equal terms do not creep.
    pub fn and(&self, other: &Fact) -> Fact {
        let better = |known: f64, new: f64, is_tighter: bool| {
            let much = known.is_infinite()
                || new == 0.0
                || known.signum() != new.signum()
                || (known - new).abs() > 0.1 * known.abs();
            if is_tighter && much { new } else { known }
        };
        Fact {
            low: better(self.low, other.low, other.low > self.low),
            high: better(self.high, other.high, other.high < self.high),
            not_nan: self.not_nan || other.not_nan,
            integer: self.integer || other.integer,
            invariant: self.invariant || other.invariant,
            constant: self.constant.or(other.constant),
        }
    }
}

/// The greatest f32 not above `x`, and neither subnormal nor beyond the largest.
pub(super) fn down(x: f64) -> f64 {
    let rounded = x as f32;
    let below = if f64::from(rounded) > x { rounded.next_down() } else { rounded };
    match f64::from(below) {
        low if low > MAX && x < f64::INFINITY => MAX,
        low if low > 0.0 && low < LEAST_NORMAL => 0.0,
        low if low < 0.0 && low > -LEAST_NORMAL => -LEAST_NORMAL,
        low => low,
    }
}

/// The least f32 not below `x`, and neither subnormal nor beyond the largest.
pub(super) fn up(x: f64) -> f64 {
    -down(-x)
}

/// What an operation is applied to, besides the facts of its operands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// How many numbers a sum, product or maximum takes, or how long the axis is that a gather looks
    /// up.
    pub count: Option<f64>,
    /// Both operands are one value.
    pub same: bool,
    /// The element type of the result.
    pub elem: Elem,
}

impl Place {
    /// A pointwise operation on floats; both operands are one value or not.
    pub fn pointwise(same: bool) -> Place {
        Place { count: None, same, elem: Elem::F32 }
    }
}

/// What follows of an operation's result from what is proved of its operands. What comes from the
/// graph's lists, and what [`Op::Size`] is, the walk over the graph knows better.
pub fn transfer(op: &Op, args: &[Fact], place: Place) -> Fact {
    let fact = op.describe(|op| op.fact(args, place));
    match place.elem {
        Elem::I32 if fact.low < -INT_MAX || fact.high > INT_MAX => {
            Fact { constant: None, integer: true, ..Fact::FINITE }
        }
        Elem::I32 => Fact { integer: true, not_nan: true, ..fact },
        Elem::F32 | Elem::Bool => fact,
    }
}

pub(super) const INT_MAX: f64 = i32::MAX as f64;

/// The `range` column, and what holds of all pointwise operations.
pub(super) fn pointwise(pointwise: Pointwise, args: &[Fact]) -> Fact {
    let row = pointwise.row();
    let fact = (row.range)(args);
    let invariant = args.iter().all(|arg| arg.invariant);
    let numbers: Option<Vec<f64>> = args.iter().map(|arg| Some(arg.constant?.0)).collect();
    let folded = numbers.and_then(|numbers| constants::exact(pointwise, &numbers)).map(Number);
    let constant = match folded {
        None if row.is_boolean() && fact.not_nan && fact.low == fact.high => Some(Number(fact.low)),
        None => fact.constant,
        folded => folded,
    };
    let invariant = invariant || fact.invariant || constant.is_some();
    Fact { invariant, constant, ..fact }
}

/// As [`pointwise`], where the result is an i32. One that is too large is not looked at.
pub(super) fn integers(op: Pointwise, args: &[Fact]) -> Fact {
    let numbers: Option<Vec<f64>> = args.iter().map(|arg| Some(arg.constant?.0)).collect();
    if let Some(numbers) = numbers {
        return Fact::literal(op.row().evaluate(Elem::I32, &numbers));
    }
    let fact = if op == Pointwise::Div {
        range::quotient(args)
    } else if op == Pointwise::Rem {
        range::remainder(args)
    } else {
        (op.row().range)(args)
    };
    let invariant = args.iter().all(|arg| arg.invariant) || fact.invariant;
    Fact { invariant, ..fact }
}

/// Whether sums and products may overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// As f32 has it: a sum or product of unbounded numbers may be infinite.
    MayOverflow,
    /// Inputs, and sums and products of finite numbers, are taken to be finite. No proof, but what programs that
    /// work rely on.
    StayFinite,
}

/// A fact for each node of a graph.
#[derive(Clone, Debug)]
pub struct Facts(Vec<Fact>);

impl Facts {
    /// The proved facts.
    pub fn of(graph: &Graph) -> Facts {
        Facts::taking(graph, Sums::MayOverflow)
    }

    /// The least facts that the operations and the delays, which go round, agree on; bounds that
    /// still grow after a few rounds are given up.
    pub fn taking(graph: &Graph, sums: Sums) -> Facts {
        let mut known: Vec<Option<Fact>> = vec![None; graph.len()];
        for round in 0.. {
            let mut is_stable = true;
            for id in graph.ids() {
                let mut fact = node(graph, id, &known, sums);
                if let Some(before) = known[id.0 as usize] {
                    let is_delay = graph.node(id).op.is_delay();
                    if is_delay && round >= PATIENCE {
                        fact = widened(&before, &fact, sums);
                    }
                    is_stable &= fact == before;
                } else {
                    is_stable = false;
                }
                known[id.0 as usize] = Some(fact);
            }
            if is_stable {
                break;
            }
        }
        Facts(known.into_iter().map(|fact| fact.unwrap_or(Fact::UNKNOWN)).collect())
    }

    pub fn at(&self, id: NodeId) -> &Fact {
        &self.0[id.0 as usize]
    }
}

/// Rounds before bounds that grow are given up.
const PATIENCE: u32 = 3;

/// The bounds that still grow go as far as they can.
fn widened(before: &Fact, now: &Fact, sums: Sums) -> Fact {
    let stays_finite = sums == Sums::StayFinite && now.is_finite();
    let limit = if stays_finite { MAX } else { f64::INFINITY };
    let joined = before.or(now);
    let low = if now.low < before.low { -limit } else { joined.low };
    let high = if now.high > before.high { limit } else { joined.high };
    Fact { low, high, ..joined }
}

fn node(graph: &Graph, id: NodeId, known: &[Option<Fact>], sums: Sums) -> Fact {
    let node = graph.node(id);
    let of = |operand: &NodeId| known[operand.0 as usize];
    let (args, fact) = match node.op.describe(|op| op.listed(graph)) {
        Some(fact) => (Vec::new(), fact),
        None => {
            // A back edge adds nothing before its operand is known.
            let init = node.args.last().and_then(of).unwrap_or(Fact::UNKNOWN);
            let unknown = if node.op.is_delay() { init } else { Fact::UNKNOWN };
            let args: Vec<Fact> = node.args.iter().map(|arg| of(arg).unwrap_or(unknown)).collect();
            let fact = transfer(&node.op, &args, place(graph, id));
            (args, fact)
        }
    };
    let fact = if sums == Sums::StayFinite { finite(&node.op, &args, fact) } else { fact };
    Fact { invariant: fact.invariant || node.ty.clock == Clock::Static, ..fact }
}

/// The result taken for finite, if only overflow would make it anything else.
fn finite(op: &Op, args: &[Fact], fact: Fact) -> Fact {
    let only_overflows = op.describe(|op| op.only_overflows(args));
    if !only_overflows || !args.iter().all(Fact::is_finite) {
        return fact;
    }
    let (low, high) = (fact.low.max(-MAX), fact.high.min(MAX));
    Fact { low, high, not_nan: true, ..fact }
}

/// The place of a node in its graph.
pub fn place(graph: &Graph, id: NodeId) -> Place {
    let node = graph.node(id);
    let length = node.op.describe(|op| op.count(graph, &node.args));
    let count = length.and_then(|length| length.as_const()).map(|count| count as f64);
    let same = matches!(node.args[..], [a, b] if a == b);
    Place { count, same, elem: node.ty.elem }
}
