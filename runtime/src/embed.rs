//! What the modules made by `fgi::program!` consist of. They are written by `fgi-macros` of this very
//! version; there are no promises to anybody else.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use fgi_compiler::artifact::embedded::{Embedded, VERSION};
use fgi_compiler::front::check::PROGRESS;
use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::{Bindings, Input, Param};
use fgi_compiler::ir::kernel::{Pass, Program};
use fgi_compiler::middle::optimizer::{LEARNING_RATE, STEP};

use crate::checkpoint::{Checkpoint, Progress};
use crate::error::LOST_GRADIENT;
use crate::npz::Arrays;
use crate::{Array, Data, Device, Error, Session, init, shapes};

/// Refuses, at compile time, the macros of another version.
pub const fn check_version(macros: &str) {
    let (macros, own) = (macros.as_bytes(), VERSION.as_bytes());
    let mut same = macros.len() == own.len();
    let mut at = 0;
    while same && at < own.len() {
        same = macros[at] == own[at];
        at += 1;
    }
    assert!(same, "fgi and fgi-macros are of different versions: run `cargo update`");
}

/// The numbers of an input or a parameter, the last axis fastest.
#[derive(Clone, Copy)]
pub enum Slice<'a> {
    F32(&'a [f32]),
    I32(&'a [i32]),
    Bool(&'a [bool]),
}

/// A compiled program on a device, with what training it needs to remember.
pub struct Model {
    program: Arc<Verified<Program>>,
    session: Session,
    /// Updates so far.
    steps: u64,
    /// The forward pass ran with the parameters as they are.
    has_run: bool,
    /// The run before has left new values of states, which are set when no backward pass can follow.
    is_unsettled: bool,
    /// How far training has come, from 0 to 1.
    progress: f32,
}

impl Model {
    pub fn new(program: &[u8], device: &Device) -> Result<Model, Error> {
        let embedded =
            Embedded::from_bytes(program).map_err(|error| Error::Compile(error.to_string()))?;
        let program = Arc::new(embedded.program);
        let session = Session::new(program.clone(), device)?;
        Ok(Model { program, session, steps: 0, has_run: false, is_unsettled: false, progress: 1.0 })
    }

    pub fn initialise(&mut self, seed: u64) -> Result<(), Error> {
        (self.steps, self.has_run, self.is_unsettled) = (0, false, false);
        self.session.initialise(seed)
    }

    /// What `progress()` is from now on.
    pub fn set_progress(&mut self, progress: f32) {
        self.progress = progress;
    }

    /// Gives the states their values after the last run. An optimiser does that in its update.
    fn settle(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.is_unsettled) {
            self.has_run = false;
            self.session.run(Pass::Update)?;
        }
        Ok(())
    }

    /// Runs the forward pass. Open dimensions follow from the lengths of the inputs, and from `dims`
    /// where these leave a choice.
    pub fn forward(
        &mut self,
        inputs: &[(&str, Slice<'_>)],
        dims: &[(&str, usize)],
        learning_rate: f32,
    ) -> Result<(), Error> {
        self.settle()?;
        self.has_run = false;
        let program = self.program.clone();
        let (time, mut given) = (program.time.as_ref(), Vec::new());
        for (name, slice) in inputs {
            given.push((input(&program, name)?, *slice));
        }
        let dims: Bindings =
            dims.iter().map(|(name, size)| ((*name).into(), *size as i64)).collect();
        let lengths = given.iter().map(|(input, slice)| (*input, slice.len()));
        let bindings = shapes::bind_lengths(lengths, time, &dims)?;
        let mut arrays = Vec::new();
        for (input, slice) in given {
            let shape = shapes::shape(&input.ty, time, &bindings)?;
            arrays.push((input.name.as_str(), Array::new(shape, slice.to_data())));
        }
        let own = [
            (LEARNING_RATE, learning_rate),
            (STEP, (self.steps + 1) as f32),
            (PROGRESS, self.progress),
        ];
        let own = own.into_iter().filter(|(name, _)| input(&program, name).is_ok());
        arrays.extend(own.map(|(name, value)| (name, Array::new([], vec![value]))));
        self.session.set_inputs(arrays.iter().map(|(name, array)| (*name, array)))?;
        self.session.run(Pass::Forward)?;
        self.has_run = true;
        // Where there is an optimiser, runs that are no step of training leave the states as they are.
        self.is_unsettled =
            self.program.state().is_some() && input(&program, LEARNING_RATE).is_err();
        Ok(())
    }

    pub fn backward(&mut self) -> Result<(), Error> {
        if !self.has_run {
            return Err(Error::NoForward);
        }
        self.session.run(Pass::Backward)
    }

    /// The backward pass and the update of the parameters, after a forward pass of this loss.
    pub fn update(&mut self, loss: f32) -> Result<(), Error> {
        let step = self.steps + 1;
        if !loss.is_finite() {
            let (what, advice) = ("the loss".into(), "try a smaller learning rate");
            return Err(Error::NotFinite { what, value: loss, step, advice });
        }
        self.backward()?;
        if let Some((path, value)) = self.session.lost_gradient()? {
            let what = format!("the gradient of `{path}`");
            return Err(Error::NotFinite { what, value, step, advice: LOST_GRADIENT });
        }
        self.has_run = false;
        self.session.run(Pass::Update)?;
        self.steps += 1;
        Ok(())
    }

    pub fn output<T: Owned>(&mut self, name: &str) -> Result<T, Error> {
        owned(name, self.session.output(name)?)
    }

    pub fn gradient<T: Owned>(&mut self, path: &str) -> Result<T, Error> {
        owned(path, self.session.gradient(path)?)
    }

    pub fn param<T: Owned>(&mut self, path: &str) -> Result<T, Error> {
        self.settle()?;
        owned(path, self.session.param(path)?)
    }

    pub fn set_params(&mut self, params: &[(&str, Slice<'_>)]) -> Result<(), Error> {
        self.settle()?;
        self.has_run = false;
        for (path, slice) in params {
            let known = self.program.params.iter().find(|param| param.path == *path);
            let param = known.ok_or_else(|| Error::unknown("parameter", path, []))?;
            let array = Array::new(init::shape(param, &Bindings::new())?, slice.to_data());
            self.session.set_param(path, &array)?;
        }
        Ok(())
    }

    pub fn save(&mut self, path: &Path) -> Result<(), Error> {
        self.settle()?;
        let graph = self.program.name.clone();
        let program = Some(self.program.fingerprint);
        let progress = Progress { graph, program, step: self.steps, ..Progress::default() };
        Checkpoint { params: self.session.params()?, progress }.save(path)
    }

    pub fn load(&mut self, path: &Path) -> Result<(), Error> {
        let Checkpoint { params, progress } = Checkpoint::load(path)?;
        let (own, memory): (Vec<_>, Vec<_>) =
            self.program.params.iter().partition(|param| !param.is_optimizer_state());
        fits(&own, &params)?;
        // Parameters alone, as of a program without an optimiser, start training anew.
        let goes_on = memory.iter().any(|param| params.contains_key(&param.path));
        if goes_on {
            fits(&memory, &params)?;
        }
        let names = own.iter().map(|param| param.path.as_str());
        let unknown = params
            .keys()
            .find(|path| !is_memory(path) && !names.clone().any(|name| name == path.as_str()));
        if let Some(path) = unknown {
            return Err(Error::unknown("parameter", path, names));
        }
        let used: Vec<_> =
            own.into_iter().chain(memory.into_iter().filter(|_| goes_on)).cloned().collect();
        self.initialise(0)?;
        for param in &used {
            if let Some(array) = params.get(&param.path) {
                self.session.set_param(&param.path, array)?;
            }
        }
        self.steps = if goes_on { progress.step } else { 0 };
        Ok(())
    }

    pub fn session(&mut self) -> &mut Session {
        // Whatever it is used for, the buffers are no longer those of the last forward pass.
        self.has_run = false;
        &mut self.session
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Model { program, session, steps, .. } = self;
        let device = session.device_name();
        f.debug_struct(&program.name).field("device", &device).field("steps", steps).finish()
    }
}

fn input<'p>(program: &'p Program, name: &str) -> Result<&'p Input, Error> {
    let inputs = &program.inputs;
    let known = inputs.iter().find(|input| input.name == name);
    known.ok_or_else(|| {
        Error::unknown("input", name, inputs.iter().map(|input| input.name.as_str()))
    })
}

/// There is an array of the right shape for each parameter.
fn fits(params: &[&Param], arrays: &Arrays) -> Result<(), Error> {
    // A state of a batch starts again where it does not fit.
    let mut sized = params.iter().filter(|param| !init::is_open(param));
    sized.try_for_each(|param| {
        let name = || param.path.clone();
        let array = arrays.get(&param.path);
        let array = array.ok_or_else(|| Error::Missing { what: "parameter", name: name() })?;
        let expected = init::shape(param, &Bindings::new())?;
        if array.shape == expected {
            return Ok(());
        }
        let expected = format!("shape {expected:?}");
        Err(Error::Shape { name: name(), expected, found: format!("{:?}", array.shape) })
    })
}

/// A path of the optimiser's: `adam.m/h.w`.
fn is_memory(path: &str) -> bool {
    path.contains('/')
}

impl Slice<'_> {
    fn len(self) -> usize {
        match self {
            Slice::F32(values) => values.len(),
            Slice::I32(values) => values.len(),
            Slice::Bool(values) => values.len(),
        }
    }

    fn to_data(self) -> Data {
        match self {
            Slice::F32(values) => values.to_vec().into(),
            Slice::I32(values) => values.to_vec().into(),
            Slice::Bool(values) => values.to_vec().into(),
        }
    }
}

/// What a result becomes: a number, a boxed array or a vector.
pub trait Owned: Sized {
    /// `None` if the element type or the length is another.
    fn from_data(data: Data) -> Option<Self>;
}

macro_rules! owned {
    ($($variant:ident: $element:ty),*) => {
        $(
            impl Owned for $element {
                fn from_data(data: Data) -> Option<$element> {
                    let values = Vec::from_data(data)?;
                    <[$element; 1]>::try_from(values).ok().map(|[value]| value)
                }
            }

            impl Owned for Vec<$element> {
                fn from_data(data: Data) -> Option<Vec<$element>> {
                    match data {
                        Data::$variant(values) => Some(values),
                        _ => None,
                    }
                }
            }

            impl<const N: usize> Owned for Box<[$element; N]> {
                fn from_data(data: Data) -> Option<Box<[$element; N]>> {
                    Vec::from_data(data)?.into_boxed_slice().try_into().ok()
                }
            }
        )*
    };
}
owned!(F32: f32, I32: i32, Bool: bool);

fn owned<T: Owned>(name: &str, array: Array) -> Result<T, Error> {
    let found = array.type_name();
    T::from_data(array.data).ok_or_else(|| Error::Shape {
        name: name.into(),
        expected: std::any::type_name::<T>().into(),
        found,
    })
}
