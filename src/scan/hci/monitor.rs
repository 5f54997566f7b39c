//! Listens on the kernel's Bluetooth monitor to one adapter, whoever makes it scan. Its
//! advertisements out, each as the controller gave it, and what matters for hearing.
//!
//! Takes `CAP_NET_RAW`. Nothing is changed by listening. What waits in the kernel's buffer is asked
//! with [`Monitor::queue`]; waiting for the next item may be cancelled without losing one.

mod filter;
mod header;
mod watch;

use std::{collections::VecDeque, time::Duration};

use tokio::time::timeout;
use tracing::debug;

pub(in crate::scan) use self::header::MonitorHeader;
use self::watch::{Presence, Seen, Watch};
use super::{
    adapter::Adapter,
    error::{HciError, OsError},
    item::{Item, News},
    socket::{Channel, Queue, Received, Socket},
};
use crate::{
    clock::Clock,
    engine::{AddressKind, DeviceAddress, ReceiverId},
};

/// An open ear on one adapter.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    watch: Watch,
    receiver: ReceiverId,
    buffer: Vec<u8>,
    ready: VecDeque<Item>,
}

/// Larger than the longest packet that matters: 6 bytes of header, 2 and 255 of an event.
const BUFFER: usize = 1024;

/// Plays packets of the monitor socket to the decider, without a socket; returns how many reports
/// and news there were.
pub(super) fn rehearse<'a>(packets: impl Iterator<Item = &'a [u8]>) -> usize {
    let address = DeviceAddress::new([6, 5, 4, 3, 2, 1], AddressKind::Public);
    let mut watch = Watch::new(0, address);
    let mut seen = 0;
    for packet in packets {
        watch.packet(packet, &mut |_| seen += 1);
    }
    seen
}

/// So many packets are read together at the most: some milliseconds' worth of a flood.
const TOGETHER: usize = 32;

/// How long the kernel may take to list its adapters; it does so before it answers.
const ANNOUNCEMENT: Duration = Duration::from_secs(2);

const CAPABILITY: &str = "CAP_NET_RAW";

impl Monitor {
    /// Whether this process may listen: for `scan.data = "auto"`, and for `check`.
    pub fn permitted(clock: Clock) -> Result<(), HciError> {
        Socket::open(Channel::Monitor, clock).map(|_| ())
    }

    /// Begins to listen to an adapter, and makes sure that its number still means it. The first news
    /// of one that is switched on is [`News::Opened`]. Must be called inside an event loop of tokio.
    pub async fn open(
        adapter: &Adapter,
        receiver: ReceiverId,
        clock: Clock,
    ) -> Result<Self, HciError> {
        let mut monitor = Self {
            socket: Socket::open(Channel::Monitor, clock)?,
            watch: Watch::new(adapter.index, adapter.address),
            receiver,
            buffer: vec![0; BUFFER],
            ready: VecDeque::new(),
        };
        monitor.filter(Some(adapter.index));
        let announced = async {
            while monitor.watch.presence() == Presence::Unknown {
                monitor.receive().await?;
            }
            Ok(())
        };
        let gone = || HciError::NoAdapter(adapter.name());
        timeout(ANNOUNCEMENT, announced).await.unwrap_or_else(|_| Err(gone()))?;
        match monitor.watch.presence() {
            Presence::Here => Ok(monitor),
            Presence::Unknown | Presence::Gone => Err(gone()),
        }
    }

    /// Waits for what the adapter says next. Loses nothing when it is given up.
    pub async fn next(&mut self) -> Result<Item, HciError> {
        loop {
            if let Some(item) = self.ready() {
                return Ok(item);
            }
            self.receive().await?;
        }
    }

    /// What the adapter has said already: packets are read together, as many as there are.
    pub fn ready(&mut self) -> Option<Item> {
        self.ready.pop_front()
    }

    /// Gives up on advertisements whose other parts are missing since the last call; says how many
    /// those were. For once a second: the parts come within milliseconds.
    pub fn forget(&mut self) -> u64 {
        if self.ready.is_empty() {
            // An item is moved in with the room of its other variants, and what lay there before.
            self.ready = VecDeque::new();
        }
        self.watch.forget()
    }

    /// Asks how much waits in the kernel, and how much it dropped.
    pub fn queue(&self) -> Result<Queue, HciError> {
        self.socket.queue().map_err(|error| HciError::System {
            doing: "ask how much waits on the Bluetooth monitor",
            cause: OsError::of(&error),
        })
    }

    /// Whether the controller scans; `None` until it was seen to begin or to end.
    pub const fn is_scanning(&self) -> Option<bool> {
        self.watch.is_scanning()
    }

    /// Only saves work: what is not filtered is sorted out here.
    fn filter(&self, index: Option<u16>) {
        if let Err(error) = self.socket.filter(&filter::program(index)) {
            debug!(%error, "The kernel does not filter what the monitor says.");
        }
    }

    async fn receive(&mut self) -> Result<(), HciError> {
        let doing = "listen on the kernel's Bluetooth monitor";
        let received = self.socket.recv(&mut self.buffer).await.map_err(|error| {
            HciError::of_socket(doing, "a Bluetooth adapter", CAPABILITY, &error)
        })?;
        let mut next = Some(received);
        for _ in 0..TOGETHER {
            let Some(received) = next else { break };
            self.take(&received)?;
            // What went wrong after the first packet shows when it is waited for.
            next = self.socket.try_recv(&mut self.buffer).unwrap_or_default();
        }
        // The last one was taken out of the kernel, so it counts.
        next.map_or(Ok(()), |received| self.take(&received))
    }

    /// Reads a packet and clears the buffer. Not part of its caller, so that what it leaves on the
    /// stack can be cleared from there.
    #[inline(never)]
    fn take(&mut self, received: &Received) -> Result<(), HciError> {
        if received.length == 0 {
            return Err(HciError::Lost);
        }
        let Self { watch, receiver, buffer, ready, .. } = self;
        let packet = buffer.get(..received.length).unwrap_or_default();
        let mut moved = None;
        watch.packet(packet, &mut |seen| {
            ready.push_back(match seen {
                Seen::Report(report) => Item::of_report(receiver, received.at, report),
                Seen::News(news) => {
                    match news {
                        News::Removed => moved = Some(None),
                        News::Added { index } => moved = Some(Some(index)),
                        _ => {}
                    }
                    Item::News(news)
                }
            });
        });
        buffer.get_mut(..received.length).unwrap_or_default().fill(0);
        if let Some(index) = moved {
            self.filter(index);
        }
        Ok(())
    }
}
