//! Which addresses are known to be members', and which members may be believed.
//!
//! Matches in, whether one match is enough out. A stranger fits a key by chance, so where many
//! keys meet many strangers a subject stays provisional until a second, different address or
//! another identifier confirms it.

use std::{collections::HashMap, time::Duration};

use rustc_hash::FxBuildHasher;

use super::{ADDRESS_LIFE, SubjectIndex, Uptime};

/// How long one recognition speaks for the next: within it a second address confirms the first,
/// and for so long after it was last heard a subject stays confirmed.
///
/// An address lasts a quarter of an hour, so an hour holds four, and a short walk outside. It is no
/// longer than that, because a confirmed subject that has left is one whom a stranger can be
/// taken for: with 1,000 members a day in a shop that is open for twelve hours, 83 have left
/// within the last hour, and 83 x 20,000 strangers / 2^24 are 0.1 such mistakes a day. A day
/// instead of an hour would make it 1.2. Two chance fits of one key within an hour are rarer:
/// with 10,000 keys, one in 1,700 days.
pub(super) const CONFIRMATION_LIFE: Duration = Duration::from_hours(1);

/// Of so many addresses of a subject the latest are known: several devices, each with the address
/// it has and the one it had. Whoever owns a key can make as many as they like.
const ADDRESSES: usize = 8;

/// The members that were seen lately, by their keys.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Fingerprints of addresses that are known to be a subject's; the same as in `known`.
    addresses: HashMap<u64, SubjectIndex, FxBuildHasher>,
    known: HashMap<SubjectIndex, Known, FxBuildHasher>,
    swept: Uptime,
}

/// What is known of a subject.
#[derive(Debug, Default)]
struct Known {
    /// Fingerprints of the latest addresses, at most [`ADDRESSES`], and when each was last heard.
    /// Not an array in here, whose unused part would keep what lay on the stack.
    addresses: Vec<(u64, Uptime)>,
    confirmed: bool,
    /// When it was last heard, by whatever identifier.
    heard: Uptime,
}

// === impl Members ===

impl Members {
    /// Whose address it is, if that is known.
    pub(super) fn find(&mut self, now: Uptime, fingerprint: u64) -> Option<SubjectIndex> {
        let subject = *self.addresses.get(&fingerprint)?;
        let known = self.known.get_mut(&subject)?;
        let (_, heard) = known.addresses.iter_mut().find(|(other, _)| *other == fingerprint)?;
        if now.since(*heard) > CONFIRMATION_LIFE {
            // Unheard for so long, it may be anybody's again: the keys have to say.
            known.addresses.retain(|(other, _)| *other != fingerprint);
            self.addresses.remove(&fingerprint);
            return None;
        }
        *heard = now;
        known.hear(now);
        Some(subject)
    }

    /// A subject's key fits a new address. Not part of its caller, so that what was left on the
    /// stack can be cleared from there.
    #[inline(never)]
    pub(super) fn note(&mut self, now: Uptime, fingerprint: u64, subject: SubjectIndex) {
        self.sweep(now);
        let known = self.known.entry(subject).or_default();
        known.hear(now);
        known.confirmed |= known
            .addresses
            .iter()
            .any(|(other, at)| *other != fingerprint && now.since(*at) <= CONFIRMATION_LIFE);
        if known.addresses.len() >= ADDRESSES {
            let (oldest, _) = known.addresses.remove(0);
            self.addresses.remove(&oldest);
        }
        known.addresses.push((fingerprint, now));
        self.addresses.insert(fingerprint, subject);
    }

    /// The subject was recognised beyond doubt by another identifier.
    pub(super) fn confirm(&mut self, now: Uptime, subject: SubjectIndex) {
        let known = self.known.entry(subject).or_default();
        known.hear(now);
        known.confirmed = true;
    }

    /// Whether one match is enough.
    pub(super) fn is_confirmed(&self, now: Uptime, subject: SubjectIndex) -> bool {
        let known = self.known.get(&subject);
        known.is_some_and(|known| known.confirmed && known.is_fresh(now))
    }

    /// Forgets all about a subject.
    pub(super) fn forget(&mut self, subject: SubjectIndex) {
        for (fingerprint, _) in self.known.remove(&subject).into_iter().flat_map(|it| it.addresses)
        {
            self.addresses.remove(&fingerprint);
        }
    }

    /// Forgets who was not heard for long, every now and then.
    fn sweep(&mut self, now: Uptime) {
        if now.since(self.swept) < ADDRESS_LIFE {
            return;
        }
        self.swept = now;
        let addresses = &mut self.addresses;
        self.known.retain(|_, known| {
            known.addresses.retain(|(fingerprint, heard)| {
                let stays = now.since(*heard) <= CONFIRMATION_LIFE;
                if !stays {
                    addresses.remove(fingerprint);
                }
                stays
            });
            known.is_fresh(now)
        });
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.addresses.len()
    }
}

// === impl Known ===

impl Known {
    fn is_fresh(&self, now: Uptime) -> bool {
        now.since(self.heard) <= CONFIRMATION_LIFE
    }

    fn hear(&mut self, now: Uptime) {
        self.confirmed &= self.is_fresh(now);
        self.heard = self.heard.max(now);
    }
}
