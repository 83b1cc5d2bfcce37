mod measure;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use egg::{Id, RecExpr, Runner, SimpleScheduler};

use super::*;
use crate::ir::graph::interpret::Results;
use crate::ir::graph::{Bindings, Builder, NodeId, Op};
use crate::middle::autodiff::joint;
use crate::testing::{Program, Random, assert_close, interpret_dual};

/// A law's name, and two terms that it makes equal, with `order` and `sum-order` for the operands.
const GOALS: &[(&str, &str, &str)] = &[
    ("sg-sg", "(exp (sg (sg x)))", "(exp (sg x))"),
    ("sg-stopped", "(sg (add (sg x) 2))", "(add (sg x) 2)"),
    ("sg-operation", "(sg (atan2 x y))", "(atan2 (sg x) (sg y))"),
    ("sg-bypass", "(sg (bypass x y))", "(sg x)"),
    ("sg-tangent", "(sg (tangent y))", "(tangent (sg y))"),
    ("cancel", "(+ x (neg (sg x)))", "(tangent x)"),
    ("cancel", "(+ (sg x) (neg x))", "(tangent (neg x))"),
    ("cancel-among", "(+ x (sg y) (neg (sg x)))", "(+ (sg y) (tangent x))"),
    ("cancel-among", "(+ (sg x) (neg x) z)", "(+ (tangent (neg x)) z)"),
    ("sum-tangent", "(+ x (tangent y))", "(bypass x (+ x y))"),
    ("sum-tangent", "(+ (tangent x) (tangent y))", "(tangent (+ x y))"),
    ("neg-tangent", "(neg (tangent x))", "(tangent (neg x))"),
    ("linear-tangent", "(mul (sg y) (tangent x))", "(tangent (mul (sg y) x))"),
    ("linear-tangent", "(transpose (tangent x))", "(tangent (transpose x))"),
    ("product-tangent", "(mul y (tangent x))", "(tangent (mul (sg y) x))"),
    ("tangent-bypass", "(tangent (bypass x y))", "(tangent y)"),
    ("tangent-tangent", "(tangent (tangent y))", "(tangent y)"),
    ("bypass-zero", "(bypass 0 y)", "(tangent y)"),
    ("bypass-zero", "(bypass -0 y)", "(tangent y)"),
    ("bypass-same", "(bypass x x)", "x"),
    ("bypass-left", "(bypass (bypass x y) z)", "(bypass x z)"),
    ("bypass-right", "(bypass x (bypass y z))", "(bypass x z)"),
    ("bypass-value", "(bypass (exp x) y)", "(bypass (sg (exp x)) y)"),
    ("bypass-stopped", "(bypass x (sg y))", "(sg x)"),
    ("bypass-of-tangent", "(bypass (tangent x) y)", "(tangent y)"),
    ("bypass-to-tangent", "(bypass x (tangent y))", "(bypass x y)"),
    ("bypass-drop", "(bypass x (+ y (sg z)))", "(bypass x y)"),
    ("linear-bypass", "(transpose (bypass (sg x) y))", "(bypass (transpose (sg x)) (transpose y))"),
    ("linear-bypass", "(+ (bypass (sg x) y) z)", "(bypass (+ (sg x) z) (+ y z))"),
    ("distribute", "(mul (+ x y) z)", "(+ (mul x z) (mul y z))"),
    ("distribute", "(@ (+ x (neg y)) z)", "(+ (@ x z) (@ (neg y) z))"),
    ("distribute", "(transpose (neg x))", "(neg (transpose x))"),
    ("associate", "(mul (mul x y) z)", "(mul x (mul y z))"),
    (
        "collect",
        "(+ (mul 3 x) (neg (sg x)) z)",
        "(+ (bypass (mul 2 (sg x)) (+ (mul 3 x) (neg (sg x)))) z)",
    ),
    (
        "collect",
        "(+ (mul 2 x) (neg (sg x)) (neg (sg x)))",
        "(tangent (+ (mul 2 x) (neg (sg x)) (neg (sg x))))",
    ),
    ("neg-neg", "(neg (neg x))", "x"),
    ("neg-left", "(mul (neg x) y)", "(neg (mul x y))"),
    ("neg-right", "(mul x (neg y))", "(neg (mul x y))"),
    ("sum-flat", "(exp (+ (+ x y) z))", "(exp (+ x (+ y z)))"),
    ("sum-zero", "(+ x 0)", "x"),
    ("sum-order", "(exp (+ x y z))", "(exp (+ z x y))"),
    ("order", "(exp (mul x y))", "(exp (mul y x))"),
    ("order", "(exp (add x y))", "(exp (add y x))"),
    ("literals", "(mul x (add 0.5 4))", "(mul x 4.5)"),
    ("neg-literal", "(neg (mul x 3))", "(mul x -3)"),
    ("neg-literal", "(neg (div x 3))", "(div x -3)"),
    ("div-power", "(div x -4)", "(mul x -0.25)"),
    ("mul-zero", "(mul x 0)", "0"),
    ("mul-zero", "(mul -0 x)", "-0"),
    ("mul-one", "(mul x 1)", "x"),
    ("mul-minus-one", "(mul -1 x)", "(neg x)"),
    ("div-one", "(div x 1)", "x"),
    ("add-zero", "(add x 0)", "x"),
    ("sub-zero", "(sub x 0)", "x"),
    ("sub-zero", "(sub x -0)", "x"),
    ("zero-sub", "(sub 0 x)", "(neg x)"),
    ("sub-self", "(sub x x)", "0"),
    ("add-neg", "(add x (neg y))", "(sub x y)"),
    ("add-neg", "(add (neg x) y)", "(sub y x)"),
    ("sub-neg", "(sub x (neg y))", "(add x y)"),
    ("neg-sub", "(neg (sub x y))", "(sub y x)"),
    ("div-neg", "(div (neg x) y)", "(neg (div x y))"),
    ("div-by-neg", "(div x (neg y))", "(neg (div x y))"),
    ("abs-neg", "(abs (neg x))", "(abs x)"),
    ("square-abs", "(mul (abs x) (abs x))", "(mul x x)"),
    ("abs-positive", "(abs (exp x))", "(exp x)"),
    ("abs-positive", "(abs (sqrt x))", "(sqrt x)"),
    ("relu-positive", "(relu (exp x))", "(exp x)"),
    ("relu-positive", "(relu (sqrt x))", "(sqrt x)"),
    ("square", "(pow x 2)", "(mul x x)"),
    ("pow-one", "(pow x 1)", "x"),
    ("cube", "(pow x 3)", "(mul (mul x x) x)"),
    ("root", "(pow x 0.5)", "(sqrt x)"),
    ("floor-integer", "(floor (sign x))", "(sign x)"),
    ("round-integer", "(round (floor x))", "(floor x)"),
    ("select-same", "(select (lt x y) z z)", "z"),
    ("select-true", "(select (lt 1 2) y z)", "y"),
    ("select-false", "(select (gt 1 2) y z)", "z"),
    ("select-not", "(select (not (lt x y)) x z)", "(select (lt x y) z x)"),
    ("select-then", "(select (lt x y) (select (lt x y) z x) y)", "(select (lt x y) z y)"),
    ("select-else", "(select (lt x y) z (select (lt x y) x y))", "(select (lt x y) z y)"),
    ("select-join", "(add (select (lt x y) x 0) (select (lt x y) 0 z))", "(select (lt x y) x z)"),
    (
        "select-sum",
        "(add (select (lt x y) x 0) (select (lt x y) z 0))",
        "(select (lt x y) (add x z) 0)",
    ),
    (
        "select-sum",
        "(add (select (lt x y) x -0) (select (lt x y) z 0))",
        "(select (lt x y) (add x z) -0)",
    ),
    ("choice-of-bit", "(select (gt (f32 (lt x y)) 0) x z)", "(select (lt x y) x z)"),
    ("guard-product", "(select (eq x 0) 0 (mul x fy))", "(mul x fy)"),
    ("guard-quotient", "(select (eq x 0) 0 (div x py))", "(div x py)"),
    ("div-literal", "(div x 3)", "(mul x 0.3333333333333333)"),
    ("mul-literals", "(mul (mul x 3) 5)", "(mul x 15)"),
    ("factor", "(add (mul x z) (mul y z))", "(mul (add x y) z)"),
    ("factor-sub", "(sub (mul x z) (mul y z))", "(mul (sub x y) z)"),
];

pub fn term(text: &str) -> RecExpr<Term> {
    text.parse().unwrap()
}

#[test]
fn every_law_has_a_goal() {
    let tested: BTreeSet<_> = GOALS.iter().map(|goal| goal.0).collect();
    let laws: BTreeSet<_> = LAWS.iter().map(|law| law.name).collect();
    assert_eq!(tested, laws);
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = LAWS.iter().map(|law| law.name).collect();
    assert_eq!(names.len(), LAWS.len());
}

#[test]
fn every_law_reaches_its_goal_alone() {
    for &(name, left, right) in GOALS {
        let names = [name, "order", "sum-order"];
        assert!(proves(left, right, &names), "{name}: {left} = {right}");
    }
}

/// Whether the laws of these names make two terms equal. The proof is replayed.
fn proves(left: &str, right: &str, names: &[&str]) -> bool {
    let (left, right) = (term(left), term(right));
    let laws = LAWS.iter().filter(|law| names.contains(&law.name));
    let laws: Vec<_> = laws.flat_map(|law| law.rewrites()).collect();
    let mut runner = Runner::<Term, Facts>::new(Facts)
        .with_explanations_enabled()
        .with_expr(&left)
        .with_expr(&right)
        .with_scheduler(SimpleScheduler)
        .with_time_limit(Duration::from_secs(1000))
        .run(&laws);
    let is_proved = runner.egraph.find(runner.roots[0]) == runner.egraph.find(runner.roots[1]);
    if is_proved {
        runner.explain_equivalence(&left, &right).check_proof(&laws);
    }
    is_proved
}

/// A class that is declared too strict would let a rewrite change results; one that is declared
/// too lax would keep it from being used.
#[test]
fn the_numeric_class_of_every_law_is_the_measured_one() {
    let mut measured: BTreeMap<&str, Numeric> = BTreeMap::new();
    for &(name, left, right) in GOALS {
        let class = measure::measure(&term(left), &term(right));
        let known = measured.entry(name).or_insert(class);
        *known = class.max(*known);
    }
    let declared: BTreeMap<_, _> = LAWS.iter().map(|law| (law.name, law.numeric)).collect();
    assert_eq!(measured, declared);
}

/// The names of leaves and the graph's parameters: `x`, `y`, `z`, and `w` for the weights.
pub fn operands() -> (Program, Vec<(&'static str, NodeId)>) {
    let mut p = Program::default();
    let leaves = ["x", "y", "z", "w"].map(|name| (name, p.param(name, &[3, 3])));
    (p, leaves.to_vec())
}

/// The graph of a term.
pub fn build(b: &mut Builder, leaves: &[(&str, NodeId)], text: &str) -> NodeId {
    let expression = term(text);
    let mut nodes: Vec<NodeId> = Vec::new();
    let like = leaves[0].1;
    for term in &expression {
        let node = |id: &Id| nodes[usize::from(*id)];
        let new = match term {
            Term::Leaf(leaf) => {
                leaves.iter().find(|(name, _)| leaf.name.ends_with(name)).unwrap().1
            }
            Term::Sg([x]) => b.push(Op::Sg, vec![node(x)]),
            Term::Bypass([f, g]) => b.push(Op::Bypass, vec![node(f), node(g)]),
            Term::Tangent([g]) => {
                let stopped = b.push(Op::Sg, vec![node(g)]);
                b.sub(node(g), stopped)
            }
            Term::Neg([x]) => b.neg(node(x)),
            Term::Sum(ids) => ids.iter().map(node).reduce(|sum, part| b.add(sum, part)).unwrap(),
            Term::Operation(operation, ids) => {
                if let Op::Const(number, _) = operation.op {
                    b.full_like(number.0, like)
                } else {
                    b.push(operation.op.clone(), ids.iter().map(node).collect())
                }
            }
        };
        let dims = b.ty(like).dims.clone();
        nodes.push(b.broadcast(new, &dims));
    }
    *nodes.last().unwrap()
}

#[test]
fn both_sides_of_every_law_have_the_same_derivatives() {
    for &(name, left, right) in GOALS {
        let order = LAWS.iter().find(|law| law.name == name).unwrap().order;
        let mut random = Random(11);
        let sides = [left, right].map(|side| {
            let (mut p, leaves) = operands();
            let node = build(&mut p.b(), &leaves, side);
            p.output("y", node);
            let weighted = p.b().mul(node, leaves[3].1);
            p.loss(weighted);
            p.graph
        });
        let (mut values, directions) = (random.values(&sides[0]), random.values(&sides[0]));
        values.get_mut("x").unwrap().data[0] = 0.0;
        let none = Bindings::new();
        let wrt: Vec<String> = ["x", "y", "z"].map(String::from).to_vec();
        let [a, b] = sides.map(|side| {
            let first = interpret_dual(&side, &none, &values, &directions).unwrap();
            let joint = joint(&side, "loss", &wrt).unwrap();
            (first, interpret_dual(&joint, &none, &values, &directions).unwrap())
        });
        let same = |a: &Results, b: &Results| {
            for ((root, a), (_, b)) in a.0.iter().zip(&b.0) {
                assert_close(&a.data, &b.data, format!("{name}: {left} = {right}, {}", root.name));
            }
        };
        same(&a.0.0, &b.0.0);
        if order == Order::Value {
            continue;
        }
        same(&a.0.1, &b.0.1);
        same(&a.1.0, &b.1.0);
        if order == Order::All {
            same(&a.1.1, &b.1.1);
        }
    }
}
