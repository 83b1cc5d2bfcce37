//! Numbers with a shape, as they come from files and callers and go back to them.

use std::borrow::Cow;
use std::ops::Range;

use fgi_compiler::ir::graph::Elem;

use crate::Error;

/// The numbers of an [`Array`], the last axis fastest.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// What programs compute with.
    F32(Vec<f32>),
    /// Of files; becomes f32 where it fits.
    F64(Vec<f64>),
    /// Integers of programs.
    I32(Vec<i32>),
    /// Of files; becomes i32 or f32 where it fits.
    I64(Vec<i64>),
    /// Of files; becomes i32 or f32, or bool where it is 0 or 1.
    U8(Vec<u8>),
    /// Results of comparisons.
    Bool(Vec<bool>),
}

/// A dense array. Without axes it is a scalar.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// The sizes of the axes, the slowest first.
    pub shape: Vec<usize>,
    /// As many numbers as the shape says.
    pub data: Data,
}

impl Array {
    /// `data` has as many elements as the shape says.
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Data>) -> Array {
        let array = Array { shape: shape.into(), data: data.into() };
        debug_assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
        array
    }

    /// `f32[28, 4, 7]`
    pub fn type_name(&self) -> String {
        format!("{}{}", self.data.type_name(), shape_name(&self.shape))
    }

    /// As elements of a program, where every number stays what it is; f64 is rounded to f32. A number
    /// that does not fit is an error, and so are floats for integers or booleans.
    pub fn convert(&self, name: &str, elem: Elem) -> Result<Array, Error> {
        let data = self.data.clone().convert(elem).map_err(|misfit| Error::Shape {
            name: name.into(),
            expected: misfit.expected(name, elem),
            found: match misfit {
                Misfit::Kind => self.type_name(),
                Misfit::Number { at, value } => match index_name(at, &self.shape) {
                    Some(index) => format!("{value} at {index}"),
                    None => value,
                },
            },
        })?;
        Ok(Array { shape: self.shape.clone(), data })
    }

    /// What [`Array::convert`] does to every number, `u8 as f32`, unless nothing.
    pub fn conversion(&self, elem: Elem) -> Option<String> {
        let (found, elem) = (self.data.type_name(), elem.name());
        (found != elem).then(|| format!("{found} as {elem}"))
    }

    /// Every element as an f64; booleans as 0 and 1.
    pub fn to_f64(&self) -> Vec<f64> {
        self.data.to_f64()
    }

    /// The only element of an array of one f32.
    pub fn scalar(&self) -> Option<f32> {
        match &self.data {
            Data::F32(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        }
    }

    /// A part of the first axis, which has at least so many: steps of a stream, or samples.
    ///
    /// # Panics
    /// If the range is not within the axis.
    pub fn rows(&self, range: Range<usize>) -> Array {
        let row = self.shape[1..].iter().product::<usize>();
        let shape = [&[range.len()], &self.shape[1..]].concat();
        Array { shape, data: self.data.part(range.start * row..range.end * row) }
    }

    /// As a device stores it: 4 bytes an element, little-endian, booleans as 0 and 1.
    /// Big-endian machines are not supported.
    pub(crate) fn to_device(&self) -> Cow<'_, [u8]> {
        match &self.data {
            Data::F32(values) => bytemuck::cast_slice(values).into(),
            Data::I32(values) => bytemuck::cast_slice(values).into(),
            Data::Bool(values) => {
                values.iter().flat_map(|value| u32::from(*value).to_le_bytes()).collect()
            }
            other => unreachable!("{} was converted before", other.type_name()),
        }
    }

    pub(crate) fn from_device(shape: Vec<usize>, elem: Elem, bytes: &[u8]) -> Array {
        let data = match elem {
            Elem::F32 => Data::F32(bytemuck::pod_collect_to_vec(bytes)),
            Elem::I32 => Data::I32(bytemuck::pod_collect_to_vec(bytes)),
            Elem::Bool => {
                let words = bytes.as_chunks::<4>().0.iter();
                Data::Bool(words.map(|word| u32::from_le_bytes(*word) != 0).collect())
            }
        };
        Array { shape, data }
    }
}

impl Data {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(values) => values.len(),
            Data::F64(values) => values.len(),
            Data::I32(values) => values.len(),
            Data::I64(values) => values.len(),
            Data::U8(values) => values.len(),
            Data::Bool(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn part(&self, range: Range<usize>) -> Data {
        match self {
            Data::F32(values) => Data::F32(values[range].to_vec()),
            Data::F64(values) => Data::F64(values[range].to_vec()),
            Data::I32(values) => Data::I32(values[range].to_vec()),
            Data::I64(values) => Data::I64(values[range].to_vec()),
            Data::U8(values) => Data::U8(values[range].to_vec()),
            Data::Bool(values) => Data::Bool(values[range].to_vec()),
        }
    }

    /// Every element as an f64; booleans as 0 and 1.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        match self {
            Data::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::F64(values) => values.clone(),
            Data::I32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::I64(values) => values.iter().map(|value| *value as f64).collect(),
            Data::U8(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        }
    }

    /// The one conversion of numbers to elements of a program.
    pub(crate) fn convert(self, elem: Elem) -> Result<Data, Misfit> {
        fn each<T: Copy + ToString, U>(
            values: &[T],
            convert: impl Fn(T) -> Option<U>,
        ) -> Result<Data, Misfit>
        where
            Data: From<Vec<U>>,
        {
            let convert = |(at, value): (usize, &T)| {
                convert(*value).ok_or_else(|| Misfit::Number { at, value: value.to_string() })
            };
            Ok(values.iter().enumerate().map(convert).collect::<Result<Vec<U>, _>>()?.into())
        }
        let exact = |value: i64| {
            let float = value as f32;
            (float as i128 == i128::from(value)).then_some(float)
        };
        let truth = |value: i64| matches!(value, 0 | 1).then_some(value == 1);
        match (elem, &self) {
            (Elem::F32, Data::F32(_)) | (Elem::I32, Data::I32(_)) | (Elem::Bool, Data::Bool(_)) => {
                Ok(self)
            }
            (Elem::F32, Data::F64(values)) => each(values, |value| {
                let narrow = value as f32;
                (narrow.is_finite() || !value.is_finite()).then_some(narrow)
            }),
            (Elem::F32, Data::I64(values)) => each(values, exact),
            (Elem::F32, Data::I32(values)) => each(values, |value| exact(value.into())),
            (Elem::F32, Data::U8(values)) => each(values, |value| Some(f32::from(value))),
            (Elem::F32, Data::Bool(values)) => {
                each(values, |value| Some(f32::from(u8::from(value))))
            }
            (Elem::I32, Data::I64(values)) => each(values, |value| i32::try_from(value).ok()),
            (Elem::I32, Data::U8(values)) => each(values, |value| Some(i32::from(value))),
            (Elem::I32, Data::Bool(values)) => each(values, |value| Some(i32::from(value))),
            (Elem::Bool, Data::I64(values)) => each(values, truth),
            (Elem::Bool, Data::I32(values)) => each(values, |value| truth(value.into())),
            (Elem::Bool, Data::U8(values)) => each(values, |value| truth(value.into())),
            (Elem::I32 | Elem::Bool, Data::F32(_) | Data::F64(_)) => Err(Misfit::Kind),
        }
    }

    /// The type of the numbers: `f32`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Data::F32(_) => "f32",
            Data::F64(_) => "f64",
            Data::I32(_) => "i32",
            Data::I64(_) => "i64",
            Data::U8(_) => "u8",
            Data::Bool(_) => "bool",
        }
    }
}

/// Why numbers are no elements of a program.
#[derive(Debug)]
pub(crate) enum Misfit {
    /// They would have to be rounded, or compared: only the caller knows how.
    Kind,
    /// One of them does not fit.
    Number {
        /// Which one, in their order.
        at: usize,
        /// As it is printed.
        value: String,
    },
}

impl Misfit {
    /// What would fit.
    pub(crate) fn expected(&self, name: &str, elem: Elem) -> String {
        let numpy = if elem == Elem::I32 { "int32" } else { "bool" };
        match (self, elem) {
            (Misfit::Kind, _) => format!(
                "elements of type {} (in Python, `{name}.astype(\"{numpy}\")` makes them)",
                elem.name()
            ),
            (Misfit::Number { .. }, Elem::F32) => "numbers that f32 has".into(),
            (Misfit::Number { .. }, Elem::I32) => "numbers that fit in i32".into(),
            (Misfit::Number { .. }, Elem::Bool) => "0 or 1".into(),
        }
    }
}

macro_rules! data_from {
    ($($variant:ident: $element:ty),*) => {
        $(impl From<Vec<$element>> for Data {
            fn from(values: Vec<$element>) -> Data {
                Data::$variant(values)
            }
        })*
    };
}
data_from!(F32: f32, F64: f64, I32: i32, I64: i64, U8: u8, Bool: bool);

/// The index of the `at`-th number of an array, `[3, 0]`; a scalar has none.
pub(crate) fn index_name(mut at: usize, shape: &[usize]) -> Option<String> {
    let mut index: Vec<usize> = Vec::with_capacity(shape.len());
    for extent in shape.iter().rev() {
        index.insert(0, at % extent.max(&1));
        at /= extent.max(&1);
    }
    (!index.is_empty()).then(|| shape_name(&index))
}

/// `[28, 4, 7]`
pub(crate) fn shape_name(shape: &[usize]) -> String {
    let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("[{}]", axes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_keeps_what_fits_and_refuses_the_rest() {
        let convert = |data: Data, elem| Array::new([data.len()], data).convert("x", elem);
        assert_eq!(convert(vec![0.5f64].into(), Elem::F32).unwrap().data, Data::F32(vec![0.5]));
        assert_eq!(convert(vec![7i64].into(), Elem::I32).unwrap().data, Data::I32(vec![7]));
        assert_eq!(convert(vec![1u8].into(), Elem::Bool).unwrap().data, Data::Bool(vec![true]));
        assert_eq!(convert(vec![-7i64].into(), Elem::F32).unwrap().data, Data::F32(vec![-7.0]));
        assert_eq!(convert(vec![255u8].into(), Elem::F32).unwrap().data, Data::F32(vec![255.0]));
        assert_eq!(convert(vec![true].into(), Elem::F32).unwrap().data, Data::F32(vec![1.0]));
        assert_eq!(convert(vec![true].into(), Elem::I32).unwrap().data, Data::I32(vec![1]));
        assert_eq!(convert(vec![0i64].into(), Elem::Bool).unwrap().data, Data::Bool(vec![false]));
        let message = |data: Data, elem| convert(data, elem).unwrap_err().to_string();
        assert_eq!(
            message(vec![1e300f64].into(), Elem::F32),
            format!("`x`: expected numbers that f32 has, found {} at [0]", 1e300)
        );
        assert_eq!(
            message(vec![0i64, 1 << 40].into(), Elem::I32),
            "`x`: expected numbers that fit in i32, found 1099511627776 at [1]"
        );
        assert_eq!(
            message(vec![(1i32 << 24) + 1].into(), Elem::F32),
            "`x`: expected numbers that f32 has, found 16777217 at [0]"
        );
        let large = message(vec![i64::MAX].into(), Elem::F32);
        assert!(large.ends_with("found 9223372036854775807 at [0]"), "{large}");
        assert_eq!(message(vec![2u8].into(), Elem::Bool), "`x`: expected 0 or 1, found 2 at [0]");
        assert_eq!(
            message(vec![1.0f32].into(), Elem::I32),
            "`x`: expected elements of type i32 (in Python, `x.astype(\"int32\")` makes them), found f32[1]"
        );
    }
}
