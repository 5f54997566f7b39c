//! Plays recordings into the pipeline at the pace they were recorded at, or a multiple of it.
//!
//! Unlike the air a recording can be told to wait: when the engine is behind, nothing is dropped.

use std::{
    error::Error as _,
    fmt,
    str::FromStr,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use thiserror::Error;
use tokio::sync::mpsc;

use super::{Counts, Format, Recording, ReplayError};
use crate::{
    clock::Clock,
    engine::{Advertisement, Uptime},
    scan::{Heard, ScanCounters},
};

/// How fast recorded time passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was recorded: above 0, at most [`Speed::FASTEST`].
    Factor(f64),
    /// Without any wait.
    Max,
}

/// A text that should have been a speed and is not.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error(
    "`{found}` is not a speed; write `max`, or how many times as fast as it was recorded, like \
     `1`, `8` or `0.5`"
)]
pub struct NotASpeed {
    found: String,
}

/// Relates recorded time, which is the engine's during a replay, to a running clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    begin: Uptime,
    speed: Speed,
}

/// How the replay of one recording went.
#[derive(Debug)]
pub struct Played {
    /// The file's name.
    pub name: Arc<str>,
    /// Its format.
    pub format: Format,
    /// What was found in it.
    pub counts: Counts,
    /// Whether it could be read to its end.
    pub outcome: Result<(), ReplayError>,
}

/// How many advertisements are read ahead, so that reading a file never delays the pace.
const READ_AHEAD: usize = 1024;

/// A wait that is worth a line in the log: recordings are seldom silent for so long.
const LONG_SILENCE: Duration = Duration::from_mins(10);

/// What the reading thread hands over.
enum Step {
    Advertisement(Advertisement),
    Ended(Played),
}

/// Plays recordings one after another: each begins, in recorded time, where the one before ended.
///
/// Tells the engine first that silence means absence, as it does in a recording, and then each
/// advertisement when it is due. Returns when all are played, when nobody listens any more, or
/// when `stop` is done; and then says how each recording went that was read to its end. A
/// recording that is damaged does not keep the next one from being played.
pub async fn run(
    recordings: Vec<Recording>,
    pace: Pace,
    clock: Clock,
    heard: mpsc::Sender<Heard>,
    counters: Arc<ScanCounters>,
    stop: impl Future<Output = ()>,
) -> Result<Vec<Played>, ReplayError> {
    let (sender, mut steps) = mpsc::channel(READ_AHEAD);
    let counted = Arc::clone(&counters);
    // A thread, because reading may block: on a slow disk, or for ever on a pipe. Nobody waits for
    // it: it ends when nobody takes what it reads.
    thread::Builder::new()
        .name("replay".to_owned())
        .spawn(move || read_all(recordings, pace.begin, &counted, &sender))
        .map_err(|source| ReplayError::Thread { source })?;

    let mut played = Vec::new();
    let play = async {
        if heard.send(Heard::Recording).await.is_err() {
            return;
        }
        while let Some(step) = steps.recv().await {
            match step {
                Step::Advertisement(advertisement) => {
                    wait(pace.due(advertisement.heard), clock).await;
                    if heard.send(Heard::Advertisement(advertisement)).await.is_err() {
                        return;
                    }
                    counters.heard.fetch_add(1, Ordering::Relaxed);
                }
                Step::Ended(recording) => played.push(recording),
            }
        }
    };
    tokio::select! {
        () = play => {}
        () = stop => {}
    }
    Ok(played)
}

async fn wait(due: Option<Uptime>, clock: Clock) {
    let Some(due) = due else { return };
    let left = due.since(clock.now());
    if left > LONG_SILENCE {
        tracing::info!(silence_s = left.as_secs(), "Nothing is recorded for a while; waiting.");
    }
    if !left.is_zero() {
        tokio::time::sleep_until(clock.instant(due)).await;
    }
}

fn read_all(
    recordings: Vec<Recording>,
    mut begin: Uptime,
    counters: &ScanCounters,
    steps: &mpsc::Sender<Step>,
) {
    for recording in recordings {
        let mut recording = recording.starting_at(begin);
        let mut unusable = 0;
        let mut outcome = Ok(());
        loop {
            let next = recording.next();
            let total = recording.counts().unusable_total();
            counters.unusable.fetch_add(total - unusable, Ordering::Relaxed);
            unusable = total;
            let step = match next {
                Some(Ok(advertisement)) => Step::Advertisement(advertisement),
                Some(Err(error)) => {
                    outcome = Err(error);
                    continue;
                }
                None => break,
            };
            if steps.blocking_send(step).is_err() {
                return;
            }
        }
        begin = recording.position();
        let ended = Played::new(&recording, outcome);
        ended.log();
        if steps.blocking_send(Step::Ended(ended)).is_err() {
            return;
        }
    }
}

// === impl Speed ===

impl Speed {
    /// A day passes in 86 ms; faster is `max`.
    pub const FASTEST: f64 = 1_000_000.0;
}

impl FromStr for Speed {
    type Err = NotASpeed;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::Max);
        }
        match text.parse() {
            Ok(factor) if factor > 0.0 && factor <= Self::FASTEST => Ok(Self::Factor(factor)),
            _ => Err(NotASpeed { found: text.to_owned() }),
        }
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Factor(factor) => write!(f, "{factor}"),
            Self::Max => f.write_str("max"),
        }
    }
}

// === impl Pace ===

impl Pace {
    /// The recording's beginning is at the uptime `begin`, on the clock and for the engine.
    pub const fn new(begin: Uptime, speed: Speed) -> Self {
        Self { begin, speed }
    }

    /// When, on the clock, what was recorded at `at` is due; `None` for at once.
    pub fn due(&self, at: Uptime) -> Option<Uptime> {
        match self.speed {
            Speed::Factor(factor) => Some(self.begin + scale(at.since(self.begin), 1.0 / factor)),
            Speed::Max => None,
        }
    }

    /// Where in recorded time the replay is when the clock reads `now`; `None` at
    /// [`Speed::Max`], where nothing but the recording moves time on.
    pub fn recorded(&self, now: Uptime) -> Option<Uptime> {
        match self.speed {
            Speed::Factor(factor) => Some(self.begin + scale(now.since(self.begin), factor)),
            Speed::Max => None,
        }
    }
}

fn scale(duration: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

// === impl Played ===

impl Played {
    fn new(recording: &Recording, outcome: Result<(), ReplayError>) -> Self {
        let (name, format, counts) = (recording.name(), recording.format(), recording.counts());
        Self { name, format, counts, outcome }
    }

    fn log(&self) {
        let Self { name, format, counts, outcome } = self;
        match outcome {
            Ok(()) => tracing::info!(
                recording = %name,
                %format,
                packets = counts.packets,
                advertisements = counts.advertisements,
                unusable = counts.unusable_total(),
                "Replayed a recording."
            ),
            Err(error) => tracing::error!(
                %error,
                cause = error.source().map(tracing::field::display),
                packets = counts.packets,
                advertisements = counts.advertisements,
                "A recording could not be replayed to its end."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_factor_or_max() {
        for (text, speed) in [
            ("1", Speed::Factor(1.0)),
            ("8", Speed::Factor(8.0)),
            ("0.5", Speed::Factor(0.5)),
            ("max", Speed::Max),
        ] {
            assert_eq!(text.parse(), Ok(speed), "{text}");
            assert_eq!(speed.to_string(), text);
        }
        for text in ["", "0", "-1", "fast", "inf", "NaN", "1e7", "8x", "1,5"] {
            let message = text.parse::<Speed>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("`{text}` is not a speed")), "{message}");
        }
    }

    #[test]
    fn clock_and_recorded_time_convert_both_ways() {
        let at = Uptime::from_micros;
        let pace = Pace::new(at(1_000_000), Speed::Factor(8.0));
        assert_eq!(pace.due(at(9_000_000)), Some(at(2_000_000)));
        assert_eq!(pace.recorded(at(2_000_000)), Some(at(9_000_000)));
        assert_eq!(pace.due(Uptime::ZERO), Some(at(1_000_000)), "nothing is due before it begins");
        let fastest = Pace::new(at(0), Speed::Max);
        assert_eq!((fastest.due(at(9)), fastest.recorded(at(9))), (None, None));
    }
}
