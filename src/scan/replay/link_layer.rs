//! Link Layer packets as a sniffer takes them from the reception. One packet in, its advertisement out.
//!
//! Total: no input panics.

use crate::{
    engine::{AddressKind, Rssi},
    scan::hci::{Each, LEGACY_DATA_MAX, Report, Unusable, from_air},
};

/// What the recording says about the reception of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reception {
    /// Sent on the LE Coded PHY, so that a coding indicator follows the access address; `None`
    /// when only the lengths can tell.
    pub(super) coded: Option<bool>,
    /// Whether the checksum was right; `None` when nobody checked.
    pub(super) crc_passed: Option<bool>,
    pub(super) rssi: Option<Rssi>,
}

/// The access address of all advertising, as sent (Core Specification 5.4, Vol 6 Part B 2.1.2).
const ADVERTISING: [u8; 4] = 0x8e89_bed6_u32.to_le_bytes();

// Types of advertising PDUs (Vol 6 Part B 2.3).
const ADV_IND: u8 = 0;
const ADV_DIRECT_IND: u8 = 1;
const ADV_NONCONN_IND: u8 = 2;
const SCAN_RSP: u8 = 4;
const ADV_SCAN_IND: u8 = 6;
/// `ADV_EXT_IND` on a primary channel; `AUX_ADV_IND` and its like on the others.
const EXTENDED: u8 = 7;

/// `TxAdd`: the sender's address is random.
const TX_ADD: u8 = 0x40;

// Flags of the extended header, and the lengths of the fields (Vol 6 Part B 2.3.4).
const HAS_ADDRESS: u8 = 1 << 0;
const HAS_AUX_POINTER: u8 = 1 << 4;

/// Hands on the advertisement in a packet: access address, PDU, checksum. Packets of connections,
/// scan requests and connection requests are passed over.
pub(super) fn packet(packet: &[u8], reception: Reception, each: Each<'_>) {
    let Some((access_address, rest)) = packet.split_first_chunk() else {
        return each(Err(Unusable::Malformed));
    };
    if *access_address != ADVERTISING {
        return;
    }
    if reception.crc_passed == Some(false) {
        return each(Err(Unusable::BadChecksum));
    }
    let Some(Pdu { header, payload, after }) = Pdu::split(rest, reception.coded) else {
        return each(Err(Unusable::Malformed));
    };
    if reception.crc_passed.is_none() && !checksum_is_credible(header, payload, after) {
        return each(Err(Unusable::BadChecksum));
    }
    let [first, _] = header;
    let kind = if first & TX_ADD == 0 { AddressKind::Public } else { AddressKind::Random };
    match first & 0x0f {
        ADV_IND | ADV_NONCONN_IND | SCAN_RSP | ADV_SCAN_IND => {
            legacy(payload, kind, reception.rssi, each);
        }
        ADV_DIRECT_IND => directed(payload, kind, reception.rssi, each),
        EXTENDED => extended(payload, kind, reception.rssi, each),
        _ => {}
    }
}

/// The parts of a packet after its access address.
struct Pdu<'a> {
    header: [u8; 2],
    payload: &'a [u8],
    /// The checksum, if it was recorded.
    after: &'a [u8],
}

impl<'a> Pdu<'a> {
    fn split(bytes: &'a [u8], coded: Option<bool>) -> Option<Self> {
        match coded {
            Some(false) => Self::plain(bytes),
            Some(true) => Self::plain(bytes.get(1..)?),
            // Of the two readings the right one ends where the packet ends.
            None => {
                let ends = |pdu: &Self| pdu.after.len() == CRC_LENGTH;
                let plain = Self::plain(bytes);
                let coded = || bytes.get(1..).and_then(Self::plain).filter(ends);
                if plain.as_ref().is_some_and(ends) { plain } else { coded().or(plain) }
            }
        }
    }

    fn plain(bytes: &'a [u8]) -> Option<Self> {
        let (&[first, length], rest) = bytes.split_first_chunk()?;
        let (payload, after) = rest.split_at_checked(usize::from(length))?;
        Some(Self { header: [first, length], payload, after })
    }
}

fn legacy(payload: &[u8], kind: AddressKind, rssi: Option<Rssi>, each: Each<'_>) {
    match payload.split_first_chunk() {
        Some((address, data)) if data.len() <= LEGACY_DATA_MAX => {
            each(Ok(Report { address: from_air(*address, kind), rssi, data }));
        }
        _ => each(Err(Unusable::Malformed)),
    }
}

/// Addresses of sender and target, and no data.
fn directed(payload: &[u8], kind: AddressKind, rssi: Option<Rssi>, each: Each<'_>) {
    match payload.split_first_chunk() {
        Some((address, [_, _, _, _, _, _])) => {
            each(Ok(Report { address: from_air(*address, kind), rssi, data: &[] }));
        }
        _ => each(Err(Unusable::Malformed)),
    }
}

/// A header that says its own length, then data.
///
/// Only what one packet says completely is handed on: the parts of an advertisement that spans
/// several packets are not looked for in the rest of the recording.
fn extended(payload: &[u8], kind: AddressKind, rssi: Option<Rssi>, each: Each<'_>) {
    let parts = payload
        .split_first()
        .and_then(|(length, rest)| rest.split_at_checked(usize::from(length & 0x3f)));
    let Some((header, data)) = parts else {
        return each(Err(Unusable::Malformed));
    };
    let (flags, fields) = header.split_first().map_or((0, header), |(flags, rest)| (*flags, rest));
    let goes_on = flags & HAS_AUX_POINTER != 0;
    if goes_on && data.is_empty() {
        // It only says where the advertisement will be sent.
        return;
    }
    if flags & HAS_ADDRESS == 0 {
        return each(Err(Unusable::Anonymous));
    }
    match fields.first_chunk() {
        Some(_) if goes_on => each(Err(Unusable::Incomplete)),
        Some(address) => each(Ok(Report { address: from_air(*address, kind), rssi, data })),
        None => each(Err(Unusable::Malformed)),
    }
}

const CRC_LENGTH: usize = 3;

/// Checks a checksum that nobody checked. Absent or all zero it says nothing: so write it tools
/// that never had it.
fn checksum_is_credible(header: [u8; 2], payload: &[u8], after: &[u8]) -> bool {
    match after.first_chunk() {
        None | Some([0, 0, 0]) => true,
        Some(recorded) => *recorded == crc(header.iter().chain(payload)),
    }
}

/// The checksum of an advertising packet, in the order of transmission (Vol 6 Part B 3.1.1):
/// polynomial `x^24 + x^10 + x^9 + x^6 + x^4 + x^3 + x + 1`, least significant bit first, beginning
/// with 0x555555. Here the register is kept bit-reversed.
fn crc<'a>(bytes: impl Iterator<Item = &'a u8>) -> [u8; CRC_LENGTH] {
    const POLYNOMIAL: u32 = 0x00da_6000;
    const BEGIN: u32 = 0x00aa_aaaa;
    let register = bytes.fold(BEGIN, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            (register >> 1) ^ if register & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    });
    let [first, second, third, _] = register.to_le_bytes();
    [first, second, third]
}
