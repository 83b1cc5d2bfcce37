//! Integers and booleans of random programs: from floats, among themselves, and back.

use super::{Body, Line, Value, broadcast, pick};

/// Integers beyond this are cut off.
const MOST: f64 = 40.0;

impl Body<'_> {
    fn integer_of(&self, choice: u8) -> Option<Value> {
        pick(&self.integers, choice, |_| true)
    }

    /// Names an integer, or a boolean.
    fn name_element(&mut self, text: String, dims: Vec<String>, stream: bool) -> Value {
        let name = format!("v{}", self.names.len());
        self.lets.push(format!("let {name} = {text};"));
        self.names.push(name.clone());
        Value { text: name, dims, stream, bound: 1.0 }
    }

    fn define_integer(&mut self, text: String, dims: Vec<String>, stream: bool, bound: f64) {
        let (text, bound) = match bound > MOST {
            true => (format!("max(min({text}, {MOST}), -{MOST})"), MOST),
            false => (text, bound),
        };
        let value = self.name_element(text, dims, stream);
        self.integers.push(Value { bound, ..value });
    }

    fn define_condition(&mut self, text: String, dims: Vec<String>, stream: bool) {
        let value = self.name_element(text, dims, stream);
        self.conditions.push(value);
    }

    /// An integer of floats, of booleans or of integers, with memory and without.
    pub(super) fn integer(&mut self, line: &Line) {
        let [first, second, third] = line.operands;
        let Some(a) = self.pick(first, |_| true) else { return };
        let Some(i) = self.integer_of(first) else {
            return self.define_integer(
                format!("i32(2.1 * {})", a.text),
                a.dims,
                a.stream,
                2.1 * a.bound,
            );
        };
        let partner = pick(&self.integers, second, |j| broadcast(&i.dims, &j.dims).is_some());
        let j = partner.unwrap_or(i.clone());
        let dims = broadcast(&i.dims, &j.dims).unwrap_or(i.dims.clone());
        let stream = i.stream || j.stream;
        let (p, q, sum) = (&i.text, &j.text, i.bound + j.bound);
        let choice = pick(&self.conditions, third, |c| {
            broadcast(&dims, &c.dims).is_some_and(|whole| whole == dims)
        });
        let next = format!("v{}", self.names.len());
        match (line.option % 20, choice) {
            (0, _) => self.define_integer(format!("i32(2.1 * {})", a.text), a.dims, a.stream, 17.0),
            (1, Some(c)) => self.define_integer(format!("i32({})", c.text), c.dims, c.stream, 1.0),
            (2, _) if !a.dims.is_empty() => {
                let axis = usize::from(third) % a.dims.len();
                let text = format!("argmax({}, axis = {axis})", a.text);
                let mut dims = a.dims;
                dims.remove(axis);
                self.define_integer(text, dims, a.stream, 130.0);
            }
            (3, _) => self.define_integer(format!("-{p} + 2"), i.dims, i.stream, i.bound + 2.0),
            (4, _) => {
                let bound = i.bound * j.bound + i.bound;
                self.define_integer(format!("{p} * {q} - {p}"), dims, stream, bound);
            }
            (5, _) => self.define_integer(format!("max({p}, {q})"), dims, stream, sum),
            (6, _) => self.define_integer(format!("min({p}, 1 - {q})"), dims, stream, sum + 1.0),
            (7 | 8, _) if i.stream => {
                let text = format!("max(min(prev({next}) + {p}, 9), -9)");
                self.define_integer(text, i.dims, true, 9.0);
            }
            (9, _) if i.stream => {
                self.define_integer(format!("prev({p}, init = 1)"), i.dims, true, i.bound + 1.0);
            }
            (10, _) if i.dims.len() == 1 => {
                self.define_integer(format!("gather({p}, {q})"), j.dims, stream, i.bound);
            }
            (11, _) => self.define_integer(format!("{p} / {q}"), dims, stream, i.bound),
            (12, _) => self.define_integer(format!("{p} % ({q} - 1)"), dims, stream, i.bound),
            (13, _) => {
                self.define_integer(format!("clamp(abs({p}), 1, {q})"), dims, stream, sum + 1.0);
            }
            (14, _) if i.stream && self.labels => {
                let text = format!("time_sum({p}) - time_max({p} * 3)");
                self.define_integer(text, i.dims, false, 2.0 * MOST);
            }
            (15..=18, _) if !i.dims.is_empty() => {
                let axis = usize::from(third) % i.dims.len();
                let (mut text, mut dims) = (format!("cumsum({p}, axis = {axis})"), i.dims);
                if line.option % 20 > 15 {
                    let reduction = ["sum", "prod", "max"][usize::from(line.option % 20) - 16];
                    text = format!("{reduction}({p}, axis = {axis})");
                    dims.remove(axis);
                }
                self.define_integer(text, dims, i.stream, 2.0 * MOST);
            }
            (19, _) if i.dims.len() == 2 => {
                let dims = vec![i.dims[1].clone(); 2];
                self.define_integer(format!("transpose({p}) @ {p}"), dims, i.stream, 2.0 * MOST);
            }
            (_, Some(c)) => {
                let text = format!("if {} then {p} else {q}", c.text);
                self.define_integer(text, dims, stream || c.stream, sum);
            }
            _ => self.define_integer(format!("{p} + {q}"), dims, stream, sum),
        }
    }

    /// A boolean of floats, of integers or of booleans, with memory and without.
    pub(super) fn condition(&mut self, line: &Line) {
        let [first, second, _] = line.operands;
        let Some(a) = self.pick(first, |_| true) else { return };
        let Some(i) = self.integer_of(first) else { return };
        let fits = |dims: &[String]| broadcast(&i.dims, dims).is_some();
        let j = pick(&self.integers, second, |j| fits(&j.dims)).unwrap_or(i.clone());
        let dims = broadcast(&i.dims, &j.dims).unwrap_or(i.dims.clone());
        let stream = i.stream || j.stream;
        let next = format!("v{}", self.names.len());
        let Some(c) = pick(&self.conditions, first, |_| true) else {
            return self.define_condition(format!("{} > 0.2", a.text), a.dims, a.stream);
        };
        let fits = |d: &Value| broadcast(&c.dims, &d.dims).is_some();
        let d = pick(&self.conditions, second, fits).unwrap_or(c.clone());
        let both = broadcast(&c.dims, &d.dims).unwrap_or(c.dims.clone());
        let either = c.stream || d.stream;
        let (p, q) = (&c.text, &d.text);
        match line.option % 10 {
            0 => self.define_condition(format!("{} > 0.2", a.text), a.dims, a.stream),
            1 => self.define_condition(format!("{} == {}", i.text, j.text), dims, stream),
            2 => self.define_condition(format!("2 * {} <= {}", i.text, j.text), dims, stream),
            3 => self.define_condition(format!("{p} && {q}"), both, either),
            4 => self.define_condition(format!("{p} || !{q}"), both, either),
            5 => self.define_condition(format!("{p} != {q}"), both, either),
            6 if i.stream => {
                self.define_condition(format!("{0} != prev({0})", i.text), i.dims, true);
            }
            7 if c.stream => self.define_condition(format!("prev({next}) != {p}"), c.dims, true),
            8 if c.stream => self.define_condition(format!("prev({p}) && {p}"), c.dims, true),
            _ => self.define_condition(format!("if {p} then {q} else !{p}"), both, either),
        }
    }

    /// A float that hangs on integers or booleans.
    pub(super) fn converted(&mut self, line: &Line) {
        let [first, second, _] = line.operands;
        let Some(i) = self.integer_of(first) else { return };
        let fits = |dims: &[String]| {
            pick(&self.values, second, |a| {
                broadcast(&a.dims, dims).is_some_and(|whole| whole == a.dims)
            })
        };
        let condition = pick(&self.conditions, first, |_| true);
        let choice = condition.and_then(|c| Some((fits(&c.dims)?, c)));
        let number = &i.text;
        match (line.option % 8, choice) {
            (0, _) => {
                let bound = 0.2 * i.bound;
                self.define(format!("0.2 * f32({number})"), &i.dims, i.stream, bound);
            }
            (1 | 2, Some((a, c))) => {
                let text = format!("if {} then {} else 0.5 * {1}", c.text, a.text);
                self.define(text, &a.dims, a.stream || c.stream, a.bound);
            }
            (3, Some((_, c))) => {
                self.define(format!("0.5 * f32({})", c.text), &c.dims, c.stream, 0.5);
            }
            (4, _) => {
                let table = self.param(&["3"]);
                let inside = format!("{number} >= -3 && {number} < 3");
                let text = format!("if {inside} then gather({table}, {number}) else 0.3");
                self.define(text, &i.dims, i.stream, 2.0);
            }
            (5, _) => {
                let table = self.param(&["3", "2"]);
                let text = format!("gather({table}, max(min({number}, 2), -3))");
                let dims: Vec<_> = i.dims.iter().cloned().chain(["2".to_string()]).collect();
                if dims.len() < 3 {
                    self.define(text, &dims, i.stream, 2.0);
                }
            }
            (6, _) if i.dims.len() < 2 => {
                let dims: Vec<_> = i.dims.iter().cloned().chain(["3".to_string()]).collect();
                self.define(format!("one_hot({number}, 3)"), &dims, i.stream, 1.0);
            }
            _ => {
                let Some(a) = fits(&i.dims) else { return };
                let text = format!("if {number} > 1 then {} else -{0}", a.text);
                self.define(text, &a.dims, a.stream || i.stream, a.bound);
            }
        }
    }
}
