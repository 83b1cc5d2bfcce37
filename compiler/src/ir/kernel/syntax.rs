//! Reads the text form of a program, as [`print`](super::print) writes it.

use std::collections::BTreeMap;

use super::*;
use crate::ir::graph::pointwise::TABLE;
use crate::ir::graph::print::line::{Line, Parsed};
use crate::ir::graph::print::{ParseError, parse_lines};

/// Reads the text form. That the program keeps the laws is for [`verify`](crate::ir::verify) to say.
pub fn parse_program(text: &str) -> Result<Program, ParseError> {
    let mut reader = Reader::default();
    parse_lines(text, |line| reader.read(line))?;
    let end = |message| ParseError { line: text.lines().count(), message };
    reader.close_kernel().map_err(end)?;
    Ok(reader.program)
}

#[derive(Default)]
struct Reader {
    program: Program,
    kernel: Option<(Pass, Kernel)>,
    stage: Option<OpenStage>,
}

/// A stage whose values and loops come in the order in which they run.
#[derive(Default)]
struct OpenStage {
    stage: Stage,
    values: BTreeMap<u32, (Inst, Option<Span>)>,
    loops: BTreeMap<usize, ReduceLoop>,
    /// The loop that is being read.
    open: Option<usize>,
}

impl Reader {
    fn read(&mut self, line: &mut Line) -> Parsed<()> {
        if line.starts_with("%") {
            return self.value(line);
        }
        match line.word()? {
            "program" => self.program.name = line.name()?,
            "time" => self.program.time = Some(line.dim()?),
            "fast_math" => self.program.fast_math = true,
            "fingerprint" => self.program.fingerprint = line.integer()?,
            "input" => self.program.inputs.push(line.input()?),
            "param" => self.program.params.push(line.param()?),
            "indexed" => {
                let input = line.name()?;
                line.token(":")?;
                let (places, from_end) = (line.dim()?, line.eat("from_end"));
                self.program.indexed.push(Indexed { input, places, from_end });
            }
            "buffer" => {
                let buffer = self.buffer(line)?;
                self.program.buffers.push(buffer);
            }
            "kernel" => {
                self.close_kernel()?;
                self.kernel = Some(kernel(line)?);
            }
            "stage" => {
                self.close_stage()?;
                let Type { dims: axes, clock, .. } = line.ty()?;
                let stage = Stage { axes, timed: clock == Clock::Stream, ..Stage::default() };
                self.stage = Some(OpenStage { stage, ..OpenStage::default() });
            }
            "loop" => self.open_loop(line)?,
            "store" => self.store(line)?,
            word => {
                let reduction = Reduction::ALL.into_iter().find(|known| known.name() == word);
                let role = Role::ALL.into_iter().find(|role| role.name() == word);
                match (reduction, role) {
                    (Some(reduction), _) => self.close_loop(reduction, line)?,
                    (_, Some(role)) => self.result(role, line)?,
                    _ => return Err(format!("unknown item `{word}`")),
                }
            }
        }
        Ok(())
    }

    fn buffer(&self, line: &mut Line) -> Parsed<Buffer> {
        let name = line.name()?;
        line.token(":")?;
        let Type { elem, dims, clock } = line.ty()?;
        let Program { inputs, params, .. } = &self.program;
        let source = match line.eat("=").then(|| line.word()).transpose()? {
            None => BufferSource::Kernel,
            Some("input") => {
                BufferSource::Input(line.listed(inputs.iter().map(|input| input.name.as_str()))?)
            }
            Some("param") => {
                BufferSource::Param(line.listed(params.iter().map(|param| param.path.as_str()))?)
            }
            Some(word) => return Err(format!("nothing fills a buffer as `{word}`")),
        };
        let binary = line.eat("in {0, 1}");
        let storage = if line.eat("bits") { Storage::Bit } else { Storage::of(elem) };
        Ok(Buffer { name, elem, dims, stream: clock == Clock::Stream, source, binary, storage })
    }

    fn named(&self, line: &mut Line) -> Parsed<BufferId> {
        let name = line.name()?;
        let found = self.program.buffer_ids().find(|id| self.program.buffer(*id).name == name);
        found.ok_or_else(|| format!("there is no buffer `{name}`"))
    }

    fn result(&mut self, role: Role, line: &mut Line) -> Parsed<()> {
        let name = line.name()?;
        line.token("=")?;
        let buffer = self.named(line)?;
        self.program.results.push((role, name, buffer));
        Ok(())
    }

    fn stage(&mut self) -> Parsed<&mut OpenStage> {
        self.stage.as_mut().ok_or_else(|| "it stands in no stage".into())
    }

    fn value(&mut self, line: &mut Line) -> Parsed<()> {
        let val = val(line)?;
        line.token("=")?;
        let inst = self.inst(line)?;
        let span = line.place()?;
        let stage = self.stage()?;
        match stage.open.and_then(|index| stage.loops.get_mut(&index)) {
            Some(reduce) => reduce.body.push(val),
            None => stage.stage.body.push(val),
        }
        match stage.values.insert(val.0, (inst, span)) {
            Some(_) => Err(format!("there are two values %{}", val.0)),
            None => Ok(()),
        }
    }

    fn inst(&self, line: &mut Line) -> Parsed<Inst> {
        if line.starts_with("%") {
            let val = val(line)?;
            let is_quotient = line.eat("/");
            if !is_quotient {
                line.token("mod")?;
            }
            let dim = in_brackets(line)?;
            return Ok(match is_quotient {
                true => Inst::Quotient(val, dim),
                false => Inst::Remainder(val, dim),
            });
        }
        Ok(match line.word()? {
            "const" => match line.elem()? {
                Elem::F32 => Inst::F32(float(line.number_text())?),
                Elem::I32 => Inst::I32(line.parsed()?),
                Elem::Bool => Inst::Bool(line.parsed()?),
            },
            "dim" => Inst::Dim(line.dim()?),
            "axis" => Inst::Axis(line.integer()?),
            "time" => Inst::Time,
            "loop" => {
                let index = line.integer()?;
                match line.word()? {
                    "axis" => Inst::LoopAxis(index, line.integer()?),
                    "time" => Inst::LoopTime(index),
                    word => return Err(format!("a loop has an axis and a time, not `{word}`")),
                }
            }
            "affine" => Inst::Affine(affine(line)?),
            "load" => {
                let buffer = self.named(line)?;
                Inst::Load(buffer, index(line)?)
            }
            "result" => {
                line.token("of loop")?;
                Inst::Reduce(line.integer()?)
            }
            name => {
                let row = TABLE.iter().find(|row| row.name == name);
                let op = row.ok_or_else(|| format!("unknown operation `{name}`"))?.op;
                let mut args = Vec::new();
                while line.starts_with("%") {
                    args.push(val(line)?);
                }
                Inst::Map(op, args)
            }
        })
    }

    fn open_loop(&mut self, line: &mut Line) -> Parsed<()> {
        let index = line.integer()?;
        line.token("[")?;
        let times = [("T;", (false, false)), ("1..T;", (true, false))];
        let times = times.into_iter().chain([("..T-1;", (false, true)), ("1..T-1;", (true, true))]);
        let time = times.into_iter().find(|(text, _)| line.eat(text)).map(|(_, ends)| ends);
        let (without_first, without_last) = time.unwrap_or_default();
        let reduce = ReduceLoop {
            // Until it is closed.
            reduction: Reduction::Sum,
            elem: Elem::F32,
            value: Val(0),
            axes: line.until("]", Line::dim)?,
            over_time: time.is_some(),
            without_first,
            without_last,
            body: Vec::new(),
        };
        let stage = self.stage()?;
        if stage.open.replace(index).is_some() {
            return Err("loops do not nest".into());
        }
        match stage.loops.insert(index, reduce) {
            Some(_) => Err(format!("there are two loops {index}")),
            None => Ok(()),
        }
    }

    fn close_loop(&mut self, reduction: Reduction, line: &mut Line) -> Parsed<()> {
        let elem = if line.starts_with("%") { Elem::F32 } else { line.elem()? };
        let value = val(line)?;
        let stage = self.stage()?;
        let open = stage.open.take().and_then(|index| stage.loops.get_mut(&index));
        let reduce = open.ok_or_else(|| format!("`{}` ends no loop", reduction.name()))?;
        (reduce.reduction, reduce.elem, reduce.value) = (reduction, elem, value);
        Ok(())
    }

    fn store(&mut self, line: &mut Line) -> Parsed<()> {
        let buffer = self.named(line)?;
        let at = index(line)?;
        let adds = line.eat("+=");
        if !adds {
            line.token("=")?;
        }
        let store = Store { buffer, at, value: val(line)? };
        let stage = &mut self.stage()?.stage;
        if adds { &mut stage.sums } else { &mut stage.stores }.push(store);
        Ok(())
    }

    fn close_stage(&mut self) -> Parsed<()> {
        let Some(OpenStage { mut stage, values, loops, open }) = self.stage.take() else {
            return Ok(());
        };
        if open.is_some() {
            return Err("a loop has no end".into());
        }
        if let Some(missing) = (0..).zip(values.keys()).find(|(at, known)| at != *known) {
            return Err(format!("the stage has no value %{}", missing.0));
        }
        if let Some(missing) = (0..).zip(loops.keys()).find(|(at, known)| at != *known) {
            return Err(format!("the stage has no loop {}", missing.0));
        }
        (stage.insts, stage.spans) = values.into_values().unzip();
        stage.loops = loops.into_values().collect();
        let kernel = self.kernel.as_mut().ok_or("it stands in no kernel")?;
        kernel.1.stages.push(stage);
        Ok(())
    }

    fn close_kernel(&mut self) -> Parsed<()> {
        self.close_stage()?;
        if let Some((pass, kernel)) = self.kernel.take() {
            match pass {
                Pass::Forward => self.program.forward.push(kernel),
                Pass::Backward => self.program.backward.push(kernel),
                Pass::Update => self.program.update.push(kernel),
            }
        }
        Ok(())
    }
}

/// `kernel_h forward, 1 local, each step forward @0:1..2`
fn kernel(line: &mut Line) -> Parsed<(Pass, Kernel)> {
    let name = line.name()?;
    let word = line.word()?;
    let pass = Pass::ALL.into_iter().find(|pass| pass.name() == word);
    let pass = pass.ok_or_else(|| format!("unknown pass `{word}`"))?;
    line.token(",")?;
    let local_axes = line.integer()?;
    line.token("local")?;
    let direction = line.eat(", each step").then(|| line.word()).transpose()?;
    let recurrence = match direction {
        None => None,
        Some("forward") => Some(Direction::Forward),
        Some("backward") => Some(Direction::Backward),
        Some(word) => return Err(format!("unknown direction `{word}`")),
    };
    Ok((pass, Kernel { name, recurrence, local_axes, stages: Vec::new(), span: line.place()? }))
}

fn val(line: &mut Line) -> Parsed<Val> {
    line.token("%")?;
    line.integer().map(Val)
}

fn in_brackets(line: &mut Line) -> Parsed<Dim> {
    line.token("(")?;
    let dim = line.dim()?;
    line.token(")")?;
    Ok(dim)
}

/// `[%0*(28) + %1 + 3]`
fn index(line: &mut Line) -> Parsed<Affine> {
    line.token("[")?;
    let at = affine(line)?;
    line.token("]")?;
    Ok(at)
}

/// `%0*(28) + %1 + 3`
fn affine(line: &mut Line) -> Parsed<Affine> {
    let mut terms = Vec::new();
    while line.starts_with("%") {
        let val = val(line)?;
        let by = if line.eat("*") { in_brackets(line)? } else { Dim::one() };
        terms.push((val, by));
        line.token("+")?;
    }
    Ok(Affine { terms, constant: line.dim()? })
}

/// The bits of an f32.
fn float(text: &str) -> Parsed<u32> {
    let bits = match text.strip_prefix("NaN0x") {
        Some(bits) => u32::from_str_radix(bits, 16).ok(),
        None => text.parse().ok().map(f32::to_bits),
    };
    bits.ok_or_else(|| format!("no number: `{text}`"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"program "odd name"
time T
fast_math
fingerprint 12345678
input x : [T; B, 28] "Some \"docs\"."
param h.w : [28] = normal(0.0, 1.0) in [-1.0, inf]
indexed x : 10 from_end
buffer x : [T; B, 28] = input x
buffer h_w : [28] = param h.w
buffer stage : [T; B] in {0, 1}
buffer count : i32[] bits

kernel kernel_z forward, 1 local, each step backward @0:3..12
  stage [T; B]
    %0 = axis 0
    %1 = time
    %2 = const f32 -0.1 @0:4..8
    %3 = const f32 NaN0x7fc00001
    %4 = const f32 inf
    %8 = const bool true
    loop 0 [..T-1; 28]
      %5 = loop 0 axis 0
      %6 = loop 0 time
      %7 = load x[%0*(28) + %5 + %6*(28*B) - 3]
      sum %7
    %9 = result of loop 0
    %10 = select %8 %9 %2
    store stage[%0 + %1*(B) + 0] = %10
    store stage[0] += %3
  stage [T; ]

kernel kernel_n backward, 0 local
  stage []
    %0 = const i32 -3
    %1 = affine B
    %2 = dim B - 1
    %3 = %1 / (2)
    %4 = %3 mod (2*B)
    loop 0 [2]
      %5 = loop 0 axis 0
      sum i32 %5
    %6 = result of loop 0
    store count[0] = %6
output y = stage
gradient h.w = h_w
"#;

    #[test]
    fn text_reads_and_prints_as_it_was() {
        let text = TEXT.replace("28*B) - 3", "28*B) + -3");
        let program = parse_program(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(program.to_string(), text);
        assert_eq!(program.forward[0].stages[0].loops[0].body, [Val(5), Val(6), Val(7)]);
        assert_eq!(program.forward[0].stages.len(), 2);
        assert_eq!(program.backward.len(), 1);
    }

    #[test]
    fn mistakes_name_the_line() {
        let fails = |text: &str| parse_program(text).unwrap_err().to_string();
        let start = "kernel k forward, 0 local\nstage []\n";
        let stage = |text: &str| fails(&format!("{start}{text}"));
        assert_eq!(fails("program p\nfoo"), "line 2: unknown item `foo`");
        assert_eq!(fails("%0 = time"), "line 1: it stands in no stage");
        assert_eq!(fails("stage []"), "line 1: it stands in no kernel");
        assert_eq!(fails("output y = z"), "line 1: there is no buffer `z`");
        assert_eq!(fails("kernel k sideways, 0 local"), "line 1: unknown pass `sideways`");
        assert_eq!(stage("%0 = grow %1"), "line 3: unknown operation `grow`");
        assert_eq!(stage("%0 = time\n%0 = time"), "line 4: there are two values %0");
        assert_eq!(stage("%1 = time"), "line 3: the stage has no value %0");
        assert_eq!(stage("loop 0 [2]"), "line 3: a loop has no end");
        assert_eq!(stage("sum %0"), "line 3: `sum` ends no loop");
        assert_eq!(stage("%0 = const f32 x"), "line 3: no number: `x`");
        assert_eq!(stage("%0 = const i32 99999999999"), "line 3: no number: `99999999999`");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_text_panics(text in "(%|\\PC|=|\\[|\"|\n| |kernel|stage|loop|sum|store|buffer){0,40}") {
            let _ = parse_program(&text);
        }
    }
}
