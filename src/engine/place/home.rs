//! Has somebody moved at all? What receivers hear now against what they heard since somebody came to
//! stand: readings in, how sure it is that a tag is still where it was out.
//!
//! Wherever a tag lies, shadows and reflections make each receiver hear it louder or fainter than the
//! law says, and the belief may be wrong by metres; but as long as it lies there, all of them hear it
//! as before. So the place where somebody stands has a signature, which is the better known the longer
//! they stand. Who passes, or stands in the way, changes what one or two receivers hear for a while;
//! who walks off changes them all for good. Two hypotheses are weighed against each other step by
//! step (a hidden Markov model of two states), and the longer somebody has stood, the less likely they
//! go in the next second: half of those who stood for a minute stand for another one.
//!
//! What stands still teaches nothing new: its shadows are the same a minute later. So the belief of
//! who surely stands is kept as it is, and whoever is heard again exactly as at the place that they
//! seemed to have left is there again.

/// What one receiver heard at a place where somebody stood.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// In dBm.
    mean: f32,
    /// In so many steps.
    steps: f32,
    /// How much what is heard now wavers about it, in dB², fading left out: waves that people
    /// scatter waver more for one receiver than for another, and in a crowd.
    wavers: f32,
}

/// What one receiver hears of a subject.
#[derive(Clone, Copy, Debug, Default)]
struct Ear {
    /// In the last seconds, in dBm.
    now: f32,
    /// How much of that is fresh, 0 to 1.
    fresh: f32,
    /// Since they came to stand; none as long as it has heard nothing.
    home: Option<Level>,
    /// Where they stood before.
    former: Option<Level>,
}

/// A place where somebody stands, or stood.
#[derive(Clone, Debug)]
struct Stay {
    /// For so many steps.
    steps: f32,
    /// The odds that they are there now, as a natural logarithm.
    odds: f32,
    /// What was believed of the place, cell by cell, when they surely stood there; empty before.
    place: Vec<f32>,
}

/// Whether a subject is still where it was.
#[derive(Clone, Debug)]
pub(super) struct Home {
    ears: Vec<Ear>,
    stay: Stay,
    /// The last place where they surely stood, and how many steps ago they seemed to leave.
    former: Option<(Stay, f32)>,
    /// Steps since they were found to be there after all.
    returned: f32,
}

/// How much a step moves what is heard now: the last three seconds count.
const NOW: f32 = 0.3;

/// A receiver that heard nothing for some four steps says nothing…
const FRESH: f32 = 0.2;

/// … and after ten begins anew.
const STALE: f32 = 0.03;

/// What was heard since somebody came to stand is a mean of at most so many steps: batteries and
/// goods change within hours.
const MOST_STEPS: f32 = 600.0;

/// What people who walk about do to reflections, in dB², before it was measured…
const WAVERS: f32 = 1.0;

/// … which weighs as much as so many steps of measuring…
const WAVERS_STEPS: f32 = 60.0;

/// … and is never taken to be more, in dB²: as much as moving does.
const MOST_WAVERS: f32 = 16.0;

/// By how much a signal differs after some metres, in dB: distance, shadows, the own body…
const MOVED_DB: f32 = 4.0;

/// … which those who browse have gone within so many steps.
const MOVED_STEPS: f32 = 20.0;

/// In this part of the time somebody stands in the way of one receiver…
const PASSERS: f32 = 0.1;

/// … and takes about so much, in dB.
const PASSER_DB: f32 = 6.0;

/// What a step says weighs so much: what is heard now is a mean of three seconds, and who stands in
/// the way stays for some ten.
const WEIGHT: f32 = 0.1;

/// Who has stood for so long goes within as long again in half of the cases, but for the first
/// twenty steps…
const SETTLING_STEPS: f32 = 20.0;

/// … and whoever stands, goes within about so many: an hour.
const LONGEST_STEPS: f32 = 3600.0;

/// Odds (natural logarithm) of 20 to 1 count as certain.
const CERTAIN: f32 = 3.0;

/// Odds are never taken to be better than this: nobody is that sure of a model.
const MOST_ODDS: f32 = 10.0;

/// Half of what standing is worth is reached after so many steps: a slow walk sounds the same for
/// the first seconds, and most who stop go on soon.
const MATURE_STEPS: f32 = 60.0;

/// The shadows of who stands are known after so many steps…
const NEWS_STEPS: f32 = 20.0;

/// … and what is heard from then on weighs this part.
const LEAST_NEWS: f32 = 0.01;

/// The place somebody seemed to leave is forgotten after so many steps…
const FORMER_STEPS: f32 = 300.0;

/// … and so many steps after they were found to be there, nothing stands against saying so.
const RETURNED_STEPS: f32 = 10.0;

impl Level {
    fn new(dbm: f32) -> Self {
        Self { mean: dbm, steps: 1.0, wavers: WAVERS }
    }

    /// How much likelier what is heard now is of somebody who is here than of somebody who has moved,
    /// as a natural logarithm. `moved` is the variance that moving makes, `fading` that of a reading.
    fn likelier(&self, ear: &Ear, moved: f32, fading: f32) -> f32 {
        let change = ear.now - self.mean;
        let square = change * change;
        let noise = fading * (kept(NOW) / ear.fresh.min(1.0) + 1.0 / self.steps);
        let here = self.wavers + noise;
        let gone = here + moved;
        let density = |variance: f32| (-square / variance / 2.0).exp() / variance.sqrt();
        let either = |variance: f32| {
            let passed = density(variance + PASSER_DB * PASSER_DB);
            ((1.0 - PASSERS) * density(variance) + PASSERS * passed).max(f32::MIN_POSITIVE)
        };
        (either(here) / either(gone)).ln()
    }

    /// Learns from what is heard now, as far as they are still here.
    fn learn(&mut self, ear: &Ear, here: f32, fading: f32) {
        self.steps = (self.steps + 1.0).min(MOST_STEPS);
        let change = ear.now - self.mean;
        self.mean += here / self.steps * change;
        let change = ear.now - self.mean;
        let wavers = (change * change - fading * kept(NOW)).clamp(0.0, 2.0 * MOST_WAVERS);
        let weight = here / (self.steps + WAVERS_STEPS).min(MOST_STEPS);
        self.wavers += weight * (wavers - self.wavers);
        self.wavers = self.wavers.clamp(WAVERS, MOST_WAVERS);
    }
}

impl Ear {
    /// Takes in a step's mean, in dBm.
    fn hear(&mut self, dbm: Option<f32>) {
        self.fresh *= 1.0 - NOW;
        let Some(dbm) = dbm else { return };
        if self.fresh < STALE {
            (self.now, self.fresh) = (dbm, 0.0);
        }
        self.fresh += NOW;
        self.now += NOW / self.fresh * (dbm - self.now);
        self.home.get_or_insert(Level::new(dbm));
    }

    fn is_fresh(&self) -> bool {
        self.fresh > FRESH
    }
}

impl Stay {
    fn new() -> Self {
        Self { steps: 0.0, odds: 0.0, place: Vec::new() }
    }

    /// The probability that they are here, 0 to 1.
    fn probable(&self) -> f32 {
        1.0 / (1.0 + (-self.odds).exp())
    }

    /// Takes in what a step says, after so many left and so many came back.
    fn step(&mut self, left: f32, came: f32, likelier: f32) {
        let before = self.probable();
        let here = (before * (1.0 - left) + (1.0 - before) * came).clamp(1e-6, 1.0 - 1e-6);
        let odds = (here / (1.0 - here)).ln() + WEIGHT * likelier;
        self.odds = odds.clamp(-2.0 * CERTAIN, MOST_ODDS);
    }
}

impl Home {
    pub(super) fn new(receivers: usize) -> Self {
        Self {
            ears: vec![Ear::default(); receivers],
            stay: Stay::new(),
            former: None,
            returned: RETURNED_STEPS,
        }
    }

    /// Takes in what each receiver heard in a step, in dBm. `fading` is the variance of a reading, in
    /// dB². Gives the place, cell by cell, when somebody is found to be where they had seemed to leave.
    pub(super) fn step(
        &mut self,
        means: impl Iterator<Item = Option<f32>>,
        fading: f32,
    ) -> Option<&[f32]> {
        let Self { ears, stay, former, returned } = self;
        let moved = MOVED_DB * MOVED_DB;
        let so_far = moved * (stay.steps / MOVED_STEPS).min(1.0);
        let (mut here, mut there) = (0.0, 0.0);
        for (ear, mean) in ears.iter_mut().zip(means) {
            ear.hear(mean);
            if ear.is_fresh() {
                let of = |level: Option<Level>, moved| {
                    level.map_or(0.0, |level| level.likelier(ear, moved, fading))
                };
                here += of(ear.home, so_far);
                there += of(ear.former, moved);
            }
        }
        stay.step(1.0 / (stay.steps + SETTLING_STEPS).min(LONGEST_STEPS), 0.0, here);
        stay.steps += 1.0;
        *returned += 1.0;
        let mut is_back = false;
        if let Some((place, since)) = former {
            *since += 1.0;
            place.step(1.0 / FORMER_STEPS, 1.0 / FORMER_STEPS, there);
            is_back = place.odds > CERTAIN;
            if *since > FORMER_STEPS {
                *former = None;
            }
        }
        if is_back && let Some((place, _)) = former.take() {
            *stay = place;
            *returned = 0.0;
            for ear in ears {
                ear.home = ear.former.take().or(ear.home);
            }
            return Some(&self.stay.place);
        }
        if stay.odds < -CERTAIN {
            self.leave();
        } else {
            let probable = stay.probable();
            for ear in ears.iter_mut().filter(|ear| ear.is_fresh()) {
                if let Some(mut home) = ear.home {
                    home.learn(ear, probable, fading);
                    ear.home = Some(home);
                }
            }
        }
        None
    }

    /// They have moved: whatever is heard now is the beginning of another stay.
    fn leave(&mut self) {
        let left = std::mem::replace(&mut self.stay, Stay::new());
        let longer = self.former.as_ref().is_none_or(|(former, _)| former.steps < left.steps);
        let keep = !left.place.is_empty() && longer;
        for ear in &mut self.ears {
            if keep {
                ear.former = ear.home;
            }
            ear.home = ear.home.map(|_| Level::new(ear.now));
        }
        if keep {
            self.former = Some((left, 0.0));
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Self::new(self.ears.len());
    }

    /// How sure it is that they stand, and have for long, 0 to 1.
    pub(super) fn settled(&self) -> f32 {
        let steps = self.stay.steps / MATURE_STEPS;
        self.stay.probable() * steps * steps / (1.0 + steps * steps)
    }

    /// How much stands against announcing that they have moved, 0 to 1.
    pub(super) fn stays(&self) -> f32 {
        if self.returned < RETURNED_STEPS { 0.0 } else { self.settled() }
    }

    /// How much of what is heard of somebody who stands is news, 0 to 1.
    pub(super) fn news(&self) -> f32 {
        let left = (-self.stay.steps / NEWS_STEPS).exp().max(LEAST_NEWS);
        1.0 - self.settled() * (1.0 - left)
    }

    /// Keeps what is believed of the place, as long as they surely stand there: now and then.
    pub(super) fn remember(&mut self, cells: &[f32]) {
        if self.settled() > 0.5 && self.stay.odds > CERTAIN && self.stay.steps % 16.0 < 1.0 {
            self.stay.place.clear();
            self.stay.place.extend_from_slice(cells);
        }
    }
}

/// The part of a variance that an exponential mean of this weight keeps.
const fn kept(weight: f32) -> f32 {
    weight / (2.0 - weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FADING: f32 = 16.0;

    /// Fading that is the same each time.
    fn ripple(step: u16, receiver: u16) -> f32 {
        f32::from((step * 7 + receiver * 3) % 11) - 5.0
    }

    /// What receivers hear for so many steps; whether somebody was found to be back.
    fn hear(home: &mut Home, levels: &[f32], steps: u16) -> bool {
        let mut back = false;
        for step in 0..steps {
            let heard = (0..).zip(levels).map(|(n, level)| Some(level + ripple(step, n)));
            back |= home.step(heard, FADING).is_some();
            home.remember(&[0.25, 0.75]);
        }
        back
    }

    fn stood(levels: &[f32]) -> Home {
        let mut home = Home::new(levels.len());
        hear(&mut home, levels, 600);
        assert!(home.settled() > 0.9, "{}", home.settled());
        home
    }

    #[test]
    fn who_stands_in_the_way_of_one_receiver_of_four_moves_nobody_and_who_walks_off_has_moved() {
        let mut home = stood(&[-70.0; 4]);
        hear(&mut home, &[-80.0, -70.0, -70.0, -70.0], 120);
        assert!(home.settled() > 0.8, "{} behind a passer", home.settled());
        hear(&mut home, &[-78.0, -62.0, -79.0, -61.0], 15);
        assert!(home.settled() < 0.2, "{} after 15 s", home.settled());
    }

    #[test]
    fn the_first_seconds_say_nothing_and_a_slow_walk_never_settles() {
        let mut home = Home::new(4);
        hear(&mut home, &[-70.0; 4], 10);
        assert!(home.settled() < 0.1 && home.news() > 0.9);
        let mut most = 0.0_f32;
        for metre in 0..60_u8 {
            // Half a metre a second past receivers 8 m apart: some 10 dB in a quarter of a minute.
            let wave = |n: f32| -70.0 + 7.0 * (f32::from(metre) / 4.0 + n * 1.5).sin();
            hear(&mut home, &[0.0, 1.0, 2.0, 3.0].map(wave), 2);
            most = most.max(home.settled());
        }
        assert!(most < 0.3, "{most}");
    }

    #[test]
    fn who_is_heard_as_at_the_place_they_seemed_to_leave_is_there_again() {
        let levels = [-70.0, -64.0, -77.0, -81.0];
        let mut home = stood(&levels);
        assert!(!hear(&mut home, &[-86.0, -64.0, -90.0, -92.0], 40), "three are in the way");
        assert!(home.settled() < 0.2);
        assert!(hear(&mut home, &levels, 60));
        assert!(home.settled() > 0.9);
        assert!(!hear(&mut home, &[-60.0, -75.0, -68.0, -70.0], 60), "elsewhere");
        assert!(home.settled() < 0.7);
    }

    #[test]
    fn nothing_that_is_heard_leads_out_of_bounds() {
        let mut home = Home::new(2);
        for step in 0..2000_u16 {
            let dbm = [-127.0, 20.0, -60.0][usize::from(step % 3)];
            let heard = [(step % 7 > 0).then_some(dbm), (step % 50 == 0).then_some(-dbm)];
            home.step(heard.into_iter(), [2.0, 100.0][usize::from(step % 2)]);
            home.remember(&[1.0]);
            for share in [home.settled(), home.stays(), home.news()] {
                assert!((0.0..=1.0).contains(&share), "{share}");
            }
        }
        assert!(Home::new(0).step(std::iter::empty(), 4.0).is_none());
    }
}
