//! One visit that is going on: a sighting in, what it means for the zones out.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Ear, Ears, EnterReason, ExitReason, HearingTime, MAX_STAYS, Moment, OpenStay, PresenceSettings,
    Quality, Sighting, Stay, Transition, TransitionKind, VisitId, VisitRecord, Zone, tag::Tag,
};
use crate::engine::{Rssi, SubjectIndex, Uptime};

#[derive(Debug)]
pub(super) struct Visit {
    pub(super) record: VisitRecord,
    pub(super) stay: Option<OpenStay>,
    /// When each receiver last knew it to be true; the newest first.
    pub(super) last_true: Vec<Moment>,
    /// The receivers where it waits for its absence to be proven, each with the deadline.
    pub(super) waits_at: Vec<(Ear, HearingTime)>,
    pub(super) rssi_sum: f64,
    pub(super) rssi_count: u32,
    pub(super) checkpointed: Uptime,
    /// The time of the last change that was told: nothing is dated before it.
    pub(super) told: Uptime,
    /// The tag that says where the subject is, and since when it does.
    pub(super) lead: Option<(u8, Uptime)>,
}

/// Standard deviation of a smoothed indoor signal about its mean, in dB: the published values of
/// log-normal shadowing indoors are 3 to 6 dB (Rappaport, Wireless Communications, table 4.6).
const SHADOWING_DB: f64 = 6.0;

/// One sighting on its way through a visit.
pub(super) struct Step<'a> {
    pub(super) now: Uptime,
    pub(super) moment: Moment,
    pub(super) sighting: &'a Sighting<'a>,
    /// The receiver may be named.
    pub(super) named: bool,
    pub(super) smoothed: f64,
    pub(super) out: &'a mut Vec<Transition>,
}

/// A zone that is entered.
struct Entry<'a> {
    index: usize,
    zone: &'a Zone,
    at: Uptime,
    reason: EnterReason,
    confidence: f64,
}

// === impl Visit ===

impl Visit {
    pub(super) fn start(id: VisitId, step: &mut Step<'_>) -> Self {
        let record = VisitRecord {
            id,
            begun_at: None,
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
            left: None,
        };
        let mut visit = Self::of(record, step.moment);
        visit.observe(step);
        visit.emit(step.sighting.subject, step.now, TransitionKind::VisitStarted, step.out);
        visit
    }

    /// A visit that is true now.
    pub(super) fn of(record: VisitRecord, moment: Moment) -> Self {
        Self {
            told: record.told(),
            record,
            stay: None,
            last_true: vec![moment],
            waits_at: Vec::new(),
            rssi_sum: 0.0,
            rssi_count: 0,
            checkpointed: moment.now,
            lead: None,
        }
    }

    fn emit(
        &mut self,
        subject: SubjectIndex,
        at: Uptime,
        kind: TransitionKind,
        out: &mut Vec<Transition>,
    ) {
        self.told = self.told.max(at);
        out.push(Transition { at, subject, visit: self.record.clone(), kind });
    }

    /// Keeps the books on the signal.
    pub(super) fn observe(&mut self, step: &Step<'_>) {
        let quality = &mut self.record.quality;
        quality.sightings = quality.sightings.saturating_add(1);
        quality.wide_window |= step.sighting.wide_window;
        let gap = step.now.since(self.record.last_seen);
        quality.longest_gap = quality.longest_gap.max(gap);
        if let Some(Rssi(dbm)) = step.sighting.rssi {
            self.rssi_sum += f64::from(dbm);
            self.rssi_count = self.rssi_count.saturating_add(1);
            quality.mean_rssi = Some(self.rssi_sum / f64::from(self.rssi_count));
        }
        if step.named && self.record.last_receiver != *step.sighting.receiver {
            self.record.last_receiver = step.sighting.receiver.clone();
        }
    }

    /// Decides by thresholds what a sighting means for the zones.
    pub(super) fn step(
        &mut self,
        step: &mut Step<'_>,
        settings: &PresenceSettings,
        loudest: Option<(usize, &Zone)>,
    ) {
        let subject = step.sighting.subject;
        let Some(stay) = &mut self.stay else {
            if let Some((index, zone)) = loudest {
                self.enter_by_threshold(step, index, zone, step.now, EnterReason::Arrived);
            }
            return;
        };
        let Some(zone) = settings.zones.get(stay.zone) else { return };
        if let Some((index, louder)) = loudest
            && index != stay.zone
            && louder.enter_rssi > zone.enter_rssi
        {
            self.see(step.moment);
            self.leave(subject, step.now, ExitReason::Moved, step.out);
            self.enter_by_threshold(step, index, louder, step.now, EnterReason::Louder);
            return;
        }
        if step.smoothed >= zone.exit_rssi {
            stay.faint_since = None;
            self.see(step.moment);
            self.dwell(subject, settings, step.out);
            return;
        }
        let faint = *stay.faint_since.get_or_insert(step.moment);
        if step.moment.since(&faint) < settings.exit_delay {
            return;
        }
        self.leave(subject, self.record.last_seen, ExitReason::Faded, step.out);
        if let Some((index, outer)) = loudest {
            self.enter_by_threshold(step, index, outer, faint.now, EnterReason::Fainter);
        }
    }

    /// Decides by what the estimator told of the tags in which zone the subject is.
    ///
    /// Nothing is concluded while it is overdue: whether it is here at all is not the estimator's
    /// business. The date is the estimator's, within what was told and what is known.
    pub(super) fn settle(
        &mut self,
        (subject, now): (SubjectIndex, Uptime),
        tags: &[Tag],
        settings: &PresenceSettings,
        out: &mut Vec<Transition>,
    ) {
        self.follow(tags);
        let overdue = now.since(self.record.last_seen) > settings.exit_timeout;
        if overdue || self.record.left.is_some() {
            return;
        }
        let Some((lead, led_since)) = self.lead else { return };
        let told = tags.iter().find(|tag| tag.number == lead).and_then(|tag| tag.told);
        let Some(told) = told else { return };
        let here = self.stay.as_ref().map(|stay| stay.zone);
        if here == told.zone {
            return;
        }
        let at = told.since.max(led_since).min(self.record.last_seen).max(self.told);
        self.leave(subject, at, ExitReason::Moved, out);
        if let Some(index) = told.zone
            && let Some(zone) = settings.zones.get(index)
        {
            let (reason, confidence) = (EnterReason::Placed, told.confidence);
            self.enter(subject, &Entry { index, zone, at, reason, confidence }, out);
        }
    }

    /// Chooses the tag that says where the subject is: one at a time, so that two tags at two places
    /// do not make it jump. The lead passes from one that nobody can place, and from one that lies
    /// still to one that does not.
    fn follow(&mut self, tags: &[Tag]) {
        let placed = |tag: &&Tag| tag.told.is_some() && !tag.resting;
        let lead = self.lead.and_then(|(lead, _)| tags.iter().find(|tag| tag.number == lead));
        let Some(lead) = lead.filter(|lead| !lead.resting) else {
            let first = tags.iter().find(placed);
            self.lead = first.map(|tag| (tag.number, self.told));
            return;
        };
        let mut others = tags.iter().filter(placed).filter(|tag| tag.number != lead.number);
        if lead.told.is_none() {
            if let Some(other) = others.next() {
                self.lead = Some((other.number, lead.heard.now));
            }
        } else if lead.lies()
            && let Some(other) = others.find(|tag| !tag.lies())
        {
            self.lead = Some((other.number, lead.moved));
        }
    }

    /// The visit was true at this moment.
    pub(super) fn see(&mut self, moment: Moment) {
        let now = moment.now;
        self.record.left = None;
        self.record.last_seen = self.record.last_seen.max(now);
        match self.last_true.iter().position(|seen| seen.ear == moment.ear) {
            Some(place) => {
                if let Some(seen) = self.last_true.get_mut(..=place) {
                    seen.rotate_right(1);
                    if let Some(newest) = seen.first_mut() {
                        *newest = moment;
                    }
                }
            }
            None => self.last_true.insert(0, moment),
        }
        if let Some(stay) = self.record.stays.last_mut().filter(|_| self.record.in_zone) {
            stay.left = stay.left.max(now);
        }
    }

    /// The first receiver that has yet to prove the absence, and when it will have; none when the
    /// absence is proven, and for `longer` besides.
    ///
    /// Whoever heard the subject shortly before it was last heard at all must prove it: a subject
    /// that was last heard by one receiver may be standing before another that is deaf.
    pub(super) fn unproven(
        &self,
        ears: &Ears,
        now: Uptime,
        timeout: Duration,
        longer: Duration,
    ) -> Option<(Ear, HearingTime)> {
        let newest = self.last_true.first()?.now;
        let counted = self.last_true.iter().filter(|seen| newest.since(seen.now) <= timeout);
        let mut deadlines = counted.map(|seen| (seen.ear, seen.at + timeout + longer));
        deadlines.find(|(ear, deadline)| ears.proven(*ear, now) < *deadline)
    }

    /// Notes that it waits for a receiver's proof; says whether it did not do so before.
    pub(super) fn waits_anew(&mut self, ear: Ear, deadline: HearingTime) -> bool {
        let waits = self.waits_at.iter().any(|(other, _)| *other == ear);
        if !waits {
            self.waits_at.push((ear, deadline));
        }
        !waits
    }

    /// A deadline of a receiver has passed; says whether it was this visit's, and is still meant.
    pub(super) fn waited(&mut self, ear: Ear, deadline: HearingTime) -> bool {
        let before = self.waits_at.len();
        self.waits_at.retain(|waited| *waited != (ear, deadline));
        self.waits_at.len() < before
    }

    pub(super) fn enter_by_threshold(
        &mut self,
        step: &mut Step<'_>,
        index: usize,
        zone: &Zone,
        at: Uptime,
        reason: EnterReason,
    ) {
        self.see(step.moment);
        let confidence = confidence(step.smoothed, zone.exit_rssi);
        let subject = step.sighting.subject;
        self.enter(subject, &Entry { index, zone, at, reason, confidence }, step.out);
        self.dwell_in(subject, zone, step.out);
    }

    fn enter(&mut self, subject: SubjectIndex, entry: &Entry<'_>, out: &mut Vec<Transition>) {
        let Entry { index, zone, at, reason, confidence } = *entry;
        self.stay = Some(OpenStay { zone: index, entered: at, dwelled: 0, faint_since: None });
        let record = &mut self.record;
        record.in_zone = true;
        record.dwelled = 0;
        if record.stays.len() >= MAX_STAYS {
            record.stays.remove(MAX_STAYS / 2);
            record.stays_cut = true;
        }
        let left = record.last_seen.max(at);
        record.stays.push(Stay { zone: zone.id.clone(), entered: at, left });
        let kind = TransitionKind::ZoneEntered { zone: zone.id.clone(), reason, confidence };
        self.emit(subject, at, kind, out);
    }

    /// Reports the loitering delays that the present stay is known to have reached.
    pub(super) fn dwell(
        &mut self,
        subject: SubjectIndex,
        settings: &PresenceSettings,
        out: &mut Vec<Transition>,
    ) {
        let zone = self.stay.as_ref().and_then(|stay| settings.zones.get(stay.zone));
        if let Some(zone) = zone {
            self.dwell_in(subject, zone, out);
        }
    }

    fn dwell_in(&mut self, subject: SubjectIndex, zone: &Zone, out: &mut Vec<Transition>) {
        while let Some(stay) = &mut self.stay
            && let Some(&delay) = zone.loitering.get(stay.dwelled)
            && stay.entered + delay <= self.record.last_seen
        {
            stay.dwelled += 1;
            self.record.dwelled = stay.dwelled;
            let at = stay.entered + delay;
            let kind = TransitionKind::ZoneDwelled { zone: zone.id.clone(), delay };
            self.emit(subject, at, kind, out);
        }
    }

    fn leave(
        &mut self,
        subject: SubjectIndex,
        at: Uptime,
        reason: ExitReason,
        out: &mut Vec<Transition>,
    ) {
        if let Some(kind) = self.close(at, reason) {
            self.emit(subject, at, kind, out);
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

    /// The subject has left, when it was last there; it may yet return and go on with the visit.
    pub(super) fn depart(
        &mut self,
        subject: SubjectIndex,
        reason: ExitReason,
        out: &mut Vec<Transition>,
    ) {
        self.leave(subject, self.record.last_seen, reason, out);
        self.record.left = Some(reason);
    }

    /// Ends the visit, no earlier than what was told of it and no later than it was last true.
    pub(super) fn end(
        &mut self,
        subject: SubjectIndex,
        at: Uptime,
        reason: ExitReason,
        out: &mut Vec<Transition>,
    ) {
        let at = at.min(self.record.last_seen).max(self.told);
        self.leave(subject, at, reason, out);
        self.record.left = None;
        self.emit(subject, at, TransitionKind::VisitEnded(reason), out);
    }
}

impl VisitRecord {
    /// The time of the last change that was told of it, as far as that can be known.
    fn told(&self) -> Uptime {
        let last = self.stays.last();
        let told = last.map(|stay| if self.in_zone { stay.entered } else { stay.left });
        told.map_or(self.started, |told| told.max(self.started))
    }
}

/// How sure it is that the signal's true mean is above a threshold: the normal distribution's
/// cumulative function, by its logistic approximation (error below 0.01; Bowling et al. 2009).
fn confidence(smoothed: f64, threshold: f64) -> f64 {
    1.0 / (1.0 + (-1.702 * (smoothed - threshold) / SHADOWING_DB).exp())
}
