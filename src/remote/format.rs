//! What a foreign gateway published in, what it heard out: the words that all formats share.
//!
//! Pure and total: any topic and any payload is read, or refused for a reason that has a name and
//! repeats nothing of what was sent. Bounded by [`LARGEST_MESSAGE`] and [`MOST_ENTRIES`].

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{espresense, json::Stamp, minew, ruuvi, shelly, theengs};
use crate::{engine::DeviceAddress, settings::one_of};

/// The largest payload that is looked at, in bytes. A Minew gateway, which publishes the largest,
/// needs 150 bytes for each device that it heard in its interval.
pub const LARGEST_MESSAGE: usize = 256 * 1024;

/// How many advertisements one message may bring.
pub const MOST_ENTRIES: usize = 1024;

/// The longest advertising data, in octets (Core Specification 5.4, Vol 4 Part E 7.8.54).
pub(super) const LONGEST_DATA: usize = 1650;

/// Whose form a remote receiver's messages have.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", try_from = "String")]
pub enum Format {
    /// `OpenMQTTGateway` on an ESP32.
    OpenMqttGateway,
    /// Theengs Gateway, which publishes the same fields.
    Theengs,
    /// `ESPresense`, which publishes whom it believes to hear.
    Espresense,
    /// Ruuvi Gateway.
    Ruuvi,
    /// A Shelly device of the second generation or later, with the script that Home Assistant
    /// uses.
    Shelly,
    /// Minew gateways, in the forms `JSON-LONG` and `JSON-RAW`.
    Minew,
    /// Another gateway of this program, which resolves by itself and seals what it sends.
    #[serde(rename = "beacon-gateway")]
    BeaconGateway,
}

/// One advertisement that a remote receiver heard.
///
/// `Debug` is redacted: it may be a stranger's.
#[derive(Clone, PartialEq)]
pub struct Sighting {
    /// From which address; [`DeviceAddress::UNKNOWN`] where the format does not say.
    pub address: DeviceAddress,
    /// How loud, in dBm, -127 to 20; some formats tell a mean with decimals.
    pub rssi: Option<f64>,
    /// Advertising data: AD structures as they were sent, or rebuilt from what was published of
    /// them. At most 1650 octets.
    pub data: Vec<u8>,
    /// When it was heard, by the receiver's own clock.
    pub stamp: Option<Stamp>,
}

/// What a receiver says about itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// It has come.
    Online,
    /// It is gone, and says so itself, or its last will does.
    Offline,
    /// It listens, and this is all that it heard in its interval.
    Interval,
    /// How much it has heard, as it counts: another number than before proves that it hears.
    Count(u64),
}

/// What one message says.
#[derive(Clone, Default, PartialEq)]
pub struct Message {
    /// The advertisements it brings.
    pub sightings: Vec<Sighting>,
    /// What it says about the receiver.
    pub sign: Option<Sign>,
    /// When it was sent, by the receiver's clock, if it says so apart from the sightings.
    pub sent: Option<Stamp>,
    /// Why some of its entries were refused.
    pub refused: Vec<Refusal>,
}

/// Why a message, or one of its entries, was not taken. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, Eq, Error, Ord, PartialEq, PartialOrd)]
pub enum Refusal {
    /// Larger than [`LARGEST_MESSAGE`].
    #[error("the message is larger than 256 KiB")]
    TooLarge,
    /// No JSON at all.
    #[error("the payload is not JSON; compare `format` with what publishes there")]
    NotJson,
    /// JSON of another shape.
    #[error("the JSON is not of the configured format, or lacks a field that it must have")]
    Shape,
    /// More than [`MOST_ENTRIES`].
    #[error("the message has more than 1024 entries")]
    TooMany,
    /// No address where there must be one.
    #[error("there is no Bluetooth address where the format has one")]
    Address,
    /// A loudness that cannot be.
    #[error("the loudness is not between -127 and 20 dBm")]
    Rssi,
    /// Data that is none.
    #[error("the advertising data or the identifier cannot be read")]
    Data,
    /// Heard too long ago, by the receiver's clock.
    #[error("it was heard longer ago than `max_age`")]
    TooOld,
    /// Kept by the broker: nobody knows when it was heard.
    #[error("the broker had kept it (retained); turn that off at the publisher")]
    Retained,
    /// It belongs to another place.
    #[error("it came on a topic that belongs to another radio, gateway, shop or tenant")]
    Foreign,
    /// It is not sealed at all.
    #[error("it is no sealed message of another beacon-gateway")]
    NotSealed,
    /// It was sealed with a key that is not here.
    #[error("it is sealed with a key number that is not in `seal_key_file`")]
    NoKey,
    /// It does not open.
    #[error(
        "it does not open; it was altered, belongs to another place, or its key differs from ours"
    )]
    Sealed,
    /// By clocks that are both believed it was not made just now.
    #[error(
        "its time is not ours although both clocks are believed; it is old, or one of them is wrong"
    )]
    Stale,
    /// It came before, or belongs to an earlier start of the receiver.
    #[error("it came before, or a later one did")]
    Replayed,
}

// === impl Format ===

impl Format {
    /// All of them, with the names used in the configuration and in documents.
    pub const ALL: [(&'static str, Self); 7] = [
        ("openmqttgateway", Self::OpenMqttGateway),
        ("theengs", Self::Theengs),
        ("espresense", Self::Espresense),
        ("ruuvi", Self::Ruuvi),
        ("shelly", Self::Shelly),
        ("minew", Self::Minew),
        ("beacon-gateway", Self::BeaconGateway),
    ];

    /// The name used in the configuration and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenMqttGateway => "openmqttgateway",
            Self::Theengs => "theengs",
            Self::Espresense => "espresense",
            Self::Ruuvi => "ruuvi",
            Self::Shelly => "shelly",
            Self::Minew => "minew",
            Self::BeaconGateway => "beacon-gateway",
        }
    }

    /// Reads what was published on a topic. What is of no use here is an empty message.
    pub fn read(self, topic: &str, payload: &[u8]) -> Result<Message, Refusal> {
        if payload.len() > LARGEST_MESSAGE {
            return Err(Refusal::TooLarge);
        }
        match self {
            Self::OpenMqttGateway | Self::Theengs => theengs::read(topic, payload),
            Self::Espresense => espresense::read(topic, payload),
            Self::Ruuvi => ruuvi::read(topic, payload),
            Self::Shelly => shelly::read(topic, payload),
            Self::Minew => minew::read(payload),
            // Nobody reads it without the key; with it, `sealed.rs` does.
            Self::BeaconGateway => Err(Refusal::NoKey),
        }
    }
}

impl TryFrom<String> for Format {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &Self::ALL)
    }
}

// === impl Sighting ===

impl Sighting {
    /// Checks the loudness.
    pub(super) fn new(
        address: DeviceAddress,
        rssi: Option<f64>,
        data: Vec<u8>,
        stamp: Option<Stamp>,
    ) -> Result<Self, Refusal> {
        // What a controller says when it cannot tell (Core Specification 5.4, Vol 4 Part E
        // 7.7.65.2).
        let rssi = rssi.filter(|dbm| dbm.is_nan() || (dbm - 127.0).abs() >= 0.5);
        if rssi.is_some_and(|dbm| !(-127.0..=20.0).contains(&dbm)) {
            return Err(Refusal::Rssi);
        }
        Ok(Self { address, rssi, data, stamp })
    }
}

impl fmt::Debug for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sighting")
            .field("rssi", &self.rssi)
            .field("bytes", &self.data.len())
            .field("stamp", &self.stamp)
            .finish_non_exhaustive()
    }
}

// === impl Message ===

impl Message {
    /// Says something about the receiver alone.
    pub(super) fn sign(sign: Sign) -> Self {
        Self { sign: Some(sign), ..Self::default() }
    }

    /// Brings one advertisement.
    pub(super) fn one(sighting: Sighting) -> Self {
        Self { sightings: vec![sighting], ..Self::default() }
    }

    /// Takes one of several entries in, or the reason why not.
    pub(super) fn take(&mut self, entry: Result<Sighting, Refusal>) {
        match entry {
            Ok(sighting) => self.sightings.push(sighting),
            Err(refusal) => self.refused.push(refusal),
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("sightings", &self.sightings)
            .field("sign", &self.sign)
            .field("sent", &self.sent)
            .field("refused", &self.refused)
            .finish()
    }
}

// === impl Sign ===

impl Sign {
    /// Reads the one word of a status topic.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        match payload.trim_ascii() {
            b"online" | b"true" => Some(Self::Online),
            b"offline" | b"false" => Some(Self::Offline),
            _ => None,
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Self; 15] = [
        Self::TooLarge,
        Self::NotJson,
        Self::Shape,
        Self::TooMany,
        Self::Address,
        Self::Rssi,
        Self::Data,
        Self::TooOld,
        Self::Retained,
        Self::Foreign,
        Self::NotSealed,
        Self::NoKey,
        Self::Sealed,
        Self::Stale,
        Self::Replayed,
    ];

    /// The word used in metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::Shape => "shape",
            Self::TooMany => "too_many",
            Self::Address => "address",
            Self::Rssi => "rssi",
            Self::Data => "data",
            Self::TooOld => "too_old",
            Self::Retained => "retained",
            Self::Foreign => "foreign",
            Self::NotSealed => "not_sealed",
            Self::NoKey => "no_key",
            Self::Sealed => "sealed",
            Self::Stale => "stale",
            Self::Replayed => "replayed",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) const fn place(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_place_and_a_word_of_its_own() {
        for (n, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal.place(), n);
            assert_eq!(Refusal::ALL.iter().filter(|it| it.word() == refusal.word()).count(), 1);
        }
    }

    #[test]
    fn formats_are_read_by_their_names() {
        for (name, format) in Format::ALL {
            assert_eq!(format.name(), name);
            assert_eq!(serde_json::from_str::<Format>(&format!("{name:?}")).unwrap(), format);
        }
        assert!(serde_json::from_str::<Format>("\"tasmota\"").is_err());
    }

    #[test]
    fn a_loudness_that_cannot_be_is_refused_and_one_that_is_not_known_is_left_out() {
        let rssi = |dbm| Sighting::new(DeviceAddress::UNKNOWN, dbm, Vec::new(), None);
        assert_eq!(rssi(Some(-72.35)).unwrap().rssi, Some(-72.35));
        assert_eq!(rssi(Some(127.0)).unwrap().rssi, None);
        assert_eq!(rssi(None).unwrap().rssi, None);
        for dbm in [-127.5, 20.5, 1e300, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(rssi(Some(dbm)), Err(Refusal::Rssi), "{dbm}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_looked_at() {
        let payload = vec![b'['; LARGEST_MESSAGE + 1];
        for (_, format) in Format::ALL {
            assert_eq!(format.read("a/b/c", &payload), Err(Refusal::TooLarge));
        }
    }
}
