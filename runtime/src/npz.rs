//! NumPy's `.npz`: a zip archive of `.npy` arrays.
//!
//! Both formats are read here, from the bytes, because a damaged file must be an error: sizes are
//! checked before anything is allocated for them.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use half::f16;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::file::{failed, read as read_file, write_whole};
use crate::{Array, Data, Error, memory};

/// The arrays of an archive by name.
pub type Arrays = BTreeMap<String, Array>;

/// Reads all arrays of a `.npz` file: floats of 2, 4 or 8 bytes, integers, booleans, in C or Fortran
/// order.
pub fn read(path: &Path) -> Result<Arrays, Error> {
    let bytes = read_file(path)?;
    parse(&bytes).map_err(|message| failed(path, message))
}

/// Writes arrays as a `.npz` file, all or nothing.
pub fn write(path: &Path, arrays: &Arrays) -> Result<(), Error> {
    write_whole(path, |file| {
        let mut archive = ZipWriter::new(file);
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        for (name, array) in arrays {
            archive.start_file(format!("{name}.npy"), options)?;
            write_npy(&mut archive, array)?;
        }
        archive.finish()?;
        Ok(())
    })
}

/// The arrays of an archive, given as its bytes; the error says what is wrong with them.
pub fn parse(bytes: &[u8]) -> Result<Arrays, String> {
    let mut archive = ZipArchive::new(io::Cursor::new(bytes))
        .map_err(|error| format!("not an .npz archive: {error}"))?;
    let mut arrays = Arrays::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(|error| error.to_string())?;
        let file = entry.name().map_err(|error| error.to_string())?.into_owned();
        let Some(name) = file.strip_suffix(".npy") else { continue };
        memory::check(entry.size().into()).map_err(|error| format!("`{name}`: {error}"))?;
        let (mut content, most) = (Vec::new(), entry.size().saturating_add(1));
        entry.take(most).read_to_end(&mut content).map_err(|error| format!("`{name}`: {error}"))?;
        let array = parse_npy(&content).map_err(|message| format!("`{name}`: {message}"))?;
        arrays.insert(name.into(), array);
    }
    Ok(arrays)
}

fn write_npy(out: &mut impl Write, array: &Array) -> io::Result<()> {
    let descr = match array.data {
        Data::F32(_) => "<f4",
        Data::F64(_) => "<f8",
        Data::I32(_) => "<i4",
        Data::I64(_) => "<i8",
        Data::U8(_) => "|u1",
        Data::Bool(_) => "|b1",
    };
    let axes: String = array.shape.iter().map(|axis| format!("{axis}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", axes.trim_end());
    // The data starts at a multiple of 64 bytes, after a line end.
    let end = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    header.push_str(&" ".repeat(end - MAGIC.len() - 4 - header.len() - 1));
    header.push('\n');
    out.write_all(MAGIC)?;
    out.write_all(&[1, 0])?;
    out.write_all(&(header.len() as u16).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    match &array.data {
        Data::F32(values) => write_all(out, values, |value| value.to_le_bytes()),
        Data::F64(values) => write_all(out, values, |value| value.to_le_bytes()),
        Data::I32(values) => write_all(out, values, |value| value.to_le_bytes()),
        Data::I64(values) => write_all(out, values, |value| value.to_le_bytes()),
        Data::U8(values) => out.write_all(values),
        Data::Bool(values) => write_all(out, values, |value| [u8::from(*value)]),
    }
}

fn write_all<T, const N: usize>(
    out: &mut impl Write,
    values: &[T],
    bytes: impl Fn(&T) -> [u8; N],
) -> io::Result<()> {
    out.write_all(&values.iter().flat_map(bytes).collect::<Vec<u8>>())
}

const MAGIC: &[u8] = b"\x93NUMPY";

/// One array, given as the bytes of a `.npy` file.
pub fn parse_npy(bytes: &[u8]) -> Result<Array, String> {
    let (header, data) = split_header(bytes).ok_or("not a complete .npy array")?;
    let descr = header_value(header, "descr").ok_or("its header has no type")?;
    let fortran = header_value(header, "fortran_order").ok_or("its header has no order")?;
    let shape = header_value(header, "shape").and_then(parse_shape);
    let shape = shape.ok_or("its header has no shape")?;
    let descr = descr.trim_matches(['\'', '"']);
    let (order, kind) = descr.split_at_checked(1).unwrap_or(("", descr));
    let big_endian = order == ">";
    let data =
        match kind {
            "f2" => {
                elements(data, &shape, big_endian, |word| f16::from_le_bytes(word).to_f32())?.into()
            }
            "f4" => elements(data, &shape, big_endian, f32::from_le_bytes)?.into(),
            "f8" => elements(data, &shape, big_endian, f64::from_le_bytes)?.into(),
            "i1" => elements(data, &shape, big_endian, |byte| i32::from(i8::from_le_bytes(byte)))?
                .into(),
            "i2" => elements(data, &shape, big_endian, |word| i32::from(i16::from_le_bytes(word)))?
                .into(),
            "i4" => elements(data, &shape, big_endian, i32::from_le_bytes)?.into(),
            "i8" => elements(data, &shape, big_endian, i64::from_le_bytes)?.into(),
            "u1" => elements(data, &shape, big_endian, u8::from_le_bytes)?.into(),
            "u2" => elements(data, &shape, big_endian, |word| i32::from(u16::from_le_bytes(word)))?
                .into(),
            "u4" => elements(data, &shape, big_endian, |word| i64::from(u32::from_le_bytes(word)))?
                .into(),
            "u8" => {
                let words = elements(data, &shape, big_endian, u64::from_le_bytes)?;
                let narrow =
                    |word: u64| i64::try_from(word).map_err(|_| format!("{word} is too large"));
                words.into_iter().map(narrow).collect::<Result<Vec<i64>, _>>()?.into()
            }
            "b1" => elements(data, &shape, big_endian, |byte: [u8; 1]| byte[0] != 0)?.into(),
            _ => return Err(format!("elements of type {descr} are not supported")),
        };
    let array = Array { shape, data };
    Ok(if fortran == "True" { from_fortran(&array) } else { array })
}

fn split_header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (version, rest) = bytes.strip_prefix(MAGIC)?.split_at_checked(2)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        _ => {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// What stands after `'key':` in a flat Python dictionary, a tuple with its parentheses.
fn header_value<'h>(header: &'h str, key: &str) -> Option<&'h str> {
    let at = header.find(&format!("'{key}'"))? + key.len() + 2;
    let value = header[at..].trim_start().strip_prefix(':')?.trim_start();
    let end = match value.starts_with('(') {
        true => value.find(')')? + 1,
        false => value.find([',', '}'])?,
    };
    Some(value[..end].trim())
}

fn parse_shape(tuple: &str) -> Option<Vec<usize>> {
    let axes = tuple.strip_prefix('(')?.strip_suffix(')')?.split(',').map(str::trim);
    axes.filter(|axis| !axis.is_empty()).map(|axis| axis.parse().ok()).collect()
}

fn elements<T, const N: usize>(
    bytes: &[u8],
    shape: &[usize],
    big_endian: bool,
    from_le_bytes: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, String> {
    let expected = shape.iter().try_fold(N, |size, axis| size.checked_mul(*axis));
    if expected != Some(bytes.len()) {
        let shape = crate::array::shape_name(shape);
        return Err(format!("{} bytes of data do not make an array of {shape}", bytes.len()));
    }
    let words = bytes.as_chunks::<N>().0.iter();
    Ok(words
        .map(|word| {
            let mut word = *word;
            if big_endian {
                word.reverse();
            }
            from_le_bytes(word)
        })
        .collect())
}

/// The same array with the last axis fastest.
fn from_fortran(array: &Array) -> Array {
    let shape = array.shape.clone();
    let mut strides = vec![1; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1] * shape[axis - 1];
    }
    let source: Vec<usize> = (0..array.data.len())
        .map(|mut flat| {
            let mut at = 0;
            for (extent, stride) in shape.iter().zip(&strides).rev() {
                at += flat % extent * stride;
                flat /= extent;
            }
            at
        })
        .collect();
    fn take<T: Copy>(values: &[T], source: &[usize]) -> Vec<T> {
        source.iter().map(|at| values[*at]).collect()
    }
    let data = match &array.data {
        Data::F32(values) => take(values, &source).into(),
        Data::F64(values) => take(values, &source).into(),
        Data::I32(values) => take(values, &source).into(),
        Data::I64(values) => take(values, &source).into(),
        Data::U8(values) => take(values, &source).into(),
        Data::Bool(values) => take(values, &source).into(),
    };
    Array { shape, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("arrays.npz");
        let arrays = Arrays::from([
            ("grad/h.w_in".to_string(), Array::new([2, 3], vec![1.0f32, 2.0, -0.0, 4.0, 5.0, 6.5])),
            ("loss".to_string(), Array::new([], vec![0.25f64])),
            ("label".to_string(), Array::new([2], vec![-3i32, 7])),
            ("spike".to_string(), Array::new([3], vec![true, false, true])),
            ("nothing".to_string(), Array::new([0, 4], Vec::<f32>::new())),
        ]);
        write(&path, &arrays).unwrap();
        assert_eq!(read(&path).unwrap(), arrays);
    }

    #[test]
    fn orders_and_widths_of_numpy() {
        let array = parse_npy(&npy("|u1", "True", "(2, 3)", &[1, 4, 2, 5, 3, 6])).unwrap();
        assert_eq!(array, Array::new([2, 3], vec![1u8, 2, 3, 4, 5, 6]));
        let array = parse_npy(&npy(">f4", "False", "(1,)", &1.5f32.to_be_bytes())).unwrap();
        assert_eq!(array, Array::new([1], vec![1.5f32]));
        let array = parse_npy(&npy("<i2", "False", "()", &(-2i16).to_le_bytes())).unwrap();
        assert_eq!(array, Array::new([], vec![-2i32]));
        // 1.5, the least subnormal number, -infinity.
        let halves = [0x3e00u16, 0x0001, 0xfc00].map(u16::to_le_bytes).concat();
        let array = parse_npy(&npy("<f2", "False", "(3,)", &halves)).unwrap();
        assert_eq!(array, Array::new([3], vec![1.5f32, 2f32.powi(-24), f32::NEG_INFINITY]));
    }

    #[test]
    fn damaged_files_are_errors() {
        let whole = npy("<f4", "False", "(2,)", &[0; 8]);
        for length in 0..whole.len() {
            assert!(parse_npy(&whole[..length]).is_err(), "{length} bytes");
        }
        let huge = npy("<f8", "False", "(4294967296, 4294967296, 16)", &[]);
        assert_eq!(
            parse_npy(&huge).unwrap_err(),
            "0 bytes of data do not make an array of [4294967296, 4294967296, 16]"
        );
        let text = npy("<U4", "False", "(1,)", &[0; 16]);
        assert_eq!(parse_npy(&text).unwrap_err(), "elements of type <U4 are not supported");
        assert!(parse(b"PK nonsense").unwrap_err().starts_with("not an .npz archive"));
    }
}
