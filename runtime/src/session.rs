//! A program on a device: inputs in, passes run, results out.

#![deny(clippy::missing_errors_doc)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[cfg(feature = "gpu")]
use fgi_compiler::artifact::Artifact;
use fgi_compiler::front::check::CARRIED;
use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::{Bindings, Elem, Param, ParamKind, RANDOM_RUN, Role, Type};
use fgi_compiler::ir::kernel::{Buffer, BufferId, BufferSource, Pass, Program, verify_sizes};

use crate::backend::{Backend, Footprint};
use crate::bench::Tuning;
use crate::device::{Device, Opened};
use crate::npz::Arrays;
use crate::{Array, Data, Error, init, memory, shapes};

/// A compiled program with its buffers on a device.
///
/// Parameters start from their initialisers with seed 0. Open dimensions follow from the shapes of
/// the inputs, and may change from one call of [`Session::set_inputs`] to the next.
pub struct Session {
    program: Arc<Verified<Program>>,
    backend: Box<dyn Backend>,
    is_software_gpu: bool,
    /// `None` until the first inputs.
    bindings: Option<Bindings>,
    /// Inputs that hold a value.
    given: BTreeSet<String>,
    /// Parameters that wait for buffers.
    waiting: BTreeMap<BufferId, Array>,
    /// Of the states that start again.
    seed: u64,
}

impl Session {
    /// Opens the device for a program, which has its kernels compiled there.
    ///
    /// # Errors
    /// [`Error::Device`] without such a device, or with one that lacks what the program needs; [`Error::Memory`] where
    /// its parameters do not fit.
    pub fn new(
        program: impl Into<Arc<Verified<Program>>>,
        device: &Device,
    ) -> Result<Session, Error> {
        let mut session = Session::without_values(program.into(), device)?;
        session.initialise(0)?;
        Ok(session)
    }

    /// A session whose parameters have no values yet.
    pub(crate) fn without_values(
        program: Arc<Verified<Program>>,
        device: &Device,
    ) -> Result<Session, Error> {
        check_memory(&program)?;
        let opened = device.open(program.clone())?;
        Ok(Session::with(program, opened))
    }

    /// A program from its artifact, on a GPU. Parameters start from the artifact's initial values if
    /// it has some. [`Session::program`] then has no kernels: they are the artifact's shaders.
    ///
    /// # Errors
    /// Those of [`Session::new`], and [`Error::File`] for initial values that cannot be read.
    #[cfg(feature = "gpu")]
    pub fn open(artifact: &Artifact, device: &Device) -> Result<Session, Error> {
        Session::open_shaders(artifact, None, device)
    }

    /// [`Session::open`] with the artifact's SPIR-V, as it is, instead of its WGSL. The device must be
    /// one of Vulkan.
    ///
    /// # Safety
    ///
    /// The driver does not check SPIR-V: the artifact must come from someone you trust.
    ///
    /// # Errors
    /// Those of [`Session::open`], and [`Error::Missing`] where the artifact has no SPIR-V.
    #[cfg(feature = "gpu")]
    pub unsafe fn open_spirv(artifact: &Artifact, device: &Device) -> Result<Session, Error> {
        let spirv = artifact.spirv();
        let missing = || Error::Missing { what: "target", name: "spirv".into() };
        Session::open_shaders(artifact, Some(spirv.ok_or_else(missing)?), device)
    }

    #[cfg(feature = "gpu")]
    fn open_shaders(
        artifact: &Artifact,
        spirv: Option<Vec<Vec<u32>>>,
        device: &Device,
    ) -> Result<Session, Error> {
        let program = Arc::new(artifact.program().clone());
        check_memory(&program)?;
        let opened = device.open_shaders(program.clone(), artifact.shaders(), spirv)?;
        let mut session = Session::with(program, opened);
        match crate::artifact::initial(artifact)? {
            Some(params) => {
                // States of open sizes are not among them.
                session.initialise_others(0, &params)?;
                params.iter().try_for_each(|(path, array)| session.set_param(path, array))?;
            }
            None => session.initialise(0)?,
        }
        Ok(session)
    }

    fn with(program: Arc<Verified<Program>>, opened: Opened) -> Session {
        Session {
            program,
            backend: opened.backend,
            is_software_gpu: opened.is_software_gpu,
            bindings: None,
            given: BTreeSet::new(),
            waiting: BTreeMap::new(),
            seed: 0,
        }
    }

    /// What runs.
    pub fn program(&self) -> &Verified<Program> {
        &self.program
    }

    /// The values of open dimensions; `None` until inputs were given.
    pub fn bindings(&self) -> Option<&Bindings> {
        self.bindings.as_ref()
    }

    /// What people call the device: `cpu (2 threads)`.
    pub fn device_name(&self) -> String {
        self.backend.device_name()
    }

    /// Whether the device only imitates a GPU.
    pub fn is_software_gpu(&self) -> bool {
        self.is_software_gpu
    }

    /// Gives every parameter its initial value for a seed.
    ///
    /// # Errors
    /// [`Error::Dimension`] where a state's size is too large, and what the device says of writing.
    pub fn initialise(&mut self, seed: u64) -> Result<(), Error> {
        self.initialise_others(seed, &Arrays::new())
    }

    /// Gives every parameter that is not among `arrays` its initial value for a seed.
    pub(crate) fn initialise_others(&mut self, seed: u64, arrays: &Arrays) -> Result<(), Error> {
        self.seed = seed;
        let program = self.program.clone();
        let bindings = self.bindings.clone();
        for param in program.params.iter().filter(|param| !arrays.contains_key(&param.path)) {
            let bindings = match &bindings {
                Some(bindings) => bindings,
                None if init::is_open(param) => continue,
                None => &Bindings::new(),
            };
            self.set_param(&param.path, &init::initial(param, bindings, seed)?)?;
        }
        Ok(())
    }

    /// Has the next run of a program with `carry` start a sequence: memories as written, steps from 0, and with random
    /// numbers of another run. Other states stay.
    ///
    /// # Errors
    /// [`Error::Dimension`] where a state's size is too large, and what the device says of reading and writing.
    pub fn start_sequence(&mut self) -> Result<(), Error> {
        let program = self.program.clone();
        let bindings = self.bindings.clone().unwrap_or_default();
        let (mut carries, is_bound) = (false, self.bindings.is_some());
        let carried = program.params.iter().filter(|param| param.path.starts_with(CARRIED));
        for param in carried.filter(|param| param.kind == ParamKind::State) {
            carries = true;
            if is_bound || !init::is_open(param) {
                self.set_param(&param.path, &init::initial(param, &bindings, self.seed)?)?;
            }
        }
        let draws = program.params.iter().any(|param| param.path == RANDOM_RUN);
        if carries
            && draws
            && let Data::I32(runs) = self.param(RANDOM_RUN)?.data
        {
            let next: Vec<i32> = runs.iter().map(|run| run.wrapping_add(1)).collect();
            self.set_param(RANDOM_RUN, &Array::new([], next))?;
        }
        Ok(())
    }

    /// Where the size of one has changed, all states of open sizes start again: from the values that were
    /// given for these sizes, or from their initialisers.
    fn restart_states(&mut self, before: Option<&Bindings>) -> Result<(), Error> {
        let (program, bindings) = (self.program.clone(), self.bindings.clone().unwrap_or_default());
        let open: Vec<&Param> =
            program.params.iter().filter(|param| init::is_open(param)).collect();
        let size = |param: &&Param, bindings| init::shape(param, bindings).ok();
        let is_same =
            |param| size(param, &bindings) == before.and_then(|before| size(param, before));
        if open.iter().all(is_same) {
            return Ok(());
        }
        for param in open {
            let id = self.param_buffer(&param.path)?;
            let given = self.waiting.remove(&id);
            let array = match given
                .filter(|given| size(&param, &bindings).as_ref() == Some(&given.shape))
            {
                Some(given) => given,
                None => init::initial(param, &bindings, self.seed)?,
            };
            self.backend.write(id, &array.to_device())?;
        }
        Ok(())
    }

    /// Fills inputs by name. Their shapes bind the open dimensions; a dimension that none of them
    /// has keeps its value. Inputs given before whose size thereby changes must be given again.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a name that is no input, [`Error::Shape`] for an array of another shape or type, and
    /// those of [`Session::bind`].
    pub fn set_inputs<'a>(
        &mut self,
        inputs: impl IntoIterator<Item = (&'a str, &'a Array)>,
    ) -> Result<(), Error> {
        let program = self.program.clone();
        let mut arrays = Vec::new();
        for (name, array) in inputs {
            let known = program.inputs.iter().find(|input| input.name == name);
            let input = known.ok_or_else(|| {
                let names = program.inputs.iter().map(|input| input.name.as_str());
                Error::unknown("input", name, names)
            })?;
            arrays.push((input, array.convert(name, input.ty.elem)?));
        }
        let pairs = arrays.iter().map(|(input, array)| (*input, array.shape.as_slice()));
        let mut bindings = self.bindings.clone().unwrap_or_default();
        bindings.extend(shapes::bind(pairs, program.time.as_ref(), &Bindings::new())?);
        self.bind(bindings)?;
        for (input, array) in arrays {
            self.given.insert(input.name.clone());
            // An input that nothing depends on may have no buffer.
            if let Some(buffer) = self.find(|buffer| match buffer.source {
                BufferSource::Input(index) => program.inputs[index].name == input.name,
                _ => false,
            }) {
                self.backend.write(buffer, &array.to_device())?;
            }
        }
        Ok(())
    }

    /// Gives open dimensions their values, which inputs that come later must agree with.
    ///
    /// # Errors
    /// [`Error::Compile`] for sizes that the program does not run with, [`Error::Dimension`] for those without a value,
    /// [`Error::Memory`] and [`Error::MemoryLimit`] for more memory than there is or may be taken.
    pub fn bind(&mut self, bindings: Bindings) -> Result<(), Error> {
        if self.bindings.as_ref() == Some(&bindings) {
            return Ok(());
        }
        verify_sizes(&self.program, &bindings)
            .map_err(|law| Error::Compile(format!("this program cannot run: {law}")))?;
        self.backend.bind(&bindings)?;
        let fixed = |name: &String| {
            let input = self.program.inputs.iter().find(|input| input.name == *name);
            input.is_some_and(|input| {
                !input.ty.is_stream() && input.ty.dims.iter().all(|dim| dim.as_const().is_some())
            })
        };
        self.given.retain(fixed);
        let before = self.bindings.replace(bindings);
        self.restart_states(before.as_ref())?;
        for (buffer, array) in std::mem::take(&mut self.waiting) {
            self.backend.write(buffer, &array.to_device())?;
        }
        Ok(())
    }

    /// Runs a pass. Backward comes after forward, update after backward. With
    /// [`Device::memory_limit`] the forward pass may leave its outputs only; the backward pass then runs
    /// it again, with the same bits.
    ///
    /// # Errors
    /// [`Error::Missing`] while an input has not been given, those of [`Session::bind`], and [`Error::Run`] where the device
    /// refuses or loses the work.
    pub fn run(&mut self, pass: Pass) -> Result<(), Error> {
        self.run_passes(&[pass])
    }

    /// Runs the forward and the backward pass. That is faster than one after the other, and takes less
    /// memory: what one leaves for the other need not be kept for the whole batch at once.
    ///
    /// # Errors
    /// Those of [`Session::run`].
    pub fn run_gradients(&mut self) -> Result<(), Error> {
        self.run_passes(&[Pass::Forward, Pass::Backward])
    }

    fn run_passes(&mut self, passes: &[Pass]) -> Result<(), Error> {
        self.ready()?;
        self.backend.run(passes)
    }

    /// Measures a few variants of the program with the inputs that were given, by forward and backward
    /// passes, and goes on with the fastest. The choice is kept in the user's cache directory: later
    /// sessions of this program on this GPU begin with it.
    ///
    /// # Errors
    /// Those of [`Session::run`], and [`Error::Device`] or [`Error::Run`] on devices other than a GPU and for artifacts, which have
    /// no variants.
    pub fn tune(&mut self) -> Result<Tuning, Error> {
        self.ready()?;
        self.backend.tune()
    }

    /// All inputs are given and all dimensions bound.
    fn ready(&mut self) -> Result<(), Error> {
        let missing = self.program.inputs.iter().find(|input| !self.given.contains(&input.name));
        if let Some(input) = missing {
            return Err(Error::Missing { what: "input", name: input.name.clone() });
        }
        if self.bindings.is_none() {
            self.bind(Bindings::new())?;
        }
        Ok(())
    }

    /// The first gradient with an element that is infinite or NaN: its path, and that element.
    pub(crate) fn lost_gradient(&mut self) -> Result<Option<(String, f32)>, Error> {
        let results = self.program.results.iter();
        let gradients = results.filter(|(role, ..)| *role == Role::Gradient);
        self.lost(gradients.map(|(_, path, id)| (*id, path.clone())).collect())
    }

    /// As [`Session::lost_gradient`], of parameters and the optimiser's memory.
    pub(crate) fn lost_param(&mut self) -> Result<Option<(String, f32)>, Error> {
        let program = &self.program;
        let params = program.buffer_ids().filter_map(|id| match program.buffer(id).source {
            BufferSource::Param(at) if program.params[at].elem == Elem::F32 => {
                Some((id, program.params[at].path.clone()))
            }
            _ => None,
        });
        self.lost(params.collect())
    }

    fn lost(&mut self, named: Vec<(BufferId, String)>) -> Result<Option<(String, f32)>, Error> {
        let ids: Vec<BufferId> = named.iter().map(|(id, _)| *id).collect();
        let Some((bad, value)) = self.backend.not_finite(&ids)? else { return Ok(None) };
        Ok(named.into_iter().find(|(id, _)| *id == bad).map(|(_, path)| (path, value)))
    }

    /// Waits until the device has done all that it was asked for.
    ///
    /// # Errors
    /// [`Error::Run`] where the device has lost the work.
    pub fn wait(&mut self) -> Result<(), Error> {
        self.backend.wait()
    }

    /// The memory that the program takes on the device, as of what ran last.
    pub fn footprint(&self) -> Footprint {
        self.backend.footprint()
    }

    /// The value of an output after the forward pass.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a name that is no output, [`Error::Dimension`] before dimensions are bound, and what the
    /// device says of reading.
    pub fn output(&mut self, name: &str) -> Result<Array, Error> {
        self.result(Role::Output, "output", name)
    }

    /// The gradient for a parameter (by path) or an input (by name) after the backward pass.
    ///
    /// # Errors
    /// [`Error::Unknown`] for what the program has no gradient for, else those of [`Session::output`].
    pub fn gradient(&mut self, path: &str) -> Result<Array, Error> {
        self.result(Role::Gradient, "gradient", path)
    }

    /// The value of a parameter, or of a memory of the optimiser, by path.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a path that is no parameter, else those of [`Session::output`].
    pub fn param(&mut self, path: &str) -> Result<Array, Error> {
        let buffer = self.param_buffer(path)?;
        match self.waiting.get(&buffer) {
            Some(array) => Ok(array.clone()),
            None => self.read(buffer),
        }
    }

    /// Sets a parameter, or a memory of the optimiser.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a path that is no parameter, [`Error::Shape`] for an array of another shape or type, and what
    /// the device says of writing.
    pub fn set_param(&mut self, path: &str, array: &Array) -> Result<(), Error> {
        let id = self.param_buffer(path)?;
        let buffer = self.program.buffer(id);
        let array = array.convert(path, buffer.elem)?;
        let is_open = buffer.dims.iter().any(|dim| dim.as_const().is_none());
        if self.bindings.is_none() && is_open {
            self.waiting.insert(id, array);
            return Ok(());
        }
        let expected = self.shape(buffer, self.bindings.as_ref().unwrap_or(&Bindings::new()))?;
        if array.shape != expected {
            return Err(Error::Shape {
                name: path.into(),
                expected: format!("an array of shape {}", crate::array::shape_name(&expected)),
                found: crate::array::shape_name(&array.shape),
            });
        }
        if self.bindings.is_none() {
            self.waiting.insert(id, array);
            return Ok(());
        }
        self.backend.write(id, &array.to_device())
    }

    /// All parameters and states, those of the optimiser too, by path. States of open sizes are among them
    /// once these are bound.
    ///
    /// # Errors
    /// Those of [`Session::param`].
    pub fn params(&mut self) -> Result<Arrays, Error> {
        let program = self.program.clone();
        let is_bound = self.bindings.is_some();
        let sized = program.params.iter().filter(|param| is_bound || !init::is_open(param));
        sized.map(|p| Ok((p.path.clone(), self.param(&p.path)?))).collect()
    }

    /// Sets all parameters; none may be missing, and none unknown. States of open sizes may be missing, or be of
    /// other sizes than the inputs: then they start again.
    ///
    /// # Errors
    /// [`Error::Missing`] for a parameter that is not among them, else those of [`Session::set_param`].
    pub fn set_params(&mut self, params: &Arrays) -> Result<(), Error> {
        let program = self.program.clone();
        let mut sized = program.params.iter().filter(|param| !init::is_open(param));
        if let Some(missing) = sized.find(|param| !params.contains_key(&param.path)) {
            return Err(Error::Missing { what: "parameter", name: missing.path.clone() });
        }
        for (path, array) in params {
            let param = program.params.iter().find(|param| param.path == *path);
            let fits = |param: &Param, bindings: &Bindings| {
                init::shape(param, bindings).is_ok_and(|shape| shape == array.shape)
            };
            let starts_again = param
                .zip(self.bindings.as_ref())
                .is_some_and(|(param, bindings)| init::is_open(param) && !fits(param, bindings));
            if !starts_again {
                self.set_param(path, array)?;
            }
        }
        Ok(())
    }

    fn result(&mut self, role: Role, what: &'static str, name: &str) -> Result<Array, Error> {
        let results = &self.program.results;
        let buffer = self.program.result(role, name).ok_or_else(|| {
            let same_role = results.iter().filter(|(r, ..)| *r == role);
            Error::unknown(what, name, same_role.map(|(_, name, _)| name.as_str()))
        })?;
        self.read(buffer)
    }

    fn read(&mut self, id: BufferId) -> Result<Array, Error> {
        let bindings = self.bindings.clone().unwrap_or_default();
        let buffer = self.program.buffer(id);
        let (elem, shape) = (buffer.elem, self.shape(buffer, &bindings)?);
        Ok(Array::from_device(shape, elem, &self.backend.read(id)?))
    }

    fn shape(&self, buffer: &Buffer, bindings: &Bindings) -> Result<Vec<usize>, Error> {
        use fgi_compiler::ir::graph::Clock::{Static, Stream};
        let clock = if buffer.stream { Stream } else { Static };
        let ty = Type::new(buffer.elem, buffer.dims.clone(), clock);
        shapes::shape(&ty, self.program.time.as_ref(), bindings)
    }

    fn param_buffer(&self, path: &str) -> Result<BufferId, Error> {
        let params = &self.program.params;
        let found = self.find(|buffer| match buffer.source {
            BufferSource::Param(index) => params[index].path == path,
            _ => false,
        });
        found.ok_or_else(|| {
            Error::unknown("parameter", path, params.iter().map(|param| param.path.as_str()))
        })
    }

    fn find(&self, is_it: impl Fn(&Buffer) -> bool) -> Option<BufferId> {
        self.program.buffer_ids().find(|id| is_it(self.program.buffer(*id)))
    }
}

/// The program's parameters fit into memory, once here and once on the device.
fn check_memory(program: &Program) -> Result<(), Error> {
    let sized = program.params.iter().filter(|param| !init::is_open(param));
    let bytes = sized.map(|param| {
        let shape = init::shape(param, &Bindings::new())?;
        Ok::<_, Error>(memory::bytes(param.elem, &shape))
    });
    let bytes = bytes.collect::<Result<Vec<u128>, _>>()?;
    memory::check(bytes.into_iter().fold(0, |sum, bytes| sum.saturating_add(2 * bytes)))
}
