//! Loops, and what they put together.

use super::{BodyBuilder, Edge};
use crate::ir::graph::ops::Class;
use crate::ir::graph::{Dim, Elem, NodeId, Op, Pointwise, Reduction};
use crate::ir::kernel::{Inst, ReduceLoop, Val};

impl BodyBuilder<'_, '_> {
    pub(super) fn reduction(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let Class::Reduction(reduction) = self.graph.node(id).op.class() else {
            return self.pull(id, index, time);
        };
        let number = self.stage.loops.len();
        let elem = self.graph.ty(self.graph.node(id).args[0]).elem;
        self.stage.loops.push(ReduceLoop {
            reduction,
            elem,
            axes: Vec::new(),
            over_time: false,
            without_first: false,
            without_last: false,
            body: Vec::new(),
            value: Val(0),
        });
        let outside = self.inner_steps.clone();
        let mut step_edge = None;
        let value = self.summand(number, id, index, time, &mut step_edge);
        self.inner_steps = outside;
        let value = self.in_loop(number, value);
        self.stage.loops[number].value = value;
        let result = self.inst(Inst::Reduce(number));
        match step_edge {
            None => result,
            Some((step, edge)) => {
                let at_edge = self.at_edge(step, edge);
                let zero = if elem == Elem::I32 { self.int(0) } else { self.float(0.0) };
                self.map(Pointwise::Select, vec![at_edge, zero, result])
            }
        }
    }

    /// A value as one of the loop's own: a loop reduces what it computes.
    fn in_loop(&mut self, number: usize, value: Val) -> Val {
        if self.scope.get(&value) == Some(&number) {
            return value;
        }
        // The same at each iteration; a choice that depends on nothing keeps it inside.
        let val = self.push(Inst::Map(Pointwise::Max, vec![value, value]));
        self.scope.insert(val, number);
        self.stage.loops[number].body.push(val);
        val
    }

    /// What loop `number` reduces for a node: sums inside a sum become further axes of it.
    fn summand(
        &mut self,
        number: usize,
        id: NodeId,
        index: &[Val],
        time: Option<Val>,
        step_edge: &mut Option<(Val, Edge)>,
    ) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        let sum = self.stage.loops[number].reduction == Reduction::Sum;
        if let Op::TimeReduce(_) = node.op {
            let arg = node.args[0];
            let step = self.inst(Inst::LoopTime(number));
            self.stage.loops[number].over_time = true;
            if sum && self.vanishes(arg, Edge::First) {
                self.stage.loops[number].without_first = true;
                self.inner_steps.insert((step, Edge::First));
            }
            if sum && self.vanishes(arg, Edge::Last) {
                self.stage.loops[number].without_last = true;
                self.inner_steps.insert((step, Edge::Last));
            }
            return self.summand_or_value(number, arg, index, Some(step), step_edge);
        }
        if let Op::Reduce(_, axes) = &node.op {
            let arg = node.args[0];
            let dims = &graph.ty(arg).dims;
            let mut kept = index.iter();
            let mut arg_index = Vec::new();
            for (axis, dim) in dims.iter().enumerate() {
                arg_index.push(match axes.contains(&axis) {
                    true => self.loop_axis(number, dim),
                    false => kept.next().copied().unwrap_or(Val(0)),
                });
            }
            return self.summand_or_value(number, arg, &arg_index, time, step_edge);
        }
        let (a, b) = (node.args[0], node.args[1]);
        let rank = index.len();
        let length = graph.ty(a).dims[rank - 1].clone();
        let k = self.loop_axis(number, &length);
        let step = self.step(time);
        for edge in [Edge::First, Edge::Last] {
            let known = self.inner_steps.contains(&(step, edge));
            if time.is_some() && !known && self.vanishes(id, edge) {
                self.inner_steps.insert((step, edge));
                *step_edge = Some((step, edge));
            }
        }
        let mut left = index.to_vec();
        left[rank - 1] = k;
        let mut right = index.to_vec();
        right[rank - 2] = k;
        let left = self.pull(a, &left, time);
        let right = self.pull(b, &right, time);
        // Not folded: a loop reduces a product even where a factor is a literal.
        self.inst(Inst::Map(Pointwise::Mul, vec![left, right]))
    }

    fn summand_or_value(
        &mut self,
        number: usize,
        id: NodeId,
        index: &[Val],
        time: Option<Val>,
        step_edge: &mut Option<(Val, Edge)>,
    ) -> Val {
        let merges = self.stage.loops[number].reduction == Reduction::Sum
            && crate::middle::schedule::is_sum(&self.graph.node(id).op)
            && !self.lowering.buffer_of.contains_key(&id);
        match merges {
            true => self.summand(number, id, index, time, step_edge),
            false => self.pull(id, index, time),
        }
    }

    fn loop_axis(&mut self, number: usize, length: &Dim) -> Val {
        let axes = &mut self.stage.loops[number].axes;
        axes.push(length.clone());
        let axis = axes.len() - 1;
        self.inst(Inst::LoopAxis(number, axis))
    }

    /// The value is zero at the first (last) step: a factor is a delay from zero.
    fn vanishes(&self, id: NodeId, edge: Edge) -> bool {
        if self.lowering.buffer_of.contains_key(&id) {
            return false;
        }
        let node = self.graph.node(id);
        match (&node.op, edge) {
            (Op::Prev, Edge::First) | (Op::Next, Edge::Last) => {
                self.graph.as_number(node.args[1]) == Some(0.0)
            }
            (Op::MatMul | Op::Map(Pointwise::Mul), _) => {
                node.args.iter().any(|arg| self.vanishes(*arg, edge))
            }
            (
                Op::Reduce(Reduction::Sum, _)
                | Op::Map(Pointwise::Neg)
                | Op::Permute(_)
                | Op::Reshape(_)
                | Op::Broadcast(_)
                | Op::Slice { .. },
                _,
            ) => self.vanishes(node.args[0], edge),
            _ => false,
        }
    }
}
