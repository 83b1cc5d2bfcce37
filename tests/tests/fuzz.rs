//! Damaged inputs of every kind: each is answered with a value or with an error, never with a panic.

use std::time::Duration;

use fgi_tests::config;
use fgi_tests::fuzz::{Edit, TARGETS, checker, corpus, damage, run, search};
use fgi_tests::programs;
use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn the_corpus_is_answered() {
    let inputs = |target| corpus(target).into_iter().map(move |input| (target, input));
    let faults = TARGETS.iter().flat_map(inputs);
    let faults: Vec<String> =
        faults.filter_map(|(target, input)| run(target, &input).err()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// All targets together take two minutes; `cargo run --release -p fgi-tests --example fuzz` takes hours.
#[test]
fn damaged_inputs_are_answered() {
    for target in &TARGETS {
        let tried = search(target, Duration::from_secs(20), 1).unwrap_or_else(|e| panic!("{e}"));
        println!("{}: {tried} inputs", target.name);
        assert!(tried >= 20, "{}: only {tried} inputs", target.name);
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    any::<(u8, u16, u16)>().prop_map(|(kind, at, other)| Edit { kind, at, other })
}

proptest! {
    #![proptest_config(config(1000))]

    /// As the search does, but a program that panics is shrunk.
    #[test]
    fn a_damaged_program_gives_a_graph_or_errors(
        program in 0..programs().len(),
        edits in vec(edit(), 1..5),
    ) {
        let text = damage(&programs()[program].text, &edits);
        if std::panic::catch_unwind(|| checker(text.as_bytes())).is_err() {
            return Err(TestCaseError::fail(format!("a panic for\n{text}")));
        }
    }
}
