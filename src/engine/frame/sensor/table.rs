//! The table language: how a frame is recognised, and where its values stand.
//!
//! A decoder is data where it can be, and code where it must be. Both kinds stand in the same table
//! and are asked in the same way, and what an operator writes in TOML becomes the same data.

use super::{Heard, Measured, Stop, heard::BASE_UUID};
use crate::engine::frame::{Quantity, reading::exact};

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

/// A condition on one octet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Test {
    /// Where it stands, from 0.
    pub at: usize,
    /// Which of its bits count.
    pub mask: u8,
    /// What those bits must be.
    pub is: u8,
}

/// Where a whole number stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Bits {
    /// Its first octet, from 0.
    pub at: usize,
    /// How many octets, 1 to 8.
    pub octets: usize,
    /// Whether the most significant octet comes first.
    pub big: bool,
    /// How many bits to shift it down, after the octets were joined.
    pub shift: u32,
    /// How many bits it has after that; 0 for all that are left.
    pub width: u32,
    /// What its most significant bit means.
    pub sign: Sign,
}

/// What a number's most significant bit means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sign {
    /// One more bit of the value.
    None,
    /// Two's complement.
    Twos,
    /// Minus, and the other bits are the magnitude.
    Magnitude,
}

/// One value of a frame.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Field {
    /// What it measures.
    pub quantity: Quantity,
    /// Which one of them, from 0; `None` for the next one of its quantity.
    pub instance: Option<u8>,
    /// Where it stands. A field behind the end of the data is absent.
    pub bits: Bits,
    /// What the number means.
    pub value: Value,
    /// Numbers that mean "not available".
    pub invalid: &'static [i64],
    /// When the field is there at all.
    pub when: &'static [Test],
}

/// What a number means.
#[derive(Clone, Copy, Debug)]
pub enum Value {
    /// `(number * times + plus) / per`. The three are whole, so the result is the double next to the
    /// decimal number that was meant.
    Scaled {
        /// The factor.
        times: i64,
        /// What is added before the division.
        plus: i64,
        /// The divisor, not 0.
        per: i64,
    },
    /// 0 for 0, else 1.
    NotZero,
    /// 1 for one of these numbers, else 0.
    OneOf(&'static [i64]),
    /// The value of the pair that has the number; absent where none has it.
    Map(&'static [(i64, f64)]),
}

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

// === impl Test ===

impl Test {
    /// An octet is this.
    pub const fn is(at: usize, is: u8) -> Self {
        Self { at, mask: 0xff, is }
    }

    /// Some bits of an octet are this.
    pub const fn bits(at: usize, mask: u8, is: u8) -> Self {
        Self { at, mask, is }
    }

    /// Whether it is true of the data; what is behind the end is not.
    pub fn holds(&self, data: &[u8]) -> bool {
        data.get(self.at).is_some_and(|octet| octet & self.mask == self.is)
    }
}

// === impl Bits ===

impl Bits {
    /// Little-endian, unsigned.
    pub const fn le(at: usize, octets: usize) -> Self {
        Self { at, octets, big: false, shift: 0, width: 0, sign: Sign::None }
    }

    /// Big-endian, unsigned.
    pub const fn be(at: usize, octets: usize) -> Self {
        Self { big: true, ..Self::le(at, octets) }
    }

    /// In two's complement.
    pub const fn signed(self) -> Self {
        Self { sign: Sign::Twos, ..self }
    }

    /// So many bits of it, after a shift.
    pub const fn part(self, shift: u32, width: u32) -> Self {
        Self { shift, width, ..self }
    }

    /// The number; `None` where the data ends before it does.
    pub fn number(&self, data: &[u8]) -> Option<i64> {
        let octets = data.get(self.at..self.at.checked_add(self.octets)?)?;
        let join = |number: u64, octet: &u8| number << 8 | u64::from(*octet);
        let joined =
            if self.big { octets.iter().fold(0, join) } else { octets.iter().rev().fold(0, join) };
        let shifted = joined.checked_shr(self.shift)?;
        let left = u32::try_from(self.octets).ok()?.checked_mul(8)?.checked_sub(self.shift)?;
        let width = if self.width == 0 { left } else { self.width };
        let unused = 64_u32.checked_sub(width)?;
        let number = shifted.checked_shl(unused)?;
        match self.sign {
            // Shifting back fills up with zeros, or with the sign.
            Sign::None => i64::try_from(number.checked_shr(unused)?).ok(),
            Sign::Twos => number.cast_signed().checked_shr(unused),
            Sign::Magnitude => {
                let magnitude = i64::try_from((number << 1).checked_shr(unused + 1)?).ok()?;
                Some(if number >> 63 == 1 { -magnitude } else { magnitude })
            }
        }
    }
}

// === impl Field ===

impl Field {
    /// A little-endian number.
    pub const fn le(quantity: Quantity, at: usize, octets: usize) -> Self {
        Self::new(quantity, Bits::le(at, octets))
    }

    /// A big-endian number.
    pub const fn be(quantity: Quantity, at: usize, octets: usize) -> Self {
        Self::new(quantity, Bits::be(at, octets))
    }

    /// One octet.
    pub const fn octet(quantity: Quantity, at: usize) -> Self {
        Self::le(quantity, at, 1)
    }

    /// A switch: one bit of an octet.
    pub const fn bit(quantity: Quantity, at: usize, bit: u32) -> Self {
        Self::octet(quantity, at).part(bit, 1)
    }

    /// A number as it stands.
    pub const fn new(quantity: Quantity, bits: Bits) -> Self {
        let value = Value::Scaled { times: 1, plus: 0, per: 1 };
        Self { quantity, instance: None, bits, value, invalid: &[], when: &[] }
    }

    /// In two's complement.
    pub const fn signed(self) -> Self {
        Self { bits: self.bits.signed(), ..self }
    }

    /// A sign bit and a magnitude.
    pub const fn magnitude(self) -> Self {
        Self { bits: Bits { sign: Sign::Magnitude, ..self.bits }, ..self }
    }

    /// So many bits of it, after a shift.
    pub const fn part(self, shift: u32, width: u32) -> Self {
        Self { bits: self.bits.part(shift, width), ..self }
    }

    /// Divided.
    pub const fn per(self, per: i64) -> Self {
        self.scaled(1, 0, per)
    }

    /// `(number * times + plus) / per`.
    pub const fn scaled(self, times: i64, plus: i64, per: i64) -> Self {
        Self { value: Value::Scaled { times, plus, per }, ..self }
    }

    /// A switch that is on at every number but 0.
    pub const fn not_zero(self) -> Self {
        Self { value: Value::NotZero, ..self }
    }

    /// A switch that is on at these numbers.
    pub const fn one_of(self, on: &'static [i64]) -> Self {
        Self { value: Value::OneOf(on), ..self }
    }

    /// The value that goes with the number.
    pub const fn map(self, pairs: &'static [(i64, f64)]) -> Self {
        Self { value: Value::Map(pairs), ..self }
    }

    /// Absent at these numbers.
    pub const fn invalid(self, invalid: &'static [i64]) -> Self {
        Self { invalid, ..self }
    }

    /// Only when these are true.
    pub const fn when(self, when: &'static [Test]) -> Self {
        Self { when, ..self }
    }

    /// The instance of that number.
    pub const fn instance(self, instance: u8) -> Self {
        Self { instance: Some(instance), ..self }
    }

    /// Reads all that are there.
    pub fn read_all(fields: &[Self], data: &[u8], measured: &mut Measured) {
        for field in fields {
            field.read(data, measured);
        }
    }

    /// Reads it, if it is there.
    pub fn read(&self, data: &[u8], measured: &mut Measured) {
        let value = self.number(data).and_then(|number| self.value.of(number));
        let Some(value) = value else { return };
        match self.instance {
            Some(instance) => measured.push_at(self.quantity, instance, value),
            None => measured.push(self.quantity, value),
        }
    }

    fn number(&self, data: &[u8]) -> Option<i64> {
        let number = self.bits.number(data)?;
        let there =
            !self.invalid.contains(&number) && self.when.iter().all(|test| test.holds(data));
        there.then_some(number)
    }
}

// === impl Value ===

impl Value {
    fn of(self, number: i64) -> Option<f64> {
        match self {
            Self::Scaled { times, plus, per } => {
                Some(exact(number.checked_mul(times)?.checked_add(plus)?) / exact(per))
            }
            Self::NotZero => Some(f64::from(u8::from(number != 0))),
            Self::OneOf(on) => Some(f64::from(u8::from(on.contains(&number)))),
            Self::Map(pairs) => pairs.iter().find(|(from, _)| *from == number).map(|(_, to)| *to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_either_end_with_every_kind_of_sign() {
        let data = [0x12, 0x80, 0x34, 0xff];
        assert_eq!(Bits::le(0, 2).number(&data), Some(0x8012));
        assert_eq!(Bits::be(0, 2).number(&data), Some(0x1280));
        assert_eq!(Bits::le(0, 2).signed().number(&data), Some(-0x7fee));
        assert_eq!(Bits { sign: Sign::Magnitude, ..Bits::le(0, 2) }.number(&data), Some(-0x12));
        assert_eq!(Bits::be(0, 3).part(4, 12).number(&data), Some(0x803));
        assert_eq!(Bits::be(1, 1).part(7, 1).number(&data), Some(1));
        assert_eq!(Bits::le(3, 1).part(0, 4).signed().number(&data), Some(-1));
        assert_eq!(Bits::le(3, 2).number(&data), None);
        assert_eq!(Bits::le(0, 8).signed().number(&[0xff; 8]), Some(-1));
        assert_eq!(Bits::le(0, 8).number(&[0xff; 8]), None, "beyond what is exact");
    }

    #[test]
    fn numbers_that_make_no_sense_are_absent_and_do_not_panic() {
        for octets in [0, 1, 8, 9, usize::MAX] {
            for shift in [0, 7, 8, 63, 64, u32::MAX] {
                for width in [0, 1, 63, 64, 65, u32::MAX] {
                    for sign in [Sign::None, Sign::Twos, Sign::Magnitude] {
                        for at in [0, 1, usize::MAX] {
                            let bits = Bits { at, octets, big: true, shift, width, sign };
                            let _number = bits.number(&[0xff; 12]);
                        }
                    }
                }
            }
        }
    }

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
