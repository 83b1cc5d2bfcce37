//! A compiled program as bytes in a binary: what the embedding macro leaves of it, and the runtime
//! takes up without a look at any source.

use crate::ir::kernel::Program;
use crate::ir::{Verified, verify};

/// The version of the form. Only a runtime of the same version reads it: the form is that of the
/// compiler's own types, and changes with them.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is kept of a program. Spans are not: the texts that they refer to are not there.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The kernels, buffers and parameters.
    pub program: Verified<Program>,
}

/// Why bytes are no embedded program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddedError {
    /// They are of another version.
    #[error("the program was embedded by version {found} of fgi-macros; this is fgi {VERSION}")]
    Version {
        /// The version that made them.
        found: String,
    },
    /// They end early, or say what cannot be.
    #[error("the embedded program is damaged: {0}")]
    Damaged(String),
}

impl Embedded {
    /// The same program gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EmbeddedError> {
        postcard::to_allocvec(&(VERSION, &*self.program))
            .map_err(|error| EmbeddedError::Damaged(error.to_string()))
    }

    /// Reads what [`Embedded::to_bytes`] of this very version made, and checks that it keeps its laws.
    pub fn from_bytes(bytes: &[u8]) -> Result<Embedded, EmbeddedError> {
        let damaged = |error: postcard::Error| EmbeddedError::Damaged(error.to_string());
        let (found, rest) = postcard::take_from_bytes::<String>(bytes).map_err(damaged)?;
        if found != VERSION {
            return Err(EmbeddedError::Version { found });
        }
        let program: Program = postcard::from_bytes(rest).map_err(damaged)?;
        let program = verify(program).map_err(|law| EmbeddedError::Damaged(law.to_string()))?;
        Ok(Embedded { program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middle::optimizer::Optimizer;
    use crate::source::NoFiles;
    use crate::{Gradients, Options, compile};

    fn embedded() -> Embedded {
        let text = include_str!("../../../dsl-examples/smnist/smnist.fgi");
        let options = Options {
            gradients: Some(Gradients { output: "loss".into(), wrt: None }),
            optimizer: Some(Optimizer::ADAM),
            ..Options::default()
        };
        let Ok(compiled) = compile("smnist.fgi", text, &NoFiles, &options, &mut |_| {}) else {
            panic!("the example does not compile");
        };
        Embedded { program: compiled.program }
    }

    #[test]
    fn bytes_read_back() {
        let embedded = embedded();
        let bytes = embedded.to_bytes().unwrap();
        let read = Embedded::from_bytes(&bytes).unwrap();
        assert_eq!(read.to_bytes().unwrap(), bytes);
        let without_places = |program: &Program| -> Vec<String> {
            let text = program.to_string();
            text.lines().filter_map(|line| line.split(" @").next()).map(str::to_owned).collect()
        };
        assert_eq!(without_places(&read.program), without_places(&embedded.program));
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = embedded().to_bytes().unwrap();
        for length in (0..bytes.len()).step_by(97) {
            assert!(Embedded::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
        let other = postcard::to_allocvec("0.0.1").unwrap();
        let found = "0.0.1".to_string();
        assert_eq!(Embedded::from_bytes(&other).unwrap_err(), EmbeddedError::Version { found });
    }
}
