//! The index of errors and warnings: a page for each code of a diagnostic, with a wrong program and the right one.

/// A code, its title, and its page in Markdown.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Such as `E040`.
    pub code: &'static str,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// The page of the error index, in Markdown.
    pub page: &'static str,
}

/// The page of a code; the case of its letter does not matter.
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

macro_rules! codes {
    ($($code:literal $title:literal,)*) => {
        /// All codes, ascending.
        pub static CODES: &[Code] = &[
            $(Code { code: $code, title: $title, page: include_str!(concat!($code, ".md")) },)*
        ];
    };
}

codes! {
    "E001" "a character that is no part of the language",
    "E002" "something else was expected here",
    "E003" "a bracket or comment that is not closed",
    "E004" "an expression that is nested too deeply or is too long",
    "E005" "a literal that is not understood",
    "E006" "a doc comment that documents nothing",
    "E007" "a file that is too large",
    "E010" "there is no such module",
    "E011" "modules that use each other",
    "E012" "the module has no such item",
    "E013" "a name that is defined twice",
    "E014" "an unknown name",
    "E015" "an unknown function or layer",
    "E016" "a name of another kind than is needed",
    "E017" "a definition that refers to itself",
    "E018" "no graph, or which one",
    "E019" "-D names no open dimension",
    "E020" "a name that is bound twice in a body",
    "E021" "a value that is needed before it exists",
    "E022" "an output that is no binding, or named twice",
    "E023" "a function that is not pure",
    "E024" "a tuple where a tensor is needed, or the other way round",
    "E025" "a list out of place, or of the wrong form",
    "E026" "an input without a type, or with a default",
    "E030" "an unknown argument",
    "E031" "a missing argument",
    "E032" "an argument too many",
    "E033" "the dimensions of a layer",
    "E034" "a compile-time number is needed",
    "E035" "an initialiser out of place, or an unknown one",
    "E036" "an initialiser or bounds that make no sense",
    "E040" "dimensions that do not broadcast",
    "E041" "a matrix product that does not fit",
    "E042" "a value that is not of its declared type",
    "E043" "an axis that does not exist",
    "E044" "a shape, slice, padding or delay that is not possible",
    "E045" "a number that is no dimension",
    "E046" "the number of an open dimension is needed",
    "E047" "a type that is not known",
    "E048" "`..` out of place",
    "E050" "integers and floating-point numbers mixed",
    "E051" "elements of the wrong type",
    "E052" "a fraction among integers",
    "E061" "a static value is needed",
    "E062" "the length of streams",
    "E063" "time in a graph without streams",
    "E064" "all steps are needed in a recurrence",
    "E071" "a program that is too large",
    "E089" "a bug of the compiler",
    "W001" "a parameter that gets no gradient",
    "W002" "a decision without a surrogate",
    "W003" "a surrogate that is zero everywhere",
    "W004" "a derivative that is infinite or NaN",
    "W005" "a comment that silences nothing",
    "W006" "both operands are stretched",
    "W007" "a smooth function in the place of a spike",
}

#[cfg(test)]
mod tests;
