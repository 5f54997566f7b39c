//! Where a store's life begins and ends: its epoch is remembered, a fresh one gets the next, one of
//! an older layout is written anew, and one that cannot be read is set aside after what can be saved
//! from it was.

use std::error::Error;

use tracing::{error, info};

use crate::{
    clock::Clock,
    outbox::{OutboxError, Quarantined, Sequence},
    seal::KeySource,
};

use super::{
    StoreOptions,
    head::Head,
    legacy::Legacy,
    open::{self, Trouble},
    place::{self, Place},
    rebuild::Workshop,
    salvage::{self, Carved},
    volume::{Cause, Volume},
};

/// How many records of an older layout are written in one part.
const PART: usize = 1024;

/// A store that is live, and its number.
pub(super) type Live = (Volume, u64);

/// Takes over a store that was found in order.
pub(super) fn adopt(place: &Place, epoch: u32) -> Result<(), OutboxError> {
    let remembered = place.epoch().map_err(place::at(&place.dir))?;
    if !matches!(remembered, Ok(Some(known)) if known >= epoch) {
        place.set_epoch(epoch).map_err(place::at(&place.dir))?;
    }
    Ok(())
}

/// An epoch that was never used here, remembered from now on.
fn fresh_epoch(
    place: &Place,
    options: &StoreOptions,
    clock: Clock,
    had_one: bool,
) -> Result<u32, OutboxError> {
    let remembered = place.epoch().map_err(place::at(&place.dir))?;
    let epoch = match remembered {
        Ok(Some(epoch)) if epoch < u32::MAX => epoch + 1,
        Ok(None) if !had_one => options.first_epoch,
        // The number of the last epoch is lost. Seconds since 1970 are more than were ever counted
        // one by one.
        _ => u32::try_from(clock.wall().unix.as_millis().div_euclid(1000)).unwrap_or(u32::MAX),
    };
    // First the number, then the store: a crash in between costs a number and repeats none.
    place.set_epoch(epoch).map_err(place::at(&place.dir))?;
    Ok(epoch)
}

/// Begins an empty store under an epoch that was never used here.
pub(super) fn begin(
    place: &Place,
    options: &StoreOptions,
    keys: &KeySource,
    clock: Clock,
) -> Result<Live, OutboxError> {
    has_keys(place, keys)?;
    let epoch = fresh_epoch(place, options, clock, false)?;
    let head = Head::beginning(epoch, 0);
    let failed = |cause| failed(place, cause);
    let workshop = Workshop::begin(place, options, &head, 1).map_err(failed)?;
    let volume = workshop.install((Vec::new(), 0, false), place, 1, keys)?.map_err(failed)?;
    Ok((volume, 1))
}

/// Writes a store of an older layout anew. Until that is done the old one stays as it is.
pub(super) fn migrate(
    place: &Place,
    number: u64,
    legacy: &Legacy,
    options: &StoreOptions,
    keys: &KeySource,
) -> Result<Live, OutboxError> {
    has_keys(place, keys)?;
    adopt(place, legacy.epoch)?;
    let failed = |cause| failed(place, cause);
    let mut head = Head::beginning(legacy.epoch, 0);
    head.epoch = legacy.epoch;
    let first = legacy.first.map_or(legacy.last.saturating_add(1), |first| first.0);
    let mut workshop = Workshop::begin(place, options, &head, first).map_err(failed)?;
    let copied = (|| {
        let (mut after, mut count) = (None, 0);
        loop {
            let records = legacy.records(after, PART)?;
            let Some(last) = records.last().map(|held| held.sequence) else { break };
            (after, count) = (Some(last), count + records.len());
            workshop.add(&records, last.0)?;
        }
        Ok((legacy.kept()?, count))
    })();
    let (kept, records) = match copied {
        Ok(copied) => copied,
        Err(cause) => {
            workshop.abandon();
            return Err(failed(cause));
        }
    };
    let contents = (kept, legacy.last, legacy.owes_scrub);
    let volume = workshop.install(contents, place, number + 1, keys)?.map_err(failed)?;
    info!(records, "The outbox was written anew in the sealed form of this version.");
    Ok((volume, number + 1))
}

/// Begins a store in place of one that cannot be read, with what can be saved from that, and sets it
/// aside.
pub(super) fn succeed(
    place: &Place,
    number: u64,
    options: &StoreOptions,
    keys: &KeySource,
    clock: Clock,
    cause: &dyn Error,
) -> Result<(Live, Quarantined), OutboxError> {
    let log = place.store(number).join("db");
    let carved = if let Some(key) = open::key(place, number, keys)? {
        Some(salvage::carve(&log, key).map_err(place::at(&place.dir))?)
    } else {
        // It was made before stores were sealed.
        has_keys(place, keys)?;
        None
    };
    let before = place.epoch().map_err(place::at(&place.dir))?.ok().flatten();
    let epoch = fresh_epoch(place, options, clock, true)?;
    let failed = |cause| failed(place, cause);
    let (last, first) = carved.as_ref().map_or((0, 1), |carved| (carved.last(), carved.first()));
    let head = match carved.as_ref().and_then(|carved| carved.head.as_ref()) {
        Some(head) => head.succeeding(epoch, last),
        None => Head::beginning(before.unwrap_or(epoch), 0).succeeding(epoch, last),
    };
    let mut workshop = Workshop::begin(place, options, &head, first).map_err(failed)?;
    // What is owed to those who withdrew is owed by the fresh store; with that, the old one goes too.
    let owes_scrub = carved.as_ref().is_some_and(Carved::owes_scrub);
    let again = carved.as_ref().map_or(0, Carved::doubtful);
    let mut saved = (Vec::new(), 0);
    if let Some(carved) = carved {
        match carved.save_into(&mut workshop) {
            Ok(contents) => saved = contents,
            Err(cause) => {
                workshop.abandon();
                return Err(failed(cause));
            }
        }
    }
    let (kept, records) = saved;
    let contents = (kept, last, owes_scrub);
    let volume = workshop.install(contents, place, number + 1, keys)?.map_err(failed)?;
    let path = place.set_aside(number, clock.wall().unix).map_err(place::at(&place.dir))?;
    let why = cause.to_string();
    error!(
        why,
        path = %path.display(),
        saved = records,
        perhaps_sent_before = again,
        "The outbox could not be read and was set aside; what could be saved from it is sent."
    );
    Ok(((volume, number + 1), Quarantined { path, why }))
}

/// Sees to it that there are keys to wrap a store's key with. Nothing here was wrapped with others.
fn has_keys(place: &Place, keys: &KeySource) -> Result<(), OutboxError> {
    let made = keys.load_or_make().map(drop);
    made.map_err(|source| OutboxError::Key { dir: place.dir.clone(), source })
}

fn failed(place: &Place, cause: Cause) -> OutboxError {
    OutboxError::Create { dir: place.dir.clone(), source: cause }
}

/// What is wrong with a store, for whoever does not want it set aside.
pub(super) fn refused(place: &Place, trouble: Trouble) -> OutboxError {
    match trouble {
        Trouble::Around(error) => error,
        Trouble::Store(source) => OutboxError::Damaged { dir: place.dir.clone(), source },
    }
}

/// The number behind a sequence.
pub(super) fn behind(after: Option<Sequence>) -> Sequence {
    Sequence(after.map_or(0, |after| after.0.saturating_add(1)))
}
