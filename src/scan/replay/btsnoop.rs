//! btsnoop: what Android's "HCI snoop log", `btmon -w` and `hcidump -w` write.
//!
//! A 16-byte header and records of 24 bytes plus data, all numbers big-endian. The layout is that
//! of the snoop format of RFC 1761, with Bluetooth's own datalink types and a clock of its own.

use super::{
    ReplayError,
    container::{Body, MAX_PACKET, Packet},
    link::Link,
    source::Source,
    timeline::Stamp,
};
use crate::scan::hci::MonitorHeader;

/// The first bytes of every btsnoop file.
pub(super) const MAGIC: [u8; 8] = *b"btsnoop\0";

/// Microseconds from 0000-01-01, where btsnoop counts from, to 1970-01-01.
const UNIX_EPOCH_MICROS: i64 = 0x00dc_ddb3_0f2f_8000;

/// The packet flag of a command or event, as opposed to data.
const FLAG_COMMAND_OR_EVENT: u32 = 0b10;

/// The packet flag of what came from the controller, as opposed to what was sent to it.
const FLAG_RECEIVED: u32 = 0b01;

const HEADER: &str = "header of the btsnoop file";
const RECORD: &str = "btsnoop record";

/// Reads the records of a btsnoop file.
#[derive(Debug)]
pub(super) struct Btsnoop {
    datalink: Datalink,
}

#[derive(Clone, Copy, Debug)]
enum Datalink {
    /// 1001: packets without their type, which the record's flags tell.
    Bare,
    /// 1002: packets with their H4 type.
    Uart,
    /// 2001: the Linux monitor's; the record's flags are adapter and opcode.
    Monitor,
}

impl Btsnoop {
    pub(super) fn open(source: &mut Source) -> Result<Self, ReplayError> {
        let [_, _, _, _, _, _, _, _, v0, v1, v2, v3, d0, d1, d2, d3] = source.array(HEADER, 0)?;
        if u32::from_be_bytes([v0, v1, v2, v3]) != 1 {
            return Err(source.damaged(8, "version 1 of btsnoop"));
        }
        let datalink = match u32::from_be_bytes([d0, d1, d2, d3]) {
            1001 => Datalink::Bare,
            1002 => Datalink::Uart,
            2001 => Datalink::Monitor,
            other => {
                return Err(ReplayError::Unsupported {
                    name: source.name(),
                    found: format!("packets of datalink type {other}"),
                    expected: "btsnoop datalink type 1001 (HCI), 1002 (HCI UART) or 2001 (Linux \
                               monitor)",
                });
            }
        };
        Ok(Self { datalink })
    }

    pub(super) fn next<'a>(
        &mut self,
        source: &'a mut Source,
    ) -> Result<Option<Packet<'a>>, ReplayError> {
        if !source.fill(1)? {
            return Ok(None);
        }
        let begin = source.offset();
        let [
            o0,
            o1,
            o2,
            o3,
            i0,
            i1,
            i2,
            i3,
            f0,
            f1,
            f2,
            f3,
            _,
            _,
            _,
            _,
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
        ] = source.array(RECORD, begin)?;
        let original = u32::from_be_bytes([o0, o1, o2, o3]);
        let included = u32::from_be_bytes([i0, i1, i2, i3]);
        let flags = u32::from_be_bytes([f0, f1, f2, f3]);
        let micros = i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let Some(length) = usize::try_from(included).ok().filter(|length| *length <= MAX_PACKET)
        else {
            return Err(source.damaged(begin + 4, "a record of at most 262144 bytes"));
        };
        Ok(Some(Packet {
            stamp: Stamp::Unix(micros.saturating_sub(UNIX_EPOCH_MICROS)),
            body: Body::Radio {
                link: self.datalink.link(flags),
                cut: included < original,
                bytes: source.take(length, RECORD, begin)?,
            },
        }))
    }
}

impl Datalink {
    fn link(self, flags: u32) -> Link {
        let event = match self {
            Self::Uart => return Link::H4,
            Self::Bare => flags & 0b11 == FLAG_COMMAND_OR_EVENT | FLAG_RECEIVED,
            Self::Monitor => MonitorHeader::of_btsnoop(flags).is_event(),
        };
        if event { Link::Event } else { Link::Other }
    }
}
