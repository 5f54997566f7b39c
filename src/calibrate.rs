//! How this shop's receivers hear: walks with known places in, a [`Calibration`] and its proof out.
//!
//! | part | in → out |
//! |---|---|
//! | `observe` | plan, walks → what each receiver heard from each spot |
//! | `fit`, `solve` | spots → offsets and the law of distance, and how sure they are |
//! | `prove`, `confusion` | walks → the estimator without and with them, on parts that were left out |
//! | `survey` | plan, law → dead spots, and where one more receiver would help most |
//! | `record` | advertisements of one tag → a walk |
//! | `file` | calibration ↔ a small TOML file |
//! | `table`, `document`, `plot` | all of it, for people and programs |
//!
//! Pure, but for `file`. Promises: few readings cannot make much of a difference, because everything
//! is drawn towards what stands in the configuration; and what does not help on parts that were left
//! out of the fit is not recommended.

mod confusion;
mod document;
mod file;
mod fit;
mod observe;
mod plot;
mod prove;
mod record;
mod solve;
mod survey;
mod table;
#[cfg(test)]
mod tests;

pub use confusion::Confusion;
pub use document::document;
pub use file::{CalibrationError, read, write as write_file};
pub use fit::{Fit, Offset, Scope};
pub use plot::draw;
pub use prove::{Proof, Trial};
pub use record::{Levels, Recording};
pub use survey::{DeadSpot, Suggestion, Survey, Weakness};
pub use table::write as write_table;

use observe::Part;

use crate::{
    engine::{
        ReceiverId, ZoneId,
        place::{FloorPlan, Method, Model, PathLoss},
    },
    evaluate::Walk,
};

/// What was found out about a shop's receivers, as it is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// How it came about.
    pub basis: Basis,
    /// How signals fall with distance; none where offsets alone helped more.
    pub law: Option<Law>,
    /// What each receiver hears more than others.
    pub receivers: Vec<CalibratedReceiver>,
    /// What was heard in each zone: for people, and for comparing with later.
    pub zones: Vec<Fingerprint>,
}

/// How a calibration came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Basis {
    /// When it was made, as RFC 3339 in UTC.
    pub made: String,
    /// From how many readings.
    pub readings: u32,
    /// From how many seconds.
    pub seconds: u32,
    /// From how many walks.
    pub walks: u32,
    /// Share of held-out seconds in the right zone without it, 0 to 1.
    pub right_without: f64,
    /// The same with it.
    pub right_with: f64,
}

/// How signals fall with distance in this shop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// Signal strength one metre from a carried tag, in dBm, -100 to -20.
    pub reference_dbm: f32,
    /// 10 times this many dB are lost for each tenfold of the distance, 1 to 6.
    pub exponent: f32,
    /// Spread of a second's readings about that, in dB, 1 to 15.
    pub spread_db: f32,
}

/// One receiver of a calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct CalibratedReceiver {
    /// Its name.
    pub id: ReceiverId,
    /// What it hears more than others, in dB, -40 to 40.
    pub offset_db: f32,
    /// How far off that may well be, in dB: one standard deviation.
    pub error_db: f32,
    /// From how many readings.
    pub readings: u32,
}

/// What was heard in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint {
    /// The zone.
    pub zone: ZoneId,
    /// How many seconds somebody was there.
    pub seconds: u32,
    /// Receiver by receiver; those that heard nothing there are left out.
    pub heard: Vec<Level>,
}

/// What one receiver heard in one zone.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The receiver.
    pub receiver: ReceiverId,
    /// The mean of its readings, in dBm.
    pub mean_dbm: f32,
    /// Their spread, in dB.
    pub spread_db: f32,
    /// How many there were.
    pub readings: u32,
}

/// Everything that was found out.
#[derive(Clone, Debug)]
pub struct Study {
    /// The names of the zones.
    pub zones: Vec<ZoneId>,
    /// How many walks there were.
    pub walks: u32,
    /// How many readings of receivers on the plan.
    pub readings: u32,
    /// What fits all walks together.
    pub fit: Fit,
    /// How well it does on what it was not fitted to.
    pub proof: Proof,
    /// What was heard in each zone, in the order of the plan.
    pub fingerprints: Vec<Fingerprint>,
    /// What the plan promises; none without positions.
    pub survey: Option<Survey>,
}

/// Finds everything out. `plan` is the plan without a calibration.
pub fn study(plan: &FloorPlan, zones: &[ZoneId], walks: &[Walk]) -> Study {
    let model = Model::default();
    let proof = prove::prove(plan, walks, &model);
    let parts: Vec<Part<'_>> = Part::whole(walks);
    let scope = proof.recommended().unwrap_or(Scope::Offsets);
    let fit = fit::fit(plan, &parts, &model, scope);
    let fingerprints = observe::fingerprints(plan, zones, walks);
    let best = if proof.recommended().is_some() { fit.applied(plan) } else { plan.clone() };
    let survey = (plan.method() == Method::Plan).then(|| survey::survey(&best, &model)).flatten();
    let readings = fit.offsets.iter().map(|offset| offset.readings).sum();
    let count = u32::try_from(walks.len()).unwrap_or(u32::MAX);
    Study { zones: zones.to_vec(), walks: count, readings, fit, proof, fingerprints, survey }
}

// === impl Study ===

impl Study {
    /// The calibration that is recommended; none when none helps.
    pub fn calibration(&self, plan: &FloorPlan, made: String) -> Option<Calibration> {
        let scope = self.proof.recommended()?;
        let seconds = self.fingerprints.iter().map(|it| it.seconds).sum();
        let receivers = plan.receivers.iter().zip(&self.fit.offsets);
        let receivers = receivers.filter(|(_, offset)| offset.readings > 0);
        Some(Calibration {
            basis: Basis {
                made,
                readings: self.readings,
                seconds,
                walks: self.walks,
                right_without: self.proof.nothing.score.share_right(),
                right_with: self.proof.trial(scope).score.share_right(),
            },
            law: (scope == Scope::Full).then_some(self.fit.law),
            receivers: receivers
                .map(|(receiver, offset)| CalibratedReceiver {
                    id: receiver.id.clone(),
                    offset_db: offset.db,
                    error_db: offset.error_db,
                    readings: offset.readings,
                })
                .collect(),
            zones: self.fingerprints.iter().filter(|it| it.seconds > 0).cloned().collect(),
        })
    }
}

// === impl Calibration ===

impl Calibration {
    /// Puts it on a plan, in the place of what the plan says.
    pub fn apply(&self, plan: &mut FloorPlan) {
        for known in &self.receivers {
            let named = plan.receivers.iter_mut().find(|receiver| receiver.id == known.id);
            if let Some(receiver) = named {
                receiver.offset_db = known.offset_db;
                receiver.offset_error_db = Some(known.error_db);
            }
        }
        if let Some(law) = self.law {
            law.apply(plan);
        }
    }

    /// The receivers that a plan does not know.
    pub fn strangers<'a>(&'a self, plan: &'a FloorPlan) -> impl Iterator<Item = &'a str> {
        let known = |id: &ReceiverId| plan.receivers.iter().any(|receiver| receiver.id == *id);
        self.receivers.iter().map(|it| &it.id).filter(move |id| !known(id)).map(ReceiverId::as_str)
    }
}

impl Law {
    fn apply(self, plan: &mut FloorPlan) {
        plan.path_loss = PathLoss {
            exponent: Some(self.exponent),
            reference_dbm: Some(self.reference_dbm),
            spread_db: Some(self.spread_db),
        };
    }
}
