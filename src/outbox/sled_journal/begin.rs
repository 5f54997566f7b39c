//! Where a store's life begins and ends: its epoch is remembered, a fresh one gets the next, and one
//! that cannot be read is set aside.

use std::error::Error;

use tracing::error;

use crate::{
    clock::Clock,
    outbox::{OutboxError, Quarantined},
};

use super::{
    StoreOptions,
    open::{self, Found, Trouble},
    place::{self, Place},
    stored::{Head, LAYOUT},
};

/// Takes over a store that was found in order.
pub(super) fn adopt(place: &Place, found: Found) -> Result<Found, OutboxError> {
    let remembered = place.epoch().map_err(place::at(&place.dir))?;
    if !matches!(remembered, Ok(Some(epoch)) if epoch >= found.head.epoch) {
        place.set_epoch(found.head.epoch).map_err(place::at(&place.dir))?;
    }
    Ok(found)
}

/// Begins a fresh store under an epoch that was never used here.
pub(super) fn begin(
    place: &Place,
    number: u64,
    options: &StoreOptions,
    clock: Clock,
    had_one: bool,
) -> Result<Found, OutboxError> {
    let dir = &place.dir;
    let failed = |source| OutboxError::Create { dir: dir.clone(), source };
    let remembered = place.epoch().map_err(place::at(dir))?;
    let epoch = match remembered {
        Ok(Some(epoch)) if epoch < u32::MAX => epoch + 1,
        Ok(None) if !had_one => options.first_epoch,
        // The number of the last epoch is lost. Seconds since 1970 are more than were ever counted
        // one by one.
        _ => u32::try_from(clock.wall().unix.as_millis().div_euclid(1000)).unwrap_or(u32::MAX),
    };
    // First the number, then the store: a crash in between costs a number and repeats none.
    place.set_epoch(epoch).map_err(place::at(dir))?;
    let workshop = place.workshop().map_err(place::at(dir))?;
    let head = Head { layout: LAYOUT, epoch, last: 0, records: 0, owes_scrub: false };
    open::create(&workshop, head).map_err(failed)?;
    place.install(number).map_err(place::at(dir))?;
    match open::open(dir, &place.store(number), options.cache) {
        Ok(found) => Ok(found),
        Err(Trouble::Around(error)) => Err(error),
        Err(Trouble::Store(source)) => Err(failed(source)),
    }
}

/// Sets a store aside that cannot be read, and says so.
pub(super) fn set_aside(
    place: &Place,
    number: u64,
    clock: Clock,
    cause: &dyn Error,
) -> Result<Quarantined, OutboxError> {
    let path = place.set_aside(number, clock.wall().unix).map_err(place::at(&place.dir))?;
    let why = cause.to_string();
    error!(
        why,
        path = %path.display(),
        "The outbox could not be read and was set aside; what it held is not sent."
    );
    Ok(Quarantined { path, why })
}
