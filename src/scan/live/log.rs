//! What a technician is told about one receiver: each change once, in words.

use tracing::{debug, error, info, warn};

use super::{LiveError, Step};
use crate::{
    engine::{DeafCause, RadioState, ReceiverId},
    scan::Plane,
};

/// What was told about one receiver.
pub(super) struct Log {
    receiver: ReceiverId,
    /// Why the last attempt failed.
    trouble: Option<LiveError>,
    /// The last state told was deaf.
    deaf: bool,
    /// The steps that were told since the receiver last heard.
    steps: Vec<Step>,
    /// The plane of the last scan that was told.
    plane: Option<Plane>,
}

impl Log {
    pub(super) fn new(receiver: ReceiverId) -> Self {
        Self { receiver, trouble: None, deaf: false, steps: Vec::new(), plane: None }
    }

    pub(super) fn running(&mut self, adapter: &str, plane: Plane) {
        let (receiver, name) = (self.receiver.as_str(), plane.name());
        if self.plane.replace(plane) == Some(plane) {
            debug!(receiver, adapter, plane = name, "Scanning started anew.");
        } else {
            info!(receiver, adapter, plane = name, "Scanning started.");
        }
    }

    pub(super) fn trouble(&mut self, error: LiveError) {
        self.trouble = Some(error);
    }

    /// A step is tried. In an outage each is told once; in an empty shop it is nobody's concern.
    pub(super) fn step(&mut self, step: Step) {
        let (receiver, name) = (self.receiver.as_str(), step.name());
        if self.deaf && !self.steps.contains(&step) {
            self.steps.push(step);
            warn!(receiver, step = name, "Trying to recover the radio.");
        } else {
            debug!(receiver, step = name, "Checking the radio.");
        }
    }

    pub(super) fn state(&mut self, state: RadioState) {
        let receiver = self.receiver.as_str();
        let was_deaf = std::mem::replace(&mut self.deaf, false);
        match state {
            RadioState::Hearing => {
                self.steps.clear();
                if was_deaf {
                    info!(receiver, "The radio hears again.");
                } else {
                    debug!(receiver, "The radio hears.");
                }
            }
            RadioState::Quiet if was_deaf => {
                info!(receiver, "The radio works again; nobody is here.");
            }
            RadioState::Quiet => debug!(receiver, "The silence was checked; nobody is here."),
            RadioState::Suspect { .. } => debug!(receiver, "Nothing is heard; presence waits."),
            RadioState::Deaf { cause, .. } => {
                self.deaf = true;
                let trouble = self.trouble.as_ref().filter(|trouble| trouble.cause() == cause);
                let trouble = trouble.map(ToString::to_string).unwrap_or_default();
                let needs_hands = matches!(cause, DeafCause::NoAdapter | DeafCause::PoweredOff);
                let cause = cause.name();
                if needs_hands {
                    let what = "The radio is deaf until somebody sees to the adapter.";
                    error!(receiver, cause, trouble, "{what}");
                } else {
                    let what = "The radio is deaf; presence is frozen until it hears again.";
                    warn!(receiver, cause, trouble, "{what}");
                }
            }
        }
    }
}
