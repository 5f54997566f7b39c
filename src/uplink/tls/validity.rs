//! A certificate's bytes in, the moment it expires out: the one thing rustls reads and does not
//! hand on. A walk over the few elements of DER before it (RFC 5280, 4.1; X.690). Total: whatever
//! comes is a moment or nothing, and nothing is trusted because of it.

use jiff::{civil::DateTime, tz::TimeZone};

use crate::engine::UnixTime;

/// Tags of DER (X.690, 8).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the certificate expires (`notAfter`).
pub(in crate::uplink) fn not_after(certificate: &[u8]) -> Option<UnixTime> {
    let (certificate, _) = inside(certificate, SEQUENCE)?;
    let (mut fields, _) = inside(certificate, SEQUENCE)?;
    if let Some((_, rest)) = inside(fields, VERSION) {
        fields = rest;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        let (_, _, rest) = element(fields)?;
        fields = rest;
    }
    let (validity, _) = inside(fields, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time(tag, text)
}

/// The contents of an element with this tag, and what follows it.
fn inside(bytes: &[u8], expected: u8) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(bytes)?;
    (tag == expected).then_some((contents, rest))
}

/// Tag and contents of the first element, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        // Up to three bytes of length: 16 MiB, and no certificate is a thousandth of that.
        let count = usize::from(first & 0x7F);
        if !(1..=3).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((*tag, contents, rest))
}

/// `YYMMDDHHMMSSZ` with years from 1950 to 2049, or `YYYYMMDDHHMMSSZ` (RFC 5280, 4.1.2.5).
fn time(tag: u8, text: &[u8]) -> Option<UnixTime> {
    let digits = text.strip_suffix(b"Z")?;
    let two = |at: usize| {
        let pair: &[u8; 2] = digits.get(at..at + 2)?.try_into().ok()?;
        let &[high, low] = pair;
        let digit = |byte: u8| byte.is_ascii_digit().then(|| i16::from(byte - b'0'));
        Some(digit(high)? * 10 + digit(low)?)
    };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = two(0)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (two(0)? * 100 + two(2)?, 4),
        _ => return None,
    };
    let part = |n: usize| i8::try_from(two(at + 2 * n)?).ok();
    let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    // The last moment that can be written means "never" (RFC 5280, 4.1.2.5); it is behind the last
    // one that can be counted.
    let millis = match time.to_zoned(TimeZone::UTC) {
        Ok(zoned) => zoned.timestamp().as_millisecond(),
        Err(_) if year == 9999 => i64::MAX / 1_000_000,
        Err(_) => return None,
    };
    Some(UnixTime::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a certificate, with something behind the validity that is not looked at.
    /// Those that OpenSSL makes are read in the integration tests.
    fn certificate(version: bool, not_after: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, contents: &[u8]| {
            let mut out = vec![tag];
            match contents.len() {
                short @ ..128 => out.push(u8::try_from(short).unwrap()),
                long => out.extend([0x81, u8::try_from(long).unwrap()]),
            }
            out.extend(contents);
            out
        };
        let name = wrap(0x30, &wrap(0x31, &wrap(0x30, b"\x06\x03\x55\x04\x03\x0C\x01x")));
        let validity = wrap(0x30, &[&wrap(0x17, b"261122110000Z"), not_after].concat());
        let head = if version { wrap(0xA0, &[2, 1, 2]) } else { Vec::new() };
        let fields = [head, wrap(2, &[1]), wrap(0x30, b"\x06\x03+ep"), name, validity];
        wrap(0x30, &wrap(0x30, &[fields.concat(), vec![0x30; 60]].concat()))
    }

    fn millis(tag: u8, text: &str) -> Option<i64> {
        let element = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
        let found = not_after(&certificate(true, &element))?;
        assert_eq!(not_after(&certificate(false, &element)), Some(found));
        Some(found.as_millis())
    }

    #[test]
    fn the_end_is_read_in_both_ways_to_write_it() {
        assert_eq!(millis(UTC_TIME, "261202110000Z"), Some(1_796_209_200_000));
        assert_eq!(millis(GENERALIZED_TIME, "20261202110000Z"), Some(1_796_209_200_000));
        assert_eq!(millis(UTC_TIME, "500101000000Z"), Some(-631_152_000_000), "1950");
        assert_eq!(millis(UTC_TIME, "491231235959Z"), Some(2_524_607_999_000), "2049");
        let never = millis(GENERALIZED_TIME, "99991231235959Z").unwrap();
        assert!(never > 4_000_000_000_000);
    }

    #[test]
    fn what_is_no_time_is_nothing() {
        for text in ["261302110000Z", "26120211000Z", "2612021100001", "26120211000aZ", "Z", ""] {
            assert_eq!(millis(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(millis(0x0C, "261202110000Z"), None);
        assert_eq!(not_after(&[]), None);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let good = certificate(true, b"\x17\x0D261202110000Z");
        for length in 0..good.len() {
            not_after(&good[..length]);
        }
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..200_000 {
            let mut bytes = good.clone();
            for _ in 0..random.usize(1..5) {
                let at = random.usize(0..bytes.len());
                bytes[at] = random.u8(..);
            }
            not_after(&bytes);
        }
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(0..80)).map(|_| random.u8(..)).collect();
            not_after(&bytes);
        }
    }
}
