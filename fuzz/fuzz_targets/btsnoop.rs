//! A well-formed btsnoop recording of any packets says what the packets say when they are read one
//! by one: recordings and live sockets are read by the same code, and the file around the packets
//! adds nothing, loses nothing and keeps their order. (Files that are broken are `replay`'s part.)
#![no_main]

use std::io::Cursor;

use beacon_gateway::{
    engine::{DeviceAddress, Rssi, Uptime},
    scan::{
        hci::{HciReports, Report, Unusable},
        replay,
    },
};
use libfuzzer_sys::fuzz_target;

/// What an advertisement is, without when it was heard.
type Said = (DeviceAddress, Option<Rssi>, Vec<u8>);

/// How the packets of a recording are marked: the datalink types of btsnoop.
#[derive(Clone, Copy)]
enum Datalink {
    /// 1001: no type in front, the flags tell a received event by both low bits.
    Bare,
    /// 1002: an H4 type in front.
    Uart,
    /// 2001: adapter and opcode in the flags; 3 is an event.
    Monitor,
}

/// One record as the input has it: flags, how many bytes the recorder left out, milliseconds since
/// the one before (two bytes, little-endian), length of the packet, packet.
struct Record<'a> {
    flags: u8,
    left_out: u8,
    pause: u16,
    packet: &'a [u8],
}

/// 2020-01-01, in microseconds from the year 0, where btsnoop counts from.
const BEGIN: i64 = 0x00dc_ddb3_0f2f_8000 + 1_577_836_800_000_000;

fuzz_target!(|input: &[u8]| {
    let Some((&kind, input)) = input.split_first() else { return };
    let datalink = match kind % 3 {
        0 => Datalink::Bare,
        1 => Datalink::Uart,
        _ => Datalink::Monitor,
    };
    let records: Vec<Record<'_>> = records(input).collect();
    let recording = replay::read("fuzz", Cursor::new(file(datalink, &records)), None);
    let mut recording = recording.expect("a well-formed header is accepted");
    let mut said = Vec::new();
    let mut last = Uptime::ZERO;
    for heard in recording.by_ref() {
        let heard = heard.expect("a well-formed record is accepted");
        assert!(heard.heard >= last, "time ran backwards");
        last = heard.heard;
        said.push((heard.address(), heard.rssi, heard.data().to_vec()));
    }
    let (expected, unusable) = one_by_one(datalink, &records);
    assert!(said == expected, "the recording says something else than its packets");
    let counts = recording.counts();
    assert_eq!(counts.packets, records.len() as u64);
    assert_eq!(counts.advertisements, said.len() as u64);
    assert_eq!(counts.unusable_total(), unusable);
});

fn records(mut input: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (&[flags, left_out, p0, p1, length], rest) = input.split_first_chunk()?;
        let (packet, rest) = rest.split_at(usize::from(length).min(rest.len()));
        input = rest;
        Some(Record { flags, left_out, pause: u16::from_le_bytes([p0, p1]), packet })
    })
}

fn file(datalink: Datalink, records: &[Record<'_>]) -> Vec<u8> {
    let number: u32 = match datalink {
        Datalink::Bare => 1001,
        Datalink::Uart => 1002,
        Datalink::Monitor => 2001,
    };
    let mut file = b"btsnoop\0\0\0\0\x01".to_vec();
    file.extend(number.to_be_bytes());
    let mut at = BEGIN;
    for record in records {
        at += i64::from(record.pause) * 1000;
        let included = u32::try_from(record.packet.len()).expect("a length is one byte");
        file.extend((included + u32::from(record.left_out)).to_be_bytes());
        file.extend(included.to_be_bytes());
        file.extend(u32::from(record.flags).to_be_bytes());
        file.extend(0_u32.to_be_bytes());
        file.extend(at.to_be_bytes());
        file.extend(record.packet);
    }
    file
}

/// What the packets say without a file around them, and how many reports said nothing usable.
fn one_by_one(datalink: Datalink, records: &[Record<'_>]) -> (Vec<Said>, u64) {
    let mut hci = HciReports::default();
    let mut said = Vec::new();
    let mut unusable = 0;
    for record in records {
        if record.left_out > 0 {
            unusable += 1;
            continue;
        }
        let mut each = |report: Result<Report<'_>, Unusable>| match report {
            Ok(report) => said.push((report.address, report.rssi, report.data.to_vec())),
            Err(_) => unusable += 1,
        };
        match datalink {
            Datalink::Bare if record.flags & 3 == 3 => hci.event(record.packet, &mut each),
            Datalink::Monitor if record.flags == 3 => hci.event(record.packet, &mut each),
            Datalink::Uart => hci.h4(record.packet, &mut each),
            Datalink::Bare | Datalink::Monitor => {}
        }
    }
    (said, unusable + hci.abandon())
}
