use std::io::{self, Write};

use fgi_compiler::artifact::manifest;

use crate::failure::{Failure, Outcome};

/// Prints the JSON schema of an artifact's manifest
#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> Outcome {
    let text = serde_json::to_string_pretty(&manifest::schema());
    let text = text.map_err(|error| Failure::Run(error.to_string()))?;
    Ok(writeln!(io::stdout(), "{text}")?)
}
