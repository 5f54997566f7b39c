//! The same advertisements in every format, and what is particular to one.

use std::io::{self, Read};

use beacon_gateway::{
    engine::{AddressKind, Advertisement, DeviceAddress, ReceiverId, Rssi, UnixTime, Uptime},
    scan::replay::{self, Counts},
};

use super::{
    drain, open, read,
    write::{
        Order, STARTED_MICROS, Times, air_packet, all, block, btsnoop, btsnoop_record, enhanced,
        event, hcidump, interface, json_lines, nordic, padded, pcap, pcap_record, sample, section,
    },
};

/// Hands out one byte at a time, and now and then is interrupted, as a pipe may.
struct Trickle(io::Cursor<Vec<u8>>, bool);

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.0.read(buffer.get_mut(..1).unwrap_or_default())
    }
}

#[test]
fn every_format_tells_the_same_advertisements() {
    for written in all(&sample()) {
        let (heard, error) = read(&written.bytes);
        assert_eq!(heard, written.expected, "{}", written.name);
        assert!(error.is_none(), "{}: {error:?}", written.name);
        let started = STARTED_MICROS / 1000;
        let started = written.knows_the_beginning.then(|| UnixTime::from_millis(started));
        assert_eq!(open(&written.bytes).unwrap().started_unix(), started, "{}", written.name);
    }
}

#[test]
fn a_pipe_that_trickles_tells_the_same() {
    for written in all(&sample()) {
        let pipe = Trickle(io::Cursor::new(written.bytes), false);
        let recording = replay::read("pipe", pipe, None).unwrap();
        assert_eq!(recording.progress().total(), None);
        let (heard, error) = drain(recording);
        assert_eq!(heard, written.expected, "{}", written.name);
        assert!(error.is_none(), "{}: {error:?}", written.name);
    }
}

#[test]
fn the_caller_names_the_receiver_and_the_beginning() {
    let begin = Uptime::from_micros(5_000_000);
    for written in [btsnoop(1002, &sample()), hcidump(Times::Unix, &sample())] {
        let recording = open(&written.bytes).unwrap();
        let mut recording = recording.heard_by(ReceiverId::new("door")).starting_at(begin);
        let heard: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
        assert!(heard.iter().all(|heard| heard.receiver.as_str() == "door"));
        assert_eq!(heard[0].heard, begin);
        assert_eq!(heard[3].heard, Uptime::from_micros(12_000_000));
        assert_eq!(recording.position(), heard[3].heard);
    }
}

#[test]
fn packets_without_an_advertisement_are_counted_and_nothing_else() {
    let sent = sample();
    let mut bytes = btsnoop(1002, &sent[..1]).bytes;
    bytes.extend(btsnoop_record(2, 1, &[1, 0x0c, 0x20, 2, 1, 0]));
    bytes.extend(btsnoop_record(3, 2, &[4, 0x0e, 4, 1, 0x0c, 0x20, 0]));
    bytes.extend(btsnoop_record(1, 3, &[2, 0, 0, 0, 0]));
    let mut monitor = btsnoop(2001, &sent[..1]).bytes;
    // A new adapter, a command, a system note.
    for opcode in [0, 2, 12] {
        monitor.extend(btsnoop_record(opcode, 1, &event(&sent[0])));
    }
    let mut bare = btsnoop(1001, &sent[..1]).bytes;
    // Data received, data sent, a command.
    for flags in [1, 0, 2] {
        bare.extend(btsnoop_record(flags, 1, &event(&sent[0])));
    }
    for bytes in [bytes, monitor, bare] {
        let mut recording = open(&bytes).unwrap();
        assert_eq!(recording.by_ref().map(Result::unwrap).count(), 1);
        let expected = Counts { packets: 4, advertisements: 1, other: 3, ..Counts::default() };
        assert_eq!(recording.counts(), expected);
    }
}

#[test]
fn a_packet_that_the_recorder_cut_is_counted_and_not_believed() {
    let mut bytes = btsnoop(1002, &sample()[..1]).bytes;
    // The first record's original length becomes one more than what is there.
    bytes[19] += 1;
    let mut recording = open(&bytes).unwrap();
    assert_eq!(recording.by_ref().count(), 0);
    assert_eq!(recording.counts(), Counts { packets: 1, cut_short: 1, ..Counts::default() });
}

#[test]
fn extended_advertisements_are_joined_across_packets() {
    let fragment = |status: u8, data: &[u8]| {
        let length = u8::try_from(data.len()).unwrap();
        let mut event = vec![4, 0x3e, 26 + length, 0x0d, 1, status << 5, 0, 1];
        event.extend([6, 5, 4, 3, 2, 1, 1, 2, 7, 0x7f, 0xba, 0, 0, 0, 0, 0, 0, 0, 0, 0, length]);
        event.extend(data);
        event
    };
    let mut bytes = btsnoop(1002, &[]).bytes;
    bytes.extend(btsnoop_record(3, 0, &fragment(1, &[1; 229])));
    bytes.extend(btsnoop_record(3, 5, &fragment(1, &[2; 229])));
    bytes.extend(btsnoop_record(3, 9, &fragment(0, &[3; 10])));
    bytes.extend(btsnoop_record(3, 11, &fragment(1, &[4; 10])));
    let mut recording = open(&bytes).unwrap();
    let heard: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].data(), [vec![1; 229], vec![2; 229], vec![3; 10]].concat());
    assert_eq!(heard[0].address(), DeviceAddress::new([1, 2, 3, 4, 5, 6], AddressKind::Random));
    assert_eq!((heard[0].rssi, heard[0].heard), (Some(Rssi(-70)), Uptime::from_micros(9)));
    let counts = recording.counts();
    assert_eq!((counts.incomplete, counts.other), (1, 3), "{counts:?}");
}

#[test]
fn all_versions_of_the_nrf_sniffers_header_are_read_and_bad_checksums_left_out() {
    let sent = &sample()[0];
    for version in 1..=3 {
        let mut bytes = pcap(272, Order::Little, false, &[]).bytes;
        for flags in [1, 0] {
            bytes.extend(pcap_record(Order::Little, false, 0, &nordic(version, flags, sent)));
        }
        // One of its own messages.
        let message = [7, 6, 0, version, 9, 0, 0x0e];
        bytes.extend(pcap_record(Order::Little, false, 0, &message));
        let mut recording = open(&bytes).unwrap();
        let heard: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
        assert_eq!(heard.len(), 1, "version {version}");
        assert_eq!((heard[0].address(), heard[0].rssi), (sent.address, Some(Rssi(sent.rssi))));
        let expected = Counts {
            packets: 3,
            advertisements: 1,
            other: 1,
            bad_checksum: 1,
            ..Counts::default()
        };
        assert_eq!(recording.counts(), expected);
    }
}

/// What a recording of Link Layer packets tells, and how it counts them.
fn on_air(link: u32, packets: &[Vec<u8>]) -> (Vec<Advertisement>, Counts) {
    let mut bytes = pcap(link, Order::Little, false, &[]).bytes;
    for packet in packets {
        bytes.extend(pcap_record(Order::Little, false, 0, packet));
    }
    let mut recording = open(&bytes).unwrap();
    let heard = recording.by_ref().map(Result::unwrap).collect();
    (heard, recording.counts())
}

#[test]
fn link_layer_packets_are_sorted_by_what_they_are() {
    let address = [6, 5, 4, 3, 2, 0xc1];
    let pdu = |header: u8, payload: &[&[u8]]| {
        let payload = payload.concat();
        [vec![header, u8::try_from(payload.len()).unwrap()], payload].concat()
    };
    let mut wrong = air_packet(&pdu(0x40, &[&address, &[2, 1, 6]]));
    *wrong.last_mut().unwrap() ^= 1;
    let mut unchecked = air_packet(&pdu(0x40, &[&address, &[2, 1, 5]]));
    let end = unchecked.len() - 3;
    unchecked[end..].fill(0);
    let mut coded = air_packet(&pdu(0x40, &[&address, &[2, 1, 4]]));
    coded.insert(4, 0);
    let mut connection = air_packet(&pdu(2, &[&[1, 2, 3]]));
    connection[0] ^= 1;
    let (heard, counts) = on_air(
        251,
        &[
            air_packet(&pdu(0x41, &[&address, &address])), // ADV_DIRECT_IND: no data
            air_packet(&pdu(0xc3, &[&address, &address])), // SCAN_REQ
            air_packet(&pdu(0xc5, &[&[0; 34]])),           // CONNECT_IND
            connection,
            wrong,
            unchecked,
            coded,
            air_packet(&pdu(0x40, &[&address, &[0; 32]])), // too long
            air_packet(&pdu(0x40, &[&address[..5]])),      // too short
            air_packet(&pdu(0x47, &[&[7, 0x01], &address, b"extended"])),
            air_packet(&pdu(0x47, &[&[9, 0x09], &address, &[1, 2], b"with ADI"])),
            air_packet(&pdu(0x07, &[&[6, 0x18, 1, 2, 3, 4, 5]])), // points to an auxiliary packet
            air_packet(&pdu(0x07, &[&[3, 0x08, 1, 2], b"nobody's"])),
            air_packet(&pdu(0x47, &[&[10, 0x11], &address, &[3, 4, 5], b"goes on"])),
            air_packet(&pdu(0x47, &[&[9, 0x09], &address])), // shorter than its header
            vec![0xd6, 0xbe, 0x89],
        ],
    );
    let data: Vec<_> = heard.iter().map(Advertisement::data).collect();
    let expected: [&[u8]; 5] = [b"", &[2, 1, 5], &[2, 1, 4], b"extended", b"with ADI"];
    assert_eq!(data, expected);
    let expected = Counts {
        packets: 16,
        advertisements: 5,
        other: 4,
        malformed: 4,
        bad_checksum: 1,
        anonymous: 1,
        incomplete: 1,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn the_flags_of_a_reception_decide_what_is_believed() {
    let air = air_packet(&[0x40, 9, 6, 5, 4, 3, 2, 0xc1, 2, 1, 6]);
    let mut wrong = air.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let mut coded = air.clone();
    coded.insert(4, 1);
    let received = |flags: u16, air: &[u8]| {
        let [low, high] = flags.to_le_bytes();
        [&[37, 0xc4, 0, 0, 0, 0, 0, 0, low, high], air].concat()
    };
    let (heard, counts) = on_air(
        256,
        &[
            received(0x0003, &air),
            received(0x0001, &air),             // no signal strength
            received(0x0002, &air),             // still whitened
            received(0x0003, &wrong),           // checked by us
            received(0x0403, &air),             // checked by the tool, and wrong
            received(0x0c03, &wrong),           // checked by the tool, and right
            received(0x0003 | 2 << 14, &coded), // LE Coded
            vec![0; 9],
        ],
    );
    let strengths: Vec<_> = heard.iter().map(|heard| heard.rssi.map(|rssi| rssi.0)).collect();
    assert_eq!(strengths, [Some(-60), None, Some(-60), Some(-60)]);
    let expected = Counts {
        packets: 8,
        advertisements: 4,
        malformed: 1,
        bad_checksum: 2,
        unsupported: 1,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
}

#[test]
fn a_pcapng_file_may_have_many_sections_interfaces_and_unknown_blocks() {
    let sent = &sample()[0];
    let (hci, ethernet) = (187, 1);
    let h4 = [vec![4], event(sent)].concat();
    let length = u32::try_from(h4.len()).unwrap();
    let little = Order::Little;
    let simple = block(little, 3, &[little.u32(length), padded(&h4)].concat());
    let ticks = u64::try_from(STARTED_MICROS + 30).unwrap();
    let [high, low] = [ticks >> 32, ticks & 0xffff_ffff].map(|half| u32::try_from(half).unwrap());
    let numbers = [high, low, length, length].map(|number| little.u32(number)).concat();
    let obsolete = block(little, 2, &[little.u16(1), little.u16(7), numbers, padded(&h4)].concat());
    let bytes = [
        section(Order::Big),
        block(Order::Big, 0x0bad, &[1; 40]),
        interface(Order::Big, hci, Some(9)),
        enhanced(Order::Big, 0, 9, 0, &h4),
        // The second section counts its interfaces anew.
        section(little),
        interface(little, ethernet, None),
        interface(little, hci, Some(3)),
        interface(little, hci, None),
        enhanced(little, 1, 3, 1000, &h4),
        enhanced(little, 2, 6, 2000, &h4),
        enhanced(little, 0, 6, 2500, &h4),
        obsolete,
        block(little, 4, &[]),
        section(little),
        interface(little, hci, None),
        simple,
    ];
    let mut recording = open(&bytes.concat()).unwrap();
    let heard: Vec<_> = recording.by_ref().map(|heard| heard.unwrap().heard).collect();
    // Interface 1 of the second section counts whole milliseconds; the obsolete block, written in
    // them as well, is later than everything by a long way; the simple one has no time.
    assert_eq!(heard[..3], [0, 1000, 2000].map(Uptime::from_micros));
    assert_eq!((heard.len(), heard[3] > heard[2], heard[3] == heard[4]), (5, true, true));
    let expected = Counts { packets: 6, advertisements: 5, unsupported: 1, ..Counts::default() };
    assert_eq!(recording.counts(), expected);
}

#[test]
fn a_text_is_read_line_by_line_however_it_was_copied() {
    let text = "< 01 0C 20 02 \r\n  01 00 \r\n\
                > 04 3E 0D 02 01 00 01 01 02 03 04 05 C6 01 \r\n\
                00 C4\r\n\
                a message of another program\r\n\
                \x20 this belongs to no packet\r\n\
                > 04 3E ZZ\r\n\
                > 04 3e 0c 02 01 00 00 01 02 03 04 05 06 00 c3";
    let mut recording = open(text.as_bytes()).unwrap();
    let heard: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
    let strengths: Vec<_> = heard.iter().map(|heard| heard.rssi.unwrap().0).collect();
    assert_eq!(strengths, [-60, -61]);
    let times: Vec<_> = heard.iter().map(|heard| heard.heard.as_micros()).collect();
    assert_eq!(times, [100_000, 300_000], "packets without an advertisement take time as well");
    let expected =
        Counts { packets: 4, advertisements: 2, other: 1, malformed: 1, ..Counts::default() };
    assert_eq!(recording.counts(), expected);
}

#[test]
fn our_own_format_may_be_written_by_hand() {
    let text = r#"{"beacon_gateway_recording":1}

{"adv":"","address":"c0-11-22-33-44-55","kind":"public","t":1}
{"t":1.5,"receiver":"back \"door\"","rssi":127,"address":"C01122334455","kind":"random","adv":"0201","more":1}
{"t":2e0,"receiver":null,"rssi":null,"address":"C01122334455","kind":"random","adv":""}"#;
    let recording = open(text.as_bytes()).unwrap().heard_by(ReceiverId::new("hall"));
    assert_eq!(recording.started_unix(), None);
    let (heard, error) = drain(recording);
    assert!(error.is_none(), "{error:?}");
    let receivers: Vec<_> = heard.iter().map(|heard| heard.receiver.as_str()).collect();
    assert_eq!(receivers, ["hall", "back \"door\"", "hall"]);
    assert!(heard.iter().all(|heard| heard.rssi.is_none()));
    let times: Vec<_> = heard.iter().map(|heard| heard.heard.as_micros()).collect();
    assert_eq!(times, [1_000_000, 1_500_000, 2_000_000], "time counts from the header");
    assert_eq!(heard[1].data(), [2, 1]);
}

#[test]
fn a_clock_that_was_set_back_is_counted_and_time_goes_on() {
    let mut sent = sample();
    sent[1].micros = 60_000_000;
    sent[2].micros = 10_000_000;
    sent[3].micros = 11_000_000;
    for written in [btsnoop(2001, &sent), json_lines(&sent)] {
        let mut recording = open(&written.bytes).unwrap();
        let heard: Vec<_> = recording.by_ref().map(|heard| heard.unwrap().heard).collect();
        assert_eq!(heard, [0, 60_000_000, 60_000_000, 61_000_000].map(Uptime::from_micros));
        assert_eq!(recording.counts().clock_steps, 1);
    }
}

#[test]
fn several_reports_of_one_packet_come_at_the_same_time_and_in_order() {
    let report = |first: u8| [0, 1, 6, 5, 4, 3, 2, first, 0, 0xc4];
    let mut event = vec![4, 0x3e, 32, 2, 3];
    event.extend([report(0xc1), report(0xc2), report(0xc3)].concat());
    let mut bytes = btsnoop(1002, &[]).bytes;
    bytes.extend(btsnoop_record(3, 0, &event));
    let (heard, error) = read(&bytes);
    let firsts: Vec<_> = heard.iter().map(|heard| heard.address().octets()[0]).collect();
    assert_eq!((firsts, error.is_none()), (vec![0xc1, 0xc2, 0xc3], true));
    assert!(heard.iter().all(|heard| heard.heard == Uptime::ZERO));
}

#[test]
fn what_cannot_be_replayed_is_refused_with_the_reason() {
    let unsupported_pcapng = [section(Order::Little), interface(Order::Little, 1, None)].concat();
    let unsupported = pcap(187, Order::Little, false, &[]).bytes;
    let unsupported = [&unsupported[..20], &[1, 0, 0, 0]].concat();
    for (bytes, sentence) in [
        (b"".to_vec(), "is empty"),
        (b"\x1f\x8b\x08\0".to_vec(), "gunzip"),
        (b"# some notes\n\nof mine\n".to_vec(), "is no recording that can be replayed"),
        (vec![0; 100], "is no recording that can be replayed"),
        (vec![b'x'; 100_000], "is no recording that can be replayed"),
        (btsnoop(1003, &[]).bytes, "datalink type 1003"),
        (unsupported, "packets of link type 1,"),
        (unsupported_pcapng, "packets of link type 1,"),
        (b"{\"beacon_gateway_recording\":2}\n".to_vec(), "a recording of version 2"),
        (b"{\"address\":\"c01122334455\",\"adv\":\"\"}\n".to_vec(), "expected a header line"),
        (
            b"{\"beacon_gateway_recording\":1,\"started\":\"yesterday\"}\n".to_vec(),
            "expected a header line",
        ),
    ] {
        let (heard, error) = read(&bytes);
        let message = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(heard.is_empty() && message.contains(sentence), "{sentence}: {message}");
    }
    let missing = replay::open(std::path::Path::new("/nowhere/at-all")).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/at-all"), "{missing}");
}
