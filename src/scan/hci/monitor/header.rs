//! What stands before a packet of the Linux monitor: its adapter and its kind. The same two numbers
//! stand in a different form before each packet of the monitor socket, in each record of a btsnoop
//! file of datalink type 2001, and before each packet of pcap link type 254.

/// Adapter and kind of one packet (`include/net/bluetooth/hci_mon.h`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::scan) struct MonitorHeader {
    pub(in crate::scan::hci) adapter: u16,
    pub(in crate::scan::hci) kind: u16,
}

/// An adapter was made known: kind, bus, address (6), name (8).
pub(in crate::scan::hci) const NEW_INDEX: u16 = 0;
/// An adapter was pulled out.
pub(in crate::scan::hci) const DEL_INDEX: u16 = 1;
/// A command to a controller, from its opcode on.
pub(in crate::scan::hci) const COMMAND: u16 = 2;
/// An event from a controller, from its code on.
pub(in crate::scan::hci) const EVENT: u16 = 3;
/// An adapter was opened.
pub(in crate::scan::hci) const OPEN_INDEX: u16 = 8;
/// An adapter was closed.
pub(in crate::scan::hci) const CLOSE_INDEX: u16 = 9;
/// An adapter was set up: address (6), manufacturer (2).
pub(in crate::scan::hci) const INDEX_INFO: u16 = 10;

impl MonitorHeader {
    /// Splits a packet of the socket: kind, adapter, length, each of two bytes in little-endian
    /// order. The length is not needed: one packet is one datagram.
    pub(in crate::scan::hci) fn of_socket(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (&[k0, k1, a0, a1, _, _], rest) = packet.split_first_chunk::<6>()?;
        let (adapter, kind) = (u16::from_le_bytes([a0, a1]), u16::from_le_bytes([k0, k1]));
        Some((Self { adapter, kind }, rest))
    }

    /// Splits a packet of pcap link type 254: adapter and kind in big-endian order.
    pub(in crate::scan) fn of_pcap(packet: &[u8]) -> Option<(Self, &[u8])> {
        let (&[a0, a1, k0, k1], rest) = packet.split_first_chunk::<4>()?;
        let (adapter, kind) = (u16::from_be_bytes([a0, a1]), u16::from_be_bytes([k0, k1]));
        Some((Self { adapter, kind }, rest))
    }

    /// Reads the flags of a btsnoop record: adapter in the upper half, kind in the lower one.
    pub(in crate::scan) const fn of_btsnoop(flags: u32) -> Self {
        let [a0, a1, k0, k1] = flags.to_be_bytes();
        Self { adapter: u16::from_be_bytes([a0, a1]), kind: u16::from_be_bytes([k0, k1]) }
    }

    /// Whether an HCI event follows.
    pub(in crate::scan) const fn is_event(self) -> bool {
        self.kind == EVENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_say_the_same() {
        let header = MonitorHeader { adapter: 0x0102, kind: EVENT };
        let socket = [3, 0, 2, 1, 1, 0, 0xaa];
        assert_eq!(MonitorHeader::of_socket(&socket), Some((header, &[0xaa][..])));
        assert_eq!(MonitorHeader::of_pcap(&[1, 2, 0, 3, 0xaa]), Some((header, &[0xaa][..])));
        assert_eq!(MonitorHeader::of_btsnoop(0x0102_0003), header);
        assert!(header.is_event());
    }

    #[test]
    fn what_is_too_short_has_no_header() {
        assert_eq!(MonitorHeader::of_socket(&[3, 0, 2, 1, 1]), None);
        assert_eq!(MonitorHeader::of_pcap(&[1, 2, 0]), None);
    }
}
