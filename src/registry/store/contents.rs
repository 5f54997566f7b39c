//! Writing a whole generation: what stays from the one before, what is new, and who withdrew.

use std::collections::BTreeMap;

use tracing::error;
use zeroize::Zeroizing;

use super::{
    RegistryStoreError, Source,
    error::Cause,
    generation::{Draft, Generation, Trouble},
    layout::{self, HEAD, Hash, Head, META, Meta, SUBJECT, TOMBSTONE, Tombstone},
    place::{Place, at},
    plain,
    salts::Salts,
};
use crate::{engine::Subject, seal::Sealer};

/// What a generation will hold.
pub(super) struct Contents<'a> {
    pub(super) subjects: BTreeMap<Hash, Item<'a>>,
    pub(super) tombstones: BTreeMap<Hash, Tombstone>,
}

/// Where a subject's entry comes from.
#[derive(Clone, Copy)]
pub(super) enum Item<'a> {
    /// From the generation before, as it is.
    Kept,
    /// From whoever changes the registry.
    Given(&'a Subject, Source),
}

impl<'a> Contents<'a> {
    pub(super) fn empty() -> Self {
        Self { subjects: BTreeMap::new(), tombstones: BTreeMap::new() }
    }

    /// Everything that a generation has.
    pub(super) fn of(
        generation: &Generation,
        sealer: &Sealer,
    ) -> Result<Contents<'a>, RegistryStoreError> {
        let mut contents = Self::empty();
        for item in generation.scan(SUBJECT) {
            if let Some(hash) = Hash::of_key(&item?.0) {
                contents.subjects.insert(hash, Item::Kept);
            }
        }
        contents.tombstones = tombstones(generation, sealer)?;
        Ok(contents)
    }
}

/// The withdrawals that a generation remembers. One that cannot be opened counts as one all the same:
/// that somebody withdrew is in its key.
pub(super) fn tombstones(
    generation: &Generation,
    sealer: &Sealer,
) -> Result<BTreeMap<Hash, Tombstone>, RegistryStoreError> {
    let mut tombstones = BTreeMap::new();
    for item in generation.scan(TOMBSTONE) {
        let (key, value) = item?;
        let Some(hash) = Hash::of_key(&key) else { continue };
        let opened = Tombstone::open(&value, generation.number, hash, sealer);
        let unknown = Tombstone { when_ms: i64::MAX, synced: false, command: None };
        tombstones.insert(hash, opened.unwrap_or(unknown));
    }
    Ok(tombstones)
}

/// Writes a generation and makes it the live one. Returns it open, and how many entries of the one
/// before could not be read and are therefore not in it.
pub(super) fn write(
    place: &Place,
    (before, number): (Option<&Generation>, u64),
    contents: &Contents<'_>,
    meta: &mut Meta,
    sealer: &Sealer,
    progress: &mut dyn FnMut(u64),
) -> Result<(Generation, u64), RegistryStoreError> {
    let failed = |cause: Cause| match cause.downcast::<RegistryStoreError>() {
        Ok(error) => *error,
        Err(cause) => RegistryStoreError::Write(cause),
    };
    let unreadable = draft(place, (before, number), contents, meta, sealer, progress);
    let unreadable = unreadable.map_err(failed)?;
    place.install(number).map_err(at(&place.dir))?;
    let mut generation = match Generation::open(&place.store(number), number) {
        Ok(generation) => generation,
        Err(Trouble::Around(error)) => return Err(error),
        Err(Trouble::Store(cause)) => return Err(RegistryStoreError::Write(cause)),
    };
    let survey = generation.survey()?.map_err(|what| RegistryStoreError::Write(what.into()))?;
    if survey.subjects != meta.subjects || survey.tombstones != meta.withdrawn {
        return Err(RegistryStoreError::Write("it was not written as it was meant".into()));
    }
    // Entries that could not be read have left their slots behind.
    generation.with_salts(Salts::erase_unused)?;
    Ok((generation, unreadable))
}

fn draft(
    place: &Place,
    (before, number): (Option<&Generation>, u64),
    contents: &Contents<'_>,
    meta: &mut Meta,
    sealer: &Sealer,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Cause> {
    let workshop = place.workshop()?;
    let salts = Salts::create(&workshop, contents.subjects.len(), sealer)?;
    let mut draft = Draft::begin(&workshop)?;
    let (mut done, mut unreadable) = (0, 0);
    // In the order of the keys, so that sled fills one page after another.
    for (slot, (&hash, item)) in (0..).zip(&contents.subjects) {
        let plain = match (item, before) {
            (Item::Given(subject, source), _) => Some(plain::encode(subject, *source)?),
            (Item::Kept, Some(before)) => kept(before, hash, sealer)?,
            (Item::Kept, None) => None,
        };
        match (plain, salts.get(slot)) {
            (Some(plain), Some(salt)) => {
                let value = layout::seal_subject((number, hash), (slot, salt), &plain, sealer)?;
                draft.put(&hash.subject(), value)?;
            }
            _ => unreadable += 1,
        }
        done += 1;
        progress(done);
    }
    for (&hash, tombstone) in &contents.tombstones {
        draft.put(&hash.tombstone(), tombstone.seal(number, hash, sealer)?)?;
    }
    meta.subjects = done - unreadable;
    meta.withdrawn = u64::try_from(contents.tombstones.len())?;
    draft.put(META, meta.seal(number, sealer)?)?;
    draft.put(HEAD, Head::of(sealer).encode())?;
    draft.finish()?;
    if unreadable > 0 {
        error!(
            entries = unreadable,
            "Entries of the registry could not be read and are left out; enrol those subjects again."
        );
    }
    Ok(unreadable)
}

fn kept(
    before: &Generation,
    hash: Hash,
    sealer: &Sealer,
) -> Result<Option<Zeroizing<Vec<u8>>>, Cause> {
    let Some(value) = before.get(&hash.subject())? else { return Ok(None) };
    Ok(plain::open(before, hash, &value, sealer).ok())
}
