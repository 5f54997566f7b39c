//! What was heard from known spots in; offsets and the law of distance out, with how sure they are.
//!
//! The model is the estimator's: a reading is the reference level of the shop, plus what this tag
//! sends more, plus what this receiver hears more, less the loss on the way. Deviations are those of
//! Student's t, wider below than above, because bodies and shelves only take; it is fitted by weighing
//! anew (iteratively reweighted least squares). Every unknown is drawn towards the configuration by
//! as much as such things differ, so that few readings change little, and what cannot be told from
//! the readings stays as it was: a common shift of all receivers goes to reference and tag.

use super::{
    Law,
    observe::{Observed, Part, Spot, observe, single},
    solve::Square,
};
use crate::engine::place::{FloorPlan, FloorReceiver, Method, Model};

/// How much is fitted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// What each receiver hears more than others.
    Offsets,
    /// That, and the law of distance.
    Full,
}

/// What fits the readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// How much was fitted.
    pub scope: Scope,
    /// How signals fall with distance.
    pub law: Law,
    /// How far off its reference may well be, in dB: one standard deviation.
    pub reference_error_db: f32,
    /// The same of the exponent.
    pub exponent_error: f32,
    /// What each receiver of the plan hears more than others, in the plan's order.
    pub offsets: Vec<Offset>,
    /// How many spots were heard from, all receivers together.
    pub spots: usize,
}

/// What one receiver hears more than others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Offset {
    /// In dB.
    pub db: f32,
    /// How far off that may well be, in dB: one standard deviation.
    pub error_db: f32,
    /// From how many readings; without any it is what the configuration says.
    pub readings: u32,
}

/// How far a shop's reference level lies from the configured one, in dB: what people carry a tag in,
/// and what stands about.
const REFERENCE_DB: f64 = 3.0;

/// How far a shop's exponent lies from the configured one: shops measure 1.6 to 2.4.
const EXPONENT: f64 = 0.3;

/// What is fixed is known this well.
const FIXED: f64 = 1e-4;

/// How far receivers' offsets lie from the configured ones, in dB: cases, antennas, how they hang. The
/// estimator assumes as much.
const OFFSET_DB: f64 = 3.0;

/// The spread that the configuration says is worth as many spots as this.
const SPREAD_SPOTS: f64 = 40.0;

/// The spread of one second's readings is never taken to be less or more than this, in dB.
const SPREADS_DB: std::ops::RangeInclusive<f64> = 3.0..=10.0;

/// Spots from which less than this above the radio's limit is expected count less, in dB: only the
/// lucky readings were heard.
const CLEAR_DB: f64 = 6.0;

/// How softly they do, in dB.
const CLEAR_EDGE_DB: f64 = 2.0;

/// How often the weights are made anew. They settle within a dozen rounds.
const ROUNDS: u8 = 20;

/// How often the spread is.
const SPREAD_ROUNDS: u8 = 3;

/// Unknowns: reference, exponent, then the tags of the walks, then the receivers; each as what it
/// differs from the configuration.
struct Unknowns {
    tags: usize,
    receivers: usize,
    scope: Scope,
    values: Vec<f64>,
    covariance: Square,
}

/// What is assumed before anything was heard.
struct Before {
    reference: f64,
    exponent: f64,
    receivers: Vec<Configured>,
}

/// What is configured for a receiver.
struct Configured {
    offset: f64,
    /// A reference and an exponent of its own, which are left as they are.
    reference: Option<f64>,
    exponent: Option<f64>,
}

/// Fits some parts of walks.
pub(super) fn fit(plan: &FloorPlan, parts: &[Part<'_>], model: &Model, scope: Scope) -> Fit {
    let observed = observe(plan, parts, model.height);
    let law = plan.path_loss;
    let before = Before {
        reference: f64::from(law.reference_dbm.unwrap_or(model.one_metre_dbm)),
        exponent: f64::from(law.exponent.unwrap_or(model.exponent)),
        receivers: plan.receivers.iter().map(Configured::of).collect(),
    };
    let scope = if plan.method() == Method::Plan { scope } else { Scope::Offsets };
    let usual = f64::from(law.spread_db.unwrap_or(model.shadowing_db));
    let tags = parts.iter().map(|part| part.source + 1).max().unwrap_or(0);
    let mut unknowns = Unknowns::new(tags, plan.receivers.len(), scope, model);
    let mut spread = usual;
    for _ in 0..SPREAD_ROUNDS {
        for _ in 0..ROUNDS {
            unknowns.round(&observed.spots, &before, spread, model);
        }
        spread = unknowns.spread(&observed, &before, (spread, usual), model);
    }
    unknowns.result(&observed, &before, spread)
}

impl Unknowns {
    fn new(tags: usize, receivers: usize, scope: Scope, model: &Model) -> Self {
        let size = 2 + tags + receivers;
        let mut unknowns = Self {
            tags,
            receivers,
            scope,
            values: vec![0.0; size],
            covariance: Square::zero(size),
        };
        unknowns.covariance = unknowns.prior(model).inverse();
        unknowns
    }

    /// What is known of them without a reading, as precision.
    fn prior(&self, model: &Model) -> Square {
        let mut prior = Square::zero(self.values.len());
        let exponent = if self.scope == Scope::Full { EXPONENT } else { FIXED };
        let tags = std::iter::repeat_n(f64::from(model.tag_db), self.tags);
        let receivers = std::iter::repeat_n(OFFSET_DB, self.receivers);
        let spreads = [REFERENCE_DB, exponent].into_iter().chain(tags).chain(receivers);
        for (n, spread) in spreads.enumerate() {
            prior.add(n, n, 1.0 / (spread * spread));
        }
        prior
    }

    /// Which unknowns a spot says something about, and by which factor.
    fn row(&self, spot: &Spot, before: &Before) -> [(usize, f64); 4] {
        let receiver = 2 + self.tags + spot.receiver;
        let configured = before.receivers.get(spot.receiver);
        let own_reference = configured.is_some_and(|it| it.reference.is_some());
        let own_exponent = configured.is_some_and(|it| it.exponent.is_some());
        let reference = if own_reference { 0.0 } else { 1.0 };
        let exponent = if own_exponent { 0.0 } else { -spot.tens };
        [(0, reference), (1, exponent), (2 + spot.source, 1.0), (receiver, 1.0)]
    }

    fn value(&self, n: usize) -> f64 {
        self.values.get(n).copied().unwrap_or(0.0)
    }

    fn expected(&self, spot: &Spot, before: &Before) -> f64 {
        let known: f64 =
            self.row(spot, before).iter().map(|(n, factor)| factor * self.value(*n)).sum();
        before.expected(spot) + known
    }

    fn exponent(&self, before: &Before) -> f64 {
        before.exponent + self.value(1)
    }

    /// Weighs every spot by how well it fits, and solves anew.
    fn round(&mut self, spots: &[Spot], before: &Before, spread: f64, model: &Model) {
        let mut precision = self.prior(model);
        let mut right = vec![0.0; self.values.len()];
        let fading = f64::from(model.fading_db).powi(2);
        // A single reading has the whole spread; fading averages out within a spot, shadow does not.
        let shadow = (spread * spread - fading).max(fading / 4.0);
        let limit = f64::from(model.sensitivity_dbm) + CLEAR_DB;
        for spot in spots {
            let expected = self.expected(spot, before);
            let over = spot.mean_dbm - expected;
            let blur = self.exponent(before).powi(2) * spot.blur;
            let variance = shadow + fading / spot.count.max(1.0);
            let variance = side(over, model).powi(2) * variance + blur;
            let tails = f64::from(model.tails);
            let fits = (tails + 1.0) / (tails + over * over / variance);
            let clear = 1.0 / (1.0 + ((limit - expected) / CLEAR_EDGE_DB).exp());
            let weight = fits * clear / variance;
            let row = self.row(spot, before);
            let target = spot.mean_dbm - before.expected(spot);
            for (n, factor) in row {
                if let Some(sum) = right.get_mut(n) {
                    *sum += weight * factor * target;
                }
                for (m, other) in row {
                    precision.add(n, m, weight * factor * other);
                }
            }
        }
        self.covariance = precision.inverse();
        self.values = self.covariance.times(&right);
    }

    /// The spread of a second's readings, drawn towards the usual one.
    fn spread(
        &self,
        observed: &Observed,
        before: &Before,
        (spread, usual): (f64, f64),
        model: &Model,
    ) -> f64 {
        let tails = f64::from(model.tails);
        let blurred = self.exponent(before).powi(2);
        let (mut sum, mut count) = (0.0, 0.0);
        for second in &observed.seconds {
            let over = second.mean_dbm - self.expected(second, before);
            let variance = (side(over, model) * spread).powi(2) + blurred * second.blur;
            let square = over * over / variance;
            sum += (tails + 1.0) / (tails + square) * square;
            count += 1.0;
        }
        if count == 0.0 {
            return usual;
        }
        let measured = spread * spread * sum / count;
        let spots = super::observe::real(observed.spots.len());
        let drawn = (SPREAD_SPOTS * usual * usual + spots * measured) / (SPREAD_SPOTS + spots);
        drawn.sqrt().clamp(*SPREADS_DB.start(), *SPREADS_DB.end())
    }

    /// Offsets relative to each other: those of receivers that heard something have the mean that
    /// the configuration gives them, and the rest is the reference's.
    fn result(&self, observed: &Observed, before: &Before, spread: f64) -> Fit {
        let first = 2 + self.tags;
        let heard: Vec<usize> = (first..)
            .zip(observed.readings.iter().zip(&before.receivers))
            .filter(|(_, (readings, receiver))| **readings > 0 && receiver.reference.is_none())
            .map(|(n, _)| n)
            .collect();
        let share = 1.0 / super::observe::real(heard.len().max(1));
        let common = heard.iter().map(|n| self.value(*n)).sum::<f64>() * share;
        let of = |contrast: &[f64]| {
            let product = self.covariance.times(contrast);
            contrast.iter().zip(product).map(|(a, b)| a * b).sum::<f64>().max(0.0).sqrt()
        };
        let of_all = |n: usize| if heard.contains(&n) { share } else { 0.0 };
        let mean: Vec<f64> = (0..self.values.len()).map(of_all).collect();
        let nothing = vec![0.0; self.values.len()];
        let offset = |((n, before), readings): ((usize, &Configured), &u32)| {
            let (shared, mean) = match before.reference {
                None => (common, &mean),
                Some(_) => (0.0, &nothing),
            };
            let contrast = mean.iter().enumerate();
            let contrast = contrast.map(|(m, mean)| if m == n { 1.0 - mean } else { -mean });
            let contrast: Vec<f64> = contrast.collect();
            let known = if *readings > 0 { self.value(n) - shared } else { 0.0 };
            let db = (before.offset + known).clamp(-MOST_OFFSET_DB, MOST_OFFSET_DB);
            let error = if *readings > 0 { of(&contrast) } else { OFFSET_DB };
            Offset { db: single(db), error_db: single(error), readings: *readings }
        };
        let offsets =
            (first..).zip(&before.receivers).zip(&observed.readings).map(offset).collect();
        let reference: Vec<f64> =
            mean.iter().enumerate().map(|(m, mean)| if m == 0 { 1.0 } else { *mean }).collect();
        let (exponent, one_metre) =
            (self.exponent(before), before.reference + self.value(0) + common);
        Fit {
            scope: self.scope,
            law: Law {
                reference_dbm: single(one_metre.clamp(-100.0, -20.0)),
                exponent: single(exponent.clamp(1.0, 6.0)),
                spread_db: single(spread),
            },
            reference_error_db: single(of(&reference)),
            exponent_error: single(self.covariance.at(1, 1).max(0.0).sqrt()),
            offsets,
            spots: observed.spots.len(),
        }
    }
}

/// No receiver hears so much more or less than others, in dB: what a configuration may say.
pub(super) const MOST_OFFSET_DB: f64 = 40.0;

impl Before {
    fn expected(&self, spot: &Spot) -> f64 {
        let own = self.receivers.get(spot.receiver);
        let offset = own.map_or(0.0, |it| it.offset);
        let reference = own.and_then(|it| it.reference).unwrap_or(self.reference);
        let exponent = own.and_then(|it| it.exponent).unwrap_or(self.exponent);
        reference + offset - exponent * spot.tens - spot.walls_db
    }
}

impl Configured {
    fn of(receiver: &FloorReceiver) -> Self {
        Self {
            offset: f64::from(receiver.offset_db),
            reference: receiver.path_loss.reference_dbm.map(f64::from),
            exponent: receiver.path_loss.exponent.map(f64::from),
        }
    }
}

/// The spread to this side of the law, as a part of the whole.
fn side(over: f64, model: &Model) -> f64 {
    f64::from(if over > 0.0 { model.above } else { model.below })
}

impl Fit {
    /// A plan with what was fitted.
    pub fn applied(&self, plan: &FloorPlan) -> FloorPlan {
        let mut plan = plan.clone();
        for (receiver, offset) in plan.receivers.iter_mut().zip(&self.offsets) {
            receiver.offset_db = offset.db;
            receiver.offset_error_db = (offset.readings > 0).then_some(offset.error_db);
        }
        if self.scope == Scope::Full {
            self.law.apply(&mut plan);
        }
        plan
    }
}
