//! Random numbers: words of Philox, by the seed, the number of the run, the place in the program, the step and the
//! element.

use crate::front::check::elaborate::{Arguments, Value};
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, Elem, NodeId, Number, Op, Pointwise, Type};

/// How they are distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// In [0, 1).
    Uniform,
    /// With mean 0 and deviation 1.
    Normal,
    /// 1 with the probability that the operand is, else 0.
    Bernoulli,
}

/// Numbers of the dimensions of the operand.
#[derive(Debug)]
struct Draw {
    distribution: Distribution,
    /// Among the draws in the text.
    place: i32,
}

pub fn read(call: &mut Arguments<'_, '_, '_>, distribution: Distribution) -> Option<Value> {
    call.elaborator.draws += 1;
    let place = call.elaborator.draws;
    call.apply(Draw { distribution, place }, 1)
}

impl Operation for Draw {
    fn name(&self) -> &'static str {
        match self.distribution {
            Distribution::Uniform => "uniform",
            Distribution::Normal => "normal",
            Distribution::Bernoulli => "bernoulli",
        }
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        Ok(rules.of_first())
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.require(dtypes.args()[0], Elem::F32)?;
        dtypes.result(Elem::F32)
    }

    /// Without a derivative to the operand.
    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let ty = e.builder.ty(args[0]).clone();
        let word = word(e, &ty, self.place)?;
        if self.distribution == Distribution::Normal {
            return Ok(e.builder.unary(Pointwise::Normal, word));
        }
        let uniform = e.builder.unary(Pointwise::Unit, word);
        if self.distribution == Distribution::Uniform {
            return Ok(uniform);
        }
        let is_below = e.builder.binary(Pointwise::Lt, uniform, args[0]);
        Ok(e.builder.unary(Pointwise::ToF32, is_below))
    }
}

/// Random bits for each element and step.
fn word(e: &mut Emitter<'_, '_>, ty: &Type, place: i32) -> Result<NodeId, Problem> {
    let [seed, run] = e.random_state();
    let place = number(e, place)?;
    let key = e.builder.map(Pointwise::Philox, &[seed, run, place]);
    let step = match ty.is_stream() {
        true => {
            let step = e.step()?;
            e.builder.unary(Pointwise::ToI32, step)
        }
        false => number(e, 0)?,
    };
    let index = element(e, &ty.dims);
    let [key, step] = [key, step].map(|x| e.builder.broadcast(x, &ty.dims));
    Ok(e.builder.map(Pointwise::Philox, &[key, step, index]))
}

fn number(e: &mut Emitter<'_, '_>, value: i32) -> Result<NodeId, Problem> {
    e.push(Op::Const(Number(f64::from(value)), Elem::I32), vec![])
}

/// The number of each element of a tensor, row by row.
fn element(e: &mut Emitter<'_, '_>, dims: &[Dim]) -> NodeId {
    let mut index = None;
    for axis in 0..dims.len() {
        let own = e.builder.push(Op::Iota { axis, dims: dims.to_vec() }, vec![]);
        index = Some(match index {
            None => own,
            Some(outer) => {
                let length = e.builder.size(dims[axis].clone(), Elem::I32);
                let length = e.builder.broadcast(length, dims);
                let start = e.builder.mul(outer, length);
                e.builder.add(start, own)
            }
        });
    }
    index.unwrap_or_else(|| e.builder.size(Dim::zero(), Elem::I32))
}
