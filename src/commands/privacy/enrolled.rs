//! Who is enrolled, in numbers. A registry in; counts by kind, purpose, end and identifier out, and
//! nobody's name.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::engine::{Purpose, Registry, Subject, UnixTime};

/// Counts of what is enrolled.
#[derive(Debug, Default, Serialize)]
pub(super) struct Enrolled {
    pub(super) subjects: usize,
    /// Subjects by what they are.
    pub(super) kinds: BTreeMap<&'static str, usize>,
    /// For each purpose, by what they are, the subjects for whom it is live now.
    pub(super) live: BTreeMap<&'static str, BTreeMap<&'static str, usize>>,
    pub(super) consents: Consents,
    /// Ways to be recognised, by their kind, of all subjects together.
    pub(super) identifiers: BTreeMap<&'static str, usize>,
    pub(super) fixtures: usize,
}

/// How long the consents last. Each subject is in one of them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Consents {
    /// Things, which need none.
    pub(super) none_needed: usize,
    pub(super) not_yet: usize,
    pub(super) over: usize,
    /// Live, and over within this many days; each is in the first that fits.
    pub(super) ends_within_30_days: usize,
    pub(super) ends_within_90_days: usize,
    pub(super) ends_within_365_days: usize,
    pub(super) ends_later: usize,
    /// Live until withdrawn.
    pub(super) without_end: usize,
}

const DAY: Duration = Duration::from_hours(24);

// === impl Enrolled ===

impl Enrolled {
    pub(super) fn of(registry: &Registry, now: UnixTime) -> Self {
        let mut enrolled = Self { fixtures: registry.fixture_count(), ..Self::default() };
        for purpose in Purpose::ALL {
            enrolled.live.insert(purpose.name(), BTreeMap::new());
        }
        for subject in registry.subjects() {
            enrolled.add(subject, now);
        }
        enrolled
    }

    fn add(&mut self, subject: &Subject, now: UnixTime) {
        let kind = subject.kind.name();
        self.subjects += 1;
        *self.kinds.entry(kind).or_default() += 1;
        for identifier in &subject.identifiers {
            *self.identifiers.entry(identifier.kind()).or_default() += 1;
        }
        for purpose in subject.purposes_at(now).iter() {
            let kinds = self.live.entry(purpose.name()).or_default();
            *kinds.entry(kind).or_default() += 1;
        }
        *self.consents.place(subject, now) += 1;
    }
}

// === impl Consents ===

impl Consents {
    fn place(&mut self, subject: &Subject, now: UnixTime) -> &mut usize {
        let Some(consent) = &subject.consent else { return &mut self.none_needed };
        if now < consent.from {
            return &mut self.not_yet;
        }
        let Some(until) = consent.until else { return &mut self.without_end };
        let left = until.as_millis().saturating_sub(now.as_millis());
        match u128::try_from(left).unwrap_or(0) {
            0 => &mut self.over,
            ms if ms <= (DAY * 30).as_millis() => &mut self.ends_within_30_days,
            ms if ms <= (DAY * 90).as_millis() => &mut self.ends_within_90_days,
            ms if ms <= (DAY * 365).as_millis() => &mut self.ends_within_365_days,
            _ => &mut self.ends_later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn line(name: &str, kind: &str, address: u8, consent: &str) -> String {
        format!(
            r#"{{"subject":"{name}","kind":"{kind}","identifiers":[{{"address":"C0:00:00:00:00:{address:02X}"}}]{consent}}}"#
        )
    }

    #[test]
    fn subjects_are_counted_by_kind_purpose_and_end_and_never_named() {
        let consent = |purposes: &str, from: &str, until: &str| {
            let until = if until.is_empty() {
                String::new()
            } else {
                format!(r#","until":"{until}T00:00:00Z""#)
            };
            format!(
                r#","consent":{{"purposes":[{purposes}],"from":"{from}T00:00:00Z"{until},"proof":"p"}}"#
            )
        };
        let both = r#""presence","journey""#;
        let one = r#""presence""#;
        let text = [
            line("a", "customer", 1, &consent(both, "2026-01-01", "")),
            line("b", "customer", 2, &consent(one, "2026-01-01", "2026-02-10")),
            line("c", "customer", 3, &consent(one, "2026-01-01", "2026-01-31")),
            line("d", "customer", 4, &consent(one, "2026-03-01", "")),
            line("e", "staff", 5, &consent(one, "2026-01-01", "2026-04-30")),
            line("f", "staff", 6, &consent(one, "2026-01-01", "2027-01-31")),
            line("g", "staff", 7, &consent(one, "2026-01-01", "2028-01-01")),
            line("h", "asset", 8, ""),
        ]
        .join("\n");
        let registry = Registry::new(registry::parse(&text).unwrap(), vec![]).unwrap();
        // 2026-01-31T00:00:00Z
        let enrolled = Enrolled::of(&registry, UnixTime::from_millis(1_769_817_600_000));
        let json = serde_json::to_value(&enrolled).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "subjects": 8,
                "kinds": {"asset": 1, "customer": 4, "staff": 3},
                "live": {
                    "presence": {"asset": 1, "customer": 2, "staff": 3},
                    "journey": {"asset": 1, "customer": 1},
                    "engagement": {"asset": 1},
                },
                "consents": {
                    "none_needed": 1,
                    "not_yet": 1,
                    "over": 1,
                    "ends_within_30_days": 1,
                    "ends_within_90_days": 1,
                    "ends_within_365_days": 1,
                    "ends_later": 1,
                    "without_end": 1,
                },
                "identifiers": {"address": 8},
                "fixtures": 0,
            })
        );
    }
}
