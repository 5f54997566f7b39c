//! Refusals that may pass in; which subjects wait apart so that others go on out. Pure.
//!
//! A broker that takes nothing for now (a quota) and one that does not take this (no right to a
//! topic, one full queue) say the same. So after a refusal the line is held; then the same record
//! is tried alone, twice, and when it is refused again, one about somebody else. If that is accepted, the
//! line is well, and what is about the first waits apart for a while. If not, it is the line.

use std::{collections::BTreeMap, time::Duration};

use crate::{engine::Uptime, outbox::Tag};

/// So many refusals, with none about others accepted in between, and somebody else is tried.
const STRIKES: u32 = 3;

/// So many are tried before it is certain that it is the line; and so many may wait apart.
const MOST: usize = 8;

/// How long somebody waits apart. What is passed over meanwhile is gone through again then.
const APART: Duration = Duration::from_mins(1);

/// Who waits apart, and who is suspected to have to.
#[derive(Debug, Default)]
pub(in crate::uplink) struct Apart {
    suspects: BTreeMap<Tag, u32>,
    waiting: BTreeMap<Tag, Uptime>,
    /// Somebody is passed over no longer: what was passed over has to be gone through again.
    freed: bool,
}

impl Apart {
    /// The broker put off a record about this one, the only one under way or the first of a window.
    pub(in crate::uplink) fn refused(&mut self, about: Option<Tag>) {
        let Some(tag) = about else { return };
        if !self.suspects.contains_key(&tag) && self.suspects.len() >= MOST {
            self.suspects.clear();
            self.freed = true;
        }
        let strikes = self.suspects.entry(tag).or_default();
        *strikes = strikes.saturating_add(1);
    }

    /// The broker has accepted a record about this one, and puts nothing off.
    pub(in crate::uplink) fn accepted(&mut self, about: Option<Tag>, now: Uptime) {
        if self.suspects.is_empty() {
            return;
        }
        let struck = about.and_then(|tag| self.suspects.remove(&tag));
        self.freed |= struck.is_some_and(|strikes| strikes >= STRIKES);
        let Self { suspects, waiting, .. } = self;
        // One that was refused once keeps its strike: what is new goes first and proves little.
        suspects.retain(|tag, strikes| {
            let condemned = *strikes >= STRIKES && waiting.len() < MOST;
            if condemned {
                waiting.insert(*tag, now + APART);
            }
            !condemned
        });
    }

    /// Who is to be passed over.
    pub(in crate::uplink) fn passed_over(&self) -> impl Iterator<Item = Tag> {
        let suspects = self.suspects.iter().filter(|(_, strikes)| **strikes >= STRIKES);
        suspects.map(|(tag, _)| *tag).chain(self.waiting.keys().copied())
    }

    /// There is nobody else to try: nobody is suspected any more.
    pub(in crate::uplink) fn nobody_else(&mut self) {
        let before = self.suspects.len();
        self.suspects.retain(|_, strikes| *strikes < STRIKES);
        self.freed |= self.suspects.len() < before;
    }

    /// When the first one is to be tried again.
    pub(in crate::uplink) fn next_release(&self) -> Option<Uptime> {
        self.waiting.values().min().copied()
    }

    /// Lets those go whose time has come.
    pub(in crate::uplink) fn release(&mut self, now: Uptime) {
        let before = self.waiting.len();
        self.waiting.retain(|_, until| *until > now);
        self.freed |= self.waiting.len() < before;
    }

    /// Whether somebody was freed since it was last [taken](Self::take_freed).
    pub(in crate::uplink) fn has_freed(&self) -> bool {
        self.freed
    }

    /// The same, once.
    pub(super) fn take_freed(&mut self) -> bool {
        std::mem::take(&mut self.freed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Option<Tag> = Some(Tag(1));
    const B: Option<Tag> = Some(Tag(2));

    fn passed_over(apart: &Apart) -> Vec<u64> {
        apart.passed_over().map(|tag| tag.0).collect()
    }

    fn refuse(apart: &mut Apart, about: Option<Tag>, times: u32) {
        (0..times).for_each(|_| apart.refused(about));
    }

    #[test]
    fn one_refused_again_and_again_makes_way_and_waits_apart_once_somebody_else_is_accepted() {
        let mut apart = Apart::default();
        refuse(&mut apart, A, 2);
        assert_eq!(passed_over(&apart), [0; 0], "it is tried once more");
        apart.refused(A);
        assert_eq!((passed_over(&apart), apart.next_release()), (vec![1], None));
        apart.accepted(B, Uptime::ZERO);
        let release = apart.next_release().unwrap();
        assert_eq!((passed_over(&apart), release), (vec![1], Uptime::ZERO + APART));
        apart.release(Uptime::ZERO);
        assert!(!apart.has_freed());
        apart.release(release);
        assert_eq!((passed_over(&apart), apart.take_freed()), (vec![], true));
    }

    #[test]
    fn a_strike_is_not_forgotten_for_what_is_accepted_in_between() {
        let mut apart = Apart::default();
        refuse(&mut apart, A, 2);
        apart.accepted(B, Uptime::ZERO);
        apart.refused(A);
        assert_eq!(passed_over(&apart), [1]);
    }

    #[test]
    fn when_everybody_is_refused_nobody_waits_apart() {
        let mut apart = Apart::default();
        for tag in 1..=8 {
            refuse(&mut apart, Some(Tag(tag)), 3);
        }
        assert_eq!(passed_over(&apart).len(), 8);
        apart.refused(Some(Tag(9)));
        assert_eq!(passed_over(&apart), [0; 0], "it is the line; the oldest is tried again");
        assert!(apart.take_freed() && !apart.take_freed());
        refuse(&mut apart, Some(Tag(9)), 2);
        apart.nobody_else();
        assert!(apart.take_freed(), "9 is tried again");
        apart.nobody_else();
        assert!(!apart.has_freed());
        apart.accepted(A, Uptime::ZERO);
        assert_eq!(apart.next_release(), None);
    }

    #[test]
    fn one_refused_and_then_accepted_does_not_wait() {
        let mut apart = Apart::default();
        refuse(&mut apart, A, 3);
        apart.accepted(A, Uptime::ZERO);
        assert_eq!((passed_over(&apart), apart.next_release()), (vec![], None));
        assert!(apart.take_freed());
        apart.refused(None);
        apart.nobody_else();
        assert!(!apart.has_freed(), "what is about nobody has nobody to wait for");
    }
}
