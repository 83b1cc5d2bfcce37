//! What tests build graphs and values with.

use crate::front::check;
use crate::ir::graph::interpret::{self, InterpretError, Results, Tensor, Values};
use crate::ir::graph::{
    Bindings, Builder, Clock, Dim, Elem, Graph, Init, Input, NodeId, Op, Param, ParamKind,
    Reduction, Role, Root, Type,
};
use crate::ir::{Verified, verify};
use crate::source::NoFiles;

/// The only graph of a program without faults.
#[track_caller]
pub fn graph(text: &str) -> Graph {
    let checked = check::check("test.fgi", text, &NoFiles, &check::Options::default());
    assert_eq!(checked.diagnostics, [], "{text}");
    verify(checked.graph.unwrap()).unwrap().into_inner()
}

/// A graph that keeps the laws.
#[track_caller]
pub fn verified(graph: &Graph) -> Verified<Graph> {
    verify(graph.clone()).unwrap_or_else(|violation| panic!("{violation}\n{graph}"))
}

/// The value of a graph that keeps the laws.
#[track_caller]
pub fn interpret(
    graph: &Graph,
    bindings: &Bindings,
    values: &Values,
) -> Result<Results, InterpretError> {
    interpret::interpret(&verified(graph), bindings, values)
}

/// Its value and its derivative.
#[track_caller]
pub fn interpret_dual(
    graph: &Graph,
    bindings: &Bindings,
    values: &Values,
    tangents: &Values,
) -> Result<(Results, Results), InterpretError> {
    interpret::interpret_dual(&verified(graph), bindings, values, tangents)
}

/// A graph under construction: inputs and parameters by name.
#[derive(Default)]
pub struct Program {
    pub graph: Graph,
}

impl Program {
    pub fn stream(steps: i64) -> Program {
        let mut program = Program::default();
        program.graph.time = Some(Dim::constant(steps));
        program
    }

    pub fn input(&mut self, name: &str, elem: Elem, dims: &[i64], clock: Clock) -> NodeId {
        let ty = Type::new(elem, self::dims(dims), clock);
        self.graph.inputs.push(Input { name: name.into(), ty, docs: String::new() });
        let index = self.graph.inputs.len() - 1;
        self.b().push(Op::Input(index), vec![])
    }

    pub fn param(&mut self, path: &str, dims: &[i64]) -> NodeId {
        let (dims, init) = (self::dims(dims), Init::Constant(0.0));
        let param = Param {
            path: path.into(),
            dims,
            init,
            bounds: None,
            docs: String::new(),
            kind: ParamKind::Trained,
            elem: Elem::F32,
        };
        self.graph.params.push(param);
        let index = self.graph.params.len() - 1;
        self.b().push(Op::Param(index), vec![])
    }

    pub fn b(&mut self) -> Builder<'_> {
        Builder::new(&mut self.graph)
    }

    pub fn output(&mut self, name: &str, node: NodeId) {
        self.graph.roots.push(Root { name: name.into(), role: Role::Output, node });
    }

    /// The output `loss`: the sum over everything.
    pub fn loss(&mut self, node: NodeId) {
        let axes: Vec<usize> = (0..self.graph.ty(node).dims.len()).collect();
        let mut loss = self.b().reduce(Reduction::Sum, node, &axes);
        if self.graph.ty(loss).is_stream() {
            loss = self.b().push(Op::TimeReduce(Reduction::Sum), vec![loss]);
        }
        self.output("loss", loss);
    }
}

pub fn dims(dims: &[i64]) -> Vec<Dim> {
    dims.iter().map(|dim| Dim::constant(*dim)).collect()
}

/// A random number generator that is the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From -2 to 2.
    pub fn number(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 51) as f64 - 2.0
    }

    /// A number for each element of the graph's f32 inputs and parameters.
    pub fn values(&mut self, graph: &Graph) -> Values {
        let inputs = graph.inputs.iter().filter(|input| input.ty.elem == Elem::F32);
        let inputs = inputs.map(|input| (&input.name, &input.ty.dims, input.ty.is_stream()));
        let params = graph.params.iter().map(|param| (&param.path, &param.dims, false));
        let mut values = Values::new();
        for (name, dims, is_stream) in inputs.chain(params) {
            let time = is_stream.then(|| graph.time.clone()).flatten();
            let dims = time.iter().chain(dims).map(|dim| dim.eval(&Bindings::new()).unwrap());
            let dims: Vec<usize> = dims.map(|dim| dim as usize).collect();
            let data: Vec<f64> = (0..dims.iter().product()).map(|_| self.number()).collect();
            values.insert(name.clone(), Tensor::new(dims, data));
        }
        values
    }
}

#[track_caller]
pub fn assert_close(actual: &[f64], expected: &[f64], what: impl std::fmt::Display) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (a, e) in actual.iter().zip(expected) {
        let close = (a - e).abs() <= 1e-9 * (1.0 + e.abs()) || a == e || (a.is_nan() && e.is_nan());
        assert!(close, "{what}: {actual:?}, expected {expected:?}");
    }
}
