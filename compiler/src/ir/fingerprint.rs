//! Numbers by which texts and graphs are known again.

use crate::ir::graph::Graph;

/// FNV-1a of a text: stable for all time, which the standard library's hashes are not.
pub fn of_text(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// What a graph computes, from which inputs and parameters: where it is written, its comments and the names of
/// its bindings are no part of that.
pub(crate) fn of_graph(graph: &Graph) -> u64 {
    let mut graph = graph.compact();
    for id in graph.ids() {
        let node = graph.node_mut(id);
        (node.span, node.name) = (None, None);
    }
    graph.inputs.iter_mut().for_each(|input| input.docs.clear());
    of_text(&graph.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::graph;

    #[test]
    fn a_graph_is_known_again_by_what_it_computes() {
        let known = of_graph(&graph("graph g(x: [B]) -> (y) { let a = 2 * x; let y = exp(a); }"));
        let same =
            "graph g(\n/// Docs.\nx: [B]) -> (y) { let b = 2 * x; /* said */ let y = exp(b); }";
        assert_eq!(of_graph(&graph(same)), known);
        for other in [
            "graph g(x: [B]) -> (y) { let y = exp(3 * x); }",
            "graph g(x: [B]) -> (y) { let y = log(2 * x); }",
            "graph g(z: [B]) -> (y) { let y = exp(2 * z); }",
        ] {
            assert_ne!(of_graph(&graph(other)), known, "{other}");
        }
    }
}
