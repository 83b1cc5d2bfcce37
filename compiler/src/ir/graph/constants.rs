//! Operations on literals: the one place that says what they are.
//!
//! The calculus keeps every bit, so it takes only what f32 has exactly ([`exact`]). What is scheduled and lowered
//! is rounded once, wherever it is computed: any number of its type will do ([`literal`]). Some literals do
//! nothing beside another operand ([`kept`]).

use super::{Elem, Pointwise};

/// A finite number that the operation has in f64, and has in f32 as well, to the last bit of f32.
pub fn exact(op: Pointwise, numbers: &[f64]) -> Option<f64> {
    let value = op.row().value;
    let wide = value(numbers);
    let rounded: Vec<f64> = numbers.iter().map(|number| f64::from(*number as f32)).collect();
    let narrow = value(&rounded) as f32;
    let is_normal = narrow == 0.0 && wide == 0.0 || narrow.is_normal();
    (is_normal && (wide as f32).to_bits() == narrow.to_bits()).then_some(wide)
}

/// The result, of this type, if it is a number of the type: finite, and not too large.
pub fn literal(op: Pointwise, elem: Elem, numbers: &[f64]) -> Option<f64> {
    let value = op.row().evaluate(elem, numbers);
    let is_number = match elem {
        Elem::F32 => (value as f32).is_finite(),
        Elem::I32 => value == f64::from(value as i32),
        Elem::Bool => true,
    };
    is_number.then_some(value)
}

/// Literals that do nothing: the operation, which operand they are, and the number.
const NEUTRAL: [(Pointwise, usize, f64); 6] = [
    (Pointwise::Mul, 1, 1.0),
    (Pointwise::Mul, 0, 1.0),
    (Pointwise::Div, 1, 1.0),
    (Pointwise::Add, 1, 0.0),
    (Pointwise::Add, 0, 0.0),
    (Pointwise::Sub, 1, 0.0),
];

/// Which of two operands the result is, where the other one is a literal that does nothing: `a * 1`,
/// `a / 1`, `a + 0`, `a - 0`. `is` tells whether an operand is a number.
pub fn kept(op: Pointwise, is: impl Fn(usize, f64) -> bool) -> Option<usize> {
    let mut rows = NEUTRAL.iter();
    let found = rows.find(|(known, operand, number)| *known == op && is(*operand, *number));
    found.map(|(_, operand, _)| 1 - operand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_f32_has_exactly_is_exact() {
        assert_eq!(exact(Pointwise::Mul, &[0.5, 3.0]), Some(1.5));
        assert_eq!(exact(Pointwise::Exp, &[0.0]), Some(1.0));
        // In f32, 1 - 0.9 is 0.100000024.
        assert_eq!(exact(Pointwise::Sub, &[1.0, 0.9]), None);
        assert_eq!(exact(Pointwise::Div, &[1.0, 0.0]), None);
        assert_eq!(exact(Pointwise::Mul, &[1e30, 1e30]), None);
        assert_eq!(exact(Pointwise::Log, &[-1.0]), None);
    }

    #[test]
    fn a_literal_is_a_number_of_its_type() {
        assert_eq!(literal(Pointwise::Sub, Elem::F32, &[1.0, 0.9]), Some(1.0 - 0.9));
        assert_eq!(literal(Pointwise::Mul, Elem::F32, &[1e30, 1e30]), None);
        assert_eq!(literal(Pointwise::Div, Elem::I32, &[7.0, 2.0]), Some(3.0));
        assert_eq!(literal(Pointwise::Lt, Elem::Bool, &[1.0, 2.0]), Some(1.0));
    }

    /// The other operand is the result, whatever it is.
    #[test]
    fn neutral_literals_do_nothing() {
        for (op, operand, number) in NEUTRAL {
            let mut numbers = [2.5, 2.5];
            numbers[operand] = number;
            assert_eq!((op.row().value)(&numbers), 2.5, "{op:?}");
            assert_eq!(kept(op, |at, wanted| numbers[at] == wanted), Some(1 - operand));
        }
        assert_eq!(kept(Pointwise::Sub, |at, number| at == 0 && number == 0.0), None);
    }
}
