//! Integration tests, in one binary so that the heavy dependencies link once.

#![expect(clippy::unwrap_used, reason = "a test helper that panics is a failed test")]

mod outbox;
