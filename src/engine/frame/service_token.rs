//! Service data in, [`ServiceToken`] out: what an app of ours on Android sends
//! (`docs/app-identity.md`).

use std::fmt;

use super::Announced;

pub(super) const FORMAT: &str = "service token";

/// The service under which apps send their tokens, least significant octet first, as it stands in
/// service data: 4c7148cd-69b9-4363-ba4c-b74990a1b2dc, a version 4 UUID drawn for this purpose.
pub(super) const SERVICE: [u8; 16] = 0x4c71_48cd_69b9_4363_ba4c_b749_90a1_b2dc_u128.to_le_bytes();

/// The first octet: which form follows.
const VERSION: u8 = 0x01;

/// A token that an enrolled app derives anew every 15 minutes.
///
/// `Debug` is redacted: the token names somebody, for a while.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct ServiceToken {
    /// The token.
    pub token: [u8; 12],
    /// The power with which it is sent, in dBm; left out where it does not fit.
    pub tx_power: Option<i8>,
}

impl ServiceToken {
    /// Reads the service data that follows the UUID: version, token, and the transmit power.
    ///
    /// A legacy advertisement has 31 octets. Service data under a 128-bit UUID takes 18 of them for
    /// its length, type and UUID, so that version and token fill it to the last: 18 + 1 + 12 = 31.
    /// The power is sent where there is room for it: under a 16-bit UUID, or in an extended
    /// advertisement. Another version is not announced.
    pub(super) fn decode(data: &[u8]) -> Announced<Self> {
        match data {
            [] => Some(Err(FORMAT)),
            [VERSION, body @ ..] => Some(Self::decode_body(body).ok_or(FORMAT)),
            _ => None,
        }
    }

    fn decode_body(body: &[u8]) -> Option<Self> {
        let (token, rest) = body.split_first_chunk()?;
        let tx_power = match *rest {
            [] => None,
            [power] => Some(power.cast_signed()),
            _ => return None,
        };
        Some(Self { token: *token, tx_power })
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceToken").field("tx_power", &self.tx_power).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: [u8; 14] = [0x01, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xf9];

    #[test]
    fn a_token_is_read_with_and_without_its_power() {
        let token = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let with = ServiceToken { token, tx_power: Some(-7) };
        assert_eq!(ServiceToken::decode(&FULL), Some(Ok(with)));
        let without = ServiceToken { token, tx_power: None };
        assert_eq!(ServiceToken::decode(&FULL[..13]), Some(Ok(without)));
    }

    #[test]
    fn a_token_of_another_length_is_malformed_and_one_of_another_version_unknown() {
        for length in [0, 1, 12] {
            assert_eq!(ServiceToken::decode(&FULL[..length]), Some(Err(FORMAT)), "{length}");
        }
        assert_eq!(ServiceToken::decode(&[&FULL[..], &[0]].concat()), Some(Err(FORMAT)));
        assert_eq!(ServiceToken::decode(&[0x02; 14]), None);
        assert_eq!(ServiceToken::decode(&[0x00]), None);
    }

    #[test]
    fn a_token_never_shows_whom_it_names() {
        let shown = format!("{:?}", ServiceToken::decode(&FULL).unwrap().unwrap());
        assert_eq!(shown, "ServiceToken { tx_power: Some(-7), .. }");
    }
}
