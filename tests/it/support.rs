//! What the integration tests share.

pub(crate) mod authority;
pub(crate) mod cutter;
pub(crate) mod fake_broker;
pub(crate) mod memory_outbox;
pub(crate) mod mosquitto;
pub(crate) mod publisher;
pub(crate) mod rig;
#[cfg(feature = "demo")]
pub(crate) mod rumqttd;
pub(crate) mod signer;
pub(crate) mod subscriber;
pub(crate) mod tunnel;
pub(crate) mod web;

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

/// Long enough for a busy machine; only a failing test waits for it.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

/// Looks at a condition until it holds, and fails with `what` after [`DEADLINE`].
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let looking = async {
        let mut interval = tokio::time::interval(Duration::from_millis(2));
        // A look that takes long, under a lock, leaves whoever it waits for time to have the lock.
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !condition() {
            interval.tick().await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, looking).await.is_ok();
    assert!(in_time, "waited for {DEADLINE:?} in vain: {what}");
}

/// A TCP port on loopback that nobody listened to just now, for programs that cannot be told to
/// choose one themselves.
#[expect(clippy::unwrap_used, reason = "without a free port there is no test")]
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
