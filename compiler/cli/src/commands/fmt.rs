use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fgi_compiler::front::syntax::format;
use fgi_compiler::source::{FileId, Sources};

use crate::failure::{Failure, Outcome};
use crate::program::ProgramText;
use crate::render;

/// Writes programs in their canonical form
#[derive(clap::Args)]
pub struct Args {
    /// The programs; - reads standard input and writes standard output
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Changes nothing; names the files that are not in their canonical form and fails if there are some
    #[arg(long)]
    check: bool,
}

pub fn run(args: &Args) -> Outcome {
    let mut all_fine = true;
    for file in &args.files {
        all_fine &= one(file, args.check)?;
    }
    if all_fine { Ok(()) } else { Err(Failure::Reported) }
}

fn one(file: &Path, check: bool) -> Result<bool, Failure> {
    let program = ProgramText::read(file)?;
    let formatted = match format(&program.text, FileId::default()) {
        Ok(formatted) => formatted,
        Err(diagnostics) => {
            let mut sources = Sources::default();
            sources.add(program.name, program.text);
            render::to_stderr(&sources, &diagnostics);
            return Ok(false);
        }
    };
    let is_canonical = formatted == program.text;
    if check {
        if !is_canonical {
            writeln!(io::stdout(), "{}", program.name)?;
        }
        return Ok(is_canonical);
    }
    if file == Path::new("-") {
        io::stdout().write_all(formatted.as_bytes())?;
    } else if !is_canonical {
        fgi::write_whole(file, |out| out.write_all(formatted.as_bytes()))?;
    }
    Ok(true)
}
