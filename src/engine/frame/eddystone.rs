//! Service data of 0xFEAA in, an Eddystone frame out (github.com/google/eddystone, protocol
//! specification and the four frame types).

mod tlm;
pub use tlm::EddystoneTlm;

mod url;
pub use url::EddystoneUrl;

use std::fmt;

use super::{Announced, Frame};

/// The Eddystone service, as it stands in service data.
pub(super) const SERVICE: [u8; 2] = 0xfeaa_u16.to_le_bytes();

pub(super) const FORMAT: &str = "Eddystone";
pub(super) const UID_FORMAT: &str = "Eddystone-UID";
pub(super) const URL_FORMAT: &str = "Eddystone-URL";
pub(super) const TLM_FORMAT: &str = "Eddystone-TLM";
pub(super) const EID_FORMAT: &str = "Eddystone-EID";

const UID: u8 = 0x00;
const URL: u8 = 0x10;
pub(super) const TLM: u8 = 0x20;
const EID: u8 = 0x30;
/// The version octet of unencrypted and of encrypted telemetry.
const PLAIN_TLM: u8 = 0x00;
pub(super) const ENCRYPTED_TLM: u8 = 0x01;

/// Eddystone-UID: a namespace and an instance.
///
/// `Debug` is redacted: the two together may name somebody's tag.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct EddystoneUid {
    /// Received power at 0 m, in dBm.
    pub tx_power: i8,
    /// Names the fleet.
    pub namespace: [u8; 10],
    /// Names one beacon in the fleet.
    pub instance: [u8; 6],
}

/// Eddystone-EID: an identifier that only the holder of the identity key can recognise.
///
/// `Debug` is redacted: the identifier names somebody's tag, for a while.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct EddystoneEid {
    /// Received power at 0 m, in dBm.
    pub tx_power: i8,
    /// The ephemeral identifier.
    pub eid: [u8; 8],
}

/// Reads the service data that follows the UUID.
///
/// The frame type is a whole octet: its low half must be zero, so 0x40 and 0x41 (which trackers
/// use under the same UUID) are formats of their own.
pub(super) fn decode(data: &[u8]) -> Announced<Frame<'_>> {
    match data {
        [] => Some(Err(FORMAT)),
        [UID, body @ ..] => {
            Some(EddystoneUid::decode(body).map(Frame::EddystoneUid).ok_or(UID_FORMAT))
        }
        [URL, body @ ..] => {
            Some(EddystoneUrl::decode(body).map(Frame::EddystoneUrl).ok_or(URL_FORMAT))
        }
        [TLM] => Some(Err(TLM_FORMAT)),
        [TLM, PLAIN_TLM, body @ ..] => {
            Some(EddystoneTlm::decode(body).map(Frame::EddystoneTlm).ok_or(TLM_FORMAT))
        }
        [EID, body @ ..] => {
            Some(EddystoneEid::decode(body).map(Frame::EddystoneEid).ok_or(EID_FORMAT))
        }
        _ => None,
    }
}
impl EddystoneUid {
    /// The two reserved octets at the end are left out by older beacons.
    fn decode(body: &[u8]) -> Option<Self> {
        let ([tx_power], rest) = body.split_first_chunk()?;
        let (namespace, rest) = rest.split_first_chunk()?;
        let (instance, reserved) = rest.split_first_chunk()?;
        matches!(reserved, [] | [_, _]).then_some(Self {
            tx_power: tx_power.cast_signed(),
            namespace: *namespace,
            instance: *instance,
        })
    }
}

impl fmt::Debug for EddystoneUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EddystoneUid").field("tx_power", &self.tx_power).finish_non_exhaustive()
    }
}

impl EddystoneEid {
    fn decode(body: &[u8]) -> Option<Self> {
        let ([tx_power], rest) = body.split_first_chunk()?;
        let eid = rest.try_into().ok()?;
        Some(Self { tx_power: tx_power.cast_signed(), eid })
    }
}

impl fmt::Debug for EddystoneEid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EddystoneEid").field("tx_power", &self.tx_power).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_read_with_and_without_its_reserved_octets() {
        let short = [&[0x00, 0xee][..], &[1; 10], &[2; 6]].concat();
        let full = [&short[..], &[0, 0]].concat();
        for data in [&short, &full] {
            let Some(Ok(Frame::EddystoneUid(uid))) = decode(data) else { panic!("{data:?}") };
            assert_eq!((uid.tx_power, uid.namespace, uid.instance), (-18, [1; 10], [2; 6]));
        }
        for length in [1, 2, 12, 17, 19] {
            assert_eq!(decode(&full[..length]), Some(Err(UID_FORMAT)), "{length} octets");
        }
        assert_eq!(decode(&[&full[..], &[0]].concat()), Some(Err(UID_FORMAT)));
    }

    #[test]
    fn an_eid_is_eight_octets() {
        let data = [0x30, 0xee, 1, 2, 3, 4, 5, 6, 7, 8];
        let Some(Ok(Frame::EddystoneEid(eid))) = decode(&data) else { panic!("not an EID") };
        assert_eq!((eid.tx_power, eid.eid), (-18, [1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(decode(&data[..9]), Some(Err(EID_FORMAT)));
        assert_eq!(decode(&[&data[..], &[0]].concat()), Some(Err(EID_FORMAT)));
    }

    #[test]
    fn what_is_not_spoken_is_unknown_and_not_malformed() {
        assert_eq!(decode(&[0x20, 0x01, 0x11, 0x22]), None, "encrypted telemetry");
        assert_eq!(decode(&[0x20, 0x02]), None, "telemetry of a later version");
        assert_eq!(decode(&[0x40]), None, "a tracker");
        assert_eq!(decode(&[0x41, 0x1b]), None, "a tracker");
        assert_eq!(decode(&[0xff]), None, "a frame type to come");
        assert_eq!(decode(&[0x20]), Some(Err(TLM_FORMAT)));
        assert_eq!(decode(&[]), Some(Err(FORMAT)));
    }

    #[test]
    fn an_eddystone_frame_never_shows_whom_it_names() {
        let data = [&[0x00, 0xee][..], &[0xab; 16]].concat();
        assert_eq!(
            format!("{:?}", decode(&data)),
            "Some(Ok(EddystoneUid(EddystoneUid { tx_power: -18, .. })))"
        );
        let data = [&[0x30, 0xee][..], &[0xab; 8]].concat();
        assert_eq!(
            format!("{:?}", decode(&data)),
            "Some(Ok(EddystoneEid(EddystoneEid { tx_power: -18, .. })))"
        );
    }
}
