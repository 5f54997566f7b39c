//! What is shared with the integration tests.

#[path = "../it/support/mosquitto.rs"]
pub(crate) mod mosquitto;
#[expect(dead_code, reason = "the integration tests need more of it")]
#[path = "../it/support/subscriber.rs"]
pub(crate) mod subscriber;

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

/// Long enough for a busy machine; only a failing test waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Looks at a condition until it holds. Panics with `what` when it does not for long.
pub(crate) async fn eventually(what: &str, condition: impl FnMut() -> bool) {
    assert!(within(DEADLINE, condition).await, "waited for {DEADLINE:?} in vain: {what}");
}

/// Looks at a condition for so long. Returns whether it came to hold.
pub(crate) async fn within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let looking = async {
        let mut interval = tokio::time::interval(Duration::from_millis(2));
        // A look that takes long, under a lock, leaves whoever it waits for time to have the lock.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !condition() {
            interval.tick().await;
        }
    };
    tokio::time::timeout(time, looking).await.is_ok()
}

/// A TCP port on loopback that nobody listened to just now.
#[expect(clippy::unwrap_used, reason = "without a free port there is no test")]
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
