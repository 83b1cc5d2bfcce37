//! Code that is written as operations on lanes.

use std::cell::{RefCell, RefMut};
use std::ops::{Add, Div, Mul, Neg, Sub};

use cranelift::prelude::*;

use super::{Direction, FloatOp, IntegerOp, Op, Operand, Pointer, Recorded, Width, clif};

/// A function under construction, shared by the values that append to it. An operation on lanes is
/// lowered at once, unless it depends on what a loop that is recorded loads.
pub struct Code<'f> {
    builder: RefCell<FunctionBuilder<'f>>,
    recorded: RefCell<Option<Recorded>>,
    /// The machine multiplies and adds in one instruction.
    has_fma: bool,
}

impl<'f> Code<'f> {
    pub fn new(builder: FunctionBuilder<'f>, has_fma: bool) -> Code<'f> {
        Code { builder: RefCell::new(builder), recorded: RefCell::default(), has_fma }
    }

    pub fn borrow_mut(&self) -> RefMut<'_, FunctionBuilder<'f>> {
        self.builder.borrow_mut()
    }

    pub fn into_inner(self) -> FunctionBuilder<'f> {
        self.builder.into_inner()
    }

    /// What `write` does in a loop over elements. Nothing of it is in the function; what does not depend
    /// on the elements is, from here on.
    pub fn record(&self, write: impl FnOnce()) -> Recorded {
        self.recorded.replace(Some(Recorded::default()));
        write();
        self.recorded.take().unwrap_or_default()
    }

    pub fn is_recording(&self) -> bool {
        self.recorded.borrow().is_some()
    }

    /// The number of a pointer of the loop that is recorded.
    pub fn pointer(&self, pointer: Pointer) -> usize {
        let mut recorded = self.recorded.borrow_mut();
        let pointers = &mut recorded.get_or_insert_default().pointers;
        pointers.push(pointer);
        pointers.len() - 1
    }

    pub fn push(&self, op: Op, args: &[Operand]) -> Operand {
        let is_recorded = |arg: &Operand| matches!(arg, Operand::Recorded(_));
        match &mut *self.recorded.borrow_mut() {
            Some(recorded) if op.accesses_memory() || args.iter().any(is_recorded) => {
                recorded.ops.push((op, args.to_vec()));
                Operand::Recorded(recorded.ops.len() - 1)
            }
            _ => clif::lower(&mut self.borrow_mut(), op, args),
        }
    }

    /// An operand to write operations on.
    pub fn vector(&self, operand: Operand, width: Width) -> Vector<'_, 'f> {
        Vector { code: self, operand, width }
    }

    /// A vector that was computed otherwise.
    pub fn made(&self, value: Value) -> Operand {
        Operand::Made { value, is_equality: false }
    }

    /// The instructions' vector, seen as one of a type.
    pub fn value(&self, operand: Operand, ty: Type) -> Value {
        operand.value(&mut self.borrow_mut(), ty)
    }
}

/// The number in each of the lanes.
pub fn integers(number: i32) -> Operand {
    let bits = u64::from(number as u32);
    Operand::Constant(bits << 32 | bits)
}

/// A vector of f32 or f64 lanes; operators append operations.
#[derive(Clone, Copy)]
pub struct Vector<'m, 'f> {
    pub code: &'m Code<'f>,
    pub operand: Operand,
    width: Width,
}

/// The lanes at which a comparison held, as all-ones integers.
#[derive(Clone, Copy)]
pub struct Mask<'m, 'f>(pub Vector<'m, 'f>);

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl<'m, 'f> $trait for Vector<'m, 'f> {
            type Output = Self;
            fn $method(self, other: Self) -> Self {
                self.push(Op::Float(FloatOp::$trait, self.width), &[other])
            }
        }
        impl<'m, 'f> $trait<f64> for Vector<'m, 'f> {
            type Output = Self;
            fn $method(self, other: f64) -> Self {
                $trait::$method(self, self.constant(other))
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl Neg for Vector<'_, '_> {
    type Output = Self;
    fn neg(self) -> Self {
        self.xor(self.constant(-0.0))
    }
}

impl<'m, 'f> Vector<'m, 'f> {
    /// An operation on this and others.
    fn push(self, op: Op, others: &[Self]) -> Self {
        let others = others.iter().map(|other| other.operand);
        let args: Vec<Operand> = std::iter::once(self.operand).chain(others).collect();
        self.with(self.code.push(op, &args))
    }

    pub fn with(self, operand: Operand) -> Self {
        Vector { operand, ..self }
    }

    /// The number in each lane.
    pub fn constant(self, number: f64) -> Self {
        self.bits(match self.width {
            Width::W32 => {
                let bits = u64::from((number as f32).to_bits());
                bits << 32 | bits
            }
            Width::W64 => number.to_bits(),
        })
    }

    /// The same bits in all lanes: two of 32 or one of 64.
    pub fn bits(self, bits: u64) -> Self {
        self.with(Operand::Constant(bits))
    }

    pub fn abs(self) -> Self {
        self.and(self.bits(match self.width {
            Width::W32 => !0x8000_0000_8000_0000,
            Width::W64 => !(1 << 63),
        }))
    }

    pub fn sqrt(self) -> Self {
        self.push(Op::Float(FloatOp::Sqrt, self.width), &[])
    }

    pub fn floor(self) -> Self {
        self.push(Op::Float(FloatOp::Floor, self.width), &[])
    }

    pub fn ceil(self) -> Self {
        self.push(Op::Float(FloatOp::Ceil, self.width), &[])
    }

    /// Rounded, to even at halves.
    pub fn nearest(self) -> Self {
        self.push(Op::Float(FloatOp::Nearest, self.width), &[])
    }

    pub fn copysign(self, sign: Self) -> Self {
        let sign_bit = self.constant(-0.0);
        sign_bit.and(sign).or(self.and_not(sign_bit))
    }

    pub fn compare(self, condition: FloatCC, other: Self) -> Mask<'m, 'f> {
        Mask(self.push(Op::Compare(condition, self.width), &[other]))
    }

    pub fn less(self, other: Self) -> Mask<'m, 'f> {
        self.compare(FloatCC::LessThan, other)
    }

    pub fn equals(self, other: Self) -> Mask<'m, 'f> {
        self.compare(FloatCC::Equal, other)
    }

    pub fn is_nan(self) -> Mask<'m, 'f> {
        self.compare(FloatCC::Unordered, self)
    }

    /// Kept between numbers; NaN stays.
    pub fn clamp(self, low: f64, high: f64) -> Self {
        let (low, high) = (self.constant(low), self.constant(high));
        let raised = self.less(low).choose(low, self);
        high.less(raised).choose(high, raised)
    }

    /// `self · by + to`, rounded once where the machine can do so: less rounding, and half as long.
    pub fn times_plus(self, by: Self, to: Self) -> Self {
        match self.code.has_fma {
            true => self.push(Op::MulAdd(self.width), &[by, to]),
            false => self * by + to,
        }
    }

    /// `c[0] + c[1]·x + c[2]·x² + …`, by Estrin's scheme: the chain of dependent operations is short.
    pub fn polynomial(self, coefficients: &[f64]) -> Self {
        let pairs = coefficients.chunks(2).map(|pair| match pair {
            [low, high] => self.times_plus(self.constant(*high), self.constant(*low)),
            _ => self.constant(pair[0]),
        });
        let mut terms: Vec<Self> = pairs.collect();
        let mut power = self;
        while terms.len() > 1 {
            power = power * power;
            let pairs = terms.chunks(2).map(|pair| match pair {
                [low, high] => high.times_plus(power, *low),
                _ => pair[0],
            });
            terms = pairs.collect();
        }
        terms[0]
    }

    /// Applies a function of f64 to the lanes of f32 vectors.
    pub fn widened<const N: usize>(args: [Self; N], function: impl Fn([Self; N]) -> Self) -> Self {
        let low = function(args.map(Self::widen_low));
        let high = function(args.map(Self::widen_high));
        Self::narrow(low, high)
    }

    /// The first half of the lanes as f64.
    pub fn widen_low(self) -> Self {
        Vector { width: Width::W64, ..self.push(Op::Widen, &[]) }
    }

    /// The last half of the lanes as f64.
    pub fn widen_high(self) -> Self {
        self.push(Op::High, &[]).widen_low()
    }

    /// Two vectors of f64 as one of f32.
    pub fn narrow(low: Self, high: Self) -> Self {
        let [low, high] = [low, high].map(|half| half.push(Op::Narrow, &[]));
        Vector { width: Width::W32, ..low.push(Op::Join, &[high]) }
    }

    // ---- bits and integers ----

    pub fn and(self, other: Self) -> Self {
        self.push(Op::And, &[other])
    }

    pub fn or(self, other: Self) -> Self {
        self.push(Op::Or, &[other])
    }

    pub fn xor(self, other: Self) -> Self {
        self.push(Op::Xor, &[other])
    }

    /// The bits that the other does not have.
    pub fn and_not(self, other: Self) -> Self {
        other.push(Op::AndNot, &[self])
    }

    /// Of the bits, as integers.
    pub fn integer(self, op: IntegerOp, other: Self) -> Self {
        self.push(Op::Integer(op, self.width), &[other])
    }

    /// The numbers as integers; see [`Op::ToInteger`].
    pub fn to_integers(self) -> Self {
        self.push(Op::ToInteger, &[])
    }

    /// The integers as numbers.
    pub fn to_floats(self) -> Self {
        self.push(Op::FromInteger, &[])
    }

    /// Of the bits, as integers without sign.
    pub fn shift(self, direction: Direction, by: u8) -> Self {
        self.push(Op::Shift(direction, by, self.width), &[])
    }
}

impl<'m, 'f> Mask<'m, 'f> {
    pub fn choose(self, then: Vector<'m, 'f>, otherwise: Vector<'m, 'f>) -> Vector<'m, 'f> {
        let args = [self.0.operand, then.operand, otherwise.operand];
        then.with(then.code.push(Op::Blend(then.width), &args))
    }

    pub fn and(self, other: Self) -> Self {
        Mask(self.0.and(other.0))
    }

    pub fn or(self, other: Self) -> Self {
        Mask(self.0.or(other.0))
    }

    pub fn not(self) -> Self {
        Mask(self.0.xor(self.0.bits(u64::MAX)))
    }
}
