use std::io::{self, Write};

use fgi_compiler::codes::{self, CODES};

use crate::failure::{Failure, Outcome};

/// Explains an error code: what it means, a wrong program, the right one
#[derive(clap::Args)]
pub struct Args {
    /// The code, such as E040; all codes are listed if not given
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

pub fn run(args: &Args) -> Outcome {
    let mut out = io::stdout();
    let Some(asked) = &args.code else {
        for code in CODES {
            writeln!(out, "{}  {}", code.code, code.title)?;
        }
        return Ok(());
    };
    match codes::find(asked) {
        Some(code) => Ok(writeln!(out, "{}", code.page.trim())?),
        None => {
            Err(Failure::Usage(format!("there is no code `{asked}`; `fgic explain` lists all")))
        }
    }
}
