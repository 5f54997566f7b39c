//! The table language: how a frame is recognised, and where its values stand.
//!
//! A decoder is data where it can be, and code where it must be. Both kinds stand in the same table
//! and are asked in the same way, and what an operator writes in TOML becomes the same data.

mod bits;
mod field;

pub use bits::{Bits, Sign, Test};
pub use field::{Field, Value};

use super::{Heard, Measured, Stop, heard::BASE_UUID};

/// One way to read a frame.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Decoder {
    /// The family's name in payloads, metrics and the configuration.
    pub family: &'static str,
    /// Where in an advertisement its data stands.
    pub carrier: Carrier,
    /// How many octets its data has, at least and at most.
    pub length: (usize, usize),
    /// What must be true of the data.
    pub when: &'static [Test],
    /// What the local name must begin with, one of these; any name (and none) where it is empty.
    pub names: &'static [&'static str],
    /// A 16-bit service that must be listed.
    pub lists: Option<u16>,
    /// The product.
    pub model: Model,
    /// Where its counter or packet id stands.
    pub counter: Option<Bits>,
    /// Whether one value that cannot be spoils the frame: for families without a checksum whose frames
    /// are known by little more than a name.
    pub whole: bool,
    /// How its values are read.
    pub read: Read,
}

/// Where in an advertisement a decoder's data stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carrier {
    /// Manufacturer data under this company identifier; what follows it.
    Company(u16),
    /// Service data under a 16-bit UUID; what follows it.
    Service(u16),
    /// Service data under a 128-bit UUID; what follows it.
    LongService(u128),
    /// Manufacturer data under any company identifier, which is part of the data: little-endian, two
    /// octets. For sensors that keep a value where the identifier should be, known by their name.
    Named,
    /// The same from senders that list a 16-bit service, whose name tells nothing.
    Listed(u16),
    /// The same for a 128-bit service.
    LongListed(u128),
}

/// The product that a frame comes from.
#[derive(Clone, Copy, Debug)]
pub enum Model {
    /// Nothing tells.
    Unknown,
    /// It is always this one.
    Is(&'static str),
    /// An octet of the data tells; unknown where it is none of these.
    ByOctet(usize, &'static [(u8, &'static str)]),
    /// The beginning of the local name tells.
    ByName(&'static [(&'static str, &'static str)]),
}

/// How values are read.
#[derive(Clone, Copy, Debug)]
pub enum Read {
    /// One after the other, where they stand.
    Fields(&'static [Field]),
    /// By code: total, without allocation.
    Code(Code),
}

/// A decoder that is code. It gets the advertisement and the data at its carrier.
pub type Code = fn(&Heard<'_>, &[u8], &mut Measured) -> Result<(), Stop>;

// === impl Carrier ===

impl Carrier {
    /// A service that is listed by its 128-bit UUID, which may be the long form of a 16-bit one.
    pub(super) fn listed(service: u128) -> Self {
        match u16::try_from((service ^ BASE_UUID) >> 96) {
            Ok(short) if service == BASE_UUID | u128::from(short) << 96 => Self::Listed(short),
            _ => Self::LongListed(service),
        }
    }
}

// === impl Decoder ===

impl Decoder {
    /// A decoder of manufacturer data, of any length, that reads nothing yet.
    pub const fn company(family: &'static str, company: u16) -> Self {
        Self::new(family, Carrier::Company(company))
    }

    /// A decoder of a 16-bit service's data.
    pub const fn service(family: &'static str, service: u16) -> Self {
        Self::new(family, Carrier::Service(service))
    }

    /// A decoder of manufacturer data whose sender is known by its name alone.
    pub const fn named(family: &'static str, names: &'static [&'static str]) -> Self {
        Self { names, ..Self::new(family, Carrier::Named) }
    }

    /// A decoder that reads nothing yet.
    pub const fn new(family: &'static str, carrier: Carrier) -> Self {
        Self {
            family,
            carrier,
            length: (0, usize::MAX),
            when: &[],
            names: &[],
            lists: None,
            model: Model::Unknown,
            counter: None,
            whole: false,
            read: Read::Fields(&[]),
        }
    }

    /// Of exactly so many octets.
    pub const fn length(self, octets: usize) -> Self {
        Self { length: (octets, octets), ..self }
    }

    /// Of at least so many octets.
    pub const fn at_least(self, octets: usize) -> Self {
        Self { length: (octets, usize::MAX), ..self }
    }

    /// Only where these are true of the data.
    pub const fn when(self, when: &'static [Test]) -> Self {
        Self { when, ..self }
    }

    /// Only from senders whose name begins with one of these.
    pub const fn names(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    /// Only from senders that list a service.
    pub const fn lists(self, service: u16) -> Self {
        Self { lists: Some(service), ..self }
    }

    /// From this product.
    pub const fn model(self, model: &'static str) -> Self {
        Self { model: Model::Is(model), ..self }
    }

    /// From the product that something tells.
    pub const fn models(self, model: Model) -> Self {
        Self { model, ..self }
    }

    /// With a counter or a packet id.
    pub const fn counter(self, counter: Bits) -> Self {
        Self { counter: Some(counter), ..self }
    }

    /// Only with all its values possible.
    pub const fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// With these values.
    pub const fn fields(self, fields: &'static [Field]) -> Self {
        Self { read: Read::Fields(fields), ..self }
    }

    /// Read by code.
    pub const fn code(self, code: Code) -> Self {
        Self { read: Read::Code(code), ..self }
    }

    /// Reads the data at the carrier.
    pub fn decode(&self, heard: &Heard<'_>, data: &[u8]) -> Result<Measured, Stop> {
        let (least, most) = self.length;
        let fits = (least..=most).contains(&data.len())
            && self.when.iter().all(|test| test.holds(data))
            && (self.names.is_empty() || begins_with_one(heard.name(), self.names))
            && self.lists.is_none_or(|service| heard.lists(service));
        if !fits {
            return Err(Stop::NotMine);
        }
        let mut measured = Measured { model: self.model.of(heard, data), ..Measured::default() };
        if let Some(counter) = self.counter.and_then(|bits| bits.number(data)) {
            measured.counter = u32::try_from(counter).ok();
        }
        match self.read {
            Read::Fields(fields) => Field::read_all(fields, data, &mut measured),
            Read::Code(code) => code(heard, data, &mut measured)?,
        }
        let spoilt = self.whole && measured.dropped > 0;
        if measured.is_told() && !spoilt { Ok(measured) } else { Err(Stop::Malformed) }
    }
}

/// Whether a name begins with one of these.
pub(super) fn begins_with_one(name: &[u8], beginnings: &[&str]) -> bool {
    beginnings.iter().any(|beginning| name.starts_with(beginning.as_bytes()))
}

// === impl Model ===

impl Model {
    pub(super) fn of(self, heard: &Heard<'_>, data: &[u8]) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Is(model) => Some(model),
            Self::ByOctet(at, models) => {
                let octet = *data.get(at)?;
                models.iter().find(|(id, _)| *id == octet).map(|(_, model)| *model)
            }
            Self::ByName(models) => {
                let name = heard.name();
                let found = models.iter().find(|(start, _)| name.starts_with(start.as_bytes()));
                found.map(|(_, model)| *model)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::frame::Quantity;

    #[test]
    fn a_field_is_told_when_its_conditions_hold_and_its_number_is_valid() {
        const FIELDS: &[Field] = &[
            Field::le(Quantity::TemperatureC, 0, 2).signed().per(100).invalid(&[-32768]),
            Field::bit(Quantity::DoorOpen, 2, 0).when(&[Test::bits(2, 0x80, 0x80)]),
            Field::octet(Quantity::BatteryPercent, 3).map(&[(2, 100.0), (1, 50.0)]),
        ];
        let decoder = Decoder::company("test", 1).fields(FIELDS);
        let told = |data: &[u8]| -> Vec<_> {
            let measured = decoder.decode(&Heard::new(&[]), data).unwrap();
            measured.readings.iter().map(|r| (r.quantity, r.value)).collect()
        };
        assert_eq!(
            told(&[0x9c, 0xff, 0x81, 1]),
            [
                (Quantity::TemperatureC, -1.0),
                (Quantity::DoorOpen, 1.0),
                (Quantity::BatteryPercent, 50.0)
            ]
        );
        assert_eq!(told(&[0x00, 0x80, 0x01, 3]), []);
        assert_eq!(told(&[0x00]), []);
    }

    #[test]
    fn a_frame_that_does_not_fit_is_not_ours_and_one_without_a_possible_value_is_malformed() {
        const FIELDS: &[Field] = &[Field::octet(Quantity::BatteryPercent, 1)];
        const VERSION: &[Test] = &[Test::is(0, 7)];
        let decoder =
            Decoder::company("test", 1).length(2).when(VERSION).names(&["Shop-"]).fields(FIELDS);
        let named = [&[6, 0x09][..], b"Shop-"].concat();
        let heard = Heard::new(&named);
        assert!(decoder.decode(&heard, &[7, 100]).is_ok());
        assert_eq!(decoder.decode(&heard, &[8, 100]), Err(Stop::NotMine));
        assert_eq!(decoder.decode(&heard, &[7, 100, 0]), Err(Stop::NotMine));
        assert_eq!(decoder.decode(&Heard::new(&[]), &[7, 100]), Err(Stop::NotMine));
        assert_eq!(decoder.decode(&heard, &[7, 255]), Err(Stop::Malformed));
    }
}
