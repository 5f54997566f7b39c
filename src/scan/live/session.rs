//! One session and its thread, as the supervisor sees them: orders in, reports out.
//!
//! Every session has a thread and an event loop of its own, and the end of the session is the end
//! of both, because of what is under btleplug:
//! - connecting to the bus blocks;
//! - a connection is never closed, its task stays in the event loop it was spawned in; ending that
//!   loop closes it, and so a scan can be rebuilt for years without running out of connections;
//! - a stream of events that is dropped after its bus died makes a background task panic some
//!   seconds later (bluez-async 0.9, `messagestream.rs`); that task ends before, unpolled.

use std::{
    future::pending,
    sync::{Arc, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::{Backend, LiveError, ReceiverSettings, Step};
use crate::{
    clock::Clock,
    engine::Advertisement,
    forget,
    scan::{Plane, ReceiverCounters, hci},
};

/// What a session needs to know.
pub(in crate::scan) struct Order {
    /// The step to begin with, when an earlier session did not hear.
    pub(in crate::scan) step: Option<Step>,
    pub(in crate::scan) receiver: ReceiverSettings,
    /// How long one call may take.
    pub(in crate::scan) call_timeout: Duration,
    pub(in crate::scan) clock: Clock,
    pub(in crate::scan) counters: Arc<ReceiverCounters>,
    /// The adapter was switched off by us, and not on again: it is not the administrator who wants
    /// it off.
    #[cfg_attr(
        not(feature = "bluetooth"),
        expect(dead_code, reason = "an adapter of our own is switched by the kernel")
    )]
    pub(in crate::scan) owes_power: Arc<AtomicBool>,
}

/// What a session tells. After `Failed` or `Lost` nothing follows.
pub(in crate::scan) enum Report {
    /// A scan runs: it was built, or restarted.
    Running { adapter: String, plane: Plane },
    /// A scan could not be built or restarted.
    Failed(LiveError),
    /// What was heard together, oldest first; never nothing.
    Heard(Vec<Fresh>),
    /// The scan is gone.
    Lost(&'static str),
}

/// One advertisement.
pub(in crate::scan) struct Fresh {
    pub(in crate::scan) advertisement: Advertisement,
    /// Its device was not heard in the ten seconds before, or nobody remembers.
    pub(in crate::scan) fresh: bool,
}

/// What a session's backend is given.
pub(in crate::scan) struct Ends {
    pub(in crate::scan) reports: mpsc::Sender<Report>,
    /// Wishes that the scan be stopped and started again.
    pub(in crate::scan) restarts: mpsc::Receiver<()>,
    /// Done when the session should end; its sender is dropped.
    pub(in crate::scan) stop: oneshot::Receiver<()>,
}

/// The supervisor's end of a session.
pub(super) struct Session {
    reports: Option<mpsc::Receiver<Report>>,
    restarts: Option<mpsc::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    failure: Option<LiveError>,
}

/// Reports on their way to the supervisor, who does nothing but pass them on.
const REPORTS: usize = 32;

impl Session {
    /// Before the first one.
    pub(super) const fn none() -> Self {
        Self { reports: None, restarts: None, stop: None, thread: None, failure: None }
    }

    /// False before the first one.
    pub(super) const fn was_started(&self) -> bool {
        self.stop.is_some() || self.thread.is_some()
    }

    /// Ends this session and starts another, which waits until this one is gone.
    pub(super) fn replace(mut self, order: Order) -> Self {
        drop(self.stop.take());
        self.reports = None;
        let before = self.thread.take();
        let (sender, reports) = mpsc::channel(REPORTS);
        let (restarts_tx, restarts) = mpsc::channel(1);
        let (stop, stopped) = oneshot::channel();
        let spawned = thread::Builder::new().name("bluetooth".to_owned()).spawn(move || {
            // How it ended does not matter, as long as it did.
            drop(before.map(JoinHandle::join));
            live(order, Ends { reports: sender, restarts, stop: stopped });
        });
        let (thread, failure) = match spawned {
            Ok(thread) => (Some(thread), None),
            Err(error) => (None, Some(LiveError::Thread(error.kind()))),
        };
        let (reports, restarts) = (Some(reports), Some(restarts_tx));
        Self { reports, restarts, stop: Some(stop), thread, failure }
    }

    /// Lets a running session stop its scan and start it again; false when none runs.
    pub(super) fn restart_scan(&self) -> bool {
        self.reports.is_some()
            && self.restarts.as_ref().is_some_and(|restarts| restarts.try_send(()).is_ok())
    }

    /// The next report. A session that ends without a word was lost.
    pub(super) async fn next(&mut self) -> Report {
        if let Some(failure) = self.failure.take() {
            self.reports = None;
            return Report::Failed(failure);
        }
        let Some(reports) = &mut self.reports else { return pending().await };
        let report = reports.recv().await.unwrap_or(Report::Lost("its thread ended"));
        if matches!(report, Report::Failed(_) | Report::Lost(_)) {
            self.reports = None;
        }
        report
    }

    /// Ends this session and waits until it is gone.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(mut reports) = self.reports.take() {
            while reports.recv().await.is_some() {}
        }
    }
}

/// The life of a session's thread.
fn live(order: Order, ends: Ends) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let report = Report::Failed(LiveError::Thread(error.kind()));
            // Nobody listens any more only if the supervisor has gone on.
            return drop(ends.reports.blocking_send(report));
        }
    };
    runtime.block_on(async {
        match order.receiver.backend {
            #[cfg(feature = "bluetooth")]
            Backend::Bluez { .. } => crate::scan::bluez::live(order, ends).await,
            #[cfg(not(feature = "bluetooth"))]
            Backend::Bluez { .. } => {
                drop(ends.reports.send(Report::Failed(LiveError::NotBuilt)).await);
            }
            Backend::Hci(_) => hci::live(order, ends).await,
        }
    });
    runtime.shutdown_background();
    // The stack of a thread that ends is kept for the next one.
    forget::burn_stack();
}
