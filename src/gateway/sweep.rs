//! What is put right before anything is sent: consents that ended while nothing ran, and changes
//! that a crash cut short, reach what waits in the outbox now.
//!
//! The opened outbox and the ledger in; receipts out, for the records that went.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::{GatewayError, house::House, registrar::Cause};
use crate::{
    checkpoint::{self, fixture::Fixtures},
    outbox::{
        Erased, Judge, OutboxError, Tag, Verdict, Write,
        record::{Body, Receipt, Record},
    },
};

/// What went of one subject's.
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    erased: u64,
    narrowed: u64,
}

/// Whose records went. Asked for by the outbox's thread, read when it has replied.
type Tally = Arc<Mutex<BTreeMap<String, Gone>>>;

/// Clears what waits of what no consent covers any more, and what is remembered of visits of those
/// who are not enrolled. Returns the receipts.
pub(super) async fn sweep(
    house: &House,
    writes: &mpsc::Sender<Write>,
) -> Result<Vec<Record>, GatewayError> {
    forget_visits(house, writes).await?;
    forget_damaged(house, writes).await?;
    let tally = Tally::default();
    let erased = erase(writes, None, counting(house, Arc::clone(&tally))?).await?;
    if erased.erased + erased.narrowed > 0 {
        let (erased, narrowed) = (erased.erased, erased.narrowed);
        info!(erased, narrowed, "What no consent covers any more was erased.");
    }
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(tally.into_iter().map(|(name, gone)| receipt(house, name, gone)).collect())
}

/// The visits of those who are not enrolled any more are not remembered, and their names leave the
/// store's files with the next scrub.
async fn forget_visits(house: &House, writes: &mpsc::Sender<Write>) -> Result<(), GatewayError> {
    let ledger = house.ledger.clone();
    if ledger.read().is_lost() {
        return Ok(());
    }
    let mut gone = Vec::new();
    for kept in &house.opening.kept {
        let visit = checkpoint::read(&kept.slot, &kept.value, &house.wall);
        let enrolled = visit.as_ref().is_none_or(|(name, _)| {
            // What is no visit, or of another version, is for others to judge.
            ledger.read().is_enrolled(name.as_str())
        });
        if let (Some((name, _)), false) = (visit, enrolled) {
            gone.push(Tag::of(name.as_str()));
            let forget = Write::Keep { slot: kept.slot.clone(), value: None };
            writes.send(forget).await.map_err(|_| OutboxError::Died)?;
        }
    }
    if !gone.is_empty() {
        // Their records are counted by the sweep; this owes the scrub.
        erase(writes, Some(gone), Judge::new(|_| Verdict::Keep)).await?;
    }
    Ok(())
}

/// What makes no sense of fixtures is not kept for the next start; what is of a later version is.
async fn forget_damaged(house: &House, writes: &mpsc::Sender<Write>) -> Result<(), GatewayError> {
    let Fixtures { later, damaged, .. } = house.remembered();
    if later > 0 || !damaged.is_empty() {
        let damaged = damaged.len();
        let what = "What is remembered of some fixtures is of a later version, or damaged; it is learned anew.";
        warn!(later, damaged, "{what}");
    }
    for slot in damaged {
        writes.send(Write::Keep { slot, value: None }).await.map_err(|_| OutboxError::Died)?;
    }
    Ok(())
}

async fn erase(
    writes: &mpsc::Sender<Write>,
    who: Option<Vec<Tag>>,
    judge: Judge,
) -> Result<Erased, OutboxError> {
    let (reply, erased) = oneshot::channel();
    writes.send(Write::Erase { who, judge, reply }).await.map_err(|_| OutboxError::Died)?;
    erased.await.map_err(|_| OutboxError::Died)
}

/// The ledger's judge, with a tally of whose records it lets go.
fn counting(house: &House, tally: Tally) -> Result<Judge, GatewayError> {
    let mut judge = house.ledger.judge(house.origin()?, house.wall);
    Ok(Judge::new(move |bytes: &[u8]| {
        let verdict = judge(bytes);
        if verdict != Verdict::Keep
            && let Ok(record) = Record::decode(bytes)
            && let Some((name, _)) = record.subject()
        {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let gone = tally.entry(name.to_owned()).or_default();
            match verdict {
                Verdict::Erase => gone.erased += 1,
                _ => gone.narrowed += 1,
            }
        }
        verdict
    }))
}

fn receipt(house: &House, name: String, gone: Gone) -> Record {
    let cause = match (house.ledger.read().is_enrolled(&name), gone.erased) {
        (false, _) => Cause::NotEnrolled,
        (true, 0) => Cause::Narrowed,
        (true, _) => Cause::Expired,
    };
    let body = Body::ConsentWithdrawn(Receipt {
        subjects: vec![name],
        cause: cause.name().to_owned(),
        command: None,
        visits_closed: 0,
        records_erased: gone.erased,
        records_narrowed: gone.narrowed,
    });
    Record::new(body, house.clock.now(), house.run, &house.wall)
}
