//! Programs as text, for `--emit kernels`.

use std::fmt;

use super::*;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {}", self.name)?;
        for buffer in &self.buffers {
            let from = match buffer.source {
                BufferSource::Input(_) => " input",
                BufferSource::Param(_) => " param",
                BufferSource::Kernel => "",
            };
            let time = if buffer.stream { "T; " } else { "" };
            let bits = if buffer.binary { " in {0, 1}" } else { "" };
            let (name, elem) = (&buffer.name, buffer.elem.name());
            writeln!(f, "buffer {name}: {elem}[{time}{}]{from}{bits}", join(&buffer.dims))?;
        }
        for (title, kernels) in
            [("forward", &self.forward), ("backward", &self.backward), ("update", &self.update)]
        {
            for kernel in kernels {
                writeln!(f, "\n{title} {}", kernel.name)?;
                kernel.print(f, self)?;
            }
        }
        for (role, name, buffer) in &self.results {
            writeln!(f, "{role:?} {name} = {}", self.buffer(*buffer).name)?;
        }
        Ok(())
    }
}

impl Kernel {
    fn print(&self, f: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
        if let Some(direction) = self.recurrence {
            writeln!(f, "  for each step, {direction:?}; {} local axes", self.local_axes)?;
        }
        for stage in &self.stages {
            let time = if stage.timed { "T; " } else { "" };
            writeln!(f, "  stage [{time}{}]", join(&stage.axes))?;
            for val in &stage.body {
                if let Inst::Reduce(index) = stage.inst(*val) {
                    let reduce = &stage.loops[*index];
                    let time = match (reduce.over_time, reduce.without_first, reduce.without_last) {
                        (false, ..) => "",
                        (_, false, false) => "T; ",
                        (_, true, false) => "1..T; ",
                        (_, false, true) => "..T-1; ",
                        (_, true, true) => "1..T-1; ",
                    };
                    writeln!(f, "    loop {index} [{time}{}]", join(&reduce.axes))?;
                    for val in &reduce.body {
                        writeln!(f, "      %{} = {}", val.0, stage.describe(*val, program))?;
                    }
                    writeln!(f, "      {} %{}", reduce.reduction.name(), reduce.value.0)?;
                }
                writeln!(f, "    %{} = {}", val.0, stage.describe(*val, program))?;
            }
            for store in &stage.stores {
                let name = &program.buffer(store.buffer).name;
                writeln!(f, "    {name}[{}] = %{}", store.at, store.value.0)?;
            }
            for sum in &stage.sums {
                let name = &program.buffer(sum.buffer).name;
                writeln!(f, "    {name}[{}] += %{}", sum.at, sum.value.0)?;
            }
        }
        Ok(())
    }
}

impl Stage {
    fn describe(&self, val: Val, program: &Program) -> String {
        match self.inst(val) {
            Inst::F32(bits) => format!("{:?}", f32::from_bits(*bits)),
            Inst::I32(value) => format!("{value}i"),
            Inst::Bool(value) => value.to_string(),
            Inst::Dim(dim) => dim.to_string(),
            Inst::Axis(axis) => format!("axis {axis}"),
            Inst::Time => "time".into(),
            Inst::LoopAxis(index, axis) => format!("loop {index} axis {axis}"),
            Inst::LoopTime(index) => format!("loop {index} time"),
            Inst::Quotient(val, dim) => format!("%{} / ({dim})", val.0),
            Inst::Remainder(val, dim) => format!("%{} mod ({dim})", val.0),
            Inst::Affine(affine) => affine.to_string(),
            Inst::Load(buffer, at) => format!("{}[{at}]", program.buffer(*buffer).name),
            Inst::Map(op, args) => {
                let args: Vec<String> = args.iter().map(|arg| format!("%{}", arg.0)).collect();
                format!("{} {}", op.row().name, args.join(" "))
            }
            Inst::Reduce(index) => format!("result of loop {index}"),
        }
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (val, coefficient) in &self.terms {
            match coefficient.is_one() {
                true => write!(f, "%{} + ", val.0)?,
                false => write!(f, "%{}*({coefficient}) + ", val.0)?,
            }
        }
        write!(f, "{}", self.constant)
    }
}

fn join(dims: &[Dim]) -> String {
    dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", ")
}
