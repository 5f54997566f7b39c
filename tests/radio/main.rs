//! The radio test: the daemon with a real Bluetooth stack and a real broker, in a guest.
//!
//! `cargo test --test radio` builds a guest (once), boots it and starts this program again inside
//! it, where there are a controller made of software, the kernel's Bluetooth, bluetoothd, a message
//! bus, mosquitto and the daemon. The guest's time is its own: when nothing is to be done it skips
//! to the next timer, so that minutes in the shop pass in seconds.
//!
//! `cargo test --test radio -- scan day` runs only the rounds of these names; with
//! `RADIO_REAL_TIME=1` the guest's time is real. The rounds that measure run only by name, `--
//! measure` all of them; they print the tables of `docs/radio.md`, which also says how.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the test reports on the terminal")]

mod air;
mod antenna;
mod broker;
mod burst;
mod cast;
mod clock_round;
mod controller;
mod daemon;
mod day_round;
mod faults_round;
mod gauge;
mod guest;
mod hci_round;
mod host;
mod measure;
mod needles;
mod plane;
mod planes_round;
mod process;
mod receivers_round;
mod rounds;
mod scan_round;
mod score;
mod stand;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("guest") => guest::main(),
        // The guest starts it once more, as somebody else.
        Some("unprivileged") => hci_round::unprivileged(),
        // Runners that list tests first find none: this one is started by its name.
        Some("--list") => ExitCode::SUCCESS,
        first => {
            // What cargo's own harness would understand is of no meaning here.
            let rounds = first.map(str::to_owned).into_iter().chain(words);
            host::main(&rounds.filter(|word| !word.starts_with('-')).collect::<Vec<_>>())
        }
    }
}
