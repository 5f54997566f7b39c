//! The little of a test harness that these tests need: names, a filter, and a summary in the form
//! that test runners read.

use std::{env, error::Error, io::Write as _, panic, process::ExitCode};

/// A test: the sentence it proves, and how.
pub(crate) type Test = (&'static str, fn() -> Result<(), String>);

/// Runs the tests that were asked for on the command line, as `cargo test` and `cargo nextest` ask.
pub(crate) fn run(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        // Nothing here is ignored, so there is nothing to list when only those are asked for.
        for (name, _) in tests.iter().filter(|_| !has("--ignored")) {
            say(&format!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|text| !text.starts_with('-')).collect();
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| {
                if has("--exact") {
                    name == filter.as_str()
                } else {
                    name.contains(filter.as_str())
                }
            })
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in tests.iter().filter(|(name, _)| wanted(name)) {
        // A test that panics has failed, and the others are run all the same; the panic has said why.
        match panic::catch_unwind(test).unwrap_or_else(|_| Err("it panicked".to_owned())) {
            Ok(()) => {
                passed += 1;
                say(&format!("test {name} ... ok"));
            }
            Err(why) => {
                failed += 1;
                say(&format!("test {name} ... FAILED\n    {why}"));
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    let left_out = tests.len() - passed - failed;
    say(&format!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; \
         {left_out} filtered out"
    ));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a line at once: whoever reads it wants to see that the test is alive.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // With nobody there to read it, there is nobody to tell.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A number from the environment, for longer runs and for repeating one.
pub(crate) fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// An error and all that caused it.
pub(crate) fn describe(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", describe(cause)),
        None => error.to_string(),
    }
}
