//! Bluetooth as the kernel speaks it: HCI. Here, one HCI packet of bytes in, its advertising reports
//! out, one call each.
//!
//! Total: no input panics. Nothing is kept between packets but the fragments of extended
//! advertisements that are still incomplete, and those are bounded. Recordings and live sockets are
//! read by the same code.
//!
//! | part | what it does |
//! |---|---|
//! | [`mgmt`] | lists adapters, switches them on and off, tells when they come and go |
//! | [`monitor`] | listens to what the kernel and one controller say to each other |
//! | [`user`] | has one controller for itself alone, and scans with it |
//! | [`hardware`] | resets a controller that no longer listens |
//! | [`rehearsal`] | plays a script to the deciders of the above, for fuzzing |

mod adapter;
mod error;
mod fragments;
pub mod hardware;
mod item;
pub mod mgmt;
pub mod monitor;
pub mod rehearsal;
mod session;
mod settings;
mod socket;
pub mod user;

use std::{fmt, time::Duration};

use thiserror::Error;

use self::fragments::{Fragments, Joined, Key};
#[cfg(feature = "bluetooth")]
pub(super) use self::session::reset_for;
pub use self::{
    adapter::{Adapter, Bus, Classic, NotAnAdapter, Wanted},
    error::{HciError, OsError},
    item::{Item, News},
    settings::{Phy, Settings},
    socket::Queue,
};
pub(super) use self::{monitor::MonitorHeader, session::live};
use crate::{
    clock::Clock,
    engine::{AddressKind, DeviceAddress, Rssi},
};

/// One advertising report, borrowed from the packet it came in.
///
/// `Debug` shows sizes only: the data may be a stranger's.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Report<'a> {
    /// The address it was sent from.
    pub address: DeviceAddress,
    /// How loud it was; `None` when the controller could not tell.
    pub rssi: Option<Rssi>,
    /// Advertising data: 0 to 31 bytes of a legacy report, 0 to 1650 of an extended one.
    pub data: &'a [u8],
}

/// Why a report carried no usable advertisement.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Unusable {
    /// Its lengths or values contradict the specification.
    #[error("malformed")]
    Malformed,
    /// The radio received it with errors.
    #[error("bad checksum")]
    BadChecksum,
    /// It has no address: its sender is anonymous, or gave the address in another packet.
    #[error("anonymous")]
    Anonymous,
    /// It is a part of a longer advertisement whose other parts are missing.
    #[error("incomplete")]
    Incomplete,
    /// The recorder kept only the beginning of the packet.
    #[error("cut short")]
    CutShort,
    /// It was recorded in a form we do not speak.
    #[error("unsupported")]
    Unsupported,
}

/// Called once for each report of a packet. A packet without reports calls nothing.
pub type Each<'f> = &'f mut dyn FnMut(Result<Report<'_>, Unusable>);

/// Reads HCI packets one by one and joins the fragments of extended advertisements.
#[derive(Debug, Default)]
pub struct HciReports {
    fragments: Fragments,
}

/// The H4 packet type of an event (Core Specification 5.4, Vol 4 Part A 2).
const H4_EVENT: u8 = 0x04;

/// LE Meta event (Core Specification 5.4, Vol 4 Part E 7.7.65).
const LE_META: u8 = 0x3e;

/// LE Advertising Report (7.7.65.2).
const ADVERTISING_REPORT: u8 = 0x02;

/// LE Extended Advertising Report (7.7.65.13).
const EXTENDED_ADVERTISING_REPORT: u8 = 0x0d;

/// Longest data of a legacy advertisement (Vol 6 Part B 2.3.1.1).
pub(super) const LEGACY_DATA_MAX: usize = 31;

/// Longest data of an extended advertisement (Vol 4 Part E 7.8.54).
pub(super) const DATA_MAX: usize = 1650;

impl fmt::Debug for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("rssi", &self.rssi)
            .field("bytes", &self.data.len())
            .finish_non_exhaustive()
    }
}

impl HciReports {
    /// Reads one packet that begins with its H4 packet type. Whatever is no event is passed over.
    pub fn h4(&mut self, packet: &[u8], each: Each<'_>) {
        match packet {
            [] => each(Err(Unusable::Malformed)),
            [H4_EVENT, event @ ..] => self.event(event, each),
            _ => {}
        }
    }

    /// Reads one event: code, parameter length, parameters. Events other than the two kinds of
    /// advertising reports are passed over. So is a directed report (7.7.65.11): it has no data and
    /// is meant for one other device.
    pub fn event(&mut self, event: &[u8], each: Each<'_>) {
        let [code, length, parameters @ ..] = event else {
            return each(Err(Unusable::Malformed));
        };
        if *code != LE_META {
            return;
        }
        // Bytes after the parameters are padding of the transport.
        match parameters.get(..usize::from(*length)) {
            Some([ADVERTISING_REPORT, reports @ ..]) => legacy(reports, each),
            Some([EXTENDED_ADVERTISING_REPORT, reports @ ..]) => self.extended(reports, each),
            Some([_, ..]) => {}
            Some([]) | None => each(Err(Unusable::Malformed)),
        }
    }

    /// Gives up on the fragments whose rest has not arrived, and says how many advertisements that
    /// were. For the end of a recording.
    pub fn abandon(&mut self) -> u64 {
        self.fragments.abandon()
    }

    /// Gives up on the fragments whose rest has not arrived since the last call, and says how many
    /// advertisements that were. For a live source, now and then.
    pub fn forget(&mut self) -> u64 {
        self.fragments.forget()
    }

    /// Several reports stand one after another, each with all its fields ("array of structures":
    /// Vol 4 Part E 5.2).
    fn extended(&mut self, reports: &[u8], each: Each<'_>) {
        let Some((count, mut rest)) = reports.split_first() else {
            return each(Err(Unusable::Malformed));
        };
        for _ in 0..*count {
            let Some((report, after)) = ExtendedReport::split(rest) else {
                return each(Err(Unusable::Malformed));
            };
            rest = after;
            self.one_extended(&report, each);
        }
    }

    fn one_extended(&mut self, report: &ExtendedReport<'_>, each: Each<'_>) {
        let more = report.data_status() == DataStatus::More;
        let address = match address(report.address_type, report.address) {
            Ok(address) => address,
            // An anonymous advertisement in several fragments counts once.
            Err(Unusable::Anonymous) if more => return,
            Err(unusable) => return each(Err(unusable)),
        };
        let key = Key { address, set: report.set, scan_response: report.is_scan_response() };
        let rssi = Rssi::from_report(report.rssi);
        if more {
            for _ in 0..self.fragments.begin_or_extend(key, report.data) {
                each(Err(Unusable::Incomplete));
            }
            return;
        }
        // Data that the controller had to truncate is handed on: each AD structure says its own
        // length, so the one that was cut is recognised where the data is decoded.
        match self.fragments.end(key, report.data) {
            Joined::Whole => each(Ok(Report { address, rssi, data: report.data })),
            Joined::Fragments(data) => each(Ok(Report { address, rssi, data: &data })),
            Joined::TooLong => each(Err(Unusable::Malformed)),
        }
    }
}

fn legacy(reports: &[u8], each: Each<'_>) {
    let Some((count, mut rest)) = reports.split_first() else {
        return each(Err(Unusable::Malformed));
    };
    for _ in 0..*count {
        let Some((report, after)) = one_legacy(rest) else {
            return each(Err(Unusable::Malformed));
        };
        rest = after;
        each(report);
    }
}

/// Splits one legacy report off; `None` when the bytes end inside it.
fn one_legacy(bytes: &[u8]) -> Option<(Result<Report<'_>, Unusable>, &[u8])> {
    let (&[event_type, address_type, octets @ .., length], rest) =
        bytes.split_first_chunk::<9>()?;
    let (data, rest) = rest.split_at_checked(usize::from(length))?;
    let (rssi, rest) = rest.split_first()?;
    // ADV_IND, ADV_DIRECT_IND, ADV_SCAN_IND, ADV_NONCONN_IND, SCAN_RSP.
    let well_formed = event_type <= 4 && data.len() <= LEGACY_DATA_MAX;
    let report = match address(address_type, octets) {
        _ if !well_formed => Err(Unusable::Malformed),
        Ok(address) => Ok(Report { address, rssi: Rssi::from_report(rssi.cast_signed()), data }),
        Err(unusable) => Err(unusable),
    };
    Some((report, rest))
}

/// Reads the address of a report, which is sent least significant octet first.
fn address(address_type: u8, octets: [u8; 6]) -> Result<DeviceAddress, Unusable> {
    let kind = match address_type {
        // 0x02 and 0x03 are identity addresses: the controller resolved a private one.
        0x00 | 0x02 => AddressKind::Public,
        0x01 | 0x03 => AddressKind::Random,
        0xff => return Err(Unusable::Anonymous),
        _ => return Err(Unusable::Malformed),
    };
    Ok(from_air(octets, kind))
}

/// Turns octets in the order of transmission into the order in which people write them.
pub(super) fn from_air(mut octets: [u8; 6], kind: AddressKind) -> DeviceAddress {
    octets.reverse();
    DeviceAddress::new(octets, kind)
}

/// One report of an LE Extended Advertising Report event, as far as it matters here.
struct ExtendedReport<'a> {
    event_type: u16,
    address_type: u8,
    address: [u8; 6],
    /// The advertising set (SID), 0xFF when there is none.
    set: u8,
    rssi: i8,
    data: &'a [u8],
}

/// Whether more fragments of an advertisement follow (7.7.65.13, `Event_Type` bits 5 and 6).
#[derive(Clone, Copy, Eq, PartialEq)]
enum DataStatus {
    /// This is all, or the controller has lost the rest: nothing more comes.
    Ended,
    More,
}

impl<'a> ExtendedReport<'a> {
    /// Splits one report off; `None` when the bytes end inside it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (event_type, rest) = bytes.split_first_chunk()?;
        let (&[address_type, address @ ..], rest) = rest.split_first_chunk::<7>()?;
        // Primary PHY, secondary PHY, SID, transmit power, RSSI.
        let (&[_, _, set, _, rssi], rest) = rest.split_first_chunk()?;
        // Periodic interval (2), direct address type (1), direct address (6).
        let (&[.., length], rest) = rest.split_first_chunk::<10>()?;
        let (data, rest) = rest.split_at_checked(usize::from(length))?;
        let event_type = u16::from_le_bytes(*event_type);
        let rssi = rssi.cast_signed();
        Some((Self { event_type, address_type, address, set, rssi, data }, rest))
    }

    fn data_status(&self) -> DataStatus {
        if (self.event_type >> 5) & 0b11 == 0b01 { DataStatus::More } else { DataStatus::Ended }
    }

    fn is_scan_response(&self) -> bool {
        self.event_type & (1 << 3) != 0
    }
}

/// Resets the controller of the adapter that is wanted, as if it had been pulled out and plugged in.
async fn reset(wanted: &Wanted, clock: Clock, patience: Duration) -> Result<(), HciError> {
    let adapter = mgmt::Management::open(clock, patience)?.adapter(wanted).await?;
    hardware::reset(adapter.index, patience).await
}

#[cfg(test)]
mod tests;
