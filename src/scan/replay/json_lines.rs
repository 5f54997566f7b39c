//! Our own format: JSON Lines, first a header, then one advertisement a line. What `scan --record`
//! writes; people and scripts can write it as well.
//!
//! ```text
//! {"beacon_gateway_recording":1,"started":"2026-11-21T10:15:02.417Z"}
//! {"t":0.250000,"receiver":"local","address":"C0:11:22:33:44:55","kind":"random","rssi":-60,"adv":"020106"}
//! ```
//!
//! `t` is seconds since `started`. `started`, `receiver` and `rssi` may be missing or `null`.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;

use super::{
    ReplayError,
    container::{Body, Packet},
    source::Source,
    timeline::Stamp,
};
use crate::{
    engine::{AddressKind, DeviceAddress, ReceiverId, Rssi, UnixTime, parse_octets},
    scan::hci::DATA_MAX,
};

/// The version of the format.
pub(in crate::scan) const VERSION: u32 = 1;

/// Longest line: 1650 bytes of data are 3300 digits; the rest is a name.
const LINE_MAX: usize = 16 * 1024;

const HEADER: &str =
    "a header line like {\"beacon_gateway_recording\":1,\"started\":\"2026-11-21T10:15:02Z\"}";
const LINE: &str = "a line like {\"t\":0.25,\"receiver\":\"local\",\"address\":\"C0:11:22:33:44:55\",\
                    \"kind\":\"random\",\"rssi\":-60,\"adv\":\"020106\"}";

/// Reads the advertisements of a recording of ours.
#[derive(Debug)]
pub(super) struct JsonLines {
    /// When the recording was started, if its header says so.
    pub(super) started: Option<UnixTime>,
    /// The receiver of the last line, so that its name is stored once.
    receiver: Option<ReceiverId>,
}

/// One advertisement of such a recording.
pub(super) struct Recorded {
    pub(super) receiver: Option<ReceiverId>,
    pub(super) address: DeviceAddress,
    pub(super) rssi: Option<Rssi>,
    pub(super) data: Vec<u8>,
}

#[derive(Deserialize)]
struct Header<'a> {
    beacon_gateway_recording: u32,
    #[serde(borrow, default)]
    started: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Line<'a> {
    t: f64,
    #[serde(borrow, default)]
    receiver: Option<Cow<'a, str>>,
    #[serde(borrow)]
    address: Cow<'a, str>,
    kind: Kind,
    #[serde(default)]
    rssi: Option<i8>,
    #[serde(borrow)]
    adv: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Public,
    Random,
}

impl Header<'_> {
    /// Version and beginning.
    fn read(line: &[u8]) -> Option<(u32, Option<UnixTime>)> {
        let header: Header<'_> = serde_json::from_slice(line).ok()?;
        let started: Option<Timestamp> = match header.started {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let started = started.map(|at| UnixTime::from_millis(at.as_millisecond()));
        Some((header.beacon_gateway_recording, started))
    }
}

impl JsonLines {
    pub(super) fn open(source: &mut Source) -> Result<Self, ReplayError> {
        let line = source.line(LINE_MAX)?.unwrap_or_default();
        let Some((version, started)) = Header::read(line) else {
            let cut = !source.line_is_whole();
            return Err(if cut {
                source.truncated("header line", 0)
            } else {
                source.damaged(0, HEADER)
            });
        };
        if version != VERSION {
            return Err(ReplayError::Unsupported {
                name: source.name(),
                found: format!("a recording of version {version}"),
                expected: "version 1; it may have been written by a newer beacon-gateway",
            });
        }
        Ok(Self { started, receiver: None })
    }

    pub(super) fn next(
        &mut self,
        source: &mut Source,
    ) -> Result<Option<Packet<'static>>, ReplayError> {
        loop {
            let offset = source.offset();
            let Some(line) = source.line(LINE_MAX)? else { return Ok(None) };
            if line.trim_ascii().is_empty() {
                continue;
            }
            // What serde says is not repeated: it quotes the line.
            return match self.read(line) {
                Some(packet) => Ok(Some(packet)),
                None if source.line_is_whole() => Err(source.damaged(offset, LINE)),
                None => Err(source.truncated("line", offset)),
            };
        }
    }

    fn read(&mut self, line: &[u8]) -> Option<Packet<'static>> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let kind = match line.kind {
            Kind::Public => AddressKind::Public,
            Kind::Random => AddressKind::Random,
        };
        let address = DeviceAddress::new(parse_octets(&line.address).ok()?, kind);
        let data = hex::decode(&*line.adv).ok().filter(|data| data.len() <= DATA_MAX)?;
        let receiver = line.receiver.map(|name| self.receiver(&name));
        let rssi = line.rssi.and_then(Rssi::from_report);
        Some(Packet {
            stamp: Stamp::Elapsed(micros(line.t)?),
            body: Body::Ours(Recorded { receiver, address, rssi, data }),
        })
    }

    fn receiver(&mut self, name: &str) -> ReceiverId {
        match &self.receiver {
            Some(receiver) if receiver.as_str() == name => receiver.clone(),
            _ => self.receiver.insert(ReceiverId::new(name)).clone(),
        }
    }
}

/// Converts seconds to microseconds; `None` for a negative time or one beyond 285 years, after which
/// the seconds could not be exact.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn micros(seconds: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    let micros = (seconds * 1e6).round();
    (0.0..EXACT).contains(&micros).then_some(micros as i64)
}
