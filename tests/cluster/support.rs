//! The little that all parts here need.

use std::{future::Future, time::Duration};

/// What a part of the test comes to, or what went wrong in words.
pub(crate) type Outcome<T> = Result<T, String>;

/// How long anything may take. Only a failing test waits for it; a busy machine needs some of it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

/// Any error, in words, with all that caused it.
pub(crate) fn text(error: impl std::error::Error) -> String {
    crate::harness::describe(&error)
}

/// How often a condition is looked at that costs next to nothing.
const OFTEN: Duration = Duration::from_millis(50);

/// How often one of the broker's own tools is asked: each time it costs a second of a processor.
pub(crate) const SELDOM: Duration = Duration::from_secs(2);

/// Looks at a condition until it holds.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    holds: impl FnMut() -> F,
) -> Outcome<()> {
    every(OFTEN, what, holds).await
}

/// The same, so often.
pub(crate) async fn every<F: Future<Output = bool>>(
    pause: Duration,
    what: &str,
    mut holds: impl FnMut() -> F,
) -> Outcome<()> {
    let looking = async {
        let mut look = tokio::time::interval(pause);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once.
        look.tick().await;
        while !holds().await {
            look.tick().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, looking).await;
    waited.map_err(|_| format!("waited for {PATIENCE:?} in vain: {what}"))
}
