//! What can go wrong at run time.

use std::path::PathBuf;

/// Every error of the runtime. The texts say what to do where there is something to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A value that the program needs was not given.
    #[error("{what} `{name}` is missing")]
    Missing { what: &'static str, name: String },
    /// A name that the program does not have.
    #[error("the program has no {what} named `{name}`{hint}")]
    Unknown { what: &'static str, name: String, hint: String },
    /// A value of the wrong shape or type.
    #[error("`{name}`: expected {expected}, found {found}")]
    Shape { name: String, expected: String, found: String },
    #[error(transparent)]
    Dimension(#[from] fgi_compiler::graph::DimError),
    /// There is no such device, or it lacks what the program needs.
    #[error("{0}")]
    Device(String),
    /// The device refused or lost the work.
    #[error("{device}: {message}")]
    Run { device: String, message: String },
    #[error("{}: {message}", path.display())]
    File { path: PathBuf, message: String },
    #[error("{0}")]
    Compile(String),
    /// The interpreter cannot run the program.
    #[error("{0}")]
    Reference(String),
    /// The data does not fit the program.
    #[error("{0}")]
    Data(String),
    /// Training has lost its numbers.
    #[error("the loss is {loss} at step {step} (epoch {epoch}); try a smaller --lr")]
    Diverged { loss: f32, step: u64, epoch: u64 },
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
