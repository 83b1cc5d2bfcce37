//! Diagnostics as text for people and as JSON for programs; tables.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use fgi_compiler::diagnostic::{Diagnostic, Label, Severity};
use fgi_compiler::source::{FileId, Sources, Span};
use serde_json::json;

/// Prints diagnostics on standard error.
pub fn to_stderr(sources: &Sources, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let text = text(sources, diagnostic, styled(&io::stderr()));
        // Nobody may be there to read it.
        let _ = writeln!(io::stderr(), "{text}\n");
    }
}

/// Says something that is no error, on standard error.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}{text}", heading("note"));
}

/// Warns of what the program does, on standard error.
pub fn warning(text: &str) {
    let _ = writeln!(io::stderr(), "{}{text}", heading("warning"));
}

/// Says how numbers of files become elements of a program, where they do.
pub fn conversions(said: &[String]) {
    if !said.is_empty() {
        note(&said.join("; "));
    }
}

/// `error: `, in colour where standard error shows it.
pub fn heading(level: &str) -> String {
    match styled(&io::stderr()) {
        true => format!("\x1b[1;{}m{level}\x1b[0m: ", if level == "error" { 91 } else { 96 }),
        false => format!("{level}: "),
    }
}

/// A diagnostic with the source lines that it is about.
pub fn text(sources: &Sources, diagnostic: &Diagnostic, styled: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level.primary_title(&diagnostic.message).id(diagnostic.code).elements(
        files(diagnostic).into_iter().filter_map(|file| snippet(sources, diagnostic, file)),
    );
    match (&diagnostic.expected, &diagnostic.found) {
        (Some(expected), Some(found)) => {
            let width = "expected".len();
            let text = format!("expected {expected}\n{:>width$} {found}", "found");
            group = group.element(Level::NOTE.message(text));
        }
        (Some(expected), None) => {
            group = group.element(Level::NOTE.message(format!("expected {expected}")));
        }
        (None, Some(found)) => {
            group = group.element(Level::NOTE.message(format!("found {found}")));
        }
        (None, None) => {}
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    if let Some(hint) = &diagnostic.hint {
        group = group.element(Level::HELP.message(hint));
    }
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// A diagnostic as one JSON object. Lines and columns count from 1, columns in characters; `start` and
/// `end` are bytes from 0.
pub fn json(sources: &Sources, diagnostic: &Diagnostic) -> serde_json::Value {
    let place = |label: &Label| {
        let span = label.span;
        let (line, column) = sources.line_column(span);
        let (end_line, end_column) = sources.line_column(Span { start: span.end, ..span });
        json!({
            "file": sources.get(span.file).map(|source| &source.name),
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "start": span.start,
            "end": span.end,
            "text": label.text,
        })
    };
    json!({
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "code": diagnostic.code,
        "message": diagnostic.message,
        "labels": diagnostic.labels.iter().map(place).collect::<Vec<_>>(),
        "expected": diagnostic.expected,
        "found": diagnostic.found,
        "notes": diagnostic.notes,
        "hint": diagnostic.hint,
    })
}

/// The most characters of a cell but the last of its row. Longer ones, such as names that a machine
/// made, are cut.
const CELL: usize = 60;

/// Columns as wide as their widest cell, indented.
pub fn table(rows: Vec<Vec<String>>) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    let cut = |row: Vec<String>| -> Vec<String> {
        let last = row.len().saturating_sub(1);
        let cells = row.into_iter().enumerate();
        cells.map(|(at, cell)| if at < last { shortened(cell) } else { cell }).collect()
    };
    let rows: Vec<_> = rows.into_iter().map(cut).collect();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        let cells = widths.iter_mut().zip(row);
        cells.for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let missing = width - cell.chars().count();
            cell.clone() + &" ".repeat(missing)
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The start and the end of a text that is too long for a cell.
fn shortened(text: String) -> String {
    let length = text.chars().count();
    if length <= CELL {
        return text;
    }
    let half = (CELL - 1) / 2;
    let start: String = text.chars().take(CELL - 1 - half).collect();
    let end: String = text.chars().skip(length - half).collect();
    format!("{start}…{end}")
}

/// The files of the labels, that of the primary one first.
fn files(diagnostic: &Diagnostic) -> Vec<FileId> {
    let mut files: Vec<FileId> = Vec::new();
    for label in &diagnostic.labels {
        if !files.contains(&label.span.file) {
            files.push(label.span.file);
        }
    }
    files
}

fn snippet<'s>(
    sources: &'s Sources,
    diagnostic: &'s Diagnostic,
    file: FileId,
) -> Option<Snippet<'s, annotate_snippets::Annotation<'s>>> {
    let source = sources.get(file)?;
    let primary = diagnostic.labels.first().map(|label| label.span);
    let of_file = || diagnostic.labels.iter().filter(|label| label.span.file == file);
    // The lines with labels and those between them: the whole text can be long.
    let ranges = || of_file().map(|label| range(&source.text, label.span));
    let first = ranges().map(|range| range.start).min()?;
    let last = ranges().map(|range| range.end).max()?;
    let start = source.text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let end = source.text[last..].find('\n').map_or(source.text.len(), |newline| last + newline);
    let (line, _) = sources.line_column(Span::new(file, first, first));
    let annotations = of_file().map(|label| {
        let kind = match Some(label.span) == primary {
            true => AnnotationKind::Primary,
            false => AnnotationKind::Context,
        };
        let Range { start: from, end: to } = range(&source.text, label.span);
        kind.span(from - start..to - start).label(&label.text)
    });
    let snippet = Snippet::source(&source.text[start..end]).line_start(line);
    Some(snippet.path(&source.name).annotations(annotations))
}

/// The span as a range of whole characters inside of the text.
fn range(text: &str, span: Span) -> Range<usize> {
    let boundary = |at: u32| text.floor_char_boundary(at as usize);
    let start = boundary(span.start);
    start..boundary(span.end).max(start)
}

fn styled(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_cells_lose_their_middle_but_for_the_last() {
        let name = format!("start{}end", "é".repeat(70_000));
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let lines = table(vec![row(&["a", "b", &name]), row(&[&name, "c"])]);
        assert_eq!(lines[0], format!("  a{}  b  {name}", " ".repeat(CELL - 1)));
        assert!(lines[1].starts_with("  starté") && lines[1].ends_with("éend  c"), "{}", lines[1]);
        assert_eq!(lines[1].chars().count(), "  ".len() + CELL + "  c".len());
    }
}
