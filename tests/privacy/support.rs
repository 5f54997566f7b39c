//! What is shared with the integration tests, and the little that all parts here need.

#[path = "../it/support/mosquitto.rs"]
pub(crate) mod mosquitto;
#[expect(dead_code, reason = "the integration tests need more of it")]
#[path = "../it/support/signer.rs"]
pub(crate) mod signer;

use std::net::{Ipv4Addr, TcpListener};

/// What a part of the test comes to, or what went wrong in words.
pub(crate) type Outcome<T> = Result<T, String>;

/// Any error, in words, with all that caused it.
pub(crate) fn text(error: impl std::error::Error) -> String {
    crate::harness::describe(&error)
}

/// A TCP port on loopback that nobody listened to just now.
#[expect(clippy::unwrap_used, reason = "without a free port there is no test")]
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
