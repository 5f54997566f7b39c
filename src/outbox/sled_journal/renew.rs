//! When a store is written anew: to be rid of what was erased, and to become small again.

use std::{error::Error, fs::File, io, mem};

use tracing::{info, warn};

use crate::outbox::{OutboxError, Scrub};

use super::{SledJournal, count_blobs, rebuild::Rebuild, stored::Head};

/// Where the renewal of a store stands.
#[derive(Default)]
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
    /// Replaces an empty store whose log has grown large.
    pub(super) fn shrink(&mut self) -> Result<(), OutboxError> {
        let size = self.size_on_disk().unwrap_or(0);
        if self.staged.holdings.all().records > 0
            || size <= self.options.shrink_above
            || !matches!(self.renewal, Renewal::Idle)
        {
            return Ok(());
        }
        let renewed = match Rebuild::begin(&self.place, &self.options) {
            Ok(rebuild) => self.renew_with(rebuild)?,
            Err(cause) => Err(cause),
        };
        match renewed {
            // Without records there is only one part.
            Ok(_) => info!(bytes = size, "The emptied outbox was made smaller."),
            Err(cause) => {
                warn!(cause, bytes = size, "The emptied outbox could not be made smaller.");
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
            Renewal::Idle if !self.head.owes_scrub => return Ok(Scrub::Done),
            Renewal::Idle => Rebuild::begin(&self.place, &self.options),
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
        let staged = &self.staged;
        let repeated = rebuild.repeat(staged.removals.iter(), &staged.replaced, staged.owes_scrub);
        if let Err(cause) = repeated {
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
        match rebuild.copy(&self.db)? {
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
        let head = Head { owes_scrub: rebuild.owes_scrub, ..self.head };
        let db = match rebuild.finish(&self.db, head, &self.place, number)? {
            Ok(db) => db,
            Err(cause) => return Ok(Err(cause)),
        };
        let path = self.place.store(number);
        let opened = |error: io::Error| OutboxError::Commit(error.into());
        self.log = match &self.log {
            Some(_) => Some(File::open(path.join("db")).map_err(opened)?),
            None => None,
        };
        self.blobs = count_blobs(&path).map_err(opened)?;
        self.db = db;
        let owed = self.head.owes_scrub;
        (self.number, self.path, self.head, self.stale) = (number, path, head, stale);
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
