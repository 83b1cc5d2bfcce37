//! The text of shaders. The runtime's tests run them.

use super::*;
use crate::ir::graph::{
    Builder, Clock, Elem, Graph, Init, Input, NodeId, Op, Param, ParamKind, Pointwise, Reduction,
    Role, Root, Type,
};
use crate::ir::{Verified, verify};
use crate::middle::lower::lower;
use crate::middle::schedule::schedule;
use crate::source::{FileId, Sources, Span};

fn graph(clock: Clock, inputs: &[(&str, &[Dim])], params: &[(&str, &[Dim])]) -> Graph {
    let mut graph = Graph::default();
    graph.time = (clock == Clock::Stream).then(|| Dim::symbol("T"));
    let inputs = inputs.iter().map(|(name, dims)| Input {
        name: (*name).into(),
        ty: Type::new(Elem::F32, dims.to_vec(), clock),
        docs: String::new(),
    });
    graph.inputs = inputs.collect();
    let params = params.iter().map(|(path, dims)| Param {
        path: (*path).into(),
        dims: dims.to_vec(),
        init: Init::Constant(0.0),
        bounds: None,
        docs: String::new(),
        kind: ParamKind::Trained,
        elem: Elem::F32,
    });
    graph.params = params.collect();
    graph
}

fn emitted(mut graph: Graph, outputs: &[(&str, NodeId)]) -> (Verified<Program>, Shaders) {
    for (name, node) in outputs {
        graph.node_mut(*node).name = Some((*name).into());
        let root = Root { name: (*name).into(), role: Role::Output, node: *node };
        graph.roots.push(root);
    }
    let program = verify(lower(&schedule(&graph))).unwrap();
    let shaders = emit(&program, &Limits::default()).unwrap();
    (program, shaders)
}

/// The texts, and how each is dispatched.
fn shown((_, shaders): &(Verified<Program>, Shaders)) -> String {
    let json = |value| serde_json::to_string(&value).unwrap();
    let mut text = String::new();
    for shader in &shaders.shaders {
        let dispatch = serde_json::json!([shader.dispatch, shader.chunking]);
        text.push_str(&format!("{}{}\n\n", shader.text, json(dispatch)));
    }
    text
}

fn layer() -> (Verified<Program>, Shaders) {
    let (b, n) = (Dim::symbol("B"), Dim::constant(100));
    let dims = [b, n.clone()];
    let mut graph = graph(
        Clock::Stream,
        &[("x", &dims)],
        &[("h.w", &[n.clone(), n.clone()]), ("h.leak", &[n])],
    );
    let mut build = Builder::new(&mut graph);
    let x = build.push(Op::Input(0), vec![]);
    let w = build.push(Op::Param(0), vec![]);
    let leak = build.push(Op::Param(1), vec![]);
    let leak = build.unary(Pointwise::Sigmoid, leak);
    let leak = build.broadcast(leak, &dims);
    let zeros = build.full_like(0.0, x);
    let ones = build.full_like(1.0, x);
    let ty = build.ty(x).clone();
    let last_u = build.open_delay(Op::Prev, ty.clone(), zeros);
    let last_z = build.open_delay(Op::Prev, ty, zeros);
    let kept = build.mul(leak, last_u);
    let driven = build.add(kept, x);
    let rec = build.matmul(last_z, w);
    let u = build.add(driven, rec);
    let z = build.choose(Pointwise::Gt, u, ones, ones, zeros);
    build.close(last_u, u);
    build.close(last_z, z);
    emitted(graph, &[("h.u", u), ("h.z", z)])
}

#[test]
fn a_map() {
    let dims = [Dim::symbol("B"), Dim::constant(10)];
    let mut graph = graph(Clock::Static, &[("target", &dims)], &[]);
    let mut build = Builder::new(&mut graph);
    let x = build.push(Op::Input(0), vec![]);
    let y = build.unary(Pointwise::Tanh, x);
    let two = build.full_like(2.0, x);
    let y = build.binary(Pointwise::Max, y, two);
    insta::assert_snapshot!(shown(&emitted(graph, &[("y", y)])));
}

#[test]
fn a_reduction_that_can_be_cut() {
    let dims = [Dim::symbol("B"), Dim::constant(10)];
    let mut graph = graph(Clock::Stream, &[("x", &dims)], &[]);
    let mut build = Builder::new(&mut graph);
    let x = build.push(Op::Input(0), vec![]);
    let most = build.reduce(Reduction::ArgMax, x, &[0]);
    let sum = build.push(Op::TimeReduce(Reduction::Sum), vec![x]);
    let sum = build.reduce(Reduction::Sum, sum, &[0]);
    let half = build.scale(sum, 0.5);
    insta::assert_snapshot!(shown(&emitted(graph, &[("most", most), ("half", half)])));
}

#[test]
fn a_recurrence_of_coupled_points() {
    insta::assert_snapshot!(shown(&layer()));
}

#[test]
fn a_recurrence_of_independent_points() {
    let mut graph = graph(Clock::Stream, &[("x", &[Dim::symbol("B")])], &[]);
    let mut build = Builder::new(&mut graph);
    let x = build.push(Op::Input(0), vec![]);
    let zeros = build.full_like(0.0, x);
    let ty = build.ty(x).clone();
    let next = build.open_delay(Op::Next, ty, zeros);
    let decayed = build.scale(next, 0.5);
    let g = build.add(x, decayed);
    build.close(next, g);
    insta::assert_snapshot!(shown(&emitted(graph, &[("g", g)])));
}

#[test]
fn a_workgroup_computes_as_many_rows_as_it_is_told() {
    let (program, _) = layer();
    let text = |limits| emit(&program, &limits).unwrap().shaders.pop().unwrap().text;
    let with = |rows| text(Limits { rows: Some(rows), ..Limits::WEBGPU });
    let vectors = [(2, "vec2<f32>"), (4, "vec4<f32>"), (8, "mat2x4<f32>"), (16, "mat4x4<f32>")];
    for (rows, vector) in vectors {
        let text = with(rows);
        assert!(text.contains(&format!("var sum = {vector}();")), "{text}");
    }
    // Lanes of a processor are few and have many columns.
    let processor = text(Limits { parallel_workgroups: 2, ..Limits::WEBGPU });
    assert!(processor.contains("@workgroup_size(16)"), "{processor}");
    assert_eq!(processor.matches("mat4x4<f32>();").count(), 7 + 1, "{processor}");
    // A word for each of 100 spikes and a bit for each do not fit.
    let small = Limits { workgroup_memory: 415, rows: Some(16), ..Limits::WEBGPU };
    assert_eq!(text(small), with(1));
}

#[test]
fn a_comment_cites_the_source() {
    let mut program = layer().0.into_inner();
    let mut sources = Sources::default();
    let file = sources.add("net.fgi", "layer l {\n    let u = \u{2028}prev(u);\n}");
    program.forward[0].span = Some(Span::new(FileId(file.0), 18, 21));
    let shaders =
        emit_with_sources(&verify(program).unwrap(), &Limits::default(), &sources).unwrap();
    let text = &shaders.shaders[0].text;
    assert!(text.contains("\n// net.fgi:2: let u =  prev(u);\n"), "{text}");
}

#[test]
fn one_storage_buffer_is_too_few() {
    let (program, _) = layer();
    let limits = Limits { storage_buffers: 1, ..Limits::default() };
    let error = emit(&program, &limits).unwrap_err();
    assert!(error.to_string().contains("storage buffers at once"), "{error}");
    let limits = Limits { storage_buffers: 2, ..Limits::default() };
    let shaders = emit(&program, &limits).unwrap();
    assert!(shaders.shaders.iter().all(|shader| shader.bindings.len() <= 2));
}
