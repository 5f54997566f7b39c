//! Beacons at known places: what receivers hear of them in, how well each receiver hears now out.
//!
//! Between a beacon and a receiver that both hang still stands whatever always stands there, and
//! nobody knows how much that takes. So one beacon says little about how well a receiver hears, but
//! much about how that changes: an antenna that came loose, a receiver behind a new shelf. Several
//! beacons agree on the rest. Three causes share what is unexpected, in proportion to how well each
//! is known (Kalman): the beacon, the way, and the receiver, of which the receiver alone may change
//! within hours. Slow, bounded and robust: ten seconds make a reading, one reading moves little, and
//! no receiver is ever taken to differ by more than 15 dB from its plan.

use std::time::Duration;

use super::{ground::Ground, guess::Guess, model::Model, polygon::Point};
use crate::engine::Uptime;

/// A beacon at a known place.
#[derive(Clone, Debug)]
pub struct Reference {
    /// How much stronger than a carried tag it is, in dB.
    strength: Guess,
    links: Vec<Link>,
}

/// The way from it to one receiver.
#[derive(Clone, Debug)]
struct Link {
    /// What it should lose by the law, in dB; none without the receiver's position.
    loss_db: Option<f32>,
    /// By how much more is heard than that, in dB.
    shadow: Guess,
    sum_dbm: f32,
    count: u16,
    /// From when what is summed up was heard.
    since: Option<Uptime>,
    /// When it was learned from last.
    learned: Option<Uptime>,
}

/// What was learned of all receivers.
#[derive(Clone, Debug)]
pub(super) struct Receivers(Vec<(Guess, Option<Uptime>)>);

/// So much time makes one reading: its fading is gone, and most who passed have passed.
const READING: Duration = Duration::from_secs(10);

/// Spread of such a reading, in dB: those who stand in the way for longer.
const READING_DB: f32 = 3.0;

/// How far a receiver's hearing drifts in a second, in dB: with the spread of a reading this makes a
/// time constant of some eight minutes, with one beacon.
const RECEIVER_DRIFT_DB: f32 = 0.02;

/// How far a beacon's strength drifts: a battery falls by some dB within a year, and the cold of a
/// night takes one.
const BEACON_DRIFT_DB: f32 = 0.002;

/// Beacons differ more than carried tags: in dB.
const BEACON_DB: f32 = 6.0;

/// The spread of what is lost on a way of which nothing is known, in dB.
const UNKNOWN_DB: f32 = 30.0;

/// A reading never says more than this, in dB.
const MOST_SURPRISE_DB: f32 = 10.0;

/// No receiver is taken to hear so much more or less than its plan says, in dB.
const MOST_CORRECTION_DB: f32 = 15.0;

impl Reference {
    pub(super) fn new(ground: &Ground, at: Point, height: f32) -> Self {
        let link = |receiver| {
            let loss_db = ground.loss_from(receiver, at, height);
            let spread = loss_db.map_or(UNKNOWN_DB, |_| ground.law(receiver).spread_db);
            Link {
                loss_db,
                shadow: Guess::within(spread),
                sum_dbm: 0.0,
                count: 0,
                since: None,
                learned: None,
            }
        };
        let links = (0..ground.receivers()).map(link).collect();
        Self { strength: Guess::within(BEACON_DB), links }
    }
}

impl Receivers {
    pub(super) fn new(receivers: usize, model: &Model) -> Self {
        Self(vec![(Guess::within(model.receiver_db), None); receivers])
    }

    /// Takes in what a receiver heard; what it now hears more than its plan says, when that changed.
    pub(super) fn learn(
        &mut self,
        (ground, model): (&Ground, &Model),
        reference: &mut Reference,
        now: Uptime,
        (receiver, rssi_dbm): (usize, f32),
    ) -> Option<f32> {
        let Reference { strength, links } = reference;
        let link = links.get_mut(receiver)?;
        let (known, drifted) = self.0.get_mut(receiver)?;
        let since = *link.since.get_or_insert(now);
        link.sum_dbm += rssi_dbm;
        link.count = link.count.saturating_add(1);
        if now.since(since) < READING {
            return None;
        }
        let mean = link.sum_dbm / f32::from(link.count);
        (link.sum_dbm, link.count, link.since) = (0.0, 0, None);
        let passed = |before: Option<Uptime>| before.map_or(0.0, |it| now.since(it).as_secs_f32());
        let most = model.receiver_db * model.receiver_db;
        known.drift(RECEIVER_DRIFT_DB, passed(*drifted), most);
        strength.drift(BEACON_DRIFT_DB, passed(link.learned), BEACON_DB * BEACON_DB);
        (*drifted, link.learned) = (Some(now), Some(now));
        let expected = ground.law(receiver).one_metre_dbm - link.loss_db.unwrap_or(0.0);
        let surprise = mean - expected - strength.mean - link.shadow.mean - known.mean;
        let doubt =
            READING_DB * READING_DB + strength.variance + link.shadow.variance + known.variance;
        // The first reading of a way is no surprise, however far off: that is what it settles.
        let most = MOST_SURPRISE_DB.max(2.0 * link.shadow.variance.sqrt());
        let surprise = surprise.clamp(-most, most);
        strength.correct(surprise, doubt);
        link.shadow.correct(surprise, doubt);
        known.correct(surprise, doubt);
        known.mean = known.mean.clamp(-MOST_CORRECTION_DB, MOST_CORRECTION_DB);
        Some(known.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        ReceiverId,
        place::{FloorPlan, FloorReceiver, PathLoss, Places},
    };

    fn places() -> Places {
        let receiver = |n: u8| FloorReceiver {
            id: ReceiverId::new(&format!("r{n}")),
            position: Some(Point::new(f32::from(n) * 5.0, 0.0)),
            height: 2.5,
            offset_db: 0.0,
            offset_error_db: None,
            path_loss: PathLoss::default(),
        };
        let plan = FloorPlan { receivers: (0..4).map(receiver).collect(), ..FloorPlan::default() };
        Places::new(&plan, Model::default())
    }

    /// What receivers hear of two beacons behind shelves, and how far receiver 0 is off by then.
    fn hear(
        places: &mut Places,
        references: &mut [Reference],
        seconds: std::ops::Range<u32>,
        off: f32,
    ) {
        for second in seconds {
            let now = Uptime::ZERO + Duration::from_secs(u64::from(second));
            for (reference, shelf) in references.iter_mut().zip([-7.0, 3.0]) {
                for receiver in 0..4 {
                    let off = if receiver == 0 { off } else { 0.0 };
                    let ripple = f32::from(u8::try_from(second * 7 % 11).unwrap()) - 5.0;
                    places.calibrate(reference, now, receiver, -70.0 + shelf + ripple + off);
                }
            }
        }
    }

    #[test]
    fn a_receiver_that_hears_less_than_it_did_is_found_within_half_an_hour_and_no_other_is_blamed()
    {
        let mut places = places();
        let beacon = |x| places.reference(Point::new(x, 4.0), 1.0);
        let mut references = [beacon(3.0), beacon(12.0)];
        hear(&mut places, &mut references, 0..7200, 0.0);
        let before: Vec<f32> = (0..4).map(|n| places.correction(n)).collect();
        assert!(before.iter().all(|db| db.abs() < 6.0), "{before:?}");
        hear(&mut places, &mut references, 7200..9000, -8.0);
        let change: Vec<f32> = (0..4).map(|n| places.correction(n) - before[n]).collect();
        assert!((-9.0..-6.0).contains(&change[0]), "{change:?}");
        assert!(change[1..].iter().all(|db| db.abs() < 2.0), "{change:?}");
    }

    #[test]
    fn nothing_that_a_beacon_does_moves_a_receiver_out_of_bounds() {
        let mut places = places();
        let mut references = [places.reference(Point::new(3.0, 4.0), 1.0)];
        for off in [-60.0, 60.0, f32::NAN, f32::INFINITY, -1e30] {
            hear(&mut places, &mut references, 0..40_000, off);
            assert!(places.correction(0).abs() <= 15.0, "{}", places.correction(0));
        }
        places.calibrate(&mut references[0], Uptime::ZERO, 99, -60.0);
        assert!(places.correction(99).abs() < 1e-9);
    }
}
