//! The words of the text forms: names, lists, dimensions and types, written and read.

use std::fmt::{self, Display, Formatter};

use crate::ir::graph::{Clock, Dim, Elem, NodeId, Reduction, Type};
use crate::source::{FileId, Span};

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

pub(super) struct Docs<'a>(pub &'a str);

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

pub(in crate::ir) struct List<'a, T>(pub &'a [T]);

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
    pub(super) rest: &'t str,
}

impl<'t> Line<'t> {
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

    pub(in crate::ir) fn reduction(&mut self) -> Parsed<Reduction> {
        let name = self.word()?;
        let found = Reduction::ALL.into_iter().find(|reduction| reduction.name() == name);
        found.ok_or_else(|| format!("unknown reduction `{name}`"))
    }

    pub(in crate::ir) fn axis(&mut self) -> Parsed<usize> {
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

    pub(in crate::ir) fn pair<const N: usize>(&mut self) -> Parsed<[Dim; N]> {
        let dims = self.list(Line::dim)?;
        dims.try_into().map_err(|_| format!("expected {N} dimensions"))
    }

    /// As many whole numbers, negative ones too.
    pub(in crate::ir) fn numbers<const N: usize>(&mut self) -> Parsed<[i64; N]> {
        let numbers = self.pair::<N>()?.map(|dim| dim.as_const());
        match numbers.iter().all(Option::is_some) {
            true => Ok(numbers.map(Option::unwrap_or_default)),
            false => Err("expected numbers, found open dimensions".into()),
        }
    }

    pub(in crate::ir) fn list<T>(&mut self, item: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
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

    pub(super) fn id(&mut self) -> Parsed<NodeId> {
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

    pub(super) fn docs(&mut self) -> Parsed<String> {
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

    pub(super) fn end(&mut self) -> Parsed<()> {
        match self.rest.trim_start() {
            "" => Ok(()),
            rest => Err(format!("expected the end of the line, found `{rest}`")),
        }
    }
}
