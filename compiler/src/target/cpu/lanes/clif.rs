//! Operations on lanes as Cranelift's instructions, on vectors of 128 bits.

use cranelift::codegen::ir::{Endianness, Opcode};
use cranelift::prelude::*;

use super::{Body, Direction, FloatOp, IntegerOp, Op, Operand, Width};

impl Operand {
    /// The vector, seen as one of a type.
    pub fn value(self, code: &mut FunctionBuilder, ty: Type) -> Value {
        match self {
            Operand::Constant(bits) => constant(code, ty, &bits.to_le_bytes().repeat(2)),
            Operand::Made { value, .. } => cast(code, value, ty),
            Operand::Recorded(_) => unreachable!("what a loop computes is used in it only"),
        }
    }
}

/// Appends an operation that accesses no memory.
pub fn lower(code: &mut FunctionBuilder, op: Op, args: &[Operand]) -> Operand {
    let ty = operand_type(code, op, args);
    let x: Vec<Value> = args.iter().map(|arg| arg.value(code, ty)).collect();
    let value = match op {
        Op::Constant(bits) => return Operand::Constant(bits),
        Op::Float(op, _) => float(code, op, &x, ty),
        Op::MulAdd(_) => code.ins().fma(x[0], x[1], x[2]),
        Op::Integer(op, _) => integer(code, op, x[0], x[1]),
        Op::Compare(condition, _) => code.ins().fcmp(condition, x[0], x[1]),
        Op::And => code.ins().band(x[0], x[1]),
        Op::AndNot => code.ins().band_not(x[1], x[0]),
        Op::Or => code.ins().bor(x[0], x[1]),
        Op::Xor => code.ins().bxor(x[0], x[1]),
        Op::Blend(_) => code.ins().bitselect(x[0], x[1], x[2]),
        Op::Shift(Direction::Left, by, _) => code.ins().ishl_imm_u(x[0], i64::from(by)),
        Op::Shift(Direction::Right, by, _) => code.ins().ushr_imm_u(x[0], i64::from(by)),
        Op::FromInteger => code.ins().fcvt_from_sint(types::F32X4, x[0]),
        Op::ToInteger => code.ins().fcvt_to_sint_sat(types::I32X4, x[0]),
        Op::High => shuffle(code, x[0], x[0], [2, 3, 2, 3]),
        Op::Widen => code.ins().fvpromote_low(x[0]),
        Op::Narrow => code.ins().fvdemote(x[0]),
        Op::Join => shuffle(code, x[0], x[1], [0, 1, 4, 5]),
        Op::Uniform(_)
        | Op::Load(_)
        | Op::Fetch(_)
        | Op::Store(_)
        | Op::LoadBits(_)
        | Op::StoreBits(_) => unreachable!("part of a loop's body only"),
    };
    Operand::Made { value, is_equality: matches!(op, Op::Integer(IntegerOp::Equal, Width::W32)) }
}

/// How an operation sees its operands.
fn operand_type(code: &FunctionBuilder, op: Op, args: &[Operand]) -> Type {
    let (floats, integers) = match op {
        Op::Float(_, Width::W64)
        | Op::MulAdd(Width::W64)
        | Op::Integer(_, Width::W64)
        | Op::Compare(_, Width::W64)
        | Op::Blend(Width::W64)
        | Op::Shift(.., Width::W64)
        | Op::Narrow => (types::F64X2, types::I64X2),
        _ => (types::F32X4, types::I32X4),
    };
    match op {
        Op::Integer(..) | Op::Shift(..) | Op::FromInteger => integers,
        // Where the machine's blend and minimum are found: integer comparisons choose among integers,
        // comparisons of floats among floats.
        Op::Blend(_) => match args {
            [Operand::Made { value, .. }, ..] if is_of_integers(code, *value) => integers,
            _ => floats,
        },
        Op::And | Op::AndNot | Op::Or | Op::Xor => {
            let types = args.iter().filter_map(|arg| match arg {
                Operand::Made { value, .. } => Some(code.func.dfg.value_type(*value)),
                _ => None,
            });
            types.into_iter().next().unwrap_or(integers)
        }
        _ => floats,
    }
}

fn is_of_integers(code: &FunctionBuilder, mask: Value) -> bool {
    let inst = code.func.dfg.value_def(mask).inst();
    inst.is_some_and(|inst| code.func.dfg.insts[inst].opcode() == Opcode::Icmp)
}

fn float(code: &mut FunctionBuilder, op: FloatOp, x: &[Value], ty: Type) -> Value {
    let ins = code.ins();
    match op {
        FloatOp::Add => ins.fadd(x[0], x[1]),
        FloatOp::Sub => ins.fsub(x[0], x[1]),
        FloatOp::Mul => ins.fmul(x[0], x[1]),
        FloatOp::Div => ins.fdiv(x[0], x[1]),
        FloatOp::Sqrt => ins.sqrt(x[0]),
        FloatOp::Floor => ins.floor(x[0]),
        FloatOp::Ceil => ins.ceil(x[0]),
        FloatOp::Nearest => ins.nearest(x[0]),
        FloatOp::Min | FloatOp::Max => {
            let (less, than) = if op == FloatOp::Min { (x[0], x[1]) } else { (x[1], x[0]) };
            let first = ins.fcmp(FloatCC::LessThan, less, than);
            let first = cast(code, first, ty);
            code.ins().bitselect(first, x[0], x[1])
        }
    }
}

fn integer(code: &mut FunctionBuilder, op: IntegerOp, a: Value, b: Value) -> Value {
    let ins = code.ins();
    match op {
        IntegerOp::Add => ins.iadd(a, b),
        IntegerOp::Sub => ins.isub(a, b),
        IntegerOp::Mul => ins.imul(a, b),
        IntegerOp::Min => ins.smin(a, b),
        IntegerOp::Max => ins.smax(a, b),
        IntegerOp::Equal => ins.icmp(IntCC::Equal, a, b),
        IntegerOp::Greater => ins.icmp(IntCC::SignedGreaterThan, a, b),
    }
}

/// Appends what a loop does at an index: for four elements, or in the first lane for one.
pub fn iteration(code: &mut FunctionBuilder, body: &Body, index: Value, is_full: bool) {
    let mut values: Vec<Option<Operand>> = Vec::new();
    let made = |value: Value| Some(Operand::Made { value, is_equality: false });
    for (op, args) in &body.ops {
        let args: Vec<Operand> = args.iter().filter_map(|arg| values[*arg]).collect();
        let start = |at: usize| body.pointers[at].address;
        values.push(match *op {
            Op::Uniform(at) => made(body.uniforms[at]),
            Op::Load(at) => {
                let address = element(code, start(at), index);
                made(load(code, types::F32X4, address, is_full))
            }
            Op::LoadBits(at) => made(load_bits(code, start(at), index, is_full)),
            Op::Store(at) => {
                let value = args[0].value(code, types::F32X4);
                let address = element(code, start(at), index);
                store(code, value, address, is_full);
                None
            }
            Op::StoreBits(at) => {
                let mask = args[0].value(code, types::I32X4);
                let bits = code.ins().vhigh_bits(types::I32, mask);
                store_bits(code, start(at), index, bits, is_full);
                None
            }
            Op::Fetch(_) => None,
            op => Some(lower(code, op, &args)),
        });
    }
}

// ---- memory ----

/// Accesses are inside of their buffers.
pub fn memory() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Where an element of four bytes is.
pub fn element(code: &mut FunctionBuilder, start: Value, at: Value) -> Value {
    let bytes = code.ins().ishl_imm_u(at, 2);
    code.ins().iadd(start, bytes)
}

/// Four elements, or one in all lanes.
pub fn load(code: &mut FunctionBuilder, ty: Type, address: Value, is_full: bool) -> Value {
    if is_full {
        return code.ins().load(ty, memory(), address, 0);
    }
    let one = code.ins().load(ty.lane_type(), memory(), address, 0);
    code.ins().splat(ty, one)
}

/// All lanes, or the first one.
pub fn store(code: &mut FunctionBuilder, value: Value, address: Value, is_full: bool) {
    let value = if is_full { value } else { code.ins().extractlane(value, 0) };
    code.ins().store(memory(), value, address, 0);
}

/// The bit of each lane.
const LANES: [i32; 4] = [1, 2, 4, 8];

/// All ones in the lanes whose bit is set, of four bits that are half a byte, or of one in all lanes.
/// The first in a byte is its lowest bit.
pub fn load_bits(code: &mut FunctionBuilder, start: Value, at: Value, is_full: bool) -> Value {
    let byte = shifted_bits(code, start, at, if is_full { 4 } else { 7 });
    let bits = code.ins().splat(types::I32X4, byte);
    is_set(code, bits, if is_full { LANES } else { [1; 4] })
}

/// A byte with the bit of an element at its end, or the first bit of the half that the element is in.
pub fn shifted_bits(code: &mut FunctionBuilder, start: Value, at: Value, within: i64) -> Value {
    let (address, shift) = place_of_bit(code, start, at, within);
    let byte = code.ins().uload8(types::I32, memory(), address, 0);
    code.ins().ushr(byte, shift)
}

/// All ones in the lanes that have their bit.
pub fn is_set(code: &mut FunctionBuilder, bits: Value, lanes: [i32; 4]) -> Value {
    let lanes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
    let lanes = constant(code, types::I32X4, &lanes);
    let chosen = code.ins().band(bits, lanes);
    code.ins().icmp(IntCC::Equal, chosen, lanes)
}

/// Puts the lowest bits of a number, four or one, in the place of others.
pub fn store_bits(code: &mut FunctionBuilder, start: Value, at: Value, bits: Value, is_full: bool) {
    let count = if is_full { 4 } else { 1 };
    let (address, shift) = place_of_bit(code, start, at, 8 - count);
    let all = code.ins().iconst(types::I32, (1 << count) - 1);
    let bits = code.ins().band(bits, all);
    let (bits, all) = (code.ins().ishl(bits, shift), code.ins().ishl(all, shift));
    let before = code.ins().uload8(types::I32, memory(), address, 0);
    let kept = code.ins().band_not(before, all);
    let byte = code.ins().bor(kept, bits);
    code.ins().istore8(memory(), byte, address, 0);
}

/// The address of an element's byte, and its place in it, of which the bits in `within` count.
fn place_of_bit(
    code: &mut FunctionBuilder,
    start: Value,
    at: Value,
    within: i64,
) -> (Value, Value) {
    let bytes = code.ins().ushr_imm_u(at, 3);
    let address = code.ins().iadd(start, bytes);
    let shift = code.ins().ireduce(types::I32, at);
    (address, code.ins().band_imm_u(shift, within))
}

// ---- vectors ----

/// A vector constant of 16 bytes.
pub fn constant(code: &mut FunctionBuilder, ty: Type, bytes: &[u8]) -> Value {
    let handle = code.func.dfg.constants.insert(bytes.into());
    code.ins().vconst(ty, handle)
}

fn cast(code: &mut FunctionBuilder, value: Value, ty: Type) -> Value {
    match code.func.dfg.value_type(value) == ty {
        true => value,
        false => code.ins().bitcast(ty, little(), value),
    }
}

/// Picks four lanes out of the eight of two vectors.
pub fn shuffle(code: &mut FunctionBuilder, a: Value, b: Value, lanes: [u8; 4]) -> Value {
    let ty = code.func.dfg.value_type(a);
    let bytes: Vec<u8> = lanes.iter().flat_map(|lane| (4 * lane)..(4 * lane + 4)).collect();
    let mask = code.func.dfg.immediates.push(bytes.into());
    // The instruction is one on bytes.
    let [a, b] = [a, b].map(|value| code.ins().bitcast(types::I8X16, little(), value));
    let shuffled = code.ins().shuffle(a, b, mask);
    code.ins().bitcast(ty, little(), shuffled)
}

fn little() -> MemFlagsData {
    MemFlagsData::new().with_endianness(Endianness::Little)
}
