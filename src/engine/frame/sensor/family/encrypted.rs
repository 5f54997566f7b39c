//! Encrypted frames of formats whose plain frames are read elsewhere.
//!
//! Here they are known for what they are. Whoever holds the key finds it in [`Heard`].

use crate::engine::frame::{
    bthome, eddystone, family,
    sensor::{Decoder, Heard, Measured, Refusal, Stop},
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(family::BTHOME, u16::from_le_bytes(bthome::SERVICE)).code(bthome),
    Decoder::service(family::EDDYSTONE_TLM, u16::from_le_bytes(eddystone::SERVICE)).code(tlm),
];

fn bthome(_: &Heard<'_>, data: &[u8], _: &mut Measured) -> Result<(), Stop> {
    refuse(bthome::is_encrypted(data))
}

fn tlm(_: &Heard<'_>, data: &[u8], _: &mut Measured) -> Result<(), Stop> {
    refuse(eddystone::is_encrypted(data))
}

const fn refuse(encrypted: bool) -> Result<(), Stop> {
    Err(if encrypted { Stop::Encrypted(Refusal::NoKey) } else { Stop::NotMine })
}
