//! Drives the engine: what was heard and the passing of time in; records for the outbox out.
//!
//! The doer to the engine's decider. It waits for the disk when the outbox is behind, and never
//! for the network.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{
    clockwatch::ClockWatch,
    pair::{Pair, PairView},
    spotter::Spotter,
};
use crate::{
    checkpoint::{self, Earlier},
    clock::Clock,
    discovery::Board,
    engine::{
        Alarm, Counts, DeafCause, Engine, Enrolment, EnrolmentReport, FixtureTally, Pseudonym,
        RadioState, ReceiverId, Registry, Rejection, Said, Situation, Uptime, What,
    },
    forget,
    outbox::{
        Write,
        record::{Record, RunId},
    },
    scan::{CanarySightings, Heard},
    standby::Word,
};

/// How often the engine's clock is compared with the wall clock and its counts are shown.
const TICK: Duration = Duration::from_secs(1);

/// How much is heard, or written, together at the most; more writes happen at once only when a crowd
/// leaves.
const TOGETHER: usize = 128;

/// What the engine shows of itself, once a second.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    /// When this was true: the watchdog looks whether it moves.
    pub at: Uptime,
    /// What was seen so far.
    pub counts: Counts,
    /// Visits that are open.
    pub visits_open: usize,
    /// The state of each receiver, as last told.
    pub radios: BTreeMap<ReceiverId, RadioState>,
    /// What receivers were found to hear more than the floor plan says, in dB.
    pub corrections: BTreeMap<ReceiverId, f32>,
    /// What became of the frames of the fixtures of which there is something to tell, by their names.
    pub fixtures: Vec<(String, FixtureTally)>,
    /// How it stands with the other gateway of a pair, if there is one.
    pub pair: Option<PairView>,
}

/// A change of who is enrolled, on its way into the engine.
#[derive(Debug)]
pub(super) struct Enrol {
    pub(super) who: Who,
    /// Where to say what it led to, once all of that was handed to the outbox.
    pub(super) reply: oneshot::Sender<EnrolmentReport>,
}

/// Who is enrolled from now on.
#[derive(Debug)]
pub(super) enum Who {
    /// These, and nobody else.
    All(Registry),
    /// As before, but for these.
    Change(Vec<Enrolment>),
}

/// What the engine's task holds besides the engine.
pub(super) struct Drive {
    pub(super) clock: Clock,
    pub(super) run: RunId,
    pub(super) watch: ClockWatch,
    /// The receivers there are.
    pub(super) receivers: Vec<ReceiverId>,
    /// What dates the visits that ended with an earlier run, until they are told.
    pub(super) earlier: BTreeMap<Pseudonym, Earlier>,
    pub(super) heard: mpsc::Receiver<Heard>,
    pub(super) enrolments: mpsc::Receiver<Enrol>,
    pub(super) writes: mpsc::Sender<Write>,
    pub(super) pulse: watch::Sender<Pulse>,
    pub(super) canaries: watch::Sender<CanarySightings>,
    /// Told when the clock is believed, or no longer: the uplink may have waited for it.
    pub(super) reconsider: watch::Sender<()>,
    /// In a receiver: who is told what is heard.
    pub(super) spotter: Option<Spotter>,
    /// Where there is a second gateway that makes events when this one does not.
    pub(super) pair: Option<Pair>,
    /// Where the latest of every fixture is shown, if anybody looks.
    pub(super) board: Option<Board>,
    /// It made events when it last looked.
    pub(super) acted: bool,
    /// Records handed to the outbox so far.
    pub(super) appended: u64,
}

/// What the engine's task leaves behind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Driven {
    /// What the engine saw.
    pub(super) counts: Counts,
    /// Records handed to the outbox.
    pub(super) appended: u64,
}

/// The outbox has ended; nothing more can be kept.
#[derive(Debug)]
pub(super) struct OutboxGone;

impl Drive {
    /// Runs until `heard` is closed and everything it led to was handed to the outbox.
    ///
    /// `records` are what the gateway says before anything is heard.
    pub(super) async fn run(
        mut self,
        mut engine: Engine,
        records: Vec<Record>,
    ) -> Result<Driven, OutboxGone> {
        // By what this run's records are dated later is kept before there are any.
        let clock = self.watch.write();
        self.send(clock).await?;
        for record in records {
            self.appended += 1;
            self.send(append(record)).await?;
        }
        let mut radios = BTreeMap::new();
        let mut inbox = Vec::with_capacity(TOGETHER);
        let mut ticks = interval_at(self.instant(self.clock.now() + TICK), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.deliver(&mut engine).await?;
        loop {
            if !self.pair.as_ref().is_some_and(Pair::has_left_over) {
                self.earlier.clear();
            }
            let pair_due = self.pair.as_ref().and_then(Pair::poll_timeout);
            let deadline = [engine.poll_timeout(), pair_due].into_iter().flatten().min();
            let deadline = deadline.map(|deadline| self.instant(deadline));
            let sleep = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // A withdrawn consent does not wait for a busy air.
                Some(Enrol { who, reply }) = self.enrolments.recv() => {
                    self.wake(&mut engine, &radios);
                    let now = self.clock.now();
                    let report = match who {
                        Who::All(registry) => engine.handle_registry(now, registry),
                        Who::Change(enrolments) => engine.handle_enrolment(now, enrolments),
                    };
                    if let Some(spotter) = &self.spotter {
                        spotter.proofs.registry_changed();
                    }
                    if let Some(pair) = &mut self.pair {
                        pair.registry_changed(&mut engine);
                    }
                    // Keys were on the stack; they are not to be carried into what is made next.
                    forget::burn_stack();
                    // What it led to is on its way to the disk before anybody is told.
                    self.deliver(&mut engine).await?;
                    self.let_through().await?;
                    drop(reply.send(report));
                }
                // What the other one tells does not wait either: it may be waiting for our answer.
                Some(word) = next_word(&mut self.pair) => {
                    self.wake(&mut engine, &radios);
                    if let Some(pair) = &mut self.pair {
                        pair.take(&mut engine, word);
                    }
                    forget::burn_stack();
                }
                received = self.heard.recv_many(&mut inbox, TOGETHER) => {
                    if received == 0 {
                        break;
                    }
                    self.wake(&mut engine, &radios);
                    for heard in inbox.drain(..) {
                        self.hear(&mut engine, &mut radios, heard);
                    }
                    forget::burn_stack();
                }
                () = sleep => {
                    self.wake(&mut engine, &radios);
                    engine.handle_timeout(self.clock.now());
                    if let Some(pair) = &mut self.pair {
                        pair.handle_timeout(&mut engine);
                    }
                }
                _ = ticks.tick() => {
                    if let Some(spotter) = &self.spotter {
                        spotter.proofs.beat();
                    }
                    self.wake(&mut engine, &radios);
                    let look = self.watch.look();
                    engine.handle_clock(look.wall);
                    if let Some(write) = look.write {
                        self.send(write).await?;
                    }
                    if look.changed {
                        self.reconsider.send_replace(());
                    }
                }
            }
            self.deliver(&mut engine).await?;
            self.show(&engine, &radios);
        }
        engine.handle_stop(self.clock.now());
        self.deliver(&mut engine).await?;
        self.let_through().await?;
        let clock = self.watch.write();
        self.send(clock).await?;
        Ok(Driven { counts: engine.counts(), appended: self.appended })
    }

    /// While the machine slept no receiver heard anything, so nobody has left. Before anything else
    /// is made of the time that passed, the engine is told so.
    fn wake(&mut self, engine: &mut Engine, radios: &BTreeMap<ReceiverId, RadioState>) {
        let Some(slept) = self.watch.slept() else { return };
        let now = self.clock.now();
        let cause = DeafCause::Suspended;
        for receiver in &self.receivers {
            let state = radios.get(receiver).copied().unwrap_or_default();
            // Who was deaf before still is.
            if !matches!(state, RadioState::Deaf { .. }) {
                engine.handle_radio(now, receiver, RadioState::Deaf { since: now - slept, cause });
                engine.handle_radio(now, receiver, state);
            }
        }
    }

    /// Not part of the loop above, so that what it leaves on the stack can be cleared from there.
    #[inline(never)]
    fn hear(
        &mut self,
        engine: &mut Engine,
        radios: &mut BTreeMap<ReceiverId, RadioState>,
        heard: Heard,
    ) {
        match heard {
            Heard::Advertisement(advertisement) => match (&self.spotter, &mut self.pair) {
                (Some(spotter), _) => spotter.hear(engine, &advertisement),
                (None, Some(pair)) => pair.partner.hear(engine, &advertisement),
                (None, None) => engine.handle_advertisement(advertisement.heard, &advertisement),
            },
            Heard::Relayed(relayed) => match &mut self.pair {
                Some(pair) => pair.partner.hear_relayed(engine, relayed),
                None => engine.handle_relayed(&relayed),
            },
            Heard::Radio(receiver, state) => {
                if let Some(spotter) = &self.spotter {
                    spotter.radio(&receiver, state);
                }
                engine.handle_radio(self.clock.now(), &receiver, state);
                radios.insert(receiver, state);
            }
            Heard::Recording => engine.handle_recording(self.clock.now()),
        }
    }

    /// Hands what the engine made to the outbox; waits while the disk is behind.
    async fn deliver(&mut self, engine: &mut Engine) -> Result<(), OutboxGone> {
        self.recall(engine);
        let (mut records, mut changes, mut fixtures) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(situation) = engine.poll_event() {
            tell(&situation);
            if let (Some(board), What::Sensor { fixture, said, .. }) =
                (&self.board, &situation.what)
            {
                board.note(fixture, said, engine.product(fixture));
            }
            records.push(self.record(&situation));
        }
        while let Some(change) = engine.poll_checkpoint() {
            changes.push(change);
        }
        let wall = self.clock.wall();
        while let Some(change) = engine.poll_fixture() {
            fixtures.extend(checkpoint::fixture::write(&change, &wall, self.run));
        }
        if let Some(pair) = &mut self.pair {
            // It is told the other gateway first.
            pair.partner.keep(self.clock.now(), &wall, records, (changes, fixtures));
            pair.tell();
            return self.hand_on().await;
        }
        let mut writes: Vec<Write> = records.into_iter().map(append).collect();
        writes.extend(changes.iter().map(|change| checkpoint::write(change, &wall, self.run)));
        writes.extend(fixtures);
        self.keep(writes).await
    }

    /// As it begins to make events: shows the alerts that stand since before.
    fn recall(&mut self, engine: &Engine) {
        let acts = self.pair.as_ref().is_none_or(|pair| pair.partner.is_acting());
        let acted = std::mem::replace(&mut self.acted, acts);
        if let Some(board) = self.board.as_ref().filter(|_| acts && !acted) {
            for (fixture, alerts) in engine.standing_alerts() {
                board.recall(fixture, &alerts);
            }
        }
    }

    /// Hands what the other gateway has, or nobody waits for, to the outbox.
    async fn hand_on(&mut self) -> Result<(), OutboxGone> {
        while let Some(writes) = self.pair.as_mut().and_then(|pair| pair.partner.poll_writes()) {
            self.keep(writes).await?;
        }
        Ok(())
    }

    /// Hands everything to the outbox, whether the other gateway has it or not.
    async fn let_through(&mut self) -> Result<(), OutboxGone> {
        if let Some(pair) = &mut self.pair {
            pair.partner.open_gate();
        }
        self.hand_on().await
    }

    /// What happened and what is remembered of it are kept in one commit.
    async fn keep(&mut self, mut writes: Vec<Write>) -> Result<(), OutboxGone> {
        let is_record = |write: &&Write| matches!(write, Write::Append(_));
        let records = writes.iter().filter(is_record).count();
        self.appended += u64::try_from(records).unwrap_or(u64::MAX);
        while writes.len() > TOGETHER {
            let rest = writes.split_off(TOGETHER);
            self.send(Write::Together(writes)).await?;
            writes = rest;
        }
        if writes.is_empty() { Ok(()) } else { self.send(Write::Together(writes)).await }
    }

    fn record(&self, situation: &Situation) -> Record {
        let record = Record::of(situation, self.run, &self.clock.wall());
        let What::Presence(presence) = &situation.what else { return record };
        match self.earlier.get(&presence.subject) {
            Some(earlier) => record.told_as(earlier.told(situation.at)),
            None => record,
        }
    }

    async fn send(&mut self, write: Write) -> Result<(), OutboxGone> {
        self.writes.send(write).await.map_err(|_| OutboxGone)
    }

    fn show(&self, engine: &Engine, radios: &BTreeMap<ReceiverId, RadioState>) {
        let now = self.clock.now();
        self.pulse.send_if_modified(|pulse| {
            let due = now.since(pulse.at) >= TICK;
            if due {
                let (counts, visits_open) = (engine.counts(), engine.visits_open());
                let corrections = engine.corrections().map(|(id, db)| (id.clone(), db)).collect();
                let radios = radios.clone();
                let pair = self.pair.as_ref().map(|pair| pair.view(now));
                let fixtures = engine.fixture_tallies();
                let fixtures = fixtures.map(|(id, tally)| (id.to_owned(), tally)).collect();
                *pulse =
                    Pulse { at: now, counts, visits_open, radios, corrections, fixtures, pair };
            }
            due
        });
        self.canaries.send_if_modified(|told| {
            // Once a second is enough: a canary may be silent for many.
            let due = engine.canaries().iter().any(|(receiver, heard)| {
                told.get(receiver).is_none_or(|told| heard.since(*told) >= TICK)
            });
            if due {
                told.clone_from(engine.canaries());
            }
            due
        });
    }

    fn instant(&self, at: Uptime) -> Instant {
        self.clock.instant(at)
    }
}

/// A record on its way into the outbox.
pub fn append(record: Record) -> Write {
    Write::Append(record.into_entry())
}

/// What the line to the other gateway has to say next; for ever nothing without one.
async fn next_word(pair: &mut Option<Pair>) -> Option<Word> {
    match pair {
        Some(pair) => match pair.words.recv().await {
            Some(word) => Some(word),
            // The line has ended, and with it the gateway soon.
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Why frames are refused, if the alarm is about that.
fn refused(alarm: &Alarm) -> Option<Rejection> {
    let reason = |rejection: &Rejection| rejection.word() == alarm.condition;
    Rejection::ALL.into_iter().find(reason).filter(|_| alarm.rule == "refused")
}

/// What to do about it.
const fn advice(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::NoKey => {
            "it is encrypted; put its bind key into a file and name that in `bind_key_file`, or let the \
             receiver tell addresses"
        }
        Rejection::WrongKey => {
            "its bind key does not open it; compare the two, and whether another device has its name"
        }
        Rejection::Truncated => "it is cut off; look at the sensor, and at who else is near",
        Rejection::Replayed => {
            "its counter does not grow: somebody repeats what it sent, or it began anew; if it did, give the \
             fixture another `id`, or start once without it"
        }
        Rejection::Plain => {
            "it is not encrypted although there is a key; encrypt at the sensor, or take the key out"
        }
    }
}

/// One line an event, without anything personal beyond the pseudonym.
fn tell(situation: &Situation) {
    match &situation.what {
        What::Presence(presence) => {
            let zone = presence.zone().map(ToString::to_string);
            tracing::debug!(subject = %presence.subject, zone, "A subject's presence changed.");
        }
        What::Sensor { fixture, said, .. } => match said {
            Said::Measured(_) => tracing::debug!(fixture, "A fixture measured something."),
            Said::Pressed { .. } => {
                tracing::debug!(fixture, "Somebody pressed a fixture's button.");
            }
            Said::Alerted(alarm) => {
                if let Some(rejection) = refused(alarm) {
                    let (reason, advice) = (rejection.word(), advice(rejection));
                    tracing::warn!(
                        fixture,
                        reason,
                        "What a fixture seems to send is refused: {advice}."
                    );
                } else {
                    let rule = alarm.rule.as_str();
                    tracing::warn!(fixture, rule, "Something is wrong with a fixture.");
                }
            }
            Said::Cleared { alarm, .. } => {
                tracing::info!(fixture, rule = alarm.rule, "A fixture is all right again.");
            }
            Said::Silent { .. } => {
                tracing::warn!(fixture, "A fixture is not heard any more; look at its battery.");
            }
        },
        What::Counted(count) => {
            tracing::debug!(zone = %count.zone, addresses = count.addresses, "A zone was counted.");
        }
        What::RadioDeaf { .. } | What::RadioRecovered { .. } => {}
    }
}
