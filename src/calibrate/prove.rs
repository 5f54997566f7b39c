//! Whether a calibration helps: the estimator without and with it, on parts of the walks that it was
//! not fitted to.
//!
//! With two walks or more each is left out in turn, or a tenth of them where there are many. A single
//! walk is cut into pieces of some seconds, and every other piece is left out. Everybody starts cold
//! in every piece, with or without a calibration.

use std::time::Duration;

use super::{
    confusion::Confusion,
    fit::{Scope, fit},
    observe::Part,
};
use crate::{
    engine::place::{FloorPlan, Method, Model},
    evaluate::{Contender, MethodName, Score, Walk},
};

/// What was seen on parts that were left out.
#[derive(Clone, Debug)]
pub struct Proof {
    /// How often something was left out; 0 when there is too little to leave anything out.
    pub folds: usize,
    /// Whole walks were left out, and not pieces of one.
    pub by_walk: bool,
    /// With what stands in the configuration.
    pub nothing: Trial,
    /// With offsets.
    pub offsets: Trial,
    /// With offsets and law; as without when there are no positions.
    pub full: Trial,
}

/// What the estimator made of the parts.
#[derive(Clone, Debug)]
pub struct Trial {
    /// In numbers.
    pub score: Score,
    /// Zone by zone.
    pub confusion: Confusion,
}

/// At most so many folds: more would take long and say the same.
const MOST_FOLDS: usize = 10;

/// How long a piece of a single walk is: long enough to find in from a cold start.
const PIECE: Duration = Duration::from_secs(20);

/// A single walk must have so many pieces, or nothing can be left out of it.
const LEAST_PIECES: usize = 4;

/// A calibration must be right in so many seconds more than without, of all held-out ones: less may
/// be luck.
const LEAST_GAIN: f64 = 0.005;

/// Or its places so much nearer, when it is not right less often.
const LEAST_NEARER: f64 = 0.02;

pub(super) fn prove(plan: &FloorPlan, walks: &[Walk], model: &Model) -> Proof {
    let by_walk = walks.len() > 1;
    let parts = if by_walk { Part::whole(walks) } else { pieces(walks) };
    let folds = match (by_walk, parts.len()) {
        (true, walks) => walks.min(MOST_FOLDS),
        (false, LEAST_PIECES..) => 2,
        (false, _) => 0,
    };
    let trial = || Trial::new(plan.zones.len());
    let mut proof = Proof { folds, by_walk, nothing: trial(), offsets: trial(), full: trial() };
    for fold in 0..folds {
        let chosen = |held: bool| {
            let parts = parts.iter().enumerate();
            parts.filter(move |(n, _)| (n % folds == fold) == held).map(|(_, part)| *part)
        };
        let fitted: Vec<Part<'_>> = chosen(false).collect();
        let with = |scope| fit(plan, &fitted, model, scope).applied(plan);
        let (offsets, full) = (with(Scope::Offsets), with(Scope::Full));
        for part in chosen(true) {
            let walk = part.walk.cut(part.from, part.to);
            for (plan, trial) in [
                (plan, &mut proof.nothing),
                (&offsets, &mut proof.offsets),
                (&full, &mut proof.full),
            ] {
                trial.take(plan, &walk, model);
            }
        }
    }
    if plan.method() != Method::Plan {
        proof.full = proof.nothing.clone();
    }
    proof
}

/// A single walk in pieces.
fn pieces(walks: &[Walk]) -> Vec<Part<'_>> {
    let mut pieces = Vec::new();
    for part in Part::whole(walks) {
        let mut from = part.from;
        while from < part.to {
            let to = (from + PIECE).min(part.to);
            pieces.push(Part { from, to, ..part });
            from = to;
        }
    }
    pieces
}

impl Proof {
    /// What is worth being kept; none when nothing helps.
    pub fn recommended(&self) -> Option<Scope> {
        let better = |scope: &Scope| self.trial(*scope).helps(&self.nothing);
        let scopes = [Scope::Offsets, Scope::Full].into_iter().filter(better);
        // Of two that are right as often, the simpler one stands first and is kept.
        scopes.reduce(
            |best, other| {
                if self.trial(other).helps(self.trial(best)) { other } else { best }
            },
        )
    }

    /// What was seen with it.
    pub fn trial(&self, scope: Scope) -> &Trial {
        match scope {
            Scope::Offsets => &self.offsets,
            Scope::Full => &self.full,
        }
    }
}

impl Trial {
    fn new(zones: usize) -> Self {
        Self { score: Score::default(), confusion: Confusion::new(zones) }
    }

    fn take(&mut self, plan: &FloorPlan, walk: &Walk, model: &Model) {
        let run = Contender::new(MethodName::Gateway, plan, model).run(plan, walk);
        let score = std::mem::take(&mut self.score);
        self.score = score.and(&Score::of(&run, plan, walk));
        self.confusion.take(&run, plan, walk);
    }

    /// Whether it is better than another one by more than a second or two.
    fn helps(&self, other: &Self) -> bool {
        let gain = self.score.share_right() - other.score.share_right();
        let nearer = match (self.score.error_mean(), other.score.error_mean()) {
            (Some(own), Some(other)) => other > 0.0 && own <= other * (1.0 - LEAST_NEARER),
            _ => false,
        };
        gain >= LEAST_GAIN || (gain >= 0.0 && nearer)
    }
}
