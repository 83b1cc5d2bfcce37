//! Instances, layers as arguments, repetition, states, random numbers and time as an axis.

use super::{Body, Line, Value, WIDTHS, pick};

/// A layer that is called around another one.
pub(super) const AROUND: &str =
    "layer around(x: [.., K], inside: layer) { 0.5 * x + 0.3 * inside(x) }\n\n";

/// An instance in scope: of which layer, and from how many features it goes to how many.
pub(super) struct Instance {
    name: String,
    layer: usize,
    from: String,
    width: String,
}

impl Body<'_> {
    /// A layer called with parameters that another call has too, by another layer, or several times.
    pub(super) fn structured_call(&mut self, line: &Line) {
        let Some(count) = self.layers.len().checked_sub(1) else { return };
        let layer = usize::from(line.option / 4) % (count + 1);
        let Some(a) = self.pick(line.operands[0], Self::is_batch) else { return };
        let width = &a.dims[1];
        // It gives what it takes.
        let is_endless = self.layers[layer] < 2;
        match line.option % 4 {
            0 if is_endless => {
                self.define_layer(&format!("around({}, layer_{layer}[{width}])", a.text), &a, width)
            }
            1 if is_endless => {
                let times = 1 + line.operands[1] % 3;
                let call = format!("repeat({times}, layer_{layer}[{width}], {})", a.text);
                self.define_layer(&call, &a, width);
            }
            2 if is_endless => {
                let known = self.instance(layer, width, line.operands[1]);
                let name = known.unwrap_or_else(|| self.define_instance(layer, width, width));
                self.define_layer(&format!("repeat(2, {name}, {})", a.text), &a, width);
            }
            _ => {
                let own = WIDTHS[usize::from(line.operands[1]) % WIDTHS.len()].to_string();
                let fits = |known: &&Instance| known.from == *width && known.layer == layer;
                let known = self.instances.iter().find(fits);
                let known = known.map(|known| (known.name.clone(), known.width.clone()));
                let (name, own) =
                    known.unwrap_or_else(|| (self.define_instance(layer, width, &own), own));
                self.called(format!("{name}({})", a.text), self.layers[layer], &a, &own);
            }
        }
    }

    /// A sample a row, of features whose number is known when compiling.
    pub(super) fn is_batch(value: &Value) -> bool {
        value.dims.len() == 2 && value.dims[0] == "B" && !value.dims[1].contains(['B', 'T'])
    }

    fn define_layer(&mut self, call: &str, a: &Value, width: &str) {
        self.define(call.into(), &["B", width], a.stream || self.has_time, 8.0);
    }

    /// One that gives what it takes.
    fn instance(&self, layer: usize, width: &str, choice: u8) -> Option<String> {
        let fits =
            |known: &&Instance| known.layer == layer && known.from == width && known.width == width;
        let fitting: Vec<_> = self.instances.iter().filter(fits).collect();
        (!fitting.is_empty()).then(|| fitting[usize::from(choice) % fitting.len()].name.clone())
    }

    fn define_instance(&mut self, layer: usize, from: &str, width: &str) -> String {
        let name = format!("f{}", self.instances.len());
        self.lets.push(format!("let {name} = layer_{layer}[{width}];"));
        let (from, width) = (from.to_string(), width.to_string());
        self.instances.push(Instance { name: name.clone(), layer, from, width });
        name
    }

    /// A tensor that stays from run to run, and perhaps what it becomes.
    pub(super) fn state(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |_| true) else { return };
        let name = format!("m{}", self.params.len());
        let next = match (a.stream, line.option % 3) {
            (true, 0) => format!("last({})", a.text),
            (true, _) => format!("time_mean({}) - 0.5 * {name}", a.text),
            (false, _) => format!("0.7 * {name} + {}", a.text),
        };
        let dims = a.dims.join(", ");
        self.params.push(format!("state {name}: [{dims}] = constant(0.3);"));
        if !line.option.is_multiple_of(4) {
            self.nexts.push(format!("next {name} = tanh({next});"));
        }
        self.values.push(Value { text: name, dims: a.dims, stream: false, bound: 1.5 });
    }

    /// Random numbers, for each step or once.
    pub(super) fn draw(&mut self, line: &Line) {
        let Some(a) = self.pick(line.operands[0], |_| true) else { return };
        let choices = [
            ("uniform(P)", 1.0),
            ("0.5 * normal(P)", 3.1),
            ("bernoulli(abs(P))", 1.0),
            ("P * bernoulli(0.7 + 0 * P) / 0.7", 1.5 * a.bound),
            ("step(sigmoid(P) - uniform(P))", 1.0),
            ("bypass(bernoulli(sigmoid(P)), sigmoid(P))", 1.0),
        ];
        let (text, bound) = choices[usize::from(line.option) % choices.len()];
        self.define(text.replace('P', &a.text), &a.dims, a.stream, bound);
    }

    /// Steps as an axis, an axis as steps, or the steps in reverse; in a graph only.
    pub(super) fn time_axis(&mut self, line: &Line) {
        let is_of_graph = self.has_time && self.labels;
        let steps = |value: &Value| value.dims.len() > 1 && value.dims[0] == "T" && !value.stream;
        let streams =
            pick(&self.values, line.operands[0], |value| value.stream && value.dims.len() < 3);
        let (Some(a), true) = (streams, is_of_graph) else { return };
        match (line.option % 4, pick(&self.values, line.operands[1], steps)) {
            (0, _) => self.define(format!("time_reverse({})", a.text), &a.dims, true, a.bound),
            (1, Some(b)) => {
                self.define(format!("time_unstack({})", b.text), &b.dims[1..], true, b.bound);
            }
            (1 | 2, None) => {
                let text = format!("time_unstack(flip(0.7 * time_stack({}), axis = 0))", a.text);
                self.define(text, &a.dims, true, a.bound);
            }
            _ => {
                let dims: Vec<_> = ["T".to_string()].into_iter().chain(a.dims).collect();
                self.define(format!("time_stack({})", a.text), &dims, false, a.bound);
            }
        }
    }
}
