//! Events, states and answers of gateways in; for each gateway and epoch, where every number is, out.
//!
//! Pure: `main.rs` listens, keeps and asks. `docs/subscribing.md` explains the algorithm.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ranges::Ranges;

/// An account forgets its oldest gap when there are more ranges than this: a few hundred kilobytes
/// at the most.
const MOST_RANGES: usize = 10_000;

/// So many gaps are shown.
const MOST_SHOWN: usize = 20;

/// What the gateway says in its answer to `resync` about numbers.
const STATES: [&str; 5] = ["pending", "held", "set_aside", "told", "untold"];

/// Where the numbers of one gateway and epoch are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Account {
    pub(crate) source: String,
    pub(crate) epoch: u64,
    /// The span that is accounted for.
    first: u64,
    last: u64,
    /// Events that were new.
    delivered: u64,
    seen: Ranges,
    /// Lost, as the gateway has told: the numbers by the reason.
    told: BTreeMap<String, Ranges>,
    /// Lost before they had a number.
    nameless: u64,
    duplicates: u64,
    replayed: u64,
    /// Missing, and given up because memory is bounded.
    forgotten: u64,
    /// What the gateway has answered last: its ranges by their state, and about which numbers.
    #[serde(skip)]
    answer: BTreeMap<&'static str, Ranges>,
    #[serde(skip)]
    asked: Ranges,
}

/// The accounts of all gateways.
#[derive(Debug, Default)]
pub(crate) struct Book {
    accounts: BTreeMap<(String, u64), Account>,
    /// Numbers before the first one heard are not missed.
    from_now: bool,
}

/// A document is not as the contract says.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is missing, or is not what it should be")]
pub(crate) struct Misfit(&'static str);

// === impl Account ===

impl Account {
    fn new(source: &str, epoch: u64, first: u64) -> Self {
        let last = first.saturating_sub(1);
        Self { source: source.to_owned(), epoch, first, last, ..Self::default() }
    }

    /// Whether the event of this number is a new one.
    fn take(&mut self, number: u64, replayed: bool) -> bool {
        if self.seen.contains(number) {
            self.duplicates += 1;
            return false;
        }
        self.seen.add(number, number);
        self.delivered += 1;
        self.last = self.last.max(number);
        self.replayed += u64::from(replayed);
        if self.seen.ranges() > MOST_RANGES {
            self.forget_the_oldest_gap();
        }
        true
    }

    /// Memory is bounded: the oldest gap is given up, and counted.
    fn forget_the_oldest_gap(&mut self) {
        let Some((lowest, end)) = self.seen.take_lowest() else { return };
        let Some((next, _)) = self.seen.iter().next() else { return };
        // Before the lowest range and behind it, without what was told.
        let gaps = [(self.first, lowest.saturating_sub(1)), (end.saturating_add(1), next - 1)];
        let gaps = self
            .told
            .values()
            .fold(gaps.into_iter().collect(), |gaps: Ranges, told| gaps.minus(told));
        self.forgotten += gaps.count();
        self.first = next;
    }

    /// The gateway says that these are lost.
    fn tell(&mut self, why: &str, count: u64, ranges: &Ranges) {
        self.told.entry(why.to_owned()).or_default().join(ranges);
        let highest = ranges.iter().next_back().map_or(0, |(_, last)| last);
        self.last = self.last.max(highest);
        self.nameless += count.saturating_sub(ranges.count());
    }

    /// The epoch begins there.
    fn begin(&mut self, first: u64) {
        self.first = self.first.max(first);
    }

    /// Takes out what was told of numbers before the beginning.
    fn told_before(&mut self) -> Vec<(String, Ranges)> {
        let own = [(self.first, u64::MAX)].into_iter().collect();
        let before = |(why, told): (&String, &mut Ranges)| {
            let before = told.minus(&own);
            *told = told.within(&own);
            (why.clone(), before)
        };
        let taken: Vec<_> = self.told.iter_mut().map(before).collect();
        self.told.retain(|_, told| !told.is_empty());
        taken.into_iter().filter(|(_, before)| !before.is_empty()).collect()
    }

    /// What the gateway has told and we have not: an acknowledgement may have been lost, not the
    /// event.
    fn lost(&self) -> Ranges {
        let mut told = Ranges::default();
        for ranges in self.told.values() {
            told.join(ranges);
        }
        told.minus(&self.seen)
    }

    /// Neither here nor told: on its way, or to be asked for.
    pub(crate) fn missing(&self) -> Ranges {
        let all: Ranges = [(self.first, self.last)].into_iter().collect();
        all.minus(&self.seen).minus(&self.lost())
    }

    /// What is missing and is in this state at the gateway.
    pub(crate) fn in_state(&self, state: &str) -> Ranges {
        self.answer.get(state).map(|ranges| self.missing().within(ranges)).unwrap_or_default()
    }

    /// Missing, and the gateway says that it has it no more and did not lose it either.
    fn unexplained(&self) -> Ranges {
        let asked = self.missing().within(&self.asked);
        self.answer.values().fold(asked, |rest, ranges| rest.minus(ranges))
    }

    /// Takes what the gateway has answered to `resync`.
    fn learn(&mut self, answer: &Value) -> Result<(), Misfit> {
        let (from, last) = (number(answer, "from")?, number(answer, "last")?);
        let mut to = number(answer, "to")?;
        let mut found = BTreeMap::new();
        for state in STATES {
            let part = answer.get(state).ok_or(Misfit(state))?;
            let ranges = ranges(part, "ranges")?;
            if part.get("cut").and_then(Value::as_bool).ok_or(Misfit("cut"))? {
                // The list was too long: of what is behind its end nothing is known.
                let end = ranges.iter().next_back().map_or(0, |(_, last)| last);
                to = to.min(end);
            }
            found.insert(state, ranges);
        }
        self.begin(number(answer, "first")?);
        (self.answer, self.asked) = (found, [(from, to)].into_iter().collect());
        self.last = self.last.max(last);
        Ok(())
    }

    /// The account in figures.
    pub(crate) fn summary(&self) -> Value {
        let missing = self.missing();
        let gaps = missing.iter().take(MOST_SHOWN);
        let gaps = gaps.map(|(first, last)| json!([first.to_string(), last.to_string()]));
        json!({
            "source": self.source,
            "epoch": self.epoch,
            "first": self.first.to_string(),
            "last": self.last.to_string(),
            "delivered": self.delivered,
            "duplicates": self.duplicates,
            "replayed": self.replayed,
            "told": self.told.iter().map(|(why, it)| (why, it.count())).collect::<BTreeMap<_, _>>(),
            "nameless": self.nameless,
            "lost": self.lost().count(),
            "missing": missing.count(),
            "gaps": gaps.collect::<Value>(),
            "pending": self.in_state("pending").count(),
            "held": self.in_state("held").count(),
            "set_aside": self.in_state("set_aside").count(),
            "untold": self.in_state("untold").count(),
            "unexplained": self.unexplained().count(),
            "forgotten": self.forgotten,
        })
    }

    /// The account in a sentence.
    pub(crate) fn sentence(&self) -> String {
        let told = self.told.iter().map(|(why, ranges)| format!("{} {why}", ranges.count()));
        let told = told.collect::<Vec<_>>().join(", ");
        format!(
            "{} epoch {}: {} to {}, {} delivered, {} duplicates, {} replayed, {} lost ({}), {} missing, {} unexplained",
            self.source,
            self.epoch,
            self.first,
            self.last,
            self.delivered,
            self.duplicates,
            self.replayed,
            self.lost().count(),
            if told.is_empty() { "none told" } else { &told },
            self.missing().count(),
            self.unexplained().count(),
        )
    }
}

// === impl Book ===

impl Book {
    /// The accounts that were kept.
    pub(crate) fn new(kept: Vec<Account>, from_now: bool) -> Self {
        let key = |account: Account| ((account.source.clone(), account.epoch), account);
        Self { accounts: kept.into_iter().map(key).collect(), from_now }
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    /// The account of each gateway's present epoch: only of that one it can be asked.
    pub(crate) fn newest(&self) -> Vec<&Account> {
        // They are sorted by gateway and epoch, so the last one of a gateway stays.
        let newest: BTreeMap<_, _> = self.accounts().map(|it| (it.source.as_str(), it)).collect();
        newest.into_values().collect()
    }

    /// Takes an event. Returns whether it is a new one.
    pub(crate) fn event(&mut self, event: &Value) -> Result<bool, Misfit> {
        let source = text(event, "source")?;
        let (epoch, sequence) = (number(event, "epoch")?, number(event, "sequence")?);
        let data = event.get("data").ok_or(Misfit("data"))?;
        let replayed = event.get("replayed").and_then(Value::as_bool).unwrap_or(false);
        // What cannot be read is not half taken.
        let losses = match text(event, "type")? {
            "io.beacon-gateway.gateway.records_dropped.v1" => {
                Some((text(data, "why")?, number(data, "count")?, ranges(data, "ranges")?))
            }
            _ => None,
        };
        if !self.account(source, epoch, sequence).take(sequence, replayed) {
            return Ok(false);
        }
        if let Some((why, count, ranges)) = losses {
            self.account(source, epoch, sequence).tell(why, count, &ranges);
            self.hand_down(source, epoch);
        }
        Ok(true)
    }

    /// The retained state says how far a gateway has counted, so that a gap at the end is seen, too.
    pub(crate) fn state(&mut self, source: &str, state: &Value) -> Result<(), Misfit> {
        let Some(outbox) = state.get("outbox") else { return Ok(()) };
        if outbox.get("last_sequence").is_none_or(Value::is_null) {
            return Ok(());
        }
        let (epoch, last) = (number(outbox, "epoch")?, number(outbox, "last_sequence")?);
        let first = number(outbox, "first_sequence")?;
        let account = self.account(source, epoch, last.saturating_add(1));
        account.begin(first);
        account.last = account.last.max(last);
        self.hand_down(source, epoch);
        Ok(())
    }

    /// Takes the answer to `resync`. Returns the account that it is about.
    pub(crate) fn answer(&mut self, source: &str, answer: &Value) -> Result<&Account, Misfit> {
        let (epoch, last) = (number(answer, "epoch")?, number(answer, "last")?);
        let account = self.account(source, epoch, last.saturating_add(1));
        account.learn(answer)?;
        self.hand_down(source, epoch);
        Ok(self.account(source, epoch, last.saturating_add(1)))
    }

    /// What is told of numbers before the beginning of an epoch is about the one before.
    fn hand_down(&mut self, source: &str, epoch: u64) {
        let mut accounts = self.accounts.range_mut(..=(source.to_owned(), epoch));
        let (Some((_, account)), Some((key, before))) =
            (accounts.next_back(), accounts.next_back())
        else {
            return;
        };
        if key.0 == source {
            for (why, ranges) in account.told_before() {
                before.tell(&why, ranges.count(), &ranges);
            }
        }
    }

    fn account(&mut self, source: &str, epoch: u64, number: u64) -> &mut Account {
        let first = if self.from_now { number } else { 1 };
        match self.accounts.entry((source.to_owned(), epoch)) {
            Entry::Occupied(account) => account.into_mut(),
            Entry::Vacant(place) => place.insert(Account::new(source, epoch, first)),
        }
    }
}

// === reading JSON ===

fn text<'a>(document: &'a Value, name: &'static str) -> Result<&'a str, Misfit> {
    document.get(name).and_then(Value::as_str).ok_or(Misfit(name))
}

/// A number, or the text of one: what may outgrow the numbers of JavaScript is written as text.
fn number(document: &Value, name: &'static str) -> Result<u64, Misfit> {
    document.get(name).and_then(as_number).ok_or(Misfit(name))
}

fn as_number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn ranges(document: &Value, name: &'static str) -> Result<Ranges, Misfit> {
    let pairs = document.get(name).and_then(Value::as_array).ok_or(Misfit(name))?;
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [first, last] => Some((as_number(first)?, as_number(last)?)),
        _ => None,
    };
    pairs.iter().map(pair).collect::<Option<_>>().ok_or(Misfit(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Value {
        json!({"source": "/t/s/g", "epoch": 1, "sequence": number.to_string(),
               "type": "io.beacon-gateway.zone.entered.v1", "data": {}})
    }

    fn dropped(number: u64, why: &str, count: u64, ranges: &[(u64, u64)]) -> Value {
        let ranges: Vec<_> =
            ranges.iter().map(|(a, b)| json!([a.to_string(), b.to_string()])).collect();
        json!({"source": "/t/s/g", "epoch": 1, "sequence": number.to_string(),
               "type": "io.beacon-gateway.gateway.records_dropped.v1",
               "data": {"why": why, "count": count, "ranges": ranges}})
    }

    fn answer(last: u64, pending: &[(u64, u64)], held: &[(u64, u64)], cut: bool) -> Value {
        let told = |ranges: &[(u64, u64)]| json!({"count": 0, "ranges": ranges, "cut": cut});
        json!({"epoch": 1, "first": "1", "last": last.to_string(), "from": "4", "to": last.to_string(),
               "pending": told(pending), "held": told(held), "set_aside": told(&[]),
               "told": told(&[]), "untold": told(&[])})
    }

    fn only(book: &Book) -> Value {
        book.accounts().next().unwrap().summary()
    }

    #[test]
    fn an_event_counts_once_and_the_order_does_not_matter() {
        let mut book = Book::default();
        let new = [3, 1, 2, 2, 1, 5].map(|number| book.event(&event(number)).unwrap());
        assert_eq!(new, [true, true, true, false, false, true]);
        let account = only(&book);
        assert_eq!((&account["delivered"], &account["duplicates"]), (&json!(4), &json!(2)));
        assert_eq!((&account["last"], &account["gaps"]), (&json!("5"), &json!([["4", "4"]])));
    }

    #[test]
    fn a_gap_is_explained_by_what_the_gateway_tells() {
        let mut book = Book::default();
        for number in [1, 2, 6] {
            book.event(&event(number)).unwrap();
        }
        // Number 2 was told, too: its acknowledgement was lost, and it is here all the same.
        book.event(&dropped(7, "full", 9, &[(2, 5)])).unwrap();
        let account = only(&book);
        assert_eq!(account["missing"], 0);
        assert_eq!((&account["lost"], &account["nameless"]), (&json!(3), &json!(5)));
        assert_eq!(account["told"], json!({"full": 4}));
        // Set aside, told, and sent in the end.
        book.event(&event(4)).unwrap();
        assert_eq!(only(&book)["lost"], 2);
    }

    #[test]
    fn what_is_missing_is_where_the_gateway_says_or_unexplained() {
        let mut book = Book::default();
        book.event(&event(1)).unwrap();
        book.state(
            "/t/s/g",
            &json!({"outbox": {"epoch": 1, "first_sequence": "1", "last_sequence": "8"}}),
        )
        .unwrap();
        assert_eq!(only(&book)["missing"], 7, "a gap at the end");
        assert_eq!(only(&book)["unexplained"], 0, "nobody was asked");
        book.answer("/t/s/g", &answer(9, &[(8, 9)], &[(1, 4)], false)).unwrap();
        let account = only(&book);
        let states = ["pending", "held", "unexplained"].map(|state| account[state].clone());
        assert_eq!(states, [2, 3, 3].map(|count| json!(count)), "8 and 9, 2 to 4, 5 to 7");
        book.answer("/t/s/g", &answer(9, &[(8, 9)], &[(1, 4)], true)).unwrap();
        assert_eq!(only(&book)["unexplained"], 0, "the lists were cut before what is asked");
    }

    #[test]
    fn memory_is_bounded_and_what_is_given_up_is_counted() {
        let mut book = Book::default();
        let gaps = MOST_RANGES as u64 + 100;
        for number in 0..gaps {
            book.event(&event(2 + 2 * number)).unwrap();
        }
        let account = book.accounts().next().unwrap();
        assert_eq!(account.seen.ranges(), MOST_RANGES);
        assert_eq!(account.forgotten + account.missing().count(), gaps);
    }

    #[test]
    fn whoever_comes_late_begins_with_the_first_number_heard() {
        let mut book = Book::new(Vec::new(), true);
        book.event(&event(500)).unwrap();
        book.event(&event(502)).unwrap();
        assert_eq!(only(&book)["gaps"], json!([["501", "501"]]));
    }

    #[test]
    fn a_new_epoch_may_go_on_counting_where_the_old_one_ended() {
        let mut book = Book::default();
        book.event(&event(1)).unwrap();
        let mut renewed = event(12);
        renewed["epoch"] = 2.into();
        book.event(&renewed).unwrap();
        book.state(
            "/t/s/g",
            &json!({"outbox": {"epoch": 2, "first_sequence": "11", "last_sequence": "12"}}),
        )
        .unwrap();
        let missing: Vec<_> = book.accounts().map(|it| it.summary()["gaps"].clone()).collect();
        assert_eq!(missing, [json!([]), json!([["11", "11"]])]);
        // What was saved of the old store has its old name; what was not is told under the new one.
        book.event(&event(3)).unwrap();
        assert_eq!(only(&book)["gaps"], json!([["2", "2"]]));
        let mut told = dropped(13, "damaged", 2, &[(2, 2), (11, 11)]);
        told["epoch"] = 2.into();
        book.event(&told).unwrap();
        let told: Vec<_> = book.accounts().map(|it| it.summary()["told"].clone()).collect();
        assert_eq!(told, [json!({"damaged": 1}), json!({"damaged": 1})]);
        assert!(book.accounts().all(|it| it.summary()["missing"] == 0));
    }

    #[test]
    fn an_account_is_kept_as_it_was() {
        let mut book = Book::default();
        book.event(&event(1)).unwrap();
        book.event(&dropped(5, "full", 2, &[(2, 3)])).unwrap();
        let kept = serde_json::to_vec(&book.accounts().collect::<Vec<_>>()).unwrap();
        let again = Book::new(serde_json::from_slice(&kept).unwrap(), false);
        assert_eq!(only(&again), only(&book));
    }

    #[test]
    fn what_is_not_as_the_contract_says_changes_nothing() {
        let mut book = Book::default();
        book.event(&event(1)).unwrap();
        let mut broken = dropped(2, "full", 1, &[(3, 3)]);
        broken["data"]["ranges"] = json!([[3]]);
        assert_eq!(
            book.event(&broken).unwrap_err().to_string(),
            "`ranges` is missing, or is not what it should be"
        );
        assert_eq!(only(&book)["delivered"], 1);
        assert!(book.event(&json!({})).is_err() && book.event(&json!(7)).is_err());
        assert!(book.answer("/t/s/g", &json!({"epoch": 1, "last": "9"})).is_err());
    }
}
