//! A fixture's battery: its charge day by day in, how many days it will last out.
//!
//! Charge and voltage wander with the temperature and in steps of a percent, so only days are
//! compared: the means of up to two months, by a straight line (least squares). Without a fall that
//! stands clear of its scatter nothing is forecast.

use std::{collections::VecDeque, time::Duration};

use super::super::Uptime;

/// The days of one battery, by its charge or by its voltage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatteryDays {
    /// When a day began and the mean of it, oldest first; at most 60.
    pub days: VecDeque<(Uptime, f64)>,
    /// The day that is not over: when it began, sum and count.
    pub today: Option<(Uptime, f64, f64)>,
}

/// What is read of a battery: what it has when it is empty, and by how much a fresh one exceeds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    pub(super) empty: f64,
    pub(super) fresh: f64,
}

/// Percent of charge. Somebody changed the battery when it rises by this much.
pub(super) const PERCENT: Scale = Scale { empty: 0.0, fresh: 25.0 };

/// Volts of a lithium coin cell, as nearly all beacons have: at 2.0 V most radios stop (the nRF52's
/// supply is specified from 1.7 V, sensors beside it from 1.8 to 2.0).
pub(super) const VOLTS: Scale = Scale { empty: 2.0, fresh: 0.4 };

/// So many days are looked back on…
const MOST_DAYS: usize = 60;

/// … and so many are needed.
const LEAST_DAYS: usize = 7;

/// The fall must be this many of its standard errors.
const CLEAR: f64 = 3.0;

const DAY: Duration = Duration::from_hours(24);

/// What came of a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Noted {
    /// The day goes on.
    Same,
    /// A day is over.
    DayOver,
    /// Somebody must have changed the battery.
    Fresh,
}

impl BatteryDays {
    /// Takes in what was read.
    pub(super) fn observe(&mut self, now: Uptime, value: f64, scale: Scale) -> Noted {
        if self.days.back().is_some_and(|(_, mean)| value > mean + scale.fresh) {
            *self = Self { days: VecDeque::new(), today: Some((now, value, 1.0)) };
            return Noted::Fresh;
        }
        match &mut self.today {
            Some((begun, sum, count)) if now.since(*begun) < DAY => {
                *sum += value;
                *count += 1.0;
                Noted::Same
            }
            today => {
                let Some((begun, sum, count)) = today.replace((now, value, 1.0)) else {
                    return Noted::Same;
                };
                self.days.push_back((begun, sum / count));
                if self.days.len() > MOST_DAYS {
                    self.days.pop_front();
                }
                Noted::DayOver
            }
        }
    }

    /// How many days are left; none while no fall is clear.
    pub(super) fn days_left(&self, scale: Scale) -> Option<f64> {
        let newest = self.days.back().filter(|_| self.days.len() >= LEAST_DAYS)?.0;
        // Days before the newest, as numbers below zero.
        let day_of = |at: Uptime| -newest.since(at).as_secs_f64() / DAY.as_secs_f64();
        let days = || self.days.iter().map(|&(at, value)| (day_of(at), value));
        let count = days().map(|_| 1.0).sum::<f64>();
        let mean = |of: fn((f64, f64)) -> f64| days().map(of).sum::<f64>() / count;
        let (day, value) = (mean(|it| it.0), mean(|it| it.1));
        let square: f64 = days().map(|it| (it.0 - day).powi(2)).sum();
        let product: f64 = days().map(|it| (it.0 - day) * (it.1 - value)).sum();
        let slope = product / square;
        let off = |it: (f64, f64)| (it.1 - value - slope * (it.0 - day)).powi(2);
        let scatter = days().map(off).sum::<f64>() / (count - 2.0);
        let error = (scatter / square).sqrt();
        if slope.is_nan() || slope >= 0.0 || -slope < CLEAR * error {
            return None;
        }
        let now = value - slope * day;
        Some(((now - scale.empty) / -slope).max(0.0))
    }

    /// What an earlier run knew, without what cannot be.
    pub(super) fn recalled(mut self) -> Self {
        self.days.retain(|(_, mean)| mean.is_finite());
        self.days.truncate(MOST_DAYS);
        self.today = self.today.filter(|(_, sum, count)| sum.is_finite() && *count >= 1.0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hourly readings.
    fn after(days: u64, of: impl Fn(f64) -> f64) -> BatteryDays {
        let mut battery = BatteryDays::default();
        for hour in 0..days * 24 {
            let now = Uptime::ZERO + Duration::from_hours(hour);
            let day = Duration::from_secs(hour).as_secs_f64() / 24.0;
            battery.observe(now, of(day), PERCENT);
        }
        battery
    }

    #[test]
    fn a_battery_that_falls_steadily_is_forecast_to_within_a_day() {
        let left = after(21, |day| (60.0 - day * 2.0).round()).days_left(PERCENT).unwrap();
        assert!((left - 10.0).abs() < 1.0, "{left}");
    }

    #[test]
    fn a_battery_that_wanders_with_the_temperature_has_no_forecast() {
        let wanders =
            |day: f64| 80.0 + 3.0 * (day * 1.7).sin() + (day * std::f64::consts::TAU).sin();
        assert_eq!(after(40, wanders).days_left(PERCENT), None);
        assert_eq!(after(40, |_| 100.0).days_left(PERCENT), None);
        assert_eq!(after(5, |day| 50.0 - day).days_left(PERCENT), None, "too few days");
    }

    #[test]
    fn a_new_battery_is_noticed_and_begins_anew() {
        let mut battery = after(20, |day| 40.0 - day);
        assert!(battery.days_left(PERCENT).is_some());
        let now = Uptime::ZERO + Duration::from_hours(20 * 24);
        assert_eq!(battery.observe(now, 100.0, PERCENT), Noted::Fresh);
        assert_eq!(battery.days_left(PERCENT), None);
    }
}
