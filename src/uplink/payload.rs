//! Records in, CloudEvents 1.0 in structured JSON out: the contract with the platform.
//!
//! Source: CloudEvents specification 1.0.2, JSON event format 1.0.2; the extension attributes
//! `sequence` and `partitionkey` as documented by that project, `epoch` our own. Wall time is
//! stamped here, as late as possible: `clock` says how it is known (docs/clock.md).

use jiff::{Timestamp, civil::Weekday, tz::TimeZone};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    engine::{UnixTime, WallClock, frame::Quantity},
    outbox::{
        Sequence,
        record::{Alerted, Body, Change, Counted, Presence, Record, RunId, VisitSummary},
    },
    timeline::{Stamp, Timeline},
};

/// The content type of every event.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// Who is speaking: what stands in every event besides what happened.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The chain.
    pub tenant: String,
    /// The shop.
    pub store: String,
    /// The gateway in the shop.
    pub gateway: String,
    /// The epoch of the outbox's store.
    pub epoch: u32,
    /// This run of the program.
    pub run: RunId,
    /// What is known of its clocks, and of those of earlier runs.
    pub timeline: Timeline,
    /// The shop's time zone.
    pub time_zone: TimeZone,
    /// When the shop is open; empty when nobody said.
    pub opening_hours: Vec<OpeningHours>,
    /// An event sent later than this after it happened is called historical, in milliseconds.
    pub historical_after_ms: i64,
}

/// One span of a week in which the shop is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpeningHours {
    /// First day, inclusive.
    pub from_day: Weekday,
    /// Last day, inclusive.
    pub to_day: Weekday,
    /// From when, in minutes of the day.
    pub opens: u16,
    /// Until when, in minutes of the day, exclusive; 1440 is midnight.
    pub closes: u16,
}

/// One event, ready to be published.
#[derive(Clone, Debug, PartialEq)]
pub struct CloudEvent {
    /// The family: `visit`, `zone`, `sensor`, `gateway`, `occupancy`.
    pub family: &'static str,
    /// The kind in the family: `entered`.
    pub kind: &'static str,
    /// The whole event.
    pub json: Vec<u8>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    time: String,
    dataschema: String,
    datacontenttype: &'static str,
    sequence: String,
    epoch: u32,
    partitionkey: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
    data: Map<String, Value>,
}

/// How an event is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sending {
    /// It was delivered once, and is sent again on order: it has the attribute `replayed`.
    pub replayed: bool,
    /// It is too late for what it was meant for: it is called historical, however old it is.
    pub late: bool,
}

/// Family and kind of what a record says.
pub fn kind_of(body: &Body) -> (&'static str, &'static str) {
    match body {
        Body::Presence(presence) => match presence.change {
            Change::VisitStarted { .. } => ("visit", "started"),
            Change::VisitEnded(_) => ("visit", "ended"),
            Change::ZoneEntered { .. } => ("zone", "entered"),
            Change::ZoneDwelled { .. } => ("zone", "dwelled"),
            Change::ZoneExited { .. } => ("zone", "exited"),
        },
        Body::Measured { .. } => ("sensor", "measured"),
        Body::Started(_) => ("gateway", "started"),
        Body::RadioDeaf { .. } => ("gateway", "radio_deaf"),
        Body::RadioRecovered { .. } => ("gateway", "radio_recovered"),
        Body::RecordsDropped(_) => ("gateway", "records_dropped"),
        Body::ConsentWithdrawn(_) => ("gateway", "consent_withdrawn"),
        Body::Counted(_) => ("occupancy", "counted"),
        Body::Pressed { .. } => ("sensor", "pressed"),
        Body::Alerted(_) => ("sensor", "alerted"),
        Body::Cleared { .. } => ("sensor", "cleared"),
        Body::Silent { .. } => ("sensor", "silent"),
    }
}

/// Every kind that this version can make.
pub const KINDS: [(&str, &str); 16] = [
    ("visit", "started"),
    ("visit", "ended"),
    ("zone", "entered"),
    ("zone", "dwelled"),
    ("zone", "exited"),
    ("sensor", "measured"),
    ("gateway", "started"),
    ("gateway", "radio_deaf"),
    ("gateway", "radio_recovered"),
    ("gateway", "records_dropped"),
    ("gateway", "consent_withdrawn"),
    ("occupancy", "counted"),
    ("sensor", "pressed"),
    ("sensor", "alerted"),
    ("sensor", "cleared"),
    ("sensor", "silent"),
];

/// Names a visit, wherever it goes on: by the shop, the gateway that began it, and its epoch, run and
/// number there.
pub fn visit_name(store: &str, gateway: &str, (epoch, run, number): (u32, u64, u64)) -> String {
    format!("{store}-{gateway}-{epoch}-v{run}-{number}")
}

/// First and last of each range, as text: sequences are larger than the numbers of JSON are exact.
fn ranges(ranges: &[(u64, u64)]) -> Value {
    ranges.iter().map(|(first, last)| json!([first.to_string(), last.to_string()])).collect()
}

impl Origin {
    /// Names a record: the same at every delivery.
    pub fn event_id(&self, sequence: Sequence) -> String {
        format!("{}-{}-{}-{:012}", self.store, self.gateway, self.epoch, sequence.0)
    }

    /// The wall time of a record as far as it is known now, and how far to trust it.
    ///
    /// A record made before the clock was set is stamped again once that has been done, as is one
    /// whose clock was set anew since, if what it takes is known of the run that made it.
    pub fn stamp(&self, record: &Record, wall: &WallClock) -> (UnixTime, &'static str) {
        let Stamp { unix, mark } = self.timeline.stamp(self.run, record.told(), wall);
        (unix, mark.name())
    }

    /// Renders one record that is sent as usual.
    pub fn render(&self, sequence: Sequence, record: &Record, wall: &WallClock) -> CloudEvent {
        self.render_as(Sending::default(), sequence, record, wall)
    }

    /// Renders one record.
    pub fn render_as(
        &self,
        sending: Sending,
        sequence: Sequence,
        record: &Record,
        wall: &WallClock,
    ) -> CloudEvent {
        let (family, kind) = kind_of(&record.body);
        let (unix, clock) = self.stamp(record, wall);
        let age_ms = wall.unix_at(wall.at).as_millis().saturating_sub(unix.as_millis());
        let mut data = self.data(record, unix);
        data.insert("clock".into(), clock.into());
        data.insert("local_time".into(), self.local(unix).into());
        let historical = sending.late || age_ms > self.historical_after_ms;
        data.insert("historical".into(), historical.into());

        let subject = match &record.body {
            Body::Presence(presence) => Some(presence.subject.as_str()),
            Body::Measured { fixture, .. }
            | Body::Pressed { fixture, .. }
            | Body::Alerted(Alerted { fixture, .. })
            | Body::Cleared { alert: Alerted { fixture, .. }, .. }
            | Body::Silent { fixture, .. } => Some(fixture.as_str()),
            _ => None,
        };
        // What has this in common arrives in order, and lies in one partition of a stream behind.
        let key = match &record.body {
            Body::Counted(counted) => counted.zone.as_str(),
            _ => subject.unwrap_or(&self.gateway),
        };
        let envelope = Envelope {
            specversion: "1.0",
            id: self.event_id(sequence),
            source: format!("/{}/{}/{}", self.tenant, self.store, self.gateway),
            r#type: format!("io.beacon-gateway.{family}.{kind}.v1"),
            subject,
            time: utc(unix),
            dataschema: format!("urn:beacon-gateway:{family}.{kind}:v1"),
            datacontenttype: "application/json",
            sequence: sequence.0.to_string(),
            epoch: self.epoch,
            partitionkey: key,
            replayed: sending.replayed,
            data,
        };
        CloudEvent { family, kind, json: serde_json::to_vec(&envelope).unwrap_or_default() }
    }

    fn data(&self, record: &Record, unix: UnixTime) -> Map<String, Value> {
        match &record.body {
            Body::Presence(presence) => self.presence(presence, unix),
            Body::Measured { fixture, zone, readings } => {
                let readings: Vec<Value> = readings
                    .iter()
                    .map(|(quantity, instance, value)| reading(quantity, *instance, *value))
                    .collect();
                object(json!({"fixture": fixture, "zone": zone, "readings": readings}))
            }
            Body::Started(started) => object(json!({
                "version": started.version,
                "store": started.store,
                "pending": started.pending,
                "visits_restored": started.visits_restored,
            })),
            Body::RadioDeaf { receiver, cause } => {
                object(json!({"receiver": receiver, "cause": cause}))
            }
            Body::RadioRecovered { receiver, cause, deaf_ms } => {
                let deaf_s = seconds(*deaf_ms);
                object(json!({"receiver": receiver, "cause": cause, "deaf_s": deaf_s}))
            }
            Body::RecordsDropped(dropped) => object(json!({
                "why": dropped.why,
                "count": dropped.count,
                "ranges": ranges(&dropped.ranges),
                "first": dropped.ranges.first().map(|(first, _)| first.to_string()),
                "last": dropped.ranges.last().map(|(_, last)| last.to_string()),
                "first_time": dropped.first_made_ms.map(UnixTime::from_millis).map(utc),
                "last_time": dropped.last_made_ms.map(UnixTime::from_millis).map(utc),
            })),
            Body::ConsentWithdrawn(receipt) => object(json!({
                "subjects": receipt.subjects,
                "cause": receipt.cause,
                "command": receipt.command.map(|number| number.to_string()),
                "visits_closed": receipt.visits_closed,
                "records_erased": receipt.records_erased,
                "records_narrowed": receipt.records_narrowed,
            })),
            Body::Counted(counted) => counted_data(counted, unix),
            Body::Pressed { fixture, zone, button, action, steps } => {
                let mut data = object(json!({
                    "fixture": fixture, "zone": zone, "button": button, "action": action,
                }));
                if let Some(steps) = steps {
                    data.insert("steps".into(), (*steps).into());
                }
                data
            }
            Body::Alerted(alert) => alert_data(alert, unix),
            Body::Cleared { alert, lasted_ms } => {
                let mut data = alert_data(alert, unix);
                data.insert("lasted_s".into(), seconds(*lasted_ms));
                data
            }
            Body::Silent { fixture, zone, silent_ms, usual_ms } => object(json!({
                "fixture": fixture,
                "zone": zone,
                "last_heard": before(unix, *silent_ms),
                "usual_gap_s": usual_ms.map(seconds),
            })),
        }
    }

    fn presence(&self, presence: &Presence, unix: UnixTime) -> Map<String, Value> {
        let named_by = presence.begun_at.as_deref().unwrap_or(&self.gateway);
        let visit = visit_name(&self.store, named_by, presence.visit);
        let mut data = match &presence.change {
            Change::VisitStarted { receiver } => object(json!({"receiver": receiver})),
            Change::VisitEnded(summary) => summary_data(summary, unix),
            Change::ZoneEntered { zone, reason, confidence } => object(json!({
                "zone": zone,
                "reason": reason,
                "confidence": (f64::from(*confidence) * 100.0).round() / 100.0,
            })),
            Change::ZoneDwelled { zone, delay_ms } => {
                object(json!({"zone": zone, "delay_s": seconds(*delay_ms)}))
            }
            Change::ZoneExited { zone, reason } => object(json!({"zone": zone, "reason": reason})),
        };
        let context = &presence.context;
        let mut sensors = Map::new();
        for (quantity, value, age_ms) in &context.sensors {
            sensors.insert(quantity.clone(), json!({"value": value, "age_s": age_ms / 1000}));
        }
        let journey = presence.purposes.iter().any(|purpose| purpose == "journey");
        let mut seen = object(json!({
            "dwell_s": seconds(context.dwell_ms),
            "visit_s": seconds(context.visit_ms),
            "zone_occupancy": context.zone_occupancy,
            "staff_in_zone": context.staff_in_zone,
            "sensors": sensors,
        }));
        if journey {
            seen.insert("zones_visited".into(), json!(context.zones_visited));
        }
        if let Some(open) = self.is_open(unix) {
            seen.insert("open".into(), open.into());
        }
        data.insert("visit".into(), visit.into());
        data.insert("subject_kind".into(), presence.kind.clone().into());
        data.insert("context".into(), seen.into());
        if presence.wide_window {
            // Rare, so that everybody else's events do not carry it.
            data.insert("recognised".into(), "wide_window".into());
        }
        if presence.proof.is_empty() {
            data.insert("consent".into(), Value::Null);
        } else {
            let consent = json!({"proof": presence.proof, "purposes": presence.purposes});
            data.insert("consent".into(), consent);
        }
        data
    }

    /// The shop's local time, with its offset.
    fn local(&self, unix: UnixTime) -> String {
        let zoned = timestamp(unix).to_zoned(self.time_zone.clone());
        zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// Whether the shop is open; `None` when nobody said when it is.
    fn is_open(&self, unix: UnixTime) -> Option<bool> {
        if self.opening_hours.is_empty() {
            return None;
        }
        let local = timestamp(unix).to_zoned(self.time_zone.clone());
        let minute =
            u16::try_from(i16::from(local.hour()) * 60 + i16::from(local.minute())).ok()?;
        Some(self.opening_hours.iter().any(|span| span.covers(local.weekday(), minute)))
    }
}

impl OpeningHours {
    fn covers(self, day: Weekday, minute: u16) -> bool {
        let number = Weekday::to_monday_zero_offset;
        let (first, last, day) = (number(self.from_day), number(self.to_day), number(day));
        let on_day =
            if first <= last { (first..=last).contains(&day) } else { day >= first || day <= last };
        on_day && (self.opens..self.closes).contains(&minute)
    }
}

fn summary_data(summary: &VisitSummary, end: UnixTime) -> Map<String, Value> {
    let zone = |index: &u16| summary.zones.get(usize::from(*index)).cloned().unwrap_or_default();
    let before = |ms: &u64| before(end, *ms);
    let mut data = object(json!({
        "reason": summary.reason,
        "receivers": {"first": summary.first_receiver, "last": summary.last_receiver},
        "quality": {
            "sightings": summary.sightings,
            "mean_rssi_dbm": summary.mean_rssi.map(|mean| (f64::from(mean) * 10.0).round() / 10.0),
            "longest_gap_s": seconds(summary.longest_gap_ms),
        },
    }));
    if !summary.path.is_empty() || !summary.dwell.is_empty() {
        let path = summary.path.iter().map(|(index, entered, left)| {
            json!({"zone": zone(index), "entered": before(entered), "left": before(left)})
        });
        let dwell = summary.dwell.iter().map(|(index, ms)| (zone(index), seconds(*ms)));
        data.insert("path".into(), path.collect::<Vec<_>>().into());
        data.insert("path_cut".into(), summary.path_cut.into());
        data.insert("dwell_s".into(), dwell.collect::<Map<String, Value>>().into());
    }
    data
}

fn alert_data(alert: &Alerted, unix: UnixTime) -> Map<String, Value> {
    let mut data = match &alert.quantity {
        Some((quantity, instance)) => {
            object(reading(quantity, *instance, alert.value.unwrap_or_default()))
        }
        None => Map::new(),
    };
    if alert.value.is_none() {
        // Nobody remembers it of an alert that ends because nobody watches any more.
        data.remove("value");
    }
    data.insert("fixture".into(), alert.fixture.clone().into());
    data.insert("zone".into(), alert.zone.clone().into());
    data.insert("alert".into(), alert.rule.clone().into());
    data.insert("condition".into(), alert.condition.clone().into());
    data.insert("since".into(), before(unix, alert.for_ms).into());
    if let Some(limit) = alert.limit {
        data.insert("limit".into(), limit.into());
    }
    if let Some(days) = alert.days_left {
        data.insert("days_left".into(), days.into());
    }
    data
}

fn counted_data(counted: &Counted, end: UnixTime) -> Map<String, Value> {
    // A figure that is not told is left out: it is not zero, and zero is not told either.
    let figure = |count: Option<u32>| match count {
        Some(count) => json!({"suppressed": false, "count": count}),
        None => json!({"suppressed": true}),
    };
    object(json!({
        "zone": counted.zone,
        "from": before(end, counted.length_ms),
        "until": utc(end),
        "covered_s": seconds(counted.covered_ms),
        "addresses": figure(counted.addresses),
        "busiest_minute": figure(counted.busiest_minute),
        "k": counted.k,
        "rounded_to": counted.rounded_to,
    }))
}

/// So many milliseconds before a moment.
fn before(end: UnixTime, ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    utc(UnixTime::from_millis(end.as_millis().saturating_sub(ms)))
}

fn reading(quantity: &str, instance: u8, value: f64) -> Value {
    let unit = Quantity::from_name(quantity).map_or("", Quantity::unit);
    let mut reading = object(json!({"quantity": quantity, "value": value, "unit": unit}));
    if instance > 0 {
        reading.insert("instance".into(), instance.into());
    }
    reading.into()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Whole seconds where they are whole, else to the millisecond.
fn seconds(ms: u64) -> Value {
    if ms.is_multiple_of(1000) {
        return (ms / 1000).into();
    }
    #[expect(clippy::cast_precision_loss, reason = "spans of up to 285,000 years are exact")]
    let seconds = ms as f64 / 1000.0;
    seconds.into()
}

fn timestamp(unix: UnixTime) -> Timestamp {
    Timestamp::from_millisecond(unix.as_millis()).unwrap_or_default()
}

/// RFC 3339 in UTC, to the millisecond.
pub fn utc(unix: UnixTime) -> String {
    format!("{:.3}", timestamp(unix))
}
