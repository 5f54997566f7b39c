//! Advertising data in, the service UUIDs out that an app of ours on iOS may have sent
//! (`docs/app-identity.md`).
//!
//! A rolling UUID is a UUID of version 8 (RFC 9562, 5.8) in a list of 128-bit services. So is many
//! a stranger's: the bytes announce no format, and only who holds the keys can tell. So this is no
//! [`Frame`](super::Frame): an advertisement with nothing else in it is unknown until it resolves.

use super::ad::{ad_type, structures};

/// The service UUIDs of version 8 in advertising data, most significant octet first, as they stand.
///
/// To be asked only of what may be [processed](super::never_processed).
pub(crate) fn rolling_uuids(data: &[u8]) -> impl Iterator<Item = [u8; 16]> {
    structures(data)
        .filter(|it| matches!(it.ad_type, ad_type::SOME_SERVICES_128 | ad_type::ALL_SERVICES_128))
        // A truncated last structure may still hold whole UUIDs; `decode` passes it over as well.
        .filter(|it| it.complete)
        .flat_map(|it| it.data.as_chunks().0)
        .map(|uuid: &[u8; 16]| u128::from_le_bytes(*uuid).to_be_bytes())
        .filter(|uuid| is_custom(*uuid))
}

/// Version 8, and the variant of RFC 9562 (4.1 and 4.2).
const fn is_custom(uuid: [u8; 16]) -> bool {
    let [_, _, _, _, _, _, version, _, variant, ..] = uuid;
    version >> 4 == 8 && variant >> 6 == 0b10
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: u128 = 0x0011_2233_4455_8677_8899_aabb_ccdd_eeff;

    fn list(ad_type: u8, uuids: &[u128]) -> Vec<u8> {
        let uuids: Vec<u8> = uuids.iter().flat_map(|uuid| uuid.to_le_bytes()).collect();
        [&[u8::try_from(uuids.len() + 1).unwrap(), ad_type], &uuids[..]].concat()
    }

    fn found(data: &[u8]) -> Vec<u128> {
        rolling_uuids(data).map(u128::from_be_bytes).collect()
    }

    #[test]
    fn uuids_of_version_8_are_found_in_both_lists_and_among_others() {
        let random = 0x0011_2233_4455_4677_8899_aabb_ccdd_eeff;
        assert_eq!(found(&list(0x07, &[UUID])), [UUID]);
        assert_eq!(found(&list(0x06, &[random, UUID, UUID + 1])), [UUID, UUID + 1]);
        let both = [list(0x07, &[UUID]), vec![2, 0x0a, 4], list(0x06, &[UUID + 2])].concat();
        assert_eq!(found(&both), [UUID, UUID + 2]);
    }

    #[test]
    fn other_versions_variants_and_structures_are_passed_over() {
        for other in [UUID ^ 0x7000 << 64, UUID ^ 0x4000 << 48, 0] {
            assert_eq!(found(&list(0x07, &[other])), [], "{other:x}");
        }
        for ad_type in [0x05, 0x15, 0x21, 0xff] {
            assert_eq!(found(&list(ad_type, &[UUID])), []);
        }
        let mut cut = list(0x07, &[UUID]);
        cut.pop();
        assert_eq!(found(&cut), []);
        cut[0] -= 1;
        assert_eq!(found(&cut), [], "fifteen octets are no UUID");
        assert_eq!(found(&[]), []);
    }
}
