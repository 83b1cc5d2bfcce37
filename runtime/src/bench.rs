//! How long programs take, and how much memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fgi_compiler::ir::Verified;
use fgi_compiler::ir::kernel::{Pass, Program};

use crate::{Device, Error, Session};

/// Milliseconds of one thing done several times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half of the runs take no longer.
    pub median: f64,
    /// The shortest run.
    pub min: f64,
    /// The longest run.
    pub max: f64,
}

/// A training step, part by part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// The forward pass.
    pub forward: Spread,
    /// The backward pass.
    pub backward: Spread,
    /// `None` if the program has no update.
    pub update: Option<Spread>,
}

/// The variants of a program on a GPU, measured by [`Session::tune`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// How many rows of the batch a workgroup computes, and the milliseconds of a forward and a backward
    /// pass, the least of a few runs.
    pub variants: Vec<(u32, f64)>,
    /// The rows of the fastest variant.
    pub rows: u32,
    /// Where later sessions find this choice; `None` if it could not be kept.
    pub file: Option<PathBuf>,
}

/// How often things are done: as often as fit into a second, but so many times at least and at most.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// At least so many.
    pub least: usize,
    /// At most so many.
    pub most: usize,
}

impl Runs {
    /// Enough for a steady median.
    pub const ENOUGH: Runs = Runs { least: 7, most: 300 };

    /// So many, whatever they take.
    pub fn exactly(count: usize) -> Runs {
        Runs { least: count, most: count }
    }

    /// What `run` returns, all runs after each other; a first run is not counted.
    fn of<const N: usize>(
        self,
        mut run: impl FnMut() -> Result<[Duration; N], Error>,
    ) -> Result<[Spread; N], Error> {
        run()?;
        let mut times: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
        let start = Instant::now();
        let mut count = 0;
        while count < self.least.max(1)
            || (count < self.most && start.elapsed() < Duration::from_secs(1))
        {
            for (times, time) in times.iter_mut().zip(run()?) {
                times.push(1e3 * time.as_secs_f64());
            }
            count += 1;
        }
        Ok(times.map(|times| Spread::of(&times)))
    }
}

impl Spread {
    /// Of at least one time.
    fn of(times: &[f64]) -> Spread {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Spread {
            median: median(times),
            min: times.iter().copied().fold(min, f64::min),
            max: times.iter().copied().fold(max, f64::max),
        }
    }
}

/// The number in the middle, or the mean of the two there; NaN of none.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => f64::NAN,
        all if all.len() % 2 == 1 => all[all.len() / 2],
        all => (all[all.len() / 2 - 1] + all[all.len() / 2]) / 2.0,
    }
}

/// A session as by [`Session::new`], and how long the device took to compile the program's kernels. The
/// initial values of the parameters, which follow, are not compilation: an orthogonal matrix of 1024
/// rows alone takes half a second.
pub fn compiled(
    program: Arc<Verified<Program>>,
    device: &Device,
) -> Result<(Session, Duration), Error> {
    let start = Instant::now();
    let mut session = Session::without_values(program, device)?;
    let time = start.elapsed();
    session.initialise(0)?;
    Ok((session, time))
}

/// The times of training steps, forward and backward together; inputs must be given.
pub fn training(session: &mut Session, runs: Runs) -> Result<Spread, Error> {
    Ok(runs.of(|| Ok([timed(session, Session::run_gradients)?]))?[0])
}

/// The times of the parts of a training step, one after the other; inputs must be given. The update
/// comes last, so that all other runs see the same parameters.
pub fn parts(session: &mut Session, runs: Runs) -> Result<Parts, Error> {
    let mut run = |pass| timed(session, |session| session.run(pass));
    let [forward, backward] = runs.of(|| Ok([run(Pass::Forward)?, run(Pass::Backward)?]))?;
    let update = match session.program().update.is_empty() {
        true => None,
        false => {
            let update = || Ok([timed(session, |session| session.run(Pass::Update))?]);
            Some(runs.of(update)?[0])
        }
    };
    Ok(Parts { forward, backward, update })
}

/// The times of a forward pass; inputs must be given.
pub fn inference(session: &mut Session, runs: Runs) -> Result<Spread, Error> {
    Ok(runs.of(|| Ok([timed(session, |session| session.run(Pass::Forward))?]))?[0])
}

fn timed(
    session: &mut Session,
    run: impl FnOnce(&mut Session) -> Result<(), Error>,
) -> Result<Duration, Error> {
    let start = Instant::now();
    run(session)?;
    session.wait()?;
    Ok(start.elapsed())
}

/// The memory that this process has now, and the most that it has had since [`forget_peak`], in MiB.
/// `None` where the system does not tell (it does on Linux).
pub fn memory() -> Option<(f64, f64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: f64 = line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib / 1024.0)
    };
    Some((field("VmRSS")?, field("VmHWM")?))
}

/// Counts the most memory from now on.
pub fn forget_peak() {
    // Where this cannot be done, the peak of the whole process stands.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_of_times() {
        let spread = |times: &[f64]| Spread::of(times);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn runs_are_as_many_as_asked_for() {
        let mut count = 0;
        let mut run = || {
            count += 1;
            Ok([Duration::from_millis(count)])
        };
        // The first one is not counted.
        let [spread] = Runs::exactly(3).of(&mut run).unwrap();
        assert_eq!(spread, Spread { median: 3.0, min: 2.0, max: 4.0 });
        assert_eq!(count, 4);
    }
}
