//! Open dimensions from the shapes of arrays.

use fgi_compiler::graph::{Bindings, Dim, Input, Type};

use crate::Error;
use crate::array::shape_name;

/// The dimensions that the shapes decide, given some. A shape that fits no value of its input's open
/// dimensions is an error.
pub fn bind<'a>(
    inputs: impl IntoIterator<Item = (&'a Input, &'a [usize])>,
    time: Option<&Dim>,
    given: &Bindings,
) -> Result<Bindings, Error> {
    let mut bindings = given.clone();
    let mut equations = Vec::new();
    for (input, shape) in inputs {
        let axes = axes(&input.ty, time);
        if axes.len() != shape.len() {
            return Err(mismatch(input, time, &bindings, shape));
        }
        let pairs = axes.into_iter().zip(shape.iter().map(|size| *size as i64));
        equations.extend(pairs.map(|(dim, size)| (dim, size, input, shape)));
    }
    // Each round solves at least one dimension, or nothing more can be solved.
    let mut known = usize::MAX;
    while known != bindings.len() {
        known = bindings.len();
        for (dim, size, ..) in &equations {
            solve(&dim.substitute(&bindings), *size, &mut bindings);
        }
    }
    for (dim, size, input, shape) in equations {
        if dim.eval(&bindings)? != size {
            return Err(mismatch(input, time, &bindings, shape));
        }
    }
    Ok(bindings)
}

/// The axes of an array of this type: time in front of a stream.
pub(crate) fn axes(ty: &Type, time: Option<&Dim>) -> Vec<Dim> {
    let time = time.filter(|_| ty.is_stream());
    time.into_iter().chain(&ty.dims).cloned().collect()
}

/// Sizes of the axes of an array of this type.
pub(crate) fn shape(
    ty: &Type,
    time: Option<&Dim>,
    bindings: &Bindings,
) -> Result<Vec<usize>, Error> {
    let sizes =
        axes(ty, time).iter().map(|dim| dim.eval(bindings)).collect::<Result<Vec<_>, _>>()?;
    Ok(sizes.into_iter().map(|size| size.max(0) as usize).collect())
}

/// `dim = size`, where one open dimension is left in `dim`, once.
fn solve(dim: &Dim, size: i64, bindings: &mut Bindings) {
    let (mut factor, mut rest) = (None, size);
    for (symbols, value) in dim.terms() {
        match symbols.as_slice() {
            [] => rest = rest.saturating_sub(*value),
            [symbol] if factor.is_none() => factor = Some((symbol, *value)),
            _ => return,
        }
    }
    if let Some((symbol, value)) = factor
        && rest % value == 0
    {
        bindings.insert(symbol.clone(), rest / value);
    }
}

fn mismatch(input: &Input, time: Option<&Dim>, bindings: &Bindings, found: &[usize]) -> Error {
    let axes = axes(&input.ty, time);
    let expected: Vec<_> = axes.iter().map(|dim| dim.substitute(bindings).to_string()).collect();
    Error::Shape {
        name: input.name.clone(),
        expected: format!("an array of shape [{}], for {}", expected.join(", "), input.ty),
        found: shape_name(found),
    }
}

#[cfg(test)]
mod tests {
    use fgi_compiler::graph::{Clock, Elem};

    use super::*;

    fn bound(shapes: [&[usize]; 2], given: &[(&str, i64)]) -> Result<Bindings, String> {
        let (b, k) = (Dim::symbol("B"), Dim::symbol("K"));
        let input = |name: &str, dims: Vec<Dim>, clock| Input {
            name: name.into(),
            ty: Type::new(Elem::F32, dims, clock),
            docs: String::new(),
        };
        let x = input("x", vec![b.clone(), &k + &k], Clock::Stream);
        let y = input("y", vec![b], Clock::Static);
        let given = given.iter().map(|(name, size)| ((*name).into(), *size)).collect();
        bind([(&x, shapes[0]), (&y, shapes[1])], Some(&Dim::symbol("T")), &given)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn shapes_decide_dimensions_or_contradict_them() {
        let expected = [("B".into(), 4), ("K".into(), 3), ("T".into(), 28)];
        assert_eq!(bound([&[28, 4, 6], &[4]], &[]), Ok(Bindings::from(expected)));
        assert_eq!(
            bound([&[28, 4, 6], &[5]], &[]).unwrap_err(),
            "`y`: expected an array of shape [4], for [B], found [5]"
        );
        assert_eq!(
            bound([&[28, 4, 6], &[4]], &[("T", 8)]).unwrap_err(),
            "`x`: expected an array of shape [8, 4, 6], for [T; B, 2*K], found [28, 4, 6]"
        );
        assert!(bound([&[28, 4, 7], &[4]], &[]).is_err());
        assert!(bound([&[4, 6], &[4]], &[]).is_err());
    }
}
