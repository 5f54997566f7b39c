//! Recordings that are cut short, damaged, or never end.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use beacon_gateway::scan::replay::{self, ReplayError};

use super::{
    open, read,
    write::{self, Order, Times, Written, sample},
};

/// One small recording of each format; their link types differ so that each is damaged somewhere.
fn small() -> Vec<Written> {
    let sent = &sample()[..2];
    vec![
        write::btsnoop(1001, sent),
        write::btsnoop(1002, sent),
        write::btsnoop(2001, sent),
        write::pcap(201, Order::Big, false, sent),
        write::pcap(251, Order::Little, false, sent),
        write::pcap(254, Order::Little, true, sent),
        write::pcapng(256, Order::Little, write::BINARY_30, sent),
        write::pcapng(272, Order::Big, 9, sent),
        write::hcidump(Times::None, sent),
        write::hcidump(Times::Unix, sent),
        write::hcidump(Times::Local, sent),
        write::json_lines(sent),
    ]
}

/// What a message says, with its cause.
fn said(error: &ReplayError) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error} {} {error:?}", cause.unwrap_or_default()).to_lowercase()
}

#[test]
fn a_recording_cut_anywhere_tells_what_came_before_and_then_where_it_ends() {
    for Written { name, bytes, expected, .. } in small() {
        let mut clean_ends = 0;
        for cut in 0..bytes.len() {
            let (heard, error) = read(&bytes[..cut]);
            assert!(expected.starts_with(&heard), "{name} cut at {cut}");
            match error {
                None => clean_ends += 1,
                Some(ReplayError::Truncated { begin, end, .. }) => {
                    assert!(begin < end && end == cut as u64, "{name} cut at {cut}: {begin} {end}");
                }
                // So little of it that nothing tells what it is.
                Some(ReplayError::Empty { .. } | ReplayError::Unrecognised { .. }) => {
                    assert!(heard.is_empty(), "{name} cut at {cut}");
                }
                Some(other) => panic!("{name} cut at {cut}: {other}"),
            }
        }
        if name.starts_with("hcidump") || name.starts_with("JSON") {
            // White space, a line's end, half a time of a packet that has not begun: all the same.
            assert!(clean_ends < bytes.len() / 3, "{name}: {clean_ends} clean ends");
        } else {
            // The end of the header, of a packet, and in pcapng of the section's header.
            let ends = expected.len() + usize::from(name.starts_with("pcapng"));
            assert_eq!(clean_ends, ends, "{name}");
        }
    }
}

#[test]
fn no_damaged_byte_of_a_btsnoop_file_does_harm() {
    damage("btsnoop");
}

#[test]
fn no_damaged_byte_of_a_pcap_file_does_harm() {
    damage("pcap ");
}

#[test]
fn no_damaged_byte_of_a_pcapng_file_does_harm() {
    damage("pcapng");
}

#[test]
fn no_damaged_byte_of_a_text_does_harm() {
    damage("hcidump");
}

#[test]
fn no_damaged_byte_of_our_own_format_does_harm() {
    damage("JSON Lines");
}

/// Bytes that mean something in a text, or nothing at all.
const TELLING: &[u8] = b"\0\x01\t\n\r \"+,-.019:<>AFGTZafgz[]\\{}\x7f\x80\xc3\xff";

/// Replaces each byte by every other, or in a text by all that could make a difference: nothing
/// panics, everything ends, nothing is told twice, and no message shows an address or data.
fn damage(format: &str) {
    let every: Vec<u8> = (0..=255).collect();
    for Written { name, bytes, .. } in small() {
        if !name.starts_with(format) {
            continue;
        }
        let text = bytes.is_ascii() && !bytes.contains(&0);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            for &byte in if text { TELLING } else { &every } {
                damaged[place] = byte;
                let (heard, error) = read(&damaged);
                // A report takes at least ten bytes, so a file cannot tell of more.
                assert!(heard.len() <= bytes.len() / 10, "{name} at {place}: {byte}");
                assert!(heard.is_sorted_by_key(|heard| heard.heard), "{name} at {place}: {byte}");
                if let Some(error) = error {
                    let said = said(&error);
                    for secret in ["c1:22:33", "22334455", "55443322", "0303aafe", "name,"] {
                        assert!(!said.contains(secret), "{name} at {place}: {said}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_counts_of_a_damaged_file_still_add_up() {
    let Written { bytes, .. } = write::btsnoop(1002, &sample()[..3]);
    for place in 16..bytes.len() {
        for byte in [0x00, 0x01, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] = byte;
            let Ok(mut recording) = open(&damaged) else { continue };
            let heard = recording.by_ref().take_while(Result::is_ok).count() as u64;
            let counts = recording.counts();
            assert_eq!(counts.advertisements, heard);
            // A packet yields advertisements, unusable reports, or neither; here at least one thing.
            assert!(heard + counts.other + counts.unusable_total() >= counts.packets, "{counts:?}");
        }
    }
}

#[test]
fn a_length_that_cannot_be_is_refused_before_anything_is_read_for_it() {
    let mut btsnoop = write::btsnoop(1002, &sample()[..2]).bytes;
    btsnoop[20..24].fill(0xff);
    let mut pcap = write::pcap(187, Order::Little, false, &sample()[..2]).bytes;
    pcap[32..36].fill(0xff);
    let mut pcapng = write::pcapng(187, Order::Little, 6, &sample()[..2]).bytes;
    let packet =
        write::section(Order::Little).len() + write::interface(Order::Little, 187, Some(6)).len();
    pcapng[packet + 4..packet + 8].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
    let long_line = [&b"> 04 3E 00\n"[..], &[b' '; 10_000]].concat();
    for (bytes, at) in [(btsnoop, 20), (pcap, 32), (pcapng, packet + 4), (long_line, 11)] {
        let (heard, error) = read(&bytes);
        match error {
            Some(ReplayError::Damaged { offset, .. }) => assert_eq!(offset, at as u64),
            other => panic!("{other:?}"),
        }
        assert!(heard.is_empty());
    }
}

#[test]
fn an_error_of_the_disk_comes_after_what_was_read() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let Written { bytes, expected, .. } = write::btsnoop(1002, &sample());
    let length = bytes.len() as u64;
    let recording = replay::read("disk", io::Cursor::new(bytes).chain(Failing), None).unwrap();
    let (heard, error) = super::drain(recording);
    assert_eq!(heard, expected);
    assert!(
        matches!(error, Some(ReplayError::Read { offset, .. }) if offset == length),
        "{error:?}"
    );
}

/// The same bytes over and over. Remembers the most that anybody wanted to read at once, which is as
/// much as they had room for.
struct Endless {
    bytes: Vec<u8>,
    place: usize,
    most_wanted: Arc<AtomicUsize>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.most_wanted.fetch_max(buffer.len(), Ordering::Relaxed);
        let rest = &self.bytes[self.place..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.place = (self.place + count) % self.bytes.len();
        Ok(count)
    }
}

#[test]
fn a_recording_of_any_length_needs_no_more_memory_than_a_short_one() {
    const LENGTH: u64 = 4 << 20;
    let sent = &sample()[..1];
    let section = write::section(Order::Little);
    let interface = write::interface(Order::Little, 187, None);
    let claims = |length: u32| [&9_u32.to_le_bytes()[..], &length.to_le_bytes()].concat();
    for (name, begins, goes_on, ends_well) in [
        ("btsnoop", &b""[..], write::btsnoop(1002, sent).bytes, true),
        ("pcap", b"", write::pcap(187, Order::Little, false, sent).bytes, true),
        ("pcapng", b"", write::pcapng(187, Order::Little, 6, sent).bytes, true),
        ("hcidump", b"", write::hcidump(Times::Unix, sent).bytes, true),
        ("a packet without end", b"> 02 00\n", b"  00 00 00\n".to_vec(), true),
        ("a line without end", b"> 04 3E\n", b"00 00 00 ".to_vec(), false),
        ("a header without end", b"{\"beacon_gateway_recording\":1,", b" ".repeat(99), false),
        ("interfaces without end", &section, interface, false),
        ("a block of 4 GB", &[section.clone(), claims(0xffff_fff0)].concat(), vec![0; 99], false),
    ] {
        let most_wanted = Arc::new(AtomicUsize::new(0));
        // The header only once; what is no whole packet at the end is cut off.
        let header = match name {
            "btsnoop" => 16,
            "pcap" => 24,
            _ => 0,
        };
        let (header, packets) = goes_on.split_at(header);
        let whole = packets.len() as u64;
        let endless =
            Endless { bytes: packets.to_vec(), place: 0, most_wanted: Arc::clone(&most_wanted) };
        let begins = io::Cursor::new([begins, header].concat());
        let reader = begins.chain(endless.take(LENGTH.next_multiple_of(whole)));
        let error = match replay::read(name, reader, None) {
            Ok(recording) => super::drain(recording).1,
            Err(error) => Some(error),
        };
        assert_eq!(error.is_none(), ends_well, "{name}: {error:?}");
        let most_wanted = most_wanted.load(Ordering::Relaxed);
        assert!((1..300_000).contains(&most_wanted), "{name}: {most_wanted} bytes at once");
    }
}
