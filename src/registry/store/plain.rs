//! What is sealed for a subject: who enrolled it (one byte), and its line of the registry file.

use zeroize::Zeroizing;

use super::{
    Source,
    error::RegistryStoreError,
    generation::Generation,
    layout::{self, Hash, MOST, place},
};
use crate::{
    engine::Subject,
    registry::{self, form},
    seal::{OVERHEAD, SealError, Sealer},
};

/// The bytes to be sealed.
pub(super) fn encode(
    subject: &Subject,
    source: Source,
) -> Result<Zeroizing<Vec<u8>>, RegistryStoreError> {
    let mut plain = Zeroizing::new(Vec::with_capacity(1024));
    plain.push(source.octet());
    form::write(subject, &mut plain);
    let found = plain.len() + OVERHEAD + size_of::<u32>();
    if found > MOST {
        let what = format!("the subject `{}` with all its identifiers", subject.pseudonym);
        return Err(RegistryStoreError::TooBig { what, found, most: MOST });
    }
    Ok(plain)
}

/// The subject in the bytes; `None` for what this version does not understand.
pub(super) fn decode(plain: &[u8]) -> Option<(Subject, Source)> {
    let (&source, line) = plain.split_first()?;
    Some((registry::subject_from_line(line)?, Source::of(source)?))
}

/// The line of the registry file in the bytes.
pub(super) fn line(plain: &[u8]) -> &[u8] {
    plain.split_first().map_or(&[], |(_, line)| line)
}

/// Opens a subject's value.
pub(super) fn open(
    generation: &Generation,
    hash: Hash,
    value: &[u8],
    sealer: &Sealer,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (slot, text) = layout::split_subject(value).ok_or(SealError::Form)?;
    let salt = generation.salts.get(slot).ok_or(SealError::Damaged)?;
    sealer.open_salted(&place(generation.number, &hash.subject()), salt, text)
}
