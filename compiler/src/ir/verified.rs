//! The token of a form that keeps its laws: those of the graph are in [`graph`](super::graph), those of kernels
//! in [`kernel`](super::kernel).

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::ops::Deref;

/// A form of a program with laws that whoever reads it may rely on.
pub trait Laws {
    /// A broken law: where, and which.
    type Violation: Error + Send + Sync + 'static;

    /// The first law that it breaks.
    fn check(&self) -> Result<(), Self::Violation>;
}

/// A form that keeps its laws: [`verify`] alone makes it, and nothing changes what is inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified<T>(T);

/// The form as a token that it keeps its laws, or the first law that it breaks.
pub fn verify<T: Laws>(form: T) -> Result<Verified<T>, T::Violation> {
    form.check()?;
    Ok(Verified(form))
}

impl<T> Verified<T> {
    /// The form itself, to be changed.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Display> Display for Verified<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
