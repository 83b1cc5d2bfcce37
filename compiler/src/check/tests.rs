use super::*;
use crate::source::NoFiles;

#[test]
fn a_recurrence_takes_its_type_from_what_enters_it() {
    let text = "
        layer rnn[N](x: [B, K]) {
            param w: [K + N, N] = orthogonal();
            let h = tanh(concat(x, prev(h)) @ w);
            h
        }
        graph g(x: [T; B, 3]) -> y { let h = rnn[5](x); let y = last(h); }";
    let checked = check("test.fgi", text, &NoFiles, &Options::default());
    assert_eq!(checked.diagnostics, []);
    let graph = checked.graph.unwrap();
    assert_eq!(graph.ty(graph.roots[0].node).to_string(), "[B, 5]");
    assert_eq!(graph.params[0].path, "h.w");
}
