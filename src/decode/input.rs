//! A line of text in, advertising data out.
//!
//! A line that begins with `{` is a JSON object with either
//! - `adv`: advertising data as hex, or
//! - `manufacturer_data`: hex by company identifier, and/or `service_data`: hex by service UUID,
//!   and/or `service_uuids`: the list of services; as radio stacks show an advertisement after
//!   taking it apart. Identifiers are written as people write them, most significant digit first
//!   (`"0499"`, `"fcd2"`, `"0000fcd2-0000-1000-8000-00805f9b34fb"`).
//!
//! Beside them `name` is the local name, `address` and `key` are the sender's: some families need them.
//! `beacon_time`, in seconds, is what the clock of an Eddystone-EID beacon read, and `rotation_exponent` how
//! it is cut (its lowest bits are cleared; none where it is left out): encrypted telemetry needs them.
//! Other members (a recording's time and RSSI) may be there and are not read. Every other line is
//! advertising data as hex. An HCI event (`043E…`) that reports one advertisement may stand wherever
//! advertising data may.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use thiserror::Error;
use uuid::Uuid;

use super::report;
use crate::engine::frame::sensor::{BeaconClock, BindKey};

/// AD types (Assigned Numbers, 2.3).
const ALL_SERVICES_128: u8 = 0x07;
const COMPLETE_NAME: u8 = 0x09;
const SERVICE_DATA_16: u8 = 0x16;
const SERVICE_DATA_128: u8 = 0x21;
const MANUFACTURER_DATA: u8 = 0xff;

/// `0000xxxx-0000-1000-8000-00805f9b34fb`, in which 16-bit and 32-bit UUIDs are short for
/// (Core Specification 5.4, Vol 3 Part B 2.5.1).
const BASE_UUID: u128 = 0x0000_0000_0000_1000_8000_0080_5f9b_34fb;

/// Why a line is not advertising data, and what is allowed. The line is not repeated.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(super) enum Rejected {
    #[error("the line is empty; {ALLOWED}")]
    Empty,
    #[error("the line is too long; advertising data has at most 1650 octets")]
    TooLong,
    #[error("the line is not UTF-8 text; {ALLOWED}")]
    NotText,
    #[error("not hex at character {at}; {ALLOWED}")]
    NotHex {
        /// From 1.
        at: usize,
    },
    #[error("hex needs two digits an octet, and one is left over")]
    HalfAnOctet,
    #[error("the HCI event is not a report of one advertisement")]
    NotOneReport,
    #[error("not valid JSON at column {column}; {ALLOWED}")]
    NotJson { column: usize },
    #[error(
        "the JSON object is not one of ours (column {column}): \"adv\" is a string, \
         \"manufacturer_data\" and \"service_data\" are objects of strings, \"service_uuids\" is a \
         list of strings, \"name\", \"address\" and \"key\" are strings, \"beacon_time\" and \
         \"rotation_exponent\" are whole numbers"
    )]
    WrongJson { column: usize },
    #[error(
        "the JSON object has none of \"adv\", \"manufacturer_data\", \"service_data\", \
         \"service_uuids\""
    )]
    NothingInJson,
    #[error("{what} is not hex of whole octets")]
    NotHexIn { what: &'static str },
    #[error("\"key\" is not a key: 16 octets as hex, or 12 for early Xiaomi sensors")]
    NotAKey,
    #[error("\"rotation_exponent\" is 0 to 15")]
    NotAnExponent,
    #[error(
        "a key of \"manufacturer_data\" is not a company identifier; write up to four hex digits, \
         like \"0499\""
    )]
    NotACompany,
    #[error(
        "not a service UUID; write four hex digits, like \"fcd2\", or the full form, like \
         \"0000fcd2-0000-1000-8000-00805f9b34fb\""
    )]
    NotAService,
    #[error("{what} has more octets than one AD structure can hold")]
    TooMuch { what: &'static str },
}

const ALLOWED: &str = "write advertising data as hex, like 0201060616D2FC400161, or a JSON object \
                       with \"adv\", \"manufacturer_data\" or \"service_data\"";

/// The members of a JSON line that say what was advertised.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    adv: Option<Cow<'a, str>>,
    #[serde(borrow)]
    manufacturer_data: Option<Pairs<'a>>,
    #[serde(borrow)]
    service_data: Option<Pairs<'a>>,
    #[serde(borrow)]
    service_uuids: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    address: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    beacon_time: Option<u32>,
    rotation_exponent: Option<u8>,
}

/// What a line holds.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Input {
    /// Advertising data.
    pub(super) data: Vec<u8>,
    /// The sender's address, most significant octet first; what is no address is none.
    pub(super) address: Option<[u8; 6]>,
    /// The sender's key.
    pub(super) key: Option<BindKey>,
    /// What the sender's clock read.
    pub(super) clock: Option<BeaconClock>,
}

/// A JSON object of strings, in its order.
struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// What a line holds.
pub(super) fn read(line: &str) -> Result<Input, Rejected> {
    match line.trim() {
        "" => Err(Rejected::Empty),
        object if object.starts_with('{') => from_json(object),
        digits => Ok(Input { data: advertised(digits)?, ..Input::default() }),
    }
}

/// Advertising data, or an HCI event that reports it, as hex.
fn advertised(text: &str) -> Result<Vec<u8>, Rejected> {
    let octets = from_hex(text)?;
    match report::reported(&octets) {
        Ok(None) => Ok(octets),
        Ok(Some(data)) => Ok(data.to_vec()),
        Err(report::NotOneReport) => Err(Rejected::NotOneReport),
    }
}

/// Hex as people paste it: in any case, with spaces, colons or hyphens between the octets, and
/// perhaps `0x` before them.
fn from_hex(text: &str) -> Result<Vec<u8>, Rejected> {
    let prefix = if text.starts_with("0x") || text.starts_with("0X") { 2 } else { 0 };
    let mut octets = Vec::with_capacity(text.len() / 2);
    let mut high = None;
    for (n, character) in text.chars().enumerate().skip(prefix) {
        let digit = match character.to_digit(16).map(u8::try_from) {
            Some(Ok(digit)) => digit,
            _ if high.is_none() && matches!(character, ' ' | '\t' | ':' | '-') => continue,
            _ => return Err(Rejected::NotHex { at: n + 1 }),
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => octets.push(high << 4 | digit),
        }
    }
    match high {
        None => Ok(octets),
        Some(_) => Err(Rejected::HalfAnOctet),
    }
}

fn from_json(object: &str) -> Result<Input, Rejected> {
    let line: Line = serde_json::from_str(object).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Rejected::WrongJson { column: error.column() },
        _ => Rejected::NotJson { column: error.column() },
    })?;
    let octets = |text: Cow<'_, str>| from_hex(&text).ok();
    let key = |text| octets(text).and_then(|octets| BindKey::new(&octets)).ok_or(Rejected::NotAKey);
    let exponent = line.rotation_exponent.unwrap_or_default();
    let clock = |time: u32| {
        let period = time.checked_shr(exponent.into()).unwrap_or_default();
        BeaconClock::new(period..=period, exponent).ok_or(Rejected::NotAnExponent)
    };
    let mut input = Input {
        data: Vec::new(),
        address: line.address.and_then(octets).and_then(|octets| octets.try_into().ok()),
        key: line.key.map(key).transpose()?,
        clock: line.beacon_time.map(clock).transpose()?,
    };
    let data = &mut input.data;
    if let Some(adv) = line.adv {
        *data = advertised(&adv).map_err(|rejected| match rejected {
            Rejected::NotOneReport => rejected,
            _ => Rejected::NotHexIn { what: "\"adv\"" },
        })?;
        name(data, line.name)?;
        return Ok(input);
    }
    if line.manufacturer_data.is_none()
        && line.service_data.is_none()
        && line.service_uuids.is_none()
    {
        return Err(Rejected::NothingInJson);
    }
    for (company, payload) in line.manufacturer_data.map(|pairs| pairs.0).into_iter().flatten() {
        let what = "a value of \"manufacturer_data\"";
        let payload = from_hex(&payload).map_err(|_| Rejected::NotHexIn { what })?;
        let company = short(&company).ok_or(Rejected::NotACompany)?;
        push(data, what, MANUFACTURER_DATA, &company.to_le_bytes(), &payload)?;
    }
    for (service, payload) in line.service_data.map(|pairs| pairs.0).into_iter().flatten() {
        let what = "a value of \"service_data\"";
        let payload = from_hex(&payload).map_err(|_| Rejected::NotHexIn { what })?;
        let service = service_uuid(&service)?;
        match u16::try_from(service.wrapping_sub(BASE_UUID) >> 96) {
            Ok(short) if service == BASE_UUID | u128::from(short) << 96 => {
                push(data, what, SERVICE_DATA_16, &short.to_le_bytes(), &payload)?;
            }
            _ => push(data, what, SERVICE_DATA_128, &service.to_le_bytes(), &payload)?,
        }
    }
    for service in line.service_uuids.into_iter().flatten() {
        let service = service_uuid(&service)?;
        push(data, "\"service_uuids\"", ALL_SERVICES_128, &service.to_le_bytes(), &[])?;
    }
    name(data, line.name)?;
    Ok(input)
}

/// Appends the local name, if there is one.
fn name(data: &mut Vec<u8>, name: Option<Cow<'_, str>>) -> Result<(), Rejected> {
    match name {
        Some(name) if !name.is_empty() => {
            push(data, "\"name\"", COMPLETE_NAME, &[], name.as_bytes())
        }
        _ => Ok(()),
    }
}

/// Up to four hex digits, with or without `0x`.
fn short(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (plain && digits.len() <= 4).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// A service UUID of 16, 32 or 128 bits, as 128 bits.
fn service_uuid(text: &str) -> Result<u128, Rejected> {
    if let Some(short) = short(text) {
        return Ok(BASE_UUID | u128::from(short) << 96);
    }
    if text.len() == 8
        && let Ok(wide) = u32::from_str_radix(text, 16)
    {
        return Ok(BASE_UUID | u128::from(wide) << 96);
    }
    Uuid::try_parse(text).map(|uuid| uuid.as_u128()).map_err(|_| Rejected::NotAService)
}

/// Appends one AD structure.
fn push(
    data: &mut Vec<u8>,
    what: &'static str,
    ad_type: u8,
    identifier: &[u8],
    payload: &[u8],
) -> Result<(), Rejected> {
    let length = 1 + identifier.len() + payload.len();
    data.push(u8::try_from(length).map_err(|_| Rejected::TooMuch { what })?);
    data.push(ad_type);
    data.extend_from_slice(identifier);
    data.extend_from_slice(payload);
    Ok(())
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), Text(value))) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// A string that is borrowed from the line where it can be.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(line: &str) -> Result<String, Rejected> {
        read(line).map(|input| hex::encode(input.data))
    }

    #[test]
    fn hex_is_read_as_people_paste_it() {
        for line in [
            "0201ff",
            "0x0201ff",
            "0X02 01 ff",
            " 02 01 FF \r\n",
            "02:01:ff",
            "02-01-Ff",
            "02\t01 ff",
        ] {
            assert_eq!(hex_of(line), Ok("0201ff".to_owned()), "{line:?}");
        }
        assert_eq!(hex_of("0201f"), Err(Rejected::HalfAnOctet));
        assert_eq!(hex_of("0 201"), Err(Rejected::NotHex { at: 2 }));
        assert_eq!(hex_of("02 01 xx"), Err(Rejected::NotHex { at: 7 }));
        assert_eq!(hex_of("0x02g"), Err(Rejected::NotHex { at: 5 }));
        assert_eq!(hex_of("é"), Err(Rejected::NotHex { at: 1 }));
        assert_eq!(hex_of("  "), Err(Rejected::Empty));
    }

    #[test]
    fn an_hci_event_gives_the_advertising_data_it_reports() {
        let event = "04 3E 0F 02 01 03 01 55 55 55 55 55 55 03 02 01 06 C5";
        assert_eq!(hex_of(event), Ok("020106".to_owned()));
        assert_eq!(hex_of(&format!(r#"{{"adv":"{event}"}}"#)), Ok("020106".to_owned()));
        assert_eq!(hex_of("043E020100"), Err(Rejected::NotOneReport));
        assert_eq!(hex_of(r#"{"adv":"043E020100"}"#), Err(Rejected::NotOneReport));
    }

    #[test]
    fn a_json_line_gives_its_advertising_data() {
        let line = r#"{"address":"C0:11:22:33:44:55","name":"x","adv":"02 01 06","rssi":-60}"#;
        assert_eq!(hex_of(line), Ok("0201060209 78".replace(' ', "")));
        let input = read(line).unwrap();
        assert_eq!(input.address, Some([0xc0, 0x11, 0x22, 0x33, 0x44, 0x55]));
        assert!(input.key.is_none());
        let line = r#"{"adv":"","address":"?","key":"231d39c1d7cc1ab1aee224cd096db932"}"#;
        let input = read(line).unwrap();
        assert!(input.address.is_none() && input.key.is_some());
    }

    #[test]
    fn an_advertisement_that_was_taken_apart_is_put_together_again() {
        for (line, expected) in [
            (r#"{"manufacturer_data":{"0499":"0512"}}"#, "05ff99040512"),
            (r#"{"manufacturer_data":{"0x4C":"0215"}}"#, "05ff4c000215"),
            (
                r#"{"service_data":{"fcd2":"400161"},"key":"000102030405060708090a0b0c0d0e0f"}"#,
                "0616d2fc400161",
            ),
            (r#"{"service_data":{"0xFCD2":"400161"}}"#, "0616d2fc400161"),
            (r#"{"service_data":{"0000fcd2":"40"}}"#, "0416d2fc40"),
            (r#"{"service_data":{"0000FCD2-0000-1000-8000-00805F9B34FB":"40"}}"#, "0416d2fc40"),
            (r#"{"service_data":{"feaa":"","fcd2":""}}"#, "0316aafe0316d2fc"),
            (
                r#"{"service_data":{"12345678-0000-1000-8000-00805f9b34fb":"40"}}"#,
                "1221fb349b5f80000080001000007856341240",
            ),
            (
                r#"{"service_data":{"00112233-4455-6677-8899-aabbccddeeff":"40"}}"#,
                "1221ffeeddccbbaa9988776655443322110040",
            ),
            (r#"{"service_uuids":["fd6f"]}"#, "1107fb349b5f8000008000100000 6ffd0000"),
            (
                r#"{"service_data":{"fcd2":"4001"},"manufacturer_data":{"0499":"05"}}"#,
                "04ff9904050516d2fc4001",
            ),
            (r#"{"service_data":{}}"#, ""),
        ] {
            assert_eq!(hex_of(line), Ok(expected.replace(' ', "")), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_json_line_is_said() {
        let too_much = format!(r#"{{"service_data":{{"fcd2":"{}"}}}}"#, "00".repeat(253));
        for (line, why) in [
            (r#"{"adv":"0201"#, Rejected::NotJson { column: 12 }),
            (r#"{"adv":17}"#, Rejected::WrongJson { column: 9 }),
            (r#"{"service_data":["fcd2"]}"#, Rejected::WrongJson { column: 16 }),
            (r#"{"address":"C0:11:22:33:44:55"}"#, Rejected::NothingInJson),
            (r#"{"adv":"0g"}"#, Rejected::NotHexIn { what: "\"adv\"" }),
            (
                r#"{"service_data":{"fcd2":"4"}}"#,
                Rejected::NotHexIn { what: "a value of \"service_data\"" },
            ),
            (r#"{"manufacturer_data":{"Ruuvi":"05"}}"#, Rejected::NotACompany),
            (r#"{"manufacturer_data":{"+499":"05"}}"#, Rejected::NotACompany),
            (r#"{"manufacturer_data":{"":"05"}}"#, Rejected::NotACompany),
            (r#"{"service_data":{"bthome":"40"}}"#, Rejected::NotAService),
            (r#"{"service_uuids":["fcd2d"]}"#, Rejected::NotAService),
            (r#"{"adv":"0201","key":""}"#, Rejected::NotAKey),
            (r#"{"adv":"0201","key":"0102030405060708090a0b0c0d"}"#, Rejected::NotAKey),
            (r#"{"adv":"0201","key":"the key of the fridge"}"#, Rejected::NotAKey),
            (&too_much, Rejected::TooMuch { what: "a value of \"service_data\"" }),
        ] {
            assert_eq!(read(line), Err(why), "{line}");
        }
    }
}
