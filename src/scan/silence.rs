//! Decides what silence means. When advertisements were heard and how rebuilding the scan went come
//! in; the radio's state and the wish to rebuild go out. Pure: time is handed in.
//!
//! Scans die without saying so, and a shop may be empty: both are silent. The scan is therefore
//! built anew after a while of silence. If building fails the radio is deaf. If it works and the
//! air stays silent, the silence is believed: at once when it is plausible, after several more
//! attempts when many devices fell silent together.
//!
//! Promises that every change of state is told once, in order; that presence never runs for longer
//! than `suspect_after` on a silence that was not checked; and that attempts to rebuild never stop
//! and never follow one another without a pause.

use std::{collections::VecDeque, time::Duration};

use crate::engine::{DeafCause, RadioState, Uptime};

/// The times that [`Silence`] goes by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Silence after which presence is frozen.
    pub suspect_after: Duration,
    /// Silence after which the scan is rebuilt; at least `suspect_after`.
    pub silence_timeout: Duration,
    /// How long to wait after a failed attempt; doubled with each further one, up to 10 s.
    pub retry_delay: Duration,
    /// How long an attempt may take before the radio is called deaf; the attempt goes on.
    pub patience: Duration,
}

/// Watches for silence and vouches for the radio.
#[derive(Clone, Debug)]
pub struct Silence {
    limits: Limits,
    /// Until when a machine that is still starting is forgiven that it has no scan yet.
    starting_until: Option<Uptime>,
    phase: Phase,
    told: RadioState,
    news: VecDeque<RadioState>,
    rebuild_wanted: bool,
    /// Until when the radio is known to have heard whatever there was.
    vouched: Uptime,
    traffic: Traffic,
    failures: u32,
    /// Rebuilt scans that heard nothing, since something was last heard.
    vain_checks: u32,
    /// How long to believe in an empty shop before the next check.
    gap: Duration,
    /// Another cause than the one told, and since when it has been the answer.
    other_cause: Option<(DeafCause, Uptime)>,
}

/// What is being done about the scan.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// There is no scan; one is to be built at this time. Entered at the start, when an attempt
    /// failed, and when a scan was lost.
    Waiting { until: Uptime },
    /// A scan is being built. Left when the attempt's outcome is known.
    Building { since: Uptime },
    /// A scan was just built and has not been heard from.
    Checking { since: Uptime },
    /// The scan was heard from, or it was checked and the shop is empty.
    Trusting { until: Uptime },
}

/// How many devices were heard lately: each counts once in ten seconds, so that one beacon that
/// leaves is no event, however often it used to speak.
#[derive(Clone, Debug, Default)]
struct Traffic {
    /// Counts by ten seconds, oldest first; at most [`Traffic::BINS`].
    bins: VecDeque<(i64, u32)>,
    started: Option<Uptime>,
    last: Uptime,
}

/// A rebuilt scan that hears nothing for this long was checked: beacons advertise at least every
/// ten seconds, and the longest scan window of BlueZ and the kernel is 10.24 s.
const CHECK: Duration = Duration::from_secs(10);

/// Rebuilt scans that must stay silent before a silence is believed that cannot be chance. A
/// controller that hangs often comes back at the second attempt.
const CHECKS_WHEN_IMPLAUSIBLE: u32 = 3;

/// On a small computer the adapter shows up, and is switched on, some seconds after everything else.
/// What fails before the first scan is no outage until this time has passed.
const STARTING: Duration = Duration::from_secs(10);

/// The longest pause between attempts, unless more is configured: a technician who plugs in an
/// adapter should not have to wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The longest time between two checks of an empty shop.
const LONGEST_GAP: Duration = Duration::from_mins(10);

/// While a daemon restarts, one failure follows another in quick succession (no daemon, no adapter,
/// not powered, busy); another cause is told when it has been the answer for this long.
const CAUSE_SETTLES: Duration = Duration::from_secs(15);

// === impl Silence ===

impl Silence {
    /// Starts without a scan, at `now`, wanting one.
    pub fn new(limits: Limits, now: Uptime) -> Self {
        Self {
            limits,
            starting_until: Some(now + STARTING),
            phase: Phase::Waiting { until: now },
            told: RadioState::Hearing,
            news: VecDeque::new(),
            rebuild_wanted: false,
            vouched: now,
            traffic: Traffic::default(),
            failures: 0,
            vain_checks: 0,
            gap: limits.silence_timeout,
            other_cause: None,
        }
    }

    /// An advertisement was heard. `fresh` says that its device was not heard in the ten seconds
    /// before, or that nobody remembers.
    pub fn heard(&mut self, now: Uptime, fresh: bool) {
        // What the old scan still delivers while a new one is built proves nothing about the new
        // one.
        if matches!(self.phase, Phase::Waiting { .. } | Phase::Building { .. }) {
            return;
        }
        self.traffic.count(now, fresh);
        self.vouched = now;
        self.failures = 0;
        self.vain_checks = 0;
        self.gap = self.limits.silence_timeout;
        self.phase = Phase::Trusting { until: now + self.limits.silence_timeout };
        self.tell(RadioState::Hearing);
    }

    /// The scan that was wanted runs.
    pub fn built(&mut self, now: Uptime) {
        self.starting_until = None;
        self.phase = Phase::Checking { since: now };
    }

    /// The scan that was wanted could not be built.
    pub fn failed(&mut self, now: Uptime, cause: DeafCause) {
        self.wait_and_retry(now);
        self.deaf(now, cause);
    }

    /// The scan is gone: its stream ended, the adapter changed its power state or no longer
    /// answers. Whether that is an outage shows when the scan is rebuilt, which is wanted at once.
    pub fn lost(&mut self, now: Uptime) {
        match self.phase {
            Phase::Trusting { .. } => self.phase = Phase::Waiting { until: now },
            // A scan that is lost before it heard anything must not be rebuilt in a tight circle.
            _ => self.wait_and_retry(now),
        }
        if !matches!(self.told, RadioState::Deaf { .. }) {
            self.tell(RadioState::Suspect { since: self.vouched });
        }
        self.handle_timeout(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Uptime) {
        if matches!(self.told, RadioState::Hearing) && now >= self.suspect_at() {
            self.tell(RadioState::Suspect { since: self.vouched });
        }
        match self.phase {
            Phase::Waiting { until } if now >= until => self.want_rebuild(now),
            Phase::Building { since } if now >= since + self.limits.patience => {
                self.deaf(now, DeafCause::Daemon);
            }
            Phase::Checking { since } if now >= since + CHECK => self.checked_in_vain(now),
            Phase::Trusting { until } if now >= until => {
                if self.is_implausible(now) {
                    self.deaf(now, DeafCause::Silence);
                }
                self.want_rebuild(now);
            }
            _ => {}
        }
    }

    /// When [`Self::handle_timeout`] is next due.
    pub fn poll_timeout(&self) -> Option<Uptime> {
        let phase = match self.phase {
            Phase::Waiting { until } | Phase::Trusting { until } => Some(until),
            Phase::Building { since } => Some(since + self.limits.patience)
                .filter(|_| !matches!(self.told, RadioState::Deaf { .. })),
            Phase::Checking { since } => Some(since + CHECK),
        };
        let suspect = matches!(self.told, RadioState::Hearing).then(|| self.suspect_at());
        [phase, suspect].into_iter().flatten().min()
    }

    /// The next change of state, once.
    pub fn poll_change(&mut self) -> Option<RadioState> {
        self.news.pop_front()
    }

    /// Whether the scan is to be dropped and built anew, once. The outcome is owed to
    /// [`Self::built`] or [`Self::failed`].
    pub fn poll_rebuild(&mut self) -> bool {
        std::mem::take(&mut self.rebuild_wanted)
    }

    fn suspect_at(&self) -> Uptime {
        self.vouched + self.limits.suspect_after
    }

    fn wait_and_retry(&mut self, now: Uptime) {
        let least = self.limits.retry_delay;
        let delay = least
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .clamp(least, LONGEST_PAUSE.max(least));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now + delay };
    }

    fn want_rebuild(&mut self, now: Uptime) {
        self.phase = Phase::Building { since: now };
        self.rebuild_wanted = true;
    }

    fn checked_in_vain(&mut self, now: Uptime) {
        self.vain_checks = self.vain_checks.saturating_add(1);
        if self.is_implausible(now) && self.vain_checks < CHECKS_WHEN_IMPLAUSIBLE {
            self.deaf(now, DeafCause::Silence);
            return self.want_rebuild(now);
        }
        self.vouched = now;
        self.failures = 0;
        self.phase = Phase::Trusting { until: now + self.gap };
        self.gap = (self.gap * 2).min(LONGEST_GAP.max(self.limits.silence_timeout));
        self.tell(RadioState::Quiet);
    }

    /// True when so many devices were heard that they cannot all have left by chance.
    fn is_implausible(&self, now: Uptime) -> bool {
        self.traffic.makes_implausible(now)
    }

    fn deaf(&mut self, now: Uptime, cause: DeafCause) {
        if self.starting_until.is_some_and(|until| now < until) {
            return self.tell(RadioState::Suspect { since: self.vouched });
        }
        if let RadioState::Deaf { since, cause: told } = self.told {
            if told == cause || cause == DeafCause::Silence {
                self.other_cause = None;
                return;
            }
            let first = match self.other_cause {
                Some((other, first)) if other == cause => first,
                _ => now,
            };
            self.other_cause = Some((cause, first));
            // Silence is what is known before anything is known.
            if told == DeafCause::Silence || now.since(first) >= CAUSE_SETTLES {
                self.tell(RadioState::Deaf { since, cause });
            }
        } else {
            self.tell(RadioState::Deaf { since: self.vouched, cause });
        }
    }

    fn tell(&mut self, state: RadioState) {
        if state != self.told {
            self.told = state;
            self.other_cause = None;
            self.news.push_back(state);
        }
    }
}

// === impl Traffic ===

impl Traffic {
    /// Twelve times ten seconds.
    const BINS: usize = 12;
    const BIN: Duration = Duration::from_secs(10);
    /// Silence is implausible when its probability is below one in a million: with independent
    /// devices at a rate of r a second, e^(-r·t), so r·t above ln 10^6.
    const LN_MILLION: f64 = 13.8;
    /// After this long, what was heard before says nothing about now: shops close.
    const FORGOTTEN: Duration = Duration::from_mins(10);

    fn count(&mut self, now: Uptime, fresh: bool) {
        if now.since(self.last) >= Self::FORGOTTEN {
            *self = Self::default();
        }
        self.started.get_or_insert(now);
        self.last = now;
        let bin = Self::bin(now);
        if self.bins.back().is_none_or(|(last, _)| *last != bin) {
            self.bins.push_back((bin, 0));
        }
        while self.bins.len() > Self::BINS {
            self.bins.pop_front();
        }
        if let Some((_, count)) = self.bins.back_mut() {
            *count = count.saturating_add(u32::from(fresh));
        }
    }

    fn makes_implausible(&self, now: Uptime) -> bool {
        let silence = now.since(self.last);
        if silence >= Self::FORGOTTEN {
            return false;
        }
        // A shop that has been emptying for half a minute counts as what it was then, not before.
        let rate = self.rate(3).min(self.rate(Self::BINS));
        rate * silence.as_secs_f64() > Self::LN_MILLION
    }

    /// Devices a second over the last so many bins before the silence.
    fn rate(&self, bins: usize) -> f64 {
        let Some(started) = self.started else { return 0.0 };
        let reach = i64::try_from(bins).unwrap_or(i64::MAX);
        let oldest = Self::bin(self.last).saturating_sub(reach);
        let count: u32 =
            self.bins.iter().filter(|(bin, _)| *bin > oldest).map(|(_, count)| *count).sum();
        let window = Self::BIN.as_secs_f64() * f64::from(u32::try_from(bins).unwrap_or(u32::MAX));
        let observed = self.last.since(started).as_secs_f64();
        // Short of observation, the rate is assumed low: a false alarm is dearer than a late one.
        f64::from(count) / observed.clamp(Self::BIN.as_secs_f64() * 3.0, window)
    }

    fn bin(at: Uptime) -> i64 {
        let micros = i64::try_from(Self::BIN.as_micros()).unwrap_or(i64::MAX);
        at.as_micros().div_euclid(micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        suspect_after: Duration::from_secs(13),
        silence_timeout: Duration::from_secs(20),
        retry_delay: Duration::from_secs(1),
        patience: Duration::from_secs(10),
    };

    /// A silence watch, its clock, and what it said, as `second: state` and `second: rebuild`.
    struct Shop {
        silence: Silence,
        now: Uptime,
        log: Vec<String>,
    }

    fn at(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    impl Shop {
        fn new() -> Self {
            let mut shop =
                Self { silence: Silence::new(LIMITS, at(0)), now: at(0), log: Vec::new() };
            shop.until(0);
            assert_eq!(shop.take(), ["0: rebuild"]);
            shop
        }

        /// A shop whose scan has been hearing one device and so many further ones a second until
        /// now, second 100.
        fn hearing(further: u32) -> Self {
            let mut shop = Self::new();
            shop.silence.built(at(0));
            for second in 1..=100 {
                shop.until(second);
                shop.silence.heard(at(second), second % 10 == 1);
                for _ in 0..further {
                    shop.silence.heard(at(second), true);
                }
            }
            assert_eq!(shop.take(), Vec::<String>::new());
            shop
        }

        fn note(&mut self) {
            let second = self.now.as_micros() / 1_000_000;
            while let Some(state) = self.silence.poll_change() {
                self.log.push(match state {
                    RadioState::Hearing => format!("{second}: hearing"),
                    RadioState::Quiet => format!("{second}: quiet"),
                    RadioState::Suspect { since } => {
                        format!("{second}: suspect since {}", since.as_micros() / 1_000_000)
                    }
                    RadioState::Deaf { since, cause } => {
                        let since = since.as_micros() / 1_000_000;
                        format!("{second}: deaf since {since}, {}", cause.name())
                    }
                });
            }
            if self.silence.poll_rebuild() {
                self.log.push(format!("{second}: rebuild"));
            }
        }

        /// Fires the timers that are due until then, each exactly on time.
        fn until(&mut self, second: u64) {
            for _ in 0..10_000 {
                match self.silence.poll_timeout() {
                    Some(due) if due <= at(second) => {
                        self.now = self.now.max(due);
                        self.silence.handle_timeout(self.now);
                        self.note();
                    }
                    _ => {
                        self.now = at(second);
                        return;
                    }
                }
            }
            panic!("the timers never come to rest");
        }

        fn take(&mut self) -> Vec<String> {
            self.note();
            std::mem::take(&mut self.log)
        }
    }

    #[test]
    fn an_emptied_shop_is_quiet_once_the_scan_was_rebuilt_and_checked() {
        let mut shop = Shop::hearing(0);
        shop.until(120);
        assert_eq!(shop.take(), ["113: suspect since 100", "120: rebuild"]);
        shop.silence.built(at(120));
        shop.until(130);
        assert_eq!(shop.take(), ["130: quiet"]);
    }

    #[test]
    fn an_empty_shop_is_checked_again_at_growing_distance() {
        let mut shop = Shop::hearing(0);
        let mut rebuilds = Vec::new();
        for second in 101..=3000 {
            shop.until(second);
            for line in shop.take() {
                if line.ends_with("rebuild") {
                    rebuilds.push(second);
                    shop.silence.built(at(second));
                }
            }
        }
        let gaps: Vec<_> = rebuilds.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [30, 50, 90, 170, 330, 610, 610, 610]);
    }

    #[test]
    fn many_devices_do_not_fall_silent_by_chance() {
        let mut shop = Shop::hearing(5);
        shop.until(120);
        assert_eq!(
            shop.take(),
            ["113: suspect since 100", "120: deaf since 100, silence", "120: rebuild"]
        );
        for second in [120, 130, 140] {
            shop.silence.built(at(second));
            shop.until(second + 10);
        }
        assert_eq!(shop.take(), ["130: rebuild", "140: rebuild", "150: quiet"]);
    }

    #[test]
    fn one_beacon_that_leaves_is_no_reason_to_call_the_radio_deaf() {
        let mut shop = Shop::hearing(0);
        for second in 101..=400 {
            shop.until(second);
            // Ten a second, all of one device.
            for repeat in 0..10 {
                shop.silence.heard(at(second), second % 10 == 0 && repeat == 0);
            }
        }
        shop.take();
        shop.until(420);
        assert_eq!(shop.take(), ["413: suspect since 400", "420: rebuild"]);
    }

    #[test]
    fn what_was_heard_after_a_rebuild_ends_the_outage() {
        let mut shop = Shop::hearing(5);
        shop.until(120);
        shop.take();
        shop.silence.built(at(120));
        shop.until(123);
        shop.silence.heard(at(123), true);
        assert_eq!(shop.take(), ["123: hearing"]);
    }

    #[test]
    fn failed_attempts_are_repeated_for_ever_with_growing_pauses() {
        let mut shop = Shop::hearing(5);
        shop.silence.lost(at(101));
        let mut rebuilds = Vec::new();
        for second in 101..=160 {
            shop.until(second);
            for line in shop.take() {
                if line.ends_with("rebuild") {
                    rebuilds.push(second);
                    shop.silence.failed(at(second), DeafCause::Daemon);
                }
            }
        }
        assert_eq!(rebuilds, [101, 102, 104, 108, 116, 126, 136, 146, 156]);
    }

    #[test]
    fn a_machine_that_is_still_starting_is_not_called_deaf() {
        let mut shop = Shop::new();
        let mut told = Vec::new();
        shop.silence.failed(at(0), DeafCause::NoAdapter);
        for second in 0..=60 {
            shop.until(second);
            for line in shop.take() {
                if line.ends_with("rebuild") {
                    shop.silence.failed(at(second), DeafCause::NoAdapter);
                } else {
                    told.push(line);
                }
            }
        }
        assert_eq!(told, ["0: suspect since 0", "16: deaf since 0, no_adapter"]);
    }

    #[test]
    fn a_restarting_daemon_is_one_outage_with_one_cause() {
        let mut shop = Shop::hearing(5);
        shop.silence.lost(at(101));
        assert_eq!(shop.take(), ["100: suspect since 100", "100: rebuild"]);
        let mut told = Vec::new();
        for cause in [DeafCause::Daemon, DeafCause::NoAdapter, DeafCause::PoweredOff] {
            shop.silence.failed(shop.now, cause);
            shop.until(shop.now.as_micros().unsigned_abs() / 1_000_000 + 2);
            told.extend(shop.take().into_iter().filter(|line| line.contains("deaf")));
        }
        assert_eq!(told, ["101: deaf since 100, daemon"]);
        shop.silence.built(shop.now);
        shop.silence.heard(shop.now, true);
        assert!(shop.take().iter().any(|line| line.ends_with("hearing")));
    }

    #[test]
    fn a_cause_that_stays_is_told_in_the_end() {
        let mut shop = Shop::hearing(5);
        shop.silence.lost(at(101));
        let mut told = Vec::new();
        for second in 101..=160 {
            shop.until(second);
            for line in shop.take() {
                if line.ends_with("rebuild") {
                    let first = second == 101;
                    let cause = if first { DeafCause::Daemon } else { DeafCause::PoweredOff };
                    shop.silence.failed(at(second), cause);
                } else {
                    told.push(line);
                }
            }
        }
        assert_eq!(
            told,
            [
                "101: suspect since 100",
                "102: deaf since 100, daemon",
                "127: deaf since 100, powered_off"
            ]
        );
    }

    #[test]
    fn an_outage_found_while_the_shop_is_empty_begins_at_the_last_check() {
        let mut shop = Shop::hearing(0);
        shop.until(120);
        shop.silence.built(at(120));
        shop.until(150);
        assert_eq!(shop.take().last().unwrap(), "150: rebuild");
        shop.silence.failed(at(150), DeafCause::NoAdapter);
        assert_eq!(shop.take(), ["150: deaf since 130, no_adapter"]);
    }

    #[test]
    fn an_attempt_that_takes_too_long_makes_the_radio_deaf_and_is_waited_for() {
        let mut shop = Shop::new();
        shop.until(9);
        assert_eq!(shop.take(), Vec::<String>::new());
        shop.until(60);
        assert_eq!(shop.take(), ["10: deaf since 0, daemon"]);
        shop.silence.built(at(60));
        shop.until(70);
        assert_eq!(shop.take(), ["70: quiet"]);
    }

    #[test]
    fn a_scan_that_is_lost_again_and_again_is_rebuilt_with_pauses() {
        let mut shop = Shop::hearing(5);
        let mut rebuilds = 0;
        for second in 101..=160 {
            shop.until(second);
            shop.silence.lost(shop.now);
            rebuilds += shop.take().iter().filter(|line| line.ends_with("rebuild")).count();
            shop.silence.built(shop.now);
        }
        assert!(rebuilds < 20, "{rebuilds} rebuilds in a minute");
    }

    #[test]
    fn a_late_shell_does_not_rebuild_a_scan_that_delivers() {
        let mut shop = Shop::hearing(5);
        shop.silence.heard(at(200), true);
        shop.now = at(200);
        shop.silence.handle_timeout(at(200));
        assert_eq!(shop.take(), Vec::<String>::new());
    }

    #[test]
    fn a_night_does_not_make_the_morning_implausible() {
        let mut shop = Shop::hearing(5);
        shop.silence.lost(at(101));
        for second in 101..=1000 {
            shop.until(second);
            if shop.take().iter().any(|line| line.ends_with("rebuild")) {
                shop.silence.failed(at(second), DeafCause::PoweredOff);
            }
        }
        shop.silence.built(at(1000));
        shop.until(1010);
        assert!(shop.take().iter().any(|line| line == "1010: quiet"));
    }

    #[test]
    fn whatever_happens_states_change_and_timers_lie_ahead() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut now = at(0);
            let mut silence = Silence::new(LIMITS, now);
            let mut before = RadioState::Hearing;
            let mut building = false;
            for _ in 0..2000 {
                // Late by up to three seconds, as a shell may be.
                let late = Duration::from_millis(random.u64(0..3000));
                let due = silence.poll_timeout().unwrap_or(now);
                now = now.max(due + late).max(now + Duration::from_millis(1));
                match random.u8(0..10) {
                    0..4 => silence.heard(now, random.bool()),
                    4 if building => silence.built(now),
                    5 if building => silence.failed(now, DeafCause::Daemon),
                    6 if building => silence.failed(now, DeafCause::NoAdapter),
                    7 => silence.lost(now),
                    _ => {}
                }
                silence.handle_timeout(now);
                building |= silence.poll_rebuild();
                if !matches!(silence.phase, Phase::Building { .. }) {
                    building = false;
                }
                while let Some(state) = silence.poll_change() {
                    assert_ne!(state, before, "seed {seed}: told twice");
                    if let RadioState::Suspect { since } | RadioState::Deaf { since, .. } = state {
                        assert!(since <= now, "seed {seed}: since the future");
                    }
                    before = state;
                }
                match silence.poll_timeout() {
                    Some(next) => assert!(next > now, "seed {seed}: what was handled is due again"),
                    None => assert!(building, "seed {seed}: nothing to watch for any more"),
                }
            }
        }
    }
}
