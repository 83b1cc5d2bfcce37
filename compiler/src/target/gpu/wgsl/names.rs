//! Identifiers: unique, and none of WGSL's own words.

use std::collections::HashSet;

use naga::keywords::wgsl::{BUILTIN_IDENTIFIERS, RESERVED};

/// The identifiers of one shader.
pub(super) struct Names {
    used: HashSet<String>,
}

impl Names {
    pub fn new() -> Names {
        let words = RESERVED.iter().chain(BUILTIN_IDENTIFIERS);
        Names { used: words.map(|word| (*word).to_owned()).collect() }
    }

    /// An identifier of its own: the wanted one, or with a number where that is taken.
    pub fn take(&mut self, wanted: &str) -> String {
        let base = identifier(wanted);
        let mut name = base.clone();
        let mut number = 0;
        while !self.used.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }
}

/// The nearest identifier; those that begin with `fgi_` are the emitter's own functions, and WGSL
/// keeps `_` and what begins with `__` for itself.
fn identifier(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let starts_well = clean.starts_with(|c: char| c.is_ascii_alphabetic())
        || (clean.len() > 1 && clean.starts_with('_') && !clean.starts_with("__"));
    if starts_well && !clean.starts_with("fgi_") { clean } else { format!("x{clean}") }
}
