//! One visit that is going on: a sighting in, what it means for the zones out.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Ear, Ears, EnterReason, ExitReason, HearingTime, MAX_STAYS, Moment, OpenStay, PresenceSettings,
    Quality, Sighting, Stay, Transition, TransitionKind, VisitId, VisitRecord, Zone,
};
use crate::engine::{Rssi, SubjectIndex, Uptime};

#[derive(Debug)]
pub(super) struct Visit {
    pub(super) record: VisitRecord,
    pub(super) stay: Option<OpenStay>,
    /// When each receiver last knew it to be true; the newest first.
    pub(super) last_true: Vec<Moment>,
    /// The receivers where it waits for its absence to be proven.
    pub(super) waits_at: Vec<Ear>,
    pub(super) rssi_sum: f64,
    pub(super) rssi_count: u32,
    pub(super) checkpointed: Uptime,
}

/// Standard deviation of a smoothed indoor signal about its mean, in dB: the published values of
/// log-normal shadowing indoors are 3 to 6 dB (Rappaport, Wireless Communications, table 4.6).
const SHADOWING_DB: f64 = 6.0;

/// One sighting on its way through a visit.
pub(super) struct Step<'a> {
    pub(super) now: Uptime,
    pub(super) moment: Moment,
    pub(super) sighting: &'a Sighting<'a>,
    pub(super) smoothed: f64,
    pub(super) out: &'a mut Vec<Transition>,
}

impl Step<'_> {
    pub(super) fn emit(&mut self, visit: &Visit, at: Uptime, kind: TransitionKind) {
        let (subject, visit) = (self.sighting.subject, visit.record.clone());
        self.out.push(Transition { at, subject, visit, kind });
    }
}

// === impl Visit ===

impl Visit {
    pub(super) fn start(id: VisitId, step: &Step<'_>) -> Self {
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
            last_true: vec![step.moment],
            waits_at: vec![step.moment.ear],
            rssi_sum: 0.0,
            rssi_count: 0,
            checkpointed: step.now,
        };
        visit.observe(step);
        visit
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
        if self.record.last_receiver != *step.sighting.receiver {
            self.record.last_receiver = step.sighting.receiver.clone();
        }
    }

    /// Decides what a sighting means for the zones.
    pub(super) fn step(
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
            self.see(step.moment);
            self.leave(step, step.now, ExitReason::Moved);
            self.enter(step, index, louder, step.now, EnterReason::Louder);
            return;
        }
        if step.smoothed >= zone.exit_rssi {
            stay.faint_since = None;
            self.see(step.moment);
            self.dwell(step, zone);
            return;
        }
        let faint = *stay.faint_since.get_or_insert(step.moment);
        if step.moment.since(&faint) < settings.exit_delay {
            return;
        }
        self.leave(step, self.record.last_seen, ExitReason::Faded);
        if let Some((index, outer)) = loudest {
            self.enter(step, index, outer, faint.now, EnterReason::Fainter);
            self.see(step.moment);
        }
    }

    /// The visit was true at this moment.
    fn see(&mut self, moment: Moment) {
        let now = moment.now;
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
    /// absence is proven.
    ///
    /// Whoever heard the subject shortly before it was last heard at all must prove it: a subject
    /// that was last heard by one receiver may be standing before another that is deaf.
    pub(super) fn unproven(
        &self,
        ears: &Ears,
        now: Uptime,
        timeout: Duration,
    ) -> Option<(Ear, HearingTime)> {
        let newest = self.last_true.first()?.now;
        let counted = self.last_true.iter().filter(|seen| newest.since(seen.now) <= timeout);
        let mut deadlines = counted.map(|seen| (seen.ear, seen.at + timeout));
        deadlines.find(|(ear, deadline)| ears.proven(*ear, now) < *deadline)
    }

    pub(super) fn enter(
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
        self.see(step.moment);
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
    pub(super) fn end(
        &mut self,
        subject: SubjectIndex,
        reason: ExitReason,
        out: &mut Vec<Transition>,
    ) {
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
