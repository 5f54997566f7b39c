//! What shows that a radio hears: the engine's task notes it in, the room reads it out. Shared, because
//! it is about every advertisement and the room looks once a second.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use crate::engine::{RadioState, ReceiverId};

/// Of each radio, and of the engine's task.
#[derive(Debug)]
pub struct Proofs {
    radios: BTreeMap<ReceiverId, Radio>,
    /// Grows while the engine's task lives.
    beats: AtomicU64,
    /// How often who is enrolled has changed.
    registry: AtomicU64,
}

#[derive(Debug, Default)]
struct Radio {
    heard: AtomicU64,
    quiet: AtomicBool,
    deaf: AtomicBool,
}

/// What is shown at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Proof {
    /// How many advertisements were looked at, strangers' included.
    pub heard: u64,
    /// Grows while the engine's task lives.
    pub beats: u64,
    /// The radio is known to hear although nothing comes.
    pub quiet: bool,
    /// The radio is known not to hear, or doubted.
    pub deaf: bool,
}

impl Proofs {
    /// Of these radios nothing was heard yet.
    pub fn new(receivers: impl IntoIterator<Item = ReceiverId>) -> Self {
        let radios = receivers.into_iter().map(|id| (id, Radio::default())).collect();
        Self { radios, beats: AtomicU64::new(0), registry: AtomicU64::new(0) }
    }

    /// The radios.
    pub fn receivers(&self) -> Vec<ReceiverId> {
        self.radios.keys().cloned().collect()
    }

    /// An advertisement was looked at, whoever sent it.
    pub fn heard(&self, receiver: &ReceiverId) {
        if let Some(radio) = self.radios.get(receiver) {
            radio.heard.fetch_add(1, Relaxed);
        }
    }

    /// A radio's state changed.
    pub fn radio(&self, receiver: &ReceiverId, state: RadioState) {
        if let Some(radio) = self.radios.get(receiver) {
            radio.quiet.store(state == RadioState::Quiet, Relaxed);
            let deaf = matches!(state, RadioState::Suspect { .. } | RadioState::Deaf { .. });
            radio.deaf.store(deaf, Relaxed);
        }
    }

    /// The engine's task is alive.
    pub fn beat(&self) {
        self.beats.fetch_add(1, Relaxed);
    }

    /// Who is enrolled has changed. What was made before and not sent yet never is.
    pub fn registry_changed(&self) {
        self.registry.fetch_add(1, Relaxed);
    }

    /// How often who is enrolled has changed.
    pub fn registry(&self) -> u64 {
        self.registry.load(Relaxed)
    }

    /// What a radio shows now.
    pub fn of(&self, receiver: &ReceiverId) -> Proof {
        let Some(radio) = self.radios.get(receiver) else { return Proof::default() };
        Proof {
            heard: radio.heard.load(Relaxed),
            beats: self.beats.load(Relaxed),
            quiet: radio.quiet.load(Relaxed),
            deaf: radio.deaf.load(Relaxed),
        }
    }
}

impl Proof {
    /// Whether the radio has heard up to now, by what was shown before: something came, or nothing
    /// does and somebody who lives knows why.
    pub fn vouches_since(&self, before: &Self) -> bool {
        !self.deaf && (self.heard != before.heard || self.quiet && self.beats != before.beats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{DeafCause, Uptime};

    #[test]
    fn a_radio_vouches_when_something_came_or_its_silence_is_explained() {
        let local = ReceiverId::new("local");
        let proofs = Proofs::new([local.clone()]);
        let mut before = proofs.of(&local);
        let mut vouches = |proofs: &Proofs| {
            let proof = proofs.of(&local);
            proof.vouches_since(&std::mem::replace(&mut before, proof))
        };
        assert!(!vouches(&proofs), "nothing was heard yet");
        proofs.heard(&local);
        assert!(vouches(&proofs) && !vouches(&proofs));
        proofs.beat();
        assert!(!vouches(&proofs), "that the engine lives does not say that the radio does");
        proofs.radio(&local, RadioState::Quiet);
        assert!(!vouches(&proofs), "nor is a silence explained by an engine that stands still");
        proofs.beat();
        assert!(vouches(&proofs));
        let deaf = RadioState::Deaf { since: Uptime::ZERO, cause: DeafCause::NoAdapter };
        for state in [deaf, RadioState::Suspect { since: Uptime::ZERO }] {
            proofs.radio(&local, state);
            proofs.heard(&local);
            proofs.beat();
            assert!(!vouches(&proofs), "{state:?}");
        }
        // Of one that is not known nothing is noted, and it shows nothing.
        proofs.heard(&ReceiverId::new("other"));
        assert_eq!(proofs.of(&ReceiverId::new("other")), Proof::default());
    }
}
