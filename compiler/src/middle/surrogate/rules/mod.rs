//! The laws of the calculus, in one table.
//!
//! Two terms are equal if they have the same value and the same derivative for all operands. So
//! `sg(x)` is not x, and `x - sg(x)` is not 0: it is `tangent(x)`, of value 0 and x's derivative.
//!
//! To add a law: add its row, and to the tests one or more goals, pairs of terms that the law alone
//! makes equal. The tests then prove the goals, compare values and derivatives of their sides, and
//! measure the numeric class, which must be the one that the row declares.

mod derivatives;
mod literals;
mod sums;
#[cfg(test)]
pub mod tests;

use std::fmt;

use egg::{
    Applier, Condition, ConditionalApplier, ENodeOrVar, Id, Language, Pattern, PatternAst, Rewrite,
    SearchMatches, Searcher, Subst, Symbol, Var,
};

use super::analysis::{Facts, Terms};
use super::language::{Term, is_commutative};
use derivatives::{
    distribute, drop_stopped, linear_bypass, linear_tangent, product_tangent, stop_operands,
    sum_of_tangents,
};
use literals::{divide_by_literal, divide_by_power, literals, multiply_literals, negate_literal};
use sums::{cancel, cancel_among, collect, drop_zeros, flatten, reorder, reorder_sum};

/// Where laws are put to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before gradients are appended: surrogates become bypasses.
    Surrogate,
    /// Afterwards, on values and gradients together; there is no `sg` any more.
    Joint,
}

/// Up to which derivative both sides of a law agree. The normal form uses both: it is for programs
/// that are differentiated once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The values agree, derivatives need not: for graphs that have their gradients.
    Value,
    /// The first derivative too.
    First,
    /// Derivatives of all orders too.
    All,
}

/// How the f32 values of both sides compare, from the strictest. `tangent` counts as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Numeric {
    /// To the bit, for all operands.
    Exact,
    /// To the bit, where no NaN, infinity or negative zero takes part.
    Finite,
    /// Equal but for the order of rounding.
    Reassociating,
    /// Equal over the real numbers.
    Approximate,
}

impl Phase {
    /// When, as a phrase.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Surrogate => "before gradients are appended",
            Phase::Joint => "on values and gradients together",
        }
    }
}

impl Order {
    /// What is kept, as a phrase.
    pub fn name(self) -> &'static str {
        match self {
            Order::Value => "values only",
            Order::First => "first derivatives",
            Order::All => "derivatives of all orders",
        }
    }
}

impl Numeric {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Numeric::Exact => "exact",
            Numeric::Finite => "finite",
            Numeric::Reassociating => "reassociating",
            Numeric::Approximate => "approximate",
        }
    }

    /// The word and what it says of the bits.
    pub fn meaning(self) -> &'static str {
        match self {
            Numeric::Exact => "exact: the same bits for all operands",
            Numeric::Finite => {
                "finite: the same bits where no NaN, infinity or negative zero takes part"
            }
            Numeric::Reassociating => "reassociating: equal but for the order of rounding",
            Numeric::Approximate => "approximate: equal over the real numbers",
        }
    }
}

/// A law of the calculus: two terms that are equal in value and derivative.
pub struct Law {
    /// Its name for `fgic explain rule:NAME`.
    pub name: &'static str,
    /// When it is used.
    pub phases: &'static [Phase],
    /// Which derivatives it keeps.
    pub order: Order,
    /// How exactly values are kept.
    pub numeric: Numeric,
    /// The equation with its condition, in the language's syntax; c has no derivative, L is linear.
    pub equation: &'static str,
    /// Why it holds, in a sentence.
    pub reason: &'static str,
    form: Form,
}

enum Form {
    /// Left side, right side, what must be proved of which variables.
    Pattern(&'static str, &'static str, &'static [(Proof, &'static str)]),
    /// The terms that the law makes equal to the given one.
    Equal(fn(&mut Terms, &Term) -> Vec<Id>),
}

/// What may be asked of a variable.
#[derive(Clone, Copy)]
enum Proof {
    Stopped,
    Zero,
    One,
    MinusOne,
    /// Neither infinite nor NaN.
    Bounded,
    NonZero,
    NonNegative,
    Integer,
}

/// The longest sum that is looked at as a whole.
const MAX_SUM: usize = 64;

/// THE table of laws. A law is added as a row; the tests measure its class and ask for its use.
#[rustfmt::skip]
pub static LAWS: &[Law] = {
    use Form::*;
    use Numeric::*;
    use Order::*;
    use Proof::*;
    const SURROGATE: &[Phase] = &[Phase::Surrogate];
    const JOINT: &[Phase] = &[Phase::Joint];
    const BOTH: &[Phase] = &[Phase::Surrogate, Phase::Joint];
    &[
    // The stop.
    law("sg-sg", SURROGATE, All, Exact,
        "sg(sg(x)) = sg(x)",
        "What has no derivative has none to stop.",
        Pattern("(sg (sg ?x))", "(sg ?x)", &[])),
    law("sg-stopped", SURROGATE, All, Exact,
        "sg(c) = c",
        "What has no derivative has none to stop.",
        Pattern("(sg ?c)", "?c", &[(Stopped, "?c")])),
    law("sg-operation", SURROGATE, All, Exact,
        "sg(f(x, …)) = f(sg(x), …)",
        "The values are equal, and by the chain rule neither side has a derivative.",
        Equal(stop_operands)),
    law("sg-bypass", SURROGATE, All, Exact,
        "sg(bypass(f, g)) = sg(f)",
        "The value of a bypass is f; its derivative is stopped.",
        Pattern("(sg (bypass ?f ?g))", "(sg ?f)", &[])),
    law("sg-tangent", SURROGATE, All, Exact,
        "sg(tangent(g)) = tangent(sg(g))",
        "Both are zero without a derivative.",
        Pattern("(sg (tangent ?g))", "(tangent (sg ?g))", &[])),

    // Tangents.
    law("cancel", SURROGATE, All, Finite,
        "f - g = tangent(f) - tangent(g), if sg(f) = sg(g);  so x - sg(x) = tangent(x)",
        "Equal values cancel, and the derivatives stay.",
        Equal(cancel)),
    law("cancel-among", SURROGATE, All, Reassociating,
        "f + a - g = a + tangent(f) - tangent(g), if sg(f) = sg(g)",
        "Equal values cancel, whatever stands between them.",
        Equal(cancel_among)),
    law("sum-tangent", SURROGATE, All, Finite,
        "f + tangent(g) = bypass(f, f + g);  tangent(a) + tangent(b) = tangent(a + b)",
        "A tangent adds nothing to the value, and its derivative to the derivative.",
        Equal(sum_of_tangents)),
    law("neg-tangent", SURROGATE, All, Finite,
        "-tangent(a) = tangent(-a)",
        "The derivative is linear, and minus zero is zero.",
        Pattern("(neg (tangent ?g))", "(tangent (neg ?g))", &[])),
    law("linear-tangent", SURROGATE, All, Finite,
        "L(tangent(g)) = tangent(L(g));  c * tangent(g) = tangent(c * g)",
        "A linear operation takes zero to zero and is its own derivative.",
        Equal(linear_tangent)),
    law("product-tangent", SURROGATE, First, Finite,
        "x * tangent(g) = tangent(sg(x) * g)",
        "By the product rule, the derivative of x is multiplied by zero.",
        Equal(product_tangent)),
    law("tangent-bypass", SURROGATE, All, Exact,
        "tangent(bypass(f, g)) = tangent(g)",
        "A tangent has the derivative of its operand, here that of g.",
        Pattern("(tangent (bypass ?f ?g))", "(tangent ?g)", &[])),
    law("tangent-tangent", SURROGATE, All, Exact,
        "tangent(tangent(g)) = tangent(g)",
        "A tangent has the derivative of its operand, here that of g.",
        Pattern("(tangent (tangent ?g))", "(tangent ?g)", &[])),
    law("bypass-zero", SURROGATE, All, Finite,
        "bypass(0, g) = tangent(g)",
        "Both have the value 0 and the derivative of g.",
        Pattern("(bypass ?z ?g)", "(tangent ?g)", &[(Zero, "?z")])),

    // Bypasses: a rectangular band.
    law("bypass-same", SURROGATE, All, Exact,
        "bypass(x, x) = x",
        "x has the value of x and the derivative of x.",
        Pattern("(bypass ?x ?x)", "?x", &[])),
    law("bypass-left", SURROGATE, All, Exact,
        "bypass(bypass(a, b), c) = bypass(a, c)",
        "Of the first operand only the value counts.",
        Pattern("(bypass (bypass ?a ?b) ?c)", "(bypass ?a ?c)", &[])),
    law("bypass-right", SURROGATE, All, Exact,
        "bypass(a, bypass(b, c)) = bypass(a, c)",
        "Of the second operand only the derivative counts.",
        Pattern("(bypass ?a (bypass ?b ?c))", "(bypass ?a ?c)", &[])),
    law("bypass-value", SURROGATE, All, Exact,
        "bypass(f, g) = bypass(sg(f), g)",
        "Of the first operand only the value counts.",
        Pattern("(bypass ?f ?g)", "(bypass (sg ?f) ?g)", &[])),
    law("bypass-stopped", SURROGATE, All, Exact,
        "bypass(f, c) = sg(f)",
        "The derivative of c is zero.",
        Pattern("(bypass ?f ?c)", "(sg ?f)", &[(Stopped, "?c")])),
    law("bypass-of-tangent", SURROGATE, All, Exact,
        "bypass(tangent(a), g) = tangent(g)",
        "The value of a tangent is zero.",
        Pattern("(bypass (tangent ?a) ?g)", "(tangent ?g)", &[])),
    law("bypass-to-tangent", SURROGATE, All, Exact,
        "bypass(f, tangent(g)) = bypass(f, g)",
        "A tangent has the derivative of its operand.",
        Pattern("(bypass ?f (tangent ?g))", "(bypass ?f ?g)", &[])),
    law("bypass-drop", SURROGATE, All, Exact,
        "bypass(f, g + c) = bypass(f, g)",
        "The derivative of c is zero.",
        Equal(drop_stopped)),
    law("linear-bypass", SURROGATE, All, Exact,
        "L(bypass(f, g)) = bypass(L(f), L(g))",
        "A linear operation is its own derivative.",
        Equal(linear_bypass)),

    // Products and linear operations over sums.
    law("distribute", SURROGATE, All, Reassociating,
        "L(a + b) = L(a) + L(b);  (a + b) * c = a * c + b * c;  L(-a) = -L(a)",
        "A linear operation takes sums to sums.",
        Equal(distribute)),
    law("associate", SURROGATE, All, Reassociating,
        "(a * b) * c = a * (b * c)",
        "A product does not depend on the order of its factors.",
        Pattern("(mul (mul ?a ?b) ?c)", "(mul ?a (mul ?b ?c))", &[])),
    law("collect", SURROGATE, All, Reassociating,
        "a * f - b * g = bypass((a - b) * f, a * f - b * g), if sg(f) = sg(g), for numbers a and b",
        "The values are multiples of one; the derivatives stay.",
        Equal(collect)),

    // Sums and signs.
    law("neg-neg", BOTH, All, Exact,
        "-(-x) = x",
        "The sign bit is flipped twice.",
        Pattern("(neg (neg ?x))", "?x", &[])),
    law("neg-left", BOTH, All, Exact,
        "(-a) * b = -(a * b)",
        "A product is rounded alike for both signs.",
        Pattern("(mul (neg ?a) ?b)", "(neg (mul ?a ?b))", &[])),
    law("neg-right", BOTH, All, Exact,
        "a * (-b) = -(a * b)",
        "A product is rounded alike for both signs.",
        Pattern("(mul ?a (neg ?b))", "(neg (mul ?a ?b))", &[])),
    law("sum-flat", SURROGATE, All, Reassociating,
        "(a + b) + c = a + b + c;  -(a + b) = -a + -b",
        "A sum of sums is the sum of all terms.",
        Equal(flatten)),
    law("sum-zero", SURROGATE, All, Finite,
        "x + 0 = x",
        "Zero adds nothing.",
        Equal(drop_zeros)),
    law("sum-order", SURROGATE, All, Reassociating,
        "a + b + c = c + a + b",
        "A sum does not depend on the order of its terms.",
        Equal(reorder_sum)),
    law("order", BOTH, All, Exact,
        "a * b = b * a;  likewise for +, min, max, ==, !=, && and ||",
        "These operations are commutative, rounding included.",
        Equal(reorder)),

    // Literals.
    law("literals", JOINT, All, Exact,
        "2 * 3 = 6;  likewise for all operations, where f32 has the result to the bit",
        "What is known is not computed.",
        Equal(literals)),
    law("neg-literal", JOINT, All, Exact,
        "-(a * 2) = a * (-2);  -(a / 2) = a / (-2)",
        "A product is rounded alike for both signs.",
        Equal(negate_literal)),
    law("div-power", JOINT, All, Exact,
        "a / 4 = a * 0.25;  likewise for all powers of two",
        "Both change the exponent alone.",
        Equal(divide_by_power)),
    law("mul-zero", JOINT, All, Finite,
        "a * 0 = 0",
        "Only infinity times zero is something else.",
        Pattern("(mul ?a ?z)", "?z", &[(Zero, "?z")])),
    law("mul-one", JOINT, All, Exact,
        "a * 1 = a",
        "The product is not rounded.",
        Pattern("(mul ?a ?o)", "?a", &[(One, "?o")])),
    law("mul-minus-one", JOINT, All, Exact,
        "a * (-1) = -a",
        "The product is not rounded.",
        Pattern("(mul ?a ?o)", "(neg ?a)", &[(MinusOne, "?o")])),
    law("div-one", JOINT, All, Exact,
        "a / 1 = a",
        "The quotient is not rounded.",
        Pattern("(div ?a ?o)", "?a", &[(One, "?o")])),
    law("add-zero", JOINT, All, Finite,
        "a + 0 = a",
        "Only minus zero becomes zero.",
        Pattern("(add ?a ?z)", "?a", &[(Zero, "?z")])),
    law("sub-zero", JOINT, All, Finite,
        "a - 0 = a",
        "Zero takes nothing away.",
        Pattern("(sub ?a ?z)", "?a", &[(Zero, "?z")])),
    law("zero-sub", JOINT, All, Finite,
        "0 - a = -a",
        "Only the sign of zero may differ.",
        Pattern("(sub ?z ?a)", "(neg ?a)", &[(Zero, "?z")])),
    law("sub-self", JOINT, All, Finite,
        "a - a = 0",
        "Only infinity less itself is something else.",
        Pattern("(sub ?a ?a)", "0", &[])),

    // Signs.
    law("add-neg", JOINT, All, Exact,
        "a + -b = a - b",
        "A difference is the sum with the sign flipped.",
        Pattern("(add ?a (neg ?b))", "(sub ?a ?b)", &[])),
    law("sub-neg", JOINT, All, Exact,
        "a - -b = a + b",
        "A difference is the sum with the sign flipped.",
        Pattern("(sub ?a (neg ?b))", "(add ?a ?b)", &[])),
    law("neg-sub", JOINT, All, Finite,
        "-(a - b) = b - a",
        "A difference is rounded alike for both signs; only the sign of zero may differ.",
        Pattern("(neg (sub ?a ?b))", "(sub ?b ?a)", &[])),
    law("div-neg", JOINT, All, Exact,
        "(-a) / b = -(a / b)",
        "A quotient is rounded alike for both signs.",
        Pattern("(div (neg ?a) ?b)", "(neg (div ?a ?b))", &[])),
    law("div-by-neg", JOINT, All, Exact,
        "a / (-b) = -(a / b)",
        "A quotient is rounded alike for both signs.",
        Pattern("(div ?a (neg ?b))", "(neg (div ?a ?b))", &[])),
    law("abs-neg", JOINT, All, Exact,
        "abs(-a) = abs(a)",
        "The sign is dropped.",
        Pattern("(abs (neg ?a))", "(abs ?a)", &[])),
    law("square-abs", JOINT, First, Exact,
        "abs(a) * abs(a) = a * a",
        "The signs of both factors are equal.",
        Pattern("(mul (abs ?a) (abs ?a))", "(mul ?a ?a)", &[])),
    law("abs-positive", JOINT, Value, Finite,
        "abs(a) = a, if a >= 0",
        "There is no sign to drop, but of zero.",
        Pattern("(abs ?a)", "?a", &[(NonNegative, "?a")])),
    law("relu-positive", JOINT, Value, Finite,
        "relu(a) = a, if a >= 0",
        "Nothing is cut off, but the sign of zero.",
        Pattern("(relu ?a)", "?a", &[(NonNegative, "?a")])),

    // Powers and roundings.
    law("square", JOINT, All, Exact,
        "a ^ 2 = a * a",
        "The power is the product.",
        Pattern("(pow ?a 2)", "(mul ?a ?a)", &[])),
    law("pow-one", JOINT, All, Exact,
        "a ^ 1 = a",
        "The power is a.",
        Pattern("(pow ?a 1)", "?a", &[])),
    law("cube", JOINT, All, Reassociating,
        "a ^ 3 = a * a * a",
        "Two roundings instead of one.",
        Pattern("(pow ?a 3)", "(mul (mul ?a ?a) ?a)", &[])),
    law("root", JOINT, All, Finite,
        "a ^ 0.5 = sqrt(a)",
        "Only minus zero and minus infinity have another power than root.",
        Pattern("(pow ?a 0.5)", "(sqrt ?a)", &[])),
    law("floor-integer", JOINT, All, Exact,
        "floor(n) = n, if n is an integer",
        "It is rounded already.",
        Pattern("(floor ?n)", "?n", &[(Integer, "?n")])),
    law("round-integer", JOINT, All, Exact,
        "round(n) = n, if n is an integer",
        "It is rounded already.",
        Pattern("(round ?n)", "?n", &[(Integer, "?n")])),

    // Choices.
    law("select-same", JOINT, All, Exact,
        "if c then a else a = a",
        "Either way it is a.",
        Pattern("(select ?c ?a ?a)", "?a", &[])),
    law("select-true", JOINT, All, Exact,
        "if true then a else b = a",
        "The other branch is not taken.",
        Pattern("(select ?c ?a ?b)", "?a", &[(One, "?c")])),
    law("select-false", JOINT, All, Exact,
        "if false then a else b = b",
        "The other branch is not taken.",
        Pattern("(select ?c ?a ?b)", "?b", &[(Zero, "?c")])),
    law("select-not", JOINT, All, Exact,
        "if !c then a else b = if c then b else a",
        "The branches change places.",
        Pattern("(select (not ?c) ?a ?b)", "(select ?c ?b ?a)", &[])),
    law("select-then", JOINT, All, Exact,
        "if c then (if c then a else b) else d = if c then a else d",
        "It is decided once.",
        Pattern("(select ?c (select ?c ?a ?b) ?d)", "(select ?c ?a ?d)", &[])),
    law("select-else", JOINT, All, Exact,
        "if c then a else (if c then b else d) = if c then a else d",
        "It is decided once.",
        Pattern("(select ?c ?a (select ?c ?b ?d))", "(select ?c ?a ?d)", &[])),
    law("select-join", JOINT, All, Finite,
        "(if c then a else 0) + (if c then 0 else b) = if c then a else b",
        "One of the terms is zero.",
        Pattern("(add (select ?c ?a ?z) (select ?c ?y ?b))", "(select ?c ?a ?b)",
            &[(Zero, "?z"), (Zero, "?y")])),
    law("select-sum", JOINT, All, Finite,
        "(if c then a else 0) + (if c then b else 0) = if c then a + b else 0",
        "It is decided once, and the sum of zeros is zero.",
        Pattern("(add (select ?c ?a ?z) (select ?c ?b ?y))", "(select ?c (add ?a ?b) ?z)",
            &[(Zero, "?z"), (Zero, "?y")])),
    law("choice-of-bit", JOINT, All, Exact,
        "f32(c) > 0 = c, for a boolean c",
        "f32 of true is 1.",
        Pattern("(gt (f32 ?c) ?z)", "?c", &[(Zero, "?z")])),
    law("guard-product", JOINT, Value, Finite,
        "if d == 0 then 0 else d * s = d * s, if s is finite",
        "Zero times a finite number is zero.",
        Pattern("(select (eq ?d ?z) ?y (mul ?d ?s))", "(mul ?d ?s)",
            &[(Zero, "?z"), (Zero, "?y"), (Bounded, "?s")])),
    law("guard-quotient", JOINT, Value, Finite,
        "if d == 0 then 0 else d / s = d / s, if s is not zero",
        "Zero by what is not zero is zero.",
        Pattern("(select (eq ?d ?z) ?y (div ?d ?s))", "(div ?d ?s)",
            &[(Zero, "?z"), (Zero, "?y"), (NonZero, "?s")])),

    // In other order of rounding.
    law("div-literal", JOINT, All, Reassociating,
        "a / 3 = a * (1/3);  likewise for all literals",
        "The reciprocal is rounded, then the product.",
        Equal(divide_by_literal)),
    law("mul-literals", JOINT, All, Reassociating,
        "(a * 3) * 5 = a * 15;  likewise for all literals",
        "The product of the literals is rounded first.",
        Equal(multiply_literals)),
    law("factor", JOINT, All, Reassociating,
        "a * c + b * c = (a + b) * c",
        "The sum is rounded before the product.",
        Pattern("(add (mul ?a ?c) (mul ?b ?c))", "(mul (add ?a ?b) ?c)", &[])),
    law("factor-sub", JOINT, All, Reassociating,
        "a * c - b * c = (a - b) * c",
        "The difference is rounded before the product.",
        Pattern("(sub (mul ?a ?c) (mul ?b ?c))", "(mul (sub ?a ?b) ?c)", &[])),
    ]
};

const fn law(
    name: &'static str,
    phases: &'static [Phase],
    order: Order,
    numeric: Numeric,
    equation: &'static str,
    reason: &'static str,
    form: Form,
) -> Law {
    Law { name, phases, order, numeric, equation, reason, form }
}

impl Law {
    /// The law as egg applies it; `None` if its text is no pattern, which the tests rule out.
    pub(crate) fn rewrite(&self) -> Option<Rewrite<Term, Facts>> {
        self.rewrites().into_iter().next()
    }

    /// The law as egg applies it: patterns in all orders of the operands of commutative operations,
    /// marked by primes in the name.
    pub(crate) fn rewrites(&self) -> Vec<Rewrite<Term, Facts>> {
        match &self.form {
            Form::Equal(equal) => {
                Rewrite::new(self.name, EachClass, EachTerm(*equal)).into_iter().collect()
            }
            Form::Pattern(left, right, conditions) => {
                let Ok(left) = left.parse::<Pattern<Term>>() else { return vec![] };
                let orders = orders(&left.ast).into_iter().enumerate();
                let rewrite = |(number, left): (usize, PatternAst<Term>)| {
                    let name = format!("{}{}", self.name, "'".repeat(number));
                    pattern(name, Pattern::new(left), right, conditions)
                };
                orders.filter_map(rewrite).collect()
            }
        }
    }
}

fn pattern(
    name: String,
    left: Pattern<Term>,
    right: &str,
    conditions: &[(Proof, &str)],
) -> Option<Rewrite<Term, Facts>> {
    let applier: Pattern<Term> = right.parse().ok()?;
    let proved = |(proof, variable): &(Proof, &str)| Some((*proof, variable.parse().ok()?));
    if conditions.is_empty() {
        return Rewrite::new(name, left, applier).ok();
    }
    let condition = Proved(conditions.iter().map(proved).collect::<Option<_>>()?);
    Rewrite::new(name, left, ConditionalApplier { condition, applier }).ok()
}

/// The pattern with the operands of its commutative operations in all orders.
fn orders(pattern: &PatternAst<Term>) -> Vec<PatternAst<Term>> {
    let commutes = |node: &ENodeOrVar<Term>| {
        let ENodeOrVar::ENode(Term::Operation(operation, ids)) = node else { return false };
        is_commutative(&operation.op) && ids[0] != ids[1]
    };
    let nodes: &[ENodeOrVar<Term>] = pattern;
    let places: Vec<usize> = (0..nodes.len()).filter(|i| commutes(&nodes[*i])).collect();
    let mut found: Vec<PatternAst<Term>> = Vec::new();
    for swapped in 0..1 << places.len() {
        let mut nodes = nodes.to_vec();
        for (bit, place) in places.iter().enumerate() {
            if swapped >> bit & 1 == 1 {
                nodes[*place].children_mut().reverse();
            }
        }
        let order = PatternAst::from(nodes);
        if !found.contains(&order) {
            found.push(order);
        }
    }
    found
}

impl fmt::Debug for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

struct Proved(Vec<(Proof, Var)>);

impl Condition<Term, Facts> for Proved {
    fn check(&self, terms: &mut Terms, _: Id, subst: &Subst) -> bool {
        self.0.iter().all(|(proof, variable)| {
            let known = &terms[subst[*variable]].data;
            match proof {
                Proof::Stopped => known.stopped,
                Proof::Zero => known.value.is_number(0.0),
                Proof::One => known.value.is_number(1.0),
                Proof::MinusOne => known.value.is_number(-1.0),
                Proof::Bounded => known.value.is_finite(),
                Proof::NonZero => known.value.not_nan && known.value.is_non_zero(),
                Proof::NonNegative => known.value.is_non_negative(),
                Proof::Integer => known.value.integer,
            }
        })
    }

    fn vars(&self) -> Vec<Var> {
        self.0.iter().map(|(_, variable)| *variable).collect()
    }
}

/// Laws whose terms have any number of operands look at each term of each class themselves.
struct EachClass;

impl Searcher<Term, Facts> for EachClass {
    fn search_eclass_with_limit(
        &self,
        _: &Terms,
        eclass: Id,
        _: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        Some(SearchMatches { eclass, substs: vec![Subst::default()], ast: None })
    }

    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

struct EachTerm(fn(&mut Terms, &Term) -> Vec<Id>);

impl Applier<Term, Facts> for EachTerm {
    fn apply_one(
        &self,
        terms: &mut Terms,
        class: Id,
        _: &Subst,
        _: Option<&PatternAst<Term>>,
        law: Symbol,
    ) -> Vec<Id> {
        let mut changed = Vec::new();
        for term in terms[class].nodes.clone() {
            for equal in (self.0)(terms, &term) {
                let term = terms.add_uncanonical(term.clone());
                if terms.union_trusted(term, equal, law) {
                    changed.push(equal);
                }
            }
        }
        changed
    }
}

/// `sg(x)`
fn stop(terms: &mut Terms, id: Id) -> Id {
    if terms[id].data.stopped { id } else { terms.add(Term::Sg([id])) }
}
