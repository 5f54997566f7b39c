//! What the number in a frame means: numbers in, quantities in their units out.

use super::{
    super::Measured,
    bits::{Bits, Sign, Test},
};
use crate::engine::frame::{Quantity, reading::exact};

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
