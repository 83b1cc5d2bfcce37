//! The body of a loop as operations on lanes, whatever their number.

use std::collections::HashMap;

use cranelift::codegen::cursor::{Cursor, FuncCursor};
use cranelift::codegen::ir::{Function, Inst, InstructionData, Opcode, ValueDef};
use cranelift::prelude::*;

use super::{Loop, constant, is_same, operation};

/// A straight line of operations, numbered as they stand. Loads and stores are of as many elements (or
/// bits) as there are lanes, at a pointer and so many elements after it as the loop's index says.
pub(super) struct Body {
    pub ops: Vec<(Op, Vec<usize>)>,
    /// Addresses, known before the loop.
    pub pointers: Vec<Value>,
    /// Vectors of equal lanes, known before the loop.
    pub uniforms: Vec<Value>,
}

/// An operation on lanes of 32 bits (or 64, where it is said): floats or integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// The same bits in all lanes: two of 32 or one of 64.
    Constant(u64),
    Uniform(usize),
    Load(usize),
    /// Into the second cache.
    Fetch(usize),
    Store(usize),
    /// All ones in the lanes whose bit is set.
    LoadBits(usize),
    StoreBits(usize),
    /// On one operand, or on two.
    Float(FloatOp, Width),
    /// The product of two operands and the third one, rounded once.
    MulAdd(Width),
    Integer(IntegerOp, Width),
    Compare(FloatCC, Width),
    /// The bits of the first operand, or where they are not set, of the second.
    And,
    AndNot,
    Or,
    Xor,
    /// Operand 1 in the lanes where operand 0 is all ones, operand 2 where it is 0.
    Blend(Width),
    /// Of integers, by so many bits.
    Shift(Direction, u8, Width),
    FromInteger,
    /// The second half of the lanes.
    High,
    /// The first half of the lanes as f64.
    Widen,
    /// Half as many f32.
    Narrow,
    /// Two halves.
    Join,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Width {
    W32,
    W64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum FloatOp {
    Add,
    Sub,
    Mul,
    Div,
    /// `a < b ? a : b`
    Min,
    /// `a > b ? a : b`
    Max,
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    Nearest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum IntegerOp {
    Add,
    Sub,
    /// Of 32 bits, as the following.
    Mul,
    Min,
    Max,
    Equal,
    Greater,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    Left,
    Right,
    RightWithSign,
}

impl Op {
    fn pointer(&mut self) -> Option<&mut usize> {
        match self {
            Op::Load(at) | Op::Fetch(at) | Op::Store(at) | Op::LoadBits(at) | Op::StoreBits(at) => {
                Some(at)
            }
            _ => None,
        }
    }
}

/// What is done with conditions that are the same for all lanes and of the form `a == b`: those of the
/// first and the last step.
pub(super) enum Conditions<'a> {
    /// They are listed.
    Found(&'a mut Vec<Value>),
    /// None of them holds.
    False,
}

/// What a vector holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As many elements as there are lanes.
    Lanes32,
    /// Half as many of twice the size.
    Lanes64,
    /// Half as many, which nothing may be done with but to widen them or to join them.
    Half,
}

impl Kind {
    fn width(self) -> Option<Width> {
        match self {
            Kind::Lanes32 => Some(Width::W32),
            Kind::Lanes64 => Some(Width::W64),
            Kind::Half => None,
        }
    }
}

impl Body {
    /// The body of a loop of which everything is hoisted that can be; `None` if it is made of more than
    /// what there is here.
    pub fn new(
        function: &mut Function,
        found: &Loop,
        ahead: &[Value],
        conditions: Conditions,
    ) -> Option<Body> {
        let insts: Vec<Inst> = function.layout.block_insts(found.block).collect();
        let latch = function.dfg.inst_args(*insts.last()?).first().copied();
        let mut reader = Reader {
            function,
            found,
            conditions,
            body: Body { ops: Vec::new(), pointers: Vec::new(), uniforms: Vec::new() },
            vectors: HashMap::new(),
            indices: HashMap::from([(found.index, (None, BITS_OF_BYTE))]),
            scalars: HashMap::new(),
            known: HashMap::new(),
            kinds: Vec::new(),
            stores: 0,
        };
        for inst in &insts[..insts.len() - 1] {
            let result = reader.function.dfg.inst_results(*inst).first().copied();
            if result.is_none() || result != latch {
                reader.read(*inst)?;
            }
        }
        for address in ahead {
            // Others are in other loops.
            if let Some(pointer) = reader.pointer(*address, 0, 4 * BITS_OF_BYTE) {
                reader.add(Op::Fetch(pointer), Vec::new(), Kind::Lanes32);
            }
        }
        (reader.stores > 0).then(|| reader.body.needed())
    }

    /// Without what no store needs.
    fn needed(self) -> Body {
        let mut is_needed = vec![false; self.ops.len()];
        for (at, (op, args)) in self.ops.iter().enumerate().rev() {
            is_needed[at] |= matches!(op, Op::Store(_) | Op::StoreBits(_) | Op::Fetch(_));
            if is_needed[at] {
                args.iter().for_each(|arg| is_needed[*arg] = true);
            }
        }
        let (mut pointers, mut uniforms) = (Kept::default(), Kept::default());
        let mut places = Vec::new();
        let mut ops = Vec::new();
        for ((mut op, args), is_needed) in self.ops.into_iter().zip(is_needed) {
            places.push(ops.len());
            if !is_needed {
                continue;
            }
            if let Some(at) = op.pointer() {
                *at = pointers.place(*at);
            }
            if let Op::Uniform(at) = &mut op {
                *at = uniforms.place(*at);
            }
            ops.push((op, args.iter().map(|arg| places[*arg]).collect()));
        }
        Body { ops, pointers: pointers.of(&self.pointers), uniforms: uniforms.of(&self.uniforms) }
    }
}

/// Which values of a list are used, in the order of their first use.
#[derive(Default)]
struct Kept(Vec<usize>);

impl Kept {
    fn place(&mut self, at: usize) -> usize {
        let known = self.0.iter().position(|known| *known == at);
        known.unwrap_or_else(|| {
            self.0.push(at);
            self.0.len() - 1
        })
    }

    fn of(&self, values: &[Value]) -> Vec<Value> {
        self.0.iter().map(|at| values[*at]).collect()
    }
}

struct Reader<'a> {
    function: &'a mut Function,
    found: &'a Loop,
    conditions: Conditions<'a>,
    body: Body,
    /// The operation that computes a vector.
    vectors: HashMap<Value, usize>,
    /// Integers that move with the index: a part that does not, and by how many eighths they move.
    indices: HashMap<Value, (Option<Value>, i64)>,
    /// What becomes the bits of lanes, or is made of them.
    scalars: HashMap<Value, Scalar>,
    /// Operations with the number of stores before them.
    known: HashMap<(Op, Vec<usize>, usize), usize>,
    kinds: Vec<Kind>,
    stores: usize,
}

/// An integer on the way from or to bits in memory (see [`super::super::bits`]), whatever its place in
/// their byte: eight lanes have the whole of it, sixteen have two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scalar {
    /// It says where in a byte a bit is.
    Position,
    /// It is made of the byte at a pointer.
    Loaded(usize),
    /// It has the bits of a vector.
    OfLanes(usize),
}

/// A pointer of bits moves by an eighth of a byte.
const BITS_OF_BYTE: i64 = 8;

impl Reader<'_> {
    fn read(&mut self, inst: Inst) -> Option<()> {
        let data = self.function.dfg.insts[inst];
        let args: Vec<Value> = self.function.dfg.inst_args(inst).to_vec();
        if let InstructionData::Store { opcode, offset, args: [value, address], .. } = data {
            let (op, value): (fn(usize) -> Op, usize) = match (opcode, self.scalars.get(&value)) {
                (Opcode::Istore8, Some(Scalar::OfLanes(lanes))) => (Op::StoreBits, *lanes),
                (Opcode::Store, _) => (Op::Store, self.lanes(value)?),
                _ => return None,
            };
            let size = if opcode == Opcode::Store { 4 * BITS_OF_BYTE } else { 1 };
            let pointer = self.pointer(address, offset.into(), size)?;
            self.add(op(pointer), vec![value], Kind::Lanes32);
            self.stores += 1;
            return Some(());
        }
        let result = self.function.dfg.first_result(inst);
        let ty = self.function.dfg.value_type(result);
        if let Some(scalar) = self.scalar(&data, &args, ty) {
            self.scalars.insert(result, scalar);
            return Some(());
        }
        if ty == types::I64 {
            let form = self.index(data.opcode(), &args)?;
            self.indices.insert(result, form);
            return Some(());
        }
        let at = match data {
            InstructionData::Load { arg, offset, .. } if ty.bits() == 128 => {
                let pointer = self.pointer(arg, offset.into(), 4 * BITS_OF_BYTE)?;
                self.add(Op::Load(pointer), Vec::new(), Kind::Lanes32)
            }
            InstructionData::FloatCompare { cond, .. } => {
                let (a, b, kind) = self.pair(args[0], args[1])?;
                self.add(Op::Compare(cond, kind.width()?), vec![a, b], kind)
            }
            InstructionData::IntCompare { cond, .. } => self.compare(cond, args[0], args[1])?,
            InstructionData::Shuffle { imm, .. } => {
                let mask = self.function.dfg.immediates[imm].as_slice().to_vec();
                self.shuffle(&mask, args[0], args[1])?
            }
            _ if ty.is_vector() => self.operate(data.opcode(), &args)?,
            _ => return None,
        };
        self.vectors.insert(result, at);
        Some(())
    }

    fn scalar(&mut self, data: &InstructionData, args: &[Value], ty: Type) -> Option<Scalar> {
        let opcode = data.opcode();
        let of_args = args.iter().filter_map(|arg| self.scalars.get(arg)).max().copied();
        match data {
            InstructionData::Load { opcode: Opcode::Uload8, arg, offset, .. } => {
                Some(Scalar::Loaded(self.pointer(*arg, (*offset).into(), 1)?))
            }
            _ if opcode == Opcode::VhighBits => Some(Scalar::OfLanes(self.lanes(args[0])?)),
            _ if ty == types::I32 && opcode == Opcode::Ireduce => Some(Scalar::Position),
            _ if ty == types::I32 => of_args,
            _ if matches!(opcode, Opcode::Splat | Opcode::Band) => of_args,
            _ => None,
        }
    }

    /// An integer that moves with the index.
    fn index(&mut self, opcode: Opcode, args: &[Value]) -> Option<(Option<Value>, i64)> {
        let [a, b] = *args else { return None };
        let known = |value: Value| self.indices.get(&value).copied();
        match (opcode, known(a), known(b)) {
            (Opcode::Iadd, Some((rest, by)), None) => Some((Some(self.sum(rest, b)), by)),
            (Opcode::Iadd, None, Some((rest, by))) => Some((Some(self.sum(rest, a)), by)),
            (Opcode::Ishl, Some((rest, by)), None) => {
                let bits = constant(self.function, b).filter(|bits| *bits < 8)?;
                let rest = rest.map(|rest| self.before().ins().ishl(rest, b));
                Some((rest, by << bits))
            }
            // Rows of bits are whole bytes.
            (Opcode::Ushr, Some((rest, BITS_OF_BYTE)), None)
                if constant(self.function, b)? == 3 =>
            {
                Some((rest.map(|rest| self.before().ins().ushr(rest, b)), 1))
            }
            _ => None,
        }
    }

    fn sum(&mut self, rest: Option<Value>, value: Value) -> Value {
        match rest {
            Some(rest) => self.before().ins().iadd(rest, value),
            None => value,
        }
    }

    /// Where instructions before the loop are added.
    fn before(&mut self) -> FuncCursor<'_> {
        FuncCursor::new(self.function).at_inst(self.found.entry)
    }

    /// An address at which elements of so many bits follow each other as the index does.
    fn pointer(&mut self, address: Value, offset: i32, size: i64) -> Option<usize> {
        let (Some(start), by) = *self.indices.get(&address)? else { return None };
        if by != size {
            return None;
        }
        let start = match offset {
            0 => start,
            _ => self.before().ins().iadd_imm_s(start, i64::from(offset)),
        };
        let pointers = &mut self.body.pointers;
        let known = pointers.iter().position(|known| is_same(self.function, *known, start));
        Some(known.unwrap_or_else(|| {
            pointers.push(start);
            pointers.len() - 1
        }))
    }

    fn add(&mut self, op: Op, args: Vec<usize>, kind: Kind) -> usize {
        let key = (op, args.clone(), self.stores);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        self.body.ops.push((op, args));
        self.kinds.push(kind);
        let at = self.body.ops.len() - 1;
        if !matches!(op, Op::Store(_) | Op::StoreBits(_)) {
            self.known.insert(key, at);
        }
        at
    }

    fn bits(&mut self, bits: u64, kind: Kind) -> usize {
        self.add(Op::Constant(bits), Vec::new(), kind)
    }

    /// A vector operand.
    fn vector(&mut self, value: Value) -> Option<usize> {
        if let Some(known) = self.vectors.get(&value) {
            return Some(*known);
        }
        if !self.found.is_invariant(self.function, value) {
            return None;
        }
        let kind = match self.function.dfg.value_type(value).lane_bits() {
            32 => Kind::Lanes32,
            64 => Kind::Lanes64,
            _ => return None,
        };
        let at = match vector_constant(self.function, value) {
            Some(bits) => self.bits(equal_lanes(&bits, kind.width()?)?, kind),
            None if self.is_excluded(value) => self.bits(0, kind),
            None if is_uniform(self.function, value) => {
                let uniforms = &mut self.body.uniforms;
                let known = uniforms.iter().position(|known| *known == value);
                let place = known.unwrap_or_else(|| {
                    uniforms.push(value);
                    uniforms.len() - 1
                });
                self.add(Op::Uniform(place), Vec::new(), kind)
            }
            None => return None,
        };
        self.vectors.insert(value, at);
        Some(at)
    }

    /// A condition that does not hold.
    fn is_excluded(&mut self, value: Value) -> bool {
        let function = &*self.function;
        let inst = function.dfg.value_def(value).inst().map(|inst| function.dfg.insts[inst]);
        let is_equality =
            matches!(inst, Some(InstructionData::IntCompare { cond: IntCC::Equal, .. }));
        let is_of_lanes = function.dfg.value_type(value) == types::I32X4;
        if !is_equality || !is_of_lanes || !is_uniform(function, value) {
            return false;
        }
        if let Conditions::Found(all) = &mut self.conditions {
            all.push(value);
        }
        matches!(self.conditions, Conditions::False)
    }

    fn lanes(&mut self, value: Value) -> Option<usize> {
        self.vector(value).filter(|at| self.kinds[*at] == Kind::Lanes32)
    }

    /// Two operands of one kind.
    fn pair(&mut self, a: Value, b: Value) -> Option<(usize, usize, Kind)> {
        let (a, b) = (self.vector(a)?, self.vector(b)?);
        let kind = self.kinds[a];
        (kind == self.kinds[b] && kind != Kind::Half).then_some((a, b, kind))
    }

    fn operate(&mut self, opcode: Opcode, args: &[Value]) -> Option<usize> {
        match *args {
            [x] => self.unary(opcode, x),
            [x, by] if matches!(opcode, Opcode::Ishl | Opcode::Ushr | Opcode::Sshr) => {
                let x = self.vector(x)?;
                let (kind, width) = (self.kinds[x], self.kinds[x].width()?);
                let direction = match opcode {
                    Opcode::Ishl => Direction::Left,
                    Opcode::Ushr => Direction::Right,
                    // There is no such instruction for 64 bits.
                    _ if width == Width::W64 => return None,
                    _ => Direction::RightWithSign,
                };
                let by = u8::try_from(constant(self.function, by)?).ok()?;
                Some(self.add(Op::Shift(direction, by, width), vec![x], kind))
            }
            [a, b] => {
                let (a, b, kind) = self.pair(a, b)?;
                let width = kind.width()?;
                let op = match opcode {
                    Opcode::Fadd => Op::Float(FloatOp::Add, width),
                    Opcode::Fsub => Op::Float(FloatOp::Sub, width),
                    Opcode::Fmul => Op::Float(FloatOp::Mul, width),
                    Opcode::Fdiv => Op::Float(FloatOp::Div, width),
                    Opcode::Iadd => Op::Integer(IntegerOp::Add, width),
                    Opcode::Isub => Op::Integer(IntegerOp::Sub, width),
                    Opcode::Imul if width == Width::W32 => Op::Integer(IntegerOp::Mul, width),
                    Opcode::Smin if width == Width::W32 => Op::Integer(IntegerOp::Min, width),
                    Opcode::Smax if width == Width::W32 => Op::Integer(IntegerOp::Max, width),
                    Opcode::Band => Op::And,
                    Opcode::Bor => Op::Or,
                    Opcode::Bxor => Op::Xor,
                    _ => return None,
                };
                Some(self.add(op, vec![a, b], kind))
            }
            [mask, a, b] if opcode == Opcode::Bitselect => self.select(mask, a, b),
            [a, b, to] if opcode == Opcode::Fma => {
                let (a, b, kind) = self.pair(a, b)?;
                let to = self.vector(to).filter(|to| self.kinds[*to] == kind)?;
                Some(self.add(Op::MulAdd(kind.width()?), vec![a, b, to], kind))
            }
            _ => None,
        }
    }

    fn unary(&mut self, opcode: Opcode, value: Value) -> Option<usize> {
        let x = self.vector(value)?;
        let kind = self.kinds[x];
        if opcode == Opcode::Bitcast {
            return Some(x);
        }
        if opcode == Opcode::FvpromoteLow {
            let is_f32 = kind == Kind::Half || kind == Kind::Lanes32;
            return is_f32.then(|| self.add(Op::Widen, vec![x], Kind::Lanes64));
        }
        let width = kind.width()?;
        let mut float = |op| Some(self.add(Op::Float(op, width), vec![x], kind));
        let sign = match width {
            Width::W32 => 0x8000_0000_8000_0000,
            Width::W64 => 1 << 63,
        };
        match opcode {
            Opcode::Sqrt => float(FloatOp::Sqrt),
            Opcode::Floor => float(FloatOp::Floor),
            Opcode::Ceil => float(FloatOp::Ceil),
            Opcode::Trunc => float(FloatOp::Trunc),
            Opcode::Nearest => float(FloatOp::Nearest),
            Opcode::Fneg => {
                let sign = self.bits(sign, kind);
                Some(self.add(Op::Xor, vec![x, sign], kind))
            }
            Opcode::Fabs => {
                let rest = self.bits(!sign, kind);
                Some(self.add(Op::And, vec![x, rest], kind))
            }
            Opcode::Bnot => {
                let ones = self.bits(u64::MAX, kind);
                Some(self.add(Op::Xor, vec![x, ones], kind))
            }
            Opcode::Ineg => {
                let zero = self.bits(0, kind);
                Some(self.add(Op::Integer(IntegerOp::Sub, width), vec![zero, x], kind))
            }
            Opcode::FcvtFromSint if width == Width::W32 => {
                Some(self.add(Op::FromInteger, vec![x], kind))
            }
            Opcode::Fvdemote if width == Width::W64 => {
                Some(self.add(Op::Narrow, vec![x], Kind::Half))
            }
            _ => None,
        }
    }

    fn compare(&mut self, cond: IntCC, a: Value, b: Value) -> Option<usize> {
        if let Some(Scalar::Loaded(pointer)) = self.scalars.get(&a) {
            return Some(self.add(Op::LoadBits(*pointer), Vec::new(), Kind::Lanes32));
        }
        let (a, b) = (self.lanes(a)?, self.lanes(b)?);
        let (op, a, b, is_not) = match cond {
            IntCC::Equal => (IntegerOp::Equal, a, b, false),
            IntCC::NotEqual => (IntegerOp::Equal, a, b, true),
            IntCC::SignedGreaterThan => (IntegerOp::Greater, a, b, false),
            IntCC::SignedLessThanOrEqual => (IntegerOp::Greater, a, b, true),
            IntCC::SignedLessThan => (IntegerOp::Greater, b, a, false),
            IntCC::SignedGreaterThanOrEqual => (IntegerOp::Greater, b, a, true),
            _ => return None,
        };
        let holds = self.add(Op::Integer(op, Width::W32), vec![a, b], Kind::Lanes32);
        if !is_not {
            return Some(holds);
        }
        let ones = self.bits(u64::MAX, Kind::Lanes32);
        Some(self.add(Op::Xor, vec![holds, ones], Kind::Lanes32))
    }

    /// The two rearrangements there are: of a vector its second half, and two halves as one vector.
    fn shuffle(&mut self, mask: &[u8], a: Value, b: Value) -> Option<usize> {
        let (a, b) = (self.vector_of_bytes(a)?, self.vector_of_bytes(b)?);
        let lanes: Vec<u8> = mask.iter().step_by(4).map(|byte| byte / 4).collect();
        let is_whole = mask.iter().enumerate().all(|(at, byte)| byte % 4 == (at % 4) as u8);
        let kinds = (self.kinds[a], self.kinds[b]);
        match lanes.as_slice() {
            [2, 3, 2, 3] if a == b && is_whole && kinds.0 == Kind::Lanes32 => {
                Some(self.add(Op::High, vec![a], Kind::Half))
            }
            [0, 1, 4, 5] if is_whole && kinds == (Kind::Half, Kind::Half) => {
                Some(self.add(Op::Join, vec![a, b], Kind::Lanes32))
            }
            _ => None,
        }
    }

    /// A vector seen as bytes.
    fn vector_of_bytes(&mut self, value: Value) -> Option<usize> {
        if let Some(known) = self.vectors.get(&value) {
            return Some(*known);
        }
        match operation(self.function, value)? {
            (Opcode::Bitcast, [inner]) => {
                let inner = *inner;
                self.vector(inner)
            }
            _ => None,
        }
    }

    fn select(&mut self, mask: Value, then: Value, otherwise: Value) -> Option<usize> {
        if let Some(limit) = self.minimum(mask, then, otherwise) {
            return Some(limit);
        }
        let is_mask = is_mask(self.function, mask);
        let (then, otherwise, kind) = self.pair(then, otherwise)?;
        let mask = self.vector(mask).filter(|mask| self.kinds[*mask] == kind)?;
        let is_zero = |at: usize| self.body.ops[at].0 == Op::Constant(0);
        if is_zero(mask) {
            return Some(otherwise);
        }
        if is_zero(otherwise) {
            return Some(self.add(Op::And, vec![mask, then], kind));
        }
        if is_zero(then) {
            return Some(self.add(Op::AndNot, vec![mask, otherwise], kind));
        }
        if is_mask {
            let args = vec![mask, then, otherwise];
            return Some(self.add(Op::Blend(kind.width()?), args, kind));
        }
        let set = self.add(Op::And, vec![mask, then], kind);
        let unset = self.add(Op::AndNot, vec![mask, otherwise], kind);
        Some(self.add(Op::Or, vec![set, unset], kind))
    }

    /// `a < b ? a : b` and `a < b ? b : a` are instructions of their own.
    fn minimum(&mut self, mask: Value, then: Value, otherwise: Value) -> Option<usize> {
        let original = |value: Value| match operation(self.function, value) {
            Some((Opcode::Bitcast, [inner])) => *inner,
            _ => value,
        };
        let (mask, then, otherwise) = (original(mask), original(then), original(otherwise));
        let ValueDef::Result(inst, _) = self.function.dfg.value_def(mask) else { return None };
        let InstructionData::FloatCompare { cond: FloatCC::LessThan, args: [a, b], .. } =
            self.function.dfg.insts[inst]
        else {
            return None;
        };
        let (a, b) = (original(a), original(b));
        let (op, first, second) = match (then, otherwise) {
            pair if pair == (a, b) => (FloatOp::Min, a, b),
            // The greater one, and the first where neither is: `b > a ? b : a`.
            pair if pair == (b, a) => (FloatOp::Max, b, a),
            _ => return None,
        };
        let (first, second, kind) = self.pair(first, second)?;
        Some(self.add(Op::Float(op, kind.width()?), vec![first, second], kind))
    }
}

fn vector_constant(function: &Function, value: Value) -> Option<Vec<u8>> {
    let inst = function.dfg.value_def(value).inst()?;
    if let InstructionData::UnaryConst { opcode: Opcode::Vconst, constant_handle } =
        function.dfg.insts[inst]
    {
        return Some(function.dfg.constants.get(constant_handle).as_slice().to_vec());
    }
    match operation(function, value)? {
        (Opcode::Bitcast, [inner]) => vector_constant(function, *inner),
        _ => None,
    }
}

/// The bits of two lanes of 32 or one of 64, if all are equal.
fn equal_lanes(bytes: &[u8], width: Width) -> Option<u64> {
    let size = if width == Width::W32 { 4 } else { 8 };
    let first: [u8; 8] = bytes.get(..8)?.try_into().ok()?;
    let is_equal = bytes.chunks(size).all(|lane| lane == &first[..size]);
    is_equal.then(|| u64::from_le_bytes(first))
}

/// All lanes of a vector are equal.
fn is_uniform(function: &Function, value: Value) -> bool {
    if let Some(bytes) = vector_constant(function, value) {
        let is_wide = function.dfg.value_type(value).lane_bits() == 64;
        let width = if is_wide { Width::W64 } else { Width::W32 };
        return equal_lanes(&bytes, width).is_some();
    }
    match operation(function, value) {
        Some((Opcode::Splat, _)) => true,
        Some((Opcode::Load, _)) | None => false,
        Some((_, args)) => {
            !args.is_empty() && args.iter().all(|arg| is_uniform_operand(function, *arg))
        }
    }
}

fn is_uniform_operand(function: &Function, value: Value) -> bool {
    !function.dfg.value_type(value).is_vector() || is_uniform(function, value)
}

/// All bits of a lane are equal.
fn is_mask(function: &Function, value: Value) -> bool {
    match operation(function, value) {
        Some((Opcode::Fcmp | Opcode::Icmp, _)) => true,
        Some((
            Opcode::Band | Opcode::Bor | Opcode::Bxor | Opcode::Bnot | Opcode::Bitcast,
            args,
        )) => args.iter().all(|arg| is_mask(function, *arg)),
        _ => false,
    }
}
