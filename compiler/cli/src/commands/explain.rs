use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fgi_compiler::codes::{self, CODES};
use fgi_compiler::front::check::{self, closest};
use fgi_compiler::middle::surrogate::{LAWS, Law};
use fgi_compiler::report::audit::{Entry, audit};
use fgi_compiler::report::explain::explain;
use fgi_compiler::report::reference::reference;

use crate::failure::{Failure, Outcome};
use crate::program::{GraphArgs, ProgramArgs, unknown_module};
use crate::render;

/// Explains what the compiler makes of a program, an item of the standard library, a law of the calculus, or the code of an
/// error or warning
///
/// For a program: where gradients are injected, bypassed, cut and reset, which parameters receive them, and
/// the warnings of `fgic check`. For a binding: its normal form, what is computed forward and sent backward,
/// and the proof that this is what was written. For a code: what it means, a wrong program, the right one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// FILE.fgi, FILE.fgi::BINDING with the path of instances (h.z), std:MODULE::ITEM, rule:NAME, or a code such as E040;
    /// all codes are listed if not given, all laws for rule:, all items for std:MODULE
    #[arg(value_name = "WHAT")]
    what: Option<String>,
    #[command(flatten)]
    taken: GraphArgs,
}

const EXAMPLES: &str = "Examples:
  fgic explain dsl-examples/smnist/smnist.fgi
  fgic explain dsl-examples/smnist/smnist.fgi::h.z
  fgic explain std:neuron::leaky
  fgic explain rule:cancel
  fgic explain E040";

pub fn run(args: &Args) -> Outcome {
    let mut out = io::stdout();
    let Some(asked) = &args.what else {
        for code in CODES {
            writeln!(out, "{}  {}", code.code, code.title)?;
        }
        return Ok(());
    };
    if let Some(name) = asked.strip_prefix("rule:") {
        return explain_law(name);
    }
    if let Some(path) = asked.strip_prefix("std:") {
        return explain_item(path);
    }
    if let Some(code) = codes::find(asked) {
        return Ok(writeln!(out, "{}", code.page.trim())?);
    }
    match asked.rsplit_once("::") {
        Some((file, binding)) => explain_binding(&args.of(file.into()), binding),
        None if asked == "-" || asked.ends_with(".fgi") || Path::new(asked).is_file() => {
            explain_program(&args.of(asked.into()))
        }
        None => Err(Failure::Usage(format!(
            "`{asked}` is no code, which `fgic explain` lists, no std:MODULE::ITEM, no rule:NAME, no FILE.fgi and no FILE.fgi::BINDING"
        ))),
    }
}

/// An item of the standard library, or the names of all in a module with the first lines of their docs.
fn explain_item(path: &str) -> Outcome {
    let mut out = io::stdout();
    let (module, item) = path.split_once("::").map_or((path, None), |(m, item)| (m, Some(item)));
    let sections = reference(module).ok_or_else(|| unknown_module(module))?;
    let Some(name) = item else {
        for (number, section) in sections.iter().enumerate() {
            writeln!(out, "{}{}", if number == 0 { "" } else { "\n" }, section.about.join("\n"))?;
            for entry in &section.items {
                writeln!(out, "    {:28}  {}", entry.name, entry.title())?;
            }
        }
        return Ok(());
    };
    let items = || sections.iter().flat_map(|section| &section.items);
    match items().find(|entry| entry.name == name) {
        Some(entry) => Ok(writeln!(out, "{}\n\n{}", entry.signature, entry.docs.join("\n"))?),
        None => {
            let likely = closest(name, items().map(|entry| entry.name.as_str()));
            let hint = likely.map(|likely| format!("did you mean `std:{module}::{likely}`? "));
            Err(Failure::Usage(format!(
                "`{module}` has no `{name}`; {}`fgic explain std:{module}` lists all",
                hint.unwrap_or_default()
            )))
        }
    }
}

fn explain_law(name: &str) -> Outcome {
    let mut out = io::stdout();
    if name.is_empty() {
        let width = LAWS.iter().map(|law| law.name.len()).max().unwrap_or(0);
        for Law { name, equation, .. } in LAWS {
            writeln!(out, "{name:width$}  {equation}")?;
        }
        return Ok(());
    }
    match LAWS.iter().find(|law| law.name == name) {
        Some(law) => Ok(write!(out, "{law}")?),
        None => {
            let likely = closest(name, LAWS.iter().map(|law| law.name));
            let hint = likely.map(|likely| format!("did you mean `rule:{likely}`? "));
            Err(Failure::Usage(format!(
                "there is no law `{name}`; {}`fgic explain rule:` lists all",
                hint.unwrap_or_default()
            )))
        }
    }
}

impl Args {
    fn of(&self, file: PathBuf) -> ProgramArgs {
        ProgramArgs { file, taken: self.taken.clone() }
    }
}

/// The audit of each graph.
fn explain_program(program: &ProgramArgs) -> Outcome {
    let text = program.read()?;
    let mut out = io::stdout();
    let mut is_first = true;
    for options in program.of_each_graph(&text)? {
        if program.graph().is_some() && program.graph() != options.graph.as_ref() {
            continue;
        }
        let checked = check::check(&text.name, &text.text, &text, &options);
        render::to_stderr(&checked.sources, &checked.diagnostics);
        let Some(graph) = &checked.graph else { return Err(Failure::Reported) };
        let audit = audit(&checked);
        writeln!(out, "{}graph {}", if is_first { "" } else { "\n" }, graph.name)?;
        is_first = false;
        let own = |entry: &Entry| checked.sources.get(entry.place.file).map(|file| &file.name);
        for entry in &audit.entries {
            let (line, _) = checked.sources.line_column(entry.place);
            let file = own(entry).filter(|name| **name != text.name);
            let place = file.map_or(line.to_string(), |file| format!("{file}:{line}"));
            writeln!(out, "{place:>6}  {:6}  {}", entry.kind, entry.text)?;
        }
        for warning in &audit.warnings {
            writeln!(out, "\n{}", render::text(&checked.sources, warning, false))?;
        }
    }
    Ok(())
}

fn explain_binding(program: &ProgramArgs, binding: &str) -> Outcome {
    let text = program.read()?;
    let options = check::Options {
        graph: program.graph().cloned(),
        dims: program.dims()?,
        ..Default::default()
    };
    let checked = check::check(&text.name, &text.text, &text, &options);
    render::to_stderr(&checked.sources, &checked.diagnostics);
    let graph = checked.graph.ok_or(Failure::Reported)?;
    let explanation = explain(&graph, &checked.places, binding)
        .map_err(|error| Failure::Program(error.to_string()))?;
    let mut out = io::stdout();
    let (line, _) = checked.sources.line_column(explanation.span);
    let file = checked.sources.get(explanation.span.file).map_or("", |file| &file.name);
    writeln!(out, "{} at {file}:{line}", explanation.path)?;
    for line in checked.sources.text(explanation.span).lines() {
        writeln!(out, "    {}", line.trim())?;
    }
    Ok(write!(out, "\n{explanation}")?)
}
