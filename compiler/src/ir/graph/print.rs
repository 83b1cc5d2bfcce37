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

use std::fmt::{self, Display, Formatter};

use super::{
    Clock, Dim, Elem, Graph, Init, Input, Node, NodeId, Number, Param, ParamKind, Reduction, Role,
    Root, Type, ops,
};
use crate::source::{FileId, Span};

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

/// As it is, or in quotes where it could be taken for something else.
pub(in crate::ir) struct Name<'a>(pub &'a str);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.0.is_empty() && self.0.chars().all(is_word) {
            return f.write_str(self.0);
        }
        write!(f, "{}", serde_json::Value::from(self.0))
    }
}

struct Docs<'a>(&'a str);

impl Display for Docs<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " {}", serde_json::Value::from(self.0)) }
    }
}

/// A member of one of the graph's lists: by its name, or by its position where that does not tell.
pub(in crate::ir) struct Listed<'a>(pub usize, pub Vec<&'a str>);

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Listed(index, names) = self;
        match names.get(*index) {
            Some(name) if names.iter().position(|other| other == name) == Some(*index) => {
                Name(name).fmt(f)
            }
            _ => write!(f, "#{index}"),
        }
    }
}

pub(super) struct List<'a, T>(pub &'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (position, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if position > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// Why a text is no graph, or no program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// What is wrong there.
    pub message: String,
}

/// Reads the text form. That the graph keeps the laws is for [`verify`](crate::ir::verify) to say.
pub fn parse_graph(text: &str) -> Result<Graph, ParseError> {
    let mut graph = Graph::default();
    parse_lines(text, |line| line.parse_into(&mut graph))?;
    Ok(graph)
}

/// Reads the lines of a text one by one, but for those that are empty or start with `//`.
pub(in crate::ir) fn parse_lines<'t>(
    text: &'t str,
    mut read: impl FnMut(&mut Line<'t>) -> Parsed<()>,
) -> Result<(), ParseError> {
    for (position, line) in text.lines().enumerate() {
        let mut line = Line { rest: line.trim() };
        if line.rest.is_empty() || line.rest.starts_with("//") {
            continue;
        }
        let parsed = read(&mut line).and_then(|()| line.end());
        parsed.map_err(|message| ParseError { line: position + 1, message })?;
    }
    Ok(())
}

pub(in crate::ir) type Parsed<T> = Result<T, String>;

/// `2*B*T - N + 1`, as [`Dim`] prints itself.
impl std::str::FromStr for Dim {
    type Err = String;

    fn from_str(text: &str) -> Result<Dim, String> {
        let mut line = Line { rest: text };
        let dim = line.dim()?;
        match line.rest.trim() {
            "" => Ok(dim),
            rest => Err(format!("`{text}` is no dimension: `{rest}` is left over")),
        }
    }
}

/// What is left of a line.
pub(in crate::ir) struct Line<'t> {
    rest: &'t str,
}

impl<'t> Line<'t> {
    fn parse_into(&mut self, graph: &mut Graph) -> Parsed<()> {
        if self.rest.starts_with('%') {
            let node = self.node(graph)?;
            graph.push(node);
            return Ok(());
        }
        match self.word()? {
            "graph" => graph.name = self.name()?,
            "time" => graph.time = Some(self.dim()?),
            "input" => graph.inputs.push(self.input()?),
            "param" => graph.params.push(self.param()?),
            word => {
                let role = Role::ALL.into_iter().find(|role| role.name() == word);
                let role = role.ok_or_else(|| format!("unknown item `{word}`"))?;
                graph.roots.push(self.root(role)?);
            }
        }
        Ok(())
    }

    pub(in crate::ir) fn input(&mut self) -> Parsed<Input> {
        let name = self.name()?;
        self.token(":")?;
        Ok(Input { name, ty: self.ty()?, docs: self.docs()? })
    }

    pub(in crate::ir) fn param(&mut self) -> Parsed<Param> {
        let path = self.name()?;
        self.token(":")?;
        let Type { elem, dims, .. } = self.ty()?;
        self.token("=")?;
        let init = self.init()?;
        let bounds = if self.eat("in ") {
            match self.list(Line::number)?.as_slice() {
                [low, high] => Some((*low, *high)),
                _ => return Err("bounds are two numbers".into()),
            }
        } else {
            None
        };
        let kinds = [ParamKind::Fixed, ParamKind::State, ParamKind::OptimizerState];
        let kind = kinds.into_iter().find(|kind| kind.word().is_some_and(|word| self.eat(word)));
        let kind = kind.unwrap_or(ParamKind::Trained);
        Ok(Param { path, elem, dims, init, bounds, docs: self.docs()?, kind })
    }

    fn init(&mut self) -> Parsed<Init> {
        let name = self.word()?;
        self.token("(")?;
        let numbers = self.until(")", Line::number)?;
        Ok(match (name, numbers.as_slice()) {
            ("constant", [value]) => Init::Constant(*value),
            ("uniform", [low, high]) => Init::Uniform(*low, *high),
            ("normal", [mean, sigma]) => Init::Normal(*mean, *sigma),
            ("xavier_uniform", []) => Init::XavierUniform,
            ("xavier_normal", []) => Init::XavierNormal,
            ("kaiming_uniform", []) => Init::KaimingUniform,
            ("kaiming_normal", []) => Init::KaimingNormal,
            ("orthogonal", [gain]) => Init::Orthogonal(*gain),
            _ => return Err(format!("no initialiser `{name}` of {} numbers", numbers.len())),
        })
    }

    fn root(&mut self, role: Role) -> Parsed<Root> {
        let name = self.name()?;
        self.token("=")?;
        Ok(Root { name, role, node: self.id()? })
    }

    fn node(&mut self, graph: &Graph) -> Parsed<Node> {
        let id = self.id()?;
        if id.0 as usize != graph.len() {
            return Err(format!("expected the node %{}, found {id:?}", graph.len()));
        }
        let name = if self.eat("=") {
            None
        } else {
            let name = self.name()?;
            self.token("=")?;
            Some(name.into())
        };
        let op = ops::read(self.word()?, self, graph)?;
        let mut args = Vec::new();
        while self.starts_with("%") {
            args.push(self.id()?);
        }
        self.token(":")?;
        let ty = self.ty()?;
        Ok(Node { op, args, ty, span: self.place()?, name })
    }

    pub(in crate::ir) fn listed<'n>(
        &mut self,
        mut names: impl Iterator<Item = &'n str>,
    ) -> Parsed<usize> {
        if self.eat("#") {
            return self.integer();
        }
        let name = self.name()?;
        names.position(|other| other == name).ok_or_else(|| format!("`{name}` is not declared"))
    }

    pub(super) fn reduction(&mut self) -> Parsed<Reduction> {
        let name = self.word()?;
        let found = Reduction::ALL.into_iter().find(|reduction| reduction.name() == name);
        found.ok_or_else(|| format!("unknown reduction `{name}`"))
    }

    pub(super) fn axis(&mut self) -> Parsed<usize> {
        self.token("axis=")?;
        self.integer()
    }

    pub(in crate::ir) fn ty(&mut self) -> Parsed<Type> {
        let is_plain = self.starts_with("[");
        let elem = if is_plain { Elem::F32 } else { self.elem()? };
        self.token("[")?;
        let clock = if self.eat("T;") { Clock::Stream } else { Clock::Static };
        Ok(Type { elem, dims: self.until("]", Line::dim)?, clock })
    }

    pub(in crate::ir) fn elem(&mut self) -> Parsed<Elem> {
        let name = self.word()?;
        let found = [Elem::F32, Elem::I32, Elem::Bool].into_iter().find(|elem| elem.name() == name);
        found.ok_or_else(|| format!("unknown element type `{name}`"))
    }

    /// `@0:120..126`, if there is one.
    pub(in crate::ir) fn place(&mut self) -> Parsed<Option<Span>> {
        if !self.eat("@") {
            return Ok(None);
        }
        let file = FileId(self.integer()?);
        self.token(":")?;
        let start = self.integer()?;
        self.token("..")?;
        Ok(Some(Span { file, start, end: self.integer()? }))
    }

    /// `2*B*T - N + 1`
    pub(in crate::ir) fn dim(&mut self) -> Parsed<Dim> {
        let mut sum = Dim::zero();
        let mut sign = if self.eat("-") { "-" } else { "" };
        loop {
            sum = &sum + &self.monomial(sign)?;
            sign = match (self.eat("+"), self.eat("-")) {
                (true, _) => "",
                (_, true) => "-",
                _ => return Ok(sum),
            };
        }
    }

    fn monomial(&mut self, sign: &str) -> Parsed<Dim> {
        let first = self.word()?;
        let is_symbol = |word: &str| !word.starts_with(|c: char| c.is_ascii_digit());
        let coefficient = if is_symbol(first) { "1" } else { first };
        let coefficient = format!("{sign}{coefficient}").parse::<i64>();
        let mut product =
            Dim::constant(coefficient.map_err(|_| format!("no dimension: `{first}`"))?);
        if is_symbol(first) {
            product = &product * &Dim::symbol(first);
        }
        while self.eat("*") {
            product = &product * &Dim::symbol(self.word()?);
        }
        Ok(product)
    }

    pub(super) fn pair<const N: usize>(&mut self) -> Parsed<[Dim; N]> {
        let dims = self.list(Line::dim)?;
        dims.try_into().map_err(|_| format!("expected {N} dimensions"))
    }

    /// As many whole numbers, negative ones too.
    pub(super) fn numbers<const N: usize>(&mut self) -> Parsed<[i64; N]> {
        let numbers = self.pair::<N>()?.map(|dim| dim.as_const());
        match numbers.iter().all(Option::is_some) {
            true => Ok(numbers.map(Option::unwrap_or_default)),
            false => Err("expected numbers, found open dimensions".into()),
        }
    }

    pub(super) fn list<T>(&mut self, item: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        self.token("[")?;
        self.until("]", item)
    }

    /// Items between commas, up to the closing bracket.
    pub(in crate::ir) fn until<T>(
        &mut self,
        close: &str,
        item: fn(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.token(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn id(&mut self) -> Parsed<NodeId> {
        self.token("%")?;
        Ok(NodeId(self.integer()?))
    }

    pub(in crate::ir) fn integer<T: std::str::FromStr>(&mut self) -> Parsed<T> {
        let digits = self.take(|c| c.is_ascii_digit());
        digits.parse().map_err(|_| format!("expected a number, found `{digits}{}`", self.rest))
    }

    /// What could be a number, with its sign.
    pub(in crate::ir) fn number_text(&mut self) -> &'t str {
        self.take(|c| is_word(c) || c == '+' || c == '-')
    }

    /// A number or a truth value of a type of its own.
    pub(in crate::ir) fn parsed<T: std::str::FromStr>(&mut self) -> Parsed<T> {
        let text = self.number_text();
        text.parse().map_err(|_| format!("no number: `{text}`"))
    }

    pub(in crate::ir) fn number(&mut self) -> Parsed<f64> {
        let text = self.number_text();
        let number = match text.strip_prefix("NaN0x") {
            Some(bits) => u64::from_str_radix(bits, 16).ok().map(f64::from_bits),
            None if text == "NaN" => Some(f64::NAN),
            None => text.parse().ok(),
        };
        number.ok_or_else(|| format!("expected a number, found `{text}{}`", self.rest))
    }

    pub(in crate::ir) fn name(&mut self) -> Parsed<String> {
        match self.string()? {
            Some(name) => Ok(name),
            None => self.word().map(str::to_string),
        }
    }

    fn docs(&mut self) -> Parsed<String> {
        Ok(self.string()?.unwrap_or_default())
    }

    /// A text in quotes, if one comes next.
    fn string(&mut self) -> Parsed<Option<String>> {
        self.rest = self.rest.trim_start();
        if !self.rest.starts_with('"') {
            return Ok(None);
        }
        let mut texts = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match texts.next() {
            Some(Ok(text)) => {
                self.rest = &self.rest[texts.byte_offset()..];
                Ok(Some(text))
            }
            _ => Err("a text without end".into()),
        }
    }

    pub(in crate::ir) fn word(&mut self) -> Parsed<&'t str> {
        match self.take(is_word) {
            "" => Err(format!("expected a name, found `{}`", self.rest)),
            word => Ok(word),
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'t str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    pub(in crate::ir) fn starts_with(&self, token: &str) -> bool {
        self.rest.trim_start().starts_with(token)
    }

    pub(in crate::ir) fn eat(&mut self, token: &str) -> bool {
        match self.rest.trim_start().strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(in crate::ir) fn token(&mut self, token: &str) -> Parsed<()> {
        if self.eat(token) {
            return Ok(());
        }
        Err(format!("expected `{token}`, found `{}`", self.rest))
    }

    fn end(&mut self) -> Parsed<()> {
        match self.rest.trim_start() {
            "" => Ok(()),
            rest => Err(format!("expected the end of the line, found `{rest}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arbitrary::samples;
    use super::super::op::{Op, TABLE};
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
