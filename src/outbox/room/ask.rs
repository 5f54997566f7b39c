//! What readers ask, and the answers.

use super::Room;
use crate::outbox::{
    Account, Held, Journal, OutboxError, Read, Sequence, Standing, Stored,
    backlog::{Change, Task},
    books::{Accounting, Return, Returned},
};

/// How many removals go into one commit at most.
const TOGETHER: usize = 128;

impl<J: Journal> Room<J> {
    /// Answers a request, or makes a note of it. When that fails the request is given back, so that
    /// it can be answered when the journal is there again.
    #[expect(
        clippy::result_large_err,
        reason = "an error is once in a long while, and a box for it in every signature is not clearer"
    )]
    pub(in crate::outbox) fn answer(
        &mut self,
        read: Read,
    ) -> Result<(), (OutboxError, Option<Read>)> {
        match read {
            Read::Oldest { after, limit, reply } => match self.journal.oldest(after, limit) {
                Ok(records) => {
                    // Whoever asked may have gone; then nobody needs the answer.
                    let records = records.into_iter().map(|held| self.stored(held));
                    drop(reply.send(records.collect()));
                    Ok(())
                }
                Err(error) => Err((error, Some(Read::Oldest { after, limit, reply }))),
            },
            Read::OldestAbout { who, after, before, limit, reply } => {
                match self.oldest_about(&who, after, before, limit) {
                    Ok(records) => {
                        drop(reply.send(records));
                        Ok(())
                    }
                    Err(error) => {
                        let again = Read::OldestAbout { who, after, before, limit, reply };
                        Err((error, Some(again)))
                    }
                }
            }
            Read::Range { from, to, limit, reply } => match self.journal.range(from, to, limit) {
                Ok(records) => {
                    let records = records.into_iter().map(|held| {
                        let standing = held.standing;
                        (self.stored(held), standing)
                    });
                    drop(reply.send(records.collect()));
                    Ok(())
                }
                Err(error) => Err((error, Some(Read::Range { from, to, limit, reply }))),
            },
            Read::BringBack { from, to, reply } => {
                let now = Returned { next: from, count: 0 };
                self.books.returns.push_back(Return { to, reply, now, durable: now });
                Ok(())
            }
            Read::Account { reply } => {
                let account = Account::default();
                self.books.accounts.push_back(Accounting { account, next: Sequence(0), reply });
                Ok(())
            }
            Read::Remove { sequences, why } => {
                let mut rest = sequences.as_slice();
                while let Some((some, behind)) = rest.split_at_checked(rest.len().min(TOGETHER))
                    && !some.is_empty()
                {
                    rest = behind;
                    let changes = some.iter().map(|sequence| Change::Remove(*sequence, why));
                    let task = Task::Change(changes.collect());
                    if let Err(error) = self.task(task).and_then(|()| self.commit_if_enough()) {
                        let sequences = rest.to_vec();
                        return Err((error, Some(Read::Remove { sequences, why })));
                    }
                }
                Ok(())
            }
        }
    }

    /// The journal finds records in any standing; here only those that wait are wanted.
    fn oldest_about(
        &mut self,
        who: &[crate::outbox::Tag],
        mut after: Option<Sequence>,
        before: Option<Sequence>,
        limit: usize,
    ) -> Result<Vec<Stored>, OutboxError> {
        let who = who.iter().copied().collect();
        let mut found = Vec::new();
        while found.len() < limit {
            let records = self.journal.oldest_about(&who, after, limit)?;
            let Some(last) = records.last().map(|held| held.sequence) else { break };
            after = Some(last);
            let in_time = |held: &Held| before.is_none_or(|before| held.sequence < before);
            let is_over = !records.iter().all(in_time);
            let waiting = records.into_iter().filter(in_time);
            let waiting = waiting.filter(|held| held.standing == Standing::Pending);
            let waiting: Vec<_> = waiting.take(limit - found.len()).collect();
            found.extend(waiting.into_iter().map(|held| self.stored(held)));
            if is_over {
                break;
            }
        }
        Ok(found)
    }

    /// A record as readers see it.
    fn stored(&self, held: Held) -> Stored {
        let Held { sequence, about, class, bytes, .. } = held;
        let epoch = self.journal.epoch_of(sequence);
        // Who reads knows the epoch of the journal that was opened first.
        let known = self.books.epoch.unwrap_or(epoch);
        let epoch = (epoch != known).then_some(epoch);
        Stored { sequence, about: about.tag(), class, epoch, bytes }
    }
}
