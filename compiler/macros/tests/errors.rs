//! What rustc says about programs with errors, as the files of `tests/errors` have them.
//!
//! As with trybuild, but with the macros that are built already: trybuild would build the compiler
//! once more, in a folder of its own, after every change.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn errors_are_shown_where_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = std::fs::read_dir(folder.join("tests/errors")).unwrap();
    let mut files: Vec<_> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    files.sort();
    assert!(!files.is_empty());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("errors");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for file in files {
        let said = rustc(folder, file.strip_prefix(folder).unwrap());
        let name = file.file_stem().unwrap().to_str().unwrap();
        settings.bind(|| insta::assert_snapshot!(name, said));
    }
}

/// What rustc prints about a file that it refuses.
fn rustc(folder: &Path, file: &Path) -> String {
    let macros = macros();
    let output = tempfile::tempdir().unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let compiled = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--diagnostic-width=140"])
        .arg("--extern")
        .arg(format!("fgi_macros={}", macros.display()))
        .arg("--out-dir")
        .arg(output.path())
        .arg(file)
        .current_dir(folder)
        .env("CARGO_MANIFEST_DIR", folder)
        .output()
        .unwrap();
    assert!(!compiled.status.success(), "{} compiles", file.display());
    String::from_utf8(compiled.stderr).unwrap()
}

/// The library that cargo has built for this test: the newest one beside it.
fn macros() -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let test = std::env::current_exe().unwrap();
    let files = std::fs::read_dir(test.parent().unwrap()).unwrap();
    let (prefix, suffix) = (format!("{DLL_PREFIX}fgi_macros-"), DLL_SUFFIX);
    let is_library = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(suffix)
    };
    let libraries = files.map(|entry| entry.unwrap().path()).filter(is_library);
    libraries.max_by_key(|file| file.metadata().unwrap().modified().unwrap()).unwrap()
}
