use std::collections::BTreeMap;
use std::time::Duration;

use egg::{Runner, SimpleScheduler};
use proptest::prelude::*;

use super::analysis::{Facts, Terms};
use super::encode::encode;
use super::language::Term;
use super::rules::tests::{build, operands};
use super::*;
use crate::ir::graph::{Bindings, Clock, Dim, Elem, NodeId, Pointwise, Role, Type};
use crate::middle::autodiff::{differentiate, erase};
use crate::testing::{Program, Random, assert_close, dims, interpret, interpret_dual};

/// What the normal form of a graph is held to.
fn check(graph: &Graph, random: &mut Random) -> Graph {
    let (normal, report) = simplify(graph);
    assert_eq!(report.limit, None);
    assert_means_the_same(&normal, graph, random);
    if !differences_of_equals(graph) {
        assert!(!differences_of_equals(&normal), "a difference of equals");
        assert!(!differences_of_equals(&erase(normal.clone())), "a difference of equals");
    }
    assert_bypasses_are_plain(&normal);
    let (again, _) = simplify(&normal);
    assert_eq!(again.to_string(), normal.to_string(), "the normal form has another");
    normal
}

/// Values and derivatives, by dual numbers, reverse mode, and without surrogates.
fn assert_means_the_same(normal: &Graph, graph: &Graph, random: &mut Random) {
    let none = Bindings::new();
    let (values, directions) = (random.values(graph), random.values(graph));
    let (value, tangent) = interpret_dual(graph, &none, &values, &directions).unwrap();
    let (normal_value, normal_tangent) =
        interpret_dual(normal, &none, &values, &directions).unwrap();
    let erased = erase(normal.clone());
    let erased_value = interpret(&erased, &none, &values).unwrap();
    for root in &graph.roots {
        let (role, name) = (Role::Output, &root.name);
        let expected = &value.get(role, name).unwrap().data;
        assert_close(&normal_value.get(role, name).unwrap().data, expected, name);
        assert_close(&erased_value.get(role, name).unwrap().data, expected, name);
        let expected = &tangent.get(role, name).unwrap().data;
        assert_close(&normal_tangent.get(role, name).unwrap().data, expected, name);
    }
    let wrt: Vec<String> = values.keys().cloned().collect();
    for graph in [graph, normal] {
        let joint = differentiate(graph, "loss", &wrt).unwrap();
        let gradients = interpret(&joint, &none, &values).unwrap();
        let product = |name: &String| {
            let (gradient, direction) = (gradients.gradient(name).unwrap(), &directions[name]);
            gradient.data.iter().zip(&direction.data).map(|(g, d)| g * d).sum::<f64>()
        };
        let actual: f64 = wrt.iter().map(product).sum();
        assert_close(&[actual], &tangent.output("loss").unwrap().data, "the gradient");
    }
}

fn differences_of_equals(graph: &Graph) -> bool {
    graph
        .ids()
        .map(|id| graph.node(id))
        .any(|node| node.op == Op::Map(Pointwise::Sub) && node.args[0] == node.args[1])
}

fn assert_bypasses_are_plain(graph: &Graph) {
    let op = |id: NodeId| &graph.node(id).op;
    for id in graph.ids().filter(|id| *op(*id) == Op::Bypass) {
        let args = &graph.node(id).args;
        assert!(args.iter().all(|arg| *op(*arg) != Op::Bypass), "nested bypasses");
        assert!(*op(args[1]) != Op::Sg, "a bypass to nothing");
    }
}

fn count(graph: &Graph, op: &Op) -> usize {
    graph.ids().filter(|id| graph.node(*id).op == *op).count()
}

/// The normal form of one term, with `loss` a weighted sum of it.
fn normal_form(text: &str) -> Graph {
    let (mut p, leaves) = operands();
    let node = build(&mut p.b(), &leaves, text);
    p.output("y", node);
    let weighted = p.b().mul(node, leaves[3].1);
    p.loss(weighted);
    check(&p.graph, &mut Random(17))
}

/// Spellings of a bypass or an injection; each becomes `bypass(floor(y), …)`.
const SPELLINGS: &[&str] = &[
    "(bypass (floor y) (tanh x))",
    "(add (sub (tanh x) (sg (tanh x))) (sg (floor y)))",
    "(sub (add (sg (floor y)) (tanh x)) (sg (tanh x)))",
    "(add (neg (sg (tanh x))) (add (sg (floor y)) (tanh x)))",
    "(add (tanh x) (sub (sg (floor y)) (sg (tanh x))))",
    "(add (tanh x) (sg (sub (floor y) (tanh x))))",
    "(sub (sg (floor y)) (sub (sg (tanh x)) (tanh x)))",
    "(sub (tanh x) (sg (sub (tanh x) (floor y))))",
    "(add (mul 2 (sub (tanh x) (sg (tanh x)))) (sg (floor y)))",
    "(add (sub (mul 2 (tanh x)) (mul 2 (sg (tanh x)))) (sg (floor y)))",
    "(add (sub (tanh x) (sg (tanh x))) (floor y))",
    "(add (sub (mul x (sg z)) (sg (mul z x))) (sg (floor y)))",
    "(add (sub (mul (sg z) x) (mul (sg x) (sg z))) (sg (floor y)))",
    "(add (neg (sub (sg (tanh x)) (tanh x))) (sg (floor (sg y))))",
    "(bypass (bypass (floor y) (sin z)) (bypass (cos z) (tanh x)))",
    "(add (sub (bypass z (tanh x)) (sg z)) (sg (floor y)))",
    "(add (mul z (sub (tanh x) (sg (tanh x)))) (floor y))",
    "(add (sub (sub (mul 2 (tanh x)) (sg (tanh x))) (sg (tanh x))) (sg (floor y)))",
    "(sub (add (mul (sg (add z 1)) (tanh x)) (sg (floor y))) (add (mul (sg z) (sg (tanh x))) (sg (tanh x))))",
    "(sub (add (mul (add (sg z) 1) (add (tanh x) (tanh y))) (sg (floor y))) (add (mul (sg z) (sg (add (tanh x) (tanh y)))) (sg (add (tanh y) (tanh x)))))",
    "(sub (add (sg (floor y)) (add (tanh x) 0.3)) (sg (add (tanh x) 0.3)))",
    "(sub (add (add (sg (floor y)) (tanh x)) 0.3) (sg (add (tanh x) 0.3)))",
    "(add (sub 0.3 (sg (add (tanh x) 0.3))) (add (tanh x) (sg (floor y))))",
    "(add (sub (transpose (tanh x)) (transpose (sg (tanh x)))) (floor y))",
    "(sub (add (add (sg z) (sg (floor y))) (tanh x)) (add (sg z) (sg (tanh x))))",
    "(sub (add (add (div (tanh x) 4) (sg (floor y))) (mul 0.75 (tanh x))) (sg (tanh x)))",
];

/// A term, its value and a term of its derivative.
const DISTRIBUTED: &[(&str, &str, &str)] = &[
    (
        "(sub (mul 2 (add (tanh x) (sg (floor y)))) (mul 2 (sg (tanh x))))",
        "(mul 2 (floor y))",
        "(mul 2 (tanh x))",
    ),
    ("(sub (mul 2 (tanh x)) (sg (tanh x)))", "(tanh x)", "(mul 2 (tanh x))"),
    (
        "(sub (mul 0.5 (tanh x)) (mul 2 (sg (tanh x))))",
        "(neg (mul 1.5 (tanh x)))",
        "(mul 0.5 (tanh x))",
    ),
    ("(sub (sub (mul 2 (tanh x)) (sg (tanh x))) (sg (tanh x)))", "0", "(mul 2 (tanh x))"),
    (
        "(sub (mul (add x 1) (tanh y)) (mul (add x 1) (sg (tanh y))))",
        "0",
        "(mul (add x 1) (sub (tanh y) (sg (tanh y))))",
    ),
    (
        "(sub (mul (add x 1) (add y (tanh z))) (mul (add (sg x) 1) (sg (tanh z))))",
        "(mul (add x 1) y)",
        "(sub (mul (add x 1) (add y (tanh z))) (mul (add (sg x) 1) (sg (tanh z))))",
    ),
    (
        "(sub (mul (add (sg x) 1) (tanh y)) (sg (tanh y)))",
        "(mul x (tanh y))",
        "(mul (add (sg x) 1) (tanh y))",
    ),
    (
        "(sub (transpose (add (tanh x) (sg (floor y)))) (sg (transpose (tanh x))))",
        "(transpose (floor y))",
        "(transpose (tanh x))",
    ),
    ("(sub (sum (add (tanh x) z)) (sum (sg (tanh x))))", "(sum z)", "(sum (add (tanh x) z))"),
    (
        "(sub (@ (add (tanh x) z) (sg y)) (@ (sg (tanh x)) (sg y)))",
        "(@ z y)",
        "(@ (add (tanh x) z) (sg y))",
    ),
    (
        "(sub (@ (add z (tanh x)) (add (sg y) (sg z))) (sg (add (@ (tanh x) z) (@ (tanh x) y))))",
        "(@ z (add y z))",
        "(@ (add (tanh x) z) (sg (add y z)))",
    ),
    (
        "(sub (div (add (tanh x) z) (sg y)) (sg (div (tanh x) y)))",
        "(div z y)",
        "(div (add (tanh x) z) (sg y))",
    ),
    (
        "(sub (mul 2 (mul 3 (add z (tanh x)))) (mul 6 (sg (tanh x))))",
        "(mul 2 (mul 3 z))",
        "(mul 6 (add z (tanh x)))",
    ),
    ("(sub (add x (sg x)) x)", "x", "0"),
    ("(add (sub (sg x) x) x)", "x", "0"),
    ("(add (sub (bypass x (tanh x)) (add y x)) y)", "0", "(sub (tanh x) x)"),
    ("(mul (mul z (sub x (sg x))) (sub y (sg y)))", "0", "0"),
    // As f32 adds them.
    (
        "(sub (add (mul 0.1 (tanh x)) (mul 0.2 (tanh x))) (mul 0.3 (sg (tanh x))))",
        "0",
        "(mul 0.3 (tanh x))",
    ),
];

/// A cancellation that needs a factor, or an operation, to be distributed.
#[test]
fn what_cancels_is_found_in_products_and_sums() {
    for (text, value, derivative) in DISTRIBUTED {
        let [found, value, derivative] =
            [text, value, derivative].map(|text| Normal::new(&normal_form(text)));
        assert_eq!(found.value, value.value, "{text}");
        assert_eq!(found.derivative, derivative.derivative, "{text}");
    }
}

#[test]
fn a_bypass_is_recognised_in_any_spelling() {
    for text in SPELLINGS {
        let normal = normal_form(text);
        let y = normal.root(Role::Output, "y").unwrap();
        assert_eq!(normal.node(y).op, Op::Bypass, "{text}");
        assert_eq!(count(&normal, &Op::Map(Pointwise::Sub)), 0, "{text}");
        let erased = erase(normal);
        let y = erased.root(Role::Output, "y").unwrap();
        assert_eq!(erased.node(y).op, Op::Map(Pointwise::Floor), "{text}");
        assert_eq!(count(&erased, &Op::Map(Pointwise::Tanh)), 0, "{text}");
    }
}

/// Stops in stops, products, sums, differences and functions of bypasses.
const NESTED: &[&str] = &[
    "(add (sg (mul x (sg y))) (mul x y))",
    "(sub (add (mul (sg (sg x)) y) (mul (sg x) (sg y))) (mul (sg (mul (sg (mul x y)) x)) x))",
    "(sub (add (bypass (floor x) (tanh x)) (bypass (floor y) (sigmoid y))) (mul 2 (bypass (round x) (mul x y))))",
    "(bypass (bypass (floor x) (sin x)) (bypass (floor y) (cos y)))",
    "(add (sub (mul x (sg x)) (sg (mul x x))) (mul (sg (bypass y x)) y))",
    "(exp (add (sub (sin x) (sg (sin x))) (sg (exp (bypass x y)))))",
    "(sub (exp (bypass (floor x) y)) (sg (exp (floor x))))",
    "(sub (add (exp (add (sub x (sg x)) (sg y))) (tanh z)) (sg (exp y)))",
];

#[test]
fn nested_surrogates() {
    NESTED.iter().for_each(|text| drop(normal_form(text)));
}

/// Four spellings of an injection in one program, their sum and product weighted.
#[test]
fn inlined_injections_leave_no_trace_forward() {
    let bell = |x: &str| format!("(exp (neg (abs {x})))");
    let step = |x: &str| format!("(select (gt {x} 0) 1 0)");
    let m = format!("(mul x (sg {}))", bell("x"));
    let v = format!("(mul (sg {}) x)", bell("(mul 2 x)"));
    let y1 = format!("(sub (add (sg {}) {m}) (sg {m}))", step("x"));
    let y2 = format!("(add (neg (sg {m})) (add (sg {}) {m}))", step("(sub x 0.3)"));
    let y3 = format!("(add {m} (sub (sg {}) (sg {m})))", step("(add x 0.3)"));
    let y4 = format!("(sub (sg {}) (sub (sg {v}) {v}))", step("x"));
    let y = format!("(add (sub {y1} (mul 2 {y2})) (mul (mul 3 {y3}) {y4}))");
    let normal = normal_form(&y);
    assert_eq!(count(&normal, &Op::Bypass), 4);
    let erased = erase(normal);
    assert_eq!(count(&erased, &Op::Map(Pointwise::Exp)), 0);
    assert_eq!(count(&erased, &Op::Map(Pointwise::Sub)), 2);
}

#[test]
fn literals_are_never_folded_into_infinity() {
    for text in [
        "(sub (add (mul 3e38 (tanh x)) (mul 3e38 (tanh x))) (sg (tanh x)))",
        "(sub (add (mul 3e38 (mul 3e38 (tanh x))) y) (sg y))",
        "(sub (mul 1e-30 (mul 1e-30 (tanh x))) (mul 1e-30 (sg (tanh x))))",
    ] {
        let (mut p, leaves) = operands();
        let node = build(&mut p.b(), &leaves, text);
        p.output("y", node);
        let (normal, _) = simplify(&p.graph);
        let numbers = normal.ids().filter_map(|id| normal.as_number(id));
        for number in numbers {
            assert!((number as f32).is_finite() && number as f32 != 0.0, "{text}: {number}");
        }
    }
}

/// The laws alone prove what the normal form is.
#[test]
fn the_normal_form_is_proved() {
    for text in SPELLINGS.iter().chain(NESTED) {
        let (mut p, leaves) = operands();
        let node = build(&mut p.b(), &leaves, text);
        p.output("y", node);
        let (normal, _) = simplify(&p.graph);
        let mut terms = Terms::new(Facts);
        let roots = [&p.graph, &normal].map(|graph| {
            let classes = encode(graph, &mut terms);
            classes[graph.root(Role::Output, "y").unwrap().0 as usize]
        });
        let runner = Runner::<Term, Facts>::new(Facts)
            .with_egraph(terms)
            .with_scheduler(SimpleScheduler)
            .with_node_limit(30_000)
            .with_time_limit(Duration::from_secs(1000))
            .with_hook(move |runner| {
                match runner.egraph.find(roots[0]) == runner.egraph.find(roots[1]) {
                    true => Err("proved".into()),
                    false => Ok(()),
                }
            })
            .run(&LAWS.iter().map(|law| law.rewrite().unwrap()).collect::<Vec<_>>());
        assert_eq!(runner.egraph.find(roots[0]), runner.egraph.find(roots[1]), "{text}");
    }
}

#[test]
fn ordinary_sums_stay_as_they_are_written() {
    for text in [
        // Rounding tricks.
        "(sub (add x y) x)",
        "(add (sub (sub (add x y) x) y) (sg z))",
        "(bypass (sub (add x 12582912) 12582912) x)",
        "(sub (add (sg (sub (add x 12582912) 12582912)) x) (sg x))",
        "(add x (sg (sub (add (neg x) 12582912) 12582912)))",
        "(sub (sg (sub (add x 12582912) 12582912)) (sg x))",
        "(sub (sg (add x 12582912)) 12582912)",
        "(sub (add x (sg 12582912)) (sg 12582912))",
        "(neg (sub (add y (mul (sg 0.5) z)) z))",
        "(sub (sg (sub (sub (add x y) x) y)) (sg z))",
    ] {
        let normal = normal_form(text);
        assert!(count(&normal, &Op::Map(Pointwise::Sub)) > 0, "{text}");
    }
    let straight_through = normal_form("(add x (sg (sub (sub (add x 12582912) 12582912) x)))");
    let y = straight_through.root(Role::Output, "y").unwrap();
    let value = straight_through.node(y).args[0];
    assert_eq!(straight_through.node(value).op, Op::Map(Pointwise::Sub));
    assert_eq!(straight_through.node(straight_through.node(y).args[1]).op, Op::Param(0));
    // What is left keeps its order.
    let pruned = erase(normal_form("(add x (add (sub (add y (tanh x)) (sg (tanh x))) z))"));
    let y = pruned.root(Role::Output, "y").unwrap();
    let inner = pruned.node(y).args[1];
    assert_eq!(pruned.node(inner).op, Op::Map(Pointwise::Add));
}

#[test]
fn a_value_of_zero_vanishes() {
    for text in [
        "(sub (mul x (sg x)) (sg (mul x x)))",
        "(mul y (sub x (sg x)))",
        "(mul (sub x (sg x)) (sub y (sg y)))",
        "(sub (sg x) (sg x))",
        "(transpose (mul 2 (sub (sin x) (sg (sin x)))))",
    ] {
        let erased = erase(normal_form(text));
        let y = erased.root(Role::Output, "y").unwrap();
        assert_eq!(erased.as_number(y), Some(0.0), "{text}");
    }
}

#[test]
fn without_surrogates_nothing_changes() {
    let (mut p, leaves) = operands();
    let node = build(&mut p.b(), &leaves, "(sub (sub (add x y) x) (mul 1 (neg (neg y))))");
    p.output("y", node);
    let (normal, report) = simplify(&p.graph);
    assert_eq!(normal, p.graph.compact());
    assert_eq!(report, Report::default());
}

/// A layer with a learned surrogate that acts only on the gradient.
#[test]
fn a_learned_surrogate_is_not_computed_forward() {
    let mut p = Program::stream(5);
    let x = p.input("x", Elem::F32, &[2, 3], Clock::Stream);
    let (w, slope) = (p.param("w", &[3, 4]), p.param("slope", &[4]));
    let mut b = p.b();
    let shape = dims(&[2, 4]);
    let zero = b.number(0.0);
    let zeros = b.broadcast(zero, &shape);
    let ty = Type::new(Elem::F32, shape.clone(), Clock::Stream);
    let prev_u = b.open_delay(Op::Prev, ty.clone(), zeros);
    let prev_z = b.open_delay(Op::Prev, ty, zeros);
    let (kept, current) = (b.scale(prev_u, 0.8), b.matmul(x, w));
    let u = b.add(kept, current);
    let u = b.sub(u, prev_z);
    let v = b.add_number(u, -1.0);
    let one = b.number(1.0);
    let step = b.choose(Pointwise::Gt, v, zero, one, zero);
    let slope = b.broadcast(slope, &shape);
    let steep = b.mul(slope, v);
    let g = b.unary(Pointwise::Tanh, steep);
    let (stopped_g, stopped_step) = (b.push(Op::Sg, vec![g]), b.push(Op::Sg, vec![step]));
    let z = b.sub(g, stopped_g);
    let z = b.add(z, stopped_step);
    b.close(prev_u, u);
    b.close(prev_z, z);
    p.output("z", z);
    p.loss(z);
    let normal = check(&p.graph, &mut Random(23));
    assert_eq!(count(&normal, &Op::Bypass), 1);
    assert_eq!(count(&normal, &Op::Sg), 0);
    let erased = erase(normal);
    assert_eq!(count(&erased, &Op::Map(Pointwise::Tanh)), 0);
    assert!(!erased.ids().any(|id| erased.node(id).op == Op::Param(1)));
}

#[test]
fn long_chains_stay_small() {
    let (mut p, leaves) = operands();
    let mut b = p.b();
    let mut sum = leaves[0].1;
    for i in 0..300 {
        let scaled = b.scale(leaves[1].1, f64::from(i) + 1.5);
        let g = b.unary(Pointwise::Tanh, scaled);
        let f = b.unary(Pointwise::Floor, scaled);
        let (stopped_g, stopped_f) = (b.push(Op::Sg, vec![g]), b.push(Op::Sg, vec![f]));
        sum = b.add(sum, g);
        sum = b.add(sum, stopped_f);
        sum = b.sub(sum, stopped_g);
    }
    p.loss(sum);
    let (normal, report) = simplify(&p.graph);
    assert_eq!(report.limit.as_deref(), Some("64 terms of a sum"));
    assert!(report.terms < 6_000, "{report:?}");
    assert_eq!(count(&erase(normal), &Op::Map(Pointwise::Tanh)), 0);
}

/// The normal form of a term is a pair: of the value, as it is computed, and the derivative, as a
/// linear form.
struct Normal {
    value: String,
    derivative: Form,
}

/// Products of factors and the derivative of an atom, with their coefficients.
type Form = BTreeMap<(Vec<String>, String), f64>;

impl Normal {
    /// Of the output `y`.
    fn new(normal: &Graph) -> Normal {
        let erased = erase(normal.clone());
        let y = |graph: &Graph| graph.root(Role::Output, "y").unwrap();
        let derivative = form(normal, &crate::ir::graph::dependence::live(normal), y(normal));
        Normal { value: shape(&erased, y(&erased)), derivative }
    }
}

/// The structure of a value, but for the order of sums and products. Numbers are multiplied out.
fn shape(graph: &Graph, id: NodeId) -> String {
    let mut terms = BTreeMap::new();
    shape_terms(graph, id, 1.0, &mut terms);
    let terms: Vec<String> = terms.iter().map(|(term, c)| format!("{c:.6} {term}")).collect();
    format!("({})", terms.join(" + "))
}

fn shape_terms(graph: &Graph, id: NodeId, sign: f64, terms: &mut BTreeMap<String, f64>) {
    use Pointwise::*;
    let node = graph.node(id);
    let args = &node.args;
    match node.op {
        _ if graph.as_number(id).is_some() => {
            *terms.entry(String::new()).or_default() += sign * graph.as_number(id).unwrap();
        }
        Op::Map(Add) => args.iter().for_each(|arg| shape_terms(graph, *arg, sign, terms)),
        Op::Map(Sub) => {
            shape_terms(graph, args[0], sign, terms);
            shape_terms(graph, args[1], -sign, terms);
        }
        Op::Map(Neg) => shape_terms(graph, args[0], -sign, terms),
        Op::Map(Mul) => {
            let (factor, mut factors) = factors(graph, id);
            factors.sort();
            *terms.entry(factors.join(" * ")).or_default() += sign * factor;
        }
        Op::Sg | Op::Bypass => shape_terms(graph, args[0], sign, terms),
        Op::Map(Select) if is_static(graph, args[0]) => shape_terms(graph, args[1], sign, terms),
        Op::Prev => *terms.entry("s".into()).or_default() += sign,
        ref op => {
            let args: Vec<String> = args.iter().map(|arg| shape(graph, *arg)).collect();
            *terms.entry(format!("{op:?}({})", args.join(", "))).or_default() += sign;
        }
    }
}

/// Whether a choice is between a static value, at each step, and nothing.
fn is_static(graph: &Graph, condition: NodeId) -> bool {
    shape(graph, condition).contains("TimeIndex")
}

/// A product of a number and other factors.
fn factors(graph: &Graph, id: NodeId) -> (f64, Vec<String>) {
    let node = graph.node(id);
    match node.op {
        _ if graph.as_number(id).is_some() => (graph.as_number(id).unwrap(), vec![]),
        Op::Map(Pointwise::Mul) => {
            let (a, b) = (factors(graph, node.args[0]), factors(graph, node.args[1]));
            (a.0 * b.0, [a.1, b.1].concat())
        }
        Op::Map(Pointwise::Neg) => {
            let (factor, factors) = factors(graph, node.args[0]);
            (-factor, factors)
        }
        Op::Sg | Op::Bypass => factors(graph, node.args[0]),
        Op::Map(Pointwise::Select) if is_static(graph, node.args[0]) => {
            factors(graph, node.args[1])
        }
        _ => (1.0, vec![shape(graph, id)]),
    }
}

fn form(graph: &Graph, live: &[bool], id: NodeId) -> Form {
    let mut form = Form::new();
    derive(graph, live, id, &[], 1.0, &mut form);
    form.values_mut().for_each(|coefficient| *coefficient = (*coefficient * 1e6).round() / 1e6);
    form.retain(|_, coefficient| *coefficient != 0.0);
    form
}

/// Adds `coefficient * factors * d(id)` to a form.
fn derive(
    graph: &Graph,
    live: &[bool],
    id: NodeId,
    factors: &[String],
    coefficient: f64,
    form: &mut Form,
) {
    use Pointwise::*;
    let node = graph.node(id);
    let args = &node.args;
    // The operand's derivative, through a linear operation called `around`.
    let mut through = |operand: usize, around: &dyn Fn(&str) -> String| {
        for ((product, atom), c) in self::form(graph, live, args[operand]) {
            let atom = around(&[&product[..], &[atom]].concat().join(" * "));
            *form.entry((factors.to_vec(), atom)).or_default() += coefficient * c;
        }
    };
    match &node.op {
        _ if !live[id.0 as usize] => {}
        Op::Sg => {}
        Op::Prev => *form.entry((factors.to_vec(), "s".into())).or_default() += coefficient,
        Op::Bypass => derive(graph, live, args[1], factors, coefficient, form),
        Op::Map(Select) if is_static(graph, args[0]) => {
            derive(graph, live, args[1], factors, coefficient, form)
        }
        Op::Map(Add) => {
            args.iter().for_each(|arg| derive(graph, live, *arg, factors, coefficient, form))
        }
        Op::Map(Sub) => {
            derive(graph, live, args[0], factors, coefficient, form);
            derive(graph, live, args[1], factors, -coefficient, form);
        }
        Op::Map(Neg) => derive(graph, live, args[0], factors, -coefficient, form),
        Op::Map(Mul) => {
            for (x, other) in [(args[0], args[1]), (args[1], args[0])] {
                for (product, c) in polynomial(graph, other) {
                    let mut product = [factors, &product].concat();
                    product.sort();
                    derive(graph, live, x, &product, coefficient * c, form);
                }
            }
        }
        Op::Map(Div) => {
            let by = format!("1 / {}", shape(graph, args[1]));
            let mut product = [factors, &[by]].concat();
            product.sort();
            derive(graph, live, args[0], &product, coefficient, form);
        }
        Op::MatMul => {
            for (product, c) in polynomial(graph, args[1]) {
                through(0, &|inner| format!("{c} {inner} @ {}", product.join(" * ")));
            }
            for (product, c) in polynomial(graph, args[0]) {
                through(1, &|inner| format!("{c} {} @ {inner}", product.join(" * ")));
            }
        }
        Op::Permute(_) | Op::Reduce(..) | Op::Broadcast(_) => {
            through(0, &|inner| format!("{:?}({inner})", node.op))
        }
        op => {
            let pair = |arg: &NodeId| {
                format!("{} {:?}", shape(graph, *arg), self::form(graph, live, *arg))
            };
            let pairs: Vec<String> = args.iter().map(pair).collect();
            let atom = format!("{op:?}({})", pairs.join(", "));
            *form.entry((factors.to_vec(), atom)).or_default() += coefficient;
        }
    }
}

/// The terms of a value, as products of factors.
fn polynomial(graph: &Graph, id: NodeId) -> BTreeMap<Vec<String>, f64> {
    use Pointwise::*;
    let node = graph.node(id);
    let args: Vec<_> = match node.op {
        Op::Map(Add | Sub | Neg | Mul) | Op::Sg | Op::Bypass => {
            node.args.iter().map(|arg| polynomial(graph, *arg)).collect()
        }
        _ => vec![],
    };
    let mut sum = BTreeMap::new();
    let mut add = |terms: &BTreeMap<Vec<String>, f64>, by: &[String], factor: f64| {
        for (product, c) in terms {
            let mut product = [product, by].concat();
            product.sort();
            *sum.entry(product).or_default() += c * factor;
        }
    };
    match node.op {
        _ if graph.as_number(id).is_some() => {
            return BTreeMap::from([(vec![], graph.as_number(id).unwrap())]);
        }
        Op::Sg | Op::Bypass => add(&args[0], &[], 1.0),
        Op::Map(Add) => args.iter().for_each(|arg| add(arg, &[], 1.0)),
        Op::Map(Sub) => [1.0, -1.0].iter().zip(&args).for_each(|(sign, arg)| add(arg, &[], *sign)),
        Op::Map(Neg) => add(&args[0], &[], -1.0),
        Op::Map(Mul) => args[1].iter().for_each(|(product, c)| add(&args[0], product, *c)),
        _ => add(&BTreeMap::from([(vec![shape(graph, id)], 1.0)]), &[], 1.0),
    }
    sum
}

/// Spellings of a bypass with the value of `{f}` and the derivative of `{g}`.
const BYPASS: &[&str] = &[
    "(bypass {f} {g})",
    "(add (sub {g} (sg {g})) (sg {f}))",
    "(sub (add (sg {f}) {g}) (sg {g}))",
    "(add (neg (sg {g})) (add (sg {f}) {g}))",
    "(add {g} (sub (sg {f}) (sg {g})))",
    "(add {g} (sg (sub {f} {g})))",
    "(sub (sg {f}) (sub (sg {g}) {g}))",
    "(sub {g} (sg (sub {g} {f})))",
    "(add (mul 2 (mul 0.5 (sub {g} (sg {g})))) (sg {f}))",
    "(add (sub (mul 2 {g}) (mul (sg {g}) 2)) (sg {f}))",
    "(bypass {f} (bypass z {g}))",
    "(bypass (bypass {f} y) {g})",
    "(bypass (sg {f}) (sub {g} (sg y)))",
    "(add (sg (bypass {f} z)) (sub {g} (sg {g})))",
];

/// Expressions in which `tanh` only ever serves a derivative, with the number of their surrogates.
fn expression() -> impl Strategy<Value = (String, usize)> {
    let leaf = prop::sample::select(vec!["x", "y", "z", "s", "0.5"]);
    let leaf = leaf.prop_map(|leaf| (leaf.to_string(), 0));
    leaf.prop_recursive(5, 40, 3, |inner| {
        let unary = prop::sample::select(vec!["sin", "sg", "neg", "sigmoid", "transpose", "sum"]);
        let binary = prop::sample::select(vec!["add", "sub", "mul", "@"]);
        let spelling = prop::sample::select(BYPASS);
        let injection = prop::bool::ANY;
        prop_oneof![
            // By chance, an `sg` makes a surrogate too.
            (unary, inner.clone())
                .prop_map(|(op, (x, n))| (format!("({op} {x})"), n + usize::from(op == "sg"))),
            (binary, inner.clone(), inner.clone())
                .prop_map(|(op, (a, n), (b, m))| (format!("({op} {a} {b})"), n + m)),
            // Away from where a rounding error decides.
            inner.clone().prop_map(|(x, n)| (format!("(floor (add {x} 0.31234567))"), n)),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|((c, k), (a, n), (b, m))| {
                (format!("(select (gt {c} 0.12345678) {a} {b})"), k + n + m)
            }),
            (spelling, injection, inner.clone(), inner).prop_map(
                |(spelling, inject, (f, n), (x, m))| {
                    let g = match inject {
                        true => format!("(mul {x} (sg (tanh {f})))"),
                        false => format!("(tanh {x})"),
                    };
                    (spelling.replace("{f}", &f).replace("{g}", &g), n + m + 1)
                }
            ),
        ]
    })
}

/// The term in a recurrence: `s` is its state, `y` a stream.
fn in_time(text: &str) -> Graph {
    let mut p = Program::stream(3);
    let y = p.input("y", Elem::F32, &[3, 3], Clock::Stream);
    let [x, z] = ["x", "z"].map(|name| p.param(name, &[3, 3]));
    let mut b = p.b();
    let ty = Type::new(Elem::F32, dims(&[3, 3]), Clock::Stream);
    let s = b.open_delay(Op::Prev, ty, z);
    let node = build(&mut b, &[("x", x), ("y", y), ("z", z), ("s", s)], text);
    let node = b.add(node, y);
    let state = b.unary(Pointwise::Sigmoid, node);
    b.close(s, state);
    p.output("y", node);
    p.loss(node);
    p.graph
}

proptest! {
    #[test]
    fn every_program_has_its_normal_form((text, surrogates) in expression()) {
        let graph = in_time(&text);
        let normal = check(&graph, &mut Random(29));
        // A value of zero is no surrogate's.
        let value = |id: NodeId| normal.as_number(normal.node(id).args[0]);
        let is_surrogate = |id: &NodeId| normal.node(*id).op == Op::Bypass && value(*id).is_none();
        prop_assert!(normal.ids().filter(is_surrogate).count() <= surrogates, "{normal}");
        prop_assert_eq!(count(&erase(normal), &Op::Map(Pointwise::Tanh)), 0);
    }

    /// With limits that every program runs into.
    #[test]
    fn a_limited_search_is_right((text, _) in expression(), sum in 1_usize..4, rounds in 1_usize..3) {
        let graph = in_time(&text);
        let (normal, _) = simplify_within(&graph, Limits { sum, rounds });
        assert_means_the_same(&normal, &graph, &mut Random(31));
    }
}

/// Terms that the laws make equal, whatever the letters stand for. The derivative of `tanh` alone is
/// used.
const EQUAL: &[(&str, &str)] = &[
    ("(add A B)", "(add B A)"),
    ("(add (add A B) C)", "(add A (add C B))"),
    ("(mul A B)", "(mul B A)"),
    ("A", "(bypass A A)"),
    ("(sg (mul A B))", "(mul (sg B) (sg A))"),
    ("(sg (add A B))", "(add (sg A) (sg B))"),
    ("(sg (sin A))", "(sin (sg A))"),
    ("(sg (sg A))", "(sg A)"),
    ("(sg (bypass A (tanh B)))", "(sg A)"),
    ("(mul 2 (bypass A (tanh B)))", "(bypass (mul 2 A) (mul 2 (tanh B)))"),
    ("(mul 2 (bypass A (tanh B)))", "(sub (mul 2 (add (tanh B) (sg A))) (mul 2 (sg (tanh B))))"),
    (
        "(mul (sg C) (bypass A (tanh B)))",
        "(sub (mul (sg C) (add (tanh B) (sg A))) (sg (mul C (tanh B))))",
    ),
    ("(mul C (sub (tanh B) (sg (tanh B))))", "(mul (sg C) (sub (tanh B) (sg (tanh B))))"),
    ("(mul C (sub (tanh B) (sg (tanh B))))", "(sub (mul (sg C) (tanh B)) (sg (mul C (tanh B))))"),
    ("(add (bypass A (tanh B)) C)", "(bypass (add A C) (add (tanh B) C))"),
    ("(add (bypass A (tanh B)) C)", "(sub (add (add (tanh B) C) (sg A)) (sg (tanh B)))"),
    ("(add (bypass A (tanh B)) C)", "(add (tanh B) (sub (add C (sg A)) (sg (tanh B))))"),
    (
        "(transpose (bypass A (tanh B)))",
        "(sub (transpose (add (sg A) (tanh B))) (sg (transpose (tanh B))))",
    ),
    ("(sum (bypass A (tanh B)))", "(bypass (sum A) (sum (tanh B)))"),
    (
        "(@ (bypass A (tanh B)) (sg C))",
        "(sub (@ (add (tanh B) (sg A)) (sg C)) (sg (@ (tanh B) C)))",
    ),
    ("(div (bypass A (tanh B)) (sg C))", "(bypass (div A (sg C)) (div (tanh B) (sg C)))"),
    (
        "(bypass A (mul 2 (tanh B)))",
        "(add (sub (sub (mul 2 (tanh B)) (sg (tanh B))) (sg (tanh B))) (sg A))",
    ),
    ("(bypass A (bypass C (tanh B)))", "(bypass (bypass A C) (tanh B))"),
    ("(bypass A (add (tanh B) (sg C)))", "(bypass A (tanh B))"),
    ("(add A (sub (tanh B) (sg (tanh B))))", "(bypass A (add A (tanh B)))"),
    (
        "(mul C (add A (sub (tanh B) (sg (tanh B)))))",
        "(sub (mul C (add A (tanh B))) (mul C (sg (tanh B))))",
    ),
];

/// Pairs of equal expressions. Ordinary sums have no terms of opposite sign.
fn equals() -> impl Strategy<Value = (String, String)> {
    let leaf = prop::sample::select(vec!["x", "y", "z", "s", "0.5"]);
    let leaf = leaf.prop_map(|leaf| (leaf.to_string(), leaf.to_string()));
    leaf.prop_recursive(3, 20, 3, |inner| {
        let function = prop::sample::select(vec!["(sin A)", "(@ A B)", "(atan2 A B)"]);
        let function = function.prop_map(|text| (text.to_string(), text.to_string()));
        let equal = prop::sample::select(EQUAL).prop_map(|(a, b)| (a.to_string(), b.to_string()));
        let doubles = |spelling: &&str| spelling.contains("(mul 2 {g})");
        let single: Vec<&str> = BYPASS.iter().copied().filter(|s| !doubles(s)).collect();
        let spelling = || prop::sample::select(single.clone()).prop_map(str::to_string);
        let letters =
            |text: String| text.replace("{f}", "A").replace("{g}", "(mul B (sg (tanh A)))");
        let spellings = (spelling(), spelling()).prop_map(move |(a, b)| (letters(a), letters(b)));
        let pattern = prop_oneof![1 => function, 4 => equal, 2 => spellings];
        (pattern, inner.clone(), inner.clone(), inner).prop_map(|((left, right), a, b, c)| {
            let fill = |text: String, a: &str, b: &str, c: &str| {
                // The derivative of a constant is nothing to take apart.
                let b = format!("(add {b} y)");
                text.replace('A', a).replace('B', &b).replace('C', c)
            };
            (fill(left, &a.0, &b.0, &c.0), fill(right, &a.1, &b.1, &c.1))
        })
    })
}

proptest! {
    #[test]
    fn equal_terms_have_one_normal_form((left, right) in equals()) {
        let [left, right] = [left, right].map(|text| simplify(&in_time(&text)).0);
        prop_assert_eq!(count(&erase(left.clone()), &Op::Map(Pointwise::Tanh)), 0);
        let [left, right] = [left, right].map(|graph| Normal::new(&graph));
        prop_assert_eq!(left.value, right.value);
        prop_assert_eq!(left.derivative, right.derivative);
    }
}

/// A cell with surrogates in lets and functions, and a memory that only carries a derivative.
const CELL: &str = "
fn hat(v) = exp(-abs(v));
fn carrier(v) { let h = v * sg(hat(v)); h - sg(h) }
fn spike(v) = step(v) + carrier(v);
layer cell[N](x: [B, N]) {
    let u     = 0.9 * prev(u) + x - prev(z);
    let trace = 0.5 * prev(trace) + 2 * carrier(u);
    let kept  = prev(spike(u) - sg(step(u)));
    let z     = spike(u - 1) + trace - kept;
    z
}
graph net(x: [T; B, 3]) -> (loss, y) {
    let y    = cell[3](x);
    let loss = sum(time_sum(y * y));
}";

#[test]
fn what_only_carries_a_derivative_through_time_is_not_computed_forward() {
    let compiled = |gradients| {
        let options = crate::Options { gradients, ..crate::Options::default() };
        crate::compile("cell.fgi", CELL, &crate::source::NoFiles, &options, &mut |_| {}).unwrap()
    };
    let wrt = Some(vec!["x".into()]);
    let with = compiled(Some(crate::Gradients { output: "loss".into(), wrt }));
    let without = compiled(None);
    let (_, forward) = without.graphs.last().unwrap();
    assert_eq!(count(forward, &Op::Prev), 2, "u and z:\n{forward}");
    assert_eq!(count(forward, &Op::Map(Pointwise::Exp)), 0, "{forward}");
    assert_eq!(count(forward, &Op::Map(Pointwise::Abs)), 0, "{forward}");
    let (_, written) = &with.graphs[0];
    let (_, joint) = with.graphs.last().unwrap();
    let sizes = Bindings::from([("T".into(), 5), ("B".into(), 2)]);
    let mut values = Random(37).values(&{
        let mut graph = written.clone().into_inner();
        let fixed = Dim::constant;
        graph.time = Some(fixed(5));
        graph.inputs[0].ty.dims = vec![fixed(2), fixed(3)];
        graph
    });
    let directions = BTreeMap::from([("x".to_string(), values.remove("x").unwrap())]);
    let values = BTreeMap::from([("x".to_string(), directions["x"].clone())]);
    let (_, tangent) = interpret_dual(written, &sizes, &values, &directions).unwrap();
    let gradient = interpret(joint, &sizes, &values).unwrap();
    let products = gradient.gradient("x").unwrap().data.iter().zip(&directions["x"].data);
    let slope: f64 = products.map(|(a, b)| a * b).sum();
    assert_close(&[slope], &tangent.output("loss").unwrap().data, "the derivative of the loss");
}

#[test]
fn a_limit_is_reported() {
    let graph = in_time("(add (sub (tanh x) (sg (tanh x))) (add (sg y) (add z x)))");
    let (_, report) = simplify_within(&graph, Limits { sum: 2, rounds: 16 });
    assert_eq!(report.limit.as_deref(), Some("2 terms of a sum"));
    assert!(report.to_string().ends_with("stopped at 2 terms of a sum"), "{report}");
    let (_, report) = simplify(&graph);
    assert!(report.to_string().ends_with("all laws exhausted"), "{report}");
}
