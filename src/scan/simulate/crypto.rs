//! What rotating identifiers are made of: an address from an IRK, an Eddystone-EID from an identity
//! key. Written from the specifications, apart from the code that recognises them.

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};

/// The random address hash `ah` (Core Specification 5.4, Vol 3 Part H 2.2.2) of the 24 random bits
/// of an address, under a key written most significant octet first.
fn ah(irk: &[u8; 16], prand: [u8; 3]) -> [u8; 3] {
    let mut block = [0; 16];
    if let Some(tail) = block.last_chunk_mut() {
        *tail = prand;
    }
    encrypt(irk, &mut block);
    block.last_chunk().copied().unwrap_or_default()
}

/// A resolvable private address (Vol 6 Part B 1.3.2.2), most significant octet first: 22 random
/// bits behind the marker `01`, then their hash.
pub(super) fn resolvable_address(irk: &[u8; 16], random: [u8; 3]) -> [u8; 6] {
    let [top, middle, bottom] = random;
    let mut prand = [top & 0x3f | 0x40, middle, bottom];
    // The random part may be neither all zeros nor all ones.
    if matches!(prand, [0x40, 0, 0] | [0x7f, 0xff, 0xff]) {
        prand = [prand[0], 0x55, 0x55];
    }
    let mut address = [0; 6];
    let parts = prand.into_iter().chain(ah(irk, prand));
    for (octet, part) in address.iter_mut().zip(parts) {
        *octet = part;
    }
    address
}

/// The ephemeral identifier that a beacon sends when its own clock shows `beacon_time` seconds
/// (Eddystone-EID, "EID computation"): a temporary key for each 2^16 s, then one value for each
/// 2^`exponent` s.
pub(super) fn ephemeral_id(identity_key: &[u8; 16], exponent: u8, beacon_time: u32) -> [u8; 8] {
    let [high, low, ..] = beacon_time.to_be_bytes();
    let mut temporary_key = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, high, low];
    encrypt(identity_key, &mut temporary_key);
    let start = beacon_time & u32::MAX.checked_shl(exponent.into()).unwrap_or(0);
    let [a, b, c, d] = start.to_be_bytes();
    let mut block = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, exponent, a, b, c, d];
    encrypt(&temporary_key, &mut block);
    block.first_chunk().copied().unwrap_or_default()
}

fn encrypt(key: &[u8; 16], block: &mut [u8; 16]) {
    Aes128::new(key.into()).encrypt_block(block.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_hash_answers_the_sample_of_the_core_specification() {
        // Vol 3 Part H Appendix D.7.
        let irk = 0xec02_34a3_57c8_ad05_3410_10a6_0a39_7d9b_u128.to_be_bytes();
        assert_eq!(ah(&irk, [0x70, 0x81, 0x94]), [0x0d, 0xfb, 0xaa]);
        let address = resolvable_address(&irk, [0x30, 0x81, 0x94]);
        assert_eq!(address, [0x70, 0x81, 0x94, 0x0d, 0xfb, 0xaa]);
    }

    #[test]
    fn an_ephemeral_id_holds_for_its_period_and_no_longer() {
        let key = [7; 16];
        let at = |seconds| ephemeral_id(&key, 5, seconds);
        assert_eq!(at(64), at(95));
        assert_ne!(at(95), at(96));
        assert_ne!(at(64), at(64 + (1 << 16)), "the temporary key changes every 2^16 s");
    }
}
