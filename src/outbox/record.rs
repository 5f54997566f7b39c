//! What a record says, and its form on disk: a version byte, then postcard.
//!
//! A serialisable counterpart of [`Situation`], converted by hand, so that the engine's types can
//! change without the disk's. Wall time is only an estimate here: it is stamped when the record is
//! sent, by when the clock may have been set (`timeline.rs`).

mod form3;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Class, Entry, Tag};
use crate::{
    engine::{
        Alarm, ClockQuality, Count, PresenceSituation, Purpose, Purposes, ROUNDED_TO, Said,
        Situation, Stay, TransitionKind, UnixTime, Uptime, VisitRecord, WallClock, What, ZoneId,
    },
    timeline::Told,
};

/// The largest record, in bytes. Larger values would make sled write separate files that it never
/// syncs; see FACTS of sled in `outbox.rs`.
pub const MAX_BYTES: usize = 2048;

/// The form that this program writes. It reads [`form3`] as well. Words and names stand in it as they
/// are: what many records say is taken out of all of them together, where they are stored.
const VERSION: u8 = 4;

/// The form of what is about a visit that another gateway began: that gateway's name, then form
/// [`VERSION`] without its first byte.
const BEGUN_ELSEWHERE: u8 = 5;

/// Names one run of the program, so that an uptime can be told from another run's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunId(pub u64);

/// A situation on its way to the platform.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// The run in which it was made.
    pub run: RunId,
    /// When it happened, in microseconds of that run's uptime.
    pub uptime_us: i64,
    /// When it happened by the wall clock of the time, in milliseconds.
    pub unix_ms: i64,
    /// Whether the wall clock followed a time source when the record was made.
    pub synced: bool,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Body {
    /// Something about a subject.
    Presence(Box<Presence>),
    /// A fixture measured something.
    Measured {
        /// The fixture.
        fixture: String,
        /// Where it is.
        zone: Option<String>,
        /// Quantity, instance and value.
        readings: Vec<(String, u8, f64)>,
    },
    /// The gateway was started.
    Started(Started),
    /// A receiver went deaf.
    RadioDeaf {
        /// Which.
        receiver: String,
        /// Why.
        cause: String,
    },
    /// A receiver hears again.
    RadioRecovered {
        /// Which.
        receiver: String,
        /// Why it was deaf.
        cause: String,
        /// For how long.
        deaf_ms: u64,
    },
    /// Records had to be dropped.
    RecordsDropped(DroppedRecords),
    /// Consent was withdrawn or narrowed: the receipt.
    ConsentWithdrawn(Receipt),
    /// Everybody was counted, in one zone.
    Counted(Counted),
    /// Somebody pressed or turned something.
    Pressed {
        /// The fixture.
        fixture: String,
        /// Where it is.
        zone: Option<String>,
        /// Which of several buttons, from 0.
        button: u8,
        /// What was done, by its name.
        action: String,
        /// How far a dimmer was turned.
        steps: Option<u8>,
    },
    /// Something is wrong with a fixture's readings, or its battery.
    Alerted(Alerted),
    /// It is right again.
    Cleared {
        /// What was wrong.
        alert: Alerted,
        /// For how long the alert stood.
        lasted_ms: u64,
    },
    /// A fixture is not heard any more.
    Silent {
        /// The fixture.
        fixture: String,
        /// Where it is.
        zone: Option<String>,
        /// For how long it has not been heard.
        silent_ms: u64,
        /// The longest gap that was usual.
        usual_ms: Option<u64>,
    },
}

/// What is wrong with a fixture, or was.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Alerted {
    /// The fixture.
    pub fixture: String,
    /// Where it is.
    pub zone: Option<String>,
    /// The rule, by its name.
    pub rule: String,
    /// What is wrong, in a word: `above`.
    pub condition: String,
    /// What is measured, and which of several.
    pub quantity: Option<(String, u8)>,
    /// The last value.
    pub value: Option<f64>,
    /// The limit of the rule.
    pub limit: Option<f64>,
    /// For how long it had been so before the record's time: wrong, or right again.
    pub for_ms: u64,
    /// Days until the battery is empty.
    pub days_left: Option<f64>,
}

/// Everybody was counted, in one zone. The record's time is when the bin ended.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Counted {
    /// Where.
    pub zone: String,
    /// How long was counted.
    pub length_ms: u64,
    /// For how much of it all receivers of the zone could hear.
    pub covered_ms: u64,
    /// Different addresses; `None` when they were fewer than `k`.
    pub addresses: Option<u32>,
    /// Different addresses in the busiest minute; `None` when they were fewer than `k`.
    pub busiest_minute: Option<u32>,
    /// Figures below this are not told.
    pub k: u32,
    /// The others are rounded to a multiple of this.
    pub rounded_to: u32,
}

/// The gateway was started.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Started {
    /// The program's version.
    pub version: String,
    /// What became of the store: `resumed`, `new`, or `quarantined`.
    pub store: String,
    /// Records that were waiting.
    pub pending: u64,
    /// Visits that were open when the gateway stopped.
    pub visits_restored: u32,
}

/// Records that left the outbox in another way than having been delivered, all for one reason.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DroppedRecords {
    /// Why: a [`DropReason`](super::DropReason) by its name.
    pub why: String,
    /// How many.
    pub count: u64,
    /// Exactly which, first and last sequence of each range, in order; at most 64 ranges. Where
    /// they are fewer than `count`, the others never had a sequence, or nobody knows it.
    pub ranges: Vec<(u64, u64)>,
    /// When the oldest was made, in Unix milliseconds, if that is known.
    pub first_made_ms: Option<i64>,
    /// When the newest was made, in Unix milliseconds, if that is known.
    pub last_made_ms: Option<i64>,
}

/// What the end of somebody's consent, or of a part of it, has led to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Receipt {
    /// Whose consent; at most [`Receipt::MAX_SUBJECTS`].
    pub subjects: Vec<String>,
    /// `withdrawn` (by the platform's command), `not_enrolled` (no longer in the registry), `narrowed`
    /// (to fewer purposes, or a shorter time), or `expired` (over, when the gateway started).
    pub cause: String,
    /// The number of the platform's command, if it was one.
    pub command: Option<u64>,
    /// Open visits that were closed without an event.
    pub visits_closed: u64,
    /// Records that were erased before they were sent.
    pub records_erased: u64,
    /// Records that lost what is no longer covered.
    pub records_narrowed: u64,
}

/// How much of a record the purposes that are live cover.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Coverage {
    /// All of it.
    Whole,
    /// The rest, now that something was taken out.
    Narrowed,
    /// Nothing.
    Nothing,
}

/// Something about a subject.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Presence {
    /// Who.
    pub subject: String,
    /// `customer`, `staff` or `asset`.
    pub kind: String,
    /// The purpose under which it may be sent.
    pub purpose: String,
    /// Where the consent can be proven.
    pub proof: String,
    /// All purposes that were live.
    pub purposes: Vec<String>,
    /// Whether the subject was recognised only because the clock was not synced, and a wider
    /// window of rotating identifiers was searched.
    pub wide_window: bool,
    /// Epoch, run and number of the visit.
    pub visit: (u32, u64, u64),
    /// The gateway that named the visit, if that was another one. In a form of its own: see
    /// [`Record::encode`].
    #[serde(skip)]
    pub begun_at: Option<String>,
    /// What changed.
    pub change: Change,
    /// What else was true.
    pub context: Context,
}

/// What changed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub enum Change {
    /// A visit began.
    VisitStarted {
        /// The receiver that heard it.
        receiver: String,
    },
    /// A visit ended.
    VisitEnded(Box<VisitSummary>),
    /// A zone was entered.
    ZoneEntered {
        /// Which.
        zone: String,
        /// Why it is believed.
        reason: String,
        /// How sure, 0 to 1.
        confidence: f32,
    },
    /// A stay reached a loitering delay.
    ZoneDwelled {
        /// Where.
        zone: String,
        /// The delay.
        delay_ms: u64,
    },
    /// A zone was left.
    ZoneExited {
        /// Which.
        zone: String,
        /// Why it is believed.
        reason: String,
    },
}

/// A whole visit.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct VisitSummary {
    /// Why it is believed to be over.
    pub reason: String,
    /// The zones, each once, that the path and the dwell times refer to.
    pub zones: Vec<String>,
    /// Zone, and entered and left in milliseconds before the end. Only for `journey`.
    pub path: Vec<(u16, u64, u64)>,
    /// Zone and milliseconds in it. Only for `journey`.
    pub dwell: Vec<(u16, u64)>,
    /// Whether stays were cut out of the middle of the path.
    pub path_cut: bool,
    /// The receiver that heard it first.
    pub first_receiver: String,
    /// The receiver that heard it last.
    pub last_receiver: String,
    /// Advertisements heard.
    pub sightings: u32,
    /// Mean signal strength, in dBm.
    pub mean_rssi: Option<f32>,
    /// The longest silence, in milliseconds.
    pub longest_gap_ms: u64,
}

/// What else was true.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Context {
    /// Time in the zone.
    pub dwell_ms: u64,
    /// Length of the visit.
    pub visit_ms: u64,
    /// Zones so far. Only for `journey`.
    pub zones_visited: Vec<String>,
    /// Customers in the zone.
    pub zone_occupancy: u32,
    /// Staff in the zone.
    pub staff_in_zone: u32,
    /// Quantity, value, and age in milliseconds.
    pub sensors: Vec<(String, f64, u64)>,
}

/// Bytes from the disk that are no record of ours.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// A form of another version of this program.
    #[error("the record has form {found:?}; this version reads forms 3 to {BEGUN_ELSEWHERE}")]
    Version {
        /// What stands where the version should.
        found: Option<u8>,
    },
    /// The form is right and the content is not.
    #[error("the record does not decode")]
    Content(#[source] postcard::Error),
}

// === impl Record ===

impl Record {
    /// Stamps a situation.
    pub fn of(situation: &Situation, run: RunId, wall: &WallClock) -> Self {
        let body = match &situation.what {
            What::Presence(presence) => {
                Body::Presence(Box::new(Presence::of(presence, situation.at)))
            }
            What::Sensor { fixture, zone, said } => {
                Body::of_sensor(fixture, zone.as_ref(), said, situation.at)
            }
            What::Counted(count) => Body::Counted(Counted::of(count)),
            What::RadioDeaf { receiver, cause } => Body::RadioDeaf {
                receiver: receiver.as_str().to_owned(),
                cause: cause.name().to_owned(),
            },
            What::RadioRecovered { receiver, cause, deaf_for } => Body::RadioRecovered {
                receiver: receiver.as_str().to_owned(),
                cause: cause.name().to_owned(),
                deaf_ms: millis(*deaf_for),
            },
        };
        Self::new(body, situation.at, run, wall)
    }

    /// Stamps something that the gateway itself has to say.
    pub fn new(body: Body, at: Uptime, run: RunId, wall: &WallClock) -> Self {
        Self {
            run,
            uptime_us: at.as_micros(),
            unix_ms: wall.unix_at(at).as_millis(),
            synced: wall.quality == ClockQuality::Synced,
            body,
        }
    }

    /// When it happened by the clocks of the run that made it.
    pub fn told(&self) -> Told {
        Told {
            run: self.run,
            at: Uptime::from_micros(self.uptime_us),
            unix: UnixTime::from_millis(self.unix_ms),
            synced: self.synced,
        }
    }

    /// The same record, as made by another run at other times.
    #[must_use]
    pub fn told_as(self, told: Told) -> Self {
        Self {
            run: told.run,
            uptime_us: told.at.as_micros(),
            unix_ms: told.unix.as_millis(),
            synced: told.synced,
            ..self
        }
    }

    /// When it happened, if the clock could be trusted.
    pub fn made(&self) -> Option<UnixTime> {
        self.synced.then(|| UnixTime::from_millis(self.unix_ms))
    }

    /// The form on disk, at most [`MAX_BYTES`]: the middle of a path that is too long is cut, and
    /// after that, lists of the context.
    pub fn encode(mut self) -> Vec<u8> {
        loop {
            let mut bytes = match &self.body {
                Body::Presence(presence) => match &presence.begun_at {
                    Some(gateway) => {
                        postcard::to_extend(gateway, vec![BEGUN_ELSEWHERE]).unwrap_or_default()
                    }
                    None => vec![VERSION],
                },
                _ => vec![VERSION],
            };
            bytes = postcard::to_extend(&self, bytes).unwrap_or_default();
            if bytes.len() <= MAX_BYTES || !self.shorten() {
                return bytes;
            }
        }
    }

    /// The record on its way into the outbox.
    pub fn into_entry(self) -> Entry {
        let made = self.made();
        let about = Some(self.whose_order());
        let class = self.class();
        Entry { bytes: self.encode(), made, about, class }
    }

    /// Whose order it keeps at the platform: the same as its `partitionkey`. For a person it is also what an
    /// erasure finds it by.
    fn whose_order(&self) -> Tag {
        match &self.body {
            Body::Presence(presence) => Tag::of(&presence.subject),
            Body::Measured { fixture, .. }
            | Body::Pressed { fixture, .. }
            | Body::Alerted(Alerted { fixture, .. })
            | Body::Cleared { alert: Alerted { fixture, .. }, .. }
            | Body::Silent { fixture, .. } => Tag::of_thing("fixture", fixture),
            Body::Counted(counted) => Tag::of_thing("zone", &counted.zone),
            Body::Started(_)
            | Body::RadioDeaf { .. }
            | Body::RadioRecovered { .. }
            | Body::RecordsDropped(_)
            | Body::ConsentWithdrawn(_) => Tag::of_thing("gateway", ""),
        }
    }

    /// Reads the form on disk.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => postcard::from_bytes(rest).map_err(Unreadable::Content),
            Some((&BEGUN_ELSEWHERE, rest)) => {
                let (gateway, rest) =
                    postcard::take_from_bytes::<String>(rest).map_err(Unreadable::Content)?;
                let mut record: Self = postcard::from_bytes(rest).map_err(Unreadable::Content)?;
                if let Body::Presence(presence) = &mut record.body {
                    presence.begun_at = Some(gateway);
                }
                Ok(record)
            }
            Some((&form3::VERSION, rest)) => form3::decode(rest).map_err(Unreadable::Content),
            other => Err(Unreadable::Version { found: other.map(|(&version, _)| version) }),
        }
    }

    /// What it is worth when there is not room for all.
    pub fn class(&self) -> Class {
        match &self.body {
            Body::Started(_)
            | Body::RadioDeaf { .. }
            | Body::RadioRecovered { .. }
            | Body::RecordsDropped(_)
            | Body::ConsentWithdrawn(_) => Class::Gateway,
            Body::Presence(_) => Class::Presence,
            Body::Measured { .. }
            | Body::Pressed { .. }
            | Body::Alerted(_)
            | Body::Cleared { .. }
            | Body::Silent { .. } => Class::Sensor,
            Body::Counted(_) => Class::Count,
        }
    }

    /// The subject and the purpose under which it may be sent; `None` for what is no person's.
    pub fn subject(&self) -> Option<(&str, Purpose)> {
        match &self.body {
            Body::Presence(presence) => {
                let purpose = Purpose::from_name(&presence.purpose).unwrap_or(Purpose::Presence);
                Some((&presence.subject, purpose))
            }
            _ => None,
        }
    }

    /// Takes out what `purposes` do not cover.
    pub fn narrow(&mut self, purposes: Purposes) -> Coverage {
        let Body::Presence(presence) = &mut self.body else { return Coverage::Whole };
        let purpose = Purpose::from_name(&presence.purpose);
        if !purpose.is_some_and(|purpose| purposes.contains(purpose)) {
            return Coverage::Nothing;
        }
        let named = presence.purposes.len();
        presence.purposes.retain(|name| {
            Purpose::from_name(name).is_some_and(|purpose| purposes.contains(purpose))
        });
        if !purposes.contains(Purpose::Journey) {
            presence.context.zones_visited.clear();
            if let Change::VisitEnded(summary) = &mut presence.change {
                summary.zones.clear();
                summary.path.clear();
                summary.dwell.clear();
                summary.path_cut = false;
            }
        }
        if presence.purposes.len() == named { Coverage::Whole } else { Coverage::Narrowed }
    }

    /// Gives up the least valuable part; false when nothing is left to give up.
    fn shorten(&mut self) -> bool {
        match &mut self.body {
            Body::Presence(presence) => {
                if let Change::VisitEnded(summary) = &mut presence.change
                    && !summary.path.is_empty()
                {
                    summary.path.remove(summary.path.len() / 2);
                    summary.path_cut = true;
                    return true;
                }
                presence.context.zones_visited.pop().is_some()
                    || presence.context.sensors.pop().is_some()
            }
            Body::Measured { readings, .. } => readings.pop().is_some(),
            _ => false,
        }
    }
}

impl Body {
    /// What a fixture said at a moment.
    fn of_sensor(fixture: &str, zone: Option<&ZoneId>, said: &Said, at: Uptime) -> Self {
        let (fixture, zone) = (fixture.to_owned(), zone.map(ZoneId::to_string));
        match said {
            Said::Measured(readings) => {
                let readings = readings.iter().map(|(&(quantity, instance), &value)| {
                    (quantity.name().to_owned(), instance, value)
                });
                Self::Measured { fixture, zone, readings: readings.collect() }
            }
            Said::Pressed { button, action } => Self::Pressed {
                fixture,
                zone,
                button: *button,
                action: action.name().to_owned(),
                steps: action.steps(),
            },
            Said::Alerted(alarm) => Self::Alerted(Alerted::of(fixture, zone, alarm, at)),
            Said::Cleared { alarm, lasted } => Self::Cleared {
                alert: Alerted::of(fixture, zone, alarm, at),
                lasted_ms: millis(*lasted),
            },
            Said::Silent { heard, usual } => Self::Silent {
                fixture,
                zone,
                silent_ms: millis(at.since(*heard)),
                usual_ms: usual.map(millis),
            },
        }
    }
}

impl Alerted {
    fn of(fixture: String, zone: Option<String>, alarm: &Alarm, at: Uptime) -> Self {
        let quantity = alarm.quantity.map(|(quantity, instance)| (quantity.name(), instance));
        Self {
            fixture,
            zone,
            rule: alarm.rule.clone(),
            condition: alarm.condition.to_owned(),
            quantity: quantity.map(|(name, instance)| (name.to_owned(), instance)),
            value: alarm.value,
            limit: alarm.limit,
            for_ms: millis(at.since(alarm.since)),
            days_left: alarm.days_left,
        }
    }
}

impl Receipt {
    /// How many subjects one receipt names, so that it keeps to [`MAX_BYTES`].
    pub const MAX_SUBJECTS: usize = 20;
}

impl Counted {
    fn of(count: &Count) -> Self {
        Self {
            zone: count.zone.to_string(),
            length_ms: millis(count.length),
            covered_ms: millis(count.covered),
            addresses: count.addresses,
            busiest_minute: count.busiest_minute,
            k: count.k,
            rounded_to: ROUNDED_TO,
        }
    }
}

impl Presence {
    fn of(presence: &PresenceSituation, at: Uptime) -> Self {
        let visit = &presence.visit;
        let reason = presence.reason().unwrap_or_default().to_owned();
        let change = match &presence.change {
            TransitionKind::VisitStarted => {
                Change::VisitStarted { receiver: visit.first_receiver.as_str().to_owned() }
            }
            TransitionKind::VisitEnded(_) => {
                Change::VisitEnded(Box::new(VisitSummary::of(visit, at, reason)))
            }
            #[expect(clippy::cast_possible_truncation, reason = "a probability needs few digits")]
            TransitionKind::ZoneEntered { zone, confidence, .. } => Change::ZoneEntered {
                zone: zone.to_string(),
                reason,
                confidence: *confidence as f32,
            },
            TransitionKind::ZoneDwelled { zone, delay } => {
                Change::ZoneDwelled { zone: zone.to_string(), delay_ms: millis(*delay) }
            }
            TransitionKind::ZoneExited { zone, .. } => {
                Change::ZoneExited { zone: zone.to_string(), reason }
            }
        };
        let context = &presence.context;
        Self {
            subject: presence.subject.to_string(),
            kind: presence.kind.name().to_owned(),
            purpose: presence.purpose.name().to_owned(),
            proof: Arc::clone(&presence.proof).to_string(),
            purposes: presence.purposes.iter().map(|purpose| purpose.name().to_owned()).collect(),
            wide_window: visit.quality.wide_window,
            visit: (visit.id.epoch, visit.id.run, visit.id.number),
            begun_at: visit.begun_at.as_deref().map(str::to_owned),
            change,
            context: Context {
                dwell_ms: millis(context.dwell),
                visit_ms: millis(context.visit),
                zones_visited: context.zones_visited.iter().map(ZoneId::to_string).collect(),
                zone_occupancy: context.zone_occupancy,
                staff_in_zone: context.staff_in_zone,
                sensors: context
                    .sensors
                    .iter()
                    .map(|(quantity, value, age)| {
                        (quantity.name().to_owned(), *value, millis(*age))
                    })
                    .collect(),
            },
        }
    }
}

impl VisitSummary {
    fn of(visit: &VisitRecord, end: Uptime, reason: String) -> Self {
        let mut zones: Vec<String> = Vec::new();
        let mut place = |zone: &ZoneId| place_of(&mut zones, zone);
        let before = |at: Uptime| millis(end.since(at));
        let path =
            |Stay { zone, entered, left }: &Stay| (place(zone), before(*entered), before(*left));
        let path = visit.stays.iter().map(path).collect();
        let dwell = visit.dwell.iter().map(|(zone, time)| (place(zone), millis(*time))).collect();
        #[expect(clippy::cast_possible_truncation, reason = "a mean in dBm needs few digits")]
        let mean_rssi = visit.quality.mean_rssi.map(|mean| mean as f32);
        Self {
            reason,
            path,
            dwell,
            zones,
            path_cut: visit.stays_cut,
            first_receiver: visit.first_receiver.as_str().to_owned(),
            last_receiver: visit.last_receiver.as_str().to_owned(),
            sightings: visit.quality.sightings,
            mean_rssi,
            longest_gap_ms: millis(visit.quality.longest_gap),
        }
    }
}

/// The place of a zone in a list that names each zone once; a new one is put at its end.
pub(crate) fn place_of(zones: &mut Vec<String>, zone: &ZoneId) -> u16 {
    let found = zones.iter().position(|known| known == zone.as_str());
    let index = found.unwrap_or_else(|| {
        zones.push(zone.to_string());
        zones.len() - 1
    });
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
