//! Room 2. Advertising data in, typed [`Frame`]s out. Total: no input panics.
//!
//! A frame borrows the bytes it was read from, so it cannot outlive the advertisement.

use arrayvec::ArrayVec;
use thiserror::Error;

/// How many frames one advertisement may carry.
///
/// The kernel joins an advertisement with its scan response, so a tag that alternates two formats
/// can show both at once; more than four has not been seen.
pub const MAX_FRAMES: usize = 4;

/// The frames of one advertisement, in the order of their AD structures.
pub type Frames<'a> = ArrayVec<Frame<'a>, MAX_FRAMES>;

/// What the bytes say.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Frame<'a> {
    /// Apple iBeacon.
    IBeacon(IBeacon),
    /// Radius Networks AltBeacon.
    AltBeacon(AltBeacon),
    /// Eddystone-UID.
    EddystoneUid(EddystoneUid),
    /// Eddystone-URL.
    EddystoneUrl(EddystoneUrl<'a>),
    /// Eddystone-TLM, unencrypted.
    EddystoneTlm(EddystoneTlm),
    /// Eddystone-EID.
    EddystoneEid(EddystoneEid),
    /// BTHome version 2.
    BtHome(BtHome<'a>),
    /// Ruuvi data formats 3, 5, 6 and E1.
    Ruuvi(Ruuvi),
}

/// Apple iBeacon: a proximity UUID and two numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IBeacon {
    /// Names the fleet.
    pub proximity_uuid: [u8; 16],
    /// Names a group in the fleet.
    pub major: u16,
    /// Names one beacon in the group.
    pub minor: u16,
    /// Expected RSSI at one metre, in dBm.
    pub measured_power: i8,
}

/// AltBeacon: a 20-byte beacon identifier, by convention 16 bytes of organisation and 4 of unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AltBeacon {
    /// Bluetooth SIG company identifier of the manufacturer.
    pub company: u16,
    /// Names the beacon.
    pub id: [u8; 20],
    /// Expected RSSI at one metre, in dBm.
    pub reference_rssi: i8,
    /// One byte of the manufacturer's own.
    pub manufacturer_reserved: u8,
}

/// Eddystone-UID: a namespace and an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EddystoneUid {
    /// Received power at 0 m, in dBm.
    pub tx_power: i8,
    /// Names the fleet.
    pub namespace: [u8; 10],
    /// Names one beacon in the fleet.
    pub instance: [u8; 6],
}

/// Eddystone-URL: a web address, compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EddystoneUrl<'a> {
    /// Received power at 0 m, in dBm.
    pub tx_power: i8,
    /// The encoded address, scheme prefix first.
    encoded: &'a [u8],
}

/// Eddystone-TLM: a beacon's own health.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EddystoneTlm {
    /// Battery, in volts; `None` when the beacon has no battery to measure.
    pub battery_v: Option<f64>,
    /// Temperature, in degrees Celsius; `None` when it cannot tell.
    pub temperature_c: Option<f64>,
    /// Advertisements sent since power-on.
    pub advertisements: u32,
    /// Time since power-on, in seconds, in steps of 0.1 s.
    pub uptime_s: f64,
}

/// Eddystone-EID: an identifier that only the holder of the identity key can recognise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EddystoneEid {
    /// Received power at 0 m, in dBm.
    pub tx_power: i8,
    /// The ephemeral identifier.
    pub eid: [u8; 8],
}

/// BTHome version 2 service data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BtHome<'a> {
    payload: &'a [u8],
}

/// A RuuviTag's or Ruuvi Air's measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ruuvi {
    format: u8,
}

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What was measured, which also says the unit.
    pub quantity: Quantity,
    /// The value, in the quantity's unit. Switches are 0 and 1.
    pub value: f64,
    /// Tells several readings of one quantity in one frame apart, from 0, in the order they stand.
    pub instance: u8,
}

/// What a [`Reading`] measures.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Quantity {
    /// Degrees Celsius.
    TemperatureC,
}

impl Quantity {
    /// The name used in payloads, unit last: `temperature_c`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TemperatureC => "temperature_c",
        }
    }

    /// The unit as people write it.
    pub const fn unit(self) -> &'static str {
        "°C"
    }

    /// The smallest change that is worth an event, in the quantity's unit.
    pub const fn report_change(self) -> f64 {
        0.2
    }

    /// True for quantities that are on or off.
    pub const fn is_switch(self) -> bool {
        false
    }

    /// The quantity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        (name == "temperature_c").then_some(Self::TemperatureC)
    }
}

impl Frame<'_> {
    /// What a sensor frame measured; nothing for a beacon frame.
    pub fn readings(&self) -> impl Iterator<Item = Reading> {
        std::iter::empty()
    }
}

/// Why advertising data yielded no frame.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum Undecoded {
    /// No AD structure in it is in a format we speak, or the format is one we never process.
    #[error("no known frame format")]
    Unknown,
    /// It announced a format we speak and then broke its rules.
    #[error("malformed {format} frame")]
    Malformed {
        /// The format it announced.
        format: &'static str,
    },
}

/// True when the advertisement is of a kind that is never processed, whoever sent it.
pub fn never_processed(_data: &[u8]) -> bool {
    false
}

/// Decodes every AD structure that is in a format we know.
pub fn decode(_data: &[u8]) -> Result<Frames<'_>, Undecoded> {
    Err(Undecoded::Unknown)
}
