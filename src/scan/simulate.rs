//! A small shop in virtual time: a seed and settings in, [`Advertisement`](crate::engine::Advertisement)s
//! out, for `demo`, tests and benchmarks.
//!
//! People with tags of every supported kind, strangers and sensors move and send; a receiver hears
//! what the air leaves of it. Pure: no clock, no I/O, the same seed and settings give the same
//! octets. Only [`run`] knows real time, and it is handed the clock.
//!
//! | part | in → out |
//! |---|---|
//! | `plan` | the floor: walls, zones, door, receivers |
//! | `journey` | plan → a path through time |
//! | `device`, `sensor`, `bytes`, `crypto` | time → address and advertising data |
//! | `radio` | two places → signal strength |
//! | `air` | packets → those that survive each other |
//! | `cast`, `enrolment` | who there is → registry and fixtures in their file formats |
//! | `truth` | what really happened |
//! | `shop` | all of it, in the order of time |

mod air;
mod bytes;
mod cast;
mod crypto;
mod device;
mod enrolment;
mod journey;
mod plan;
mod radio;
mod rng;
mod sensor;
mod shop;
mod truth;

use std::{
    ops::RangeInclusive,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::sync::mpsc::{self, error::TrySendError};

pub use self::{
    air::Reception,
    device::Origin,
    enrolment::Fixture,
    plan::{Area, Listener, Plan, Point},
    radio::Propagation,
    shop::Shop,
    truth::{Stay, Truth, Visit},
};
use super::{Heard, ScanCounters};
use crate::{
    clock::Clock,
    engine::{UnixTime, Uptime},
};

/// What the shop is like. The default is the schedule of `demo`: short visits, quick rotations.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The wall time at uptime zero; identifiers that rotate with the clock need it.
    pub started: UnixTime,
    /// When the shop closes; `None` for never.
    pub length: Option<Duration>,
    /// How long a visit lasts, from door to door. Never less than the way alone takes.
    pub stay: RangeInclusive<Duration>,
    /// How long a customer is out of earshot between two visits.
    pub away: RangeInclusive<Duration>,
    /// How far apart in time the customers come in the first time.
    pub apart: Duration,
    /// How many strangers there are at any time, on the street and in the shop.
    pub strangers: usize,
    /// How long phones keep an address. Real ones take about 15 minutes.
    pub rotation: Duration,
    /// Exponent of the rotation period of Eddystone-EID, 0 to 15: a period lasts 2^exponent s.
    pub eid_rotation_exponent: u8,
    /// How far the clock of the Eddystone-EID tag has run ahead since the registry was written.
    pub eid_clock_error: Duration,
    /// How long the compressor of the fridge takes to come round. Real ones take about 20 minutes.
    pub fridge_cycle: Duration,
    /// The floor plan and the receivers.
    pub plan: Plan,
    /// How signals weaken.
    pub radio: Propagation,
}

/// Plays a shop in real time: the start of the shop is now.
///
/// Each advertisement is stamped with the time at which it was in the air by `clock`, and handed on
/// then, or as soon after as this task is scheduled. When `heard` is full the newest is dropped and
/// counted. Returns when `until` completes, when nobody listens any more, or when the shop has
/// closed; in the last case it says that silence now means absence.
pub async fn run(
    shop: Shop,
    clock: Clock,
    heard: mpsc::Sender<Heard>,
    counters: &ScanCounters,
    until: impl Future<Output = ()>,
) {
    let opened = clock.now();
    let mut until = pin!(until);
    for mut advertisement in shop {
        advertisement.heard = opened + advertisement.heard.since(Uptime::ZERO);
        let due = clock.instant(advertisement.heard);
        tokio::select! {
            biased;
            () = &mut until => return,
            () = tokio::time::sleep_until(due) => {}
        }
        match heard.try_send(Heard::Advertisement(advertisement)) {
            Ok(()) => count(&counters.heard),
            Err(TrySendError::Full(_)) => count(&counters.dropped),
            Err(TrySendError::Closed(_)) => return,
        }
    }
    tokio::select! {
        biased;
        () = until => {}
        _ = heard.send(Heard::Recording) => {}
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

// === impl Settings ===

impl Settings {
    /// The rotation exponent within the bounds of the Eddystone-EID specification.
    fn eid_exponent(&self) -> u8 {
        self.eid_rotation_exponent.min(15)
    }
}

impl Default for Settings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            started: UnixTime::from_millis(0),
            length: None,
            stay: seconds(15)..=seconds(40),
            away: seconds(1)..=seconds(6),
            apart: seconds(3),
            strangers: 40,
            rotation: seconds(20),
            // 32 s: a demo of a minute sees it change once or twice.
            eid_rotation_exponent: 5,
            eid_clock_error: seconds(2),
            fridge_cycle: seconds(45),
            plan: Plan::default(),
            radio: Propagation::default(),
        }
    }
}
