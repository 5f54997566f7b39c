//! A frame that is encrypted or signed and its sender's key in, what it says out. Total, and nothing
//! is allocated.
//!
//! Nearly all formats here have AES-128-CCM (RFC 3610), with a nonce of 11, 12 or 13 octets and a tag of
//! four, so that a wrong key, a changed frame or somebody else's passes once in 2^32. One has a tag of one
//! octet ([`open_early`]); its family looks at what comes out as well. Eddystone has AES-128-EAX with a tag
//! of two ([`open_timed`]): a wrong key passes once in 65,536 for each time that is tried.
//!
//! A key's schedule lies on the stack while a frame is looked at. It is cleared when it is dropped; what
//! it left where it was before it was moved is overwritten before anybody returns.

mod eax;

use aes::{
    Aes128, Aes128Dec,
    cipher::{BlockDecrypt, KeyInit},
};
use arrayvec::ArrayVec;
use ccm::{
    AeadInPlace, Ccm, NonceSize, TagSize,
    aead::generic_array::{ArrayLength, GenericArray},
    consts::{U4, U11, U12, U13, U16},
};
use zeroize::{Zeroize, Zeroizing};

use super::{BeaconClock, BindKey, Refusal, Stop};
use crate::forget;
use eax::Eax;

/// More than one AD structure holds.
const LARGEST: usize = 255;

/// How many octets a tag has.
pub(super) const TAG: usize = 4;

/// What was encrypted.
pub(super) type Plain = ArrayVec<u8, LARGEST>;

/// The key does not open it.
pub(super) const WRONG_KEY: Stop = Stop::Encrypted(Refusal::WrongKey);

/// The frame ends before its tag does.
pub(super) const TRUNCATED: Stop = Stop::Encrypted(Refusal::Truncated);

/// Opens AES-128-CCM. The parts of the nonce are joined; together they have 11 to 13 octets.
pub(super) fn open(
    key: &BindKey,
    nonce: &[&[u8]],
    associated: &[u8],
    content: &[u8],
    tag: [u8; TAG],
) -> Result<Plain, Stop> {
    let nonce: ArrayVec<u8, 13> = joined(nonce)?;
    let mut plain: Plain = joined(&[content])?;
    let opened = decrypt(key, &nonce, associated, &mut plain, tag);
    forget::burn_stack_above();
    if opened { Ok(plain) } else { Err(WRONG_KEY) }
}

/// Checks the signature of a message that is not encrypted: AES-128-CCM without content. The parts of the
/// message are joined, as are those of the nonce.
pub(super) fn verify(
    key: &BindKey,
    nonce: &[&[u8]],
    message: &[&[u8]],
    signature: [u8; TAG],
) -> Result<(), Stop> {
    let message: ArrayVec<u8, { LARGEST + 1 }> = joined(message)?;
    open(key, nonce, &message, &[], signature).map(|_| ())
}

/// Opens what `MiBeacon` encrypts up to version 3: AES-128-CCM with a tag of one octet, of which the first
/// block that is signed says that it has 16 (half of one less two, in three bits). A wrong key passes once
/// in 256.
///
/// A key of 12 octets has four more in its middle, which are always the same.
pub(super) fn open_early(
    key: &BindKey,
    nonce: &[&[u8]],
    associated: &[u8],
    content: &[u8],
    tag: u8,
) -> Result<Plain, Stop> {
    const MIDDLE: [u8; 4] = [0x8d, 0x3d, 0x3c, 0x97];
    let nonce: ArrayVec<u8, 13> = joined(nonce)?;
    let plain: Plain = joined(&[content])?;
    let mut whole = Zeroizing::new([0; 16]);
    let parts: [&[u8]; 3] = match key.octets().split_at_checked(6) {
        Some((begin, end @ [_, _, _, _, _, _])) => [begin, &MIDDLE, end],
        _ => [key.octets(), &[], &[]],
    };
    for (slot, octet) in whole.iter_mut().zip(parts.into_iter().flatten()) {
        *slot = *octet;
    }
    let opened = decrypt_early(&whole, &nonce, associated, plain, tag);
    forget::burn_stack_above();
    opened.ok_or(WRONG_KEY)
}

/// Opens what Eddystone encrypts: AES-128-EAX without a header, and a nonce of what the beacon's clock may
/// read and a salt. The first reading that fits counts.
pub(super) fn open_timed<const N: usize>(
    key: &BindKey,
    clock: BeaconClock,
    salt: [u8; 2],
    mut content: [u8; N],
    tag: [u8; 2],
) -> Result<[u8; N], Stop> {
    let opened = decrypt_timed(key, clock, salt, &mut content, tag);
    forget::burn_stack_above();
    if opened { Ok(content) } else { Err(WRONG_KEY) }
}

/// An address from its other end, as most formats have it in their frames and nonces.
pub(super) fn reversed(mut address: [u8; 6]) -> [u8; 6] {
    address.reverse();
    address
}

/// Decrypts one block of AES-128 with a key that is no secret.
pub(super) fn decrypt_block(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut block = block.into();
    Aes128Dec::new(key.into()).decrypt_block(&mut block);
    block.into()
}

/// In place; false, and zeros, where the tag is not that of the content. Not part of its caller, which
/// clears the stack that this uses.
#[inline(never)]
fn decrypt(key: &BindKey, nonce: &[u8], aad: &[u8], content: &mut [u8], tag: [u8; TAG]) -> bool {
    fn with<N: ArrayLength<u8> + NonceSize>(
        key: &BindKey,
        nonce: &[u8],
        aad: &[u8],
        content: &mut [u8],
        tag: [u8; TAG],
    ) -> bool {
        let (Some(cipher), Some(nonce)) = (ccm::<U4, N>(key.octets()), sized(nonce)) else {
            return false;
        };
        cipher.decrypt_in_place_detached(nonce, aad, content, &tag.into()).is_ok()
    }
    match nonce.len() {
        11 => with::<U11>(key, nonce, aad, content, tag),
        12 => with::<U12>(key, nonce, aad, content, tag),
        13 => with::<U13>(key, nonce, aad, content, tag),
        _ => false,
    }
}

/// In place; false where no reading of the clock fits.
#[inline(never)]
fn decrypt_timed(
    key: &BindKey,
    clock: BeaconClock,
    salt: [u8; 2],
    content: &mut [u8],
    tag: [u8; 2],
) -> bool {
    let Some(eax) = Eax::new(key.octets(), &[]) else { return false };
    clock.readings().any(|time| {
        let mut nonce = [0; 6];
        let octets = time.to_be_bytes().into_iter().chain(salt);
        nonce.iter_mut().zip(octets).for_each(|(slot, octet)| *slot = octet);
        eax.open(&nonce, content, &tag)
    })
}

/// Encrypting twice decrypts and makes the tag: with CCM both are the same but for what is signed.
#[inline(never)]
fn decrypt_early(
    key: &[u8; 16],
    nonce: &[u8],
    aad: &[u8],
    mut content: Plain,
    tag: u8,
) -> Option<Plain> {
    let (cipher, nonce) = (ccm::<U16, U13>(key)?, sized(nonce)?);
    cipher.encrypt_in_place_detached(nonce, aad, &mut content).ok()?;
    let mut again = content.clone();
    let made = cipher.encrypt_in_place_detached(nonce, aad, &mut again).ok()?;
    if made.first() == Some(&tag) {
        return Some(content);
    }
    content.as_mut_slice().zeroize();
    None
}

/// `None` for a key that has not 16 octets.
fn ccm<M, N>(key: &[u8]) -> Option<Ccm<Aes128, M, N>>
where
    M: ArrayLength<u8> + TagSize,
    N: ArrayLength<u8> + NonceSize,
{
    Ccm::new_from_slice(key).ok()
}

fn sized<N: ArrayLength<u8>>(octets: &[u8]) -> Option<&GenericArray<u8, N>> {
    (octets.len() == N::USIZE).then(|| GenericArray::from_slice(octets))
}

/// One after the other; malformed where there are more than fit, which no frame has.
fn joined<const N: usize>(parts: &[&[u8]]) -> Result<ArrayVec<u8, N>, Stop> {
    let mut whole = ArrayVec::new();
    for part in parts {
        whole.try_extend_from_slice(part).map_err(|_| Stop::Malformed)?;
    }
    Ok(whole)
}

/// Advertising data with the encrypted telemetry of an Eddystone-EID beacon whose clock, cut to a period,
/// reads so many seconds.
#[cfg(test)]
pub(in crate::engine) fn telemetry(
    key: [u8; 16],
    time: u32,
    salt: [u8; 2],
    plain: [u8; 12],
) -> Vec<u8> {
    let mut content = plain;
    let nonce = [&time.to_be_bytes()[..], &salt].concat();
    let tag = Eax::new(&key, &[]).unwrap().seal(&nonce, &mut content);
    [&[21, 0x16, 0xaa, 0xfe, 0x20, 0x01][..], &content, &salt, &tag[..2]].concat()
}
