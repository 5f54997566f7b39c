//! What the outbox costs the card: bytes written in, years of life out.

use serde_json::{Value, json};

use super::Report;
use crate::{engine::Uptime, outbox};

/// What a card bears.
#[derive(Clone, Copy, Debug)]
pub(in crate::gateway) struct Wear {
    /// Bytes that can be written to it before it wears out.
    pub(in crate::gateway) endurance: u64,
}

impl Report<'_> {
    /// What the outbox costs the card, and how long the card bears it.
    pub(super) fn flash(&self) -> Value {
        let outbox::Totals { written, appended, .. } = self.outbox.totals;
        let per_day = Wear::per_day(written, self.wall.at);
        json!({
            "bytes_written": written,
            "bytes_per_event": written.checked_div(appended),
            "bytes_per_day": per_day,
            "card_years": per_day.and_then(|per_day| self.wear.years(per_day)),
        })
    }
}

impl Wear {
    /// How much is written in a day at this rate; `None` in the first minute, of which nothing
    /// follows.
    fn per_day(written: u64, up: Uptime) -> Option<u64> {
        let seconds = up.since(Uptime::ZERO).as_secs();
        let day = u128::from(written) * 86_400;
        let per_day = day.checked_div(u128::from(seconds)).filter(|_| seconds >= 60)?;
        u64::try_from(per_day).ok()
    }

    /// How many years the card bears so much a day; `None` when that is nothing.
    fn years(self, per_day: u64) -> Option<u64> {
        (self.endurance / 365).checked_div(per_day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cards_life_is_projected_from_a_minute_on_and_never_divides_by_nothing() {
        let at = |seconds: i64| Uptime::from_micros(seconds * 1_000_000);
        let wear = Wear { endurance: 10 << 40 };
        assert_eq!(Wear::per_day(1 << 20, at(59)), None);
        assert_eq!(Wear::per_day(1 << 20, at(60)), Some(1440 << 20));
        assert_eq!(Wear::per_day(u64::MAX, at(60)), None, "more than can be said");
        assert_eq!(wear.years(1 << 30), Some(28));
        assert_eq!(wear.years(0), None);
    }
}
