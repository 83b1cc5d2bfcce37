//! What can go wrong at run time.

use std::path::PathBuf;

#[cfg(feature = "gpu")]
use fgi_compiler::target::gpu::dispatch::PlanError;

/// Advice where a gradient is infinite or NaN.
pub(crate) const LOST_GRADIENT: &str = "`fgic check` warns of derivatives that are infinite or NaN";

/// Every error of the runtime. The texts say what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that the program needs was not given.
    #[error("{what} `{name}` is missing")]
    Missing {
        /// An `input`, a `parameter`, an `output`.
        what: &'static str,
        /// Its name or path.
        name: String,
    },
    /// A name that the program does not have.
    #[error("the program has no {what} named `{name}`{hint}")]
    Unknown {
        /// An `input`, a `parameter`, an `output`, a `gradient`, a `data field`.
        what: &'static str,
        /// As it was given.
        name: String,
        /// A known name that is like it, in a half-sentence, or nothing.
        hint: String,
    },
    /// A value of the wrong shape or type.
    #[error("`{name}`: expected {expected}, found {found}")]
    Shape {
        /// Of the input, parameter or output.
        name: String,
        /// What would fit.
        expected: String,
        /// What was given.
        found: String,
    },
    /// An open dimension has no value, or too large a one.
    #[error(transparent)]
    Dimension(#[from] fgi_compiler::ir::graph::DimError),
    /// There is no such device, or it lacks what the program needs.
    #[error("{0}")]
    Device(String),
    /// The device refused or lost the work.
    #[error("{device}: {message}")]
    Run {
        /// What people call the device.
        device: String,
        /// What it or its driver said.
        message: String,
    },
    /// The program needs more memory than it may take.
    #[error(
        "the memory limit of {} is too small: the program needs at least {} here ({advice})",
        size(*.limit), size(*.needed)
    )]
    MemoryLimit {
        /// The most bytes that its buffers may take.
        limit: usize,
        /// What they take at the least.
        needed: usize,
        /// Why, or what would help.
        advice: String,
    },
    /// The program needs more memory than there is.
    #[error(
        "{needed} bytes of memory are needed, and this machine has {available}: smaller dimensions or \
         a smaller batch need less"
    )]
    Memory {
        /// How many bytes, at the least.
        needed: u128,
        /// [`machine_memory`](crate::machine_memory).
        available: u64,
    },
    /// A file cannot be read, written or used.
    #[error("{}: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// The program has errors, or a device cannot have its kernels.
    #[error("{0}")]
    Compile(String),
    /// The interpreter cannot run the program.
    #[error("{0}")]
    Reference(String),
    /// A sample only fits if its numbers leave their axes.
    #[error(
        "a sample of `{field}` is {found}, the program reads {wanted}: {}--reshape takes the numbers in their order",
        transposed.as_ref().map(|text| format!("in Python, `{text}` makes it so; ")).unwrap_or_default()
    )]
    Layout {
        /// Of the data.
        field: String,
        /// The shape of a sample.
        found: String,
        /// The shape that it would have to have.
        wanted: String,
        /// How NumPy makes it so, where that only takes another order of the axes.
        transposed: Option<String>,
    },
    /// The data does not fit the program.
    #[error("{0}")]
    Data(String),
    /// The backward pass was asked for before the forward pass.
    #[error("the forward pass must run before the backward pass, with the parameters as they are")]
    NoForward,
    /// A step of training was not done.
    #[error("{what} is {value} at step {step}, which was not done; {advice}")]
    NotFinite {
        /// The loss or a gradient.
        what: String,
        /// Infinite or no number.
        value: f32,
        /// From 1.
        step: u64,
        /// What may help.
        advice: &'static str,
    },
    /// Training has lost its numbers.
    #[error("{what} is {value} at step {step} (epoch {epoch}); {advice}")]
    Diverged {
        /// The loss, a gradient or a parameter.
        what: String,
        /// Infinite or no number.
        value: f32,
        /// From 1.
        step: u64,
        /// From 1.
        epoch: u64,
        /// What may help.
        advice: &'static str,
    },
}

/// Bytes for people. It is rounded up, so that a limit of as much is enough for what is needed.
fn size(bytes: usize) -> String {
    let (unit, name) = [(30, "GiB"), (20, "MiB")]
        .into_iter()
        .find(|(bits, _)| bytes >> bits > 0)
        .unwrap_or((10, "KiB"));
    let tenths = (10 * bytes as u128).div_ceil(1 << unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(feature = "gpu")]
impl From<PlanError> for Error {
    fn from(error: PlanError) -> Error {
        match error {
            PlanError::Dimension(error) => Error::Dimension(error),
            other => Error::Device(other.to_string()),
        }
    }
}

impl Error {
    /// An unknown name, with the known one that is nearest to it.
    pub(crate) fn unknown<'n>(
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'n str>,
    ) -> Error {
        let similarity = |known: &str| strsim::jaro_winkler(name, known);
        let nearest = known
            .into_iter()
            .filter(|known| similarity(known) > 0.8)
            .max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        let hint = nearest.map(|known| format!("; did you mean `{known}`?")).unwrap_or_default();
        Error::Unknown { what, name: name.into(), hint }
    }
}
