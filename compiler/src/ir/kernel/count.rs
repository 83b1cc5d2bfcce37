//! What kernels do, counted from their stages: operations, and elements loaded and stored.

use std::collections::{BTreeMap, BTreeSet};

use super::{Affine, BufferId, Inst, Kernel, Program, Stage, Val};
use crate::ir::graph::{Bindings, Dim, DimError, Elem, Operations};

/// What a kernel does, all points and steps together.
#[derive(Clone, Debug, PartialEq)]
pub struct Count {
    /// Pointwise operations and steps of reductions, those on indices not.
    pub operations: Operations<Dim>,
    /// How often an element is loaded or stored.
    pub accesses: Dim,
    /// How many elements come from each buffer, each counted once: at most the product of the
    /// extents that its indices depend on, and at most the buffer. A recurrence's own state, which
    /// it has written a step before, does not count.
    reads: BTreeMap<BufferId, Dim>,
    /// How many elements go to each buffer.
    writes: BTreeMap<BufferId, Dim>,
}

impl Count {
    /// Bytes that come from memory, each element once.
    pub fn read_bytes(&self, program: &Program, bindings: &Bindings) -> Result<i64, DimError> {
        bytes(&self.reads, program, bindings)
    }

    /// Bytes that go to memory.
    pub fn written_bytes(&self, program: &Program, bindings: &Bindings) -> Result<i64, DimError> {
        bytes(&self.writes, program, bindings)
    }
}

fn bytes(
    elements: &BTreeMap<BufferId, Dim>,
    program: &Program,
    bindings: &Bindings,
) -> Result<i64, DimError> {
    let bytes = elements.iter().map(|(buffer, count)| {
        let all = program.elements(*buffer).eval(bindings)?;
        Ok(program.buffer(*buffer).bytes(count.eval(bindings)?.min(all)))
    });
    bytes.sum()
}

impl Kernel {
    /// Counts what the kernel does in one run of its pass.
    pub fn count(&self, program: &Program) -> Count {
        let mut count = Count {
            operations: Operations::none(),
            accesses: Dim::zero(),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
        };
        for stage in &self.stages {
            Counter { program, kernel: self, stage, count: &mut count }.stage();
        }
        count
    }

    /// [`Count::operations`] of all kinds.
    pub fn operations(&self, program: &Program) -> Dim {
        self.count(program).operations.total()
    }
}

struct Counter<'a> {
    program: &'a Program,
    kernel: &'a Kernel,
    stage: &'a Stage,
    count: &'a mut Count,
}

/// What an index can depend on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Variable {
    Time,
    Axis(usize),
    LoopTime(usize),
    LoopAxis(usize, usize),
}

impl Counter<'_> {
    fn stage(&mut self) {
        let stage = self.stage;
        let steps = if stage.timed { self.extent(Variable::Time) } else { Dim::one() };
        let points = &steps * &Dim::product(&stage.axes);
        self.body(&stage.body, &points);
        for reduce in &stage.loops {
            let iterations = &points * &reduce.length(self.program);
            self.body(&reduce.body, &iterations);
            add(self.count.operations.of_reduction(reduce.reduction), &iterations);
        }
        for store in &stage.stores {
            add(&mut self.count.accesses, &points);
            add(self.count.writes.entry(store.buffer).or_insert_with(Dim::zero), &points);
        }
    }

    /// Values that are computed so many times.
    fn body(&mut self, body: &[Val], times: &Dim) {
        for val in body {
            match self.stage.inst(*val) {
                // The last operand is no condition.
                Inst::Map(op, args)
                    if self.stage.elem(args[args.len() - 1], self.program) != Elem::I32 =>
                {
                    add(self.count.operations.of(*op), times);
                }
                Inst::Load(buffer, at) => {
                    add(&mut self.count.accesses, times);
                    if self.kernel.recurrence.is_none() || !self.kernel.stores(*buffer) {
                        let elements = self.elements(at);
                        let reads = &mut self.count.reads;
                        add(reads.entry(*buffer).or_insert_with(Dim::zero), &elements);
                    }
                }
                _ => {}
            }
        }
    }

    /// How many elements an index reaches.
    fn elements(&self, at: &Affine) -> Dim {
        let variables = self.variables(at);
        variables.into_iter().fold(Dim::one(), |product, v| &product * &self.extent(v))
    }

    fn variables(&self, at: &Affine) -> BTreeSet<Variable> {
        let mut open: Vec<Val> = at.terms.iter().map(|(val, _)| *val).collect();
        let (mut seen, mut variables) = (BTreeSet::new(), BTreeSet::new());
        // A result does not depend on the indices of its own loop.
        let mut closed = BTreeSet::new();
        while let Some(val) = open.pop() {
            if !seen.insert(val) {
                continue;
            }
            let inst = self.stage.inst(val);
            match inst {
                Inst::Time => drop(variables.insert(Variable::Time)),
                Inst::Axis(axis) => drop(variables.insert(Variable::Axis(*axis))),
                Inst::LoopTime(number) => drop(variables.insert(Variable::LoopTime(*number))),
                Inst::LoopAxis(number, axis) => {
                    variables.insert(Variable::LoopAxis(*number, *axis));
                }
                Inst::Reduce(number) => {
                    closed.insert(*number);
                    open.push(self.stage.loops[*number].value);
                }
                _ => open.extend(inst.operands()),
            }
        }
        variables.retain(|variable| match variable {
            Variable::LoopTime(number) | Variable::LoopAxis(number, _) => !closed.contains(number),
            Variable::Time | Variable::Axis(_) => true,
        });
        variables
    }

    fn extent(&self, variable: Variable) -> Dim {
        let of_loop = |number: usize| &self.stage.loops[number];
        match variable {
            Variable::Time => self.program.time.clone().unwrap_or_else(Dim::one),
            Variable::Axis(axis) => self.stage.axes[axis].clone(),
            Variable::LoopTime(number) => of_loop(number).extents(self.program)[0].clone(),
            Variable::LoopAxis(number, axis) => of_loop(number).axes[axis].clone(),
        }
    }
}

fn add(sum: &mut Dim, value: &Dim) {
    *sum = &*sum + value;
}
