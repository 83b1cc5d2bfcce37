//! The text form read back.

use super::line::{Line, Parsed};
use crate::ir::graph::{Graph, Init, Input, Node, Param, ParamKind, Role, Root, Type, ops};

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

impl Line<'_> {
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
}
