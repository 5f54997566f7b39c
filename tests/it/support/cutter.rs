//! A slow link that is cut every 30 to 400 ms, and that swallows the broker's last words before it
//! is.
#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage up has failed")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use beacon_gateway::{clock::Clock, engine::Uptime};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::mpsc,
    task::JoinHandle,
};

/// How many chunks may be under way in one direction.
const UNDER_WAY: usize = 1024;

/// A running link.
pub(crate) struct Cutter {
    port: u16,
    cuts: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

/// How one connection over the link will fare.
#[derive(Clone, Copy)]
struct Fate {
    /// How long a byte is under way.
    delay: Duration,
    /// How long both directions work.
    life: Duration,
    /// How long only the way to the broker works after that.
    deaf: Duration,
}

impl Cutter {
    /// Leads to a port of this machine, with a delay each way. `seed` decides when it is cut.
    pub(crate) async fn start(to: u16, delay: Duration, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cuts = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&cuts);
        let mut random = fastrand::Rng::with_seed(seed);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(broker) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                let fate = Fate {
                    delay,
                    life: Duration::from_millis(random.u64(30..400)),
                    deaf: Duration::from_millis(random.u64(0..20)),
                };
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    carry(client, broker, fate).await;
                    counter.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, cuts, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries both ways for a life, then only to the broker: what arrives there is acknowledged, and
/// the acknowledgement never comes back.
async fn carry(mut client: TcpStream, mut broker: TcpStream, fate: Fate) {
    client.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.split();
    let (from_broker, to_broker) = broker.split();
    let mut there = std::pin::pin!(slowly(from_client, to_broker, fate.delay));
    let back = slowly(from_broker, to_client, fate.delay);
    let both = async { tokio::join!(&mut there, back) };
    if tokio::time::timeout(fate.life, both).await.is_err() {
        tokio::time::timeout(fate.deaf, there).await.ok();
    }
}

async fn slowly(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, delay: Duration) {
    let clock = Clock::start();
    let (sender, mut receiver) = mpsc::channel::<(Uptime, Vec<u8>)>(UNDER_WAY);
    let read = async move {
        let mut chunk = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            let bytes = chunk.iter().take(count).copied().collect();
            if sender.send((clock.now() + delay, bytes)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep(due.since(clock.now())).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
