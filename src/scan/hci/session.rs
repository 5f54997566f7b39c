//! The hci plane: a live session with a dedicated adapter. Orders in, advertisements and how the scan
//! fares out. The doer between [`UserSession`] and the supervisor.
//!
//! What the supervisor is too slow for waits in the kernel's queue, which drops and counts the newest
//! when it is full.

use std::sync::atomic::Ordering;

use tokio::{sync::mpsc, time::sleep};
use tracing::{debug, info};

use super::{HciError, Item, user::UserSession};
use crate::{
    forget,
    scan::{
        Plane,
        live::{Backend, Ends, Fresh, LiveError, Order, QueueWatch, Report},
        recent::Recent,
        silence::Step,
    },
};

/// One scan that runs.
struct Scan {
    order: Order,
    session: UserSession,
    recent: Recent,
    queue: QueueWatch,
}

/// The life of a session, on a thread and an event loop of its own.
pub(in crate::scan) async fn live(order: Order, ends: Ends) {
    let Ends { reports, mut restarts, mut stop } = ends;
    let scan = tokio::select! {
        scan = Scan::build(order) => scan,
        // Dropping its sender is the signal.
        _ = &mut stop => return,
    };
    let mut scan = match scan {
        Ok(scan) => scan,
        // Nobody listens any more only if the supervisor has gone on.
        Err(error) => return drop(reports.send(Report::Failed(error)).await),
    };
    loop {
        let adapter = scan.session.adapter().name();
        tokio::select! {
            sent = reports.send(Report::Running { adapter, plane: Plane::Hci }) => {
                if sent.is_err() {
                    return scan.session.close().await;
                }
            }
            _ = &mut stop => return scan.session.close().await,
        }
        let end = tokio::select! {
            why = scan.hear(&reports) => Report::Lost(why),
            Some(()) = restarts.recv() => match scan.session.restart_scan().await {
                Ok(()) => continue,
                Err(error) => Report::Failed(error.into()),
            },
            _ = &mut stop => return scan.session.close().await,
        };
        tokio::select! {
            // Nobody listens any more only if the supervisor has gone on.
            sent = reports.send(end) => drop(sent),
            _ = &mut stop => {}
        }
        return scan.session.close().await;
    }
}

/// Resets the controller of a receiver, if that is permitted. What became of it shows when a scan is
/// built.
pub(in crate::scan) async fn reset_for(order: &Order) {
    let receiver = order.receiver.id.as_str();
    match super::reset(&order.receiver.adapter, order.clock, order.call_timeout).await {
        Ok(()) => info!(receiver, "The controller was reset."),
        Err(error) => debug!(receiver, %error, "The controller could not be reset."),
    }
}

impl Scan {
    async fn build(order: Order) -> Result<Self, LiveError> {
        let Backend::Hci(settings) = &order.receiver.backend else {
            return Err(LiveError::NotBuilt);
        };
        let (id, wanted) = (&order.receiver.id, &order.receiver.adapter);
        if order.step == Some(Step::Reset) {
            reset_for(&order).await;
        }
        let session =
            UserSession::open(wanted, settings, id.clone(), order.clock, order.call_timeout)
                .await?;
        let now = order.clock.now();
        Ok(Self { order, session, recent: Recent::new(now), queue: QueueWatch::new(now) })
    }

    /// Hears until the scan is lost; the answer is why.
    async fn hear(&mut self, reports: &mpsc::Sender<Report>) -> &'static str {
        let Self { order, session, recent, queue } = self;
        let clock = order.clock;
        loop {
            let now = clock.now();
            if queue.look(now, &order.counters, || session.queue()) {
                recent.forget(now);
                let given_up = session.forget();
                order.counters.unusable.fetch_add(given_up, Ordering::Relaxed);
            }
            let due = queue.due().since(now);
            tokio::select! {
                item = session.next() => {
                    let mut next = match item {
                        Ok(first) => Some(first),
                        Err(HciError::Lost) => return "the adapter was pulled out",
                        Err(_) => return "the controller does not answer",
                    };
                    let now = clock.now();
                    let mut batch = Vec::new();
                    while let Some(item) = next {
                        match item {
                            Item::Advertisement(advertisement) => {
                                let fresh = recent.is_new(now, &advertisement);
                                batch.push(Fresh { advertisement, fresh });
                            }
                            Item::Unusable(_) => {
                                order.counters.unusable.fetch_add(1, Ordering::Relaxed);
                            }
                            // After an error of its hardware it is reset and scans again by itself.
                            Item::News(_) => {}
                        }
                        next = session.ready();
                    }
                    forget::burn_stack();
                    if !batch.is_empty() && reports.send(Report::Heard(batch)).await.is_err() {
                        return "nobody listens";
                    }
                }
                () = sleep(due) => {}
            }
        }
    }
}
