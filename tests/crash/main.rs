//! Kills a real outbox with SIGKILL at random moments, half of them while it opens, and checks
//! that the next one finds every commit whole.
//!
//! `CRASH_ROUNDS` (100) and `CRASH_SEED` (1) make it longer or another one.

#![expect(clippy::expect_used, reason = "a helper of a test that panics is a failed test")]

#[path = "../power_cut/harness.rs"]
mod harness;
#[path = "../power_cut/ledger.rs"]
mod ledger;
#[path = "../power_cut/rounds.rs"]
mod rounds;
#[path = "../power_cut/worker.rs"]
mod worker;

use std::{process::ExitCode, time::Duration};

use harness::{number, say};
use ledger::Ledger;
use rounds::Kill;

const TESTS: &[harness::Test] = &[
    ("a_killed_outbox_opens_again_with_every_commit_whole", || {
        killed_again_and_again(worker::BY_SLED)
    }),
    ("a_killed_outbox_where_only_we_can_sync_does_so_too", || {
        killed_again_and_again(worker::AFTER_FLUSH)
    }),
];

fn main() -> ExitCode {
    if let Some(why) = worker::run_if_asked() {
        drop(std::io::Write::write_all(&mut std::io::stderr(), why.as_bytes()));
        return ExitCode::FAILURE;
    }
    harness::run(TESTS)
}

fn killed_again_and_again(durability: &str) -> Result<(), String> {
    let rounds = number("CRASH_ROUNDS", 100);
    let seed = number("CRASH_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let outbox = directory.path().join("outbox");
    let mut ledger = Ledger::default();
    for round in 1..=rounds {
        let kill = Kill::at_random(2, &mut random);
        rounds::round(&outbox, random.u64(..), durability, kill, &mut ledger)
            .map_err(|why| format!("round {round} of seed {seed} ({kill:?}): {why}"))?;
        if round % 25 == 0 {
            say(&format!("  {round} of {rounds} kills, {} commits", ledger.commits));
        }
    }
    let look = Kill::Working(1, Duration::ZERO);
    rounds::round(&outbox, random.u64(..), durability, look, &mut ledger)
        .map_err(|why| format!("after the last round of seed {seed}: {why}"))?;
    say(&format!(
        "{durability}: {rounds} kills, {} of them while it opened, {} commits, {} times emptied, \
         opened {} times, nothing lost",
        ledger.killed_early, ledger.commits, ledger.drains, ledger.opened
    ));
    Ok(())
}
