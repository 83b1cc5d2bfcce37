//! Vector code as data: what a loop over elements does, as a straight line of operations on lanes,
//! whatever their number.
//!
//! The kernel's code is written as operations on lanes ([`code`]). Along the innermost axis they become
//! a [`Body`], which is lowered to Cranelift's vectors of 128 bits on any machine ([`clif`]), and to the
//! wider ones that an x86 has ([`x86`]). The lanes are computed by the same operations in the same
//! order, so results are the same to the bit (of two NaN, an addition may give the other).

pub mod clif;
pub mod code;
pub mod x86;

use std::collections::HashMap;

use cranelift::prelude::{FloatCC, Value};

/// Vectors that are wider than Cranelift's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vectors {
    /// Of 256 bits: AVX2 and FMA.
    Avx2,
    /// Of 512 bits: AVX-512 F and DQ.
    Avx512,
}

impl Vectors {
    /// Of 32 bits.
    pub fn lanes(self) -> i64 {
        self.bytes() as i64 / 4
    }

    fn bytes(self) -> usize {
        match self {
            Vectors::Avx2 => 32,
            Vectors::Avx512 => 64,
        }
    }

    fn registers(self) -> usize {
        match self {
            Vectors::Avx2 => 16,
            Vectors::Avx512 => 32,
        }
    }
}

/// An operation on lanes of 32 bits (or 64, where it is said): floats or integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The same bits in all lanes: two of 32 or one of 64.
    Constant(u64),
    /// One of [`Body::uniforms`].
    Uniform(usize),
    /// As many elements as there are lanes, at one of [`Body::pointers`] and so many elements after it
    /// as the loop's index says. The following likewise, of elements or bits.
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
    /// Without what is behind the point; any integer, where it is none of 32 bits.
    ToInteger,
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
pub enum Width {
    W32,
    W64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatOp {
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
    Nearest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntegerOp {
    Add,
    Sub,
    /// Of 32 bits, as the following two.
    Mul,
    Min,
    Max,
    Equal,
    /// Of 32 bits.
    Greater,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Left,
    Right,
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

    fn reads_memory(self) -> bool {
        matches!(self, Op::Load(_) | Op::LoadBits(_))
    }

    fn writes_memory(self) -> bool {
        matches!(self, Op::Store(_) | Op::StoreBits(_))
    }

    fn accesses_memory(self) -> bool {
        self.reads_memory() || self.writes_memory() || matches!(self, Op::Fetch(_))
    }
}

/// A vector that an operation is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand {
    /// The same bits in all lanes: two of 32 or one of 64.
    Constant(u64),
    /// Computed where it stands. In a loop that is recorded its lanes are equal.
    Made {
        value: Value,
        /// By a comparison of integers for equality.
        is_equality: bool,
    },
    /// By its number in the loop that is recorded.
    Recorded(usize),
}

/// Where a loop's elements are.
#[derive(Clone, Copy, Debug)]
pub struct Pointer {
    /// That of the index 0, known before the loop.
    pub address: Value,
    /// By how many bytes it moves along the axis around the loop, if always by as many.
    pub stride: Option<i32>,
}

/// A loop's operations as they were written.
#[derive(Debug, Default)]
pub struct Recorded {
    pub ops: Vec<(Op, Vec<Operand>)>,
    pub pointers: Vec<Pointer>,
}

impl Recorded {
    /// What operands say by whether two numbers are equal, once for all elements: that this is the first
    /// step, or the last.
    pub fn conditions(&self) -> Vec<Value> {
        let mut conditions = Vec::new();
        for operand in self.ops.iter().flat_map(|(_, args)| args) {
            match operand {
                Operand::Made { value, is_equality: true } if !conditions.contains(value) => {
                    conditions.push(*value);
                }
                _ => {}
            }
        }
        conditions
    }
}

/// What a loop over elements does, in operations that are numbered as they stand: each different one
/// once, and none that nothing needs.
#[derive(Debug, Default)]
pub struct Body {
    pub ops: Vec<(Op, Vec<usize>)>,
    pub pointers: Vec<Pointer>,
    /// Vectors of equal lanes, known before the loop.
    pub uniforms: Vec<Value>,
}

impl Body {
    pub fn new(recorded: &Recorded) -> Body {
        Writer::default().body(recorded, |_| None)
    }

    /// With none of its conditions true.
    pub fn without_conditions(recorded: &Recorded) -> Body {
        let is_false = |operand: Operand| match operand {
            Operand::Made { is_equality: true, .. } => Some(Operand::Constant(0)),
            _ => None,
        };
        Writer::default().body(recorded, is_false)
    }

    /// Without what no store needs.
    fn needed(self) -> Body {
        let mut is_needed = vec![false; self.ops.len()];
        for (at, (op, args)) in self.ops.iter().enumerate().rev() {
            is_needed[at] |= op.accesses_memory() && !op.reads_memory();
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

    fn of<T: Copy>(&self, values: &[T]) -> Vec<T> {
        self.0.iter().map(|at| values[*at]).collect()
    }
}

/// Writes a body in its shortest form.
#[derive(Default)]
struct Writer {
    body: Body,
    /// The number of each operation; of those that read memory, with the number of stores before them.
    known: HashMap<(Op, Vec<usize>, usize), usize>,
    stores: usize,
}

impl Writer {
    /// `instead` may name another operand in the place of one.
    fn body(mut self, recorded: &Recorded, instead: impl Fn(Operand) -> Option<Operand>) -> Body {
        self.body.pointers = recorded.pointers.clone();
        let mut places = Vec::new();
        for (op, args) in &recorded.ops {
            let args = args.iter().map(|arg| match instead(*arg).unwrap_or(*arg) {
                Operand::Constant(bits) => self.add(Op::Constant(bits), Vec::new()),
                Operand::Made { value, .. } => self.uniform(value),
                Operand::Recorded(at) => places[at],
            });
            let args: Vec<usize> = args.collect();
            places.push(match (op, args.as_slice()) {
                (Op::Blend(width), [mask, then, otherwise]) => {
                    self.select(*width, *mask, *then, *otherwise)
                }
                _ => self.add(*op, args),
            });
        }
        self.body.needed()
    }

    fn add(&mut self, op: Op, args: Vec<usize>) -> usize {
        let stores = if op.reads_memory() { self.stores } else { 0 };
        self.stores += usize::from(op.writes_memory());
        let key = (op, args, stores);
        if let Some(known) = self.known.get(&key).filter(|_| !op.writes_memory()) {
            return *known;
        }
        let at = self.body.ops.len();
        self.body.ops.push((op, key.1.clone()));
        self.known.insert(key, at);
        at
    }

    fn uniform(&mut self, value: Value) -> usize {
        let uniforms = &mut self.body.uniforms;
        let known = uniforms.iter().position(|known| *known == value);
        let place = known.unwrap_or_else(|| {
            uniforms.push(value);
            uniforms.len() - 1
        });
        self.add(Op::Uniform(place), Vec::new())
    }

    fn select(&mut self, width: Width, mask: usize, then: usize, otherwise: usize) -> usize {
        // `a < b ? a : b`, and `a < b ? b : a`, which is `b > a ? b : a`.
        let limit = match &self.body.ops[mask] {
            (Op::Compare(FloatCC::LessThan, _), pair) if *pair == [then, otherwise] => {
                Some(FloatOp::Min)
            }
            (Op::Compare(FloatCC::LessThan, _), pair) if *pair == [otherwise, then] => {
                Some(FloatOp::Max)
            }
            _ => None,
        };
        if let Some(limit) = limit {
            return self.add(Op::Float(limit, width), vec![then, otherwise]);
        }
        let is_zero = |at: usize| self.body.ops[at].0 == Op::Constant(0);
        match (is_zero(mask), is_zero(then), is_zero(otherwise)) {
            (true, ..) => otherwise,
            (_, _, true) => self.add(Op::And, vec![mask, then]),
            (_, true, _) => self.add(Op::AndNot, vec![mask, otherwise]),
            _ => self.add(Op::Blend(width), vec![mask, then, otherwise]),
        }
    }
}
