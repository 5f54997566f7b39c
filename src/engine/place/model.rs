//! The numbers of the estimator, each with where it comes from. None was fitted to a shop.

use std::time::Duration;

/// What is assumed of people, bodies and radios. The defaults need no tuning.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// How often beliefs move on. A person takes a step or two in it, and a tag is heard a few times.
    pub step: Duration,
    /// Signal strength one metre from a tag that a person carries, in dBm, before anything is
    /// learned: tags send 0 to -4 dBm, which is about -55 dBm at a metre in the open (Friis, antennas
    /// of -8 dBi together), and the body takes some of it.
    pub one_metre_dbm: f32,
    /// How fast it falls: 10 n dB for each tenfold of the distance. Shops measure 1.8 to 2.2
    /// (Rappaport, Wireless Communications, table 4.6), rooms in line of sight 1.6 to 1.8.
    pub exponent: f32,
    /// Height of a carried tag above the floor, in metres: a pocket, a bag, a hand, a trolley.
    pub height: f32,
    /// Spread of a reading about the law, in dB: 3 to 8.7 indoors (the same table).
    pub shadowing_db: f32,
    /// A signal is less often stronger than the law than weaker, because bodies and shelves only
    /// take: the spread above the expectation as a part of [`Model::shadowing_db`]…
    pub above: f32,
    /// … and below it.
    pub below: f32,
    /// Degrees of freedom of the distribution of readings (Student's t): turned backs and passing
    /// trolleys make tails; 10 has a kurtosis of 4, recorded walks have 3.3.
    pub tails: f32,
    /// What a second's readings of one receiver weigh, against as many independent ones. Shadows
    /// last longer than a second.
    pub temper: f32,
    /// The same for somebody who stands: the shadows stand as well.
    pub standing_temper: f32,
    /// Spread of readings that follow each other at once, in dB, before it was measured.
    pub fading_db: f32,
    /// How much a step speaks for standing when it is certain that somebody stands, as a natural
    /// logarithm.
    pub settled_stance: f32,
    /// By how much a signal changes in a few seconds of walking, in dB: distance, shadows, body.
    pub walking_db: f32,
    /// Several readings of one receiver in a step weigh `count ^ repeats` of one: their fading
    /// differs, their shadow does not.
    pub repeats: f32,
    /// Spread of the tags' strengths about [`Model::one_metre_dbm`], in dB: models, batteries,
    /// pockets.
    pub tag_db: f32,
    /// Spread of the receivers' sensitivities, in dB: antennas, cases, how they hang.
    pub receiver_db: f32,
    /// How far a tag's strength may drift in a second, in dB: people put it elsewhere.
    pub tag_drift_db: f32,
    /// The walking speeds that are told apart, in metres a second: shoppers browse at 0.3 to 0.6 and
    /// walk at 1.2 (Fruin, Pedestrian Planning and Design).
    pub speeds: [f32; 2],
    /// Part of those who stand that set off in a second: they stand for some 50 s.
    pub set_off: f32,
    /// Part of those who walk that stop in a second: they walk for some 30 s.
    pub stop: f32,
    /// Part of those who walk that turn by 45° in a second, to each side.
    pub turn: f32,
    /// Part of those who walk that change between the speeds in a second.
    pub change_pace: f32,
    /// Part of those who walk that set off anywhere else in a second.
    pub about_face: f32,
    /// Without positions: the part that goes to another receiver's surroundings in a second.
    pub wander: f32,
    /// Without positions: what a second's comparison of all receivers weighs, against one of two
    /// independent readings. With a dozen receivers several are near enough to say something.
    pub comparison: f32,
    /// Signal strength at which every second advertisement is lost, in dBm.
    pub sensitivity_dbm: f32,
    /// At most this part of the advertisements is heard from nearby: receivers hop between channels
    /// and are busy.
    pub heard_nearby: f32,
    /// Silence never counts for more than this against a place (a natural logarithm): whatever
    /// stands between may take all.
    pub silence_at_most: f32,
    /// The expected seconds in the right zone that announcing a change must bring: what a change
    /// that was none costs.
    pub worth_s: f32,
    /// The same for the first zone, before which none is announced.
    pub first_worth_s: f32,
    /// By how much a zone must be more probable than the announced one for time to count for it…
    pub lead: f32,
    /// … by how much more when it is certain that they stand…
    pub standing_lead: f32,
    /// … and by how much more when all receivers hear them as they did for minutes…
    pub unmoved_lead: f32,
    /// … but never by more than this: whoever is nearly sure is announced in the end.
    pub most_lead: f32,
    /// A zone less probable than this for a while is not known to be it.
    pub thin: f32,
    /// How long, in seconds of full certainty, until `unknown` is announced.
    pub unknown_worth_s: f32,
    /// Heard by nobody for this long, nothing more is concluded.
    pub fades_after: Duration,
    /// The grid is as fine as this, in metres…
    pub finest_m: f32,
    /// … unless the shop would have more cells than this.
    pub most_cells: usize,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(1),
            one_metre_dbm: -59.0,
            exponent: 1.8,
            height: 1.2,
            shadowing_db: 5.5,
            above: 0.75,
            below: 1.15,
            tails: 10.0,
            temper: 0.5,
            standing_temper: 0.15,
            fading_db: 4.0,
            settled_stance: 2.0,
            walking_db: 3.0,
            repeats: 0.3,
            tag_db: 3.0,
            receiver_db: 3.0,
            tag_drift_db: 0.1,
            speeds: [0.5, 1.2],
            set_off: 0.02,
            stop: 0.03,
            turn: 0.05,
            change_pace: 0.05,
            about_face: 0.02,
            wander: 0.1,
            comparison: 3.0,
            sensitivity_dbm: -94.0,
            heard_nearby: 0.7,
            silence_at_most: 1.5,
            worth_s: 0.3,
            first_worth_s: 0.5,
            lead: 0.1,
            standing_lead: 0.2,
            unmoved_lead: 0.8,
            most_lead: 0.9,
            thin: 0.15,
            unknown_worth_s: 3.0,
            fades_after: Duration::from_secs(30),
            finest_m: 0.75,
            most_cells: 1200,
        }
    }
}
