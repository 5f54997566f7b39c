//! Room 4. Sightings and time in; enter, dwell, exit and visit transitions out.
//!
//! Promises: a visit starts before its first zone and ends after its last; within one subject,
//! transitions are in order of time; an exit is dated to when presence was last true, however
//! late it is noticed; no exit is made while the radio cannot be trusted to hear.

mod hearing;
mod track;
mod transition;
mod visit;

use std::collections::BTreeMap;

pub use transition::{
    EnterReason, ExitReason, MAX_STAYS, PresenceSettings, Quality, Sighting, Stay, Transition,
    TransitionKind, VisitId, VisitRecord, Zone, ZoneId,
};

use super::{RadioState, ReceiverId, SubjectIndex, Uptime};
use hearing::{Ear, Ears, HearingTime};
use track::{Moment, OpenStay, Track};
use visit::{Step, Visit};

/// The room.
#[derive(Debug)]
pub(super) struct PresenceTracker {
    settings: PresenceSettings,
    ears: Ears,
    tracks: BTreeMap<SubjectIndex, Track>,
    next_visit: VisitId,
    transitions: Vec<Transition>,
    checkpoints: Vec<SubjectIndex>,
}

impl PresenceTracker {
    /// Starts with nobody present; `next_visit` names the first visit.
    pub(super) fn new(settings: PresenceSettings, next_visit: VisitId) -> Self {
        Self {
            ears: Ears::new(&settings.receivers),
            settings,
            tracks: BTreeMap::new(),
            next_visit,
            transitions: Vec::new(),
            checkpoints: Vec::new(),
        }
    }

    /// A receiver heard anything at all. Exits that this proves come before what it brings.
    pub(super) fn heard(&mut self, now: Uptime, receiver: &ReceiverId) {
        let ear = self.ears.find(receiver);
        self.ears.heard(ear, now);
        self.expire_at(ear, now);
    }

    /// A receiver's state changed. Tells the state with the moment from which it counts.
    pub(super) fn set_radio(
        &mut self,
        now: Uptime,
        receiver: &ReceiverId,
        state: RadioState,
    ) -> RadioState {
        let ear = self.ears.find(receiver);
        let state = self.ears.set(ear, now, state);
        self.expire_at(ear, now);
        state
    }

    /// From now on silence means absence, whichever receiver is silent.
    pub(super) fn trust_silence(&mut self, now: Uptime) {
        self.ears.trust_all(now);
        self.expire(now);
    }

    /// Takes in one sighting.
    pub(super) fn observe(&mut self, now: Uptime, sighting: &Sighting<'_>) {
        let ear = self.ears.find(sighting.receiver);
        let moment = Moment { ear, at: self.ears.at(ear, now), now };
        let track = self.tracks.entry(sighting.subject).or_default();
        track.observe(moment, sighting.rssi, &self.settings);
        let Some(smoothed) = track.smoothed else { return };

        let loudest = louder_zone(&self.settings.zones, sighting.receiver, smoothed);
        let mut step = Step { now, moment, sighting, smoothed, out: &mut self.transitions };
        match (&mut track.visit, loudest) {
            (None, None) => {}
            (None, Some((index, zone))) => {
                let mut visit = Visit::start(self.next_visit, &step);
                self.next_visit.number += 1;
                step.emit(&visit, now, TransitionKind::VisitStarted);
                visit.enter(&mut step, index, zone, now, EnterReason::Arrived);
                let deadline = moment.at + track.exit_timeout(&self.settings);
                self.ears.wait(ear, deadline, sighting.subject);
                self.checkpoints.push(sighting.subject);
                track.visit = Some(visit);
            }
            (Some(visit), loudest) => {
                if !visit.waits_at.contains(&ear) {
                    visit.waits_at.push(ear);
                    self.ears.wait(ear, moment.at, sighting.subject);
                }
                visit.observe(&step);
                let before = step.out.len();
                visit.step(&mut step, &self.settings, loudest);
                let changed = step.out.len() > before;
                if changed || now.since(visit.checkpointed) >= self.settings.checkpoint_interval {
                    visit.checkpointed = now;
                    self.checkpoints.push(sighting.subject);
                }
            }
        }
    }

    /// Ends the visits whose absence is proven by `now`.
    pub(super) fn expire(&mut self, now: Uptime) {
        for ear in self.ears.all() {
            self.expire_at(ear, now);
        }
    }

    /// Ends the visits that waited for this receiver's evidence, unless another one's is missing.
    fn expire_at(&mut self, ear: Ear, now: Uptime) {
        while let Some(subject) = self.ears.pop_due(ear, now) {
            let Some(track) = self.tracks.get_mut(&subject) else { continue };
            let timeout = track.exit_timeout(&self.settings);
            let Some(visit) = &mut track.visit else { continue };
            visit.waits_at.retain(|waits_at| *waits_at != ear);
            if let Some((other, deadline)) = visit.unproven(&self.ears, now, timeout) {
                if !visit.waits_at.contains(&other) {
                    visit.waits_at.push(other);
                    self.ears.wait(other, deadline, subject);
                }
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
        self.ears.next_deadline()
    }

    /// Takes up a visit that was open when the gateway stopped, or ends it when too long ago.
    pub(super) fn restore(&mut self, now: Uptime, subject: SubjectIndex, record: VisitRecord) {
        let zones = &self.settings.zones;
        let last = record.stays.last().filter(|_| record.in_zone);
        let zone = last.and_then(|stay| zones.iter().position(|zone| zone.id == stay.zone));
        let lost_zone = record.in_zone && zone.is_none();
        let resumes = !lost_zone && now.since(record.last_seen) <= self.settings.resume_within;
        let ear = self.ears.find_or_any(&record.last_receiver);
        let moment = Moment { ear, at: self.ears.at(ear, now), now };
        let entered = last.map_or(record.started, |stay| stay.entered);
        let dwelled = record.dwelled;
        let mut visit = Visit {
            stay: zone.map(|zone| OpenStay { zone, entered, dwelled, faint_since: None }),
            last_true: vec![moment],
            waits_at: vec![ear],
            rssi_sum: 0.0,
            rssi_count: 0,
            checkpointed: now,
            record,
        };
        if !resumes {
            visit.end(subject, ExitReason::GatewayRestart, &mut self.transitions);
            self.checkpoints.push(subject);
            return;
        }
        let track = self.tracks.entry(subject).or_default();
        let deadline = moment.at + track.exit_timeout(&self.settings);
        self.ears.wait(ear, deadline, subject);
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
        self.ears.reindex(new_place);
    }

    /// Forgets a subject at once; its visit closes without an event.
    pub(super) fn forget(&mut self, subject: SubjectIndex) {
        self.tracks.remove(&subject);
    }

    /// Forgets where a subject has been, but for where it is. Says whether there was anything.
    pub(super) fn forget_path(&mut self, subject: SubjectIndex) -> bool {
        let visit = self.tracks.get_mut(&subject).and_then(|track| track.visit.as_mut());
        visit.is_some_and(|visit| visit.record.forget_path())
    }

    /// The zones of the shop.
    pub(super) fn zones(&self) -> &[Zone] {
        &self.settings.zones
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
pub(super) fn louder_zone<'a>(
    zones: &'a [Zone],
    receiver: &ReceiverId,
    smoothed: f64,
) -> Option<(usize, &'a Zone)> {
    zones
        .iter()
        .enumerate()
        .filter(|(_, zone)| zone.is_heard_by(receiver))
        .filter(|(_, zone)| smoothed >= zone.enter_rssi)
        .max_by(|(_, a), (_, b)| a.enter_rssi.total_cmp(&b.enter_rssi))
}
