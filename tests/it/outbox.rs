//! The outbox as the rooms around it see it.

mod corruption;
mod erasing;
mod faults;
mod faulty;
mod inspecting;
mod losses;
mod model;
mod opening;
mod scrubbing;
mod sealing;
mod serving;
mod withdrawal;

use beacon_gateway::outbox::{Ends, Notice, Read, Status, Write};
use tokio::sync::{mpsc, watch};

/// What a room needs of the others, without any chance in it.
fn ends(
    writes: mpsc::Receiver<Write>,
    reads: mpsc::Receiver<Read>,
    status: watch::Sender<Status>,
    notice: Notice,
) -> Ends {
    Ends { writes, reads, status, notice, chance: Box::new(|| 0.0) }
}
