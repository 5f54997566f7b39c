//! Holds every event against what its subject had agreed to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use serde_json::Value;

use crate::{listener::Message, members::Member};

/// What was said of members, and what of it should not have been.
#[derive(Default)]
pub(crate) struct Judge {
    pub(crate) violations: Vec<Violation>,
    /// How many events of each kind were seen.
    pub(crate) kinds: BTreeMap<String, u64>,
    /// Whose consent was said to have ended, in receipts.
    pub(crate) receipts: BTreeSet<String>,
    /// How many records were erased or narrowed for it, as the receipts say.
    pub(crate) cleared: u64,
}

/// Something that should not have been said.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) wrong: Wrong,
    pub(crate) subject: String,
    /// The event, as it was sent.
    event: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wrong {
    /// Sent after the withdrawal had taken effect, or made after it.
    Withdrawn,
    /// Sent or made without a purpose that it needs.
    Purpose,
    /// Sent or made after the consent had ended.
    Expired,
    /// Made before the consent began.
    Early,
    /// About somebody whom nobody enrolled.
    Unknown,
    /// Not in the form of an event.
    Form,
}

/// How far the test's clock may be off, in its own milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slack {
    /// From a decision in the gateway to the arrival of what it sent.
    pub(crate) way: i64,
    /// Nothing that arrives was sent before: the line was broken then.
    pub(crate) since: i64,
    /// How far the gateway's clock is behind the test's.
    pub(crate) behind: i64,
}

/// Times are rounded to milliseconds, more than once.
const ROUNDED: i64 = 1000;

impl Judge {
    /// Judges one message.
    pub(crate) fn hear(
        &mut self,
        message: &Message,
        members: &BTreeMap<String, Member>,
        slack: Slack,
    ) {
        let Some((_, kind)) = message.topic.split_once("/event/") else { return };
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
        let event = String::from_utf8_lossy(&message.payload).into_owned();
        let Some(Event { subject, time, needs }) = Event::read(kind, &message.payload) else {
            let subject = String::new();
            return self.violations.push(Violation { wrong: Wrong::Form, subject, event });
        };
        if kind == "gateway/consent_withdrawn" {
            self.receipts.extend(receipt(&message.payload));
            self.cleared += cleared(&message.payload);
        }
        let Some(subject) = subject else { return };
        let wrong = match members.get(&subject) {
            Some(member) => judge(member, &needs, time, message.at.as_millis(), slack),
            None => Some(Wrong::Unknown),
        };
        if let Some(wrong) = wrong {
            self.violations.push(Violation { wrong, subject, event });
        }
    }

    /// How many things were wrong, by what was wrong about them.
    pub(crate) fn wrongs(&self) -> BTreeMap<Wrong, usize> {
        let mut wrongs = BTreeMap::new();
        for violation in &self.violations {
            *wrongs.entry(violation.wrong).or_default() += 1;
        }
        wrongs
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, subject, event } = self;
        write!(f, "{wrong:?}, about `{subject}`: {event}")
    }
}

/// What matters of an event.
struct Event {
    /// `None` when it is about nobody.
    subject: Option<String>,
    time: i64,
    needs: Vec<&'static str>,
}

impl Event {
    fn read(kind: &str, payload: &[u8]) -> Option<Self> {
        let event: Value = serde_json::from_slice(payload).ok()?;
        let time: Timestamp = event["time"].as_str()?.parse().ok()?;
        let time = time.as_millisecond();
        let data = event["data"].as_object()?;
        let subject = event["subject"].as_str().map(str::to_owned);
        let family = kind.split('/').next()?;
        if matches!(family, "sensor" | "gateway" | "occupancy") {
            return Some(Self { subject: None, time, needs: Vec::new() });
        }
        let mut needs = vec!["presence"];
        if family == "moment" {
            needs = vec!["engagement"];
        }
        // The path is the journey, wherever it is told.
        let visited = &event["data"]["context"]["zones_visited"];
        if data.contains_key("path") || visited.is_array() {
            needs.push("journey");
        }
        subject.is_some().then_some(Self { subject, time, needs })
    }
}

/// How many records a receipt says were erased or narrowed.
fn cleared(payload: &[u8]) -> u64 {
    let event: Value = serde_json::from_slice(payload).unwrap_or_default();
    let counts = ["records_erased", "records_narrowed"].map(|name| event["data"][name].as_u64());
    counts.into_iter().flatten().sum()
}

/// Whom a receipt names whose consent has ended as a whole.
fn receipt(payload: &[u8]) -> Vec<String> {
    let event: Value = serde_json::from_slice(payload).unwrap_or_default();
    let whole = event["data"]["cause"] != "narrowed";
    let subjects = event["data"]["subjects"].as_array().filter(|_| whole);
    let names = subjects.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// What is wrong with an event about a member that needs these purposes, is dated to `time` on the
/// gateway's clock, and arrived at `arrived` on the test's.
fn judge(member: &Member, needs: &[&str], time: i64, arrived: i64, slack: Slack) -> Option<Wrong> {
    // A change is made somewhere between the moment when the gateway is told and the one when it has
    // certainly understood; of what holds at a moment there may be two versions.
    let ends = member.versions.iter().skip(1).map(|next| next.in_force).chain([i64::MAX]);
    let versions: Vec<_> = member.versions.iter().zip(ends).collect();

    let sent = arrived.saturating_sub(slack.way).max(slack.since).min(arrived);
    let when_sent =
        versions.iter().filter(|(version, end)| version.told <= arrived && sent <= *end);
    let mut wrong = None;
    let mut covered = false;
    for (version, _) in when_sent {
        match &version.grant {
            None => wrong = Some(Wrong::Withdrawn),
            Some(grant) if !grant.permits(needs) => wrong = Some(Wrong::Purpose),
            Some(grant) if grant.until.is_some_and(|until| until <= sent) => {
                wrong = Some(Wrong::Expired);
            }
            Some(_) => covered = true,
        }
    }
    if !covered {
        return wrong;
    }

    let latest = time.saturating_add(slack.behind);
    let when_made = versions.iter().filter(|(version, end)| version.told <= latest && time <= *end);
    let (mut wrong, mut covered) = (None, false);
    for (version, _) in when_made {
        match &version.grant {
            None => wrong = Some(Wrong::Withdrawn),
            Some(grant)
                if [-ROUNDED, ROUNDED].iter().any(|off| grant.covers(needs, time + off)) =>
            {
                covered = true;
            }
            Some(grant) if !grant.permits(needs) => wrong = Some(Wrong::Purpose),
            Some(grant) if time < grant.from => wrong = Some(Wrong::Early),
            Some(_) => wrong = Some(Wrong::Expired),
        }
    }
    if covered { None } else { wrong }
}
