//! A [`Body`] as machine code: a loop over eight lanes with AVX2, or over sixteen with AVX-512, for the
//! System V calling convention.
//!
//! `extern "sysv64" fn(frame, index, end) -> index` runs as many whole vectors as there are.
//!
//! Registers are given out in one pass: a value stays in one until its last use, and where there are
//! none left, the value whose next use is the furthest goes to memory. Constants, uniforms and loads
//! that no store can have changed are in memory already, so they take a register only for several uses.
//! Loads are what such loops wait for: registers that are left over keep the constants and uniforms
//! that are used most through all iterations.
//!
//! Others' assemblers and allocators, by the loops of nine programs:
//!
//! - `cranelift-assembler-x64` 0.135 has instructions on 128 bits only.
//! - The encoder of `iced-x86` 1.21 has all of them, by two names each, VEX and EVEX, where a row of the
//!   tables here stands for both. It takes 34 ns an instruction instead of 3, and 170 KB.
//! - `regalloc2` 0.15 has 6 moves from and to memory in these loops, where there are 22 here, but for 552
//!   operands of 3,649 instructions it leaves a constant or uniform in memory, where there are none here,
//!   and takes 48 µs a loop.

use std::collections::HashMap;

use cranelift::prelude::FloatCC;

use super::{Body, Direction, FloatOp, IntegerOp, Op, Vectors, Width};

pub struct Code {
    pub bytes: Vec<u8>,
    pub frame: Frame,
}

/// What the function finds its data by: pointers, then uniforms, then room for values. A uniform is put
/// into the first four lanes of its place; the function fills the others. A vector of several stores
/// would be waited for: loads get what stores still hold only if one of them has all of it.
#[derive(Clone, Copy)]
pub struct Frame {
    vectors: Vectors,
    uniforms: u32,
    pub size: u32,
}

impl Frame {
    pub fn pointer(at: usize) -> i32 {
        8 * at as i32
    }

    /// How many rows are left, where there are several.
    pub fn rows(self) -> i32 {
        self.uniforms as i32 - 8
    }

    /// At which index each of them starts.
    pub fn first(self) -> i32 {
        self.uniforms as i32 - 16
    }

    pub fn uniform(self, at: usize) -> i32 {
        self.uniforms as i32 + (self.vectors.bytes() * at) as i32
    }

    /// With room for so many more vectors.
    fn grown(self, vectors: usize) -> Frame {
        Frame { size: self.size + (self.vectors.bytes() * vectors) as u32, ..self }
    }
}

/// Each lane's bit of eight, the first of the [`Assembler::constants`].
const BIT_OF_LANE: [u64; 4] = [1 | 2 << 32, 4 | 8 << 32, 16 | 32 << 32, 64 | 128 << 32];

const LANES: Memory = Memory::Constant(0);

/// With `strides` the function runs several rows: from one to the next, pointers move by so many bytes.
pub fn assemble(body: &Body, vectors: Vectors, strides: Option<&[i32]>) -> Code {
    let uniforms = (8 * (body.pointers.len() + 2)).next_multiple_of(vectors.bytes()) as u32;
    let frame = Frame { vectors, uniforms, size: uniforms }.grown(body.uniforms.len());
    let with_residents = |count: usize| {
        let mut assembler = Assembler::new(body, frame);
        assembler.residents = assembler.most_used(count);
        assembler.function(strides);
        assembler
    };
    // As many as make no other value go to memory. An operation needs the registers that are left: for
    // its operands and its result.
    let none = with_residents(0);
    let most = none.most_used(vectors.registers() - 4).len();
    let counts: Vec<usize> = (1..=most).collect();
    let count = counts.partition_point(|count| with_residents(*count).spills <= none.spills);
    let best = with_residents(count);
    let frame = frame.grown(best.spills);
    Code { bytes: best.finish(), frame }
}

// Integer registers by their numbers.
const RAX: u8 = 0;
const RDX: u8 = 2;
const RSI: u8 = 6;
const RDI: u8 = 7;
const R11: u8 = 11;
/// These keep pointers; the second half must be left as it was found.
const POINTERS: [u8; 10] = [1, 8, 9, 10, 3, 5, 12, 13, 14, 15];
const FREE_POINTERS: usize = 4;
/// The mask register that is used, for a moment each time.
const K1: u8 = 1;

/// Where a vector is in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// A pointer's elements at the loop's index.
    Stream(usize),
    /// The byte at r11.
    Byte,
    Frame(i32),
    /// After the code.
    Constant(usize),
}

#[derive(Clone, Copy)]
enum Source {
    Register(u8),
    Memory(Memory),
}

/// An instruction on vectors; see [`Assembler::vector`].
#[derive(Clone, Copy)]
struct Instruction {
    /// The prefix: 0 for none, 1 for 66, 2 for F3, 3 for F2.
    prefix: u8,
    /// The table of opcodes: 1 for 0F, 2 for 0F38, 3 for 0F3A.
    map: u8,
    opcode: u8,
    /// Lanes of 64 bits; where that makes no difference, 32.
    width: Width,
}

const fn instruction(prefix: u8, map: u8, opcode: u8) -> Instruction {
    Instruction { prefix, map, opcode, width: Width::W32 }
}

impl Instruction {
    const fn on(self, width: Width) -> Instruction {
        Instruction { width, ..self }
    }
}

const LOAD: Instruction = instruction(0, 1, 0x10);
const STORE: Instruction = instruction(0, 1, 0x11);
/// Four lanes from memory, again and again: `vbroadcastf128`, `vbroadcastf32x4`.
const WIDEN: Instruction = instruction(1, 2, 0x1A);

/// A value of the body.
struct Value {
    /// The operations that use it, last first.
    uses: Vec<usize>,
    register: Option<u8>,
    home: Option<Memory>,
    spilled: Option<Memory>,
}

struct Assembler<'a> {
    body: &'a Body,
    frame: Frame,
    bytes: Vec<u8>,
    values: Vec<Value>,
    registers: Vec<Option<usize>>,
    /// What stays in the last registers through all iterations.
    residents: Vec<Memory>,
    /// Registers of the operation at hand.
    pinned: Vec<u8>,
    constants: Vec<[u64; 4]>,
    /// Where a constant's distance is still to be written, and from where it counts.
    distances: Vec<(usize, usize, usize)>,
    spills: usize,
    /// The registers of pointers: the most used ones have one.
    pointers: Vec<Option<u8>>,
}

fn registers_of_pointers(body: &Body) -> Vec<Option<u8>> {
    let mut uses = vec![0; body.pointers.len()];
    for (op, _) in &body.ops {
        if let Op::Load(at) | Op::Store(at) = op {
            uses[*at] += 1;
        }
    }
    let mut order: Vec<usize> = (0..uses.len()).filter(|at| uses[*at] > 0).collect();
    order.sort_by_key(|at| std::cmp::Reverse(uses[*at]));
    let mut registers = vec![None; uses.len()];
    for (at, register) in order.into_iter().zip(POINTERS) {
        registers[at] = Some(register);
    }
    registers
}

impl<'a> Assembler<'a> {
    fn new(body: &'a Body, frame: Frame) -> Assembler<'a> {
        let mut uses: Vec<Vec<usize>> = vec![Vec::new(); body.ops.len()];
        for (at, (_, args)) in body.ops.iter().enumerate().rev() {
            args.iter().for_each(|arg| uses[*arg].push(at));
        }
        let is_store = |op: &Op| matches!(op, Op::Store(_) | Op::StoreBits(_));
        let stores = body.ops.iter().position(|(op, _)| is_store(op));
        let first_store = stores.unwrap_or(body.ops.len());
        let mut constants = vec![BIT_OF_LANE];
        let mut places: HashMap<u64, usize> = HashMap::new();
        let values = body.ops.iter().zip(uses).map(|((op, _), uses)| {
            let home = match op {
                Op::Constant(bits) => {
                    Some(Memory::Constant(*places.entry(*bits).or_insert_with(|| {
                        constants.push([*bits; 4]);
                        constants.len() - 1
                    })))
                }
                Op::Uniform(at) => Some(Memory::Frame(frame.uniform(*at))),
                Op::Load(at) if uses.first().is_some_and(|last| *last <= first_store) => {
                    Some(Memory::Stream(*at))
                }
                _ => None,
            };
            Value { uses, register: None, home, spilled: None }
        });
        let values = values.collect();
        Assembler {
            body,
            frame,
            bytes: Vec::new(),
            values,
            registers: vec![None; frame.vectors.registers()],
            residents: Vec::new(),
            pinned: Vec::new(),
            constants,
            distances: Vec::new(),
            spills: 0,
            pointers: registers_of_pointers(body),
        }
    }

    fn vectors(&self) -> Vectors {
        self.frame.vectors
    }

    fn lanes(&self) -> u8 {
        self.vectors().lanes() as u8
    }

    /// So many of the vectors that are the same in all iterations, if there are as many that are used
    /// at all.
    fn most_used(&self, count: usize) -> Vec<Memory> {
        let mut uses: Vec<(Memory, usize)> = Vec::new();
        let mut add =
            |memory: Memory, by: usize| match uses.iter_mut().find(|(known, _)| *known == memory) {
                Some((_, count)) => *count += by,
                None => uses.push((memory, by)),
            };
        for ((op, _), value) in self.body.ops.iter().zip(&self.values) {
            match (op, value.home) {
                (Op::LoadBits(_), _) if self.vectors() == Vectors::Avx2 => add(LANES, 2),
                (Op::Constant(_) | Op::Uniform(_), Some(home)) => add(home, value.uses.len()),
                _ => {}
            }
        }
        uses.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        uses.into_iter().map(|(memory, _)| memory).take(count).collect()
    }

    fn function(&mut self, strides: Option<&[i32]>) {
        let kept = self.pointers.iter().flatten().count();
        let saved = POINTERS.get(FREE_POINTERS..kept).unwrap_or_default();
        saved.iter().for_each(|register| self.push(*register));
        for at in 0..self.pointers.len() {
            if let Some(register) = self.pointers[at] {
                self.load_pointer(register, at);
            }
        }
        // The last index at which a whole vector starts: `sub rdx, lanes`.
        self.bytes.extend([0x48, 0x83, 0xEA, self.lanes()]);
        let skip = self.compare_and_jump(0x8F);
        (0..self.body.uniforms.len()).for_each(|at| self.widen_uniform(at));
        for (at, memory) in self.residents.clone().into_iter().enumerate() {
            if matches!(memory, Memory::Constant(_)) {
                self.vector(LOAD, self.resident(at), 0, Source::Memory(memory), None);
            }
        }
        while !self.bytes.len().is_multiple_of(32) {
            self.bytes.push(0x90);
        }
        let start = self.bytes.len();
        for at in 0..self.body.ops.len() {
            self.operation(at);
        }
        // `add rsi, lanes`
        self.bytes.extend([0x48, 0x83, 0xC6, self.lanes()]);
        let again = self.compare_and_jump(0x8E);
        self.land(again, start);
        if let Some(strides) = strides {
            let again = self.next_row(strides);
            self.land(again, start);
        }
        self.land(skip, self.bytes.len());
        // `vzeroupper`, `mov rax, rsi`
        self.bytes.extend([0xC5, 0xF8, 0x77, 0x48, 0x89, 0xF0]);
        saved.iter().rev().for_each(|register| self.pop(*register));
        self.bytes.push(0xC3);
    }

    /// To its register, or to all of its place.
    fn widen_uniform(&mut self, at: usize) {
        let memory = Memory::Frame(self.frame.uniform(at));
        match self.place(memory) {
            Source::Register(to) => self.vector(WIDEN, to, 0, Source::Memory(memory), None),
            place => {
                self.vector(WIDEN, 0, 0, place, None);
                self.vector(STORE, 0, 0, place, None);
            }
        }
    }

    /// The code, and after it the constants.
    fn finish(mut self) -> Vec<u8> {
        let size = self.vectors().bytes();
        while !self.bytes.len().is_multiple_of(size) {
            self.bytes.push(0xCC);
        }
        let start = self.bytes.len();
        for (place, from, constant) in &self.distances {
            let distance = (start + size * constant - from) as i32;
            self.bytes[*place..*place + 4].copy_from_slice(&distance.to_le_bytes());
        }
        for bits in &self.constants {
            let bytes = bits.iter().flat_map(|bits| bits.to_le_bytes()).cycle();
            self.bytes.extend(bytes.take(size));
        }
        self.bytes
    }

    // ---- integer instructions ----

    fn push(&mut self, register: u8) {
        self.bytes.extend([0x40 | register >> 3, 0x50 | register & 7]);
    }

    fn pop(&mut self, register: u8) {
        self.bytes.extend([0x40 | register >> 3, 0x58 | register & 7]);
    }

    /// `mov register, [rdi + …]`
    fn load_pointer(&mut self, register: u8, at: usize) {
        self.bytes.extend([0x48 | register >> 3 << 2, 0x8B, 0x80 | (register & 7) << 3 | RDI]);
        self.bytes.extend(Frame::pointer(at).to_le_bytes());
    }

    /// Puts the address of a byte of bits into r11: `mov r11, rsi`, `shr r11, 3`, `add r11, [rdi + …]`.
    fn locate_bits(&mut self, pointer: usize) {
        self.bytes.extend([0x49, 0x89, 0xF3, 0x49, 0xC1, 0xEB, 3, 0x4C, 0x03, 0x9F]);
        self.bytes.extend(Frame::pointer(pointer).to_le_bytes());
    }

    /// Moves pointers, and jumps if there are more rows; where its distance is to be written.
    fn next_row(&mut self, strides: &[i32]) -> usize {
        for (at, stride) in strides.iter().enumerate().filter(|(_, stride)| **stride != 0) {
            match self.pointers[at] {
                // `add register, stride`
                Some(register) => {
                    self.bytes.extend([0x48 | register >> 3, 0x81, 0xC0 | register & 7]);
                }
                // `add qword [rdi + …], stride`
                None => {
                    self.bytes.extend([0x48, 0x81, 0x80 | RDI]);
                    self.bytes.extend(Frame::pointer(at).to_le_bytes());
                }
            }
            self.bytes.extend(stride.to_le_bytes());
        }
        // `mov rsi, [rdi + …]`, `dec qword [rdi + …]`, `jnz …`
        self.bytes.extend([0x48, 0x8B, 0x80 | RSI << 3 | RDI]);
        self.bytes.extend(self.frame.first().to_le_bytes());
        self.bytes.extend([0x48, 0xFF, 0x80 | 1 << 3 | RDI]);
        self.bytes.extend(self.frame.rows().to_le_bytes());
        self.bytes.extend([0x0F, 0x85, 0, 0, 0, 0]);
        self.bytes.len() - 4
    }

    /// `prefetcht1 [pointer + 4 rsi]`: not into the nearest cache, which has to serve much else until then.
    fn fetch(&mut self, pointer: usize) {
        let base = self.pointers[pointer].unwrap_or_else(|| {
            self.load_pointer(R11, pointer);
            R11
        });
        let modes = [0x44 | 2 << 3, 2 << 6 | RSI << 3 | base & 7, 0];
        self.bytes.extend([0x40 | base >> 3, 0x0F, 0x18].into_iter().chain(modes));
    }

    /// `cmp rsi, rdx` and a conditional jump; where its distance is to be written.
    fn compare_and_jump(&mut self, condition: u8) -> usize {
        self.bytes.extend([0x48, 0x39, 0xC0 | RDX << 3 | RSI, 0x0F, condition, 0, 0, 0, 0]);
        self.bytes.len() - 4
    }

    fn land(&mut self, jump: usize, target: usize) {
        let distance = target as i32 - (jump as i32 + 4);
        self.bytes[jump..jump + 4].copy_from_slice(&distance.to_le_bytes());
    }

    // ---- operations ----

    fn operation(&mut self, at: usize) {
        let (op, args) = &self.body.ops[at];
        self.pinned.clear();
        match *op {
            Op::Constant(_) | Op::Uniform(_) => {}
            Op::Load(_) if self.values[at].home.is_some() => {}
            Op::Load(pointer) => {
                let to = self.result(at);
                self.vector(LOAD, to, 0, Source::Memory(Memory::Stream(pointer)), None);
            }
            Op::Fetch(pointer) => self.fetch(pointer),
            Op::Store(pointer) => {
                let value = self.register(args[0], at);
                self.vector(STORE, value, 0, Source::Memory(Memory::Stream(pointer)), None);
                self.release(args, at);
            }
            Op::LoadBits(pointer) => {
                let to = self.result(at);
                self.locate_bits(pointer);
                self.load_bits(to);
            }
            Op::StoreBits(pointer) => {
                let value = self.register(args[0], at);
                self.locate_bits(pointer);
                self.store_bits(value);
                self.release(args, at);
            }
            Op::Float(float, width) => match float_instruction(float, width) {
                (instruction, None) if args.len() == 2 => {
                    let commutes = matches!(float, FloatOp::Add | FloatOp::Mul);
                    self.binary(instruction, commutes, at, None);
                }
                (instruction, immediate) => self.unary(instruction, at, immediate),
            },
            Op::MulAdd(width) => self.multiply_add(at, width),
            Op::Integer(integer, width) => {
                let commutes = !matches!(integer, IntegerOp::Sub | IntegerOp::Greater);
                let instruction = integer_instruction(integer, width);
                match integer {
                    IntegerOp::Equal | IntegerOp::Greater => {
                        self.compare(instruction, commutes, at, None);
                    }
                    _ => self.binary(instruction, commutes, at, None),
                }
            }
            Op::Compare(condition, width) => {
                let compare = instruction(width as u8, 1, 0xC2).on(width);
                self.compare(compare, false, at, Some(predicate(condition)));
            }
            Op::And => self.binary(instruction(0, 1, 0x54), true, at, None),
            Op::AndNot => self.binary(instruction(0, 1, 0x55), false, at, None),
            Op::Or => self.binary(instruction(0, 1, 0x56), true, at, None),
            Op::Xor => self.binary(instruction(0, 1, 0x57), true, at, None),
            Op::Blend(width) => {
                let mask = self.register(args[0], at);
                let otherwise = self.register(args[2], at);
                let then = self.source(args[1]);
                self.pin(then);
                self.release(args, at);
                let to = self.result(at);
                self.blend(width, to, mask, then, otherwise);
            }
            Op::Shift(direction, by, width) => {
                let from = self.register(args[0], at);
                self.release(args, at);
                let to = self.result(at);
                let variant = match direction {
                    Direction::Left => 6,
                    Direction::Right => 2,
                };
                // The result stands where other instructions have their first operand.
                let shift = instruction(1, 1, 0x72 + width as u8).on(width);
                self.vector(shift, variant, to, Source::Register(from), Some(by));
            }
            Op::FromInteger => self.unary(instruction(0, 1, 0x5B), at, None),
            Op::ToInteger => self.unary(instruction(2, 1, 0x5B), at, None),
            Op::High => {
                let from = self.register(args[0], at);
                self.release(args, at);
                let to = self.result(at);
                // The result stands where other instructions have their second operand.
                let high = match self.vectors() {
                    Vectors::Avx2 => instruction(1, 3, 0x19),
                    Vectors::Avx512 => instruction(1, 3, 0x1B).on(Width::W64),
                };
                self.vector(high, from, 0, Source::Register(to), Some(1));
            }
            Op::Widen => self.unary(instruction(0, 1, 0x5A), at, None),
            Op::Narrow => self.unary(instruction(1, 1, 0x5A).on(Width::W64), at, None),
            Op::Join => {
                let low = self.register(args[0], at);
                let high = self.register(args[1], at);
                self.release(args, at);
                let to = self.result(at);
                let join = match self.vectors() {
                    Vectors::Avx2 => instruction(1, 3, 0x18),
                    Vectors::Avx512 => instruction(1, 3, 0x1A).on(Width::W64),
                };
                self.vector(join, to, low, Source::Register(high), Some(1));
            }
        }
    }

    /// All ones in the lanes whose bit is set of those at r11.
    fn load_bits(&mut self, to: u8) {
        match self.vectors() {
            Vectors::Avx2 => {
                let lanes = self.place(LANES);
                // `vpbroadcastb`, `vpand`, `vpcmpeqd`
                self.vector(instruction(1, 2, 0x78), to, 0, Source::Memory(Memory::Byte), None);
                self.vector(instruction(1, 1, 0xDB), to, to, lanes, None);
                self.vector(instruction(1, 1, 0x76), to, to, lanes, None);
            }
            Vectors::Avx512 => {
                // `kmovw k1, [r11]`
                self.bytes.extend([0xC4, 0xC1, 0x78, 0x90, K1 << 3 | R11 & 7]);
                self.spread_mask(Width::W32, to);
            }
        }
    }

    /// The signs of lanes, to r11.
    fn store_bits(&mut self, value: u8) {
        match self.vectors() {
            Vectors::Avx2 => {
                // `vmovmskps eax, value`, `mov [r11], al`
                self.vector(instruction(0, 1, 0x50), RAX, 0, Source::Register(value), None);
                self.bytes.extend([0x41, 0x88, RAX << 3 | R11 & 7]);
            }
            Vectors::Avx512 => {
                // `vpmovd2m k1, value`, `kmovw [r11], k1`
                self.vector(instruction(2, 2, 0x39), K1, 0, Source::Register(value), None);
                self.bytes.extend([0xC4, 0xC1, 0x78, 0x91, K1 << 3 | R11 & 7]);
            }
        }
    }

    /// All ones in the lanes whose bit is set in k1: `vpmovm2d`, `vpmovm2q`.
    fn spread_mask(&mut self, width: Width, to: u8) {
        self.vector(instruction(2, 2, 0x38).on(width), to, 0, Source::Register(K1), None);
    }

    /// All ones in the lanes where it holds.
    fn compare(
        &mut self,
        instruction: Instruction,
        commutes: bool,
        at: usize,
        immediate: Option<u8>,
    ) {
        if self.vectors() == Vectors::Avx2 {
            return self.binary(instruction, commutes, at, immediate);
        }
        let (first, second) = self.operands(commutes, at);
        self.vector(instruction, K1, first, second, immediate);
        let to = self.result(at);
        self.spread_mask(instruction.width, to);
    }

    fn blend(&mut self, width: Width, to: u8, mask: u8, then: Source, otherwise: u8) {
        if self.vectors() == Vectors::Avx2 {
            let blend = instruction(1, 3, 0x4A + width as u8);
            return self.vector(blend, to, otherwise, then, Some(mask << 4));
        }
        // `vpternlogd`: the result takes the place of one of the three, which the immediate says the
        // bits of: it has a bit for each of the eight that these may be together.
        let (second, third, immediate) = match then {
            _ if to == otherwise => (mask, then, 0xB8),
            Source::Register(then) if to == then => (mask, Source::Register(otherwise), 0xE2),
            _ => {
                if to != mask {
                    self.vector(LOAD, to, 0, Source::Register(mask), None);
                }
                (otherwise, then, 0xAC)
            }
        };
        self.vector(instruction(1, 3, 0x25), to, second, third, Some(immediate));
    }

    fn unary(&mut self, instruction: Instruction, at: usize, immediate: Option<u8>) {
        let args = &self.body.ops[at].1;
        let from = self.operand(args[0], at);
        self.release(args, at);
        let to = self.result(at);
        self.vector(instruction, to, 0, from, immediate);
    }

    fn binary(
        &mut self,
        instruction: Instruction,
        commutes: bool,
        at: usize,
        immediate: Option<u8>,
    ) {
        let (first, second) = self.operands(commutes, at);
        let to = self.result(at);
        self.vector(instruction, to, first, second, immediate);
    }

    /// The two operands of an operation, whose registers are free for its result.
    fn operands(&mut self, commutes: bool, at: usize) -> (u8, Source) {
        let args = &self.body.ops[at].1;
        let (mut first, mut second) = (args[0], args[1]);
        // Only the second operand can be in memory.
        if commutes && matches!(self.source(first), Source::Memory(_)) {
            (first, second) = (second, first);
        }
        let first = self.register(first, at);
        let second = self.operand(second, at);
        self.release(args, at);
        (first, second)
    }

    /// The result takes the place of an operand: of one that is not used again, if it has a register.
    fn multiply_add(&mut self, at: usize, width: Width) {
        let instruction = |opcode| instruction(1, 2, opcode).on(width);
        let args = &self.body.ops[at].1;
        let [a, b, to] = [args[0], args[1], args[2]];
        let is_free = |value: usize| {
            let Value { uses, register, .. } = &self.values[value];
            let is_single = args.iter().filter(|arg| **arg == value).count() == 1;
            register.filter(|_| is_single && uses.first() == Some(&at))
        };
        let ((a, b), factor) = match (is_free(a), is_free(b)) {
            (None, Some(register)) => ((b, a), Some(register)),
            (register, _) => ((a, b), register),
        };
        let (place, instruction, first, second) = match (is_free(to), factor) {
            (Some(place), _) => {
                self.pinned.push(place);
                (place, instruction(0xB8), self.register(a, at), self.source(b))
            }
            (None, Some(place)) => {
                self.pinned.push(place);
                (place, instruction(0xA8), self.register(b, at), self.source(to))
            }
            (None, None) => {
                let (first, second) = (self.register(a, at), self.source(b));
                self.pin(second);
                let from = self.source(to);
                self.pin(from);
                let place = self.free_register(at);
                self.vector(LOAD, place, 0, from, None);
                (place, instruction(0xB8), first, second)
            }
        };
        self.release(args, at);
        self.give(place, at);
        self.vector(instruction, place, first, second, None);
    }

    // ---- registers ----

    fn source(&self, value: usize) -> Source {
        let value = &self.values[value];
        match (value.register, value.home.or(value.spilled)) {
            (Some(register), _) => Source::Register(register),
            (None, Some(memory)) => self.place(memory),
            (None, None) => unreachable!("a value is somewhere until its last use"),
        }
    }

    /// Memory, or the register that has what is there through all iterations.
    fn place(&self, memory: Memory) -> Source {
        match self.residents.iter().position(|kept| *kept == memory) {
            Some(at) => Source::Register(self.resident(at)),
            None => Source::Memory(memory),
        }
    }

    /// An operand that may be in memory. It is loaded if it is used again and a register is free.
    fn operand(&mut self, value: usize, at: usize) -> Source {
        let is_last = self.values[value].uses.first() == Some(&at);
        let general = &self.registers[..self.general()];
        let is_free = general.iter().filter(|register| register.is_none()).count() > 1;
        match self.source(value) {
            Source::Memory(_) if !is_last && is_free => Source::Register(self.register(value, at)),
            source => source,
        }
    }

    /// The register of a resident.
    fn resident(&self, at: usize) -> u8 {
        (self.registers.len() - 1 - at) as u8
    }

    /// How many registers are not those of residents: the first ones.
    fn general(&self) -> usize {
        self.registers.len() - self.residents.len()
    }

    fn pin(&mut self, source: Source) {
        if let Source::Register(register) = source {
            self.pinned.push(register);
        }
    }

    /// The register of an operand.
    fn register(&mut self, value: usize, at: usize) -> u8 {
        let register = match self.source(value) {
            Source::Register(register) => register,
            memory => {
                let register = self.free_register(at);
                self.vector(LOAD, register, 0, memory, None);
                self.give(register, value);
                register
            }
        };
        self.pinned.push(register);
        register
    }

    /// Registers of operands that are not used after this.
    fn release(&mut self, args: &[usize], at: usize) {
        for arg in args {
            let value = &mut self.values[*arg];
            if value.uses.first() == Some(&at)
                && let Some(register) = value.register.take()
            {
                self.registers[register as usize] = None;
            }
        }
    }

    /// The register of a result. It may be that of an operand, which is read before.
    fn result(&mut self, at: usize) -> u8 {
        self.pinned.clear();
        let register = self.free_register(at);
        self.give(register, at);
        register
    }

    fn give(&mut self, register: u8, value: usize) {
        self.registers[register as usize] = Some(value);
        self.values[value].register = Some(register);
    }

    fn free_register(&mut self, at: usize) -> u8 {
        let general = &self.registers[..self.general()];
        if let Some(free) = general.iter().position(Option::is_none) {
            return free as u8;
        }
        let next_use = |value: usize| {
            let uses = self.values[value].uses.iter().rev();
            uses.copied().find(|user| *user >= at).unwrap_or(usize::MAX)
        };
        let held = self.registers.iter().enumerate();
        let held = held.filter_map(|(register, value)| Some((register as u8, (*value)?)));
        let furthest = held
            .filter(|(register, _)| !self.pinned.contains(register))
            .max_by_key(|(_, value)| next_use(*value));
        let Some((register, value)) = furthest else {
            unreachable!("an operation has at most three operands")
        };
        self.evict(register, value);
        register
    }

    fn evict(&mut self, register: u8, value: usize) {
        if self.values[value].home.or(self.values[value].spilled).is_none() {
            let place = Memory::Frame(self.frame.grown(self.spills).size as i32);
            self.spills += 1;
            self.vector(STORE, register, 0, Source::Memory(place), None);
            self.values[value].spilled = Some(place);
        }
        self.values[value].register = None;
        self.registers[register as usize] = None;
    }

    // ---- encoding ----

    /// An instruction on vectors with the operands that the manuals call reg, vvvv, and r/m.
    fn vector(
        &mut self,
        instruction: Instruction,
        reg: u8,
        vvvv: u8,
        source: Source,
        immediate: Option<u8>,
    ) {
        let source = match source {
            // A pointer that has no register of its own.
            Source::Memory(Memory::Stream(at)) if self.pointers[at].is_none() => {
                self.load_pointer(R11, at);
                source
            }
            _ => source,
        };
        let base = match source {
            Source::Register(register) => register,
            Source::Memory(Memory::Stream(at)) => self.pointers[at].unwrap_or(R11),
            Source::Memory(Memory::Frame(_)) => RDI,
            Source::Memory(Memory::Byte) => R11,
            Source::Memory(Memory::Constant(_)) => 0,
        };
        let Instruction { prefix, map, opcode, width } = instruction;
        // The fourth bit of a register's number, or its fifth one, the other way round.
        let fourth = |register: u8| !register >> 3 & 1;
        let fifth = |register: u8| !register >> 4 & 1;
        let second = (width as u8) << 7 | (!vvvv & 15) << 3 | 1 << 2 | prefix;
        match self.vectors() {
            Vectors::Avx2 => {
                self.bytes.extend([0xC4, fourth(reg) << 7 | 1 << 6 | fourth(base) << 5 | map]);
                self.bytes.push(second);
            }
            Vectors::Avx512 => {
                // A register that is no base has its fifth bit where an index has its fourth one.
                let index = fifth(base);
                let first = fourth(reg) << 7 | index << 6 | fourth(base) << 5 | fifth(reg) << 4;
                self.bytes.extend([0x62, first | map, second, 2 << 5 | fifth(vvvv) << 3]);
            }
        }
        self.bytes.push(opcode);
        let reg = (reg & 7) << 3;
        let mut distance = None;
        match source {
            Source::Register(register) => self.bytes.push(0xC0 | reg | register & 7),
            // `[base + 4 rsi + 0]`; without the distance, 5 as a base means something else.
            Source::Memory(Memory::Stream(_)) => {
                self.bytes.extend([0x44 | reg, 2 << 6 | RSI << 3 | base & 7, 0]);
            }
            Source::Memory(Memory::Byte) => self.bytes.push(reg | R11 & 7),
            Source::Memory(Memory::Frame(offset)) => {
                self.bytes.push(0x80 | reg | RDI);
                self.bytes.extend(offset.to_le_bytes());
            }
            Source::Memory(Memory::Constant(constant)) => {
                self.bytes.push(reg | 5);
                distance = Some((self.bytes.len(), constant));
                self.bytes.extend([0; 4]);
            }
        }
        self.bytes.extend(immediate);
        if let Some((place, constant)) = distance {
            self.distances.push((place, self.bytes.len(), constant));
        }
    }
}

/// The instruction, and the immediate that says how to round.
fn float_instruction(op: FloatOp, width: Width) -> (Instruction, Option<u8>) {
    let arithmetic = |opcode| (instruction(width as u8, 1, opcode).on(width), None);
    // Inexact results are no exceptions.
    let round = |how: u8| (instruction(1, 3, 8 + width as u8).on(width), Some(8 | how));
    match op {
        FloatOp::Add => arithmetic(0x58),
        FloatOp::Sub => arithmetic(0x5C),
        FloatOp::Mul => arithmetic(0x59),
        FloatOp::Div => arithmetic(0x5E),
        FloatOp::Min => arithmetic(0x5D),
        FloatOp::Max => arithmetic(0x5F),
        FloatOp::Sqrt => arithmetic(0x51),
        FloatOp::Nearest => round(0),
        FloatOp::Floor => round(1),
        FloatOp::Ceil => round(2),
    }
}

fn integer_instruction(op: IntegerOp, width: Width) -> Instruction {
    let instruction = match (op, width) {
        (IntegerOp::Add, Width::W32) => instruction(1, 1, 0xFE),
        (IntegerOp::Add, Width::W64) => instruction(1, 1, 0xD4),
        (IntegerOp::Sub, Width::W32) => instruction(1, 1, 0xFA),
        (IntegerOp::Sub, Width::W64) => instruction(1, 1, 0xFB),
        (IntegerOp::Mul, _) => instruction(1, 2, 0x40),
        (IntegerOp::Min, _) => instruction(1, 2, 0x39),
        (IntegerOp::Max, _) => instruction(1, 2, 0x3D),
        (IntegerOp::Equal, Width::W32) => instruction(1, 1, 0x76),
        (IntegerOp::Equal, Width::W64) => instruction(1, 2, 0x29),
        (IntegerOp::Greater, _) => instruction(1, 1, 0x66),
    };
    instruction.on(width)
}

/// The immediate of a comparison that raises no exception for NaN.
fn predicate(condition: FloatCC) -> u8 {
    match condition {
        FloatCC::Equal => 0x00,
        FloatCC::LessThan => 0x11,
        FloatCC::LessThanOrEqual => 0x12,
        FloatCC::Unordered => 0x03,
        FloatCC::NotEqual => 0x04,
        FloatCC::UnorderedOrGreaterThanOrEqual => 0x15,
        FloatCC::UnorderedOrGreaterThan => 0x16,
        FloatCC::Ordered => 0x07,
        FloatCC::UnorderedOrEqual => 0x08,
        FloatCC::UnorderedOrLessThan => 0x19,
        FloatCC::UnorderedOrLessThanOrEqual => 0x1A,
        FloatCC::OrderedNotEqual => 0x0C,
        FloatCC::GreaterThanOrEqual => 0x1D,
        FloatCC::GreaterThan => 0x1E,
    }
}
