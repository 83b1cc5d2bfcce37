//! `sg` and `bypass`, which are about derivatives alone.

use super::{Class, Operation};
use crate::ir::graph::facts::{Fact, Place};
use crate::ir::graph::infer::{TypeError, arity, clock, expect_elem, same_dims};
use crate::ir::graph::interpret::{Fault, Kernel, Site};
use crate::ir::graph::{Builder, Elem, NodeId, Type};

pub(super) const SG: &str = "sg";
pub(super) const BYPASS: &str = "bypass";

pub(super) struct Sg;

impl Operation for Sg {
    fn name(&self) -> &'static str {
        SG
    }

    fn class(&self) -> Class {
        Class::Pointwise
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 1)?;
        Ok(args[0].clone())
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(Kernel::Copy { start: 0, len: site.len() })
    }

    fn has_derivative(&self, _: usize) -> bool {
        false
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn is_launched(&self) -> bool {
        false
    }
}

pub(super) struct Bypass;

impl Operation for Bypass {
    fn name(&self) -> &'static str {
        BYPASS
    }

    fn class(&self) -> Class {
        Class::Pointwise
    }

    fn infer(&self, args: &[&Type]) -> Result<Type, TypeError> {
        arity(args, 2)?;
        same_dims(args)?;
        args.iter().enumerate().try_for_each(|(i, ty)| expect_elem(i, ty, Elem::F32))?;
        Ok(Type { clock: clock(args), ..args[0].clone() })
    }

    fn kernel<'a>(&self, site: &Site<'_, 'a>) -> Result<Kernel<'a>, Fault> {
        Ok(if site.is_frozen() { Kernel::Shift } else { Kernel::Bypass })
    }

    fn has_derivative(&self, operand: usize) -> bool {
        operand == 1
    }

    fn vjp(&self, _: &mut Builder, _: &[NodeId], _: NodeId, dy: NodeId) -> Vec<Option<NodeId>> {
        vec![None, Some(dy)]
    }

    fn fact(&self, args: &[Fact], _: Place) -> Fact {
        args[0]
    }

    fn is_launched(&self) -> bool {
        false
    }
}
