//! What is dispatched for given open dimensions: pure arithmetic, no device.

use super::{Chunking, Dispatch as Formula, FieldValue, Shader, Shaders, StepWork, WORD};
use crate::ir::graph::{Bindings, Dim, DimError};
use crate::ir::kernel::{Direction, Pass};

/// How long one dispatch may be, in loop iterations of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Longer work is cut: a driver stops what takes seconds.
    pub dispatch: i64,
    /// Where the driver silently ends loops.
    pub limit: Option<i64>,
}

impl Default for Budget {
    /// For drivers that compute what they are told.
    fn default() -> Budget {
        Budget { dispatch: 1_000_000, limit: None }
    }
}

/// The dispatches of a program's passes.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// The dispatches of each pass, in the order of [`index`].
    pub passes: [Vec<Dispatch>; 3],
    /// The uniform structs of all dispatches.
    pub uniforms: Vec<u8>,
    /// In bytes.
    pub scratch: u64,
}

/// One dispatch of a shader.
#[derive(Debug, PartialEq)]
pub struct Dispatch {
    /// A number in [`Shaders::shaders`].
    pub shader: usize,
    /// Where its uniform struct begins.
    pub uniform: u32,
    /// Along x and y.
    pub workgroups: (u32, u32),
    /// Of the longest invocation, roughly.
    pub iterations: i64,
}

/// Why a program cannot be dispatched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A dimension has no value.
    #[error(transparent)]
    Dimension(#[from] DimError),
    /// A kernel needs more workgroups than any device takes.
    #[error("`{kernel}` has too much work for the GPU: use fewer steps")]
    TooMuch {
        /// Its name.
        kernel: String,
    },
    /// A step of a kernel is longer than a driver that cuts it off without a word.
    #[error(
        "a step of `{kernel}` takes {step} loop iterations, and this software driver silently stops \
         after {limit}: use a newer Mesa, a hardware GPU or the CPU"
    )]
    StepTooLong {
        /// Its name.
        kernel: String,
        /// The loop iterations of one step.
        step: i64,
        /// The most that the driver does.
        limit: i64,
    },
}

/// The alignment of uniform structs.
pub const UNIFORM_ALIGNMENT: usize = 256;

/// The most workgroups in a dimension that any device must take.
const MAX_WORKGROUPS: i64 = 65_535;

/// The place of a pass among three.
pub fn index(pass: Pass) -> usize {
    match pass {
        Pass::Forward => 0,
        Pass::Backward => 1,
        Pass::Update => 2,
    }
}

/// Plans all passes.
pub fn plan(shaders: &Shaders, bindings: &Bindings, budget: Budget) -> Result<Plan, PlanError> {
    let mut plan = Plan::default();
    for number in 0..shaders.shaders.len() {
        plan_shader(&mut plan, number, &shaders.shaders[number], bindings, budget)?;
    }
    Ok(plan)
}

/// The part of a kernel's work that a dispatch does.
#[derive(Clone, Debug, Default, PartialEq)]
struct Part {
    steps: (i64, i64),
    loops: Vec<(i64, i64)>,
    last: bool,
    iterations: i64,
}

fn plan_shader(
    plan: &mut Plan,
    number: usize,
    shader: &Shader,
    bindings: &Bindings,
    budget: Budget,
) -> Result<(), PlanError> {
    let Some(workgroups) = workgroups(shader, bindings)? else { return Ok(()) };
    let parts = match &shader.chunking {
        Chunking::Whole => vec![Part::default()],
        Chunking::Steps { length, direction, lanes, stages } => {
            let step = step_iterations(stages, i64::from(*lanes), bindings)?;
            step_parts(&shader.name, length.eval(bindings)?, *direction, step, budget)?
        }
        Chunking::Loops { lengths, slots, points, lanes } => {
            let lengths: Vec<i64> = lengths
                .iter()
                .map(|length| Ok(length.eval(bindings)?.max(0)))
                .collect::<Result<_, DimError>>()?;
            let parts = loop_parts(&lengths, i64::from(*lanes), budget);
            if parts.len() > 1 {
                let points = points.eval(bindings)?.max(0);
                let bytes = WORD.bytes(points.saturating_mul(*slots as i64));
                plan.scratch = plan.scratch.max(bytes as u64);
            }
            parts
        }
    };
    for part in parts {
        let uniform = plan.uniforms.len();
        for field in &shader.uniforms {
            let value = field_value(&field.value, &part, bindings)?;
            plan.uniforms.extend(value.to_le_bytes());
        }
        plan.uniforms.resize(plan.uniforms.len().next_multiple_of(UNIFORM_ALIGNMENT), 0);
        let uniform = u32::try_from(uniform)
            .map_err(|_| PlanError::TooMuch { kernel: shader.name.clone() })?;
        let dispatch =
            Dispatch { shader: number, uniform, workgroups, iterations: part.iterations };
        plan.passes[index(shader.pass)].push(dispatch);
    }
    Ok(())
}

/// The grid of workgroups; `None` if there is nothing to do.
fn workgroups(shader: &Shader, bindings: &Bindings) -> Result<Option<(u32, u32)>, PlanError> {
    let count = match &shader.dispatch {
        Formula::Workgroups(count) => count.eval(bindings)?,
        Formula::Invocations(count) => {
            let count = count.eval(bindings)?;
            i32::try_from(count).map_err(|_| too_large(&shader.dispatch))?;
            let size = i64::from(shader.workgroup_size);
            count / size + i64::from(count % size > 0)
        }
    };
    if count <= 0 {
        return Ok(None);
    }
    let columns = count.min(MAX_WORKGROUPS);
    let rows = count / columns + i64::from(count % columns > 0);
    match (u32::try_from(columns), u32::try_from(rows)) {
        (Ok(columns), Ok(rows)) if i64::from(rows) <= MAX_WORKGROUPS => Ok(Some((columns, rows))),
        _ => Err(too_large(&shader.dispatch).into()),
    }
}

fn too_large(dispatch: &Formula) -> DimError {
    match dispatch {
        Formula::Invocations(dim) | Formula::Workgroups(dim) => DimError::Overflow(dim.clone()),
    }
}

fn step_iterations(stages: &[StepWork], lanes: i64, bindings: &Bindings) -> Result<i64, DimError> {
    let mut iterations = 1;
    for stage in stages {
        let points = stage.points.eval(bindings)?.max(0);
        let rounds = points / lanes + i64::from(points % lanes > 0);
        iterations += rounds * (1 + stage.iterations.eval(bindings)?.max(0));
    }
    Ok(iterations)
}

fn step_parts(
    kernel: &str,
    length: i64,
    direction: Direction,
    step: i64,
    budget: Budget,
) -> Result<Vec<Part>, PlanError> {
    if let Some(limit) = budget.limit.filter(|limit| step > *limit) {
        return Err(PlanError::StepTooLong { kernel: kernel.to_owned(), step, limit });
    }
    let steps = (budget.dispatch / step).max(1);
    let mut parts: Vec<Part> = (0..length.max(0))
        .step_by(usize::try_from(steps).unwrap_or(usize::MAX))
        .map(|start| {
            let end = length.min(start + steps);
            Part { steps: (start, end), iterations: (end - start) * step, ..Part::default() }
        })
        .collect();
    if direction == Direction::Backward {
        parts.reverse();
    }
    Ok(parts)
}

/// One loop after the other: those before the current one are done, those after it have not begun.
fn loop_parts(lengths: &[i64], lanes: i64, budget: Budget) -> Vec<Part> {
    let most = budget.dispatch * lanes;
    let mut parts = Vec::new();
    let (mut current, mut position) = (0, 0);
    loop {
        let mut part = Part { loops: vec![(0, 0); lengths.len()], ..Part::default() };
        for (range, length) in part.loops.iter_mut().zip(lengths).take(current) {
            *range = (*length, *length);
        }
        let mut left = most;
        while let Some(&length) = lengths.get(current) {
            let end = length.min(position + left);
            part.loops[current] = (position, end);
            left -= end - position;
            position = end;
            if end < length {
                break;
            }
            (current, position) = (current + 1, 0);
        }
        part.iterations = (most - left) / lanes;
        part.last = current == lengths.len();
        let is_last = part.last;
        parts.push(part);
        if is_last {
            return parts;
        }
    }
}

fn field_value(value: &FieldValue, part: &Part, bindings: &Bindings) -> Result<i32, DimError> {
    let value = match value {
        FieldValue::Dim(dim) => dim.eval(bindings)?,
        FieldValue::StepStart => part.steps.0,
        FieldValue::StepEnd => part.steps.1,
        FieldValue::LoopStart(index) => part.loops[*index].0,
        FieldValue::LoopEnd(index) => part.loops[*index].1,
        FieldValue::Last => i64::from(part.last),
    };
    i32::try_from(value).map_err(|_| DimError::Overflow(Dim::constant(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Budget = Budget { dispatch: 100, limit: Some(200) };

    #[test]
    fn long_loops_are_cut_in_order() {
        let ranges: Vec<_> = loop_parts(&[150, 0, 30, 40], 1, BUDGET)
            .into_iter()
            .map(|part| (part.loops, part.last))
            .collect();
        assert_eq!(
            ranges,
            [
                (vec![(0, 100), (0, 0), (0, 0), (0, 0)], false),
                (vec![(100, 150), (0, 0), (0, 30), (0, 20)], false),
                (vec![(150, 150), (0, 0), (30, 30), (20, 40)], true),
            ]
        );
        assert_eq!(loop_parts(&[], 1, BUDGET).len(), 1);
        assert_eq!(loop_parts(&[6400], 64, BUDGET).len(), 1);
        assert_eq!(loop_parts(&[6401], 64, BUDGET).len(), 2);
    }

    #[test]
    fn steps_are_cut_in_the_order_of_time() {
        let steps = |direction| -> Vec<_> {
            let parts = step_parts("k", 7, direction, 40, BUDGET).unwrap_or_default();
            parts.into_iter().map(|part| part.steps).collect()
        };
        assert_eq!(steps(Direction::Forward), [(0, 2), (2, 4), (4, 6), (6, 7)]);
        assert_eq!(steps(Direction::Backward), [(6, 7), (4, 6), (2, 4), (0, 2)]);
        assert!(step_parts("k", 7, Direction::Forward, 201, BUDGET).is_err());
    }
}
