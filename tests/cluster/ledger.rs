//! What arrived at the platform: events in, what is missing, repeated or out of order out. Pure: time
//! is handed in.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use beacon_gateway::engine::Uptime;
use serde::Deserialize;

use crate::support::Outcome;

/// An event, as far as the accounts need it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) epoch: u32,
    /// A number, written as text.
    pub(crate) sequence: String,
    #[serde(default)]
    pub(crate) subject: Option<String>,
}

/// What arrived of all gateways.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    gateways: BTreeMap<String, Book>,
}

/// What arrived of one gateway.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// Each number's id, and how often it came.
    numbers: BTreeMap<u64, (String, u64)>,
    /// The latest number about each subject.
    latest: HashMap<String, u64>,
    /// How many came for the first time after a later one about the same subject.
    late: u64,
    /// The first thing that was wrong.
    wrong: Option<String>,
    /// When something new came last.
    new_at: Option<Uptime>,
    /// The longest time without anything new, since it was last asked.
    silence: Duration,
}

impl Ledger {
    /// Takes an event in, as it came. Returns how often it has come now.
    pub(crate) fn book(&mut self, at: Uptime, event: &Event) -> Outcome<u64> {
        let number: u64 = event.sequence.parse().map_err(|_| format!("no number: {event:?}"))?;
        let gateway = event.source.rsplit('/').next().unwrap_or_default();
        let book = self.gateways.entry(gateway.to_owned()).or_default();
        Ok(book.enter(at, number, event))
    }

    /// What arrived of a gateway.
    pub(crate) fn of(&mut self, gateway: &str) -> &mut Book {
        self.gateways.entry(gateway.to_owned()).or_default()
    }
}

impl Book {
    fn enter(&mut self, at: Uptime, number: u64, event: &Event) -> u64 {
        if event.epoch != 1 {
            self.wrong.get_or_insert(format!("a store that was begun anew: {event:?}"));
        }
        let (id, times) = self.numbers.entry(number).or_default();
        *times += 1;
        if *times > 1 {
            if *id != event.id {
                self.wrong.get_or_insert(format!("{number} is `{id}` and `{}`", event.id));
            }
            return *times;
        }
        id.clone_from(&event.id);
        if let Some(before) = self.new_at.replace(at) {
            self.silence = self.silence.max(at.since(before));
        }
        if let Some(subject) = &event.subject {
            let latest = self.latest.entry(subject.clone()).or_default();
            self.late += u64::from(number < *latest);
            *latest = number.max(*latest);
        }
        1
    }

    /// How many of the numbers behind the first and up to the last have come, and how often more
    /// than once in all.
    pub(crate) fn arrived(&self, behind: u64, to: u64) -> (u64, u64) {
        let range = self.numbers.range(behind.saturating_add(1)..=to.max(behind.saturating_add(1)));
        let inside = range.filter(|(number, _)| **number <= to);
        inside.fold((0, 0), |(all, again), (_, (_, times))| (all + 1, again + times - 1))
    }

    /// Numbers up to this one that have not come.
    pub(crate) fn missing(&self, to: u64) -> Vec<u64> {
        (1..=to).filter(|number| !self.numbers.contains_key(number)).collect()
    }

    /// The last number that came.
    pub(crate) fn last(&self) -> u64 {
        self.numbers.keys().next_back().copied().unwrap_or_default()
    }

    /// The longest time without anything new; from now on it is measured afresh.
    pub(crate) fn take_silence(&mut self, now: Uptime) -> Duration {
        let running = self.new_at.replace(now).map_or(Duration::ZERO, |at| now.since(at));
        std::mem::take(&mut self.silence).max(running)
    }

    /// How many came out of order.
    pub(crate) fn late(&self) -> u64 {
        self.late
    }

    /// The first thing that was wrong with what came.
    pub(crate) fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }
}

// === the ledger itself under test: a judge who always agrees shows nothing ===

fn event(number: u64, subject: &str) -> Event {
    Event {
        id: format!("id-{number}"),
        source: "/example/shop/g".to_owned(),
        epoch: 1,
        sequence: number.to_string(),
        subject: Some(subject.to_owned()),
    }
}

fn after(numbers: &[(u64, &str)]) -> Outcome<Ledger> {
    let mut ledger = Ledger::default();
    for (at, (number, subject)) in (0..).zip(numbers) {
        ledger.book(Uptime::from_micros(at * 1_000_000), &event(*number, subject))?;
    }
    Ok(ledger)
}

/// A loss, a repetition and a silence are told by their numbers.
pub(crate) fn counts_what_is_missing_and_what_came_twice() -> Outcome<()> {
    let mut ledger = after(&[(1, "a"), (2, "b"), (2, "b"), (2, "b"), (5, "a")])?;
    let book = ledger.of("g");
    let silence = book.take_silence(Uptime::from_micros(4_000_000));
    let found = (book.arrived(0, 5), book.arrived(2, 4), book.missing(5), book.last(), silence);
    let expected = ((3, 2), (0, 0), vec![3, 4], 5, Duration::from_secs(3));
    if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) }
}

/// Order is a matter of each subject, and only a first arrival counts for it.
pub(crate) fn counts_who_comes_out_of_order() -> Outcome<()> {
    let mut fine = after(&[(1, "a"), (3, "b"), (2, "a"), (4, "a"), (2, "a")])?;
    let mut wrong = after(&[(1, "a"), (4, "a"), (3, "b"), (2, "a"), (3, "a"), (5, "a")])?;
    match (fine.of("g").late(), wrong.of("g").late()) {
        (0, 1) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// The same number must mean the same event, and a store must not be begun anew.
pub(crate) fn finds_a_number_that_means_two_events() -> Outcome<()> {
    let mut ledger = after(&[(1, "a")])?;
    ledger.book(Uptime::ZERO, &Event { id: "other".to_owned(), ..event(1, "a") })?;
    let mut anew = Ledger::default();
    anew.book(Uptime::ZERO, &Event { epoch: 2, ..event(1, "a") })?;
    if ledger.of("g").wrong().is_some() && anew.of("g").wrong().is_some() {
        Ok(())
    } else {
        Err("nothing was noticed".to_owned())
    }
}
