//! Why a line failed in; what is worth telling again out, to the log. Every line to a broker has one.

use std::time::Duration;

use tracing::{debug, error, warn};

use super::line::Fault;
use crate::engine::Uptime;

/// The same reason is told again only after this, so that a broker that is away for a week does
/// not fill the journal.
const SAY_AGAIN: Duration = Duration::from_mins(10);

/// Keeps the log from repeating itself.
#[derive(Debug)]
pub(crate) struct Repeats {
    what: &'static str,
    meanwhile: &'static str,
    section: Option<&'static str>,
    last: Option<(String, Uptime)>,
    untold: u64,
}

impl Repeats {
    /// `what` is missing while the line is: `No line to the lead`.
    pub(crate) fn of(what: &'static str) -> Self {
        Self { what, meanwhile: "", section: None, last: None, untold: 0 }
    }

    /// What that means, with a comma before it.
    pub(crate) fn meaning(self, meanwhile: &'static str) -> Self {
        Self { meanwhile, ..self }
    }

    /// Where the keys of this broker stand: a fault names those of `[uplink]`, which mean the same there.
    pub(crate) fn with_keys_in(self, section: Option<&'static str>) -> Self {
        Self { section, ..self }
    }

    /// The line stands: the next fault is news, whatever it is.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Tells a fault, unless it was just told.
    pub(crate) fn tell(&mut self, fault: &Fault, delay: Duration, now: Uptime) {
        let why = fault.to_string();
        let why = match self.section {
            Some(section) => why.replace("uplink.", &format!("{section}.")),
            None => why,
        };
        let retry_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let Self { what, meanwhile, .. } = *self;
        match self.news(&why, now) {
            None => debug!(why, retry_ms, "{what}, as before."),
            Some(untold) if fault.wants_human() => {
                error!(why, retry_ms, untold, "{what}; somebody must look.");
            }
            Some(untold) => warn!(why, retry_ms, untold, "{what}{meanwhile}; trying again."),
        }
    }

    /// How often the last reason was not told again, if this one is to be told.
    fn news(&mut self, why: &str, now: Uptime) -> Option<u64> {
        if let Some((last, at)) = &self.last
            && last == why
            && now.since(*at) < SAY_AGAIN
        {
            self.untold += 1;
            return None;
        }
        self.last = Some((why.to_owned(), now));
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_told_once_in_ten_minutes_and_another_one_at_once() {
        let at = |seconds| Uptime::ZERO + Duration::from_secs(seconds);
        let mut repeats = Repeats::of("No line");
        assert_eq!(repeats.news("away", at(0)), Some(0));
        assert_eq!(repeats.news("away", at(1)), None);
        assert_eq!(repeats.news("away", at(599)), None);
        assert_eq!(repeats.news("away", at(600)), Some(2));
        assert_eq!(repeats.news("refused", at(601)), Some(0));
        repeats.forget();
        assert_eq!(repeats.news("refused", at(602)), Some(0), "the line stood in between");
    }
}
