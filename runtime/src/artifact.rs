//! Artifacts on disk: a program's shaders with the manifest that says how to run them.

use std::io;
use std::path::Path;

use fgi_compiler::artifact::{Artifact, MANIFEST};
use fgi_compiler::ir::Verified;
use fgi_compiler::ir::graph::Bindings;
use fgi_compiler::ir::kernel::Program;

use crate::checkpoint::{from_safetensors, to_safetensors};
use crate::file::failed;
use crate::npz::Arrays;
use crate::{Array, Error, init};

/// Reads an artifact from its directory and checks it.
pub fn read(directory: &Path) -> Result<Artifact, Error> {
    Artifact::read(&mut |name| std::fs::read(directory.join(name)))
        .map_err(|error| failed(directory, error))
}

/// Writes an artifact beside its place and moves it there when it is complete. An older artifact of
/// this name is replaced; a directory that is none, and not empty, is not.
pub fn write(artifact: &Artifact, directory: &Path) -> Result<(), Error> {
    write_files(artifact, directory).map_err(|error| failed(directory, error))
}

fn write_files(artifact: &Artifact, directory: &Path) -> io::Result<()> {
    let is_taken = directory.exists() && !directory.join(MANIFEST).is_file();
    if is_taken && (!directory.is_dir() || directory.read_dir()?.next().is_some()) {
        return Err(io::Error::other("is there and is no artifact: it is not replaced"));
    }
    let parent = match directory.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new().prefix(".fgi-").tempdir_in(parent)?;
    let new = temporary.path().join("new");
    std::fs::create_dir(&new)?;
    for (name, bytes) in artifact.files().map_err(io::Error::other)? {
        std::fs::write(new.join(name), bytes)?;
    }
    let old = temporary.path().join("old");
    if directory.exists() {
        std::fs::rename(directory, &old)?;
    }
    std::fs::rename(&new, directory).inspect_err(|_| {
        // The old one, if there was one, goes back to its place.
        let _ = std::fs::rename(&old, directory);
    })
}

/// Adds the parameters of a seed to an artifact of this program. States of open sizes are not among them.
pub fn add_seed(artifact: &mut Artifact, program: &Program, seed: u64) -> Result<(), Error> {
    let mut params = Arrays::new();
    for param in program.params.iter().filter(|param| !init::is_open(param)) {
        params.insert(param.path.clone(), init::initial(param, &Bindings::new(), seed)?);
    }
    add(artifact, Some(seed), &params)
}

/// Adds trained parameters to an artifact of this program. The optimiser's memory starts anew where
/// `trained` does not have it.
pub fn add_params(
    artifact: &mut Artifact,
    program: &Program,
    trained: &Arrays,
) -> Result<(), Error> {
    let mut params = Arrays::new();
    for param in program.params.iter().filter(|param| !init::is_open(param)) {
        let shape = init::shape(param, &Bindings::new())?;
        let array = match trained.get(&param.path) {
            Some(array) if array.shape == shape => array.clone(),
            Some(array) => {
                return Err(Error::Shape {
                    name: param.path.clone(),
                    expected: format!("an array of shape {}", crate::array::shape_name(&shape)),
                    found: array.type_name(),
                });
            }
            None if param.is_optimizer_state() => init::initial(param, &Bindings::new(), 0)?,
            None => return Err(Error::Missing { what: "parameter", name: param.path.clone() }),
        };
        params.insert(param.path.clone(), array);
    }
    add(artifact, None, &params)
}

/// Adds the program as native code of this machine: an object file and its C header. It holds the
/// initial parameters, if the artifact has them by now.
#[cfg(feature = "object")]
pub fn add_object(artifact: &mut Artifact, program: &Verified<Program>) -> Result<(), Error> {
    use fgi_compiler::artifact::object;
    let values = |array: Array| array.to_f64().into_iter().map(|value| value as f32).collect();
    let initial = initial(artifact)?
        .map(|arrays| arrays.into_iter().map(|(path, array)| (path, values(array))).collect());
    let machine = crate::cpu::machine(true)?;
    let object = object::emit(program, machine, initial.as_ref())
        .map_err(|error| Error::Compile(error.to_string()))?;
    artifact.add_object(object.bytes, object.header, object.target);
    Ok(())
}

fn add(artifact: &mut Artifact, seed: Option<u64>, params: &Arrays) -> Result<(), Error> {
    let bytes = to_safetensors(params, None).map_err(Error::Data)?;
    artifact.add_initial(seed, bytes);
    Ok(())
}

/// The initial parameters that come with an artifact.
pub(crate) fn initial(artifact: &Artifact) -> Result<Option<Arrays>, Error> {
    let Some(initial) = &artifact.manifest().initial else { return Ok(None) };
    let bytes = artifact.file(&initial.file).unwrap_or_default();
    let arrays = from_safetensors(bytes);
    arrays.map(Some).map_err(|message| failed(Path::new(&initial.file), message))
}
