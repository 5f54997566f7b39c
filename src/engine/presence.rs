//! Room 4. Sightings and time in; enter, dwell, exit and visit transitions out.
//!
//! Promises: a visit starts before its first zone and ends after its last; within one subject,
//! transitions are in order of time; an exit is dated to when presence was last true, however
//! late it is noticed; no exit is made while the radio cannot be trusted to hear.

mod hearing;
mod track;
mod transition;
mod visit;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

pub use transition::{
    EnterReason, ExitReason, MAX_STAYS, PresenceSettings, Quality, Sighting, Stay, Transition,
    TransitionKind, VisitId, VisitRecord, Zone, ZoneId,
};

use super::{RadioState, ReceiverId, SubjectIndex, Uptime};
use hearing::{HearingClock, HearingTime};
use track::{OpenStay, Track};
use visit::{Step, Visit};

/// The room.
#[derive(Debug)]
pub(super) struct PresenceTracker {
    settings: PresenceSettings,
    clock: HearingClock,
    tracks: BTreeMap<SubjectIndex, Track>,
    /// When each open visit is looked at again: at or before its deadline, once each.
    deadlines: BinaryHeap<Reverse<(HearingTime, SubjectIndex)>>,
    next_visit: VisitId,
    transitions: Vec<Transition>,
    checkpoints: Vec<SubjectIndex>,
}

impl PresenceTracker {
    /// Starts with nobody present; `next_visit` names the first visit.
    pub(super) fn new(settings: PresenceSettings, next_visit: VisitId) -> Self {
        Self {
            settings,
            clock: HearingClock::default(),
            tracks: BTreeMap::new(),
            deadlines: BinaryHeap::new(),
            next_visit,
            transitions: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    /// Anything at all was heard. Exits that this proves come before what it brings.
    pub(super) fn heard(&mut self, now: Uptime) {
        self.clock.heard(now);
        self.expire(now);
    }

    /// The radio's state changed.
    pub(super) fn set_radio(&mut self, now: Uptime, state: RadioState) {
        self.clock.set(now, state);
        self.expire(now);
    }

    /// The radio's state, as last told.
    pub(super) fn radio(&self) -> RadioState {
        self.clock.state()
    }

    /// Takes in one sighting.
    pub(super) fn observe(&mut self, now: Uptime, sighting: &Sighting<'_>) {
        let at = self.clock.at(now);
        let track = self.tracks.entry(sighting.subject).or_default();
        track.observe(at, sighting.rssi, &self.settings);
        let Some(smoothed) = track.smoothed else { return };

        let loudest = louder_zone(&self.settings.zones, sighting.receiver, smoothed);
        let mut step = Step { now, at, sighting, smoothed, out: &mut self.transitions };
        match (&mut track.visit, loudest) {
            (None, None) => {}
            (None, Some((index, zone))) => {
                let mut visit = Visit::start(self.next_visit, &step);
                self.next_visit.number += 1;
                step.emit(&visit, now, TransitionKind::VisitStarted);
                visit.enter(&mut step, index, zone, now, EnterReason::Arrived);
                let deadline = at + track.exit_timeout(&self.settings);
                self.deadlines.push(Reverse((deadline, sighting.subject)));
                self.checkpoints.push(sighting.subject);
                track.visit = Some(visit);
            }
            (Some(visit), loudest) => {
                visit.observe(&step);
                let before = step.out.len();
                visit.step(&mut step, &self.settings, loudest);
                let changed = step.out.len() > before;
                if changed || at.since(visit.checkpointed) >= self.settings.checkpoint_interval {
                    visit.checkpointed = at;
                    self.checkpoints.push(sighting.subject);
                }
            }
        }
    }

    /// Ends the visits whose absence is proven by `now`.
    pub(super) fn expire(&mut self, now: Uptime) {
        let proven = self.clock.proven(now);
        while let Some(&Reverse((due, subject))) = self.deadlines.peek()
            && due <= proven
        {
            self.deadlines.pop();
            let Some(track) = self.tracks.get_mut(&subject) else { continue };
            let timeout = track.exit_timeout(&self.settings);
            let Some(visit) = &mut track.visit else { continue };
            let deadline = visit.last_true + timeout;
            if proven < deadline {
                self.deadlines.push(Reverse((deadline, subject)));
                continue;
            }
            if let Some(mut visit) = track.visit.take() {
                visit.end(subject, ExitReason::Silent, &mut self.transitions);
                self.checkpoints.push(subject);
            }
        }
    }

    /// When [`PresenceTracker::expire`] has something to do without anything being heard.
    pub(super) fn next_deadline(&self) -> Option<Uptime> {
        let Reverse((deadline, _)) = self.deadlines.peek()?;
        self.clock.uptime_of(*deadline)
    }

    /// Takes up a visit that was open when the gateway stopped, or ends it when too long ago.
    pub(super) fn restore(&mut self, now: Uptime, subject: SubjectIndex, record: VisitRecord) {
        let zones = &self.settings.zones;
        let last = record.stays.last().filter(|_| record.in_zone);
        let zone = last.and_then(|stay| zones.iter().position(|zone| zone.id == stay.zone));
        let lost_zone = record.in_zone && zone.is_none();
        let resumes = !lost_zone && now.since(record.last_seen) <= self.settings.resume_within;
        let at = self.clock.at(now);
        let entered = last.map_or(record.started, |stay| stay.entered);
        let dwelled = record.dwelled;
        let mut visit = Visit {
            stay: zone.map(|zone| OpenStay { zone, entered, dwelled, faint_since: None }),
            last_true: at,
            rssi_sum: 0.0,
            rssi_count: 0,
            checkpointed: at,
            record,
        };
        if !resumes {
            visit.end(subject, ExitReason::GatewayRestart, &mut self.transitions);
            self.checkpoints.push(subject);
            return;
        }
        let track = self.tracks.entry(subject).or_default();
        let deadline = at + track.exit_timeout(&self.settings);
        self.deadlines.push(Reverse((deadline, subject)));
        track.visit = Some(visit);
    }

    /// Moves every track to its subject's new place; a subject without one is forgotten at once,
    /// its visit closed without an event.
    pub(super) fn reindex(&mut self, new_place: impl Fn(SubjectIndex) -> Option<SubjectIndex>) {
        let tracks = std::mem::take(&mut self.tracks);
        self.tracks = tracks
            .into_iter()
            .filter_map(|(subject, track)| Some((new_place(subject)?, track)))
            .collect();
        let deadlines = std::mem::take(&mut self.deadlines);
        self.deadlines = deadlines
            .into_iter()
            .filter_map(|Reverse((due, subject))| Some(Reverse((due, new_place(subject)?))))
            .collect();
    }

    /// The open visit of a subject.
    pub(super) fn visit(&self, subject: SubjectIndex) -> Option<&VisitRecord> {
        Some(&self.tracks.get(&subject)?.visit.as_ref()?.record)
    }

    /// Everybody whose visit is open, with the zone they are in.
    pub(super) fn present(&self) -> impl Iterator<Item = (SubjectIndex, Option<&ZoneId>)> {
        self.tracks.iter().filter_map(|(&subject, track)| {
            let visit = track.visit.as_ref()?;
            let zone = visit.stay.as_ref().and_then(|stay| self.settings.zones.get(stay.zone));
            Some((subject, zone.map(|zone| &zone.id)))
        })
    }

    /// What changed since the last call, in the order in which it was noticed.
    pub(super) fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// Whose checkpoint must be written again.
    pub(super) fn take_checkpoints(&mut self) -> Vec<SubjectIndex> {
        std::mem::take(&mut self.checkpoints)
    }
}

/// The zone that demands the most of those that this signal satisfies.
fn louder_zone<'a>(
    zones: &'a [Zone],
    receiver: &ReceiverId,
    smoothed: f64,
) -> Option<(usize, &'a Zone)> {
    zones
        .iter()
        .enumerate()
        .filter(|(_, zone)| zone.receivers.is_empty() || zone.receivers.contains(receiver))
        .filter(|(_, zone)| smoothed >= zone.enter_rssi)
        .max_by(|(_, a), (_, b)| a.enter_rssi.total_cmp(&b.enter_rssi))
}
