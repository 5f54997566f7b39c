//! The shop's own sensors: time in, slowly changing values out as advertising data.

use std::time::Duration;

use super::{
    bytes::{self, RuuviFields},
    rng::Rng,
};
use crate::engine::Uptime;

/// A value that wanders around its mean.
#[derive(Debug)]
pub(super) struct Drift {
    rng: Rng,
    mean: f64,
    deviation: f64,
    time: Duration,
    value: f64,
    updated: Uptime,
}

/// A tag that sends Ruuvi data format 5: the climate of a zone.
#[derive(Debug)]
pub(super) struct Climate {
    pub(super) address: [u8; 6],
    pub(super) temperature_c: Drift,
    pub(super) humidity_pct: Drift,
    pub(super) pressure_pa: Drift,
    pub(super) sequence: u16,
}

/// A thermometer and a power meter in a fridge, as `BTHome` version 2.
#[derive(Debug)]
pub(super) struct Fridge {
    pub(super) cycle: Duration,
    pub(super) noise: Drift,
    pub(super) measured: Option<Measured>,
    pub(super) packet: u8,
}

/// One measurement, which several advertisements repeat.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    at: Uptime,
    temperature_c: f64,
    power_w: f64,
}

/// A contact at the fridge's door, as `BTHome` version 2: open while somebody stands before it.
#[derive(Debug, Default)]
pub(super) struct Door {
    open: bool,
    packet: u8,
}

/// A reference beacon that sends Eddystone-UID and in between, now and then, how it is (TLM).
#[derive(Debug)]
pub(super) struct Beacon {
    pub(super) uid: Vec<u8>,
    pub(super) temperature_c: Drift,
    pub(super) age_s: f64,
    pub(super) sent: u32,
}

// === impl Drift ===

impl Drift {
    pub(super) fn new(mut rng: Rng, mean: f64, deviation: f64, time: Duration) -> Self {
        let value = rng.normal();
        Self { rng, mean, deviation, time, value, updated: Uptime::ZERO }
    }

    fn at(&mut self, now: Uptime) -> f64 {
        let elapsed = now.since(self.updated).as_secs_f64() / self.time.as_secs_f64().max(0.001);
        let kept = (-elapsed).exp();
        self.value = self.value * kept + self.rng.normal() * (1.0 - kept * kept).sqrt();
        self.updated = now;
        self.mean + self.deviation * self.value
    }
}

// === impl Climate ===

impl Climate {
    pub(super) fn data(&mut self, now: Uptime) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        bytes::ruuvi(&RuuviFields {
            temperature_c: self.temperature_c.at(now),
            humidity_pct: self.humidity_pct.at(now).clamp(0.0, 100.0),
            pressure_pa: self.pressure_pa.at(now),
            battery_v: 2.97,
            sequence: self.sequence,
            address: self.address,
        })
    }
}

// === impl Fridge ===

impl Fridge {
    pub(super) fn new(noise: Drift, cycle: Duration) -> Self {
        Self { cycle: cycle.max(Duration::from_secs(1)), noise, measured: None, packet: 0 }
    }

    pub(super) fn data(&mut self, now: Uptime) -> Vec<u8> {
        // It measures every 5 s and says the same in between, as such sensors do to save battery.
        const EVERY: Duration = Duration::from_secs(5);
        let measured = match self.measured {
            Some(measured) if now.since(measured.at) < EVERY => measured,
            _ => {
                self.packet = self.packet.wrapping_add(1);
                self.measure(now)
            }
        };
        self.measured = Some(measured);
        bytes::bthome(&[
            (0x00, &[self.packet]),
            (0x01, &[87]),
            (0x02, &bytes::fixed_le::<2>(measured.temperature_c * 100.0)),
            (0x0b, &bytes::fixed_le::<3>(measured.power_w * 100.0)),
        ])
    }

    /// The compressor runs for two fifths of the cycle and cools by 2 degrees; for the other three
    /// fifths the fridge warms up again.
    fn measure(&mut self, now: Uptime) -> Measured {
        const RUNNING: f64 = 0.4;
        const COLDEST_C: f64 = 3.2;
        const SWING_C: f64 = 2.0;
        let cycles = now.since(Uptime::ZERO).as_secs_f64() / self.cycle.as_secs_f64();
        let share = cycles.fract();
        let (warm, power_w) = if share < RUNNING {
            (1.0 - share / RUNNING, 84.0)
        } else {
            ((share - RUNNING) / (1.0 - RUNNING), 1.5)
        };
        let noise = self.noise.at(now);
        Measured {
            at: now,
            temperature_c: COLDEST_C + SWING_C * warm + 0.1 * noise,
            power_w: power_w + 0.3 * noise.abs(),
        }
    }
}

// === impl Door ===

impl Door {
    pub(super) fn data(&mut self, open: bool) -> Vec<u8> {
        if open != self.open {
            self.packet = self.packet.wrapping_add(1);
        }
        self.open = open;
        bytes::bthome(&[(0x00, &[self.packet]), (0x01, &[95]), (0x1a, &[u8::from(open)])])
    }
}

// === impl Beacon ===

impl Beacon {
    pub(super) fn data(&mut self, now: Uptime) -> Vec<u8> {
        // Eddystone advises one telemetry frame among several identifying ones.
        const TELEMETRY_EVERY: u32 = 5;
        self.sent = self.sent.wrapping_add(1);
        if !self.sent.is_multiple_of(TELEMETRY_EVERY) {
            return self.uid.clone();
        }
        let age = self.age_s + now.since(Uptime::ZERO).as_secs_f64();
        bytes::eddystone_tlm(3.02, self.temperature_c.at(now), self.sent, age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(mean: f64, deviation: f64) -> Drift {
        Drift::new(Rng::new(4), mean, deviation, Duration::from_mins(1))
    }

    #[test]
    fn a_drift_wanders_slowly_and_stays_near_its_mean() {
        let mut value = drift(20.0, 0.5);
        let mut last = value.at(Uptime::ZERO);
        for second in 1..3600 {
            let next = value.at(Uptime::ZERO + Duration::from_secs(second));
            assert!((next - last).abs() < 0.6 && (next - 20.0).abs() < 2.5, "{second} s: {next}");
            last = next;
        }
    }

    #[test]
    fn a_fridge_cools_while_its_compressor_runs_and_repeats_a_measurement_for_five_seconds() {
        let mut fridge = Fridge::new(drift(0.0, 0.0), Duration::from_secs(100));
        let mut at = |seconds| fridge.measure(Uptime::ZERO + Duration::from_secs(seconds));
        let (start, coldest, warming) = (at(0), at(40), at(70));
        assert!((start.temperature_c - 5.2).abs() < 0.01 && (start.power_w - 84.0).abs() < 0.01);
        assert!((coldest.temperature_c - 3.2).abs() < 0.01 && coldest.power_w < 2.0);
        assert!((warming.temperature_c - 4.2).abs() < 0.01);

        let first = fridge.data(Uptime::ZERO + Duration::from_secs(200));
        assert_eq!(fridge.data(Uptime::ZERO + Duration::from_secs(204)), first);
        assert_ne!(fridge.data(Uptime::ZERO + Duration::from_secs(205)), first);
    }
}
