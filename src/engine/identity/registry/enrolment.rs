//! Changes of the registry, one subject at a time, and what became of them.

use super::{AmbiguousRegistry, Pseudonym, Subject};

/// One change of the registry.
#[derive(Clone, Debug)]
pub enum Enrolment {
    /// Enrols a subject, or replaces all that is known of one by its pseudonym: kind, identifiers
    /// and consent.
    Upsert(Subject),
    /// A subject's consent is withdrawn: it is recognised no longer, and what was learned about it
    /// is forgotten.
    Withdraw(Pseudonym),
}

/// What became of changes of the registry.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EnrolmentReport {
    /// Subjects that are enrolled now and were not.
    pub added: u64,
    /// Subjects of whom something else is known now.
    pub changed: u64,
    /// Subjects that are enrolled no longer.
    pub withdrawn: u64,
    /// Withdrawals of subjects that were not enrolled: nothing was to be done.
    pub unknown: u64,
    /// Visits of withdrawn subjects that were open and are closed, without an event.
    pub visits_closed: u64,
    /// The changes that were refused; each left everything as it was.
    pub refused: Vec<Refusal>,
}

/// A change that was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Whom it was about.
    pub subject: Pseudonym,
    /// Why.
    pub why: AmbiguousRegistry,
}
