//! The messages of the management protocol (BlueZ, `doc/mgmt-api.txt`). A request in, its bytes out;
//! a packet of bytes in, what it says out. Total: no input panics.
//!
//! A packet is code, adapter, length of what follows, each of two bytes, and parameters; all numbers
//! are little-endian.

use crate::{
    engine::AddressKind,
    scan::hci::{
        adapter::{Adapter, Bus, Classic},
        from_air,
    },
};

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Request {
    /// The adapters, with what they are attached by. Kernels before 4.2 do not know it.
    ReadExtendedIndexList,
    /// The adapters.
    ReadIndexList,
    /// What one adapter is and can.
    ReadInfo(u16),
    /// To switch one adapter on or off.
    SetPowered(u16, bool),
}

/// What the kernel says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Message<'a> {
    /// A request was carried out or refused.
    Answer {
        /// The request's code.
        code: u16,
        /// The request's adapter.
        index: u16,
        status: u8,
        parameters: &'a [u8],
    },
    /// Something changed.
    Change(Change),
    /// Something that does not matter here.
    Other,
}

/// What changed among the adapters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// An adapter of this number is there, or was given back by a program that had it alone.
    Added(u16),
    /// The adapter of this number is gone, or was taken by a program for itself alone.
    Removed(u16),
    /// The adapter of this number was switched on or off, or another of its settings was changed,
    /// by somebody else: whoever asks for a change is answered instead.
    Settings {
        /// Its number.
        index: u16,
        /// Whether it is on now.
        powered: bool,
    },
}

/// "No adapter in particular."
const NO_INDEX: u16 = 0xffff;

// Codes of events.
const COMMAND_COMPLETE: u16 = 0x0001;
const COMMAND_STATUS: u16 = 0x0002;
const INDEX_ADDED: u16 = 0x0004;
const INDEX_REMOVED: u16 = 0x0005;
const NEW_SETTINGS: u16 = 0x0006;
/// These two come in place of the other two once a socket has asked for the extended list; they
/// tell kind and bus as well.
const EXTENDED_INDEX_ADDED: u16 = 0x0020;
const EXTENDED_INDEX_REMOVED: u16 = 0x0021;

/// The request was carried out.
pub(super) const SUCCESS: u8 = 0x00;
/// The kernel is older than the request.
pub(super) const UNKNOWN_COMMAND: u8 = 0x01;
/// Another request for the adapter is being carried out.
pub(super) const BUSY: u8 = 0x0a;
/// There is no such adapter.
pub(super) const INVALID_INDEX: u8 = 0x11;
/// `rfkill` keeps the adapter off.
pub(super) const RFKILLED: u8 = 0x12;
/// `CAP_NET_ADMIN` is missing.
pub(super) const PERMISSION_DENIED: u8 = 0x14;

/// The kind of an adapter that is ready for use; others still want an address or firmware.
const READY: u8 = 0x00;

// Bits of settings.
const POWERED: u32 = 1 << 0;
const BREDR: u32 = 1 << 7;
const LE: u32 = 1 << 9;

// === impl Request ===

impl Request {
    pub(super) const fn code(self) -> u16 {
        match self {
            Self::ReadIndexList => 0x0003,
            Self::ReadInfo(_) => 0x0004,
            Self::SetPowered(..) => 0x0005,
            Self::ReadExtendedIndexList => 0x003c,
        }
    }

    pub(super) const fn index(self) -> u16 {
        match self {
            Self::ReadIndexList | Self::ReadExtendedIndexList => NO_INDEX,
            Self::ReadInfo(index) | Self::SetPowered(index, _) => index,
        }
    }

    /// What it is for, in a sentence that begins with "failed to".
    pub(super) const fn doing(self) -> &'static str {
        match self {
            Self::ReadIndexList | Self::ReadExtendedIndexList => "list the Bluetooth adapters",
            Self::ReadInfo(_) => "ask what a Bluetooth adapter is",
            Self::SetPowered(_, true) => "switch a Bluetooth adapter on",
            Self::SetPowered(_, false) => "switch a Bluetooth adapter off",
        }
    }

    pub(super) fn packet(self) -> Vec<u8> {
        let parameters: &[u8] = match self {
            Self::SetPowered(_, true) => &[1],
            Self::SetPowered(_, false) => &[0],
            Self::ReadIndexList | Self::ReadExtendedIndexList | Self::ReadInfo(_) => &[],
        };
        let length = u16::try_from(parameters.len()).unwrap_or(u16::MAX);
        let mut packet = Vec::with_capacity(6 + parameters.len());
        for word in [self.code(), self.index(), length] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend(parameters);
        packet
    }
}

// === impl Message ===

impl<'a> Message<'a> {
    /// Reads one packet; `None` when its lengths contradict each other.
    pub(super) fn read(packet: &'a [u8]) -> Option<Self> {
        let (code, rest) = word(packet)?;
        let (index, rest) = word(rest)?;
        let (length, rest) = word(rest)?;
        let parameters = rest.get(..usize::from(length))?;
        Some(match code {
            COMMAND_COMPLETE | COMMAND_STATUS => {
                let (code, rest) = word(parameters)?;
                let (status, parameters) = rest.split_first()?;
                Self::Answer { code, index, status: *status, parameters }
            }
            INDEX_ADDED => Self::Change(Change::Added(index)),
            INDEX_REMOVED => Self::Change(Change::Removed(index)),
            EXTENDED_INDEX_ADDED | EXTENDED_INDEX_REMOVED => match (code, parameters) {
                (EXTENDED_INDEX_ADDED, [READY, ..]) => Self::Change(Change::Added(index)),
                (EXTENDED_INDEX_REMOVED, [READY, ..]) => Self::Change(Change::Removed(index)),
                _ => Self::Other,
            },
            NEW_SETTINGS => {
                let settings = u32::from_le_bytes(*parameters.first_chunk()?);
                Self::Change(Change::Settings { index, powered: settings & POWERED != 0 })
            }
            _ => Self::Other,
        })
    }
}

/// Reads what [`Request::ReadIndexList`] returns.
pub(super) fn index_list(parameters: &[u8]) -> Option<Vec<(u16, Option<Bus>)>> {
    let (count, rest) = word(parameters)?;
    let listed = rest.get(..usize::from(count).checked_mul(2)?)?;
    Some(listed.as_chunks().0.iter().map(|bytes| (u16::from_le_bytes(*bytes), None)).collect())
}

/// Reads what [`Request::ReadExtendedIndexList`] returns: number, kind and bus of each. Only those
/// that are ready for use are listed.
pub(super) fn extended_index_list(parameters: &[u8]) -> Option<Vec<(u16, Option<Bus>)>> {
    let (count, rest) = word(parameters)?;
    let listed = rest.get(..usize::from(count).checked_mul(4)?)?;
    let ready = listed.as_chunks().0.iter().filter_map(|&[low, high, kind, bus]| {
        (kind == READY).then_some((u16::from_le_bytes([low, high]), Some(Bus::of(bus))))
    });
    Some(ready.collect())
}

/// Reads what [`Request::ReadInfo`] returns; the names behind these parameters are not read.
pub(super) fn info(index: u16, bus: Option<Bus>, parameters: &[u8]) -> Option<Adapter> {
    let (address, rest) = parameters.split_first_chunk::<6>()?;
    let (version, rest) = rest.split_first()?;
    let (manufacturer, rest) = word(rest)?;
    let (supported, rest) = rest.split_first_chunk()?;
    let current = u32::from_le_bytes(*rest.first_chunk()?);
    let supported = u32::from_le_bytes(*supported);
    Some(Adapter {
        index,
        address: from_air(*address, AddressKind::Public),
        powered: current & POWERED != 0,
        le: supported & LE != 0,
        classic: match (supported & BREDR != 0, current & BREDR != 0) {
            (false, _) => Classic::Absent,
            (true, false) => Classic::Off,
            (true, true) => Classic::On,
        },
        version: *version,
        manufacturer,
        bus,
    })
}

fn word(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u16::from_le_bytes(*word), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_as_the_kernel_reads_it() {
        assert_eq!(Request::SetPowered(2, true).packet(), [5, 0, 2, 0, 1, 0, 1]);
        assert_eq!(Request::ReadExtendedIndexList.packet(), [0x3c, 0, 0xff, 0xff, 0, 0]);
    }

    #[test]
    fn answers_and_changes_are_told_apart() {
        assert_eq!(
            Message::read(&[2, 0, 1, 0, 3, 0, 5, 0, 0x14]),
            Some(Message::Answer { code: 5, index: 1, status: PERMISSION_DENIED, parameters: &[] })
        );
        assert_eq!(Message::read(&[4, 0, 1, 0, 0, 0]), Some(Message::Change(Change::Added(1))));
        assert_eq!(
            Message::read(&[0x20, 0, 1, 0, 2, 0, 0, 1]),
            Some(Message::Change(Change::Added(1)))
        );
        assert_eq!(
            Message::read(&[0x21, 0, 1, 0, 2, 0, 0, 1]),
            Some(Message::Change(Change::Removed(1)))
        );
        assert_eq!(Message::read(&[0x20, 0, 1, 0, 2, 0, 1, 1]), Some(Message::Other));
        assert_eq!(
            Message::read(&[6, 0, 1, 0, 4, 0, 0x81, 0, 0, 0]),
            Some(Message::Change(Change::Settings { index: 1, powered: true }))
        );
        assert_eq!(Message::read(&[0x13, 0, 1, 0, 1, 0, 9]), Some(Message::Other));
    }

    #[test]
    fn an_adapter_that_is_not_set_up_is_not_listed() {
        let listed = extended_index_list(&[3, 0, 0, 0, 0, 1, 1, 0, 1, 1, 2, 0, 0, 3]);
        assert_eq!(listed, Some(vec![(0, Some(Bus::Usb)), (2, Some(Bus::Uart))]));
        assert_eq!(extended_index_list(&[2, 0, 0, 0, 0, 1]), None);
        assert_eq!(index_list(&[1, 0, 7, 0]), Some(vec![(7, None)]));
    }

    #[test]
    fn what_an_adapter_can_is_read_from_its_settings() {
        let mut parameters = vec![0x42, 0, 0, 1, 0xaa, 0, 9, 0xf1, 0x05];
        parameters.extend((LE | BREDR | POWERED).to_le_bytes());
        parameters.extend((LE | POWERED).to_le_bytes());
        parameters.extend([0; 263]);
        let adapter = info(4, None, &parameters).unwrap();
        assert_eq!(adapter.address.octets(), [0, 0xaa, 1, 0, 0, 0x42]);
        assert!(adapter.powered && adapter.le && adapter.classic == Classic::Off);
        assert_eq!((adapter.version, adapter.manufacturer), (9, 0x05f1));
        assert_eq!(info(4, None, parameters.get(..16).unwrap()), None);
    }

    #[test]
    fn any_bytes_are_read_without_harm() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..50_000 {
            let mut bytes = vec![0; random.usize(0..24)];
            bytes.fill_with(|| if random.bool() { random.u8(..) } else { random.u8(0..8) });
            drop(index_list(&bytes));
            drop(extended_index_list(&bytes));
            info(0, None, &bytes);
            Message::read(&bytes);
        }
    }
}
