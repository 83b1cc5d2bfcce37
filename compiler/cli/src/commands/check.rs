use std::io::{self, Write};

use fgi_compiler::check::{self, GraphHead, Options};

use crate::failure::{Failure, Outcome};
use crate::program::ProgramArgs;
use crate::render;

/// Reports all errors and warnings of a program, those of all its graphs
///
/// A `-D` goes to the graphs that have the dimension; with --graph, one that this graph does not have
/// is an error.
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
    let heads = check::heads(&program.name, &program.text, &program).graphs;
    let (asked, given) = (args.program.graph.as_ref(), args.program.dims()?);
    // All graphs are checked, each with the dimensions that it has. What is meant for one graph, or for
    // none, is reported if that one does not have it.
    let takes = |graph: &GraphHead, dim: &str| {
        graph.has_dim(dim)
            || asked == Some(&graph.name)
            || asked.is_none() && heads.iter().all(|other| !other.has_dim(dim))
    };
    let options = |graph: &GraphHead| {
        let dims = given.clone().into_iter().filter(|(dim, _)| takes(graph, dim));
        Options { graph: Some(graph.name.clone()), dims: dims.collect(), sized: false }
    };
    let mut all: Vec<Options> = heads.iter().map(options).collect();
    if all.is_empty() || asked.is_some_and(|name| heads.iter().all(|graph| graph.name != *name)) {
        all.push(Options { graph: asked.cloned(), dims: given.clone(), sized: false });
    }
    let mut said = Vec::new();
    for options in all {
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
