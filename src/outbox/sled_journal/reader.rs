//! Reads the blocks of a store and opens their seals, on a thread of its own, while what was in those
//! before is taken in: that is most of what opening a store costs.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use zeroize::Zeroizing;

use crate::seal::StoreKey;

use super::{
    frame::{self, Spot},
    guard::catch,
    volume::Cause,
};

/// How many blocks are handed over together, and how many times that may wait: 1.5 MiB at most.
const TOGETHER: usize = 64;
const WAITING: usize = 2;

/// sled notes each use of a page in a queue of so many for each part of its cache, and looks at how
/// large the cache has become only when one is full. Until then pages that were read once stay.
const NOTED_USES: usize = 64;

/// How often that is done, in blocks that were read: two leaves of them, or so. It costs as much as
/// opening four of them.
pub(super) const LET_GO_EVERY: usize = 32;

/// A block that was read.
pub(super) struct Read {
    pub(super) slot: u32,
    /// The commit that wrote it, and the block; `None` if its seal does not open.
    pub(super) opened: Option<(u64, Zeroizing<Vec<u8>>)>,
}

/// Shows each block of a store, in the order of slots.
pub(super) fn read(
    db: &sled::Db,
    key: &StoreKey,
    mut show: impl FnMut(Read) -> Result<(), Cause>,
) -> Result<(), Cause> {
    thread::scope(|scope| {
        let (hand_over, blocks) = sync_channel(WAITING);
        let reading = thread::Builder::new()
            .name("outbox-read".to_owned())
            .spawn_scoped(scope, move || catch(|| hand_all_over(db, key, &hand_over)))
            .map_err(sled::Error::Io)?;
        // An error ends the reading too: nobody takes anything from it any more.
        blocks.into_iter().flatten().try_for_each(&mut show)?;
        match reading.join() {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => Err(panic.into()),
            Err(_) => Err("its reader ended, nobody knows why".into()),
        }
    })
}

fn hand_all_over(
    db: &sled::Db,
    key: &StoreKey,
    hand_over: &SyncSender<Vec<Read>>,
) -> Result<(), Cause> {
    let mut together = Vec::with_capacity(TOGETHER);
    for (count, item) in db.scan_prefix(b"r").enumerate() {
        let (name, value) = item?;
        let slot = name.get(1..).and_then(|slot| slot.try_into().ok());
        let slot = u32::from_be_bytes(slot.ok_or("it has a strange key")?);
        if (count + 1).is_multiple_of(LET_GO_EVERY) {
            let_go_of(db, &name);
        }
        together.push(Read { slot, opened: frame::open_at(key, Spot::Block(slot), &value) });
        if together.len() == TOGETHER {
            let full = std::mem::replace(&mut together, Vec::with_capacity(TOGETHER));
            if hand_over.send(full).is_err() {
                return Ok(());
            }
        }
    }
    // Whoever stopped taking has said why.
    hand_over.send(together).ok();
    Ok(())
}

/// Makes sled see how much it has in memory, and let go of what is too much: see [`NOTED_USES`].
pub(super) fn let_go_of(db: &sled::Db, key: &[u8]) {
    for _ in 0..NOTED_USES {
        // What is read here is not needed; what is wrong with it shows where it is.
        drop(db.contains_key(key));
    }
}
