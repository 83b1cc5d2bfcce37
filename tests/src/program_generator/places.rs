//! What puts elements at other places, or takes them from places that it finds.

use super::{Body, Line, Value, fill, pick};

impl Body<'_> {
    pub(super) fn placed(&mut self, line: &Line) {
        let matrix = |value: &Value| value.dims.len() == 2;
        let Some(a) = self.pick(line.operands[0], matrix) else { return };
        let same = |b: &Value| b.dims == a.dims;
        let b = self.pick(line.operands[1], same).unwrap_or(a.clone());
        let axis = usize::from(line.operands[2] % 2);
        let both = a.dims.clone();
        let with = |length: &str| {
            let mut dims = both.clone();
            dims[axis] = length.into();
            dims
        };
        let (text, dims): (String, Vec<String>) = match line.option % 12 {
            0 => (format!("0.2 * cumsum(P, axis = {axis})"), both),
            1 => (format!("sort(P, axis = {axis})"), both),
            2 => (format!("take(P, argsort(Q, {axis}), axis = {axis})"), both),
            3 => (format!("softmax(P, axis = {axis})"), both),
            4 => (format!("0.3 * log_softmax(P, axis = {axis})"), both),
            5 => (format!("0.05 * f32(argsort(P, axis = {axis}))"), both),
            6 => return self.greatest(&a, axis, with("1")),
            7 => ("tril(P, k = 1) - 0.5 * triu(Q)".into(), both),
            8 => {
                // One place for each row, or for each column.
                let own = |i: &Value| i.dims == [both[axis].clone()];
                let places = match pick(&self.integers, line.operands[1], own) {
                    Some(i) if i.stream <= a.stream => i.text,
                    _ => format!("i32(2.1 * mean(P, axis = {}))", 1 - axis),
                };
                (format!("0.3 * scatter_add(P, {places}, 3, axis = {axis})"), with("3"))
            }
            9 => (format!("mean(stack(P, Q, 0.5 * P, axis = {axis}), axis = {axis})"), both),
            10 => {
                let list = "[0.5, -1, 2, 0, 1, 0.25, 3, 1, -2, 1.5, 0, 1]";
                (format!("mean(P) * {list}"), vec!["12".into()])
            }
            _ => {
                let table = "[[0.5, 1], [-1, 2]]";
                (
                    format!("gather({table}, i32(clamp(P, -1.5, 1.5)))"),
                    [both, vec!["2".into()]].concat(),
                )
            }
        };
        let is_pair = matches!(line.option % 12, 2 | 7 | 9);
        let bound = 1.5 * a.bound.max(b.bound).max(2.0);
        self.define(fill(&text, &a.text, &b.text), &dims, a.stream || is_pair && b.stream, bound);
    }

    /// The greatest element along an axis, and its place.
    fn greatest(&mut self, a: &Value, axis: usize, dims: Vec<String>) {
        let number = self.names.len();
        let [value, place] = [0, 1].map(|part| format!("v{}", number + part));
        self.lets.push(format!("let ({value}, {place}) = topk({}, 1, axis = {axis});", a.text));
        let (stream, bound) = (a.stream, a.bound);
        self.values.push(Value { text: value.clone(), dims: dims.clone(), stream, bound });
        self.integers.push(Value { text: place.clone(), dims, stream, bound: 130.0 });
        self.names.extend([value, place]);
    }
}
