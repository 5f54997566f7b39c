//! Messages of the broker in; orders, or reasons to refuse, out. Pure: `session.rs` does what is
//! decided here.
//!
//! The numbers of a store's registry begin with 1 and leave none out. What is next in order is
//! carried out. What was before is refused as replayed. What is beyond shows a gap: an upsert there
//! is refused, because it may undo what is missing; a withdrawal there is carried out all the same,
//! because forgetting somebody is always safe, and from then on no snapshot may be taken that is
//! older than it. Only a snapshot closes a gap. The retained documents take no number of their own:
//! theirs says as of which change they are true.
//!
//! Commands to this gateway alone have numbers of their own, which only grow: they change nothing
//! that a missing one could have changed otherwise, so a gap among them means nothing.
//!
//! While the clock has not been set nobody can say whether a command's time is over. Withdrawals
//! and what changes nothing about anybody are accepted then, whatever enrols is refused.

use super::{
    change::{self, Change, Part, RefusedEntry},
    errand::{CommandName, Errand, ErrandName},
    keyring::Keyring,
    reason::Reason,
    snapshot::{Collected, Collector},
    standing::Standing,
    token::{self, Claims},
};
use crate::{
    engine::{ClockQuality, UnixTime},
    uplink::{RegistryTopic, Topic, Topics},
};

/// How far a platform's clock may be ahead of ours, in seconds.
const MOST_AHEAD: i64 = 300;

/// Judges commands.
pub struct Desk {
    keyring: Keyring,
    topics: Topics,
    store: String,
    gateway: String,
    standing: Standing,
    /// The highest number of the registry that somebody trusted has spoken of.
    heard: u64,
    /// The withdrawal list of the standing was looked at since the start: somebody may have
    /// enrolled by hand, meanwhile, who is on it.
    list_seen: bool,
    snapshots: Collector,
}

/// What is to be done with a message.
#[derive(Debug)]
pub enum Decision {
    /// It is to be carried out; [`Desk::carried`] is to be told when it was.
    Accept(Accepted),
    /// It is sound, and there is nothing to be done.
    Noted(Noted),
    /// It is not to be carried out.
    Refuse(Refusal),
}

/// A command that is to be carried out.
#[derive(Debug)]
pub struct Accepted {
    /// Which command.
    pub command: CommandName,
    /// Its number.
    pub number: u64,
    /// What is to be done.
    pub task: Task,
    /// Entries of it that are wrong, and are left out of the change.
    pub refused: Vec<RefusedEntry>,
    /// What is true once it was carried out, to be kept with it.
    pub standing: Standing,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// The registry is to be changed.
    Change(Change),
    /// The outbox is to be asked.
    Errand(Errand),
}

/// Why there is nothing to be done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// It says what is already so.
    Known,
    /// It says that there is more than we have.
    Behind,
    /// It is a part of a snapshot, of which so many are still missing.
    Part {
        /// How many.
        missing: u32,
    },
}

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The command, by the topic it came on; `None` for one that does not exist.
    pub command: Option<CommandName>,
    /// Why.
    pub reason: Reason,
    /// The number it claims, if the signature under the claim is good.
    pub number: Option<u64>,
}

/// A snapshot is wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Wanted {
    /// Up to which number everything is there.
    pub have: u64,
    /// As of which number, or a later one, the snapshot must be.
    pub need: u64,
}

/// The time by the wall, and how far to trust it.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall time.
    pub unix: UnixTime,
    /// Whether it follows a time source.
    pub quality: ClockQuality,
}

/// Where a message came from.
#[derive(Clone, Copy)]
enum Place<'a> {
    Registry(RegistryTopic),
    Gateway(&'a str),
}

// === impl Desk ===

impl Desk {
    /// A desk for the gateway of these topics, that has come as far as `standing`.
    pub fn new(keyring: Keyring, topics: Topics, standing: Standing) -> Self {
        Self {
            keyring,
            store: topics.store_address(),
            gateway: topics.gateway_address(),
            topics,
            standing,
            heard: standing.last,
            list_seen: false,
            snapshots: Collector::default(),
        }
    }

    /// Says what is to be done with a message. Nothing counts as done before [`Desk::carried`].
    pub fn judge(&mut self, topic: &str, bytes: &[u8], now: Moment) -> Decision {
        let Some(place) = self.place(topic) else {
            return Decision::Refuse(Refusal {
                command: None,
                reason: Reason::UnknownCommand,
                number: None,
            });
        };
        let command = place.command();
        let refuse = |reason, number| Decision::Refuse(Refusal { command, reason, number });
        let claims = match token::open(&self.keyring, bytes) {
            Ok(claims) => claims,
            Err(reason) => return refuse(reason, None),
        };
        let number = claims.num;
        match self.consider(place, claims, now) {
            Ok(decision) => decision,
            Err(reason) => refuse(reason, Some(number)),
        }
    }

    /// A command was carried out, and this is true now.
    pub fn carried(&mut self, command: CommandName, standing: Standing) {
        self.list_seen |= command == RegistryTopic::Withdrawn.into();
        self.standing = standing;
        self.heard = self.heard.max(standing.last);
        self.snapshots.forget_up_to(standing.last);
    }

    /// How far we are.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether something is missing that only a snapshot can bring.
    pub fn wanted(&self) -> Option<Wanted> {
        let (have, need) = (self.standing.last, self.heard.max(self.standing.floor));
        (need > have).then_some(Wanted { have, need })
    }

    /// Forgets snapshots that were begun and not completed, because the rest is not coming.
    pub fn give_snapshots_up(&mut self) {
        self.snapshots.clear();
    }

    fn place<'a>(&self, topic: &'a str) -> Option<Place<'a>> {
        if let Some(topic) = self.topics.read_registry(topic) {
            return Some(Place::Registry(topic));
        }
        match Topics::read(topic) {
            Ok((topics, Topic::Command(name))) if topics == self.topics => {
                Some(Place::Gateway(name))
            }
            _ => None,
        }
    }

    /// Judges what somebody trusted says.
    fn consider(
        &mut self,
        place: Place<'_>,
        claims: Claims,
        now: Moment,
    ) -> Result<Decision, Reason> {
        if claims.cmd != place.name() {
            return Err(Reason::WrongTopic);
        }
        let to_gateway = claims.aud.names(&self.gateway);
        match place {
            Place::Gateway(_) if !to_gateway => Err(Reason::Audience),
            Place::Gateway(name) => self.errand(name, claims, now),
            Place::Registry(_) if !to_gateway && !claims.aud.names(&self.store) => {
                Err(Reason::Audience)
            }
            Place::Registry(topic) => match topic {
                RegistryTopic::Upsert => self.upsert(claims, now),
                RegistryTopic::Withdraw => self.withdraw(claims, now),
                RegistryTopic::Snapshot => self.snapshot(claims, now),
                RegistryTopic::Withdrawn => self.withdrawn(claims, now),
                RegistryTopic::Version => self.version(claims, now),
            },
        }
    }

    fn errand(&self, name: &str, claims: Claims, now: Moment) -> Result<Decision, Reason> {
        let number = claims.num;
        let name = ErrandName::from_word(name).ok_or(Reason::UnknownCommand)?;
        if number <= self.standing.gateway {
            return Err(Reason::Replayed);
        }
        in_time(&claims, now, true)?;
        let errand = name.read(claims.body).ok_or(Reason::Body)?;
        let standing = Standing { gateway: number, ..self.standing };
        Ok(Decision::Accept(Accepted {
            command: name.into(),
            number,
            task: Task::Errand(errand),
            refused: Vec::new(),
            standing,
        }))
    }

    fn upsert(&mut self, claims: Claims, now: Moment) -> Result<Decision, Reason> {
        let number = claims.num;
        self.heard = self.heard.max(number);
        let Standing { last, floor, .. } = self.standing;
        if number <= last {
            return Err(Reason::Replayed);
        }
        in_time(&claims, now, false)?;
        if !follows(last, number) || floor > last {
            return Err(Reason::Gap);
        }
        let (subjects, refused) = change::upsert(claims.body).ok_or(Reason::Body)?;
        let standing = Standing { last: number, ..self.standing };
        let change = Change::Upsert(subjects);
        let command = RegistryTopic::Upsert.into();
        let task = Task::Change(change);
        Ok(Decision::Accept(Accepted { command, number, task, refused, standing }))
    }

    fn withdraw(&mut self, claims: Claims, now: Moment) -> Result<Decision, Reason> {
        let number = claims.num;
        self.heard = self.heard.max(number);
        let Standing { last, floor, .. } = self.standing;
        if number <= last {
            return Err(Reason::Replayed);
        }
        in_time(&claims, now, true)?;
        let (subjects, refused) = change::withdraw(claims.body).ok_or(Reason::Body)?;
        let standing = if follows(last, number) && floor <= last {
            Standing { last: number, ..self.standing }
        } else {
            Standing { floor: floor.max(number), ..self.standing }
        };
        let change = Change::Withdraw(subjects);
        let command = RegistryTopic::Withdraw.into();
        let task = Task::Change(change);
        Ok(Decision::Accept(Accepted { command, number, task, refused, standing }))
    }

    fn snapshot(&mut self, claims: Claims, now: Moment) -> Result<Decision, Reason> {
        let number = claims.num;
        let Standing { last, floor, .. } = self.standing;
        if number < last {
            return Err(Reason::Replayed);
        }
        in_time(&claims, now, false)?;
        if number < floor || (number == last && self.wanted().is_some()) {
            return Err(Reason::Outdated);
        }
        if number == last {
            // It was meant for another gateway of the shop.
            return Ok(Decision::Noted(Noted::Known));
        }
        self.heard = self.heard.max(number);
        let part: Part = change::part(claims.body).ok_or(Reason::Body)?;
        let (subjects, refused) = match self.snapshots.collect(number, part) {
            Collected::Whole(subjects, refused) => (subjects, refused),
            Collected::Missing(missing) => return Ok(Decision::Noted(Noted::Part { missing })),
            Collected::Impossible => return Err(Reason::Body),
        };
        let standing = Standing { last: number, ..self.standing };
        let change = Change::Replace { subjects, number };
        let command = RegistryTopic::Snapshot.into();
        let task = Task::Change(change);
        Ok(Decision::Accept(Accepted { command, number, task, refused, standing }))
    }

    fn withdrawn(&mut self, claims: Claims, now: Moment) -> Result<Decision, Reason> {
        let number = claims.num;
        self.heard = self.heard.max(number);
        if self.standing.list.is_some_and(|list| number < list) {
            return Err(Reason::Replayed);
        }
        let known = self.standing.list == Some(number);
        let in_time = in_time(&claims, now, true);
        if known && (self.list_seen || in_time.is_err()) {
            return Ok(Decision::Noted(Noted::Known));
        }
        in_time?;
        let (list, refused, as_of) = change::withdrawn(claims.body).ok_or(Reason::Body)?;
        if as_of != number {
            return Err(Reason::Body);
        }
        let standing = Standing { list: Some(number), ..self.standing };
        let change = Change::Withdrawn(list);
        let command = RegistryTopic::Withdrawn.into();
        let task = Task::Change(change);
        Ok(Decision::Accept(Accepted { command, number, task, refused, standing }))
    }

    fn version(&mut self, claims: Claims, now: Moment) -> Result<Decision, Reason> {
        let number = claims.num;
        in_time(&claims, now, true)?;
        if change::version(claims.body) != Some(number) {
            return Err(Reason::Body);
        }
        self.heard = self.heard.max(number);
        let behind = number > self.standing.last;
        Ok(Decision::Noted(if behind { Noted::Behind } else { Noted::Known }))
    }
}

/// One is the number behind the other.
fn follows(last: u64, number: u64) -> bool {
    last.checked_add(1) == Some(number)
}

/// Whether a command may be obeyed now. `safe` are those that are obeyed while the time is not
/// known: they enrol nobody.
fn in_time(claims: &Claims, now: Moment, safe: bool) -> Result<(), Reason> {
    let seconds = now.unix.as_millis().div_euclid(1000);
    match now.quality {
        ClockQuality::Unsynced if safe => Ok(()),
        ClockQuality::Unsynced => Err(Reason::ClockUnsynced),
        ClockQuality::Synced if claims.exp.0 <= seconds => Err(Reason::Expired),
        ClockQuality::Synced if claims.iat.0 > seconds.saturating_add(MOST_AHEAD) => {
            Err(Reason::Future)
        }
        ClockQuality::Synced => Ok(()),
    }
}

// === impl Place ===

impl Place<'_> {
    fn name(&self) -> &str {
        match self {
            Self::Registry(topic) => topic.word(),
            Self::Gateway(name) => name,
        }
    }

    fn command(self) -> Option<CommandName> {
        match self {
            Self::Registry(topic) => Some(topic.into()),
            Self::Gateway(name) => ErrandName::from_word(name).map(CommandName::from),
        }
    }
}

#[cfg(test)]
mod tests;
