//! The real recordings of the shared data.
//!
//! The numbers were found by other means. For the files of the nRF Sniffer with `tshark` 4.0.17:
//!
//! ```text
//! tshark -r FILE -T fields -e nordic_ble.crcok -e btle.advertising_header.pdu_type | sort | uniq -c
//! tshark -r FILE -Y 'nordic_ble.crcok==1 && btle.advertising_header.pdu_type in {0 2 4 6}' \
//!     -T fields -e nordic_ble.rssi -e btle.advertising_header.length -e btle.advertising_address
//! ```
//!
//! with the strengths added up, and the lengths less the six octets of each address; for the text
//! of `hcidump` with twenty lines of Python that join its lines and walk the reports.

#![expect(clippy::print_stderr, reason = "says which cases did not run")]

use std::{collections::HashSet, path::PathBuf};

use beacon_gateway::{
    engine::{Advertisement, UnixTime, Uptime},
    scan::replay::{self, Counts, Format},
};

/// What is known of a recording.
struct Known {
    file: &'static str,
    format: Format,
    counts: Counts,
    addresses: usize,
    rssi_sum: i64,
    data_sum: usize,
    /// Milliseconds since 1970 of the first packet.
    started: Option<i64>,
    /// Microseconds from the first advertisement to the last.
    lasted: i64,
}

/// The folder of the shared data, if it is there.
fn captures() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = std::env::var_os("BEACON_GATEWAY_DATA").map_or_else(beside, PathBuf::from);
    let captures = data.join("captures");
    captures.is_dir().then_some(captures)
}

fn check(known: &Known) {
    let Some(folder) = captures() else {
        eprintln!("The shared data is absent: the recording {} was not read.", known.file);
        return;
    };
    let mut recording = replay::open(&folder.join(known.file)).unwrap();
    let advertisements: Vec<_> = recording.by_ref().collect::<Result<_, _>>().unwrap();
    let addresses: HashSet<_> = advertisements.iter().map(Advertisement::address).collect();
    let rssi = advertisements.iter().filter_map(|heard| heard.rssi).map(|rssi| i64::from(rssi.0));
    let times: Vec<_> = advertisements.iter().map(|heard| heard.heard).collect();
    let (first, last) = (times.first().unwrap(), times.last().unwrap());

    assert_eq!(recording.format(), known.format);
    assert_eq!(recording.counts(), known.counts);
    assert_eq!(addresses.len(), known.addresses);
    assert_eq!(rssi.sum::<i64>(), known.rssi_sum);
    assert_eq!(
        advertisements.iter().map(|heard| heard.data().len()).sum::<usize>(),
        known.data_sum
    );
    assert_eq!(recording.started_unix(), known.started.map(UnixTime::from_millis));
    assert_eq!(last.as_micros() - first.as_micros(), known.lasted);
    assert!(times.is_sorted() && *first >= Uptime::ZERO);
    assert_eq!(Some(recording.progress().read()), recording.progress().total());
}

#[test]
fn a_short_recording_of_the_nrf_sniffer_is_read() {
    check(&Known {
        file: "nrf52-sniffer-static-0.pcapng",
        format: Format::Pcapng,
        // 15 scan requests are no advertisements; 32 packets have a wrong checksum.
        counts: Counts {
            packets: 832,
            advertisements: 785,
            other: 15,
            bad_checksum: 32,
            ..Counts::default()
        },
        addresses: 9,
        rssi_sum: -46_858,
        data_sum: 22_997,
        started: Some(1_588_358_358_742),
        lasted: 2_435_831,
    });
}

#[test]
fn a_long_recording_of_the_nrf_sniffer_is_read() {
    check(&Known {
        file: "nrf52-sniffer-static-135.pcapng",
        format: Format::Pcapng,
        // 12 scan requests, and 140 packets with a wrong checksum, two scan requests among them.
        counts: Counts {
            packets: 6863,
            advertisements: 6711,
            other: 12,
            bad_checksum: 140,
            ..Counts::default()
        },
        addresses: 7,
        rssi_sum: -376_809,
        data_sum: 201_053,
        started: Some(1_588_358_716_831),
        lasted: 31_727_112,
    });
}

#[test]
fn a_text_of_hcidump_is_read() {
    check(&Known {
        file: "ruuvi-hcidump.txt",
        format: Format::Hcidump,
        counts: Counts { packets: 303, advertisements: 303, ..Counts::default() },
        addresses: 3,
        rssi_sum: -15_252,
        data_sum: 8177,
        started: None,
        // Without times every packet is taken to come 100 ms after the last.
        lasted: 302 * 100_000,
    });
}
