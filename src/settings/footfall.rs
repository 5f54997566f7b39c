//! `[footfall]`: counting everybody, anonymously. Off unless the operator wants it.

use serde::{Deserialize, Serialize};

use super::{Invalid, Span, presence::rssi};
use crate::engine::FootfallSettings;

/// `[footfall]`: anonymous counts of everybody.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct FootfallSection {
    /// Whether everybody is counted.
    pub enabled: bool,
    /// How long is counted together: `5m`, `6m`, `10m`, `12m`, `15m`, `20m`, `30m` or `1h`. With each
    /// begins a new salt, so no device is known again in the next.
    pub bin: Span,
    /// Fainter than this is not counted, in dBm, even in a zone whose `enter_rssi` is lower.
    pub min_rssi: f64,
    /// Figures below this are not told, 10 to 100.
    pub k: u32,
}

/// Fewer are never told, whatever the operator wants.
const LEAST_K: u32 = 10;

/// More registers than this are seldom touched one by one: `k` would suppress more than it says.
const MOST_K: u32 = 100;

/// How long may be counted together: an hour divided evenly, so that bins begin with it. A longer one
/// would keep its salt for longer, and count the same phone under more addresses.
const BINS: [Span; 8] = [
    Span::secs(5 * 60),
    Span::secs(6 * 60),
    Span::secs(10 * 60),
    Span::secs(12 * 60),
    Span::secs(15 * 60),
    Span::secs(20 * 60),
    Span::secs(30 * 60),
    Span::secs(60 * 60),
];

impl Default for FootfallSection {
    fn default() -> Self {
        Self { enabled: false, bin: Span::secs(15 * 60), min_rssi: -80.0, k: LEAST_K }
    }
}

impl FootfallSection {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if !BINS.contains(&self.bin) {
            let names: Vec<String> = BINS.iter().map(ToString::to_string).collect();
            let allowed = format!("allowed are {}", names.join(", "));
            return Err(Invalid::new("footfall.bin", self.bin.to_string(), &allowed));
        }
        if !(LEAST_K..=MOST_K).contains(&self.k) {
            let allowed = format!(
                "allowed are {LEAST_K} to {MOST_K}: what is told of fewer could be told of one"
            );
            return Err(Invalid::new("footfall.k", self.k.to_string(), &allowed));
        }
        rssi("footfall.min_rssi", self.min_rssi)
    }

    /// As the engine takes it; `None` while it is off.
    pub fn build(&self) -> Option<FootfallSettings> {
        self.enabled.then_some(FootfallSettings {
            bin: self.bin.0,
            min_rssi: self.min_rssi,
            k: self.k,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_off_unless_it_is_switched_on() {
        assert_eq!(FootfallSection::default().build(), None);
        let on = FootfallSection { enabled: true, ..Default::default() }.build().unwrap();
        assert_eq!((on.bin.as_secs(), on.k), (900, 10));
    }

    #[test]
    fn only_bins_that_divide_an_hour_are_allowed() {
        let check =
            |seconds| FootfallSection { bin: Span::secs(seconds), ..Default::default() }.check();
        let allowed: Vec<u64> = (0..=7300).filter(|&seconds| check(seconds).is_ok()).collect();
        assert_eq!(allowed, [300, 360, 600, 720, 900, 1200, 1800, 3600]);
        let message = check(7200).unwrap_err().to_string();
        assert_eq!(
            message,
            "`footfall.bin` is 2h; allowed are 5m, 6m, 10m, 12m, 15m, 20m, 30m, 1h"
        );
    }

    #[test]
    fn k_can_be_raised_and_not_lowered() {
        let check = |k| FootfallSection { k, ..Default::default() }.check();
        assert!(check(10).is_ok() && check(25).is_ok() && check(100).is_ok());
        for k in [0, 1, 9, 101] {
            let message = check(k).unwrap_err().to_string();
            assert!(message.contains("footfall.k") && message.contains("10 to 100"), "{message}");
        }
        let faint = FootfallSection { min_rssi: -200.0, ..Default::default() };
        assert!(faint.check().unwrap_err().to_string().contains("footfall.min_rssi"));
    }
}
