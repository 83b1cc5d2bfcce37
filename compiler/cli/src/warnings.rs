//! Warnings of the gradient audit, and what they count.

use fgi_compiler::Options;
use fgi_compiler::diagnostic::{Diagnostic, Severity};
use fgi_compiler::front::check::Checked;
use fgi_compiler::report::audit::{audit, warning_code};

use crate::failure::Failure;
use crate::program::ProgramText;
use crate::render;

/// Which warnings there are, and what they count.
#[derive(clap::Args)]
pub struct WarningArgs {
    /// Silences warnings of this code (repeatable)
    #[arg(long, value_name = "CODE", value_parser = warning_code)]
    allow: Vec<&'static str>,
    /// Makes warnings errors
    #[arg(long, value_name = "warnings")]
    deny: Option<Deny>,
}

/// What counts as an error.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Deny {
    Warnings,
}

impl WarningArgs {
    /// What there is to say of a program: errors, and the warnings that are not silenced.
    pub fn diagnostics(&self, checked: &Checked) -> Vec<Diagnostic> {
        let mut warnings = audit(checked).warnings;
        warnings.retain(|warning| !self.allow.contains(&warning.code));
        let all = checked.diagnostics.iter().cloned().chain(warnings);
        let denied = |mut diagnostic: Diagnostic| {
            if self.deny.is_some() {
                diagnostic.severity = Severity::Error;
            }
            diagnostic
        };
        all.map(denied).collect()
    }

    /// Checks the graph that is to be compiled, and prints what there is to say of it.
    pub fn print(&self, program: &ProgramText, options: &Options) -> Result<Checked, Failure> {
        let checked = fgi_compiler::check(&program.name, &program.text, program, options);
        let diagnostics = self.diagnostics(&checked);
        render::to_stderr(&checked.sources, &diagnostics);
        match diagnostics.iter().any(Diagnostic::is_error) {
            true => Err(Failure::Reported),
            false => Ok(checked),
        }
    }
}
