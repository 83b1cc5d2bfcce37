use std::path::Path;

use super::*;
use crate::front::check::{Options, check, heads};
use crate::front::syntax::expr_to_string;
use crate::ir::graph::{Clock, Elem, Input, ParamKind, Role, Type};
use crate::source::NoFiles;

/// Programs with their graphs: the paper's and the golden cases.
fn programs() -> Vec<(String, Graph)> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let golden = std::fs::read_dir(workspace.join("tests/golden")).unwrap();
    let golden = golden.map(|case| case.unwrap().path().join("program.fgi"));
    let paper = ["fgi/fgi.fgi", "smnist/smnist.fgi"];
    let paper = paper.map(|file| workspace.join("dsl-examples").join(file));
    let mut files: Vec<_> = golden.chain(paper).filter(|file| file.is_file()).collect();
    files.sort();
    let mut programs = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for graph in heads("program.fgi", &text, &NoFiles).graphs {
            let mut options = Options { graph: Some(graph.name.clone()), ..Options::default() };
            let mut open = check("program.fgi", &text, &NoFiles, &options).graph;
            if open.is_none() {
                // A parameter has a row for each step, or a choice is made on a size.
                let sizes =
                    [("T", 4), ("K", 3)].into_iter().filter(|(name, _)| graph.has_dim(name));
                options.dims.extend(sizes.map(|(name, size)| (name.to_string(), size)));
                open = check("program.fgi", &text, &NoFiles, &options).graph;
            }
            let open = open.unwrap();
            // A product of open dimensions is one number, which the language has no spelling for.
            let dims = open.symbols().into_iter().zip([2, 3, 5, 7, 11]);
            options.dims.extend(dims.map(|(name, value)| (name.to_string(), value)));
            let checked = check("program.fgi", &text, &NoFiles, &options);
            let name = format!("{} {}", file.display(), graph.name);
            programs.push((name, checked.graph.unwrap()));
        }
    }
    programs
}

/// What is named in the text: inputs and parameters.
fn leaf(graph: &Graph, id: NodeId) -> Option<String> {
    match graph.node(id).op {
        Op::Input(index) => Some(graph.inputs[index].name.clone()),
        Op::Param(index) => Some(graph.params[index].path.replace('.', "_")),
        _ => None,
    }
}

fn declared(dims: &[Dim]) -> String {
    dims.iter().map(|dim| expr_to_string(&self::dim(dim))).collect::<Vec<_>>().join(", ")
}

/// A program of one output, all written out.
fn program(graph: &Graph, root: NodeId) -> String {
    let time = graph.time.as_ref().map(|time| expr_to_string(&dim(time)));
    let input = |Input { name, ty: Type { elem, dims, clock }, .. }: &Input| {
        let elem = if *elem == Elem::I32 { "i32" } else { "" };
        match (clock, &time) {
            (Clock::Stream, Some(time)) => format!("{name}: {elem}[{time}; {}]", declared(dims)),
            _ => format!("{name}: {elem}[{}]", declared(dims)),
        }
    };
    let inputs: Vec<_> = graph.inputs.iter().map(input).collect();
    let has_stream = graph.inputs.iter().any(|input| input.ty.is_stream());
    let steps = time.iter().filter(|_| !has_stream).map(|time| format!("[T = {time};]"));
    let steps = steps.collect::<String>();
    let mut text = format!("graph g{steps}({}) -> (out) {{\n", inputs.join(", "));
    for param in &graph.params {
        let name = param.path.replace('.', "_");
        let (word, elem) = match (param.kind, param.elem) {
            (ParamKind::State, Elem::I32) => ("state", "i32"),
            (ParamKind::State, _) => ("state", ""),
            _ => ("param", ""),
        };
        text += &format!("{word} {name}: {elem}[{}] = zeros();\n", declared(&param.dims));
    }
    let Written { lets, value } = written(graph, root, &|id| leaf(graph, id));
    for (name, value) in
        lets.iter().map(|(name, value)| (name.as_str(), value)).chain([("out", &value)])
    {
        text += &format!("let {name} = {};\n", expr_to_string(value));
    }
    text + "}\n"
}

/// The graph of this output alone, without names and places.
fn plain(graph: &Graph, root: NodeId) -> String {
    let mut graph = graph.clone();
    graph.roots.retain(|root| root.role == Role::Output);
    graph.roots.truncate(1);
    graph.roots[0].node = root;
    let graph = graph.compact();
    let node = |id: NodeId| {
        let Node { op, args, ty, .. } = graph.node(id);
        format!("{id:?} {op:?} {args:?} {ty}\n")
    };
    graph.ids().map(node).collect()
}

#[test]
fn what_is_written_is_the_same_graph() {
    let programs = programs();
    assert!(programs.len() > 8);
    // What overlaps is added up by a shear, which the language has no spelling for.
    let has_shear =
        |graph: &Graph| graph.ids().any(|id| matches!(graph.node(id).op, Op::Shear { .. }));
    for (name, graph) in programs.into_iter().filter(|(_, graph)| !has_shear(graph)) {
        for root in &graph.roots {
            let text = program(&graph, root.node);
            let checked = check("written.fgi", &text, &NoFiles, &Options::default());
            let said = &checked.diagnostics;
            let Some(again) = checked.graph else { panic!("{name}\n{text}{said:#?}") };
            let out = again.root(Role::Output, "out").unwrap();
            let (expected, found) = (plain(&graph, root.node), plain(&again, out));
            assert_eq!(found, expected, "{name} {}\n{text}", root.name);
        }
    }
}

#[test]
fn a_long_operand_is_written_once() {
    let text = "graph g(x: [N]) -> (y) {
        let a = sin(x) * cos(x) + tanh(x) / exp(x);
        let b = a * a - a * sin(a);
        let y = b * b + prev_free(b);
    }
    fn prev_free(x) = x ^ 2;";
    let graph = check("program.fgi", text, &NoFiles, &Options::default()).graph.unwrap();
    let y = graph.root(Role::Output, "y").unwrap();
    let shown = |name: &dyn Fn(NodeId) -> Option<String>| {
        let Written { lets, value } = written(&graph, y, name);
        let lets = lets.iter().map(|(name, value)| format!("{name} = {}", expr_to_string(value)));
        lets.chain([expr_to_string(&value)]).collect::<Vec<_>>().join("; ")
    };
    let named = |id: NodeId| graph.node(id).name.as_ref().map(|name| name.to_string());
    assert_eq!(shown(&named), "b * b + b^2");
    assert_eq!(
        shown(&|id| leaf(&graph, id)),
        "t1 = sin(x) * cos(x) + tanh(x) / exp(x); t2 = t1 * t1 - t1 * sin(t1); t2 * t2 + t2^2"
    );
}
