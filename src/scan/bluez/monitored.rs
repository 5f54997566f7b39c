//! The monitor plane. What the kernel's monitor shows of an adapter in, advertisements out, while
//! bluetoothd owns the scan.
//!
//! The monitor shows the commands to the controller, too: a scan that somebody stopped is noticed
//! within seconds, and not only by its silence. What the supervisor is too slow for waits in the
//! kernel's queue, which drops and counts the newest when it is full.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{sync::mpsc, time::sleep};

use super::{adapter::Named, session::Watch};
use crate::{
    engine::Uptime,
    forget,
    scan::{
        hci::{HciError, Item, News, Wanted, mgmt::Management, monitor::Monitor},
        live::{Fresh, Order, QueueWatch, Report},
        recent::Recent,
    },
};

/// One adapter on the monitor.
pub(super) struct Monitored {
    monitor: Monitor,
    recent: Recent,
    /// Since when the controller has neither scanned nor looked for classic devices.
    idle: Option<Uptime>,
    /// The controller looks for classic devices; a scan follows.
    inquiry: bool,
    queue: QueueWatch,
}

/// How long the controller may be idle. The kernel stops and starts a scan every 10.24 s with
/// milliseconds between; bluetoothd, when somebody else stopped it, after 5 s (BlueZ 5.66,
/// `src/adapter.c`, `IDLE_DISCOV_TIMEOUT`).
const IDLE: Duration = Duration::from_secs(8);

impl Monitored {
    pub(super) async fn open(order: &Order, named: &Named) -> Result<Self, HciError> {
        let mut management = Management::open(order.clock, order.call_timeout)?;
        let wanted: Wanted = named.name.parse().map_err(|_| no_adapter(named))?;
        let adapter = management.adapter(&wanted).await?;
        let id = order.receiver.id.clone();
        let monitor = Monitor::open(&adapter, id, order.clock).await?;
        let now = order.clock.now();
        Ok(Self {
            monitor,
            recent: Recent::new(now),
            idle: None,
            inquiry: false,
            queue: QueueWatch::new(now),
        })
    }

    /// Hears until the scan is lost; the answer is why.
    pub(super) async fn hear(
        &mut self,
        order: &Order,
        named: &Named,
        watch: &mut Watch,
        reports: &mpsc::Sender<Report>,
    ) -> &'static str {
        let clock = order.clock;
        // A scan that was asked for has as long to begin as one that was interrupted.
        self.idle = Some(clock.now());
        loop {
            let now = clock.now();
            watch.look(now, named, order.call_timeout);
            if self.queue.look(now, &order.counters, || self.monitor.queue()) {
                self.recent.forget(now);
                let given_up = self.monitor.forget();
                order.counters.unusable.fetch_add(given_up, Ordering::Relaxed);
            }
            if self.is_idle(now) {
                return "somebody stopped the scan";
            }
            let idle = self.idle.filter(|_| !self.inquiry).map(|since| since + IDLE);
            let due = [watch.due(), idle, Some(self.queue.due())].into_iter().flatten().min();
            let due = due.map(|due| due.since(now)).unwrap_or_default();
            tokio::select! {
                item = self.monitor.next() => {
                    let Ok(first) = item else { return "the kernel's monitor ended" };
                    let now = clock.now();
                    let (batch, end) = self.sort(now, order, first);
                    if !batch.is_empty() {
                        watch.heard(now);
                        if reports.send(Report::Heard(batch)).await.is_err() {
                            return "nobody listens";
                        }
                    }
                    if let Some(why) = end {
                        return why;
                    }
                }
                Some(why) = watch.lost(|| clock.now()) => return why,
                () = sleep(due) => {}
            }
        }
    }

    /// Sorts what came together: advertisements, and why the scan is lost, if it is.
    fn sort(
        &mut self,
        now: Uptime,
        order: &Order,
        first: Item,
    ) -> (Vec<Fresh>, Option<&'static str>) {
        let (mut batch, mut end) = (Vec::new(), None);
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Advertisement(advertisement) => {
                    let fresh = self.recent.is_new(now, &advertisement);
                    batch.push(Fresh { advertisement, fresh });
                }
                Item::Unusable(_) => {
                    order.counters.unusable.fetch_add(1, Ordering::Relaxed);
                }
                Item::News(news) => end = end.or(self.news(now, news)),
            }
            next = self.monitor.ready();
        }
        forget::burn_stack();
        (batch, end)
    }

    /// Takes note of a change; the answer is why the scan is lost, if it is.
    fn news(&mut self, now: Uptime, news: News) -> Option<&'static str> {
        match news {
            News::Scan { on: true } => self.idle = None,
            News::Scan { on: false } | News::HardwareError { .. } => {
                self.idle.get_or_insert(now);
            }
            News::Inquiry { on } => {
                self.inquiry = on;
                self.idle = self.idle.map(|_| now);
            }
            News::Closed => return Some("the adapter was switched off"),
            News::Removed => return Some("the adapter was pulled out"),
            News::ScanAsked { .. }
            | News::ScanRefused { .. }
            | News::Opened
            | News::Added { .. } => {}
        }
        None
    }

    fn is_idle(&self, now: Uptime) -> bool {
        !self.inquiry && self.idle.is_some_and(|since| now >= since + IDLE)
    }
}

fn no_adapter(named: &Named) -> HciError {
    HciError::NoAdapter(named.name.clone())
}
