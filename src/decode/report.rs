//! An HCI event in, the advertising data it reports out.
//!
//! Packet logs show advertisements as the controller's events. A technician who pastes one gets
//! the same answer as for the advertising data in it.

/// Octets of a legacy report before the length of its data: event type, address type, address
/// (Core Specification 5.4, Vol 4 Part E 7.7.65.2).
const LEGACY_HEADER: usize = 8;
/// Octets of an extended report before the length of its data (7.7.65.13).
const EXTENDED_HEADER: usize = 23;

/// Packet type "event" (Vol 4 Part A 2), and the event code of LE Meta events.
const LE_META_EVENT: [u8; 2] = [0x04, 0x3e];
const ADVERTISING_REPORT: u8 = 0x02;
const EXTENDED_ADVERTISING_REPORT: u8 = 0x0d;

/// An HCI event that reports something else, or several advertisements, or is cut off.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct NotOneReport;

/// The advertising data in an HCI event; `None` when the octets are no such event.
///
/// It cannot be mistaken: as advertising data it would begin with an AD type, 0x3E, that is not
/// assigned, and the event's length would have to be right by chance.
pub(super) fn reported(octets: &[u8]) -> Result<Option<&[u8]>, NotOneReport> {
    let Some([length, parameters @ ..]) = octets.strip_prefix(&LE_META_EVENT) else {
        return Ok(None);
    };
    if parameters.len() != usize::from(*length) {
        return Ok(None);
    }
    let (header, report) = match parameters {
        [ADVERTISING_REPORT, 1, report @ ..] => (LEGACY_HEADER, report),
        [EXTENDED_ADVERTISING_REPORT, 1, report @ ..] => (EXTENDED_HEADER, report),
        _ => return Err(NotOneReport),
    };
    let data = report.get(header..).and_then(<[u8]>::split_first);
    let data = data.and_then(|(&length, rest)| rest.get(..usize::from(length)));
    data.map(Some).ok_or(NotOneReport)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(parameters: &[u8]) -> Vec<u8> {
        let length = u8::try_from(parameters.len()).unwrap();
        [&[0x04, 0x3e, length], parameters].concat()
    }

    #[test]
    fn the_data_of_a_legacy_report_is_found() {
        let report = [&[0x02, 1, 0x03, 0x01][..], &[0x55; 6], &[3, 2, 0x01, 0x06, 0xc5]].concat();
        assert_eq!(reported(&event(&report)), Ok(Some(&[2, 0x01, 0x06][..])));
    }

    #[test]
    fn the_data_of_an_extended_report_is_found() {
        let report = [&[0x0d, 1][..], &[0x55; 23], &[3, 2, 0x01, 0x06]].concat();
        assert_eq!(reported(&event(&report)), Ok(Some(&[2, 0x01, 0x06][..])));
    }

    #[test]
    fn other_events_and_what_is_cut_off_report_nothing() {
        assert_eq!(reported(&event(&[0x01, 0, 0])), Err(NotOneReport), "a connection");
        assert_eq!(reported(&event(&[0x02, 2, 0x03, 0x01])), Err(NotOneReport), "two reports");
        assert_eq!(reported(&event(&[0x02, 1, 0x03, 0x01])), Err(NotOneReport), "cut off");
        assert_eq!(reported(&event(&[])), Err(NotOneReport));
    }

    #[test]
    fn advertising_data_is_not_taken_for_an_event() {
        assert_eq!(reported(&[0x04, 0x3e, 0x09, 0x00]), Ok(None));
        assert_eq!(reported(&[0x02, 0x01, 0x06]), Ok(None));
        assert_eq!(reported(&[]), Ok(None));
    }
}
