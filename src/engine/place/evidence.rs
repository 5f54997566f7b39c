//! What one step's readings say about where somebody is.
//!
//! Readings are gathered receiver by receiver; at the end of the step each receiver's mean becomes a
//! likelihood for every cell, by way of a table over the losses that are told apart. A receiver that
//! works and did not hear a tag that others heard is evidence too. How strong a tag is, and how well
//! each receiver hears it, is learned on the way.

use super::{
    floor::Method,
    ground::{Ground, LEVELS, loss_of_level},
    guess::Guess,
    home::Home,
    model::Model,
};

/// What one receiver heard of a subject in the present step.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    sum_dbm: f32,
    count: u16,
    /// The last reading.
    last_dbm: Option<f32>,
    /// What was usual in the last seconds.
    usual_dbm: Option<f32>,
}

/// The readings of one subject, and what was learned of its tag.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    heard: Vec<Heard>,
    /// How much stronger than assumed the tag is, in dB.
    tag: Guess,
    /// How much better than assumed each receiver hears it, in dB.
    receivers: Vec<Guess>,
    /// How often the tag is heard by whoever hears it best, a step.
    pace: f32,
    /// Variance between readings that follow each other at once: fading.
    fading: f32,
    /// Whether it is still where it was.
    pub(super) home: Home,
}

/// Room to work in, shared by all subjects.
#[derive(Debug)]
pub(super) struct Tables {
    table: Box<[f32; LEVELS]>,
    /// For each cell: first the logarithm of a likelihood, then the weight of those who walk.
    pub(super) likelihood: Vec<f32>,
    /// For each cell the weight of those who stand.
    pub(super) standing: Vec<f32>,
}

/// A reading never says more than this about the strength of a tag or receiver, in dB: it may be a
/// body's.
const MOST_SURPRISE_DB: f32 = 15.0;

/// How much one step moves the count of readings a step.
const PACE_WEIGHT: f32 = 0.1;

/// How soft the edge of a receiver's hearing is, in dB: fading of 3 to 6 dB blurs it.
const EDGE_DB: f32 = 5.0;

/// How much one reading moves the measure of fading.
const FADING_WEIGHT: f32 = 0.02;

/// Fading is never taken to be less than this, as a variance in dB²: readings are whole numbers…
const LEAST_FADING: f32 = 2.0;

/// … nor more than this: a single reading that is 14 dB off is a lost channel.
const MOST_FADING: f32 = 100.0;

/// How much one step moves what is usual: the last seven seconds or so count.
const USUAL_WEIGHT: f32 = 0.15;

/// A step never says more than this about standing or walking, as a natural logarithm.
const MOST_STANCE: f32 = 2.0;

/// How far a receiver's sensitivity drifts in a second, in dB: it hangs still.
const RECEIVER_DRIFT_DB: f32 = 0.01;

impl Tables {
    pub(super) fn new() -> Self {
        Self { table: Box::new([0.0; LEVELS]), likelihood: Vec::new(), standing: Vec::new() }
    }

    /// Turns logarithms into weights, for those who walk and those who stand. Those who stand are
    /// weighed more gently, by this part, but neither gains by that: only `stance` favours one over the
    /// other.
    pub(super) fn temper(&mut self, belief: &[f32], stance: f32, gentler: f32) {
        let most = self.likelihood.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        self.standing.clear();
        self.standing.extend(self.likelihood.iter().map(|it| ((it - most) * gentler).exp()));
        let (mut walked, mut stood) = (0.0, 0.0);
        let count = self.likelihood.len().max(1);
        for weight in &mut self.likelihood {
            *weight = (*weight - most).exp();
        }
        for mode in belief.chunks_exact(count) {
            for ((belief, walking), standing) in
                mode.iter().zip(&self.likelihood).zip(&self.standing)
            {
                walked += belief * walking;
                stood += belief * standing;
            }
        }
        let scale = if stood > 0.0 { walked / stood * stance.exp() } else { 1.0 };
        self.standing.iter_mut().for_each(|weight| *weight *= scale);
    }
}

impl Evidence {
    pub(super) fn new(ground: &Ground, model: &Model) -> Self {
        let known = |receiver| Guess::within(ground.law(receiver).offset_error_db);
        Self {
            heard: vec![Heard::default(); ground.receivers()],
            tag: Guess::within(model.tag_db),
            receivers: (0..ground.receivers()).map(known).collect(),
            pace: 1.0,
            fading: model.fading_db * model.fading_db,
            home: Home::new(ground.receivers()),
        }
    }

    /// Takes in a reading. Constant time, no allocation.
    pub(super) fn hear(&mut self, receiver: usize, rssi_dbm: f32) {
        if let Some(heard) = self.heard.get_mut(receiver) {
            heard.sum_dbm += rssi_dbm;
            heard.count = heard.count.saturating_add(1);
            if let Some(last) = heard.last_dbm.replace(rssi_dbm) {
                let half = (rssi_dbm - last) * (rssi_dbm - last) / 2.0;
                self.fading += FADING_WEIGHT * (half.min(MOST_FADING) - self.fading);
            }
        }
    }

    /// Whether anything was heard in this step.
    pub(super) fn is_any(&self) -> bool {
        self.heard.iter().any(|heard| heard.count > 0)
    }

    /// Weighs the step's readings; the result is in `tables.likelihood`, up to a constant. `works`
    /// says of each receiver whether it was heard from; `corrections` what is known of each by now.
    pub(super) fn weigh(
        &mut self,
        ground: &Ground,
        model: &Model,
        works: impl Fn(usize) -> bool,
        corrections: &[f32],
        tables: &mut Tables,
    ) {
        tables.likelihood.clear();
        tables.likelihood.resize(ground.cells(), 0.0);
        let most = self.heard.iter().map(|heard| heard.count).max().unwrap_or(0);
        if most == 0 {
            return;
        }
        self.pace += PACE_WEIGHT * (f32::from(most) - self.pace);
        if ground.method == Method::Nearest {
            self.compare(ground, (model, corrections), works, &mut tables.likelihood);
            return;
        }
        let tag = self.tag;
        let all = self.heard.iter().zip(&self.receivers).zip(corrections).enumerate();
        for (receiver, ((heard, known), correction)) in all {
            if !ground.is_useful(receiver) {
                continue;
            }
            let law = ground.law(receiver);
            let at_one_metre = law.one_metre_dbm + tag.mean + known.mean + correction;
            if heard.count > 0 {
                let count = f32::from(heard.count);
                let mean = heard.sum_dbm / count;
                let spread = (law.spread_db * law.spread_db + known.variance + tag.variance).sqrt();
                let weight = model.temper * model.step.as_secs_f32() * count.powf(model.repeats);
                fill_reading(&mut tables.table, mean - at_one_metre, spread, weight, model);
            } else if works(receiver) {
                fill_silence(&mut tables.table, at_one_metre, self.pace, model);
            } else {
                continue;
            }
            let levels = ground.levels(receiver);
            for (sum, level) in tables.likelihood.iter_mut().zip(levels) {
                *sum += tables.table.get(usize::from(*level)).copied().unwrap_or(0.0);
            }
        }
    }

    /// Without positions: somebody is near whoever hears best, and the less likely near another the
    /// fainter that one hears. Who is not known to work is as likely as a middling one.
    fn compare(
        &self,
        ground: &Ground,
        (model, corrections): (&Model, &[f32]),
        works: impl Fn(usize) -> bool,
        likelihood: &mut [f32],
    ) {
        let mean = |(receiver, (heard, correction)): (usize, (&Heard, &f32))| {
            let offset = ground.law(receiver).offset_db + correction;
            (heard.count > 0).then(|| heard.sum_dbm / f32::from(heard.count) - offset)
        };
        let means = || self.heard.iter().zip(corrections).enumerate().map(mean);
        let loudest = means().flatten().fold(f32::NEG_INFINITY, f32::max);
        // Two readings are compared, each with its own shadow.
        let spread = std::f32::consts::SQRT_2 * model.shadowing_db;
        let weight = model.comparison * model.step.as_secs_f32();
        for (receiver, (mean, entry)) in means().zip(likelihood).enumerate() {
            let fainter = match mean {
                Some(mean) => loudest - mean,
                None if works(receiver) => (loudest - model.sensitivity_dbm).max(0.0),
                None => spread,
            };
            let z = fainter / spread;
            *entry = -weight * (model.tails + 1.0) / 2.0 * (z * z / model.tails).ln_1p();
        }
    }

    /// How much more likely the step's readings are of somebody who stands than of somebody who walks,
    /// as a natural logarithm: who stands is heard as before, but for fading.
    pub(super) fn stands(&self, model: &Model) -> f32 {
        let fading = self.fading.clamp(LEAST_FADING, MOST_FADING);
        let moved = model.walking_db * model.walking_db;
        let mut sum = 0.0;
        for heard in &self.heard {
            let (Some(usual), 1..) = (heard.usual_dbm, heard.count) else { continue };
            let count = f32::from(heard.count);
            let change = heard.sum_dbm / count - usual;
            let stood = fading * (1.0 / count + USUAL_WEIGHT / 2.0);
            let walked = stood + moved;
            let square = change * change;
            let likelier = (walked / stood).ln() - square / stood + square / walked;
            sum += 0.5 * likelier;
        }
        (sum * model.temper).clamp(-MOST_STANCE, MOST_STANCE)
    }

    /// Finds out by the step's readings whether the tag is still where it was. Gives the place, cell by
    /// cell, when it is found where it had seemed to leave.
    pub(super) fn settle(&mut self) -> Option<&[f32]> {
        let mean =
            |heard: &Heard| (heard.count > 0).then(|| heard.sum_dbm / f32::from(heard.count));
        let fading = self.fading.clamp(LEAST_FADING, MOST_FADING);
        self.home.step(self.heard.iter().map(mean), fading)
    }

    /// Learns the strengths of tag and receivers from where somebody is now believed to be, and
    /// begins a new step. The gain is a Kalman filter's, shared between what may be the cause.
    pub(super) fn learn(
        &mut self,
        ground: &Ground,
        model: &Model,
        (cells, weight): (&[f32], f32),
        corrections: &[f32],
    ) {
        let seconds = model.step.as_secs_f32();
        let most_tag = model.tag_db * model.tag_db;
        let most_receiver = model.receiver_db * model.receiver_db;
        let all = self.heard.iter_mut().zip(&mut self.receivers).zip(corrections).enumerate();
        for (receiver, ((heard, known), correction)) in all {
            let (sum_dbm, count) = (heard.sum_dbm, heard.count);
            (heard.sum_dbm, heard.count) = (0.0, 0);
            known.drift(RECEIVER_DRIFT_DB, seconds, most_receiver);
            if count == 0 {
                continue;
            }
            let mean = sum_dbm / f32::from(count);
            let usual = heard.usual_dbm.unwrap_or(mean);
            heard.usual_dbm = Some(usual + USUAL_WEIGHT * (mean - usual));
            if !ground.is_useful(receiver) {
                continue;
            }
            let (expected, spread) = expected_loss(ground.levels(receiver), cells);
            let law = ground.law(receiver);
            let noise = law.spread_db * law.spread_db / weight.max(0.01);
            let assumed = law.one_metre_dbm + self.tag.mean + known.mean + correction;
            let surprise = mean - assumed + expected + law.skew_db(model);
            let surprise = surprise.clamp(-MOST_SURPRISE_DB, MOST_SURPRISE_DB);
            let doubt = self.tag.variance + known.variance + noise + spread;
            self.tag.correct(surprise, doubt);
            known.correct(surprise, doubt);
        }
        self.tag.drift(model.tag_drift_db, seconds, most_tag);
    }
}

/// A reading's likelihood for each loss: Student's t about the law, wider below it than above.
fn fill_reading(table: &mut [f32; LEVELS], over_law: f32, spread: f32, weight: f32, model: &Model) {
    let (above, below) = (1.0 / (spread * model.above), 1.0 / (spread * model.below));
    let tails = model.tails;
    for (level, entry) in table.iter_mut().enumerate() {
        let over = over_law + loss_of_level(level);
        let z = over * if over > 0.0 { above } else { below };
        *entry = -weight * (tails + 1.0) / 2.0 * (z * z / tails).ln_1p();
    }
}

/// The likelihood that a receiver missed all advertisements of a step, for each loss.
fn fill_silence(table: &mut [f32; LEVELS], at_one_metre: f32, pace: f32, model: &Model) {
    for (level, entry) in table.iter_mut().enumerate() {
        let expected = at_one_metre - loss_of_level(level);
        let audible = 1.0 / (1.0 + ((model.sensitivity_dbm - expected) / EDGE_DB).exp());
        let missed = (1.0 - model.heard_nearby * audible).ln() * pace.min(1.0 / model.heard_nearby);
        *entry = (model.temper * missed).max(-model.silence_at_most);
    }
}

/// Mean and variance of the loss to one receiver over a belief.
fn expected_loss(levels: &[u8], cells: &[f32]) -> (f32, f32) {
    let zero = loss_of_level(0);
    let step = loss_of_level(1) - zero;
    let (mut first, mut second) = (0.0, 0.0);
    for (level, probability) in levels.iter().zip(cells) {
        let level = f32::from(*level);
        first += probability * level;
        second += probability * level * level;
    }
    (zero + step * first, step * step * (second - first * first).max(0.0))
}
