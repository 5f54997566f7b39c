//! The line between the gateway and the broker: it keeps all that passes, and can be cut.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::support::{Outcome, text};

/// The line.
pub(crate) struct Relay {
    port: u16,
    line: Arc<Line>,
}

struct Line {
    to: u16,
    open: AtomicBool,
    ends: Mutex<Vec<TcpStream>>,
    /// Everything said, in both directions, as it came.
    said: Mutex<Vec<u8>>,
}

impl Relay {
    /// Listens on a port of its own and passes everything on to another one.
    pub(crate) fn start(to: u16) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
        let port = listener.local_addr().map_err(text)?.port();
        let line = Arc::new(Line {
            to,
            open: AtomicBool::new(true),
            ends: Mutex::default(),
            said: Mutex::default(),
        });
        let taken = Arc::clone(&line);
        // Ends with the process: nothing tells it to.
        thread::spawn(move || {
            for here in listener.incoming().flatten() {
                if taken.open.load(Ordering::SeqCst) {
                    taken.join(here);
                }
            }
        });
        Ok(Self { port, line })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks all connections, and those to come, until [`Self::open`].
    pub(crate) fn cut(&self) {
        self.line.open.store(false, Ordering::SeqCst);
        for end in lock(&self.line.ends).drain(..) {
            // It may have been closed already.
            drop(end.shutdown(Shutdown::Both));
        }
    }

    pub(crate) fn open(&self) {
        self.line.open.store(true, Ordering::SeqCst);
    }

    /// What was said since the last time.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.line.said))
    }
}

impl Line {
    fn join(self: &Arc<Self>, here: TcpStream) {
        let Ok(there) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.to)) else { return };
        drop((here.set_nodelay(true), there.set_nodelay(true)));
        let copies = [&here, &there].map(TcpStream::try_clone);
        let [Ok(back), Ok(forth)] = copies else { return };
        for (from, to) in [(here, forth), (there, back)] {
            let ends = [from.try_clone(), to.try_clone()];
            lock(&self.ends).extend(ends.into_iter().flatten());
            let line = Arc::clone(self);
            thread::spawn(move || line.pass(from, to));
        }
    }

    fn pass(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let said = &buffer[..length];
            lock(&self.said).extend_from_slice(said);
            if to.write_all(said).is_err() {
                break;
            }
        }
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics while it holds the lock")
}
