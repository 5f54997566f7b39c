//! What is never processed, whatever else the advertisement carries.
//!
//! Exposure notifications, lost-property networks and medical devices say something about a person
//! that a shop has no business knowing. The first parser drops them, and tells nobody why.

use super::{
    ad::{Structure, ad_type, structures},
    eddystone,
};

/// Services that are never processed, by their 16-bit UUID (Assigned Numbers, 3.4 and 3.11), and what
/// they are.
const SERVICES: [(u16, &str); 7] = [
    (0xfd6f, "Exposure Notification"),
    (0x1808, "Glucose"),
    (0x1809, "Health Thermometer"),
    (0x1810, "Blood Pressure"),
    (0x181f, "Continuous Glucose Monitoring"),
    // Lost-property networks other than Find My say as much about their owners. These are the two
    // whose service is theirs alone.
    (0xfcb2, "Unwanted-tracker detection (IETF DULT)"),
    (0xfd5a, "Samsung SmartTag"),
];

/// Google's Find Hub network speaks under Eddystone's service, with frame types of its own, the
/// second while it protects against unwanted tracking (Find Hub Network Accessory Specification
/// 1.3, "Advertised frames").
const FIND_HUB: [u8; 2] = [0x40, 0x41];

/// What is never processed, and how it is recognised: for reports about this gateway.
pub fn never_processed_list() -> impl Iterator<Item = (&'static str, String)> {
    let services = SERVICES.map(|(uuid, name)| (name, format!("service 0x{uuid:04X}")));
    let find_my = ("Apple Find My", format!("Apple message type 0x{FIND_MY:02X}"));
    let find_hub = ("Google Find Hub", "service 0xFEAA, frame types 0x40 and 0x41".to_owned());
    services.into_iter().chain([find_my, find_hub])
}

const APPLE: [u8; 2] = 0x004c_u16.to_le_bytes();

/// Apple's message types in manufacturer data, each followed by its length.
const FIND_MY: u8 = 0x12;
/// The exception: a 128-bit hash of service UUIDs that follows without a length.
const OVERFLOW_AREA: u8 = 0x01;

/// The Bluetooth base UUID without the 32 bits that name a service, least significant octet first
/// (Core Specification 5.4, Vol 3 Part B 2.5.1).
const BASE_UUID: [u8; 12] =
    [0xfb, 0x34, 0x9b, 0x5f, 0x80, 0x00, 0x00, 0x80, 0x00, 0x10, 0x00, 0x00];

/// True when an advertisement must not be looked at any further: not decoded, and not resolved by
/// its address either.
///
/// A truncated last structure counts, too: what it announced is reason enough.
pub fn never_processed(data: &[u8]) -> bool {
    structures(data).any(|Structure { ad_type, data, .. }| match ad_type {
        ad_type::MANUFACTURER_DATA => data.strip_prefix(&APPLE).is_some_and(has_find_my),
        ad_type::SERVICE_DATA_16 => data.split_first_chunk().is_some_and(|(&uuid, content)| {
            named_by_16(uuid) || uuid == eddystone::SERVICE && is_find_hub(content)
        }),
        ad_type::SERVICE_DATA_32 => data.first_chunk().copied().is_some_and(named_by_32),
        ad_type::SERVICE_DATA_128 => data.first_chunk().copied().is_some_and(named_by_128),
        ad_type::SOME_SERVICES_16 | ad_type::ALL_SERVICES_16 | ad_type::SOLICITED_SERVICES_16 => {
            data.as_chunks().0.iter().copied().any(named_by_16)
        }
        ad_type::SOME_SERVICES_32 | ad_type::ALL_SERVICES_32 | ad_type::SOLICITED_SERVICES_32 => {
            data.as_chunks().0.iter().copied().any(named_by_32)
        }
        ad_type::SOME_SERVICES_128
        | ad_type::ALL_SERVICES_128
        | ad_type::SOLICITED_SERVICES_128 => data.as_chunks().0.iter().copied().any(named_by_128),
        _ => false,
    })
}

fn named_by_16(uuid: [u8; 2]) -> bool {
    is_never_processed(u16::from_le_bytes(uuid))
}

fn named_by_32(uuid: [u8; 4]) -> bool {
    u16::try_from(u32::from_le_bytes(uuid)).is_ok_and(is_never_processed)
}

/// True for the UUID of a service that is never processed.
pub(super) fn is_never_processed(uuid: u16) -> bool {
    SERVICES.iter().any(|(refused, _)| *refused == uuid)
}

fn is_find_hub(content: &[u8]) -> bool {
    content.first().is_some_and(|frame| FIND_HUB.contains(frame))
}

fn named_by_128(uuid: [u8; 16]) -> bool {
    uuid.strip_prefix(&BASE_UUID).and_then(<[u8]>::first_chunk).copied().is_some_and(named_by_32)
}

/// Walks Apple's messages: type, length, content, and again.
fn has_find_my(mut messages: &[u8]) -> bool {
    // The first octet is always a type. Later ones are only when a length follows: some beacons
    // append one octet of their own, a battery level for example, to an iBeacon.
    if messages.first() == Some(&FIND_MY) {
        return true;
    }
    while let &[message, length, ref rest @ ..] = messages {
        match message {
            FIND_MY => return true,
            OVERFLOW_AREA => return false,
            _ => {}
        }
        let Some(tail) = rest.get(usize::from(length)..) else { return false };
        messages = tail;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ad(ad_type: u8, data: &[u8]) -> Vec<u8> {
        let length = u8::try_from(data.len() + 1).unwrap();
        [&[length, ad_type], data].concat()
    }

    #[test]
    fn the_services_are_refused_as_data_and_in_lists_whatever_the_width_of_the_uuid() {
        for (service, _) in SERVICES {
            let [low, high] = service.to_le_bytes();
            let wide = [low, high, 0, 0];
            let full = [&BASE_UUID[..], &wide].concat();
            for ad_type in [0x02, 0x03, 0x14, 0x16] {
                assert!(never_processed(&ad(ad_type, &[low, high])), "{service:04x} in {ad_type}");
            }
            for ad_type in [0x04, 0x05, 0x1f, 0x20] {
                assert!(never_processed(&ad(ad_type, &wide)), "{service:04x} in {ad_type}");
            }
            for ad_type in [0x06, 0x07, 0x15, 0x21] {
                assert!(never_processed(&ad(ad_type, &full)), "{service:04x} in {ad_type}");
            }
            // Not the first of its list, and behind other structures.
            let later = [ad(0x01, &[6]), ad(0x03, &[0xaa, 0xfe, low, high])].concat();
            assert!(never_processed(&later), "{service:04x} later");
        }
    }

    #[test]
    fn a_truncated_structure_is_never_processed_for_what_it_announced() {
        assert!(never_processed(&[0x17, 0x16, 0x6f, 0xfd, 0x01]));
        assert!(never_processed(&[0x1e, 0xff, 0x4c, 0x00, 0x12]));
    }

    #[test]
    fn find_my_is_never_processed_alone_and_among_other_apple_messages() {
        let find_my = [&[0x4c, 0x00, 0x12, 0x19][..], &[0x55; 25]].concat();
        assert!(never_processed(&ad(0xff, &find_my)));
        let nearby_then_find_my = [0x4c, 0x00, 0x10, 0x02, 0x0b, 0x00, 0x12, 0x02, 0x00, 0x01];
        assert!(never_processed(&ad(0xff, &nearby_then_find_my)));
    }

    #[test]
    fn other_lost_property_networks_are_refused_and_eddystone_beside_them_is_not() {
        for frame in FIND_HUB {
            let find_hub = [&[0xaa, 0xfe, frame][..], &[0x55; 20]].concat();
            assert!(never_processed(&ad(0x16, &find_hub)), "{frame:02x}");
        }
        for eddystone in [0x00, 0x10, 0x20, 0x30] {
            assert!(!never_processed(&ad(0x16, &[0xaa, 0xfe, eddystone, 0x40, 0x41])));
        }
        assert!(!never_processed(&ad(0x03, &[0xaa, 0xfe])), "the service alone");
        assert!(!never_processed(&ad(0x16, &[0xaa, 0xfe])), "without a frame");
        assert!(never_processed(&ad(0x16, &[0xb2, 0xfc, 0x02, 0x00])));
        assert!(never_processed(&ad(0x16, &[0x5a, 0xfd, 0x13])));
    }

    #[test]
    fn everything_that_is_never_processed_is_on_the_list_for_reports() {
        let listed: Vec<String> =
            never_processed_list().map(|(name, how)| format!("{name}: {how}")).collect();
        assert_eq!(listed.len(), SERVICES.len() + 2);
        for expected in [
            "Exposure Notification: service 0xFD6F",
            "Apple Find My: Apple message type 0x12",
            "Continuous Glucose Monitoring: service 0x181F",
        ] {
            assert!(listed.iter().any(|line| line == expected), "{expected}");
        }
    }

    #[test]
    fn other_advertisements_are_not_refused() {
        let ibeacon = [&[0x4c, 0x00, 0x02, 0x15][..], &[0x12; 21]].concat();
        assert!(!never_processed(&ad(0xff, &ibeacon)), "0x12 inside an iBeacon");
        let with_battery = [&ibeacon[..], &[0x12]].concat();
        assert!(!never_processed(&ad(0xff, &with_battery)), "a battery level of 18 %");
        let overflow = [&[0x4c, 0x00, 0x01][..], &[0x00, 0x12, 0x12], &[0x12; 13]].concat();
        assert!(!never_processed(&ad(0xff, &overflow)), "0x12 in the overflow area");
        assert!(!never_processed(&ad(0xff, &[0x99, 0x04, 0x12, 0x02, 0, 0])), "not Apple's");
        assert!(!never_processed(&ad(0x16, &[0x09, 0x18 + 1])));
        assert!(!never_processed(&ad(0x03, &[0x00, 0x09, 0x18, 0x00])), "across two UUIDs");
        assert!(!never_processed(&ad(0x16, &[0xaa, 0xfe, 0x6f, 0xfd])), "in the payload");
        assert!(!never_processed(&[0, 0x03, 0x16, 0x6f, 0xfd]), "after the early end");
        assert!(!never_processed(&[]));
    }
}
