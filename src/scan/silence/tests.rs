use super::*;

const LIMITS: Limits = Limits {
    suspect_after: Duration::from_secs(13),
    silence_timeout: Duration::from_secs(20),
    retry_delay: Duration::from_secs(1),
    patience: Duration::from_secs(10),
    effects: [Duration::from_secs(10); 4],
    canary_timeout: Duration::from_secs(30),
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
        let mut shop = Self { silence: Silence::new(LIMITS, at(0)), now: at(0), log: Vec::new() };
        shop.until(0);
        assert_eq!(shop.take(), ["0: rebuild"]);
        shop
    }

    /// A shop whose scan has been hearing one device and so many further ones a second until
    /// now, second 100.
    fn hearing(further: u32) -> Self {
        let mut shop = Self::new();
        shop.silence.done(at(0));
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
        if let Some(step) = self.silence.poll_step() {
            self.log.push(format!("{second}: {}", step.name()));
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

/// True for a line about a step, like `120: restart_scan`.
fn is_step(line: &str) -> bool {
    Step::ALL.iter().any(|step| line.ends_with(step.name()))
}

impl Shop {
    /// Lets time pass, and every step succeed and change nothing. What was said.
    fn in_vain(&mut self, until: u64) -> Vec<String> {
        let mut said = Vec::new();
        for second in (self.now.as_micros().unsigned_abs() / 1_000_000)..=until {
            self.until(second);
            for line in self.take() {
                if is_step(&line) {
                    self.silence.done(at(second));
                }
                said.push(line);
            }
        }
        said
    }
}

#[test]
fn an_emptied_shop_is_quiet_once_all_steps_were_taken_and_is_not_called_deaf() {
    let mut shop = Shop::hearing(0);
    assert_eq!(
        shop.in_vain(165),
        [
            "113: suspect since 100",
            "120: restart_scan",
            "130: power_cycle",
            "140: rebuild",
            "150: reset",
            "160: quiet"
        ]
    );
}

#[test]
fn an_empty_shop_is_checked_at_growing_distance_one_step_at_a_time_and_seldom_a_strong_one() {
    let mut shop = Shop::hearing(0);
    shop.in_vain(165);
    let steps: Vec<_> = shop.in_vain(4300).into_iter().filter(|line| is_step(line)).collect();
    assert_eq!(
        steps,
        [
            "180: restart_scan",
            "230: rebuild",
            "320: restart_scan",
            "490: rebuild",
            "820: reset",
            "1430: restart_scan",
            "2040: power_cycle",
            "2650: rebuild",
            "3260: reset",
            "3870: restart_scan",
        ]
    );
}

#[test]
fn a_shop_that_empties_again_and_again_gets_the_strong_steps_seldom() {
    let mut shop = Shop::hearing(0);
    let mut strong = 0;
    for _ in 0..60 {
        // A customer for ten seconds every two minutes.
        let now = shop.now.as_micros().unsigned_abs() / 1_000_000;
        strong += shop.in_vain(now + 110).iter().filter(|it| it.ends_with("cycle")).count();
        for second in now + 111..=now + 120 {
            shop.until(second);
            shop.silence.heard(at(second), second % 10 == 1);
        }
    }
    assert_eq!(strong, 12, "one in ten minutes, in two hours");
}

#[test]
fn many_devices_do_not_fall_silent_by_chance_so_the_radio_is_called_deaf() {
    let mut shop = Shop::hearing(5);
    assert_eq!(
        shop.in_vain(165),
        [
            "113: suspect since 100",
            "120: deaf since 100, silence",
            "120: restart_scan",
            "130: power_cycle",
            "140: rebuild",
            "150: reset",
            "160: quiet"
        ]
    );
}

#[test]
fn a_step_whose_effect_is_awaited_for_no_time_is_left_out() {
    let mut shop = Shop::hearing(5);
    let zero = Duration::ZERO;
    let second = Duration::from_secs(1);
    shop.silence.limits.effects = [zero, second * 4, zero, second * 7];
    shop.silence.next = shop.silence.limits.from(Step::RestartScan);
    shop.silence.heard(at(100), true);
    shop.until(120);
    shop.silence.done(at(120));
    shop.until(124);
    shop.silence.done(at(124));
    shop.until(131);
    assert_eq!(
        shop.take(),
        [
            "113: suspect since 100",
            "120: deaf since 100, silence",
            "120: power_cycle",
            "124: reset",
            "131: quiet"
        ]
    );
}

#[test]
fn a_silent_canary_tells_a_deaf_radio_from_a_quiet_shop() {
    let mut shop = Shop::hearing(0);
    shop.silence.canary(at(99));
    let told = shop.in_vain(1000);
    let states: Vec<_> = told.iter().filter(|line| !is_step(line)).collect();
    assert_eq!(states, ["113: suspect since 100", "130: deaf since 100, silence"]);
    // The ladder is climbed again and again, at growing distance.
    let resets: Vec<_> = told.iter().filter(|line| line.ends_with("reset")).collect();
    assert_eq!(
        resets,
        ["150: reset", "210: reset", "290: reset", "410: reset", "610: reset", "970: reset"]
    );
    shop.silence.done(shop.now);
    shop.silence.heard(shop.now, true);
    assert_eq!(shop.take().last().unwrap(), "1000: hearing");
}

#[test]
fn a_canary_that_broke_while_others_were_heard_proves_nothing() {
    let mut shop = Shop::hearing(0);
    shop.silence.canary(at(60));
    assert_eq!(shop.in_vain(165).last().unwrap(), "160: quiet");
}

#[test]
fn a_scan_that_is_refused_for_long_is_worth_a_stronger_step() {
    let mut shop = Shop::hearing(5);
    shop.silence.lost(at(101));
    let mut strong = Vec::new();
    for second in 101..=190 {
        shop.until(second);
        for line in shop.take() {
            if is_step(&line) {
                shop.silence.failed(at(second), DeafCause::ScanRefused);
                strong.extend((!line.ends_with("rebuild")).then_some(line));
            }
        }
    }
    assert_eq!(strong, ["122: power_cycle", "161: reset", "182: power_cycle"]);
}

#[test]
fn what_was_heard_after_a_rebuild_ends_the_outage() {
    let mut shop = Shop::hearing(5);
    shop.until(120);
    shop.take();
    shop.silence.done(at(120));
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
    assert_eq!(rebuilds[..6], [101, 102, 104, 107, 110, 113]);
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
    assert_eq!(told, ["0: suspect since 0", "13: deaf since 0, no_adapter"]);
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
    shop.silence.done(shop.now);
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
            "120: deaf since 100, powered_off"
        ]
    );
}

#[test]
fn an_outage_found_while_the_shop_is_empty_begins_at_the_last_check() {
    let mut shop = Shop::hearing(0);
    shop.in_vain(165);
    shop.until(180);
    assert_eq!(shop.take(), ["180: restart_scan"]);
    shop.silence.failed(at(180), DeafCause::NoAdapter);
    assert_eq!(shop.take(), ["180: deaf since 160, no_adapter"]);
}

#[test]
fn an_attempt_that_takes_too_long_makes_the_radio_deaf_and_is_waited_for() {
    let mut shop = Shop::new();
    shop.until(9);
    assert_eq!(shop.take(), Vec::<String>::new());
    shop.until(60);
    assert_eq!(shop.take(), ["10: deaf since 0, daemon"]);
    shop.silence.done(at(60));
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
        shop.silence.done(shop.now);
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
    shop.silence.done(at(1000));
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
                4 if building => silence.done(now),
                5 if building => silence.failed(now, DeafCause::Daemon),
                6 if building => silence.failed(now, DeafCause::NoAdapter),
                7 => silence.lost(now),
                _ => {}
            }
            silence.handle_timeout(now);
            building |= silence.poll_step().is_some();
            if !matches!(silence.phase, Phase::Trying { .. }) {
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
