//! Generates the parser from `src/syntax/grammar.lalrpop`.

fn main() {
    if let Err(error) = lalrpop::process_src() {
        eprintln!("the grammar does not build: {error}");
        std::process::exit(1);
    }
}
