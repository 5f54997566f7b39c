//! The edge to the engine, of all receivers of one line.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::scan::Heard;

/// The edge to the engine. An advertisement that finds it full is dropped; a change of state waits.
pub(super) struct Outlet {
    heard: mpsc::Sender<Heard>,
    /// Changes of state that wait for room, oldest first; of each receiver the last one.
    waiting: VecDeque<Heard>,
}

/// What became of something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    /// It was handed on, or will be.
    HandedOn,
    /// There was no room for it.
    Dropped,
}

/// The engine has stopped listening.
#[derive(Debug)]
pub(super) struct Closed;

impl Outlet {
    pub(super) fn new(heard: mpsc::Sender<Heard>) -> Self {
        Self { heard, waiting: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Hands something on. One message may bring more advertisements than the edge has room for, so
    /// when it is full the engine gets its turn first, once.
    pub(super) async fn put(&mut self, heard: Heard) -> Result<Fate, Closed> {
        if let Heard::Radio(receiver, _) = &heard {
            self.waiting.retain(|it| !matches!(it, Heard::Radio(other, _) if other == receiver));
            self.waiting.push_back(heard);
            self.flush()?;
            return Ok(Fate::HandedOn);
        }
        self.flush()?;
        // Nothing overtakes a change of state that waits.
        if !self.waiting.is_empty() {
            return Ok(Fate::Dropped);
        }
        let heard = match self.heard.try_send(heard) {
            Ok(()) => return Ok(Fate::HandedOn),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Closed),
            Err(mpsc::error::TrySendError::Full(heard)) => heard,
        };
        tokio::task::yield_now().await;
        match self.heard.try_send(heard) {
            Ok(()) => Ok(Fate::HandedOn),
            Err(mpsc::error::TrySendError::Full(_)) => Ok(Fate::Dropped),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Closed),
        }
    }

    /// Waits for room and hands on what has waited longest. Loses nothing when dropped.
    pub(super) async fn relieve(&mut self) -> Result<(), Closed> {
        let room = self.heard.reserve().await.map_err(|_| Closed)?;
        if let Some(heard) = self.waiting.pop_front() {
            room.send(heard);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Closed> {
        while !self.waiting.is_empty() {
            match self.heard.try_reserve() {
                Ok(room) => {
                    if let Some(heard) = self.waiting.pop_front() {
                        room.send(heard);
                    }
                }
                Err(mpsc::error::TrySendError::Full(())) => break,
                Err(mpsc::error::TrySendError::Closed(())) => return Err(Closed),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Advertisement, DeviceAddress, RadioState, ReceiverId, Uptime};

    fn advertisement() -> Heard {
        let receiver = ReceiverId::new("shelf");
        Heard::Advertisement(Advertisement::new(
            Uptime::ZERO,
            receiver,
            DeviceAddress::UNKNOWN,
            None,
            &[],
        ))
    }

    fn state(receiver: &str, state: RadioState) -> Heard {
        Heard::Radio(ReceiverId::new(receiver), state)
    }

    #[tokio::test]
    async fn at_a_full_edge_advertisements_are_dropped_and_states_wait() {
        let (heard, mut engine) = mpsc::channel(2);
        let mut outlet = Outlet::new(heard);
        for fate in [Fate::HandedOn, Fate::HandedOn, Fate::Dropped, Fate::Dropped] {
            assert_eq!(outlet.put(advertisement()).await.unwrap(), fate);
        }
        for it in [RadioState::Quiet, RadioState::Hearing] {
            outlet.put(state("shelf", it)).await.unwrap();
        }
        outlet.put(state("till", RadioState::Quiet)).await.unwrap();
        engine.try_recv().unwrap();
        engine.try_recv().unwrap();
        assert!(!outlet.is_empty());
        outlet.relieve().await.unwrap();
        outlet.relieve().await.unwrap();
        let told = [engine.try_recv().unwrap(), engine.try_recv().unwrap()];
        assert_eq!(told, [state("shelf", RadioState::Hearing), state("till", RadioState::Quiet)]);
        assert!(outlet.is_empty());
    }

    #[tokio::test]
    async fn no_advertisement_overtakes_a_state_that_waits() {
        let (heard, mut engine) = mpsc::channel(1);
        let mut outlet = Outlet::new(heard);
        outlet.put(advertisement()).await.unwrap();
        outlet.put(state("shelf", RadioState::Quiet)).await.unwrap();
        assert_eq!(outlet.put(advertisement()).await.unwrap(), Fate::Dropped);
        engine.try_recv().unwrap();
        assert_eq!(outlet.put(advertisement()).await.unwrap(), Fate::Dropped, "the state took it");
        assert_eq!(engine.try_recv().unwrap(), state("shelf", RadioState::Quiet));
    }

    #[tokio::test]
    async fn a_list_longer_than_the_edge_gets_through_while_the_engine_listens() {
        let (heard, mut engine) = mpsc::channel(2);
        let listening = tokio::spawn(async move {
            let mut count = 0;
            while engine.recv().await.is_some() {
                count += 1;
            }
            count
        });
        let mut outlet = Outlet::new(heard);
        for _ in 0..100 {
            assert_eq!(outlet.put(advertisement()).await.unwrap(), Fate::HandedOn);
        }
        drop(outlet);
        assert_eq!(listening.await.unwrap(), 100);
    }

    #[tokio::test]
    async fn a_deaf_engine_is_noticed() {
        let (heard, engine) = mpsc::channel(1);
        drop(engine);
        let mut outlet = Outlet::new(heard);
        assert!(outlet.put(advertisement()).await.is_err());
        assert!(outlet.put(state("shelf", RadioState::Quiet)).await.is_err());
        assert!(outlet.relieve().await.is_err());
    }
}
