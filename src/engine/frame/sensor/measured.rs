//! Where a decoder puts what it read. Values that cannot be are dropped here, and counted.

use arrayvec::ArrayVec;

use crate::engine::frame::{Action, Quantity, Reading};

/// How many readings one frame may hold; further ones are dropped. The widest built-in format has
/// fewer than 20.
pub const MAX_READINGS: usize = 32;

/// What one sensor frame says.
///
/// `Debug` is for tests: what a stranger's sensor tells never gets that far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// The product, where the frame or the name tells it.
    pub model: Option<&'static str>,
    /// What was measured and what happened, in the order in which it stands.
    pub readings: ArrayVec<Reading, MAX_READINGS>,
    /// Changes with every change of the data (a packet id) or grows with every frame (a counter).
    /// Either way a frame with the same one is a repetition.
    pub counter: Option<u32>,
    /// The frame was encrypted or signed, and the sender's key opened it.
    pub sealed: bool,
    /// A counter that the key vouches for and that grows with every frame for as long as the sensor has
    /// power; a frame whose one is not greater than the last is a replay. `None` where the format has
    /// none, or one so short that it comes round again within days.
    pub freshness: Option<u32>,
    /// Where the freshness is a time in tenths of a second and the frame opens around its own time alone:
    /// for how long it does, in the same unit. What is farther behind is no replay, but has begun anew.
    pub opens_for: Option<u32>,
    /// True when the frame tells of something that happened just now, not of a state.
    pub event: bool,
    /// How many values were out of their quantity's bounds, and are not among the readings.
    pub dropped: u8,
}

/// Why a decoder has no reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stop {
    /// Another format of the same company or under the same service.
    NotMine,
    /// It announced the format and then broke its rules.
    Malformed,
    /// The content is encrypted, and stays so.
    Encrypted(Refusal),
}

/// Why encrypted content stays so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// Nobody gave a key for this sender, or its address or its clock is not known, of which the cipher makes
    /// use; or the format is one that a key does not open.
    NoKey,
    /// The key does not open it: a wrong key, a frame of somebody else's, or a changed one.
    WrongKey,
    /// The frame ends before its authentication does.
    Truncated,
}

impl Measured {
    /// Adds a value. The first of its quantity is instance 0, the next one 1, and so on.
    pub fn push(&mut self, quantity: Quantity, value: f64) {
        let before = self.readings.iter().filter(|reading| reading.quantity == quantity).count();
        self.push_at(quantity, u8::try_from(before).unwrap_or(u8::MAX), value);
    }

    /// Adds a value with a given instance: a probe's number, from 0.
    pub fn push_at(&mut self, quantity: Quantity, instance: u8, value: f64) {
        let reading = Reading { quantity, value, instance };
        if !quantity.is_plausible(value) || self.readings.try_push(reading).is_err() {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    /// Adds values that have their instances.
    pub(in crate::engine::frame) fn take(&mut self, readings: impl Iterator<Item = Reading>) {
        for Reading { quantity, instance, value } in readings {
            self.push_at(quantity, instance, value);
        }
    }

    /// Adds a switch.
    pub fn flag(&mut self, quantity: Quantity, on: bool) {
        self.push(quantity, f64::from(u8::from(on)));
    }

    /// Adds an event at a button or dimmer with a number, from 0.
    pub fn action(&mut self, quantity: Quantity, instance: u8, action: Action) {
        self.push_at(quantity, instance, action.value());
    }

    /// Whether it says something: a reading, or at least a model with nothing to tell just now.
    pub(super) fn is_told(&self) -> bool {
        !self.readings.is_empty() || self.dropped == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_dropped_and_counted() {
        let mut measured = Measured::default();
        measured.push(Quantity::TemperatureC, 21.5);
        measured.push(Quantity::TemperatureC, -300.0);
        measured.push(Quantity::TemperatureC, f64::NAN);
        measured.push(Quantity::TemperatureC, -4.0);
        measured.push(Quantity::BatteryPercent, 255.0);
        let told: Vec<_> = measured.readings.iter().map(|r| (r.instance, r.value)).collect();
        assert_eq!(told, [(0, 21.5), (1, -4.0)]);
        assert_eq!(measured.dropped, 3);
    }

    #[test]
    fn more_than_fits_is_dropped() {
        let mut measured = Measured::default();
        for n in 0..40 {
            measured.push(Quantity::Count, f64::from(n));
        }
        assert_eq!((measured.readings.len(), measured.dropped), (MAX_READINGS, 8));
    }
}
