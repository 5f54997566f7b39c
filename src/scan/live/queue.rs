//! Looks at a session's queue in the kernel, once a second. Its depth and its drops out, as counters.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{
    engine::Uptime,
    scan::{
        ReceiverCounters,
        hci::{HciError, Queue},
    },
};

/// When the queue is looked at again, and what it had dropped.
pub(in crate::scan) struct QueueWatch {
    look_at: Uptime,
    dropped: u32,
}

/// How often the queue is looked at.
const EVERY: Duration = Duration::from_secs(1);

impl QueueWatch {
    pub(in crate::scan) const fn new(now: Uptime) -> Self {
        Self { look_at: now, dropped: 0 }
    }

    /// When to look again.
    pub(in crate::scan) const fn due(&self) -> Uptime {
        self.look_at
    }

    /// Looks, if it is time; says whether it was. What cannot be looked at stays as it was.
    pub(in crate::scan) fn look(
        &mut self,
        now: Uptime,
        counters: &ReceiverCounters,
        queue: impl FnOnce() -> Result<Queue, HciError>,
    ) -> bool {
        if now < self.look_at {
            return false;
        }
        self.look_at = now + EVERY;
        if let Ok(queue) = queue() {
            counters.queue_bytes.store(queue.bytes.into(), Ordering::Relaxed);
            // The kernel counts in 32 bits, round and round.
            let more = queue.dropped.wrapping_sub(self.dropped);
            counters.dropped.fetch_add(more.into(), Ordering::Relaxed);
            self.dropped = queue.dropped;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ReceiverId;

    #[test]
    fn drops_are_counted_once_even_when_the_kernel_begins_anew_at_zero() {
        let counters = ReceiverCounters::new(ReceiverId::default());
        let mut watch = QueueWatch::new(Uptime::ZERO);
        let mut now = Uptime::ZERO;
        for (bytes, dropped, sum) in [(10, 3, 3), (20, 3, 3), (30, u32::MAX, u64::from(u32::MAX))] {
            assert!(watch.look(now, &counters, || Ok(Queue { bytes, bytes_allowed: 99, dropped })));
            assert_eq!(counters.dropped.load(Ordering::Relaxed), sum);
            assert_eq!(counters.queue_bytes.load(Ordering::Relaxed), u64::from(bytes));
            assert!(!watch.look(now, &counters, || Err(HciError::Lost)), "looked twice");
            now = watch.due();
        }
        watch.look(now, &counters, || Ok(Queue { bytes: 0, bytes_allowed: 99, dropped: 1 }));
        assert_eq!(counters.dropped.load(Ordering::Relaxed), u64::from(u32::MAX) + 2);
    }
}
