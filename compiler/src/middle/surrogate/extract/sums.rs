//! Sums as they were written, and the terms of them that cancel.
//!
//! Two terms cancel if their values are equal, of opposite sign, and a stop is what they differ in:
//! one has a derivative and the other has none, or one of them stands under an `sg`. What an ordinary
//! sum adds and subtracts stays. Where only a part of a product cancels, `2 * (g + f) - 2 * sg(g)`,
//! the product is opened: its terms are those of the sum in it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::Normal;
use crate::ir::graph::{Elem, NodeId, Op, Pointwise};
use crate::middle::surrogate::values::{Product, Value, rounded};

/// A sum as it was written.
pub struct Tree {
    kind: Kind,
    pub terms: Vec<Term>,
}

#[derive(Clone)]
enum Kind {
    /// The node of a value, and the node of the program that it comes from.
    Node(NodeId, NodeId),
    Neg(Rc<Tree>),
    Add(Rc<Tree>, Rc<Tree>),
    Sub(Rc<Tree>, Rc<Tree>),
    /// A node of the program, linear in each of these operands. Its terms are all combinations of
    /// theirs.
    Applied(NodeId, Vec<Rc<Tree>>),
}

/// A term of a sum.
#[derive(Clone)]
pub struct Term {
    /// With its sign.
    pub value: Value,
    pub has_derivative: bool,
    /// The `sg` or `bypass` that it, or a factor of it, is under.
    pub stop: Option<NodeId>,
    /// The stop took a derivative away.
    pub is_cut: bool,
    /// The node for value and derivative, of a node that a surrogate takes part in.
    pub surrogate: Option<NodeId>,
    /// It is a product with a sum in it.
    pub opens: bool,
    /// It is a sum too long to look into.
    pub is_shortened: bool,
}

impl Term {
    fn is_literal(&self) -> bool {
        self.value.as_number().is_some()
    }

    fn negated(&self) -> Term {
        Term { value: self.value.negated(), ..self.clone() }
    }

    /// Whether a stop is what the terms differ in. `across` says that they come from both operands
    /// of the sum that is looked at; within each it was decided before.
    fn differs(&self, other: &Term, across: bool) -> bool {
        match (self.has_derivative, other.has_derivative) {
            (true, true) => {
                let cut = |term: &Term| term.stop.filter(|_| term.is_cut);
                (self.surrogate, cut(self)) != (other.surrogate, cut(other))
            }
            (false, false) => {
                let is_stopped = self.stop.is_some() || other.stop.is_some();
                is_stopped && (across || self.stop != other.stop)
            }
            _ => true,
        }
    }
}

impl Tree {
    pub fn node(value: NodeId, source: NodeId, term: Term) -> Rc<Tree> {
        Rc::new(Tree { kind: Kind::Node(value, source), terms: vec![term] })
    }

    /// The tree under an `sg`.
    pub fn stopped(&self, stop: NodeId) -> Rc<Tree> {
        let kind = match &self.kind {
            Kind::Node(value, source) => Kind::Node(*value, *source),
            Kind::Neg(x) => Kind::Neg(x.stopped(stop)),
            Kind::Add(a, b) => Kind::Add(a.stopped(stop), b.stopped(stop)),
            Kind::Sub(a, b) => Kind::Sub(a.stopped(stop), b.stopped(stop)),
            Kind::Applied(source, parts) => {
                Kind::Applied(*source, parts.iter().map(|part| part.stopped(stop)).collect())
            }
        };
        let stopped = |term: &Term| Term {
            has_derivative: false,
            stop: Some(stop),
            is_cut: term.is_cut || term.has_derivative,
            surrogate: None,
            ..term.clone()
        };
        Rc::new(Tree { kind, terms: self.terms.iter().map(stopped).collect() })
    }
}

/// The sum of what is left of the operands.
pub fn combine(op: &Op, parts: Vec<Option<Rc<Tree>>>) -> Option<Rc<Tree>> {
    let is_sub = *op == Op::Map(Pointwise::Sub);
    let negated = |tree: &Tree| tree.terms.iter().map(Term::negated).collect::<Vec<_>>();
    let (kind, terms) = match &parts[..] {
        [Some(a), Some(b)] if is_sub => {
            (Kind::Sub(a.clone(), b.clone()), [a.terms.clone(), negated(b)].concat())
        }
        [Some(a), Some(b)] => {
            (Kind::Add(a.clone(), b.clone()), [a.terms.clone(), b.terms.clone()].concat())
        }
        [Some(x)] => (Kind::Neg(x.clone()), negated(x)),
        [None, Some(x)] if is_sub => {
            if let Kind::Neg(x) = &x.kind {
                return Some(x.clone());
            }
            (Kind::Neg(x.clone()), negated(x))
        }
        [Some(x), None] | [None, Some(x)] => return Some(x.clone()),
        _ => return None,
    };
    Some(Rc::new(Tree { kind, terms }))
}

/// What is left of a sum.
pub struct Rest {
    pub tree: Option<Rc<Tree>>,
    pub is_shorter: bool,
    /// Terms of opposite sign meet that no stop is between.
    pub is_ordinary: bool,
}

impl Normal<'_> {
    /// The operands in which a node is linear, each by itself.
    fn linear_operands(&self, source: NodeId) -> Vec<usize> {
        let node = self.b.graph().node(source);
        match node.op.linear_in(node.args.len())[..] {
            _ if node.ty.elem != Elem::F32 => vec![],
            [ref only] if *only == [0] => vec![0],
            [_, _] => vec![0, 1],
            _ => vec![],
        }
    }

    pub fn opens(&self, source: NodeId) -> bool {
        let args = &self.b.graph().node(source).args;
        self.linear_operands(source).into_iter().any(|place| {
            let tree = self.reading(args[place]).tree.as_ref();
            tree.is_some_and(|tree| tree.terms.len() > 1 || tree.terms[0].opens)
        })
    }

    /// The sum of two operands without the terms that cancel.
    pub fn cancel(&mut self, op: &Op, mut a: Rc<Tree>, mut b: Rc<Tree>) -> Rest {
        loop {
            let Some(tree) = combine(op, vec![Some(a.clone()), Some(b.clone())]) else {
                return Rest { tree: None, is_shorter: false, is_ordinary: false };
            };
            let across = a.terms.len();
            let Cancelled { gone, collected } = cancelled(&tree.terms, across);
            let opening = opening(&tree.terms, &gone, across);
            if opening.contains(&true) {
                a = self.open(&a, &opening[..across]);
                b = self.open(&b, &opening[across..]);
                continue;
            }
            let is_ordinary = is_ordinary(&tree.terms, &gone, across);
            let is_shorter = gone.contains(&true);
            let mut rest = self.without(&tree, &gone);
            for group in collected {
                rest = Some(self.collect(&tree, &group, rest));
            }
            return Rest { tree: rest, is_shorter, is_ordinary };
        }
    }

    /// The products at these places as sums.
    fn open(&mut self, tree: &Rc<Tree>, places: &[bool]) -> Rc<Tree> {
        if !places.contains(&true) {
            return tree.clone();
        }
        let opened = match &tree.kind {
            Kind::Node(_, source) => {
                let args = self.b.graph().node(*source).args.clone();
                let places = self.linear_operands(*source).into_iter();
                let parts: Option<Vec<_>> =
                    places.map(|place| self.reading(args[place]).tree.clone()).collect();
                let stop = tree.terms[0].stop;
                let parts = parts.map(|parts| {
                    let part =
                        |part: Rc<Tree>| stop.map_or(part.clone(), |stop| part.stopped(stop));
                    parts.into_iter().map(part).collect()
                });
                parts.and_then(|parts| self.apply(*source, parts))
            }
            Kind::Neg(x) => combine(&Op::Map(Pointwise::Neg), vec![Some(self.open(x, places))]),
            Kind::Add(a, b) | Kind::Sub(a, b) => {
                let (left, right) = places.split_at(a.terms.len());
                let parts = vec![Some(self.open(a, left)), Some(self.open(b, right))];
                let is_add = matches!(tree.kind, Kind::Add(..));
                let op = if is_add { Pointwise::Add } else { Pointwise::Sub };
                combine(&Op::Map(op), parts)
            }
            Kind::Applied(source, parts) => {
                let mut opened = Vec::new();
                for (part, tree) in parts.iter().enumerate() {
                    let mut inner = vec![false; tree.terms.len()];
                    for (place, _) in places.iter().enumerate().filter(|(_, opens)| **opens) {
                        let inner_place = split(parts, place)[part];
                        inner[inner_place] = tree.terms[inner_place].opens;
                    }
                    opened.push(self.open(tree, &inner));
                }
                self.apply(*source, opened)
            }
        };
        opened.unwrap_or_else(|| {
            let closed = |(term, opens): (&Term, &bool)| Term {
                opens: term.opens && !opens,
                ..term.clone()
            };
            let terms = tree.terms.iter().zip(places).map(closed).collect();
            Rc::new(Tree { kind: tree.kind.clone(), terms })
        })
    }

    /// A linear operation on sums, if that is not too long.
    fn apply(&mut self, source: NodeId, parts: Vec<Rc<Tree>>) -> Option<Rc<Tree>> {
        let count = parts.iter().map(|part| part.terms.len()).product();
        if count > self.limits.sum {
            self.report.limit.get_or_insert_with(|| format!("{} terms of a sum", self.limits.sum));
            return None;
        }
        let places = self.linear_operands(source);
        let args = self.b.graph().node(source).args.clone();
        let given: Vec<Value> =
            args.iter().map(|arg| self.reading(*arg).canonical.clone()).collect();
        let others_differ = (0..args.len()).any(|place| {
            !places.contains(&place) && self.reading(args[place]).derivative.is_some()
        });
        let mut terms = Vec::new();
        for place in 0..count {
            let factors: Vec<&Term> = (split(&parts, place).into_iter().zip(&parts))
                .map(|(place, part)| &part.terms[place])
                .collect();
            let mut values = given.clone();
            for (&place, factor) in places.iter().zip(&factors) {
                values[place] = factor.value.clone();
            }
            let cut = factors.iter().find(|factor| factor.is_cut);
            let stop = cut.or(factors.iter().find(|factor| factor.stop.is_some()));
            let stop = stop.and_then(|factor| factor.stop);
            terms.push(Term {
                value: self.atoms.operation(self.b.graph(), source, &values),
                has_derivative: factors.iter().any(|factor| factor.has_derivative)
                    || (others_differ && stop.is_none()),
                stop,
                is_cut: cut.is_some(),
                surrogate: factors.iter().find_map(|factor| factor.surrogate),
                opens: factors.iter().any(|factor| factor.opens),
                is_shortened: false,
            });
        }
        Some(Rc::new(Tree { kind: Kind::Applied(source, parts), terms }))
    }

    /// The tree without these terms.
    fn without(&mut self, tree: &Rc<Tree>, gone: &[bool]) -> Option<Rc<Tree>> {
        if !gone.contains(&true) {
            return Some(tree.clone());
        }
        if !gone.contains(&false) {
            return None;
        }
        match &tree.kind {
            Kind::Node(..) => None,
            Kind::Neg(x) => combine(&Op::Map(Pointwise::Neg), vec![self.without(x, gone)]),
            Kind::Add(a, b) | Kind::Sub(a, b) => {
                let (left, right) = gone.split_at(a.terms.len());
                let parts = vec![self.without(a, left), self.without(b, right)];
                let is_add = matches!(tree.kind, Kind::Add(..));
                let op = if is_add { Pointwise::Add } else { Pointwise::Sub };
                combine(&Op::Map(op), parts)
            }
            Kind::Applied(source, parts) => match &parts[..] {
                [x] => {
                    let x = self.without(x, gone)?;
                    self.apply(*source, vec![x])
                }
                [a, b] => self.product_without(*source, a, b, gone),
                _ => None,
            },
        }
    }

    /// A product of two sums: if the same terms of one are gone with every term of the other, that
    /// one is shorter; else the product is distributed over the terms of the second.
    fn product_without(
        &mut self,
        source: NodeId,
        a: &Rc<Tree>,
        b: &Rc<Tree>,
        gone: &[bool],
    ) -> Option<Rc<Tree>> {
        let rows: Vec<&[bool]> = gone.chunks(b.terms.len()).collect();
        if rows.iter().all(|row| row == &rows[0]) {
            let b = self.without(b, rows[0])?;
            return self.apply(source, vec![a.clone(), b]);
        }
        if rows.iter().all(|row| row.iter().all(|gone| *gone == row[0])) {
            let gone: Vec<bool> = rows.iter().map(|row| row[0]).collect();
            let a = self.without(a, &gone)?;
            return self.apply(source, vec![a, b.clone()]);
        }
        let mut sum = None;
        for place in 0..b.terms.len() {
            let column: Vec<bool> = rows.iter().map(|row| row[place]).collect();
            let others: Vec<bool> = (0..b.terms.len()).map(|other| other != place).collect();
            if let (Some(a), Some(b)) = (self.without(a, &column), self.without(b, &others)) {
                let part = self.apply(source, vec![a, b]);
                sum = combine(&Op::Map(Pointwise::Add), vec![sum, part]);
            }
        }
        sum
    }

    /// The rest with what a group of terms amounts to, which are multiples of one product.
    fn collect(&mut self, tree: &Rc<Tree>, group: &[usize], rest: Option<Rc<Tree>>) -> Rc<Tree> {
        let members = || group.iter().map(|place| &tree.terms[*place]);
        let coefficient = |term: &Term| term.value.single().map_or(0.0, |(_, c)| c);
        let total = members().map(coefficient).fold(0.0, |sum, c| rounded(sum + c));
        let mut bases = Vec::new();
        for &place in group {
            let others: Vec<bool> = (0..tree.terms.len()).map(|other| other != place).collect();
            let node = self.without(tree, &others).and_then(|term| self.value(&term));
            bases.extend(node.map(|node| self.base(node, coefficient(&tree.terms[place]))));
        }
        let plain = bases.iter().find(|(_, coefficient)| coefficient.abs() == 1.0);
        let (node, factor) = plain.or(bases.first()).copied().unwrap_or((NodeId(0), 1.0));
        let factor = total / factor;
        let node = if factor.abs() == 1.0 { node } else { self.b.scale(node, factor.abs()) };
        let first = &tree.terms[group[0]];
        let value = match factor < 0.0 {
            true => first.value.scaled(-total / coefficient(first)),
            false => first.value.scaled(total / coefficient(first)),
        };
        let term = Term {
            value,
            has_derivative: members().any(|term| term.has_derivative),
            stop: members().find_map(|term| term.stop),
            is_cut: members().any(|term| term.is_cut),
            surrogate: members().find_map(|term| term.surrogate),
            opens: false,
            is_shortened: false,
        };
        let op = if factor < 0.0 { Pointwise::Sub } else { Pointwise::Add };
        let tree = Tree::node(node, node, term);
        combine(&Op::Map(op), vec![rest, Some(tree.clone())]).unwrap_or(tree)
    }

    /// A node without its literal factors, and what it is to be multiplied with.
    fn base(&self, node: NodeId, coefficient: f64) -> (NodeId, f64) {
        let graph = self.b.graph();
        let args = &graph.node(node).args;
        let op = &graph.node(node).op;
        if *op == Op::Map(Pointwise::Neg) {
            return self.base(args[0], -coefficient);
        }
        if *op != Op::Map(Pointwise::Mul) {
            return (node, coefficient);
        }
        match (graph.as_number(args[0]), graph.as_number(args[1])) {
            (Some(number), None) => self.base(args[1], coefficient / number),
            (None, Some(number)) => self.base(args[0], coefficient / number),
            _ => (node, coefficient),
        }
    }

    /// The node of a sum; `None` if it is zero.
    pub fn value(&mut self, tree: &Tree) -> Option<NodeId> {
        let (op, parts) = match &tree.kind {
            Kind::Node(value, _) => return Some(*value),
            Kind::Neg(x) => (Pointwise::Neg, vec![x]),
            Kind::Add(a, b) => (Pointwise::Add, vec![a, b]),
            Kind::Sub(a, b) => (Pointwise::Sub, vec![a, b]),
            Kind::Applied(source, parts) => {
                let node = self.b.graph().node(*source).clone();
                let mut args: Vec<_> =
                    node.args.iter().map(|arg| self.reading(*arg).value).collect();
                for (place, part) in self.linear_operands(*source).into_iter().zip(parts) {
                    args[place] = Some(self.value(part)?);
                }
                return Some(self.operation(&node, args));
            }
        };
        let parts = parts.into_iter().map(|part| self.value(part)).collect();
        self.sum(&Op::Map(op), parts)
    }

    /// A sum too long to look through, with its first half as one term.
    pub fn shorten(&mut self, tree: &Rc<Tree>, like: NodeId) -> Rc<Tree> {
        let (op, mut parts) = match &tree.kind {
            Kind::Node(..) | Kind::Applied(..) => return tree.clone(),
            Kind::Neg(x) => (Pointwise::Neg, vec![Some(x.clone())]),
            Kind::Add(a, b) => (Pointwise::Add, vec![Some(a.clone()), Some(b.clone())]),
            Kind::Sub(a, b) => (Pointwise::Sub, vec![Some(a.clone()), Some(b.clone())]),
        };
        if tree.terms.len() <= self.limits.half_sum() {
            let node = self.value(tree).unwrap_or_else(|| self.b.full_like(0.0, like));
            let term = Term {
                value: self.atoms.node(node),
                has_derivative: tree.terms.iter().any(|term| term.has_derivative),
                stop: None,
                is_cut: false,
                surrogate: None,
                opens: false,
                is_shortened: true,
            };
            return Tree::node(node, node, term);
        }
        let longest = parts.iter_mut().flatten().rev().max_by_key(|part| part.terms.len());
        if let Some(part) = longest {
            *part = self.shorten(part, like);
        }
        combine(&Op::Map(op), parts).unwrap_or_else(|| tree.clone())
    }
}

/// The place in each part that a combination is made of.
fn split(parts: &[Rc<Tree>], place: usize) -> Vec<usize> {
    match parts {
        [a, b] => {
            debug_assert!(place < a.terms.len() * b.terms.len());
            vec![place / b.terms.len(), place % b.terms.len()]
        }
        _ => vec![place],
    }
}

struct Cancelled {
    gone: Vec<bool>,
    /// Groups of terms, gone as well, that do not amount to nothing.
    collected: Vec<Vec<usize>>,
}

fn cancelled(terms: &[Term], across: usize) -> Cancelled {
    let mut gone = vec![false; terms.len()];
    let differs = |a: usize, b: usize| terms[a].differs(&terms[b], (a < across) != (b < across));
    let mut places: HashMap<&Value, Vec<usize>> = HashMap::new();
    for (place, term) in terms.iter().enumerate() {
        places.entry(&term.value).or_default().push(place);
    }
    let opposite = |place: usize| places.get(&terms[place].value.negated());
    // A term and the stop of it, before two that are stopped.
    for tangents in [true, false] {
        for place in (0..terms.len()).filter(|place| !terms[*place].is_literal()) {
            let fits = |&&other: &&usize| {
                let is_tangent = terms[place].has_derivative != terms[other].has_derivative;
                !gone[other] && (is_tangent || !tangents) && differs(place, other)
            };
            if !gone[place]
                && let Some(&other) = opposite(place).and_then(|o| o.iter().find(fits))
            {
                (gone[place], gone[other]) = (true, true);
            }
        }
    }
    let collected = collected(terms, &mut gone, &differs);
    // A literal goes with the terms that it was stopped with.
    for place in (0..terms.len()).filter(|place| terms[*place].is_literal()) {
        let Some(stop) = terms[place].stop.filter(|_| !gone[place]) else { continue };
        let is_left =
            |(term, gone): (&Term, &bool)| !gone && term.stop == Some(stop) && !term.is_literal();
        let fits = |&&other: &&usize| !gone[other] && differs(place, other);
        if !terms.iter().zip(&gone).any(is_left)
            && let Some(&other) = opposite(place).and_then(|others| others.iter().find(fits))
        {
            (gone[place], gone[other]) = (true, true);
        }
    }
    Cancelled { gone, collected }
}

/// Multiples of one product with coefficients of both signs, where a stop is between two of them.
fn collected(
    terms: &[Term],
    gone: &mut [bool],
    differs: &impl Fn(usize, usize) -> bool,
) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&Product, Vec<usize>> = BTreeMap::new();
    for place in (0..terms.len()).filter(|place| !gone[*place]) {
        if let Some((product, _)) = terms[place].value.single().filter(|(p, _)| !p.is_empty()) {
            groups.entry(product).or_default().push(place);
        }
    }
    let coefficient = |place: &usize| terms[*place].value.single().map_or(0.0, |(_, c)| c);
    let mut collected = Vec::new();
    for group in groups.into_values() {
        let differ = |a: usize, b: usize| coefficient(&a) * coefficient(&b) < 0.0 && differs(a, b);
        let total = group.iter().map(coefficient).fold(0.0, |sum, c| rounded(sum + c));
        let is_mixed = group.iter().any(|&a| group.iter().any(|&b| a < b && differ(a, b)));
        if is_mixed && total.is_finite() {
            group.iter().for_each(|place| gone[*place] = true);
            if total != 0.0 {
                collected.push(group);
            }
        }
    }
    collected
}

/// The products in which a part may cancel with another term.
fn opening(terms: &[Term], gone: &[bool], across: usize) -> Vec<bool> {
    let meets = |a: usize, b: usize| {
        let across = (a < across) != (b < across);
        a != b
            && !gone[b]
            && terms[a].differs(&terms[b], across)
            && terms[a].value.meets(&terms[b].value)
    };
    let opens = |place: usize| {
        !gone[place] && terms[place].opens && (0..terms.len()).any(|other| meets(place, other))
    };
    (0..terms.len()).map(opens).collect()
}

fn is_ordinary(terms: &[Term], gone: &[bool], across: usize) -> bool {
    let left = |range: std::ops::Range<usize>| {
        range.filter(|place| !gone[*place] && terms[*place].stop.is_none())
    };
    left(0..across).any(|a| {
        left(across..terms.len())
            .any(|b| !terms[a].differs(&terms[b], true) && terms[a].value.meets(&terms[b].value))
    })
}
