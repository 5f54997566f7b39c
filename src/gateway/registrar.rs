//! Carries a change of the registry to everyone whom it concerns, and writes the receipt.
//!
//! The order is what makes a withdrawal take effect at once and survive everything after:
//! 1. the ledger: nothing more is sent;
//! 2. the engine: nobody is recognised any more, the open visit closes without an event;
//! 3. the registry's store: it is durable;
//! 4. the outbox: what waits is erased or narrowed, durably;
//! 5. the receipt, a record like any other.
//!
//! Each step may be repeated: whoever sent the change is told only when all are done, and sends it
//! again otherwise. Changes are carried one at a time, in the order in which they came.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};
use tracing::{error, info, warn};

use super::{
    GatewayError, chain,
    clerk::Clerk,
    consent::Ledger,
    drive::{Enrol, Who, append},
    enrolment::{Enrolled, Keeper},
};
use crate::{
    clock::Clock,
    command::{
        Carried, Change, Done, Errand, NotCarried, Order, RefusedEntry, Standing, Task, Withdrawn,
    },
    engine::{Enrolment, EnrolmentReport, Grant, Pseudonym, Subject},
    forget,
    outbox::{
        Judge, Tag, Write,
        record::{Body, Receipt, Record, RunId},
    },
    registry::store,
    uplink::payload::Origin,
};

/// How often it is looked whether somebody else, the command line, has changed the registry.
const LOOK: Duration = Duration::from_secs(1);

/// The registrar.
pub(super) struct Registrar {
    pub(super) clock: Clock,
    pub(super) run: RunId,
    pub(super) origin: Origin,
    pub(super) ledger: Ledger,
    /// Lent to the thread that does the work on the disk.
    pub(super) keeper: Arc<Mutex<Keeper>>,
    /// Whom errands to the outbox are handed to.
    pub(super) clerk: Clerk,
    pub(super) engine: mpsc::Sender<Enrol>,
    pub(super) writes: mpsc::Sender<Write>,
    /// What the platform wants.
    pub(super) orders: mpsc::Receiver<Order>,
    /// The operator wants the registry to be read again.
    pub(super) asks: mpsc::Receiver<()>,
    /// Told when the ledger has changed.
    pub(super) reconsider: watch::Sender<()>,
}

/// Why records have to be looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// Somebody was struck from the registry.
    Withdrawn,
    /// Somebody is not in the registry any more that was read.
    NotEnrolled,
    /// Somebody's consent covers less than before.
    Narrowed,
    /// Somebody's consent was over when the gateway started.
    Expired,
}

/// Why a change was not carried out.
#[derive(Debug)]
enum Failed {
    /// The gateway is stopping. Nobody is told that it was carried out.
    Stopping,
    /// The registry could not be read or written.
    Registry(GatewayError),
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default)]
struct Cleared {
    erased: u64,
    narrowed: u64,
}

// === impl Registrar ===

impl Registrar {
    /// Carries changes until the engine has ended.
    pub(super) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                biased;
                () = self.engine.closed() => return,
                Some(order) = self.orders.recv() => self.carry(order).await,
                Some(()) = self.asks.recv() => self.read_again().await,
                _ = look.tick() => {
                    let changed = self.keeper().changed_by_others();
                    if changed { self.read_again().await } else { Ok(()) }
                }
            };
            match done {
                Ok(()) => {}
                Err(Failed::Stopping) => return,
                Err(Failed::Registry(error)) => error!(
                    error = chain(&error),
                    "The registry could not be read again; the one in force stays."
                ),
            }
        }
    }

    /// The platform wants something changed.
    async fn carry(&mut self, order: Order) -> Result<(), Failed> {
        let Order { task, number, standing, reply } = order;
        let done = match task {
            Task::Change(change) => self.change(change, (number, standing)).await?,
            Task::Errand(errand) => Ok(self.errand(errand, standing).await?),
        };
        // Whoever asked may have gone; then it comes again.
        drop(reply.send(done));
        Ok(())
    }

    /// The platform wants the registry changed.
    async fn change(
        &mut self,
        change: Change,
        kept: (u64, Standing),
    ) -> Result<Result<Done, NotCarried>, Failed> {
        let hold = self.ledger.hold();
        let carried = match change {
            Change::Upsert(subjects) => self.enrol(subjects, kept).await,
            Change::Withdraw(names) => self.withdraw(names, kept).await,
            Change::Withdrawn(list) => self.withdraw(self.still_enrolled(list), kept).await,
            Change::Replace { subjects, .. } => self.replace(subjects, kept).await,
        };
        let carried = match carried {
            Err(Failed::Registry(error)) => {
                let why = chain(&error);
                error!(error = why, "A command could not be carried out; it will be tried again.");
                Err(NotCarried(why))
            }
            other => Ok(Done::Changed(other?)),
        };
        drop(hold);
        self.reconsider.send_replace(());
        Ok(carried)
    }

    /// The platform wants something of the outbox.
    async fn errand(&mut self, errand: Errand, standing: Standing) -> Result<Done, Failed> {
        let answer = match self.clerk.run(errand).await {
            Ok(answer) => answer,
            Err(reason) => return Ok(Done::Refused(reason)),
        };
        match self.blocking(move |keeper| keeper.remember(standing)).await {
            Ok(()) => {}
            Err(Failed::Registry(error)) => {
                // It is done, and does no harm when it is done a second time.
                warn!(error = chain(&error), "The number of a command could not be kept.");
            }
            Err(stopping) => return Err(stopping),
        }
        Ok(Done::Answered(answer))
    }

    /// The registry was changed from outside.
    async fn read_again(&mut self) -> Result<(), Failed> {
        let changed = self.blocking(Keeper::read_changes).await?;
        let hold = self.ledger.hold();
        let carried = self.follow(changed, None).await?;
        drop(hold);
        self.reconsider.send_replace(());
        info!(
            enrolled = self.ledger.read().count(),
            withdrawn = carried.withdrawn,
            erased = carried.records_erased,
            "The registry was read again."
        );
        Ok(())
    }

    async fn enrol(
        &mut self,
        subjects: Vec<Subject>,
        (number, standing): (u64, Standing),
    ) -> Result<Carried, Failed> {
        let before = self.agree(&subjects);
        let changes = subjects.iter().cloned().map(Enrolment::Upsert).collect();
        let report = self.tell_engine(Who::Change(changes)).await?;
        let (refused, before) = self.take_back(&report, before);
        let is_refused = |subject: &Subject| {
            report.refused.iter().any(|refusal| refusal.subject == subject.pseudonym)
        };
        let kept = subjects.into_iter().filter(|subject| !is_refused(subject));
        let kept: Vec<_> = kept.map(store::Change::Upsert).collect();
        self.blocking(move |keeper| keeper.apply(&kept, number, standing)).await?;
        let narrowed = self.narrowed(before);
        let cleared = self.clear(narrowed, Cause::Narrowed, Some(number), 0).await?;
        Ok(Carried {
            added: report.added,
            changed: report.changed,
            records_erased: cleared.erased,
            records_narrowed: cleared.narrowed,
            refused,
            ..Carried::default()
        })
    }

    async fn withdraw(
        &mut self,
        names: Vec<Pseudonym>,
        (number, standing): (u64, Standing),
    ) -> Result<Carried, Failed> {
        for name in &names {
            self.ledger.write().withdraw(name.as_str());
        }
        let changes = names.iter().cloned().map(Enrolment::Withdraw).collect();
        let report = self.tell_engine(Who::Change(changes)).await?;
        let kept: Vec<_> = names.iter().cloned().map(store::Change::Withdraw).collect();
        self.blocking(move |keeper| keeper.apply(&kept, number, standing)).await?;
        let closed = report.visits_closed;
        let cleared = self.clear(names, Cause::Withdrawn, Some(number), closed).await?;
        Ok(Carried {
            withdrawn: report.withdrawn,
            visits_closed: closed,
            records_erased: cleared.erased,
            records_narrowed: cleared.narrowed,
            ..Carried::default()
        })
    }

    /// The platform's snapshot. What files have enrolled stays, so all is read anew.
    async fn replace(
        &mut self,
        subjects: Vec<Subject>,
        (number, standing): (u64, Standing),
    ) -> Result<Carried, Failed> {
        let changed = self
            .blocking(move |keeper| {
                keeper.replace(&subjects, number, standing)?;
                drop(subjects);
                keeper.read_changes()
            })
            .await?;
        self.follow(changed, Some(number)).await
    }

    /// Carries what a reading of the registry has found: these are enrolled newly or otherwise, and
    /// who is not known any more has gone. Where that is not enough, all is put in force anew: when
    /// the registry is lost or found again, or identifiers have changed hands in a circle.
    async fn follow(
        &mut self,
        changed: Option<Vec<Subject>>,
        command: Option<u64>,
    ) -> Result<Carried, Failed> {
        let Some(changed) = changed.filter(|_| !self.ledger.read().is_lost()) else {
            let enrolled = self.blocking(Keeper::read).await?;
            return self.take_over(enrolled, command).await;
        };
        let gone = self.gone();
        for name in &gone {
            self.ledger.write().withdraw(name.as_str());
        }
        let before = self.agree(&changed);
        let withdrawals = gone.iter().cloned().map(Enrolment::Withdraw);
        let enrolments = withdrawals.chain(changed.into_iter().map(Enrolment::Upsert)).collect();
        let report = self.tell_engine(Who::Change(enrolments)).await?;
        let (refused, before) = self.take_back(&report, before);
        if !refused.is_empty()
            && let Ok(enrolled) = self.blocking(Keeper::read).await
        {
            // One after the other did not work, all at once does.
            let gone = self.clear(gone, Cause::NotEnrolled, command, report.visits_closed).await?;
            let mut carried = self.take_over(enrolled, command).await?;
            carried.records_erased += gone.erased;
            return Ok(carried);
        }
        for refusal in &refused {
            if let Some(name) = &refusal.subject {
                warn!(subject = %name, "An identifier is somebody else's; the entry is not taken over.");
                self.keeper().doubt(name);
            }
        }
        let (closed, withdrawn) = (report.visits_closed, gone.len());
        let gone = self.clear(gone, Cause::NotEnrolled, command, closed).await?;
        let narrowed = self.narrowed(before);
        let narrowed = self.clear(narrowed, Cause::Narrowed, command, 0).await?;
        Ok(Carried {
            added: report.added,
            changed: report.changed,
            withdrawn: u64::try_from(withdrawn).unwrap_or(u64::MAX),
            visits_closed: closed,
            records_erased: gone.erased + narrowed.erased,
            records_narrowed: gone.narrowed + narrowed.narrowed,
            refused,
        })
    }

    /// Puts another registry in force.
    async fn take_over(
        &mut self,
        enrolled: Enrolled,
        command: Option<u64>,
    ) -> Result<Carried, Failed> {
        let ledger = enrolled.ledger();
        let (mut gone, mut before) = (Vec::new(), BTreeMap::new());
        for (name, grant) in self.ledger.read().subjects() {
            if !ledger.is_enrolled(name.as_str()) {
                gone.push(name.clone());
            } else if ledger.covers_less(name.as_str(), &grant) {
                before.insert(name.clone(), Some(grant));
            }
        }
        if enrolled.lost {
            // Nobody has withdrawn; it is not known who is enrolled.
            gone.clear();
        }
        *self.ledger.write() = ledger;
        let report = self.tell_engine(Who::All(enrolled.registry)).await?;
        let (closed, withdrawn) = (report.visits_closed, gone.len());
        let gone = self.clear(gone, Cause::NotEnrolled, command, closed).await?;
        let narrowed = self.narrowed(before);
        let narrowed = self.clear(narrowed, Cause::Narrowed, command, 0).await?;
        Ok(Carried {
            withdrawn: u64::try_from(withdrawn).unwrap_or(u64::MAX),
            visits_closed: closed,
            records_erased: gone.erased + narrowed.erased,
            records_narrowed: gone.narrowed + narrowed.narrowed,
            ..Carried::default()
        })
    }

    // --- the steps ---

    /// Enters grants in the ledger, so that whoever agreed to less is asked for less at once.
    /// Returns those that were in force.
    fn agree(&self, subjects: &[Subject]) -> BTreeMap<Pseudonym, Option<Grant>> {
        let mut before = BTreeMap::new();
        let mut ledger = self.ledger.write();
        for subject in subjects {
            let grant = ledger.enrol(subject);
            before.entry(subject.pseudonym.clone()).or_insert(grant);
        }
        before
    }

    /// Puts back the grants of those whom the engine did not take; the rest of `before` remains.
    fn take_back(
        &self,
        report: &EnrolmentReport,
        mut before: BTreeMap<Pseudonym, Option<Grant>>,
    ) -> (Vec<RefusedEntry>, BTreeMap<Pseudonym, Option<Grant>>) {
        let mut refused = Vec::new();
        for refusal in &report.refused {
            let grant = before.remove(&refusal.subject).flatten();
            self.ledger.write().put_back(&refusal.subject, grant);
            let subject = Some(refusal.subject.clone());
            refused.push(RefusedEntry { subject, reason: "identifier_taken" });
        }
        (refused, before)
    }

    async fn tell_engine(&self, who: Who) -> Result<EnrolmentReport, Failed> {
        let (reply, report) = oneshot::channel();
        self.reconsider.send_replace(());
        self.engine.send(Enrol { who, reply }).await.map_err(|_| Failed::Stopping)?;
        report.await.map_err(|_| Failed::Stopping)
    }

    /// Does something with the registry on the disk, without holding the gateway up.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Keeper) -> Result<T, GatewayError> + Send + 'static,
    ) -> Result<T, Failed> {
        let keeper = Arc::clone(&self.keeper);
        let work = move || {
            let done = work(&mut keeper.lock().unwrap_or_else(PoisonError::into_inner));
            // This thread will do other work, and keys were on its stack.
            forget::burn_stack();
            done
        };
        let done = tokio::task::spawn_blocking(work).await.map_err(|_| Failed::Stopping)?;
        done.map_err(Failed::Registry)
    }

    /// The keeper, while nobody works with it.
    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears what waits of what is no longer covered, and writes the receipts.
    async fn clear(
        &self,
        names: Vec<Pseudonym>,
        cause: Cause,
        command: Option<u64>,
        mut visits_closed: u64,
    ) -> Result<Cleared, Failed> {
        let mut all = Cleared::default();
        for names in names.chunks(Receipt::MAX_SUBJECTS) {
            let who = names.iter().map(|name| Tag::of(name.as_str())).collect();
            let mut origin = self.origin.clone();
            origin.timeline.note(&self.clock.account());
            let judge = self.ledger.judge(origin, self.clock.wall());
            let (reply, erased) = oneshot::channel();
            let erase = Write::Erase { who: Some(who), judge: Judge::new(judge), reply };
            self.writes.send(erase).await.map_err(|_| Failed::Stopping)?;
            let erased = erased.await.map_err(|_| Failed::Stopping)?;
            all.erased += erased.erased;
            all.narrowed += erased.narrowed;
            let receipt = Receipt {
                subjects: names.iter().map(ToString::to_string).collect(),
                cause: cause.name().to_owned(),
                command,
                // Whose they were is told where there is one name.
                visits_closed: std::mem::take(&mut visits_closed),
                records_erased: erased.erased,
                records_narrowed: erased.narrowed,
            };
            let body = Body::ConsentWithdrawn(receipt);
            let record = Record::new(body, self.clock.now(), self.run, &self.clock.wall());
            self.writes.send(append(record)).await.map_err(|_| Failed::Stopping)?;
        }
        if !names.is_empty() {
            info!(
                subjects = names.len(),
                cause = cause.name(),
                erased = all.erased,
                narrowed = all.narrowed,
                "A consent has ended; what it no longer covers is erased."
            );
        }
        Ok(all)
    }

    // --- who is concerned ---

    /// Those in the ledger whom the last reading did not find.
    fn gone(&self) -> Vec<Pseudonym> {
        let (ledger, keeper) = (self.ledger.read(), self.keeper());
        let names = ledger.subjects().map(|(name, _)| name);
        names.filter(|name| !keeper.knows(name)).cloned().collect()
    }

    /// Those whose grant covers less than the one they had before.
    fn narrowed(&self, before: BTreeMap<Pseudonym, Option<Grant>>) -> Vec<Pseudonym> {
        let ledger = self.ledger.read();
        let less = |(name, before): (Pseudonym, Option<Grant>)| {
            ledger.covers_less(name.as_str(), &before?).then_some(name)
        };
        before.into_iter().filter_map(less).collect()
    }

    /// Those of a withdrawal list who are enrolled by a grant that is not newer.
    fn still_enrolled(&self, list: Vec<Withdrawn>) -> Vec<Pseudonym> {
        let ledger = self.ledger.read();
        let still = |it: &Withdrawn| ledger.is_enrolled_since(it.subject.as_str(), it.since);
        list.into_iter().filter(still).map(|it| it.subject).collect()
    }
}

impl Cause {
    /// As receipts say it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
            Self::NotEnrolled => "not_enrolled",
            Self::Narrowed => "narrowed",
        }
    }
}
