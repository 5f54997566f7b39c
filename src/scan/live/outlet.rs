//! One receiver's edge to the engine, with what waits for room there.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::mpsc;

use crate::{
    engine::{Advertisement, RadioState, ReceiverId},
    scan::{Heard, ReceiverCounters},
};

/// The edge to the engine.
pub(super) struct Outlet {
    receiver: ReceiverId,
    heard: mpsc::Sender<Heard>,
    counters: Arc<ReceiverCounters>,
    /// What waits for room, oldest first. Nothing overtakes it.
    waiting: VecDeque<Heard>,
}

/// The engine has stopped listening.
#[derive(Debug)]
pub(super) struct Closed;

/// So much may wait for room before a change of state replaces the one before it. Changes follow one another at seconds; if the engine
/// stands still for longer than these take, the newest replaces the last.
const MOST_WAITING: usize = 64;

impl Outlet {
    pub(super) fn new(
        receiver: ReceiverId,
        heard: mpsc::Sender<Heard>,
        counters: Arc<ReceiverCounters>,
    ) -> Self {
        Self { receiver, heard, counters, waiting: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more advertisements may be brought. While one waits for room no report is taken from
    /// the session, whose own queue is bounded, and so is what waits here: one report's.
    pub(super) fn has_room(&self) -> bool {
        !self.waiting.iter().any(|heard| matches!(heard, Heard::Advertisement(_)))
    }

    /// Hands an advertisement on, or lets it wait.
    pub(super) fn advertisement(&mut self, advertisement: Advertisement) -> Result<(), Closed> {
        let heard = Heard::Advertisement(advertisement);
        if !self.waiting.is_empty() {
            self.waiting.push_back(heard);
            return Ok(());
        }
        match self.heard.try_send(heard) {
            Ok(()) => {
                self.counters.heard.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Full(heard)) => {
                self.waiting.push_back(heard);
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Hands a change of state on as soon as there is room.
    pub(super) fn state(&mut self, state: RadioState) {
        let heard = Heard::Radio(self.receiver.clone(), state);
        if self.waiting.is_empty() {
            match self.heard.try_send(heard) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(heard)) => self.waiting.push_back(heard),
            }
            return;
        }
        let full = self.waiting.len() >= MOST_WAITING;
        if full && matches!(self.waiting.back(), Some(Heard::Radio(..))) {
            self.waiting.pop_back();
        }
        self.waiting.push_back(heard);
    }

    /// Waits for room and hands on what has waited longest. Loses nothing when dropped.
    pub(super) async fn relieve(&mut self) -> Result<(), Closed> {
        let room = self.heard.reserve().await.map_err(|_| Closed)?;
        if let Some(heard) = self.waiting.pop_front() {
            if matches!(heard, Heard::Advertisement(_)) {
                self.counters.heard.fetch_add(1, Ordering::Relaxed);
            }
            room.send(heard);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{AddressKind, DeviceAddress, Uptime};

    const SUSPECT: RadioState = RadioState::Suspect { since: Uptime::ZERO };

    fn outlet(room: usize) -> (Outlet, mpsc::Receiver<Heard>) {
        let (heard, engine) = mpsc::channel(room);
        let counters = Arc::new(ReceiverCounters::new(ReceiverId::default()));
        (Outlet::new(ReceiverId::default(), heard, counters), engine)
    }

    fn advertisement() -> Advertisement {
        let address = DeviceAddress::new([0; 6], AddressKind::Random);
        Advertisement::new(Uptime::ZERO, ReceiverId::default(), address, None, &[])
    }

    fn states(engine: &mut mpsc::Receiver<Heard>) -> Vec<Option<RadioState>> {
        let heard = std::iter::from_fn(|| engine.try_recv().ok());
        let state = |heard| match heard {
            Heard::Radio(_, state) => Some(state),
            Heard::Advertisement(_) | Heard::Relayed(_) | Heard::Recording => None,
        };
        heard.map(state).collect()
    }

    #[test]
    fn at_a_full_edge_one_advertisement_waits_and_no_more_are_taken() {
        let (mut outlet, mut engine) = outlet(2);
        for _ in 0..2 {
            assert!(outlet.advertisement(advertisement()).is_ok());
            assert!(outlet.has_room());
        }
        assert!(outlet.advertisement(advertisement()).is_ok());
        assert!(!outlet.has_room());
        assert_eq!(outlet.counters.heard.load(Ordering::Relaxed), 2);
        assert_eq!(states(&mut engine), [None, None]);
    }

    #[tokio::test]
    async fn a_change_of_state_waits_for_room_and_nothing_overtakes_it() {
        let (mut outlet, mut engine) = outlet(1);
        assert!(outlet.advertisement(advertisement()).is_ok());
        outlet.state(SUSPECT);
        outlet.state(RadioState::Hearing);
        assert_eq!(states(&mut engine), [None]);
        // There is room now, but what was heard after the change must not come before it.
        assert!(outlet.advertisement(advertisement()).is_ok());
        assert_eq!(states(&mut engine), []);
        let mut told = Vec::new();
        while !outlet.is_empty() {
            assert!(outlet.relieve().await.is_ok());
            told.extend(states(&mut engine));
        }
        assert_eq!(told, [Some(SUSPECT), Some(RadioState::Hearing), None]);
        assert_eq!(outlet.counters.heard.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn waiting_changes_are_bounded_and_the_last_one_is_the_truth() {
        let (mut outlet, _engine) = outlet(1);
        for _ in 0..100 {
            outlet.state(SUSPECT);
            outlet.state(RadioState::Quiet);
        }
        assert!(outlet.waiting.len() <= MOST_WAITING);
        let last = Heard::Radio(ReceiverId::default(), RadioState::Quiet);
        assert_eq!(outlet.waiting.back(), Some(&last));
    }

    #[tokio::test]
    async fn a_deaf_engine_is_noticed() {
        let (mut outlet, engine) = outlet(1);
        drop(engine);
        assert!(outlet.advertisement(advertisement()).is_err());
        outlet.waiting.push_back(Heard::Radio(ReceiverId::default(), SUSPECT));
        assert!(outlet.relieve().await.is_err());
    }
}
