//! Text → syntax tree, and back to its canonical text. The tree itself is the compiler's own; what a
//! front end may ask of a program's items is in [`heads`](crate::front::check::heads()).

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use lalrpop_util::lalrpop_mod;
use tokens::{Comment, Spanned};

mod actions;
pub(crate) mod ast;
mod errors;
mod format;
mod layout;
mod recover;
mod tokens;

use actions::Context;
pub use format::format;
pub(crate) use format::{expr_to_lines, expr_to_string, print_module};

lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused_qualifications, dead_code)]
    grammar,
    "/front/syntax/grammar.rs"
);

/// The largest text that is read.
const MAX_BYTES: usize = 16 << 20;
/// A file with more errors than this is not worth a longer report.
const MAX_DIAGNOSTICS: usize = 256;

/// Reads a file. The tree holds what could be read; the diagnostics, in the order of the text, say what could not.
pub(crate) fn parse(text: &str, file: FileId) -> (ast::Module, Vec<Diagnostic>) {
    let parsed = parse_all(text, file);
    (parsed.module, parsed.diagnostics)
}

/// The text of a program's tree, without comments other than `///`; if it does not parse, the errors.
pub fn tree(text: &str, file: FileId) -> Result<String, Vec<Diagnostic>> {
    let (module, diagnostics) = parse(text, file);
    match diagnostics.iter().any(Diagnostic::is_error) {
        true => Err(diagnostics),
        false => Ok(print_module(&module)),
    }
}

/// The `//` and `/* */` comments of a text with their slashes, each with its first byte.
pub(crate) fn comments(text: &str) -> Vec<(usize, &str)> {
    let lexed = tokens::lex(text, FileId::default());
    lexed.comments.iter().map(|comment| (comment.start, comment.text)).collect()
}

/// All that the parser knows about a text.
#[derive(Default)]
struct Parsed<'t> {
    module: ast::Module,
    tokens: Vec<Spanned<'t>>,
    comments: Vec<Comment<'t>>,
    diagnostics: Vec<Diagnostic>,
}

fn parse_all(text: &str, file: FileId) -> Parsed<'_> {
    if text.len() > MAX_BYTES {
        let problem = Diagnostic::error("E007", "the file is too large")
            .label(Span::new(file, 0, 0), "in this file")
            .expected(format!("at most {MAX_BYTES} bytes"))
            .found(format!("{} bytes", text.len()));
        return Parsed { diagnostics: vec![problem], ..Parsed::default() };
    }
    let tokens::Lexed { tokens, comments, docs, mut diagnostics } = tokens::lex(text, file);
    let mut context = Context::new(file, docs);
    let mut items = Vec::new();
    for chunk in recover::split(text, file, &tokens, &mut diagnostics) {
        let start = context.diagnostics.len();
        items.extend(parse_item(&chunk, file, &mut context));
        if context.diagnostics.len() > start {
            context.forget_docs(chunk.range());
        }
    }
    context.report_misplaced_docs();
    diagnostics.append(&mut context.diagnostics);
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| label.span.start));
    diagnostics.truncate(MAX_DIAGNOSTICS);
    Parsed { module: ast::Module { items }, tokens, comments, diagnostics }
}

fn parse_item<'t>(
    chunk: &recover::Chunk<'t>,
    file: FileId,
    context: &mut Context<'t>,
) -> Option<ast::Item> {
    let problem = recover::not_an_item(chunk, file).or_else(|| recover::too_deep(chunk, file));
    if let Some(problem) = problem {
        context.diagnostics.push(problem);
        return None;
    }
    let before = context.diagnostics.len();
    let parsed =
        grammar::ItemParser::new().parse(context, chunk.tokens.iter().map(|&token| Ok(token)));
    let mut errors = std::mem::take(&mut context.errors);
    let item = parsed.map_err(|error| errors.push(error)).ok();
    // An error past the end of the item comes from going on too early after the one before.
    if errors.len() > 1 {
        errors.retain(|error| !errors::is_past_the_end(error));
    }
    let found = errors.iter().filter_map(|error| errors::diagnostic(error, chunk, file));
    context.diagnostics.extend(found);
    context.diagnostics.extend(errors::missing_semicolons(chunk, &errors, file));
    // What is wrong behind an unclosed delimiter follows from it, and that is reported.
    let mut reported = context.diagnostics.split_off(before);
    reported.retain(|diagnostic| {
        diagnostic.labels.first().is_none_or(|label| !chunk.is_broken_at(label.span.start as usize))
    });
    context.diagnostics.append(&mut reported);
    item
}

#[cfg(test)]
mod tests;
