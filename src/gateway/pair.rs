//! The engine's task's end of the way to the other gateway of a pair: gives the line's words to the partner that
//! decides, hands its messages to the line, and says what is worth a word.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::{
    clock::Clock,
    engine::{Engine, Uptime},
    outbox::{self, DiskState},
    standby::{Message, Note, Partner, Tallies, Why, Word},
};

/// How often it is looked whether the platform has everything.
const LOOK: Duration = Duration::from_secs(1);

/// What the engine's task holds of the other gateway.
pub(super) struct Pair {
    pub(super) partner: Partner,
    pub(super) clock: Clock,
    /// What the line has to say.
    pub(super) words: mpsc::Receiver<Word>,
    /// What the line is to tell.
    pub(super) out: mpsc::Sender<Message>,
    pub(super) outbox: watch::Receiver<outbox::Status>,
    pub(super) looked: Uptime,
}

/// How it stands with the other gateway.
#[expect(clippy::struct_excessive_bools, reason = "four things that are each so or not so")]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PairView {
    /// This gateway makes events.
    pub acting: bool,
    /// The other one is heard of.
    pub hears_peer: bool,
    /// The other one makes events.
    pub peer_acts: bool,
    /// Whichever makes none has the whole picture.
    pub followed: bool,
    /// What was counted.
    pub tallies: Tallies,
}

impl Pair {
    pub(super) fn has_left_over(&self) -> bool {
        self.partner.has_left_over()
    }

    pub(super) fn poll_timeout(&self) -> Option<Uptime> {
        self.partner.poll_timeout()
    }

    pub(super) fn registry_changed(&mut self, engine: &mut Engine) {
        self.partner.handle_registry(engine);
    }

    /// Takes what the line has to say.
    pub(super) fn take(&mut self, engine: &mut Engine, word: Word) {
        let (now, partner) = (self.clock.now(), &mut self.partner);
        match word {
            Word::Linked(linked) => partner.handle_link(now, engine, linked),
            Word::State(state) => partner.handle_state(now, engine, state),
            Word::Told(message) => {
                partner.handle_message(now, &self.clock.wall(), engine, &message);
            }
            Word::Echo(echo) => partner.handle_echo(&echo),
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, engine: &mut Engine) {
        let now = self.clock.now();
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            let status = *self.outbox.borrow();
            let nothing_waits = status.pending.records == 0 && status.queued.records == 0;
            if nothing_waits && status.disk == DiskState::Ok {
                self.partner.handle_delivered(now);
            }
        }
        self.partner.handle_timeout(now, engine);
    }

    /// Hands to the line what is to be told. What it has no room for is missed by its number.
    pub(super) fn tell(&mut self) {
        while let Some(message) = self.partner.poll_message() {
            self.out.try_send(message).ok();
        }
        while let Some(note) = self.partner.poll_note() {
            say(&note);
        }
    }

    pub(super) fn view(&self, now: Uptime) -> PairView {
        let partner = &self.partner;
        PairView {
            acting: partner.is_acting(),
            hears_peer: partner.hears_peer(now),
            peer_acts: partner.peer_acts(now),
            followed: partner.is_followed(now),
            tallies: partner.tallies(),
        }
    }
}

fn say(note: &Note) {
    match *note {
        Note::Acts { why: Why::Gone, visits, records, heard, dropped } => {
            let what = "The other gateway is gone; this one makes the events from now on.";
            warn!(visits, records, heard, dropped, "{what}");
            if dropped > 0 {
                let what =
                    "There was no room for all that was heard meanwhile; visits may be missing.";
                error!(dropped, "{what}");
            }
        }
        Note::Acts { why, visits, heard, .. } => {
            let why = why.name();
            info!(why, visits, heard, "This gateway makes the events.");
        }
        Note::StandsDown { why: Why::Both, visits } => {
            let what = "Both gateways made events while they did not hear each other; the lead does from \
                        now on.";
            warn!(visits, "{what}");
        }
        Note::StandsDown { why, visits } => {
            let why = why.name();
            info!(why, visits, "The other gateway makes the events from now on.");
        }
    }
}
