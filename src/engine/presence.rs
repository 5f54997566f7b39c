//! Room 4. Sightings and time in; enter, dwell, exit and visit transitions out.
//!
//! Whether somebody is here is decided by how loud and how lately they were heard; in which zone, by
//! thresholds on the signal, or on a floor plan by the estimator of `place`.
//!
//! Promises: a visit starts before its first zone and ends after its last; within one subject,
//! transitions are in order of time; an exit is dated to when presence was last true, however
//! late it is noticed; no exit is made while the radio cannot be trusted to hear; what must not be
//! named never is.

mod floor;
mod hearing;
mod tag;
mod track;
mod transition;
mod visit;

use std::{collections::BTreeMap, time::Duration};

pub use transition::{
    EnterReason, ExitReason, MAX_STAYS, PresenceFloor, PresenceSettings, Private, Quality,
    Sighting, Stay, Transition, TransitionKind, VisitId, VisitRecord, Zone, ZoneId,
};

use super::{FixtureIndex, Hangs, RadioState, ReceiverId, Rssi, SubjectIndex, SubjectKind, Uptime};
use floor::Floor;
use hearing::{Ear, Ears, HearingTime};
use tag::Tag;
use track::{Moment, OpenStay, Track};
use visit::{Step, Visit};

/// The room.
#[derive(Debug)]
pub(super) struct PresenceTracker {
    settings: PresenceSettings,
    /// Decides zones where there is a plan.
    floor: Option<Floor>,
    ears: Ears,
    tracks: BTreeMap<SubjectIndex, Track>,
    next_visit: VisitId,
    transitions: Vec<Transition>,
    checkpoints: Vec<SubjectIndex>,
}

impl PresenceTracker {
    /// Starts with nobody present; `next_visit` names the first visit.
    pub(super) fn new(mut settings: PresenceSettings, next_visit: VisitId) -> Self {
        let floor = settings.floor.take();
        Self {
            floor: floor.and_then(|floor| Floor::new(floor, &settings.zones)),
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
        self.tick(now);
        let ear = self.ears.find(receiver);
        if let Some(floor) = &mut self.floor {
            floor.heard(now, ear, &self.ears);
        }
        self.ears.heard(ear, now);
        self.expire_at(ear, now);
    }

    /// A receiver heard a beacon at a known place. It must have been [heard](Self::heard).
    pub(super) fn calibrate(
        &mut self,
        now: Uptime,
        beacon: (FixtureIndex, Hangs),
        receiver: &ReceiverId,
        rssi: Option<Rssi>,
    ) {
        let ear = self.ears.find(receiver);
        if let Some((floor, Rssi(dbm))) = self.floor.as_mut().zip(rssi) {
            floor.calibrate(now, beacon, ear, f32::from(dbm));
        }
    }

    /// The fixtures are others now.
    pub(super) fn forget_beacons(&mut self) {
        self.floor.iter_mut().for_each(Floor::forget_beacons);
    }

    /// What receivers were found to hear more than the plan says, in dB.
    pub(super) fn corrections(&self) -> impl Iterator<Item = (&ReceiverId, f32)> {
        self.floor.iter().flat_map(Floor::corrections)
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
        let Some(tag) = Tag::of(&mut track.tags, sighting.tag, moment) else { return };
        let level = tag.hear(moment, sighting.rssi, &self.settings);
        let may_be_left = sighting.kind != SubjectKind::Asset;
        if may_be_left && track.visit.is_none() && tag.is_still_for(self.settings.left_behind_after)
        {
            tag.rest();
        }
        if tag.resting {
            return;
        }
        track.observe(moment, sighting.rssi, &self.settings);
        let loud = if self.floor.is_some() { level } else { track.smoothed };
        let Some(smoothed) = loud else { return };
        let named = !self.settings.private.receivers.contains(sighting.receiver);
        let loudest = louder_zone(&self.settings.zones, sighting.receiver, smoothed);
        let loudest = loudest.filter(|_| named && self.floor.is_none());
        let timeout = track.exit_timeout(&self.settings);
        let before = self.transitions.len();
        let out = &mut self.transitions;
        let mut step = Step { now, moment, sighting, named, smoothed, out };
        let Some(visit) = &mut track.visit else {
            let loud = self.floor.as_ref().is_some_and(|floor| smoothed >= floor.enter_rssi);
            if !(loudest.is_some() || loud && named) {
                return;
            }
            let mut visit = Visit::start(self.next_visit, &mut step);
            self.next_visit.number += 1;
            if let Some((index, zone)) = loudest {
                visit.enter_by_threshold(&mut step, index, zone, now, EnterReason::Arrived);
            }
            let tag = Tag::of(&mut track.tags, sighting.tag, moment);
            if let Some((floor, tag)) = self.floor.as_mut().zip(tag) {
                tag.follow(floor, ear, sighting.rssi);
            }
            visit.waits_anew(ear, moment.at + timeout);
            self.ears.wait(ear, moment.at + timeout, sighting.subject);
            self.checkpoints.push(sighting.subject);
            track.visit = Some(visit);
            return;
        };
        let departed = visit.record.left.is_some();
        if visit.waits_anew(ear, moment.at) {
            self.ears.wait(ear, moment.at, sighting.subject);
        }
        visit.observe(&step);
        match &mut self.floor {
            None => visit.step(&mut step, &self.settings, loudest),
            Some(floor) => {
                let about = (sighting.subject, now);
                if smoothed >= floor.exit_rssi {
                    visit.see(moment);
                    if departed {
                        track.tags.iter_mut().for_each(|tag| tag.is_back(now));
                    }
                }
                take_steps(floor, visit, &mut track.tags, about, &self.settings, step.out);
                if let Some(tag) = Tag::of(&mut track.tags, sighting.tag, moment) {
                    tag.follow(floor, ear, sighting.rssi);
                }
                visit.settle(about, &track.tags, &self.settings, step.out);
                visit.dwell(sighting.subject, &self.settings, step.out);
            }
        }
        if departed && visit.record.left.is_none() {
            // It is back, and must be silent for the whole timeout again.
            visit.waits_at.clear();
            visit.waits_anew(ear, moment.at + timeout);
            self.ears.wait(ear, moment.at + timeout, sighting.subject);
        }
        if let Some(at) = track.left_behind(now, &self.settings).filter(|_| may_be_left)
            && let Some(mut visit) = track.visit.take()
        {
            visit.end(sighting.subject, at, ExitReason::TagLeftBehind, &mut self.transitions);
            track.rest(&self.settings);
            self.checkpoints.push(sighting.subject);
        } else if let Some(visit) = &mut track.visit {
            let changed = self.transitions.len() > before;
            if changed || now.since(visit.checkpointed) >= self.settings.checkpoint_interval {
                visit.checkpointed = now;
                self.checkpoints.push(sighting.subject);
            }
        }
    }

    /// Ends the visits whose absence is proven by `now`.
    pub(super) fn expire(&mut self, now: Uptime) {
        self.tick(now);
        for ear in self.ears.all() {
            self.expire_at(ear, now);
        }
    }

    /// Takes the steps of the floor plan that are due.
    fn tick(&mut self, now: Uptime) {
        let Some(floor) = &mut self.floor else { return };
        if floor.next_tick().is_none_or(|due| now < due) {
            return;
        }
        let mut anybody = false;
        for (&subject, track) in &mut self.tracks {
            let Some(visit) = &mut track.visit else { continue };
            let before = self.transitions.len();
            let about = (subject, now);
            let out = &mut self.transitions;
            take_steps(floor, visit, &mut track.tags, about, &self.settings, out);
            anybody |= track.tags.iter().any(Tag::is_followed);
            if self.transitions.len() > before {
                visit.checkpointed = now;
                self.checkpoints.push(subject);
            }
        }
        floor.ticked(now, anybody);
    }

    /// Ends the visits that waited for this receiver's evidence, unless another one's is missing.
    fn expire_at(&mut self, ear: Ear, now: Uptime) {
        while let Some((deadline, subject)) = self.ears.pop_due(ear, now) {
            let Some(track) = self.tracks.get_mut(&subject) else { continue };
            let timeout = track.exit_timeout(&self.settings);
            let Some(visit) = &mut track.visit else { continue };
            if !visit.waited(ear, deadline) {
                continue;
            }
            loop {
                let held = visit.record.left.is_some();
                let longer = if held { self.settings.merge_gap } else { Duration::ZERO };
                if let Some((other, deadline)) = visit.unproven(&self.ears, now, timeout, longer) {
                    if visit.waits_anew(other, deadline) {
                        self.ears.wait(other, deadline, subject);
                    }
                    break;
                }
                let reason = visit.record.left.unwrap_or_else(|| {
                    let heard = track.last_heard.map_or(now, |heard| heard.now);
                    let heard_since = heard.since(visit.record.last_seen);
                    // It was still heard, but too faintly for any zone.
                    let faded = match &self.floor {
                        Some(_) => heard_since > self.settings.exit_delay,
                        None => !visit.record.in_zone,
                    };
                    if faded { ExitReason::Faded } else { ExitReason::Silent }
                });
                self.checkpoints.push(subject);
                if !held && !self.settings.merge_gap.is_zero() {
                    visit.depart(subject, reason, &mut self.transitions);
                    continue;
                }
                visit.end(subject, visit.record.last_seen, reason, &mut self.transitions);
                track.visit = None;
                track.forget_tags();
                break;
            }
        }
    }

    /// When [`PresenceTracker::expire`] has something to do without anything being heard.
    pub(super) fn next_deadline(&self) -> Option<Uptime> {
        let tick = self.floor.as_ref().and_then(Floor::next_tick);
        [self.ears.next_deadline(), tick].into_iter().flatten().min()
    }

    /// Takes up a visit that was open when the gateway stopped, or ends it when too long ago.
    pub(super) fn restore(&mut self, now: Uptime, subject: SubjectIndex, mut record: VisitRecord) {
        record.forget_zones(&self.settings.private.zones);
        let zones = &self.settings.zones;
        let last = record.stays.last().filter(|_| record.in_zone);
        let zone = last.and_then(|stay| zones.iter().position(|zone| zone.id == stay.zone));
        let lost_zone = record.in_zone && zone.is_none();
        let resumes = !lost_zone && now.since(record.last_seen) <= self.settings.resume_within;
        let ear = self.ears.find_or_any(&record.last_receiver);
        let moment = Moment { ear, at: self.ears.at(ear, now), now };
        let entered = last.map_or(record.started, |stay| stay.entered);
        let dwelled = record.dwelled;
        let delays = zone.and_then(|zone| zones.get(zone)).map_or(&[][..], |it| &it.loitering);
        let reached = delays.get(..dwelled).and_then(<[_]>::last).copied().unwrap_or_default();
        let mut visit = Visit::of(record, moment);
        visit.told = visit.told.max((entered + reached).min(visit.record.last_seen));
        visit.stay = zone.map(|zone| OpenStay { zone, entered, dwelled, faint_since: None });
        let last_seen = visit.record.last_seen;
        if !resumes {
            // Who had left before the stop has not left because of it.
            let reason = visit.record.left.unwrap_or(ExitReason::GatewayRestart);
            visit.end(subject, last_seen, reason, &mut self.transitions);
            self.checkpoints.push(subject);
            return;
        }
        let track = self.tracks.entry(subject).or_default();
        let held = visit.record.left.map_or(Duration::ZERO, |_| self.settings.merge_gap);
        let deadline = moment.at + track.exit_timeout(&self.settings) + held;
        visit.waits_anew(ear, deadline);
        self.ears.wait(ear, deadline, subject);
        track.visit = Some(visit);
    }

    /// Ends a visit that was open when the gateway stopped, or gave it up, and that nobody goes on with.
    pub(super) fn conclude(&mut self, now: Uptime, subject: SubjectIndex, mut record: VisitRecord) {
        record.forget_zones(&self.settings.private.zones);
        let ear = self.ears.find_or_any(&record.last_receiver);
        let reason = record.left.unwrap_or(ExitReason::GatewayRestart);
        let (last_seen, moment) =
            (record.last_seen, Moment { ear, at: self.ears.at(ear, now), now });
        Visit::of(record, moment).end(subject, last_seen, reason, &mut self.transitions);
    }

    /// Gives up all visits, without an event.
    pub(super) fn give_up(&mut self) -> Vec<(SubjectIndex, VisitRecord)> {
        let tracks = std::mem::take(&mut self.tracks);
        let visit = |(subject, track): (_, Track)| Some((subject, track.visit?.record));
        tracks.into_iter().filter_map(visit).collect()
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

/// Takes the estimator's steps of all of a subject's tags that have ended by now, one by one, so that
/// each change is told.
fn take_steps(
    floor: &mut Floor,
    visit: &mut Visit,
    tags: &mut [Tag],
    (subject, now): (SubjectIndex, Uptime),
    settings: &PresenceSettings,
    out: &mut Vec<Transition>,
) {
    for place in 0..tags.len() {
        while tags.get_mut(place).is_some_and(|tag| tag.step(floor, now)) {
            visit.settle((subject, now), tags, settings, out);
        }
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
