//! Which inputs are indices, and of how many places.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Bindings, Dim, Graph, NodeId, Op, Pointwise};

/// An input that indexes an axis: the class of a `one_hot`, and so of a cross entropy, or the index of a `gather`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indexed {
    /// The input's name.
    pub input: String,
    /// How many places there are.
    pub places: Dim,
    /// The last place is -1, too.
    pub from_end: bool,
}

impl Indexed {
    /// All inputs of a graph that index an axis by their own elements, once for each use.
    pub fn inputs(graph: &Graph) -> Vec<Indexed> {
        let mut found: Vec<Indexed> = Vec::new();
        for id in graph.ids() {
            let node = graph.node(id);
            let (index, places, from_end) = match (&node.op, node.args.as_slice()) {
                (Op::Gather { axis } | Op::Take { axis }, [x, index]) => {
                    (*index, graph.ty(*x).dims[*axis].clone(), true)
                }
                (Op::Map(Pointwise::Eq), [a, b]) => {
                    match (counted(graph, *a), counted(graph, *b)) {
                        (Some(places), None) => (*b, places, false),
                        (None, Some(places)) => (*a, places, false),
                        _ => continue,
                    }
                }
                _ => continue,
            };
            let Op::Input(input) = graph.node(moved(graph, index)).op else { continue };
            let input = graph.inputs[input].name.clone();
            let one = Indexed { input, places, from_end };
            if !found.contains(&one) {
                found.push(one);
            }
        }
        found
    }

    /// The values that every use of an input has a place for, where the sizes are known.
    pub fn ranges(all: &[Indexed], bindings: &Bindings) -> BTreeMap<String, Range<i64>> {
        let mut ranges: BTreeMap<String, Range<i64>> = BTreeMap::new();
        for Indexed { input, places, from_end } in all {
            let Ok(places) = places.eval(bindings) else { continue };
            let low = if *from_end { -places } else { 0 };
            let range = ranges.entry(input.clone()).or_insert(low..places);
            *range = range.start.max(low)..range.end.min(places);
        }
        ranges
    }
}

/// What is only given another shape.
fn moved(graph: &Graph, mut id: NodeId) -> NodeId {
    while let Op::Broadcast(_) | Op::Reshape(_) | Op::Permute(_) = graph.node(id).op {
        id = graph.node(id).args[0];
    }
    id
}

/// How far an operand counts.
fn counted(graph: &Graph, id: NodeId) -> Option<Dim> {
    let Op::Iota { axis, dims } = &graph.node(moved(graph, id)).op else { return None };
    Some(dims[*axis].clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::graph;

    #[test]
    fn classes_and_places_are_found() {
        let text = "graph g(x: [B, N], label: i32[B], at: i32[T], count: i32[B]) -> (loss, y, n) {
            let loss = loss::cross_entropy(x, label);
            let y = gather(x, at, axis = 1);
            let n = f32(count) * 2;
        }";
        let found = Indexed::inputs(&graph(text));
        let bindings = [("N".into(), 10)].into();
        let ranges = Indexed::ranges(&found, &bindings);
        assert_eq!(ranges, [("label".into(), 0..10), ("at".into(), -10..10)].into());
        assert!(Indexed::ranges(&found, &Bindings::new()).is_empty());
    }
}
