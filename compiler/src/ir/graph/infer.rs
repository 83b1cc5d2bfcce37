//! The type rule of every operation.

use super::op::{Op, Reduction, Signature};
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

/// The type of an operation's result. `Input` and `Param` take theirs from the graph's lists and are
/// refused here.
pub fn infer(op: &Op, args: &[&Type]) -> Result<Type, TypeError> {
    let arity = |expected: usize| match args.len() {
        found if found == expected => Ok(()),
        found => Err(TypeError::Arity { expected, found }),
    };
    let clock = if args.iter().any(|ty| ty.is_stream()) { Clock::Stream } else { Clock::Static };
    let axis_of = |axis: usize, ty: &Type| match ty.dims.get(axis) {
        Some(dim) => Ok(dim.clone()),
        None => Err(TypeError::Axis { axis, rank: ty.dims.len() }),
    };
    let with_axis = |axis: usize, dim: Dim| {
        let mut dims = args[0].dims.clone();
        dims[axis] = dim;
        Type::new(args[0].elem, dims, clock)
    };
    Ok(match op {
        Op::Input(_) | Op::Param(_) => {
            return Err(TypeError::Attribute("its type is declared, not inferred".into()));
        }
        Op::Const(_, elem) => Type::new(*elem, vec![], Clock::Static),
        Op::Size(_) => Type::new(Elem::F32, vec![], Clock::Static),
        Op::TimeIndex => Type::new(Elem::F32, vec![], Clock::Stream),
        Op::Iota { axis, dims } => {
            let ty = Type::new(Elem::I32, dims.clone(), Clock::Static);
            axis_of(*axis, &ty)?;
            ty
        }
        Op::Map(pointwise) => {
            arity(pointwise.row().arity)?;
            return map_type(pointwise.row().signature, args, clock);
        }
        Op::Sg => {
            arity(1)?;
            args[0].clone()
        }
        Op::Bypass => {
            arity(2)?;
            same_dims(args)?;
            args.iter().enumerate().try_for_each(|(i, ty)| expect_elem(i, ty, Elem::F32))?;
            Type { clock, ..args[0].clone() }
        }
        Op::Broadcast(dims) => {
            arity(1)?;
            let from = &args[0].dims;
            let fits = from.len() <= dims.len()
                && from.iter().rev().zip(dims.iter().rev()).all(|(a, b)| a == b || a.is_one());
            if !fits {
                let expected = format!("dimensions that broadcast to {dims:?}");
                return Err(TypeError::Dims { operand: 0, expected, found: from.clone() });
            }
            Type { dims: dims.clone(), ..args[0].clone() }
        }
        Op::Reshape(dims) => {
            arity(1)?;
            if Dim::product(dims) != args[0].len() {
                let expected = format!("as many elements as {dims:?}");
                return Err(TypeError::Dims { operand: 0, expected, found: args[0].dims.clone() });
            }
            Type { dims: dims.clone(), ..args[0].clone() }
        }
        Op::Permute(order) => {
            arity(1)?;
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..args[0].dims.len()) {
                let rank = args[0].dims.len();
                return Err(TypeError::Attribute(format!("{order:?} is no order of {rank} axes")));
            }
            let dims = order.iter().map(|&axis| args[0].dims[axis].clone()).collect();
            Type { dims, ..args[0].clone() }
        }
        Op::Slice { axis, start, end } => {
            arity(1)?;
            let dim = axis_of(*axis, args[0])?;
            let inside = |bound: &Dim| match (bound.as_const(), dim.as_const()) {
                (Some(bound), Some(dim)) => (0..=dim).contains(&bound),
                (Some(bound), None) => bound >= 0,
                _ => true,
            };
            let length = end - start;
            if !inside(start) || !inside(end) || length.as_const().is_some_and(|n| n < 0) {
                return Err(TypeError::Attribute(format!("{start}..{end} of an axis of {dim}")));
            }
            with_axis(*axis, length)
        }
        Op::Concat { axis } => {
            let Some(first) = args.first() else {
                return Err(TypeError::Arity { expected: 1, found: 0 });
            };
            let mut total = Dim::zero();
            for (operand, ty) in args.iter().enumerate() {
                total = &total + &axis_of(*axis, ty)?;
                expect_elem(operand, ty, first.elem)?;
                let others = |ty: &Type| {
                    let mut dims = ty.dims.clone();
                    dims.remove(*axis);
                    dims
                };
                if others(ty) != others(first) {
                    let expected = format!("{:?} but for axis {axis}", first.dims);
                    return Err(TypeError::Dims { operand, expected, found: ty.dims.clone() });
                }
            }
            with_axis(*axis, total)
        }
        Op::Pad { axis, before, after, .. } => {
            arity(1)?;
            let dim = axis_of(*axis, args[0])?;
            if [before, after].iter().any(|pad| pad.as_const().is_some_and(|n| n < 0)) {
                return Err(TypeError::Attribute("a padding is negative".into()));
            }
            with_axis(*axis, &(&dim + before) + after)
        }
        Op::Flip { axis } => {
            arity(1)?;
            axis_of(*axis, args[0])?;
            args[0].clone()
        }
        Op::Gather { axis } => {
            arity(2)?;
            axis_of(*axis, args[0])?;
            expect_elem(1, args[1], Elem::I32)?;
            let mut dims = args[0].dims.clone();
            dims.splice(axis..=axis, args[1].dims.iter().cloned());
            Type::new(args[0].elem, dims, clock)
        }
        Op::MatMul => {
            arity(2)?;
            matmul_type(args, clock)?
        }
        Op::Reduce(reduction, axes) => {
            arity(1)?;
            if !axes.is_sorted_by(|a, b| a < b) {
                return Err(TypeError::Attribute(format!("axes {axes:?} are not ascending")));
            }
            for &axis in axes {
                axis_of(axis, args[0])?;
            }
            expect_elem(0, args[0], Elem::F32)?;
            if *reduction == Reduction::ArgMax && axes.len() != 1 {
                return Err(TypeError::Attribute("argmax takes one axis".into()));
            }
            let kept = args[0].dims.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
            let elem = if *reduction == Reduction::ArgMax { Elem::I32 } else { Elem::F32 };
            Type::new(elem, kept.map(|(_, dim)| dim.clone()).collect(), clock)
        }
        Op::Prev | Op::Next => {
            arity(2)?;
            expect_stream(0, args[0])?;
            if args[1].is_stream() {
                return Err(TypeError::NotStatic { operand: 1 });
            }
            expect_elem(1, args[1], args[0].elem)?;
            same_dims(args)?;
            args[0].clone()
        }
        Op::First | Op::Last => {
            arity(1)?;
            expect_stream(0, args[0])?;
            Type { clock: Clock::Static, ..args[0].clone() }
        }
        Op::TimeReduce(reduction) => {
            arity(1)?;
            expect_stream(0, args[0])?;
            expect_elem(0, args[0], Elem::F32)?;
            if !matches!(reduction, Reduction::Sum | Reduction::Max) {
                return Err(TypeError::Attribute("only sum and max reduce over time".into()));
            }
            Type { clock: Clock::Static, ..args[0].clone() }
        }
    })
}

fn map_type(signature: Signature, args: &[&Type], clock: Clock) -> Result<Type, TypeError> {
    same_dims(args)?;
    let all = |elem: Elem| {
        args.iter().enumerate().try_for_each(|(operand, ty)| expect_elem(operand, ty, elem))
    };
    let elem = match signature {
        Signature::Float => {
            all(Elem::F32)?;
            Elem::F32
        }
        Signature::Numeric => {
            if args[0].elem == Elem::Bool {
                return Err(TypeError::Elem {
                    operand: 0,
                    expected: "f32 or i32",
                    found: Elem::Bool,
                });
            }
            all(args[0].elem)?;
            args[0].elem
        }
        Signature::Compare => {
            all(args[0].elem)?;
            Elem::Bool
        }
        Signature::Logic => {
            all(Elem::Bool)?;
            Elem::Bool
        }
        Signature::Choice => {
            expect_elem(0, args[0], Elem::Bool)?;
            expect_elem(2, args[2], args[1].elem)?;
            args[1].elem
        }
        Signature::ToFloat => {
            if args[0].elem == Elem::F32 {
                return Err(TypeError::Elem {
                    operand: 0,
                    expected: "i32 or bool",
                    found: Elem::F32,
                });
            }
            Elem::F32
        }
        Signature::ToInteger => {
            all(Elem::F32)?;
            Elem::I32
        }
    };
    Ok(Type::new(elem, args[0].dims.clone(), clock))
}

fn matmul_type(args: &[&Type], clock: Clock) -> Result<Type, TypeError> {
    let (a, b) = (&args[0].dims, &args[1].dims);
    expect_elem(0, args[0], Elem::F32)?;
    expect_elem(1, args[1], Elem::F32)?;
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
    let mut dims = a[..=batch].to_vec();
    dims.push(b[batch + 1].clone());
    Ok(Type::new(Elem::F32, dims, clock))
}

fn same_dims(args: &[&Type]) -> Result<(), TypeError> {
    match args.iter().position(|ty| ty.dims != args[0].dims) {
        None => Ok(()),
        Some(operand) => Err(TypeError::Dims {
            operand,
            expected: format!("{:?}", args[0].dims),
            found: args[operand].dims.clone(),
        }),
    }
}

fn expect_elem(operand: usize, ty: &Type, expected: Elem) -> Result<(), TypeError> {
    if ty.elem == expected {
        return Ok(());
    }
    Err(TypeError::Elem { operand, expected: expected.name(), found: ty.elem })
}

fn expect_stream(operand: usize, ty: &Type) -> Result<(), TypeError> {
    if ty.is_stream() { Ok(()) } else { Err(TypeError::NotAStream { operand }) }
}
