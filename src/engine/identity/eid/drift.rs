//! What is known of how far one beacon's clock is ahead of ours.
//!
//! Two bounds, each loosened by 150 ppm of the time since it was learned. They are not worth the
//! same. That a beacon is in its n-th period proves that its clock has come so far: nobody can send
//! an identifier before the beacon's clock has made it, so the lower bound holds whoever sent it.
//! That it is *still* in that period is only true when it was the beacon: who records an identifier
//! and sends it later makes the clock look slow. So the upper bound counts while the beacon goes on
//! being heard, and no longer; else a recording played once could hide a beacon for weeks. And what
//! would push the lower bound down is no evidence at all.

/// How fast a beacon's clock may drift: 150 ppm of a millisecond are 150 nanoseconds.
const NANOS_A_MILLI: i64 = 150;

/// For how long after it was heard an upper bound is believed, in milliseconds. Customers come and
/// go within an hour; drift in it is half a second.
const RECENT: i64 = 3_600_000;

/// What the readings of two clocks in whole seconds, and a wall clock that is being slewed, may
/// differ by, in milliseconds.
const SLACK: i64 = 2000;

/// Bounds on a beacon's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drift {
    /// By how much it is ahead at least and at most, in nanoseconds.
    low: i64,
    high: i64,
    /// How far it is ever searched beyond the two, in milliseconds.
    window: i64,
    /// When it was heard last, in Unix milliseconds; [`NEVER`] if it was not. No `Option`, whose
    /// empty half would keep what lay on the stack when the beacon was enrolled, which is keys.
    heard: i64,
}

/// Before any time at which a beacon is heard.
const NEVER: i64 = i64::MIN;

/// Milliseconds as nanoseconds.
pub(super) fn nanos(millis: i64) -> i64 {
    millis.saturating_mul(1_000_000)
}

fn millis(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000)
}

impl Default for Drift {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Drift {
    /// A clock that is off by the window at most, to either side.
    pub(super) fn new(window: i64) -> Self {
        Self { low: -nanos(window), high: nanos(window), window, heard: NEVER }
    }

    /// Whether it was ever heard.
    pub(super) const fn is_known(&self) -> bool {
        self.heard != NEVER
    }

    /// By how much the clock may be ahead at this moment, in milliseconds. `age` is how long it has
    /// been running: all that is known of one that was never heard.
    pub(super) fn window(&self, unix: i64, age: i64) -> (i64, i64) {
        if !self.is_known() {
            let window = self.window.saturating_add(millis(age.saturating_mul(NANOS_A_MILLI)));
            return (-window, window);
        }
        let (low, mut high) = self.loosened(unix);
        if unix.saturating_sub(self.heard) > RECENT {
            high = high.max(self.low.saturating_add(nanos(self.window)));
        }
        let (low, high) = (millis(low).saturating_sub(SLACK), millis(high).saturating_add(SLACK));
        // The window is the most that is ever searched beyond what was known.
        let window = self.window.max(SLACK);
        let least = millis(self.low).saturating_sub(window);
        (low.max(least), high.min(millis(self.high).saturating_add(window)))
    }

    /// A window around the best guess, in milliseconds.
    pub(super) fn around(&self, window: i64) -> (i64, i64) {
        let guess = millis(self.low.midpoint(self.high));
        (guess.saturating_sub(window), guess.saturating_add(window))
    }

    /// The beacon was heard, and its clock was ahead by so much at least and at most, in
    /// nanoseconds.
    pub(super) fn observe(&mut self, unix: i64, age: i64, first: i64, last: i64) {
        let (low, high) = if self.is_known() {
            self.loosened(unix)
        } else {
            let (low, high) = self.window(unix, age);
            (nanos(low), nanos(high))
        };
        if last < low {
            // A recording, or a clock that is being slewed: it proves nothing.
            return;
        }
        self.low = low.max(first);
        self.high = high.min(last).max(self.low);
        self.heard = unix;
    }

    /// The clock that all this was measured with was stepped.
    pub(super) fn doubt(&mut self, unix: i64, window: i64) {
        if self.is_known() {
            let (low, high) = self.around(window);
            (self.low, self.high) = (self.low.min(nanos(low)), self.high.max(nanos(high)));
            self.heard = unix;
        }
    }

    /// The bounds as they are at this moment, in nanoseconds.
    fn loosened(&self, unix: i64) -> (i64, i64) {
        let since = if self.is_known() { unix.saturating_sub(self.heard).max(0) } else { 0 };
        let loosening = since.saturating_mul(NANOS_A_MILLI);
        (self.low.saturating_sub(loosening), self.high.saturating_add(loosening))
    }
}
