//! Guards against panics and hangs inside sled.

use std::{
    any::Any,
    cell::Cell,
    ops::Deref,
    panic::{self, AssertUnwindSafe},
    sync::{Once, mpsc::sync_channel},
    thread,
    time::Duration,
};

use tracing::warn;

/// How long a store may take to close. It writes at most one of its buffers (512 KiB) then; what
/// takes longer hangs on a disk that does not answer.
const CLOSING: Duration = Duration::from_secs(20);

/// A store that is closed in a way that neither panics nor takes for ever, whatever happened to it.
pub(super) struct Guarded(Option<sled::Db>);

thread_local! {
    /// Whether this thread's panics are expected, and told by whoever catches them.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs something that may panic, and returns the panic's message instead of printing it.
pub(super) fn catch<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    result.map_err(|payload| message(payload.as_ref()))
}

/// Closes a store about which nothing is known, such as that its disk still answers.
///
/// sled flushes when it is dropped, and panics if the sync after that fails; after an error of its
/// own it does neither. A panic is caught. Whoever waits for a disk in vain is left behind, with the
/// lock on the store: it cannot be opened again until the disk lets go of it.
fn close(db: sled::Db) {
    let (done, closed) = sync_channel(1);
    let close = move || drop(done.send(catch(|| drop(db))));
    // Where there can be no thread, it is dropped here.
    let spawned = catch(|| thread::Builder::new().name("outbox-close".to_owned()).spawn(close));
    let ended = match spawned {
        Ok(Ok(_)) => closed.recv_timeout(CLOSING).map_err(|_| "it hangs".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(panic),
    };
    if let Err(cause) | Ok(Err(cause)) = ended {
        warn!(cause, "A broken outbox store could not be closed in order.");
    }
}

impl From<sled::Db> for Guarded {
    fn from(db: sled::Db) -> Self {
        Self(Some(db))
    }
}

impl Deref for Guarded {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        match &self.0 {
            Some(db) => db,
            None => unreachable!("it is taken out when this is dropped"),
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(db) = self.0.take() {
            close(db);
        }
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message_and_later_ones_are_seen_again() {
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(catch(|| panic!("a plain one")), Err::<(), _>("a plain one".to_owned()));
        let number = 3;
        assert_eq!(catch(|| panic!("number {number}")), Err::<(), _>("number 3".to_owned()));
        assert!(!QUIET.get());
    }
}
