//! Cuts the power under a real outbox, again and again, on a file system that keeps only what was
//! synced, and checks that the store always opens with every commit whole.
//!
//! `POWER_CUT_ROUNDS` (60) and `POWER_CUT_SEED` (1) make it longer or another one. Needs
//! `/dev/fuse`, and root or `fusermount3`.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper of a test that panics is a failed test"
)]

mod disk;
mod fuse;
mod harness;
mod ledger;
mod outage;
mod rounds;
mod steps;
mod support;
mod worker;

use std::{process::ExitCode, time::Duration};

use disk::Cut;
use fuse::Mounted;
use harness::{number, say};
use ledger::Ledger;
use rounds::Kill;

const TESTS: &[harness::Test] = &[
    ("what_was_synced_survives_when_nothing_else_does", || {
        survives(Cut::KeepsNothing, worker::BY_SLED, 1)
    }),
    ("what_was_synced_survives_among_random_parts_of_the_rest", || {
        survives(Cut::KeepsSome, worker::BY_SLED, 1)
    }),
    ("what_was_synced_survives_where_only_we_can_sync", || {
        survives(Cut::KeepsSome, worker::AFTER_FLUSH, 2)
    }),
    ("a_power_cut_after_any_step_leaves_a_whole_store", steps::survives_a_cut_after_any_step),
    ("a_full_disk_is_said_and_costs_nothing_that_was_committed", survives_a_full_disk),
    ("a_gateway_lives_through_a_disk_that_is_full_read_only_and_failing", outage::is_lived_through),
    ("a_gateway_that_starts_without_its_disk_waits_and_says_why", outage::at_the_start_is_said),
    ("without_any_syncing_this_test_finds_what_is_lost", loses_without_syncing),
];

fn main() -> ExitCode {
    if let Some(why) = worker::run_if_asked() {
        drop(std::io::Write::write_all(&mut std::io::stderr(), why.as_bytes()));
        return ExitCode::FAILURE;
    }
    harness::run(TESTS)
}

/// Cuts the power in so many rounds divided by `share`, always on the same store.
fn survives(cut: Cut, durability: &str, share: u64) -> Result<(), String> {
    let rounds = (number("POWER_CUT_ROUNDS", 60) / share).max(1);
    let bench = Bench::set_up(cut, durability)?;
    let report = bench.run(rounds)?;
    say(&format!("{cut:?}, {durability}: {report}"));
    Ok(())
}

/// Lets the disk become full under the outbox, several times, and frees it again.
fn survives_a_full_disk() -> Result<(), String> {
    let bench = Bench::set_up(Cut::KeepsNothing, worker::BY_SLED)?;
    let outbox = bench.directory.path().join("outbox");
    let mut ledger = Ledger::default();
    let work = Kill::Working(5000, Duration::ZERO);
    let never = Kill::Working(usize::MAX, Duration::ZERO);
    for megabytes in 1..=8 {
        bench.disk.limit(megabytes << 20);
        // The second one begins on a full disk.
        for _ in 0..2 {
            let ended = rounds::round(&outbox, 1, bench.durability, never, &mut ledger);
            let why = ended.err().unwrap_or_default();
            if !why.starts_with(rounds::ENDED) || !why.contains("No space left on device") {
                return Err(format!("on a full disk: {why}"));
            }
        }
        bench.disk.limit(usize::MAX);
        rounds::round(&outbox, 2, bench.durability, work, &mut ledger)
            .map_err(|why| format!("after the disk was full at {megabytes} MiB: {why}"))?;
    }
    say(&format!("full disk: {} commits, nothing lost", ledger.commits));
    Ok(())
}

/// The test of the test: the same rounds with nothing synced must find something lost.
fn loses_without_syncing() -> Result<(), String> {
    let bench = Bench::set_up(Cut::KeepsSome, worker::NOBODY)?;
    match bench.run(20) {
        Err(why) => {
            say(&format!("nothing synced: {why}"));
            Ok(())
        }
        Ok(report) => Err(format!("nothing was synced and nothing was lost ({report})")),
    }
}

/// A file system to cut the power of, and the worker that uses it.
struct Bench {
    // Dropped in this order: what is mounted cannot be removed.
    disk: Mounted,
    directory: tempfile::TempDir,
    cut: Cut,
    durability: &'static str,
}

impl Bench {
    fn set_up(cut: Cut, durability: &str) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = Mounted::at(directory.path())?;
        let durability = [worker::BY_SLED, worker::AFTER_FLUSH, worker::NOBODY]
            .into_iter()
            .find(|known| *known == durability)
            .ok_or("no such durability")?;
        Ok(Self { disk, directory, cut, durability })
    }

    fn run(&self, rounds: u64) -> Result<String, String> {
        let seed = number("POWER_CUT_SEED", 1);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut ledger = Ledger::default();
        let outbox = self.directory.path().join("outbox");
        for round in 1..=rounds {
            let kill = Kill::at_random(5, &mut random);
            rounds::round(&outbox, random.u64(..), self.durability, kill, &mut ledger)
                .map_err(|why| format!("round {round} of seed {seed} ({kill:?}): {why}"))?;
            // Now and then only the process dies, and the next one meets what was not synced.
            if random.u8(0..4) > 0 {
                self.disk.cut_power(self.cut, &mut random);
            }
            if round % 20 == 0 {
                say(&format!("  {round} of {rounds} power cuts, {} commits", ledger.commits));
            }
        }
        // What the last cut left is looked at too.
        let look = Kill::Working(1, Duration::ZERO);
        rounds::round(&outbox, random.u64(..), self.durability, look, &mut ledger)
            .map_err(|why| format!("after the last round of seed {seed}: {why}"))?;
        Ok(format!(
            "{rounds} power cuts, {} of them while it opened, {} commits, {} times emptied, {} syncs, \
             opened {} times, nothing lost",
            ledger.killed_early,
            ledger.commits,
            ledger.drains,
            self.disk.syncs(),
            ledger.opened
        ))
    }
}
