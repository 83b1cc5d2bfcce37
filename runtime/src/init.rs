//! How parameters start, and every other random choice of a run.

use fgi_compiler::ir::fingerprint;
use fgi_compiler::ir::graph::{Bindings, Elem, Init, Param, ParamKind, RANDOM_SEED};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Array, Data, Error, memory};

/// The initial value of a parameter or state, within its bounds. It follows from the seed and the path
/// alone, so that a further parameter changes no other.
pub fn initial(param: &Param, bindings: &Bindings, seed: u64) -> Result<Array, Error> {
    let dims = shape(param, bindings)?;
    if param.kind == ParamKind::State && param.path == RANDOM_SEED {
        return Ok(Array::new([], vec![(seed ^ (seed >> 32)) as i32]));
    }
    memory::check(memory::bytes(param.elem, &dims).saturating_mul(3))?; // in f64, and then in f32
    let mut random = stream(seed, &param.path);
    let values = sample(param.init, &dims, &mut random).into_iter();
    let (low, high) = param.bounds.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let values = values.map(|value| value.max(low).min(high));
    let data: Data = match param.elem {
        Elem::I32 => values.map(|value| value as i32).collect::<Vec<_>>().into(),
        Elem::F32 | Elem::Bool => values.map(|value| value as f32).collect::<Vec<_>>().into(),
    };
    Ok(Array::new(dims, data))
}

/// The sizes of a parameter or state; only a state may have open dimensions.
pub fn shape(param: &Param, bindings: &Bindings) -> Result<Vec<usize>, Error> {
    let sizes = param.dims.iter().map(|dim| dim.eval(bindings));
    let sizes = sizes.collect::<Result<Vec<i64>, _>>()?;
    Ok(sizes.into_iter().map(|size| size.max(0) as usize).collect())
}

/// Whether the size follows from the inputs: that of a state may.
pub fn is_open(param: &Param) -> bool {
    param.dims.iter().any(|dim| dim.as_const().is_none())
}

/// The random numbers of one purpose in a run: each purpose has its own.
pub(crate) fn stream(seed: u64, purpose: &str) -> ChaCha8Rng {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(fingerprint::of_text(purpose));
    random
}

/// The numbers 0..n in random order (Fisher and Yates).
pub(crate) fn permutation(n: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        let other = (unit(random) * (last + 1) as f64) as usize;
        order.swap(last, other.min(last));
    }
    order
}

fn sample(init: Init, dims: &[usize], random: &mut ChaCha8Rng) -> Vec<f64> {
    let (fan_in, fan_out) = fans(dims);
    let n = dims.iter().product();
    let uniform = |bound: f64, random: &mut _| many(n, random, |r| bound * (2.0 * unit(r) - 1.0));
    let centred = |sigma: f64, random: &mut _| many(n, random, |r| sigma * normal(r));
    match init {
        Init::Constant(value) => vec![value; n],
        Init::Uniform(low, high) => many(n, random, |r| low + (high - low) * unit(r)),
        Init::Normal(mu, sigma) => many(n, random, |r| mu + sigma * normal(r)),
        Init::XavierUniform => uniform((6.0 / (fan_in + fan_out)).sqrt(), random),
        Init::XavierNormal => centred((2.0 / (fan_in + fan_out)).sqrt(), random),
        Init::KaimingUniform => uniform((6.0 / fan_in).sqrt(), random),
        Init::KaimingNormal => centred((2.0 / fan_in).sqrt(), random),
        Init::Orthogonal(gain) => orthogonal(dims, gain, random),
    }
}

/// Fan in and fan out. `[K, N]` has K and N; a convolution's `[O, I, …]` has I and O times the size of
/// its window; a vector counts for both.
fn fans(dims: &[usize]) -> (f64, f64) {
    let (fan_in, fan_out) = match *dims {
        [] => (1, 1),
        [n] => (n, n),
        [k, n] => (k, n),
        [o, i, ref window @ ..] => {
            let window: usize = window.iter().product();
            (i * window, o * window)
        }
    };
    (fan_in.max(1) as f64, fan_out.max(1) as f64)
}

/// The first axis against all others: orthonormal rows or columns, whichever are fewer, times the
/// gain; uniform among such matrices.
fn orthogonal(dims: &[usize], gain: f64, random: &mut ChaCha8Rng) -> Vec<f64> {
    let rows = dims.first().copied().unwrap_or(1);
    let columns: usize = dims.iter().skip(1).product();
    let (few, long) = (rows.min(columns), rows.max(columns));
    let vectors = orthonormal(few, long, random);
    let at = |row: usize, column: usize| match rows <= columns {
        true => vectors[row][column],
        false => vectors[column][row],
    };
    (0..rows * columns).map(|flat| gain * at(flat / columns, flat % columns)).collect()
}

/// Orthonormal vectors: the Q of the QR decomposition of normal numbers whose R has a positive
/// diagonal, by Gram and Schmidt. Orthogonalised twice, they are so to rounding.
fn orthonormal(count: usize, length: usize, random: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(count);
    while found.len() < count {
        let mut vector = many(length, random, normal);
        for _ in 0..2 {
            for other in &found {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        if norm > 1e-8 {
            vector.iter_mut().for_each(|x| *x /= norm);
            found.push(vector);
        }
    }
    found
}

/// In eight sums, so that additions need not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

fn many(
    n: usize,
    random: &mut ChaCha8Rng,
    mut sample: impl FnMut(&mut ChaCha8Rng) -> f64,
) -> Vec<f64> {
    (0..n).map(|_| sample(random)).collect()
}

/// Uniform in [0, 1).
pub(crate) fn unit(random: &mut ChaCha8Rng) -> f64 {
    (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Mean 0, variance 1 (Box and Muller).
fn normal(random: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - unit(random)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(random)).cos()
}

#[cfg(test)]
mod tests {
    use fgi_compiler::ir::graph::Dim;

    use super::*;

    fn values(param: &Param, seed: u64) -> Vec<f32> {
        let values = initial(param, &Bindings::new(), seed).unwrap().to_f64();
        values.into_iter().map(|value| value as f32).collect()
    }

    fn param(dims: &[i64], init: Init, bounds: Option<(f64, f64)>) -> Param {
        Param {
            path: "h.w".into(),
            dims: dims.iter().map(|dim| Dim::constant(*dim)).collect(),
            init,
            bounds,
            docs: String::new(),
            kind: fgi_compiler::ir::graph::ParamKind::Trained,
            elem: fgi_compiler::ir::graph::Elem::F32,
        }
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        (mean, values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn distributions_have_their_moments() {
        for (init, mean, variance) in [
            (Init::Constant(0.5), 0.5, 0.0f64),
            (Init::Uniform(-1.0, 3.0), 1.0, 16.0 / 12.0),
            (Init::Normal(20.0, 5.0), 20.0, 25.0),
            (Init::XavierUniform, 0.0, 2.0 / 400.0),
            (Init::XavierNormal, 0.0, 2.0 / 400.0),
            (Init::KaimingUniform, 0.0, 2.0 / 100.0),
            (Init::KaimingNormal, 0.0, 2.0 / 100.0),
            (Init::Orthogonal(2.0), 0.0, 4.0 / 300.0),
        ] {
            let values = values(&param(&[100, 300], init, None), 7);
            let (m, v) = moments(&values);
            assert!((m - mean).abs() < 0.03 * variance.sqrt() + 1e-9, "{init:?}: mean {m}");
            assert!((v - variance).abs() < 0.03 * variance + 1e-12, "{init:?}: variance {v}");
        }
    }

    #[test]
    fn orthogonal_matrices_are() {
        for dims in [[5, 8], [8, 5], [6, 6]] {
            let (rows, columns) = (dims[0] as usize, dims[1] as usize);
            let w = values(&param(&dims, Init::Orthogonal(1.0), None), 1);
            let few = rows.min(columns);
            for a in 0..few {
                for b in 0..few {
                    let dot: f32 = match rows <= columns {
                        true => (0..columns).map(|k| w[a * columns + k] * w[b * columns + k]).sum(),
                        false => (0..rows).map(|k| w[k * columns + a] * w[k * columns + b]).sum(),
                    };
                    assert!((dot - f32::from(u8::from(a == b))).abs() < 1e-6, "{dims:?} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn seed_and_path_alone_decide() {
        let w = param(&[4], Init::Normal(0.0, 1.0), None);
        let other = Param { path: "h.v".into(), ..w.clone() };
        assert_eq!(values(&w, 3), values(&w, 3));
        assert_ne!(values(&w, 3), values(&w, 4));
        assert_ne!(values(&w, 3), values(&other, 3));
    }

    #[test]
    fn bounds_hold_from_the_start() {
        let tau = param(&[1000], Init::Normal(1.0, 5.0), Some((1.0, f64::INFINITY)));
        assert!(values(&tau, 0).iter().all(|value| *value >= 1.0));
    }

    #[test]
    fn permutations_hold_every_number_once() {
        let mut order = permutation(1000, &mut stream(0, "order"));
        assert_ne!(order[..5], [0, 1, 2, 3, 4]);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..1000));
    }
}
