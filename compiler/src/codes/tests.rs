use std::collections::BTreeMap;

use super::*;
use crate::front::check::{Options, check};
use crate::report::audit::audit;
use crate::source::Loader;

/// A block of a page: the words after its ```` ```fgi ````, and its text.
struct Block<'a> {
    words: Vec<&'a str>,
    text: &'a str,
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    page.split("```fgi")
        .skip(1)
        .map(|rest| {
            let (info, rest) = rest.split_once('\n').unwrap();
            let (text, _) = rest.split_once("```").unwrap();
            Block { words: info.split(',').skip(1).collect(), text }
        })
        .collect()
}

impl Block<'_> {
    fn word<'s>(&'s self, key: &str) -> Option<&'s str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn dims(&self) -> BTreeMap<String, i64> {
        let given = self.word("D").and_then(|given| given.split_once('='));
        given.map(|(name, value)| (name.to_string(), value.parse().unwrap())).into_iter().collect()
    }
}

struct Files<'a>(&'a [Block<'a>]);

impl Loader for Files<'_> {
    fn load(&self, name: &str) -> Option<(String, String)> {
        let file = self.0.iter().find(|block| block.word("file") == Some(name))?;
        Some((format!("{name}.fgi"), file.text.to_string()))
    }
}

#[test]
fn pages_mean_what_they_say() {
    for Code { code, title, page } in CODES {
        assert!(page.starts_with(&format!("# {code}: {title}\n")), "{code}");
        let blocks = blocks(page);
        // A file of 16 MiB and a bug cannot be shown.
        assert_eq!(blocks.is_empty(), matches!(*code, "E007" | "E089"), "{code}");
        for block in blocks.iter().filter(|block| block.word("file").is_none()) {
            let options = Options { dims: block.dims(), ..Options::default() };
            let checked = check("page.fgi", block.text, &Files(&blocks), &options);
            let warnings = audit(&checked).warnings;
            let said = checked.diagnostics.iter().chain(&warnings);
            let mut found: Vec<_> = said.clone().map(|one| one.code).collect();
            found.dedup();
            let is_wrong = block.words.contains(&"fail");
            let expected = if is_wrong { vec![*code] } else { vec![] };
            assert_eq!(found, expected, "{}\n{:#?}", block.text, said.collect::<Vec<_>>());
            assert_eq!(checked.graph.is_none(), is_wrong && code.starts_with('E'), "{code}");
        }
    }
}

#[test]
fn codes_ascend() {
    assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
}

/// The source of the compiler, tests left out.
fn sources(folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" && name != "codes.rs" {
            found.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_code_has_a_page() {
    let mut texts = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut texts);
    for text in &texts {
        for (at, _) in text.match_indices("\"E0").chain(text.match_indices("\"W0")) {
            let code = &text[at + 1..at + 5];
            let is_code = text[at + 5..].starts_with('"')
                && code[1..].bytes().all(|byte| byte.is_ascii_digit());
            assert!(!is_code || find(code).is_some(), "{code} has no page");
        }
    }
}
