//! The product of matrices.

use super::{Class, Operation, Reads, invariant};
use crate::front::syntax::ast::{BinaryOp, Expr};
use crate::ir::graph::facts::{Fact, Place, range};
use crate::ir::graph::infer::{TypeError, arity, clock, expect_elem, expect_number};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::op::Reduction;
use crate::ir::graph::syntax::{binary, pair};
use crate::ir::graph::{Builder, Dim, Graph, NodeId, Type};

pub(super) const NAME: &str = "matmul";

pub(super) struct MatMul;

impl Operation for MatMul {
    fn name(&self) -> &'static str {
        NAME
    }

    fn class(&self) -> Class {
        Class::Reduction(Reduction::Sum)
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        let [left, right] = pair(args);
        binary(BinaryOp::MatMul, left, right)
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 2)?;
        let (a, b) = (&args[0].dims, &args[1].dims);
        expect_number(0, args[0])?;
        expect_elem(1, args[1], args[0].elem)?;
        let mismatch = |operand: usize, expected: String| {
            Err(TypeError::Dims { operand, expected, found: args[operand].dims.clone() })
        };
        if a.len() < 2 {
            return mismatch(0, "[.., M, K]".into());
        }
        let batch = a.len() - 2;
        if b.len() != a.len() || a[..batch] != b[..batch] {
            return mismatch(1, format!("{:?} and two more", &a[..batch]));
        }
        if a[batch + 1] != b[batch] {
            return mismatch(1, format!("[.., {}, N]", a[batch + 1]));
        }
        let dims = a[..=batch].iter().chain(&b[batch + 1..]).cloned().collect();
        Ok(Type::new(args[0].elem, dims, clock(args)))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        let columns = site.dims().last().copied().unwrap_or(1);
        let (batch, [rows, inner]) = match site.operand(0).split_last_chunk() {
            Some((batch, last)) => (batch.iter().product(), *last),
            None => (1, [1, 1]),
        };
        Ok(Kernel::MatMul { batch, rows, inner, columns, elem: site.elem() })
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        let (left_t, right_t) = (b.transpose(x[0]), b.transpose(x[1]));
        vec![Some(b.matmul(dy, right_t)), Some(b.matmul(left_t, dy))]
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        vec![vec![0], vec![1]]
    }

    fn fact(&self, args: &[Fact], place: Place) -> Fact {
        let sum = range::sum(&range::mul(args), place.count);
        Fact { invariant: invariant(args), ..sum }
    }

    fn count(&self, graph: &Graph, args: &[NodeId]) -> Option<Dim> {
        graph.ty(args[0]).dims.last().cloned()
    }

    fn only_overflows(&self, _: &[Fact]) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::Often
    }

    fn looks_up(&self, _: usize) -> bool {
        true
    }

    fn label(&self) -> &'static str {
        "product"
    }
}
