//! Understands what the monitor says about one adapter. Packets in, reports and news out.
//!
//! Pure and total: no input panics. It follows the adapter's number and address, what the
//! controller was told about scanning and inquiring, and what it answered.

use super::header::{
    CLOSE_INDEX, COMMAND, DEL_INDEX, EVENT, INDEX_INFO, MonitorHeader, NEW_INDEX, OPEN_INDEX,
};
use crate::{
    engine::{AddressKind, DeviceAddress},
    scan::hci::{HciReports, News, Report, Unusable, from_air},
};

/// Follows one adapter.
#[derive(Debug)]
pub(super) struct Watch {
    address: DeviceAddress,
    index: u16,
    presence: Presence,
    /// What the controller was last told to do, and has not answered.
    asked: Option<bool>,
    scanning: Option<bool>,
    inquiring: bool,
    reports: HciReports,
}

/// Whether the adapter of this number is the one that is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Presence {
    /// Nothing was said about it yet.
    Unknown,
    /// It is, or the kernel does not know its address yet.
    Here,
    /// It is not, or there is none.
    Gone,
}

/// What a packet said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen<'a> {
    Report(Result<Report<'a>, Unusable>),
    News(News),
}

// Opcodes of commands (Core Specification 5.4, Vol 4 Part E 7.1.1, 7.1.2, 7.3.2, 7.8.11, 7.8.65).
pub(super) const INQUIRY: u16 = 0x0401;
pub(super) const INQUIRY_CANCEL: u16 = 0x0402;
pub(super) const RESET: u16 = 0x0c03;
pub(super) const SET_SCAN_ENABLE: u16 = 0x200c;
pub(super) const SET_EXTENDED_SCAN_ENABLE: u16 = 0x2042;

// Codes of events (7.7.1, 7.7.14, 7.7.15, 7.7.16).
pub(super) const INQUIRY_COMPLETE: u8 = 0x01;
pub(super) const COMMAND_COMPLETE: u8 = 0x0e;
pub(super) const COMMAND_STATUS: u8 = 0x0f;
pub(super) const HARDWARE_ERROR: u8 = 0x10;

impl Watch {
    pub(super) fn new(index: u16, address: DeviceAddress) -> Self {
        Self {
            address,
            index,
            presence: Presence::Unknown,
            asked: None,
            scanning: None,
            inquiring: false,
            reports: HciReports::default(),
        }
    }

    pub(super) const fn presence(&self) -> Presence {
        self.presence
    }

    /// Whether the controller scans, as far as its answers were seen.
    pub(super) const fn is_scanning(&self) -> Option<bool> {
        self.scanning
    }

    /// Reads one packet of the monitor socket.
    pub(super) fn packet(&mut self, packet: &[u8], each: &mut dyn FnMut(Seen<'_>)) {
        let Some((header, body)) = MonitorHeader::of_socket(packet) else { return };
        let ours = header.adapter == self.index;
        match header.kind {
            NEW_INDEX => {
                let address = body.get(2..).and_then(<[u8]>::first_chunk);
                self.announced(header.adapter, address, each);
            }
            INDEX_INFO => self.announced(header.adapter, body.first_chunk(), each),
            DEL_INDEX if ours => {
                self.stop(each);
                if self.presence != Presence::Gone {
                    self.presence = Presence::Gone;
                    each(Seen::News(News::Removed));
                }
            }
            _ if !ours || self.presence == Presence::Gone => {}
            OPEN_INDEX => each(Seen::News(News::Opened)),
            CLOSE_INDEX => {
                self.stop(each);
                each(Seen::News(News::Closed));
            }
            COMMAND => self.command(body, each),
            EVENT => self.event(body, each),
            _ => {}
        }
    }

    /// An adapter and its address were told.
    fn announced(&mut self, index: u16, address: Option<&[u8; 6]>, each: &mut dyn FnMut(Seen<'_>)) {
        let Some(octets) = address else { return };
        let known = *octets != [0; 6];
        let same = from_air(*octets, AddressKind::Public).octets() == self.address.octets();
        match (same, index == self.index) {
            // The adapter is here: as it was, or again, or under another number.
            (true, _) => {
                let before = std::mem::replace(&mut self.presence, Presence::Here);
                if index != self.index || before == Presence::Gone {
                    self.stop(each);
                    self.index = index;
                    each(Seen::News(News::Added { index }));
                }
            }
            // Another adapter has its number.
            (false, true) if known => {
                self.stop(each);
                if self.presence == Presence::Here {
                    each(Seen::News(News::Removed));
                }
                self.presence = Presence::Gone;
            }
            // The kernel will know its address when it has been opened.
            (false, true) if self.presence == Presence::Unknown => self.presence = Presence::Here,
            (false, _) => {}
        }
    }

    fn command(&mut self, command: &[u8], each: &mut dyn FnMut(Seen<'_>)) {
        let [low, high, _, parameters @ ..] = command else { return };
        let opcode = u16::from_le_bytes([*low, *high]);
        if let (SET_SCAN_ENABLE | SET_EXTENDED_SCAN_ENABLE, [enable, ..]) = (opcode, parameters) {
            let on = *enable != 0;
            self.asked = Some(on);
            each(Seen::News(News::ScanAsked { on }));
        }
    }

    fn event(&mut self, event: &[u8], each: &mut dyn FnMut(Seen<'_>)) {
        match event {
            [COMMAND_COMPLETE, _, _, low, high, status, ..]
            // A command that is refused at once is answered like this.
            | [COMMAND_STATUS, _, status, _, low, high, ..] => {
                self.answer(u16::from_le_bytes([*low, *high]), *status, each);
            }
            [INQUIRY_COMPLETE, ..] => self.inquiry(false, each),
            [HARDWARE_ERROR, _, code, ..] => {
                each(Seen::News(News::HardwareError { code: *code }));
            }
            _ => self.reports.event(event, &mut |report| each(Seen::Report(report))),
        }
    }

    fn answer(&mut self, opcode: u16, status: u8, each: &mut dyn FnMut(Seen<'_>)) {
        match opcode {
            SET_SCAN_ENABLE | SET_EXTENDED_SCAN_ENABLE => {
                // Without the question, which was before our time, the answer says nothing.
                let Some(on) = self.asked.take() else { return };
                if status == 0 {
                    self.scan(on, each);
                } else {
                    each(Seen::News(News::ScanRefused { on, status }));
                }
            }
            INQUIRY if status == 0 => self.inquiry(true, each),
            INQUIRY_CANCEL if status == 0 => self.inquiry(false, each),
            RESET if status == 0 => self.stop(each),
            _ => {}
        }
    }

    fn scan(&mut self, on: bool, each: &mut dyn FnMut(Seen<'_>)) {
        if self.scanning.replace(on) != Some(on) {
            each(Seen::News(News::Scan { on }));
        }
    }

    fn inquiry(&mut self, on: bool, each: &mut dyn FnMut(Seen<'_>)) {
        if std::mem::replace(&mut self.inquiring, on) != on {
            each(Seen::News(News::Inquiry { on }));
        }
    }

    /// Gives up on fragments that are not continued; see [`HciReports::forget`].
    pub(super) fn forget(&mut self) -> u64 {
        self.reports.forget()
    }

    /// The controller does nothing any more.
    fn stop(&mut self, each: &mut dyn FnMut(Seen<'_>)) {
        self.asked = None;
        if self.scanning == Some(true) {
            self.scan(false, each);
        }
        self.inquiry(false, each);
        self.reports.abandon();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Rssi;

    const OURS: [u8; 6] = [1, 2, 3, 4, 5, 6];

    fn watch() -> Watch {
        let mut address = OURS;
        address.reverse();
        Watch::new(1, DeviceAddress::new(address, AddressKind::Public))
    }

    fn packet(kind: u16, adapter: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap();
        let mut packet: Vec<u8> =
            [kind, adapter, length].into_iter().flat_map(u16::to_le_bytes).collect();
        packet.extend(body);
        packet
    }

    fn news(watch: &mut Watch, kind: u16, adapter: u16, body: &[u8]) -> Vec<News> {
        let mut told = Vec::new();
        watch.packet(&packet(kind, adapter, body), &mut |seen| match seen {
            Seen::News(news) => told.push(news),
            Seen::Report(report) => panic!("unexpected {report:?}"),
        });
        told
    }

    fn new_index(address: [u8; 6]) -> Vec<u8> {
        [&[0, 1][..], &address, b"hci1\0\0\0\0"].concat()
    }

    fn here() -> Watch {
        let mut watch = watch();
        assert_eq!(news(&mut watch, NEW_INDEX, 1, &new_index(OURS)), []);
        assert_eq!(watch.presence(), Presence::Here);
        watch
    }

    #[test]
    fn a_scan_is_asked_for_and_then_answered() {
        let mut watch = here();
        let on = [0x0c, 0x20, 2, 1, 0];
        let accepted = [0x0e, 4, 1, 0x0c, 0x20, 0];
        assert_eq!(news(&mut watch, COMMAND, 1, &on), [News::ScanAsked { on: true }]);
        assert_eq!(watch.is_scanning(), None);
        assert_eq!(news(&mut watch, EVENT, 1, &accepted), [News::Scan { on: true }]);
        assert_eq!(watch.is_scanning(), Some(true));
        // The extended one, refused.
        let off = [0x42, 0x20, 6, 0, 0, 0, 0, 0, 0];
        assert_eq!(news(&mut watch, COMMAND, 1, &off), [News::ScanAsked { on: false }]);
        assert_eq!(
            news(&mut watch, EVENT, 1, &[0x0e, 4, 1, 0x42, 0x20, 0x0c]),
            [News::ScanRefused { on: false, status: 0x0c }]
        );
        assert_eq!(watch.is_scanning(), Some(true));
        // A reset ends it.
        assert_eq!(
            news(&mut watch, EVENT, 1, &[0x0e, 4, 1, 0x03, 0x0c, 0]),
            [News::Scan { on: false }]
        );
    }

    #[test]
    fn an_answer_to_a_question_before_our_time_says_nothing() {
        let mut watch = here();
        assert_eq!(news(&mut watch, EVENT, 1, &[0x0e, 4, 1, 0x0c, 0x20, 0]), []);
        assert_eq!(watch.is_scanning(), None);
    }

    #[test]
    fn an_inquiry_begins_and_ends_once() {
        let mut watch = here();
        let begun = [0x0f, 4, 0, 1, 0x01, 0x04];
        assert_eq!(news(&mut watch, EVENT, 1, &begun), [News::Inquiry { on: true }]);
        assert_eq!(news(&mut watch, EVENT, 1, &[1, 1, 0]), [News::Inquiry { on: false }]);
        assert_eq!(news(&mut watch, EVENT, 1, &[1, 1, 0]), []);
        assert_eq!(news(&mut watch, EVENT, 1, &[0x0f, 4, 0x0c, 1, 0x01, 0x04]), []);
    }

    #[test]
    fn a_hardware_error_is_told() {
        let told = news(&mut here(), EVENT, 1, &[0x10, 1, 0x42]);
        assert_eq!(told, [News::HardwareError { code: 0x42 }]);
    }

    #[test]
    fn an_adapter_is_followed_to_its_new_number() {
        let mut watch = here();
        assert_eq!(news(&mut watch, CLOSE_INDEX, 1, &[]), [News::Closed]);
        assert_eq!(news(&mut watch, DEL_INDEX, 1, &[]), [News::Removed]);
        assert_eq!(watch.presence(), Presence::Gone);
        // Another adapter takes its number, and is not listened to.
        assert_eq!(news(&mut watch, NEW_INDEX, 1, &new_index([9; 6])), []);
        assert_eq!(news(&mut watch, COMMAND, 1, &[0x0c, 0x20, 2, 1, 0]), []);
        // Its address is known when it was opened for the first time.
        assert_eq!(news(&mut watch, NEW_INDEX, 4, &new_index([0; 6])), []);
        let info = [&OURS[..], &[0xf1, 5]].concat();
        assert_eq!(news(&mut watch, INDEX_INFO, 4, &info), [News::Added { index: 4 }]);
        assert_eq!(
            news(&mut watch, COMMAND, 4, &[0x0c, 0x20, 2, 1, 0]),
            [News::ScanAsked { on: true }]
        );
    }

    #[test]
    fn what_another_adapter_says_is_not_ours() {
        let mut watch = here();
        assert_eq!(news(&mut watch, EVENT, 0, &[0x10, 1, 1]), []);
        assert_eq!(news(&mut watch, DEL_INDEX, 0, &[]), []);
        assert_eq!(watch.presence(), Presence::Here);
    }

    #[test]
    fn reports_are_handed_on() {
        let mut seen = 0;
        let report = [0x3e, 14, 2, 1, 3, 1, 1, 2, 3, 4, 5, 0xc6, 2, 0x01, 0xff, 0xc4];
        here().packet(&packet(EVENT, 1, &report), &mut |what| match what {
            Seen::Report(Ok(report)) => {
                assert_eq!(report.rssi, Some(Rssi(-60)));
                assert_eq!(report.data, [1, 0xff]);
                seen += 1;
            }
            other => panic!("unexpected {other:?}"),
        });
        assert_eq!(seen, 1);
    }

    #[test]
    fn any_packets_are_read_without_harm() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut watch = watch();
        for _ in 0..100_000 {
            let mut bytes = vec![0; random.usize(0..40)];
            bytes.fill_with(|| if random.bool() { random.u8(..) } else { random.u8(0..4) });
            if let Some(kind) = bytes.first_mut() {
                *kind %= 11;
            }
            watch.packet(&bytes, &mut |_| {});
        }
    }
}
