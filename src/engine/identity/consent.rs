//! What a subject agreed to, and until when.

use std::{collections::HashMap, fmt, sync::Arc};

use rustc_hash::FxBuildHasher;

use super::{Pseudonym, Subject, UnixTime, Uptime, WallClock};
use crate::engine::ClockQuality;

/// One thing that a subject can agree to.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Purpose {
    /// Visits, and entering, dwelling in and leaving zones.
    Presence,
    /// The path over the zones, and the summary of a visit.
    Journey,
    /// Moments: rules of the operator's that may address the subject.
    Engagement,
}

impl Purpose {
    /// All purposes, in the order in which they are listed.
    pub const ALL: [Self; 3] = [Self::Presence, Self::Journey, Self::Engagement];

    /// The name used in the registry and in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Presence => "presence",
            Self::Journey => "journey",
            Self::Engagement => "engagement",
        }
    }

    /// The purpose of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Presence => 1,
            Self::Journey => 2,
            Self::Engagement => 4,
        }
    }
}

/// A set of purposes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Purposes(u8);

impl Purposes {
    /// No purpose at all.
    pub const NONE: Self = Self(0);
    /// Every purpose.
    pub const ALL: Self = Self(7);

    /// True when `purpose` is among them.
    pub const fn contains(self, purpose: Purpose) -> bool {
        self.0 & purpose.bit() != 0
    }

    /// The purposes in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// True when there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The purposes, in the order of [`Purpose::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Purpose> {
        Purpose::ALL.into_iter().filter(move |&purpose| self.contains(purpose))
    }
}

impl FromIterator<Purpose> for Purposes {
    fn from_iter<I: IntoIterator<Item = Purpose>>(purposes: I) -> Self {
        Self(purposes.into_iter().fold(0, |bits, purpose| bits | purpose.bit()))
    }
}

impl fmt::Display for Purposes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, purpose) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            f.write_str(purpose.name())?;
        }
        Ok(())
    }
}

/// A subject's grant.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Consent {
    /// What was agreed to.
    pub purposes: Purposes,
    /// From when on, inclusive.
    pub from: UnixTime,
    /// Until when, exclusive; `None` means until it is withdrawn.
    pub until: Option<UnixTime>,
    /// Where the proof of the grant can be found.
    pub proof: Arc<str>,
}

impl Consent {
    /// What may be done at a moment; nothing outside the validity.
    pub fn purposes_at(&self, unix: UnixTime) -> Purposes {
        let live = self.from <= unix && self.until.is_none_or(|until| unix < until);
        if live { self.purposes } else { Purposes::NONE }
    }

    /// What may be made of what happened at `at`, as far as the clock can tell.
    ///
    /// While the clock is not synced nobody knows whether the consent is live. What happens is told
    /// to the outbox all the same, and waits there: whether it may be sent is asked again once it
    /// is known, see [`ConsentLedger::standing`].
    pub fn purposes_made_at(&self, wall: &WallClock, at: Uptime) -> Purposes {
        match wall.quality {
            ClockQuality::Synced => self.purposes_at(wall.unix_at(at)),
            ClockQuality::Unsynced => self.purposes,
        }
    }
}

impl Consent {
    /// True when whatever `other` covers is covered by this one as well.
    fn covers(&self, other: &Self) -> bool {
        let ends_later = match (self.until, other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(this), Some(other)) => other <= this,
        };
        self.purposes.and(other.purposes) == other.purposes && self.from <= other.from && ends_later
    }
}

/// What may be sent about a subject now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// What was made for these purposes, at or after `from`, may be sent; perhaps none.
    May {
        /// The purposes that are live now.
        purposes: Purposes,
        /// The grant says nothing about what happened before.
        from: Option<UnixTime>,
    },
    /// The consent has an end, and the clock cannot tell whether it is over: to be asked again.
    NotKnown,
}

impl Standing {
    const NOTHING: Self = Self::May { purposes: Purposes::NONE, from: None };
}

/// By what somebody is enrolled: a person by a consent, a thing without one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant(Option<Consent>);

/// Who agreed to what, without any identifier: what is asked again before a record is sent.
#[derive(Clone, Debug, Default)]
pub struct ConsentLedger {
    /// `None`: a thing, which needs no consent.
    grants: HashMap<Pseudonym, Option<Consent>, FxBuildHasher>,
    /// Whether the registry was lost, and with it the knowledge of who agreed to what.
    lost: bool,
}

impl ConsentLedger {
    pub(super) fn new(grants: impl Iterator<Item = (Pseudonym, Option<Consent>)>) -> Self {
        Self { grants: grants.collect(), lost: false }
    }

    /// What is known when the registry was lost: nothing, about anybody. What waits goes on waiting
    /// until there is a registry again.
    pub fn lost() -> Self {
        Self { lost: true, ..Self::default() }
    }

    /// Whether the registry was lost.
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// What may be sent about a subject at the moment of a clock reading.
    pub fn standing(&self, subject: &str, now: &WallClock) -> Standing {
        match self.grants.get(subject) {
            None if self.lost => Standing::NotKnown,
            None => Standing::NOTHING,
            Some(None) => Standing::May { purposes: Purposes::ALL, from: None },
            Some(Some(consent)) => match (consent.until, now.quality) {
                (Some(_), ClockQuality::Unsynced) => Standing::NotKnown,
                (Some(until), ClockQuality::Synced) if until <= now.unix_at(now.at) => {
                    Standing::NOTHING
                }
                _ => Standing::May { purposes: consent.purposes, from: Some(consent.from) },
            },
        }
    }

    /// Enters a grant, in place of the subject's last one, and returns that: `None` for somebody
    /// new.
    pub fn enrol(&mut self, subject: &Subject) -> Option<Grant> {
        let grant = Grant(subject.consent.clone());
        self.grants.insert(subject.pseudonym.clone(), grant.0).map(Grant)
    }

    /// Puts back what [`Self::enrol`] had returned.
    pub fn put_back(&mut self, subject: &Pseudonym, grant: Option<Grant>) {
        match grant {
            Some(Grant(consent)) => drop(self.grants.insert(subject.clone(), consent)),
            None => drop(self.grants.remove(subject)),
        }
    }

    /// True when a subject's grant covers less than `before` did.
    pub fn covers_less(&self, subject: &str, before: &Grant) -> bool {
        match (self.grants.get(subject), &before.0) {
            (Some(None), _) => false,
            (None, _) | (Some(Some(_)), None) => true,
            (Some(Some(now)), Some(before)) => !now.covers(before),
        }
    }

    /// Whether somebody is enrolled by a grant that began at `unix` or before; a thing is.
    pub fn is_enrolled_since(&self, subject: &str, unix: UnixTime) -> bool {
        match self.grants.get(subject) {
            None => false,
            Some(None) => true,
            Some(Some(consent)) => consent.from <= unix,
        }
    }

    /// Strikes a subject out. Says whether it was there.
    pub fn withdraw(&mut self, subject: &str) -> bool {
        self.grants.remove(subject).is_some()
    }

    /// True when the subject is enrolled, whatever it agreed to.
    pub fn is_enrolled(&self, subject: &str) -> bool {
        self.grants.contains_key(subject)
    }

    /// How many subjects are enrolled.
    pub fn count(&self) -> usize {
        self.grants.len()
    }

    /// Everyone enrolled.
    pub fn subjects(&self) -> impl Iterator<Item = (&Pseudonym, Grant)> {
        self.grants.iter().map(|(subject, consent)| (subject, Grant(consent.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_counts_from_its_first_moment_until_just_before_its_end() {
        let consent = Consent {
            purposes: [Purpose::Journey].into_iter().collect(),
            from: UnixTime::from_millis(100),
            until: Some(UnixTime::from_millis(200)),
            proof: Arc::from("form-1"),
        };
        let journey =
            |millis| consent.purposes_at(UnixTime::from_millis(millis)).contains(Purpose::Journey);
        assert_eq!([99, 100, 199, 200].map(journey), [false, true, true, false]);
        assert!(!consent.purposes_at(UnixTime::from_millis(150)).contains(Purpose::Presence));
    }

    fn at(millis: i64, quality: ClockQuality) -> WallClock {
        WallClock { at: Uptime::ZERO, unix: UnixTime::from_millis(millis), quality }
    }

    fn ledger(until: Option<i64>) -> ConsentLedger {
        let consent = Consent {
            purposes: Purposes::ALL,
            from: UnixTime::from_millis(100),
            until: until.map(UnixTime::from_millis),
            proof: Arc::from("form-1"),
        };
        ConsentLedger::new([(Pseudonym::new("s"), Some(consent))].into_iter())
    }

    #[test]
    fn a_consent_with_an_end_is_not_known_to_be_live_until_the_clock_is_synced() {
        use ClockQuality::{Synced, Unsynced};
        let live =
            Standing::May { purposes: Purposes::ALL, from: Some(UnixTime::from_millis(100)) };
        let ending = ledger(Some(200));
        assert_eq!(ending.standing("s", &at(150, Unsynced)), Standing::NotKnown);
        assert_eq!(ending.standing("s", &at(150, Synced)), live);
        assert_eq!(ending.standing("s", &at(200, Synced)), Standing::NOTHING);
        assert_eq!(ledger(None).standing("s", &at(0, Unsynced)), live, "until it is withdrawn");
        assert_eq!(ending.standing("t", &at(150, Unsynced)), Standing::NOTHING, "not enrolled");
    }

    #[test]
    fn a_subject_that_is_struck_out_has_no_standing_whatever_the_clock_says() {
        let mut ledger = ledger(Some(200));
        assert!(ledger.withdraw("s"));
        assert!(!ledger.withdraw("s"));
        assert_eq!(ledger.standing("s", &at(150, ClockQuality::Unsynced)), Standing::NOTHING);
    }

    #[test]
    fn purposes_are_named_alike_in_both_directions() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::from_name(purpose.name()), Some(purpose));
        }
        assert_eq!(Purposes::ALL.to_string(), "presence, journey, engagement");
        assert_eq!(Purpose::from_name("everything"), None);
    }
}
