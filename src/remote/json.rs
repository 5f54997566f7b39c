//! JSON as foreign gateways write it: bounded lists, times in many forms, hexadecimal.
//!
//! What serde says about an error may repeat what it found, so none of that is passed on.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::error::Category;

use super::format::{LONGEST_DATA, Refusal};
use crate::engine::{AddressKind, DeviceAddress, parse_octets};

/// A moment by somebody else's clock: microseconds since 1970, if that clock is right.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Stamp(i64);

/// A stamp where one may stand: a number of seconds, milliseconds or microseconds, told apart by
/// their size, the same as text, or RFC 3339. What cannot be read is none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct When(pub(super) Option<Stamp>);

/// A list of so many at the most.
pub(super) struct AtMost<T, const N: usize>(pub(super) Vec<T>);

/// The longest text that is looked at for a time.
const LONGEST_TIME: usize = 40;

/// Numbers from these on are milliseconds, and microseconds: as seconds they would be the years
/// 5138 and 3 million.
const MILLIS_FROM: f64 = 1e11;
const MICROS_FROM: f64 = 1e14;

/// What a list that is too long is refused with; recognised by this text alone.
const TOO_MANY: &str = "too many entries";

/// Reads a payload as one object. serde would take a list for one as well, by the order of fields.
pub(super) fn object<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Refusal> {
    let value = read(payload);
    match payload.trim_ascii_start().first() {
        Some(b'{') => value,
        _ => value.and(Err(Refusal::Shape)),
    }
}

/// Reads a payload as one value.
pub(super) fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(payload).map_err(|error| match error.classify() {
        Category::Data if error.to_string().starts_with(TOO_MANY) => Refusal::TooMany,
        Category::Data => Refusal::Shape,
        Category::Io | Category::Syntax | Category::Eof => Refusal::NotJson,
    })
}

/// An address whose kind the format may tell.
pub(super) fn address(text: &str, kind: Option<AddressKind>) -> Result<DeviceAddress, Refusal> {
    match kind {
        Some(kind) => parse_octets(text).map(|octets| DeviceAddress::new(octets, kind)),
        None => text.parse(),
    }
    .map_err(|_| Refusal::Address)
}

/// Octets in hexadecimal, no more than advertising data may have.
pub(super) fn octets(text: &str) -> Result<Vec<u8>, Refusal> {
    if text.len() > 2 * LONGEST_DATA {
        return Err(Refusal::Data);
    }
    hex::decode(text).map_err(|_| Refusal::Data)
}

/// A UUID with or without dashes, most significant octet first.
pub(super) fn uuid(text: &str) -> Result<[u8; 16], Refusal> {
    uuid::Uuid::try_parse(text).map(uuid::Uuid::into_bytes).map_err(|_| Refusal::Data)
}

// === impl Stamp ===

impl Stamp {
    /// Wraps microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    #[expect(clippy::cast_possible_truncation, reason = "what does not fit is left out")]
    fn from_number(number: f64) -> Option<Self> {
        let micros = match number.abs() {
            size if size >= MICROS_FROM => number,
            size if size >= MILLIS_FROM => number * 1e3,
            _ => number * 1e6,
        };
        // A quarter of what fits, so that differences fit as well; NaN is none of these.
        (-2e18..=2e18).contains(&micros).then_some(Self(micros as i64))
    }

    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.len() > LONGEST_TIME {
            return None;
        }
        if let Ok(number) = text.parse() {
            return Self::from_number(number);
        }
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self(time.as_microsecond()))
    }
}

// === impl When ===

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = When;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time")
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<When, E> {
                Ok(When(Stamp::from_number(number)))
            }

            #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<When, E> {
                self.visit_f64(number as f64)
            }

            #[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit")]
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<When, E> {
                self.visit_f64(number as f64)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<When, E> {
                Ok(When(Stamp::from_text(text)))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<When, E> {
                Ok(When(None))
            }

            fn visit_unit<E: de::Error>(self) -> Result<When, E> {
                Ok(When(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

// === impl AtMost ===

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for AtMost<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T, const N: usize>(Vec<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Entries<T, N> {
            type Value = AtMost<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(
                mut self,
                mut entries: A,
            ) -> Result<Self::Value, A::Error> {
                while let Some(entry) = entries.next_element()? {
                    if self.0.len() >= N {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    self.0.push(entry);
                }
                Ok(AtMost(self.0))
            }
        }
        deserializer.deserialize_seq(Entries(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_in_which_gateways_write_them() {
        let second = 1_653_668_027_000_000;
        for (text, micros) in [
            ("1653668027", second),
            ("\"1653668027\"", second),
            ("1653668027000", second),
            ("1653668027000000", second),
            ("1653668027.25", second + 250_000),
            ("\"2022-05-27T16:13:47Z\"", second),
            ("\"2022-05-27T16:13:47.250Z\"", second + 250_000),
            ("\"2022-05-27T18:13:47+02:00\"", second),
            ("12", 12_000_000),
        ] {
            let when: When = serde_json::from_str(text).unwrap();
            assert_eq!(when.0, Some(Stamp(micros)), "{text}");
        }
        for text in ["\"yesterday\"", "\"\"", "null", "true", "1e300", "\"NaN\"", "\"inf\""] {
            let when: When = serde_json::from_str(text).unwrap();
            assert_eq!(when.0, None, "{text}");
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_told_apart_from_what_is_no_list() {
        type List = AtMost<u8, 3>;
        assert_eq!(read::<List>(b"[1,2,3]").map(|list| list.0), Ok(vec![1, 2, 3]));
        assert_eq!(read::<List>(b"[1,2,3,4]").err(), Some(Refusal::TooMany));
        assert_eq!(read::<List>(b"[1,2,300]").err(), Some(Refusal::Shape));
        assert_eq!(read::<List>(b"{}").err(), Some(Refusal::Shape));
        assert_eq!(read::<List>(b"[1,2").err(), Some(Refusal::NotJson));
        assert_eq!(read::<List>(&[0xff; 9]).err(), Some(Refusal::NotJson));
        assert_eq!(read::<List>(&[b'['; 4096]).err(), Some(Refusal::Shape), "no deep recursion");
    }

    #[test]
    fn hexadecimal_is_octets_of_bounded_number() {
        assert_eq!(octets("0201fF"), Ok(vec![2, 1, 255]));
        assert_eq!(octets(""), Ok(Vec::new()));
        assert_eq!(octets("020"), Err(Refusal::Data));
        assert_eq!(octets("drfgdr"), Err(Refusal::Data));
        assert_eq!(octets(&"00".repeat(LONGEST_DATA)).map(|data| data.len()), Ok(LONGEST_DATA));
        assert_eq!(octets(&"00".repeat(LONGEST_DATA + 1)), Err(Refusal::Data));
    }
}
