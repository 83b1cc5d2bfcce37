//! `a @ b`: the product of matrices, as NumPy has it for operands of any number of axes.

use crate::diagnostic::Diagnostic;
use crate::front::check::shape::join;
use crate::front::check::{Dtypes, Emitter, Operation, Problem, Rules, Shape};
use crate::ir::graph::{Dim, NodeId, Op};

#[derive(Debug)]
pub struct MatMul;

impl Operation for MatMul {
    fn name(&self) -> &'static str {
        "@"
    }

    fn shape(&self, rules: &Rules<'_>) -> Result<Shape, Problem> {
        let [a, b] = [rules.args()[0], rules.args()[1]];
        let (Some(left), Some(right)) = (rules.dims(a), rules.dims(b)) else {
            return Ok(None);
        };
        let scalar = [(a, left), (b, right)].into_iter().find(|(_, dims)| dims.is_empty());
        if let Some((scalar, _)) = scalar {
            let problem = rules.rank(scalar, "at least one axis");
            return Err(Box::new(problem.hint("the product with a number is `*`")));
        }
        let inner = &left[left.len() - 1];
        let outer = &right[right.len().saturating_sub(2)];
        if let (Some(inner), Some(outer)) = (inner, outer)
            && inner != outer
        {
            let (shown_a, shown_b) = (rules.types.show(a), rules.types.show(b));
            let problem = Diagnostic::error(
                "E041",
                format!("`@` cannot take {shown_a} and {shown_b}: {inner} is not {outer}"),
            );
            let problem = rules.labelled(problem, &[a, b]);
            return Err(Box::new(
                problem
                    .expected(format!(
                        "{inner} as the {} dimension of the right operand",
                        place(right)
                    ))
                    .found(outer.to_string())
                    .hint("the last dimension of `a` and the next-to-last of `b` are summed over"),
            ));
        }
        let rows = &left[..left.len() - 1];
        let mut dims = match (rows.split_last(), right.len()) {
            // One row, or a matrix on the right for all rows.
            (None, 1) | (Some(_), 1 | 2) => rows.to_vec(),
            (None, rank) => right[..rank - 2].to_vec(),
            (Some((row, leading)), rank) => match join(leading, &right[..rank - 2]) {
                Ok(mut dims) => {
                    dims.push(row.clone());
                    dims
                }
                Err(axis) => return Err(rules.mismatch(a, b, axis)),
            },
        };
        if right.len() > 1 {
            dims.extend(right.last().cloned());
        }
        Ok(Some(dims))
    }

    fn dtype(&self, dtypes: &mut Dtypes<'_>) -> Result<(), Problem> {
        dtypes.numbers(dtypes.args())
    }

    /// By the product of matrices of the graph, which has as many leading axes on both sides.
    fn emit(&self, e: &mut Emitter<'_, '_>, args: &[NodeId]) -> Result<NodeId, Problem> {
        let [a, b] = [args[0], args[1]];
        let (left, right) = (e.builder.ty(a).dims.clone(), e.builder.ty(b).dims.clone());
        let missing = || e.bug("a product of scalars");
        let inner = left.last().cloned().ok_or_else(missing)?;
        // One axis is one row on the left and one column on the right.
        let right = match right.as_slice() {
            [] => return Err(missing()),
            [_] => vec![inner.clone(), Dim::one()],
            _ => right,
        };
        let b = e.builder.reshape(b, &right);
        let columns = right[right.len() - 1].clone();
        let product = if right.len() == 2 {
            // All rows at once.
            let rows = Dim::product(&left[..left.len() - 1]);
            let a = e.builder.reshape(a, &[rows, inner]);
            e.push(Op::MatMul, vec![a, b])?
        } else {
            let left = match left.as_slice() {
                [_] => vec![Dim::one(), inner],
                _ => left,
            };
            let a = e.builder.reshape(a, &left);
            let (rows, columns) = (left[left.len() - 2].clone(), columns);
            let leading = leading(&left, &right).ok_or_else(|| e.bug("leading axes"))?;
            let shape =
                |two: [&Dim; 2]| -> Vec<Dim> { leading.iter().chain(two).cloned().collect() };
            let inner = &left[left.len() - 1];
            let (left, right) = (shape([&rows, inner]), shape([inner, &columns]));
            let a = e.broadcast(a, &left)?;
            let b = e.broadcast(b, &right)?;
            e.push(Op::MatMul, vec![a, b])?
        };
        Ok(e.builder.reshape(product, &e.ty().dims))
    }
}

fn place(dims: &[Option<Dim>]) -> &'static str {
    if dims.len() == 1 { "only" } else { "next-to-last" }
}

/// The broadcast of all but the last two axes.
fn leading(a: &[Dim], b: &[Dim]) -> Option<Vec<Dim>> {
    let some = |dims: &[Dim]| dims[..dims.len() - 2].iter().cloned().map(Some).collect::<Vec<_>>();
    join(&some(a), &some(b)).ok()?.into_iter().collect()
}
