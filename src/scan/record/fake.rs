//! Puts fakes in the place of what could identify a stranger. An advertisement in, one of the same
//! shape out.
//!
//! Pure, and without memory of whom it has seen: a fake is a keyed function of the address.

use std::fmt;

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit},
};

use crate::engine::{AddressKind, Advertisement, DeviceAddress};

/// Makes fakes from one key. AES-128 serves as a pseudorandom function: without the key its output
/// tells nothing about its input.
pub(super) struct Faker {
    cipher: Aes128,
}

/// What a block is made for, so that no two uses share one.
#[derive(Clone, Copy)]
enum Use {
    Address = 1,
    Data = 2,
}

// AD types (Assigned Numbers 2.3).
const FLAGS: u8 = 0x01;
const SOME_UUIDS_16: u8 = 0x02;
const ALL_UUIDS_16: u8 = 0x03;
const TX_POWER: u8 = 0x0a;
const SERVICE_DATA_16: u8 = 0x16;
const APPEARANCE: u8 = 0x19;
const MANUFACTURER: u8 = 0xff;

const APPLE: [u8; 2] = 0x004c_u16.to_le_bytes();
const EDDYSTONE: [u8; 2] = 0xfeaa_u16.to_le_bytes();

impl fmt::Debug for Faker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faker(redacted)")
    }
}

impl Faker {
    pub(super) fn new(key: [u8; 16]) -> Self {
        Self { cipher: Aes128::new(&key.into()) }
    }

    /// The same advertisement, from nobody.
    pub(super) fn fake(&self, advertisement: &Advertisement) -> Advertisement {
        let Advertisement { heard, receiver, rssi, .. } = advertisement;
        let address = self.address(advertisement.address());
        let data = self.data(advertisement.data(), advertisement.address(), address);
        Advertisement::new(*heard, receiver.clone(), address, *rssi, &data)
    }

    /// A fake of the same kind: for a random address of the same sort as well, static, resolvable
    /// or not (Core Specification 5.4, Vol 6 Part B 1.3.2).
    fn address(&self, address: DeviceAddress) -> DeviceAddress {
        let [sort, ..] = address.octets();
        let [mut octets @ .., _, _, _, _, _, _, _, _, _, _] =
            self.block(Use::Address, address, [0; 4]);
        let [first, ..] = &mut octets;
        if address.kind() == AddressKind::Random {
            *first = sort & 0b1100_0000 | *first & 0b0011_1111;
        }
        DeviceAddress::new(octets, address.kind())
    }

    fn data(&self, data: &[u8], address: DeviceAddress, fake: DeviceAddress) -> Vec<u8> {
        let mut faked = data.to_vec();
        let mut place = 0_u16;
        let mut rest = faked.as_mut_slice();
        while let Some((length, after)) = rest.split_first_mut() {
            if *length == 0 {
                // What follows the end of the data should be zero, and now is.
                after.fill(0);
                break;
            }
            let (structure, after) = after.split_at_mut(usize::from(*length).min(after.len()));
            if let [kind, content @ ..] = structure {
                let kept = kept(*kind, content);
                let made_up = content.get_mut(kept..).unwrap_or_default();
                self.make_up(made_up, address, *kind, place);
            }
            place = place.wrapping_add(1);
            rest = after;
        }
        replace(data, &mut faked, address.octets(), fake.octets());
        replace(data, &mut faked, reversed(address), reversed(fake));
        faked
    }

    fn make_up(&self, bytes: &mut [u8], address: DeviceAddress, kind: u8, place: u16) {
        let [high, low] = place.to_be_bytes();
        for (chunk, count) in bytes.chunks_mut(16).zip(0_u8..) {
            let block = self.block(Use::Data, address, [kind, high, low, count]);
            chunk.iter_mut().zip(block).for_each(|(byte, made_up)| *byte = made_up);
        }
    }

    fn block(&self, made_for: Use, address: DeviceAddress, rest: [u8; 4]) -> [u8; 16] {
        let kind = u8::from(address.kind() == AddressKind::Random);
        let parts = [&[made_for as u8, kind][..], &address.octets(), &rest];
        let mut block = [0; 16];
        block.iter_mut().zip(parts.concat()).for_each(|(byte, part)| *byte = part);
        let mut block = block.into();
        self.cipher.encrypt_block(&mut block);
        block.into()
    }
}

/// How many bytes at the beginning of an AD structure's content say what it is and not whose.
fn kept(kind: u8, content: &[u8]) -> usize {
    match (kind, content) {
        (FLAGS | TX_POWER, _) => 1,
        (SOME_UUIDS_16 | ALL_UUIDS_16, uuids) => uuids.len(),
        // The frame type of Eddystone.
        (SERVICE_DATA_16, [low, high, ..]) if [*low, *high] == EDDYSTONE => 3,
        // Type and length of an iBeacon; the code of an AltBeacon, which any company may send.
        (MANUFACTURER, [low, high, 0x02, 0x15, ..]) if [*low, *high] == APPLE => 4,
        (MANUFACTURER, [_, _, 0xbe, 0xac, ..]) => 4,
        (APPEARANCE | SERVICE_DATA_16 | MANUFACTURER, _) => 2,
        _ => 0,
    }
    .min(content.len())
}

fn reversed(address: DeviceAddress) -> [u8; 6] {
    let mut octets = address.octets();
    octets.reverse();
    octets
}

/// Writes `new` wherever `old` stood in the original.
fn replace(original: &[u8], faked: &mut [u8], old: [u8; 6], new: [u8; 6]) {
    for (place, window) in original.windows(old.len()).enumerate() {
        if window == old
            && let Some(bytes) = faked.get_mut(place..place + new.len())
        {
            bytes.copy_from_slice(&new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ReceiverId, Uptime};

    const ADDRESS: [u8; 6] = [0xd3, 0x16, 0x27, 0x38, 0x49, 0x5a];

    fn faked(octets: [u8; 6], kind: AddressKind, data: &[u8]) -> Advertisement {
        let address = DeviceAddress::new(octets, kind);
        let advertisement =
            Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, None, data);
        Faker::new(*b"sixteen key byte").fake(&advertisement)
    }

    fn data_of(octets: [u8; 6], kind: AddressKind, data: &[u8]) -> Vec<u8> {
        faked(octets, kind, data).data().to_vec()
    }

    #[test]
    fn a_fake_is_stable_distinct_and_of_the_same_kind() {
        for kind in [AddressKind::Public, AddressKind::Random] {
            let mut seen = std::collections::HashSet::new();
            for first in 0..=255 {
                let fake = faked([first, 2, 3, 4, 5, 6], kind, &[]).address();
                assert_eq!(fake, faked([first, 2, 3, 4, 5, 6], kind, &[]).address());
                assert_ne!(fake.octets(), [first, 2, 3, 4, 5, 6]);
                assert_eq!(fake.kind(), kind);
                assert!(kind == AddressKind::Public || fake.octets()[0] >> 6 == first >> 6);
                assert!(seen.insert(fake.octets()));
            }
        }
    }

    #[test]
    fn a_public_and_a_random_address_of_the_same_octets_are_two_strangers() {
        let fakes = [AddressKind::Public, AddressKind::Random]
            .map(|kind| faked(ADDRESS, kind, &[]).address().octets());
        assert_ne!(fakes[0][1..], fakes[1][1..]);
    }

    #[test]
    fn of_the_data_only_its_shape_is_kept() {
        let name = b"\x0c\x09Alice Phone";
        let tag = [&[0x09, 0xff, 0x99, 0x04][..], b"secret"].concat();
        let data = [&[2, 0x01, 0x06], &name[..], &[3, 0x03, 0xaa, 0xfe], &tag[..]].concat();
        let fake = data_of(ADDRESS, AddressKind::Random, &data);
        let shape: Vec<_> = fake.iter().zip(&data).map(|(a, b)| a == b).collect();
        assert_eq!(fake.len(), data.len());
        assert_eq!(fake[..5], data[..5], "flags, then length and type of the name");
        assert_eq!(fake[16..24], data[16..24], "UUIDs, then length, type and company");
        assert!(shape[5..16].iter().filter(|same| **same).count() < 4, "{shape:?}");
        assert!(!fake.windows(4).any(|bytes| b"Alice Phone secret".windows(4).any(|b| b == bytes)));
    }

    #[test]
    fn made_up_data_does_not_depend_on_the_data() {
        let fake = |content: &[u8]| {
            let length = u8::try_from(content.len() + 1).unwrap();
            data_of(ADDRESS, AddressKind::Random, &[&[length, 0x09], content].concat())
        };
        assert_eq!(fake(b"Alice's phone, an old one"), fake(b"Bob's and rather new tab."));
    }

    #[test]
    fn an_address_repeated_in_the_data_is_replaced_by_its_fake_in_the_same_order() {
        let mut backwards = ADDRESS;
        backwards.reverse();
        let data =
            [&[15, 0xff, 0x99, 0x04][..], &ADDRESS, &backwards, &[7, 0x02], &ADDRESS].concat();
        let fake = faked(ADDRESS, AddressKind::Random, &data);
        let octets = fake.address().octets();
        let mut reversed = octets;
        reversed.reverse();
        assert_eq!(fake.data()[4..10], octets);
        assert_eq!(fake.data()[10..16], reversed);
        assert_eq!(fake.data()[18..], octets, "also where UUIDs would have been kept");
    }

    #[test]
    fn data_that_breaks_the_rules_of_its_structures_is_made_up_as_well() {
        let cut = data_of(ADDRESS, AddressKind::Public, b"\x1f\x09Alice");
        assert_eq!(cut[..2], [0x1f, 0x09]);
        assert_ne!(&cut[2..], b"Alice");
        let ended = data_of(ADDRESS, AddressKind::Public, b"\x02\x01\x06\x00\x00Alice");
        assert_eq!(ended, b"\x02\x01\x06\x00\x00\x00\x00\x00\x00\x00");
        for data in [&b""[..], b"\x00", b"\x01", b"\x01\x09", b"\xff"] {
            assert_eq!(data_of(ADDRESS, AddressKind::Public, data), data);
        }
    }

    #[test]
    fn a_beacon_stays_recognisable_as_one_that_nobody_knows() {
        let ibeacon = [&[0x1a, 0xff, 0x4c, 0, 2, 0x15][..], &[7; 21]].concat();
        let fake = data_of(ADDRESS, AddressKind::Random, &ibeacon);
        assert_eq!(fake[..6], ibeacon[..6]);
        assert_ne!(fake[6..22], ibeacon[6..22]);
        let eddystone = [&[0x15, 0x16, 0xaa, 0xfe, 0, 0xee][..], &[7; 16]].concat();
        let fake = data_of(ADDRESS, AddressKind::Random, &eddystone);
        assert_eq!(fake[..5], eddystone[..5]);
        assert_ne!(fake[6..], eddystone[6..]);
    }
}
