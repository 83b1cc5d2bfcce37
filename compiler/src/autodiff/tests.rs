use super::*;
use crate::graph::{Init, Input, Param};

/// A graph under construction: inputs and parameters by name.
#[derive(Default)]
struct Program {
    graph: Graph,
}

impl Program {
    fn stream(steps: i64) -> Program {
        let mut program = Program::default();
        program.graph.time = Some(Dim::constant(steps));
        program
    }

    fn input(&mut self, name: &str, elem: Elem, dims: &[i64], clock: Clock) -> NodeId {
        let ty = Type::new(elem, self::dims(dims), clock);
        self.graph.inputs.push(Input { name: name.into(), ty, docs: String::new() });
        let index = self.graph.inputs.len() - 1;
        self.b().push(Op::Input(index), vec![])
    }

    fn param(&mut self, path: &str, dims: &[i64]) -> NodeId {
        let (dims, init) = (self::dims(dims), Init::Constant(0.0));
        let param = Param {
            path: path.into(),
            dims,
            init,
            bounds: None,
            docs: String::new(),
            optimizer_state: false,
        };
        self.graph.params.push(param);
        let index = self.graph.params.len() - 1;
        self.b().push(Op::Param(index), vec![])
    }

    fn b(&mut self) -> Builder<'_> {
        Builder::new(&mut self.graph)
    }

    fn output(&mut self, name: &str, node: NodeId) {
        self.graph.roots.push(Root { name: name.into(), role: Role::Output, node });
    }

    /// The output `loss`: the sum over everything.
    fn loss(&mut self, node: NodeId) {
        let axes: Vec<usize> = (0..self.graph.ty(node).dims.len()).collect();
        let mut loss = self.b().reduce(Reduction::Sum, node, &axes);
        if self.graph.ty(loss).is_stream() {
            loss = self.b().push(Op::TimeReduce(Reduction::Sum), vec![loss]);
        }
        self.output("loss", loss);
    }
}

fn dims(dims: &[i64]) -> Vec<Dim> {
    dims.iter().map(|dim| Dim::constant(*dim)).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

/// A leaky layer with weights and a bias: `u = 0.9 * prev(u) + x @ w + b`.
fn leaky() -> Program {
    let mut p = Program::stream(5);
    let x = p.input("x", Elem::F32, &[2, 3], Clock::Stream);
    let (w, bias) = (p.param("w", &[3, 4]), p.param("b", &[4]));
    let mut b = p.b();
    let dims = dims(&[2, 4]);
    let zero = b.number(0.0);
    let zeros = b.broadcast(zero, &dims);
    let ty = Type::new(Elem::F32, dims.clone(), Clock::Stream);
    let prev = b.open_delay(Op::Prev, ty, zeros);
    let decayed = b.scale(prev, 0.9);
    let current = b.matmul(x, w);
    let bias = b.broadcast(bias, &dims);
    let current = b.add(current, bias);
    let u = b.add(decayed, current);
    b.close(prev, u);
    p.loss(u);
    p
}

#[test]
fn weights_and_biases_sum_over_time_last() {
    let graph = differentiate(&leaky().graph, "loss", &names(&["w", "b"])).unwrap();
    let op = |id: NodeId| graph.node(id).op.clone();
    let operand = |id: NodeId| graph.node(id).args[0];
    let w = graph.root(Role::Gradient, "w").unwrap();
    assert_eq!(op(w), Op::TimeReduce(Reduction::Sum));
    assert_eq!(op(operand(w)), Op::MatMul);
    assert_eq!(op(operand(operand(w))), Op::Permute(vec![1, 0]));
    let b = graph.root(Role::Gradient, "b").unwrap();
    assert_eq!(op(b), Op::TimeReduce(Reduction::Sum));
    assert_eq!(op(operand(b)), Op::Reduce(Reduction::Sum, vec![0]));
    assert_eq!(graph.ids().filter(|id| op(*id) == Op::Next).count(), 1);
    assert_eq!(graph.ids().filter(|id| op(*id) == Op::MatMul).count(), 2);
}

#[test]
fn mistakes_are_values() {
    let mut p = leaky();
    let label = p.input("label", Elem::I32, &[2], Clock::Static);
    p.output("label", label);
    let fails = |output: &str, wrt: &str| {
        differentiate(&p.graph, output, &names(&[wrt])).unwrap_err().to_string()
    };
    assert_eq!(fails("cost", "w"), "there is no output `cost`");
    assert_eq!(fails("loss", "v"), "there is no parameter or input `v`");
    assert_eq!(fails("loss", "label"), "`label` is i32; only f32 has a gradient");
    assert_eq!(
        fails("label", "w"),
        "`label` is i32[2]; only a scalar f32 that is no stream can be differentiated"
    );
}

#[test]
fn what_does_not_matter_has_gradient_zero_of_its_type() {
    let mut p = leaky();
    p.param("unused", &[7]);
    p.input("ignored", Elem::F32, &[3], Clock::Stream);
    let graph = differentiate(&p.graph, "loss", &names(&["unused", "ignored", "x"])).unwrap();
    for (name, expected) in [("unused", "[7]"), ("ignored", "[T; 3]"), ("x", "[T; 2, 3]")] {
        let gradient = graph.root(Role::Gradient, name).unwrap();
        assert_eq!(graph.ty(gradient).to_string(), expected);
    }
}

#[test]
fn erasing_leaves_the_value() {
    let mut p = Program::stream(3);
    let x = p.input("x", Elem::F32, &[2], Clock::Stream);
    let mut b = p.b();
    let stopped = b.push(Op::Sg, vec![x]);
    let one = b.full_like(1.0, x);
    let tanh = b.unary(Pointwise::Tanh, x);
    let static_value = b.push(Op::Bypass, vec![one, tanh]);
    let bypass = b.push(Op::Bypass, vec![stopped, tanh]);
    p.output("static", static_value);
    p.output("y", bypass);
    let graph = erase(p.graph);
    assert_eq!(graph.node(graph.root(Role::Output, "y").unwrap()).op, Op::Input(0));
    assert!(graph.ty(graph.root(Role::Output, "static").unwrap()).is_stream());
    assert!(!graph.ids().any(|id| graph.node(id).op == Op::Map(Pointwise::Tanh)));
}
