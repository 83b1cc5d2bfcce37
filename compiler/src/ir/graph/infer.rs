//! What the type rules of operations are written with, and how they fail.

use super::{Clock, Dim, Elem, Type};

/// Why an operation does not take its operands. The positions are operand numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    #[error("takes {expected} operands, found {found}")]
    Arity { expected: usize, found: usize },
    #[error("operand {operand} has elements of type {found}, expected {expected}", found = .found.name())]
    Elem { operand: usize, expected: &'static str, found: Elem },
    #[error("operand {operand} has dimensions {found:?}, expected {expected}")]
    Dims { operand: usize, expected: String, found: Vec<Dim> },
    #[error("axis {axis} of a tensor of rank {rank}")]
    Axis { axis: usize, rank: usize },
    #[error("operand {operand} must be a stream")]
    NotAStream { operand: usize },
    #[error("operand {operand} must be static")]
    NotStatic { operand: usize },
    #[error("{0}")]
    Attribute(String),
}

/// There are as many operands as expected.
pub fn arity(args: &[&Type], expected: usize) -> Result<(), TypeError> {
    match args.len() {
        found if found == expected => Ok(()),
        found => Err(TypeError::Arity { expected, found }),
    }
}

/// A stream if an operand is one.
pub fn clock(args: &[&Type]) -> Clock {
    if args.iter().any(|ty| ty.is_stream()) { Clock::Stream } else { Clock::Static }
}

/// The length of an axis.
pub fn axis_of(axis: usize, ty: &Type) -> Result<Dim, TypeError> {
    match ty.dims.get(axis) {
        Some(dim) => Ok(dim.clone()),
        None => Err(TypeError::Axis { axis, rank: ty.dims.len() }),
    }
}

/// The type of the first operand with another length of an axis.
pub fn with_axis(args: &[&Type], axis: usize, length: Dim) -> Type {
    let mut dims = args[0].dims.clone();
    dims[axis] = length;
    Type::new(args[0].elem, dims, clock(args))
}

pub fn same_dims(args: &[&Type]) -> Result<(), TypeError> {
    match args.iter().position(|ty| ty.dims != args[0].dims) {
        None => Ok(()),
        Some(operand) => Err(TypeError::Dims {
            operand,
            expected: format!("{:?}", args[0].dims),
            found: args[operand].dims.clone(),
        }),
    }
}

pub fn expect_elem(operand: usize, ty: &Type, expected: Elem) -> Result<(), TypeError> {
    if ty.elem == expected {
        return Ok(());
    }
    Err(TypeError::Elem { operand, expected: expected.name(), found: ty.elem })
}

/// Elements to calculate with: f32 or i32.
pub fn expect_number(operand: usize, ty: &Type) -> Result<(), TypeError> {
    match ty.elem {
        Elem::F32 | Elem::I32 => Ok(()),
        found => Err(TypeError::Elem { operand, expected: "f32 or i32", found }),
    }
}

pub fn expect_stream(operand: usize, ty: &Type) -> Result<(), TypeError> {
    if ty.is_stream() { Ok(()) } else { Err(TypeError::NotAStream { operand }) }
}
