//! What was checked, and how it went.

use std::{fmt::Display, fs, io, path::Path};

use beacon_gateway::clock::Clock;

/// Counts and prints checks.
pub(crate) struct Score {
    clock: Clock,
    rounds: u32,
    sum: Sum,
}

/// How many checks passed and failed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Score {
    pub(crate) fn new() -> Self {
        Self { clock: Clock::start(), rounds: 0, sum: Sum::default() }
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
                self.sum.passed += 1;
                println!("  ok    {seconds:>5} s  {what}");
            }
            Err(why) => {
                self.sum.failed += 1;
                println!("  FAIL  {seconds:>5} s  {what}\n                 {why}");
            }
        }
    }

    pub(crate) fn sum(&self) -> Sum {
        self.sum
    }
}

impl Sum {
    /// Something was checked, and nothing failed.
    pub(crate) fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }

    /// Leaves the sum where the host finds it.
    pub(crate) fn write(self, path: &Path) -> io::Result<()> {
        fs::write(path, format!("{} {}", self.passed, self.failed))
    }

    /// Reads what a guest left; nothing when it did not come to its end.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (passed, failed) = text.split_once(' ')?;
        Some(Self { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
    }
}
