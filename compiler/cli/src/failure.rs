//! How a command ends when it does not succeed.

use std::io::{self, Write};
use std::process::ExitCode;

use fgi_compiler::CompileError;

use crate::render;

/// Why a command failed. Each kind has an exit code of its own.
#[derive(Debug)]
pub enum Failure {
    /// What is wrong was printed already: the program has errors, or a check has failed.
    Reported,
    /// The program cannot be used as it is asked for.
    Program(String),
    /// Arguments that do not go together.
    Usage(String),
    /// A file, the data or a device.
    Run(String),
    /// The user stopped it, and was told so.
    Interrupted,
    /// Whoever read the output has gone: no error.
    ClosedPipe,
}

pub type Outcome = Result<(), Failure>;

impl Failure {
    pub fn report(self) -> ExitCode {
        let (code, message) = match self {
            Failure::Reported => (1, None),
            Failure::Program(message) => (1, Some(message)),
            Failure::Usage(message) => (2, Some(message)),
            Failure::Run(message) => (3, Some(message)),
            Failure::Interrupted => (130, None),
            Failure::ClosedPipe => (0, None),
        };
        if let Some(message) = message {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "{}{message}", render::heading("error"));
        }
        ExitCode::from(code)
    }
}

impl From<fgi::Error> for Failure {
    fn from(error: fgi::Error) -> Failure {
        Failure::Run(error.to_string())
    }
}

/// An error of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Run(format!("standard output: {error}")),
        }
    }
}

/// Prints the diagnostics where there are some.
impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Failure {
        match error {
            CompileError::Program { sources, diagnostics } => {
                render::to_stderr(&sources, &diagnostics);
                Failure::Reported
            }
            CompileError::Bug { .. } => Failure::Run(format!(
                "{error}\nThis is no fault of the program: please report it with the program."
            )),
            other => Failure::Program(other.to_string()),
        }
    }
}
