use std::io::{self, Write};

use fgi_compiler::check::{self, Options};

use crate::failure::{Failure, Outcome};
use crate::program::ProgramArgs;
use crate::render;

/// Reports all errors and warnings of a program
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    program: ProgramArgs,
    /// Prints one JSON object a line for each diagnostic
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Outcome {
    let program = args.program.read()?;
    // Without a name, every graph of the program is checked.
    let graphs = match &args.program.graph {
        Some(name) => vec![Some(name.clone())],
        None => {
            let heads = check::heads(&program.name, &program.text, &program);
            match heads.graphs.len() {
                0 | 1 => vec![None],
                _ => heads.graphs.into_iter().map(|graph| Some(graph.name)).collect(),
            }
        }
    };
    let mut said = Vec::new();
    for graph in graphs {
        let options = Options { graph, dims: args.program.dims()? };
        let checked = check::check(&program.name, &program.text, &program, &options);
        for diagnostic in checked.diagnostics {
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
