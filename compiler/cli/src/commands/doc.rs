use std::fmt::Write;
use std::path::{Path, PathBuf};

use fgi_compiler::front::check::standard_modules;
use fgi_compiler::report::curve::Request;
use fgi_compiler::report::reference::{Entry, Section, reference};
use fgi_compiler::report::trace::trace;

use super::plot::{self, Points};
use crate::commands::eval::EvalDevice;
use crate::failure::{Failure, Outcome};
use crate::figure::curves::{Curves, Panel};
use crate::figure::traces::Traces;
use crate::figure::{Picture, svg};

/// Writes the reference of the standard library: a page (Markdown) for each module, with the signatures and docs of its
/// items, and figures (SVG) of its surrogates and neurons
#[derive(clap::Args)]
pub struct Args {
    /// The directory to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

pub fn run(args: &Args) -> Outcome {
    std::fs::create_dir_all(&args.output)
        .map_err(|error| Failure::Run(format!("{}: {error}", args.output.display())))?;
    for module in standard_modules() {
        let sections = reference(module).unwrap_or_default();
        let mut page = format!("# {module}\n");
        for (number, section) in sections.iter().enumerate() {
            let is_about_module = number == 0;
            if !is_about_module {
                writeln!(page, "\n## {}", section.title()).map_err(unwritten)?;
            }
            let is_title_alone = section.about.join(" ").trim_end_matches('.') == section.title();
            if is_about_module || !is_title_alone {
                writeln!(page, "\n{}", section.about.join("\n")).map_err(unwritten)?;
            }
            if let Some(figure) = figure(module, section)? {
                let name = format!("{module}-{number}.svg");
                write_file(&args.output.join(&name), &figure)?;
                writeln!(page, "\n![{}]({name})", section.title()).map_err(unwritten)?;
            }
            for Entry { name, signature, docs } in &section.items {
                let docs = docs.join("\n");
                writeln!(page, "\n### {name}\n\n```text\n{signature}\n```\n\n{docs}")
                    .map_err(unwritten)?;
            }
        }
        write_file(&args.output.join(format!("{module}.md")), &page)?;
    }
    Ok(())
}

fn unwritten(error: std::fmt::Error) -> Failure {
    Failure::Run(error.to_string())
}

fn write_file(path: &Path, text: &str) -> Outcome {
    Ok(fgi::write_whole(path, |file| file.write_all(text.as_bytes()))?)
}

/// What the items of a section look like, those that can be drawn: spikes with each surrogate, and neurons.
fn figure(module: &str, section: &Section) -> Result<Option<String>, Failure> {
    match module {
        "surrogate" => {
            let names = section.items.iter().map(|item| item.name.as_str());
            let panels: Vec<_> = names.filter_map(spike).collect::<Result<_, _>>()?;
            drawn(panels.len(), &Curves(panels))
        }
        "neuron" => {
            let names = section.items.iter().map(|item| item.name.clone());
            let traces: Vec<_> =
                names.filter_map(|name| Some((name.clone(), trace(&name)?))).collect();
            drawn(traces.len(), &Traces(traces))
        }
        _ => Ok(None),
    }
}

fn drawn(panels: usize, picture: &impl Picture) -> Result<Option<String>, Failure> {
    let figure = (panels > 0).then(|| svg(picture)).transpose();
    figure.map_err(|error| Failure::Run(error.to_string()))
}

/// A spike with this surrogate. Antiderivatives, quantisers and what takes more than a number are no surrogates.
fn spike(name: &str) -> Option<Result<Panel, Failure>> {
    let is_other =
        name.ends_with("_integral") || name.ends_with("_ste") || name.contains("quantize");
    if is_other || name == "harmonic" {
        return None;
    }
    let request = Request { spike: true, ..Request::default() };
    let points = Points { range: (-3.0, 3.0), count: 121, device: EvalDevice::Reference };
    let curve = plot::curves(&format!("std:surrogate::{name}"), &request);
    Some(curve.and_then(|mut curves| {
        let curve = curves.pop().ok_or_else(|| Failure::Run(format!("there is no `{name}`")))?;
        plot::panel(curve, &points)
    }))
}
