//! `[scan.hci]`: how a dedicated adapter scans.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::{Invalid, Span, between, one_of};

/// `[scan.hci]`: how an adapter scans that this program has for itself (`backend = "hci"`).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Asks scannable devices for their scan response. What they then say may hold a name; it costs
    /// air time, and they learn that somebody listens.
    pub active: bool,
    /// How often listening begins anew, on another channel: 3 ms to 10.24 s.
    pub interval: Span,
    /// How long of each interval is listened: at most all of it.
    pub window: Span,
    /// What is listened for. A kind that the controller does not have is left out, with a warning.
    pub phys: Vec<Phy>,
}

/// A way to send (Core Specification 5.4, Vol 6 Part A 1).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String")]
pub enum Phy {
    /// One megabit a second: what nearly every beacon uses.
    #[serde(rename = "1m")]
    OneM,
    /// Coded: slower, and heard from farther away.
    #[serde(rename = "coded")]
    Coded,
}

/// The shortest and the longest interval and window (Core Specification 5.4, Vol 4 Part E 7.8.10):
/// 2.5 ms, of which a setting in whole milliseconds leaves 3, and 10.24 s.
const SHORTEST: Span = Span::millis(3);
const LONGEST: Span = Span::millis(10_240);

impl TryFrom<String> for Phy {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, &[("1m", Self::OneM), ("coded", Self::Coded)])
    }
}

impl Default for Settings {
    /// Listens all the time.
    fn default() -> Self {
        Self {
            active: false,
            interval: Span::millis(60),
            window: Span::millis(60),
            phys: vec![Phy::OneM],
        }
    }
}

impl Settings {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), Invalid> {
        between("scan.hci.interval", self.interval, SHORTEST, LONGEST)?;
        between("scan.hci.window", self.window, SHORTEST, self.interval)?;
        let [first, rest @ ..] = self.phys.as_slice() else {
            return Err(Invalid::new("scan.hci.phys", "nothing", PHYS));
        };
        if rest.len() > 1 || rest.contains(first) {
            return Err(Invalid::new("scan.hci.phys", "the same twice", PHYS));
        }
        Ok(())
    }

    pub(super) fn wants(&self, phy: Phy) -> bool {
        self.phys.contains(&phy)
    }
}

const PHYS: &str = "allowed are `1m`, `coded`, or both, each once";

/// The unit in which a controller counts interval and window: 625 microseconds.
pub(super) fn slots(span: Span) -> u16 {
    const SLOT: Duration = Duration::from_micros(625);
    u16::try_from(span.0.as_micros() / SLOT.as_micros()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, Invalid> {
        let settings: Settings = serde_json::from_str(text).unwrap();
        settings.check().map(|()| settings)
    }

    #[test]
    fn nothing_said_means_listening_all_the_time() {
        let settings = read("{}").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!((slots(settings.interval), slots(settings.window)), (96, 96));
    }

    #[test]
    fn the_bounds_are_those_of_the_specification() {
        assert!(read(r#"{"interval": "10240ms", "window": "3ms"}"#).is_ok());
        for (text, key) in [
            (r#"{"interval": "2ms", "window": "2ms"}"#, "scan.hci.interval"),
            (r#"{"interval": "10241ms"}"#, "scan.hci.interval"),
            (r#"{"interval": "50ms", "window": "60ms"}"#, "scan.hci.window"),
            (r#"{"window": "2ms"}"#, "scan.hci.window"),
            (r#"{"phys": []}"#, "scan.hci.phys"),
            (r#"{"phys": ["1m", "1m"]}"#, "scan.hci.phys"),
            (r#"{"phys": ["1m", "coded", "1m"]}"#, "scan.hci.phys"),
        ] {
            assert_eq!(read(text).unwrap_err().key, key, "{text}");
        }
    }

    #[test]
    fn an_interval_is_counted_in_slots() {
        assert_eq!(slots(Span::millis(10_240)), 0x4000);
        assert_eq!(slots(Span::millis(3)), 4);
    }
}
