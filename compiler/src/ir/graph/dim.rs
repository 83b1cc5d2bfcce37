//! Symbolic dimensions: integer polynomials in the open dimensions of a program.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of an open dimension, such as `B` or `T`.
pub type Symbol = Arc<str>;

/// Values of open dimensions.
pub type Bindings = BTreeMap<Symbol, i64>;

/// A dimension: a number, or a polynomial with integer coefficients in open dimensions (`2*B + 1`).
/// Canonical: equal polynomials are equal values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim {
    /// Monomials, each with its sorted factors (a power repeats its symbol), without zero
    /// coefficients, sorted; the constant term has no factors.
    terms: Vec<(Vec<Symbol>, i64)>,
}

/// Why a dimension has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DimError {
    /// No value is given for an open dimension that takes part.
    #[error("the dimension {0} is not given")]
    Unbound(Symbol),
    /// The value does not fit an i64.
    #[error("the dimension {0} is too large")]
    Overflow(Dim),
}

impl Dim {
    /// The dimension of this value.
    pub fn constant(value: i64) -> Dim {
        Dim::from_terms(BTreeMap::from([(Vec::new(), value)]))
    }

    /// The open dimension of this name.
    pub fn symbol(name: &str) -> Dim {
        Dim { terms: vec![(vec![Symbol::from(name)], 1)] }
    }

    /// 1, which broadcasts.
    pub fn one() -> Dim {
        Dim::constant(1)
    }

    /// 0.
    pub fn zero() -> Dim {
        Dim::constant(0)
    }

    /// The number, if no open dimension takes part.
    pub fn as_const(&self) -> Option<i64> {
        match self.terms.as_slice() {
            [] => Some(0),
            [(factors, value)] if factors.is_empty() => Some(*value),
            _ => None,
        }
    }

    /// Whether it is the number 1.
    pub fn is_one(&self) -> bool {
        self.as_const() == Some(1)
    }

    /// Whether it is the number 0.
    pub fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The open dimensions that take part.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.terms.iter().flat_map(|(factors, _)| factors)
    }

    /// The monomials, constant term included: factors and coefficient.
    pub fn terms(&self) -> &[(Vec<Symbol>, i64)] {
        &self.terms
    }

    /// The product of dimensions: 1 if there are none.
    pub fn product<'a>(dims: impl IntoIterator<Item = &'a Dim>) -> Dim {
        dims.into_iter().fold(Dim::one(), |product, dim| &product * dim)
    }

    /// `self / divisor` where it leaves no remainder for any value of the open dimensions: the division
    /// of polynomials.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        let (divisor_factors, divisor_value) = divisor.leading()?;
        let (mut rest, mut quotient) = (self.clone(), Dim::zero());
        while let Some((factors, value)) = rest.leading() {
            if value % divisor_value != 0 {
                return None;
            }
            let mut factors = factors.clone();
            for factor in divisor_factors {
                factors.remove(factors.iter().position(|f| f == factor)?);
            }
            let part = Dim { terms: vec![(factors, value / divisor_value)] };
            rest = &rest - &(&part * divisor);
            quotient = &quotient + &part;
        }
        Some(quotient)
    }

    /// `self / divisor` rounded down, where that is a dimension: the open dimensions must leave no
    /// remainder. The divisor is positive.
    pub fn floor_div(&self, divisor: i64) -> Option<Dim> {
        let rest = self.as_const_term().rem_euclid(divisor);
        (self - &Dim::constant(rest)).exact_div(&Dim::constant(divisor))
    }

    /// The term without open dimensions.
    fn as_const_term(&self) -> i64 {
        let constant = self.terms.iter().find(|(factors, _)| factors.is_empty());
        constant.map_or(0, |(_, value)| *value)
    }

    /// The monomial of most factors, of these the first: that of a product is the product of those.
    fn leading(&self) -> Option<&(Vec<Symbol>, i64)> {
        self.terms.iter().max_by_key(|(factors, _)| (factors.len(), Reverse(factors)))
    }

    /// The value under `bindings`.
    pub fn eval(&self, bindings: &Bindings) -> Result<i64, DimError> {
        let mut sum = 0i64;
        for (factors, value) in &self.terms {
            let mut product = *value;
            for factor in factors {
                let bound =
                    bindings.get(factor).ok_or_else(|| DimError::Unbound(factor.clone()))?;
                product =
                    product.checked_mul(*bound).ok_or_else(|| DimError::Overflow(self.clone()))?;
            }
            sum = sum.checked_add(product).ok_or_else(|| DimError::Overflow(self.clone()))?;
        }
        Ok(sum)
    }

    /// The dimension with some open dimensions bound.
    pub fn substitute(&self, bindings: &Bindings) -> Dim {
        let mut sum = Dim::zero();
        for (factors, value) in &self.terms {
            let mut product = Dim::constant(*value);
            for factor in factors {
                let factor =
                    bindings.get(factor).map_or_else(|| Dim::symbol(factor), |v| Dim::constant(*v));
                product = &product * &factor;
            }
            sum = &sum + &product;
        }
        sum
    }

    fn from_terms(terms: BTreeMap<Vec<Symbol>, i64>) -> Dim {
        Dim { terms: terms.into_iter().filter(|(_, value)| *value != 0).collect() }
    }

    fn combine(&self, other: &Dim, sign: i64) -> Dim {
        let mut terms: BTreeMap<_, _> = self.terms.iter().cloned().collect();
        for (factors, value) in &other.terms {
            let sum = terms.entry(factors.clone()).or_insert(0);
            *sum = sum.saturating_add(value.saturating_mul(sign));
        }
        Dim::from_terms(terms)
    }
}

impl std::ops::Add for &Dim {
    type Output = Dim;
    fn add(self, other: &Dim) -> Dim {
        self.combine(other, 1)
    }
}

impl std::ops::Sub for &Dim {
    type Output = Dim;
    fn sub(self, other: &Dim) -> Dim {
        self.combine(other, -1)
    }
}

impl std::ops::Mul for &Dim {
    type Output = Dim;
    fn mul(self, other: &Dim) -> Dim {
        let mut terms = BTreeMap::new();
        for (left, a) in &self.terms {
            for (right, b) in &other.terms {
                let mut factors: Vec<_> = left.iter().chain(right).cloned().collect();
                factors.sort();
                let sum = terms.entry(factors).or_insert(0i64);
                *sum = sum.saturating_add(a.saturating_mul(*b));
            }
        }
        Dim::from_terms(terms)
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim::constant(value)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.terms.is_empty() {
            return f.write_str("0");
        }
        // The constant term sorts first; people expect it last.
        let (constant, rest): (Vec<_>, Vec<_>) = self.terms.iter().partition(|t| t.0.is_empty());
        for (position, (factors, value)) in rest.into_iter().chain(constant).enumerate() {
            match (position, *value < 0) {
                (0, true) => f.write_str("-")?,
                (0, false) => {}
                (_, true) => f.write_str(" - ")?,
                (_, false) => f.write_str(" + ")?,
            }
            let magnitude = value.unsigned_abs();
            match (factors.is_empty(), magnitude) {
                (true, _) => write!(f, "{magnitude}")?,
                (false, 1) => f.write_str(&factors.join("*"))?,
                (false, _) => write!(f, "{magnitude}*{}", factors.join("*"))?,
            }
        }
        Ok(())
    }
}

/// As text: `2*B*T + 1`.
impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Dim, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Dim {
    fn schema_name() -> Cow<'static, str> {
        "Formula".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let name = "[A-Za-z_][A-Za-z0-9_]*";
        let term = format!("(?:[0-9]+|{name})(?:\\*{name})*");
        json_schema!({
            "type": "string",
            "description": "A polynomial in the open dimensions: terms joined by ` + ` and ` - `, a term \
                being a number, names joined by `*`, or a number, `*` and names: `256*B*T + 1`.",
            "pattern": format!("^-?{term}(?: [+-] {term})*$"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_canonical() {
        let (b, t) = (Dim::symbol("B"), Dim::symbol("T"));
        let sum = &(&b * &t) + &Dim::constant(2);
        assert_eq!(sum.to_string(), "B*T + 2");
        assert_eq!(&sum - &(&t * &b), Dim::constant(2));
        assert_eq!(
            (&b * &Dim::constant(6)).exact_div(&Dim::constant(3)),
            Some(&b * &Dim::constant(2))
        );
        assert_eq!(b.exact_div(&Dim::constant(2)), None);
        assert_eq!((&b * &t).exact_div(&t), Some(b.clone()));
        let (more, less) = (&b + &t, &b - &Dim::one());
        assert_eq!((&(&more * &less) * &less).exact_div(&less), Some(&more * &less));
        assert_eq!((&(&more * &less) + &t).exact_div(&less), None);
        let half = (&(&b * &Dim::constant(2)) - &Dim::one()).floor_div(2);
        assert_eq!(half, Some(&b - &Dim::one()));
        assert_eq!((&b - &Dim::one()).floor_div(2), None);
        assert_eq!(Dim::constant(-1).floor_div(2), Some(Dim::constant(-1)));
        let bindings = Bindings::from([("B".into(), 4), ("T".into(), 5)]);
        assert_eq!(sum.eval(&bindings), Ok(22));
        assert_eq!(b.eval(&Bindings::new()), Err(DimError::Unbound("B".into())));
        assert_eq!(sum.substitute(&bindings).as_const(), Some(22));
    }
}
