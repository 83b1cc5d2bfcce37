use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fgi_compiler::front::check;

use crate::failure::{Failure, Outcome};
use crate::program::{GraphArgs, ProgramArgs};
use crate::render;
use crate::warnings::WarningArgs;

/// Reports all errors and warnings of programs, those of all their graphs
///
/// With several programs each is checked as by itself, all are reported, and one with errors makes it fail.
/// A `-D` goes to the graphs that have the dimension; with --graph, one that this graph does not have
/// is an error. Warnings are about gradients that are likely a mistake; a comment `// fgic: allow(W002)`
/// on the line of a warning, or on the line before, silences it. `fgic explain W002` explains one.
#[derive(clap::Args)]
pub struct Args {
    /// The programs; - reads standard input
    #[arg(required = true, value_name = "PROGRAM.fgi")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    taken: GraphArgs,
    #[command(flatten)]
    warnings: WarningArgs,
    /// Prints one JSON object a line for each diagnostic
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    args.taken.dims()?;
    let failures = args.files.iter().filter_map(|file| one(args, file).err());
    let mut failures: Vec<Failure> = failures.collect();
    // The exit code is that of a file that cannot be read, if there is one.
    failures.sort_by_key(|failure| matches!(failure, Failure::Run(_) | Failure::ClosedPipe));
    let last = failures.pop();
    for failure in failures {
        failure.report();
    }
    last.map_or(Ok(()), Err)
}

fn one(args: &Args, file: &Path) -> Outcome {
    let program = ProgramArgs { file: file.to_path_buf(), taken: args.taken.clone() };
    let text = program.read()?;
    let (mut said, mut has_errors) = (HashSet::new(), false);
    let mut read = check::Program::read(&text.name, &text.text, &text);
    for options in program.of_each_graph(&text)? {
        let checked = read.check(&options);
        for diagnostic in args.warnings.diagnostics(&checked) {
            if said.contains(&diagnostic) {
                continue;
            }
            match args.json {
                true => writeln!(io::stdout(), "{}", render::json(&checked.sources, &diagnostic))?,
                false => render::to_stderr(&checked.sources, std::slice::from_ref(&diagnostic)),
            }
            has_errors |= diagnostic.is_error();
            said.insert(diagnostic);
        }
    }
    match has_errors {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}
