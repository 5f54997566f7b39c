//! What stands around a packet in a recording. One recorded packet in, its advertising reports out.
//!
//! The link types are those of <https://www.tcpdump.org/linktypes.html>. Total: no input panics.

use super::{
    ReplayError,
    link_layer::{self, Reception},
    source::Source,
};
use crate::{
    engine::Rssi,
    scan::hci::{Each, HciReports, MonitorHeader, Unusable},
};

/// How the packets of a recording are wrapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Link {
    /// An HCI event without its H4 packet type.
    Event,
    /// HCI with its H4 packet type (link type 187).
    H4,
    /// The same after four bytes that tell the direction (201). An event has only one.
    H4WithDirection,
    /// Linux monitor: adapter, opcode, packet (254).
    Monitor,
    /// Link Layer packets from the air (251).
    Air,
    /// The same after ten bytes about their reception (256).
    AirWithHeader,
    /// From Nordic's sniffer: its own header, then a Link Layer packet (272).
    NordicBle,
    /// Something that never holds an advertising report.
    Other,
    /// Something we do not speak, beside something we do.
    Unsupported,
}

// Flags of link type 256.
const DEWHITENED: u16 = 0x0001;
const SIGNAL_VALID: u16 = 0x0002;
const CRC_CHECKED: u16 = 0x0400;
const CRC_PASSED: u16 = 0x0800;
const PHY_SHIFT: u16 = 14;

/// The LE Coded PHY, in link types 256 and 272 alike.
const PHY_CODED: u16 = 2;

/// The version of Nordic's header that gave advertising packets a type of their own.
const NORDIC_ADVERTISING_VERSION: u8 = 3;
const NORDIC_PACKET_ADVERTISING: u8 = 0x02;
const NORDIC_PACKET: u8 = 0x06;

impl Link {
    /// What a pcap or pcapng link type says, if it is one that carries advertisements.
    pub(super) fn of_pcap(link_type: u32) -> Option<Self> {
        match link_type {
            187 => Some(Self::H4),
            201 => Some(Self::H4WithDirection),
            251 => Some(Self::Air),
            254 => Some(Self::Monitor),
            256 => Some(Self::AirWithHeader),
            272 => Some(Self::NordicBle),
            _ => None,
        }
    }

    /// Hands on the advertising reports of one packet.
    pub(super) fn reports(self, packet: &[u8], hci: &mut HciReports, each: Each<'_>) {
        match self {
            Self::Event => hci.event(packet, each),
            Self::H4 => hci.h4(packet, each),
            Self::H4WithDirection => match packet {
                [_, _, _, _, h4 @ ..] => hci.h4(h4, each),
                _ => each(Err(Unusable::Malformed)),
            },
            Self::Monitor => match MonitorHeader::of_pcap(packet) {
                Some((header, event)) if header.is_event() => hci.event(event, each),
                Some(_) => {}
                None => each(Err(Unusable::Malformed)),
            },
            Self::Air => {
                link_layer::packet(
                    packet,
                    Reception { coded: None, crc_passed: None, rssi: None },
                    each,
                );
            }
            Self::AirWithHeader => with_header(packet, each),
            Self::NordicBle => nordic(packet, each),
            Self::Other => {}
            Self::Unsupported => each(Err(Unusable::Unsupported)),
        }
    }
}

/// The error for a recording of another kind of network.
pub(super) fn unsupported(source: &Source, link_type: u32) -> ReplayError {
    ReplayError::Unsupported {
        name: source.name(),
        found: format!("packets of link type {link_type}"),
        expected: "link type 187, 201 or 254 (HCI), 251 or 256 (Bluetooth LE Link Layer) or 272 \
                   (nRF Sniffer)",
    }
}

/// Channel, signal power, noise power, access address offences, reference access address (4),
/// flags (2), all little-endian.
fn with_header(packet: &[u8], each: Each<'_>) {
    let Some((&[_, signal, _, _, _, _, _, _, flags @ ..], air)) = packet.split_first_chunk::<10>()
    else {
        return each(Err(Unusable::Malformed));
    };
    let flags = u16::from_le_bytes(flags);
    if flags & DEWHITENED == 0 {
        return each(Err(Unusable::Unsupported));
    }
    let rssi = (flags & SIGNAL_VALID != 0).then(|| Rssi::from_report(signal.cast_signed()));
    let reception = Reception {
        coded: Some(flags >> PHY_SHIFT == PHY_CODED),
        crc_passed: (flags & CRC_CHECKED != 0).then_some(flags & CRC_PASSED != 0),
        rssi: rssi.flatten(),
    };
    link_layer::packet(air, reception, each);
}

/// Board, six bytes of header, and for a packet from the air a header of its own whose first byte
/// is its length: flags, channel, RSSI, counter (2), time (4).
///
/// The six bytes are in version 1 header length, payload length, version, counter (2), packet type;
/// from version 2 on payload length (2), version, counter (2), packet type.
fn nordic(packet: &[u8], each: Each<'_>) {
    if let [0xbe, 0xef, _, _, _, _, _, length, payload @ ..] = packet
        && payload.len() == usize::from(*length)
    {
        // Version 0 had no version number but this mark, and went out of use in 2016.
        return each(Err(Unusable::Unsupported));
    }
    let Some((&[_, _, _, version, _, _, packet_type], payload)) = packet.split_first_chunk::<7>()
    else {
        return each(Err(Unusable::Malformed));
    };
    match (version, packet_type) {
        (1 | 2, NORDIC_PACKET) | (NORDIC_ADVERTISING_VERSION.., NORDIC_PACKET_ADVERTISING) => {}
        // The sniffer's own messages and packets of connections.
        (1.., _) => return,
        (0, _) => return each(Err(Unusable::Unsupported)),
    }
    let (Some([length, flags, _, rssi, ..]), air) = (
        payload.first_chunk::<10>(),
        payload.first().and_then(|length| payload.get(usize::from(*length)..)),
    ) else {
        return each(Err(Unusable::Malformed));
    };
    let Some(air) = air.filter(|_| *length >= 10) else {
        return each(Err(Unusable::Malformed));
    };
    let reception = Reception {
        coded: Some(u16::from(flags >> 4) & 0b111 == PHY_CODED),
        crc_passed: Some(flags & 1 != 0),
        // The sniffer writes the strength without its sign.
        rssi: i8::try_from(-i16::from(*rssi)).ok().map(Rssi),
    };
    link_layer::packet(air, reception, each);
}
