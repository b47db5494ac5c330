//! Runs simulations of which one seed decides everything.
//!
//! `LOGMACHINE_SIMULATE_SECONDS` has them go on for that long, with seeds from the clock. `LOGMACHINE_SIMULATE_SEED` has
//! them do that one, and `LOGMACHINE_SIMULATE_TRACE` names a file for all that happened then. With
//! `LOGMACHINE_SIMULATE_ALL` they go on after a failure.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use crate::diagnostics::panic_words;
use crate::time::{Clock, monotonic};

/// How often what happened in a run.
pub(crate) type Happened = BTreeMap<&'static str, u64>;

/// Simulates `runs` seeds from 0 on if nobody says otherwise, in which each of `all` must happen.
pub(crate) fn run(
    runs: u64,
    all: &[&'static str],
    simulate: impl Fn(u64) -> Result<Happened, String>,
) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = number("LOGMACHINE_SIMULATE_SECONDS");
    let given = number("LOGMACHINE_SIMULATE_SEED");
    let goes_on = std::env::var_os("LOGMACHINE_SIMULATE_ALL").is_some();
    let until = seconds.map(|seconds| monotonic() + Duration::from_secs(seconds));
    let first = given.unwrap_or(if until.is_some() { Clock::system().now().micros() } else { 0 });
    let mut happened = Happened::new();
    let mut failed: Vec<String> = Vec::new();
    let mut seed = first;
    loop {
        match simulate(seed) {
            Ok(in_run) => {
                for (what, times) in in_run {
                    *happened.entry(what).or_default() += times;
                }
            }
            Err(why) if goes_on => failed.push(why.lines().last().unwrap_or_default().to_owned()),
            Err(why) => panic!("{why}"),
        }
        seed += 1;
        let is_over = until.map_or(seed >= first + runs, |until| monotonic() > until);
        if given.is_some() || is_over {
            break;
        }
    }
    let done = seed - first;
    let failures = failed.join("\n");
    if until.is_some() {
        let line = format!("{done} runs, {} failed: {happened:?}\n{failures}\n", failed.len());
        drop(std::io::stderr().write_all(line.as_bytes()));
    }
    assert!(failed.is_empty(), "{} of {done} failed:\n{failures}", failed.len());
    if given.is_none() && done >= runs {
        for what in all {
            assert!(happened.contains_key(what), "no {what} happened: {happened:?}");
        }
    }
}

/// What a run that panicked says: the end of its trace and, in the last line, its seed and why. All of the trace, and
/// what was on the `disk` then, goes into the file that the environment names.
pub(crate) fn failure(
    seed: u64,
    panic: &(dyn Any + Send),
    mut trace: Vec<String>,
    disk: impl FnOnce() -> String,
) -> String {
    let why = panic_words(panic).replace('\n', " ");
    let from = trace.len().saturating_sub(40);
    let end = trace[from..].join("\n");
    if let Some(path) = std::env::var_os("LOGMACHINE_SIMULATE_TRACE") {
        trace.extend([why.clone(), disk()]);
        drop(std::fs::write(path, trace.join("\n")));
    }
    format!("{end}\nLOGMACHINE_SIMULATE_SEED={seed}: {why}")
}
