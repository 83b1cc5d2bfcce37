//! Reading files whole and writing them all or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| failed(path, error))
}

/// Writes a file beside its place and renames it when it is complete and on the disk: whoever looks
/// sees the old content or the new one. What is no regular file (a pipe, say) is written to directly.
pub fn write_whole(
    path: &Path,
    content: impl FnOnce(&mut dyn WriteSeek) -> io::Result<()>,
) -> Result<(), Error> {
    write(path, content).map_err(|error| failed(path, error))
}

/// What a file's content is written to.
pub trait WriteSeek: Write + io::Seek {}
impl<W: Write + io::Seek> WriteSeek for W {}

fn write(
    path: &Path,
    content: impl FnOnce(&mut dyn WriteSeek) -> io::Result<()>,
) -> io::Result<()> {
    // A link keeps its place: what it points at is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        // A pipe cannot seek.
        let mut bytes = io::Cursor::new(Vec::new());
        content(&mut bytes)?;
        return File::options().write(true).open(&path)?.write_all(bytes.get_ref());
    }
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".fgi-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    let temporary = builder.tempfile_in(&directory)?;
    let mut writer = BufWriter::new(temporary);
    content(&mut writer)?;
    let temporary = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    temporary.as_file().sync_all()?;
    temporary.persist(&path)?;
    // The rename is on the disk when the directory is; not every system can be asked.
    let _ = File::open(&directory).and_then(|directory| directory.sync_all());
    Ok(())
}

pub(crate) fn failed(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::File { path: path.into(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        write_whole(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write_whole(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.unwrap_err().to_string().ends_with("file: the disk is full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
