//! Eddystone-URL: a web address, compressed by two tables.

use std::fmt;

/// The longest encoded address after its scheme, in octets.
const MAX_ENCODED: usize = 17;

/// Eddystone-URL: a web address, compressed.
///
/// `Display` writes the address in full. `Debug` is redacted: beacons put identifiers into it.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct EddystoneUrl<'a> {
    /// Received power at 0 m, in dBm.
    pub tx_power: i8,
    scheme: &'static str,
    /// Validated: every octet is a printable character or stands for an ending.
    encoded: &'a [u8],
}

impl<'a> EddystoneUrl<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Option<Self> {
        let &[tx_power, scheme, ref encoded @ ..] = body else { return None };
        let scheme = match scheme {
            0x00 => "http://www.",
            0x01 => "https://www.",
            0x02 => "http://",
            0x03 => "https://",
            _ => return None,
        };
        let speakable = |&octet: &u8| octet.is_ascii_graphic() || ending(octet).is_some();
        (encoded.len() <= MAX_ENCODED && encoded.iter().all(speakable)).then_some(Self {
            tx_power: tx_power.cast_signed(),
            scheme,
            encoded,
        })
    }
}

/// What an octet that is no printable character stands for; `None` where reserved.
const fn ending(octet: u8) -> Option<&'static str> {
    Some(match octet {
        0x00 => ".com/",
        0x01 => ".org/",
        0x02 => ".edu/",
        0x03 => ".net/",
        0x04 => ".info/",
        0x05 => ".biz/",
        0x06 => ".gov/",
        0x07 => ".com",
        0x08 => ".org",
        0x09 => ".edu",
        0x0a => ".net",
        0x0b => ".info",
        0x0c => ".biz",
        0x0d => ".gov",
        _ => return None,
    })
}

impl fmt::Display for EddystoneUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scheme)?;
        for &octet in self.encoded {
            match ending(octet) {
                Some(ending) => f.write_str(ending)?,
                None => write!(f, "{}", char::from(octet))?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for EddystoneUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EddystoneUrl").field("tx_power", &self.tx_power).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(scheme: u8, encoded: &[u8]) -> Option<String> {
        let body = [&[0xee, scheme], encoded].concat();
        EddystoneUrl::decode(&body).map(|url| url.to_string())
    }

    #[test]
    fn an_address_is_expanded_by_both_tables() {
        assert_eq!(url(0x03, b"goo.gl/Aq18zF").as_deref(), Some("https://goo.gl/Aq18zF"));
        assert_eq!(url(0x00, b"example\x07").as_deref(), Some("http://www.example.com"));
        assert_eq!(
            url(0x01, b"example\x04a?b=c").as_deref(),
            Some("https://www.example.info/a?b=c")
        );
        assert_eq!(url(0x02, b"a\x0d:8080/").as_deref(), Some("http://a.gov:8080/"));
        assert_eq!(url(0x02, b"").as_deref(), Some("http://"), "the specification allows none");
    }

    #[test]
    fn reserved_octets_and_schemes_are_malformed() {
        assert_eq!(url(0x04, b"example"), None);
        for octet in (0x0e..=0x20).chain(0x7f..=0xff) {
            assert_eq!(url(0x03, &[b'a', octet]), None, "{octet:#04x}");
        }
        for octet in (0x00..=0x0d).chain(0x21..=0x7e) {
            assert!(url(0x03, &[b'a', octet]).is_some(), "{octet:#04x}");
        }
    }

    #[test]
    fn an_address_has_at_most_seventeen_octets_and_at_least_a_scheme() {
        assert!(url(0x03, &[b'a'; 17]).is_some());
        assert_eq!(url(0x03, &[b'a'; 18]), None);
        assert_eq!(EddystoneUrl::decode(&[0xee]), None);
        assert_eq!(EddystoneUrl::decode(&[]), None);
    }
}
