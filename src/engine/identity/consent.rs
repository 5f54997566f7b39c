//! What a subject agreed to, and until when.

use std::{collections::BTreeMap, fmt, sync::Arc};

use super::{Pseudonym, UnixTime};

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
}

/// Who agreed to what, without any identifier: what the uplink needs to check a record again
/// before it is sent.
#[derive(Clone, Debug, Default)]
pub struct ConsentLedger {
    /// `None`: a thing, which needs no consent.
    grants: BTreeMap<Pseudonym, Option<Consent>>,
}

impl ConsentLedger {
    pub(super) fn new(grants: impl Iterator<Item = (Pseudonym, Option<Consent>)>) -> Self {
        Self { grants: grants.collect() }
    }

    /// True when what was made under `purpose` may still be sent at `unix`: the subject is
    /// enrolled, has not withdrawn the purpose, and the consent has not run out.
    ///
    /// When the consent began is not asked again: an unset clock would lie about it, and it was
    /// asked when the event was made.
    pub fn may_send(&self, subject: &str, purpose: Purpose, unix: UnixTime) -> bool {
        match self.grants.get(subject) {
            None => false,
            Some(None) => true,
            Some(Some(consent)) => {
                consent.purposes.contains(purpose) && consent.until.is_none_or(|until| unix < until)
            }
        }
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

    #[test]
    fn purposes_are_named_alike_in_both_directions() {
        for purpose in Purpose::ALL {
            assert_eq!(Purpose::from_name(purpose.name()), Some(purpose));
        }
        assert_eq!(Purposes::ALL.to_string(), "presence, journey, engagement");
        assert_eq!(Purpose::from_name("everything"), None);
    }
}
