//! The operations: [`Op`] lists those of the graph, which `ops` describes, and [`Pointwise`] those that are
//! one number for each of the operands', which the table in `pointwise` describes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Dim, Elem};

/// A literal; compared and hashed by its bits.
#[derive(Clone, Copy)]
pub struct Number(pub f64);

impl PartialEq for Number {
    fn eq(&self, other: &Number) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}
impl Eq for Number {}
impl std::hash::Hash for Number {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}
impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An operation of the graph, with its attributes. Axes count step by step, without time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// The graph's input of this index.
    Input(usize),
    /// The graph's parameter of this index.
    Param(usize),
    /// A scalar literal: an f32, an i32 or a boolean (0 or 1).
    Const(Number, Elem),
    /// The value of a dimension as an f32 scalar.
    Size(Dim),
    /// The number of the time step, from 0, as an f32 stream of scalars.
    TimeIndex,
    /// The i32 index along `axis` of a tensor of these dimensions.
    Iota {
        /// The axis that is counted along.
        axis: usize,
        /// The dimensions of the result.
        dims: Vec<Dim>,
    },
    /// Numbers written out.
    Array {
        /// Their type: f32 or i32.
        elem: Elem,
        /// The dimensions of the result, which are numbers.
        dims: Vec<Dim>,
        /// As many as the product of the dimensions, the last axis fastest.
        data: Vec<Number>,
    },
    /// A pointwise operation; all operands have the same dimensions.
    Map(Pointwise),
    /// The value of x, no derivative.
    Sg,
    /// The value of the first operand, the derivative of the second.
    Bypass,
    /// NumPy's broadcast to these dimensions: trailing dimensions align, 1 stretches.
    Broadcast(Vec<Dim>),
    /// The same elements, in order, under these dimensions, of equal product.
    Reshape(Vec<Dim>),
    /// Dimension `i` of the result is dimension `p[i]` of the operand.
    Permute(Vec<usize>),
    /// The end is exclusive.
    Slice {
        /// The axis that is cut.
        axis: usize,
        /// The first index that is kept.
        start: Dim,
        /// The index behind the last that is kept.
        end: Dim,
    },
    /// Any number of operands, one after the other along `axis`.
    Concat {
        /// The axis that grows.
        axis: usize,
    },
    /// More elements on both ends of `axis`.
    Pad {
        /// The axis that grows.
        axis: usize,
        /// How many in front.
        before: Dim,
        /// How many behind.
        after: Dim,
        /// What they are.
        value: Number,
    },
    /// The other way round along `axis`.
    Flip {
        /// The axis that is reversed.
        axis: usize,
    },
    /// What a window that slides along an axis sees: see [`Windows`].
    Windows(Windows),
    /// Along `axis` each index `k` of the last axis is `by · k` further on, and only places that all of
    /// them have are kept: `y[.., j, .., k] = x[.., j + by · k + c, .., k]`, with the least c that leaves no
    /// place before the first. With zeros around it, `-by` is the adjoint of `by`.
    Shear {
        /// The axis that gets shorter by `|by| · (K - 1)`, K being the length of the last one.
        axis: usize,
        /// How much further for each step along the last axis.
        by: i64,
    },
    /// NumPy's `take(x, i, axis)`: `axis` of x is replaced by the dimensions of the i32 tensor i.
    /// An index from -n to -1 counts from the end of the n elements; one outside of that gives NaN
    /// (0 and false in tables of i32 and booleans), and no gradient.
    Gather {
        /// The axis that is replaced.
        axis: usize,
    },
    /// NumPy's `take_along_axis(x, i, axis)`: `axis` of x is replaced by that of the i32 tensor i, whose
    /// other dimensions are those of x. Indices mean what they do for `Gather`.
    Take {
        /// The axis that is replaced.
        axis: usize,
    },
    /// `[.., M, K] @ [.., K, N]` with equal leading dimensions (as many on both sides).
    MatMul,
    /// Removes the (sorted) axes.
    Reduce(Reduction, Vec<usize>),
    /// `prev(x, init)`: x one step before; init (static, of x's dimensions) at the first step.
    Prev,
    /// `next(x, init)`: x one step later; init at the last step. Appears only after autodiff.
    Next,
    /// The first step of a stream.
    First,
    /// The last step of a stream.
    Last,
    /// The steps of a stream, as many as these, along a new first axis.
    TimeStack(Dim),
    /// The first axis of a static tensor as the steps of a stream.
    TimeUnstack,
    /// A reduction over all steps of a stream: `Sum` or `Max`.
    TimeReduce(Reduction),
}

/// A window that slides along an axis. Its places make the axis, and what it sees at each a new last
/// one: `y[.., i, .., k] = x[.., stride · i + dilation · k, ..]`, wherever the whole window fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    /// The axis along which it slides.
    pub axis: usize,
    /// How many elements it sees, at least 1.
    pub size: i64,
    /// From one place to the next, at least 1.
    pub stride: i64,
    /// From one element that it sees to the next, at least 1.
    pub dilation: i64,
}

/// How a reduction puts its operands together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The greatest; ties share the gradient equally.
    Max,
    /// The least; ties share the gradient equally.
    Min,
    /// The product.
    Prod,
    /// The i32 index of the first maximum; over one axis.
    ArgMax,
}

impl Reduction {
    /// All of them.
    pub const ALL: [Reduction; 5] =
        [Reduction::Sum, Reduction::Max, Reduction::Min, Reduction::Prod, Reduction::ArgMax];

    /// As the language writes it.
    pub fn name(self) -> &'static str {
        match self {
            Reduction::Sum => "sum",
            Reduction::Max => "max",
            Reduction::Min => "min",
            Reduction::Prod => "prod",
            Reduction::ArgMax => "argmax",
        }
    }
}

/// Pointwise operations. [`TABLE`](super::pointwise::TABLE) says everything about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pointwise {
    /// `-x`
    Neg,
    /// e to the power of x.
    Exp,
    /// The natural logarithm.
    Log,
    /// The square root.
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// The magnitude; its derivative at 0 is 0.
    Abs,
    /// -1, 0 or 1.
    Sign,
    /// The next whole number below.
    Floor,
    /// The next whole number above.
    Ceil,
    /// The nearest whole number, the even one at halves.
    Round,
    /// The sine of x in radians.
    Sin,
    /// The cosine of x in radians.
    Cos,
    /// The tangent of x in radians.
    Tan,
    /// The inverse sine, in radians.
    Asin,
    /// The inverse cosine, in radians.
    Acos,
    /// The inverse tangent, in radians.
    Atan,
    /// The hyperbolic sine.
    Sinh,
    /// The hyperbolic cosine.
    Cosh,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `max(x, 0)`; its derivative at 0 is 0.
    Relu,
    /// `log(1 + exp(x))`
    Softplus,
    /// The error function.
    Erf,
    /// The negation of a boolean.
    Not,
    /// An i32 or boolean as f32.
    ToF32,
    /// An f32 as i32, toward zero; the nearest i32 of what is beyond, and 0 of NaN.
    ToI32,
    /// `x + y`
    Add,
    /// `x - y`
    Sub,
    /// `x * y`
    Mul,
    /// `x / y`; of integers to zero, and 0 where y is 0.
    Div,
    /// What is left of x, with its sign, by a division of integers; 0 where y is 0.
    Rem,
    /// A random word of Philox 4x32-10 (Salmon et al. 2011): the first of key x and the counters y and z.
    Philox,
    /// The upper 24 bits of a word, as a number in [0, 1).
    Unit,
    /// The normal number of a word: the quantile of the probability that its bits are.
    Normal,
    /// x to the power of y.
    Pow,
    /// The angle of the point (y, x), in radians.
    Atan2,
    /// The lesser; at a tie each gets half of the gradient.
    Min,
    /// The greater; at a tie each gets half of the gradient.
    Max,
    /// `x < y`
    Lt,
    /// `x <= y`
    Le,
    /// `x > y`
    Gt,
    /// `x >= y`
    Ge,
    /// `x == y`
    Eq,
    /// `x != y`
    Ne,
    /// Both of two booleans.
    And,
    /// At least one of two booleans.
    Or,
    /// `Select(c, x, y)`: x where c holds, else y.
    Select,
    /// `Clamp(x, lo, hi)`: x, or the bound beyond which it is.
    Clamp,
}
