//! Does everything end the same everywhere, and is nothing lost, whatever happens on the way?
//!
//! A run is made from one number, its seed: 3 to 12 instances in some shape (mesh, ring, line, hub, two hubs), each a real data
//! directory with its journal and a clock of its own; edits, deletions, edits by hand, conflicts that are restored; messages that
//! are lost, cut, repeated, late, replayed; processes that end anywhere; clocks that are off; edits and deletions while the service is
//! stopped; journals that are deleted; backups of the state, of the files, of both, brought back with and without mtimes; two processes of
//! one identity that answer by turns; an empty directory in place of the right one; files that are half written or misnamed and repaired
//! later; months in which tombstones are forgotten. Files are dated by the clock of their instance. A process that resumes from a snapshot
//! of its memory is not played: its epoch would have to go on in a copy (`tests/federation/restores.rs` has that). Rounds are `federation::run`, what they ask is answered by
//! `federation::feed`; only the way between the two is ours, and it is a bad one. Rounds happen within rounds. Then all ways are
//! open and the clocks right, and
//!
//! * after a bounded number of sweeps nobody has anything to say: each pair exchanges its heads, and not a byte more;
//! * all hold the same versions, and index, journal and files agree;
//! * every content that was ever written is held, or was replaced by somebody who had it before him, or is kept as a conflict
//!   where it was made;
//! * the greatest version that any instance held when all was well again is the one that is held in the end, and where no state was
//!   lost the greatest one that was ever written.
//!
//! And at any time: a round that reports success, while nothing else happened, has exchanged what its directions and filter let through,
//! and two that are in step hold the same; what is brought back from a backup is the version that it was and no newer one; what is
//! missing in an older copy of a directory, or in another directory in its place, is not deleted; a broken file is neither an edit nor a
//! deletion; an edit of a stopped service counts from when the file was written.
//!
//! One thread, one thing after the other: a seed that fails fails again.
//!
//! `ARK_SIMULATION_SEEDS` says how many seeds, `ARK_SIMULATION_FROM` which is the first.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise and says which"
)]

mod brittle;
mod oracle;
mod plan;
mod random;
mod site;
mod way;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};
use world::{Log, Tally, World};

/// Seeds of every run of the tests.
const SAMPLE: u64 = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// In memory where that is possible: nothing of it outlives the run.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let named = std::env::var_os("TMPDIR").is_none() && memory.is_dir();
    let within = if named { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("ark-simulation-").tempdir_in(within).unwrap()
}

/// One seed; what went wrong in it, if anything did.
fn simulate(runtime: &tokio::runtime::Runtime, seed: u64) -> Result<Tally, String> {
    simulate_with(runtime, seed, &Log::default())
}

fn simulate_with(runtime: &tokio::runtime::Runtime, seed: u64, log: &Log) -> Result<Tally, String> {
    let folder = folder();
    let result = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async { World::new(seed, folder.path(), Arc::clone(log)).await.run().await })
    }));
    let problem = match result {
        Ok(Ok(tally)) => return Ok(tally),
        Ok(Err(problem)) => problem,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    let log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    Err(format!(
        "seed {seed}:\n{}\nseed {seed}: {problem}\n\
         again: ARK_SIMULATION_SEEDS=1 ARK_SIMULATION_FROM={seed} cargo test --test simulation -- --nocapture",
        log.join("\n")
    ))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().max_blocking_threads(1).build().unwrap()
}

#[test]
fn everything_ends_the_same_everywhere_and_nothing_is_lost() {
    let (seeds, from) = (number("ARK_SIMULATION_SEEDS").unwrap_or(SAMPLE), number("ARK_SIMULATION_FROM").unwrap_or(1));
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let (tallies, failed) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        let runtime = runtime();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds || failed.lock().unwrap().len() >= 3 {
                return;
            }
            match simulate(&runtime, seed) {
                Ok(tally) => tallies.lock().unwrap().push(tally),
                Err(problem) => {
                    eprintln!("{problem}");
                    failed.lock().unwrap().push(seed);
                }
            }
            if (seed + 1 - from).is_multiple_of(500) {
                eprintln!("{} seeds after {:?}", seed + 1 - from, started.elapsed());
            }
        }
    };
    let threads = number("ARK_SIMULATION_THREADS").unwrap_or(2);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let tallies = tallies.into_inner().unwrap();
    let sum = tallies.iter().fold(Tally::default(), |sum, tally| sum.plus(tally));
    eprintln!("{} seeds in {:?}: {sum:?}", tallies.len(), started.elapsed());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    let runtime = runtime();
    let (seeds, from) = (number("ARK_SIMULATION_SEEDS").unwrap_or(SAMPLE).min(50), 1000);
    for seed in from..from + seeds / 5 {
        let logs = [(); 2].map(|()| {
            let log = Log::default();
            if let Err(problem) = simulate_with(&runtime, seed, &log) {
                panic!("{problem}");
            }
            Arc::into_inner(log).unwrap().into_inner().unwrap()
        });
        assert_eq!(logs[0], logs[1], "seed {seed}");
    }
}
