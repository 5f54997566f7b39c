//! What an advertiser sends, and the events by which a controller tells of it.

use std::io;

/// What an advertiser sends.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Most significant octet first.
    pub(crate) address: [u8; 6],
    pub(crate) random: bool,
    pub(crate) rssi: i8,
    pub(crate) kind: Kind,
    pub(crate) phy: Phy,
    /// At most 31 octets, or 1,650 where controllers know long advertisements.
    pub(crate) data: Vec<u8>,
}

/// The event types of an advertising report (7.7.65.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// Connectable and scannable. The kernel holds it back until a scan response, or another
    /// device's report, follows.
    Connectable = 0,
    /// Neither: delivered at once.
    NonConnectable = 3,
    /// What follows a connectable one when it was asked for more.
    ScanResponse = 4,
}

/// On which PHY it is sent, by the bits of 7.8.64.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phy {
    /// Every device's.
    OneMegabit = 1,
    /// Four times as far, at an eighth of the speed.
    Coded = 4,
}

const LE_ADVERTISING_REPORT: u8 = 0x02;
const LE_EXTENDED_ADVERTISING_REPORT: u8 = 0x0d;

/// What an advertisement of version 4 carries at most.
const LEGACY_MOST: usize = 31;
/// What one extended report carries at most: an event has 255 octets, 26 of them before the data.
const FRAGMENT_MOST: usize = 229;

/// Neither a transmit power, nor a periodic advertiser, nor an addressee (7.7.65.13).
const TX_POWER_UNKNOWN: u8 = 0x7f;
const NO_SET: u8 = 0xff;
const MORE_TO_COME: u16 = 0b01 << 5;

impl Report {
    /// The parameters of the events, first to last.
    pub(super) fn events(&self, extended: bool) -> io::Result<Vec<Vec<u8>>> {
        let legacy = self.data.len() <= LEGACY_MOST && self.phy == Phy::OneMegabit;
        match (extended, legacy) {
            (false, true) => Ok(vec![self.legacy_event()]),
            (false, false) => Err(io::Error::other("this controller hears nothing like that")),
            (true, true) => Ok(vec![self.extended_event(self.extended_kind(), &self.data)]),
            (true, false) => {
                let mut fragments = self.data.chunks(FRAGMENT_MOST).peekable();
                let mut events = Vec::new();
                while let Some(fragment) = fragments.next() {
                    let more = if fragments.peek().is_some() { MORE_TO_COME } else { 0 };
                    events.push(self.extended_event(more, fragment));
                }
                Ok(events)
            }
        }
    }

    fn legacy_event(&self) -> Vec<u8> {
        let mut event = vec![LE_ADVERTISING_REPORT, 1, self.kind as u8, self.random.into()];
        event.extend(self.address.iter().rev());
        event.push(octet(self.data.len()));
        event.extend_from_slice(&self.data);
        event.extend(self.rssi.to_le_bytes());
        event
    }

    /// The event type of an advertisement of version 4: bit 4, and what it can do.
    fn extended_kind(&self) -> u16 {
        match self.kind {
            Kind::Connectable => 0x13,
            Kind::NonConnectable => 0x10,
            Kind::ScanResponse => 0x1b,
        }
    }

    fn extended_event(&self, kind: u16, data: &[u8]) -> Vec<u8> {
        let mut event = vec![LE_EXTENDED_ADVERTISING_REPORT, 1];
        event.extend(kind.to_le_bytes());
        event.push(self.random.into());
        event.extend(self.address.iter().rev());
        // The primary PHY is numbered 1 or 3; a long advertisement goes on on a secondary one.
        let primary = if self.phy == Phy::Coded { 3 } else { 1 };
        let secondary = if kind & 0x10 == 0 { primary } else { 0 };
        let set = if kind & 0x10 == 0 { 0 } else { NO_SET };
        event.extend([primary, secondary, set, TX_POWER_UNKNOWN]);
        event.extend(self.rssi.to_le_bytes());
        // No periodic interval, and no addressee: two octets, one and six.
        event.extend([0; 9]);
        event.push(octet(data.len()));
        event.extend_from_slice(data);
        event
    }
}

/// A length that was bounded before.
fn octet(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}
