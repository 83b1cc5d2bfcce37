//! Programs compiled at run time.

use fgi_compiler::Options;
use fgi_compiler::ir::Verified;
use fgi_compiler::ir::kernel::Program;
use fgi_compiler::source::NoFiles;

use crate::Error;

/// Compiles a program, with the standard library and no files beside it. The text of an error has a
/// line for each place, which it calls `program:LINE:COLUMN`.
///
/// ```
/// let error = fgi::compile("graph g(x: [3]) -> (y) { let y = x + z; }", &Default::default());
/// assert!(error.unwrap_err().to_string().contains("the name `z` is not known"));
/// ```
pub fn compile(source: &str, options: &Options) -> Result<Verified<Program>, Error> {
    let compiled = fgi_compiler::compile("program", source, &NoFiles, options, &mut |_| {});
    Ok(compiled.map_err(|error| Error::Compile(error.to_string()))?.program)
}
