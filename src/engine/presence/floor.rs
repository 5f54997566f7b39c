//! The floor plan in this room: steps of the estimator in, zones of presence out.
//!
//! Holds the shop that all tracks share, which zone of presence each zone of the plan is, which
//! receiver of the plan each ear is, and when the next steps are due: for everybody at once, on whole
//! seconds, and only while somebody is followed.

use std::{collections::BTreeMap, time::Duration};

use super::{Ear, Ears, PresenceFloor, Zone};
use crate::engine::{
    FixtureIndex, Hangs, ReceiverId, Uptime,
    place::{self, Change, Method, Model, Places, Reference, Whereabouts},
};

/// The shop, as the estimator sees it.
#[derive(Debug)]
pub(super) struct Floor {
    places: Places,
    /// The zone of presence that each zone of the plan is; none for one that must not be named.
    zones: Vec<Option<usize>>,
    /// The receivers of the plan.
    receivers: Vec<ReceiverId>,
    /// For each ear its receiver on the plan.
    by_ear: Vec<Option<usize>>,
    /// At least this loud to one receiver, somebody is in the shop at all, in dBm…
    pub(super) enter_rssi: f64,
    /// … and fainter than this to all of them no longer.
    pub(super) exit_rssi: f64,
    next_tick: Option<Uptime>,
    /// Beacons at known places, from when they were heard first.
    references: BTreeMap<FixtureIndex, Reference>,
}

/// Where a tag is by the last announcement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    /// The zone of presence; none when it is in no zone that may be named.
    pub(super) zone: Option<usize>,
    pub(super) since: Uptime,
    pub(super) confidence: f64,
}

impl Floor {
    /// Prepares a plan; none when it cannot tell any zone from another.
    pub(super) fn new(floor: PresenceFloor, all: &[Zone]) -> Option<Self> {
        let PresenceFloor { plan, zones } = floor;
        if plan.method() == Method::Threshold {
            return None;
        }
        let named = || zones.iter().flatten().filter_map(|&zone| all.get(zone));
        let enter_rssi = named().map(|zone| zone.enter_rssi).min_by(f64::total_cmp)?;
        let exit_rssi = named().map(|zone| zone.exit_rssi).min_by(f64::total_cmp)?;
        Some(Self {
            places: Places::new(&plan, Model::default()),
            zones,
            receivers: plan.receivers.into_iter().map(|receiver| receiver.id).collect(),
            by_ear: Vec::new(),
            enter_rssi,
            exit_rssi,
            next_tick: None,
            references: BTreeMap::new(),
        })
    }

    /// A receiver heard anything at all.
    pub(super) fn heard(&mut self, now: Uptime, ear: Ear, ears: &Ears) {
        for id in ears.ids().skip(self.by_ear.len()) {
            self.by_ear.push(self.receivers.iter().position(|receiver| receiver == id));
        }
        if let Some(receiver) = self.receiver(ear) {
            self.places.heard(now, receiver);
        }
    }

    /// A receiver heard a beacon at a known place.
    pub(super) fn calibrate(
        &mut self,
        now: Uptime,
        (fixture, hangs): (FixtureIndex, Hangs),
        ear: Ear,
        dbm: f32,
    ) {
        if let Some(receiver) = self.receiver(ear) {
            let places = &self.places;
            let reference = self.references.entry(fixture);
            let reference = reference.or_insert_with(|| places.reference(hangs.at, hangs.height));
            self.places.calibrate(reference, now, receiver, dbm);
        }
    }

    /// The fixtures are others now; what was learned of receivers holds.
    pub(super) fn forget_beacons(&mut self) {
        self.references.clear();
    }

    /// What each receiver was found to hear more than the plan says, in dB; none before a beacon at a
    /// known place was heard.
    pub(super) fn corrections(&self) -> impl Iterator<Item = (&ReceiverId, f32)> {
        let known = !self.references.is_empty();
        let all = self.receivers.iter().enumerate().filter(move |_| known);
        all.map(|(n, id)| (id, self.places.correction(n)))
    }

    /// Begins to follow a tag.
    pub(super) fn track(&self) -> place::Track {
        self.places.track()
    }

    /// Takes in a reading. The steps before it must have been taken.
    pub(super) fn observe(&mut self, track: &mut place::Track, now: Uptime, ear: Ear, dbm: f32) {
        if let Some(receiver) = self.receiver(ear) {
            self.places.observe(track, now, receiver, dbm);
            self.next_tick.get_or_insert(whole_second_after(now));
        }
    }

    /// Takes the next step of a track that has ended by `now`, if there is one.
    pub(super) fn step(&mut self, track: &mut place::Track, now: Uptime) -> Option<place::Step> {
        self.places.step(track, now)
    }

    /// What a change means here; none when it is that nobody can tell any more.
    pub(super) fn told(&self, change: Change) -> Option<Told> {
        let zone = match change.to {
            Whereabouts::Zone(zone) => self.zones.get(zone).copied().flatten(),
            Whereabouts::Elsewhere => None,
            Whereabouts::Unknown => return None,
        };
        Some(Told { zone, since: change.since, confidence: change.confidence })
    }

    /// When steps are next due although nothing is heard.
    pub(super) fn next_tick(&self) -> Option<Uptime> {
        self.next_tick
    }

    /// All steps up to `now` were taken; `anybody` is still followed.
    pub(super) fn ticked(&mut self, now: Uptime, anybody: bool) {
        self.next_tick = anybody.then(|| whole_second_after(now));
    }

    fn receiver(&self, ear: Ear) -> Option<usize> {
        self.by_ear.get(ear.index()).copied().flatten()
    }
}

/// All tracks step together, so that a shop full of people wakes the gateway once a second.
fn whole_second_after(now: Uptime) -> Uptime {
    const SECOND: Duration = Duration::from_secs(1);
    let micros = now.as_micros();
    Uptime::from_micros(micros.saturating_sub(micros.rem_euclid(1_000_000))) + SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_due_on_whole_seconds() {
        let next = |micros| whole_second_after(Uptime::from_micros(micros)).as_micros();
        assert_eq!(next(0), 1_000_000);
        assert_eq!(next(1), 1_000_000);
        assert_eq!(next(999_999), 1_000_000);
        assert_eq!(next(-1), 0);
        assert_eq!(next(i64::MAX), i64::MAX);
        assert!(next(i64::MIN) > i64::MIN);
    }
}
