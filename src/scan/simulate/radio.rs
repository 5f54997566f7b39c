//! The air between a tag and a receiver: two places in, a signal strength in dBm out.
//!
//! `rssi = power at 1 m - 10 n log10(d) - wall - body + shadowing + fading + error`.
//!
//! - *Path loss*: the log-distance model (Rappaport, "Wireless Communications: Principles and
//!   Practice", 2nd ed. 2002, section 4.11; its table of indoor values gives n = 2.2 for a retail
//!   store and 1.8 for a grocery store, with 8.7 and 5.2 dB of deviation, at 914 MHz). For Bluetooth
//!   LE indoors the means of Strzoda, Grochla and Połys ("Variability of BLE Advertisement Packets
//!   Received Signal Strength …", `MSWiM` 2022: -65.5, -78.4, -84.1 and -90.8 dBm at 1, 5, 10 and 16 m)
//!   follow n = 1.9 to 2.1 with 3.5 to 5.9 dB.
//! - *Shadowing* by shelves belongs to the place: it is a fixed field over the floor, normally
//!   distributed, with correlation `exp(-distance / d0)` (Gudmundson, "Correlation model for shadow
//!   fading in mobile radio systems", Electronics Letters 27(23), 1991). Shadowing by other people
//!   changes with time: an Ornstein-Uhlenbeck process for each link.
//! - *Body*: whoever carries the tag stands in its way when facing away from the receiver
//!   (Januszkiewicz, "Analysis of Human Body Shadowing Effect on Wireless Sensor Networks Operating
//!   in the 2.4 GHz Band", Sensors 18(10), 2018).
//! - *Fast fading*: Rice, for each advertising channel apart, renewed within half a wavelength.

use std::{f64::consts::TAU, time::Duration};

use super::{journey::Place, plan::Point, rng::Rng};
use crate::engine::Uptime;

/// The three advertising channels 37, 38 and 39.
pub(super) const CHANNELS: usize = 3;

/// How many cosines make up the field of shadows.
const WAVES: usize = 64;

/// Half a wavelength at 2.44 GHz: moved this far, a tag meets other echoes.
const COHERENCE_M: f64 = 0.06;

/// Even for a tag at rest the echoes change, because others move.
const COHERENCE_S: f64 = 1.5;

/// How signals weaken.
#[derive(Clone, Debug, PartialEq)]
pub struct Propagation {
    /// Path-loss exponent n; 2 in free space.
    pub exponent: f64,
    /// Loss through the shop front, in dB.
    pub wall_db: f64,
    /// Standard deviation of the shadows of shelves, in dB.
    pub shelf_shadow_db: f64,
    /// Distance over which they fade into each other, in metres.
    pub shelf_shadow_m: f64,
    /// Standard deviation of the shadows of other people, in dB.
    pub crowd_shadow_db: f64,
    /// Time in which those change.
    pub crowd_shadow_time: Duration,
    /// Loss when the carrier faces straight away from the receiver, in dB.
    pub body_db: f64,
    /// Rice factor, direct power over scattered power, in dB; `None` for no fading.
    pub rice_db: Option<f64>,
    /// Standard deviation of what the receiver reports, in dB.
    pub report_error_db: f64,
    /// Signal strength at which every other packet is lost, in dBm.
    pub sensitivity_dbm: f64,
    /// Share of packets that Wi-Fi and others destroy, 0 to 1.
    pub interference: f64,
}

/// The shadows that the furniture throws for one receiver.
#[derive(Debug)]
pub(super) struct Shadows {
    waves: Vec<Wave>,
}

#[derive(Debug)]
struct Wave {
    x: f64,
    y: f64,
    phase: f64,
}

/// One packet as it leaves the tag.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// What is left of it at 1 m, in dBm.
    pub(super) power: f64,
    /// Where from, and which way the carrier faces.
    pub(super) from: Place,
    /// How far the tag is turned from the way its carrier faces, in radians; `None` when nobody
    /// carries it.
    pub(super) carried: Option<f64>,
    /// The advertising channel, from 0.
    pub(super) channel: usize,
}

/// What one tag's way to one receiver is like at the moment.
#[derive(Debug)]
pub(super) struct Link {
    rng: Rng,
    crowd: f64,
    echoes: [[f64; 2]; CHANNELS],
    updated: Uptime,
    at: Point,
}

// === impl Propagation ===

impl Default for Propagation {
    /// Together about 6 dB of deviation for a carried tag, a third of its variance correlated over
    /// one or two metres: what the walks of Daniş, Naskali, Cemgil and Ersoy ("An indoor localization
    /// dataset …", Pervasive and Mobile Computing 81, 2022) show around their own regression lines,
    /// whose slopes are n = 1.0 to 2.4.
    fn default() -> Self {
        Self {
            exponent: 2.2,
            wall_db: 8.0,
            shelf_shadow_db: 3.0,
            shelf_shadow_m: 1.5,
            crowd_shadow_db: 1.5,
            crowd_shadow_time: Duration::from_secs(10),
            body_db: 8.0,
            rice_db: Some(6.0),
            report_error_db: 1.0,
            sensitivity_dbm: -93.0,
            interference: 0.05,
        }
    }
}

impl Propagation {
    /// Signal strength in dBm of one packet at a receiver.
    pub(super) fn rssi(&self, sent: Sent, to: Point, shadows: &Shadows, link: &mut Link) -> f64 {
        let Sent { power, from, carried, channel } = sent;
        // Nearer than 10 cm the model means nothing, and the logarithm runs away.
        let distance = from.at.distance(to).max(0.1);
        let path = 10.0 * self.exponent * distance.log10();
        let wall = if from.at.is_outside() == to.is_outside() { 0.0 } else { self.wall_db };
        let body = carried.map_or(0.0, |turned| {
            let away = from.facing + turned - from.at.bearing(to);
            self.body_db * (1.0 - away.cos()) / 2.0
        });
        let shelves = self.shelf_shadow_db * shadows.at(from.at);
        let crowd = self.crowd_shadow_db * link.crowd;
        let fading = self.rice_db.map_or(0.0, |factor| link.fading(factor, channel));
        let error = self.report_error_db * link.rng.normal();
        power - path - wall - body + shelves + crowd + fading + error
    }

    /// Whether a packet of that strength is received, leaving aside other packets.
    pub(super) fn is_received(&self, rssi: f64, rng: &mut Rng) -> bool {
        // The packet error rate of a receiver goes from nearly 0 to nearly 1 within some 6 dB.
        const STEEPNESS_DB: f64 = 1.5;
        let received = 1.0 / (1.0 + ((self.sensitivity_dbm - rssi) / STEEPNESS_DB).exp());
        rng.chance(received * (1.0 - self.interference))
    }
}

// === impl Shadows ===

impl Shadows {
    /// Draws a field with correlation `exp(-distance / d0)`: a sum of cosines whose wave vectors
    /// follow the two-dimensional Cauchy distribution, the Fourier transform of that correlation
    /// (Rahimi and Recht, "Random features for large-scale kernel machines", 2007).
    pub(super) fn new(rng: &mut Rng, distance_m: f64) -> Self {
        let distance_m = distance_m.max(0.01);
        let wave = |_| {
            let scale = 1.0 / (distance_m * rng.normal().abs().max(1e-6));
            Wave { x: scale * rng.normal(), y: scale * rng.normal(), phase: TAU * rng.unit() }
        };
        Self { waves: (0..WAVES).map(wave).collect() }
    }

    /// The shadow at a place, in standard deviations.
    fn at(&self, place: Point) -> f64 {
        let sum: f64 = self
            .waves
            .iter()
            .map(|wave| (wave.x * place.x + wave.y * place.y + wave.phase).cos())
            .sum();
        // The variance of a cosine of random phase is one half.
        sum / (f64::from(u32::try_from(WAVES).unwrap_or(1)) / 2.0).sqrt()
    }
}

// === impl Link ===

impl Link {
    pub(super) fn new(mut rng: Rng, now: Uptime, at: Point) -> Self {
        let crowd = rng.normal();
        let echoes = std::array::from_fn(|_| [rng.normal(), rng.normal()]);
        Self { rng, crowd, echoes, updated: now, at }
    }

    /// Lets time and the tag move on; every process here is a first-order autoregression.
    pub(super) fn advance(&mut self, propagation: &Propagation, now: Uptime, at: Point) {
        let seconds = now.since(self.updated).as_secs_f64();
        let metres = self.at.distance(at);
        let crowd_time = propagation.crowd_shadow_time.as_secs_f64().max(0.001);
        self.crowd = renew(self.crowd, seconds / crowd_time, &mut self.rng);
        let changed = seconds / COHERENCE_S + metres / COHERENCE_M;
        for part in self.echoes.as_flattened_mut() {
            *part = renew(*part, changed, &mut self.rng);
        }
        (self.updated, self.at) = (now, at);
    }

    /// Power gain of a steady and a scattered part, in dB around a mean power of 1.
    fn fading(&self, factor_db: f64, channel: usize) -> f64 {
        let factor = 10_f64.powf(factor_db / 10.0);
        let steady = (factor / (factor + 1.0)).sqrt();
        let scatter = (0.5 / (factor + 1.0)).sqrt();
        let [real, imaginary] = self.echoes.get(channel).copied().unwrap_or_default();
        let power = (steady + scatter * real).powi(2) + (scatter * imaginary).powi(2);
        10.0 * power.max(1e-6).log10()
    }
}

/// One step of a standard normal process that forgets by `exp(-elapsed)`.
fn renew(value: f64, elapsed: f64, rng: &mut Rng) -> f64 {
    let kept = (-elapsed).exp();
    value * kept + rng.normal() * (1.0 - kept * kept).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shadows_are_as_correlated_as_their_distance_says() {
        let mut rng = Rng::new(3);
        let (mut same, mut near, mut far) = (0.0, 0.0, 0.0);
        for _ in 0..4000 {
            let field = Shadows::new(&mut rng, 2.0);
            let here = field.at(Point::new(3.0, 4.0, 0.0));
            same += here * here / 4000.0;
            near += here * field.at(Point::new(4.2, 5.6, 0.0)) / 4000.0;
            far += here * field.at(Point::new(11.0, 4.0, 0.0)) / 4000.0;
        }
        assert!((same - 1.0).abs() < 0.08, "variance {same}");
        assert!((near - (-1.0_f64).exp()).abs() < 0.06, "correlation at 2 m {near}");
        assert!((far - (-4.0_f64).exp()).abs() < 0.06, "correlation at 8 m {far}");
    }

    #[test]
    fn turning_away_costs_the_whole_body_loss_and_standing_sideways_half_of_it() {
        let propagation = Propagation {
            shelf_shadow_db: 0.0,
            crowd_shadow_db: 0.0,
            rice_db: None,
            report_error_db: 0.0,
            body_db: 10.0,
            ..Propagation::default()
        };
        let mut rng = Rng::new(1);
        let shadows = Shadows::new(&mut rng, 1.0);
        let mut link = Link::new(rng, Uptime::ZERO, Point::default());
        let receiver = Point::new(10.0, 0.0, 0.0);
        let mut rssi = |facing, carried| {
            let place = Place { at: Point::default(), facing };
            let sent = Sent { power: -59.0, from: place, carried, channel: 0 };
            propagation.rssi(sent, receiver, &shadows, &mut link)
        };
        let facing = rssi(0.0, Some(0.0));
        assert!((facing - (-59.0 - 22.0)).abs() < 1e-9, "{facing}");
        assert!((facing - rssi(TAU / 2.0, Some(0.0)) - 10.0).abs() < 1e-9);
        assert!((facing - rssi(TAU / 4.0, Some(0.0)) - 5.0).abs() < 1e-9);
        assert!((facing - rssi(TAU / 2.0, Some(TAU / 2.0))).abs() < 1e-9, "worn on the back");
        assert!((facing - rssi(TAU / 2.0, None)).abs() < 1e-9, "nobody carries it");
    }

    #[test]
    fn fading_keeps_the_mean_power_and_stays_while_nothing_moves() {
        let mut rng = Rng::new(5);
        let mut mean = 0.0;
        for _ in 0..20_000 {
            let link = Link::new(rng.fork(), Uptime::ZERO, Point::default());
            mean += 10_f64.powf(link.fading(6.0, 1) / 10.0) / 20_000.0;
        }
        assert!((mean - 1.0).abs() < 0.02, "mean power {mean}");

        let mut link = Link::new(rng, Uptime::ZERO, Point::default());
        let before = link.fading(6.0, 0);
        link.advance(&Propagation::default(), Uptime::ZERO, Point::default());
        assert!((link.fading(6.0, 0) - before).abs() < 1e-9);
        link.advance(&Propagation::default(), Uptime::ZERO, Point::new(1.0, 0.0, 0.0));
        assert!(1e-3 < (link.fading(6.0, 0) - before).abs(), "a metre further on all is new");
    }
}
