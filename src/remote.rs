//! Room 1, too: what foreign gateways heard and published over MQTT in, [`Advertisement`]s out, through
//! the same edge as those of the local radios. Strangers die in the same place: behind it.
//!
//! # What it promises
//! - What is read is rebuilt as it was sent, with the receiver that heard it, and is dated by the
//!   receiver's clock to when it was heard, never to the future.
//! - Any topic and any payload is read, or refused for a reason with a name; nothing of it is repeated
//!   in a log, an error or a document.
//! - When the engine is behind, advertisements are dropped and counted; a receiver's state waits.
//! - A receiver that falls silent freezes presence where it stands; nobody leaves because of it.
//!
//! # Layout, in reading order
//! | file | what it holds |
//! |---|---|
//! | `settings`, `filter` | `[[remote]]`, topic filters |
//! | `format` | what all formats have in common |
//! | `theengs`, `espresense`, `ruuvi`, `shelly`, `minew` | one format each, pure |
//! | `sealed` | what another gateway of this program sends, pure |
//! | `structures`, `json` | AD structures put back together; times, lists, hexadecimal |
//! | `sender_clock` | how far a receiver's clock is from ours, pure |
//! | `ear` | what a receiver's silence means, pure |
//! | `desk` | the decider of one line, pure |
//! | `session`, `wire`, `outlet` | one line's life; rumqttc; the edge to the engine |
//! | `account` | counters |
//!
//! [`Advertisement`]: crate::engine::Advertisement

mod account;
mod desk;
mod ear;
mod espresense;
mod filter;
mod format;
mod json;
mod minew;
mod outlet;
mod ruuvi;
mod sealed;
mod sender_clock;
mod session;
mod settings;
mod shelly;
mod structures;
mod theengs;
pub(crate) mod wire;

#[cfg(test)]
mod totality;

use std::{path::Path, sync::Arc};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{error, warn};

pub use self::{
    account::RemoteCounters,
    desk::{Desk, Note, Receiver},
    ear::{Ear, Patience},
    filter::{Filter, NotAFilter},
    format::{Format, LARGEST_MESSAGE, MOST_ENTRIES, Message, Refusal, Sighting, Sign},
    json::Stamp,
    sealed::{Opened, Opener},
    sender_clock::SenderClock,
    settings::{Group, Settings, check, groups},
};
use self::{outlet::Outlet, session::Session, wire::Lasting};
use crate::{
    clock::Clock,
    engine::ReceiverId,
    relay::KeyError,
    scan::Heard,
    uplink::{Repeats, UplinkError},
};

/// What is put behind the uplink's client identifier, with the name of the line's first receiver: each
/// connection needs its own.
const CLIENT_SUFFIX: &str = "-remote-";

/// Everything the room needs.
#[derive(Debug)]
pub struct Remote {
    lines: Vec<Line>,
    clock: Clock,
}

#[derive(Debug)]
struct Line {
    lasting: Lasting,
    receivers: Vec<(Receiver, Arc<RemoteCounters>)>,
    openers: Vec<(ReceiverId, Opener)>,
}

impl Remote {
    /// Reads what it takes to be let in by each broker. `counters` has one for each receiver.
    pub fn load(
        groups: Vec<Group>,
        credentials: Option<&Path>,
        client_id: &str,
        counters: &[Arc<RemoteCounters>],
        clock: Clock,
    ) -> Result<Self, UplinkError> {
        let line = |group: Group| {
            let (credentials, own_broker) =
                (group.credentials(credentials), group.has_own_broker());
            let first = group.receivers.first().map_or("", |receiver| receiver.id.as_str());
            let client_id = format!("{client_id}{CLIENT_SUFFIX}{first}");
            let repeats = Repeats::of("No line to remote receivers")
                .with_keys_in(own_broker.then_some("remote"));
            let lasting = Lasting::load(group.line, credentials, client_id, clock, repeats)?;
            // The uplink says the same of its own broker.
            for advisory in lasting.access().advisories().iter().filter(|_| own_broker) {
                warn!("{advisory}");
            }
            let counted = |receiver: Receiver| {
                let known = counters.iter().find(|counters| counters.id == receiver.id);
                let counters = known.cloned().unwrap_or_else(|| {
                    Arc::new(RemoteCounters::new(receiver.id.clone(), receiver.format))
                });
                (receiver, counters)
            };
            let receivers = group.receivers.into_iter().map(counted).collect();
            Ok(Line { lasting, receivers, openers: Vec::new() })
        };
        Ok(Self { lines: groups.into_iter().map(line).collect::<Result<_, UplinkError>>()?, clock })
    }

    /// Reads the keys of those that seal what they send.
    pub fn unsealing(
        mut self,
        remotes: &[Settings],
        credentials: Option<&Path>,
    ) -> Result<Self, KeyError> {
        for line in &mut self.lines {
            for remote in remotes {
                let id = remote.receiver_id();
                if line.receivers.iter().any(|(receiver, _)| receiver.id == id) {
                    let opener = remote.opener(credentials)?;
                    line.openers.extend(opener.map(|opener| (id, opener)));
                }
            }
        }
        Ok(self)
    }
}

/// Listens to every remote receiver until `stop` becomes true, or until nobody takes what is heard.
pub async fn run(remote: Remote, heard: mpsc::Sender<Heard>, stop: watch::Receiver<bool>) {
    let Remote { lines, clock } = remote;
    let mut sessions = JoinSet::new();
    for Line { lasting, receivers, openers } in lines {
        let mut desk = Desk::new(receivers, clock.now());
        desk.handle_clock(clock.wall());
        for (id, opener) in openers {
            desk = desk.opening(&id, opener);
        }
        let session = Session::new(clock, desk, Outlet::new(heard.clone()), stop.clone());
        sessions.spawn(async move { drop(lasting.run(session).await) });
    }
    drop(heard);
    while let Some(end) = sessions.join_next().await {
        if end.is_err() {
            // The others go on. Nothing restarts this one: a defect is for systemd to see.
            error!("A line to remote receivers panicked; restart the gateway.");
        }
    }
}
