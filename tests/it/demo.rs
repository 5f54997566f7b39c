//! What the demo shows, and the broker and the subscriber between which it happens.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[cfg(feature = "demo")]
mod broker;
mod view;
