//! A gateway, a broker and both reference subscribers, through every fault that there is; in the
//! end each subscriber accounts for every number, and all accounts are the same.
//!
//! `ACCOUNTS_ROUNDS` (1) and `ACCOUNTS_SEED` (1) make it longer or another one. A round takes about
//! half a minute. `ACCOUNTS_KEEP` names a directory that is to be left behind, with all logs.

mod broker;
mod gateway;
#[path = "../power_cut/harness.rs"]
#[allow(dead_code, reason = "it has more for those who kill outboxes")]
mod harness;
mod link;
mod platform;
mod process;
mod readers;
mod stage;

use std::process::ExitCode;

use harness::{number, say};
use stage::Stage;

const TESTS: &[harness::Test] =
    &[("both_subscribers_account_for_every_number_through_every_fault", through_every_fault)];

fn main() -> ExitCode {
    match gateway::run_if_asked() {
        None => harness::run(TESTS),
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(why)) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

fn through_every_fault() -> Result<(), String> {
    readers::build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let (rounds, seed) = (number("ACCOUNTS_ROUNDS", 1), number("ACCOUNTS_SEED", 1));
    runtime.block_on(async move {
        let mut stage = Stage::set(seed).await?;
        for round in 1..=rounds {
            stage.round().await.map_err(|why| format!("round {round} of seed {seed}: {why}"))?;
            say(&format!("  {round} of {rounds} rounds: {}", stage.figures()));
        }
        stage.close().await.map_err(|why| format!("at the end of seed {seed}: {why}"))
    })
}
