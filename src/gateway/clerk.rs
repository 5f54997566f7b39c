//! Errands of the platform in, answers out: looks into the outbox, and has the uplink send again
//! what is still held.
//!
//! The registrar calls, one errand at a time, and waits: so nothing here waits for long. What takes
//! long, sending, is only asked for.

use std::{future::Future, time::Duration};

use tokio::sync::{mpsc, mpsc::error::TrySendError, oneshot};
use tracing::{info, warn};

use crate::{
    command::{Answer, Errand, ErrandName, Numbers, Reason},
    outbox::{Account, Ranges, Read, Sequence},
    uplink::Replay,
};

/// An outbox that is well answers in milliseconds, and with a million records in less than two
/// seconds. One that has not by then has lost its disk, and a withdrawal may wait behind us.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who knows the way to the outbox.
pub(super) struct Clerk {
    pub(super) outbox: mpsc::Sender<Read>,
    /// What is to be sent again.
    pub(super) replays: mpsc::Sender<Replay>,
}

// === impl Clerk ===

impl Clerk {
    /// Runs an errand. A reason means that nothing was done.
    pub(super) async fn run(&self, errand: Errand) -> Result<Answer, Reason> {
        let account = self.ask(|reply| Read::Account { reply }).await?;
        if errand.epoch.is_some_and(|epoch| epoch != account.epoch) {
            return Err(Reason::Epoch);
        }
        match errand.name {
            ErrandName::Replay => self.replay(errand, &account),
            ErrandName::Resync => Ok(resync(errand, &account)),
            ErrandName::RetryDeadLetters => {
                let Errand { from, to, .. } = errand;
                let count = self.ask(|reply| Read::BringBack { from, to, reply }).await?;
                info!(count, "Dead letters are back in the line.");
                Ok(answer(errand, &account, vec![("brought_back", Numbers::Count(count))]))
            }
        }
    }

    fn replay(&self, errand: Errand, account: &Account) -> Result<Answer, Reason> {
        let answer = replay(errand, account);
        let held = cut(&account.acknowledged, answer.from, answer.to);
        if let (Some(from), Some(to)) = (held.first(), held.last()) {
            match self.replays.try_send(Replay { from, to }) {
                Ok(()) => info!(from = from.0, to = to.0, "Records are to be sent again."),
                Err(TrySendError::Full(_)) => return Err(Reason::Busy),
                // The gateway is stopping.
                Err(TrySendError::Closed(_)) => return Err(Reason::Unavailable),
            }
        }
        Ok(answer)
    }

    /// Asks the outbox, and waits for the answer while that is likely.
    async fn ask<T>(&self, read: impl FnOnce(oneshot::Sender<T>) -> Read) -> Result<T, Reason> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.outbox.send(read(reply)).await.ok()?;
            answer.await.ok()
        };
        in_time(asked).await.ok_or_else(|| {
            warn!("The outbox does not answer; the platform has to ask again.");
            Reason::Unavailable
        })
    }
}

async fn in_time<T>(asked: impl Future<Output = Option<T>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten()
}

/// What is told about a replay: which numbers are sent again, and why the others are not.
fn replay(errand: Errand, account: &Account) -> Answer {
    let mut answer = answer(errand, account, Vec::new());
    let (from, to) = (answer.from, answer.to);
    let mut not_held = Ranges::new();
    if from <= to {
        not_held.add_range(from, to);
    }
    let mut told = Vec::new();
    for (name, ranges) in [
        ("will_send", &account.acknowledged),
        ("pending", &account.pending),
        ("set_aside", &account.set_aside),
    ] {
        not_held = without(&not_held, ranges);
        told.push((name, Numbers::Which(cut(ranges, from, to))));
    }
    told.push(("not_held", Numbers::Which(not_held)));
    answer.numbers = told;
    answer
}

/// Where the numbers are.
fn resync(errand: Errand, account: &Account) -> Answer {
    let mut answer = answer(errand, account, Vec::new());
    let which = |ranges| Numbers::Which(cut(ranges, answer.from, answer.to));
    answer.numbers = vec![
        ("pending", which(&account.pending)),
        ("held", which(&account.acknowledged)),
        ("set_aside", which(&account.set_aside)),
        ("told", which(&account.told)),
        ("untold", which(&account.untold)),
    ];
    answer
}

fn answer(errand: Errand, account: &Account, numbers: Vec<(&'static str, Numbers)>) -> Answer {
    let (first, last) = (account.first.unwrap_or(Sequence(1)), account.last.unwrap_or(Sequence(0)));
    Answer {
        epoch: account.epoch,
        first,
        last,
        from: errand.from,
        to: errand.to.min(last),
        numbers,
    }
}

/// The part of ranges that is in a span.
fn cut(ranges: &Ranges, from: Sequence, to: Sequence) -> Ranges {
    let mut part = Ranges::new();
    for (first, last) in ranges.iter().filter(|(first, last)| *last >= from && *first <= to) {
        part.add_range(first.max(from), last.min(to));
    }
    part
}

/// The ranges without those of others. Each is gone through once: there may be very many.
fn without(ranges: &Ranges, others: &Ranges) -> Ranges {
    let mut rest = Ranges::new();
    let mut others = others.iter().peekable();
    for (first, last) in ranges.iter() {
        let mut next = Some(first.0);
        while let Some(&(from, to)) = others.peek()
            && from <= last
            && let Some(at) = next
        {
            if let Some(before) = from.0.checked_sub(1) {
                rest.add_range(Sequence(at), Sequence(before));
            }
            next = if to < last { Some(at.max(to.0.saturating_add(1))) } else { None };
            // One that reaches beyond this range may cover some of the next one.
            if next.is_some() {
                others.next();
            }
        }
        if let Some(at) = next {
            rest.add_range(Sequence(at), last);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::new();
        for (first, last) in pairs {
            ranges.add_range(Sequence(*first), Sequence(*last));
        }
        ranges
    }

    fn account() -> Account {
        Account {
            epoch: 3,
            first: Some(Sequence(4)),
            last: Some(Sequence(100)),
            pending: ranges(&[(61, 70), (81, 100)]),
            acknowledged: ranges(&[(21, 40), (51, 60)]),
            set_aside: ranges(&[(71, 72)]),
            told: ranges(&[(5, 9), (71, 72)]),
            untold: ranges(&[(73, 80)]),
        }
    }

    fn errand(name: ErrandName, from: u64, to: u64) -> Errand {
        Errand { name, epoch: None, from: Sequence(from), to: Sequence(to) }
    }

    /// An outbox that says this, and counts what is brought back.
    fn outbox(account: Account) -> (mpsc::Sender<Read>, JoinHandle<()>) {
        let (sender, mut reads) = mpsc::channel(8);
        let serving = tokio::spawn(async move {
            while let Some(read) = reads.recv().await {
                match read {
                    Read::Account { reply } => drop(reply.send(account.clone())),
                    Read::BringBack { from, to, reply } => {
                        reply.send(cut(&account.set_aside, from, to).count()).ok();
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        (sender, serving)
    }

    fn told(answer: &Answer, name: &str) -> Vec<(u64, u64)> {
        let found = answer.numbers.iter().find(|(it, _)| *it == name).map(|(_, numbers)| numbers);
        match found {
            Some(Numbers::Which(ranges)) => ranges.iter().map(|(a, b)| (a.0, b.0)).collect(),
            Some(Numbers::Count(count)) => vec![(*count, *count)],
            None => panic!("{name} is not told"),
        }
    }

    #[tokio::test]
    async fn a_replay_asks_for_what_is_held_and_says_where_the_rest_is() {
        let (outbox, _serving) = outbox(account());
        let (replays, mut asked) = mpsc::channel(1);
        let clerk = Clerk { outbox, replays };
        let answer = clerk.run(errand(ErrandName::Replay, 11, 500)).await.unwrap();
        assert_eq!((answer.from.0, answer.to.0, answer.last.0), (11, 100, 100));
        assert_eq!(told(&answer, "will_send"), [(21, 40), (51, 60)]);
        assert_eq!(told(&answer, "pending"), [(61, 70), (81, 100)]);
        assert_eq!(told(&answer, "set_aside"), [(71, 72)]);
        assert_eq!(told(&answer, "not_held"), [(11, 20), (41, 50), (73, 80)]);
        let replay = Replay { from: Sequence(21), to: Sequence(60) };
        assert_eq!(asked.try_recv(), Ok(replay));
        // Nothing is held there, so nothing is asked for.
        let answer = clerk.run(errand(ErrandName::Replay, 41, 50)).await.unwrap();
        assert_eq!(told(&answer, "not_held"), [(41, 50)]);
        let answer = clerk.run(errand(ErrandName::Replay, 101, 102)).await.unwrap();
        assert_eq!(told(&answer, "not_held"), [], "not made yet is not gone");
        assert!(asked.try_recv().is_err());
    }

    #[tokio::test]
    async fn so_much_is_sent_again_and_more_is_refused() {
        let (outbox, _serving) = outbox(account());
        let (replays, asked) = mpsc::channel(1);
        let clerk = Clerk { outbox, replays };
        assert!(clerk.run(errand(ErrandName::Replay, 21, 30)).await.is_ok());
        assert_eq!(clerk.run(errand(ErrandName::Replay, 31, 40)).await, Err(Reason::Busy));
        drop(asked);
        assert_eq!(clerk.run(errand(ErrandName::Replay, 31, 40)).await, Err(Reason::Unavailable));
    }

    #[tokio::test]
    async fn every_number_has_a_place() {
        let (outbox, _serving) = outbox(account());
        let clerk = Clerk { outbox, replays: mpsc::channel(1).0 };
        let answer = clerk.run(errand(ErrandName::Resync, 31, u64::MAX)).await.unwrap();
        assert_eq!((answer.from.0, answer.to.0, answer.first.0), (31, 100, 4));
        assert_eq!(told(&answer, "pending"), [(61, 70), (81, 100)]);
        assert_eq!(told(&answer, "held"), [(31, 40), (51, 60)]);
        assert_eq!(told(&answer, "set_aside"), [(71, 72)]);
        assert_eq!(told(&answer, "told"), [(71, 72)], "of what is asked about");
        assert_eq!(told(&answer, "untold"), [(73, 80)]);
    }

    #[tokio::test]
    async fn dead_letters_are_brought_back_and_counted() {
        let (outbox, _serving) = outbox(account());
        let clerk = Clerk { outbox, replays: mpsc::channel(1).0 };
        let answer = clerk.run(errand(ErrandName::RetryDeadLetters, 72, u64::MAX)).await.unwrap();
        assert_eq!(told(&answer, "brought_back"), [(1, 1)]);
    }

    #[tokio::test]
    async fn numbers_of_another_epoch_are_refused() {
        let (outbox, _serving) = outbox(account());
        let clerk = Clerk { outbox, replays: mpsc::channel(1).0 };
        for name in ErrandName::ALL {
            let wrong = Errand { epoch: Some(2), ..errand(name, 1, 9) };
            assert_eq!(clerk.run(wrong).await, Err(Reason::Epoch));
            let right = Errand { epoch: Some(3), ..errand(name, 1, 9) };
            assert!(clerk.run(right).await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outbox_without_a_disk_does_not_hold_a_withdrawal_up() {
        let (outbox, _reads) = mpsc::channel(1);
        let clerk = Clerk { outbox, replays: mpsc::channel(1).0 };
        assert_eq!(clerk.run(errand(ErrandName::Resync, 1, 9)).await, Err(Reason::Unavailable));
    }

    #[test]
    fn what_is_left_of_ranges_is_what_the_others_do_not_have() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..300 {
            let mut set = || {
                let numbers = (0..10).map(|_| Sequence(random.u64(0..25)));
                numbers.collect::<Ranges>()
            };
            let (here, there) = (set(), set());
            let rest = without(&here, &there);
            let part = cut(&here, Sequence(7), Sequence(15));
            for n in (0..30).map(Sequence) {
                assert_eq!(rest.contains(n), here.contains(n) && !there.contains(n));
                assert_eq!(part.contains(n), here.contains(n) && (7..=15).contains(&n.0));
            }
        }
    }
}
