//! What was checked, and how it went.

use std::fmt::Display;

use beacon_gateway::clock::Clock;

/// Counts and prints checks.
pub(crate) struct Score {
    clock: Clock,
    rounds: u32,
    passed: u32,
    failed: u32,
}

impl Score {
    pub(crate) fn new() -> Self {
        Self { clock: Clock::start(), rounds: 0, passed: 0, failed: 0 }
    }

    /// Opens a group of checks.
    pub(crate) fn round(&mut self, name: &str) {
        self.rounds += 1;
        println!("\n{}. {name}", self.rounds);
    }

    /// Prints how one check went, with the guest's time.
    pub(crate) fn check(&mut self, what: &str, result: Result<(), impl Display>) {
        let seconds = self.clock.now().as_micros() / 1_000_000;
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("  ok    {seconds:>5} s  {what}");
            }
            Err(why) => {
                self.failed += 1;
                println!("  FAIL  {seconds:>5} s  {what}\n                 {why}");
            }
        }
    }

    /// Prints the sum; true when nothing failed and something was checked.
    pub(crate) fn close(&self) -> bool {
        println!("\n{} passed, {} failed", self.passed, self.failed);
        self.failed == 0 && self.passed > 0
    }
}
