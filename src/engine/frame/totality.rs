//! No input panics: every prefix and every change of one octet of a valid payload of each format,
//! and a few hundred thousand arbitrary inputs from a fixed seed.

use super::{Frame, decode, encrypted_family, never_processed, rolling_uuids};

/// Advertising data in every format we speak, and some that we do not.
pub(super) fn valid_payloads() -> Vec<(&'static str, Vec<u8>)> {
    [
        ("ibeacon", "0201061AFF4C000215000102030405060708090A0B0C0D0E0F0102FFFEC5"),
        ("ibeacon", "0201061BFF4C000215000102030405060708090A0B0C0D0E0F0102FFFEC564"),
        ("altbeacon", "02011A1BFF1801BEAC0102030405060708090A0B0C0D0E0F1011121314C542"),
        ("eddystone_uid", "0201060303AAFE1716AAFE00FC00112233445566778899AABBCCDDEEFF0000"),
        ("eddystone_uid", "0201060303AAFE1516AAFE00FC00112233445566778899AABBCCDDEEFF"),
        ("eddystone_url", "0201060303AAFE1016AAFE10000367657470617265746F07"),
        ("eddystone_tlm", "0201060303AAFE1116AAFE20000BB815000000004500000258"),
        ("eddystone_eid", "0201060303AAFE0D16AAFE30FC0011223344556677"),
        ("bthome", "0201061316D2FC4000A702CA0903BF130C020C53024869"),
        ("bthome", "0201061216D2FC443A013C02035402A5A5F100010204"),
        ("bthome", "0201060E16D2FC42B2188D38C1A404138A01"),
        ("ruuvi", "02010611FF990403291A1ECE1EFC18F94202CA0B53"),
        ("ruuvi", "0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F"),
        ("ruuvi", "02010617FF990406170C5668C79E007000C90501D9FFCD004C884F"),
        (
            "ruuvi",
            "2BFF9904E1170C5668C79E0065007004BD11CA00C90A0213E0ACFFFFFFDECDEE10FFFFFFFFFFCBB8334C884F",
        ),
        ("service_token", "1E21DCB2A19049B74CBA6343B969CD48714C01000102030405060708090A0B"),
        ("service_token", "1F21DCB2A19049B74CBA6343B969CD48714C01000102030405060708090A0BF9"),
        ("", "0201061107FFEEDDCCBBAA99887786554433221100"),
        ("", "0303FEFE0B16D2FC41A47266C95F7300"),
        ("", "03036FFD17166FFD00112233445566778899AABBCCDDEEFF40FC0000"),
        ("", "1EFF4C001219FF00112233445566778899AABBCCDDEEFF001122334455667788"),
    ]
    .map(|(family, payload)| (family, hex::decode(payload).unwrap()))
    .to_vec()
}

/// Does everything that can be done with an input, and holds the results to what any input obeys.
fn exercise(data: &[u8]) {
    let decoded = decode(data);
    if never_processed(data) {
        assert!(decoded.is_err() && encrypted_family(data).is_none());
    }
    assert!(rolling_uuids(data).count() <= data.len() / 16);
    for frame in decoded.iter().flatten() {
        let mut readings = 0;
        for reading in frame.readings() {
            assert!(reading.value.is_finite());
            assert!(reading.action().is_none_or(|a| a.value().total_cmp(&reading.value).is_eq()));
            readings += 1;
        }
        assert!(readings <= data.len().max(19), "more readings than octets can tell");
        match frame {
            Frame::EddystoneUrl(url) => assert!(url.to_string().starts_with("http")),
            Frame::BtHome(bthome) => {
                let firmware = bthome.firmware().map(|firmware| firmware.to_string());
                assert!(firmware.is_none_or(|version| version.contains('.')));
                assert!(bthome.texts().map(str::len).sum::<usize>() <= data.len());
                assert!(bthome.raws().map(<[u8]>::len).sum::<usize>() <= data.len());
            }
            _ => {}
        }
    }
}

#[test]
fn the_valid_payloads_are_valid() {
    for (family, data) in valid_payloads() {
        let families: Vec<_> = decode(&data).iter().flatten().map(Frame::family).collect();
        let expected: Vec<_> =
            Some(family).into_iter().filter(|family| !family.is_empty()).collect();
        assert_eq!(families, expected, "{}", hex::encode(&data));
    }
}

#[test]
fn every_prefix_of_every_format_decodes_without_panicking() {
    for (_, data) in valid_payloads() {
        for end in 0..=data.len() {
            exercise(&data[..end]);
            // The same prefix as a structure that is complete, so that the format sees it.
            let kinds = [0x07, 0x16, 0x21, 0xff];
            let structure = data.iter().position(|octet| kinds.contains(octet)).unwrap();
            if let Some(length) = end.checked_sub(structure) {
                let mut shortened = data[..end].to_vec();
                shortened[structure - 1] = u8::try_from(length).unwrap();
                exercise(&shortened);
            }
        }
    }
}

#[test]
fn every_change_of_one_octet_of_every_format_decodes_without_panicking() {
    for (_, data) in valid_payloads() {
        for at in 0..data.len() {
            let mut changed = data.clone();
            for octet in 0..=u8::MAX {
                changed[at] = octet;
                exercise(&changed);
            }
        }
    }
}

#[test]
fn arbitrary_input_decodes_without_panicking() {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let mut data = Vec::new();
    for _ in 0..200_000 {
        data.clear();
        let length = random.usize(..64);
        data.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
        exercise(&data);
    }
}

#[test]
fn arbitrary_content_of_every_format_decodes_without_panicking() {
    // Wholly arbitrary input rarely gets past the first octets; these do.
    let announcements = [
        &[0xff, 0x4c, 0x00, 0x02, 0x15][..],
        &[0xff, 0x18, 0x01, 0xbe, 0xac],
        &[0xff, 0x99, 0x04, 0x03],
        &[0xff, 0x99, 0x04, 0x05],
        &[0xff, 0x99, 0x04, 0x06],
        &[0xff, 0x99, 0x04, 0xe1],
        &[0xff, 0x4c, 0x00],
        &[0x16, 0xaa, 0xfe],
        &[0x16, 0xaa, 0xfe, 0x10],
        &[0x16, 0xd2, 0xfc],
        &[0x16, 0xd2, 0xfc, 0x40],
        &[0x07],
        &[
            0x21, 0xdc, 0xb2, 0xa1, 0x90, 0x49, 0xb7, 0x4c, 0xba, 0x63, 0x43, 0xb9, 0x69, 0xcd,
            0x48, 0x71, 0x4c, 0x01,
        ],
    ];
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let mut data = Vec::new();
    for _ in 0..20_000 {
        for announcement in announcements {
            data.clear();
            data.push(0);
            data.extend(announcement);
            let length = random.usize(..44);
            data.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
            // Half of the content is small numbers: lengths, types and object ids.
            if random.bool() {
                data.iter_mut().skip(1 + announcement.len()).for_each(|octet| *octet %= 0x60);
            }
            data[0] = u8::try_from(data.len() - 1).unwrap();
            exercise(&data);
        }
    }
}
