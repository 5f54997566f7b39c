//! What one HCI packet says, byte by byte.

use super::*;

/// What the parser said, without the borrow.
type Said = Result<(DeviceAddress, Option<Rssi>, Vec<u8>), Unusable>;

const PUBLIC: DeviceAddress = DeviceAddress::new([6, 5, 4, 3, 2, 1], AddressKind::Public);
const RANDOM: DeviceAddress = DeviceAddress::new([6, 5, 4, 3, 2, 1], AddressKind::Random);

fn read(hci: &mut HciReports, packet: &[u8]) -> Vec<Said> {
    let mut said = Vec::new();
    hci.h4(packet, &mut |report| {
        said.push(report.map(|report| (report.address, report.rssi, report.data.to_vec())));
    });
    said
}

/// An H4 packet with one LE Meta event.
fn meta(subevent: u8, reports: &[Vec<u8>]) -> Vec<u8> {
    let parameters = [vec![subevent, u8::try_from(reports.len()).unwrap()], reports.concat()];
    let parameters = parameters.concat();
    [vec![H4_EVENT, LE_META, u8::try_from(parameters.len()).unwrap()], parameters].concat()
}

fn legacy(event_type: u8, address_type: u8, data: &[u8], rssi: i8) -> Vec<u8> {
    let head = [event_type, address_type, 1, 2, 3, 4, 5, 6, u8::try_from(data.len()).unwrap()];
    [&head, data, &[rssi.cast_unsigned()]].concat()
}

fn extended(event_type: u16, address_type: u8, set: u8, data: &[u8]) -> Vec<u8> {
    let [low, high] = event_type.to_le_bytes();
    let mut report = vec![low, high, address_type, 1, 2, 3, 4, 5, 6, 1, 2, set, 0x7f, 0xc4];
    report.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, u8::try_from(data.len()).unwrap()]);
    report.extend(data);
    report
}

const MORE: u16 = 0b01 << 5;
const TRUNCATED: u16 = 0b10 << 5;
const SCAN_RESPONSE: u16 = 1 << 3;

#[test]
fn several_reports_in_one_event_are_read_one_after_another() {
    let packet = meta(2, &[legacy(0, 0, &[2, 1, 6], -60), legacy(4, 1, &[], 127)]);
    let expected = [Ok((PUBLIC, Some(Rssi(-60)), vec![2, 1, 6])), Ok((RANDOM, None, vec![]))];
    assert_eq!(read(&mut HciReports::default(), &packet), expected);
}

#[test]
fn the_four_kinds_of_addresses_are_public_or_random_and_anonymous_ones_are_counted() {
    let kinds = [0, 1, 2, 3, 0xff, 4].map(|kind| legacy(0, kind, &[], -1));
    let said = read(&mut HciReports::default(), &meta(2, &kinds));
    let some = |address| Ok((address, Some(Rssi(-1)), vec![]));
    let expected = [
        some(PUBLIC),
        some(RANDOM),
        some(PUBLIC),
        some(RANDOM),
        Err(Unusable::Anonymous),
        Err(Unusable::Malformed),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_report_that_ends_early_spoils_only_what_comes_after_it() {
    let mut packet = meta(2, &[legacy(0, 0, &[2, 1, 6], -60), legacy(0, 0, &[2, 1, 6], -60)]);
    packet.pop();
    packet[2] -= 1;
    let expected = [Ok((PUBLIC, Some(Rssi(-60)), vec![2, 1, 6])), Err(Unusable::Malformed)];
    assert_eq!(read(&mut HciReports::default(), &packet), expected);
}

#[test]
fn what_is_no_advertising_report_says_nothing() {
    let mut hci = HciReports::default();
    let directed = meta(0x0b, &[vec![1; 16]]);
    for packet in [&directed[..], &[1, 3, 12, 0], &[4, 0x0e, 4, 1, 3, 12, 0], &[2, 0, 0, 0, 0]] {
        assert_eq!(read(&mut hci, packet), []);
    }
    for packet in [&[][..], &[4], &[4, 0x3e], &[4, 0x3e, 0], &[4, 0x3e, 1, 2], &[4, 0x3e, 9, 2]] {
        assert_eq!(read(&mut hci, packet), [Err(Unusable::Malformed)], "{packet:?}");
    }
}

#[test]
fn fragments_are_joined_until_no_more_follow() {
    let mut hci = HciReports::default();
    let first = meta(0x0d, &[extended(MORE, 1, 3, &[1; 200])]);
    let response = meta(0x0d, &[extended(SCAN_RESPONSE, 1, 3, &[9])]);
    let second = meta(0x0d, &[extended(MORE, 1, 3, &[2; 200])]);
    let last = meta(0x0d, &[extended(0, 1, 3, &[3; 5])]);
    assert_eq!(read(&mut hci, &first), []);
    assert_eq!(read(&mut hci, &response), [Ok((RANDOM, Some(Rssi(-60)), vec![9]))]);
    assert_eq!(read(&mut hci, &second), []);
    let whole = [vec![1; 200], vec![2; 200], vec![3; 5]].concat();
    assert_eq!(read(&mut hci, &last), [Ok((RANDOM, Some(Rssi(-60)), whole))]);
    assert_eq!(hci.abandon(), 0);
}

#[test]
fn what_the_controller_truncated_is_handed_on_as_far_as_it_got() {
    let mut hci = HciReports::default();
    let packet = meta(0x0d, &[extended(MORE, 0, 3, &[1, 2]), extended(TRUNCATED, 0, 3, &[3])]);
    assert_eq!(read(&mut hci, &packet), [Ok((PUBLIC, Some(Rssi(-60)), vec![1, 2, 3]))]);
}

#[test]
fn data_longer_than_any_advertisement_is_refused_and_not_kept() {
    let mut hci = HciReports::default();
    let more = meta(0x0d, &[extended(MORE, 0, 3, &[1; 229])]);
    for _ in 0..100 {
        assert_eq!(read(&mut hci, &more), []);
    }
    let last = meta(0x0d, &[extended(0, 0, 3, &[1])]);
    assert_eq!(read(&mut hci, &last), [Err(Unusable::Malformed)]);
    assert_eq!(read(&mut hci, &last), [Ok((PUBLIC, Some(Rssi(-60)), vec![1]))]);
}

#[test]
fn unfinished_advertisements_are_bounded_and_each_one_given_up_is_counted() {
    let mut hci = HciReports::default();
    let given_up: usize =
        (0..40).map(|set| read(&mut hci, &meta(0x0d, &[extended(MORE, 0, set, &[1])])).len()).sum();
    assert_eq!((given_up, hci.abandon()), (24, 16));
}

#[test]
fn an_anonymous_advertisement_in_fragments_counts_once() {
    let packet = meta(0x0d, &[extended(MORE, 0xff, 3, &[1]), extended(0, 0xff, 3, &[1])]);
    assert_eq!(read(&mut HciReports::default(), &packet), [Err(Unusable::Anonymous)]);
}

#[test]
fn a_report_never_shows_its_address_or_data() {
    let report = Report { address: PUBLIC, rssi: Some(Rssi(-60)), data: &[0xc0, 0xff] };
    let shown = format!("{report:?}");
    assert!(!shown.contains("192") && !shown.to_lowercase().contains("ff"), "{shown}");
    let mut hci = HciReports::default();
    assert_eq!(read(&mut hci, &meta(0x0d, &[extended(MORE, 0, 3, &[0xc0])])), []);
    assert!(!format!("{hci:?}").contains("192"));
}
