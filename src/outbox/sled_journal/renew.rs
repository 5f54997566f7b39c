//! When a store is written anew: to be rid of what was erased, and to become small again after a
//! large drain.

use std::{error::Error, fs::File, io, mem};

use tracing::{info, warn};

use crate::outbox::{OutboxError, Scrub};

use super::{SledJournal, count_blobs, rebuild::Rebuild};

/// Where the renewal of a store stands.
#[derive(Default)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a journal")]
pub(super) enum Renewal {
    /// Nothing is going on.
    #[default]
    Idle,
    /// A new store is being written.
    Underway(Rebuild),
    /// The new store could not keep up with a commit of the old one; whoever does the next part is
    /// to be told.
    Failed,
}

impl SledJournal {
    /// Writes a part of a new store in place of one that has grown large and holds little. What is
    /// small is done at once.
    pub(super) fn shrink(&mut self) -> Result<(), OutboxError> {
        let size = self.size_on_disk().unwrap_or(0);
        let rebuild = match &self.renewal {
            // It is a part of what is owed, which is paid in its own time.
            _ if self.volume.head.owes_scrub => return Ok(()),
            Renewal::Underway(_) => match mem::take(&mut self.renewal) {
                Renewal::Underway(rebuild) => Ok(rebuild),
                Renewal::Idle | Renewal::Failed => return Ok(()),
            },
            Renewal::Idle if size > self.options.shrink_above && self.volume.is_sparse(size) => {
                Rebuild::begin(&self.place, &self.options, &self.volume)
            }
            Renewal::Idle => return Ok(()),
            Renewal::Failed => Err("the new store could not keep up".into()),
        };
        let renewed = match rebuild {
            Ok(rebuild) => self.renew_with(rebuild)?,
            Err(cause) => Err(cause),
        };
        match renewed {
            Ok(false) => {}
            Ok(true) => info!(
                before = size,
                bytes = self.size_on_disk().unwrap_or(0),
                "The outbox, which holds little now, was made smaller."
            ),
            Err(cause) => {
                warn!(cause, bytes = size, "The outbox could not be made smaller.");
                self.renewal = Renewal::Idle;
                self.options.shrink_above = u64::MAX;
            }
        }
        Ok(())
    }

    /// Writes a part of the new store that is free of what was erased, if that is owed.
    pub(super) fn renew_a_part(&mut self) -> Result<Scrub, OutboxError> {
        if self.failed {
            return Err(OutboxError::Unusable);
        }
        let rebuild = match mem::take(&mut self.renewal) {
            Renewal::Underway(rebuild) => Ok(rebuild),
            Renewal::Failed => return Ok(Scrub::Failed),
            Renewal::Idle if !self.volume.head.owes_scrub => return Ok(Scrub::Done),
            Renewal::Idle => Rebuild::begin(&self.place, &self.options, &self.volume),
        };
        self.failed = true;
        let renewed = match rebuild {
            Ok(rebuild) => self.renew_with(rebuild)?,
            Err(cause) => Err(cause),
        };
        self.failed = false;
        match renewed {
            Ok(false) => Ok(Scrub::Underway),
            Ok(true) => Ok(Scrub::Done),
            Err(cause) => {
                warn!(
                    cause,
                    "What was erased could not be removed from the files of the outbox; is the disk full?"
                );
                Ok(Scrub::Failed)
            }
        }
    }

    /// Repeats a commit in the new store. Its failure is not the old one's.
    pub(super) fn repeat_in_renewal(&mut self) {
        let Renewal::Underway(rebuild) = &mut self.renewal else { return };
        if let Err(cause) = rebuild.repeat(&self.staged, self.lost_is_told) {
            warn!(cause, "The renewal of the outbox failed.");
            if let Renewal::Underway(rebuild) = mem::replace(&mut self.renewal, Renewal::Failed) {
                rebuild.abandon();
            }
        }
    }

    /// Goes on with a renewal. Returns whether that was the end of it; an inner error leaves the
    /// old store as it is.
    fn renew_with(
        &mut self,
        mut rebuild: Rebuild,
    ) -> Result<Result<bool, Box<dyn Error + Send + Sync>>, OutboxError> {
        match rebuild.copy(&mut self.volume)? {
            Ok(true) => {}
            Ok(false) => {
                self.renewal = Renewal::Underway(rebuild);
                return Ok(Ok(false));
            }
            Err(cause) => {
                rebuild.abandon();
                return Ok(Err(cause));
            }
        }
        let (number, stale) = (self.number + 1, rebuild.stale);
        let unreadable = mem::take(&mut rebuild.unreadable);
        let volume = match rebuild.finish(&self.volume, &self.place, number, &self.keys)? {
            Ok(volume) => volume,
            Err(cause) => return Ok(Err(cause)),
        };
        let path = self.place.store(number);
        let opened = |error: io::Error| OutboxError::Commit(error.into());
        self.log = match &self.log {
            Some(_) => Some(File::open(path.join("db")).map_err(opened)?),
            None => None,
        };
        self.blobs = count_blobs(&path).map_err(opened)?;
        let owed = self.volume.head.owes_scrub;
        self.volume = volume;
        (self.number, self.path, self.stale) = (number, path, stale);
        for (sequence, (class, standing, size)) in unreadable {
            self.damaged.remove(&sequence);
            if !self.staged.removals.contains(&sequence) {
                let standing = self.staged.standing_of(sequence).unwrap_or(standing);
                self.staged.holdings.of(class, standing).take(size);
            }
        }
        if !self.place.clean(number) && owed {
            // To be tried again.
            self.stale = true;
            self.staged.owe_scrub();
        }
        if owed {
            self.forget_what_was_set_aside();
        }
        Ok(Ok(true))
    }

    fn forget_what_was_set_aside(&self) {
        match self.place.forget_aside() {
            Ok(0) => {}
            Ok(stores) => warn!(
                stores,
                "Outboxes that could not be read and had been set aside were removed, because \
                 something was erased that they may hold."
            ),
            Err(error) => warn!(%error, "An outbox that was set aside could not be removed."),
        }
    }
}
