//! The reference of the standard library: the items of a module with their signatures and docs, in the sections that the
//! comments between them make.

use crate::front::check::standard_module;
use crate::front::syntax::ast::{Item, ItemKind};
use crate::front::syntax::{comments, parse};
use crate::source::FileId;

/// The items below a comment. That of the first section is about the module.
#[derive(Clone, Debug, Default)]
pub struct Section {
    /// The lines of the comment, without slashes.
    pub about: Vec<String>,
    /// In the order of the text.
    pub items: Vec<Entry>,
}

impl Section {
    /// The comment up to its first stop or colon.
    pub fn title(&self) -> String {
        beginning(&self.about)
    }
}

/// A function, layer or constant.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Without its module.
    pub name: String,
    /// All but the body, as it is written.
    pub signature: String,
    /// The lines of its docs: formula, shapes, source.
    pub docs: Vec<String>,
}

impl Entry {
    /// The docs up to their first stop or colon.
    pub fn title(&self) -> String {
        beginning(&self.docs)
    }
}

fn beginning(lines: &[String]) -> String {
    let text = lines.join(" ");
    let ends = [". ", ": "].into_iter().filter_map(|end| text.find(end));
    let end = ends.min().unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}

enum Part<'a> {
    Comment(&'a str),
    Item(&'a Item),
}

/// The sections of a module of the standard library; `None` if there is no such module.
pub fn reference(module: &str) -> Option<Vec<Section>> {
    let text = standard_module(module)?;
    let (ast, _) = parse(text, FileId::default());
    let is_inside = |at: usize| {
        let mut spans =
            ast.items.iter().map(|item| item.span.start as usize..item.span.end as usize);
        spans.any(|span| span.contains(&at))
    };
    let lines = comments(text).into_iter().filter(|(at, _)| !is_inside(*at));
    let lines = lines.map(|(at, line)| (at, Part::Comment(line)));
    let items = ast.items.iter().map(|item| (item.span.start as usize, Part::Item(item)));
    let mut parts: Vec<_> = lines.chain(items).collect();
    parts.sort_by_key(|(at, _)| *at);
    let mut sections = vec![Section::default()];
    let mut end_of_line = 0;
    for (at, part) in parts {
        match part {
            Part::Comment(line) => {
                if at > 0 && text[end_of_line..at].trim_matches(' ') != "\n" {
                    sections.push(Section::default());
                }
                end_of_line = at + line.len();
                let line = line.trim_start_matches('/').trim();
                sections.last_mut()?.about.push(line.to_owned());
            }
            Part::Item(item) => sections.last_mut()?.items.extend(entry(text, item)),
        }
    }
    Some(sections)
}

fn entry(text: &str, item: &Item) -> Option<Entry> {
    let whole = &text[item.span.start as usize..item.span.end as usize];
    let (name, signature) = match &item.kind {
        ItemKind::Const(item) => (&item.name, whole.trim_end_matches(';')),
        ItemKind::Fn(item) => (&item.name, before_body(whole)),
        ItemKind::Layer(item) => (&item.name, before_body(whole)),
        ItemKind::Graph(_) | ItemKind::Use(_) => return None,
    };
    let docs = item.docs.iter().map(|line| line.trim().to_owned()).collect();
    Some(Entry { name: name.text.clone(), signature: signature.into(), docs })
}

/// An item up to the parenthesis that closes its arguments.
fn before_body(item: &str) -> &str {
    let mut depth = 0;
    for (at, byte) in item.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 => return &item[..=at],
            b')' => depth -= 1,
            _ => {}
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::check::standard_modules;

    #[test]
    fn every_item_has_a_signature_and_docs() {
        for module in standard_modules() {
            let sections = reference(module).unwrap();
            assert!(!sections[0].about.is_empty(), "{module}");
            for Entry { name, signature, docs } in sections.iter().flat_map(|one| &one.items) {
                assert!(signature.contains(name) && !signature.contains('{'), "{signature}");
                assert!(!docs.is_empty(), "{module}::{name} has no docs");
            }
        }
        let neurons = reference("neuron").unwrap();
        let titles: Vec<_> = neurons.iter().map(Section::title).collect();
        assert!(titles.contains(&"Leaky integrate-and-fire".to_owned()), "{titles:?}");
        let li = neurons.iter().flat_map(|one| &one.items).find(|item| item.name == "li").unwrap();
        assert_eq!(li.signature, "layer li(current: [.., N])");
    }
}
