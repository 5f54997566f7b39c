//! One value that a sensor frame told, and what a button or dimmer did.

use super::Quantity;

/// One measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// What was measured, which also says the unit.
    pub quantity: Quantity,
    /// The value, in the quantity's unit. Switches are 0 and 1; for events see [`Reading::action`].
    pub value: f64,
    /// Tells several readings of one quantity in one frame apart, from 0, in the order they stand.
    pub instance: u8,
}

/// What somebody did with a button or a dimmer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// A button was pressed.
    Press,
    /// A button was pressed twice.
    DoublePress,
    /// A button was pressed three times.
    TriplePress,
    /// A button was pressed long.
    LongPress,
    /// A button was pressed long, twice.
    LongDoublePress,
    /// A button was pressed long, three times.
    LongTriplePress,
    /// A button is being held.
    HoldPress,
    /// A dimmer was turned to the left by so many steps, 1 to 255.
    RotateLeft(u8),
    /// A dimmer was turned to the right by so many steps, 1 to 255.
    RotateRight(u8),
}

impl Reading {
    /// A reading that is the only one of its quantity in its frame.
    pub(super) const fn only(quantity: Quantity, value: f64) -> Self {
        Self { quantity, value, instance: 0 }
    }

    /// What happened, for a reading whose quantity is an event; `None` for any other.
    pub fn action(&self) -> Option<Action> {
        match self.quantity {
            Quantity::Button => Action::PRESSES
                .into_iter()
                .find(|&press| Action::value(press).total_cmp(&self.value).is_eq()),
            Quantity::DimmerSteps => {
                let steps = (1..=u8::MAX)
                    .find(|&steps| f64::from(steps).total_cmp(&self.value.abs()).is_eq())?;
                let left = self.value.is_sign_negative();
                Some(if left { Action::RotateLeft(steps) } else { Action::RotateRight(steps) })
            }
            _ => None,
        }
    }
}

impl Action {
    const PRESSES: [Self; 7] = [
        Self::Press,
        Self::DoublePress,
        Self::TriplePress,
        Self::LongPress,
        Self::LongDoublePress,
        Self::LongTriplePress,
        Self::HoldPress,
    ];

    /// The name used in payloads.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Press => "press",
            Self::DoublePress => "double_press",
            Self::TriplePress => "triple_press",
            Self::LongPress => "long_press",
            Self::LongDoublePress => "long_double_press",
            Self::LongTriplePress => "long_triple_press",
            Self::HoldPress => "hold_press",
            Self::RotateLeft(_) => "rotate_left",
            Self::RotateRight(_) => "rotate_right",
        }
    }

    /// Every name there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let turns = [Self::RotateLeft(1), Self::RotateRight(1)];
        Self::PRESSES.into_iter().chain(turns).map(Self::name)
    }

    /// How far a dimmer was turned, 1 to 255; none for a button.
    pub const fn steps(self) -> Option<u8> {
        match self {
            Self::RotateLeft(steps) | Self::RotateRight(steps) => Some(steps),
            _ => None,
        }
    }

    /// The value of the reading that tells it: for a button BTHome's event id (bthome.io, Events),
    /// for a dimmer the steps, negative to the left.
    pub fn value(self) -> f64 {
        match self {
            Self::Press => 1.0,
            Self::DoublePress => 2.0,
            Self::TriplePress => 3.0,
            Self::LongPress => 4.0,
            Self::LongDoublePress => 5.0,
            Self::LongTriplePress => 6.0,
            Self::HoldPress => 128.0,
            Self::RotateLeft(steps) => -f64::from(steps),
            Self::RotateRight(steps) => f64::from(steps),
        }
    }
}

/// `raw * times / per`, correctly rounded: the result prints as the decimal number that was meant.
///
/// The product is exact (every format keeps it below 2^53), so only the division rounds. Dividing
/// 2506 by 100 gives the double that is nearest to 25.06; multiplying by 0.01 gives its neighbour,
/// which prints as 25.060000000000002.
pub(super) fn scaled(raw: impl Into<f64>, times: f64, per: f64) -> f64 {
    raw.into() * times / per
}

/// A whole number as a double; exact below 2^53, and nothing that is read here goes beyond.
#[expect(clippy::cast_precision_loss, reason = "formats keep their numbers below 2^53")]
pub(super) const fn exact(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_value_prints_as_the_decimal_it_stands_for() {
        for raw in -32_768..=32_767_i32 {
            let value = scaled(raw, 1.0, 100.0);
            let (whole, rest) = (raw.abs() / 100, raw.abs() % 100);
            let sign = if raw < 0 { "-" } else { "" };
            let decimal = format!("{sign}{whole}.{rest:02}");
            let decimal = decimal.trim_end_matches('0').trim_end_matches('.');
            assert_eq!(value.to_string(), decimal);
        }
    }

    #[test]
    fn an_action_survives_the_way_through_a_reading() {
        let turns = (1..=u8::MAX).flat_map(|n| [Action::RotateLeft(n), Action::RotateRight(n)]);
        for turn in turns {
            let reading = Reading::only(Quantity::DimmerSteps, turn.value());
            assert_eq!(reading.action(), Some(turn));
        }
        for press in Action::PRESSES {
            assert_eq!(Reading::only(Quantity::Button, press.value()).action(), Some(press));
        }
        assert_eq!(Reading::only(Quantity::Button, 254.0).action(), None);
        assert_eq!(Reading::only(Quantity::DimmerSteps, 0.0).action(), None);
        assert_eq!(Reading::only(Quantity::Count, 1.0).action(), None);
    }
}
