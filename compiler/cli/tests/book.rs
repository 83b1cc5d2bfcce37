//! The book and the README say what is so: their programs check, their commands run and print what is shown.
//!
//! | block | test |
//! |---|---|
//! | `fgi` | checks without a word |
//! | `fgi,fail=CODE` | does not check, for that reason |
//! | `fgi,warn=CODE` | checks with that warning |
//! | `console` | each `$ fgic …` runs, in the order of the page; the lines after it are its output, where `…` stands for anything. A command whose output starts with `error` fails, any other succeeds. So do `$ cc …` and what it makes, `$ ./…` |
//! | any with `file=NAME` | is saved for the page's commands |

use std::path::{Path, PathBuf};
use std::process::Command;

use fgi::{Array, npz};
use fgi_compiler::middle::rewrite::Rewrite;
use fgi_compiler::middle::rewrites;
use fgi_compiler::middle::surrogate::{LAWS, Order, Phase};
use serde_json::{Value, json};

/// A fenced block of a page.
struct Block {
    /// Where it is: `language.md:12`.
    place: String,
    /// What stands after the fence: `fgi,fail=E010`.
    info: Vec<String>,
    text: String,
}

impl Block {
    fn is(&self, kind: &str) -> bool {
        self.info.first().is_some_and(|info| info == kind)
    }

    fn option(&self, name: &str) -> Option<&str> {
        let options = self.info.iter().filter_map(|info| info.split_once('='));
        options.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The README and the pages of the book, in the order of their names, each with its blocks.
fn pages() -> Vec<Vec<Block>> {
    let entries = std::fs::read_dir(workspace().join("book/src")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.push(workspace().join("README.md"));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    files.iter().map(|file| blocks(file)).collect()
}

fn blocks(file: &Path) -> Vec<Block> {
    let page = std::fs::read_to_string(file).unwrap();
    let name = file.file_name().unwrap().display();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                let (place, text) = (format!("{name}:{}", number + 1), String::new());
                let info = info.split(',').map(str::to_owned).collect();
                open = Some(Block { place, info, text });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

/// Runs `fgic` and gives what it printed and whether it succeeded.
fn fgic(arguments: &[&str], directory: &Path) -> (String, bool) {
    run(env!("CARGO_BIN_EXE_fgic").as_ref(), arguments, directory)
}

fn run(program: &Path, arguments: &[&str], directory: &Path) -> (String, bool) {
    let command = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    let printed = [command.stdout, command.stderr].concat();
    (String::from_utf8(printed).unwrap(), command.status.success())
}

#[test]
fn programs_of_the_book_check() {
    let directory = tempfile::tempdir().unwrap();
    let mut count = 0;
    for block in pages().iter().flatten().filter(|block| block.is("fgi")) {
        std::fs::write(directory.path().join("program.fgi"), &block.text).unwrap();
        let (printed, success) = fgic(&["check", "program.fgi"], directory.path());
        let (fails, warns) = (block.option("fail"), block.option("warn"));
        match fails.or(warns) {
            Some(code) => {
                assert_eq!(success, fails.is_none(), "{}:\n{printed}", block.place);
                assert!(printed.contains(code), "{}: not {code}, but\n{printed}", block.place);
            }
            None => {
                let clean = success && !printed.contains("warning");
                assert!(clean, "{}:\n{printed}", block.place);
            }
        }
        count += 1;
    }
    assert!(count > 5, "only {count} programs were found");
}

#[test]
fn commands_of_the_book_print_what_it_shows() {
    for page in pages() {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        for block in &page {
            if let Some(name) = block.option("file") {
                std::fs::write(directory.path().join(name), &block.text).unwrap();
            }
            if block.is("console") {
                run_console(block, directory.path());
            }
        }
    }
}

/// The index is made of the compiler's own pages, so `fgic explain` and the book say the same.
#[test]
fn the_index_lists_every_code() {
    let listed = std::fs::read_to_string(workspace().join("book/src/errors.md")).unwrap();
    let mut codes: Vec<_> = std::fs::read_dir(workspace().join("compiler/src/codes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .collect();
    codes.sort();
    let include = |code: &String| format!("{{{{#include ../../compiler/src/codes/{code}}}}}\n");
    let expected: Vec<_> = codes.iter().map(include).collect();
    let (_, found) = listed.split_at(listed.find("{{#").unwrap_or(listed.len()));
    assert_eq!(found.replace("\n\n", "\n"), expected.concat(), "in book/src/errors.md");
}

/// The table of forms and the passes of targets are those of the help, which are those of the code.
#[test]
fn forms_and_passes_are_those_of_the_compiler() {
    let directory = tempfile::tempdir().unwrap();
    let (help, _) = fgic(&["build", "--help"], directory.path());
    let lines = |after: &str, pick: fn(&str) -> Option<(&str, &str)>| -> Vec<String> {
        let (_, rest) = help.split_once(after).unwrap();
        let rows = rest.lines().skip(1).map_while(|line| pick(line.trim()));
        rows.map(|(name, about)| format!("| `{name}` | {} |", about.trim())).collect()
    };
    let forms = lines("Possible values:", |line| line.strip_prefix("- ")?.split_once(':'));
    let passes = lines("Passes after `lower`, for each target:", |line| line.split_once(' '));
    assert!(forms.len() >= 12 && passes.len() == 3, "{help}");
    let page = std::fs::read_to_string(workspace().join("book/src/how-it-works.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows, [forms, passes].concat());
}

/// The pages of the library and their figures are what `fgic doc` makes of it.
#[test]
fn the_reference_of_the_library_is_current() {
    let directory = tempfile::tempdir().unwrap();
    let (printed, success) = fgic(&["doc", "-o", "."], directory.path());
    assert!(success, "{printed}");
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let made = names(directory.path());
    let summary = std::fs::read_to_string(workspace().join("book/src/SUMMARY.md")).unwrap();
    for name in &made {
        let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
        is_current(&format!("book/src/library/{name}"), &text);
        assert!(name.ends_with(".svg") || summary.contains(&format!("(library/{name})")), "{name}");
    }
    assert_eq!(names(&workspace().join("book/src/library")), made);
}

/// The tables of laws are made of the compiler's own.
#[test]
fn the_book_lists_every_law() {
    let expected = [
        ("Before differentiation", Phase::Surrogate),
        ("On values and gradients together", Phase::Joint),
    ]
    .map(|(title, phase)| laws(title, phase))
    .concat();
    is_current("book/src/calculus/laws.md", &(expected + &others()));
}

/// What is rewritten beside the calculus, as a table.
fn others() -> String {
    let rows = rewrites().map(|Rewrite { name, equation, numeric, reason }| {
        format!("| {name} | {} | {} | {reason} |\n", code(equation), numeric.name())
    });
    let rows: String = rows.collect();
    format!(
        "\n### As kernels are made\n\nNo part of the calculus, and done wherever they fit, in this order.\n\n\
         | rewrite | | class | why |\n|---|---|---|---|\n{rows}"
    )
}

/// An equation and its condition in a cell of a table.
fn code(equation: &str) -> String {
    format!("`{}`", equation.replace('|', "\\|").replace(";  ", "`<br>`"))
}

/// The laws of a phase as a table.
fn laws(title: &str, phase: Phase) -> String {
    let rows = LAWS.iter().filter(|law| law.phases.contains(&phase)).map(|law| {
        let order = match law.order {
            Order::Value => "none",
            Order::First => "first",
            Order::All => "all",
        };
        let numeric = format!("{:?}", law.numeric).to_lowercase();
        let equation = code(law.equation);
        format!("| {} | {equation} | {order} | {numeric} | {} |\n", law.name, law.reason)
    });
    let rows: String = rows.collect();
    if rows.is_empty() {
        return rows;
    }
    format!("\n### {title}\n\n| law | | order | class | why |\n|---|---|---|---|---|\n{rows}")
}

/// The reference of the manifest, and the schema that readers can use.
#[test]
fn the_schema_and_its_reference_are_current() {
    let (json, success) = fgic(&["schema"], &workspace());
    assert!(success, "{json}");
    let schema: Value = serde_json::from_str(&json).unwrap();
    is_current("book/src/manifest.schema.json", &json);
    is_current("book/src/manifest.md", &reference(&schema));
}

/// Compares a generated file; `INSTA_UPDATE=always` writes it anew.
fn is_current(file: &str, text: &str) {
    let path = workspace().join(file);
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, text, "{file}; INSTA_UPDATE=always writes it");
}

/// A section for each object of a schema, with a row for each of its fields.
fn reference(schema: &Value) -> String {
    let mut text = section("The manifest", schema);
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        text += &section(name, definition);
    }
    text
}

fn section(name: &str, definition: &Value) -> String {
    let about = description(definition);
    let mut text = format!("### {name}\n\n{about}\n\n");
    if let Some(fields) = definition["properties"].as_object() {
        let required = definition["required"].as_array().cloned().unwrap_or_default();
        text += "| field | type | |\n|---|---|---|\n";
        for (field, schema) in fields {
            let optional = if required.contains(&json!(field)) { "" } else { " (optional)" };
            let (ty, about) = (type_name(schema), description(schema));
            text += &format!("| `{field}` | {ty}{optional} | {about} |\n");
        }
    } else if definition["enum"].is_array() {
        text += &format!("{}\n", type_name(definition));
    } else if let Some(choices) = definition["oneOf"].as_array() {
        text += "| one of | |\n|---|---|\n";
        for choice in choices {
            text += &format!("| {} | {} |\n", type_name(choice), description(choice));
        }
    }
    text.trim_end().to_owned() + "\n\n"
}

fn description(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or("").replace('\n', " ")
}

fn type_name(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if !schema["const"].is_null() {
        return format!("`{}`", schema["const"]);
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices.iter().map(|c| format!("`{c}`")).collect::<Vec<_>>().join(" or ");
    }
    if let Some(choices) = schema["anyOf"].as_array().or(schema["oneOf"].as_array()) {
        let choices = choices.iter().filter(|choice| choice["type"] != "null");
        return choices.map(type_name).collect::<Vec<_>>().join(" or ");
    }
    if let Some(items) = schema["prefixItems"].as_array() {
        return format!("[{}]", items.iter().map(type_name).collect::<Vec<_>>().join(", "));
    }
    if schema["items"].is_object() {
        return format!("list of {}", type_name(&schema["items"]));
    }
    if let Some(fields) = schema["properties"].as_object() {
        let fields = fields.iter().map(|(name, value)| format!("`{name}`: {}", type_name(value)));
        return format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "));
    }
    for values in ["additionalProperties", "patternProperties"] {
        let of = match &schema[values] {
            Value::Object(map) if values == "patternProperties" => map.values().next().cloned(),
            Value::Object(_) => Some(schema[values].clone()),
            _ => None,
        };
        if let Some(of) = of {
            return format!("map to {}", type_name(&of));
        }
    }
    match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "any".to_owned(),
    }
}

/// What pages take for granted: the examples, and `in.npz` of the page that makes it in Python.
fn prepare(directory: &Path) {
    for example in std::fs::read_dir(workspace().join("dsl-examples")).unwrap() {
        let example = example.unwrap();
        let folder = directory.join("dsl-examples").join(example.file_name());
        std::fs::create_dir_all(&folder).unwrap();
        for file in std::fs::read_dir(example.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
    }
    let pixels = Array::new([8, 4, 8], vec![0.5f32; 256]);
    let label = Array::new([4], vec![0i32, 1, 2, 3]);
    let arrays = [("pixels".into(), pixels), ("label".into(), label)].into();
    npz::write(&directory.join("in.npz"), &arrays).unwrap();
}

fn run_console(block: &Block, directory: &Path) {
    for shown in block.text.split("$ ").skip(1) {
        let (command, expected) = shown.split_once('\n').unwrap_or((shown, ""));
        let words: Vec<_> = command.split_whitespace().collect();
        let (printed, success) = match words[0] {
            "fgic" => fgic(&words[1..], directory),
            "cc" => run("cc".as_ref(), &words[1..], directory),
            made if made.starts_with("./") => run(&directory.join(made), &words[1..], directory),
            _ => continue,
        };
        let at = format!("{}: $ {command}\n{printed}", block.place);
        assert_eq!(success, !expected.starts_with("error"), "{at}");
        assert!(expected.trim().is_empty() || matches(&printed, expected), "{at}");
    }
}

/// Whether a text is as shown, up to white space around it and around `…`, which stands for anything.
fn matches(text: &str, shown: &str) -> bool {
    let Some((first, others)) = shown.split_once('…') else { return text.trim() == shown.trim() };
    let Some(mut rest) = text.trim().strip_prefix(first.trim()) else { return false };
    let mut parts = others.split('…').map(str::trim);
    let last = parts.next_back().unwrap_or("");
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[test]
fn promises_are_tested() {
    let page = std::fs::read_to_string(workspace().join("book/src/reliability.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let tests = rows.filter_map(|row| Some(row.rsplit_once(" | ")?.1)).skip(1);
    let names: Vec<&str> =
        tests.flat_map(|cell| cell.split(", ")).map(|name| name.trim_matches('`')).collect();
    assert!(names.len() > 15, "{names:?}");
    let mut sources = String::new();
    for folder in ["compiler", "runtime", "tests"] {
        rust_files(&workspace().join(folder), &mut sources);
    }
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

fn rust_files(folder: &Path, sources: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
