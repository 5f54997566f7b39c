//! What the store is asked for, and what it answers.

use super::layout::Tombstone;
use crate::engine::{ClockQuality, Pseudonym, Subject, UnixTime};

/// One change of who is enrolled.
#[derive(Clone, Debug)]
pub enum Change {
    /// Enrols somebody, or replaces everything that was known about them. Said expressly, so it
    /// counts also after a withdrawal.
    Upsert(Subject),
    /// Forgets somebody, and remembers that they withdrew.
    Withdraw(Pseudonym),
}

/// Who enrolled a subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Source {
    /// A file, by the command line.
    File,
    /// The platform, by a command.
    Platform,
}

/// On whose behalf something is changed, and what is to be remembered with the change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Order {
    /// Who enrols.
    pub source: Source,
    /// The number of the platform's command, if it is one: the last one that was applied.
    pub command: Option<u64>,
    /// Takes the place of what [`RegistryStore::platform`](super::RegistryStore::platform) gives, at most
    /// [`MAX_PLATFORM_STATE`](super::MAX_PLATFORM_STATE).
    pub platform: Option<Vec<u8>>,
    /// Whether a replacement enrols also those who withdrew: they agreed anew, somebody says.
    pub again: bool,
}

/// What a change did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Applied {
    /// Subjects that were not enrolled before.
    pub added: u64,
    /// Subjects that were enrolled already.
    pub updated: u64,
    /// Subjects that are no longer enrolled because they withdrew.
    pub withdrawn: u64,
    /// Withdrawals of subjects that were not enrolled; they are remembered like the others.
    pub unknown: u64,
}

/// What a replacement did.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Replaced {
    /// How many of those given are now enrolled.
    pub enrolled: u64,
    /// How many are no longer enrolled, without having withdrawn.
    pub removed: u64,
    /// How many stay because somebody else enrolled them: a snapshot leaves what came from files,
    /// and a file what came from the platform.
    pub kept: u64,
    /// Those given that withdrew, and were therefore passed over.
    pub passed_over: Vec<Pseudonym>,
}

/// A withdrawal that is remembered. Whose it is can be asked, not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Withdrawal {
    /// When it reached this gateway; `None` when it can no longer be read.
    pub when: Option<UnixTime>,
    /// How far the clock could be trusted then.
    pub clock: ClockQuality,
    /// The command of the platform, if it came by one.
    pub command: Option<u64>,
}

/// Where the registry stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version {
    /// Which generation it is, from 1: how often it was written anew.
    pub generation: u64,
    /// How often it was changed.
    pub changes: u64,
    /// The last command of the platform that was applied.
    pub command: Option<u64>,
    /// How many subjects are enrolled.
    pub subjects: u64,
    /// How many withdrawals are remembered.
    pub withdrawn: u64,
    /// The number of the key that new values are sealed with.
    pub key: u32,
}

/// Everyone who is enrolled.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The subjects, in no particular order.
    pub subjects: Vec<Subject>,
    /// How many entries could not be read: damaged. They are not recognised.
    pub unreadable: u64,
}

/// What going through all of a store found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Subjects that can be read.
    pub subjects: u64,
    /// Withdrawals that can be read.
    pub withdrawn: u64,
    /// Values that cannot be read.
    pub unreadable: u64,
    /// Values that should be there and are not.
    pub missing: u64,
}

impl Change {
    /// Whom it is about.
    pub fn pseudonym(&self) -> &Pseudonym {
        match self {
            Self::Upsert(subject) => &subject.pseudonym,
            Self::Withdraw(pseudonym) => pseudonym,
        }
    }
}

impl Source {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Platform => "platform",
        }
    }

    pub(super) const fn octet(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Platform => 2,
        }
    }

    pub(super) fn of(octet: u8) -> Option<Self> {
        [Self::File, Self::Platform].into_iter().find(|source| source.octet() == octet)
    }
}

impl Order {
    /// By the operator of this gateway.
    pub const fn local() -> Self {
        Self { source: Source::File, command: None, platform: None, again: false }
    }

    /// By a command of the platform.
    pub const fn platform(command: u64) -> Self {
        let (source, command) = (Source::Platform, Some(command));
        Self { source, command, platform: None, again: false }
    }
}

impl Withdrawal {
    pub(super) const UNREADABLE: Self =
        Self { when: None, clock: ClockQuality::Unsynced, command: None };
}

impl From<Tombstone> for Withdrawal {
    fn from(tombstone: Tombstone) -> Self {
        if tombstone.when_ms == i64::MAX {
            return Self::UNREADABLE;
        }
        let clock = if tombstone.synced { ClockQuality::Synced } else { ClockQuality::Unsynced };
        Self { when: Some(tombstone.when()), clock, command: tombstone.command }
    }
}
