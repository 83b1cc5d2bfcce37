//! Numbers with a shape, as they come from files and callers and go back to them.

use std::borrow::Cow;

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
    /// Of files; becomes i32 where it fits.
    I64(Vec<i64>),
    /// Of files; becomes i32, or bool where it is 0 or 1.
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

    /// As elements of a program: floats become f32, integers i32, booleans bool. A number that does
    /// not fit is an error, and so is a kind of number that was not asked for.
    pub fn convert(&self, name: &str, elem: Elem) -> Result<Array, Error> {
        let refuse = || Error::Shape {
            name: name.into(),
            expected: format!("elements of type {}", elem.name()),
            found: self.type_name(),
        };
        let overflow = |value: String| Error::Shape {
            name: name.into(),
            expected: format!("numbers that fit in {}", elem.name()),
            found: value,
        };
        let data = match (elem, &self.data) {
            (Elem::F32, Data::F32(_)) | (Elem::I32, Data::I32(_)) | (Elem::Bool, Data::Bool(_)) => {
                self.data.clone()
            }
            (Elem::F32, Data::F64(values)) => {
                let narrow = |value: &f64| match *value as f32 {
                    narrow if narrow.is_finite() || !value.is_finite() => Ok(narrow),
                    _ => Err(overflow(value.to_string())),
                };
                Data::F32(values.iter().map(narrow).collect::<Result<_, _>>()?)
            }
            (Elem::I32, Data::I64(values)) => {
                let narrow =
                    |value: &i64| i32::try_from(*value).map_err(|_| overflow(value.to_string()));
                Data::I32(values.iter().map(narrow).collect::<Result<_, _>>()?)
            }
            (Elem::I32, Data::U8(values)) => {
                Data::I32(values.iter().map(|value| i32::from(*value)).collect())
            }
            (Elem::Bool, Data::U8(values)) if values.iter().all(|value| *value <= 1) => {
                Data::Bool(values.iter().map(|value| *value == 1).collect())
            }
            _ => return Err(refuse()),
        };
        Ok(Array { shape: self.shape.clone(), data })
    }

    /// Every element as an f64; booleans as 0 and 1.
    pub fn to_f64(&self) -> Vec<f64> {
        match &self.data {
            Data::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::F64(values) => values.clone(),
            Data::I32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::I64(values) => values.iter().map(|value| *value as f64).collect(),
            Data::U8(values) => values.iter().map(|value| f64::from(*value)).collect(),
            Data::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        }
    }

    /// The only element of an array of one f32.
    pub fn scalar(&self) -> Option<f32> {
        match &self.data {
            Data::F32(values) if values.len() == 1 => Some(values[0]),
            _ => None,
        }
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
        let message = |data: Data, elem| convert(data, elem).unwrap_err().to_string();
        assert_eq!(
            message(vec![1e300f64].into(), Elem::F32),
            format!("`x`: expected numbers that fit in f32, found {}", 1e300)
        );
        assert_eq!(
            message(vec![1i64 << 40].into(), Elem::I32),
            "`x`: expected numbers that fit in i32, found 1099511627776"
        );
        assert_eq!(
            message(vec![1i32].into(), Elem::F32),
            "`x`: expected elements of type f32, found i32[1]"
        );
    }
}
