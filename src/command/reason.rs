//! Why a command is refused: each reason is a word that stays, for the platform's alarms and for our
//! counters.

use std::fmt;

/// Why a command is refused. Nothing of it was done.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// It is larger than a command may be.
    TooLarge,
    /// It is no JWS in compact serialisation, or one without a signature.
    Unsigned,
    /// It is one in form, but a part of it cannot be read.
    Malformed,
    /// It is signed in another way than with `EdDSA`.
    Algorithm,
    /// Its header asks for something that we do not know and must not ignore (`crit`).
    CriticalHeader,
    /// It names no key, or none that is trusted.
    UnknownKey,
    /// The signature is not that of the key it names.
    Signature,
    /// A claim is missing or is not in its form.
    Claims,
    /// It came on the topic of another command.
    WrongTopic,
    /// There is no command of this name.
    UnknownCommand,
    /// It is addressed to somebody else.
    Audience,
    /// Its time is over.
    Expired,
    /// It was issued in the future.
    Future,
    /// Whether its time is over cannot be known, because the clock has not been set.
    ClockUnsynced,
    /// Its number, or a later one, was carried out before.
    Replayed,
    /// Commands before it are missing.
    Gap,
    /// The snapshot is older than what is known to have changed since.
    Outdated,
    /// Its body is not in the form of this command.
    Body,
    /// It speaks of another epoch's numbers than the present one's.
    Epoch,
    /// So much is to be sent again already that no more is taken for now.
    Busy,
    /// The outbox cannot be read for now.
    Unavailable,
}

impl Reason {
    /// All of them, in the order of their judgement.
    pub const ALL: [Self; 21] = [
        Self::TooLarge,
        Self::Unsigned,
        Self::Malformed,
        Self::Algorithm,
        Self::CriticalHeader,
        Self::UnknownKey,
        Self::Signature,
        Self::Claims,
        Self::WrongTopic,
        Self::UnknownCommand,
        Self::Audience,
        Self::Expired,
        Self::Future,
        Self::ClockUnsynced,
        Self::Replayed,
        Self::Gap,
        Self::Outdated,
        Self::Body,
        Self::Epoch,
        Self::Busy,
        Self::Unavailable,
    ];

    /// The word in reports and counters.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Unsigned => "unsigned",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::CriticalHeader => "critical_header",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::WrongTopic => "wrong_topic",
            Self::UnknownCommand => "unknown_command",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Future => "future",
            Self::ClockUnsynced => "clock_unsynced",
            Self::Replayed => "replayed",
            Self::Gap => "gap",
            Self::Outdated => "outdated",
            Self::Body => "body",
            Self::Epoch => "epoch",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }

    /// Its place in [`Reason::ALL`].
    pub(super) fn index(self) -> usize {
        Self::ALL.iter().position(|reason| *reason == self).unwrap_or_default()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_word_and_a_place_of_its_own() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), place);
            let same = Reason::ALL.iter().filter(|other| other.word() == reason.word());
            assert_eq!(same.count(), 1, "{reason}");
        }
    }
}
