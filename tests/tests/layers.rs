//! What imports what in the compiler's sources: rooms stand in the order of the flow and import only what stands
//! before them, and the files of a room do not import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use fgi_tests::workspace;

/// The rooms of the compiler, each of which may import those before it.
const ROOMS: [&str; 15] = [
    "source",
    "codes",
    "diagnostic",
    "front/syntax",
    "ir/graph",
    "ir/kernel",
    "front/check",
    "middle/surrogate",
    "middle/autodiff",
    "middle/simplify",
    "middle/optimizer",
    "middle/schedule",
    "middle/lower",
    "target",
    "driver",
];

/// Readers of all of these; one may use another.
const ABOVE: [&str; 2] = ["artifact", "report"];

type Module = Vec<String>;

#[test]
fn rooms_import_only_what_stands_before_them() {
    let rank = |module: &Module| {
        let path = module.join("/");
        let is_in = |room: &&str| path == **room || path.starts_with(&format!("{room}/"));
        let rooms = ROOMS.iter().chain(&ABOVE);
        rooms.clone().position(is_in).map(|at| (at.min(ROOMS.len()), at))
    };
    let mut wrong = Vec::new();
    for (module, imports) in imports() {
        let Some((rank_of_module, room)) = rank(&module) else { continue };
        for import in imports {
            let is_before = rank(&import).is_none_or(|(rank, other)| {
                rank < rank_of_module || other == room || rank == ROOMS.len()
            });
            if !is_before {
                wrong.push(format!("{} imports {}", module.join("::"), import.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder's own file may import what is inside, and what is inside the folder's file.
#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let mut imports = imports();
    for (module, imported) in &mut imports {
        imported.retain(|other| !module.starts_with(other) && !other.starts_with(module));
    }
    let circles: Vec<_> = imports
        .keys()
        .filter(|module| reached(&imports, module).contains(*module))
        .map(|module| module.join("::"))
        .collect();
    assert!(circles.is_empty(), "in a circle: {}", circles.join(", "));
}

fn reached<'a>(
    imports: &'a BTreeMap<Module, BTreeSet<Module>>,
    start: &Module,
) -> BTreeSet<&'a Module> {
    let (mut reached, mut todo) = (BTreeSet::new(), vec![start]);
    while let Some(module) = todo.pop() {
        for import in imports.get(module).into_iter().flatten() {
            if reached.insert(import) {
                todo.push(import);
            }
        }
    }
    reached
}

/// For each module of the compiler the modules that its `use` lines name, tests left out.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let mut texts = BTreeMap::new();
    read(&workspace().join("compiler/src"), &mut Vec::new(), &mut texts);
    assert!(texts.len() > 80, "only {} files were found", texts.len());
    let resolved = |module: &Module, text: &str| {
        let paths = uses(text).into_iter().filter_map(|path| absolute(module, &path));
        let modules = paths.filter_map(|path| {
            let lengths = (1..=path.len()).rev();
            lengths.map(|length| path[..length].to_vec()).find(|known| texts.contains_key(known))
        });
        modules.filter(|import| import != module).collect()
    };
    texts.iter().map(|(module, text)| (module.clone(), resolved(module, text))).collect()
}

fn read(folder: &Path, module: &mut Module, texts: &mut BTreeMap<Module, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["tests", "testing", "arbitrary", "lib", "snapshots"].contains(&stem.as_str()) {
            continue;
        }
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if path.is_dir() || (is_rust && stem != "mod") {
            module.push(stem);
        }
        if path.is_dir() {
            read(&path, module, texts);
            module.pop();
        } else if is_rust {
            let text = std::fs::read_to_string(&path).unwrap();
            let (code, _) = text.split_once("#[cfg(test)]\nmod tests {").unwrap_or((&text, ""));
            texts.insert(module.clone(), code.to_owned());
            module.truncate(module.len() - usize::from(!path.ends_with("mod.rs")));
        }
    }
}

/// The paths that a file's `use` declarations name, one for each leaf.
fn uses(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("use ") {
        let (declaration, others) = after.split_once(';').unwrap_or((after, ""));
        let start = before.rsplit('\n').next().unwrap_or("").trim();
        if start.is_empty() || (start.starts_with("pub") && !start.contains(' ')) {
            leaves("", &declaration.split_whitespace().collect::<String>(), &mut paths);
            rest = others;
        } else {
            rest = after;
        }
    }
    paths
}

fn leaves(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((path, group)) = tree.split_once('{') else {
        return paths.push(format!("{prefix}{tree}"));
    };
    let group = group.strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start) = (0, 0);
    for (at, char) in group.char_indices().chain([(group.len(), ',')]) {
        match char {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                if start < at {
                    leaves(&format!("{prefix}{path}"), &group[start..at], paths);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// The path from the crate's root on; `None` for another crate's.
fn absolute(module: &Module, path: &str) -> Option<Module> {
    let mut steps = path.split("::").peekable();
    let mut from = match steps.next()? {
        "crate" => Vec::new(),
        "self" => module.clone(),
        "super" => module[..module.len().checked_sub(1)?].to_vec(),
        _ => return None,
    };
    while steps.next_if_eq(&"super").is_some() {
        from.pop()?;
    }
    from.extend(steps.map(str::to_owned));
    Some(from)
}

/// The files and folders that the guides for contributors name are there.
#[test]
fn guides_name_files_that_exist() {
    let mut count = 0;
    for guide in ["CONTRIBUTING.md", "book/src/internals.md"] {
        let text = std::fs::read_to_string(workspace().join(guide)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|name| {
            let roots = ["compiler/", "runtime/", "tests/", "book/", ".ci/"];
            roots.iter().any(|root| name.starts_with(root)) && !name.contains(' ')
        });
        for path in paths {
            assert!(workspace().join(path).exists(), "{guide} names {path}");
            count += 1;
        }
    }
    assert!(count > 10, "only {count} paths were found");
}
