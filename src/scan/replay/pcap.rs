//! pcap: a 24-byte header and records of 16 bytes plus data, in the byte order of the machine that
//! wrote it (draft-ietf-opsawg-pcap).

use super::{
    ReplayError,
    container::{Body, MAX_PACKET, Packet},
    link::{self, Link},
    source::Source,
    timeline::Stamp,
};

const HEADER: &str = "header of the pcap file";
const RECORD: &str = "pcap record";

/// Which way the numbers are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Little,
    Big,
}

/// Reads the records of a pcap file.
#[derive(Debug)]
pub(super) struct Pcap {
    order: Order,
    nanoseconds: bool,
    link: Link,
}

impl Order {
    pub(super) fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    pub(super) fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            Self::Little => i64::from_le_bytes(bytes),
            Self::Big => i64::from_be_bytes(bytes),
        }
    }
}

/// The byte order, and whether times are in nanoseconds, that a file's first four bytes announce.
pub(super) fn recognise(magic: [u8; 4]) -> Option<(Order, bool)> {
    match u32::from_le_bytes(magic) {
        0xa1b2_c3d4 => Some((Order::Little, false)),
        0xa1b2_3c4d => Some((Order::Little, true)),
        0xd4c3_b2a1 => Some((Order::Big, false)),
        0x4d3c_b2a1 => Some((Order::Big, true)),
        _ => None,
    }
}

impl Pcap {
    pub(super) fn open(
        source: &mut Source,
        (order, nanoseconds): (Order, bool),
    ) -> Result<Self, ReplayError> {
        let header: [u8; 24] = source.array(HEADER, 0)?;
        let [.., l0, l1, l2, l3] = header;
        // The link type is in the lower half; the upper one describes checksums of other networks.
        let link_type = order.u32([l0, l1, l2, l3]) & 0xffff;
        match Link::of_pcap(link_type) {
            Some(link) => Ok(Self { order, nanoseconds, link }),
            None => Err(link::unsupported(source, link_type)),
        }
    }

    pub(super) fn next<'a>(
        &mut self,
        source: &'a mut Source,
    ) -> Result<Option<Packet<'a>>, ReplayError> {
        if !source.fill(1)? {
            return Ok(None);
        }
        let begin = source.offset();
        let [s0, s1, s2, s3, u0, u1, u2, u3, i0, i1, i2, i3, o0, o1, o2, o3] =
            source.array(RECORD, begin)?;
        let seconds = i64::from(self.order.u32([s0, s1, s2, s3]));
        let fraction = i64::from(self.order.u32([u0, u1, u2, u3]));
        let included = self.order.u32([i0, i1, i2, i3]);
        let original = self.order.u32([o0, o1, o2, o3]);
        let Some(length) = usize::try_from(included).ok().filter(|length| *length <= MAX_PACKET)
        else {
            return Err(source.damaged(begin + 8, "a record of at most 262144 bytes"));
        };
        let micros = if self.nanoseconds { fraction / 1000 } else { fraction };
        Ok(Some(Packet {
            stamp: Stamp::Unix(seconds * 1_000_000 + micros),
            body: Body::Radio {
                link: self.link,
                cut: included < original,
                bytes: source.take(length, RECORD, begin)?,
            },
        }))
    }
}
