//! The numbers of the command line: what each may be, said where it is not.

use std::ops::RangeInclusive;
use std::str::FromStr;

/// A number of at least 1.
pub fn count<N: FromStr + PartialOrd + From<u8>>(text: &str) -> Result<N, String> {
    let number = text.trim().parse::<N>().ok().filter(|number| *number >= N::from(1));
    number.ok_or_else(|| "expected a whole number of at least 1".into())
}

/// So many threads of the CPU device.
pub fn threads(text: &str) -> Result<usize, String> {
    let threads = count(text)?;
    fgi::check_threads(threads).map(|()| threads).map_err(|error| error.to_string())
}

/// A dimension with its value.
pub fn dimension(text: &str) -> Result<(String, i64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = value.trim();
    let size = value.parse::<i64>().map_err(|_| format!("`{value}` is no whole number"))?;
    match size >= 1 {
        true => Ok((name.trim().into(), size)),
        false => Err("a dimension is at least 1".into()),
    }
}

/// The values that a dimension takes in turn.
pub fn sweep(text: &str) -> Result<(String, Vec<i64>), String> {
    let (name, values) = text.split_once('=').ok_or("expected NAME=V1,V2,…")?;
    let size = |value: &str| count(value).map_err(|error| format!("`{value}`: {error}"));
    Ok((name.trim().into(), values.split(',').map(size).collect::<Result<_, _>>()?))
}

/// A name with its value, which is finite.
pub fn setting(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().into(), finite(value)?))
}

/// A pattern over paths with its number, 0 or more.
pub fn group(text: &str) -> Result<(String, f64), String> {
    let (pattern, value) = text.rsplit_once('=').ok_or("expected PATTERN=NUMBER")?;
    Ok((pattern.trim().into(), within(value, 0.0..=f64::MAX, "0 or more")?))
}

/// Two numbers, the lower one first.
pub fn range(text: &str) -> Result<(f32, f32), String> {
    let (low, high) = text.split_once(',').ok_or("expected LOW,HIGH")?;
    let (low, high): (f32, f32) = (finite(low)?, finite(high)?);
    match low < high && (high - low).is_finite() {
        true => Ok((low, high)),
        false => Err("expected LOW below HIGH".into()),
    }
}

/// The learning rate.
pub fn learning_rate(text: &str) -> Result<f32, String> {
    within(text, 0.0..=f32::MAX, "0 or more")
}

/// The share of the last update that goes on.
pub fn momentum(text: &str) -> Result<f64, String> {
    within(text, 0.0..=1.0f64.next_down(), "from 0 to below 1")
}

/// What is taken from parameters.
pub fn weight_decay(text: &str) -> Result<f64, String> {
    within(text, 0.0..=f64::MAX, "0 or more")
}

/// A norm, or `inf` for none.
pub fn norm(text: &str) -> Result<f64, String> {
    match text.trim() {
        "inf" => Ok(f64::INFINITY),
        text => within(text, f64::MIN_POSITIVE..=f64::MAX, "above 0, or inf"),
    }
}

fn within<N: FromStr + PartialOrd + Into<f64> + Copy>(
    text: &str,
    allowed: RangeInclusive<N>,
    wanted: &str,
) -> Result<N, String> {
    let number = finite::<N>(text)?;
    allowed.contains(&number).then_some(number).ok_or_else(|| format!("expected a number {wanted}"))
}

/// `1e400` is larger than every number, so none.
fn finite<N: FromStr + Into<f64> + Copy>(text: &str) -> Result<N, String> {
    let number = text.trim().parse::<N>().ok().filter(|number| (*number).into().is_finite());
    number.ok_or_else(|| format!("`{}` is no finite number", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        for text in ["nan", "inf", "-inf", "1e400", "", "x", "-0.01"] {
            assert!(learning_rate(text).is_err(), "{text}");
            assert!(momentum(text).is_err(), "{text}");
            assert!(weight_decay(text).is_err(), "{text}");
            assert!(norm(text).is_err() || text == "inf", "{text}");
        }
        assert!(setting("a=-0.01").is_ok() && setting("a=1e400").is_err());
        assert!(learning_rate("1e39").is_err(), "more than an f32 holds");
        assert!(momentum("1").is_err() && momentum("0.9").is_ok());
        assert!(norm("0").is_err());
    }

    #[test]
    fn sizes_are_at_least_1() {
        for text in ["N=0", "N=-1", "N=1.5", "N=1e3", "N=99999999999999999999", "N"] {
            assert!(dimension(text).is_err() && sweep(text).is_err(), "{text}");
        }
        assert_eq!(dimension(" N = 3"), Ok(("N".into(), 3)));
        assert_eq!(sweep("T=28, 49"), Ok(("T".into(), vec![28, 49])));
        assert!(sweep("T=").is_err() && sweep("T=1,x").is_err());
        assert!(threads("0").is_err() && threads("1").is_ok());
    }

    #[test]
    fn ranges_are_ordered() {
        assert_eq!(range("-3, 3"), Ok((-3.0, 3.0)));
        for text in ["3,3", "3,-3", "nan,1", "0,inf", "-3e38,3e38", "1"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
