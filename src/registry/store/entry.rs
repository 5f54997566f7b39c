//! How the store is opened: a directory and a key in; a store that was read through out, or why there
//! is none. One that cannot be read is set aside.

use std::{collections::BTreeSet, path::Path};

use tracing::error;

use super::{
    RegistryStore, RegistryStoreError,
    contents::{self, Contents},
    error::Cause as Why,
    generation::{Generation, Survey, Trouble},
    layout::{HEAD, Head, LAYOUT, META, Meta},
    place::{Place, at},
    salts, stamp,
};
use crate::{
    clock::Clock,
    seal::{KeySource, SealError, Sealer},
};

/// What to do when there is no store.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Absent {
    /// Nothing.
    Leave,
    /// Begin one, unless one was lost.
    Begin,
    /// Begin one also after a loss.
    BeginAfterLoss,
}

impl RegistryStore {
    /// Opens the registry in a state directory; begins an empty one, and makes a key if there is
    /// none, where there was never a registry. Waits up to half a minute for another process.
    ///
    /// A store that cannot be read is set aside, which is an error, now and each time until another
    /// has taken its place.
    pub fn open(
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
    ) -> Result<Self, RegistryStoreError> {
        let place = Place::enter(state_dir)?;
        Self::enter(place, state_dir, keys, clock, Absent::Begin)
    }

    /// Like [`Self::open`], also where a registry was lost. It is empty, and stays an error to
    /// everybody else until [`Self::replace`] has filled it.
    pub fn open_after_loss(
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
    ) -> Result<Self, RegistryStoreError> {
        let place = Place::enter(state_dir)?;
        Self::enter(place, state_dir, keys, clock, Absent::BeginAfterLoss)
    }

    /// Opens the registry if there is one; makes nothing, and sets nothing aside.
    pub fn open_existing(
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
    ) -> Result<Option<Self>, RegistryStoreError> {
        let Some(place) = Place::enter_existing(state_dir)? else { return Ok(None) };
        if place.lost()?.is_none() && place.live()?.is_none() {
            return Ok(None);
        }
        Self::enter(place, state_dir, keys, clock, Absent::Leave).map(Some)
    }

    fn enter(
        place: Place,
        state_dir: &Path,
        keys: &KeySource,
        clock: Clock,
        absent: Absent,
    ) -> Result<Self, RegistryStoreError> {
        let lost = place.lost()?;
        if let (Some(why), false) = (&lost, absent == Absent::BeginAfterLoss) {
            return Err(RegistryStoreError::Lost { dir: place.dir.clone(), why: why.clone() });
        }
        if let Some(number) = place.live()? {
            return Self::adopt(place, (number, absent), keys, clock, lost.is_some());
        }
        let sealer = keys.load_or_make()?.sealer;
        let mut meta = Meta::new(&sealer).map_err(RegistryStoreError::Seal)?;
        meta.changes = stamp(state_dir).unwrap_or_default();
        let number = place.next_after_loss()?;
        let empty = Contents::empty();
        let (generation, _) =
            contents::write(&place, (None, number), &empty, &mut meta, &sealer, &mut |_| ())?;
        place.clean(number);
        let keys = BTreeSet::from([sealer.current()]);
        Ok(Self { generation, meta, keys, sealer, lost: lost.is_some(), clock, place })
    }

    fn adopt(
        place: Place,
        (number, absent): (u64, Absent),
        keys: &KeySource,
        clock: Clock,
        lost: bool,
    ) -> Result<Self, RegistryStoreError> {
        let opened = match Generation::open(&place.store(number), number) {
            Ok(generation) => read_through(generation, &place.dir, keys),
            Err(trouble) => Err(trouble),
        };
        let (generation, meta, survey, sealer) = match opened {
            Ok(opened) => opened,
            Err(Trouble::Around(error)) => return Err(error),
            Err(Trouble::Store(source)) if absent == Absent::Leave => {
                return Err(RegistryStoreError::Unreadable { dir: place.dir.clone(), source });
            }
            Err(Trouble::Store(why)) => return Err(set_aside(&place, number, clock, why)),
        };
        place.clean(number);
        Ok(Self { generation, meta, keys: survey.keys, sealer, lost, clock, place })
    }
}

/// Reads everything that must be right before anybody relies on a store.
fn read_through(
    mut generation: Generation,
    dir: &Path,
    keys: &KeySource,
) -> Result<(Generation, Meta, Survey, Sealer), Trouble> {
    let head = generation.get(HEAD)?.ok_or("it has no head")?;
    let head = Head::decode(&head).ok_or("its head cannot be understood")?;
    if head.layout > LAYOUT {
        let dir = dir.to_owned();
        return Err(RegistryStoreError::NewerLayout { dir, found: head.layout }.into());
    }
    if head.layout < LAYOUT {
        return Err("its layout does not exist".into());
    }
    let wrong_key = |number, other| {
        Trouble::Around(RegistryStoreError::WrongKey { dir: dir.to_owned(), number, other })
    };
    let keys = keys.load().map_err(RegistryStoreError::from)?;
    let sealer = keys.ok_or_else(|| wrong_key(head.key, false))?.sealer;
    match sealer.proof(head.key) {
        None => return Err(wrong_key(head.key, false)),
        Some(proof) if proof != head.proof => return Err(wrong_key(head.key, true)),
        Some(_) => (),
    }
    let meta = generation.get(META)?.ok_or("what it is about is missing")?;
    let meta = match Meta::open(&meta, generation.number, &sealer) {
        Ok(meta) => meta,
        Err(SealError::NoKey { number }) => return Err(wrong_key(number, false)),
        Err(error) => return Err(Trouble::Store(error.into())),
    };
    let survey = generation.survey()??;
    let unknown = survey.keys.iter().find(|&&number| sealer.proof(number).is_none());
    if let Some(&number) = unknown {
        return Err(wrong_key(number, false));
    }
    if survey.tombstones < meta.withdrawn {
        return Err("withdrawals have vanished from it".into());
    }
    if survey.subjects < meta.subjects {
        let missing = meta.subjects - survey.subjects;
        error!(missing, "Subjects have vanished from the registry; check the disk.");
    }
    generation.with_salts(salts::Salts::erase_unused)?;
    Ok((generation, meta, survey, sealer))
}

fn set_aside(place: &Place, number: u64, clock: Clock, why: Why) -> RegistryStoreError {
    match place.set_aside(number, clock.wall().unix, &why.to_string()) {
        Ok(aside) => {
            error!(
                why,
                path = %aside.display(),
                "The registry could not be read and was set aside; nobody is recognised until \
                 there is another."
            );
            RegistryStoreError::Damaged { aside, source: why }
        }
        Err(error) => at(&place.dir)(error),
    }
}

impl From<RegistryStoreError> for Trouble {
    fn from(error: RegistryStoreError) -> Self {
        Self::Around(error)
    }
}

impl From<&'static str> for Trouble {
    fn from(what: &'static str) -> Self {
        Self::Store(what.into())
    }
}
