//! A quantity that is known more or less well, and drifts: a Kalman filter of one dimension.

/// A mean with its variance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guess {
    pub(super) mean: f32,
    pub(super) variance: f32,
}

impl Guess {
    /// About nothing, give or take this much.
    pub(super) fn within(spread: f32) -> Self {
        Self { mean: 0.0, variance: spread * spread }
    }

    /// Takes its part of a surprise. `doubt` is the variance of the surprise, by whatever cause.
    pub(super) fn correct(&mut self, surprise: f32, doubt: f32) {
        let gain = self.variance / doubt;
        self.mean += gain * surprise;
        self.variance *= 1.0 - gain;
    }

    /// Knows less after some time; at most as little as `most`, a variance.
    pub(super) fn drift(&mut self, each_second: f32, seconds: f32, most: f32) {
        self.variance = (self.variance + each_second * each_second * seconds).min(most);
    }
}
