//! Room 5. Transitions and readings in; what the business asked to know out.
//!
//! Promises: a kind of event is only made for a purpose that is live when it is made.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    Count, DeafCause, Identity, PresenceTracker, Pseudonym, Purpose, Purposes, ReceiverId,
    SubjectKind, Transition, TransitionKind, Uptime, VisitRecord, WallClock, ZoneId,
    frame::Quantity,
    presence::{EnterReason, ExitReason, MAX_STAYS},
    sensor::{Said, Sensors},
};

/// Something that the centre wants to know.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// When it happened, not when it was noticed.
    pub at: Uptime,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Something about a subject.
    Presence(Box<PresenceSituation>),
    /// There is news of a fixture.
    Sensor {
        /// Its name in the configuration.
        fixture: String,
        /// Where it is.
        zone: Option<ZoneId>,
        /// What it measured, what is wrong with that, or what somebody did with it.
        said: Said,
    },
    /// Everybody was counted, in one zone.
    Counted(Count),
    /// A receiver went deaf.
    RadioDeaf {
        /// Which.
        receiver: ReceiverId,
        /// Why.
        cause: DeafCause,
    },
    /// A receiver hears again.
    RadioRecovered {
        /// Which.
        receiver: ReceiverId,
        /// Why it was deaf.
        cause: DeafCause,
        /// For how long.
        deaf_for: Duration,
    },
}

/// Something about a subject.
#[derive(Clone, Debug, PartialEq)]
pub struct PresenceSituation {
    /// Who.
    pub subject: Pseudonym,
    /// What the subject is.
    pub kind: SubjectKind,
    /// The purpose under which this may be known.
    pub purpose: Purpose,
    /// Where the consent can be proven; empty for things.
    pub proof: Arc<str>,
    /// All purposes that were live.
    pub purposes: Purposes,
    /// The visit as it was right after the change.
    pub visit: VisitRecord,
    /// What changed.
    pub change: TransitionKind,
    /// What else was true.
    pub context: Context,
}

/// What else was true when something happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// How long the subject had been in the zone.
    pub dwell: Duration,
    /// How long the visit had lasted.
    pub visit: Duration,
    /// The zones of the visit so far, in order of their first stay; only for `journey`.
    pub zones_visited: Vec<ZoneId>,
    /// Customers in the zone, this one included.
    pub zone_occupancy: u32,
    /// Staff in the zone.
    pub staff_in_zone: u32,
    /// What the zone's sensors last said, and how long ago.
    pub sensors: Vec<(Quantity, f64, Duration)>,
}

/// How many sensor values a context carries, so that a record keeps to its 2 KiB.
const MAX_CONTEXT_SENSORS: usize = 16;

/// The room.
#[derive(Debug, Default)]
pub(super) struct SituationRoom {
    occupancy: BTreeMap<ZoneId, Occupancy>,
    deaf: BTreeMap<ReceiverId, (DeafCause, Uptime)>,
    made: VecDeque<Situation>,
    total: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Occupancy {
    customers: u32,
    staff: u32,
}

impl SituationRoom {
    /// Turns a change of presence into an event, if its purpose is live.
    pub(super) fn observe(
        &mut self,
        transition: Transition,
        identity: &Identity,
        sensors: &Sensors,
        (now, wall): (Uptime, &WallClock),
    ) {
        let Some(subject) = identity.registry().subject(transition.subject) else { return };
        match &transition.kind {
            TransitionKind::ZoneEntered { zone, .. } => self.count(zone, subject.kind, 1),
            TransitionKind::ZoneExited { zone, .. } => self.count(zone, subject.kind, -1),
            _ => {}
        }
        let live_at = |at| subject.purposes_made_at(wall, at);
        let purposes = live_at(transition.at).and(live_at(now));
        if !purposes.contains(Purpose::Presence) {
            return;
        }
        let context = self.context(&transition, purposes, sensors);
        let proof = subject.consent.as_ref().map_or_else(|| Arc::from(""), |it| it.proof.clone());
        let mut visit = transition.visit;
        if !purposes.contains(Purpose::Journey) {
            visit.stays.clear();
            visit.dwell.clear();
        }
        self.push(Situation {
            at: transition.at,
            what: What::Presence(Box::new(PresenceSituation {
                subject: subject.pseudonym.clone(),
                kind: subject.kind,
                purpose: Purpose::Presence,
                proof,
                purposes,
                visit,
                change: transition.kind,
                context,
            })),
        });
    }

    /// What a fixture said is worth an event.
    pub(super) fn said(&mut self, at: Uptime, fixture: String, zone: Option<ZoneId>, said: Said) {
        self.push(Situation { at, what: What::Sensor { fixture, zone, said } });
    }

    /// Bins are over: when each ended, and what was counted.
    pub(super) fn counted(&mut self, counts: Vec<(Uptime, Count)>) {
        for (at, count) in counts {
            self.push(Situation { at, what: What::Counted(count) });
        }
    }

    /// A receiver went deaf, or is still deaf for another reason.
    pub(super) fn radio_deaf(&mut self, receiver: &ReceiverId, since: Uptime, cause: DeafCause) {
        if !self.deaf.contains_key(receiver) {
            self.deaf.insert(receiver.clone(), (cause, since));
            let receiver = receiver.clone();
            self.push(Situation { at: since, what: What::RadioDeaf { receiver, cause } });
        }
    }

    /// A receiver hears, perhaps again.
    pub(super) fn radio_hears(&mut self, receiver: &ReceiverId, now: Uptime) {
        if let Some((cause, since)) = self.deaf.remove(receiver) {
            let (receiver, deaf_for) = (receiver.clone(), now.since(since));
            let what = What::RadioRecovered { receiver, cause, deaf_for };
            self.push(Situation { at: now, what });
        }
    }

    /// Counts anew who is where, after visits were closed without an event.
    pub(super) fn recount(&mut self, presence: &PresenceTracker, identity: &Identity) {
        self.occupancy.clear();
        for (index, zone) in presence.present() {
            if let (Some(subject), Some(zone)) = (identity.registry().subject(index), zone) {
                self.count(zone, subject.kind, 1);
            }
        }
    }

    /// The next situation, oldest first.
    pub(super) fn pop(&mut self) -> Option<Situation> {
        self.made.pop_front()
    }

    /// How many situations were made.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    fn push(&mut self, situation: Situation) {
        self.total += 1;
        self.made.push_back(situation);
    }

    fn count(&mut self, zone: &ZoneId, kind: SubjectKind, change: i32) {
        if !self.occupancy.contains_key(zone) {
            self.occupancy.insert(zone.clone(), Occupancy::default());
        }
        let Some(occupancy) = self.occupancy.get_mut(zone) else { return };
        let counter = match kind {
            SubjectKind::Customer => &mut occupancy.customers,
            SubjectKind::Staff => &mut occupancy.staff,
            SubjectKind::Asset => return,
        };
        *counter = counter.saturating_add_signed(change);
    }

    fn context(&self, change: &Transition, purposes: Purposes, sensors: &Sensors) -> Context {
        let visit = &change.visit;
        let zone = match &change.kind {
            TransitionKind::ZoneEntered { zone, .. }
            | TransitionKind::ZoneDwelled { zone, .. }
            | TransitionKind::ZoneExited { zone, .. } => Some(zone),
            TransitionKind::VisitStarted | TransitionKind::VisitEnded(_) => None,
        };
        let dwell = match &change.kind {
            TransitionKind::ZoneDwelled { delay, .. } => *delay,
            TransitionKind::ZoneExited { stayed, .. } => *stayed,
            _ => Duration::ZERO,
        };
        let occupancy = zone.and_then(|zone| self.occupancy.get(zone)).copied().unwrap_or_default();
        let mut zones_visited: Vec<ZoneId> = Vec::new();
        if purposes.contains(Purpose::Journey) {
            for stay in &visit.stays {
                if !zones_visited.contains(&stay.zone) && zones_visited.len() < MAX_STAYS {
                    zones_visited.push(stay.zone.clone());
                }
            }
        }
        Context {
            dwell,
            visit: change.at.since(visit.started),
            zones_visited,
            zone_occupancy: occupancy.customers,
            staff_in_zone: occupancy.staff,
            sensors: zone.map_or_else(Vec::new, |zone| {
                sensors.of_zone(zone, change.at).take(MAX_CONTEXT_SENSORS).collect()
            }),
        }
    }
}

impl PresenceSituation {
    /// The zone the event is about.
    pub fn zone(&self) -> Option<&ZoneId> {
        match &self.change {
            TransitionKind::ZoneEntered { zone, .. }
            | TransitionKind::ZoneDwelled { zone, .. }
            | TransitionKind::ZoneExited { zone, .. } => Some(zone),
            TransitionKind::VisitStarted | TransitionKind::VisitEnded(_) => None,
        }
    }

    /// Why it is believed, in the words of the payload.
    pub fn reason(&self) -> Option<&'static str> {
        match self.change {
            TransitionKind::ZoneEntered { reason, .. } => Some(EnterReason::name(reason)),
            TransitionKind::ZoneExited { reason, .. } | TransitionKind::VisitEnded(reason) => {
                Some(ExitReason::name(reason))
            }
            TransitionKind::VisitStarted | TransitionKind::ZoneDwelled { .. } => None,
        }
    }
}
