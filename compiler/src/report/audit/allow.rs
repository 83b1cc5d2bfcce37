//! `// fgic: allow(W002)`: comments that silence warnings.

use crate::codes;
use crate::diagnostic::Diagnostic;
use crate::front::check::{closest, is_standard};
use crate::front::syntax::comments;
use crate::source::{FileId, Source, Sources, Span};

/// What the comments of a program allow.
pub struct Allowed {
    /// A code, and the line of its comment.
    codes: Vec<(String, FileId, usize)>,
    /// What is no such comment, or allows what is no warning.
    pub unknown: Vec<Diagnostic>,
}

/// The code of a warning as it is spelt; or why it is none.
pub fn warning_code(code: &str) -> Result<&'static str, String> {
    let known = codes::find(code).filter(|known| known.code.starts_with('W'));
    known.map(|known| known.code).ok_or_else(|| match codes::find(code) {
        Some(error) => format!("{} is an error, and errors cannot be allowed", error.code),
        None => {
            let likely = closest(code, codes::CODES.iter().map(|known| known.code));
            let likely = likely.filter(|code| code.starts_with('W'));
            let likely = likely.map(|code| format!("did you mean {code}? ")).unwrap_or_default();
            format!("there is no warning `{code}`; {likely}`fgic explain` lists all")
        }
    })
}

/// The comments of a program's own files.
pub fn read(sources: &Sources) -> Allowed {
    let mut allowed = Allowed { codes: Vec::new(), unknown: Vec::new() };
    let may_allow = |source: &Source| source.text.contains("fgic:") && !is_standard(source);
    for (file, source) in sources.iter().enumerate().filter(|(_, source)| may_allow(source)) {
        let file = FileId(file as u32);
        for (start, comment) in comments(&source.text) {
            let span = Span::new(file, start, start + comment.len());
            let text = comment.trim_start_matches(['/', '*']).trim_end_matches(['/', '*']).trim();
            let Some(rest) = text.strip_prefix("fgic:") else { continue };
            let list = rest.trim().strip_prefix("allow(").and_then(|rest| rest.strip_suffix(')'));
            let Some(list) = list else {
                let problem =
                    Diagnostic::warning("W005", "a comment to fgic that is not understood")
                        .label(span, "silences nothing")
                        .expected("`// fgic: allow(W002)`, with codes of warnings");
                allowed.unknown.push(problem);
                continue;
            };
            let (line, _) = sources.line_column(span);
            for code in list.split(',').map(str::trim) {
                match warning_code(code) {
                    Ok(code) => allowed.codes.push((code.into(), file, line)),
                    Err(why) => allowed
                        .unknown
                        .push(Diagnostic::warning("W005", why).label(span, "silences nothing")),
                }
            }
        }
    }
    allowed
}

impl Allowed {
    /// Whether a comment stands on the line of the warning or on the line before.
    pub fn silences(&self, sources: &Sources, warning: &Diagnostic) -> bool {
        let Some(place) = warning.labels.first().map(|label| label.span) else { return false };
        let (line, _) = sources.line_column(place);
        self.codes.iter().any(|(code, file, of)| {
            *code == warning.code && *file == place.file && (*of == line || of + 1 == line)
        })
    }
}
