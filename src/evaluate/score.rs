//! How good a method was: what it announced and what was true in, numbers out.

use std::time::Duration;

use super::{
    contender::{Moment, Run, Stay},
    walk::Walk,
};
use crate::engine::{Uptime, place::FloorPlan};

/// The numbers of one walk, or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Seconds that were looked at.
    pub seconds: u32,
    /// Of those, announced right at that time.
    pub right: u32,
    /// Of those, right once all announcements were in, by the times they name.
    pub right_dated: u32,
    /// Of those, announced to be unknown, or not yet announced at all.
    pub unknown: u32,
    /// Changes from zone to zone that were announced.
    pub changes: u32,
    /// Changes from zone to zone that there were.
    pub true_changes: u32,
    /// Stays in zones that there were.
    pub visits: u32,
    /// Of those, never announced.
    pub missed: u32,
    /// Stays that were announced and never were.
    pub invented: u32,
    /// How long after each true change it was announced, in seconds.
    pub delays: Vec<f32>,
    /// How far off the position was, second by second, in metres; empty without positions.
    pub errors: Vec<f32>,
    /// By how sure the method was, in tenths.
    pub reliability: [Bin; 10],
}

/// Seconds in which a method was about equally sure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many.
    pub seconds: u32,
    /// The sum of how sure it was.
    pub sure: f64,
    /// In how many it was right.
    pub right: u32,
}

/// A stay in a zone that there was.
#[derive(Clone, Copy, Debug)]
struct Truth {
    zone: Option<usize>,
    from: Uptime,
    to: Uptime,
}

/// An announced stay belongs to a true one that it misses by no more than this.
const TOLERANCE: Duration = Duration::from_secs(2);

impl Score {
    /// Judges one run.
    pub fn of(run: &Run, plan: &FloorPlan, walk: &Walk) -> Self {
        let truth = truth(plan, walk);
        let mut score = Self {
            changes: changes(&run.stays),
            true_changes: count(truth.len().saturating_sub(1)),
            ..Self::default()
        };
        for moment in &run.moments {
            score.second(moment, run, plan, walk);
        }
        score.visits(run, &truth);
        score
    }

    /// Adds another walk.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.seconds += other.seconds;
        self.right += other.right;
        self.right_dated += other.right_dated;
        self.unknown += other.unknown;
        self.changes += other.changes;
        self.true_changes += other.true_changes;
        self.visits += other.visits;
        self.missed += other.missed;
        self.invented += other.invented;
        self.delays.extend_from_slice(&other.delays);
        self.errors.extend_from_slice(&other.errors);
        for (bin, other) in self.reliability.iter_mut().zip(&other.reliability) {
            bin.seconds += other.seconds;
            bin.sure += other.sure;
            bin.right += other.right;
        }
        self
    }

    /// Share of seconds in the right zone as announced at that time, 0 to 1.
    pub fn share_right(&self) -> f64 {
        share(self.right, self.seconds)
    }

    /// Share of seconds in the right zone by the times that announcements name, 0 to 1.
    pub fn share_right_dated(&self) -> f64 {
        share(self.right_dated, self.seconds)
    }

    /// How far confidence and truth are apart, 0 to 1: the expected calibration error; none when
    /// the method does not say how sure it is.
    pub fn calibration_error(&self) -> Option<f64> {
        let all: u32 = self.reliability.iter().map(|bin| bin.seconds).sum();
        let apart = self.reliability.iter().map(|bin| (bin.sure - f64::from(bin.right)).abs());
        (all > 0).then(|| apart.sum::<f64>() / f64::from(all))
    }

    /// A quantile of the delays, in seconds.
    pub fn delay(&self, part: f32) -> Option<f64> {
        quantile(&self.delays, part).map(f64::from)
    }

    /// A quantile of the errors, in metres.
    pub fn error(&self, part: f32) -> Option<f64> {
        quantile(&self.errors, part).map(f64::from)
    }

    /// The mean error, in metres.
    pub fn error_mean(&self) -> Option<f64> {
        let sum: f64 = self.errors.iter().copied().map(f64::from).sum();
        (!self.errors.is_empty()).then(|| sum / f64::from(count(self.errors.len())))
    }

    fn second(&mut self, moment: &Moment, run: &Run, plan: &FloorPlan, walk: &Walk) {
        let Some(zone) = walk.zone_at(plan, moment.at) else { return };
        let live = run.stays.iter().rev().find(|stay| stay.noticed <= moment.at);
        // The middle of the second that ends now: what is dated is dated within it.
        let middle = moment.at - Duration::from_millis(500);
        let dated = run.stays.iter().rev().find(|stay| stay.since <= middle);
        let is_right =
            |stay: Option<&Stay>, zone| stay.is_some_and(|stay| !stay.unknown && stay.zone == zone);
        let right = is_right(live, zone);
        let then = walk.zone_at(plan, middle).unwrap_or(zone);
        self.seconds += 1;
        self.right += u32::from(right);
        self.right_dated += u32::from(is_right(dated, then));
        self.unknown += u32::from(live.is_none_or(|stay| stay.unknown));
        if let (Some(position), Some(place)) = (moment.position, walk.point_at(moment.at)) {
            self.errors.push(position.distance(place));
        }
        if let Some(sure) = moment.confidence {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a cast of a float saturates"
            )]
            let bin = ((sure * 10.0) as usize).min(9);
            if let Some(bin) = self.reliability.get_mut(bin) {
                bin.seconds += 1;
                bin.sure += sure;
                bin.right += u32::from(right);
            }
        }
    }

    fn visits(&mut self, run: &Run, truth: &[Truth]) {
        let end = truth.last().map_or(Uptime::ZERO, |last| last.to);
        let ends = run.stays.iter().skip(1).map(|stay| stay.since).chain([end + TOLERANCE]);
        let announced: Vec<(&Stay, Uptime)> = run
            .stays
            .iter()
            .zip(ends)
            .filter(|(stay, _)| !stay.unknown && stay.zone.is_some())
            .collect();
        let meet = |stay: &Stay, to: Uptime, truth: &Truth| {
            stay.zone == truth.zone
                && stay.since <= truth.to + TOLERANCE
                && truth.from <= to + TOLERANCE
        };
        for (n, truth) in truth.iter().enumerate().filter(|(_, truth)| truth.zone.is_some()) {
            self.visits += 1;
            let found = announced.iter().find(|(stay, to)| meet(stay, *to, truth));
            match found {
                // Where somebody is first is no change.
                Some((stay, _)) if n > 0 => {
                    self.delays.push(stay.noticed.since(truth.from).as_secs_f32());
                }
                Some(_) => {}
                None => self.missed += 1,
            }
        }
        let never =
            announced.iter().filter(|(stay, to)| !truth.iter().any(|it| meet(stay, *to, it)));
        self.invented += count(never.count());
    }
}

/// The true stays of a walk, while the tag was heard.
fn truth(plan: &FloorPlan, walk: &Walk) -> Vec<Truth> {
    let (first, last) = walk.span();
    let places = walk.truth.iter().map(|(at, _)| *at);
    let marks = walk.marks.iter().map(|(at, _)| *at);
    let inside = places.chain(marks).filter(|at| first <= *at && *at <= last);
    let mut times: Vec<Uptime> = [first].into_iter().chain(inside).chain([last]).collect();
    times.sort_unstable();
    let mut stays: Vec<Truth> = Vec::new();
    for at in times {
        // On the way from one zone to another nothing is known.
        let Some(zone) = walk.zone_at(plan, at) else { continue };
        match stays.last_mut() {
            Some(stay) if stay.zone == zone => stay.to = at,
            Some(stay) => {
                stay.to = at;
                stays.push(Truth { zone, from: at, to: at });
            }
            None => stays.push(Truth { zone, from: at, to: at }),
        }
    }
    stays
}

/// Changes from somewhere known to somewhere else known.
fn changes(stays: &[Stay]) -> u32 {
    let known: Vec<&Stay> = stays.iter().filter(|stay| !stay.unknown).collect();
    let pairs = known.iter().zip(known.iter().skip(1));
    count(pairs.filter(|(from, to)| from.zone != to.zone).count())
}

/// A value below which the given part of all lies; none of none.
fn quantile(values: &[f32], part: f32) -> Option<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a few thousand seconds"
    )]
    let rank = (part * sorted.len() as f32) as usize;
    sorted.get(rank.min(sorted.len().checked_sub(1)?)).copied()
}

fn share(part: u32, all: u32) -> f64 {
    f64::from(part) / f64::from(all.max(1))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::place::{Extent, FloorZone, Point, Polygon, Shape, ZoneKind},
        evaluate::Reading,
    };

    fn at(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    /// Ten seconds in the left zone, ten in the right one.
    fn there() -> (FloorPlan, Walk) {
        let zone = |x| {
            let extent = Extent { least: Point::new(x, 0.0), most: Point::new(x + 5.0, 5.0) };
            let shape = Shape::Polygon(Polygon::rectangle(extent).unwrap());
            FloorZone { kind: ZoneKind::Shelf, shape }
        };
        let plan = FloorPlan { zones: vec![zone(0.0), zone(5.0)], ..FloorPlan::default() };
        let truth = (0..=20).map(|s| (at(s), Point::new(if s < 10 { 2.0 } else { 7.0 }, 2.0)));
        let reading = |s| Reading { at: at(s), receiver: 0, rssi: Some(-60.0) };
        let readings = (0..=20).map(reading).collect();
        (plan, Walk { readings, truth: truth.collect(), ..Walk::default() })
    }

    fn run(stays: &[(Option<usize>, u64, u64)]) -> Run {
        let stays = stays.iter().map(|&(zone, since, noticed)| Stay {
            zone,
            unknown: false,
            since: at(since),
            noticed: at(noticed),
        });
        let moment = |s| Moment { at: at(s), position: None, confidence: Some(0.95) };
        Run { stays: stays.collect(), moments: (1..=20).map(moment).collect() }
    }

    #[test]
    fn a_change_that_is_noticed_late_but_dated_right_is_late_and_right() {
        let (plan, walk) = there();
        let score = Score::of(&run(&[(Some(0), 0, 1), (Some(1), 10, 14)]), &plan, &walk);
        assert_eq!((score.changes, score.true_changes), (1, 1));
        assert_eq!((score.visits, score.missed, score.invented), (2, 0, 0));
        assert_eq!((score.seconds, score.right, score.right_dated), (20, 16, 20));
        assert_eq!(score.delays, [4.0]);
        let bin = score.reliability[9];
        assert_eq!((bin.seconds, bin.right), (20, 16));
        assert!((score.calibration_error().unwrap() - 0.15).abs() < 1e-9);
    }

    #[test]
    fn flapping_is_counted_and_what_never_was_is_invented() {
        let (plan, walk) = there();
        let flaps = [(Some(0), 0, 0), (Some(1), 3, 3), (Some(0), 4, 4)];
        let score = Score::of(&run(&flaps), &plan, &walk);
        assert_eq!((score.changes, score.true_changes), (2, 1));
        assert_eq!((score.missed, score.invented), (1, 1));
    }
}
