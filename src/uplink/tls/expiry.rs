//! When certificates end: moments in, warnings out. Pure.

use std::{fmt, time::Duration};

use crate::{engine::UnixTime, uplink::payload::utc};

/// So long ahead it is warned: authorities that renew by themselves do so earlier, and whoever
/// renews by hand gets a working month.
const AHEAD: Duration = Duration::from_hours(30 * 24);

/// A warning is repeated after this.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// When the certificates end that a connection depends on; `None` where there is none, or none was
/// seen yet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Expiries {
    /// Our own (`uplink.certificate_file`): the first of its chain to end.
    pub client: Option<UnixTime>,
    /// Those that vouch for the broker (`uplink.ca_file`): the last of them to end, because one is
    /// enough.
    pub authority: Option<UnixTime>,
    /// The broker's own, as it was shown in the last handshake.
    pub broker: Option<UnixTime>,
}

/// A certificate ends soon, or has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ExpiryWarning {
    /// Which one it is, and who can renew it.
    whose: &'static str,
    at: UnixTime,
    now: UnixTime,
}

/// When it was warned last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Daily {
    last: Option<UnixTime>,
}

impl Expiries {
    /// What is to be warned about, the most urgent first.
    pub fn warnings(&self, now: UnixTime) -> Vec<ExpiryWarning> {
        let ahead = i64::try_from(AHEAD.as_millis()).unwrap_or(i64::MAX);
        let all = [
            ("our certificate (`uplink.certificate_file`)", self.client),
            ("every authority in `uplink.ca_file`", self.authority),
            ("the broker's certificate", self.broker),
        ];
        let soon = |at: &UnixTime| at.as_millis().saturating_sub(now.as_millis()) < ahead;
        let mut found: Vec<_> = all
            .into_iter()
            .filter_map(|(whose, at)| Some(ExpiryWarning { whose, at: at.filter(soon)?, now }))
            .collect();
        found.sort_by_key(|warning| warning.at);
        found
    }
}

impl fmt::Display for ExpiryWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, at, now } = self;
        let left = at.as_millis().saturating_sub(now.as_millis());
        match left {
            ..=0 => write!(f, "{whose} expired on {}; renew it", utc(*at)),
            _ => write!(f, "{whose} expires in {} days, on {}; renew it", left / DAY_MS, utc(*at)),
        }
    }
}

impl Daily {
    /// Whether it is time to warn again. A clock that was set back counts as a new day.
    pub(crate) fn is_due(&mut self, now: UnixTime) -> bool {
        let since = |last: UnixTime| now.as_millis().saturating_sub(last.as_millis());
        let due = self.last.is_none_or(|last| !(0..DAY_MS).contains(&since(last)));
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_millis(1_796_209_200_000);

    fn in_days(days: i64) -> UnixTime {
        UnixTime::from_millis(NOW.as_millis() + days * DAY_MS)
    }

    #[test]
    fn what_ends_within_thirty_days_is_warned_about_the_first_to_end_first() {
        let expiries = Expiries {
            client: Some(in_days(29)),
            authority: Some(in_days(30)),
            broker: Some(in_days(-1)),
        };
        let told: Vec<_> = expiries.warnings(NOW).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "the broker's certificate expired on 2026-12-01T11:00:00.000Z; renew it",
                "our certificate (`uplink.certificate_file`) expires in 29 days, on \
                 2026-12-31T11:00:00.000Z; renew it",
            ]
        );
        assert!(Expiries::default().warnings(NOW).is_empty());
    }

    #[test]
    fn a_warning_is_repeated_once_a_day_and_after_the_clock_was_set_back() {
        let mut daily = Daily::default();
        let days =
            [(in_days(0), true), (in_days(0), false), (in_days(1), true), (in_days(0), true)];
        for (now, due) in days {
            assert_eq!(daily.is_due(now), due);
        }
    }
}
