//! `registry export`: all that this gateway holds about one person, for whoever asks to see it
//! (Regulation (EU) 2016/679, Article 15).

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::{Common, Desk, Failure, look::withdrawal_json};
use crate::{
    checkpoint,
    commands::broken_pipe,
    engine::{Stay, Subject, UnixTime, Uptime, VisitRecord, WallClock},
    gateway::{GatewayError, chain},
    outbox::{
        self, OutboxError,
        record::{Record, RunId},
    },
    registry::{
        self,
        form::{self, KeyMaterial},
        store::{RegistryStore, RegistryStoreError, Source, Withdrawal},
    },
    timeline::Timeline,
    uplink::payload::Origin,
};

#[derive(Args, Debug)]
pub(super) struct Options {
    /// The subject, by its pseudonym.
    #[arg(value_name = "SUBJECT")]
    subject: String,
    /// Print keys, too. Whoever has them can imitate the subject's device: for the subject alone.
    #[arg(long)]
    with_keys: bool,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let desk = Desk::new(&options.common)?;
    let name = &options.subject;
    let keys = if options.with_keys { KeyMaterial::Shown } else { KeyMaterial::Hidden };
    let wall = desk.clock.wall();
    let mut unavailable = Vec::new();
    let (entry, withdrawal) = enrolled(&desk, name).unwrap_or_else(|error| {
        unavailable.push(format!("the registry: {}", chain(&error)));
        (None, None)
    });
    let file = in_file(&desk, name, keys).unwrap_or_else(|error| {
        unavailable.push(format!("the registry file: {}", chain(&error)));
        None
    });
    let kept = kept(&desk, name, &wall).unwrap_or_else(|failure| {
        unavailable.push(match failure {
            Unread::Outbox(OutboxError::InUse { .. }) => {
                "the events that wait to be sent, and the \
                open visit: a running gateway has them open; `systemctl stop beacon-gateway`, and \
                export again"
                    .to_owned()
            }
            Unread::Outbox(error) => format!("the events that wait to be sent: {}", chain(&error)),
            Unread::Settings(error) => {
                format!("the events that wait to be sent: {}", chain(&error))
            }
        });
        Kept { visit: Value::Null, events: Value::Null }
    });
    let gateway = &desk.settings.gateway;
    let document = json!({
        "subject": name,
        "exported_at": form::time(wall.unix),
        "gateway": { "tenant": gateway.tenant, "store": gateway.store, "name": gateway.name },
        "registry": entry.as_ref().map(|(subject, source)| {
            let mut entry = form::to_json(subject, keys);
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("enrolled_by".to_owned(), source.name().into());
            }
            entry
        }),
        "registry_file": file,
        "withdrawal": withdrawal.as_ref().map(withdrawal_json),
        "open_visit": kept.visit,
        "waiting_events": kept.events,
        "not_included": unavailable,
        "note": "Events that were delivered are at the platform; this gateway keeps no copy.",
    });
    let mut out = anstream::stdout();
    writeln!(out, "{document:#}").or_else(broken_pipe)?;
    if unavailable.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("this is not everything. Missing: {}", unavailable.join("; "))))
    }
}

type Enrolled = (Option<(Subject, Source)>, Option<Withdrawal>);

fn enrolled(desk: &Desk, name: &str) -> Result<Enrolled, RegistryStoreError> {
    let store = RegistryStore::open_existing(desk.state_dir(), &desk.keys, desk.clock)?;
    let Some(store) = store else { return Ok((None, None)) };
    Ok((store.get(name)?, store.withdrawal(name)?))
}

/// The entry in the plain file that the configuration names.
fn in_file(
    desk: &Desk,
    name: &str,
    keys: KeyMaterial,
) -> Result<Option<Value>, registry::RegistryError> {
    let path = &desk.settings.identity.registry;
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let subjects = registry::read(path)?;
    let found = subjects.iter().find(|subject| subject.pseudonym.as_str() == name);
    Ok(found.map(|subject| form::to_json(subject, keys)))
}

/// What lies in the outbox about one subject.
struct Kept {
    visit: Value,
    events: Value,
}

/// Why the outbox was not read.
enum Unread {
    Outbox(OutboxError),
    Settings(GatewayError),
}

fn kept(desk: &Desk, name: &str, wall: &WallClock) -> Result<Kept, Unread> {
    let mut inspection = match outbox::inspect_with(desk.state_dir(), desk.keys.clone()) {
        Ok(inspection) => inspection,
        Err(OutboxError::Absent { .. }) => {
            return Ok(Kept { visit: Value::Null, events: Vec::<Value>::new().into() });
        }
        Err(error) => return Err(Unread::Outbox(error)),
    };
    let slots = inspection.kept().map_err(Unread::Outbox)?;
    let origin = origin(desk, inspection.stats().epoch).map_err(Unread::Settings)?;
    let origin = Origin { timeline: Timeline::of(&slots), ..origin };
    let visit = slots.iter().find_map(|kept| {
        let (subject, visit) = checkpoint::read(&kept.slot, &kept.value, wall)?;
        (subject.as_str() == name).then(|| visit_json(&visit, wall))
    });
    let mut events = Vec::new();
    for held in inspection.records() {
        let held = held.map_err(Unread::Outbox)?;
        // A record that cannot be read is about nobody who could be named.
        let Ok(record) = Record::decode(&held.bytes) else { continue };
        if record.subject().is_some_and(|(subject, _)| subject == name) {
            let event = origin.render(held.sequence, &record, wall);
            events.push(serde_json::from_slice(&event.json).unwrap_or(Value::Null));
        }
    }
    Ok(Kept { visit: visit.unwrap_or(Value::Null), events: events.into() })
}

/// The events as the platform would get them.
fn origin(desk: &Desk, epoch: u32) -> Result<Origin, GatewayError> {
    let (settings, gateway) = (&desk.settings, &desk.settings.gateway);
    Ok(Origin {
        tenant: gateway.tenant.clone(),
        store: gateway.store.clone(),
        gateway: gateway.name.clone(),
        epoch,
        run: RunId(0),
        timeline: Timeline::default(),
        time_zone: settings.time_zone().map_err(GatewayError::Settings)?,
        opening_hours: settings.opening_hours().map_err(GatewayError::Settings)?,
        historical_after_ms: i64::MAX,
    })
}

fn visit_json(visit: &VisitRecord, wall: &WallClock) -> Value {
    let time = |at: Uptime| form::time(UnixTime::from_millis(wall.unix_at(at).as_millis()));
    let stay = |stay: &Stay| {
        json!({
            "zone": stay.zone.to_string(),
            "entered": time(stay.entered),
            "left": time(stay.left),
        })
    };
    json!({
        "started": time(visit.started),
        "last_seen": time(visit.last_seen),
        "first_receiver": visit.first_receiver.as_str(),
        "last_receiver": visit.last_receiver.as_str(),
        "path": visit.stays.iter().map(stay).collect::<Vec<_>>(),
        "dwell_s": visit
            .dwell
            .iter()
            .map(|(zone, time)| (zone.to_string(), time.as_secs().into()))
            .collect::<serde_json::Map<String, Value>>(),
        "sightings": visit.quality.sightings,
        "mean_rssi": visit.quality.mean_rssi,
    })
}
