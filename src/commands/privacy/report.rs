//! The report. Settings, registry and the running gateway's counters in; one document out.
//!
//! Only numbers, settings and times: it can be handed to anybody.

use serde::Serialize;
use serde_json::Value;

use super::enrolled::Enrolled;
use crate::{
    engine::{ROUNDED_TO, Registry, UnixTime, WallClock, frame},
    gateway::Status,
    registry::store,
    settings::{LogLevel, Settings},
    uplink::payload::utc,
};

/// Everything there is to report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// When this was true.
    pub(super) time: String,
    /// `synced` or `unsynced`: whether the ends of consents could be judged.
    pub(super) clock: String,
    pub(super) version: &'static str,
    pub(super) gateway: Gateway,
    /// `running`, `starting`, `stopped`, `gone` without a word, or `never` on this machine.
    pub(super) state: State,
    pub(super) counters: Option<Counters>,
    /// What must hold of the counters whatever was heard.
    pub(super) laws: Vec<Law>,
    pub(super) registry: RegistryPart,
    pub(super) irk: Irk,
    pub(super) footfall: Footfall,
    pub(super) never_processed: Vec<NeverProcessed>,
    pub(super) retention: Retention,
    pub(super) log_level: LogLevel,
}

#[derive(Debug, Serialize)]
pub(super) struct Gateway {
    pub(super) tenant: String,
    pub(super) store: String,
    pub(super) name: String,
}

/// Whether a gateway runs on this machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It uses the state directory and writes its counters.
    Running,
    /// Somebody uses the state directory and has not written counters yet.
    Starting,
    /// It stopped and said so.
    Stopped,
    /// It ended without saying so.
    Gone,
    /// None has ever run with this state directory.
    Never,
}

/// The counters of the last run, and how old they are.
#[derive(Debug, Serialize)]
pub(super) struct Counters {
    pub(super) written: String,
    /// Seconds since then.
    pub(super) age_s: i64,
    /// Since when was counted.
    pub(super) since: String,
    pub(super) version: String,
    pub(super) values: Value,
}

#[derive(Debug, Serialize)]
pub(super) struct Law {
    pub(super) law: &'static str,
    /// `null` when the counters do not have all of its terms.
    pub(super) holds: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct RegistryPart {
    /// The registry file, which lies on the disk in clear; empty when there is none.
    pub(super) file: String,
    /// Whether all of the registry lies sealed on the disk.
    pub(super) sealed: bool,
    /// How many subjects the sealed store has.
    pub(super) in_store: u64,
    /// How many withdrawals it remembers.
    pub(super) withdrawals_remembered: u64,
    /// The last command of the platform that was carried out, if there was one.
    pub(super) platform_command: Option<u64>,
    pub(super) enrolled: Enrolled,
}

/// Recognition by resolvable addresses: how often a stranger may be taken for a subject.
#[derive(Debug, Serialize)]
pub(super) struct Irk {
    pub(super) keys: usize,
    pub(super) strangers_per_day: f64,
    pub(super) expected_false_matches_per_day: f64,
    pub(super) max_false_per_day: f64,
    /// Otherwise a second address must confirm the first.
    pub(super) one_match_is_enough: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Footfall {
    pub(super) enabled: bool,
    pub(super) bin: String,
    pub(super) min_rssi: f64,
    pub(super) k: u32,
    pub(super) rounded_to: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct NeverProcessed {
    pub(super) what: &'static str,
    pub(super) recognised_by: String,
}

/// How long what is kept about people is kept at the most.
#[derive(Debug, Serialize)]
pub(super) struct Retention {
    pub(super) outbox_max_age: String,
    pub(super) outbox_max_records: u64,
    pub(super) outbox_max_bytes: String,
    pub(super) checkpoint_interval: String,
    pub(super) resume_within: String,
    pub(super) merge_gap: String,
}

// === impl Report ===

impl Report {
    pub(super) fn new(
        settings: &Settings,
        (registry, store): (&Registry, Option<store::Version>),
        status: Option<Status>,
        in_use: bool,
        wall: WallClock,
    ) -> Self {
        let now = wall.unix_at(wall.at);
        let gateway = &settings.gateway;
        let enrolled = Enrolled::of(registry, now);
        let state = State::of(status.as_ref(), in_use);
        let counters = status.map(|status| Counters::of(status, now));
        Self {
            time: utc(now),
            clock: wall.quality.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            gateway: Gateway {
                tenant: gateway.tenant.clone(),
                store: gateway.store.clone(),
                name: gateway.name.clone(),
            },
            state,
            laws: counters.as_ref().map_or_else(Vec::new, |counters| laws(&counters.values)),
            counters,
            irk: Irk::of(settings, &enrolled),
            registry: RegistryPart {
                file: settings.identity.registry.display().to_string(),
                sealed: settings.identity.registry.as_os_str().is_empty(),
                in_store: store.map_or(0, |store| store.subjects),
                withdrawals_remembered: store.map_or(0, |store| store.withdrawn),
                platform_command: store.and_then(|store| store.command),
                enrolled,
            },
            footfall: Footfall {
                enabled: settings.footfall.enabled,
                bin: settings.footfall.bin.to_string(),
                min_rssi: settings.footfall.min_rssi,
                k: settings.footfall.k,
                rounded_to: ROUNDED_TO,
            },
            never_processed: frame::never_processed_list()
                .map(|(what, recognised_by)| NeverProcessed { what, recognised_by })
                .collect(),
            retention: Retention {
                outbox_max_age: settings.outbox.max_age.to_string(),
                outbox_max_records: settings.outbox.max_records,
                outbox_max_bytes: settings.outbox.max_bytes.to_string(),
                checkpoint_interval: settings.presence.checkpoint_interval.to_string(),
                resume_within: settings.presence.resume_within.to_string(),
                merge_gap: settings.presence.merge_gap.to_string(),
            },
            log_level: settings.log.level,
        }
    }
}

impl State {
    fn of(status: Option<&Status>, in_use: bool) -> Self {
        match (status, in_use) {
            (Some(status), true) if !status.stopped => Self::Running,
            (_, true) => Self::Starting,
            (Some(status), false) if status.stopped => Self::Stopped,
            (Some(_), false) => Self::Gone,
            (None, false) => Self::Never,
        }
    }

    /// What that means for whoever reads the counters.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Running => "A gateway is running.",
            Self::Starting => {
                "The state directory is in use, but no counters of this run were written yet."
            }
            Self::Stopped => "No gateway is running; it stopped in order.",
            Self::Gone => "No gateway is running; the last one ended without a word.",
            Self::Never => "No gateway is running, and none has left counters here.",
        }
    }
}

impl Counters {
    fn of(status: Status, now: UnixTime) -> Self {
        let written = status.written.parse().ok().map(jiff::Timestamp::as_millisecond);
        let age_ms = written.map_or(0, |written| now.as_millis().saturating_sub(written));
        Self {
            // A clock that was set back in between makes nothing older than new.
            age_s: (age_ms / 1000).max(0),
            written: status.written,
            since: status.started,
            version: status.version,
            values: status.counters,
        }
    }
}

impl Irk {
    fn of(settings: &Settings, enrolled: &Enrolled) -> Self {
        let identity = settings.identity();
        let keys = enrolled.identifiers.get("irk").copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "there are far fewer than 2^52 keys")]
        let expected = keys as f64 * identity.irk_strangers_per_day / f64::from(1_u32 << 24);
        Self {
            keys,
            strangers_per_day: identity.irk_strangers_per_day,
            expected_false_matches_per_day: expected,
            max_false_per_day: identity.irk_max_false_per_day,
            one_match_is_enough: expected < identity.irk_max_false_per_day,
        }
    }
}

/// The conservation laws, asked of the counters.
fn laws(counters: &Value) -> Vec<Law> {
    let sum = |terms: &[&str]| {
        terms.iter().try_fold(0_u64, |sum, term| {
            let (section, name) = term.split_once('.')?;
            sum.checked_add(counters.get(section)?.get(name)?.as_u64()?)
        })
    };
    let equal = |left: &[&str], right: &[&str]| Some(sum(left)? == sum(right)?);
    vec![
        Law {
            law: "received = malformed + unknown + decoded",
            holds: equal(
                &["engine.received"],
                &["engine.malformed", "engine.unknown", "engine.decoded"],
            ),
        },
        Law {
            law: "decoded = subject + fixture + anonymous",
            holds: equal(
                &["engine.decoded"],
                &["engine.subject", "engine.fixture", "engine.anonymous"],
            ),
        },
        Law {
            law: "refused <= unknown",
            holds: sum(&["engine.refused"])
                .zip(sum(&["engine.unknown"]))
                .map(|(refused, unknown)| refused <= unknown),
        },
        Law {
            law: "recovered + appended = acknowledged + pending + dropped + erased",
            holds: equal(
                &["outbox.recovered", "outbox.appended"],
                &["outbox.acknowledged", "outbox.pending", "outbox.dropped", "outbox.erased"],
            ),
        },
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(stopped: bool) -> Status {
        let time = "2026-01-31T00:00:00.000Z".to_owned();
        Status {
            form: 1,
            stopped,
            written: time.clone(),
            started: time,
            version: "0".to_owned(),
            counters: json!({}),
        }
    }

    #[test]
    fn whether_a_gateway_runs_is_told_by_who_holds_the_directory_and_what_was_left() {
        let of =
            |status: Option<bool>, in_use| State::of(status.map(self::status).as_ref(), in_use);
        assert_eq!(of(Some(false), true), State::Running);
        assert_eq!(of(Some(true), true), State::Starting, "a run later than the counters");
        assert_eq!(of(None, true), State::Starting);
        assert_eq!(of(Some(true), false), State::Stopped);
        assert_eq!(of(Some(false), false), State::Gone);
        assert_eq!(of(None, false), State::Never);
    }

    #[test]
    fn counters_are_as_old_as_they_say_and_never_from_the_future() {
        let age = |seconds: i64| {
            let then = 1_769_817_600_000;
            Counters::of(status(false), UnixTime::from_millis(then + seconds * 1000)).age_s
        };
        assert_eq!([0, 59, 86_400, -5].map(age), [0, 59, 86_400, 0]);
    }

    #[test]
    fn a_law_that_is_broken_is_told_and_one_without_its_terms_is_not_claimed() {
        let engine = json!({
            "received": 10, "malformed": 1, "unknown": 4, "refused": 5, "decoded": 5,
            "subject": 1, "fixture": 1, "anonymous": 2,
        });
        let held: Vec<_> = laws(&json!({"engine": engine})).iter().map(|law| law.holds).collect();
        assert_eq!(held, [Some(true), Some(false), Some(false), None]);
    }

    #[test]
    fn the_expectation_of_false_matches_is_that_of_the_bound() {
        let settings = Settings::default();
        let mut enrolled = Enrolled::default();
        let mut of = |keys| {
            enrolled.identifiers.insert("irk", keys);
            Irk::of(&settings, &enrolled)
        };
        assert!(of(83).one_match_is_enough && !of(84).one_match_is_enough);
        let many = of(10_000).expected_false_matches_per_day;
        assert!((many - 11.92).abs() < 0.01, "{many}");
    }
}
