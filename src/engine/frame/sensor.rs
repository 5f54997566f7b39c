//! The parts of an advertisement in, what a sensor of a known family says out. Total, and nothing is
//! allocated.
//!
//! One table of [`Decoder`]s, each of them data or code; operators add their own in the same language.
//!
//! | part | does |
//! |---|---|
//! | `heard` | name, manufacturer and service data of one advertisement |
//! | `table` | the table language |
//! | `index` | finds the decoders that may know a structure |
//! | `serial` | the numbers that sensors give themselves |
//! | `measured` | where values go; what is out of bounds stays out |
//! | `cipher` | opens what is encrypted and checks what is signed, with the sender's key |
//! | `family` | the built-in families, one file each |

mod cipher;
#[cfg(test)]
pub(in crate::engine) use cipher::telemetry;

mod heard;
pub use heard::{BeaconClock, BindKey, Heard};

mod family;
pub use family::{About, Encryption, built_in, families};

mod index;

mod measured;
pub use measured::{MAX_READINGS, Measured, Refusal, Stop};

mod serial;
pub use serial::{Serial, SerialNumber, families_with_serials, serials};

mod table;
pub use table::{Bits, Carrier, Code, Decoder, Field, Model, Read, Sign, Test, Value};

#[cfg(test)]
mod tests;
#[cfg(test)]
mod totality;

use std::fmt;

use super::ad::{Structure, ad_type};
use index::key;

/// The decoders of an operator's own, asked before the built-in ones.
///
/// They live as long as the program: there are a few dozen, read once.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnDecoders(&'static [Decoder]);

/// A frame of a sensor in the table: recognised and checked, read anew when it is asked.
///
/// `Debug` is redacted: what a stranger's sensor tells is the stranger's.
#[derive(Clone, Copy)]
pub struct Sensor<'a> {
    decoder: &'static Decoder,
    heard: Heard<'a>,
    data: &'a [u8],
}

/// What became of the decoders that know a structure's carrier.
#[derive(Clone, Copy)]
pub(super) enum Found<'a> {
    /// One could read it.
    Sensor(Sensor<'a>),
    /// None could; this is what the first that knew it said.
    Stopped(&'static str, Stop),
    /// None knew it.
    Nothing,
}

impl PartialEq for OwnDecoders {
    /// The same table, not one like it.
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl OwnDecoders {
    /// Wraps decoders.
    pub const fn new(decoders: &'static [Decoder]) -> Self {
        Self(decoders)
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        self.0.len()
    }
}

impl<'a> Sensor<'a> {
    /// The family's name in payloads, metrics and the configuration.
    pub const fn family(&self) -> &'static str {
        self.decoder.family
    }

    /// All that the frame says.
    pub fn measured(&self) -> Measured {
        self.decoder.decode(&self.heard, self.data).unwrap_or_default()
    }

    /// Asks the decoders that may know an AD structure.
    pub(super) fn of_structure(
        heard: &Heard<'a>,
        Structure { ad_type, data, .. }: Structure<'a>,
        own: OwnDecoders,
    ) -> Found<'a> {
        if matches!(ad_type, ad_type::SOME_SERVICES_16 | ad_type::ALL_SERVICES_16) {
            let listed = data.as_chunks().0.iter();
            let carriers = listed.map(|service| Carrier::Listed(u16::from_le_bytes(*service)));
            return Self::of_list(carriers, heard, own);
        }
        if matches!(ad_type, ad_type::SOME_SERVICES_128 | ad_type::ALL_SERVICES_128) {
            let listed = data.as_chunks().0.iter();
            let carriers = listed.map(|service| Carrier::listed(u128::from_le_bytes(*service)));
            return Self::of_list(carriers, heard, own);
        }
        let split = match ad_type {
            ad_type::MANUFACTURER_DATA => data
                .split_first_chunk()
                .map(|(id, rest)| (Carrier::Company(u16::from_le_bytes(*id)), rest)),
            ad_type::SERVICE_DATA_16 => data
                .split_first_chunk()
                .map(|(id, rest)| (Carrier::Service(u16::from_le_bytes(*id)), rest)),
            ad_type::SERVICE_DATA_128 => data
                .split_first_chunk()
                .map(|(id, rest)| (Carrier::LongService(u128::from_le_bytes(*id)), rest)),
            _ => None,
        };
        let Some((carrier, data)) = split else { return Found::Nothing };
        let own = own.0.iter().filter(|decoder| decoder.carrier == carrier);
        let built_in =
            family::INDEX.of(key(carrier)).iter().filter(|decoder| decoder.carrier == carrier);
        Self::first(own.chain(built_in), heard, data)
    }

    /// Asks the decoders that know a sender by a service that it lists.
    fn of_list(
        carriers: impl Iterator<Item = Carrier>,
        heard: &Heard<'a>,
        own: OwnDecoders,
    ) -> Found<'a> {
        for carrier in carriers {
            let own = own.0.iter().filter(|decoder| decoder.carrier == carrier);
            let built_in =
                family::INDEX.of(key(carrier)).iter().filter(|decoder| decoder.carrier == carrier);
            for decoder in own.chain(built_in) {
                for data in heard.manufacturer_structures() {
                    match Self::first(std::iter::once(decoder), heard, data) {
                        Found::Nothing => {}
                        found => return found,
                    }
                }
            }
        }
        Found::Nothing
    }

    /// Asks the decoders that know a sender by its name.
    pub(super) fn of_name(heard: &Heard<'a>, own: OwnDecoders) -> Found<'a> {
        let name = heard.name();
        let own = own.0.iter().filter(|decoder| decoder.carrier == Carrier::Named);
        let mut found = Found::Nothing;
        for decoder in own.chain(family::INDEX.named(name)) {
            for data in heard.manufacturer_structures() {
                match Self::first(std::iter::once(decoder), heard, data) {
                    Found::Nothing => {}
                    Found::Stopped(..) if !matches!(found, Found::Nothing) => {}
                    sensor @ Found::Sensor(_) => return sensor,
                    stopped @ Found::Stopped(..) => found = stopped,
                }
            }
        }
        found
    }

    fn first(
        decoders: impl Iterator<Item = &'static Decoder>,
        heard: &Heard<'a>,
        data: &'a [u8],
    ) -> Found<'a> {
        let mut found = Found::Nothing;
        for decoder in decoders {
            match decoder.decode(heard, data) {
                Ok(_) => return Found::Sensor(Self { decoder, heard: *heard, data }),
                Err(Stop::NotMine) => {}
                Err(stop) if matches!(found, Found::Nothing) => {
                    found = Found::Stopped(decoder.family, stop);
                }
                Err(_) => {}
            }
        }
        found
    }
}

impl PartialEq for Sensor<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.decoder.family == other.decoder.family && self.data == other.data
    }
}

impl fmt::Debug for Sensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sensor").field("family", &self.decoder.family).finish_non_exhaustive()
    }
}
