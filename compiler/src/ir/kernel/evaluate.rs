//! Runs a program slowly, in f64, point by point: the oracle of tests for lowering and for devices.
//! A dimension that is not given is an error.

use super::*;
use crate::ir::graph::Bindings;

/// The contents of all buffers after the passes, each filled with NaN before.
pub fn evaluate(
    program: &Program,
    bindings: &Bindings,
    given: impl Fn(&str) -> Vec<f64>,
) -> Result<Vec<Vec<f64>>, DimError> {
    let buffers = program.buffer_ids().map(|id| match program.buffer(id).source {
        BufferSource::Input(index) => Ok(given(&program.inputs[index].name)),
        BufferSource::Param(index) => Ok(given(&program.params[index].path)),
        BufferSource::Kernel => Ok(vec![f64::NAN; program.elements(id).eval(bindings)? as usize]),
    });
    let buffers = buffers.collect::<Result<_, DimError>>()?;
    let steps = program.time.as_ref().map_or(Ok(1), |time| time.eval(bindings))?;
    let mut machine = Machine { program, bindings, buffers, steps };
    for kernel in program.kernels() {
        match kernel.recurrence {
            None => {
                let stage = &kernel.stages[0];
                let steps = if stage.timed { steps } else { 1 };
                (0..steps).try_for_each(|step| machine.run(stage, step))?;
            }
            Some(direction) => {
                for step in 0..steps {
                    let step = match direction {
                        Direction::Forward => step,
                        Direction::Backward => steps - 1 - step,
                    };
                    kernel.stages.iter().try_for_each(|stage| machine.run(stage, step))?;
                }
            }
        }
    }
    Ok(machine.buffers)
}

struct Machine<'a> {
    program: &'a Program,
    bindings: &'a Bindings,
    buffers: Vec<Vec<f64>>,
    steps: i64,
}

impl Machine<'_> {
    fn run(&mut self, stage: &Stage, step: i64) -> Result<(), DimError> {
        let extents = stage.axes.iter().map(|dim| self.dim(dim)).collect::<Result<Vec<_>, _>>()?;
        for point in points(&extents) {
            let mut values = vec![f64::NAN; stage.insts.len()];
            for val in &stage.body {
                values[val.0 as usize] = match stage.inst(*val) {
                    Inst::Reduce(index) => self.reduce(stage, *index, &point, step, &mut values),
                    _ => self.value(stage, *val, &point, step, (0, &[]), &values),
                }?;
            }
            for store in &stage.stores {
                let at = self.affine(&store.at, &values)? as usize;
                self.buffers[store.buffer.0 as usize][at] = values[store.value.0 as usize];
            }
        }
        Ok(())
    }

    fn reduce(
        &self,
        stage: &Stage,
        index: usize,
        point: &[i64],
        step: i64,
        values: &mut [f64],
    ) -> Result<f64, DimError> {
        let reduce = &stage.loops[index];
        let extents = reduce.axes.iter().map(|dim| self.dim(dim)).collect::<Result<Vec<_>, _>>()?;
        let steps = match reduce.over_time {
            true => i64::from(reduce.without_first)..self.steps - i64::from(reduce.without_last),
            false => 0..1,
        };
        let mut items = Vec::new();
        for loop_step in steps {
            for inner in points(&extents) {
                for val in &reduce.body {
                    values[val.0 as usize] =
                        self.value(stage, *val, point, step, (loop_step, &inner), values)?;
                }
                items.push(values[reduce.value.0 as usize]);
            }
        }
        let fold = |op: Pointwise, start: f64| {
            items.iter().fold(start, |sum, item| op.row().evaluate(reduce.elem, &[sum, *item]))
        };
        Ok(match reduce.reduction {
            Reduction::Sum => fold(Pointwise::Add, 0.0),
            Reduction::Prod => fold(Pointwise::Mul, 1.0),
            Reduction::Max => items.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Reduction::Min => items.iter().copied().fold(f64::INFINITY, f64::min),
            Reduction::ArgMax => {
                let mut best = 0;
                for (at, item) in items.iter().enumerate() {
                    if *item > items[best] {
                        best = at;
                    }
                }
                best as f64
            }
        })
    }

    fn value(
        &self,
        stage: &Stage,
        val: Val,
        point: &[i64],
        step: i64,
        inner: (i64, &[i64]),
        values: &[f64],
    ) -> Result<f64, DimError> {
        let int = |val: &Val| values[val.0 as usize] as i64;
        Ok(match stage.inst(val) {
            Inst::F32(bits) => f64::from(f32::from_bits(*bits)),
            Inst::I32(value) => f64::from(*value),
            Inst::Bool(value) => f64::from(u8::from(*value)),
            Inst::Dim(dim) => self.dim(dim)? as f64,
            Inst::Axis(axis) => point[*axis] as f64,
            Inst::Time => step as f64,
            Inst::LoopAxis(_, axis) => inner.1[*axis] as f64,
            Inst::LoopTime(_) => inner.0 as f64,
            Inst::Quotient(val, dim) => int(val).div_euclid(self.dim(dim)?) as f64,
            Inst::Remainder(val, dim) => int(val).rem_euclid(self.dim(dim)?) as f64,
            Inst::Affine(affine) => self.affine(affine, values)? as f64,
            Inst::Load(buffer, at) => {
                self.buffers[buffer.0 as usize][self.affine(at, values)? as usize]
            }
            Inst::Map(op, args) => {
                let args: Vec<f64> = args.iter().map(|arg| values[arg.0 as usize]).collect();
                op.row().evaluate(stage.elem(val, self.program), &args)
            }
            // Its loop has put it there.
            Inst::Reduce(_) => values[val.0 as usize],
        })
    }

    fn affine(&self, affine: &Affine, values: &[f64]) -> Result<i64, DimError> {
        affine.terms.iter().try_fold(self.dim(&affine.constant)?, |sum, (val, by)| {
            Ok(sum + values[val.0 as usize] as i64 * self.dim(by)?)
        })
    }

    fn dim(&self, dim: &Dim) -> Result<i64, DimError> {
        dim.eval(self.bindings)
    }
}

fn points(extents: &[i64]) -> impl Iterator<Item = Vec<i64>> {
    let total: i64 = extents.iter().product();
    let extents = extents.to_vec();
    (0..total).map(move |mut flat| {
        let mut point = vec![0; extents.len()];
        for (at, extent) in point.iter_mut().zip(&extents).rev() {
            *at = flat % extent;
            flat /= extent;
        }
        point
    })
}
