//! Numbers of arithmetic operations, by their kind.

use serde::Serialize;

use super::{Bindings, Dim, DimError, Pointwise, Reduction};

/// Numbers of arithmetic operations. An `N` is a number or a formula.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Operations<N = usize> {
    /// Sums, differences and signs.
    pub adds: N,
    /// Products.
    pub multiplies: N,
    /// Quotients and roots.
    pub divisions: N,
    /// Exponentials, powers, trigonometric functions and the like.
    pub transcendentals: N,
    /// Choices, comparisons, maxima, roundings.
    pub others: N,
}

impl<N> Operations<N> {
    /// The number that an operation counts to.
    pub fn of(&mut self, op: Pointwise) -> &mut N {
        use Pointwise::{Add, Div, Mul, Neg, Sqrt, Sub};
        if matches!(op, Add | Sub | Neg) {
            &mut self.adds
        } else if op == Mul {
            &mut self.multiplies
        } else if matches!(op, Div | Sqrt) {
            &mut self.divisions
        } else if op.row().cost >= Pointwise::Rsqrt.row().cost {
            &mut self.transcendentals
        } else {
            &mut self.others
        }
    }

    /// The number that a step of a reduction counts to.
    pub fn of_reduction(&mut self, reduction: Reduction) -> &mut N {
        match reduction {
            Reduction::Sum => &mut self.adds,
            Reduction::Prod => &mut self.multiplies,
            Reduction::Max | Reduction::Min | Reduction::ArgMax => &mut self.others,
        }
    }

    /// The numbers of all kinds, in the order of the fields.
    pub fn all(&self) -> [&N; 5] {
        [&self.adds, &self.multiplies, &self.divisions, &self.transcendentals, &self.others]
    }
}

impl Operations<Dim> {
    /// No operations.
    pub fn none() -> Self {
        let [adds, multiplies, divisions, transcendentals, others] = [(); 5].map(|()| Dim::zero());
        Operations { adds, multiplies, divisions, transcendentals, others }
    }

    /// Those of all kinds together.
    pub fn total(&self) -> Dim {
        self.all().into_iter().fold(Dim::zero(), |sum, number| &sum + number)
    }

    /// The numbers under `bindings`.
    pub fn eval(&self, bindings: &Bindings) -> Result<Operations<i64>, DimError> {
        Ok(Operations {
            adds: self.adds.eval(bindings)?,
            multiplies: self.multiplies.eval(bindings)?,
            divisions: self.divisions.eval(bindings)?,
            transcendentals: self.transcendentals.eval(bindings)?,
            others: self.others.eval(bindings)?,
        })
    }
}
