//! Carries a change of the registry to everyone whom it concerns, and writes the receipt.
//!
//! The order is what makes a withdrawal take effect at once and survive everything after:
//! 1. the ledger: nothing more is sent;
//! 2. the engine: nobody is recognised any more, the open visit closes without an event;
//! 3. the registry store: it is durable;
//! 4. the outbox: what waits is erased or narrowed, durably;
//! 5. the receipt, a record like any other.
//!
//! Each step may be repeated: whoever sent the change is told only when all are done, and sends it
//! again otherwise. Changes are carried one at a time, in the order in which they came.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};
use tracing::{error, info, warn};

use super::{
    chain,
    consent::Ledger,
    drive::{Enrol, append},
    enrolment::{Enrolled, Keeper},
};
use crate::{
    clock::Clock,
    command::{Carried, Change, Order, Uncarried},
    engine::{Consent, Enrolment, EnrolmentReport, Pseudonym, Purposes, Subject},
    outbox::{
        Erased, Tag, Write,
        record::{Body, Receipt, Record, RunId},
    },
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
    pub(super) keeper: Keeper,
    pub(super) engine: mpsc::Sender<Enrol>,
    pub(super) writes: mpsc::Sender<Write>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) asks: mpsc::Receiver<()>,
}

/// What is to change.
#[derive(Debug)]
enum Step {
    /// These are enrolled, or enrolled anew.
    Enrol(Vec<Subject>),
    /// These are no longer.
    Strike(Vec<Pseudonym>),
}

/// Whose records have to be looked at, and why.
#[derive(Debug, Default)]
struct Affected {
    withdrawn: Vec<Pseudonym>,
    not_enrolled: Vec<Pseudonym>,
    narrowed: Vec<Pseudonym>,
}

// === impl Registrar ===

impl Registrar {
    /// Carries changes until the engine has ended.
    pub(super) async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.engine.closed() => return,
                Some(order) = self.orders.recv() => self.carry_order(order).await,
                Some(()) = self.asks.recv() => self.read_again().await,
                _ = look.tick() => {
                    if self.keeper.changed_by_others().await {
                        self.read_again().await;
                    }
                }
            }
        }
    }

    // --- where changes come from ---

    /// The platform's.
    async fn carry_order(&mut self, order: Order) {
        let Order { change, number, reply } = order;
        let carried = match change {
            Change::Upsert(subjects) => self.enrol(subjects, Some(number)).await,
            Change::Withdraw(subjects) => self.withdraw(subjects, Some(number)).await,
            Change::Replace(subjects) => self.replace(subjects, number).await,
        };
        drop(reply.send(carried));
    }

    /// The operator's: the registry file or the store was changed.
    async fn read_again(&mut self) {
        match self.keeper.load().await {
            Ok(enrolled) => match self.take_over(enrolled, None).await {
                Some(carried) => info!(
                    enrolled = self.ledger.read().count(),
                    withdrawn = carried.withdrawn,
                    erased = carried.records_erased,
                    "The registry was read again."
                ),
                None => warn!("The gateway is stopping; the registry is not taken over."),
            },
            Err(error) => error!(
                error = chain(&error),
                "The registry could not be read again; the one in force stays."
            ),
        }
    }
}
