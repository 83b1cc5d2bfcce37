use proptest::prelude::*;

use super::super::arbitrary::samples;
use super::super::parse_graph;
use crate::ir::verify;

/// The law that a graph in text form breaks.
#[track_caller]
fn breaks(text: &str) -> String {
    let graph = parse_graph(text).unwrap_or_else(|error| panic!("{error}"));
    verify(graph).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn operands_exist() {
    assert_eq!(breaks("%0 = sg %7 : []"), "%0 (sg): the operand %7 does not exist");
    assert_eq!(
        breaks("time T\n%0 = const f32 0.0 : []\n%1 = prev %9 %0 : [T;]"),
        "%1 (prev): the operand %9 does not exist"
    );
    assert_eq!(breaks("output y = %0"), "the root `y` is no node");
}

#[test]
fn operands_come_first() {
    let text = "%0 = sg %1 : []\n%1 = const f32 0.0 : []";
    assert_eq!(breaks(text), "%0 (sg): the operand %1 does not come before it");
    assert_eq!(
        breaks("time T\n%0 = time_index : [T;]\n%1 = prev %0 %2 : [T;]\n%2 = const f32 0.0 : []"),
        "%1 (prev): the operand %2 does not come before it"
    );
}

#[test]
fn types_are_those_that_operations_give() {
    assert_eq!(
        breaks("%0 = const f32 0.0 : [2]"),
        "%0 (const): its type is [2], but it should be []"
    );
    assert_eq!(
        breaks("input x : [2]\n%0 = input x : [3]"),
        "%0 (input): its type is [3], but it should be [2]"
    );
    assert_eq!(
        breaks("param w : [2] = constant(0.0)\n%0 = param w : i32[2]"),
        "%0 (param): its type is i32[2], but it should be [2]"
    );
    assert_eq!(
        breaks("%0 = const bool 1 : bool[]\n%1 = exp %0 : []"),
        "%1 (exp): operand 0 has elements of type bool, expected f32"
    );
    assert_eq!(breaks("%0 = add : []"), "%0 (add): takes 2 operands, found 0");
    assert_eq!(
        breaks("%0 = const f32 0.0 : []\n%1 = const f32 0.0 %0 : []"),
        "%1 (const): takes 0 operands, found 1"
    );
    assert_eq!(
        breaks("%0 = param #0 : []"),
        "%0 (param): the graph has no such input or parameter"
    );
}

#[test]
fn cycles_are_streams_in_one_direction_of_time() {
    // %2 is static, and what %1 starts from.
    let text = "time T
        %0 = const f32 0.0 : []
        %1 = prev %3 %0 : [T;]
        %2 = last %1 : []
        %3 = prev %1 %2 : [T;]";
    assert_eq!(breaks(text), "%2 (last): a static value depends on itself");
    let text = "time T
        %0 = const f32 0.0 : []
        %1 = prev %3 %0 : [T;]
        %2 = next %3 %0 : [T;]
        %3 = add %1 %2 : [T;]";
    assert_eq!(breaks(text), "%2 (next): a cycle runs through both prev and next");
}

#[test]
fn streams_have_a_length() {
    let no_time = "it is a stream, but the graph has no length of time";
    assert_eq!(breaks("%0 = time_index : [T;]"), format!("%0 (time_index): {no_time}"));
    assert_eq!(breaks("input x : [T;]"), no_time);
}

#[test]
fn names_are_unique_and_roots_fit_them() {
    let zero = "%0 = const f32 0.0 : []\n";
    assert_eq!(
        breaks("input x : []\nparam x : [] = constant(0.0)"),
        "two inputs or parameters are named `x`"
    );
    assert_eq!(
        breaks(&format!("{zero}output y = %0\noutput y = %0")),
        "two roots of one role are named `y`"
    );
    assert_eq!(
        breaks(&format!("{zero}gradient w = %0")),
        "the root `w` is named after no input or parameter"
    );
    assert_eq!(
        breaks(&format!("input x : []\n{zero}update x = %0")),
        "the root `x` is named after no input or parameter"
    );
    assert_eq!(
        breaks(&format!("param w : [2] = constant(0.0)\n{zero}gradient w = %0")),
        "its type is [], but it should be [2]"
    );
    let text = format!(
        "param w : [] = constant(0.0)\n{zero}output w = %0\ngradient w = %0\nupdate w = %0"
    );
    assert!(verify(parse_graph(&text).unwrap()).is_ok());
}

#[test]
fn numbers_are_in_their_range() {
    assert_eq!(breaks("time -1"), "the dimension -1 is negative");
    assert_eq!(breaks("input x : [-B + B - 2]"), "the dimension -2 is negative");
    assert_eq!(breaks("param w : [-3] = constant(0.0)"), "the dimension -3 is negative");
    assert_eq!(
        breaks("%0 = iota axis=0 [-4] : i32[-4]"),
        "%0 (iota): the dimension -4 is negative"
    );
    assert_eq!(
        breaks("%0 = const bool 2.0 : bool[]"),
        "%0 (const): the literal is not of its type"
    );
    assert_eq!(breaks("%0 = const i32 0.5 : i32[]"), "%0 (const): the literal is not of its type");
    let bounds = "the bounds of `w` are not in order";
    assert_eq!(breaks("param w : [] = constant(0.0) in [1.0, 0.0]"), bounds);
    assert_eq!(breaks("param w : [] = constant(0.0) in [0.0, NaN]"), bounds);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_the_builder_makes_keeps_the_laws(sample in samples(20)) {
        let graph = verify(sample.graph.clone()).map_err(|broken| TestCaseError::fail(broken.to_string()))?;
        prop_assert_eq!(graph.into_inner().compact().roots.len(), sample.graph.roots.len());
    }
}
