//! Encrypted frames of formats whose plain frames are read elsewhere.
//!
//! Sources: bthome.io/encryption; `github.com/google/eddystone`, tlm-encrypted.md. What Eddystone encrypts
//! needs, beside the key, the clock of the beacon, which is known for beacons that are enrolled and not for
//! sensors; it stays as it is.

use crate::engine::frame::{
    BtHome, Kind, bthome, eddystone, family,
    sensor::{
        Decoder, Heard, Measured, Refusal, Stop, Test,
        cipher::{self, TAG},
    },
};

pub(super) const DECODERS: &[Decoder] = &[
    Decoder::service(family::BTHOME, u16::from_le_bytes(bthome::SERVICE)).code(bthome),
    Decoder::service(family::EDDYSTONE_TLM, u16::from_le_bytes(eddystone::SERVICE))
        .when(&[Test::is(0, eddystone::TLM), Test::is(1, eddystone::ENCRYPTED_TLM)])
        .code(|_, _, _| Err(Stop::Encrypted(Refusal::NoKey))),
];

/// Device information, perhaps the address; then objects, counter and tag.
fn bthome(heard: &Heard<'_>, data: &[u8], measured: &mut Measured) -> Result<(), Stop> {
    let (info, rest) = match data.split_first() {
        Some((info, rest)) if bthome::is_encrypted(data) => (*info, rest),
        _ => return Err(Stop::NotMine),
    };
    let (mut heard, mut sealed) = (*heard, rest);
    if bthome::repeats_address(info) {
        let (address, rest) = rest.split_first_chunk::<6>().ok_or(no_key_or(&heard))?;
        (heard.address, sealed) = (Some(cipher::reversed(*address)), rest);
    }
    let (key, address) = heard.secrets()?;
    let (sealed, tag) = sealed.split_last_chunk::<TAG>().ok_or(cipher::TRUNCATED)?;
    let (content, counter) = sealed.split_last_chunk::<4>().ok_or(cipher::TRUNCATED)?;
    let nonce: [&[u8]; 4] = [&address, &bthome::SERVICE, &[info], counter];
    let plain = cipher::open(key, &nonce, &[], content, *tag)?;
    let counter = u32::from_le_bytes(*counter);
    (measured.sealed, measured.freshness) = (true, Some(counter));
    let bthome = BtHome::decrypted(info, &plain).ok_or(Stop::Malformed)?;
    measured.model = bthome::shelly::model(&heard);
    measured.counter = bthome.packet_id().map(u32::from).or(Some(counter));
    for reading in bthome.readings() {
        measured.event |= reading.quantity.kind() == Kind::Event;
        measured.push_at(reading.quantity, reading.instance, reading.value);
    }
    Ok(())
}

/// Why a frame stays closed that ends before its content does.
const fn no_key_or(heard: &Heard<'_>) -> Stop {
    match heard.key {
        None => Stop::Encrypted(Refusal::NoKey),
        Some(_) => cipher::TRUNCATED,
    }
}
