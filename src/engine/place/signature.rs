//! Has somebody moved at all? What receivers hear now against what they heard for a long time.
//!
//! Wherever a tag lies, shadows and reflections make each receiver hear it louder or fainter than the
//! law says, and the belief may be wrong by metres; but as long as it lies there, all of them hear it
//! as before. So the same signature says "not moved", however unlikely the announced zone looks by
//! the law. Somebody who passes changes what one or two receivers hear; somebody who walks changes
//! them all.

/// What one receiver hears of a subject, smoothed over seconds and over half a minute, in dBm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature {
    now: f32,
    before: f32,
    /// How much of what was heard before is known, 0 to 1: nothing at first.
    known: f32,
}

/// How much a step moves what is heard now: the last three seconds count…
const NOW: f32 = 0.3;

/// … and what was heard before: the last half a minute.
const BEFORE: f32 = 0.03;

/// What people who walk about do to reflections, in dB.
const STIRRED_DB: f32 = 1.0;

/// By how much a signal differs after some metres, in dB: distance, shadows, the own body.
const MOVED_DB: f32 = 4.0;

/// In this part of the time somebody stands in the way of one receiver…
const PASSERS: f32 = 0.1;

/// … and takes about so much, in dB.
const PASSER_DB: f32 = 6.0;

/// Signatures of steps that follow each other are nearly the same: what one says, weighs half.
const WEIGHT: f32 = 0.5;

impl Signature {
    pub(super) fn new(dbm: f32) -> Self {
        Self { now: dbm, before: dbm, known: 0.0 }
    }

    /// Takes in a step's mean, in dBm.
    pub(super) fn hear(&mut self, dbm: f32) {
        self.now += NOW * (dbm - self.now);
        self.before += BEFORE * (self.now - self.before);
        self.known += BEFORE * (1.0 - self.known);
    }

    /// How much more likely it is of a tag that did not move, as a natural logarithm. `fading` is
    /// the variance of a reading, in dB².
    fn unmoved(self, fading: f32) -> f32 {
        let change = self.now - self.before;
        let square = change * change;
        // An exponential mean of weight w keeps w / (2 - w) of the variance.
        let noise = fading * (NOW / (2.0 - NOW) + BEFORE / (2.0 - BEFORE));
        let lain = STIRRED_DB * STIRRED_DB + noise;
        let moved = lain + MOVED_DB * MOVED_DB;
        let density = |variance: f32| (-square / variance / 2.0).exp() / variance.sqrt();
        let either = |variance: f32| {
            let passed = density(variance + PASSER_DB * PASSER_DB);
            ((1.0 - PASSERS) * density(variance) + PASSERS * passed).max(f32::MIN_POSITIVE)
        };
        (either(lain) / either(moved)).ln()
    }
}

/// How probable it is that a tag did not move, 0 to 1, by what all receivers hear; 0 as long as nobody
/// knows what they heard before.
pub(super) fn unmoved(signatures: impl Iterator<Item = Signature>, fading: f32) -> f32 {
    let (mut sum, mut known) = (0.0, 0.0_f32);
    for signature in signatures {
        sum += signature.unmoved(fading);
        known = known.max(signature.known);
    }
    known / (1.0 + (-WEIGHT * sum).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(levels: [f32; 4]) -> Vec<Signature> {
        let hear = |level: f32| {
            let mut signature = Signature::new(-70.0);
            for _ in 0..100 {
                signature.hear(-70.0);
            }
            for _ in 0..5 {
                signature.hear(level);
            }
            signature
        };
        levels.map(hear).to_vec()
    }

    #[test]
    fn one_receiver_behind_a_passer_is_no_move_and_four_that_differ_are() {
        let probable = |levels| unmoved(heard(levels).into_iter(), 16.0);
        let still = probable([-70.0; 4]);
        let passed = probable([-82.0, -70.0, -70.0, -70.0]);
        let walked = probable([-78.0, -64.0, -79.0, -63.0]);
        assert!(still > 0.65 && passed > 0.45, "still {still}, behind a passer {passed}");
        assert!(walked < 0.2, "walked {walked}");
        let fresh = Signature::new(-70.0);
        assert!(unmoved([fresh; 4].into_iter(), 16.0) < 0.01, "nobody knows what was before");
    }
}
