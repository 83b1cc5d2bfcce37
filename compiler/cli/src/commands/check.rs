use std::io::{self, Write};

use fgi_compiler::audit::{audit, warning_code};
use fgi_compiler::check;
use fgi_compiler::diagnostic::Severity;

use crate::failure::{Failure, Outcome};
use crate::program::ProgramArgs;
use crate::render;

/// Reports all errors and warnings of a program, those of all its graphs
///
/// A `-D` goes to the graphs that have the dimension; with --graph, one that this graph does not have
/// is an error. Warnings are about gradients that are likely a mistake; a comment `// fgic: allow(W002)`
/// on the line of a warning, or on the line before, silences it. `fgic explain W002` explains one.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    /// Silences warnings of this code (repeatable)
    #[arg(long, value_name = "CODE", value_parser = warning_code)]
    allow: Vec<&'static str>,
    /// Makes warnings errors
    #[arg(long, value_name = "warnings")]
    deny: Option<Deny>,
    /// Prints one JSON object a line for each diagnostic
    #[arg(long)]
    json: bool,
}

/// What counts as an error.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Deny {
    Warnings,
}

pub fn run(args: &Args) -> Outcome {
    let program = args.program.read()?;
    let mut said = Vec::new();
    for options in args.program.of_each_graph(&program)? {
        let checked = check::check(&program.name, &program.text, &program, &options);
        let mut warnings = audit(&checked).warnings;
        warnings.retain(|warning| !args.allow.contains(&warning.code));
        for mut diagnostic in checked.diagnostics.into_iter().chain(warnings) {
            if args.deny.is_some() {
                diagnostic.severity = Severity::Error;
            }
            if said.contains(&diagnostic) {
                continue;
            }
            match args.json {
                true => writeln!(io::stdout(), "{}", render::json(&checked.sources, &diagnostic))?,
                false => render::to_stderr(&checked.sources, std::slice::from_ref(&diagnostic)),
            }
            said.push(diagnostic);
        }
    }
    match said.iter().any(|diagnostic| diagnostic.is_error()) {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}
