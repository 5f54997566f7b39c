//! In the guest: runs the rounds and says how they went.

use std::{path::Path, process::ExitCode, time::Duration};

use crate::{
    clock_round, day_round, faults_round, hci_round, measure, planes_round, receivers_round,
    rounds, scan_round, score::Score,
};

/// The directory that the guest shares with the host.
pub(crate) const SHARE: &str = "/share";

pub(crate) fn main() -> ExitCode {
    if !Path::new("/dev/vhci").exists() {
        eprintln!("this is the guest's part of the radio test; it needs /dev/vhci");
        return ExitCode::FAILURE;
    }
    let words = std::env::var("RADIO_ROUNDS").unwrap_or_default();
    let words: Vec<_> = words.split(',').map(str::to_owned).collect();
    let rounds = match rounds::named(&words) {
        Ok(rounds) => rounds,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("failed to start an event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut score = Score::new();
    runtime.block_on(async {
        for round in rounds {
            match round.name {
                "scan" => scan_round::run(&mut score).await,
                "hci" => hci_round::run(&mut score).await,
                "day" => day_round::day(&mut score).await,
                "outages" => day_round::outages(&mut score).await,
                "planes" => planes_round::planes(&mut score).await,
                "receivers" => receivers_round::run(&mut score).await,
                "clock" => clock_round::run(&mut score).await,
                "rate" => planes_round::rate(&mut score).await,
                "faults" => faults_round::faults(&mut score, Duration::from_millis(500)).await,
                "measure-faults" => {
                    faults_round::faults(&mut score, Duration::from_millis(200)).await;
                }
                "measure-share" => measure::share::all(&mut score).await,
                "measure-ramp" => measure::ramp::all(&mut score).await,
                "measure-memory" => measure::memory::all(&mut score).await,
                "measure-flood" => measure::flood::all(&mut score).await,
                "measure-day" => measure::day::all(&mut score).await,
                name => score.check(name, Err("nobody wrote this round")),
            }
        }
    });
    match score.sum().write(&Path::new(SHARE).join("sum")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed to leave the sum: {error}");
            ExitCode::FAILURE
        }
    }
}
