//! Text → [`ast::Module`], and back to its canonical text.

pub mod ast;
