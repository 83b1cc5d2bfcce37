//! Pointwise operations, of which [`TABLE`](crate::ir::graph::pointwise::TABLE) says everything.

use super::{Class, Operation};
use crate::front::syntax::ast::Expr;
use crate::ir::graph::facts::{Fact, Place, integers, pointwise, range};
use crate::ir::graph::infer::{TypeError, arity, clock, expect_elem, same_dims};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::op::Pointwise;
use crate::ir::graph::pointwise::Signature;
use crate::ir::graph::syntax::map;
use crate::ir::graph::{Builder, Elem, NodeId, Type};

pub(super) struct Map(pub Pointwise);

impl Operation for Map {
    fn name(&self) -> &'static str {
        self.0.row().name
    }

    fn class(&self) -> Class {
        Class::Pointwise
    }

    fn written(&self, args: Vec<Expr>) -> Expr {
        map(self.0, args)
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, self.0.row().arity)?;
        same_dims(args)?;
        let elem = elem(self.0.row().signature, args)?;
        Ok(Type::new(elem, args[0].dims.clone(), clock(args)))
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Map(self.0.row(), site.elem()))
    }

    fn has_derivative(&self, operand: usize) -> bool {
        self.0.row().vjp.is_some() && !(self.0 == Pointwise::Select && operand == 0)
    }

    fn vjp(&self, b: &mut Builder, x: &[NodeId], y: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        self.0.row().vjp.map_or_else(|| vec![None; x.len()], |vjp| vjp(b, x, y, dy))
    }

    fn linear_in(&self, _: usize) -> Vec<Vec<usize>> {
        use Pointwise::*;
        match self.0 {
            Mul => vec![vec![0], vec![1]],
            Div => vec![vec![0]],
            Select => vec![vec![1, 2]],
            Neg | Exp | Log | Sqrt | Rsqrt | Abs | Sign | Floor | Ceil | Round | Sin | Cos
            | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Sigmoid | Relu | Softplus | Erf
            | Not | ToF32 | ToI32 | Add | Sub | Rem | Philox | Unit | Normal | Pow | Atan2
            | Min | Max | Lt | Le | Gt | Ge | Eq | Ne | And | Or | Clamp => vec![],
        }
    }

    fn fact(&self, args: &[Fact], place: Place) -> Fact {
        match (self.0, place.elem) {
            (operation, Elem::I32) => integers(operation, args),
            (Pointwise::Mul, _) if place.same => range::square(&args[0]),
            (operation, _) => pointwise(operation, args),
        }
    }

    fn only_overflows(&self, args: &[Fact]) -> bool {
        use Pointwise::*;
        match self.0 {
            Add | Sub | Mul | Softplus => true,
            Div => args[1].is_non_zero(),
            Pow => args[1].constant.is_some_and(|n| n.0 >= 0.0 && n.0.fract() == 0.0),
            Neg | Exp | Log | Sqrt | Rsqrt | Abs | Sign | Floor | Ceil | Round | Sin | Cos
            | Tan | Asin | Acos | Atan | Sinh | Cosh | Tanh | Sigmoid | Relu | Erf | Not
            | ToF32 | ToI32 | Rem | Philox | Unit | Normal | Atan2 | Min | Max | Lt | Le | Gt
            | Ge | Eq | Ne | And | Or | Select | Clamp => false,
        }
    }

    fn cost(&self) -> u32 {
        self.0.row().cost
    }
}

/// The type of the result's elements.
fn elem(signature: Signature, args: &[&Type]) -> Result<Elem, TypeError> {
    let first = args[0].elem;
    let all = |elem: Elem| {
        args.iter().enumerate().try_for_each(|(operand, ty)| expect_elem(operand, ty, elem))
    };
    let other = |expected| Err(TypeError::Elem { operand: 0, expected, found: first });
    match signature {
        Signature::Float => all(Elem::F32).map(|()| Elem::F32),
        Signature::Numeric if first == Elem::Bool => other("f32 or i32"),
        Signature::Numeric => all(first).map(|()| first),
        Signature::Integer => all(Elem::I32).map(|()| Elem::I32),
        Signature::Compare => all(first).map(|()| Elem::Bool),
        Signature::Logic => all(Elem::Bool).map(|()| Elem::Bool),
        Signature::Choice => {
            expect_elem(0, args[0], Elem::Bool)?;
            expect_elem(2, args[2], args[1].elem)?;
            Ok(args[1].elem)
        }
        Signature::Bits => all(Elem::I32).map(|()| Elem::F32),
        Signature::ToFloat if first == Elem::F32 => other("i32 or bool"),
        Signature::ToFloat => Ok(Elem::F32),
        Signature::ToInteger => all(Elem::F32).map(|()| Elem::I32),
    }
}
