//! Open dimensions from the shapes of arrays.

use fgi_compiler::ir::graph::{Bindings, Dim, Input, Type};

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
    solve_all(equations.iter().map(|(dim, size, ..)| (dim, *size)), &mut bindings);
    for (dim, size, input, shape) in equations {
        if dim.eval(&bindings)? != size {
            return Err(mismatch(input, time, &bindings, shape));
        }
    }
    Ok(bindings)
}

/// As [`bind`], where only the number of elements is known of each array.
pub fn bind_lengths<'a>(
    inputs: impl IntoIterator<Item = (&'a Input, usize)>,
    time: Option<&Dim>,
    given: &Bindings,
) -> Result<Bindings, Error> {
    let mut bindings = given.clone();
    let length = |input: &Input| Dim::product(&axes(&input.ty, time));
    let equations: Vec<_> =
        inputs.into_iter().map(|(input, found)| (length(input), found as i64, input)).collect();
    solve_all(equations.iter().map(|(length, found, _)| (length, *found)), &mut bindings);
    for (length, found, input) in equations {
        if length.eval(&bindings)? != found {
            let shape = expected_shape(input, time, &bindings);
            let length = length.substitute(&bindings);
            return Err(Error::Shape {
                name: input.name.clone(),
                expected: format!("{length} numbers, for an array of shape {shape}"),
                found: found.to_string(),
            });
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

/// Solves what can be solved of equations `dim = size`.
fn solve_all<'a>(equations: impl Iterator<Item = (&'a Dim, i64)> + Clone, bindings: &mut Bindings) {
    // Each round solves at least one dimension, or nothing more can be solved.
    let mut known = usize::MAX;
    while known != bindings.len() {
        known = bindings.len();
        for (dim, size) in equations.clone() {
            solve(&dim.substitute(bindings), size, bindings);
        }
    }
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
    let shape = expected_shape(input, time, bindings);
    Error::Shape {
        name: input.name.clone(),
        expected: format!("an array of shape {shape}, for {}", input.ty),
        found: shape_name(found),
    }
}

fn expected_shape(input: &Input, time: Option<&Dim>, bindings: &Bindings) -> String {
    let axes = axes(&input.ty, time);
    let sizes: Vec<_> = axes.iter().map(|dim| dim.substitute(bindings).to_string()).collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use fgi_compiler::ir::graph::{Clock, Elem};

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

    #[test]
    fn lengths_decide_what_they_can() {
        let input = |name: &str, dims: &[&str], clock| Input {
            name: name.into(),
            ty: Type::new(Elem::F32, dims.iter().map(|dim| Dim::symbol(dim)).collect(), clock),
            docs: String::new(),
        };
        let (x, y) = (input("x", &["B"], Clock::Stream), input("y", &["B"], Clock::Static));
        let bound = |lengths: &[(&Input, usize)], given: &[(&str, i64)]| {
            let given = given.iter().map(|(name, size)| ((*name).into(), *size)).collect();
            bind_lengths(lengths.iter().copied(), Some(&Dim::symbol("T")), &given)
                .map_err(|error| error.to_string())
        };
        let expected = Bindings::from([("B".into(), 4), ("T".into(), 7)]);
        assert_eq!(bound(&[(&x, 28), (&y, 4)], &[]), Ok(expected.clone()));
        assert_eq!(bound(&[(&x, 28)], &[("T", 7)]), Ok(expected));
        assert_eq!(bound(&[(&x, 28)], &[]).unwrap_err(), "the dimension B is not given");
        assert_eq!(
            bound(&[(&x, 28), (&y, 5)], &[("T", 7)]).unwrap_err(),
            "`y`: expected 4 numbers, for an array of shape [4], found 5"
        );
    }
}
