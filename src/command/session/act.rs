//! What a session does with messages, replies and the passing of time.

use std::time::Duration;

use tokio::sync::{mpsc::error::TrySendError, oneshot};
use tracing::{error, info, warn};

use super::{End, MOST_UNWRITTEN, Session, Why};
use crate::{
    command::{
        Asked, Done, NotCarried, Order, UnderWay,
        desk::{Accepted, Decision, Moment, Noted, Refusal},
        errand::CommandName,
        gate::List,
        reason::Reason,
        report,
        standing::Standing,
        wire::{Message, Receipt, Sender},
    },
    engine::ClockQuality,
    uplink::{Fault, RegistryTopic, Topic},
};

/// For how long after connecting a command waits for the clock to be set: a machine without a clock
/// of its own has the time some seconds after it has the network.
const CLOCK_PATIENCE: Duration = Duration::from_mins(2);

/// A snapshot that does not come is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_mins(10);

/// A withdrawal list that does not come is told after this.
const LIST_OVERDUE: Duration = Duration::from_mins(1);

/// The most reports that wait for a connection.
const MOST_REPORTS: usize = 64;

impl Session<'_> {
    /// Does what can be done now.
    pub(super) fn act(&mut self, sender: &Sender) -> Result<(), End> {
        if self.since.is_none() {
            return Ok(());
        }
        let now = self.now();
        let chance = &mut self.command.chance;
        let fence = || format!("{:016x}{:016x}", chance().to_bits(), chance().to_bits());
        if let Some(filters) = self.joining.next(fence, now) {
            sender.subscribe(&filters).map_err(|_| overfull())?;
            self.unwritten += 1;
        }
        self.publish_reports(sender)?;
        while self.kept.under_way.is_none() && !self.held && self.unwritten < MOST_UNWRITTEN {
            let Some(message) = self.waiting.pop_front() else { break };
            self.waiting_bytes = self.waiting_bytes.saturating_sub(message.payload.len());
            self.deal_with(message, sender)?;
            self.publish_reports(sender)?;
        }
        self.ask(sender)
    }

    /// Looks at what only time changes.
    pub(super) fn tick(&mut self) {
        self.held = false;
        let Some(since) = self.since else { return };
        let now = self.now();
        self.joining.tick(now);
        let awaited = self.gate.list == List::Awaited && self.gate.fenced;
        if awaited && !self.list_missed && now.since(since) >= LIST_OVERDUE {
            self.list_missed = true;
            let topic = self.command.topics.spell_registry(RegistryTopic::Withdrawn);
            error!(
                topic,
                "The withdrawal list that was there once is missing; publish it again, retained, \
                 if need be empty. Until then nothing about anybody is sent."
            );
        }
    }

    fn deal_with(&mut self, message: Message, sender: &Sender) -> Result<(), End> {
        if message.topic == self.joining.fence_topic() {
            // It was looked at when it came.
            return self.acknowledge(message.receipt, sender);
        }
        let wall = (self.command.wall)();
        let moment = Moment { unix: wall.unix, quality: wall.quality };
        match self.desk.judge(&message.topic, &message.payload, moment) {
            Decision::Accept(accepted) => {
                self.command.counters.received();
                self.order(accepted, message.receipt)
            }
            Decision::Noted(noted) => {
                self.command.counters.received();
                self.command.counters.noted();
                self.noted(noted, &message.topic);
                self.acknowledge(message.receipt, sender)
            }
            Decision::Refuse(refusal) if self.waits_for_the_clock(refusal) => {
                self.held = true;
                self.waiting_bytes += message.payload.len();
                self.waiting.push_front(message);
                Ok(())
            }
            Decision::Refuse(refusal) => {
                self.command.counters.received();
                self.refuse(refusal, message.again);
                self.acknowledge(message.receipt, sender)
            }
        }
    }

    /// A command whose time cannot be judged yet is held for a while, and everything behind it, so
    /// that the order is kept; the gate is closed meanwhile.
    fn waits_for_the_clock(&self, refusal: Refusal) -> bool {
        let since = self.since.unwrap_or_else(|| self.now());
        refusal.reason == Reason::ClockUnsynced && self.now().since(since) < CLOCK_PATIENCE
    }

    fn order(&mut self, accepted: Accepted, receipt: Receipt) -> Result<(), End> {
        let Accepted { command, number, task, refused, standing } = accepted;
        let (reply_to, reply) = oneshot::channel();
        let order = Order { task, number, standing, reply: reply_to };
        match self.command.orders.try_send(order) {
            Ok(()) => {
                let receipt = Some(receipt);
                self.kept.under_way =
                    Some(UnderWay { reply, command, number, standing, refused, receipt });
                Ok(())
            }
            Err(TrySendError::Closed(_)) => Err(End::Stopped),
            Err(TrySendError::Full(_)) => {
                self.command.counters.failed();
                let why = NotCarried("there is no room for it".to_owned());
                Err(End::Broke(Why::NotCarried(why)))
            }
        }
    }

    /// What became of the order.
    pub(super) fn replied(
        &mut self,
        reply: Result<Result<Done, NotCarried>, oneshot::error::RecvError>,
        sender: &Sender,
    ) -> Result<(), End> {
        let Some(order) = self.kept.under_way.take() else { return Ok(()) };
        let UnderWay { command, number, standing, refused, receipt, .. } = order;
        let done = reply.unwrap_or_else(|_| Err(NotCarried("nobody answered".to_owned())));
        let document = match done {
            Ok(Done::Changed(carried)) => {
                info!(
                    command = command.word(),
                    number,
                    added = carried.added,
                    changed = carried.changed,
                    withdrawn = carried.withdrawn,
                    erased = carried.records_erased,
                    refused = refused.len() + carried.refused.len(),
                    "A command was carried out."
                );
                report::changed(command, number, &refused, &carried, standing)
            }
            Ok(Done::Answered(answer)) => {
                let (from, to) = (answer.from.0, answer.to.0);
                info!(command = command.word(), number, from, to, "A command was carried out.");
                report::answered(command, number, &answer, standing)
            }
            Ok(Done::Refused(reason)) => {
                let refusal = Refusal { command: Some(command), reason, number: Some(number) };
                self.refuse(refusal, false);
                return self.settle(receipt, sender);
            }
            Err(why) => {
                self.command.counters.failed();
                self.report(command.word(), report::failed(command, number, self.desk.standing()));
                return Err(End::Broke(Why::NotCarried(why)));
            }
        };
        self.desk.carried(command, standing);
        self.command.counters.carried();
        match command {
            CommandName::Registry(RegistryTopic::Withdrawn) => self.gate.list = List::Carried,
            CommandName::Registry(RegistryTopic::Snapshot) => self.kept.asked = None,
            _ => {}
        }
        self.report(command.word(), document);
        self.settle(receipt, sender)
    }

    /// First what became of it, then the acknowledgement.
    fn settle(&mut self, receipt: Option<Receipt>, sender: &Sender) -> Result<(), End> {
        self.publish_reports(sender)?;
        match receipt {
            Some(receipt) => self.acknowledge(receipt, sender),
            None => Ok(()),
        }
    }

    fn noted(&mut self, noted: Noted, topic: &str) {
        if self.is_list(topic) {
            self.gate.list = List::Carried;
        }
        if let (Noted::Part { .. }, Some(asked)) = (noted, &mut self.kept.asked) {
            asked.answered = true;
        }
    }

    fn refuse(&mut self, refusal: Refusal, again: bool) {
        let Refusal { command, reason, number } = refusal;
        let standing = self.desk.standing();
        if let (Reason::Replayed, true, Some(command), Some(number)) =
            (reason, again, command, number)
            && is_in_force(command, number, standing)
        {
            // It is in force, and the connection broke before the broker heard so.
            self.command.counters.noted();
            self.report(command.word(), report::done_before(command, number, standing));
            return;
        }
        self.command.counters.refused(reason);
        if command == Some(RegistryTopic::Withdrawn.into()) && reason != Reason::Replayed {
            self.gate.list = List::Refused;
        }
        let now = self.now();
        if let Some(untold) = self.kept.refusals.tell(reason, now) {
            let command = report::name(command);
            warn!(command, number, reason = reason.word(), untold, "A command was refused.");
        }
        if let Some(untold) = self.kept.quota.tell(now) {
            self.report(report::name(command), report::refused(refusal, untold, standing));
        }
    }

    /// Asks for a snapshot if one is wanted, once everything that waited has come.
    fn ask(&mut self, sender: &Sender) -> Result<(), End> {
        let idle = self.waiting.is_empty() && self.kept.under_way.is_none();
        if !self.joining.is_done() || !idle {
            return Ok(());
        }
        let Some(wanted) = self.desk.wanted() else {
            self.kept.asked = None;
            return Ok(());
        };
        let now = self.now();
        if let Some(asked) = &mut self.kept.asked {
            if now.since(asked.at) < ASK_AGAIN {
                return Ok(());
            }
            if !std::mem::take(&mut asked.answered) {
                self.desk.give_snapshots_up();
            }
        }
        // Nothing that enrols anybody is taken before the clock is set.
        if (self.command.wall)().quality == ClockQuality::Unsynced {
            return Ok(());
        }
        self.kept.asked = Some(Asked { at: now, answered: false });
        self.command.counters.asked();
        warn!(
            have = wanted.have,
            need = wanted.need,
            "Commands are missing; a snapshot is asked for."
        );
        self.report(RegistryTopic::Snapshot.word(), report::wanted(wanted));
        self.publish_reports(sender)
    }

    /// A publish of ours was not taken.
    pub(super) fn unpublished(&mut self, why: &'static str) {
        let topic = self.command.topics.spell(Topic::CommandResult("+"));
        let now = self.now();
        if self.kept.unpublished.tell(why, now).is_some() {
            error!(
                topic,
                fence = self.joining.fence_topic(),
                why,
                "The broker refuses what this gateway says about commands; let its user write \
                 these topics in the broker's access rules."
            );
        }
    }

    fn is_list(&self, topic: &str) -> bool {
        self.command.topics.read_registry(topic) == Some(RegistryTopic::Withdrawn)
    }

    /// Something to tell; the oldest is dropped when nobody can be told for long.
    fn report(&mut self, name: &'static str, document: Vec<u8>) {
        if self.kept.reports.len() >= MOST_REPORTS {
            self.kept.reports.pop_front();
        }
        self.kept.reports.push_back((name, document));
    }

    fn publish_reports(&mut self, sender: &Sender) -> Result<(), End> {
        while self.unwritten < MOST_UNWRITTEN
            && let Some((name, document)) = self.kept.reports.pop_front()
        {
            let topic = self.command.topics.spell(Topic::CommandResult(name));
            self.publish(sender, topic, document)?;
        }
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        sender: &Sender,
        topic: String,
        payload: Vec<u8>,
    ) -> Result<(), End> {
        sender.publish(topic, payload).map_err(|_| overfull())?;
        self.unwritten += 1;
        Ok(())
    }

    fn acknowledge(&mut self, receipt: Receipt, sender: &Sender) -> Result<(), End> {
        if sender.acknowledge(receipt).map_err(|_| overfull())? {
            self.unwritten += 1;
        }
        Ok(())
    }
}

/// Whether the command of this number was carried out: among those to a store none is left out,
/// among those to one gateway only the last is known.
fn is_in_force(command: CommandName, number: u64, standing: Standing) -> bool {
    match command {
        CommandName::Registry(_) => number <= standing.last,
        CommandName::Gateway(_) => number == standing.gateway,
    }
}

fn overfull() -> End {
    End::Broke(Why::Fault(Fault::Overfull))
}
