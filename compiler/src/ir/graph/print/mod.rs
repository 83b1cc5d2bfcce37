//! The text form of a graph, for people and for saving: what is printed reads back as it was.
//!
//! ```text
//! graph smnist
//! time T
//! input pixels : [T; B, 28] "One row of the image a step."
//! param h.tau : [16] = normal(20.0, 5.0) in [1.0, inf]
//! %0 = input pixels : [T; B, 28] @0:120..126
//! %1 h.u = exp %0 : [T; B, 28] @0:130..141
//! output loss = %7
//! ```
//!
//! An operation's attributes stand between its name and its operands: `slice axis=1 [0, N] %3`.
//! Empty lines and lines that start with `//` are passed over.

pub(in crate::ir) mod line;
mod parse;

use std::fmt::{self, Display, Formatter};

use super::{Graph, Init, Input, Node, NodeId, Number, Param, Role};
use line::{Docs, Name};
pub(in crate::ir) use parse::parse_lines;
pub use parse::{ParseError, parse_graph};

impl Display for Graph {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", Name(&self.name))?;
        if let Some(time) = &self.time {
            writeln!(f, "time {time}")?;
        }
        for input in &self.inputs {
            writeln!(f, "input {input}")?;
        }
        for param in &self.params {
            writeln!(f, "param {param}")?;
        }
        for id in self.ids() {
            self.write_node(f, id)?;
        }
        for root in &self.roots {
            writeln!(f, "{} {} = {:?}", root.role.name(), Name(&root.name), root.node)?;
        }
        Ok(())
    }
}

impl Graph {
    fn write_node(&self, f: &mut Formatter<'_>, id: NodeId) -> fmt::Result {
        let Node { op, args, ty, span, name } = self.node(id);
        write!(f, "{id:?}")?;
        if let Some(name) = name {
            write!(f, " {}", Name(name))?;
        }
        write!(f, " = {}", op.name())?;
        op.describe(|op| op.attributes(self, f))?;
        for arg in args {
            write!(f, " {arg:?}")?;
        }
        write!(f, " : {ty}")?;
        if let Some(span) = span {
            write!(f, " @{span:?}")?;
        }
        writeln!(f)
    }
}

impl Display for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} : {}{}", Name(&self.name), self.ty, Docs(&self.docs))
    }
}

impl Display for Param {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} : {} = {}", Name(&self.path), self.ty(), self.init)?;
        if let Some((low, high)) = self.bounds {
            write!(f, " in [{}, {}]", Number(low), Number(high))?;
        }
        if let Some(word) = self.kind.word() {
            write!(f, " {word}")?;
        }
        write!(f, "{}", Docs(&self.docs))
    }
}

/// As the language writes it.
impl Display for Init {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Init::Constant(value) => write!(f, "constant({})", Number(value)),
            Init::Uniform(low, high) => write!(f, "uniform({}, {})", Number(low), Number(high)),
            Init::Normal(mean, sigma) => write!(f, "normal({}, {})", Number(mean), Number(sigma)),
            Init::XavierUniform => f.write_str("xavier_uniform()"),
            Init::XavierNormal => f.write_str("xavier_normal()"),
            Init::KaimingUniform => f.write_str("kaiming_uniform()"),
            Init::KaimingNormal => f.write_str("kaiming_normal()"),
            Init::Orthogonal(gain) => write!(f, "orthogonal({})", Number(gain)),
        }
    }
}

/// In as many digits as it takes to read the same bits back.
impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_nan() && self.0.to_bits() != f64::NAN.to_bits() {
            return write!(f, "NaN0x{:x}", self.0.to_bits());
        }
        write!(f, "{:?}", self.0)
    }
}

impl Role {
    pub(crate) const ALL: [Role; 4] = [Role::Output, Role::Gradient, Role::Update, Role::Next];

    /// As the text form of a graph writes it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Output => "output",
            Role::Gradient => "gradient",
            Role::Update => "update",
            Role::Next => "next",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::samples;
    use super::super::op::Op;
    use super::super::pointwise::TABLE;
    use super::super::{Clock, Elem, Type};
    use super::*;

    #[track_caller]
    fn reads_back(graph: &Graph) {
        let text = graph.to_string();
        let read = parse_graph(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(read.to_string(), text);
        assert_eq!(&read, graph, "{text}");
    }

    const TEXT: &str = r#"graph "odd name"
time 2*B*T - N + 1
input x : i32[T; B, -N + 4] "A \"doc\".\nSecond line."
input "a b" : bool[]
param h.w : [16, B] = normal(20.0, -0.0) in [-inf, 1e300] optimizer_state "The docs."
param b : [] = orthogonal(1.4142135623730951)
%0 h.u = input x : i32[T; B, -N + 4] @3:0..12
%1 = param b : []
%2 = const f32 0.1 : []
%3 = const i32 -3.0 : i32[]
%4 = size [B*B] : []
%5 = iota axis=1 [B, 2] : i32[B, 2]
%6 = slice axis=0 [1, B] %5 : i32[B - 1, 2]
%7 "odd name" = pad axis=1 [1, 2*B] NaN %6 : i32[B - 1, 2*B + 3]
%8 = reduce max [] %7 : [T;]
%9 = prev %4294967295 %8 : [T;]
%10 = input #7 : []
%11 = permute [1, 0] %6 : []
output "" = %3
gradient h.w = %4
update b = %99
"#;

    #[test]
    fn text_reads_and_prints_as_it_was() {
        let graph = parse_graph(TEXT).unwrap();
        assert_eq!(graph.to_string(), TEXT);
        reads_back(&graph);
        assert_eq!(graph.node(NodeId(9)).args[0], NodeId(u32::MAX));
        assert_eq!(graph.params[0].bounds, Some((f64::NEG_INFINITY, 1e300)));
    }

    #[test]
    fn numbers_keep_their_bits() {
        let odd_nan = f64::from_bits(0xfff8_0000_0000_0001);
        let smallest = f64::from_bits(1);
        for number in
            [0.0, -0.0, 0.1, smallest, 1e300, f64::INFINITY, -f64::INFINITY, f64::NAN, odd_nan]
        {
            let mut graph = Graph::default();
            let ty = Type::new(Elem::F32, vec![], Clock::Static);
            let op = Op::Const(Number(number), Elem::F32);
            graph.push(Node { op, args: vec![], ty, span: None, name: None });
            reads_back(&graph);
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let mut names: Vec<&str> = TABLE.iter().map(|row| row.name).collect();
        let others = "input param const size time_index iota sg bypass broadcast reshape permute slice \
                      concat pad flip gather take array matmul reduce prev next first last time_reduce";
        names.extend(others.split(' '));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn mistakes_name_the_line() {
        let fails = |text: &str| parse_graph(text).unwrap_err().to_string();
        assert_eq!(fails("graph g\n\nfoo"), "line 3: unknown item `foo`");
        assert_eq!(fails("%1 = sg %0 : []"), "line 1: expected the node %0, found %1");
        assert_eq!(fails("// %\n%0 = grow %0 : []"), "line 2: unknown operation `grow`");
        assert_eq!(fails("%0 = input x : []"), "line 1: `x` is not declared");
        assert_eq!(fails("%0 = slice axis=0 [1] %0 : []"), "line 1: expected 2 dimensions");
        assert_eq!(fails("time T T"), "line 1: expected the end of the line, found `T`");
        assert_eq!(fails("graph \"g"), "line 1: a text without end");
        assert_eq!(
            fails("param w : [2] = xavier_normal(1)"),
            "line 1: no initialiser `xavier_normal` of 1 numbers"
        );
        assert_eq!(
            fails("output y = %99999999999"),
            "line 1: expected a number, found `99999999999`"
        );
        assert_eq!(fails("input x : u8[]"), "line 1: unknown element type `u8`");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn graphs_read_back(sample in samples(20)) {
            reads_back(&sample.graph);
        }

        #[test]
        fn no_text_panics(text in "(%|\\PC|=|\\[|\"|\n| |graph|const|time|input){0,40}") {
            let _ = parse_graph(&text);
        }
    }
}
