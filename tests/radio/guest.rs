//! In the guest: runs the rounds and says how they went.

use std::{path::Path, process::ExitCode};

use crate::{day_round, hci_round, scan_round, score::Score};

/// The directory that the guest shares with the host.
pub(crate) const SHARE: &str = "/share";

pub(crate) fn main() -> ExitCode {
    if !Path::new("/dev/vhci").exists() {
        eprintln!("this is the guest's part of the radio test; it needs /dev/vhci");
        return ExitCode::FAILURE;
    }
    let wanted = std::env::var("RADIO_ROUNDS").unwrap_or_default();
    let wanted: Vec<_> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("failed to start an event loop: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut score = Score::new();
    runtime.block_on(async {
        if runs("scan") {
            scan_round::run(&mut score).await;
        }
        if runs("hci") {
            hci_round::run(&mut score).await;
        }
        if runs("day") {
            day_round::day(&mut score).await;
        }
        if runs("outages") {
            day_round::outages(&mut score).await;
        }
    });
    if score.close() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
