//! The text form of a program, for people and for saving: what is printed reads back as it was.
//!
//! ```text
//! program smnist
//! time T
//! input pixels : [T; B, 28] "One row of the image a step."
//! param h.tau : [16] = normal(20.0, 5.0) in [1.0, inf]
//! buffer pixels : [T; B, 28] = input pixels
//! buffer h_z : [T; B, 16] in {0, 1}
//!
//! kernel kernel_h_z forward, 1 local, each step forward @0:120..141
//!   stage [T; B, 16]
//!     %0 = axis 0
//!     %1 = axis 1
//!     %2 = time
//!     %3 = load pixels[%0*(28) + %2*(28*B) + 0] @0:126..132
//!     loop 0 [28]
//!       %4 = loop 0 axis 0
//!       ...
//!       sum %9
//!     %10 = result of loop 0
//!     store h_z[%0*(16) + %1 + %2*(16*B) + 0] = %10
//! output loss = loss
//! ```
//!
//! Empty lines and lines that start with `//` are passed over.

use std::fmt::{self, Display, Formatter};

use super::*;
use crate::ir::graph::print::line::{Listed, Name};

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {}", Name(&self.name))?;
        if let Some(time) = &self.time {
            writeln!(f, "time {time}")?;
        }
        if self.fast_math {
            writeln!(f, "fast_math")?;
        }
        if self.fingerprint != 0 {
            writeln!(f, "fingerprint {}", self.fingerprint)?;
        }
        for input in &self.inputs {
            writeln!(f, "input {input}")?;
        }
        for param in &self.params {
            writeln!(f, "param {param}")?;
        }
        for Indexed { input, places, from_end } in &self.indexed {
            let from_end = if *from_end { " from_end" } else { "" };
            writeln!(f, "indexed {} : {places}{from_end}", Name(input))?;
        }
        for buffer in &self.buffers {
            self.write_buffer(f, buffer)?;
        }
        for pass in Pass::ALL {
            for kernel in self.pass(pass) {
                writeln!(f)?;
                self.write_kernel(f, pass, kernel)?;
            }
        }
        for (role, name, buffer) in &self.results {
            writeln!(f, "{} {} = {}", role.name(), Name(name), self.buffer(*buffer).name)?;
        }
        Ok(())
    }
}

impl Program {
    fn write_buffer(&self, f: &mut Formatter<'_>, buffer: &Buffer) -> fmt::Result {
        write!(f, "buffer {} : {}", buffer.name, buffer.ty())?;
        match buffer.source {
            BufferSource::Input(index) => {
                let names = self.inputs.iter().map(|input| input.name.as_str());
                write!(f, " = input {}", Listed(index, names.collect()))?;
            }
            BufferSource::Param(index) => {
                let paths = self.params.iter().map(|param| param.path.as_str());
                write!(f, " = param {}", Listed(index, paths.collect()))?;
            }
            BufferSource::Kernel => {}
        }
        let binary = if buffer.binary { " in {0, 1}" } else { "" };
        let bits = if buffer.is_packed() { " bits" } else { "" };
        writeln!(f, "{binary}{bits}")
    }

    fn write_kernel(&self, f: &mut Formatter<'_>, pass: Pass, kernel: &Kernel) -> fmt::Result {
        let Kernel { name, recurrence, local_axes, stages, span } = kernel;
        write!(f, "kernel {name} {}, {local_axes} local", pass.name())?;
        if let Some(direction) = recurrence {
            write!(f, ", each step {}", direction.name())?;
        }
        writeln!(f, "{}", At(*span))?;
        stages.iter().try_for_each(|stage| self.write_stage(f, stage))
    }

    fn write_stage(&self, f: &mut Formatter<'_>, stage: &Stage) -> fmt::Result {
        let time = if stage.timed { "T; " } else { "" };
        writeln!(f, "  stage [{time}{}]", join(&stage.axes))?;
        for val in &stage.body {
            if let Inst::Reduce(index) = stage.inst(*val) {
                self.write_loop(f, stage, *index)?;
            }
            self.write_value(f, "    ", stage, *val)?;
        }
        let mut write = |stores: &[Store], how: &str| {
            stores.iter().try_for_each(|Store { buffer, at, value }| {
                let name = &self.buffer(*buffer).name;
                writeln!(f, "    store {name}[{at}] {how} %{}", value.0)
            })
        };
        write(&stage.stores, "=")?;
        write(&stage.sums, "+=")
    }

    fn write_loop(&self, f: &mut Formatter<'_>, stage: &Stage, index: usize) -> fmt::Result {
        let reduce = &stage.loops[index];
        let time = match (reduce.over_time, reduce.without_first, reduce.without_last) {
            (false, ..) => "",
            (_, false, false) => "T; ",
            (_, true, false) => "1..T; ",
            (_, false, true) => "..T-1; ",
            (_, true, true) => "1..T-1; ",
        };
        writeln!(f, "    loop {index} [{time}{}]", join(&reduce.axes))?;
        for val in &reduce.body {
            self.write_value(f, "      ", stage, *val)?;
        }
        let elem = match reduce.elem {
            Elem::F32 => String::new(),
            elem => format!("{} ", elem.name()),
        };
        writeln!(f, "      {} {elem}%{}", reduce.reduction.name(), reduce.value.0)
    }

    fn write_value(
        &self,
        f: &mut Formatter<'_>,
        indent: &str,
        stage: &Stage,
        val: Val,
    ) -> fmt::Result {
        write!(f, "{indent}%{} = ", val.0)?;
        match stage.inst(val) {
            Inst::F32(bits) if f32::from_bits(*bits).is_nan() => {
                write!(f, "const f32 NaN0x{bits:x}")
            }
            Inst::F32(bits) => write!(f, "const f32 {:?}", f32::from_bits(*bits)),
            Inst::I32(value) => write!(f, "const i32 {value}"),
            Inst::Bool(value) => write!(f, "const bool {value}"),
            Inst::Dim(dim) => write!(f, "dim {dim}"),
            Inst::Axis(axis) => write!(f, "axis {axis}"),
            Inst::Time => f.write_str("time"),
            Inst::LoopAxis(index, axis) => write!(f, "loop {index} axis {axis}"),
            Inst::LoopTime(index) => write!(f, "loop {index} time"),
            Inst::Quotient(val, dim) => write!(f, "%{} / ({dim})", val.0),
            Inst::Remainder(val, dim) => write!(f, "%{} mod ({dim})", val.0),
            Inst::Affine(affine) => write!(f, "affine {affine}"),
            Inst::Load(buffer, at) => write!(f, "load {}[{at}]", self.buffer(*buffer).name),
            Inst::Map(op, args) => {
                f.write_str(op.row().name)?;
                args.iter().try_for_each(|arg| write!(f, " %{}", arg.0))
            }
            Inst::Reduce(index) => write!(f, "result of loop {index}"),
        }?;
        writeln!(f, "{}", At(stage.spans.get(val.0 as usize).copied().flatten()))
    }
}

impl Display for Affine {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (val, coefficient) in &self.terms {
            match coefficient.is_one() {
                true => write!(f, "%{} + ", val.0)?,
                false => write!(f, "%{}*({coefficient}) + ", val.0)?,
            }
        }
        write!(f, "{}", self.constant)
    }
}

/// A place in the source, where there is one.
struct At(Option<Span>);

impl Display for At {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |span| write!(f, " @{span:?}"))
    }
}

fn join(dims: &[Dim]) -> String {
    dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ")
}
