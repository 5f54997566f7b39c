//! Room 4. Sightings and time in; enter, dwell, exit and visit transitions out.
//!
//! Promises: a visit starts before its first zone and ends after its last; within one subject,
//! transitions are in order of time; an exit is dated to when presence was last true, however
//! late it is noticed; no exit is made while the radio cannot be trusted to hear.

mod hearing;
mod track;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    sync::Arc,
    time::Duration,
};

use super::{RadioState, ReceiverId, Rssi, SubjectIndex, Uptime};
use hearing::{HearingClock, HearingTime};
use track::{OpenStay, Track};

/// Names an area of the shop.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ZoneId(Arc<str>);

impl ZoneId {
    /// Wraps a zone's name.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The zone's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A named area, recognised by how loud a tag is heard there.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its name.
    pub id: ZoneId,
    /// At least this loud to enter, in dBm.
    pub enter_rssi: f64,
    /// Below this to leave, in dBm; lower than `enter_rssi`.
    pub exit_rssi: f64,
    /// After how long a stay is reported as dwelling; ascending.
    pub loitering: Vec<Duration>,
    /// The receivers whose surroundings it is; empty means every receiver.
    pub receivers: Vec<ReceiverId>,
}

/// When a subject counts as present.
#[derive(Clone, Debug)]
pub struct PresenceSettings {
    /// The zones.
    pub zones: Vec<Zone>,
    /// Time constant of the signal's smoothing.
    pub smoothing: Duration,
    /// How long a signal must stay below a zone's exit threshold.
    pub exit_delay: Duration,
    /// Unseen for at least this long, a subject has left.
    pub exit_timeout: Duration,
    /// Unseen for this long, even a slow tag has left.
    pub exit_timeout_max: Duration,
    /// How many of its own intervals a tag may be silent.
    pub exit_after_missed: u32,
    /// How often an open visit's checkpoint is refreshed.
    pub checkpoint_interval: Duration,
    /// After a restart, a visit seen at most this long ago goes on.
    pub resume_within: Duration,
}

/// One observation of a subject.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// Who.
    pub subject: SubjectIndex,
    /// Where.
    pub receiver: &'a ReceiverId,
    /// How loud; `None` when the controller could not tell.
    pub rssi: Option<Rssi>,
}

/// Names one visit: unique for a gateway within an epoch of its store.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct VisitId {
    /// The epoch of the store in which it began.
    pub epoch: u32,
    /// The run of the program in which it began: the last sequence in the store at its start.
    pub run: u64,
    /// Unique within the run, ascending.
    pub number: u64,
}

/// One past or present stay in a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    /// Where.
    pub zone: ZoneId,
    /// From when.
    pub entered: Uptime,
    /// Until when; for a present stay, until when it is known to have lasted.
    pub left: Uptime,
}

/// What a visit looked like to the radio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Advertisements heard.
    pub sightings: u32,
    /// Mean signal strength, in dBm.
    pub mean_rssi: Option<f64>,
    /// The longest time without one.
    pub longest_gap: Duration,
}

/// A visit as far as it is known, for events and checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct VisitRecord {
    /// Its name.
    pub id: VisitId,
    /// When it began.
    pub started: Uptime,
    /// When it was last true.
    pub last_seen: Uptime,
    /// The receiver that heard it first.
    pub first_receiver: ReceiverId,
    /// The receiver that heard it last.
    pub last_receiver: ReceiverId,
    /// Stays in zones, oldest first, at most [`MAX_STAYS`]: the middle of a longer path is cut.
    pub stays: Vec<Stay>,
    /// Whether stays were cut.
    pub stays_cut: bool,
    /// Whether the last of `stays` is going on.
    pub in_zone: bool,
    /// How many loitering delays of the present stay were reported.
    pub dwelled: usize,
    /// Time in each zone, all stays together.
    pub dwell: BTreeMap<ZoneId, Duration>,
    /// How it looked to the radio.
    pub quality: Quality,
}

/// How many stays of a visit are kept, so that a record keeps to its 2 KiB.
pub const MAX_STAYS: usize = 32;

/// A change in a subject's presence.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// When it happened, not when it was noticed.
    pub at: Uptime,
    /// Who.
    pub subject: SubjectIndex,
    /// The visit, as it was right after the change.
    pub visit: VisitRecord,
    /// What changed.
    pub kind: TransitionKind,
}

/// What changed.
#[derive(Clone, Debug, PartialEq)]
pub enum TransitionKind {
    /// A visit began.
    VisitStarted,
    /// A visit ended.
    VisitEnded(ExitReason),
    /// A zone was entered.
    ZoneEntered {
        /// Which.
        zone: ZoneId,
        /// Why it is believed.
        reason: EnterReason,
        /// How sure, 0 to 1.
        confidence: f64,
    },
    /// A stay reached a loitering delay.
    ZoneDwelled {
        /// Where.
        zone: ZoneId,
        /// The delay that was reached.
        delay: Duration,
    },
    /// A zone was left.
    ZoneExited {
        /// Which.
        zone: ZoneId,
        /// How long the stay was.
        stayed: Duration,
        /// Why it is believed.
        reason: ExitReason,
    },
}

/// Why a zone was entered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EnterReason {
    /// The subject was not in any zone.
    Arrived,
    /// It grew louder than another zone demands.
    Louder,
    /// It grew fainter than the zone before demands.
    Fainter,
}

/// Why a zone was left or a visit ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExitReason {
    /// Another zone was entered.
    Moved,
    /// The signal stayed below the exit threshold.
    Faded,
    /// Nothing was heard any more.
    Silent,
    /// The gateway was restarted and too much time had passed.
    GatewayRestart,
}

impl EnterReason {
    /// The name used in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Louder => "louder",
            Self::Fainter => "fainter",
        }
    }
}

impl ExitReason {
    /// The name used in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Moved => "moved",
            Self::Faded => "faded",
            Self::Silent => "silent",
            Self::GatewayRestart => "gateway_restart",
        }
    }
}

#[derive(Debug)]
struct Visit {
    record: VisitRecord,
    stay: Option<OpenStay>,
    last_true: HearingTime,
    rssi_sum: f64,
    rssi_count: u32,
    checkpointed: HearingTime,
}

/// Standard deviation of a smoothed indoor signal about its mean, in dB: the published values of
/// log-normal shadowing indoors are 3 to 6 dB (Rappaport, Wireless Communications, table 4.6).
const SHADOWING_DB: f64 = 6.0;

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

/// One sighting on its way through a visit.
struct Step<'a> {
    now: Uptime,
    at: HearingTime,
    sighting: &'a Sighting<'a>,
    smoothed: f64,
    out: &'a mut Vec<Transition>,
}

impl Step<'_> {
    fn emit(&mut self, visit: &Visit, at: Uptime, kind: TransitionKind) {
        let (subject, visit) = (self.sighting.subject, visit.record.clone());
        self.out.push(Transition { at, subject, visit, kind });
    }
}

// === impl Visit ===

impl Visit {
    fn start(id: VisitId, step: &Step<'_>) -> Self {
        let record = VisitRecord {
            id,
            started: step.now,
            last_seen: step.now,
            first_receiver: step.sighting.receiver.clone(),
            last_receiver: step.sighting.receiver.clone(),
            stays: Vec::new(),
            stays_cut: false,
            in_zone: false,
            dwelled: 0,
            dwell: BTreeMap::new(),
            quality: Quality::default(),
        };
        let mut visit = Self {
            record,
            stay: None,
            last_true: step.at,
            rssi_sum: 0.0,
            rssi_count: 0,
            checkpointed: step.at,
        };
        visit.observe(step);
        visit
    }

    /// Keeps the books on the signal.
    fn observe(&mut self, step: &Step<'_>) {
        let quality = &mut self.record.quality;
        quality.sightings = quality.sightings.saturating_add(1);
        let gap = step.now.since(self.record.last_seen);
        quality.longest_gap = quality.longest_gap.max(gap);
        if let Some(Rssi(dbm)) = step.sighting.rssi {
            self.rssi_sum += f64::from(dbm);
            self.rssi_count = self.rssi_count.saturating_add(1);
            quality.mean_rssi = Some(self.rssi_sum / f64::from(self.rssi_count));
        }
        if self.record.last_receiver != *step.sighting.receiver {
            self.record.last_receiver = step.sighting.receiver.clone();
        }
    }

    /// Decides what a sighting means for the zones.
    fn step(
        &mut self,
        step: &mut Step<'_>,
        settings: &PresenceSettings,
        loudest: Option<(usize, &Zone)>,
    ) {
        let Some(stay) = &mut self.stay else {
            if let Some((index, zone)) = loudest {
                self.enter(step, index, zone, step.now, EnterReason::Arrived);
            }
            return;
        };
        let Some(zone) = settings.zones.get(stay.zone) else { return };
        if let Some((index, louder)) = loudest
            && index != stay.zone
            && louder.enter_rssi > zone.enter_rssi
        {
            self.see(step.now, step.at);
            self.leave(step, step.now, ExitReason::Moved);
            self.enter(step, index, louder, step.now, EnterReason::Louder);
            return;
        }
        if step.smoothed >= zone.exit_rssi {
            stay.faint_since = None;
            self.see(step.now, step.at);
            self.dwell(step, zone);
            return;
        }
        let (faint, faint_at) = *stay.faint_since.get_or_insert((step.now, step.at));
        if step.at.since(faint_at) < settings.exit_delay {
            return;
        }
        self.leave(step, self.record.last_seen, ExitReason::Faded);
        if let Some((index, outer)) = loudest {
            self.enter(step, index, outer, faint, EnterReason::Fainter);
            self.see(step.now, step.at);
        }
    }

    /// The visit was true at this moment.
    fn see(&mut self, now: Uptime, at: HearingTime) {
        self.record.last_seen = self.record.last_seen.max(now);
        self.last_true = at;
        if let Some(stay) = self.record.stays.last_mut().filter(|_| self.record.in_zone) {
            stay.left = stay.left.max(now);
        }
    }

    fn enter(
        &mut self,
        step: &mut Step<'_>,
        index: usize,
        zone: &Zone,
        at: Uptime,
        reason: EnterReason,
    ) {
        self.stay = Some(OpenStay { zone: index, entered: at, dwelled: 0, faint_since: None });
        let record = &mut self.record;
        record.in_zone = true;
        record.dwelled = 0;
        if record.stays.len() >= MAX_STAYS {
            record.stays.remove(MAX_STAYS / 2);
            record.stays_cut = true;
        }
        record.stays.push(Stay { zone: zone.id.clone(), entered: at, left: step.now.max(at) });
        self.see(step.now, step.at);
        let confidence = confidence(step.smoothed, zone.exit_rssi);
        let kind = TransitionKind::ZoneEntered { zone: zone.id.clone(), reason, confidence };
        step.emit(self, at, kind);
        self.dwell(step, zone);
    }

    /// Reports the loitering delays that this sighting proves reached.
    fn dwell(&mut self, step: &mut Step<'_>, zone: &Zone) {
        while let Some(stay) = &mut self.stay
            && let Some(&delay) = zone.loitering.get(stay.dwelled)
            && stay.entered + delay <= step.now
        {
            stay.dwelled += 1;
            self.record.dwelled = stay.dwelled;
            let at = stay.entered + delay;
            step.emit(self, at, TransitionKind::ZoneDwelled { zone: zone.id.clone(), delay });
        }
    }

    fn leave(&mut self, step: &mut Step<'_>, at: Uptime, reason: ExitReason) {
        if let Some(kind) = self.close(at, reason) {
            step.emit(self, at, kind);
        }
    }

    /// Closes the present stay.
    fn close(&mut self, at: Uptime, reason: ExitReason) -> Option<TransitionKind> {
        self.stay = None;
        if !std::mem::take(&mut self.record.in_zone) {
            return None;
        }
        self.record.dwelled = 0;
        let stay = self.record.stays.last_mut()?;
        stay.left = at;
        let (zone, stayed) = (stay.zone.clone(), at.since(stay.entered));
        *self.record.dwell.entry(zone.clone()).or_default() += stayed;
        Some(TransitionKind::ZoneExited { zone, stayed, reason })
    }

    /// Ends the visit at the last moment it was true.
    fn end(&mut self, subject: SubjectIndex, reason: ExitReason, out: &mut Vec<Transition>) {
        let at = self.record.last_seen;
        let zone_exited = self.close(at, reason);
        let reason = match reason {
            // It was still heard, but too faintly for any zone.
            ExitReason::Silent if zone_exited.is_none() => ExitReason::Faded,
            other => other,
        };
        for kind in zone_exited.into_iter().chain([TransitionKind::VisitEnded(reason)]) {
            out.push(Transition { at, subject, visit: self.record.clone(), kind });
        }
    }
}

/// How sure it is that the signal's true mean is above a threshold: the normal distribution's
/// cumulative function, by its logistic approximation (error below 0.01; Bowling et al. 2009).
fn confidence(smoothed: f64, threshold: f64) -> f64 {
    1.0 / (1.0 + (-1.702 * (smoothed - threshold) / SHADOWING_DB).exp())
}
