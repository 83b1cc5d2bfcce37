//! Datasets: fields of many samples, read from files and cut into batches for a graph's inputs.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use fgi_compiler::ir::graph::{Bindings, Dim, Elem, Input, Symbol};
use flate2::read::GzDecoder;

use crate::array::{Misfit, index_name, shape_name};
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
    readings: BTreeMap<String, Reading>,
    count: usize,
    /// What the names of fields end in where they come from: `_train`, `_test` or nothing.
    suffix: &'static str,
    /// The number of each sample where it comes from; empty if they are in that order.
    numbers: Vec<usize>,
}

/// How the numbers of a field are read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// What they are multiplied by; then they are f32.
    pub scale: Option<Scale>,
    /// Whether a sample is its numbers in their order, as the pixels of an image are, so that it may be
    /// cut anywhere. Otherwise its axes have a meaning: the first one may be time.
    pub reshape: bool,
}

/// A factor, as a fraction: 1/255.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    numerator: f64,
    denominator: f64,
}

impl Scale {
    /// One in so many.
    const fn one_in(denominator: f64) -> Scale {
        Scale { numerator: 1.0, denominator }
    }

    /// The product, rounded once more.
    fn of(self, number: f64) -> f32 {
        (number * self.numerator / self.denominator) as f32
    }
}

impl std::str::FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Scale, String> {
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number != 0.0 => Ok(number),
            _ => Err(format!("`{text}` is no factor: expected a number but 0, as 0.5 or 1/255")),
        };
        let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
        Ok(Scale { numerator: number(numerator)?, denominator: number(denominator)? })
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.numerator, self.denominator) {
            (1.0, denominator) => write!(f, "/ {denominator}"),
            (numerator, 1.0) => write!(f, "* {numerator}"),
            (numerator, denominator) => write!(f, "* {numerator} / {denominator}"),
        }
    }
}

/// Where data comes from, as `--data` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// `digits`: the UCI 8×8 digits, which come with this crate. Fields `pixels`, scaled to [0, 1], and
    /// `label`.
    Digits,
    /// `mnist:DIR`: a directory with MNIST's four files, gzip or not. Fields `pixels`, scaled to [0, 1],
    /// and `label`.
    Mnist(PathBuf),
    /// `FILE.npz`: arrays of samples, `x_train` and `x_test` or undivided. Numbers are what they are.
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

    /// Multiplies the numbers of a field by a factor, in place of that of its source.
    pub fn scale(&mut self, field: &str, scale: Scale) -> Result<(), Error> {
        if !self.train.fields.contains_key(field) {
            let names = self.train.fields.keys().map(String::as_str);
            return Err(Error::unknown("data field", field, names));
        }
        for part in [&mut self.train, &mut self.test] {
            part.readings.entry(field.into()).or_default().scale = Some(scale);
        }
        Ok(())
    }

    /// Takes every sample as its numbers in their order, whatever its axes.
    pub fn reshape(&mut self) {
        for part in [&mut self.train, &mut self.test] {
            for field in part.fields.keys() {
                part.readings.entry(field.clone()).or_default().reshape = true;
            }
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
            Some((_, count)) if count > 0 => {
                let (readings, numbers) = (BTreeMap::new(), Vec::new());
                Ok(Samples { fields, readings, count, suffix: "", numbers })
            }
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

    /// With brightness between 0 and 1 in the field `pixels`.
    fn of_images(mut self, greatest: f64) -> Samples {
        let reading = Reading { scale: Some(Scale::one_in(greatest)), reshape: true };
        self.readings.insert("pixels".into(), reading);
        self
    }

    /// How a field is read.
    pub fn reading(&self, field: &str) -> Reading {
        self.readings.get(field).copied().unwrap_or_default()
    }

    /// `sample 7 of `x_train`` and ` at [3, 0]`, for the number that is `at` among those of the sample.
    fn place(&self, field: &str, sample: usize, at: usize) -> (String, String) {
        let number = self.numbers.get(sample).unwrap_or(&sample);
        let index = index_name(at, &self.fields[field].shape[1..]);
        let index = index.map(|index| format!(" at {index}")).unwrap_or_default();
        (format!("sample {number} of `{field}{}`", self.suffix), index)
    }

    /// The fields by name, all samples of each in one array.
    pub fn fields(&self) -> &BTreeMap<String, Array> {
        &self.fields
    }

    fn select(&self, samples: &[usize]) -> Samples {
        let select = |array: &Array| Array {
            shape: [&[samples.len()], &array.shape[1..]].concat(),
            data: rearrange(array, samples, 1),
        };
        let fields = self.fields.iter().map(|(name, array)| (name.clone(), select(array)));
        Samples {
            fields: fields.collect(),
            readings: self.readings.clone(),
            count: samples.len(),
            suffix: self.suffix,
            numbers: samples.to_vec(),
        }
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
    scale: Option<Scale>,
    /// Time steps, for a stream.
    steps: Option<usize>,
    /// Dimensions after the batch.
    dims: Vec<usize>,
}

impl Source {
    fn batch(&self, samples: &Samples, chosen: &[usize]) -> Result<(String, Array), Error> {
        let data = rearrange(&samples.fields[&self.field], chosen, self.steps.unwrap_or(1));
        let data = match self.scale {
            Some(scale) => {
                Ok(data.to_f64().into_iter().map(|v| scale.of(v)).collect::<Vec<_>>().into())
            }
            None => data.convert(self.elem),
        };
        let data = data.map_err(|misfit| {
            let expected = misfit.expected(&self.field, self.elem);
            let (name, found) = (self.field.clone(), samples.fields[&self.field].type_name());
            match misfit {
                Misfit::Kind => Error::Shape { name, expected, found },
                Misfit::Number { at, value } => {
                    let (sample, index) = self.place(samples, chosen, at);
                    Error::Data(format!("{sample} is {value}{index}; expected {expected}"))
                }
            }
        })?;
        let steps: Vec<usize> = self.steps.into_iter().collect();
        let shape = [steps.as_slice(), &[chosen.len()], &self.dims].concat();
        Ok((self.input.clone(), Array { shape, data }))
    }

    /// Whose number is at this place of a batch, and where.
    fn place(&self, samples: &Samples, chosen: &[usize], at: usize) -> (String, String) {
        let piece = self.dims.iter().product::<usize>();
        let (step, rest) = (at / (piece * chosen.len()), at % (piece * chosen.len()));
        samples.place(&self.field, chosen[rest / piece], step * piece + rest % piece)
    }

    fn check(
        &self,
        samples: &Samples,
        chosen: &[usize],
        batch: &Data,
        range: Option<&Range<i64>>,
    ) -> Result<(), Error> {
        let place = |at| self.place(samples, chosen, at);
        match (batch, range) {
            (Data::F32(values), _) => {
                let Some(at) = values.iter().position(|value| !value.is_finite()) else {
                    return Ok(());
                };
                let (sample, index) = place(at);
                Err(Error::Data(format!("{sample} is {}{index}; expected a number", values[at])))
            }
            (Data::I32(values), Some(range)) => {
                let is_outside = |value: &i32| !range.contains(&i64::from(*value));
                let Some(at) = values.iter().position(is_outside) else { return Ok(()) };
                let (sample, index) = place(at);
                Err(Error::Data(format!(
                    "{sample} is {}{index}; expected {} … {}, for which `{}` of the program has places",
                    values[at],
                    range.start,
                    range.end - 1,
                    self.input,
                )))
            }
            _ => Ok(()),
        }
    }
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
            let reading = samples.reading(&field);
            let steps =
                feed.steps(input, time, array, reading).map_err(|expected| Error::Shape {
                    name: input.name.clone(),
                    expected,
                    found: sample_name(&field, array),
                })?;
            if let (Some(steps), Some(open)) = (steps, open_time(time)) {
                feed.bindings.insert(open, steps as i64);
            }
            let dims = input.ty.dims[1..].iter().map(|dim| dim.eval(&feed.bindings));
            let dims = dims.collect::<Result<Vec<i64>, _>>()?;
            let dims: Vec<usize> = dims.into_iter().map(|dim| dim as usize).collect();
            if !reading.reshape {
                layout(&field, &array.shape[1..], steps, &dims)?;
            }
            feed.sources.push(Source {
                input: input.name.clone(),
                field,
                elem: input.ty.elem,
                scale: reading.scale,
                steps,
                dims,
            });
        }
        Ok(feed)
    }

    /// A batch: an array for each input, filled with these samples in their order. A sample's
    /// numbers fill the steps of a stream one after the other. A number that is no element of the input
    /// is an error.
    pub fn batch(
        &self,
        samples: &Samples,
        chosen: &[usize],
    ) -> Result<Vec<(String, Array)>, Error> {
        self.sources.iter().map(|source| source.batch(samples, chosen)).collect()
    }

    /// Looks at all samples: what is no element of its input, NaN or infinite, or outside of the range
    /// that an input indexes, is an error that names its place.
    pub fn check(
        &self,
        samples: &Samples,
        ranges: &BTreeMap<String, Range<i64>>,
    ) -> Result<(), Error> {
        const AT_ONCE: usize = 256;
        for first in (0..samples.len()).step_by(AT_ONCE) {
            let chosen: Vec<usize> = (first..samples.len().min(first + AT_ONCE)).collect();
            for source in &self.sources {
                let (_, array) = source.batch(samples, &chosen)?;
                source.check(samples, &chosen, &array.data, ranges.get(&source.input))?;
            }
        }
        Ok(())
    }

    /// How numbers of these samples become elements of the inputs, where they are not already:
    /// `pixels: u8 / 255`.
    pub fn conversions(&self, samples: &Samples) -> Vec<String> {
        let mut said = Vec::new();
        for Source { field, elem, scale, .. } in &self.sources {
            let array = &samples.fields[field];
            let how = match scale {
                Some(scale) => Some(format!("{} {scale}", array.data.type_name())),
                None => array.conversion(*elem),
            };
            let Some(how) = how else { continue };
            let text = format!("{field}: {how}");
            if !said.contains(&text) {
                said.push(text);
            }
        }
        said
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
        let elem = input.ty.elem;
        let fits = |(name, array): &(&String, &Array)| {
            self.steps(input, time, array, samples.reading(name)).is_ok()
        };
        let fitting: Vec<_> = samples.fields.iter().filter(fits).collect();
        // One of the input's own type before those that would become that.
        let is_alike =
            |(name, array): &&(&String, &Array)| is_alike(elem, &array.data, samples.reading(name));
        let alike: Vec<_> = fitting.iter().filter(is_alike).copied().collect();
        match if alike.is_empty() { &fitting } else { &alike }.as_slice() {
            [(field, _)] => Ok((*field).clone()),
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
        reading: Reading,
    ) -> Result<Option<usize>, String> {
        let is_float = matches!(array.data, Data::F32(_) | Data::F64(_));
        if input.ty.elem != Elem::F32 && (is_float || reading.scale.is_some()) {
            return Err(Misfit::Kind.expected(&input.name, input.ty.elem));
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

/// Whether numbers are of an element's kind: floats, integers, booleans.
fn is_alike(elem: Elem, data: &Data, reading: Reading) -> bool {
    match elem {
        Elem::F32 => reading.scale.is_some() || matches!(data, Data::F32(_) | Data::F64(_)),
        Elem::I32 => matches!(data, Data::I32(_) | Data::I64(_) | Data::U8(_)),
        Elem::Bool => matches!(data, Data::Bool(_)),
    }
}

/// Refuses a sample whose numbers would land on axes other than its own: one that only fits transposed,
/// or cut across its axes. A sample may have its last axes merged or divided, and one with a single axis
/// fills any shape.
fn layout(
    field: &str,
    sample: &[usize],
    steps: Option<usize>,
    dims: &[usize],
) -> Result<(), Error> {
    if keeps_axes(sample, steps, dims) {
        return Ok(());
    }
    let permuted = |order: &[usize]| order.iter().map(|axis| sample[*axis]).collect::<Vec<_>>();
    let order = orders(sample.len()).into_iter();
    let transposed = order.filter(|order| keeps_axes(&permuted(order), steps, dims)).min();
    let wanted: Vec<usize> = steps.iter().chain(dims).copied().collect();
    Err(Error::Layout {
        field: field.into(),
        found: shape_name(sample),
        wanted: match steps {
            Some(steps) => format!("{} ({steps} steps)", shape_name(&wanted)),
            None => shape_name(&wanted),
        },
        transposed: transposed.map(|order| {
            let axes = order.iter().map(|axis| format!(", {}", axis + 1)).collect::<String>();
            format!("{field}.transpose(0{axes})")
        }),
    })
}

/// Whether the numbers of a sample stay on its axes: each step is a slice of the first ones, and the rest is
/// only merged or only divided.
fn keeps_axes(sample: &[usize], steps: Option<usize>, dims: &[usize]) -> bool {
    // The distances from one number to the next along each axis, without those of the whole and of 1.
    let strides = |shape: &[usize]| {
        let all: usize = shape.iter().product();
        let strides = (1..shape.len()).map(|axis| shape[axis..].iter().product::<usize>());
        strides.filter(|stride| *stride != 1 && *stride != all).collect::<Vec<_>>()
    };
    let own = strides(sample);
    let step: usize = dims.iter().product();
    let keeps_steps = steps.is_none_or(|steps| steps == 1 || own.contains(&step));
    let inner: Vec<usize> =
        own.iter().copied().filter(|stride| steps.is_none() || *stride < step).collect();
    let wanted = strides(dims);
    let within = |a: &[usize], b: &[usize]| a.iter().all(|stride| b.contains(stride));
    own.is_empty() || keeps_steps && (within(&inner, &wanted) || within(&wanted, &inner))
}

/// All orders of so many axes; none where they are too many for somebody to have mixed them up.
fn orders(rank: usize) -> Vec<Vec<usize>> {
    if rank > 5 {
        return Vec::new();
    }
    let with = |orders: Vec<Vec<usize>>, axis: usize| {
        let insert = |order: &Vec<usize>, at: usize| {
            let mut order = order.clone();
            order.insert(at, axis);
            order
        };
        orders.iter().flat_map(|order| (0..=axis).map(move |at| insert(order, at))).collect()
    };
    (0..rank).fold(vec![Vec::new()], with)
}

/// Samples in a new order, cut into `steps` pieces each: piece by piece, sample by sample.
fn rearrange(array: &Array, samples: &[usize], steps: usize) -> Data {
    let size: usize = array.shape[1..].iter().product();
    let piece = size / steps;
    fn fill<T: Copy>(values: &[T], (samples, size, piece): (&[usize], usize, usize)) -> Vec<T> {
        let mut out = Vec::with_capacity(samples.len() * size);
        for start in (0..size).step_by(piece.max(1)) {
            for sample in samples {
                let at = sample * size + start;
                out.extend_from_slice(&values[at..at + piece]);
            }
        }
        out
    }
    let cut = (samples, size, piece);
    match &array.data {
        Data::U8(values) => fill(values, cut).into(),
        Data::F32(values) => fill(values, cut).into(),
        Data::F64(values) => fill(values, cut).into(),
        Data::I32(values) => fill(values, cut).into(),
        Data::I64(values) => fill(values, cut).into(),
        Data::Bool(values) => fill(values, cut).into(),
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
    let pixels = rows.iter().flat_map(|row| &row[..64]).copied();
    let labels = rows.iter().map(|row| i32::from(row[64]));
    let fields = BTreeMap::from([
        ("pixels".into(), Array::new([rows.len(), 8, 8], pixels.collect::<Vec<_>>())),
        ("label".into(), Array::new([rows.len()], labels.collect::<Vec<_>>())),
    ]);
    Ok(Dataset::hold_out(&Samples::new(fields).map_err(Error::Data)?.of_images(16.0)))
}

fn mnist(directory: &Path) -> Result<Dataset, Error> {
    let samples = |part: &str| {
        let pixels = idx(directory, &format!("{part}-images"), 3)?;
        let label = idx(directory, &format!("{part}-labels"), 1)?;
        let fields = BTreeMap::from([("pixels".into(), pixels), ("label".into(), label)]);
        let samples = Samples::new(fields);
        let samples = samples.map_err(|message| failed(directory, format!("{part}: {message}")))?;
        Ok::<_, Error>(samples.of_images(255.0))
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

/// An array of bytes with so many axes, given as an IDX file, zipped or not.
pub fn parse_idx(bytes: &[u8], rank: usize) -> Result<Array, String> {
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
    let named = |fields, suffix| Ok::<_, Error>(Samples { suffix, ..samples(fields)? });
    Ok(Dataset { train: named(train, "_train")?, test: named(test, "_test")? })
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
        let Data::U8(pixels) = &data.train.fields["pixels"].data else { panic!("not u8") };
        assert_eq!(pixels.iter().max(), Some(&16));
        assert_eq!(data.train.reading("pixels").scale, Some(Scale::one_in(16.0)));
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
        let batch = feed.batch(&samples, &[2, 0]).unwrap();
        let x = vec![8.0f32, 9.0, 0.0, 1.0, 10.0, 11.0, 2.0, 3.0];
        assert_eq!(batch[0], ("x".into(), Array::new([2, 2, 2], x)));
        assert_eq!(batch[1], ("y".into(), Array::new([2], vec![9, 7])));
    }

    /// Two samples of a stream of one number a step, and their labels.
    fn two_samples(x: impl Into<Data>) -> Dataset {
        let fields = BTreeMap::from([
            ("x".into(), Array::new([2, 2], x)),
            ("y".into(), Array::new([2], vec![0i64, 1])),
        ]);
        let samples = Samples::new(fields).unwrap();
        Dataset { train: samples.clone(), test: samples }
    }

    #[test]
    fn numbers_are_what_they_are_unless_they_are_scaled() {
        let read = |data: &Dataset| {
            let feed = Feed::new(&smnist(1), Some(&Dim::constant(2)), &data.train, &[]).unwrap();
            let Data::F32(x) = feed.batch(&data.train, &[0, 1]).unwrap().remove(0).1.data else {
                panic!("not f32")
            };
            (x, feed.conversions(&data.train).join("; "))
        };
        let bytes = vec![0u8, 255, 51, 102];
        let mut data = two_samples(bytes);
        let labels = "y: i64 as i32";
        assert_eq!(read(&data), (vec![0.0, 51.0, 255.0, 102.0], format!("x: u8 as f32; {labels}")));
        data.scale("x", "1/255".parse().unwrap()).unwrap();
        assert_eq!(read(&data), (vec![0.0, 0.2, 1.0, 0.4], format!("x: u8 / 255; {labels}")));
        data.scale("x", "0.5".parse().unwrap()).unwrap();
        assert_eq!(read(&data), (vec![0.0, 25.5, 127.5, 51.0], format!("x: u8 * 0.5; {labels}")));
        let events = two_samples(vec![true, false, true, true]);
        assert_eq!(read(&events), (vec![1.0, 1.0, 0.0, 1.0], format!("x: bool as f32; {labels}")));
        assert_eq!(
            read(&two_samples(vec![1.0f64, 2.0, 3.0, 4.0])).1,
            "x: f64 as f32; ".to_owned() + labels
        );
        assert_eq!(read(&two_samples(vec![1.0f32, 2.0, 3.0, 4.0])).1, labels);
        let message = data.scale("z", Scale::one_in(2.0)).unwrap_err().to_string();
        assert_eq!(message, "the program has no data field named `z`");
        for wrong in ["", "1/0", "0", "nan", "1/inf", "a"] {
            assert!(wrong.parse::<Scale>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn pixels_divided_by_255_have_the_bits_of_f32() {
        let scale = Scale::one_in(255.0);
        assert!(
            (0..=255u8).all(|v| scale.of(v.into()).to_bits() == (f32::from(v) / 255.0).to_bits())
        );
    }

    #[test]
    fn bad_numbers_are_named() {
        let check = |data: &Dataset| {
            let samples = data.train.select(&[1, 0]);
            let feed = Feed::new(&smnist(1), Some(&Dim::constant(2)), &samples, &[]).unwrap();
            let ranges = [("y".to_string(), 0..2)].into();
            feed.check(&samples, &ranges).map_err(|error| error.to_string())
        };
        let mut data = two_samples(vec![0.0f32, 1.0, 2.0, 3.0]);
        assert_eq!(check(&data), Ok(()));
        for (value, said) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
            let data = two_samples(vec![0.0, 1.0, 2.0, value]);
            let expected = format!("sample 1 of `x` is {said} at [1]; expected a number");
            assert_eq!(check(&data), Err(expected));
        }
        let large = check(&two_samples(vec![0.0, 1e300, 2.0, 3.0])).unwrap_err();
        assert!(large.starts_with("sample 0 of `x` is 1"), "{large}");
        assert!(large.ends_with("at [1]; expected numbers that f32 has"), "{large}");
        for (label, said) in [
            (2, "expected 0 … 1, for which `y` of the program has places"),
            (-1, "expected 0 … 1, for which `y` of the program has places"),
            (1 << 40, "expected numbers that fit in i32"),
        ] {
            data.train.fields.insert("y".into(), Array::new([2], vec![0i64, label]));
            assert_eq!(check(&data), Err(format!("sample 1 of `y` is {label}; {said}")));
        }
    }

    #[test]
    fn samples_keep_their_axes() {
        let fits = |sample: &[usize], steps, dims: &[usize]| match layout("x", sample, steps, dims)
        {
            Ok(()) => String::new(),
            Err(Error::Layout { transposed, .. }) => transposed.unwrap_or("no".into()),
            Err(error) => panic!("{error}"),
        };
        for (sample, steps, dims) in [
            (&[50, 40][..], Some(50), &[40][..]),
            (&[2000], Some(50), &[40]),
            (&[50, 2, 20], Some(50), &[40]),
            (&[50, 40], Some(50), &[2, 20]),
            (&[50], Some(50), &[1]),
            (&[50, 1], Some(50), &[]),
            (&[50, 40], Some(1), &[2000]),
            (&[28, 28], None, &[784]),
            (&[784], None, &[28, 28]),
            (&[28, 28], None, &[1, 28, 28]),
            (&[], None, &[]),
        ] {
            assert_eq!(fits(sample, steps, dims), "", "{sample:?} {steps:?} {dims:?}");
        }
        for (sample, steps, dims, expected) in [
            (&[40, 50][..], Some(50), &[40][..], "x.transpose(0, 2, 1)"),
            (&[50, 40], Some(100), &[20], "no"),
            (&[50, 40], Some(2000), &[], "no"),
            (&[50, 40], Some(25), &[80], "no"),
            (&[2, 20, 50], Some(50), &[40], "x.transpose(0, 3, 1, 2)"),
            (&[50, 34, 36, 2], Some(50), &[2, 34, 36], "x.transpose(0, 1, 4, 2, 3)"),
            (&[40, 50], None, &[50, 40], "x.transpose(0, 2, 1)"),
        ] {
            assert_eq!(fits(sample, steps, dims), expected, "{sample:?} {steps:?} {dims:?}");
        }
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
            "`x`: expected 784 numbers a sample for [T; B, 28], found field `pixels`: u8[8, 8] a sample"
        );
        assert_eq!(
            bind(28, Dim::constant(28), &[]),
            "input `x` of type [T; B, 28]: none of the data's fields fits; choose one with --bind x=FIELD \
             (there are field `label`: i32[] a sample; field `pixels`: u8[8, 8] a sample)"
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
