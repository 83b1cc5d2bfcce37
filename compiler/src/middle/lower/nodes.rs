//! The value of a node at a place and step, in instructions.

use std::ops::Range;

use super::{BodyBuilder, Edge, Point};
use crate::ir::graph::ops::{Coordinate, IndexMap};
use crate::ir::graph::{Dim, Elem, NodeId, Number, Op, Pointwise};
use crate::ir::kernel::{BufferId, Inst, Val};

impl BodyBuilder<'_, '_> {
    /// The value of a node at an index and, for a stream, at a step. Pointwise operations come in long
    /// chains, so their operands are pulled from a list, not by recursion.
    pub(super) fn pull(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let mut open = vec![id];
        while let Some(&next) = open.last() {
            match self.open_operand(next, index, time) {
                Some(operand) => open.push(operand),
                None => {
                    self.pull_one(next, index, time);
                    open.pop();
                }
            }
        }
        self.pull_one(id, index, time)
    }

    /// An operand to pull before a pointwise operation: one itself, and not known yet.
    fn open_operand(&self, id: NodeId, index: &[Val], time: Option<Val>) -> Option<NodeId> {
        let is_open = |id: NodeId| {
            let is_at_hand = self.lowering.buffer_of.contains_key(&id)
                || (self.computed.contains_key(&id) && self.is_here(id, index, time))
                || self.pulled.contains_key(&self.point(id, index, time));
            matches!(self.graph.node(id).op, Op::Map(_)) && !is_at_hand
        };
        let args = if is_open(id) { &self.graph.node(id).args[..] } else { &[] };
        args.iter().copied().find(|arg| is_open(*arg))
    }

    fn pull_one(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let point = self.point(id, index, time);
        let time = point.time;
        if let Some(known) = self.pulled.get(&point) {
            return *known;
        }
        let value = match self.computed.get(&id) {
            Some(value) if self.is_here(id, index, time) => *value,
            _ => match self.lowering.buffer_of.get(&id) {
                Some(buffer) => self.load(id, *buffer, index, time),
                None => self.compute(id, index, time),
            },
        };
        self.pulled.insert(point, value);
        value
    }

    fn point(&self, id: NodeId, index: &[Val], time: Option<Val>) -> Point {
        let time = time.filter(|_| self.graph.ty(id).is_stream());
        Point { node: id, index: index.to_vec(), time, inner_steps: self.inner_steps.clone() }
    }

    /// Whether this is the point of the index space that the body is for.
    fn is_here(&self, id: NodeId, index: &[Val], time: Option<Val>) -> bool {
        index == self.axes && time.filter(|_| self.graph.ty(id).is_stream()) == self.time
    }

    fn load(&mut self, id: NodeId, buffer: BufferId, index: &[Val], time: Option<Val>) -> Val {
        if self.is_recurrence && self.members.contains(&id) {
            let same = index.iter().zip(&self.axes).take_while(|(a, b)| a == b).count();
            self.local_axes = self.local_axes.min(same);
        }
        let dims = self.graph.ty(id).dims.clone();
        let at = self.flat_index(&dims, index, time);
        self.inst(Inst::Load(buffer, at))
    }

    pub(super) fn compute(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let span = self.graph.node(id).span;
        let around = self.span;
        self.span = span.or(around);
        let value = self.compute_inside(id, index, time);
        self.span = around;
        value
    }

    fn compute_inside(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        match &node.op {
            Op::Input(_) | Op::Param(_) => {
                let buffer = self.lowering.buffer_of[&id];
                self.load(id, buffer, index, time)
            }
            Op::Const(number, elem) => self.literal(*number, *elem),
            Op::Array { elem, data, .. } => self.number_of(*elem, data, &node.ty.dims, index),
            Op::Size(dim) => {
                let dim = self.dim(dim);
                self.map(Pointwise::ToF32, vec![dim])
            }
            Op::TimeIndex => {
                let step = self.step(time);
                self.map(Pointwise::ToF32, vec![step])
            }
            Op::Iota { axis, .. } => index[*axis],
            Op::Map(op) => {
                let args = node.args.iter().map(|arg| self.pull(*arg, index, time)).collect();
                self.map(*op, args)
            }
            Op::Sg | Op::Bypass => self.pull(node.args[0], index, time),
            Op::Prev | Op::Next => self.delay(id, index, time),
            Op::MatMul | Op::Reduce(..) | Op::TimeReduce(_) => self.reduction(id, index, time),
            Op::Concat { axis } => self.concat(id, *axis, index, time),
            Op::Pad { axis, before, value, .. } => {
                let arg = node.args[0];
                let length = graph.ty(arg).dims[*axis].clone();
                let (inner, inside) = self.inside(index[*axis], before, &length);
                let mut arg_index = index.to_vec();
                arg_index[*axis] = inner;
                let loaded = self.pull(arg, &arg_index, time);
                let outside = self.literal(*value, node.ty.elem);
                self.map(Pointwise::Select, vec![inside, loaded, outside])
            }
            Op::Gather { axis } => {
                let replaced = *axis..axis + graph.ty(node.args[1]).dims.len();
                self.look_up(id, replaced.clone(), &index[replaced], index, time)
            }
            Op::Take { axis } => self.look_up(id, *axis..axis + 1, index, index, time),
            Op::Broadcast(_)
            | Op::Reshape(_)
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip { .. }
            | Op::Windows(_)
            | Op::Shear { .. }
            | Op::First
            | Op::Last
            | Op::TimeStack(_)
            | Op::TimeUnstack => self.view(id, index, time),
        }
    }

    pub(super) fn step(&mut self, time: Option<Val>) -> Val {
        time.unwrap_or_else(|| self.int(0))
    }

    fn last_step(&mut self) -> Val {
        let time = self.graph.time.clone().unwrap_or_else(Dim::one);
        let steps = self.dim(&time);
        self.affine_val(&[(steps, Dim::one())], Dim::constant(-1))
    }

    /// The element of the operand that an element of a view is.
    fn view(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        let from = &graph.ty(node.args[0]).dims;
        let map = node.op.describe(|op| op.index_map(from));
        let (index, time) = match map {
            Some(IndexMap::Stretched(axes)) => {
                let zero = self.int(0);
                (axes.into_iter().map(|axis| axis.map_or(zero, |axis| index[axis])).collect(), time)
            }
            Some(IndexMap::Affine(axes)) => {
                (axes.iter().map(|axis| self.coordinate(axis, index)).collect(), time)
            }
            Some(IndexMap::Regrouped(groups)) => {
                (self.regrouped(from, &node.ty.dims, groups, index), time)
            }
            Some(IndexMap::First) => (index.to_vec(), Some(self.int(0))),
            Some(IndexMap::Last) => (index.to_vec(), Some(self.last_step())),
            Some(IndexMap::TimeFirst) => (index[1..].to_vec(), Some(index[0])),
            Some(IndexMap::FirstIsTime) => {
                (std::iter::once(self.step(time)).chain(index.iter().copied()).collect(), None)
            }
            None => (index.to_vec(), time),
        };
        self.pull(node.args[0], &index, time)
    }

    fn coordinate(&mut self, Coordinate { terms, constant }: &Coordinate, index: &[Val]) -> Val {
        let terms = terms.iter().map(|(axis, factor)| (index[*axis], factor.clone()));
        self.affine_val(&terms.collect::<Vec<_>>(), constant.clone())
    }

    /// Within a group of axes indices are flattened and taken apart.
    fn regrouped(
        &mut self,
        from: &[Dim],
        to: &[Dim],
        groups: Vec<(Range<usize>, Range<usize>)>,
        index: &[Val],
    ) -> Vec<Val> {
        let mut result = Vec::new();
        for (operand, own) in groups {
            let flat = self.flat_index(&to[own.clone()], &index[own], None);
            let mut rest = self.affine_val(&flat.terms, flat.constant);
            let mut group = Vec::new();
            for axis in operand.clone().rev() {
                group.push(match &from[axis] {
                    dim if dim.is_one() => self.int(0),
                    _ if from[operand.start..axis].iter().all(Dim::is_one) => rest,
                    dim => {
                        let inner = self.inst(Inst::Remainder(rest, dim.clone()));
                        rest = self.inst(Inst::Quotient(rest, dim.clone()));
                        inner
                    }
                });
            }
            group.reverse();
            result.extend(group);
        }
        result
    }

    /// `index - before` kept within `0..length`, and whether it was there.
    fn inside(&mut self, index: Val, before: &Dim, length: &Dim) -> (Val, Val) {
        let shifted = self.affine_val(&[(index, Dim::one())], &Dim::zero() - before);
        let zero = self.int(0);
        let last = self.dim(&(length - &Dim::one()));
        let low = self.map(Pointwise::Max, vec![shifted, zero]);
        let kept = self.map(Pointwise::Min, vec![low, last]);
        let inside = self.map(Pointwise::Eq, vec![kept, shifted]);
        (kept, inside)
    }

    fn concat(&mut self, id: NodeId, axis: usize, index: &[Val], time: Option<Val>) -> Val {
        let graph = self.graph;
        let args = &graph.node(id).args;
        let mut start = Dim::zero();
        let mut result = None;
        for arg in args {
            let length = graph.ty(*arg).dims[axis].clone();
            let (inner, _) = self.inside(index[axis], &start, &length);
            let mut arg_index = index.to_vec();
            arg_index[axis] = inner;
            let value = self.pull(*arg, &arg_index, time);
            // Operands from here on start at `start`.
            result = Some(match result {
                None => value,
                Some(before) => {
                    let start = self.dim(&start);
                    let here = self.map(Pointwise::Ge, vec![index[axis], start]);
                    self.map(Pointwise::Select, vec![here, value, before])
                }
            });
            start = &start + &length;
        }
        match result {
            Some(value) => value,
            None => self.float(0.0),
        }
    }

    /// The number of an array at an index: a choice among them, so they are few.
    fn number_of(&mut self, elem: Elem, data: &[Number], dims: &[Dim], index: &[Val]) -> Val {
        let place = self.flat_index(dims, index, None);
        let place = self.affine_val(&place.terms, place.constant);
        let (last, others) = match data.split_last() {
            Some((last, others)) => (*last, others),
            None => (Number(0.0), data),
        };
        let last = self.literal(last, elem);
        others.iter().enumerate().fold(last, |chosen, (at, number)| {
            let (at, number) = (self.int(at as i32), self.literal(*number, elem));
            let is_here = self.map(Pointwise::Eq, vec![place, at]);
            self.map(Pointwise::Select, vec![is_here, number, chosen])
        })
    }

    /// An element of the first operand, where the second, at an index of its own, has its index along the
    /// axis that stands for the `replaced` ones.
    fn look_up(
        &mut self,
        id: NodeId,
        replaced: Range<usize>,
        own_index: &[Val],
        index: &[Val],
        time: Option<Val>,
    ) -> Val {
        let graph = self.graph;
        let node = graph.node(id);
        let position = self.pull(node.args[1], own_index, time);
        let length = graph.ty(node.args[0]).dims[replaced.start].clone();
        let zero = self.int(0);
        let from_end = self.affine_val(&[(position, Dim::one())], length.clone());
        let is_from_end = self.map(Pointwise::Lt, vec![position, zero]);
        let position = self.map(Pointwise::Select, vec![is_from_end, from_end, position]);
        let (kept, inside) = self.inside(position, &Dim::zero(), &length);
        let mut arg_index = index.to_vec();
        arg_index.splice(replaced, [kept]);
        let value = self.pull(node.args[0], &arg_index, time);
        let outside = if node.ty.elem == Elem::F32 { f64::NAN } else { 0.0 };
        let outside = self.literal(Number(outside), node.ty.elem);
        self.map(Pointwise::Select, vec![inside, value, outside])
    }

    /// `prev` or `next`: the operand one step off, the initial value at the edge.
    fn delay(&mut self, id: NodeId, index: &[Val], time: Option<Val>) -> Val {
        let node = self.graph.node(id);
        let step = self.step(time);
        let is_next = node.op == Op::Next;
        let (edge, offset) = if is_next { (Edge::Last, 1) } else { (Edge::First, -1) };
        let other = self.affine_val(&[(step, Dim::one())], Dim::constant(offset));
        if self.inner_steps.contains(&(step, edge)) {
            // A loop's time never is at the edge; a kernel's may be, and is corrected after the loop.
            let is_inner = matches!(self.stage.inst(step), Inst::LoopTime(_));
            let other = if is_inner { other } else { self.clamp_step(other, edge) };
            return self.pull(node.args[0], index, Some(other));
        }
        let clamped = self.clamp_step(other, edge);
        let value = self.pull(node.args[0], index, Some(clamped));
        let init = self.pull(node.args[1], index, None);
        let at_edge = self.at_edge(step, edge);
        self.map(Pointwise::Select, vec![at_edge, init, value])
    }

    fn clamp_step(&mut self, step: Val, edge: Edge) -> Val {
        match edge {
            Edge::First => {
                let zero = self.int(0);
                self.map(Pointwise::Max, vec![step, zero])
            }
            Edge::Last => {
                let last = self.last_step();
                self.map(Pointwise::Min, vec![step, last])
            }
        }
    }

    pub(super) fn at_edge(&mut self, step: Val, edge: Edge) -> Val {
        let end = match edge {
            Edge::First => self.int(0),
            Edge::Last => self.last_step(),
        };
        self.map(Pointwise::Eq, vec![step, end])
    }
}
