//! Gradients against central differences of the program as it was written, with every `sg` held at
//! its base value: a comparison under `sg`, such as a spike's, cannot jump. A jump or a kink
//! elsewhere is seen (a decision comes out otherwise than at the base) and avoided by smaller steps;
//! where no step avoids it, the row says so.

use crate::ir::graph::interpret::{
    Fault, Frozen, InterpretError, Tensor, Values, interpret_freezing, interpret_frozen,
};
use crate::ir::graph::{Bindings, Graph, NodeId, Role};
use crate::ir::{Verified, verify};
use crate::source::Span;

/// How gradients were computed that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// In f64: each derivative is exact to its own rounding.
    F64,
    /// In f32: a derivative is a sum of terms that may be far larger than itself, and as uncertain as
    /// they are. It is compared relative to the largest derivative of its tensor.
    F32,
}

impl Precision {
    /// The relative difference from which on two derivatives are different.
    pub const fn tolerance(self) -> f64 {
        match self {
            Precision::F64 => 1e-5,
            Precision::F32 => 1e-3,
        }
    }
}

/// Up to this many elements each is checked; of more, a sample and some random directions.
const ALL: usize = 32;
const SAMPLE: usize = 16;
const DIRECTIONS: usize = 4;

/// Relative to the size of what is moved, or to 1. The first is best for a smooth function of order 1.
const STEPS: [f64; 5] = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8];

/// The rounding error of a program's value, in units of its last place.
const NOISE: f64 = 32.0;

/// What came of one parameter or input.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The parameter's path or the input's name.
    pub path: String,
    /// Elements of the tensor, and how many derivatives of it were compared.
    pub elements: usize,
    /// Derivatives of it that were compared, in elements and random directions.
    pub checked: usize,
    /// The largest difference.
    pub worst_absolute: f64,
    /// The largest difference relative to the largest derivative of the tensor. What the finite
    /// difference is itself uncertain of is in it.
    pub worst_relative: f64,
    /// Whether a difference is more than that uncertainty explains.
    pub verdict: Verdict,
}

/// What a comparison came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Every derivative that was tested is the difference's, to [`Precision::tolerance`]; some may not
    /// have been, for these reasons.
    Agrees(Vec<Untested>),
    /// Some derivative is not the difference's.
    Differs,
    /// So many elements of the gradient are infinite or no number.
    NotFinite(usize),
    /// Nothing is known of any derivative, for these reasons.
    NotTested(Vec<Untested>),
}

/// Why derivatives were not tested.
#[derive(Clone, Debug, PartialEq)]
pub enum Untested {
    /// So many stand at a jump or kink.
    AtKink {
        /// How many derivatives.
        count: usize,
        /// What decides otherwise close by, in the order of the graph.
        places: Vec<Place>,
    },
    /// The finite differences of so many are too uncertain to tell.
    Unclear(usize),
    /// All are zero, and so are the differences: the output does not depend on the values here.
    AllZero,
}

/// What was written for a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The binding, if it has one: `h.z`.
    pub name: Option<String>,
    /// The operation.
    pub op: &'static str,
    /// Where it is written.
    pub span: Option<Span>,
}

/// Why nothing could be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GradcheckError {
    /// The program has no value there.
    #[error(transparent)]
    Interpret(#[from] InterpretError),
    /// The graph has no output of this name.
    #[error("there is no output `{0}`")]
    UnknownOutput(String),
    /// The output has more than one element.
    #[error("`{0}` is no scalar")]
    NotScalar(String),
    /// The output is infinite or no number.
    #[error("`{output}` is {value}: it has no derivatives")]
    NotFinite {
        /// The output.
        output: String,
        /// Its value.
        value: f64,
    },
    /// A gradient is not of its value's dimensions.
    #[error("the gradient for `{path}` has dimensions {found:?}, its value {expected:?}")]
    Shape {
        /// The parameter or input.
        path: String,
        /// The dimensions of its value.
        expected: Vec<usize>,
        /// The dimensions of the gradient given for it.
        found: Vec<usize>,
    },
}

/// Compares `gradients` of the scalar `output`, by path, at `values`. `graph` is the program before
/// any optimisation; `precision` is that of whatever computed the gradients.
pub fn gradcheck(
    graph: &Graph,
    bindings: &Bindings,
    values: &Values,
    output: &str,
    gradients: &Values,
    precision: Precision,
) -> Result<Vec<Row>, GradcheckError> {
    let mut check = Check::new(graph, bindings, values, output)?;
    check.precision = precision;
    gradients.iter().map(|(path, gradient)| check.row(path, gradient)).collect()
}

/// The output as a function of the values.
struct Check<'a> {
    graph: Verified<Graph>,
    bindings: &'a Bindings,
    /// Those of the base but for the tensor being moved.
    values: Values,
    frozen: Frozen,
    base: f64,
    precision: Precision,
}

/// A derivative by finite differences, within `error`.
struct Estimate {
    slope: f64,
    error: f64,
}

enum Outcome {
    Compared(Estimate),
    Kink(Vec<NodeId>),
}

impl<'a> Check<'a> {
    fn new(
        graph: &Graph,
        bindings: &'a Bindings,
        values: &Values,
        output: &str,
    ) -> Result<Check<'a>, GradcheckError> {
        let unknown = || GradcheckError::UnknownOutput(output.into());
        let mut graph = graph.clone();
        graph.roots.retain(|root| root.role == Role::Output && root.name == output);
        let graph = verify(graph).map_err(|violation| InterpretError(violation.into()))?;
        let (results, frozen) = interpret_freezing(&graph, bindings, values)?;
        let value = results.output(output).ok_or_else(unknown)?;
        let &[base] = value.data.as_slice() else {
            return Err(GradcheckError::NotScalar(output.into()));
        };
        if !base.is_finite() {
            return Err(GradcheckError::NotFinite { output: output.into(), value: base });
        }
        let (values, precision) = (values.clone(), Precision::F64);
        Ok(Check { graph, bindings, values, frozen, base, precision })
    }

    fn row(&mut self, path: &str, gradient: &Tensor) -> Result<Row, GradcheckError> {
        let missing = || InterpretError(Fault::Missing(path.into()));
        let value = self.values.get(path).ok_or_else(missing)?.clone();
        if value.dims != gradient.dims || value.data.len() != gradient.data.len() {
            let (expected, found) = (value.dims, gradient.dims.clone());
            return Err(GradcheckError::Shape { path: path.into(), expected, found });
        }
        let largest = gradient.data.iter().fold(0.0, |largest: f64, g| largest.max(g.abs()));
        let mut tally = Tally::default();
        for line in lines(path, &value) {
            let expected = dot(&gradient.data, &line.direction);
            // Derivatives far below the others, or below what changes the output, are as good as zero.
            let scale = expected.abs().max(largest).max(1e-6 * self.base.abs());
            match self.differentiate(&line, scale)? {
                Outcome::Compared(estimate) => {
                    tally.compare(expected, &estimate, scale, largest, self.precision);
                }
                Outcome::Kink(nodes) => tally.kinks.push(nodes),
            }
        }
        self.values.insert(path.into(), value);
        Ok(Row {
            path: path.into(),
            elements: gradient.data.len(),
            checked: tally.compared + tally.kinks.len(),
            worst_absolute: tally.worst_absolute,
            worst_relative: tally.worst_relative,
            verdict: self.verdict(&tally, gradient),
        })
    }

    fn verdict(&self, tally: &Tally, gradient: &Tensor) -> Verdict {
        let not_finite = gradient.data.iter().filter(|derivative| !derivative.is_finite()).count();
        if not_finite > 0 {
            return Verdict::NotFinite(not_finite);
        }
        if tally.differs {
            return Verdict::Differs;
        }
        let mut untested = Vec::new();
        if !tally.kinks.is_empty() {
            let mut nodes = tally.kinks.concat();
            nodes.sort();
            nodes.dedup();
            let mut places: Vec<Place> = nodes.into_iter().map(|id| self.place(id)).collect();
            places.dedup();
            untested.push(Untested::AtKink { count: tally.kinks.len(), places });
        }
        if tally.unclear > 0 {
            untested.push(Untested::Unclear(tally.unclear));
        }
        let is_zero = !tally.moves && gradient.data.iter().all(|derivative| *derivative == 0.0);
        if is_zero && untested.is_empty() {
            untested.push(Untested::AllZero);
        }
        if !tally.is_resolved && untested.is_empty() {
            untested.push(Untested::Unclear(tally.compared));
        }
        match !tally.is_resolved || is_zero {
            true => Verdict::NotTested(untested),
            false => Verdict::Agrees(untested),
        }
    }

    fn place(&self, id: NodeId) -> Place {
        let node = self.graph.node(id);
        let name = node.name.as_ref().map(ToString::to_string);
        Place { name, op: node.op.name(), span: node.span }
    }

    /// The derivative by the step with the least error, of those on which no decision flips.
    fn differentiate(&mut self, line: &Line, scale: f64) -> Result<Outcome, GradcheckError> {
        let mut best: Option<Estimate> = None;
        let mut flipped = Vec::new();
        for step in STEPS.map(|step| step * line.reach) {
            let (coarse, fine) = (self.central(line, step)?, self.central(line, step / 2.0)?);
            if !coarse.flipped.is_empty() || !fine.flipped.is_empty() {
                flipped = if fine.flipped.is_empty() { coarse.flipped } else { fine.flipped };
                continue;
            }
            // The error falls with the square of the step.
            let slope = (4.0 * fine.slope - coarse.slope) / 3.0;
            let error = (slope - fine.slope).abs() + fine.noise;
            let error = if error.is_nan() { f64::INFINITY } else { error };
            let estimate = Estimate { slope, error };
            let tolerance = self.precision.tolerance();
            let is_sharp = estimate.error <= 0.1 * tolerance * scale.max(slope.abs());
            if best.as_ref().is_none_or(|best| estimate.error < best.error) {
                best = Some(estimate);
            }
            if is_sharp {
                break;
            }
        }
        Ok(best.map_or(Outcome::Kink(flipped), Outcome::Compared))
    }

    fn central(&mut self, line: &Line, step: f64) -> Result<Difference, GradcheckError> {
        let (after, mut flipped) = self.moved(line, step)?;
        let (before, flipped_before) = self.moved(line, -step)?;
        flipped.extend(flipped_before);
        // What was moved may cancel on the way: its rounding is then more than the output's own.
        let size = after.abs().max(before.abs()).max(line.reach);
        let noise = NOISE * f64::EPSILON * size / step;
        Ok(Difference { slope: (after - before) / (2.0 * step), noise, flipped })
    }

    /// The output at a point of the line, and what decided otherwise there.
    fn moved(&mut self, line: &Line, step: f64) -> Result<(f64, Vec<NodeId>), GradcheckError> {
        let Line { path, value, direction, .. } = line;
        let data = value.data.iter().zip(direction).map(|(x, direction)| x + step * direction);
        let moved = Tensor::new(value.dims.clone(), data.collect::<Vec<_>>());
        self.values.insert(path.to_string(), moved);
        let (results, flipped) =
            interpret_frozen(&self.graph, self.bindings, &self.values, &self.frozen)?;
        let output = results.0.first().and_then(|(_, tensor)| tensor.data.first());
        Ok((output.copied().unwrap_or(f64::NAN), flipped))
    }
}

/// A tensor and a direction in which it is moved.
struct Line<'a> {
    path: &'a str,
    value: &'a Tensor,
    direction: Vec<f64>,
    /// The length of which steps are fractions.
    reach: f64,
}

struct Difference {
    slope: f64,
    noise: f64,
    /// What decided otherwise at one of the two ends.
    flipped: Vec<NodeId>,
}

#[derive(Default)]
struct Tally {
    /// Those that are unclear among them.
    compared: usize,
    worst_absolute: f64,
    worst_relative: f64,
    differs: bool,
    unclear: usize,
    kinks: Vec<Vec<NodeId>>,
    /// Some finite difference is not zero.
    moves: bool,
    /// Some finite difference is certain enough to tell the tensor's derivatives from zero.
    is_resolved: bool,
}

impl Tally {
    fn compare(
        &mut self,
        expected: f64,
        estimate: &Estimate,
        scale: f64,
        largest: f64,
        precision: Precision,
    ) {
        self.compared += 1;
        self.moves |= estimate.slope != 0.0;
        let size = expected.abs().max(estimate.slope.abs());
        let clear = estimate.error <= 1e-2 * scale.max(size);
        if !clear && expected.is_finite() {
            self.unclear += 1;
            return;
        }
        let absolute = (expected - estimate.slope).abs();
        let absolute = if absolute.is_nan() { f64::INFINITY } else { absolute };
        let relative_to = |difference: f64, size: f64| match difference > 0.0 {
            true => difference / size.min(f64::MAX),
            false => 0.0,
        };
        self.is_resolved |= estimate.error <= 1e-2 * largest.max(size);
        let beyond = absolute - estimate.error.min(absolute);
        self.worst_absolute = self.worst_absolute.max(absolute);
        self.worst_relative = self.worst_relative.max(relative_to(absolute, scale.max(size)));
        let size = if precision == Precision::F32 { scale.max(size) } else { size };
        self.differs |= relative_to(beyond, size) > precision.tolerance();
    }
}

/// Lines along each axis, or along some of them and across all.
fn lines<'a>(path: &'a str, value: &'a Tensor) -> Vec<Line<'a>> {
    let x = value.data.as_slice();
    let axis = |index: usize| {
        let mut direction = vec![0.0; x.len()];
        direction[index] = 1.0;
        Line { path, value, direction, reach: x[index].abs().max(1.0) }
    };
    if x.len() <= ALL {
        return (0..x.len()).map(axis).collect();
    }
    let mut random = Random(x.len() as u64);
    let mut lines: Vec<Line> = (0..SAMPLE)
        .map(|part| (part * x.len() / SAMPLE, (part + 1) * x.len() / SAMPLE))
        .map(|(start, end)| axis(start + random.below(end - start)))
        .collect();
    let unit = 1.0 / (x.len() as f64).sqrt();
    let reach = (x.iter().map(|x| x * x).sum::<f64>().sqrt() * unit).max(1.0);
    lines.extend((0..DIRECTIONS).map(|_| {
        let direction = x.iter().map(|_| if random.below(2) == 0 { unit } else { -unit });
        Line { path, value, direction: direction.collect(), reach }
    }));
    lines
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Where nothing moves, not even an infinite gradient matters.
    a.iter().zip(b).filter(|(_, b)| **b != 0.0).map(|(a, b)| a * b).sum()
}

/// SplitMix64: the same elements are checked each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::front::check::{Options, check};
    use crate::ir::graph::arbitrary::{OPERANDS, samples};
    use crate::middle::autodiff::differentiate;
    use crate::source::NoFiles;
    use crate::testing::{Random, interpret};

    /// A program, a point, and the gradients of its `loss` there.
    struct Case {
        graph: Graph,
        values: Values,
        gradients: Values,
    }

    impl Case {
        fn new(text: &str, given: &[(&str, &[f64])]) -> Case {
            let checked = check("case.fgi", text, &NoFiles, &Options::default());
            let graph = checked.graph.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
            let mut values = Random(7).values(&graph);
            for (name, data) in given {
                values.get_mut(*name).unwrap().data = data.to_vec();
            }
            let gradients = gradients(&graph, &Bindings::new(), &values, values.keys());
            Case { graph, values, gradients }
        }

        fn check(&self) -> Vec<Row> {
            let (none, output) = (Bindings::new(), "loss");
            let precision = Precision::F64;
            gradcheck(&self.graph, &none, &self.values, output, &self.gradients, precision).unwrap()
        }

        fn verdicts(&self) -> Vec<Verdict> {
            self.check().into_iter().map(|row| row.verdict).collect()
        }

        fn fails(&self, output: &str) -> String {
            let none = Bindings::new();
            let precision = Precision::F64;
            let result =
                gradcheck(&self.graph, &none, &self.values, output, &self.gradients, precision);
            result.unwrap_err().to_string()
        }
    }

    fn gradients<'n>(
        graph: &Graph,
        bindings: &Bindings,
        values: &Values,
        names: impl Iterator<Item = &'n String>,
    ) -> Values {
        let names: Vec<String> = names.cloned().collect();
        let joint = differentiate(graph, "loss", &names).unwrap();
        let results = interpret(&joint, bindings, values).unwrap();
        let gradient = |name: &String| (name.clone(), results.gradient(name).unwrap().clone());
        names.iter().map(gradient).collect()
    }

    const AGREES: Verdict = Verdict::Agrees(Vec::new());

    const SPIKING: &str = "
        graph spiking[T = 6, B = 2, K = 3, N = 4](x: [T; B, K]) -> (loss) {
            param w: [K, N] = zeros();
            param v: [N, N] = zeros();
            param tau: [N] = constant(20);
            let alpha = exp(-1 / tau);
            let u = alpha * prev(u) + x @ w + 0.3 * prev(z) @ v - prev(z);
            let z = inject(u - 1, step(u - 1), exp(-(u - 1)^2));
            let loss = time_sum(sum(z * tanh(u)));
        }";

    #[test]
    fn a_spiking_network_agrees() {
        let case = Case::new(SPIKING, &[("tau", &[20.0, 30.0, 5.0, 150.0])]);
        for row in case.check() {
            assert_eq!(row.verdict, AGREES, "{row:?}");
            assert!(row.worst_relative < 1e-7, "{row:?}");
            assert_eq!(row.checked, if row.path == "x" { 20 } else { row.elements });
        }
    }

    #[test]
    fn a_wrong_element_differs() {
        let mut case = Case::new(SPIKING, &[("tau", &[20.0, 30.0, 5.0, 150.0])]);
        let w = &mut case.gradients.get_mut("w").unwrap().data;
        *w.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap() *= 1.001;
        case.gradients.get_mut("tau").unwrap().data[0] = f64::NAN;
        use Verdict::{Differs, NotFinite};
        assert_eq!(case.verdicts(), [NotFinite(1), AGREES, Differs, AGREES]);
        let worst = case.check().into_iter().map(|row| row.worst_relative).collect::<Vec<_>>();
        assert_eq!(worst[0], f64::INFINITY);
        assert!((worst[2] - 1e-3).abs() < 1e-5, "{worst:?}");
    }

    const KINKED: &str = "
        graph kinked(p: [3]) -> (loss) {
            let y = relu(p);
            let loss = sum(y * 3) + sum(p * p);
        }";

    #[test]
    fn a_kink_is_named() {
        let verdicts = Case::new(KINKED, &[("p", &[1.0, 0.0, -1.0])]).verdicts();
        let [Verdict::Agrees(untested)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        let [Untested::AtKink { count: 1, places }] = untested.as_slice() else {
            panic!("{untested:?}")
        };
        assert_eq!(places.len(), 1);
        assert_eq!(places[0].name.as_deref(), Some("y"));
        assert_eq!(&KINKED[range(&places[0])], "relu(p)");
        let jump = "graph jump(p: [2]) -> (loss) { let loss = sum(if p > 0 then p else 1); }";
        let verdicts = Case::new(jump, &[("p", &[0.0, 1.0])]).verdicts();
        let [Verdict::Agrees(untested)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(matches!(untested.as_slice(), [Untested::AtKink { count: 1, .. }]), "{untested:?}");
    }

    fn range(place: &Place) -> std::ops::Range<usize> {
        let span = place.span.unwrap();
        span.start as usize..span.end as usize
    }

    #[test]
    fn beside_a_kink_steps_are_smaller() {
        let case = Case::new(KINKED, &[("p", &[3e-7, -2e-8, 1e-5])]);
        assert_eq!(case.verdicts(), [AGREES]);
    }

    #[test]
    fn what_was_not_tested_does_not_agree() {
        // At a kink all of them, without any effect, and too uncertain to tell.
        let verdicts = Case::new(KINKED, &[("p", &[0.0, 0.0, 0.0])]).verdicts();
        let [Verdict::NotTested(why)] = verdicts.as_slice() else { panic!("{verdicts:?}") };
        assert!(matches!(why.as_slice(), [Untested::AtKink { count: 3, .. }]), "{why:?}");
        let text =
            "graph flat(p: [2], q: []) -> (loss) { let loss = q * q + sum(sg(p) + floor(p)); }";
        let rows = Case::new(text, &[("p", &[0.3, 1.7]), ("q", &[0.5])]).check();
        assert_eq!(rows[0].verdict, Verdict::NotTested(vec![Untested::AllZero]));
        assert_eq!((rows[0].worst_absolute, rows[0].worst_relative), (0.0, 0.0));
        assert_eq!(rows[1].verdict, AGREES);
        let text = "graph vast(p: []) -> (loss) { let loss = 1e20 + p; }";
        let rows = Case::new(text, &[("p", &[0.5])]).check();
        assert_eq!(rows[0].verdict, Verdict::NotTested(vec![Untested::Unclear(1)]));
    }

    #[test]
    fn what_is_not_finite_does_not_agree() {
        let text = "graph steep(p: []) -> (loss) { let loss = sqrt(p - 1); }";
        assert_eq!(
            Case::new(text, &[("p", &[0.5])]).fails("loss"),
            "`loss` is NaN: it has no derivatives"
        );
        // A gradient that no sampled direction looks at counts, too.
        let text = "graph square(p: [1000]) -> (loss) { let loss = sum(p * p); }";
        let mut case = Case::new(text, &[]);
        case.gradients.get_mut("p").unwrap().data[1] = f64::INFINITY;
        assert_eq!(case.verdicts(), [Verdict::NotFinite(1)]);
    }

    #[test]
    fn f32_is_compared_with_the_largest_derivative() {
        let mut case = Case::new(KINKED, &[("p", &[1.0, -1e-5, -1.0])]);
        let derivative = &mut case.gradients.get_mut("p").unwrap().data[1];
        *derivative *= 1.01;
        assert_eq!(case.verdicts(), [Verdict::Differs]);
        let none = Bindings::new();
        let rounded = |case: &Case| {
            let Case { graph, values, gradients } = case;
            gradcheck(graph, &none, values, "loss", gradients, Precision::F32).unwrap()
        };
        assert_eq!(rounded(&case)[0].verdict, AGREES);
        case.gradients.get_mut("p").unwrap().data[0] *= 1.01;
        assert_eq!(rounded(&case)[0].verdict, Verdict::Differs);
    }

    #[test]
    fn mistakes_are_values() {
        let mut case = Case::new(KINKED, &[]);
        assert_eq!(case.fails("cost"), "there is no output `cost`");
        let none = Tensor::scalar(0.0);
        case.gradients.insert("p".into(), none.clone());
        assert_eq!(case.fails("loss"), "the gradient for `p` has dimensions [], its value [3]");
        case.gradients = Values::from([("q".into(), none)]);
        assert_eq!(case.fails("loss"), "no value is given for `q`");
        let y = case.graph.ids().find(|id| case.graph.node(*id).name.as_deref() == Some("y"));
        case.graph.roots[0].node = y.unwrap();
        assert_eq!(case.fails("loss"), "`loss` is no scalar");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn gradients_of_random_programs_do_not_differ(sample in samples(10)) {
            let names = OPERANDS.map(String::from);
            let gradients = gradients(&sample.graph, &sample.bindings, &sample.values, names.iter());
            let rows = gradcheck(
                &sample.graph,
                &sample.bindings,
                &sample.values,
                "loss",
                &gradients,
                Precision::F64,
            );
            prop_assume!(!matches!(rows, Err(GradcheckError::NotFinite { .. })));
            for row in rows.unwrap() {
                prop_assert_ne!(&row.verdict, &Verdict::Differs, "{:?}", row);
            }
        }
    }
}
