//! Datasets: fields of many samples, read from files and cut into batches for a graph's inputs.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use fgi_compiler::ir::graph::{Bindings, Dim, Elem, Input, Symbol};
use flate2::read::GzDecoder;

use crate::array::shape_name;
use crate::file::{failed, read as read_file};
use crate::{Array, Data, Error, init, npz};

/// Samples to train with and samples to test with, of the same fields.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// To train with.
    pub train: Samples,
    /// To test with, held out of training.
    pub test: Samples,
}

/// Fields by name; the first axis of each counts the samples.
#[derive(Clone, Debug)]
pub struct Samples {
    fields: BTreeMap<String, Array>,
    count: usize,
}

/// Where data comes from, as `--data` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// `digits`: the UCI 8×8 digits, which come with this crate. Fields `pixels` and `label`.
    Digits,
    /// `mnist:DIR`: a directory with MNIST's four files, gzip or not. Fields `pixels` and `label`.
    Mnist(PathBuf),
    /// `FILE.npz`: arrays of samples, `x_train` and `x_test` or undivided.
    Npz(PathBuf),
}

impl std::str::FromStr for DataSource {
    type Err = String;

    fn from_str(text: &str) -> Result<DataSource, String> {
        match text.split_once(':') {
            _ if text == "digits" => Ok(DataSource::Digits),
            Some(("mnist", directory)) => Ok(DataSource::Mnist(directory.into())),
            _ if text.ends_with(".npz") => Ok(DataSource::Npz(text.into())),
            _ => Err("expected `digits`, `mnist:DIR` or `FILE.npz`".into()),
        }
    }
}

impl Dataset {
    /// Reads and checks all samples.
    pub fn load(source: &DataSource) -> Result<Dataset, Error> {
        match source {
            DataSource::Digits => digits(),
            DataSource::Mnist(directory) => mnist(directory),
            DataSource::Npz(path) => from_npz(path),
        }
    }

    /// Keeps one in five samples for testing, always the same ones.
    fn hold_out(all: &Samples) -> Dataset {
        let order = init::permutation(all.count, &mut init::stream(0, "held-out samples"));
        let (test, train) = order.split_at(all.count / 5);
        Dataset { train: all.select(train), test: all.select(test) }
    }
}

impl Samples {
    /// Fields that agree on the number of samples, which is not 0.
    pub fn new(fields: BTreeMap<String, Array>) -> Result<Samples, String> {
        let mut count = None;
        for (name, array) in &fields {
            let Some(&samples) = array.shape.first() else {
                return Err(format!("`{name}` is a scalar; its first axis should count samples"));
            };
            match count {
                Some((first, expected)) if expected != samples => {
                    return Err(format!(
                        "`{first}` has {expected} samples, but `{name}` has {samples}"
                    ));
                }
                _ => count = Some((name, samples)),
            }
        }
        match count {
            Some((_, count)) if count > 0 => Ok(Samples { count, fields }),
            _ => Err("there are no samples".into()),
        }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none; never so for what [`Samples::new`] gives.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The fields by name, all samples of each in one array.
    pub fn fields(&self) -> &BTreeMap<String, Array> {
        &self.fields
    }

    fn select(&self, samples: &[usize]) -> Samples {
        let select = |array: &Array| Array {
            shape: [&[samples.len()], &array.shape[1..]].concat(),
            data: rearrange(array, samples, 1, None),
        };
        let fields = self.fields.iter().map(|(name, array)| (name.clone(), select(array)));
        Samples { fields: fields.collect(), count: samples.len() }
    }
}

/// Which field fills which input, and how.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The open dimension that counts the samples of a batch.
    pub batch: Symbol,
    /// Bindings that the data decides: the number of steps, where it is open.
    pub bindings: Bindings,
    sources: Vec<Source>,
}

#[derive(Clone, Debug)]
struct Source {
    input: String,
    field: String,
    elem: Elem,
    /// Time steps, for a stream.
    steps: Option<usize>,
    /// Dimensions after the batch.
    dims: Vec<usize>,
}

impl Feed {
    /// Binds every input to a field: as `binds` says (input, field), else by name, else by type and
    /// size where only one field fits. `time` is the length of streams.
    pub fn new(
        inputs: &[Input],
        time: Option<&Dim>,
        samples: &Samples,
        binds: &[(String, String)],
    ) -> Result<Feed, Error> {
        for (input, field) in binds {
            if !inputs.iter().any(|known| known.name == *input) {
                let names = inputs.iter().map(|input| input.name.as_str());
                return Err(Error::unknown("input", input, names));
            }
            if !samples.fields.contains_key(field) {
                let names = samples.fields.keys().map(String::as_str);
                return Err(Error::unknown("data field", field, names));
            }
        }
        let mut feed =
            Feed { batch: batch(inputs)?, bindings: Bindings::new(), sources: Vec::new() };
        for input in inputs {
            let field = feed.choose(input, time, samples, binds)?;
            let array = &samples.fields[&field];
            let steps = feed.steps(input, time, array).map_err(|expected| Error::Shape {
                name: input.name.clone(),
                expected,
                found: sample_name(&field, array),
            })?;
            if let (Some(steps), Some(open)) = (steps, open_time(time)) {
                feed.bindings.insert(open, steps as i64);
            }
            let dims = input.ty.dims[1..].iter().map(|dim| dim.eval(&feed.bindings));
            let dims = dims.collect::<Result<Vec<i64>, _>>()?;
            feed.sources.push(Source {
                input: input.name.clone(),
                field,
                elem: input.ty.elem,
                steps,
                dims: dims.into_iter().map(|dim| dim as usize).collect(),
            });
        }
        Ok(feed)
    }

    /// A batch: an array for each input, filled with these samples in their order. A sample's
    /// numbers fill the steps of a stream one after the other.
    pub fn batch(&self, samples: &Samples, chosen: &[usize]) -> Vec<(String, Array)> {
        let fill = |source: &Source| {
            let data = rearrange(
                &samples.fields[&source.field],
                chosen,
                source.steps.unwrap_or(1),
                Some(source.elem),
            );
            let steps: Vec<usize> = source.steps.into_iter().collect();
            let shape = [steps.as_slice(), &[chosen.len()], &source.dims].concat();
            (source.input.clone(), Array { shape, data })
        };
        self.sources.iter().map(fill).collect()
    }

    fn choose(
        &self,
        input: &Input,
        time: Option<&Dim>,
        samples: &Samples,
        binds: &[(String, String)],
    ) -> Result<String, Error> {
        let named = binds.iter().find(|(name, _)| *name == input.name).map(|(_, field)| field);
        if let Some(field) = named.or(samples.fields.get_key_value(&input.name).map(|(f, _)| f)) {
            return Ok(field.clone());
        }
        let fits = |array: &&Array| self.steps(input, time, array).is_ok();
        let fitting: Vec<&String> =
            samples.fields.iter().filter(|(_, array)| fits(array)).map(|(name, _)| name).collect();
        match fitting.as_slice() {
            [field] => Ok((*field).clone()),
            _ => {
                let all = samples.fields.iter().map(|(name, array)| sample_name(name, array));
                Err(Error::Data(format!(
                    "input `{0}` of type {1}: {2} of the data's fields fits; choose one with --bind {0}=FIELD (there are {3})",
                    input.name,
                    input.ty,
                    if fitting.is_empty() { "none" } else { "more than one" },
                    all.collect::<Vec<_>>().join("; "),
                )))
            }
        }
    }

    /// The number of steps that a sample of the field makes for an input; `None` for a static one.
    /// The error says what would fit.
    fn steps(
        &self,
        input: &Input,
        time: Option<&Dim>,
        array: &Array,
    ) -> Result<Option<usize>, String> {
        let takes = matches!(
            (input.ty.elem, &array.data),
            (Elem::F32, Data::F32(_) | Data::U8(_))
                | (Elem::I32, Data::I32(_) | Data::U8(_))
                | (Elem::Bool, Data::Bool(_))
        );
        if !takes {
            return Err(format!("elements of type {}", input.ty.elem.name()));
        }
        let found: usize = array.shape[1..].iter().product();
        let known = |dim: Dim| dim.eval(&self.bindings).ok().map(|size| size as usize);
        let step = known(Dim::product(&input.ty.dims[1..])).ok_or("dimensions that are known")?;
        let numbers = |n: usize| format!("{n} numbers a sample for {}", input.ty);
        if !input.ty.is_stream() {
            return if found == step { Ok(None) } else { Err(numbers(step)) };
        }
        match time.cloned().and_then(known) {
            Some(steps) if steps.checked_mul(step) == Some(found) => Ok(Some(steps)),
            Some(steps) => Err(numbers(steps.saturating_mul(step))),
            None if found > 0 && found.is_multiple_of(step) => Ok(Some(found / step)),
            None => Err(format!("a multiple of {}", numbers(step))),
        }
    }
}

/// The length of streams, if it is an open dimension.
fn open_time(time: Option<&Dim>) -> Option<Symbol> {
    let time = time?;
    let symbol = time.symbols().next()?;
    (*time == Dim::symbol(symbol)).then(|| symbol.clone())
}

/// The open dimension that every input has first.
fn batch(inputs: &[Input]) -> Result<Symbol, Error> {
    let mut batch: Option<(&Input, Symbol)> = None;
    for input in inputs {
        let first = input.ty.dims.first();
        let open = first.and_then(|dim| dim.symbols().next().filter(|s| *dim == Dim::symbol(s)));
        match (open, &batch) {
            (Some(open), None) => batch = Some((input, open.clone())),
            (Some(open), Some((_, known))) if open == known => {}
            (Some(_), Some((other, _))) => {
                return Err(Error::Data(format!(
                    "inputs `{}` of type {} and `{}` of type {} have different batch dimensions",
                    other.name, other.ty, input.name, input.ty
                )));
            }
            (None, _) => {
                return Err(Error::Data(format!(
                    "input `{}` of type {}: its first dimension must be left open to count the samples of a batch",
                    input.name, input.ty
                )));
            }
        }
    }
    batch.map(|(_, symbol)| symbol).ok_or_else(|| Error::Data("the graph has no inputs".into()))
}

/// Samples in a new order, cut into `steps` pieces each: piece by piece, sample by sample. Numbers
/// become elements of an input, u8 pixels f32 in [0, 1]; without `elem` they stay what they are.
fn rearrange(array: &Array, samples: &[usize], steps: usize, elem: Option<Elem>) -> Data {
    let size: usize = array.shape[1..].iter().product();
    let piece = size / steps;
    fn fill<T: Copy, U>(
        values: &[T],
        (samples, size, piece): (&[usize], usize, usize),
        convert: impl Fn(T) -> U,
    ) -> Vec<U> {
        let mut out = Vec::with_capacity(samples.len() * size);
        for start in (0..size).step_by(piece.max(1)) {
            for sample in samples {
                let at = sample * size + start;
                out.extend(values[at..at + piece].iter().map(|value| convert(*value)));
            }
        }
        out
    }
    let cut = (samples, size, piece);
    match (&array.data, elem) {
        (Data::U8(values), Some(Elem::F32)) => fill(values, cut, |v| f32::from(v) / 255.0).into(),
        (Data::U8(values), Some(Elem::I32)) => fill(values, cut, i32::from).into(),
        (Data::U8(values), _) => fill(values, cut, |v| v).into(),
        (Data::F32(values), _) => fill(values, cut, |v| v).into(),
        (Data::F64(values), _) => fill(values, cut, |v| v).into(),
        (Data::I32(values), _) => fill(values, cut, |v| v).into(),
        (Data::I64(values), _) => fill(values, cut, |v| v).into(),
        (Data::Bool(values), _) => fill(values, cut, |v| v).into(),
    }
}

/// `field `pixels`: f32[8, 8] a sample`
fn sample_name(field: &str, array: &Array) -> String {
    format!("field `{field}`: {}{} a sample", array.data.type_name(), shape_name(&array.shape[1..]))
}

const DIGITS: &[u8] = include_bytes!("../data/digits/digits.csv.gz");

fn digits() -> Result<Dataset, Error> {
    let text = unzip(DIGITS).and_then(|bytes| String::from_utf8(bytes).map_err(|e| e.to_string()));
    let text = text.map_err(Error::Data)?;
    let numbers: Vec<u8> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    let rows = numbers.as_chunks::<65>().0;
    let pixels = rows.iter().flat_map(|row| row[..64].iter().map(|pixel| f32::from(*pixel) / 16.0));
    let labels = rows.iter().map(|row| i32::from(row[64]));
    let fields = BTreeMap::from([
        ("pixels".into(), Array::new([rows.len(), 8, 8], pixels.collect::<Vec<_>>())),
        ("label".into(), Array::new([rows.len()], labels.collect::<Vec<_>>())),
    ]);
    Ok(Dataset::hold_out(&Samples::new(fields).map_err(Error::Data)?))
}

fn mnist(directory: &Path) -> Result<Dataset, Error> {
    let samples = |part: &str| {
        let pixels = idx(directory, &format!("{part}-images"), 3)?;
        let label = idx(directory, &format!("{part}-labels"), 1)?;
        let fields = BTreeMap::from([("pixels".into(), pixels), ("label".into(), label)]);
        Samples::new(fields).map_err(|message| failed(directory, format!("{part}: {message}")))
    };
    Ok(Dataset { train: samples("train")?, test: samples("t10k")? })
}

/// Reads an IDX file of bytes with `rank` axes, whatever of its usual names it has.
fn idx(directory: &Path, name: &str, rank: usize) -> Result<Array, Error> {
    let names = [
        format!("{name}-idx{rank}-ubyte"),
        format!("{name}-idx{rank}-ubyte.gz"),
        format!("{name}.idx{rank}-ubyte"),
        format!("{name}.idx{rank}-ubyte.gz"),
    ];
    let path = names.iter().map(|name| directory.join(name)).find(|path| path.exists());
    let path = path
        .ok_or_else(|| failed(directory, format!("there is no file {} (or with .gz)", names[0])))?;
    let bytes = read_file(&path)?;
    parse_idx(&bytes, rank).map_err(|message| failed(&path, message))
}

fn parse_idx(bytes: &[u8], rank: usize) -> Result<Array, String> {
    let unzipped;
    let bytes = match bytes.starts_with(&[0x1f, 0x8b]) {
        true => {
            unzipped = unzip(bytes)?;
            &unzipped
        }
        false => bytes,
    };
    let expected = [0, 0, 8, rank as u8];
    let magic = bytes.first_chunk::<4>().ok_or("truncated: no IDX header")?;
    if *magic != expected {
        return Err(format!(
            "expected an IDX file of bytes with {rank} axes (magic number {:#010x}), found {:#010x}",
            u32::from_be_bytes(expected),
            u32::from_be_bytes(*magic)
        ));
    }
    let (header, data) =
        bytes[4..].split_at_checked(4 * rank).ok_or("truncated: no complete IDX header")?;
    let axes = header.as_chunks::<4>().0.iter();
    let shape: Vec<usize> = axes.map(|axis| u32::from_be_bytes(*axis) as usize).collect();
    let size = shape.iter().try_fold(1usize, |size, axis| size.checked_mul(*axis));
    if size != Some(data.len()) {
        return Err(format!(
            "the header says {}, but {} bytes follow{}",
            shape_name(&shape),
            data.len(),
            if size.is_none_or(|size| size > data.len()) { ": truncated?" } else { "" }
        ));
    }
    Ok(Array::new(shape, data.to_vec()))
}

fn unzip(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut unzipped = Vec::new();
    let read = GzDecoder::new(bytes).read_to_end(&mut unzipped);
    read.map_err(|error| format!("not a complete gzip file: {error}"))?;
    Ok(unzipped)
}

/// `x_train` and `x_test` become the field `x` of the two parts; otherwise every array is a field, and
/// one sample in five is held out.
fn from_npz(path: &Path) -> Result<Dataset, Error> {
    let mut parts = [BTreeMap::new(), BTreeMap::new(), BTreeMap::new()];
    for (name, array) in npz::read(path)? {
        let array = match &array.data {
            Data::F64(_) => array.convert(&name, Elem::F32)?,
            Data::I64(_) => array.convert(&name, Elem::I32)?,
            _ => array,
        };
        let (part, field) = match (name.strip_suffix("_train"), name.strip_suffix("_test")) {
            (Some(field), _) => (0, field),
            (_, Some(field)) => (1, field),
            _ => (2, name.as_str()),
        };
        parts[part].insert(field.to_string(), array);
    }
    let [train, test, all] = parts;
    let samples = |fields| Samples::new(fields).map_err(|message| failed(path, message));
    if train.is_empty() && test.is_empty() {
        return Ok(Dataset::hold_out(&samples(all)?));
    }
    if let Some(name) = all.keys().next() {
        let message = format!("`{name}` ends neither in _train nor in _test, as others do");
        return Err(failed(path, message));
    }
    for (name, array) in &train {
        let other = test.get(name).map(|other| &other.shape[1.min(other.shape.len())..]);
        if other != array.shape.get(1..) {
            let message = format!("`{name}_train` has no `{name}_test` of the same sample shape");
            return Err(failed(path, message));
        }
    }
    Ok(Dataset { train: samples(train)?, test: samples(test)? })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use fgi_compiler::ir::graph::{Clock, Type};

    use super::*;

    fn input(name: &str, elem: Elem, dims: &[Dim], clock: Clock) -> Input {
        Input { name: name.into(), ty: Type::new(elem, dims.to_vec(), clock), docs: String::new() }
    }

    fn smnist(k: i64) -> [Input; 2] {
        let b = Dim::symbol("B");
        [
            input("x", Elem::F32, &[b.clone(), Dim::constant(k)], Clock::Stream),
            input("y", Elem::I32, &[b], Clock::Static),
        ]
    }

    fn idx_file(shape: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, shape.len() as u8];
        bytes.extend(shape.iter().flat_map(|axis| axis.to_be_bytes()));
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_digits_are_all_there() {
        let data = Dataset::load(&DataSource::Digits).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (1438, 359));
        let Data::F32(pixels) = &data.train.fields["pixels"].data else { panic!("not f32") };
        assert!(pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
        let Data::I32(labels) = &data.test.fields["label"].data else { panic!("not i32") };
        for class in 0..10 {
            assert!(labels.iter().filter(|label| **label == class).count() > 20);
        }
    }

    #[test]
    fn a_sample_fills_the_steps_in_order() {
        let fields = BTreeMap::from([
            ("pixels".into(), Array::new([3, 4], (0..12).map(|v| v as f32).collect::<Vec<_>>())),
            ("label".into(), Array::new([3], vec![7u8, 8, 9])),
        ]);
        let samples = Samples::new(fields).unwrap();
        let feed = Feed::new(&smnist(2), Some(&Dim::symbol("T")), &samples, &[]).unwrap();
        assert_eq!(feed.bindings, Bindings::from([("T".into(), 2)]));
        let batch = feed.batch(&samples, &[2, 0]);
        let x = vec![8.0f32, 9.0, 0.0, 1.0, 10.0, 11.0, 2.0, 3.0];
        assert_eq!(batch[0], ("x".into(), Array::new([2, 2, 2], x)));
        assert_eq!(batch[1], ("y".into(), Array::new([2], vec![9, 7])));
    }

    #[test]
    fn bytes_become_pixels_between_0_and_1() {
        let fields = BTreeMap::from([
            ("x".into(), Array::new([2, 2], vec![0u8, 255, 51, 102])),
            ("y".into(), Array::new([2], vec![0u8, 1])),
        ]);
        let samples = Samples::new(fields).unwrap();
        let feed = Feed::new(&smnist(1), Some(&Dim::constant(2)), &samples, &[]).unwrap();
        let expected = Array::new([2, 2, 1], vec![0.0f32, 0.2, 1.0, 0.4]);
        assert_eq!(feed.batch(&samples, &[0, 1])[0].1, expected);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let data = Dataset::load(&DataSource::Digits).unwrap().train;
        let bind = |k, time: Dim, binds: &[(&str, &str)]| {
            let binds: Vec<_> = binds.iter().map(|(i, f)| (i.to_string(), f.to_string())).collect();
            Feed::new(&smnist(k), Some(&time), &data, &binds).unwrap_err().to_string()
        };
        assert_eq!(
            bind(28, Dim::constant(28), &[("x", "pixels")]),
            "`x`: expected 784 numbers a sample for [T; B, 28], found field `pixels`: f32[8, 8] a sample"
        );
        assert_eq!(
            bind(28, Dim::constant(28), &[]),
            "input `x` of type [T; B, 28]: none of the data's fields fits; choose one with --bind x=FIELD \
             (there are field `label`: i32[] a sample; field `pixels`: f32[8, 8] a sample)"
        );
        assert_eq!(
            bind(8, Dim::constant(8), &[("x", "pixel")]),
            "the program has no data field named `pixel`; did you mean `pixels`?"
        );
    }

    #[test]
    fn idx_files_are_checked() {
        let whole = idx_file(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let array = Array::new([2, 1, 3], vec![1u8, 2, 3, 4, 5, 6]);
        assert_eq!(parse_idx(&whole, 3).unwrap(), array);
        assert_eq!(parse_idx(&gzip(&whole), 3).unwrap(), array);
        for length in 0..whole.len() {
            assert!(parse_idx(&whole[..length], 3).is_err(), "{length} bytes");
        }
        let zipped = gzip(&whole);
        for length in 2..zipped.len() {
            assert!(parse_idx(&zipped[..length], 3).is_err(), "{length} zipped bytes");
        }
        assert_eq!(
            parse_idx(&idx_file(&[2], &[0, 0]), 3).unwrap_err(),
            "expected an IDX file of bytes with 3 axes (magic number 0x00000803), found 0x00000801"
        );
        let huge = idx_file(&[u32::MAX, u32::MAX, u32::MAX], &[0]);
        assert!(parse_idx(&huge, 3).unwrap_err().contains("1 bytes follow: truncated?"));
        assert!(parse_idx(&idx_file(&[1], &[0, 0]), 1).is_err());
    }

    #[test]
    fn npz_data_is_divided_or_held_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.npz");
        let labels = |n: usize| Array::new([n], (0..n as i64).collect::<Vec<_>>());
        let load = |arrays: &[(&str, Array)]| {
            let arrays = arrays.iter().map(|(name, array)| (name.to_string(), array.clone()));
            npz::write(&path, &arrays.collect()).unwrap();
            Dataset::load(&DataSource::Npz(path.clone()))
        };
        let data = load(&[("y", labels(10))]).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (8, 2));
        let data = load(&[("y_train", labels(7)), ("y_test", labels(3))]).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (7, 3));
        let message = |arrays: &[_]| load(arrays).unwrap_err().to_string();
        assert!(
            message(&[("x", labels(3)), ("y", labels(4))])
                .ends_with("`x` has 3 samples, but `y` has 4")
        );
        assert!(
            message(&[("x_train", labels(3)), ("y", labels(4))])
                .ends_with("`y` ends neither in _train nor in _test, as others do")
        );
        assert!(
            message(&[("x_train", labels(3))])
                .ends_with("`x_train` has no `x_test` of the same sample shape")
        );
    }
}
