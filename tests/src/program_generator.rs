//! Random well-typed programs, as text.
//!
//! A [`Recipe`] is plain numbers; [`Recipe::program`] makes a program of it. Each `Line` becomes a
//! binding: its operation is done on operands that fit, picked from what is in scope, so every recipe
//! is well-typed, and a recipe with lines left out, or with smaller numbers, is too. That is what
//! makes failures shrink to short programs.
//!
//! Every value has a bound on its magnitude; what grows beyond `LARGE` passes through tanh. So
//! programs stay finite however long they run. Only a rounded tanh is ever 1, so what jumps does not jump at
//! such numbers.

mod elements;
mod places;
mod structure;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use structure::{AROUND, Instance};

/// A random program, and the sizes it runs with.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Time steps; 0 for a program without time.
    pub steps: u8,
    pub batch: u8,
    /// The sizes are known when the program is compiled.
    pub is_sized: bool,
    /// Of a sample in the graph's inputs `x` and `y`.
    features: u8,
    layers: Vec<Layer>,
    lines: Vec<Line>,
    /// Seeds the values of inputs and parameters.
    pub seed: u64,
}

#[derive(Clone, Debug)]
struct Layer {
    lines: Vec<Line>,
    surrogate: u8,
    reset: u8,
    /// Its spikes have weights to its neurons.
    is_recurrent: bool,
    /// 0: the spikes, 1: the potential, 2: both.
    returns: u8,
    /// Neurons, where the graph calls it first.
    width: u8,
}

/// An operation, its operands and its options; each number counts modulo what there is to choose.
#[derive(Clone, Copy, Debug)]
struct Line {
    operation: u8,
    operands: [u8; 3],
    option: u8,
}

/// Values beyond this are squashed.
const LARGE: f64 = 8.0;

/// Of samples and layers: with rests of vectors and without, of one vector and of several, and of one
/// panel and of several. The small ones are more likely.
const WIDTHS: [u8; 18] = [1, 2, 3, 4, 8, 1, 2, 3, 4, 5, 8, 16, 24, 31, 33, 36, 64, 130];
/// So many steps or rows are run at once by none, by one and by several tiles, chunks and tasks.
const COUNTS: [u8; 7] = [1, 2, 3, 5, 31, 33, 100];
/// Of steps and rows together, so that no program runs for long.
const MOST: usize = 310;
/// The number of labels; of rows of tables that labels index.
pub const LABELS: usize = 3;

pub fn recipe() -> impl Strategy<Value = Recipe> {
    let line = (any::<u8>(), any::<[u8; 3]>(), any::<u8>())
        .prop_map(|(operation, operands, option)| Line { operation, operands, option });
    let neurons = (any::<u8>(), 0..4u8, any::<bool>());
    let layer = (vec(line.clone(), 0..7), neurons, 0..3u8, select(&WIDTHS[..]));
    let layer = layer.prop_map(|(lines, (surrogate, reset, is_recurrent), returns, width)| Layer {
        lines,
        surrogate,
        reset,
        is_recurrent,
        returns,
        width,
    });
    let steps = prop_oneof![1 => Just(0), 6 => select(&COUNTS[..])];
    let few = |(steps, batch): &(u8, u8)| usize::from(*steps) * usize::from(*batch) <= MOST;
    // One row is a case of its own for products.
    let batch = prop_oneof![1 => Just(1), 2 => select(&COUNTS[..])];
    let counts = (steps, batch).prop_filter("too large", few);
    let sizes = (counts, any::<bool>(), select(&WIDTHS[..]));
    (sizes, vec(layer, 0..3), vec(line, 1..8), any::<u64>()).prop_map(
        |(((steps, batch), is_sized, features), layers, lines, seed)| Recipe {
            steps,
            batch,
            is_sized,
            features,
            layers,
            lines,
            seed,
        },
    )
}

impl Recipe {
    pub fn program(&self) -> String {
        let timed = self.steps > 0;
        let mut text = AROUND.to_string();
        let mut known = Vec::new();
        for (number, layer) in self.layers.iter().enumerate() {
            text += &layer.text(number, timed, &known);
            known.push(layer.returns);
        }
        text + &self.graph(timed, &known)
    }

    fn graph(&self, timed: bool, layers: &[u8]) -> String {
        let mut body = Body::new(&self.lines, layers, timed);
        let features = self.features.to_string();
        body.know("x", &["B", &features], timed, 2.0);
        body.know("y", &["B", &features], false, 2.0);
        body.know("s", &[], false, 2.0);
        body.labels = true;
        let dims = vec!["B".to_string()];
        let bound = LABELS as f64;
        body.integers.push(Value { text: "label".into(), dims, stream: false, bound });
        for (number, layer) in self.layers.iter().enumerate() {
            body.call(number, layer.returns, 0, layer.width);
        }
        self.lines.iter().for_each(|line| body.line(line));
        let mut terms = Vec::new();
        for value in body.values.iter().skip(3).chain(&body.values[..1]) {
            let mean = format!("mean({} * {} + {})", value.text, value.text, value.text);
            terms.push(match (value.stream, terms.len() % 3) {
                (false, _) => mean,
                (true, 0) => format!("time_mean({mean})"),
                (true, 1) => format!("last({mean})"),
                (true, _) => format!("0.1 * time_sum({mean})"),
            });
        }
        let mut outputs = vec!["loss"];
        outputs.extend(body.names.iter().map(String::as_str));
        let (time, outputs) = (if timed { "T; " } else { "" }, outputs.join(", "));
        format!(
            "graph random(x: [{time}B, {features}], y: [B, {features}], s: [], label: i32[B]) \
             -> ({outputs}) {{\n{}    let loss = {};\n}}\n",
            body.text(),
            terms.join("\n        + ")
        )
    }
}

impl Layer {
    fn text(&self, number: usize, timed: bool, layers: &[u8]) -> String {
        let mut body = Body::new(&self.lines, layers, timed);
        body.know("x", &["B", "K"], timed, LARGE);
        body.params.push("param w_in: [K, N] = xavier_uniform();".into());
        body.define("x @ w_in".into(), &["B", "N"], timed, 4.0);
        if timed {
            body.know("prev(u)", &["B", "N"], true, 3.0);
            body.know("prev(z)", &["B", "N"], true, 1.0);
        }
        self.lines.iter().for_each(|line| body.line(line));
        let drive = body.values.iter().map(|value| match value.fits(&["B", "N"]) {
            true => value.text.clone(),
            false => format!("mean({})", value.text),
        });
        let mut drive: Vec<_> = drive.collect();
        if timed && self.is_recurrent {
            drive.push("prev(z) @ w_rec".into());
            body.params.push("param w_rec: [N, N] = xavier_uniform();".into());
        }
        let resets = [
            "0.5 * prev(u) + ",
            "0.7 * prev(u) * (1 - prev(z)) + ",
            "0.6 * prev(u) - 0.4 * sg(prev(z)) + ",
            "0.5 * (if prev(z) > 0.5 then -0.3 else prev(u)) + ",
        ];
        let memory = if timed { resets[usize::from(self.reset)] } else { "" };
        body.lets.push(format!("let u = {memory}tanh(0.3 * ({}));", drive.join(" + ")));
        body.lets.push("let v = u - 0.2;".into());
        body.lets.push(format!("let z = {};", surrogate("v", self.surrogate)));
        let value = ["z", "u", "(z, u)"][usize::from(self.returns)];
        format!("layer layer_{number}[N](x: [B, K]) {{\n{}    {value}\n}}\n\n", body.text())
    }
}

/// A step of `v` with a surrogate, spelled in one of many ways.
fn surrogate(v: &str, spelling: u8) -> String {
    let spellings = [
        "bypass(step(V), tanh(V))",
        "inject(V, step(V), exp(-V^2))",
        "sigmoid(3 * V) - sg(sigmoid(3 * V)) + sg(step(V))",
        "sg(step(V)) - (sg(tanh(V)) - tanh(V))",
        "step(V) + V * sg(1 / (1 + V^2)) - sg(V * sg(1 / (1 + V^2)))",
        "sg(step(V)) + (V * sg(exp(-abs(V))) - sg(V * exp(-abs(V))))",
        "-(sg(atan(V)) - (atan(V) + step(V)))",
        "bypass(bypass(step(V), V), erf(V))",
        "2 * bypass(0.5 * step(V), 0.4 * tanh(V))",
        "if V > 0 then bypass(1, V) else bypass(0, 0.5 * V)",
    ];
    spellings[usize::from(spelling) % spellings.len()].replace('V', v)
}

/// Something that a line may use.
#[derive(Clone)]
struct Value {
    text: String,
    dims: Vec<String>,
    stream: bool,
    bound: f64,
}

impl Value {
    /// It broadcasts to these dimensions.
    fn fits(&self, dims: &[&str]) -> bool {
        let dims: Vec<_> = dims.iter().map(|dim| dim.to_string()).collect();
        broadcast(&dims, &self.dims).as_ref() == Some(&dims)
    }
}

/// A body of a layer or graph in the making.
struct Body<'a> {
    values: Vec<Value>,
    integers: Vec<Value>,
    conditions: Vec<Value>,
    params: Vec<String>,
    lets: Vec<String>,
    /// The names of the bindings.
    names: Vec<String>,
    /// What each layer above this body returns.
    layers: &'a [u8],
    /// Whether `label: i32[B]` is in scope.
    labels: bool,
    /// Whether there are steps: then a layer has memory.
    has_time: bool,
    instances: Vec<Instance>,
    /// What states become.
    nexts: Vec<String>,
}

impl<'a> Body<'a> {
    fn new(lines: &[Line], layers: &'a [u8], has_time: bool) -> Body<'a> {
        let (values, lets) = (Vec::new(), Vec::with_capacity(lines.len()));
        let (params, names) = (Vec::new(), Vec::new());
        let (integers, conditions) = (Vec::new(), Vec::new());
        let (instances, nexts) = (Vec::new(), Vec::new());
        let labels = false;
        Body {
            values,
            integers,
            conditions,
            params,
            lets,
            names,
            layers,
            labels,
            has_time,
            instances,
            nexts,
        }
    }

    /// Parameters and states, bindings, what states become: a line each.
    fn text(&self) -> String {
        self.params
            .iter()
            .chain(&self.lets)
            .chain(&self.nexts)
            .map(|line| format!("    {line}\n"))
            .collect()
    }

    /// A value that needs no binding.
    fn know(&mut self, text: &str, dims: &[&str], stream: bool, bound: f64) {
        let dims = dims.iter().map(|dim| dim.to_string()).collect();
        self.values.push(Value { text: text.into(), dims, stream, bound });
    }

    fn define<D: AsRef<str>>(&mut self, text: String, dims: &[D], stream: bool, bound: f64) {
        let name = format!("v{}", self.names.len());
        let (text, bound) =
            if bound > LARGE { (format!("tanh({text})"), 1.0) } else { (text, bound) };
        self.lets.push(format!("let {name} = {text};"));
        let dims = dims.iter().map(|dim| dim.as_ref().to_string()).collect();
        self.values.push(Value { text: name.clone(), dims, stream, bound });
        self.names.push(name);
    }

    fn param(&mut self, dims: &[&str]) -> String {
        let name = format!("p{}", self.params.len());
        self.params.push(format!("param {name}: [{}] = normal(0, 1);", dims.join(", ")));
        name
    }

    fn pick(&self, choice: u8, fits: impl Fn(&Value) -> bool) -> Option<Value> {
        pick(&self.values, choice, fits)
    }

    /// Adds what a line says, or nothing where no operand fits.
    fn line(&mut self, line: &Line) {
        let operations = [
            Body::unary,
            Body::binary,
            Body::choice,
            Body::stopped,
            Body::product,
            Body::reduction,
            Body::shape,
            Body::windows,
            Body::delay,
            Body::over_time,
            Body::layer,
            Body::indexed,
            Body::binary,
            Body::product,
            Body::correlation,
            Body::correlation,
            Body::integer,
            Body::condition,
            Body::converted,
            Body::integer,
            Body::converted,
            Body::placed,
            Body::placed,
            Body::structured_call,
            Body::structured_call,
            Body::state,
            Body::draw,
            Body::time_axis,
        ];
        operations[usize::from(line.operation) % operations.len()](self, line);
    }

    fn unary(&mut self, line: &Line) {
        let Some(Value { text: a, dims, stream, bound }) = self.pick(line.operands[0], |_| true)
        else {
            return;
        };
        let choices: [(&str, f64); 24] = [
            ("tanh(A)", 1.0),
            ("-A", bound),
            ("sigmoid(A)", 1.0),
            ("relu(A)", bound),
            ("abs(A)", bound),
            ("A^2", bound * bound),
            ("exp(-A^2)", 1.0),
            ("exp(min(A, 1))", 3.0),
            ("log(1.5 + abs(A))", bound),
            ("sqrt(0.5 + A^2)", bound + 1.0),
            ("rsqrt(0.5 + A^2)", 2.0),
            ("sin(A)", 1.0),
            ("cos(A)", 1.0),
            ("tan(0.1 * A)", 1.5),
            ("asin(0.9 * tanh(A))", 1.6),
            ("acos(0.9 * sin(A))", 3.2),
            ("atan(A)", 1.6),
            ("sinh(0.3 * A)", 6.0),
            ("cosh(0.3 * A)", 6.0),
            ("softplus(A)", bound + 1.0),
            ("erf(A)", 1.0),
            ("clamp(A, -0.7, 0.9)", 1.0),
            ("round(2.1 * A) - floor(1.1 * A) + ceil(0.6 * A) * sign(A)", 6.0 * bound),
            ("(1.2 + abs(A))^-1.5", 1.0),
        ];
        let (text, bound) = choices[usize::from(line.option) % choices.len()];
        self.define(text.replace('A', &format!("({a})")), &dims, stream, bound);
    }

    fn binary(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |_| true) else { return };
        let fits = |b: &Value| broadcast(&a.dims, &b.dims).is_some();
        let Some(b) = self.pick(line.operands[1], fits) else { return };
        let Some(dims) = broadcast(&a.dims, &b.dims) else { return };
        let (sum, product) = (a.bound + b.bound, a.bound * b.bound);
        let choices: [(&str, f64); 11] = [
            ("(0.3 * P) % (1.5 + abs(Q))", 1.5 + b.bound),
            ("P + Q", sum),
            ("P - Q", sum),
            ("P * Q", product),
            ("P / (1.5 + abs(Q))", a.bound),
            ("max(P, Q)", sum),
            ("min(P, Q)", sum),
            ("atan2(P, 1.2 + Q^2)", 2.0),
            ("(0.5 + abs(P))^(0.2 * Q)", (0.5 + a.bound).powf(0.2 * b.bound).max(4.0)),
            ("P * sg(Q) - sg(P) * Q", 2.0 * product),
            ("0.7 * P - 1.3 * Q + 0.1", 2.0 * sum),
        ];
        let (text, bound) = choices[usize::from(line.option) % choices.len()];
        self.define(fill(text, &a.text, &b.text), &dims, a.stream || b.stream, bound);
    }

    fn choice(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |_| true) else { return };
        let same = |value: &Value| value.dims == a.dims || value.dims.is_empty();
        let Some(b) = self.pick(line.operands[1], same) else { return };
        let Some(c) = self.pick(line.operands[2], same) else { return };
        let conditions = [
            "P > Q",
            "P <= 0.3",
            "P < Q || P >= 1.1",
            "!(P < Q) && Q > -0.4",
            "(P > 0) != (Q > 0)",
        ];
        let condition = conditions[usize::from(line.option) % conditions.len()];
        let text = fill(&format!("if {condition} then R else Q * P"), &a.text, &b.text);
        let stream = a.stream || b.stream || c.stream;
        let bound = c.bound.max(a.bound * b.bound);
        self.define(text.replace('R', &c.text), &a.dims, stream, bound);
    }

    fn stopped(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |_| true) else { return };
        let (text, bound) = match line.option % 3 {
            0 => (format!("sg({}) * 0.5", a.text), a.bound),
            1 => (format!("bypass(round(2.9 * {}), 3 * {})", a.text, a.text), 3.0 * a.bound + 1.0),
            _ => (surrogate(&format!("({})", a.text), line.operands[1]), 1.0),
        };
        self.define(text, &a.dims, a.stream, bound);
    }

    fn product(&mut self, line: &Line) {
        let matrix = |value: &Value| value.dims.len() == 2;
        let Some(a) = self.pick(line.operands[0], matrix) else { return };
        let pair = |text: &str, b: &Value| {
            let text = fill(text, &a.text, &b.text);
            (text, a.stream || b.stream, a.bound * b.bound * 2.0)
        };
        let to = if self.labels { "3" } else { "N" };
        // A parameter's dimensions are fixed.
        let is_fixed = !a.dims[1].contains(['B', 'T']);
        match line.option % 6 {
            0 => {
                let fits = |b: &Value| matrix(b) && b.dims[1] == a.dims[1];
                let Some(b) = self.pick(line.operands[1], fits) else { return };
                let (text, stream, bound) = pair("0.2 * (P @ transpose(Q))", &b);
                self.define(text, &[&a.dims[0], &b.dims[0]], stream, bound);
            }
            1 => {
                let fits = |b: &Value| matrix(b) && b.dims[0] == a.dims[1];
                let Some(b) = self.pick(line.operands[1], fits) else { return };
                let (text, stream, bound) = pair("0.2 * (P @ Q)", &b);
                self.define(text, &[&a.dims[0], &b.dims[1]], stream, bound);
            }
            2 if is_fixed => {
                let w = self.param(&[to, &a.dims[1]]);
                let text = format!("0.2 * ({w} @ transpose({}))", a.text);
                self.define(text, &[to, &a.dims[0]], a.stream, a.bound * 2.0);
            }
            _ if is_fixed => {
                let w = self.param(&[&a.dims[1], to]);
                let text = format!("0.2 * ({} @ {w})", a.text);
                self.define(text, &[&a.dims[0], to], a.stream, a.bound * 2.0);
            }
            _ => {}
        }
    }

    /// A product that sums over the rows of both sides, or over none, one of them perhaps of a step
    /// before; in a graph often summed over time.
    fn correlation(&mut self, line: &Line) {
        let matrix = |value: &Value| value.dims.len() == 2;
        let Some(a) = self.pick(line.operands[0], matrix) else { return };
        let fits = |b: &Value| matrix(b) && b.dims[0] == a.dims[0];
        let Some(b) = self.pick(line.operands[1], fits) else { return };
        let [rows, m, n] = [&a.dims[0], &a.dims[1], &b.dims[1]];
        let earlier = ["P", "prev(P)", "prev(P, init = 1)", "delay(P, 2)"];
        let p = match a.stream {
            true => earlier[usize::from(line.operands[2] / 8) % earlier.len()],
            false => "P",
        };
        let outer = format!("reshape({p}, [{rows}, {m}, 1]) * reshape(Q, [{rows}, 1, {n}])");
        let (text, dims) = match line.option % 4 {
            0 => (format!("transpose(Q) @ {p}"), vec![n, m]),
            1 => (format!("sum({outer}, axis = 0)"), vec![m, n]),
            2 if rows == "1" => (format!("reshape({outer}, [{m}, {n}])"), vec![m, n]),
            _ => (format!("transpose({p}) @ Q"), vec![m, n]),
        };
        let (mut stream, bound) = (a.stream || b.stream, 2.0 * a.bound.max(1.0) * b.bound);
        let mut text = format!("0.2 * ({})", fill(&text, &a.text, &b.text));
        let sums = ["time_sum", "time_mean", "last"];
        if let Some(sum) = sums.get(usize::from(line.operands[2] % 4))
            && (stream && self.labels)
        {
            (text, stream) = (format!("{sum}({text})"), false);
        }
        self.define(text, &dims, stream, bound);
    }

    fn reduction(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |value| !value.dims.is_empty()) else { return };
        let axis = usize::from(line.operands[1]) % a.dims.len();
        let choices: [(&str, f64); 9] = [
            ("0.2 * f32(argmin(X))", 2.0),
            ("0.3 * sum(X)", 2.0 * a.bound),
            ("mean(X)", a.bound),
            ("max(X)", a.bound),
            ("min(X)", a.bound),
            ("tanh(prod(0.5 * X))", 1.0),
            ("var(X)", a.bound * a.bound),
            ("logsumexp(X)", a.bound + 3.0),
            ("0.2 * f32(argmax(X))", 2.0),
        ];
        let (text, bound) = choices[usize::from(line.option) % choices.len()];
        let mut dims = a.dims.clone();
        let mut options = match line.operands[2] % 4 {
            0 => format!(", axis = {}", axis as i64 - dims.len() as i64),
            _ => format!(", axis = {axis}"),
        };
        if line.operands[2].is_multiple_of(2) {
            options += ", keepdims = true";
            dims[axis] = "1".into();
        } else {
            dims.remove(axis);
        }
        let text = text.replacen(')', &format!("{options})"), 1).replace('X', &a.text);
        self.define(text, &dims, a.stream, bound);
    }

    fn shape(&mut self, line: &Line) {
        let matrix = |value: &Value| value.dims.len() == 2;
        let Some(a) = self.pick(line.operands[0], matrix) else { return };
        let fits = |b: &Value| matrix(b) && b.dims[0] == a.dims[0];
        let Some(b) = self.pick(line.operands[1], fits) else { return };
        let (rows, columns) = (a.dims[0].clone(), a.dims[1].clone());
        let (text, dims) = match line.option % 11 {
            0 => ("transpose(P)".into(), vec![columns, rows]),
            1 => ("permute(P, [1, 0])".into(), vec![columns, rows]),
            2 => {
                (format!("reshape(P, [{rows} * {columns}])"), vec![format!("({rows} * {columns})")])
            }
            3 => (format!("reshape(P, [{rows}, 1, -1])"), vec![rows, "1".into(), columns]),
            4 => ("flip(P, axis = 1)".into(), vec![rows, columns]),
            5 => ("concat(P, Q)".into(), vec![rows, format!("({columns} + {})", b.dims[1])]),
            6 => ("slice(P, axis = -1, start = 0, end = 1)".into(), vec![rows, "1".into()]),
            7 => (
                "pad(P, [[0, 0], [1, 2]], value = 0.5)".into(),
                vec![rows, format!("({columns} + 3)")],
            ),
            8 => {
                (format!("broadcast(mean(P, axis = 0), [2, {columns}])"), vec!["2".into(), columns])
            }
            9 => {
                let rows = "slice(P, axis = 0, start = 0, end = 1)";
                (format!("pad({rows}, [[1, 0], [0, 0]])"), vec!["2".into(), columns])
            }
            _ => ("pad(P, [[1, 0], [0, 0]])".into(), vec![format!("({rows} + 1)"), columns]),
        };
        let stream = a.stream || (line.option % 11 == 5 && b.stream);
        let bound = a.bound.max(b.bound).max(0.5);
        self.define(fill(&text, &a.text, &b.text), &dims, stream, bound);
    }

    /// Along the columns; each row is a sample of one channel or of two.
    fn windows(&mut self, line: &Line) {
        let matrix = |value: &Value| value.dims.len() == 2;
        let Some(a) = self.pick(line.operands[0], matrix) else { return };
        let fits = |b: &Value| b.dims == a.dims;
        let Some(b) = self.pick(line.operands[1], fits) else { return };
        let (rows, columns) = (&a.dims[0], &a.dims[1]);
        let one = format!("reshape(P, [{rows}, 1, {columns}])");
        let two = format!("reshape(concat(P, Q), [{rows}, 2, {columns}])");
        let twice = format!("({columns} + {columns})");
        let (call, width) = match line.option % 8 {
            0 => ("windows(P, 3, pad = 1) @ W[3]".into(), columns),
            1 => ("sum(windows(P, 2, pad = 1, dilation = 2) * W[2], axis = -1)".into(), columns),
            2 => ("max(windows(concat(P, Q), 3, stride = 2, pad = [1]), axis = 2)".into(), columns),
            3 => (format!("conv1d({one}, W[2, 1, 3], pad = same)"), &twice),
            4 => (format!("conv1d({two}, W[2, 1, 2], pad = same, groups = 2)"), &twice),
            5 => (format!("conv1d_transpose({one}, W[1, 1, 4], stride = 2, pad = 1)"), &twice),
            6 => (format!("max_pool1d({two}, 3, stride = 1, pad = 1)"), &twice),
            _ => (format!("avg_pool1d(conv1d({two}, W[2, 2, 1]), 1)"), &twice),
        };
        let mut text = call;
        if let Some((before, rest)) = text.split_once("W[")
            && let Some((dims, after)) = rest.split_once(']')
        {
            let w = self.param(&dims.split(", ").collect::<Vec<_>>());
            text = format!("{before}{w}{after}");
        }
        let text = format!("0.2 * reshape({text}, [{rows}, {width}])");
        let dims = [rows.clone(), width.clone()];
        let stream = a.stream || b.stream && text.contains('Q');
        self.define(fill(&text, &a.text, &b.text), &dims, stream, 3.0 * a.bound.max(b.bound));
    }

    fn delay(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |value| value.stream) else { return };
        let start = self.pick(line.operands[1], |value| {
            !value.stream && broadcast(&a.dims, &value.dims).as_ref() == Some(&a.dims)
        });
        let steps = 2 + line.operands[2] % 4;
        let (text, bound) = match (line.option % 6, start) {
            (0, _) => (format!("prev({})", a.text), a.bound),
            (1, _) => (format!("delay({}, {steps})", a.text), a.bound),
            (2, Some(start)) => {
                (format!("prev({}, init = {})", a.text, start.text), a.bound.max(start.bound))
            }
            (3, Some(start)) => {
                let text = format!("prev(prev({}, init = 0.5), init = {})", a.text, start.text);
                (text, a.bound.max(start.bound).max(0.5))
            }
            (4, _) => (format!("prev(prev({}))", a.text), a.bound),
            _ => (format!("{} * sin(time_index())", a.text), a.bound),
        };
        self.define(text, &a.dims, true, bound);
    }

    /// A static value of a stream; in a graph only, for a layer's values all serve its recurrence.
    fn over_time(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |value| value.stream && self.labels) else {
            return;
        };
        let choices = ["last", "first", "time_mean", "time_max", "0.1 * time_sum"];
        let name = choices[usize::from(line.option) % choices.len()];
        self.define(format!("{name}({})", a.text), &a.dims, false, 2.0 * a.bound);
    }

    fn layer(&mut self, line: &Line) {
        if let Some(count) = self.layers.len().checked_sub(1) {
            let layer = usize::from(line.option) % (count + 1);
            let width = WIDTHS[usize::from(line.operands[1]) % WIDTHS.len()];
            self.call(layer, self.layers[layer], line.operands[0], width);
        }
    }

    fn call(&mut self, layer: usize, returns: u8, operand: u8, width: u8) {
        let Some(a) = self.pick(operand, Self::is_batch) else { return };
        let width = width.to_string();
        self.called(format!("layer_{layer}[{width}]({})", a.text), returns, &a, &width);
    }

    /// Binds what the call of a layer returns.
    fn called(&mut self, call: String, returns: u8, a: &Value, width: &str) {
        let stream = a.stream || self.has_time;
        if returns < 2 {
            return self.define(call, &["B", width], stream, 3.0);
        }
        let number = self.names.len();
        let names = [format!("v{number}"), format!("v{}", number + 1)];
        self.lets.push(format!("let ({}, {}) = {call};", names[0], names[1]));
        for name in names {
            self.know(&name, &["B", width], stream, 3.0);
            self.names.push(name);
        }
    }

    fn indexed(&mut self, line: &Line) {
        if !self.labels {
            return;
        }
        if line.option.is_multiple_of(2) {
            let table = self.param(&["3", "3"]);
            let index = if line.operands[0].is_multiple_of(2) { "label" } else { "label - 3" };
            self.define(format!("gather({table}, {index})"), &["B", "3"], false, 2.0);
        } else {
            self.define(format!("one_hot(label, {LABELS})"), &["B", "3"], false, 1.0);
        }
    }
}

fn pick(among: &[Value], choice: u8, fits: impl Fn(&Value) -> bool) -> Option<Value> {
    let fitting: Vec<_> = among.iter().filter(|value| fits(value)).collect();
    (!fitting.is_empty()).then(|| fitting[usize::from(choice) % fitting.len()].clone())
}

fn fill(text: &str, p: &str, q: &str) -> String {
    text.replace('P', &format!("({p})")).replace('Q', &format!("({q})"))
}

/// NumPy's broadcast, by the names of dimensions.
fn broadcast(a: &[String], b: &[String]) -> Option<Vec<String>> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut dims = long.to_vec();
    let offset = long.len() - short.len();
    for (dim, other) in dims[offset..].iter_mut().zip(short) {
        match (dim.as_str(), other.as_str()) {
            (a, b) if a == b => {}
            ("1", _) => *dim = other.clone(),
            (_, "1") => {}
            _ => return None,
        }
    }
    Some(dims)
}
