//! What it costs when something is wrong with a receiver: walks in, the same walks as a faulty
//! receiver would have recorded them, and how well people are placed with those out.

use std::time::Duration;

use super::{Contender, MethodName, Score, Walk};
use crate::engine::{
    Uptime,
    place::{FloorPlan, Model},
};

/// What is wrong with a receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It hears nothing any more from the middle of the walk on.
    Dies,
    /// It hears nothing in the middle third of the walk.
    Returns,
    /// All that it hears is believed to have been sent 3 s later.
    Late,
    /// It hears 8 dB less.
    Fainter,
    /// It hears 8 dB more.
    Louder,
}

/// All of them, none first.
pub const FAULTS: [Fault; 6] =
    [Fault::None, Fault::Dies, Fault::Returns, Fault::Late, Fault::Fainter, Fault::Louder];

/// How late.
const LATE: Duration = Duration::from_secs(3);

/// How much less or more, in dB.
const OFF_DB: f32 = 8.0;

/// What one fault costs.
#[derive(Clone, Debug)]
pub struct Cost {
    /// Which.
    pub fault: Fault,
    /// How well people are placed, all walks and receivers together.
    pub all: Score,
    /// The receiver whose fault leaves the fewest seconds right, by its place on the plan, and the
    /// share of seconds that are right then, 0 to 1; none for walks of different plans.
    pub worst: Option<(usize, f64)>,
}

// === impl Fault ===

impl Fault {
    /// What befalls the receiver, in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "works",
            Self::Dies => "dies after half the time",
            Self::Returns => "is dead for a third of the time",
            Self::Late => "is 3 s late",
            Self::Fainter => "hears 8 dB less",
            Self::Louder => "hears 8 dB more",
        }
    }

    /// The walk as it would have been recorded.
    #[must_use]
    pub fn befall(self, walk: &Walk, receiver: usize) -> Walk {
        let mut walk = walk.clone();
        let (first, last) = walk.span();
        let part = |part: f64| first + last.since(first).mul_f64(part);
        match self {
            Self::None => {}
            Self::Dies => walk.silence(receiver, (part(0.5), None)),
            Self::Returns => walk.silence(receiver, (part(1.0 / 3.0), Some(part(2.0 / 3.0)))),
            Self::Late => {
                for reading in walk.readings.iter_mut().filter(|it| it.receiver == receiver) {
                    reading.at = reading.at + LATE;
                }
                walk.readings.sort_by_key(|reading| reading.at);
            }
            Self::Fainter => walk.shift(receiver, -OFF_DB),
            Self::Louder => walk.shift(receiver, OFF_DB),
        }
        walk
    }
}

// === impl Walk ===

impl Walk {
    /// Takes away what a receiver heard in some time, and that it heard at all.
    fn silence(&mut self, receiver: usize, (from, to): (Uptime, Option<Uptime>)) {
        let dead = |at: Uptime| from <= at && to.is_none_or(|to| at < to);
        self.readings.retain(|it| it.receiver != receiver || !dead(it.at));
    }

    /// Makes a receiver hear more. What it would hear fainter than anything that was ever heard in
    /// the walk, it misses; what it missed, nobody knows.
    fn shift(&mut self, receiver: usize, db: f32) {
        let heard = self.readings.iter().filter_map(|it| it.rssi);
        let faintest = heard.fold(f32::INFINITY, f32::min);
        for reading in self.readings.iter_mut().filter(|it| it.receiver == receiver) {
            reading.rssi = reading.rssi.map(|dbm| dbm + db).filter(|dbm| *dbm >= faintest);
        }
    }
}

/// Lets each receiver of the plan fail in each way in each walk. `done` is told of each fault that was
/// looked at.
pub fn befall(plan: &FloorPlan, walks: &[Walk], mut done: impl FnMut()) -> Vec<Cost> {
    let costs = FAULTS.into_iter().map(|fault| {
        let receivers = if fault == Fault::None { 1 } else { plan.receivers.len() };
        let mut cost = Cost { fault, all: Score::default(), worst: None };
        for receiver in 0..receivers {
            let scores = walks.iter().map(|walk| own(plan, &fault.befall(walk, receiver)));
            let score = scores.fold(Score::default(), |all, score| all.and(&score));
            let right = score.share_right();
            if fault != Fault::None && cost.worst.is_none_or(|(_, least)| right < least) {
                cost.worst = Some((receiver, right));
            }
            cost.all = cost.all.and(&score);
        }
        done();
        cost
    });
    costs.collect()
}

/// What the gateway's own estimator makes of a walk.
pub(super) fn own(plan: &FloorPlan, walk: &Walk) -> Score {
    let estimator = Contender::new(MethodName::Gateway, plan, &Model::default());
    Score::of(&estimator.run(plan, walk), plan, walk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Reading;

    fn s(seconds: u64) -> Uptime {
        Uptime::ZERO + Duration::from_secs(seconds)
    }

    /// Two receivers, each heard once a second for a minute, at -60 and -90 dBm.
    fn walk() -> Walk {
        let readings = (0..60).flat_map(|second| {
            [(0, -60.0), (1, -90.0)].map(|(receiver, dbm)| Reading {
                at: s(second),
                receiver,
                rssi: Some(dbm),
            })
        });
        Walk { readings: readings.collect(), ..Walk::default() }
    }

    /// When the first receiver heard something, and what.
    fn heard(fault: Fault) -> Vec<(Uptime, Option<f32>)> {
        let walk = fault.befall(&walk(), 0);
        assert!(walk.readings.is_sorted_by_key(|it| it.at), "{fault:?}");
        let other = walk.readings.iter().filter(|it| it.receiver == 1);
        assert!(other.clone().all(|it| it.rssi == Some(-90.0)), "{fault:?} is the first's alone");
        assert_eq!(other.count(), 60, "{fault:?} is the first's alone");
        let its = walk.readings.iter().filter(|it| it.receiver == 0);
        its.map(|it| (it.at, it.rssi)).collect()
    }

    #[test]
    fn a_fault_changes_what_it_says_of_one_receiver_and_nothing_else() {
        let works = heard(Fault::None);
        assert_eq!(works.len(), 60);
        let dies = heard(Fault::Dies);
        assert!(dies.last().unwrap().0 < s(30) && dies.len() == 30, "{dies:?}");
        let returns = heard(Fault::Returns);
        assert!(returns.iter().all(|(at, _)| *at < s(20) || *at >= s(39)), "{returns:?}");
        assert_eq!(returns.last(), works.last());
        let late = heard(Fault::Late);
        assert_eq!((late[0].0, late.len()), (s(3), 60));
        assert!(heard(Fault::Louder).iter().all(|(_, dbm)| *dbm == Some(-52.0)));
        assert!(heard(Fault::Fainter).iter().all(|(_, dbm)| *dbm == Some(-68.0)));
    }

    #[test]
    fn what_would_be_fainter_than_anything_that_was_heard_is_missed() {
        let walk = Fault::Fainter.befall(&walk(), 1);
        let its: Vec<_> = walk.readings.iter().filter(|it| it.receiver == 1).collect();
        assert_eq!(its.len(), 60, "it hears others");
        assert!(its.iter().all(|it| it.rssi.is_none()));
    }
}
