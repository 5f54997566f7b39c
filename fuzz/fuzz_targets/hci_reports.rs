//! Any sequence of HCI packets is read without panicking, from a controller that lies about every
//! length: nothing is made up, nothing is kept but a few fragments, and it is the same each time.
#![no_main]

use beacon_gateway::scan::hci::{HciReports, Report, Unusable};
use libfuzzer_sys::fuzz_target;

/// Longest data of an extended advertisement (Core Specification, Vol 4 Part E 7.8.54).
const DATA_MAX: usize = 1650;

/// The most unfinished advertisements that are kept.
const UNFINISHED_MAX: u64 = 16;

fuzz_target!(|input: &[u8]| {
    let (said, unfinished) = read(input);
    assert_eq!((&said, unfinished), (&read(input).0, read(input).1), "it depends on more than its input");
    assert!(unfinished <= UNFINISHED_MAX);
    let data: usize = said.iter().flatten().sum();
    assert!(data <= input.len(), "more data came out than went in");
});

/// What each packet said: the length of its data, or why there is none.
fn read(input: &[u8]) -> (Vec<Result<usize, Unusable>>, u64) {
    let mut hci = HciReports::default();
    let mut said = Vec::new();
    for (is_h4, packet) in packets(input) {
        let before = said.len();
        let mut each = |report: Result<Report<'_>, Unusable>| {
            said.push(report.map(|report| {
                assert!(report.data.len() <= DATA_MAX);
                report.data.len()
            }));
        };
        if is_h4 {
            hci.h4(packet, &mut each);
        } else {
            hci.event(packet, &mut each);
        }
        // The shortest report has ten bytes, and a packet may end in a broken one.
        assert!(said.len() - before <= packet.len() / 10 + 1);
    }
    (said, hci.abandon())
}

/// Each packet stands behind its length (two bytes, little-endian) whose top bit says that it
/// begins with its H4 type. The last one may be shorter.
fn packets(mut input: &[u8]) -> impl Iterator<Item = (bool, &[u8])> {
    std::iter::from_fn(move || {
        let (&[low, high], rest) = input.split_first_chunk()?;
        let length = usize::from(u16::from_le_bytes([low, high & 0x7f]));
        let (packet, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        Some((high & 0x80 != 0, packet))
    })
}
