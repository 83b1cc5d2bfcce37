//! Damages the corpus of every target of `fgi_tests::fuzz` for so many seconds, an hour if not given,
//! and prints how many inputs were tried: `cargo run --release -p fgi-tests --example fuzz -- 3600`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fgi_tests::fuzz::{TARGETS, search};

fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(Ok(3600), |text| text.parse::<u64>());
    let Ok(seconds) = seconds else {
        eprintln!("expected a number of seconds");
        return ExitCode::from(2);
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    // In short rounds, so that every target has had its turn whenever it is stopped.
    let round = Duration::from_secs(10).min(Duration::from_secs(seconds) / TARGETS.len() as u32);
    let rounds = seconds.div_ceil(TARGETS.len() as u64 * round.as_secs().max(1));
    let mut tried = [0; TARGETS.len()];
    for number in 0..rounds {
        for (target, tried) in TARGETS.iter().zip(&mut tried) {
            match search(target, round, (now + number) << 32) {
                Ok(inputs) => *tried += inputs,
                Err(fault) => {
                    eprintln!("{fault}");
                    return ExitCode::FAILURE;
                }
            }
        }
        let counts = TARGETS.iter().zip(&tried).map(|(target, n)| format!("{} {n}", target.name));
        println!("{} inputs: {}", tried.iter().sum::<u64>(), counts.collect::<Vec<_>>().join(", "));
    }
    ExitCode::SUCCESS
}
